//! From the command line to a bundle: reading the script, running the passes, rendering what is wrong.

use crate::Failure;
use crate::cli::{Cli, RunMode, Stage};
use crate::files::Files;
use crate::{c, headers};
use rtrace_codegen::Bitcode;
use rtrace_lang::arch::Arch;
use rtrace_lang::bundle::{Bundle, Mode};
use rtrace_lang::codes::Code;
use rtrace_lang::config::{self, Options};
use rtrace_lang::diag::{Diagnostic, render};
use rtrace_lang::grammar::ast;
use rtrace_lang::headers::c_files;
use rtrace_lang::imports;
use rtrace_lang::kernel::{Feature, Kernel};
use rtrace_lang::source::{SourceMap, Span};
use rtrace_lang::typed::Typed;
use rtrace_lang::{driver, dump, parameters};
use rtrace_runtime::launch::coloured;
use std::io::Read;
use std::path::Path;

/// A script as read.
#[derive(Clone)]
pub struct Script {
    pub sources: SourceMap,
    pub params: Vec<String>,
    /// Imported C, once it is compiled.
    pub c: Vec<Bitcode>,
}

/// Largest script that is read: beyond it something is wrong.
const LARGEST: u64 = 16 << 20;

/// Reads the script that the command line names: `-e`, a file, `-` for standard input, or a tool of the
/// standard library.
pub fn read(cli: &Cli) -> Result<Script, Failure> {
    let mut sources = SourceMap::default();
    if let Some(text) = &cli.program {
        sources.add("-e", text.clone());
        return Ok(Script { sources, params: cli.args.clone(), c: Vec::new() });
    }
    let Some((name, params)) = cli.args.split_first() else {
        return Err(Failure::plain(
            "missing script",
            Some("specify a script or a one-liner: rtrace FILE, rtrace -e 'PROGRAM'; rtrace --help lists the options"),
        ));
    };
    sources.add(name.clone(), read_script(name)?);
    Ok(Script { sources, params: params.to_vec(), c: Vec::new() })
}

/// A script by its name; `-` is standard input.
pub fn read_script(name: &str) -> Result<String, Failure> {
    if name == "-" { read_all(&mut std::io::stdin(), "standard input") } else { read_file(name) }
}

fn read_file(name: &str) -> Result<String, Failure> {
    let path = Path::new(name);
    if path.is_dir() {
        return Err(Failure::plain(format!("{name} is a directory"), Some("specify a script")));
    }
    match std::fs::File::open(path) {
        Ok(mut file) => read_all(&mut file, name),
        Err(e) => match rtrace_stdlib::tool(name) {
            Some(text) if e.kind() == std::io::ErrorKind::NotFound => Ok(text.to_owned()),
            _ => Err(missing(name, &e)),
        },
    }
}

fn missing(name: &str, e: &std::io::Error) -> Failure {
    let tools: Vec<&str> = rtrace_stdlib::TOOLS.iter().map(|t| t.name).collect();
    let help = if name.contains([':', '{']) {
        format!("a program on the command line needs -e: rtrace -e '{name}'")
    } else {
        format!("tools that come with rtrace: {}", tools.join(", "))
    };
    Failure::plain(format!("cannot read {name}: {e}"), Some(&help))
}

pub fn read_all(from: &mut dyn Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::plain(format!("cannot read {name}: {e}"), None))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::plain(
            format!("{name} is larger than {} MB, which is too large for a script", LARGEST >> 20),
            None,
        ));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
        Failure::plain(
            format!("{name}:{line}: byte {at} is not valid UTF-8"),
            Some("scripts are text: is this the right file?"),
        )
    })
}

/// The options of a compilation, from the environment and the command line.
fn options(script: &Script, cli: &Cli) -> Result<Options, Failure> {
    let mut options = Options {
        params: script.params.clone(),
        pid: cli.pid,
        probe_filter: cli.probe_filter.clone(),
        unsafe_: cli.unsafe_,
        failures: cli.failures > 0,
        arch: Arch::HOST,
        ..Options::default()
    };
    options.run.mode = match cli.mode() {
        Some(RunMode::Test) => Mode::Test,
        Some(RunMode::Bench) => Mode::Bench,
        _ => Mode::Trace,
    };
    // The reference, too, has a status of its own for this.
    config::from_environment(&mut options, std::env::vars())
        .map_err(|e| Failure { status: 2, ..Failure::plain(e, None) })?;
    Ok(options)
}

/// The tree of the script and of the files it imports.
fn parse(script: &mut Script, cli: &Cli) -> Result<ast::Program, Failure> {
    let mut files = Files { folders: &cli.include_dir };
    let mut program = imports::load(&mut script.sources, &mut files).map_err(|d| failed(&d, &script.sources))?;
    // `--include`, before what the script includes.
    let lines = cli.include.iter().map(|name| match Path::new(name).canonicalize() {
        Ok(path) => format!("#include \"{}\"", path.display()),
        Err(_) => format!("#include <{name}>"),
    });
    let items = lines.map(|text| ast::Item::Preprocessor { text, span: Span::default() });
    program.items.splice(0..0, items);
    Ok(program)
}

/// One stage of the compilation, as bytes to write.
pub fn emit(script: &mut Script, cli: &Cli, kernel: Kernel<'_>, stage: Stage) -> Result<Vec<u8>, Failure> {
    let program = parse(script, cli)?;
    if stage == Stage::Ast {
        return Ok(rtrace_lang::grammar::dump::dump(&program).into_bytes());
    }
    let typed = analyse(program, script, cli, kernel)?;
    if stage == Stage::Typed {
        return Ok(dump::dump(&typed).into_bytes());
    }
    let mut how = codegen_options(kernel, script);
    if stage == Stage::Bundle {
        // It may run on another machine.
        how.cpus = None;
    }
    how.llvm = stage == Stage::Llvm;
    how.llvm_opt = stage == Stage::LlvmOpt;
    how.bpf = stage == Stage::Bpf;
    let output = rtrace_codegen::compile(&typed, &script.sources, &how).map_err(|d| failed(&d, &script.sources))?;
    Ok(match stage {
        Stage::Llvm => output.llvm.unwrap_or_default().into_bytes(),
        Stage::LlvmOpt => output.llvm_opt.unwrap_or_default().into_bytes(),
        Stage::Bpf => output.bpf.unwrap_or_default().into_bytes(),
        _ => {
            let mut bundle = output.bundle;
            let origin = rtrace_runtime::origin::of(&bundle);
            bundle.origin = Some(origin.map_err(|e| Failure::plain(format!("cannot create a bundle: {e}"), None))?);
            bundle.to_bytes()
        }
    })
}

/// The typed program; warnings are printed.
fn analyse(program: ast::Program, script: &mut Script, cli: &Cli, kernel: Kernel<'_>) -> Result<Typed, Failure> {
    let mut options = options(script, cli)?;
    for (file, _) in c_files(&program, &script.sources) {
        script.c.push(c::compile(&file, &cli.include_dir)?);
    }
    let unread = read_headers(&program, &mut options, script, cli, kernel)?;
    let mut typed = driver::analyse(program, &mut options, &script.sources, kernel);
    if let (Err(errors), Some(why)) = (&mut typed, unread) {
        for error in errors.iter_mut().filter(|e| matches!(e.code, Code::UnknownName | Code::UnknownType)) {
            error.notes.extend(why.clone());
            match &error.help {
                Some(_) => error.notes.push(headers::INSTALL.to_owned()),
                None => error.help = Some(headers::INSTALL.to_owned()),
            }
        }
    }
    if !cli.no_warnings && !options.warnings.is_empty() {
        eprint!("{}", render(&options.warnings, &script.sources, coloured()));
    }
    typed.map_err(|d| failed(&d, &script.sources))
}

/// Looks up in the included headers what nothing else knows, and in imported C its functions. When headers cannot be
/// read: why not, as notes for the errors that follow from it.
fn read_headers(
    program: &ast::Program,
    options: &mut Options,
    script: &Script,
    cli: &Cli,
    kernel: Kernel<'_>,
) -> Result<Option<Vec<String>>, Failure> {
    let wanted = rtrace_lang::wanted::wanted(program, options, kernel);
    let files = c_files(program, &script.sources);
    if wanted.is_none() && files.is_empty() {
        return Ok(None);
    }
    let wanted = wanted.unwrap_or_default();
    match headers::read(&wanted, &files, &headers::places(&cli.include_dir), &script.sources, kernel) {
        Ok(found) => {
            options.headers = found.headers;
            options.warnings = found.complaints;
            Ok(None)
        }
        Err(why) => {
            let why = format!("cannot load libclang: {}", headers::reason(&why));
            if let Some((file, _)) = files.first() {
                let message = format!("cannot determine the functions of {file}: {why}");
                return Err(Failure::plain(message, Some(headers::INSTALL)));
            }
            let includes = wanted.lines.iter().filter_map(|(line, _)| rtrace_lang::headers::include(line));
            let names: Vec<&str> = includes.collect();
            Ok(Some(vec![format!("it may be defined in {}, which requires libclang", names.join(", ")), why]))
        }
    }
}

/// The bundle of a script.
pub fn bundle(script: &mut Script, cli: &Cli, kernel: Kernel<'_>) -> Result<Bundle, Failure> {
    let program = parse(script, cli)?;
    let typed = analyse(program, script, cli, kernel)?;
    let output = rtrace_codegen::compile(&typed, &script.sources, &codegen_options(kernel, script))
        .map_err(|d| failed(&d, &script.sources))?;
    Ok(output.bundle)
}

/// `-l` with a program: the attach points it names, a line each.
pub fn attach_points(script: &mut Script, cli: &Cli, kernel: Kernel<'_>) -> Result<String, Failure> {
    let program = parse(script, cli)?;
    let fail = |d: Vec<Diagnostic>| failed(&d, &script.sources);
    let names = driver::attach_points(program, &mut options(script, cli)?, kernel).map_err(fail)?;
    Ok(names.into_iter().map(|n| n + "\n").collect())
}

/// The parameters of the script, when `--help` asks for them: before `--`, or after it if the script has no such
/// parameter of its own.
pub fn help(script: &mut Script, cli: &Cli, kernel: Kernel<'_>) -> Result<Option<String>, Failure> {
    let asked = script.params.iter().any(|p| p == "--help");
    if !cli.help && !asked {
        return Ok(None);
    }
    let program = parse(script, cli)?;
    let usage = driver::usage(program, &mut options(script, cli)?, &script.sources, kernel)
        .map_err(|d| failed(&d, &script.sources))?;
    if !cli.help && usage.named.iter().any(|p| p.name == "help") {
        return Ok(None);
    }
    let (name, text) = script.sources.files().first().map(|f| (f.name.as_str(), f.text.as_str())).unwrap_or_default();
    let name = if cli.program.is_some() { "-e PROGRAM" } else { name };
    Ok(Some(parameters::help(name, text, &usage)))
}

fn codegen_options(kernel: Kernel<'_>, script: &Script) -> rtrace_codegen::Options {
    rtrace_codegen::Options {
        atomics: kernel.machine.has(Feature::AtomicFetch),
        percpu_lookup: kernel.machine.has(Feature::PercpuLookup),
        for_each: kernel.machine.has(Feature::ForEachMapElem),
        bpf_loop: kernel.machine.has(Feature::Loop),
        cpus: rtrace_sys::cpu_numbers().ok(),
        bitcode: script.c.clone(),
        ..rtrace_codegen::Options::default()
    }
}

pub fn failed(diagnostics: &[Diagnostic], sources: &SourceMap) -> Failure {
    Failure::text(render(diagnostics, sources, coloured()))
}
