//! Code generation for what the passes before it accept, for a kernel with all features and for one with none.

#![no_main]

#[path = "../limits.rs"]
mod limits;
#[path = "../passes.rs"]
mod passes;

use libfuzzer_sys::{Corpus, fuzz_target};
use rtrace_codegen::{Options, compile};

thread_local! {
    static KERNEL: rtrace_test_support::Recorded = passes::kernel();
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((typed, sources)) = KERNEL.with(|kernel| passes::front(input, kernel)) else { return Corpus::Reject };
    // Which of the two is up to the input: both for each would only halve the number of inputs.
    let new = input.len() % 2 == 0;
    let how =
        Options { atomics: new, percpu_lookup: new, for_each: new, bpf_loop: new, bpf: true, ..Options::default() };
    limits::watched(|| {
        if let Err(errors) = compile(&typed, &sources, &how) {
            assert!(!errors.is_empty(), "refused without a reason");
        }
    });
    Corpus::Keep
});
