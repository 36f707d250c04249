//! Statements, blocks, and runs of tokens inside them.

use super::{Bracket, Formatter, SHORT};
use crate::token::Tok;

/// The terminator of a run of tokens, outside of all brackets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    /// The end of a statement, or the brace of its block.
    Statement,
    /// The end of a declaration, whose braces hold C.
    Declaration,
    /// `,` or the closing brace.
    Entry,
    /// The `)` that closes the first bracket, which is part of the run.
    Paren,
}

/// The contents of a pair of braces.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Block {
    /// The statements of a probe or of another statement.
    Body,
    /// Statements, and perhaps a value at the end.
    Value,
    /// `struct` or `union`
    Members,
    Enumerators,
    Config,
}

impl Formatter<'_, '_> {
    // ---- runs ----

    /// Puts tokens up to an end. `ty`: a type or declaration comes first.
    pub(super) fn run_to(&mut self, end: End, ty: bool) {
        self.brackets.push(Bracket { ty, cast: false });
        let base = self.brackets.len();
        let mut keyword = None;
        while let Some(token) = self.peek() {
            let inside = self.brackets.len() > base;
            match &token.tok {
                Tok::StartProgram => break,
                Tok::Semi | Tok::RBrace | Tok::PredClose if !inside => break,
                Tok::Comma if !inside && end == End::Entry => break,
                Tok::LBrace if !inside && end != End::Declaration => break,
                Tok::LBrace => {
                    self.block(if keyword == Some(&Tok::Enum) { Block::Enumerators } else { Block::Members });
                    continue;
                }
                Tok::BlockOpen => {
                    self.block(Block::Value);
                    continue;
                }
                Tok::IfExpr => {
                    self.if_value();
                    continue;
                }
                _ => {}
            }
            self.put();
            match &token.tok {
                Tok::Struct | Tok::Union | Tok::Enum => keyword = Some(&token.tok),
                // The value of a variable, the bits of a member.
                Tok::Assign if !inside && end == End::Statement => self.set_type(false),
                Tok::Comma | Tok::Colon if !inside && end == End::Declaration => self.set_type(token.tok == Tok::Comma),
                Tok::RParen if end == End::Paren && self.brackets.len() == base => break,
                _ => {}
            }
        }
        self.brackets.truncate(base.saturating_sub(1));
    }

    fn set_type(&mut self, ty: bool) {
        if let Some(bracket) = self.brackets.last_mut() {
            bracket.ty = ty;
        }
    }

    fn if_value(&mut self) {
        loop {
            self.put();
            self.run_to(End::Statement, false);
            self.block(Block::Value);
            if !self.is(&Tok::Else) {
                return;
            }
            self.put();
            if self.is(&Tok::LBrace) {
                return self.block(Block::Value);
            }
        }
    }

    // ---- blocks ----

    /// Puts a block from brace to brace, behind what is in the line.
    pub(super) fn block(&mut self, kind: Block) {
        let brackets = std::mem::take(&mut self.brackets);
        let before = (self.inline, self.value, self.level);
        self.value = kind == Block::Value || kind == Block::Body && self.value;
        self.inline |= matches!(kind, Block::Value | Block::Members | Block::Enumerators) && self.is_short();
        let empty = self.is_empty_block();
        self.put();
        if empty {
            self.skip_semicolons();
            self.space = Some(true);
        } else if self.inline {
            self.contents(kind);
            self.space = Some(true);
        } else {
            let (level, next) = self.out.levels();
            // The block of a statement is indented as the statement is, an operand as its line.
            let level = if kind == Block::Value { level } else { self.level };
            self.level = level.saturating_add(1);
            self.contents(kind);
            self.comment_lines(true);
            self.out.begin(level, if kind == Block::Value { next } else { level.saturating_add(1) });
            self.last = None;
        }
        self.put();
        (self.inline, self.value, self.level) = before;
        self.brackets = brackets;
    }

    /// The same behind the head of a statement.
    fn body(&mut self) {
        if self.has_comments() {
            self.begin(false);
        }
        self.space = Some(true);
        self.block(Block::Body);
    }

    fn contents(&mut self, kind: Block) {
        let mut first = true;
        loop {
            self.skip_semicolons();
            if matches!(self.tok(), None | Some(Tok::RBrace | Tok::StartProgram)) {
                return;
            }
            self.begin(!first);
            first = false;
            match kind {
                Block::Body | Block::Value => self.statement(),
                Block::Config => {
                    self.run_to(End::Statement, false);
                    self.semicolon();
                }
                Block::Members => {
                    self.run_to(End::Declaration, true);
                    self.semicolon();
                }
                Block::Enumerators => {
                    self.run_to(End::Entry, false);
                    if self.is(&Tok::Comma) {
                        self.skip();
                        self.add(",");
                    } else if !self.inline {
                        self.add(",");
                    }
                }
            }
        }
    }

    /// Ends a statement with a `;`, which may be in the script or not.
    pub(super) fn semicolon(&mut self) {
        self.add(";");
        if self.is(&Tok::Semi) {
            self.skip();
        }
    }

    pub(super) fn is_empty_block(&self) -> bool {
        let inside = self.tokens.iter().skip(self.at.saturating_add(1));
        inside
            .take_while(|token| token.comments.is_empty())
            .find(|token| token.tok != Tok::Semi)
            .is_some_and(|token| token.tok == Tok::RBrace)
    }

    /// Is the block that begins here written on one line, without comments, and short enough to stay there?
    pub(super) fn is_short(&self) -> bool {
        let mut depth = 0_usize;
        let mut width = 0_usize;
        for (at, token) in self.tokens.iter().skip(self.at).enumerate() {
            width = width.saturating_add(token.text.chars().count()).saturating_add(1);
            if width > SHORT || at > 0 && (token.newlines > 0 || !token.comments.is_empty()) {
                return false;
            }
            match token.tok {
                Tok::LBrace | Tok::BlockOpen => depth = depth.saturating_add(1),
                Tok::RBrace => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return true;
            }
        }
        false
    }

    // ---- statements ----

    fn statement(&mut self) {
        match self.tok() {
            Some(Tok::LBrace) => self.block(Block::Body),
            Some(Tok::If) => loop {
                self.put();
                self.run_to(End::Statement, false);
                self.body();
                if !self.is(&Tok::Else) {
                    return;
                }
                if self.has_comments() {
                    self.begin(false);
                }
                self.put();
                if self.is(&Tok::LBrace) {
                    return self.body();
                }
            },
            Some(Tok::While | Tok::For | Tok::Unroll) => {
                self.put();
                self.run_to(End::Statement, false);
                self.body();
            }
            _ => {
                self.run_to(End::Statement, self.is(&Tok::Let));
                if self.is(&Tok::Semi) || !self.value {
                    self.semicolon();
                }
            }
        }
    }
}
