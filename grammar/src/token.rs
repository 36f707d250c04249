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

/// Tokens outside of any clause.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\n\x0b\x0c]+", error = Fault)]
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
    /// quotes protect all of them.
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*=[A-Za-z_][A-Za-z0-9_]*", priority = 25)]
    // Whole, or its kind, by parameters of the script: `$1`, `$1:vfs_read`, `k$1:vfs_read`.
    #[regex(r"[A-Za-z_]*\$[0-9]+[A-Za-z0-9_$]*", priority = 26)]
    #[regex(
        r#"([A-Za-z_][A-Za-z0-9_]*=)?[A-Za-z_*?\[$][A-Za-z0-9_*?!\[\]\-$]*(:("([^"\\\n]|\\[^\n])*"|[^ \t\r\n\x0b\x0c,{}:"/])*)+"#,
        priority = 30
    )]
    Attach,
    /// The same for providers whose first part is a path: it may hold slashes.
    #[regex(
        r#"([A-Za-z_][A-Za-z0-9_]*=)?((?i:uprobe|uretprobe|usdt)|u|ur|U):("([^"\\\n]|\\[^\n])*"|[^ \t\r\n\x0b\x0c,{}:"])*(:("([^"\\\n]|\\[^\n])*"|[^ \t\r\n\x0b\x0c,{}:"/])*)*"#,
        priority = 40
    )]
    // By a parameter that names such a provider, when the path shows that it is one.
    #[regex(
        r#"\$[0-9]+:\.{0,2}/[^ \t\r\n\x0b\x0c,{}:"]*(:("([^"\\\n]|\\[^\n])*"|[^ \t\r\n\x0b\x0c,{}:"/])*)*"#,
        priority = 45
    )]
    // An iterator's pin file, when it is an absolute path.
    #[regex(
        r#"([A-Za-z_][A-Za-z0-9_]*=)?((?i:iter)|it):[^ \t\r\n\x0b\x0c,{}:"/]*:/[^ \t\r\n\x0b\x0c,{}:"]*"#,
        priority = 50
    )]
    PathAttach,
}

/// Tokens inside predicates, bodies and definitions.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip r"[ \t\r\n\x0b\x0c]+", error = Fault)]
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
