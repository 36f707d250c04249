//! Symbols, debug information and unwind tables of programs, libraries and the kernel.
//!
//! The files belong to traced programs and are hostile: [`foreign`] opens and reads them within limits, [`reader`] parses
//! them for names in a child process.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod addr2line;
pub mod addresses;
pub mod binaries;
pub mod debug_file;
pub mod demangle;
pub mod dwarf;
pub mod foreign;
pub mod go;
#[cfg(test)]
mod hostile;
mod indirect;
pub mod instructions;
pub mod kallsyms;
pub mod mapped;
mod mini;
pub mod needs;
pub mod perf_maps;
pub mod processes;
pub mod programs;
pub mod reader;
pub mod unwind_table;
pub mod usdt;
pub mod user;
mod user_names;
pub mod vmlinux;
