//! `watchpoint`: the debug registers of the processor, a program run whenever memory is written, read or executed.

use super::{Context, Listing, ProbeKind, Resolved, Spec};
use crate::arch::Arch;
use crate::bundle::{Access, ProgType, Target, Watched};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::Kernel;

pub static WATCHPOINT: ProbeKind = ProbeKind {
    name: "watchpoint",
    aliases: &["w"],
    form: "watchpoint:ADDRESS:LENGTH:MODE or watchpoint:KERNEL_SYMBOL[+OFFSET]:LENGTH:MODE",
    doc: "Memory being written (w), read or written (rw) or executed (x); the address is in the process of -p or \
        -c, or in the kernel.",
    example: "watchpoint:jiffies:8:w { @[kstack] = count() }",
    prog_type: ProgType::PerfEvent,
    returns: false,
    path: None,
    listing: Listing::Kind,
    resolve,
};

fn resolve(spec: &Spec, kernel: Kernel<'_>) -> Result<Vec<Resolved>> {
    let [place, length, mode] = spec.parts.as_slice() else { return Err(spec.malformed()) };
    let length: u32 = match length.parse() {
        Ok(n @ (1 | 2 | 4 | 8)) => n,
        Err(_) if length.is_empty() => return Err(spec.malformed()),
        _ => {
            return Err(bad(spec, format!("invalid watchpoint length `{length}`"))
                .help("use 1, 2, 4 or 8 bytes; a larger object needs several watchpoints"));
        }
    };
    let access = access(spec, mode)?;
    let (watched, address) = match number(place) {
        Some(0) => return Err(bad(spec, "invalid watchpoint address 0".into())),
        Some(address) => (Watched::Address(address), Some(address)),
        None if place.starts_with(|c: char| c.is_ascii_digit()) || place.is_empty() => return Err(spec.malformed()),
        None => symbol(spec, place, kernel)?,
    };
    // Code is watched by its first byte, data by aligned words.
    if let Some(address) = address.filter(|a| !access.execute && !a.is_multiple_of(u64::from(length))) {
        let message = format!("misaligned watchpoint: {address:#x} is not a multiple of the length {length}");
        let word = match &watched {
            Watched::Address(_) => format!("{:#x}", address - address % u64::from(length)),
            // Its address is another one when the system boots again.
            Watched::Symbol { name, offset } => {
                format!("{name}+{}", offset.saturating_sub(address % u64::from(length)))
            }
        };
        return Err(bad(spec, message)
            .help(format!("watch the aligned word, watchpoint:{word}:{length}:{mode}, or fewer bytes")));
    }
    Ok(vec![Resolved {
        kind: spec.kind,
        prog_type: ProgType::PerfEvent,
        target: Target::Watchpoint { watched, length, access },
        name: format!("{}:{}", spec.kind.name, spec.parts.join(":")),
        function: String::new(),
        context: Context::Nothing,
        multi: false,
    }])
}

fn bad(spec: &Spec, message: String) -> Box<Diagnostic> {
    Diagnostic::error(Code::BadTarget, spec.span, message)
}

/// The letters of a mode, in any order, each at most once.
fn access(spec: &Spec, mode: &str) -> Result<Access> {
    let mut access = Access { read: false, write: false, execute: false };
    for letter in mode.chars() {
        let flag = match letter {
            'r' => &mut access.read,
            'w' => &mut access.write,
            'x' => &mut access.execute,
            _ => {
                return Err(bad(spec, format!("unknown watchpoint mode `{mode}`"))
                    .help("modes: w (write), rw (read or write), x (execute)"));
            }
        };
        if std::mem::replace(flag, true) {
            return Err(bad(spec, format!("duplicate `{letter}` in the watchpoint mode `{mode}`")));
        }
    }
    let Access { read, write, execute } = access;
    if !(read || write || execute) {
        return Err(spec.malformed());
    }
    if execute && (read || write) {
        return Err(bad(spec, format!("the watchpoint mode `{mode}` mixes execution and data access"))
            .help("a debug register watches either execution (x) or data (w, rw): use two watchpoints for both"));
    }
    // Intel's manual, volume 3, 19.2.4: there is no setting for reading alone.
    if read && !write && spec.arch == Arch::X86_64 {
        return Err(bad(spec, "read-only watchpoints are not supported on x86".into())
            .help("use rw, which watches reads and writes"));
    }
    Ok(access)
}

/// `NAME` or `NAME+OFFSET` of the kernel; the address, where it is known, is for checking only.
fn symbol(spec: &Spec, text: &str, kernel: Kernel<'_>) -> Result<(Watched, Option<u64>)> {
    let (name, offset) = match text.split_once('+') {
        Some((name, offset)) => (name, number(offset).ok_or_else(|| spec.malformed())?),
        None => (text, 0),
    };
    let Some(start) = kernel.functions.symbol_address(name) else {
        let error = spec
            .missing(format!("the kernel has no symbol `{name}`"))
            .note("symbol addresses are read from /proc/kallsyms, which requires privileges");
        return Err(match kernel.functions.nearest_symbol(name) {
            Some(near) => error.help(format!("did you mean `{}:{near}`?", spec.kind.name)),
            None => error,
        });
    };
    Ok((Watched::Symbol { name: name.to_owned(), offset }, Some(start.wrapping_add(offset))))
}

/// `4096`, `0x1000`, `1_000`.
fn number(text: &str) -> Option<u64> {
    let plain = text.replace('_', "");
    match plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => plain.parse().ok(),
    }
}
