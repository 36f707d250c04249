//! Watchpoints: debug registers, on every CPU or in every thread of one process (`-p`, `-c`).

use super::perf::everywhere;
use super::{Link, Reason};
use rtrace_core::bundle::{Access, Watched};
use rtrace_core::kernel::Functions;
use rtrace_facts::KernelFacts;
use rtrace_sys::PerfAttr;
use std::os::fd::BorrowedFd;

/// `PERF_TYPE_BREAKPOINT`
const BREAKPOINT: u32 = 5;

/// Attaches; every link carries the address, for `unwatch`.
pub(super) fn attach(
    program: BorrowedFd<'_>,
    (watched, length, access): (&Watched, u32, Access),
    process: Option<u32>,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    let address = match watched {
        Watched::Address(address) => *address,
        Watched::Symbol { name, offset } => KernelFacts::default()
            .symbol_address(name)
            .map(|start| start.wrapping_add(*offset))
            .ok_or_else(|| Reason(format!("/proc/kallsyms has no address for `{name}`")))?,
    };
    // HW_BREAKPOINT_R, _W and _X of include/uapi/linux/hw_breakpoint.h.
    let bits = u32::from(access.read) | u32::from(access.write) << 1 | u32::from(access.execute) << 2;
    let attr = PerfAttr {
        kind: BREAKPOINT,
        sample: 1,
        bp_type: bits,
        config1: address,
        // For code the kernel wants the size of a pointer, whatever the instruction's (arch_build_bp_info).
        config2: if access.execute { size_of::<usize>() as u64 } else { u64::from(length) },
        ..PerfAttr::default()
    };
    let links = everywhere(attr, process, program, cookie).map_err(|error| {
        Reason::of(
            &error,
            &[
                (libc::ENOSPC, "no debug register is free: x86 has 4, which debuggers and other watchpoints also use"),
                (libc::EINVAL, "the processor does not support this address, length or mode"),
                (libc::EOPNOTSUPP, "this processor has no debug registers"),
                (libc::ENODEV, "this processor has no debug registers"),
                (libc::ENOENT, "this kernel has no watchpoints (CONFIG_HAVE_HW_BREAKPOINT)"),
                (libc::ESRCH, "no such process"),
            ],
        )
    })?;
    Ok(links.into_iter().map(|link| link.watching(address)).collect())
}
