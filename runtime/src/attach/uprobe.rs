//! uprobe and uretprobe: one perf event per place through the kernel's uprobe PMU (Linux 4.17), or one multi
//! link for many places of a file (6.6).

use super::kprobe::ProbePmu;
use super::{Link, Reason};
use crate::sys::{self, PerfAttr};
use rtrace_lang::bundle::{AttachPoint, Target};
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

/// Attaches at an offset of a file, in one process or in all that map the file.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    path: &str,
    offset: u64,
    ret: bool,
    pid: Option<u32>,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let pmu = pmu()?;
    let file = CString::new(path).map_err(|_| Reason("its path holds a NUL".to_owned()))?;
    let attr = PerfAttr {
        kind: pmu.kind,
        config: if ret { pmu.ret } else { 0 },
        config1: file.as_ptr() as u64,
        config2: offset,
        ..PerfAttr::default()
    };
    let (pid, cpu) = pid.map_or((-1, 0), |pid| (pid as i32, -1));
    sys::perf_event_open(&attr, pid, cpu)
        .and_then(|event| Link::event(event, program, cookie))
        .map(|link| vec![link])
        .map_err(|e| reason(&e))
}

fn reason(error: &io::Error) -> Reason {
    Reason::of(
        error,
        &[
            (libc::ENOENT, "there is no such file"),
            (libc::EINVAL, "the place is not in the file's code"),
            (libc::ESRCH, "there is no such process"),
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
    let mut sets: BTreeMap<(&str, bool), Vec<(u64, &'p AttachPoint)>> = BTreeMap::new();
    let mut left = Vec::new();
    for point in points.iter().copied() {
        match &point.target {
            Target::Uprobe { path, offset, ret, .. } => sets.entry((path, *ret)).or_default().push((*offset, point)),
            _ => left.push(point),
        }
    }
    let mut links = Vec::new();
    for ((path, ret), set) in sets {
        let offsets: Vec<u64> = set.iter().map(|(offset, _)| *offset).collect();
        let cookies: Vec<u64> =
            if with_cookies { set.iter().map(|(_, p)| u64::from(p.probe)).collect() } else { Vec::new() };
        let link = CString::new(path)
            .map_err(io::Error::from)
            .and_then(|path| sys::uprobe_multi(program, &path, &offsets, ret, &cookies, pid));
        match link {
            Ok(fd) => links.push(Link::whole(fd)),
            Err(_) => left.extend(set.into_iter().map(|(_, point)| point)),
        }
    }
    (links, left)
}
