//! Reading the object that LLVM made, as far as the disassembly needs it: sections, symbols,
//! relocations, and the line information of `.BTF.ext`. Everything is bounds-checked; what is not there
//! is empty.

use std::collections::HashMap;

pub struct Section<'d> {
    pub name: &'d str,
    pub kind: u32,
    pub data: &'d [u8],
    info: u32,
}

/// Executable contents.
pub const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const REL: u32 = 9;
/// The type of a symbol that is a function.
const FUNC: u8 = 2;

/// A line of the sources at an instruction.
pub struct Line<'d> {
    /// Offset of the instruction in its section.
    pub at: u32,
    pub file: &'d str,
    pub text: &'d str,
    pub line: u32,
    pub column: u32,
}

/// A place in the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    pub section: usize,
    /// In bytes.
    pub offset: u64,
}

pub struct Object<'d> {
    pub sections: Vec<Section<'d>>,
}

pub fn u16_at(data: &[u8], at: usize) -> u16 {
    data.get(at..).and_then(|d| d.first_chunk()).map_or(0, |b| u16::from_le_bytes(*b))
}

pub fn u32_at(data: &[u8], at: usize) -> u32 {
    data.get(at..).and_then(|d| d.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b))
}

pub fn u64_at(data: &[u8], at: usize) -> u64 {
    data.get(at..).and_then(|d| d.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

fn text_at(data: &[u8], at: u32) -> &str {
    let rest = data.get(at as usize..).unwrap_or_default();
    let bytes = rest.split(|b| *b == 0).next().unwrap_or_default();
    std::str::from_utf8(bytes).unwrap_or("?")
}

fn slice(data: &[u8], at: u64, len: u64) -> &[u8] {
    let end = at.saturating_add(len);
    data.get(at as usize..end as usize).unwrap_or_default()
}

impl<'d> Object<'d> {
    pub fn parse(data: &'d [u8]) -> Object<'d> {
        let (start, size) = (u64_at(data, 0x28), u64::from(u16_at(data, 0x3a)));
        let header = |i: u16| slice(data, start + u64::from(i) * size, size);
        let contents = |h: &[u8]| slice(data, u64_at(h, 0x18), u64_at(h, 0x20));
        let names = contents(header(u16_at(data, 0x3e)));
        let sections = (0..u16_at(data, 0x3c)).map(|i| {
            let h = header(i);
            // Sections without contents in the file have a size all the same.
            let kind = u32_at(h, 4);
            let data = if kind == 8 { &[] } else { contents(h) };
            Section { name: text_at(names, u32_at(h, 0)), kind, data, info: u32_at(h, 0x2c) }
        });
        Object { sections: sections.collect() }
    }

    fn named(&self, name: &str) -> &'d [u8] {
        self.sections.iter().find(|s| s.name == name).map_or(&[], |s| s.data)
    }

    /// Offsets of the relocations of the section with that index, with the symbols' names.
    pub fn relocations(&self, section: usize) -> Vec<(u64, &'d str)> {
        let symbols = self.sections.iter().find(|s| s.kind == SYMTAB).map_or(&[][..], |s| s.data);
        let names = self.named(".strtab");
        let of = self.sections.iter().filter(|s| s.kind == REL && s.info as usize == section);
        of.flat_map(|s| s.data.chunks_exact(16))
            .map(|r| {
                let symbol = (u64_at(r, 8) >> 32) as usize;
                let name = text_at(names, u32_at(symbols, symbol * 24));
                // Functions of the object itself are meant by their section.
                let section = usize::from(u16_at(symbols, symbol * 24 + 6));
                let section = self.sections.get(section).map_or("", |s| s.name);
                (u64_at(r, 0), if name.is_empty() { section } else { name })
            })
            .collect()
    }

    fn symbols(&self) -> &'d [u8] {
        self.sections.iter().find(|s| s.kind == SYMTAB).map_or(&[], |s| s.data)
    }

    /// The offsets of functions in a section.
    pub fn functions(&self, section: usize) -> Vec<u64> {
        let symbols = self.symbols().chunks_exact(24);
        let functions = symbols.filter(|s| s.get(4).is_some_and(|info| info & 15 == FUNC));
        functions.filter(|s| usize::from(u16_at(s, 6)) == section).map(|s| u64_at(s, 8)).collect()
    }

    /// The functions that the instructions of a section call or pass to the kernel as callbacks, in another section or
    /// by a symbol; by section and offset of the instruction.
    pub fn calls(&self, section: usize) -> HashMap<(usize, u64), Target> {
        let code = self.sections.get(section).map_or(&[][..], |s| s.data);
        let symbols = self.symbols();
        let of = self.sections.iter().filter(|s| s.kind == REL && s.info as usize == section);
        of.flat_map(|s| s.data.chunks_exact(16))
            .filter_map(|r| {
                let at = u64_at(r, 0);
                let symbol = (u64_at(r, 8) >> 32) as usize * 24;
                let to = usize::from(u16_at(symbols, symbol + 6));
                let executable = self.sections.get(to).is_some_and(|s| s.name == ".text");
                // Calls count in instructions and from the one after, addresses in bytes.
                let constant = i64::from(u32_at(code, at as usize + 4) as i32);
                let call = code.get(at as usize) == Some(&0x85);
                let plus = if call { (constant + 1) * 8 } else { constant };
                let offset = u64_at(symbols, symbol + 8).wrapping_add_signed(plus);
                executable.then_some(((section, at), Target { section: to, offset }))
            })
            .collect()
    }

    /// The line information of a section, in the order of instructions.
    pub fn lines(&self, section: &str) -> Vec<Line<'d>> {
        let (btf, ext) = (self.named(".BTF"), self.named(".BTF.ext"));
        let strings_at = u64::from(u32_at(btf, 4)) + u64::from(u32_at(btf, 16));
        let strings = slice(btf, strings_at, u64::from(u32_at(btf, 20)));
        let start = u64::from(u32_at(ext, 4)) + u64::from(u32_at(ext, 16));
        let mut rest = slice(ext, start, u64::from(u32_at(ext, 20)));
        let size = u32_at(rest, 0) as usize;
        rest = rest.get(4..).unwrap_or_default();
        let mut lines = Vec::new();
        while rest.len() >= 8 && size >= 16 {
            let (name, count) = (text_at(strings, u32_at(rest, 0)), u32_at(rest, 4) as usize);
            let (records, after) = match rest.get(8..).unwrap_or_default().split_at_checked(count * size) {
                Some(split) => split,
                None => break,
            };
            if name == section {
                lines.extend(records.chunks_exact(size).map(|r| Line {
                    at: u32_at(r, 0),
                    file: text_at(strings, u32_at(r, 4)),
                    text: text_at(strings, u32_at(r, 8)),
                    line: u32_at(r, 12) >> 10,
                    column: u32_at(r, 12) & 0x3ff,
                }));
            }
            rest = after;
        }
        lines
    }
}
