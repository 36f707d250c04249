//! `printf`: a parsed format and the fields of an event become text. Runs once per event, so integers
//! and strings go straight into the output, without allocating.

use super::number;
use super::value::{self, Bytes, Datum, Scope};
use crate::events::Fields;
use rtrace_core::bundle::{Conversion, Format, FormatSpec, Piece};
use rtrace_core::types::Type;

/// Appends the text. A conversion without a field left prints nothing.
pub fn printf(scope: &mut Scope<'_>, out: &mut Vec<u8>, format: &Format, mut fields: Fields<'_>) {
    for piece in &format.0 {
        match piece {
            // Mostly a blank or the end of a line.
            Piece::Text(text) => match text.as_slice() {
                [byte] => out.push(*byte),
                text => out.extend_from_slice(text),
            },
            Piece::Spec(spec) => {
                if let Some((ty, data)) = fields.next() {
                    convert(scope, out, spec, ty, data);
                }
            }
        }
    }
}

fn convert(scope: &mut Scope<'_>, out: &mut Vec<u8>, spec: &FormatSpec, ty: &Type, data: Datum<'_>) {
    if let (Type::Int { bits, signed }, Conversion::Signed | Conversion::Unsigned) = (ty, spec.conversion) {
        // What most events have most of.
        let n = value::int(data.bytes, *bits, *signed);
        scope.shortened |= number::is_cut(spec, n);
        return number::convert(out, spec, n);
    }
    let start = out.len();
    match spec.conversion {
        Conversion::Str => {
            match ty {
                Type::String { cap } => scope.string(out, *cap, data),
                _ => scope.text(out, ty, data),
            }
            if let Some(precision) = spec.precision {
                out.truncate(start.saturating_add(precision as usize).min(out.len()));
            }
        }
        Conversion::Buffer => value::write_bytes(out, value::buffer(ty, data), Bytes::Readable),
        Conversion::BufferHex => value::write_bytes(out, value::buffer(ty, data), Bytes::Hex),
        Conversion::BufferEscaped => value::write_bytes(out, value::buffer(ty, data), Bytes::Escaped),
        Conversion::GfpFlags => scope.gfp(out, value::integer(ty, data.bytes).map_or(0, |n| n.value)),
        _ => match value::integer(ty, data.bytes) {
            Some(n) => {
                number::convert(out, spec, n);
                if scope.escape && spec.conversion == Conversion::Char {
                    value::escape_from(out, start);
                }
                scope.shortened |= number::is_cut(spec, n);
                return;
            }
            // The checker refuses these; should one come through, its text says more than nothing.
            None => scope.text(out, ty, data),
        },
    }
    if spec.width.is_some() {
        number::pad(out, start, spec.width, spec.minus);
    }
}
