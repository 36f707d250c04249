//! Lowerings of the operations that rows of `lang`'s table of builtins name. A builtin has one if it is not composed of
//! other expressions by the checker.
//!
//! [`lowering`] says how a call is evaluated: as a scalar, into memory, or, where an event may carry just the
//! bytes used, into the variable part of an event.

use crate::llvm::ir::Val;
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::diag::{Diagnostic, Result};
use rtrace_lang::intrinsic::Intrinsic;
use rtrace_lang::typed::Expr;

mod glob;
mod network;
mod process;
mod stacks;
mod strings;
mod time;

/// A call: the whole expression, its operation and its arguments.
pub struct Call<'e> {
    pub expr: &'e Expr,
    pub intrinsic: Intrinsic,
    pub args: &'e [Expr],
}

impl<'e> Call<'e> {
    /// The arguments that every call of the operation has, the first of them.
    pub fn args<const N: usize>(&self) -> Result<&'e [Expr; N]> {
        self.args.first_chunk().ok_or_else(|| {
            let what = format!("{:?} with {} arguments, not {N}", self.intrinsic, self.args.len());
            Diagnostic::internal(self.expr.span, what)
        })
    }

    /// An argument that only some calls have.
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

/// The lowering of each operation.
fn lowering(intrinsic: Intrinsic) -> How {
    use How::{Both, Memory, Scalar};
    match intrinsic {
        Intrinsic::Pid => Scalar(process::pid),
        Intrinsic::Tid => Scalar(process::tid),
        Intrinsic::Uid => Scalar(process::uid),
        Intrinsic::Gid => Scalar(process::gid),
        Intrinsic::Comm => Memory(process::comm),
        Intrinsic::Cpu => Scalar(process::cpu),
        Intrinsic::Numaid => Scalar(process::numaid),
        Intrinsic::Rand => Scalar(process::rand),
        Intrinsic::Cgroup => Scalar(process::cgroup),
        Intrinsic::Curtask => Scalar(process::curtask),
        Intrinsic::Cpid => Scalar(process::cpid),
        Intrinsic::Ncpus => Scalar(process::ncpus),
        Intrinsic::Signal => Scalar(process::signal),
        Intrinsic::SignalThread => Scalar(process::signal_thread),
        Intrinsic::Override => Scalar(process::override_return),
        Intrinsic::Nsecs => Scalar(time::nsecs),
        Intrinsic::Elapsed => Scalar(time::elapsed),
        Intrinsic::Jiffies => Scalar(time::jiffies),
        Intrinsic::Kstack => Both(stacks::stack, stacks::stack_variable),
        Intrinsic::Ustack => Both(stacks::stack, stacks::stack_variable),
        Intrinsic::DwUstack => Both(stacks::stack, stacks::stack_variable),
        Intrinsic::Usym => Memory(stacks::usym),
        Intrinsic::StackDepth => Scalar(stacks::depth),
        Intrinsic::Str => Both(strings::str, strings::str_variable),
        Intrinsic::Buf => Both(strings::buf, strings::buf_variable),
        Intrinsic::Join => Both(strings::join, strings::join_variable),
        Intrinsic::Strlen => Scalar(strings::strlen),
        Intrinsic::Strstr => Scalar(strings::strstr),
        Intrinsic::Globmatch => Scalar(glob::globmatch),
        Intrinsic::WriteUser => Scalar(strings::write_user),
        Intrinsic::StrConcat => Memory(strings::str_concat),
        Intrinsic::Memcmp => Scalar(strings::memcmp),
        Intrinsic::Path => Memory(strings::path),
        Intrinsic::Ntop => Memory(network::ntop),
        Intrinsic::Macaddr => Memory(network::macaddr),
        Intrinsic::Skboutput => Scalar(network::skboutput),
        Intrinsic::InNet => Scalar(network::in_net),
        Intrinsic::Bswap => Scalar(network::bswap),
        Intrinsic::SocketCookie => Scalar(network::socket_cookie),
    }
}

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    pub fn call_scalar(&mut self, expr: &Expr, intrinsic: Intrinsic, args: &[Expr]) -> Result<Val<'c>> {
        match lowering(intrinsic) {
            How::Scalar(f) => f(self, Call { expr, intrinsic, args }),
            How::Memory(_) | How::Both(..) => self.unexpected(&format!("{intrinsic:?} as a number")),
        }
    }

    pub fn call_memory(&mut self, expr: &Expr, intrinsic: Intrinsic, args: &[Expr], to: Mem<'c>) -> Result<()> {
        match lowering(intrinsic) {
            How::Memory(f) | How::Both(f, _) => f(self, Call { expr, intrinsic, args }, to),
            How::Scalar(_) => self.unexpected(&format!("{intrinsic:?} in memory")),
        }
    }

    /// Nothing where the operation's value has no variable part.
    pub fn call_variable(
        &mut self,
        expr: &Expr,
        intrinsic: Intrinsic,
        args: &[Expr],
        to: Mem<'c>,
        max: u32,
    ) -> Option<Result<(Val<'c>, Val<'c>)>> {
        match lowering(intrinsic) {
            How::Both(_, f) => Some(f(self, Call { expr, intrinsic, args }, to, max)),
            How::Scalar(_) | How::Memory(_) => None,
        }
    }

    /// Whether strings in memory are to be padded with zeros now; asked once per value.
    fn take_padding(&mut self) -> bool {
        std::mem::replace(&mut self.pad, true)
    }
}
