//! Functions on maps: keys, deletion, clearing, size.

use super::{Builtin, COMMON, Check, Side, helper};
use crate::bundle::Action;
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::Version;
use crate::typed::{Expr, ExprKind, Stmt, StmtKind};
use crate::types::Type;

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "has_key",
        signatures: &["has_key(@m, key)"],
        doc: "Whether the map has the key.",
        example: "kprobe:vfs_read { if (!has_key(@seen, pid)) { @seen[pid] = 1 } }",
        arity: (1, 2),
        helper: helper("bpf_map_lookup_elem", 1, Version(3, 18)),
        check: Check::Value(has_key),
        ..COMMON
    },
    Builtin {
        name: "delete",
        signatures: &["delete(@m, key)", "delete(@m[key])", "delete(@m)"],
        doc: "Deletes an entry; without a key, the value of a keyless map.",
        example: "kprobe:vfs_read { @s[tid] = nsecs } kretprobe:vfs_read { delete(@s, tid) }",
        arity: (1, 2),
        helper: helper("bpf_map_delete_elem", 3, Version(3, 18)),
        check: Check::Value(delete),
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

fn has_key(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let (map, key) = c.map_and_key(call)?;
    let Some(key) = key else {
        return Err(Diagnostic::error(Code::WrongType, call.span, "this map has no keys").help("has_key(@m, key)"));
    };
    Ok(Expr { kind: ExprKind::MapHas { map, key: Box::new(key) }, ty: Type::Bool, span: call.span })
}

fn delete(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let (map, key) = c.map_and_key(call)?;
    Ok(c.effect(vec![Stmt { kind: StmtKind::Delete { map, key }, span: call.span }], call.span))
}

fn whole(c: &mut Checker<'_>, call: &Call<'_>, action: fn(u32) -> Action) -> Result<Expr> {
    let Some(arg) = call.arg(0) else { return Ok(c.effect(Vec::new(), call.span)) };
    let map = c.whole_map(arg, &format!("`{}`", call.builtin.name))?;
    Ok(c.send(action(map), Vec::new(), call.span))
}
