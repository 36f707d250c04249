//! The resolve pass: attach points matched against the kernel, `config` applied, top-level items
//! sorted by what they are.

use crate::builtins;
use crate::bundle::{MissingProbes, Mode, Target};
use crate::codes::Code;
use crate::config::{self, Options, Value};
use crate::diag::{Diagnostic, Result, Severity};
use crate::expand::{Known, expand, expand_function};
use crate::kernel::Kernel;
use crate::preprocessor::Preprocessor;
use crate::probes::{self, Context, Resolved};
use crate::script::{ResolvedClause, ResolvedScript};
use crate::source::Span;
use rtrace_grammar::ast::{self, Item};
use rtrace_grammar::visit::{self, Node};
use std::collections::HashMap;

/// A script by its items, settings applied and macros expanded; nothing is asked of the kernel yet.
#[derive(Debug, Default)]
pub(crate) struct Preprocessed {
    /// Without clauses.
    pub script: ResolvedScript,
    pub probes: Vec<ast::Probe>,
    pub errors: Vec<Diagnostic>,
}

/// Sorts the items of a script by what they are.
pub(crate) fn preprocess(program: ast::Program, options: &mut Options) -> Preprocessed {
    let mut errors = Vec::new();
    let mut script = ResolvedScript::default();
    let mut macros = Vec::new();
    let mut probes = Vec::new();
    // What a setting, which may come later, has a say about.
    let mut used = Vec::new();
    let mut lines = Preprocessor::default();
    let mut left_out = false;
    for item in program.items {
        if !lines.active() && !matches!(item, Item::Preprocessor { .. }) {
            continue;
        }
        match item {
            // They run only where tests and benchmarks are asked for.
            Item::Probe(mut p) => {
                let before = p.attach_points.len();
                p.attach_points.retain(|a| {
                    let of = |kind, mode| options.run.mode != mode && a.text.starts_with(kind);
                    !of("test:", Mode::Test) && !of("bench:", Mode::Bench)
                });
                left_out |= p.attach_points.len() < before;
                if !p.attach_points.is_empty() {
                    probes.push(p);
                }
            }
            Item::Config(entries, _) => {
                for entry in &entries {
                    errors.extend(set(options, entry).err().map(|e| *e));
                }
            }
            Item::MapDecl(m) => {
                used.push(("unstable_map_decl", "a declaration of a map", m.span));
                script.map_decls.push(m);
            }
            Item::Preprocessor { text, span } => errors.extend(lines.line(&text, span).err().map(|e| *e)),
            Item::CDef(d) => script.definitions.push(d),
            // The import pass put the files' items in its place.
            Item::Import { span, .. } => used.push(("unstable_import", "`import`", span)),
            Item::Macro(m) => {
                used.push(("unstable_macro", "`macro`", m.span));
                macros.push(m);
            }
            Item::Fn(f) => script.functions.push(f),
        }
    }
    for (setting, what, span) in used {
        match options.feature(setting, what, span) {
            Some(d) if d.severity == Severity::Error => errors.push(*d),
            d => options.warnings.extend(d.map(|d| *d)),
        }
    }
    errors.extend(lines.finish(Span::default()).err().map(|e| *e));
    if probes.is_empty() && errors.is_empty() {
        errors.push(*Diagnostic::error(Code::EmptyScript, Span::default(), "the script has no probe").help(
            match left_out {
                true => "use --test to run its tests, --bench to run its benchmarks",
                false => "a probe is an attach point with a block, for example: begin { printf(\"hello\\n\"); exit() }",
            },
        ));
    }
    script.defines = std::mem::take(&mut lines.defines);
    script.lines = std::mem::take(&mut lines.lines);
    for (name, constant) in &options.headers.constants {
        script.defines.entry(name.clone()).or_insert_with(|| constant.expr(Span::default()));
    }
    errors.extend(unusable(&mut lines.unusable, &script, &macros, &probes));
    errors.extend(named_twice(&script.functions, &macros));
    let known = Known { macros: &macros, builtin: |name| builtins::find(name).is_some() };
    for function in &mut script.functions {
        errors.extend(expand_function(function, known).err().map(|e| *e));
    }
    for probe in &mut probes {
        errors.extend(expand(probe, known).err().map(|e| *e));
    }
    Preprocessed { script, probes, errors }
}

/// Errors in the `#define`s that are used.
fn unusable(
    lines: &mut HashMap<String, Box<Diagnostic>>,
    script: &ResolvedScript,
    macros: &[ast::MacroDef],
    probes: &[ast::Probe],
) -> Vec<Diagnostic> {
    if lines.is_empty() {
        return Vec::new();
    }
    let mut errors = Vec::new();
    let mut look = |node: Node<'_>| {
        let name = match node {
            Node::Expr(e) => match &e.kind {
                ast::ExprKind::Ident(name) => name.as_str(),
                ast::ExprKind::Call { name, .. } => &name.text,
                _ => return,
            },
            Node::Type(ty) => match &ty.base {
                ast::TypeBase::Named(name) => name.as_str(),
                _ => return,
            },
        };
        errors.extend(lines.remove(name).map(|e| *e));
    };
    script.definitions.iter().for_each(|d| visit::definition(d, &mut look));
    script.functions.iter().for_each(|f| visit::function(f, &mut look));
    macros.iter().for_each(|m| visit::block(&m.body, &mut look));
    probes.iter().for_each(|p| visit::probe(p, &mut look));
    errors
}

/// Resolves all probes; all errors are reported, not only the first.
pub(crate) fn resolve(
    program: ast::Program,
    options: &mut Options,
    kernel: Kernel<'_>,
) -> std::result::Result<ResolvedScript, Vec<Diagnostic>> {
    let Preprocessed { mut script, probes, mut errors } = preprocess(program, options);
    let optional = options.run.missing_probes != MissingProbes::Error;
    for probe in probes {
        let (mut targets, mut missing) = (Vec::new(), Vec::new());
        // One that is wrong in itself says nothing about the others.
        let mut wrong = false;
        // An error where it is asked for, unless what is not there may be left out.
        let asks = optional && asks_for_arguments(&probe);
        for point in &probe.attach_points {
            let found = parameters(point, options).and_then(|t| probes::resolve(&t, point.span, options, kernel));
            match found {
                Ok(list) => {
                    options.warnings.extend(one_of_several(&list, point, kernel));
                    let kept = list
                        .into_iter()
                        .filter(|t| options.probe_filter.as_ref().is_none_or(|f| f.keeps(&t.target, &t.name)));
                    let (there, undescribed) = kept.partition::<Vec<_>, _>(|t| !asks || described(t, kernel));
                    targets.extend(there.into_iter().map(|t| (t, point.span)));
                    missing.extend(undescribed.iter().map(|t| (point, no_description(t, point.span, kernel))));
                }
                Err(e) if e.code == Code::NoSuchTarget => missing.push((point, e)),
                Err(e) => {
                    wrong = true;
                    errors.push(*e);
                }
            }
        }
        for (point, error) in missing {
            // A pattern may match nothing beside attach points that are there: scripts name what functions are
            // called on several kernels.
            if optional || (probes::is_glob(&point.text) && !targets.is_empty()) {
                if options.run.missing_probes != MissingProbes::Ignore {
                    options.warnings.push(Diagnostic { severity: Severity::Warning, ..*error });
                }
            } else {
                errors.push(*error);
            }
        }
        script.incomplete |= targets.is_empty() && !wrong;
        script.clauses.push(ResolvedClause { probe, targets });
    }
    errors.extend(tested_twice(&script.clauses));
    if errors.is_empty()
        && let Some(filter) = &options.probe_filter
        && script.clauses.iter().all(|c| c.targets.is_empty())
    {
        let message = format!("no probes to attach: none matches `--probe-filter '{}'`", filter.text());
        let error = Diagnostic::error(Code::NoSuchTarget, Span::default(), message);
        errors
            .push(*error.note("the expression is matched against full names, such as kprobe:vfs_read or interval:s:1"));
    }
    if errors.is_empty() && script.incomplete && script.clauses.iter().all(|c| c.targets.is_empty()) {
        let empty = script.clauses.iter().find(|c| c.targets.is_empty());
        let span = empty.map(|c| c.probe.span).unwrap_or_default();
        errors.push(
            *Diagnostic::error(Code::NoSuchTarget, span, "none of the script's probes is available on this kernel")
                .help("config = { missing_probes = error } reports which are missing"),
        );
    }
    if errors.is_empty() { Ok(script) } else { Err(errors) }
}

/// Whether a clause names `args`.
fn asks_for_arguments(probe: &ast::Probe) -> bool {
    let mut found = false;
    let mut look = |node: Node<'_>| {
        found |= matches!(node, Node::Expr(ast::Expr { kind: ast::ExprKind::Ident(name), .. }) if name == "args");
    };
    visit::probe(probe, &mut look);
    found
}

/// Whether the arguments of a target are known; those of a kernel function are looked up by its name.
fn described(target: &Resolved, kernel: Kernel<'_>) -> bool {
    match &target.context {
        Context::KernelEntry { function, module } => {
            !matches!(kernel.functions.function(function, module.as_deref()), Ok(None))
        }
        _ => true,
    }
}

fn no_description(target: &Resolved, span: Span, kernel: Kernel<'_>) -> Box<Diagnostic> {
    let module = match &target.context {
        Context::KernelEntry { module, .. } => module.as_deref(),
        _ => None,
    };
    let there = kernel.functions.traceable_functions(module, &target.function).is_ok_and(|found| !found.is_empty());
    let message = match there {
        true => probes::undescribed(kernel, &target.function, module),
        false => format!("the kernel has no function `{}`", target.function),
    };
    Diagnostic::error(Code::NoSuchTarget, span, message)
}

/// Says which functions are left out where several have the name that fentry or fexit finds one by.
fn one_of_several(targets: &[Resolved], point: &ast::AttachPoint, kernel: Kernel<'_>) -> Option<Diagnostic> {
    let function = |t: &Resolved| match &t.target {
        Target::Trampoline { function, module: None, .. } => Some(function.clone()),
        _ => None,
    };
    let kind = targets.first()?.name.split(':').next()?.to_owned();
    let all = if kind == "fexit" { "kretprobe" } else { "kprobe" };
    if let [target] = targets {
        let name = function(target)?;
        let places: Vec<String> = kernel.functions.namesakes(&name).iter().map(|p| format!("{p:#x}")).collect();
        let (first, others) = places.split_first()?;
        let message =
            format!("{} functions are named `{name}`, and {kind} attaches only to the one at {first}", places.len());
        let warning = Diagnostic::warning(Code::SharedName, point.span, message);
        let mut left_out = others.iter().take(4).cloned().collect::<Vec<_>>().join(", ");
        if others.len() > 4 {
            left_out.push_str(", …");
        }
        return Some(
            *warning.note(format!("not traced: {left_out}")).help(format!("use {all}:{name} to trace all of them")),
        );
    }
    // What matches a pattern comes from the list of functions, which has been read.
    let mut shared: Vec<String> =
        targets.iter().filter_map(function).filter(|f| kernel.functions.shares_name(f)).collect();
    shared.dedup();
    if shared.is_empty() {
        return None;
    }
    let mut names = shared.iter().take(4).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    if shared.len() > 4 {
        names.push_str(", …");
    }
    let message = format!("where functions share a name, {kind} attaches only to the first: {names}");
    let warning = Diagnostic::warning(Code::SharedName, point.span, message);
    Some(*warning.help(format!("use {all} to trace all of them")))
}

/// Tests, and benchmarks, of the same name.
fn tested_twice(clauses: &[ResolvedClause]) -> Vec<Diagnostic> {
    let mut known: HashMap<&str, Span> = HashMap::new();
    let mut errors = Vec::new();
    for (target, span) in clauses.iter().flat_map(|c| &c.targets) {
        if matches!(target.target, Target::Test { .. } | Target::Bench { .. })
            && let Some(first) = known.insert(&target.name, *span)
        {
            let message = format!("duplicate probe `{}`", target.name);
            errors.push(*Diagnostic::error(Code::NameTaken, *span, message).also(first, "first defined here"));
        }
    }
    errors
}

/// Functions whose name is taken.
fn named_twice(functions: &[ast::FnDef], macros: &[ast::MacroDef]) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for (i, f) in functions.iter().enumerate() {
        let name = &f.name;
        let error = |text: String| Diagnostic::error(Code::NameTaken, name.span, text);
        if builtins::find(&name.text).is_some() {
            errors.push(*error(format!("`{}` is the name of a builtin", name.text)).help("choose another name"));
        } else if let Some(other) = functions.iter().take(i).find(|o| o.name.text == name.text) {
            errors.push(
                *error(format!("duplicate function `{}`", name.text)).also(other.name.span, "first defined here"),
            );
        } else if let Some(other) = macros.iter().find(|m| m.name.text == name.text) {
            let text = format!("`{}` is also the name of a macro", name.text);
            errors.push(*error(text).also(other.name.span, "the macro is defined here"));
        }
    }
    errors
}

/// The attach point with `$1`, `$2`, … replaced, but not in quotes: `$` is a part of some names (`_ZN4_$LT$…`).
fn parameters(point: &ast::AttachPoint, options: &Options) -> Result<String> {
    let mut out = String::new();
    let mut rest = point.text.as_str();
    let mut quoted = false;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        quoted ^= before.replace("\\\"", "").matches('"').count() % 2 == 1;
        if quoted {
            out.push('$');
            rest = after.get(1..).unwrap_or_default();
            continue;
        }
        let digits = after.get(1..).unwrap_or_default();
        let len = digits.bytes().take_while(u8::is_ascii_digit).count();
        match digits.get(..len).and_then(|d| d.parse::<usize>().ok()) {
            Some(n) if n > 0 => match options.params.get(n - 1) {
                Some(value) => out.push_str(value),
                None => {
                    return Err(Diagnostic::error(
                        Code::MissingParameter,
                        point.span,
                        format!("missing parameter ${n}"),
                    )
                    .help("parameters follow the script: rtrace script.rt VALUE …"));
                }
            },
            _ => out.push_str(after.get(..=len).unwrap_or_default()),
        }
        rest = after.get(len + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}

/// Applies one entry of a `config` block.
fn set(options: &mut Options, entry: &ast::ConfigEntry) -> Result<()> {
    let value = match &entry.value.kind {
        ast::ExprKind::Int { value, .. } => Value::Int(*value as i64),
        ast::ExprKind::Bool(b) => Value::Bool(*b),
        ast::ExprKind::Ident(w) => Value::Word(w.clone()),
        ast::ExprKind::Str(s) => Value::Word(String::from_utf8_lossy(s).into_owned()),
        _ => {
            return Err(Diagnostic::error(
                Code::ConfigValue,
                entry.value.span,
                "expected a number, a word, `true` or `false`",
            ));
        }
    };
    config::set(options, &entry.key.text, &value).map_err(|takes| {
        if takes.is_empty() {
            let d =
                Diagnostic::error(Code::ConfigValue, entry.key.span, format!("unknown setting `{}`", entry.key.text));
            match config::nearest(&entry.key.text) {
                Some(near) => d.help(format!("did you mean `{near}`?")),
                None => d,
            }
        } else {
            Diagnostic::error(
                Code::ConfigValue,
                entry.value.span,
                format!("invalid value for `{}`: expected {takes}", entry.key.text),
            )
        }
    })
}
