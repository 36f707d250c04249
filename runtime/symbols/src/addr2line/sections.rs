//! Relocatable files, as modules of the kernel are: the addresses in their symbols count from the start of each section,
//! so that functions of several sections have the same. Owns giving every section a place of its own.

use object::elf::{ET_REL, FileHeader64, SHF_ALLOC, SHT_SYMTAB};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use object::{Endianness, SectionIndex};
use std::collections::HashMap;

/// The first section begins here: readers of debug information take 0 for code that was left out.
const FIRST: u64 = 0x10_0000;
/// The gap between sections, so that a return address behind one is not in the next.
const GAP: u64 = 0x1000;

/// A copy of the file in which sections and symbols have addresses that occur once. Relocations, which say the same of
/// debug information by symbols, need no change. `None` if it is no relocatable file for 64 bits.
pub fn placed(file: &[u8]) -> Option<Vec<u8>> {
    let header = FileHeader64::<Endianness>::parse(file).ok()?;
    let endian = header.endian().ok()?;
    if header.e_type(endian) != ET_REL {
        return None;
    }
    let sections = header.sections(endian, file).ok()?;
    let mut copy = file.to_vec();
    let mut starts: HashMap<SectionIndex, u64> = HashMap::new();
    let mut next = FIRST;
    for (index, section) in sections.enumerate() {
        if section.sh_flags(endian) & u64::from(SHF_ALLOC) == 0 {
            continue;
        }
        let start = next.next_multiple_of(section.sh_addralign(endian).clamp(1, GAP));
        next = start.checked_add(section.sh_size(endian))?.checked_add(GAP)?;
        starts.insert(index, start);
        // The member sh_addr of the header, see elf(5).
        let headers = header.e_shoff(endian);
        let size = u64::from(header.e_shentsize(endian));
        write(&mut copy, endian, headers + size * index.0 as u64 + 16, start)?;
    }
    let symbols = sections.symbols(endian, file, SHT_SYMTAB).ok()?;
    let (table, _) = sections.section(symbols.section()).ok()?.file_range(endian)?;
    for (index, symbol) in symbols.enumerate() {
        let section = symbols.symbol_section(endian, symbol, index).ok().flatten();
        if let Some(start) = section.and_then(|s| starts.get(&s)) {
            // The member st_value of a symbol of 24 bytes.
            write(&mut copy, endian, table + 24 * index.0 as u64 + 8, start.checked_add(symbol.st_value(endian))?)?;
        }
    }
    Some(copy)
}

fn write(file: &mut [u8], endian: Endianness, at: u64, value: u64) -> Option<()> {
    let at = usize::try_from(at).ok()?;
    let bytes = match endian {
        Endianness::Little => value.to_le_bytes(),
        Endianness::Big => value.to_be_bytes(),
    };
    file.get_mut(at..at.checked_add(8)?)?.copy_from_slice(&bytes);
    Some(())
}
