//! Questions about types: `typeof`, `typeinfo`, `offsetof`.

use super::Checker;
use super::expr::string;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use rtrace_grammar::ast::{self, PathStep};

impl Checker<'_> {
    /// The type of `sizeof(…)`, `typeof(…)` and their kin. A map with keys, named without one, stands for its key.
    pub(crate) fn type_of(&mut self, of: &ast::TypeOrExpr) -> Result<Type> {
        match of {
            ast::TypeOrExpr::Type(t) => self.type_name(t),
            ast::TypeOrExpr::Expr(e) => match &e.kind {
                // What a macro is given as `typeof(x)` stays a type.
                ast::ExprKind::Typeof(of) => self.type_of(of),
                ast::ExprKind::Index { base, index } if matches!(base.kind, ast::ExprKind::Typeof(_)) => {
                    let elem = self.type_of(&ast::TypeOrExpr::Expr(base.clone()))?;
                    let len = self.constant(index, "the length of an array")?;
                    let len = u32::try_from(len).map_err(|_| {
                        Diagnostic::error(Code::BadValue, index.span, format!("invalid array length: {len}"))
                    })?;
                    Ok(Type::Array { elem: Box::new(elem), len })
                }
                ast::ExprKind::Map { name, key: None } => {
                    let id = self.map_id(name, e.span);
                    match self.map(id)?.key.clone() {
                        Some(Some(key)) => Ok(key),
                        _ => self.expr(e).map(|e| e.ty),
                    }
                }
                _ => self.expr(e).map(|e| e.ty),
            },
        }
    }

    /// `typeinfo(x)`: a record that says what type something has; all of it is constant.
    pub(super) fn type_info(&mut self, of: &ast::TypeOrExpr, span: Span) -> Result<Expr> {
        let ty = self.type_of(of)?;
        let values = [
            ("btf_id", Expr::int(0, Type::U64, span)),
            ("base_type", string(base_name(&ty).as_bytes(), span)),
            ("full_type", string(ty.to_string().as_bytes(), span)),
        ];
        let types = values.iter().map(|(n, v)| ((*n).to_owned(), v.ty.clone())).collect();
        let values = values.into_iter().map(|(_, v)| v).collect();
        Ok(Expr { kind: ExprKind::Tuple(values), ty: Type::NamedTuple(types), span })
    }

    /// `offsetof(type, a.b[2].c)`
    pub(crate) fn offset_of(&mut self, of: &ast::TypeOrExpr, path: &[PathStep], span: Span) -> Result<Expr> {
        let mut ty = self.type_of(of)?;
        let mut offset = 0i64;
        for step in path {
            match (step, &ty) {
                (PathStep::Member(name), Type::Record(r)) => {
                    let m = self.member(r, name)?;
                    if m.bits.is_some() {
                        let message = format!("`{}` is a bit-field, which has no offset in bytes", name.text);
                        return Err(Diagnostic::error(Code::WrongType, name.span, message));
                    }
                    offset += i64::from(m.bit_offset / 8);
                    ty = m.ty;
                }
                (PathStep::Member(name), other) => {
                    return Err(Diagnostic::error(Code::WrongType, name.span, format!("`{other}` has no members")));
                }
                (PathStep::Index(index), Type::Array { .. } | Type::String { .. }) => {
                    let (elem, len) = match &ty {
                        Type::Array { elem, len } => ((**elem).clone(), *len),
                        other => (Type::I8, other.size()),
                    };
                    let i = self.constant(index, "an index in offsetof")?;
                    // One past the end is where the array ends.
                    if i < 0 || (len > 0 && i > i64::from(len)) {
                        let message = format!("index {i} is out of bounds for `{ty}`");
                        return Err(Diagnostic::error(Code::BadValue, index.span, message));
                    }
                    offset = offset.saturating_add(i.saturating_mul(i64::from(elem.size())));
                    ty = elem;
                }
                (PathStep::Index(index), other) => {
                    return Err(Diagnostic::error(Code::WrongType, index.span, format!("`{other}` has no elements")));
                }
            }
        }
        Ok(Expr::int(offset, Type::U64, span))
    }
}

/// The kind of a type, in one word.
fn base_name(ty: &Type) -> String {
    match ty {
        Type::Int { .. } => "int".into(),
        Type::Enum { .. } => "enum".into(),
        Type::String { .. } => "string".into(),
        Type::Buffer { .. } => "buffer".into(),
        Type::Ptr { .. } => "pointer".into(),
        Type::Array { .. } | Type::List { .. } => "array".into(),
        Type::Record(_) => "c_type".into(),
        Type::Tuple(_) => "tuple".into(),
        Type::NamedTuple(_) => "record".into(),
        other => other.to_string(),
    }
}
