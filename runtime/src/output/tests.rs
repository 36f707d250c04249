//! The output of a run by example: exact text and JSON for every type, map form and message. Expected
//! texts are bpftrace 0.27.1's own output for the same scripts, where it can print such a thing.

use super::*;
use rtrace_core::bundle::*;
use rtrace_core::source::SourceMap;
use rtrace_core::types::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

mod folded;
mod histograms;

/// Maps held in memory.
#[derive(Default)]
struct Fake {
    entries: HashMap<u32, Vec<Entry>>,
    stacks: HashMap<u64, Vec<u64>>,
}

impl MapSource for Fake {
    fn entries(&self, map: u32) -> io::Result<Vec<Entry>> {
        Ok(self.entries.get(&map).cloned().unwrap_or_default())
    }

    fn lookup(&self, map: u32, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let entries = self.entries.get(&map).map_or(&[][..], Vec::as_slice);
        Ok(entries.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()))
    }

    fn stack(&self, id: u64) -> Option<Vec<u64>> {
        self.stacks.get(&id).cloned()
    }
}

/// Standard error of a test.
#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<u8>>>);

impl Write for Errors {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bundle() -> Bundle {
    let record = Record { name: "struct a".into(), id: TypeId(7), size: 16 };
    let inner = Record { name: "struct n".into(), id: TypeId(8), size: 4 };
    let field = |name: &str, ty, bit_offset, bits| RecordField { name: name.into(), ty, bit_offset, bits };
    let mut sources = SourceMap::default();
    sources.add("-e", "BEGIN { errorf(\"bad %d\", 1);\n warnf(\"w\",\n 2) }");
    Bundle {
        object: Vec::new(),
        sources,
        programs: Vec::new(),
        probes: vec![ProbeInfo { name: "kprobe:vfs_read".into(), function: "vfs_read".into() }],
        maps: Vec::new(),
        map_objects: Vec::new(),
        events: Vec::new(),
        globals: Globals::default(),
        loops: Vec::new(),
        time_formats: vec!["%Y".into()],
        enums: vec![EnumDef { name: "e".into(), values: vec![("ONE".into(), 1), ("MINUS".into(), -2)] }],
        records: vec![
            RecordDef {
                fields: vec![
                    field("a", Type::I32, 0, None),
                    field("b", Type::String { cap: 4 }, 32, None),
                    field("c", Type::I8, 67, Some(3)),
                    field("n", Type::Record(inner.clone()), 96, None),
                ],
                record,
            },
            RecordDef { fields: vec![field("x", Type::U32, 0, None)], record: inner },
        ],
        config: Config { ringbuf_bytes: 4096, ..Config::default() },
        origin: None,
    }
}

fn enum_type() -> Type {
    Type::Enum { name: "e".into(), bits: 32, signed: true }
}

fn struct_type() -> Type {
    Type::Record(Record { name: "struct a".into(), id: TypeId(7), size: 16 })
}

fn struct_bytes() -> Vec<u8> {
    let mut bytes = (-5i32).to_le_bytes().to_vec();
    bytes.extend(b"hi\0\0");
    bytes.extend([0b0011_1000, 0, 0, 0]);
    bytes.extend(9u32.to_le_bytes());
    bytes
}

fn stack_type(mode: StackMode) -> Type {
    Type::Stack(StackType { user: true, mode, depth: 8, stored: false })
}

fn array(elem: Type, len: u32) -> Type {
    Type::Array { elem: Box::new(elem), len }
}

fn event(action: Action, fields: Vec<Type>) -> EventDef {
    EventDef { action, layout: EventLayout::new(&fields), fields, lost: 0, span: (8, 27) }
}

fn printf_event(format: &str, fields: Vec<Type>) -> EventDef {
    let format = rtrace_core::bundle::printf::parse(format.as_bytes()).unwrap();
    event(Action::Printf { format, stream: Stream::Out }, fields)
}

/// Text of a series of calls on a printer, and what went to standard error.
fn shown(options: Options, run: impl FnOnce(&mut Printer<'_>)) -> (String, String) {
    shown_on(&bundle(), options, false, run)
}

/// The same of a bundle, where standard error may be a terminal.
fn shown_on(bundle: &Bundle, options: Options, terminal: bool, run: impl FnOnce(&mut Printer<'_>)) -> (String, String) {
    let (mut out, errors) = (Vec::new(), Errors::default());
    let mut printer = Printer::new(&mut out, bundle, options).with_errors(errors.clone(), terminal);
    run(&mut printer);
    printer.flush().unwrap();
    drop(printer);
    let errors = errors.0.lock().unwrap().clone();
    (String::from_utf8_lossy(&out).into_owned(), String::from_utf8(errors).unwrap())
}

const TEXT: Options =
    Options { form: &text::FORM, terminal: false, quiet: false, no_warnings: false, buffering: Buffering::Line };
const JSON: Options = Options { form: &json::FORM, ..TEXT };

/// The record of an event: fixed fields in their inline representation, for the others their data.
fn record(event: &EventDef, fields: &[&[u8]]) -> Vec<u8> {
    let mut record = vec![0; event.layout.fixed_size as usize];
    for ((field, ty), data) in event.layout.fields.iter().zip(&event.fields).zip(fields) {
        let at = field.offset as usize;
        if field.var_max > 0 {
            record[at..at + 4].copy_from_slice(&(data.len() as u32).to_ne_bytes());
            record.extend_from_slice(data);
        } else {
            let data = &data[..data.len().min(ty.size() as usize)];
            record[at..at + data.len()].copy_from_slice(data);
        }
    }
    record
}

/// Shows an event with these fields.
fn show(p: &mut Printer<'_>, event: &EventDef, fields: &[&[u8]], maps: &Fake) {
    let record = record(event, fields);
    p.event(event, Fields::new(event, &record).unwrap(), maps).unwrap();
}

fn printed(options: Options, event: &EventDef, fields: &[&[u8]], maps: &Fake) -> String {
    shown(options, |p| show(p, event, fields, maps)).0
}

/// A value in text, and its data in JSON.
fn value(ty: Type, bytes: &[u8]) -> (String, String) {
    let event = event(Action::PrintValue, vec![ty]);
    let text = printed(TEXT, &event, &[bytes], &Fake::default());
    let json = printed(JSON, &event, &[bytes], &Fake::default());
    serde_json::from_str::<serde_json::Value>(&json).unwrap();
    let json = json.strip_prefix("{\"type\": \"value\", \"data\": ").unwrap().strip_suffix("}\n").unwrap();
    (text.strip_suffix('\n').unwrap().to_owned(), json.to_owned())
}

#[track_caller]
fn check(ty: Type, bytes: &[u8], text: &str, json: &str) {
    assert_eq!(value(ty, bytes), (text.to_owned(), json.to_owned()));
}

fn printf(format: &str, fields: &[(Type, &[u8])]) -> String {
    let event = printf_event(format, fields.iter().map(|f| f.0.clone()).collect());
    let bytes: Vec<&[u8]> = fields.iter().map(|f| f.1).collect();
    printed(TEXT, &event, &bytes, &Fake::default())
}

fn map(name: &str, key: Option<Type>, value: Type) -> MapDef {
    let storage = Storage::Map { object: 0, per_cpu: false };
    MapDef { name: name.into(), key, value, storage, set_flag: None, lost: 0, max_entries: 8 }
}

/// All maps at the end of a run, in text and JSON.
fn maps(defs: Vec<(MapDef, Vec<Entry>)>) -> (String, String) {
    let (mut bundle, mut fake) = (bundle(), Fake::default());
    fake.stacks.insert(77, vec![0x1000, 0x2000]);
    for (index, (def, entries)) in (0..).zip(defs) {
        bundle.maps.push(def);
        fake.entries.insert(index, entries);
    }
    let run = |options| shown_on(&bundle, options, false, |p| p.maps(&fake).unwrap()).0;
    let json = run(JSON);
    for line in json.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    (run(TEXT), json)
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn keyed<const N: usize>(entries: [(i32, u64); N]) -> Vec<Entry> {
    entries.iter().map(|(k, v)| (k.to_le_bytes().to_vec(), v.to_le_bytes().to_vec())).collect()
}

#[test]
fn scalars() {
    check(Type::Bool, &[1], "true", "true");
    check(Type::U8, &[200], "200", "200");
    check(Type::I8, &[200], "-56", "-56");
    check(Type::I32, &(-1i32).to_le_bytes(), "-1", "-1");
    check(Type::I64, &i64::MIN.to_le_bytes(), "-9223372036854775808", "-9223372036854775808");
    check(Type::U64, &u64::MAX.to_le_bytes(), "18446744073709551615", "\"18446744073709551615\"");
    check(enum_type(), &1u32.to_le_bytes(), "ONE", "1");
    check(enum_type(), &(-2i32).to_le_bytes(), "MINUS", "-2");
    check(enum_type(), &5u32.to_le_bytes(), "5", "5");
    check(Type::kptr(Type::U8), &0xffff_8880_0000_1000u64.to_le_bytes(), "0xffff888000001000", "18446612682070036480");
    check(Type::kptr(Type::U8), &[0; 8], "0x0", "0");
}

#[test]
fn floating_point_and_wide_integers() {
    let float = |bytes| Type::Float { bytes };
    check(float(4), &0.1f32.to_le_bytes(), "0.100000", "0.1");
    check(float(8), &1.5f64.to_le_bytes(), "1.500000", "1.5");
    assert_eq!(value(float(8), &(-1e300f64).to_le_bytes()).1, "-1e300");
    check(float(8), &f64::INFINITY.to_le_bytes(), "inf", "null");
    check(float(4), &f32::NEG_INFINITY.to_le_bytes(), "-inf", "null");
    check(float(8), &f64::NAN.copysign(-1.0).to_le_bytes(), "-nan", "null");
    check(Type::Int128 { signed: true }, &(-5i128).to_le_bytes(), "-5", "-5");
    check(
        Type::Int128 { signed: true },
        &(1i128 << 100).to_le_bytes(),
        &(1i128 << 100).to_string(),
        &(1i128 << 100).to_string(),
    );
    let most = u128::MAX.to_string();
    check(Type::Int128 { signed: false }, &u128::MAX.to_le_bytes(), &most, &format!("\"{most}\""));
}

/// As gcc lays `-2.5L`, `0.0L`, infinity and NaN out.
#[test]
#[cfg(target_arch = "x86_64")]
fn long_doubles() {
    let long_double = |mantissa: u64, head: u16| {
        let bytes: Vec<u8> = mantissa.to_le_bytes().into_iter().chain(head.to_le_bytes()).chain([0; 6]).collect();
        value(Type::Float { bytes: 16 }, &bytes)
    };
    let both = |text: &str, json: &str| (text.to_owned(), json.to_owned());
    assert_eq!(long_double(0xa000_0000_0000_0000, 0xc000), both("-2.500000", "-2.5"));
    assert_eq!(long_double(0, 0), both("0.000000", "0.0"));
    assert_eq!(long_double(1 << 63, 0x7fff), both("inf", "null"));
    assert_eq!(long_double(0xc000_0000_0000_0000, 0xffff), both("-nan", "null"));
    // Beyond a `double`.
    assert_eq!(long_double(1 << 63, 0x7000), both("inf", "null"));
    assert_eq!(long_double(1 << 63, 1), both("0.000000", "0.0"));
}

#[test]
fn strings_and_bytes() {
    check(Type::String { cap: 8 }, b"abc\0zzz\0", "abc", "\"abc\"");
    check(Type::String { cap: 8 }, b"a\"\\\t\x01\xff", "a\"\\\t\x01\u{fffd}", "\"a\\\"\\\\\\t\\u0001\u{fffd}\"");
    check(Type::Buffer { cap: 8 }, b"\x03\0\0\0ab\x01zzzzz", "ab\\x01", "[97,98,1]");
    check(Type::Mac, b"\x18\xc0\x4d\x08\x2e\xbb", "18:C0:4D:08:2E:BB", "\"18:C0:4D:08:2E:BB\"");
    // Above the limit these come as variable fields, without NUL and length.
    check(Type::String { cap: 100 }, b"long", "long", "\"long\"");
    check(Type::Buffer { cap: 100 }, b"ab\xff", "ab\\xff", "[97,98,-1]");
}

#[test]
fn addresses() {
    let inet = |family: u32, bytes: &[u8]| {
        let mut all = family.to_le_bytes().to_vec();
        all.extend(bytes);
        value(Type::Inet, &all).0
    };
    assert_eq!(inet(2, &[10, 1, 2, 3]), "10.1.2.3");
    assert_eq!(inet(10, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), "2001:db8::1");
    assert_eq!(inet(10, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 1, 2, 3, 4]), "::ffff:1.2.3.4");
    assert_eq!(inet(10, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), "::1.2.3.4");
    assert_eq!(inet(10, &[0; 16]), "::");
    assert_eq!(inet(0, &[0; 16]), "");
}

#[test]
fn collections() {
    check(array(Type::U16, 3), &[1, 0, 2, 0, 3, 0], "[1,2,3]", "[1,2,3]");
    let pair = Type::Tuple(vec![Type::U8, Type::String { cap: 4 }]);
    check(pair.clone(), b"\x01abc", "(1, abc)", "[1,\"abc\"]");
    let nested = Type::Tuple(vec![Type::U8, Type::Tuple(vec![Type::U8, Type::U32])]);
    check(nested, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0], "(1, (2, 3))", "[1,[2,3]]");
    let named = Type::NamedTuple(vec![("a".into(), Type::U8), ("b".into(), Type::String { cap: 2 })]);
    check(named, b"\x01x\0", "{ .a = 1, .b = x }", "{\"a\": 1, \"b\": \"x\"}");
    check(Type::Tuple(vec![]), &[], "()", "[]");
    check(
        struct_type(),
        &struct_bytes(),
        "{ .a = -5, .b = hi, .c = -1, .n = { .x = 9 } }",
        "{\"a\": -5, \"b\": \"hi\", \"c\": -1, \"n\": {\"x\": 9}}",
    );
    let unknown = Type::Record(Record { name: "struct zz".into(), id: TypeId(99), size: 2 });
    check(unknown, &[0x61, 2], "\\x61\\x02", "{}");
}

#[test]
fn names() {
    check(Type::ProbeName, &[0; 8], "kprobe:vfs_read", "\"kprobe:vfs_read\"");
    check(Type::FuncName, &[0; 8], "vfs_read", "\"vfs_read\"");
    check(Type::ProbeName, &[9; 8], "", "\"\"");
    check(Type::Username, &[0; 4], "root", "\"root\"");
    check(Type::Username, &0xffff_fff0u32.to_le_bytes(), "4294967280", "\"4294967280\"");
    check(Type::CgroupPath, &[0xff; 8], "", "\"\"");
    let year = value(Type::Timestamp { format: 0 }, &[0; 8]);
    assert!(year.0.len() == 4 && year.1 == format!("\"{}\"", year.0), "{year:?}");
}

#[test]
fn stacks() {
    let frames = words(&[0x1234, 0xabcd]);
    let ty = stack_type(StackMode::Bpftrace);
    check(ty, &frames, "\n        0x1234\n        0xabcd\n", "\"\\n        0x1234\\n        0xabcd\\n\"");
    check(stack_type(StackMode::Raw), &frames, "\n1234\nabcd\n", "\"\\n1234\\nabcd\\n\"");
    let perf = value(stack_type(StackMode::Perf), &words(&[0x1234])).0;
    assert_eq!(perf, "\n\t1234 0x1234 ([unknown])\n");
    check(stack_type(StackMode::Bpftrace), &[], "\n", "\"\\n\"");
}

#[test]
fn printf_formats() {
    let (five, text): (&[u8], &[u8]) = (&[5, 0, 0, 0], b"abc\0");
    let n = |bytes: &'static [u8]| (Type::I32, bytes);
    let s = || (Type::String { cap: 4 }, text);
    assert_eq!(printf("%d|%5d|%-5d|%05d\n", &[n(five), n(five), n(five), n(five)]), "5|    5|5    |00005\n");
    assert_eq!(printf("%s|%10s|%-10s|%.2s|", &[s(), s(), s(), s()]), "abc|       abc|abc       |ab|");
    assert_eq!(printf("%#x %X %o %c%%", &[n(five), n(five), n(five), n(&[65, 0, 0, 0])]), "0x5 5 5 A%");
    assert_eq!(printf("%x", &[(Type::I8, &[0xff])]), "ffffffff");
    assert_eq!(printf("%d %s|%5s|", &[(Type::Bool, &[1]), (Type::Bool, &[1]), (Type::Bool, &[0])]), "1 true|false|");
    assert_eq!(printf("%s %d", &[(enum_type(), &1u32.to_le_bytes()), (enum_type(), &1u32.to_le_bytes())]), "ONE 1");
    let b = || (Type::Buffer { cap: 3 }, b"\x03\0\0\0ab\x01".as_slice());
    assert_eq!(
        printf("%r|%rh|%rx|%10r|%s", &[b(), b(), b(), b(), b()]),
        "ab\\x01|61 62 01|\\x61\\x62\\x01|    ab\\x01|ab\\x01"
    );
    assert_eq!(printf("%rh", &[(array(Type::U8, 2), b"\x0a\xfe")]), "0a fe");
    assert_eq!(printf("%gr", &[(Type::U32, &0xcc0u32.to_le_bytes())]), "GFP_KERNEL");
    assert_eq!(printf("%12s|", &[(Type::Inet, b"\x02\0\0\0\x0a\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0")]), "    10.0.0.1|");
    assert_eq!(printf("%d %d", &[n(five)]), "5 ");
    // Numbers of aggregations, as their maps hold them.
    assert_eq!(
        printf(
            "%d %s",
            &[(Type::Agg(Agg::Count), &words(&[7])), (Type::Agg(Agg::Avg { signed: true }), &words(&[9, 2]))]
        ),
        "7 4"
    );
}

#[test]
fn bytes_that_are_too_short_print_what_is_there() {
    for ty in [
        Type::Bool,
        Type::U64,
        enum_type(),
        Type::String { cap: 16 },
        Type::Buffer { cap: 16 },
        Type::Inet,
        Type::Mac,
        Type::Float { bytes: 16 },
        Type::Int128 { signed: true },
        Type::kptr(Type::Void),
        array(Type::U32, 2),
        struct_type(),
        Type::Tuple(vec![Type::U8, Type::String { cap: 3 }, Type::U64]),
        stack_type(StackMode::Bpftrace),
        Type::Stack(StackType { user: false, mode: StackMode::Perf, depth: 3, stored: true }),
        Type::Ksym,
        Type::Usym,
        Type::ProbeName,
        Type::FuncName,
        Type::Username,
        Type::Timestamp { format: 3 },
        Type::CgroupPath,
        Type::Agg(Agg::Stats { signed: true }),
        Type::Agg(Agg::Hist { bits: 0 }),
        Type::Void,
    ] {
        for length in [0, 1, 3, 5, 9] {
            let bytes = vec![0xff; length];
            let (bundle, maps_of, mut host) = (bundle(), Fake::default(), Host::default());
            let mut scope = Scope { bundle: &bundle, maps: &maps_of, host: &mut host, escape: false, shortened: false };
            for variable in [false, true] {
                let data = Datum { bytes: &bytes, extra: 0, variable };
                scope.text(&mut Vec::new(), &ty, data);
                scope.json(&mut Vec::new(), &ty, data, 1, 0);
            }
            let _ = maps(vec![(map("@", Some(ty.clone()), ty.clone()), vec![(bytes.clone(), bytes.clone()); 2])]);
        }
    }
}

#[test]
fn control_characters_are_escaped_on_a_terminal() {
    let options = Options { terminal: true, ..TEXT };
    let event = event(Action::PrintValue, vec![Type::String { cap: 32 }]);
    let show = |bytes: &[u8]| printed(options, &event, &[bytes], &Fake::default());
    assert_eq!(show(b"plain"), "plain\n");
    assert_eq!(show(b"\x1b[31mred\r\x07"), "\\x1b[31mred\\x0d\\x07\n");
    assert_eq!(show("tab\tgrün".as_bytes()), "tab\tgrün\n");
    assert_eq!(show(b"\xc2\x9b31m \xff \x7f"), "\\xc2\\x9b31m \\xff \\x7f\n");
    // The format is the script's own text.
    let event = printf_event("\x1b[1m%s\x1b[0m", vec![Type::String { cap: 4 }]);
    assert_eq!(printed(options, &event, &[b"a\x1b"], &Fake::default()), "\x1b[1ma\\x1b\x1b[0m");
}

/// Whoever starts a process or writes a file chooses them.
#[test]
fn names_and_files_are_escaped_on_a_terminal() {
    let show = |options, event: &EventDef, data: &[u8]| printed(options, event, &[data], &Fake::default());
    let terminal = Options { terminal: true, ..TEXT };
    let (ready, done) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::fs::write("/proc/thread-self/comm", "e\x1b[31m").unwrap();
            ready.wait();
            done.wait();
        });
        ready.wait();
        let named = |id: &u32| std::fs::read(format!("/proc/{id}/comm")).is_ok_and(|n| n == b"e\x1b[31m\n");
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let id = tasks.filter_map(|t| t.file_name().to_str()?.parse().ok()).find(named).unwrap();
        let event = event(Action::PrintValue, vec![Type::ProcessName]);
        assert_eq!(show(terminal, &event, &id.to_le_bytes()), "e\\x1b[31m\n");
        assert_eq!(show(TEXT, &event, &id.to_le_bytes()), "e\x1b[31m\n");
        done.wait();
    });
    let path = std::env::temp_dir().join(format!("rt-escaped-{}", std::process::id()));
    std::fs::write(&path, "a\x1b]0;b\x07\n").unwrap();
    let format = rtrace_core::bundle::printf::parse(path.to_str().unwrap().as_bytes()).unwrap();
    let cat = event(Action::Cat { format }, vec![]);
    assert_eq!(printed(terminal, &cat, &[], &Fake::default()), "a\\x1b]0;b\\x07\n");
    assert_eq!(printed(TEXT, &cat, &[], &Fake::default()), "a\x1b]0;b\x07\n");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(show(terminal, &printf_event("%c", vec![Type::U8]), b"\x1b"), "\\x1b");
}

#[test]
fn messages_are_escaped_where_standard_error_is_a_terminal() {
    let format = rtrace_core::bundle::printf::parse(b"%s").unwrap();
    let warn = event(Action::Printf { format, stream: Stream::Warning }, vec![Type::String { cap: 4 }]);
    let format = rtrace_core::bundle::printf::parse(b"/nowhere/%s").unwrap();
    let cat = event(Action::Cat { format }, vec![Type::String { cap: 4 }]);
    let errors = |output, errors| {
        let run = |p: &mut Printer<'_>| {
            for event in [&warn, &cat] {
                show(p, event, &[b"a\x1b"], &Fake::default());
            }
        };
        shown_on(&bundle(), Options { terminal: output, ..TEXT }, errors, run).1
    };
    for output in [false, true] {
        assert!(!errors(output, true).contains('\x1b'));
        assert_eq!(errors(output, false).matches('\x1b').count(), 2);
    }
}

#[test]
fn records_are_rows_on_a_terminal() {
    let named = Type::NamedTuple(vec![("a".into(), Type::U8), ("b".into(), Type::String { cap: 8 })]);
    let event = event(Action::PrintValue, vec![named]);
    let rows: [&[u8]; 4] = [b"\x01x\0\0\0\0\0\0", b"\xffxyz\0\0\0\0", b"\x07\x1b\0\0\0\0\0\0", b"\x07a\nb\0\0\0\0"];
    let print = |options| {
        let all = |p: &mut Printer<'_>| {
            for data in rows {
                show(p, &event, &[data], &Fake::default());
            }
        };
        shown(options, all).0
    };
    let terminal = Options { terminal: true, ..TEXT };
    assert_eq!(print(terminal), "a=1  b=x\na=255  b=xyz\na=7    b=\\x1b\n{ .a = 7, .b = a\nb }\n");
    assert!(print(TEXT).starts_with("{ .a = 1, .b = x }\n{ .a = 255, .b = xyz }\n"));
    assert!(
        print(Options { form: &json::FORM, ..terminal })
            .starts_with("{\"type\": \"value\", \"data\": {\"a\": 1, \"b\": \"x\"}}\n")
    );
}

#[test]
fn maps_are_sorted_by_value_and_printed_by_name() {
    let pair = Type::Tuple(vec![Type::I32, Type::String { cap: 4 }]);
    let (text, json) = maps(vec![
        (map("@x", Some(Type::I32), Type::U64), keyed([(1, 10), (2, 30), (3, 20), (-4, 20)])),
        (
            map("@b", Some(pair), Type::I64),
            vec![
                (b"\x01\0\0\0a b\0".to_vec(), words(&[1])),
                (b"\0\0\0\0y\0\0\0".to_vec(), words(&[1])),
                (b"\x02\0\0\0z\0\0\0".to_vec(), words(&[-1i64 as u64])),
            ],
        ),
        (map("@", None, Type::Agg(Agg::Count)), vec![(vec![], words(&[5]))]),
        (map("@unset", None, Type::U64), vec![]),
        (map("@empty", Some(Type::U64), Type::U64), vec![]),
        (
            map("@s", Some(Type::String { cap: 2 }), Type::String { cap: 2 }),
            vec![(b"b\0".to_vec(), b"v\0".to_vec()), (b"a\0".to_vec(), b"w\0".to_vec())],
        ),
    ]);
    assert_eq!(
        text,
        "@: 5\n@b[2, z]: -1\n@b[0, y]: 1\n@b[1, a b]: 1\n@s[a]: w\n@s[b]: v\n\
         @x[1]: 10\n@x[-4]: 20\n@x[3]: 20\n@x[2]: 30\n"
    );
    assert_eq!(
        json,
        "{\"type\": \"map\", \"data\": {\"@\": 5}}\n\
         {\"type\": \"map\", \"data\": {\"@b\": {\"2,z\": -1, \"0,y\": 1, \"1,a b\": 1}}}\n\
         {\"type\": \"map\", \"data\": {\"@s\": {\"a\": \"w\", \"b\": \"v\"}}}\n\
         {\"type\": \"map\", \"data\": {\"@x\": {\"1\": 10, \"-4\": 20, \"3\": 20, \"2\": 30}}}\n"
    );
}

#[test]
fn aggregations_print_their_results() {
    let agg = |agg| Type::Agg(agg);
    let (text, json) = maps(vec![
        (map("@a", None, agg(Agg::Avg { signed: true })), vec![(vec![], words(&[-7i64 as u64, 2]))]),
        (map("@m", None, agg(Agg::Max { signed: true })), vec![(vec![], words(&[-3i64 as u64, 1]))]),
        (map("@n", None, agg(Agg::Min { signed: false })), vec![(vec![], words(&[3, 1]))]),
        (
            map("@s", Some(Type::I32), agg(Agg::Stats { signed: true })),
            vec![
                (1i32.to_le_bytes().to_vec(), words(&[15, 5])),
                (2i32.to_le_bytes().to_vec(), words(&[-3i64 as u64, 1])),
            ],
        ),
        (map("@t", None, agg(Agg::Sum { signed: true })), vec![(vec![], words(&[-9i64 as u64]))]),
    ]);
    assert_eq!(
        text,
        "@a: -3\n@m: -3\n@n: 3\n@s[2]: { .count = 1, .average = -3, .total = -3 }\n\
         @s[1]: { .count = 5, .average = 3, .total = 15 }\n@t: -9\n"
    );
    assert_eq!(
        json,
        "{\"type\": \"stats\", \"data\": {\"@a\": -3}}\n{\"type\": \"map\", \"data\": {\"@m\": -3}}\n\
         {\"type\": \"map\", \"data\": {\"@n\": 3}}\n\
         {\"type\": \"stats\", \"data\": {\"@s\": {\"2\": {\"count\": 1, \"average\": -3, \"total\": -3}, \
         \"1\": {\"count\": 5, \"average\": 3, \"total\": 15}}}}\n{\"type\": \"map\", \"data\": {\"@t\": -9}}\n"
    );
}

#[test]
fn stacks_as_keys_stand_on_lines_of_their_own() {
    let key = |id: u64| words(&[id, 0]);
    let (text, json) =
        maps(vec![(map("@k", Some(stack_type(StackMode::Bpftrace)), Type::U64), vec![(key(77), words(&[3]))])]);
    assert_eq!(text, "@k[\n        0x1000\n        0x2000\n]: 3\n");
    assert_eq!(json, "{\"type\": \"map\", \"data\": {\"@k\": {\"\\n0x1000\\n0x2000\\n\": 3}}}\n");
    let (text, _) = maps(vec![(map("@m", None, stack_type(StackMode::Bpftrace)), vec![(vec![], key(77))])]);
    assert_eq!(text, "@m: \n        0x1000\n        0x2000\n\n");
    // A stack that could not be stored.
    let (text, _) = maps(vec![(map("@m", None, stack_type(StackMode::Bpftrace)), vec![(vec![], key(0))])]);
    assert_eq!(text, "@m: \n\n");
}

#[test]
fn keys_that_are_numbers_ascend_as_numbers() {
    let shown = |ty: &Type, keys: [Vec<u8>; 2]| {
        let entries = keys.iter().rev().map(|k| (k.clone(), words(&[1]))).collect();
        let order: Vec<Vec<u8>> =
            super::maps::arrange(&map("@", Some(ty.clone()), Type::U64), entries, 0).into_iter().map(|e| e.0).collect();
        assert_eq!(order, keys, "{ty:?}");
    };
    for ty in [Type::Timestamp { format: 0 }, Type::CgroupPath, Type::ProcessName, Type::ProbeName, Type::FuncName] {
        shown(&ty, [words(&[2]), words(&[256])]);
    }
    shown(&Type::Username, [2u32, 256].map(|id| id.to_le_bytes().to_vec()));
    shown(&Type::Usym, [words(&[2, 256]), words(&[256, 1])]);
    shown(&Type::Usym, [words(&[7, 2]), words(&[7, 256])]);
}

#[test]
fn print_takes_top_and_div() {
    let (mut bundle, mut fake) = (bundle(), Fake::default());
    bundle.maps = vec![
        map("@x", Some(Type::I32), Type::Agg(Agg::Count)),
        map("@y", None, Type::U64),
        map("@h", None, Type::Agg(Agg::Hist { bits: 0 })),
        map("@s", Some(Type::String { cap: 100 }), Type::U64),
    ];
    fake.entries.insert(0, keyed([(1, 10), (2, 30), (3, 20)]));
    let mut long = b"key".to_vec();
    long.resize(100, 0);
    fake.entries.insert(3, vec![(long, words(&[8]))]);
    let run = |options, action, ty: Vec<Type>, fields: &[&[u8]]| {
        shown_on(&bundle, options, false, |p| show(p, &event(action, ty), fields, &fake)).0
    };
    let all = |map, top, div| run(TEXT, Action::PrintMap { map, top, div }, vec![], &[]);
    assert_eq!(all(0, 0, 0), "@x[1]: 10\n@x[3]: 20\n@x[2]: 30\n");
    assert_eq!(all(0, 2, 0), "@x[3]: 20\n@x[2]: 30\n");
    assert_eq!(all(0, 1, 10), "@x[2]: 3\n");
    assert_eq!(all(1, 0, 0), "@y: 0\n");
    assert_eq!(all(2, 0, 0), "");
    assert_eq!(all(9, 0, 0), "");
    let entry = |options, key: i32, div| {
        let action = Action::PrintEntry { map: 0, top: 0, div, entry: (0, 0) };
        run(options, action, vec![Type::I32], &[&key.to_le_bytes()])
    };
    assert_eq!(entry(TEXT, 2, 0), "30\n");
    assert_eq!(entry(TEXT, 2, 7), "4\n");
    assert_eq!(entry(TEXT, 5, 0), "0\n");
    assert_eq!(entry(JSON, 2, 0), "{\"type\": \"value\", \"data\": 30}\n");
    let by_name = Action::PrintEntry { map: 3, top: 0, div: 0, entry: (0, 0) };
    assert_eq!(run(TEXT, by_name, vec![Type::String { cap: 100 }], &[b"key"]), "8\n");
}

#[test]
fn messages_name_their_place() {
    let format = rtrace_core::bundle::printf::parse(b"bad %d").unwrap();
    let mut event = event(Action::Printf { format, stream: Stream::Error }, vec![Type::I32]);
    let run = |options, event: &EventDef| shown(options, |p| show(p, event, &[&1u32.to_le_bytes()], &Fake::default()));
    assert_eq!(run(TEXT, &event), (String::new(), "stdin:1:9-28: ERROR: bad 1\n".into()));
    assert_eq!(
        run(JSON, &event).0,
        "{\"type\": \"errorf\", \"msg\": \"bad 1\", \"filename\": \"stdin\", \"line\": 1, \"col\": 9}\n"
    );
    event.span = (30, 44);
    if let Action::Printf { stream, .. } = &mut event.action {
        *stream = Stream::Warning;
    }
    assert_eq!(run(TEXT, &event).1, "stdin:2-3: WARNING: bad 1\n");
    assert_eq!(run(Options { no_warnings: true, ..TEXT }, &event).1, "");
}

#[test]
fn notices() {
    let all = |p: &mut Printer<'_>| {
        p.report(&Report::Attached(1)).unwrap();
        p.report(&Report::Attached(2)).unwrap();
        p.report(&Report::LostEvents(3)).unwrap();
        p.warning("careful").unwrap();
        p.finish(None).unwrap();
    };
    let (out, errors) = shown(TEXT, all);
    assert_eq!(out, "\n\n");
    assert_eq!(errors, "Attached 1 probe\nAttached 2 probes\nLost 3 events\nWARNING: careful\n");
    let (out, errors) = shown(JSON, all);
    assert_eq!(
        out,
        "{\"type\": \"attached_probes\", \"count\": 1, \"data\": {\"probes\": 1}}\n\
         {\"type\": \"attached_probes\", \"count\": 2, \"data\": {\"probes\": 2}}\n\
         {\"type\": \"lost_events\", \"count\": 3, \"data\": {\"events\": 3}}\n"
    );
    assert_eq!(errors, "WARNING: careful\n");
    assert_eq!(
        shown(Options { quiet: true, ..TEXT }, |p| p.report(&Report::Attached(1)).unwrap()),
        (String::new(), String::new())
    );
}

#[test]
fn actions_run() {
    let format = |text: &str| rtrace_core::bundle::printf::parse(text.as_bytes()).unwrap();
    let run = |options, action: Action| shown(options, |p| show(p, &event(action, vec![]), &[], &Fake::default()));
    let system = |text| Action::System { format: format(text) };
    assert_eq!(run(TEXT, system("echo hi")).0, "hi\n\n");
    assert_eq!(run(JSON, system("echo hi")).0, "{\"type\": \"syscall\", \"data\": \"hi\\n\"}\n");
    assert_eq!(run(TEXT, system("exit 3")).1, "WARNING: the command 'exit 3' of system() exited with code 3\n");
    assert_eq!(
        run(TEXT, system("kill -9 $$")).1,
        "WARNING: the command 'kill -9 $$' of system() was killed by signal 9\n"
    );
    let cat = |text| Action::Cat { format: format(text) };
    assert_eq!(run(TEXT, cat("/proc/sys/kernel/ostype")).0, "Linux\n");
    assert_eq!(run(JSON, cat("/proc/sys/kernel/ostype")).0, "{\"type\": \"cat\", \"data\": \"Linux\\n\"}\n");
    let (out, errors) = run(TEXT, cat("/nonexistent/file"));
    assert_eq!(out, "");
    assert!(errors.starts_with("WARNING: cat() cannot read '/nonexistent/file': No such file"), "{errors}");
    let time = Action::Time { format: "100%%\n".into() };
    assert_eq!(run(TEXT, time.clone()).0, "100%\n");
    assert_eq!(run(JSON, time).0, "{\"type\": \"time\", \"data\": \"100%\\n\"}\n");
    assert_eq!(run(TEXT, Action::Exit).0, "");
    let printf = printf_event("%s", vec![Type::String { cap: 2 }]);
    assert_eq!(printed(JSON, &printf, &[b"q\n"], &Fake::default()), "{\"type\": \"printf\", \"data\": \"q\\n\"}\n");
    let join = Action::Printf { format: format("a b\n"), stream: Stream::Join };
    assert_eq!(run(TEXT, join.clone()).0, "a b\n");
    assert_eq!(run(JSON, join).0, "{\"type\": \"join\", \"data\": \"a b\"}\n");
}

#[test]
fn blanks_in_keys_stay_in_json() {
    let bundle = bundle();
    let mut host = Host::default();
    let maps = Fake::default();
    let mut scope = Scope { bundle: &bundle, maps: &maps, host: &mut host, escape: false, shortened: false };
    let text = Type::String { cap: 4 };
    let mut key = |ty: &Type, bytes: &[u8]| scope.json_key(ty, bytes);
    assert_eq!(key(&text, b"a b\0"), "a b");
    assert_eq!(key(&text, b"ab\0\0"), "ab");
    let two = Type::Tuple(vec![text.clone(), text.clone()]);
    assert_eq!(key(&two, b"a b\0c \0\0"), "a b,c ");
    let named = Type::NamedTuple(vec![("x".into(), text.clone()), ("y".into(), text)]);
    assert_eq!(key(&named, b"a b\0c \0\0"), "{.x=a b,.y=c }");
}

#[test]
fn keys_that_print_alike_are_numbered_in_json() {
    let bundle = bundle();
    let mut host = Host::default();
    let maps = Fake::default();
    let mut scope = Scope { bundle: &bundle, maps: &maps, host: &mut host, escape: false, shortened: false };
    let def = map("@m", Some(Type::String { cap: 8 }), Type::U8);
    let keys = [&b"\xff\0\0\0\0\0\0\0"[..], b"\xfe\0\0\0\0\0\0\0", b"\xfe #2\0\0\0\0"];
    let entries: Vec<_> = keys.iter().zip(1u8..).map(|(key, n)| (key.to_vec(), vec![n])).collect();
    let mut out = Vec::new();
    scope.map_line(&mut out, &def, &entries, 1);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let entries = value["data"]["@m"].as_object().unwrap();
    let keys: Vec<&str> = entries.keys().map(String::as_str).collect();
    assert_eq!(keys, ["\u{fffd}", "\u{fffd} #2", "\u{fffd} #2 #2"]);
}

#[test]
fn a_failing_output_is_reported_and_not_repeated() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let bundle = bundle();
    let mut printer = Printer::new(Full, &bundle, TEXT);
    show(&mut printer, &printf_event("x", vec![]), &[], &Fake::default());
    assert_eq!(printer.flush().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    printer.flush().unwrap();
}

#[test]
fn strings_end_at_their_first_zero() {
    for size in [1, 5, 15, 16, 17, 64] {
        for end in 0..=size {
            let mut bytes = vec![0x80; size];
            bytes[end..].fill(1);
            if let Some(byte) = bytes.get_mut(end) {
                *byte = 0;
            }
            if let Some(byte) = bytes.get_mut(end + 2) {
                *byte = 0;
            }
            assert_eq!(value::string(Datum::inline(&bytes)).len(), end, "of {size} bytes");
        }
    }
}
