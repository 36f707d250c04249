//! The settings of a run: a table of the reference's configuration variables, set from the
//! environment (`BPFTRACE_MAX_STRLEN=…`, `RTRACE_MAX_STRLEN=…`) and then by the script's `config` block.

use crate::arch::Arch;
use crate::bundle::{Config, MissingProbes};
use crate::diag::Diagnostic;
use crate::headers::Headers;
use crate::types::StackMode;

/// What the compiler is told besides the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Positional parameters, `$1` first.
    pub params: Vec<String>,
    /// Parameters given as `--name=value` or `--name`, for `getopt`.
    pub named: Vec<(String, Option<String>)>,
    /// What the headers that the script includes define.
    pub headers: Headers,
    /// Trace only this process.
    pub pid: Option<u32>,
    /// Functions that change the system are allowed.
    pub unsafe_: bool,
    pub arch: Arch,
    /// Size of strings, NUL included.
    pub max_strlen: u32,
    pub max_probes: u32,
    pub stack_mode: StackMode,
    /// What the runtime needs.
    pub run: Config,
    /// What the passes have to say that is no error.
    pub warnings: Vec<Diagnostic>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            params: Vec::new(),
            named: Vec::new(),
            headers: Headers::default(),
            pid: None,
            unsafe_: false,
            arch: Arch::X86_64,
            max_strlen: 1024,
            max_probes: 1024,
            stack_mode: StackMode::Bpftrace,
            run: Config::default(),
            warnings: Vec::new(),
        }
    }
}

impl Options {
    /// Takes the parameters that have names out of those that are counted.
    pub(crate) fn take_named(&mut self) {
        self.params.retain(|param| {
            let Some(option) = param.strip_prefix("--").filter(|o| o.starts_with(|c: char| c.is_ascii_alphabetic()))
            else {
                return true;
            };
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            self.named.push((name.to_owned(), value));
            false
        });
    }
}

/// A setting's value as written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Int(i64),
    Bool(bool),
    Word(String),
}

type Setter = fn(&mut Options, &Value) -> Result<(), String>;

/// Name, what it does, setter. Settings of the reference that have no meaning here are accepted.
pub static SETTINGS: &[(&str, &str, Setter)] = &[
    ("cpp_demangle", "demangle C++ names", |o, v| boolean(v).map(|b| o.run.cpp_demangle = b)),
    ("max_bpf_progs", "accepted; programs are shared and need no limit", |_, _| Ok(())),
    ("max_map_keys", "most entries of a map", |o, v| integer(v, 1, 1 << 30).map(|n| o.run.max_map_keys = n as u32)),
    ("max_probes", "most attach points of a wildcard", |o, v| integer(v, 1, 1 << 20).map(|n| o.max_probes = n as u32)),
    ("max_strlen", "size of strings in bytes", |o, v| integer(v, 1, 1 << 14).map(|n| o.max_strlen = n as u32)),
    ("missing_probes", "what to do with probes that cannot be attached: ignore, warn, error", |o, v| {
        o.run.missing_probes = match v {
            Value::Word(w) if w == "ignore" => MissingProbes::Ignore,
            Value::Word(w) if w == "warn" => MissingProbes::Warn,
            Value::Word(w) if w == "error" => MissingProbes::Error,
            _ => return Err("one of ignore, warn, error".into()),
        };
        Ok(())
    }),
    ("on_stack_limit", "accepted; nothing large is kept on the stack", |_, _| Ok(())),
    ("lazy_symbolication", "accepted; symbols are always looked up when printed", |_, _| Ok(())),
    ("license", "accepted; programs are GPL", |_, _| Ok(())),
    ("log_size", "accepted; the verifier's log grows as needed", |_, _| Ok(())),
    ("perf_rb_pages", "size of the event buffer in pages", |o, v| {
        integer(v, 1, 1 << 18).map(|n| o.run.ringbuf_bytes = ((n as u32).next_power_of_two()) * 4096)
    }),
    ("print_maps_on_exit", "print all maps at the end", |o, v| boolean(v).map(|b| o.run.print_maps_on_exit = b)),
    ("show_debug_info", "files and lines in stacks", |o, v| boolean(v).map(|b| o.run.show_debug_info = b)),
    ("stack_mode", "how stacks are printed: bpftrace, perf, raw", |o, v| {
        o.stack_mode = match v {
            Value::Word(w) if w == "bpftrace" => StackMode::Bpftrace,
            Value::Word(w) if w == "perf" => StackMode::Perf,
            Value::Word(w) if w == "raw" => StackMode::Raw,
            _ => return Err("one of bpftrace, perf, raw".into()),
        };
        Ok(())
    }),
    ("str_trunc_trailer", "accepted", |_, _| Ok(())),
    ("symbol_source", "accepted", |_, _| Ok(())),
    ("cache_user_symbols", "accepted", |_, _| Ok(())),
    ("use_blazesym", "accepted", |_, _| Ok(())),
    ("unstable_import", "accepted", |_, _| Ok(())),
    ("unstable_import_statement", "accepted", |_, _| Ok(())),
    ("unstable_macro", "accepted", |_, _| Ok(())),
    ("unstable_map_decl", "accepted", |_, _| Ok(())),
    ("unstable_tseries", "accepted", |_, _| Ok(())),
    ("unstable_addr", "accepted", |_, _| Ok(())),
];

/// Sets one setting by name, in either case and with or without the reference's prefix.
/// The error says which values it takes, or is empty for an unknown name.
pub fn set(options: &mut Options, name: &str, value: &Value) -> Result<(), String> {
    let lower = name.to_ascii_lowercase();
    let key = lower.strip_prefix("bpftrace_").unwrap_or(&lower);
    match SETTINGS.iter().find(|s| s.0 == key) {
        Some((_, _, setter)) => setter(options, value),
        None => Err(String::new()),
    }
}

/// Applies the environment. Unknown names are left alone: they are not ours.
pub fn from_environment(
    options: &mut Options,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), String> {
    for (name, text) in variables {
        let Some(key) = name.strip_prefix("BPFTRACE_").or_else(|| name.strip_prefix("RTRACE_")) else { continue };
        let key = key.to_ascii_lowercase();
        if !SETTINGS.iter().any(|s| s.0 == key) {
            continue;
        }
        let value = text.parse().map(Value::Int).unwrap_or(Value::Word(text.clone()));
        set(options, &key, &value).map_err(|takes| format!("{name}={text}: the value must be {takes}"))?;
    }
    Ok(())
}

fn integer(v: &Value, min: i64, max: i64) -> Result<i64, String> {
    match v {
        Value::Int(n) if (min..=max).contains(n) => Ok(*n),
        _ => Err(format!("a number from {min} to {max}")),
    }
}

fn boolean(v: &Value) -> Result<bool, String> {
    match v {
        Value::Bool(b) => Ok(*b),
        Value::Int(0) => Ok(false),
        Value::Int(1) => Ok(true),
        Value::Word(w) if w == "true" => Ok(true),
        Value::Word(w) if w == "false" => Ok(false),
        _ => Err("true or false".into()),
    }
}
