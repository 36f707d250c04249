//! The functions that ftrace reaches, from the kernel's memory.
//!
//! Owns reading what `available_filter_functions` is made of: the records of kernel/trace/ftrace.c (`ftrace_pages_start`),
//! the kernel's table of symbols and those of its modules (kernel/module/kallsyms.c), laid out as BTF says. The kernel
//! takes 10,000 instructions a function to write that file, this a few hundred. Whatever is not as expected gives
//! `None`, and the file is read. It is trusted only where the beginning of the file says the same.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use rtrace_core::kernel::TypeKind;
use rtrace_core::types::Type;

use crate::btf::Facts;
use crate::kcore::{Memory, u16_at, u32_at, u64_at};
use crate::symbol_table::SymbolTable;

/// More than any kernel has: what is longer is no list, but memory that changed while it was read.
const MOST_RECORDS: usize = 4 << 20;
const MOST_MODULES: usize = 10_000;
/// The name in the file for functions that the linker left out (FTRACE_INVALID_FUNCTION); in memory they are disabled.
const INVALID: &[u8] = b"__ftrace_invalid_address__";

/// A struct of the kernel: its size, and where members are in it.
struct Struct<'a> {
    btf: &'a Facts,
    ty: rtrace_core::types::Record,
}

impl<'a> Struct<'a> {
    fn find(btf: &'a Facts, name: &str) -> Option<Struct<'a>> {
        match btf.find_type(TypeKind::Struct, name).ok()?? {
            Type::Record(ty) if ty.size > 0 => Some(Struct { btf, ty }),
            _ => None,
        }
    }

    fn size(&self) -> usize {
        self.ty.size as usize
    }

    /// Offset in bytes.
    fn offset(&self, member: &str) -> Option<usize> {
        Some(self.btf.member(self.ty.id, member)?.bit_offset as usize / 8)
    }
}

/// Lines `NAME` or `NAME [MODULE]` of what ftrace reaches, in the order of the file at `path`, but without those that
/// are no functions.
pub fn functions(btf: &Facts, path: &Path) -> Option<Vec<u8>> {
    let memory = Memory::open()?;
    let symbols = SymbolTable::read(&memory)?;
    let [pages, modules, start, end] = symbols.addresses_of(["ftrace_pages_start", "modules", "_stext", "_end"])?;
    let mut modules = Modules::read(btf, &memory, modules)?;
    let mut text = Vec::with_capacity(1 << 20);
    for address in records(btf, &memory, pages)? {
        if (start..end).contains(&address) {
            symbols.name(symbols.containing(address)?, &mut text)?;
        } else {
            modules.name(address, &mut text)?;
        }
        text.push(b'\n');
    }
    // Link-time optimisation appends to names what the kernel takes off again, not always the same.
    let usual = memchr::memmem::find(&text, b".llvm.").is_none();
    (usual && begins_alike(&text, path)?).then_some(text)
}

/// The addresses of records that are in use. A record that is disabled is none of a function, once its module is loaded.
fn records(btf: &Facts, memory: &Memory, start: u64) -> Option<Vec<u64>> {
    let page = Struct::find(btf, "ftrace_page")?;
    let [next, first, count] = [page.offset("next")?, page.offset("records")?, page.offset("index")?];
    let record = Struct::find(btf, "dyn_ftrace")?;
    let [ip, flags] = [record.offset("ip")?, record.offset("flags")?];
    let disabled = u64::try_from(btf.enumerator("FTRACE_FL_DISABLED")?.0).ok()?;
    let mut addresses = Vec::new();
    let mut at = memory.u64(start)?;
    let mut left = MOST_RECORDS;
    while at != 0 {
        let head = memory.read(at, page.size())?;
        let number = u32_at(&head, count)? as usize;
        // Empty pages count as one, so that a circle ends.
        left = left.checked_sub(number.max(1))?;
        for record in memory.read(u64_at(&head, first)?, number * record.size())?.chunks_exact(record.size()) {
            if u64_at(record, flags)? & disabled == 0 {
                addresses.push(u64_at(record, ip)?);
            }
        }
        at = u64_at(&head, next)?;
    }
    Some(addresses)
}

/// Whether the first lines of the file, so many as the kernel hands over at once, are the first of the text.
fn begins_alike(text: &[u8], path: &Path) -> Option<bool> {
    let mut start = vec![0; 4096];
    let got = File::open(path).ok()?.read(&mut start).ok()?;
    let whole = memchr::memrchr(b'\n', start.get(..got)?)?;
    let lines = start.get(..whole)?.split(|b| *b == b'\n').filter(|line| !line.starts_with(INVALID));
    Some(lines.clone().eq(text.split(|b| *b == b'\n').take(lines.count())))
}

struct Module {
    name: Vec<u8>,
    text: Range<u64>,
    kallsyms: u64,
    /// Once asked for.
    symbols: Option<ModuleSymbols>,
}

/// Addresses, ascending, each once, and where names start.
struct ModuleSymbols {
    table: Vec<(u64, u32)>,
    names: Vec<u8>,
}

/// The modules that are loaded, by address.
struct Modules<'a> {
    btf: &'a Facts,
    memory: &'a Memory,
    modules: Vec<Module>,
}

fn c_string(bytes: &[u8]) -> Option<&[u8]> {
    bytes.get(..memchr::memchr(0, bytes)?)
}

impl<'a> Modules<'a> {
    fn read(btf: &'a Facts, memory: &'a Memory, head: u64) -> Option<Modules<'a>> {
        let module = Struct::find(btf, "module")?;
        let [list, name, kallsyms] = [module.offset("list")?, module.offset("name")?, module.offset("kallsyms")?];
        // Linux 6.4 has an array of areas instead of two layouts (ac3b43283923); text is the first.
        let (area, area_type) = match module.offset("mem") {
            Some(area) => (area, "module_memory"),
            None => (module.offset("core_layout")?, "module_layout"),
        };
        let layout = Struct::find(btf, area_type)?;
        let [base, size] = [area + layout.offset("base")?, area + layout.offset("size")?];
        let mut modules = Vec::new();
        let mut at = memory.u64(head)?;
        while at != head {
            let bytes = memory.read(at.checked_sub(list as u64)?, module.size())?;
            let start = u64_at(&bytes, base)?;
            modules.push(Module {
                name: c_string(bytes.get(name..)?)?.to_vec(),
                text: start..start.checked_add(u32_at(&bytes, size)?.into())?,
                kallsyms: u64_at(&bytes, kallsyms)?,
                symbols: None,
            });
            if modules.len() > MOST_MODULES {
                return None;
            }
            at = u64_at(&bytes, list)?;
        }
        modules.sort_by_key(|m| m.text.start);
        Some(Modules { btf, memory, modules })
    }

    /// Appends `NAME [MODULE]` of the function that an address lies in.
    fn name(&mut self, address: u64, text: &mut Vec<u8>) -> Option<()> {
        let after = self.modules.partition_point(|m| m.text.start <= address);
        let module = self.modules.get_mut(after.checked_sub(1)?).filter(|m| m.text.contains(&address))?;
        if module.symbols.is_none() {
            module.symbols = Some(ModuleSymbols::read(self.btf, self.memory, module.kallsyms)?);
        }
        text.extend_from_slice(module.symbols.as_ref()?.find(address)?);
        text.extend_from_slice(b" [");
        text.extend_from_slice(&module.name);
        text.push(b']');
        Some(())
    }
}

impl ModuleSymbols {
    /// The symbols that `find_kallsyms_symbol` searches: all but the first, without undefined ones and those whose
    /// names say nothing. Of several at one address the first counts.
    fn read(btf: &Facts, memory: &Memory, at: u64) -> Option<ModuleSymbols> {
        let kallsyms = Struct::find(btf, "mod_kallsyms")?;
        let bytes = memory.read(at, kallsyms.size())?;
        let member = |name| u64_at(&bytes, kallsyms.offset(name)?);
        let (names, types) = (member("strtab")?, member("typetab")?);
        let count = u32_at(&bytes, kallsyms.offset("num_symtab")?)?;
        // The names end where the types start (layout_symtab).
        let names = memory.between(names, types)?;
        ModuleSymbols::of(&memory.read(member("symtab")?, count as usize * SYMBOL)?, names)
    }

    /// Of Elf64_Sym: name at 0, section at 6, value at 8.
    fn of(symbols: &[u8], names: Vec<u8>) -> Option<ModuleSymbols> {
        let mut table = Vec::new();
        for symbol in symbols.chunks_exact(SYMBOL).skip(1) {
            let (name, section, address) = (u32_at(symbol, 0)?, u16_at(symbol, 6)?, u64_at(symbol, 8)?);
            let text = c_string(names.get(name as usize..)?)?;
            // `is_mapping_symbol`
            let says_nothing = text.is_empty() || [&b".L"[..], b"L0", b"$"].iter().any(|p| text.starts_with(p));
            if section != 0 && address != 0 && !says_nothing {
                table.push((address, name));
            }
        }
        // Stable: the first stays first.
        table.sort_by_key(|(address, _)| *address);
        table.dedup_by_key(|(address, _)| *address);
        Some(ModuleSymbols { table, names })
    }

    fn find(&self, address: u64) -> Option<&[u8]> {
        let after = self.table.partition_point(|(start, _)| *start <= address);
        let (_, name) = self.table.get(after.checked_sub(1)?)?;
        c_string(self.names.get(*name as usize..)?)
    }
}

/// The size of Elf64_Sym.
const SYMBOL: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_modules_as_the_kernel_looks_them_up() {
        let names = b"\0first\0alias\0$x\0.Lx\0second\0undefined\0".to_vec();
        let at = |name: &str| memchr::memmem::find(&names, name.as_bytes()).expect("a name") as u32;
        let mut symbols = vec![0; 24];
        for (name, section, address) in [
            ("second", 1, 0x2000u64),
            ("first", 1, 0x1000),
            ("alias", 1, 0x1000),
            ("$x", 1, 0x1800),
            (".Lx", 1, 0x1810),
            ("undefined", 0u16, 0x1900),
        ] {
            symbols.extend_from_slice(&at(name).to_ne_bytes());
            symbols.extend_from_slice(&[0, 0]);
            symbols.extend_from_slice(&section.to_ne_bytes());
            symbols.extend_from_slice(&address.to_ne_bytes());
            symbols.extend_from_slice(&[0; 8]);
        }
        let table = ModuleSymbols::of(&symbols, names.clone()).expect("a table");
        for (address, name) in [
            (0xfff, None),
            (0x1000, Some("first")),
            (0x1fff, Some("first")),
            (0x2000, Some("second")),
            (0x9000, Some("second")),
        ] {
            assert_eq!(table.find(address), name.map(str::as_bytes), "{address:x}");
        }
        assert!(ModuleSymbols::of(&symbols, b"cut".to_vec()).is_none());
    }

    #[test]
    fn the_beginning_of_the_file_decides() {
        let path = std::env::temp_dir().join(format!("rtrace-alike-{}", std::process::id()));
        let alike = |file: &str, text: &str| {
            std::fs::write(&path, file).expect("a temporary file");
            begins_alike(text.as_bytes(), &path)
        };
        assert_eq!(alike("a\n__ftrace_invalid_address___60\nb [m]\ncu", "a\nb [m]\nd\n"), Some(true));
        assert_eq!(alike("a\nb\n", "a\nc\nb\n"), Some(false));
        assert_eq!(alike("a\nb\n", "a\n"), Some(false));
        assert_eq!(alike("", "a\n"), None);
        std::fs::remove_file(&path).expect("removable");
    }
}
