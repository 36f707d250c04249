//! `uprobe` and `uretprobe`: functions, lines and instructions of programs and libraries.

use super::kprobe::number;
use super::{Context, Listing, ProbeKind, Resolved, Spec, is_glob};
use crate::bundle::{ProgType, Target};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::{Kernel, UserSymbol};

pub static UPROBE: ProbeKind = ProbeKind {
    name: "uprobe",
    aliases: &["u"],
    form: "uprobe:PROGRAM:[cpp:]FUNCTION[+OFFSET], uprobe:PROGRAM:ADDRESS or uprobe:PROGRAM@FILE:LINE[:COLUMN]",
    doc: "Entry of a function of a program or library, or an instruction in it. PROGRAM is a path, a name or a \
        pattern; `*` stands for all running programs, with `-p` for all files that the process has mapped. Lines, \
        and functions that are inlined, need debug information.",
    example: "uprobe:/bin/bash:readline { printf(\"%d\\n\", pid) }",
    prog_type: ProgType::Kprobe,
    returns: false,
    path: Some(0),
    listing: Listing::ProgramFunctions,
    resolve,
};

pub static URETPROBE: ProbeKind = ProbeKind {
    name: "uretprobe",
    aliases: &["ur"],
    form: "uretprobe:PROGRAM:[cpp:]FUNCTION",
    doc: "Return of a function of a program or library.",
    example: "uretprobe:/bin/bash:readline { printf(\"%s\\n\", str(retval)) }",
    prog_type: ProgType::Kprobe,
    returns: true,
    path: Some(0),
    listing: Listing::ProgramFunctions,
    resolve,
};

/// Languages that names may be said to be of. Names are found demangled without it, too.
const LANGUAGES: [&str; 4] = ["cpp", "c++", "rust", "c"];

/// A location in a file.
enum Place<'s> {
    Address(u64),
    Function { language: Option<&'s str>, name: &'s str, plus: u64 },
    Line { file: &'s str, line: u64, column: Option<u64> },
}

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let ret = spec.kind.returns;
    let (program, place) = parse(spec, kernel)?;
    if ret && !matches!(place, Place::Function { plus: 0, .. }) {
        return Err(spec.malformed().note("a return probe takes a function, not an offset, an address or a line"));
    }
    let files = kernel.programs.executables(program).map_err(|e| spec.unknowable(e))?;
    if files.is_empty() {
        return Err(spec.no_program(program));
    }
    let single = !is_glob(program) && !program.is_empty();
    if !single && files.len() > 1 && !matches!(place, Place::Function { plus: 0, .. }) {
        return Err(spec.malformed().note("an offset, an address or a line needs a single program, not a pattern"));
    }
    let mut found = Vec::new();
    for path in &files {
        let symbols = match &place {
            Place::Address(address) => at_address(spec, kernel, path, *address)?,
            Place::Line { file, line, column } => {
                kernel.programs.source_line(path, file, *line, *column).map_err(|e| match e.help {
                    Some(help) => spec.missing(e.message).help(help),
                    None => spec.missing(e.message),
                })?
            }
            Place::Function { name, plus, .. } => match functions(spec, kernel, path, name, *plus, ret) {
                // Of many files, those that are no executables, or that cannot be read, are passed over.
                Err(_) if files.len() > 1 => continue,
                other => other?,
            },
        };
        if symbols.is_empty() && files.len() == 1 {
            return Err(missing(spec, kernel, path, &place));
        }
        for s in symbols {
            let go = kernel.programs.go_abi(path, &s);
            if ret && go.is_some() && !spec.unsafe_ {
                return Err(returns_of_go(spec, kernel, path, &s));
            }
            let shown = match &place {
                Place::Line { file, line, column } => {
                    format!("{path}@{file}:{line}{}", column.map(|c| format!(":{c}")).unwrap_or_default())
                }
                Place::Address(address) => format!("{path}:{address}"),
                Place::Function { language, plus, .. } => {
                    let language = language.map(|l| format!("{l}:")).unwrap_or_default();
                    let plus = if *plus > 0 { format!("+{plus}") } else { String::new() };
                    format!("{path}:{language}{}{plus}", s.name)
                }
            };
            if s.chooses && !is_glob(&s.name) {
                spec.warn(*resolver(spec, path, &s));
            }
            let source = if spec.demangle { kernel.programs.source_name(&s.name) } else { None };
            found.push(Resolved {
                kind: spec.kind,
                prog_type: ProgType::Kprobe,
                name: format!("{}:{shown}", spec.kind.name),
                function: source.unwrap_or_else(|| s.name.clone()),
                target: Target::Uprobe { path: path.clone(), symbol: s.name, offset: s.file_offset, ret },
                context: if ret { Context::UserReturn } else { Context::UserEntry { go } },
                multi: false,
            });
        }
    }
    if found.is_empty() {
        let name = spec.parts.last().map_or("", String::as_str);
        return Err(spec.missing(format!("no program matching `{program}` has a function `{name}`")));
    }
    let several = found.len() > 1;
    found.iter_mut().for_each(|r| r.multi = several);
    Ok(found)
}

/// The program and the place in it, by the forms of the manual.
fn parse<'s>(spec: &'s Spec, kernel: Kernel<'_>) -> Result<(&'s str, Place<'s>)> {
    let parts: Vec<&str> = spec.parts.iter().map(String::as_str).collect();
    // PROGRAM@FILE:LINE, unless the @ belongs to the name of the program.
    if let [first, line @ ..] = parts.as_slice()
        && let Some((program, file)) = first.rsplit_once('@')
        && !file.is_empty()
        && let Some(numbers) = line.iter().map(|n| n.parse().ok()).collect::<Option<Vec<u64>>>()
        && kernel.programs.executables(first).is_ok_and(|files| files.is_empty())
    {
        return match numbers.as_slice() {
            [line] => Ok((program, Place::Line { file, line: *line, column: None })),
            [line, column] => Ok((program, Place::Line { file, line: *line, column: Some(*column) })),
            _ => Err(spec.malformed()),
        };
    }
    // Without a program it is that of the process that is traced.
    let traced = || kernel.programs.executables("").map(|files| !files.is_empty()).map_err(|e| spec.unknowable(e));
    let (program, language, name) = match parts.as_slice() {
        [name] if traced()? => ("", None, *name),
        [language, name] if LANGUAGES.contains(language) && traced()? => ("", Some(*language), *name),
        [program, name] => (*program, None, *name),
        [program, language, name] if LANGUAGES.contains(language) => (*program, Some(*language), *name),
        [_, language, _] => {
            return Err(spec
                .malformed()
                .note(format!("unknown language `{language}`: expected {}", LANGUAGES.join(", "))));
        }
        _ => return Err(spec.malformed()),
    };
    if program.is_empty() && !traced()? {
        return Err(spec.no_program(program));
    }
    if name.is_empty() {
        return Err(spec.malformed());
    }
    if let Some(address) = number(name) {
        return Ok((program, Place::Address(address)));
    }
    Ok(match name.rsplit_once('+') {
        Some((function, plus)) if number(plus).is_some() => {
            (program, Place::Function { language, name: function, plus: number(plus).unwrap_or(0) })
        }
        _ => (program, Place::Function { language, name, plus: 0 }),
    })
}

/// The functions of a file that a name or pattern means, or the instruction of one.
fn functions(spec: &Spec, kernel: Kernel<'_>, path: &str, name: &str, plus: u64, ret: bool) -> Result<Vec<UserSymbol>> {
    if name.is_empty() || (plus > 0 && is_glob(name)) {
        return Err(spec.malformed());
    }
    let mut symbols = kernel.programs.user_symbols(path, name).map_err(|e| spec.unknowable(e))?;
    if (symbols.is_empty() || spec.dwarf) && !is_glob(name) && plus == 0 {
        // What is in no symbol table may have been inlined.
        let inlined = kernel.programs.inlined(path, name).map_err(|e| spec.unknowable(e))?;
        if ret && symbols.is_empty() && !inlined.is_empty() {
            return Err(spec
                .missing(format!("cannot trace returns of `{name}` of {path}: it is inlined everywhere"))
                .help(format!("its entry can be traced: uprobe:{path}:{name}")));
        }
        if !ret {
            symbols.extend(inlined);
        }
    }
    if plus > 0 {
        for s in &mut symbols {
            if plus >= s.size && s.size > 0 {
                let message = format!("offset {plus} is out of bounds: `{}` has {} bytes", s.name, s.size);
                return Err(spec.missing(message));
            }
            on_instruction(spec, kernel, path, s, s.address.wrapping_add(plus))?;
            s.address = s.address.wrapping_add(plus);
            s.file_offset = s.file_offset.wrapping_add(plus);
        }
    }
    Ok(symbols)
}

/// The instruction at an address, with the name of the function that it is in.
fn at_address(spec: &Spec, kernel: Kernel<'_>, path: &str, address: u64) -> Result<Vec<UserSymbol>> {
    let offset = match kernel.programs.user_offset(path, address) {
        // Of a file that is none of addresses, it is an offset.
        Err(_) if spec.unsafe_ => {
            let name = format!("{address:#x}");
            return Ok(vec![UserSymbol { name, address, file_offset: address, size: 0, chooses: false }]);
        }
        Err(e) => return Err(spec.unknowable(e).note("use --unsafe to probe an offset in any file")),
        Ok(offset) => offset,
    };
    let Some(file_offset) = offset else {
        return Err(spec
            .missing(format!("address {address:#x} is not in the code of {path}"))
            .help("use an address of its symbol table, as printed by `nm` or `objdump -d`"));
    };
    let function = function_around(spec, kernel, path, address, &format!("address {address:#x}"))?;
    let name = function.map_or_else(|| format!("{address:#x}"), |f| f.name);
    Ok(vec![UserSymbol { name, address, file_offset, size: 0, chooses: false }])
}

/// The function around an instruction, which `place` says in words; none only with `--unsafe`.
pub(super) fn function_around(
    spec: &Spec,
    kernel: Kernel<'_>,
    path: &str,
    address: u64,
    place: &str,
) -> Result<Option<UserSymbol>> {
    let function = kernel.programs.user_symbol_at(path, address).map_err(|e| spec.unknowable(e))?;
    match &function {
        Some(function) => on_instruction(spec, kernel, path, function, address)?,
        None if spec.unsafe_ => {}
        None => {
            return Err(spec
                .missing(format!("{place} of {path} is not in a known function"))
                .note("a probe in the middle of an instruction corrupts the program")
                .help("use --unsafe to attach it anyway"));
        }
    }
    Ok(function)
}

/// Refuses what is not the beginning of an instruction: the probe would change the instruction around it.
fn on_instruction(spec: &Spec, kernel: Kernel<'_>, path: &str, function: &UserSymbol, address: u64) -> Result<()> {
    if spec.unsafe_ || address == function.address {
        return Ok(());
    }
    let starts = kernel.programs.instructions(path, function, address).map_err(|e| spec.unknowable(e))?;
    let (before, after) = match starts {
        None => return Ok(()),
        Some(neighbours) => neighbours,
    };
    let at = |a: u64| format!("{}+{}", function.name, a.wrapping_sub(function.address));
    Err(Diagnostic::error(Code::NoSuchTarget, spec.span, format!("{} is in the middle of an instruction", at(address)))
        .note("a probe there corrupts the program; use --unsafe to attach it anyway")
        .help(format!("instructions begin at {} and {}", at(before), at(after))))
}

/// Says that a probe is not on the function that was named.
fn resolver(spec: &Spec, path: &str, function: &UserSymbol) -> Box<Diagnostic> {
    let message = format!("`{}` of {path} is called only when a program starts", function.name);
    Diagnostic::warning(Code::NoSuchTarget, spec.span, message)
        .note("it is an IFUNC resolver, and the function that it selects for this CPU cannot be determined")
        .help(format!("rtrace -l 'uprobe:{path}:*{}*' may list the candidates", function.name))
}

/// Refuses what may kill a program of Go, and says what to write instead.
fn returns_of_go(spec: &Spec, kernel: Kernel<'_>, path: &str, function: &UserSymbol) -> Box<Diagnostic> {
    let name = &function.name;
    let error = spec
        .missing(format!("`{name}` of {path} is written in Go: a return probe can crash the program"))
        .note(
            "a return probe replaces the return address on the stack; the Go runtime reads return addresses when \
            it moves a growing stack, and aborts on an unknown one",
        )
        .note("use --unsafe to attach it anyway");
    let name = if is_glob(name) || name.contains('$') { format!("\"{name}\"") } else { name.clone() };
    let returns = kernel.programs.returns(path, function);
    let points: Vec<String> =
        returns.iter().map(|at| format!("uprobe:{path}:{name}+{}", at.wrapping_sub(function.address))).collect();
    if points.is_empty() {
        return error.help("probe its return instructions instead: objdump -d shows them");
    }
    let result = spec.arch.go_argument(0).and_then(|at| spec.arch.register_name(at)).unwrap_or_default();
    error.help(format!(
        "probe its return instructions instead; `reg(\"{result}\")` is then its first result: {}",
        points.join(", ")
    ))
}

fn missing(spec: &Spec, kernel: Kernel<'_>, path: &str, place: &Place<'_>) -> Box<Diagnostic> {
    let Place::Function { name, .. } = place else {
        return spec.missing(format!("{path} has no code there"));
    };
    let error = spec.missing(format!("{path} has no function `{name}`"));
    if let Some(near) = kernel.programs.nearest_user_symbol(path, name) {
        return error.help(format!("did you mean `{}:{path}:{near}`?", spec.kind.name));
    }
    if kernel.programs.is_stripped(path) {
        return error
            .note("it is stripped: only exported symbols are left")
            .help("install its debug symbols, or use an address with --unsafe");
    }
    error.help(format!("rtrace -l 'uprobe:{path}:*' lists its functions"))
}
