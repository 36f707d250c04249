//! The words of the language.
//!
//! Two token sets share one text: [`Top`] between the clauses, where an attach point is one word
//! (`uprobe:/bin/sh:main+3`), and [`Code`] inside predicates, bodies and definitions. The lexer
//! switches between them and hands [`Tok`] to the grammar, which sees one set only. A few `Tok`s
//! differ by their place, not their text; each says so.

use logos::{FilterResult, Lexer, Logos};

/// The reason why no token could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fault {
    #[default]
    Character,
    Comment,
    /// `#!` behind the first line.
    Interpreter,
}

/// The part of an attach point, by the name of its provider, that is a path: 0 is the first after the provider. A path
/// behind other parts is absolute.
pub type PathPart = fn(&str) -> Option<usize>;

/// Tokens outside of any clause.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\n\x0b\x0c]+", error = Fault, extras = PathPart)]
pub enum Top {
    #[regex(r"//[^\n]*", logos::skip, allow_greedy = true)]
    LineComment,
    #[token("/*", block_comment)]
    BlockComment,
    /// A preprocessor line with its continuation lines.
    #[regex(r"#([^\n\\]|\\[^\n]|\\\n|\\\r\n)*", allow_greedy = true)]
    Preprocessor,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token("/")]
    Slash,
    #[token(",")]
    Comma,
    #[token(";")]
    Semi,
    /// A keyword, or an attach point of one word such as `BEGIN`.
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*", priority = 20)]
    Word,
    /// `[name=]provider:part:…`, or `name=provider`. A part ends at a blank, a comma, a brace, a colon or a slash;
    /// quotes protect all of them. A part that is a path may hold slashes ([`PathPart`]).
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*=[A-Za-z_][A-Za-z0-9_]*", priority = 25)]
    // Whole, or its kind, by parameters of the script: `$1`, `$1:vfs_read`, `k$1:vfs_read`.
    #[regex(r"[A-Za-z_]*\$[0-9]+[A-Za-z0-9_$]*", priority = 26)]
    #[regex(
        r#"([A-Za-z_][A-Za-z0-9_]*=)?[A-Za-z_*?\[$][A-Za-z0-9_*?!\[\]\-$]*(:("([^"\\\n]|\\[^\n])*"|[^ \t\r\n\x0b\x0c,{}:"/])*)+"#,
        with_path,
        priority = 30
    )]
    Attach,
    /// The same by a parameter that names a provider, when what follows shows that it is a path.
    #[regex(
        r#"\$[0-9]+:\.{0,2}/[^ \t\r\n\x0b\x0c,{}:"]*(:("([^"\\\n]|\\[^\n])*"|[^ \t\r\n\x0b\x0c,{}:"/])*)*"#,
        priority = 45
    )]
    PathAttach,
}

/// Takes the slashes of a path, and what follows them, into an attach point.
fn with_path<'t>(lexer: &mut Lexer<'t, Top>) {
    let (text, start) = (lexer.slice(), lexer.span().start);
    let Some((provider, _)) = text.split_once(':') else { return };
    let name = provider.rsplit('=').next().unwrap_or(provider);
    let Some(path) = (lexer.extras)(name) else { return };
    let target = start + provider.len() + 1;
    let length = target_length(lexer.source().get(target..).unwrap_or_default(), path);
    lexer.bump((provider.len() + 1 + length).saturating_sub(text.len()));
}

/// Bytes of the parts of a target of which one, by its number, may hold slashes.
fn target_length(text: &str, path: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut part, mut start) = (0, 0, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => match quoted(bytes.get(at..).unwrap_or_default()) {
                Some(length) => at += length,
                None => return at,
            },
            b':' => {
                at += 1;
                (part, start) = (part + 1, at);
            }
            b'/' if part != path || (path > 0 && bytes.get(start) != Some(&b'/')) => return at,
            b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c | b',' | b'{' | b'}' => return at,
            _ => at += 1,
        }
    }
    at
}

/// Bytes of the string that the text begins with; `None` if it has no end on its line.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\n' => return None,
            b'\\' if text.get(at + 1).is_some_and(|next| *next != b'\n') => at += 2,
            b'\\' => return None,
            _ => at += 1,
        }
    }
}

/// Tokens inside predicates, bodies and definitions.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\n\x0b\x0c]+", error = Fault, extras = PathPart)]
pub enum Code {
    #[regex(r"//[^\n]*", logos::skip, allow_greedy = true)]
    LineComment,
    #[token("/*", block_comment)]
    BlockComment,
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Word,
    /// Taken apart in `literal`, so that its errors can say what is wrong.
    #[regex(r"[0-9][0-9A-Za-z_]*")]
    Number,
    #[regex(r#""([^"\\\n]|\\[^\n])*""#)]
    Str,
    #[regex(r#""([^"\\\n]|\\[^\n])*"#)]
    OpenStr,
    #[regex(r"\$[A-Za-z_][A-Za-z0-9_]*")]
    Var,
    #[regex(r"\$[0-9]+")]
    Param,
    #[token("$#")]
    ParamCount,
    #[regex(r"@([A-Za-z_][A-Za-z0-9_]*)?")]
    Map,
    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token("[")]
    LSquare,
    #[token("]")]
    RSquare,
    #[token(";")]
    Semi,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token("?")]
    Question,
    #[token(".")]
    Dot,
    #[token("..")]
    DotDot,
    #[token("->")]
    Arrow,
    #[token("++")]
    PlusPlus,
    #[token("--")]
    MinusMinus,
    #[token("=")]
    Assign,
    #[token("+=")]
    AddAssign,
    #[token("-=")]
    SubAssign,
    #[token("*=")]
    MulAssign,
    #[token("/=")]
    DivAssign,
    #[token("%=")]
    RemAssign,
    #[token("&=")]
    AndAssign,
    #[token("|=")]
    OrAssign,
    #[token("^=")]
    XorAssign,
    #[token("<<=")]
    ShlAssign,
    #[token(">>=")]
    ShrAssign,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("&")]
    And,
    #[token("|")]
    Or,
    #[token("^")]
    Xor,
    #[token("<<")]
    Shl,
    #[token(">>")]
    Shr,
    #[token("&&")]
    AndAnd,
    #[token("||")]
    OrOr,
    #[token("==")]
    Eq,
    #[token("!=")]
    Ne,
    #[token("<")]
    Lt,
    #[token("<=")]
    Le,
    #[token(">")]
    Gt,
    #[token(">=")]
    Ge,
    #[token("!")]
    Not,
    #[token("~")]
    Tilde,
}

/// Skips a comment that `/*` has opened; one without an end takes the rest of the text.
fn block_comment<'s, T: Logos<'s, Source = str>>(lexer: &mut Lexer<'s, T>) -> FilterResult<(), Fault> {
    match lexer.remainder().find("*/") {
        Some(at) => {
            lexer.bump(at.saturating_add(2));
            FilterResult::Skip
        }
        None => {
            lexer.bump(lexer.remainder().len());
            FilterResult::Error(Fault::Comment)
        }
    }
}

/// The tokens of the grammar.
#[derive(Clone, Debug, PartialEq)]
pub enum Tok<'a> {
    /// Not in the text: the first token, which chooses what is parsed.
    StartProgram,
    StartExpr,

    Preprocessor(&'a str),
    Attach(&'a str),
    /// The `/` before a predicate.
    PredOpen,
    /// The `/` after it.
    PredClose,

    Ident(&'a str),
    /// A word of C's own types: `unsigned`, `long`, …
    CWord(&'a str),
    Var(&'a str),
    Map(&'a str),
    Param(u32),
    ParamCount,
    Int {
        value: u64,
        unsigned: bool,
    },
    Duration(u64),
    Str(Vec<u8>),
    True,
    False,

    Break,
    Comptime,
    Config,
    Continue,
    Else,
    Enum,
    Fn,
    For,
    /// `if` where a statement begins, and after `else`.
    If,
    /// `if` where an operand is expected.
    IfExpr,
    Import,
    Let,
    Macro,
    Offsetof,
    Return,
    Sizeof,
    Struct,
    Typedef,
    Typeinfo,
    Typeof,
    Union,
    Unroll,
    While,
    Attribute,

    /// A brace that opens a body or a statement.
    LBrace,
    /// A brace where an operand is expected: a block expression.
    BlockOpen,
    RBrace,
    LParen,
    /// A parenthesis with a type in it: a cast, or `sizeof(type)`.
    TypeOpen,
    RParen,
    LSquare,
    /// The bracket right after a map's name.
    KeyOpen,
    RSquare,
    Semi,
    Comma,
    Colon,
    Question,
    Dot,
    DotDot,
    Arrow,
    PlusPlus,
    MinusMinus,
    Assign,
    AddAssign,
    SubAssign,
    MulAssign,
    DivAssign,
    RemAssign,
    AndAssign,
    OrAssign,
    XorAssign,
    ShlAssign,
    ShrAssign,
    Plus,
    Minus,
    Star,
    /// A star behind a word where only the type of a pointer can end: `f(uint64 *)`.
    TypeStar,
    Slash,
    Percent,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    AndAnd,
    OrOr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Not,
    Tilde,
}
