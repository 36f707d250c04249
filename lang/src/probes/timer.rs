//! `interval` (one CPU) and `profile` (every CPU): timers.

use super::{Context, Listing, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Sampling, Target};
use crate::diag::Result;

pub static INTERVAL: ProbeKind = ProbeKind {
    name: "interval",
    aliases: &["i"],
    form: "interval:(s|ms|us|hz):COUNT or interval:DURATION",
    doc: "A timer that fires on one CPU.",
    example: "interval:s:1 { print(@); clear(@) } kprobe:vfs_read { @ = count() }",
    prog_type: ProgType::PerfEvent,
    returns: false,
    path: None,
    listing: Listing::Words(&["hz", "ms", "s", "us"]),
    resolve: |spec, _| resolve(spec, interval),
};

pub static PROFILE: ProbeKind = ProbeKind {
    name: "profile",
    aliases: &["p"],
    form: "profile:(hz|s|ms|us):COUNT or profile:DURATION",
    doc: "A timer that fires on every CPU, also inside the kernel.",
    example: "profile:hz:99 { @[kstack] = count() }",
    prog_type: ProgType::PerfEvent,
    returns: false,
    path: None,
    listing: Listing::Words(&["hz", "ms", "s", "us"]),
    resolve: |spec, _| resolve(spec, |sampling| Target::Profile { sampling }),
};

/// A timer on one CPU, of a period.
fn interval(sampling: Sampling) -> Target {
    let nanoseconds = match sampling {
        Sampling::Nanoseconds(n) => n,
        Sampling::Hertz(hz) => (1_000_000_000 / hz).max(1),
    };
    Target::Interval { nanoseconds }
}

fn resolve(spec: &Spec, target: fn(Sampling) -> Target) -> Result<Vec<Resolved>> {
    let sampling = match spec.parts.as_slice() {
        [duration] => period(duration),
        [unit, count] => super::count(count).and_then(|n| match unit.as_str() {
            "hz" => Some(Sampling::Hertz(n)),
            _ => n.checked_mul(nanoseconds(unit)?).map(Sampling::Nanoseconds),
        }),
        _ => None,
    };
    let sampling = sampling.ok_or_else(|| spec.malformed())?;
    // As the reference calls them: a duration in microseconds, a unit and a count as they are written.
    let name = match (&sampling, spec.parts.len()) {
        (Sampling::Nanoseconds(n), 1) if n % 1000 == 0 => format!("{}:us:{}", spec.kind.name, n / 1000),
        _ => format!("{}:{}", spec.kind.name, spec.parts.join(":")),
    };
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::PerfEvent,
        target: target(sampling),
        name,
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}

/// Nanoseconds of a unit.
fn nanoseconds(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        "us" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

/// A duration as one word, `10ms`; a bare number is nanoseconds.
fn period(text: &str) -> Option<Sampling> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let scale = if unit.is_empty() { 1 } else { nanoseconds(unit)? };
    let n = super::count(digits)?;
    n.checked_mul(scale).map(Sampling::Nanoseconds)
}
