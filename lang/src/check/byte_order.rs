//! The byte order of what is compared: a member declared as `__be16` and the number 80 have the same bytes only on
//! another machine.

use super::Checker;
use crate::codes::Code;
use crate::diag::Diagnostic;
use crate::kernel::Member;
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use rtrace_grammar::ast::{self, BinOp};

impl Checker<'_> {
    /// Remembers that the expression there has the byte order of the network.
    pub(super) fn note_byte_order(&mut self, member: &Member, span: Span) {
        if member.big_endian && member.ty.size() > 1 {
            self.big_endian.insert(span);
        }
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
        let found = sides.into_iter().find(|((e, _), _)| self.big_endian.contains(&e.span));
        let Some(((field, typed), (number, value))) = found else { return };
        // What htons() and its like give is in order, and so is what reads the same both ways.
        let is_call = matches!(number.kind, ast::ExprKind::Call { .. });
        let ExprKind::Int(n) = value.kind else { return };
        let bits = typed.ty.size() * 8;
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
            format!("`{field}` has its bytes in the order of the network, and `{number}` is a plain number"),
        )
        .label(format!("this asks for the number {swapped}"));
        let mended = match op {
            BinOp::Eq | BinOp::Ne => {
                format!("{to_host}({field}) {} {number}, or compare with {to_net}({number})", op.text())
            }
            _ => format!("{to_host}({field}) {} {number}", op.text()),
        };
        self.warn(warning.help(mended));
    }
}
