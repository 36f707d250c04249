//! `/proc/kallsyms`: the form of its lines, the addresses of functions, and what became of those that are not there.

use crate::clones;
use rtrace_core::kernel::KernelError;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

pub const PATH: &str = "/proc/kallsyms";

/// A line: `ADDRESS TYPE NAME`, with a tab and `[MODULE]` for symbols of modules.
#[derive(Clone, Copy, Debug)]
pub struct Line<'t> {
    address: &'t [u8],
    /// As nm(1) has them: `T` and `t` are code, capital letters global.
    pub kind: u8,
    /// The name, and the module behind a tab.
    pub symbol: &'t [u8],
}

impl<'t> Line<'t> {
    pub fn parse(line: &'t [u8]) -> Option<Line<'t>> {
        let (address, rest) = line.split_at(memchr::memchr(b' ', line)?);
        match rest {
            [b' ', kind, b' ', symbol @ ..] => Some(Line { address, kind: *kind, symbol }),
            _ => None,
        }
    }

    /// Its address; zero is what users are shown who may not know it.
    pub fn address(&self) -> Option<u64> {
        if self.address.is_empty() || self.address.len() > 16 {
            return None;
        }
        self.address.iter().try_fold(0, |value, digit| {
            let digit = char::from(*digit).to_digit(16)?;
            Some(value << 4 | u64::from(digit))
        })
    }

    /// Whether it is code.
    pub fn is_function(&self) -> bool {
        matches!(self.kind, b't' | b'T' | b'w' | b'W')
    }

    pub fn name(&self) -> &'t [u8] {
        self.symbol.get(..self.end()).unwrap_or(self.symbol)
    }

    /// The module, without its brackets.
    pub fn module(&self) -> Option<&'t [u8]> {
        self.symbol.get(self.end() + 1..)?.strip_prefix(b"[")?.strip_suffix(b"]")
    }

    fn end(&self) -> usize {
        memchr::memchr(b'\t', self.symbol).unwrap_or(self.symbol.len())
    }
}

/// Calls `each` with every line until it breaks off. The kernel writes the file as it is read.
pub fn each(each: &mut dyn FnMut(Line<'_>) -> ControlFlow<()>) -> Result<(), KernelError> {
    each_line(Path::new(PATH), &mut |line| Line::parse(line).map_or(ControlFlow::Continue(()), &mut *each))
}

/// Calls `each` with every line of a file, without the newline, reading as much as the kernel hands over.
fn each_line(path: &Path, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), KernelError> {
    let fail = |e: std::io::Error| {
        let help = (e.kind() == std::io::ErrorKind::PermissionDenied)
            .then(|| "run as root, or with CAP_DAC_READ_SEARCH".to_owned());
        KernelError { message: format!("cannot read {}: {e}", path.display()), help }
    };
    let mut file = File::open(path).map_err(fail)?;
    let mut buffer = vec![0u8; 64 << 10];
    // Bytes at the start of the buffer: the line that the last read cut.
    let mut kept = 0;
    loop {
        if kept == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        let got = file.read(buffer.get_mut(kept..).unwrap_or_default()).map_err(fail)?;
        let mut rest = buffer.get(..kept + got).unwrap_or_default();
        if got == 0 {
            if !rest.is_empty() {
                let _ = each(rest);
            }
            return Ok(());
        }
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            if each(line).is_break() {
                return Ok(());
            }
            rest = after.get(1..).unwrap_or_default();
        }
        let left = rest.len();
        buffer.copy_within(kept + got - left..kept + got, 0);
        kept = left;
    }
}

/// All of it; nothing where it cannot be read.
pub fn read() -> Vec<u8> {
    std::fs::read(PATH).unwrap_or_default()
}

/// The addresses of functions, by name and module.
pub type Addresses = HashMap<(String, Option<String>), Vec<u64>>;

/// Adds all addresses that kallsyms has of functions, given by name and module; the module `vmlinux` is the kernel
/// itself, none is any.
pub fn find_addresses(kallsyms: &[u8], wanted: &mut Addresses) {
    type Of<'w> = (Option<&'w [u8]>, &'w mut Vec<u64>);
    let mut by_name: HashMap<&[u8], Vec<Of<'_>>> = HashMap::new();
    for ((name, module), found) in wanted.iter_mut() {
        by_name.entry(name.as_bytes()).or_default().push((module.as_deref().map(str::as_bytes), found));
    }
    for line in kallsyms.split(|b| *b == b'\n') {
        let Some(line) = Line::parse(line).filter(Line::is_function) else { continue };
        let Some(found) = by_name.get_mut(line.name()) else { continue };
        let of = line.module().unwrap_or(b"vmlinux");
        for (_, list) in found.iter_mut().filter(|(module, _)| module.is_none_or(|m| m == of)) {
            list.extend(line.address().filter(|a| *a != 0));
        }
    }
}

/// Those of some functions, by name and module, that no line of kallsyms names. Each with what the compiler made of it
/// instead: copies with fewer or fixed parameters, and parts of it, by names as the kernel takes them, with the module. All
/// are looked for in one go: many functions may be missing, and to find out singly takes the kernel and us 60 ms each.
pub fn absent(
    kallsyms: &[u8],
    functions: Vec<(String, Option<String>)>,
) -> HashMap<(String, Option<String>), Vec<String>> {
    let mut by_name: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (n, (name, _)) in functions.iter().enumerate() {
        by_name.entry(name.as_bytes()).or_default().push(n);
    }
    let mut there = vec![false; functions.len()];
    let mut variants = vec![Vec::new(); functions.len()];
    for line in kallsyms.split(|b| *b == b'\n') {
        let Some(line) = Line::parse(line) else { continue };
        let name = line.name();
        // Almost all names are nobody's.
        let same = by_name.get(name);
        let copied = Some(name).filter(|n| n.contains(&b'.') && matches!(line.kind, b't' | b'T'));
        let copied = copied.and_then(|n| std::str::from_utf8(n).ok()).and_then(|n| Some((clones::function(n)?, n)));
        let of = copied.and_then(|(original, _)| by_name.get(original.as_bytes()));
        if same.is_none() && of.is_none() {
            continue;
        }
        let module = line.module().and_then(|m| std::str::from_utf8(m).ok());
        let wanted = |n: &&usize| {
            let wanted = functions.get(**n).and_then(|(_, module)| module.as_deref());
            wanted.is_none_or(|m| m == module.unwrap_or("vmlinux"))
        };
        for n in same.into_iter().flatten().filter(wanted) {
            there.get_mut(*n).into_iter().for_each(|there| *there = true);
        }
        for n in of.into_iter().flatten().filter(wanted) {
            let name = copied.map_or("", |(_, name)| name);
            let name = module.map_or_else(|| name.to_owned(), |m| format!("{m}:{name}"));
            variants.get_mut(*n).into_iter().for_each(|list| list.push(name.clone()));
        }
    }
    let all = functions.into_iter().zip(there).zip(variants).filter(|((_, there), _)| !there);
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names.dedup();
        names
    };
    all.map(|((function, _), variants)| (function, sorted(variants))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kallsyms_lines() {
        let text = b"ffffffff81000010 T vfs_read\nffffffff81000020 t vfs_read\nffffffffc0000030 t vfs_read\t[dummy]\n\
            0000000000000000 t vfs_read\nffffffff81000040 D vfs_read\nffffffff81000050 t vfs_reads\nnonsense\n";
        let key = |name: &str, module: Option<&str>| (name.to_owned(), module.map(str::to_owned));
        let keys = [
            key("vfs_read", None),
            key("vfs_read", Some("dummy")),
            key("vfs_read", Some("vmlinux")),
            key("vfs_readv", None),
        ];
        let mut wanted: HashMap<_, _> = keys.iter().cloned().map(|k| (k, Vec::new())).collect();
        find_addresses(text, &mut wanted);
        let found = keys.map(|k| wanted.remove(&k).unwrap());
        let all = vec![0xffff_ffff_8100_0010, 0xffff_ffff_8100_0020, 0xffff_ffff_c000_0030];
        assert_eq!(found, [all.clone(), all[2..].to_vec(), all[..2].to_vec(), vec![]]);
    }

    #[test]
    fn variants_of_a_function() {
        let text =
            b"ffffffff81000010 t f.isra.0\nffffffff81000020 t f.part.0.cold\nffffffff81000030 t f.constprop.0\t[m]\n\
            ffffffff81000040 t ff.isra.0\nffffffff81000050 t f.other\nffffffff81000060 t f.isra.0\n";
        let key = |name: &str, module: Option<&str>| (name.to_owned(), module.map(str::to_owned));
        let keys = [
            key("f", None),
            key("f", Some("m")),
            key("f", Some("vmlinux")),
            key("g", None),
            key("f.other", None),
            key("f.isra.0", Some("m")),
        ];
        let found = absent(text, keys.to_vec());
        let variants = keys.map(|key| found.get(&key).cloned());
        let list = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        let expected = [
            list(&["f.isra.0", "m:f.constprop.0"]),
            list(&["m:f.constprop.0"]),
            list(&["f.isra.0"]),
            list(&[]),
            None,
            list(&[]),
        ];
        assert_eq!(variants, expected);
    }

    #[test]
    fn lines_longer_than_the_buffer_and_without_a_last_newline() {
        let path = std::env::temp_dir().join(format!("rtrace-lines-{}", std::process::id()));
        let long = "x".repeat(200 << 10);
        std::fs::write(&path, format!("a\n{long}\n\nlast")).expect("a temporary file");
        let mut lengths = Vec::new();
        each_line(&path, &mut |line| {
            lengths.push(line.len());
            ControlFlow::Continue(())
        })
        .expect("readable");
        std::fs::remove_file(&path).expect("removable");
        assert_eq!(lengths, [1, 200 << 10, 0, 4]);
    }

    #[test]
    fn parts_of_lines() {
        let line = Line::parse(b"ffffffffc0000030 t e1000_open\t[e1000]").unwrap();
        assert_eq!((line.address(), line.kind, line.is_function()), (Some(0xffff_ffff_c000_0030), b't', true));
        assert_eq!((line.name(), line.module()), (b"e1000_open".as_slice(), Some(b"e1000".as_slice())));
        let line = Line::parse(b"ffffffff81000000 D jiffies").unwrap();
        assert_eq!((line.name(), line.module(), line.is_function()), (b"jiffies".as_slice(), None, false));
        assert!(Line::parse(b"nonsense").is_none() && Line::parse(b"").is_none());
        assert_eq!(Line::parse(b"10000000000000000 T too_long").unwrap().address(), None);
        assert_eq!(Line::parse(b"x T f").unwrap().address(), None);
    }
}
