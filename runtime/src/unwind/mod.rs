//! The unwind tables of the files that processes run, for `dw_ustack`: made when a program asks for them, and
//! before a run for the files that it is known to need. Programs find a file by its device and inode, and say
//! where a process has one mapped whose table is not there.

mod known;

use crate::load::Maps;
use known::Known;
use rtrace_core::bundle::{Bundle, UNWIND_SYMBOL, WANTED_SYMBOL, unwind};
use rtrace_core::uapi::map_type;
use rtrace_symbols::needs::needs;
use rtrace_symbols::{foreign, unwind_table, user};
use rtrace_sys as sys;
use rtrace_sys::mappings::{self, Code};
use rtrace_sys::stamp::stamp;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long after the start programs are first asked what they want; the time between two times doubles up to
/// [`LONGEST`] while they want nothing.
const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);
/// Rows written with one system call.
const BATCH: usize = 1 << 14;
/// Files that one file may lead to: interpreter and libraries.
const MOST_FILES: usize = 256;

/// An array for a table of so many rows, its head included.
pub fn table(rows: u32) -> io::Result<OwnedFd> {
    sys::map_create(&sys::MapCreate {
        map_type: map_type::ARRAY.number,
        key_size: 4,
        value_size: unwind::ROW,
        max_entries: rows,
        flags: sys::MAP_INNER,
        inner: None,
        name: "rt_rows",
    })
}

/// Device and inode, as programs see them.
type Key = [u8; unwind::KEY as usize];

fn key(device: u64, inode: u64) -> Key {
    let mut key = Key::default();
    let (first, second) = key.split_at_mut(8);
    first.copy_from_slice(&device.to_le_bytes());
    second.copy_from_slice(&inode.to_le_bytes());
    key
}

/// The kernel's own encoding of a device, `MKDEV` of `linux/kdev_t.h`.
fn device(major: u64, minor: u64) -> u64 {
    major << 20 | minor
}

/// The tables of a run.
pub struct Tables<'m> {
    tables: BorrowedFd<'m>,
    wanted: BorrowedFd<'m>,
    known: Known,
    next: Instant,
    pause: Duration,
    /// The first failure to hand over a table, and whether there was one.
    failure: Option<String>,
    failed: bool,
}

/// Code that a process has mapped from a file.
struct Mapping {
    start: u64,
    end: u64,
    device: u64,
    inode: u64,
    path: PathBuf,
}

/// The mappings of the process that was looked up last.
#[derive(Default)]
struct Asked {
    process: String,
    mappings: Vec<Mapping>,
}

fn mapped_by(process: &str) -> Vec<Mapping> {
    code(&std::fs::read(format!("/proc/{process}/maps")).unwrap_or_default())
}

/// Those of files in a text of `/proc/PID/maps`.
fn code(maps: &[u8]) -> Vec<Mapping> {
    let files = mappings::code(maps).filter(|code| code.inode != 0);
    let mapping = |code: Code<'_>| Mapping {
        start: code.start,
        end: code.end,
        device: device(u64::from(code.device.0), u64::from(code.device.1)),
        inode: code.inode,
        path: code.path.into(),
    };
    files.map(mapping).collect()
}

impl<'m> Tables<'m> {
    /// Nothing, if no program of the run unwinds.
    pub fn new(maps: &'m Maps) -> Option<Tables<'m>> {
        let (tables, wanted) = (maps.object_fd(UNWIND_SYMBOL)?, maps.object_fd(WANTED_SYMBOL)?);
        let now = Instant::now();
        Some(Tables {
            tables,
            wanted,
            known: Known::new(),
            next: now + FIRST,
            pause: FIRST,
            failure: None,
            failed: false,
        })
    }

    /// Makes the tables that a run will need first: those of a process, of a program that is to be started, of the
    /// files with probes and of the libraries that all programs use.
    pub fn prepare(&mut self, bundle: &Bundle, process: Option<u32>, program: Option<&Path>) {
        for mapping in mapped_by("self").iter().filter(|m| is_library(&m.path)) {
            self.mapped("self", mapping);
        }
        if let Some(process) = process {
            let process = process.to_string();
            mapped_by(&process).iter().for_each(|m| self.mapped(&process, m));
        }
        let targets = bundle.programs.iter().flat_map(|p| &p.attach).filter_map(|a| a.target.file());
        let mut paths: Vec<PathBuf> = targets.map(PathBuf::from).collect();
        paths.sort();
        paths.dedup();
        paths.extend(program.map(Path::to_owned));
        self.loaded(paths);
    }

    /// How long to wait at most before [`Tables::serve`].
    pub fn wait(&self) -> Duration {
        // At least a millisecond, or the wait would not be one.
        self.next.saturating_duration_since(Instant::now()).max(FIRST)
    }

    /// Makes the tables that programs missed since the last time, when it is time.
    pub fn serve(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        for file in self.known.give_up_changed() {
            // What cannot be deleted is not there.
            let _ = sys::map_delete(self.tables, &file);
        }
        let (mut served, mut made) = (0, false);
        let mut position = Key::default();
        // Several files of one process are wanted at a time, and it may have very many mappings.
        let mut last = Asked::default();
        // Deleting what was found first, the first one is always the next.
        while served < unwind::WANTED_FILES && sys::map_next_key(self.wanted, None, &mut position).unwrap_or(false) {
            let mut value = [0; unwind::WANTED as usize];
            if sys::map_lookup(self.wanted, &position, &mut value).unwrap_or(false) {
                made |= self.ask(position, &value, &mut last);
            }
            if sys::map_delete(self.wanted, &position).is_err() {
                break;
            }
            served += 1;
        }
        self.pause = if made { FIRST } else { (self.pause * 2).min(LONGEST) };
        self.next = Instant::now() + self.pause;
    }

    /// The reason why a table could not be used, reported once.
    pub fn failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// One wanted file: the process has it mapped at an address. Returns whether it has its table now.
    fn ask(&mut self, file: Key, value: &[u8], last: &mut Asked) -> bool {
        let word = |at: usize| value.get(at..).and_then(|v| v.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
        let (process, address) = (word(0).to_string(), word(8));
        // A process that is gone is asked for again by the next one that runs the file.
        if last.process != process {
            *last = Asked { mappings: mapped_by(&process), process: process.clone() };
        }
        let mapping = last.mappings.iter().find(|m| (m.start..m.end).contains(&address));
        mapping.is_some_and(|m| self.add(file, m.inode, &open(&process, m), &m.path))
    }

    fn mapped(&mut self, process: &str, mapping: &Mapping) {
        self.add(key(mapping.device, mapping.inode), mapping.inode, &open(process, mapping), &mapping.path);
    }

    /// Files and what they need to run.
    fn loaded(&mut self, mut paths: Vec<PathBuf>) {
        let mut at = 0;
        while let Some(path) = paths.get(at).cloned().filter(|_| at < MOST_FILES) {
            at += 1;
            let Ok(file) = std::fs::metadata(&path) else { continue };
            let device = device(u64::from(libc::major(file.dev())), u64::from(libc::minor(file.dev())));
            self.add(key(device, file.ino()), file.ino(), &path, &path);
            for needed in needs(&path) {
                if !paths.contains(&needed) {
                    paths.push(needed);
                }
            }
        }
    }

    /// Makes the table of a file that can be opened under one path, and is seen under another. Returns whether it did.
    fn add(&mut self, file: Key, inode: u64, path: &Path, seen: &Path) -> bool {
        if !self.known.wants(&file) {
            return false;
        }
        // The path may lead to another file by now, or for us.
        let stamp = stamp(seen).filter(|stamp| stamp.file.1 == inode);
        let Ok(open) = foreign::open(path) else {
            self.known.failed(file);
            return false;
        };
        // What is no ELF file has no rows: programs need not ask again.
        let link = format!("/proc/self/fd/{}", open.as_raw_fd());
        let rows = user::with_elf(&link, unwind_table::rows).unwrap_or_default();
        let bytes = unwind_table::bytes(&rows);
        let mut result = self.hand_over(&file, &bytes);
        if result.as_ref().is_err_and(|e| e.raw_os_error() == Some(libc::E2BIG))
            && let Some(oldest) = self.known.give_up_oldest()
        {
            result = sys::map_delete(self.tables, &oldest).and_then(|_| self.hand_over(&file, &bytes));
        }
        match result {
            Ok(()) => self.known.made(file, seen, stamp),
            Err(e) => {
                self.known.failed(file);
                if !self.failed {
                    self.failed = true;
                    self.failure = Some(format!("cannot use the unwind table of {}: {e}", seen.display()));
                }
                return false;
            }
        }
        true
    }

    fn hand_over(&self, file: &Key, bytes: &[u8]) -> io::Result<()> {
        let size = unwind::ROW as usize;
        let array = table((bytes.len() / size) as u32)?;
        let mut index = 0u32;
        for part in bytes.chunks(BATCH * size) {
            let count = (part.len() / size) as u32;
            let keys: Vec<u8> = (index..index + count).flat_map(u32::to_ne_bytes).collect();
            sys::map_update_batch(array.as_fd(), &keys, part, count)?;
            index += count;
        }
        sys::map_update(self.tables, file, &array.as_raw_fd().to_ne_bytes())
    }
}

/// A path under which a mapped file can be opened, even if it was deleted or the process sees other files.
fn open(process: &str, mapping: &Mapping) -> PathBuf {
    let link = PathBuf::from(format!("/proc/{process}/map_files/{:x}-{:x}", mapping.start, mapping.end));
    if link.exists() {
        return link;
    }
    let mut seen = OsString::from(format!("/proc/{process}/root"));
    seen.push(&mapping.path);
    seen.into()
}

fn is_library(path: &Path) -> bool {
    path.as_os_str().as_bytes().windows(3).any(|part| part == b".so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_of_code() {
        let file = b"7f0c1a028000-7f0c1a17d000 r-xp 00028000 fe:01 1835  /usr/lib/x86_64-linux-gnu/libc.so.6";
        let [m] = code(file).try_into().ok().unwrap();
        assert_eq!((m.start, m.end, m.device, m.inode), (0x7f0c_1a02_8000, 0x7f0c_1a17_d000, 0xfe0_0001, 1835));
        assert_eq!(m.path, Path::new("/usr/lib/x86_64-linux-gnu/libc.so.6"));
        assert!(code(b"7ffd3bb8e000-7ffd3bb90000 r-xp 00000000 00:00 0  [vdso]").is_empty());
    }
}
