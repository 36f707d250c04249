//! `rtrace-run x.rtb`: runs a bundle that `rtrace --emit bundle` made. The same run as `rtrace`'s, without the
//! compiler and its libraries. The command line is read by hand: a dozen options need no library.

use rtrace_core::bundle::Bundle;
use rtrace_runtime::launch::{Launch, launch};
use rtrace_runtime::origin;
use rtrace_runtime::output::{Buffering, FORMS, Form};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "\
Runs a bundle created by `rtrace --emit bundle -o FILE SCRIPT`.

Usage: rtrace-run [OPTIONS] FILE

  -c COMMAND   run this command and trace until it ends
  -p PID       trace until this process ends (build the bundle with -p to trace nothing else)
  -o FILE      write the output to this file
  -f FORMAT    output format: FORMS
  -B MODE      when to write output: line (when no more is pending), full or none
  -q           print only what the script prints
  -v           print more: verifier logs, exit status of commands
  --dry-run    load and attach, then exit
  --unsafe     run a bundle that was compiled with --unsafe: it may change the system
  -V           print the version
  -h           print this help
";

fn help() -> String {
    HELP.replace("FORMS", &forms())
}

/// `text, json or …`
fn forms() -> String {
    let names = FORMS.map(|form| form.name);
    let (last, others) = names.split_last().unwrap_or((&"", &[]));
    format!("{} or {last}", others.join(", "))
}

/// The parsed command line.
#[derive(Debug, Default)]
struct Arguments {
    bundle: Option<OsString>,
    launch: Launch,
    unsafe_: bool,
}

enum Parsed {
    Run(Box<Arguments>),
    Print(String),
}

fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, String> {
    let mut arguments = Arguments::default();
    let mut words = words.into_iter();
    let mut options = true;
    while let Some(word) = words.next() {
        let text = word.to_string_lossy().into_owned();
        if !options || !text.starts_with('-') || text == "-" {
            if arguments.bundle.replace(word).is_some() {
                return Err(format!(
                    "unexpected argument {text}: only one bundle can run, and its parameters are part of it"
                ));
            }
            continue;
        }
        // `-pPID` and `-p PID`.
        let (name, attached) = match text.split_at_checked(2) {
            Some((name, rest)) if !text.starts_with("--") && !rest.is_empty() => (name, Some(rest)),
            _ => (text.as_str(), None),
        };
        let mut value = || -> Result<OsString, String> {
            attached.map(OsString::from).or_else(|| words.next()).ok_or_else(|| format!("{name} needs a value"))
        };
        match name {
            "-c" => arguments.launch.command = Some(string(value()?)?),
            "-p" => {
                let pid = string(value()?)?;
                arguments.launch.pid = Some(pid.parse().map_err(|_| format!("-p {pid}: not a process ID"))?);
            }
            "-o" => arguments.launch.output = Some(value()?.into()),
            "-f" => {
                let name = string(value()?)?;
                arguments.launch.form =
                    Form::named(&name).ok_or_else(|| format!("unknown format -f {name}: expected {}", forms()))?;
            }
            "-B" => {
                arguments.launch.buffering = match string(value()?)?.as_str() {
                    "line" => Buffering::Line,
                    "full" => Buffering::Full,
                    "none" => Buffering::None,
                    other => return Err(format!("unknown mode -B {other}: expected line, full or none")),
                }
            }
            "-q" | "--quiet" if attached.is_none() => arguments.launch.quiet = true,
            "-v" | "--verbose" if attached.is_none() => arguments.launch.verbose = true,
            "--unsafe" => arguments.unsafe_ = true,
            "--dry-run" => arguments.launch.dry_run = true,
            "--no-warnings" => arguments.launch.no_warnings = true,
            "-V" | "--version" => {
                return Ok(Parsed::Print(concat!("rtrace-run v", env!("CARGO_PKG_VERSION"), "\n").to_owned()));
            }
            "-h" | "--help" => return Ok(Parsed::Print(help())),
            "--" => options = false,
            _ => return Err(format!("unknown option {text}; -h lists the options")),
        }
    }
    Ok(Parsed::Run(Box::new(arguments)))
}

fn string(value: OsString) -> Result<String, String> {
    value.into_string().map_err(|v| format!("{}: not UTF-8", v.to_string_lossy()))
}

fn run(mut arguments: Arguments) -> Result<i32, String> {
    let Some(path) = arguments.bundle else { return Err("error: missing bundle; -h shows the usage\n".to_owned()) };
    let failed = |reason: String| format!("error: {}: {reason}\n", path.to_string_lossy());
    let bytes = std::fs::read(&path).map_err(|e| failed(format!("cannot read it: {e}")))?;
    let bundle = Bundle::from_bytes(&bytes).map_err(|e| failed(e.to_string()))?;
    origin::check(&bundle, arguments.unsafe_).map_err(|e| failed(e.to_string()))?;
    arguments.launch.pid = arguments.launch.pid.or(bundle.config.pid);
    launch(&bundle, &arguments.launch)
}

fn main() -> ExitCode {
    let result = match parse(std::env::args_os().skip(1)) {
        Ok(Parsed::Run(arguments)) => run(*arguments),
        Ok(Parsed::Print(text)) => {
            // A closed pipe: nobody reads it.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(0)
        }
        Err(text) => Err(format!("error: {text}\n")),
    };
    match result {
        Ok(status) => ExitCode::from(status.to_le_bytes()[0]),
        Err(text) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}
