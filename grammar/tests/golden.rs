//! Golden tests of the parser: `tests/parse/NAME.rt` must parse to the tree in `NAME.ast`, and
//! `tests/parse/errors/NAME.rt` must give the errors in `NAME.err`. `BLESS=1` rewrites both.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use rtrace_grammar::{SyntaxErrorKind, ast::Span, dump, parse};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use support::path_part;

fn scripts(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parse").join(folder);
    let entries = std::fs::read_dir(root).expect("the folder of golden files");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "rt"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

/// Compares (or, to bless, writes) every script's result with the file of that ending beside it.
fn check(folder: &str, ending: &str, result: impl Fn(&[u8]) -> String) {
    let mut wrong = Vec::new();
    for path in scripts(folder) {
        let script = std::fs::read(&path).expect("a script");
        let found = result(&script);
        let golden = path.with_extension(ending);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &found).expect("a writable golden file");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("{}\n{found}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "these differ (BLESS=1 rewrites them):\n{}", wrong.join("\n"));
}

#[test]
fn trees() {
    check("", "ast", |script| match parse(script, 0, path_part) {
        Ok(program) if script.starts_with(b"// positions") => dump::dump_with_positions(&program),
        Ok(program) => dump::dump(&program),
        Err(errors) => panic!("{errors:#?}\n{}", String::from_utf8_lossy(script)),
    });
}

#[test]
fn errors() {
    check("errors", "err", |script| match parse(script, 0, path_part) {
        Ok(program) => panic!("parsed:\n{}\n{}", String::from_utf8_lossy(script), dump::dump(&program)),
        Err(errors) => errors.iter().map(|e| format!("{} {}\n", place(script, e.span), kind(&e.kind))).collect(),
    });
}

/// `line:column "text"`
fn place(script: &[u8], span: Span) -> String {
    let (start, end) = (span.start as usize, span.end as usize);
    let before = &script[..start];
    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
    format!("{line}:{column} \"{}\"", script[start..end].escape_ascii())
}

fn kind(kind: &SyntaxErrorKind) -> String {
    let mut text = format!("{kind:?}");
    if let SyntaxErrorKind::UnexpectedToken { found, expected } = kind {
        text = format!("unexpected {found:?}, expected {}", expected.join(" | "));
    }
    if let SyntaxErrorKind::UnexpectedEnd { expected } = kind {
        text = "unexpected end, expected ".to_owned();
        let _ = write!(text, "{}", expected.join(" | "));
    }
    text
}
