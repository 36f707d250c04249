//! `fentry:bpf` and `fexit:bpf`: entry and return of BPF programs that are loaded, and of the functions that they call,
//! through BPF trampolines. A program is known by its number, its functions by their names in its own BTF.

use super::{Context, Resolved, Spec, is_glob};
use crate::bundle::{ProgType, Target};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::Kernel;
use std::rc::Rc;

/// `parts` follow `fentry:bpf` or `fexit:bpf`: `[NUMBER:]FUNCTION`, where the number may be `*`.
pub(super) fn resolve(spec: &Spec, parts: &[String], kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let ret = spec.kind.returns;
    let prog_type = if ret { ProgType::Fexit } else { ProgType::Fentry };
    let (number, name) = match parts {
        [name] => ("*", name.as_str()),
        [number, name] => (number.as_str(), name.as_str()),
        _ => {
            return Err(spec
                .malformed()
                .note("expected the name of a BPF program or of one of its functions after `bpf`"));
        }
    };
    let program = match number {
        "*" => None,
        n => Some(n.parse().map_err(|_| spec.malformed().note("a BPF program is identified by its number, or `*`"))?),
    };
    if name.is_empty() {
        return Err(spec.malformed());
    }
    let names = kernel.functions.bpf_functions(program, name).map_err(|e| spec.unknowable(e))?;
    if names.len() > spec.max_probes as usize {
        let message = format!(
            "too many attach points: `{name}` matches {} functions of BPF programs, but at most {} are allowed",
            names.len(),
            spec.max_probes
        );
        return Err(Diagnostic::error(Code::TooManyTargets, spec.span, message)
            .help("narrow the pattern, or raise the limit: config = { max_probes = N }"));
    }
    let mut found = Vec::new();
    for name in &names {
        found.extend(kernel.functions.bpf_function(name).map_err(|e| spec.unknowable(e))?);
    }
    if found.is_empty() {
        return Err(missing(spec, program, name, kernel));
    }
    Ok(found
        .into_iter()
        .map(|f| Resolved {
            kind: spec.kind,
            prog_type,
            name: format!("{}:bpf:{}:{}", spec.kind.name, f.program, f.function.name),
            function: f.function.name.clone(),
            target: Target::BpfFunction {
                program: f.program,
                function: f.function.name.clone(),
                btf_id: f.function.btf_id,
            },
            context: Context::BpfFunction { function: Rc::new(f), ret },
            multi: false,
        })
        .collect())
}

/// The error for a program or function that was not found.
fn missing(spec: &Spec, program: Option<u32>, name: &str, kernel: Kernel<'_>) -> Box<Diagnostic> {
    let all = format!("rtrace -l '{}:bpf:*' lists what can be traced", spec.kind.name);
    let has_types = |n| kernel.functions.bpf_functions(Some(n), "*").is_ok_and(|all| !all.is_empty());
    let untyped = |which: &str| {
        spec.missing(format!("BPF program {which} has no type information"))
            .note("tracing a BPF program requires BTF, which it was loaded without")
    };
    let error = match program {
        Some(n) if !kernel.functions.has_bpf_program(program, name) => {
            spec.missing(format!("BPF program {n} not found"))
        }
        Some(n) if !has_types(n) => untyped(&n.to_string()),
        Some(n) => spec.missing(format!("BPF program {n} has no function `{name}`")),
        None if is_glob(name) => spec.missing(format!("no function of a BPF program matches `{name}`")),
        None if kernel.functions.has_bpf_program(None, name) => untyped(&format!("`{name}`")),
        None => {
            let error = spec.missing(format!("no BPF program, and no function of one, is named `{name}`"));
            match kernel.functions.nearest_bpf_function(name) {
                Some(near) => return error.help(format!("did you mean `{}:bpf:{near}`?", spec.kind.name)),
                None => error,
            }
        }
    };
    error.help(all)
}
