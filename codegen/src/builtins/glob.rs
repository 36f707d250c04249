//! `globmatch`: a pattern as an automaton whose states are the bits of a register. No branch depends on the text
//! but its end, so that the verifier has one way to follow.

use super::Call;
use crate::llvm::ir::{Pred, Val};
use crate::lower::Lower;
use rtrace_lang::diag::Result;
use rtrace_lang::glob::{self, Element};
use rtrace_lang::typed::ExprKind;
use rtrace_lang::types::Space;

pub(super) fn globmatch<'c>(l: &mut Lower<'_, '_, 'c>, call: Call<'_>) -> Result<Val<'c>> {
    let [whole, pattern] = call.args()?;
    let ExprKind::Bytes(pattern) = &pattern.kind else { return l.unexpected("a pattern that is computed") };
    let pattern = glob::parse(pattern);
    let cap = whole.ty.size();
    let mark = l.mark();
    // Scratch memory: old verifiers allow no computed place on the stack.
    let offset = l.reserve_scratch(cap)?;
    let text = l.scratch_at(offset)?;
    l.eval_into(whole, text)?;
    let text = l.scratch_at(offset)?;

    let ir = l.ir;
    let kept = l.word();
    let (head, step, done) = (ir.block("glob"), ir.block("glob_byte"), ir.block("globbed"));
    ir.store(kept.ptr, ir.int(pattern.start() as i64), 8, 8);
    let before = ir.here();
    ir.br(head);
    ir.at(head);
    let i = ir.loop_phi(ir.int(0), before);
    let byte = ir.load(ir.index(text.ptr, i), 1, 1, false);
    ir.cond_br(ir.icmp(Pred::EQ, byte, ir.int(0)), done, step);

    ir.at(step);
    let states = ir.load(kept.ptr, 8, 8, false);
    // Opaque, or LLVM would make branches of the comparisons.
    let byte = ir.opaque(byte);
    let mut takes = ir.int(pattern.anys() as i64);
    for (set, at) in pattern.sets() {
        let Element::Set { negated, ranges } = set else { continue };
        let mut inside = ir.int(0);
        for (low, high) in ranges {
            // The sign bits of two differences: not below the first, not above the last.
            let from = ir.sub(ir.int(i64::from(*low) - 1), byte);
            let to = ir.sub(byte, ir.int(i64::from(*high) + 1));
            inside = ir.or(inside, ir.shr(ir.opaque(ir.and(from, to)), ir.int(63), true));
        }
        let inside = if *negated { ir.not(inside) } else { inside };
        takes = ir.or(takes, ir.and(inside, ir.int(at as i64)));
    }
    let stars = ir.int(pattern.stars() as i64);
    let moved = ir.or(ir.shl(ir.and(states, takes), ir.int(1)), ir.and(states, stars));
    let next = ir.or(moved, ir.shl(ir.and(moved, stars), ir.int(1)));
    ir.store(kept.ptr, next, 8, 8);
    let i_next = ir.add(i, ir.int(1));
    let from = ir.here();
    ir.close_loop(i, i_next, from);
    ir.cond_br(ir.icmp(Pred::ULT, i_next, ir.int(i64::from(cap))), head, done);

    ir.at(done);
    // Read by the kernel, the states are any number to the verifier: it need not follow the rest of the program
    // once for every length of the text.
    let result = l.word();
    l.read(result.ptr, 8, ir.ptr_to_int(kept.ptr), Space::Kernel);
    let states = ir.load(result.ptr, 8, 8, false);
    l.release(mark);
    Ok(ir.and(ir.shr(states, ir.int(pattern.0.len() as i64), false), ir.int(1)))
}
