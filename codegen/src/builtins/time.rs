//! Clocks.

use super::{Call, How, Row};
use crate::helpers::*;
use crate::llvm::ir::{Effect, Val};
use crate::program::Lower;
use rtrace_lang::diag::Result;
use rtrace_lang::typed::Expr;

pub(super) const ROWS: &[Row] =
    &[("nsecs", How::Scalar(nsecs)), ("elapsed", How::Scalar(elapsed)), ("jiffies", How::Scalar(jiffies))];

fn nsecs<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let helper = match call.arg(0).and_then(Expr::constant) {
        None | Some(0) => KTIME_GET_BOOT_NS,
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

fn elapsed<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    let now = l.ir.helper(KTIME_GET_NS, &[], Effect::Any);
    let start = l.ir.load(l.unit.global(l.unit.typed.globals.start_time), 8, 8, false);
    Ok(l.ir.sub(now, start))
}

fn jiffies<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    Ok(l.ir.helper(JIFFIES64, &[], Effect::Any))
}
