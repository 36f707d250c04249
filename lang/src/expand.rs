//! The expand pass: calls of macros replaced by their bodies.
//!
//! Macros are hygienic: variables of a body are its own (renamed apart), only what is passed as `$x` or `@m` is the
//! caller's; an expression parameter stands for the expression itself. Macros of one name may differ in the number of
//! parameters.

use crate::arity::wrong_count;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::source::Span;
use rtrace_grammar::ast::{
    Block, Expr, ExprKind, FnDef, MacroDef, MacroParam, Name, PathStep, Probe, Stmt, StmtKind, TypeBase, TypeName,
    TypeOrExpr,
};
use rtrace_grammar::is_type_name;
use std::collections::HashMap;

/// Macros in macros; deeper ones call themselves.
const DEEPEST: u32 = 32;
/// Expressions after expansion: macros that use a parameter twice double it at every level.
const LARGEST: u32 = 200_000;

/// What the expander knows: macros, and which names are those of builtins.
#[derive(Clone, Copy)]
pub(crate) struct Known<'m> {
    pub macros: &'m [MacroDef],
    pub builtin: fn(&str) -> bool,
}

/// Expands all macros in a function.
pub(crate) fn expand_function(function: &mut FnDef, known: Known<'_>) -> Result<()> {
    Expander::new(known).block(&mut function.body, &Bindings::default())
}

/// Expands all macros in a probe.
pub(crate) fn expand(probe: &mut Probe, known: Known<'_>) -> Result<()> {
    if known.macros.is_empty() {
        return Ok(());
    }
    let mut expander = Expander::new(known);
    if let Some(predicate) = &mut probe.predicate {
        expander.expr(predicate, &Bindings::default())?;
    }
    expander.block(&mut probe.body, &Bindings::default())
}

/// The body of a macro of the prelude with the arguments put in; `None` when there is none that takes so many. All of
/// it is said to be where the call is: the prelude is no part of the script.
pub(crate) fn expand_call(name: &str, args: &[Expr], span: Span, known: Known<'_>) -> Result<Option<Block>> {
    let name = Name { text: name.to_owned(), span };
    let mut expander = Expander { place: Some(span), mark: "''", ..Expander::new(known) };
    expander.invoke(&name, args, &vec![1; args.len()], span)
}

struct Expander<'m> {
    known: Known<'m>,
    /// Where the bodies are said to be, if not where they were read.
    place: Option<Span>,
    /// Numbers each expansion, to tell its variables apart.
    serial: u32,
    /// Stands before that number: variables of the script's macros may be in the arguments of one from the prelude.
    mark: &'static str,
    depth: u32,
    /// Expressions so far.
    nodes: u32,
}

/// The bindings of the names in a macro's body.
#[derive(Default)]
struct Bindings {
    /// Inside of a macro: what its own variables are renamed with.
    own: Option<String>,
    name: String,
    vars: HashMap<String, String>,
    maps: HashMap<String, String>,
    /// With the number of expressions in each.
    exprs: HashMap<String, (Expr, u32)>,
}

impl<'m> Expander<'m> {
    fn new(known: Known<'m>) -> Self {
        Expander { known, place: None, serial: 0, mark: "'", depth: 0, nodes: 0 }
    }
}

impl Expander<'_> {
    fn locate(&self, span: &mut Span) {
        *span = self.place.unwrap_or(*span);
    }

    fn block(&mut self, block: &mut Block, b: &Bindings) -> Result<()> {
        self.locate(&mut block.span);
        for stmt in &mut block.stmts {
            self.stmt(stmt, b)?;
        }
        match &mut block.value {
            Some(value) => self.expr(value, b),
            None => Ok(()),
        }
    }

    fn stmt(&mut self, stmt: &mut Stmt, b: &Bindings) -> Result<()> {
        self.locate(&mut stmt.span);
        match &mut stmt.kind {
            StmtKind::Expr(e) => self.expr(e, b),
            StmtKind::Assign { target, value, .. } => {
                self.expr(target, b)?;
                self.expr(value, b)
            }
            StmtKind::Let { var, ty, value } => {
                self.variable(var, b);
                if let Some(ty) = ty {
                    self.type_name(ty, b)?;
                }
                value.as_mut().map_or(Ok(()), |v| self.expr(v, b))
            }
            StmtKind::If { cond, then, otherwise } => {
                self.expr(cond, b)?;
                self.block(then, b)?;
                otherwise.as_mut().map_or(Ok(()), |o| self.block(o, b))
            }
            StmtKind::While { cond, body } => {
                self.expr(cond, b)?;
                self.block(body, b)
            }
            StmtKind::ForMap { var, map, body } => {
                self.variable(var, b);
                self.expr(map, b)?;
                self.block(body, b)
            }
            StmtKind::ForRange { var, start, end, body } => {
                self.variable(var, b);
                self.expr(start, b)?;
                self.expr(end, b)?;
                self.block(body, b)
            }
            StmtKind::Unroll { count, body } => {
                self.expr(count, b)?;
                self.block(body, b)
            }
            StmtKind::Block(block) => self.block(block, b),
            StmtKind::Return(Some(e)) => self.expr(e, b),
            StmtKind::Return(None) | StmtKind::Break | StmtKind::Continue => Ok(()),
        }
    }

    fn variable(&self, var: &mut Name, b: &Bindings) {
        self.locate(&mut var.span);
        variable(&mut var.text, b);
    }

    fn expr(&mut self, e: &mut Expr, b: &Bindings) -> Result<()> {
        self.locate(&mut e.span);
        let span = e.span;
        self.nodes += 1;
        if self.nodes > LARGEST {
            return Err(Diagnostic::error(Code::TooLarge, span, "the macros of this script expand to too much code"));
        }
        match &mut e.kind {
            ExprKind::Int { .. }
            | ExprKind::Duration(_)
            | ExprKind::Bool(_)
            | ExprKind::Str(_)
            | ExprKind::Param(_)
            | ExprKind::ParamCount => Ok(()),
            ExprKind::Ident(name) => {
                if let Some((bound, nodes)) = b.exprs.get(name) {
                    self.nodes = self.nodes.saturating_add(*nodes);
                    if self.nodes <= LARGEST {
                        *e = bound.clone();
                    }
                    return Ok(());
                }
                let name = Name { text: name.clone(), span };
                if let Some(block) = self.invoke(&name, &[], &[], span)? {
                    e.kind = ExprKind::Block(Box::new(block));
                }
                Ok(())
            }
            ExprKind::Var(name) => {
                variable(name, b);
                Ok(())
            }
            ExprKind::Map { name, key } => {
                match b.maps.get(name) {
                    Some(bound) => *name = bound.clone(),
                    None if b.own.is_some() => {
                        let message = format!("macro `{}` uses `@{name}`, which is not one of its parameters", b.name);
                        return Err(Diagnostic::error(Code::UnknownName, span, message)
                            .help(format!("add it to the parameters: macro {}(@{name}) {{ … }}", b.name)));
                    }
                    None => {}
                }
                key.as_mut().map_or(Ok(()), |k| self.expr(k, b))
            }
            ExprKind::Call { name, args } => {
                let mut nodes = Vec::with_capacity(args.len());
                for arg in args.iter_mut() {
                    let before = self.nodes;
                    self.expr(arg, b)?;
                    nodes.push(self.nodes - before);
                }
                self.locate(&mut name.span);
                let name = name.clone();
                if let Some(block) = self.invoke(&name, args, &nodes, span)? {
                    e.kind = ExprKind::Block(Box::new(block));
                }
                Ok(())
            }
            ExprKind::Cast { ty, expr } => {
                self.type_name(ty, b)?;
                self.expr(expr, b)
            }
            ExprKind::Unary { expr, .. } | ExprKind::Comptime(expr) => self.expr(expr, b),
            ExprKind::Step { target, .. } => self.expr(target, b),
            ExprKind::Binary { left, right, .. } => {
                self.expr(left, b)?;
                self.expr(right, b)
            }
            ExprKind::Ternary { cond, then, otherwise } => {
                self.expr(cond, b)?;
                then.as_mut().map_or(Ok(()), |then| self.expr(then, b))?;
                self.expr(otherwise, b)
            }
            ExprKind::Sizeof(of) | ExprKind::Typeof(of) | ExprKind::Typeinfo(of) => self.type_or_expr(of, b),
            ExprKind::Offsetof { of, path } => {
                let mut steps = Vec::with_capacity(path.len());
                for mut step in path.drain(..) {
                    match &mut step {
                        PathStep::Index(index) => self.expr(index, b)?,
                        PathStep::Member(name) => {
                            self.locate(&mut name.span);
                            let bound = b.exprs.get(name.text.as_str()).and_then(|(e, _)| member_path(e));
                            if let Some(bound) = bound {
                                steps.extend(bound);
                                continue;
                            }
                        }
                    }
                    steps.push(step);
                }
                *path = steps;
                self.type_or_expr(of, b)
            }
            ExprKind::Field { base, name, .. } => {
                self.locate(&mut name.span);
                self.expr(base, b)
            }
            ExprKind::TupleField { base, .. } => self.expr(base, b),
            ExprKind::Index { base, index } => {
                self.expr(base, b)?;
                self.expr(index, b)
            }
            ExprKind::Tuple(list) => list.iter_mut().try_for_each(|e| self.expr(e, b)),
            ExprKind::Record(list) => list.iter_mut().try_for_each(|(name, e)| {
                self.locate(&mut name.span);
                self.expr(e, b)
            }),
            ExprKind::Block(block) => self.block(block, b),
            ExprKind::If { cond, then, otherwise } => {
                self.expr(cond, b)?;
                self.block(then, b)?;
                self.block(otherwise, b)
            }
        }
    }

    fn type_or_expr(&mut self, of: &mut TypeOrExpr, b: &Bindings) -> Result<()> {
        match of {
            TypeOrExpr::Expr(inner) => {
                self.expr(inner, b)?;
                if let Some(ty) = written_type(inner) {
                    *of = TypeOrExpr::Type(ty);
                }
                Ok(())
            }
            TypeOrExpr::Type(ty) => self.type_name(ty, b),
        }
    }

    /// The expressions in a type: `typeof(x)`, bounds of arrays. A parameter that was given a type stands for it.
    fn type_name(&mut self, ty: &mut TypeName, b: &Bindings) -> Result<()> {
        self.locate(&mut ty.span);
        match &mut ty.base {
            TypeBase::Typeof(of) => self.type_or_expr(of, b)?,
            TypeBase::Tuple(list) => list.iter_mut().try_for_each(|t| self.type_name(t, b))?,
            TypeBase::Named(name) => {
                if let Some((bound, nodes)) = b.exprs.get(name.as_str()) {
                    self.nodes = self.nodes.saturating_add(*nodes);
                    ty.base = match &bound.kind {
                        ExprKind::Typeof(of) => TypeBase::Typeof(Box::new(of.clone())),
                        ExprKind::Ident(word) => TypeBase::Named(word.clone()),
                        _ => TypeBase::Typeof(Box::new(TypeOrExpr::Expr(Box::new(bound.clone())))),
                    };
                }
            }
            _ => {}
        }
        ty.array.iter_mut().flatten().try_for_each(|bound| self.expr(bound, b))
    }

    /// The body of the macro that is called, arguments put in; `None` when the name is no macro.
    fn invoke(&mut self, name: &Name, args: &[Expr], nodes: &[u32], span: Span) -> Result<Option<Block>> {
        let macros = self.known.macros;
        let named = || macros.iter().filter(|m| m.name.text == name.text);
        let Some(first) = named().next() else { return Ok(None) };
        let sized = || named().filter(|m| m.params.len() == args.len());
        // Of several the one that asks for most of what is given; if none takes it, one that can say why.
        let fitting = sized().filter(|m| m.params.iter().zip(args).all(|(p, arg)| takes(p, arg)));
        let Some(found) = fitting.min_by_key(|m| any_expression(m)).or_else(|| sized().next()) else {
            // A macro takes the place of a function only where it takes as many arguments.
            if (self.known.builtin)(&name.text) {
                return Ok(None);
            }
            let takes = first.params.len();
            let message = wrong_count(&format!("macro `{}`", name.text), (takes, takes), args.len());
            return Err(
                Diagnostic::error(Code::WrongArgumentCount, span, message).also(first.name.span, "defined here")
            );
        };
        if self.depth >= DEEPEST {
            return Err(Diagnostic::error(Code::WrongType, span, format!("macro `{}` calls itself", name.text))
                .note("a macro is replaced by its body, so the expansion would never end"));
        }
        self.serial += 1;
        let mut bindings = Bindings {
            own: Some(format!("{}{}", self.mark, self.serial)),
            name: name.text.clone(),
            ..Bindings::default()
        };
        for ((param, arg), nodes) in found.params.iter().zip(args).zip(nodes) {
            match (param, &arg.kind) {
                (MacroParam::Var(p), ExprKind::Var(v)) => {
                    bindings.vars.insert(p.text.clone(), v.clone());
                }
                (MacroParam::Map(p), ExprKind::Map { name, key: None }) => {
                    bindings.maps.insert(p.text.clone(), name.clone());
                }
                (MacroParam::Expr(p), _) => {
                    bindings.exprs.insert(p.text.clone(), (arg.clone(), *nodes));
                }
                (MacroParam::Var(p), _) => {
                    let message = format!("`${}` of macro `{}` must be a variable", p.text, name.text);
                    return Err(Diagnostic::error(Code::WrongType, arg.span, message).also(p.span, "declared here"));
                }
                (MacroParam::Map(p), _) => {
                    let message = format!("`@{}` of macro `{}` must be a map", p.text, name.text);
                    return Err(Diagnostic::error(Code::WrongType, arg.span, message).also(p.span, "declared here"));
                }
            }
        }
        let mut body = found.body.clone();
        self.depth += 1;
        let result = self.block(&mut body, &bindings);
        self.depth -= 1;
        result?;
        Ok(Some(body))
    }
}

/// The type that an expression names, once a parameter has been put in: `uint8`, `pid_t`, `uint8[4]`.
fn written_type(e: &Expr) -> Option<TypeName> {
    match &e.kind {
        ExprKind::Ident(name) if is_type_name(name) => {
            let base = TypeBase::Named(name.clone());
            Some(TypeName { base, pointers: 0, array: Vec::new(), outer: 0, span: e.span })
        }
        ExprKind::Index { base, index } => {
            let mut ty = written_type(base)?;
            ty.array.push(Some(index.clone()));
            Some(TypeName { span: e.span, ..ty })
        }
        _ => None,
    }
}

/// Whether a parameter takes this argument.
fn takes(param: &MacroParam, arg: &Expr) -> bool {
    match param {
        MacroParam::Var(_) => matches!(arg.kind, ExprKind::Var(_)),
        MacroParam::Map(_) => matches!(arg.kind, ExprKind::Map { key: None, .. }),
        MacroParam::Expr(_) => true,
    }
}

/// How many parameters take any expression.
fn any_expression(m: &MacroDef) -> usize {
    m.params.iter().filter(|p| matches!(p, MacroParam::Expr(_))).count()
}

/// The way to a member that was passed to a macro: `f_path`, `f_path.dentry`.
pub(crate) fn member_path(e: &Expr) -> Option<Vec<PathStep>> {
    match &e.kind {
        ExprKind::Ident(name) => Some(vec![PathStep::Member(Name { text: name.clone(), span: e.span })]),
        ExprKind::Field { base, name, .. } => {
            let mut path = member_path(base)?;
            path.push(PathStep::Member(name.clone()));
            Some(path)
        }
        ExprKind::Index { base, index } => {
            let mut path = member_path(base)?;
            path.push(PathStep::Index((**index).clone()));
            Some(path)
        }
        _ => None,
    }
}

/// The name of a variable in a body: what was passed for it, or one of its own.
fn variable(name: &mut String, b: &Bindings) {
    match (b.vars.get(name.as_str()), &b.own) {
        (Some(bound), _) => *name = bound.clone(),
        (None, Some(own)) => name.push_str(own),
        (None, None) => {}
    }
}
