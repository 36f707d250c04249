//! A walk over the parts of a tree that name things: every expression and every type as written, outer ones first.

use crate::ast::{
    Block, CBase, CDef, CDefKind, CType, Expr, ExprKind, FnDef, Item, PathStep, Probe, Stmt, StmtKind, TypeBase,
    TypeName, TypeOrExpr,
};

/// A node that a walk visits.
#[derive(Clone, Copy, Debug)]
pub enum Node<'t> {
    Expr(&'t Expr),
    Type(&'t TypeName),
}

/// The callback of a walk, called for every node.
pub type Visitor<'v, 't> = &'v mut dyn FnMut(Node<'t>);

pub fn item<'t>(item: &'t Item, f: Visitor<'_, 't>) {
    match item {
        Item::Preprocessor { .. } | Item::Import { .. } => {}
        Item::CDef(d) => definition(d, f),
        Item::Config(entries, _) => entries.iter().for_each(|e| expr(&e.value, f)),
        Item::MapDecl(m) => expr(&m.size, f),
        Item::Macro(m) => block(&m.body, f),
        Item::Fn(d) => function(d, f),
        Item::Probe(p) => probe(p, f),
    }
}

pub fn probe<'t>(probe: &'t Probe, f: Visitor<'_, 't>) {
    probe.predicate.iter().for_each(|p| expr(p, f));
    block(&probe.body, f);
}

pub fn function<'t>(function: &'t FnDef, f: Visitor<'_, 't>) {
    function.params.iter().for_each(|(_, ty)| type_name(ty, f));
    function.ret.iter().for_each(|ty| type_name(ty, f));
    block(&function.body, f);
}

pub fn definition<'t>(definition: &'t CDef, f: Visitor<'_, 't>) {
    match &definition.kind {
        CDefKind::Record { members, .. } => {
            for m in members {
                declarator(&m.ty, f);
                m.bits.iter().for_each(|b| expr(b, f));
            }
        }
        CDefKind::Enum { values, .. } => values.iter().for_each(|(_, v)| v.iter().for_each(|v| expr(v, f))),
        CDefKind::Typedef { ty, .. } => declarator(ty, f),
    }
}

fn declarator<'t>(ty: &'t CType, f: Visitor<'_, 't>) {
    match &ty.base {
        CBase::Named(name) => type_name(name, f),
        CBase::Inline(d) => definition(d, f),
    }
    ty.array.iter().flatten().for_each(|e| expr(e, f));
}

fn type_name<'t>(name: &'t TypeName, f: Visitor<'_, 't>) {
    f(Node::Type(name));
    match &name.base {
        TypeBase::Named(_) | TypeBase::Struct(_) | TypeBase::Union(_) | TypeBase::Enum(_) => {}
        TypeBase::Typeof(of) => type_or_expr(of, f),
        TypeBase::Tuple(list) => list.iter().for_each(|t| type_name(t, f)),
    }
    name.array.iter().flatten().for_each(|e| expr(e, f));
}

fn type_or_expr<'t>(of: &'t TypeOrExpr, f: Visitor<'_, 't>) {
    match of {
        TypeOrExpr::Type(t) => type_name(t, f),
        TypeOrExpr::Expr(e) => expr(e, f),
    }
}

pub fn block<'t>(block: &'t Block, f: Visitor<'_, 't>) {
    block.stmts.iter().for_each(|s| stmt(s, f));
    block.value.iter().for_each(|v| expr(v, f));
}

fn stmt<'t>(stmt: &'t Stmt, f: Visitor<'_, 't>) {
    match &stmt.kind {
        StmtKind::Expr(e) => expr(e, f),
        StmtKind::Assign { target, value, .. } => {
            expr(target, f);
            expr(value, f);
        }
        StmtKind::Let { ty, value, .. } => {
            ty.iter().for_each(|t| type_name(t, f));
            value.iter().for_each(|v| expr(v, f));
        }
        StmtKind::If { cond, then, otherwise } => {
            expr(cond, f);
            block(then, f);
            otherwise.iter().for_each(|o| block(o, f));
        }
        StmtKind::While { cond, body } => {
            expr(cond, f);
            block(body, f);
        }
        StmtKind::ForMap { map, body, .. } => {
            expr(map, f);
            block(body, f);
        }
        StmtKind::ForRange { start, end, body, .. } => {
            expr(start, f);
            expr(end, f);
            block(body, f);
        }
        StmtKind::Unroll { count, body } => {
            expr(count, f);
            block(body, f);
        }
        StmtKind::Block(b) => block(b, f),
        StmtKind::Return(value) => value.iter().for_each(|v| expr(v, f)),
        StmtKind::Break | StmtKind::Continue => {}
    }
}

pub fn expr<'t>(e: &'t Expr, f: Visitor<'_, 't>) {
    f(Node::Expr(e));
    match &e.kind {
        ExprKind::Int { .. }
        | ExprKind::Duration(_)
        | ExprKind::Bool(_)
        | ExprKind::Str(_)
        | ExprKind::Ident(_)
        | ExprKind::Param(_)
        | ExprKind::ParamCount
        | ExprKind::Var(_) => {}
        ExprKind::Map { key, .. } => key.iter().for_each(|k| expr(k, f)),
        ExprKind::Call { args, .. } => args.iter().for_each(|a| expr(a, f)),
        ExprKind::Unary { expr: inner, .. } | ExprKind::Comptime(inner) => expr(inner, f),
        ExprKind::Cast { ty, expr: inner } => {
            type_name(ty, f);
            expr(inner, f);
        }
        ExprKind::Step { target, .. } => expr(target, f),
        ExprKind::Binary { left, right, .. } => {
            expr(left, f);
            expr(right, f);
        }
        ExprKind::Ternary { cond, then, otherwise } => {
            expr(cond, f);
            if let Some(then) = then {
                expr(then, f);
            }
            expr(otherwise, f);
        }
        ExprKind::Sizeof(of) | ExprKind::Typeof(of) | ExprKind::Typeinfo(of) => type_or_expr(of, f),
        ExprKind::Offsetof { of, path } => {
            type_or_expr(of, f);
            for step in path {
                if let PathStep::Index(index) = step {
                    expr(index, f);
                }
            }
        }
        ExprKind::Field { base, .. } | ExprKind::TupleField { base, .. } => expr(base, f),
        ExprKind::Index { base, index } => {
            expr(base, f);
            expr(index, f);
        }
        ExprKind::Tuple(list) => list.iter().for_each(|e| expr(e, f)),
        ExprKind::Record(list) => list.iter().for_each(|(_, e)| expr(e, f)),
        ExprKind::Block(b) => block(b, f),
        ExprKind::If { cond, then, otherwise } => {
            expr(cond, f);
            block(then, f);
            block(otherwise, f);
        }
    }
}
