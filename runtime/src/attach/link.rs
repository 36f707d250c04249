//! Links: attached programs, and how they are detached.

use super::cpus::Wish;
use super::hurry::{self, Hurry};
use super::kprobe_events::Definition;
use rtrace_sys::{self as sys, PerfControl};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Descriptors that are closed at the same time.
const THREADS: usize = 128;

const STACK: usize = 64 << 10;

/// As many trampolines are taken out before the results are shown; 0.02 to 0.2 s each.
const FEW: usize = 4;

/// One attachment; dropping it detaches.
#[derive(Debug, Default)]
pub struct Link {
    /// Closed before the event.
    link: Option<OwnedFd>,
    event: Option<OwnedFd>,
    /// The event, if it was created for this link: it is closed after the link.
    definition: Option<Definition>,
    /// fentry or fexit, slow to detach.
    trampoline: bool,
    /// Closing the event waits for grace periods of the kernel.
    waits: bool,
    /// The address of a watchpoint.
    watches: Option<u64>,
    /// For an event of one processor: what is wanted, and the processor.
    seat: Option<(Rc<Wish>, u32)>,
    /// An iterator that waits to be run.
    iterates: bool,
    /// Index of its program.
    program: usize,
    /// Index of the program that runs at returns, where one link is for both.
    returns: Option<usize>,
    /// Index of its probe, for a link that has only one.
    probe: Option<u32>,
    /// The function that was taken for one that is not there.
    variant: Option<String>,
    /// Whether the kernel refused to probe another function of the same name.
    of_some: bool,
    /// Hits missed so far, by probe where they are known for each.
    missed: Vec<(Option<u32>, u64)>,
}

impl Link {
    pub(super) fn whole(fd: OwnedFd) -> Link {
        Link { link: Some(fd), ..Link::default() }
    }

    /// A link of a trampoline.
    pub(super) fn trampoline(fd: OwnedFd) -> Link {
        Link { trampoline: true, ..Link::whole(fd) }
    }

    /// The same, of an event whose closing waits.
    pub(super) fn waiting(self) -> Link {
        Link { waits: true, ..self }
    }

    /// The same, of an event that was made for it.
    pub(super) fn defined_by(self, definition: Definition) -> Link {
        Link { definition: Some(definition), ..self }
    }

    /// The same, of a watchpoint.
    pub(super) fn watching(self, address: u64) -> Link {
        Link { watches: Some(address), ..self }
    }

    /// The same, of an event on one processor.
    pub(super) fn seated(self, wish: Rc<Wish>, cpu: u32) -> Link {
        Link { seat: Some((wish, cpu)), ..self }
    }

    /// The event that is wanted and the processor that it is on, where it is on one.
    pub(super) fn seat(&self) -> Option<&(Rc<Wish>, u32)> {
        self.seat.as_ref()
    }

    /// How long its event, one of a processor, has been counting; nothing where it cannot be told.
    pub(super) fn counted(&self) -> Option<u64> {
        sys::perf_time(self.event.as_ref()?.as_fd()).ok()
    }

    /// State shared with other links of the same probe.
    pub(super) fn outline(&self) -> Link {
        Link { watches: self.watches, program: self.program, probe: self.probe, ..Link::default() }
    }

    /// The same, for the same probe as another.
    pub(super) fn like(self, outline: &Link) -> Link {
        Link { watches: outline.watches, program: outline.program, probe: outline.probe, ..self }
    }

    /// The same, on a variant of the function that was asked for.
    pub(super) fn instead(self, variant: String) -> Link {
        Link { variant: Some(variant), ..self }
    }

    /// The function that was taken for one that is not there.
    pub(super) fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The same, on a function of a name of which the kernel refused others, or did not.
    pub(super) fn of_some(self, of_some: bool) -> Link {
        Link { of_some, ..self }
    }

    /// Whether the kernel refused others of this name.
    pub(super) fn is_of_some(&self) -> bool {
        self.of_some
    }

    /// The same, of an iterator that is to be run once.
    pub(super) fn iterating(self) -> Link {
        Link { iterates: true, ..self }
    }

    /// The same, known to be for a program, and for one probe.
    pub(super) fn belonging(self, program: usize, probe: Option<u32>) -> Link {
        Link { program, probe, ..self }
    }

    /// The same, for the returns of another program, too.
    pub(super) fn returning(self, returns: usize) -> Link {
        Link { returns: Some(returns), ..self }
    }

    /// Asks the kernel how many hits were missed, if there still is something to ask.
    fn count_missed(&mut self) {
        if let Some(definition) = &self.definition {
            self.missed = definition.missed().into_iter().map(|(probe, count)| (Some(probe), count)).collect();
        } else if let Some(missed) = self.link.as_ref().and_then(|fd| sys::missed_hits(fd.as_fd()).ok()) {
            self.missed = vec![(self.probe, missed)];
        }
    }

    /// Ties a program to an opened perf event and starts it. With a link where the kernel has them (5.15):
    /// closing the link takes the program off without taking the probe out, which is slow.
    pub(super) fn event(event: OwnedFd, program: BorrowedFd<'_>, cookie: Option<u64>) -> io::Result<Link> {
        static NO_LINKS: AtomicBool = AtomicBool::new(false);
        let link = match cookie {
            Some(cookie) => Some(sys::perf_link(program, event.as_fd(), cookie)?),
            None if NO_LINKS.load(Ordering::Relaxed) => None,
            None => match sys::perf_link(program, event.as_fd(), 0) {
                Ok(link) => Some(link),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    NO_LINKS.store(true, Ordering::Relaxed);
                    None
                }
                Err(e) => return Err(e),
            },
        };
        if link.is_none() {
            sys::perf_control(event.as_fd(), PerfControl::SetProgram(program))?;
        }
        sys::perf_control(event.as_fd(), PerfControl::Enable)?;
        Ok(Link { link, event: Some(event), ..Link::default() })
    }
}

/// Everything that is attached.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

impl Drop for Links {
    fn drop(&mut self) {
        self.close_links(|link| link.event.is_some());
        let slow = self.0.iter().filter(|l| l.waits && l.event.is_some()).count();
        let many = slow >= hurry::MANY || self.0.iter().any(|l| l.definition.is_some());
        let _hurry = many.then(|| Hurry::start(&[hurry::GRACE_PERIODS, hurry::JUMPS]));
        self.0.clear();
    }
}

impl Extend<Link> for Links {
    fn extend<I: IntoIterator<Item = Link>>(&mut self, links: I) {
        self.0.extend(links);
    }
}

impl Links {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.0.iter()
    }

    pub(super) fn retain(&mut self, wanted: impl Fn(&Link) -> bool) {
        self.0.retain(wanted);
    }

    /// Removes the watchpoints of an address. Returns whether there were any.
    pub fn unwatch(&mut self, address: u64) -> bool {
        let before = self.0.len();
        self.0.retain(|l| l.watches != Some(address));
        self.0.len() < before
    }

    /// The links of iterators.
    pub fn iterators(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().filter(|l| l.iterates).filter_map(|l| l.link.as_ref()).map(OwnedFd::as_fd)
    }

    /// Asks the kernel how many hits each link missed.
    pub fn count_missed(&mut self) {
        self.0.iter_mut().for_each(Link::count_missed);
    }

    /// Program, probe where there is only one, and hits missed as counted last. A hit that a link for entries and
    /// returns missed was missed by both.
    pub fn missed(&self) -> impl Iterator<Item = (usize, Option<u32>, u64)> {
        self.0.iter().flat_map(|l| {
            let own = l.missed.iter().map(|(probe, count)| (l.program, *probe, *count));
            let of_returns = l.returns.map(|returns| (returns, None, l.missed.iter().map(|(_, count)| count).sum()));
            own.chain(of_returns)
        })
    }

    /// Stops the probes as far as that is quick: taking a kprobe or a trampoline out makes the kernel wait each
    /// time, which is for after the results are shown. A link to a perf event lets go of the program at once;
    /// timers can be disabled; of the others only a few are taken out here. What remains is released by dropping.
    pub fn stop(&mut self) {
        self.count_missed();
        let slow = |l: &&Link| l.trampoline || l.link.is_none();
        let few = self.0.iter().filter(slow).count() <= FEW;
        for link in self.0.iter_mut().filter(|l| l.link.is_none()) {
            if few {
                link.event = None;
            } else if let Some(event) = &link.event {
                // A probe that cannot be disabled is detached by closing; nothing to report.
                let _ = sys::perf_control(event.as_fd(), PerfControl::Disable);
            }
        }
        self.close_links(|link| link.event.is_some() || few || !link.trampoline);
    }

    /// Closes the links that are wanted. Each may wait for a grace period of RCU tasks trace (since 6.13, and in
    /// stable releases as far back as 6.1), 20 to 50 ms that no setting makes shorter; they wait together, but
    /// for some stable releases (6.1.192), which wait one after the other.
    fn close_links(&mut self, wanted: impl Fn(&Link) -> bool) {
        let closed = self.0.iter_mut().filter(|l| wanted(l)).filter_map(|l| l.link.take());
        let mut closed: Vec<OwnedFd> = closed.collect();
        if closed.len() < hurry::MANY {
            return;
        }
        let share = closed.len().div_ceil(THREADS);
        let mut threads = Vec::new();
        while !closed.is_empty() {
            let part = closed.split_off(closed.len().saturating_sub(share));
            // A thread that cannot be started leaves its share to be closed here.
            threads.extend(std::thread::Builder::new().stack_size(STACK).spawn(move || drop(part)).ok());
        }
        for thread in threads {
            // It only closes; there is no result.
            let _ = thread.join();
        }
    }
}
