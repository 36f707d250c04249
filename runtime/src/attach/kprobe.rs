//! kprobe and kretprobe: one perf event per function through the kernel's kprobe PMU (Linux 4.17), or one
//! multi link for many functions where the kernel has it (5.18 with CONFIG_FPROBE).

use super::{Link, Reason};
use crate::sys::{self, PerfAttr};
use rtrace_lang::bundle::{AttachPoint, Target};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

/// Failed multi links before the rest is attached singly.
const MOST_FAILURES: usize = 64;

/// A dynamic PMU of perf: its type and the bit of `config` that asks for return probes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProbePmu {
    pub kind: u32,
    pub ret: u64,
}

impl ProbePmu {
    /// Reads /sys/bus/event_source/devices/NAME.
    pub fn read(name: &str) -> io::Result<ProbePmu> {
        let base = format!("/sys/bus/event_source/devices/{name}");
        let kind = std::fs::read_to_string(format!("{base}/type"))?;
        let format = std::fs::read_to_string(format!("{base}/format/retprobe"))?;
        let bit = format.trim().strip_prefix("config:").and_then(|b| b.parse().ok()).unwrap_or(0u32);
        let kind = kind.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(ProbePmu { kind, ret: 1u64.checked_shl(bit).unwrap_or(1) })
    }
}

fn pmu() -> Result<ProbePmu, Reason> {
    static PMU: OnceLock<Option<ProbePmu>> = OnceLock::new();
    PMU.get_or_init(|| ProbePmu::read("kprobe").ok())
        .ok_or_else(|| Reason("this kernel has no kprobes (CONFIG_KPROBE_EVENTS), or /sys is not mounted".to_owned()))
}

/// Attaches to one function by name. A name that several functions have, or a function of a module, is
/// resolved to addresses; every function of that name gets the probe.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    function: &str,
    module: Option<&str>,
    offset: u64,
    ret: bool,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let pmu = pmu()?;
    let symbol = CString::new(function).map_err(|_| Reason("its name holds a NUL".to_owned()))?;
    let config = if ret { pmu.ret } else { 0 };
    let named =
        PerfAttr { kind: pmu.kind, config, config1: symbol.as_ptr() as u64, config2: offset, ..PerfAttr::default() };
    let error = match open(&named, program, cookie) {
        Ok(link) => return Ok(vec![link]),
        Err(e) => e,
    };
    // ENOENT: perhaps a module's; EADDRNOTAVAIL: not unique (since Linux 6.6).
    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EADDRNOTAVAIL)) {
        let mut links = Vec::new();
        for address in addresses(function, module) {
            let at = PerfAttr { config1: 0, config2: address.wrapping_add(offset), ..named };
            match open(&at, program, cookie) {
                Ok(link) => links.push(link),
                Err(e) => return Err(reason(&e, offset)),
            }
        }
        if !links.is_empty() {
            return Ok(links);
        }
    }
    Err(reason(&error, offset))
}

fn open(attr: &PerfAttr, program: BorrowedFd<'_>, cookie: Option<u64>) -> io::Result<Link> {
    Link::event(sys::perf_event_open(attr, -1, 0)?, program, cookie)
}

fn reason(error: &io::Error, offset: u64) -> Reason {
    let invalid = if offset > 0 {
        "no instruction starts at this offset, or the kernel allows no probe there"
    } else {
        "the kernel allows no probe in this function (blacklisted, inlined, or not traceable)"
    };
    Reason::of(
        error,
        &[
            (libc::ENOENT, "the kernel has no such function"),
            (libc::EADDRNOTAVAIL, "several functions have this name"),
            (libc::EINVAL, invalid),
            (libc::EILSEQ, "no instruction starts at this offset"),
            (libc::ERANGE, "the offset is outside the function"),
            (libc::EBUSY, "the kernel is using this place otherwise"),
            (libc::ENODEV, "kprobes are switched off on this kernel"),
        ],
    )
}

/// All addresses of a function, from /proc/kallsyms.
fn addresses(function: &str, module: Option<&str>) -> Vec<u64> {
    let text = std::fs::read("/proc/kallsyms").unwrap_or_default();
    parse_kallsyms(&text, function, module)
}

fn parse_kallsyms(text: &[u8], function: &str, module: Option<&str>) -> Vec<u64> {
    let lines = text.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let matching = lines.filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let of = words.next().map(|m| m.trim_matches(['[', ']']));
        let fits = name == function && matches!(kind, "t" | "T" | "w" | "W") && (module.is_none() || of == module);
        fits.then(|| u64::from_str_radix(address, 16).ok()).flatten().filter(|a| *a != 0)
    });
    matching.collect()
}

/// Attaches points with multi links, one for entries and one for returns. When the kernel refuses a set, its
/// halves are tried, so that one bad function does not spoil a wildcard. Returns the links, and the points
/// that must be tried singly.
pub(super) fn attach_multi<'p>(
    program: BorrowedFd<'_>,
    points: &[&'p AttachPoint],
    with_cookies: bool,
) -> (Vec<Link>, Vec<&'p AttachPoint>) {
    let mut links = Vec::new();
    let mut left = Vec::new();
    for want_ret in [false, true] {
        let mut named: Vec<(CString, &AttachPoint)> = Vec::new();
        for point in points.iter().copied() {
            match &point.target {
                Target::Kprobe { ret, .. } if *ret != want_ret => {}
                Target::Kprobe { function, offset: 0, .. } => match CString::new(function.as_str()) {
                    Ok(symbol) => named.push((symbol, point)),
                    Err(_) => left.push(point),
                },
                _ if want_ret => {}
                _ => left.push(point),
            }
        }
        let mut sets: Vec<&[(CString, &'p AttachPoint)]> = vec![&named];
        let mut failures = 0;
        while let Some(set) = sets.pop() {
            if set.is_empty() {
                continue;
            }
            let symbols: Vec<&CStr> = set.iter().map(|(symbol, _)| symbol.as_c_str()).collect();
            let cookies: Vec<u64> =
                if with_cookies { set.iter().map(|(_, p)| u64::from(p.probe)).collect() } else { Vec::new() };
            match sys::kprobe_multi(program, &symbols, want_ret, &cookies) {
                Ok(fd) => links.push(Link::whole(fd)),
                Err(error) => {
                    failures += 1;
                    // EOPNOTSUPP: a kernel without CONFIG_FPROBE, Debian's 6.1 for one.
                    let hopeless = error.raw_os_error() == Some(libc::EOPNOTSUPP) || failures > MOST_FAILURES;
                    match set.split_at_checked(set.len() / 2) {
                        Some((low, high)) if !hopeless && !low.is_empty() => sets.extend([high, low]),
                        _ => left.extend(set.iter().map(|(_, point)| *point)),
                    }
                }
            }
        }
    }
    (links, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kallsyms_lines() {
        let text = b"ffffffff81000010 T vfs_read\nffffffff81000020 t vfs_read\nffffffffc0000030 t vfs_read\t[dummy]\n\
            0000000000000000 t vfs_read\nffffffff81000040 D vfs_read\nffffffff81000050 t vfs_reads\n";
        assert_eq!(
            parse_kallsyms(text, "vfs_read", None),
            [0xffff_ffff_8100_0010, 0xffff_ffff_8100_0020, 0xffff_ffff_c000_0030]
        );
        assert_eq!(parse_kallsyms(text, "vfs_read", Some("dummy")), [0xffff_ffff_c000_0030]);
    }
}
