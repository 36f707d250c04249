//! The forms in which a symbol of a program may be named: as the sources write it, without what compilers add.

use crate::demangle::demangled;
use rtrace_facts::clones;

/// Other names of a symbol, none of them the symbol itself.
pub(super) fn forms(symbol: &str) -> Vec<String> {
    let base = clones::whole(symbol);
    let mut forms = Vec::new();
    if clones::is_part(symbol) {
        forms.extend(demangled(symbol));
    } else if let Some(full) = demangled(base) {
        // Names of Rust have no parameters.
        let is_rust = rustc_demangle::try_demangle(base).is_ok();
        let bare = if is_rust { full.clone() } else { bare(&full).to_owned() };
        let plain = without_generics(without_result(&bare));
        let untagged = without_tags(&plain);
        forms.extend([full, bare, plain, untagged]);
    } else {
        // Go writes the types of an instance in brackets.
        forms.extend([base.to_owned(), without_brackets(base)]);
    }
    forms.retain(|form| form != symbol);
    forms.dedup();
    forms
}

/// A demangled name of C++ without its parameters: those of the function itself, behind which nothing is named any more.
/// The ones before are of `(anonymous namespace)`, of functions around it, or the name of `operator()`.
fn bare(full: &str) -> &str {
    let (mut depth, mut start) = (0usize, None);
    for (at, c) in full.char_indices() {
        match c {
            '(' => {
                if depth == 0 {
                    start = Some(at);
                }
                depth += 1;
            }
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    let parameters = start.and_then(|at| full.split_at_checked(at)).filter(|(_, rest)| {
        let after = rest.rsplit_once(')').map_or("", |(_, after)| after);
        after.is_empty() || (after.starts_with([' ', '&', '[']) && !after.contains("::"))
    });
    parameters.map_or(full, |(name, _)| name)
}

/// Whether a name is that of an operator of C++, which angle brackets and blanks may belong to.
fn is_operator(name: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    name.match_indices("operator").any(|(at, it)| {
        let before = name.get(..at).is_none_or(|b| !b.ends_with(word));
        before && name.get(at + it.len()..).is_none_or(|after| !after.starts_with(word))
    })
}

/// A name without the type of the result, which C++ gives for instances of templates: `void ns::tf<int>`.
fn without_result(name: &str) -> &str {
    let mut depth = 0usize;
    let mut start = 0;
    // Operators and Rust's `<T as Trait>` contain spaces of their own.
    if name.starts_with('<') || is_operator(name) {
        return name;
    }
    for (at, c) in name.char_indices() {
        match c {
            '<' | '(' | '{' => depth += 1,
            '>' | ')' | '}' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 => start = at + 1,
            _ => {}
        }
    }
    name.get(start..).unwrap_or(name)
}

/// A name without the parameters of templates and generics: `a::f<int>`, `a::f::<i32>`. Angle brackets that begin a
/// name (`<T as Trait>::f`) are no parameters, nor are operators.
fn without_generics(name: &str) -> String {
    if is_operator(name) {
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

/// A name of C++ without the tags of its ABI: `label[abi:cxx11]`.
fn without_tags(name: &str) -> String {
    let mut parts = name.split("[abi:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |plain, part| plain + part.split_once(']').map_or("", |(_, rest)| rest))
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
            ("_ZN12_GLOBAL__N_17nowhereEi", "(anonymous namespace)::nowhere"),
            ("_ZN4shop12_GLOBAL__N_16hiddenEi", "shop::(anonymous namespace)::hidden"),
            ("_ZN4shop5labelB5cxx11Ei", "shop::label[abi:cxx11]"),
            ("_ZN4shop5labelB5cxx11Ei", "shop::label[abi:cxx11](int)"),
            ("_ZN4shop5labelB5cxx11Ei", "shop::label"),
            ("_ZNK4shop4itemplEi", "shop::item::operator+"),
            ("_ZNK4shop4itemclEi", "shop::item::operator()"),
            ("_ZZ4mainENKUliE_clEi.constprop.0", "main::{lambda(int)#1}::operator()"),
            ("_ZZN2ns1fEiEN5local1gEv", "ns::f(int)::local::g"),
            ("_ZN2ns12_GLOBAL__N_12tfIiEEvT_", "ns::(anonymous namespace)::tf"),
            ("_ZN2ns13my_operator_xIiEEvT_", "ns::my_operator_x"),
            (
                "_ZN58_$LT$names..shop..Circle$u20$as$u20$names..shop..Shape$GT$4area17h1d347c1cf4e3cf49E",
                "<names::shop::Circle as names::shop::Shape>::area",
            ),
            (
                "_RNvXs_NtCs4T4zK9Otvt5_5names4shopNtB4_6CircleNtB4_5Shape4area",
                "<names::shop::Circle as names::shop::Shape>::area",
            ),
            ("_RINvNtCs4T4zK9Otvt5_5names4shop4sellReEB4_", "names::shop::sell"),
        ] {
            assert!(forms(symbol).iter().any(|f| f == name), "{symbol}: {:?}", forms(symbol));
        }
        assert_eq!(without_generics("app::generic::<i32>"), "app::generic");
        assert_eq!(without_generics("<app::Circle as app::Shape>::area"), "<app::Circle as app::Shape>::area");
        for part in ["level.part.0", "_ZL5leveli.part.0", "_ZL5leveli.cold"] {
            assert!(!forms(part).iter().any(|f| f == "level"), "{:?}", forms(part));
        }
    }

    #[test]
    fn receivers_of_go_are_no_patterns() {
        assert_eq!(literal_receivers("main.(*T).Method"), "main.([*]T).Method");
        assert_eq!(literal_receivers("main.(*).M*"), "main.(*).M*");
        assert_eq!(literal_receivers("f(*)"), "f(*)");
    }
}
