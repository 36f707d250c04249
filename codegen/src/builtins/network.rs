//! Addresses, packets and sockets.

use super::Call;
use crate::flags::*;
use crate::llvm::ir::{AtomicOp, Effect, Pred, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::bundle::{PACKET_HEADER, PACKETS_SYMBOL, PULLED_MOST};
use rtrace_lang::diag::Result;
use rtrace_lang::typed::ExprKind;
use rtrace_lang::types::{Space, Type};
use rtrace_lang::uapi::helper::*;

const AF_INET: i64 = 2;
/// The error that the kernel returns if a CPU has no buffer.
const ENOENT: i64 = 2;

pub(super) fn ntop<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    l.take_padding();
    let [family, address] = call.args()?;
    let known = family.constant();
    let family = l.number(family)?;
    l.ir.store(to.ptr, family, 4, to.align);
    let bytes = l.at(to, 4);
    let size = address.ty.size().min(16);
    if address.ty.is_scalar() {
        let v = l.number(address)?;
        l.ir.store(bytes.ptr, v, 4, bytes.align);
        l.zero(l.at(bytes, 4), 12);
        return Ok(());
    }
    l.eval_into(address, bytes)?;
    l.zero(l.at(bytes, size), 16 - size);
    if size > 4 && known != Some(10) {
        // Four bytes count if that is what the family turns out to be.
        let (short, done) = (l.ir.block("ipv4"), l.ir.block("done"));
        l.ir.cond_br(l.ir.icmp(Pred::EQ, family, l.ir.int(AF_INET)), short, done);
        l.ir.at(short);
        l.zero(l.at(bytes, 4), 12);
        l.ir.br(done);
        l.ir.at(done);
    }
    Ok(())
}

pub(super) fn macaddr<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>, to: Mem<'c>) -> Result<()> {
    l.take_padding();
    let [e] = call.args()?;
    if e.ty.is_scalar() {
        let space = match &e.ty {
            Type::Ptr { space, .. } => *space,
            _ => Space::Kernel,
        };
        let from = l.scalar(e)?;
        let result = l.fetch(to.ptr, l.ir.int(6), from, space);
        l.tell_read(false, space, result);
    } else if e.ty.size() == 6 {
        l.eval_into(e, to)?;
    } else {
        let from = l.place(e)?;
        l.copy(to, from, 6);
    }
    Ok(())
}

/// Sends a header, the packet's headers that its data no longer has, and its first bytes, which the kernel copies.
pub(super) fn skboutput<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [event, skb, length, _, whole, start, pulled] = call.args()?;
    let (Some(packets), Some(event)) = (l.unit.object_named(PACKETS_SYMBOL), event.constant()) else {
        return l.unexpected("this packet");
    };
    let (start, pulled) = (l.number(start)?, l.number(pulled)?);
    // The very register that the context gave: the verifier checks its type.
    let skb = l.scalar(skb)?;
    let length = l.number(length)?;
    let whole = l.number(whole)?;
    let ir = l.ir;
    // The kernel refuses to copy more than there is.
    let length = ir.select(ir.icmp(Pred::ULT, length, whole), length, whole);
    let most = ir.int(0xf_ffff);
    let length = ir.select(ir.icmp(Pred::ULT, length, most), length, most);
    let header = l.temp(PACKET_HEADER + PULLED_MOST)?;
    // What lies before the data; where the distance makes no sense, nobody has set the network header yet.
    let near = ir.icmp(Pred::ULE, pulled, ir.int(i64::from(PULLED_MOST)));
    let pulled = ir.bound(ir.select(near, pulled, ir.int(0)), PULLED_MOST);
    ir.store(l.at(header, 24).ptr, pulled, 8, 8);
    l.read_sized(l.at(header, PACKET_HEADER).ptr, pulled, start, Space::Kernel);
    ir.store(header.ptr, ir.int(event), 4, 8);
    ir.store(l.at(header, 4).ptr, length, 4, 4);
    let now = ir.helper(KTIME_GET_BOOT_NS, &[], Effect::Any);
    ir.store(l.at(header, 8).ptr, now, 8, 8);
    ir.store(l.at(header, 16).ptr, whole, 8, 8);
    let flags = ir.or(ir.shl(length, ir.int(32)), ir.int(BPF_F_CURRENT_CPU));
    let size = ir.add(pulled, ir.int(i64::from(PACKET_HEADER)));
    let args = [skb.into(), packets.into(), flags.into(), header.ptr.into(), size.into()];
    let result = ir.helper(SKB_OUTPUT, &args, Effect::Any);
    // Where no room is left the kernel counts.
    if let Some(def) = l.unit.typed.events.get(event as usize) {
        let (nowhere, done) = (ir.block("nowhere"), ir.block("done"));
        ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(-ENOENT)), nowhere, done);
        ir.at(nowhere);
        ir.atomic(AtomicOp::Add, l.unit.global(def.lost), ir.int(1), 8);
        ir.br(done);
        ir.at(done);
    }
    Ok(l.normal(result, &call.expr.ty))
}

/// Whether the bits that count are those of the network: an address, the network, the mask.
pub(super) fn in_net<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [address, net, mask] = call.args()?;
    let (ExprKind::Bytes(net), ExprKind::Bytes(mask)) = (&net.kind, &mask.kind) else {
        return l.unexpected("a network that is computed");
    };
    let mark = l.mark();
    let place = l.place(address)?;
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0i64, |word, b| word << 8 | i64::from(*b));
    let mut differ = l.ir.int(0);
    for (n, (net, mask)) in net.chunks(4).zip(mask.chunks(4)).enumerate() {
        if word(mask) != 0 {
            let part = l.at(place, 4 * n as u32);
            let found = l.ir.and(l.ir.load(part.ptr, 4, 4, false), l.ir.int(word(mask)));
            differ = l.ir.or(differ, l.ir.xor(found, l.ir.int(word(net))));
        }
    }
    l.release(mark);
    Ok(l.ir.bit(l.ir.icmp(Pred::EQ, differ, l.ir.int(0))))
}

/// Byte by byte; LLVM knows the pattern and makes one instruction of it.
pub(super) fn bswap<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [value] = call.args()?;
    let value = l.number(value)?;
    let (ir, bytes) = (l.ir, i64::from(call.expr.ty.size()));
    let mut swapped = ir.int(0);
    for n in 0..bytes {
        let byte = ir.and(ir.shr(value, ir.int(8 * n), false), ir.int(0xff));
        swapped = ir.or(swapped, ir.shl(byte, ir.int(8 * (bytes - 1 - n))));
    }
    Ok(swapped)
}

pub(super) fn socket_cookie<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [sock] = call.args()?;
    // As the context gave it: the verifier checks its type.
    let sock = l.scalar(sock)?;
    Ok(l.ir.helper(GET_SOCKET_COOKIE, &[sock.into()], Effect::Any))
}
