//! The kernel's functions: which can be traced, where they are, what a missing one is called.
//!
//! Owns `available_filter_functions`, the kprobe blacklist and /proc/kallsyms. All three are made by the
//! kernel as they are read (45,000 to 200,000 lines), so none is read for an exact name that BTF knows. Of the
//! first two one list is made, sorted and without what patterns leave out; of the first, `ftrace.rs` reads what it is
//! made of where it can. `cache.rs` keeps the list for the commands that follow. Everybody sees that list, so that
//! answers do not depend on where it came from.

use rtrace_core::nearest::Nearest;
use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use rtrace_core::kernel::{FunctionName, KernelError};

use crate::btf;
use crate::cache::{Cache, Key};
use crate::clones;
use crate::ftrace;
use crate::kallsyms;
use crate::renamed;
use crate::tracefs::Tracefs;
use rtrace_core::glob::Glob;

const BLACKLIST: &str = "/sys/kernel/debug/kprobes/blacklist";

#[derive(Default)]
pub struct Functions {
    /// The file that says which functions can be traced, where the kernel is not asked.
    file: Option<PathBuf>,
    /// See [`make_list`].
    list: OnceCell<Result<Vec<u8>, KernelError>>,
    /// Names that several functions have.
    shared: OnceCell<HashSet<Vec<u8>>>,
    addresses: RefCell<HashMap<String, Option<u64>>>,
}

/// The source of the list.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    pub tracefs: &'a Tracefs,
    pub btf: &'a btf::Facts,
}

/// `name [module]` as the list writes it, separated by blanks or a tab.
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
        || memchr::memchr(b'.', name).and_then(|dot| name.get(dot..)).is_some_and(|suffixes| {
            memchr::memmem::find(suffixes, b".cold").is_some() || memchr::memmem::find(suffixes, b".part.").is_some()
        })
}

/// The name that a copy of a function has in the source.
fn base_name(name: &[u8]) -> Option<&[u8]> {
    // Most names have no end.
    memchr::memchr(b'.', name)?;
    let name = std::str::from_utf8(name).ok()?;
    let base = clones::whole(name);
    (base != name).then_some(base.as_bytes())
}

/// The list that all answers come from: lines `NAME` or `NAME\tMODULE`, sorted, as many of a name as there are
/// functions, of the lines `NAME [MODULE]`
/// of the kernel, without what is left out and what is on the blacklist (its lines as the kernel writes them).
fn make_list(text: &[u8], blacklist: &[u8]) -> Vec<u8> {
    // Comparing the first bytes as a number settles most comparisons. What separates name and module sorts before
    // all that names are made of, so these are sorted by name, then module.
    let mut lines: Vec<(u128, &[u8])> = Vec::with_capacity(text.len() / 24);
    for line in lines_of(text) {
        let mut start = [0; 16];
        match line.first_chunk() {
            Some(first) => start = *first,
            None => start.iter_mut().zip(line).for_each(|(to, from)| *to = *from),
        }
        if !is_left_out(name_and_module(line).0) {
            lines.push((u128::from_be_bytes(start), line));
        }
    }
    lines.sort_unstable();
    // `0xSTART-0xEND\tNAME`
    let mut blacklisted: Vec<&[u8]> =
        lines_of(blacklist).filter_map(|line| line.get(memchr::memchr(b'\t', line)? + 1..)).collect();
    blacklisted.sort_unstable();
    let mut blacklisted = blacklisted.into_iter().peekable();
    let mut list = Vec::with_capacity(text.len());
    for (_, line) in lines {
        let (name, module) = name_and_module(line);
        while blacklisted.next_if(|b| *b < name).is_some() {}
        if blacklisted.peek() == Some(&name) {
            continue;
        }
        list.extend_from_slice(name);
        if let Some(module) = module {
            list.push(b'\t');
            list.extend_from_slice(module);
        }
        list.push(b'\n');
    }
    list
}

/// The lines of a text that are not empty.
fn lines_of(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (line, after) = match memchr::memchr(b'\n', rest) {
            Some(end) => (rest.get(..end)?, rest.get(end + 1..)?),
            None => (rest, [].as_slice()),
        };
        let more = !rest.is_empty();
        rest = after;
        more.then_some(line)
    })
    .filter(|line| !line.is_empty())
}

/// Makes the list, or takes it from the cache.
fn load(sources: Sources<'_>) -> Result<Vec<u8>, KernelError> {
    if let Ok(path) = sources.tracefs.root().map(|root| root.join("available_filter_functions"))
        // Opening costs nothing, and tells whether it could be read.
        && let Ok(mut file) = File::open(&path)
    {
        let cache = Cache::of_root().zip(Key::now(Path::new(BLACKLIST).exists()));
        if let Some(list) = cache.as_ref().and_then(|(cache, key)| cache.read(key)) {
            return Ok(list);
        }
        // Without it (no debugfs), a few functions too many are listed.
        let blacklist = std::fs::read(BLACKLIST);
        let unchanged = |key: &Key| Key::now(blacklist.is_ok()).as_ref() == Some(key);
        // Memory is read without a lock: where modules came or went meanwhile, it may be wrong.
        let mut text = match cache.as_ref().and_then(|_| ftrace::functions(sources.btf, &path)) {
            Some(text) if cache.as_ref().is_some_and(|(_, key)| unchanged(key)) => text,
            _ => Vec::new(),
        };
        if text.is_empty() {
            text.reserve(2 << 20);
            file.read_to_end(&mut text)
                .map_err(|e| KernelError { message: format!("cannot read {}: {e}", path.display()), help: None })?;
        }
        let list = make_list(&text, blacklist.as_deref().unwrap_or_default());
        // Written only if nothing changed meanwhile. Failing, the next command makes the list again.
        if let Some((cache, key)) = cache
            && unchanged(&key)
        {
            drop(cache.write(&key, &list));
        }
        return Ok(list);
    }
    let mut text = Vec::new();
    kallsyms::each(&mut |line| {
        if line.is_function() {
            text.extend_from_slice(line.symbol);
            text.push(b'\n');
        }
        ControlFlow::Continue(())
    })?;
    Ok(make_list(&text, &std::fs::read(BLACKLIST).unwrap_or_default()))
}

/// The list from a file in the form of `available_filter_functions`.
fn load_file(path: &Path) -> Result<Vec<u8>, KernelError> {
    std::fs::read(path).map(|text| make_list(&text, &[])).map_err(|e| {
        let message = format!("cannot read the list of traceable functions in {}: {e}", path.display());
        KernelError::new(message, "each line is FUNCTION or FUNCTION [MODULE], as in available_filter_functions")
    })
}

impl Functions {
    /// Those of a file instead of those that the kernel lists.
    pub fn of_file(path: PathBuf) -> Functions {
        Functions { file: Some(path), ..Functions::default() }
    }

    /// Whether somebody said which functions can be traced.
    pub fn is_given(&self) -> bool {
        self.file.is_some()
    }

    /// Name and module of every function that kprobes can be placed on, sorted: those that ftrace knows, else (no
    /// permission, no tracefs) the text symbols of kallsyms.
    pub fn traceable(&self, sources: Sources<'_>) -> Result<impl Iterator<Item = (&[u8], Option<&[u8]>)>, KernelError> {
        let make = || self.file.as_deref().map_or_else(|| load(sources), load_file);
        let list = self.list.get_or_init(make).as_deref().map_err(Clone::clone)?;
        Ok(lines_of(list).map(|line| match memchr::memchr(b'\t', line) {
            Some(tab) => (line.get(..tab).unwrap_or_default(), line.get(tab + 1..)),
            None => (line, None),
        }))
    }

    /// The functions that match, sorted; `module` is a pattern, with `vmlinux` for the kernel itself. A name that no
    /// function has stands for the copies that the compiler left of it.
    pub fn matching(
        &self,
        sources: Sources<'_>,
        module: Option<&str>,
        pattern: &str,
    ) -> Result<Vec<FunctionName>, KernelError> {
        let names = Glob::new(pattern);
        let modules = module.map(Glob::new);
        let (mut found, mut copies) = (Vec::new(), Vec::new());
        for (name, module) in self.traceable(sources)? {
            let is_it = names.matches(name);
            let is_copy = || base_name(name).is_some_and(|base| names.matches(base));
            if (is_it || is_copy()) && modules.as_ref().is_none_or(|m| m.matches(module.unwrap_or(b"vmlinux"))) {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let list = if is_it || names.exact().is_none() { &mut found } else { &mut copies };
                list.push(FunctionName { name: text(name), module: module.map(text) });
                if is_it && names.exact().is_some() {
                    break;
                }
            }
        }
        if found.is_empty()
            && self.file.is_none()
            && let Some(name) = names.exact()
        {
            found.extend(self.in_kallsyms(name, modules.as_ref())?);
            if found.is_empty() {
                found = copies;
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Whether the list has several functions of this name that are in no module.
    pub fn shares_name(&self, sources: Sources<'_>, name: &str) -> bool {
        let shared = self.shared.get_or_init(|| {
            let mut shared = HashSet::new();
            let mut last: &[u8] = b"";
            // What cannot be read has nothing to say about it.
            for (name, _) in self.traceable(sources).into_iter().flatten().filter(|(_, module)| module.is_none()) {
                if name == last {
                    shared.insert(name.to_vec());
                }
                last = name;
            }
            shared
        });
        shared.contains(name.as_bytes())
    }

    /// Whether the list has been made: what it says then costs nothing.
    pub fn is_listed(&self) -> bool {
        self.list.get().is_some()
    }

    /// The addresses of the functions with this name that are not in a module; none if the kernel hides addresses.
    pub fn places_of(&self, name: &str) -> Vec<u64> {
        let mut found = Vec::new();
        let read = kallsyms::each(&mut |line| {
            if line.is_function() && line.symbol == name.as_bytes() {
                found.extend(line.address().filter(|a| *a != 0));
            }
            ControlFlow::Continue(())
        });
        found.sort_unstable();
        if read.is_ok() { found } else { Vec::new() }
    }

    /// A function that ftrace does not reach: kprobes may go there all the same.
    fn in_kallsyms(&self, name: &str, module: Option<&Glob<'_>>) -> Result<Option<FunctionName>, KernelError> {
        let mut found = None;
        kallsyms::each(&mut |line| {
            if line.is_function()
                && line.name() == name.as_bytes()
                && module.is_none_or(|m| m.matches(line.module().unwrap_or(b"vmlinux")))
            {
                let module = line.module().map(|m| String::from_utf8_lossy(m).into_owned());
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
        let read = kallsyms::each(&mut |line| {
            if line.name() != name.as_bytes() {
                return ControlFlow::Continue(());
            }
            address = line.address();
            ControlFlow::Break(())
        });
        let address = address.filter(|a| *a != 0 && read.is_ok());
        self.addresses.borrow_mut().insert(name.to_owned(), address);
        address
    }

    /// The kernel symbol, function or variable, spelt nearest to one that is not there.
    pub fn nearest_symbol(&self, name: &str) -> Option<String> {
        let mut best = Nearest::new(name);
        kallsyms::each(&mut |line| {
            best.offer(line.name());
            ControlFlow::Continue(())
        })
        .ok()?;
        // A symbol whose address is hidden is no news.
        best.take().filter(|near| near != name)
    }

    /// The name here of a function that cannot be found: its name on this kernel, its name with the compiler's suffix
    /// (`.isra.0`, `.constprop.0`), or one spelt nearly so. Reads the list of all functions.
    pub fn nearest(&self, sources: Sources<'_>, name: &str) -> Option<String> {
        // Of the names that this kernel has, the newest.
        let renames = renamed::names(name);
        let mut renamed: Option<(usize, String)> = None;
        let mut variant: Option<String> = None;
        let mut best = Nearest::new(name);
        for (candidate, _) in self.traceable(sources).ok()? {
            if let Some(rank) = renames.iter().position(|r| *r != name && r.as_bytes() == candidate) {
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
        }
        if let Some((_, name)) = renamed {
            return Some(name);
        }
        variant.or_else(|| best.take())
    }
}

/// Whether a module is loaded, or built in with something to tell.
pub fn has_module(module: &str) -> bool {
    std::path::Path::new("/sys/module").join(module.replace('-', "_")).is_dir()
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
    }

    #[test]
    fn names_that_patterns_leave_out() {
        assert!(is_left_out(b"__ftrace_invalid_address___60"));
        assert!(is_left_out(b"__clk_lookup_subtree.part.0.isra.0"));
        assert!(is_left_out(b"rcu_core") && is_left_out(b"default_idle") && is_left_out(b"bpf_dispatcher_xdp_func"));
        assert!(!is_left_out(b"partition_sched_domains") && !is_left_out(b"bpf_dispatcher_prepare"));
    }

    #[test]
    fn the_list_is_sorted_without_what_cannot_be_probed() {
        let text = b"vfs_read\nsame [zz]\n__ftrace_invalid_address___60\nsame\nsame.isra.0\nsame [aa]\nsame\n\n\
            a_name_longer_than_sixteen_b\na_name_longer_than_sixteen_a\nget_stack\nget_stack_info\nx.cold\n";
        let blacklist = b"0x1-0x2\tget_stack\n0x2-0x3\ta_missing_one\n0x3-0x4\tzz\nnonsense\n";
        assert_eq!(
            String::from_utf8(make_list(text, blacklist)).as_deref(),
            Ok("a_name_longer_than_sixteen_a\na_name_longer_than_sixteen_b\nget_stack_info\n\
                same\nsame\nsame\taa\nsame\tzz\nsame.isra.0\nvfs_read\n")
        );
        assert_eq!(make_list(b"", b""), b"");
    }

    #[test]
    fn answers_come_from_the_list() {
        let functions = Functions::default();
        let list = b"dummy_xmit\tdummy\nsame\nsame\taa\ntwice\ntwice\nvfs_copy.isra.0\nvfs_read\nvfs_reae\n".to_vec();
        assert!(functions.list.set(Ok(list)).is_ok());
        let (tracefs, btf) = (Tracefs::default(), btf::Facts::default());
        let sources = Sources { tracefs: &tracefs, btf: &btf };
        let found = |module, pattern| {
            let found = functions.matching(sources, module, pattern).expect("a list");
            found.into_iter().map(|f| (f.name, f.module)).collect::<Vec<_>>()
        };
        let pair = |name: &str, module: Option<&str>| (name.to_owned(), module.map(str::to_owned));
        assert_eq!(found(None, "s*"), [pair("same", None), pair("same", Some("aa"))]);
        assert_eq!(found(Some("dummy"), "*"), [pair("dummy_xmit", Some("dummy"))]);
        assert_eq!(found(None, "v*opy"), [pair("vfs_copy.isra.0", None)], "by the name in the source");
        assert_eq!(found(None, "vfs_copy"), [pair("vfs_copy.isra.0", None)], "what is left of it");
        assert_eq!(found(Some("vmlinux"), "*m*"), [pair("same", None)]);
        assert_eq!(found(Some("aa"), "same"), [pair("same", Some("aa"))]);
        assert!(functions.shares_name(sources, "twice"));
        assert!(!functions.shares_name(sources, "same"));
        assert_eq!(found(None, "tw*"), [pair("twice", None)]);
        assert_eq!(functions.nearest(sources, "vfs_reaf").as_deref(), Some("vfs_read"));
    }
}
