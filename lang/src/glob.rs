//! Patterns of `globmatch`: parsed once, for the compiler, which emits the matching, and for constants, which are
//! matched here.
//!
//! Matching keeps a set of states as the bits of a word: bit `i` says that the first `i` elements have matched. A byte
//! moves the states whose element takes it up by one; those at a star stay as well.

/// Most elements of a pattern: their states, and the one after the last, fit a word.
pub const MAX_ELEMENTS: usize = 63;

/// One element of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// `*`
    Star,
    /// `?`
    Any,
    /// A byte or `[a-z]`; `[!a-z]` takes what is in none of the ranges.
    Set { negated: bool, ranges: Vec<(u8, u8)> },
}

impl Element {
    /// The ranges of a set.
    pub fn ranges(&self) -> &[(u8, u8)] {
        match self {
            Element::Set { ranges, .. } => ranges,
            _ => &[],
        }
    }
}

/// A pattern; two stars never follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(pub Vec<Element>);

/// Reads a pattern. A `[` without its end stands for itself.
pub fn parse(text: &[u8]) -> Pattern {
    let mut elements: Vec<Element> = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let element = match first {
            b'*' if elements.last() == Some(&Element::Star) => continue,
            b'*' => Element::Star,
            b'?' => Element::Any,
            b'[' => match set(after) {
                Some((element, after)) => {
                    rest = after;
                    element
                }
                None => Element::Set { negated: false, ranges: vec![(b'[', b'[')] },
            },
            byte => Element::Set { negated: false, ranges: vec![(*byte, *byte)] },
        };
        elements.push(element);
    }
    Pattern(elements)
}

/// Splits the text after a `[` into the set and the rest. A `]` that comes first belongs to the set.
fn set(text: &[u8]) -> Option<(Element, &[u8])> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let text = text.get(usize::from(negated)..)?;
    let end = text.iter().skip(1).position(|b| *b == b']')? + 1;
    let (mut inside, after) = (text.get(..end)?, text.get(end + 1..)?);
    let mut ranges = Vec::new();
    while let Some((low, rest)) = inside.split_first() {
        inside = rest;
        let mut high = *low;
        if let [b'-', last, rest @ ..] = inside {
            (high, inside) = (*last, rest);
        }
        ranges.push((*low, high));
    }
    Some((Element::Set { negated, ranges }, after))
}

impl Pattern {
    /// The states at a star.
    pub fn stars(&self) -> u64 {
        self.bits(|e| *e == Element::Star)
    }

    /// The states at a `?`.
    pub fn anys(&self) -> u64 {
        self.bits(|e| *e == Element::Any)
    }

    /// The different sets, each with the states at it.
    pub fn sets(&self) -> Vec<(&Element, u64)> {
        let mut sets: Vec<(&Element, u64)> = Vec::new();
        for element in self.0.iter().filter(|e| matches!(e, Element::Set { .. })) {
            if !sets.iter().any(|s| s.0 == element) {
                sets.push((element, self.bits(|e| e == element)));
            }
        }
        sets
    }

    fn bits(&self, which: impl Fn(&Element) -> bool) -> u64 {
        self.0.iter().take(MAX_ELEMENTS).enumerate().filter(|(_, e)| which(e)).fold(0, |bits, (i, _)| bits | 1 << i)
    }

    /// The states before the first byte.
    pub fn start(&self) -> u64 {
        self.beyond_stars(1)
    }

    /// Adds the states after the stars that are reached: a star may match nothing.
    fn beyond_stars(&self, states: u64) -> u64 {
        states | (states & self.stars()) << 1
    }

    /// Whether it matches a whole text.
    pub fn matches(&self, text: &[u8]) -> bool {
        let takes = |byte: u8| {
            self.sets().into_iter().fold(self.anys(), |bits, (set, at)| {
                let Element::Set { negated, ranges } = set else { return bits };
                let inside = ranges.iter().any(|(low, high)| (low..=high).contains(&&byte));
                if inside != *negated { bits | at } else { bits }
            })
        };
        let last = text.iter().fold(self.start(), |states, byte| {
            self.beyond_stars((states & takes(*byte)) << 1 | (states & self.stars()))
        });
        last >> self.0.len().min(MAX_ELEMENTS) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("*a", "bba", true),
            ("*a", "bab", false),
            ("a*b*c", "aXbYbZc", true),
            ("a**b", "ab", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("[abc]x", "bx", true),
            ("[abc]x", "dx", false),
            ("[a-c0-9]*", "7up", true),
            ("[!a-c]", "d", true),
            ("[!a-c]", "b", false),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("[x", "[x", true),
            ("*.so.?", "libc.so.6", true),
            ("*.so.?", "libc.so.66", false),
        ];
        for (pattern, text, matches) in cases {
            assert_eq!(parse(pattern.as_bytes()).matches(text.as_bytes()), matches, "{pattern} on {text}");
        }
    }
}
