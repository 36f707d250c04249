//! `software` and `hardware`: events counted by the kernel or the processor, a program run each time the
//! count grows by the period. Numbers are those of `linux/perf_event.h`.

use super::{Context, Listing, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use rtrace_core::nearest::nearest;

pub static SOFTWARE: ProbeKind = ProbeKind {
    name: "software",
    aliases: &["s"],
    form: "software:EVENT[:COUNT]",
    doc: "Every COUNT-th occurrence of a software event of the kernel.",
    example: "software:page-faults:100 { @[comm] = count() }",
    prog_type: ProgType::PerfEvent,
    returns: false,
    path: None,
    listing: Listing::Events(SOFTWARE_EVENTS),
    resolve: |spec, _| resolve(spec, 1, SOFTWARE_EVENTS),
};

pub static HARDWARE: ProbeKind = ProbeKind {
    name: "hardware",
    aliases: &["h"],
    form: "hardware:EVENT[:COUNT]",
    doc: "Every COUNT-th event of a hardware counter of the CPU.",
    example: "hardware:cache-misses:1000000 { @[comm] = count() }",
    prog_type: ProgType::PerfEvent,
    returns: false,
    path: None,
    listing: Listing::Events(HARDWARE_EVENTS),
    resolve: |spec, _| resolve(spec, 0, HARDWARE_EVENTS),
};

/// A perf event: name, alias, number, default period.
pub type PerfEvent = (&'static str, &'static str, u64, u64);

/// Software events (`PERF_TYPE_SOFTWARE` is 1).
pub static SOFTWARE_EVENTS: &[PerfEvent] = &[
    ("alignment-faults", "", 7, 1),
    ("bpf-output", "", 10, 1),
    ("context-switches", "cs", 3, 1000),
    ("cpu-clock", "cpu", 0, 1_000_000),
    ("cpu-migrations", "", 4, 1),
    ("dummy", "", 9, 1),
    ("emulation-faults", "", 8, 1),
    ("major-faults", "", 6, 1),
    ("minor-faults", "", 5, 100),
    ("page-faults", "faults", 2, 100),
    ("task-clock", "", 1, 1_000_000),
];

/// Hardware events (`PERF_TYPE_HARDWARE` is 0).
pub static HARDWARE_EVENTS: &[PerfEvent] = &[
    ("backend-stalls", "", 8, 1_000_000),
    ("branch-instructions", "branches", 4, 100_000),
    ("branch-misses", "", 5, 100_000),
    ("bus-cycles", "", 6, 100_000),
    ("cache-misses", "", 3, 1_000_000),
    ("cache-references", "", 2, 1_000_000),
    ("cpu-cycles", "cycles", 0, 1_000_000),
    ("frontend-stalls", "", 7, 1_000_000),
    ("instructions", "", 1, 1_000_000),
    ("ref-cycles", "", 9, 1_000_000),
];

fn resolve(spec: &Spec, perf_type: u32, events: &[PerfEvent]) -> Result<Vec<Resolved>> {
    let (name, count) = match spec.parts.as_slice() {
        [n] => (n, None),
        [n, c] if c.is_empty() => (n, None),
        [n, c] => (n, Some(super::count(c).ok_or_else(|| spec.malformed())?)),
        _ => return Err(spec.malformed()),
    };
    let Some(&(_, _, config, default)) = events.iter().find(|e| e.0 == name || (!e.1.is_empty() && e.1 == name)) else {
        let names: Vec<&str> = events.iter().map(|e| e.0).collect();
        let error = spec.missing(format!("unknown {} event `{name}`", spec.kind.name));
        return Err(match nearest(name, names.iter().copied()) {
            Some(n) => error.help(format!("did you mean `{}:{n}`?", spec.kind.name)),
            None => error.note(format!("events: {}", names.join(", "))),
        });
    };
    let period = count.unwrap_or(default);
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::PerfEvent,
        target: Target::PerfEvent { perf_type, config, period },
        name: format!("{}:{name}:{period}", spec.kind.name),
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}
