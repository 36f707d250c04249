//! Functions of imported C: their bitcode, calls of them, and linking. They become part of the programs that call them,
//! so that the kernel sees one program, and old kernels need nothing new.

use crate::llvm::ir::{Arg, Func, Val};
use crate::llvm::link;
use crate::memory::Mem;
use crate::program::Lower;
use inkwell::context::Context;
use inkwell::module::Module;
use rtrace_lang::codes::Code;
use rtrace_lang::diag::{Diagnostic, Result};
use rtrace_lang::typed::Expr;
use rtrace_lang::types::Type;

/// Bitcode of a C file.
#[derive(Clone, Debug, PartialEq)]
pub struct Bitcode {
    /// The file's name, for messages.
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The modules of the C files, until they are linked.
pub struct Foreign<'c> {
    modules: Vec<(String, Module<'c>)>,
}

impl<'c> Foreign<'c> {
    pub fn parse(context: &'c Context, list: &[Bitcode]) -> Result<Foreign<'c>> {
        let mut modules = Vec::new();
        for file in list {
            let module = link::parse(context, &file.name, &file.bytes).map_err(|why| {
                Diagnostic::general(Code::BadImport, format!("cannot read the bitcode of {}", file.name))
                    .note(why)
                    .help("clang must not be newer than 22, the version of LLVM in rtrace; set RTRACE_CLANG to the clang to use")
            })?;
            link::prepare(context, &module);
            modules.push((file.name.clone(), module));
        }
        Ok(Foreign { modules })
    }

    pub fn is_empty(&self) -> bool {
        self.modules.is_empty()
    }

    pub fn function(&self, name: &str) -> Option<Func<'c>> {
        self.modules.iter().filter_map(|(_, m)| m.get_function(name)).find(|f| f.count_basic_blocks() > 0)
    }

    /// Links all of them.
    pub fn link(self, into: &Module<'c>) -> Result<()> {
        for (name, module) in self.modules {
            link::link(into, module)
                .map_err(|why| Diagnostic::general(Code::BadImport, format!("cannot link {name}: {why}")))?;
        }
        Ok(())
    }
}

/// Data that C keeps has no place in the bundle.
pub fn refuse_data(names: &[String]) -> Result<()> {
    let Some(name) = names.first() else { return Ok(()) };
    // What clang makes of `__attribute__((preserve_access_index))`.
    let (what, help) = if name.starts_with("llvm.") {
        ("needs CO-RE relocations, which are not supported", "read fields in the script and pass their values")
    } else {
        ("has static data, which cannot be linked", "use maps of the script and pass values")
    };
    Err(Diagnostic::general(Code::BadImport, format!("imported C {what}: `{name}`")).help(help))
}

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// A call of a C function. What is no scalar is passed by the address of a copy.
    pub fn foreign(&mut self, e: &Expr, name: &str, params: &[Type], args: &[Expr]) -> Result<Val<'c>> {
        let Some(function) = self.unit.foreign.function(name) else {
            return self.unexpected(&format!("a call of the C function `{name}`"));
        };
        let mark = self.mark();
        let mut values = Vec::new();
        for (arg, param) in args.iter().zip(params) {
            values.push(if !arg.ty.is_scalar() {
                let Mem { ptr, .. } = self.copied(arg)?;
                Arg::Ptr(ptr)
            } else if matches!(param, Type::Ptr { .. }) {
                Arg::Val(self.scalar(arg)?)
            } else {
                Arg::Val(self.number(arg)?)
            });
        }
        self.locate(e.span);
        let value = self.ir.call(function, &values, e.ty.is_signed());
        self.release(mark);
        Ok(if e.ty.is_scalar() { self.normal(value, &e.ty) } else { value })
    }

    fn copied(&mut self, e: &Expr) -> Result<Mem<'c>> {
        let mem = self.temp(e.ty.size())?;
        self.eval_into(e, mem)?;
        Ok(mem)
    }
}
