//! The files that symbols come from: programs and libraries that are open for look-ups, the least recently used given
//! up when there are many.
//!
//! A file may be written anew, by a build, where it is: its time of change tells.

use crate::processes::{File, Mapping};
use crate::reader::{NoAnswer, Question, Reader, Symbol};
use rtrace_core::bundle::Config;
use rtrace_sys::stamp::{Stamp, stamp};
use rtrace_sys::worker::Failure;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Files that are open at a time, each with a descriptor.
const OPEN: usize = 256;
/// Files that are remembered.
const KNOWN: usize = 1 << 14;
/// How often to ask whether a file was changed.
const AGAIN: Duration = Duration::from_millis(500);

/// A file that processes have mapped, as it was at a time.
struct Binary {
    file: Rc<File>,
    /// Of that time, once it was open.
    stamp: Option<Stamp>,
    open: Option<Open>,
    /// The time spent on slow look-ups.
    spent: Duration,
    reads: Reads,
}

/// The parts read of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    DebugInformation,
    /// Since the debug information could not be read.
    Symbols,
    Nothing,
}

/// A file that symbols can be looked up in.
struct Open {
    path: PathBuf,
    /// The reader that has opened the file, which it does with the first look-up.
    read: Option<u64>,
    checked: Instant,
    used: u64,
}

/// All files, by number.
#[derive(Default)]
pub struct Binaries {
    all: Vec<Binary>,
    numbers: HashMap<Rc<File>, usize>,
    open: usize,
    /// Counts look-ups.
    now: u64,
    reader: Reader,
    /// Warnings that are not reported yet.
    pub complaints: Vec<String>,
}

impl Binaries {
    /// The number of a file that a process has mapped: another one once it was changed. `kept` is a path to it that leads
    /// there when the process has ended.
    pub fn number(&mut self, process: u32, mapping: &Mapping, kept: Option<PathBuf>) -> usize {
        self.now += 1;
        let known = self.numbers.get(&mapping.file).copied();
        let mut number = known.unwrap_or_else(|| self.add(mapping.file.clone()));
        if self.changed(number) {
            self.close(number);
            number = self.add(mapping.file.clone());
        }
        let reader = self.reader.generation();
        if self.all.get(number).and_then(|b| b.open.as_ref()).is_some_and(|o| o.read != Some(reader)) {
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
                binary.open = Some(Open { path, read: None, checked: Instant::now(), used: 0 });
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
    pub fn symbol(&mut self, config: &Config, number: usize, offset: u64) -> Option<Symbol> {
        let binary = self.all.get_mut(number)?;
        let open = binary.open.as_mut()?;
        let (mut answer, mut left_out) = (None, None);
        while binary.reads != Reads::Nothing {
            let debug = binary.reads == Reads::DebugInformation;
            let question = Question::File { number: number as u64, offset, debug, path: &open.path };
            let reason = match self.reader.ask(config, question, &mut binary.spent) {
                Ok(found) => {
                    open.read = Some(self.reader.generation());
                    answer = found;
                    break;
                }
                Err(reason) => reason,
            };
            left_out = Some(reason.explain(config));
            binary.reads = match reason {
                NoAnswer::Failed(Failure::Late | Failure::Ended(_)) if debug => Reads::Symbols,
                _ => Reads::Nothing,
            };
            binary.spent = Duration::ZERO;
        }
        if let Some(reason) = left_out {
            let path = binary.file.path.display();
            self.complaints.push(match binary.reads {
                Reads::Nothing => format!("addresses in {path} are printed as numbers: {reason}"),
                _ => format!("the debug information of {path} is ignored: {reason}"),
            });
        }
        answer
    }

    /// The symbol of an address in the kernel code that is mapped into all processes.
    pub fn vdso(&mut self, config: &Config, address: u64) -> Option<Symbol> {
        self.reader.ask(config, Question::Vdso { address }, &mut Duration::default()).ok().flatten()
    }

    fn add(&mut self, file: Rc<File>) -> usize {
        let number = self.all.len();
        self.numbers.insert(file.clone(), number);
        let reads = Reads::DebugInformation;
        self.all.push(Binary { file, stamp: None, open: None, spent: Duration::ZERO, reads });
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
            self.reader.close(number as u64);
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
            let number = b.number(u32::MAX, &mapped, None);
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
            numbers.push(binaries.number(u32::MAX, &mapping(&path), None));
            assert_eq!(binaries.number(u32::MAX, &mapping(&folder.join("0")), None), numbers[0]);
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
        let number = binaries.number(u32::MAX, &mapped, None);
        assert!(!binaries.is_open(number));
        std::fs::rename(folder.join("b"), &path).unwrap();
        assert_eq!(binaries.number(u32::MAX, &mapped, None), number);
        assert!(binaries.is_open(number));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
