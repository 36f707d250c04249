//! Strings and buffers from memory: `str`, `buf`, `join`; lengths and searches.

use super::Call;
use crate::llvm::ir::{Effect, Pred, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::diag::Result;
use rtrace_lang::typed::{Expr, ExprKind};
use rtrace_lang::types::{Space, Type};
use rtrace_lang::uapi::helper::{D_PATH, PROBE_WRITE_USER};

/// Most strings that `join` takes.
const MAX_JOINED: i64 = 64;

/// The location of the bytes of an argument.
fn source<'c>(l: &mut Lower<'_, '_, 'c>, e: &Expr) -> Result<(Val<'c>, Space)> {
    match &e.ty {
        Type::Ptr { space, .. } => Ok((l.scalar(e)?, *space)),
        ty if ty.is_scalar() => Ok((l.scalar(e)?, Space::Kernel)),
        _ => {
            let mem = l.place(e)?;
            Ok((l.ir.ptr_to_int(mem.ptr), Space::Kernel))
        }
    }
}

/// The smaller of `cap` and a length that the script computes.
fn limited<'c>(l: &mut Lower<'_, '_, 'c>, length: Option<&Expr>, cap: u32) -> Result<Val<'c>> {
    let most = l.ir.int(i64::from(cap));
    match length {
        None => Ok(most),
        Some(e) => match e.constant() {
            Some(n) => Ok(l.ir.int(n.clamp(0, i64::from(cap)))),
            None => {
                let n = l.number(e)?;
                let n = l.ir.select(l.ir.icmp(Pred::ULT, n, most), n, most);
                Ok(l.ir.bound(n, cap))
            }
        },
    }
}

pub(super) fn str<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    let pad = l.take_padding();
    let ([arg], cap) = (call.args()?, call.expr.ty.size());
    let (from, space) = source(l, arg)?;
    let size = limited(l, call.arg(1), cap)?;
    if pad {
        l.zero(to, cap);
    }
    let result = l.fetch_str(to.ptr, size, from, space);
    l.span = call.expr.span;
    l.tell_read(true, space, result);
    Ok(())
}

pub(super) fn str_variable<'c>(
    l: &mut Lower<'_, '_, 'c>,
    call: Call<'_>,
    to: Mem<'c>,
    max: u32,
) -> Result<(Val<'c>, Val<'c>)> {
    let [arg] = call.args()?;
    let (from, space) = source(l, arg)?;
    let size = limited(l, call.arg(1), max)?;
    let result = l.fetch_str(to.ptr, size, from, space);
    l.span = call.expr.span;
    l.tell_read(true, space, result);
    Ok((l.str_len(result, max), l.ir.int(0)))
}

pub(super) fn buf<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    l.take_padding();
    let [arg, length] = call.args()?;
    let (Type::Buffer { cap } | Type::List { cap, .. }) = &call.expr.ty else { return l.unexpected("this buffer") };
    let (from, space) = source(l, arg)?;
    let len = limited(l, Some(length), *cap)?;
    let data = l.at(to, 4);
    if length.constant().is_none_or(|n| n < i64::from(*cap)) {
        l.zero(data, *cap);
    }
    l.ir.store(to.ptr, len, 4, to.align);
    let result = l.fetch(data.ptr, len, from, space);
    l.span = call.expr.span;
    l.tell_read(false, space, result);
    Ok(())
}

pub(super) fn buf_variable<'c>(
    l: &mut Lower<'_, '_, 'c>,
    call: Call<'_>,
    to: Mem<'c>,
    max: u32,
) -> Result<(Val<'c>, Val<'c>)> {
    let [arg, length] = call.args()?;
    let (from, space) = source(l, arg)?;
    let len = limited(l, Some(length), max)?;
    let result = l.fetch(to.ptr, len, from, space);
    l.span = call.expr.span;
    l.tell_read(false, space, result);
    Ok((len, l.ir.int(0)))
}

/// Builds the joined string in scratch memory; returns where.
fn joined<'c>(l: &mut Lower<'_, '_, 'c>, call: &Call<'_>, cap: u32) -> Result<Mem<'c>> {
    let [arg, separator] = call.args()?;
    let ExprKind::Bytes(separator) = &separator.kind else { return l.unexpected("a separator that is computed") };
    let separator = separator.split(|b| *b == 0).next().unwrap_or_default();
    let space = match &arg.ty {
        Type::Ptr { space, .. } => *space,
        _ => Space::User,
    };
    let argv = l.number(arg)?;
    // Strings are read in full at every offset below `cap`: room for that is what the verifier wants.
    let offset = l.reserve_scratch(2 * cap + 16)?;
    let text = l.scratch_at(offset)?;
    let ir = l.ir;
    let mark = l.mark();
    let word = l.word();
    let (head, text_block, first, more, read, next, done) = (
        ir.block("join"),
        ir.block("string"),
        ir.block("first"),
        ir.block("more"),
        ir.block("read"),
        ir.block("next"),
        ir.block("joined"),
    );
    ir.store(text.ptr, ir.int(0), 1, 1);
    let before = ir.here();
    ir.br(head);

    ir.at(head);
    let i = ir.loop_phi(ir.int(0), before);
    let end = ir.loop_phi(ir.int(0), before);
    l.fetch(word.ptr, ir.int(8), ir.add(argv, ir.shl(i, ir.int(3))), space);
    let p = ir.load(word.ptr, 8, 8, false);
    ir.cond_br(ir.icmp(Pred::EQ, p, ir.int(0)), done, text_block);

    ir.at(text_block);
    ir.cond_br(ir.icmp(Pred::EQ, i, ir.int(0)), first, more);
    ir.at(first);
    ir.br(read);
    ir.at(more);
    for (n, byte) in separator.iter().enumerate() {
        let at = ir.add(end, ir.int(n as i64));
        ir.store(ir.index(text.ptr, at), ir.int(i64::from(*byte)), 1, 1);
    }
    let after = ir.add(end, ir.int(separator.len() as i64));
    ir.br(read);

    ir.at(read);
    let start = ir.phi(&[(end, first), (after, more)]);
    let result = l.fetch_str(ir.index(text.ptr, start), ir.int(i64::from(cap)), p, space);
    let full_end = ir.add(start, l.str_len(result, cap));
    let i_next = ir.add(i, ir.int(1));
    let room = ir.icmp(Pred::ULT, full_end, ir.int(i64::from(cap)));
    ir.cond_br(room, next, done);

    ir.at(next);
    let end_next = ir.bound(full_end, cap - 1);
    ir.close_loop(i, i_next, next);
    ir.close_loop(end, end_next, next);
    ir.cond_br(ir.icmp(Pred::ULT, i_next, ir.int(MAX_JOINED)), head, done);

    ir.at(done);
    l.release(mark);
    Ok(text)
}

pub(super) fn join<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    let pad = l.take_padding();
    let cap = call.expr.ty.size();
    let mark = l.mark();
    let text = joined(l, &call, cap)?;
    if pad {
        l.zero(to, cap);
    }
    l.read_str(to.ptr, l.ir.int(i64::from(cap)), l.ir.ptr_to_int(text.ptr), Space::Kernel);
    l.release(mark);
    Ok(())
}

pub(super) fn join_variable<'c>(
    l: &mut Lower<'_, '_, 'c>,
    call: Call<'_>,
    to: Mem<'c>,
    max: u32,
) -> Result<(Val<'c>, Val<'c>)> {
    let mark = l.mark();
    let text = joined(l, &call, max)?;
    let result = l.read_str(to.ptr, l.ir.int(i64::from(max)), l.ir.ptr_to_int(text.ptr), Space::Kernel);
    l.release(mark);
    Ok((l.str_len(result, max), l.ir.int(0)))
}

/// The kernel counts while it copies the string onto itself.
pub(super) fn strlen<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [arg] = call.args()?;
    let cap = arg.ty.size();
    let mark = l.mark();
    let text = l.place(arg)?;
    let size = l.ir.int(i64::from(cap));
    let result = l.read_str(text.ptr, size, l.ir.ptr_to_int(text.ptr), Space::Kernel);
    l.release(mark);
    Ok(l.str_len(result, cap))
}

/// Compares at every place of the first string with the second one, eight bytes at a time. What lies
/// behind the end of the second is masked out; behind the end of the first there are zeros, which are
/// no part of a string.
pub(super) fn strstr<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [whole, part] = call.args()?;
    let (cap, words) = (whole.ty.size(), part.ty.size().saturating_sub(1).div_ceil(8));
    let mark = l.mark();
    // Scratch memory: old verifiers allow no computed place on the stack.
    let offset = l.reserve_scratch(cap + 8 * (words + 1))?;
    let text = l.scratch_at(offset)?;
    l.eval_into(whole, text)?;
    l.zero(l.at(text, cap), 8 * (words + 1));
    let wanted = wanted(l, part, words)?;
    let text = l.scratch_at(offset)?;

    let ir = l.ir;
    let place = l.word();
    let (head, next, done) = (ir.block("search"), ir.block("search_on"), ir.block("searched"));
    let before = ir.here();
    ir.br(head);
    ir.at(head);
    let i = ir.loop_phi(ir.int(0), before);
    ir.store(place.ptr, i, 8, 8);
    // Loads are whole words wherever they start, which LLVM must not find out.
    let here = ir.index(text.ptr, ir.opaque(i));
    let mut differ = ir.int(0);
    for (n, (word, mask)) in wanted.iter().enumerate() {
        let found = ir.load(ir.offset(here, 8 * n as i64), 8, 8, false);
        differ = ir.or(differ, ir.and(ir.xor(found, *word), *mask));
    }
    let (hit, miss) = (ir.block("hit"), ir.block("miss"));
    ir.cond_br(ir.icmp(Pred::EQ, differ, ir.int(0)), hit, miss);
    ir.at(hit);
    ir.br(done);
    ir.at(miss);
    let byte = ir.load(here, 1, 1, false);
    let end = ir.block("end");
    ir.cond_br(ir.icmp(Pred::EQ, byte, ir.int(0)), end, next);
    ir.at(next);
    let i_next = ir.add(i, ir.int(1));
    ir.close_loop(i, i_next, next);
    ir.cond_br(ir.icmp(Pred::ULT, i_next, ir.int(i64::from(cap))), head, end);
    ir.at(end);
    ir.store(place.ptr, ir.int(-1), 8, 8);
    ir.br(done);
    ir.at(done);
    // Read by the kernel, the place is any number to the verifier: it need not follow the rest of the
    // program once for every place.
    let result = l.word();
    l.read(result.ptr, 8, ir.ptr_to_int(place.ptr), Space::Kernel);
    let found = ir.load(result.ptr, 8, 8, false);
    l.release(mark);
    Ok(found)
}

/// The words of the string that is looked for, and which bits of them count.
fn wanted<'c>(l: &mut Lower<'_, '_, 'c>, part: &Expr, words: u32) -> Result<Vec<(Val<'c>, Val<'c>)>> {
    if let ExprKind::Bytes(bytes) = &part.kind {
        let constant = |chunk: &[u8]| {
            let (mut word, mut mask) = ([0u8; 8], [0u8; 8]);
            for ((w, m), b) in word.iter_mut().zip(&mut mask).zip(chunk) {
                (*w, *m) = (*b, 0xff);
            }
            (l.ir.int(i64::from_le_bytes(word)), l.ir.int(i64::from_le_bytes(mask)))
        };
        return Ok(bytes.chunks(8).map(constant).collect());
    }
    let cap = part.ty.size();
    let text = l.temp(cap.next_multiple_of(8))?;
    l.eval_into(part, text)?;
    l.zero(l.at(text, cap), cap.next_multiple_of(8) - cap);
    let size = l.ir.int(i64::from(cap));
    let result = l.read_str(text.ptr, size, l.ir.ptr_to_int(text.ptr), Space::Kernel);
    let len = l.str_len(result, cap);
    let ir = l.ir;
    let word = |n: u32| {
        let word = ir.load(l.at(text, 8 * n).ptr, 8, 8, false);
        // All bits where the string goes on behind this word, none where it ended before.
        let used = ir.shl(ir.sub(len, ir.int(i64::from(8 * n))), ir.int(3));
        let some = ir.sub(ir.shl(ir.int(1), ir.and(used, ir.int(63))), ir.int(1));
        let mask = ir.select(ir.icmp(Pred::SGE, used, ir.int(64)), ir.int(-1), some);
        let mask = ir.select(ir.icmp(Pred::SGT, used, ir.int(0)), mask, ir.int(0));
        (word, mask)
    };
    Ok((0..words).map(word).collect())
}

/// The second string is written over the end of the first, in memory for both.
pub(super) fn str_concat<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    let pad = l.take_padding();
    let [a, b] = call.args()?;
    let (cap, first, second) = (call.expr.ty.size(), a.ty.size(), b.ty.size());
    let mark = l.mark();
    let offset = l.reserve_scratch(first + second)?;
    let other = l.place(b)?;
    let text = l.scratch_at(offset)?;
    l.eval_into(a, text)?;
    let size = |n: u32| l.ir.int(i64::from(n));
    let result = l.read_str(text.ptr, size(first), l.ir.ptr_to_int(text.ptr), Space::Kernel);
    let end = l.ir.index(text.ptr, l.str_len(result, first));
    l.read_str(end, size(second), l.ir.ptr_to_int(other.ptr), Space::Kernel);
    if pad {
        l.zero(to, cap);
    }
    l.read_str(to.ptr, size(cap), l.ir.ptr_to_int(text.ptr), Space::Kernel);
    l.release(mark);
    Ok(())
}

pub(super) fn write_user<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [to, value] = call.args()?;
    let n = call.arg(2).and_then(Expr::constant);
    let mark = l.mark();
    let to = l.number(to)?;
    let from = match n {
        Some(n) => memory_of(l, value, n as u32)?,
        None => l.place(value)?,
    };
    let size = l.ir.int(n.unwrap_or(i64::from(value.ty.size())));
    let result = l.ir.helper(PROBE_WRITE_USER, &[to.into(), from.ptr.into(), size.into()], Effect::Any);
    l.release(mark);
    match n {
        Some(_) => Ok(l.ir.bit(l.ir.icmp(Pred::EQ, result, l.ir.int(0)))),
        None => Ok(result),
    }
}

/// A value in memory, or a copy of the first `n` bytes that a pointer points to.
fn memory_of<'c>(l: &mut Lower<'_, '_, 'c>, e: &Expr, n: u32) -> Result<Mem<'c>> {
    let Type::Ptr { space, .. } = &e.ty else { return l.place(e) };
    let from = l.number(e)?;
    let copy = l.temp(n)?;
    l.fetch(copy.ptr, l.ir.int(i64::from(n)), from, *space);
    Ok(copy)
}

/// The difference of the first bytes that differ.
pub(super) fn memcmp<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [a, b, n] = call.args()?;
    let Some(n) = n.constant() else { return l.unexpected("a number of bytes that is computed") };
    let mark = l.mark();
    let (a, b) = (memory_of(l, a, n as u32)?, memory_of(l, b, n as u32)?);
    let ir = l.ir;
    let (head, next, done) = (ir.block("bytes"), ir.block("next_byte"), ir.block("compared"));
    let before = ir.here();
    ir.br(head);
    ir.at(head);
    let i = ir.loop_phi(ir.int(0), before);
    let x = ir.load(ir.index(a.ptr, i), 1, 1, false);
    let y = ir.load(ir.index(b.ptr, i), 1, 1, false);
    let differ = ir.sub(x, y);
    ir.cond_br(ir.icmp(Pred::EQ, x, y), next, done);
    ir.at(next);
    let after = ir.add(i, ir.int(1));
    ir.close_loop(i, after, next);
    ir.cond_br(ir.icmp(Pred::ULT, after, ir.int(n)), head, done);
    ir.at(done);
    let result = ir.phi(&[(differ, head), (ir.int(0), next)]);
    l.release(mark);
    Ok(result)
}

/// The kernel builds the name at the end of the memory and moves it to the start: what follows it there
/// is no part of it.
pub(super) fn path<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    let pad = l.take_padding();
    let [arg] = call.args()?;
    let cap = call.expr.ty.size();
    let mark = l.mark();
    let text = l.temp(cap)?;
    l.ir.store(text.ptr, l.ir.int(0), 1, 1);
    // A pointer that the verifier follows, not a number.
    let from = l.scalar(arg)?;
    let size = l.ir.int(i64::from(cap));
    l.ir.helper(D_PATH, &[from.into(), text.ptr.into(), size.into()], Effect::Any);
    if pad {
        l.zero(to, cap);
    }
    l.read_str(to.ptr, size, l.ir.ptr_to_int(text.ptr), Space::Kernel);
    l.release(mark);
    Ok(())
}
