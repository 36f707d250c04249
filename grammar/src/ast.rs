//! The syntax tree: what the grammar builds, nothing resolved and nothing checked.
//!
//! Every node carries the [`Span`] it was written at. Positions are global: each source file of a
//! run occupies its own range of one position space (see `rtrace_core::source`), so a span alone
//! names file, line and column.

pub use rtrace_core::source::Span;

/// A name with the place it was written at.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    pub text: String,
    pub span: Span,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Program {
    pub items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A `#include …` or `#define …` line, as written.
    Preprocessor {
        text: String,
        span: Span,
    },
    /// A C type definition at top level.
    CDef(CDef),
    /// `config = { key = value; … }`
    Config(Vec<ConfigEntry>, Span),
    /// `import "path"`
    Import {
        path: String,
        span: Span,
    },
    /// `let @name = kind(size);`
    MapDecl(MapDecl),
    /// `macro name(params) { … }`
    Macro(MacroDef),
    /// `fn name($a: T, …) : R { … }`
    Fn(FnDef),
    Probe(Probe),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ConfigEntry {
    pub key: Name,
    pub value: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MapDecl {
    /// Without the `@`.
    pub name: Name,
    /// `hash`, `lruhash`, …
    pub kind: Name,
    pub size: Expr,
    pub span: Span,
}

/// One parameter of a macro.
#[derive(Clone, Debug, PartialEq)]
pub enum MacroParam {
    /// `$x`: the caller's variable, by reference.
    Var(Name),
    /// `@x`: the caller's map, by reference.
    Map(Name),
    /// `x`: an expression.
    Expr(Name),
}

#[derive(Clone, Debug, PartialEq)]
pub struct MacroDef {
    pub name: Name,
    pub params: Vec<MacroParam>,
    pub body: Block,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FnDef {
    pub name: Name,
    pub params: Vec<(Name, TypeName)>,
    pub ret: Option<TypeName>,
    pub body: Block,
    pub span: Span,
}

/// A clause: attach points, an optional predicate, a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    pub attach_points: Vec<AttachPoint>,
    pub predicate: Option<Expr>,
    pub body: Block,
    pub span: Span,
}

/// One attach point as written, e.g. `kprobe:vfs_*` or `uprobe:"/a b":f+3`; `lang` takes it apart.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachPoint {
    /// The name before the `=` of `name=kprobe:f`. It has no meaning yet.
    pub name: Option<String>,
    pub text: String,
    pub span: Span,
}

/// A C type definition: `struct`, `union`, `enum` or `typedef`.
#[derive(Clone, Debug, PartialEq)]
pub struct CDef {
    pub kind: CDefKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CDefKind {
    Record { union: bool, name: String, members: Vec<CMember>, packed: bool },
    Enum { name: Option<String>, values: Vec<(Name, Option<Expr>)> },
    Typedef { name: String, ty: CType },
}

/// The type of a C declarator: a base type with stars and array bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct CType {
    pub base: CBase,
    pub pointers: u32,
    /// Outermost first; `None` for a flexible array.
    pub array: Vec<Option<Expr>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CBase {
    /// A named type: `int`, `unsigned long`, `u32`, `struct foo`.
    Named(TypeName),
    /// A nested definition, named or not.
    Inline(Box<CDef>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct CMember {
    /// `None` for an anonymous struct or union member.
    pub name: Option<Name>,
    pub ty: CType,
    pub bits: Option<Expr>,
}

/// A list of statements; `value` is the expression that ends a block expression without `;`.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub stmts: Vec<Stmt>,
    pub value: Option<Box<Expr>>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    pub kind: StmtKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    Expr(Expr),
    /// `target = value` or `target op= value`. The target is a variable, a map or `_`.
    Assign {
        target: Expr,
        op: Option<BinOp>,
        value: Expr,
    },
    /// `let $x;`, `let $x: type;`, `let $x = value;`, `let $x: type = value;`
    Let {
        var: Name,
        ty: Option<TypeName>,
        value: Option<Expr>,
    },
    If {
        cond: Expr,
        then: Block,
        otherwise: Option<Block>,
    },
    While {
        cond: Expr,
        body: Block,
    },
    /// `for ($kv : @map) { … }`; `map` is an [`ExprKind::Map`] without a key.
    ForMap {
        var: Name,
        map: Expr,
        body: Block,
    },
    /// `for ($i : a..b) { … }`
    ForRange {
        var: Name,
        start: Expr,
        end: Expr,
        body: Block,
    },
    Unroll {
        count: Expr,
        body: Block,
    },
    Block(Block),
    Break,
    Continue,
    Return(Option<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// An integer literal; `unsigned` when it has a `U` suffix.
    Int {
        value: u64,
        unsigned: bool,
    },
    /// A duration literal (`10ms`, `1h`), in nanoseconds.
    Duration(u64),
    Bool(bool),
    /// A string literal, escapes decoded.
    Str(Vec<u8>),
    /// A bare word: builtin, constant, enumerator, macro without arguments.
    Ident(String),
    /// `$1`
    Param(u32),
    /// `$#`
    ParamCount,
    /// `$x`, without the `$`.
    Var(String),
    /// `@x`, `@x[k]`, `@x[a, b]` (the key is then a tuple); without the `@`.
    Map {
        name: String,
        key: Option<Box<Expr>>,
    },
    Call {
        name: Name,
        args: Vec<Expr>,
    },
    Unary {
        op: UnOp,
        expr: Box<Expr>,
    },
    /// `++x`, `x--`, …
    Step {
        increment: bool,
        prefix: bool,
        target: Box<Expr>,
    },
    Binary {
        op: BinOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `cond ? then : otherwise`; `cond ?: otherwise` gives the condition's own value.
    Ternary {
        cond: Box<Expr>,
        then: Option<Box<Expr>>,
        otherwise: Box<Expr>,
    },
    Cast {
        ty: TypeName,
        expr: Box<Expr>,
    },
    /// `sizeof(type)` or `sizeof(expr)`
    Sizeof(TypeOrExpr),
    /// `offsetof(struct x, a.b)`
    Offsetof {
        of: TypeOrExpr,
        path: Vec<PathStep>,
    },
    Typeof(TypeOrExpr),
    Typeinfo(TypeOrExpr),
    /// `base.name` and `base->name`
    Field {
        base: Box<Expr>,
        name: Name,
        arrow: bool,
    },
    /// `base.0`
    TupleField {
        base: Box<Expr>,
        index: u32,
    },
    /// `base[index]`
    Index {
        base: Box<Expr>,
        index: Box<Expr>,
    },
    /// `(a, b)`, `(a,)` and `()`
    Tuple(Vec<Expr>),
    /// `(a = 1, b = "x")`
    Record(Vec<(Name, Expr)>),
    /// `{ stmts; value }`
    Block(Box<Block>),
    /// `if c { a } else { b }` used as a value.
    If {
        cond: Box<Expr>,
        then: Box<Block>,
        otherwise: Box<Block>,
    },
    /// `comptime expr`
    Comptime(Box<Expr>),
}

/// A step of the path in `offsetof(type, a.b[1])`.
#[derive(Clone, Debug, PartialEq)]
pub enum PathStep {
    Member(Name),
    Index(Expr),
}

#[derive(Clone, Debug, PartialEq)]
pub enum TypeOrExpr {
    Type(TypeName),
    Expr(Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnOp {
    Neg,
    Not,
    BitNot,
    Deref,
    AddrOf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinOp {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    Shl,
    Shr,
    BitAnd,
    BitOr,
    BitXor,
    LogAnd,
    LogOr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl BinOp {
    /// The operator as written in a script.
    pub fn text(self) -> &'static str {
        match self {
            BinOp::Add => "+",
            BinOp::Sub => "-",
            BinOp::Mul => "*",
            BinOp::Div => "/",
            BinOp::Rem => "%",
            BinOp::Shl => "<<",
            BinOp::Shr => ">>",
            BinOp::BitAnd => "&",
            BinOp::BitOr => "|",
            BinOp::BitXor => "^",
            BinOp::LogAnd => "&&",
            BinOp::LogOr => "||",
            BinOp::Eq => "==",
            BinOp::Ne => "!=",
            BinOp::Lt => "<",
            BinOp::Le => "<=",
            BinOp::Gt => ">",
            BinOp::Ge => ">=",
        }
    }
}

/// A type as written: `uint64`, `struct sock *`, `int8[16]`, `string[64]`, `typeof(x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeName {
    pub base: TypeBase,
    pub pointers: u32,
    /// Outermost first; `None` for `[]`.
    pub array: Vec<Option<Box<Expr>>>,
    /// Stars after the bounds: `int8[4] *` is a pointer to an array.
    pub outer: u32,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TypeBase {
    /// A builtin type or typedef: `uint64`, `unsigned long` (words joined by one blank), `size_t`, `string`.
    Named(String),
    Struct(String),
    Union(String),
    Enum(String),
    /// `typeof(…)` used as a type.
    Typeof(Box<TypeOrExpr>),
    /// `(int32, string)`
    Tuple(Vec<TypeName>),
}
