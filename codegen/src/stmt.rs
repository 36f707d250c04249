//! Statements.

use crate::capture::{RangeLoop, range_loop, while_callback};
use crate::llvm::ir::{Block, Pred, Ptr, Val};
use crate::lower::{LocalSlot, Loop, Lower};
use crate::pool::Mem;
use rtrace_lang::codes::Code;
use rtrace_lang::diag::{Diagnostic, Result};
use rtrace_lang::typed::{Expr, LocalId, Stmt, StmtKind};

/// Most rounds of a loop in place, where nobody knows how many it takes.
const INLINE_LIMIT: i64 = 1024;
/// The same where it is known: verifiers give up after 8192 jumps.
const CONSTANT_LIMIT: i64 = 4096;
/// The limit of pending branches if the verifier checks every iteration: it gives up at
/// 8192, and takes minutes to get there. What is known to be more than it ever takes is refused.
const BRANCHES: u64 = 6000;
const MOST_BRANCHES: u64 = 19_000;
/// Rounds that a loop has however long its body is.
const LEAST_ROUNDS: i64 = 16;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    pub fn block(&mut self, stmts: &[Stmt]) -> Result<()> {
        for s in stmts {
            let mark = self.mark();
            self.stmt(s)?;
            self.release(mark);
        }
        Ok(())
    }

    fn stmt(&mut self, s: &Stmt) -> Result<()> {
        self.locate(s.span);
        match &s.kind {
            StmtKind::Expr(e) => self.effect(e),
            StmtKind::SetLocal { local, value } => self.set_local(*local, value),
            StmtKind::SetMap { map, key, value } => self.set_map(*map, key.as_ref(), value),
            StmtKind::UpdateMap { map, key, op, value } => self.update_map(*map, key.as_ref(), *op, value),
            StmtKind::Aggregate { map, key, value } => self.aggregate(*map, key.as_ref(), value.as_ref()),
            StmtKind::Delete { map, key } => self.delete(*map, key.as_ref()),
            StmtKind::Event { event, args } => self.event(*event, args),
            StmtKind::If { cond, then, otherwise } => {
                let (yes, no, done) = (self.ir.block("then"), self.ir.block("else"), self.ir.block("endif"));
                self.branch(cond, yes, no)?;
                self.ir.at(yes);
                self.sometimes(|s| s.block(then))?;
                self.ir.br(done);
                self.ir.at(no);
                self.sometimes(|s| s.block(otherwise))?;
                self.ir.br(done);
                self.ir.at(done);
                Ok(())
            }
            StmtKind::While { local, cond, body } => self.while_loop(*local, cond, body),
            StmtKind::ForRange { local, start, end, body } => self.for_range(*local, start, end, body),
            StmtKind::ForMap { local, map, body } => self.for_map(*local, *map, body),
            StmtKind::Break => self.jump(|l| l.done),
            StmtKind::Continue => self.jump(|l| l.next),
            StmtKind::Leave => {
                self.leave_program()?;
                self.unreachable();
                Ok(())
            }
            StmtKind::Return(value) => {
                if let Some(value) = value {
                    self.give(value)?;
                }
                self.leave();
                self.unreachable();
                Ok(())
            }
        }
    }

    /// An expression for its effect only.
    fn effect(&mut self, e: &Expr) -> Result<()> {
        if e.ty.is_scalar() || matches!(e.ty, rtrace_lang::types::Type::Void) {
            self.scalar(e)?;
        } else {
            self.place(e)?;
        }
        Ok(())
    }

    fn set_local(&mut self, local: LocalId, value: &Expr) -> Result<()> {
        let Some(slot) = self.locals.get(local as usize).copied() else { return self.unexpected("this variable") };
        let to = match slot {
            LocalSlot::Scalar(p) => {
                // What loops share is a plain number: the verifier must not see a pointer in one round and
                // none in the next.
                let v = if self.plan.is_shared(local) { self.number(value)? } else { self.scalar(value)? };
                if self.is_tracked(value) && !self.plan.is_shared(local) {
                    self.tracked.insert(local);
                }
                self.ir.store(p, v, 8, 8);
                return Ok(());
            }
            LocalSlot::Stack(mem) => mem,
            LocalSlot::Scratch(offset) => self.scratch_at(offset)?,
            LocalSlot::Elsewhere => return self.unexpected("this variable"),
        };
        if crate::analysis::reads_local(value, local) {
            let from = self.temp(value.ty.size())?;
            self.eval_into(value, from)?;
            self.copy(to, from, value.ty.size());
            return Ok(());
        }
        // The scratch entry may have been looked up in `value` only.
        let to = match slot {
            LocalSlot::Scratch(offset) => self.scratch_at(offset)?,
            _ => Mem { ptr: to.ptr, align: to.align },
        };
        self.eval_into(value, to)
    }

    /// `break` and `continue`.
    fn jump(&mut self, to: impl Fn(&Loop<'c>) -> Block<'c>) -> Result<()> {
        let Some(inner) = self.loops.last().copied() else { return self.unexpected("this jump") };
        self.discard(inner.open);
        self.ir.br(to(&inner));
        self.unreachable();
        Ok(())
    }

    /// Code after a jump is built into an unreachable block.
    fn unreachable(&self) {
        let dead = self.ir.block("dead");
        self.ir.at(dead);
    }

    fn while_loop(&mut self, local: LocalId, cond: &Expr, body: &[Stmt]) -> Result<()> {
        if while_callback(cond, self.unit.options) {
            return self.while_callback(local, cond, body);
        }
        let stopped = self.unit.loop_counter(self.span, false, INLINE_LIMIT as u32);
        self.rounds(INLINE_LIMIT, Some(stopped), |s, _, round, done| s.branch(cond, round, done), body)
    }

    fn for_range(&mut self, local: LocalId, start: &Expr, end: &Expr, body: &[Stmt]) -> Result<()> {
        let span = self.span;
        let (limit, stopped) = match range_loop(start, end, self.unit.options) {
            RangeLoop::Callback => return self.for_range_callback(local, start, end, body),
            RangeLoop::Rounds(n) if n > CONSTANT_LIMIT => {
                let message = format!("a loop of {n} iterations requires Linux 5.17 or later");
                return Err(Diagnostic::error(Code::KernelLacks, span, message)
                    .note("it uses the BPF helper bpf_loop")
                    .help(format!("up to {CONSTANT_LIMIT} iterations are supported on every kernel")));
            }
            RangeLoop::Rounds(n) => (n, None),
            RangeLoop::Unknown => (INLINE_LIMIT, Some(self.unit.loop_counter(span, true, INLINE_LIMIT as u32))),
        };
        let Some(LocalSlot::Scalar(p)) = self.locals.get(local as usize).copied() else {
            return self.unexpected("this variable");
        };
        let (first, last) = (self.number(start)?, self.number(end)?);
        // The loop is known by its place.
        self.locate(span);
        let test = |s: &mut Self, n: Val<'c>, round: Block<'c>, done: Block<'c>| {
            let i = s.ir.add(first, n);
            s.ir.store(p, i, 8, 8);
            s.ir.cond_br(s.ir.icmp(Pred::SLT, i, last), round, done);
            Ok(())
        };
        self.rounds(limit, stopped, test, body)
    }

    /// Rounds of a loop in place whose number nobody knows, by how many branches a round has and the loops around it: those
    /// whose rounds are not known either get as much each.
    fn rounds_that_fit(&self, most: i64, branches: u64, around: &[Loop<'c>]) -> i64 {
        if self.unit.options.bpf_loop {
            return most;
        }
        let times = around.iter().filter_map(|l| l.rounds).fold(1, u64::saturating_mul);
        let fit = BRANCHES / times.saturating_mul(branches).max(1);
        let levels = 1 + around.iter().filter(|l| l.rounds.is_none()).count() as u32;
        // The root of whole numbers, from below.
        let root = (1..=most as u64).take_while(|n| n.checked_pow(levels).is_some_and(|all| all <= fit)).last();
        (root.unwrap_or(0) as i64).clamp(LEAST_ROUNDS, most)
    }

    /// A loop of at most `limit` rounds; `test` is given the number of the round, and where to go. With a
    /// counter, a loop that would go on after that many rounds is counted.
    ///
    /// The way back is a conditional jump at the end: verifiers before 6.8 take a block that merely runs on
    /// into the head of a loop for an endless one.
    fn rounds(
        &mut self,
        limit: i64,
        stopped: Option<Option<Ptr<'c>>>,
        test: impl FnOnce(&mut Self, Val<'c>, Block<'c>, Block<'c>) -> Result<()>,
        body: &[Stmt],
    ) -> Result<()> {
        if limit <= 0 {
            return Ok(());
        }
        let ir = self.ir;
        let span = self.span;
        let known = stopped.is_none().then_some(limit as u64);
        let around = self.loops.clone();
        let unsettled = stopped.is_some().then(|| ir.unsettled_number());
        let (head, round, next, done) = (ir.block("loop"), ir.block("round"), ir.block("next"), ir.block("end"));
        let mut branches = 0;
        let count = ir.variable();
        ir.store(count, ir.int(0), 8, 8);
        ir.br(head);
        ir.at(head);
        self.sometimes(|s| -> Result<()> {
            let n = ir.load(count, 8, 8, false);
            test(s, n, round, done)?;
            ir.at(round);
            if let Some(counter) = stopped {
                let (on, stop) = (ir.block("on"), ir.block("stop"));
                ir.cond_br(ir.icmp(Pred::ULT, n, unsettled.unwrap_or(ir.int(limit))), on, stop);
                ir.at(stop);
                s.count_stop(counter)?;
                ir.br(done);
                ir.at(on);
            }
            s.loops.push(Loop { next, done, open: s.open.len(), rounds: known });
            let before = ir.branches();
            s.block(body)?;
            // The condition is one more; of the others of a loop the verifier knows the outcome.
            branches = ir.branches() - before + u64::from(stopped.is_some());
            s.loops.pop();
            Ok(())
        })?;
        let limit = match known {
            Some(_) => limit,
            None => self.rounds_that_fit(limit, branches, &around),
        };
        if let Some(unsettled) = unsettled {
            ir.settle_number(unsettled, limit);
            self.unit.limit_loop(span, limit as u32);
        }
        ir.count_branches(branches.saturating_mul(limit as u64 - 1));
        if around.is_empty() && !self.unit.options.bpf_loop && branches.saturating_mul(limit as u64) > MOST_BRANCHES {
            return Err(Diagnostic::error(Code::TooLarge, span, "this loop is too long for the kernel's verifier")
                .note("before Linux 5.17, the verifier checks every iteration")
                .help("use fewer iterations, or do less in each"));
        }
        ir.br(next);
        ir.at(next);
        let n = ir.add(ir.load(count, 8, 8, false), ir.int(1));
        // With a counter the loop is left at its head; opaque, so that the jump back stays conditional.
        let (n, last) = if stopped.is_some() { (ir.opaque(n), limit) } else { (n, limit - 1) };
        ir.store(count, n, 8, 8);
        ir.cond_br(ir.icmp(Pred::ULT, n, ir.int(last + 1)), head, done);
        ir.at(done);
        Ok(())
    }
}
