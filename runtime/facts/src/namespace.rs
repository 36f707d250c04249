//! Cgroup ids and the pid namespace that rtrace runs in.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rtrace_core::kernel::KernelError;

/// The id of a cgroup of the unified hierarchy: by full path, or relative to its mount.
pub fn cgroup_id(path: &str) -> Result<u64, KernelError> {
    let given = Path::new(path);
    let mut candidates = vec![given.to_path_buf()];
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        candidates.push(PathBuf::from(mount).join(path.trim_start_matches('/')));
    }
    if !given.is_absolute() {
        candidates.rotate_left(1);
    }
    let mut first_error = None;
    for candidate in &candidates {
        let known = rtrace_sys::files::kernfs_id(candidate).or_else(|_| std::fs::metadata(candidate).map(|m| m.ino()));
        match known {
            Ok(id) => return Ok(id),
            Err(e) => first_error = first_error.or(Some(e)),
        }
    }
    let why = first_error.map(|e| e.to_string()).unwrap_or_default();
    Err(KernelError::new(
        format!("cannot find the cgroup {path}: {why}"),
        "use the path of a directory in /sys/fs/cgroup (cgroup version 2)",
    ))
}

/// Device and inode of our pid namespace, unless it is the initial one.
pub fn pid_namespace() -> Option<(u64, u64)> {
    /// PROC_PID_INIT_INO, include/linux/proc_ns.h
    const INITIAL: u64 = 0xEFFF_FFFC;
    let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?;
    // MKDEV, include/linux/kdev_t.h
    let device = u64::from(libc::major(namespace.dev())) << 20 | u64::from(libc::minor(namespace.dev()));
    (namespace.ino() != INITIAL).then(|| (device, namespace.ino()))
}
