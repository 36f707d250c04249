//! Names of C++ and Rust as their sources write them, and as gdb, perf and c++filt do.

/// A C++ or Rust name as written in the sources, with parameters where the symbol has them.
pub fn demangled(name: &str) -> Option<String> {
    // Old-style Rust names are C++ names with a hash: without this order they would be taken for C++.
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return Some(format!("{rust:#}"));
    }
    let is_cpp = name.starts_with("_Z");
    let text = is_cpp.then(|| cpp_demangle::Symbol::new(name).ok()?.demangle().ok()).flatten()?;
    Some(as_written(&text))
}

/// Rewrites the output of cpp_demangle 0.5.1 to conventional C++. Of the 43,920 names that libstdc++ (GCC 12) and
/// libLLVM (14) export, it prints 5,941 unlike c++filt (binutils 2.40), most of them for these reasons:
///
/// - a reference (or `const`) to a nested type has its `&` in the middle: `n::f(n::A&, n::A&::B)` for `n::A::B&`;
/// - an empty parameter pack leaves its comma: `M<A, >`;
/// - numbers are written as casts: `S<(unsigned int)8>` for `S<8u>`;
/// - tables and thunks have names in braces: `{vtable(n::V)}`.
///
/// Differences that need more than the text remain: qualifiers of parameter packs that are not empty, and the first
/// parameter of constructor templates, which it takes for a result.
fn as_written(text: &str) -> String {
    let (kind, name) = special(text);
    let name = suffixed_numbers(&nested_qualifiers(&without_empty_packs(name)));
    format!("{kind}{name}")
}

/// The purpose of a compiler-generated symbol, and the name that it belongs to.
fn special(text: &str) -> (&'static str, &str) {
    let inside = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(")}");
    if let Some(name) = inside("{vtable(") {
        return ("vtable for ", name);
    }
    if let Some(name) = inside("{vtt(") {
        return ("VTT for ", name);
    }
    let Some(thunk) = inside("{virtual override thunk(") else {
        return ("", text);
    };
    // One offset for `this`, a second one if the result needs another, too.
    let mut offsets = 0;
    let mut name = thunk;
    while let Some((_, rest)) = name.strip_prefix('{').and_then(|offset| offset.split_once(")}, ")) {
        offsets += 1;
        name = rest;
    }
    match offsets {
        2 => ("covariant return thunk to ", name),
        _ if thunk.starts_with("{virtual") => ("virtual thunk to ", name),
        _ => ("non-virtual thunk to ", name),
    }
}

/// Without what empty parameter packs leave: `M<A, >`, `f<, int>`, `g(int, )`, `h(int, &&)`, `k(&&)`.
fn without_empty_packs(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(", ") {
        written.push_str(before);
        let first = written.ends_with(['<', '(']) && !written.ends_with("operator<");
        let (remains, nothing) = nothing(after);
        rest = remains;
        if !first && !nothing {
            written.push_str(", ");
        }
    }
    written.push_str(rest);
    // Behind a blank it would be the type of a function: `int (&&)(int)`.
    for lone in ["(&&)", "(&)", "(const&)"] {
        let at =
            written.rfind(lone).filter(|at| written.get(..*at).is_some_and(|b| !b.is_empty() && !b.ends_with(' ')));
        if let Some(at) = at {
            written.replace_range(at + 1..at + lone.len() - 1, "");
        }
    }
    written
}

/// Whether a list has nothing here, or the qualifiers of nothing, and what comes behind these.
fn nothing(item: &str) -> (&str, bool) {
    let rest = item.trim_start_matches("const").trim_start_matches('&');
    if rest.starts_with([',', '>', ')']) { (rest, true) } else { (item, false) }
}

/// Qualifiers that stand behind a part of a name, behind the whole name: `A const&::B<int>::C` is `A::B<int>::C const&`.
/// `::` never follows a qualifier in C++ but for `::*`, behind which a pointer to a member has them.
fn nested_qualifiers(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("::") {
        let (before, after) = rest.split_at(at);
        written.push_str(before);
        let from = qualifiers(&written);
        let length = if after.starts_with("::*") { 0 } else { nested(after) };
        let (name, tail) = after.split_at(length);
        if from == written.len() || length == 0 {
            written.push_str("::");
            rest = after.strip_prefix("::").unwrap_or_default();
            continue;
        }
        let qualifiers = written.split_off(from);
        // The name may have qualifiers inside, in the parameters of templates.
        written.push_str(&nested_qualifiers(name));
        written.push_str(&qualifiers);
        rest = tail;
    }
    written.push_str(rest);
    written
}

/// The start of the qualifiers at the end of a text: `const`, `volatile`, `&`, `*`.
fn qualifiers(text: &str) -> usize {
    let mut name = text;
    loop {
        let shorter = name.trim_end_matches(['&', '*']);
        let shorter = [" const", " volatile"].iter().find_map(|word| shorter.strip_suffix(word)).unwrap_or(shorter);
        if shorter.len() == name.len() {
            break;
        }
        name = shorter;
    }
    // `operator&` and `operator*` are names.
    if name.ends_with("operator") { text.len() } else { name.len() }
}

/// The length of `::name<…>::name…` at the beginning of a text.
fn nested(text: &str) -> usize {
    let mut depth = 0usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' if before == '-' => {}
            '>' | ')' | '}' | ']' if depth == 0 => return at,
            '>' | ')' | '}' | ']' => depth -= 1,
            ',' | ' ' | '&' | '*' if depth == 0 => return at,
            _ => {}
        }
        before = c;
    }
    text.len()
}

/// Numbers with the suffix of their type: `8u` for `(unsigned int)8`.
fn suffixed_numbers(text: &str) -> String {
    const SUFFIXES: [(&str, &str); 5] = [
        ("(unsigned int)", "u"),
        ("(unsigned long)", "ul"),
        ("(long)", "l"),
        ("(long long)", "ll"),
        ("(unsigned long long)", "ull"),
    ];
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    'text: while let Some(at) = rest.find('(') {
        let (before, cast) = rest.split_at(at);
        written.push_str(before);
        // A parameter list is no cast: it follows a name.
        let is_value = written.is_empty() || written.ends_with(['<', ' ', '(']);
        for (spelling, suffix) in SUFFIXES.iter().filter(|_| is_value) {
            let Some(number) = cast.strip_prefix(spelling) else { continue };
            let length = number
                .char_indices()
                .find(|(at, c)| !(c.is_ascii_digit() || (*at == 0 && *c == '-')))
                .map_or(number.len(), |(at, _)| at);
            let (digits, tail) = number.split_at(length);
            if digits.ends_with(|c: char| c.is_ascii_digit()) {
                written.push_str(digits);
                written.push_str(suffix);
                rest = tail;
                continue 'text;
            }
        }
        written.push('(');
        rest = cast.strip_prefix('(').unwrap_or_default();
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use super::demangled;

    fn is(symbol: &str, name: &str) {
        assert_eq!(demangled(symbol).as_deref(), Some(name), "{symbol}");
    }

    #[test]
    fn qualifiers_follow_the_whole_name() {
        is("_ZN1n1fERNS_1AERNS0_1BERNS0_1CE", "n::f(n::A&, n::A::B&, n::A::C&)");
        is("_Z1fR1ARKNS_1BE", "f(A&, A::B const&)");
        is("_Z1fR1APNS_1BE", "f(A&, A::B*)");
        is("_Z1fM1AKFvvE", "f(void (A::*)() const)");
        is("_ZaNR1AS0_", "operator&=(A&, A&)");
    }

    #[test]
    fn empty_packs_leave_nothing() {
        is("_ZN1n1iERNS_1AERNS0_1BERNS_1MIS0_JEEE", "n::i(n::A&, n::A::B&, n::M<n::A>&)");
        is("_ZN1n1kIJEEEvDpOT_", "void n::k<>()");
    }

    #[test]
    fn numbers_have_suffixes() {
        is("_ZN1n1SILj8EE1fEv", "n::S<8u>::f()");
        is("_ZN1n1LILb1ELc120ELln3ELm4ELs5EE1fEv", "n::L<true, (char)120, -3l, 4ul, (short)5>::f()");
    }

    #[test]
    fn symbols_of_the_compiler_have_words() {
        is("_ZTVN1n1VE", "vtable for n::V");
        is("_ZTTN1n1WE", "VTT for n::W");
        is("_ZTv0_n24_N1n1W1vEv", "virtual thunk to n::W::v()");
        is("_ZThn16_N1n1W1vEv", "non-virtual thunk to n::W::v()");
        is("_ZTch0_h16_N1n1W1cEv", "covariant return thunk to n::W::c()");
    }

    #[test]
    fn names_that_are_right_stay() {
        is("_ZNK1n3lamMUliE_clEi", "n::lam::{lambda(int)#1}::operator()(int) const");
        is("_ZdlPvm", "operator delete(void*, unsigned long)");
        is("_ZlsRSoRK1A", "operator<<(std::ostream&, A const&)");
        is("_RNvCs1234_7mycrate3foo", "mycrate::foo");
        assert_eq!(demangled("main"), None);
    }
}
