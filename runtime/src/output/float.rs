//! Floating-point numbers, which programs only carry: as C's `%f` in text, as short as it is exact in JSON.

use super::value::word;
use std::io::Write;

/// Appends a number of so many bytes with six digits behind the point. A `long double` has the precision of a `double`.
pub fn text(out: &mut Vec<u8>, bytes: &[u8], size: u8) {
    let value = value(bytes, size);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    // Writing to memory does not fail.
    let _ = match value.is_nan() {
        true => write!(out, "{sign}nan"),
        false => write!(out, "{value:.6}"),
    };
}

/// Appends a number as JSON has it; `null` for what JSON has no number for.
pub fn json(out: &mut Vec<u8>, bytes: &[u8], size: u8) {
    let value = value(bytes, size);
    let _ = match size {
        _ if !value.is_finite() => write!(out, "null"),
        // As few digits as tell it from its neighbours of the same size.
        4 => write!(out, "{:?}", value as f32),
        _ => write!(out, "{value:?}"),
    };
}

fn value(bytes: &[u8], size: u8) -> f64 {
    match size {
        4 => f64::from(f32::from_bits(word(bytes, 0, 4) as u32)),
        8 => f64::from_bits(word(bytes, 0, 8)),
        _ if cfg!(target_arch = "x86_64") => extended(word(bytes, 0, 8), word(bytes, 8, 2)),
        _ => quadruple(word(bytes, 0, 8), word(bytes, 8, 8)),
    }
}

/// The 80 bits of the x87: sign and exponent above a mantissa whose first bit is written out.
fn extended(mantissa: u64, head: u64) -> f64 {
    scaled(head >> 15 != 0, head & 0x7fff, mantissa as f64, 63, mantissa << 1 == 0)
}

/// 128 bits of IEEE 754, of whose mantissa a `double` keeps the upper half and more.
fn quadruple(low: u64, high: u64) -> f64 {
    let fraction = high & 0xffff_ffff_ffff;
    let exponent = high >> 48 & 0x7fff;
    let one = if exponent == 0 { 0 } else { 1u64 << 48 };
    let mantissa = (one | fraction) as f64 + low as f64 * f64::powi(2.0, -64);
    scaled(high >> 63 != 0, exponent, mantissa, 48, fraction == 0 && low == 0)
}

/// `mantissa * 2^-bits` with an exponent of 15 bits; `whole`: nothing stands behind the first bit of the mantissa.
fn scaled(negative: bool, exponent: u64, mantissa: f64, bits: i32, whole: bool) -> f64 {
    let value = match exponent {
        0x7fff if whole => f64::INFINITY,
        0x7fff => f64::NAN,
        // In two steps: the first must not fall below what a `double` holds.
        _ => {
            let power = (exponent.max(1) as i32).saturating_sub(16383).saturating_sub(bits);
            let half = power / 2;
            mantissa * f64::powi(2.0, half) * f64::powi(2.0, power - half)
        }
    };
    if negative { -value } else { value }
}
