//! The semantics of integer expressions of the language: their types and values, calculated with numbers wide enough
//! for no overflow, and cut to the type afterwards.
//!
//! The rules: operands of binary operators widen to 64 bits and keep their value. Two of one sign give that sign, `-`
//! a signed result. Of two signs the result is signed, unless the signed one is a constant that an unsigned can hold.
//! Shifts have the type of their left side, and use the low six bits of the right one. `-` and `~` keep the type.
//! Division truncates; `x / 0` is 0 and `x % 0` is `x`. Comparisons are decided in the type that arithmetic would have.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    Bool,
    Int { bits: u32, signed: bool },
}

pub const I64: Ty = Ty::Int { bits: 64, signed: true };
pub const U64: Ty = Ty::Int { bits: 64, signed: false };

impl Ty {
    pub fn name(self) -> String {
        match self {
            Ty::Bool => "bool".into(),
            Ty::Int { bits, signed } => format!("{}int{bits}", if signed { "" } else { "u" }),
        }
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Ty::Int { signed: true, .. })
    }

    /// The value of the type that has the same low bits; of truth values, "is not zero".
    pub fn cut(self, v: i128) -> i128 {
        match self {
            Ty::Bool => i128::from(v != 0),
            Ty::Int { bits, signed } => {
                let low = v & ((1 << bits) - 1);
                if signed && low >> (bits - 1) != 0 { low - (1 << bits) } else { low }
            }
        }
    }

    fn widened(self) -> Ty {
        if self.is_signed() { I64 } else { U64 }
    }

    /// The type of `c ? a : b`.
    fn joined(self, other: Ty) -> Ty {
        match (self, other) {
            _ if self == other => self,
            (Ty::Int { bits: a, signed: s }, Ty::Int { bits: b, signed: t }) if s == t => {
                Ty::Int { bits: a.max(b), signed: s }
            }
            (U64, Ty::Int { .. }) | (Ty::Int { .. }, U64) => U64,
            _ => I64,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Value {
    pub ty: Ty,
    pub v: i128,
    /// Known while compiling.
    pub constant: bool,
}

impl Value {
    pub fn text(&self) -> String {
        match self.ty {
            Ty::Bool => (self.v != 0).to_string(),
            Ty::Int { .. } => self.v.to_string(),
        }
    }

    pub fn cast(self, to: Ty) -> Value {
        Value { ty: to, v: to.cut(self.v), ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

pub const ARITHMETIC: &[Op] =
    &[Op::Add, Op::Sub, Op::Mul, Op::Div, Op::Rem, Op::And, Op::Or, Op::Xor, Op::Shl, Op::Shr];
pub const COMPARISONS: &[Op] = &[Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge];

impl Op {
    pub fn text(self) -> &'static str {
        match self {
            Op::Add => "+",
            Op::Sub => "-",
            Op::Mul => "*",
            Op::Div => "/",
            Op::Rem => "%",
            Op::And => "&",
            Op::Or => "|",
            Op::Xor => "^",
            Op::Shl => "<<",
            Op::Shr => ">>",
            Op::Eq => "==",
            Op::Ne => "!=",
            Op::Lt => "<",
            Op::Le => "<=",
            Op::Gt => ">",
            Op::Ge => ">=",
        }
    }

    /// As in C: what binds more tightly has the larger number.
    pub fn precedence(self) -> u32 {
        match self {
            Op::Or => 4,
            Op::Xor => 5,
            Op::And => 6,
            Op::Eq | Op::Ne => 7,
            Op::Lt | Op::Le | Op::Gt | Op::Ge => 8,
            Op::Shl | Op::Shr => 9,
            Op::Add | Op::Sub => 10,
            Op::Mul | Op::Div | Op::Rem => 11,
        }
    }
}

/// The type in which two operands meet.
fn common(l: Value, r: Value) -> Ty {
    let fits = |x: Value| x.constant && x.v >= 0 && x.v <= i128::from(i64::MAX);
    match (l.ty.is_signed(), r.ty.is_signed()) {
        (true, true) => I64,
        (false, false) => U64,
        (s, _) => {
            let (signed, unsigned) = if s { (l, r) } else { (r, l) };
            if fits(signed) && !fits(unsigned) { U64 } else { I64 }
        }
    }
}

pub fn binary(op: Op, l: Value, r: Value) -> Value {
    let constant = l.constant && r.constant;
    let meet = common(l, r);
    if COMPARISONS.contains(&op) {
        let order = meet.cut(l.v).cmp(&meet.cut(r.v));
        let holds = match op {
            Op::Eq => order.is_eq(),
            Op::Ne => order.is_ne(),
            Op::Lt => order.is_lt(),
            Op::Le => order.is_le(),
            Op::Gt => order.is_gt(),
            _ => order.is_ge(),
        };
        return Value { ty: Ty::Bool, v: i128::from(holds), constant };
    }
    let ty = match op {
        Op::Shl | Op::Shr => l.ty.widened(),
        Op::Sub => I64,
        _ => meet,
    };
    let (a, b) = (ty.cut(l.v), ty.cut(r.v));
    let count = U64.cut(r.v) & 63;
    let v = match op {
        Op::Add => a + b,
        Op::Sub => a - b,
        Op::Mul => a.wrapping_mul(b),
        Op::Div if b == 0 => 0,
        Op::Div => a / b,
        Op::Rem if b == 0 => a,
        Op::Rem => a % b,
        Op::And => a & b,
        Op::Or => a | b,
        Op::Xor => a ^ b,
        Op::Shl => i128::from((a as u64) << count),
        _ => a >> count,
    };
    // A constant that only the unsigned type holds has that.
    let exact = match op {
        Op::Add => a.checked_add(b),
        Op::Mul => a.checked_mul(b),
        Op::Shl if (0..64).contains(&b) => a.checked_shl(b as u32),
        _ => None,
    };
    let outgrown = |n: i128| n > i128::from(i64::MAX) && n <= i128::from(u64::MAX);
    let ty = if constant && ty == I64 && a >= 0 && b >= 0 && exact.is_some_and(outgrown) { U64 } else { ty };
    Value { ty, v: ty.cut(v), constant }
}

/// `-x`; a literal is negated as the number that it is.
pub fn negate(x: Value, literal: bool) -> Value {
    let ty = if literal || x.ty == Ty::Bool { I64 } else { x.ty };
    Value { ty, v: ty.cut(-x.v), ..x }
}

/// `~x`
pub fn complement(x: Value) -> Value {
    let ty = if x.ty == Ty::Bool { I64 } else { x.ty };
    Value { ty, v: ty.cut(!x.v), ..x }
}

/// `!x`
pub fn not(x: Value) -> Value {
    Value { ty: Ty::Bool, v: i128::from(x.v == 0), ..x }
}

/// `l && r` or, if `or`, `l || r`.
pub fn logical(or: bool, l: Value, r: Value) -> Value {
    let v = if or { l.v != 0 || r.v != 0 } else { l.v != 0 && r.v != 0 };
    let decided = l.constant && (l.v != 0) == or;
    Value { ty: Ty::Bool, v: i128::from(v), constant: decided || (l.constant && r.constant) }
}

/// `c ? a : b`; what a constant rules out has no say in the type.
pub fn choose(c: Value, a: Value, b: Value) -> Value {
    let ty = a.ty.joined(b.ty);
    let chosen = if c.v != 0 { a } else { b };
    if c.constant {
        return chosen;
    }
    Value { constant: false, ..chosen.cast(ty) }
}
