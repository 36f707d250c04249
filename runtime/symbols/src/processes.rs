//! The memory maps of processes, also of ended ones: the kernel reports every mapping of code, every exec, fork
//! and exit (perf events of `PERF_COUNT_SW_DUMMY`), and of what was there before `/proc` does. So addresses that a
//! process had find their files when it has ended long ago.
//!
//! If the events are not available, `/proc` is read when an address is first asked about.

use crate::foreign;
use rtrace_sys::mappings::{self, Code};
use rtrace_sys::{self as sys, PerfAttr, SharedWords};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Pages of a buffer, a power of two; one for each CPU.
const PAGES: usize = 64;
/// Processes that have ended and are remembered: at about 600 bytes each, with most of what they map in common.
const ENDED: usize = 1 << 13;
/// With more files than this, those that no process has mapped any more are looked for and forgotten.
const FILES: usize = 1 << 10;
/// Files that are open because only processes can reach them.
const KEPT: usize = 128;
/// Time between two readings of all processes, where events are lost again and again.
const AGAIN: Duration = Duration::from_secs(1);
/// A process is read again after so many times the time that reading it took: where it has many mappings, that is long.
const PAUSE: u32 = 20;

/// The origin of code.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct File {
    /// Device and inode; zeros for memory without a file.
    pub device: (u32, u32),
    pub inode: u64,
    /// As the process sees it, or a name such as `[vdso]`. Paths are bytes, which need not be UTF-8.
    pub path: Box<Path>,
}

/// Code that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    /// Offset in the file of the start.
    pub offset: u64,
    pub file: Rc<File>,
}

/// Files that only processes of another mount namespace or root can reach, open for when these have ended.
#[derive(Default)]
struct Kept {
    open: HashMap<Rc<File>, std::fs::File>,
    order: VecDeque<Rc<File>>,
}

impl Kept {
    /// Opens a file that a process has mapped, unless its path leads to it from here, too.
    fn keep(&mut self, process: u32, mapping: &Mapping) {
        let File { device, inode, path } = &*mapping.file;
        let is_it = |m: &std::fs::Metadata, same_device: bool| {
            let here = (libc::major(m.dev()), libc::minor(m.dev()));
            m.is_file() && m.ino() == *inode && (!same_device || here == *device)
        };
        if *inode == 0
            || self.open.contains_key(&mapping.file)
            || std::fs::metadata(path).is_ok_and(|m| is_it(&m, true))
        {
            return;
        }
        let link = PathBuf::from(format!("/proc/{process}/map_files/{:x}-{:x}", mapping.start, mapping.end));
        let mut seen = OsString::from(format!("/proc/{process}/root"));
        seen.push(path.as_os_str());
        // On file systems that lie over others, the same file has another device.
        let open = |path: PathBuf| {
            let file = foreign::open(&path).ok()?;
            file.metadata().is_ok_and(|m| is_it(&m, false)).then_some(file)
        };
        let Some(file) = [link, seen.into()].into_iter().find_map(open) else { return };
        if self.order.len() >= KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        self.order.push_back(mapping.file.clone());
        self.open.insert(mapping.file.clone(), file);
    }
}

/// Mappings by their start; none is over another.
type Mappings = BTreeMap<u64, Mapping>;

/// The memory map of a process.
#[derive(Clone, Default)]
struct Known {
    /// Shared with what it was forked from, until one of them maps more.
    mappings: Rc<Mappings>,
    /// When it may be read again.
    again: Option<Instant>,
}

#[derive(Default)]
pub struct Processes {
    known: HashMap<u32, Known>,
    ended: VecDeque<u32>,
    files: Files,
    kept: Kept,
    buffers: Vec<Buffer>,
    /// Events that are too new to know all that came before them, with their times.
    held: Vec<(u64, Event)>,
    /// Whether the mappings of a process were not to be read by us.
    refused: bool,
    /// Events that the kernel had no room for.
    lost: u64,
    /// Whether some were lost since `/proc` was read, and when that was.
    missed: bool,
    read: Option<Instant>,
}

/// Each file once.
#[derive(Default)]
struct Files {
    all: HashSet<Rc<File>>,
    /// How many were in use when that was looked for.
    used: usize,
}

impl Files {
    /// Returns whether it is a new one.
    fn share(&mut self, mapping: &mut Mapping) -> bool {
        if let Some(known) = self.all.get(&mapping.file) {
            mapping.file = known.clone();
            return false;
        }
        if self.all.len() >= FILES.max(2 * self.used) {
            self.all.retain(|file| Rc::strong_count(file) > 1);
            self.used = self.all.len();
        }
        self.all.insert(mapping.file.clone());
        true
    }
}

/// The events of one CPU.
struct Buffer {
    fd: OwnedFd,
    memory: SharedWords,
    /// Bytes of a page: so many come before the records.
    page: usize,
}

/// The contents of an event.
#[derive(Debug, PartialEq)]
enum Event {
    Mapped { process: u32, mapping: Mapping },
    Exec { process: u32 },
    Fork { process: u32, parent: u32 },
    Exit { process: u32 },
    Lost { events: u64 },
}

impl Processes {
    /// Begins to watch all processes. On CPUs where that is not possible they are not watched; the first error says why.
    pub fn watch(&mut self) -> io::Result<()> {
        const TIME: u64 = 1 << 2;
        const FLAGS: u64 = (1 << 8) // mmap
            | (1 << 9) // comm
            | (1 << 13) // task
            | (1 << 14) // watermark
            | (1 << 18) // sample_id_all
            | (1 << 23) // mmap2
            | (1 << 24) // comm_exec
            | (1 << 25); // use_clockid
        let page = sys::page_size();
        let attr = PerfAttr {
            kind: 1,   // PERF_TYPE_SOFTWARE
            config: 9, // PERF_COUNT_SW_DUMMY
            sample_type: TIME,
            flags: FLAGS,
            clockid: libc::CLOCK_MONOTONIC,
            wakeup: (PAGES * page / 4) as u32,
            ..PerfAttr::default()
        };
        let open = |cpu: u32| -> io::Result<Buffer> {
            let fd = sys::perf_event_open(&attr, -1, cpu as i32)?;
            let memory = SharedWords::map(fd.as_fd(), (1 + PAGES) * page)?;
            Ok(Buffer { fd, memory, page })
        };
        let mut result = Ok(());
        for cpu in sys::online_cpus()? {
            match open(cpu) {
                Ok(buffer) => self.buffers.push(buffer),
                // It went offline meanwhile.
                Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
                Err(e) => result = result.and(Err(e)),
            }
        }
        // Without events what is read now would only grow old.
        if !self.buffers.is_empty() {
            self.read_all();
        }
        result
    }

    fn read_all(&mut self) {
        self.missed = false;
        self.read = Some(Instant::now());
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            if let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                self.read(process);
            }
        }
    }

    /// Events that were lost until now: what they said of processes that have ended is not known.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether there was a process whose mappings we may not read.
    pub fn refused(&self) -> bool {
        self.refused
    }

    /// Readable when there is much to read.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.buffers.iter().map(|b| b.fd.as_fd())
    }

    /// Takes in what happened since the last time.
    pub fn update(&mut self) {
        let now = sys::clock_ns(libc::CLOCK_MONOTONIC);
        let mut events: Vec<(u64, Event)> = Vec::new();
        for buffer in &self.buffers {
            buffer.drain(&mut |record| events.extend(parse(record)));
        }
        self.take_in(events, now);
        if self.missed && self.read.is_none_or(|t| t.elapsed() >= AGAIN) {
            self.read_all();
        }
    }

    /// Applies events in the order of their time: a process runs on several CPUs, whose buffers were emptied one after
    /// the other. What came before `now`, when that began, is complete; of what came later, such as an exec, the
    /// beginning, such as the fork, may be in a buffer that was emptied before.
    fn take_in(&mut self, new: Vec<(u64, Event)>, now: u64) {
        self.held.extend(new);
        self.held.sort_by_key(|e| e.0);
        let complete = self.held.partition_point(|e| e.0 <= now);
        let later = self.held.split_off(complete);
        for (_, event) in std::mem::replace(&mut self.held, later) {
            self.apply(event);
        }
    }

    /// The mapping of an address.
    pub fn find(&mut self, process: u32, address: u64) -> Option<Mapping> {
        self.update();
        if let Some(found) = self.known_at(process, address) {
            return Some(found.clone());
        }
        // Not told of, or changed meanwhile where nothing tells.
        if self.known.get(&process).and_then(|k| k.again).is_some_and(|again| Instant::now() < again) {
            return None;
        }
        self.read(process);
        self.known_at(process, address).cloned()
    }

    fn known_at(&self, process: u32, address: u64) -> Option<&Mapping> {
        let (_, mapping) = self.known.get(&process)?.mappings.range(..=address).next_back()?;
        Some(mapping).filter(|m| address < m.end)
    }

    /// A path to a file that is not to be reached by its own; also for the child that reads symbols.
    pub fn kept(&self, file: &Rc<File>) -> Option<PathBuf> {
        self.kept
            .open
            .get(file)
            .map(|open| PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd())))
    }

    /// The mapping of that name.
    pub fn named(&mut self, process: u32, name: &str) -> Option<Mapping> {
        if !self.known.contains_key(&process) {
            self.read(process);
        }
        self.known.get(&process)?.mappings.values().find(|m| *m.file.path == *Path::new(name)).cloned()
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Mapped { process, mut mapping } => {
                if self.files.share(&mut mapping) {
                    self.kept.keep(process, &mapping);
                }
                map(Rc::make_mut(&mut self.known.entry(process).or_default().mappings), mapping);
            }
            Event::Exec { process } => {
                self.known.insert(process, Known::default());
            }
            Event::Fork { process, parent } => {
                if !self.known.contains_key(&parent) {
                    self.read(parent);
                }
                let mappings = self.known.get(&parent).map(|k| k.mappings.clone()).unwrap_or_default();
                self.known.insert(process, Known { mappings, again: None });
                self.ended.retain(|p| *p != process);
            }
            Event::Exit { process } => {
                self.ended.push_back(process);
                if self.ended.len() > ENDED
                    && let Some(oldest) = self.ended.pop_front()
                {
                    self.known.remove(&oldest);
                }
            }
            Event::Lost { events } => {
                self.lost += events;
                self.missed = true;
            }
        }
    }

    /// Reads what a process has mapped now; of one that is gone what was known stays.
    fn read(&mut self, process: u32) {
        let began = Instant::now();
        let text = match std::fs::read(format!("/proc/{process}/maps")) {
            Ok(text) => text,
            Err(e) => {
                self.refused |= e.kind() == io::ErrorKind::PermissionDenied;
                return;
            }
        };
        if text.is_empty() {
            return;
        }
        let mut mappings = Mappings::new();
        for code in mappings::code(&text) {
            let mut mapping = Mapping::from(code);
            if self.files.share(&mut mapping) && !self.buffers.is_empty() {
                self.kept.keep(process, &mapping);
            }
            mappings.insert(mapping.start, mapping);
        }
        let again = Instant::now() + PAUSE * began.elapsed();
        self.known.insert(process, Known { mappings: Rc::new(mappings), again: Some(again) });
    }
}

/// Adds a mapping; what it covers of others is no more.
fn map(all: &mut Mappings, new: Mapping) {
    let covers = |m: &Mapping| m.end > new.start;
    let covered: Vec<u64> =
        all.range(..new.end).rev().take_while(|(_, m)| covers(m)).map(|(start, _)| *start).collect();
    for start in covered {
        let Some(old) = all.remove(&start) else { continue };
        if old.start < new.start {
            all.insert(old.start, Mapping { end: new.start, ..old.clone() });
        }
        if old.end > new.end {
            all.insert(new.end, Mapping { start: new.end, offset: old.offset + (new.end - old.start), ..old });
        }
    }
    all.insert(new.start, new);
}

impl From<Code<'_>> for Mapping {
    fn from(code: Code<'_>) -> Mapping {
        let Code { start, end, offset, device, inode, path } = code;
        Mapping { start, end, offset, file: Rc::new(File { device, inode, path: path.into() }) }
    }
}

impl Buffer {
    /// Hands over the records that are complete; `struct perf_event_mmap_page` has the positions of writer and
    /// reader at 1024 and 1032, the records begin a page later.
    fn drain(&self, each: &mut dyn FnMut(&[u8])) {
        let size = (PAGES * self.page) as u64;
        let (Some(head), Some(tail)) = (self.memory.word(1024), self.memory.word(1032)) else { return };
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        if end.wrapping_sub(at) > size {
            at = end;
        }
        let word = |position: u64| {
            let place = self.page + (position % size) as usize;
            self.memory.word(place).map_or(0, |w| w.load(Ordering::Relaxed))
        };
        let mut record = Vec::new();
        while at < end {
            // u32 kind, u16 flags, u16 size with this head.
            let length = word(at) >> 48;
            if length < 8 || length > end - at {
                break;
            }
            record.clear();
            record.extend((0..length.div_ceil(8)).flat_map(|n| word(at + n * 8).to_ne_bytes()));
            each(&record);
            at += length.next_multiple_of(8);
        }
        tail.store(end, Ordering::Release);
    }
}

/// An event and its time; nothing for those of no use here. Layouts are those of `linux/perf_event.h`.
fn parse(record: &[u8]) -> Option<(u64, Event)> {
    const LOST: u32 = 2;
    const COMM: u32 = 3;
    const EXIT: u32 = 4;
    const FORK: u32 = 7;
    const MMAP2: u32 = 10;
    const COMM_EXEC: u16 = 1 << 13;
    let half = |at: usize| record.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b));
    let int = |at: usize| record.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b));
    let long = |at: usize| record.get(at..)?.first_chunk().map(|b| u64::from_ne_bytes(*b));
    // The time stands at the end of each.
    let end = record.len().checked_sub(8)?;
    let time = long(end)?;
    let process = int(8)?;
    let event = match int(0)? {
        LOST => Event::Lost { events: long(16)? },
        COMM if half(4)? & COMM_EXEC != 0 => Event::Exec { process },
        // Threads are forked within a process, and end alone.
        FORK if int(12)? != process => Event::Fork { process, parent: int(12)? },
        EXIT if int(16)? == process => Event::Exit { process },
        MMAP2 => {
            let name = record.get(72..end)?;
            let name = name.split(|b| *b == 0).next().unwrap_or_default();
            let path = Path::new(OsStr::from_bytes(name)).into();
            let file = Rc::new(File { device: (int(40)?, int(44)?), inode: long(48)?, path });
            let start = long(16)?;
            let mapping = Mapping { start, end: start.checked_add(long(24)?)?, offset: long(32)?, file };
            Event::Mapped { process, mapping }
        }
        _ => return None,
    };
    Some((time, event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, offset: u64) -> Mapping {
        Mapping {
            start,
            end,
            offset,
            file: Rc::new(File { device: (8, 1), inode: 7, path: Path::new("/bin/x").into() }),
        }
    }

    #[test]
    fn lines_of_maps() {
        let line = |text: &[u8]| mappings::code(text).map(Mapping::from).next();
        let text = b"55e0a7b0d000-55e0a7b0e000 r-xp 00001000 08:01 7                          /bin/x";
        assert_eq!(line(text), Some(mapping(0x55e0_a7b0_d000, 0x55e0_a7b0_e000, 0x1000)));
    }

    /// One such name must not cost the process its other files.
    #[test]
    fn names_of_files_are_bytes() {
        let path = std::env::temp_dir().join(OsStr::from_bytes(b"rt-caf\xe9"));
        let sleep = ["/bin/sleep", "/usr/bin/sleep"].iter().find_map(|p| std::fs::copy(p, &path).ok());
        assert!(sleep.is_some());
        let mut child = std::process::Command::new(&path).arg("100").spawn().unwrap();
        let mut processes = Processes::default();
        // Its program is there some time after exec.
        let found = (0..1000).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            processes.read(child.id());
            mappings(&processes, child.id()).iter().any(|m| *m.file.path == *path)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(found);
    }

    fn mappings(processes: &Processes, process: u32) -> Vec<Mapping> {
        processes.known[&process].mappings.values().cloned().collect()
    }

    #[test]
    fn what_is_mapped_over_is_gone() {
        let mut all = Mappings::new();
        let mut add = |mapping| {
            map(&mut all, mapping);
            all.values().cloned().collect::<Vec<_>>()
        };
        add(mapping(0x1000, 0x5000, 0));
        assert_eq!(
            add(mapping(0x2000, 0x3000, 0x9000)),
            [mapping(0x1000, 0x2000, 0), mapping(0x2000, 0x3000, 0x9000), mapping(0x3000, 0x5000, 0x2000)]
        );
        assert_eq!(add(mapping(0x1800, 0x4000, 7)).len(), 3);
        assert_eq!(add(mapping(0x0, 0x4800, 9)), [mapping(0x0, 0x4800, 9), mapping(0x4800, 0x5000, 0x3800)]);
    }

    /// Tens of thousands of mappings cost as many steps, not their square, and are not read for each unknown address.
    #[test]
    fn many_mappings() {
        let mut processes = Processes::default();
        let process = std::process::id();
        let began = Instant::now();
        for n in 0..60_000 {
            let place = 0x1_0000_0000 + n * 0x2000;
            processes.apply(Event::Mapped { process, mapping: mapping(place, place + 0x1000, 0) });
            assert!(processes.known_at(process, place + 5).is_some());
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        processes.read(process);
        processes.known.get_mut(&process).unwrap().again = Some(Instant::now() + AGAIN);
        processes.apply(Event::Mapped { process, mapping: mapping(0x1000, 0x2000, 0) });
        assert_eq!(processes.find(process, 0x3000), None);
        assert!(processes.find(process, 0x1000).is_some(), "it was not read again");
    }

    #[test]
    fn processes_that_end_are_remembered_with_what_they_inherited() {
        let mut processes = Processes::default();
        let (old, new) = (u32::MAX - 1, u32::MAX - 2);
        processes.apply(Event::Mapped { process: old, mapping: mapping(0x1000, 0x2000, 0) });
        processes.apply(Event::Fork { process: new, parent: old });
        processes.apply(Event::Exec { process: old });
        processes.apply(Event::Exit { process: new });
        assert_eq!(processes.find(new, 0x1800), Some(mapping(0x1000, 0x2000, 0)));
        assert_eq!(processes.find(old, 0x1800), None);
    }

    #[test]
    fn what_comes_of_another_cpu_later_is_applied_in_order() {
        let mut processes = Processes::default();
        let (old, new) = (u32::MAX - 1, u32::MAX - 2);
        processes.apply(Event::Mapped { process: old, mapping: mapping(0x1000, 0x2000, 0) });
        let own = Event::Mapped { process: new, mapping: mapping(0x8000, 0x9000, 0) };
        // The CPU that forked was asked at 20, the one that went on later.
        processes.take_in(vec![(30, Event::Exec { process: new }), (31, own)], 20);
        processes.take_in(vec![(25, Event::Fork { process: new, parent: old })], 40);
        assert_eq!(mappings(&processes, new), [mapping(0x8000, 0x9000, 0)]);
        assert!(processes.held.is_empty());
    }

    #[test]
    fn after_a_loss_processes_are_read_again() {
        let mut processes = Processes::default();
        let own = std::process::id();
        processes.apply(Event::Mapped { process: own, mapping: mapping(0x1000, 0x2000, 0) });
        let mut record: Vec<u8> = [2u32.to_ne_bytes(), [0; 4]].concat();
        for n in [1u64, 7, 99] {
            record.extend(n.to_ne_bytes());
        }
        assert_eq!(parse(&record), Some((99, Event::Lost { events: 7 })));
        processes.apply(Event::Lost { events: 7 });
        processes.update();
        assert_eq!((processes.lost(), processes.missed), (7, false));
        assert!(mappings(&processes, own).iter().all(|m| m.start != 0x1000));
        // Not at once for each.
        processes.apply(Event::Lost { events: 1 });
        processes.update();
        assert_eq!((processes.lost(), processes.missed), (8, true));
    }

    #[test]
    fn files_are_shared_and_forgotten_with_their_processes() {
        let mut processes = Processes::default();
        let of = |inode, process| {
            let file = Rc::new(File { inode, ..File { device: (8, 1), inode: 0, path: Path::new("/bin/x").into() } });
            Event::Mapped { process, mapping: Mapping { file, ..mapping(0x1000, 0x2000, 0) } }
        };
        processes.apply(of(7, 1 << 30));
        // Each takes the place of the one before.
        (0..3 * FILES).for_each(|n| processes.apply(of(100 + n as u64, (1 << 30) + 1)));
        assert!(processes.files.all.len() <= FILES);
        let first = &mappings(&processes, 1 << 30)[0].file;
        assert!(processes.files.all.contains(first));
    }

    #[test]
    fn records_of_the_kernel() {
        let mut record = Vec::new();
        record.extend(10u32.to_ne_bytes());
        record.extend([2, 0, 0, 0]);
        for n in [5u32, 6] {
            record.extend(n.to_ne_bytes());
        }
        for n in [0x1000u64, 0x2000, 0x3000] {
            record.extend(n.to_ne_bytes());
        }
        for n in [8u32, 1] {
            record.extend(n.to_ne_bytes());
        }
        for n in [7u64, 0] {
            record.extend(n.to_ne_bytes());
        }
        record.extend([5, 0, 0, 0, 2, 0, 0, 0]);
        record.extend(b"/bin/x\0\0");
        record.extend(99u64.to_ne_bytes());
        let event = Event::Mapped { process: 5, mapping: mapping(0x1000, 0x3000, 0x3000) };
        assert_eq!(parse(&record), Some((99, event)));
        assert_eq!(parse(&record[..40]), None);
        assert_eq!(parse(&[]), None);
    }
}
