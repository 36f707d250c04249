//! Where parameters are: by their location lists, or by the calling convention at a function's first instruction.

use gimli::{AttributeValue, BaseAddresses, CfaRule, EhFrame, EndianSlice, NativeEndian, Operation, UnwindSection};
use object::{Object, ObjectSection};
use rtrace_lang::arch::Arch;
use rtrace_lang::kernel::Place;
use rtrace_lang::types::Type;

use super::{At, Debug, Die, Reader, Types};

const ARCH: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

const FLOATING: &str = "it lies in a floating-point register, and probes do not see those";

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
    /// Where a parameter or variable is while the instruction at `address` has not run; `None` where nothing says.
    /// At a function's entry only lists count: what holds for the whole function holds once the frame is made.
    pub(super) fn place(&self, unit: usize, die: &Die, outer: At, address: u64, entry: bool) -> Option<Place> {
        let u = self.unit(unit)?;
        if let Some(constant) = die.attr_value(gimli::DW_AT_const_value) {
            let value = constant.sdata_value().or_else(|| constant.udata_value().map(|v| v as i64));
            return value.map(Place::Constant);
        }
        let expression = match die.attr_value(gimli::DW_AT_location)? {
            AttributeValue::Exprloc(_) if entry => return None,
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
        let place = match operations.as_slice() {
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
                return Some(Place::Unknown("only its value at the function's entry is known".to_owned()));
            }
            _ => None,
        };
        place.or_else(|| Some(Place::Unknown("it must be computed, or lies in several parts".to_owned())))
    }

    fn operations(&self, unit: usize, expression: gimli::Expression<Reader>) -> Option<Vec<Operation<Reader>>> {
        let mut operations = expression.operations(self.unit(unit)?.encoding());
        let mut found = Vec::new();
        while let Some(operation) = operations.next().ok()? {
            found.push(operation);
        }
        Some(found)
    }

    /// What the offsets of a function's variables count from at an address: a register and what to add to it.
    fn frame(&self, function: At, address: u64) -> Option<(u32, i64)> {
        let die = self.die(function)?;
        let AttributeValue::Exprloc(base) = die.attr_value(gimli::DW_AT_frame_base)? else { return None };
        match self.operations(function.unit, base)?.as_slice() {
            [Operation::Register { register: r }] => Some((register(*r)?, 0)),
            [Operation::RegisterOffset { register: r, offset, .. }] => Some((register(*r)?, *offset)),
            [Operation::CallFrameCFA] => self.frame_address(address),
            _ => None,
        }
    }

    /// The canonical frame address at an address, from `.eh_frame` of the executable.
    fn frame_address(&self, address: u64) -> Option<(u32, i64)> {
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

/// Hands out the places of parameters in the order of the calling convention for C functions: System V on x86-64
/// (psABI 3.2.3), AAPCS64 on aarch64. Floating-point numbers have registers of their own, which a probe does not see.
#[derive(Default)]
pub(super) struct Convention {
    /// Integer registers used up.
    used: u32,
    /// Words on the stack used up.
    words: u32,
    /// A record passed on the stack may have been aligned: what follows on the stack is not known.
    lost: bool,
    floats: u32,
}

/// Registers for integers, and for floating-point numbers.
const INTEGERS: u32 = if cfg!(target_arch = "aarch64") { 8 } else { 6 };
const FLOATS: u32 = 8;

impl Convention {
    pub(super) fn next(&mut self, debug: &Debug, types: &Types, ty: Option<At>) -> Place {
        let shape = types.shape(debug, ty);
        match shape {
            Shape::Float => {
                self.floats += 1;
                if self.floats > FLOATS {
                    self.words += 1;
                }
                Place::Unknown(FLOATING.to_owned())
            }
            Shape::Integer(words) if self.used + words <= INTEGERS => {
                let first = self.used;
                self.used += words;
                match ARCH.argument(first) {
                    Some(offset) if words == 1 => Place::Register(offset),
                    _ => Place::Unknown(format!("it is passed in {words} registers")),
                }
            }
            Shape::Integer(words) => {
                // What does not fit whole goes to the stack; on aarch64 no register is used after it.
                if cfg!(target_arch = "aarch64") {
                    self.used = INTEGERS;
                }
                self.stack(words)
            }
            Shape::Memory(words) => self.stack(words),
            Shape::Mixed => {
                self.lost = true;
                Place::Unknown("it is passed in registers of several kinds".to_owned())
            }
        }
    }

    fn stack(&mut self, words: u32) -> Place {
        if self.lost {
            return Place::Unknown("where on the stack it is depends on the ones before it".to_owned());
        }
        let at = ARCH.stack_argument(INTEGERS + self.words);
        self.words += words;
        Place::Memory { base: ARCH.stack_pointer(), displacement: i64::from(at) }
    }
}

/// How a type is passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Shape {
    /// In so many integer registers.
    Integer(u32),
    Float,
    /// On the stack, in so many words.
    Memory(u32),
    /// In registers of both kinds.
    Mixed,
}

impl Types {
    pub(super) fn shape(&self, debug: &Debug, ty: Option<At>) -> Shape {
        if self.is_float(debug, ty) {
            return Shape::Float;
        }
        match self.convert(debug, ty) {
            Type::Record(r) if self.by_reference(debug, ty) || (cfg!(target_arch = "aarch64") && r.size > 16) => {
                Shape::Integer(1)
            }
            Type::Record(r) if r.size > 16 => Shape::Memory(r.size.div_ceil(8)),
            Type::Record(r) if self.has_floats(debug, ty, 0) => {
                if r.size <= 8 && self.only_floats(debug, ty) {
                    Shape::Float
                } else {
                    Shape::Mixed
                }
            }
            Type::Record(r) => Shape::Integer(r.size.div_ceil(8).max(1)),
            // 128-bit integers, complex numbers, vectors.
            Type::Array { .. } | Type::String { .. } => Shape::Mixed,
            _ => Shape::Integer(1),
        }
    }
}
