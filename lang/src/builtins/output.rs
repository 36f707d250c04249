//! Printing and ending.

use super::{Builtin, COMMON, Check, Side};
use crate::bundle::printf;
use crate::bundle::{Action, Conversion, Format, FormatSpec, Piece, Stream};
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::Feature;
use crate::source::Span;
use crate::typed::{Expr, ExprKind, Stmt, StmtKind};
use crate::types::Type;
use rtrace_grammar::ast;

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "printf",
        signatures: &["printf(\"format\", …)"],
        doc: "Prints values by a format string, as in C; %s prints every type.",
        example: "kprobe:vfs_read { printf(\"%s %d\\n\", comm, pid) }",
        side: Side::User,
        arity: (1, usize::MAX),
        check: Check::Value(|c, call| formatted(c, call, |format| Action::Printf { format, stream: Stream::Out })),
        ..COMMON
    },
    Builtin {
        name: "errorf",
        signatures: &["errorf(\"format\", …)"],
        doc: "Prints an error message with its location in the script.",
        example: "begin { errorf(\"bad value %d\\n\", 1); exit(1) }",
        side: Side::User,
        arity: (1, usize::MAX),
        check: Check::Value(|c, call| formatted(c, call, |format| Action::Printf { format, stream: Stream::Error })),
        ..COMMON
    },
    Builtin {
        name: "warnf",
        signatures: &["warnf(\"format\", …)"],
        doc: "Prints a warning with its location in the script.",
        example: "begin { warnf(\"odd value %d\\n\", 1); exit() }",
        side: Side::User,
        arity: (1, usize::MAX),
        check: Check::Value(|c, call| formatted(c, call, |format| Action::Printf { format, stream: Stream::Warning })),
        ..COMMON
    },
    Builtin {
        name: "system",
        signatures: &["system(\"format\", …)"],
        doc: "Runs a shell command and prints its standard output until it ends. Background jobs of the command keep running.",
        example: "interval:s:1 { system(\"date\") }",
        side: Side::User,
        arity: (1, usize::MAX),
        unsafe_: true,
        check: Check::Value(|c, call| formatted(c, call, |format| Action::System { format })),
        ..COMMON
    },
    Builtin {
        name: "cat",
        signatures: &["cat(\"format\", …)"],
        doc: "Prints a file.",
        example: "begin { cat(\"/proc/loadavg\"); exit() }",
        side: Side::User,
        arity: (1, usize::MAX),
        check: Check::Value(|c, call| formatted(c, call, |format| Action::Cat { format })),
        ..COMMON
    },
    Builtin {
        name: "print",
        signatures: &["print(value)", "print(@m [, top [, divisor]])", "print(@m[key])"],
        doc: "Prints a value as it is now, or a map as it is when the event is processed; of a map only the \
            `top` largest entries, divided by `divisor`.",
        example: "kprobe:vfs_read { @[comm] = count() } interval:s:1 { print(@, 5); clear(@) }",
        side: Side::User,
        arity: (1, 3),
        check: Check::Value(print),
        ..COMMON
    },
    Builtin {
        name: "exit",
        signatures: &["exit()", "exit(code)"],
        doc: "Ends tracing; end probes run and maps are printed.",
        example: "interval:s:5 { exit() }",
        side: Side::User,
        arity: (0, 1),
        check: Check::Value(exit),
        ..COMMON
    },
    Builtin {
        name: "unwatch",
        signatures: &["unwatch(address)"],
        doc: "Removes the watchpoints of an address.",
        example: "watchpoint:0x10000000:8:w { printf(\"first write\\n\"); unwatch(0x10000000) }",
        side: Side::User,
        arity: (1, 1),
        check: Check::Value(unwatch),
        ..COMMON
    },
    Builtin {
        name: "assert",
        signatures: &["assert(condition, \"message\")"],
        doc: "Ends tracing with an error message and exit code 1 unless the condition is true.",
        example: "kprobe:vfs_read { assert(arg2 < 1 << 30, \"a very long read\") }",
        side: Side::User,
        arity: (2, 2),
        check: Check::Value(assert),
        ..COMMON
    },
];

/// A call with a format string and values.
fn formatted(c: &mut Checker<'_>, call: &Call<'_>, action: fn(Format) -> Action) -> Result<Expr> {
    let [first] = call.args()?;
    let text = c.literal(first, "the format")?;
    let parsed = printf::parse(&text).map_err(|e| Diagnostic::error(Code::BadFormat, first.span, e.to_string()))?;
    let specs: Vec<FormatSpec> = parsed.specs().cloned().collect();
    let given = call.args.len() - 1;
    if specs.len() != given {
        let conversions = match specs.len() {
            0 => "no conversion specifiers".to_owned(),
            1 => "1 conversion specifier".to_owned(),
            n => format!("{n} conversion specifiers"),
        };
        let values = match given {
            0 => "no argument is".to_owned(),
            1 => "1 argument is".to_owned(),
            n => format!("{n} arguments are"),
        };
        let message = format!("the format string has {conversions}, but {values} given");
        return Err(Diagnostic::error(Code::BadFormat, call.span, message).help(if given > specs.len() {
            "add a conversion specifier such as %d or %s for each argument"
        } else {
            "each conversion specifier takes one argument; write %% for a literal percent sign"
        }));
    }
    let mut args = Vec::new();
    for (spec, arg) in specs.iter().zip(call.args.iter().skip(1)) {
        let e = c.expr(arg)?;
        let e = match (&e.ty, spec.conversion) {
            (Type::Ptr { .. }, Conversion::Str) => c.stringify(e)?,
            (Type::Agg(a), _) if a.is_number() => c.integer(e, "the value to print")?,
            _ => e,
        };
        let fits = spec.accepts(&e.ty) || (spec.conversion != Conversion::Str && is_number(&e.ty));
        if !fits {
            let error = Diagnostic::error(
                Code::BadFormat,
                arg.span,
                format!("{} cannot print a value of type `{}`", spec.name(), e.ty),
            )
            .label(format!("this has type `{}`", e.ty));
            return Err(if e.ty.is_scalar() { error.help("use %d or %s") } else { error.help("use %s") });
        }
        args.push(e);
    }
    Ok(c.send(action(parsed), args, call.span))
}

/// Scalars that print as numbers where a number is asked for.
fn is_number(ty: &Type) -> bool {
    matches!(ty, Type::Username | Type::Ksym | Type::CgroupPath | Type::Flags { .. } | Type::Timestamp { .. })
}

fn print(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [first] = call.args()?;
    let top = number(c, call.arg(1), "the number of entries")? as u32;
    let div = number(c, call.arg(2), "the divisor")?;
    if let ast::ExprKind::Map { name, key } = &first.kind {
        return match key {
            None => {
                let map = c.map_id(name, first.span);
                Ok(c.send(Action::PrintMap { map, top, div }, Vec::new(), call.span))
            }
            Some(_) => print_entry(c, call, first, top, div),
        };
    }
    if let Some(extra) = call.arg(1) {
        return Err(Diagnostic::error(
            Code::WrongArgumentCount,
            extra.span,
            "only maps can be printed with `top` and `divisor`",
        ));
    }
    let e = c.expr(first)?;
    if e.ty == Type::Void {
        return Err(Diagnostic::error(Code::WrongType, first.span, "this expression has no value to print"));
    }
    Ok(c.send(Action::PrintValue, vec![e], call.span))
}

/// `print(@m[key])`: the value that the entry has now. What a program cannot add up, or is to be divided, is read
/// when the event arrives.
fn print_entry(c: &mut Checker<'_>, call: &Call<'_>, first: &ast::Expr, top: u32, div: u64) -> Result<Expr> {
    let e = c.expr(first)?;
    let number = match &e.ty {
        Type::Agg(agg) if c.kernel.machine.has(Feature::PercpuLookup) => agg.figure(),
        Type::Agg(_) => None,
        ty => Some(ty.clone()),
    };
    match (number.filter(|_| div == 0), e.kind) {
        (None, ExprKind::MapGet { map, key } | ExprKind::AggGet { map, key }) => {
            let entry = (first.span.start, first.span.end);
            Ok(c.send(Action::PrintEntry { map, top, div, entry }, key.into_iter().map(|k| *k).collect(), call.span))
        }
        (number, kind) => {
            let e = Expr { kind, ty: number.unwrap_or(e.ty), span: e.span };
            Ok(c.send(Action::PrintValue, vec![e], call.span))
        }
    }
}

fn number(c: &mut Checker<'_>, arg: Option<&ast::Expr>, what: &str) -> Result<u64> {
    match arg {
        Some(a) => {
            let n = c.constant(a, what)?;
            u64::try_from(n).map_err(|_| {
                Diagnostic::error(Code::BadValue, a.span, format!("{what} must not be negative, found {n}"))
            })
        }
        None => Ok(0),
    }
}

fn exit(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let code = match call.arg(0) {
        Some(a) => {
            let e = c.expr(a)?;
            c.integer(e, "an exit code")?
        }
        None => Expr::int(0, Type::I64, call.span),
    };
    let code = c.coerce(code, &Type::I64)?;
    let stmts = end(c, code, call.span);
    Ok(c.effect(stmts, call.span))
}

/// Asks for the end, and ends the program.
fn end(c: &mut Checker<'_>, code: Expr, span: Span) -> Vec<Stmt> {
    let event = c.event(Action::Exit, vec![Type::I64], span);
    vec![Stmt { kind: StmtKind::Event { event, args: vec![code] }, span }, Stmt { kind: StmtKind::Leave, span }]
}

fn unwatch(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [arg] = call.args()?;
    let address = c.expr(arg)?;
    let address = c.integer(address, "an address")?;
    let address = c.coerce(address, &Type::U64)?;
    Ok(c.send(Action::Unwatch, vec![address], call.span))
}

fn assert(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [cond, message] = call.args()?;
    let span = call.span;
    let mut text = c.literal(message, "the message")?;
    text.push(b'\n');
    let cond = c.expr(cond)?;
    let cond = c.truth(cond)?;
    let action = Action::Printf { format: Format(vec![Piece::Text(text)]), stream: Stream::Error };
    let event = c.event(action, Vec::new(), span);
    let mut otherwise = vec![Stmt { kind: StmtKind::Event { event, args: Vec::new() }, span }];
    otherwise.extend(end(c, Expr::int(1, Type::I64, span), span));
    Ok(c.effect(vec![Stmt { kind: StmtKind::If { cond, then: Vec::new(), otherwise }, span }], span))
}

impl Checker<'_> {
    /// Prints a string and a new line: what `join` alone does.
    pub(crate) fn print_line(&mut self, e: Expr, span: Span) -> Expr {
        let spec = FormatSpec {
            minus: false,
            plus: false,
            space: false,
            zero: false,
            alternate: false,
            width: None,
            precision: None,
            length_bits: 0,
            conversion: Conversion::Str,
        };
        let format = Format(vec![Piece::Spec(spec), Piece::Text(b"\n".to_vec())]);
        debug_assert!(!matches!(e.kind, ExprKind::Block { .. }));
        self.send(Action::Printf { format, stream: Stream::Join }, vec![e], span)
    }
}
