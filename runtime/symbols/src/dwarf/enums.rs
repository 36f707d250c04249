//! Enums of executables: those with the same name and enumerators are one type, wherever they are described.

use std::cell::RefCell;
use std::collections::HashMap;

use gimli::constants as dw;
use rtrace_core::types::{Type, number_of_program_enum, program_enum, unnamed_enum};

use super::types::{bare, base, number};
use super::{At, Debug, Die};

/// Bytes of names that are kept of all enums together: programs may be made to have many. Enums beyond are numbers.
const MOST_TEXT: usize = 16 << 20;

/// The enums that were asked for, of all executables.
#[derive(Default)]
pub(super) struct Enums {
    known: RefCell<Vec<Enum>>,
    /// The types of entries (number of the executable, offset).
    types: RefCell<HashMap<(usize, At), Type>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Enum {
    name: String,
    bits: u8,
    signed: bool,
    values: Vec<(String, i64)>,
}

impl Enums {
    /// The type of an enum; the number it is made of where its enumerators are not known.
    pub(super) fn convert(&self, debug: &Debug, at: At, die: &Die) -> Type {
        let key = (debug.number, at);
        if let Some(known) = self.types.borrow().get(&key) {
            return known.clone();
        }
        let ty = self.read(debug, at, die);
        self.types.borrow_mut().insert(key, ty.clone());
        ty
    }

    fn read(&self, debug: &Debug, at: At, die: &Die) -> Type {
        let size = number(die, dw::DW_AT_byte_size).unwrap_or(0);
        let under = bare(debug, debug.type_of(at))
            .map(|(_, d)| base(&d, if size > 0 { size } else { number(&d, dw::DW_AT_byte_size).unwrap_or(0) }, None));
        let name = debug.name(at);
        // C++ may declare one here and list its enumerators elsewhere.
        let declared = die.has_attr(dw::DW_AT_declaration);
        let defined = name.as_deref().filter(|_| declared).and_then(|n| debug.definition(n, &[die.tag()]));
        let enumerators = debug.children(defined.unwrap_or(at)).into_iter();
        let enumerators: Vec<(At, Die)> = enumerators.filter(|(_, d)| d.tag() == dw::DW_TAG_enumerator).collect();
        let ty = under.unwrap_or_else(|| match size {
            1 | 2 | 4 | 8 => {
                Type::Int { bits: size as u8 * 8, signed: enumerators.iter().any(|(_, d)| is_negative(d)) }
            }
            _ => Type::Array { elem: Box::new(Type::U8), len: u32::try_from(size).unwrap_or(0) },
        });
        let Type::Int { bits, signed } = ty else { return ty };
        let mut room = MOST_TEXT.saturating_sub(self.text());
        let mut values = Vec::new();
        for (enumerator, die) in enumerators {
            let Some(value) = value(&die, bits, signed) else { continue };
            let Some(name) = debug.name(enumerator).filter(|n| !n.is_empty()) else { continue };
            let Some(rest) = room.checked_sub(name.len()) else { return ty };
            room = rest;
            values.push((name, value));
        }
        let Some((first, _)) = values.first() else { return ty };
        let name = name.unwrap_or_else(|| unnamed_enum(first));
        let found = Enum { name, bits, signed, values };
        let mut known = self.known.borrow_mut();
        let index = known.iter().position(|e| *e == found).unwrap_or_else(|| {
            known.push(found.clone());
            known.len() - 1
        });
        Type::Enum { name: program_enum(&found.name, index), bits, signed }
    }

    /// Bytes of the names that are kept.
    fn text(&self) -> usize {
        self.known.borrow().iter().flat_map(|e| &e.values).map(|(name, _)| name.len()).sum()
    }

    /// The enumerators of an enum by what its type is called; `None` where it is none of a program.
    pub(super) fn values(&self, name: &str) -> Option<Vec<(String, i64)>> {
        let known = self.known.borrow();
        number_of_program_enum(name).and_then(|n| known.get(n)).map(|e| e.values.clone())
    }
}

impl Debug {
    /// The value and type of an enumerator, unless enums disagree about it.
    pub(super) fn enumerator(&self, enums: &Enums, name: &str) -> Option<(i64, Type)> {
        const TAGS: [gimli::DwTag; 2] = [dw::DW_TAG_enumeration_type, dw::DW_TAG_enumerator];
        let mut places = Vec::new();
        for unit in 0..self.headers.len() {
            let mut around = None;
            self.each(unit, &TAGS, &mut |at, die| {
                if die.tag() == dw::DW_TAG_enumeration_type {
                    around = Some(at);
                } else if self.name(at).is_some_and(|n| n == name) {
                    places.extend(around);
                }
            });
        }
        let mut found: Option<(i64, Type)> = None;
        for at in places {
            let ty = enums.convert(self, at, &self.die(at)?);
            let Type::Enum { name: of, .. } = &ty else { continue };
            let value = enums.values(of)?.into_iter().find(|(n, _)| n == name)?.1;
            match &found {
                Some((known, _)) if *known != value => return None,
                Some(_) => {}
                None => found = Some((value, ty)),
            }
        }
        found
    }
}

fn is_negative(enumerator: &Die) -> bool {
    enumerator.attr_value(dw::DW_AT_const_value).is_some_and(|v| v.udata_value().is_none())
}

/// The value of an enumerator as a number of its type. Compilers write it in as few bytes as it needs, some of them
/// unsigned ones in those of its type and others signed ones: the type says which.
fn value(enumerator: &Die, bits: u8, signed: bool) -> Option<i64> {
    let value = enumerator.attr_value(dw::DW_AT_const_value)?;
    let value = value.udata_value().or_else(|| value.sdata_value().map(|n| n as u64))?;
    let shift = 64 - u32::from(bits.clamp(1, 64));
    let value = value << shift;
    Some(if signed { value as i64 >> shift } else { (value >> shift) as i64 })
}
