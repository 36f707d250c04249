//! Clocks and times.

use super::{Builtin, COMMON, Check, Side};
use crate::bundle::Action;
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::kernel::Version;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use crate::uapi::helper;
use rtrace_grammar::ast;

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "nsecs",
        signatures: &["nsecs", "nsecs(boot|monotonic|tai|sw_tai)"],
        doc: "Nanoseconds since boot, including time in suspend, or of another clock.",
        example: "kprobe:vfs_read { @s[tid] = nsecs } kretprobe:vfs_read /@s[tid]/ { @ = hist(nsecs - @s[tid]) }",
        arity: (0, 1),
        helper: Some(helper::KTIME_GET_BOOT_NS),
        check: Check::Lowered(Intrinsic::Nsecs, nsecs),
        ..COMMON
    },
    Builtin {
        name: "elapsed",
        signatures: &["elapsed"],
        doc: "Nanoseconds since tracing started.",
        example: "interval:s:1 { printf(\"%d s\\n\", elapsed / 1000000000) }",
        helper: Some(helper::KTIME_GET_NS),
        check: Check::Simple(Intrinsic::Elapsed, &Type::U64),
        ..COMMON
    },
    Builtin {
        name: "jiffies",
        signatures: &["jiffies"],
        doc: "The kernel's count of clock ticks.",
        example: "interval:s:1 { printf(\"%d\\n\", jiffies) }",
        helper: Some(helper::JIFFIES64),
        check: Check::Simple(Intrinsic::Jiffies, &Type::U64),
        ..COMMON
    },
    Builtin {
        name: "time",
        signatures: &["time()", "time(\"format\")"],
        doc: "Prints the wall-clock time, by default as `%H:%M:%S` and a newline; formats as in strftime(3).",
        example: "interval:s:1 { time(\"%H:%M:%S \"); print(@); clear(@) } kprobe:vfs_read { @ = count() }",
        side: Side::User,
        arity: (0, 1),
        check: Check::Value(time),
        ..COMMON
    },
    Builtin {
        name: "strftime",
        signatures: &["strftime(\"format\", nsecs)"],
        doc: "A timestamp in nanoseconds since boot, as wall-clock time; `%f` gives microseconds.",
        example: "kprobe:vfs_read { printf(\"%s\\n\", strftime(\"%H:%M:%S.%f\", nsecs)) }",
        side: Side::User,
        arity: (2, 2),
        check: Check::Value(strftime),
        ..COMMON
    },
];

fn nsecs(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let clock = match call.arg(0) {
        None => 0,
        Some(ast::Expr { kind: ast::ExprKind::Ident(word), span }) => match word.as_str() {
            "boot" => 0,
            "monotonic" => 1,
            "tai" => 2,
            "sw_tai" => 3,
            other => {
                return Err(Diagnostic::error(Code::BadValue, *span, format!("unknown clock `{other}`"))
                    .note("clocks: boot, monotonic, tai, sw_tai"));
            }
        },
        Some(other) => {
            return Err(Diagnostic::error(
                Code::WrongType,
                other.span,
                "expected a clock: boot, monotonic, tai or sw_tai",
            ));
        }
    };
    if clock == 2 && c.kernel.machine.version() < Version(6, 1) {
        return Err(Diagnostic::error(
            Code::KernelLacks,
            call.span,
            format!("the tai clock is not supported on Linux {} (needs 6.1)", c.kernel.machine.version()),
        )
        .help("use nsecs(sw_tai), which computes it from the time since boot"));
    }
    c.tai |= clock == 3;
    Ok(call.lowered(intrinsic, vec![Expr::int(clock, Type::I64, call.span)], Type::U64))
}

fn time(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let format = match call.arg(0) {
        Some(a) => c.literal_text(a, "the format of `time`")?,
        None => "%H:%M:%S\n".to_owned(),
    };
    Ok(c.send(Action::Time { format }, Vec::new(), call.span))
}

fn strftime(c: &mut Checker<'_>, call: &Call<'_>) -> Result<Expr> {
    let [format, stamp] = call.args()?;
    let format = c.literal_text(format, "the format of `strftime`")?;
    let stamp = c.expr(stamp)?;
    let stamp = c.integer(stamp, "the timestamp")?;
    let index = match c.time_formats.iter().position(|f| *f == format) {
        Some(i) => i,
        None => {
            c.time_formats.push(format);
            c.time_formats.len() - 1
        }
    };
    Ok(Expr { kind: ExprKind::Convert(Box::new(stamp)), ty: Type::Timestamp { format: index as u32 }, span: call.span })
}
