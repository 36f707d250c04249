//! Lexer, parser, formatter, imports, and all passes up to the typed program.

#![no_main]

#[path = "../limits.rs"]
mod limits;
#[path = "../passes.rs"]
mod passes;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static KERNEL: rtrace_test_support::Recorded = passes::kernel();
}

fuzz_target!(|input: &[u8]| {
    KERNEL.with(|kernel| limits::watched(|| passes::front(input, kernel)));
});
