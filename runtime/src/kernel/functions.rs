//! The kernel's functions: which can be traced, where they are, what a missing one is called.
//!
//! Owns `available_filter_functions`, the kprobe blacklist and /proc/kallsyms. All three are made by the
//! kernel as they are read (45,000 to 200,000 lines), so they are streamed, stopped at the first answer
//! where one is enough, and never read for an exact name that BTF knows.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use rtrace_lang::kernel::{FunctionName, KernelError};

use super::glob::Glob;
use super::renamed;
use super::tracefs::Tracefs;

const KALLSYMS: &str = "/proc/kallsyms";
const BLACKLIST: &str = "/sys/kernel/debug/kprobes/blacklist";

#[derive(Default)]
pub struct Functions {
    blacklist: OnceCell<HashSet<Vec<u8>>>,
    /// `available_filter_functions`, kept for a command that goes through it several times.
    kept: OnceCell<Vec<u8>>,
    addresses: RefCell<HashMap<String, Option<u64>>>,
}

/// What is called with the name and module of each function; it may stop the pass.
pub type EachFunction<'a> = dyn FnMut(&[u8], Option<&[u8]>) -> ControlFlow<()> + 'a;

/// Calls `each` with every line of a file, without the newline, reading as much as the kernel hands over.
fn each_line(path: &Path, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), KernelError> {
    let fail = |e: std::io::Error| {
        let help = (e.kind() == std::io::ErrorKind::PermissionDenied).then(|| "run as root".to_owned());
        KernelError { message: format!("cannot read {}: {e}", path.display()), help }
    };
    let mut file = File::open(path).map_err(fail)?;
    let mut buffer = vec![0u8; 64 << 10];
    // Bytes at the start of the buffer: the line that the last read cut.
    let mut kept = 0;
    loop {
        if kept == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        let got = file.read(buffer.get_mut(kept..).unwrap_or_default()).map_err(fail)?;
        let mut rest = buffer.get(..kept + got).unwrap_or_default();
        if got == 0 {
            if !rest.is_empty() {
                let _ = each(rest);
            }
            return Ok(());
        }
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            if each(line).is_break() {
                return Ok(());
            }
            rest = after.get(1..).unwrap_or_default();
        }
        let left = rest.len();
        buffer.copy_within(kept + got - left..kept + got, 0);
        kept = left;
    }
}

/// `name [module]` as both files write it, separated by blanks or a tab.
fn name_and_module(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr2(b' ', b'\t', line) {
        Some(end) => {
            let (name, rest) = line.split_at(end);
            let module = rest.trim_ascii().strip_prefix(b"[").and_then(|m| m.strip_suffix(b"]"));
            (name, module)
        }
        None => (line, None),
    }
}

/// A kallsyms line, `ADDRESS TYPE NAME\t[MODULE]`: address, type, and the rest.
fn kallsyms_line(line: &[u8]) -> Option<(&[u8], u8, &[u8])> {
    let end = memchr::memchr(b' ', line)?;
    let (address, rest) = line.split_at(end);
    match rest {
        [b' ', kind, b' ', name @ ..] => Some((address, *kind, name)),
        _ => None,
    }
}

/// Names that patterns leave out, as bpftrace does: places of weak functions that the linker left out, parts of
/// functions that the compiler split off, BPF dispatchers, and where a probe may hang the machine: RCU's internals
/// and the idle loop, which RCU does not watch.
fn is_left_out(name: &[u8]) -> bool {
    matches!(name, b"default_idle" | b"arch_cpu_idle")
        || name.starts_with(b"rcu_")
        || name.starts_with(b"__ftrace_invalid_address__")
        || (name.starts_with(b"bpf_dispatcher_") && name.ends_with(b"_func"))
        // In kallsyms only: padding before functions, and their unlikely parts.
        || name.starts_with(b"__pfx_")
        || memchr::memmem::find(name, b".cold").is_some()
        || memchr::memmem::find(name, b".part.").is_some()
}

impl Functions {
    /// Calls `each` with name and module of every function that kprobes can be placed on: those that ftrace
    /// knows, else (no permission, no tracefs) the text symbols of kallsyms. In the kernel's order.
    pub fn each_traceable(&self, tracefs: &Tracefs, each: &mut EachFunction<'_>) -> Result<(), KernelError> {
        let blacklist = self.blacklist();
        let mut offer = |line: &[u8]| {
            let (name, module) = name_and_module(line);
            if is_left_out(name) || (!blacklist.is_empty() && blacklist.contains(name)) {
                return ControlFlow::Continue(());
            }
            each(name, module)
        };
        if let Some(kept) = self.kept.get() {
            for line in kept.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                if offer(line).is_break() {
                    break;
                }
            }
            return Ok(());
        }
        let root = tracefs.root();
        if let Ok(root) = &root {
            let path = root.join("available_filter_functions");
            if File::open(&path).is_ok() {
                return each_line(&path, &mut offer);
            }
        }
        each_line(Path::new(KALLSYMS), &mut |line| match kallsyms_line(line) {
            Some((_, b't' | b'T' | b'w' | b'W', name)) => offer(name),
            _ => ControlFlow::Continue(()),
        })
    }

    /// Reads the list of functions once for the passes that follow. Failing, each pass tries for itself.
    pub fn keep(&self, tracefs: &Tracefs) {
        if let Ok(root) = tracefs.root()
            && let Ok(text) = std::fs::read(root.join("available_filter_functions"))
        {
            self.kept.get_or_init(|| text);
        }
    }

    /// Functions marked NOKPROBE; empty where debugfs cannot be read.
    fn blacklist(&self) -> &HashSet<Vec<u8>> {
        self.blacklist.get_or_init(|| {
            let mut names = HashSet::new();
            // `0xSTART-0xEND\tNAME`
            let read = each_line(Path::new(BLACKLIST), &mut |line| {
                if let Some(tab) = memchr::memchr(b'\t', line) {
                    names.insert(line.get(tab + 1..).unwrap_or_default().to_vec());
                }
                ControlFlow::Continue(())
            });
            // Without it, a few functions too many are listed.
            drop(read);
            names
        })
    }

    /// The functions that match, sorted; `module` is a pattern, with `vmlinux` for the kernel itself.
    pub fn matching(
        &self,
        tracefs: &Tracefs,
        module: Option<&str>,
        pattern: &str,
    ) -> Result<Vec<FunctionName>, KernelError> {
        let names = Glob::new(pattern);
        let modules = module.map(Glob::new);
        let mut found = Vec::new();
        self.each_traceable(tracefs, &mut |name, module| {
            if names.matches(name) && modules.as_ref().is_none_or(|m| m.matches(module.unwrap_or(b"vmlinux"))) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                found.push(FunctionName { name: text(name), module: module.map(text) });
                if names.exact().is_some() {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if found.is_empty()
            && let Some(name) = names.exact()
        {
            found.extend(self.in_kallsyms(name, modules.as_ref())?);
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// A function that ftrace does not reach: kprobes may go there all the same.
    fn in_kallsyms(&self, name: &str, module: Option<&Glob<'_>>) -> Result<Option<FunctionName>, KernelError> {
        let mut found = None;
        each_line(Path::new(KALLSYMS), &mut |line| {
            if let Some((_, b't' | b'T' | b'w' | b'W', rest)) = kallsyms_line(line)
                && let (candidate, of) = name_and_module(rest)
                && candidate == name.as_bytes()
                && module.is_none_or(|m| m.matches(of.unwrap_or(b"vmlinux")))
            {
                let module = of.map(|m| String::from_utf8_lossy(m).into_owned());
                found = Some(FunctionName { name: name.to_owned(), module });
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The address of a symbol; `None` also where the kernel hides addresses (kptr_restrict).
    pub fn address(&self, name: &str) -> Option<u64> {
        if let Some(known) = self.addresses.borrow().get(name) {
            return *known;
        }
        let mut address = None;
        let read = each_line(Path::new(KALLSYMS), &mut |line| match kallsyms_line(line) {
            Some((hex, _, rest)) if name_and_module(rest).0 == name.as_bytes() => {
                address = std::str::from_utf8(hex).ok().and_then(|h| u64::from_str_radix(h, 16).ok());
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        let address = address.filter(|a| *a != 0 && read.is_ok());
        self.addresses.borrow_mut().insert(name.to_owned(), address);
        address
    }

    /// What a function that cannot be found is called here: its new name, its name with the compiler's suffix
    /// (`.isra.0`, `.constprop.0`), or one spelt nearly so. Reads the list of all functions.
    pub fn nearest(&self, tracefs: &Tracefs, name: &str) -> Option<String> {
        let renames = renamed::successors(name);
        let mut renamed: Option<(usize, String)> = None;
        let mut variant: Option<String> = None;
        let mut best = super::Nearest::new(name);
        self.each_traceable(tracefs, &mut |candidate, _| {
            if let Some(rank) = renames.iter().position(|r| r.as_bytes() == candidate) {
                if renamed.as_ref().is_none_or(|(known, _)| rank > *known) {
                    renamed = Some((rank, String::from_utf8_lossy(candidate).into_owned()));
                }
            } else if candidate.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b".")) {
                variant.get_or_insert_with(|| String::from_utf8_lossy(candidate).into_owned());
            }
            // A function that is there, but not for this kind of probe, is no news.
            if candidate != name.as_bytes() {
                best.offer(candidate);
            }
            ControlFlow::Continue(())
        })
        .ok()?;
        if let Some((_, name)) = renamed {
            return Some(name);
        }
        variant.or_else(|| best.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_files() {
        assert_eq!(name_and_module(b"vfs_read"), (b"vfs_read".as_slice(), None));
        assert_eq!(
            name_and_module(b"nft_do_chain [nf_tables]"),
            (b"nft_do_chain".as_slice(), Some(b"nf_tables".as_slice()))
        );
        assert_eq!(name_and_module(b"e1000_open\t[e1000]"), (b"e1000_open".as_slice(), Some(b"e1000".as_slice())));
        let line = kallsyms_line(b"ffffffff81000000 T _stext");
        assert_eq!(line, Some((b"ffffffff81000000".as_slice(), b'T', b"_stext".as_slice())));
        assert_eq!(kallsyms_line(b"nonsense"), None);
    }

    #[test]
    fn names_that_patterns_leave_out() {
        assert!(is_left_out(b"__ftrace_invalid_address___60"));
        assert!(is_left_out(b"__clk_lookup_subtree.part.0.isra.0"));
        assert!(is_left_out(b"rcu_core") && is_left_out(b"default_idle") && is_left_out(b"bpf_dispatcher_xdp_func"));
        assert!(!is_left_out(b"partition_sched_domains") && !is_left_out(b"bpf_dispatcher_prepare"));
    }

    #[test]
    fn lines_longer_than_the_buffer_and_without_a_last_newline() {
        let path = std::env::temp_dir().join(format!("rtrace-lines-{}", std::process::id()));
        let long = "x".repeat(200 << 10);
        std::fs::write(&path, format!("a\n{long}\n\nlast")).expect("a temporary file");
        let mut lengths = Vec::new();
        each_line(&path, &mut |line| {
            lengths.push(line.len());
            ControlFlow::Continue(())
        })
        .expect("readable");
        std::fs::remove_file(&path).expect("removable");
        assert_eq!(lengths, [1, 200 << 10, 0, 4]);
    }
}
