//! The bundle: what the compiler hands to the runtime. An ELF object of BPF programs together with
//! everything needed to load it, attach it, read its events and print its maps, and nothing that
//! needs the compiler again. Deterministic: same source and same kernel facts, same bytes.
//!
//! Layout contract between code generation and the runtime:
//! * every program is a symbol `ProgramDef::symbol` in its own section `kprobe/<symbol>` (the section
//!   kind is only a label; `ProgramDef::prog_type` counts);
//! * maps are legacy definitions (`struct bpf_map_def`, 7 words) in section `maps`, under `MapObject::symbol`;
//! * plain memory shared by all programs is one global, section `.bss`, symbol [`GLOBALS_SYMBOL`];
//!   [`Globals`] says what lies where;
//! * events go through the ring buffer [`RINGBUF_SYMBOL`]; [`EventLayout`] describes their bytes;
//! * a program that asks for its probe identifier holds the 64-bit constant [`PROBE_ID_MAGIC`] in an
//!   `ld_imm64` instruction for the loader to patch, or reads the attach cookie ([`ProbeIdSource`]); one that many
//!   kprobes may share as one event ([`Together::Event`]) finds it in [`PROBES_SYMBOL`] if [`PROBE_ID_LOOKUP`] is patched in.

use crate::origin::{Origin, checksum};
use crate::source::SourceMap;
use crate::types::{Record, Type};
use serde::{Deserialize, Serialize};

pub const FORMAT_VERSION: u32 = 17;
pub const MAGIC: &[u8; 8] = b"RTBUNDLE";
pub const GLOBALS_SYMBOL: &str = "rt_globals";
pub const RINGBUF_SYMBOL: &str = "rt_events";
/// Per-CPU array with one element: working memory of all programs.
pub const SCRATCH_SYMBOL: &str = "rt_scratch";
/// The same where the CPUs are counted: plain memory, in a section that has this name.
pub const PLACED_SCRATCH_SYMBOL: &str = ".bss.scratch";
/// Hash of kernel and user stacks: key `u64`, value `u32` bytes of the frames, `u32` zero, `u64` frames.
pub const STACKS_SYMBOL: &str = "rt_stacks";
/// Hash of unwind tables by file, each an array of rows: see [`unwind`].
pub const UNWIND_SYMBOL: &str = "rt_unwind";
/// Hash of the files whose unwind tables programs missed: see [`unwind`].
pub const WANTED_SYMBOL: &str = "rt_wanted";
/// What a record of `skboutput` begins with: event, bytes of the data (both `u32`), time, length of the data, bytes of
/// headers before it (`u64`), which follow: at most so many.
pub const PACKET_HEADER: u32 = 32;
pub const PULLED_MOST: u32 = 191;
/// Perf event array for `skboutput`.
pub const PACKETS_SYMBOL: &str = "rt_packets";
/// Hash of probe identifiers (`u64`) by address (`u64`): the instruction pointer as the program of a kprobe sees it, or
/// what `bpf_get_func_ip` gives at a return.
pub const PROBES_SYMBOL: &str = "rt_probes";
pub const PROBE_ID_MAGIC: u64 = 0x7274_7261_6365_4944;
/// In place of [`PROBE_ID_MAGIC`]: look the identifier up.
pub const PROBE_ID_LOOKUP: u64 = u64::MAX;

/// The unwind tables that `dw_ustack` walks stacks by: how programs, which read them, and the runtime, which makes
/// them from `.eh_frame`, lay them out. Numbers are little-endian, all rows have [`unwind::ROW`] bytes.
///
/// A file is known by [`unwind::KEY`] bytes: `u64` device (as the kernel encodes it: major << 20 | minor), `u64` inode.
/// The first row of its table begins with the `u64` number of those that follow. These are sorted by place: a row
/// holds from its place to that of the next, and the first place is 0.
///
/// A row: `u32` offset in the file, `u8` how the canonical frame address (CFA, what the stack pointer is in the caller)
/// is found, `u8` where the return address lies, `u8` where the caller's base pointer lies, `u8` number of the word
/// above the stack pointer that has the return address or, of a linkage table, the first byte of an entry in whose
/// code a word more is on the stack, `i32` offset for the CFA, `i32` offset for the base pointer.
pub mod unwind {
    /// Bytes of a row.
    pub const ROW: u32 = 16;
    /// Bytes of a key.
    pub const KEY: u32 = 16;
    /// Files that there is room for.
    pub const FILES: u32 = 1024;
    /// Most rows of a file, a power of two: those of the largest programs there are fit.
    pub const ROWS: u32 = 1 << 22;
    /// Bytes of a wanted file's value: `u64` process, `u64` an address where the process has it mapped.
    pub const WANTED: u32 = 16;
    /// Wanted files that there is room for between two looks.
    pub const WANTED_FILES: u32 = 256;

    /// Nothing is known of this place.
    pub const CFA_NONE: u8 = 0;
    /// Stack pointer plus offset.
    pub const CFA_SP: u8 = 1;
    /// Base pointer plus offset.
    pub const CFA_BP: u8 = 2;
    /// The word at stack pointer plus offset.
    pub const CFA_AT_SP: u8 = 3;
    /// The word at base pointer plus offset.
    pub const CFA_AT_BP: u8 = 4;
    /// Stack pointer plus offset, and a word more from some byte of each 16 on: the entries of a linkage table.
    pub const CFA_PLT: u8 = 5;
    /// The outermost function: there is no caller.
    pub const CFA_END: u8 = 6;
    /// In the word below the CFA.
    pub const RA_CFA: u8 = 1;
    /// So many words above the stack pointer; what it points to was interrupted and made no call.
    pub const RA_SP: u8 = 2;
    /// The base pointer is the same in the caller (or of no use to it).
    pub const BP_SAME: u8 = 0;
    /// At CFA plus offset.
    pub const BP_CFA: u8 = 1;
    /// At stack pointer plus offset.
    pub const BP_SP: u8 = 2;
    /// At base pointer plus offset.
    pub const BP_BP: u8 = 3;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// The ELF object.
    pub object: Vec<u8>,
    pub sources: SourceMap,
    pub programs: Vec<ProgramDef>,
    /// Every attach point that has an identifier of its own; `ProbeName` values index this.
    pub probes: Vec<ProbeInfo>,
    pub maps: Vec<MapDef>,
    /// All BPF maps of the object, in the order of section `maps`.
    pub map_objects: Vec<MapObject>,
    pub events: Vec<EventDef>,
    pub globals: Globals,
    pub loops: Vec<LoopDef>,
    /// `strftime` formats, indexed by [`Type::Timestamp`].
    pub time_formats: Vec<String>,
    /// Enums that values are printed with: name, enumerators.
    pub enums: Vec<EnumDef>,
    /// Structs that are printed whole.
    pub records: Vec<RecordDef>,
    pub config: Config,
    /// What it was compiled against, where it is to run from a file.
    pub origin: Option<Origin>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnumDef {
    pub name: String,
    pub values: Vec<(String, i64)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordDef {
    pub record: Record,
    pub fields: Vec<RecordField>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordField {
    pub name: String,
    pub ty: Type,
    pub bit_offset: u32,
    pub bits: Option<u8>,
}

/// BPF program types, with the expected attach type where one matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ProgType {
    /// BPF_PROG_TYPE_KPROBE: kprobe, kretprobe, uprobe, uretprobe, usdt.
    Kprobe,
    /// BPF_PROG_TYPE_TRACEPOINT.
    Tracepoint,
    /// BPF_PROG_TYPE_PERF_EVENT: profile, interval, software, hardware, watchpoint.
    PerfEvent,
    /// BPF_PROG_TYPE_RAW_TRACEPOINT: raw tracepoints without BTF; BEGIN and END by test run.
    RawTracepoint,
    /// BPF_PROG_TYPE_TRACING, BPF_TRACE_RAW_TP.
    BtfTracepoint,
    /// BPF_PROG_TYPE_TRACING, BPF_TRACE_FENTRY.
    Fentry,
    /// BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT.
    Fexit,
    /// BPF_PROG_TYPE_TRACING, BPF_TRACE_ITER.
    Iter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeIdSource {
    /// The program does not ask.
    Unused,
    /// The loader loads one copy per attach point with [`PROBE_ID_MAGIC`] replaced.
    Patch,
    /// `bpf_get_attach_cookie` returns it: the loader sets cookies.
    Cookie,
}

/// How many attach points of a program are attached at once. What cannot be is attached one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Together {
    No,
    /// With one multi link (kprobe.multi, uprobe.multi).
    Link,
    /// As one event of tracefs with many kprobes (Linux 5.4).
    Event,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgramDef {
    pub symbol: String,
    pub prog_type: ProgType,
    pub probe_id: ProbeIdSource,
    pub together: Together,
    /// Index of the program for the returns of the same functions, in the same order: both may share one link.
    pub session: Option<u32>,
    pub attach: Vec<AttachPoint>,
    /// The clause in the sources.
    pub span: (u32, u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttachPoint {
    /// Index into [`Bundle::probes`].
    pub probe: u32,
    pub target: Target,
    /// The attach point as written, for messages.
    pub span: (u32, u32),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    Begin,
    End,
    /// When this signal comes to the process that traces.
    Signal {
        number: i32,
    },
    Test {
        name: String,
    },
    Bench {
        name: String,
    },
    Kprobe {
        function: String,
        module: Option<String>,
        offset: u64,
        ret: bool,
        /// Several functions have this name, and all of them are meant: a multi link by name takes one. Only known of
        /// those that ask for such a link.
        shared: bool,
    },
    /// fentry or fexit: the BTF id is in the id space of `module` (vmlinux when `None`).
    Trampoline {
        function: String,
        module: Option<String>,
        btf_id: u32,
    },
    /// fentry or fexit of a BPF program, or of a function that it calls: the BTF id is in the program's own id space.
    BpfFunction {
        /// Its number, which is good as long as it is loaded.
        program: u32,
        function: String,
        btf_id: u32,
    },
    Tracepoint {
        category: String,
        name: String,
    },
    RawTracepoint {
        name: String,
        /// BTF id of the `btf_trace_…` typedef for [`ProgType::BtfTracepoint`].
        btf_id: Option<u32>,
        /// The module whose types have that id; `None` for vmlinux.
        module: Option<String>,
    },
    Uprobe {
        path: String,
        symbol: String,
        /// In the file.
        offset: u64,
        ret: bool,
    },
    /// A static probe: a place in a file.
    Usdt {
        path: String,
        /// In the file.
        offset: u64,
        /// Where in the file the counter of those who listen is; 0 for none.
        semaphore: u64,
    },
    /// One timer, on one CPU.
    Interval {
        nanoseconds: u64,
    },
    /// A timer on every CPU.
    Profile {
        sampling: Sampling,
    },
    /// A perf event of `type`/`config` on every CPU.
    PerfEvent {
        perf_type: u32,
        config: u64,
        period: u64,
    },
    /// For each of the kernel's objects of one kind.
    Iter {
        kind: String,
        /// BTF id of the function `bpf_iter_KIND` in vmlinux.
        btf_id: u32,
        /// A file that runs the program whenever it is read; without it the runtime runs it once.
        pin: Option<String>,
    },
    /// A debug register: on every CPU, or in the process of `-p` or `-c`.
    Watchpoint {
        watched: Watched,
        length: u32,
        access: Access,
    },
}

impl Target {
    /// Run by the runtime itself, in its own process: there is nothing to attach to.
    pub fn is_special(&self) -> bool {
        use Target::{Begin, Bench, End, Signal, Test};
        matches!(self, Begin | End | Signal { .. } | Test { .. } | Bench { .. })
    }

    /// Whether it fires when something happens, not when a run comes to it: a run without such a target ends by itself.
    pub fn waits(&self) -> bool {
        use Target::{Begin, Bench, End, Iter, Test};
        !matches!(self, Begin | End | Iter { .. } | Test { .. } | Bench { .. })
    }
}

/// What a watchpoint watches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Watched {
    Address(u64),
    /// Of the kernel, whose addresses differ from boot to boot.
    Symbol {
        name: String,
        offset: u64,
    },
}

/// What fires a watchpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    pub read: bool,
    pub write: bool,
    pub execute: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sampling {
    Hertz(u64),
    Nanoseconds(u64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeInfo {
    /// `kprobe:vfs_read`: what the builtin `probe` prints.
    pub name: String,
    /// What the builtin `func` prints; empty where a probe has no function.
    pub function: String,
}

/// Where a script's map is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Storage {
    /// `stripes` copies of the value in [`Globals`], `stride` bytes apart; CPU `n` adds to copy
    /// `n & (stripes - 1)` atomically, readers add them up. One stripe for plain scalars.
    Global { offset: u32, stripes: u32, stride: u32 },
    /// A BPF map of its own: index into [`Bundle::map_objects`]. Keyless maps have a `u32` zero key.
    Map { object: u32, per_cpu: bool },
}

/// A map of the script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapDef {
    /// With the `@`.
    pub name: String,
    /// `None` for a keyless map; several keys are a tuple.
    pub key: Option<Type>,
    pub value: Type,
    pub storage: Storage,
    /// For keyless maps: offset in [`Globals`] of a `u64` that is non-zero once the map was written. `None` where
    /// the value tells: it is all zero until then.
    pub set_flag: Option<u32>,
    /// Offset in [`Globals`] of the `u64` that counts failed updates.
    pub lost: u32,
    pub max_entries: u32,
}

impl MapDef {
    /// Stacks that the map names when it is full.
    pub fn most_stacks(&self) -> u64 {
        let entry = self.key.iter().chain([&self.value]).map(|ty| ty.stacks().len() as u64).sum::<u64>();
        entry * if self.key.is_some() { u64::from(self.max_entries) } else { 1 }
    }
}

/// A BPF map of the object, by the kernel's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapObject {
    pub symbol: String,
    /// `BPF_MAP_TYPE_…`
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
}

/// The shared memory of all programs, offsets in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Globals {
    pub size: u32,
    /// `u64` written by the loader before anything is attached: `CLOCK_MONOTONIC` nanoseconds, for `elapsed`.
    pub start_time: u32,
    /// `u64` count of [`Action::Failure`] events that found no room, where they are asked for (`-k`).
    pub failures: Option<u32>,
    /// `u64`, not zero while an action waits outside of the ring buffer ([`Action::is_kept`]).
    pub kept: Option<u32>,
    /// `u64` count of stacks that could not be stored, or were taken away while they were read.
    pub lost_stacks: u32,
    /// `u64` count of stacks that programs put into the map of stacks, where there is one.
    pub new_stacks: Option<u32>,
    /// `u64` written by the loader: the process that `-c` started, 0 for none.
    pub cpid: u32,
    /// `u64` written by the loader: how many processors there can be.
    pub ncpus: u32,
    /// `u64` written by the loader: what to add to `CLOCK_BOOTTIME` for `CLOCK_TAI`, where a program asks for it.
    pub tai: Option<u32>,
    /// `u64` written by the loader: what to add to `CLOCK_BOOTTIME` for `CLOCK_REALTIME`, where a map has intervals.
    pub wall: Option<u32>,
    /// `u64` count of stacks that led into a file whose unwind tables were not there, where a program unwinds.
    pub unready: Option<u32>,
    /// `u64`, not zero once `exit()` was called, where a clause must not run after that.
    pub exited: Option<u32>,
}

/// A loop that is stopped after some rounds even if it would go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoopDef {
    /// The loop in the sources.
    pub span: (u32, u32),
    /// `for` over a range; else `while`.
    pub range: bool,
    pub rounds: u32,
    /// Offset in the globals of the `u64` that counts how often it was stopped.
    pub stopped: u32,
}

/// A record in the ring buffer: what to do, and with which values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventDef {
    pub action: Action,
    pub fields: Vec<Type>,
    pub layout: EventLayout,
    /// Offset in [`Globals`] of a `u64` for records that found no room: how many there were, or for an
    /// [`Action::Exit`] its status and 256.
    pub lost: u32,
    /// The call in the sources.
    pub span: (u32, u32),
}

/// The bytes of an event: `u32` index of the event, then the fixed part with each field at its
/// offset, then the variable parts one after the other, unaligned, in field order.
///
/// A fixed field holds the type's inline representation. A variable field (strings and buffers
/// above [`EventLayout::FIXED_LIMIT`] bytes, and stacks not stored before) holds `u32` length in bytes and `u32`
/// extra (the process for user stacks, else 0); its data is in the variable part: a string without
/// its NUL, a buffer's bytes, or a stack's `u64` frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLayout {
    pub fields: Vec<EventField>,
    /// Bytes up to the variable part, a multiple of 8 when there is none.
    pub fixed_size: u32,
    /// Most bytes that an event can have.
    pub max_size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventField {
    pub offset: u32,
    /// Most bytes in the variable part; 0 for a fixed field.
    pub var_max: u32,
}

impl EventLayout {
    /// Strings and buffers up to this many bytes are fixed fields.
    pub const FIXED_LIMIT: u32 = 64;

    /// Lays out fields of the given types.
    pub fn new(types: &[Type]) -> EventLayout {
        let mut at = 4u32;
        let mut var_total = 0u32;
        let mut fields = Vec::with_capacity(types.len());
        for ty in types {
            let var_max = match ty {
                Type::String { cap } | Type::Buffer { cap } | Type::List { cap, .. } if *cap > Self::FIXED_LIMIT => {
                    *cap
                }
                Type::Stack(s) if !s.stored => s.bytes(),
                _ => 0,
            };
            let (size, align) = if var_max > 0 { (8, 4) } else { (ty.size(), ty.align()) };
            at = at.checked_next_multiple_of(align).unwrap_or(u32::MAX);
            fields.push(EventField { offset: at, var_max });
            at = at.saturating_add(size);
            var_total = var_total.saturating_add(var_max);
        }
        let fixed_size = if var_total == 0 { at.checked_next_multiple_of(8).unwrap_or(u32::MAX) } else { at };
        EventLayout { fields, fixed_size, max_size: fixed_size.saturating_add(var_total) }
    }

    pub fn is_variable(&self) -> bool {
        self.fields.iter().any(|f| f.var_max > 0)
    }
}

/// User-side work asked for by an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// `printf`, `errorf`, `warnf`, and `join` alone: fields are the arguments.
    Printf {
        format: Format,
        stream: Stream,
    },
    /// `print(value)`: one field.
    PrintValue,
    /// `print(@map)`, `print(@map, top, div)`; 0 means not given. No fields.
    PrintMap {
        map: u32,
        top: u32,
        div: u64,
    },
    /// `print(@map[key])`: the field is the key; with the place of the entry in the sources.
    PrintEntry {
        map: u32,
        top: u32,
        div: u64,
        entry: (u32, u32),
    },
    /// `clear(@map)`. No fields.
    Clear {
        map: u32,
    },
    /// `zero(@map)`. No fields.
    Zero {
        map: u32,
    },
    /// `exit(code)`: one integer field.
    Exit,
    /// `unwatch(address)`: one integer field.
    Unwatch,
    /// `time(format)`: no fields.
    Time {
        format: String,
    },
    /// `system(format, …)` and `cat(format, …)`: fields are the arguments.
    System {
        format: Format,
    },
    Cat {
        format: Format,
    },
    /// A helper of the kernel failed (`-k`): one integer field, what it returned; 0 where a map had no such entry.
    Failure {
        helper: String,
    },
    /// A packet written by `skboutput` to the packets map, not the ring buffer; the record starts with
    /// `u32` index of the event, `u32` bytes captured, `u64` `bpf_ktime_get_boot_ns`, `u64` length of the packet, then
    /// the bytes. No fields.
    /// `offset` bytes of them are left out of the file.
    Packet {
        path: String,
        offset: u32,
    },
}

impl Action {
    /// Whether this happens even if there is no room for its record. Then the word [`EventDef::lost`] says that it is
    /// to be done, and so that nothing overtakes it, all such actions go that way until the runtime has taken
    /// them. What comes more than once before is done once.
    pub fn is_kept(&self) -> bool {
        use Action::{Clear, Exit, PrintMap, Unwatch, Zero};
        matches!(self, Exit | Unwatch | Clear { .. } | Zero { .. } | PrintMap { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    Out,
    /// As `Out`; in JSON the type is `join`.
    Join,
    Warning,
    Error,
}

/// A parsed format string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    Text(Vec<u8>),
    /// One conversion, for the next field.
    Spec(FormatSpec),
}

/// `%[flags][width][.precision][length]conversion`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatSpec {
    pub minus: bool,
    pub plus: bool,
    pub space: bool,
    pub zero: bool,
    pub alternate: bool,
    pub width: Option<u32>,
    pub precision: Option<u32>,
    /// Bits that the length modifier names (`hh` 8, `h` 16, none 0, `l ll j z t` 64).
    pub length_bits: u8,
    pub conversion: Conversion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conversion {
    /// `%d %i`
    Signed,
    /// `%u`
    Unsigned,
    /// `%o`
    Octal,
    /// `%x`
    Hex,
    /// `%X`
    HexUpper,
    /// `%c`
    Char,
    /// `%p`
    Pointer,
    /// `%s`
    Str,
    /// `%r`: buffer with unprintable bytes escaped
    Buffer,
    /// `%rh`: buffer as hexadecimal with blanks
    BufferHex,
    /// `%rx`: buffer as `\x..` escapes
    BufferEscaped,
    /// `%gr`: GFP flags by name
    GfpFlags,
}

/// Settings of a run: the reference's configuration variables that the runtime needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Size of the ring buffer in bytes, a power of two of pages.
    pub ringbuf_bytes: u32,
    pub print_maps_on_exit: bool,
    pub max_map_keys: u32,
    pub show_debug_info: bool,
    /// Seconds that the symbols of one file may take to be read.
    pub symbol_timeout: u32,
    /// Megabytes of memory that reading symbols of programs may take.
    pub max_symbol_memory: u32,
    /// Megabytes that are read of a map of names that a program writes.
    pub max_perf_map: u32,
    pub cpp_demangle: bool,
    /// Attach what can be attached: `ignore`, `warn` or `error` for probes that cannot.
    pub missing_probes: MissingProbes,
    /// Most bytes of a file that `cat` prints.
    pub max_cat_bytes: u32,
    /// What is printed after a string that was cut at `max_strlen`.
    pub str_trunc_trailer: String,
    /// Most bytes of a string that has no size of its own: with so many it may have been cut.
    pub max_strlen: u32,
    /// A line of percentiles below each histogram.
    pub hist_quantiles: bool,
    /// Trace only this process, its threads included (`-p`).
    pub pid: Option<u32>,
    /// Device and inode of the pid namespace that processes are numbered in, where it is not the first.
    pub pid_namespace: Option<(u64, u64)>,
    pub mode: Mode,
    /// It was compiled with `--unsafe`.
    pub changes_system: bool,
}

/// What a script is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    Trace,
    /// `--test`: its tests, once each.
    Test,
    /// `--bench`: its benchmarks, many times each.
    Bench,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MissingProbes {
    Ignore,
    Warn,
    Error,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            ringbuf_bytes: 4 << 20,
            print_maps_on_exit: true,
            max_map_keys: 4096,
            show_debug_info: false,
            symbol_timeout: 10,
            max_symbol_memory: 2048,
            max_perf_map: 64,
            cpp_demangle: true,
            missing_probes: MissingProbes::Error,
            max_cat_bytes: 10240,
            str_trunc_trailer: "..".to_owned(),
            max_strlen: 1024,
            hist_quantiles: false,
            pid: None,
            pid_namespace: None,
            mode: Mode::Trace,
            changes_system: false,
        }
    }
}

/// Why bytes are not a bundle.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodeError {
    NotABundle,
    OtherVersion(u32),
    Damaged,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DecodeError::NotABundle => f.write_str("not an rtrace bundle"),
            DecodeError::OtherVersion(v) => {
                write!(f, "bundle format {v}, this program reads format {FORMAT_VERSION}: build the bundle again")
            }
            DecodeError::Damaged => f.write_str("the bundle is damaged"),
        }
    }
}

impl Bundle {
    /// The bundle's file form: magic, format version, checksum of what follows, encoded contents.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(FORMAT_VERSION.to_le_bytes());
        // Serialising plain data to memory has no failure.
        let contents = postcard::to_allocvec(self).unwrap_or_default();
        out.extend(checksum(&contents).to_le_bytes());
        out.extend(contents);
        out
    }

    /// Reads the file form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Bundle, DecodeError> {
        let rest = bytes.strip_prefix(MAGIC.as_slice()).ok_or(DecodeError::NotABundle)?;
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(DecodeError::Damaged)?;
        match u32::from_le_bytes(*version) {
            FORMAT_VERSION => match rest.split_first_chunk::<8>() {
                Some((sum, contents)) if u64::from_le_bytes(*sum) == checksum(contents) => {
                    postcard::from_bytes(contents).map_err(|_| DecodeError::Damaged)
                }
                _ => Err(DecodeError::Damaged),
            },
            other => Err(DecodeError::OtherVersion(other)),
        }
    }
}
