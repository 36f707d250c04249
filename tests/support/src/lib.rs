//! Shared by the tests of all crates: the [recorded kernel](Recorded), [golden files](golden) and
//! [programs to look at](Folder).
//!
//! Nothing but tests depends on this crate. Random inputs come from `fastrand`, with a fixed seed, so that a failure
//! repeats.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod folder;
pub mod golden;
mod recorded;

pub use folder::Folder;
pub use recorded::Recorded;

use rtrace_core::kernel::Version;

const TYPES: &str = include_str!("../../facts/6.12/types.txt");
const FORMATS: &str = include_str!("../../facts/6.12/formats.txt");

/// The kernel recorded in `tests/facts`.
pub fn kernel() -> Recorded {
    kernel_at(Version(6, 12))
}

/// A kernel of another version with the same facts.
pub fn kernel_at(version: Version) -> Recorded {
    Recorded::parse(version, TYPES, FORMATS).expect("the recorded facts")
}
