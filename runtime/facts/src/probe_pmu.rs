//! The PMUs of perf that make kprobes and uprobes (Linux 4.17).

use rtrace_sys::{self as sys, PerfAttr};
use std::ffi::CString;
use std::io;

/// A dynamic PMU of perf: its type and the bit of `config` that asks for return probes.
#[derive(Clone, Copy, Debug)]
pub struct ProbePmu {
    pub kind: u32,
    pub ret: u64,
}

impl ProbePmu {
    /// Reads /sys/bus/event_source/devices/NAME.
    pub fn read(name: &str) -> io::Result<ProbePmu> {
        let base = format!("/sys/bus/event_source/devices/{name}");
        let kind = std::fs::read_to_string(format!("{base}/type"))?;
        let format = std::fs::read_to_string(format!("{base}/format/retprobe"))?;
        let bit = format.trim().strip_prefix("config:").and_then(|b| b.parse().ok()).unwrap_or(0u32);
        let kind = kind.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(ProbePmu { kind, ret: 1u64.checked_shl(bit).unwrap_or(1) })
    }
}

/// Whether several functions have a name, as the kernel says (Linux 6.6, and stable releases since) when it is to probe one.
/// It probes none: the offset is in no function.
pub fn shares_name(function: &str) -> bool {
    const NOWHERE: u64 = 1 << 30;
    let (Ok(pmu), Ok(symbol)) = (ProbePmu::read("kprobe"), CString::new(function)) else { return false };
    let attr = PerfAttr { kind: pmu.kind, config1: symbol.as_ptr() as u64, config2: NOWHERE, ..PerfAttr::default() };
    let refused = sys::perf_event_anywhere(&attr).err();
    refused.is_some_and(|e| e.raw_os_error() == Some(libc::EADDRNOTAVAIL))
}
