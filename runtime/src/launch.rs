//! From a bundle and a user's wishes to an exit status: opens the output, runs the session, turns errors into
//! one message. What `rtrace` and `rtrace-run` share.

use crate::output::{Buffering, Form, Options, OutputFile, Printer, Stdout};
use crate::session::{self, RunError, RunOptions};
use rtrace_core::bundle::{Bundle, Target};
use rtrace_core::codes::Code;
use rtrace_core::diag::{Diagnostic, render};
use rtrace_core::kernel::Functions;
use rtrace_core::source::Span;
use rtrace_facts::KernelFacts;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

/// Harnesses made for the reference set this variable and wait for a line of its name.
const NOTIFY: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";

/// The options of a run on the command line.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    /// `-c`
    pub command: Option<String>,
    /// `-p`
    pub pid: Option<u32>,
    /// `-o`
    pub output: Option<PathBuf>,
    /// `-f`
    pub form: &'static Form,
    /// `-q`
    pub quiet: bool,
    /// `-v`
    pub verbose: bool,
    /// `--dry-run`
    pub dry_run: bool,
    /// `--no-warnings`
    pub no_warnings: bool,
    /// `-B`
    pub buffering: Buffering,
}

/// Whether what goes to standard error is coloured: on a terminal, unless `NO_COLOR` is set (to anything), or what
/// `RTRACE_COLOR` or `BPFTRACE_COLOR` says (`always`, `never`, `auto`).
pub fn coloured() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match set("RTRACE_COLOR").or_else(|| set("BPFTRACE_COLOR")).as_deref().and_then(|v| v.to_str()) {
        Some("always") => true,
        Some("never") => false,
        _ => set("NO_COLOR").is_none() && io::stderr().is_terminal(),
    }
}

/// Runs the bundle. The error is ready to print, and empty when there is nothing to say (a closed pipe).
pub fn launch(bundle: &Bundle, wishes: &Launch) -> Result<i32, String> {
    let options = RunOptions {
        command: wishes.command.clone(),
        pid: wishes.pid,
        verbose: wishes.verbose,
        dry_run: wishes.dry_run,
        notify: std::env::var_os(NOTIFY).map(|_| NOTIFY.to_owned()),
    };
    let show = |terminal: bool| Options {
        form: wishes.form,
        terminal,
        quiet: wishes.quiet,
        no_warnings: wishes.no_warnings,
        buffering: wishes.buffering,
    };
    let result = match &wishes.output {
        Some(path) => {
            let file = File::create(path).map_err(|e| format!("error: cannot write {}: {e}\n", path.display()))?;
            let mut file = OutputFile::new(file, path.display().to_string());
            let result = session::run(bundle, &options, &mut Printer::new(&mut file, bundle, show(false)));
            match file.loss() {
                Some(loss) if result.is_ok() => return Err(format!("error: {loss}\n")),
                _ => result,
            }
        }
        None => {
            let (stdout, terminal) = (io::stdout(), io::stdout().is_terminal());
            session::run(bundle, &options, &mut Printer::new(Stdout(stdout), bundle, show(terminal)))
        }
    };
    result.map_err(|e| message(bundle, &e, wishes.verbose))
}

/// The function that an attach point may have meant, when the one it names does not exist: a new name of a
/// renamed one, or one spelt nearly so. Only looked for once something failed, since it reads the whole list.
fn meant(bundle: &Bundle, start: u32) -> Option<String> {
    let function = bundle.programs.iter().flat_map(|p| &p.attach).find_map(|a| match &a.target {
        Target::Kprobe { function, ret, .. } if a.span.0 == start => Some((function, *ret)),
        _ => None,
    });
    let (function, ret) = function?;
    let kernel = KernelFacts::default();
    if !kernel.traceable_functions(None, function).ok()?.is_empty() {
        return None;
    }
    let kind = if ret { "kretprobe" } else { "kprobe" };
    kernel.nearest_function(function).map(|name| format!("{kind}:{name}"))
}

/// The error as text, with the place in the script where there is one.
fn message(bundle: &Bundle, error: &RunError, verbose: bool) -> String {
    if error.is_quiet() {
        return String::new();
    }
    let mut text = match error.span() {
        Some((start, end)) => {
            let code = if error.log().is_some() { Code::Rejected } else { Code::NoSuchTarget };
            let mut d = Diagnostic::error(code, Span { start, end }, error.to_string());
            if let Some(advice) = error.advice() {
                d = d.help(advice);
            } else if let Some(name) = meant(bundle, start) {
                d = d.help(format!("this kernel has `{name}`"));
            }
            render(&[*d], &bundle.sources, coloured())
        }
        None => {
            let help = error.advice().map(|a| format!("\n  = help: {a}")).unwrap_or_default();
            format!("error: {error}{help}\n")
        }
    };
    match error.log() {
        Some(log) if verbose => text.push_str(&format!("\nThe verifier's log:\n{log}\n")),
        Some(_) => text.push_str("  = note: -v shows the verifier's log\n"),
        None => {}
    }
    text
}
