//! Formatting preserves the script and is idempotent: for every script in the tree, and for the same scripts
//! with comments put between their tokens.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use rtrace_grammar::dump::dump;
use rtrace_grammar::format::format;
use rtrace_grammar::parse;
use rtrace_lang::codes::Code;
use rtrace_lang::probes::path_part;
use rtrace_lang::{builtins, manual, probes};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every script of the repository that can be found: files, their sections, programs of the guest tests, examples of
/// the tables and of the documentation. Some do not parse, and are meant to.
fn scripts() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["stdlib", "tests", "docs"] {
        walk(&root.join(folder), &mut files);
    }
    files.push(root.join("README.md"));
    let mut scripts = BTreeSet::new();
    for path in files {
        let text = std::fs::read(&path).expect("a readable file");
        let Ok(text) = String::from_utf8(text) else { continue };
        match path.extension().and_then(|e| e.to_str()) {
            Some("rt" | "bt") => {
                scripts
                    .extend(text.split("// --- ").skip(1).filter_map(|s| s.split_once('\n')).map(|s| s.1.to_owned()));
                scripts.insert(text);
            }
            Some("test") => {
                scripts.extend(text.split("-e '").skip(1).filter_map(|s| s.split('\'').next()).map(String::from))
            }
            Some("md") => scripts.extend(text.split("```").skip(1).step_by(2).map(str::to_owned)),
            _ => {}
        }
    }
    scripts.extend(builtins::all().map(|b| b.example.to_owned()));
    scripts.extend(probes::KINDS.iter().map(|k| k.example.to_owned()));
    scripts.extend(Code::ALL.iter().flat_map(|c| [c.examples().0.to_owned(), c.examples().1.to_owned()]));
    assert!(!manual::page().is_empty());
    scripts
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            files.push(path);
        } else if !path.ends_with("target") && !path.ends_with("corpus") {
            walk(&path, files);
        }
    }
}

/// Formats a script and checks the result; whether it parses at all.
fn holds(script: &str) -> bool {
    let Ok(tree) = parse(script.as_bytes(), 0, path_part) else { return false };
    let once = format(script, 0, path_part).unwrap_or_else(|e| panic!("{e:?} for\n{script}"));
    let again = parse(once.as_bytes(), 0, path_part).unwrap_or_else(|e| panic!("{e:?}\n{script}\nbecomes\n{once}"));
    assert_eq!(dump(&again), dump(&tree), "\n{script}\nbecomes\n{once}");
    assert_eq!(comments(&once), comments(script), "\n{script}\nbecomes\n{once}");
    let twice = format(&once, 0, path_part).unwrap_or_else(|e| panic!("{e:?} for\n{once}"));
    assert!(twice == once, "\n{script}\nbecomes\n{once}\nand then\n{twice}");
    true
}

/// The comments of a script, in order, blanks left out. Attach points with `//` would be taken for some.
fn comments(script: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = script[at..].find(['"', '/', '#']) {
        at += next;
        let rest = &script[at..];
        let line = rest.find('\n').unwrap_or(rest.len());
        let mut len = 1;
        if let Some(body) = rest.strip_prefix('"') {
            let mut escaped = false;
            let end = body.find(|c| {
                let end = !escaped && (c == '"' || c == '\n');
                escaped = !escaped && c == '\\';
                end
            });
            len = end.map_or(rest.len(), |end| end + 2);
        } else if rest.starts_with('#') && !script[..at].ends_with('$') {
            len = line;
        } else if rest.starts_with("//") || rest.starts_with("/*") {
            len = if rest.starts_with("//") { line } else { rest[2..].find("*/").map_or(rest.len(), |end| end + 4) };
            found.push(rest[..len].chars().filter(|c| !c.is_whitespace()).collect());
        }
        at += len;
    }
    found
}

#[test]
fn every_script() {
    let scripts = scripts();
    let parsed = scripts.iter().filter(|script| holds(script)).count();
    assert!(parsed > 400, "only {parsed} of {} parse", scripts.len());
}

/// The tools are written as the formatter writes them.
#[test]
fn tools() {
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../stdlib"), &mut files);
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "rt")) {
        let text = std::fs::read_to_string(path).expect("a tool");
        let formatted = format(&text, 0, path_part).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
        assert!(text == formatted, "run: rtrace --fmt --write {}\n{formatted}", path.display());
    }
}

/// Comments, ends of lines and blanks anywhere between two tokens.
#[test]
fn comments_everywhere() {
    let mut random = fastrand::Rng::with_seed(0x666d_7473);
    let mut parsed = 0;
    for script in scripts().iter().filter(|script| script.len() < 4000) {
        let places = boundaries(script);
        for round in 0..12 {
            let mut text = String::new();
            let mut from = 0;
            for (number, place) in places.iter().enumerate() {
                if random.usize(..1 + places.len() / 6) > 1 {
                    continue;
                }
                text.push_str(&script[from..*place]);
                from = *place;
                match random.usize(..8) {
                    0 => text.push_str(&format!("/* {number} */")),
                    1 => text.push_str(&format!(" /* {number} */ ")),
                    2 => text.push_str(&format!("\n/* {number} */ ")),
                    3 => text.push_str(&format!("/* {number}\n   * {round} */")),
                    4 => text.push_str(&format!(" // {number}\n")),
                    5 => text.push_str(&format!("\n\n// {number}\n\n")),
                    6 => text.push('\n'),
                    _ => text.push(' '),
                }
            }
            text.push_str(&script[from..]);
            parsed += usize::from(holds(&text));
        }
    }
    assert!(parsed > 1500, "only {parsed} parse");
}

/// Writes the scripts and their words as files, for `scripts/fuzz`.
#[test]
#[ignore = "writes to the folder that SEEDS names"]
fn seeds() {
    let folder = PathBuf::from(std::env::var_os("SEEDS").expect("SEEDS"));
    std::fs::create_dir_all(folder.join("seeds")).expect("a folder to write to");
    let scripts = scripts();
    let mut words = BTreeSet::new();
    for (number, script) in scripts.iter().filter(|script| script.len() <= 4096).enumerate() {
        std::fs::write(folder.join(format!("seeds/{number}")), script).expect("a seed");
        let places = boundaries(script);
        words.extend(places.windows(2).map(|w| script[w[0]..w[1]].trim()).filter(|w| w.len() < 40));
    }
    let quoted = |word: &str| format!("\"{}\"\n", word.replace('\\', "\\\\").replace('"', "\\\""));
    words.retain(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic()));
    std::fs::write(folder.join("words"), words.into_iter().map(quoted).collect::<String>()).expect("a dictionary");
}

/// The boundaries between tokens, outside of strings.
fn boundaries(script: &str) -> Vec<usize> {
    let mut places = vec![0];
    let word = |c: char| c.is_ascii_alphanumeric() || "_$@".contains(c);
    let (mut quoted, mut last) = (false, ' ');
    for (at, c) in script.char_indices() {
        if !(quoted || word(c) && word(last)) {
            places.push(at);
        }
        if c == '"' && last != '\\' {
            quoted = !quoted;
        }
        last = c;
    }
    places.push(script.len());
    places.dedup();
    places
}
