//! Types of debug information as types of the language, and as C writes them.

use std::cell::RefCell;

use gimli::{AttributeValue, constants as dw};
use rtrace_core::kernel::{Member, TypeKind};
use rtrace_core::types::{Record, Space, Type, TypeId};

use super::enums::Enums;
use super::{At, Debug, Die};

/// Deeper types are cut off: they go round in circles.
pub(super) const DEEPEST: u32 = 32;

/// The records that have handles, of all executables, and their enums.
#[derive(Default)]
pub struct Types {
    records: RefCell<Vec<Known>>,
    enums: Enums,
}

#[derive(Clone, Debug)]
struct Known {
    /// Number of the executable.
    file: usize,
    at: At,
    record: Record,
}

/// Whether a handle is one of [`Types`].
pub fn is_handle(id: TypeId) -> bool {
    (TypeId::PROGRAM..TypeId::SCRIPT).contains(&id.0)
}

impl Types {
    fn known(&self, id: TypeId) -> Option<Known> {
        self.records.borrow().get(id.0.checked_sub(TypeId::PROGRAM)? as usize).cloned()
    }

    /// The number of the executable that a handle is of.
    pub fn file(&self, id: TypeId) -> Option<usize> {
        self.known(id).map(|k| k.file)
    }

    /// The members of a handle of this executable.
    pub fn members_of(&self, debug: &Debug, id: TypeId) -> Vec<Member> {
        self.known(id).map(|k| self.members(debug, k.at)).unwrap_or_default()
    }

    /// A type of the language; `void` for what it has none for.
    pub(super) fn convert(&self, debug: &Debug, ty: Option<At>) -> Type {
        self.converted(debug, ty, 0)
    }

    fn converted(&self, debug: &Debug, ty: Option<At>, depth: u32) -> Type {
        let Some((at, die)) = bare(debug, ty) else { return Type::Void };
        if depth > DEEPEST {
            return Type::Void;
        }
        let size = number(&die, dw::DW_AT_byte_size).unwrap_or(0);
        match die.tag() {
            dw::DW_TAG_base_type => base(&die, size, debug.name(at).as_deref()),
            dw::DW_TAG_pointer_type | dw::DW_TAG_reference_type | dw::DW_TAG_rvalue_reference_type => {
                let to = self.converted(debug, debug.type_of(at), depth + 1);
                Type::Ptr { to: Box::new(to), space: Space::User }
            }
            dw::DW_TAG_enumeration_type => self.enums.convert(debug, at, &die),
            dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type => {
                self.record(debug, at, &die).map_or(Type::Void, Type::Record)
            }
            dw::DW_TAG_array_type => self.array(debug, at, depth),
            _ => Type::Void,
        }
    }

    fn array(&self, debug: &Debug, at: At, depth: u32) -> Type {
        let elem = self.converted(debug, debug.type_of(at), depth + 1);
        let dimensions = debug.children(at).into_iter().filter(|(_, d)| d.tag() == dw::DW_TAG_subrange_type);
        let lengths: Vec<u32> = dimensions
            .map(|(_, d)| {
                let bound = number(&d, dw::DW_AT_upper_bound).map(|n| n.wrapping_add(1));
                number(&d, dw::DW_AT_count).or(bound).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
            })
            .collect();
        lengths.into_iter().rev().fold(elem, |elem, len| match elem {
            // As everywhere, text.
            Type::Int { bits: 8, signed: true } => Type::String { cap: len },
            elem => Type::Array { elem: Box::new(elem), len },
        })
    }

    fn record(&self, debug: &Debug, at: At, die: &Die) -> Option<Record> {
        let (at, die) = if die.has_attr(dw::DW_AT_declaration) {
            let name = debug.name(at)?;
            let found = debug.definition(&name, &RECORDS)?;
            (found, debug.die(found)?)
        } else {
            (at, die.clone())
        };
        let keyword = keyword(&die);
        let name = match debug.name(at) {
            Some(name) if is_sequence(debug, at, &name) => name,
            Some(name) => format!("{keyword} {name}"),
            None => format!("{keyword} (anonymous)"),
        };
        let size = u32::try_from(number(&die, dw::DW_AT_byte_size)?).ok()?;
        let mut records = self.records.borrow_mut();
        // Units that include the same header each describe its records: to the language they are one.
        let same = |k: &&Known| {
            k.file == debug.number
                && (k.at == at || (!k.record.name.ends_with(')') && k.record.name == name && k.record.size == size))
        };
        if let Some(known) = records.iter().find(same) {
            return Some(known.record.clone());
        }
        let id = TypeId(TypeId::PROGRAM.checked_add(u32::try_from(records.len()).ok()?)?);
        let record = Record { name, id, size };
        records.push(Known { file: debug.number, at, record: record.clone() });
        Some(record)
    }

    fn members(&self, debug: &Debug, at: At) -> Vec<Member> {
        let mut found = Vec::new();
        for (child, die) in debug.children(at) {
            // What it inherits from is a member without a name: its members are found through it.
            let inherited = die.tag() == dw::DW_TAG_inheritance;
            if die.tag() != dw::DW_TAG_member && !inherited {
                continue;
            }
            // Static members are elsewhere.
            if die.has_attr(dw::DW_AT_external) || die.has_attr(dw::DW_AT_declaration) {
                continue;
            }
            let ty = self.convert(debug, debug.type_of(child));
            let start = number(&die, dw::DW_AT_data_member_location).unwrap_or(0).wrapping_mul(8);
            let width = number(&die, dw::DW_AT_bit_size);
            let bit_offset = match (number(&die, dw::DW_AT_data_bit_offset), number(&die, dw::DW_AT_bit_offset), width)
            {
                (Some(offset), ..) => offset,
                // Up to DWARF 3: from the high end of the unit that holds it.
                (None, Some(offset), Some(width)) => {
                    let unit = number(&die, dw::DW_AT_byte_size).unwrap_or(u64::from(ty.size())).wrapping_mul(8);
                    start.wrapping_add(unit.wrapping_sub(offset).wrapping_sub(width))
                }
                _ => start,
            };
            let Ok(bit_offset) = u32::try_from(bit_offset) else { continue };
            found.push(Member {
                name: if inherited { String::new() } else { debug.name(child).unwrap_or_default() },
                ty,
                bit_offset,
                bits: width.and_then(|w| u8::try_from(w).ok()),
                big_endian: false,
            });
        }
        found
    }

    /// A type as C writes it: `const char*`, `struct node*`, `void`.
    pub(super) fn text_of(&self, debug: &Debug, ty: Option<At>) -> String {
        text(debug, ty, 0)
    }

    /// The record or enum of this name.
    pub fn named(&self, debug: &Debug, kind: TypeKind, name: &str) -> Option<Type> {
        let tags: &[gimli::DwTag] = match kind {
            TypeKind::Struct | TypeKind::Union => &RECORDS,
            TypeKind::Enum => &[dw::DW_TAG_enumeration_type],
            TypeKind::Typedef => return None,
        };
        let at = debug.definition(name, tags)?;
        let union = debug.die(at)?.tag() == dw::DW_TAG_union_type;
        (union == (kind == TypeKind::Union)).then(|| self.convert(debug, Some(at)))
    }

    /// The value and type of the enumerator of this name, if all that have it agree.
    pub fn enumerator(&self, debug: &Debug, name: &str) -> Option<(i64, Type)> {
        debug.enumerator(&self.enums, name)
    }

    /// The enumerators of an enum by what its type is called; `None` where it is none of a program.
    pub fn enum_values(&self, name: &str) -> Option<Vec<(String, i64)>> {
        self.enums.values(name)
    }
}

pub(super) const RECORDS: [gimli::DwTag; 3] = [dw::DW_TAG_structure_type, dw::DW_TAG_class_type, dw::DW_TAG_union_type];

impl Debug {
    /// The definition of this name with one of these tags, wherever it is.
    pub(super) fn definition(&self, name: &str, tags: &[gimli::DwTag]) -> Option<At> {
        let mut found = None;
        for unit in 0..self.headers.len() {
            self.each(unit, tags, &mut |at, die| {
                if found.is_none() && !die.has_attr(dw::DW_AT_declaration) && self.name(at).is_some_and(|n| n == name) {
                    found = Some(at);
                }
            });
            if found.is_some() {
                break;
            }
        }
        found
    }
}

/// A type without typedefs and qualifiers.
pub(super) fn bare(debug: &Debug, ty: Option<At>) -> Option<(At, Die)> {
    let mut at = ty?;
    for _ in 0..DEEPEST {
        let die = debug.die(at)?;
        match die.tag() {
            dw::DW_TAG_typedef
            | dw::DW_TAG_const_type
            | dw::DW_TAG_volatile_type
            | dw::DW_TAG_restrict_type
            | dw::DW_TAG_atomic_type => at = debug.type_of(at)?,
            _ => return Some((at, die)),
        }
    }
    None
}

pub(super) fn number(die: &Die, name: gimli::DwAt) -> Option<u64> {
    die.attr_value(name)?.udata_value()
}

pub(super) fn encoding(die: &Die) -> Option<gimli::DwAte> {
    match die.attr_value(dw::DW_AT_encoding)? {
        AttributeValue::Encoding(encoding) => Some(encoding),
        _ => None,
    }
}

fn bits(bytes: u64) -> u8 {
    match bytes {
        1 | 2 | 4 => (bytes * 8) as u8,
        _ => 64,
    }
}

/// A number; what C has no such type for is its bytes.
pub(super) fn base(die: &Die, size: u64, name: Option<&str>) -> Type {
    let signed = match encoding(die) {
        // Of 16 bytes there are several: `_Float128` is another format than `long double`.
        Some(dw::DW_ATE_float) if size < 16 || name == Some("long double") => match Type::float(size) {
            Some(float) => return float,
            None => return Type::Array { elem: Box::new(Type::U8), len: size as u32 },
        },
        Some(dw::DW_ATE_signed | dw::DW_ATE_signed_char) => true,
        Some(dw::DW_ATE_unsigned | dw::DW_ATE_unsigned_char | dw::DW_ATE_boolean | dw::DW_ATE_UTF) => false,
        _ => return Type::Array { elem: Box::new(Type::U8), len: size as u32 },
    };
    match size {
        1 | 2 | 4 | 8 => Type::Int { bits: bits(size), signed },
        16 => Type::Int128 { signed },
        _ => Type::Array { elem: Box::new(Type::U8), len: size as u32 },
    }
}

/// Whether a record is text or a list of Go or Rust, an address and a length: these have names that C has not.
fn is_sequence(debug: &Debug, at: At, name: &str) -> bool {
    match debug.language(at.unit) {
        Some(dw::DW_LANG_Go) => name == "string" || name.starts_with("[]"),
        Some(dw::DW_LANG_Rust) => ["&str", "&mut str", "&[", "&mut ["].iter().any(|start| name.starts_with(start)),
        _ => false,
    }
}

fn keyword(die: &Die) -> &'static str {
    match die.tag() {
        dw::DW_TAG_union_type => "union",
        dw::DW_TAG_enumeration_type => "enum",
        _ => "struct",
    }
}

fn text(debug: &Debug, ty: Option<At>, depth: u32) -> String {
    let Some((at, die)) = ty.and_then(|at| Some((at, debug.die(at)?))) else { return "void".to_owned() };
    if depth > DEEPEST {
        return "…".to_owned();
    }
    let inner = || text(debug, debug.type_of(at), depth + 1);
    match die.tag() {
        dw::DW_TAG_base_type | dw::DW_TAG_typedef | dw::DW_TAG_unspecified_type => debug.name(at).unwrap_or_default(),
        dw::DW_TAG_pointer_type => inner() + "*",
        dw::DW_TAG_reference_type => inner() + "&",
        dw::DW_TAG_rvalue_reference_type => inner() + "&&",
        dw::DW_TAG_const_type => {
            let inner = inner();
            if inner.ends_with('*') { inner + " const" } else { format!("const {inner}") }
        }
        dw::DW_TAG_volatile_type => format!("volatile {}", inner()),
        dw::DW_TAG_restrict_type => inner() + " restrict",
        dw::DW_TAG_structure_type | dw::DW_TAG_class_type | dw::DW_TAG_union_type | dw::DW_TAG_enumeration_type => {
            match debug.name(at) {
                Some(name) if is_sequence(debug, at, &name) => name,
                Some(name) => format!("{} {name}", keyword(&die)),
                None => format!("{} <anonymous>", keyword(&die)),
            }
        }
        dw::DW_TAG_array_type => inner() + "[]",
        dw::DW_TAG_subroutine_type => inner() + " ()",
        _ => "<unknown type>".to_owned(),
    }
}
