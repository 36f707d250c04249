//! Arguments of user functions by name, as the program's debug information has them.

use super::Checker;
use super::args::{in_context, narrow};
use super::expr::tuple;
use super::usdt::{arithmetic, load};
use crate::bundle::Target;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::kernel::{GoAbi, Member, Part, Place, UserFunction, UserParameter};
use crate::probes::{Context, no_facts};
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use rtrace_grammar::ast::BinOp;

impl Checker<'_> {
    /// The function that the probe is in, or why it is not known.
    pub(super) fn user_function(&self, span: Span) -> Result<UserFunction> {
        let Target::Uprobe { path, symbol, offset, ret: false } = &self.probe.target else {
            return Err(Diagnostic::error(
                Code::UnknownField,
                span,
                "a uretprobe has no arguments: they are not available when the function returns",
            )
            .help("save them in a map at entry: uprobe:… { @arg[tid] = args.NAME }"));
        };
        let found = self.kernel.programs.user_function(path, *offset, symbol).map_err(|e| no_facts(e, span))?;
        found.ok_or_else(|| {
            Diagnostic::error(Code::UnknownField, span, format!("no debug information for `{symbol}` of {path}"))
                .note("argument names and types are read from DWARF, in the file (compiled with -g) or in a separate debug file")
                .help("install its debug symbols, or use arg0, arg1, … and cast them")
        })
    }

    /// `args.NAME` of a user function.
    pub(super) fn user_argument(&mut self, name: &str, span: Span) -> Result<Expr> {
        let function = self.user_function(span)?;
        match function.params.iter().find(|p| p.name == name) {
            Some(parameter) => self.user_parameter(parameter, span),
            None => {
                let names: Vec<&str> = function.params.iter().map(|p| p.name.as_str()).collect();
                Err(self.no_argument(name, &names, span))
            }
        }
    }

    /// `argN` of a function of Go: word `n` of those that are passed in integer registers.
    pub(super) fn go_argument(&self, abi: GoAbi, n: u32, span: Span) -> Result<Expr> {
        let word = |offset| Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span };
        let name = &self.probe.function;
        let error = |message: String| Diagnostic::error(Code::UnknownField, span, message);
        match (abi, self.options.arch.go_argument(n)) {
            (GoAbi::Registers, Some(offset)) => Ok(word(offset)),
            (GoAbi::Registers, None) => {
                let count = self.argument_registers().len();
                Err(error(format!("arg{n} is not available: Go passes {count} words in registers"))
                    .note("further arguments and arrays are passed on the stack")
                    .help("use args.NAME: Go's debug information locates each argument"))
            }
            (GoAbi::Stack, _) => {
                // On both processors one word comes before them: the return address, or room for it.
                Err(error(format!("arg{n} is not in a register: `{name}` takes its arguments on the stack"))
                    .note("Go assembly and all code before Go 1.17 pass arguments on the stack")
                    .help(format!("read the stack: *(uint64 *)(reg(\"sp\") + {})", 8 + 8 * n)))
            }
        }
    }

    /// The registers that integer arguments may lie in, as a script writes them.
    fn argument_registers(&self) -> Vec<String> {
        let arch = self.options.arch;
        let is_go = matches!(self.probe.context, Context::UserEntry { go: Some(_) });
        let offsets = (0..).map_while(|n| if is_go { arch.go_argument(n) } else { arch.argument(n) });
        offsets.filter_map(|offset| Some(format!("reg(\"{}\")", arch.register_name(offset)?))).collect()
    }

    /// Text, or a list: what Go and Rust hand over as an address and a length.
    fn sequence(&self, place: &Place, ty: &Type, span: Span) -> Option<Expr> {
        let Type::Record(record) = ty else { return None };
        // No type of C has such a name.
        let is_text = matches!(record.name.as_str(), "string" | "&str" | "&mut str");
        let is_list = ["[]", "&[", "&mut ["].iter().any(|start| record.name.starts_with(start));
        let members = self.kernel.types.members(record.id);
        let [start, count, ..] = members.as_slice() else { return None };
        let (Type::Ptr { to, .. }, true) = (&start.ty, is_text || is_list) else { return None };
        let word = |m: &Member| word_at(place, m.bit_offset / 8, span);
        let address = Expr { kind: ExprKind::Convert(Box::new(word(start)?)), ty: start.ty.clone(), span };
        let count = word(count)?;
        let number = |n| Expr::int(n, Type::U64, span);
        if is_text {
            // The length that `str` is given counts a NUL.
            let length = arithmetic(BinOp::Add, count, number(1));
            let ty = Type::String { cap: self.options.string_cap() };
            return Some(Expr::intrinsic(Intrinsic::Str, vec![address, length], ty, span));
        }
        let size = to.size();
        let cap = (self.options.max_strlen.saturating_sub(4).checked_div(size)?).max(1).checked_mul(size)?;
        let length = arithmetic(BinOp::Mul, count, number(i64::from(size)));
        Some(Expr::intrinsic(Intrinsic::Buf, vec![address, length], Type::List { elem: to.clone(), cap }, span))
    }

    /// A value that lies in several places, all of whose members are known.
    fn assembled(&self, parts: &[Part], ty: Type, span: Span) -> Option<Expr> {
        if !self.covers(parts, &ty, 0) {
            return None;
        }
        let values: Vec<Expr> = parts.iter().map(|p| part(p, span)).collect::<Option<_>>()?;
        let whole = tuple(values, span);
        let in_place = whole.ty.elements().zip(parts).all(|((offset, _), part)| offset == part.offset);
        (in_place && whole.ty.size() >= ty.size()).then(|| Expr {
            kind: ExprKind::Part { base: Box::new(whole), offset: 0, bits: None },
            ty,
            span,
        })
    }

    /// Whether all bytes of a type at an offset are there, but for those between members.
    fn covers(&self, parts: &[Part], ty: &Type, offset: u32) -> bool {
        if let Type::Record(record) = ty {
            let members = self.kernel.types.members(record.id);
            return members.iter().all(|m| self.covers(parts, &m.ty, offset + m.bit_offset / 8));
        }
        (offset..offset + ty.size()).all(|at| parts.iter().any(|p| (p.offset..p.offset + p.size).contains(&at)))
    }

    fn user_parameter(&self, parameter: &UserParameter, span: Span) -> Result<Expr> {
        let ty = parameter.ty.clone();
        let word = |offset| Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span };
        let sized = match &ty {
            Type::Record(r) => r.size,
            ty => ty.size(),
        };
        let unreadable = |why: &str| {
            Diagnostic::error(Code::UnknownField, span, format!("cannot read `args.{}` here: {why}", parameter.name))
        };
        if ty == Type::Void {
            return Err(unreadable(&format!("its type, `{}`, is not supported", parameter.declared)));
        }
        if let Some(value) = self.sequence(&parameter.place, &ty, span) {
            return Ok(value);
        }
        match &parameter.place {
            Place::Parts(parts) => {
                self.assembled(parts, ty, span).ok_or_else(|| unreadable("only part of it is available"))
            }
            // What fits its register lies there as in memory.
            Place::Register(offset) if !ty.is_scalar() => {
                if sized > 8 {
                    return Err(unreadable("it is split across several registers"));
                }
                Ok(in_context(*offset, ty, span))
            }
            Place::Register(offset) => Ok(narrow(word(*offset), ty)),
            Place::Memory { base, displacement } => Ok(load(word(*base), *displacement, ty)),
            Place::Sum { register, plus } if ty.is_scalar() => {
                let sum = arithmetic(BinOp::Add, word(*register), Expr::int(*plus, Type::U64, span));
                Ok(narrow(sum, ty))
            }
            Place::Constant(value) if ty.is_scalar() => Ok(Expr::int(*value, ty, span)),
            Place::Sum { .. } | Place::Constant(_) => Err(unreadable("only part of it is available")),
            Place::Unknown(why) => {
                Err(unreadable(why)
                    .help(format!("read the registers directly: {}", self.argument_registers().join(", "))))
            }
        }
    }
}

/// The number at a place, as a word.
fn word(place: &Place, span: Span) -> Option<Expr> {
    let register = |offset| Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span };
    match place {
        Place::Register(offset) => Some(register(*offset)),
        Place::Memory { base, displacement } => Some(load(register(*base), *displacement, Type::U64)),
        Place::Sum { register: base, plus } => {
            Some(arithmetic(BinOp::Add, register(*base), Expr::int(*plus, Type::U64, span)))
        }
        Place::Constant(value) => Some(Expr::int(*value, Type::U64, span)),
        Place::Parts(_) | Place::Unknown(_) => None,
    }
}

/// The word at an offset of a value that lies in memory or in several places.
fn word_at(place: &Place, offset: u32, span: Span) -> Option<Expr> {
    match place {
        Place::Memory { base, displacement } => {
            word(&Place::Memory { base: *base, displacement: displacement.wrapping_add(i64::from(offset)) }, span)
        }
        Place::Parts(parts) => word(&parts.iter().find(|p| p.offset == offset && p.size == 8)?.place, span),
        _ => None,
    }
}

/// A part as a number of its size.
fn part(part: &Part, span: Span) -> Option<Expr> {
    let bits = matches!(part.size, 1 | 2 | 4 | 8).then_some((part.size * 8) as u8)?;
    let ty = Type::Int { bits, signed: false };
    if let Place::Memory { base, displacement } = &part.place {
        let register = Expr { kind: ExprKind::Ctx { offset: *base }, ty: Type::U64, span };
        return Some(load(register, *displacement, ty));
    }
    Some(narrow(word(&part.place, span)?, ty))
}
