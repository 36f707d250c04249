//! A script as the formatter sees it: every token as written, with the comments before it.
//!
//! The parser's lexer leaves out what means nothing; what lies between two of its tokens is blanks, comments, and
//! qualifiers such as `const`, and is cut here.

use crate::PathPart;
use crate::lexer::{Context, Lexer};
use crate::token::Tok;

#[derive(Clone, Debug)]
pub(super) struct Comment<'a> {
    /// Without the blanks that end its lines.
    pub text: &'a str,
    /// Ends of lines before it.
    pub newlines: usize,
}

impl Comment<'_> {
    /// Does the line end with it?
    pub fn ends_line(&self) -> bool {
        self.text.starts_with("//") || self.text.starts_with("#!")
    }

    /// Its lines without the blanks around them: what must survive.
    pub fn lines(&self) -> Vec<&str> {
        self.text.lines().map(str::trim).collect()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub tok: Tok<'a>,
    /// As written; empty for a `;` that an end of line stands for.
    pub text: &'a str,
    pub comments: Vec<Comment<'a>>,
    /// Ends of lines between it and the last comment or token.
    pub newlines: usize,
}

/// Cuts a script that parses. The last token is empty and holds the comments at the end.
pub(super) fn tokens(text: &str, paths: PathPart) -> Vec<Token<'_>> {
    let cx = Context::new(text, 0, paths);
    let mut gaps = Gaps { text, at: 0, list: Vec::new() };
    for (start, tok, end) in Lexer::new(&cx, Tok::StartProgram).flatten().skip(1) {
        gaps.token(start, tok, end);
    }
    gaps.token(text.len(), Tok::StartProgram, text.len());
    gaps.list
}

struct Gaps<'a> {
    text: &'a str,
    /// The end of the last token.
    at: usize,
    list: Vec<Token<'a>>,
}

impl<'a> Gaps<'a> {
    fn token(&mut self, start: usize, tok: Tok<'a>, end: usize) {
        let mut rest = self.text.get(self.at..start).unwrap_or_default();
        if self.at == 0 {
            rest = rest.strip_prefix('\u{feff}').unwrap_or(rest);
        }
        let mut comments = Vec::new();
        let mut newlines = 0_usize;
        while let Some(first) = rest.chars().next() {
            let len = match first {
                '/' if rest.starts_with("//") => line(rest),
                '/' => {
                    let inner = rest.get(2..).unwrap_or_default();
                    inner.find("*/").map_or(rest.len(), |at| at.saturating_add(4))
                }
                '#' => line(rest),
                c if c.is_ascii_alphanumeric() || c == '_' => {
                    let len = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
                    let (word, behind) = rest.split_at(len);
                    let comments = std::mem::take(&mut comments);
                    let newlines = std::mem::take(&mut newlines);
                    self.list.push(Token { tok: Tok::CWord(word), text: word, comments, newlines });
                    rest = behind;
                    continue;
                }
                c => {
                    newlines = newlines.saturating_add(usize::from(c == '\n'));
                    rest = rest.get(c.len_utf8()..).unwrap_or_default();
                    continue;
                }
            };
            let (comment, behind) = rest.split_at(len);
            comments.push(Comment { text: comment.trim_end(), newlines: std::mem::take(&mut newlines) });
            rest = behind;
        }
        let text = self.text.get(start..end).unwrap_or_default().trim_end();
        self.list.push(Token { tok, text, comments, newlines });
        self.at = end;
    }
}

fn line(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}
