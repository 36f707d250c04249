//! The names that a script needs from the headers it includes, and their definitions.
//!
//! Types come from the kernel and constants from a table, so that most `#include` lines have nothing to add. Only
//! what a script uses and nothing else knows is [`Wanted`]; the caller looks it up (nothing here does I/O) and puts
//! the [`Headers`] into the options. The passes see them as more definitions of the script.

use crate::builtins;
use crate::check::primitive;
use crate::config::Options;
use crate::constants;
use crate::kernel::{Kernel, Member, TypeKind};
use crate::resolve::{self, Sorted};
use crate::source::{SourceMap, Span};
use crate::types::{Record, Type};
use rtrace_grammar::ast::{self, CBase, CDef, CDefKind, Expr, ExprKind, TypeBase, UnOp};
use rtrace_grammar::visit::{self, Node};
use std::collections::{HashMap, HashSet};

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

/// The names that a script uses and only its headers can define; `None` if there are none.
pub fn wanted(program: &ast::Program, options: &Options, kernel: Kernel<'_>) -> Option<Wanted> {
    let has_include = |i: &ast::Item| matches!(i, ast::Item::Preprocessor { text, .. } if include(text).is_some());
    if !program.items.iter().any(has_include) {
        return None;
    }
    let Sorted { script, probes, .. } = resolve::sort(program.clone(), &mut options.clone());
    let local = script.lines.iter().any(|(text, _)| is_local_include(text));
    let mut uses = Uses { kernel, local, defined: Defined::default(), wanted: Wanted::default(), seen: HashSet::new() };
    for definition in &script.definitions {
        uses.defined.add(definition);
    }
    uses.defined.names.extend(script.defines.keys().cloned());
    let mut visitor = |node: Node<'_>| uses.node(node);
    probes.iter().for_each(|p| visit::probe(p, &mut visitor));
    script.functions.iter().for_each(|f| visit::function(f, &mut visitor));
    script.definitions.iter().for_each(|d| visit::definition(d, &mut visitor));
    script.map_decls.iter().for_each(|m| visit::expr(&m.size, &mut visitor));
    script.defines.values().for_each(|e| visit::expr(e, &mut visitor));
    let mut wanted = uses.wanted;
    wanted.lines = script.lines;
    let any = !wanted.names.is_empty() || !wanted.types.is_empty();
    (any && wanted.lines.iter().any(|(text, _)| include(text).is_some())).then_some(wanted)
}

/// The names that the script defines itself.
#[derive(Default)]
struct Defined {
    names: HashSet<String>,
    types: HashSet<(TypeKind, String)>,
}

impl Defined {
    fn add(&mut self, definition: &CDef) {
        match &definition.kind {
            CDefKind::Record { union, name, members, .. } => {
                let kind = if *union { TypeKind::Union } else { TypeKind::Struct };
                self.types.insert((kind, name.clone()));
                for m in members {
                    self.base(&m.ty.base);
                }
            }
            CDefKind::Enum { name, values } => {
                self.types.insert((TypeKind::Enum, name.clone().unwrap_or_default()));
                self.names.extend(values.iter().map(|(n, _)| n.text.clone()));
            }
            CDefKind::Typedef { name, ty } => {
                self.types.insert((TypeKind::Typedef, name.clone()));
                self.base(&ty.base);
            }
        }
    }

    fn base(&mut self, base: &CBase) {
        if let CBase::Inline(inner) = base {
            self.add(inner);
        }
    }
}

struct Uses<'k> {
    kernel: Kernel<'k>,
    /// The script includes files of its own.
    local: bool,
    defined: Defined,
    wanted: Wanted,
    seen: HashSet<(Option<TypeKind>, String)>,
}

impl Uses<'_> {
    fn node(&mut self, node: Node<'_>) {
        match node {
            Node::Expr(Expr { kind: ExprKind::Ident(name), span }) => {
                if builtins::find(name).is_some() || self.defined.names.contains(name) || !self.first(None, name) {
                    return;
                }
                let known = constants::find(self.kernel.types, name).is_some();
                if !known || self.local {
                    self.wanted.names.push(Name { text: name.clone(), span: *span, known });
                }
            }
            Node::Expr(_) => {}
            Node::Type(name) => match &name.base {
                TypeBase::Struct(n) => self.ty(TypeKind::Struct, n, name.span),
                TypeBase::Union(n) => self.ty(TypeKind::Union, n, name.span),
                TypeBase::Enum(n) => self.ty(TypeKind::Enum, n, name.span),
                TypeBase::Named(n) if primitive(n).is_none() && !["string", "buffer", "inet"].contains(&&n[..]) => {
                    self.ty(TypeKind::Typedef, n, name.span);
                }
                TypeBase::Named(_) | TypeBase::Typeof(_) | TypeBase::Tuple(_) => {}
            },
        }
    }

    fn ty(&mut self, kind: TypeKind, name: &str, span: Span) {
        if self.defined.types.contains(&(kind, name.to_owned())) || !self.first(Some(kind), name) {
            return;
        }
        let known = matches!(self.kernel.types.find_type(kind, name), Ok(Some(_)));
        if !known || self.local {
            self.wanted.types.push((kind, Name { text: name.to_owned(), span, known }));
        }
    }

    /// Whether a name comes by for the first time.
    fn first(&mut self, kind: Option<TypeKind>, name: &str) -> bool {
        self.seen.insert((kind, name.to_owned()))
    }
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
