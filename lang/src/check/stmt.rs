//! Statements: assignments, control flow, blocks.

use super::Checker;
use super::access::{scale, step_size};
use super::binary::common;
use super::byte_order::network_size;
use super::convert::{kept, signed_as, unify};
use super::expr::effect;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::probes;
use crate::source::Span;
use crate::typed::{Expr, ExprKind, Stmt, StmtKind};
use crate::types::Type;
use rtrace_grammar::ast::{self, BinOp};
use std::collections::HashMap;

/// Rounds of `unroll`, at most.
const UNROLL_LIMIT: i64 = 100;
/// Rounds of all `unroll`s around a statement together: each makes a copy of it.
const UNROLLED_LIMIT: i64 = 2000;

impl Checker<'_> {
    pub(crate) fn enter(&mut self) {
        self.scopes.push(HashMap::new());
    }

    pub(crate) fn leave(&mut self) {
        self.scopes.pop();
    }

    /// A block with its own `let` variables; its value, if it has one, is dropped.
    pub(crate) fn block(&mut self, block: &ast::Block) -> Vec<Stmt> {
        let mut out = self.stmts(&block.stmts);
        if let Some(value) = &block.value {
            match self.statement_expr(value) {
                Ok(stmts) => out.extend(stmts),
                Err(e) => self.errors.push(*e),
            }
        }
        out
    }

    fn inner(&mut self, block: &ast::Block) -> Vec<Stmt> {
        self.scoped(|c| c.block(block))
    }

    pub(crate) fn stmts(&mut self, list: &[ast::Stmt]) -> Vec<Stmt> {
        let mut out = Vec::new();
        for s in list {
            match self.stmt(s) {
                Ok(mut stmts) => out.append(&mut stmts),
                // The other statements may have errors of their own, and use what this one defines.
                Err(e) => {
                    self.note_broken(s, &e);
                    self.errors.push(*e);
                }
            }
        }
        out
    }

    /// Remembers the variable that a wrong statement would have set: that it has no value later is no
    /// error of its own.
    fn note_broken(&mut self, s: &ast::Stmt, e: &Diagnostic) {
        let name = match &s.kind {
            ast::StmtKind::Assign { target: ast::Expr { kind: ast::ExprKind::Var(name), .. }, .. } => name,
            ast::StmtKind::Let { var, .. } => &var.text,
            _ => return,
        };
        self.broken.entry(name.clone()).or_insert_with(|| e.clone());
    }

    fn stmt(&mut self, s: &ast::Stmt) -> Result<Vec<Stmt>> {
        let span = s.span;
        let one = |kind| Ok(vec![Stmt { kind, span }]);
        match &s.kind {
            ast::StmtKind::Expr(e) => self.statement_expr(e),
            ast::StmtKind::Assign { target, op, value } => self.assign(target, *op, value, span),
            ast::StmtKind::Let { var, ty, value } => self.declare(var, ty.as_ref(), value.as_ref(), span),
            ast::StmtKind::If { cond, then, otherwise } => {
                let cond = self.expr(cond).and_then(|c| self.truth(c));
                // A branch that is never taken is not even checked: it may be for another kernel.
                if let Ok(c) = &cond
                    && let Some(v) = c.constant()
                {
                    self.pruned |= v == 0 || otherwise.is_some();
                    return Ok(match (v != 0, otherwise) {
                        (true, _) => self.inner(then),
                        (false, Some(b)) => self.inner(b),
                        (false, None) => Vec::new(),
                    });
                }
                let then = self.inner(then);
                let otherwise = otherwise.as_ref().map(|b| self.inner(b)).unwrap_or_default();
                one(StmtKind::If { cond: cond?, then, otherwise })
            }
            ast::StmtKind::While { cond, body } => {
                let cond = self.expr(cond).and_then(|c| self.truth(c));
                if cond.as_ref().is_ok_and(|c| c.constant() == Some(0)) {
                    self.pruned = true;
                    return Ok(Vec::new());
                }
                let local = self.new_local("(round)", &Type::I64);
                let body = self.loop_body(body);
                one(StmtKind::While { local, cond: cond?, body })
            }
            ast::StmtKind::Unroll { count, body } => {
                let n = self.constant(count, "the unroll count")?;
                if !(1..=UNROLL_LIMIT).contains(&n) {
                    return Err(Diagnostic::error(
                        Code::BadValue,
                        count.span,
                        format!("the unroll count must be 1 to {UNROLL_LIMIT}, not {n}"),
                    ));
                }
                if self.unrolled * n > UNROLLED_LIMIT {
                    let message = format!(
                        "too many unrolled copies: expected at most {UNROLLED_LIMIT}, found {}",
                        self.unrolled * n
                    );
                    return Err(Diagnostic::error(Code::TooLarge, count.span, message)
                        .note("the counts of nested unrolls multiply")
                        .help("use a loop, whose body is not copied: for ($i : 0..n) { … }"));
                }
                self.unrolled *= n;
                let mut out = Vec::new();
                for _ in 0..n {
                    out.append(&mut self.inner(body));
                }
                self.unrolled /= n;
                Ok(out)
            }
            ast::StmtKind::ForRange { var, start, end, body } => {
                let start = self.expr(start).and_then(|e| self.integer(e, "the start of a range"))?;
                let end = self.expr(end).and_then(|e| self.integer(e, "the end of a range"))?;
                let (start, end) = (self.coerce(start, &Type::I64)?, self.coerce(end, &Type::I64)?);
                self.scoped(|c| {
                    let local = c.new_local(&var.text, &Type::I64);
                    let body = c.loop_body(body);
                    one(StmtKind::ForRange { local, start, end, body })
                })
            }
            ast::StmtKind::ForMap { var, map, body } => self.for_map(var, map, body, span),
            ast::StmtKind::Block(b) => Ok(self.inner(b)),
            ast::StmtKind::Break | ast::StmtKind::Continue if self.loops == 0 => {
                let word = if matches!(s.kind, ast::StmtKind::Break) { "break" } else { "continue" };
                Err(Diagnostic::error(Code::Syntax, span, format!("`{word}` outside of a loop"))
                    .help("use `return` to leave the probe"))
            }
            ast::StmtKind::Break => one(StmtKind::Break),
            ast::StmtKind::Continue => one(StmtKind::Continue),
            ast::StmtKind::Return(value) if !self.inside.is_empty() => self.give(value.as_ref(), span),
            ast::StmtKind::Return(None) => one(StmtKind::Return(None)),
            // A test says with it how it went.
            ast::StmtKind::Return(Some(value)) if *self.probe.kind == probes::TEST => {
                let e = self.expr(value)?;
                let e = self.integer(e, "the result of a test")?;
                one(StmtKind::Return(Some(self.coerce(e, &Type::I64)?)))
            }
            ast::StmtKind::Return(Some(value)) => {
                // A probe's result means nothing to the kernel, but the expression may have effects.
                let e = self.expr(value)?;
                let mut out = effect(e);
                out.push(Stmt { kind: StmtKind::Return(None), span });
                Ok(out)
            }
        }
    }

    /// An expression as a statement. A step of a map needs no value before or after.
    pub(super) fn statement_expr(&mut self, e: &ast::Expr) -> Result<Vec<Stmt>> {
        if let ast::ExprKind::Call { name, args } = &e.kind {
            return self.call_by_name(name, args, e.span, true).map(effect);
        }
        if let ast::ExprKind::Block(block) = &e.kind {
            return Ok(self.inner(block));
        }
        let e = self.expr(e)?;
        let span = e.span;
        if let ExprKind::StepMap { map, key, delta, .. } = e.kind {
            let value = Expr::int(delta, Type::I64, span);
            let kind = StmtKind::UpdateMap { map, key: key.map(|k| *k), op: BinOp::Add, value };
            return Ok(vec![Stmt { kind, span }]);
        }
        Ok(effect(e))
    }

    fn loop_body(&mut self, body: &ast::Block) -> Vec<Stmt> {
        self.loops += 1;
        let out = self.inner(body);
        self.loops -= 1;
        out
    }

    fn for_map(&mut self, var: &ast::Name, map: &ast::Expr, body: &ast::Block, span: Span) -> Result<Vec<Stmt>> {
        let ast::ExprKind::Map { name, key: None } = &map.kind else {
            return Err(Diagnostic::error(Code::WrongType, map.span, "expected a map or a range to iterate over"));
        };
        let id = self.map_id(name, map.span);
        let info = self.map(id)?.clone();
        let (Some(Some(key)), Some(value)) = (info.key, info.value) else {
            return Err(Diagnostic::error(
                Code::BadMapUse,
                map.span,
                format!("cannot iterate over `@{name}`: it has no keys"),
            ));
        };
        if let Type::Agg(agg) = &value
            && !agg.is_number()
        {
            let message = format!("cannot iterate over `@{name}`: its value is a {}", agg.name());
            return Err(Diagnostic::error(Code::BadMapUse, map.span, message)
                .help("use print(@m) to show it; loops support count, sum, min, max, avg and plain values"));
        }
        let value = if matches!(value, Type::Agg(_)) { Type::I64 } else { value };
        self.scoped(|c| {
            let local = c.new_local(&var.text, &Type::Tuple(vec![key, value]));
            let body = c.loop_body(body);
            Ok(vec![Stmt { kind: StmtKind::ForMap { local, map: id, body }, span }])
        })
    }

    /// `let $x: type = value;`
    fn declare(
        &mut self,
        var: &ast::Name,
        ty_written: Option<&ast::TypeName>,
        value: Option<&ast::Expr>,
        span: Span,
    ) -> Result<Vec<Stmt>> {
        let declared = ty_written.map(|t| self.type_name(t)).transpose()?;
        let written = value;
        let value = written.map(|v| self.expr(v)).transpose()?;
        if let Some(v) = &value {
            no_void(v)?;
        }
        let ty = match (&declared, &value) {
            (Some(t @ Type::Ptr { .. }), Some(v)) => t.in_space(self.space_of(v)),
            (Some(t), _) => t.clone(),
            (None, Some(v)) => kept(&v.ty),
            // The type comes with the first assignment; until it is known this is a number.
            (None, None) => Type::Void,
        };
        if ty.size() > super::expr::SIZE_LIMIT {
            let message = format!("a variable of type `{ty}` is too large");
            return Err(Diagnostic::error(Code::TooLarge, span, message)
                .note(format!("variables have at most {} bytes", super::expr::SIZE_LIMIT)));
        }
        let local = match &declared {
            Some(_) => self.declared_local(&var.text, &ty),
            None => self.new_local(&var.text, &ty),
        };
        let network = ty_written.and_then(network_size).or_else(|| self.network_order(written?));
        self.note_network(local, network);
        let ty = self.local_type(local);
        match value {
            Some(v) => {
                self.note_origin(local, &v);
                let value = match declared {
                    Some(_) => self.pass(v, &ty, &format!("`${}`", var.text))?,
                    None => self.coerce(v, &ty)?,
                };
                Ok(vec![Stmt { kind: StmtKind::SetLocal { local, value }, span }])
            }
            None if ty.is_scalar() => {
                let value = Expr::int(0, ty, span);
                Ok(vec![Stmt { kind: StmtKind::SetLocal { local, value }, span }])
            }
            None => Ok(Vec::new()),
        }
    }

    fn assign(&mut self, target: &ast::Expr, op: Option<BinOp>, value: &ast::Expr, span: Span) -> Result<Vec<Stmt>> {
        match &target.kind {
            ast::ExprKind::Ident(name) if name == "_" => self.statement_expr(value),
            ast::ExprKind::Var(name) => {
                let written = value;
                let value = self.expr(written)?;
                no_void(&value)?;
                let stmts = self.assign_local(name, op, value, target.span, span);
                if let Some(local) = self.find_local(name) {
                    let size = self.network_order(written).filter(|_| op.is_none());
                    self.note_network(local, size);
                }
                stmts
            }
            ast::ExprKind::Map { name, key } => self.assign_map(name, key.as_deref(), op, value, target.span, span),
            _ => Err(Diagnostic::error(Code::WrongType, target.span, "cannot assign to this expression")
                .note("only variables `$x` and maps `@x` can be assigned to; memory of the kernel and of programs is read-only")),
        }
    }

    pub(crate) fn assign_local(
        &mut self,
        name: &str,
        op: Option<BinOp>,
        value: Expr,
        at: Span,
        span: Span,
    ) -> Result<Vec<Stmt>> {
        let value = match op {
            None => value,
            Some(op) => {
                let Some(local) = self.find_local(name) else { return Err(self.unset(name, at)) };
                let old = Expr { kind: ExprKind::Local(local), ty: self.counted_local(local), span: at };
                self.arithmetic(op, old, value, span)?
            }
        };
        let local = match self.find_local(name) {
            Some(local) if self.declared.contains(&local) => {
                let ty = self.local_type(local);
                let value = self.pass(value, &ty, &format!("`${name}`"))?;
                return Ok(vec![Stmt { kind: StmtKind::SetLocal { local, value }, span }]);
            }
            Some(local) => {
                let old = self.local_type(local);
                let new = if old == Type::Void {
                    kept(&value.ty)
                } else {
                    unify(&old, &kept(&value.ty))
                        .ok_or_else(|| super::convert::mismatch(value.span, &format!("`${name}`"), &old, &value.ty))?
                };
                self.note_local(local, new);
                local
            }
            None => self.first_assignment(name, &kept(&value.ty)),
        };
        self.note_origin(local, &value);
        let ty = self.local_type(local);
        let value = self.coerce(value, &ty)?;
        Ok(vec![Stmt { kind: StmtKind::SetLocal { local, value }, span }])
    }

    /// A variable that comes up by assignment belongs to the whole clause, as in scripts written before
    /// variables had scopes.
    fn first_assignment(&mut self, name: &str, ty: &Type) -> u32 {
        let inner = self.scopes.split_off(1.min(self.scopes.len()));
        let local = self.new_local(name, ty);
        self.scopes.extend(inner);
        local
    }

    fn assign_map(
        &mut self,
        name: &str,
        key: Option<&ast::Expr>,
        op: Option<BinOp>,
        value: &ast::Expr,
        at: Span,
        span: Span,
    ) -> Result<Vec<Stmt>> {
        if op.is_none()
            && let Some((agg, value)) = self.aggregate(value)?
        {
            let (map, key) = self.map_place(name, key, at)?;
            self.use_value(map, &Type::Agg(agg), span)?;
            return Ok(vec![Stmt { kind: StmtKind::Aggregate { map, key, value }, span }]);
        }
        let id = self.map_id(name, at);
        if let Some(m) = self.maps.get_mut(id as usize) {
            m.assigned = true;
        }
        let value = self.expr(value)?;
        no_void(&value)?;
        let (map, key) = self.map_place(name, key, at)?;
        if let Type::Agg(a) = &value.ty {
            return Err(Diagnostic::error(
                Code::WrongType,
                value.span,
                format!("an aggregation ({}) cannot be copied", a.name()),
            )
            .help("cast it to a number: (int64)@x"));
        }
        match op {
            None => {
                self.use_value(map, &value.ty, value.span)?;
                self.note_map_origin(map, &value);
                let ty = self.map(map)?.value.clone().unwrap_or(Type::I64);
                let value = self.coerce(value, &ty)?;
                Ok(vec![Stmt { kind: StmtKind::SetMap { map, key, value }, span }])
            }
            Some(op) => {
                let value = self.integer(value, &format!("the operand of `{}=`", op.text()))?;
                let ty = self.count_in(map, op, &format!("{}=", op.text()), at)?;
                let value = match op {
                    _ if matches!(ty, Type::Ptr { .. }) => scale(value, step_size(&ty)),
                    BinOp::Div | BinOp::Rem => {
                        let old = Expr { kind: ExprKind::MapGet { map, key: None }, ty, span: at };
                        let ty = common(&old, &value);
                        signed_as(value, &ty)
                    }
                    _ => self.coerce(value, &ty)?,
                };
                Ok(vec![Stmt { kind: StmtKind::UpdateMap { map, key, op, value }, span }])
            }
        }
    }
}

/// A call that gives nothing has no value to assign.
pub(super) fn no_void(e: &Expr) -> Result<()> {
    if e.ty == Type::Void {
        return Err(Diagnostic::error(Code::WrongType, e.span, "this expression has no value"));
    }
    Ok(())
}
