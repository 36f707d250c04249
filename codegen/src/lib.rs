//! Typed programs to BPF: LLVM IR is built, optimised and emitted as one object, which with its
//! metadata is a [`Bundle`].
//!
//! `module.rs` drives; `unit.rs` is what all programs share, `lower.rs` the state while one is built; `program.rs` is one program, `function.rs` a function of the script, `callback.rs` a loop's body as a
//! function of its own; `stmt`, `expr`, `aggregate` (values in memory),
//! `maps`, `aggregation`, `events` and `builtins/` lower the parts of it. Nothing here makes a system
//! call or looks at the running kernel: what differs between kernels comes in by [`Options`].

#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod aggregate;
mod aggregation;
mod analysis;
mod bitcode;
mod builtins;
mod callback;
mod capture;
mod depth;
mod disasm;
mod elf;
mod events;
mod expr;
mod flags;
mod foreign;
mod function;
mod iter;
#[allow(unsafe_code)]
mod llvm;
mod lower;
mod maps;
mod memory;
mod module;
mod pool;
mod program;
mod stmt;
mod unit;
mod unwind;

pub use bitcode::Bitcode;
use rtrace_lang::bundle::Bundle;
use rtrace_lang::diag::Diagnostic;
use rtrace_lang::source::SourceMap;
use rtrace_lang::typed::Typed;

/// The features of the target kernel, and the requested output.
#[derive(Clone, Debug)]
pub struct Options {
    /// Effort of LLVM's instruction selection, 0 to 2.
    pub opt_level: u8,
    /// Atomic instructions other than addition, and ones that return the old value (Linux 5.12).
    pub atomics: bool,
    /// `bpf_map_lookup_percpu_elem` (Linux 5.19): aggregations can be added up in a program.
    pub percpu_lookup: bool,
    /// `bpf_for_each_map_elem` (Linux 5.13): loops over maps.
    pub for_each: bool,
    /// `bpf_loop` (Linux 5.17): loops over ranges of any length.
    pub bpf_loop: bool,
    /// How many numbers CPUs can have at most, those that are offline included, if the programs are to run on this machine
    /// only: scratch memory is then found without a look-up.
    pub cpus: Option<u32>,
    /// Imported C.
    pub bitcode: Vec<Bitcode>,
    /// Give the IR as text as it was built.
    pub llvm: bool,
    /// Give the IR as text as it was optimised.
    pub llvm_opt: bool,
    /// Give the programs as text.
    pub bpf: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            opt_level: 2,
            atomics: false,
            percpu_lookup: false,
            for_each: false,
            bpf_loop: false,
            cpus: None,
            bitcode: Vec::new(),
            llvm: false,
            llvm_opt: false,
            bpf: false,
        }
    }
}

/// The result of a compilation.
#[derive(Debug)]
pub struct Output {
    pub bundle: Bundle,
    pub llvm: Option<String>,
    pub llvm_opt: Option<String>,
    /// Every program disassembled, with the lines of the sources between.
    pub bpf: Option<String>,
}

/// Compiles a checked program.
pub fn compile(typed: &Typed, sources: &SourceMap, options: &Options) -> Result<Output, Vec<Diagnostic>> {
    module::compile(typed, sources, options)
}
