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
//!   kprobes may share as one event ([`AttachMode::Event`]) finds it in [`PROBES_SYMBOL`] if [`PROBE_ID_LOOKUP`] is patched in.

mod event;
pub mod printf;
mod target;
pub mod unwind;

pub use event::{Action, EventDef, EventField, EventLayout, Stream};
pub use printf::{Conversion, Format, FormatSpec, Piece};
pub use target::{Access, Sampling, Target, Watched};

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
/// The header of a record of `skboutput`: event, bytes of the data (both `u32`), time, length of the data, bytes of
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
    /// The system that it was compiled for, if it is to be run from a file.
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
pub enum AttachMode {
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
    pub attach_mode: AttachMode,
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
pub struct ProbeInfo {
    /// `kprobe:vfs_read`: what the builtin `probe` prints.
    pub name: String,
    /// The value of the builtin `func`; empty if the probe has no function.
    pub function: String,
}

/// The storage of a script's map.
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
    /// The suffix of strings truncated at `max_strlen`.
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

/// The purpose of a run.
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

/// An error in decoding a bundle.
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
                write!(f, "unsupported bundle format {v} (expected {FORMAT_VERSION}): rebuild the bundle")
            }
            DecodeError::Damaged => f.write_str("the bundle is corrupted"),
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
