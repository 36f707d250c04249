//! Tracepoints with a format: a perf event of the identifier that tracefs gives. Any number of programs may
//! sit on one tracepoint; each has an event of its own.

use super::{Link, Reason};
use crate::kernel::tracefs::MOUNTS;
use crate::sys::{self, PerfAttr};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// `PERF_TYPE_TRACEPOINT`
const TRACEPOINT: u32 = 2;

pub(super) fn attach(
    program: BorrowedFd<'_>,
    category: &str,
    name: &str,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let id = id(category, name)?;
    open(id).and_then(|event| Link::event(event, program, cookie)).map(|link| vec![link.waiting()]).map_err(|e| {
        Reason::of(
            &e,
            &[
                (libc::EACCES, "its program reads beyond the tracepoint's record"),
                (libc::E2BIG, "64 programs are on it already"),
            ],
        )
    })
}

/// A perf event of the tracepoint with this identifier.
pub(super) fn open(id: u64) -> io::Result<OwnedFd> {
    // The program runs on all CPUs, whichever CPU the event is opened on.
    let attr = PerfAttr { kind: TRACEPOINT, config: id, sample: 1, ..PerfAttr::default() };
    sys::perf_event_anywhere(&attr)
}

/// The tracepoint's identifier.
fn id(category: &str, name: &str) -> Result<u64, Reason> {
    let mut mounted = false;
    for tracefs in MOUNTS {
        let events = format!("{tracefs}/events");
        mounted |= std::path::Path::new(&events).exists();
        if let Ok(text) = std::fs::read_to_string(format!("{events}/{category}/{name}/id")) {
            return text.trim().parse().map_err(|_| Reason("its identifier in tracefs is no number".to_owned()));
        }
    }
    Err(Reason(if mounted {
        "the kernel has no such tracepoint".to_owned()
    } else {
        "tracefs is not readable: mount it (mount -t tracefs tracefs /sys/kernel/tracing) and be root".to_owned()
    }))
}
