//! kprobe and kretprobe: one perf event per function through the kernel's kprobe PMU (Linux 4.17). `multi.rs` has
//! the links to many functions at once.

use super::hurry::{self, Hurry};
use super::modules::{self, Stamps};
use super::{Link, Reason, multi};
use rtrace_core::bundle::{AttachPoint, Target};
use rtrace_facts::functions::has_module;
use rtrace_facts::kallsyms::{self, Addresses};
use rtrace_facts::kcore::Memory;
use rtrace_facts::probe_pmu::ProbePmu;
use rtrace_facts::text;
use rtrace_sys::{self as sys, PerfAttr};
use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

fn pmu() -> Result<ProbePmu, Reason> {
    static PMU: OnceLock<Option<ProbePmu>> = OnceLock::new();
    PMU.get_or_init(|| ProbePmu::read("kprobe").ok())
        .ok_or_else(|| Reason("this kernel has no kprobes (CONFIG_KPROBE_EVENTS), or /sys is not mounted".to_owned()))
}

/// The location of a probe in a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    pub function: &'p str,
    pub module: Option<&'p str>,
    pub offset: u64,
    pub ret: bool,
}

/// A function to be probed: its address, that of the first instruction behind what is there for ftrace, and whether the
/// probe is for its return.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    pub entry: u64,
    pub behind: Option<u64>,
    pub ret: bool,
}

/// The addresses of many functions, found in one go: the kernel takes milliseconds to find one by name.
#[derive(Debug, Default)]
pub(super) struct Places {
    addresses: Addresses,
    /// The modules as they were before.
    modules: Stamps,
    /// Functions that are in no list of symbols, for which asking the kernel is futile; see [`absent`].
    absent: HashMap<(String, Option<String>), Vec<String>>,
    /// The kernel's code, where entries may be probed behind the place that ftrace has there.
    code: Option<Memory>,
    _hurry: Option<Hurry>,
}

impl Places {
    /// For what is to be attached one by one; nothing is looked up for a few.
    pub fn of(points: &[&AttachPoint]) -> Places {
        Places::look_up(points.iter().filter_map(|p| match &p.target {
            Target::Kprobe { function, module, .. } => Some((function.clone(), module.clone())),
            _ => None,
        }))
    }

    /// For many functions that become one event: those that tracepoints of system calls stand for, too.
    pub fn of_functions(points: &[&AttachPoint]) -> Places {
        Places::look_up(points.iter().filter_map(|p| function(&p.target)).map(|(name, module, _)| (name, module)))
    }

    fn look_up(names: impl Iterator<Item = (String, Option<String>)>) -> Places {
        let mut addresses: Addresses = names.map(|n| (n, Vec::new())).collect();
        if addresses.len() < hurry::MANY {
            return Places::default();
        }
        let modules = Stamps::of(addresses.keys().filter_map(|(_, module)| module.as_deref()));
        let text = kallsyms::read();
        kallsyms::find_addresses(&text, &mut addresses);
        let unknown = addresses.iter().filter(|(_, found)| found.is_empty()).map(|(key, _)| key.clone());
        let absent = if text.is_empty() { HashMap::new() } else { kallsyms::absent(&text, unknown.collect()) };
        // Each kprobe on a place of ftrace makes the kernel walk all such places several times; one on the
        // instruction behind is a breakpoint, and later a jump.
        let code = cfg!(target_arch = "x86_64").then(Memory::open).flatten();
        let hurry = code.is_some().then(|| Hurry::start(&[hurry::JUMPS])).flatten();
        Places { addresses, modules, absent, code, _hurry: hurry }
    }

    fn find(&self, place: Place<'_>) -> &[u64] {
        let key = (place.function.to_owned(), place.module.map(str::to_owned));
        self.addresses.get(&key).map_or(&[], Vec::as_slice)
    }

    /// The variants of a function that is known not to be there.
    fn absent(&self, place: Place<'_>) -> Option<&[String]> {
        let key = (place.function.to_owned(), place.module.map(str::to_owned));
        self.absent.get(&key).map(Vec::as_slice)
    }

    fn behind(&self, entry: u64) -> Option<u64> {
        self.code.as_ref().and_then(|code| text::behind_entry(code, entry))
    }

    /// The functions that a target stands for.
    pub fn spots(&self, target: &Target) -> Vec<Spot> {
        let Some((name, module, ret)) = function(target) else { return Vec::new() };
        let entries = self.addresses.get(&(name, module)).map_or([].as_slice(), Vec::as_slice);
        let spot = |entry| Spot { entry, behind: if ret { None } else { self.behind(entry) }, ret };
        entries.iter().copied().map(spot).collect()
    }
}

/// Attaches to one function by name. A name that several functions have, or a function of a module, is
/// resolved to addresses; every function of that name gets the probe.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    place: Place<'_>,
    places: &Places,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let pmu = pmu()?;
    let Place { function, module, offset, ret } = place;
    let config = if ret { pmu.ret } else { 0 };
    let attr = PerfAttr { kind: pmu.kind, config, ..PerfAttr::default() };
    let at = |address: u64| open(&PerfAttr { config2: address, ..attr }, program, cookie);
    if let Some(address) = function.strip_prefix("0x").and_then(|hex| u64::from_str_radix(hex, 16).ok()) {
        let link = at(address.wrapping_add(offset));
        return link.map(|link| vec![link]).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT | libc::EINVAL | libc::EILSEQ) => Reason(
                "no kernel instruction that can be probed starts at this address (/proc/kallsyms lists function addresses)"
                    .to_owned(),
            ),
            _ => reason(&e, offset),
        });
    }
    let known = places.find(place);
    if !known.is_empty() {
        let each = known.iter().map(|address| {
            let behind = if offset == 0 && !ret { places.behind(*address) } else { None };
            match behind.map(at) {
                Some(Ok(link)) => Ok(link),
                _ => at(address.wrapping_add(offset)),
            }
        });
        let links = all_of(each);
        // Another module may have taken the place meanwhile.
        return match module.filter(|m| !places.modules.holds(m)) {
            Some(module) => Err(modules::went(module)),
            None => links.map_err(|e| reason(&e, offset)),
        };
    }
    let named = |symbol: &str| {
        let symbol = CString::new(symbol).map_err(|_| io::ErrorKind::InvalidInput)?;
        open(&PerfAttr { config1: symbol.as_ptr() as u64, config2: offset, ..attr }, program, cookie)
    };
    let instead = |variants: &[String]| -> Vec<Link> {
        variants.iter().filter_map(|variant| Some(named(variant).ok()?.instead(variant.clone()))).collect()
    };
    let missing = |error: &io::Error| match module.filter(|m| *m != "vmlinux" && !has_module(m)) {
        Some(module) => modules::not_loaded(module),
        None => reason(error, offset),
    };
    if let Some(variants) = places.absent(place) {
        let links = instead(variants);
        return if links.is_empty() { Err(missing(&io::Error::from_raw_os_error(libc::ENOENT))) } else { Ok(links) };
    }
    let symbol = match module {
        Some(module) if module != "vmlinux" => format!("{module}:{function}"),
        _ => function.to_owned(),
    };
    let error = match named(&symbol) {
        Ok(link) => return Ok(vec![link]),
        Err(e) => e,
    };
    // ENOENT: perhaps a module's; EADDRNOTAVAIL: not unique (since Linux 6.6).
    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EADDRNOTAVAIL)) {
        let key = (function.to_owned(), module.map(str::to_owned));
        let mut wanted = HashMap::from([(key, Vec::new())]);
        let text = kallsyms::read();
        kallsyms::find_addresses(&text, &mut wanted);
        match all_of(wanted.into_values().flatten().map(|address| at(address.wrapping_add(offset)))) {
            Ok(links) if links.is_empty() => {
                let key = (function.to_owned(), module.map(str::to_owned));
                let links = instead(&kallsyms::absent(&text, vec![key]).into_values().flatten().collect::<Vec<_>>());
                if !links.is_empty() {
                    return Ok(links);
                }
            }
            links => return links.map_err(|e| reason(&e, offset)),
        }
    }
    Err(missing(&error))
}

/// The links to the functions of one name, which are all marked if the kernel refused some; its error if it took none.
fn all_of(links: impl Iterator<Item = io::Result<Link>>) -> io::Result<Vec<Link>> {
    let (links, errors): (Vec<_>, Vec<_>) = links.partition(Result::is_ok);
    let partly = !errors.is_empty();
    match errors.into_iter().find_map(Result::err) {
        Some(error) if links.is_empty() => Err(error),
        _ => Ok(links.into_iter().flatten().map(|link| link.of_some(partly)).collect()),
    }
}

fn open(attr: &PerfAttr, program: BorrowedFd<'_>, cookie: Option<u64>) -> io::Result<Link> {
    Link::event(sys::perf_event_anywhere(attr)?, program, cookie).map(Link::waiting)
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
            (libc::EBUSY, "the kernel uses this location for something else"),
            (libc::ENODEV, "kprobes are disabled on this kernel"),
        ],
    )
}

/// The function of a target that may be probed together with others: its name, its module, and whether at its return.
fn function(target: &Target) -> Option<(String, Option<String>, bool)> {
    let module = match target {
        Target::Kprobe { module, .. } => module.clone(),
        _ => None,
    };
    multi::symbol(target).map(|(name, ret)| (name, module, ret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_functions_of_a_name() {
        let refused = || Err(io::Error::from_raw_os_error(libc::EINVAL));
        let taken = || Ok(Link::default());
        let marks = |links: Vec<io::Result<Link>>| {
            all_of(links.into_iter()).map(|links| links.iter().map(Link::is_of_some).collect::<Vec<_>>()).ok()
        };
        assert_eq!(marks(vec![taken(), taken()]), Some(vec![false, false]));
        assert_eq!(marks(vec![refused(), taken()]), Some(vec![true]));
        assert_eq!(marks(vec![refused(), refused()]), None);
        assert_eq!(marks(vec![]), Some(vec![]));
    }
}
