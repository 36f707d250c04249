//! The locations of a function's parameters at its first instruction, by the calling convention: System V on x86-64
//! (psABI 3.2.3, with the C++ ABI's rules for classes), AAPCS64 on aarch64. Where it is not certain that a function
//! follows it, nothing is said: clones, functions whose convention the compiler changed, languages with conventions of
//! their own.

use gimli::{AttributeValue, constants as dw};
use rtrace_core::kernel::{Part, Place};

use super::places::{ARCH, FLOATING};
use super::types::{DEEPEST, bare, encoding, number};
use super::{At, Debug, Die};
use rtrace_facts::clones;

/// Registers for integers, and for floating-point numbers.
pub(super) const INTEGERS: u32 = if cfg!(target_arch = "aarch64") { 8 } else { 6 };
const FLOATS: u32 = 8;

const RUST: &str = "Rust's calling convention is not fixed";

/// The class of eight bytes (psABI 3.2.3).
#[derive(Clone, Copy, Debug, PartialEq)]
enum Class {
    Nothing,
    Integer,
    Float,
    Memory,
    /// `long double`: arguments lie in memory, results in registers of their own.
    X87,
}

impl Class {
    fn merge(self, other: Class) -> Class {
        match (self, other) {
            (a, b) if a == b => a,
            (Class::Nothing, other) | (other, Class::Nothing) => other,
            (Class::Memory, _) | (_, Class::Memory) => Class::Memory,
            (Class::Integer, _) | (_, Class::Integer) => Class::Integer,
            (Class::X87, _) | (_, Class::X87) => Class::Memory,
            _ => Class::Float,
        }
    }
}

/// How a type is passed.
#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// In these registers, where there are enough; both `Nothing`: not at all.
    Words([Class; 2]),
    /// On the stack, in so many words, aligned to so many.
    Memory { words: u32, align: u32 },
    /// Nobody says.
    Uncertain,
}

const POINTER: Shape = Shape::Words([Class::Integer, Class::Nothing]);

/// Hands out the places of parameters in their order.
pub(super) struct Convention {
    /// Integer registers used up.
    used: u32,
    floats: u32,
    /// Words on the stack used up; `None` once that is not certain.
    words: Option<u32>,
    /// The reason why the remaining locations are not certain.
    lost: Option<String>,
    cpp: bool,
    rust: bool,
}

impl Convention {
    /// That of a function, whose symbol has this name.
    pub(super) fn of(debug: &Debug, function: At, symbol: &str) -> Convention {
        let language = debug.language(function.unit);
        let mut convention = Convention {
            used: 0,
            floats: 0,
            words: Some(0),
            lost: None,
            cpp: language.is_some_and(is_cpp),
            rust: language == Some(dw::DW_LANG_Rust),
        };
        let changed = debug.inherited(function, dw::DW_AT_calling_convention).is_some_and(|(_, value)| {
            !matches!(value, AttributeValue::CallingConvention(dw::DW_CC_normal | dw::DW_CC_program))
        });
        if !language.is_some_and(|l| is_c(l) || is_cpp(l) || l == dw::DW_LANG_Rust) {
            convention.lose("its language has its own calling convention");
        } else if changed {
            convention.lose("the compiler changed the function's calling convention");
        } else if clones::takes_others(symbol) {
            convention.lose("the function is a copy that the compiler made with other arguments");
        } else if convention.rust && debug.name(function).is_some_and(|name| name.starts_with("{closure")) {
            // rustc does not describe the argument for what a closure captures.
            convention.lose("the function has hidden arguments");
        } else if convention.rust && !debug.type_of(function).is_none_or(|ty| is_word(debug, ty)) {
            convention.lose(RUST);
        } else if let Some(result) = debug.type_of(function) {
            match shape(debug, Some(result), convention.cpp, true) {
                // What is returned in memory goes where a hidden first argument points; on aarch64 x8 does.
                Shape::Memory { .. } if !cfg!(target_arch = "aarch64") => convention.used = 1,
                Shape::Uncertain => convention.lose("the function may have a hidden argument for its result"),
                _ => {}
            }
        }
        convention
    }

    /// The function's parameters do not all lie in its frame. Then what the compiler knows all callers of may be called
    /// in other ways, and in Rust that is nearly everything.
    pub(super) fn is_optimized(&mut self) {
        if self.rust {
            self.lose(RUST);
        }
    }

    fn lose(&mut self, why: &str) {
        self.lost.get_or_insert_with(|| format!("its location is not described, and {why}"));
    }

    /// The next parameter's place, which is said even of those that have a location, for the sake of the others.
    pub(super) fn next(&mut self, debug: &Debug, parameter: &Die, name: &str, ty: Option<At>) -> Place {
        if parameter.has_attr(dw::DW_AT_artificial) && name != "this" {
            self.lose("the function has hidden arguments");
        }
        let fat = self.rust && ty.is_some_and(|ty| is_fat_pointer(debug, ty));
        if self.rust && !fat && !ty.is_some_and(|ty| is_word(debug, ty)) {
            self.lose(RUST);
        }
        let shape = shape(debug, ty, self.cpp, false);
        if shape == Shape::Uncertain {
            self.lose("it is not certain how an argument of this type is passed");
        }
        if let Some(why) = &self.lost {
            return Place::Unknown(why.clone());
        }
        match shape {
            // An argument for each of its words, of which the second may lie on the stack alone.
            Shape::Words(_) if fat => {
                let mut part =
                    |offset| Part { offset, size: 8, place: self.registers([Class::Integer, Class::Nothing], 8) };
                Place::Parts(vec![part(0), part(8)])
            }
            Shape::Words([Class::Nothing, Class::Nothing]) => Place::Unknown("it has no members".to_owned()),
            Shape::Words(classes) => self.registers(classes, alignment(debug, ty, 0)),
            Shape::Memory { words, align } => self.stack(words, align),
            Shape::Uncertain => Place::Unknown(String::new()),
        }
    }

    fn registers(&mut self, classes: [Class; 2], align: u32) -> Place {
        let count = |class| classes.iter().filter(|c| **c == class).count() as u32;
        let (integers, floats) = (count(Class::Integer), count(Class::Float));
        if self.used + integers > INTEGERS || self.floats + floats > FLOATS {
            // What does not fit whole goes to the stack; on aarch64 no register is used after it.
            if cfg!(target_arch = "aarch64") && integers > 0 {
                self.used = INTEGERS;
            }
            return self.stack(integers + floats, align.div_ceil(8));
        }
        let first = self.used;
        self.used += integers;
        self.floats += floats;
        match (ARCH.argument(first), integers, floats) {
            (Some(offset), 1, 0) => Place::Register(offset),
            (_, 0, _) => Place::Unknown(FLOATING.to_owned()),
            (_, n, 0) => {
                let part = |n| Some(Part { offset: n * 8, size: 8, place: Place::Register(ARCH.argument(first + n)?) });
                Place::Parts((0..n).filter_map(part).collect())
            }
            _ => Place::Unknown("it is passed in registers of several kinds".to_owned()),
        }
    }

    fn stack(&mut self, words: u32, align: u32) -> Place {
        // The first one is aligned to 16 bytes, and to no more.
        let Some(at) = self.words.filter(|_| align <= 2).map(|at| at.next_multiple_of(align.max(1))) else {
            self.words = None;
            return Place::Unknown("its position on the stack depends on the arguments before it".to_owned());
        };
        self.words = Some(at + words);
        let displacement = i64::from(ARCH.stack_argument(INTEGERS + at));
        Place::Memory { base: ARCH.stack_pointer(), displacement }
    }
}

/// A number or an address: what Rust, too, passes as C does. It does not pass what has no size, such as `()`.
fn is_word(debug: &Debug, ty: At) -> bool {
    bare(debug, Some(ty)).is_some_and(|(at, die)| {
        let aggregate = is_record(&die) || die.tag() == dw::DW_TAG_array_type;
        !aggregate && size_of(debug, at, 0).is_some_and(|size| (1..=8).contains(&size))
    })
}

/// A reference to a slice, text or trait object, as rustc describes it: a record of an address and a word.
fn is_fat_pointer(debug: &Debug, ty: At) -> bool {
    bare(debug, Some(ty)).is_some_and(|(at, die)| {
        let named = debug.name(at).is_some_and(|n| n.starts_with(['&', '*']));
        named && is_record(&die) && size_of(debug, at, 0) == Some(16)
    })
}

fn is_c(language: gimli::DwLang) -> bool {
    matches!(
        language,
        dw::DW_LANG_C89 | dw::DW_LANG_C | dw::DW_LANG_C99 | dw::DW_LANG_C11 | dw::DW_LANG_C17 | dw::DW_LANG_ObjC
    )
}

fn is_cpp(language: gimli::DwLang) -> bool {
    matches!(
        language,
        dw::DW_LANG_C_plus_plus
            | dw::DW_LANG_C_plus_plus_03
            | dw::DW_LANG_C_plus_plus_11
            | dw::DW_LANG_C_plus_plus_14
            | dw::DW_LANG_C_plus_plus_17
            | dw::DW_LANG_C_plus_plus_20
    )
}

fn shape(debug: &Debug, ty: Option<At>, cpp: bool, result: bool) -> Shape {
    let Some((at, die)) = bare(debug, ty) else { return Shape::Uncertain };
    let is_record = is_record(&die);
    let at = if is_record && die.has_attr(dw::DW_AT_declaration) {
        match debug.name(at).and_then(|name| debug.definition(&name, &super::types::RECORDS)) {
            Some(definition) => definition,
            None => return Shape::Uncertain,
        }
    } else {
        at
    };
    if is_record && cpp {
        match is_copied(debug, at, 0) {
            Some(true) => {}
            Some(false) if result => return Shape::Memory { words: 1, align: 1 },
            Some(false) => return POINTER,
            None => return Shape::Uncertain,
        }
    }
    let Some(size) = size_of(debug, at, 0) else { return Shape::Uncertain };
    let memory = Shape::Memory { words: size.div_ceil(8), align: alignment(debug, Some(at), 0).div_ceil(8) };
    let mut classes = [Class::Nothing; 2];
    if classify(debug, at, 0, &mut classes, 0).is_none() {
        return Shape::Uncertain;
    }
    if cfg!(target_arch = "aarch64") && is_record {
        return aarch64_record(size, classes, result);
    }
    match classes {
        _ if size > 16 && is_record => memory,
        [Class::X87, _] if result => Shape::Words([Class::Nothing; 2]),
        classes if classes.iter().any(|c| matches!(c, Class::Memory | Class::X87)) => memory,
        classes => Shape::Words(classes),
    }
}

/// Records of floating-point numbers only may take a register for each member.
fn aarch64_record(size: u32, classes: [Class; 2], result: bool) -> Shape {
    match classes {
        [Class::Nothing, Class::Nothing] => Shape::Words(classes),
        _ if classes.contains(&Class::Float) => Shape::Uncertain,
        _ if size <= 16 => Shape::Words([Class::Integer, if size > 8 { Class::Integer } else { Class::Nothing }]),
        _ if result => Shape::Memory { words: 1, align: 1 },
        _ => POINTER,
    }
}

fn is_record(die: &Die) -> bool {
    matches!(die.tag(), dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type)
}

/// Whether a class of C++ is copied like memory (else its address is passed); `None` where that is not said.
fn is_copied(debug: &Debug, at: At, depth: u32) -> Option<bool> {
    let die = debug.die(at)?;
    match die.attr_value(dw::DW_AT_calling_convention) {
        Some(AttributeValue::CallingConvention(dw::DW_CC_pass_by_reference)) => return Some(false),
        Some(AttributeValue::CallingConvention(dw::DW_CC_pass_by_value)) => return Some(true),
        _ => {}
    }
    // Up to DWARF 4: what has no functions and holds nothing that has is plain.
    let all = debug.children(at);
    let special = |d: &Die| d.tag() == dw::DW_TAG_subprogram || d.has_attr(dw::DW_AT_virtuality);
    if depth > DEEPEST || all.iter().any(|(_, d)| special(d)) {
        return None;
    }
    let plain = members(&all).all(|(child, _)| match element(debug, debug.type_of(*child)) {
        Some((at, die)) if is_record(&die) => is_copied(debug, at, depth + 1) == Some(true),
        other => other.is_some(),
    });
    plain.then_some(true)
}

/// A type without qualifiers and, where it is an array, without its dimensions.
fn element(debug: &Debug, ty: Option<At>) -> Option<(At, Die)> {
    let (at, die) = bare(debug, ty)?;
    if die.tag() == dw::DW_TAG_array_type { bare(debug, debug.type_of(at)) } else { Some((at, die)) }
}

/// Members and bases that lie in a record itself.
fn members(children: &[(At, Die)]) -> impl Iterator<Item = &(At, Die)> {
    children.iter().filter(|(_, d)| {
        matches!(d.tag(), dw::DW_TAG_member | dw::DW_TAG_inheritance | dw::DW_TAG_variant_part)
            && !d.has_attr(dw::DW_AT_external)
            && !d.has_attr(dw::DW_AT_declaration)
    })
}

/// Adds the classes of a type at an offset; `None` where they are not certain.
fn classify(debug: &Debug, at: At, offset: u32, classes: &mut [Class; 2], depth: u32) -> Option<()> {
    let (at, die) = bare(debug, Some(at))?;
    let size = size_of(debug, at, 0)?;
    if depth > DEEPEST {
        return None;
    }
    let mut set = |class: Class, size: u32| {
        let first = offset / 8;
        for n in first..(offset + size).div_ceil(8).max(first + 1) {
            if let Some(c) = classes.get_mut(n as usize) {
                *c = c.merge(class);
            }
        }
    };
    let aligned = alignment(debug, Some(at), 0);
    if !offset.is_multiple_of(aligned.max(1)) {
        // What is packed lies in memory.
        set(Class::Memory, size);
        return Some(());
    }
    match die.tag() {
        dw::DW_TAG_base_type => {
            let long_double = || debug.name(at).is_some_and(|n| n.ends_with("long double"));
            match encoding(&die)? {
                dw::DW_ATE_float | dw::DW_ATE_complex_float
                    if size >= 16 && cfg!(target_arch = "x86_64") && long_double() =>
                {
                    set(Class::X87, size);
                }
                // `_Float128` fills one register.
                dw::DW_ATE_float | dw::DW_ATE_decimal_float => set(Class::Float, 1),
                // A register each for its two numbers, which together may fill one.
                dw::DW_ATE_complex_float => set(Class::Float, size),
                _ if size > 16 => set(Class::Memory, size),
                _ => set(Class::Integer, size),
            }
        }
        dw::DW_TAG_array_type => {
            // Vectors: how large ones are passed depends on the processor's features.
            if die.has_attr(dw::DW_AT_GNU_vector) {
                return (size <= 16).then(|| set(Class::Float, 1));
            }
            let element = debug.type_of(at)?;
            let step = size_of(debug, element, 0)?;
            if step > 0 && size <= 16 {
                for n in 0..size / step {
                    classify(debug, element, offset + n * step, classes, depth + 1)?;
                }
            }
        }
        _ if is_record(&die) => {
            let all = debug.children(at);
            for (child, member) in members(&all) {
                if member.tag() == dw::DW_TAG_variant_part {
                    return None;
                }
                let inner = debug.type_of(*child)?;
                let start = number(member, dw::DW_AT_data_member_location).unwrap_or(0);
                if let Some(bits) = number(member, dw::DW_AT_bit_size) {
                    let bit = number(member, dw::DW_AT_data_bit_offset).unwrap_or(start * 8);
                    for at in [bit, (bit + bits).saturating_sub(1)] {
                        if let Some(c) = classes.get_mut(((u64::from(offset) * 8 + at) / 64) as usize) {
                            *c = c.merge(Class::Integer);
                        }
                    }
                    continue;
                }
                classify(debug, inner, offset + u32::try_from(start).ok()?, classes, depth + 1)?;
            }
        }
        _ => set(Class::Integer, size),
    }
    Some(())
}

fn size_of(debug: &Debug, at: At, depth: u32) -> Option<u32> {
    let (at, die) = bare(debug, Some(at))?;
    if depth > DEEPEST {
        return None;
    }
    if let Some(size) = number(&die, dw::DW_AT_byte_size) {
        return u32::try_from(size).ok();
    }
    match die.tag() {
        dw::DW_TAG_array_type => {
            let element = size_of(debug, debug.type_of(at)?, depth + 1)?;
            let all = debug.children(at);
            let lengths = all.iter().filter(|(_, d)| d.tag() == dw::DW_TAG_subrange_type).map(|(_, d)| {
                let bound = number(d, dw::DW_AT_upper_bound).map(|n| n.wrapping_add(1));
                number(d, dw::DW_AT_count).or(bound).unwrap_or(0)
            });
            u32::try_from(lengths.product::<u64>()).ok()?.checked_mul(element)
        }
        // A pointer to a member function is two words.
        dw::DW_TAG_ptr_to_member_type => {
            let to = bare(debug, debug.type_of(at));
            Some(if to.is_some_and(|(_, d)| d.tag() == dw::DW_TAG_subroutine_type) { 16 } else { 8 })
        }
        dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type | dw::DW_TAG_rvalue_reference_type => Some(8),
        // `decltype(nullptr)`
        dw::DW_TAG_unspecified_type => Some(8),
        dw::DW_TAG_enumeration_type => size_of(debug, debug.type_of(at)?, depth + 1),
        _ => None,
    }
}

fn alignment(debug: &Debug, ty: Option<At>, depth: u32) -> u32 {
    let Some((at, die)) = bare(debug, ty) else { return 1 };
    if depth > DEEPEST {
        return 1;
    }
    let said = number(&die, dw::DW_AT_alignment).and_then(|n| u32::try_from(n).ok());
    if let Some(said) = said {
        return said.max(1);
    }
    match die.tag() {
        dw::DW_TAG_array_type if !die.has_attr(dw::DW_AT_GNU_vector) => alignment(debug, debug.type_of(at), depth + 1),
        dw::DW_TAG_base_type if encoding(&die) == Some(dw::DW_ATE_complex_float) => {
            size_of(debug, at, 0).map_or(1, |s| s / 2).max(1)
        }
        dw::DW_TAG_ptr_to_member_type => 8,
        _ if is_record(&die) => {
            let all = debug.children(at);
            members(&all)
                .filter(|(_, d)| !d.has_attr(dw::DW_AT_bit_size))
                .map(|(child, _)| alignment(debug, debug.type_of(*child), depth + 1))
                .max()
                .unwrap_or(1)
        }
        _ => size_of(debug, at, 0).unwrap_or(1).max(1),
    }
}
