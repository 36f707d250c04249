//! The top-level items of a script.

use super::Formatter;
use super::body::{Block, End};
use crate::token::Tok;

impl Formatter<'_, '_> {
    pub(super) fn items(&mut self) {
        // Where the item before begins, with and without the comments above it.
        let mut before: Option<(usize, usize)> = None;
        loop {
            self.skip_semicolons();
            let mut above = self.begin(true);
            let mut here = self.out.position();
            if let Some((its_comments, item)) = before
                && self.out.spans_lines(item, above)
            {
                let added = self.out.blank_at(above);
                (above, here) = (above.saturating_add(added), here.saturating_add(added));
                let added = self.out.blank_at(its_comments);
                (above, here) = (above.saturating_add(added), here.saturating_add(added));
            }
            before = Some((above, here));
            match self.tok() {
                None | Some(Tok::StartProgram) => return,
                Some(Tok::Struct | Tok::Union) => self.record(Block::Members),
                Some(Tok::Enum) => self.record(Block::Enumerators),
                Some(Tok::Typedef) => {
                    self.run_to(End::Declaration, true);
                    self.semicolon();
                }
                Some(Tok::Import) => {
                    self.put();
                    self.put();
                    self.semicolon();
                }
                Some(Tok::Let) => {
                    self.run_to(End::Paren, false);
                    self.semicolon();
                }
                Some(Tok::Config) => {
                    self.run_to(End::Statement, false);
                    self.block(Block::Config);
                }
                Some(Tok::Macro) => self.function(false),
                Some(Tok::Fn) => self.function(true),
                Some(Tok::Attach(_)) => self.probe(),
                // A directive.
                Some(_) => self.put(),
            }
        }
    }

    fn record(&mut self, block: Block) {
        self.run_to(End::Statement, true);
        if self.is(&Tok::LBrace) {
            self.block(block);
            while self.is(&Tok::Attribute) {
                self.run_to(End::Paren, true);
            }
        }
        self.semicolon();
    }

    fn function(&mut self, typed: bool) {
        self.run_to(End::Statement, typed);
        if self.has_comments() || !(self.is_short() || self.is_empty_block()) {
            self.begin(false);
        }
        self.space = Some(true);
        self.block(Block::Value);
    }

    fn probe(&mut self) {
        while matches!(self.tok(), Some(Tok::Attach(_))) {
            self.put();
            if self.is(&Tok::Comma) {
                self.skip();
                // There may be one behind the last.
                if matches!(self.tok(), Some(Tok::Attach(_))) {
                    self.add(",");
                    self.begin(false);
                }
            }
        }
        if self.is(&Tok::PredOpen) {
            self.begin(false);
            self.put();
            self.run_to(End::Statement, false);
            self.space = Some(false);
            self.put();
        }
        if self.has_comments() || !self.is_empty_block() {
            self.begin(false);
        }
        self.space = Some(true);
        self.block(Block::Body);
    }
}
