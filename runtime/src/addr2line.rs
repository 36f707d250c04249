//! `rtrace --addr2line`: the source of a place in the kernel, given as stacks name it (`func+offset`), from an image
//! with debug information; what the kernel's own `faddr2line` gives.

use crate::kernel::user;
use crate::vmlinux;
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use object::{Object, ObjectSymbol, SymbolKind};
use std::path::{Path, PathBuf};

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
    #[error("`{0}` is no place such as vfs_read+0x1f, vfs_read+31/0x340 or nf_tables:nft_do_chain+8")]
    Place(String),
    #[error("there is no image of {0} with debug information")]
    NoImage(String),
    #[error("cannot read {path}: {reason}", path = path.display())]
    Image { path: PathBuf, reason: String },
    #[error("{path} has no debug information", path = path.display())]
    NoDebugInfo { path: PathBuf },
    #[error("{path} has no function {function}{more}", path = path.display())]
    NoFunction { path: PathBuf, function: String, more: String },
    #[error("no function {function} of {path} has {wanted} bytes, but {found}", path = path.display())]
    NoSize { path: PathBuf, function: String, wanted: String, found: String },
    #[error("{function} has {size:#x} bytes: there is no {function}+{offset:#x}")]
    Outside { function: String, offset: u64, size: u64 },
}

impl Error {
    /// What to do about it.
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
/// inlined there, innermost first. `image` is read instead of the running kernel's.
pub fn text(places: &[String], image: Option<&Path>) -> Result<String, Error> {
    let symbolizer =
        Symbolizer::builder().enable_code_info(true).enable_inlined_fns(true).enable_demangling(true).build();
    let mut out = String::new();
    for place in places {
        let place = parse(place)?;
        let path = match (image, &place.module) {
            (Some(image), _) => image.to_owned(),
            (None, None) => vmlinux::find().ok_or_else(|| Error::NoImage("this kernel".to_owned()))?,
            (None, Some(module)) => {
                vmlinux::find_module(module).ok_or_else(|| Error::NoImage(format!("the module {module}")))?
            }
        };
        for (start, size) in functions(&path, &place)? {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&format!("{}+{:#x}/{size:#x}:\n", place.function, place.offset));
            let address = start + place.offset;
            let symbol = one(&symbolizer, &path, address).filter(|s| s.code_info.is_some() || !s.inlined.is_empty());
            let symbol = symbol.ok_or_else(|| Error::NoDebugInfo { path: path.clone() })?;
            describe(&mut out, &symbol, &prefix(&symbolizer, &path));
        }
    }
    Ok(out)
}

/// Start and size of the functions that a place can be in.
fn functions(path: &Path, place: &Place) -> Result<Vec<(u64, u64)>, Error> {
    let name = &place.function;
    let read = |elf: &object::File<'_>| {
        let mut all: Vec<(u64, u64, &str)> = elf
            .symbols()
            .filter(|s| s.kind() == SymbolKind::Text && s.is_definition())
            .filter_map(|s| Some((s.address(), s.size(), s.name().ok()?)))
            .collect();
        all.sort_unstable();
        let size = |(address, size, _): &(u64, u64, &str)| match size {
            // Functions of assembly may have no size: they reach to the next.
            0 => all.iter().find(|o| o.0 > *address).map_or(0, |o| o.0 - address),
            size => *size,
        };
        let mut found: Vec<(u64, u64)> = all.iter().filter(|f| f.2 == name).map(|f| (f.0, size(f))).collect();
        found.dedup();
        let nearest = all
            .iter()
            .map(|f| (strsim::damerau_levenshtein(f.2, name), f.2))
            .filter(|_| found.is_empty())
            .min()
            .filter(|(distance, _)| *distance <= 1 + name.len() / 6)
            .map(|(_, near)| near.to_owned());
        (found, nearest)
    };
    let (found, nearest) = user::with_elf(&path.to_string_lossy(), read)
        .map_err(|e| Error::Image { path: path.to_owned(), reason: e.message })?;
    if found.is_empty() {
        let more = nearest.map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        return Err(Error::NoFunction { path: path.to_owned(), function: name.clone(), more });
    }
    let sized: Vec<(u64, u64)> = found.iter().copied().filter(|f| place.size.is_none_or(|s| s == f.1)).collect();
    if let (true, Some(wanted)) = (sized.is_empty(), place.size) {
        let sizes: Vec<String> = found.iter().map(|f| format!("{:#x}", f.1)).collect();
        return Err(Error::NoSize {
            path: path.to_owned(),
            function: name.clone(),
            wanted: format!("{wanted:#x}"),
            found: sizes.join(", "),
        });
    }
    // The last byte is as far as a return address may be behind a call that does not return.
    let inside: Vec<(u64, u64)> = sized.iter().copied().filter(|f| place.offset <= f.1).collect();
    match (inside.is_empty(), sized.first()) {
        (true, Some((_, size))) => Err(Error::Outside { function: name.clone(), offset: place.offset, size: *size }),
        _ => Ok(inside),
    }
}

fn one<'s>(symbolizer: &'s Symbolizer, path: &Path, address: u64) -> Option<Sym<'s>> {
    match symbolizer.symbolize_single(&Source::Elf(Elf::new(path)), Input::VirtOffset(address)).ok()? {
        Symbolized::Sym(symbol) => Some(symbol),
        Symbolized::Unknown(_) => None,
    }
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

/// The folder that a kernel was built in: paths are shown from there.
fn prefix(symbolizer: &Symbolizer, path: &Path) -> String {
    let place = Place { module: None, function: "start_kernel".to_owned(), offset: 0, size: None };
    let start = functions(path, &place).ok().and_then(|f| f.first().map(|f| f.0));
    let symbol = start.and_then(|address| one(symbolizer, path, address));
    let file = symbol.and_then(|s| s.code_info.map(|c| c.to_path().to_string_lossy().into_owned()));
    file.and_then(|f| f.strip_suffix("init/main.c").map(str::to_owned)).unwrap_or_default()
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
        let found = text(&["rtrace_addr2line_test_function+0".into()], Some(&own)).unwrap();
        let lines: Vec<&str> = found.lines().collect();
        assert!(lines[0].starts_with("rtrace_addr2line_test_function+0x0/0x"), "{found}");
        assert!(lines[1].starts_with("rtrace_addr2line_test_function at "), "{found}");
        assert!(lines[1].contains("addr2line.rs:"), "{found}");

        let error = text(&["rtrace_addr2line_test_functiom".into()], Some(&own)).unwrap_err().to_string();
        assert!(error.ends_with("did you mean rtrace_addr2line_test_function?"), "{error}");
        let error = text(&["rtrace_addr2line_test_function+0x999999".into()], Some(&own)).unwrap_err().to_string();
        assert!(error.contains("there is no rtrace_addr2line_test_function+0x999999"), "{error}");
        let error = text(&["rtrace_addr2line_test_function+0/0x999999".into()], Some(&own)).unwrap_err().to_string();
        assert!(error.contains("has 0x999999 bytes"), "{error}");
    }
}
