//! Random integer expressions and assignments, of operands that the compiler does not know and of constants.

use crate::model::{self, ARITHMETIC, COMPARISONS, I64, Op, Ty, U64, Value};
use crate::random::Random;
use crate::{Case, Expected};

const TYPES: &[Ty] = &[
    Ty::Bool,
    Ty::Int { bits: 8, signed: true },
    Ty::Int { bits: 8, signed: false },
    Ty::Int { bits: 16, signed: true },
    Ty::Int { bits: 16, signed: false },
    Ty::Int { bits: 32, signed: true },
    Ty::Int { bits: 32, signed: false },
    I64,
    U64,
];
/// Clauses of a script, and expressions and assignments of a clause.
const CLAUSES: usize = 2;
const EXPRESSIONS: usize = 40;
const ASSIGNMENTS: usize = 12;
/// Precedence of unary operators, and of what needs no parentheses anywhere.
const UNARY: u32 = 12;

/// An operand: what it is called, and its value.
struct Operand {
    name: String,
    value: Value,
}

enum Expr {
    Operand(String, Value),
    Literal(String, Value),
    Cast(Ty, Box<Expr>),
    Negate(Box<Expr>),
    Complement(Box<Expr>),
    Not(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
    Logical(bool, Box<Expr>, Box<Expr>),
    Choose(Box<Expr>, Box<Expr>, Box<Expr>),
}

impl Expr {
    fn value(&self) -> Value {
        match self {
            Expr::Operand(_, v) | Expr::Literal(_, v) => *v,
            Expr::Cast(ty, x) => x.value().cast(*ty),
            Expr::Negate(x) => model::negate(x.value(), matches!(**x, Expr::Literal(..))),
            Expr::Complement(x) => model::complement(x.value()),
            Expr::Not(x) => model::not(x.value()),
            Expr::Binary(op, l, r) => model::binary(*op, l.value(), r.value()),
            Expr::Logical(or, l, r) => model::logical(*or, l.value(), r.value()),
            Expr::Choose(c, a, b) => model::choose(c.value(), a.value(), b.value()),
        }
    }

    /// As it is written where something around binds with that precedence: with no more parentheses than C needs.
    fn text(&self, around: u32) -> String {
        let (own, text) = match self {
            Expr::Operand(name, _) | Expr::Literal(name, _) => (UNARY + 1, name.clone()),
            Expr::Cast(ty, x) => (UNARY, format!("({}){}", ty.name(), x.text(UNARY))),
            // Not `--x`.
            Expr::Negate(x) if matches!(**x, Expr::Negate(..)) => (UNARY, format!("-({})", x.text(0))),
            Expr::Negate(x) => (UNARY, format!("-{}", x.text(UNARY))),
            Expr::Complement(x) => (UNARY, format!("~{}", x.text(UNARY))),
            Expr::Not(x) => (UNARY, format!("!{}", x.text(UNARY))),
            Expr::Binary(op, l, r) => {
                let own = op.precedence();
                (own, format!("{} {} {}", l.text(own), op.text(), r.text(own + 1)))
            }
            Expr::Logical(or, l, r) => {
                let (own, op) = if *or { (2, "||") } else { (3, "&&") };
                (own, format!("{} {op} {}", l.text(own), r.text(own + 1)))
            }
            Expr::Choose(c, a, b) => (1, format!("{} ? {} : {}", c.text(2), a.text(2), b.text(1))),
        };
        if own < around { format!("({text})") } else { text }
    }
}

fn literal(random: &mut Random) -> Expr {
    let v = random.interesting();
    // Not negative as written: the sign is an operator.
    let unsigned = if random.one_in(4) { v as u64 } else { v.unsigned_abs() };
    let text = if random.one_in(3) { format!("{unsigned:#x}") } else { unsigned.to_string() };
    let ty = if unsigned > i64::MAX as u64 { U64 } else { I64 };
    let e = Expr::Literal(text, Value { ty, v: i128::from(unsigned), constant: true });
    if v < 0 { Expr::Negate(Box::new(e)) } else { e }
}

/// Constants only if there are no operands.
fn expression(random: &mut Random, operands: &[Operand], depth: u32) -> Expr {
    let sub = |random: &mut Random| Box::new(expression(random, operands, depth - 1));
    if depth == 0 || random.one_in(8) {
        return if operands.is_empty() || random.one_in(4) {
            literal(random)
        } else {
            let o = &operands[random.below(operands.len() as u64) as usize];
            Expr::Operand(o.name.clone(), o.value)
        };
    }
    match random.below(16) {
        0..=2 => Expr::Cast(random.pick(TYPES), sub(random)),
        3 => Expr::Negate(sub(random)),
        4 => Expr::Complement(sub(random)),
        5 => Expr::Not(sub(random)),
        6 => Expr::Logical(random.one_in(2), sub(random), sub(random)),
        7 => Expr::Choose(sub(random), sub(random), sub(random)),
        8..=10 => Expr::Binary(random.pick(COMPARISONS), sub(random), sub(random)),
        _ => {
            let (op, l, r) = (random.pick(ARITHMETIC), sub(random), sub(random));
            // The compiler refuses to divide a constant by one that is zero.
            let refused =
                matches!(op, Op::Div | Op::Rem) && l.value().constant && r.value().constant && r.value().v == 0;
            Expr::Binary(if refused { Op::Add } else { op }, l, r)
        }
    }
}

/// A variable or map that is assigned to some times; the model goes along.
fn assignments(random: &mut Random, operands: &[Operand], id: usize, lines: &mut Vec<String>) -> Value {
    let name = random.pick(&[format!("$t{id}"), format!("@t{id}"), format!("@t{id}[1, \"k\"]")].each_ref()).clone();
    let ty = random.pick(&[I64, U64]);
    let start = expression(random, operands, 1);
    lines.push(format!("{name} = ({}){};", ty.name(), start.text(UNARY)));
    let mut v = start.value().cast(ty).v;
    for _ in 0..1 + random.below(4) {
        if random.one_in(4) {
            let (step, by) = random.pick(&[("++", 1), ("--", -1)]);
            let prefix = random.one_in(2);
            lines.push(if prefix { format!("{step}{name};") } else { format!("{name}{step};") });
            v = ty.cut(v + by);
        } else {
            let op = random.pick(ARITHMETIC);
            let e = expression(random, operands, 2);
            lines.push(format!("{name} {}= {};", op.text(), e.text(0)));
            let old = Value { ty, v, constant: false };
            v = model::binary(op, old, e.value()).cast(ty).v;
        }
    }
    lines.push(format!("print(({id}, {name}));"));
    Value { ty, v, constant: false }
}

/// A script and what it must print.
pub fn script(random: &mut Random) -> Case {
    let mut operands = Vec::new();
    let mut text = String::from("config = { print_maps_on_exit = false }\nbegin {\n");
    for i in 0..12 {
        let ty = if i < 8 { I64 } else { U64 };
        let v = ty.cut(i128::from(random.interesting()));
        let name = if i % 4 == 3 { format!("@k{}[{i}]", ty.name()) } else { format!("@v{i}") };
        // The smallest number has no literal of its own.
        let written = if v < 0 { format!("-{} - 1", -(v + 1)) } else { v.to_string() };
        text.push_str(&format!("  {name} = ({})({written});\n", ty.name()));
        operands.push(Operand { name, value: Value { ty, v, constant: false } });
    }
    text.push_str("}\n");
    let values: Vec<String> = operands.iter().map(|o| format!("{} = {}", o.name, o.value.text())).collect();
    let mut expected = Vec::new();
    for _ in 0..CLAUSES {
        text.push_str("begin {\n");
        for number in 0..EXPRESSIONS {
            let id = expected.len();
            // A third of the expressions are known while compiling.
            let known: &[Operand] = if number % 3 == 0 { &[] } else { &operands };
            let e = expression(random, known, 1 + number as u32 % 4);
            let value = e.value();
            text.push_str(&format!("  print(({id}, {}));\n", e.text(2)));
            expected.push(Expected { line: format!("({id}, {})", value.text()), what: e.text(0) });
        }
        for _ in 0..ASSIGNMENTS {
            let id = expected.len();
            let mut lines = Vec::new();
            let value = assignments(random, &operands, id, &mut lines);
            lines.iter().for_each(|l| text.push_str(&format!("  {l}\n")));
            expected.push(Expected { line: format!("({id}, {})", value.text()), what: lines.join(" ") });
        }
        text.push_str("}\n");
    }
    text.push_str("begin { exit() }\n");
    Case { text, expected, note: values.join(", ") }
}
