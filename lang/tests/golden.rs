//! Golden tests of the language: each script of `tests/typed/NAME.rt` must give the typed program in
//! `NAME.typed`, and each of `tests/diag/NAME.rt` the messages in `NAME.err`, as users see them.
//! `BLESS=1 cargo test -p rtrace-lang` rewrites both; the diff is what to review.
//!
//! A file holds several scripts, each after a line `// --- what it shows`; see `support` for headers.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use rtrace_lang::dump;
use std::path::{Path, PathBuf};
use support::{analyse, analyse_aloud, kernel};

const SEPARATOR: &str = "// --- ";

#[test]
fn typed() {
    let kernel = kernel();
    check("typed", "typed", |script| match analyse("script.rt", script, &kernel) {
        // The script stands above what it means.
        Ok(typed) => Ok(script.lines().map(|l| format!("| {l}\n")).collect::<String>() + &dump::dump(&typed)),
        Err(failure) => Err(failure.text()),
    });
}

#[test]
fn diagnostics() {
    let kernel = kernel();
    check("diag", "err", |script| match analyse_aloud("script.rt", script, &kernel) {
        (Ok(_), warnings) if !warnings.diagnostics.is_empty() => Ok(warnings.text()),
        (Ok(typed), _) => Err(format!("this is accepted:\n{script}\n{}", dump::dump(&typed))),
        (Err(failure), _) => Ok(failure.text()),
    });
}

/// Compares (or, to bless, writes) what every script of a folder gives with the file beside it. An error is
/// what no golden file may hold.
fn check(folder: &str, ending: &str, result: impl Fn(&str) -> Result<String, String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(folder);
    let entries = std::fs::read_dir(root).expect("the folder of golden files");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "rt"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let sections = sections(&text);
        assert!(!sections.is_empty(), "{} has no line {SEPARATOR:?}", path.display());
        let mut parts = Vec::new();
        for (title, script) in sections {
            match result(script) {
                Ok(text) => parts.push(format!("{SEPARATOR}{title}\n{text}")),
                Err(text) => wrong.push(format!("{}: {title}\n{text}", path.display())),
            }
        }
        let found = parts.join("\n");
        let golden = path.with_extension(ending);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &found).expect("a writable golden file");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("{}\n{found}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "these differ (BLESS=1 rewrites them):\n{}", wrong.join("\n"));
}

/// The scripts of a file with their titles.
fn sections(text: &str) -> Vec<(&str, &str)> {
    let (_, first) = text.split_once(SEPARATOR).unwrap_or_default();
    let separator = format!("\n{SEPARATOR}");
    let parts = first.split(&separator[..]);
    parts.filter_map(|p| p.split_once('\n')).map(|(title, script)| (title, script.trim_matches('\n'))).collect()
}
