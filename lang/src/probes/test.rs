//! `test` and `bench`: code that is run to see whether it works, and how long it takes. Without `--test` and `--bench`
//! scripts run as if there were none.

use super::{Context, Listing, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;

pub static TEST: ProbeKind = ProbeKind {
    name: "test",
    aliases: &[],
    form: "test:NAME",
    doc: "With --test: runs once, and fails if it returns or exits with a value other than 0.",
    example: "test:sum { if (1 + 1 != 2) { return 1 } } begin { exit() }",
    prog_type: ProgType::RawTracepoint,
    returns: false,
    path: None,
    listing: Listing::Kind,
    resolve: |spec, _| resolve(spec, |name| Target::Test { name }),
};

pub static BENCH: ProbeKind = ProbeKind {
    name: "bench",
    aliases: &[],
    form: "bench:NAME",
    doc: "With --bench: runs many times and prints how long a run takes.",
    example: "bench:count { @ = count() } begin { exit() }",
    prog_type: ProgType::RawTracepoint,
    returns: false,
    path: None,
    listing: Listing::Kind,
    resolve: |spec, _| resolve(spec, |name| Target::Bench { name }),
};

fn resolve(spec: &Spec, target: fn(String) -> Target) -> Result<Vec<Resolved>> {
    let [name] = spec.parts.as_slice() else { return Err(spec.malformed()) };
    if name.is_empty() {
        return Err(spec.malformed());
    }
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::RawTracepoint,
        target: target(name.clone()),
        name: format!("{}:{name}", spec.kind.name),
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}
