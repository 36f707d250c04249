//! Strings and buffers.

use super::{Allowed, Builtin, COMMON, Check, Side};
use crate::bundle::ProgType;
use crate::check::{Call, Checker, characters};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::glob;
use crate::intrinsic::Intrinsic;
use crate::kernel::Version;
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::{Space, Type};
use crate::uapi::helper;
use rtrace_grammar::ast::{self, BinOp};

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "str",
        signatures: &["str(pointer [, length])", "str($1)"],
        doc: "The string at an address, up to the configured length; a positional parameter as text.",
        example: "tracepoint:syscalls:sys_enter_openat { printf(\"%s\\n\", str(args.filename)) }",
        arity: (1, 2),
        helper: Some(helper::PROBE_READ_USER_STR),
        check: Check::Lowered(Intrinsic::Str, str),
        ..COMMON
    },
    Builtin {
        name: "buf",
        signatures: &["buf(pointer, length)", "buf(array)"],
        doc: "Bytes at an address, printed with %r.",
        example: "tracepoint:syscalls:sys_enter_write { printf(\"%r\\n\", buf(args.buf, args.count)) }",
        arity: (1, 2),
        helper: Some(helper::PROBE_READ_USER),
        check: Check::Lowered(Intrinsic::Buf, buf),
        ..COMMON
    },
    Builtin {
        name: "join",
        signatures: &["join(argv [, \"separator\"])"],
        doc: "The strings of a null-terminated array, joined; as a statement, prints them with a newline.",
        example: "tracepoint:syscalls:sys_enter_execve { @[tid] = join(args.argv) }",
        arity: (1, 2),
        helper: Some(helper::PROBE_READ_USER_STR),
        check: Check::Lowered(Intrinsic::Join, join),
        ..COMMON
    },
    Builtin {
        name: "strlen",
        signatures: &["strlen(string)"],
        doc: "The length of a string in bytes.",
        example: "tracepoint:syscalls:sys_enter_openat { @ = hist(strlen(str(args.filename))) }",
        arity: (1, 1),
        helper: Some(helper::PROBE_READ_KERNEL_STR),
        check: Check::Lowered(Intrinsic::Strlen, strlen),
        ..COMMON
    },
    Builtin {
        name: "strcap",
        signatures: &["strcap(string)"],
        doc: "The capacity of a string in bytes: an upper bound for its length.",
        example: "begin { print(strcap(comm)); exit() }",
        side: Side::Const,
        arity: (1, 1),
        check: Check::Value(strcap),
        ..COMMON
    },
    Builtin {
        name: "strncmp",
        signatures: &["strncmp(a, b, n)"],
        doc: "Compares at most n bytes of two strings: 0 if they are equal, otherwise another number.",
        example: "kprobe:vfs_read /strncmp(comm, \"ssh\", 3) == 0/ { @[comm] = count() }",
        arity: (3, 3),
        check: Check::Value(strncmp),
        ..COMMON
    },
    Builtin {
        name: "strstr",
        signatures: &["strstr(string, part)"],
        doc: "The position, from 0, at which a string first contains another one; -1 if it does not.",
        example: "tracepoint:syscalls:sys_enter_openat { @ = lhist(strstr(str(args.filename), \"/\"), 0, 64, 4) }",
        arity: (2, 2),
        helper: Some(helper::PROBE_READ_KERNEL),
        check: Check::Lowered(Intrinsic::Strstr, strstr),
        ..COMMON
    },
    Builtin {
        name: "strcontains",
        signatures: &["strcontains(string, part)"],
        doc: "Whether a string contains another one.",
        example: "tracepoint:syscalls:sys_enter_openat /strcontains(str(args.filename), \".so\")/ { @[comm] = count() }",
        arity: (2, 2),
        helper: Some(helper::PROBE_READ_KERNEL),
        check: Check::Value(strcontains),
        ..COMMON
    },
    Builtin {
        name: "globmatch",
        signatures: &["globmatch(string, \"pattern\")"],
        doc: "Whether a pattern matches the whole string: * matches any bytes, ? one byte, [a-z] one of a set, \
            [!a-z] one outside of it.",
        example: "kprobe:vfs_read /globmatch(comm, \"k*[0-9]\")/ { @[comm] = count() }",
        arity: (2, 2),
        helper: Some(helper::PROBE_READ_KERNEL),
        check: Check::Lowered(Intrinsic::Globmatch, globmatch),
        ..COMMON
    },
    Builtin {
        name: "write_user",
        signatures: &["write_user(pointer, value)", "write_user(address, source, n)"],
        doc: "Writes a value to the memory of the running process; returns 0 or a negative error number. With a \
            length, writes that many bytes of a value or of the memory behind a pointer; returns whether it \
            succeeded.",
        example: "uprobe:/bin/bash:readline { write_user((int8 *)arg0, \"> \") }",
        arity: (2, 3),
        unsafe_: true,
        helper: Some(helper::PROBE_WRITE_USER),
        check: Check::Lowered(Intrinsic::WriteUser, write_user),
        ..COMMON
    },
    Builtin {
        name: "str_concat",
        signatures: &["str_concat(a, b)"],
        doc: "The concatenation of two strings.",
        example: "tracepoint:syscalls:sys_enter_openat { @[str_concat(comm, \": open\")] = count() }",
        arity: (2, 2),
        helper: Some(helper::PROBE_READ_KERNEL_STR),
        check: Check::Lowered(Intrinsic::StrConcat, str_concat),
        ..COMMON
    },
    Builtin {
        name: "memcmp",
        signatures: &["memcmp(a, b, n)"],
        doc: "Compares n bytes of two values or of memory: 0 if they are equal, otherwise negative or positive \
            by the first difference.",
        example: "fentry:tcp_connect { if (memcmp(pton(\"127.0.0.1\"), args.sk, 4) == 0) { @ = count() } }",
        arity: (3, 3),
        helper: Some(helper::PROBE_READ_KERNEL),
        check: Check::Lowered(Intrinsic::Memcmp, memcmp),
        ..COMMON
    },
    Builtin {
        name: "path",
        signatures: &["path(path [, size])"],
        doc: "The full path of a `struct path`; the kernel allows this only in probes on a few functions, such as filp_close.",
        example: "fentry:filp_close { printf(\"%s\\n\", path(args.filp->f_path)) }",
        arity: (1, 2),
        allowed: Allowed::In(&[ProgType::Fentry, ProgType::Fexit, ProgType::Iter]),
        helper: Some(helper::D_PATH),
        check: Check::Lowered(Intrinsic::Path, path),
        ..COMMON
    },
];

/// Most bytes of the string that `strstr` looks for, NUL included: each eight cost an instruction or
/// two at every place of the other string.
const MAX_PART: u32 = 64;

/// The text of `$1`, or of `$1 + n`: from byte `n` on.
fn parameter(c: &mut Checker<'_>, e: &ast::Expr) -> Result<Option<String>> {
    let (n, skip) = match &e.kind {
        ast::ExprKind::Param(n) => (*n, 0),
        ast::ExprKind::Binary { op: ast::BinOp::Add, left, right } => match left.kind {
            ast::ExprKind::Param(n) => (n, c.constant(right, "the offset added to a parameter")?),
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let text = c.parameter_text(n);
    match usize::try_from(skip).ok().and_then(|s| text.get(s..)) {
        Some(rest) => Ok(Some(rest.to_owned())),
        None => {
            let message = format!("offset {skip} is out of bounds for parameter ${n}, `{text}`");
            Err(Diagnostic::error(Code::MissingParameter, e.span, message))
        }
    }
}

fn str(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    if let Some(text) = parameter(c, arg)? {
        return literal(c, call, intrinsic, text.as_bytes());
    }
    let e = c.expr(arg)?;
    let mut cap = c.options.string_cap();
    let mut most = c.options.max_strlen;
    let mut args = Vec::new();
    let e = match e.ty.clone() {
        Type::String { .. } if call.args.len() == 1 => return Ok(e),
        Type::String { .. } if matches!(e.kind, ExprKind::Bytes(_)) => {
            let ExprKind::Bytes(bytes) = &e.kind else { return Ok(e) };
            let text = bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec();
            return literal(c, call, intrinsic, &text);
        }
        // A character array in memory: its address.
        Type::String { .. } | Type::Array { .. } => match e.kind {
            ExprKind::Load { .. } => {
                let e = c.address_of(e, call.span)?;
                // An array that is full ends at its end; one of no length, or of one element, is longer in truth.
                if let Type::Ptr { to, .. } = &e.ty
                    && to.size() > 1
                {
                    most = most.min(to.size() + 1);
                    cap = cap.min(most);
                }
                e
            }
            _ if matches!(e.ty, Type::String { .. }) => e,
            _ => return Ok(e),
        },
        Type::Ptr { .. } => e,
        Type::Int { .. } | Type::Ksym => {
            let e = c.integer(e, "an address")?;
            let ty = Type::Ptr { to: Box::new(Type::I8), space: c.space_of(&e) };
            Expr { kind: ExprKind::Convert(Box::new(e)), ty, span: arg.span }
        }
        other => {
            return Err(Diagnostic::error(Code::WrongType, arg.span, format!("`str` takes an address, not `{other}`")));
        }
    };
    args.push(e);
    if let Some(len) = call.arg(1) {
        let len = c.expr(len)?;
        let len = c.integer(len, "the length of a string")?;
        match len.constant() {
            // The length counts the NUL, as in the reference.
            Some(n) if (1..=i64::from(most)).contains(&n) => cap = cap.min(n as u32),
            Some(n) if n > i64::from(most) => {}
            Some(0) => return Ok(crate::check::string(b"", call.span)),
            Some(n) => {
                return Err(Diagnostic::error(Code::BadValue, len.span, format!("invalid string length: {n} bytes")));
            }
            None => args.push(len),
        }
    }
    Ok(call.lowered(intrinsic, args, Type::String { cap }))
}

/// `str` of a text that is known: the length counts its bytes, without a NUL.
fn literal(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic, text: &[u8]) -> Result<Expr> {
    let whole = crate::check::string(text, call.span);
    let Some(len) = call.arg(1) else { return Ok(whole) };
    let len = c.expr(len)?;
    let len = c.integer(len, "the length of a string")?;
    match len.constant() {
        Some(n) => {
            let n = usize::try_from(n).unwrap_or(usize::MAX).min(text.len());
            Ok(crate::check::string(text.get(..n).unwrap_or_default(), call.span))
        }
        None => {
            let ty = whole.ty.clone();
            Ok(call.lowered(intrinsic, vec![whole, len], ty))
        }
    }
}

fn buf(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = match &arg.kind {
        // Bytes may be zero where characters may not.
        ast::ExprKind::Str(text) => {
            let ty = Type::String { cap: text.len() as u32 + 1 };
            Expr { kind: ExprKind::Bytes(text.clone()), ty, span: arg.span }
        }
        _ => characters(c.expr(arg)?),
    };
    let most = c.options.max_strlen.max(4) - 4;
    let length = call.arg(1).map(|l| c.expr(l).and_then(|l| c.integer(l, "the length of a buffer"))).transpose()?;
    let whole = match &e.ty {
        Type::Array { .. } | Type::String { .. } | Type::Record(_) => Some(e.ty.size()),
        Type::Ptr { .. } | Type::Int { .. } => None,
        other => {
            return Err(Diagnostic::error(
                Code::WrongType,
                arg.span,
                format!("`buf` takes an address or an array, not `{other}`"),
            ));
        }
    };
    let cap = match (length.as_ref().and_then(Expr::constant), whole) {
        (Some(n), _) if n < 0 => {
            return Err(Diagnostic::error(Code::BadValue, call.span, format!("invalid buffer length: {n} bytes")));
        }
        // What lies in our own memory ends where it ends.
        (Some(n), Some(size)) if !matches!(e.kind, ExprKind::Load { .. }) => {
            u32::try_from(n).unwrap_or(most).min(most).min(size)
        }
        (Some(n), _) => u32::try_from(n).unwrap_or(most).min(most),
        (None, Some(size)) => size.min(most),
        (None, None) if length.is_none() => {
            return Err(Diagnostic::error(
                Code::WrongArgumentCount,
                call.span,
                "`buf` needs a length when it is given an address",
            )
            .help("buf(pointer, length)"));
        }
        (None, None) => most,
    };
    let e = match (&e.ty, &e.kind) {
        (Type::Ptr { .. }, _) => e,
        (Type::Int { .. }, _) => {
            let e = c.integer(e, "an address")?;
            let ty = Type::Ptr { to: Box::new(Type::U8), space: c.space_of(&e) };
            Expr { kind: ExprKind::Convert(Box::new(e)), ty, span: arg.span }
        }
        (_, ExprKind::Load { .. }) => c.address_of(e, call.span)?,
        _ => e,
    };
    let length = length.unwrap_or_else(|| Expr::int(i64::from(cap), Type::U64, call.span));
    Ok(call.lowered(intrinsic, vec![e, length], Type::Buffer { cap: cap.max(1) }))
}

fn join(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let argv = match &e.ty {
        Type::Ptr { .. } => e,
        Type::Int { .. } => {
            let e = c.integer(e, "an address")?;
            let inner = Type::Ptr { to: Box::new(Type::I8), space: Space::User };
            let ty = Type::Ptr { to: Box::new(inner), space: Space::User };
            Expr { kind: ExprKind::Convert(Box::new(e)), ty, span: arg.span }
        }
        other => {
            return Err(Diagnostic::error(
                Code::WrongType,
                arg.span,
                format!("`join` takes an array of strings, not `{other}`"),
            ));
        }
    };
    let separator = match call.arg(1) {
        Some(s) => {
            let text = c.literal(s, "the separator")?;
            crate::check::string(&text, s.span)
        }
        None => crate::check::string(b" ", call.span),
    };
    if separator.ty.size() > 9 {
        return Err(Diagnostic::error(
            Code::BadValue,
            separator.span,
            "the separator is too long: at most 8 bytes are allowed",
        ));
    }
    let joined = call.lowered(intrinsic, vec![argv, separator], Type::String { cap: c.options.string_cap() });
    if call.statement {
        return Ok(c.print_line(joined, call.span));
    }
    Ok(joined)
}

/// An argument as a string: a string, or the one that a `char *` points to.
fn text(c: &mut Checker<'_>, call: &Call<'_>, arg: &ast::Expr) -> Result<Expr> {
    let e = c.expr(arg)?;
    let e = c.stringify(e)?;
    match &e.ty {
        Type::String { .. } => Ok(e),
        Type::ProbeName | Type::FuncName if matches!(e.kind, ExprKind::ProbeId) => {
            let name = c.own_name(&e.ty).to_owned();
            Ok(crate::check::string(name.as_bytes(), arg.span))
        }
        other => {
            let message = format!("`{}` takes strings, not `{other}`", call.builtin.name);
            let error = Diagnostic::error(Code::WrongType, arg.span, message).label(format!("this has type `{other}`"));
            Err(match other {
                Type::Int { .. } | Type::Ptr { .. } => {
                    error.help(format!("convert it to a string: str({})", c.text_of(arg.span)))
                }
                _ => error,
            })
        }
    }
}

fn strlen(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = text(c, call, arg)?;
    if let ExprKind::Bytes(text) = &e.kind {
        return Ok(Expr::int(text.len() as i64, Type::U64, call.span));
    }
    Ok(call.lowered(intrinsic, vec![e], Type::U64))
}

fn strcap(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let e = text(c, call, arg)?;
    let size = match &e.kind {
        ExprKind::Bytes(text) => text.len() as u32,
        _ => e.ty.size(),
    };
    Ok(Expr::int(i64::from(size), Type::I64, call.span))
}

/// Strings are padded with zeros, so that comparing the first bytes of both is comparing up to the NUL.
fn strncmp(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [a, b, limit] = call.args()?;
    let (a, b) = (text(c, call, a)?, text(c, call, b)?);
    let n = c.constant(limit, "the number of bytes")?;
    let Ok(n) = u32::try_from(n) else {
        let message = format!("invalid number of bytes to compare: {n}");
        return Err(Diagnostic::error(Code::BadValue, limit.span, message));
    };
    if let (ExprKind::Bytes(a), ExprKind::Bytes(b)) = (&a.kind, &b.kind) {
        let same = a.iter().take(n as usize).eq(b.iter().take(n as usize));
        return Ok(Expr::int(i64::from(!same), Type::I64, call.span));
    }
    let cap = a.ty.size().max(b.ty.size());
    let ty = Type::String { cap };
    let (a, b) = (c.coerce(a, &ty)?, c.coerce(b, &ty)?);
    if n == 0 {
        return Ok(Expr::int(0, Type::I64, call.span));
    }
    let kind = ExprKind::Equal { negate: true, len: n.min(cap), left: Box::new(a), right: Box::new(b) };
    let differ = Expr { kind, ty: Type::Bool, span: call.span };
    c.coerce(differ, &Type::I64)
}

fn strstr(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [whole, part] = call.args()?;
    let (whole, part) = (text(c, call, whole)?, text(c, call, part)?);
    if let (ExprKind::Bytes(whole), ExprKind::Bytes(part)) = (&whole.kind, &part.kind) {
        let found = if part.is_empty() { Some(0) } else { whole.windows(part.len()).position(|w| w == part) };
        return Ok(Expr::int(found.map_or(-1, |i| i as i64), Type::I64, call.span));
    }
    if part.ty.size() > MAX_PART {
        let message = format!("the string to search for is too long: at most {} bytes are allowed", MAX_PART - 1);
        let error = Diagnostic::error(Code::TooLarge, part.span, message).label(format!("this has type `{}`", part.ty));
        return Err(error.help(format!("pass str() a length of at most {MAX_PART}")));
    }
    Ok(call.lowered(intrinsic, vec![whole, part], Type::I64))
}

fn strcontains(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let at = strstr(c, call, Intrinsic::Strstr)?;
    c.compare(BinOp::Ge, at, Expr::int(0, Type::I64, call.span), call.span)
}

fn globmatch(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [whole, pattern] = call.args()?;
    let (whole, pattern) = (text(c, call, whole)?, text(c, call, pattern)?);
    let at = pattern.span;
    let ExprKind::Bytes(bytes) = &pattern.kind else {
        return Err(Diagnostic::error(Code::WrongType, at, "the pattern must be a string literal"));
    };
    let parsed = glob::parse(bytes);
    if parsed.0.len() > glob::MAX_ELEMENTS {
        let message = format!(
            "the pattern is too long: {} elements, but at most {} are allowed",
            parsed.0.len(),
            glob::MAX_ELEMENTS
        );
        return Err(Diagnostic::error(Code::TooLarge, at, message));
    }
    if let ExprKind::Bytes(whole) = &whole.kind {
        return Ok(Expr::int(i64::from(parsed.matches(whole)), Type::Bool, call.span));
    }
    // The verifier follows the loop byte by byte.
    let ranges = parsed.sets().iter().map(|(set, _)| set.ranges().len() as u32).sum::<u32>();
    let most = GLOB_STEPS / (10 + 10 * ranges);
    if whole.ty.size() > most {
        let message = format!("a string of {} bytes is too long for this pattern", whole.ty.size());
        return Err(Diagnostic::error(Code::TooLarge, whole.span, message)
            .note("the BPF verifier checks every byte of the string against every distinct character of the pattern")
            .help(format!("pass str() a length of at most {most}")));
    }
    Ok(call.lowered(intrinsic, vec![whole, pattern], Type::Bool))
}

fn write_user(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [to, value] = call.args()?;
    let at = to.span;
    let pointer = c.expr(to)?;
    let source = value.span;
    let value = characters(c.expr(value)?);
    if let Some(limit) = call.arg(2) {
        let address = matches!(pointer.ty, Type::Ptr { .. } | Type::Int { .. });
        if !address {
            let message = format!("`write_user` takes an address, not `{}`", pointer.ty);
            return Err(Diagnostic::error(Code::WrongType, at, message));
        }
        let n = byte_count(c, limit)?;
        has_bytes(&value, n, source)?;
        return Ok(call.lowered(intrinsic, vec![pointer, value, Expr::int(n, Type::I64, call.span)], Type::Bool));
    }
    let value = match &pointer.ty {
        Type::Ptr { to, .. } if to.is_scalar() && value.ty.is_scalar() => c.coerce(value, to)?,
        Type::Ptr { .. } if !value.ty.is_scalar() => value,
        Type::Ptr { to, .. } => {
            let message = format!("a value of type `{}` cannot be written to a `{to} *`", value.ty);
            return Err(Diagnostic::error(Code::WrongType, value.span, message).help("cast the pointer"));
        }
        other => {
            let message = format!(
                "`write_user` takes a typed pointer, not `{other}`: the type determines how many bytes are written"
            );
            return Err(Diagnostic::error(Code::WrongType, at, message).help("(uint32 *)arg0 writes four bytes"));
        }
    };
    if matches!(value.ty, Type::Void | Type::Agg(_) | Type::Stack(_)) {
        let message = format!("a value of type `{}` cannot be written", value.ty);
        return Err(Diagnostic::error(Code::WrongType, value.span, message));
    }
    Ok(call.lowered(intrinsic, vec![pointer, value], Type::I64))
}

fn str_concat(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [a, b] = call.args()?;
    let (a, b) = (text(c, call, a)?, text(c, call, b)?);
    if let (ExprKind::Bytes(a), ExprKind::Bytes(b)) = (&a.kind, &b.kind) {
        return Ok(crate::check::string(&[a.as_slice(), b.as_slice()].concat(), call.span));
    }
    let cap = (a.ty.size() + b.ty.size()).saturating_sub(1).min(c.options.string_cap());
    Ok(call.lowered(intrinsic, vec![a, b], Type::String { cap }))
}

/// Most instructions that the verifier follows for a `globmatch`, about: what is known to load on all kernels. A
/// string of 128 bytes with 13 characters in the pattern loads on 5.10, and was not done in 20 seconds on 6.12.
const GLOB_STEPS: u32 = 1_600;

/// Most bytes that `memcmp` compares and `write_user` writes.
const MOST_BYTES: i64 = 1024;

/// A number of bytes.
fn byte_count(c: &mut Checker<'_>, limit: &ast::Expr) -> Result<i64> {
    let n = c.constant(limit, "the number of bytes")?;
    if !(1..=MOST_BYTES).contains(&n) {
        let message = format!("the number of bytes must be 1 to {MOST_BYTES}, not {n}");
        return Err(Diagnostic::error(Code::BadValue, limit.span, message));
    }
    Ok(n)
}

/// Whether a value, or what it points to, has so many bytes.
fn has_bytes(e: &Expr, n: i64, span: Span) -> Result<()> {
    if matches!(e.ty, Type::Ptr { .. }) || i64::from(e.ty.size()) >= n {
        return Ok(());
    }
    let message = format!("a value of type `{}` has fewer than {n} bytes", e.ty);
    Err(Diagnostic::error(Code::WrongType, span, message)
        .help("use an array, a string or a structure of at least that size, or a pointer"))
}

fn memcmp(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [a, b, limit] = call.args()?;
    let n = byte_count(c, limit)?;
    let mut args = Vec::new();
    for side in [a, b] {
        let e = characters(c.expr(side)?);
        has_bytes(&e, n, side.span)?;
        args.push(e);
    }
    args.push(Expr::int(n, Type::I64, call.span));
    Ok(call.lowered(intrinsic, args, Type::I64))
}

fn path(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let [arg] = call.args()?;
    // 3d06f34aa89e
    if c.probe.prog_type == ProgType::Iter && c.kernel.machine.version() < Version(5, 12) {
        let message = "`path` in iterators requires Linux 5.12 or later";
        return Err(Diagnostic::error(Code::KernelLacks, call.span, message)
            .note(format!("this is Linux {}", c.kernel.machine.version()))
            .help("the file name without directories is in .f_path.dentry.d_name.name"));
    }
    let e = c.expr(arg)?;
    let e = match e.ty {
        Type::Record(_) => c.address_of(e, arg.span)?,
        _ => e,
    };
    if !matches!(&e.ty, Type::Ptr { to, .. } if matches!(&**to, Type::Record(r) if r.name == "struct path")) {
        let message = format!("`path` takes a `struct path *`, not `{}`", e.ty);
        return Err(Diagnostic::error(Code::WrongType, arg.span, message).help("for example args.filp->f_path"));
    }
    let mut cap = c.options.string_cap();
    if let Some(size) = call.arg(1) {
        let n = c.constant(size, "the size of a path")?;
        cap = u32::try_from(n).ok().filter(|n| (1..=cap).contains(n)).ok_or_else(|| {
            Diagnostic::error(
                Code::BadValue,
                size.span,
                format!("the size of a path must be 1 to {cap} bytes, not {n}"),
            )
        })?;
    }
    Ok(call.lowered(intrinsic, vec![e], Type::String { cap }))
}
