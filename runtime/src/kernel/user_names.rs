//! The forms in which a symbol of a program may be named: as the sources write it, without what compilers add.

use super::demangled;

/// Ends of names of copies that begin where the function does. Parts (`.part.0`, `.cold`) begin elsewhere.
const CLONES: [&str; 4] = [".constprop.", ".isra.", ".lto_priv.", ".llvm."];

/// Other names of a symbol, none of them the symbol itself.
pub(super) fn forms(symbol: &str) -> Vec<String> {
    let base = without_clones(symbol);
    let mut forms = Vec::new();
    if let Some(full) = demangled(base) {
        let bare = bare(&full).to_owned();
        let plain = without_generics(without_result(&bare));
        forms.extend([full, bare, plain]);
    } else {
        // Go writes the types of an instance in brackets.
        forms.extend([base.to_owned(), without_brackets(base)]);
    }
    forms.retain(|form| form != symbol);
    forms.dedup();
    forms
}

/// The function that a clone is a copy of.
fn without_clones(symbol: &str) -> &str {
    let first = CLONES.iter().filter_map(|suffix| symbol.find(suffix)).filter(|at| *at > 0).min();
    match first.and_then(|at| symbol.split_at_checked(at)) {
        Some((base, rest)) if ![base, rest].iter().any(|t| t.contains(".part.") || t.contains(".cold")) => base,
        _ => symbol,
    }
}

/// A demangled name without its parameters; those of `operator()` are the second pair.
fn bare(full: &str) -> &str {
    let from = full.find("operator()").map_or(0, |at| at + "operator()".len());
    let end = full.get(from..).and_then(|rest| rest.find('(')).map_or(full.len(), |at| at + from);
    full.get(..end).unwrap_or(full)
}

/// A name without the type of the result, which C++ gives for instances of templates: `void ns::tf<int>`.
fn without_result(name: &str) -> &str {
    let mut depth = 0usize;
    let mut start = 0;
    // Operators and Rust's `<T as Trait>` contain spaces of their own.
    if name.starts_with('<') || name.contains("operator") {
        return name;
    }
    for (at, c) in name.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => start = at + 1,
            _ => {}
        }
    }
    name.get(start..).unwrap_or(name)
}

/// A name without the parameters of templates and generics: `a::f<int>`, `a::f::<i32>`. Angle brackets that begin a
/// name (`<T as Trait>::f`) are no parameters, nor are operators.
fn without_generics(name: &str) -> String {
    if name.contains("operator") {
        return name.to_owned();
    }
    let mut plain = String::with_capacity(name.len());
    let mut inside = 0usize;
    let mut before = '\0';
    for c in name.chars() {
        let opens = c == '<' && (inside > 0 || before.is_alphanumeric() || matches!(before, '_' | ':'));
        if opens {
            inside += 1;
            if inside == 1 && plain.ends_with("::") {
                plain.truncate(plain.len() - 2);
            }
        } else if c == '>' && inside > 0 && before != '-' {
            inside -= 1;
        } else if inside == 0 {
            plain.push(c);
        }
        before = c;
    }
    plain
}

/// A Go name without the types of its instance: `main.Map[go.shape.int]` is one of `main.Map`.
fn without_brackets(name: &str) -> String {
    let mut inside = 0usize;
    let outside = name.chars().filter(|c| {
        inside += usize::from(*c == '[');
        let keep = inside == 0;
        inside = inside.saturating_sub(usize::from(*c == ']'));
        keep
    });
    outside.collect()
}

/// A pattern in which the `*` of a Go receiver, `main.(*T).Method`, stands for itself.
pub(super) fn literal_receivers(pattern: &str) -> String {
    let mut literal = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find(".(*") {
        let (head, tail) = rest.split_at(at + 2);
        let tail = tail.get(1..).unwrap_or_default();
        literal.push_str(head);
        literal.push_str(if tail.starts_with(|c: char| c.is_alphabetic() || c == '_') { "[*]" } else { "*" });
        rest = tail;
    }
    literal + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_what_compilers_add() {
        for (symbol, name) in [
            ("level.constprop.0", "level"),
            ("level.isra.0.constprop.1", "level"),
            ("main.Map[go.shape.int,go.shape.string]", "main.Map"),
            ("main.(*T[go.shape.int]).Method", "main.(*T).Method"),
            ("_ZN2ns2tfIiEEvT_", "ns::tf"),
            ("_ZN2ns1fEi.constprop.0", "ns::f"),
            ("_ZN2ns1fEi", "ns::f(int)"),
        ] {
            assert!(forms(symbol).iter().any(|f| f == name), "{symbol}: {:?}", forms(symbol));
        }
        assert_eq!(without_generics("app::generic::<i32>"), "app::generic");
        assert_eq!(without_generics("<app::Circle as app::Shape>::area"), "<app::Circle as app::Shape>::area");
        for part in ["level.part.0", "level.part.0.constprop.0", "level.constprop.0.cold"] {
            assert!(!forms(part).iter().any(|f| f == "level"), "{part}");
        }
    }

    #[test]
    fn receivers_of_go_are_no_patterns() {
        assert_eq!(literal_receivers("main.(*T).Method"), "main.([*]T).Method");
        assert_eq!(literal_receivers("main.(*).M*"), "main.(*).M*");
        assert_eq!(literal_receivers("f(*)"), "f(*)");
    }
}
