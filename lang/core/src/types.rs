//! The types of the language and how their values lie in BPF memory.
//!
//! Terminology: a *scalar* fits a register (integers, enums, pointers, booleans and the symbol-like
//! types); everything else is an *aggregate* and lives in memory. [`Type::size`] and
//! [`Type::align`] describe the **inline representation**: the bytes of a value in a map key, a map
//! value, a tuple or a fixed event field. Code generation and the runtime both follow it.

use serde::{Deserialize, Serialize};

/// Handle of a struct or union, meaningful to who gave it: the kernel's types (BTF), from [`TypeId::PROGRAM`] up the debug
/// information of programs, from [`TypeId::SCRIPT`] up the script's own definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TypeId(pub u32);

impl TypeId {
    /// The first handle of types of traced programs.
    pub const PROGRAM: u32 = 0x7000_0000;
    /// The first handle of types that the script defines.
    pub const SCRIPT: u32 = 0x8000_0000;
}

/// The address space that a pointer points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Space {
    /// Read with `bpf_probe_read_kernel`.
    Kernel,
    /// Read with `bpf_probe_read_user`.
    User,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Type {
    /// No value.
    Void,
    Bool,
    Int {
        bits: u8,
        signed: bool,
    },
    /// `float`, `double` or `long double`: only read and printed, because BPF cannot compute with it.
    Float {
        bytes: u8,
    },
    /// An integer of 16 bytes, only read and printed, too.
    Int128 {
        signed: bool,
    },
    /// An enum of the kernel, the script or a [program](program_enum); prints by name.
    Enum {
        name: String,
        bits: u8,
        signed: bool,
    },
    /// NUL-terminated, at most `cap` bytes with the NUL; inline representation zero-padded, so that
    /// equal strings are equal bytes.
    String {
        cap: u32,
    },
    /// Raw bytes: `u32` length, then `cap` bytes.
    Buffer {
        cap: u32,
    },
    /// As many elements as there are: `u32` bytes of them, then `cap` bytes.
    List {
        elem: Box<Type>,
        cap: u32,
    },
    /// An IPv4 or IPv6 address: `u32` family (2 or 10), then 16 bytes, zero-padded.
    Inet,
    /// A link-layer address of 6 bytes.
    Mac,
    Ptr {
        to: Box<Type>,
        space: Space,
    },
    Array {
        elem: Box<Type>,
        len: u32,
    },
    Record(Record),
    Tuple(Vec<Type>),
    /// A tuple with names.
    NamedTuple(Vec<(String, Type)>),
    /// Inline: `u64` key into the stack map (0: no stack), `u32` process (0 for kernel stacks), `u32` zero.
    Stack(StackType),
    /// A kernel address, printed as a symbol.
    Ksym,
    /// A user address: `u64` address, `u32` process, `u32` zero.
    Usym,
    /// A probe identifier (index into the bundle's probes), printed as the probe's full name.
    ProbeName,
    /// A probe identifier, printed as the name of the traced function.
    FuncName,
    /// A user id, printed as a user name.
    Username,
    /// Nanoseconds since boot, printed with the `strftime` format of that index in the bundle.
    Timestamp {
        format: u32,
    },
    /// A cgroup id, printed as its path.
    CgroupPath,
    /// A process id, printed as the name of the process.
    ProcessName,
    /// 64 bits, printed as the names of those set: of an enum, or of the constants that begin with this when it ends
    /// in `_`.
    Flags {
        of: String,
    },
    /// The value of a map that aggregates.
    Agg(Agg),
}

/// A struct or union: its name with the keyword (`struct sk_buff`), size in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Record {
    pub name: String,
    pub id: TypeId,
    pub size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StackType {
    pub user: bool,
    pub mode: StackMode,
    /// Most frames kept.
    pub depth: u16,
    /// A stack that was kept in a variable or map: an event carries its inline representation, not the frames.
    pub stored: bool,
}

impl StackType {
    /// Bytes of a frame: an address, or `struct bpf_stack_build_id` (`u32` kind, 20 bytes of the build id, `u64` offset).
    pub fn frame_size(&self) -> u32 {
        if self.mode == StackMode::BuildId { 32 } else { 8 }
    }

    /// Most bytes of the frames.
    pub fn bytes(&self) -> u32 {
        u32::from(self.depth) * self.frame_size()
    }
}

/// How a stack is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StackMode {
    Bpftrace,
    Perf,
    Raw,
    /// Files by their build ids, and offsets in them; of user stacks.
    BuildId,
}

/// The aggregations, as arrays of `u64` words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Agg {
    /// `[count]`
    Count,
    /// `[sum]`
    Sum { signed: bool },
    /// `[sum, count]`
    Avg { signed: bool },
    /// `[sum, count]`, printed with all three figures.
    Stats { signed: bool },
    /// `[value, is_set]`
    Min { signed: bool },
    /// `[value, is_set]`
    Max { signed: bool },
    /// Power-of-two buckets, each split into `2^bits`; see [`crate::hist`].
    Hist { bits: u8 },
    /// Below `min`, `(max - min) / step` buckets, from `max` up.
    Lhist { min: i64, max: i64, step: i64 },
    /// Buckets as `Hist { bits: Agg::QUANTILE_BITS }`, printed as these percentiles, in thousandths of a percent.
    Quantiles { percentiles: Vec<u32> },
    /// A ring of intervals on the wall clock: slot `number % intervals` holds `[number, value, weight]`, where
    /// `number` is the time divided by `interval` (nanoseconds) and a weight of 0 means that the slot is empty.
    /// The weight is the time of the value in nanoseconds for `Last`, else how many values there were.
    Tseries { interval: u64, intervals: u32, of: Series, signed: bool },
}

/// The aggregation of the values in one interval of a time series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Series {
    Last,
    Sum,
    Min,
    Max,
    /// The value is the sum; divided by the weight when it is read.
    Avg,
}

impl Agg {
    /// Each power of two has 2^5 buckets, so their middle is at most 1.6 % from every value in them.
    pub const QUANTILE_BITS: u8 = 5;
    /// `u64` words of an interval of a time series.
    pub const SERIES_WORDS: u32 = 3;

    /// Number of `u64` words of one value.
    pub fn words(&self) -> u32 {
        match self {
            Agg::Count | Agg::Sum { .. } => 1,
            Agg::Avg { .. } | Agg::Stats { .. } | Agg::Min { .. } | Agg::Max { .. } => 2,
            Agg::Hist { bits } => crate::hist::log2_buckets(*bits),
            Agg::Lhist { min, max, step } => crate::hist::linear_buckets(*min, *max, *step),
            Agg::Quantiles { .. } => crate::hist::log2_buckets(Self::QUANTILE_BITS),
            Agg::Tseries { intervals, .. } => intervals.saturating_mul(Self::SERIES_WORDS),
        }
    }

    /// Whether one number stands for it.
    pub fn is_number(&self) -> bool {
        !matches!(self, Agg::Hist { .. } | Agg::Lhist { .. } | Agg::Quantiles { .. } | Agg::Tseries { .. })
    }

    /// The type of the one number that it prints as.
    pub fn figure(&self) -> Option<Type> {
        match self {
            Agg::Count => Some(Type::U64),
            Agg::Sum { signed } | Agg::Avg { signed } | Agg::Min { signed } | Agg::Max { signed } => {
                Some(Type::Int { bits: 64, signed: *signed })
            }
            _ => None,
        }
    }

    /// Whether every update is an addition, so that CPUs may share a counter atomically.
    pub fn is_additive(&self) -> bool {
        !matches!(self, Agg::Min { .. } | Agg::Max { .. } | Agg::Tseries { .. })
    }

    /// The function that makes it, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Agg::Count => "count",
            Agg::Sum { .. } => "sum",
            Agg::Avg { .. } => "avg",
            Agg::Stats { .. } => "stats",
            Agg::Min { .. } => "min",
            Agg::Max { .. } => "max",
            Agg::Hist { .. } => "hist",
            Agg::Lhist { .. } => "lhist",
            Agg::Quantiles { .. } => "quantiles",
            Agg::Tseries { .. } => "tseries",
        }
    }
}

impl Type {
    pub const U8: Type = Type::Int { bits: 8, signed: false };
    pub const I8: Type = Type::Int { bits: 8, signed: true };
    pub const U16: Type = Type::Int { bits: 16, signed: false };
    pub const U32: Type = Type::Int { bits: 32, signed: false };
    pub const I32: Type = Type::Int { bits: 32, signed: true };
    pub const U64: Type = Type::Int { bits: 64, signed: false };
    pub const I64: Type = Type::Int { bits: 64, signed: true };

    /// A floating-point number of that many bytes, if C has it.
    pub fn float(bytes: u64) -> Option<Type> {
        matches!(bytes, 4 | 8 | 16).then_some(Type::Float { bytes: bytes as u8 })
    }

    /// A kernel pointer to `to`.
    pub fn kptr(to: Type) -> Type {
        Type::Ptr { to: Box::new(to), space: Space::Kernel }
    }

    /// The type of a value that lies in an address space: what is reached from there through pointers is there, too.
    pub fn in_space(&self, space: Space) -> Type {
        match self {
            Type::Ptr { to, .. } => Type::Ptr { to: Box::new(to.in_space(space)), space },
            Type::Array { elem, len } => Type::Array { elem: Box::new(elem.in_space(space)), len: *len },
            Type::List { elem, cap } => Type::List { elem: Box::new(elem.in_space(space)), cap: *cap },
            other => other.clone(),
        }
    }

    /// Whether two types differ at most in where their pointers point.
    pub fn same_but_for_space(&self, other: &Type) -> bool {
        self == other || self.in_space(Space::User) == other.in_space(Space::User)
    }

    /// Whether a value fits a register.
    pub fn is_scalar(&self) -> bool {
        matches!(
            self,
            Type::Bool
                | Type::Int { .. }
                | Type::Enum { .. }
                | Type::Ptr { .. }
                | Type::Ksym
                | Type::ProbeName
                | Type::FuncName
                | Type::Username
                | Type::Timestamp { .. }
                | Type::CgroupPath
                | Type::ProcessName
                | Type::Flags { .. }
        )
    }

    /// Integers, enums and booleans: what arithmetic takes.
    pub fn is_integer(&self) -> bool {
        matches!(self, Type::Bool | Type::Int { .. } | Type::Enum { .. })
    }

    /// Whether a scalar is sign-extended when widened.
    pub fn is_signed(&self) -> bool {
        matches!(self, Type::Int { signed: true, .. } | Type::Enum { signed: true, .. })
    }

    /// Bytes of the inline representation.
    pub fn size(&self) -> u32 {
        match self {
            Type::Void => 0,
            Type::Bool => 1,
            Type::Int { bits, .. } | Type::Enum { bits, .. } => u32::from(*bits) / 8,
            Type::String { cap } => *cap,
            Type::Buffer { cap } | Type::List { cap, .. } => cap.saturating_add(4),
            Type::Inet => 20,
            Type::Mac => 6,
            Type::Float { bytes } => u32::from(*bytes),
            Type::Int128 { .. } => 16,
            Type::Username => 4,
            Type::Ptr { .. }
            | Type::Ksym
            | Type::ProbeName
            | Type::FuncName
            | Type::Timestamp { .. }
            | Type::CgroupPath
            | Type::ProcessName
            | Type::Flags { .. } => 8,
            Type::Array { elem, len } => elem.size().saturating_mul(*len),
            Type::Record(r) => r.size,
            Type::Tuple(list) => tuple_size(list.iter()),
            Type::NamedTuple(list) => tuple_size(list.iter().map(|(_, t)| t)),
            Type::Stack(_) | Type::Usym => 16,
            Type::Agg(a) => a.words().saturating_mul(8),
        }
    }

    /// Alignment of the inline representation.
    pub fn align(&self) -> u32 {
        match self {
            Type::Void | Type::Bool | Type::String { .. } | Type::Mac => 1,
            Type::Int { .. } | Type::Enum { .. } => self.size().max(1),
            // No more than BPF aligns its memory to; C aligns the larger ones to 16.
            Type::Float { bytes } => u32::from(*bytes).clamp(1, 8),
            Type::Buffer { .. } | Type::List { .. } | Type::Inet | Type::Username => 4,
            Type::Array { elem, .. } => elem.align(),
            // Not through `elements`: each level would ask the one below for sizes, too.
            Type::Tuple(list) => list.iter().map(Type::align).max().unwrap_or(1),
            Type::NamedTuple(list) => list.iter().map(|(_, t)| t.align()).max().unwrap_or(1),
            _ => 8,
        }
    }

    /// The offsets of IDs of stored stacks in the inline representation.
    pub fn stacks(&self) -> Vec<u32> {
        match self {
            Type::Stack(_) => vec![0],
            Type::Tuple(_) | Type::NamedTuple(_) => {
                let inner = |(at, ty): (u32, &Type)| ty.stacks().into_iter().map(move |n| at.saturating_add(n));
                self.elements().flat_map(inner).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Offset and type of each element of a tuple (C layout); nothing for other types.
    pub fn elements(&self) -> impl Iterator<Item = (u32, &Type)> {
        let (plain, named): (&[Type], &[(String, Type)]) = match self {
            Type::Tuple(list) => (list, &[]),
            Type::NamedTuple(list) => (&[], list),
            _ => (&[], &[]),
        };
        let mut at = 0u32;
        plain.iter().chain(named.iter().map(|(_, ty)| ty)).map(move |ty| {
            let offset = at.checked_next_multiple_of(ty.align()).unwrap_or(u32::MAX);
            at = offset.saturating_add(ty.size());
            (offset, ty)
        })
    }
}

/// Size of a tuple of these, in C layout. Asks each element once: tuples of tuples make trees.
fn tuple_size<'t>(types: impl Iterator<Item = &'t Type>) -> u32 {
    let up = |at: u32, align: u32| at.checked_next_multiple_of(align).unwrap_or(u32::MAX);
    let (mut end, mut align) = (0u32, 1u32);
    for ty in types {
        let own = ty.align();
        end = up(end, own).saturating_add(ty.size());
        align = align.max(own);
    }
    up(end, align)
}

/// The name of an anonymous enum: enumerators belong to one enum each, so the first of them identifies it.
pub fn unnamed_enum(first: &str) -> String {
    format!("{{{first}, …}}")
}

/// The first enumerator of an enum without a name, by what it is called.
pub fn first_of_unnamed(name: &str) -> Option<&str> {
    name.strip_prefix('{')?.strip_suffix(", …}")
}

/// The name of an enum of a traced program, by its number: programs, their units and the kernel may
/// each have one of the same name.
pub fn program_enum(name: &str, number: usize) -> String {
    format!("{name}@{number}")
}

/// The name and the number of an enum of a traced program, by what it is called.
fn parts_of_program_enum(name: &str) -> Option<(&str, usize)> {
    let (written, number) = name.rsplit_once('@')?;
    Some((written, number.parse().ok()?))
}

/// The number of an enum of a traced program, by what it is called.
pub fn number_of_program_enum(name: &str) -> Option<usize> {
    parts_of_program_enum(name).map(|(_, number)| number)
}

/// An enum's name as its definition has it.
fn enum_name(name: &str) -> &str {
    parts_of_program_enum(name).map_or(name, |(written, _)| written)
}

impl std::fmt::Display for Type {
    /// The type as the language writes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Type::Void => f.write_str("void"),
            Type::Bool => f.write_str("bool"),
            Type::Int { bits, signed } => write!(f, "{}int{bits}", if *signed { "" } else { "u" }),
            Type::Float { bytes: 4 } => f.write_str("float"),
            Type::Float { bytes: 8 } => f.write_str("double"),
            Type::Float { .. } => f.write_str("long double"),
            Type::Int128 { signed } => f.write_str(if *signed { "__int128" } else { "unsigned __int128" }),
            Type::Enum { name, .. } => write!(f, "enum {}", enum_name(name)),
            Type::String { cap } => write!(f, "string[{cap}]"),
            Type::Buffer { cap } => write!(f, "buffer[{cap}]"),
            Type::List { elem, .. } => write!(f, "{elem}[]"),
            Type::Inet => f.write_str("inet"),
            Type::Mac => f.write_str("macaddr"),
            Type::Ptr { to, .. } => match **to {
                Type::Ptr { .. } => write!(f, "{to}*"),
                _ => write!(f, "{to} *"),
            },
            Type::Array { elem, len } => write!(f, "{elem}[{len}]"),
            Type::Record(r) => f.write_str(&r.name),
            Type::Tuple(list) => {
                f.write_str("(")?;
                for (i, t) in list.iter().enumerate() {
                    write!(f, "{}{t}", if i > 0 { "," } else { "" })?;
                }
                f.write_str(")")
            }
            Type::NamedTuple(list) => {
                f.write_str("record{")?;
                for (i, (n, t)) in list.iter().enumerate() {
                    write!(f, "{}.{n}={t}", if i > 0 { "," } else { "" })?;
                }
                f.write_str("}")
            }
            Type::Stack(s) => f.write_str(if s.user { "ustack" } else { "kstack" }),
            Type::Ksym => f.write_str("ksym_t"),
            Type::Usym => f.write_str("usym_t"),
            Type::ProbeName => f.write_str("probe"),
            Type::FuncName => f.write_str("func"),
            Type::Username => f.write_str("username"),
            Type::Timestamp { .. } => f.write_str("timestamp"),
            Type::CgroupPath => f.write_str("cgroup_path_t"),
            Type::ProcessName => f.write_str("process_name"),
            Type::Flags { of } => write!(f, "flags({})", enum_name(of)),
            Type::Agg(a) => write!(f, "{}_t", a.name()),
        }
    }
}
