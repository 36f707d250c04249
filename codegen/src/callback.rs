//! Functions that the kernel calls back: bodies of loops over maps (`bpf_for_each_map_elem`) and over long
//! ranges (`bpf_loop`), and the counting of a map's entries.
//!
//! A body gets the address of the program's frame (see `capture.rs`), and says by what it returns whether to
//! go on: 0 for the next round, 1 for the end. `return` leaves a mark in the frame, upon which the code after
//! the loop leaves too.

use crate::capture::{self, CONTEXT, FIRST, LEFT, RESULT};
use crate::llvm::ir::{Effect, Func, Pred, Ptr, Val};
use crate::lower::{Frame, LocalSlot, Loop, Lower};
use crate::pool::Mem;
use rtrace_lang::bundle::Storage;
use rtrace_lang::codes::Code;
use rtrace_lang::diag::{Diagnostic, Result};
use rtrace_lang::source::Span;
use rtrace_lang::typed::{Expr, LocalId, MapId, Stmt};
use rtrace_lang::types::{Agg, Space, Type};
use rtrace_lang::uapi::helper;

/// Most rounds of `bpf_loop`: BPF_MAX_LOOPS.
const MAX_ROUNDS: i64 = 1 << 23;
/// Most rounds of a `while` loop: one that never ends must not hold up a processor for long. More than a verifier that
/// walks through every round, a million instructions in all, would let anyone have.
const MAX_WHILE_ROUNDS: i64 = 1 << 18;
/// Most bytes of the frame: the stack of all functions that call each other has 512.
const FRAME_LIMIT: u32 = 192;
/// Stack slots of the body of a loop, and of one within another.
const BODY_STACK: u32 = 96;
const INNER_STACK: u32 = 48;

/// The arguments that the kernel passes to a callback before the frame.
#[derive(Clone, Copy)]
enum Given {
    /// `(map, key, value, frame)`
    Entry,
    /// `(index, frame)`
    Index,
}

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// Makes the frame, if the program needs one; at the start of the main function.
    pub fn make_frame(&mut self) -> Result<()> {
        let lean = self.unit.lean;
        let size = if lean { self.plan.fixed() } else { self.plan.size() };
        if size == 0 {
            return Ok(());
        }
        if size > FRAME_LIMIT {
            return Err(Diagnostic::error(Code::TooLarge, self.span, "too many variables are used in loops")
                .label(format!("the loops of a probe can share at most {} variables", FRAME_LIMIT / 8 - 2))
                .help("keep some of them in maps, or split the probe"));
        }
        let frame = self.ir.alloca(size);
        for at in (0..size).step_by(8) {
            self.ir.store(self.ir.offset(frame, i64::from(at)), self.ir.int(0), 8, 8);
        }
        self.ir.store_ptr(self.ir.offset(frame, i64::from(CONTEXT)), self.context);
        self.pool.take_stack(size);
        self.frame = Some(frame);
        Ok(())
    }

    /// Room for shared variables outside of the frame, if the program needs it; once the place of the result is known.
    pub fn make_shared(&mut self) -> Result<()> {
        let shared = self.plan.size() - self.plan.fixed();
        if self.unit.lean && shared > 0 {
            let offset = self.reserve_scratch(shared)?;
            self.words = Some(offset);
            let words = self.scratch_at(offset)?;
            self.zero(words, shared);
        }
        Ok(())
    }

    /// A variable that loops share: in the frame, or in a lean program in scratch memory.
    pub fn shared_word(&mut self, at: u32) -> Result<Ptr<'c>> {
        match self.words {
            Some(words) => {
                let offset = words + at - self.plan.fixed();
                Ok(self.scratch_at(offset)?.ptr)
            }
            None => Ok(self.ir.offset(self.frame()?, i64::from(at))),
        }
    }

    fn frame(&self) -> Result<Ptr<'c>> {
        match self.frame {
            Some(frame) => Ok(frame),
            None => self.unexpected("this loop"),
        }
    }

    /// Before a loop: makes the verifier forget the values of shared variables, by a way through a helper.
    /// Else it would follow a known number through every round that a condition depends on it.
    fn forget_frame(&self) -> Result<()> {
        // What it knows of scratch memory is nothing.
        let size = if self.words.is_some() { self.plan.fixed() } else { self.plan.size() };
        let shared = size.saturating_sub(FIRST);
        if shared > 0 {
            let words = self.ir.offset(self.frame()?, i64::from(FIRST));
            self.read(words, shared, self.ir.ptr_to_int(words), Space::Kernel);
        }
        Ok(())
    }

    /// Builds the body of a loop as a function; `build` fills it.
    fn callback(
        &mut self,
        local: LocalId,
        given: Given,
        span: Span,
        build: impl FnOnce(&mut Self, Func<'c>) -> Result<()>,
    ) -> Result<Ptr<'c>> {
        let ir = self.ir;
        let name = format!("{}_loop{}", self.name(), local);
        let suspended = ir.suspend();
        let function = ir.callback(&name, matches!(given, Given::Index));
        let scope = self.unit.debug.enter(function, &name, span);
        let body = ir.here();
        let (next, done, exit) = (ir.block("next"), ir.block("end"), ir.block("exit"));
        let frame = ir.param(function, if matches!(given, Given::Index) { 1 } else { 3 });
        let inner = self.pool.inner(if self.depth == 0 { BODY_STACK } else { INNER_STACK });
        let outer = self.enter_function(Frame {
            scope,
            context: frame,
            pool: inner,
            locals: Vec::new(),
            open: Vec::new(),
            loops: vec![Loop { next, done, open: 0, rounds: Some(1) }],
            exit,
            shared: Some(frame),
            result: None,
        });
        self.locate(span);
        ir.at(next);
        ir.ret(ir.int(0));
        ir.at(done);
        ir.ret(ir.int(1));
        ir.at(exit);
        ir.store(ir.offset(frame, i64::from(LEFT)), ir.int(1), 8, 8);
        ir.ret(ir.int(1));
        ir.at(body);
        self.context = ir.load_ptr(ir.offset(frame, i64::from(CONTEXT)));
        self.result = outer.result.map(|_| ir.offset(frame, i64::from(RESULT)));
        self.depth += 1;
        let result = self.inherit_locals(&outer.locals, Some(local)).and_then(|()| build(self, function));
        ir.br(next);
        ir.finish_entry(function);
        self.depth -= 1;

        self.leave_function(outer);
        ir.resume(suspended);
        self.locate(span);
        result?;
        Ok(function.as_global_value().as_pointer_value())
    }

    /// After a loop: leaves the program if the body did.
    fn leave_if_left(&mut self) -> Result<()> {
        let ir = self.ir;
        let mark = ir.load(ir.offset(self.frame()?, i64::from(LEFT)), 8, 8, false);
        let (left, on) = (ir.block("left"), ir.block("on"));
        ir.cond_br(ir.icmp(Pred::EQ, mark, ir.int(0)), on, left);
        ir.at(left);
        self.leave();
        ir.at(on);
        Ok(())
    }

    /// `for ($kv : @m)`
    pub fn for_map(&mut self, local: LocalId, map: MapId, body: &[Stmt]) -> Result<()> {
        let span = self.span;
        if !self.unit.options.for_each {
            return Err(Diagnostic::error(Code::KernelLacks, span, "a loop over a map requires Linux 5.13 or later")
                .note("it uses the BPF helper bpf_for_each_map_elem")
                .help("use print(@m) to show all entries, or a loop over a range of known keys"));
        }
        let def = self.map_def(map)?;
        let Storage::Map { object, per_cpu } = def.storage else { return self.unexpected("this loop") };
        let function = self.callback(local, Given::Entry, span, |s, function| {
            let (key, value) = (s.ir.param(function, 1), s.ir.param(function, 2));
            s.entry_tuple(local, object, per_cpu, &def.value, key, value)?;
            s.block(body)
        })?;
        let ir = self.ir;
        self.forget_frame()?;
        let args = [self.map_object(object)?.into(), function.into(), self.frame()?.into(), ir.int(0).into()];
        ir.helper(helper::FOR_EACH_MAP_ELEM, &args, Effect::Any);
        self.leave_if_left()
    }

    /// Fills a loop's variable: the tuple of key and value, padding and all.
    fn entry_tuple(
        &mut self,
        local: LocalId,
        object: u32,
        per_cpu: bool,
        kept: &Type,
        key: Ptr<'c>,
        value: Ptr<'c>,
    ) -> Result<()> {
        let Some(ty) = self.routine.locals.get(local as usize).map(|l| &l.ty) else {
            return self.unexpected("this variable");
        };
        let to = self.local_memory(local)?;
        let mut elements = ty.elements();
        let (Some((key_at, key_ty)), Some((value_at, value_ty))) = (elements.next(), elements.next()) else {
            return self.unexpected("this variable");
        };
        let (key_end, value_end) = (key_at + key_ty.size(), value_at + value_ty.size());
        self.copy(self.at(to, key_at), Mem { ptr: key, align: 8 }, key_ty.size());
        self.zero(self.at(to, key_end), value_at - key_end);
        let value = Mem { ptr: value, align: 8 };
        match kept {
            Type::Agg(agg) => {
                let number = self.entry_figure(agg, object, per_cpu, self.at(to, key_at), value)?;
                self.ir.store(self.at(to, value_at).ptr, number, 8, 8);
            }
            _ => self.copy(self.at(to, value_at), value, value_ty.size()),
        }
        self.zero(self.at(to, value_end), ty.size() - value_end);
        Ok(())
    }

    fn entry_figure(&mut self, agg: &Agg, object: u32, per_cpu: bool, key: Mem<'c>, value: Mem<'c>) -> Result<Val<'c>> {
        let words = if per_cpu && self.unit.options.percpu_lookup {
            self.sum_cpus(agg, object, key)?
        } else {
            self.merge(agg, (self.ir.int(0), self.ir.int(0)), value.ptr)
        };
        Ok(self.figure(agg, words))
    }

    /// `for ($i : start..end)` with many rounds, or a number known only when it runs.
    pub fn for_range_callback(&mut self, local: LocalId, start: &Expr, end: &Expr, body: &[Stmt]) -> Result<()> {
        let span = self.span;
        let Some(start_at) = self.plan.start(local) else { return self.unexpected("this loop") };
        let known = match (start.constant(), end.constant()) {
            (Some(a), Some(b)) => Some(b.saturating_sub(a)),
            _ => None,
        };
        if known.is_some_and(|n| n > MAX_ROUNDS) {
            let message = format!("a loop has at most {MAX_ROUNDS} iterations");
            return Err(Diagnostic::error(Code::TooLarge, span, message).help("nest two loops"));
        }
        let (first, last) = (self.number(start)?, self.number(end)?);
        let start_place = self.shared_word(start_at)?;
        self.ir.store(start_place, first, 8, 8);
        let function = self.callback(local, Given::Index, span, |s, function| {
            let ir = s.ir;
            let start_place = s.shared_word(start_at)?;
            let start = ir.load(start_place, 8, 8, false);
            let Some(LocalSlot::Scalar(p)) = s.locals.get(local as usize).copied() else {
                return s.unexpected("this variable");
            };
            ir.store(p, ir.add(start, ir.param_value(function, 0)), 8, 8);
            s.block(body)
        })?;
        let ir = self.ir;
        let rounds = match known {
            Some(n) => ir.int(n),
            None => self.rounds_of(span, first, last)?,
        };
        self.forget_frame()?;
        let args = [rounds.into(), function.into(), self.frame()?.into(), ir.int(0).into()];
        ir.helper(helper::LOOP, &args, Effect::Any);
        self.leave_if_left()
    }

    /// `while (cond)`
    pub fn while_callback(&mut self, local: LocalId, cond: &Expr, body: &[Stmt]) -> Result<()> {
        let span = self.span;
        let stopped = self.unit.loop_counter(span, false, MAX_WHILE_ROUNDS as u32);
        let function = self.callback(local, Given::Index, span, |s, function| {
            let ir = s.ir;
            let Some(Loop { done, .. }) = s.loops.last().copied() else { return s.unexpected("this loop") };
            let (held, round, stop) = (ir.block("held"), ir.block("round"), ir.block("stop"));
            s.branch(cond, held, done)?;
            ir.at(held);
            let index = ir.param_value(function, 0);
            ir.cond_br(ir.icmp(Pred::ULT, index, ir.int(MAX_WHILE_ROUNDS)), round, stop);
            ir.at(stop);
            s.count_stop(stopped)?;
            ir.br(done);
            ir.at(round);
            s.block(body)
        })?;
        let ir = self.ir;
        self.forget_frame()?;
        // One more, which finds that the condition no longer holds, or counts that it does.
        let rounds = ir.int(MAX_WHILE_ROUNDS + 1);
        let args = [rounds.into(), function.into(), self.frame()?.into(), ir.int(0).into()];
        ir.helper(helper::LOOP, &args, Effect::Any);
        self.leave_if_left()
    }

    /// The rounds from `first` to `last`; what is above the kernel's limit is counted and left out.
    fn rounds_of(&mut self, span: Span, first: Val<'c>, last: Val<'c>) -> Result<Val<'c>> {
        let stopped = self.unit.loop_counter(span, true, MAX_ROUNDS as u32);
        let ir = self.ir;
        let (some, long, done) = (ir.block("some"), ir.block("long"), ir.block("rounds"));
        let none = ir.here();
        ir.cond_br(ir.icmp(Pred::SLT, first, last), some, done);
        ir.at(some);
        let n = ir.sub(last, first);
        ir.cond_br(ir.icmp(Pred::UGT, n, ir.int(MAX_ROUNDS)), long, done);
        ir.at(long);
        self.count_stop(stopped)?;
        let from_long = ir.here();
        ir.br(done);
        ir.at(done);
        Ok(ir.phi(&[(ir.int(0), none), (n, some), (ir.int(MAX_ROUNDS), from_long)]))
    }

    /// Counts that a loop was stopped before its end.
    pub fn count_stop(&self, counter: Option<Ptr<'c>>) -> Result<()> {
        let Some(counter) = counter else { return self.unexpected("this loop") };
        self.ir.atomic(crate::llvm::ir::AtomicOp::Add, counter, self.ir.int(1), 8);
        Ok(())
    }

    /// `len(@m)`: the kernel walks over the entries and says how many it met; the function that it calls
    /// for each does nothing. A counter of our own would have to follow what user space deletes and what an
    /// LRU map drops.
    pub fn map_len(&mut self, map: MapId) -> Result<Val<'c>> {
        let span = self.span;
        let Storage::Map { object, .. } = self.map_def(map)?.storage else { return self.unexpected("this map") };
        let ir = self.ir;
        let function = match self.unit.counting.get() {
            Some(function) => function,
            None => {
                let suspended = ir.suspend();
                let function = ir.callback(capture::COUNTING, false);
                let scope = self.unit.debug.enter(function, capture::COUNTING, span);
                let outer = std::mem::replace(&mut self.scope, scope);
                self.locate(span);
                ir.ret(ir.int(0));
                ir.finish_entry(function);
                self.scope = outer;
                self.scope.forget();
                ir.resume(suspended);
                self.locate(span);
                let function = function.as_global_value().as_pointer_value();
                self.unit.counting.set(Some(function));
                function
            }
        };
        let args = [self.map_object(object)?.into(), function.into(), ir.null().into(), ir.int(0).into()];
        Ok(ir.helper(helper::FOR_EACH_MAP_ELEM, &args, Effect::Any))
    }
}
