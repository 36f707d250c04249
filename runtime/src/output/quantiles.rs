//! Percentiles of what buckets counted: the value of `quantiles`, and the line below a `hist`.

use super::histogram;
use super::number::{self, Int};
use super::value::word;
use rtrace_core::hist;
use rtrace_core::types::Agg;

/// How many samples there are, then each percentile by name; one that is below zero has no number.
pub fn figures(percentiles: &[u32], bits: u8, bytes: &[u8], div: u64) -> Vec<(String, Option<u64>)> {
    let counts: Vec<u64> = bytes.chunks_exact(8).map(|c| word(c, 0, 8)).collect();
    let total = counts.iter().fold(0u64, |sum, c| sum.wrapping_add(*c));
    let mut list = vec![("count".to_owned(), Some(total))];
    list.extend(percentiles.iter().map(|p| {
        let value = hist::percentile(&counts, bits, *p).map(|v| v / div.max(1));
        // Without samples a percentile is as empty as a sum.
        (name(*p), if total == 0 { Some(0) } else { value })
    }));
    list
}

/// `p50`, `p99.9`
fn name(thousandths: u32) -> String {
    let (whole, part) = (thousandths / 1000, format!("{:03}", thousandths % 1000));
    match part.trim_end_matches('0') {
        "" => format!("p{whole}"),
        part => format!("p{whole}.{part}"),
    }
}

/// Appends the figures as `stats` shows its own.
pub fn text(out: &mut Vec<u8>, figures: &[(String, Option<u64>)]) {
    for (i, (name, value)) in figures.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"{ ." } else { b", ." });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b" = ");
        match value {
            Some(n) => number::decimal(out, Int::unsigned(*n)),
            None => out.extend_from_slice(b"<0"),
        }
    }
    out.extend_from_slice(b" }");
}

/// A percentile of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Estimate {
    Value(i128),
    /// Below the first or from the last boundary on.
    Below(i128),
    From(i128),
}

impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Estimate::Value(n) => write!(f, "{n}"),
            Estimate::Below(n) => write!(f, "<{n}"),
            Estimate::From(n) => write!(f, ">={n}"),
        }
    }
}

/// The 50th, 95th and 99th percentile of a `hist` or `lhist`, taking the values of a bucket as spread evenly over
/// it; none without values.
pub fn estimates(agg: &Agg, bytes: &[u8]) -> Vec<(&'static str, Estimate)> {
    let rows = histogram::rows(agg, bytes, 1);
    let total: u128 = rows.iter().map(|r| u128::from(r.count)).sum();
    if total == 0 {
        return Vec::new();
    }
    let estimate = |percent: u128| {
        let rank = (total * percent).div_ceil(100).max(1);
        let mut before = 0u128;
        let row = rows.iter().find(|r| {
            before += u128::from(r.count);
            before >= rank
        })?;
        before -= u128::from(row.count);
        Some(match (&row.low, &row.high) {
            (Some(low), Some(high)) => {
                let width = (high.value - low.value - 1).max(0);
                let part = (2 * (rank - before) - 1) as i128;
                Estimate::Value(low.value + width.saturating_mul(part) / (2 * row.count as i128))
            }
            (None, Some(high)) => Estimate::Below(high.value),
            (Some(low), None) => Estimate::From(low.value),
            (None, None) => return None,
        })
    };
    [("p50", 50), ("p95", 95), ("p99", 99)].into_iter().filter_map(|(name, p)| Some((name, estimate(p)?))).collect()
}

/// Appends them as a line: `p50 12, p95 30, p99 31`.
pub fn line(out: &mut Vec<u8>, agg: &Agg, bytes: &[u8]) {
    let list: Vec<String> = estimates(agg, bytes).iter().map(|(name, e)| format!("{name} {e}")).collect();
    if !list.is_empty() {
        out.extend_from_slice(list.join(", ").as_bytes());
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_give_estimates() {
        let bytes = |counts: &[u64]| counts.iter().flat_map(|c| c.to_le_bytes()).collect::<Vec<u8>>();
        let agg = Agg::Lhist { min: 0, max: 100, step: 10 };
        let text = |counts: &[u64]| {
            let mut out = Vec::new();
            line(&mut out, &agg, &bytes(counts));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&[0, 50, 0, 0, 0, 0, 0, 0, 0, 0, 50, 0]), "p50 8, p95 98, p99 98\n");
        assert_eq!(text(&[60, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 39]), "p50 <0, p95 >=100, p99 >=100\n");
        assert_eq!(text(&[0; 12]), "");
    }

    #[test]
    fn figures_have_names_and_a_count() {
        let mut counts = vec![0u64; hist::log2_buckets(5) as usize];
        for n in 1..=1000 {
            counts[hist::log2_bucket(n, 5) as usize] += 1;
        }
        let bytes: Vec<u8> = counts.iter().flat_map(|c| c.to_le_bytes()).collect();
        let mut out = Vec::new();
        text(&mut out, &figures(&[50_000, 99_900], 5, &bytes, 1));
        assert_eq!(String::from_utf8(out).unwrap(), "{ .count = 1000, .p50 = 499, .p99.9 = 999 }");
        let below = [3u64.to_le_bytes(), 0u64.to_le_bytes()].concat();
        assert_eq!(figures(&[50_000], 0, &below, 1)[1], ("p50".to_owned(), None));
        assert_eq!(figures(&[50_000], 0, &[0; 16], 1)[1], ("p50".to_owned(), Some(0)));
    }
}
