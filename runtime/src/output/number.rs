//! Integers as C's `printf` writes them: flags, width and precision, in decimal, octal and
//! hexadecimal, without allocating. Also the padding that strings share, and plain decimal.

use rtrace_core::bundle::{Conversion, FormatSpec};

/// An integer of the language: `value` is extended to 64 bits by the sign of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    pub value: u64,
    pub signed: bool,
}

impl Int {
    pub fn unsigned(value: u64) -> Int {
        Int { value, signed: false }
    }

    #[cfg(test)]
    pub fn signed(value: i64) -> Int {
        Int { value: value as u64, signed: true }
    }

    fn is_negative(self) -> bool {
        self.signed && (self.value as i64) < 0
    }

    /// In an order that fits both signs.
    pub fn wide(self) -> i128 {
        if self.signed { i128::from(self.value as i64) } else { i128::from(self.value) }
    }

    /// The quotient, truncated towards zero; dividing by zero leaves the value alone.
    pub fn divided(self, divisor: u64) -> Int {
        match (i64::try_from(divisor), self.signed) {
            (_, _) if divisor <= 1 => self,
            (Ok(d), true) => Int { value: (self.value as i64).wrapping_div(d) as u64, ..self },
            (Err(_), true) => Int { value: 0, ..self },
            (_, false) => Int { value: self.value / divisor, ..self },
        }
    }
}

/// Appends a decimal number.
#[inline]
pub fn decimal(out: &mut Vec<u8>, n: Int) {
    let negative = n.is_negative();
    if negative {
        out.push(b'-');
    }
    let magnitude = if negative { (n.value as i64).unsigned_abs() } else { n.value };
    if magnitude < 10 {
        out.push(b'0' + magnitude as u8);
    } else {
        digits_in::<10>(out, magnitude, b'a', 1);
    }
}

/// Appends a decimal number of either sign.
pub fn wide(out: &mut Vec<u8>, n: i128) {
    match u64::try_from(n.unsigned_abs()) {
        Ok(magnitude) => {
            if n < 0 {
                out.push(b'-');
            }
            digits(out, magnitude, 10, false, 1);
        }
        Err(_) => super::value::append(out, n),
    }
}

/// Appends `0x` and the hexadecimal number.
pub fn hex(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(b"0x");
    digits(out, value, 16, false, 1);
}

/// Appends at least `least` digits; the base is 8, 10 or 16.
pub fn digits(out: &mut Vec<u8>, value: u64, base: u64, upper: bool, least: usize) {
    // Dividing by a number that the compiler knows costs a tenth.
    match base {
        16 => digits_in::<16>(out, value, if upper { b'A' } else { b'a' }, least),
        8 => digits_in::<8>(out, value, b'a', least),
        _ => digits_in::<10>(out, value, b'a', least),
    }
}

fn digits_in<const BASE: u64>(out: &mut Vec<u8>, mut value: u64, ten: u8, least: usize) {
    // As many as the largest number has in base 8.
    let mut room = [0; 22];
    let mut free = room.len();
    while value > 0
        && let Some(place) = free.checked_sub(1).and_then(|last| room.get_mut(last))
    {
        let digit = (value % BASE) as u8;
        *place = if digit < 10 { b'0' + digit } else { ten + digit - 10 };
        value /= BASE;
        free -= 1;
    }
    let zeros = least.saturating_sub(room.len() - free);
    if zeros > 0 {
        out.resize(out.len() + zeros, b'0');
    }
    out.extend_from_slice(room.get(free..).unwrap_or_default());
}

/// Pads what was written since `start` with blanks to the width.
pub fn pad(out: &mut Vec<u8>, start: usize, width: Option<u32>, left: bool) {
    let missing = (width.unwrap_or(0) as usize).saturating_sub(out.len().saturating_sub(start));
    if missing == 0 {
        return;
    }
    out.resize(out.len() + missing, b' ');
    if !left && let Some(tail) = out.get_mut(start..) {
        tail.rotate_right(missing);
    }
}

/// Whether a conversion without a length modifier, which prints 32 bits as in C, leaves out digits of a number.
pub fn is_cut(spec: &FormatSpec, n: Int) -> bool {
    let whole = matches!(spec.conversion, Conversion::Char | Conversion::Pointer) || spec.length_bits != 0;
    !whole && !matches!((n.value as i64) >> 32, 0 | -1)
}

/// Appends an integer as a conversion says.
///
/// The value is converted as C would: to the width that a length modifier names, else to the 32 bits of `int`.
#[inline]
pub fn convert(out: &mut Vec<u8>, spec: &FormatSpec, n: Int) {
    let bits = if spec.length_bits == 0 { 32 } else { spec.length_bits };
    let shift = 64 - u32::from(bits.clamp(1, 64));
    if spec.width.is_none() && spec.precision.is_none() && !(spec.plus || spec.space) {
        // Nothing but the number, as nearly always.
        match spec.conversion {
            Conversion::Signed => {
                let value = (((n.value << shift) as i64) >> shift) as u64;
                return decimal(out, Int { value, signed: true });
            }
            Conversion::Unsigned => return decimal(out, Int::unsigned((n.value << shift) >> shift)),
            _ => {}
        }
    }
    convert_all(out, spec, n, shift);
}

fn convert_all(out: &mut Vec<u8>, spec: &FormatSpec, n: Int, shift: u32) {
    let start = out.len();
    let unsigned = (n.value << shift) >> shift;
    let mut sign: &[u8] = b"";
    let mut prefix: &[u8] = b"";
    let (magnitude, base) = match spec.conversion {
        Conversion::Char => {
            out.push(n.value as u8);
            return pad(out, start, spec.width, spec.minus);
        }
        Conversion::Pointer => {
            if n.value != 0 {
                hex(out, n.value);
            } else {
                out.push(b'0');
            }
            return pad(out, start, spec.width, spec.minus);
        }
        Conversion::Octal => (unsigned, 8),
        Conversion::Hex | Conversion::HexUpper => {
            if spec.alternate && unsigned != 0 {
                prefix = if spec.conversion == Conversion::Hex { b"0x" } else { b"0X" };
            }
            (unsigned, 16)
        }
        Conversion::Unsigned => (unsigned, 10),
        _ => {
            let value = ((n.value << shift) as i64) >> shift;
            if value < 0 {
                sign = b"-";
            } else if spec.plus {
                sign = b"+";
            } else if spec.space {
                sign = b" ";
            }
            (value.unsigned_abs(), 10)
        }
    };
    out.extend_from_slice(sign);
    out.extend_from_slice(prefix);
    let from = out.len();
    // A precision of zero writes no digit for zero.
    let mut least = match spec.precision {
        Some(p) => p as usize,
        None => 1,
    };
    if spec.zero && !spec.minus && spec.precision.is_none() {
        least = least.max((spec.width.unwrap_or(0) as usize).saturating_sub(from - start));
    }
    digits(out, magnitude, base, spec.conversion == Conversion::HexUpper, least);
    if spec.conversion == Conversion::Octal && spec.alternate && out.get(from) != Some(&b'0') {
        out.insert(from, b'0');
    }
    pad(out, start, spec.width, spec.minus);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrace_core::bundle::Piece;
    use std::ffi::CString;

    fn one(format: &str, n: Int) -> String {
        let format = rtrace_core::bundle::printf::parse(format.as_bytes()).unwrap();
        let mut out = Vec::new();
        for piece in &format.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Spec(spec) => convert(&mut out, spec, n),
            }
        }
        String::from_utf8(out).unwrap()
    }

    fn c(format: &str, value: i64) -> String {
        let format = CString::new(format).unwrap();
        let mut buffer = [0u8; 512];
        // SAFETY: the format has one conversion for a 64-bit integer and the buffer's size is given.
        let n = unsafe { libc::snprintf(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), value) };
        String::from_utf8(buffer[..n as usize].to_vec()).unwrap()
    }

    #[test]
    fn integers_print_as_in_c() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20000 {
            let mut format = String::from("%");
            for flag in ["-", "+", " ", "0", "#"] {
                if random.u64(..4) == 0 {
                    format.push_str(flag);
                }
            }
            if random.u64(..2) == 0 {
                format.push_str(&(1 + random.u64(..25)).to_string());
            }
            if random.u64(..3) == 0 {
                format.push('.');
                if random.u64(..4) > 0 {
                    format.push_str(&random.u64(..25).to_string());
                }
            }
            format.push_str(["hh", "h", "l", "ll", "j", "z", "t"][random.u64(..7) as usize]);
            format.push_str(["d", "i", "u", "o", "x", "X"][random.u64(..6) as usize]);
            let value = match random.u64(..5) {
                0 => 0,
                1 => random.u64(..300) as i64 - 150,
                2 => i64::MIN,
                3 => i64::MAX,
                _ => (random.u64(..u64::MAX) << 31) as i64 ^ random.u64(..u64::MAX) as i64,
            };
            assert_eq!(one(&format, Int::signed(value)), c(&format, value), "{format} of {value}");
            assert_eq!(one(&format, Int::unsigned(value as u64)), c(&format, value), "{format} of unsigned {value}");
        }
    }

    #[test]
    fn without_a_modifier_numbers_have_32_bits() {
        let signed = Int::signed;
        assert_eq!(one("%d", Int::signed(-5)), "-5");
        assert_eq!(one("%d", Int::unsigned(0xffff_fff5)), "-11");
        assert_eq!(one("%d %u", Int::unsigned((1 << 40) + 3)), "3 3");
        assert_eq!(one("%d", Int { value: 0xffff_ffff, signed: false }), "-1");
        assert_eq!(one("%d", Int { value: 0xff, signed: false }), "255");
        assert_eq!(one("%x", signed(-1)), "ffffffff");
        assert_eq!(one("%x", signed(-1)), "ffffffff");
        assert_eq!(one("%x", signed((-1 << 40) + 7)), "7");
        assert_eq!(one("%x", Int::unsigned(u64::MAX)), "ffffffff");
        assert_eq!(one("%u", signed(-1)), "4294967295");
        assert_eq!(one("%hhx", signed(-1)), "ff");
        assert_eq!(one("%hhd", signed(300)), "44");
    }

    #[test]
    fn lost_digits_are_noticed() {
        let cut = |format: &str, n| {
            let format = rtrace_core::bundle::printf::parse(format.as_bytes()).unwrap();
            format.specs().all(|spec| is_cut(spec, n))
        };
        assert!(cut("%d%i%u%o%x%X", Int::unsigned(1 << 32)) && cut("%d", Int::signed(i64::MIN)));
        assert!(!cut("%ld", Int::unsigned(1 << 32)) && !cut("%p", Int::unsigned(1 << 40)));
        // The same 32 bits with another sign.
        assert!(!cut("%d", Int::unsigned(0xffff_ffff)) && !cut("%u", Int::signed(-1)));
    }

    #[test]
    fn characters_and_pointers() {
        assert_eq!(one("%c|%3c|%-3c|", Int::unsigned(65)), "A|  A|A  |");
        assert_eq!(one("%p|%10p|%-10p|", Int::unsigned(0xbeef)), "0xbeef|    0xbeef|0xbeef    |");
        assert_eq!(one("%p", Int::unsigned(0)), "0");
    }

    #[test]
    fn division_truncates_and_survives_extremes() {
        assert_eq!(Int::signed(-7).divided(2), Int::signed(-3));
        assert_eq!(Int::unsigned(7).divided(0), Int::unsigned(7));
        assert_eq!(Int::signed(i64::MIN).divided(u64::MAX), Int::signed(0));
        assert_eq!(Int::signed(-7).wide(), -7);
        assert_eq!(Int::unsigned(u64::MAX).wide(), i128::from(u64::MAX));
    }
}
