//! Buckets of the histogram aggregations: one definition for the compiler, which emits the index
//! computation, and the runtime, which prints the ranges.

/// Number of buckets of `hist(n, bits)`.
///
/// Index 0 holds negative values. With `s = 2^bits` sub-buckets, values `0..s` have a bucket each
/// (index `1 + n`), and a larger `n` with `p = floor(log2(n))` goes to index
/// `1 + s + (p - bits) * s + ((n >> (p - bits)) & (s - 1))`.
pub fn log2_buckets(bits: u8) -> u32 {
    let s = 1u32 << bits;
    1 + s + (64 - u32::from(bits)) * s
}

/// The bucket of `n`, as the compiled program computes it.
///
/// `n` is what an `int64` or a `uint64` holds.
pub fn log2_bucket(n: i128, bits: u8) -> u32 {
    if n < 0 {
        return 0;
    }
    let (n, s) = (n as u64, 1u64 << bits);
    if n < s {
        return 1 + n as u32;
    }
    let p = 63 - u64::from(n.leading_zeros());
    let shift = p - u64::from(bits);
    (1 + s + shift * s + ((n >> shift) & (s - 1))) as u32
}

/// Smallest value of bucket `index` and the first value above it; `None` for the negative bucket's
/// lower end and the last bucket's upper end.
pub fn log2_range(index: u32, bits: u8) -> (Option<u64>, Option<u64>) {
    let s = 1u64 << bits;
    let Some(i) = u64::from(index).checked_sub(1) else { return (None, Some(0)) };
    if i < s {
        return (Some(i), Some(i + 1));
    }
    let (shift, sub) = ((i - s) / s, (i - s) % s);
    let low = (s + sub).checked_shl(shift as u32).unwrap_or(u64::MAX);
    (Some(low), low.checked_add(1u64.checked_shl(shift as u32).unwrap_or(u64::MAX)))
}

/// Number of buckets of `lhist(n, min, max, step)`: one below, the linear ones, one from `max` up.
pub fn linear_buckets(min: i64, max: i64, step: i64) -> u32 {
    let span = i128::from(max) - i128::from(min);
    let step = i128::from(step.max(1));
    u32::try_from((span + step - 1) / step).unwrap_or(u32::MAX - 2).saturating_add(2)
}

/// The bucket of `n`, as the compiled program computes it.
///
/// `n` is what an `int64` or a `uint64` holds.
pub fn linear_bucket(n: i128, min: i64, max: i64, step: i64) -> u32 {
    if n < i128::from(min) {
        0
    } else if n >= i128::from(max) {
        linear_buckets(min, max, step) - 1
    } else {
        1 + ((n - i128::from(min)) / i128::from(step.max(1))) as u32
    }
}

/// A percentile in thousandths: `99.9` is 99900.
pub fn parse_percentile(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part: u32 = format!("{part:0<3}").parse().ok()?;
    let thousandths = whole.parse::<u32>().ok()?.checked_mul(1000)?.checked_add(part)?;
    (thousandths <= 100_000).then_some(thousandths)
}

/// The value that so many thousandths of a percent of the samples do not exceed, from the counts of
/// `log2_buckets(bits)` buckets: the middle of the bucket that it lies in, so that it is at most `2^-(bits + 1)` of
/// it wrong. `None` without samples, and for one below zero.
pub fn percentile(counts: &[u64], bits: u8, thousandths: u32) -> Option<u64> {
    let total: u128 = counts.iter().map(|c| u128::from(*c)).sum();
    // The rank of the sample, from 1.
    let rank = (total * u128::from(thousandths)).div_ceil(100_000).max(1);
    let mut seen = 0;
    let index = counts.iter().position(|c| {
        seen += u128::from(*c);
        seen >= rank
    })?;
    let (low, high) = log2_range(u32::try_from(index).ok()?, bits);
    let low = low?;
    Some(high.map_or(low, |high| low + (high - 1 - low) / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_the_range_of_its_bucket() {
        for bits in 0..=5 {
            for n in (0..5000).chain([1 << 20, (1 << 33) + 12345, i64::MAX.into(), 1 << 63, u64::MAX.into()]) {
                let index = log2_bucket(n, bits);
                assert!(index < log2_buckets(bits));
                let (low, high) = log2_range(index, bits);
                assert!(low.is_some_and(|l| l <= n as u64), "{n} below bucket {index} of {bits}");
                assert!(high.is_none_or(|h| (n as u64) < h), "{n} above bucket {index} of {bits}");
            }
            assert_eq!(log2_bucket(-1, bits), 0);
        }
    }

    #[test]
    fn unsigned_numbers_from_half_the_range_on_are_large() {
        assert_eq!(log2_range(log2_bucket(1 << 63, 0), 0), (Some(1 << 63), None));
        assert_eq!(log2_bucket(u64::MAX.into(), 0), log2_buckets(0) - 1);
        assert_eq!(linear_bucket(1 << 63, 0, 100, 10), 11);
        assert_eq!(linear_bucket(1 << 63, -20, -10, 10), 2);
    }

    #[test]
    fn percentiles_are_as_near_as_promised() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut samples: Vec<i64> = (0..5000).map(|_| (random.u64(..) >> random.u32(20..60)) as i64).collect();
        samples.sort_unstable();
        for bits in [0, 3, 5] {
            let mut counts = vec![0u64; log2_buckets(bits) as usize];
            samples.iter().for_each(|n| counts[log2_bucket((*n).into(), bits) as usize] += 1);
            for thousandths in [0, 1000, 25_000, 50_000, 95_000, 99_900, 100_000] {
                let rank = (samples.len() * thousandths).div_ceil(100_000).max(1);
                let exact = samples[rank - 1] as f64;
                let got = percentile(&counts, bits, thousandths as u32).unwrap() as f64;
                let bound = exact / f64::from(2 << bits) * f64::from(1 + u32::from(bits == 0)) + 0.5;
                assert!((got - exact).abs() <= bound, "p{thousandths} with {bits} bits: {got}, not {exact}");
            }
        }
        assert_eq!(percentile(&[0, 0, 0], 0, 50_000), None);
        assert_eq!(percentile(&[3, 1], 0, 50_000), None);
        assert_eq!(percentile(&[1, 3], 0, 50_000), Some(0));
    }

    #[test]
    fn percentiles_are_read_exactly() {
        assert_eq!(parse_percentile("99.9"), Some(99_900));
        assert_eq!(parse_percentile("50"), Some(50_000));
        assert_eq!(parse_percentile("100.000"), Some(100_000));
        for bad in ["", ".", "1.", ".5", "100.001", "1e3", "-1", "99.9999", "x"] {
            assert_eq!(parse_percentile(bad), None, "{bad}");
        }
    }

    #[test]
    fn linear_buckets_have_an_underflow_and_an_overflow() {
        assert_eq!(linear_buckets(0, 100, 10), 12);
        assert_eq!(linear_bucket(-1, 0, 100, 10), 0);
        assert_eq!(linear_bucket(0, 0, 100, 10), 1);
        assert_eq!(linear_bucket(99, 0, 100, 10), 10);
        assert_eq!(linear_bucket(100, 0, 100, 10), 11);
    }
}
