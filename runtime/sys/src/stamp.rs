//! Whether a file is still what it was when it was read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Metadata that changes when a file is replaced or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    pub file: (u64, u64),
    size: u64,
    /// Seconds and nanoseconds, of change rather than of writing, which can be set.
    changed: (i64, i64),
}

/// The stamp of the file that a path leads to.
pub fn stamp(path: &Path) -> Option<Stamp> {
    std::fs::metadata(path).ok().map(|m| stamp_of(&m))
}

/// The stamp of a file.
pub fn stamp_of(m: &Metadata) -> Stamp {
    Stamp { file: (m.dev(), m.ino()), size: m.size(), changed: (m.ctime(), m.ctime_nsec()) }
}
