//! The `rtrace` command: reads scripts, drives the compiler, hands bundles to the runtime.
//!
//! `cli.rs` is the command line, `compile.rs` the way from text to bundle, `run.rs` the way from bundle
//! to output. Every failure ends here as one message and an exit status.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing))]

mod c;
mod cli;
mod compile;
mod files;
mod format;
mod headers;
mod info;
mod list;
mod run;

use clap::{CommandFactory, Parser};
use cli::{Cli, RunMode, Stage};
use rtrace_lang::codes::Code;
use rtrace_lang::{builtins, manual};
use rtrace_runtime::system::System;
use rtrace_symbols::{addr2line, debug_file};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

/// A failure whose message is ready to print; empty when there is nothing to say.
pub struct Failure {
    pub text: String,
    /// The exit status.
    pub status: u8,
}

impl Failure {
    /// A failure without a place in a script.
    pub fn plain(message: impl std::fmt::Display, help: Option<&str>) -> Failure {
        let help = help.map(|h| format!("\n  = help: {h}")).unwrap_or_default();
        Failure::text(format!("error: {message}{help}\n"))
    }

    pub fn text(text: String) -> Failure {
        Failure { text, status: 1 }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // `--help` is no error, and goes to standard output.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(cli) {
        Ok(status) => ExitCode::from(u8::try_from(status & 0xff).unwrap_or(1)),
        Err(Failure { text, status }) => {
            // Standard error may be closed; there is nowhere left to say so.
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(status)
        }
    }
}

fn dispatch(cli: Cli) -> Result<i32, Failure> {
    if cli.version {
        return print(&format!("rtrace v{}\n", env!("CARGO_PKG_VERSION")));
    }
    if let Some(code) = &cli.explain {
        return explain(code);
    }
    if cli.help && (cli.list || cli.fmt || (cli.program.is_none() && cli.args.is_empty())) {
        return print(&Cli::command().render_long_help().to_string());
    }
    refuse(&cli)?;
    if cli.mode() == Some(RunMode::Format) {
        return format::run(&cli);
    }
    if !cli.addr2line.is_empty() {
        let (text, errors) = addr2line::text(&cli.addr2line, cli.vmlinux.as_deref());
        print(&text)?;
        let errors: Vec<String> = errors.iter().map(|e| Failure::plain(e, e.help().as_deref()).text).collect();
        return if errors.is_empty() { Ok(0) } else { Err(Failure::text(errors.concat())) };
    }
    let unused: Vec<_> = cli.no_feature.iter().map(|f| f.0).collect();
    let mut system = System::for_process(cli.pid).without(&unused);
    if let Some(file) = &cli.traceable_functions {
        system = system.with_traceable(file.clone()).map_err(|e| Failure::plain(&e.message, e.help.as_deref()))?;
    }
    debug_file::look_in(cli.debuginfo.clone());
    if cli.info {
        return print(&info::text(&system));
    }
    if cli.list {
        return list(&cli, &system);
    }
    let mut script = compile::read(&cli)?;
    if let Some(text) = compile::help(&mut script, &cli, system.facts())? {
        return print(&text);
    }
    if let Some(stage) = cli.emit {
        let bytes = compile::emit(&mut script, &cli, system.facts(), stage)?;
        return write_out(&cli, stage, &bytes);
    }
    for stage in cli.debug.iter().flat_map(|d| d.stages()) {
        let bytes = compile::emit(&mut script.clone(), &cli, system.facts(), *stage)?;
        print(&String::from_utf8_lossy(&bytes))?;
    }
    if let Some(file) = &cli.emit_llvm {
        for (stage, end) in [(Stage::Llvm, ".original.ll"), (Stage::LlvmOpt, ".optimized.ll")] {
            let mut path = file.clone().into_os_string();
            path.push(end);
            write_file(Path::new(&path), &compile::emit(&mut script.clone(), &cli, system.facts(), stage)?)?;
        }
    }
    let bundle = compile::bundle(&mut script, &cli, system.facts())?;
    if let Some(file) = &cli.emit_elf {
        write_file(file, &bundle.object)?;
    }
    match cli.mode() {
        Some(RunMode::Codegen) => Ok(0),
        _ => run::run(&bundle, &cli),
    }
}

/// Options of the reference that have something else in their place.
fn refuse(cli: &Cli) -> Result<(), Failure> {
    if cli.aot.is_some() {
        let help = "use rtrace --emit bundle -o FILE …; rtrace-run runs the bundle without a compiler";
        return Err(Failure::plain("`--aot` is not supported: use a bundle instead", Some(help)));
    }
    if cli.mode() == Some(RunMode::CompilerBench) {
        let help = "use time rtrace --mode codegen … to measure all passes together";
        return Err(Failure::plain("`--mode compiler-bench` is not supported: passes are not timed", Some(help)));
    }
    Ok(())
}

/// Prints text; a reader that goes away early is no failure.
fn print(text: &str) -> Result<i32, Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::plain(format!("cannot write: {e}"), None)),
        _ => Ok(0),
    }
}

/// `--explain`: a diagnostic by its code, a function by its name, or everything: `manual`.
fn explain(text: &str) -> Result<i32, Failure> {
    if text == "manual" {
        return print(&manual::page());
    }
    if let Some(row) = builtins::find(text) {
        return print(&manual::function(row));
    }
    let Some(code) = Code::find(text) else {
        let codes: Vec<&str> = Code::ALL.iter().map(|c| c.name()).collect();
        let help = format!("use `manual`, the name of a function, or one of the codes {}", codes.join(", "));
        return Err(Failure::plain(format!("unknown diagnostic or function `{text}`"), Some(&help)));
    };
    let (bad, good) = code.examples();
    let mut out = format!("{}: {}\n\n{}\n", code.name(), code.title(), code.explanation());
    if !bad.is_empty() {
        out.push_str(&format!("\nExample that causes it:\n    {bad}\n"));
    }
    if !good.is_empty() {
        out.push_str(&format!("\nCorrected:\n    {good}\n"));
    }
    print(&out)
}

/// `-l`: probes that match a pattern, or those of a program.
fn list(cli: &Cli, system: &System) -> Result<i32, Failure> {
    let pattern = match (&cli.program, cli.args.first()) {
        (None, pattern) if !pattern.is_some_and(|p| std::path::Path::new(p).is_file()) => {
            pattern.map_or("*", String::as_str)
        }
        _ => {
            let names = compile::attach_points(&mut compile::read(cli)?, cli, system.facts())?;
            return if cli.verbose == 0 {
                print(&names)
            } else {
                names.lines().try_fold(0, |_, n| describe(n, system))
            };
        }
    };
    let mut out = std::io::stdout();
    match list::list(system, pattern, cli.verbose > 0, &mut out) {
        // No failure, as for the reference: an empty list may be what a script wants to know.
        Ok(0) => {
            eprintln!("{}", list::nothing_found(system, pattern));
            Ok(0)
        }
        Ok(_) => Ok(0),
        Err(e) => Err(Failure::plain(&e, e.help().as_deref())),
    }
}

/// An attach point of a script with its arguments, if it has any.
fn describe(name: &str, system: &System) -> Result<i32, Failure> {
    let mut text = Vec::new();
    // The arguments stand below the name; where there are none, a name as the script has it says more.
    match list::list(system, name, true, &mut text) {
        Ok(_) if text.iter().filter(|b| **b == b'\n').count() > 1 => print(&String::from_utf8_lossy(&text)),
        _ => print(&format!("{name}\n")),
    }
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|e| Failure::plain(format!("cannot write {}: {e}", path.display()), None))
}

/// Writes what `--emit` gives, to a file or to standard output.
fn write_out(cli: &Cli, stage: Stage, bytes: &[u8]) -> Result<i32, Failure> {
    match &cli.output {
        Some(path) => write_file(path, bytes).map(|()| 0),
        None if stage == Stage::Bundle && std::io::stdout().is_terminal() => Err(Failure::plain(
            "a bundle is binary and cannot be printed to a terminal",
            Some("specify a file: rtrace --emit bundle -o x.rtb …"),
        )),
        None => match std::io::stdout().write_all(bytes) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Failure::plain(format!("cannot write: {e}"), None))
            }
            _ => Ok(0),
        },
    }
}
