//! Facts about the running kernel: its types (BTF), functions, tracepoints, BPF programs, features and namespaces.
//!
//! Nothing is read before it is asked for. Each source of facts has its own file.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

pub mod btf;
mod cache;
pub mod clones;
pub mod features;
mod ftrace;
pub mod functions;
mod hash;
pub mod kallsyms;
pub mod kcore;
mod kernel;
pub mod namespace;
pub mod probe_pmu;
pub mod programs;
mod renamed;
mod symbol_table;
pub mod text;
pub mod tracefs;

pub use kernel::KernelFacts;

/// Whether a file of the kernel's is not there any more, or goes away while it is read (ENODEV: f_start of
/// kernel/trace/trace_events.c, kernfs_fop_read_iter): what it was about is gone.
fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ENODEV))
}
