//! `self`: what happens to rtrace's own process.

use super::{Context, Listing, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Target};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::Kernel;

pub static SELF: ProbeKind = ProbeKind {
    name: "self",
    aliases: &[],
    form: "self:signal:(SIGUSR1|SIGUSR2)",
    doc: "Runs when the rtrace process receives the signal.",
    example: "self:signal:SIGUSR1 { print(@) } kprobe:vfs_read { @[comm] = count() }",
    prog_type: ProgType::RawTracepoint,
    returns: false,
    path: None,
    listing: Listing::Signals,
    resolve,
};

/// Signals that mean nothing to rtrace otherwise, with their numbers on x86 and arm64.
pub static SIGNALS: &[(&str, i32)] = &[("SIGUSR1", 10), ("SIGUSR2", 12)];

fn resolve(spec: &Spec, _: Kernel<'_>) -> Result<Vec<Resolved>> {
    let [what, name] = spec.parts.as_slice() else { return Err(spec.malformed()) };
    if what != "signal" {
        return Err(spec.malformed());
    }
    let Some((name, number)) = SIGNALS.iter().find(|s| s.0 == name) else {
        let names: Vec<&str> = SIGNALS.iter().map(|s| s.0).collect();
        let message = format!("`self` does not support the signal `{name}`");
        let error = Diagnostic::error(Code::BadTarget, spec.span, message);
        return Err(match name.as_str() {
            "SIGINT" | "SIGTERM" => error.help("this signal ends rtrace: use an `end` probe"),
            _ => error.note(format!("supported signals: {}", names.join(", "))),
        });
    };
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::RawTracepoint,
        target: Target::Signal { number: *number },
        name: format!("self:signal:{name}"),
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}
