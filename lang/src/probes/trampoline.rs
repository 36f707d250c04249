//! `fentry` and `fexit` (`kfunc` and `kretfunc` in earlier releases): entry and return of a kernel
//! function with typed arguments, through BPF trampolines.

use super::{Context, Listing, ProbeKind, Resolved, Spec, is_glob};
use crate::arch::Arch;
use crate::bundle::{ProgType, Target};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::{Function, Kernel, Version};
use crate::types::Type;
use std::rc::Rc;

pub static FENTRY: ProbeKind = ProbeKind {
    name: "fentry",
    aliases: &["f", "kfunc"],
    form: "fentry:[MODULE:]FUNCTION or fentry:bpf:[NUMBER:]FUNCTION",
    doc: "Entry of a kernel function or of a BPF program's function, with typed arguments by name.",
    example: "fentry:vfs_read { @[comm] = sum(args.count) }",
    prog_type: ProgType::Fentry,
    returns: false,
    path: None,
    listing: Listing::TypedFunctions,
    resolve,
};

pub static FEXIT: ProbeKind = ProbeKind {
    name: "fexit",
    aliases: &["fr", "kretfunc"],
    form: "fexit:[MODULE:]FUNCTION or fexit:bpf:[NUMBER:]FUNCTION",
    doc: "Return of a kernel function or of a BPF program's function, with its arguments and return value.",
    example: "fexit:vfs_read { @[retval] = count() }",
    prog_type: ProgType::Fexit,
    returns: true,
    path: None,
    listing: Listing::TypedFunctions,
    resolve,
};

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let ret = spec.kind.returns;
    let prog_type = if ret { ProgType::Fexit } else { ProgType::Fentry };
    let (module, function) = match spec.parts.as_slice() {
        [f] if f != "bpf" => (None, f.as_str()),
        [b, rest @ ..] if b == "bpf" => return super::bpf_program::resolve(spec, rest, kernel),
        [m, f] => (Some(m.as_str()), f.as_str()),
        _ => return Err(spec.malformed()),
    };
    if function.is_empty() {
        return Err(spec.malformed());
    }
    let mut found = Vec::new();
    if is_glob(function) || module.is_some_and(is_glob) {
        let names = kernel.functions.btf_functions(module, function).map_err(|e| spec.unknowable(e))?;
        if names.len() > spec.max_probes as usize {
            let message = format!(
                "too many attach points: `{function}` matches {} functions, but at most {} are allowed",
                names.len(),
                spec.max_probes
            );
            return Err(Diagnostic::error(Code::TooManyTargets, spec.span, message)
                .help("narrow the pattern, or use kprobe, whose wildcards attach through one link"));
        }
        for name in names {
            let described =
                kernel.functions.function(&name.name, name.module.as_deref()).map_err(|e| spec.unknowable(e))?;
            found.extend(described.filter(|f| uncarried(f, ret, kernel.machine.version()).is_none()));
        }
        if found.is_empty() {
            return Err(spec
                .missing(format!("no kernel function with type information matches `{function}`"))
                .help(super::listing("fentry", function)));
        }
    } else {
        spec.listed(kernel, module, function)?;
        match kernel.functions.function(function, module).map_err(|e| spec.unknowable(e))? {
            Some(f) => match uncarried(&f, ret, kernel.machine.version()) {
                Some(why) => {
                    let message = format!("{} cannot trace `{function}`: it {why}", spec.kind.name);
                    let other = match ret {
                        true if NEVER_RETURN.contains(&function) => "fentry",
                        true => "kretprobe",
                        false => "kprobe",
                    };
                    return Err(spec.missing(message).help(format!("use {other}:{function}")));
                }
                None => found.push(f),
            },
            None => {
                let traceable = kernel.functions.traceable_functions(module, function).unwrap_or_default();
                if let Some(found) = traceable.first() {
                    let other = if ret { "kretprobe" } else { "kprobe" };
                    // The compiler may have left copies only, with other arguments.
                    let message = match undescribed(kernel, &found.name, found.module.as_deref()) {
                        message if found.name == function => message,
                        message => format!("the compiler left only `{}` of `{function}`, and {message}", found.name),
                    };
                    return Err(spec
                        .missing(message)
                        .note(format!("{} needs the types of the function's arguments", spec.kind.name))
                        .help(format!("use {other}:{function}")));
                }
                if let Some(module) = module.filter(|m| *m != "vmlinux" && !kernel.functions.has_module(m)) {
                    return Err(spec.missing(format!("module `{module}` is not loaded")));
                }
                let error =
                    spec.missing(format!("the kernel has no function `{function}` that {} can trace", spec.kind.name));
                return Err(match kernel.functions.nearest_function(function) {
                    Some(n) => error.help(format!("did you mean `{}:{n}`?", spec.kind.name)),
                    None => error.help(super::listing("fentry", function)),
                });
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|f| {
            let place = format!("{}:{}", f.module.as_deref().unwrap_or("vmlinux"), f.name);
            Resolved {
                kind: spec.kind,
                prog_type,
                name: format!("{}:{place}", spec.kind.name),
                function: f.name.clone(),
                target: Target::Trampoline { function: f.name.clone(), module: f.module.clone(), btf_id: f.btf_id },
                context: Context::Trampoline { function: Rc::new(f), ret },
                multi: false,
            }
        })
        .collect())
}

/// Functions that a trampoline itself calls before and after a program: `btf_id_deny` in kernel/bpf/verifier.c, which
/// refuses them without a word since Linux 5.13 (35e3815fa810); before, a program on them called itself.
const CALLED_AROUND: &[&str] = &[
    "migrate_disable",
    "migrate_enable",
    "__migrate_enable",
    "rcu_read_unlock_strict",
    "preempt_count_add",
    "preempt_count_sub",
    "__rcu_read_lock",
    "__rcu_read_unlock",
];

/// `noreturn_deny` there, since Linux 6.15 (cfe816d469dc); before, fexit never ran, and its trampoline was never freed.
const NEVER_RETURN: &[&str] = &[
    "__ia32_sys_exit",
    "__ia32_sys_exit_group",
    "__kunit_abort",
    "kunit_try_catch_throw",
    "__module_put_and_kthread_exit",
    "__x64_sys_exit",
    "__x64_sys_exit_group",
    "do_exit",
    "do_group_exit",
    "kthread_complete_and_exit",
    "kthread_exit",
    "make_task_dead",
];

/// The reason why the kernel does not allow tracing the entry, or the return, of a function of this name.
pub fn barred(function: &str, ret: bool) -> Option<&'static str> {
    if CALLED_AROUND.contains(&function) {
        return Some("is called by BPF trampolines themselves");
    }
    (ret && NEVER_RETURN.contains(&function)).then_some("never returns")
}

/// The part of a function's signature that BPF trampolines do not support (`btf_distill_func_proto` in
/// kernel/bpf/btf.c): the kernel would refuse the program. Structures of up to 16 bytes it has carried since Linux 6.1
/// (720e6a435194), but never as a result.
fn uncarried(function: &Function, ret: bool, version: Version) -> Option<String> {
    if let Some(why) = barred(&function.name, ret) {
        return Some(why.to_owned());
    }
    let record = |ty: &Type| if let Type::Record(r) = ty { Some(r.clone()) } else { None };
    let structure = function.params.iter().find_map(|(_, ty)| record(ty));
    if function.variadic {
        return Some("takes a variable number of arguments".to_owned());
    }
    let (given, most) = (function.params.len(), Arch::HOST.trampoline_arguments(version));
    if given > most {
        return Some(format!("takes {given} arguments (at most {most} on this kernel)"));
    }
    // `io_tw_token_t` of Linux 6.18.
    if let Some(r) = function.params.iter().find_map(|(_, ty)| record(ty).filter(|r| r.size == 0)) {
        return Some(format!("takes an empty `{}` by value", r.name));
    }
    if let Some(r) = record(&function.ret) {
        return Some(format!("returns a `{}`", r.name));
    }
    if let Some(r) = structure.as_ref().filter(|_| version < Version(6, 1)) {
        return Some(format!("takes a `{}` by value, before Linux 6.1", r.name));
    }
    let large = function.params.iter().filter_map(|(_, ty)| record(ty)).find(|r| r.size > 16 || is_union(&r.name));
    large.map(|r| format!("takes a `{}` by value", r.name))
}

fn is_union(name: &str) -> bool {
    name.starts_with("union ")
}

/// The reason why the types of a function are not known.
pub(crate) fn undescribed(kernel: Kernel<'_>, function: &str, module: Option<&str>) -> String {
    let Some(module) = module.filter(|m| *m != "vmlinux") else {
        let many = kernel.functions.namesakes(function).len();
        if many > 1 {
            return format!(
                "{many} functions are named `{function}`, and the kernel's type information describes none"
            );
        }
        return format!("the kernel's type information does not describe `{function}`");
    };
    if kernel.machine.version() < Version(5, 11) {
        return format!("`{function}` is in module `{module}`, and modules have no type information before Linux 5.11");
    }
    if kernel.functions.btf_functions(Some(module), "*").is_ok_and(|list| list.is_empty()) {
        return format!(
            "module `{module}` has no type information (/sys/kernel/btf/{module}) to describe `{function}`"
        );
    }
    format!("the type information of module `{module}` does not describe `{function}`")
}
