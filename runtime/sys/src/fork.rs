//! Children of this process that do not run another program.

use std::convert::Infallible;
use std::io;

/// Starts a child that runs `work` and never returns from it. No signal but SIGKILL is for the child: those of a terminal
/// go to all processes of the group.
///
/// # Safety
/// Other threads may hold locks at this time, which nobody gives back in the child: `work` must take none of them.
pub(super) unsafe fn fork(work: impl FnOnce() -> Infallible) -> io::Result<libc::pid_t> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are written before they are read.
    let child = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr());
        let child = libc::fork();
        if child == 0 {
            work();
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        child
    };
    if child < 0 { Err(io::Error::last_os_error()) } else { Ok(child) }
}
