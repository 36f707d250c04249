//! Addresses as symbols: `ksym`, `usym` and the lines of stacks.
//!
//! Kernel addresses go through [`Kallsyms`], those of processes through [`Binaries`] and [`PerfMaps`]. Where debug
//! information is installed and wanted, blazesym also knows source lines and inlined functions.
//! Nothing is opened before the first address, and what a process's address was found to be is kept,
//! since the same frames return in most stacks.
//!
//! All frames of a stack but the first are return addresses. The call lies before them, so that is
//! where a symbol is looked up; the offset printed is that of the address itself.

use crate::binaries::Binaries;
use crate::kallsyms::Kallsyms;
use crate::perf_maps::PerfMaps;
use crate::processes::Processes;
use crate::reader::{self, Code, Symbol};
use crate::vmlinux;
use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolizer};
use rtrace_core::bundle::Config;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Blanks before a frame.
const INDENT: &[u8] = b"        ";
/// Frames that are kept.
const KEPT: usize = 1 << 16;

/// The lines that one frame prints as: inlined functions first, the function last.
type Lines = Vec<Vec<u8>>;

/// The location of an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Kernel(u64),
    /// A file by its number here, and the offset in it: the same for all processes.
    File(usize, u64),
    /// The kernel's own code in every process.
    Vdso(u64),
    /// Elsewhere: code made at run time, or a process of which nothing is known. Between the process and the address
    /// how often the names of such code were changed.
    Process(u32, u32, u64),
}

/// The key of a frame's lines. It does not contain the address, which differs in each process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Frame {
    place: Place,
    /// Whether it is a return address.
    returns: bool,
    style: Style,
}

/// How the frames of a stack are written.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// `        name+offset`
    Bpftrace,
    /// `\taddress name+offset (file)`
    Perf,
    /// Only `name`, or the file in brackets.
    Names,
}

#[derive(Default)]
pub struct Symbols {
    kernel: Option<Kallsyms>,
    /// Debug information of the kernel, once looked for.
    vmlinux: Option<Option<PathBuf>>,
    debug: Option<Symbolizer>,
    /// None: no symbol.
    frames: HashMap<Frame, Option<Lines>>,
    names: HashMap<Place, Option<Vec<u8>>>,
    processes: Processes,
    binaries: Binaries,
    perf_maps: PerfMaps,
    /// Warnings that are not reported yet.
    complaints: Vec<String>,
    /// Whether it was said that the kernel hides its symbols, and that processes may not be read.
    complained: bool,
    complained_of_processes: bool,
}

impl Symbols {
    /// Appends the name of a kernel function, without an offset.
    pub fn kernel(&mut self, out: &mut Vec<u8>, address: u64) {
        match self.kallsyms().find(address) {
            Some((name, _)) => out.extend_from_slice(name),
            None => {
                plain(out, address);
                self.complain_if_hidden();
            }
        }
    }

    /// Appends the name of a process's function, without an offset.
    pub fn user(&mut self, out: &mut Vec<u8>, config: &Config, process: u32, address: u64) {
        let place = self.place(process, address);
        if self.names.len() >= KEPT {
            self.names.clear();
        }
        if !self.names.contains_key(&place) && self.is_readable(place) {
            let name = self.user_symbol(config, place).map(|symbol| symbol.name);
            self.names.insert(place, name);
        }
        match self.names.get(&place) {
            Some(Some(name)) => out.extend_from_slice(name),
            _ => plain(out, address),
        }
    }

    /// Appends the frames of a stack, a line or more each; without a process they are the kernel's.
    pub fn stack(&mut self, out: &mut Vec<u8>, config: &Config, process: Option<u32>, frames: &[u64], style: Style) {
        for (i, address) in frames.iter().enumerate() {
            let begin = |out: &mut Vec<u8>| match style {
                Style::Perf => {
                    out.push(b'\t');
                    let _ = write!(out, "{address:x}");
                    out.push(b' ');
                }
                Style::Bpftrace => out.extend_from_slice(INDENT),
                Style::Names => {}
            };
            let returns = i > 0;
            // The place of the call, not of what follows it: that may be another function.
            let code = address.wrapping_sub(u64::from(returns));
            let place = process.map_or(Place::Kernel(code), |p| self.place(p, code));
            if (process.is_some() || self.vmlinux(config).is_some())
                && let Some(lines) = self.lines(config, Frame { place, returns, style })
            {
                for line in lines {
                    begin(out);
                    out.extend_from_slice(line);
                    out.push(b'\n');
                }
                continue;
            }
            begin(out);
            match (process, style) {
                (None, _) => self.kernel_frame(out, *address, returns, style),
                (Some(_), Style::Names) => self.unnamed(out, place),
                (Some(_), _) => {
                    plain(out, *address);
                    out.extend_from_slice(if style == Style::Perf { b" ([unknown])" } else { b"" });
                }
            }
            out.push(b'\n');
        }
    }

    /// Follows what processes map from now on, so that their addresses find symbols after they are gone. Without the
    /// privileges for that, a process is asked when its first address is printed.
    pub fn watch(&mut self) {
        if let Err(e) = self.processes.watch() {
            self.complaints.push(format!(
                "cannot follow processes on all CPUs ({e}); addresses of those that have ended may be printed as numbers"
            ));
        }
    }

    /// Readable when [`Symbols::update`] has work to do.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.processes.fds()
    }

    pub fn update(&mut self) {
        self.processes.update();
    }

    /// Sentences for the user, each once.
    pub fn complaints(&mut self) -> Vec<String> {
        let mut all = std::mem::take(&mut self.complaints);
        all.append(&mut self.binaries.complaints);
        all.append(&mut self.perf_maps.complaints);
        all
    }

    /// How many events about processes were lost.
    pub fn lost(&self) -> u64 {
        self.processes.lost()
    }

    /// Says, once, that a process keeps its mappings from us.
    fn complain_if_refused(&mut self) {
        if !self.complained_of_processes && self.processes.refused() {
            self.complained_of_processes = true;
            self.complaints.push(
                "cannot read the memory maps of other users' processes without CAP_SYS_PTRACE: their addresses are printed as numbers"
                    .to_owned(),
            );
        }
    }

    /// Says, once, that the kernel keeps its addresses to itself.
    fn complain_if_hidden(&mut self) {
        if self.complained || !self.kernel.as_ref().is_some_and(Kallsyms::is_hidden) {
            return;
        }
        self.complained = true;
        let level = std::fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default();
        let reason = match level.trim() {
            "2" => "kernel.kptr_restrict is 2: `sysctl kernel.kptr_restrict=1` shows them to privileged users",
            _ => "/proc/kallsyms requires root or CAP_SYSLOG",
        };
        self.complaints
            .push(format!("kernel addresses are printed as numbers because the kernel hides its symbols; {reason}"));
    }

    /// The location of an address of a process.
    fn place(&mut self, process: u32, address: u64) -> Place {
        let Some(mapping) = self.processes.find(process, address) else {
            self.complain_if_refused();
            return Place::Process(process, self.perf_maps.version(process), address);
        };
        let offset = (address - mapping.start).wrapping_add(mapping.offset);
        if mapping.file.inode == 0 {
            return if *mapping.file.path == *Path::new("[vdso]") {
                Place::Vdso(offset)
            } else {
                Place::Process(process, self.perf_maps.version(process), address)
            };
        }
        if self.binaries.are_many() {
            let before = std::mem::take(&mut self.binaries);
            self.complaints.extend(before.complaints);
            self.frames.clear();
            self.names.clear();
        }
        let kept = self.processes.kept(&mapping.file);
        Place::File(self.binaries.number(process, &mapping, kept), offset)
    }

    fn kallsyms(&mut self) -> &mut Kallsyms {
        self.kernel.get_or_insert_with(|| Kallsyms::open(Path::new("/proc/kallsyms")))
    }

    /// Appends what an address without a symbol lies in: addresses would make a frame of each.
    fn unnamed(&self, out: &mut Vec<u8>, place: Place) {
        let path = match place {
            Place::File(number, _) => self.binaries.file(number).map(|file| &*file.path),
            Place::Vdso(_) => Some(Path::new("vdso")),
            Place::Kernel(_) | Place::Process(..) => None,
        };
        out.push(b'[');
        out.extend_from_slice(path.and_then(Path::file_name).map_or(b"unknown", OsStr::as_bytes));
        out.push(b']');
    }

    fn kernel_frame(&mut self, out: &mut Vec<u8>, address: u64, returns: bool, style: Style) {
        match self.kallsyms().find(address.wrapping_sub(u64::from(returns))) {
            Some((name, start)) => {
                out.extend_from_slice(name);
                if style != Style::Names {
                    offset(out, address.wrapping_sub(start));
                }
            }
            None => {
                match style {
                    Style::Names => out.extend_from_slice(b"[unknown]"),
                    _ => plain(out, address),
                }
                self.complain_if_hidden();
            }
        }
    }

    /// A kernel image with debug information, if that is wanted.
    fn vmlinux(&mut self, config: &Config) -> Option<&PathBuf> {
        if !config.show_debug_info {
            return None;
        }
        self.vmlinux.get_or_insert_with(vmlinux::find).as_ref()
    }

    /// The lines of a frame; none without a symbol.
    fn lines(&mut self, config: &Config, frame: Frame) -> Option<&Lines> {
        if self.frames.len() >= KEPT {
            self.frames.clear();
        }
        if !self.frames.contains_key(&frame) {
            if !self.is_readable(frame.place) {
                return None;
            }
            let lines = self.symbolize(config, frame);
            self.frames.insert(frame, lines);
        }
        self.frames.get(&frame)?.as_ref()
    }

    /// Whether what is found of a place will stay so; to a file, another process may lead.
    fn is_readable(&self, place: Place) -> bool {
        match place {
            Place::File(number, _) => self.binaries.is_open(number),
            _ => true,
        }
    }

    fn symbolize(&mut self, config: &Config, frame: Frame) -> Option<Lines> {
        if let Place::Kernel(address) = frame.place {
            let vmlinux = self.vmlinux(config).cloned();
            let kernel =
                Kernel { vmlinux: vmlinux.map_or(MaybeDefault::None, MaybeDefault::Some), ..Kernel::default() };
            let symbolizer = self.debug.get_or_insert_with(|| reader::symbolizer(config));
            let sym = reader::one(symbolizer, &Source::Kernel(kernel), Input::AbsAddr(address), config)?;
            return Some(describe(&sym, None, frame));
        }
        let file = match frame.place {
            Place::File(number, _) => self.binaries.file(number).cloned(),
            _ => None,
        };
        let known = match (frame.place, &file) {
            (Place::Vdso(_), _) => Some(Path::new("[vdso]")),
            (_, file) => file.as_ref().map(|f| &*f.path),
        };
        let sym = self.user_symbol(config, frame.place)?;
        let module = known.map_or(&b"[unknown]"[..], |known| known.as_os_str().as_bytes());
        Some(describe(&sym, Some(module), frame))
    }

    fn user_symbol(&mut self, config: &Config, place: Place) -> Option<Symbol> {
        match place {
            Place::File(number, offset) => self.binaries.symbol(config, number, offset),
            Place::Process(process, _, address) => self.perf_maps.symbol(config, process, address),
            Place::Vdso(offset) => {
                let own = std::process::id();
                let address = self.processes.named(own, "[vdso]")?.start.wrapping_add(offset);
                self.binaries.vdso(config, address)
            }
            Place::Kernel(_) => None,
        }
    }
}

/// The lines of a frame; one of a process has a module.
fn describe(sym: &Symbol, module: Option<&[u8]>, frame: Frame) -> Lines {
    let mut lines = Vec::with_capacity(sym.inlined.len() + 1);
    for (name, code) in sym.inlined.iter().rev() {
        let mut line = if frame.style == Style::Bpftrace { b"[inlined] ".to_vec() } else { Vec::new() };
        line.extend_from_slice(name);
        match frame.style {
            Style::Bpftrace => place(&mut line, code.as_ref()),
            Style::Perf => line.extend_from_slice(b" (inlined)"),
            Style::Names => {}
        }
        lines.push(line);
    }
    let mut line = sym.name.clone();
    if frame.style != Style::Names {
        offset(&mut line, sym.offset.wrapping_add(u64::from(frame.returns)));
    }
    match (frame.style, module) {
        (Style::Bpftrace, _) => place(&mut line, sym.code.as_ref()),
        (Style::Perf, Some(module)) => {
            line.extend_from_slice(b" (");
            line.extend_from_slice(module);
            line.push(b')');
        }
        (Style::Perf, None) | (Style::Names, _) => {}
    }
    lines.push(line);
    lines
}

fn place(line: &mut Vec<u8>, code: Option<&Code>) {
    if let Some(code) = code {
        line.push(b'@');
        line.extend_from_slice(&code.path);
        line.push(b':');
        let _ = write!(line, "{}", code.line);
    }
}

fn offset(out: &mut Vec<u8>, offset: u64) {
    // Writing to memory does not fail.
    let _ = write!(out, "+{offset}");
}

/// An address without a symbol.
fn plain(out: &mut Vec<u8>, address: u64) {
    if address == 0 {
        out.push(b'0');
    } else {
        let _ = write!(out, "{address:#x}");
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

    fn stack(process: u32, frames: &[u64], style: Style) -> String {
        let mut out = Vec::new();
        Symbols::default().stack(&mut out, &config(), Some(process), frames, style);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn functions_of_a_process_are_named() {
        let address = rtrace_symbols_test_function as *const () as usize as u64;
        let mut out = Vec::new();
        Symbols::default().user(&mut out, &config(), std::process::id(), address);
        assert_eq!(String::from_utf8(out).unwrap(), "rtrace_symbols_test_function");
        let text = stack(std::process::id(), &[address, address + 1], Style::Bpftrace);
        assert_eq!(text, "        rtrace_symbols_test_function+0\n        rtrace_symbols_test_function+1\n");
        let text = stack(std::process::id(), &[address + 2], Style::Perf);
        assert_eq!(
            stack(std::process::id(), &[address, address + 1], Style::Names),
            "rtrace_symbols_test_function\n".repeat(2)
        );
        let exe = std::env::current_exe().unwrap();
        assert_eq!(text, format!("\t{:x} rtrace_symbols_test_function+2 ({})\n", address + 2, exe.display()));
    }

    /// A compiler at run time writes their names when it makes them.
    #[test]
    fn functions_made_at_run_time_are_named_once_they_have_names() {
        let code = memmap2::MmapMut::map_anon(4096).unwrap().make_exec().unwrap();
        let address = code.as_ptr() as u64;
        let process = std::process::id();
        let path = format!("/tmp/perf-{process}.map");
        let mut symbols = Symbols::default();
        let mut show = |address| {
            let mut out = Vec::new();
            symbols.stack(&mut out, &config(), Some(process), &[address], Style::Bpftrace);
            String::from_utf8(out).unwrap()
        };
        let mut named = |address, name: &str| {
            (0..100).any(|_| {
                std::thread::sleep(std::time::Duration::from_millis(50));
                show(address).trim() == name
            })
        };
        assert!(named(address + 4, &format!("{:#x}", address + 4)));
        std::fs::write(&path, format!("{address:x} 10 first\n")).unwrap();
        let first = named(address + 4, "first+4");
        std::fs::write(&path, format!("{address:x} 10 first\n{:x} 10 second\n", address + 16)).unwrap();
        let second = named(address + 17, "second+1");
        std::fs::remove_file(&path).unwrap();
        assert!(first && second);
        // The map is gone, as with its process; what it said is known.
        assert!(named(address + 18, "second+2"));
    }

    /// Only a debug build of this test has the information.
    #[cfg(debug_assertions)]
    #[test]
    fn source_lines_come_from_debug_information() {
        let address = rtrace_symbols_test_function as *const () as usize as u64;
        let mut out = Vec::new();
        let config = Config { show_debug_info: true, ..config() };
        Symbols::default().stack(&mut out, &config, Some(std::process::id()), &[address], Style::Bpftrace);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("rtrace_symbols_test_function+0@") && text.contains("addresses.rs:"), "{text}");
    }

    #[test]
    fn addresses_of_no_process_stay_addresses() {
        assert_eq!(stack(u32::MAX - 1, &[0x1234, 0], Style::Bpftrace), "        0x1234\n        0\n");
        assert_eq!(stack(u32::MAX - 1, &[0x1234], Style::Names), "[unknown]\n");
        assert_eq!(stack(u32::MAX - 1, &[0x1234], Style::Perf), "\t1234 0x1234 ([unknown])\n");
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
        symbols.stack(&mut out, &config(), None, &[address + 5, address + 9], Style::Bpftrace);
        assert_eq!(String::from_utf8(out).unwrap(), "        vfs_read+5\n        vfs_read+9\n");
    }
}
