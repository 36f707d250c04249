//! Between which tokens blanks go, and where a line may end.

use super::lines::Stop;
use super::tokens::Token;
use super::{Bracket, Formatter};
use crate::token::Tok;

/// The role of a token for the spacing around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Role {
    /// A value, a name, a type.
    Operand,
    /// A word that blanks stand around.
    Keyword,
    /// `sizeof`, …: like the name of a function.
    Caller,
    Prefix,
    Postfix,
    /// Blanks on both sides; a line may end before it.
    Binary,
    /// `=` and its kin.
    Assign,
    /// `:` before a type.
    Colon,
    /// The star of a type.
    Star,
    Open,
    Close,
    /// The `)` of a cast.
    Cast,
    /// `,` and `;`
    Comma,
    /// `.`, `->`, `..`
    Joint,
    /// The `/` before a predicate.
    Predicate,
}

impl Role {
    /// May an operator between two values come next?
    fn ends_operand(self) -> bool {
        matches!(self, Role::Operand | Role::Close | Role::Postfix)
    }
}

impl<'t, 'a> Formatter<'t, 'a> {
    pub(super) fn in_type(&self) -> bool {
        self.brackets.last().is_some_and(|bracket| bracket.ty)
    }

    pub(super) fn role(&self, token: &Token<'a>) -> Role {
        let last = self.last.map(|(role, _)| role);
        let binary = last.is_some_and(Role::ends_operand);
        match &token.tok {
            Tok::Let | Tok::Return | Tok::If | Tok::IfExpr | Tok::Else | Tok::While | Tok::For => Role::Keyword,
            Tok::Struct | Tok::Union | Tok::Enum | Tok::Typedef | Tok::Comptime => Role::Keyword,
            Tok::Macro | Tok::Fn | Tok::Import | Tok::Config => Role::Keyword,
            Tok::Sizeof | Tok::Offsetof | Tok::Typeof | Tok::Typeinfo | Tok::Attribute | Tok::Unroll => Role::Caller,
            Tok::LParen | Tok::TypeOpen | Tok::LSquare | Tok::KeyOpen => Role::Open,
            Tok::RParen if self.brackets.last().is_some_and(|bracket| bracket.cast) => Role::Cast,
            Tok::RParen | Tok::RSquare | Tok::RBrace => Role::Close,
            Tok::Comma | Tok::Semi => Role::Comma,
            Tok::Dot | Tok::Arrow | Tok::DotDot => Role::Joint,
            Tok::PredOpen => Role::Predicate,
            Tok::Not | Tok::Tilde => Role::Prefix,
            Tok::PlusPlus | Tok::MinusMinus => {
                if binary {
                    Role::Postfix
                } else {
                    Role::Prefix
                }
            }
            Tok::TypeStar => Role::Star,
            Tok::Star if self.in_type() => Role::Star,
            Tok::Minus | Tok::Star | Tok::And => {
                if binary {
                    Role::Binary
                } else {
                    Role::Prefix
                }
            }
            Tok::Colon if self.in_type() && matches!(self.last, Some((_, Token { tok: Tok::Var(_), .. }))) => {
                Role::Colon
            }
            Tok::Assign | Tok::AddAssign | Tok::SubAssign | Tok::MulAssign | Tok::DivAssign | Tok::RemAssign => {
                Role::Assign
            }
            Tok::AndAssign | Tok::OrAssign | Tok::XorAssign | Tok::ShlAssign | Tok::ShrAssign => Role::Assign,
            Tok::Colon | Tok::Question | Tok::Plus | Tok::Slash | Tok::Percent | Tok::Or | Tok::Xor => Role::Binary,
            Tok::Shl | Tok::Shr | Tok::AndAnd | Tok::OrOr => Role::Binary,
            Tok::Eq | Tok::Ne | Tok::Lt | Tok::Le | Tok::Gt | Tok::Ge => Role::Binary,
            _ => Role::Operand,
        }
    }

    pub(super) fn space_before(&self, role: Role, token: &Token<'a>) -> bool {
        let Some((before, last)) = self.last else { return false };
        match (before, role) {
            (_, Role::Comma | Role::Joint | Role::Close | Role::Cast | Role::Postfix | Role::Colon) => false,
            (Role::Open | Role::Joint, _) => false,
            // `?:`
            (Role::Binary, Role::Binary) => false,
            // Two signs must not become another one.
            (Role::Prefix, _) => token.text.chars().next().is_some_and(|c| "+-&".contains(c) && last.text.ends_with(c)),
            (Role::Predicate, _) => token.text.starts_with('*'),
            (_, Role::Binary | Role::Assign) | (Role::Binary | Role::Assign, _) => true,
            (Role::Cast, _) => false,
            (Role::Star, _) => false,
            (_, Role::Open) if matches!(token.tok, Tok::LSquare | Tok::KeyOpen) => false,
            (Role::Caller, Role::Open) => false,
            (Role::Operand, Role::Open) if matches!(last.tok, Tok::Ident(_)) => self.in_type() && self.star_follows(),
            (Role::Close, Role::Open) => !self.in_type(),
            _ => true,
        }
    }

    /// `(*`, of a pointer to a function.
    fn star_follows(&self) -> bool {
        self.tokens.get(self.at.saturating_add(1)).is_some_and(|next| matches!(next.tok, Tok::Star | Tok::TypeStar))
    }

    /// May, or must, a line end before this token, which has no comment before it?
    pub(super) fn stop(&self, role: Role, token: &Token<'a>) -> Stop {
        let Some((before, _)) = self.last else { return Stop::No };
        // Inside `?:`, which is one operator, no line ends: the next time, what comes after would be laid out otherwise.
        if self.inline || (before, role) == (Role::Binary, Role::Binary) {
            return Stop::No;
        }
        let next = self.tokens.get(self.at.saturating_add(1));
        let operator_ends_line = role == Role::Binary && next.is_some_and(|n| n.newlines > 0 && n.comments.is_empty());
        let rank = match token.tok {
            _ if before == Role::Comma => 0,
            Tok::Colon if role == Role::Binary => 1,
            Tok::Question => 2,
            Tok::OrOr => 3,
            Tok::AndAnd => 4,
            _ if role == Role::Binary => {
                return if token.newlines > 0 || operator_ends_line { Stop::Must } else { Stop::No };
            }
            _ => return Stop::No,
        };
        if token.newlines > 0 || operator_ends_line {
            return Stop::Must;
        }
        let depth = u32::try_from(self.brackets.len()).unwrap_or(u32::MAX);
        Stop::May(depth.saturating_mul(5).saturating_add(rank))
    }

    /// Keeps the open brackets, after a token.
    pub(super) fn enter_or_leave(&mut self, token: &Token<'a>) {
        match token.tok {
            Tok::TypeOpen => {
                let cast = !matches!(self.last, Some((Role::Caller, _)));
                self.brackets.push(Bracket { ty: true, cast });
            }
            Tok::LParen => {
                let ty = self.in_type() && !matches!(self.last, Some((Role::Caller, _)));
                self.brackets.push(Bracket { ty, cast: false });
            }
            Tok::LSquare | Tok::KeyOpen => self.brackets.push(Bracket { ty: false, cast: false }),
            Tok::RParen | Tok::RSquare => {
                self.brackets.pop();
            }
            _ => {}
        }
    }
}
