//! The tree as text, for `--emit ast` and the golden tests.
//!
//! One node per line, children indented by two blanks. A node's line begins with its kind; types
//! are written as in a script, as they hold expressions only in bounds and `typeof`.

use crate::ast::*;
use std::fmt::Write as _;

/// Without positions.
pub fn dump(program: &Program) -> String {
    text(program, false)
}

/// With every node's position behind it, as `@start..end`.
pub fn dump_with_positions(program: &Program) -> String {
    text(program, true)
}

fn text(program: &Program, positions: bool) -> String {
    let mut d = Dump { out: String::new(), depth: 0, positions };
    for item in &program.items {
        d.item(item);
    }
    d.out
}

struct Dump {
    out: String,
    depth: usize,
    positions: bool,
}

impl Dump {
    fn line(&mut self, text: &str, span: Span) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        self.out.push_str(text);
        if self.positions && span != Span::default() {
            let _ = write!(self.out, " @{}..{}", span.start, span.end);
        }
        self.out.push('\n');
    }

    /// A line without a position.
    fn label(&mut self, text: &str) {
        self.line(text, Span::default());
    }

    fn inside(&mut self, children: impl FnOnce(&mut Dump)) {
        self.depth = self.depth.saturating_add(1);
        children(self);
        self.depth = self.depth.saturating_sub(1);
    }

    fn labelled(&mut self, label: &str, expr: &Expr) {
        self.label(label);
        self.inside(|d| d.expr(expr));
    }

    // ---- items ----

    fn item(&mut self, item: &Item) {
        match item {
            Item::Preprocessor { text, span } => self.line(&format!("preprocessor {text:?}"), *span),
            Item::CDef(def) => self.c_def(def),
            Item::Config(entries, span) => {
                self.line("config", *span);
                self.inside(|d| {
                    for entry in entries {
                        d.line(&format!("set {}", entry.key.text), entry.key.span);
                        d.inside(|d| d.expr(&entry.value));
                    }
                });
            }
            Item::Import { path, span } => self.line(&format!("import {path:?}"), *span),
            Item::MapDecl(decl) => {
                self.line(&format!("map @{} {}", decl.name.text, decl.kind.text), decl.span);
                self.inside(|d| d.expr(&decl.size));
            }
            Item::Macro(def) => {
                let params = def.params.iter().map(|param| match param {
                    MacroParam::Var(name) => format!("${}", name.text),
                    MacroParam::Map(name) => format!("@{}", name.text),
                    MacroParam::Expr(name) => name.text.clone(),
                });
                let params: Vec<String> = params.collect();
                self.line(&format!("macro {}({})", def.name.text, params.join(", ")), def.span);
                self.inside(|d| d.block(&def.body));
            }
            Item::Fn(def) => {
                let params = def.params.iter().map(|(name, ty)| format!("${}: {}", name.text, type_text(ty)));
                let params: Vec<String> = params.collect();
                let ret = def.ret.as_ref().map(|ty| format!(": {}", type_text(ty))).unwrap_or_default();
                self.line(&format!("fn {}({}){ret}", def.name.text, params.join(", ")), def.span);
                self.inside(|d| d.block(&def.body));
            }
            Item::Probe(probe) => {
                self.line("probe", probe.span);
                self.inside(|d| {
                    for point in &probe.attach_points {
                        let name = point.name.as_ref().map(|n| format!("{n}=")).unwrap_or_default();
                        d.line(&format!("at {name}{}", point.text), point.span);
                    }
                    if let Some(predicate) = &probe.predicate {
                        d.labelled("when", predicate);
                    }
                    d.block(&probe.body);
                });
            }
        }
    }

    fn c_def(&mut self, def: &CDef) {
        match &def.kind {
            CDefKind::Record { union, name, members, packed } => {
                let word = if *union { "union" } else { "struct" };
                let packed = if *packed { " packed" } else { "" };
                self.line(&spaced(&format!("{word}{packed}"), name), def.span);
                self.inside(|d| members.iter().for_each(|member| d.member(member)));
            }
            CDefKind::Enum { name, values } => {
                self.line(&spaced("enum", name.as_deref().unwrap_or_default()), def.span);
                self.inside(|d| {
                    for (name, value) in values {
                        d.line(&name.text, name.span);
                        d.inside(|d| value.iter().for_each(|v| d.expr(v)));
                    }
                });
            }
            CDefKind::Typedef { name, ty } => {
                self.line(&format!("typedef {name}: {}", c_type_text(ty)), def.span);
                self.inside(|d| d.c_base(&ty.base));
            }
        }
    }

    fn member(&mut self, member: &CMember) {
        let ty = c_type_text(&member.ty);
        let bits = member.bits.as_ref().map(|b| format!(" : {}", expr_text(b))).unwrap_or_default();
        match &member.name {
            Some(name) => self.line(&format!("member {}: {ty}{bits}", name.text), name.span),
            None => self.label(&format!("member: {ty}{bits}")),
        }
        self.inside(|d| d.c_base(&member.ty.base));
    }

    fn c_base(&mut self, base: &CBase) {
        if let CBase::Inline(def) = base {
            self.c_def(def);
        }
    }

    // ---- statements ----

    fn block(&mut self, block: &Block) {
        self.line("block", block.span);
        self.inside(|d| {
            for stmt in &block.stmts {
                d.stmt(stmt);
            }
            if let Some(value) = &block.value {
                d.labelled("value", value);
            }
        });
    }

    fn stmt(&mut self, stmt: &Stmt) {
        let span = stmt.span;
        match &stmt.kind {
            StmtKind::Expr(expr) => self.expr(expr),
            StmtKind::Assign { target, op, value } => {
                self.line(&format!("assign {}=", op.map(BinOp::text).unwrap_or_default()), span);
                self.inside(|d| {
                    d.expr(target);
                    d.expr(value);
                });
            }
            StmtKind::Let { var, ty, value } => {
                let ty = ty.as_ref().map(|ty| format!(": {}", type_text(ty))).unwrap_or_default();
                self.line(&format!("let ${}{ty}", var.text), span);
                self.inside(|d| value.iter().for_each(|v| d.expr(v)));
            }
            StmtKind::If { cond, then, otherwise } => {
                self.line("if", span);
                self.inside(|d| d.branches(cond, then, otherwise.as_ref()));
            }
            StmtKind::While { cond, body } => {
                self.line("while", span);
                self.inside(|d| {
                    d.expr(cond);
                    d.block(body);
                });
            }
            StmtKind::ForMap { var, map, body } => {
                self.line(&format!("for-map ${}", var.text), span);
                self.inside(|d| {
                    d.expr(map);
                    d.block(body);
                });
            }
            StmtKind::ForRange { var, start, end, body } => {
                self.line(&format!("for-range ${}", var.text), span);
                self.inside(|d| {
                    d.expr(start);
                    d.expr(end);
                    d.block(body);
                });
            }
            StmtKind::Unroll { count, body } => {
                self.line("unroll", span);
                self.inside(|d| {
                    d.expr(count);
                    d.block(body);
                });
            }
            StmtKind::Block(block) => self.block(block),
            StmtKind::Break => self.line("break", span),
            StmtKind::Continue => self.line("continue", span),
            StmtKind::Return(value) => {
                self.line("return", span);
                self.inside(|d| value.iter().for_each(|v| d.expr(v)));
            }
        }
    }

    fn branches(&mut self, cond: &Expr, then: &Block, otherwise: Option<&Block>) {
        self.expr(cond);
        self.block(then);
        if let Some(otherwise) = otherwise {
            self.label("else");
            self.inside(|d| d.block(otherwise));
        }
    }

    // ---- expressions ----

    fn expr(&mut self, expr: &Expr) {
        self.line(&head(&expr.kind), expr.span);
        self.inside(|d| d.operands(&expr.kind));
    }

    fn operands(&mut self, kind: &ExprKind) {
        match kind {
            ExprKind::Map { key, .. } => key.iter().for_each(|k| self.expr(k)),
            ExprKind::Call { args: exprs, .. } | ExprKind::Tuple(exprs) => exprs.iter().for_each(|e| self.expr(e)),
            ExprKind::Unary { expr, .. } | ExprKind::Cast { expr, .. } | ExprKind::Comptime(expr) => self.expr(expr),
            ExprKind::Step { target: base, .. } | ExprKind::Field { base, .. } | ExprKind::TupleField { base, .. } => {
                self.expr(base)
            }
            ExprKind::Binary { left, right, .. } => {
                self.expr(left);
                self.expr(right);
            }
            ExprKind::Ternary { cond, then, otherwise } => {
                self.expr(cond);
                then.iter().for_each(|then| self.expr(then));
                self.expr(otherwise);
            }
            ExprKind::Index { base, index } => {
                self.expr(base);
                self.expr(index);
            }
            ExprKind::Sizeof(of) | ExprKind::Typeof(of) | ExprKind::Typeinfo(of) | ExprKind::Offsetof { of, .. } => {
                if let TypeOrExpr::Expr(expr) = of {
                    self.expr(expr);
                }
            }
            ExprKind::Record(fields) => {
                for (name, value) in fields {
                    self.line(&format!("field {}", name.text), name.span);
                    self.inside(|d| d.expr(value));
                }
            }
            ExprKind::Block(block) => self.block(block),
            ExprKind::If { cond, then, otherwise } => self.branches(cond, then, Some(otherwise)),
            ExprKind::Int { .. }
            | ExprKind::Duration(_)
            | ExprKind::Bool(_)
            | ExprKind::Str(_)
            | ExprKind::Ident(_)
            | ExprKind::Param(_)
            | ExprKind::ParamCount
            | ExprKind::Var(_) => {}
        }
    }
}

/// An expression's own line.
fn head(kind: &ExprKind) -> String {
    let of_text = |of: &TypeOrExpr| match of {
        TypeOrExpr::Type(ty) => format!(" type {}", type_text(ty)),
        TypeOrExpr::Expr(_) => String::new(),
    };
    match kind {
        ExprKind::Int { value, unsigned } => format!("int {value}{}", if *unsigned { "u" } else { "" }),
        ExprKind::Duration(ns) => format!("duration {ns}ns"),
        ExprKind::Bool(value) => format!("bool {value}"),
        ExprKind::Str(bytes) => format!("str \"{}\"", bytes.escape_ascii()),
        ExprKind::Ident(name) => format!("ident {name}"),
        ExprKind::Param(index) => format!("param ${index}"),
        ExprKind::ParamCount => "param-count".into(),
        ExprKind::Var(name) => format!("var ${name}"),
        ExprKind::Map { name, key } => format!("map @{name}{}", if key.is_some() { "[]" } else { "" }),
        ExprKind::Call { name, .. } => format!("call {}", name.text),
        ExprKind::Unary { op, .. } => format!("unary {}", unary_text(*op)),
        ExprKind::Step { increment, prefix, .. } => {
            format!("{} {}", if *prefix { "pre" } else { "post" }, if *increment { "++" } else { "--" })
        }
        ExprKind::Binary { op, .. } => format!("binary {}", op.text()),
        ExprKind::Ternary { .. } => "ternary".into(),
        ExprKind::Cast { ty, .. } => format!("cast {}", type_text(ty)),
        ExprKind::Sizeof(of) => format!("sizeof{}", of_text(of)),
        ExprKind::Offsetof { of, path } => {
            let step = |step: &PathStep| match step {
                PathStep::Member(name) => format!(".{}", name.text),
                PathStep::Index(index) => format!("[{}]", expr_text(index)),
            };
            format!("offsetof {}{}", path.iter().map(step).collect::<String>(), of_text(of))
        }
        ExprKind::Typeof(of) => format!("typeof{}", of_text(of)),
        ExprKind::Typeinfo(of) => format!("typeinfo{}", of_text(of)),
        ExprKind::Field { name, arrow, .. } => format!("field {}{}", if *arrow { "->" } else { "." }, name.text),
        ExprKind::TupleField { index, .. } => format!("tuple-field .{index}"),
        ExprKind::Index { .. } => "index".into(),
        ExprKind::Tuple(_) => "tuple".into(),
        ExprKind::Record(_) => "record".into(),
        ExprKind::Block(_) => "block-value".into(),
        ExprKind::If { .. } => "if-value".into(),
        ExprKind::Comptime(_) => "comptime".into(),
    }
}

fn unary_text(op: UnOp) -> &'static str {
    match op {
        UnOp::Neg => "-",
        UnOp::Not => "!",
        UnOp::BitNot => "~",
        UnOp::Deref => "*",
        UnOp::AddrOf => "&",
    }
}

fn spaced(word: &str, name: &str) -> String {
    if name.is_empty() { word.to_owned() } else { format!("{word} {name}") }
}

// ---- types, on one line ----

fn type_text(ty: &TypeName) -> String {
    let bounds = ty.array.iter().map(|bound| bound.as_deref());
    let text = decorated(type_base_text(&ty.base), ty.pointers, bounds);
    if ty.outer == 0 { text } else { format!("{text} {}", "*".repeat(ty.outer as usize)) }
}

fn type_base_text(base: &TypeBase) -> String {
    match base {
        TypeBase::Named(name) => name.clone(),
        TypeBase::Struct(name) => format!("struct {name}"),
        TypeBase::Union(name) => format!("union {name}"),
        TypeBase::Enum(name) => format!("enum {name}"),
        TypeBase::Typeof(of) => match of.as_ref() {
            TypeOrExpr::Type(ty) => format!("typeof({})", type_text(ty)),
            TypeOrExpr::Expr(expr) => format!("typeof({})", expr_text(expr)),
        },
        TypeBase::Tuple(types) => {
            let types: Vec<String> = types.iter().map(type_text).collect();
            format!("({})", types.join(", "))
        }
    }
}

fn c_type_text(ty: &CType) -> String {
    let base = match &ty.base {
        CBase::Named(name) => type_text(name),
        CBase::Inline(_) => "inline".into(),
    };
    decorated(base, ty.pointers, ty.array.iter().map(Option::as_ref))
}

fn decorated<'a>(mut text: String, pointers: u32, bounds: impl Iterator<Item = Option<&'a Expr>>) -> String {
    for at in 0..pointers {
        text.push_str(if at == 0 { " *" } else { "*" });
    }
    for bound in bounds {
        let _ = write!(text, "[{}]", bound.map(expr_text).unwrap_or_default());
    }
    text
}

/// An expression inside a type: its lines joined into an s-expression.
fn expr_text(expr: &Expr) -> String {
    let mut d = Dump { out: String::new(), depth: 0, positions: false };
    d.operands(&expr.kind);
    let head = head(&expr.kind);
    let head = head.strip_prefix("int ").unwrap_or(&head);
    if d.out.is_empty() {
        return head.to_owned();
    }
    let operands: Vec<&str> = d.out.lines().map(str::trim).collect();
    format!("({head} {})", operands.join(" "))
}
