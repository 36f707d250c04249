//! What the table of probe kinds tells the lexer, for tests that know no such table.

/// The part of an attach point that is a path.
pub fn path_part(kind: &str) -> Option<usize> {
    match kind {
        "u" | "uprobe" | "uretprobe" | "U" | "usdt" => Some(0),
        "it" | "iter" => Some(1),
        _ => None,
    }
}
