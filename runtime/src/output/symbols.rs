//! Addresses as symbols: `ksym`, `usym` and the lines of stacks.
//!
//! Kernel addresses go through [`Kallsyms`]. Where debug information of the running kernel is installed
//! and wanted, and for addresses of processes, blazesym also knows source lines and inlined functions.
//! Nothing is opened before the first address, and what a process's address was found to be is kept,
//! since the same frames return in most stacks.
//!
//! All frames of a stack but the first are return addresses. The call lies before them, so that is
//! where a symbol is looked up; the offset printed is that of the address itself.

use super::kallsyms::Kallsyms;
use super::number::{self, Int};
use blazesym::symbolize::source::{Kernel, Process, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer, cache};
use blazesym::{MaybeDefault, Pid};
use rtrace_lang::bundle::Config;
use rtrace_lang::types::StackMode;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Blanks before a frame.
const INDENT: &[u8] = b"        ";
/// Frames of processes that are kept.
const KEPT: usize = 1 << 16;

/// The lines that one frame prints as: inlined functions first, the function last.
type Lines = Vec<Vec<u8>>;

/// What a frame's lines depend on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Frame {
    process: u32,
    address: u64,
    /// Whether it is a return address.
    returns: bool,
    perf: bool,
}

#[derive(Default)]
pub struct Symbols {
    kernel: Option<Kallsyms>,
    /// Debug information of the kernel, once looked for.
    vmlinux: Option<Option<PathBuf>>,
    symbolizer: Option<Symbolizer>,
    frames: HashMap<Frame, Lines>,
}

impl Symbols {
    /// Appends the name of a kernel function, without an offset.
    pub fn kernel(&mut self, out: &mut Vec<u8>, address: u64) {
        match self.kallsyms().find(address) {
            Some((name, _)) => out.extend_from_slice(name),
            None => plain(out, address),
        }
    }

    /// Appends the name of a process's function, without an offset.
    pub fn user(&mut self, out: &mut Vec<u8>, config: &Config, process: u32, address: u64) {
        let symbolizer = self.symbolizer.get_or_insert_with(|| symbolizer(config));
        match user_symbol(symbolizer, process, address, false) {
            Some(sym) => out.extend_from_slice(sym.name.as_bytes()),
            None => plain(out, address),
        }
    }

    /// Appends the frames of a stack, a line or more each; without a process they are the kernel's.
    pub fn stack(&mut self, out: &mut Vec<u8>, config: &Config, process: Option<u32>, frames: &[u64], mode: StackMode) {
        let perf = mode == StackMode::Perf;
        for (i, address) in frames.iter().enumerate() {
            let begin = |out: &mut Vec<u8>| {
                if perf {
                    out.push(b'\t');
                    number::digits(out, *address, 16, false, 1);
                    out.push(b' ');
                } else {
                    out.extend_from_slice(INDENT);
                }
            };
            let frame = Frame { process: process.unwrap_or(0), address: *address, returns: i > 0, perf };
            if process.is_none() && self.vmlinux(config).is_none() {
                begin(out);
                self.kernel_frame(out, frame);
                out.push(b'\n');
                continue;
            }
            for line in self.lines(config, process.is_some(), frame) {
                begin(out);
                out.extend_from_slice(line);
                out.push(b'\n');
            }
        }
    }

    /// Reads what is mapped into a process now, so that its addresses find symbols after it is gone.
    pub fn remember(&mut self, config: &Config, process: u32) {
        let symbolizer = self.symbolizer.get_or_insert_with(|| symbolizer(config));
        // A process that is gone already leaves plain addresses.
        let _ = symbolizer.cache(&cache::Cache::from(cache::Process::new(Pid::from(process))));
    }

    fn kallsyms(&mut self) -> &mut Kallsyms {
        self.kernel.get_or_insert_with(|| Kallsyms::open(Path::new("/proc/kallsyms")))
    }

    fn kernel_frame(&mut self, out: &mut Vec<u8>, frame: Frame) {
        match self.kallsyms().find(frame.address.wrapping_sub(u64::from(frame.returns))) {
            Some((name, start)) => {
                out.extend_from_slice(name);
                offset(out, frame.address.wrapping_sub(start));
            }
            None => plain(out, frame.address),
        }
    }

    /// A kernel image with debug information, in the places where distributions put it.
    fn vmlinux(&mut self, config: &Config) -> Option<&PathBuf> {
        if !config.show_debug_info {
            return None;
        }
        let found = self.vmlinux.get_or_insert_with(|| {
            let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            let release = release.trim();
            [
                format!("/usr/lib/debug/boot/vmlinux-{release}"),
                format!("/usr/lib/debug/lib/modules/{release}/vmlinux"),
                format!("/usr/lib/debug/boot/vmlinux-{release}.debug"),
                format!("/lib/modules/{release}/build/vmlinux"),
                format!("/boot/vmlinux-{release}"),
            ]
            .into_iter()
            .map(PathBuf::from)
            .find(|p| p.is_file())
        });
        found.as_ref()
    }

    fn lines(&mut self, config: &Config, user: bool, frame: Frame) -> &Lines {
        if self.frames.len() >= KEPT {
            self.frames.clear();
        }
        if !self.frames.contains_key(&frame) {
            let lines = self.symbolize(config, user, frame);
            self.frames.insert(frame, lines);
        }
        self.frames.entry(frame).or_default()
    }

    fn symbolize(&mut self, config: &Config, user: bool, frame: Frame) -> Lines {
        let vmlinux = if user { None } else { self.vmlinux(config).cloned() };
        let symbolizer = self.symbolizer.get_or_insert_with(|| symbolizer(config));
        let found = match vmlinux {
            None => user_symbol(symbolizer, frame.process, frame.address, frame.returns),
            Some(path) => {
                let kernel = Kernel { vmlinux: MaybeDefault::Some(path), ..Kernel::default() };
                let address = frame.address.wrapping_sub(u64::from(frame.returns));
                one(symbolizer, &Source::Kernel(kernel), address)
            }
        };
        if let Some(sym) = found {
            return describe(&sym, user, frame);
        }
        let mut line = Vec::new();
        if user {
            plain(&mut line, frame.address);
            if frame.perf {
                line.extend_from_slice(b" ([unknown])");
            }
        } else {
            self.kernel_frame(&mut line, frame);
        }
        vec![line]
    }
}

fn symbolizer(config: &Config) -> Symbolizer {
    Symbolizer::builder()
        .enable_code_info(config.show_debug_info)
        .enable_inlined_fns(config.show_debug_info)
        .enable_demangling(config.cpp_demangle)
        .enable_auto_reload(false)
        .build()
}

fn user_symbol(symbolizer: &Symbolizer, process: u32, address: u64, returns: bool) -> Option<Sym<'_>> {
    let address = address.wrapping_sub(u64::from(returns));
    let mut source = Process::new(Pid::from(process));
    if let Some(sym) = one(symbolizer, &Source::Process(source.clone()), address) {
        return Some(sym);
    }
    // The files of a process that is gone, if its mappings were remembered, are found by their paths.
    if Path::new(&format!("/proc/{process}")).exists() {
        return None;
    }
    source.map_files = false;
    one(symbolizer, &Source::Process(source), address)
}

fn one<'s>(symbolizer: &'s Symbolizer, source: &Source<'_>, address: u64) -> Option<Sym<'s>> {
    match symbolizer.symbolize_single(source, Input::AbsAddr(address)).ok()? {
        Symbolized::Sym(sym) => Some(sym),
        Symbolized::Unknown(_) => None,
    }
}

fn describe(sym: &Sym<'_>, user: bool, frame: Frame) -> Lines {
    let mut lines = Vec::with_capacity(sym.inlined.len() + 1);
    for inlined in sym.inlined.iter().rev() {
        let mut line = if frame.perf { Vec::new() } else { b"[inlined] ".to_vec() };
        line.extend_from_slice(inlined.name.as_bytes());
        if frame.perf {
            line.extend_from_slice(b" (inlined)");
        } else {
            place(&mut line, inlined.code_info.as_ref());
        }
        lines.push(line);
    }
    let mut line = sym.name.as_bytes().to_vec();
    offset(&mut line, (sym.offset as u64).wrapping_add(u64::from(frame.returns)));
    if !frame.perf {
        place(&mut line, sym.code_info.as_deref());
    } else if user {
        let module = sym.module.as_ref().map_or(&b"[unknown]"[..], |m| m.as_bytes());
        line.extend_from_slice(b" (");
        line.extend_from_slice(module);
        line.push(b')');
    }
    lines.push(line);
    lines
}

fn place(line: &mut Vec<u8>, code: Option<&CodeInfo<'_>>) {
    if let Some(code) = code {
        line.push(b'@');
        line.extend_from_slice(code.to_path().as_os_str().as_bytes());
        line.push(b':');
        number::decimal(line, Int::unsigned(u64::from(code.line.unwrap_or(0))));
    }
}

fn offset(out: &mut Vec<u8>, offset: u64) {
    out.push(b'+');
    number::decimal(out, Int::unsigned(offset));
}

/// An address without a symbol.
fn plain(out: &mut Vec<u8>, address: u64) {
    if address == 0 {
        out.push(b'0');
    } else {
        number::hex(out, address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { ringbuf_bytes: 4096, max_map_keys: 16, ..Config::default() }
    }

    #[inline(never)]
    #[unsafe(no_mangle)]
    extern "C" fn rtrace_symbols_test_function() -> u64 {
        std::hint::black_box(42)
    }

    fn stack(process: u32, frames: &[u64], mode: StackMode) -> String {
        let mut out = Vec::new();
        Symbols::default().stack(&mut out, &config(), Some(process), frames, mode);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn functions_of_a_process_are_named() {
        let address = rtrace_symbols_test_function as *const () as usize as u64;
        let mut out = Vec::new();
        Symbols::default().user(&mut out, &config(), std::process::id(), address);
        assert_eq!(String::from_utf8(out).unwrap(), "rtrace_symbols_test_function");
        let text = stack(std::process::id(), &[address, address + 1], StackMode::Bpftrace);
        assert_eq!(text, "        rtrace_symbols_test_function+0\n        rtrace_symbols_test_function+1\n");
        let text = stack(std::process::id(), &[address + 2], StackMode::Perf);
        let exe = std::env::current_exe().unwrap();
        assert_eq!(text, format!("\t{:x} rtrace_symbols_test_function+2 ({})\n", address + 2, exe.display()));
    }

    /// Only a debug build of this test has the information.
    #[cfg(debug_assertions)]
    #[test]
    fn source_lines_come_from_debug_information() {
        let address = rtrace_symbols_test_function as *const () as usize as u64;
        let mut out = Vec::new();
        let config = Config { show_debug_info: true, ..config() };
        Symbols::default().stack(&mut out, &config, Some(std::process::id()), &[address], StackMode::Bpftrace);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("rtrace_symbols_test_function+0@") && text.contains("symbols.rs:"), "{text}");
    }

    #[test]
    fn addresses_of_no_process_stay_addresses() {
        assert_eq!(stack(u32::MAX - 1, &[0x1234, 0], StackMode::Bpftrace), "        0x1234\n        0\n");
        assert_eq!(stack(u32::MAX - 1, &[0x1234], StackMode::Perf), "\t1234 0x1234 ([unknown])\n");
        let mut out = Vec::new();
        Symbols::default().user(&mut out, &config(), 0, 0x1234);
        assert_eq!(out, b"0x1234");
    }

    #[test]
    fn kernel_addresses_have_names_if_one_may_see_them() {
        let mut symbols = Symbols::default();
        let mut out = Vec::new();
        symbols.kernel(&mut out, 0);
        assert_eq!(out, b"0");
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let Some(line) = text.lines().find(|l| l.ends_with(" T vfs_read")) else { return };
        let address = u64::from_str_radix(&line[..16], 16).unwrap();
        if address == 0 {
            return;
        }
        let mut out = Vec::new();
        symbols.stack(&mut out, &config(), None, &[address + 5, address + 9], StackMode::Bpftrace);
        assert_eq!(String::from_utf8(out).unwrap(), "        vfs_read+5\n        vfs_read+9\n");
    }
}
