//! The arguments of a probe: `args`, `argN`, `retval`, `reg`, by kind of context.

use super::Checker;
use super::access::whole_text;
use crate::arch::Arch;
use crate::bundle::ProgType;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::{BpfFunction, Function, network_size_of};
use crate::probes::{Context, a_probe, no_facts, undescribed};
use crate::source::Span;
use crate::typed::{Expr, ExprKind, Known};
use crate::types::{Space, Type};
use rtrace_core::nearest::nearest;

impl Context {
    /// Whether addresses in it are the traced program's.
    pub(crate) fn is_user(&self) -> bool {
        matches!(self, Context::UserEntry { .. } | Context::UserReturn | Context::Usdt(_))
    }

    /// Whether `arg0` lies in the same place in both.
    pub(super) fn takes_arguments_as(&self, other: &Context) -> bool {
        match (self, other) {
            (Context::UserEntry { go }, Context::UserEntry { go: other }) => go == other,
            _ => true,
        }
    }
}

impl Checker<'_> {
    /// `args.name`
    pub(crate) fn args_field(&mut self, name: &str, span: Span) -> Result<Expr> {
        self.probe.specific.set(true);
        match self.probe.context.clone() {
            Context::Tracepoint(tracepoint) => {
                let Some(field) = tracepoint.fields.iter().find(|f| f.name == name) else {
                    let names: Vec<&str> = tracepoint.fields.iter().map(|f| f.name.as_str()).collect();
                    return Err(self.no_argument(name, &names, span));
                };
                if let Some(size) = network_size_of(&field.declared) {
                    self.big_endian.insert(span, size);
                }
                let offset = field.offset;
                let kind = if field.data_loc {
                    ExprKind::CtxDataLoc { offset }
                } else if field.ty.is_scalar() {
                    ExprKind::Ctx { offset }
                } else {
                    return Ok(in_context(offset, field.ty.clone(), span));
                };
                Ok(Expr { kind, ty: field.ty.clone(), span })
            }
            Context::Trampoline { function, .. } => self.word_argument(&function, name, span),
            Context::BpfFunction { function, .. } => {
                let n = self.position_of(&function.function, name, span)?;
                Ok(bpf_argument(&function, n, span))
            }
            Context::Iter(_) => self.ctx_field(name, span),
            Context::RawTracepoint(Some(function)) => self.word_argument(&function, name, span),
            Context::KernelEntry { function, module } => {
                let found =
                    self.kernel.functions.function(&function, module.as_deref()).map_err(|e| no_facts(e, span))?;
                let Some(f) = found else {
                    let places =
                        self.kernel.functions.traceable_functions(module.as_deref(), &function).unwrap_or_default();
                    let module = places.first().and_then(|p| p.module.as_deref()).or(module.as_deref());
                    let message = undescribed(self.kernel, &function, module);
                    return Err(
                        Diagnostic::error(Code::UnknownField, span, message).help("use arg0, arg1, … and cast them")
                    );
                };
                let n = self.position_of(&f, name, span)?;
                Ok(self.passed_argument(&f, n, span))
            }
            Context::KernelReturn { function, .. } => Err(Diagnostic::error(
                Code::UnknownField,
                span,
                "a kretprobe has no arguments: they are not available when the function returns",
            )
            .help(format!("use fexit:{function}, which has both the arguments and the return value"))),
            Context::UserEntry { .. } | Context::UserReturn => self.user_argument(name, span),
            Context::Usdt(_) => Err(Diagnostic::error(Code::UnknownField, span, "USDT arguments have no names")
                .help(format!("use arg0, arg1, …; rtrace -lv '{}' lists them", self.probe.name))),
            Context::RawTracepoint(None) => Err(Diagnostic::error(
                Code::UnknownField,
                span,
                "the kernel's type information does not describe this raw tracepoint",
            )
            .help("use arg0, arg1, … and cast them")),
            Context::Nothing => Err(Diagnostic::error(
                Code::NotAllowedHere,
                span,
                format!("{} has no arguments", a_probe(self.probe.kind)),
            )),
        }
    }

    /// `args` itself: all arguments with their names.
    pub(crate) fn args_value(&mut self, span: Span) -> Result<Expr> {
        self.probe.specific.set(true);
        let parameters = |f: &Function| f.params.iter().map(|p| p.0.clone()).collect::<Vec<_>>();
        let names: Option<Vec<String>> = match self.probe.context.clone() {
            // What every tracepoint has is not an argument of this one.
            Context::Tracepoint(t) => {
                Some(t.fields.iter().filter(|f| !f.name.starts_with("common_")).map(|f| f.name.clone()).collect())
            }
            Context::Trampoline { function, .. } | Context::RawTracepoint(Some(function)) => {
                Some(parameters(&function))
            }
            Context::BpfFunction { function, .. } => Some(parameters(&function.function)),
            Context::Iter(_) => return self.ctx_value(span),
            Context::KernelEntry { function, module } => self
                .kernel
                .functions
                .function(&function, module.as_deref())
                .map_err(|e| no_facts(e, span))?
                .map(|f| parameters(&f)),
            Context::UserEntry { .. } => Some(self.user_function(span)?.params.into_iter().map(|p| p.name).collect()),
            _ => None,
        };
        let Some(names) = names else {
            // Says why there are none.
            return self.args_field("", span);
        };
        let mut values = Vec::new();
        let mut types = Vec::new();
        for name in names {
            let value = self.args_field(&name, span)?;
            types.push((name, value.ty.clone()));
            values.push(value);
        }
        super::expr::sized(Expr { kind: ExprKind::Tuple(values), ty: Type::NamedTuple(types), span })
    }

    /// `ctx.name`
    pub(crate) fn ctx_field(&mut self, name: &str, span: Span) -> Result<Expr> {
        self.probe.specific.set(true);
        match self.probe.context.clone() {
            Context::Iter(function) => self.word_argument(&function, name, span),
            _ => {
                Err(Diagnostic::error(Code::NotAllowedHere, span, format!("{} has no `ctx`", a_probe(self.probe.kind)))
                    .note("`ctx` is available in iterators: iter:task { print(ctx.task.pid) }"))
            }
        }
    }

    /// `ctx` itself: the object, and what else the iterator is given.
    pub(crate) fn ctx_value(&mut self, span: Span) -> Result<Expr> {
        let Context::Iter(function) = self.probe.context.clone() else { return self.ctx_field("", span) };
        let mut values = Vec::new();
        let mut types = Vec::new();
        for (name, _) in function.params.iter().skip(1) {
            let value = self.ctx_field(name, span)?;
            types.push((name.clone(), value.ty.clone()));
            values.push(value);
        }
        super::expr::sized(Expr { kind: ExprKind::Tuple(values), ty: Type::NamedTuple(types), span })
    }

    /// The parameter of a context of `u64` words.
    fn word_argument(&mut self, function: &Function, name: &str, span: Span) -> Result<Expr> {
        let n = self.position_of(function, name, span)?;
        let ty = function.params.get(n).map_or(Type::U64, |p| p.1.clone());
        Ok(function_word(function, n, ty, span))
    }

    /// The index of the parameter with this name.
    fn position_of(&self, function: &Function, name: &str, span: Span) -> Result<usize> {
        function.params.iter().position(|p| p.0 == name).ok_or_else(|| {
            let names: Vec<&str> = function.params.iter().map(|p| p.0.as_str()).collect();
            self.no_argument(name, &names, span)
        })
    }

    pub(super) fn no_argument(&self, name: &str, names: &[&str], span: Span) -> Box<Diagnostic> {
        let error =
            Diagnostic::error(Code::UnknownField, span, format!("`{}` has no argument `{name}`", self.probe.name))
                .note(if names.is_empty() {
                    "it has no arguments".to_owned()
                } else {
                    format!("arguments: {}", names.join(", "))
                });
        match nearest(name, names.iter().copied()) {
            Some(n) => {
                let word = if matches!(self.probe.context, Context::Iter(_)) { "ctx" } else { "args" };
                error.help(format!("did you mean `{word}.{n}`?"))
            }
            None => error,
        }
    }

    /// `argN`
    pub(crate) fn numbered_argument(&mut self, n: u32, span: Span) -> Result<Expr> {
        match self.probe.context.clone() {
            Context::UserEntry { go: Some(abi) } => self.go_argument(abi, n, span),
            Context::KernelEntry { .. } | Context::UserEntry { go: None } => Ok(self.register_argument(n, span)),
            Context::Usdt(probe) => self.usdt_argument(&probe, n, span),
            Context::RawTracepoint(function) => match function.is_some_and(|f| is_refused(&f, n as usize)) {
                true => Ok(in_context(n * 8, Type::U64, span)),
                false => Ok(context_word(n * 8, Type::U64, span)),
            },
            Context::Trampoline { function, .. } => {
                self.probe.specific.set(true);
                match function.params.get(n as usize) {
                    Some((_, ty)) => Ok(function_word(&function, n as usize, ty.clone(), span)),
                    None => Err(too_few_arguments(&function, n, span)),
                }
            }
            Context::BpfFunction { function, .. } => {
                self.probe.specific.set(true);
                match function.function.params.len() > n as usize {
                    true => Ok(bpf_argument(&function, n as usize, span)),
                    false => Err(too_few_arguments(&function.function, n, span)),
                }
            }
            Context::KernelReturn { .. } | Context::UserReturn => Err(Diagnostic::error(
                Code::NotAllowedHere,
                span,
                format!(
                    "{} has no arguments: they are not available when the function returns",
                    a_probe(self.probe.kind)
                ),
            )
            .help("save them in a map at entry: kprobe:f { @arg[tid] = arg0 } kretprobe:f { … @arg[tid] … }")),
            Context::Tracepoint(_) => {
                Err(Diagnostic::error(Code::NotAllowedHere, span, "a tracepoint has no positional arguments")
                    .help(format!("use args.NAME; rtrace -lv '{}' lists them", self.probe.name)))
            }
            Context::Iter(_) => {
                Err(Diagnostic::error(Code::NotAllowedHere, span, "an iterator has no positional arguments")
                    .help(format!("use ctx.NAME; rtrace -lv '{}' lists them", self.probe.name)))
            }
            Context::Nothing => Err(Diagnostic::error(
                Code::NotAllowedHere,
                span,
                format!("{} has no arguments", a_probe(self.probe.kind)),
            )),
        }
    }

    /// Parameter `n` of a kernel function, from where the calling convention puts it.
    fn passed_argument(&mut self, function: &Function, n: usize, span: Span) -> Expr {
        let ty = function.params.get(n).map_or(Type::U64, |p| p.1.clone());
        let place = Passed::of(self.options.arch, function, n);
        let register = |n: u32| self.options.arch.argument(n).unwrap_or_default();
        match (place, &ty) {
            // A record that fits a register lies there as in memory.
            (Passed::Registers { first, words: 1 }, Type::Record(_)) => in_context(register(first), ty, span),
            // In two registers, whose order in the context is not that of memory.
            (Passed::Registers { first, words }, Type::Record(_)) => {
                let list = (first..first + words).map(|n| self.register_argument(n, span)).collect();
                let base = super::expr::tuple(list, span);
                Expr { kind: ExprKind::Part { base: Box::new(base), offset: 0, bits: None }, ty, span }
            }
            (Passed::Registers { first, .. }, _) => narrow(self.register_argument(first, span), ty),
            (Passed::Stack { word }, _) => self.on_stack(self.options.arch.argument_registers() + word, ty, span),
            (Passed::Reference { register: n }, _) => {
                let ptr = Expr { kind: ExprKind::Ctx { offset: register(n) }, ty: Type::kptr(ty.clone()), span };
                loaded(ptr, 0, ty, Space::Kernel, span)
            }
        }
    }

    /// Argument `n`, which the caller put on the stack.
    fn on_stack(&self, n: u32, ty: Type, span: Span) -> Expr {
        let space = self.default_space();
        let ptr = Type::Ptr { to: Box::new(ty.clone()), space };
        let sp = Expr { kind: ExprKind::Ctx { offset: self.options.arch.stack_pointer() }, ty: ptr, span };
        loaded(sp, i64::from(self.options.arch.stack_argument(n)), ty, space, span)
    }

    /// Argument `n` by the calling convention.
    fn register_argument(&self, n: u32, span: Span) -> Expr {
        match self.options.arch.argument(n) {
            Some(offset) => Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span },
            None => self.on_stack(n, Type::U64, span),
        }
    }

    /// `retval`
    pub(crate) fn return_value(&mut self, span: Span) -> Result<Expr> {
        match self.probe.context.clone() {
            Context::KernelReturn { function, module } => Ok(self.returned(&function, module.as_deref(), span)),
            Context::UserReturn => Ok(self.return_register(span)),
            Context::Trampoline { function, ret: true } => {
                self.result(&function, words_before(&function, function.params.len()), span)
            }
            Context::BpfFunction { function, ret: true } => self.result(&function.function, function.words, span),
            Context::Trampoline { function, .. } => Err(known_at_return(&function.name, span)),
            Context::BpfFunction { function, .. } => {
                let of = format!("bpf:{}:{}", function.program, function.function.name);
                Err(known_at_return(&of, span))
            }
            Context::KernelEntry { function, .. } => {
                Err(Diagnostic::error(Code::NotAllowedHere, span, "`retval` is available only when a function returns")
                    .help(format!("attach to the return: kretprobe:{function}")))
            }
            _ => Err(Diagnostic::error(
                Code::NotAllowedHere,
                span,
                format!("{} has no return value", a_probe(self.probe.kind)),
            )
            .note("kretprobe, uretprobe and fexit have a return value")),
        }
    }

    fn return_register(&self, span: Span) -> Expr {
        Expr { kind: ExprKind::Ctx { offset: self.options.arch.return_value() }, ty: Type::I64, span }
    }

    /// The return value of a kernel function, in the registers. An integer has the type given by BTF: the register's
    /// upper bits mean nothing behind an `int`. All else, and what BTF does not describe, is the register. Of many
    /// functions the width and the sign count, so that they need few programs: enums are numbers there.
    fn returned(&mut self, function: &str, module: Option<&str>, span: Span) -> Expr {
        self.probe.specific.set(true);
        let register = self.return_register(span);
        match self.kernel.functions.function(function, module) {
            Ok(Some(Function { ret: Type::Enum { bits, signed, .. }, .. })) if self.probe.many => {
                narrow(register, Type::Int { bits, signed })
            }
            Ok(Some(f)) if f.ret.is_integer() => narrow(register, f.ret),
            _ => register,
        }
    }

    /// Whether the function whose return is probed is known to have no result.
    pub(crate) fn returns_nothing(&mut self) -> bool {
        self.probe.specific.set(true);
        match &self.probe.context {
            Context::Trampoline { function, ret: true } => function.ret == Type::Void,
            Context::BpfFunction { function, ret: true } => function.function.ret == Type::Void,
            Context::KernelReturn { function, module } => {
                matches!(self.kernel.functions.function(function, module.as_deref()), Ok(Some(f)) if f.ret == Type::Void)
            }
            _ => false,
        }
    }

    /// The return value of a function, in a context of `u64` words.
    fn result(&mut self, function: &Function, word: u32, span: Span) -> Result<Expr> {
        self.probe.specific.set(true);
        if function.ret == Type::Void {
            return Err(Diagnostic::error(Code::WrongType, span, format!("`{}` returns void", function.name)));
        }
        match is_refused(function, function.params.len()) {
            true => Ok(in_context(word * 8, function.ret.clone(), span)),
            false => Ok(context_word(word * 8, function.ret.clone(), span)),
        }
    }

    /// `reg("name")`
    pub(crate) fn register(&mut self, name: &str, span: Span) -> Result<Expr> {
        // `struct bpf_perf_event_data` begins with the registers of what the event interrupted.
        let sampled = self.probe.prog_type == ProgType::PerfEvent;
        let called = matches!(
            self.probe.context,
            Context::KernelEntry { .. }
                | Context::KernelReturn { .. }
                | Context::UserEntry { .. }
                | Context::UserReturn
                | Context::Usdt(_)
        );
        if !sampled && !called {
            return Err(Diagnostic::error(
                Code::NotAllowedHere,
                span,
                format!("registers are not available in {}", a_probe(self.probe.kind)),
            )
            .note(
                "they are available in kprobe, kretprobe, uprobe, uretprobe, usdt, profile, interval, \
                software, hardware and watchpoint",
            ));
        }
        match self.options.arch.register(name) {
            Some(offset) => Ok(Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span }),
            None => Err(Diagnostic::error(Code::BadValue, span, format!("this architecture has no register `{name}`"))),
        }
    }
}

/// The location of a parameter of a kernel function by the calling convention.
enum Passed {
    Registers {
        first: u32,
        words: u32,
    },
    Stack {
        word: u32,
    },
    /// The address of a copy of it is in a register.
    Reference {
        register: u32,
    },
}

impl Passed {
    fn of(arch: Arch, function: &Function, n: usize) -> Passed {
        let registers = arch.argument_registers();
        let (mut next, mut on_stack) = (0, 0);
        let mut place = Passed::Stack { word: 0 };
        for (_, ty) in function.params.iter().take(n + 1) {
            let large = matches!(ty, Type::Record(r) if r.size > 16);
            let reference = large && arch == Arch::Aarch64;
            let words = if reference { 1 } else { words(ty) };
            place = if next + words <= registers && (!large || reference) {
                next += words;
                let first = next - words;
                if reference { Passed::Reference { register: first } } else { Passed::Registers { first, words } }
            } else {
                if arch == Arch::Aarch64 {
                    // Nothing goes into a register after what did not fit.
                    next = registers;
                }
                on_stack += words;
                Passed::Stack { word: on_stack - words }
            };
        }
        place
    }
}

/// Words of the context that the parameters before the one at `index` take: a record passed by value
/// takes as many as it fills.
fn words_before(function: &Function, index: usize) -> u32 {
    function.params.iter().take(index).map(|(_, ty)| words(ty)).sum()
}

fn words(ty: &Type) -> u32 {
    match ty {
        Type::Record(r) => r.size.div_ceil(8).max(1),
        _ => 1,
    }
}

/// The `u64` word of the context at `offset` as a value of its type.
fn context_word(offset: u32, ty: Type, span: Span) -> Expr {
    if matches!(ty, Type::Record(_)) {
        return in_context(offset, ty, span);
    }
    if matches!(ty, Type::Ptr { .. }) {
        return Expr { kind: ExprKind::Ctx { offset }, ty, span };
    }
    narrow(Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span }, ty)
}

/// Parameter `n` of a function, or after the last one its result, as its type.
fn function_word(function: &Function, n: usize, ty: Type, span: Span) -> Expr {
    let offset = words_before(function, n) * 8;
    match is_refused(function, n) {
        true => in_context(offset, ty, span),
        false => context_word(offset, ty, span),
    }
}

fn is_refused(function: &Function, n: usize) -> bool {
    function.refused.get(n).copied().unwrap_or(false)
}

/// An argument of a BPF program's function. The verifier lets no pointers through but the one that it follows: the
/// others are read from the context's memory.
fn bpf_argument(of: &BpfFunction, n: usize, span: Span) -> Expr {
    let ty = of.function.params.get(n).map_or(Type::U64, |p| p.1.clone());
    let offset = words_before(&of.function, n) * 8;
    match ty {
        Type::Ptr { .. } if !(n == 0 && of.tracked) => in_context(offset, ty, span),
        ty => context_word(offset, ty, span),
    }
}

fn known_at_return(function: &str, span: Span) -> Box<Diagnostic> {
    let message = "`retval` is available only when a function returns";
    Diagnostic::error(Code::NotAllowedHere, span, message).help(format!("attach to the return: fexit:{function}"))
}

fn too_few_arguments(function: &Function, n: u32, span: Span) -> Box<Diagnostic> {
    let message = format!("arg{n} is out of range: `{}` has {} arguments", function.name, function.params.len());
    Diagnostic::error(Code::UnknownField, span, message)
}

/// A value in the context itself.
pub(super) fn in_context(offset: u32, ty: Type, span: Span) -> Expr {
    let ptr = Expr { kind: ExprKind::CtxAddr { offset }, ty: Type::kptr(ty.clone()), span };
    loaded(ptr, 0, ty, Space::Kernel, span)
}

fn loaded(ptr: Expr, offset: i64, ty: Type, space: Space, span: Span) -> Expr {
    let kind = ExprKind::Load { ptr: Box::new(ptr), offset, space, bits: None, known: Known::Nothing };
    whole_text(Expr { kind, ty, span })
}

/// A register's value as the narrower type it was passed as.
pub(super) fn narrow(word: Expr, ty: Type) -> Expr {
    // Structures passed by value in registers keep their words.
    if word.ty == ty || !ty.is_scalar() {
        return word;
    }
    let span = word.span;
    // Of a `bool` only the low byte means anything.
    let word = match ty {
        Type::Bool => Expr { kind: ExprKind::Convert(Box::new(word)), ty: Type::U8, span },
        _ => word,
    };
    Expr { kind: ExprKind::Convert(Box::new(word)), ty, span }
}
