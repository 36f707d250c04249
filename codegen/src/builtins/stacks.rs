//! Stacks and user symbols. An event carries the frames themselves; elsewhere a stack is the id
//! under which its frames were put into the map of stacks.

use super::{Call, How, Row};
use crate::helpers::*;
use crate::llvm::ir::{AtomicOp, Effect, Pred, Val};
use crate::memory::Mem;
use crate::program::Lower;
use rtrace_lang::bundle::STACKS_SYMBOL;
use rtrace_lang::diag::Result;
use rtrace_lang::types::{StackType, Type};

pub(super) const ROWS: &[Row] = &[
    ("kstack", How::Both(stack, stack_variable)),
    ("ustack", How::Both(stack, stack_variable)),
    ("usym", How::Memory(usym)),
    ("len", How::Scalar(depth)),
];

/// Multiplier of the hash over frames: odd, with bits all over (2^64 divided by the golden ratio).
const MIX: i64 = 0x9e37_79b9_7f4a_7c15_u64 as i64;

fn stack_type(call: &Call<'_>) -> Option<StackType> {
    match call.expr.ty {
        Type::Stack(stack) => Some(stack),
        _ => None,
    }
}

/// Writes frames; returns how many bytes.
fn frames<'c>(l: &mut Lower<'_, '_, 'c>, stack: StackType, to: Mem<'c>) -> Val<'c> {
    let size = u32::from(stack.depth) * 8;
    let flags = if stack.user { BPF_F_USER_STACK } else { 0 };
    let args = [l.context.into(), to.ptr.into(), l.ir.int(i64::from(size)).into(), l.ir.int(flags).into()];
    let result = l.ir.helper(GET_STACK, &args, Effect::Any);
    let some = l.ir.icmp(Pred::SGT, result, l.ir.int(0));
    l.ir.bound(l.ir.select(some, result, l.ir.int(0)), size)
}

fn process<'c>(l: &mut Lower<'_, '_, 'c>, stack: StackType) -> Val<'c> {
    if stack.user { l.process_id() } else { l.ir.int(0) }
}

fn stack_variable<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>, _: u32) -> Result<(Val<'c>, Val<'c>)> {
    let Some(stack) = stack_type(&call) else { return l.unexpected("this stack") };
    let len = frames(l, stack, to);
    Ok((len, process(l, stack)))
}

/// How many frames a stored stack has.
fn depth<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let (Some(stack), Some(map)) = (call.arg(0), l.unit.object_named(STACKS_SYMBOL)) else {
        return l.unexpected("this stack");
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
    let count = ir.load(p, 4, 4, false);
    ir.br(done);
    ir.at(done);
    l.release(mark);
    Ok(ir.phi(&[(ir.int(0), before), (count, found)]))
}

/// Stores the frames under a hash of them and gives the hash.
fn stack<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    l.take_padding();
    let (Some(stack), Some(map)) = (stack_type(&call), l.unit.object_named(STACKS_SYMBOL)) else {
        return l.unexpected("this stack");
    };
    let mark = l.mark();
    // The map takes whole values: the entry must be as large as they are.
    let size = l.unit.object_size(STACKS_SYMBOL).max(8 + u32::from(stack.depth) * 8);
    let offset = l.reserve_scratch(size)?;
    let entry = l.scratch_at(offset)?;
    let start = l.at(entry, 8);
    let len = frames(l, stack, start);
    let ir = l.ir;
    ir.store(entry.ptr, ir.shr(len, ir.int(3), false), 8, 8);

    let (head, round, hashed) = (ir.block("frames"), ir.block("frame"), ir.block("hashed"));
    let before = ir.here();
    ir.br(head);
    ir.at(head);
    let at = ir.loop_phi(ir.int(0), before);
    let hash = ir.loop_phi(ir.int(0), before);
    ir.cond_br(ir.icmp(Pred::ULT, at, len), round, hashed);
    ir.at(round);
    let frame = ir.load(ir.index(start.ptr, at), 8, 8, false);
    let mixed = ir.mul(ir.xor(hash, frame), ir.int(MIX));
    let mixed = ir.xor(mixed, ir.shr(mixed, ir.int(32), false));
    let next = ir.add(at, ir.int(8));
    ir.close_loop(at, next, round);
    ir.close_loop(hash, mixed, round);
    // The length is bounded already; the constant end is for verifiers that lose track of it.
    let end = ir.int(i64::from(stack.depth) * 8);
    ir.cond_br(ir.icmp(Pred::ULT, next, end), head, hashed);

    ir.at(hashed);
    let hash = ir.phi(&[(hash, head), (mixed, round)]);
    let key = l.word();
    ir.store(key.ptr, hash, 8, 8);
    let (new, known, full, done) =
        (ir.block("new_stack"), ir.block("known_stack"), ir.block("no_room"), ir.block("stack_done"));
    let (some, check) = (ir.block("some"), ir.block("check"));
    ir.cond_br(ir.icmp(Pred::EQ, len, ir.int(0)), done, some);
    let none_from = hashed;
    ir.at(some);
    ir.br(check);
    ir.at(check);
    let found = ir.helper_ptr(MAP_LOOKUP_ELEM, &[map.into(), key.ptr.into()]);
    ir.cond_br(ir.is_null(found), new, known);
    ir.at(known);
    ir.br(done);
    ir.at(new);
    let args = [map.into(), key.ptr.into(), entry.ptr.into(), ir.int(BPF_ANY).into()];
    let result = ir.helper(MAP_UPDATE_ELEM, &args, Effect::Any);
    ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(0)), known, full);
    ir.at(full);
    ir.atomic(AtomicOp::Add, l.unit.global(l.unit.typed.globals.lost_stacks), ir.int(1), 8);
    ir.br(done);
    ir.at(done);
    let zero = ir.int(0);
    let id = ir.phi(&[(zero, none_from), (hash, known), (zero, full)]);
    l.release(mark);
    ir.store(to.ptr, id, 8, to.align);
    let process = process(l, stack);
    ir.store(l.at(to, 8).ptr, process, 8, to.align.min(8));
    Ok(())
}

fn usym<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    l.take_padding();
    let address = l.argument(&call, 0)?;
    l.ir.store(to.ptr, address, 8, to.align);
    let process = l.process_id();
    l.ir.store(l.at(to, 8).ptr, process, 8, to.align);
    Ok(())
}
