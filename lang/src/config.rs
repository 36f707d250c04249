//! The settings of a run: a table of the reference's configuration variables, set by the script's
//! `config` block and from the environment (`BPFTRACE_MAX_STRLEN=…`, `RTRACE_MAX_STRLEN=…`), which has the last word.

use crate::arch::Arch;
use crate::bundle::{Config, MissingProbes};
use crate::codes::Code;
use crate::diag::Diagnostic;
use crate::headers::Headers;
use crate::probe_filter::ProbeFilter;
use crate::source::Span;
use crate::types::StackMode;

/// The inputs of the compiler besides the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Positional parameters, `$1` first.
    pub params: Vec<String>,
    /// Parameters given as `--name=value` or `--name`, for `getopt`.
    pub named: Vec<(String, Option<String>)>,
    /// The definitions in the headers that the script includes.
    pub headers: Headers,
    /// Trace only this process.
    pub pid: Option<u32>,
    /// Of the attach points, only those that match are used.
    pub probe_filter: Option<ProbeFilter>,
    /// Functions that change the system are allowed.
    pub unsafe_: bool,
    /// Functions of programs are looked up in debug information, too: where they are inlined.
    pub dwarf: bool,
    /// Helpers of the kernel that fail say so while the script runs.
    pub failures: bool,
    pub arch: Arch,
    /// Most bytes of a string that has no size of its own.
    pub max_strlen: u32,
    pub max_probes: u32,
    /// Most programs that a script may become; `None`: no limit.
    pub max_bpf_progs: Option<u32>,
    pub stack_mode: StackMode,
    /// The license of the programs that is declared to the kernel.
    pub license: String,
    /// Features that a script must not use, or is warned about: name of the setting, whether it is an error.
    pub unstable: Vec<(&'static str, bool)>,
    /// The settings that somebody gave, by name.
    pub given: Vec<(&'static str, Value)>,
    /// Settings that the environment gave: the script does not change them.
    pub fixed: Vec<&'static str>,
    /// The options of the runtime.
    pub run: Config,
    /// The warnings of the passes.
    pub warnings: Vec<Diagnostic>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            params: Vec::new(),
            named: Vec::new(),
            headers: Headers::default(),
            pid: None,
            probe_filter: None,
            unsafe_: false,
            dwarf: false,
            failures: false,
            arch: Arch::X86_64,
            max_strlen: 1024,
            max_probes: 1024,
            max_bpf_progs: None,
            stack_mode: StackMode::Bpftrace,
            license: "GPL".to_owned(),
            unstable: Vec::new(),
            given: Vec::new(),
            fixed: Vec::new(),
            run: Config::default(),
            warnings: Vec::new(),
        }
    }
}

impl Options {
    /// The size of a string that has none of its own: room for the NUL behind the bytes that are kept.
    pub(crate) fn string_cap(&self) -> u32 {
        self.max_strlen.saturating_add(1)
    }

    /// Checks the use of a feature against its setting, such as `unstable_tseries`.
    pub(crate) fn feature(&self, setting: &str, what: &str, span: Span) -> Option<Box<Diagnostic>> {
        let (name, error) = self.unstable.iter().find(|u| u.0 == setting)?;
        Some(if *error {
            Diagnostic::error(Code::ConfigValue, span, format!("{what} is forbidden by `{name} = error`"))
                .help(format!("allow it with config = {{ {name} = enable }}, if the environment does not set {name}"))
        } else {
            Diagnostic::warning(Code::ConfigValue, span, format!("{what} is used, and `{name}` is set to warn"))
        })
    }

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

/// A setting: name, its value where nobody sets it, what it does, setter.
pub struct Setting {
    pub name: &'static str,
    pub default: &'static str,
    pub doc: &'static str,
    set: Setter,
}

const fn row(name: &'static str, default: &'static str, doc: &'static str, set: Setter) -> Setting {
    Setting { name, default, doc, set }
}

/// All settings: the reference's (those that have no meaning here are accepted), then our own.
pub static SETTINGS: &[Setting] = &[
    row(
        "cache_user_symbols",
        "PER_PID",
        "PER_PID, PER_PROGRAM or NONE; no effect: symbols are cached per file and process",
        |_, v| one_of(v, &["PER_PID", "PER_PROGRAM", "NONE", "0", "1"]).map(|_| ()),
    ),
    row("cpp_demangle", "true", "demangle C++ and Rust names", |o, v| boolean(v).map(|b| o.run.cpp_demangle = b)),
    row("debug_output", "false", "no effect: programs write no trace messages", |_, v| boolean(v).map(|_| ())),
    row(
        "lazy_symbolication",
        "false",
        "no effect: symbols are looked up when first printed, and those of the -c command are kept after it ends",
        |_, v| boolean(v).map(|_| ()),
    ),
    row("license", "GPL", "license declared to the kernel: GPL or a compatible one", |o, v| {
        o.license = one_of(v, &LICENSES)?.to_owned();
        Ok(())
    }),
    row("log_size", "1000000", "no effect: the verifier log grows as needed", |_, v| {
        integer(v, 1, i64::MAX).map(|_| ())
    }),
    row("max_ast_nodes", "0", "no effect: the size of a script has no such limit", |_, v| {
        integer(v, 0, i64::MAX).map(|_| ())
    }),
    row("max_bpf_progs", "1024", "maximum number of BPF programs of a script; checked only if set", |o, v| {
        integer(v, 1, 1 << 20).map(|n| o.max_bpf_progs = Some(n as u32))
    }),
    row("max_cat_bytes", "10240", "maximum number of bytes that cat() prints", |o, v| {
        integer(v, 1, 1 << 30).map(|n| o.run.max_cat_bytes = n as u32)
    }),
    row("max_map_keys", "4096", "maximum number of entries of a map", |o, v| {
        integer(v, 1, 1 << 30).map(|n| o.run.max_map_keys = n as u32)
    }),
    row("max_probes", "1024", "maximum number of attach points of a wildcard", |o, v| {
        integer(v, 1, 1 << 20).map(|n| o.max_probes = n as u32)
    }),
    row("max_strlen", "1024", "maximum size of strings in bytes", |o, v| {
        integer(v, 1, 1 << 14).map(|n| o.max_strlen = n as u32)
    }),
    row("max_type_res_iterations", "0", "no effect: type inference needs only a few passes", |_, v| {
        integer(v, 0, i64::MAX).map(|_| ())
    }),
    row("missing_probes", "error", "what to do with probes that cannot be attached: ignore, warn, error", |o, v| {
        o.run.missing_probes = match one_of(v, &["ignore", "warn", "error"])? {
            "ignore" => MissingProbes::Ignore,
            "warn" => MissingProbes::Warn,
            _ => MissingProbes::Error,
        };
        Ok(())
    }),
    row("on_stack_limit", "32", "no effect: large values are never kept on the BPF stack", |_, v| {
        integer(v, 0, i64::MAX).map(|_| ())
    }),
    row("perf_rb_pages", "1024", "size of the event buffer in pages", |o, v| {
        integer(v, 1, 1 << 18).map(|n| o.run.ringbuf_bytes = ((n as u32).next_power_of_two()) * 4096)
    }),
    row("print_maps_on_exit", "true", "print all maps at the end", |o, v| {
        boolean(v).map(|b| o.run.print_maps_on_exit = b)
    }),
    row("show_debug_info", "false", "show source files and lines in stacks", |o, v| {
        boolean(v).map(|b| o.run.show_debug_info = b)
    }),
    row("stack_mode", "bpftrace", "how stacks are printed: bpftrace, perf, raw, build_id (user stacks)", |o, v| {
        o.stack_mode = match one_of(v, &["bpftrace", "perf", "raw", "build_id"])? {
            "perf" => StackMode::Perf,
            "raw" => StackMode::Raw,
            "build_id" => StackMode::BuildId,
            _ => StackMode::Bpftrace,
        };
        Ok(())
    }),
    row("str_trunc_trailer", "..", "suffix of strings that were truncated at max_strlen", |o, v| {
        o.run.str_trunc_trailer = match v {
            Value::Word(w) => w.clone(),
            Value::Int(n) => n.to_string(),
            Value::Bool(_) => return Err("a string".into()),
        };
        Ok(())
    }),
    row(
        "symbol_source",
        "symbol_table",
        "dwarf or symbol_table: with dwarf, uprobes are also attached where functions are inlined",
        |o, v| {
            o.dwarf = one_of(v, &["dwarf", "symbol_table"])? == "dwarf";
            Ok(())
        },
    ),
    row("unstable_addr", "enable", "error, warn or enable: the operator &", |o, v| unstable(o, "unstable_addr", v)),
    row("unstable_dw_ustack", "enable", "error, warn or enable: dw_ustack", |o, v| {
        unstable(o, "unstable_dw_ustack", v)
    }),
    row("unstable_import", "enable", "error, warn or enable: import", |o, v| unstable(o, "unstable_import", v)),
    row("unstable_macro", "enable", "error, warn or enable: macros", |o, v| unstable(o, "unstable_macro", v)),
    row("unstable_map_decl", "enable", "error, warn or enable: declarations of maps", |o, v| {
        unstable(o, "unstable_map_decl", v)
    }),
    row("unstable_typeinfo", "enable", "error, warn or enable: typeinfo", |o, v| unstable(o, "unstable_typeinfo", v)),
    row("unstable_tseries", "enable", "error, warn or enable: tseries()", |o, v| unstable(o, "unstable_tseries", v)),
    row("use_blazesym", "true", "no effect: symbols are always read from ELF and DWARF", |_, v| boolean(v).map(|_| ())),
    row("verify_llvm_ir", "false", "no effect: LLVM IR is always verified", |_, v| boolean(v).map(|_| ())),
    row("hist_quantiles", "false", "print the 50th, 95th and 99th percentile below each histogram", |o, v| {
        boolean(v).map(|b| o.run.hist_quantiles = b)
    }),
    row(
        "symbol_timeout",
        "10",
        "time limit in seconds for reading the symbols of a file; beyond it, addresses are printed as numbers",
        |o, v| integer(v, 1, 1 << 20).map(|n| o.run.symbol_timeout = n as u32),
    ),
    row("max_symbol_memory", "2048", "memory limit in megabytes for reading the symbols of programs", |o, v| {
        integer(v, 16, 1 << 20).map(|n| o.run.max_symbol_memory = n as u32)
    }),
    row(
        "max_perf_map",
        "64",
        "maximum number of megabytes read from the symbol map of a JIT compiler (/tmp/perf-PID.map)",
        |o, v| integer(v, 1, 1 << 12).map(|n| o.run.max_perf_map = n as u32),
    ),
];

/// The licenses that the kernel accepts as compatible with its own.
const LICENSES: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// A setting by name, in either case and with or without the reference's prefix.
pub fn find(name: &str) -> Option<&'static Setting> {
    let lower = name.to_ascii_lowercase();
    let key = lower.strip_prefix("bpftrace_").unwrap_or(&lower);
    let key = if key == "unstable_import_statement" { "unstable_import" } else { key };
    SETTINGS.iter().find(|s| s.name == key)
}

/// All settings with their names, and the second names that the reference has for some.
pub fn names() -> impl Iterator<Item = (&'static str, &'static Setting)> {
    let second = SETTINGS.iter().filter(|s| s.name == "unstable_import").map(|s| ("unstable_import_statement", s));
    SETTINGS.iter().map(|s| (s.name, s)).chain(second)
}

/// The setting whose name is near to an unknown one.
pub fn nearest(name: &str) -> Option<String> {
    rtrace_core::nearest::nearest(name, SETTINGS.iter().map(|s| s.name))
}

/// Sets one setting from the script; what the environment gave stays. The error says which values it takes, or
/// is empty for an unknown name.
pub fn set(options: &mut Options, name: &str, value: &Value) -> Result<(), String> {
    let Some(setting) = find(name) else { return Err(String::new()) };
    if options.fixed.contains(&setting.name) {
        // Still the script's error if it is one.
        return (setting.set)(&mut Options::default(), value);
    }
    (setting.set)(options, value)?;
    options.given.retain(|g| g.0 != setting.name);
    options.given.push((setting.name, value.clone()));
    Ok(())
}

/// Applies the environment. Unknown names are left alone: they are not ours.
pub fn from_environment(
    options: &mut Options,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), String> {
    for (name, text) in variables {
        let Some(key) = name.strip_prefix("BPFTRACE_").or_else(|| name.strip_prefix("RTRACE_")) else { continue };
        let Some(setting) = find(key) else { continue };
        let value = parse(&text);
        set(options, key, &value).map_err(|takes| format!("{name}={text}: the value must be {takes}"))?;
        options.fixed.push(setting.name);
    }
    Ok(())
}

/// A value from text.
fn parse(text: &str) -> Value {
    match (text.parse(), text) {
        (Ok(n), _) => Value::Int(n),
        (_, "true") => Value::Bool(true),
        (_, "false") => Value::Bool(false),
        _ => Value::Word(text.to_owned()),
    }
}

/// The value that a setting has, whoever set it.
pub fn value(options: &Options, setting: &Setting) -> Value {
    let given = options.given.iter().find(|g| g.0 == setting.name);
    given.map_or_else(|| parse(setting.default), |g| g.1.clone())
}

fn one_of<'w>(v: &Value, words: &[&'w str]) -> Result<&'w str, String> {
    let text = match v {
        Value::Word(w) => w.clone(),
        Value::Int(n) => n.to_string(),
        Value::Bool(b) => b.to_string(),
    };
    words.iter().find(|w| **w == text).copied().ok_or_else(|| format!("one of {}", words.join(", ")))
}

/// `error`, `warn` or `enable` for a feature.
fn unstable(options: &mut Options, name: &'static str, v: &Value) -> Result<(), String> {
    let word = one_of(v, &["error", "warn", "enable", "0", "1"])?;
    options.unstable.retain(|u| u.0 != name);
    match word {
        "error" | "0" => options.unstable.push((name, true)),
        "warn" => options.unstable.push((name, false)),
        _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_values_that_their_settings_take() {
        for setting in SETTINGS {
            let mut options = Options::default();
            let default = value(&options, setting);
            (setting.set)(&mut options, &default).unwrap_or_else(|e| panic!("{}: {e}", setting.name));
            options.max_bpf_progs = None;
            assert_eq!(options, Options::default(), "{}", setting.name);
        }
    }

    #[test]
    fn the_environment_has_the_last_word() {
        let mut options = Options::default();
        let variables = [("BPFTRACE_MAX_STRLEN", "64"), ("RTRACE_STACK_MODE", "perf"), ("BPFTRACE_BTF", "/x")];
        from_environment(&mut options, variables.into_iter().map(|(n, v)| (n.to_owned(), v.to_owned()))).unwrap();
        set(&mut options, "max_strlen", &Value::Int(128)).unwrap();
        set(&mut options, "BPFTRACE_MAX_MAP_KEYS", &Value::Int(9)).unwrap();
        assert_eq!((options.max_strlen, options.run.max_map_keys), (64, 9));
        assert_eq!(options.stack_mode, StackMode::Perf);
        assert_eq!(value(&options, find("MAX_STRLEN").unwrap()), Value::Int(64));
        assert!(set(&mut options, "max_strlen", &Value::Bool(true)).is_err());
        assert_eq!(set(&mut options, "max_strlenn", &Value::Int(1)), Err(String::new()));
        assert!(set(&mut options, "license", &Value::Word("MIT".into())).is_err());
        let bad = [("RTRACE_LOG_SIZE".to_owned(), "x".to_owned())];
        assert!(from_environment(&mut options, bad.into_iter()).unwrap_err().contains("RTRACE_LOG_SIZE=x"));
    }
}
