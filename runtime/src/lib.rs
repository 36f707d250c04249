//! Everything that touches the running system: kernel facts, loading and attaching bundles, the event loop and
//! output. Knows the compiler's types (`rtrace_lang`), never LLVM.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod kernel;
pub mod sys;
