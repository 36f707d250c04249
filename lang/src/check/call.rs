//! Calls: finding the row, checking what holds for every row (arity, where it is allowed, `--unsafe`,
//! kernel version), and the methods that rows share.

use super::Checker;
use super::suggest;
use crate::arity::wrong_count;
use crate::builtins::{self, Allowed, Builtin, Check};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::expand::{Known, expand_call};
use crate::headers;
use crate::intrinsic::Intrinsic;
use crate::prelude;
use crate::probes;
use crate::source::Span;
use crate::typed::{Expr, ExprKind, MapId};
use crate::types::{Agg, Type};
use crate::uapi;
use rtrace_core::nearest::nearest;
use rtrace_grammar::ast;

/// A call being checked: the row, the arguments as written.
pub(crate) struct Call<'c> {
    pub builtin: &'static Builtin,
    /// The name as written: `arg3` has the row `argN`.
    pub name: String,
    pub args: &'c [ast::Expr],
    pub span: Span,
    /// The value is not used.
    pub statement: bool,
}

/// Gives the typed expression of a call.
pub(crate) type CallCheck = fn(&mut Checker<'_>, &Call<'_>) -> Result<Expr>;
/// The same, for a row that has an operation of its own.
pub(crate) type LoweredCheck = fn(&mut Checker<'_>, &Call<'_>, Intrinsic) -> Result<Expr>;
/// Gives the aggregation that a call makes and the value it takes.
pub(crate) type AggregateCheck = fn(&mut Checker<'_>, &Call<'_>) -> Result<(Agg, Option<Expr>)>;

impl<'c> Call<'c> {
    /// The arguments that the row's arity says are there, the first of them.
    pub(crate) fn args<const N: usize>(&self) -> Result<&'c [ast::Expr; N]> {
        self.args.first_chunk().ok_or_else(|| {
            Diagnostic::internal(self.span, format!("`{}` takes {N} arguments, its row says otherwise", self.name))
        })
    }

    /// An argument that may be left out.
    pub(crate) fn arg(&self, index: usize) -> Option<&'c ast::Expr> {
        self.args.get(index)
    }

    /// The operation in the place of the call.
    pub(crate) fn lowered(&self, intrinsic: Intrinsic, args: Vec<Expr>, ty: Type) -> Expr {
        Expr::intrinsic(intrinsic, args, ty, self.span)
    }
}

/// `a, b and c`
fn listed(names: &[&str]) -> String {
    match names {
        [init @ .., last] if !init.is_empty() => format!("{} and {last}", init.join(", ")),
        _ => names.concat(),
    }
}

impl Checker<'_> {
    /// A call of a function of the script, of imported C, or of a row; `statement`: its value is not used.
    pub(crate) fn call_by_name(
        &mut self,
        name: &ast::Name,
        args: &[ast::Expr],
        span: Span,
        statement: bool,
    ) -> Result<Expr> {
        if let Some(index) = self.script_function(&name.text) {
            return self.invoke(index, args, span);
        }
        if let Some(function) = self.foreign_function(&name.text) {
            return self.foreign_call(name, &function, args, span);
        }
        let call = self.find_call(name, args, span, statement)?;
        self.call(&call)
    }

    /// The function of imported C of that name; builtins go before.
    fn foreign_function(&self, name: &str) -> Option<headers::Function> {
        let function = self.options.headers.functions.get(name)?;
        builtins::find(name).is_none().then(|| function.clone())
    }

    fn foreign_call(
        &mut self,
        name: &ast::Name,
        function: &headers::Function,
        args: &[ast::Expr],
        span: Span,
    ) -> Result<Expr> {
        let params = &function.params;
        let form =
            || params.iter().map(|(n, ty)| format!("{ty} {n}").trim_end().to_owned()).collect::<Vec<_>>().join(", ");
        if args.len() != params.len() {
            let message = wrong_count(&format!("`{}`", name.text), (params.len(), params.len()), args.len());
            return Err(Diagnostic::error(Code::WrongArgumentCount, span, message).note(format!(
                "it is declared as: {} {}({})",
                function.ret,
                name.text,
                form()
            )));
        }
        let mut values = Vec::new();
        for (arg, (_, wanted)) in args.iter().zip(params) {
            let e = self.expr(arg)?;
            values.push(match (wanted, &e.ty) {
                (Type::Ptr { .. }, Type::Ptr { .. }) => e,
                (Type::Ptr { .. }, Type::Int { .. }) => self.coerce(e, wanted)?,
                // In memory: by the address of a copy.
                (Type::Ptr { .. }, ty) if !ty.is_scalar() && !matches!(ty, Type::Void | Type::Agg(_)) => e,
                (wanted, ty) if wanted.is_integer() && ty.is_scalar() && !matches!(ty, Type::Ptr { .. }) => {
                    self.coerce(e, wanted)?
                }
                (wanted, ty) => {
                    let message =
                        format!("wrong type for an argument of `{}`: expected `{wanted}`, found `{ty}`", name.text);
                    return Err(Diagnostic::error(Code::WrongType, arg.span, message).note(format!(
                        "it is declared as: {} {}({})",
                        function.ret,
                        name.text,
                        form()
                    )));
                }
            });
        }
        let params = params.iter().map(|p| p.1.clone()).collect();
        let kind = ExprKind::Foreign { name: name.text.clone(), params, args: values };
        Ok(Expr { kind, ty: function.ret.clone(), span })
    }

    fn find_call<'c>(
        &mut self,
        name: &ast::Name,
        args: &'c [ast::Expr],
        span: Span,
        statement: bool,
    ) -> Result<Call<'c>> {
        let Some(builtin) = builtins::find(&name.text) else {
            let error = Diagnostic::error(Code::UnknownName, name.span, format!("unknown function `{}`", name.text));
            let mut known: Vec<&str> = builtins::names().collect();
            known.extend(self.options.headers.functions.keys().map(String::as_str));
            known.extend(self.functions.iter().map(|f| f.name.text.as_str()));
            return Err(match nearest(&name.text, known) {
                Some(n) => error.help(format!("did you mean `{n}`?")),
                None => error,
            });
        };
        Ok(Call { builtin, name: builtins::plain(&name.text).to_owned(), args, span, statement })
    }

    pub(crate) fn call(&mut self, call: &Call<'_>) -> Result<Expr> {
        self.allow(call)?;
        match call.builtin.check {
            Check::Value(check) => check(self, call),
            Check::Prelude => self.prelude(call.builtin.name, call.args, call.span),
            Check::Lowered(intrinsic, check) => check(self, call, intrinsic),
            Check::Simple(intrinsic, ty) => Ok(call.lowered(intrinsic, Vec::new(), ty.clone())),
            Check::Aggregate(_) => Err(Diagnostic::error(
                Code::WrongType,
                call.span,
                format!("the result of `{}` must be assigned to a map", call.builtin.name),
            )
            .help(format!("for example: @ = {}", self.text_of(call.span)))),
        }
    }

    /// What a macro of the prelude makes of these arguments.
    pub(crate) fn prelude(&mut self, name: &str, args: &[ast::Expr], span: Span) -> Result<Expr> {
        let known = Known { macros: prelude::macros()?, builtin: |name| builtins::find(name).is_some() };
        match expand_call(name, args, span, known)? {
            Some(body) => self.expr(&ast::Expr { kind: ast::ExprKind::Block(Box::new(body)), span }),
            None => Err(Diagnostic::internal(span, format!("the prelude has no `{name}` of {} arguments", args.len()))),
        }
    }

    /// The aggregation that an assigned call makes; `None` for other expressions.
    pub(crate) fn aggregate(&mut self, value: &ast::Expr) -> Result<Option<(Agg, Option<Expr>)>> {
        let ast::ExprKind::Call { name, args } = &value.kind else { return Ok(None) };
        match builtins::find(&name.text).map(|b| (b, &b.check)) {
            Some((_, Check::Aggregate(check))) => {
                let call = self.find_call(name, args, value.span, false)?;
                self.allow(&call)?;
                check(self, &call).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The checks that apply to every row.
    fn allow(&mut self, call: &Call<'_>) -> Result<()> {
        let b = call.builtin;
        let (least, most) = b.arity;
        if !(least..=most).contains(&call.args.len()) {
            let message = wrong_count(&format!("`{}`", b.name), b.arity, call.args.len());
            return Err(Diagnostic::error(Code::WrongArgumentCount, call.span, message)
                .note(format!("usage: {}", b.signatures.join(" or "))));
        }
        if b.unsafe_ && !self.options.unsafe_ {
            return Err(Diagnostic::error(
                Code::NeedsUnsafe,
                call.span,
                format!("`{}` requires --unsafe because it changes the system", b.name),
            )
            .help("run rtrace with --unsafe to allow it"));
        }
        if let Allowed::In(types) = b.allowed
            && !types.contains(&self.probe.prog_type)
        {
            return Err(self.not_allowed(call, types));
        }
        b.helper.map_or(Ok(()), |h| self.needs(call, h))
    }

    /// An error where the kernel lacks the helper.
    pub(crate) fn needs(&self, call: &Call<'_>, h: uapi::Entry) -> Result<()> {
        if self.kernel.machine.version() < h.since {
            let message = format!(
                "`{0}` is not supported on Linux {2} (needs {1})",
                call.builtin.name,
                h.since,
                self.kernel.machine.version()
            );
            return Err(Diagnostic::error(Code::KernelLacks, call.span, message)
                .note(format!("it uses the BPF helper bpf_{}", h.name)));
        }
        Ok(())
    }

    fn not_allowed(&mut self, call: &Call<'_>, types: &[crate::bundle::ProgType]) -> Box<Diagnostic> {
        let b = call.builtin;
        let places = probes::names_with(types);
        let message = format!("`{}` is not allowed in {}", b.name, probes::a_probe(self.probe.kind));
        let mut error = Diagnostic::error(Code::NotAllowedHere, call.span, message)
            .label(format!("allowed in {}", places.join(", ")));
        if let Some(h) = b.helper {
            error = error.note(format!(
                "the BPF helper bpf_{} is available only to {} programs, whose argument types the kernel knows",
                h.name,
                listed(&places)
            ));
        }
        match self.mended(call, &places) {
            Some(line) => error.help(format!("try: {line}")),
            None => error.help(format!("use one of these probe types: {}", places.join(", "))),
        }
    }

    /// The same call in an fentry probe of the same function, arguments by name.
    fn mended(&mut self, call: &Call<'_>, places: &[&str]) -> Option<String> {
        if !places.contains(&"fentry") || *self.probe.kind != probes::KPROBE {
            return None;
        }
        let function = self.kernel.functions.function(&self.probe.function, None).ok().flatten()?;
        let clause = self.probe.clause.clone()?;
        suggest::as_fentry(&function, &clause, &call.name, call.args)
    }

    /// The text of a span of the script.
    pub(crate) fn text_of(&self, span: Span) -> String {
        self.sources.text(span).to_owned()
    }

    /// A string constant: a literal or `str($1)`.
    pub(crate) fn literal(&mut self, e: &ast::Expr, what: &str) -> Result<Vec<u8>> {
        match self.expr(e)?.kind {
            ExprKind::Bytes(text) => Ok(text),
            _ => Err(Diagnostic::error(Code::WrongType, e.span, format!("{what} must be a string literal"))),
        }
    }

    /// A string constant as UTF-8.
    pub(crate) fn literal_text(&mut self, e: &ast::Expr, what: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.literal(e, what)?).into_owned())
    }

    /// An argument that names a whole map.
    pub(crate) fn whole_map(&mut self, e: &ast::Expr, what: &str) -> Result<MapId> {
        match &e.kind {
            ast::ExprKind::Map { name, key: None } => Ok(self.map_id(name, e.span)),
            _ => Err(Diagnostic::error(Code::WrongType, e.span, format!("{what} takes a map, such as `@x`"))),
        }
    }

    /// A map and a key given either as `f(@m, key)` or as `f(@m[key])`.
    pub(crate) fn map_and_key(&mut self, call: &Call<'_>) -> Result<(MapId, Option<Expr>)> {
        let Some(ast::Expr { kind: ast::ExprKind::Map { name, key }, span }) = call.arg(0) else {
            let span = call.arg(0).map_or(call.span, |a| a.span);
            return Err(Diagnostic::error(
                Code::WrongType,
                span,
                format!("`{}` takes a map, such as `@x`", call.builtin.name),
            ));
        };
        match (key, call.arg(1)) {
            (Some(_), Some(extra)) => {
                Err(Diagnostic::error(Code::WrongArgumentCount, extra.span, "the key is specified twice"))
            }
            (Some(key), None) => self.map_place(name, Some(key), *span),
            (None, key) => self.map_place(name, key, *span),
        }
    }
}
