//! The parameters of a script: `$1`, and `getopt("name", default, "description")`.

use super::{Call, Checker, string};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::parameters::{Parameter, Value};
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use rtrace_core::nearest::nearest;
use rtrace_grammar::ast;
use rtrace_grammar::literal;
use rtrace_grammar::visit::{self, Node};

/// A number as scripts have them, with or without a sign.
fn number(text: &str) -> Option<(i64, Type)> {
    let (digits, negative) = match text.strip_prefix('-') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    let value = literal::value(digits)?;
    match (negative, i64::try_from(value)) {
        (false, Ok(v)) => Some((v, Type::I64)),
        (false, Err(_)) => Some((value as i64, Type::U64)),
        (true, _) => 0i64.checked_sub_unsigned(value).map(|v| (v, Type::I64)),
    }
}

/// A truth value as people and other programs write it: `true`, `False`, `1`.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

impl Checker<'_> {
    /// The text of `$1`, `$2`, …; empty when it is not given.
    pub(crate) fn parameter_text(&self, n: u32) -> &str {
        (n as usize).checked_sub(1).and_then(|i| self.options.params.get(i)).map_or("", String::as_str)
    }

    /// `$1` as a value: a number if it is one, else a string; zero when it is not given.
    pub(super) fn parameter(&mut self, n: u32, span: Span) -> Expr {
        match self.parameter_text(n) {
            "" => Expr::int(0, Type::I64, span),
            text => match number(text) {
                Some((value, ty)) => Expr::int(value, ty, span),
                None => string(text.as_bytes(), span),
            },
        }
    }

    /// The number and the text of the parameter that an expression is.
    fn parameter_of(&self, e: &Expr) -> Option<(&str, &str)> {
        let word = self.sources.text(e.span);
        let n = word.strip_prefix('$')?.parse().ok()?;
        Some((word, self.parameter_text(n)))
    }

    /// Whether it is a parameter that was not given: zero among numbers, and empty among strings.
    pub(crate) fn is_missing_parameter(&self, e: &Expr) -> bool {
        self.parameter_of(e).is_some_and(|(_, text)| text.is_empty())
    }

    /// The error for a parameter that is not a number where one is needed.
    pub(crate) fn no_number(&self, e: &Expr) -> Option<Box<Diagnostic>> {
        let (word, text) = self.parameter_of(e)?;
        let message = format!("parameter {word} is not a number: `{text}`");
        Some(Diagnostic::error(Code::MissingParameter, e.span, message).help(format!("use str({word}) for its text")))
    }

    /// `getopt("name", default, "description")`
    pub(crate) fn named_parameter(&mut self, call: &Call<'_>) -> Result<Expr> {
        let parameter = self.declared(call.args, call.span)?;
        // The last one given counts.
        let Some((_, given)) = self.options.named.iter().rev().find(|n| n.0 == parameter.name) else {
            return Ok(match parameter.default {
                Value::Bool(b) => Expr::int(i64::from(b), Type::Bool, call.span),
                Value::Int(n) => match i64::try_from(n) {
                    Ok(n) => Expr::int(n, Type::I64, call.span),
                    Err(_) => Expr::int(n as i64, Type::U64, call.span),
                },
                Value::Text(text) => string(&text, call.span),
            });
        };
        let takes = match (&parameter.default, given.as_deref()) {
            (Value::Bool(_), None) => return Ok(Expr::int(1, Type::Bool, call.span)),
            (Value::Bool(_), Some(text)) if let Some(truth) = truth(text) => {
                return Ok(Expr::int(i64::from(truth), Type::Bool, call.span));
            }
            (Value::Text(_), Some(text)) => return Ok(string(text.as_bytes(), call.span)),
            (Value::Int(_), Some(text)) if let Some((value, ty)) = number(text) => {
                return Ok(Expr::int(value, ty, call.span));
            }
            (Value::Bool(_), _) => "true or false",
            (Value::Text(_), _) => "a string",
            (Value::Int(_), _) => "a number",
        };
        let name = &parameter.name;
        let message = match given {
            Some(value) => format!("invalid value for `--{name}`: expected {takes}, found `{value}`"),
            None => format!("missing value for `--{name}`: expected {takes}"),
        };
        Err(Diagnostic::error(Code::MissingParameter, call.span, message).help(format!("usage: {}", parameter.form())))
    }

    /// The parameter that the arguments of `getopt` declare.
    fn declared(&mut self, args: &[ast::Expr], span: Span) -> Result<Parameter> {
        let name = match args.first() {
            Some(e) => self.literal_text(e, "the name of a parameter")?,
            None => String::new(),
        };
        let default = match args.get(1) {
            None => Value::Bool(false),
            Some(e) => {
                let default = self.expr(e)?;
                match (default.kind, default.ty) {
                    (ExprKind::Int(n), Type::Bool) => Value::Bool(n != 0),
                    (ExprKind::Int(n), Type::U64) => Value::Int(i128::from(n as u64)),
                    (ExprKind::Int(n), _) => Value::Int(i128::from(n)),
                    (ExprKind::Bytes(text), Type::String { .. }) => Value::Text(text),
                    _ => return Err(Diagnostic::error(Code::WrongType, e.span, "the default must be a constant")),
                }
            }
        };
        let description = args.get(2).map(|e| self.literal_text(e, "the description")).transpose()?;
        Ok(Parameter { name, default, description, span })
    }

    /// All parameters that have names, in the order of the script, each once. What is wrong becomes an error.
    pub(super) fn parameters<'p>(&mut self, probes: impl Iterator<Item = &'p ast::Probe>) -> Vec<Parameter> {
        let mut calls = Vec::new();
        let mut note = |node: Node<'_>| {
            if let Node::Expr(e) = node
                && let ast::ExprKind::Call { name, args } = &e.kind
                && name.text == "getopt"
            {
                calls.push((name.clone(), args.clone(), e.span));
            }
        };
        probes.for_each(|p| visit::probe(p, &mut note));
        self.functions.iter().for_each(|f| visit::block(&f.body, &mut note));
        let mut all: Vec<Parameter> = Vec::new();
        for (name, args, span) in calls {
            let wrong = self.call_by_name(&name, &args, span, false).err();
            self.errors.extend(wrong.map(|e| *e));
            // What is wrong with it is known by now.
            let Ok(parameter) = self.declared(&args, span) else { continue };
            match all.iter_mut().find(|p| p.name == parameter.name) {
                None => all.push(parameter),
                Some(known) if known.default == parameter.default => {
                    known.description = known.description.take().or(parameter.description);
                }
                Some(known) => {
                    let message = format!("parameter `--{}` has conflicting defaults", parameter.name);
                    self.errors.push(
                        *Diagnostic::error(Code::BadParameter, span, message)
                            .label(format!("the default here is {}", parameter.default))
                            .also(known.span, format!("the default here is {}", known.default)),
                    );
                }
            }
        }
        all
    }
}

/// Errors for parameters that are given but not declared.
pub(super) fn unknown(known: &[Parameter], given: &[(String, Option<String>)]) -> Vec<Diagnostic> {
    let strange = given.iter().filter(|(name, _)| !known.iter().any(|p| p.name == *name));
    let errors = strange.map(|(name, _)| {
        let error = Diagnostic::general(Code::BadParameter, format!("unknown parameter `--{name}`"));
        let names = || known.iter().map(|p| p.name.as_str());
        if known.is_empty() {
            return *error.note("the script has no named parameters");
        }
        let error = error.note(format!("parameters of the script: --{}", names().collect::<Vec<_>>().join(", --")));
        match nearest(name, names()) {
            Some(near) => *error.help(format!("did you mean `--{near}`?")),
            None => *error,
        }
    });
    errors.collect()
}
