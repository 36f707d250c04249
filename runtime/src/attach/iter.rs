//! Iterators: a link that a file can be made of, whose reading runs the program. The runtime reads it once; one that
//! is pinned is left to others.

use super::{Link, Reason};
use rtrace_sys as sys;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd};

pub(super) fn attach(program: BorrowedFd<'_>, pin: Option<&str>, dry_run: bool) -> Result<Vec<Link>, Reason> {
    let link = sys::iter_link(program).map_err(|e| {
        let of_a_map = "this iterator is over the elements of one map, which cannot be specified here";
        Reason::of(&e, &[(libc::EBADF, of_a_map), (libc::EINVAL, of_a_map)])
    })?;
    match pin.filter(|_| !dry_run) {
        None if pin.is_some() => Ok(vec![Link::whole(link)]),
        None => Ok(vec![Link::whole(link).iterating()]),
        Some(path) => {
            let name = CString::new(path).map_err(|_| Reason("its file name contains a NUL byte".to_owned()))?;
            sys::pin(link.as_fd(), &name).map_err(|e| match e.raw_os_error() {
                Some(libc::EEXIST) => Reason(format!("{path} already exists; rm {path} removes it")),
                Some(libc::ENOENT) => Reason(format!("the directory of {path} does not exist")),
                Some(libc::EPERM | libc::EINVAL) => Reason(format!(
                    "{path} is not on a BPF file system (mount -t bpf bpf /sys/fs/bpf), or its name contains a dot"
                )),
                _ => Reason(format!("cannot create {path}: {e}")),
            })?;
            Ok(Vec::new())
        }
    }
}
