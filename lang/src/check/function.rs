//! Functions of the script: calls, bodies, results.
//!
//! A function is checked for each program that calls it, because what it may ask of its probe depends on the
//! probe. Callees come before callers in the program's list, and a function that is met again while its body
//! is being checked calls itself.

use super::Checker;
use super::byte_order::network_size;
use super::expr::NEVER_ASSIGNED;
use super::stmt::no_void;
use crate::arity::wrong_count;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::probes::Context;
use crate::source::Span;
use crate::typed::{Expr, ExprKind, Function, Stmt, StmtKind};
use crate::types::Type;
use rtrace_grammar::ast;
use std::collections::HashMap;

/// Parameters of a function, at most: what fits the registers of a BPF call, and some in memory.
const PARAMS: usize = 16;
/// Functions that call each other: the kernel allows eight frames, of which loops may need one or two.
const DEEPEST: usize = 5;

impl<'a> Checker<'a> {
    pub(super) fn script_function(&self, name: &str) -> Option<usize> {
        self.functions.iter().position(|f| f.name.text == name)
    }

    /// A call of a function of the script.
    pub(super) fn invoke(&mut self, index: usize, args: &[ast::Expr], span: Span) -> Result<Expr> {
        let functions = self.functions;
        let Some(def) = functions.get(index) else {
            return Err(Diagnostic::error(Code::UnknownName, span, "unknown function"));
        };
        if args.len() != def.params.len() {
            let message =
                wrong_count(&format!("`{}`", def.name.text), (def.params.len(), def.params.len()), args.len());
            return Err(Diagnostic::error(Code::WrongArgumentCount, span, message).also(def.name.span, "defined here"));
        }
        let function = self.function(index, span)?;
        let Some(f) = self.called.get(function as usize).map(|(_, f)| f) else {
            return Err(Diagnostic::error(Code::UnknownName, span, "unknown function"));
        };
        let result = f.result.clone();
        let types: Vec<Type> = f.locals.iter().take(f.params).map(|l| l.ty.clone()).collect();
        let mut list = Vec::with_capacity(args.len());
        for ((arg, ty), (name, _)) in args.iter().zip(&types).zip(&def.params) {
            let value = self.expr(arg)?;
            let place = format!("`${}` of `{}`", name.text, def.name.text);
            list.push(self.pass(value, ty, &place).map_err(|e| e.also(name.span, "the parameter"))?);
        }
        Ok(Expr { kind: ExprKind::Invoke { function, args: list }, ty: result, span })
    }

    /// The number of a function in the program being checked; checks its body at the first call.
    fn function(&mut self, index: usize, span: Span) -> Result<u32> {
        let functions = self.functions;
        let name = |i: &usize| functions.get(*i).map_or("?", |f| f.name.text.as_str());
        if let Some(at) = self.inside.iter().position(|i| *i == index) {
            let cycle: Vec<String> =
                self.inside.iter().skip(at).chain([&index]).map(|i| format!("`{}`", name(i))).collect();
            let message = match cycle.len() {
                2 => format!("`{}` calls itself", name(&index)),
                _ => format!("`{}` calls itself: {}", name(&index), cycle.join(" → ")),
            };
            return Err(Diagnostic::error(Code::Recursion, span, message)
                .note("the kernel does not support recursive BPF functions")
                .help("use a loop: for ($i : 0..n) { … }"));
        }
        if let Some(known) = self.called.iter().position(|(i, _)| *i == index) {
            return Ok(known as u32);
        }
        if self.inside.len() >= DEEPEST {
            let chain: Vec<&str> = self.inside.iter().chain([&index]).map(name).collect();
            let message = format!("the call chain is too deep: more than {DEEPEST} functions: {}", chain.join(" → "));
            return Err(Diagnostic::error(Code::TooLarge, span, message)
                .note("the kernel allows eight stack frames, some of which loops use"));
        }
        let Some(def) = functions.get(index) else {
            return Err(Diagnostic::error(Code::UnknownName, span, "unknown function"));
        };
        let errors = self.errors.len();
        let checked = self.body_of(index, def)?;
        // What is wrong only here says from where.
        for e in self.errors.iter_mut().skip(errors).filter(|e| e.code == Code::NotAllowedHere) {
            let with = Box::new(e.clone()).also(span, format!("`{}` is called here", def.name.text));
            *e = *with;
        }
        self.reached.insert(index);
        self.called.push((index, checked));
        Ok(self.called.len() as u32 - 1)
    }

    fn body_of(&mut self, index: usize, def: &ast::FnDef) -> Result<Function> {
        if def.params.len() > PARAMS {
            let message = format!("too many parameters: expected at most {PARAMS}, found {}", def.params.len());
            return Err(Diagnostic::error(Code::TooLarge, def.name.span, message)
                .help("pass some of them in a tuple or a record"));
        }
        let result = def.ret.as_ref().map_or(Ok(Type::Void), |t| self.type_name(t))?;
        let params = def.params.iter().map(|(n, t)| Ok((n, self.type_name(t)?))).collect::<Result<Vec<_>>>()?;
        for ((_, ty), (_, written)) in params.iter().zip(&def.params) {
            if matches!(ty, Type::Void) || ty.size() > super::expr::SIZE_LIMIT {
                let message = format!("a parameter cannot have the type `{ty}`");
                return Err(Diagnostic::error(Code::WrongType, written.span, message));
            }
        }
        self.inside.push(index);
        let outer = (
            std::mem::take(&mut self.locals),
            std::mem::take(&mut self.declared),
            std::mem::take(&mut self.network),
            std::mem::replace(&mut self.scopes, vec![HashMap::new()]),
            std::mem::take(&mut self.broken),
            std::mem::replace(&mut self.loops, 0),
            std::mem::replace(&mut self.unrolled, 1),
            std::mem::replace(&mut self.result, result.clone()),
        );
        for ((name, ty), (_, written)) in params.iter().zip(&def.params) {
            let local = self.declared_local(&name.text, ty);
            self.note_network(local, network_size(written));
        }
        let errors = self.errors.len();
        let mut body = self.stmts(&def.body.stmts);
        if let Some(value) = &def.body.value {
            // What a body ends with is its result, as with blocks.
            let last = match &self.result {
                Type::Void => self.statement_expr(value),
                _ => self.give(Some(value), value.span),
            };
            match last {
                Ok(stmts) => body.extend(stmts),
                Err(e) => self.errors.push(*e),
            }
        }
        if result != Type::Void && self.errors.len() == errors && !ends(&body) {
            let message = format!("`{}` does not return a value of type `{result}` on every path", def.name.text);
            self.errors.push(
                *Diagnostic::error(Code::NoResult, def.name.span, message)
                    .help("add a `return` with a value at the end"),
            );
        }
        let locals = std::mem::take(&mut self.locals);
        (self.locals, self.declared, self.network, self.scopes, self.broken, self.loops, self.unrolled, self.result) =
            outer;
        self.inside.pop();
        Ok(Function { name: def.name.text.clone(), params: params.len(), result, locals, body, span: def.span })
    }

    /// `return` in a function.
    pub(super) fn give(&mut self, value: Option<&ast::Expr>, span: Span) -> Result<Vec<Stmt>> {
        let result = self.result.clone();
        let value = match (value, &result) {
            (None, Type::Void) => None,
            (None, ty) => {
                return Err(Diagnostic::error(
                    Code::NoResult,
                    span,
                    format!("`return` needs a value of type `{ty}` here"),
                )
                .help("return a value"));
            }
            (Some(v), Type::Void) => {
                return Err(Diagnostic::error(
                    Code::WrongType,
                    v.span,
                    "cannot return a value: the function has no result type",
                )
                .help("declare a result type: fn name(…) : int64 { … }"));
            }
            (Some(v), ty) => {
                let value = self.expr(v)?;
                Some(self.pass(value, ty, "the result")?)
            }
        };
        Ok(vec![Stmt { kind: StmtKind::Return(value), span }])
    }

    /// A value for a place whose type is declared: integers go into integers (constants must fit), pointers into
    /// pointers to the same, strings into strings of any length.
    pub(super) fn pass(&mut self, value: Expr, ty: &Type, place: &str) -> Result<Expr> {
        no_void(&value)?;
        let value = match (&value.ty, ty) {
            (Type::Ptr { .. }, Type::String { .. }) => self.stringify(value)?,
            (Type::Agg(_), t) if t.is_integer() => self.integer(value, place)?,
            (_, Type::Ptr { .. }) => super::access::decayed(value),
            _ => value,
        };
        let number = |t: &Type| matches!(t, Type::Int { .. } | Type::Bool | Type::Enum { .. });
        if let (ExprKind::Bytes(text), Type::String { cap }) = (&value.kind, ty)
            && text.len() as u64 >= u64::from(*cap)
        {
            let message = format!(
                "the string literal is too long: {} bytes, but {place} holds at most {}",
                text.len(),
                cap.saturating_sub(1)
            );
            let error = Diagnostic::error(Code::BadValue, value.span, message);
            return Err(error.help(if *cap == self.options.string_cap() {
                format!("increase max_strlen: config = {{ max_strlen = {} }}", text.len())
            } else {
                format!("declare it as string[{}]", text.len() + 1)
            }));
        }
        let fits = match (&value.ty, ty) {
            (from, to) if number(from) && number(to) => {
                if let Some(v) = value.constant()
                    && *to != Type::Bool
                    && super::convert::fold(v, to) != v
                {
                    let message = format!("{v} does not fit in {place}, which has type `{to}`");
                    return Err(Diagnostic::error(Code::BadValue, value.span, message)
                        .help(format!("truncate it explicitly: ({to}){v}")));
                }
                true
            }
            (Type::Ptr { to: a, .. }, Type::Ptr { to: b, .. }) => {
                a.same_but_for_space(b) || **a == Type::Void || **b == Type::Void
            }
            // Zero is the null pointer.
            (Type::Int { .. }, Type::Ptr { .. }) => value.constant() == Some(0),
            (from, to) if from.is_scalar() && to.is_scalar() => from == to,
            (from, to) => super::convert::unify(from, to).is_some(),
        };
        if fits {
            return self.coerce(value, ty);
        }
        let error = super::convert::mismatch(value.span, place, ty, &value.ty);
        Err(if value.ty.is_scalar() && ty.is_scalar() {
            error.help(format!("cast it: ({ty}){}", super::suggest::show(&self.text_of(value.span))))
        } else {
            error
        })
    }

    /// The errors of functions that no probe calls, but for those that depend on the caller.
    pub(super) fn uncalled(&mut self, clause: usize) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        (self.clause, self.target) = (clause, 0);
        self.probe.context = Context::Nothing;
        for index in 0..self.functions.len() {
            if self.reached.contains(&index) {
                continue;
            }
            let before = (self.maps.clone(), self.map_ids.clone(), self.events.clone(), self.time_formats.clone());
            (self.errors, self.called, self.locals) = (Vec::new(), Vec::new(), Vec::new());
            let span = self.functions.get(index).map_or(Span::default(), |f| f.span);
            let broken = self.function(index, span).err();
            // A map may be assigned to by the scripts that import the function.
            let depends = |e: &Diagnostic| {
                e.code == Code::NotAllowedHere || (e.code == Code::Unset && e.message.ends_with(NEVER_ASSIGNED))
            };
            found.extend(self.errors.drain(..).chain(broken.map(|e| *e)).filter(|e| !depends(e)));
            (self.maps, self.map_ids, self.events, self.time_formats) = before;
        }
        found
    }
}

/// Whether every way through the statements ends in a `return`.
fn ends(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| match &s.kind {
        StmtKind::Return(_) | StmtKind::Leave => true,
        StmtKind::If { then, otherwise, .. } => ends(then) && ends(otherwise),
        _ => false,
    })
}
