//! Executables and libraries: finding them, their functions, and where those lie in the file.
//!
//! Owns `$PATH`, the library folders and /etc/ld.so.cache, and reading ELF symbols through `object`. A uprobe
//! goes to a file offset, so that addresses are translated through the program headers.

use rtrace_core::nearest::Nearest;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

use object::elf::STT_GNU_IFUNC;
use object::{Object, ObjectKind, ObjectSegment, ObjectSymbol, ReadRef, SegmentFlags, SymbolFlags, SymbolKind};
use rtrace_core::kernel::{Image, KernelError, UserObject, UserSymbol};

use crate::dwarf::Beginning;
use crate::foreign::{self, Elf};
use crate::{debug_file, indirect, mini, unwind_table};
use rtrace_core::glob::{self, Glob};

const LIBRARY_FOLDERS: [&str; 10] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
    "/usr/local/lib64",
    "/usr/local/lib",
];

fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.is_file())
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// See [`rtrace_core::kernel::Programs::executables`].
pub fn executables(pattern: &str) -> Vec<String> {
    if pattern.contains('/') {
        if !glob::is_glob(pattern) {
            return if is_file(Path::new(pattern)) { vec![pattern.to_owned()] } else { Vec::new() };
        }
        let mut found = expand(pattern);
        found.retain(|p| is_file(p));
        return found.iter().map(|p| text(p)).collect();
    }
    let folders: Vec<PathBuf> =
        std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
    if !glob::is_glob(pattern) {
        let program = folders.iter().map(|f| f.join(pattern)).find(|p| is_program(p));
        return program.or_else(|| library(pattern)).map(|p| text(&p)).into_iter().collect();
    }
    let names = Glob::new(pattern);
    let mut found: Vec<String> = Vec::new();
    for folder in &folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if names.matches(entry.file_name().as_encoded_bytes()) && is_program(&entry.path()) {
                found.push(text(&entry.path()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Expands a path with globs in any of its parts, sorted.
fn expand(pattern: &str) -> Vec<PathBuf> {
    // As written: `./x*` gives `./x1`, `dir/x*` gives `dir/x1`.
    let mut found = vec![PathBuf::from(if pattern.starts_with('/') { "/" } else { "" })];
    for part in pattern.split('/').filter(|p| !p.is_empty()) {
        if !glob::is_glob(part) {
            for path in &mut found {
                path.push(part);
            }
            found.retain(|p| p.exists());
            continue;
        }
        let names = Glob::new(part);
        let mut next = Vec::new();
        for folder in &found {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            for entry in std::fs::read_dir(here).into_iter().flatten().flatten() {
                let name = entry.file_name();
                // As in the shell, hidden files have to be asked for.
                let hidden = name.as_encoded_bytes().starts_with(b".") && !part.starts_with('.');
                if !hidden && names.matches(name.as_encoded_bytes()) {
                    next.push(folder.join(name));
                }
            }
        }
        next.sort();
        found = next;
    }
    found
}

/// Whether a file name is that of a library: `libc.so.6` of `libc`, `libc.so` and `libc.so.6`.
pub(super) fn is_library(file: &str, name: &str) -> bool {
    file.contains(".so")
        && file
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(".so") || rest.starts_with('.'))
}

/// A library by name: `libc`, `libc.so` or `libc.so.6`.
pub fn library(name: &str) -> Option<PathBuf> {
    let matches = |file: &str| is_library(file, name);
    let cache = std::fs::read("/etc/ld.so.cache").unwrap_or_default();
    if let Some(path) = cached_library(&cache, &matches) {
        return Some(path);
    }
    LIBRARY_FOLDERS.iter().find_map(|folder| {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|file| matches(file))
            .collect();
        names.sort();
        names.into_iter().map(|file| Path::new(folder).join(file)).find(|path| is_file(path))
    })
}

/// Looks through glibc's cache of libraries (`struct cache_file_new`, elf/dl-cache.h): after the header of 48
/// bytes, entries of 24 bytes whose second and third words are offsets of name and path.
fn cached_library(cache: &[u8], matches: &dyn Fn(&str) -> bool) -> Option<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    /// FLAG_ELF_LIBC6 with the architecture in the second byte.
    const NATIVE: u32 = if cfg!(target_arch = "aarch64") { 0x0a03 } else { 0x0303 };
    // An older table may come first; offsets count from this one.
    let table = cache.get(memchr::memmem::find(cache, MAGIC)?..)?;
    let word = |at: usize| table.get(at..)?.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b));
    let string = |at: u32| {
        let rest = table.get(at as usize..)?;
        std::str::from_utf8(rest.get(..memchr::memchr(0, rest)?)?).ok()
    };
    let count = word(MAGIC.len())?;
    for i in 0..count as usize {
        let entry = 48 + i * 24;
        if word(entry)? == NATIVE && matches(string(word(entry + 4)?)?) {
            let path = PathBuf::from(string(word(entry + 8)?)?);
            if is_file(&path) {
                return Some(path);
            }
        }
    }
    None
}

/// Reads an ELF file and hands it to `use_it`.
pub fn with_elf<R>(path: &str, use_it: impl FnOnce(&Elf<'_>) -> R) -> Result<R, KernelError> {
    let fail = |why: String| KernelError { message: format!("cannot read {path}: {why}"), help: None };
    let source = foreign::source(Path::new(path)).map_err(|e| fail(e.to_string()))?;
    let elf = object::File::parse(&*source).map_err(|_| KernelError {
        message: format!("{path} is not an executable or library"),
        help: Some("uprobes go into ELF files; for a script, name its interpreter".to_owned()),
    })?;
    Ok(use_it(&elf))
}

pub(super) fn file_offset(elf: &Elf<'_>, address: u64) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let (offset, size) = segment.file_range();
        let inside = address.checked_sub(segment.address()).filter(|at| *at < size)?;
        Some(offset + inside)
    })
}

pub(super) fn file_address(elf: &Elf<'_>, offset: u64) -> Option<u64> {
    elf.segments().find_map(|segment| {
        let (start, size) = segment.file_range();
        Some(segment.address() + offset.checked_sub(start).filter(|at| *at < size)?)
    })
}

/// Calls `each` with the name of every defined function and the symbol; names come once per table. The symbol table
/// of a stripped executable may be apart from it.
fn each_function(path: &str, elf: &Elf<'_>, each: &mut dyn FnMut(&str, &dyn Fn() -> UserSymbol)) {
    functions_of(elf, elf, each);
    if elf.symbol_table().is_some() {
        return;
    }
    if let Some(other) = debug_file::separate(path, elf).and_then(|p| debug_file::open(&p)) {
        functions_of(&other, elf, each);
    } else if let Some(bytes) = mini::unpack(path, elf)
        && let Ok(other) = object::File::parse(bytes.as_slice())
    {
        functions_of(&other, elf, each);
    }
}

/// The functions of the symbol tables of `elf`; where they lie says the executable.
fn functions_of<'d>(
    elf: &object::File<'d, impl ReadRef<'d>>,
    executable: &Elf<'_>,
    each: &mut dyn FnMut(&str, &dyn Fn() -> UserSymbol),
) {
    for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
        // Indirect functions (memcpy and its like in libc) name the code that chooses one.
        let indirect = matches!(symbol.flags(), SymbolFlags::Elf { st_info, .. } if st_info & 0xf == STT_GNU_IFUNC);
        if !(indirect || symbol.kind() == SymbolKind::Text) || symbol.is_undefined() || symbol.address() == 0 {
            continue;
        }
        let Ok(name) = symbol.name() else { continue };
        each(name, &|| UserSymbol {
            name: name.to_owned(),
            address: symbol.address(),
            file_offset: file_offset(executable, symbol.address()).unwrap_or(symbol.address()),
            size: symbol.size(),
            chooses: indirect,
        });
    }
}

/// A symbol's name without its version: `malloc@@GLIBC_2.2.5` in a symbol table is `malloc`.
fn unversioned(name: &str) -> &str {
    name.split_once('@').map_or(name, |(plain, _)| plain)
}

/// Matches a pattern against source names: a demangled name, whole (`a::f(int)`), without parameters (`a::f`), or
/// without those of templates and generics; instances of Go's generics; copies that the compiler made of a function.
fn matches_source(names: &Glob<'_>, pattern: &str, name: &str) -> bool {
    crate::user_names::forms(name).iter().any(|form| form == pattern || names.matches(form.as_bytes()))
}

/// See [`rtrace_core::kernel::Programs::user_symbols`]. Sorted by name, one for each name and address. What is a name in
/// the file is no pattern, whatever its characters (Go's `main.Map[go.shape.int]`); other forms of names are tried
/// only if none matches as it is in the file.
pub fn symbols(path: &str, pattern: &str) -> Result<Vec<UserSymbol>, KernelError> {
    let is_pattern = glob::is_glob(pattern);
    if is_pattern {
        let found = symbols_where(path, &|name| name == pattern)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let receiver = crate::user_names::literal_receivers(pattern);
    let names = Glob::new(&receiver);
    let found = symbols_where(path, &|name| names.matches(name.as_bytes()))?;
    if !found.is_empty() {
        return Ok(found);
    }
    if is_pattern {
        let literal = symbols_where(path, &|name| crate::user_names::forms(name).iter().any(|form| form == pattern))?;
        if !literal.is_empty() {
            return Ok(literal);
        }
    }
    symbols_where(path, &|name| matches_source(&names, pattern, name))
}

fn symbols_where(path: &str, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<UserSymbol>, KernelError> {
    with_elf(path, |elf| {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        each_function(path, elf, &mut |name, make| {
            let name = unversioned(name);
            if wanted(name) {
                let symbol = make();
                let symbol = UserSymbol { name: name.to_owned(), ..symbol };
                let symbol = if symbol.chooses { indirect::chosen(path, elf, symbol) } else { symbol };
                if seen.insert((name.to_owned(), symbol.address)) {
                    found.push(symbol);
                }
            }
        });
        found.sort_by(|a, b| (&a.name, a.address).cmp(&(&b.name, b.address)));
        found
    })
}

/// See [`rtrace_core::kernel::Programs::user_symbol_at`]: the innermost where they overlap.
pub fn symbol_at(path: &str, address: u64) -> Result<Option<UserSymbol>, KernelError> {
    with_elf(path, |elf| {
        let mut best: Option<UserSymbol> = None;
        each_function(path, elf, &mut |name, make| {
            let symbol = make();
            let inside = symbol.address <= address && address - symbol.address < symbol.size.max(1);
            if inside && best.as_ref().is_none_or(|b| b.address < symbol.address) {
                best = Some(UserSymbol { name: unversioned(name).to_owned(), ..symbol });
            }
        });
        best.or_else(|| {
            let (start, size) = unwind_table::function_around(elf, address)?;
            let file_offset = file_offset(elf, start)?;
            Some(UserSymbol { name: format!("{start:#x}"), address: start, size, file_offset, chooses: false })
        })
    })
}

/// See [`rtrace_core::kernel::Programs::is_stripped`].
pub fn is_stripped(path: &str) -> bool {
    with_elf(path, |elf| {
        let has_others =
            || debug_file::separate(path, elf).is_some() || elf.section_by_name(".gnu_debugdata").is_some();
        elf.symbol_table().is_none() && !has_others()
    })
    .unwrap_or(false)
}

/// Beginnings of functions, by address, as symbols.
pub fn places(path: &str, found: Vec<Beginning>) -> Result<Vec<UserSymbol>, KernelError> {
    with_elf(path, |elf| {
        let symbol = |b: Beginning| {
            let file_offset = file_offset(elf, b.address)?;
            Some(UserSymbol { name: b.function, address: b.address, file_offset, size: 0, chooses: false })
        };
        found.into_iter().filter_map(symbol).collect()
    })
}

/// Whether a name, whole or without parameters, is that of a symbol.
pub(super) fn is_name(name: &str, symbol: &str) -> bool {
    name == symbol || crate::user_names::forms(symbol).iter().any(|form| form == name)
}

/// See [`rtrace_core::kernel::Programs::user_offset`].
pub fn offset(path: &str, address: u64) -> Result<Option<u64>, KernelError> {
    with_elf(path, |elf| file_offset(elf, address))
}

/// See [`rtrace_core::kernel::Programs::user_object`]; names are taken with or without their version.
pub fn object(path: &str, name: &str) -> Result<Option<UserObject>, KernelError> {
    with_elf(path, |elf| {
        let symbol = elf.symbols().chain(elf.dynamic_symbols()).find(|s| {
            !s.is_undefined() && s.address() != 0 && s.name().is_ok_and(|n| n == name || unversioned(n) == name)
        })?;
        let image = match elf.kind() {
            ObjectKind::Executable => Image::Fixed,
            // A library has no interpreter that loads it, libc apart, which is none to be run.
            _ if elf.section_by_name(".interp").is_some() && !path.contains(".so") => {
                Image::Executable { code: first_code(elf)? }
            }
            _ => Image::Library,
        };
        Some(UserObject { address: symbol.address(), size: symbol.size(), image })
    })
}

/// The start of the first code segment, as the kernel counts: `mm->start_code` of a process, less where it
/// was moved.
fn first_code(elf: &Elf<'_>) -> Option<u64> {
    let is_code = |s: &object::Segment<'_, '_, &foreign::Source>| matches!(s.flags(), SegmentFlags::Elf { p_flags } if p_flags & 1 != 0);
    elf.segments().filter(is_code).map(|s| s.address()).min()
}

/// See [`rtrace_core::kernel::Programs::user_address`].
pub fn address(path: &str, offset: u64) -> Result<Option<u64>, KernelError> {
    with_elf(path, |elf| file_address(elf, offset))
}

/// The function of an executable whose name is nearest, for messages.
pub fn nearest(path: &str, name: &str) -> Option<String> {
    with_elf(path, |elf| {
        let mut best = Nearest::new(name);
        each_function(path, elf, &mut |candidate, _| best.offer(unversioned(candidate).as_bytes()));
        best.take()
    })
    .ok()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_and_libraries() {
        let own = std::env::current_exe().expect("a path");
        assert_eq!(executables(&text(&own)), [text(&own)]);
        assert!(executables("/no/such/file").is_empty());
        assert!(executables("sh").first().is_some_and(|p| p.ends_with("/sh")));
        assert!(executables("libc").first().is_some_and(|p| p.contains("/libc.")), "{:?}", executables("libc"));
        assert!(executables("/bin/[s]h").iter().any(|p| p == "/bin/sh"));
    }

    #[test]
    fn functions_lie_where_the_program_headers_say() {
        let own = text(&std::env::current_exe().expect("a path"));
        let main = symbols(&own, "main").expect("readable").pop().expect("a main");
        assert_eq!(offset(&own, main.address), Ok(Some(main.file_offset)));
        // The code of a program that we run starts at its own offset in the file.
        assert!(main.size > 0 && main.file_offset > 0);
        assert_eq!(offset(&own, u64::MAX), Ok(None));
        assert!(symbols("/etc/passwd", "*").is_err());
        assert!(symbols(&own, "*").expect("readable").len() > 100);
    }

    #[test]
    fn names_as_in_the_sources() {
        let own = text(&std::env::current_exe().expect("a path"));
        // This test itself.
        let found = symbols(&own, "*user::tests::names_as_in_the_sources").expect("readable");
        assert!(!found.is_empty());
        let matches = |pattern: &str| matches_source(&Glob::new(pattern), pattern, "_ZN3foo3barEi");
        assert!(matches("foo::bar") && matches("foo::bar(int)") && matches("foo::*") && !matches("bar"));
    }

    #[test]
    fn a_cache_that_is_no_cache() {
        assert_eq!(cached_library(b"", &|_| true), None);
        assert_eq!(cached_library(b"glibc-ld.so.cache1.1\xff\xff\xff\xff", &|_| true), None);
    }
}
