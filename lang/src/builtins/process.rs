//! The running process, and the arguments of the probe.

use super::{Allowed, Builtin, COMMON, Check, Side};
use crate::arch::Arch;
use crate::bundle::ProgType;
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::kernel::TypeKind;
use crate::names;
use crate::probes::Context;
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use crate::uapi::helper;
use rtrace_core::glob::Glob;
use rtrace_grammar::ast::{self, BinOp};

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "pid",
        signatures: &["pid", "pid(init|curr_ns)"],
        doc: "The ID of the running process (thread group) in the PID namespace of rtrace, 0 for processes \
            outside of it. With `init`, the ID in the initial PID namespace.",
        arity: (0, 1),
        example: "kprobe:vfs_read { @[pid] = count() }",
        helper: Some(helper::GET_CURRENT_PID_TGID),
        check: Check::Lowered(Intrinsic::Pid, number_of),
        ..COMMON
    },
    Builtin {
        name: "tid",
        signatures: &["tid", "tid(init|curr_ns)"],
        doc: "The ID of the running thread in the PID namespace of rtrace, 0 for threads outside of it. With \
            `init`, the ID in the initial PID namespace.",
        arity: (0, 1),
        example: "kprobe:vfs_read { @[tid] = count() }",
        helper: Some(helper::GET_CURRENT_PID_TGID),
        check: Check::Lowered(Intrinsic::Tid, number_of),
        ..COMMON
    },
    Builtin {
        name: "uid",
        signatures: &["uid"],
        doc: "The user ID of the running process.",
        example: "kprobe:vfs_read { @[uid] = count() }",
        helper: Some(helper::GET_CURRENT_UID_GID),
        check: Check::Simple(Intrinsic::Uid, &Type::U32),
        ..COMMON
    },
    Builtin {
        name: "gid",
        signatures: &["gid"],
        doc: "The group ID of the running process.",
        example: "kprobe:vfs_read { @[gid] = count() }",
        helper: Some(helper::GET_CURRENT_UID_GID),
        check: Check::Simple(Intrinsic::Gid, &Type::U32),
        ..COMMON
    },
    Builtin {
        name: "comm",
        signatures: &["comm", "comm(pid)"],
        doc: "The name of the running thread, up to 15 characters; for another process, its name at the time of printing.",
        example: "kprobe:vfs_read /comm == \"dd\"/ { @[comm(ppid)] = count() }",
        arity: (0, 1),
        helper: Some(helper::GET_CURRENT_COMM),
        check: Check::Lowered(Intrinsic::Comm, comm),
        ..COMMON
    },
    Builtin {
        name: "cpu",
        signatures: &["cpu"],
        doc: "The number of the CPU that the program runs on.",
        example: "kprobe:vfs_read { @[cpu] = count() }",
        helper: Some(helper::GET_SMP_PROCESSOR_ID),
        check: Check::Simple(Intrinsic::Cpu, &Type::U32),
        ..COMMON
    },
    Builtin {
        name: "cgroup",
        signatures: &["cgroup"],
        doc: "The ID of the cgroup (version 2) of the running process.",
        example: "kprobe:vfs_read { @[cgroup] = count() }",
        helper: Some(helper::GET_CURRENT_CGROUP_ID),
        check: Check::Simple(Intrinsic::Cgroup, &Type::U64),
        ..COMMON
    },
    Builtin {
        name: "curtask",
        signatures: &["curtask"],
        doc: "The running task, a `struct task_struct *`.",
        example: "kprobe:vfs_read { @[curtask->parent->tgid] = count() }",
        helper: Some(helper::GET_CURRENT_TASK),
        check: Check::Lowered(Intrinsic::Curtask, curtask),
        ..COMMON
    },
    Builtin {
        name: "username",
        signatures: &["username"],
        doc: "The name of the user of the running process; map keys and comparisons use the user ID.",
        example: "kprobe:vfs_read { @[username] = count() }",
        helper: Some(helper::GET_CURRENT_UID_GID),
        check: Check::Value(username),
        ..COMMON
    },
    Builtin {
        name: "ppid",
        signatures: &["ppid", "ppid(task)"],
        doc: "The ID of the parent of the running process, or of the process of a task, in the PID namespace of rtrace.",
        example: "tracepoint:syscalls:sys_enter_execve { @[ppid] = count() }",
        arity: (0, 1),
        helper: Some(helper::GET_CURRENT_TASK),
        check: Check::Value(parent),
        ..COMMON
    },
    Builtin {
        name: "pcomm",
        signatures: &["pcomm", "pcomm(task)"],
        doc: "The name of the running process, which is that of its first thread.",
        example: "kprobe:vfs_read { @[pcomm, comm] = count() }",
        arity: (0, 1),
        helper: Some(helper::GET_CURRENT_TASK),
        check: Check::Prelude,
        ..COMMON
    },
    Builtin {
        name: "leader_tid",
        signatures: &["leader_tid", "leader_tid(task)"],
        doc: "The first thread of the running process.",
        example: "kprobe:vfs_read /tid == leader_tid/ { @[pid] = count() }",
        arity: (0, 1),
        helper: Some(helper::GET_CURRENT_TASK),
        check: Check::Prelude,
        ..COMMON
    },
    Builtin {
        name: "leader_comm",
        signatures: &["leader_comm", "leader_comm(task)"],
        doc: "The name of the first thread of the running process.",
        example: "kprobe:vfs_read { @[leader_comm] = count() }",
        arity: (0, 1),
        helper: Some(helper::GET_CURRENT_TASK),
        check: Check::Prelude,
        ..COMMON
    },
    Builtin {
        name: "cpid",
        signatures: &["cpid"],
        doc: "The ID of the process started by the option -c; 0 without it.",
        example: "kprobe:vfs_read /pid == cpid/ { @ = count() }",
        check: Check::Simple(Intrinsic::Cpid, &Type::U32),
        ..COMMON
    },
    Builtin {
        name: "has_cpid",
        signatures: &["has_cpid"],
        doc: "Whether the option -c started a process.",
        example: "kprobe:vfs_read { if (!has_cpid || pid == cpid) { @ = count() } }",
        check: Check::Prelude,
        ..COMMON
    },
    Builtin {
        name: "numaid",
        signatures: &["numaid"],
        doc: "The NUMA node of the CPU that the program runs on.",
        example: "kprobe:vfs_read { @[numaid] = count() }",
        helper: Some(helper::GET_NUMA_NODE_ID),
        check: Check::Simple(Intrinsic::Numaid, &Type::U32),
        ..COMMON
    },
    Builtin {
        name: "ncpus",
        signatures: &["ncpus"],
        doc: "The number of possible CPUs.",
        example: "begin { printf(\"%d\\n\", ncpus); exit() }",
        check: Check::Simple(Intrinsic::Ncpus, &Type::U64),
        ..COMMON
    },
    Builtin {
        name: "usermode",
        signatures: &["usermode"],
        doc: "1 if the CPU was in user mode when the probe fired, 0 if it was in kernel mode.",
        example: "profile:hz:99 { @[usermode] = count() }",
        check: Check::Value(usermode),
        ..COMMON
    },
    Builtin {
        name: "signal",
        signatures: &["signal(number)", "signal(\"NAME\")"],
        doc: "Sends a signal to the running process.",
        example: "tracepoint:syscalls:sys_enter_execve /comm == \"sh\"/ { signal(\"SIGSTOP\") }",
        arity: (1, 1),
        helper: Some(helper::SEND_SIGNAL),
        unsafe_: true,
        check: Check::Lowered(Intrinsic::Signal, signal),
        ..COMMON
    },
    Builtin {
        name: "signal_thread",
        signatures: &["signal_thread(number)", "signal_thread(\"NAME\")"],
        doc: "Sends a signal to the running thread.",
        example: "tracepoint:syscalls:sys_enter_execve /comm == \"sh\"/ { signal_thread(SIGSTOP) }",
        arity: (1, 1),
        helper: Some(helper::SEND_SIGNAL_THREAD),
        unsafe_: true,
        check: Check::Lowered(Intrinsic::SignalThread, signal),
        ..COMMON
    },
    Builtin {
        name: "override",
        signatures: &["override(value)"],
        doc: "Skips the function and makes it return the value; allowed only for functions that the kernel marks \
            for error injection.",
        example: "kprobe:__x64_sys_execve /comm == \"sh\"/ { override(-EPERM) }",
        arity: (1, 1),
        helper: Some(helper::OVERRIDE_RETURN),
        unsafe_: true,
        check: Check::Lowered(Intrinsic::Override, override_return),
        ..COMMON
    },
    Builtin {
        name: "cgroupid",
        signatures: &["cgroupid(\"path\")"],
        doc: "The ID of the cgroup (version 2) with a path.",
        example: "kprobe:vfs_read /cgroup == cgroupid(\"/sys/fs/cgroup\")/ { @[comm] = count() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(cgroupid),
        ..COMMON
    },
    Builtin {
        name: "cgroup_path",
        signatures: &["cgroup_path(id)"],
        doc: "The path of the cgroup with an ID, looked up at the time of printing.",
        example: "kprobe:vfs_read { @[cgroup_path(cgroup)] = count() }",
        arity: (1, 2),
        check: Check::Value(cgroup_path),
        ..COMMON
    },
    Builtin {
        name: "rand",
        signatures: &["rand"],
        doc: "A random 32-bit number.",
        example: "kprobe:vfs_read /rand % 100 == 0/ { @ = count() }",
        helper: Some(helper::GET_PRANDOM_U32),
        check: Check::Simple(Intrinsic::Rand, &Type::U32),
        ..COMMON
    },
    Builtin {
        name: "args",
        signatures: &["args.NAME", "args->NAME", "args"],
        doc: "The probe's arguments by name: tracepoint fields, function parameters. Alone, all of them, to print.",
        example: "tracepoint:syscalls:sys_enter_read { @ = hist(args.count) }",
        check: Check::Value(|c, call| c.args_value(call.span)),
        ..COMMON
    },
    Builtin {
        name: "ctx",
        signatures: &["ctx.NAME", "ctx->NAME", "ctx"],
        doc: "The context of an iterator: the object by its name, and `meta`. If the object is null, the probe ends.",
        example: "iter:task { printf(\"%d %s\\n\", ctx.task.pid, ctx.task.comm) }",
        allowed: Allowed::In(&[ProgType::Iter]),
        check: Check::Value(|c, call| c.ctx_value(call.span)),
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
        doc: "The return value of the function.",
        example: "kretprobe:vfs_read { @ = hist(retval) }",
        check: Check::Value(|c, call| c.return_value(call.span)),
        ..COMMON
    },
    Builtin {
        name: "reg",
        signatures: &["reg(\"name\")"],
        doc: "A CPU register at the probe; in timers, samples and watchpoints, of the interrupted code.",
        example: "kprobe:vfs_read { @[ksym(reg(\"ip\"))] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| {
            let [name] = call.args()?;
            let name = c.literal_text(name, "the name of a register")?;
            c.register(&name, call.span)
        }),
        ..COMMON
    },
];

/// `pid` and `tid`; the argument of the lowered call asks for the number in the first namespace.
fn number_of(_: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    match call.arg(0) {
        Some(ast::Expr { kind: ast::ExprKind::Ident(word), .. }) if word == "init" => {
            return Ok(call.lowered(intrinsic, vec![Expr::int(1, Type::Bool, call.span)], Type::U32));
        }
        Some(ast::Expr { kind: ast::ExprKind::Ident(word), .. }) if word == "curr_ns" => {}
        Some(other) => {
            return Err(Diagnostic::error(Code::BadValue, other.span, "unknown PID namespace")
                .note("PID namespaces: init, curr_ns"));
        }
        None => {}
    }
    Ok(call.lowered(intrinsic, Vec::new(), Type::U32))
}

/// The kernel tells a program the name of the running thread only.
fn comm(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let Some(arg) = call.arg(0) else { return Ok(call.lowered(intrinsic, Vec::new(), Type::String { cap: 16 })) };
    let e = c.expr(arg)?;
    let e = c.integer(e, "a process")?;
    Ok(Expr { kind: ExprKind::Convert(Box::new(e)), ty: Type::ProcessName, span: call.span })
}

fn curtask(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let task = task_struct(c, call.span)?;
    Ok(call.lowered(intrinsic, Vec::new(), Type::kptr(task)))
}

fn task_struct(c: &mut Checker<'_>, span: Span) -> Result<Type> {
    c.kernel_type(TypeKind::Struct, "struct", "task_struct", span)
}

fn numbered(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    match call.name.strip_prefix("arg").and_then(|n| n.parse().ok()) {
        Some(n) => c.numbered_argument(n, call.span),
        None => Err(Diagnostic::error(Code::UnknownName, call.span, format!("unknown name `{}`", call.name))
            .help("the arguments are arg0, arg1, …")),
    }
}

/// Only what names something that is not there is a "no": other errors are errors.
fn exists(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let result = matches!(&arg.kind, ast::ExprKind::Ident(name) if name == "retval");
    match c.expr(arg) {
        Ok(_) if result && c.returns_nothing() => Ok(Expr::int(0, Type::Bool, call.span)),
        Ok(_) => Ok(Expr::int(1, Type::Bool, call.span)),
        Err(_) if result && c.returns_nothing() => Ok(Expr::int(0, Type::Bool, call.span)),
        Err(e) if matches!(e.code, Code::UnknownField | Code::UnknownType | Code::UnknownName | Code::KernelLacks) => {
            Ok(Expr::int(0, Type::Bool, call.span))
        }
        Err(e) => Err(e),
    }
}

fn username(_: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    Ok(call.lowered(Intrinsic::Uid, Vec::new(), Type::Username))
}

/// The number of the parent where rtrace runs: in a container another one than outside.
fn parent(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let span = call.span;
    let running = ast::Expr { kind: ast::ExprKind::Ident("curtask".to_owned()), span };
    let task = call.arg(0).cloned().unwrap_or(running);
    let Some((_, namespace)) = c.kernel.machine.pid_namespace() else { return c.prelude("parent", &[task], span) };
    let namespace = ast::Expr { kind: ast::ExprKind::Int { value: namespace, unsigned: false }, span };
    c.prelude("parent_within", &[task, namespace], span)
}

/// The lowest bits of a register say at which privilege level the processor was.
fn usermode(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let span = call.span;
    let (register, mask, user) = match c.options.arch {
        Arch::X86_64 => ("cs", 3, 3),
        Arch::Aarch64 => ("pstate", 0xf, 0),
    };
    // Where a program gets no registers, it is the kernel that runs it.
    let Ok(level) = c.register(register, span) else { return Ok(Expr::int(0, Type::U8, span)) };
    let level = c.arithmetic(BinOp::BitAnd, level, Expr::int(mask, Type::U64, span), span)?;
    let is_user = c.compare(BinOp::Eq, level, Expr::int(user, Type::U64, span), span)?;
    c.coerce(is_user, &Type::U8)
}

fn signal(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let number = match &e.kind {
        ExprKind::Bytes(name) if matches!(e.ty, Type::String { .. }) => {
            let name = String::from_utf8_lossy(name).to_ascii_uppercase();
            let known =
                if name.starts_with("SIG") { names::signal(&name) } else { names::signal(&format!("SIG{name}")) };
            let number = known.ok_or_else(|| {
                Diagnostic::error(Code::BadValue, arg.span, format!("unknown signal `{name}`"))
                    .help("signals have names such as SIGKILL and SIGSTOP; kill -l lists them")
            })?;
            Expr::int(number, Type::U64, arg.span)
        }
        _ => c.integer(e, "a signal")?,
    };
    if let Some(n) = number.constant()
        && !(1..=64).contains(&n)
    {
        return Err(Diagnostic::error(Code::BadValue, arg.span, format!("invalid signal number {n}")));
    }
    Ok(call.lowered(intrinsic, vec![number], Type::Void))
}

fn override_return(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    if !matches!(c.probe.context, Context::KernelEntry { .. }) {
        let message = format!("`override` is not allowed in {}", crate::probes::a_probe(c.probe.kind));
        return Err(Diagnostic::error(Code::NotAllowedHere, call.span, message)
            .label("allowed in kprobe")
            .note("a function can be overridden only at its entry"));
    }
    let e = c.expr(arg)?;
    let e = c.integer(e, "what the function returns")?;
    Ok(call.lowered(intrinsic, vec![e], Type::Void))
}

fn cgroupid(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let path = c.literal_text(arg, "the path of a cgroup")?;
    match c.kernel.machine.cgroup_id(&path) {
        Ok(id) => Ok(Expr::int(id as i64, Type::U64, call.span)),
        Err(e) => {
            let error = Diagnostic::error(Code::UnknownName, arg.span, e.message);
            Err(match e.help {
                Some(help) => error.help(help),
                None => error,
            })
        }
    }
}

/// Only version 2 has ids that programs see, so its hierarchy is the only one that a filter can mean.
fn cgroup_path(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    if let Some(filter) = call.arg(1) {
        let text = c.literal_text(filter, "the hierarchy filter")?;
        if !Glob::new(&text).matches(b"unified") {
            let message = format!("`cgroup_path` cannot be restricted to the hierarchy `{text}`");
            return Err(Diagnostic::error(Code::UnsupportedSyntax, filter.span, message)
                .help("omit the filter to print all hierarchies"));
        }
    }
    let e = c.expr(arg)?;
    let e = c.integer(e, "the id of a cgroup")?;
    let e = c.coerce(e, &Type::U64)?;
    Ok(Expr { kind: ExprKind::Convert(Box::new(e)), ty: Type::CgroupPath, span: call.span })
}
