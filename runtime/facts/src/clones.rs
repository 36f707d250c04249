//! Copies and parts that compilers make of functions, known by the ends of their names: `level.isra.0.constprop.1`,
//! `level.part.0`, `level.cold`.

/// The meaning of a suffix.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// The whole function, with its parameters.
    Same,
    /// The whole function, with fewer or other parameters.
    Changed,
    /// A part that the function may continue with.
    Part,
    /// The cold part, reached by a jump, which is not a function.
    Cold,
}

const ENDS: [(&str, Kind); 6] = [
    (".constprop.", Kind::Changed),
    (".isra.", Kind::Changed),
    (".lto_priv.", Kind::Same),
    (".llvm.", Kind::Same),
    (".part.", Kind::Part),
    (".cold", Kind::Cold),
];

/// The name without its ends, and the kinds of these.
fn split(symbol: &str) -> (&str, impl Iterator<Item = Kind>) {
    let found = |end: &str| symbol.find(end).filter(|at| *at > 0);
    let first = ENDS.iter().filter_map(|(end, _)| found(end)).min().unwrap_or(symbol.len());
    let (base, ends) = symbol.split_at_checked(first).unwrap_or((symbol, ""));
    (base, ENDS.iter().filter(move |(end, _)| ends.contains(end)).map(|(_, kind)| *kind))
}

/// Whether a symbol is that of a part, which does not begin where the function does.
pub fn is_part(symbol: &str) -> bool {
    split(symbol).1.any(|kind| matches!(kind, Kind::Part | Kind::Cold))
}

/// The function that a symbol is a whole copy of; the symbol itself otherwise.
pub fn whole(symbol: &str) -> &str {
    if is_part(symbol) { symbol } else { split(symbol).0 }
}

/// The function that a symbol is a copy of, or a part that is called; `None` for what is neither.
pub fn function(symbol: &str) -> Option<&str> {
    let (base, kinds) = split(symbol);
    let kinds: Vec<Kind> = kinds.collect();
    (!kinds.is_empty() && !kinds.contains(&Kind::Cold)).then_some(base)
}

/// Whether a symbol is that of a copy that takes other arguments than the source says.
pub fn takes_others(symbol: &str) -> bool {
    split(symbol).1.any(|kind| matches!(kind, Kind::Changed | Kind::Part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_names() {
        for copy in ["level.constprop.0", "level.isra.0.constprop.1", "level.llvm.123", "level.lto_priv.0"] {
            assert_eq!((whole(copy), function(copy)), ("level", Some("level")), "{copy}");
        }
        for part in ["level.part.0", "level.part.0.constprop.0"] {
            assert_eq!((whole(part), function(part)), (part, Some("level")), "{part}");
        }
        for other in ["level.constprop.0.cold", "level.cold", "level", ".llvm.1", "level.other"] {
            assert_eq!((whole(other), function(other)), (other, None), "{other}");
        }
        assert!(
            takes_others("f.isra.0") && takes_others("f.part.0") && !takes_others("f.llvm.1") && !takes_others("f")
        );
    }
}
