//! Syntax errors as data. Wording, colours and source lines are the reader's side (`lang`).

use crate::ast::Span;
use lalrpop_util::ParseError;

#[derive(Clone, Debug, PartialEq)]
pub struct SyntaxError {
    pub span: Span,
    pub kind: SyntaxErrorKind,
}

/// Words in `expected` read as they are: a text in backquotes, or a description such as `an expression`.
#[derive(Clone, Debug, PartialEq)]
pub enum SyntaxErrorKind {
    UnexpectedToken {
        found: String,
        expected: Vec<String>,
    },
    UnexpectedEnd {
        expected: Vec<String>,
    },
    /// A string without its closing quote on the same line.
    UnterminatedString,
    /// A `/*` without `*/`.
    UnterminatedComment,
    /// A `#!` that does not begin the script.
    LateInterpreter,
    /// The escape's text, such as `\q`.
    BadEscape(String),
    BadNumber {
        text: String,
        why: String,
    },
    BadCharacter(char),
    /// The script is no UTF-8 text; the span is the first bad sequence.
    NotUtf8,
    /// Too many brackets in each other, or too many operators in one statement.
    NestedTooDeep,
    /// The left side of an assignment is neither a variable nor a map nor `_`.
    BadAssignTarget,
    /// `for ($x : …)` over something that is neither a map nor a range.
    ForNeedsMapOrRange,
    /// More than 4 GiB.
    TooLarge,
}

/// The parser's own error, in user words.
pub(crate) fn translate<T, E>(text: &str, error: &ParseError<usize, T, E>) -> Option<(usize, usize, SyntaxErrorKind)> {
    match error {
        ParseError::InvalidToken { location } => {
            let expected = Vec::new();
            Some((*location, *location, SyntaxErrorKind::UnexpectedEnd { expected }))
        }
        ParseError::UnrecognizedEof { location, expected } => {
            Some((*location, *location, SyntaxErrorKind::UnexpectedEnd { expected: in_user_words(expected) }))
        }
        ParseError::UnrecognizedToken { token: (start, _, end), expected } => {
            let kind = SyntaxErrorKind::UnexpectedToken {
                found: excerpt(text, *start, *end),
                expected: in_user_words(expected),
            };
            Some((*start, *end, kind))
        }
        ParseError::ExtraToken { token: (start, _, end) } => {
            let kind = SyntaxErrorKind::UnexpectedToken { found: excerpt(text, *start, *end), expected: Vec::new() };
            Some((*start, *end, kind))
        }
        ParseError::User { .. } => None,
    }
}

/// Leaves out what follows from an error before it rather than from the text.
pub(crate) fn without_echoes(text: &str, base: u32, mut errors: Vec<SyntaxError>) -> Vec<SyntaxError> {
    use SyntaxErrorKind::{BadCharacter, UnexpectedEnd, UnexpectedToken, UnterminatedComment, UnterminatedString};
    errors.sort_by_key(|e| (e.span.start, e.span.end));
    let endless = errors.iter().any(|e| matches!(e.kind, UnterminatedComment | UnterminatedString));
    let between = |from: u32, to: u32| {
        let at = |position: u32| usize::try_from(position.saturating_sub(base)).unwrap_or(usize::MAX);
        text.get(at(from)..at(to)).unwrap_or_default()
    };
    let mut last: Option<SyntaxError> = None;
    errors.retain(|error| {
        let echo = last.as_ref().is_some_and(|last| {
            let gap = between(last.span.end, error.span.start);
            match (&error.kind, &last.kind) {
                // What a bad character or string has left of the statement.
                (UnexpectedToken { .. }, BadCharacter(_) | UnterminatedString) => gap.trim().is_empty(),
                // The rest of a line that is no probe.
                (BadCharacter(_), UnexpectedToken { .. }) => !gap.contains('\n'),
                // Recovery has skipped the brace's partner.
                (UnexpectedToken { found, .. }, _) => found == "}",
                _ => false,
            }
        }) || endless && matches!(error.kind, UnexpectedEnd { .. });
        if !echo || matches!(error.kind, BadCharacter(_)) {
            let kind =
                if echo { UnexpectedToken { found: String::new(), expected: Vec::new() } } else { error.kind.clone() };
            last = Some(SyntaxError { span: error.span, kind });
        }
        !echo
    });
    errors
}

/// A token's text, shortened. An end of line that ends a statement has none.
fn excerpt(text: &str, start: usize, end: usize) -> String {
    const MOST: usize = 40;
    let found = text.get(start..end).unwrap_or_default();
    if found.is_empty() {
        return "end of line".into();
    }
    let line = found.lines().next().unwrap_or_default();
    if line.chars().count() > MOST { line.chars().take(MOST).chain(['…']).collect() } else { line.into() }
}

/// Groups the names of the grammar's tokens (its `extern` block) for people: one name stands for
/// each way to begin an expression, and operators, of which there are always many, come last.
fn in_user_words(expected: &[String]) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |word: &str| {
        if !words.iter().any(|w| w == word) {
            words.push(word.to_owned());
        }
    };
    let names = || expected.iter().map(|name| name.trim_matches('"'));
    let expression = names().any(|n| n == "int");
    let statement = expression && names().any(|n| n == "let");
    let item = names().any(|n| n == "attach");
    let ty = !expression && names().any(|n| n == "cword");
    if item {
        add("a probe");
        add("a definition");
    }
    if statement {
        add("a statement");
    } else if expression {
        add("an expression");
    }
    if ty {
        add("a type");
    }
    // Between a declarator's name and its `;` nearly nothing is meant by accident.
    let declarator = names().any(|n| n == "__attribute__");
    for name in names() {
        match name {
            "start of program" | "start of expression" => {}
            "preprocessor" | "config" | "import" | "macro" | "fn" | "typedef" if item => {}
            "let" if item || ty => {}
            // An argument may be a type, too, which is rarely meant.
            "struct" | "union" | "enum" if item || ty || expression => {}
            "let" | "if" | "for" | "while" | "unroll" | "break" | "continue" | "return" if statement => {}
            "struct" | "union" | "enum" | "cword" | "typeof" | "ident" if ty => {}
            "attach" => {}
            "int" | "duration" | "string" | "true" | "false" | "ident" | "$#" | "parameter" | "$var" | "@map"
            | "sizeof" | "offsetof" | "typeof" | "typeinfo" | "comptime" | "if expression" | "block" | "("
            | "(type" | "!" | "~" | "-" | "*" | "&" | "++" | "--"
                if expression => {}
            "{" if statement => {}
            "+" | "-" | "*" | "%" | "&" | "|" | "^" | "<<" | ">>" | "&&" | "||" | "==" | "!=" | "<" | "<=" | ">"
            | ">=" | "?" | "++" | "--" | "." | "->" | "[" | "[key" | "/" => {}
            "+=" | "-=" | "*=" | "/=" | "%=" | "&=" | "|=" | "^=" | "<<=" | ">>=" => {}
            ":" | "(" | "__attribute__" if declarator => {}
            "predicate" | "predicate end" => add("`/`"),
            "ident" => add("a name"),
            "$var" => add("a `$variable`"),
            "@map" => add("a `@map`"),
            "parameter" => add("a positional parameter"),
            "int" => add("a number"),
            "string" => add("a string"),
            "cword" | "duration" | "preprocessor" | "if expression" | "pointer *" => {}
            "block" => add("`{`"),
            "(type" => add("`(`"),
            other => add(&format!("`{other}`")),
        }
    }
    if names().any(|n| n == "/") {
        add("an operator");
    }
    words
}
