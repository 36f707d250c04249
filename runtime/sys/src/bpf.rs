//! bpf(2). Structures hold the fields up to the newest one in use: the kernel takes any prefix of
//! `union bpf_attr` and treats what is missing as zero (include/uapi/linux/bpf.h).

use rtrace_core::uapi::attach_type;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2), `enum bpf_cmd`.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(super) enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ObjPin = 6,
    ProgTestRun = 10,
    ProgNextId = 11,
    ProgGetFd = 13,
    ObjGetInfo = 15,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    BtfGetFd = 19,
    BtfNextId = 23,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    EnableStats = 32,
    IterCreate = 33,
}

/// A `union bpf_attr` seen as one of its structures.
///
/// # Safety
/// The type must be `repr(C)`, hold integers only, have no padding, and match the kernel's layout.
pub(super) unsafe trait Attr {}

pub(super) fn bpf<A: Attr>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `A` is a prefix of `union bpf_attr` (trait contract) of the size that is passed; pointers
    // inside it come from live slices of the callers, which outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as i32, std::ptr::from_mut(attr), std::mem::size_of::<A>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

pub(super) fn bpf_fd<A: Attr>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: these commands return a new descriptor, which nobody else owns. bpf(2) sets O_CLOEXEC.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(super) fn address<T>(data: &[T]) -> u64 {
    if data.is_empty() { 0 } else { data.as_ptr() as u64 }
}

pub(super) fn address_mut<T>(data: &mut [T]) -> u64 {
    if data.is_empty() { 0 } else { data.as_mut_ptr() as u64 }
}

/// The kernel keeps 15 bytes of `[A-Za-z0-9_.]` and refuses other characters.
fn object_name(name: &str) -> [u8; 16] {
    let mut out = [0; 16];
    for (to, from) in out.iter_mut().take(15).zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'_' || from == b'.' { from } else { b'_' };
    }
    out
}

/// One instruction of BPF (`struct bpf_insn`).
pub const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    code as u64 | (dst as u64) << 8 | (src as u64) << 12 | (off as u16 as u64) << 16 | (imm as u32 as u64) << 32
}

/// The arguments of BPF_PROG_LOAD. Instructions are in the kernel's encoding, 8 bytes each.
#[derive(Debug)]
pub struct ProgLoad<'a> {
    pub prog_type: u32,
    pub expected_attach_type: u32,
    pub name: &'a str,
    pub license: &'a CStr,
    pub instructions: &'a [u64],
    pub btf: Option<BtfInfo<'a>>,
    /// Type or function that a tracing program is for, 0 for none.
    pub attach_btf_id: u32,
    /// The BTF object of `attach_btf_id`: that of a module, or a BPF program; vmlinux if `None`.
    pub attach_to: Option<BorrowedFd<'a>>,
}

/// The program's own BTF: `bpf_func_info` and `bpf_line_info` records.
#[derive(Clone, Copy, Debug)]
pub struct BtfInfo<'a> {
    pub fd: BorrowedFd<'a>,
    pub func_info: &'a [[u32; 2]],
    pub line_info: &'a [[u32; 4]],
}

#[repr(C)]
#[derive(Default)]
struct ProgLoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_btf_obj_fd: u32,
    padding: u32,
}
// SAFETY: the BPF_PROG_LOAD structure up to `attach_btf_obj_fd`; `padding` stands for `core_relo_cnt`, zero.
unsafe impl Attr for ProgLoadAttr {}

/// Loads a program. With a log, the verifier writes its NUL-terminated account of the program there;
/// ENOSPC means that the log did not fit.
pub fn prog_load(load: &ProgLoad<'_>, log_level: u32, log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut attr = ProgLoadAttr {
        prog_type: load.prog_type,
        insn_cnt: load.instructions.len() as u32,
        insns: address(load.instructions),
        license: load.license.as_ptr() as u64,
        prog_name: object_name(load.name),
        expected_attach_type: load.expected_attach_type,
        attach_btf_id: load.attach_btf_id,
        attach_btf_obj_fd: load.attach_to.map_or(0, |fd| fd.as_raw_fd() as u32),
        ..ProgLoadAttr::default()
    };
    if let Some(btf) = &load.btf {
        attr.prog_btf_fd = btf.fd.as_raw_fd() as u32;
        attr.func_info_rec_size = 8;
        attr.func_info = address(btf.func_info);
        attr.func_info_cnt = btf.func_info.len() as u32;
        attr.line_info_rec_size = 16;
        attr.line_info = address(btf.line_info);
        attr.line_info_cnt = btf.line_info.len() as u32;
    }
    if !log.is_empty() {
        attr.log_level = log_level;
        attr.log_size = log.len() as u32;
        attr.log_buf = address_mut(log);
    }
    // The kernel gives EAGAIN when a signal came during verification.
    let mut tries = 0;
    loop {
        match bpf_fd(Command::ProgLoad, &mut attr) {
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) && tries < 5 => tries += 1,
            other => return other,
        }
    }
}

#[repr(C)]
#[derive(Default)]
struct BtfLoadAttr {
    btf: u64,
    log_buf: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    padding: u32,
}
// SAFETY: the BPF_BTF_LOAD structure; `padding` stands for `btf_log_true_size`, which is output.
unsafe impl Attr for BtfLoadAttr {}

pub fn btf_load(btf: &[u8]) -> io::Result<OwnedFd> {
    bpf_fd(Command::BtfLoad, &mut BtfLoadAttr { btf: address(btf), size: btf.len() as u32, ..BtfLoadAttr::default() })
}

/// `enum bpf_map_type`
/// `BPF_F_INNER_MAP`, Linux 5.10: such arrays in a map of maps may have different sizes.
pub const MAP_INNER: u32 = 1 << 12;

/// The arguments of BPF_MAP_CREATE.
#[derive(Debug)]
pub struct MapCreate<'a> {
    pub map_type: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    pub flags: u32,
    /// The template of the maps in a map of maps.
    pub inner: Option<BorrowedFd<'a>>,
    pub name: &'a str,
}

#[repr(C)]
#[derive(Default)]
struct MapCreateAttr {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}
// SAFETY: the BPF_MAP_CREATE structure up to `map_name`.
unsafe impl Attr for MapCreateAttr {}

pub fn map_create(map: &MapCreate<'_>) -> io::Result<OwnedFd> {
    let mut attr = MapCreateAttr {
        map_type: map.map_type,
        key_size: map.key_size,
        value_size: map.value_size,
        max_entries: map.max_entries,
        map_flags: map.flags,
        inner_map_fd: map.inner.map_or(0, |fd| fd.as_raw_fd() as u32),
        numa_node: 0,
        map_name: object_name(map.name),
    };
    bpf_fd(Command::MapCreate, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct MapElemAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}
// SAFETY: the structure of the element commands, with the hole after `map_fd` made explicit.
unsafe impl Attr for MapElemAttr {}

fn elem(map: BorrowedFd<'_>, key: &[u8], value: u64) -> MapElemAttr {
    MapElemAttr { map_fd: map.as_raw_fd() as u32, key: address(key), value, ..MapElemAttr::default() }
}

/// Reads the value of a key into `value`, which must have the map's value size (times the possible CPUs, each
/// rounded up to 8 bytes, for a per-CPU map). `false`: no such key.
pub fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    found(bpf(Command::MapLookup, &mut elem(map, key, address_mut(value))))
}

pub fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    bpf(Command::MapUpdate, &mut elem(map, key, address(value))).map(drop)
}

/// `false`: no such key.
pub fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    found(bpf(Command::MapDelete, &mut elem(map, key, 0)))
}

/// The key after `key`, the first one for `None`; `false` at the end. A key that is not there counts as
/// "before the first", so an iteration over a changing map may start again.
pub fn map_next_key(map: BorrowedFd<'_>, key: Option<&[u8]>, next: &mut [u8]) -> io::Result<bool> {
    let next = address_mut(next);
    found(bpf(Command::MapNextKey, &mut elem(map, key.unwrap_or_default(), next)))
}

fn found(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}
// SAFETY: the `batch` structure.
unsafe impl Attr for BatchAttr {}

/// One round of BPF_MAP_LOOKUP_BATCH (Linux 5.6): fills `keys` and `values` with up to `count` elements.
/// `position` is opaque, at least 4 bytes and the key size long; `first` starts over. Returns the number of
/// elements and whether more follow. ENOSPC: `count` is too small for a bucket of the hash.
pub fn map_lookup_batch(
    map: BorrowedFd<'_>,
    first: bool,
    position: &mut [u8],
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(u32, bool)> {
    let at = address_mut(position);
    let mut attr = BatchAttr {
        in_batch: if first { 0 } else { at },
        out_batch: at,
        keys: address_mut(keys),
        values: address_mut(values),
        count,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    match bpf(Command::MapLookupBatch, &mut attr) {
        Ok(_) => Ok((attr.count, true)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok((attr.count, false)),
        Err(e) => Err(e),
    }
}

/// BPF_MAP_UPDATE_BATCH (Linux 5.6): writes `count` elements, whose keys and values lie one behind the other.
pub fn map_update_batch(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: u32) -> io::Result<()> {
    let mut attr = BatchAttr {
        keys: address(keys),
        values: address(values),
        count,
        map_fd: map.as_raw_fd() as u32,
        ..BatchAttr::default()
    };
    bpf(Command::MapUpdateBatch, &mut attr).map(drop)
}

#[repr(C)]
#[derive(Default)]
struct RawTracepointAttr {
    name: u64,
    prog_fd: u32,
    padding: u32,
}
// SAFETY: the `raw_tracepoint` structure up to `prog_fd`, 8-byte aligned as the kernel's is.
unsafe impl Attr for RawTracepointAttr {}

/// Attaches a raw tracepoint program by name; with `None`, a tracing program to what it was loaded for.
pub fn raw_tracepoint_open(program: BorrowedFd<'_>, name: Option<&CStr>) -> io::Result<OwnedFd> {
    let mut attr = RawTracepointAttr {
        name: name.map_or(0, |n| n.as_ptr() as u64),
        prog_fd: program.as_raw_fd() as u32,
        ..RawTracepointAttr::default()
    };
    bpf_fd(Command::RawTracepointOpen, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct PerfLinkAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}
// SAFETY: `link_create` with `perf_event`.
unsafe impl Attr for PerfLinkAttr {}

/// Ties a program to a perf event with a cookie (Linux 5.15).
pub fn perf_link(program: BorrowedFd<'_>, event: BorrowedFd<'_>, cookie: u64) -> io::Result<OwnedFd> {
    let mut attr = PerfLinkAttr {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: event.as_raw_fd() as u32,
        attach_type: attach_type::PERF_EVENT.number,
        flags: 0,
        cookie,
    };
    bpf_fd(Command::LinkCreate, &mut attr)
}

/// Makes an iterator's program ready to run (Linux 5.8).
pub fn iter_link(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    // Without parameters for the iterator, which stand where the cookie is.
    let mut attr = PerfLinkAttr {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: 0,
        attach_type: attach_type::TRACE_ITER.number,
        flags: 0,
        cookie: 0,
    };
    bpf_fd(Command::LinkCreate, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct IterCreateAttr {
    link_fd: u32,
    flags: u32,
}
// SAFETY: the `iter_create` structure.
unsafe impl Attr for IterCreateAttr {}

/// A file that runs the iterator while it is read.
pub fn iter_create(link: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    bpf_fd(Command::IterCreate, &mut IterCreateAttr { link_fd: link.as_raw_fd() as u32, flags: 0 })
}

#[repr(C)]
#[derive(Default)]
struct PinAttr {
    path: u64,
    fd: u32,
    flags: u32,
}
// SAFETY: the structure of BPF_OBJ_PIN up to `file_flags`.
unsafe impl Attr for PinAttr {}

/// Gives a link a name in a BPF file system, under which it lives on.
pub fn pin(link: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut attr = PinAttr { path: path.as_ptr() as u64, fd: link.as_raw_fd() as u32, flags: 0 };
    bpf(Command::ObjPin, &mut attr).map(drop)
}

#[repr(C)]
#[derive(Default)]
struct KprobeMultiAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    multi_flags: u32,
    count: u32,
    symbols: u64,
    addresses: u64,
    cookies: u64,
}
// SAFETY: `link_create` with `kprobe_multi`.
unsafe impl Attr for KprobeMultiAttr {}

/// The functions of a multi link.
#[derive(Clone, Copy, Debug)]
pub enum Functions<'a> {
    Names(&'a [&'a CStr]),
    Addresses(&'a [u64]),
}

/// The points of functions at which a link runs its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Entry,
    Return,
    /// At both, with a program for just that (Linux 6.10).
    Both,
}

/// Attaches to many functions with one link (Linux 5.18 with CONFIG_FPROBE). `cookies` is empty or as
/// long as `functions`.
pub fn kprobe_multi(
    program: BorrowedFd<'_>,
    functions: Functions<'_>,
    side: Side,
    cookies: &[u64],
) -> io::Result<OwnedFd> {
    let pointers: Vec<u64> = match functions {
        Functions::Names(names) => names.iter().map(|s| s.as_ptr() as u64).collect(),
        Functions::Addresses(_) => Vec::new(),
    };
    let (count, addresses) = match functions {
        Functions::Names(names) => (names.len(), 0),
        Functions::Addresses(addresses) => (addresses.len(), address(addresses)),
    };
    let mut attr = KprobeMultiAttr {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: if side == Side::Both {
            attach_type::TRACE_KPROBE_SESSION.number
        } else {
            attach_type::TRACE_KPROBE_MULTI.number
        },
        multi_flags: u32::from(side == Side::Return),
        count: count as u32,
        symbols: address(&pointers),
        addresses,
        cookies: address(cookies),
        ..KprobeMultiAttr::default()
    };
    bpf_fd(Command::LinkCreate, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct UprobeMultiAttr {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    padding: u32,
}
// SAFETY: `link_create` with `uprobe_multi`, padded with a zero to 8 bytes.
unsafe impl Attr for UprobeMultiAttr {}

/// Attaches to many places of one file with one link (Linux 6.6): their offsets in the file, and those of their
/// semaphores (0 for none; no list where none has one).
pub fn uprobe_multi(
    program: BorrowedFd<'_>,
    path: &CStr,
    (offsets, semaphores): (&[u64], &[u64]),
    ret: bool,
    cookies: &[u64],
    pid: Option<u32>,
) -> io::Result<OwnedFd> {
    let mut attr = UprobeMultiAttr {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: attach_type::TRACE_UPROBE_MULTI.number,
        path: path.as_ptr() as u64,
        offsets: address(offsets),
        ref_ctr_offsets: address(semaphores),
        cookies: address(cookies),
        count: offsets.len() as u32,
        multi_flags: u32::from(ret),
        pid: pid.unwrap_or(0),
        ..UprobeMultiAttr::default()
    };
    bpf_fd(Command::LinkCreate, &mut attr)
}

#[repr(C)]
#[derive(Default)]
struct TestRunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
}
// SAFETY: the `test` structure up to `cpu`.
unsafe impl Attr for TestRunAttr {}

/// Runs a raw tracepoint program once, in this process (Linux 5.10); its arguments are zeros. Returns what it gives.
pub fn run_raw_tracepoint(program: BorrowedFd<'_>) -> io::Result<u32> {
    // MAX_BPF_FUNC_ARGS words: as much as any raw tracepoint program may look at.
    let context = [0u64; 12];
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        ctx_size_in: std::mem::size_of_val(&context) as u32,
        ctx_in: address(&context),
        ..TestRunAttr::default()
    };
    bpf(Command::ProgTestRun, &mut attr).map(|_| attr.retval)
}

/// Loads a raw tracepoint program that does nothing.
pub fn empty_raw_tracepoint() -> io::Result<OwnedFd> {
    // BPF_PROG_TYPE_RAW_TRACEPOINT; `r0 = 0; exit`.
    let load = ProgLoad {
        prog_type: 17,
        expected_attach_type: 0,
        name: "rt_empty",
        license: c"GPL",
        instructions: &[0xb7, 0x95],
        btf: None,
        attach_btf_id: 0,
        attach_to: None,
    };
    prog_load(&load, 0, &mut [])
}

#[repr(C)]
#[derive(Default)]
struct StatsAttr {
    kind: u32,
}
// SAFETY: the `enable_stats` structure.
unsafe impl Attr for StatsAttr {}

/// Lets the kernel measure all programs as long as the descriptor is open (Linux 5.8, CAP_SYS_ADMIN).
pub fn run_statistics() -> io::Result<OwnedFd> {
    // BPF_STATS_RUN_TIME
    bpf_fd(Command::EnableStats, &mut StatsAttr::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_kernel_accepts() {
        assert_eq!(&object_name("kprobe:vfs_read_and_more"), b"kprobe_vfs_read\0");
    }

    #[test]
    fn attributes_have_the_kernels_sizes() {
        assert_eq!(std::mem::size_of::<ProgLoadAttr>(), 120);
        assert_eq!(std::mem::size_of::<TestRunAttr>(), 72);
        assert_eq!(std::mem::size_of::<BatchAttr>(), 56);
    }
}
