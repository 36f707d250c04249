//! How much stack the functions of a program take while they call each other, measured in the finished object: what
//! the register allocator puts there is known only then.
//!
//! The kernel adds up what a chain of calls takes, functions that it calls back included, and refuses more than 512
//! bytes or eight frames (`check_max_stack_depth` in kernel/bpf/verifier.c).

use crate::disasm::{CALL, Insn};
use crate::elf::{Object, PROGBITS, Target};
use std::collections::HashMap;

/// Most bytes that a chain of calls may take, and most functions in it.
pub const MOST_BYTES: u32 = 512;
pub const MOST_FRAMES: u32 = 8;
/// Kernels round what each function takes up to this.
const ROUNDED: u32 = 32;
/// The frame pointer.
const FRAME: u8 = 10;

/// The deepest chain of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub bytes: u32,
    pub frames: u32,
}

impl Depth {
    pub fn fits(self) -> bool {
        self.bytes <= MOST_BYTES && self.frames <= MOST_FRAMES
    }

    fn below(self, callee: Depth) -> Depth {
        Depth { bytes: self.bytes.max(callee.bytes), frames: self.frames.max(callee.frames) }
    }
}

/// The stack of one function, and its calls.
#[derive(Default)]
struct Routine {
    bytes: u32,
    calls: Vec<Target>,
}

/// How deep each program goes, by its name; nothing where none calls a function.
pub fn programs(object: &[u8]) -> Vec<(String, Depth)> {
    let object = Object::parse(object);
    // A program that is one function is for LLVM to look at.
    if object.sections.iter().all(|s| s.name != ".text" || s.data.is_empty()) {
        return Vec::new();
    }
    let mut routines: HashMap<Target, Routine> = HashMap::new();
    let mut found = Vec::new();
    for (index, section) in object.sections.iter().enumerate() {
        let program = section.name.strip_prefix("kprobe/");
        if section.kind != PROGBITS || (program.is_none() && section.name != ".text") {
            continue;
        }
        let mut starts = object.functions(index);
        starts.sort_unstable();
        let calls = object.calls(index);
        for (i, start) in starts.iter().enumerate() {
            let end = starts.get(i + 1).copied().unwrap_or(section.data.len() as u64);
            let code = section.data.get(*start as usize..end as usize).unwrap_or_default();
            let place = Target { section: index, offset: *start };
            routines.insert(place, routine(code, place, &calls));
        }
        if let (Some(program), Some(first)) = (program, starts.first()) {
            found.push((program.to_owned(), Target { section: index, offset: *first }));
        }
    }
    let mut known = HashMap::new();
    found.into_iter().map(|(name, start)| (name, deepest(start, &routines, &mut known))).collect()
}

fn deepest(at: Target, routines: &HashMap<Target, Routine>, known: &mut HashMap<Target, Depth>) -> Depth {
    if let Some(depth) = known.get(&at) {
        return *depth;
    }
    // Nothing calls itself; should it, the kernel says so.
    known.insert(at, Depth::default());
    let Some(routine) = routines.get(&at) else { return Depth::default() };
    let callees = routine.calls.iter().map(|callee| deepest(*callee, routines, known)).collect::<Vec<_>>();
    let below = callees.into_iter().fold(Depth::default(), Depth::below);
    let bytes = routine.bytes.max(1).next_multiple_of(ROUNDED);
    let depth = Depth { bytes: bytes + below.bytes, frames: 1 + below.frames };
    known.insert(at, depth);
    depth
}

fn routine(code: &[u8], place: Target, calls: &HashMap<(usize, u64), Target>) -> Routine {
    let mut routine = Routine::default();
    // The register that was just set to the frame pointer: a constant follows.
    let mut frame: Option<u8> = None;
    let mut at = 0;
    while let Some(raw) = code.get(at..at + 8) {
        let insn = Insn::decode(raw, code.get(at + 8..at + 16).unwrap_or_default());
        let lowest = match (frame, insn.accesses()) {
            (Some(register), _) if insn.adds_to(register) => insn.imm,
            (_, Some(FRAME)) => i32::from(insn.offset),
            _ => 0,
        };
        routine.bytes = routine.bytes.max(lowest.min(0).unsigned_abs());
        frame = insn.copies(FRAME);
        let here = place.offset + at as u64;
        if let Some(callee) = calls.get(&(place.section, here)) {
            routine.calls.push(*callee);
        } else if insn.code == CALL && insn.src == 1 {
            let offset = (here as i64 + 8 + i64::from(insn.imm) * 8) as u64;
            routine.calls.push(Target { section: place.section, offset });
        }
        at += if insn.is_wide() { 16 } else { 8 };
    }
    routine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(instructions: &[u64]) -> Vec<u8> {
        instructions.iter().flat_map(|i| i.to_le_bytes()).collect()
    }

    #[test]
    fn the_lowest_access_counts() {
        let place = Target { section: 1, offset: 16 };
        // *(u64 *)(r10 - 40) = 0; r2 = r10; r2 += -72; r3 = r1; r3 += -500; call +1; exit
        let code =
            code(&[0xffd8_0a7a, 0xa2bf, 0xffff_ffb8_0000_0207, 0x13bf, 0xffff_fe0c_0000_0307, 0x1_0000_1085, 0x95]);
        let found = routine(&code, place, &HashMap::new());
        assert_eq!(found.bytes, 72);
        assert_eq!(found.calls, [Target { section: 1, offset: 16 + 7 * 8 }]);
    }

    #[test]
    fn chains_add_up() {
        let at = |offset| Target { section: 1, offset };
        let routine = |bytes, calls: &[u64]| Routine { bytes, calls: calls.iter().map(|c| at(*c)).collect() };
        let all = HashMap::from([
            (at(0), routine(100, &[8, 16])),
            (at(8), routine(0, &[])),
            (at(16), routine(33, &[24])),
            (at(24), routine(64, &[])),
        ]);
        let depth = deepest(at(0), &all, &mut HashMap::new());
        assert_eq!(depth, Depth { bytes: 128 + 64 + 64, frames: 3 });
        assert!(depth.fits());
    }
}
