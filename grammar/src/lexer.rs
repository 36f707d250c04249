//! The mode-switching lexer between the text and the grammar.
//!
//! Beyond cutting words it settles, from what stands around a word, everything that would make
//! the grammar ambiguous: where a predicate ends, whether a parenthesis opens a cast, whether a
//! brace or an `if` is a statement or an operand, which bracket belongs to a map's name, and where
//! a line's end ends a statement. It also guards the stack of everyone who walks the tree later:
//! no more than [`MAX_NESTING`] open brackets, no more than [`MAX_CHAIN`] operators in a statement.

use crate::ast::Span;
use crate::error::{SyntaxError, SyntaxErrorKind, translate, without_echoes};
use crate::literal::{self, Number};
use crate::scan::{self, Place};
use crate::token::{Code, Fault, PathPart, Tok, Top};
use crate::types::{is_c_word, is_qualifier};
use lalrpop_util::ParseError;
use logos::{Lexer as Logos, Logos as _};
use std::cell::RefCell;

/// Brackets of all kinds that may be open at once.
pub const MAX_NESTING: usize = 200;
/// Operators, brackets and `else`s of one statement: bounds the depth of its tree.
pub const MAX_CHAIN: usize = 1000;
/// Errors reported at most.
pub const MAX_ERRORS: usize = 20;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Ends the parse: what there is to say is in the [`Context`] already.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop;

pub type Spanned<'a> = (usize, Tok<'a>, usize);

/// State shared by lexer and grammar: the errors found, and the base of all positions.
#[derive(Debug)]
pub struct Context<'a> {
    text: &'a str,
    base: u32,
    paths: PathPart,
    errors: RefCell<Vec<SyntaxError>>,
    /// The end of each token so far.
    ends: RefCell<Vec<usize>>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(text: &'a str, base: u32, paths: PathPart) -> Context<'a> {
        Context { text, base, paths, errors: RefCell::default(), ends: RefCell::default() }
    }

    /// The span of a node. Its end as the parser knows it may be the next token's start, if what it
    /// ends with is optional and missing: the node ends with its last token.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        let ends = self.ends.borrow();
        // Nearly always one of the last two: the parser is one token ahead.
        let last = ends.iter().rev().find(|token| **token <= end).copied();
        self.raw_span(start, last.unwrap_or(end))
    }

    fn raw_span(&self, start: usize, end: usize) -> Span {
        let base = usize::try_from(self.base).unwrap_or(usize::MAX);
        Span::new(base.saturating_add(start), base.saturating_add(end.max(start)))
    }

    pub(crate) fn report(&self, start: usize, end: usize, kind: SyntaxErrorKind) {
        self.report_at(self.raw_span(start, end), kind);
    }

    pub(crate) fn report_at(&self, span: Span, kind: SyntaxErrorKind) {
        let mut errors = self.errors.borrow_mut();
        if let (Some(last), SyntaxErrorKind::BadCharacter(_)) = (errors.last_mut(), &kind)
            && matches!(last.kind, SyntaxErrorKind::BadCharacter(_))
            && last.span.end == span.start
        {
            last.span.end = span.end;
            return;
        }
        if errors.len() < MAX_ERRORS && errors.last().is_none_or(|last| last.span != span) {
            errors.push(SyntaxError { span, kind });
        }
    }

    pub(crate) fn report_parse<T, E>(&self, error: &ParseError<usize, T, E>) {
        if let Some((start, end, kind)) = translate(self.text, error) {
            self.report(start, end, kind);
        }
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    fn is_full(&self) -> bool {
        self.errors.borrow().len() >= MAX_ERRORS
    }

    pub(crate) fn into_errors(self) -> Vec<SyntaxError> {
        without_echoes(self.text, self.base, self.errors.into_inner())
    }
}

enum Mode<'a> {
    Top(Logos<'a, Top>),
    Code(Logos<'a, Code>),
}

/// The construct that the `Code` tokens belong to; it determines when they end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Region {
    /// One expression, to the end of the text.
    Expr,
    /// From `/` to `/`, then a body.
    Predicate,
    /// Bodies of probes, macros and functions: to the brace that closes the first one.
    Body,
    /// `config = { … }`
    Config,
    /// `struct … { … }`, with the attributes behind it.
    Record,
    /// To `;`.
    Typedef,
    /// To the string.
    Import,
    /// To the parenthesis that closes the first one.
    MapDecl,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Open {
    Paren {
        ty: bool,
    },
    Square,
    Brace {
        operand: bool,
        /// The statement's operators counted where the brace opened.
        floor: usize,
        /// The most that any statement inside counted.
        peak: usize,
        /// Between `if`, `while`, … and the body's brace.
        header: bool,
    },
}

/// The kind of the last token, as far as the meaning of the next one depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Prev {
    /// `{`, `}` and `;`: a statement may begin.
    Start,
    /// A value: an operator or the end of the statement follows.
    Operand,
    Map,
    /// The `)` of a cast: an operand follows.
    Cast,
    /// `.` and `->`: a name follows, whatever the word.
    Dot,
    /// `if`, `while`, `for`, `unroll`
    Condition,
    TypeOperator,
    Else,
    /// Everything else: an operand follows.
    Operator,
}

pub struct Lexer<'a, 'c> {
    cx: &'c Context<'a>,
    text: &'a str,
    mode: Option<Mode<'a>>,
    start: Option<Tok<'a>>,
    /// A token that must wait for the `;` put before it.
    queued: Option<Spanned<'a>>,
    region: Region,
    open: Vec<Open>,
    prev: Prev,
    prev_end: usize,
    /// Operators in the statement so far.
    chain: usize,
    /// In a [`Region::Record`]: its braces are closed.
    has_members: bool,
}

impl<'a, 'c> Lexer<'a, 'c> {
    pub(crate) fn new(cx: &'c Context<'a>, start: Tok<'a>) -> Lexer<'a, 'c> {
        let text = cx.text;
        let mode = if start == Tok::StartExpr {
            Mode::Code(Code::lexer_with_extras(text, cx.paths))
        } else {
            let mut top = Top::lexer_with_extras(text, cx.paths);
            let start = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).trim_ascii_start();
            top.bump(text.len().saturating_sub(start.len()));
            if start.starts_with("#!") {
                top.bump(start.find('\n').unwrap_or(start.len()));
            }
            Mode::Top(top)
        };
        Lexer {
            cx,
            text,
            mode: Some(mode),
            start: Some(start),
            queued: None,
            region: Region::Expr,
            open: Vec::new(),
            prev: Prev::Operator,
            prev_end: 0,
            chain: 0,
            has_members: false,
        }
    }

    fn rest(&self, from: usize) -> &'a str {
        self.text.get(from..).unwrap_or_default()
    }

    fn enter(&mut self, region: Region) {
        self.region = region;
        self.open.clear();
        self.prev = Prev::Operator;
        self.chain = 0;
        self.has_members = false;
    }

    // ---- between the clauses ----

    fn top(&mut self, mut lexer: Logos<'a, Top>) -> Option<Spanned<'a>> {
        let found = loop {
            match lexer.next() {
                None => {
                    self.mode = Some(Mode::Top(lexer));
                    return None;
                }
                Some(Ok(Top::Preprocessor)) if lexer.slice().starts_with("#!") => {
                    self.fault(Fault::Interpreter, lexer.span().start, lexer.span().end);
                }
                Some(Ok(found)) => break found,
                Some(Err(fault)) => self.fault(fault, lexer.span().start, lexer.span().end),
            }
        };
        let (span, text) = (lexer.span(), lexer.slice());
        let (tok, region) = match found {
            Top::Preprocessor => (Tok::Preprocessor(text.trim_end()), None),
            Top::LBrace => {
                self.enter(Region::Body);
                let _ = self.push(span.start, Open::Brace { operand: false, floor: 0, peak: 0, header: false });
                self.prev = Prev::Start;
                self.mode = Some(Mode::Code(lexer.morph()));
                return Some((span.start, Tok::LBrace, span.end));
            }
            Top::RBrace => (Tok::RBrace, None),
            Top::Slash => (Tok::PredOpen, Some(Region::Predicate)),
            Top::Comma => (Tok::Comma, None),
            Top::Semi => (Tok::Semi, None),
            Top::Attach | Top::PathAttach => (Tok::Attach(text), None),
            Top::Word => match text {
                "struct" => (Tok::Struct, Some(Region::Record)),
                "union" => (Tok::Union, Some(Region::Record)),
                "enum" => (Tok::Enum, Some(Region::Record)),
                "typedef" => (Tok::Typedef, Some(Region::Typedef)),
                "import" => (Tok::Import, Some(Region::Import)),
                "let" => (Tok::Let, Some(Region::MapDecl)),
                "macro" => (Tok::Macro, Some(Region::Body)),
                "fn" => (Tok::Fn, Some(Region::Body)),
                "config" => (Tok::Config, Some(Region::Config)),
                _ => (Tok::Attach(text), None),
            },
            Top::LineComment | Top::BlockComment => return self.top(lexer),
        };
        self.mode = Some(match region {
            Some(region) => {
                self.enter(region);
                Mode::Code(lexer.morph())
            }
            None => Mode::Top(lexer),
        });
        Some((span.start, tok, span.end))
    }

    // ---- inside ----

    fn code(&mut self, mut lexer: Logos<'a, Code>) -> Result<Option<Spanned<'a>>, Stop> {
        let (found, start, end) = loop {
            let found = lexer.next();
            let span = lexer.span();
            match found {
                None => {
                    self.mode = Some(Mode::Code(lexer));
                    return Ok(None);
                }
                Some(Ok(Code::Word)) if self.prev != Prev::Dot && is_qualifier(lexer.slice()) => {}
                Some(Ok(found)) => break (found, span.start, span.end),
                Some(Err(fault)) => {
                    self.fault(fault, span.start, span.end);
                    if self.cx.is_full() {
                        return Err(Stop);
                    }
                }
            }
        };
        let text = lexer.slice();
        let semi = self.ends_line(found, text, start);
        if semi {
            self.end_statement();
            self.prev = Prev::Start;
        }
        let (tok, prev) = self.classify(found, text, start, end)?;
        self.prev = prev;
        let before = std::mem::replace(&mut self.prev_end, end);
        self.mode = Some(if self.region_ends(found, end) { Mode::Top(lexer.morph()) } else { Mode::Code(lexer) });
        let token = (start, tok, end);
        if semi {
            self.queued = Some(token);
            return Ok(Some((before, Tok::Semi, before)));
        }
        Ok(Some(token))
    }

    /// The grammar's token for a word, and what it means for the next one.
    fn classify(&mut self, found: Code, text: &'a str, start: usize, end: usize) -> Result<(Tok<'a>, Prev), Stop> {
        use Prev::{Operand, Operator};
        let operand_next = matches!(self.prev, Operator | Prev::Cast | Prev::Condition);
        if self.prev == Prev::Start && begins_statement(found, text) {
            self.end_statement();
        }
        let operator = |tok| (tok, Operator);
        Ok(match found {
            Code::Word => return self.word(text, start, operand_next),
            Code::Number => (self.number(text, start, end), Operand),
            Code::Str => {
                let body = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
                (self.string(body, start), Operand)
            }
            Code::OpenStr => {
                self.cx.report(start, end, SyntaxErrorKind::UnterminatedString);
                (Tok::Str(Vec::new()), Operand)
            }
            Code::Var => (Tok::Var(text.get(1..).unwrap_or_default()), Operand),
            Code::Map => (Tok::Map(text.get(1..).unwrap_or_default()), Prev::Map),
            Code::Param => match text.get(1..).and_then(|digits| digits.parse().ok()) {
                Some(index) => (Tok::Param(index), Operand),
                None => {
                    self.bad_number(text, start, end, "the parameter index is too large");
                    (Tok::Param(0), Operand)
                }
            },
            Code::ParamCount => (Tok::ParamCount, Operand),
            Code::LBrace => {
                // The first brace of a probe, macro or function is its body, whatever its result type ends in.
                let own = self.region == Region::Body && self.open.is_empty();
                let operand =
                    operand_next && !own && matches!(self.region, Region::Expr | Region::Predicate | Region::Body);
                if !operand && let Some(Open::Brace { header, .. }) = self.open.last_mut() {
                    *header = false;
                }
                let chain = self.chain;
                self.push(start, Open::Brace { operand, floor: chain, peak: chain, header: false })?;
                (if operand { Tok::BlockOpen } else { Tok::LBrace }, Prev::Start)
            }
            Code::RBrace => {
                let mut prev = Prev::Start;
                while let Some(open) = self.open.pop() {
                    if let Open::Brace { operand, peak, .. } = open {
                        self.chain = self.chain.max(peak);
                        if operand {
                            prev = Operand;
                        }
                        break;
                    }
                }
                (Tok::RBrace, prev)
            }
            Code::LParen => {
                let ty = match self.prev {
                    Operand | Prev::Map | Prev::Dot => false,
                    Prev::TypeOperator => scan::opens_type(self.rest(end), Place::TypeOperator),
                    _ if matches!(self.region, Region::Record | Region::Typedef) => false,
                    Prev::Condition => scan::opens_type(self.rest(end), Place::Condition),
                    _ => scan::opens_type(self.rest(end), Place::Operand),
                };
                self.deepen(start)?;
                let cast = ty && self.prev != Prev::TypeOperator;
                self.push(start, Open::Paren { ty: cast })?;
                operator(if ty { Tok::TypeOpen } else { Tok::LParen })
            }
            Code::RParen => {
                let cast = self.pop_if(|open| matches!(open, Open::Paren { .. })) == Some(Open::Paren { ty: true });
                (Tok::RParen, if cast { Prev::Cast } else { Operand })
            }
            Code::LSquare => {
                self.deepen(start)?;
                let tok = if self.prev == Prev::Map { Tok::KeyOpen } else { Tok::LSquare };
                self.push(start, Open::Square)?;
                operator(tok)
            }
            Code::RSquare => {
                self.pop_if(|open| matches!(open, Open::Square));
                (Tok::RSquare, Operand)
            }
            Code::Semi => {
                self.end_statement();
                (Tok::Semi, Prev::Start)
            }
            Code::Comma => {
                if matches!(self.open.last(), Some(Open::Brace { .. })) {
                    self.end_statement();
                }
                operator(Tok::Comma)
            }
            Code::Slash
                if self.region == Region::Predicate
                    && self.open.is_empty()
                    && scan::closes_predicate(self.rest(end)) =>
            {
                self.region = Region::Body;
                (Tok::PredClose, Operand)
            }
            Code::Dot => {
                self.deepen(start)?;
                (Tok::Dot, Prev::Dot)
            }
            Code::Arrow => {
                self.deepen(start)?;
                (Tok::Arrow, Prev::Dot)
            }
            Code::PlusPlus | Code::MinusMinus => {
                self.deepen(start)?;
                let tok = if found == Code::PlusPlus { Tok::PlusPlus } else { Tok::MinusMinus };
                (tok, if matches!(self.prev, Operand | Prev::Map) { Operand } else { Operator })
            }
            Code::Star if self.prev == Operand && scan::ends_pointer(self.rest(end)) => operator(Tok::TypeStar),
            Code::Colon => operator(Tok::Colon),
            Code::DotDot => operator(Tok::DotDot),
            Code::LineComment | Code::BlockComment => operator(Tok::Semi),
            _ => {
                self.deepen(start)?;
                operator(plain_operator(found))
            }
        })
    }

    fn word(&mut self, text: &'a str, start: usize, operand_next: bool) -> Result<(Tok<'a>, Prev), Stop> {
        if self.prev == Prev::Dot {
            return Ok((Tok::Ident(text), Prev::Operand));
        }
        Ok(match text {
            "break" => (Tok::Break, Prev::Operand),
            "continue" => (Tok::Continue, Prev::Operand),
            "true" => (Tok::True, Prev::Operand),
            "false" => (Tok::False, Prev::Operand),
            "comptime" => {
                self.deepen(start)?;
                (Tok::Comptime, Prev::Operator)
            }
            "else" => {
                self.deepen(start)?;
                (Tok::Else, Prev::Else)
            }
            "if" => {
                self.deepen(start)?;
                self.header();
                (if operand_next { Tok::IfExpr } else { Tok::If }, Prev::Condition)
            }
            "for" | "while" | "unroll" => {
                self.header();
                let tok = match text {
                    "for" => Tok::For,
                    "while" => Tok::While,
                    _ => Tok::Unroll,
                };
                (tok, Prev::Condition)
            }
            "let" => (Tok::Let, Prev::Operator),
            "return" => (Tok::Return, Prev::Operator),
            "sizeof" => (Tok::Sizeof, Prev::TypeOperator),
            "offsetof" => (Tok::Offsetof, Prev::TypeOperator),
            "typeof" => (Tok::Typeof, Prev::TypeOperator),
            "typeinfo" => (Tok::Typeinfo, Prev::TypeOperator),
            "struct" => (Tok::Struct, Prev::Operator),
            "union" => (Tok::Union, Prev::Operator),
            "enum" => (Tok::Enum, Prev::Operator),
            "__attribute__" => (Tok::Attribute, Prev::Operator),
            _ if is_c_word(text) => (Tok::CWord(text), Prev::Operand),
            _ => (Tok::Ident(text), Prev::Operand),
        })
    }

    fn header(&mut self) {
        if let Some(Open::Brace { header, .. }) = self.open.last_mut() {
            *header = true;
        }
    }

    /// Must a `;` be put before this word? Two operands in a row are no expression, so on two
    /// lines of a body they are two statements.
    fn ends_line(&self, found: Code, text: &str, start: usize) -> bool {
        let begins = match found {
            Code::Word => text != "else" && !is_c_word(text),
            Code::Var | Code::Map => true,
            _ => false,
        };
        begins
            && matches!(self.prev, Prev::Operand | Prev::Map)
            && matches!(self.region, Region::Body | Region::Config)
            && matches!(self.open.last(), Some(Open::Brace { header: false, .. }))
            && self.text.get(self.prev_end..start).is_some_and(|gap| gap.contains('\n'))
    }

    /// Is this token the last of its region?
    fn region_ends(&mut self, found: Code, end: usize) -> bool {
        let closed = self.open.is_empty();
        match self.region {
            Region::Expr => false,
            Region::Record => {
                self.has_members |= closed && found == Code::RBrace;
                let attributes = self.has_members && scan::continues_with(self.rest(end), "__attribute__");
                closed
                    && match found {
                        Code::Semi => true,
                        Code::RBrace => !attributes,
                        Code::RParen => self.has_members && !attributes,
                        _ => false,
                    }
            }
            Region::Typedef => closed && found == Code::Semi,
            Region::Import => matches!(found, Code::Str | Code::OpenStr | Code::Semi | Code::RBrace),
            Region::MapDecl => closed && matches!(found, Code::RParen | Code::Semi | Code::RBrace),
            Region::Predicate | Region::Body | Region::Config => {
                closed && found == Code::RBrace && self.prev == Prev::Start
            }
        }
    }

    // ---- literals and faults ----

    fn number(&self, text: &str, start: usize, end: usize) -> Tok<'a> {
        match literal::number(text) {
            Ok(Number::Int { value, unsigned }) => Tok::Int { value, unsigned },
            Ok(Number::Duration(value)) => Tok::Duration(value),
            Err(why) => {
                self.bad_number(text, start, end, &why);
                Tok::Int { value: 0, unsigned: false }
            }
        }
    }

    fn bad_number(&self, text: &str, start: usize, end: usize, why: &str) {
        let text = text.chars().take(40).collect();
        self.cx.report(start, end, SyntaxErrorKind::BadNumber { text, why: why.into() });
    }

    fn string(&self, body: &str, start: usize) -> Tok<'a> {
        let start = start.saturating_add(1);
        Tok::Str(literal::string(body, |at, escape| {
            let at = start.saturating_add(at);
            self.cx.report(at, at.saturating_add(escape.len()), SyntaxErrorKind::BadEscape(escape.into()));
        }))
    }

    fn fault(&self, fault: Fault, start: usize, end: usize) {
        let kind = match fault {
            Fault::Comment => SyntaxErrorKind::UnterminatedComment,
            Fault::Interpreter => SyntaxErrorKind::LateInterpreter,
            Fault::Character => SyntaxErrorKind::BadCharacter(self.rest(start).chars().next().unwrap_or_default()),
        };
        let end = if fault == Fault::Comment { start.saturating_add(2) } else { end };
        self.cx.report(start, end, kind);
    }

    // ---- brackets and depth ----

    fn push(&mut self, at: usize, open: Open) -> Result<(), Stop> {
        if self.open.len() >= MAX_NESTING {
            return self.too_deep(at);
        }
        self.open.push(open);
        Ok(())
    }

    fn pop_if(&mut self, wanted: impl Fn(&Open) -> bool) -> Option<Open> {
        if self.open.last().is_some_and(wanted) { self.open.pop() } else { None }
    }

    fn deepen(&mut self, at: usize) -> Result<(), Stop> {
        self.chain = self.chain.saturating_add(1);
        if self.chain > MAX_CHAIN { self.too_deep(at) } else { Ok(()) }
    }

    fn too_deep(&self, at: usize) -> Result<(), Stop> {
        self.cx.report(at, at.saturating_add(1), SyntaxErrorKind::NestedTooDeep);
        Err(Stop)
    }

    fn end_statement(&mut self) {
        match self.open.last_mut() {
            Some(Open::Brace { floor, peak, .. }) => {
                *peak = self.chain.max(*peak);
                self.chain = *floor;
            }
            Some(_) => {}
            None => self.chain = 0,
        }
    }
}

/// After a block's `}`: is a new statement sure to begin here? Operators go on with a value.
fn begins_statement(found: Code, text: &str) -> bool {
    match found {
        Code::Word => text != "else",
        Code::Var | Code::Map | Code::LBrace | Code::Not | Code::Tilde => true,
        _ => false,
    }
}

fn plain_operator<'a>(found: Code) -> Tok<'a> {
    match found {
        Code::Question => Tok::Question,
        Code::Assign => Tok::Assign,
        Code::AddAssign => Tok::AddAssign,
        Code::SubAssign => Tok::SubAssign,
        Code::MulAssign => Tok::MulAssign,
        Code::DivAssign => Tok::DivAssign,
        Code::RemAssign => Tok::RemAssign,
        Code::AndAssign => Tok::AndAssign,
        Code::OrAssign => Tok::OrAssign,
        Code::XorAssign => Tok::XorAssign,
        Code::ShlAssign => Tok::ShlAssign,
        Code::ShrAssign => Tok::ShrAssign,
        Code::Plus => Tok::Plus,
        Code::Minus => Tok::Minus,
        Code::Star => Tok::Star,
        Code::Slash => Tok::Slash,
        Code::Percent => Tok::Percent,
        Code::And => Tok::And,
        Code::Or => Tok::Or,
        Code::Xor => Tok::Xor,
        Code::Shl => Tok::Shl,
        Code::Shr => Tok::Shr,
        Code::AndAnd => Tok::AndAnd,
        Code::OrOr => Tok::OrOr,
        Code::Eq => Tok::Eq,
        Code::Ne => Tok::Ne,
        Code::Lt => Tok::Lt,
        Code::Le => Tok::Le,
        Code::Gt => Tok::Gt,
        Code::Ge => Tok::Ge,
        Code::Not => Tok::Not,
        Code::Tilde => Tok::Tilde,
        _ => Tok::Semi,
    }
}

impl<'a> Iterator for Lexer<'a, '_> {
    type Item = Result<Spanned<'a>, Stop>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(start) = self.start.take() {
            return Some(Ok((0, start, 0)));
        }
        if let Some(queued) = self.queued.take() {
            self.cx.ends.borrow_mut().push(queued.2);
            return Some(Ok(queued));
        }
        if self.cx.is_full() {
            return Some(Err(Stop));
        }
        let token = match self.mode.take()? {
            Mode::Top(lexer) => self.top(lexer).map(Ok),
            Mode::Code(lexer) => self.code(lexer).transpose(),
        };
        if let Some(Ok((_, _, end))) = &token {
            self.cx.ends.borrow_mut().push(*end);
        }
        token
    }
}
