//! Messages that name their place in the script: `warnf`, `errorf`, and helpers of the kernel that failed (`-k`).

use super::json;
use rtrace_core::bundle::Bundle;
use rtrace_core::source::{Place, Span};
use std::io;

/// The place of a call; programs of the command line have the name that the reference gives them.
pub fn place(bundle: &Bundle, span: (u32, u32)) -> Option<Place> {
    let mut place = bundle.sources.place(span.0)?;
    if place.file == "-e" || place.file == "-" {
        place.file = "stdin".into();
    }
    Some(place)
}

/// Appends `FILE:LINE:COLUMN-COLUMN: `, or `FILE:LINE-LINE: ` for what goes over several lines.
pub fn range(out: &mut Vec<u8>, bundle: &Bundle, span: (u32, u32)) {
    let Some(from) = place(bundle, span) else { return };
    let end = bundle.sources.place(span.1).filter(|end| end.line != from.line);
    let range = match end {
        Some(end) => format!("{}:{}-{}: ", from.file, from.line, end.line),
        None => {
            let width = span.1.saturating_sub(span.0);
            format!("{}:{}:{}-{}: ", from.file, from.line, from.column, from.column.saturating_add(width))
        }
    };
    out.extend_from_slice(range.as_bytes());
}

/// The reason for a helper's failure.
fn reason(helper: &str, code: i64) -> String {
    match (helper, i32::try_from(-code).unwrap_or(0)) {
        ("map_lookup_elem", _) => "the map has no such entry".to_owned(),
        ("map_update_elem", libc::E2BIG) => "the map is full (config max_map_keys)".to_owned(),
        (_, 0) => format!("failed to {helper}"),
        (_, errno) => format!("failed to {helper}: {} ({code})", strerror(errno)),
    }
}

/// As strerror(3) has it; the standard library adds the number.
fn strerror(errno: i32) -> String {
    io::Error::from_raw_os_error(errno).to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

/// Appends the message about a helper that failed, with the line of the script that called it.
pub fn failure(out: &mut Vec<u8>, bundle: &Bundle, span: (u32, u32), helper: &str, code: i64) {
    range(out, bundle, span);
    out.extend_from_slice(format!("WARNING: {}\n", reason(helper, code)).as_bytes());
    out.extend_from_slice(format!("Additional Info - helper: {helper}, retcode: {code}\n").as_bytes());
    let (Some(from), Some((_, file))) = (bundle.sources.place(span.0), bundle.sources.file_at(span.0)) else { return };
    let start = span.0.saturating_sub(from.column.saturating_sub(1));
    let rest = file.text.get((start.saturating_sub(file.base)) as usize..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let called = bundle.sources.text(Span { start: span.0, end: span.1 });
    let width = called.lines().next().unwrap_or_default().chars().count().max(1);
    // Tabs stay tabs, so that what is marked stands below.
    let before = line.get(..from.column.saturating_sub(1) as usize).unwrap_or_default();
    let gap: String = before.chars().map(|c| if c == '\t' { c } else { ' ' }).collect();
    out.extend_from_slice(format!("{line}\n{gap}{}\n", "~".repeat(width)).as_bytes());
}

/// Appends the same as a line of JSON.
pub fn failure_line(out: &mut Vec<u8>, bundle: &Bundle, span: (u32, u32), helper: &str, code: i64) {
    out.extend_from_slice(b"{\"type\": \"helper_error\", \"msg\": ");
    // The helper and its code have fields of their own.
    let text = i32::try_from(-code).ok().filter(|errno| *errno > 0).map(strerror);
    json::quoted(out, text.unwrap_or_else(|| reason(helper, code)).as_bytes());
    out.extend_from_slice(b", \"helper\": ");
    json::quoted(out, helper.as_bytes());
    out.extend_from_slice(format!(", \"retcode\": {code}").as_bytes());
    if let Some(place) = place(bundle, span) {
        json::source(out, (&place.file, place.line, place.column));
    }
    out.extend_from_slice(b"}\n");
}
