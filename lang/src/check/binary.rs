//! Operators with two operands: what they take, what they give, and their value where both are constants.

use super::Checker;
use super::access::{decayed, scale};
use super::convert::{signed_as, unify};
use super::expr::string;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use rtrace_grammar::ast::{self, BinOp};

impl Checker<'_> {
    pub(super) fn binary(&mut self, op: BinOp, left: &ast::Expr, right: &ast::Expr, span: Span) -> Result<Expr> {
        if let (BinOp::Eq | BinOp::Ne, ast::ExprKind::Typeof(a), ast::ExprKind::Typeof(b)) =
            (op, &left.kind, &right.kind)
        {
            let same = self.type_of(a)? == self.type_of(b)?;
            return Ok(Expr::int(i64::from(same == (op == BinOp::Eq)), Type::Bool, span));
        }
        let l = self.expr(left)?;
        if matches!(op, BinOp::LogAnd | BinOp::LogOr) {
            let l = self.truth(l)?;
            let decided = if op == BinOp::LogAnd { 0 } else { 1 };
            if l.constant() == Some(decided) {
                return Ok(Expr::int(decided, Type::Bool, span));
            }
            let r = self.expr(right).and_then(|r| self.truth(r))?;
            if l.constant().is_some() {
                return Ok(r);
            }
            let (l, r) = (Box::new(l), Box::new(r));
            let kind = if op == BinOp::LogAnd { ExprKind::And(l, r) } else { ExprKind::Or(l, r) };
            return Ok(Expr { kind, ty: Type::Bool, span });
        }
        let r = self.expr(right)?;
        self.check_byte_order(op, (left, &l), (right, &r), span);
        match op {
            BinOp::Eq | BinOp::Ne | BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge => self.compare(op, l, r, span),
            _ => self.arithmetic(op, l, r, span),
        }
    }

    pub(crate) fn arithmetic(&mut self, op: BinOp, l: Expr, r: Expr, span: Span) -> Result<Expr> {
        let (l, r) = (decayed(l), decayed(r));
        if let Type::Ptr { to, .. } = &l.ty
            && matches!(op, BinOp::Add | BinOp::Sub)
            && (r.ty.is_integer())
        {
            let size = i64::from(to.size().max(1));
            let r = self.integer(r, "the offset added to a pointer")?;
            let ty = l.ty.clone();
            let right = Box::new(scale(r, size));
            return Ok(Expr { kind: ExprKind::Arith { op, left: Box::new(l), right }, ty, span });
        }
        if op == BinOp::Add && l.ty.is_integer() && matches!(r.ty, Type::Ptr { .. }) {
            return self.arithmetic(op, r, l, span);
        }
        if let (BinOp::Sub, Type::Ptr { to: a, .. }, Type::Ptr { to: b, .. }) = (op, &l.ty, &r.ty) {
            let (a, b) = ((**a).clone(), (**b).clone());
            return self.distance(&a, &b, l, r, span);
        }
        if let (BinOp::Mul | BinOp::Div | BinOp::Rem, Some(pointer)) =
            (op, [&l, &r].into_iter().find(|e| matches!(e.ty, Type::Ptr { .. })))
        {
            let message = format!("`{}` does not take pointers: only addition and subtraction do", op.text());
            return Err(Diagnostic::error(Code::WrongType, pointer.span, message)
                .label(format!("this has type `{}`", pointer.ty))
                .help(format!(
                    "cast it to an integer: (uint64){}",
                    super::suggest::show(&self.text_of(pointer.span))
                )));
        }
        let what = format!("the operand of `{}`", op.text());
        let l = self.integer(l, &what)?;
        let r = self.integer(r, &what)?;
        let ty = match op {
            BinOp::Shl | BinOp::Shr => l.ty.clone(),
            BinOp::Sub => Type::I64,
            _ => common(&l, &r),
        };
        if let (Some(a), Some(b)) = (l.constant(), r.constant()) {
            if b == 0 && matches!(op, BinOp::Div | BinOp::Rem) {
                return Err(Diagnostic::error(Code::BadValue, r.span, "division by zero"));
            }
            if let Some(value) = fold(op, a, b, ty.is_signed()) {
                let ty = if outgrows(op, a, b, &ty) { Type::U64 } else { ty };
                return Ok(Expr::int(value, ty, span));
            }
        }
        let left = Box::new(signed_as(l, &ty));
        let right = Box::new(signed_as(r, &ty));
        Ok(Expr { kind: ExprKind::Arith { op, left, right }, ty, span })
    }

    pub(crate) fn compare(&mut self, op: BinOp, l: Expr, r: Expr, span: Span) -> Result<Expr> {
        let negate = op == BinOp::Ne;
        let equality = matches!(op, BinOp::Eq | BinOp::Ne);
        let (l, r) = match (&l.ty, &r.ty) {
            (Type::String { .. }, _) if self.is_missing_parameter(&r) => (l, string(b"", r.span)),
            (_, Type::String { .. }) if self.is_missing_parameter(&l) => (string(b"", l.span), r),
            _ => (l, r),
        };
        match (&l.ty, &r.ty) {
            (Type::ProbeName | Type::FuncName, Type::String { .. })
            | (Type::String { .. }, Type::ProbeName | Type::FuncName)
                if equality =>
            {
                return self.compare_name(negate, l, r, span);
            }
            (Type::Inet, Type::String { .. } | Type::Array { .. }) if equality => {
                let r = self.inet_of(r)?;
                return Ok(equal(negate, Type::Inet.size(), l, r, span));
            }
            (Type::String { .. } | Type::Array { .. }, Type::Inet) if equality => {
                let l = self.inet_of(l)?;
                return Ok(equal(negate, Type::Inet.size(), r, l, span));
            }
            _ => {}
        }
        // An aggregation compared with something is the number that it stands for.
        let number = |c: &Self, e: Expr| match e.ty {
            Type::Agg(_) => c.integer(e, "the operand of a comparison"),
            _ => Ok(e),
        };
        let (l, r) = (number(self, l)?, number(self, r)?);
        let (l, r) = match (&l.ty, &r.ty) {
            (Type::Array { .. }, Type::Ptr { .. }) => (decayed(l), r),
            (Type::Ptr { .. }, Type::Array { .. }) => (l, decayed(r)),
            // A `char *` compared with a string is the string it points to.
            (Type::Ptr { .. }, Type::String { .. }) => (self.stringify(l)?, r),
            (Type::String { .. }, Type::Ptr { .. }) => (l, self.stringify(r)?),
            _ => (l, r),
        };
        if l.ty.is_scalar() && r.ty.is_scalar() {
            return self.compare_scalars(op, l, r, span);
        }
        if !equality {
            return Err(Diagnostic::error(Code::WrongType, span, format!("`{}` can compare only numbers", op.text()))
                .also(l.span, format!("this has type `{}`", l.ty))
                .also(r.span, format!("this has type `{}`", r.ty)));
        }
        match (&l.ty, &r.ty) {
            _ if constants_equal(&l, &r).is_some() => {
                let same = constants_equal(&l, &r) == Some(true);
                Ok(Expr::int(i64::from(same != negate), Type::Bool, span))
            }
            (Type::String { cap: a }, Type::String { cap: b }) => {
                let (a, b) = (*a, *b);
                let (value, literal) = if matches!(l.kind, ExprKind::Bytes(_)) { (r, l) } else { (l, r) };
                if let ExprKind::Bytes(text) = &literal.kind {
                    let len = text.len() as u32 + 1;
                    self.check_length(&literal, text.len(), value.ty.size())?;
                    if len > value.ty.size() {
                        return Ok(Expr::int(i64::from(negate), Type::Bool, span));
                    }
                    let ty = value.ty.clone();
                    let literal = self.coerce(literal, &ty)?;
                    return Ok(equal(negate, len, value, literal, span));
                }
                let ty = Type::String { cap: a.max(b) };
                let (value, literal) = (self.coerce(value, &ty)?, self.coerce(literal, &ty)?);
                Ok(equal(negate, a.max(b), value, literal, span))
            }
            (a, b) => match unify(a, b) {
                Some(ty) => {
                    let (l, r) = (self.coerce(l, &ty)?, self.coerce(r, &ty)?);
                    Ok(equal(negate, ty.size(), l, r, span))
                }
                None => Err(self.no_number(&l).or_else(|| self.no_number(&r)).unwrap_or_else(|| {
                    Diagnostic::error(Code::WrongType, span, "cannot compare values of these types")
                        .also(l.span, format!("this has type `{}`", l.ty))
                        .also(r.span, format!("this has type `{}`", r.ty))
                })),
            },
        }
    }

    /// Reports a literal that is longer than the string it is compared with: they would never be equal.
    fn check_length(&mut self, literal: &Expr, len: usize, cap: u32) -> Result<()> {
        let (len, most) = (len as u64, self.options.max_strlen);
        if cap == self.options.string_cap() && len >= u64::from(most) {
            let message = format!("the string literal is too long: {len} bytes, but strings are truncated at {most}");
            return Err(Diagnostic::error(Code::BadValue, literal.span, message)
                .help(format!("increase max_strlen: config = {{ max_strlen = {} }}", len + 1)));
        }
        if len >= u64::from(cap) {
            let message = format!("this string has {len} bytes, but is compared with a string of at most {}", cap - 1);
            self.warn(Diagnostic::warning(Code::BadValue, literal.span, message).label("never equal"));
        }
        Ok(())
    }

    fn compare_scalars(&mut self, op: BinOp, l: Expr, r: Expr, span: Span) -> Result<Expr> {
        let l = self.integer(l, "the operand of a comparison")?;
        let r = self.integer(r, "the operand of a comparison")?;
        let ty = common(&l, &r);
        let signed = ty.is_signed();
        if let (Some(a), Some(b)) = (l.constant(), r.constant()) {
            let order = if signed { a.cmp(&b) } else { (a as u64).cmp(&(b as u64)) };
            let holds = match op {
                BinOp::Eq => order.is_eq(),
                BinOp::Ne => order.is_ne(),
                BinOp::Lt => order.is_lt(),
                BinOp::Le => order.is_le(),
                BinOp::Gt => order.is_gt(),
                _ => order.is_ge(),
            };
            return Ok(Expr::int(i64::from(holds), Type::Bool, span));
        }
        let left = Box::new(signed_as(l, &ty));
        let right = Box::new(signed_as(r, &ty));
        Ok(Expr { kind: ExprKind::Compare { op, signed, left, right }, ty: Type::Bool, span })
    }

    /// `probe == "kprobe:f"`: which attach point this is, is known while compiling.
    fn compare_name(&mut self, negate: bool, l: Expr, r: Expr, span: Span) -> Result<Expr> {
        let (name, text) = if matches!(l.ty, Type::String { .. }) { (r, l) } else { (l, r) };
        let ExprKind::Bytes(wanted) = &text.kind else {
            return Err(Diagnostic::error(
                Code::WrongType,
                span,
                "a probe's name can be compared only with a string literal",
            ));
        };
        let mine = self.own_name(&name.ty);
        Ok(Expr::int(i64::from((mine.as_bytes() == wanted.as_slice()) != negate), Type::Bool, span))
    }
}

fn equal(negate: bool, len: u32, l: Expr, r: Expr, span: Span) -> Expr {
    Expr { kind: ExprKind::Equal { negate, len, left: Box::new(l), right: Box::new(r) }, ty: Type::Bool, span }
}

/// Whether two aggregates are equal, if both are constants.
fn constants_equal(l: &Expr, r: &Expr) -> Option<bool> {
    match (&l.kind, &r.kind) {
        (ExprKind::Int(a), ExprKind::Int(b)) => Some(a == b),
        (ExprKind::Bytes(a), ExprKind::Bytes(b)) if matches!(l.ty, Type::String { .. }) => Some(a == b),
        (ExprKind::Tuple(a), ExprKind::Tuple(b)) if a.len() == b.len() && unify(&l.ty, &r.ty).is_some() => {
            let parts: Option<Vec<bool>> = a.iter().zip(b).map(|(a, b)| constants_equal(a, b)).collect();
            parts.map(|p| p.iter().all(|same| *same))
        }
        _ => None,
    }
}

/// The type in which two 64-bit integers meet: a non-negative constant takes the other's sign, and otherwise
/// signed wins.
pub(super) fn common(l: &Expr, r: &Expr) -> Type {
    let adopts = |e: &Expr| e.constant().is_some_and(|v| v >= 0);
    let (signed, unsigned) = match (l.ty.is_signed(), r.ty.is_signed()) {
        (a, b) if a == b => return l.ty.clone(),
        (true, _) => (l, r),
        (false, _) => (r, l),
    };
    if adopts(signed) && !adopts(unsigned) { Type::U64 } else { Type::I64 }
}

/// Whether two numbers that are not negative give one that only an unsigned type holds.
fn outgrows(op: BinOp, a: i64, b: i64, ty: &Type) -> bool {
    if *ty != Type::I64 || a < 0 || b < 0 {
        return false;
    }
    let (a, b) = (i128::from(a), i128::from(b));
    let exact = match op {
        BinOp::Add => a + b,
        BinOp::Mul => a * b,
        BinOp::Shl if b < 64 => a << b,
        _ => return false,
    };
    (i128::from(i64::MAX) + 1..=i128::from(u64::MAX)).contains(&exact)
}

/// Arithmetic on constants; `None` for what has no value.
fn fold(op: BinOp, a: i64, b: i64, signed: bool) -> Option<i64> {
    let (x, y) = (a as u64, b as u64);
    Some(match op {
        BinOp::Add => a.wrapping_add(b),
        BinOp::Sub => a.wrapping_sub(b),
        BinOp::Mul => a.wrapping_mul(b),
        BinOp::Div | BinOp::Rem if b == 0 => return None,
        BinOp::Div if signed => a.wrapping_div(b),
        BinOp::Div => (x / y) as i64,
        BinOp::Rem if signed => a.wrapping_rem(b),
        BinOp::Rem => (x % y) as i64,
        BinOp::Shl => a.wrapping_shl(y as u32 & 63),
        BinOp::Shr if signed => a.wrapping_shr(y as u32 & 63),
        BinOp::Shr => x.wrapping_shr(y as u32 & 63) as i64,
        BinOp::BitAnd => a & b,
        BinOp::BitOr => a | b,
        BinOp::BitXor => a ^ b,
        _ => return None,
    })
}
