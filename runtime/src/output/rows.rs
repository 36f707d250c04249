//! Records on a terminal: `print((a = 1, b = "x"))` is a row, `a=1  b=x`. The columns of one statement's rows keep the
//! width of the widest value so far, so that they stand below each other.

use super::value::{Datum, Scope, slice};
use rtrace_core::types::Type;

/// One long value does not push the others away for good.
const WIDEST: usize = 40;

/// Appends the record, and widens the columns where it needs to. Values of several lines, such as stacks, are no
/// row: the record is written as everywhere else.
pub fn row(
    scope: &mut Scope<'_>,
    out: &mut Vec<u8>,
    widths: &mut Vec<usize>,
    ty: &Type,
    list: &[(String, Type)],
    bytes: &[u8],
) {
    let mut cells = Vec::new();
    for ((name, _), (offset, element)) in list.iter().zip(ty.elements()) {
        let mut cell = format!("{name}=").into_bytes();
        scope.text(&mut cell, element, Datum::inline(slice(bytes, offset as usize, element.size() as usize)));
        if cell.contains(&b'\n') {
            return scope.text(out, ty, Datum::inline(bytes));
        }
        cells.push(cell);
    }
    widths.resize(cells.len(), 0);
    let last = cells.len().saturating_sub(1);
    for (i, (cell, widest)) in cells.iter().zip(widths).enumerate() {
        let width = String::from_utf8_lossy(cell).chars().count();
        *widest = (*widest).max(width.min(WIDEST));
        out.extend_from_slice(cell);
        if i < last {
            out.resize(out.len() + widest.saturating_sub(width) + 2, b' ');
        }
    }
}
