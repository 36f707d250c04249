//! Entries and returns of the same functions: such programs may share one link to the kernel.

use super::order::Places;
use crate::bundle::{AttachMode, Target};
use crate::kernel::{Feature, Kernel, Version};
use crate::typed::Program;
use std::collections::HashSet;

/// Functions from which on they may share a link before Linux 6.14. Until then a link follows so many open calls as the
/// machine has processors, times two and the functions, and what a link for both cannot follow it leaves out at the
/// entry, too. With many functions that does not happen, and it is for many that one link instead of two is felt.
const MANY: usize = 100;

/// Gives programs for entries those for the returns of the same functions, each one once. A program may be both.
///
/// Programs that share a link are attached together, so both have the same position in the order of the script.
pub(super) fn pair(programs: &mut [Program], kernel: Kernel<'_>) {
    let mut taken = HashSet::new();
    let mut pairs = Vec::new();
    let sides: Vec<_> = programs.iter().map(|p| (functions(p, false), functions(p, true))).collect();
    let places = Places::of(programs);
    let follows_all = kernel.machine.version() >= Version(6, 14);
    let stands_between = |between: usize, n: usize, returns: usize| {
        // Before, returns of such a link run in the order in which others' returns do not.
        let counts = !follows_all || (n.min(returns)..n.max(returns)).contains(&between);
        counts && between != n && between != returns && (places.meet(between, n) || places.meet(between, returns))
    };
    for (n, (entries, own)) in sides.iter().enumerate().filter(|(_, (entries, _))| !entries.is_empty()) {
        let found = sides.iter().enumerate().find(|(other, (more, returns))| {
            let one_sided = own.is_empty() && more.is_empty();
            (one_sided || *other == n)
                && returns == entries
                && !taken.contains(other)
                && !(0..sides.len()).any(|between| stands_between(between, n, *other))
        });
        if let Some((returns, _)) = found {
            taken.insert(returns);
            pairs.push((n, returns as u32));
        }
    }
    pairs.retain(|(n, _)| follows_all || sides.get(*n).is_some_and(|(entries, _)| entries.len() >= MANY));
    drop(sides);
    // The kernel is asked only where it matters.
    if !pairs.is_empty() && kernel.machine.has(Feature::KprobeSession) {
        for (n, returns) in pairs {
            if let Some(program) = programs.get_mut(n) {
                program.session = Some(returns);
            }
        }
    }
}

/// The functions at whose entry, or return, a program runs that asks for a multi link.
fn functions(program: &Program, returns: bool) -> Vec<(&str, Option<&str>)> {
    let points = program.attach.iter().filter(|_| program.attach_mode == AttachMode::Link);
    let of = points.filter_map(|a| match &a.target {
        Target::Kprobe { function, module, ret, .. } if *ret == returns => Some((function.as_str(), module.as_deref())),
        _ => None,
    });
    of.collect()
}
