//! Capabilities of this process: capget(2), capset(2) and the sets beside them.

use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`: two words for each set.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Sets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Whether this process may use a capability now, by its number.
pub fn has_capability(capability: u32) -> bool {
    let Ok(sets) = get() else { return false };
    sets.get(capability as usize / 32).is_some_and(|s| s.effective & 1 << (capability % 32) != 0)
}

/// Gives up all capabilities but those whose bits are set in `keep`, for good: programs that are executed do not get
/// them back either. Concerns the calling thread.
pub fn keep_capabilities(keep: u64) -> io::Result<()> {
    let mut sets = get()?;
    // First the bounding set, which takes a capability that is given up below; without that, nothing more comes by
    // an exec than root's programs give anybody.
    for capability in 0..64 {
        if keep & 1 << capability == 0 {
            // SAFETY: takes integers. An unknown number fails with EINVAL, a missing right with EPERM.
            unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
        }
    }
    // SAFETY: takes integers.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    for (word, keep) in sets.iter_mut().zip([keep as u32, (keep >> 32) as u32]) {
        word.effective &= keep;
        word.permitted &= keep;
        word.inheritable = 0;
    }
    let header = Header { version: VERSION, pid: 0 };
    // SAFETY: reads the header and two sets, as the version says.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn get() -> io::Result<[Sets; 2]> {
    let mut sets = [Sets::default(); 2];
    let mut header = Header { version: VERSION, pid: 0 };
    // SAFETY: writes two sets, as the version says.
    match unsafe { libc::syscall(libc::SYS_capget, &raw mut header, sets.as_mut_ptr()) } {
        0 => Ok(sets),
        _ => Err(io::Error::last_os_error()),
    }
}
