//! The features of the running kernel, detected by trying them, since distributions backport.
//!
//! Helpers and instructions are asked for with two- or five-instruction programs that are loaded and dropped;
//! multi-links with attachments that must fail, where how they fail tells. Nothing is ever attached.
//! Without the privilege to load programs, versions decide.

use rtrace_core::uapi::{attach_type, map_type, prog_type};
use std::os::fd::{AsFd, BorrowedFd};

use rtrace_core::bundle::ProgType;
use rtrace_core::kernel::{Feature, Version};

use rtrace_sys::{self as sys, MapCreate, ProgLoad, insn};

const KPROBE: u32 = prog_type::KPROBE.number;
const SOCKET_FILTER: u32 = 1;
const TRACING: u32 = prog_type::TRACING.number;

const EXIT: u64 = insn(0x95, 0, 0, 0, 0);

const fn mov(dst: u8, value: i32) -> u64 {
    insn(0xb7, dst, 0, 0, value)
}

/// Asks the kernel; see [`Feature`].
pub fn probe(feature: Feature, version: Version) -> bool {
    let by_version = version >= feature.since();
    let answer = match feature {
        Feature::KprobeMulti => kprobe_multi(by_version),
        // The caller asked for multi links, which have what it needs; its attach type says nothing of itself.
        Feature::KprobeSession => Some(by_version),
        Feature::UprobeMulti => uprobe_multi(),
        // Numbers of `enum bpf_func_id`.
        Feature::AttachCookie => helper(174),
        Feature::GetFuncIp => helper(173),
        Feature::Loop => helper(181),
        Feature::PercpuLookup => helper(195),
        Feature::ForEachMapElem => helper(164),
        Feature::AtomicFetch => loads(&[
            mov(1, 1),
            // *(u64 *)(r10 - 8) = 1; r1 = atomic_fetch_add(r10 - 8, r1)
            insn(0x7a, 10, 0, -8, 1),
            insn(0xdb, 10, 1, -8, 0x01),
            mov(0, 0),
            EXIT,
        ]),
        // r0 s/= r1
        Feature::CpuV4 => loads(&[mov(0, 4), mov(1, 2), insn(0x3f, 0, 1, 1, 0), mov(0, 0), EXIT]),
    };
    answer.unwrap_or(by_version)
}

fn load(
    prog_type: u32,
    attach_type: u32,
    instructions: &[u64],
    log: &mut [u8],
) -> std::io::Result<std::os::fd::OwnedFd> {
    let load = ProgLoad {
        prog_type,
        expected_attach_type: attach_type,
        name: "rtrace_probe",
        license: c"GPL",
        instructions,
        btf: None,
        attach_btf_id: 0,
        attach_to: None,
    };
    sys::prog_load(&load, 1, log)
}

fn not_allowed(e: &std::io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOSYS | libc::ENOMEM))
}

/// Whether a program passes the verifier; `None` when we may not ask.
fn loads(instructions: &[u64]) -> Option<bool> {
    match load(SOCKET_FILTER, 0, instructions, &mut []) {
        Ok(_) => Some(true),
        Err(e) if not_allowed(&e) => None,
        Err(_) => Some(false),
    }
}

/// Whether kprobe programs may call a helper: the verifier knows it if it complains of anything else than
/// not knowing it (its arguments are nonsense here).
pub fn helper(number: i32) -> Option<bool> {
    let mut log = vec![0u8; 4096];
    match load(KPROBE, 0, &[insn(0x85, 0, 0, 0, number), mov(0, 0), EXIT], &mut log) {
        Ok(_) => Some(true),
        Err(e) if not_allowed(&e) => None,
        Err(_) => {
            let has = |text: &[u8]| memchr::memmem::find(&log, text).is_some();
            // "unknown func" up to 6.7, "program of this type cannot use helper" later.
            Some(!has(b"unknown func") && !has(b"invalid func") && !has(b"cannot use helper"))
        }
    }
}

/// Whether programs of a type (`enum bpf_prog_type`) can be loaded.
pub fn program(prog_type: u32) -> Option<bool> {
    match load(prog_type, 0, &[mov(0, 0), EXIT], &mut []) {
        Ok(_) => Some(true),
        Err(e) if not_allowed(&e) => None,
        Err(_) => Some(false),
    }
}

/// Whether maps of a type (`enum bpf_map_type`) can be made.
pub fn map(number: u32) -> Option<bool> {
    const PERF_EVENT_ARRAY: u32 = map_type::PERF_EVENT_ARRAY.number;
    const RINGBUF: u32 = map_type::RINGBUF.number;
    let (key, value, entries) = match number {
        PERF_EVENT_ARRAY => (4, 4, 1),
        RINGBUF => (0, 0, sys::page_size() as u32),
        _ => (4, 8, 1),
    };
    let map = MapCreate {
        map_type: number,
        key_size: key,
        value_size: value,
        max_entries: entries,
        flags: 0,
        inner: None,
        name: "rtrace_probe",
    };
    match sys::map_create(&map) {
        Ok(_) => Some(true),
        Err(e) if not_allowed(&e) => None,
        Err(_) => Some(false),
    }
}

/// Whether programs of a type may call the kernel function of this BTF id. Called without arguments it is refused
/// in any case: what the verifier says first tells. `attach` gives a function that a trampoline could be for.
pub fn kfunc(function: i32, program: ProgType, attach: impl Fn() -> Option<u32>) -> bool {
    // `enum bpf_prog_type`, `enum bpf_attach_type`.
    let (prog_type, attach_type, attach_btf_id) = match program {
        ProgType::Kprobe => (KPROBE, 0, 0),
        ProgType::Tracepoint => (5, 0, 0),
        ProgType::PerfEvent => (7, 0, 0),
        ProgType::RawTracepoint => (17, 0, 0),
        // A raw tracepoint of its own would be needed; the kernel does not tell tracing programs apart here.
        ProgType::BtfTracepoint | ProgType::Fentry => {
            (TRACING, attach_type::TRACE_FENTRY.number, attach().unwrap_or(0))
        }
        ProgType::Fexit => (TRACING, attach_type::TRACE_FEXIT.number, attach().unwrap_or(0)),
        ProgType::Iter => (TRACING, attach_type::TRACE_FENTRY.number, attach().unwrap_or(0)),
    };
    let mut log = vec![0u8; 4096];
    let load = ProgLoad {
        prog_type,
        expected_attach_type: attach_type,
        name: "rtrace_probe",
        license: c"GPL",
        // A call whose source register says that it is one of the kernel's own.
        instructions: &[insn(0x85, 0, 2, 0, function), mov(0, 0), EXIT],
        btf: None,
        attach_btf_id,
        attach_to: None,
    };
    match sys::prog_load(&load, 1, &mut log) {
        Ok(_) => true,
        Err(_) => {
            let has = |text: &[u8]| memchr::memmem::find(&log, text).is_some();
            log.first() != Some(&0)
                && !has(b"is not allowed")
                && !has(b"not supported")
                && !has(b"not a kernel function")
        }
    }
}

/// How the verifier takes a BPF program's function (its BTF id in the program's BTF) for those that trace it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Followed {
    /// It does not go by the function's types: there are five words, whatever they are, before the result.
    pub blind: bool,
    /// It follows the first parameter.
    pub first: bool,
}

pub fn followed(program: BorrowedFd<'_>, function: u32) -> Followed {
    let passes = |attach_type, instructions: &[u64]| {
        let load = ProgLoad {
            prog_type: TRACING,
            expected_attach_type: attach_type,
            name: "rtrace_probe",
            license: c"GPL",
            instructions,
            btf: None,
            attach_btf_id: function,
            attach_to: Some(program),
        };
        sys::prog_load(&load, 0, &mut []).is_ok()
    };
    // *(u64 *)(rSRC + off)
    let word = |dst, src, off| insn(0x79, dst, src, off, 0);
    Followed {
        blind: passes(attach_type::TRACE_FEXIT.number, &[word(1, 1, 40), mov(0, 0), EXIT]),
        first: passes(attach_type::TRACE_FENTRY.number, &[word(1, 1, 0), word(1, 1, 0), mov(0, 0), EXIT]),
    }
}

/// A link to no functions is refused with EINVAL where kprobe.multi is there, and with EOPNOTSUPP in a kernel
/// without CONFIG_FPROBE (Debian's 6.1). Kernels before 5.18 say EINVAL as well, hence the version.
fn kprobe_multi(by_version: bool) -> Option<bool> {
    if !by_version {
        return Some(false);
    }
    let program = match load(KPROBE, attach_type::TRACE_KPROBE_MULTI.number, &[mov(0, 0), EXIT], &mut []) {
        Ok(program) => program,
        Err(e) if not_allowed(&e) => return None,
        Err(_) => return Some(false),
    };
    match sys::kprobe_multi(program.as_fd(), sys::Functions::Names(&[]), sys::Side::Entry, &[]) {
        Ok(_) => Some(true),
        Err(e) => Some(e.raw_os_error() == Some(libc::EINVAL)),
    }
}

/// A link to a folder is refused with EBADF where uprobe.multi is there, with EINVAL elsewhere.
fn uprobe_multi() -> Option<bool> {
    let program = match load(KPROBE, attach_type::TRACE_UPROBE_MULTI.number, &[mov(0, 0), EXIT], &mut []) {
        Ok(program) => program,
        Err(e) if not_allowed(&e) => return None,
        Err(_) => return Some(false),
    };
    match sys::uprobe_multi(program.as_fd(), c"/", (&[0], &[]), false, &[], None) {
        Ok(_) => Some(true),
        Err(e) => Some(e.raw_os_error() == Some(libc::EBADF)),
    }
}
