//! uprobe, uretprobe and usdt: one perf event per place through the kernel's uprobe PMU (Linux 4.17), or one multi
//! link for many places of a file (6.6).

use super::{Link, Reason};
use rtrace_core::bundle::{AttachPoint, Target};
use rtrace_facts::probe_pmu::ProbePmu;
use rtrace_sys::{self as sys, PerfAttr};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

fn pmu() -> Result<ProbePmu, Reason> {
    static PMU: OnceLock<Option<ProbePmu>> = OnceLock::new();
    PMU.get_or_init(|| ProbePmu::read("uprobe").ok())
        .ok_or_else(|| Reason("this kernel has no uprobes (CONFIG_UPROBE_EVENTS), or /sys is not mounted".to_owned()))
}

/// A place in the code of a file.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    path: &'a str,
    /// In the file, as is that of the counter which the kernel raises while someone listens; 0 for none.
    offset: u64,
    semaphore: u64,
    ret: bool,
}

impl Place<'_> {
    /// Of a target that is one.
    fn of(target: &Target) -> Option<Place<'_>> {
        match target {
            Target::Uprobe { path, offset, ret, .. } => Some(Place { path, offset: *offset, semaphore: 0, ret: *ret }),
            Target::Usdt { path, offset, semaphore } => {
                Some(Place { path, offset: *offset, semaphore: *semaphore, ret: false })
            }
            _ => None,
        }
    }
}

/// The position of a semaphore's offset in `config` of the uprobe PMU: /sys/bus/event_source/devices/uprobe/format/
/// ref_ctr_offset says `config:32-63` since it was made (Linux 4.20).
const SEMAPHORE_SHIFT: u32 = 32;

/// Attaches at a place of a file, in one process or in all that map the file.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    target: &Target,
    pid: Option<u32>,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let place = Place::of(target).ok_or_else(|| Reason("it is not a location in a file".to_owned()))?;
    let pmu = pmu()?;
    let file = CString::new(place.path).map_err(|_| Reason("its path contains a NUL byte".to_owned()))?;
    let semaphore = u32::try_from(place.semaphore)
        .map_err(|_| Reason("its semaphore is beyond the first 4 GB of the file".to_owned()))?;
    let attr = PerfAttr {
        kind: pmu.kind,
        config: (if place.ret { pmu.ret } else { 0 }) | u64::from(semaphore) << SEMAPHORE_SHIFT,
        config1: file.as_ptr() as u64,
        config2: place.offset,
        ..PerfAttr::default()
    };
    pid.map_or_else(|| sys::perf_event_anywhere(&attr), |pid| sys::perf_event_open(&attr, pid as i32, -1))
        .and_then(|event| Link::event(event, program, cookie))
        .map(|link| vec![link.waiting()])
        .map_err(|e| reason(&e))
}

fn reason(error: &io::Error) -> Reason {
    Reason::of(
        error,
        &[
            (libc::ENOENT, "no such file"),
            (libc::EINVAL, "the location is not in the file's code"),
            (libc::ESRCH, "no such process"),
            (524, "the instruction there cannot be probed"),
            (libc::EIO, "the file system does not allow probes on its files; copy the file elsewhere"),
        ],
    )
}

/// One multi link per file and direction; a set that the kernel refuses is left for single links.
pub(super) fn attach_multi<'p>(
    program: BorrowedFd<'_>,
    points: &[&'p AttachPoint],
    with_cookies: bool,
    pid: Option<u32>,
) -> (Vec<Link>, Vec<&'p AttachPoint>) {
    // Up to 6.10 such a link to one process leaves out its threads (46ba0e49b642 mended it).
    if pid.is_some() && sys::kernel_version() < (6, 11) {
        return (Vec::new(), points.to_vec());
    }
    let mut sets: BTreeMap<(&str, bool), Vec<(Place<'_>, &'p AttachPoint)>> = BTreeMap::new();
    let mut left = Vec::new();
    for point in points.iter().copied() {
        match Place::of(&point.target) {
            Some(place) => sets.entry((place.path, place.ret)).or_default().push((place, point)),
            None => left.push(point),
        }
    }
    let mut links = Vec::new();
    for ((path, ret), set) in sets {
        let offsets: Vec<u64> = set.iter().map(|(place, _)| place.offset).collect();
        let guarded = set.iter().any(|(place, _)| place.semaphore != 0);
        let semaphores: Vec<u64> =
            if guarded { set.iter().map(|(place, _)| place.semaphore).collect() } else { Vec::new() };
        let cookies: Vec<u64> =
            if with_cookies { set.iter().map(|(_, p)| u64::from(p.probe)).collect() } else { Vec::new() };
        let link = CString::new(path)
            .map_err(io::Error::from)
            .and_then(|path| sys::uprobe_multi(program, &path, (&offsets, &semaphores), ret, &cookies, pid));
        match link {
            Ok(fd) => links.push(Link::whole(fd)),
            Err(_) => left.extend(set.into_iter().map(|(_, point)| point)),
        }
    }
    (links, left)
}
