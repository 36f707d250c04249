//! The lines that begin with `#`: `#include` is kept for what neither the kernel's types nor the table of constants
//! has (see `headers.rs`), `#define NAME value` names an expression, and conditions choose between top-level items, as scripts
//! do that were written for kernels with and without type information.

use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::source::Span;
use rtrace_grammar::ast::{Expr, ExprKind};
use std::collections::HashMap;

/// The macros that scripts may test with `#ifdef`.
const ALWAYS_DEFINED: &[&str] = &["BPFTRACE_HAVE_BTF"];

/// The state while the items of a script go by.
#[derive(Debug, Default)]
pub(crate) struct Preprocessor {
    pub defines: HashMap<String, Expr>,
    /// Names whose definitions the language has no use for, and what to say to one who uses them.
    pub unusable: HashMap<String, Box<Diagnostic>>,
    /// The lines that count and that headers may depend on: `#include`, `#define`, `#undef`.
    pub lines: Vec<(String, Span)>,
    /// For each open `#if`: whether its lines count, and whether one of its branches has counted.
    conditions: Vec<(bool, bool)>,
}

impl Preprocessor {
    /// Whether items count here.
    pub(crate) fn active(&self) -> bool {
        self.conditions.iter().all(|(on, _)| *on)
    }

    /// Takes one line.
    pub(crate) fn line(&mut self, text: &str, span: Span) -> Result<()> {
        let rest = text.trim_start_matches('#').trim_start();
        let word: String = rest.chars().take_while(|c| c.is_ascii_alphabetic()).collect();
        let argument = without_comment(rest.get(word.len()..).unwrap_or_default());
        let unbalanced = || Diagnostic::error(Code::Syntax, span, format!("`#{word}` without `#if`"));
        match word.as_str() {
            "ifdef" => self.open(self.defined(argument)),
            "ifndef" => self.open(!self.defined(argument)),
            "if" => self.open(self.condition(argument)),
            "elif" => {
                let holds = self.condition(argument);
                let (on, taken) = self.conditions.last_mut().ok_or_else(unbalanced)?;
                *on = holds && !*taken;
                *taken |= holds;
            }
            "else" => {
                let (on, taken) = self.conditions.last_mut().ok_or_else(unbalanced)?;
                *on = !*taken;
                *taken = true;
            }
            "endif" => {
                self.conditions.pop().ok_or_else(unbalanced)?;
            }
            _ if !self.active() => {}
            "pragma" => {}
            "include" | "undef" => self.lines.push((text.to_owned(), span)),
            "define" => {
                self.define(text, argument, span);
                self.lines.push((text.to_owned(), span));
            }
            _ => return Err(Diagnostic::error(Code::UnsupportedSyntax, span, format!("`#{word}` is not supported"))),
        }
        Ok(())
    }

    /// All conditions are closed.
    pub(crate) fn finish(&self, span: Span) -> Result<()> {
        if self.conditions.is_empty() {
            return Ok(());
        }
        Err(Diagnostic::error(Code::Syntax, span, "unterminated `#if`: missing `#endif`"))
    }

    fn open(&mut self, holds: bool) {
        self.conditions.push((holds, holds));
    }

    fn defined(&self, name: &str) -> bool {
        let name = name.trim();
        ALWAYS_DEFINED.contains(&name) || self.defines.contains_key(name)
    }

    /// `0`, `1`, what is defined as a number, `defined(X)`, and `!` before them; anything else does not hold.
    fn condition(&self, text: &str) -> bool {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix('!') {
            return !self.condition(rest);
        }
        if let Some(rest) = text.strip_prefix("defined") {
            return self.defined(rest.trim().trim_start_matches('(').trim_end_matches(')'));
        }
        match self.defines.get(text) {
            Some(e) => matches!(e.kind, ExprKind::Int { value, .. } if value != 0),
            None => text.parse::<i64>().is_ok_and(|n| n != 0),
        }
    }

    fn define(&mut self, text: &str, argument: &str, span: Span) {
        let argument = argument.trim_start();
        let len = argument.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        let (name, value) = argument.split_at_checked(len).unwrap_or((argument, ""));
        if value.starts_with('(') {
            let error = Diagnostic::error(
                Code::UnsupportedSyntax,
                span,
                format!("function-like macros are not supported: `{name}`"),
            )
            .help(format!("use a macro of the language: macro {name}(x) {{ … }}"));
            self.unusable.insert(name.to_owned(), error);
            return;
        }
        let value = value.trim();
        if value.is_empty() {
            return;
        }
        let at = span.start as usize + text.find(value).unwrap_or(0);
        match rtrace_grammar::parse_expr(value.as_bytes(), at as u32) {
            Ok(e) => {
                self.defines.insert(name.to_owned(), e);
            }
            Err(_) => {
                let message = format!("the value of `{name}` is not an expression");
                self.unusable.insert(name.to_owned(), Diagnostic::error(Code::Syntax, span, message));
            }
        }
    }
}

/// A line up to its comment.
fn without_comment(text: &str) -> &str {
    let end = text.find("//").into_iter().chain(text.find("/*")).min().unwrap_or(text.len());
    text.get(..end).unwrap_or(text).trim_end()
}
