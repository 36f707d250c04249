//! Replays what fuzzing has found: every input of `tests/fuzz/found` goes through all passes and code generation.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../../tests/fuzz/passes.rs"]
mod passes;

use rtrace_codegen::{Options, compile};
use std::path::Path;
use std::time::{Duration, Instant};

#[test]
fn found_by_fuzzing() {
    // The stack that the program has: a main thread's.
    let replay = std::thread::Builder::new().stack_size(8 << 20).spawn(replay).expect("a thread");
    assert!(replay.join().is_ok(), "an input is at fault: it is the last one named above");
}

fn replay() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/found");
    let kernel = passes::kernel();
    let mut compiled = 0;
    for entry in std::fs::read_dir(root).expect("the folder of inputs") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        let input = std::fs::read(&path).expect("an input");
        let start = Instant::now();
        if let Some((typed, sources)) = passes::front(&input, &kernel) {
            for new in [false, true] {
                let features = Options { atomics: new, percpu_lookup: new, ..Options::default() };
                let how = Options { for_each: new, bpf_loop: new, bpf: true, ..features };
                compiled += usize::from(compile(&typed, &sources, &how).is_ok());
            }
        }
        // A limit for hangs only: other tests run at the same time, and nothing is optimised.
        assert!(start.elapsed() < Duration::from_secs(60), "{}: {:?}", path.display(), start.elapsed());
    }
    assert!(compiled > 0, "none of them compiles: something else is wrong");
}
