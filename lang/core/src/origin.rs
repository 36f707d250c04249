//! The system that a bundle was compiled for. Its programs contain offsets of kernel types, IDs of functions and
//! locations in files: on another kernel, or after a program was rebuilt, they would read the wrong memory, attach to
//! the wrong function, or put a breakpoint into the middle of an instruction. So the runtime compares before it loads
//! anything.

use serde::{Deserialize, Serialize};

/// The machine, kernel and files that a bundle fits. The process-id namespace is in
/// [`Config::pid_namespace`](crate::bundle::Config::pid_namespace), since programs ask for it by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The machine's architecture, as the compiler names it: `x86_64`.
    pub machine: String,
    /// The kernel's release, as `uname -r` prints it: for messages.
    pub release: String,
    /// Type information of the kernel (`vmlinux`) and of the modules that are probed: name, [`checksum`] of its BTF.
    pub types: Vec<(String, u64)>,
    /// Files that are probed: path as probed, and [what they are](FileId).
    pub files: Vec<(String, FileId)>,
}

/// The identity of a build of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileId {
    /// The GNU build id.
    Build(Vec<u8>),
    /// Of a file without one: its bytes, and their [`checksum`].
    Contents { length: u64, sum: u64 },
}

/// XXH64 of bytes: it finds what is damaged or different, and is no protection against forgery.
pub fn checksum(bytes: &[u8]) -> u64 {
    twox_hash::XxHash64::oneshot(0, bytes)
}
