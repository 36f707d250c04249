//! The wording of messages: no string of the sources has a form that the table in CONTRIBUTING.md rules out. The bold
//! words of the column "not" are what is looked for, so that a new rule is a new row.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};

/// Folders whose strings users see.
const FOLDERS: [&str; 5] = ["grammar", "lang", "codegen", "runtime", "src"];

/// A row of the table.
#[derive(Debug)]
struct Rule {
    right: String,
    wrong: String,
    /// The bold parts of `wrong`.
    forbidden: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// The rows below `## Wording`.
fn rules(page: &str) -> Vec<Rule> {
    let (_, chapter) = page.split_once("\n## Wording\n").expect("a chapter on wording");
    let chapter = chapter.split("\n## ").next().unwrap_or_default();
    let rows = chapter.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    // The head and the line below it.
    rows.skip(2)
        .map(|row| {
            let [_, right, wrong] = row.split(" | ").collect::<Vec<_>>()[..] else { panic!("not three cells: {row}") };
            let forbidden = wrong.split("**").skip(1).step_by(2).map(str::to_owned).collect();
            Rule { right: right.to_owned(), wrong: wrong.replace("**", ""), forbidden }
        })
        .collect()
}

/// A format string without what is in its braces: names of variables are no words.
fn plain(text: &str) -> String {
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + "{}" + part.split_once('}').map_or(part, |(_, after)| after))
}

/// Whether a text has these words, whatever the case, not as parts of longer ones.
fn has(text: &str, words: &str) -> bool {
    let (text, words) = (text.to_lowercase(), words.to_lowercase());
    let outside = |c: Option<char>| !c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(&words)
        .any(|(at, _)| outside(text[..at].chars().next_back()) && outside(text[at + words.len()..].chars().next()))
}

/// The string literals of Rust code with the lines where they begin; those of the unit tests at its end are left out.
fn strings(code: &str) -> Vec<(usize, String)> {
    let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(code);
    let (mut found, mut rest, mut line) = (Vec::new(), code, 1);
    // Bytes that belong together: a comment, a string, a character, or one byte.
    while let Some(c) = rest.chars().next() {
        let raw = rest.strip_prefix('r').map(|r| r.len() - r.trim_start_matches('#').len());
        let raw = raw.filter(|n| rest[1 + n..].starts_with('"'));
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(hashes) = raw {
            let (start, end) = (2 + hashes, format!("\"{}", "#".repeat(hashes)));
            let len = rest[start..].find(&end).expect("the end of a raw string");
            found.push((line, rest[start..start + len].to_owned()));
            start + len + end.len()
        } else if c == '"' {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|(_, c)| {
                let is_end = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                is_end
            });
            let (end, _) = end.expect("the end of a string");
            found.push((line, joined(&rest[1..end])));
            end + 1
        } else if c == '\'' {
            character(rest).unwrap_or(1)
        } else {
            c.len_utf8()
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    found
}

/// The length of a character literal; none for a lifetime.
fn character(code: &str) -> Option<usize> {
    let inner = &code[1..];
    let len = match inner.strip_prefix('\\') {
        Some(escape) => 2 + escape.chars().next()?.len_utf8() + escape[1..].find('\'')?,
        None => 1 + inner.chars().next()?.len_utf8(),
    };
    code.get(len..)?.starts_with('\'').then_some(len + 1)
}

/// A string as it is printed where a backslash ends a line.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.trim_start())
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|e| e.expect("an entry").path()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match entry.is_dir() {
            true if !matches!(name.as_str(), "tests" | "examples" | "target") => sources(&entry, all),
            false if name.ends_with(".rs") && name != "tests.rs" => all.push(entry),
            _ => {}
        }
    }
}

#[test]
fn the_rules_tell_right_from_wrong() {
    let rules = rules(&std::fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md"));
    assert_eq!(rules.len(), 20);
    for rule in &rules {
        assert!(!rule.forbidden.is_empty(), "nothing is bold: {rule:?}");
        assert!(rule.forbidden.iter().all(|words| has(&rule.wrong, words)), "{rule:?}");
        for other in &rules {
            assert!(!other.forbidden.iter().any(|words| has(&rule.right, words)), "{rule:?} {other:?}");
        }
    }
}

#[test]
fn strings_are_told_from_code() {
    let code = "let a = \"x is \\\"no\\\" y\"; // \"not this\"\nlet c = '\"'; fn f<'a>(b: &'a str) {}\nlet r = r#\"\"raw\"\"#;\n\
                let l = \"one \\\n    two\";\n#[cfg(test)]\nmod tests {\n    \"nor this\"";
    let found = strings(code);
    let texts: Vec<_> = found.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(texts, [(1, "x is \\\"no\\\" y"), (3, "\"raw\""), (4, "one two")]);
}

#[test]
fn messages_keep_to_the_rules() {
    let root = root();
    let rules = rules(&std::fs::read_to_string(root.join("CONTRIBUTING.md")).expect("CONTRIBUTING.md"));
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| sources(&root.join(folder), &mut files));
    let (mut read, mut wrong) = (0, Vec::new());
    for file in files {
        let code = std::fs::read_to_string(&file).expect("a source");
        for (line, text) in strings(&code) {
            read += 1;
            for rule in &rules {
                for words in rule.forbidden.iter().filter(|words| has(&plain(&text), words)) {
                    let place = file.strip_prefix(&root).unwrap_or(&file).display();
                    wrong.push(format!("{place}:{line}: {text:?} has \"{words}\"; write for example: {}", rule.right));
                }
            }
        }
    }
    assert!(read > 3000, "only {read} strings");
    assert!(wrong.is_empty(), "the table of wording in CONTRIBUTING.md says otherwise:\n{}", wrong.join("\n"));
}
