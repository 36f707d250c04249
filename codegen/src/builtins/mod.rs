//! Lowerings of the functions that run in the program, by the name of their row in `lang`'s table of
//! builtins. A function appears here if it is not composed of other expressions by the checker.
//!
//! A row says how a call is evaluated: as a scalar, into memory, or, where an event may carry just the
//! bytes used, into the variable part of an event.

use crate::llvm::ir::Val;
use crate::memory::Mem;
use crate::program::Lower;
use rtrace_lang::diag::Result;
use rtrace_lang::typed::Expr;

mod glob;
mod network;
mod process;
mod stacks;
mod strings;
mod time;

/// A call: the whole expression and its arguments.
pub struct Call<'e> {
    pub expr: &'e Expr,
    pub args: &'e [Expr],
}

impl<'e> Call<'e> {
    pub fn arg(&self, index: usize) -> Option<&'e Expr> {
        self.args.get(index)
    }
}

type Scalar = for<'u, 'm, 'c> fn(&mut Lower<'u, 'm, 'c>, Call<'_>) -> Result<Val<'c>>;
type Memory = for<'u, 'm, 'c> fn(&mut Lower<'u, 'm, 'c>, Call<'_>, Mem<'c>) -> Result<()>;
/// Writes at most that many bytes; returns how many, and the field's extra word.
type Variable = for<'u, 'm, 'c> fn(&mut Lower<'u, 'm, 'c>, Call<'_>, Mem<'c>, u32) -> Result<(Val<'c>, Val<'c>)>;

enum How {
    Scalar(Scalar),
    Memory(Memory),
    /// In memory, and in the variable part of an event.
    Both(Memory, Variable),
}

type Row = (&'static str, How);

fn row(name: &str) -> Option<&'static How> {
    [process::ROWS, time::ROWS, strings::ROWS, glob::ROWS, network::ROWS, stacks::ROWS]
        .into_iter()
        .flatten()
        .find(|(n, _)| *n == name)
        .map(|(_, how)| how)
}

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    pub fn call_scalar(&mut self, expr: &Expr, name: &str, args: &[Expr]) -> Result<Val<'c>> {
        match row(name) {
            Some(How::Scalar(f)) => f(self, Call { expr, args }),
            _ => self.unexpected(&format!("`{name}`")),
        }
    }

    pub fn call_memory(&mut self, expr: &Expr, name: &str, args: &[Expr], to: Mem<'c>) -> Result<()> {
        match row(name) {
            Some(How::Memory(f) | How::Both(f, _)) => f(self, Call { expr, args }, to),
            _ => self.unexpected(&format!("`{name}`")),
        }
    }

    pub fn call_variable(
        &mut self,
        expr: &Expr,
        name: &str,
        args: &[Expr],
        to: Mem<'c>,
        max: u32,
    ) -> Option<Result<(Val<'c>, Val<'c>)>> {
        match row(name) {
            Some(How::Both(_, f)) => Some(f(self, Call { expr, args }, to, max)),
            _ => None,
        }
    }

    /// The value of an argument that must be there.
    fn argument(&mut self, call: &Call<'_>, index: usize) -> Result<Val<'c>> {
        match call.arg(index) {
            Some(e) => self.number(e),
            None => self.unexpected("this call"),
        }
    }

    /// Whether strings in memory are to be padded with zeros now; asked once per value.
    fn take_padding(&mut self) -> bool {
        std::mem::replace(&mut self.pad, true)
    }
}
