//! The system calls that have no safe wrapper elsewhere: bpf(2), perf_event_open(2) and its ioctls,
//! pidfds, signalfd, epoll. Every function takes and returns safe types; all knowledge about the layout
//! of kernel structures is here. Structures hold the fields up to the newest one in use: the kernel takes
//! any prefix of `union bpf_attr` and treats what is missing as zero (include/uapi/linux/bpf.h).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Commands of bpf(2), `enum bpf_cmd`.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
enum Command {
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapNextKey = 4,
    ProgLoad = 5,
    ProgTestRun = 10,
    ObjGetInfo = 15,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    BtfGetFd = 19,
    BtfNextId = 23,
    MapLookupBatch = 24,
    LinkCreate = 28,
}

/// A `union bpf_attr` seen as one of its structures.
///
/// # Safety
/// The type must be `repr(C)`, hold integers only, have no padding, and match the kernel's layout.
unsafe trait Attr {}

fn bpf<A: Attr>(command: Command, attr: &mut A) -> io::Result<i32> {
    // SAFETY: `A` is a prefix of `union bpf_attr` (trait contract) of the size that is passed; pointers
    // inside it come from live slices of the callers, which outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as i32, std::ptr::from_mut(attr), std::mem::size_of::<A>() as libc::c_uint)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn bpf_fd<A: Attr>(command: Command, attr: &mut A) -> io::Result<OwnedFd> {
    let fd = bpf(command, attr)?;
    // SAFETY: these commands return a new descriptor, which nobody else owns. bpf(2) sets O_CLOEXEC.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address<T>(data: &[T]) -> u64 {
    if data.is_empty() { 0 } else { data.as_ptr() as u64 }
}

fn address_mut<T>(data: &mut [T]) -> u64 {
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

/// What BPF_PROG_LOAD takes. Instructions are in the kernel's encoding, 8 bytes each.
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
    /// The module's BTF that `attach_btf_id` counts in; vmlinux when `None`.
    pub attach_btf_module: Option<BorrowedFd<'a>>,
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
        attach_btf_obj_fd: load.attach_btf_module.map_or(0, |fd| fd.as_raw_fd() as u32),
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

/// `enum bpf_attach_type`
pub const TRACE_RAW_TP: u32 = 23;
pub const TRACE_FENTRY: u32 = 24;
pub const TRACE_FEXIT: u32 = 25;
const PERF_EVENT: u32 = 41;
pub const TRACE_KPROBE_MULTI: u32 = 42;
pub const TRACE_UPROBE_MULTI: u32 = 48;

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
        attach_type: PERF_EVENT,
        flags: 0,
        cookie,
    };
    bpf_fd(Command::LinkCreate, &mut attr)
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

/// Attaches to many functions with one link (Linux 5.18 with CONFIG_FPROBE). `cookies` is empty or as
/// long as `symbols`.
pub fn kprobe_multi(program: BorrowedFd<'_>, symbols: &[&CStr], ret: bool, cookies: &[u64]) -> io::Result<OwnedFd> {
    let pointers: Vec<u64> = symbols.iter().map(|s| s.as_ptr() as u64).collect();
    let mut attr = KprobeMultiAttr {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: TRACE_KPROBE_MULTI,
        multi_flags: u32::from(ret),
        count: pointers.len() as u32,
        symbols: address(&pointers),
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

/// Attaches to many places of one file with one link (Linux 6.6).
pub fn uprobe_multi(
    program: BorrowedFd<'_>,
    path: &CStr,
    offsets: &[u64],
    ret: bool,
    cookies: &[u64],
    pid: Option<u32>,
) -> io::Result<OwnedFd> {
    let mut attr = UprobeMultiAttr {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: address(offsets),
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

/// Runs a raw tracepoint program once, in this process (Linux 5.10). Its arguments are zeros.
pub fn run_raw_tracepoint(program: BorrowedFd<'_>) -> io::Result<()> {
    // MAX_BPF_FUNC_ARGS words: as much as any raw tracepoint program may look at.
    let context = [0u64; 12];
    let mut attr = TestRunAttr {
        prog_fd: program.as_raw_fd() as u32,
        ctx_size_in: std::mem::size_of_val(&context) as u32,
        ctx_in: address(&context),
        ..TestRunAttr::default()
    };
    bpf(Command::ProgTestRun, &mut attr).map(drop)
}

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
    padding: u32,
}
// SAFETY: the structure of the *_GET_NEXT_ID and *_GET_FD_BY_ID commands; `padding` stands for
// `fd_by_id_token_fd`, zero.
unsafe impl Attr for IdAttr {}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}
// SAFETY: the `info` structure.
unsafe impl Attr for InfoAttr {}

/// `struct bpf_btf_info`
#[repr(C)]
#[derive(Default)]
struct BtfObjectInfo {
    btf: u64,
    btf_size: u32,
    id: u32,
    name: u64,
    name_len: u32,
    kernel_btf: u32,
}

/// The BTF object of a loaded kernel module (Linux 5.11); `None` when it has none.
pub fn module_btf(module: &str) -> io::Result<Option<OwnedFd>> {
    let mut id = 0;
    loop {
        let mut next = IdAttr { id, ..IdAttr::default() };
        match bpf(Command::BtfNextId, &mut next) {
            Ok(_) => id = next.next_id,
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(e) => return Err(e),
        }
        let fd = match bpf_fd(Command::BtfGetFd, &mut IdAttr { id, ..IdAttr::default() }) {
            Ok(fd) => fd,
            // It went away between the two calls.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(e) => return Err(e),
        };
        let mut name = [0u8; 64];
        let mut info = BtfObjectInfo { name: address_mut(&mut name), name_len: 64, ..BtfObjectInfo::default() };
        let mut attr = InfoAttr {
            fd: fd.as_raw_fd() as u32,
            len: std::mem::size_of::<BtfObjectInfo>() as u32,
            info: std::ptr::from_mut(&mut info) as u64,
        };
        bpf(Command::ObjGetInfo, &mut attr)?;
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        if info.kernel_btf != 0 && name == module.as_bytes() {
            return Ok(Some(fd));
        }
    }
}

/// `struct perf_event_attr` of 112 bytes (PERF_ATTR_SIZE_VER5, Linux 4.1).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct PerfAttr {
    pub kind: u32,
    pub size: u32,
    pub config: u64,
    /// Period, or frequency with [`PerfAttr::FREQ`].
    pub sample: u64,
    pub sample_type: u64,
    pub read_format: u64,
    pub flags: u64,
    pub wakeup: u32,
    pub bp_type: u32,
    /// Function name (kprobe) or path (uprobe), by address; breakpoint address.
    pub config1: u64,
    /// Offset of the probe; breakpoint length.
    pub config2: u64,
    pub branch_sample_type: u64,
    pub sample_regs_user: u64,
    pub sample_stack_user: u32,
    pub clockid: i32,
    pub sample_regs_intr: u64,
    pub aux_watermark: u32,
    pub sample_max_stack: u16,
    pub reserved: u16,
}

impl PerfAttr {
    /// Bits of `flags`.
    pub const DISABLED: u64 = 1;
    pub const INHERIT: u64 = 1 << 1;
    pub const FREQ: u64 = 1 << 10;
}

/// perf_event_open(2) with close-on-exec. `pid` −1: all; `cpu` −1: any.
pub fn perf_event_open(attr: &PerfAttr, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
    let attr = PerfAttr { size: std::mem::size_of::<PerfAttr>() as u32, ..*attr };
    // SAFETY: `attr` lives through the call and says its own size; pointers in it come from callers'
    // C strings, which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// What can be done to a perf event; `_IO('$', n)` of include/uapi/linux/perf_event.h.
#[derive(Clone, Copy, Debug)]
pub enum PerfControl<'a> {
    Enable,
    Disable,
    SetProgram(BorrowedFd<'a>),
}

pub fn perf_control(event: BorrowedFd<'_>, control: PerfControl<'_>) -> io::Result<()> {
    let (request, argument) = match control {
        PerfControl::Enable => (0x2400, 0),
        PerfControl::Disable => (0x2401, 0),
        PerfControl::SetProgram(fd) => (0x4004_2408, fd.as_raw_fd()),
    };
    // SAFETY: these requests take an integer and touch no memory of ours.
    check(unsafe { libc::ioctl(event.as_raw_fd(), request, argument) }).map(drop)
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, `CLOCK_BOOTTIME` or `CLOCK_REALTIME`.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec. It cannot fail for the clocks named above; if it did, time would be 0.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// Allows locking any amount of memory: kernels before 5.11 count BPF memory against RLIMIT_MEMLOCK.
/// Failing is no error here; creating a map will say EPERM.
pub fn raise_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: reads one rlimit.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Major and minor version of the running kernel; (0, 0) when it cannot be read.
pub fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|p| p.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// A descriptor that becomes readable when the process ends (Linux 5.3).
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns; pidfds are close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Signals taken from a descriptor instead of a handler. They stay blocked in this thread and the
/// threads that it starts; a forked child must unblock them ([`unblock_all_signals`]).
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    pub fn new(signals: &[i32]) -> io::Result<SignalFd> {
        let set = signal_set(signals);
        // SAFETY: `set` is initialised; the third argument may be null.
        check(unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) })?;
        // SAFETY: `set` is initialised; the descriptor returned is new.
        let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })?;
        // SAFETY: as above, nobody else owns it.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, if any.
    pub fn next(&self) -> Option<i32> {
        let mut info = std::mem::MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = std::mem::size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer has the size that is passed.
        let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
        // SAFETY: the kernel filled the whole structure.
        (got == size as isize).then(|| unsafe { info.assume_init() }.ssi_signo as i32)
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set; sigaddset changes an initialised one.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        set.assume_init()
    }
}

/// Gives the signals their usual effect again.
pub fn unblock_signals(signals: &[i32]) {
    let set = signal_set(signals);
    // SAFETY: `set` is initialised; async-signal-safe.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
}

/// In a forked child: no signal blocked, SIGPIPE as programs expect it. Async-signal-safe.
pub fn unblock_all_signals() {
    let none = signal_set(&[]);
    // SAFETY: async-signal-safe calls on initialised data.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

pub fn kill(pid: u32, signal: i32) -> io::Result<()> {
    // SAFETY: takes two integers.
    check(unsafe { libc::kill(pid as i32, signal) }).map(drop)
}

/// Waits for any of a set of descriptors to become readable; each has a token.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Epoll> {
        // SAFETY: takes an integer; the descriptor is new.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above, nobody else owns it.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: reads one epoll_event.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event) })
            .map(drop)
    }

    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // SAFETY: the event is ignored for this operation and may be null (Linux 2.6.9).
        let result =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), std::ptr::null_mut()) };
        check(result).map(drop)
    }

    /// The tokens of what is readable, after at most `timeout` milliseconds (−1: no limit). An
    /// interruption by a signal counts as nothing readable.
    pub fn wait(&self, timeout: i32) -> io::Result<Vec<u64>> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 16];
        // SAFETY: the buffer has as many elements as the third argument says.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), events.len() as i32, timeout) };
        match check(count) {
            Ok(count) => Ok(events.iter().take(count as usize).map(|e| e.u64).collect()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(e) => Err(e),
        }
    }
}

/// The CPUs of a list such as `0-3,8`, the form of /sys/devices/system/cpu/{online,possible}.
pub fn parse_cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',').filter(|p| !p.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(low), Ok(high)) = (low.parse::<u32>(), high.parse::<u32>()) {
            // No kernel has more than 8192 CPUs.
            cpus.extend(low..=high.min(low.saturating_add(8192)));
        }
    }
    cpus
}

/// The CPUs that are running now.
pub fn online_cpus() -> io::Result<Vec<u32>> {
    Ok(parse_cpu_list(&std::fs::read_to_string("/sys/devices/system/cpu/online")?))
}

/// Number of copies that a per-CPU map has.
pub fn possible_cpus() -> io::Result<usize> {
    let list = parse_cpu_list(&std::fs::read_to_string("/sys/devices/system/cpu/possible")?);
    Ok(list.last().map_or(1, |last| *last as usize + 1))
}

/// Memory shared with the kernel: the globals of the programs, an array map with BPF_F_MMAPABLE.
/// Both sides use aligned 64-bit words.
#[derive(Debug)]
pub struct SharedWords {
    base: std::ptr::NonNull<std::sync::atomic::AtomicU64>,
    words: usize,
}

// SAFETY: all access goes through atomics.
unsafe impl Send for SharedWords {}
// SAFETY: all access goes through atomics.
unsafe impl Sync for SharedWords {}

impl SharedWords {
    /// Maps `bytes` of the map.
    pub fn map(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<SharedWords> {
        let bytes = bytes.next_multiple_of(8).max(8);
        // SAFETY: asks for a new mapping at an address that the kernel chooses.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = std::ptr::NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(SharedWords { base, words: bytes / 8 })
    }

    /// The word at a byte offset; `None` outside the memory or unaligned.
    pub fn word(&self, offset: usize) -> Option<&std::sync::atomic::AtomicU64> {
        if !offset.is_multiple_of(8) || offset / 8 >= self.words {
            return None;
        }
        // SAFETY: in bounds by the test above; the mapping lives as long as `self`.
        Some(unsafe { self.base.add(offset / 8).as_ref() })
    }
}

impl Drop for SharedWords {
    fn drop(&mut self) {
        // SAFETY: unmaps what `map` mapped; no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * 8) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(parse_cpu_list("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_cpu_list("0\n"), [0]);
        assert!(parse_cpu_list("\n").is_empty());
        assert!(parse_cpu_list("x-y").is_empty());
    }

    #[test]
    fn names_are_what_the_kernel_accepts() {
        assert_eq!(&object_name("kprobe:vfs_read_and_more"), b"kprobe_vfs_read\0");
    }

    #[test]
    fn attributes_have_the_kernels_sizes() {
        assert_eq!(std::mem::size_of::<ProgLoadAttr>(), 120);
        assert_eq!(std::mem::size_of::<PerfAttr>(), 112);
        assert_eq!(std::mem::size_of::<TestRunAttr>(), 72);
        assert_eq!(std::mem::size_of::<BatchAttr>(), 56);
    }
}
