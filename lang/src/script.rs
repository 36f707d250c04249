//! A resolved script: what the resolve pass makes and the checker takes.

use crate::probes::Resolved;
use crate::source::Span;
use rtrace_grammar::ast;
use std::collections::HashMap;

/// A script whose attach points are known to the kernel.
#[derive(Debug, Default)]
pub(crate) struct ResolvedScript {
    pub clauses: Vec<ResolvedClause>,
    pub map_decls: Vec<ast::MapDecl>,
    pub definitions: Vec<ast::CDef>,
    pub functions: Vec<ast::FnDef>,
    /// The names defined by `#define`.
    pub defines: HashMap<String, ast::Expr>,
    /// The lines that headers are read with.
    pub lines: Vec<(String, Span)>,
    /// Some clause has no target on this kernel and is left out, as the script allows.
    pub incomplete: bool,
}

#[derive(Debug)]
pub(crate) struct ResolvedClause {
    pub probe: ast::Probe,
    /// Each target with the attach point it came from.
    pub targets: Vec<(Resolved, Span)>,
}
