//! Hostile scripts: whatever the text, the parser ends soon, with few errors and without a panic.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use rtrace_grammar::dump::dump;
use rtrace_grammar::lexer::{MAX_CHAIN, MAX_ERRORS, MAX_NESTING};
use rtrace_grammar::{SyntaxErrorKind, parse, parse_expr};
use std::time::{Duration, Instant};
use support::path_part;

fn survives(text: &[u8]) {
    let start = Instant::now();
    if let Err(errors) = parse(text, 7, path_part) {
        assert!(!errors.is_empty() && errors.len() <= MAX_ERRORS, "{} errors", errors.len());
        for error in errors {
            assert!(error.span.start >= 7 && error.span.end as usize <= text.len() + 7, "{error:?}");
            assert!(error.span.start <= error.span.end, "{error:?}");
        }
    }
    assert!(start.elapsed() < Duration::from_secs(60), "{} bytes took {:?}", text.len(), start.elapsed());
}

fn too_deep(text: &str) {
    let errors = parse(text.as_bytes(), 0, path_part).expect_err("too deep");
    assert!(errors.iter().any(|e| e.kind == SyntaxErrorKind::NestedTooDeep), "{errors:?}");
}

#[test]
fn nesting() {
    const MANY: usize = 100_000;
    for open in [
        "(",
        "[",
        "{",
        "f(",
        "@x[",
        "(struct a *)(",
        "(1,",
        "(a=",
        "if { ",
        "if (",
        "while a {",
        "{ (",
        "sizeof(",
        "typeof(",
    ] {
        too_deep(&format!("BEGIN {{ $x = {}", open.repeat(MANY)));
        too_deep(&format!("BEGIN {{ {}", open.repeat(MANY)));
    }
    too_deep(&format!("struct a {{ {}", "struct { ".repeat(MANY)));
    too_deep(&format!("kprobe:f / {}", "(".repeat(MANY)));
    let fits = MAX_NESTING - 2;
    let balanced = format!("BEGIN {{ $x = {}1{} }}", "(".repeat(fits), ")".repeat(fits));
    assert!(parse(balanced.as_bytes(), 0, path_part).is_ok());
}

/// Long chains need no brackets to make a deep tree; dropping it must not overflow the stack.
#[test]
fn chains() {
    const MANY: usize = 100_000;
    for (before, link, after) in [
        ("$x = 1", "+1", ""),
        ("$x = ", "a ? b : ", "c"),
        ("$x = ", "- ", "1"),
        ("$x = ", "!", "1"),
        ("$x = ", "*", "a"),
        ("$x = ", "(int)", "a"),
        ("$x = ", "(foo)", "a"),
        ("$x = ", "comptime ", "a"),
        ("$x = ", "++", "a"),
        ("$x", "++", ""),
        ("$x = a", ".b", ""),
        ("$x = a", "->b", ""),
        ("$x = a", ".0", ""),
        ("$x = a", "[0]", ""),
        ("$x = 1", " + (1)", ""),
        ("$x = ", "if a { 1 } else ", "{ 2 }"),
        ("", "if a { } else ", "{ }"),
        ("$x = ", "{ 1 } + ", "1"),
        ("let $x: int", "*", ""),
        ("let $x: int", "[1]", ""),
    ] {
        too_deep(&format!("BEGIN {{ {before}{}{after} }}", link.repeat(MANY)));
        let operators = link.matches(|c: char| !c.is_ascii_digit() && c != ' ').count();
        let fits = (MAX_CHAIN - 3) / operators;
        let text = format!("macro m() {{ {before}{}{after} }}", link.repeat(fits));
        match parse(text.as_bytes(), 0, path_part) {
            Ok(program) => assert!(dump(&program.clone()).len() > fits),
            Err(errors) => panic!("{link}: {errors:?}"),
        }
    }
    too_deep(&format!("BEGIN {{ $x = {}", "a ? ".repeat(MANY)));
    // Chains in brackets add up over the levels.
    let level = "1+".repeat(MAX_CHAIN / 2);
    too_deep(&format!("BEGIN {{ $x = {level}({level}({level}1)) }}"));
    too_deep(&format!("BEGIN {{ $x = {{ {level}1 }} + {level}{{ {level}1 }} }}"));
    too_deep(&format!("BEGIN {{ $x = (((1{})){}){}; }}", "+1".repeat(400), "+1".repeat(400), "+1".repeat(400)));
}

/// Sequences do not count as nesting, however long they are.
#[test]
fn long_but_flat() {
    let many = 20_000;
    for text in [
        format!("BEGIN {{ {} }}", "if a { b + 1 } else { c } ".repeat(many)),
        format!("BEGIN {{ {} }}", "$x = 1 + 2 * 3; ".repeat(many)),
        format!("BEGIN {{ {} }}", "$x = 1 + 2\n".repeat(many)),
        format!("BEGIN {{ {} }}", "while a { f(1 + 1); } for $i : 0..1+1 { } { } unroll 1+1 { } ".repeat(many / 4)),
        format!("BEGIN {{ {} }}", "@x[1, 2]++; ".repeat(many)),
        format!("enum {{ {} }}", "A = 1 << 2, ".repeat(many)),
        format!("struct s {{ {} }}", "int a[1 + 1]; struct { int *b; } c; ".repeat(many)),
        "kprobe:f /a + 1/ { b + 1 }\n".repeat(many),
        format!("{} kprobe:f {{ }}", "kprobe:f,\n".repeat(many)),
        format!("BEGIN {{ f({}1) }}", "1, ".repeat(many)),
    ] {
        let start = Instant::now();
        if let Err(errors) = parse(text.as_bytes(), 0, path_part) {
            panic!("{}: {errors:?}", &text[..60]);
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{}: {:?}", &text[..60], start.elapsed());
    }
}

#[test]
fn random_bytes() {
    let mut random = fastrand::Rng::with_seed(0x1234_5678_9abc_def1);
    const MEGABYTE: usize = 1_000_000;
    let bytes: Vec<u8> = (0..MEGABYTE).map(|_| random.u8(..)).collect();
    survives(&bytes);
    let ascii: Vec<u8> = bytes.iter().map(|b| b & 0x7f).collect();
    survives(&ascii);
    let printable: Vec<u8> = bytes.iter().map(|b| 32 + b % 95).collect();
    survives(&printable);
    survives(&[b"BEGIN {".as_slice(), &printable].concat());
    for byte in 0..=255 {
        survives(&vec![byte; MEGABYTE / 40]);
        survives(&[b"BEGIN { ".as_slice(), &vec![byte; MEGABYTE / 40]].concat());
        survives(&[b"kprobe:f / ".as_slice(), &vec![byte; MEGABYTE / 40]].concat());
    }
    for pair in [
        "/*",
        "(/*",
        "//",
        "\"\\",
        "(a",
        "/ ",
        "(typeof(",
        "a/",
        "$x",
        "@x",
        "};",
        "{;",
        "kprobe:f,",
        "}\n",
        "a\n",
        "( /*",
    ] {
        survives(pair.repeat(MEGABYTE / 40).as_bytes());
        survives(format!("BEGIN {{ {}", pair.repeat(MEGABYTE / 40)).as_bytes());
    }
}

#[test]
fn random_words() {
    const WORDS: &[&str] = &[
        "BEGIN",
        "kprobe:f",
        "uprobe:/bin/sh:f",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ";",
        ",",
        ":",
        "?",
        ".",
        "..",
        "->",
        "++",
        "--",
        "=",
        "+=",
        "/",
        "*",
        "&",
        "!",
        "==",
        "<<",
        "if",
        "else",
        "for",
        "while",
        "unroll",
        "let",
        "return",
        "break",
        "sizeof",
        "typeof",
        "offsetof",
        "comptime",
        "struct",
        "union",
        "enum",
        "typedef",
        "macro",
        "fn",
        "import",
        "config",
        "$x",
        "@x",
        "@",
        "$1",
        "$#",
        "1",
        "10ms",
        "\"s\"",
        "x",
        "uint64",
        "int",
        "(int)",
        "/ {",
        "\n",
        "#if\n",
        "__attribute__((packed))",
        "//\n",
        "/* */",
        "const",
        "\"",
        "\\",
        "{ }",
        "a;",
        "f(1)",
        "$x = 1;",
    ];
    let mut random = fastrand::Rng::with_seed(42);
    for _ in 0..400 {
        let count = 20 + random.usize(..600);
        let text: Vec<&str> = (0..count).map(|_| WORDS[random.usize(..WORDS.len())]).collect();
        survives(text.join(" ").as_bytes());
        let _ = parse_expr(text.join(" ").as_bytes(), 0);
    }
}

/// Every prefix of the golden scripts, and random damage to them.
#[test]
fn damaged_scripts() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/parse");
    let mut random = fastrand::Rng::with_seed(7);
    for entry in std::fs::read_dir(root).expect("the golden scripts") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "rt") {
            continue;
        }
        let script = std::fs::read(&path).expect("a script");
        for end in (0..script.len()).step_by(7) {
            survives(&script[..end]);
        }
        for _ in 0..100 {
            let mut damaged = script.clone();
            for _ in 0..1 + random.usize(..4) {
                let at = random.usize(..damaged.len() + 1);
                let byte = b"(){}[];,/\"\\*$@.x1\n #"[random.usize(..20)];
                if random.usize(..2) == 0 || at == damaged.len() {
                    damaged.insert(at, byte);
                } else {
                    damaged.remove(at);
                }
            }
            survives(&damaged);
        }
    }
}

#[test]
fn entry_points() {
    assert!(parse(b"", 0, path_part).is_ok_and(|p| p.items.is_empty()));
    assert!(parse("\u{feff}#!/x\r\nBEGIN { }\r\n".as_bytes(), 0, path_part).is_ok_and(|p| p.items.len() == 1));
    assert!(parse(b"BEGIN { }", u32::MAX - 3, path_part).is_err_and(|e| e.len() == 1));
    assert!(parse_expr(b" 1 + 2 // c", 0).is_ok());
    assert!(parse_expr(b"(struct a *)x /* c */", 0).is_ok());
    assert!(parse_expr(b"(u32)-1", 0).is_ok());
    assert!(parse_expr(b"{ 1 }", 0).is_ok());
    assert!(parse_expr(b"1 +", 0).is_err());
    assert!(parse_expr(b"", 0).is_err());
    assert!(parse_expr(b"1; 2", 0).is_err());
    assert!(parse_expr(b"1 }", 0).is_err());
}

/// 94,000 tokens: about 0.3 s without optimisation, 10 ms with. The limit only catches what is not linear.
#[test]
fn speed() {
    let clause = "kprobe:vfs_* /pid == 1 && comm != \"x\"/ { @x[pid, comm] = hist(arg0 / 1000); if ($a->b.c > 5) { printf(\"%d %s\\n\", (uint64)$a, str(args.name)); } }\n";
    let text = clause.repeat(94_000 / 60);
    let start = Instant::now();
    assert!(parse(text.as_bytes(), 0, path_part).is_ok());
    println!("{} KB in {:?}", text.len() / 1000, start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(30));
}
