//! Questions about types and constants, answered while compiling; pointers of another address space.

use super::{Builtin, COMMON, Check, Side};
use crate::bundle::printf;
use crate::bundle::{Conversion, Piece};
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::config;
use crate::constants;
use crate::diag::{Diagnostic, Result};
use crate::expand::member_path;
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::{Space, Type};
use rtrace_grammar::ast::{self, BinOp};

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "is_integer",
        signatures: &["is_integer(expression)"],
        doc: "Whether an expression is an integer.",
        example: "kprobe:vfs_read { if (is_integer(arg2)) { @ = hist(arg2) } }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(|c, call| asks(c, call, |e| matches!(e.ty, Type::Int { .. }))),
        ..COMMON
    },
    Builtin {
        name: "is_unsigned_integer",
        signatures: &["is_unsigned_integer(expression)"],
        doc: "Whether an expression is an unsigned integer.",
        example: "begin { if (is_unsigned_integer(pid)) { printf(\"yes\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(|c, call| asks(c, call, |e| matches!(e.ty, Type::Int { signed: false, .. }))),
        ..COMMON
    },
    Builtin {
        name: "is_str",
        signatures: &["is_str(expression)"],
        doc: "Whether an expression is a string.",
        example: "begin { if (is_str(comm)) { printf(\"yes\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(|c, call| asks(c, call, |e| matches!(e.ty, Type::String { .. }))),
        ..COMMON
    },
    Builtin {
        name: "is_ptr",
        signatures: &["is_ptr(expression)"],
        doc: "Whether an expression is a pointer.",
        example: "begin { if (is_ptr(curtask)) { printf(\"yes\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(|c, call| asks(c, call, |e| matches!(e.ty, Type::Ptr { .. }))),
        ..COMMON
    },
    Builtin {
        name: "is_array",
        signatures: &["is_array(expression)"],
        doc: "Whether an expression is an array.",
        example: "begin { if (is_array(pton(\"::1\"))) { printf(\"yes\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(|c, call| asks(c, call, |e| matches!(e.ty, Type::Array { .. }))),
        ..COMMON
    },
    Builtin {
        name: "is_literal",
        signatures: &["is_literal(expression)"],
        doc: "Whether an expression is a compile-time constant.",
        example: "begin { if (is_literal(AF_INET)) { printf(\"yes\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(|c, call| asks(c, call, |e| matches!(e.kind, ExprKind::Int(_) | ExprKind::Bytes(_)))),
        ..COMMON
    },
    Builtin {
        name: "is_err",
        signatures: &["is_err(pointer)"],
        doc: "Whether a pointer that the kernel returned encodes an error number.",
        example: "kretprobe:vfs_read { if (is_err(retval)) { @errors = count() } }",
        arity: (1, 1),
        check: Check::Value(is_err),
        ..COMMON
    },
    Builtin {
        name: "default_str_length",
        signatures: &["default_str_length"],
        doc: "The default size of strings: the setting max_strlen.",
        example: "begin { printf(\"%d\\n\", default_str_length); exit() }",
        side: Side::Const,
        check: Check::Value(|c, call| Ok(Expr::int(i64::from(c.options.max_strlen), Type::U64, call.span))),
        ..COMMON
    },
    Builtin {
        name: "assert_str",
        signatures: &["assert_str(expression)"],
        doc: "Fails compilation unless the expression is a string or points to one.",
        example: "begin { assert_str(comm); exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(assert_str),
        ..COMMON
    },
    Builtin {
        name: "static_assert",
        signatures: &["static_assert(condition, \"message\")"],
        doc: "Fails compilation with the message unless the condition is true.",
        example: "begin { static_assert(sizeof(struct task_struct) > 0, \"no tasks\"); exit() }",
        side: Side::Const,
        arity: (2, 2),
        check: Check::Value(static_assert),
        ..COMMON
    },
    Builtin {
        name: "fail",
        signatures: &["fail(\"format\", …)"],
        doc: "Fails compilation with the message if the call is compiled; the values must be constants.",
        example: "begin { if ($# > 9) { fail(\"%d parameters are too many\", $#) } exit() }",
        side: Side::Const,
        arity: (1, usize::MAX),
        check: Check::Value(fail),
        ..COMMON
    },
    Builtin {
        name: "kfunc_exist",
        signatures: &["kfunc_exist(\"name\")"],
        doc: "Whether the kernel's type information describes a function of that name.",
        example: "begin { if (kfunc_exist(\"bpf_cpumask_first\")) { printf(\"yes\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(kfunc_exist),
        ..COMMON
    },
    Builtin {
        name: "kfunc_allowed",
        signatures: &["kfunc_allowed(\"name\")"],
        doc: "Whether programs of this probe type may call a kernel function (kfunc).",
        example: "fentry:vfs_read { if (kfunc_allowed(\"bpf_rcu_read_lock\")) { printf(\"yes\\n\") } exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(kfunc_allowed),
        ..COMMON
    },
    Builtin {
        name: "flags",
        signatures: &["flags(n)", "flags(n, enum)", "flags(n, \"PREFIX_\")"],
        doc: "A number that prints as the names of its bits, from an enum (by default its own) or from constants.",
        example: "tracepoint:syscalls:sys_enter_openat { printf(\"%s\\n\", flags(args.flags, \"O_\")) }",
        arity: (1, 2),
        check: Check::Value(flags),
        ..COMMON
    },
    Builtin {
        name: "config",
        signatures: &["config", "config(\"name\")"],
        doc: "All settings as a record, or the value of one.",
        example: "begin { printf(\"%d\\n\", config.max_map_keys); exit() }",
        side: Side::Const,
        arity: (0, 1),
        check: Check::Value(setting),
        ..COMMON
    },
    Builtin {
        name: "container_of",
        signatures: &["container_of(pointer, typeof(type), member)"],
        doc: "The pointer to the structure that contains the member behind a pointer.",
        example: "fentry:vfs_read { $p = &args.file->f_path; @[container_of($p, typeof(struct file), f_path)->f_flags] = count() }",
        arity: (3, 3),
        check: Check::Value(container_of),
        ..COMMON
    },
    Builtin {
        name: "getopt",
        signatures: &["getopt(\"name\")", "getopt(\"name\", default [, \"description\"])"],
        doc: "The value of the parameter --name=value, given after `--`; its type is that of the default, or \
            boolean without one. `rtrace SCRIPT --help` lists the parameters with their descriptions.",
        example: "kprobe:vfs_read /pid == getopt(\"pid\", 1, \"the process\")/ { @[comm] = count() }",
        side: Side::Const,
        arity: (1, 3),
        check: Check::Value(|c, call| c.named_parameter(call)),
        ..COMMON
    },
    Builtin {
        name: "kptr",
        signatures: &["kptr(pointer)"],
        doc: "The same pointer, as one into kernel memory.",
        example: "uprobe:/bin/bash:readline { @[*(uint64 *)kptr((uint64 *)arg0)] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| into_space(c, call, Space::Kernel)),
        ..COMMON
    },
    Builtin {
        name: "uptr",
        signatures: &["uptr(pointer)"],
        doc: "The same pointer, as one into the memory of the running process.",
        example: "kprobe:vfs_read { @[str(uptr((int8 *)arg1), 16)] = count() }",
        arity: (1, 1),
        check: Check::Value(|c, call| into_space(c, call, Space::User)),
        ..COMMON
    },
];

fn asks(c: &mut Checker<'_>, call: &Call<'_>, question: fn(&Expr) -> bool) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    Ok(Expr::int(i64::from(question(&e)), Type::Bool, call.span))
}

/// The kernel's errors are the last 4095 addresses.
fn is_err(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let e = c.integer(e, "the argument of `is_err`")?;
    let e = c.coerce(e, &Type::U64)?;
    let first = Expr::int(-4095, Type::U64, call.span);
    c.compare(BinOp::Ge, e, first, call.span)
}

fn assert_str(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let e = c.stringify(e)?;
    match &e.ty {
        Type::String { .. } => Ok(c.effect(Vec::new(), call.span)),
        other => Err(Diagnostic::error(Code::Asserted, arg.span, format!("expected a string, found `{other}`"))),
    }
}

fn static_assert(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [cond, message] = call.args()?;
    let at = cond.span;
    let message = c.literal_text(message, "the message")?;
    let cond = c.expr(cond)?;
    match c.truth(cond)?.constant() {
        Some(0) => Err(Diagnostic::error(Code::Asserted, at, message).label("this condition is false")),
        Some(_) => Ok(c.effect(Vec::new(), call.span)),
        None => Err(Diagnostic::error(Code::WrongType, at, "expected a compile-time constant")
            .help("use assert(condition, \"message\") to check at run time")),
    }
}

fn fail(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [first] = call.args()?;
    let text = c.literal(first, "the format")?;
    let parsed = printf::parse(&text).map_err(|e| Diagnostic::error(Code::BadFormat, first.span, e.to_string()))?;
    if parsed.specs().count() + 1 != call.args.len() {
        return Err(Diagnostic::error(Code::BadFormat, call.span, "each conversion specifier takes one argument"));
    }
    let mut values = call.args.iter().skip(1);
    let mut message = String::new();
    for piece in &parsed.0 {
        match (piece, matches!(piece, Piece::Spec(_)).then(|| values.next()).flatten()) {
            (Piece::Text(text), _) => message.push_str(&String::from_utf8_lossy(text)),
            (Piece::Spec(spec), Some(value)) => {
                let e = c.expr(value)?;
                match (e.kind, spec.conversion) {
                    (ExprKind::Bytes(text), _) => message.push_str(&String::from_utf8_lossy(&text)),
                    (ExprKind::Int(n), Conversion::Hex) => message.push_str(&format!("{n:x}")),
                    (ExprKind::Int(n), Conversion::Unsigned) => message.push_str(&(n as u64).to_string()),
                    (ExprKind::Int(n), _) => message.push_str(&n.to_string()),
                    _ => {
                        let message = "the arguments of `fail` must be compile-time constants";
                        return Err(Diagnostic::error(Code::WrongType, value.span, message));
                    }
                }
            }
            (Piece::Spec(_), None) => {}
        }
    }
    Err(Diagnostic::error(Code::Asserted, call.span, message.trim_end()))
}

fn kfunc_exist(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let name = c.literal_text(arg, "the name of a function")?;
    // Without type information there are no such functions to call.
    let exists = matches!(c.kernel.functions.function(&name, None), Ok(Some(_)));
    Ok(Expr::int(i64::from(exists), Type::Bool, call.span))
}

fn kfunc_allowed(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let name = c.literal_text(arg, "the name of a function")?;
    c.probe.specific.set(true);
    let allowed = c.kernel.functions.kfunc_allowed(&name, c.probe.prog_type);
    Ok(Expr::int(i64::from(allowed), Type::Bool, call.span))
}

fn flags(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let of = match (call.arg(1), &e.ty) {
        (None, Type::Enum { name, .. }) => name.clone(),
        (None, other) => {
            let message = format!("`flags` needs the name of an enum for a value of type `{other}`");
            return Err(Diagnostic::error(Code::WrongType, arg.span, message)
                .help("flags(n, NAME) uses the enumerators of `enum NAME`, flags(n, \"O_\") the constants O_…"));
        }
        (Some(set), _) => {
            let word = match &set.kind {
                ast::ExprKind::Ident(word) => c.enum_of(word),
                _ => None,
            };
            match word {
                Some(of) => of,
                None => enum_or_prefix(c, set)?,
            }
        }
    };
    let e = c.integer(e, "the argument of `flags`")?;
    let e = c.coerce(e, &Type::U64)?;
    Ok(Expr { kind: ExprKind::Convert(Box::new(e)), ty: Type::Flags { of }, span: call.span })
}

/// The source of the names of bits, written as text: an enum, or a prefix of constants.
fn enum_or_prefix(c: &mut Checker<'_>, set: &ast::Expr) -> Result<String> {
    let text = c.literal_text(set, "the enum")?;
    let name = text.strip_prefix("enum ").unwrap_or(&text).trim();
    let found = match name.ends_with('_') {
        true => constants::has_prefix(name).then(|| name.to_owned()),
        false => c.enum_of(name),
    };
    found.ok_or_else(|| {
        let what = if name.ends_with('_') { "no constant begins with" } else { "unknown enum" };
        Diagnostic::error(Code::UnknownType, set.span, format!("{what} `{name}`"))
    })
}

fn setting(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let Some(arg) = call.arg(0) else {
        let settings: Vec<(String, Expr)> =
            config::names().map(|(name, setting)| (name.to_owned(), value_of(c, setting, call.span))).collect();
        let types = settings.iter().map(|(name, value)| (name.clone(), value.ty.clone())).collect();
        let values = settings.into_iter().map(|(_, value)| value).collect();
        return Ok(Expr { kind: ExprKind::Tuple(values), ty: Type::NamedTuple(types), span: call.span });
    };
    let name = c.literal_text(arg, "the name of a setting")?;
    let Some(setting) = config::find(&name) else {
        let error = Diagnostic::error(Code::ConfigValue, arg.span, format!("unknown setting `{name}`"));
        return Err(match config::nearest(&name) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        });
    };
    Ok(value_of(c, setting, call.span))
}

fn value_of(c: &Checker<'_>, setting: &config::Setting, span: Span) -> Expr {
    match config::value(c.options, setting) {
        config::Value::Int(n) => Expr::int(n, Type::I64, span),
        config::Value::Bool(b) => Expr::int(i64::from(b), Type::Bool, span),
        config::Value::Word(text) => crate::check::string(text.as_bytes(), span),
    }
}

fn container_of(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [pointer, of, member] = call.args()?;
    let of = ast::TypeOrExpr::Expr(Box::new(of.clone()));
    let to = c.type_of(&of)?;
    let Some(path) = member_path(member) else {
        let message = format!("`{}` takes the name of a struct member", call.builtin.name);
        return Err(Diagnostic::error(Code::WrongType, member.span, message)
            .help("as in container_of(p, typeof(struct file), f_path)"));
    };
    let offset = c.offset_of(&of, &path, call.span)?;
    let e = c.expr(pointer)?;
    let space = match &e.ty {
        Type::Ptr { space, .. } => *space,
        Type::Int { .. } => Space::Kernel,
        other => {
            let message = format!("`{}` takes a pointer, not `{other}`", call.builtin.name);
            return Err(Diagnostic::error(Code::WrongType, pointer.span, message));
        }
    };
    let number = Expr { kind: ExprKind::Convert(Box::new(e)), ty: Type::U64, span: call.span };
    let kind = ExprKind::Arith { op: BinOp::Sub, left: Box::new(number), right: Box::new(offset) };
    let start = Expr { kind, ty: Type::U64, span: call.span };
    let ty = Type::Ptr { to: Box::new(to), space };
    Ok(Expr { kind: ExprKind::Convert(Box::new(start)), ty, span: call.span })
}

fn into_space(c: &mut Checker<'_>, call: &Call<'_>, space: Space) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let ty = match &e.ty {
        Type::Ptr { to, .. } => Type::Ptr { to: to.clone(), space },
        Type::Int { .. } => Type::Ptr { to: Box::new(Type::U8), space },
        other => {
            let message = format!("`{}` takes a pointer, not `{other}`", call.builtin.name);
            return Err(Diagnostic::error(Code::WrongType, arg.span, message));
        }
    };
    Ok(Expr { kind: ExprKind::Convert(Box::new(e)), ty, span: call.span })
}
