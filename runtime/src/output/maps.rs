//! Whole maps: which entries are printed and in which order, and their text form.

use super::histogram;
use super::number::Int;
use super::quantiles;
use super::series;
use super::value::{self, Datum, Scope};
use rtrace_core::bundle::MapDef;
use rtrace_core::types::{Agg, Type};
use std::cmp::Ordering;

/// An entry: key and value in their inline representation.
pub type Entry = (Vec<u8>, Vec<u8>);

/// Orders entries as they are printed, and keeps the last `top` of them (all for 0).
///
/// Numbers ascend by value, histograms by the number of their samples, everything else by key; equal
/// values by key, so that the output repeats.
pub fn arrange(def: &MapDef, mut entries: Vec<Entry>, top: u32) -> Vec<Entry> {
    let by_key = |a: &Entry, b: &Entry| def.key.as_ref().map_or(Ordering::Equal, |ty| compare(ty, &a.0, &b.0));
    match &def.value {
        Type::Agg(Agg::Hist { .. } | Agg::Lhist { .. } | Agg::Quantiles { .. }) => {
            entries.sort_by(|a, b| histogram::total(&a.1).cmp(&histogram::total(&b.1)).then_with(|| by_key(a, b)));
        }
        Type::Agg(Agg::Tseries { .. }) => entries.sort_by(by_key),
        ty @ (Type::Int { .. } | Type::Enum { .. } | Type::Bool | Type::Agg(_)) => {
            let number = |e: &Entry| value::integer(ty, &e.1).map(Int::wide);
            entries.sort_by(|a, b| number(a).cmp(&number(b)).then_with(|| by_key(a, b)));
        }
        _ => entries.sort_by(by_key),
    }
    let skip = if top == 0 { 0 } else { entries.len().saturating_sub(top as usize) };
    entries.split_off(skip)
}

/// Order of two values of a type.
fn compare(ty: &Type, a: &[u8], b: &[u8]) -> Ordering {
    match ty {
        Type::String { .. } => value::string(Datum::inline(a)).cmp(value::string(Datum::inline(b))),
        Type::Buffer { .. } => value::buffer(ty, Datum::inline(a)).cmp(value::buffer(ty, Datum::inline(b))),
        Type::Tuple(_) | Type::NamedTuple(_) => {
            for (offset, element) in ty.elements() {
                let part = |bytes| value::slice(bytes, offset as usize, element.size() as usize);
                let order = compare(element, part(a), part(b));
                if order != Ordering::Equal {
                    return order;
                }
            }
            Ordering::Equal
        }
        Type::Array { elem, .. } | Type::List { elem, .. } => {
            let size = (elem.size() as usize).max(1);
            let (a, b) = (value::buffer(ty, Datum::inline(a)), value::buffer(ty, Datum::inline(b)));
            let orders = a.chunks(size).zip(b.chunks(size)).map(|(a, b)| compare(elem, a, b));
            orders.into_iter().find(|o| *o != Ordering::Equal).unwrap_or(a.len().cmp(&b.len()))
        }
        // Numbers that print as something else; bytes would put the least significant first.
        Type::Username
        | Type::Timestamp { .. }
        | Type::CgroupPath
        | Type::ProcessName
        | Type::ProbeName
        | Type::FuncName
        | Type::Usym => {
            let words = |bytes| (value::word(bytes, 0, 8), value::word(bytes, 8, 8));
            words(a).cmp(&words(b))
        }
        _ => match (value::integer(ty, a), value::integer(ty, b)) {
            (Some(a), Some(b)) => a.wide().cmp(&b.wide()),
            _ => a.cmp(b),
        },
    }
}

impl Scope<'_> {
    /// Appends the key as it stands between the brackets: several keys without parentheses.
    pub fn key_text(&mut self, out: &mut Vec<u8>, ty: &Type, key: &[u8]) {
        let start = out.len();
        self.text(out, ty, Datum::inline(key));
        if matches!(ty, Type::Tuple(_)) && out.len() > start {
            out.pop();
            out.remove(start);
        }
    }

    /// Appends a map with its name at every entry.
    pub fn map_text(&mut self, out: &mut Vec<u8>, def: &MapDef, entries: &[Entry], div: u64) {
        for (key, value) in entries {
            out.extend_from_slice(def.name.as_bytes());
            if let Some(ty) = &def.key {
                out.push(b'[');
                self.key_text(out, ty, key);
                out.push(b']');
            }
            out.push(b':');
            out.push(if super::is_chart(&def.value) { b'\n' } else { b' ' });
            self.value_text(out, &def.value, Datum::inline(value), div);
            out.push(b'\n');
        }
    }

    /// Appends a value as `print` shows it: a histogram as its rows.
    pub fn value_text(&mut self, out: &mut Vec<u8>, ty: &Type, data: Datum<'_>, div: u64) {
        let bytes = data.bytes;
        match ty {
            Type::Agg(agg @ (Agg::Hist { .. } | Agg::Lhist { .. })) => {
                histogram::text(out, &histogram::rows(agg, bytes, div));
                if self.bundle.config.hist_quantiles {
                    quantiles::line(out, agg, bytes);
                }
            }
            Type::Agg(agg @ Agg::Tseries { .. }) => series::text(out, agg, &series::points(agg, bytes, div)),
            _ => self.text_divided(out, ty, data, div),
        }
    }
}
