//! kprobe.session links (Linux 6.10): one link for the entries and the returns of functions, instead of two. The
//! compiler says which programs belong together (`ProgramDef::session`). Where the kernel does not take them together,
//! they are attached as if nobody had asked.

use super::multi::{self, Wanted};
use super::{AttachError, Attached, Context, attach_copy, attach_multi, modules};
use crate::load::{Multi, program};
use rtrace_core::bundle::{AttachPoint, ProbeIdSource, ProgramDef, Target};
use rtrace_core::kernel::Functions;
use rtrace_facts::KernelFacts;
use rtrace_sys as sys;
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Programs for such links by index, each with the index of the program that is part of it for returns.
pub(super) fn load(context: &Context<'_>) -> HashMap<usize, (usize, OwnedFd)> {
    let mut found = HashMap::new();
    let programs = &context.bundle.programs;
    let wanted = programs.iter().enumerate().filter_map(|(n, entry)| {
        let returns = entry.session? as usize;
        Some((n, entry, returns, programs.get(returns)?))
    });
    let mut is_return = None;
    for (n, entry, index, returns) in wanted {
        let is_return = *is_return.get_or_insert_with(|| {
            let function = KernelFacts::default().function("bpf_session_is_return", Some("vmlinux"));
            function.ok().flatten().and_then(|f| i32::try_from(f.btf_id).ok())
        });
        let Some(is_return) = is_return else { break };
        if let Some(fd) = program::load_session(context.loaded, entry, returns, is_return) {
            found.insert(n, (index, fd));
        }
    }
    found
}

/// Attaches as many functions as possible with such a link, the others otherwise.
pub(super) fn attach(
    context: &Context<'_>,
    (entry, returns): (usize, usize),
    fd: BorrowedFd<'_>,
    attached: &mut Attached,
) -> Result<(), AttachError> {
    let (Some(entry_def), Some(returns_def)) =
        (context.bundle.programs.get(entry), context.bundle.programs.get(returns))
    else {
        return Ok(());
    };
    let pairs = points(entry_def, false).into_iter().zip(points(returns_def, true));
    let wanted: Vec<Wanted<'_>> = pairs.map(|(point, returns)| Wanted { point, returns: Some(returns) }).collect();
    let with_cookies = [entry_def, returns_def].iter().any(|def| def.probe_id == ProbeIdSource::Cookie);
    let ((links, left), gone) =
        modules::steadily(&wanted, |w| w.point, |wanted| multi::attach(fd, wanted, with_cookies));
    attached.links.extend(links.into_iter().map(|l| match entry == returns {
        true => l.belonging(entry, None),
        false => l.belonging(entry, None).returning(returns),
    }));
    let is = |one: &Wanted<'_>, list: &[Wanted<'_>]| list.iter().any(|other| std::ptr::eq(other.point, one.point));
    for one in wanted.iter().filter(|w| !is(w, &left) && !is(w, &gone)) {
        attached.works(entry_def, one.point);
        one.returns.into_iter().for_each(|point| attached.works(returns_def, point));
    }
    let (left, left_returns) = split(&left);
    let (gone, gone_returns) = split(&gone);
    let entries = context.leave_out(left, &gone, attached);
    let exits = context.leave_out(left_returns, &gone_returns, attached);
    for (program, def, points) in [(entry, entry_def, entries), (returns, returns_def, exits)] {
        if points.is_empty() {
            continue;
        }
        let mut rest = points;
        if let Ok(copy) = context.load(def, None, Some(Multi::Kprobe)) {
            rest = attach_multi(context, (program, copy.as_fd()), def, &rest, Multi::Kprobe, attached);
            attached.copies.push((program, copy));
        }
        attach_copy(context, program, def, &rest, attached)?;
    }
    Ok(())
}

/// Entries and returns of what belongs together.
fn split<'p>(list: &[Wanted<'p>]) -> (Vec<&'p AttachPoint>, Vec<&'p AttachPoint>) {
    (list.iter().map(|w| w.point).collect(), list.iter().filter_map(|w| w.returns).collect())
}

/// Divides the runs that a program for entries and returns missed among the two. Since Linux 6.13 a hit whose entry is
/// missed has no return to be missed.
pub(super) fn shares(missed: u64) -> (u64, u64) {
    if sys::kernel_version() < (6, 13) { (missed - missed / 2, missed / 2) } else { (missed, missed) }
}

/// The attach points of a program at entries, or at returns.
fn points(def: &ProgramDef, returns: bool) -> Vec<&AttachPoint> {
    let of = |a: &&AttachPoint| matches!(a.target, Target::Kprobe { ret, .. } if ret == returns);
    def.attach.iter().filter(of).collect()
}
