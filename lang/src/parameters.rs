//! The parameters of a script, as data and as the text of `rtrace SCRIPT --help`.

use crate::source::Span;
use rtrace_grammar::ast::{self, ExprKind};
use rtrace_grammar::visit::{self, Node};
use std::fmt::{self, Write};

/// A default, which also says what kind of value the parameter takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Bool(bool),
    /// Wide enough for signed and unsigned numbers of 64 bits.
    Int(i128),
    Text(Vec<u8>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(n) => write!(f, "{n}"),
            Value::Text(text) => write!(f, "{:?}", String::from_utf8_lossy(text)),
        }
    }
}

/// A parameter with a name: a call of `getopt`.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub name: String,
    pub default: Value,
    pub description: Option<String>,
    pub span: Span,
}

impl Parameter {
    /// As it is given: `--name=NUMBER`.
    pub fn form(&self) -> String {
        match self.default {
            Value::Bool(false) => format!("--{}", self.name),
            Value::Bool(true) => format!("--{}=false", self.name),
            Value::Int(_) => format!("--{}=NUMBER", self.name),
            Value::Text(_) => format!("--{}=TEXT", self.name),
        }
    }
}

/// All that a script takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    pub named: Vec<Parameter>,
    /// The highest `$N`.
    pub positional: u32,
}

/// The highest `$N` in attach points, predicates, bodies and functions.
pub(crate) fn positional(probes: &[ast::Probe], functions: &[ast::FnDef]) -> u32 {
    let mut highest = 0;
    for point in probes.iter().flat_map(|p| &p.attach_points) {
        // What is quoted is a name, and a `$` in it belongs to it.
        for part in point.text.split('"').step_by(2).flat_map(|outside| outside.split('$').skip(1)) {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            highest = highest.max(digits.parse().unwrap_or(0));
        }
    }
    let mut visitor = |node: Node<'_>| {
        if let Node::Expr(e) = node
            && let ExprKind::Param(n) = e.kind
        {
            highest = highest.max(n);
        }
    };
    probes.iter().for_each(|p| visit::probe(p, &mut visitor));
    functions.iter().for_each(|f| visit::function(f, &mut visitor));
    highest
}

/// The text of `--help`: what the script says of itself, and its parameters.
pub fn help(name: &str, script: &str, usage: &Usage) -> String {
    let mut out = String::new();
    let about = leading_comment(script);
    if !about.is_empty() {
        let _ = write!(out, "{about}\n\n");
    }
    let words: Vec<String> = (1..=usage.positional).map(|n| format!("${n}")).collect();
    let mut line = format!("Usage: rtrace [OPTIONS] {name}");
    for word in &words {
        let _ = write!(line, " {word}");
    }
    if !usage.named.is_empty() {
        line.push_str(" -- [PARAMETER]…");
    }
    out.push_str(&line);
    out.push('\n');
    if usage.named.is_empty() {
        out.push_str(if words.is_empty() { "\nThe script takes no parameters.\n" } else { "" });
        return out;
    }
    out.push_str("\nParameters:\n");
    let forms: Vec<String> = usage.named.iter().map(Parameter::form).collect();
    let width = forms.iter().map(|f| f.chars().count()).max().unwrap_or(0);
    for (parameter, form) in usage.named.iter().zip(&forms) {
        let mut text = parameter.description.clone().unwrap_or_default();
        if parameter.default != Value::Bool(false) {
            let gap = if text.is_empty() { "" } else { " " };
            let _ = write!(text, "{gap}(default: {})", parameter.default);
        }
        let line = format!("  {form:width$}  {text}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

/// The comment that a script begins with, without what makes it a comment.
fn leading_comment(script: &str) -> String {
    let body = match script.strip_prefix("#!") {
        Some(rest) => rest.split_once('\n').map_or("", |(_, body)| body),
        None => script,
    };
    let body = body.trim_start();
    let lines: Vec<&str> = match body.strip_prefix("/*") {
        Some(rest) => {
            let inner = rest.split_once("*/").map_or(rest, |(inner, _)| inner);
            inner.lines().map(|l| l.trim_start().trim_start_matches('*')).collect()
        }
        None => body.lines().map_while(|l| l.trim_start().strip_prefix("//")).collect(),
    };
    let lines: Vec<&str> = lines.iter().map(|l| l.strip_prefix(' ').unwrap_or(l).trim_end()).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Options;
    use crate::driver;
    use crate::kernel::Version;
    use crate::source::SourceMap;
    use rtrace_test_support::Recorded;

    /// The help of a script.
    fn of(text: &str) -> String {
        let mut sources = SourceMap::default();
        sources.add("s.rt", text);
        let kernel = Recorded::parse(Version(6, 12), "", "").unwrap();
        let program = driver::parse(&sources, 0).unwrap();
        let usage = driver::usage(program, &mut Options::default(), &sources, kernel.facts());
        help("s.rt", text, &usage.map_err(|e| e[0].message.clone()).unwrap())
    }

    #[test]
    fn help_lists_what_the_script_takes() {
        let text = of(
            "#!/usr/bin/env rtrace\n\n// Counts reads.\n//\n//   rtrace s.rt\nmacro low() { getopt(\"low\", -5) }\n\
                       kprobe:$2 /pid == getopt(\"pid\", 0, \"this process only\")/ { if (getopt(\"all\")) { @ = low; \
                       print(($1, getopt(\"pid\", 0), getopt(\"text\", \"a\\\"b\", \"what to say\"), getopt(\"on\", true))) } }",
        );
        let expected = "Counts reads.\n\n  rtrace s.rt\n\nUsage: rtrace [OPTIONS] s.rt $1 $2 -- [PARAMETER]…\n\nParameters:\n  \
                        --pid=NUMBER  this process only (default: 0)\n  --all\n  --low=NUMBER  (default: -5)\n  \
                        --text=TEXT   what to say (default: \"a\\\"b\")\n  --on=false    (default: true)\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn help_without_parameters_or_comment() {
        assert!(of("uprobe:./app:\"f$1\" { exit() }").ends_with("The script takes no parameters.\n"));
        assert_eq!(of("begin { exit() }"), "Usage: rtrace [OPTIONS] s.rt\n\nThe script takes no parameters.\n");
        assert_eq!(
            of("/*\n * One.\n * Two.\n */\nbegin { print($1) }"),
            "One.\nTwo.\n\nUsage: rtrace [OPTIONS] s.rt $1\n"
        );
        let in_function = "fn second() : int64 { return $2 }\nbegin { print(second()) }";
        assert_eq!(of(in_function), "Usage: rtrace [OPTIONS] s.rt $1 $2\n");
    }
}
