//! Debug information of executables (DWARF): functions with their parameters, where they are inlined, lines.
//!
//! Nothing here is read before a script asks for it. Units are decoded one by one: those that cover an address are
//! found by the ranges in their first entries; only names of inlined functions need all entries of all units.

mod convention;
mod enums;
mod lines;
mod places;
mod split;
mod types;

use std::borrow::Cow;
use std::cell::OnceCell;
use std::path::Path;

use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, DwTag, EndianSlice, NativeEndian, UnitOffset, UnitRef,
    constants,
};
use object::Object;
use rtrace_core::kernel::{Place, UserFunction, UserParameter};

use crate::debug_file::{self, Elf};
use crate::foreign;
use crate::user;
use split::{Missing, Split};
pub use types::{Types, is_handle};

type Reader = EndianSlice<'static, NativeEndian>;
type Unit = gimli::Unit<Reader>;
type Die = DebuggingInformationEntry<Reader>;
type Result<T> = gimli::Result<T>;

/// Members, enumerators or parameters that are read of one entry. What has more was made to have them.
const MOST_CHILDREN: usize = 1 << 16;

/// An entry: number of its unit, and place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct At {
    unit: usize,
    offset: UnitOffset,
}

/// The debug information of one executable.
pub struct Debug {
    /// The number of this one among the opened ones.
    number: usize,
    /// The executable itself, for how frames are unwound.
    main: Elf,
    dwarf: gimli::Dwarf<Reader>,
    headers: Vec<gimli::UnitHeader<Reader>>,
    units: Vec<OnceCell<Option<Unit>>>,
    split: Split,
}

/// A place where a function begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    pub address: u64,
    pub function: String,
}

impl Debug {
    /// Opens what there is, in the file or apart from it; `None` when there is none.
    pub fn open(path: &str, number: usize) -> Option<Debug> {
        let main = debug_file::open(Path::new(path))?;
        let has = |elf: &Elf| elf.section_by_name(".debug_info").is_some();
        let dwarf = if has(&main) {
            load(&main)
        } else {
            let elf = debug_file::open(&debug_file::separate(path, &main)?)?;
            if !has(&elf) {
                return None;
            }
            load(&elf)
        };
        let mut headers = Vec::new();
        let mut all = dwarf.units();
        // What follows a damaged header is out of reach.
        while let Ok(Some(header)) = all.next() {
            headers.push(header);
        }
        let units = headers.iter().map(|_| OnceCell::new()).collect();
        let split = Split::new(path, headers.len());
        Some(Debug { number, main, dwarf, headers, units, split })
    }

    /// A unit as the program has it: of split ones only lines and ranges.
    fn skeleton(&self, number: usize) -> Option<UnitRef<'_, Reader>> {
        let header = self.headers.get(number)?;
        let unit = self.units.get(number)?.get_or_init(|| self.dwarf.unit(*header).ok()).as_ref()?;
        Some(UnitRef::new(&self.dwarf, unit))
    }

    /// A unit with all its entries, or the file that lacks.
    fn whole(&self, number: usize) -> Option<std::result::Result<UnitRef<'_, Reader>, &Missing>> {
        let unit = self.skeleton(number)?;
        match unit.unit.dwo_id {
            Some(id) => self.split.rest(number, unit, id),
            None => Some(Ok(unit)),
        }
    }

    fn unit(&self, number: usize) -> Option<UnitRef<'_, Reader>> {
        self.whole(number)?.ok()
    }

    fn die(&self, at: At) -> Option<Die> {
        self.unit(at.unit)?.entry(at.offset).ok()
    }

    /// The entry that an attribute of an entry of `unit` refers to.
    fn referred(&self, unit: usize, value: Option<AttributeValue<Reader>>) -> Option<At> {
        match value? {
            AttributeValue::UnitRef(offset) => Some(At { unit, offset }),
            // Compilers do not refer from one split unit to another.
            AttributeValue::DebugInfoRef(offset) if self.skeleton(unit)?.unit.dwo_id.is_some() => {
                Some(At { unit, offset: offset.to_unit_offset(&self.unit(unit)?.unit.header)? })
            }
            AttributeValue::DebugInfoRef(offset) => self.global(offset),
            _ => None,
        }
    }

    fn global(&self, offset: DebugInfoOffset) -> Option<At> {
        let start = |h: &gimli::UnitHeader<Reader>| h.debug_info_offset().map_or(0, |o| o.0);
        let unit = self.headers.partition_point(|h| start(h) <= offset.0).checked_sub(1)?;
        let offset = offset.to_unit_offset(self.headers.get(unit)?)?;
        Some(At { unit, offset })
    }

    fn text(&self, unit: usize, value: AttributeValue<Reader>) -> Option<String> {
        let text = self.unit(unit)?.attr_string(value).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    /// The entry that an entry completes or is an instance of, which has the attributes that it lacks.
    fn origin(&self, unit: usize, die: &Die) -> Option<At> {
        let value = die.attr_value(constants::DW_AT_abstract_origin);
        self.referred(unit, value.or_else(|| die.attr_value(constants::DW_AT_specification)))
    }

    /// An attribute of an entry, or of its origin.
    fn inherited(&self, at: At, name: constants::DwAt) -> Option<(usize, AttributeValue<Reader>)> {
        let mut at = at;
        // Longer chains are no chains.
        for _ in 0..4 {
            let die = self.die(at)?;
            if let Some(value) = die.attr_value(name) {
                return Some((at.unit, value));
            }
            at = self.origin(at.unit, &die)?;
        }
        None
    }

    fn name(&self, at: At) -> Option<String> {
        let (unit, value) = self.inherited(at, constants::DW_AT_name)?;
        self.text(unit, value)
    }

    fn linkage_name(&self, at: At) -> Option<String> {
        let (unit, value) = self.inherited(at, constants::DW_AT_linkage_name)?;
        self.text(unit, value)
    }

    fn children(&self, at: At) -> Vec<(At, Die)> {
        let mut found = Vec::new();
        let mut collect = || -> Result<()> {
            let Some(unit) = self.unit(at.unit) else { return Ok(()) };
            let mut tree = unit.entries_tree(Some(at.offset))?;
            let mut children = tree.root()?.children();
            while let (true, Some(child)) = (found.len() < MOST_CHILDREN, children.next()?) {
                let die = child.entry();
                found.push((At { unit: at.unit, offset: die.offset() }, die.clone()));
            }
            Ok(())
        };
        // Damaged entries end the list.
        let _ = collect();
        found
    }

    /// Calls `each` with every entry of a unit that has one of the tags.
    fn each(&self, number: usize, tags: &[DwTag], each: &mut dyn FnMut(At, &Die)) {
        let Some(unit) = self.unit(number) else { return };
        let mut entries = unit.entries();
        while let Ok(Some(die)) = entries.next_dfs() {
            if tags.contains(&die.tag()) {
                each(At { unit: number, offset: die.offset() }, die);
            }
        }
    }

    /// The ranges of an entry's code.
    fn ranges(&self, unit: usize, die: &Die) -> Vec<gimli::Range> {
        self.unit(unit).and_then(|unit| code_ranges(unit, die).ok()).unwrap_or_default()
    }

    /// The unit whose code an address is in.
    fn unit_of(&self, address: u64) -> Option<usize> {
        (0..self.headers.len()).find(|number| {
            let Some(unit) = self.skeleton(*number) else { return false };
            let mut entries = unit.entries();
            let Ok(Some(root)) = entries.next_dfs() else { return false };
            let ranges = code_ranges(unit, root).unwrap_or_default();
            ranges.iter().any(|range| (range.begin..range.end).contains(&address))
        })
    }

    /// The start of an inlined copy of a function.
    fn entry_address(&self, unit: usize, die: &Die) -> Option<u64> {
        let u = self.unit(unit)?;
        let first = self.ranges(unit, die).first().map(|r| r.begin);
        match die.attr_value(constants::DW_AT_entry_pc) {
            Some(AttributeValue::Addr(address)) => Some(address),
            Some(AttributeValue::DebugAddrIndex(index)) => u.address(index).ok(),
            Some(value) => Some(first?.wrapping_add(value.udata_value()?)),
            None => first,
        }
    }

    /// The functions and inlined copies around an address, outermost first.
    fn around(&self, address: u64) -> std::result::Result<Vec<At>, Missing> {
        let Some(unit) = self.unit_of(address) else { return Ok(Vec::new()) };
        if let Some(Err(missing)) = self.whole(unit) {
            return Err(missing.clone());
        }
        let mut found = Vec::new();
        self.each(unit, &[constants::DW_TAG_subprogram, constants::DW_TAG_inlined_subroutine], &mut |at, die| {
            if self.ranges(unit, die).iter().any(|r| (r.begin..r.end).contains(&address)) {
                found.push(at);
            }
        });
        Ok(found)
    }

    /// The function at an address: of those around it the one of this name, else the outermost.
    pub fn function(
        &self,
        types: &Types,
        address: u64,
        name: &str,
    ) -> std::result::Result<Option<UserFunction>, Missing> {
        let around = self.around(address)?;
        let named = |at: &&At| self.is_named(**at, name);
        let at = around.iter().rev().find(named).or(around.first());
        Ok(at.zip(around.first()).and_then(|(at, outer)| self.described(types, address, *at, *outer, name)))
    }

    fn described(&self, types: &Types, address: u64, at: At, outer: At, symbol: &str) -> Option<UserFunction> {
        let die = self.die(at)?;
        let entry = die.tag() == constants::DW_TAG_subprogram
            && self.ranges(at.unit, &die).first().is_some_and(|r| r.begin == address);
        Some(UserFunction {
            name: self.name(at).unwrap_or_default(),
            params: self.parameters(types, at, outer, address, entry.then_some(symbol)),
            returns: types.text_of(self, self.type_of(at)),
        })
    }

    fn is_named(&self, at: At, name: &str) -> bool {
        self.name(at).is_some_and(|n| n == name) || self.linkage_name(at).is_some_and(|n| user::is_name(name, &n))
    }

    fn type_of(&self, at: At) -> Option<At> {
        let (unit, value) = self.inherited(at, constants::DW_AT_type)?;
        self.referred(unit, Some(value))
    }

    /// The language of a unit.
    fn language(&self, unit: usize) -> Option<gimli::DwLang> {
        let unit = self.unit(unit)?;
        let mut entries = unit.entries();
        match entries.next_dfs().ok()??.attr_value(constants::DW_AT_language)? {
            AttributeValue::Language(language) => Some(language),
            _ => None,
        }
    }

    /// The parameters at an address; at its entry, `symbol` is what the function is called in the symbol table.
    fn parameters(&self, types: &Types, at: At, outer: At, address: u64, symbol: Option<&str>) -> Vec<UserParameter> {
        // Go marks results as what the function changes.
        let go = self.language(at.unit) == Some(constants::DW_LANG_Go);
        let is_result = |die: &Die| {
            go && matches!(die.attr_value(constants::DW_AT_variable_parameter), Some(AttributeValue::Flag(true)))
        };
        let is_parameter = |(_, die): &(At, Die)| die.tag() == constants::DW_TAG_formal_parameter && !is_result(die);
        let own: Vec<(At, Die)> = self.children(at).into_iter().filter(is_parameter).collect();
        // An instance may lack parameters that it does not need.
        let origin = self.die(at).and_then(|die| self.origin(at.unit, &die));
        let declared: Vec<(At, Die)> =
            origin.map(|o| self.children(o).into_iter().filter(is_parameter).collect()).unwrap_or_default();
        let list: Vec<(At, Option<&Die>)> = if declared.is_empty() {
            own.iter().map(|(at, die)| (*at, Some(die))).collect()
        } else {
            let instance =
                |of: At| own.iter().find(|(at, die)| self.origin(at.unit, die) == Some(of)).map(|(_, die)| die);
            let all: Vec<_> = declared.iter().map(|(at, _)| (*at, instance(*at))).collect();
            // A definition of what a class declares repeats the parameters without saying which is which.
            if own.len() >= declared.len() && all.iter().all(|(_, die)| die.is_none()) {
                own.iter().map(|(at, die)| (*at, Some(die))).collect()
            } else {
                all
            }
        };
        let entry = symbol.is_some();
        let mut convention = convention::Convention::of(self, at, symbol.unwrap_or_default());
        let in_frame = |(_, die): &(At, Option<&Die>)| {
            die.is_some_and(|d| matches!(d.attr_value(constants::DW_AT_location), Some(AttributeValue::Exprloc(_))))
        };
        if !list.iter().all(in_frame) {
            convention.is_optimized();
        }
        let mut found = Vec::new();
        for (parameter, instance) in list {
            let ty = self.type_of(parameter);
            let name = self.name(parameter).unwrap_or_default();
            let by_convention = match self.die(parameter) {
                Some(die) => convention.next(self, &die, &name, ty),
                None => Place::Unknown("its debug information is corrupted".to_owned()),
            };
            let located = instance.and_then(|die| self.place(at.unit, die, outer, address, entry));
            let place = match (located, entry) {
                (Some(place), _) => place,
                (None, true) => by_convention,
                (None, false) => Place::Unknown("the compiler did not keep it".to_owned()),
            };
            found.push(UserParameter { name, ty: types.convert(self, ty), declared: types.text_of(self, ty), place });
        }
        found
    }

    /// The inlined copies of a function, sorted by address.
    pub fn inlined(&self, name: &str) -> Vec<Beginning> {
        let mut wanted = Vec::new();
        let mut copies = Vec::new();
        for unit in 0..self.headers.len() {
            self.each(unit, &[constants::DW_TAG_subprogram, constants::DW_TAG_inlined_subroutine], &mut |at, die| {
                if die.tag() == constants::DW_TAG_subprogram {
                    if die.has_attr(constants::DW_AT_inline) && self.is_named(at, name) {
                        wanted.push(at);
                    }
                } else if let Some(origin) = self.origin(unit, die) {
                    copies.push((origin, at));
                }
            });
        }
        let mut found: Vec<Beginning> = Vec::new();
        for (origin, at) in copies {
            if wanted.contains(&origin)
                && let Some(die) = self.die(at)
                && let Some(address) = self.entry_address(at.unit, &die)
                && !found.iter().any(|f| f.address == address)
            {
                found.push(Beginning { address, function: name.to_owned() });
            }
        }
        found.sort_by_key(|f| f.address);
        found
    }
}

fn load(elf: &Elf) -> gimli::Dwarf<Reader> {
    match gimli::Dwarf::load(|part| section::<std::convert::Infallible>(elf, Some(part.name()))) {
        Ok(dwarf) => dwarf,
    }
}

/// A section's bytes; none where there is no such section.
fn section<E>(elf: &Elf, name: Option<&str>) -> std::result::Result<Reader, E> {
    let data: &'static [u8] = match name.and_then(|name| foreign::section(elf, name)).unwrap_or_default() {
        Cow::Borrowed(data) => data,
        // Decompressed: kept like the others.
        Cow::Owned(data) => Box::leak(data.into_boxed_slice()),
    };
    Ok(EndianSlice::new(data, NativeEndian))
}

/// The ranges of an entry's code. gimli's own (0.34) panics on some damaged files where overflow is checked.
fn code_ranges(unit: gimli::UnitRef<'_, Reader>, die: &Die) -> gimli::Result<Vec<gimli::Range>> {
    let mut found = Vec::new();
    if let Some(value) = die.attr_value(constants::DW_AT_ranges)
        && let Some(mut list) = unit.attr_ranges(value)?
    {
        // Damaged ones end the list.
        while let Ok(Some(range)) = list.next() {
            found.push(range);
        }
        return Ok(found);
    }
    let address = |value: Option<AttributeValue<Reader>>| value.map_or(Ok(None), |v| unit.attr_address(v));
    let Some(begin) = address(die.attr_value(constants::DW_AT_low_pc))? else { return Ok(found) };
    let end = match die.attr_value(constants::DW_AT_high_pc) {
        Some(AttributeValue::Udata(size)) => begin.checked_add(size),
        value => address(value)?,
    };
    found.extend(end.map(|end| gimli::Range { begin, end }));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrace_core::arch::Arch;
    use rtrace_core::types::Type;
    use rtrace_test_support::Folder;

    const SAMPLE: &str = "struct sample { unsigned short small; const struct sample *next; };\n\
        __attribute__((noinline)) long described(unsigned first, const struct sample *second, double third) {\n\
        \treturn first + second->small + (long)third;\n\
        }\n\
        long other(void);\n\
        int main(void) { struct sample s = {1, 0}; return described(1, &s, 2.0) + other() != 5; }\n";
    const OTHER: &str = "\nlong other(void) {\n\treturn 1;\n}\n";

    /// A program of two files of one name, and its debug information.
    fn compiled(name: &str) -> (Folder, String, Debug) {
        let folder = Folder::new(name, &[("one/s.c", SAMPLE), ("two/s.c", OTHER)]);
        folder.run("cc", &["-g", "-O0", "one/s.c", "two/s.c", "-o", "s"]);
        folder.run("./s", &[]);
        let path = folder.file("s").display().to_string();
        let debug = Debug::open(&path, 0).expect("debug information");
        (folder, path, debug)
    }

    #[test]
    fn functions_and_their_types() {
        let (_folder, path, debug) = compiled("described");
        let symbol = user::symbols(&path, "described").expect("readable").pop().expect("the function");
        let types = Types::default();
        let f = debug.function(&types, symbol.address, &symbol.name).expect("whole").expect("described");
        assert_eq!(f.name, "described");
        let names: Vec<&str> = f.params.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["first", "second", "third"]);
        let arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };
        let places: Vec<_> = f.params.iter().map(|p| p.place.clone()).collect();
        let register = |n| Place::Register(arch.argument(n).expect("a register"));
        assert_eq!(places.get(..2), Some([register(0), register(1)].as_slice()));
        assert!(matches!(places.last(), Some(Place::Unknown(_))));
        let [first, second, _] = f.params.as_slice() else { panic!("three parameters") };
        assert_eq!((first.ty.clone(), first.declared.as_str()), (Type::U32, "unsigned int"));
        let Type::Ptr { to, .. } = &second.ty else { panic!("{:?}", second.ty) };
        let Type::Record(record) = &**to else { panic!("{to:?}") };
        assert!(record.name == "struct sample" && record.size == 16 && is_handle(record.id));
        let members = types.members_of(&debug, record.id);
        let small = members.iter().find(|m| m.name == "small").expect("a member");
        assert_eq!((small.ty.clone(), small.bit_offset), (Type::U16, 0));
        assert!(members.iter().any(|m| m.name == "next" && m.bit_offset == 64));
    }

    #[test]
    fn lines_of_the_source() {
        let (_folder, _, debug) = compiled("lines");
        let found = debug.line("one/s.c", 3, None).expect("code");
        assert_eq!(found.first().map(|b| b.function.as_str()), Some("described"));
        assert!(matches!(debug.line("one/s.c", 1, None), Err(lines::NoLine::NoCode(..))));
        assert!(matches!(debug.line("no_such_file.c", 1, None), Err(lines::NoLine::NoFile(_))));
        assert!(matches!(debug.line("s.c", 1, None), Err(lines::NoLine::Ambiguous(_))));
        assert!(Debug::open("/etc/passwd", 0).is_none());
    }
}
