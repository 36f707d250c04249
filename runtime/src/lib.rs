//! Everything that touches the running system: kernel facts, loading and attaching bundles, the event loop and
//! output. Knows the compiler's types (`rtrace_core`), never LLVM.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod attach;
pub mod command;
pub mod events;
pub mod launch;
pub mod load;
pub mod losses;
pub mod origin;
pub mod output;
pub mod privileges;
pub mod session;
pub mod system;
mod unwind;
