//! `tracepoint`: static kernel tracepoints with the fields of their `format` file.

use super::{Context, Listing, ProbeKind, Resolved, Spec, is_glob};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::Kernel;
use std::rc::Rc;

pub static TRACEPOINT: ProbeKind = ProbeKind {
    name: "tracepoint",
    aliases: &["t"],
    form: "tracepoint:CATEGORY:NAME",
    doc: "A static tracepoint of the kernel; its fields are `args.NAME`.",
    example: "tracepoint:sched:sched_switch { @[args.next_comm] = count() }",
    prog_type: ProgType::Tracepoint,
    returns: false,
    path: None,
    listing: Listing::Tracepoints,
    resolve,
};

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let [category, name] = spec.parts.as_slice() else { return Err(spec.malformed()) };
    if category.is_empty() || name.is_empty() {
        return Err(spec.malformed());
    }
    let names = if is_glob(category) || is_glob(name) {
        kernel.tracepoints.tracepoints(category, name).map_err(|e| spec.unknowable(e))?
    } else {
        vec![(category.clone(), name.clone())]
    };
    let mut found = Vec::new();
    for (category, name) in names {
        let Some(tracepoint) = kernel.tracepoints.tracepoint(&category, &name).map_err(|e| spec.unknowable(e))? else {
            continue;
        };
        found.push(Resolved {
            kind: spec.kind,
            prog_type: ProgType::Tracepoint,
            name: format!("tracepoint:{category}:{name}"),
            function: String::new(),
            // Entries of system calls can be reached through their functions; returns cannot, for a call that waits
            // occupies a return probe, of which there are not enough.
            multi: category == "syscalls" && name.starts_with("sys_enter_"),
            target: Target::Tracepoint { category, name },
            context: Context::Tracepoint(Rc::new(tracepoint)),
        });
    }
    if found.is_empty() {
        if is_glob(category) || is_glob(name) {
            return Err(spec
                .missing(format!("no tracepoint matches `{category}:{name}`"))
                .help(format!("rtrace -l 'tracepoint:*{}*' lists similar ones", category.trim_matches('*'))));
        }
        let error = spec.missing(format!("the kernel has no tracepoint `{category}:{name}`"));
        return Err(match kernel.tracepoints.nearest_tracepoint(category, name) {
            Some((c, n)) => error.help(format!("did you mean `tracepoint:{c}:{n}`?")),
            None => error.help("rtrace -l 'tracepoint:*' lists all of them"),
        });
    }
    Ok(found)
}
