//! Checking and compiling takes time in proportion to the number of probes. The bounds are generous, for a build
//! without optimisation on a busy machine; `scripts/bench` measures a release build.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

/// Seconds that this thread has been on a processor.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the scheduler's figures");
    let ns: u64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds");
    ns as f64 / 1e9
}

fn seconds(probes: usize) -> f64 {
    let script = support::mixed_script(probes);
    let start = cpu();
    let output = support::compile(&script);
    assert_eq!(output.bundle.programs.len(), probes);
    cpu() - start
}

#[test]
fn compile_time_grows_linearly() {
    // The first compilation initialises LLVM.
    seconds(10);
    // A busy machine may take its time once; what grows faster does so each time.
    let tries: Vec<(f64, f64)> = (0..3).map(|_| (seconds(60), seconds(600))).collect();
    assert!(tries.iter().any(|(few, many)| many < &(16.0 * few)), "seconds for 60 and 600 probes: {tries:.2?}");
    assert!(tries.iter().any(|(_, many)| *many < 12.0), "seconds for 60 and 600 probes: {tries:.2?}");
}
