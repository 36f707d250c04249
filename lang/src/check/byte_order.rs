//! The byte order of what is compared: a member declared as `__be16` and the number 80 have the same bytes only on
//! another machine.

use super::Checker;
use crate::codes::Code;
use crate::diag::Diagnostic;
use crate::kernel::{Member, network_size_of};
use crate::source::Span;
use crate::typed::{Expr, ExprKind, LocalId};
use rtrace_grammar::ast::{self, BinOp};

/// The bytes of a type that is written as one of the network's.
pub(super) fn network_size(ty: &ast::TypeName) -> Option<u32> {
    match &ty.base {
        ast::TypeBase::Named(name) if ty.pointers == 0 && ty.array.is_empty() => network_size_of(name),
        _ => None,
    }
}

impl Checker<'_> {
    /// Remembers that the expression there has the byte order of the network.
    pub(super) fn note_byte_order(&mut self, member: &Member, span: Span) {
        if member.big_endian && member.ty.size() > 1 {
            self.big_endian.insert(span, member.ty.size());
        }
    }

    /// Remembers whether a variable, from here on, has the byte order of the network.
    pub(super) fn note_network(&mut self, local: LocalId, size: Option<u32>) {
        match size {
            Some(size) => self.network.insert(local, size),
            None => self.network.remove(&local),
        };
    }

    /// The bytes of an expression that has it, once it is checked.
    pub(super) fn network_order(&self, e: &ast::Expr) -> Option<u32> {
        self.big_endian.get(&e.span).copied()
    }

    /// Warns about a comparison of such a member with a number written as such.
    pub(super) fn check_byte_order(
        &mut self,
        op: BinOp,
        left: (&ast::Expr, &Expr),
        right: (&ast::Expr, &Expr),
        span: Span,
    ) {
        if !matches!(op, BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge) {
            return;
        }
        let sides = [(left, right), (right, left)];
        let found = sides.into_iter().find_map(|((e, _), other)| Some((e, self.network_order(e)?, other)));
        let Some((field, size, (number, value))) = found else { return };
        // What htons() and its like give is in order, and so is what reads the same both ways.
        let is_call = calls(number);
        let ExprKind::Int(n) = value.kind else { return };
        let bits = size * 8;
        let swapped = (n as u64).swap_bytes() >> (64 - bits.clamp(8, 64));
        if is_call || n < 0 || n as u64 == swapped {
            return;
        }
        let (to_host, to_net) = match bits {
            16 => ("ntohs", "htons"),
            32 => ("ntohl", "htonl"),
            _ => ("bswap", "bswap"),
        };
        let (field, number) = (self.text_of(field.span), self.text_of(number.span));
        let warning = Diagnostic::warning(
            Code::ByteOrder,
            span,
            format!("`{field}` is in network byte order, but `{number}` is in host byte order"),
        )
        .label(format!("this compares with {swapped} in host byte order"));
        let mended = match op {
            BinOp::Eq | BinOp::Ne => {
                format!("use {to_host}({field}) {} {number}, or compare with {to_net}({number})", op.text())
            }
            _ => format!("use {to_host}({field}) {} {number}", op.text()),
        };
        self.warn(warning.help(mended));
    }
}

/// Whether an expression is what a function gives, cast or not.
fn calls(e: &ast::Expr) -> bool {
    match &e.kind {
        ast::ExprKind::Call { .. } => true,
        ast::ExprKind::Cast { expr, .. } => calls(expr),
        _ => false,
    }
}
