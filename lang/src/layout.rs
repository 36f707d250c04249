//! The layout pass: where each map of the script is kept, which BPF maps are needed, and what lies where
//! in the memory that all programs share.

use crate::bundle::{
    Action, AttachMode, Config, EnumDef, EventDef, Globals, MapDef, MapObject, PACKETS_SYMBOL, PROBES_SYMBOL,
    ProbeIdSource, RINGBUF_SYMBOL, RecordDef, RecordField, STACKS_SYMBOL, Storage, UNWIND_SYMBOL, WANTED_SYMBOL,
    unwind,
};
use crate::check::{Checked, MapInfo};
use crate::codes::Code;
use crate::config::Options;
use crate::constants;
use crate::diag::Diagnostic;
use crate::kernel::{Kernel, Version};
use crate::names;
use crate::source::Span;
use crate::typed::Typed;
use crate::types::{Agg, Record, Type};
use crate::uapi::map_type;

/// Copies of a keyless counter: CPUs that share one still count right, so this need not be the number
/// of CPUs, only enough that they seldom meet.
const STRIPES: u32 = 64;
/// A cache line, so that CPUs do not write to the same one.
const LINE: u32 = 64;
/// Room for stacks beyond those that full maps name: of variables, and of entries that were deleted, until the
/// runtime frees them. Each takes about a kilobyte of kernel memory.
const SPARE_STACKS: u64 = 4096;
/// A table of more stacks takes memory as it fills, where programs can do so.
const MOST_STACKS_AT_ONCE: u32 = 1 << 16;
/// `BPF_F_NO_PREALLOC` of `linux/bpf.h`.
const NO_PREALLOC: u32 = 1;
/// Memory for all maps without keys.
const GLOBALS_LIMIT: u32 = 1 << 28;
/// Aggregations with more words have no copies for each CPU in maps with keys.
const SHARED_WORDS: u32 = 512;
/// Before 5.11 the verifier copied keys on its stack.
const OLD_KEY_LIMIT: u32 = 512;

/// Lays everything out.
pub(crate) fn layout(mut checked: Checked, options: &Options, kernel: Kernel<'_>) -> Result<Typed, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let mut typed = Typed { globals: flags(&mut checked, options), ..Typed::default() };
    for info in &checked.maps {
        let map = map(info, options, &mut typed);
        errors.extend(map.key.as_ref().and_then(|key| old_key(info, key, kernel)));
        typed.maps.push(map);
        if typed.globals.size > GLOBALS_LIMIT {
            return Err(vec![too_many_globals(info)]);
        }
    }
    errors.extend(large_events(&checked, options));
    errors.extend(too_many_programs(&checked, options));
    event_objects(&checked, options, &mut typed);
    stack_objects(&checked, kernel, &mut typed);
    typed.map_objects.extend(shared_probes(&checked));
    for ty in types(&checked) {
        walk(ty, &mut |t| describe(t, kernel, &mut typed.enums, &mut typed.records));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    typed.globals.size = typed.globals.size.next_multiple_of(8);
    Ok(Typed {
        programs: checked.programs,
        probes: checked.probes,
        events: checked.events,
        time_formats: checked.time_formats,
        instruction_pointer: options.arch.instruction_pointer(),
        config: Config {
            pid: options.pid,
            changes_system: options.unsafe_,
            pid_namespace: kernel.machine.pid_namespace(),
            max_strlen: options.max_strlen,
            ..options.run.clone()
        },
        license: options.license.clone(),
        ..typed
    })
}

/// The shared memory of what is not a map: what the runtime tells programs and they tell it, and where events that are
/// lost are counted.
fn flags(checked: &mut Checked, options: &Options) -> Globals {
    let mut globals = Globals { size: 32, start_time: 0, lost_stacks: 8, cpid: 16, ncpus: 24, ..Globals::default() };
    let series = checked.maps.iter().any(|m| matches!(m.value, Some(Type::Agg(Agg::Tseries { .. }))));
    let kept = checked.events.iter().any(|e| e.action.is_kept());
    let after_exit = checked.programs.iter().any(|p| p.after_exit);
    let mut word = |wanted: bool| wanted.then(|| take(&mut globals, 8, 8));
    let (tai, wall, unready) = (word(checked.tai), word(series), word(checked.unwinds));
    let (failures, kept, exited) = (word(options.failures), word(kept), word(after_exit));
    for event in &mut checked.events {
        event.lost = take(&mut globals, 8, 8);
    }
    Globals { tai, wall, unready, failures, kept, exited, ..globals }
}

/// Where a map of the script is kept; a BPF map of its own is added.
fn map(info: &MapInfo, options: &Options, typed: &mut Typed) -> MapDef {
    let lost = take(&mut typed.globals, 8, 8);
    let key = info.key.clone().flatten();
    let value = info.value.clone().unwrap_or(Type::I64);
    let max_entries = info.max_entries.unwrap_or(options.run.max_map_keys);
    let set_flag = (key.is_none() && (info.asked || !tells(&value))).then(|| take(&mut typed.globals, 8, 8));
    let storage = match &key {
        None => keyless(&value, info, &mut typed.globals, &mut typed.map_objects),
        Some(key) => keyed(key, &value, info, max_entries, &mut typed.map_objects),
    };
    MapDef { name: format!("@{}", info.name), key, value, storage, set_flag, lost, max_entries }
}

fn old_key(info: &MapInfo, key: &Type, kernel: Kernel<'_>) -> Option<Diagnostic> {
    if key.size() <= OLD_KEY_LIMIT || kernel.machine.version() >= Version(5, 11) {
        return None;
    }
    let message = format!(
        "the key of `@{}` is too large: {} bytes, but at most {OLD_KEY_LIMIT} are allowed before Linux 5.11",
        info.name,
        key.size()
    );
    Some(*Diagnostic::error(Code::TooLarge, info.span, message).help("use shorter strings, as in str(x, 256)"))
}

fn too_many_globals(info: &MapInfo) -> Diagnostic {
    let message = format!("maps without keys need more than {} MB", GLOBALS_LIMIT >> 20);
    *Diagnostic::error(Code::TooLarge, info.span, message)
        .note("counters and histograms without a key have one copy per CPU")
}

/// Events that the ring buffer has no room for.
fn large_events(checked: &Checked, options: &Options) -> Vec<Diagnostic> {
    let room = options.run.ringbuf_bytes;
    let large = checked.events.iter().filter(|e| e.layout.max_size > room / 2);
    let error = |event: &EventDef| {
        let size = event.layout.max_size;
        let message = format!("the event sent here is too large: up to {size} bytes, but the buffer has {room}");
        let span = Span { start: event.span.0, end: event.span.1 };
        *Diagnostic::error(Code::TooLarge, span, message)
            .help("use shorter strings, as in str(x, 256), or a larger buffer: config = { perf_rb_pages = N }")
    };
    large.map(error).collect()
}

fn too_many_programs(checked: &Checked, options: &Options) -> Option<Diagnostic> {
    let (most, last) = (options.max_bpf_progs?, checked.programs.last()?);
    let count = checked.programs.len();
    (count > most as usize).then(|| {
        *Diagnostic::error(Code::TooLarge, last.span, format!("the script has too many BPF programs: {count}"))
            .help(format!("the setting max_bpf_progs allows {most}"))
    })
}

/// What events and packets are sent through.
fn event_objects(checked: &Checked, options: &Options, typed: &mut Typed) {
    let is_packet = |e: &EventDef| matches!(e.action, Action::Packet { .. });
    if options.failures || !checked.events.iter().all(is_packet) {
        typed.map_objects.push(object(RINGBUF_SYMBOL, map_type::RINGBUF.number, 0, 0, options.run.ringbuf_bytes));
    }
    if checked.events.iter().any(is_packet) {
        typed.map_objects.push(object(PACKETS_SYMBOL, map_type::PERF_EVENT_ARRAY.number, 4, 4, 0));
    }
}

/// The table of stacks, if some are kept, and those by which user stacks are unwound.
fn stack_objects(checked: &Checked, kernel: Kernel<'_>, typed: &mut Typed) {
    // A stack that an event carries whole is not kept.
    let direct: Vec<&Type> =
        checked.events.iter().flat_map(|e| e.fields.iter()).filter(|t| matches!(t, Type::Stack(_))).collect();
    let mut bytes = 0;
    for ty in types(checked) {
        walk(ty, &mut |t| {
            if let Type::Stack(s) = t
                && (s.stored || !direct.iter().any(|d| std::ptr::eq(*d, t)))
            {
                bytes = bytes.max(s.bytes());
            }
        });
    }
    if bytes > 0 {
        typed.globals.new_stacks = Some(take(&mut typed.globals, 8, 8));
        typed.map_objects.push(stacks(&typed.maps, bytes, kernel.machine.version()));
    }
    if checked.unwinds {
        let (files, wanted) = (unwind::FILES, unwind::WANTED_FILES);
        typed.map_objects.push(object(UNWIND_SYMBOL, map_type::HASH_OF_MAPS.number, unwind::KEY, 4, files));
        typed.map_objects.push(object(WANTED_SYMBOL, map_type::HASH.number, unwind::KEY, unwind::WANTED, wanted));
    }
}

/// The identifiers of probes by address, for programs that many functions share.
fn shared_probes(checked: &Checked) -> Option<MapObject> {
    let shared =
        checked.programs.iter().filter(|p| p.attach_mode == AttachMode::Event && p.probe_id != ProbeIdSource::Unused);
    let addresses: usize = shared.map(|p| p.attach.len()).sum();
    // A name may stand for several functions, and a function be seen at two addresses.
    (addresses > 0).then(|| object(PROBES_SYMBOL, map_type::HASH.number, 8, 8, 4 * addresses as u32))
}

/// All types of values that are kept or sent.
fn types(checked: &Checked) -> impl Iterator<Item = &Type> {
    let maps = checked.maps.iter().flat_map(|m| m.key.iter().flatten().chain(m.value.iter()));
    let events = checked.events.iter().flat_map(|e| e.fields.iter());
    let locals = checked.programs.iter().flat_map(|p| p.all_locals().map(|l| &l.ty));
    maps.chain(events).chain(locals)
}

/// The table of stacks of so many bytes: what the maps can name, and a half or more for others.
fn stacks(maps: &[MapDef], bytes: u32, kernel: Version) -> MapObject {
    let named = maps.iter().map(MapDef::most_stacks).sum::<u64>();
    let entries = u32::try_from(named.saturating_add(SPARE_STACKS.max(named / 2))).unwrap_or(u32::MAX);
    // Before Linux 6.1 programs of perf events must not allocate.
    let grows = entries > MOST_STACKS_AT_ONCE && kernel >= Version(6, 1);
    MapObject {
        flags: if grows { NO_PREALLOC } else { 0 },
        ..object(STACKS_SYMBOL, map_type::HASH.number, 8, 8 + bytes, entries)
    }
}

/// Whether a value itself tells if it was ever written: these count what they took in.
fn tells(value: &Type) -> bool {
    matches!(value, Type::Agg(agg) if !matches!(agg, Agg::Sum { .. } | Agg::Tseries { .. }))
}

fn keyless(value: &Type, info: &MapInfo, globals: &mut Globals, objects: &mut Vec<MapObject>) -> Storage {
    match value {
        Type::Agg(a) if a.is_additive() => {
            let stride = (a.words() * 8).next_multiple_of(LINE);
            Storage::Global { offset: take(globals, stride * STRIPES, LINE), stripes: STRIPES, stride }
        }
        Type::Agg(a) => {
            objects.push(object(&symbol(info, objects.len()), map_type::PERCPU_ARRAY.number, 4, a.words() * 8, 1));
            Storage::Map { object: objects.len() as u32 - 1, per_cpu: true }
        }
        v if v.is_scalar() => Storage::Global { offset: take(globals, 8, 8), stripes: 1, stride: 8 },
        v => {
            objects.push(object(&symbol(info, objects.len()), map_type::ARRAY.number, 4, v.size().max(1), 1));
            Storage::Map { object: objects.len() as u32 - 1, per_cpu: false }
        }
    }
}

fn keyed(key: &Type, value: &Type, info: &MapInfo, max_entries: u32, objects: &mut Vec<MapObject>) -> Storage {
    // Large values that are only added to are shared: a copy for every CPU would take too much memory.
    let per_cpu = matches!(value, Type::Agg(a) if a.words() <= SHARED_WORDS || !a.is_additive());
    let kind = match (per_cpu, info.lru) {
        (true, true) => map_type::LRU_PERCPU_HASH.number,
        (true, false) => map_type::PERCPU_HASH.number,
        (false, true) => map_type::LRU_HASH.number,
        (false, false) => map_type::HASH.number,
    };
    let value_size = if value.is_scalar() { 8 } else { value.size().max(1) };
    objects.push(object(&symbol(info, objects.len()), kind, key.size().max(1), value_size, max_entries));
    Storage::Map { object: objects.len() as u32 - 1, per_cpu }
}

/// A C name for the BPF map of a script's map.
fn symbol(info: &MapInfo, number: usize) -> String {
    format!("m{number}_{}", info.name)
}

fn object(symbol: &str, map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> MapObject {
    MapObject { symbol: symbol.to_owned(), map_type, key_size, value_size, max_entries, flags: 0 }
}

/// Takes memory of the shared block.
fn take(globals: &mut Globals, size: u32, align: u32) -> u32 {
    let offset = globals.size.checked_next_multiple_of(align).unwrap_or(u32::MAX);
    globals.size = offset.saturating_add(size);
    offset
}

/// Calls `f` for a type and all types within.
fn walk<'t>(ty: &'t Type, f: &mut impl FnMut(&'t Type)) {
    f(ty);
    match ty {
        Type::Tuple(list) => list.iter().for_each(|t| walk(t, f)),
        Type::NamedTuple(list) => list.iter().for_each(|(_, t)| walk(t, f)),
        Type::Array { elem, .. } | Type::List { elem, .. } => walk(elem, f),
        _ => {}
    }
}

/// Nesting of anonymous structures that is followed.
const ANONYMOUS_DEPTH: u32 = 8;

/// The members of a structure for printing: those of anonymous structures and unions stand in their place, as a script
/// names them.
fn members(record: &Record, kernel: Kernel<'_>, start: u32, depth: u32, fields: &mut Vec<RecordField>) {
    for m in kernel.types.members(record.id) {
        let bit_offset = start.saturating_add(m.bit_offset);
        match &m.ty {
            Type::Record(inner) if m.name.is_empty() && depth < ANONYMOUS_DEPTH => {
                members(inner, kernel, bit_offset, depth + 1, fields);
            }
            _ => fields.push(RecordField { name: m.name, ty: m.ty, bit_offset, bits: m.bits }),
        }
    }
}

/// Adds what is needed to print a type: enumerators, members.
fn describe(ty: &Type, kernel: Kernel<'_>, enums: &mut Vec<EnumDef>, records: &mut Vec<RecordDef>) {
    match ty {
        Type::Enum { name, .. } if !enums.iter().any(|e| e.name == *name) => {
            let values = names::enumerators(name).unwrap_or_else(|| kernel.types.enum_values(name));
            enums.push(EnumDef { name: name.clone(), values });
        }
        Type::Flags { of } if !enums.iter().any(|e| e.name == *of) => {
            let values = match of.ends_with('_') {
                true => constants::with_prefix(kernel.types, of),
                false => names::enumerators(of).unwrap_or_else(|| kernel.types.enum_values(of)),
            };
            enums.push(EnumDef { name: of.clone(), values });
        }
        Type::Record(r) if !records.iter().any(|d| d.record == *r) => {
            let mut fields = Vec::new();
            members(r, kernel, 0, 0, &mut fields);
            records.push(RecordDef { record: r.clone(), fields: fields.clone() });
            for field in &fields {
                walk(&field.ty, &mut |t| describe(t, kernel, enums, records));
            }
        }
        _ => {}
    }
}
