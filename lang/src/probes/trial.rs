//! `test` and `bench`: code that is run to see whether it works, and how long it takes. Without `--test` and `--bench`
//! scripts run as if there were none.

use super::{Context, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::Kernel;

pub static TEST: ProbeKind = ProbeKind {
    name: "test",
    aliases: &[],
    form: "test:NAME",
    doc: "With --test: runs once, and fails if it returns or exits with a value other than 0.",
    example: "test:sum { if (1 + 1 != 2) { return 1 } } begin { exit() }",
    prog_type: ProgType::RawTracepoint,
    resolve,
};

pub static BENCH: ProbeKind = ProbeKind {
    name: "bench",
    aliases: &[],
    form: "bench:NAME",
    doc: "With --bench: runs many times and prints how long a run takes.",
    example: "bench:count { @ = count() } begin { exit() }",
    prog_type: ProgType::RawTracepoint,
    resolve,
};

fn resolve(spec: &Spec, _: Kernel<'_>) -> Result<Vec<Resolved>> {
    let [name] = spec.parts.as_slice() else { return Err(spec.malformed()) };
    if name.is_empty() {
        return Err(spec.malformed());
    }
    let target = match spec.kind {
        "test" => Target::Test { name: name.clone() },
        _ => Target::Bench { name: name.clone() },
    };
    Ok(vec![Resolved {
        prog_type: ProgType::RawTracepoint,
        target,
        name: format!("{}:{name}", spec.kind),
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}
