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
pub fn log2_bucket(n: i64, bits: u8) -> u32 {
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
pub fn linear_bucket(n: i64, min: i64, max: i64, step: i64) -> u32 {
    if n < min {
        0
    } else if n >= max {
        linear_buckets(min, max, step) - 1
    } else {
        1 + (n.wrapping_sub(min) as u64 / step.max(1) as u64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_the_range_of_its_bucket() {
        for bits in 0..=5 {
            for n in (0..5000).chain([1 << 20, (1 << 33) + 12345, i64::MAX]) {
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
    fn linear_buckets_have_an_underflow_and_an_overflow() {
        assert_eq!(linear_buckets(0, 100, 10), 12);
        assert_eq!(linear_bucket(-1, 0, 100, 10), 0);
        assert_eq!(linear_bucket(0, 0, 100, 10), 1);
        assert_eq!(linear_bucket(99, 0, 100, 10), 10);
        assert_eq!(linear_bucket(100, 0, 100, 10), 11);
    }
}
