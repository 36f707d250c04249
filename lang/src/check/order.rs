//! Clauses at one place run in the order of the script, and not after one that called `exit()`.
//!
//! The runtime sees to the order by the order of attaching, which it can only among programs that are attached alike; so
//! programs that meet somewhere are made to be.

use super::draft::set_attach_mode;
use crate::bundle::{AttachMode, AttachPoint, ProbeIdSource, Target};
use crate::kernel::{Feature, Kernel};
use crate::typed::Program;
use std::collections::HashSet;

/// The location at which a program runs, however the attach point is written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Kernel {
        function: String,
        offset: u64,
        ret: bool,
    },
    File {
        path: String,
        offset: u64,
        ret: bool,
    },
    /// By the number of its name.
    Other(u32),
}

impl Place {
    fn of(point: &AttachPoint) -> Place {
        match &point.target {
            Target::Kprobe { function, offset, ret, .. } if !function.is_empty() => {
                Place::Kernel { function: function.clone(), offset: *offset, ret: *ret }
            }
            Target::Uprobe { path, offset, ret, .. } => Place::File { path: path.clone(), offset: *offset, ret: *ret },
            _ => Place::Other(point.probe),
        }
    }
}

/// The places of each program.
#[derive(Debug)]
pub(super) struct Places(Vec<HashSet<Place>>);

impl Places {
    pub fn of(programs: &[Program]) -> Places {
        // One meets nobody.
        let programs = if programs.len() < 2 { &[] } else { programs };
        Places(programs.iter().map(|p| p.attach.iter().map(Place::of).collect()).collect())
    }

    /// Whether two different programs, by their indices, run at the same place somewhere.
    pub fn meet(&self, one: usize, other: usize) -> bool {
        one != other
            && match (self.0.get(one), self.0.get(other)) {
                (Some(one), Some(other)) => !one.is_disjoint(other),
                _ => false,
            }
    }
}

/// Makes programs that meet be attached alike, and marks those that must not run after `exit()`.
pub(super) fn arrange(programs: &mut [Program], kernel: Kernel<'_>) {
    let places = Places::of(programs);
    // What changes may meet others that have to change then.
    while let Some((index, mode)) = odd_one(programs, &places, kernel) {
        if let Some(program) = programs.get_mut(index) {
            if program.probe_id == ProbeIdSource::Patch {
                program.probe_id = ProbeIdSource::Cookie;
            }
            set_attach_mode(program, mode, kernel);
        }
    }
    let exits: Vec<bool> = programs.iter().map(|p| p.exits).collect();
    for (index, program) in programs.iter_mut().enumerate() {
        program.after_exit = exits.iter().take(index).enumerate().any(|(n, exits)| *exits && places.meet(n, index));
    }
}

/// A program that is attached otherwise than one that it meets, and how it is to be attached.
///
/// Single kprobes and links to many functions are called by different parts of the kernel, so single ones get such a link.
/// Tracepoints of system calls and the functions that stand for them are different places, so functions do not stand for
/// them then.
fn odd_one(programs: &[Program], places: &Places, kernel: Kernel<'_>) -> Option<(usize, AttachMode)> {
    let linked = |p: &Program| p.attach_mode == AttachMode::Link;
    let other = |index: usize, wanted: &dyn Fn(&Program) -> bool| {
        programs.iter().enumerate().any(|(n, p)| wanted(p) && places.meet(n, index))
    };
    programs.iter().enumerate().find_map(|(index, program)| match program.attach.first()?.target {
        Target::Kprobe { .. }
            if program.attach_mode == AttachMode::No
                && (program.probe_id != ProbeIdSource::Patch || kernel.machine.has(Feature::AttachCookie))
                && other(index, &linked) =>
        {
            Some((index, AttachMode::Link))
        }
        Target::Tracepoint { .. }
            if program.attach_mode != AttachMode::No && other(index, &|p| p.attach_mode == AttachMode::No) =>
        {
            Some((index, AttachMode::No))
        }
        _ => None,
    })
}
