//! Merging of the copies that a value has: one per CPU in a per-CPU map, one per stripe in the globals.
//! The only place that knows what the words of each aggregation mean when two of them meet.

use rtrace_core::types::{Agg, Series, Type};

/// One value out of all copies, in the type's inline representation. Copies shorter than the type are skipped.
pub fn merge<'a>(ty: &Type, copies: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let size = ty.size() as usize;
    let mut copies = copies.into_iter().filter_map(|c| c.get(..size));
    let Some(first) = copies.next() else { return vec![0; size] };
    let mut out = first.to_vec();
    for copy in copies {
        match ty {
            Type::Agg(agg) => merge_agg(agg, &mut out, copy),
            // A plain value in a per-CPU map: each CPU has its own, one that was written wins.
            _ if out.iter().all(|b| *b == 0) => out.copy_from_slice(copy),
            _ => {}
        }
    }
    out
}

fn merge_agg(agg: &Agg, into: &mut [u8], from: &[u8]) {
    match agg {
        Agg::Min { signed } => extreme(into, from, *signed, |new, old| new < old),
        Agg::Max { signed } => extreme(into, from, *signed, |new, old| new > old),
        Agg::Tseries { of, signed, .. } => {
            let size = Agg::SERIES_WORDS as usize * 8;
            for (a, b) in into.chunks_exact_mut(size).zip(from.chunks_exact(size)) {
                interval(*of, *signed, a, b);
            }
        }
        // All others are sums, word by word; two's complement makes signed and unsigned the same.
        _ => {
            for (a, b) in into.chunks_exact_mut(8).zip(from.chunks_exact(8)) {
                let sum = word(a).wrapping_add(word(b));
                a.copy_from_slice(&sum.to_ne_bytes());
            }
        }
    }
}

/// `[value, is_set]`: takes `from` when it is set and better.
fn extreme(into: &mut [u8], from: &[u8], signed: bool, better: fn(i128, i128) -> bool) {
    let number = |w: u64| if signed { i128::from(w as i64) } else { i128::from(w) };
    let words = |bytes: &[u8]| -> (u64, u64) {
        let mut words = bytes.chunks_exact(8).map(word);
        (words.next().unwrap_or(0), words.next().unwrap_or(0))
    };
    let ((old, old_set), (new, new_set)) = (words(into), words(from));
    if new_set != 0 && (old_set == 0 || better(number(new), number(old))) {
        into.copy_from_slice(from);
    }
}

/// `[number, value, weight]` of a time series: of two different intervals the later one counts, values of the
/// same one become one.
fn interval(of: Series, signed: bool, into: &mut [u8], from: &[u8]) {
    let words = |bytes: &[u8]| {
        let mut words = bytes.chunks_exact(8).map(word);
        [words.next().unwrap_or(0), words.next().unwrap_or(0), words.next().unwrap_or(0)]
    };
    let ([old_number, old, old_weight], [number, new, weight]) = (words(into), words(from));
    if weight == 0 || (old_weight > 0 && old_number > number) {
        return;
    }
    if old_weight == 0 || number > old_number {
        return into.copy_from_slice(from);
    }
    let wide = |w: u64| if signed { i128::from(w as i64) } else { i128::from(w) };
    let (value, weight) = match of {
        // The weight is the time.
        Series::Last if weight > old_weight => (new, weight),
        Series::Last => (old, old_weight),
        Series::Sum | Series::Avg => (old.wrapping_add(new), old_weight.wrapping_add(weight)),
        Series::Min if wide(new) < wide(old) => (new, old_weight.wrapping_add(weight)),
        Series::Max if wide(new) > wide(old) => (new, old_weight.wrapping_add(weight)),
        Series::Min | Series::Max => (old, old_weight.wrapping_add(weight)),
    };
    for (to, w) in into.chunks_exact_mut(8).zip([number, value, weight]) {
        to.copy_from_slice(&w.to_ne_bytes());
    }
}

/// Eight bytes as the machine's integer; 0 for any other number of bytes.
pub fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|w| w.to_ne_bytes()).collect()
    }

    fn merged(agg: Agg, copies: &[&[u64]]) -> Vec<u64> {
        let copies: Vec<Vec<u8>> = copies.iter().map(|c| bytes(c)).collect();
        merge(&Type::Agg(agg), copies.iter().map(Vec::as_slice)).chunks_exact(8).map(word).collect()
    }

    #[test]
    fn sums_add_and_wrap() {
        assert_eq!(merged(Agg::Count, &[&[1], &[2], &[3]]), [6]);
        assert_eq!(merged(Agg::Sum { signed: true }, &[&[5], &[-7i64 as u64]]), [-2i64 as u64]);
        assert_eq!(merged(Agg::Avg { signed: false }, &[&[10, 2], &[20, 3]]), [30, 5]);
    }

    #[test]
    fn extremes_heed_sign_and_being_set() {
        let (minus, plus) = (-1i64 as u64, 5u64);
        assert_eq!(merged(Agg::Min { signed: true }, &[&[0, 0], &[plus, 1], &[minus, 1]]), [minus, 1]);
        assert_eq!(merged(Agg::Min { signed: false }, &[&[0, 0], &[plus, 1], &[minus, 1]]), [plus, 1]);
        assert_eq!(merged(Agg::Max { signed: true }, &[&[0, 0], &[minus, 1]]), [minus, 1]);
        assert_eq!(merged(Agg::Max { signed: false }, &[&[plus, 1], &[minus, 1], &[9, 0]]), [minus, 1]);
        assert_eq!(merged(Agg::Max { signed: false }, &[&[0, 0], &[0, 0]]), [0, 0]);
    }

    #[test]
    fn histograms_add_bucket_by_bucket() {
        let agg = Agg::Lhist { min: 0, max: 20, step: 10 };
        assert_eq!(merged(agg, &[&[1, 0, 2, 0], &[0, 4, 2, 1]]), [1, 4, 4, 1]);
    }

    #[test]
    fn intervals_of_a_series_meet_by_number() {
        let series = |of| Agg::Tseries { interval: 1, intervals: 2, of, signed: true };
        // Slot 0: the same interval on both CPUs; slot 1: a later one on the second CPU, none on the third.
        let copies: [&[u64]; 3] = [&[4, 10, 100, 3, 7, 90], &[4, 20, 99, 5, 8, 91], &[4, 5, 2, 9, 9, 0]];
        assert_eq!(merged(series(Series::Last), &copies), [4, 10, 100, 5, 8, 91]);
        assert_eq!(merged(series(Series::Sum), &copies), [4, 35, 201, 5, 8, 91]);
        assert_eq!(merged(series(Series::Min), &copies), [4, 5, 201, 5, 8, 91]);
        assert_eq!(merged(series(Series::Max), &copies), [4, 20, 201, 5, 8, 91]);
        assert_eq!(merged(series(Series::Avg), &[&[3, 1, 1, 0, 0, 0], &[2, 9, 1, 0, 0, 0]]), [3, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn plain_values_and_damaged_copies() {
        let ty = Type::U32;
        assert_eq!(merge(&ty, [&[0u8, 0, 0, 0][..], &[7, 0, 0, 0]]), [7, 0, 0, 0]);
        assert_eq!(merge(&ty, [&[1u8, 2][..]]), [0, 0, 0, 0]);
        assert_eq!(merge(&ty, []), [0, 0, 0, 0]);
    }
}
