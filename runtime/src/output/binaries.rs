//! The files that symbols come from: programs and libraries that are open for look-ups, the least recently used given
//! up when there are many, and the maps that compilers at run time write (`/tmp/perf-PID.map`), which grow.
//!
//! A file may be written anew, by a build, where it is: its time of change tells.

use super::processes::{File, Mapping};
use crate::kernel::os::memfd;
use crate::kernel::{mini, user};
use crate::stamp::{Stamp, stamp};
use blazesym::Pid;
use blazesym::symbolize::source::{Elf, Process, Source};
use blazesym::symbolize::{Input, Sym, Symbolized, Symbolizer, evict};
use rtrace_lang::bundle::Config;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Files that are open at a time, each with a descriptor.
const OPEN: usize = 256;
/// Files that are remembered.
const KNOWN: usize = 1 << 14;
/// How often to ask whether a file was changed.
const AGAIN: Duration = Duration::from_millis(500);

pub fn symbolizer(config: &Config) -> Symbolizer {
    Symbolizer::builder()
        .enable_code_info(config.show_debug_info)
        .enable_inlined_fns(config.show_debug_info)
        .enable_demangling(config.cpp_demangle)
        .enable_auto_reload(false)
        .build()
}

pub fn one<'s>(symbolizer: &'s Symbolizer, source: &Source<'_>, input: Input<u64>) -> Option<Sym<'s>> {
    match symbolizer.symbolize_single(source, input).ok()? {
        Symbolized::Sym(sym) => Some(sym),
        Symbolized::Unknown(_) => None,
    }
}

/// A file that processes have mapped, as it was at a time.
struct Binary {
    file: Rc<File>,
    /// Of that time, once it was open.
    stamp: Option<Stamp>,
    open: Option<Open>,
}

/// A file that symbols can be looked up in. It has a symbolizer of its own: one for all would take files of one path
/// for the same.
struct Open {
    path: PathBuf,
    /// Whether the symbolizer has opened the file, which it does with the first look-up.
    read: bool,
    checked: Instant,
    used: u64,
    symbolizer: Symbolizer,
    mini: OnceCell<Option<Mini>>,
}

/// The symbols that a stripped file brings along in `.gnu_debugdata`: unpacked, in a file in memory.
struct Mini {
    file: std::fs::File,
    symbolizer: Symbolizer,
}

impl Mini {
    fn of(path: &Path, config: &Config) -> Option<Mini> {
        let path = path.to_str()?;
        let bytes = user::with_elf(path, |elf| mini::unpack(path, elf)).ok()??;
        let mut file = memfd(c"symbols").ok()?;
        file.write_all(&bytes).ok()?;
        Some(Mini { file, symbolizer: symbolizer(config) })
    }

    fn symbol(&self, address: u64) -> Option<Sym<'_>> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        one(&self.symbolizer, &Source::Elf(Elf::new(path)), Input::VirtOffset(address))
    }
}

impl Open {
    /// The symbol at an offset: of the tables that a file has, the one that begins last before it.
    fn symbol(&self, config: &Config, offset: u64) -> Option<Sym<'_>> {
        let own = one(&self.symbolizer, &Source::Elf(Elf::new(&self.path)), Input::FileOffset(offset));
        let mini = self.mini.get_or_init(|| Mini::of(&self.path, config)).as_ref();
        let other = mini.and_then(|mini| {
            let address = user::address(self.path.to_str()?, offset).ok()??;
            mini.symbol(address)
        });
        [own, other].into_iter().flatten().max_by_key(|sym| sym.addr)
    }
}

/// All files, by number.
#[derive(Default)]
pub struct Binaries {
    all: Vec<Binary>,
    numbers: HashMap<Rc<File>, usize>,
    open: usize,
    /// Counts look-ups.
    now: u64,
}

impl Binaries {
    /// The number of a file that a process has mapped: another one once it was changed. `kept` is a path to it that leads
    /// there when the process has ended.
    pub fn number(&mut self, config: &Config, process: u32, mapping: &Mapping, kept: Option<PathBuf>) -> usize {
        self.now += 1;
        let known = self.numbers.get(&mapping.file).copied();
        let mut number = known.unwrap_or_else(|| self.add(mapping.file.clone()));
        if self.changed(number) {
            self.close(number);
            number = self.add(mapping.file.clone());
        }
        if self.all.get(number).and_then(|b| b.open.as_ref()).is_some_and(|open| !open.read) {
            // By now the path may lead to another file.
            self.close(number);
        }
        if !self.is_open(number)
            && let Some(path) = kept.or_else(|| readable(process, mapping))
        {
            let stamp = stamp(&path);
            if self.all.get(number).is_some_and(|b| b.stamp.is_some() && b.stamp != stamp) {
                number = self.add(mapping.file.clone());
            }
            if let Some(binary) = self.all.get_mut(number) {
                binary.stamp = stamp;
                let symbolizer = symbolizer(config);
                let mini = OnceCell::new();
                binary.open = Some(Open { path, read: false, checked: Instant::now(), used: 0, symbolizer, mini });
                self.open += 1;
            }
        }
        if let Some(open) = self.all.get_mut(number).and_then(|b| b.open.as_mut()) {
            open.used = self.now;
        }
        if self.open > OPEN {
            self.close_oldest();
        }
        number
    }

    /// Whether there are so many files that it is time to forget them, and what is known by their numbers.
    pub fn are_many(&self) -> bool {
        self.all.len() > KNOWN
    }

    pub fn file(&self, number: usize) -> Option<&Rc<File>> {
        self.all.get(number).map(|b| &b.file)
    }

    pub fn is_open(&self, number: usize) -> bool {
        self.all.get(number).is_some_and(|b| b.open.is_some())
    }

    /// To be asked right after [`Binaries::number`].
    pub fn symbol(&mut self, config: &Config, number: usize, offset: u64) -> Option<Sym<'_>> {
        let open = self.all.get_mut(number)?.open.as_mut()?;
        open.read = true;
        open.symbol(config, offset)
    }

    fn add(&mut self, file: Rc<File>) -> usize {
        let number = self.all.len();
        self.numbers.insert(file.clone(), number);
        self.all.push(Binary { file, stamp: None, open: None });
        number
    }

    /// Whether a file was written anew. One that its path does not lead to any more is open as it was.
    fn changed(&mut self, number: usize) -> bool {
        let Some(binary) = self.all.get_mut(number) else { return false };
        let Some(open) = &mut binary.open else { return false };
        if open.checked.elapsed() < AGAIN {
            return false;
        }
        open.checked = Instant::now();
        match (stamp(&open.path), binary.stamp) {
            (Some(new), Some(old)) => new.file == old.file && new != old,
            _ => false,
        }
    }

    fn close(&mut self, number: usize) {
        if self.all.get_mut(number).and_then(|b| b.open.take()).is_some() {
            self.open -= 1;
        }
    }

    fn close_oldest(&mut self) {
        let open = (0..).zip(&self.all).filter_map(|(number, b)| Some((b.open.as_ref()?.used, number)));
        if let Some((_, oldest)) = open.min() {
            self.close(oldest);
        }
    }
}

/// A path under which a mapped file can be read. The file of that path may be another one by now, or for us; on file
/// systems that lie over others, though, the same file has another device.
fn readable(process: u32, mapping: &Mapping) -> Option<PathBuf> {
    let File { device, inode, path } = &*mapping.file;
    let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file);
    let same_device = |m: &std::fs::Metadata| (libc::major(m.dev()), libc::minor(m.dev())) == *device;
    if found.as_ref().is_some_and(|m| same_device(m) && m.ino() == *inode) {
        return Some(path.to_path_buf());
    }
    let link = PathBuf::from(format!("/proc/{process}/map_files/{:x}-{:x}", mapping.start, mapping.end));
    let mut seen = OsString::from(format!("/proc/{process}/root"));
    seen.push(path.as_os_str());
    let near = [link, seen.into()].into_iter().find(|p| p.is_file());
    near.or_else(|| found.filter(|m| !same_device(m)).map(|_| path.to_path_buf()))
}

/// Code that a process made while it runs, named by a map that it writes.
struct Written {
    path: Option<PathBuf>,
    stamp: Option<Stamp>,
    checked: Instant,
    /// How often the map was changed.
    version: u32,
}

/// What is looked up in processes themselves.
#[derive(Default)]
pub struct Living {
    symbolizer: Option<Symbolizer>,
    written: HashMap<u32, Written>,
}

impl Living {
    /// How often the map of a process was changed, so far as that is known.
    pub fn version(&mut self, process: u32) -> u32 {
        if !self.written.contains_key(&process) {
            self.make_room();
            let path = perf_map(process);
            let stamp = path.as_deref().and_then(stamp);
            self.written.insert(process, Written { path, stamp, checked: Instant::now(), version: 0 });
        }
        let Some(written) = self.written.get_mut(&process) else { return 0 };
        if written.checked.elapsed() >= AGAIN {
            written.checked = Instant::now();
            if written.path.is_none() {
                written.path = perf_map(process);
            }
            // Of a process that has ended what was read stays.
            let new = written.path.as_deref().and_then(stamp);
            if new.is_some() && new != written.stamp {
                written.stamp = new;
                written.version += 1;
                self.forget(process);
            }
        }
        self.written.get(&process).map_or(0, |w| w.version)
    }

    pub fn symbol(&mut self, config: &Config, process: u32, address: u64) -> Option<Sym<'_>> {
        let symbolizer = self.symbolizer(config);
        one(symbolizer, &Source::Process(Process::new(Pid::from(process))), Input::AbsAddr(address))
    }

    pub fn symbolizer(&mut self, config: &Config) -> &Symbolizer {
        self.symbolizer.get_or_insert_with(|| symbolizer(config))
    }

    fn make_room(&mut self) {
        if self.written.len() < OPEN {
            return;
        }
        if let Some(oldest) = self.written.iter().min_by_key(|(_, w)| w.checked).map(|(process, _)| *process) {
            self.written.remove(&oldest);
            self.forget(oldest);
        }
    }

    fn forget(&mut self, process: u32) {
        if let Some(symbolizer) = &mut self.symbolizer {
            // There may be nothing to forget.
            let _ = symbolizer.evict(&evict::Process::new(Pid::from(process)).into());
        }
    }
}

/// Where a process writes the names of its code: as it sees its own folders, with the number that it has for itself.
fn perf_map(process: u32) -> Option<PathBuf> {
    let status = std::fs::read(format!("/proc/{process}/status")).ok()?;
    let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"NStgid:"))?;
    let own = std::str::from_utf8(line).ok()?.split_whitespace().last()?;
    Some(PathBuf::from(format!("/proc/{process}/root/tmp/perf-{own}.map")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config() -> Config {
        Config { ringbuf_bytes: 4096, max_map_keys: 16, ..Config::default() }
    }

    /// A new folder.
    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("rt-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn mapping(path: &Path) -> Mapping {
        let m = std::fs::metadata(path).unwrap();
        let device = (libc::major(m.dev()), libc::minor(m.dev()));
        Mapping { start: 0, end: 4096, offset: 0, file: Rc::new(File { device, inode: m.ino(), path: path.into() }) }
    }

    fn later(binaries: &mut Binaries) {
        let then = Instant::now().checked_sub(AGAIN).unwrap();
        binaries.all.iter_mut().filter_map(|b| b.open.as_mut()).for_each(|o| o.checked = then);
    }

    #[test]
    fn files_that_are_written_anew_are_others() {
        let folder = folder("anew");
        let path = folder.join("a");
        std::fs::write(&path, "one").unwrap();
        let (mut binaries, mapped) = (Binaries::default(), mapping(&path));
        let number = |b: &mut Binaries| {
            let number = b.number(&config(), u32::MAX, &mapped, None);
            assert!(b.symbol(&config(), number, 0).is_none());
            number
        };
        let first = number(&mut binaries);
        later(&mut binaries);
        assert_eq!(number(&mut binaries), first);
        std::fs::write(&path, "three").unwrap();
        later(&mut binaries);
        let second = number(&mut binaries);
        assert_ne!(second, first);
        assert_eq!((binaries.open, number(&mut binaries)), (1, second));
        // Also while it is not open.
        binaries.close(second);
        std::fs::write(&path, "four").unwrap();
        assert!(![first, second].contains(&number(&mut binaries)));
        // Another file in its place is not it: those who run the old one go on to.
        let third = number(&mut binaries);
        std::fs::write(folder.join("b"), "five").unwrap();
        std::fs::rename(folder.join("b"), &path).unwrap();
        later(&mut binaries);
        assert_eq!(number(&mut binaries), third);
        assert!(binaries.is_open(third));
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_files_used_last_are_open() {
        let folder = folder("open");
        let mut binaries = Binaries::default();
        let mut numbers = Vec::new();
        for n in 0..OPEN + 10 {
            let path = folder.join(n.to_string());
            std::fs::write(&path, "").unwrap();
            numbers.push(binaries.number(&config(), u32::MAX, &mapping(&path), None));
            assert_eq!(binaries.number(&config(), u32::MAX, &mapping(&folder.join("0")), None), numbers[0]);
        }
        assert_eq!(binaries.open, OPEN);
        let closed: Vec<usize> = numbers.iter().copied().filter(|n| !binaries.is_open(*n)).collect();
        assert_eq!(closed, numbers[1..11]);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn files_may_be_found_later() {
        let folder = folder("later");
        let path = folder.join("a");
        std::fs::write(&path, "").unwrap();
        let (mut binaries, mapped) = (Binaries::default(), mapping(&path));
        std::fs::rename(&path, folder.join("b")).unwrap();
        let number = binaries.number(&config(), u32::MAX, &mapped, None);
        assert!(!binaries.is_open(number));
        std::fs::rename(folder.join("b"), &path).unwrap();
        assert_eq!(binaries.number(&config(), u32::MAX, &mapped, None), number);
        assert!(binaries.is_open(number));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
