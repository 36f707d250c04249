//! Golden tests of the language: each script of `tests/typed/NAME.rt` must give the typed program in
//! `NAME.typed`, and each of `tests/diag/NAME.rt` the messages in `NAME.err`, as users see them.
//! `BLESS=1 cargo test -p rtrace-lang` rewrites both; the diff is what to review.
//!
//! A file holds several scripts, each after a line `// --- what it shows`; see `support` for headers.

mod support;

use rtrace_lang::dump;
use rtrace_test_support::golden;
use support::{analyse, analyse_aloud, kernel};

#[test]
fn typed() {
    let kernel = kernel();
    golden::check_sections("typed", "typed", |script| match analyse("script.rt", script, &kernel) {
        // The script stands above what it means.
        Ok(typed) => Ok(script.lines().map(|l| format!("| {l}\n")).collect::<String>() + &dump::dump(&typed)),
        Err(failure) => Err(failure.text()),
    });
}

#[test]
fn diagnostics() {
    let kernel = kernel();
    golden::check_sections("diag", "err", |script| match analyse_aloud("script.rt", script, &kernel) {
        (Ok(_), warnings) if !warnings.diagnostics.is_empty() => Ok(warnings.text()),
        (Ok(typed), _) => Err(format!("this is accepted:\n{script}\n{}", dump::dump(&typed))),
        (Err(failure), _) => Ok(failure.text()),
    });
}
