//! fentry and fexit: the program was loaded for one function, of the kernel or of a BPF program; opening attaches it there.

use super::{Link, Reason};
use rtrace_facts::programs;
use rtrace_sys as sys;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

const FULL: &str = "this function already has as many programs as the kernel allows";

pub(super) fn attach(program: BorrowedFd<'_>) -> Result<Vec<Link>, Reason> {
    // BPF_RAW_TRACEPOINT_OPEN serves all tracing programs, and since Linux 5.5; LINK_CREATE since 5.19.
    sys::raw_tracepoint_open(program, None).map(|fd| vec![Link::trampoline(fd)]).map_err(|e| reason(&e))
}

/// The BPF program that has a function to be traced, if it still is the one that was meant.
pub(super) fn program(number: u32, function: &str, btf_id: u32) -> Result<OwnedFd, Reason> {
    let gone = || Reason(format!("BPF program {number} with this function no longer exists"));
    let program = sys::program(number).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOENT) => gone(),
        _ => Reason::of(&e, &[(libc::EPERM, "the kernel shows BPF programs to root, or with CAP_SYS_ADMIN")]),
    })?;
    if programs::has_function(number, btf_id, function) { Ok(program) } else { Err(gone()) }
}

/// The reason why the kernel refuses a function of a BPF program.
pub(super) fn program_reason(error: &io::Error) -> Reason {
    Reason::of(error, &[(libc::EINVAL, "the kernel allows nobody to trace this BPF program"), (libc::E2BIG, FULL)])
}

/// The reason why the kernel refuses a function, at load or at attach time.
pub(super) fn reason(error: &io::Error) -> Reason {
    Reason::of(
        error,
        &[
            (libc::EINVAL, "the kernel allows no trampoline on this function; a kprobe may work"),
            (libc::ENOENT, "the kernel has no such function"),
            (libc::EBUSY, "the start of this function is already in use; a kprobe may work"),
            (libc::E2BIG, FULL),
            (524, "the kernel's trampolines on this architecture do not support this function; use kprobe"),
        ],
    )
}
