//! `begin` and `end`: run once, in rtrace's own process, before the other probes are attached and
//! after they are gone.

use super::{Context, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::Kernel;

pub static BEGIN: ProbeKind = ProbeKind {
    name: "begin",
    aliases: &["BEGIN"],
    form: "begin",
    doc: "Runs once before any other probe is attached.",
    example: "begin { printf(\"tracing\\n\"); exit() }",
    prog_type: ProgType::RawTracepoint,
    resolve,
};

pub static END: ProbeKind = ProbeKind {
    name: "end",
    aliases: &["END"],
    form: "end",
    doc: "Runs once after all other probes are detached, before the maps are printed.",
    example: "begin { exit() } end { printf(\"done\\n\") }",
    prog_type: ProgType::RawTracepoint,
    resolve,
};

fn resolve(spec: &Spec, _: Kernel<'_>) -> Result<Vec<Resolved>> {
    if !spec.parts.is_empty() {
        return Err(spec.malformed());
    }
    let (target, name) = if spec.kind == "begin" { (Target::Begin, "begin") } else { (Target::End, "end") };
    Ok(vec![Resolved {
        prog_type: ProgType::RawTracepoint,
        target,
        name: name.into(),
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}
