//! Arguments of static probes: the places that the probe's note names, as expressions.

use super::Checker;
use super::args::in_context;
use super::expr::sized;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::{Image, UsdtProbe};
use crate::probes::no_facts;
use crate::probes::usdt_argument::{self, Address, Argument, Operand};
use crate::source::Span;
use crate::typed::{Expr, ExprKind, Known};
use crate::types::{Space, Type};
use rtrace_grammar::ast::BinOp;

impl Checker<'_> {
    /// `argN` of a static probe: a 64-bit integer, signed if the argument is.
    pub(super) fn usdt_argument(&mut self, probe: &UsdtProbe, n: u32, span: Span) -> Result<Expr> {
        self.probe.specific.set(true);
        let all = usdt_argument::split(&probe.arguments);
        let Some(text) = all.get(n as usize) else {
            let message = match all.len() {
                0 => format!("arg{n} is out of range: `{}` has no arguments", self.probe.name),
                1 => format!("arg{n} is out of range: `{}` has one argument, arg0", self.probe.name),
                count => format!("arg{n} is out of range: `{}` has {count} arguments", self.probe.name),
            };
            return Err(Diagnostic::error(Code::UnknownField, span, message));
        };
        let unreadable = |why: String| {
            Diagnostic::error(Code::UnknownField, span, format!("cannot read arg{n} of `{}`: {why}", self.probe.name))
                .note(format!("the program describes it as `{text}`"))
        };
        let argument = usdt_argument::parse(text, self.options.arch).map_err(unreadable)?;
        let Argument { bytes, signed, operand } = argument;
        let is_number = usdt_argument::is_number(bytes);
        // What is no number is its bytes.
        let narrow = match is_number {
            true => Type::Int { bits: (bytes * 8) as u8, signed },
            false => Type::Array { elem: Box::new(Type::U8), len: bytes },
        };
        let wide = if signed { Type::I64 } else { Type::U64 };
        let value = match operand {
            Operand::Register { offset, high: false } if !is_number && bytes < 8 => {
                return Ok(in_context(offset, narrow, span));
            }
            Operand::Constant(_) | Operand::Register { .. } if !is_number => {
                return Err(unreadable(format!("it has {bytes} bytes, which is not the size of a register")));
            }
            Operand::Constant(n) => {
                // As many bits as the argument has.
                let unused = 64 - bytes * 8;
                let n = if signed { n << unused >> unused } else { ((n as u64) << unused >> unused) as i64 };
                return Ok(Expr::int(n, wide, span));
            }
            Operand::Register { offset, high: false } => {
                convert(Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span }, narrow)
            }
            Operand::Register { offset, high: true } => {
                let word = Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span };
                convert(arithmetic(BinOp::Shr, word, Expr::int(8, Type::U64, span)), narrow)
            }
            Operand::Memory(address) => load(self.address(&address, span), address.displacement, narrow),
            Operand::Symbol { name, plus } => {
                let Some(path) = self.probe.target.file().map(str::to_owned) else {
                    return Err(unreadable("the file cannot be determined".to_owned()));
                };
                let found = self.kernel.programs.user_object(&path, &name).map_err(|e| no_facts(e, span))?;
                let Some(object) = found else {
                    return Err(unreadable(format!("{path} has no symbol `{name}`"))
                        .help("the file is stripped; use one with its symbol table"));
                };
                match object.image {
                    Image::Fixed => load(Expr::int(object.address as i64, Type::U64, span), plus, narrow),
                    // As far from the probe in memory as in the file.
                    _ => {
                        let offset = self.options.arch.instruction_pointer();
                        let here = Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span };
                        let distance = object.address.wrapping_sub(probe.address) as i64;
                        load(here, distance.wrapping_add(plus), narrow)
                    }
                }
            }
        };
        if is_number { Ok(convert(value, wide)) } else { sized(value) }
    }

    /// An address without its displacement.
    fn address(&self, address: &Address, span: Span) -> Expr {
        let register = |offset| Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span };
        let index = address.index.map(|offset| match address.shift {
            0 => register(offset),
            shift => arithmetic(BinOp::Shl, register(offset), Expr::int(i64::from(shift), Type::U64, span)),
        });
        match (address.base.map(register), index) {
            (Some(base), Some(index)) => arithmetic(BinOp::Add, base, index),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => Expr::int(0, Type::U64, span),
        }
    }
}

pub(super) fn arithmetic(op: BinOp, left: Expr, right: Expr) -> Expr {
    let span = left.span;
    Expr { kind: ExprKind::Arith { op, left: Box::new(left), right: Box::new(right) }, ty: Type::U64, span }
}

/// The program's memory at an address.
pub(super) fn load(address: Expr, offset: i64, ty: Type) -> Expr {
    let span = address.span;
    let pointer = Expr { ty: Type::Ptr { to: Box::new(ty.clone()), space: Space::User }, ..address };
    let kind = ExprKind::Load { ptr: Box::new(pointer), offset, space: Space::User, bits: None, known: Known::Nothing };
    Expr { kind, ty, span }
}

fn convert(value: Expr, ty: Type) -> Expr {
    if value.ty == ty {
        return value;
    }
    let span = value.span;
    Expr { kind: ExprKind::Convert(Box::new(value)), ty, span }
}
