//! Hostile scripts: whatever parses, the passes end soon and without a panic, with a program or with
//! errors that have a place in the script.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use rtrace_lang::{builtins, dump, probes};
use rtrace_test_support::Recorded;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{analyse, kernel};

/// Whether the script compiles; anything but a panic or a hang is right.
fn survives(script: &str, kernel: &Recorded) -> bool {
    let start = Instant::now();
    let compiles = match analyse("script.rt", script, kernel) {
        Ok(typed) => {
            // The text form reaches every node.
            assert!(!dump::dump(&typed).is_empty() || typed.programs.is_empty());
            true
        }
        Err(failure) => {
            assert!(!failure.diagnostics.is_empty(), "refused without a reason:\n{script}");
            for d in &failure.diagnostics {
                assert!(!d.message.contains("internal"), "{}\n{script}", d.message);
                assert!(d.labels.iter().all(|(s, _)| s.start <= s.end && s.end as usize <= script.len()), "{d:?}");
            }
            assert!(failure.text().contains("RT0"));
            false
        }
    };
    assert!(start.elapsed() < Duration::from_secs(20), "{:?} for\n{script}", start.elapsed());
    compiles
}

/// All scripts of the golden tests and the tables.
fn corpus() -> Vec<String> {
    let mut scripts: Vec<String> = builtins::all().map(|b| b.example.to_owned()).collect();
    scripts.extend(probes::KINDS.iter().map(|k| k.example.to_owned()));
    for folder in ["typed", "diag"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(folder);
        let mut paths: Vec<_> =
            std::fs::read_dir(root).expect("a folder").map(|e| e.expect("an entry").path()).collect();
        paths.retain(|p| p.extension().is_some_and(|e| e == "rt"));
        paths.sort();
        for path in paths {
            let text = std::fs::read_to_string(path).expect("a script");
            // Headers configure the test; here the text is all that counts.
            let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with("// ") || l.starts_with("// ---")).collect();
            scripts
                .extend(lines.join("\n").split("// --- ").filter_map(|s| s.split_once('\n')).map(|s| s.1.to_owned()));
        }
    }
    scripts
}

/// Words, numbers, strings and single signs.
fn tokens(script: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut quoted = false;
    let word = |c: char| c.is_ascii_alphanumeric() || "_$@".contains(c);
    for c in script.chars() {
        let joins = quoted || word(c) && tokens.last().and_then(|t| t.chars().last()).is_some_and(word);
        match tokens.last_mut() {
            Some(last) if joins => last.push(c),
            _ => tokens.push(c.to_string()),
        }
        if c == '"' {
            quoted = !quoted;
        }
    }
    tokens
}

#[test]
fn truncated() {
    let kernel = kernel();
    for script in corpus() {
        // Every eleventh place: over all scripts that is every kind of place.
        for (at, _) in script.char_indices().step_by(11) {
            survives(&script[..at], &kernel);
            // Closed again, more of it is checked.
            survives(&format!("{} }}", &script[..at]), &kernel);
        }
    }
}

/// Tokens of one script put into another: most of these parse, and mean something odd.
#[test]
fn grafted() {
    let kernel = kernel();
    let corpus: Vec<Vec<String>> = corpus().iter().map(|s| tokens(s)).collect();
    let mut words: Vec<String> =
        corpus.iter().flatten().filter(|t| t.chars().any(char::is_alphanumeric)).cloned().collect();
    words.sort();
    words.dedup();
    words.extend(ODD.iter().map(|s| (*s).to_owned()));
    let mut random = fastrand::Rng::with_seed(0x7261_6365);
    let (mut compiled, rounds) = (0, 1_500);
    for _ in 0..rounds {
        let mut script = corpus[random.usize(..corpus.len())].clone();
        for _ in 0..=random.usize(..3) {
            let at = random.usize(..script.len());
            if random.usize(..4) == 0 {
                script.remove(at);
            } else if script[at].chars().any(char::is_alphanumeric) || random.usize(..8) == 0 {
                words[random.usize(..words.len())].clone_into(&mut script[at]);
            }
            if script.is_empty() {
                break;
            }
        }
        compiled += usize::from(survives(&script.concat(), &kernel));
    }
    assert!(compiled > rounds / 20, "only {compiled} compile: the test has lost its teeth");
}

/// Values that are easily forgotten.
const ODD: &[&str] = &[
    "0",
    "-1",
    "9223372036854775807",
    "(-9223372036854775807 - 1)",
    "18446744073709551615",
    "4294967296",
    "\"\"",
    "()",
    "(1,)",
    "(1, (2, \"a\"))",
    "(a = 1, b = comm)",
    "{ 1 }",
    "(uint8[4294967295])arg0",
    "(struct sk_buff *)0",
    "*(struct sk_buff *)arg0",
    "(string[65536])comm",
    "$x",
    "@x",
    "@x[1]",
    "@",
    "(int8)-1",
    "(bool)2",
    "true",
    "kstack",
    "1 / 0",
    "1 % 0",
    "1 << 64",
    "ntop(1)",
    "nsecs",
];

/// Statements and expressions put together at random.
#[test]
fn soup() {
    let kernel = kernel();
    let mut words: Vec<String> = ODD.iter().map(|s| (*s).to_owned()).collect();
    for b in builtins::all() {
        words.push(b.name.to_owned());
        words.push(format!("{}(", b.name));
    }
    for s in [
        "$x",
        "$y",
        "@a",
        "@a[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ";",
        ",",
        ".",
        "->",
        "+",
        "-",
        "*",
        "/",
        "%",
        "&",
        "|",
        "^",
        "<<",
        ">>",
        "<",
        ">",
        "==",
        "!=",
        "&&",
        "||",
        "!",
        "~",
        "?",
        ":",
        "=",
        "+=",
        "++",
        "--",
        "..",
        "if",
        "else",
        "while",
        "for",
        "unroll",
        "return",
        "break",
        "let",
        "args.skb",
        "args",
        "->len",
        ".0",
        "[0]",
        "(struct sk_buff *)",
        "arg0",
        "\"%d\"",
        "sizeof(",
        "offsetof(",
        "1",
    ] {
        words.push(s.to_owned());
    }
    let kinds = [
        "fentry:ip_rcv",
        "kprobe:vfs_read",
        "tracepoint:sched:sched_switch",
        "begin",
        "kprobe:vfs_*",
        "fexit:vfs_read",
    ];
    let mut random = fastrand::Rng::with_seed(0x736f_7570);
    for _ in 0..10_000 {
        let mut script = format!("{} {{ ", kinds[random.usize(..kinds.len())]);
        for _ in 0..random.usize(..12) {
            script.push_str(&words[random.usize(..words.len())]);
            script.push(' ');
        }
        survives(&(script + "}"), &kernel);
    }
}

/// Small scripts that stand for much.
#[test]
fn bombs() {
    let kernel = kernel();
    let repeat = |open: &str, inner: &str, n: usize| format!("begin {{ {}{inner}{} }}", open.repeat(n), "}".repeat(n));
    assert!(!survives(&repeat("unroll(100) {", "print(1)", 8), &kernel));
    survives(&repeat("if (pid) {", "print(1)", 60), &kernel);
    survives(&repeat("for ($i : 0..10) {", "print(1)", 40), &kernel);
    let mut doubling = String::from("begin { $a0 = (1, 2); ");
    for i in 0..40 {
        doubling.push_str(&format!("$a{} = ($a{i}, $a{i}); ", i + 1));
    }
    assert!(!survives(&(doubling + "print($a40) }"), &kernel));
    let strings = "str(arg0), ".repeat(200);
    survives(&format!("kprobe:vfs_read {{ print(({strings} 1)) }}"), &kernel);
    survives(&format!("kprobe:vfs_read {{ @[{strings} 1] = 1 }}"), &kernel);
    let many: String = (0..2000).map(|i| format!("@m{i} = hist(arg2, 5); ")).collect();
    survives(&format!("kprobe:vfs_read {{ {many} }}"), &kernel);
    let printed: String = (0..2000).map(|i| format!("printf(\"{i} %d %s\\n\", pid, comm); ")).collect();
    survives(&format!("kprobe:vfs_read {{ {printed} }}"), &kernel);
}

/// Offsets, sizes and indices at the ends of what numbers can hold.
#[test]
fn large_numbers() {
    let kernel = kernel();
    for e in [
        "((uint64 *)arg0)[9223372036854775807]",
        "((struct sk_buff *)arg0)[9223372036854775807].len",
        "*((struct sk_buff *)arg0 - 9223372036854775807)",
        "sizeof(uint64[4294967295])",
        "((uint64)arg0)[4294967295]",
        "buf(arg0, 9223372036854775807)",
        "str(arg0, 9223372036854775807)",
        "kstack(-1)",
        "-9223372036854775808 / -1",
        "1 << -1",
        "(int8)128 + (uint8)256",
        "strftime(\"%H\", -1)",
        "$9223372036854775807",
        "arg99",
    ] {
        survives(&format!("kprobe:vfs_read {{ print({e}); @ = {e}; @k[{e}] = 1; $x = {e}; }}"), &kernel);
        survives(&format!("kprobe:vfs_read {{ @ = hist({e}); @l = lhist({e}, {e}, {e}, {e}) }}"), &kernel);
    }
    survives("begin { @ = lhist(1, -9223372036854775807, 9223372036854775807, 1) }", &kernel);
    survives("begin { unroll(9223372036854775807) { } }", &kernel);
    survives("let @x = hash(18446744073709551615); begin { @x[1] = 1 }", &kernel);
    survives("interval:s:18446744073709551615 { } profile:hz:18446744073709551615 { }", &kernel);
    survives("kprobe:vfs_read+18446744073709551615 { } uprobe:/bin/bash:readline+18446744073709551615 { }", &kernel);
    survives("uprobe:/bin/bash:0xffffffffffffffff { }", &kernel);
}

/// A map whose type two probes push back and forth settles.
#[test]
fn inference_ends() {
    let kernel = kernel();
    let chain: String = (0..60).map(|i| format!("@m{} = @m{i}; ", i + 1)).collect();
    survives(&format!("kprobe:vfs_read {{ {chain} @m0 = comm }}"), &kernel);
    let reverse: String = (0..60).rev().map(|i| format!("@m{} = @m{i}; ", i + 1)).collect();
    survives(&format!("kprobe:vfs_read {{ {reverse} @m0 = comm }}"), &kernel);
    survives("begin { @a = @b; @b = (@a, 1) }", &kernel);
    survives("begin { $x = 1; while (1) { $x = ($x, 1) } }", &kernel);
    survives("begin { @x = (1, 2); @x = (@x, 3) }", &kernel);
}
