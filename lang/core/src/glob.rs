//! Shell globs (`*`, `?`, `[a-z]`, `[!a-z]`) over bytes, as attach points and `-l` use them.
//!
//! One pattern is matched against a hundred thousand names, so matching allocates nothing and the
//! common shapes (a plain name, `*`, `*word*`) take no backtracking.

/// A pattern, ready to match.
#[derive(Clone, Debug)]
pub struct Glob<'p> {
    pattern: &'p [u8],
    shape: Shape<'p>,
}

#[derive(Clone, Copy, Debug)]
enum Shape<'p> {
    Exact(&'p [u8]),
    All,
    Prefix(&'p [u8]),
    Suffix(&'p [u8]),
    Contains(&'p [u8]),
    General,
}

/// Whether `text` holds characters that a glob gives a meaning to.
pub fn is_glob(text: &str) -> bool {
    text.bytes().any(|b| matches!(b, b'*' | b'?' | b'['))
}

impl<'p> Glob<'p> {
    pub fn new(pattern: &'p str) -> Glob<'p> {
        let bytes = pattern.as_bytes();
        let starts = bytes.starts_with(b"*");
        let middle = bytes.strip_prefix(b"*").unwrap_or(bytes);
        let ends = middle.ends_with(b"*");
        let middle = middle.strip_suffix(b"*").unwrap_or(middle);
        let shape = if !is_glob(pattern) {
            Shape::Exact(bytes)
        } else if middle.is_empty() {
            Shape::All
        } else if middle.iter().any(|b| matches!(b, b'*' | b'?' | b'[')) {
            Shape::General
        } else {
            match (starts, ends) {
                (true, true) => Shape::Contains(middle),
                (true, false) => Shape::Suffix(middle),
                _ => Shape::Prefix(middle),
            }
        };
        Glob { pattern: bytes, shape }
    }

    /// The one name that it matches, if it is no pattern at all.
    pub fn exact(&self) -> Option<&'p str> {
        match self.shape {
            Shape::Exact(name) => std::str::from_utf8(name).ok(),
            _ => None,
        }
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        match self.shape {
            Shape::Exact(word) => name == word,
            Shape::All => true,
            Shape::Prefix(word) => name.starts_with(word),
            Shape::Suffix(word) => name.ends_with(word),
            Shape::Contains(word) => memchr::memmem::find(name, word).is_some(),
            Shape::General => general(self.pattern, name),
        }
    }
}

/// Matches by going back to the last `*` only: linear in practice, never exponential.
fn general(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pat, mut text) = (pattern, name);
    // Where to resume when a match fails: after the last `*`, one byte further on in the text.
    let mut resume: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(rest) = pat.strip_prefix(b"*") {
            resume = Some((rest, text));
            pat = rest;
            continue;
        }
        if let Some((byte, text_rest)) = text.split_first()
            && let Some(pat_rest) = one(pat, *byte)
        {
            (pat, text) = (pat_rest, text_rest);
            continue;
        }
        if pat.is_empty() && text.is_empty() {
            return true;
        }
        match resume {
            Some((after, from)) => match from.split_first() {
                Some((_, further)) => {
                    resume = Some((after, further));
                    (pat, text) = (after, further);
                }
                None => return false,
            },
            None => return false,
        }
    }
}

/// Matches one character of the pattern against a byte; the rest of the pattern if it matches.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern.split_first()? {
        (b'?', rest) => Some(rest),
        (b'[', rest) => match set(rest, byte) {
            Some((true, after)) => Some(after),
            Some((false, _)) => None,
            // An unclosed `[` stands for itself.
            None => (byte == b'[').then_some(rest),
        },
        (c, rest) => (*c == byte).then_some(rest),
    }
}

/// A set after its `[`: whether `byte` is in it, and what follows the `]`.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, mut rest) = match pattern.split_first()? {
        (b'!' | b'^', rest) => (true, rest),
        _ => (false, pattern),
    };
    let mut found = false;
    let mut first = true;
    loop {
        let (&low, after) = rest.split_first()?;
        if low == b']' && !first {
            return Some((found != negated, after));
        }
        first = false;
        rest = after;
        if let [b'-', high, after @ ..] = rest
            && *high != b']'
        {
            found |= (low..=*high).contains(&byte);
            rest = after;
        } else {
            found |= low == byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_the_shell_does() {
        for (pattern, name, want) in [
            ("vfs_read", "vfs_read", true),
            ("vfs_read", "vfs_readv", false),
            ("*", "", true),
            ("vfs_*", "vfs_read", true),
            ("*_read", "vfs_read", true),
            ("*_read", "vfs_readv", false),
            ("*skb*", "kfree_skb_reason", true),
            ("v?s_r*d", "vfs_read", true),
            ("v?s_r*d", "vfs_readv", false),
            ("tcp_v[46]_rcv", "tcp_v4_rcv", true),
            ("tcp_v[46]_rcv", "tcp_v5_rcv", false),
            ("tcp_v[!46]_rcv", "tcp_v5_rcv", true),
            ("x[a-c]y", "xby", true),
            ("x[]]y", "x]y", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("[x", "[x", true),
            ("??", "a", false),
        ] {
            assert_eq!(Glob::new(pattern).matches(name.as_bytes()), want, "{pattern} {name}");
        }
    }
}
