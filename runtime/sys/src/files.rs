//! The system calls behind kernel facts that the standard library has no name for.
//!
//! Each is one function with a safe signature; bpf(2) itself is in `crate`.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// An anonymous file in memory, closed on exec.
pub fn memfd(name: &CStr) -> io::Result<File> {
    // SAFETY: `name` is NUL-terminated and lives through the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// The user whose rights this process has.
pub fn effective_user() -> u32 {
    // SAFETY: takes nothing, changes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The 64-bit id that kernfs (cgroupfs) gives a file: what `bpf_get_current_cgroup_id` returns. On file systems
/// with other handles an error.
pub fn kernfs_id(path: &Path) -> io::Result<u64> {
    #[repr(C)]
    struct Handle {
        head: libc::file_handle,
        id: [u8; 8],
    }
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    // SAFETY: a file_handle is integers and an empty array; zero is a value of each.
    let mut handle: Handle = unsafe { std::mem::zeroed() };
    handle.head.handle_bytes = 8;
    let mut mount = 0;
    // SAFETY: `handle` has room for `handle_bytes` bytes after its head (`id` follows at once: both are
    // 4-byte aligned or less), and the other pointers are to live values.
    let result = unsafe {
        libc::name_to_handle_at(
            libc::AT_FDCWD,
            path.as_ptr(),
            (&raw mut handle).cast::<libc::file_handle>(),
            &raw mut mount,
            0,
        )
    };
    match (result, handle.head.handle_bytes) {
        (0, 8) => Ok(u64::from_ne_bytes(handle.id)),
        (0, _) => Err(io::Error::other("not a kernfs file")),
        _ => Err(io::Error::last_os_error()),
    }
}
