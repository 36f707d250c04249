//! The system calls that have no safe wrapper elsewhere: [`bpf`] holds bpf(2), [`info`] what it
//! tells of objects, [`os`] perf_event_open(2) and its
//! ioctls, pidfds, signals, epoll, shared memory, [`caps`] capabilities, [`settings_guard`] the child that puts settings of the
//! kernel back, [`worker`] a child for work that may fail. Every function takes and returns safe types; all knowledge about the layout of kernel structures is here.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod bpf;
mod caps;
pub mod files;
mod fork;
mod info;
pub mod mappings;
pub mod notify;
mod os;
mod settings_guard;
pub mod stamp;
pub mod worker;

pub use bpf::*;
pub use caps::*;
use fork::fork;
pub use info::*;
pub use os::*;
pub use settings_guard::{Setting, SettingsGuard, lock, try_lock};
