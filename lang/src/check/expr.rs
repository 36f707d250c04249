//! Expressions: literals, names, casts, operators with one operand. Those with two are in `binary.rs`, members and elements in
//! `access.rs`, calls in `call.rs`.

use super::access::{characters, decayed, step_size};
use super::convert::{fold as fold_to, signed_as, unify};
use super::{Checker, MapInfo};
use crate::builtins;
use crate::codes::Code;
use crate::constants;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::source::Span;
use crate::typed::{Expr, ExprKind, LocalId, Stmt, StmtKind};
use crate::types::Type;
use rtrace_core::nearest::nearest;
use rtrace_grammar::ast::{self, BinOp, UnOp};

impl Checker<'_> {
    pub(crate) fn expr(&mut self, e: &ast::Expr) -> Result<Expr> {
        let span = e.span;
        match &e.kind {
            ast::ExprKind::Int { value, unsigned } => {
                let ty = if *unsigned || *value > i64::MAX as u64 { Type::U64 } else { Type::I64 };
                Ok(Expr::int(*value as i64, ty, span))
            }
            ast::ExprKind::Duration(ns) => Ok(Expr::int(*ns as i64, Type::U64, span)),
            ast::ExprKind::Bool(b) => Ok(Expr::int(i64::from(*b), Type::Bool, span)),
            ast::ExprKind::Str(text) => Ok(string(text, span)),
            ast::ExprKind::Ident(name) => self.ident(name, span),
            ast::ExprKind::Param(n) => Ok(self.parameter(*n, span)),
            ast::ExprKind::ParamCount => Ok(Expr::int(self.options.params.len() as i64, Type::I64, span)),
            ast::ExprKind::Var(name) => match self.find_local(name) {
                Some(id) if self.local_type(id) == Type::Void => {
                    Err(Diagnostic::error(Code::Unset, span, format!("`${name}` {NEVER_ASSIGNED}"))
                        .help(format!("declare its type to start from zero: let ${name}: uint64;")))
                }
                Some(id) => {
                    if let Some(size) = self.network.get(&id) {
                        self.big_endian.insert(span, *size);
                    }
                    Ok(Expr { kind: ExprKind::Local(id), ty: self.local_type(id), span })
                }
                None => Err(self.unset(name, span)),
            },
            ast::ExprKind::Map { name, key } => self.map_get(name, key.as_deref(), span),
            ast::ExprKind::Call { name, args } => self.call_by_name(name, args, span, false),
            ast::ExprKind::Unary { op, expr } => self.unary(*op, expr, span),
            ast::ExprKind::Step { increment, prefix, target } => self.step(*increment, *prefix, target, span),
            ast::ExprKind::Binary { op, left, right } => self.binary(*op, left, right, span),
            ast::ExprKind::Ternary { cond, then: None, otherwise } => self.or_else(cond, otherwise, span),
            ast::ExprKind::Ternary { cond, then: Some(then), otherwise } => {
                let cond = self.expr(cond).and_then(|c| self.truth(c))?;
                // As with `if`, a side that is never taken is not checked.
                if let Some(c) = cond.constant() {
                    return self.expr(if c != 0 { then } else { otherwise });
                }
                let then = self.expr(then)?;
                let otherwise = self.expr(otherwise)?;
                self.choose(cond, then, otherwise, span)
            }
            ast::ExprKind::Cast { ty, expr } => {
                let to = self.type_name(ty)?;
                if let Some(size) = super::byte_order::network_size(ty) {
                    self.big_endian.insert(span, size);
                }
                // What lies at an address as a string or as bytes: as `str` and `buf` read it.
                let reader = match &to {
                    Type::String { cap } => Some(("str", *cap)),
                    Type::Buffer { cap } => Some(("buf", *cap)),
                    _ => None,
                };
                let e = self.expr(expr)?;
                let same = e.ty == to || matches!((&e.ty, &to), (Type::String { .. }, Type::String { .. }));
                if let (Some((reader, cap)), false) = (reader, same) {
                    let name = ast::Name { text: reader.into(), span };
                    let length = ast::ExprKind::Int { value: u64::from(cap), unsigned: false };
                    let args = [(**expr).clone(), ast::Expr { kind: length, span }];
                    let e = self.call_by_name(&name, &args, span, false)?;
                    return self.coerce(e, &to);
                }
                self.cast(e, to, span)
            }
            ast::ExprKind::Sizeof(of) => {
                let ty = match of {
                    ast::TypeOrExpr::Expr(e)
                        if !matches!(e.kind, ast::ExprKind::Typeof(_) | ast::ExprKind::Map { .. }) =>
                    {
                        characters(self.expr(e)?).ty
                    }
                    _ => self.type_of(of)?,
                };
                Ok(Expr::int(i64::from(ty.size()), Type::U64, span))
            }
            ast::ExprKind::Offsetof { of, path } => self.offset_of(of, path, span),
            ast::ExprKind::Typeof(_) => Err(Diagnostic::error(Code::WrongType, span, "expected a value, found a type")
                .help("use typeinfo(x).full_type for its name, or typeof(a) == typeof(b) to compare types")),
            ast::ExprKind::Typeinfo(of) => self.type_info(of, span),
            ast::ExprKind::Field { base, name, .. } => self.field(base, name, span),
            ast::ExprKind::TupleField { base, index } => self.tuple_field(base, *index, span),
            ast::ExprKind::Index { base, index } => self.index(base, index, span),
            ast::ExprKind::Tuple(list) => {
                let list = list.iter().map(|e| self.part(e)).collect::<Result<Vec<_>>>()?;
                sized(tuple(list, span))
            }
            ast::ExprKind::Record(list) => {
                let mut names = Vec::new();
                let mut values = Vec::new();
                for (name, value) in list {
                    let value = self.part(value)?;
                    names.push((name.text.clone(), value.ty.clone()));
                    values.push(value);
                }
                sized(Expr { kind: ExprKind::Tuple(values), ty: Type::NamedTuple(names), span })
            }
            ast::ExprKind::Block(block) => self.block_value(block),
            ast::ExprKind::If { cond, then, otherwise } => {
                let cond = self.expr(cond).and_then(|c| self.truth(c))?;
                if let Some(c) = cond.constant() {
                    return self.block_value(if c != 0 { then } else { otherwise });
                }
                let then = self.block_value(then)?;
                let otherwise = self.block_value(otherwise)?;
                self.choose(cond, then, otherwise, span)
            }
            ast::ExprKind::Comptime(e) => {
                let e = self.expr(e)?;
                match e.kind {
                    ExprKind::Int(_) | ExprKind::Bytes(_) => Ok(e),
                    _ => Err(Diagnostic::error(Code::WrongType, span, "expected a compile-time constant")),
                }
            }
        }
    }

    /// `value ?: otherwise`. The value is found once, so it gets a variable that no script can name.
    fn or_else(&mut self, value: &ast::Expr, otherwise: &ast::Expr, span: Span) -> Result<Expr> {
        let name = format!("?{}", span.start);
        let var = ast::Expr { kind: ast::ExprKind::Var(name.clone()), span: value.span };
        let name = ast::Name { text: name, span: value.span };
        let kind = ast::StmtKind::Let { var: name, ty: None, value: Some(value.clone()) };
        let then = Some(Box::new(var.clone()));
        let choice = ast::ExprKind::Ternary { cond: Box::new(var), then, otherwise: Box::new(otherwise.clone()) };
        let stmts = vec![ast::Stmt { kind, span: value.span }];
        let value = Some(Box::new(ast::Expr { kind: choice, span }));
        self.block_value(&ast::Block { stmts, value, span })
    }

    /// An expression that must be an integer constant.
    pub(crate) fn constant(&mut self, e: &ast::Expr, what: &str) -> Result<i64> {
        let value = self.expr(e)?;
        value
            .constant()
            .ok_or_else(|| Diagnostic::error(Code::WrongType, e.span, format!("{what} must be an integer constant")))
    }

    fn block_value(&mut self, block: &ast::Block) -> Result<Expr> {
        // Mostly the body of a macro.
        if let ([], Some(value)) = (block.stmts.as_slice(), &block.value) {
            return self.expr(value);
        }
        self.scoped(|c| {
            let stmts = c.stmts(&block.stmts);
            let value = match &block.value {
                Some(v) => c.expr(v)?,
                None => {
                    return Err(Diagnostic::error(Code::WrongType, block.span, "this block has no value")
                        .help("end it with an expression without a semicolon"));
                }
            };
            let ty = value.ty.clone();
            Ok(Expr { kind: ExprKind::Block { stmts, value: Box::new(value) }, ty, span: block.span })
        })
    }

    /// Whether a bare word names a constant or an enumerator.
    pub(crate) fn is_constant(&self, name: &str) -> bool {
        constants::find(self.kernel.types, name).is_some()
    }

    /// A bare word.
    fn ident(&mut self, name: &str, span: Span) -> Result<Expr> {
        if builtins::find(name).is_some() {
            let name = ast::Name { text: name.to_owned(), span };
            return self.call_by_name(&name, &[], span, false);
        }
        if let Some(definition) = self.defines.get(name)
            && !self.defining.iter().any(|d| d == name)
        {
            self.defining.push(name.to_owned());
            let value = self.expr(definition);
            self.defining.pop();
            return value;
        }
        let found = constants::find(self.kernel.types, name).or_else(|| self.program_enumerator(name));
        if let Some((value, ty)) = found {
            return Ok(Expr::int(value, ty, span));
        }
        let error = Diagnostic::error(Code::UnknownName, span, format!("unknown name `{name}`"));
        if self.find_local(name).is_some() {
            return Err(error.help(format!("did you mean the variable `${name}`?")));
        }
        if self.maps.iter().any(|m| m.name == name) {
            return Err(error.help(format!("did you mean the map `@{name}`?")));
        }
        let near = nearest(name, builtins::names());
        Err(match near.or_else(|| constants::nearest(name)) {
            Some(n) => error.help(format!("did you mean `{n}`?")),
            None => error
                .note("it is not a builtin, a constant or an enumerator of the kernel")
                .help(format!("write `${name}` for a variable, `@{name}` for a map, \"{name}\" for a string")),
        })
    }

    /// `cond ? then : otherwise`
    fn choose(&mut self, cond: Expr, then: Expr, otherwise: Expr, span: Span) -> Result<Expr> {
        let Some(ty) = unify(&then.ty, &otherwise.ty) else {
            return Err(Diagnostic::error(Code::WrongType, span, "the two branches have different types")
                .also(then.span, format!("this has type `{}`", then.ty))
                .also(otherwise.span, format!("this has type `{}`", otherwise.ty)));
        };
        let then = Box::new(self.coerce(then, &ty)?);
        let otherwise = Box::new(self.coerce(otherwise, &ty)?);
        Ok(Expr { kind: ExprKind::Ternary { cond: Box::new(cond), then, otherwise }, ty, span })
    }

    fn cast(&mut self, e: Expr, to: Type, span: Span) -> Result<Expr> {
        let e = if matches!(to, Type::Ptr { .. }) { decayed(e) } else { e };
        // Where a pointer points does not change by calling what is there something else.
        let to = match (to, &e.ty) {
            (to @ Type::Ptr { .. }, Type::Ptr { space, .. }) => to.in_space(*space),
            (to @ Type::Ptr { .. }, _) => to.in_space(self.space_of(&e)),
            (to, _) => to,
        };
        if to.is_scalar() && e.ty.is_scalar() {
            let e = Expr { span, ..e };
            return self.coerce(e, &to);
        }
        if e.ty == to {
            return Ok(e);
        }
        let e = if matches!(to, Type::Array { .. }) { characters(e) } else { e };
        match (&to, &e.ty) {
            (Type::String { .. }, Type::String { .. }) => self.coerce(e, &to),
            // A read-only aggregation used as a number.
            (t, Type::Agg(_)) if t.is_integer() => self.coerce(Expr { ty: Type::I64, ..e }, &to),
            // Characters of a string, with the NUL at its end.
            (Type::Array { elem, len }, Type::String { cap }) if elem.size() == 1 => {
                let len = if *len == 0 { *cap } else { *len };
                if len != *cap {
                    let message = format!("size mismatch in cast: `{}` has {cap} bytes, but `{to}` has {len}", e.ty);
                    return Err(Diagnostic::error(Code::WrongType, span, message)
                        .help("omit the length to infer it from the string: (int8[])…"));
                }
                self.same_bytes(e, Type::Array { elem: elem.clone(), len }, span)
            }
            (Type::Array { elem, len }, Type::Array { .. })
                if elem.is_integer() && (*len == 0 || to.size() == e.ty.size()) =>
            {
                let len = if *len == 0 { e.ty.size() / elem.size().max(1) } else { *len };
                self.same_bytes(e, Type::Array { elem: elem.clone(), len }, span)
            }
            (Type::Array { elem, len }, Type::Int { .. }) if elem.is_integer() => {
                let len = if *len == 0 { e.ty.size() / elem.size().max(1) } else { *len };
                self.bytes_of(e, Type::Array { elem: elem.clone(), len }, span)
            }
            (Type::Int { .. }, Type::Array { elem, .. }) if elem.is_integer() && e.ty.size() == to.size() => {
                let kind = match &e.kind {
                    ExprKind::Bytes(bytes) if bytes.len() <= 8 => {
                        let mut word = [0; 8];
                        word.iter_mut().zip(bytes).for_each(|(w, b)| *w = *b);
                        ExprKind::Int(fold_to(i64::from_le_bytes(word), &to))
                    }
                    _ => ExprKind::Part { base: Box::new(e), offset: 0, bits: None },
                };
                Ok(Expr { kind, ty: to, span })
            }
            _ => {
                let message = format!("cannot cast a value of type `{}` to `{to}`", e.ty);
                let error = Diagnostic::error(Code::WrongType, span, message);
                Err(match to {
                    Type::Record(r) if e.ty.is_scalar() => {
                        error.help(format!("cast it to a pointer instead: ({} *){}", r.name, self.text_of(e.span)))
                    }
                    _ => error,
                })
            }
        }
    }

    /// A value that lies in memory under another type of the same size.
    fn same_bytes(&mut self, e: Expr, to: Type, span: Span) -> Result<Expr> {
        let kind = match e.kind {
            ExprKind::Bytes(bytes) => ExprKind::Bytes(bytes),
            _ => ExprKind::Part { base: Box::new(e), offset: 0, bits: None },
        };
        Ok(Expr { kind, ty: to, span })
    }

    /// An integer as the array of its bytes. The size of a constant is what the array's is, if it fits.
    fn bytes_of(&mut self, e: Expr, to: Type, span: Span) -> Result<Expr> {
        let size = to.size();
        if let Some(v) = e.constant()
            && (size == 8 || (size < 8 && size > 0 && (v as u64) >> (size * 8) == 0))
        {
            let bytes = v.to_le_bytes().into_iter().take(size as usize).collect();
            return Ok(Expr { kind: ExprKind::Bytes(bytes), ty: to, span });
        }
        if e.ty.size() != size {
            let message = format!("size mismatch in cast: `{}` has {} bytes, but `{to}` has {size}", e.ty, e.ty.size());
            return Err(Diagnostic::error(Code::WrongType, span, message)
                .help(format!("cast it to an integer of that size first: ({to})(uint{})…", size.clamp(1, 8) * 8)));
        }
        Ok(Expr { kind: ExprKind::Convert(Box::new(e)), ty: to, span })
    }

    fn unary(&mut self, op: UnOp, operand: &ast::Expr, span: Span) -> Result<Expr> {
        if op == UnOp::AddrOf {
            self.feature("unstable_addr", "the operator `&`", span)?;
            if let Some(address) = self.address_of_variable(operand, span) {
                return address;
            }
        }
        let e = self.expr(operand)?;
        match op {
            UnOp::Not => {
                let e = self.truth(e)?;
                Ok(match e.constant() {
                    Some(v) => Expr::int(i64::from(v == 0), Type::Bool, span),
                    None => Expr { kind: ExprKind::Not(Box::new(e)), ty: Type::Bool, span },
                })
            }
            UnOp::Neg => {
                let literal = matches!(operand.kind, ast::ExprKind::Int { .. });
                let (e, ty) = self.signed_operand(e, "the operand of `-`")?;
                Ok(match e.constant() {
                    Some(v) if literal => Expr::int(v.wrapping_neg(), Type::I64, span),
                    Some(v) => Expr::int(fold_to(v.wrapping_neg(), &ty), ty, span),
                    None => Expr { kind: ExprKind::Neg(Box::new(e)), ty, span },
                })
            }
            UnOp::BitNot => {
                let (e, ty) = self.signed_operand(e, "the operand of `~`")?;
                Ok(match e.constant() {
                    Some(v) => Expr::int(fold_to(!v, &ty), ty, span),
                    None => Expr { kind: ExprKind::BitNot(Box::new(e)), ty, span },
                })
            }
            UnOp::Deref => self.dereference(e, span),
            UnOp::AddrOf => self.address_of(e, span),
        }
    }

    /// The operand of a unary operator, and the type of the result: an integer keeps its own, others become `int64`.
    fn signed_operand(&mut self, e: Expr, what: &str) -> Result<(Expr, Type)> {
        if let Type::Int { .. } = e.ty {
            let ty = e.ty.clone();
            return Ok((e, ty));
        }
        let e = self.integer(e, what)?;
        Ok((signed_as(e, &Type::I64), Type::I64))
    }

    /// `x++` and its kin.
    fn step(&mut self, increment: bool, prefix: bool, target: &ast::Expr, span: Span) -> Result<Expr> {
        let delta = if increment { 1 } else { -1 };
        let before = !prefix;
        match &target.kind {
            ast::ExprKind::Var(name) => {
                let Some(local) = self.find_local(name) else { return Err(self.unset(name, target.span)) };
                let ty = self.counted_local(local);
                let delta = delta * step_size(&ty);
                if !ty.is_integer() && !matches!(ty, Type::Ptr { .. }) {
                    return Err(Diagnostic::error(
                        Code::WrongType,
                        target.span,
                        format!("cannot increment or decrement a value of type `{ty}`"),
                    ));
                }
                Ok(Expr { kind: ExprKind::StepLocal { local, delta, before }, ty, span })
            }
            ast::ExprKind::Map { name, key } => {
                let (map, key) = self.map_place(name, key.as_deref(), target.span)?;
                let word = if increment { "++" } else { "--" };
                let ty = self.count_in(map, BinOp::Add, word, target.span)?;
                let delta = delta * step_size(&ty);
                Ok(Expr { kind: ExprKind::StepMap { map, key: key.map(Box::new), delta, before }, ty, span })
            }
            _ => Err(Diagnostic::error(
                Code::WrongType,
                target.span,
                "only variables and maps can be incremented or decremented",
            )),
        }
    }

    /// The type of a variable that is changed by a number: declared without a type it is one, and starts as zero.
    pub(super) fn counted_local(&mut self, local: LocalId) -> Type {
        if self.local_type(local) == Type::Void {
            self.note_local(local, Type::I64);
        }
        self.local_type(local)
    }

    /// The error for a variable that has no value yet.
    pub(super) fn unset(&self, name: &str, span: Span) -> Box<Diagnostic> {
        if let Some(cause) = self.broken.get(name) {
            return Box::new(cause.clone());
        }
        let error = Diagnostic::error(Code::Unset, span, format!("`${name}` is used before it is assigned"));
        let known = self.scopes.iter().flat_map(|s| s.keys().map(String::as_str));
        match nearest(name, known) {
            Some(n) => error.help(format!("did you mean `${n}`?")),
            None => error.help(format!("assign to it first: ${name} = …")),
        }
    }

    /// The type of a map whose values are changed by `word`: `++`, `+=`. Pointers are only added to and subtracted from.
    pub(super) fn count_in(&mut self, map: u32, op: BinOp, word: &str, span: Span) -> Result<Type> {
        let info = self.map(map)?;
        match &info.value {
            Some(ty @ Type::Ptr { .. }) if matches!(op, BinOp::Add | BinOp::Sub) => return Ok(ty.clone()),
            Some(ty @ Type::Int { .. }) => return Ok(ty.clone()),
            Some(other) if !other.is_integer() => {
                let message = format!("`{word}` needs an integer, but `@{}` has type `{other}`", info.name);
                return Err(Diagnostic::error(Code::WrongType, span, message).also(info.span, "first used here"));
            }
            _ => self.use_value(map, &Type::I64, span)?,
        }
        Ok(self.map(map)?.value.clone().unwrap_or(Type::I64))
    }

    /// A value in a tuple or record; an aggregation is the number it stands for.
    fn part(&mut self, e: &ast::Expr) -> Result<Expr> {
        let e = self.expr(e)?;
        match &e.ty {
            Type::Agg(a) if a.is_number() => self.integer(e, "the value"),
            Type::Agg(a) => Err(Diagnostic::error(
                Code::WrongType,
                e.span,
                format!("an aggregation ({}) cannot be part of a tuple", a.name()),
            )
            .help("print it separately")),
            _ => Ok(e),
        }
    }

    /// The map and the converted key of `@name[key]`.
    pub(crate) fn map_place(&mut self, name: &str, key: Option<&ast::Expr>, span: Span) -> Result<(u32, Option<Expr>)> {
        let id = self.map_id(name, span);
        let key = key.map(|k| self.expr(k)).transpose()?;
        if let Some(k) = &key
            && matches!(k.ty, Type::Void | Type::Agg(_))
        {
            return Err(Diagnostic::error(
                Code::WrongType,
                k.span,
                format!("a value of type `{}` cannot be used as a map key", k.ty),
            ));
        }
        self.use_key(id, key.as_ref().map(|k| &k.ty), key.as_ref().map_or(span, |k| k.span))?;
        let wanted = self.map(id)?.key.clone().flatten();
        let key = match (key, wanted) {
            (Some(k), Some(ty)) => Some(self.coerce(k, &ty)?),
            (k, _) => k,
        };
        Ok((id, key))
    }

    fn map_get(&mut self, name: &str, key: Option<&ast::Expr>, span: Span) -> Result<Expr> {
        let (map, key) = self.map_place(name, key, span)?;
        if let Some(m) = self.maps.get_mut(map as usize) {
            m.read = true;
        }
        let MapInfo { value, unset, .. } = self.map(map)?.clone();
        let message = || format!("`@{name}` {NEVER_ASSIGNED}");
        if unset {
            let assigned = self.maps.iter().filter(|m| !m.unset).map(|m| m.name.as_str());
            let warning = Diagnostic::warning(Code::Unset, span, message()).label("this is always zero");
            let warning = match nearest(name, assigned) {
                Some(n) => warning.help(format!("did you mean `@{n}`?")),
                None => warning,
            };
            self.warn(warning);
        }
        // Not known yet; the walk that reports finds one.
        let Some(ty) = value else { return Err(Diagnostic::error(Code::Unset, span, message())) };
        let key = key.map(Box::new);
        Ok(match ty {
            Type::Agg(_) => Expr { kind: ExprKind::AggGet { map, key }, ty, span },
            ty => Expr { kind: ExprKind::MapGet { map, key }, ty, span },
        })
    }

    /// Runs with a scope of variables of its own.
    pub(crate) fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        self.enter();
        let result = f(self);
        self.leave();
        result
    }

    /// A `char *` as the string it points to; other values unchanged.
    pub(crate) fn stringify(&mut self, e: Expr) -> Result<Expr> {
        match &e.ty {
            Type::Ptr { to, .. } if **to == Type::I8 || **to == Type::U8 => {
                let span = e.span;
                let ty = Type::String { cap: self.options.string_cap() };
                Ok(Expr::intrinsic(Intrinsic::Str, vec![e], ty, span))
            }
            _ => Ok(e),
        }
    }
}

/// A string literal.
pub(crate) fn string(text: &[u8], span: Span) -> Expr {
    // A NUL ends a string, in a literal too.
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    let ty = Type::String { cap: text.len() as u32 + 1 };
    Expr { kind: ExprKind::Bytes(text.to_vec()), ty, span }
}

/// The end of the message about a map or variable without a type.
pub(super) const NEVER_ASSIGNED: &str = "is never assigned";

/// Largest tuple or declared variable. BPF maps take larger ones, but tuples of tuples grow without end.
pub(super) const SIZE_LIMIT: u32 = 1 << 16;

/// A tuple, if it is of a size that can be handled.
pub(super) fn sized(tuple: Expr) -> Result<Expr> {
    let size = tuple.ty.size();
    if size > SIZE_LIMIT {
        let message = format!("this tuple is too large: {size} bytes, but at most {SIZE_LIMIT} are allowed");
        return Err(
            Diagnostic::error(Code::TooLarge, tuple.span, message).help("use shorter strings, as in str(x, 256)")
        );
    }
    Ok(tuple)
}

/// A tuple of these values.
pub(crate) fn tuple(list: Vec<Expr>, span: Span) -> Expr {
    let ty = Type::Tuple(list.iter().map(|e| e.ty.clone()).collect());
    Expr { kind: ExprKind::Tuple(list), ty, span }
}

/// A statement that evaluates an expression for its effect.
pub(crate) fn effect(e: Expr) -> Vec<Stmt> {
    match e.kind {
        // A statement-like call: its statements, spliced in.
        ExprKind::Block { mut stmts, value } if e.ty == Type::Void => {
            stmts.extend(effect(*value));
            stmts
        }
        ExprKind::Int(_) | ExprKind::Bytes(_) => Vec::new(),
        _ => {
            let span = e.span;
            vec![Stmt { kind: StmtKind::Expr(e), span }]
        }
    }
}
