//! The typed program: every name resolved, every conversion explicit, all sizes known, probes
//! matched against the kernel. Code generation turns it into BPF without asking further questions.
//!
//! Scalars are values; aggregates (strings, buffers, arrays, records, tuples, stacks, addresses…)
//! are evaluated *into* memory: a scratch slot, a map key, an event.

use crate::bundle::{AttachMode, ProgType, RecordDef};
use crate::bundle::{AttachPoint, Config, EnumDef, EventDef, Globals, MapDef, MapObject, ProbeIdSource, ProbeInfo};
use crate::intrinsic::Intrinsic;
use crate::source::Span;
use crate::types::{Space, Type};
use rtrace_grammar::ast::BinOp;

/// Index into [`Typed::maps`].
pub type MapId = u32;
/// Index into [`Typed::events`]; the first word of the event's record.
pub type EventId = u32;
/// Index into [`Program::locals`].
pub type LocalId = u32;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Typed {
    pub programs: Vec<Program>,
    pub probes: Vec<ProbeInfo>,
    pub maps: Vec<MapDef>,
    /// BPF maps needed: the script's, then the ring buffer, scratch, stacks and packets as used.
    /// The scratch map's value size is set by code generation.
    pub map_objects: Vec<MapObject>,
    pub events: Vec<EventDef>,
    pub globals: Globals,
    pub time_formats: Vec<String>,
    pub enums: Vec<EnumDef>,
    pub records: Vec<RecordDef>,
    pub config: Config,
    /// Offset of the instruction pointer in `struct pt_regs`.
    pub instruction_pointer: u32,
    /// The license of the programs that is declared to the kernel.
    pub license: String,
}

/// One BPF program.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// C identifier, unique: `kprobe_vfs_read_1`.
    pub symbol: String,
    pub prog_type: ProgType,
    pub probe_id: ProbeIdSource,
    pub attach_mode: AttachMode,
    /// The program for the returns of the same functions.
    pub session: Option<u32>,
    /// It may call `exit()`.
    pub exits: bool,
    /// It does not run any more once `exit()` was called: a clause before it, at one of its places, may do so.
    pub after_exit: bool,
    pub attach: Vec<AttachPoint>,
    pub locals: Vec<Local>,
    pub body: Vec<Stmt>,
    /// The script's functions that it calls; each calls only ones before it.
    pub functions: Vec<Function>,
    pub span: Span,
}

/// A function of the script as one program calls it.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    /// The number of parameters, which are the first locals, in order.
    pub params: usize,
    /// `Void` for none.
    pub result: Type,
    pub locals: Vec<Local>,
    pub body: Vec<Stmt>,
    pub span: Span,
}

impl Program {
    /// The variables of the program and of its functions.
    pub fn all_locals(&self) -> impl Iterator<Item = &Local> {
        self.locals.iter().chain(self.functions.iter().flat_map(|f| &f.locals))
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// Without the `$`.
    pub name: String,
    pub ty: Type,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Stmt {
    pub kind: StmtKind,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum StmtKind {
    /// Evaluated for its effect.
    Expr(Expr),
    SetLocal {
        local: LocalId,
        value: Expr,
    },
    /// `@m[k] = v`; the value has the map's type.
    SetMap {
        map: MapId,
        key: Option<Expr>,
        value: Expr,
    },
    /// `@m[k] op= v` on an integer map, atomic for `+ - & | ^`; a missing entry counts as zero.
    UpdateMap {
        map: MapId,
        key: Option<Expr>,
        op: BinOp,
        value: Expr,
    },
    /// `@m[k] = count()`, `sum(v)`, …; the map's type says which.
    Aggregate {
        map: MapId,
        key: Option<Expr>,
        value: Option<Expr>,
    },
    /// Deletes an entry; no effect when there is none.
    Delete {
        map: MapId,
        key: Option<Expr>,
    },
    /// Sends an event; the arguments have the event's field types.
    Event {
        event: EventId,
        args: Vec<Expr>,
    },
    If {
        cond: Expr,
        then: Vec<Stmt>,
        otherwise: Vec<Stmt>,
    },
    /// The local is the loop's own, and holds nothing that the script knows of.
    While {
        local: LocalId,
        cond: Expr,
        body: Vec<Stmt>,
    },
    /// `for ($i : start..end)`; the local is an `int64`.
    ForRange {
        local: LocalId,
        start: Expr,
        end: Expr,
        body: Vec<Stmt>,
    },
    /// `for ($kv : @m)`; the local is a tuple of key and value.
    ForMap {
        local: LocalId,
        map: MapId,
        body: Vec<Stmt>,
    },
    Break,
    Continue,
    /// Ends the program, from within a function too.
    Leave,
    /// Ends the program or the function, which gives the value if it has a result.
    Return(Option<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub kind: ExprKind,
    pub ty: Type,
    pub span: Span,
}

/// The verifier's knowledge about a memory location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    /// The pointee type: the verifier finds a member of the required type and size there.
    Member,
    /// The same, but what it takes for a struct of the kernel may be one that a program handed over: few kernels' type
    /// information says so (`__user`), and then the address tells.
    MemberOrUser,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ExprKind {
    /// A scalar constant, sign-extended to 64 bits.
    Int(i64),
    /// The bytes of an aggregate constant in its inline representation: string literals (shorter
    /// than the type's capacity: the rest is zero), `pton` results, …
    Bytes(Vec<u8>),
    Local(LocalId),
    /// A map entry's value; zero when there is none.
    MapGet {
        map: MapId,
        key: Option<Box<Expr>>,
    },
    /// Whether a map has the key; without one, whether a keyless map has a value. Bool.
    MapHas {
        map: MapId,
        key: Option<Box<Expr>>,
    },
    /// A per-CPU or striped aggregation read in the program: `int64`. Sums over CPUs are not visible in
    /// BPF for per-CPU maps, so this is the sum of what this kernel lets a program see.
    AggGet {
        map: MapId,
        key: Option<Box<Expr>>,
    },
    /// Number of entries of a map.
    MapLen {
        map: MapId,
    },
    /// A word of the program's context: bytes `offset .. offset + ty.size()`, loaded directly.
    Ctx {
        offset: u32,
    },
    /// Address of context memory as a kernel pointer: for arrays in tracepoint records.
    CtxAddr {
        offset: u32,
    },
    /// Address of `__data_loc` data: context address + low 16 bits of the `u32` at `offset`.
    CtxDataLoc {
        offset: u32,
    },
    /// The identifier of the attach point that fired: type ProbeName or FuncName.
    ProbeId,
    /// An operation that code generation lowers.
    Call {
        intrinsic: Intrinsic,
        args: Vec<Expr>,
    },
    /// A call of a function of imported C. Its parameters are scalars; where one is a pointer, the argument may be a
    /// value in memory, which is passed by the address of a copy.
    Foreign {
        name: String,
        params: Vec<Type>,
        args: Vec<Expr>,
    },
    /// A call of a function of the script, by its index in [`Program::functions`]; the arguments have the
    /// parameters' types.
    Invoke {
        function: u32,
        args: Vec<Expr>,
    },
    /// `-x` and `~x`: integer types.
    Neg(Box<Expr>),
    BitNot(Box<Expr>),
    /// `!x`: Bool of "x is zero"; `x` any scalar.
    Not(Box<Expr>),
    /// Arithmetic, bit operations and shifts: both sides have this expression's type (64-bit integer,
    /// or a pointer plus `uint64`). Signed division and remainder truncate toward zero; by zero gives zero
    /// (remainder: the dividend). Shift counts are masked to 63.
    Arith {
        op: BinOp,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// Comparison of two scalars of the same type; signed when `signed`. Bool.
    Compare {
        op: BinOp,
        signed: bool,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// Equality of two aggregates of the same type: the first `len` bytes of the inline
    /// representations, for strings up to and including the first NUL. Bool.
    Equal {
        negate: bool,
        len: u32,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// Short-circuit `&&`, `||`: Bool from Bools.
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Ternary {
        cond: Box<Expr>,
        then: Box<Expr>,
        otherwise: Box<Expr>,
    },
    /// Scalar to scalar: truncation, or extension by the operand's sign; to Bool: is not zero.
    Convert(Box<Expr>),
    /// Aggregate of another capacity (string to string): truncated or zero-extended.
    Resize(Box<Expr>),
    /// Memory at `ptr + offset` in the pointer's address space; `ty` says how much. A failed read gives zero.
    Load {
        ptr: Box<Expr>,
        offset: i64,
        space: Space,
        bits: Option<Bits>,
        known: Known,
    },
    /// `ptr + offset` as a pointer: array members and `&`.
    Address {
        ptr: Box<Expr>,
        offset: i64,
    },
    /// The address of a variable or of the value of a map entry, as a plain number; 0 if there is no entry.
    LocalAddress(LocalId),
    MapAddress {
        map: MapId,
        key: Option<Box<Expr>>,
    },
    /// Part of an aggregate value (tuple element, record member, array element) at a constant offset
    /// of its inline representation.
    Part {
        base: Box<Expr>,
        offset: u32,
        bits: Option<Bits>,
    },
    /// Element of an array value at a computed index; out of bounds gives zero.
    Element {
        base: Box<Expr>,
        index: Box<Expr>,
        len: u32,
    },
    /// A tuple built from its elements (types as in `ty`).
    Tuple(Vec<Expr>),
    /// `++`/`--` on a local or an integer map entry (atomic): the value before or after.
    StepLocal {
        local: LocalId,
        delta: i64,
        before: bool,
    },
    StepMap {
        map: MapId,
        key: Option<Box<Expr>>,
        delta: i64,
        before: bool,
    },
    /// Statements, then a value.
    Block {
        stmts: Vec<Stmt>,
        value: Box<Expr>,
    },
}

/// A bit-field within the bytes that its load takes: value = (word >> shift) & (2^width - 1), sign-
/// extended if the type is signed. The load's size is `bytes` from the given offset (little endian).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    pub bytes: u8,
    pub shift: u8,
    pub width: u8,
}

impl Expr {
    pub fn int(value: i64, ty: Type, span: Span) -> Expr {
        Expr { kind: ExprKind::Int(value), ty, span }
    }

    pub fn intrinsic(intrinsic: Intrinsic, args: Vec<Expr>, ty: Type, span: Span) -> Expr {
        Expr { kind: ExprKind::Call { intrinsic, args }, ty, span }
    }

    /// The value of a scalar constant.
    pub fn constant(&self) -> Option<i64> {
        match self.kind {
            ExprKind::Int(v) => Some(v),
            _ => None,
        }
    }
}
