//! `rtrace --addr2line`: the source of a place in the kernel, given as stacks name it (`func+offset`), from an image
//! with debug information; what the kernel's own `faddr2line` gives.

use crate::foreign;
use crate::user;
use crate::vmlinux;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use object::{Object, ObjectKind, ObjectSymbol, ReadRef, SymbolKind};
use rtrace_core::nearest::nearest;
use rtrace_sys::files::memfd;
use std::collections::{HashMap, hash_map::Entry};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

mod sections;

/// A place as written: `[module:]function[+offset[/size]]`, or as the kernel prints it, with ` [module]` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub module: Option<String>,
    pub function: String,
    pub offset: u64,
    /// Of the function, where several have its name.
    pub size: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "invalid location `{0}`: expected FUNCTION+OFFSET such as vfs_read+0x1f, vfs_read+31/0x340 or \
        nf_tables:nft_do_chain+8"
    )]
    Place(String),
    #[error("no image of {0} with debug information found")]
    NoImage(String),
    #[error("cannot read {path}: {reason}", path = path.display())]
    Image { path: PathBuf, reason: String },
    #[error("{path} has no debug information", path = path.display())]
    NoDebugInfo { path: PathBuf },
    #[error("{path} has no function {function}{more}", path = path.display())]
    NoFunction { path: PathBuf, function: String, more: String },
    #[error("function {function} of {path} does not have {wanted} bytes, but {found}", path = path.display())]
    NoSize { path: PathBuf, function: String, wanted: String, found: String },
    #[error("offset {offset:#x} is out of bounds: {function} has {size:#x} bytes")]
    Outside { function: String, offset: u64, size: u64 },
}

impl Error {
    /// The suggestion.
    pub fn help(&self) -> Option<String> {
        match self {
            Error::NoImage(_) | Error::NoDebugInfo { .. } => Some(vmlinux::how_to_get()),
            _ => None,
        }
    }
}

/// Reads a place.
pub fn parse(text: &str) -> Result<Place, Error> {
    let wrong = || Error::Place(text.to_owned());
    let (rest, trailing) = match text.trim().strip_suffix(']').and_then(|t| t.rsplit_once('[')) {
        Some((rest, module)) => (rest.trim_end(), Some(module.to_owned())),
        None => (text.trim(), None),
    };
    let (module, rest) = match rest.split_once(':') {
        Some((module, rest)) => (Some(module.to_owned()), rest),
        None => (trailing, rest),
    };
    let (rest, size) = match rest.split_once('/') {
        Some((rest, size)) => (rest, Some(number(size).ok_or_else(wrong)?)),
        None => (rest, None),
    };
    let (function, offset) = match rest.split_once('+') {
        Some((function, offset)) => (function, number(offset).ok_or_else(wrong)?),
        None => (rest, 0),
    };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$' | '@');
    if function.is_empty() || !function.chars().all(known) || module.as_ref().is_some_and(String::is_empty) {
        return Err(wrong());
    }
    Ok(Place { module, function: function.to_owned(), offset, size })
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The source of places, as text: for each a line with function, offset and size, and one for each function that is
/// inlined there, innermost first; and what is wrong with other places. `image` is read instead of the running
/// kernel's.
pub fn text(places: &[String], image: Option<&Path>) -> (String, Vec<Error>) {
    let symbolizer =
        Symbolizer::builder().enable_code_info(true).enable_inlined_fns(true).enable_demangling(true).build();
    let mut images: HashMap<PathBuf, Image> = HashMap::new();
    let mut blocks = Vec::new();
    let mut errors: Vec<Error> = Vec::new();
    for place in places {
        match source_of(place, image, &symbolizer, &mut images) {
            Ok(found) => blocks.extend(found),
            // One image that is not there is said once.
            Err(e) if errors.iter().any(|other| other.to_string() == e.to_string()) => {}
            Err(e) => errors.push(e),
        }
    }
    (blocks.join("\n"), errors)
}

/// One place: a block of text for each function that has the name.
fn source_of(
    place: &str,
    image: Option<&Path>,
    symbolizer: &Symbolizer,
    images: &mut HashMap<PathBuf, Image>,
) -> Result<Vec<String>, Error> {
    let place = parse(place)?;
    let path = match (image, &place.module) {
        (Some(image), _) => image.to_owned(),
        (None, None) => vmlinux::find().ok_or_else(|| Error::NoImage("this kernel".to_owned()))?,
        (None, Some(module)) => {
            vmlinux::find_module(module).ok_or_else(|| Error::NoImage(format!("the module {module}")))?
        }
    };
    let image = match images.entry(path) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => {
            let image = Image::open(new.key(), symbolizer)?;
            new.insert(image)
        }
    };
    let block = |(start, size): (u64, u64)| {
        let mut out = format!("{}+{:#x}/{size:#x}:\n", place.function, place.offset);
        let symbol = image.symbol(symbolizer, start + place.offset);
        let symbol = symbol.filter(|s| s.code_info.is_some() || !s.inlined.is_empty());
        let symbol = symbol.ok_or_else(|| Error::NoDebugInfo { path: image.path.clone() })?;
        describe(&mut out, &symbol, &image.prefix);
        Ok(out)
    };
    image.find(&place)?.into_iter().map(block).collect()
}

/// An image of the kernel or of a module, with debug information.
struct Image {
    path: PathBuf,
    /// Of a relocatable file: its copy, in which every section has an address of its own.
    placed: Option<File>,
    /// Start and size of all functions, by name.
    functions: HashMap<String, Vec<(u64, u64)>>,
    /// The folder that it was built in: paths are shown from there.
    prefix: String,
}

impl Image {
    fn open(path: &Path, symbolizer: &Symbolizer) -> Result<Image, Error> {
        let failed = |reason: String| Error::Image { path: path.to_owned(), reason };
        let read = |elf: &foreign::Elf<'_>| match elf {
            object::File::Elf64(file) if elf.kind() == ObjectKind::Relocatable => {
                let whole = file.data().len().and_then(|size| file.data().read_bytes_at(0, size));
                let placed = whole.ok().and_then(sections::placed).ok_or("cannot read its sections")?;
                let elf = object::File::parse(placed.as_slice()).map_err(|e| e.to_string())?;
                let mut copy = memfd(c"module").map_err(|e| e.to_string())?;
                copy.write_all(&placed).map_err(|e| e.to_string())?;
                Ok((functions(&elf), Some(copy)))
            }
            _ => Ok((functions(elf), None)),
        };
        let read = user::with_elf(&path.to_string_lossy(), read).map_err(|e| failed(e.message))?;
        let (functions, placed) = read.map_err(|e: String| failed(e))?;
        let mut image = Image { path: path.to_owned(), placed, functions, prefix: String::new() };
        image.prefix = image.built_in(symbolizer).unwrap_or_default();
        Ok(image)
    }

    fn symbol<'s>(&self, symbolizer: &'s Symbolizer, address: u64) -> Option<Sym<'s>> {
        let path = match &self.placed {
            Some(copy) => PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())),
            None => self.path.clone(),
        };
        match symbolizer.symbolize_single(&Source::Elf(Elf::new(path)), Input::VirtOffset(address)).ok()? {
            Symbolized::Sym(symbol) => Some(symbol),
            Symbolized::Unknown(_) => None,
        }
    }

    /// Start and size of the functions that a place can be in.
    fn find(&self, place: &Place) -> Result<Vec<(u64, u64)>, Error> {
        let name = &place.function;
        let Some(found) = self.functions.get(name) else {
            let near = nearest(name, self.functions.keys().map(String::as_str));
            let more = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(Error::NoFunction { path: self.path.clone(), function: name.clone(), more });
        };
        let sized: Vec<(u64, u64)> = found.iter().copied().filter(|f| place.size.is_none_or(|s| s == f.1)).collect();
        if let (true, Some(wanted)) = (sized.is_empty(), place.size) {
            let sizes: Vec<String> = found.iter().map(|f| format!("{:#x}", f.1)).collect();
            return Err(Error::NoSize {
                path: self.path.clone(),
                function: name.clone(),
                wanted: format!("{wanted:#x}"),
                found: sizes.join(", "),
            });
        }
        // The last byte is as far as a return address may be behind a call that does not return.
        let inside: Vec<(u64, u64)> = sized.iter().copied().filter(|f| place.offset <= f.1).collect();
        match (inside.is_empty(), sized.first()) {
            (true, Some((_, size))) => {
                Err(Error::Outside { function: name.clone(), offset: place.offset, size: *size })
            }
            _ => Ok(inside),
        }
    }

    /// The folder that this was built in. The kernel begins in a known file; a module lies in a folder named as that
    /// of its sources.
    fn built_in(&self, symbolizer: &Symbolizer) -> Option<String> {
        let file = |(start, _): &(u64, u64)| {
            let code = self.symbol(symbolizer, *start)?.code_info?;
            Some(code.to_path().to_string_lossy().into_owned())
        };
        if let Some(start) = self.functions.get("start_kernel").and_then(|found| found.first()) {
            return file(start)?.strip_suffix("init/main.c").map(str::to_owned);
        }
        let (_, inside) = self.path.to_str()?.rsplit_once("/kernel/")?;
        let (folder, _) = inside.rsplit_once('/')?;
        // Sources of functions may be headers, too, in other folders: not of many in a row.
        let mut starts: Vec<&(u64, u64)> = self.functions.values().flatten().collect();
        starts.sort_unstable();
        let folder = format!("/{folder}/");
        starts.into_iter().take(20).find_map(|start| {
            let file = file(start)?;
            file.find(&folder).and_then(|at| file.get(..=at)).map(str::to_owned)
        })
    }
}

/// Start and size of all functions of a file, by name.
fn functions<'d>(elf: &object::File<'d, impl ReadRef<'d>>) -> HashMap<String, Vec<(u64, u64)>> {
    let mut all: Vec<(u64, u64, &str)> = elf
        .symbols()
        .filter(|s| s.kind() == SymbolKind::Text && s.is_definition())
        .filter_map(|s| Some((s.address(), s.size(), s.name().ok()?)))
        .collect();
    all.sort_unstable();
    all.dedup();
    let mut functions: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
    for (n, (address, size, name)) in all.iter().enumerate() {
        let size = match size {
            // Functions of assembly may have no size: they reach to the next.
            0 => all.iter().skip(n).find(|o| o.0 > *address).map_or(0, |o| o.0 - address),
            size => *size,
        };
        functions.entry((*name).to_owned()).or_default().push((*address, size));
    }
    functions
}

fn describe(out: &mut String, symbol: &Sym<'_>, prefix: &str) {
    let inlined = symbol.inlined.iter().rev().map(|f| (f.name.as_ref(), f.code_info.as_ref()));
    for (n, (name, code)) in inlined.chain([(symbol.name.as_ref(), symbol.code_info.as_deref())]).enumerate() {
        let lead = if n == 0 { "" } else { " (inlined by) " };
        out.push_str(&format!("{lead}{name} at {}\n", source(code, prefix)));
    }
}

fn source(code: Option<&CodeInfo<'_>>, prefix: &str) -> String {
    let Some(code) = code else { return "??:0".to_owned() };
    let path = code.to_path();
    let path = path.to_string_lossy();
    let path = path.strip_prefix(prefix).unwrap_or(&path);
    format!("{}:{}", path.strip_prefix("./").unwrap_or(path), code.line.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(module: Option<&str>, function: &str, offset: u64, size: Option<u64>) -> Place {
        Place { module: module.map(str::to_owned), function: function.to_owned(), offset, size }
    }

    #[test]
    fn places_as_people_and_kernels_write_them() {
        for (text, expected) in [
            ("vfs_read", place(None, "vfs_read", 0, None)),
            ("vfs_read+31", place(None, "vfs_read", 31, None)),
            ("vfs_read+0x1f/0x340", place(None, "vfs_read", 31, Some(0x340))),
            ("nf_tables:nft_do_chain+8", place(Some("nf_tables"), "nft_do_chain", 8, None)),
            ("nft_do_chain+0x8/0x90 [nf_tables]", place(Some("nf_tables"), "nft_do_chain", 8, Some(0x90))),
            ("foo.isra.0+1", place(None, "foo.isra.0", 1, None)),
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
        for wrong in ["", "+1", "vfs_read+", "vfs_read+x", "vfs read", ":x", "x+1/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[inline(never)]
    #[unsafe(no_mangle)]
    extern "C" fn rtrace_addr2line_test_function() -> u64 {
        std::hint::black_box(7)
    }

    /// Only a debug build of this test has the information.
    #[cfg(debug_assertions)]
    #[test]
    fn the_source_of_a_function() {
        rtrace_addr2line_test_function();
        let own = std::env::current_exe().unwrap();
        let (found, errors) = text(&["no_such_place".into(), "rtrace_addr2line_test_function+0".into()], Some(&own));
        assert_eq!(errors.len(), 1, "what is wrong with one place does not keep the others from being printed");
        let lines: Vec<&str> = found.lines().collect();
        assert!(lines[0].starts_with("rtrace_addr2line_test_function+0x0/0x"), "{found}");
        assert!(lines[1].starts_with("rtrace_addr2line_test_function at "), "{found}");
        assert!(lines[1].contains("addr2line.rs:"), "{found}");

        let wrong = |place: &str| text(&[place.into()], Some(&own)).1.pop().unwrap().to_string();
        let error = wrong("rtrace_addr2line_test_functiom");
        assert!(error.ends_with("did you mean rtrace_addr2line_test_function?"), "{error}");
        let error = wrong("rtrace_addr2line_test_function+0x999999");
        assert!(error.starts_with("offset 0x999999 is out of bounds: rtrace_addr2line_test_function has"), "{error}");
        let error = wrong("rtrace_addr2line_test_function+0/0x999999");
        assert!(error.contains("does not have 0x999999 bytes"), "{error}");
    }
}
