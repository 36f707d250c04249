//! The passes, in order. Each takes one stage and returns the next, or diagnostics.

use crate::check;
use crate::codes::Code;
use crate::config::Options;
use crate::diag::Diagnostic;
use crate::kernel::Kernel;
use crate::layout;
use crate::parameters::{self, Usage};
use crate::probes;
use crate::resolve;
use crate::script_types::ScriptTypes;
use crate::source::SourceMap;
use crate::typed::Typed;
use rtrace_grammar::{SyntaxError, SyntaxErrorKind as Kind, ast};

/// Text to tree: lexing and parsing of the file at `index` of the source map.
pub fn parse(sources: &SourceMap, index: usize) -> Result<ast::Program, Vec<Diagnostic>> {
    let Some(file) = sources.files().get(index) else { return Ok(ast::Program::default()) };
    rtrace_grammar::parse(file.text.as_bytes(), file.base, probes::path_part)
        .map_err(|errors| errors.iter().map(syntax).collect())
}

/// Tree to typed program: resolving, checking, laying out.
pub fn analyse(
    program: ast::Program,
    options: &mut Options,
    sources: &SourceMap,
    kernel: Kernel<'_>,
) -> Result<Typed, Vec<Diagnostic>> {
    options.take_named();
    let resolved = resolve::resolve(program, options, kernel)?;
    let types = ScriptTypes::new(kernel.types, &options.headers, &resolved.definitions, &resolved.defines)
        .map_err(|e| vec![*e])?;
    let kernel = Kernel { types: &types, ..kernel };
    let mut checked = check::check(&resolved, options, sources, kernel)?;
    options.warnings.append(&mut checked.warnings);
    layout::layout(checked, options, kernel)
}

/// The full names of all attach points of a script, wildcards resolved.
pub fn attach_points(
    program: ast::Program,
    options: &mut Options,
    kernel: Kernel<'_>,
) -> Result<Vec<String>, Vec<Diagnostic>> {
    options.take_named();
    let script = resolve::resolve(program, options, kernel)?;
    Ok(script.clauses.iter().flat_map(|c| c.targets.iter().map(|(t, _)| t.name.clone())).collect())
}

/// The command-line parameters of a script. Its probes need not exist on this kernel.
pub fn usage(
    program: ast::Program,
    options: &mut Options,
    sources: &SourceMap,
    kernel: Kernel<'_>,
) -> Result<Usage, Vec<Diagnostic>> {
    options.take_named();
    // Which values are given does not matter.
    options.named.clear();
    let mut found = resolve::preprocess(program, options);
    let (named, errors) = check::parameters(found.probes.iter(), &found.script, options, sources, kernel);
    found.errors.extend(errors);
    if !found.errors.is_empty() {
        return Err(found.errors);
    }
    Ok(Usage { named, positional: parameters::positional(&found.probes, &found.script.functions) })
}

/// A syntax error in words.
fn syntax(e: &SyntaxError) -> Diagnostic {
    let error = |text: String| Diagnostic::error(Code::Syntax, e.span, text);
    *match &e.kind {
        Kind::UnexpectedToken { found, expected } => {
            let d = error(format!("unexpected `{found}`"));
            if expected.is_empty() { d } else { d.label(format!("expected {}", alternatives(expected))) }
        }
        Kind::UnexpectedEnd { expected } => {
            let d = error("unexpected end of script".into());
            if expected.is_empty() { d } else { d.label(format!("expected {}", alternatives(expected))) }
        }
        Kind::UnterminatedString => error("unterminated string".into()).help("add the closing \" on the same line"),
        Kind::UnterminatedComment => error("unterminated comment".into()).help("close it with */"),
        Kind::LateInterpreter => {
            error("`#!` is allowed only at the start of the script".into()).help("comments begin with // or /*")
        }
        Kind::BadEscape(text) => error(format!("unknown escape sequence `{text}`"))
            .help("escape sequences: \\n \\t \\r \\\\ \\\" \\xHH \\OOO"),
        Kind::BadNumber { text, why } => error(format!("invalid number `{text}`: {why}")),
        Kind::BadCharacter(c) => error(format!("unexpected character {c:?}")),
        Kind::NotUtf8 => error("the script is not valid UTF-8".into()),
        Kind::NestedTooDeep => error("this is nested too deeply".into()),
        Kind::BadAssignTarget => error("cannot assign to this expression".into())
            .note("only variables `$x` and maps `@x` can be assigned to; memory is read-only"),
        Kind::ForNeedsMapOrRange => error("expected a map or a range to iterate over".into())
            .help("use for ($kv : @map) { … } or for ($i : 0..10) { … }"),
        Kind::TooLarge => error("the script is too large".into()),
    }
}

/// `a, b or c`, shortened when there are many.
fn alternatives(list: &[String]) -> String {
    match list {
        [one] => one.clone(),
        [init @ .., last] if list.len() <= 6 => format!("{} or {last}", init.join(", ")),
        _ => format!("{}, …", list.iter().take(5).cloned().collect::<Vec<_>>().join(", ")),
    }
}
