//! The interface to the kernel that a script is compiled for. `runtime` implements it for the live system,
//! lazily; tests answer from a recorded folder. Nothing here does I/O.

use crate::bundle::ProgType;
use crate::types::{Type, TypeId};
use crate::uapi::{attach_type, helper};

/// A kernel version; `Version(5, 10)` is what messages call "5.10".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// An error in answering a query, as a message for the user.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelError {
    /// The message: "cannot read /sys/kernel/btf/vmlinux: No such file or directory".
    pub message: String,
    /// The suggestion.
    pub help: Option<String>,
}

impl KernelError {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> KernelError {
        KernelError { message: message.into(), help: Some(help.into()) }
    }
}

/// Optional features of the kernel that the compiler or the loader depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// BPF_TRACE_KPROBE_MULTI links work (5.18 and CONFIG_FPROBE).
    KprobeMulti,
    /// BPF_TRACE_KPROBE_SESSION links work: one for entries and returns (6.10).
    KprobeSession,
    /// BPF_TRACE_UPROBE_MULTI links work (6.6).
    UprobeMulti,
    /// bpf_get_attach_cookie and perf links with cookies (5.15).
    AttachCookie,
    /// bpf_get_func_ip (5.15).
    GetFuncIp,
    /// bpf_loop (5.17).
    Loop,
    /// bpf_map_lookup_percpu_elem (5.19).
    PercpuLookup,
    /// bpf_for_each_map_elem (5.13).
    ForEachMapElem,
    /// Atomic instructions with fetch, exchange and compare-exchange (5.12).
    AtomicFetch,
    /// Signed division and sign-extending loads, `-mcpu=v4` (6.6).
    CpuV4,
}

impl Feature {
    /// All of them, in the order in which kernels got them.
    pub const ALL: [Feature; 10] = [
        Feature::AtomicFetch,
        Feature::ForEachMapElem,
        Feature::AttachCookie,
        Feature::GetFuncIp,
        Feature::Loop,
        Feature::KprobeMulti,
        Feature::PercpuLookup,
        Feature::UprobeMulti,
        Feature::CpuV4,
        Feature::KprobeSession,
    ];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Feature::KprobeMulti => "kprobe_multi",
            Feature::KprobeSession => "kprobe_session",
            Feature::UprobeMulti => "uprobe_multi",
            Feature::AttachCookie => "get_attach_cookie",
            Feature::GetFuncIp => "get_func_ip",
            Feature::Loop => "loop",
            Feature::PercpuLookup => "lookup_percpu_elem",
            Feature::ForEachMapElem => "for_each_map_elem",
            Feature::AtomicFetch => "atomics",
            Feature::CpuV4 => "cpu_v4",
        }
    }

    /// The version in mainline from which it is there; distributions may have it earlier.
    pub fn since(self) -> Version {
        match self {
            Feature::KprobeMulti => attach_type::TRACE_KPROBE_MULTI.since,
            Feature::KprobeSession => attach_type::TRACE_KPROBE_SESSION.since,
            Feature::UprobeMulti => attach_type::TRACE_UPROBE_MULTI.since,
            Feature::CpuV4 => Version(6, 6),
            Feature::AttachCookie => helper::GET_ATTACH_COOKIE.since,
            Feature::GetFuncIp => helper::GET_FUNC_IP.since,
            Feature::Loop => helper::LOOP.since,
            Feature::PercpuLookup => helper::MAP_LOOKUP_PERCPU_ELEM.since,
            Feature::ForEachMapElem => helper::FOR_EACH_MAP_ELEM.since,
            Feature::AtomicFetch => Version(5, 12),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TypeKind {
    Struct,
    Union,
    Enum,
    Typedef,
}

/// A member of a struct or union. Anonymous inner structs are looked through by
/// [`Types::member`], and listed with an empty name by [`Types::members`].
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub name: String,
    pub ty: Type,
    /// From the start of the outermost record asked about.
    pub bit_offset: u32,
    /// Width of a bit-field; `None` for an ordinary member.
    pub bits: Option<u8>,
    /// Declared as `__be16`, `__be32` or `__be64`: in the byte order of the network.
    pub big_endian: bool,
}

/// The bytes of a type of the network's byte order, by its name.
pub fn network_size_of(name: &str) -> Option<u32> {
    match name {
        "__be16" => Some(2),
        "__be32" => Some(4),
        "__be64" => Some(8),
        _ => None,
    }
}

/// A kernel function with its prototype from BTF.
#[derive(Clone, Debug, PartialEq)]
pub struct Function {
    pub name: String,
    /// `None` for vmlinux.
    pub module: Option<String>,
    /// BTF id of the FUNC, in the module's (or vmlinux's) id space; 0 where there is none (raw
    /// tracepoints: the id of the `btf_trace_…` typedef).
    pub btf_id: u32,
    pub params: Vec<(String, Type)>,
    /// Whether more arguments may follow (`...`).
    pub variadic: bool,
    /// Of each parameter and then of the result, whether the verifier refuses to load it from the context; it is then
    /// read from the context's memory. Missing ones are loaded.
    pub refused: Vec<bool>,
    pub ret: Type,
}

/// A function that can be traced: name and, if it is in a module, the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionName {
    pub name: String,
    pub module: Option<String>,
}

/// A function of a BPF program in the kernel, by name: the program itself, or one that it calls.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BpfName {
    /// Its number.
    pub program: u32,
    pub name: String,
    /// BTF id of the FUNC, in the program's own id space.
    pub btf_id: u32,
}

/// A function of a BPF program with its prototype from the program's BTF.
#[derive(Clone, Debug, PartialEq)]
pub struct BpfFunction {
    pub program: u32,
    pub function: Function,
    /// Words of the context before the result: the parameters, but five where the verifier does not go by their types.
    pub words: u32,
    /// The verifier follows the first parameter, which is what the kernel hands to the program.
    pub tracked: bool,
}

/// A field of a tracepoint's record, from its `format` file.
#[derive(Clone, Debug, PartialEq)]
pub struct TracepointField {
    pub name: String,
    /// As declared in the format file, without the name: `const char *`, `__data_loc char[]`.
    pub declared: String,
    pub offset: u32,
    pub size: u32,
    pub signed: bool,
    /// The type as BTF or C knows it. `__data_loc` fields give the element array's pointer type.
    pub ty: Type,
    /// The field holds `length << 16 | offset` of data elsewhere in the record.
    pub data_loc: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tracepoint {
    pub category: String,
    pub name: String,
    pub id: u64,
    /// Without the common fields.
    pub fields: Vec<TracepointField>,
}

/// A function of an executable or library.
#[derive(Clone, Debug, PartialEq)]
pub struct UserSymbol {
    pub name: String,
    /// Address as in the symbol table.
    pub address: u64,
    /// Offset in the file: where a uprobe goes.
    pub file_offset: u64,
    pub size: u64,
    /// It is not the function, but what chooses one when a program starts (IFUNC).
    pub chooses: bool,
}

/// How a function of Go takes its arguments, and gives its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoAbi {
    /// In registers of Go's own choice (`ABIInternal`), the rest on the stack.
    Registers,
    /// All on the stack (`ABI0`): what is written in assembly, and everything before Go 1.17.
    Stack,
}

/// The location of a parameter or variable at some instruction. Registers are offsets in `struct pt_regs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Register(u32),
    /// Memory at what a register holds, and this.
    Memory {
        base: u32,
        displacement: i64,
    },
    /// It is itself what a register holds, and this.
    Sum {
        register: u32,
        plus: i64,
    },
    Constant(i64),
    /// In several places: which bytes of it are where, in their order.
    Parts(Vec<Part>),
    /// Nowhere that can be read; why, in words.
    Unknown(String),
}

/// Bytes of a value that lies in several places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub offset: u32,
    pub size: u32,
    pub place: Place,
}

/// A parameter of a user function.
#[derive(Clone, Debug, PartialEq)]
pub struct UserParameter {
    pub name: String,
    /// `void` when the language has no such type.
    pub ty: Type,
    /// As C writes it: `const char*`.
    pub declared: String,
    pub place: Place,
}

/// A user function as debug information describes it at one of its instructions.
#[derive(Clone, Debug, PartialEq)]
pub struct UserFunction {
    pub name: String,
    pub params: Vec<UserParameter>,
    /// The type of what it returns, as C writes it.
    pub returns: String,
}

/// A static probe of an executable or library (USDT), by its note in section `.note.stapsdt`.
#[derive(Clone, Debug, PartialEq)]
pub struct UsdtProbe {
    pub provider: String,
    pub name: String,
    /// Address as in the symbol table.
    pub address: u64,
    /// Offset in the file: where a uprobe goes.
    pub file_offset: u64,
    /// Offset in the file of the 16-bit counter of those who listen; 0 for none.
    pub semaphore: u64,
    /// The locations of the arguments: `-4@%eax 8@-16(%rbp)`.
    pub arguments: String,
}

/// A function or variable of an executable or library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserObject {
    /// Address as in the symbol table.
    pub address: u64,
    pub size: u64,
    pub image: Image,
}

/// The way to find where a file is mapped in a running process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// At the addresses of its symbol table.
    Fixed,
    /// An executable that is moved; its first code has this address in the file.
    Executable { code: u64 },
    /// A library: only what runs in it tells.
    Library,
}

/// Facts about the kernel and the machine a script is compiled for, by subject. Another answer to one subject is laid
/// over the others by replacing its field.
///
/// Methods return `Ok(None)` or an empty list for "there is no such thing" and an error for "cannot
/// know". Patterns are shell globs (`*`, `?`, `[…]`). No method has a default: whoever answers says what it knows of each.
#[derive(Clone, Copy)]
pub struct Kernel<'k> {
    pub types: &'k dyn Types,
    pub functions: &'k dyn Functions,
    pub tracepoints: &'k dyn Tracepoints,
    pub programs: &'k dyn Programs,
    pub machine: &'k dyn Machine,
}

impl<'k> Kernel<'k> {
    /// All subjects from one who knows them all.
    pub fn of<K: Types + Functions + Tracepoints + Programs + Machine>(all: &'k K) -> Kernel<'k> {
        Kernel { types: all, functions: all, tracepoints: all, programs: all, machine: all }
    }
}

/// The types that a script may name: of the kernel (BTF) and of traced programs (debug information).
pub trait Types {
    /// A type by kind and name (without keyword). Typedefs come resolved to what they name.
    fn find_type(&self, kind: TypeKind, name: &str) -> Result<Option<Type>, KernelError>;
    /// A member by name, also inside anonymous members; the offset is from the start of `id`.
    fn member(&self, id: TypeId, name: &str) -> Option<Member>;
    /// All direct members in order.
    fn members(&self, id: TypeId) -> Vec<Member>;
    /// The value and enum type of an enumerator of the kernel itself (`IPPROTO_TCP`).
    fn enumerator(&self, name: &str) -> Option<(i64, Type)>;
    /// The same of one that only a module has.
    fn module_enumerator(&self, name: &str) -> Option<(i64, Type)>;
    /// The enumerators of an enum, by name of the enum; of one without a name, by what its type is called.
    fn enum_values(&self, name: &str) -> Vec<(String, i64)>;
    /// The known name nearest to `name` among structs, unions or enums, if one is near.
    fn nearest_type(&self, kind: TypeKind, name: &str) -> Option<String>;
    /// A struct, union or enum of an executable, from debug information.
    fn user_type(&self, path: &str, kind: TypeKind, name: &str) -> Option<Type>;
    /// The value and enum type of an enumerator of an executable, from debug information; `None` too where several of
    /// its enums have one of this name with different values.
    fn user_enumerator(&self, path: &str, name: &str) -> Option<(i64, Type)>;
}

/// The kernel's functions and symbols, with those of modules and BPF programs.
pub trait Functions {
    /// A function's prototype from BTF; `module` restricts the search.
    fn function(&self, name: &str, module: Option<&str>) -> Result<Option<Function>, KernelError>;
    /// Functions that kprobes can be placed on; `module` is a pattern, `None` for everywhere.
    fn traceable_functions(&self, module: Option<&str>, pattern: &str) -> Result<Vec<FunctionName>, KernelError>;
    /// Whether the user said which functions can be traced: then no other can.
    fn functions_are_given(&self) -> bool;
    /// Whether several functions of the kernel itself have this name.
    fn shares_name(&self, function: &str) -> bool;
    /// The addresses of the kernel's own functions with this name, lowest first; none if there is only one, as
    /// far as that is known without reading the list of functions.
    fn namesakes(&self, function: &str) -> Vec<u64>;
    /// Functions with BTF that fentry can be placed on.
    fn btf_functions(&self, module: Option<&str>, pattern: &str) -> Result<Vec<FunctionName>, KernelError>;
    /// Functions of BPF programs with BTF, sorted: of one program, or of all.
    fn bpf_functions(&self, program: Option<u32>, pattern: &str) -> Result<Vec<BpfName>, KernelError>;
    /// One of them with its prototype; `None` when the program is gone.
    fn bpf_function(&self, name: &BpfName) -> Result<Option<BpfFunction>, KernelError>;
    /// Whether a BPF program of this number or, without one, of this name is loaded, even if it has no BTF.
    fn has_bpf_program(&self, program: Option<u32>, name: &str) -> bool;
    /// The function of a BPF program spelt nearest to this one.
    fn nearest_bpf_function(&self, name: &str) -> Option<String>;
    /// Whether a module is loaded or built in. For messages.
    fn has_module(&self, module: &str) -> bool;
    /// A function that the user may have meant: a new name of a renamed one, or one spelt nearly so.
    fn nearest_function(&self, name: &str) -> Option<String>;
    /// The address of a kernel symbol.
    fn symbol_address(&self, name: &str) -> Option<u64>;
    /// The kernel symbol spelt nearest to this one.
    fn nearest_symbol(&self, name: &str) -> Option<String>;
    /// Whether programs of this type may call a function of the kernel (a kfunc).
    fn kfunc_allowed(&self, name: &str, program: ProgType) -> bool;
}

/// The kernel's tracepoints and iterators.
pub trait Tracepoints {
    fn tracepoint(&self, category: &str, name: &str) -> Result<Option<Tracepoint>, KernelError>;
    /// Categories and names that match.
    fn tracepoints(&self, category: &str, name: &str) -> Result<Vec<(String, String)>, KernelError>;
    /// A raw tracepoint with its parameters, `void *__data` left out.
    fn raw_tracepoint(&self, name: &str) -> Result<Option<Function>, KernelError>;
    fn raw_tracepoints(&self, pattern: &str) -> Result<Vec<String>, KernelError>;
    /// Kinds of objects that the kernel has iterators for, sorted.
    fn iterators(&self) -> Result<Vec<String>, KernelError>;
    /// The tracepoint spelt nearest to this one.
    fn nearest_tracepoint(&self, category: &str, name: &str) -> Option<(String, String)>;
}

/// Traced programs and libraries: symbols, code, debug information, static probes.
pub trait Programs {
    /// The files that a uprobe target names: a path, a name looked up in `$PATH` or the library
    /// folders, or a pattern. `*` is what running processes have mapped. Where one process is traced (`-p`), `*` and
    /// names of libraries mean what it has mapped, and the empty pattern means its program.
    fn executables(&self, pattern: &str) -> Result<Vec<String>, KernelError>;
    /// Functions of an executable that match, mangled or not.
    fn user_symbols(&self, path: &str, pattern: &str) -> Result<Vec<UserSymbol>, KernelError>;
    /// The file offset of a virtual address of an executable.
    fn user_offset(&self, path: &str, address: u64) -> Result<Option<u64>, KernelError>;
    /// The static probes of an executable; one name may have several places.
    fn usdt_probes(&self, path: &str) -> Result<Vec<UsdtProbe>, KernelError>;
    /// The function of an executable that an address is in; one without a symbol, known from unwind information, goes by
    /// its address.
    fn user_symbol_at(&self, path: &str, address: u64) -> Result<Option<UserSymbol>, KernelError>;
    /// The starts of the instructions just before and after an address in the middle of one; `None` for an
    /// address where one begins.
    fn instructions(&self, path: &str, function: &UserSymbol, address: u64) -> Result<Option<(u64, u64)>, KernelError>;
    /// The addresses of the return instructions of a function.
    fn returns(&self, path: &str, function: &UserSymbol) -> Vec<u64>;
    /// A symbol as the sources write it (demangled), where that differs.
    fn source_name(&self, symbol: &str) -> Option<String>;
    /// Whether a function of an executable is Go's, and of which kind.
    fn go_abi(&self, path: &str, function: &UserSymbol) -> Option<GoAbi>;
    /// Whether the symbol table was taken out of an executable, and is not to be found apart from it.
    fn is_stripped(&self, path: &str) -> bool;
    /// The function of this name around an instruction, which is given by its offset in the file, from debug
    /// information.
    fn user_function(&self, path: &str, offset: u64, name: &str) -> Result<Option<UserFunction>, KernelError>;
    /// The addresses at which inlined copies of a function begin, from debug information.
    fn inlined(&self, path: &str, name: &str) -> Result<Vec<UserSymbol>, KernelError>;
    /// The addresses at which the code of a source line begins, from debug information; the error says why there is
    /// none.
    fn source_line(
        &self,
        path: &str,
        file: &str,
        line: u64,
        column: Option<u64>,
    ) -> Result<Vec<UserSymbol>, KernelError>;
    /// A function or variable of an executable by its exact name.
    fn user_object(&self, path: &str, name: &str) -> Result<Option<UserObject>, KernelError>;
    /// The virtual address of a file offset of an executable.
    fn user_address(&self, path: &str, offset: u64) -> Result<Option<u64>, KernelError>;
    /// The function of an executable nearest to an unknown one. For messages.
    fn nearest_user_symbol(&self, path: &str, name: &str) -> Option<String>;
}

/// The kernel as a whole, and where the compiler runs.
pub trait Machine {
    fn version(&self) -> Version;
    fn has(&self, feature: Feature) -> bool;
    /// The id of a cgroup by path.
    fn cgroup_id(&self, path: &str) -> Result<u64, KernelError>;
    /// Device (`dev_t` of the kernel) and inode of the pid namespace that rtrace runs in, when it is not the initial one.
    fn pid_namespace(&self) -> Option<(u64, u64)>;
}
