//! The contract between the compiler and the runtime: the [`bundle`] that one makes and the other runs, the [`types`]
//! of its values, the questions a compiler asks of a [`kernel`], and the form of [`diag`]nostics.
//!
//! Pure data: no I/O, no system call, no syntax. The runtime builds without the language.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod arch;
pub mod bundle;
pub mod codes;
pub mod diag;
pub mod glob;
pub mod hist;
pub mod kernel;
pub mod nearest;
pub mod origin;
pub mod source;
pub mod types;
pub mod uapi;
