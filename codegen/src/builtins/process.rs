//! The current process, CPU and task; effects on the process.

use super::Call;
use crate::llvm::ir::{Effect, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::diag::Result;
use rtrace_lang::uapi::helper::*;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// The process id (thread group), as user space counts where rtrace runs.
    pub fn process_id(&mut self) -> Val<'c> {
        let both = self.numbers(false);
        self.ir.shr(both, self.ir.int(32), false)
    }

    /// The numbers of the running process (upper half) and thread, where rtrace runs or in the first namespace. Where
    /// rtrace runs, a process outside of its namespace is 0.
    fn numbers(&mut self, first: bool) -> Val<'c> {
        let Some((device, inode)) = self.unit.typed.config.pid_namespace.filter(|_| !first) else {
            return self.ir.helper(GET_CURRENT_PID_TGID, &[], Effect::None);
        };
        // `struct bpf_pidns_info`: thread, process. The kernel clears it when it fails.
        let mark = self.mark();
        let info = self.word();
        let ir = self.ir;
        let args = [ir.int(device as i64).into(), ir.int(inode as i64).into(), info.ptr.into(), ir.int(8).into()];
        ir.store(info.ptr, ir.int(0), 8, 8);
        ir.helper(GET_NS_CURRENT_PID_TGID, &args, Effect::Any);
        let both = ir.load(info.ptr, 8, 8, false);
        self.release(mark);
        both
    }
}

pub(super) fn pid<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let both = l.numbers(call.arg(0).is_some());
    Ok(l.ir.shr(both, l.ir.int(32), false))
}

pub(super) fn tid<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let both = l.numbers(call.arg(0).is_some());
    Ok(l.ir.narrow(both, 32, false))
}

pub(super) fn uid<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let both = l.ir.helper(GET_CURRENT_UID_GID, &[], Effect::None);
    Ok(l.normal(l.ir.narrow(both, 32, false), &call.expr.ty))
}

pub(super) fn gid<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    let both = l.ir.helper(GET_CURRENT_UID_GID, &[], Effect::None);
    Ok(l.ir.shr(both, l.ir.int(32), false))
}

pub(super) fn comm<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    let size = call.expr.ty.size();
    if l.take_padding() {
        // Kernels of 2022 and 2023 (6.1 among them) leave the bytes after the NUL as they were.
        l.zero(to, size);
    }
    l.ir.helper(GET_CURRENT_COMM, &[to.ptr.into(), l.ir.int(i64::from(size)).into()], Effect::Any);
    Ok(())
}

pub(super) fn cpu<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    let v = l.ir.helper(GET_SMP_PROCESSOR_ID, &[], Effect::None);
    Ok(l.ir.narrow(v, 32, false))
}

pub(super) fn numaid<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let v = l.ir.helper(GET_NUMA_NODE_ID, &[], Effect::None);
    Ok(l.normal(v, &call.expr.ty))
}

pub(super) fn rand<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let v = l.ir.helper(GET_PRANDOM_U32, &[], Effect::Any);
    Ok(l.normal(l.ir.narrow(v, 32, false), &call.expr.ty))
}

pub(super) fn cgroup<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    Ok(l.ir.helper(GET_CURRENT_CGROUP_ID, &[], Effect::None))
}

pub(super) fn curtask<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    Ok(l.ir.helper(GET_CURRENT_TASK, &[], Effect::None))
}

pub(super) fn signal<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [number] = call.args()?;
    let number = l.number(number)?;
    Ok(l.ir.helper(SEND_SIGNAL, &[number.into()], Effect::Any))
}

pub(super) fn override_return<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [value] = call.args()?;
    let value = l.number(value)?;
    Ok(l.ir.helper(OVERRIDE_RETURN, &[l.context.into(), value.into()], Effect::Any))
}

pub(super) fn signal_thread<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [number] = call.args()?;
    let number = l.number(number)?;
    Ok(l.ir.helper(SEND_SIGNAL_THREAD, &[number.into()], Effect::Any))
}

pub(super) fn cpid<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    Ok(l.ir.load(l.unit.global(l.unit.typed.globals.cpid), 8, 8, false))
}

pub(super) fn ncpus<'c>(l: &mut Lower<'_, '_, 'c>, _: Call<'_>) -> Result<Val<'c>> {
    Ok(l.ir.load(l.unit.global(l.unit.typed.globals.ncpus), 8, 8, false))
}
