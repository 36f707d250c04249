//! Code that processes make while they run, named by maps that they write (`/tmp/perf-PID.map`, a line `START SIZE NAME`
//! for each function) and that grow. The format: tools/perf/Documentation/jit-interface.txt of the kernel.

use crate::foreign;
use crate::reader::{Symbol, shown};
use rtrace_core::bundle::Config;
use rtrace_sys::stamp::{Stamp, stamp};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Processes whose maps are kept.
const PROCESSES: usize = 256;
/// How often to ask whether a map was changed.
const AGAIN: Duration = Duration::from_millis(500);
/// All maps together may be so many times as large as one.
const SHARE: usize = 4;
/// A map is read again after so many times the time that reading it took.
const PAUSE: u32 = 10;

/// The names in one map.
#[derive(Debug, Default)]
pub struct Names {
    text: Vec<u8>,
    /// By their start; of those with the same, the last in the file is the last here.
    functions: Vec<Function>,
}

#[derive(Debug)]
struct Function {
    start: u64,
    size: u64,
    /// The position of its name in the text.
    name: Range<u32>,
}

impl Names {
    pub fn parse(text: Vec<u8>) -> Names {
        let mut functions = Vec::new();
        let mut at = 0;
        // Shorter lines than this in a large map are no functions.
        let most = text.len() / 12 + 64;
        for line in text.split(|b| matches!(b, b'\n' | b'\r')) {
            if let Some(function) = function(line, at).filter(|_| functions.len() < most) {
                functions.push(function);
            }
            at += line.len() + 1;
        }
        functions.sort_by_key(|f| f.start);
        Names { text, functions }
    }

    /// Of functions that were at an address one after the other, the one that was written last.
    pub fn find(&self, address: u64) -> Option<(&[u8], u64)> {
        let end = self.functions.partition_point(|f| f.start <= address);
        let start = self.functions.get(end.checked_sub(1)?)?.start;
        let same = self.functions.get(..end)?.iter().rev().take_while(|f| f.start == start);
        let found = same.into_iter().find(|f| address - f.start < f.size.max(u64::from(f.start == address)))?;
        let name = self.text.get(found.name.start as usize..found.name.end as usize)?;
        Some((name, address - found.start))
    }
}

/// A line, which begins at a place of the text.
fn function(line: &[u8], at: usize) -> Option<Function> {
    let hex = |text: &[u8]| {
        let text = std::str::from_utf8(text).ok()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let blank = line.iter().position(|b| *b == b' ')?;
    let second = blank + 1 + line.get(blank + 1..)?.iter().position(|b| *b == b' ')?;
    let (start, size) = (hex(line.get(..blank)?)?, hex(line.get(blank + 1..second)?)?);
    let name = line.get(second + 1..).filter(|name| !name.is_empty() && !name.contains(&0))?;
    let end = u32::try_from(at + line.len()).ok()?;
    Some(Function { start, size, name: end - name.len() as u32..end })
}

/// The map of a process.
struct Written {
    path: Option<PathBuf>,
    stamp: Option<Stamp>,
    /// Its contents, once read.
    names: Option<Names>,
    checked: Instant,
    pause: Duration,
    /// How often the map was changed.
    version: u32,
}

#[derive(Default)]
pub struct PerfMaps {
    written: HashMap<u32, Written>,
    /// Warnings that are not reported yet.
    pub complaints: Vec<String>,
}

impl PerfMaps {
    /// How often the map of a process was changed, so far as that is known.
    pub fn version(&mut self, process: u32) -> u32 {
        if !self.written.contains_key(&process) {
            self.make_room(PROCESSES, usize::MAX);
            let path = path(process);
            let stamp = path.as_deref().and_then(stamp);
            let new = Written { path, stamp, names: None, checked: Instant::now(), pause: AGAIN, version: 0 };
            self.written.insert(process, new);
        }
        let Some(written) = self.written.get_mut(&process) else { return 0 };
        if written.checked.elapsed() >= written.pause {
            written.checked = Instant::now();
            if written.path.is_none() {
                written.path = path(process);
            }
            // Of a process that has ended what was read stays.
            let new = written.path.as_deref().and_then(stamp);
            if new.is_some() && new != written.stamp {
                written.stamp = new;
                written.version += 1;
                written.names = None;
            }
        }
        written.version
    }

    pub fn symbol(&mut self, config: &Config, process: u32, address: u64) -> Option<Symbol> {
        self.version(process);
        let most = (config.max_perf_map as usize) << 20;
        if self.written.get(&process)?.names.is_none() {
            self.make_room(PROCESSES + 1, (SHARE - 1) * most);
            let written = self.written.get_mut(&process)?;
            let began = Instant::now();
            let names = read(written.path.as_deref(), most, &mut self.complaints);
            written.names = Some(names);
            written.pause = AGAIN.max(PAUSE * began.elapsed());
        }
        let names = self.written.get(&process)?.names.as_ref()?;
        let (name, offset) = names.find(address)?;
        Some(Symbol { name: shown(name, config), offset, ..Symbol::default() })
    }

    /// Forgets maps until there are fewer, and fewer bytes of them.
    fn make_room(&mut self, most: usize, bytes: usize) {
        let size = |w: &Written| w.names.as_ref().map_or(0, |n| n.text.len());
        while self.written.len() >= most || self.written.values().map(size).fold(0, usize::saturating_add) > bytes {
            let largest = |w: &Written| (bytes < usize::MAX).then(|| size(w));
            let one = self.written.iter().max_by_key(|(_, w)| (largest(w), w.checked.elapsed())).map(|(p, _)| *p);
            let Some(process) = one else { return };
            self.written.remove(&process);
        }
    }
}

fn read(path: Option<&Path>, most: usize, complaints: &mut Vec<String>) -> Names {
    let Some(path) = path else { return Names::default() };
    match foreign::data(path, most) {
        Ok((text, whole)) => {
            if !whole {
                let path = path.display();
                let most = most >> 20;
                complaints.push(format!(
                    "only the first {most} MB of {path} are read (max_perf_map): other addresses have no names"
                ));
            }
            Names::parse(text)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Names::default(),
        Err(e) => {
            complaints.push(format!("cannot read {}: {e}", path.display()));
            Names::default()
        }
    }
}

/// The path of a process's symbol map: in its own mount namespace, with its own process ID.
fn path(process: u32) -> Option<PathBuf> {
    let status = std::fs::read(format!("/proc/{process}/status")).ok()?;
    let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"NStgid:"))?;
    let own = std::str::from_utf8(line).ok()?.split_whitespace().last()?;
    Some(PathBuf::from(format!("/proc/{process}/root/tmp/perf-{own}.map")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_map() {
        let text = b"1000 10 one\n0x2000 0x20 a name with blanks\r\nnonsense\n3000 zz x\n4000 5 \n\xff\xff\n\
            1000 8 again\n5000 0 mark\nffffffffffffffff ffffffffffffffff end\n\0\0\0\n6000 1 cut";
        let names = Names::parse(text.to_vec());
        let find = |address| names.find(address).map(|(name, offset)| (String::from_utf8_lossy(name), offset));
        assert_eq!(find(0x1004), Some(("again".into(), 4)));
        assert_eq!(find(0x100c), Some(("one".into(), 12)));
        assert_eq!(find(0x201f), Some(("a name with blanks".into(), 31)));
        assert_eq!(find(0x5000), Some(("mark".into(), 0)));
        assert_eq!(find(u64::MAX), Some(("end".into(), 0)));
        assert_eq!(find(0x6000), Some(("cut".into(), 0)));
        assert!([0, 0xfff, 0x1010, 0x2020, 0x3000, 0x4000, 0x5001].iter().all(|address| find(*address).is_none()));
    }

    #[test]
    fn what_is_no_map_is_said_once() {
        let folder = std::env::temp_dir().join(format!("rtrace-perf-map-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (fifo, sparse, long) = (folder.join("fifo"), folder.join("sparse"), folder.join("long"));
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let mut complaints = Vec::new();
        let mut said = |path: &Path| {
            let names = read(Some(path), 1 << 20, &mut complaints);
            (names, std::mem::take(&mut complaints))
        };
        let (_, complaint) = said(&fifo);
        assert_eq!(complaint, [format!("cannot read {}: it is not a regular file", fifo.display())]);
        // Gigabytes without data take neither time nor memory, and what is behind them counts.
        std::fs::write(&sparse, "1000 10 before\n").unwrap();
        let file = std::fs::File::options().write(true).open(&sparse).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"\n2000 10 behind\n", 8 << 30).unwrap();
        let (names, complaint) = said(&sparse);
        assert_eq!(names.find(0x1001), Some((&b"before"[..], 1)));
        assert_eq!(names.find(0x2001), Some((&b"behind"[..], 1)));
        assert!(complaint.is_empty() && names.text.len() < 1 << 20, "{complaint:?}");
        std::fs::write(&long, "1000 10 a\n".repeat(1 << 17)).unwrap();
        let (names, complaint) = said(&long);
        assert_eq!((names.text.len(), complaint.len()), (1 << 20, 1));
        assert!(said(&folder.join("nothing")).1.is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
