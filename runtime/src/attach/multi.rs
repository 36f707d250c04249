//! Links to many kernel functions at once: kprobe.multi (Linux 5.18 with CONFIG_FPROBE) for entries or for returns, and
//! kprobe.session (6.10) for both. Functions go by name; those of modules, and those that share their name, by address,
//! since the kernel takes the first of a name.

use super::Link;
use super::hurry::MANY;
use rtrace_core::bundle::{AttachPoint, Target};
use rtrace_facts::kallsyms::{self, Addresses};
use rtrace_sys::{self as sys, Functions, Side};
use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Failed links before the rest is left.
const MOST_FAILURES: usize = 64;

/// The attach points of one function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'p> {
    pub point: &'p AttachPoint,
    /// The function's return, where the link is for both.
    pub returns: Option<&'p AttachPoint>,
}

impl Wanted<'_> {
    /// The probe's index; of two, one in each half.
    fn cookie(&self) -> u64 {
        u64::from(self.point.probe) | self.returns.map_or(0, |r| u64::from(r.probe) << 32)
    }
}

/// Of each side, what goes by name and by address, with the index of what is wanted.
#[derive(Debug, Default)]
struct Sets {
    named: Vec<(CString, usize)>,
    placed: Vec<(u64, usize)>,
}

/// Attaches with one link for each side. When the kernel refuses a set, its halves are tried, so that one bad function
/// does not spoil a wildcard. Returns the links, and what must be tried otherwise.
pub(super) fn attach<'p>(
    program: BorrowedFd<'_>,
    wanted: &[Wanted<'p>],
    with_cookies: bool,
) -> (Vec<Link>, Vec<Wanted<'p>>) {
    let mut sides: [(Side, Sets); 3] = [Side::Entry, Side::Return, Side::Both].map(|side| (side, Sets::default()));
    let places = places(wanted);
    for (n, one) in wanted.iter().enumerate() {
        let Some((symbol, ret)) = symbol(&one.point.target) else { continue };
        let side = match (one.returns, ret) {
            (Some(_), _) => Side::Both,
            (None, true) => Side::Return,
            (None, false) => Side::Entry,
        };
        let Some((_, sets)) = sides.iter_mut().find(|(s, _)| *s == side) else { continue };
        match place(&one.point.target) {
            Some(key) => sets.placed.extend(places.get(&key).into_iter().flatten().map(|address| (*address, n))),
            None => sets.named.extend(CString::new(symbol).map(|name| (name, n))),
        }
    }
    // The functions of a module that went lie together: few sets are refused for them.
    sides.iter_mut().for_each(|(_, sets)| sets.placed.sort_unstable());
    let mut opened = Opened { links: Vec::new(), done: vec![false; wanted.len()] };
    for (side, sets) in &sides {
        let cookies = |set: &mut dyn Iterator<Item = usize>| -> Vec<u64> {
            set.filter(|_| with_cookies).filter_map(|n| wanted.get(n)).map(Wanted::cookie).collect()
        };
        let by_name = |set: &[(CString, usize)]| {
            let names: Vec<&CStr> = set.iter().map(|(name, _)| name.as_c_str()).collect();
            sys::kprobe_multi(program, Functions::Names(&names), *side, &cookies(&mut set.iter().map(|(_, n)| *n)))
        };
        match opened.whole(&sets.named, by_name) {
            // The kernel takes up to a second to refuse many names, of whose halves most may have missing ones, too.
            Err(e) if sets.named.len() > MANY && e.raw_os_error() != Some(libc::EOPNOTSUPP) => {
                let there = there(&sets.named);
                if there.len() < sets.named.len() {
                    opened.all(&there, by_name);
                } else {
                    let (low, high) = there.split_at(there.len() / 2);
                    [low, high].iter().for_each(|half| opened.all(half, by_name));
                }
            }
            Err(_) => opened.all(&sets.named, by_name),
            Ok(()) => {}
        }
        opened.all(&sets.placed, |set| {
            let addresses: Vec<u64> = set.iter().map(|(address, _)| *address).collect();
            sys::kprobe_multi(
                program,
                Functions::Addresses(&addresses),
                *side,
                &cookies(&mut set.iter().map(|(_, n)| *n)),
            )
        });
    }
    let left = wanted.iter().zip(opened.done).filter(|(_, done)| !done).map(|(one, _)| *one).collect();
    (opened.links, left)
}

struct Opened {
    links: Vec<Link>,
    /// Whether each point is attached somewhere. A function that cannot be traced is not reported if another one shares its
    /// name.
    done: Vec<bool>,
}

impl Opened {
    /// Opens a link for a set.
    fn whole<T>(&mut self, set: &[(T, usize)], open: impl Fn(&[(T, usize)]) -> io::Result<OwnedFd>) -> io::Result<()> {
        if set.is_empty() {
            return Ok(());
        }
        self.links.push(Link::whole(open(set)?));
        for (_, n) in set {
            if let Some(done) = self.done.get_mut(*n) {
                *done = true;
            }
        }
        Ok(())
    }

    /// The same, or for its halves.
    fn all<T>(&mut self, all: &[(T, usize)], open: impl Fn(&[(T, usize)]) -> io::Result<OwnedFd>) {
        let mut sets = vec![all];
        let mut failures = 0;
        while let Some(set) = sets.pop() {
            if let Err(error) = self.whole(set, &open) {
                failures += 1;
                // EOPNOTSUPP: a kernel without CONFIG_FPROBE, Debian's 6.1 for one.
                let hopeless = error.raw_os_error() == Some(libc::EOPNOTSUPP) || failures > MOST_FAILURES;
                match set.split_at_checked(set.len() / 2) {
                    Some((low, high)) if !hopeless && !low.is_empty() => sets.extend([high, low]),
                    _ => {}
                }
            }
        }
    }
}

/// Those of some functions that the kernel has.
fn there(named: &[(CString, usize)]) -> Vec<(CString, usize)> {
    let key = |name: &CString| (name.to_string_lossy().into_owned(), None);
    let text = kallsyms::read();
    if text.is_empty() {
        return named.to_vec();
    }
    let missing = kallsyms::absent(&text, named.iter().map(|(name, _)| key(name)).collect());
    named.iter().filter(|(name, _)| !missing.contains_key(&key(name))).cloned().collect()
}

/// The name of a function that is attached by address.
fn place(target: &Target) -> Option<(String, Option<String>)> {
    match target {
        Target::Kprobe { function, module: Some(module), .. } => Some((function.clone(), Some(module.clone()))),
        Target::Kprobe { function, module: None, shared: true, .. } => {
            Some((function.clone(), Some("vmlinux".to_owned())))
        }
        _ => None,
    }
}

/// The addresses of functions that go by them; nothing is read where there are none.
fn places(wanted: &[Wanted<'_>]) -> Addresses {
    let mut places: HashMap<_, _> = wanted.iter().filter_map(|w| Some((place(&w.point.target)?, Vec::new()))).collect();
    if !places.is_empty() {
        kallsyms::find_addresses(&kallsyms::read(), &mut places);
    }
    places
}

/// The function that a multi link may have for a target, and whether at its return.
///
/// The tracepoint of a system call's entry is reached through its function, where the program does not ask what it was given (the
/// compiler says so by asking for a multi link): one link for all of them instead of a perf event for each, whose
/// closing takes the kernel 25 ms. The functions have the tracepoints' names (SYSCALL_DEFINE).
pub(super) fn symbol(target: &Target) -> Option<(String, bool)> {
    match target {
        Target::Kprobe { function, offset: 0, ret, .. } => Some((function.clone(), *ret)),
        Target::Tracepoint { category, name } if category == "syscalls" => {
            let prefix = if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" };
            Some((format!("{prefix}{}", name.strip_prefix("sys_enter_")?), false))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_are_functions() {
        let target = |name: &str| Target::Tracepoint { category: "syscalls".into(), name: name.into() };
        assert!(symbol(&target("sys_enter_newstat")).is_some_and(|(name, ret)| name.ends_with("_sys_newstat") && !ret));
        assert_eq!(symbol(&target("sys_exit_read")), None);
    }

    #[test]
    fn shared_names_go_by_address() {
        let target = |module: Option<&str>, shared| Target::Kprobe {
            function: "f".into(),
            module: module.map(str::to_owned),
            offset: 0,
            ret: false,
            shared,
        };
        let of = |m: &str| Some(("f".to_owned(), Some(m.to_owned())));
        assert_eq!(place(&target(None, false)), None);
        assert_eq!(place(&target(None, true)), of("vmlinux"));
        assert_eq!(place(&target(Some("m"), false)), of("m"));
    }
}
