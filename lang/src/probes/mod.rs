//! The table of probe kinds: name, short names, form of the target, program type, how targets are
//! found on the kernel. One module per kind; each turns an attach point as written ([`Spec`]) into
//! [`Resolved`] targets. Adding a kind is a module with its row here, a `Target` in the bundle and an
//! attach module in `runtime/src/attach/`.

use crate::arch::Arch;
use crate::bundle::{ProgType, Target};
use crate::codes::Code;
use crate::config::Options;
use crate::diag::{Diagnostic, Result};
use crate::kernel::{BpfFunction, Function, GoAbi, Kernel, KernelError, Tracepoint, UsdtProbe};
use crate::source::Span;
pub(crate) use rtrace_core::glob::is_glob;
use rtrace_core::nearest::nearest;
use std::cell::RefCell;
use std::rc::Rc;

mod bpf_program;
mod iter;
mod kprobe;
mod own;
mod perf;
mod raw_tracepoint;
mod raw_uprobe;
mod special;
mod timer;
mod tracepoint;
pub mod trampoline;
pub(crate) use trampoline::undescribed;
mod test;
mod uprobe;
mod usdt;
pub(crate) mod usdt_argument;
mod watchpoint;

pub use kprobe::KPROBE;
pub use own::SIGNALS;
pub use perf::{HARDWARE_EVENTS, PerfEvent, SOFTWARE_EVENTS};
pub use special::BEGIN;
pub use test::TEST;
pub use usdt_argument::types as usdt_argument_types;

/// One kind of probe.
pub struct ProbeKind {
    pub name: &'static str,
    /// Other spellings: short names and those of earlier releases.
    pub aliases: &'static [&'static str],
    /// Form of the whole attach point, for messages.
    pub form: &'static str,
    pub doc: &'static str,
    pub example: &'static str,
    /// Whether it fires at the return of a function.
    pub returns: bool,
    /// The part of the target that is a path, counted from 0: it may hold slashes, which end other parts.
    pub path: Option<usize>,
    /// How `rtrace -l` finds its targets.
    pub listing: Listing,
    /// The usual program type, for "where is this function allowed".
    pub prog_type: ProgType,
    pub resolve: fn(&Spec, Kernel<'_>) -> Result<Vec<Resolved>>,
}

/// How the targets of a kind are listed.
#[derive(Clone, Copy, Debug)]
pub enum Listing {
    /// There is nothing to list but the kind itself.
    Kind,
    /// Functions of the kernel that can be traced.
    Functions,
    /// Those whose prototypes BTF has, and functions of BPF programs.
    TypedFunctions,
    Tracepoints,
    RawTracepoints,
    /// Functions of programs and libraries.
    ProgramFunctions,
    StaticProbes,
    /// Words that a number of the user's follows.
    Words(&'static [&'static str]),
    Events(&'static [PerfEvent]),
    Iterators,
    Signals,
}

/// All kinds, in the order of the manual.
pub static KINDS: &[&ProbeKind] = &[
    &special::BEGIN,
    &special::END,
    &own::SELF,
    &test::TEST,
    &test::BENCH,
    &kprobe::KPROBE,
    &kprobe::KRETPROBE,
    &trampoline::FENTRY,
    &trampoline::FEXIT,
    &tracepoint::TRACEPOINT,
    &raw_tracepoint::RAWTRACEPOINT,
    &uprobe::UPROBE,
    &uprobe::URETPROBE,
    &raw_uprobe::RAWUPROBE,
    &usdt::USDT,
    &timer::INTERVAL,
    &timer::PROFILE,
    &perf::SOFTWARE,
    &perf::HARDWARE,
    &watchpoint::WATCHPOINT,
    &iter::ITER,
];

/// An attach point taken apart at its colons.
#[derive(Clone, Debug)]
pub struct Spec {
    pub kind: &'static ProbeKind,
    /// The form of the target after the kind.
    pub parts: Vec<String>,
    pub span: Span,
    /// Attach points that one wildcard may give.
    pub max_probes: u32,
    /// The processor that the script is compiled for.
    pub arch: Arch,
    /// Probes that may harm what they trace are allowed.
    pub unsafe_: bool,
    /// Functions of programs are looked up in debug information, too.
    pub dwarf: bool,
    /// `func` is the name as the sources write it.
    pub demangle: bool,
    /// Warnings that do not prevent resolving.
    pub warnings: RefCell<Vec<Diagnostic>>,
}

/// One target that an attach point stands for.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub kind: &'static ProbeKind,
    pub prog_type: ProgType,
    pub target: Target,
    /// The value of the builtin `probe`.
    pub name: String,
    /// The value of the builtin `func`.
    pub function: String,
    pub context: Context,
    /// Several of these may share one multi link.
    pub multi: bool,
}

/// The source of a program's arguments.
#[derive(Clone, Debug)]
pub enum Context {
    /// No arguments.
    Nothing,
    /// `struct pt_regs` at the entry of a kernel function; types from BTF when asked for.
    KernelEntry {
        function: String,
        module: Option<String>,
    },
    KernelReturn {
        function: String,
        module: Option<String>,
    },
    /// Registers at an instruction of a program, of a function of Go perhaps.
    UserEntry {
        go: Option<GoAbi>,
    },
    UserReturn,
    /// Registers at a static probe, which says where its arguments are.
    Usdt(Rc<UsdtProbe>),
    /// `u64` words, one per parameter; then the return value for fexit.
    Trampoline {
        function: Rc<Function>,
        ret: bool,
    },
    /// The same of a BPF program's function.
    BpfFunction {
        function: Rc<BpfFunction>,
        ret: bool,
    },
    Tracepoint(Rc<Tracepoint>),
    /// `u64` words, one per parameter, of which the first is `struct bpf_iter_meta *`.
    Iter(Rc<Function>),
    /// `u64` words; parameters known when BTF has the tracepoint.
    RawTracepoint(Option<Rc<Function>>),
}

/// The part of an attach point of this kind that is a path; the lexer asks.
pub fn path_part(kind: &str) -> Option<usize> {
    find(kind)?.path
}

impl PartialEq for ProbeKind {
    /// There is one row of each kind.
    fn eq(&self, other: &ProbeKind) -> bool {
        std::ptr::eq(self, other)
    }
}

impl std::fmt::Debug for ProbeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Finds a kind by name or alias, whatever the case.
pub fn find(name: &str) -> Option<&'static ProbeKind> {
    let is = |kind: &str| kind.eq_ignore_ascii_case(name);
    let named = |k: &&ProbeKind| k.name == name || k.aliases.contains(&name);
    // Aliases of one letter differ by case: `U` is usdt, `u` uprobe.
    let kinds = || KINDS.iter().copied();
    kinds().find(named).or_else(|| kinds().find(|k| is(k.name) || k.aliases.iter().any(|a| a.len() > 1 && is(a))))
}

/// The kinds whose programs have one of these types.
pub fn names_with(types: &[ProgType]) -> Vec<&'static str> {
    KINDS.iter().filter(|k| types.contains(&k.prog_type)).map(|k| k.name).collect()
}

/// A kind in a sentence: `a kprobe`, `an interval probe`.
pub fn a_probe(kind: &ProbeKind) -> String {
    let kind = kind.name;
    // `fentry` and `fexit` are spoken with the letter's name.
    let article = if kind.starts_with(['i', 'e', 'f']) { "an" } else { "a" };
    let noun = if kind.ends_with("probe") || kind.ends_with("tracepoint") { "" } else { " probe" };
    format!("{article} {kind}{noun}")
}

/// Takes an attach point apart and finds its targets.
pub fn resolve(text: &str, span: Span, options: &mut Options, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let mut parts = split(text);
    let word = if parts.is_empty() { String::new() } else { parts.remove(0) };
    let Some(kind) = find(&word) else {
        let names = KINDS.iter().flat_map(|k| std::iter::once(k.name).chain(k.aliases.iter().copied()));
        let nearest = nearest(&word, names.filter(|n| n.len() > 2));
        let error = Diagnostic::error(Code::UnknownProbe, span, format!("unknown probe type `{word}`"))
            .note(format!("probe types: {}", KINDS.iter().map(|k| k.name).collect::<Vec<_>>().join(", ")));
        let function = parts.is_empty() && matches!(kernel.functions.function(&word, None), Ok(Some(_)));
        return Err(match nearest {
            _ if function => error.help(format!("for the kernel function, use kprobe:{word} or fentry:{word}")),
            Some(n) => error.help(format!("did you mean `{}`?", text.replacen(&word, &n, 1))),
            None => error,
        });
    };
    let max_probes = options.max_probes;
    let (unsafe_, dwarf) = (options.unsafe_, options.dwarf);
    let (demangle, warnings) = (options.run.cpp_demangle, RefCell::default());
    let spec = Spec { kind, parts, span, max_probes, arch: options.arch, unsafe_, dwarf, demangle, warnings };
    let found = (kind.resolve)(&spec, kernel)?;
    options.warnings.append(&mut spec.warnings.into_inner());
    if found.len() > max_probes as usize {
        let message = format!(
            "too many attach points: `{text}` matches {} targets, but at most {max_probes} are allowed",
            found.len()
        );
        return Err(Diagnostic::error(Code::TooManyTargets, span, message)
            .help("narrow the pattern, or raise the limit: config = { max_probes = N }"));
    }
    Ok(found)
}

/// Splits at colons, but not inside double quotes, which are removed, but for `\"`; `::` of C++ and Rust names stays
/// with the name once a path has been read.
pub fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                if let Some(last) = parts.last_mut() {
                    last.push('"');
                }
            }
            '"' => quoted = !quoted,
            ':' if !quoted && parts.len() > 2 && chars.peek() == Some(&':') => {
                chars.next();
                if let Some(last) = parts.last_mut() {
                    last.push_str("::");
                }
            }
            ':' if !quoted => parts.push(String::new()),
            c => {
                if let Some(last) = parts.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parts
}

impl Spec {
    fn warn(&self, warning: Diagnostic) {
        self.warnings.borrow_mut().push(warning);
    }

    /// The error for a target of the wrong form.
    fn malformed(&self) -> Box<Diagnostic> {
        let ProbeKind { name, form, example, .. } = self.kind;
        Diagnostic::error(Code::BadTarget, self.span, format!("malformed attach point of `{name}`"))
            .help(format!("expected {form}, for example: {example}"))
    }

    /// The error for a target that does not exist.
    fn missing(&self, message: String) -> Box<Diagnostic> {
        Diagnostic::error(Code::NoSuchTarget, self.span, message)
    }

    /// An error for a function that is not one of those that the user said can be traced.
    fn listed(&self, kernel: Kernel<'_>, module: Option<&str>, function: &str) -> Result<()> {
        if !kernel.functions.functions_are_given()
            || !kernel.functions.traceable_functions(module, function).map_err(|e| self.unknowable(e))?.is_empty()
        {
            return Ok(());
        }
        Err(self
            .missing(format!("`{function}` is not in the list of traceable functions"))
            .help("add it to the file given with --traceable-functions, or omit the option"))
    }

    /// The error for a program or library that does not exist.
    fn no_program(&self, program: &str) -> Box<Diagnostic> {
        if program.is_empty() {
            return self.malformed().note("missing program: none is named here, and no process is traced (-p)");
        }
        self.missing(format!("program or library `{program}` not found"))
            .help("use a path, a program in $PATH, or the name of a library")
    }

    /// The error for kernel information that cannot be read.
    fn unknowable(&self, error: KernelError) -> Box<Diagnostic> {
        no_facts(error, self.span)
    }
}

/// Kernel information that cannot be read, as a diagnostic.
pub fn no_facts(error: KernelError, span: Span) -> Box<Diagnostic> {
    let d = Diagnostic::error(Code::NoFacts, span, error.message);
    match error.help {
        Some(help) => d.help(help),
        None => d,
    }
}

/// The command that lists what a pattern or name may have meant.
fn listing(prefix: &str, name: &str) -> String {
    format!("rtrace -l '{prefix}:*{}*' lists similar ones", name.trim_matches('*'))
}

/// A count as scripts write numbers: `1000`, `1_000`, `1e3`.
fn count(text: &str) -> Option<u64> {
    let plain = text.replace('_', "");
    let n = match plain.split_once(['e', 'E']) {
        Some((digits, exponent)) => {
            let scale = 10u64.checked_pow(exponent.parse().ok()?)?;
            digits.parse::<u64>().ok()?.checked_mul(scale)?
        }
        None => plain.parse().ok()?,
    };
    (n > 0).then_some(n)
}
