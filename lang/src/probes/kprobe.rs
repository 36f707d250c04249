//! `kprobe` and `kretprobe`: any traceable instruction of a kernel function, or its return.
//!
//! Whether a single function exists is left to the kernel, which answers when it is attached: reading
//! the list of all functions would cost more than everything else. Patterns read that list.

use super::{Context, Listing, ProbeKind, Resolved, Spec, is_glob};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::{FunctionName, Kernel};

pub static KPROBE: ProbeKind = ProbeKind {
    name: "kprobe",
    aliases: &["k"],
    form: "kprobe:[MODULE:]FUNCTION[+OFFSET] or kprobe:ADDRESS",
    doc: "Entry of a kernel function, or an instruction in it.",
    example: "kprobe:vfs_read { @[comm] = count() }",
    prog_type: ProgType::Kprobe,
    returns: false,
    path: None,
    listing: Listing::Functions,
    resolve,
};

pub static KRETPROBE: ProbeKind = ProbeKind {
    name: "kretprobe",
    aliases: &["kr"],
    form: "kretprobe:[MODULE:]FUNCTION",
    doc: "Return of a kernel function.",
    example: "kretprobe:vfs_read { @ = hist(retval) }",
    prog_type: ProgType::Kprobe,
    returns: true,
    path: None,
    listing: Listing::Functions,
    resolve,
};

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let ret = spec.kind.returns;
    let (module, function) = match spec.parts.as_slice() {
        [f] => (None, f.as_str()),
        [m, f] => (Some(m.as_str()), f.as_str()),
        _ => return Err(spec.malformed()),
    };
    let (function, offset) = match function.split_once('+') {
        None => (function, 0),
        Some((f, o)) => (f, number(o).ok_or_else(|| spec.malformed())?),
    };
    let address = function.starts_with("0x");
    let misplaced = offset != 0 && (ret || is_glob(function));
    if function.is_empty() || misplaced || (address && (module.is_some() || number(function).is_none())) {
        return Err(spec.malformed());
    }
    let names = if is_glob(function) || module.is_some_and(is_glob) {
        let found = kernel.functions.traceable_functions(module, function).map_err(|e| spec.unknowable(e))?;
        if found.is_empty() {
            return Err(spec
                .missing(format!("no traceable kernel function matches `{function}`"))
                .help(super::listing("kprobe", function)));
        }
        found
    } else {
        if !address {
            spec.listed(kernel, module, function)?;
        }
        vec![FunctionName { name: function.into(), module: module.map(String::from) }]
    };
    Ok(names
        .into_iter()
        .map(|f| {
            let plus = if offset > 0 { format!("+{offset}") } else { String::new() };
            // As written: the module is part of the name only where the script says it.
            let place = match (&f.module, module) {
                (Some(m), Some(_)) => format!("{m}:{}", f.name),
                _ => f.name.clone(),
            };
            let context = if ret {
                Context::KernelReturn { function: f.name.clone(), module: f.module.clone() }
            } else {
                Context::KernelEntry { function: f.name.clone(), module: f.module.clone() }
            };
            Resolved {
                kind: spec.kind,
                prog_type: ProgType::Kprobe,
                name: format!("{}:{place}{plus}", spec.kind.name),
                function: f.name.clone(),
                target: Target::Kprobe { function: f.name, module: f.module, offset, ret, shared: false },
                context,
                multi: offset == 0 && !address,
            }
        })
        .collect())
}

/// A decimal or `0x` number.
pub(super) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
