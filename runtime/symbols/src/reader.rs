//! Symbols of programs and libraries, read by a child ([`rtrace_sys::worker`]): who is traced may hand over files that
//! take for ever to read, unpack to gigabytes, or are cut while they are read, which ends who has them mapped. Then the
//! child ends, and we go on.

use crate::demangle::demangled;
use crate::foreign;
use crate::{debug_file, mini, user};
use blazesym::Pid;
use blazesym::symbolize::source::{Elf, Process, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use rtrace_core::bundle::Config;
use rtrace_core::uapi::cap;
use rtrace_sys as sys;
use rtrace_sys::files::memfd;
use rtrace_sys::worker::{self, Failure, Worker};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// The capabilities that the child needs to read files of other users' processes.
const CAPABILITIES: u64 = 1 << cap::DAC_READ_SEARCH | 1 << cap::SYS_PTRACE | 1 << cap::CHECKPOINT_RESTORE;
/// An answer that takes longer counts against the time of its file.
const SLOW: Duration = Duration::from_millis(100);

/// The result of looking up an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    pub name: Vec<u8>,
    /// How far from the beginning of the function.
    pub offset: u64,
    pub code: Option<Code>,
    /// Functions that are inlined there, the outermost first.
    pub inlined: Vec<(Vec<u8>, Option<Code>)>,
}

/// File and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    pub path: Vec<u8>,
    pub line: u32,
}

impl From<&CodeInfo<'_>> for Code {
    fn from(code: &CodeInfo<'_>) -> Code {
        Code { path: code.to_path().as_os_str().as_bytes().to_vec(), line: code.line.unwrap_or(0) }
    }
}

impl Symbol {
    fn new(sym: &Sym<'_>, config: &Config) -> Symbol {
        let inlined = sym.inlined.iter();
        Symbol {
            name: shown(sym.name.as_bytes(), config),
            offset: sym.offset as u64,
            code: sym.code_info.as_deref().map(Code::from),
            inlined: inlined
                .map(|f| (shown(f.name.as_bytes(), config), f.code_info.as_ref().map(Code::from)))
                .collect(),
        }
    }
}

/// A name as it is printed: as attach points and `func` have it, or as the symbol is.
pub fn shown(name: &[u8], config: &Config) -> Vec<u8> {
    let plain = if config.cpp_demangle { std::str::from_utf8(name).ok().and_then(demangled) } else { None };
    plain.map_or_else(|| name.to_vec(), String::into_bytes)
}

pub fn symbolizer(config: &Config) -> Symbolizer {
    Symbolizer::builder()
        .enable_code_info(config.show_debug_info)
        .enable_inlined_fns(config.show_debug_info)
        .enable_demangling(false)
        .enable_auto_reload(false)
        .build()
}

pub fn one(symbolizer: &Symbolizer, source: &Source<'_>, input: Input<u64>, config: &Config) -> Option<Symbol> {
    found(symbolizer, source, input).map(|sym| Symbol::new(&sym, config))
}

fn found<'s>(symbolizer: &'s Symbolizer, source: &Source<'_>, input: Input<u64>) -> Option<Sym<'s>> {
    match symbolizer.symbolize_single(source, input).ok()? {
        Symbolized::Sym(sym) => Some(sym),
        Symbolized::Unknown(_) => None,
    }
}

/// A query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// An offset in a file, which has a number. Whether debug information is read, too.
    File { number: u64, offset: u64, debug: bool, path: &'a Path },
    /// An address in the kernel's own code that all processes have mapped.
    Vdso { address: u64 },
    /// No answer: the file of this number is not needed any more.
    Close { number: u64 },
}

/// The child, once it is needed, and how long it kept us waiting.
#[derive(Default)]
pub struct Reader {
    worker: Option<Worker>,
    /// How many have ended.
    ended: u64,
    /// The time spent on slow answers since the user asked to end.
    after_end: Duration,
}

/// The reason why a query has no answer.
#[derive(Debug)]
pub enum NoAnswer {
    Failed(Failure),
    NoChild(io::Error),
}

impl NoAnswer {
    /// In words.
    pub fn explain(&self, config: &Config) -> String {
        match self {
            NoAnswer::Failed(Failure::Late) => {
                format!("reading its symbols takes longer than symbol_timeout, {} s", config.symbol_timeout)
            }
            NoAnswer::Failed(Failure::Interrupted) => "reading its symbols was interrupted".to_owned(),
            NoAnswer::Failed(Failure::Ended(Some(libc::SIGBUS))) => "it was truncated while it was read".to_owned(),
            NoAnswer::Failed(Failure::Ended(Some(libc::SIGABRT))) => {
                let most = config.max_symbol_memory;
                format!("reading its symbols needs more memory than max_symbol_memory, {most} MB, or it is corrupted")
            }
            NoAnswer::Failed(Failure::Ended(_)) => "it is corrupted".to_owned(),
            NoAnswer::NoChild(e) => format!("cannot start the process that reads symbols: {e}"),
        }
    }
}

impl Reader {
    /// The identity of the child, which remembers earlier queries.
    pub fn generation(&self) -> u64 {
        self.ended
    }

    /// Asks. What slow answers take is added to `spent`, and is as much as symbols may take for one file.
    pub fn ask(
        &mut self,
        config: &Config,
        question: Question<'_>,
        spent: &mut Duration,
    ) -> Result<Option<Symbol>, NoAnswer> {
        let most = Duration::from_secs(u64::from(config.symbol_timeout));
        let ends = sys::end_is_wished();
        let mut time = most.saturating_sub(*spent);
        if ends {
            time = time.min(most.saturating_sub(self.after_end));
        }
        if time.is_zero() {
            return Err(NoAnswer::Failed(Failure::Late));
        }
        let began = Instant::now();
        let result = self.worker(config)?.ask(&question.encode(), time);
        let took = Some(began.elapsed()).filter(|took| *took > SLOW).unwrap_or_default();
        *spent += took;
        if ends {
            self.after_end += took;
        }
        match result {
            Ok(answer) => Ok(decode(&answer)),
            Err(failure) => {
                self.give_up();
                Err(NoAnswer::Failed(failure))
            }
        }
    }

    /// Lets the child forget a file.
    pub fn close(&mut self, number: u64) {
        if let Some(worker) = &mut self.worker
            && worker.tell(&Question::Close { number }.encode()).is_err()
        {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.worker = None;
        self.ended += 1;
    }

    fn worker(&mut self, config: &Config) -> Result<&mut Worker, NoAnswer> {
        match &mut self.worker {
            Some(worker) => Ok(worker),
            none => {
                let memory = u64::from(config.max_symbol_memory) << 20;
                foreign::close();
                let new = Worker::start(memory, CAPABILITIES, |line| serve(line, config)).map_err(NoAnswer::NoChild)?;
                Ok(none.insert(new))
            }
        }
    }
}

/// A file that the child has open. It has a symbolizer of its own: one for all would take files of one path for the same.
struct Open {
    symbolizer: Symbolizer,
    /// Whether debug information is read.
    debug: bool,
    mini: Option<Mini>,
}

/// The symbols that a stripped file brings along in `.gnu_debugdata`: unpacked, in a file in memory.
struct Mini {
    file: std::fs::File,
    symbolizer: Symbolizer,
}

impl Mini {
    fn of(path: &Path, config: &Config) -> Option<Mini> {
        let path = path.to_str()?;
        let bytes = user::with_elf(path, |elf| mini::unpack(path, elf)).ok()??;
        let mut file = memfd(c"symbols").ok()?;
        file.write_all(&bytes).ok()?;
        Some(Mini { file, symbolizer: symbolizer(config) })
    }

    fn symbol(&self, address: u64) -> Option<Sym<'_>> {
        let path = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        found(&self.symbolizer, &Source::Elf(Elf::new(path)), Input::VirtOffset(address))
    }
}

impl Open {
    fn new(path: &Path, debug: bool, config: &Config) -> Open {
        let debug = debug && debug_file::links_are_harmless(path);
        Open { symbolizer: symbolizer(config), debug, mini: Mini::of(path, config) }
    }

    /// The symbol at an offset: of the tables that a file has, the one that begins last before it.
    fn symbol(&self, path: &Path, offset: u64, config: &Config) -> Option<Symbol> {
        let source = Elf { debug_syms: self.debug, ..Elf::new(path) };
        let own = found(&self.symbolizer, &Source::Elf(source), Input::FileOffset(offset));
        let other = self.mini.as_ref().and_then(|mini| {
            let address = user::address(path.to_str()?, offset).ok()??;
            mini.symbol(address)
        });
        [own, other].into_iter().flatten().max_by_key(|sym| sym.addr).map(|sym| Symbol::new(&sym, config))
    }
}

/// The child's work.
fn serve(mut line: UnixStream, config: &Config) {
    let mut files: HashMap<u64, Open> = HashMap::new();
    let vdso = symbolizer(config);
    while let Some(message) = worker::receive(&mut line) {
        let symbol = match Question::decode(&message) {
            Some(Question::File { number, offset, debug, path }) => {
                files.entry(number).or_insert_with(|| Open::new(path, debug, config)).symbol(path, offset, config)
            }
            Some(Question::Vdso { address }) => {
                let own = Process { map_files: false, perf_map: false, ..Process::new(Pid::Slf) };
                one(&vdso, &Source::Process(own), Input::AbsAddr(address), config)
            }
            Some(Question::Close { number }) => {
                files.remove(&number);
                continue;
            }
            None => None,
        };
        if worker::answer(&mut line, &encode(symbol.as_ref())).is_none() {
            return;
        }
    }
}

impl Question<'_> {
    fn encode(&self) -> Vec<u8> {
        let (kind, number, offset, path) = match self {
            Question::File { number, offset, debug: false, path } => (0u8, number, offset, path.as_os_str().as_bytes()),
            Question::File { number, offset, debug: true, path } => (1, number, offset, path.as_os_str().as_bytes()),
            Question::Vdso { address } => (2, &0, address, &[][..]),
            Question::Close { number } => (3, number, &0, &[][..]),
        };
        [&[kind][..], &number.to_ne_bytes(), &offset.to_ne_bytes(), path].concat()
    }

    fn decode(message: &[u8]) -> Option<Question<'_>> {
        let (kind, rest) = message.split_first()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (offset, path) = rest.split_first_chunk()?;
        let (number, offset) = (u64::from_ne_bytes(*number), u64::from_ne_bytes(*offset));
        match kind {
            0 | 1 => {
                let path = Path::new(OsStr::from_bytes(path));
                Some(Question::File { number, offset, debug: *kind == 1, path })
            }
            2 => Some(Question::Vdso { address: offset }),
            3 => Some(Question::Close { number }),
            _ => None,
        }
    }
}

/// A symbol as a message: each text with its length before it, nothing for none.
fn encode(symbol: Option<&Symbol>) -> Vec<u8> {
    let Some(symbol) = symbol else { return Vec::new() };
    let mut out = symbol.offset.to_ne_bytes().to_vec();
    let mut put = |name: &[u8], code: Option<&Code>| {
        let path = code.map_or(&[][..], |c| &c.path);
        for text in [name, path] {
            out.extend((text.len() as u32).to_ne_bytes());
            out.extend_from_slice(text);
        }
        out.extend(code.map_or(u32::MAX, |c| c.line).to_ne_bytes());
    };
    put(&symbol.name, symbol.code.as_ref());
    symbol.inlined.iter().for_each(|(name, code)| put(name, code.as_ref()));
    out
}

fn decode(message: &[u8]) -> Option<Symbol> {
    let (offset, mut rest) = message.split_first_chunk()?;
    let mut functions = Vec::new();
    while !rest.is_empty() {
        let mut number = || {
            let (word, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u32::from_ne_bytes(*word))
        };
        let length = number()? as usize;
        let (name, after) = rest.split_at_checked(length)?;
        rest = after;
        let (length, after) = rest.split_first_chunk()?;
        let (path, after) = after.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
        let (line, after) = after.split_first_chunk()?;
        rest = after;
        let line = u32::from_ne_bytes(*line);
        functions.push((name.to_vec(), (line != u32::MAX).then(|| Code { path: path.to_vec(), line })));
    }
    let mut functions = functions.into_iter();
    let (name, code) = functions.next()?;
    Some(Symbol { name, offset: u64::from_ne_bytes(*offset), code, inlined: functions.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let path = Path::new("/bin/x");
        for question in [
            Question::File { number: 7, offset: 1 << 40, debug: true, path },
            Question::File { number: 0, offset: 0, debug: false, path },
            Question::Vdso { address: 0x7fff_0000_0000 },
            Question::Close { number: 9 },
        ] {
            assert_eq!(Question::decode(&question.encode()), Some(question));
        }
        let code = Some(Code { path: b"a/b.c".to_vec(), line: 12 });
        let inlined = vec![(b"in".to_vec(), None), (Vec::new(), code.clone())];
        let symbol = Symbol { name: b"main".to_vec(), offset: 5, code, inlined };
        assert_eq!(decode(&encode(Some(&symbol))).as_ref(), Some(&symbol));
        assert_eq!(decode(&encode(None)), None);
        let message = encode(Some(&symbol));
        assert!((0..message.len()).filter_map(|end| decode(&message[..end])).all(|part| part.name == b"main"));
    }

    #[test]
    fn names_are_those_of_attach_points() {
        let symbol = b"_ZN1n1fERNS_1AERNS0_1BE";
        assert_eq!(shown(symbol, &Config::default()), b"n::f(n::A&, n::A::B&)");
        assert_eq!(shown(symbol, &Config { cpp_demangle: false, ..Config::default() }), symbol);
        assert_eq!(shown(b"main", &Config::default()), b"main");
    }

    /// The child closes what it inherits. It must not go on with a file of ours, nor close what has its number by now.
    #[test]
    fn files_that_are_open_here_are_not_the_childs() {
        let library = crate::user::library("libc").unwrap();
        let function = crate::user::symbols(&library.to_string_lossy(), "getenv").unwrap().pop().unwrap();
        let own = std::env::current_exe().unwrap();
        let question = Question::File { number: 1, offset: function.file_offset, debug: false, path: &library };
        for last in [&own, &library] {
            drop(foreign::source(last).unwrap());
            let mut reader = Reader::default();
            let found = reader.ask(&Config::default(), question, &mut Duration::default()).unwrap();
            assert_eq!(found.map(|s| s.name).as_deref(), Some(&b"getenv"[..]), "{}", last.display());
        }
    }

    #[test]
    fn a_file_is_read_by_a_child() {
        let library = crate::user::library("libc").unwrap();
        let function = crate::user::symbols(&library.to_string_lossy(), "getenv").unwrap().pop().unwrap();
        let config = Config::default();
        let (mut reader, mut spent) = (Reader::default(), Duration::ZERO);
        let question = Question::File { number: 1, offset: function.file_offset + 1, debug: false, path: &library };
        let found = reader.ask(&config, question, &mut spent).unwrap().unwrap();
        assert_eq!((found.name.as_slice(), found.offset), (&b"getenv"[..], 1));
        reader.close(1);
        assert!(reader.ask(&config, question, &mut spent).unwrap().is_some());
        assert_eq!(reader.generation(), 0);
        // No time is left: it is not asked, however fast it would be.
        spent = Duration::from_secs(u64::from(config.symbol_timeout));
        let late = reader.ask(&config, question, &mut spent);
        assert!(matches!(late, Err(NoAnswer::Failed(Failure::Late))) && reader.worker.is_some());
        assert_eq!(reader.generation(), 0);
        // Without a child there is no answer, and another one is started for the next question.
        spent = Duration::ZERO;
        sys::kill(reader.worker.as_ref().unwrap().id(), libc::SIGKILL).unwrap();
        let failed = reader.ask(&config, question, &mut spent);
        assert!(matches!(failed, Err(NoAnswer::Failed(Failure::Ended(_)))) && reader.worker.is_none());
        assert_eq!(reader.generation(), 1);
        assert!(reader.ask(&config, question, &mut spent).unwrap().is_some());
    }
}
