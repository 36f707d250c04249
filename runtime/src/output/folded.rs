//! `-f folded`: a stack a line, outermost function first, and what was counted there: `main;read;vfs_read 12`. Flame graphs
//! are made of it, by flamegraph.pl, inferno, speedscope and others. Whatever else a script prints goes to standard error.

use super::form::{Call, Form, Map, Message, Output, Page, Report, Text, Value};
use super::histogram;
use super::number::{self, Int};
use super::text::Plain;
use super::value::{self, Datum, Scope, slice, word};
use rtrace_core::types::{Agg, Type};

pub(super) static FORM: Form = Form {
    name: "folded",
    doc: "A stack a line, for flame graphs",
    escapes: true,
    open: || Box::new(Folded::default()),
};

#[derive(Default)]
struct Folded {
    plain: Plain,
}

impl Folded {
    /// Has the text form write, to standard error.
    fn aside(&mut self, page: &mut Page<'_>, write: impl FnOnce(&mut Plain, &mut Page<'_>)) {
        let out = std::mem::take(page.out);
        (page.scope.escape, page.options.terminal) = (page.errors_terminal, page.errors_terminal);
        write(&mut self.plain, page);
        let text = std::mem::replace(page.out, out);
        page.errors.extend_from_slice(&text);
    }
}

impl Output for Folded {
    fn text(&mut self, page: &mut Page<'_>, call: Call, text: &Text<'_>) {
        self.aside(page, |plain, page| plain.text(page, call, text));
    }

    /// A stack that is printed was seen once.
    fn value(&mut self, page: &mut Page<'_>, value: &Value<'_>) {
        if !has_stack(value.ty) {
            return self.aside(page, |plain, page| plain.value(page, value));
        }
        let mut line = Line::default();
        line.add(&mut page.scope, value.ty, value.data);
        line.write(page.out, None, 1);
    }

    fn map(&mut self, page: &mut Page<'_>, map: &Map<'_>) {
        let (def, several) = (map.def, page.scope.bundle.maps.len() > 1);
        let mut negative = 0;
        for (key, bytes) in map.entries {
            let mut line = Line::default();
            // What several maps count would be added up.
            if several || def.key.is_none() {
                frame(&mut line.labels, def.name.as_bytes());
            }
            if let Some(ty) = &def.key {
                line.add(&mut page.scope, ty, Datum::inline(key));
            }
            if let Type::Agg(agg @ (Agg::Hist { .. } | Agg::Lhist { .. })) = &def.value {
                for row in histogram::rows(agg, bytes, map.div).iter().filter(|row| row.count > 0) {
                    line.write(page.out, Some(&row.label()), row.count);
                }
                continue;
            }
            match amount(&def.value, bytes).map(|n| n.divided(map.div).wide()) {
                Some(n) if n < 0 => negative += 1,
                Some(0) => {}
                Some(n) => line.write(page.out, None, u64::try_from(n).unwrap_or(u64::MAX)),
                None => return page.warn(&format!("{} is not printed: its values are not numbers", def.name)),
            }
        }
        if negative > 0 {
            page.warn(&format!("{negative} entries of {} are not printed: their values are negative", def.name));
        }
    }

    fn message(&mut self, page: &mut Page<'_>, message: &Message<'_>) {
        self.plain.message(page, message);
    }

    fn report(&mut self, page: &mut Page<'_>, report: &Report<'_>) {
        self.aside(page, |plain, page| plain.report(page, report));
    }

    fn end(&mut self, _: &mut Page<'_>) {}
}

fn has_stack(ty: &Type) -> bool {
    matches!(ty, Type::Stack(_)) || ty.elements().any(|(_, element)| has_stack(element))
}

/// What a value of a map adds to its stack.
fn amount(ty: &Type, bytes: &[u8]) -> Option<Int> {
    match ty {
        Type::Agg(Agg::Stats { signed }) => Some(Int { value: word(bytes, 0, 8), signed: *signed }),
        Type::Agg(Agg::Quantiles { .. }) => Some(Int::unsigned(histogram::total(bytes))),
        Type::Int { .. } | Type::Bool | Type::Agg(_) => value::integer(ty, bytes),
        _ => None,
    }
}

/// The frames of a line, outermost first: those of the kernel lie in those of the program, and both in what has no
/// frames, such as the name of the process.
#[derive(Default)]
struct Line {
    labels: Vec<u8>,
    user: Vec<u8>,
    kernel: Vec<u8>,
}

impl Line {
    /// Adds a value, or all elements of one.
    fn add(&mut self, scope: &mut Scope<'_>, ty: &Type, data: Datum<'_>) {
        match ty {
            Type::Tuple(_) | Type::NamedTuple(_) => {
                for (offset, element) in ty.elements() {
                    let part = slice(data.bytes, offset as usize, element.size() as usize);
                    self.add(scope, element, Datum::inline(part));
                }
            }
            Type::Stack(stack) => {
                let mut lines = Vec::new();
                scope.functions(&mut lines, *stack, data);
                let frames = if stack.user { &mut self.user } else { &mut self.kernel };
                lines.split(|b| *b == b'\n').rev().for_each(|line| frame(frames, line));
            }
            _ => {
                let mut text = Vec::new();
                scope.text(&mut text, ty, data);
                frame(&mut self.labels, &text);
            }
        }
    }

    /// Appends the line, perhaps with one more frame.
    fn write(&self, out: &mut Vec<u8>, inner: Option<&str>, count: u64) {
        let parts = [&self.labels, &self.user, &self.kernel, inner.unwrap_or_default().as_bytes()];
        let mut any = false;
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            if any {
                out.push(b';');
            }
            out.extend_from_slice(part);
            any = true;
        }
        if !any {
            out.extend_from_slice(b"[no stack]");
        }
        out.push(b' ');
        number::decimal(out, Int::unsigned(count));
        out.push(b'\n');
    }
}

/// Appends a frame. What separates frames and lines is not part of a name.
fn frame(out: &mut Vec<u8>, name: &[u8]) {
    if name.is_empty() {
        return;
    }
    if !out.is_empty() {
        out.push(b';');
    }
    for byte in name {
        match byte {
            b';' => out.push(b':'),
            byte if byte.is_ascii_control() => out.push(b' '),
            byte => out.push(*byte),
        }
    }
}
