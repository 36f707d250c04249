//! The functions that the grammar's actions call to build the tree.
//!
//! An expression that ends a block without `;` is its value where the block has one (operands, macros,
//! functions) and an ordinary statement everywhere else. The grammar cannot know while it reads
//! the block, so blocks come out of it raw, with the last expression as value and a last `if` as a
//! statement, and whoever takes one settles it with [`as_body`] or [`as_value`].

use crate::ast::*;
use crate::error::SyntaxErrorKind;
use crate::lexer::Context;

/// The results of the two entry points of the grammar.
#[derive(Debug)]
pub enum Parsed {
    Program(Program),
    Expr(Expr),
}

pub(crate) fn name(cx: &Context<'_>, text: &str, l: usize, r: usize) -> Name {
    Name { text: text.to_owned(), span: cx.span(l, r) }
}

/// A name before the `=` is a word; what else holds a `=` is a path, or a function's name.
pub(crate) fn attach_point(cx: &Context<'_>, text: &str, l: usize, r: usize) -> AttachPoint {
    let is_word = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let (name, text) = match text.split_once('=').filter(|(name, _)| is_word(name)) {
        Some((name, text)) => (Some(name.to_owned()), text),
        None => (None, text),
    };
    AttachPoint { name, text: text.to_owned(), span: cx.span(l, r) }
}

pub(crate) fn expr(cx: &Context<'_>, kind: ExprKind, l: usize, r: usize) -> Expr {
    Expr { kind, span: cx.span(l, r) }
}

pub(crate) fn binary(left: Expr, op: BinOp, right: Expr) -> Expr {
    let span = left.span.to(right.span);
    Expr { kind: ExprKind::Binary { op, left: Box::new(left), right: Box::new(right) }, span }
}

/// A parenthesised expression is the expression, with the parentheses in its span.
pub(crate) fn grouped(cx: &Context<'_>, mut inner: Expr, l: usize, r: usize) -> Expr {
    inner.span = cx.span(l, r);
    inner
}

/// `@x[a, b]` is `@x[(a, b)]`.
pub(crate) fn map(name: &str, mut keys: Vec<Expr>, span: Span) -> Expr {
    let key = match (keys.len(), keys.first(), keys.last()) {
        (0, _, _) => None,
        (1, _, _) => keys.pop().map(Box::new),
        (_, Some(first), Some(last)) => {
            let span = first.span.to(last.span);
            Some(Box::new(Expr { kind: ExprKind::Tuple(keys), span }))
        }
        _ => None,
    };
    Expr { kind: ExprKind::Map { name: name.to_owned(), key }, span }
}

pub(crate) fn tuple_field(cx: &Context<'_>, base: Expr, index: u64, at: (usize, usize)) -> Expr {
    let span = base.span.to(cx.span(at.0, at.1));
    let index = u32::try_from(index).unwrap_or_else(|_| {
        let why = "the tuple index is too large".to_owned();
        cx.report(at.0, at.1, SyntaxErrorKind::BadNumber { text: index.to_string(), why });
        0
    });
    Expr { kind: ExprKind::TupleField { base: Box::new(base), index }, span }
}

pub(crate) fn assign(cx: &Context<'_>, target: Expr, op: Option<BinOp>, value: Expr) -> StmtKind {
    let fits = match &target.kind {
        ExprKind::Var(_) | ExprKind::Map { .. } => true,
        ExprKind::Ident(word) => word == "_" && op.is_none(),
        _ => false,
    };
    if !fits {
        cx.report_at(target.span, SyntaxErrorKind::BadAssignTarget);
    }
    StmtKind::Assign { target, op, value }
}

/// A `for` over a range, if it has an end, else over a map.
pub(crate) fn for_loop(cx: &Context<'_>, var: Name, over: Expr, end: Option<Expr>, body: Block) -> StmtKind {
    match end {
        Some(end) => StmtKind::ForRange { var, start: over, end, body: as_body(body) },
        None => {
            if !matches!(over.kind, ExprKind::Map { key: None, .. }) {
                cx.report_at(over.span, SyntaxErrorKind::ForNeedsMapOrRange);
            }
            StmtKind::ForMap { var, map: over, body: as_body(body) }
        }
    }
}

pub(crate) fn stmt(cx: &Context<'_>, kind: StmtKind, l: usize, r: usize) -> Stmt {
    Stmt { kind, span: cx.span(l, r) }
}

/// The statements of a block and what follows the last `;`.
pub(crate) fn block(cx: &Context<'_>, l: usize, (stmts, tail): (Vec<Stmt>, Option<Stmt>), r: usize) -> Block {
    let mut block = Block { stmts, value: None, span: cx.span(l, r) };
    match tail {
        Some(Stmt { kind: StmtKind::Expr(value), .. }) => block.value = Some(Box::new(value)),
        Some(other) => block.stmts.push(other),
        None => {}
    }
    let raw = if block.value.is_some() { 0 } else { 1 };
    let settled = block.stmts.len().saturating_sub(raw);
    for stmt in block.stmts.iter_mut().take(settled) {
        settle(stmt);
    }
    block
}

/// An `else if` is an `else` with a block of one statement.
pub(crate) fn else_if(stmt: Stmt) -> Block {
    let span = stmt.span;
    Block { stmts: vec![stmt], value: None, span }
}

/// The same for an `if` that is an operand.
pub(crate) fn else_if_value(value: Expr) -> Block {
    let span = value.span;
    Block { stmts: Vec::new(), value: Some(Box::new(value)), span }
}

/// Turns a raw block into one that has no value.
pub(crate) fn as_body(mut block: Block) -> Block {
    if let Some(value) = block.value.take() {
        let span = value.span;
        block.stmts.push(Stmt { kind: StmtKind::Expr(*value), span });
    } else if let Some(last) = block.stmts.last_mut() {
        settle(last);
    }
    block
}

/// A statement is no value: neither are the blocks at its end.
fn settle(stmt: &mut Stmt) {
    match &mut stmt.kind {
        StmtKind::If { then, otherwise, .. } => {
            settle_block(then);
            if let Some(otherwise) = otherwise {
                settle_block(otherwise);
            }
        }
        StmtKind::Block(inner) => settle_block(inner),
        _ => {}
    }
}

fn settle_block(block: &mut Block) {
    let raw = std::mem::replace(block, Block { stmts: Vec::new(), value: None, span: block.span });
    *block = as_body(raw);
}

/// Turns a raw block into one whose last `if … else …` or `{ … }` is its value, if all its branches have one.
pub(crate) fn as_value(mut block: Block) -> Block {
    if block.value.is_some() {
        return block;
    }
    if !has_value(&block) {
        return as_body(block);
    }
    if let Some(Stmt { kind, span }) = block.stmts.pop() {
        let kind = match kind {
            StmtKind::If { cond, then, otherwise: Some(otherwise) } => {
                ExprKind::If { cond: Box::new(cond), then: boxed_value(then), otherwise: boxed_value(otherwise) }
            }
            StmtKind::Block(inner) => ExprKind::Block(boxed_value(inner)),
            other => {
                block.stmts.push(Stmt { kind: other, span });
                return block;
            }
        };
        block.value = Some(Box::new(Expr { kind, span }));
    }
    block
}

fn has_value(block: &Block) -> bool {
    block.value.is_some()
        || match block.stmts.last().map(|last| &last.kind) {
            Some(StmtKind::If { then, otherwise: Some(otherwise), .. }) => has_value(then) && has_value(otherwise),
            Some(StmtKind::Block(inner)) => has_value(inner),
            _ => false,
        }
}

pub(crate) fn boxed_value(block: Block) -> Box<Block> {
    Box::new(as_value(block))
}

// ---- C definitions ----

/// One declarator: stars, name, bounds, bits.
#[derive(Debug)]
pub struct Declarator {
    pub pointers: u32,
    pub name: Option<Name>,
    pub array: Vec<Option<Expr>>,
    pub bits: Option<Expr>,
    /// A pointer to a function: nothing but its size matters.
    pub function: bool,
}

impl Declarator {
    fn c_type(&mut self, base: &CBase) -> CType {
        let base = if self.function { CBase::Named(void()) } else { base.clone() };
        CType { base, pointers: self.pointers, array: std::mem::take(&mut self.array) }
    }
}

fn void() -> TypeName {
    type_name(TypeBase::Named("void".into()), 0, Vec::new(), 0, Span::default())
}

pub(crate) fn type_name(base: TypeBase, pointers: u32, array: Vec<Option<Expr>>, outer: u32, span: Span) -> TypeName {
    let array = array.into_iter().map(|bound| bound.map(Box::new)).collect();
    TypeName { base, pointers, array, outer, span }
}

/// A type that stands where a value may: to the passes the same as `typeof(type)`.
pub(crate) fn type_value(ty: TypeName) -> Expr {
    let span = ty.span;
    Expr { kind: ExprKind::Typeof(TypeOrExpr::Type(ty)), span }
}

/// `base a, *b[3], c : 4;`, or an anonymous member without any declarator.
pub(crate) fn members(base: CBase, declarators: Vec<Declarator>) -> Vec<CMember> {
    if declarators.is_empty() {
        return vec![CMember { name: None, ty: CType { base, pointers: 0, array: Vec::new() }, bits: None }];
    }
    let member = |mut d: Declarator| CMember { ty: d.c_type(&base), name: d.name, bits: d.bits };
    declarators.into_iter().map(member).collect()
}

pub(crate) fn typedefs(base: &CBase, declarators: Vec<Declarator>, span: Span) -> Vec<Item> {
    let typedef = |mut d: Declarator| {
        let ty = d.c_type(base);
        let name = d.name.map(|n| n.text).unwrap_or_default();
        Item::CDef(CDef { kind: CDefKind::Typedef { name, ty }, span })
    };
    declarators.into_iter().map(typedef).collect()
}
