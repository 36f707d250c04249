//! The command line: option letters are those of the reference.

use clap::builder::PossibleValue;
use clap::{Parser, ValueEnum};
use rtrace_lang::kernel::Feature;
use rtrace_lang::probe_filter::ProbeFilter;
use rtrace_runtime::output::{FORMS, Form};
use std::path::PathBuf;
use std::sync::OnceLock;

/// Traces the Linux kernel and the programs on it with small scripts.
#[derive(Parser, Debug)]
#[command(
    name = "rtrace",
    disable_version_flag = true,
    disable_help_flag = true,
    max_term_width = 100,
    args_override_self = true
)]
#[command(
    override_usage = "rtrace [OPTIONS] FILE [PARAMETER]…\n       rtrace [OPTIONS] -e PROGRAM [PARAMETER]…\n       rtrace [OPTIONS] FILE [PARAMETER]… -- --NAME=VALUE…\n       rtrace FILE --help\n       rtrace -l[v] [PATTERN]\n       rtrace --fmt [--write | --check] FILE…"
)]
#[command(after_help = "Examples:
  rtrace -e 'kprobe:vfs_read { @[comm] = count() }'      count reads by program until Ctrl-C
  rtrace dropwatch.rt                                    show dropped packets
  rtrace -l 'kprobe:*skb*'                               list probes
  rtrace -lv tracepoint:syscalls:sys_enter_execve        list a probe with its arguments
  rtrace --emit bundle -o x.rtb script.rt; rtrace-run x.rtb")]
pub struct Cli {
    /// Script to run, or with -l a pattern; then the script's parameters $1, $2, …
    #[arg(value_name = "FILE")]
    pub args: Vec<String>,

    /// Run this program
    #[arg(short = 'e', value_name = "PROGRAM", allow_hyphen_values = true)]
    pub program: Option<String>,

    /// List probes that match a pattern (or those of a program or script); -lv with their arguments
    #[arg(short = 'l', long = "list")]
    pub list: bool,

    /// Run this command and trace until it ends
    #[arg(short = 'c', long = "cmd", value_name = "COMMAND", allow_hyphen_values = true, conflicts_with = "pid")]
    pub command: Option<String>,

    /// Trace only this process, and end when it ends
    #[arg(short = 'p', long, value_name = "PID")]
    pub pid: Option<u32>,

    /// Write the output (or the result of --emit) to this file
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Output format
    #[arg(short = 'f', long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// When to write output: when no more is pending, when the buffer is full, or for each event
    #[arg(short = 'B', value_name = "MODE", default_value = "line")]
    pub buffering: Buffering,

    /// Print only what the script prints
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// Print more: verifier logs, exit status of commands
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Run the tests of the script, its probes `test:NAME`
    #[arg(long, conflicts_with_all = ["bench", "mode", "fmt"])]
    pub test: bool,

    /// Run the benchmarks of the script, its probes `bench:NAME`
    #[arg(long, conflicts_with_all = ["mode", "fmt"])]
    pub bench: bool,

    /// Do this instead of tracing: test (as --test), bench (as --bench), format (as --fmt), codegen: only compile
    #[arg(long, value_name = "MODE", conflicts_with = "fmt")]
    pub mode: Option<RunMode>,

    /// Use only attach points whose full names match this regular expression, besides begin and end
    #[arg(long, value_name = "REGEX", value_parser = ProbeFilter::new)]
    pub probe_filter: Option<ProbeFilter>,

    /// Compile, load and attach, then end
    #[arg(long)]
    pub dry_run: bool,

    /// Allow functions that change the system
    #[arg(long = "unsafe")]
    pub unsafe_: bool,

    /// Print a stage of compilation instead of running
    #[arg(long, value_name = "STAGE")]
    pub emit: Option<Stage>,

    /// Print stages before the program runs, by the reference's names: ast, codegen, codegen-opt, dis, all
    #[arg(short = 'd', long, value_name = "STAGE,…", value_delimiter = ',', hide = true)]
    pub debug: Vec<DebugStage>,

    /// Explain a diagnostic (RT0203), a function (printf), or everything (manual)
    #[arg(long, value_name = "NAME")]
    pub explain: Option<String>,

    /// Format the scripts and print them
    #[arg(long)]
    pub fmt: bool,

    /// With --fmt: rewrite the files in place
    #[arg(long, requires = "fmt", conflicts_with = "check")]
    pub write: bool,

    /// With --fmt: print which files would change, and fail if any would
    #[arg(long, requires = "fmt")]
    pub check: bool,

    /// Print the features of the kernel
    #[arg(long)]
    pub info: bool,

    /// Print the source locations of kernel addresses, given as in stacks: vfs_read+31, nf_tables:nft_do_chain+0x8/0x90
    #[arg(long, value_name = "FUNC+OFFSET", num_args = 1..)]
    pub addr2line: Vec<String>,

    /// With --addr2line: read this image with debug information
    #[arg(long, value_name = "FILE", requires = "addr2line")]
    pub vmlinux: Option<PathBuf>,

    /// Accepted for compatibility: dw_ustack needs no list of processes
    #[arg(long, value_name = "PID", hide = true)]
    pub dwarf_pid: Vec<u32>,

    /// Print this help; with a script, its parameters
    #[arg(short = 'h', long)]
    pub help: bool,

    /// Print the version
    #[arg(short = 'V', long)]
    pub version: bool,

    /// Include this header before those of the script
    #[arg(long, value_name = "HEADER")]
    pub include: Vec<String>,

    /// Add this directory to the search path of headers
    #[arg(short = 'I', value_name = "DIR")]
    pub include_dir: Vec<PathBuf>,

    /// Print no warnings
    #[arg(long)]
    pub no_warnings: bool,

    /// Warn, with the location in the script, when memory cannot be read or a map lacks an entry or is full
    #[arg(short = 'k', long = "warnings", action = clap::ArgAction::Count, conflicts_with = "no_warnings")]
    pub failures: u8,

    /// Search these directories first for debug information of programs
    #[arg(long, value_name = "DIR[:DIR]", value_delimiter = ':')]
    pub debuginfo: Vec<PathBuf>,

    /// Read the list of traceable kernel functions from this file: lines FUNCTION or FUNCTION [MODULE]
    #[arg(long, value_name = "FILE")]
    pub traceable_functions: Option<PathBuf>,

    /// Do not use these features of the kernel: kprobe_multi, uprobe_multi, loop, …
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',')]
    pub no_feature: Vec<NoFeature>,

    /// Accepted for compatibility: the kernel counts the users of a probe
    #[arg(long, hide = true)]
    pub usdt_file_activation: bool,

    /// Accepted for compatibility: type information is used where available
    #[arg(short = 'b', long, hide = true)]
    pub btf: bool,

    /// Accepted for compatibility: LLVM IR is always verified
    #[arg(long, hide = true)]
    pub verify_llvm_ir: bool,

    /// Write the object with the programs to this file
    #[arg(long, value_name = "FILE", hide = true)]
    pub emit_elf: Option<PathBuf>,

    /// Write LLVM IR to FILE.original.ll and FILE.optimized.ll
    #[arg(long, value_name = "FILE", hide = true)]
    pub emit_llvm: Option<PathBuf>,

    /// Not supported: use a bundle
    #[arg(long, value_name = "FILE", hide = true)]
    pub aot: Option<PathBuf>,
}

impl Cli {
    /// The action to perform on the script.
    pub fn mode(&self) -> Option<RunMode> {
        let by_name = [(self.test, RunMode::Test), (self.bench, RunMode::Bench), (self.fmt, RunMode::Format)];
        self.mode.or_else(|| by_name.iter().find(|(given, _)| *given).map(|(_, mode)| *mode))
    }
}

/// Actions on a script other than tracing, by the reference's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunMode {
    Test,
    Bench,
    Format,
    Codegen,
    #[value(hide = true)]
    CompilerBench,
}

/// A stage as `-d` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DebugStage {
    Ast,
    Types,
    Codegen,
    CodegenOpt,
    Dis,
    Libbpf,
    Verifier,
    All,
    #[value(hide = true)]
    Parse,
}

impl DebugStage {
    /// The stages printed for it. Loading has no log when it succeeds; `-v` shows the verifier's when it fails.
    pub fn stages(self) -> &'static [Stage] {
        match self {
            DebugStage::Ast => &[Stage::Ast],
            DebugStage::Types => &[Stage::Typed],
            DebugStage::Codegen => &[Stage::Llvm],
            DebugStage::CodegenOpt => &[Stage::LlvmOpt],
            DebugStage::Dis => &[Stage::Bpf],
            DebugStage::Libbpf | DebugStage::Verifier | DebugStage::Parse => &[],
            DebugStage::All => &[Stage::Ast, Stage::Typed, Stage::Llvm, Stage::LlvmOpt, Stage::Bpf],
        }
    }
}

/// A feature of the kernel that is not to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFeature(pub Feature);

impl ValueEnum for NoFeature {
    fn value_variants<'a>() -> &'a [NoFeature] {
        static ALL: OnceLock<Vec<NoFeature>> = OnceLock::new();
        ALL.get_or_init(|| Feature::ALL.into_iter().map(NoFeature).collect())
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

/// A form of output; the values are those of their table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format(pub &'static Form);

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Format] {
        static ALL: OnceLock<Vec<Format>> = OnceLock::new();
        ALL.get_or_init(|| FORMS.into_iter().map(Format).collect())
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name).help(self.0.doc))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Buffering {
    Line,
    Full,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// The syntax tree
    Ast,
    /// The typed program
    Typed,
    /// LLVM IR as generated
    Llvm,
    /// LLVM IR after optimization
    LlvmOpt,
    /// BPF instructions with the source lines
    Bpf,
    /// The bundle that rtrace-run takes
    Bundle,
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    /// The options that the table of `docs/rtrace.md` has, and those that `--help` has, are the same.
    #[test]
    fn the_manual_page_has_all_options() {
        let page = include_str!("../docs/rtrace.md");
        let (_, table) = page.split_once("\n## Options\n").expect("a chapter of options");
        let (table, rest) = table.split_once("\n\nAccepted").expect("what is accepted stands below");
        let written: BTreeSet<String> = table
            .lines()
            .filter_map(|row| row.strip_prefix("| `-")?.split(" | ").next())
            .flat_map(|cell| cell.split("`, `-"))
            .map(|option| format!("-{}", option.split([' ', '`']).next().unwrap_or_default()))
            .collect();
        let mut shown = BTreeSet::new();
        let mut hidden = BTreeSet::new();
        let mut command = Cli::command();
        command.build();
        for option in command.get_arguments().filter(|a| !a.is_positional()) {
            let names = [option.get_short().map(|c| format!("-{c}")), option.get_long().map(|l| format!("--{l}"))];
            let set = if option.is_hide_set() { &mut hidden } else { &mut shown };
            set.extend(names.into_iter().flatten());
        }
        assert!(shown.len() > 15, "{shown:?}");
        assert_eq!(written, shown, "docs/rtrace.md (left) and --help (right) differ");
        for option in hidden {
            assert!(rest.contains(&format!("`{option}")), "docs/rtrace.md does not name {option}");
        }
    }

    #[test]
    fn the_manual_page_has_all_values() {
        let page = include_str!("../docs/rtrace.md");
        for value in Format::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
            assert!(page.contains(&format!("`{}`", value.get_name())), "{}", value.get_name());
        }
        for value in Stage::value_variants().iter().filter_map(ValueEnum::to_possible_value) {
            assert!(page.contains(&format!("`{}`", value.get_name())), "{}", value.get_name());
        }
    }
}
