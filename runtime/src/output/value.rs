//! Values as text: the bytes of a value and its type, printed the way the language shows them, without
//! building a tree in between. Bytes come from the kernel and are never trusted: what is too short is
//! read as if zeros followed, indexes that lead nowhere print nothing.

use super::MapSource;
use super::float;
use super::names::{self, Cgroups, Processes, Users};
use super::number::{self, Int};
use super::quantiles;
use super::{clock, clock::Clock};
pub use crate::events::Datum;
use rtrace_core::bundle::{Bundle, RecordDef, RecordField};
use rtrace_core::types::{Agg, Record, StackMode, StackType, Type};
use rtrace_symbols::addresses::{Style, Symbols};
use std::fmt::Display;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Nesting of records, arrays and tuples that is followed; the compiler makes far less.
const MAX_DEPTH: u32 = 32;

/// Data of the machine used in printing; every part is read on first use.
#[derive(Default)]
pub struct Host {
    pub symbols: Symbols,
    pub users: Users,
    pub cgroups: Cgroups,
    pub processes: Processes,
    pub clock: Clock,
    /// Room for the frames of one stack.
    frames: Vec<u64>,
    /// Room for the text of one value.
    pub(super) text: Vec<u8>,
}

/// The context for printing a value.
pub struct Scope<'a> {
    pub bundle: &'a Bundle,
    pub maps: &'a dyn MapSource,
    pub host: &'a mut Host,
    /// Whether control characters in strings are escaped, as they must be on a terminal.
    pub escape: bool,
    /// Whether a number lost digits, because its conversion has no length modifier.
    pub shortened: bool,
}

/// Up to eight bytes at an offset as a number, zeros for missing ones.
pub fn word(bytes: &[u8], offset: usize, size: usize) -> u64 {
    let rest = bytes.get(offset..).unwrap_or_default();
    let whole = match size {
        8 => rest.first_chunk().map(|b| u64::from_le_bytes(*b)),
        4 => rest.first_chunk().map(|b| u64::from(u32::from_le_bytes(*b))),
        _ => None,
    };
    whole.unwrap_or_else(|| rest.iter().take(size.min(8)).rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The bytes at an offset, fewer if there are fewer.
pub fn slice(bytes: &[u8], offset: usize, size: usize) -> &[u8] {
    let rest = bytes.get(offset..).unwrap_or_default();
    rest.get(..size).unwrap_or(rest)
}

/// The integer of a type that is one: integers, enums, booleans, pointers, and aggregations with one result.
pub fn integer(ty: &Type, bytes: &[u8]) -> Option<Int> {
    let int = match ty {
        Type::Bool => Int { value: u64::from(word(bytes, 0, 1) != 0), signed: false },
        Type::Int { bits, signed } | Type::Enum { bits, signed, .. } => int(bytes, *bits, *signed),
        Type::Ptr { .. } | Type::Ksym | Type::Flags { .. } => Int::unsigned(word(bytes, 0, 8)),
        Type::Agg(agg) => aggregate(agg, bytes)?,
        _ => return None,
    };
    Some(int)
}

/// An integer of that many bits.
pub fn int(bytes: &[u8], bits: u8, signed: bool) -> Int {
    sized(word(bytes, 0, usize::from(bits) / 8), u32::from(bits), signed)
}

/// An integer of 16 bytes; the error is one that is too large for the type.
pub fn wide(bytes: &[u8], signed: bool) -> Result<i128, u128> {
    let value = u128::from(word(bytes, 8, 8)) << 64 | u128::from(word(bytes, 0, 8));
    if signed { Ok(value as i128) } else { i128::try_from(value).map_err(|_| value) }
}

/// A number of that many bits.
fn sized(value: u64, bits: u32, signed: bool) -> Int {
    let shift = 64 - bits.clamp(1, 64);
    let value = value << shift;
    let value = if signed { ((value as i64) >> shift) as u64 } else { value >> shift };
    Int { value, signed }
}

/// The one number of an aggregation, for those that have one.
pub fn aggregate(agg: &Agg, bytes: &[u8]) -> Option<Int> {
    let first = word(bytes, 0, 8);
    Some(match agg {
        Agg::Count => Int::unsigned(first),
        Agg::Sum { signed } | Agg::Min { signed } | Agg::Max { signed } => Int { value: first, signed: *signed },
        Agg::Avg { signed } | Agg::Stats { signed } => Int { value: first, signed: *signed }.divided(word(bytes, 8, 8)),
        Agg::Hist { .. } | Agg::Lhist { .. } | Agg::Quantiles { .. } | Agg::Tseries { .. } => return None,
    })
}

/// The string of a datum, without its NUL.
#[inline]
pub fn string<'a>(data: Datum<'a>) -> &'a [u8] {
    let end = match (data.bytes.len(), data.bytes.first_chunk()) {
        // The name of a process, at once: what lies above the lowest byte that is zero does not matter.
        (16, Some(bytes)) => {
            let word = u128::from_le_bytes(*bytes);
            let zeros = word.wrapping_sub(u128::MAX / 0xff) & !word & ((u128::MAX / 0xff) << 7);
            (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)
        }
        // Too short for a search by words to pay.
        (..16, _) => data.bytes.iter().position(|b| *b == 0),
        _ => memchr::memchr(0, data.bytes),
    };
    end.and_then(|end| data.bytes.get(..end)).unwrap_or(data.bytes)
}

/// The bytes of a buffer, a list, or an array of bytes.
pub fn buffer<'a>(ty: &Type, data: Datum<'a>) -> &'a [u8] {
    match ty {
        Type::Buffer { .. } | Type::List { .. } if !data.variable => {
            slice(data.bytes, 4, word(data.bytes, 0, 4) as usize)
        }
        _ => data.bytes,
    }
}

/// A frame as the kernel gives it with its build id: `struct bpf_stack_build_id` of `linux/bpf.h`.
fn build_id(out: &mut Vec<u8>, frame: &[u64]) {
    const VALID: u64 = 1;
    const ADDRESS: u64 = 2;
    let [head, rest @ .., place] = frame else { return };
    match head & 0xffff_ffff {
        VALID => {
            let bytes = [head].into_iter().chain(rest).flat_map(|w| w.to_le_bytes()).skip(4);
            bytes.for_each(|byte| number::digits(out, u64::from(byte), 16, false, 2));
            out.push(b' ');
            number::hex(out, *place);
        }
        // Of code that is in no file, or in one without a build id.
        ADDRESS => number::hex(out, *place),
        _ => return,
    }
    out.push(b'\n');
}

/// How the bytes of a buffer are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bytes {
    /// `ab\x01`
    Readable,
    /// `61 62 01`
    Hex,
    /// `\x61\x62\x01`
    Escaped,
}

pub fn write_bytes(out: &mut Vec<u8>, bytes: &[u8], how: Bytes) {
    for (i, byte) in bytes.iter().enumerate() {
        match how {
            Bytes::Readable if (32..=126).contains(byte) => out.push(*byte),
            Bytes::Hex => {
                if i > 0 {
                    out.push(b' ');
                }
                number::digits(out, u64::from(*byte), 16, false, 2);
            }
            _ => escape_byte(out, *byte),
        }
    }
}

fn escape_byte(out: &mut Vec<u8>, byte: u8) {
    out.extend_from_slice(b"\\x");
    number::digits(out, u64::from(byte), 16, false, 2);
}

/// Makes what stands from `start` on fit for a terminal.
pub fn escape_from(out: &mut Vec<u8>, start: usize) {
    // Nearly always there is nothing to do.
    if out.iter().skip(start).all(|b| matches!(b, 32..127 | b'\n' | b'\t')) {
        return;
    }
    let text = out.split_off(start);
    write_escaped(out, &text);
}

/// Appends a string for a terminal: control characters, which could act on it, as `\x..`; line ends and
/// tabs stay, and so does all valid text.
pub fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    if text.iter().all(|b| (32..127).contains(b)) {
        return out.extend_from_slice(text);
    }
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            let mut bytes = [0; 4];
            let encoded = c.encode_utf8(&mut bytes).as_bytes();
            if c.is_control() && c != '\n' && c != '\t' {
                encoded.iter().for_each(|b| escape_byte(out, *b));
            } else {
                out.extend_from_slice(encoded);
            }
        }
        chunk.invalid().iter().for_each(|b| escape_byte(out, *b));
    }
}

impl<'a> Scope<'a> {
    /// Appends a value as `print` and `%s` show it.
    pub fn text(&mut self, out: &mut Vec<u8>, ty: &Type, data: Datum<'_>) {
        self.write(out, ty, data, 1, 0);
    }

    /// The same with numbers divided, for `print(@map, top, div)`.
    pub fn text_divided(&mut self, out: &mut Vec<u8>, ty: &Type, data: Datum<'_>, div: u64) {
        self.write(out, ty, data, div, 0);
    }

    fn write(&mut self, out: &mut Vec<u8>, ty: &Type, data: Datum<'_>, div: u64, depth: u32) {
        if depth > MAX_DEPTH {
            return out.extend_from_slice(b"...");
        }
        let bytes = data.bytes;
        match ty {
            Type::Void => out.extend_from_slice(b"null"),
            Type::Bool => out.extend_from_slice(if word(bytes, 0, 1) != 0 { b"true" } else { b"false" }),
            Type::Int { .. } => {
                if let Some(n) = integer(ty, bytes) {
                    number::decimal(out, n.divided(div));
                }
            }
            Type::Float { bytes: size } => float::text(out, bytes, *size),
            Type::Int128 { signed } => match wide(bytes, *signed) {
                Ok(n) => number::wide(out, n),
                Err(n) => append(out, n),
            },
            Type::Enum { name, .. } => self.enumerator(out, name, ty, bytes),
            Type::String { cap } => self.string(out, *cap, data),
            Type::Buffer { .. } => write_bytes(out, buffer(ty, data), Bytes::Readable),
            Type::Inet => inet(out, bytes),
            Type::Mac => mac(out, bytes),
            Type::Ptr { .. } => number::hex(out, word(bytes, 0, 8)),
            Type::Array { elem, len } => {
                let size = elem.size() as usize;
                self.array(out, elem, slice(bytes, 0, *len as usize * size), div, depth);
            }
            Type::List { elem, .. } => self.array(out, elem, buffer(ty, data), div, depth),
            Type::Record(record) => self.record(out, record, bytes, depth),
            Type::Tuple(_) => self.tuple(out, ty, bytes, div, depth),
            Type::NamedTuple(list) => self.named_tuple(out, ty, list, bytes, depth),
            Type::Stack(stack) => self.stack(out, *stack, data, false),
            Type::Ksym => self.named(out, |host, _, out| host.symbols.kernel(out, word(bytes, 0, 8))),
            Type::Usym => {
                let (address, process) = (word(bytes, 0, 8), word(bytes, 8, 4) as u32);
                self.named(out, |host, bundle, out| host.symbols.user(out, &bundle.config, process, address));
            }
            Type::ProbeName => self.plain(out, self.probe(bytes).0),
            Type::FuncName => self.plain(out, self.probe(bytes).1),
            Type::Username => {
                let id = word(bytes, 0, 4);
                self.named(out, |host, _, out| match host.users.name(id as u32) {
                    Some(name) => out.extend_from_slice(name),
                    None => number::decimal(out, Int::unsigned(id)),
                });
            }
            Type::Timestamp { format } => {
                let wall = self.host.clock.wall(word(bytes, 0, 8));
                if let Some(format) = self.bundle.time_formats.get(*format as usize) {
                    clock::strftime(out, format, wall);
                }
            }
            Type::CgroupPath => {
                self.named(out, |host, _, out| out.extend_from_slice(host.cgroups.path(word(bytes, 0, 8))));
            }
            Type::ProcessName => {
                let process = word(bytes, 0, 4) as u32;
                self.named(out, |host, _, out| out.extend_from_slice(host.processes.name(process)));
            }
            Type::Flags { of } => {
                let known = self.bundle.enums.iter().find(|e| e.name == *of);
                names::flags(out, known.map_or(&[][..], |e| e.values.as_slice()), word(bytes, 0, 8));
            }
            Type::Agg(agg) => self.aggregation(out, agg, bytes, div),
        }
    }

    fn array(&mut self, out: &mut Vec<u8>, elem: &Type, bytes: &[u8], div: u64, depth: u32) {
        out.push(b'[');
        for (i, element) in bytes.chunks_exact((elem.size() as usize).max(1)).enumerate() {
            if i > 0 {
                out.push(b',');
            }
            self.write(out, elem, Datum::inline(element), div, depth + 1);
        }
        out.push(b']');
    }

    /// Whether a string of that size may have been cut: it has the largest size and fills it.
    #[inline]
    pub fn cut(&self, cap: u32, text: &[u8]) -> bool {
        let most = self.bundle.config.max_strlen;
        cap.checked_sub(1) == Some(most) && text.len() as u64 >= u64::from(most)
    }

    /// Appends a string, and what tells that it was cut.
    #[inline]
    pub fn string(&self, out: &mut Vec<u8>, cap: u32, data: Datum<'_>) {
        let text = string(data);
        self.plain(out, text);
        if self.cut(cap, text) {
            out.extend_from_slice(self.bundle.config.str_trunc_trailer.as_bytes());
        }
    }

    #[inline]
    fn plain(&self, out: &mut Vec<u8>, text: &[u8]) {
        if self.escape {
            write_escaped(out, text);
        } else {
            out.extend_from_slice(text);
        }
    }

    /// Appends a name that the machine knows. Others choose it, as they do the strings of events: whoever starts a
    /// process, makes a file or compiles a symbol.
    fn named(&mut self, out: &mut Vec<u8>, name: impl FnOnce(&mut Host, &Bundle, &mut Vec<u8>)) {
        let start = out.len();
        name(self.host, self.bundle, out);
        if self.escape {
            escape_from(out, start);
        }
    }

    fn enumerator(&mut self, out: &mut Vec<u8>, name: &str, ty: &Type, bytes: &[u8]) {
        let Some(n) = integer(ty, bytes) else { return };
        let known = self.bundle.enums.iter().find(|e| e.name == name);
        match known.and_then(|e| e.values.iter().find(|(_, v)| *v as u64 == n.value)) {
            Some((label, _)) => self.plain(out, label.as_bytes()),
            None => number::decimal(out, n),
        }
    }

    fn probe(&self, bytes: &[u8]) -> (&'a [u8], &'a [u8]) {
        let bundle: &'a Bundle = self.bundle;
        let index = usize::try_from(word(bytes, 0, 8)).unwrap_or(usize::MAX);
        bundle.probes.get(index).map_or((b"", b""), |p| (p.name.as_bytes(), p.function.as_bytes()))
    }

    fn tuple(&mut self, out: &mut Vec<u8>, ty: &Type, bytes: &[u8], div: u64, depth: u32) {
        out.push(b'(');
        for (i, (offset, element)) in ty.elements().enumerate() {
            if i > 0 {
                out.extend_from_slice(b", ");
            }
            let part = slice(bytes, offset as usize, element.size() as usize);
            self.write(out, element, Datum::inline(part), div, depth + 1);
        }
        out.push(b')');
    }

    /// A tuple with names is shown like a record.
    fn named_tuple(&mut self, out: &mut Vec<u8>, ty: &Type, list: &[(String, Type)], bytes: &[u8], depth: u32) {
        if list.is_empty() {
            return out.extend_from_slice(b"{}");
        }
        for ((i, (name, _)), (offset, element)) in list.iter().enumerate().zip(ty.elements()) {
            self.field_name(out, i, name);
            let part = slice(bytes, offset as usize, element.size() as usize);
            self.write(out, element, Datum::inline(part), 1, depth + 1);
        }
        out.extend_from_slice(b" }");
    }

    /// The layout of a record, if the bundle has it.
    pub fn layout(&self, record: &Record) -> Option<&'a RecordDef> {
        let bundle: &'a Bundle = self.bundle;
        bundle.records.iter().find(|d| d.record.id == record.id && d.record.name == record.name)
    }

    fn record(&mut self, out: &mut Vec<u8>, record: &Record, bytes: &[u8], depth: u32) {
        let Some(layout) = self.layout(record) else {
            return write_bytes(out, bytes, Bytes::Escaped);
        };
        if layout.fields.is_empty() {
            return out.extend_from_slice(b"{}");
        }
        for (i, field) in layout.fields.iter().enumerate() {
            self.field_name(out, i, &field.name);
            let mut space = [0; 8];
            self.write(out, &field.ty, Datum::inline(field_bytes(field, bytes, &mut space)), 1, depth + 1);
        }
        out.extend_from_slice(b" }");
    }

    /// The frames of a stack and the process they belong to.
    pub fn frames(&self, data: Datum<'_>, frames: &mut Vec<u64>) -> u32 {
        frames.clear();
        if data.variable {
            frames.extend(data.bytes.chunks(8).map(|c| word(c, 0, 8)));
            return data.extra;
        }
        let id = word(data.bytes, 0, 8);
        if id != 0 {
            frames.extend(self.maps.stack(id).unwrap_or_default());
        }
        word(data.bytes, 8, 4) as u32
    }

    /// A stack stands on lines of its own, after a line end and closed by one.
    fn stack(&mut self, out: &mut Vec<u8>, stack: StackType, data: Datum<'_>, names: bool) {
        let mut frames = std::mem::take(&mut self.host.frames);
        let process = self.frames(data, &mut frames);
        out.push(b'\n');
        match stack.mode {
            StackMode::BuildId => frames.chunks(4).for_each(|frame| build_id(out, frame)),
            StackMode::Raw => {
                for address in &frames {
                    number::digits(out, *address, 16, false, 1);
                    out.push(b'\n');
                }
            }
            StackMode::Bpftrace | StackMode::Perf => {
                let of = stack.user.then_some(process);
                let style = match stack.mode {
                    _ if names => Style::Names,
                    StackMode::Perf => Style::Perf,
                    _ => Style::Bpftrace,
                };
                self.named(out, |host, bundle, out| host.symbols.stack(out, &bundle.config, of, &frames, style));
            }
        }
        self.host.frames = frames;
    }

    /// Appends the functions of a stack alone, a line each; of a stack without names, what it has instead.
    pub fn functions(&mut self, out: &mut Vec<u8>, stack: StackType, data: Datum<'_>) {
        self.stack(out, stack, data, true);
    }

    fn aggregation(&mut self, out: &mut Vec<u8>, agg: &Agg, bytes: &[u8], div: u64) {
        match agg {
            Agg::Stats { signed } => {
                let total = Int { value: word(bytes, 0, 8), signed: *signed };
                let count = word(bytes, 8, 8);
                out.extend_from_slice(b"{ .count = ");
                number::decimal(out, Int::unsigned(count));
                out.extend_from_slice(b", .average = ");
                number::decimal(out, total.divided(count).divided(div));
                out.extend_from_slice(b", .total = ");
                number::decimal(out, total);
                out.extend_from_slice(b" }");
            }
            Agg::Quantiles { percentiles } => {
                quantiles::text(out, &quantiles::figures(percentiles, Agg::QUANTILE_BITS, bytes, div));
            }
            _ => {
                if let Some(n) = aggregate(agg, bytes) {
                    number::decimal(out, n.divided(div));
                }
            }
        }
    }

    /// The debug information of a traced program may name its fields as it likes.
    fn field_name(&self, out: &mut Vec<u8>, index: usize, name: &str) {
        out.extend_from_slice(if index == 0 { b"{ ." } else { b", ." });
        self.plain(out, name.as_bytes());
        out.extend_from_slice(b" = ");
    }

    /// Appends allocation flags by name.
    pub fn gfp(&mut self, out: &mut Vec<u8>, flags: u64) {
        names::gfp_flags(out, flags);
    }
}

/// The inline bytes of a record's field; a bit-field is taken out into `space`.
pub fn field_bytes<'b>(field: &RecordField, bytes: &'b [u8], space: &'b mut [u8; 8]) -> &'b [u8] {
    let offset = field.bit_offset as usize / 8;
    let Some(bits) = field.bits else {
        return slice(bytes, offset, field.ty.size() as usize);
    };
    let low = u128::from(word(bytes, offset, 8));
    let high = u128::from(word(bytes, offset + 8, 8));
    let value = ((high << 64 | low) >> (field.bit_offset % 8)) as u64;
    *space = sized(value, u32::from(bits), field.ty.is_signed()).value.to_le_bytes();
    space
}

fn inet(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut address = [0u8; 16];
    for (to, from) in address.iter_mut().zip(bytes.iter().skip(4)) {
        *to = *from;
    }
    let [a, b, c, d, ..] = address;
    match word(bytes, 0, 4) {
        2 => append(out, Ipv4Addr::new(a, b, c, d)),
        10 => {
            // An address of 96 zero bits ends in dotted form, as the C library writes it.
            let bits = u128::from_be_bytes(address);
            match u32::try_from(bits) {
                Ok(low) if low > 0xffff => append(out, format_args!("::{}", Ipv4Addr::from(low))),
                _ => append(out, Ipv6Addr::from(address)),
            }
        }
        _ => {}
    }
}

/// Appends what the standard library knows how to write.
pub fn append(out: &mut Vec<u8>, what: impl Display) {
    // Writing to memory does not fail.
    let _ = write!(out, "{what}");
}

fn mac(out: &mut Vec<u8>, bytes: &[u8]) {
    for i in 0..6 {
        if i > 0 {
            out.push(b':');
        }
        number::digits(out, word(bytes, i, 1), 16, true, 2);
    }
}
