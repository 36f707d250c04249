//! Arguments of user functions by name, as the program's debug information has them.

use super::Checker;
use super::args::{in_context, narrow};
use super::usdt::{arithmetic, load};
use crate::arch::Arch;
use crate::bundle::Target;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::{Place, UserFunction, UserParameter};
use crate::probes::no_facts;
use crate::source::Span;
use crate::typed::{Expr, ExprKind};
use crate::types::Type;
use rtrace_grammar::ast::BinOp;

impl Checker<'_> {
    /// The function that the probe is in, or why it is not known.
    pub(super) fn user_function(&self, span: Span) -> Result<UserFunction> {
        let Target::Uprobe { path, symbol, offset, ret: false } = &self.probe.target else {
            return Err(Diagnostic::error(
                Code::UnknownField,
                span,
                "a uretprobe has no arguments: they are gone when the function returns",
            )
            .help("keep them in a map at entry: uprobe:… { @arg[tid] = args.NAME }"));
        };
        let found = self.kernel.user_function(path, *offset, symbol).map_err(|e| no_facts(e, span))?;
        found.ok_or_else(|| {
            Diagnostic::error(Code::UnknownField, span, format!("no debug information of {path} describes `{symbol}`"))
                .note("names and types of arguments are in DWARF: of the file (compiled with -g), or apart from it")
                .help("install it (a package of debug symbols), or use arg0, arg1, … and cast them")
        })
    }

    /// `args.NAME` of a user function.
    pub(super) fn user_argument(&mut self, name: &str, span: Span) -> Result<Expr> {
        let function = self.user_function(span)?;
        match function.params.iter().find(|p| p.name == name) {
            Some(parameter) => self.user_parameter(parameter, span),
            None => {
                let names: Vec<&str> = function.params.iter().map(|p| p.name.as_str()).collect();
                Err(self.no_argument(name, &names, span))
            }
        }
    }

    /// The registers that integer arguments may lie in, as a script writes them.
    fn argument_registers(&self) -> String {
        let names: &[&str] = match self.options.arch {
            Arch::X86_64 => &["di", "si", "dx", "cx", "r8", "r9"],
            Arch::Aarch64 => &["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"],
        };
        names.iter().map(|n| format!("reg(\"{n}\")")).collect::<Vec<_>>().join(", ")
    }

    fn user_parameter(&self, parameter: &UserParameter, span: Span) -> Result<Expr> {
        let ty = parameter.ty.clone();
        let word = |offset| Expr { kind: ExprKind::Ctx { offset }, ty: Type::U64, span };
        let sized = match &ty {
            Type::Record(r) => r.size,
            ty => ty.size(),
        };
        let unreadable = |why: &str| {
            Diagnostic::error(Code::UnknownField, span, format!("`args.{}` cannot be read here: {why}", parameter.name))
        };
        if ty == Type::Void {
            return Err(unreadable(&format!("its type, `{}`, is none of the language", parameter.declared)));
        }
        match &parameter.place {
            // What fits its register lies there as in memory.
            Place::Register(offset) if !ty.is_scalar() => {
                if sized > 8 {
                    return Err(unreadable("it lies in several registers"));
                }
                Ok(in_context(*offset, ty, span))
            }
            Place::Register(offset) => Ok(narrow(word(*offset), ty)),
            Place::Memory { base, displacement } => Ok(load(word(*base), *displacement, ty)),
            Place::Sum { register, plus } if ty.is_scalar() => {
                let sum = arithmetic(BinOp::Add, word(*register), Expr::int(*plus, Type::U64, span));
                Ok(narrow(sum, ty))
            }
            Place::Constant(value) if ty.is_scalar() => Ok(Expr::int(*value, ty, span)),
            Place::Sum { .. } | Place::Constant(_) => Err(unreadable("only a part of it is known")),
            Place::Unknown(why) => {
                Err(unreadable(why).help(format!("registers can be read as they are: {}", self.argument_registers())))
            }
        }
    }
}
