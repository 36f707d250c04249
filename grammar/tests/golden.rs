//! Golden tests of the parser: `tests/parse/NAME.rt` must parse to the tree in `NAME.ast`, and
//! `tests/parse/errors/NAME.rt` must give the errors in `NAME.err`. `BLESS=1` rewrites both.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use rtrace_grammar::{SyntaxErrorKind, ast::Span, dump, parse};
use rtrace_test_support::golden::check;
use std::fmt::Write as _;
use support::path_part;

#[test]
fn trees() {
    check("parse", "ast", |script| match parse(script, 0, path_part) {
        Ok(program) if script.starts_with(b"// positions") => Ok(dump::dump_with_positions(&program)),
        Ok(program) => Ok(dump::dump(&program)),
        Err(errors) => Err(format!("{errors:#?}\n{}", String::from_utf8_lossy(script))),
    });
}

#[test]
fn errors() {
    check("parse/errors", "err", |script| match parse(script, 0, path_part) {
        Ok(program) => Err(format!("parsed:\n{}\n{}", String::from_utf8_lossy(script), dump::dump(&program))),
        Err(errors) => Ok(errors.iter().map(|e| format!("{} {}\n", place(script, e.span), kind(&e.kind))).collect()),
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
