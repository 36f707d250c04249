//! The locations of parameters, from DWARF location descriptions.

use gimli::{AttributeValue, BaseAddresses, CfaRule, EhFrame, EndianSlice, NativeEndian, Operation, UnwindSection};
use object::{Object, ObjectSection};
use rtrace_core::arch::Arch;
use rtrace_core::kernel::{Part, Place};

use super::convention::INTEGERS;
use super::{At, Debug, Die, Reader};

pub(super) const ARCH: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

pub(super) const FLOATING: &str = "it is in a floating-point register, which probes cannot read";

/// A register by its number in DWARF (x86-64 psABI, figure 3.36; AADWARF64, section 4.1), as an offset in
/// `struct pt_regs`.
fn register(number: gimli::Register) -> Option<u32> {
    const X86: [&str; 16] =
        ["ax", "dx", "cx", "bx", "si", "di", "bp", "sp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
    match ARCH {
        Arch::X86_64 => ARCH.register(X86.get(usize::from(number.0))?),
        Arch::Aarch64 if number.0 == 31 => ARCH.register("sp"),
        Arch::Aarch64 => ARCH.register(&format!("r{}", number.0)),
    }
}

impl Debug {
    /// The location of a parameter or variable before the instruction at `address` has run; `None` if it is not
    /// described. At a function's entry lists count, and of what is said of the whole function what callers fill:
    /// registers of arguments, and the stack above the frame. The rest holds once the frame is made.
    pub(super) fn place(&self, unit: usize, die: &Die, outer: At, address: u64, entry: bool) -> Option<Place> {
        let u = self.unit(unit)?;
        if let Some(constant) = die.attr_value(gimli::DW_AT_const_value) {
            let value = constant.sdata_value().or_else(|| constant.udata_value().map(|v| v as i64));
            return value.map(Place::Constant);
        }
        let expression = match die.attr_value(gimli::DW_AT_location)? {
            AttributeValue::Exprloc(expression) if entry && !self.is_of_caller(unit, expression, outer) => return None,
            AttributeValue::Exprloc(expression) => expression,
            list => {
                let mut locations = u.attr_locations(list).ok()??;
                loop {
                    match locations.next() {
                        Ok(Some(l)) if (l.range.begin..l.range.end).contains(&address) => break l.data,
                        Ok(Some(_)) => {}
                        _ => return None,
                    }
                }
            }
        };
        let operations = self.operations(unit, expression)?;
        let is_piece = |o: &Operation<Reader>| matches!(o, Operation::Piece { .. });
        let place = match operations.iter().any(is_piece) {
            true => self.parts(&operations, outer, address),
            false => self.simple(&operations, outer, address),
        };
        place.or_else(|| Some(Place::Unknown("it must be computed, or is split into several parts".to_owned())))
    }

    /// The places of a value's pieces; those that are nowhere are left out.
    fn parts(&self, operations: &[Operation<Reader>], outer: At, address: u64) -> Option<Place> {
        let mut parts = Vec::new();
        let (mut start, mut offset) = (0, 0);
        for (n, operation) in operations.iter().enumerate() {
            let Operation::Piece { size_in_bits, bit_offset: None } = operation else { continue };
            let size = u32::try_from(size_in_bits / 8).ok().filter(|_| size_in_bits.is_multiple_of(8))?;
            let piece = operations.get(start..n)?;
            if !piece.is_empty() {
                parts.push(Part { offset, size, place: self.simple(piece, outer, address)? });
            }
            start = n + 1;
            offset = offset.checked_add(size)?;
        }
        (start == operations.len()).then_some(Place::Parts(parts))
    }

    /// The place of a value that lies in one.
    fn simple(&self, operations: &[Operation<Reader>], outer: At, address: u64) -> Option<Place> {
        match operations {
            [Operation::Register { register: r }] => {
                Some(register(*r).map_or_else(|| Place::Unknown(FLOATING.to_owned()), Place::Register))
            }
            [Operation::RegisterOffset { register: r, offset, .. }] => {
                register(*r).map(|base| Place::Memory { base, displacement: *offset })
            }
            [Operation::RegisterOffset { register: r, offset, .. }, Operation::StackValue] => {
                register(*r).map(|register| Place::Sum { register, plus: *offset })
            }
            [Operation::FrameOffset { offset }] => self
                .frame(outer, address)
                .map(|(base, displacement)| Place::Memory { base, displacement: displacement.wrapping_add(*offset) }),
            [Operation::UnsignedConstant { value }, Operation::StackValue] => Some(Place::Constant(*value as i64)),
            [Operation::SignedConstant { value }, Operation::StackValue] => Some(Place::Constant(*value)),
            [Operation::EntryValue { .. }, Operation::StackValue] => {
                Some(Place::Unknown("only its value at the function's entry is known".to_owned()))
            }
            // Where the frame begins, which Go leaves out of sums.
            [Operation::CallFrameCFA] => {
                self.frame_address(outer, address).map(|(base, displacement)| Place::Memory { base, displacement })
            }
            _ => None,
        }
    }

    /// Whether an expression names what a function's caller filled.
    fn is_of_caller(&self, unit: usize, expression: gimli::Expression<Reader>, function: At) -> bool {
        let passes = |r| register(r).is_some_and(|offset| (0..INTEGERS).any(|n| ARCH.argument(n) == Some(offset)));
        let operations = self.operations(unit, expression).unwrap_or_default();
        match operations.as_slice() {
            [Operation::CallFrameCFA] => true,
            [Operation::FrameOffset { offset }] => *offset >= 0 && self.counts_from_cfa(function),
            [] => false,
            all => {
                all.iter().any(|o| matches!(o, Operation::Register { .. }))
                    && all.iter().all(|o| match o {
                        Operation::Register { register: r } => passes(*r),
                        o => matches!(o, Operation::Piece { .. }),
                    })
            }
        }
    }

    /// Whether a function's frame base is the canonical frame address: above it lies what its caller pushed.
    fn counts_from_cfa(&self, function: At) -> bool {
        let base = self.die(function).and_then(|die| die.attr_value(gimli::DW_AT_frame_base));
        let Some(AttributeValue::Exprloc(base)) = base else { return false };
        matches!(self.operations(function.unit, base).as_deref(), Some([Operation::CallFrameCFA]))
    }

    fn operations(&self, unit: usize, expression: gimli::Expression<Reader>) -> Option<Vec<Operation<Reader>>> {
        let mut operations = expression.operations(self.unit(unit)?.encoding());
        let mut found = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            found.push(operation);
        }
        Some(found)
    }

    /// The frame base of a function at an address: a register and an offset.
    fn frame(&self, function: At, address: u64) -> Option<(u32, i64)> {
        let die = self.die(function)?;
        let AttributeValue::Exprloc(base) = die.attr_value(gimli::DW_AT_frame_base)? else { return None };
        match self.operations(function.unit, base)?.as_slice() {
            [Operation::Register { register: r }] => Some((register(*r)?, 0)),
            [Operation::RegisterOffset { register: r, offset, .. }] => Some((register(*r)?, *offset)),
            [Operation::CallFrameCFA] => self.frame_address(function, address),
            _ => None,
        }
    }

    /// The canonical frame address at an address, from `.eh_frame` of the executable; at a function's entry it is what
    /// the stack pointer was when it was called.
    fn frame_address(&self, function: At, address: u64) -> Option<(u32, i64)> {
        let entry = self.die(function).and_then(|die| self.ranges(function.unit, &die).first().map(|r| r.begin));
        if entry == Some(address) {
            return Some((ARCH.stack_pointer(), i64::from(ARCH.stack_argument(INTEGERS))));
        }
        let section = self.main.section_by_name(".eh_frame")?;
        let frames: EhFrame<Reader> = EhFrame::from(EndianSlice::new(section.data().ok()?, NativeEndian));
        let place = |name| self.main.section_by_name(name).map_or(0, |s| s.address());
        let bases = BaseAddresses::default().set_eh_frame(section.address()).set_text(place(".text"));
        let mut context = gimli::UnwindContext::new();
        let row = frames.unwind_info_for_address(&bases, &mut context, address, EhFrame::cie_from_offset).ok()?;
        match row.cfa() {
            CfaRule::RegisterAndOffset { register: r, offset } => Some((register(*r)?, *offset)),
            CfaRule::Expression(_) => None,
        }
    }
}
