//! The system calls that have no safe wrapper elsewhere: [`bpf`] holds bpf(2), [`info`] what it
//! tells of objects, [`os`] perf_event_open(2) and its
//! ioctls, pidfds, signals, epoll, shared memory, [`caps`] capabilities, [`keeper`] the child that puts settings of the
//! kernel back, [`worker`] a child for work that may fail. Every function takes and returns safe types; all knowledge about the layout of kernel structures is here.

mod bpf;
mod caps;
mod fork;
mod info;
mod keeper;
mod os;
pub mod worker;

pub use bpf::*;
pub use caps::*;
use fork::fork;
pub use info::*;
pub use keeper::{Keeper, Setting, lock, try_lock};
pub use os::*;
