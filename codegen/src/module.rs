//! The driver: all programs of an object are lowered, and it goes through LLVM to a bundle.

use crate::bitcode::{self, Foreign};
use crate::llvm::Session;
use crate::llvm::{Machine, Message, link};
use crate::unit::Unit;
use crate::{Options, Output, depth, disasm, program};
use rtrace_lang::bundle::{
    Bundle, EventDef, Globals, LoopDef, MapObject, PLACED_SCRATCH_SYMBOL, ProgramDef, SCRATCH_SYMBOL,
};
use rtrace_lang::codes::Code;
use rtrace_lang::diag::Diagnostic;
use rtrace_lang::source::{SourceMap, Span};
use rtrace_lang::typed::Typed;
use rtrace_lang::uapi::map_type;

/// Most bytes of scratch memory with a place. Older kernels refuse values of more than 4 MB.
const PLACED_LIMIT: u32 = 2 << 20;

/// See [`crate::compile`].
pub fn compile(typed: &Typed, sources: &SourceMap, options: &Options) -> Result<Output, Vec<Diagnostic>> {
    match placed(typed, sources, options, false) {
        Err(errors) if errors.iter().all(|e| e.message != STACK) => Err(errors),
        Ok(output) if too_deep(typed, &output).is_empty() => Ok(output),
        // Once more, with as little as possible on the stack.
        _ => {
            let output = placed(typed, sources, options, true)?;
            let errors = too_deep(typed, &output);
            if errors.is_empty() { Ok(output) } else { Err(errors) }
        }
    }
}

/// The programs whose functions need more stack together than there is.
fn too_deep(typed: &Typed, output: &Output) -> Vec<Diagnostic> {
    let deep = depth::programs(&output.bundle.object);
    let deep = deep.iter().filter(|(_, depth)| !depth.fits());
    deep.filter_map(|(symbol, depth)| {
        let program = typed.programs.iter().find(|p| p.symbol == *symbol)?;
        let message = match depth.frames > depth::MOST_FRAMES {
            true => {
                format!(
                    "functions and loops are nested too deeply: {} levels, but the kernel allows {}",
                    depth.frames,
                    depth::MOST_FRAMES
                )
            }
            false => format!(
                "functions and loops need too much stack: {} bytes, but BPF has {}",
                depth.bytes,
                depth::MOST_BYTES
            ),
        };
        let error = Diagnostic::error(Code::TooLarge, program.span, message);
        Some(*error.help("nest fewer loops and functions, or use fewer variables at the same time"))
    })
    .collect()
}

fn placed(typed: &Typed, sources: &SourceMap, options: &Options, lean: bool) -> Result<Output, Vec<Diagnostic>> {
    match build(typed, sources, options, lean)? {
        Some(output) => Ok(output),
        // Too much scratch memory for one value of a map: entries of a per-CPU map then.
        None => match build(typed, sources, &Options { cpus: None, ..options.clone() }, lean)? {
            Some(output) => Ok(output),
            None => Err(Vec::new()),
        },
    }
}

/// Nothing if there is more scratch memory than can have a place.
fn build(typed: &Typed, sources: &SourceMap, options: &Options, lean: bool) -> Result<Option<Output>, Vec<Diagnostic>> {
    let session = Session::new();
    let whole = typed.programs.first().map_or(Span { start: 0, end: 0 }, |p| p.span);
    let broken = |message: Message| vec![*from_llvm(&message, sources, whole)];
    let machine = Machine::new(options.opt_level).map_err(broken)?;
    let module = session.context().create_module("rtrace");
    machine.prepare(&module);
    let foreign = Foreign::parse(session.context(), &options.bitcode).map_err(|d| vec![*d])?;

    let unit = Unit::new(&module, &session, typed, sources, options, &foreign, lean);
    let lowered = lower_programs(&unit, sources, whole)?;
    drop(unit);
    let Some(Lowered { map_objects, loops, failures, size }) = lowered else { return Ok(None) };

    let imports = !foreign.is_empty();
    let known = link::data(&module, &[]);
    foreign.link(&module).map_err(|d| {
        let mut all = vec![*d];
        all.extend(session.errors().iter().map(|m| *from_llvm(m, sources, whole)));
        all
    })?;

    let llvm = options.llvm.then(|| module.print_to_string().to_string());
    #[cfg(debug_assertions)]
    if let Err(message) = module.verify() {
        return Err(broken(message.to_string()));
    }
    if imports {
        machine.run(&module, link::INLINE).map_err(broken)?;
    }
    machine.optimize(&module).map_err(broken)?;
    if imports {
        machine.run(&module, "globaldce").map_err(broken)?;
        bitcode::refuse_data(&link::data(&module, &known)).map_err(|d| vec![*d])?;
    }
    let llvm_opt = options.llvm_opt.then(|| module.print_to_string().to_string());
    let object = machine.emit(&module);
    let errors: Vec<Diagnostic> = session.errors().iter().map(|m| *from_llvm(m, sources, whole)).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let object = object.map_err(broken)?;
    let bpf = options.bpf.then(|| disasm::disassemble(&object));

    let programs = typed.programs.iter().map(|p| ProgramDef {
        symbol: p.symbol.clone(),
        prog_type: p.prog_type,
        probe_id: p.probe_id,
        attach_mode: p.attach_mode,
        session: p.session,
        attach: p.attach.clone(),
        span: (p.span.start, p.span.end),
    });
    let bundle = Bundle {
        object,
        sources: sources.clone(),
        programs: programs.collect(),
        probes: typed.probes.clone(),
        maps: typed.maps.clone(),
        map_objects,
        events: typed.events.iter().cloned().chain(failures).collect(),
        globals: Globals { size, ..typed.globals },
        loops,
        time_formats: typed.time_formats.clone(),
        enums: typed.enums.clone(),
        records: typed.records.clone(),
        config: typed.config.clone(),
        origin: None,
    };
    Ok(Some(Output { bundle, llvm, llvm_opt, bpf }))
}

/// What the programs need, once they are lowered.
struct Lowered {
    map_objects: Vec<MapObject>,
    loops: Vec<LoopDef>,
    failures: Vec<EventDef>,
    /// Of the memory that all programs share.
    size: u32,
}

/// Lowers all programs; nothing if there is more scratch memory than can have a place.
fn lower_programs(unit: &Unit<'_, '_>, sources: &SourceMap, whole: Span) -> Result<Option<Lowered>, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut scratch = 0;
    for p in &unit.typed.programs {
        match program::lower(unit, p) {
            Ok(used) => scratch = scratch.max(used.unwrap_or(0)),
            Err(d) => errors.push(*d),
        }
        if unit.placed.get() > PLACED_LIMIT {
            return Ok(None);
        }
    }
    let mut map_objects = unit.typed.map_objects.clone();
    if unit.placed.get() > 0 {
        map_objects.push(MapObject {
            symbol: PLACED_SCRATCH_SYMBOL.to_string(),
            map_type: map_type::ARRAY.number,
            key_size: 4,
            value_size: unit.placed.get(),
            max_entries: 1,
            flags: 0,
        });
    }
    if let Some(global) = unit.scratch.get() {
        let object = MapObject {
            symbol: SCRATCH_SYMBOL.to_string(),
            map_type: map_type::PERCPU_ARRAY.number,
            key_size: 4,
            value_size: scratch.max(8),
            max_entries: unit.scratch_entries.get().max(1),
            flags: 0,
        };
        unit.define_map(global, &object);
        match map_objects.iter_mut().find(|o| o.symbol == SCRATCH_SYMBOL) {
            Some(slot) => *slot = object,
            None => map_objects.push(object),
        }
    }
    unit.debug.finish();
    if let Some(message) = unit.ir.failure() {
        errors.push(*from_llvm(&message, sources, whole));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let (loops, failures) = (unit.loops.take(), unit.failures.take());
    Ok(Some(Lowered { map_objects, loops, failures, size: unit.size }))
}

/// The message about a function that needs too much stack alone.
const STACK: &str = "the program needs more than BPF's 512 bytes of stack";

/// An error of LLVM, `file:line:column: text` if it knows the place.
fn from_llvm(message: &str, sources: &SourceMap, otherwise: Span) -> Box<Diagnostic> {
    let place = sources.files().iter().enumerate().find_map(|(index, file)| {
        let rest = message.strip_prefix(file.name.as_str())?.strip_prefix(':')?;
        let mut parts = rest.splitn(3, ':');
        let (line, column) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let start = sources.position(index, line, column)?;
        Some((Span { start, end: start + 1 }, parts.next()?.trim()))
    });
    let (span, text) = place.unwrap_or((otherwise, message));
    if text.contains("BPF stack limit") || text.contains("stack arguments") {
        return Diagnostic::error(Code::TooLarge, span, STACK)
            .help("split the probe, or use fewer variables at the same time");
    }
    Diagnostic::error(Code::TooLarge, span, "LLVM cannot compile this to BPF").note(text)
}
