//! The table of builtins and functions: everything the compiler, the messages and the manual know
//! about one stands in its row. Adding one is a row here and, if it runs in the kernel and is not
//! composed of other expressions, a lowering in `codegen/src/builtins/`.
//!
//! One file per family; [`find`] looks a name up in all of them.

use crate::bundle::ProgType;
use crate::check::{CallCheck, Checker};
use crate::kernel::Version;

mod aggregation;
mod maps;
mod network;
mod output;
mod process;
mod strings;
mod symbols;
mod time;

/// One builtin or function.
pub struct Builtin {
    pub name: &'static str,
    /// Forms as the manual shows them, e.g. `str(ptr [, length])`.
    pub signatures: &'static [&'static str],
    /// One line.
    pub doc: &'static str,
    /// A complete script.
    pub example: &'static str,
    pub side: Side,
    /// Fewest and most arguments; `(0, 0)` for builtins that need no parentheses.
    pub arity: (usize, usize),
    /// Where it may be used.
    pub allowed: Allowed,
    /// The BPF helper behind it.
    pub helper: Option<Helper>,
    /// Needs `--unsafe`.
    pub unsafe_: bool,
    /// Checks a call and gives the typed expression or statement.
    pub check: CallCheck,
}

/// Where the work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the BPF program.
    Kernel,
    /// By an event that the runtime acts on.
    User,
    /// While compiling.
    Const,
}

/// A BPF helper, its number in the kernel's `enum bpf_func_id`, and the first kernel that has it for
/// tracing programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Helper {
    pub name: &'static str,
    pub id: u32,
    pub since: Version,
}

/// Program types that a builtin works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Everywhere,
    In(&'static [ProgType]),
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Builtin) -> bool {
        self.name == other.name
    }
}
