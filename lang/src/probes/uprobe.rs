//! `uprobe` and `uretprobe`: functions and instructions of programs and libraries.

use super::kprobe::number;
use super::{Context, ProbeKind, Resolved, Spec, is_pattern};
use crate::bundle::{ProgType, Target};
use crate::diag::Result;
use crate::kernel::Kernel;

pub static UPROBE: ProbeKind = ProbeKind {
    name: "uprobe",
    aliases: &["u"],
    form: "uprobe:PROGRAM:FUNCTION[+OFFSET] or uprobe:PROGRAM:ADDRESS",
    doc: "Entry of a function of a program or library, or an instruction in it.",
    example: "uprobe:/bin/bash:readline { printf(\"%d\\n\", pid) }",
    prog_type: ProgType::Kprobe,
    resolve,
};

pub static URETPROBE: ProbeKind = ProbeKind {
    name: "uretprobe",
    aliases: &["ur"],
    form: "uretprobe:PROGRAM:FUNCTION",
    doc: "Return of a function of a program or library.",
    example: "uretprobe:/bin/bash:readline { printf(\"%s\\n\", str(retval)) }",
    prog_type: ProgType::Kprobe,
    resolve,
};

fn resolve(spec: &Spec, kernel: &dyn Kernel) -> Result<Vec<Resolved>> {
    let ret = spec.kind == "uretprobe";
    let (program, place) = match spec.parts.as_slice() {
        [p, f] => (p.as_str(), f.as_str()),
        // A language tag (`cpp`) only says how to demangle; matching tries both spellings anyway.
        [p, _, f] => (p.as_str(), f.as_str()),
        _ => return Err(spec.malformed()),
    };
    if program.is_empty() || place.is_empty() {
        return Err(spec.malformed());
    }
    let files = kernel.executables(program).map_err(|e| spec.unknowable(e))?;
    if files.is_empty() {
        return Err(spec.no_program(program));
    }
    let mut found = Vec::new();
    for path in files {
        let mut add = |symbol: String, offset: u64| {
            let context = if ret { Context::UserReturn } else { Context::UserEntry };
            found.push(Resolved {
                prog_type: ProgType::Kprobe,
                name: format!("{}:{path}:{symbol}", spec.kind),
                function: symbol.clone(),
                target: Target::Uprobe { path: path.clone(), symbol, offset, ret },
                context,
                multi: false,
            });
        };
        if let Some(address) = number(place) {
            let offset = kernel.user_offset(&path, address).map_err(|e| spec.unknowable(e))?;
            let Some(offset) = offset else {
                return Err(spec.missing(format!("address {place} is not in the code of {path}")));
            };
            add(place.to_owned(), offset);
            continue;
        }
        let (name, plus) = match place.rsplit_once('+') {
            Some((f, o)) if number(o).is_some() => (f, number(o).unwrap_or(0)),
            _ => (place, 0),
        };
        let symbols = kernel.user_symbols(&path, name).map_err(|e| spec.unknowable(e))?;
        for s in &symbols {
            if plus > 0 && plus >= s.size && s.size > 0 {
                return Err(
                    spec.missing(format!("offset {plus} lies outside of `{}`, which has {} bytes", s.name, s.size))
                );
            }
            let shown = if plus > 0 { format!("{}+{plus}", s.name) } else { s.name.clone() };
            add(shown, s.file_offset + plus);
        }
        if symbols.is_empty() && !is_pattern(program) {
            let error = spec.missing(format!("{path} has no function `{name}`"));
            return Err(match kernel.nearest_user_symbol(&path, name) {
                Some(n) => error.help(format!("did you mean `{}:{path}:{n}`?", spec.kind)),
                None => error.help(format!("rtrace -l 'uprobe:{path}:*' lists its functions")),
            });
        }
    }
    if found.is_empty() {
        return Err(spec.missing(format!("no program matching `{program}` has a function `{place}`")));
    }
    Ok(found)
}
