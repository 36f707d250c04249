//! Functions on maps: keys, deletion, clearing, size.

use super::{Builtin, COMMON, Check, Side};
use crate::bundle::Action;
use crate::check::{Call, Checker, effect, kept};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::typed::{Expr, ExprKind, Stmt, StmtKind};
use crate::types::Type;
use crate::uapi::helper;
use rtrace_grammar::ast;

/// The helper that counts the entries of a map; counting the frames of a stack does not need it.
pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "has_key",
        signatures: &["has_key(@m, key)"],
        doc: "Whether the map has the key.",
        example: "kprobe:vfs_read { if (!has_key(@seen, pid)) { @seen[pid] = 1 } }",
        arity: (1, 2),
        helper: Some(helper::MAP_LOOKUP_ELEM),
        check: Check::Value(has_key),
        ..COMMON
    },
    Builtin {
        name: "find",
        signatures: &["find(@m, key, $var)"],
        doc: "Whether the map has the key; if so, assigns its value to the variable.",
        example: "kprobe:vfs_read { @s[tid] = nsecs } kretprobe:vfs_read { if (find(@s, tid, $s)) { @ = hist(nsecs - $s) } }",
        arity: (3, 3),
        helper: Some(helper::MAP_LOOKUP_ELEM),
        check: Check::Value(find),
        ..COMMON
    },
    Builtin {
        name: "delete",
        signatures: &["delete(@m, key)", "delete(@m[key])", "delete(@m)"],
        doc: "Deletes an entry, or the value of a map without keys; returns whether it existed.",
        example: "kprobe:vfs_read { @s[tid] = nsecs } kretprobe:vfs_read { delete(@s, tid) }",
        arity: (1, 2),
        helper: Some(helper::MAP_DELETE_ELEM),
        check: Check::Value(delete),
        ..COMMON
    },
    Builtin {
        name: "len",
        signatures: &["len(@m)", "len(stack)"],
        doc: "The number of entries of a map, which the kernel counts by iterating over all of them (Linux \
            5.13), or of frames of a stack.",
        example: "kprobe:vfs_read { @[comm] = count() } interval:s:1 { printf(\"%d\\n\", len(@)) }",
        arity: (1, 1),
        check: Check::Lowered(Intrinsic::StackDepth, len),
        ..COMMON
    },
    Builtin {
        name: "clear",
        signatures: &["clear(@m)"],
        doc: "Deletes all entries.",
        example: "kprobe:vfs_read { @ = count() } interval:s:1 { print(@); clear(@) }",
        side: Side::User,
        arity: (1, 1),
        check: Check::Value(|c, call| whole(c, call, |map| Action::Clear { map })),
        ..COMMON
    },
    Builtin {
        name: "zero",
        signatures: &["zero(@m)"],
        doc: "Sets all values to zero and keeps the keys.",
        example: "kprobe:vfs_read { @[comm] = count() } interval:s:1 { print(@); zero(@) }",
        side: Side::User,
        arity: (1, 1),
        check: Check::Value(|c, call| whole(c, call, |map| Action::Zero { map })),
        ..COMMON
    },
];

/// The entries of a map, counted where the program runs.
fn len(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    if !matches!(arg.kind, ast::ExprKind::Map { key: None, .. }) {
        let stack = c.expr(arg)?;
        if matches!(stack.ty, Type::Stack(_)) {
            // In a variable, because it is there that a stack's frames are kept.
            let ty = kept(&stack.ty);
            let local = c.new_local("stack", &ty);
            let value = c.coerce(stack, &ty)?;
            let set = Stmt { kind: StmtKind::SetLocal { local, value }, span: call.span };
            let stack = Expr { kind: ExprKind::Local(local), ty, span: arg.span };
            let value = Box::new(call.lowered(intrinsic, vec![stack], Type::I64));
            return Ok(Expr { kind: ExprKind::Block { stmts: vec![set], value }, ty: Type::I64, span: call.span });
        }
    }
    let map = c.whole_map(arg, "`len`")?;
    c.needs(call, helper::FOR_EACH_MAP_ELEM)?;
    let info = c.map(map)?;
    if let Some(None) = info.key {
        let message = format!("cannot count the keys of `@{}`: it has none", info.name);
        return Err(Diagnostic::error(Code::BadMapUse, arg.span, message).also(info.span, "first used here"));
    }
    Ok(Expr { kind: ExprKind::MapLen { map }, ty: Type::I64, span: call.span })
}

fn has_key(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let (map, key) = c.map_and_key(call)?;
    let Some(key) = key else {
        return Err(Diagnostic::error(Code::WrongType, call.span, "missing map key").help("has_key(@m, key)"));
    };
    Ok(Expr { kind: ExprKind::MapHas { map, key: Some(Box::new(key)) }, ty: Type::Bool, span: call.span })
}

fn delete(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let (map, key) = c.map_and_key(call)?;
    let span = call.span;
    let delete = |key| Stmt { kind: StmtKind::Delete { map, key }, span };
    // Every CPU has its own value, which a program cannot reach.
    let shared = !matches!(&c.map(map)?.value, Some(Type::Agg(a)) if !a.is_additive());
    let rest = (key.is_none() && !shared).then(|| c.send(Action::Clear { map }, Vec::new(), span));
    if call.statement {
        return Ok(rest.unwrap_or_else(|| c.effect(vec![delete(key)], span)));
    }
    // As a value: whether there was something.
    if let Some(m) = c.maps.get_mut(map as usize) {
        m.asked |= key.is_none();
    }
    let (stmts, had) = c.scoped(|c| {
        let (keep, key) = key.map(|key| keep_key(c, key)).unzip();
        let had = c.new_local("had", &Type::Bool);
        let has = ExprKind::MapHas { map, key: key.clone().map(Box::new) };
        let value = Expr { kind: has, ty: Type::Bool, span };
        let set = Stmt { kind: StmtKind::SetLocal { local: had, value }, span };
        (keep.into_iter().chain([set, delete(key)]).chain(rest.into_iter().flat_map(effect)).collect(), had)
    });
    let value = Box::new(Expr { kind: ExprKind::Local(had), ty: Type::Bool, span });
    Ok(Expr { kind: ExprKind::Block { stmts, value }, ty: Type::Bool, span })
}

/// A key that is used twice, evaluated once: the statement that keeps it, and what was kept.
fn keep_key(c: &mut Checker<'_>, key: Expr) -> (Stmt, Expr) {
    let (span, ty) = (key.span, key.ty.clone());
    let local = c.new_local("key", &ty);
    let keep = Stmt { kind: StmtKind::SetLocal { local, value: key }, span };
    (keep, Expr { kind: ExprKind::Local(local), ty, span })
}

fn find(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let span = call.span;
    let [map, key, var] = call.args()?;
    let ast::Expr { kind: ast::ExprKind::Map { name, key: None }, span: at } = map else {
        return Err(
            Diagnostic::error(Code::WrongType, span, "`find` takes a map, such as `@x`").help("find(@m, key, $var)")
        );
    };
    let ast::ExprKind::Var(var_name) = &var.kind else {
        return Err(Diagnostic::error(Code::WrongType, var.span, "expected a variable for the value, such as `$x`"));
    };
    let (map, key) = c.map_place(name, Some(key), *at)?;
    let Some(key) = key else { return Err(Diagnostic::error(Code::WrongType, *at, "missing map key")) };
    let (mut stmts, had, key) = c.scoped(|c| {
        let (keep, key) = keep_key(c, key);
        let had = c.new_local("had", &Type::Bool);
        let has = ExprKind::MapHas { map, key: Some(Box::new(key.clone())) };
        let has = Expr { kind: has, ty: Type::Bool, span };
        (vec![keep, Stmt { kind: StmtKind::SetLocal { local: had, value: has }, span }], had, key)
    });
    let had = Expr { kind: ExprKind::Local(had), ty: Type::Bool, span };
    let ty = c.map(map)?.value.clone().unwrap_or(Type::I64);
    if matches!(ty, Type::Agg(_)) {
        return Err(Diagnostic::error(Code::WrongType, *at, "cannot read the value of an aggregation into a variable"));
    }
    let value = Expr { kind: ExprKind::MapGet { map, key: Some(Box::new(key)) }, ty, span };
    let then = c.assign_local(var_name, None, value, var.span, span)?;
    stmts.push(Stmt { kind: StmtKind::If { cond: had.clone(), then, otherwise: Vec::new() }, span });
    Ok(Expr { kind: ExprKind::Block { stmts, value: Box::new(had) }, ty: Type::Bool, span })
}

fn whole(c: &mut Checker<'_>, call: &Call<'_>, action: fn(u32) -> Action) -> Result<Expr> {
    let [arg] = call.args()?;
    let map = c.whole_map(arg, &format!("`{}`", call.builtin.name))?;
    Ok(c.send(action(map), Vec::new(), call.span))
}
