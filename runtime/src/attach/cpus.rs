//! Changes during a run: processors, on which some probes are events, and modules that contain probes.
//!
//! The kernel takes the events of a processor that goes offline away for good, also while the machine sleeps, and opens none
//! on one that comes online. So once a second it is asked whether anything changed; if so, events are opened where they are
//! missing. A module takes the kprobes in it along, unless what they are attached with keeps it.

use super::link::Links;
use super::modules::{Inside, Stamps};
use super::{Link, Reason};
use rtrace_sys::{self as sys, PerfAttr};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often the kernel is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Longer than a tick of any kernel's clock.
const TICK: Duration = Duration::from_millis(11);

/// An event as it is wanted: on all processors, or on any one.
#[derive(Debug)]
pub(super) struct Wish {
    attr: PerfAttr,
    program: OwnedFd,
    cookie: Option<u64>,
    everywhere: bool,
}

impl Wish {
    pub fn new(attr: PerfAttr, program: BorrowedFd<'_>, cookie: Option<u64>, everywhere: bool) -> io::Result<Rc<Wish>> {
        let attr = PerfAttr { read_format: PerfAttr::TIME_ENABLED, ..attr };
        Ok(Rc::new(Wish { attr, program: program.try_clone_to_owned()?, cookie, everywhere }))
    }

    /// Opens it on a processor.
    pub fn open(self: &Rc<Wish>, cpu: u32) -> io::Result<Link> {
        let link = super::perf::open(&self.attr, -1, cpu as i32, self.program.as_fd(), self.cookie)?;
        Ok(link.seated(self.clone(), cpu))
    }

    /// The processors that it is to be opened on, of those that are online; on the first that takes it where one is enough.
    fn missing(&self, online: &[u32], has: &[u32]) -> Vec<u32> {
        if self.everywhere {
            online.iter().filter(|cpu| !has.contains(cpu)).copied().collect()
        } else if has.is_empty() {
            online.to_vec()
        } else {
            Vec::new()
        }
    }
}

/// Processors and modules as they were when they were looked at last.
#[derive(Debug)]
pub(super) struct Watch {
    /// Those that are online, where events are to follow them.
    online: Option<Vec<u32>>,
    modules: Stamps,
    changes: String,
    looked: Instant,
}

impl Watch {
    /// Nothing if no event can lose its processor, or miss one, and no probe its module. `inside`: the probes in modules.
    pub fn start(links: &Links, inside: &Inside) -> Option<Watch> {
        let many = sys::possible_cpus().map_or(true, |count| count > 1);
        let concerns = |(wish, cpu): &(Rc<Wish>, u32)| (wish.everywhere && many) || may_go_offline(*cpu);
        let follows = links.iter().filter_map(Link::seat).any(concerns);
        if !follows && inside.is_empty() {
            return None;
        }
        let online = follows.then(|| sys::online_cpus().ok()).flatten();
        // The first look finds what changed while probes were attached.
        Some(Watch { online, modules: inside.stamps(), changes: String::new(), looked: Instant::now() })
    }

    /// Whether events may have to be opened.
    pub fn opens(&self) -> bool {
        self.online.is_some()
    }

    /// Looks if it is time to; returns what there is to say.
    pub fn look(&mut self, links: &mut Links, inside: &Inside) -> Vec<String> {
        if self.looked.elapsed() < INTERVAL {
            return Vec::new();
        }
        self.looked = Instant::now();
        let changes = changes();
        let changed = std::mem::replace(&mut self.changes, changes) != self.changes;
        let mut words = self.look_at_cpus(links, changed);
        if changed {
            words.extend(self.modules.take_gone().into_iter().map(|module| match inside.count(&module) {
                1 => format!("module {module} was unloaded, and its probe was removed"),
                count => format!("module {module} was unloaded, and its {count} probes were removed"),
            }));
        }
        words
    }

    fn look_at_cpus(&mut self, links: &mut Links, changed: bool) -> Vec<String> {
        let Some(known) = &mut self.online else { return Vec::new() };
        // A list that cannot be read says that nothing has changed.
        let Ok(online) = sys::online_cpus() else { return Vec::new() };
        if !changed && online == *known {
            return Vec::new();
        }
        *known = online;
        links.follow(known).words()
    }
}

/// A counter that changes when devices, including processors, come or go, even if all are back when it is read: a machine
/// that wakes up has taken all its processors offline and online.
fn changes() -> String {
    std::fs::read_to_string("/sys/kernel/uevent_seqnum").unwrap_or_default()
}

/// Whether a processor has a switch.
fn may_go_offline(cpu: u32) -> bool {
    std::path::Path::new(&format!("/sys/devices/system/cpu/cpu{cpu}/online")).exists()
}

/// The result of reopening per-CPU events.
#[derive(Debug, Default)]
struct Followed {
    /// Processors that got events of their own.
    came: BTreeSet<u32>,
    failure: Option<io::Error>,
    /// The old and the new processor of an event that is needed on one.
    moved: Option<(u32, u32)>,
}

impl Followed {
    fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if !self.came.is_empty() {
            let numbers: Vec<String> = self.came.iter().map(u32::to_string).collect();
            let (noun, verb) = if numbers.len() == 1 { ("processor", "is") } else { ("processors", "are") };
            let outcome = match &self.failure {
                Some(error) => format!("not probed: {}", Reason::of(error, &[]).0),
                None => "probed from now on".to_owned(),
            };
            words.push(format!("{noun} {} came online and {verb} {outcome}", numbers.join(", ")));
        }
        if let Some((from, to)) = self.moved {
            words.push(format!("processor {from} went offline; its timers continue on processor {to}"));
        }
        words
    }
}

impl Links {
    /// Lets go of events whose processors went away, and opens those that are missing.
    fn follow(&mut self, online: &[u32]) -> Followed {
        let running = self.running(online);
        let mut wishes: Vec<(Rc<Wish>, Vec<u32>, u32, Link)> = Vec::new();
        for link in self.iter() {
            let Some((wish, cpu)) = link.seat() else { continue };
            let seated = running.contains(cpu).then_some(*cpu);
            match wishes.iter_mut().find(|(known, ..)| Rc::ptr_eq(known, wish)) {
                Some((_, has, ..)) => has.extend(seated),
                None => wishes.push((wish.clone(), seated.into_iter().collect(), *cpu, link.outline())),
            }
        }
        self.retain(|link| link.seat().is_none_or(|(_, cpu)| running.contains(cpu)));
        let mut followed = Followed::default();
        for (wish, has, before, outline) in wishes {
            for cpu in wish.missing(online, &has) {
                match wish.open(cpu) {
                    Ok(link) => {
                        self.extend([link.like(&outline)]);
                        if !wish.everywhere {
                            followed.moved = Some((before, cpu));
                            break;
                        }
                        followed.came.insert(cpu);
                    }
                    // It went offline again, which changes the list.
                    Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(e) => {
                        followed.came.insert(cpu);
                        followed.failure = Some(e);
                    }
                }
            }
        }
        followed
    }

    /// The processors whose events still count: one of each is asked, which tells of all of them.
    fn running(&self, online: &[u32]) -> BTreeSet<u32> {
        let mut asked = BTreeMap::new();
        for link in self.iter() {
            if let Some((_, cpu)) = link.seat().filter(|(_, cpu)| online.contains(cpu)) {
                asked.entry(*cpu).or_insert(link);
            }
        }
        let before: Vec<(u32, &Link, Option<u64>)> = asked.into_iter().map(|(n, l)| (n, l, l.counted())).collect();
        let counts = |(_, link, time): &(u32, &Link, Option<u64>)| time.is_some() && link.counted() != *time;
        let (mut running, still): (Vec<_>, Vec<_>) = before.into_iter().partition(counts);
        if !still.is_empty() {
            // Some clocks go by ticks.
            std::thread::sleep(TICK);
            running.extend(still.into_iter().filter(counts));
        }
        running.into_iter().map(|(cpu, ..)| cpu).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_opened_where_they_are_missing() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let wish = |everywhere| Wish::new(PerfAttr::default(), null.as_fd(), None, everywhere).unwrap();
        assert_eq!(wish(true).missing(&[0, 1, 3], &[0]), [1, 3]);
        assert!(wish(true).missing(&[0, 1], &[0, 1]).is_empty());
        assert!(wish(false).missing(&[1, 2], &[1]).is_empty());
        assert_eq!(wish(false).missing(&[1, 2], &[]), [1, 2]);
    }

    #[test]
    fn what_is_said() {
        let followed = Followed { came: [1, 3].into(), moved: Some((2, 0)), failure: None };
        let words = followed.words();
        assert_eq!(words.len(), 2);
        assert_eq!(words[0], "processors 1, 3 came online and are probed from now on");
        assert!(Followed::default().words().is_empty());
    }
}
