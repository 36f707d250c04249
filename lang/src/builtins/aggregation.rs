//! Functions assigned to maps that sum events up.

use super::{Builtin, COMMON, Check};
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::typed::ExprKind;
use crate::types::{Agg, Series};
use crate::uapi::helper;

pub(super) static ROWS: &[Builtin] = &[
    Builtin {
        name: "count",
        signatures: &["@m = count()"],
        doc: "Counts how often it is reached.",
        example: "kprobe:vfs_read { @[comm] = count() }",
        check: Check::Aggregate(|_, _| Ok((Agg::Count, None))),
        ..COMMON
    },
    Builtin {
        name: "sum",
        signatures: &["@m = sum(n)"],
        doc: "The sum of the values.",
        example: "tracepoint:syscalls:sys_enter_read { @bytes[comm] = sum(args.count) }",
        arity: (1, 1),
        check: Check::Aggregate(|c, call| value(c, call, |signed| Agg::Sum { signed })),
        ..COMMON
    },
    Builtin {
        name: "avg",
        signatures: &["@m = avg(n)"],
        doc: "The average of the values.",
        example: "tracepoint:syscalls:sys_enter_read { @bytes[comm] = avg(args.count) }",
        arity: (1, 1),
        check: Check::Aggregate(|c, call| value(c, call, |signed| Agg::Avg { signed })),
        ..COMMON
    },
    Builtin {
        name: "stats",
        signatures: &["@m = stats(n)"],
        doc: "Count, average and total of the values.",
        example: "tracepoint:syscalls:sys_enter_read { @bytes[comm] = stats(args.count) }",
        arity: (1, 1),
        check: Check::Aggregate(|c, call| value(c, call, |signed| Agg::Stats { signed })),
        ..COMMON
    },
    Builtin {
        name: "min",
        signatures: &["@m = min(n)"],
        doc: "The smallest of the values.",
        example: "tracepoint:syscalls:sys_enter_read { @bytes[comm] = min(args.count) }",
        arity: (1, 1),
        check: Check::Aggregate(|c, call| value(c, call, |signed| Agg::Min { signed })),
        ..COMMON
    },
    Builtin {
        name: "max",
        signatures: &["@m = max(n)"],
        doc: "The largest of the values.",
        example: "tracepoint:syscalls:sys_enter_read { @bytes[comm] = max(args.count) }",
        arity: (1, 1),
        check: Check::Aggregate(|c, call| value(c, call, |signed| Agg::Max { signed })),
        ..COMMON
    },
    Builtin {
        name: "hist",
        signatures: &["@m = hist(n [, bits])"],
        doc: "A histogram with power-of-two buckets, each split into 2^bits (0 to 5).",
        example: "tracepoint:syscalls:sys_enter_read { @bytes = hist(args.count) }",
        arity: (1, 2),
        check: Check::Aggregate(hist),
        ..COMMON
    },
    Builtin {
        name: "lhist",
        signatures: &["@m = lhist(n, min, max, step)"],
        doc: "A linear histogram from min to max with buckets of size step.",
        example: "tracepoint:syscalls:sys_enter_read { @bytes = lhist(args.count, 0, 1000, 100) }",
        arity: (4, 4),
        check: Check::Aggregate(lhist),
        ..COMMON
    },
    Builtin {
        name: "quantiles",
        signatures: &["@m = quantiles(n [, percentile…])"],
        doc: "Percentiles of the values, by default 50, 95 and 99 (\"99.9\" in quotes), each within 1.6 % of the true value.",
        example: "kprobe:vfs_read { @s[tid] = nsecs } kretprobe:vfs_read /@s[tid]/ { @ns[comm] = quantiles(nsecs - @s[tid], 50, 99, \"99.9\") }",
        arity: (1, 17),
        check: Check::Aggregate(quantiles),
        ..COMMON
    },
    Builtin {
        name: "tseries",
        signatures: &["@m = tseries(n, interval, intervals [, \"avg\"|\"max\"|\"min\"|\"sum\"])"],
        doc: "A time series of the latest intervals; by default, each has its last value.",
        example: "tracepoint:syscalls:sys_enter_read { @ = tseries(args.count, 100ms, 20, \"sum\") }",
        arity: (3, 4),
        helper: Some(helper::KTIME_GET_BOOT_NS),
        check: Check::Aggregate(tseries),
        ..COMMON
    },
];

fn value(c: &mut Checker<'_>, call: &Call<'_>, agg: fn(bool) -> Agg) -> Result<(Agg, Option<crate::typed::Expr>)> {
    let [arg] = call.args()?;
    let e = c.expr(arg)?;
    let e = c.integer(e, &format!("the value of `{}`", call.builtin.name))?;
    Ok((agg(e.ty.is_signed()), Some(e)))
}

fn hist(c: &mut Checker<'_>, call: &Call<'_>) -> Result<(Agg, Option<crate::typed::Expr>)> {
    let bits = match call.arg(1) {
        Some(b) => {
            let bits = c.constant(b, "the number of bits")?;
            u8::try_from(bits).ok().filter(|b| *b <= 5).ok_or_else(|| {
                Diagnostic::error(Code::BadValue, b.span, format!("the number of bits must be 0 to 5, not {bits}"))
            })?
        }
        None => 0,
    };
    let (_, value) = value(c, call, |_| Agg::Count)?;
    Ok((Agg::Hist { bits }, value))
}

fn lhist(c: &mut Checker<'_>, call: &Call<'_>) -> Result<(Agg, Option<crate::typed::Expr>)> {
    let [_, min, max, step] = call.args()?;
    let min = c.constant(min, "the smallest value")?;
    let max = c.constant(max, "the largest value")?;
    let step = c.constant(step, "the step")?;
    let wrong = |text: String| {
        Err(Diagnostic::error(Code::BadValue, call.span, text)
            .help("for example, lhist(n, 0, 1000, 100) has ten buckets of 100"))
    };
    if step <= 0 {
        return wrong(format!("the step must be greater than 0, not {step}"));
    }
    if max <= min {
        return wrong(format!("the range {min} to {max} is empty"));
    }
    let buckets = crate::hist::linear_buckets(min, max, step);
    if buckets > 1002 {
        return wrong(format!("too many buckets: expected at most 1000, found {}", buckets - 2));
    }
    if max.checked_sub(min).is_none() {
        return wrong("the range is too wide".into());
    }
    let (_, value) = value(c, call, |_| Agg::Count)?;
    Ok((Agg::Lhist { min, max, step }, value))
}

fn quantiles(c: &mut Checker<'_>, call: &Call<'_>) -> Result<(Agg, Option<crate::typed::Expr>)> {
    let mut percentiles = Vec::new();
    for arg in call.args.iter().skip(1) {
        let wrong = |text: &str| {
            Diagnostic::error(Code::BadValue, arg.span, format!("`{text}` is not a percentile"))
                .help("use numbers from 0 to 100, and quote those with a decimal point: quantiles(n, 50, 99, \"99.9\")")
        };
        let thousandths = match c.expr(arg)?.kind {
            ExprKind::Int(n) => u32::try_from(n).ok().filter(|n| *n <= 100).map(|n| n * 1000),
            ExprKind::Bytes(text) => std::str::from_utf8(&text).ok().and_then(crate::hist::parse_percentile),
            _ => return Err(Diagnostic::error(Code::WrongType, arg.span, "a percentile must be a constant")),
        };
        percentiles.push(thousandths.ok_or_else(|| wrong(c.sources.text(arg.span)))?);
    }
    if percentiles.is_empty() {
        percentiles = vec![50_000, 95_000, 99_000];
    }
    let (_, value) = value(c, call, |_| Agg::Count)?;
    Ok((Agg::Quantiles { percentiles }, value))
}

/// Most intervals of a time series: the kernel keeps at most 32 KiB per CPU in one place.
const MAX_INTERVALS: i64 = 1300;

fn tseries(c: &mut Checker<'_>, call: &Call<'_>) -> Result<(Agg, Option<crate::typed::Expr>)> {
    c.feature("unstable_tseries", "`tseries`", call.span)?;
    let [_, interval, intervals] = call.args()?;
    let mut numbers = [1i64; 2];
    let limits = [
        (1, interval, "the length of an interval", i64::MAX),
        (2, intervals, "the number of intervals", MAX_INTERVALS),
    ];
    for (slot, (index, arg, what, most)) in numbers.iter_mut().zip(limits) {
        *slot = c.constant(arg, what)?;
        if !(1..=most).contains(slot) {
            let error = |allowed: &str| {
                Diagnostic::error(Code::BadValue, arg.span, format!("{what} must be {allowed}, not {slot}"))
            };
            return Err(match index {
                1 => error("at least 1 nanosecond").help("use a duration such as 100ms or 1s"),
                _ => error(&format!("1 to {most}")).note("the kernel limits them to 32 KiB per CPU"),
            });
        }
    }
    let of = match call.arg(3) {
        None => Series::Last,
        Some(arg) => match c.literal_text(arg, "the aggregation of intervals")?.as_str() {
            "avg" => Series::Avg,
            "max" => Series::Max,
            "min" => Series::Min,
            "sum" => Series::Sum,
            other => {
                return Err(Diagnostic::error(
                    Code::BadValue,
                    arg.span,
                    format!("unknown aggregation of intervals `{other}`"),
                )
                .help("use avg, max, min or sum; without one, each interval keeps its last value"));
            }
        },
    };
    let (_, value) = value(c, call, |_| Agg::Count)?;
    let signed = value.as_ref().is_none_or(|v| v.ty.is_signed());
    let [interval, intervals] = numbers;
    Ok((Agg::Tseries { interval: interval as u64, intervals: intervals as u32, of, signed }, value))
}
