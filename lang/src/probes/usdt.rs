//! `usdt`: places that a program or library itself was given probes at (user-level statically defined tracing).
//!
//! One name may stand for several places, each with its arguments elsewhere. Each place is a target of its own, so
//! that a clause that asks for arguments is compiled for each.

use super::{Context, Listing, ProbeKind, Resolved, Spec, is_glob};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::{Kernel, UsdtProbe};
use rtrace_core::glob::Glob;
use rtrace_core::nearest::nearest;
use std::rc::Rc;

pub static USDT: ProbeKind = ProbeKind {
    name: "usdt",
    aliases: &["U"],
    form: "usdt:PROGRAM:[PROVIDER:]NAME",
    doc: "A static probe (USDT) of a program or library. PROGRAM is a path, a name or a pattern; `*` stands for \
        all running programs, with `-p` for all files that the process has mapped.",
    example: "usdt:/usr/bin/python3:python:gc__start { printf(\"%d collects generation %d\\n\", pid, arg0) }",
    prog_type: ProgType::Kprobe,
    returns: false,
    path: Some(0),
    listing: Listing::StaticProbes,
    resolve,
};

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let (program, provider, name) = match spec.parts.as_slice() {
        // Only where `-p` says which process.
        [n] => ("", "", n.as_str()),
        [p, n] => (p.as_str(), "", n.as_str()),
        [p, s, n] => (p.as_str(), s.as_str(), n.as_str()),
        _ => return Err(spec.malformed()),
    };
    if name.is_empty() {
        return Err(spec.malformed());
    }
    // Without a program it is any file of the process.
    if program.is_empty() && kernel.programs.executables("").map_err(|e| spec.unknowable(e))?.is_empty() {
        return Err(spec.malformed());
    }
    let program = if program.is_empty() { "*" } else { program };
    let files = kernel.programs.executables(program).map_err(|e| spec.unknowable(e))?;
    if files.is_empty() {
        return Err(spec.no_program(program));
    }
    let provider_pattern = Glob::new(if provider.is_empty() { "*" } else { provider });
    let name_pattern = Glob::new(name);
    let mut found = Vec::new();
    // Of the one file that was named, for messages.
    let mut others: Vec<UsdtProbe> = Vec::new();
    let single = files.len() == 1 && !is_glob(program);
    for path in files {
        let probes = match kernel.programs.usdt_probes(&path) {
            // Of many files, those that are no executables are passed over.
            Err(_) if !single => continue,
            other => other.map_err(|e| spec.unknowable(e))?,
        };
        for probe in probes {
            // Quotes that belong to a name may be left out: those of an attach point are not part of it.
            let plain = probe.name.trim_matches('"');
            let named = name_pattern.matches(probe.name.as_bytes()) || name_pattern.matches(plain.as_bytes());
            if named && provider_pattern.matches(probe.provider.as_bytes()) {
                found.push(target(spec, &path, probe));
            } else if single {
                others.push(probe);
            }
        }
    }
    if found.is_empty() {
        return Err(missing(spec, program, provider, name, &others));
    }
    let several = found.len() > 1;
    found.iter_mut().for_each(|r| r.multi = several);
    Ok(found)
}

fn target(spec: &Spec, path: &str, probe: UsdtProbe) -> Resolved {
    Resolved {
        kind: spec.kind,
        prog_type: ProgType::Kprobe,
        target: Target::Usdt { path: path.to_owned(), offset: probe.file_offset, semaphore: probe.semaphore },
        name: format!("usdt:{path}:{}:{}", probe.provider, probe.name),
        function: probe.name.clone(),
        context: Context::Usdt(Rc::new(probe)),
        multi: false,
    }
}

fn missing(
    spec: &Spec,
    program: &str,
    provider: &str,
    name: &str,
    others: &[UsdtProbe],
) -> Box<crate::diag::Diagnostic> {
    let full = if provider.is_empty() { name.to_owned() } else { format!("{provider}:{name}") };
    if is_glob(program) {
        return spec
            .missing(format!("no program matching `{program}` has a USDT probe `{full}`"))
            .help(format!("rtrace -l 'usdt:{program}:*' lists its probes"));
    }
    if others.is_empty() {
        return spec
            .missing(format!("`{program}` has no USDT probes"))
            .note("USDT probes are compiled into a program and described in its section .note.stapsdt")
            .help(format!("for any function: uprobe:{program}:FUNCTION"));
    }
    let error = spec.missing(format!("`{program}` has no USDT probe `{full}`"));
    // The right name with another provider is nearer than any other.
    let near = nearest(name, others.iter().map(|p| p.name.as_str()));
    match near.and_then(|near| others.iter().find(|p| p.name == near)) {
        Some(p) => error.help(format!("did you mean `usdt:{program}:{}:{}`?", p.provider, p.name)),
        None => error.help(format!("rtrace -l 'usdt:{program}:*' lists its probes")),
    }
}
