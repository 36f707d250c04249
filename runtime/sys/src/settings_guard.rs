//! Kernel settings that are changed for some time, and put back whatever happens to this process: a small child
//! waits for the end of its parent's descriptor, by closing or by dying, and writes the old values.

use crate::fork;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// A setting to put back: the open file and what to write to it at the end.
#[derive(Debug)]
pub struct Setting {
    pub file: File,
    pub old: Vec<u8>,
}

/// The child's name, so that `killall rtrace` lets it do its work.
const NAME: &std::ffi::CStr = c"rtrace-keeper";
/// The interval in nanoseconds and the number of retries for what a dying process still uses: 30 s.
const PAUSE: i64 = 10_000_000;
const TRIES: usize = 3000;

/// Takes an exclusive lock of a file, once nobody else has it.
pub fn lock(file: &File) -> io::Result<()> {
    // SAFETY: takes two integers.
    while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } < 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// Takes an exclusive lock of a file; `false` when somebody else has it.
pub fn try_lock(file: &File) -> bool {
    // SAFETY: takes two integers.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// The child that puts settings back. Dropping it returns when that is done.
#[derive(Debug)]
pub struct SettingsGuard {
    line: Option<UnixStream>,
    child: libc::pid_t,
}

impl SettingsGuard {
    /// Starts the child. Afterwards the settings may be changed through files of the caller's own.
    pub fn start(settings: Vec<Setting>) -> io::Result<SettingsGuard> {
        let (mut ours, theirs) = UnixStream::pair()?;
        let mut keep: Vec<i32> = settings.iter().map(|s| s.file.as_raw_fd()).chain([theirs.as_raw_fd()]).collect();
        keep.sort_unstable();
        // SAFETY: `wait_and_restore` never returns and does nothing that is not async-signal-safe; what it reads was made
        // before.
        let child = unsafe { fork(|| wait_and_restore(&settings, theirs.as_raw_fd(), &keep)) }?;
        drop(OwnedFd::from(theirs));
        let keeper = |line| SettingsGuard { line: Some(line), child };
        // Once it has let go of the descriptors that it inherited, closing ours has its effect again.
        let ready = ours.read_exact(&mut [0]);
        let keeper = keeper(ours);
        ready.map(|()| keeper)
    }
}

impl Drop for SettingsGuard {
    fn drop(&mut self) {
        self.line = None;
        // SAFETY: waits for a child of ours that nobody else waits for; no status is asked for.
        while unsafe { libc::waitpid(self.child, std::ptr::null_mut(), 0) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
}

/// The child: leaves the process group (a signal for all of it is not meant for this), closes everything but
/// `keep`, says so, waits until the other end of `line` is gone, and restores.
///
/// # Safety
/// Only in a new child with all signals blocked; `keep` is sorted.
unsafe fn wait_and_restore(settings: &[Setting], line: i32, keep: &[i32]) -> ! {
    // SAFETY: all calls are async-signal-safe, on descriptors of this child and on buffers that live on its stack or
    // were copied with it; nothing is allocated or freed.
    unsafe {
        libc::setsid();
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        let mut next = 0u32;
        for fd in keep {
            let fd = *fd as u32;
            if fd > next {
                libc::syscall(libc::SYS_close_range, next, fd - 1, 0);
            }
            next = fd + 1;
        }
        libc::syscall(libc::SYS_close_range, next, u32::MAX, 0);
        let mut byte = 1u8;
        libc::write(line, (&raw const byte).cast(), 1);
        while libc::read(line, (&raw mut byte).cast(), 1) > 0 {}
        for setting in settings {
            write_when_free(setting.file.as_raw_fd(), &setting.old);
        }
        libc::_exit(0)
    }
}

/// Writes to the beginning of a file; while that is in use (EBUSY), waits.
///
/// # Safety
/// Takes any numbers; everything it does is async-signal-safe.
unsafe fn write_when_free(fd: i32, text: &[u8]) {
    let pause = libc::timespec { tv_sec: 0, tv_nsec: PAUSE };
    for _ in 0..TRIES {
        // SAFETY: on a descriptor and on buffers that live.
        unsafe {
            libc::lseek(fd, 0, libc::SEEK_SET);
            if libc::write(fd, text.as_ptr().cast(), text.len()) >= 0 || *libc::__errno_location() != libc::EBUSY {
                return;
            }
            libc::nanosleep(&raw const pause, std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_put_back() {
        let path = std::env::temp_dir().join(format!("rtrace-keeper-{}", std::process::id()));
        std::fs::write(&path, "0\n").unwrap();
        let open = || File::options().read(true).write(true).open(&path).unwrap();
        let setting = Setting { file: open(), old: b"0\n".to_vec() };
        assert!(try_lock(&setting.file));
        assert!(!try_lock(&open()), "the lock is taken");
        let keeper = SettingsGuard::start(vec![setting]).unwrap();
        std::fs::write(&path, "1\n").unwrap();
        assert!(!try_lock(&open()), "the child has the lock");
        drop(keeper);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n");
        assert!(try_lock(&open()));
        std::fs::remove_file(&path).unwrap();
    }
}
