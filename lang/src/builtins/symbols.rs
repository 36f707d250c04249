//! Stacks, symbols, and the names of probes and functions.

use super::{Builtin, COMMON, Check, Side};
use crate::bundle::Target;
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::kernel::Image;
use crate::names;
use crate::typed::{Expr, ExprKind};
use crate::types::{Space, Type};
use crate::uapi::helper;
use rtrace_grammar::ast;

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "kstack",
        signatures: &["kstack", "kstack(limit)", "kstack(mode [, limit])"],
        doc: "The kernel stack; modes: bpftrace, perf, raw.",
        example: "kprobe:vfs_read { @[kstack] = count() }",
        arity: (0, 2),
        helper: Some(helper::GET_STACK),
        check: Check::Lowered(Intrinsic::Kstack, |c, call, intrinsic| stack(c, call, intrinsic, false)),
        ..COMMON
    },
    Builtin {
        name: "ustack",
        signatures: &["ustack", "ustack(limit)", "ustack(mode [, limit])"],
        doc: "The user stack of the running process; modes: bpftrace, perf, raw, build_id.",
        example: "profile:hz:99 { @[ustack] = count() }",
        arity: (0, 2),
        helper: Some(helper::GET_STACK),
        check: Check::Lowered(Intrinsic::Ustack, |c, call, intrinsic| stack(c, call, intrinsic, true)),
        ..COMMON
    },
    Builtin {
        name: "dw_ustack",
        signatures: &["dw_ustack", "dw_ustack(limit)", "dw_ustack(mode [, limit])"],
        doc: "The user stack of the running process, unwound by the tables of its files (.eh_frame), without \
            frame pointers. Modes as for ustack; x86-64 only.",
        example: "profile:hz:99 { @[dw_ustack] = count() }",
        arity: (0, 2),
        check: Check::Lowered(Intrinsic::DwUstack, super::stacks::dw_ustack),
        ..COMMON
    },
    Builtin {
        name: "ksym",
        signatures: &["ksym(address)"],
        doc: "The kernel symbol at an address, printed by name.",
        example: "kprobe:vfs_read { @[ksym(reg(\"ip\"))] = count() }",
        arity: (1, 1),
        check: Check::Value(ksym),
        ..COMMON
    },
    Builtin {
        name: "usym",
        signatures: &["usym(address)"],
        doc: "The symbol at an address of the running process, printed by name.",
        example: "uprobe:/bin/bash:readline { @[usym(reg(\"ip\"))] = count() }",
        arity: (1, 1),
        check: Check::Lowered(Intrinsic::Usym, usym),
        ..COMMON
    },
    Builtin {
        name: "kaddr",
        signatures: &["kaddr(\"symbol\")"],
        doc: "The address of a kernel symbol.",
        example: "interval:s:1 { printf(\"%d\\n\", *kaddr(\"jiffies\")) }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(kaddr),
        ..COMMON
    },
    Builtin {
        name: "uaddr",
        signatures: &["uaddr(\"symbol\")", "uaddr(\"file:symbol\")"],
        doc: "The address of a function or variable of the traced program, a pointer to an integer of its size.",
        example: "uprobe:/bin/bash:readline { printf(\"%d\\n\", *uaddr(\"readline\")) }",
        arity: (1, 1),
        check: Check::Value(uaddr),
        ..COMMON
    },
    Builtin {
        name: "percpu_kaddr",
        signatures: &["percpu_kaddr(\"symbol\" [, cpu])"],
        doc: "The address of a per-CPU kernel variable on this CPU or another; 0 for a CPU that does not exist.",
        example: "interval:s:1 { printf(\"%d\\n\", *percpu_kaddr(\"process_counts\")) }",
        arity: (1, 2),
        check: Check::Prelude,
        ..COMMON
    },
    Builtin {
        name: "probe",
        signatures: &["probe"],
        doc: "The full name of the attach point that fired.",
        example: "tracepoint:sched:sched_* { @[probe] = count() }",
        check: Check::Value(|c, call| {
            c.probe.id_uses.update(|n| n + 1);
            Ok(Expr { kind: ExprKind::ProbeId, ty: Type::ProbeName, span: call.span })
        }),
        ..COMMON
    },
    Builtin {
        name: "func",
        signatures: &["func"],
        doc: "The name of the traced function.",
        example: "kprobe:vfs_* { @[func] = count() }",
        check: Check::Value(func),
        ..COMMON
    },
    Builtin {
        name: "probetype",
        signatures: &["probetype"],
        doc: "The probe type as a string; `special` for begin, end and self.",
        example: "kprobe:vfs_read, tracepoint:syscalls:sys_enter_read { @[probetype] = count() }",
        side: Side::Const,
        check: Check::Value(probetype),
        ..COMMON
    },
    Builtin {
        name: "signal_name",
        signatures: &["signal_name(number)"],
        doc: "A signal, printed by name.",
        example: "begin { $n = 9 + rand % 2; printf(\"%s\\n\", signal_name($n)); exit() }",
        arity: (1, 1),
        check: Check::Value(|c, call| named(c, call, names::SIGNAL)),
        ..COMMON
    },
    Builtin {
        name: "syscall_name",
        signatures: &["syscall_name(number)"],
        doc: "A system call, printed by name.",
        example: "tracepoint:raw_syscalls:sys_enter { @[syscall_name(args.id)] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| named(c, call, names::SYSCALL)),
        ..COMMON
    },
    Builtin {
        name: "strerror",
        signatures: &["strerror(number)"],
        doc: "An error number, printed as its description.",
        example: "kretprobe:vfs_read /retval < 0/ { @[strerror(-retval)] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| named(c, call, names::ERROR)),
        ..COMMON
    },
];

fn stack(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic, user: bool) -> Result<Expr> {
    c.probe.kernel_frames |= !user;
    let ty = super::stacks::stack_type(c, call, user, user)?;
    Ok(call.lowered(intrinsic, Vec::new(), Type::Stack(ty)))
}

fn ksym(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let e = c.integer(e, "an address")?;
    Ok(Expr { kind: ExprKind::Convert(Box::new(e)), ty: Type::Ksym, span: call.span })
}

fn usym(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let e = c.integer(e, "an address")?;
    Ok(call.lowered(intrinsic, vec![e], Type::Usym))
}

fn kaddr(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let name = c.literal_text(arg, "the name of a symbol")?;
    match c.kernel.functions.symbol_address(&name) {
        Some(address) => {
            let ty = Type::kptr(Type::U64);
            Ok(Expr::int(address as i64, ty, call.span))
        }
        None => Err(Diagnostic::error(Code::UnknownName, arg.span, format!("the kernel has no symbol `{name}`"))
            .note("symbol addresses are read from /proc/kallsyms, which requires privileges")),
    }
}

/// The address of the probed instruction tells where its file is mapped; so does, for the executable, where the process
/// has its code.
fn uaddr(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let span = call.span;
    let [arg] = call.args()?;
    let name = c.literal_text(arg, "the name of a symbol")?;
    let Some((path, offset)) = c.probe.target.place().map(|(path, offset)| (path.to_owned(), offset)) else {
        let message = format!("`uaddr` is not allowed in {}", crate::probes::a_probe(c.probe.kind));
        let kinds: Vec<&str> = crate::probes::KINDS.iter().filter(|k| k.path == Some(0)).map(|k| k.name).collect();
        let label = format!("allowed in {}", kinds.join(", "));
        return Err(Diagnostic::error(Code::NotAllowedHere, span, message).label(label));
    };
    let ret = c.probe.kind.returns;
    c.probe.specific.set(true);
    let (file, symbol) = match name.rsplit_once(':') {
        Some((file, symbol)) => {
            let found = c.kernel.programs.executables(file).map_err(|e| crate::probes::no_facts(e, arg.span))?;
            let missing = || Diagnostic::error(Code::UnknownName, arg.span, format!("program `{file}` not found"));
            (found.into_iter().next().ok_or_else(missing)?, symbol)
        }
        None => (path.clone(), name.as_str()),
    };
    let found = c.kernel.programs.user_object(&file, symbol).map_err(|e| crate::probes::no_facts(e, arg.span))?;
    let Some(object) = found else {
        let error = Diagnostic::error(Code::UnknownName, arg.span, format!("{file} has no symbol `{symbol}`"));
        return Err(match c.kernel.programs.nearest_user_symbol(&file, symbol) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        });
    };
    let to = match object.size {
        1 => Type::U8,
        2 => Type::U16,
        4 => Type::U32,
        _ => Type::U64,
    };
    let ty = Type::Ptr { to: Box::new(to), space: Space::User };
    // A place that is known in the file and in memory.
    let (here, there) = match object.image {
        Image::Fixed => return Ok(Expr::int(object.address as i64, ty, span)),
        _ if file == path && !ret => {
            let probed =
                c.kernel.programs.user_address(&path, offset).map_err(|e| crate::probes::no_facts(e, arg.span))?;
            let Some(probed) = probed else {
                return Err(Diagnostic::error(Code::UnknownName, span, format!("{path} has no code at {offset:#x}")));
            };
            (Expr { kind: ExprKind::Ctx { offset: c.options.arch.instruction_pointer() }, ty: Type::U64, span }, probed)
        }
        Image::Executable { code } => {
            let start = c.prelude("code_start", &[], span)?;
            (c.coerce(start, &Type::U64)?, code)
        }
        Image::Library => {
            let message = format!("the load address of {file} is known only in probes on it");
            return Err(Diagnostic::error(Code::NotAllowedHere, span, message)
                .help(format!("save the address in a map in a uprobe of {file}")));
        }
    };
    let distance = Box::new(Expr::int(object.address.wrapping_sub(there) as i64, Type::U64, span));
    let sum = ExprKind::Arith { op: ast::BinOp::Add, left: Box::new(here), right: distance };
    let sum = Expr { kind: sum, ty: Type::U64, span };
    Ok(Expr { kind: ExprKind::Convert(Box::new(sum)), ty, span })
}

fn func(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    if c.probe.function.is_empty() {
        return Err(Diagnostic::error(
            Code::NotAllowedHere,
            call.span,
            format!("{} has no function", crate::probes::a_probe(c.probe.kind)),
        )
        .help("use `probe` for the name of the attach point"));
    }
    c.probe.id_uses.update(|n| n + 1);
    Ok(Expr { kind: ExprKind::ProbeId, ty: Type::FuncName, span: call.span })
}

fn probetype(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    c.probe.specific.set(true);
    let special = matches!(c.probe.target, Target::Begin | Target::End | Target::Signal { .. });
    let kind = if special { "special" } else { c.probe.kind.name };
    Ok(crate::check::string(kind.as_bytes(), call.span))
}

/// A number that prints by name: a constant one is its name.
fn named(c: &mut Checker<'_>, call: &Call<'_>, of: &str) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let e = c.integer(e, &format!("the argument of `{}`", call.builtin.name))?;
    let known = names::enumerators(of).unwrap_or_default();
    if let Some((name, _)) = e.constant().and_then(|n| known.iter().find(|k| k.1 == n)) {
        return Ok(crate::check::string(name.as_bytes(), call.span));
    }
    c.coerce(e, &Type::Enum { name: of.to_owned(), bits: 64, signed: true })
}
