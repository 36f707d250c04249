//! `-f json`: one object a line, `{"type": …, "data": …}`, with the reference's keys and spacing.
//! Enums and pointers are numbers, records and named tuples objects, tuples and buffers arrays; a number
//! that a double cannot hold is a string. Text that is not UTF-8 gets replacement characters.

use super::form::{Call, Form, Map, Message, Of, Output, Page, Report, Text, Value};
use super::histogram::{self, Row};
use super::maps::Entry;
use super::number::{self, Int};
use super::value::{self, Datum, Scope, field_bytes, integer, slice, word};
use super::{float, messages, quantiles, series};
use crate::losses::{self, Loss};
use rtrace_core::bundle::{Bundle, MapDef};
use rtrace_core::types::{Agg, Type};
use std::collections::HashSet;

pub(super) static FORM: Form =
    Form { name: "json", doc: "An object a line", escapes: false, open: || Box::new(Json::default()) };

#[derive(Default)]
struct Json {
    /// Text before it is quoted.
    scratch: Vec<u8>,
}

impl Json {
    fn made(&mut self, page: &mut Page<'_>, text: &Text<'_>) -> &[u8] {
        self.scratch.clear();
        text.append(&mut page.scope, &mut self.scratch);
        &self.scratch
    }
}

impl Output for Json {
    fn text(&mut self, page: &mut Page<'_>, call: Call, text: &Text<'_>) {
        let text = self.made(page, text);
        let (kind, text) = match call {
            Call::Printf => ("printf", text),
            // The new line belongs to the text form.
            Call::Join => ("join", text.strip_suffix(b"\n").unwrap_or(text)),
            Call::Time => ("time", text),
            Call::Cat => ("cat", text),
            Call::System => ("syscall", text),
        };
        text_line(page.out, kind, text);
    }

    fn value(&mut self, page: &mut Page<'_>, value: &Value<'_>) {
        begin(page.out, "value");
        page.scope.json(page.out, value.ty, value.data, value.div, 0);
        page.out.extend_from_slice(b"}\n");
    }

    fn map(&mut self, page: &mut Page<'_>, map: &Map<'_>) {
        page.scope.map_line(page.out, map.def, map.entries, map.div);
    }

    fn message(&mut self, page: &mut Page<'_>, message: &Message<'_>) {
        let (bundle, span) = (page.scope.bundle, message.span);
        let (kind, text) = match &message.of {
            Of::Warning(text) => ("warnf", text),
            Of::Error(text) => ("errorf", text),
            Of::Helper { name, code } => return messages::failure_line(page.out, bundle, span, name, *code),
        };
        let place = messages::place(bundle, span);
        let text = self.made(page, text);
        message_line(page.out, kind, text, place.as_ref().map(|p| (p.file.as_str(), p.line, p.column)));
    }

    fn report(&mut self, page: &mut Page<'_>, report: &Report<'_>) {
        match report {
            Report::Attached(_) if page.options.quiet => {}
            Report::Attached(probes) => count_line(page.out, "attached_probes", "probes", *probes as u64),
            Report::Pinned(path) => text_line(page.out, "pinned", path.as_bytes()),
            Report::LostEvents(events) => count_line(page.out, "lost_events", "events", *events),
            Report::Losses([]) => {}
            Report::Losses(losses) => losses_line(page.out, page.scope.bundle, losses),
            // There is an object for each test when it has ended.
            Report::Tests(_) | Report::TestBegins(_) | Report::TestsEnd(..) => {}
            Report::TestEnds { name, passed, took, output } => {
                begin(page.out, "test_result");
                page.out.push(b'{');
                field(page.out, name);
                let facts = format!("{{\"duration\": {}, \"passed\": {passed}, \"output\": ", took.as_nanos());
                page.out.extend_from_slice(facts.as_bytes());
                quoted(page.out, output);
                page.out.extend_from_slice(b"}}}\n");
            }
            Report::Benchmarks(results) => {
                for (name, time, runs) in *results {
                    begin(page.out, "benchmark_result");
                    page.out.push(b'{');
                    field(page.out, name);
                    let facts = format!("{{\"average\": {time}, \"iters\": {runs}}}}}}}\n");
                    page.out.extend_from_slice(facts.as_bytes());
                }
            }
        }
    }

    fn end(&mut self, _: &mut Page<'_>) {}
}

const MAX_DEPTH: u32 = 32;

/// Appends a string with its quotes.
pub fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Appends what stands between the quotes of a string.
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    // Text that is UTF-8, as nearly all is, is told so much faster than it is cut into chunks.
    if std::str::from_utf8(text).is_ok() {
        return escaped_valid(out, text);
    }
    for chunk in text.utf8_chunks() {
        escaped_valid(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

fn escaped_valid(out: &mut Vec<u8>, mut rest: &[u8]) {
    // Most text has nothing to escape and is copied whole.
    while let Some(at) = rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\') {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = special.split_first() else { break };
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..=0x1f => {
                out.extend_from_slice(b"\\u");
                number::digits(out, u64::from(*byte), 16, false, 4);
            }
            _ => out.extend_from_slice(&[b'\\', *byte]),
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// Appends a number, as a string if a double cannot hold it.
pub fn integral(out: &mut Vec<u8>, n: i128) {
    let exact = (n as f64) as i128 == n;
    let quote: &[u8] = if exact { b"" } else { b"\"" };
    out.extend_from_slice(quote);
    number::wide(out, n);
    out.extend_from_slice(quote);
}

/// Opens an object of a type up to its data.
fn begin(out: &mut Vec<u8>, kind: &str) {
    out.extend_from_slice(b"{\"type\": \"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\", \"data\": ");
}

/// Appends a whole line whose data is text.
fn text_line(out: &mut Vec<u8>, kind: &str, text: &[u8]) {
    begin(out, kind);
    quoted(out, text);
    out.extend_from_slice(b"}\n");
}

/// Appends a line that only counts: `attached_probes`, `lost_events`.
fn count_line(out: &mut Vec<u8>, kind: &str, unit: &str, count: u64) {
    out.extend_from_slice(
        format!("{{\"type\": \"{kind}\", \"count\": {count}, \"data\": {{\"{unit}\": {count}}}}}\n").as_bytes(),
    );
}

/// Appends the line of what was lost: by kind, lists of objects with a count and what is known of the place.
fn losses_line(out: &mut Vec<u8>, bundle: &Bundle, losses: &[Loss]) {
    begin(out, "losses");
    out.push(b'{');
    for (i, group) in losses.chunk_by(|a, b| a.kind() == b.kind()).enumerate() {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        field(out, group.first().map_or("", Loss::kind));
        out.push(b'[');
        for (i, loss) in group.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(format!("{{\"count\": {}", loss.count).as_bytes());
            if let Some((key, name)) = loss.name(bundle) {
                out.extend_from_slice(b", ");
                field(out, key);
                quoted(out, name.as_bytes());
            }
            match loss.of {
                losses::Of::Loop { rounds, .. } => out.extend_from_slice(format!(", \"rounds\": {rounds}").as_bytes()),
                losses::Of::Stack => {
                    out.extend_from_slice(format!(", \"room\": {}", losses::room_for_stacks(bundle)).as_bytes());
                }
                _ => {}
            }
            if let Some(place) = loss.span().and_then(|at| bundle.sources.place(at.0)) {
                source(out, (&place.file, place.line, place.column));
            }
            out.push(b'}');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"}}\n");
}

/// Appends a place in the script to an open object.
pub fn source(out: &mut Vec<u8>, (file, line, column): (&str, u32, u32)) {
    out.extend_from_slice(b", \"filename\": ");
    quoted(out, file.as_bytes());
    out.extend_from_slice(format!(", \"line\": {line}, \"col\": {column}").as_bytes());
}

/// Appends a message with the place in the script that it comes from.
fn message_line(out: &mut Vec<u8>, kind: &str, text: &[u8], place: Option<(&str, u32, u32)>) {
    out.extend_from_slice(format!("{{\"type\": \"{kind}\", \"msg\": ").as_bytes());
    quoted(out, text);
    if let Some(place) = place {
        source(out, place);
    }
    out.extend_from_slice(b"}\n");
}

/// The keys that an object has so far. Keys of a map that differ may print alike: stacks of several processes, bytes that
/// are not UTF-8. An object with the same key twice would lose an entry to most readers.
#[derive(Default)]
struct Keys(HashSet<String>);

impl Keys {
    /// The key, with a number behind it if there is one like it: `KEY #2`.
    fn distinct(&mut self, text: String) -> String {
        if self.0.insert(text.clone()) {
            return text;
        }
        let mut n = 2;
        loop {
            let numbered = format!("{text} #{n}");
            if self.0.insert(numbered.clone()) {
                return numbered;
            }
            n += 1;
        }
    }
}

impl Scope<'_> {
    /// Appends the line for a map; nothing for one without entries.
    pub fn map_line(&mut self, out: &mut Vec<u8>, def: &MapDef, entries: &[Entry], div: u64) {
        if entries.is_empty() {
            return;
        }
        let kind = match &def.value {
            Type::Agg(Agg::Hist { .. } | Agg::Lhist { .. }) => "hist",
            Type::Agg(Agg::Avg { .. } | Agg::Stats { .. }) => "stats",
            Type::Agg(Agg::Quantiles { .. }) => "quantiles",
            Type::Agg(Agg::Tseries { .. }) => "tseries",
            _ => "map",
        };
        self.entries(out, kind, def, entries, |scope, out, value| {
            scope.json(out, &def.value, Datum::inline(value), div, 0);
        });
        if self.bundle.config.hist_quantiles && kind == "hist" {
            self.estimates_line(out, def, entries);
        }
    }

    /// Appends the line of percentiles that comes after a histogram's.
    fn estimates_line(&mut self, out: &mut Vec<u8>, def: &MapDef, entries: &[Entry]) {
        let Type::Agg(agg) = &def.value else { return };
        self.entries(out, "quantiles", def, entries, |scope, out, value| {
            let list = quantiles::estimates(agg, value);
            scope.object(out, list.into_iter(), |_, out, (name, estimate)| {
                field(out, name);
                match estimate {
                    quantiles::Estimate::Value(n) => integral(out, n),
                    outside => quoted(out, outside.to_string().as_bytes()),
                }
            });
        });
    }

    /// Appends a line with what `value` appends for each entry, by key if the map has one.
    fn entries(
        &mut self,
        out: &mut Vec<u8>,
        kind: &str,
        def: &MapDef,
        entries: &[Entry],
        value: impl Fn(&mut Self, &mut Vec<u8>, &[u8]),
    ) {
        begin(out, kind);
        out.push(b'{');
        quoted(out, def.name.as_bytes());
        out.extend_from_slice(b": ");
        match &def.key {
            None => entries.iter().take(1).for_each(|(_, bytes)| value(self, out, bytes)),
            Some(ty) => {
                out.push(b'{');
                let mut keys = Keys::default();
                for (i, (key, bytes)) in entries.iter().enumerate() {
                    if i > 0 {
                        out.extend_from_slice(b", ");
                    }
                    let text = keys.distinct(self.json_key(ty, key));
                    quoted(out, text.as_bytes());
                    out.extend_from_slice(b": ");
                    value(self, out, bytes);
                }
                out.push(b'}');
            }
        }
        out.extend_from_slice(b"}}\n");
    }

    /// The text of a key. Several keys have commas without blanks between them; blanks that belong to a key stay, so that
    /// no two keys become one.
    pub(super) fn json_key(&mut self, ty: &Type, key: &[u8]) -> String {
        let mut text = Vec::new();
        self.key_part(&mut text, ty, key, 0);
        String::from_utf8_lossy(&text).into_owned()
    }

    fn key_part(&mut self, out: &mut Vec<u8>, ty: &Type, key: &[u8], depth: u32) {
        match ty {
            Type::Tuple(_) if depth <= MAX_DEPTH => {
                out.extend_from_slice(if depth > 0 { b"(" } else { b"" });
                for (i, (offset, element)) in ty.elements().enumerate() {
                    out.extend_from_slice(if i > 0 { b"," } else { b"" });
                    self.key_part(out, element, slice(key, offset as usize, element.size() as usize), depth + 1);
                }
                out.extend_from_slice(if depth > 0 { b")" } else { b"" });
            }
            Type::NamedTuple(list) if depth <= MAX_DEPTH => {
                out.push(b'{');
                for (i, ((name, _), (offset, element))) in list.iter().zip(ty.elements()).enumerate() {
                    out.extend_from_slice(format!("{}.{name}=", if i > 0 { "," } else { "" }).as_bytes());
                    self.key_part(out, element, slice(key, offset as usize, element.size() as usize), depth + 1);
                }
                out.push(b'}');
            }
            // The lines of a stack, without what indents them.
            Type::Stack(_) => {
                let start = out.len();
                self.text(out, ty, Datum::inline(key));
                let text = out.split_off(start);
                for line in text.split_inclusive(|b| *b == b'\n') {
                    out.extend(line.iter().skip_while(|b| **b == b' '));
                }
            }
            _ => self.text(out, ty, Datum::inline(key)),
        }
    }

    /// Appends a value.
    pub fn json(&mut self, out: &mut Vec<u8>, ty: &Type, data: Datum<'_>, div: u64, depth: u32) {
        let bytes = data.bytes;
        if depth > MAX_DEPTH {
            return out.extend_from_slice(b"null");
        }
        match ty {
            Type::Void => out.extend_from_slice(b"null"),
            Type::Bool => self.text(out, ty, data),
            Type::Int { .. } => integral(out, integer(ty, bytes).map_or(0, |n| n.divided(div).wide())),
            Type::Float { bytes: size } => float::json(out, bytes, *size),
            Type::Int128 { signed } => match value::wide(bytes, *signed) {
                Ok(n) => integral(out, n),
                Err(n) => value::append(out, format_args!("\"{n}\"")),
            },
            Type::Enum { .. } | Type::Ptr { .. } => integral(out, integer(ty, bytes).map_or(0, Int::wide)),
            Type::String { cap } => {
                let text = value::string(data);
                out.push(b'"');
                escaped(out, text);
                if self.cut(*cap, text) {
                    escaped(out, self.bundle.config.str_trunc_trailer.as_bytes());
                }
                out.push(b'"');
            }
            Type::Buffer { .. } => {
                let bytes = value::buffer(ty, data);
                self.list(out, bytes.iter(), |_, out, b| integral(out, i128::from(*b as i8)));
            }
            Type::Array { elem, len } => {
                let size = elem.size() as usize;
                self.list(out, 0..*len as usize, |scope, out, i| {
                    scope.json(out, elem, Datum::inline(slice(bytes, i * size, size)), div, depth + 1);
                });
            }
            Type::List { elem, .. } => {
                let elements = value::buffer(ty, data).chunks_exact((elem.size() as usize).max(1));
                self.list(out, elements, |scope, out, element| {
                    scope.json(out, elem, Datum::inline(element), div, depth + 1);
                });
            }
            Type::Tuple(_) => self.list(out, ty.elements(), |scope, out, (offset, element)| {
                let part = slice(bytes, offset as usize, element.size() as usize);
                scope.json(out, element, Datum::inline(part), div, depth + 1);
            }),
            Type::NamedTuple(list) => {
                let parts = list.iter().zip(ty.elements());
                self.object(out, parts, |scope, out, ((name, _), (offset, element))| {
                    field(out, name);
                    let part = slice(bytes, offset as usize, element.size() as usize);
                    scope.json(out, element, Datum::inline(part), 1, depth + 1);
                });
            }
            Type::Record(record) => {
                let fields = self.layout(record).map_or(&[][..], |l| l.fields.as_slice());
                self.object(out, fields.iter(), |scope, out, f| {
                    field(out, &f.name);
                    let mut space = [0; 8];
                    scope.json(out, &f.ty, Datum::inline(field_bytes(f, bytes, &mut space)), 1, depth + 1);
                });
            }
            Type::Agg(agg @ (Agg::Hist { .. } | Agg::Lhist { .. })) => {
                self.list(out, histogram::rows(agg, bytes, div).iter(), |_, out, row| bucket(out, row));
            }
            Type::Agg(agg @ Agg::Tseries { .. }) => series::json(out, &series::points(agg, bytes, div)),
            Type::Agg(Agg::Quantiles { percentiles }) => {
                let figures = quantiles::figures(percentiles, Agg::QUANTILE_BITS, bytes, div);
                self.object(out, figures.into_iter(), |_, out, (name, n)| {
                    field(out, &name);
                    match n {
                        Some(n) => integral(out, i128::from(n)),
                        None => out.extend_from_slice(b"null"),
                    }
                });
            }
            Type::Agg(Agg::Stats { signed }) => {
                let total = Int { value: word(bytes, 0, 8), signed: *signed };
                let count = word(bytes, 8, 8);
                let average = total.divided(count).divided(div).wide();
                let parts = [("count", i128::from(count)), ("average", average), ("total", total.wide())];
                self.object(out, parts.into_iter(), |_, out, (name, n)| {
                    field(out, name);
                    integral(out, n);
                });
            }
            Type::Agg(agg) => integral(out, value::aggregate(agg, bytes).map_or(0, |n| n.divided(div).wide())),
            // Everything that has only a text form.
            _ => {
                let mut text = std::mem::take(&mut self.host.text);
                text.clear();
                self.text(&mut text, ty, data);
                quoted(out, &text);
                self.host.text = text;
            }
        }
    }

    fn list<I>(
        &mut self,
        out: &mut Vec<u8>,
        items: impl Iterator<Item = I>,
        mut each: impl FnMut(&mut Self, &mut Vec<u8>, I),
    ) {
        out.push(b'[');
        for (i, item) in items.enumerate() {
            if i > 0 {
                out.push(b',');
            }
            each(self, out, item);
        }
        out.push(b']');
    }

    fn object<I>(
        &mut self,
        out: &mut Vec<u8>,
        items: impl Iterator<Item = I>,
        mut each: impl FnMut(&mut Self, &mut Vec<u8>, I),
    ) {
        out.push(b'{');
        for (i, item) in items.enumerate() {
            if i > 0 {
                out.extend_from_slice(b", ");
            }
            each(self, out, item);
        }
        out.push(b'}');
    }
}

fn field(out: &mut Vec<u8>, name: &str) {
    quoted(out, name.as_bytes());
    out.extend_from_slice(b": ");
}

/// A bucket; unlike in text, its upper bound is the last value inside.
fn bucket(out: &mut Vec<u8>, row: &Row) {
    out.push(b'{');
    if let Some(low) = &row.low {
        out.extend_from_slice(b"\"min\": ");
        integral(out, low.value);
        out.extend_from_slice(b", ");
    }
    if let Some(high) = &row.high {
        out.extend_from_slice(b"\"max\": ");
        integral(out, high.value - 1);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(b"\"count\": ");
    number::decimal(out, Int::unsigned(row.count));
    out.push(b'}');
}
