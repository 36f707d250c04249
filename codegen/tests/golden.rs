//! Golden tests of code generation: each script of `tests/bpf/NAME.rt` must give the disassembly in
//! `NAME.bpf`, against the recorded kernel. `BLESS=1 cargo test -p rtrace-codegen` rewrites them.
//!
//! A file holds several scripts, each after a line `// --- what it shows`. The goldens are kept short: they
//! show the shape of the code that every event runs through, and fail when it grows.

mod support;

use rtrace_test_support::golden;

#[test]
fn disassembly() {
    golden::check_sections("bpf", "bpf", |script| Ok(support::compile(script).bpf.unwrap_or_default()));
}
