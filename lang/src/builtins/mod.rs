//! The table of builtins and functions: everything the compiler, the messages and the manual know
//! about one stands in its row. Adding one is a row here and, if it runs in the kernel and is not
//! composed of other expressions, a lowering in `codegen/src/builtins/`.
//!
//! One file per family; [`find`] looks a name up in all of them.

use crate::bundle::ProgType;
use crate::check::{AggregateCheck, CallCheck, LoweredCheck};
use crate::intrinsic::Intrinsic;
use crate::types::Type;
use crate::uapi;

mod aggregation;
mod maps;
mod network;
mod output;
mod process;
mod stacks;
mod strings;
mod symbols;
mod time;
mod types;

static FAMILIES: &[&[Builtin]] = &[
    process::ROWS,
    time::ROWS,
    symbols::ROWS,
    strings::ROWS,
    network::ROWS,
    output::ROWS,
    maps::ROWS,
    aggregation::ROWS,
    types::ROWS,
];

/// One builtin or function.
pub struct Builtin {
    pub name: &'static str,
    /// Forms as the manual shows them, e.g. `str(ptr [, length])`.
    pub signatures: &'static [&'static str],
    /// One line.
    pub doc: &'static str,
    /// A complete script.
    pub example: &'static str,
    pub side: Side,
    /// Fewest and most arguments; a builtin that takes none needs no parentheses.
    pub arity: (usize, usize),
    /// The contexts in which it is allowed.
    pub allowed: Allowed,
    /// The BPF helper behind it.
    pub helper: Option<uapi::Entry>,
    /// Needs `--unsafe`.
    pub unsafe_: bool,
    pub(crate) check: Check,
}

/// How a row's calls are checked.
pub(crate) enum Check {
    /// Composed of other expressions, an event, or known while compiling: the function gives the typed expression.
    Value(CallCheck),
    /// Lowered by code generation, with the arguments that the function makes of those in the script.
    Lowered(Intrinsic, LoweredCheck),
    /// Lowered by code generation: a value of this type, and no arguments.
    Simple(Intrinsic, &'static Type),
    /// The macro of that name in the prelude, which takes the call's arguments.
    Prelude,
    /// Gives what an assignment to a map makes of it.
    Aggregate(AggregateCheck),
}

/// The side that does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In the BPF program.
    Kernel,
    /// By an event that the runtime acts on.
    User,
    /// While compiling.
    Const,
}

/// Program types that a builtin works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    Everywhere,
    In(&'static [ProgType]),
}

/// Defaults shared by most rows; a row overrides them.
pub(crate) const COMMON: Builtin = Builtin {
    name: "",
    signatures: &[],
    doc: "",
    example: "",
    side: Side::Kernel,
    arity: (0, 0),
    allowed: Allowed::Everywhere,
    helper: None,
    unsafe_: false,
    check: Check::Value(|c, call| Ok(c.effect(Vec::new(), call.span))),
};

impl Builtin {
    /// Whether the prelude says what it means.
    #[cfg(test)]
    pub(crate) fn is_in_prelude(&self) -> bool {
        matches!(self.check, Check::Prelude)
    }

    /// The operation that code generation has for the row.
    const fn intrinsic(&self) -> Option<Intrinsic> {
        match self.check {
            Check::Lowered(intrinsic, _) | Check::Simple(intrinsic, _) => Some(intrinsic),
            Check::Value(_) | Check::Prelude | Check::Aggregate(_) => None,
        }
    }
}

/// The row of an operation. One that no row names does not compile.
#[expect(clippy::indexing_slicing, reason = "one for each, found while compiling")]
pub fn of(intrinsic: Intrinsic) -> &'static Builtin {
    const ROWS: [&Builtin; Intrinsic::ALL.len()] = {
        let mut rows = [&COMMON; Intrinsic::ALL.len()];
        let mut n = 0;
        while n < rows.len() {
            rows[n] = find_row(Intrinsic::ALL[n]);
            n += 1;
        }
        rows
    };
    ROWS[intrinsic as usize]
}

#[expect(clippy::panic, reason = "while compiling")]
const fn find_row(wanted: Intrinsic) -> &'static Builtin {
    let mut families = FAMILIES;
    while let [family, more @ ..] = families {
        let mut rows: &'static [Builtin] = family;
        while let [row, rest @ ..] = rows {
            if let Some(found) = row.intrinsic()
                && found as usize == wanted as usize
            {
                return row;
            }
            rows = rest;
        }
        families = more;
    }
    panic!("an intrinsic has no row")
}

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Builtin> {
    FAMILIES.iter().flat_map(|f| f.iter())
}

/// All names, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().map(|b| b.name)
}

/// The name that a builtin's reserved spelling stands for: `comm` for `__builtin_comm`, which means the builtin even where
/// a macro of the script has its name.
pub(crate) fn plain(name: &str) -> &str {
    match name.strip_prefix("__builtin_") {
        Some(plain) if row(plain).is_some_and(|b| b.arity.0 == 0) => plain,
        _ => name,
    }
}

/// The row of a name; `arg0`, `arg1`, … share the row `argN`.
pub fn find(name: &str) -> Option<&'static Builtin> {
    row(plain(name))
}

fn row(name: &str) -> Option<&'static Builtin> {
    let numbered =
        name.strip_prefix("arg").is_some_and(|n| !n.is_empty() && n.len() < 3 && n.bytes().all(|b| b.is_ascii_digit()));
    let name = if numbered { "argN" } else { name };
    all().find(|b| b.name == name)
}

impl std::fmt::Debug for Builtin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl PartialEq for Builtin {
    fn eq(&self, other: &Builtin) -> bool {
        self.name == other.name
    }
}
