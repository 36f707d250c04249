//! Who is running, and what the probe hands over.

use super::{Builtin, COMMON, Check, Side, helper};
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::{TypeKind, Version};
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "pid",
        signatures: &["pid"],
        doc: "The process (thread group) that is running.",
        example: "kprobe:vfs_read { @[pid] = count() }",
        helper: helper("bpf_get_current_pid_tgid", 14, Version(4, 2)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "tid",
        signatures: &["tid"],
        doc: "The thread that is running.",
        example: "kprobe:vfs_read { @[tid] = count() }",
        helper: helper("bpf_get_current_pid_tgid", 14, Version(4, 2)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "uid",
        signatures: &["uid"],
        doc: "The user id of the running process.",
        example: "kprobe:vfs_read { @[uid] = count() }",
        helper: helper("bpf_get_current_uid_gid", 15, Version(4, 2)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "gid",
        signatures: &["gid"],
        doc: "The group id of the running process.",
        example: "kprobe:vfs_read { @[gid] = count() }",
        helper: helper("bpf_get_current_uid_gid", 15, Version(4, 2)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "comm",
        signatures: &["comm"],
        doc: "The name of the running thread, up to 15 characters.",
        example: "kprobe:vfs_read /comm == \"dd\"/ { @ = count() }",
        helper: helper("bpf_get_current_comm", 16, Version(4, 2)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::String { cap: 16 }))),
        ..COMMON
    },
    Builtin {
        name: "cpu",
        signatures: &["cpu"],
        doc: "The processor that the program runs on.",
        example: "kprobe:vfs_read { @[cpu] = count() }",
        helper: helper("bpf_get_smp_processor_id", 8, Version(4, 1)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "cgroup",
        signatures: &["cgroup"],
        doc: "The id of the running process's cgroup (version 2).",
        example: "kprobe:vfs_read { @[cgroup] = count() }",
        helper: helper("bpf_get_current_cgroup_id", 80, Version(4, 18)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::U64))),
        ..COMMON
    },
    Builtin {
        name: "curtask",
        signatures: &["curtask"],
        doc: "The running task, a `struct task_struct *`.",
        example: "kprobe:vfs_read { @[curtask->parent->tgid] = count() }",
        helper: helper("bpf_get_current_task", 35, Version(4, 8)),
        check: Check::Value(curtask),
        ..COMMON
    },
    Builtin {
        name: "rand",
        signatures: &["rand"],
        doc: "A random 32-bit number.",
        example: "kprobe:vfs_read /rand % 100 == 0/ { @ = count() }",
        helper: helper("bpf_get_prandom_u32", 7, Version(4, 1)),
        check: Check::Value(|_, call| Ok(call.lowered(Vec::new(), Type::U32))),
        ..COMMON
    },
    Builtin {
        name: "args",
        signatures: &["args.NAME", "args->NAME"],
        doc: "The probe's arguments by name: tracepoint fields, function parameters.",
        example: "tracepoint:syscalls:sys_enter_read { @ = hist(args.count) }",
        check: Check::Value(|_, call| {
            Err(Diagnostic::error(Code::WrongType, call.span, "`args` is used with a name: args.NAME"))
        }),
        ..COMMON
    },
    Builtin {
        name: "exists",
        signatures: &["exists(expression)"],
        doc: "Whether this kernel has what the expression names: a field, an argument, a type, a constant.",
        example: "tracepoint:skb:kfree_skb { if (exists(args.reason)) { @[args.reason] = count() } else { @none = count() } }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(exists),
        ..COMMON
    },
    Builtin {
        name: "argN",
        signatures: &["arg0", "arg1", "…"],
        doc: "The probe's arguments by position, as 64-bit numbers.",
        example: "kprobe:vfs_read { @ = hist(arg2) }",
        check: Check::Value(numbered),
        ..COMMON
    },
    Builtin {
        name: "retval",
        signatures: &["retval"],
        doc: "What the function returns.",
        example: "kretprobe:vfs_read { @ = hist(retval) }",
        check: Check::Value(|c, call| c.return_value(call.span)),
        ..COMMON
    },
    Builtin {
        name: "reg",
        signatures: &["reg(\"name\")"],
        doc: "A processor register at the probe.",
        example: "kprobe:vfs_read { @[ksym(reg(\"ip\"))] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| match call.arg(0) {
            Some(a) => {
                let name = c.literal_text(a, "the name of a register")?;
                c.register(&name, call.span)
            }
            None => Ok(Expr::int(0, Type::U64, call.span)),
        }),
        ..COMMON
    },
];

fn curtask(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let task = task_struct(c, call.span)?;
    Ok(call.lowered(Vec::new(), Type::kptr(task)))
}

fn task_struct(c: &mut Checker<'_>, span: Span) -> Result<Type> {
    c.kernel_type(TypeKind::Struct, "struct", "task_struct", span)
}

fn numbered(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    match call.name.strip_prefix("arg").and_then(|n| n.parse().ok()) {
        Some(n) => c.numbered_argument(n, call.span),
        None => Ok(Expr { kind: ExprKind::Int(0), ty: Type::U64, span: call.span }),
    }
}

/// Only what names something that is not there is a "no": other errors are errors.
fn exists(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let Some(arg) = call.arg(0) else { return Ok(Expr::int(0, Type::Bool, call.span)) };
    match c.expr(arg) {
        Ok(_) => Ok(Expr::int(1, Type::Bool, call.span)),
        Err(e) if matches!(e.code, Code::UnknownField | Code::UnknownType | Code::UnknownName | Code::KernelLacks) => {
            Ok(Expr::int(0, Type::Bool, call.span))
        }
        Err(e) => Err(e),
    }
}
