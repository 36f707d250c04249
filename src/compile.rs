//! From the command line to a bundle: reading the script, running the passes, rendering what is wrong.

use crate::Failure;
use crate::cli::{Cli, Stage};
use crate::headers;
use rtrace_lang::arch::Arch;
use rtrace_lang::bundle::Bundle;
use rtrace_lang::codes::Code;
use rtrace_lang::config::{self, Options};
use rtrace_lang::diag::{Diagnostic, render};
use rtrace_lang::grammar::ast;
use rtrace_lang::imports::{self, Imported, Loader};
use rtrace_lang::kernel::{Feature, Kernel, Version};
use rtrace_lang::source::{SourceMap, Span};
use rtrace_lang::typed::Typed;
use rtrace_lang::{driver, dump, parameters};
use rtrace_runtime::kernel::LiveKernel;
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A script as read.
pub struct Script {
    pub sources: SourceMap,
    pub params: Vec<String>,
}

/// Largest script that is read: beyond it something is wrong.
const LARGEST: u64 = 16 << 20;

/// Reads the script that the command line names: `-e`, a file, `-` for standard input, or a tool of the
/// standard library.
pub fn read(cli: &Cli) -> Result<Script, Failure> {
    let mut sources = SourceMap::default();
    if let Some(text) = &cli.program {
        sources.add("-e", text.clone());
        return Ok(Script { sources, params: cli.args.clone() });
    }
    let Some((name, params)) = cli.args.split_first() else {
        return Err(Failure::plain(
            "there is nothing to run",
            Some("give a script or a one-liner: rtrace FILE, rtrace -e 'PROGRAM'; rtrace --help lists the options"),
        ));
    };
    sources.add(name.clone(), read_script(name)?);
    Ok(Script { sources, params: params.to_vec() })
}

/// A script by its name; `-` is standard input.
pub fn read_script(name: &str) -> Result<String, Failure> {
    if name == "-" { read_all(&mut std::io::stdin(), "standard input") } else { read_file(name) }
}

fn read_file(name: &str) -> Result<String, Failure> {
    let path = Path::new(name);
    if path.is_dir() {
        return Err(Failure::plain(format!("{name} is a folder"), Some("give a script")));
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

fn read_all(from: &mut dyn Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::plain(format!("cannot read {name}: {e}"), None))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::plain(format!("{name} is larger than {} MB: that is no script", LARGEST >> 20), None));
    }
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
        Failure::plain(
            format!("{name}:{line}: byte {at} is not UTF-8 text"),
            Some("scripts are text; is this the right file?"),
        )
    })
}

/// The options of a compilation, from the environment and the command line.
fn options(script: &Script, cli: &Cli) -> Result<Options, Failure> {
    let mut options = Options {
        params: script.params.clone(),
        pid: cli.pid,
        unsafe_: cli.unsafe_,
        arch: if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 },
        ..Options::default()
    };
    config::from_environment(&mut options, std::env::vars()).map_err(|e| Failure::plain(e, None))?;
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

/// The files that scripts name.
struct Files<'c> {
    /// `-I`
    folders: &'c [PathBuf],
}

impl Loader for Files<'_> {
    fn import(&mut self, importer: &str, path: &str) -> Result<Vec<Imported>, String> {
        find_import(importer, path)
    }

    fn header(&mut self, importer: &str, path: &str) -> Option<Imported> {
        let beside = Path::new(importer).parent().unwrap_or(Path::new(""));
        let places = std::iter::once(beside).chain(self.folders.iter().map(PathBuf::as_path));
        let found = places.map(|p| p.join(path)).find_map(|p| p.canonicalize().ok().filter(|p| p.is_file()))?;
        let name = found.display().to_string();
        let text = read_all(&mut std::fs::File::open(&found).ok()?, &name).ok()?;
        Some(Imported { name, text })
    }
}

/// `import "path"`: relative to the importing file; a folder stands for its scripts, in order of their names.
fn find_import(importer: &str, path: &str) -> Result<Vec<Imported>, String> {
    let folder = Path::new(importer).parent().unwrap_or(Path::new(""));
    let place = folder.join(path);
    let place = place.canonicalize().map_err(|e| format!("cannot import {}: {e}", place.display()))?;
    let mut files = vec![place.clone()];
    if place.is_dir() {
        let entries = std::fs::read_dir(&place).map_err(|e| format!("cannot read {}: {e}", place.display()))?;
        files = entries.flatten().map(|e| e.path()).collect();
        files.retain(|p| p.extension().is_some_and(|e| e == "rt" || e == "bt"));
        files.sort();
    }
    files.iter().map(|p| import_file(p)).collect()
}

fn import_file(path: &Path) -> Result<Imported, String> {
    // Whoever may put files beside a script that root runs is root.
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mode = std::fs::metadata(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?.mode();
    if mode & 0o002 != 0 {
        return Err(format!("{} is writable for everyone: nothing is imported from there", folder.display()));
    }
    let name = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(mut file) => {
            let text = read_all(&mut file, &name).map_err(|Failure(text)| text.trim_end().to_owned())?;
            Ok(Imported { name, text })
        }
        Err(e) => Err(format!("cannot import {name}: {e}")),
    }
}

/// One stage of the compilation, as bytes to write.
pub fn emit(script: &mut Script, cli: &Cli, kernel: &LiveKernel, stage: Stage) -> Result<Vec<u8>, Failure> {
    let program = parse(script, cli)?;
    let fail = |d: Vec<Diagnostic>| failed(&d, &script.sources);
    if stage == Stage::Ast {
        return Ok(rtrace_lang::grammar::dump::dump(&program).into_bytes());
    }
    let typed = analyse(program, script, cli, kernel)?;
    if stage == Stage::Typed {
        return Ok(dump::dump(&typed).into_bytes());
    }
    let mut how = codegen_options(kernel);
    how.llvm = stage == Stage::Llvm;
    how.llvm_opt = stage == Stage::LlvmOpt;
    how.bpf = stage == Stage::Bpf;
    let output = rtrace_codegen::compile(&typed, &script.sources, &how).map_err(fail)?;
    Ok(match stage {
        Stage::Llvm => output.llvm.unwrap_or_default().into_bytes(),
        Stage::LlvmOpt => output.llvm_opt.unwrap_or_default().into_bytes(),
        Stage::Bpf => output.bpf.unwrap_or_default().into_bytes(),
        _ => output.bundle.to_bytes(),
    })
}

/// The typed program; warnings are printed.
fn analyse(program: ast::Program, script: &Script, cli: &Cli, kernel: &LiveKernel) -> Result<Typed, Failure> {
    let mut options = options(script, cli)?;
    let unread = read_headers(&program, &mut options, script, cli, kernel);
    let mut typed = driver::analyse(program, &mut options, &script.sources, kernel);
    if let (Err(errors), Some(why)) = (&mut typed, unread) {
        for error in errors.iter_mut().filter(|e| matches!(e.code, Code::UnknownName | Code::UnknownType)) {
            error.notes.extend(why.clone());
            match &error.help {
                Some(help) if help.starts_with("did you mean") => error.notes.push(headers::INSTALL.to_owned()),
                _ => error.help = Some(headers::INSTALL.to_owned()),
            }
        }
    }
    if !cli.no_warnings && !options.warnings.is_empty() {
        eprint!("{}", render(&options.warnings, &script.sources, std::io::stderr().is_terminal()));
    }
    typed.map_err(|d| failed(&d, &script.sources))
}

/// Looks up in the included headers what nothing else knows. When they cannot be read: why not, as notes for the
/// errors that follow from it.
fn read_headers(
    program: &ast::Program,
    options: &mut Options,
    script: &Script,
    cli: &Cli,
    kernel: &LiveKernel,
) -> Option<Vec<String>> {
    let wanted = rtrace_lang::headers::wanted(program, options, kernel)?;
    match headers::read(&wanted, &headers::places(&cli.include_dir), &script.sources, kernel) {
        Ok(found) => {
            options.headers = found.headers;
            options.warnings = found.complaints;
            None
        }
        Err(why) => {
            let includes = wanted.lines.iter().filter_map(|(line, _)| rtrace_lang::headers::include(line));
            let names: Vec<&str> = includes.collect();
            Some(vec![
                format!("it may be defined in {}, which only libclang can read", names.join(", ")),
                format!("libclang cannot be loaded: {}", headers::reason(&why)),
            ])
        }
    }
}

/// The bundle of a script.
pub fn bundle(script: &mut Script, cli: &Cli, kernel: &LiveKernel) -> Result<Bundle, Failure> {
    let program = parse(script, cli)?;
    let fail = |d: Vec<Diagnostic>| failed(&d, &script.sources);
    let typed = analyse(program, script, cli, kernel)?;
    let output = rtrace_codegen::compile(&typed, &script.sources, &codegen_options(kernel)).map_err(fail)?;
    Ok(output.bundle)
}

/// `-l` with a program: the attach points it names, a line each.
pub fn attach_points(script: &mut Script, cli: &Cli, kernel: &LiveKernel) -> Result<String, Failure> {
    let program = parse(script, cli)?;
    let fail = |d: Vec<Diagnostic>| failed(&d, &script.sources);
    let names = driver::attach_points(program, &mut options(script, cli)?, kernel).map_err(fail)?;
    Ok(names.into_iter().map(|n| n + "\n").collect())
}

/// What the script takes, when `--help` asks for it: before `--`, or after it where the script has no such parameter
/// of its own.
pub fn help(script: &mut Script, cli: &Cli, kernel: &LiveKernel) -> Result<Option<String>, Failure> {
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

fn codegen_options(kernel: &LiveKernel) -> rtrace_codegen::Options {
    rtrace_codegen::Options {
        atomics: kernel.has(Feature::AtomicFetch),
        percpu_lookup: kernel.version() >= Version(5, 18),
        for_each: kernel.has(Feature::ForEachMapElem),
        bpf_loop: kernel.has(Feature::Loop),
        ..rtrace_codegen::Options::default()
    }
}

pub fn failed(diagnostics: &[Diagnostic], sources: &SourceMap) -> Failure {
    Failure(render(diagnostics, sources, std::io::stderr().is_terminal()))
}
