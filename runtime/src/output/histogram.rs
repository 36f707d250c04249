//! Histograms: from the counts of buckets to labelled rows, for text and JSON alike.

use super::number::{self, Int};
use rtrace_core::hist;
use rtrace_core::types::Agg;

/// Columns of the longest bar.
const BAR: usize = 52;

/// A boundary between buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    pub value: i128,
    /// With `K`, `M`… where the histogram counts in them.
    pub label: String,
    /// Whether the label is the bare number of a bucket that may hold one value only.
    plain: bool,
}

/// One bucket, from `low` up to below `high`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub low: Option<Edge>,
    pub high: Option<Edge>,
    pub count: u64,
}

impl Row {
    /// The values of the bucket, as text.
    pub fn label(&self) -> String {
        match (&self.low, &self.high) {
            (Some(low), Some(high)) if low.plain && high.plain && low.value + 1 == high.value => {
                format!("[{}]", low.label)
            }
            (Some(low), Some(high)) => format!("[{}, {})", low.label, high.label),
            (None, Some(high)) => format!("(..., {})", high.label),
            (Some(low), None) => format!("[{}, ...)", low.label),
            (None, None) => String::new(),
        }
    }
}

/// The rows from the first to the last bucket that has something in it; none for an empty histogram.
pub fn rows(agg: &Agg, bytes: &[u8], div: u64) -> Vec<Row> {
    let counts: Vec<u64> = bytes.chunks_exact(8).map(|c| super::value::word(c, 0, 8)).collect();
    let Some(first) = counts.iter().position(|c| *c > 0) else { return Vec::new() };
    let last = counts.iter().rposition(|c| *c > 0).unwrap_or(first);
    let used = counts.get(first..=last).unwrap_or_default();
    (first..)
        .zip(used)
        .map(|(index, count)| {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            match agg {
                Agg::Hist { bits } => {
                    let (low, high) = hist::log2_range(index, *bits);
                    let edge = |v: u64| log2_edge(v, *bits);
                    Row { low: low.map(edge), high: high.map(edge), count: count / div.max(1) }
                }
                Agg::Lhist { min, max, step } => {
                    let (low, high) = linear_range(index, *min, *max, *step);
                    let edge = |v: i128| linear_edge(v, *step);
                    Row { low: low.map(edge), high: high.map(edge), count: *count }
                }
                _ => Row { low: None, high: None, count: *count },
            }
        })
        .collect()
}

/// Sum of all counts, which histograms are sorted by.
pub fn total(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(0u64, |sum, c| sum.wrapping_add(super::value::word(c, 0, 8)))
}

fn log2_edge(value: u64, bits: u8) -> Edge {
    let plain = value <= 2 << bits;
    // The suffix follows the width of the bucket that begins here, not the number.
    let shift = if plain { 0 } else { value.ilog2().saturating_sub(u32::from(bits)) };
    let decade = shift / 10;
    let suffix = ["", "K", "M", "G", "T", "P", "E"].get(decade as usize).copied().unwrap_or("");
    Edge { value: i128::from(value), label: format!("{}{suffix}", value >> (10 * decade)), plain }
}

fn linear_range(index: u32, min: i64, max: i64, step: i64) -> (Option<i128>, Option<i128>) {
    let (min, max, step) = (i128::from(min), i128::from(max), i128::from(step.max(1)));
    let at = |i: u32| min + i128::from(i) * step;
    match index.checked_sub(1) {
        None => (None, Some(min)),
        Some(i) if at(i) >= max => (Some(max), None),
        Some(i) => (Some(at(i)), Some(at(i + 1).min(max))),
    }
}

fn linear_edge(value: i128, step: i64) -> Edge {
    const KILO: i128 = 1024;
    let scaled = step % 1024 == 0;
    let label = if !scaled || value == 0 {
        value.to_string()
    } else if value % (KILO * KILO) == 0 {
        format!("{}M", value / (KILO * KILO))
    } else if value % KILO == 0 {
        format!("{}K", value / KILO)
    } else {
        value.to_string()
    };
    Edge { value, label, plain: !scaled }
}

/// Appends the rows, a line each.
pub fn text(out: &mut Vec<u8>, rows: &[Row]) {
    let most = rows.iter().map(|r| r.count).max().unwrap_or(0).max(1);
    for row in rows {
        let start = out.len();
        out.extend_from_slice(row.label().as_bytes());
        number::pad(out, start, Some(16), true);
        let count = out.len();
        number::decimal(out, Int::unsigned(row.count));
        number::pad(out, count, Some(8), false);
        out.extend_from_slice(b" |");
        // In single precision, so that bars have the reference's lengths.
        let bar = ((row.count as f32 / most as f32) * BAR as f32) as usize;
        let start = out.len();
        out.resize(start + bar.min(BAR), b'@');
        number::pad(out, start, Some(BAR as u32), true);
        out.extend_from_slice(b"|\n");
    }
}
