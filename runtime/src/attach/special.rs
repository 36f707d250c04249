//! BEGIN, END, signals, tests and benchmarks: raw tracepoint programs that are never attached, run through BPF_PROG_TEST_RUN. They
//! run in our own process, so `pid` and `comm` are ours.

use super::Reason;
use rtrace_sys as sys;
use std::io;
use std::os::fd::BorrowedFd;

pub(super) fn run(program: BorrowedFd<'_>) -> io::Result<u32> {
    sys::run_raw_tracepoint(program)
}

pub(super) fn reason(error: &io::Error) -> Reason {
    Reason::of(error, &[(524, "this kernel cannot run it (needs Linux 5.10)")])
}
