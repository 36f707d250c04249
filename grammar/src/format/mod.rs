//! `rtrace --fmt`: a script in its usual form, with its comments.
//!
//! The form: four blanks for each level; the braces of probes, macros and functions on lines of their own, all others
//! behind what they belong to; a line for each attach point, predicate and statement; `;` behind every statement. What
//! a block gives as its value, and C definitions, stay on one line if they are written on one. An empty line stays,
//! several become one, and what takes several lines has one around it. Inside a statement the writer's line ends stay
//! behind commas and at operators; lines over [`WIDTH`] columns are broken there. Literals and directives stay as
//! written.
//!
//! `tokens` cuts the script, `items` and `body` walk over it and say what stands where, `spacing` where blanks go, and
//! `lines` fits it into lines. They follow the tokens, not the tree: a tree has no parentheses, spellings or
//! comments, and the lexer has settled already what each token is. That the script is still the same is not
//! taken on trust: the result is parsed and compared.

mod body;
mod items;
mod lines;
mod spacing;
mod tokens;

use crate::PathPart;
use crate::dump::dump;
use crate::token::Tok;
use crate::{SyntaxError, parse};
use lines::{Lines, Stop};
use spacing::Role;
use tokens::{Comment, Token};

/// Columns of a level.
const INDENT: usize = 4;
/// Columns of a line that is broken.
const WIDTH: usize = 100;
/// Columns, about, of a block that stays on one line.
const SHORT: usize = 60;

#[derive(Clone, Debug, PartialEq)]
pub enum FormatError {
    /// The script does not parse.
    Syntax(Vec<SyntaxError>),
    /// The result would not have been the same script: a mistake of the formatter.
    Unfaithful,
}

/// Formats a script. `base` is added to the positions of errors.
pub fn format(text: &str, base: u32, paths: PathPart) -> Result<String, FormatError> {
    let tree = parse(text.as_bytes(), base, paths).map_err(FormatError::Syntax)?;
    let before = tokens::tokens(text, paths);
    let formatted = Formatter::new(&before).run();
    let same_tree = parse(formatted.as_bytes(), base, paths).is_ok_and(|after| dump(&tree) == dump(&after));
    if same_tree && essence(&before) == essence(&tokens::tokens(&formatted, paths)) {
        Ok(formatted)
    } else {
        Err(FormatError::Unfaithful)
    }
}

/// The parts of a script that formatting must not change: all tokens but `;` and `,`, and the comments.
fn essence<'t>(tokens: &'t [Token<'_>]) -> (Vec<&'t str>, Vec<Vec<&'t str>>) {
    let kept = tokens.iter().filter(|token| !matches!(token.tok, Tok::Semi | Tok::Comma));
    let comments = tokens.iter().flat_map(|token| &token.comments).map(Comment::lines);
    (kept.map(|token| token.text).collect(), comments.collect())
}

/// A bracket that is open, or the statement itself.
#[derive(Clone, Copy, Debug)]
struct Bracket {
    /// A type or declarator is in it, not an expression.
    ty: bool,
    /// Its end is the end of a cast.
    cast: bool,
}

struct Formatter<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    out: Lines,
    /// Comments that stood before a `;` or `,` and come after it.
    pending: Vec<Comment<'a>>,
    /// Ends of lines after them.
    newlines: usize,
    /// How many tokens' comments are put, or pending.
    taken: usize,
    level: usize,
    /// Everything goes on one line.
    inline: bool,
    /// Inside a block whose last expression may be its value: it gets no `;`.
    value: bool,
    brackets: Vec<Bracket>,
    /// The token before, if it is of the same line.
    last: Option<(Role, &'t Token<'a>)>,
    /// Set where [`Formatter::last`] does not determine whether a space comes next.
    space: Option<bool>,
}

impl<'t, 'a> Formatter<'t, 'a> {
    fn new(tokens: &'t [Token<'a>]) -> Formatter<'t, 'a> {
        Formatter {
            tokens,
            at: 0,
            out: Lines::default(),
            pending: Vec::new(),
            newlines: 0,
            taken: 0,
            level: 0,
            inline: false,
            value: false,
            brackets: Vec::new(),
            last: None,
            space: None,
        }
    }

    fn run(mut self) -> String {
        self.items();
        self.out.finish()
    }

    // ---- tokens ----

    fn peek(&self) -> Option<&'t Token<'a>> {
        self.tokens.get(self.at)
    }

    fn tok(&self) -> Option<&'t Tok<'a>> {
        self.peek().map(|token| &token.tok)
    }

    fn is(&self, tok: &Tok<'_>) -> bool {
        self.peek().is_some_and(|token| token.tok == *tok)
    }

    fn bump(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// Writes the trivia before the next token: the comments, deferred ones first, and the line breaks.
    fn gap(&mut self) -> (Vec<Comment<'a>>, usize) {
        let mut comments = std::mem::take(&mut self.pending);
        let mut newlines = std::mem::take(&mut self.newlines);
        if let Some(token) = self.peek()
            && self.taken <= self.at
        {
            for comment in &token.comments {
                comments.push(Comment { newlines: newlines.max(comment.newlines), ..comment.clone() });
                newlines = 0;
            }
            self.taken = self.at.saturating_add(1);
            newlines = newlines.max(token.newlines);
        }
        (comments, newlines)
    }

    fn has_comments(&self) -> bool {
        !self.pending.is_empty() || self.taken <= self.at && self.peek().is_some_and(|t| !t.comments.is_empty())
    }

    /// Leaves a token out; what stands before it stays.
    fn skip(&mut self) {
        (self.pending, self.newlines) = self.gap();
        self.bump();
    }

    fn skip_semicolons(&mut self) {
        while self.is(&Tok::Semi) {
            self.skip();
        }
    }

    // ---- lines ----

    /// Begins a line for the next token; gives where it begins, or the first comment above it.
    /// `blank`: may an empty line come first?
    fn begin(&mut self, blank: bool) -> usize {
        self.last = None;
        self.space = Some(true);
        if self.inline {
            return self.out.position();
        }
        let (above, newlines) = self.comment_lines(blank);
        // A comment that begins the line of the token stays there.
        if above.is_none() || newlines > 0 {
            self.line((blank || above.is_some()) && newlines > 1);
        }
        above.unwrap_or(self.out.position())
    }

    /// Puts the comments before the next token: behind the line before, if they are written there, else on lines of
    /// their own. Gives where the first of these begins, and the ends of lines after the last.
    fn comment_lines(&mut self, mut blank: bool) -> (Option<usize>, usize) {
        let mut above = None;
        let (comments, newlines) = self.gap();
        for comment in comments {
            if above.is_none() && comment.newlines == 0 && !self.out.is_empty() {
                self.out.comment(comment.text, true, Stop::No);
                continue;
            }
            if above.is_none() || comment.newlines > 0 {
                self.line(blank && comment.newlines > 1);
                blank = true;
            }
            above.get_or_insert(self.out.position());
            self.out.comment(comment.text, true, Stop::No);
        }
        (above, newlines)
    }

    fn line(&mut self, blank: bool) {
        self.out.begin(self.level, self.level.saturating_add(1));
        if blank {
            self.out.blank();
        }
    }

    /// Puts the next token into the line, and the comments before it.
    fn put(&mut self) {
        let Some(token) = self.peek() else { return };
        let role = self.role(token);
        let mut stop = self.stop(role, token);
        let mut space = match self.space.take() {
            Some(space) => space,
            None => self.space_before(role, token),
        };
        let (comments, newlines) = self.gap();
        let mut broken = false;
        for comment in &comments {
            let stop = if broken || comment.newlines > 0 { Stop::Must } else { Stop::No };
            let glued = matches!(self.last, Some((Role::Open, _)));
            self.out.comment(comment.text, !glued, stop);
            broken = comment.ends_line();
        }
        if !comments.is_empty() {
            space = !matches!(role, Role::Close | Role::Comma | Role::Joint | Role::Postfix);
            stop = if broken || newlines > 0 { Stop::Must } else { Stop::No };
        }
        self.out.push(token.text, space, stop);
        if matches!(token.tok, Tok::Preprocessor(_)) && token.text.ends_with('\\') {
            // Its next line is empty, and must stay so.
            self.out.push("\n", false, Stop::No);
        }
        self.enter_or_leave(token);
        self.last = Some((role, token));
        self.bump();
    }

    /// Adds text that is not in the script, or moved: `;` and `,`.
    fn add(&mut self, text: &str) {
        self.out.push(text, false, Stop::No);
    }
}
