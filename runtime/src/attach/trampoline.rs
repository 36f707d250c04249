//! fentry and fexit: the program was loaded for one function; opening attaches it there.

use super::{Link, Reason};
use crate::sys;
use std::io;
use std::os::fd::BorrowedFd;

pub(super) fn attach(program: BorrowedFd<'_>) -> Result<Vec<Link>, Reason> {
    // BPF_RAW_TRACEPOINT_OPEN serves all tracing programs, and since Linux 5.5; LINK_CREATE since 5.19.
    sys::raw_tracepoint_open(program, None).map(|fd| vec![Link::trampoline(fd)]).map_err(|e| reason(&e))
}

/// Why the kernel refuses a function, at load or at attach time.
pub(super) fn reason(error: &io::Error) -> Reason {
    Reason::of(
        error,
        &[
            (libc::EINVAL, "the kernel allows no trampoline on this function; a kprobe may work"),
            (libc::ENOENT, "the kernel has no such function"),
            (libc::EBUSY, "something else occupies the start of this function; a kprobe may work"),
            (libc::E2BIG, "as many programs as the kernel allows are on this function already"),
            (524, "this kernel has no BPF trampolines on this architecture; use kprobe"),
        ],
    )
}
