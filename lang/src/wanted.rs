//! What a script wants of the headers it includes: the names that it uses and nothing else defines.

use crate::builtins;
use crate::check::primitive;
use crate::config::Options;
use crate::constants;
use crate::headers::{Name, Wanted, include, is_local_include};
use crate::kernel::{Kernel, TypeKind};
use crate::resolve::{self, Preprocessed};
use crate::source::Span;
use rtrace_grammar::ast::{self, CBase, CDef, CDefKind, Expr, ExprKind, TypeBase};
use rtrace_grammar::visit::{self, Node};
use std::collections::HashSet;

/// The names that a script uses and only its headers can define; `None` if there are none.
pub fn wanted(program: &ast::Program, options: &Options, kernel: Kernel<'_>) -> Option<Wanted> {
    let has_include = |i: &ast::Item| matches!(i, ast::Item::Preprocessor { text, .. } if include(text).is_some());
    if !program.items.iter().any(has_include) {
        return None;
    }
    let Preprocessed { script, probes, .. } = resolve::preprocess(program.clone(), &mut options.clone());
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
