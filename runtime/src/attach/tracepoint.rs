//! Tracepoints with a format: a perf event of the identifier that tracefs gives. Any number of programs may
//! sit on one tracepoint; each has an event of its own.

use super::{Link, Reason};
use rtrace_facts::tracefs::MOUNTS;
use rtrace_sys::{self as sys, PerfAttr};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// `PERF_TYPE_TRACEPOINT`
const TRACEPOINT: u32 = 2;

/// How often one that changes is tried.
const ATTEMPTS: usize = 3;

const GONE: &str = "the kernel has no such tracepoint";

pub(super) fn attach(
    program: BorrowedFd<'_>,
    category: &str,
    name: &str,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    opened(category, name)?
        .and_then(|event| Link::event(event, program, cookie))
        .map(|link| vec![link.waiting()])
        .map_err(|e| {
            Reason::of(
                &e,
                &[
                    (libc::EACCES, "its program reads beyond the tracepoint's record"),
                    (libc::E2BIG, "it already has 64 programs, the kernel's limit"),
                    (libc::ENOENT, GONE),
                    (libc::ENODEV, GONE),
                ],
            )
        })
}

/// A perf event of the tracepoint of this name. Identifiers of a module that went are given to the next one; once the
/// event is open, the module stays.
fn opened(category: &str, name: &str) -> Result<io::Result<OwnedFd>, Reason> {
    let mut known = id(category, name)?;
    for _ in 0..ATTEMPTS {
        let event = open(known);
        let now = id(category, name)?;
        if now == known {
            return Ok(event);
        }
        known = now;
    }
    Err(Reason("its module was repeatedly loaded and unloaded".to_owned()))
}

/// A perf event of the tracepoint with this identifier.
pub(super) fn open(id: u64) -> io::Result<OwnedFd> {
    // The program runs on all CPUs, whichever CPU the event is opened on, and each time: it is not for samples, which the
    // kernel refuses for irq_work_exit (`TRACE_EVENT_PERF_PERM`).
    let attr = PerfAttr { kind: TRACEPOINT, config: id, ..PerfAttr::default() };
    sys::perf_event_anywhere(&attr)
}

/// The tracepoint's identifier.
fn id(category: &str, name: &str) -> Result<u64, Reason> {
    let mut mounted = false;
    for tracefs in MOUNTS {
        let events = format!("{tracefs}/events");
        mounted |= std::path::Path::new(&events).exists();
        if let Ok(text) = std::fs::read_to_string(format!("{events}/{category}/{name}/id")) {
            return text.trim().parse().map_err(|_| Reason("its ID in tracefs is not a number".to_owned()));
        }
    }
    Err(Reason(if mounted {
        GONE.to_owned()
    } else {
        "tracefs is not readable: mount it (mount -t tracefs tracefs /sys/kernel/tracing) and be root".to_owned()
    }))
}
