//! The names that a script needs from the headers it includes, and their definitions.
//!
//! Types come from the kernel and constants from a table, so that most `#include` lines have nothing to add. Only
//! what a script uses and nothing else knows is [`Wanted`] (`wanted.rs` finds it); the caller looks it up (nothing here does I/O) and puts
//! the [`Headers`] into the options. The passes see them as more definitions of the script.

use crate::kernel::{Member, TypeKind};
use crate::source::{SourceMap, Span};
use crate::types::{Record, Type};
use rtrace_grammar::ast::{self, Expr, ExprKind, UnOp};
use std::collections::HashMap;

/// The definitions of headers that a script uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headers {
    /// Structs and unions; the handle of the one at `i` is `TypeId::SCRIPT + i`.
    pub records: Vec<(Record, Vec<Member>)>,
    pub types: HashMap<(TypeKind, String), Type>,
    /// Enumerators by the name of their enum.
    pub enums: HashMap<String, Vec<(String, i64)>>,
    pub enumerators: HashMap<String, (i64, Type)>,
    /// Object-like macros.
    pub constants: HashMap<String, Constant>,
    /// Functions of imported C.
    pub functions: HashMap<String, Function>,
}

/// A function of imported C.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub params: Vec<(String, Type)>,
    pub ret: Type,
}

/// The C files that a script imports, by their full names: the import pass has left them in the tree, and their texts
/// in the source map.
pub fn c_files(program: &ast::Program, sources: &SourceMap) -> Vec<(String, Span)> {
    let mut files: Vec<(String, Span)> = Vec::new();
    for item in &program.items {
        if let ast::Item::Import { path, span } = item
            && path.ends_with(".c")
            && sources.files().iter().any(|f| f.name == *path)
            && !files.iter().any(|f| f.0 == *path)
        {
            files.push((path.clone(), *span));
        }
    }
    files
}

/// The value of a macro.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    Signed(i64),
    Unsigned(u64),
    Text(Vec<u8>),
}

/// The names that headers have to be read for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The `#include`, `#define` and `#undef` lines of the script, in order.
    pub lines: Vec<(String, Span)>,
    /// Constants, enumerators or typedefs, with their first use.
    pub names: Vec<Name>,
    /// Structs, unions, enums and typedefs.
    pub types: Vec<(TypeKind, Name)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
    /// The kernel or the table of constants has it too: only the script's own headers, not the system's, go before.
    pub known: bool,
}

/// Whether a line includes a file of the script's own: `#include "file.h"`.
pub fn is_local_include(line: &str) -> bool {
    include(line).is_some_and(|rest| rest.starts_with('"'))
}

/// The operand of an `#include` line, with its quotes or angle brackets.
pub fn include(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include").map(str::trim)
}

impl Constant {
    /// As the script's `#define` would have it.
    pub(crate) fn expr(&self, span: Span) -> Expr {
        let int = |value, unsigned| Expr { kind: ExprKind::Int { value, unsigned }, span };
        match self {
            Constant::Signed(n) if *n < 0 => {
                let kind = ExprKind::Unary { op: UnOp::Neg, expr: Box::new(int(n.unsigned_abs(), false)) };
                Expr { kind, span }
            }
            Constant::Signed(n) => int(n.unsigned_abs(), false),
            Constant::Unsigned(n) => int(*n, true),
            Constant::Text(text) => Expr { kind: ExprKind::Str(text.clone()), span },
        }
    }
}
