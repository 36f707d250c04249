//! Functions assigned to maps that sum events up.

use super::{Builtin, COMMON, Check};
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::types::Agg;

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
        doc: "Adds the values up.",
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
        doc: "A histogram with buckets of powers of two, each split into 2^bits (0 to 5).",
        example: "tracepoint:syscalls:sys_enter_read { @bytes = hist(args.count) }",
        arity: (1, 2),
        check: Check::Aggregate(hist),
        ..COMMON
    },
    Builtin {
        name: "lhist",
        signatures: &["@m = lhist(n, min, max, step)"],
        doc: "A histogram with buckets of equal size from min to max.",
        example: "tracepoint:syscalls:sys_enter_read { @bytes = lhist(args.count, 0, 1000, 100) }",
        arity: (4, 4),
        check: Check::Aggregate(lhist),
        ..COMMON
    },
];

fn value(c: &mut Checker<'_>, call: &Call<'_>, agg: fn(bool) -> Agg) -> Result<(Agg, Option<crate::typed::Expr>)> {
    let Some(arg) = call.arg(0) else { return Ok((agg(true), None)) };
    let e = c.expr(arg)?;
    let e = c.integer(e, &format!("the value of `{}`", call.builtin.name))?;
    Ok((agg(e.ty.is_signed()), Some(e)))
}

fn hist(c: &mut Checker<'_>, call: &Call<'_>) -> Result<(Agg, Option<crate::typed::Expr>)> {
    let bits = match call.arg(1) {
        Some(b) => {
            let bits = c.constant(b, "the number of bits")?;
            u8::try_from(bits).ok().filter(|b| *b <= 5).ok_or_else(|| {
                Diagnostic::error(Code::BadValue, b.span, format!("hist splits buckets by 0 to 5 bits, not {bits}"))
            })?
        }
        None => 0,
    };
    let (_, value) = value(c, call, |_| Agg::Count)?;
    Ok((Agg::Hist { bits }, value))
}

fn lhist(c: &mut Checker<'_>, call: &Call<'_>) -> Result<(Agg, Option<crate::typed::Expr>)> {
    let mut numbers = [0i64; 3];
    for (slot, (index, what)) in
        numbers.iter_mut().zip([(1, "the smallest value"), (2, "the largest value"), (3, "the step")])
    {
        if let Some(arg) = call.arg(index) {
            *slot = c.constant(arg, what)?;
        }
    }
    let [min, max, step] = numbers;
    let wrong = |text: String| {
        Err(Diagnostic::error(Code::BadValue, call.span, text).help("lhist(n, 0, 1000, 100) has ten buckets of 100"))
    };
    if step <= 0 {
        return wrong(format!("the step is {step}; it must be above zero"));
    }
    if max <= min {
        return wrong(format!("the range {min} to {max} is empty"));
    }
    let buckets = crate::hist::linear_buckets(min, max, step);
    if buckets > 1002 {
        return wrong(format!("this makes {} buckets; at most 1000 are possible", buckets - 2));
    }
    if max.checked_sub(min).is_none() {
        return wrong("the range is too wide".into());
    }
    let (_, value) = value(c, call, |_| Agg::Count)?;
    Ok((Agg::Lhist { min, max, step }, value))
}
