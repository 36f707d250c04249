//! `begin` and `end`: run once, in rtrace's own process, before the other probes are attached and
//! after they are gone.

use super::{Context, Listing, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;

pub static BEGIN: ProbeKind = ProbeKind {
    name: "begin",
    aliases: &["BEGIN"],
    form: "begin",
    doc: "Runs once before any other probe is attached.",
    example: "begin { printf(\"tracing\\n\"); exit() }",
    prog_type: ProgType::RawTracepoint,
    returns: false,
    path: None,
    listing: Listing::Kind,
    resolve: |spec, _| resolve(spec, Target::Begin),
};

pub static END: ProbeKind = ProbeKind {
    name: "end",
    aliases: &["END"],
    form: "end",
    doc: "Runs once after all other probes are detached, before the maps are printed.",
    example: "begin { exit() } end { printf(\"done\\n\") }",
    prog_type: ProgType::RawTracepoint,
    returns: false,
    path: None,
    listing: Listing::Kind,
    resolve: |spec, _| resolve(spec, Target::End),
};

fn resolve(spec: &Spec, target: Target) -> Result<Vec<Resolved>> {
    if !spec.parts.is_empty() {
        return Err(spec.malformed());
    }
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::RawTracepoint,
        target,
        name: spec.kind.name.into(),
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}
