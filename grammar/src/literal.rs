//! Numbers and strings, from their text to their value.
//!
//! The lexer cuts anything that begins like a number as one word and hands it here, so that what is
//! wrong with it can be said: nothing here reports, the caller knows the position.

/// The value of a number's text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int { value: u64, unsigned: bool },
    Duration(u64),
}

const TOO_LARGE: &str = "it does not fit in 64 bits";

/// Reads decimal (`1_000`, `1e6`), octal, hexadecimal and binary integers with C's suffixes, and durations.
pub(crate) fn number(text: &str) -> Result<Number, String> {
    let lower = text.to_ascii_lowercase();
    for (prefix, radix, name) in [("0x", 16, "hexadecimal"), ("0b", 2, "binary")] {
        if let Some(body) = lower.strip_prefix(prefix) {
            let end = body.find(|c: char| !(c.is_digit(radix) || c == '_')).unwrap_or(body.len());
            let (digits, suffix) = body.split_at(end);
            if !digits.contains(|c: char| c.is_digit(radix)) {
                return Err(format!("expected {name} digits after `{prefix}`"));
            }
            return Ok(Number::Int { value: integer(digits, radix)?, unsigned: integer_suffix(suffix)? });
        }
    }
    let end = lower.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(lower.len());
    let (digits, suffix) = lower.split_at(end);
    if let Some(unit) = nanoseconds(text.get(end..).unwrap_or_default()) {
        let value = integer(digits, 10)?.checked_mul(unit).ok_or(TOO_LARGE)?;
        return Ok(Number::Duration(value));
    }
    if let Some(rest) = suffix.strip_prefix('e') {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '_')).unwrap_or(rest.len());
        let (exponent, suffix) = rest.split_at(end);
        if exponent.is_empty() {
            return Err("expected an integer exponent after `e`".into());
        }
        let mantissa = integer(digits, 10)?;
        let power = u32::try_from(integer(exponent, 10)?).ok().and_then(|e| 10_u64.checked_pow(e));
        let value = match (mantissa, power) {
            (0, _) => 0,
            (_, None) => return Err(TOO_LARGE.into()),
            (m, Some(p)) => m.checked_mul(p).ok_or(TOO_LARGE)?,
        };
        return Ok(Number::Int { value, unsigned: integer_suffix(suffix)? });
    }
    let unsigned = integer_suffix(suffix)?;
    let radix = if digits.len() > 1 && digits.starts_with('0') { 8 } else { 10 };
    if let Some(bad) = digits.chars().find(|c| *c != '_' && !c.is_digit(radix)) {
        return Err(format!("a leading 0 means octal, and `{bad}` is not an octal digit"));
    }
    Ok(Number::Int { value: integer(digits, radix)?, unsigned })
}

/// The value of a number written as in a script, durations in nanoseconds; `None` for any other text.
pub fn value(text: &str) -> Option<u64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match number(text).ok()? {
        Number::Int { value, .. } | Number::Duration(value) => Some(value),
    }
}

fn integer(digits: &str, radix: u32) -> Result<u64, String> {
    let mut value = 0_u64;
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        value = value.checked_mul(radix.into()).and_then(|v| v.checked_add(digit.into())).ok_or(TOO_LARGE)?;
    }
    Ok(value)
}

/// Is the integer unsigned?
fn integer_suffix(suffix: &str) -> Result<bool, String> {
    match suffix {
        "" | "l" | "ll" => Ok(false),
        "u" | "ul" | "ull" | "lu" | "llu" => Ok(true),
        _ => Err(format!("unknown suffix `{suffix}`")),
    }
}

fn nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// Decodes what stands between the quotes. `bad` gets position and text of each wrong escape.
pub(crate) fn string(body: &str, mut bad: impl FnMut(usize, &str)) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let start = body.len().saturating_sub(escape.len());
        let (value, len) = escape_value(escape);
        match value {
            Some(byte) => out.push(byte),
            None => bad(start, escape.get(..len).unwrap_or(escape)),
        }
        rest = escape.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
    out
}

/// The byte that an escape stands for, and the length of its text.
fn escape_value(escape: &str) -> (Option<u8>, usize) {
    let mut chars = escape.chars().skip(1);
    let Some(kind) = chars.next() else { return (None, escape.len()) };
    let simple = match kind {
        'n' => b'\n',
        't' => b'\t',
        'r' => b'\r',
        'a' => 7,
        'b' => 8,
        'v' => 11,
        'f' => 12,
        'e' => 27,
        '\\' | '"' | '\'' | '?' => u8::try_from(kind).unwrap_or(b'?'),
        '0'..='7' => return radix_escape(escape, 1, 3, 8),
        'x' | 'X' => return radix_escape(escape, 2, 2, 16),
        _ => return (None, kind.len_utf8().saturating_add(1)),
    };
    (Some(simple), 2)
}

fn radix_escape(escape: &str, skip: usize, most: usize, radix: u32) -> (Option<u8>, usize) {
    let digits = escape.chars().skip(skip).take(most).take_while(|c| c.is_digit(radix)).count();
    let len = skip.saturating_add(digits);
    let value = escape.get(skip..len).and_then(|d| u32::from_str_radix(d, radix).ok());
    (value.and_then(|v| u8::try_from(v).ok()), len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(text: &str) -> Option<(u64, bool)> {
        match number(text) {
            Ok(Number::Int { value, unsigned }) => Some((value, unsigned)),
            _ => None,
        }
    }

    #[test]
    fn integers() {
        for (text, value, unsigned) in [
            ("0", 0, false),
            ("1_000_123_000", 1_000_123_000, false),
            ("0123", 0o123, false),
            ("0x1F", 31, false),
            ("0XffUL", 255, true),
            ("0b101", 5, false),
            ("1e6", 1_000_000, false),
            ("2E3", 2000, false),
            ("0e99", 0, false),
            ("123ULL", 123, true),
            ("123lLu", 123, true),
            ("1ll", 1, false),
            ("18446744073709551615", u64::MAX, false),
            ("0xffff_ffff_ffff_ffff", u64::MAX, false),
        ] {
            assert_eq!(int(text), Some((value, unsigned)), "{text}");
        }
        for text in
            ["18446744073709551616", "1e20", "1e", "1e99999999999999999999", "08", "0x", "0xg", "12abc", "1ulu", "0b2"]
        {
            assert!(number(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(number("10ms"), Ok(Number::Duration(10_000_000)));
        assert_eq!(number("1d"), Ok(Number::Duration(86_400_000_000_000)));
        assert_eq!(number("1_0s"), Ok(Number::Duration(10_000_000_000)));
        assert!(number("1000000d").is_err());
        assert!(number("1MS").is_err());
    }

    #[test]
    fn escapes() {
        let mut bad = Vec::new();
        let mut decode = |s: &str| string(s, |at, text| bad.push((at, text.to_owned())));
        assert_eq!(decode(r#"a\n\t\\\"\r\033[1m\x41\x7\0é"#), b"a\n\t\\\"\r\x1b[1mA\x07\0\xc3\xa9");
        assert_eq!(decode(r"\1234"), b"S4");
        assert_eq!(decode(r"x\qy\xzz\777\é"), b"xyzz");
        assert_eq!(
            bad,
            [(1, r"\q".to_owned()), (4, r"\x".to_owned()), (8, r"\777".to_owned()), (12, r"\é".to_owned())]
        );
    }
}
