//! The kernel's symbols, from `/proc/kallsyms`, as few of them as a run needs.
//!
//! The kernel writes that file symbol by symbol, which costs four fifths of the time to get a table:
//! 30 of 40 ms. Its own symbols come first and ascend, so a look-up reads only until it has passed the
//! address: half of the file for functions of the kernel proper. Modules and BPF programs follow in no
//! order; an address among those needs it all. They come and go, too: an address that no symbol has is a
//! reason to read the file again.

use rtrace_facts::kallsyms::Line;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file does not say where symbols end. In the kernel proper one follows the other; what lies further than this
/// behind a symbol of a module or a BPF program, or behind the last one, does not belong to it.
const LONGEST: u64 = 1 << 16;
/// The file is not read again before so much time has passed: a script may print many addresses that have no symbol.
const AGAIN: Duration = Duration::from_secs(1);
/// Nor before so many times what reading it took: on a slow machine that is more than a second.
const SHARE: u32 = 20;

pub struct Kallsyms {
    path: PathBuf,
    /// When it may be read again.
    again: Instant,
    source: Option<Box<dyn Read + Send>>,
    /// Start and where the name lies in `names`, by address. Of several names for one address the first
    /// counts: the kernel lists those with fewer underscores first.
    table: Vec<(u64, u32)>,
    /// Names, each closed by a line end; a tab and the module stand behind those of modules.
    names: Vec<u8>,
    /// The start of a line whose rest is not read yet.
    partial: Vec<u8>,
    /// Whether all addresses so far ascend.
    ascending: bool,
}

impl Kallsyms {
    pub fn open(path: &Path) -> Kallsyms {
        Kallsyms::new(path, File::open(path).ok().map(|f| Box::new(f) as Box<dyn Read + Send>))
    }

    fn new(path: &Path, source: Option<Box<dyn Read + Send>>) -> Kallsyms {
        Kallsyms {
            path: path.to_owned(),
            again: Instant::now() + AGAIN,
            source,
            table: Vec::new(),
            names: Vec::new(),
            partial: Vec::new(),
            ascending: true,
        }
    }

    /// Name and start of the symbol that an address lies in.
    pub fn find(&mut self, address: u64) -> Option<(&[u8], u64)> {
        if !is_of_kernel(address) {
            return None;
        }
        let mut found = self.symbol(address);
        if found.is_none() && self.read_again() {
            found = self.symbol(address);
        }
        let (start, name) = found?;
        Some((self.text(name).split(|b| *b == b'\t').next()?, start))
    }

    /// Start and name of the symbol that an address lies in.
    fn symbol(&mut self, address: u64) -> Option<(u64, u32)> {
        // Modules may lie below the kernel proper.
        let inside = |table: &[(u64, u32)]| {
            table.first().is_some_and(|(first, _)| *first <= address)
                && table.last().is_some_and(|(last, _)| *last > address)
        };
        while self.source.is_some() && !(self.ascending && inside(&self.table)) {
            self.read_more();
        }
        let after = self.table.partition_point(|(start, _)| *start <= address);
        let (start, _) = *self.table.get(after.checked_sub(1)?)?;
        let first = self.table.partition_point(|(s, _)| *s < start);
        let (_, name) = *self.table.get(first)?;
        let next = self.table.get(after).map(|(_, next)| *next);
        let of_kernel = |name| !self.text(name).contains(&b'\t');
        let ends = next.is_some_and(of_kernel) && of_kernel(name);
        (ends || address - start < LONGEST).then_some((start, name))
    }

    /// The line at a place of `names`.
    fn text(&self, at: u32) -> &[u8] {
        let rest = self.names.get(at as usize..).unwrap_or_default();
        rest.split(|b| *b == b'\n').next().unwrap_or_default()
    }

    /// Whether it was time to read all symbols again.
    fn read_again(&mut self) -> bool {
        // Who is shown nothing will not be shown more.
        let start = Instant::now();
        if self.table.is_empty() || start < self.again {
            return false;
        }
        let mut new = Kallsyms::open(&self.path);
        while new.source.is_some() {
            new.read_more();
        }
        new.again = Instant::now() + AGAIN.max(start.elapsed() * SHARE);
        if new.table.is_empty() {
            // What is known is better than nothing.
            self.again = new.again;
            return false;
        }
        *self = new;
        true
    }

    /// Whether all was read and there was nothing: addresses are kept from us.
    pub fn is_hidden(&self) -> bool {
        self.source.is_none() && self.table.is_empty()
    }

    fn read_more(&mut self) {
        let Some(source) = &mut self.source else { return };
        let mut chunk = vec![0; 64 << 10];
        // The kernel hands out a page at a time: fill the buffer, so that parsing is not the loop.
        let mut filled = 0;
        while let Some(space) = chunk.get_mut(filled..).filter(|s| !s.is_empty()) {
            match source.read(space) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        chunk.truncate(filled);
        let done = filled == 0;
        let mut text = std::mem::take(&mut self.partial);
        text.append(&mut chunk);
        if done {
            self.source = None;
            text.push(b'\n');
        }
        let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
        self.partial = text.split_off(whole);
        for line in text.split(|b| *b == b'\n') {
            self.add(line);
        }
        if self.source.is_none() && !self.ascending {
            // Stable, so that the first of several names stays first.
            self.table.sort_by_key(|(start, _)| *start);
        }
    }

    /// `ffffffff81000000 T _stext`, with a tab and `[module]` behind it for those.
    fn add(&mut self, line: &[u8]) {
        let Some(line) = Line::parse(line) else { return };
        let (Some(address), name) = (line.address(), line.symbol) else { return };
        // Absolute symbols are no addresses; zero is what the unprivileged are shown; the others are marks.
        if address == 0
            || matches!(line.kind, b'a' | b'A')
            || name.is_empty()
            || name.starts_with(b"\t")
            || name.starts_with(b"$")
        {
            return;
        }
        self.ascending &= self.table.last().is_none_or(|(last, _)| *last <= address);
        let Ok(at) = u32::try_from(self.names.len()) else { return };
        self.names.extend_from_slice(name);
        self.names.push(b'\n');
        self.table.push((address, at));
    }
}

/// Programs have the lower half of the addresses, on all processors that are known here.
fn is_of_kernel(address: u64) -> bool {
    address >> 63 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0000000000000000 A fixed_percpu_data\n\
        ffffffff81000000 T _stext\n\
        ffffffff81000000 T _text\n\
        ffffffff81000040 t first\n\
        ffffffff81000100 T second\n\
        ffffffff81001000 D data\n\
        ffffffffc0200000 t in_module\t[mod]\n\
        ffffffffc0100000 t other_module\t[other]\n\
        ffffffffc0000200 t bpf_prog_abc\t[bpf]\n";

    fn table(text: &'static str) -> Kallsyms {
        Kallsyms::new(Path::new(""), Some(Box::new(text.as_bytes())))
    }

    #[test]
    fn addresses_find_their_symbol() {
        let mut symbols = table(TEXT);
        let mut find = |address| {
            symbols.find(address).map(|(name, start)| (String::from_utf8_lossy(name).into_owned(), address - start))
        };
        assert_eq!(find(0xffffffff81000000), Some(("_stext".into(), 0)));
        assert_eq!(find(0xffffffff8100003f), Some(("_stext".into(), 0x3f)));
        assert_eq!(find(0xffffffff81000040), Some(("first".into(), 0)));
        assert_eq!(find(0xffffffff81000105), Some(("second".into(), 5)));
        assert_eq!(find(0xffffffffc0000210), Some(("bpf_prog_abc".into(), 0x10)));
        assert_eq!(find(0xffffffffc0100001), Some(("other_module".into(), 1)));
        assert_eq!(find(0xffffffffc0200001), Some(("in_module".into(), 1)));
        assert_eq!(find(0xfffffffffffffff0), None);
        assert_eq!(find(0), None);
        assert_eq!(find(0x1000), None);
    }

    /// As on arm64.
    #[test]
    fn modules_may_lie_below_the_kernel() {
        let mut symbols = table(
            "ffff800080000000 T _stext\nffff800080001000 T second\nffff800080400000 B _end\n\
             ffff80007a000000 t in_module\t[mod]\nffff80007b000000 t other\t[other]\n",
        );
        let mut name = |address| symbols.find(address).map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        assert_eq!(name(0xffff80007a000010).as_deref(), Some("in_module"));
        assert_eq!(name(0xffff800080000010).as_deref(), Some("_stext"));
        // Symbols of the kernel proper reach to the next, those of modules not.
        assert_eq!(name(0xffff8000803fffff).as_deref(), Some("second"));
        for address in [0xffff80007a800000, 0xffff80007fffffff, 0xffff800080500000] {
            assert_eq!(name(address), None);
        }
    }

    #[test]
    fn modules_that_come_later_are_found() {
        let path = std::env::temp_dir().join(format!("rt-kallsyms-{}", std::process::id()));
        let kernel = "ffffffff81000000 T _stext\nffffffff81400000 B _end\n";
        std::fs::write(&path, kernel).unwrap();
        let mut symbols = Kallsyms::open(&path);
        assert_eq!(symbols.find(0xffffffffc0000010), None);
        std::fs::write(&path, format!("{kernel}ffffffffc0000000 t late\t[mod]\n")).unwrap();
        // Not for each address.
        assert_eq!(symbols.find(0xffffffffc0000010), None);
        symbols.again = Instant::now();
        assert_eq!(symbols.find(0xffffffffc0000010), Some((&b"late"[..], 0xffffffffc0000000)));
        // Should the kernel hide its symbols from now on, those that are known stay.
        std::fs::write(&path, "0000000000000000 T _stext\n").unwrap();
        symbols.again = Instant::now();
        assert_eq!(symbols.find(0xffffffffd0000000), None);
        assert!(symbols.find(0xffffffffc0000010).is_some());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn damaged_and_hidden_tables_find_nothing() {
        for text in
            ["", "\n\n", "xyz T a\n", "0000000000000000 T hidden\n", "ffffffff81000000 T", "12345678901234567 T a\n"]
        {
            assert_eq!(table(text).find(0xffffffff81000000), None, "{text}");
        }
        assert!(Kallsyms::new(Path::new(""), None).find(u64::MAX).is_none());
    }

    #[test]
    fn nothing_is_read_for_addresses_of_programs() {
        let mut symbols = table(TEXT);
        assert_eq!(symbols.find(0x7fff_ffff_f000), None);
        assert!(symbols.source.is_some());
    }

    /// Hands out few bytes at a time, as the kernel does.
    struct Slow(Vec<u8>, usize);

    impl Read for Slow {
        fn read(&mut self, space: &mut [u8]) -> std::io::Result<usize> {
            let n = 4096.min(space.len()).min(self.0.len() - self.1);
            space[..n].copy_from_slice(&self.0[self.1..self.1 + n]);
            self.1 += n;
            Ok(n)
        }
    }

    #[test]
    fn reading_stops_behind_the_address() {
        let mut text = String::new();
        for i in 0..100_000u64 {
            text.push_str(&format!("{:016x} t function_{i}\n", 0xffffffff81000000 + i * 64));
        }
        let mut symbols = Kallsyms::new(Path::new(""), Some(Box::new(Slow(text.into_bytes(), 0))));
        assert_eq!(symbols.find(0xffffffff81000000 + 64 * 5000 + 7).unwrap().0, b"function_5000");
        assert!(symbols.source.is_some() && symbols.table.len() < 12_000, "{}", symbols.table.len());
        assert_eq!(symbols.find(0xffffffff81000000 + 64 * 99_999).unwrap().0, b"function_99999");
        assert_eq!(symbols.table.len(), 100_000);
    }
}
