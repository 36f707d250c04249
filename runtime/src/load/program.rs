//! Loading of single programs: the attributes for each program type, the probe identifier patched into the
//! code, and the second try with a log when the kernel refuses.

use super::object::{Code, Loaded};
use super::verifier::VerifierError;
use super::{LoadError, session};
use rtrace_core::bundle::{PROBE_ID_LOOKUP, PROBE_ID_MAGIC, ProgType, ProgramDef};
use rtrace_core::source::SourceMap;
use rtrace_core::uapi::{attach_type, prog_type};
use rtrace_sys as sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The differences between the copies of a program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Variant<'a> {
    /// Replaces [`PROBE_ID_MAGIC`].
    pub probe: Option<u32>,
    /// Function or tracepoint of a tracing program, with the BTF of its module or the BPF program that has it.
    pub btf_id: u32,
    pub attach_to: Option<BorrowedFd<'a>>,
    /// Load for many attach points at once instead of single ones.
    pub multi: Option<Multi>,
}

/// Ways to attach to many points at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multi {
    /// kprobe.multi
    Kprobe,
    /// kprobe.session
    Session,
    /// uprobe.multi
    Uprobe,
    /// One event of tracefs with many kprobes.
    Event,
}

/// Verifier logs grow to this size; what is longer is reported without its reason.
const MOST_LOG: usize = 64 << 20;

/// `LD | IMM | DW`: the first half of an instruction that loads 64 bits.
const LD_IMM64: u64 = 0x18;

/// `enum bpf_prog_type` and the expected attach type.
fn kernel_types(prog_type: ProgType, multi: Option<Multi>) -> (u32, u32) {
    match (prog_type, multi) {
        (ProgType::Kprobe, None) | (ProgType::Kprobe | ProgType::Tracepoint, Some(Multi::Event)) => {
            (prog_type::KPROBE.number, 0)
        }
        (ProgType::Kprobe | ProgType::Tracepoint, Some(Multi::Kprobe)) => {
            (prog_type::KPROBE.number, attach_type::TRACE_KPROBE_MULTI.number)
        }
        (ProgType::Kprobe | ProgType::Tracepoint, Some(Multi::Session)) => {
            (prog_type::KPROBE.number, attach_type::TRACE_KPROBE_SESSION.number)
        }
        (ProgType::Kprobe, Some(Multi::Uprobe)) => (prog_type::KPROBE.number, attach_type::TRACE_UPROBE_MULTI.number),
        (ProgType::Tracepoint, _) => (prog_type::TRACEPOINT.number, 0),
        (ProgType::PerfEvent, _) => (prog_type::PERF_EVENT.number, 0),
        (ProgType::RawTracepoint, _) => (prog_type::RAW_TRACEPOINT.number, 0),
        (ProgType::BtfTracepoint, _) => (prog_type::TRACING.number, attach_type::TRACE_RAW_TP.number),
        (ProgType::Fentry, _) => (prog_type::TRACING.number, attach_type::TRACE_FENTRY.number),
        (ProgType::Fexit, _) => (prog_type::TRACING.number, attach_type::TRACE_FEXIT.number),
        (ProgType::Iter, _) => (prog_type::TRACING.number, attach_type::TRACE_ITER.number),
    }
}

/// Loads one copy of a program.
pub fn load(
    loaded: &Loaded,
    def: &ProgramDef,
    variant: Variant<'_>,
    sources: &SourceMap,
) -> Result<OwnedFd, LoadError> {
    let code =
        loaded.code.get(&def.symbol).ok_or_else(|| LoadError::Object(format!("it has no program {}", def.symbol)))?;
    let shared = (variant.multi == Some(Multi::Event)).then_some(PROBE_ID_LOOKUP);
    let patched = variant.probe.map(u64::from).or(shared).map(|probe| patch(&code.instructions, probe));
    let (prog_type, expected_attach_type) = kernel_types(def.prog_type, variant.multi);
    let mut request = sys::ProgLoad {
        prog_type,
        expected_attach_type,
        name: &def.symbol,
        license: &loaded.license,
        instructions: patched.as_deref().unwrap_or(&code.instructions),
        btf: loaded.btf.as_ref().map(|btf| sys::BtfInfo {
            fd: btf.fd.as_fd(),
            func_info: &code.func_info,
            line_info: &code.line_info,
        }),
        attach_btf_id: variant.btf_id,
        attach_to: variant.attach_to,
    };
    // An object without BTF for functions cannot offer line numbers either.
    request.btf = request.btf.filter(|btf| !btf.func_info.is_empty());
    match sys::prog_load(&request, 0, &mut []) {
        Ok(fd) => Ok(fd),
        Err(first) => explain(first, &request, code, loaded, def, sources),
    }
}

/// Loads one program that runs `entry` at the entry of functions and `returns` at their return; `is_return` as in
/// [`session::join`]. `None` where the kernel does not take it, for whatever reason: they can be loaded one by one.
pub fn load_session(loaded: &Loaded, entry: &ProgramDef, returns: &ProgramDef, is_return: i32) -> Option<OwnedFd> {
    let code = session::join(loaded.code.get(&entry.symbol)?, loaded.code.get(&returns.symbol)?, is_return)?;
    let (prog_type, expected_attach_type) = kernel_types(ProgType::Kprobe, Some(Multi::Session));
    let btf = loaded.btf.as_ref().map(|btf| sys::BtfInfo {
        fd: btf.fd.as_fd(),
        func_info: &code.func_info,
        line_info: &code.line_info,
    });
    let request = sys::ProgLoad {
        prog_type,
        expected_attach_type,
        name: &entry.symbol,
        license: &loaded.license,
        instructions: &code.instructions,
        btf: btf.filter(|btf| !btf.func_info.is_empty()),
        attach_btf_id: 0,
        attach_to: None,
    };
    sys::prog_load(&request, 0, &mut []).ok()
}

/// Loads again with a log, to say why the kernel refused.
fn explain(
    first: io::Error,
    request: &sys::ProgLoad<'_>,
    code: &Code,
    loaded: &Loaded,
    def: &ProgramDef,
    sources: &SourceMap,
) -> Result<OwnedFd, LoadError> {
    let mut size = 256 << 10;
    loop {
        let mut log = vec![0u8; size];
        let error = match sys::prog_load(request, 1, &mut log) {
            // The cause is gone: a signal, or memory that is there again.
            Ok(fd) => return Ok(fd),
            Err(e) => e,
        };
        if error.raw_os_error() == Some(libc::ENOSPC) && size < MOST_LOG {
            size *= 8;
            continue;
        }
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        let text = String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned();
        let program = || def.symbol.clone();
        return Err(match first.raw_os_error() {
            Some(libc::EPERM) if text.trim().is_empty() => LoadError::Privileges { source: first },
            _ if text.trim().is_empty() => LoadError::Program { program: program(), span: def.span, source: first },
            _ => {
                let error = VerifierError::new(&def.symbol, text, code, loaded.btf.as_ref(), sources);
                LoadError::Verifier { span: def.span, error: Box::new(error) }
            }
        });
    }
}

/// The instructions with [`PROBE_ID_MAGIC`] replaced wherever a 64-bit constant is loaded.
fn patch(instructions: &[u64], probe: u64) -> Vec<u64> {
    let (low, high) = (PROBE_ID_MAGIC << 32, PROBE_ID_MAGIC >> 32 << 32);
    let mut out = instructions.to_vec();
    let mut halves = out.iter_mut().peekable();
    while let Some(first) = halves.next() {
        // Opcode LD_IMM64 with source register 0: a plain constant.
        if *first & 0xf0ff != LD_IMM64 {
            continue;
        }
        let Some(second) = halves.next() else { break };
        if *first & !0xffff_ffff == low && *second & !0xffff_ffff == high {
            *first = (*first & 0xffff_ffff) | probe << 32;
            *second = (*second & 0xffff_ffff) | probe >> 32 << 32;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_magic_constant_is_patched() {
        let load = |value: u64, register: u64| [LD_IMM64 | register << 8 | value << 32, value >> 32 << 32];
        let mut code = vec![0xb7];
        code.extend(load(PROBE_ID_MAGIC, 3));
        code.extend(load(PROBE_ID_MAGIC + 1, 3));
        // A map descriptor (source register 1) is left alone whatever its bytes.
        code.extend(load(PROBE_ID_MAGIC, 0x10 | 2));
        let patched = patch(&code, 0x1_0000_0007);
        assert_eq!(patched.get(1..3), Some(&load(0x1_0000_0007, 3)[..]));
        assert_eq!(patched.get(3..), code.get(3..));
        assert_eq!(patched.len(), code.len());
    }
}
