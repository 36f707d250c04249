//! The examples that stand in the tables: what the manual and the messages show must be true.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use rtrace_lang::codes::Code;
use rtrace_lang::{builtins, probes};
use rtrace_test_support::golden;
use support::{analyse, analyse_aloud, kernel};

/// Every builtin's example compiles, uses it, and the row is complete.
#[test]
fn builtins_compile() {
    let kernel = kernel();
    let mut wrong = Vec::new();
    for row in builtins::all() {
        assert!(!row.doc.is_empty() && !row.signatures.is_empty(), "{} lacks its description", row.name);
        let word = if row.name == "argN" { "arg" } else { row.name };
        assert!(row.example.contains(word), "the example of {} does not use it: {}", row.name, row.example);
        let header = if row.unsafe_ { "// options: unsafe\n" } else { "" };
        if let Err(failure) = analyse("example", &format!("{header}{}", row.example), &kernel) {
            wrong.push(format!("{}:\n{}", row.name, failure.text()));
        }
        // What stands without parentheses may be called.
        let called = called(row.example, if row.name == "argN" { "arg0" } else { row.name });
        if row.arity.0 == 0
            && let Err(failure) = analyse("example", &format!("{header}{called}"), &kernel)
        {
            wrong.push(format!("{} with parentheses:\n{}", row.name, failure.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A script with `()` behind each use of a name that has none.
fn called(script: &str, name: &str) -> String {
    let mut out = String::new();
    let mut rest = script;
    while let Some(at) = rest.find(name) {
        let (before, found) = rest.split_at(at);
        let after = &found[name.len()..];
        let inside = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || "_(:$@.".contains(c));
        let whole = !inside(before.chars().last()) && !inside(after.chars().next());
        // In parentheses it may well stand first.
        let whole = whole || (before.ends_with('(') && !inside(after.chars().next()));
        out.extend([before, name, if whole { "()" } else { "" }]);
        rest = after;
    }
    out + rest
}

/// Names are found, and only once.
#[test]
fn builtin_names_are_unique() {
    let mut names: Vec<&str> = builtins::names().collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(builtins::find("arg0").is_some() && builtins::find("arg12").is_some() && builtins::find("argx").is_none());
}

/// Every probe kind's example compiles, and its name and aliases lead to it.
#[test]
fn probe_kinds_compile() {
    let kernel = kernel();
    let mut wrong = Vec::new();
    for kind in probes::KINDS {
        if let Err(failure) = analyse("example", kind.example, &kernel) {
            wrong.push(format!("{}:\n{}", kind.name, failure.text()));
        }
        for name in kind.aliases.iter().chain([&kind.name]) {
            assert_eq!(probes::find(name).map(|k| k.name), Some(kind.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A code's failing example gives that code, and its mended example compiles.
#[test]
fn codes_hold() {
    let kernel = kernel();
    let mut wrong = Vec::new();
    for code in Code::ALL {
        assert!(!code.title().is_empty() && !code.explanation().is_empty());
        assert_eq!(Code::find(code.name()), Some(*code));
        let (bad, good) = code.examples();
        if !bad.is_empty() || *code == Code::EmptyScript {
            let (result, warnings) = analyse_aloud("example", bad, &kernel);
            match result {
                Ok(_) if warnings.diagnostics.iter().any(|d| d.code == *code) => {}
                Ok(_) => wrong.push(format!("{}: this compiles: {bad}", code.name())),
                Err(failure) if failure.diagnostics.iter().any(|d| d.code == *code) => {}
                Err(failure) => wrong.push(format!("{}: {bad}\ngives\n{}", code.name(), failure.text())),
            }
        }
        if !good.is_empty()
            && let Err(failure) = analyse("example", good, &kernel)
        {
            wrong.push(format!("{}: the mended example gives\n{}", code.name(), failure.text()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `docs/functions.md` is what the tables say.
#[test]
fn the_manual_is_up_to_date() {
    let page = golden::path("../docs/functions.md");
    let differs = golden::difference(&page, &rtrace_lang::manual::page()).is_some();
    assert!(!differs, "docs/functions.md is old: BLESS=1 cargo test -p rtrace-lang rewrites it");
}
