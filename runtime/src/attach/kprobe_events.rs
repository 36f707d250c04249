//! Many kprobes as one event of tracefs ("multi-probe event" of `kprobe_events`, Linux 5.4), for kernels without
//! kprobe.multi. One perf event holds the program for all functions, so that the kernel waits once when it is taken off,
//! and not once for each of them.
//!
//! Such a definition belongs to the system, not to a descriptor. It is removed by a [`SettingsGuard`], whatever happens to this
//! process. Its `id` file is locked as long as this process lives: that of a definition which was left behind (the keeper
//! was killed, too) is not, and the next rtrace that makes one removes it. Both happens under a lock of `kprobe_events`.

use super::hurry::{self, Hurry};
use super::kprobe::{Places, Spot};
use super::{Link, tracepoint};
use rtrace_core::bundle::AttachPoint;
use rtrace_facts::tracefs::MOUNTS;
use rtrace_sys::{self as sys, Setting, SettingsGuard};
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

/// The group of all our events; a definition is `probes_PID_N` in it.
const GROUP: &str = "rtrace";

/// An event that many kprobes belong to; dropping it removes them, once no perf event uses it any more.
#[derive(Debug)]
pub(super) struct Definition {
    /// Dropped first: it waits until the definition is gone.
    _keeper: SettingsGuard,
    /// On the event's `id`, as a sign of life.
    _lock: File,
    name: String,
    /// The probe (index) of each kprobe, in the order in which they were registered.
    probes: Vec<u32>,
    /// `kprobe_profile`: hits and misses of each kprobe.
    profile: Option<File>,
}

/// The map of identifiers by address, and what is in it.
#[derive(Debug)]
pub(super) struct Identities<'a> {
    pub map: BorrowedFd<'a>,
    pub known: &'a mut HashMap<u64, u32>,
}

impl Identities<'_> {
    /// Lets programs find the probe by the address that they see. Nothing happens if that stands for another one.
    fn add(&mut self, seen: u64, probe: u32) -> bool {
        if let Some(known) = self.known.get(&seen) {
            return *known == probe;
        }
        let added = sys::map_update(self.map, &seen.to_ne_bytes(), &u64::from(probe).to_ne_bytes()).is_ok();
        if added {
            self.known.insert(seen, probe);
        }
        added
    }
}

/// The results for the attach points.
#[derive(Debug, Default)]
pub(super) struct Outcome<'p> {
    pub link: Option<Link>,
    /// Points that must be tried singly.
    pub left: Vec<&'p AttachPoint>,
    /// Points that stand for several functions of one name, of which the kernel did not take all.
    pub partly: Vec<&'p AttachPoint>,
}

/// Attaches a program to the functions of many points, which are all entries or all returns. All of them are left where
/// tracefs is not there or not ours to change.
pub(super) fn attach<'p>(
    program: BorrowedFd<'_>,
    points: &[&'p AttachPoint],
    identities: Option<Identities<'_>>,
) -> Outcome<'p> {
    let mut outcome = Outcome::default();
    let root = MOUNTS.iter().map(Path::new).find(|root| root.join("kprobe_events").exists());
    outcome.link = root.and_then(|root| {
        let places = Places::of_functions(points);
        let definition = Definition::new(root, points, &places, identities, &mut outcome).ok().flatten()?;
        definition.link(root, program).ok()
    });
    if outcome.link.is_none() {
        return Outcome { left: points.to_vec(), ..Outcome::default() };
    }
    outcome
}

impl Definition {
    /// Makes the event; `None` if the kernel takes none of the functions.
    fn new<'p>(
        root: &Path,
        points: &[&'p AttachPoint],
        places: &Places,
        mut identities: Option<Identities<'_>>,
        outcome: &mut Outcome<'p>,
    ) -> io::Result<Option<Definition>> {
        let path = root.join("kprobe_events");
        let mut definitions = File::options().append(true).open(&path)?;
        let turn = Turn::take(root, &path, &mut definitions)?;
        let name = turn.free_name();
        let removal = Setting { file: definitions.try_clone()?, old: removal(&name) };
        let keeper = SettingsGuard::start(vec![removal])?;
        let mut turn = Some(turn);
        let (mut probes, mut lock) = (Vec::new(), None);
        for point in points.iter().copied() {
            let (mut taken, mut refused) = (0, 0);
            for Spot { entry, behind, ret } in places.spots(&point.target) {
                let kind = if ret { 'r' } else { 'p' };
                // Siblings without the name of a symbol must differ by an argument.
                let number = probes.len();
                let mut define = |address: u64| {
                    let line = format!("{kind}:{GROUP}/{name} {address:#x} n=\\{number}\n");
                    let known = identities
                        .as_mut()
                        .is_none_or(|i| seen(entry, address, ret).into_iter().all(|seen| i.add(seen, point.probe)));
                    known && definitions.write_all(line.as_bytes()).is_ok()
                };
                if !(behind.is_some_and(&mut define) || define(entry)) {
                    refused += 1;
                    continue;
                }
                taken += 1;
                probes.push(point.probe);
                if turn.is_some() {
                    let id = File::open(event_id(root, &name))?;
                    lock = sys::try_lock(&id).then_some(id);
                    turn = None;
                }
            }
            match (taken, refused) {
                (0, _) => outcome.left.push(point),
                (_, 0) => {}
                _ => outcome.partly.push(point),
            }
        }
        let profile = File::open(root.join("kprobe_profile")).ok();
        Ok(lock.map(|lock| Definition { _keeper: keeper, _lock: lock, name, probes, profile }))
    }

    /// Runs the program at all of its functions.
    fn link(self, root: &Path, program: BorrowedFd<'_>) -> io::Result<Link> {
        let id = std::fs::read_to_string(event_id(root, &self.name))?;
        let id = id.trim().parse().map_err(|_| ErrorKind::InvalidData)?;
        let event = tracepoint::open(id)?;
        Ok(Link::event(event, program, None)?.waiting().defined_by(self))
    }

    /// Asks the kernel for the hits that it missed so far: by probe, in no order.
    pub fn missed(&self) -> Vec<(u32, u64)> {
        let Some(profile) = &self.profile else { return Vec::new() };
        // A file of the kernel that cannot be read counts nothing, as on kernels without it.
        let text = read_from_start(profile).unwrap_or_default();
        misses(&text, &self.name).zip(&self.probes).map(|(count, probe)| (*probe, count)).collect()
    }
}

/// The address that a program of a kprobe may see: the instruction pointer, or at a return the result of
/// `bpf_get_func_ip`.
fn seen(entry: u64, address: u64, ret: bool) -> Vec<u64> {
    if ret || cfg!(not(target_arch = "x86_64")) {
        return vec![address];
    }
    // On x86 it is always behind the breakpoint (INT3_INSN_SIZE), even if the probe is a jump or a place of ftrace. A
    // probe at the entry is moved to that place, which may be behind an `endbr64` (arch_adjust_kprobe_addr).
    const ENDBR: u64 = 4;
    let moved = (address == entry).then_some(address + ENDBR + 1);
    [address + 1].into_iter().chain(moved).collect()
}

fn removal(name: &str) -> Vec<u8> {
    format!("-:{GROUP}/{name}\n").into_bytes()
}

fn event_id(root: &Path, name: &str) -> PathBuf {
    root.join("events").join(GROUP).join(name).join("id")
}

/// Files of tracefs are made anew when they are read from their beginning.
fn read_from_start(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// The last column of the lines of an event: name, hits, misses.
fn misses<'t>(profile: &'t str, name: &'t str) -> impl Iterator<Item = u64> + 't {
    profile.lines().filter_map(move |line| {
        let mut words = line.split_ascii_whitespace();
        (words.next()? == name).then(|| words.next_back()?.parse().ok()).flatten()
    })
}

/// The names of our group in the text of `kprobe_events`.
fn names(definitions: &str) -> BTreeSet<String> {
    let event = |line: &str| {
        let (group, name) = line.split_ascii_whitespace().next()?.split_once(':')?.1.split_once('/')?;
        (group == GROUP).then(|| name.to_owned())
    };
    definitions.lines().filter_map(event).collect()
}

/// While it lives, no other rtrace chooses a name or looks for what was left behind.
struct Turn {
    _lock: File,
    names: BTreeSet<String>,
}

impl Turn {
    /// Waits for it; removes what was left behind.
    fn take(root: &Path, path: &Path, definitions: &mut File) -> io::Result<Turn> {
        let lock = File::open(path)?;
        sys::lock(&lock)?;
        let names = names(&read_from_start(&lock)?);
        let is_dead = |name: &&String| File::open(event_id(root, name)).is_ok_and(|id| sys::try_lock(&id));
        let dead: Vec<&String> = names.iter().filter(is_dead).collect();
        let _hurry = (!dead.is_empty()).then(|| Hurry::start(&[hurry::GRACE_PERIODS]));
        for name in dead {
            // In use by somebody else (perf, for one): it stays.
            let _ = definitions.write_all(&removal(name));
        }
        Ok(Turn { _lock: lock, names })
    }

    fn free_name(&self) -> String {
        let mut all = (0u32..).map(|n| format!("probes_{}_{n}", std::process::id()));
        all.find(|name| !self.names.contains(name)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn addresses_that_programs_see() {
        assert_eq!(seen(0x1000, 0x1005, false), [0x1006]);
        assert_eq!(seen(0x1000, 0x1000, false), [0x1001, 0x1005]);
        assert_eq!(seen(0x1000, 0x1000, true), [0x1000]);
    }

    #[test]
    fn lines_of_the_kernel() {
        let text = "p:kprobes/p_vfs_read_0 vfs_read\np:rtrace/probes_7_0 0xffffffff81000005 n=\\0\n\
            r8:rtrace/probes_8_1 0xffffffff81000000 n=\\0\np:rtrace/probes_7_0 0xffffffff81000015 n=\\1\nnonsense\n";
        assert_eq!(names(text).into_iter().collect::<Vec<_>>(), ["probes_7_0", "probes_8_1"]);
        let text = "  p_vfs_read_0      9    8\n  probes_7_0      5     1\n  probes_7_01     5     2\n  probes_7_0      5     3\n";
        assert_eq!(misses(text, "probes_7_0").collect::<Vec<_>>(), [1, 3]);
    }
}
