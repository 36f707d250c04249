//! The command line: option letters are those of the reference.

use clap::{Parser, ValueEnum};
use std::path::PathBuf;

/// Traces the Linux kernel and the programs on it with small scripts.
#[derive(Parser, Debug)]
#[command(name = "rtrace", disable_version_flag = true, disable_help_flag = true, max_term_width = 100)]
#[command(
    override_usage = "rtrace [OPTIONS] FILE [PARAMETER]…\n       rtrace [OPTIONS] -e PROGRAM [PARAMETER]…\n       rtrace [OPTIONS] FILE [PARAMETER]… -- --NAME=VALUE…\n       rtrace FILE --help\n       rtrace -l[v] [PATTERN]"
)]
#[command(after_help = "Examples:
  rtrace -e 'kprobe:vfs_read { @[comm] = count() }'      count reads by program until Ctrl-C
  rtrace dropwatch.rt                                    show dropped packets
  rtrace -l 'kprobe:*skb*'                               list probes
  rtrace -lv tracepoint:syscalls:sys_enter_execve        list a probe with its arguments
  rtrace --emit bundle -o x.rtb script.rt; rtrace-run x.rtb")]
pub struct Cli {
    /// Script, or with -l a pattern; then the script's parameters $1, $2, …
    #[arg(value_name = "FILE")]
    pub args: Vec<String>,

    /// Run this program
    #[arg(short = 'e', value_name = "PROGRAM", allow_hyphen_values = true)]
    pub program: Option<String>,

    /// List probes that match a pattern (or those of a program or script); -lv with their arguments
    #[arg(short = 'l', long = "list")]
    pub list: bool,

    /// Run this command and trace until it ends
    #[arg(short = 'c', value_name = "COMMAND", allow_hyphen_values = true)]
    pub command: Option<String>,

    /// Trace only this process, and end when it ends
    #[arg(short = 'p', value_name = "PID")]
    pub pid: Option<u32>,

    /// Write the output (or what --emit gives) to this file
    #[arg(short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Output format
    #[arg(short = 'f', value_name = "FORMAT", default_value = "text")]
    pub format: Format,

    /// Accepted for compatibility: output is written whenever there is nothing more to add
    #[arg(short = 'B', value_name = "MODE", hide = true)]
    pub buffering: Option<Buffering>,

    /// Print only what the script prints
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// Say more: verifier logs, how commands end
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Compile, load and attach, then end
    #[arg(long)]
    pub dry_run: bool,

    /// Allow functions that change the system
    #[arg(long = "unsafe")]
    pub unsafe_: bool,

    /// Print a stage of compilation instead of running
    #[arg(long, value_name = "STAGE")]
    pub emit: Option<Stage>,

    /// Explain a diagnostic (RT0203), a function (printf), or everything (manual)
    #[arg(long, value_name = "NAME")]
    pub explain: Option<String>,

    /// Print what the kernel offers
    #[arg(long)]
    pub info: bool,

    /// Print this; with a script, what the script takes
    #[arg(short = 'h', long)]
    pub help: bool,

    /// Print the version
    #[arg(short = 'V', long)]
    pub version: bool,

    /// Accepted for compatibility: types come from the kernel, constants are known
    #[arg(long, value_name = "HEADER")]
    pub include: Vec<String>,

    /// Accepted for compatibility: a folder of headers
    #[arg(short = 'I', value_name = "DIR")]
    pub include_dir: Vec<PathBuf>,

    /// Accepted for compatibility
    #[arg(long, hide = true)]
    pub no_warnings: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
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
    /// LLVM code as generated
    Llvm,
    /// LLVM code after optimisation
    LlvmOpt,
    /// BPF instructions with the source lines
    Bpf,
    /// The bundle that rtrace-run takes
    Bundle,
}
