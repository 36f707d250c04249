//! Raw tracepoints: attached by name, or, when the program was loaded with BTF, to what it was loaded for.

use super::{Link, Reason};
use rtrace_sys as sys;
use std::ffi::CString;
use std::os::fd::BorrowedFd;

pub(super) fn attach(program: BorrowedFd<'_>, name: &str, typed: bool) -> Result<Vec<Link>, Reason> {
    let name = CString::new(name).map_err(|_| Reason("its name contains a NUL byte".to_owned()))?;
    sys::raw_tracepoint_open(program, (!typed).then_some(&name)).map(|fd| vec![Link::whole(fd)]).map_err(|e| {
        Reason::of(
            &e,
            &[
                (libc::ENOENT, "the kernel has no such raw tracepoint"),
                (libc::EINVAL, "its program reads more arguments than the tracepoint has"),
            ],
        )
    })
}
