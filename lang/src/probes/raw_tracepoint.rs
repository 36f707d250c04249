//! `rawtracepoint`: a tracepoint's own arguments, before they are formatted. With type information the
//! program is a `tp_btf` one, whose pointers the kernel trusts; without, arguments are `argN`.

use super::{Context, ProbeKind, Resolved, Spec, is_pattern};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::Kernel;
use std::rc::Rc;

pub static RAWTRACEPOINT: ProbeKind = ProbeKind {
    name: "rawtracepoint",
    aliases: &["rt"],
    form: "rawtracepoint:[MODULE:]NAME",
    doc: "A tracepoint with the arguments that the kernel code passes to it.",
    example: "rawtracepoint:sched_switch { @[args.next->comm] = count() }",
    prog_type: ProgType::BtfTracepoint,
    resolve,
};

fn resolve(spec: &Spec, kernel: &dyn Kernel) -> Result<Vec<Resolved>> {
    let name = match spec.parts.as_slice() {
        [n] | [_, n] if !n.is_empty() => n.as_str(),
        _ => return Err(spec.malformed()),
    };
    let names = if is_pattern(name) {
        kernel.raw_tracepoints(name).map_err(|e| spec.unknowable(e))?
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
        let function = kernel.raw_tracepoint(&name).ok().flatten();
        let (prog_type, btf_id) = match &function {
            Some(f) => (ProgType::BtfTracepoint, Some(f.btf_id)),
            None => (ProgType::RawTracepoint, None),
        };
        found.push(Resolved {
            prog_type,
            name: format!("rawtracepoint:{name}"),
            function: String::new(),
            target: Target::RawTracepoint { name, btf_id },
            context: Context::RawTracepoint(function.map(Rc::new)),
            multi: false,
        });
    }
    Ok(found)
}
