//! `rtrace --fmt`: scripts in their usual form, to standard output or back into their files.

use crate::Failure;
use crate::cli::Cli;
use crate::compile;
use rtrace_lang::driver;
use rtrace_lang::grammar::format::{FormatError, format};
use rtrace_lang::probes::path_part;
use rtrace_lang::source::SourceMap;
use std::fmt::Write as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

/// Formats what the command line names. Prints the result, or with `--write` changes the files, or with `--check`
/// prints the names of those that would change, and gives 1 if there are any.
pub fn run(cli: &Cli) -> Result<i32, Failure> {
    if cli.program.is_some() && !cli.args.is_empty() {
        return Err(Failure::plain("-e with --fmt takes no files", None));
    }
    if cli.write && (cli.program.is_some() || cli.args.iter().any(|name| name == "-")) {
        return Err(Failure::plain("--write needs a file", Some("specify the scripts to format")));
    }
    let names: Vec<Option<&str>> = match cli.program {
        Some(_) => vec![None],
        None => cli.args.iter().map(|name| Some(name.as_str())).collect(),
    };
    if names.is_empty() {
        return Err(Failure::plain("missing scripts to format", Some("usage: rtrace --fmt FILE…")));
    }
    let (mut out, mut errors, mut status) = (String::new(), String::new(), 0);
    for name in names {
        match one(cli, name) {
            Ok((before, after)) if cli.check => {
                if before != after {
                    let _ = writeln!(out, "{}", name.unwrap_or("-e"));
                    status = 1;
                }
            }
            Ok((before, after)) if cli.write => {
                if before != after
                    && let Err(Failure { text, .. }) = replace(name.unwrap_or_default(), &after)
                {
                    errors.push_str(&text);
                }
            }
            Ok((_, after)) => out.push_str(&after),
            Err(Failure { text, .. }) => errors.push_str(&text),
        }
    }
    crate::print(&out)?;
    if errors.is_empty() { Ok(status) } else { Err(Failure::text(errors)) }
}

/// A script before and after.
fn one(cli: &Cli, name: Option<&str>) -> Result<(String, String), Failure> {
    let text = match name {
        None => cli.program.clone().unwrap_or_default(),
        Some(name) => compile::read_script(name)?,
    };
    let name = name.unwrap_or("-e");
    match format(&text, 0, path_part) {
        Ok(after) => Ok((text, after)),
        Err(FormatError::Syntax(_)) => {
            let mut sources = SourceMap::default();
            sources.add(name, text);
            Err(compile::failed(&driver::parse(&sources, 0).err().unwrap_or_default(), &sources))
        }
        Err(FormatError::Unfaithful) => Err(Failure::plain(
            format!("{name}: not formatted because that would change its meaning"),
            Some("this is a bug in rtrace: please report it with the script"),
        )),
    }
}

/// Writes a file anew, all or nothing, with the owner and mode it has.
fn replace(name: &str, text: &str) -> Result<(), Failure> {
    let write = || {
        let path = Path::new(name).canonicalize()?;
        let before = path.metadata()?;
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        let written = std::fs::write(&beside, text)
            .and_then(|()| std::fs::set_permissions(&beside, before.permissions()))
            .and_then(|()| {
                let now = std::fs::metadata(&beside)?;
                if (now.uid(), now.gid()) == (before.uid(), before.gid()) {
                    return Ok(());
                }
                chown(&beside, Some(before.uid()), Some(before.gid()))
            })
            .and_then(|()| std::fs::rename(&beside, &path));
        if written.is_err() {
            // Nothing more can be done about what is left.
            let _ = std::fs::remove_file(&beside);
        }
        written
    };
    write().map_err(|e: std::io::Error| Failure::plain(format!("cannot write {name}: {e}"), None))
}
