//! Looking ahead in the text, where one token is not enough to decide.
//!
//! Two questions: does this `(` open a type, and does this `/` close a predicate? Both read only
//! as far as they must, and neither reports anything: whatever they answer, the grammar judges.

use crate::types::{is_c_word, is_qualifier, is_type_name};

/// The token before the parenthesis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    /// An operand may follow: a type makes it a cast.
    Operand,
    /// `if`, `while`, …: the parenthesis most likely holds the condition.
    Condition,
    /// `sizeof`, `typeof`, …
    TypeOperator,
}

/// Does the parenthesis before `rest` hold a type?
///
/// * `(struct x …)`, words of C types, a name of the table in `types`: yes, as long as stars and
///   bounds lead to the closing parenthesis.
/// * `(name *)`: yes, no expression ends in a star.
/// * `(name)` and `(name[3])`: if what follows on the line can only be an operand (`$x`, `@x`, a
///   literal, a word, `(`, `~`, `!`); `-`, `*`, `&` stay operators.
/// * In `sizeof` and its kin a lone unknown name is an expression and `name[3]` a type.
pub(crate) fn opens_type(rest: &str, place: Place) -> bool {
    enum Base {
        Sure,
        Named,
        Typeof,
        Unknown,
    }
    let mut scan = Scan { rest };
    let base = match scan.type_word() {
        "" => return false,
        "struct" | "union" | "enum" => {
            if scan.type_word().is_empty() {
                return false;
            }
            Base::Sure
        }
        "typeof" => {
            scan.blank();
            if !scan.group() {
                return false;
            }
            Base::Typeof
        }
        word if is_c_word(word) => {
            while scan.at_c_word() {
                scan.type_word();
            }
            Base::Sure
        }
        word if is_type_name(word) => Base::Named,
        "if" | "sizeof" | "offsetof" | "typeinfo" | "comptime" | "true" | "false" => return false,
        _ => Base::Unknown,
    };
    let mut stars = false;
    while scan.star() {
        stars = true;
    }
    let mut bounds = false;
    while scan.rest.starts_with('[') {
        bounds = true;
        if !scan.group() {
            return false;
        }
        scan.blank();
    }
    // A pointer to an array.
    while bounds && scan.star() {
        stars = true;
    }
    match scan.next() {
        Some(')') => {}
        Some(',') if place == Place::TypeOperator => {
            return !matches!(base, Base::Unknown) || stars || bounds;
        }
        _ => return false,
    }
    match (base, place) {
        (Base::Sure, _) => true,
        (Base::Named, Place::TypeOperator) => true,
        (Base::Named, Place::Condition) if scan.at_brace() => stars,
        (Base::Named, Place::Operand | Place::Condition) => stars || bounds || scan.operand(true),
        (Base::Typeof, Place::TypeOperator) => true,
        (Base::Typeof | Base::Unknown, _) if stars => true,
        (Base::Unknown, Place::TypeOperator) => bounds,
        (Base::Typeof | Base::Unknown, Place::Operand) => scan.operand(false),
        (Base::Typeof | Base::Unknown, Place::Condition) => false,
    }
}

/// Does the `/` before `rest` close the predicate? It does if the body's brace comes next.
pub(crate) fn closes_predicate(rest: &str) -> bool {
    let mut scan = Scan { rest };
    scan.blank();
    scan.rest.starts_with('{')
}

/// Does the type of a pointer end after the star before `rest`? No expression ends in a star.
pub(crate) fn ends_pointer(rest: &str) -> bool {
    let mut scan = Scan { rest };
    scan.blank();
    while scan.star() {}
    scan.rest.starts_with([',', ')'])
}

/// Does `rest`, after blanks and comments, go on with `word`?
pub(crate) fn continues_with(rest: &str, word: &str) -> bool {
    let mut scan = Scan { rest };
    scan.blank();
    scan.rest.starts_with(word)
}

struct Scan<'a> {
    rest: &'a str,
}

/// How far a bracketed group may reach, in bytes that are not blank: no type is longer.
const GROUP_LIMIT: usize = 1000;

impl<'a> Scan<'a> {
    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let found = chars.next();
        self.rest = chars.as_str();
        found
    }

    fn blank(&mut self) {
        loop {
            let start = self.rest.trim_start_matches([' ', '\t', '\r', '\n', '\x0b', '\x0c']);
            self.rest = if let Some(comment) = start.strip_prefix("//") {
                comment.split_once('\n').map_or("", |(_, rest)| rest)
            } else if let Some(comment) = start.strip_prefix("/*") {
                comment.split_once("*/").map_or("", |(_, rest)| rest)
            } else {
                self.rest = start;
                return;
            };
        }
    }

    /// The next word that is no qualifier, and the blanks after it.
    fn type_word(&mut self) -> &'a str {
        loop {
            self.blank();
            let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(self.rest.len());
            let (word, rest) = self.rest.split_at(end);
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                return "";
            }
            self.rest = rest;
            self.blank();
            if !is_qualifier(word) {
                return word;
            }
        }
    }

    fn at_brace(&mut self) -> bool {
        self.blank();
        self.rest.starts_with('{')
    }

    fn at_c_word(&self) -> bool {
        is_c_word(Scan { rest: self.rest }.type_word())
    }

    /// A star, with the qualifiers and blanks around it.
    fn star(&mut self) -> bool {
        let mut ahead = Scan { rest: self.rest };
        let word = ahead.type_word();
        if word.is_empty() && ahead.rest.starts_with('*') {
            ahead.next();
            ahead.blank();
            let mut after = Scan { rest: ahead.rest };
            if after.type_word().is_empty() {
                ahead.rest = after.rest;
            }
            self.rest = ahead.rest;
            return true;
        }
        if word.is_empty() {
            self.rest = ahead.rest;
        }
        false
    }

    /// Skips a bracketed group.
    fn group(&mut self) -> bool {
        let mut depth = 0_u32;
        let mut length = 0_usize;
        for (at, byte) in self.rest.bytes().enumerate() {
            // Blanks do not count: formatting adds some, and the script must mean the same.
            length = length.saturating_add(usize::from(!byte.is_ascii_whitespace()));
            if length > GROUP_LIMIT {
                return false;
            }
            match byte {
                b'(' | b'[' => depth = depth.saturating_add(1),
                b')' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        self.rest = self.rest.get(at.saturating_add(1)..).unwrap_or_default();
                        self.blank();
                        return true;
                    }
                }
                b'{' | b'}' | b';' => return false,
                _ if depth == 0 => return false,
                _ => {}
            }
        }
        false
    }

    /// Is an operand next? `loose` also takes the signs that could be binary operators, and one on another line.
    fn operand(&mut self, loose: bool) -> bool {
        if loose {
            self.blank();
        } else {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
        }
        match self.next() {
            Some('$' | '@' | '"' | '(' | '~') => true,
            Some(c) if c.is_ascii_alphanumeric() || c == '_' => true,
            Some('!') => !self.rest.starts_with('='),
            Some('-') => loose && !self.rest.starts_with(['=', '>']),
            // There is no unary plus.
            Some('+') => loose && self.rest.starts_with('+'),
            Some('*') => loose && !self.rest.starts_with('='),
            Some('&') => loose && !self.rest.starts_with(['=', '&']),
            Some('{') => loose,
            _ => false,
        }
    }
}
