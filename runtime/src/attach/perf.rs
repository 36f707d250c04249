//! Timers and counters: interval, profile and perf events of any type, on every CPU or in every thread of one
//! process.

use super::cpus::Wish;
use super::{Link, Reason};
use rtrace_core::bundle::Sampling;
use rtrace_sys::{self as sys, PerfAttr};
use std::io;
use std::os::fd::BorrowedFd;

/// `PERF_TYPE_SOFTWARE`, and its `PERF_COUNT_SW_CPU_CLOCK`: a high-resolution timer.
pub(super) const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
/// Those that are timers, with `PERF_COUNT_SW_TASK_CLOCK`.
pub(super) const CLOCKS: [u64; 2] = [CPU_CLOCK, 1];

/// A timer on one CPU. It is never tied to a process: a timer that stands still while the process sleeps
/// would be of no use.
pub(super) fn attach_interval(
    program: BorrowedFd<'_>,
    nanoseconds: u64,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let attr = PerfAttr { kind: SOFTWARE, config: CPU_CLOCK, sample: nanoseconds.max(1), ..PerfAttr::default() };
    let link = Wish::new(attr, program, cookie, false).and_then(|wish| wish.open(sys::any_cpu()));
    link.map(|link| vec![link]).map_err(|e| reason(&e))
}

/// A timer on every CPU, or in every thread of a process while it runs.
pub(super) fn attach_profile(
    program: BorrowedFd<'_>,
    sampling: Sampling,
    pid: Option<u32>,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let (sample, flags) = match sampling {
        Sampling::Hertz(hertz) => (hertz, PerfAttr::FREQ),
        Sampling::Nanoseconds(nanoseconds) => (nanoseconds, 0),
    };
    let attr = PerfAttr { kind: SOFTWARE, config: CPU_CLOCK, sample: sample.max(1), flags, ..PerfAttr::default() };
    everywhere(attr, pid, program, cookie).map_err(|e| reason(&e))
}

/// A perf event of the given type and config, every `period` occurrences.
pub(super) fn attach_event(
    program: BorrowedFd<'_>,
    (kind, config): (u32, u64),
    period: u64,
    pid: Option<u32>,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let attr = PerfAttr { kind, config, sample: period.max(1), ..PerfAttr::default() };
    everywhere(attr, pid, program, cookie).map_err(|e| reason(&e))
}

/// An event on every CPU, or in every thread of a process, those to come included.
pub(super) fn everywhere(
    attr: PerfAttr,
    pid: Option<u32>,
    program: BorrowedFd<'_>,
    cookie: Option<u64>,
) -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    match pid {
        None => {
            let wish = Wish::new(attr, program, cookie, true)?;
            for cpu in sys::online_cpus()? {
                match wish.open(cpu) {
                    Ok(link) => links.push(link),
                    // The CPU went offline after the list was read.
                    Err(e) if e.raw_os_error() == Some(libc::ENODEV) && !links.is_empty() => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Some(pid) => {
            // Inheriting covers the threads that are yet to come.
            let attr = PerfAttr { flags: attr.flags | PerfAttr::INHERIT, ..attr };
            for thread in threads(pid) {
                match open(&attr, thread, -1, program, cookie) {
                    Ok(link) => links.push(link),
                    // The thread ended meanwhile.
                    Err(e) if e.raw_os_error() == Some(libc::ESRCH) && thread as u32 != pid => {}
                    Err(e) => return Err(e),
                }
            }
        }
    }
    Ok(links)
}

pub(super) fn open(
    attr: &PerfAttr,
    pid: i32,
    cpu: i32,
    program: BorrowedFd<'_>,
    cookie: Option<u64>,
) -> io::Result<Link> {
    // Started when the program is in place.
    let attr = PerfAttr { flags: attr.flags | PerfAttr::DISABLED, ..*attr };
    Link::event(sys::perf_event_open(&attr, pid, cpu)?, program, cookie)
}

/// The threads of a process; at least the first one.
fn threads(pid: u32) -> Vec<i32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut threads: Vec<i32> = entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    if threads.is_empty() {
        threads.push(pid as i32);
    }
    threads
}

fn reason(error: &io::Error) -> Reason {
    Reason::of(
        error,
        &[
            (libc::ENOENT, "this machine does not have this event"),
            (libc::ENODEV, "this machine does not have this event"),
            (libc::EOPNOTSUPP, "this machine (or the virtual machine) does not support the event"),
            (libc::ESRCH, "no such process"),
            (libc::EINVAL, "the kernel refuses these settings (kernel.perf_event_max_sample_rate bounds frequencies)"),
        ],
    )
}
