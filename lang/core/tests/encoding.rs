//! The bytes of a bundle. A bundle that holds every kind of target, action and type is encoded and compared with
//! `tests/bundle/encoding.hex`, which begins with the version of the format. Bytes that change under the same version
//! would be misread by an `rtrace-run` of another build, so they may change only together with it:
//! raise `FORMAT_VERSION`, then run `BLESS=1 cargo test -p rtrace-core`.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use rtrace_core::bundle::*;
use rtrace_core::origin::{FileId, Origin};
use rtrace_core::source::SourceMap;
use rtrace_core::types::{Agg, Record, Series, Space, StackMode, StackType, Type, TypeId};
use std::path::Path;

/// All values of a chain: the one after none, the one after that, and so on.
fn all<T>(after: fn(Option<&T>) -> Option<T>) -> Vec<T> {
    let mut found: Vec<T> = Vec::new();
    while let Some(next) = after(found.last()) {
        found.push(next);
    }
    found
}

/// Targets in the order of their declaration. A new kind is a compiler error here; so are those below.
fn target_after(target: Option<&Target>) -> Option<Target> {
    let text = |t: &str| t.to_owned();
    Some(match target {
        None => Target::Begin,
        Some(Target::Begin) => Target::End,
        Some(Target::End) => Target::Signal { number: 10 },
        Some(Target::Signal { .. }) => Target::Test { name: text("sum") },
        Some(Target::Test { .. }) => Target::Bench { name: text("hash") },
        Some(Target::Bench { .. }) => {
            Target::Kprobe { function: text("f"), module: Some(text("m")), offset: 4, ret: true, shared: false }
        }
        Some(Target::Kprobe { .. }) => Target::Trampoline { function: text("g"), module: None, btf_id: 300 },
        Some(Target::Trampoline { .. }) => Target::BpfFunction { program: 7, function: text("h"), btf_id: 3 },
        Some(Target::BpfFunction { .. }) => Target::Tracepoint { category: text("sched"), name: text("switch") },
        Some(Target::Tracepoint { .. }) => Target::RawTracepoint { name: text("r"), btf_id: Some(9), module: None },
        Some(Target::RawTracepoint { .. }) => {
            Target::Uprobe { path: text("/bin/a"), symbol: text("main"), offset: 0x1234, ret: false }
        }
        Some(Target::Uprobe { .. }) => Target::Usdt { path: text("/bin/b"), offset: 0x10, semaphore: 0x20 },
        Some(Target::Usdt { .. }) => Target::Interval { nanoseconds: 1_000_000_000 },
        Some(Target::Interval { .. }) => Target::Profile { sampling: Sampling::Hertz(99) },
        Some(Target::Profile { sampling: Sampling::Hertz(_) }) => {
            Target::Profile { sampling: Sampling::Nanoseconds(5000) }
        }
        Some(Target::Profile { sampling: Sampling::Nanoseconds(_) }) => {
            Target::PerfEvent { perf_type: 1, config: 2, period: 3 }
        }
        Some(Target::PerfEvent { .. }) => Target::Iter { kind: text("task"), btf_id: 11, pin: Some(text("/p")) },
        Some(Target::Iter { .. }) => Target::Watchpoint {
            watched: Watched::Address(0x1000),
            length: 8,
            access: Access { read: true, write: true, execute: false },
        },
        Some(Target::Watchpoint { watched: Watched::Address(_), .. }) => Target::Watchpoint {
            watched: Watched::Symbol { name: text("jiffies"), offset: 8 },
            length: 4,
            access: Access { read: false, write: false, execute: true },
        },
        Some(Target::Watchpoint { watched: Watched::Symbol { .. }, .. }) => return None,
    })
}

fn conversion_after(conversion: Option<&Conversion>) -> Option<Conversion> {
    use Conversion::*;
    Some(match conversion {
        None => Signed,
        Some(Signed) => Unsigned,
        Some(Unsigned) => Octal,
        Some(Octal) => Hex,
        Some(Hex) => HexUpper,
        Some(HexUpper) => Char,
        Some(Char) => Pointer,
        Some(Pointer) => Str,
        Some(Str) => Buffer,
        Some(Buffer) => BufferHex,
        Some(BufferHex) => BufferEscaped,
        Some(BufferEscaped) => GfpFlags,
        Some(GfpFlags) => return None,
    })
}

/// A format with every conversion.
fn format() -> Format {
    let mut pieces = vec![Piece::Text(b"a ".to_vec())];
    pieces.extend(all(conversion_after).into_iter().map(|conversion| {
        Piece::Spec(FormatSpec {
            minus: true,
            plus: false,
            space: true,
            zero: false,
            alternate: true,
            width: Some(16),
            precision: None,
            length_bits: 64,
            conversion,
        })
    }));
    Format(pieces)
}

fn action_after(action: Option<&Action>) -> Option<Action> {
    Some(match action {
        None => Action::Printf { format: format(), stream: Stream::Out },
        Some(Action::Printf { stream: Stream::Out, .. }) => {
            Action::Printf { format: Format(vec![]), stream: Stream::Join }
        }
        Some(Action::Printf { stream: Stream::Join, .. }) => {
            Action::Printf { format: Format(vec![]), stream: Stream::Warning }
        }
        Some(Action::Printf { stream: Stream::Warning, .. }) => {
            Action::Printf { format: Format(vec![]), stream: Stream::Error }
        }
        Some(Action::Printf { stream: Stream::Error, .. }) => Action::PrintValue,
        Some(Action::PrintValue) => Action::PrintMap { map: 1, top: 2, div: 3 },
        Some(Action::PrintMap { .. }) => Action::PrintEntry { map: 1, top: 2, div: 3, entry: (4, 5) },
        Some(Action::PrintEntry { .. }) => Action::Clear { map: 6 },
        Some(Action::Clear { .. }) => Action::Zero { map: 7 },
        Some(Action::Zero { .. }) => Action::Exit,
        Some(Action::Exit) => Action::Unwatch,
        Some(Action::Unwatch) => Action::Time { format: "%H".to_owned() },
        Some(Action::Time { .. }) => Action::System { format: Format(vec![]) },
        Some(Action::System { .. }) => Action::Cat { format: Format(vec![]) },
        Some(Action::Cat { .. }) => Action::Failure { helper: "map_lookup_elem".to_owned() },
        Some(Action::Failure { .. }) => Action::Packet { path: "x.pcap".to_owned(), offset: 14 },
        Some(Action::Packet { .. }) => return None,
    })
}

fn agg_after(agg: Option<&Agg>) -> Option<Agg> {
    let series = |of| Agg::Tseries { interval: 1000, intervals: 20, of, signed: true };
    Some(match agg {
        None => Agg::Count,
        Some(Agg::Count) => Agg::Sum { signed: true },
        Some(Agg::Sum { .. }) => Agg::Avg { signed: false },
        Some(Agg::Avg { .. }) => Agg::Stats { signed: true },
        Some(Agg::Stats { .. }) => Agg::Min { signed: false },
        Some(Agg::Min { .. }) => Agg::Max { signed: true },
        Some(Agg::Max { .. }) => Agg::Hist { bits: 3 },
        Some(Agg::Hist { .. }) => Agg::Lhist { min: -10, max: 100, step: 5 },
        Some(Agg::Lhist { .. }) => Agg::Quantiles { percentiles: vec![50_000, 99_900] },
        Some(Agg::Quantiles { .. }) => series(Series::Last),
        Some(Agg::Tseries { of: Series::Last, .. }) => series(Series::Sum),
        Some(Agg::Tseries { of: Series::Sum, .. }) => series(Series::Min),
        Some(Agg::Tseries { of: Series::Min, .. }) => series(Series::Max),
        Some(Agg::Tseries { of: Series::Max, .. }) => series(Series::Avg),
        Some(Agg::Tseries { of: Series::Avg, .. }) => return None,
    })
}

fn mode_after(mode: Option<&StackMode>) -> Option<StackMode> {
    Some(match mode {
        None => StackMode::Bpftrace,
        Some(StackMode::Bpftrace) => StackMode::Perf,
        Some(StackMode::Perf) => StackMode::Raw,
        Some(StackMode::Raw) => StackMode::BuildId,
        Some(StackMode::BuildId) => return None,
    })
}

fn record() -> Record {
    Record { name: "struct s".to_owned(), id: TypeId(TypeId::SCRIPT), size: 24 }
}

/// Types in the order of their declaration, but for stacks and aggregations, which [`types`] adds.
fn type_after(ty: Option<&Type>) -> Option<Type> {
    let stack = StackType { user: true, mode: StackMode::Perf, depth: 127, stored: true };
    Some(match ty {
        None => Type::Void,
        Some(Type::Void) => Type::Bool,
        Some(Type::Bool) => Type::Int { bits: 32, signed: true },
        Some(Type::Int { .. }) => Type::Float { bytes: 8 },
        Some(Type::Float { .. }) => Type::Int128 { signed: true },
        Some(Type::Int128 { .. }) => Type::Enum { name: "e".to_owned(), bits: 32, signed: false },
        Some(Type::Enum { .. }) => Type::String { cap: 64 },
        Some(Type::String { .. }) => Type::Buffer { cap: 65 },
        Some(Type::Buffer { .. }) => Type::List { elem: Box::new(Type::Bool), cap: 66 },
        Some(Type::List { .. }) => Type::Inet,
        Some(Type::Inet) => Type::Mac,
        Some(Type::Mac) => Type::Ptr { to: Box::new(Type::Void), space: Space::Kernel },
        Some(Type::Ptr { space: Space::Kernel, .. }) => Type::Ptr { to: Box::new(Type::Void), space: Space::User },
        Some(Type::Ptr { space: Space::User, .. }) => Type::Array { elem: Box::new(Type::Bool), len: 3 },
        Some(Type::Array { .. }) => Type::Record(record()),
        Some(Type::Record(_)) => Type::Tuple(vec![Type::Bool, Type::Inet]),
        Some(Type::Tuple(_)) => Type::NamedTuple(vec![("a".to_owned(), Type::Mac)]),
        Some(Type::NamedTuple(_)) => Type::Stack(stack),
        Some(Type::Stack(_)) => Type::Ksym,
        Some(Type::Ksym) => Type::Usym,
        Some(Type::Usym) => Type::ProbeName,
        Some(Type::ProbeName) => Type::FuncName,
        Some(Type::FuncName) => Type::Username,
        Some(Type::Username) => Type::Timestamp { format: 1 },
        Some(Type::Timestamp { .. }) => Type::CgroupPath,
        Some(Type::CgroupPath) => Type::ProcessName,
        Some(Type::ProcessName) => Type::Flags { of: "O_".to_owned() },
        Some(Type::Flags { .. }) => Type::Agg(Agg::Count),
        Some(Type::Agg(_)) => return None,
    })
}

/// Every type.
fn types() -> Vec<Type> {
    let stack = |mode| Type::Stack(StackType { user: false, mode, depth: 5, stored: false });
    let stacks = all(mode_after).into_iter().map(stack);
    all(type_after).into_iter().chain(stacks).chain(all(agg_after).into_iter().map(Type::Agg)).collect()
}

fn programs() -> Vec<ProgramDef> {
    let kinds = [
        ProgType::Kprobe,
        ProgType::Tracepoint,
        ProgType::PerfEvent,
        ProgType::RawTracepoint,
        ProgType::BtfTracepoint,
        ProgType::Fentry,
        ProgType::Fexit,
        ProgType::Iter,
    ];
    let ids = [ProbeIdSource::Unused, ProbeIdSource::Patch, ProbeIdSource::Cookie];
    let modes = [AttachMode::No, AttachMode::Link, AttachMode::Event];
    let attach = |(probe, target)| AttachPoint { probe, target, span: (probe, probe + 1) };
    let mut targets = Some((0..).zip(all(target_after)).map(attach).collect());
    let program = |(n, prog_type)| ProgramDef {
        symbol: format!("p{n}"),
        prog_type,
        probe_id: *ids.iter().cycle().nth(n).expect("an endless cycle"),
        attach_mode: *modes.iter().cycle().nth(n).expect("an endless cycle"),
        session: (n == 1).then_some(0),
        attach: targets.take().unwrap_or_default(),
        span: (1, 2),
    };
    kinds.into_iter().enumerate().map(program).collect()
}

/// A bundle with at least one of everything.
fn bundle() -> Bundle {
    let mut sources = SourceMap::default();
    sources.add("a.rt", "begin { exit() }");
    let layout = EventLayout { fields: vec![EventField { offset: 4, var_max: 100 }], fixed_size: 12, max_size: 112 };
    let event = |action| EventDef { action, fields: vec![Type::Bool], layout: layout.clone(), lost: 16, span: (0, 5) };
    let map = |(n, value): (usize, Type)| MapDef {
        name: format!("m{n}"),
        key: (n % 2 == 0).then_some(Type::Bool),
        value,
        storage: match n % 2 {
            0 => Storage::Map { object: 2, per_cpu: true },
            _ => Storage::Global { offset: 64, stripes: 64, stride: 128 },
        },
        set_flag: (n % 3 == 0).then_some(8),
        lost: 24,
        max_entries: 4096,
    };
    Bundle {
        object: b"ELF".to_vec(),
        sources,
        programs: programs(),
        probes: vec![ProbeInfo { name: "kprobe:f".to_owned(), function: "f".to_owned() }],
        maps: types().into_iter().enumerate().map(map).collect(),
        map_objects: vec![MapObject {
            symbol: "o".to_owned(),
            map_type: 1,
            key_size: 8,
            value_size: 16,
            max_entries: 1 << 20,
            flags: 1,
        }],
        events: all(action_after).into_iter().map(event).collect(),
        globals: Globals {
            size: 4096,
            start_time: 1,
            failures: Some(2),
            kept: None,
            lost_stacks: 3,
            new_stacks: Some(4),
            cpid: 5,
            ncpus: 6,
            tai: Some(7),
            wall: None,
            unready: Some(8),
            exited: Some(9),
        },
        loops: vec![LoopDef { span: (3, 4), range: true, rounds: 1024, stopped: 40 }],
        time_formats: vec!["%H:%M".to_owned()],
        enums: vec![EnumDef { name: "e".to_owned(), values: vec![("A".to_owned(), -1)] }],
        records: vec![RecordDef {
            record: record(),
            fields: vec![RecordField { name: "x".to_owned(), ty: Type::Bool, bit_offset: 9, bits: Some(3) }],
        }],
        config: Config {
            pid: Some(1),
            pid_namespace: Some((2, 3)),
            mode: Mode::Bench,
            missing_probes: MissingProbes::Warn,
            changes_system: true,
            ..Config::default()
        },
        origin: Some(Origin {
            machine: "x86_64".to_owned(),
            release: "6.12.0".to_owned(),
            types: vec![("vmlinux".to_owned(), 0x0123_4567_89ab_cdef)],
            files: vec![
                ("/bin/a".to_owned(), FileId::Build(vec![1, 2, 3])),
                ("/bin/b".to_owned(), FileId::Contents { length: 4, sum: 5 }),
            ],
        }),
    }
}

/// The version, then the bytes, 32 a line.
fn text(bytes: &[u8]) -> String {
    let line = |chunk: &[u8]| chunk.iter().map(|b| format!("{b:02x}")).collect::<String>() + "\n";
    format!("format {FORMAT_VERSION}\n") + &bytes.chunks(32).map(line).collect::<String>()
}

#[test]
fn bytes_change_with_the_version_only() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bundle/encoding.hex");
    let found = text(&bundle().to_bytes());
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    if found == golden {
        return;
    }
    assert_ne!(
        found.lines().next(),
        golden.lines().next(),
        "the encoding of bundles has changed, but FORMAT_VERSION is still {FORMAT_VERSION}: raise it in \
         lang/core/src/bundle/mod.rs, then run BLESS=1 cargo test -p rtrace-core"
    );
    assert!(std::env::var_os("BLESS").is_some(), "the format of bundles is new: BLESS=1 cargo test -p rtrace-core");
    std::fs::write(&path, found).expect("a writable golden file");
}

#[test]
fn a_bundle_survives_its_bytes() {
    let bundle = bundle();
    assert_eq!(Bundle::from_bytes(&bundle.to_bytes()), Ok(bundle));
}
