//! `rawtracepoint`: a tracepoint's own arguments, before they are formatted. With type information the
//! program is a `tp_btf` one, whose pointers the kernel trusts; without, arguments are `argN`.

use super::{Context, Listing, ProbeKind, Resolved, Spec, is_glob};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::Kernel;
use rtrace_core::glob::Glob;
use std::rc::Rc;

pub static RAWTRACEPOINT: ProbeKind = ProbeKind {
    name: "rawtracepoint",
    aliases: &["rt"],
    form: "rawtracepoint:[MODULE:]NAME",
    doc: "A tracepoint with the arguments that the kernel code passes to it.",
    example: "rawtracepoint:sched_switch { @[args.next->comm] = count() }",
    prog_type: ProgType::BtfTracepoint,
    returns: false,
    path: None,
    listing: Listing::RawTracepoints,
    resolve,
};

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let (module, name) = match spec.parts.as_slice() {
        [n] if !n.is_empty() => ("*", n.as_str()),
        [m, n] if !n.is_empty() => (m.as_str(), n.as_str()),
        _ => return Err(spec.malformed()),
    };
    let modules = Glob::new(module);
    let names = if is_glob(name) {
        kernel.tracepoints.raw_tracepoints(name).map_err(|e| spec.unknowable(e))?
    } else {
        vec![name.to_owned()]
    };
    if names.is_empty() {
        return Err(spec
            .missing(format!("no raw tracepoint matches `{name}`"))
            .help("rtrace -l 'rawtracepoint:*' lists all of them"));
    }
    let mut found = Vec::new();
    for name in names {
        // Without BTF the tracepoint may still exist: the kernel says so when it is attached.
        let function = kernel.tracepoints.raw_tracepoint(&name).ok().flatten();
        let (prog_type, btf_id) = match &function {
            Some(f) => (ProgType::BtfTracepoint, Some(f.btf_id)),
            None => (ProgType::RawTracepoint, None),
        };
        let of = function.as_ref().and_then(|f| f.module.as_deref()).unwrap_or("vmlinux").to_owned();
        // What is not known is taken at its word.
        if function.is_some() && !modules.matches(of.as_bytes()) {
            continue;
        }
        found.push(Resolved {
            kind: spec.kind,
            prog_type,
            name: format!("rawtracepoint:{of}:{name}"),
            function: String::new(),
            target: Target::RawTracepoint { name, btf_id, module: function.as_ref().and_then(|f| f.module.clone()) },
            context: Context::RawTracepoint(function.map(Rc::new)),
            multi: false,
        });
    }
    if found.is_empty() {
        return Err(spec
            .missing(format!("module `{module}` has no raw tracepoint `{name}`"))
            .help("rtrace -l 'rawtracepoint:*' lists all of them"));
    }
    Ok(found)
}
