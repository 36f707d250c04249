//! Probes that are events of single processors: what happens to them when processors come and go during a run.
//!
//! The kernel takes the events of a processor that goes offline away for good, and opens none on one that is offline. So
//! once a second the list of processors is looked at, and events are opened where they are missing.

use super::link::Links;
use super::{Link, Reason};
use crate::sys::{self, PerfAttr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// How often the list of processors is read.
const INTERVAL: Duration = Duration::from_secs(1);

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
        Ok(Rc::new(Wish { attr, program: program.try_clone_to_owned()?, cookie, everywhere }))
    }

    /// Opens it on a processor.
    pub fn open(self: &Rc<Wish>, cpu: u32) -> io::Result<Link> {
        let link = super::perf::open(&self.attr, -1, cpu as i32, self.program.as_fd(), self.cookie)?;
        Ok(link.seated(self.clone(), cpu))
    }

    /// The processors that it is to be opened on, of those that are online.
    fn missing(&self, online: &[u32], has: &[u32]) -> Vec<u32> {
        if self.everywhere {
            online.iter().filter(|cpu| !has.contains(cpu)).copied().collect()
        } else if has.is_empty() {
            online.iter().take(1).copied().collect()
        } else {
            Vec::new()
        }
    }
}

/// The processors that were online when the list was read last.
#[derive(Debug)]
pub(super) struct Watch {
    online: Vec<u32>,
    read: Instant,
}

impl Watch {
    /// Nothing if no event is one of a processor.
    pub fn start(links: &Links) -> Option<Watch> {
        let online = links.any_seated().then(|| sys::online_cpus().ok()).flatten()?;
        Some(Watch { online, read: Instant::now() })
    }

    /// Looks at the processors if it is time to; returns what there is to say.
    pub fn look(&mut self, links: &mut Links) -> Vec<String> {
        if self.read.elapsed() < INTERVAL {
            return Vec::new();
        }
        self.read = Instant::now();
        // A list that cannot be read says that nothing has changed.
        let Ok(online) = sys::online_cpus() else { return Vec::new() };
        if online == self.online {
            return Vec::new();
        }
        let failure = links.follow(&online);
        let came: Vec<u32> = online.iter().filter(|cpu| !self.online.contains(cpu)).copied().collect();
        self.online = online;
        let outcome = match failure {
            Some(error) => format!("is not probed: {}", Reason::of(&error, &[]).0),
            None => "is probed from now on".to_owned(),
        };
        came.iter().map(|cpu| format!("processor {cpu} came online and {outcome}")).collect()
    }
}

impl Links {
    /// Whether there are events of single processors.
    fn any_seated(&self) -> bool {
        self.iter().any(|link| link.seat().is_some())
    }

    /// Lets go of events on processors that went offline, and opens those that are missing. Returns the last error.
    fn follow(&mut self, online: &[u32]) -> Option<io::Error> {
        let mut wishes: Vec<(Rc<Wish>, Vec<u32>, Link)> = Vec::new();
        for link in self.iter() {
            let Some((wish, cpu)) = link.seat() else { continue };
            let seated = online.contains(cpu).then_some(*cpu);
            match wishes.iter_mut().find(|(known, ..)| Rc::ptr_eq(known, wish)) {
                Some((_, has, _)) => has.extend(seated),
                None => wishes.push((wish.clone(), seated.into_iter().collect(), link.outline())),
            }
        }
        self.retain(|link| link.seat().is_none_or(|(_, cpu)| online.contains(cpu)));
        let mut failure = None;
        for (wish, has, outline) in wishes {
            for cpu in wish.missing(online, &has) {
                match wish.open(cpu) {
                    Ok(link) => self.extend([link.like(&outline)]),
                    // It went offline again.
                    Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(e) => failure = Some(e),
                }
            }
        }
        failure
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
        assert_eq!(wish(false).missing(&[1, 2], &[]), [1]);
    }
}
