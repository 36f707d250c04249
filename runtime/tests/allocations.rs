//! Showing an event allocates nothing: from its record to the text that waits to be written, which is written once for
//! all events of a batch.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use rtrace_core::bundle::{Action, Bundle, Config, EventDef, EventLayout, Globals, Stream};
use rtrace_core::source::SourceMap;
use rtrace_core::types::{StackMode, StackType, Type};
use rtrace_runtime::events;
use rtrace_runtime::output::{Entry, Form, MapSource, Options, Printer};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Write};

thread_local! {
    /// Allocations of this thread: the test's own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is handed on to the system's allocator; the counter does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|n| n.set(n.get() + 1));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct NoMaps;

impl MapSource for NoMaps {
    fn entries(&self, _: u32) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    fn lookup(&self, _: u32, _: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn stack(&self, _: u64) -> Option<Vec<u64>> {
        None
    }
}

/// Counts the writes and the lines in them.
#[derive(Default)]
struct Counts {
    writes: u64,
    lines: usize,
}

impl Write for Counts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes += 1;
        self.lines += bytes.iter().filter(|b| **b == b'\n').count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn event(action: Action, fields: Vec<Type>) -> EventDef {
    EventDef { action, layout: EventLayout::new(&fields), fields, lost: 0, span: (0, 0) }
}

fn printf(format: &str, fields: Vec<Type>) -> EventDef {
    let format = rtrace_core::bundle::printf::parse(format.as_bytes()).unwrap();
    event(Action::Printf { format, stream: Stream::Out }, fields)
}

fn bundle(events: Vec<EventDef>) -> Bundle {
    Bundle {
        object: Vec::new(),
        sources: SourceMap::default(),
        programs: Vec::new(),
        probes: Vec::new(),
        maps: Vec::new(),
        map_objects: Vec::new(),
        events,
        globals: Globals::default(),
        loops: Vec::new(),
        time_formats: Vec::new(),
        enums: Vec::new(),
        records: Vec::new(),
        config: Config::default(),
        origin: None,
    }
}

/// A record of the event with this index, whose variable fields have these bytes.
fn record(index: u32, event: &EventDef, bytes: &[u8]) -> Vec<u8> {
    let mut record = vec![b'7'; event.layout.fixed_size as usize];
    record[..4].copy_from_slice(&index.to_ne_bytes());
    for field in event.layout.fields.iter().filter(|f| f.var_max > 0) {
        let at = field.offset as usize;
        record[at..at + 4].copy_from_slice(&(bytes.len() as u32).to_ne_bytes());
        record[at + 4..at + 8].fill(0);
        record.extend_from_slice(bytes);
    }
    record
}

#[test]
fn events_are_shown_without_allocating_and_written_at_once() {
    let string = |cap| Type::String { cap };
    let named = vec![("pid".to_owned(), Type::U32), ("file".to_owned(), string(64))];
    let raw = StackType { user: false, mode: StackMode::Raw, depth: 8, stored: false };
    let events = vec![
        printf("%d %s %s\n", vec![Type::U64, string(16), string(1024)]),
        printf("%-10ld|%08x|%.3s|%5c\n", vec![Type::I64, Type::U32, string(64), Type::U8]),
        event(Action::PrintValue, vec![Type::NamedTuple(named)]),
        event(Action::PrintValue, vec![Type::Tuple(vec![Type::Inet, Type::Mac, Type::Int128 { signed: true }])]),
        event(Action::PrintValue, vec![Type::Stack(raw)]),
    ];
    let bundle = bundle(events);
    let records: Vec<Vec<u8>> = (0..).zip(&bundle.events).map(|(i, e)| record(i, e, b"/etc/\"passwd\"")).collect();
    for form in ["text", "json"].map(|name| Form::named(name).unwrap()) {
        let mut counts = Counts::default();
        let mut printer = Printer::new(&mut counts, &bundle, Options { form, no_warnings: true, ..Options::default() });
        let mut batch = |events: usize| {
            for record in records.iter().cycle().take(events) {
                let (event, fields) = events::decode(&bundle, record).unwrap();
                printer.event(event, fields, &NoMaps).unwrap();
            }
            printer.pause().unwrap();
        };
        // The first ones may make room.
        batch(500);
        let before = ALLOCATIONS.get();
        for _ in 0..20 {
            batch(500);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{form:?}");
        drop(printer);
        assert_eq!(counts.writes, 21, "{form:?}");
        assert!(counts.lines >= 21 * 500, "{form:?}");
    }
}
