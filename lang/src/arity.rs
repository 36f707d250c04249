//! Numbers of arguments, in words.

/// The message for a call of a function or macro with too few or too many arguments.
pub(crate) fn wrong_count(of: &str, (least, most): (usize, usize), given: usize) -> String {
    let which = if given < least { "few" } else { "many" };
    let expected = match (least, most) {
        (a, b) if a == b => a.to_string(),
        (a, usize::MAX) => format!("at least {a}"),
        (0, b) => format!("at most {b}"),
        (a, b) => format!("{a} to {b}"),
    };
    format!("too {which} arguments for {of}: expected {expected}, found {given}")
}
