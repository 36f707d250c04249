//! Types meeting types: what a variable or map that is used with several types becomes, and turning
//! an expression into the type that a place wants.

use super::Checker;
use super::access::decayed;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::probes::Context;
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::{Agg, Space, StackType, Type};
use std::collections::HashMap;

/// The one type for a place used with both types; `None` when there is none.
pub fn unify(a: &Type, b: &Type) -> Option<Type> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (Type::Int { bits: x, signed: s }, Type::Int { bits: y, signed: t }) => Some(Type::Int {
            bits: if s == t { *x.max(y) } else { 64 },
            // One sign for both: signed, unless the unsigned one needs all 64 bits.
            signed: if s == t { *s } else { (*s || *x != 64) && (*t || *y != 64) },
        }),
        _ if a.is_integer() && b.is_integer() => Some(Type::I64),
        (Type::String { cap: x }, Type::String { cap: y }) => Some(Type::String { cap: *x.max(y) }),
        (Type::Buffer { cap: x }, Type::Buffer { cap: y }) => Some(Type::Buffer { cap: *x.max(y) }),
        (Type::Ptr { to: x, space: s }, Type::Ptr { to: y, space: t }) => {
            // A program's address is always said to be one; the kernel's is often only assumed.
            let space = if *s == Space::User { Space::User } else { *t };
            match (&**x, &**y) {
                (Type::Void, other) | (other, Type::Void) => Some(Type::Ptr { to: Box::new(other.clone()), space }),
                (x, y) if x == y => Some(Type::Ptr { to: Box::new(x.clone()), space }),
                (x, y) if x.same_but_for_space(y) => Some(Type::Ptr { to: Box::new(x.in_space(space)), space }),
                _ => None,
            }
        }
        (Type::Ptr { .. }, Type::Int { .. }) | (Type::Int { .. }, Type::Ptr { .. }) => Some(Type::U64),
        (Type::Ksym, Type::Int { .. }) | (Type::Int { .. }, Type::Ksym) => Some(Type::Ksym),
        (Type::Ksym, Type::FuncName) | (Type::FuncName, Type::Ksym) => Some(Type::Ksym),
        (Type::ProbeName | Type::FuncName, Type::String { cap })
        | (Type::String { cap }, Type::ProbeName | Type::FuncName) => Some(Type::String { cap: NAMES.max(*cap) }),
        (Type::Tuple(x), Type::Tuple(y)) if x.len() == y.len() => {
            x.iter().zip(y).map(|(a, b)| unify(a, b)).collect::<Option<Vec<_>>>().map(Type::Tuple)
        }
        (Type::NamedTuple(x), Type::NamedTuple(y)) if x.len() == y.len() => x
            .iter()
            .map(|(n, a)| y.iter().find(|(m, _)| m == n).and_then(|(_, b)| unify(a, b)).map(|t| (n.clone(), t)))
            .collect::<Option<Vec<_>>>()
            .map(Type::NamedTuple),
        (Type::Stack(x), Type::Stack(y)) if x.user == y.user && x.mode == y.mode => {
            let mut s = *x;
            s.depth = x.depth.max(y.depth);
            s.stored = x.stored || y.stored;
            Some(Type::Stack(s))
        }
        (Type::Agg(x), Type::Agg(y)) => match (x, y) {
            (Agg::Sum { .. }, Agg::Sum { .. }) => Some(Type::Agg(Agg::Sum { signed: true })),
            (Agg::Avg { .. }, Agg::Avg { .. }) => Some(Type::Agg(Agg::Avg { signed: true })),
            (Agg::Stats { .. }, Agg::Stats { .. }) => Some(Type::Agg(Agg::Stats { signed: true })),
            (Agg::Min { .. }, Agg::Min { .. }) => Some(Type::Agg(Agg::Min { signed: true })),
            (Agg::Max { .. }, Agg::Max { .. }) => Some(Type::Agg(Agg::Max { signed: true })),
            (
                Agg::Tseries { interval: i, intervals: n, of: f, .. },
                Agg::Tseries { interval: j, intervals: m, of: g, .. },
            ) if (i, n, f) == (j, m, g) => {
                Some(Type::Agg(Agg::Tseries { interval: *i, intervals: *n, of: *f, signed: true }))
            }
            _ => None,
        },
        _ => None,
    }
}

/// The type that a variable, map value or map key keeps for values of this type: integers get 64
/// bits, so that later and larger values fit and additions are atomic. Narrow unsigned ones become
/// signed, which loses nothing: `@last = pid` in one probe goes with `@last = -1` in another.
pub fn kept(ty: &Type) -> Type {
    match ty {
        Type::Int { bits, signed } => Type::Int { bits: 64, signed: *signed || *bits < 64 },
        Type::Tuple(list) => Type::Tuple(list.iter().map(kept).collect()),
        Type::NamedTuple(list) => Type::NamedTuple(list.iter().map(|(n, t)| (n.clone(), kept(t))).collect()),
        Type::Stack(s) => Type::Stack(StackType { stored: true, ..*s }),
        other => other.clone(),
    }
}

/// The size of strings that names of attach points are kept in, beside other strings.
const NAMES: u32 = 256;

impl Checker<'_> {
    /// The name of the attach point, or of its function, that the code being checked is for: the program is then one
    /// for this attach point, and needs no identifier.
    pub(crate) fn own_name(&self, ty: &Type) -> &str {
        self.probe.specific.set(true);
        self.probe.id_uses.update(|n| n.saturating_sub(1));
        if *ty == Type::ProbeName { &self.probe.name } else { &self.probe.function }
    }

    /// The expression with the type `to`, converted where that keeps its meaning.
    pub(crate) fn coerce(&self, e: Expr, to: &Type) -> Result<Expr> {
        if e.ty == *to {
            return Ok(e);
        }
        let e = if matches!(to, Type::Ptr { .. }) { decayed(e) } else { e };
        let span = e.span;
        let wrap = |kind| Ok(Expr { kind, ty: to.clone(), span });
        match (&e.ty, to) {
            (Type::String { .. }, Type::String { cap }) => match e.kind {
                ExprKind::Bytes(mut bytes) => {
                    bytes.truncate(cap.saturating_sub(1) as usize);
                    wrap(ExprKind::Bytes(bytes))
                }
                _ => wrap(ExprKind::Resize(Box::new(e))),
            },
            (Type::Buffer { .. }, Type::Buffer { .. }) => wrap(ExprKind::Resize(Box::new(e))),
            (Type::Stack(a), Type::Stack(b)) if a.user == b.user => Ok(Expr { ty: to.clone(), ..e }),
            // Beside strings, `probe` and `func` are strings.
            (Type::ProbeName | Type::FuncName, Type::String { cap }) if matches!(e.kind, ExprKind::ProbeId) => {
                let name = self.own_name(&e.ty);
                if name.len() >= *cap as usize {
                    let message = format!("`{name}` is too long: at most {} bytes fit here", cap - 1);
                    return Err(Diagnostic::error(Code::WrongType, span, message));
                }
                wrap(ExprKind::Bytes(name.as_bytes().to_vec()))
            }
            // Beside `ksym` in a map, `func` is where the processor is: an address in that function.
            (Type::FuncName, Type::Ksym) => match (&e.kind, &self.probe.context) {
                (ExprKind::ProbeId, Context::KernelEntry { .. }) => {
                    wrap(ExprKind::Ctx { offset: self.options.arch.instruction_pointer() })
                }
                _ => Err(mismatch(span, "this expression", to, &e.ty)
                    .help("use ksym(address), which has the same type in every probe")),
            },
            (from, to_) if from.is_scalar() && to_.is_scalar() => match e.kind {
                ExprKind::Int(v) if to_.is_integer() => wrap(ExprKind::Int(fold(v, to_))),
                _ => wrap(ExprKind::Convert(Box::new(e))),
            },
            (Type::Tuple(_), Type::Tuple(wanted)) => {
                let elements = self.elements_of(e)?;
                let list: Result<Vec<Expr>> =
                    elements.into_iter().zip(wanted).map(|(e, t)| self.coerce(e, t)).collect();
                wrap(ExprKind::Tuple(list?))
            }
            // By name: the order of the first record counts.
            (Type::NamedTuple(names), Type::NamedTuple(wanted)) => {
                let names = names.clone();
                let elements = self.elements_of(e)?;
                let mut named: HashMap<_, _> = names.iter().map(|(n, _)| n.as_str()).zip(elements).collect();
                let list: Result<Vec<Expr>> = wanted
                    .iter()
                    .map(|(name, t)| match named.remove(name.as_str()) {
                        Some(e) => self.coerce(e, t),
                        None => Err(Diagnostic::error(
                            Code::WrongType,
                            span,
                            format!("the assigned record has no member `{name}`"),
                        )),
                    })
                    .collect();
                wrap(ExprKind::Tuple(list?))
            }
            _ => Err(Diagnostic::error(
                Code::WrongType,
                span,
                format!("cannot convert a value of type `{}` to `{to}`", e.ty),
            )
            .label(format!("this has type `{}`", e.ty))),
        }
    }

    /// The elements of a tuple value as expressions of their own.
    fn elements_of(&self, e: Expr) -> Result<Vec<Expr>> {
        if let ExprKind::Tuple(list) = e.kind {
            return Ok(list);
        }
        let parts: Vec<(u32, Type)> = e.ty.elements().map(|(o, t)| (o, t.clone())).collect();
        Ok(parts
            .into_iter()
            .map(|(offset, ty)| Expr {
                span: e.span,
                ty,
                kind: ExprKind::Part { base: Box::new(e.clone()), offset, bits: None },
            })
            .collect())
    }

    /// A condition: anything scalar, "is not zero".
    pub(crate) fn truth(&self, e: Expr) -> Result<Expr> {
        let span = e.span;
        match (&e.kind, &e.ty) {
            (_, Type::Bool) => Ok(e),
            (ExprKind::Int(v), _) => Ok(Expr::int(i64::from(*v != 0), Type::Bool, span)),
            (_, t) if t.is_scalar() => Ok(Expr { kind: ExprKind::Convert(Box::new(e)), ty: Type::Bool, span }),
            (_, t) => Err(Diagnostic::error(
                Code::WrongType,
                span,
                format!("cannot use a value of type `{t}` as a condition"),
            )
            .help("compare it with something, as in `comm == \"dd\"`")),
        }
    }

    /// An integer expression, of 64 bits with the sign of its type.
    pub(crate) fn integer(&self, e: Expr, what: &str) -> Result<Expr> {
        let wide = match &e.ty {
            Type::Int { signed, .. } => Type::Int { bits: 64, signed: *signed },
            // As in C, numbers that only an unsigned one holds stay positive.
            Type::Enum { bits, signed, .. } => Type::Int { bits: 64, signed: *signed || *bits < 64 },
            Type::Bool | Type::Username | Type::Timestamp { .. } | Type::Ksym => Type::U64,
            Type::Ptr { .. } | Type::CgroupPath | Type::Flags { .. } => Type::U64,
            // An aggregation read as the number it stands for.
            Type::Agg(a) if a.is_number() => {
                return Ok(Expr { ty: Type::I64, ..e });
            }
            other => {
                if let Some(error) = self.no_number(&e) {
                    return Err(error);
                }
                let message = format!("{what} must be an integer, not `{other}`");
                return Err(
                    Diagnostic::error(Code::WrongType, e.span, message).label(format!("this has type `{other}`"))
                );
            }
        };
        self.coerce(e, &wide)
    }
}

/// A 64-bit integer as one of the other sign. The operands of a division or shift keep theirs, so it is
/// converted, not renamed.
pub(super) fn signed_as(e: Expr, ty: &Type) -> Expr {
    match e.kind {
        _ if e.ty == *ty => e,
        ExprKind::Int(v) => Expr::int(v, ty.clone(), e.span),
        _ => Expr { span: e.span, kind: ExprKind::Convert(Box::new(e)), ty: ty.clone() },
    }
}

/// A constant cut to a type.
pub fn fold(v: i64, ty: &Type) -> i64 {
    match ty {
        Type::Bool => i64::from(v != 0),
        Type::Int { bits, signed } | Type::Enum { bits, signed, .. } => match (bits, signed) {
            (8, true) => i64::from(v as i8),
            (8, false) => i64::from(v as u8),
            (16, true) => i64::from(v as i16),
            (16, false) => i64::from(v as u16),
            (32, true) => i64::from(v as i32),
            (32, false) => i64::from(v as u32),
            _ => v,
        },
        _ => v,
    }
}

/// The error for two types that do not go together.
pub(crate) fn mismatch(span: Span, what: &str, old: &Type, new: &Type) -> Box<Diagnostic> {
    Diagnostic::error(
        Code::WrongType,
        span,
        format!("cannot assign a value of type `{new}` to {what}, which has type `{old}`"),
    )
    .label(format!("this has type `{new}`"))
}
