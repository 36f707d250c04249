//! Golden tests of the formatter: each script of `tests/fmt/NAME.rt` must become what `NAME.fmt` says. `BLESS=1`
//! rewrites these; the diff is what to review. What holds for every script is in `lang/tests/format.rs`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use rtrace_grammar::format::{FormatError, format};
use rtrace_test_support::golden::check_sections;
use support::path_part;

#[test]
fn golden() {
    check_sections("fmt", "fmt", |script| {
        // Where a backslash ends the last line, its newline counts.
        let script = format!("{script}\n");
        let once = format(&script, 0, path_part).map_err(|e| format!("{e:?}"))?;
        assert_eq!(format(&once, 0, path_part).as_ref(), Ok(&once), "formatted twice");
        Ok(once)
    });
}

#[test]
fn what_does_not_parse() {
    let Err(FormatError::Syntax(errors)) = format("begin { print( }", 7, path_part) else {
        panic!("this is no script")
    };
    assert_eq!(errors[0].span.start, 7 + 15);
    assert_eq!(format("", 0, path_part).as_deref(), Ok(""));
    assert_eq!(format(" \n // only a comment\n\n", 0, path_part).as_deref(), Ok("// only a comment\n"));
    assert_eq!(format("\u{feff}#!/x\r\nbegin { }\r\n", 0, path_part).as_deref(), Ok("#!/x\nbegin { }\n"));
}

/// Formatting takes no longer than parsing does, whatever is long.
#[test]
fn long_scripts() {
    let many = 4_000;
    for text in [
        format!("begin {{ {} }}", "$x = 1 + 2\n".repeat(many)),
        format!("begin {{ {} }}", "if a { b + 1 } else { c } /* x */ ;".repeat(many)),
        format!("begin {{ f({}1) }}", "1, ".repeat(many)),
        format!("begin {{ f({}1) }}", "{ 1 }, {\n1 }, ".repeat(many / 2)),
        format!("struct s {{ {} }}", "int a[1 + 1]; struct { int *b; } c; ".repeat(many)),
        format!("begin {{ {} }}", ";".repeat(many)),
        "kprobe:f /a + 1/ { b + 1 }\n".repeat(many),
        "kprobe:f { } // x\n".repeat(many),
        "/* x */ ".repeat(many),
        format!("begin {{ $x = {}{{ 2 }}; }}", "if a { 1 } else ".repeat(490)),
        format!("begin {{ $x = {}1{}; }}", "{".repeat(190), "}".repeat(190)),
    ] {
        let start = std::time::Instant::now();
        let once = format(&text, 0, path_part).unwrap_or_else(|e| panic!("{}: {e:?}", &text[..60]));
        assert_eq!(format(&once, 0, path_part).as_ref(), Ok(&once), "{}", &text[..60]);
        assert!(start.elapsed().as_secs() < 30, "{}: {:?}", &text[..60], start.elapsed());
    }
}
