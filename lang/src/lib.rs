//! The language: what a script means, from text to a typed program ready for code generation.
//!
//! `driver.rs` lists the passes. Nothing in this crate does I/O, makes a system call or knows LLVM:
//! facts about the machine come through the [`kernel::Kernel`] trait, results leave as data.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod arity;
pub mod builtins;
mod check;
pub mod config;
pub mod constants;
pub mod driver;
pub mod dump;
mod expand;
pub mod glob;
pub mod headers;
pub mod imports;
pub mod intrinsic;
mod layout;
pub mod manual;
mod names;
pub mod parameters;
mod prelude;
mod preprocessor;
pub mod probe_filter;
pub mod probes;
mod resolve;
mod script;
mod script_types;
pub mod typed;
pub mod wanted;

pub use rtrace_core::{arch, bundle, codes, diag, hist, kernel, origin, source, types, uapi};
pub use rtrace_grammar as grammar;
