//! Clocks.

use super::Call;
use crate::llvm::ir::{Effect, Val};
use crate::lower::Lower;
use rtrace_lang::diag::Result;
use rtrace_lang::uapi::helper::*;

pub(super) fn nsecs<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [clock] = call.args()?;
    let helper = match clock.constant() {
        Some(0) => KTIME_GET_BOOT_NS,
        Some(1) => KTIME_GET_NS,
        Some(2) => KTIME_GET_TAI_NS,
        Some(3) => {
            let Some(offset) = l.unit.typed.globals.tai else { return l.unexpected("this clock") };
            let boot = l.ir.helper(KTIME_GET_BOOT_NS, &[], Effect::Any);
            return Ok(l.ir.add(boot, l.ir.load(l.unit.global(offset), 8, 8, false)));
        }
        _ => return l.unexpected("this clock"),
    };
    Ok(l.ir.helper(helper, &[], Effect::Any))
}

pub(super) fn elapsed<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    let now = l.ir.helper(KTIME_GET_NS, &[], Effect::Any);
    let start = l.ir.load(l.unit.global(l.unit.typed.globals.start_time), 8, 8, false);
    Ok(l.ir.sub(now, start))
}

pub(super) fn jiffies<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    Ok(l.ir.helper(JIFFIES64, &[], Effect::Any))
}
