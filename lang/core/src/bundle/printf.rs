//! Format strings of `printf`: their parsed form, the parser, and which conversion takes which type.
//!
//! C's conversions for integers, characters, pointers and strings, with flags, width, precision and
//! length modifiers, and the language's own `%r`, `%rh`, `%rx` (buffers) and `%gr` (page allocation
//! flags). A `%` that starts nothing like a conversion (`100%`, `5%,`) stands for itself, as scripts
//! expect; a `%` with a letter that is no conversion is an error.

use crate::types::{Agg, Type};
use serde::{Deserialize, Serialize};

/// A parsed format string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    Text(Vec<u8>),
    /// One conversion, for the next field.
    Spec(FormatSpec),
}

/// `%[flags][width][.precision][length]conversion`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatSpec {
    pub minus: bool,
    pub plus: bool,
    pub space: bool,
    pub zero: bool,
    pub alternate: bool,
    pub width: Option<u32>,
    pub precision: Option<u32>,
    /// Bits that the length modifier names (`hh` 8, `h` 16, none 0, `l ll j z t` 64).
    pub length_bits: u8,
    pub conversion: Conversion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conversion {
    /// `%d %i`
    Signed,
    /// `%u`
    Unsigned,
    /// `%o`
    Octal,
    /// `%x`
    Hex,
    /// `%X`
    HexUpper,
    /// `%c`
    Char,
    /// `%p`
    Pointer,
    /// `%s`
    Str,
    /// `%r`: buffer with unprintable bytes escaped
    Buffer,
    /// `%rh`: buffer as hexadecimal with blanks
    BufferHex,
    /// `%rx`: buffer as `\x..` escapes
    BufferEscaped,
    /// `%gr`: GFP flags by name
    GfpFlags,
}

/// An error in a format string, and its byte offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError {
    pub offset: usize,
    pub message: String,
}

impl std::fmt::Display for FormatError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Largest width and precision: more is a mistake, and would let one event print megabytes.
const MAX_WIDTH: u32 = 65535;

/// Parses a format string (escapes already resolved).
pub fn parse(text: &[u8]) -> Result<Format, FormatError> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        at += 1;
        if byte != b'%' {
            literal.push(byte);
            continue;
        }
        if text.get(at) == Some(&b'%') {
            at += 1;
            literal.push(b'%');
            continue;
        }
        match spec(text, at)? {
            Some((spec, end)) => {
                if !literal.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Spec(spec));
                at = end;
            }
            None => literal.push(b'%'),
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Text(literal));
    }
    Ok(Format(pieces))
}

/// One conversion, `start` being the byte after the `%`; also where it ends. `None` if nothing there
/// looks like a conversion.
fn spec(text: &[u8], start: usize) -> Result<Option<(FormatSpec, usize)>, FormatError> {
    let fail = |message: String| FormatError { offset: start.saturating_sub(1), message };
    let mut at = start;
    let mut spec = FormatSpec {
        minus: false,
        plus: false,
        space: false,
        zero: false,
        alternate: false,
        width: None,
        precision: None,
        length_bits: 0,
        conversion: Conversion::Signed,
    };
    loop {
        match text.get(at) {
            Some(b'-') => spec.minus = true,
            Some(b'+') => spec.plus = true,
            Some(b' ') => spec.space = true,
            Some(b'0') => spec.zero = true,
            Some(b'#') => spec.alternate = true,
            _ => break,
        }
        at += 1;
    }
    if text.get(at) == Some(&b'*') {
        return Err(fail("the width '*' is not supported: write a number".to_string()));
    }
    (spec.width, at) = number(text, at).map_err(&fail)?;
    if text.get(at) == Some(&b'.') {
        if text.get(at + 1) == Some(&b'*') {
            return Err(fail("the precision '*' is not supported: write a number".to_string()));
        }
        let (precision, end) = number(text, at + 1).map_err(&fail)?;
        // As in C, a lone dot is a precision of zero.
        spec.precision = Some(precision.unwrap_or(0));
        at = end;
    }
    let modifiers = text.get(at..).unwrap_or_default();
    let (bits, length) = match modifiers {
        [b'h', b'h', ..] => (8, 2),
        [b'h', ..] => (16, 1),
        [b'l', b'l', ..] => (64, 2),
        [b'l' | b'j' | b'z' | b't', ..] => (64, 1),
        _ => (0, 0),
    };
    spec.length_bits = bits;
    at += length;
    let rest = text.get(at..).unwrap_or_default();
    let (conversion, length) = match rest {
        [b'd' | b'i', ..] => (Conversion::Signed, 1),
        [b'u', ..] => (Conversion::Unsigned, 1),
        [b'o', ..] => (Conversion::Octal, 1),
        [b'x', ..] => (Conversion::Hex, 1),
        [b'X', ..] => (Conversion::HexUpper, 1),
        [b'c', ..] => (Conversion::Char, 1),
        [b'p', ..] => (Conversion::Pointer, 1),
        [b's', ..] => (Conversion::Str, 1),
        [b'r', b'h', ..] => (Conversion::BufferHex, 2),
        [b'r', b'x', ..] => (Conversion::BufferEscaped, 2),
        [b'r', ..] => (Conversion::Buffer, 1),
        [b'g', b'r', ..] => (Conversion::GfpFlags, 2),
        [b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A', ..] => {
            return Err(fail(format!(
                "'{}' is not supported because BPF has no floating point: scale to an integer and use %d",
                shown(text, start, at + 1)
            )));
        }
        [c, ..] if c.is_ascii_alphabetic() => {
            return Err(fail(format!("unknown conversion specifier '{}'", shown(text, start, at + 1))));
        }
        _ => return Ok(None),
    };
    spec.conversion = conversion;
    Ok(Some((spec, at + length)))
}

fn shown(text: &[u8], start: usize, end: usize) -> String {
    String::from_utf8_lossy(text.get(start.saturating_sub(1)..end).unwrap_or_default()).into_owned()
}

/// A decimal number at `at`, if there is one, and where it ends.
fn number(text: &[u8], mut at: usize) -> Result<(Option<u32>, usize), String> {
    let mut value = None;
    while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
        let next = value.unwrap_or(0u32) * 10 + u32::from(digit - b'0');
        if next > MAX_WIDTH {
            return Err(format!("width or precision is too large: at most {MAX_WIDTH}"));
        }
        value = Some(next);
        at += 1;
    }
    Ok((value, at))
}

impl Format {
    /// The conversions, in the order of their arguments.
    pub fn specs(&self) -> impl Iterator<Item = &FormatSpec> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Spec(spec) => Some(spec),
            Piece::Text(_) => None,
        })
    }
}

impl FormatSpec {
    /// Whether a value of this type can be printed with this conversion.
    pub fn accepts(&self, ty: &Type) -> bool {
        match self.conversion {
            Conversion::Signed
            | Conversion::Unsigned
            | Conversion::Octal
            | Conversion::Hex
            | Conversion::HexUpper
            | Conversion::Char
            | Conversion::Pointer => ty.is_integer() || matches!(ty, Type::Ptr { .. }) || is_number_of_map(ty),
            Conversion::GfpFlags => ty.is_integer(),
            Conversion::Str => !matches!(ty, Type::Void) && !matches!(ty, Type::Agg(agg) if !agg.is_number()),
            Conversion::Buffer | Conversion::BufferHex | Conversion::BufferEscaped => match ty {
                Type::Buffer { .. } => true,
                Type::Array { elem, .. } => matches!(**elem, Type::Int { bits: 8, .. }),
                _ => false,
            },
        }
    }

    /// The conversion as one writes it, without flags and width.
    pub fn name(&self) -> &'static str {
        match self.conversion {
            Conversion::Signed => "%d",
            Conversion::Unsigned => "%u",
            Conversion::Octal => "%o",
            Conversion::Hex => "%x",
            Conversion::HexUpper => "%X",
            Conversion::Char => "%c",
            Conversion::Pointer => "%p",
            Conversion::Str => "%s",
            Conversion::Buffer => "%r",
            Conversion::BufferHex => "%rh",
            Conversion::BufferEscaped => "%rx",
            Conversion::GfpFlags => "%gr",
        }
    }
}

/// Aggregations whose result is one integer.
fn is_number_of_map(ty: &Type) -> bool {
    match ty {
        Type::Agg(agg) => agg.is_number() && !matches!(agg, Agg::Stats { .. }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(text: &str) -> Vec<FormatSpec> {
        parse(text.as_bytes()).unwrap().specs().cloned().collect()
    }

    #[test]
    fn text_and_conversions_alternate() {
        let format = parse(b"%-16s %d%%\n").unwrap();
        assert_eq!(format.0.len(), 4);
        let Piece::Spec(s) = &format.0[0] else { panic!() };
        assert!(s.minus && s.width == Some(16) && s.conversion == Conversion::Str);
        assert_eq!(format.0[1], Piece::Text(b" ".to_vec()));
        assert_eq!(format.0[3], Piece::Text(b"%\n".to_vec()));
    }

    #[test]
    fn flags_width_precision_and_length() {
        let s = &specs("%+#08.3llx")[0];
        assert!(s.plus && s.alternate && s.zero && !s.minus);
        assert_eq!((s.width, s.precision, s.length_bits), (Some(8), Some(3), 64));
        assert_eq!(s.conversion, Conversion::Hex);
        for (text, bits) in [("%hhu", 8), ("%hd", 16), ("%d", 0), ("%ld", 64), ("%jd", 64), ("%zu", 64), ("%td", 64)] {
            assert_eq!(specs(text)[0].length_bits, bits, "{text}");
        }
        assert_eq!(specs("%.s")[0].precision, Some(0));
    }

    #[test]
    fn every_conversion() {
        let text = "%d%i%u%o%x%X%c%p%s%r%rh%rx%gr";
        let names: Vec<&str> = specs(text).iter().map(FormatSpec::name).collect();
        assert_eq!(names, ["%d", "%d", "%u", "%o", "%x", "%X", "%c", "%p", "%s", "%r", "%rh", "%rx", "%gr"]);
    }

    #[test]
    fn a_percent_sign_may_stand_for_itself() {
        for text in ["100%\n", "%", "5%, ok", "%5", "%-", "a%.b"] {
            if let Ok(format) = parse(text.as_bytes()) {
                assert_eq!(format.0, [Piece::Text(text.as_bytes().to_vec())], "{text}");
            }
        }
        // A blank is a flag: this is how the reference's manual reads, too.
        assert_eq!(specs("% processes on %d")[0].conversion, Conversion::Pointer);
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(
            parse(b"ab %y").unwrap_err(),
            FormatError { offset: 3, message: "unknown conversion specifier '%y'".into() }
        );
        assert!(parse(b"%.2f").unwrap_err().message.contains("floating point"));
        assert!(parse(b"%*d").unwrap_err().message.contains("'*'"));
        assert!(parse(b"%.*s").unwrap_err().message.contains("'*'"));
        assert!(parse(b"%99999999999d").unwrap_err().message.contains("65535"));
        assert!(parse(b"%n").is_err());
    }

    #[test]
    fn conversions_know_their_types() {
        let d = &specs("%d")[0];
        let s = &specs("%s")[0];
        let r = &specs("%rx")[0];
        let enum_type = Type::Enum { name: "e".into(), bits: 32, signed: false };
        let bytes = Type::Array { elem: Box::new(Type::U8), len: 4 };
        for ty in [Type::U8, Type::I64, Type::Bool, enum_type.clone(), Type::kptr(Type::Void), Type::Agg(Agg::Count)] {
            assert!(d.accepts(&ty) && s.accepts(&ty), "{ty}");
        }
        for ty in [Type::String { cap: 16 }, Type::Inet, Type::Ksym, Type::Buffer { cap: 4 }, bytes.clone()] {
            assert!(!d.accepts(&ty) && s.accepts(&ty), "{ty}");
        }
        assert!(!s.accepts(&Type::Void));
        assert!(r.accepts(&Type::Buffer { cap: 4 }) && r.accepts(&bytes) && !r.accepts(&Type::String { cap: 4 }));
    }
}
