//! `iter`: the kernel's own loops over its objects, a program run for each.

use super::{Context, Listing, ProbeKind, Resolved, Spec};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::{Kernel, Version};
use rtrace_core::nearest::nearest;
use std::rc::Rc;

pub static ITER: ProbeKind = ProbeKind {
    name: "iter",
    aliases: &["it"],
    form: "iter:KIND[:PIN]",
    doc: "Runs once for each kernel object of a kind. With PIN, the program stays loaded and runs whenever that file is read.",
    example: "iter:task { printf(\"%d %s\\n\", ctx.task.pid, ctx.task.comm) }",
    prog_type: ProgType::Iter,
    returns: false,
    path: Some(1),
    listing: Listing::Iterators,
    resolve,
};

/// The directory of a pin that is not an absolute path.
const BPF_FILES: &str = "/sys/fs/bpf";

/// Kinds by the first kernel that has them.
const SINCE: &[(&str, Version)] = &[
    ("task", Version(5, 8)),
    ("task_file", Version(5, 8)),
    ("bpf_map", Version(5, 8)),
    ("ipv6_route", Version(5, 8)),
    ("netlink", Version(5, 8)),
    ("bpf_map_elem", Version(5, 9)),
    ("bpf_prog", Version(5, 9)),
    ("bpf_sk_storage_map", Version(5, 9)),
    ("tcp", Version(5, 9)),
    ("udp", Version(5, 9)),
    ("sockmap", Version(5, 10)),
    ("task_vma", Version(5, 12)),
    ("unix", Version(5, 15)),
    ("bpf_link", Version(5, 19)),
    ("ksym", Version(6, 0)),
    ("cgroup", Version(6, 1)),
    ("kmem_cache", Version(6, 13)),
    ("dmabuf", Version(6, 16)),
];

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let (kind, pin) = match spec.parts.as_slice() {
        [kind] => (kind, None),
        [kind, pin] if !pin.is_empty() => (kind, Some(pin)),
        _ => return Err(spec.malformed()),
    };
    if kind.is_empty() {
        return Err(spec.malformed());
    }
    let function =
        kernel.functions.function(&format!("bpf_iter_{kind}"), Some("vmlinux")).map_err(|e| spec.unknowable(e))?;
    let there = kernel.tracepoints.iterators().map_err(|e| spec.unknowable(e))?;
    let Some(function) = function.filter(|_| there.contains(kind)) else {
        if let Some((_, since)) = SINCE.iter().find(|s| s.0 == kind && s.1 > kernel.machine.version()) {
            let message =
                format!("iterator `{kind}` is not supported on Linux {} (needs {since})", kernel.machine.version());
            return Err(spec.missing(message));
        }
        let error = spec.missing(format!("this kernel has no iterator `{kind}`"));
        return Err(match nearest(kind, there.iter().map(String::as_str)) {
            Some(n) => error.help(format!("did you mean `iter:{n}`?")),
            None => error.note(format!("iterators: {}", there.join(", "))),
        });
    };
    let pin = pin.map(|p| if p.starts_with('/') { p.clone() } else { format!("{BPF_FILES}/{p}") });
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::Iter,
        target: Target::Iter { kind: kind.clone(), btf_id: function.btf_id, pin },
        name: format!("{}:{}", spec.kind.name, spec.parts.join(":")),
        function: String::new(),
        context: Context::Iter(Rc::new(function)),
        multi: false,
    }])
}
