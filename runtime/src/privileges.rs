//! Capabilities: what is still needed once everything is attached. All others are given up then, so that a mistake in
//! what reads the output of strangers' programs is worth less.

use crate::session::RunOptions;
use rtrace_core::bundle::{Action, Bundle};
use rtrace_core::types::{StackMode, Type};
use rtrace_core::uapi::cap;
use rtrace_sys as sys;
use std::io;

/// A capability, and whether a run needs it.
type Need = (u32, fn(&Bundle, &RunOptions) -> bool);

const NEEDS: &[Need] = &[
    // Maps are read and changed; kernels before 5.19 ask for it each time.
    (cap::BPF, |_, _| true),
    // The addresses in /proc/kallsyms, which is opened when the first one is printed, and again for one without a symbol.
    (cap::SYSLOG, |bundle, _| any_type(bundle, &|t| matches!(t, Type::Ksym | Type::Stack(_))) || reads_files(bundle)),
    // Mappings and files of other users' processes, what `cat` is to read.
    (cap::SYS_PTRACE, |bundle, _| reads_processes(bundle) || reads_files(bundle)),
    (cap::DAC_READ_SEARCH, |bundle, _| reads_processes(bundle) || reads_files(bundle)),
    // /proc/PID/map_files, for mapped files that have been deleted or lie in another mount namespace.
    (cap::CHECKPOINT_RESTORE, |bundle, _| reads_processes(bundle)),
    // Some files of the kernel ask for it when they are read (/proc/PID/stack).
    (cap::SYS_ADMIN, |bundle, _| reads_files(bundle)),
    // Capture files are made when their first packet comes.
    (cap::DAC_OVERRIDE, |bundle, _| has(bundle, |a| matches!(a, Action::Packet { .. }))),
    // The command may have become another user.
    (cap::KILL, |_, options| options.command.is_some()),
];

/// Gives up all capabilities that the rest of the run does not need, `others` being some that it does. Commands of `system`
/// run with all that we have, as their script was promised (`--unsafe`): with them everything stays.
pub fn drop_others(bundle: &Bundle, options: &RunOptions, others: &[u32]) -> io::Result<()> {
    if has(bundle, |a| matches!(a, Action::System { .. })) {
        return Ok(());
    }
    let needed = NEEDS.iter().filter(|(_, needed)| needed(bundle, options)).map(|(cap, _)| cap);
    sys::keep_capabilities(needed.chain(others).fold(0, |set, cap| set | 1u64 << cap))
}

/// Whether addresses of processes are printed by name.
pub fn names_user_addresses(bundle: &Bundle) -> bool {
    any_type(bundle, &|t| match t {
        Type::Stack(s) => s.user && !matches!(s.mode, StackMode::Raw | StackMode::BuildId),
        Type::Usym => true,
        _ => false,
    })
}

/// Whether mappings and files of processes are read, for names or for unwind tables.
fn reads_processes(bundle: &Bundle) -> bool {
    names_user_addresses(bundle) || bundle.globals.unready.is_some()
}

/// Whether the script reads files while it runs.
fn reads_files(bundle: &Bundle) -> bool {
    has(bundle, |a| matches!(a, Action::Cat { .. }))
}

fn has(bundle: &Bundle, what: fn(&Action) -> bool) -> bool {
    bundle.events.iter().any(|e| what(&e.action))
}

fn any_type(bundle: &Bundle, what: &dyn Fn(&Type) -> bool) -> bool {
    let types = bundle.events.iter().flat_map(|e| e.fields.iter());
    let mut types = types.chain(bundle.maps.iter().flat_map(|m| m.key.iter().chain([&m.value])));
    types.any(|ty| within(ty, what))
}

fn within(ty: &Type, what: &dyn Fn(&Type) -> bool) -> bool {
    what(ty)
        || match ty {
            Type::Tuple(list) => list.iter().any(|t| within(t, what)),
            Type::NamedTuple(list) => list.iter().any(|(_, t)| within(t, what)),
            Type::Array { elem, .. } | Type::List { elem, .. } => within(elem, what),
            _ => false,
        }
}
