//! Mended lines for messages: a call moved from a kprobe to the fentry probe of the same function, with
//! the arguments by name. Works on the script as written, so that the user can paste the result.

use crate::kernel::Function;
use rtrace_grammar::ast::{self, BinOp, Expr, ExprKind, StmtKind, TypeBase, UnOp};
use std::collections::HashMap;

/// `fentry:FUNCTION { CALL }`, with `argN`, casts of it and variables that hold it replaced by `args.NAME`.
/// `None` when something in the call has no such form.
pub(crate) fn as_fentry(function: &Function, clause: &ast::Probe, name: &str, args: &[Expr]) -> Option<String> {
    let mut known = HashMap::new();
    for stmt in &clause.body.stmts {
        if let StmtKind::Assign { target: Expr { kind: ExprKind::Var(var), .. }, op: None, value } = &stmt.kind
            && let Some(text) = argument(function, value)
        {
            known.insert(var.clone(), text);
        }
    }
    let args = args.iter().map(|a| write(a, function, &known)).collect::<Option<Vec<_>>>()?;
    Some(format!("fentry:{} {{ {name}({}) }}", function.name, args.join(", ")))
}

/// `args.NAME` for `argN` or a cast of it.
fn argument(function: &Function, e: &Expr) -> Option<String> {
    match &e.kind {
        ExprKind::Cast { expr, .. } => argument(function, expr),
        ExprKind::Ident(word) => {
            let n: usize = word.strip_prefix("arg")?.parse().ok()?;
            function.params.get(n).map(|p| format!("args.{}", p.0))
        }
        ExprKind::Tuple(list) => match list.as_slice() {
            [one] => argument(function, one),
            _ => None,
        },
        _ => None,
    }
}

/// The expression as text, arguments replaced.
fn write(e: &Expr, function: &Function, known: &HashMap<String, String>) -> Option<String> {
    if let Some(text) = argument(function, e) {
        return Some(text);
    }
    let sub = |e: &Expr| write(e, function, known);
    Some(match &e.kind {
        ExprKind::Int { value, .. } => value.to_string(),
        ExprKind::Bool(b) => b.to_string(),
        ExprKind::Str(text) => format!("\"{}\"", show(&String::from_utf8_lossy(text))),
        ExprKind::Ident(word) => word.clone(),
        ExprKind::Param(n) => format!("${n}"),
        ExprKind::Var(name) => known.get(name)?.clone(),
        ExprKind::Map { name, key: None } => format!("@{name}"),
        ExprKind::Map { name, key: Some(k) } => format!("@{name}[{}]", sub(k)?),
        ExprKind::Call { name, args } => {
            let args = args.iter().map(sub).collect::<Option<Vec<_>>>()?;
            format!("{}({})", name.text, args.join(", "))
        }
        ExprKind::Unary { op, expr } => {
            let sign = match op {
                UnOp::Neg => "-",
                UnOp::Not => "!",
                UnOp::BitNot => "~",
                UnOp::Deref => "*",
                UnOp::AddrOf => "&",
            };
            format!("{sign}{}", sub(expr)?)
        }
        ExprKind::Binary { op, left, right } => {
            let side = |e: &Expr| {
                let text = sub(e)?;
                Some(if matches!(e.kind, ExprKind::Binary { .. }) && precedence(e) < binding(*op) {
                    format!("({text})")
                } else {
                    text
                })
            };
            format!("{} {} {}", side(left)?, op.text(), side(right)?)
        }
        ExprKind::Cast { ty, expr } => format!("({}){}", type_text(ty)?, sub(expr)?),
        ExprKind::Field { base, name, arrow } => {
            let base_text = sub(base)?;
            let base_text = if matches!(base.kind, ExprKind::Cast { .. }) && argument(function, base).is_none() {
                format!("({base_text})")
            } else {
                base_text
            };
            format!("{base_text}{}{}", if *arrow { "->" } else { "." }, name.text)
        }
        ExprKind::Index { base, index } => format!("{}[{}]", sub(base)?, sub(index)?),
        _ => return None,
    })
}

fn type_text(ty: &ast::TypeName) -> Option<String> {
    let base = match &ty.base {
        TypeBase::Named(n) => n.clone(),
        TypeBase::Struct(n) => format!("struct {n}"),
        TypeBase::Union(n) => format!("union {n}"),
        TypeBase::Enum(n) => format!("enum {n}"),
        _ => return None,
    };
    let stars = "*".repeat(ty.pointers as usize);
    Some(if stars.is_empty() { base } else { format!("{base} {stars}") })
}

fn precedence(e: &Expr) -> u8 {
    match &e.kind {
        ExprKind::Binary { op, .. } => binding(*op),
        _ => 20,
    }
}

/// How tightly an operator binds, in C.
fn binding(op: BinOp) -> u8 {
    match op {
        BinOp::Mul | BinOp::Div | BinOp::Rem => 10,
        BinOp::Add | BinOp::Sub => 9,
        BinOp::Shl | BinOp::Shr => 8,
        BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge => 7,
        BinOp::Eq | BinOp::Ne => 6,
        BinOp::BitAnd => 5,
        BinOp::BitXor => 4,
        BinOp::BitOr => 3,
        BinOp::LogAnd => 2,
        BinOp::LogOr => 1,
    }
}

/// Text on one line, for a message.
pub(crate) fn show(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('"', "\\\"")
}
