//! Stacks and user symbols. An event carries the frames themselves; elsewhere a stack is the id
//! under which its frames were put into the map of stacks.

use super::Call;
use crate::flags::*;
use crate::llvm::ir::{AtomicOp, Effect, Pred, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::bundle::STACKS_SYMBOL;
use rtrace_lang::diag::Result;
use rtrace_lang::intrinsic::Intrinsic;
use rtrace_lang::types::{StackMode, StackType, Type};
use rtrace_lang::uapi::helper::*;

/// Multiplier of the hash over frames: odd, with bits all over (2^64 divided by the golden ratio).
const MIX: i64 = 0x9e37_79b9_7f4a_7c15_u64 as i64;

fn stack_type(call: &Call<'_>) -> Option<StackType> {
    match call.expr.ty {
        Type::Stack(stack) => Some(stack),
        _ => None,
    }
}

/// Writes frames; returns how many bytes, or an error number.
fn raw_frames<'c>(l: &mut Lower<'_, '_, 'c>, call: &Call<'_>, stack: StackType, to: Mem<'c>) -> Result<Val<'c>> {
    if call.intrinsic == Intrinsic::DwUstack {
        return l.unwound_frames(call.args, u32::from(stack.depth), to);
    }
    let size = stack.bytes();
    let flags = match stack.mode {
        StackMode::BuildId => BPF_F_USER_STACK | BPF_F_USER_BUILD_ID,
        _ if stack.user => BPF_F_USER_STACK,
        _ => 0,
    };
    let args = [l.context.into(), to.ptr.into(), l.ir.int(i64::from(size)).into(), l.ir.int(flags).into()];
    Ok(l.ir.helper(GET_STACK, &args, Effect::Any))
}

/// Writes frames; returns how many bytes.
fn frames<'c>(l: &mut Lower<'_, '_, 'c>, call: &Call<'_>, stack: StackType, to: Mem<'c>) -> Result<Val<'c>> {
    let result = raw_frames(l, call, stack, to)?;
    let some = l.ir.icmp(Pred::SGT, result, l.ir.int(0));
    Ok(l.ir.bound(l.ir.select(some, result, l.ir.int(0)), stack.bytes()))
}

fn process<'c>(l: &mut Lower<'_, '_, 'c>, stack: StackType) -> Val<'c> {
    if stack.user { l.process_id() } else { l.ir.int(0) }
}

pub(super) fn stack_variable<'c>(
    l: &mut Lower<'_, '_, 'c>,
    call: Call<'_>,
    to: Mem<'c>,
    _: u32,
) -> Result<(Val<'c>, Val<'c>)> {
    let Some(stack) = stack_type(&call) else { return l.unexpected("this stack") };
    let len = frames(l, &call, stack, to)?;
    Ok((len, process(l, stack)))
}

/// How many frames a stored stack has.
pub(super) fn depth<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [stack] = call.args()?;
    let Some(map) = l.unit.object_named(STACKS_SYMBOL) else { return l.unexpected("this stack") };
    let frame = match stack.ty {
        Type::Stack(stack) => i64::from(stack.frame_size().trailing_zeros()),
        _ => 3,
    };
    let mark = l.mark();
    let value = l.place(stack)?;
    let ir = l.ir;
    let key = l.word();
    ir.store(key.ptr, ir.load(value.ptr, 8, value.align, false), 8, 8);
    let p = ir.helper_ptr(MAP_LOOKUP_ELEM, &[map.into(), key.ptr.into()]);
    let (found, done) = (ir.block("stack"), ir.block("counted"));
    let before = ir.here();
    ir.cond_br(ir.is_null(p), done, found);
    ir.at(found);
    let count = ir.shr(ir.load(p, 4, 4, false), ir.int(frame), false);
    ir.br(done);
    ir.at(done);
    l.release(mark);
    Ok(ir.phi(&[(ir.int(0), before), (count, found)]))
}

/// Stores the frames, behind the number of their bytes, under a hash of them, and gives the hash.
pub(super) fn stack<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    l.take_padding();
    let (Some(stack), Some(map)) = (stack_type(&call), l.unit.object_named(STACKS_SYMBOL)) else {
        return l.unexpected("this stack");
    };
    let mark = l.mark();
    // The map takes whole values: the entry must be as large as they are.
    let size = l.unit.object_size(STACKS_SYMBOL).max(8 + stack.bytes());
    let offset = l.reserve_scratch(size)?;
    let entry = l.scratch_at(offset)?;
    let ir = l.ir;
    let process = process(l, stack);
    ir.store(to.ptr, ir.int(0), 8, to.align);
    ir.store(l.at(to, 8).ptr, process, 8, to.align.min(8));
    let result = raw_frames(l, &call, stack, l.at(entry, 8))?;
    let (some, frame, hashed, new, stored, full, done) = (
        ir.block("some"),
        ir.block("frame"),
        ir.block("hashed"),
        ir.block("new_stack"),
        ir.block("stored"),
        ir.block("no_room"),
        ir.block("stack_done"),
    );
    ir.cond_br(ir.icmp(Pred::SGT, result, ir.int(0)), some, done);

    ir.at(some);
    let len = ir.bound(result, stack.bytes());
    ir.store(entry.ptr, len, 8, 8);
    ir.br(frame);
    // From the last frame to the first: what is left to do is also where the next frame lies, behind the length.
    ir.at(frame);
    let left = ir.loop_phi(len, some);
    let hash = ir.loop_phi(ir.int(0), some);
    let mixed = ir.mul(ir.xor(hash, ir.load(ir.index(entry.ptr, left), 8, 8, false)), ir.int(MIX));
    // The upper bytes of a product depend on all of its factors: they go where the next one multiplies them.
    let mixed = ir.swap_bytes(mixed);
    // Opaque, or LLVM would count something else: verifiers follow a comparison of this with a constant.
    let next = ir.opaque(ir.sub(left, ir.int(8)));
    ir.close_loop(left, next, frame);
    ir.close_loop(hash, mixed, frame);
    ir.cond_br(ir.icmp(Pred::SGT, next, ir.int(0)), frame, hashed);

    ir.at(hashed);
    ir.store(to.ptr, mixed, 8, to.align);
    // A record of the ring buffer is no key to all kernels.
    let key = if l.open.is_empty() && to.align >= 8 { to } else { l.word() };
    if key.ptr != to.ptr {
        ir.store(key.ptr, mixed, 8, 8);
    }
    let found = ir.helper_ptr(MAP_LOOKUP_ELEM, &[map.into(), key.ptr.into()]);
    ir.cond_br(ir.is_null(found), new, done);

    ir.at(new);
    let args = [map.into(), key.ptr.into(), entry.ptr.into(), ir.int(BPF_ANY).into()];
    let result = ir.helper(MAP_UPDATE_ELEM, &args, Effect::Any);
    ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(0)), stored, full);

    ir.at(stored);
    if let Some(counter) = l.unit.typed.globals.new_stacks {
        ir.atomic(AtomicOp::Add, l.unit.global(counter), ir.int(1), 8);
    }
    ir.br(done);

    ir.at(full);
    ir.atomic(AtomicOp::Add, l.unit.global(l.unit.typed.globals.lost_stacks), ir.int(1), 8);
    ir.store(to.ptr, ir.int(0), 8, to.align);
    ir.br(done);
    ir.at(done);
    l.release(mark);
    Ok(())
}

pub(super) fn usym<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    l.take_padding();
    let [address] = call.args()?;
    let address = l.number(address)?;
    l.ir.store(to.ptr, address, 8, to.align);
    let process = l.process_id();
    l.ir.store(l.at(to, 8).ptr, process, 8, to.align);
    Ok(())
}
