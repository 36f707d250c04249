//! Golden tests of code generation: each script of `tests/bpf/NAME.rt` must give the disassembly in
//! `NAME.bpf`, against the recorded kernel. `BLESS=1 cargo test -p rtrace-codegen` rewrites them.
//!
//! A file holds several scripts, each after a line `// --- what it shows`. The goldens are kept short: they
//! show the shape of the code that every event runs through, and fail when it grows.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::{Path, PathBuf};

const SEPARATOR: &str = "// --- ";

#[test]
fn disassembly() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bpf");
    let entries = std::fs::read_dir(root).expect("the folder of golden files");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "rt"));
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).expect("a readable file");
        let mut found = String::new();
        for (title, script) in support::sections(&text, SEPARATOR) {
            let output = support::compile(script);
            let bpf = output.bpf.unwrap_or_default();
            found.push_str(&format!("{SEPARATOR}{title}\n{bpf}\n"));
        }
        let golden = path.with_extension("bpf");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &found).expect("a writable golden file");
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != found {
            wrong.push(format!("{}\n{found}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "these differ (BLESS=1 rewrites them):\n{}", wrong.join("\n"));
}
