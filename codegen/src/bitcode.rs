//! The bitcode of imported C, and linking it. Its functions become part of the programs that call them, so that the kernel
//! sees one program, and old kernels need nothing new.

use crate::llvm::ir::Func;
use crate::llvm::link;
use inkwell::context::Context;
use inkwell::module::Module;
use rtrace_lang::codes::Code;
use rtrace_lang::diag::{Diagnostic, Result};

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
