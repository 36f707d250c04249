//! `@m = count()`, `sum`, `avg`, `stats`, `min`, `max`, `hist`, `lhist`, `quantiles`, `tseries`: finding the words to update
//! and updating them in place. Bucket numbers are those of `lang/core/src/hist.rs`.

use crate::flags;
use crate::llvm::ir::{AtomicOp, Block, Effect, Pred, Ptr, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::bundle::{MapDef, Storage};
use rtrace_lang::diag::Result;
use rtrace_lang::hist;
use rtrace_lang::typed::{Expr, MapId};
use rtrace_lang::types::{Agg, Series, Type};
use rtrace_lang::uapi::helper;

/// More stripes than this are added up by a loop.
const UNROLLED_STRIPES: u32 = 8;
/// Most CPUs whose values a program adds up.
const MAX_CPUS: i64 = 512;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    pub fn aggregate(&mut self, map: MapId, key: Option<&Expr>, value: Option<&Expr>) -> Result<()> {
        let def = self.map_def(map)?;
        let Type::Agg(agg) = &def.value else { return self.unexpected("this aggregation") };
        let span = self.span;
        let signed = value.is_none_or(|v| v.ty.is_signed());
        let value = match value {
            Some(value) => self.number(value)?,
            None => self.ir.int(1),
        };
        self.span = span;
        match def.storage {
            Storage::Global { offset, stripes, stride } => {
                let p = self.stripe(offset, stripes, stride);
                self.accumulate(agg, p, value, signed);
            }
            Storage::Map { object, .. } => {
                let done = self.ir.block("done");
                let p = self.entry_for(def, object, key, (agg, value), done)?;
                self.accumulate(agg, p, value, signed);
                self.ir.br(done);
                self.ir.at(done);
            }
        }
        self.mark_written(def);
        Ok(())
    }

    /// This CPU's copy of a value in the globals.
    fn stripe(&self, offset: u32, stripes: u32, stride: u32) -> Ptr<'c> {
        let base = self.unit.global(offset);
        if stripes <= 1 {
            return base;
        }
        let ir = self.ir;
        let cpu = ir.helper(helper::GET_SMP_PROCESSOR_ID, &[], Effect::None);
        let stripe = ir.and(cpu, ir.int(i64::from(stripes) - 1));
        ir.index(base, ir.mul(stripe, ir.int(i64::from(stride))))
    }

    /// The entry's value, to which the new one is to be added. Goes to `done` when there is nothing more to do: the entry
    /// was made with the new value in it, or cannot be made.
    fn entry_for(
        &mut self,
        def: &MapDef,
        object: u32,
        key: Option<&Expr>,
        (agg, value): (&Agg, Val<'c>),
        done: Block<'c>,
    ) -> Result<Ptr<'c>> {
        let (mark, span) = (self.mark(), self.span);
        let key = self.key(key)?;
        self.span = span;
        let ir = self.ir;
        let found = ir.block("found");
        if def.key.is_none() {
            // The one element of an array is always there.
            let p = self.lookup(object, key)?;
            ir.cond_br(ir.is_null(p), done, found);
            ir.at(found);
            self.release(mark);
            return Ok(p);
        }
        let (again, missing, lost) = (ir.block("again"), ir.block("missing"), ir.block("lost"));
        // Opaque, or LLVM would make two look-ups of the one.
        let rounds = ir.opaque(ir.int(2));
        let before = ir.here();
        ir.br(again);
        ir.at(again);
        let round = ir.loop_phi(rounds, before);
        let p = self.lookup(object, key)?;
        ir.cond_br_rarely(ir.is_null(p), missing, found);

        ir.at(missing);
        let flags = ir.int(flags::BPF_NOEXIST);
        let first = self.sometimes(|s| s.first(agg, value))?;
        let initial = first.map_or_else(|| self.unit.zeros(), |first| first.ptr);
        let args = [self.map_object(object)?.into(), key.ptr.into(), initial.into(), flags.into()];
        let result = ir.helper(helper::MAP_UPDATE_ELEM, &args, Effect::Any);
        if first.is_some() {
            let refused = ir.block("refused");
            ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(0)), done, refused);
            ir.at(refused);
        }
        // The way back depends on something: older verifiers refuse a loop whose code just runs on into its head.
        let left = ir.sub(round, ir.int(1));
        ir.close_loop(round, left, ir.here());
        ir.cond_br(ir.icmp(Pred::NE, left, ir.int(0)), again, lost);

        ir.at(lost);
        self.tell(helper::MAP_UPDATE_ELEM, result, || ir.icmp(Pred::NE, result, ir.int(0)));
        self.count_lost(def);
        ir.br(done);

        ir.at(found);
        self.release(mark);
        Ok(p)
    }

    /// The aggregation of one value, where that is small. An entry that is made with it is never seen without it, as it
    /// could be by a print that comes between making and counting.
    fn first(&mut self, agg: &Agg, value: Val<'c>) -> Result<Option<Mem<'c>>> {
        let words = match agg {
            Agg::Count | Agg::Sum { .. } => [Some(value), None],
            Agg::Avg { .. } | Agg::Stats { .. } | Agg::Min { .. } | Agg::Max { .. } => {
                [Some(value), Some(self.ir.int(1))]
            }
            Agg::Hist { .. } | Agg::Lhist { .. } | Agg::Quantiles { .. } | Agg::Tseries { .. } => return Ok(None),
        };
        let first = self.temp(agg.words() * 8)?;
        for (n, word) in (0u32..).zip(words.into_iter().flatten()) {
            let to = self.at(first, n * 8);
            self.ir.store(to.ptr, word, 8, to.align);
        }
        Ok(Some(first))
    }

    /// Adds `value`, of a signed type or not, to the aggregation at `p`.
    fn accumulate(&self, agg: &Agg, p: Ptr<'c>, value: Val<'c>, signed: bool) {
        let ir = self.ir;
        let add = |p: Ptr<'c>, v: Val<'c>| {
            ir.atomic(AtomicOp::Add, p, v, 8);
        };
        match agg {
            Agg::Count | Agg::Sum { .. } => add(p, value),
            Agg::Avg { .. } | Agg::Stats { .. } => {
                add(p, value);
                add(ir.offset(p, 8), ir.int(1));
            }
            Agg::Min { signed } | Agg::Max { signed } => {
                let better = match (agg, signed) {
                    (Agg::Min { .. }, true) => Pred::SLT,
                    (Agg::Min { .. }, false) => Pred::ULT,
                    (_, true) => Pred::SGT,
                    (_, false) => Pred::UGT,
                };
                let (set, check, done) = (ir.block("set"), ir.block("check"), ir.block("kept"));
                let is_set = ir.load(ir.offset(p, 8), 8, 8, false);
                ir.cond_br(ir.icmp(Pred::EQ, is_set, ir.int(0)), set, check);
                ir.at(check);
                let old = ir.load(p, 8, 8, false);
                ir.cond_br(ir.icmp(better, value, old), set, done);
                ir.at(set);
                ir.store(p, value, 8, 8);
                ir.store(ir.offset(p, 8), ir.int(1), 8, 8);
                ir.br(done);
                ir.at(done);
            }
            Agg::Hist { bits } => {
                let bucket = self.log2_bucket(value, *bits, signed);
                add(ir.index(p, ir.shl(bucket, ir.int(3))), ir.int(1));
            }
            Agg::Lhist { min, max, step } => {
                let bucket = self.linear_bucket(value, (*min, *max, *step), signed);
                add(ir.index(p, ir.shl(bucket, ir.int(3))), ir.int(1));
            }
            Agg::Quantiles { .. } => {
                let bucket = self.log2_bucket(value, Agg::QUANTILE_BITS, signed);
                add(ir.index(p, ir.shl(bucket, ir.int(3))), ir.int(1));
            }
            Agg::Tseries { interval, intervals, of, signed } => {
                self.record(p, value, *interval, *intervals, *of, *signed);
            }
        }
    }

    /// Puts a value into its interval of the time series at `p`. Only this CPU writes there; a program that
    /// interrupts this one may spoil the one interval, as it may a minimum.
    fn record(&self, p: Ptr<'c>, value: Val<'c>, interval: u64, intervals: u32, of: Series, signed: bool) {
        let ir = self.ir;
        let boot = ir.helper(helper::KTIME_GET_BOOT_NS, &[], Effect::Any);
        let offset = match self.unit.typed.globals.wall {
            Some(wall) => ir.load(self.unit.global(wall), 8, 8, false),
            None => ir.int(0),
        };
        let now = ir.add(boot, offset);
        let number = ir.udiv(now, ir.int(interval.max(1) as i64));
        let slot = ir.bound(ir.urem(number, ir.int(i64::from(intervals.max(1)))), intervals.max(1) - 1);
        let p = ir.index(p, ir.mul(slot, ir.int(i64::from(Agg::SERIES_WORDS) * 8)));
        let (at_value, at_weight) = (ir.offset(p, 8), ir.offset(p, 16));
        let (fresh, check, same, done) = (ir.block("fresh"), ir.block("check"), ir.block("same"), ir.block("kept"));
        let weight = ir.load(at_weight, 8, 8, false);
        ir.cond_br(ir.icmp(Pred::EQ, weight, ir.int(0)), fresh, check);
        ir.at(check);
        let old_number = ir.load(p, 8, 8, false);
        ir.cond_br(ir.icmp(Pred::EQ, old_number, number), same, fresh);

        ir.at(fresh);
        ir.store(p, number, 8, 8);
        ir.store(at_value, value, 8, 8);
        ir.store(at_weight, if of == Series::Last { now } else { ir.int(1) }, 8, 8);
        ir.br(done);

        ir.at(same);
        let old = ir.load(at_value, 8, 8, false);
        let new = match of {
            Series::Last => value,
            Series::Sum | Series::Avg => ir.add(old, value),
            Series::Min | Series::Max => {
                let pred = match (of, signed) {
                    (Series::Min, true) => Pred::SLT,
                    (Series::Min, false) => Pred::ULT,
                    (_, true) => Pred::SGT,
                    (_, false) => Pred::UGT,
                };
                ir.select(ir.icmp(pred, value, old), value, old)
            }
        };
        ir.store(at_value, new, 8, 8);
        ir.store(at_weight, if of == Series::Last { now } else { ir.add(weight, ir.int(1)) }, 8, 8);
        ir.br(done);
        ir.at(done);
    }

    /// As `hist::log2_bucket`.
    fn log2_bucket(&self, n: Val<'c>, bits: u8, signed: bool) -> Val<'c> {
        let ir = self.ir;
        let s = 1i64 << bits;
        let (small, large, positive, done) =
            (ir.block("small"), ir.block("large"), ir.block("positive"), ir.block("bucket"));
        let start = ir.here();
        // What is unsigned is below zero never: the test folds away.
        let below = if signed { Pred::SLT } else { Pred::ULT };
        ir.cond_br(ir.icmp(below, n, ir.int(0)), done, positive);
        ir.at(positive);
        ir.cond_br(ir.icmp(Pred::ULT, n, ir.int(s)), small, large);

        ir.at(small);
        // With one bucket per power of two only 0 is small. Said as a constant: LLVM may test what `n` was
        // divided out of instead of `n`, which the verifier then takes for anything.
        let small_index = if bits == 0 { ir.int(1) } else { ir.bound(ir.add(n, ir.int(1)), s as u32) };
        let from_small = ir.here();
        ir.br(done);

        // The highest bit by halving: each step takes off the lower half if anything is above it.
        ir.at(large);
        let (mut rest, mut p) = (n, ir.int(0));
        for half in [32, 16, 8, 4, 2, 1] {
            let (more, next) = (ir.block("more"), ir.block("next"));
            let above = ir.shr(rest, ir.int(half), false);
            let from = ir.here();
            ir.cond_br(ir.icmp(Pred::EQ, above, ir.int(0)), next, more);
            ir.at(more);
            // Opaque, or LLVM would make two choices of the one: twice the branches.
            let p_more = ir.opaque(ir.add(p, ir.int(half)));
            ir.br(next);
            ir.at(next);
            rest = ir.phi(&[(rest, from), (above, more)]);
            p = ir.phi(&[(p, from), (p_more, more)]);
        }
        let large_index = if bits == 0 {
            ir.add(p, ir.int(2))
        } else {
            let shift = ir.sub(p, ir.int(i64::from(bits)));
            let sub = ir.and(ir.shr(n, ir.and(shift, ir.int(63)), false), ir.int(s - 1));
            let whole = ir.add(ir.mul(shift, ir.int(s)), ir.int(1 + s));
            ir.bound(ir.add(whole, sub), hist::log2_buckets(bits) - 1)
        };
        let from_large = ir.here();
        ir.br(done);

        ir.at(done);
        ir.phi(&[(ir.int(0), start), (small_index, from_small), (large_index, from_large)])
    }

    /// As `hist::linear_bucket`.
    fn linear_bucket(&self, n: Val<'c>, (min, max, step): (i64, i64, i64), signed: bool) -> Val<'c> {
        let ir = self.ir;
        // Every unsigned number is above a limit below zero.
        let (below, not_below, low, high) = match signed {
            true => (Pred::SLT, Pred::SGE, min, max),
            false => (Pred::ULT, Pred::UGE, min.max(0), max.max(0)),
        };
        let last = hist::linear_buckets(min, max, step) - 1;
        let (above, middle, done) = (ir.block("above"), ir.block("middle"), ir.block("bucket"));
        let start = ir.here();
        ir.cond_br(ir.icmp(below, n, ir.int(low)), done, above);
        ir.at(above);
        ir.cond_br(ir.icmp(not_below, n, ir.int(high)), done, middle);
        ir.at(middle);
        let index = ir.add(ir.udiv(ir.sub(n, ir.int(min)), ir.int(step.max(1))), ir.int(1));
        let index = ir.bound(index, last);
        let from = ir.here();
        ir.br(done);
        ir.at(done);
        ir.phi(&[(ir.int(0), start), (ir.int(i64::from(last)), above), (index, from)])
    }

    /// The value of an aggregation, as far as a program can see.
    pub fn agg_get(&mut self, map: MapId, key: Option<&Expr>) -> Result<Val<'c>> {
        let def = self.map_def(map)?;
        let Type::Agg(agg) = &def.value else { return self.unexpected("this aggregation") };
        match def.storage {
            Storage::Global { offset, stripes, stride } => {
                let base = self.unit.global(offset);
                let count = i64::from(stripes.max(1));
                let words = if stripes <= UNROLLED_STRIPES {
                    let mut words = (self.ir.int(0), self.ir.int(0));
                    for i in 0..count {
                        words = self.merge(agg, words, self.ir.offset(base, i * i64::from(stride)));
                    }
                    words
                } else {
                    self.repeat(count, |s, i, words| {
                        let p = s.ir.index(base, s.ir.mul(i, s.ir.int(i64::from(stride))));
                        s.merge(agg, words, p)
                    })
                };
                Ok(self.figure(agg, words))
            }
            Storage::Map { object, per_cpu } => {
                let span = self.span;
                let mark = self.mark();
                let key = self.key(key)?;
                self.span = span;
                let zero = (self.ir.int(0), self.ir.int(0));
                let words = if per_cpu && self.unit.options.percpu_lookup {
                    if self.unit.typed.globals.failures.is_some() {
                        self.tell_missing(self.lookup(object, key)?);
                    }
                    self.sum_cpus(agg, object, key)?
                } else {
                    let p = self.lookup(object, key)?;
                    self.tell_missing(p);
                    self.merge_if(agg, zero, p)
                };
                self.release(mark);
                Ok(self.figure(agg, words))
            }
        }
    }

    /// Adds up all CPUs' values; the helper gives no entry for CPUs that do not exist.
    pub fn sum_cpus(&mut self, agg: &Agg, object: u32, key: Mem<'c>) -> Result<(Val<'c>, Val<'c>)> {
        let map = self.map_object(object)?;
        Ok(self.repeat(MAX_CPUS, |s, i, words| {
            let p = s.ir.helper_ptr(helper::MAP_LOOKUP_PERCPU_ELEM, &[map.into(), key.ptr.into(), i.into()]);
            s.merge_if(agg, words, p)
        }))
    }

    fn merge_if(&self, agg: &Agg, words: (Val<'c>, Val<'c>), p: Ptr<'c>) -> (Val<'c>, Val<'c>) {
        let ir = self.ir;
        let (found, done) = (ir.block("found"), ir.block("merged"));
        let before = ir.here();
        ir.cond_br(ir.is_null(p), done, found);
        ir.at(found);
        let merged = self.merge(agg, words, p);
        let after = ir.here();
        ir.br(done);
        ir.at(done);
        let a = ir.phi(&[(words.0, before), (merged.0, after)]);
        let b = ir.phi(&[(words.1, before), (merged.1, after)]);
        (a, b)
    }

    /// A loop of `count` rounds over two words.
    fn repeat(
        &self,
        count: i64,
        f: impl FnOnce(&Self, Val<'c>, (Val<'c>, Val<'c>)) -> (Val<'c>, Val<'c>),
    ) -> (Val<'c>, Val<'c>) {
        let ir = self.ir;
        let (head, done) = (ir.block("round"), ir.block("rounds_done"));
        let before = ir.here();
        ir.br(head);
        ir.at(head);
        let i = ir.loop_phi(ir.int(0), before);
        let words = (ir.loop_phi(ir.int(0), before), ir.loop_phi(ir.int(0), before));
        let next = f(self, i, words);
        let after = ir.add(i, ir.int(1));
        let from = ir.here();
        ir.close_loop(i, after, from);
        ir.close_loop(words.0, next.0, from);
        ir.close_loop(words.1, next.1, from);
        ir.cond_br(ir.icmp(Pred::ULT, after, ir.int(count)), head, done);
        ir.at(done);
        next
    }

    /// Merges the value at `p` into two words.
    pub fn merge(&self, agg: &Agg, words: (Val<'c>, Val<'c>), p: Ptr<'c>) -> (Val<'c>, Val<'c>) {
        let ir = self.ir;
        let first = ir.load(p, 8, 8, false);
        if agg.words() == 1 {
            return (ir.add(words.0, first), words.1);
        }
        let second = ir.load(ir.offset(p, 8), 8, 8, false);
        let (signed, min) = match agg {
            Agg::Min { signed } => (*signed, true),
            Agg::Max { signed } => (*signed, false),
            _ => return (ir.add(words.0, first), ir.add(words.1, second)),
        };
        let pred = match (signed, min) {
            (true, true) => Pred::SLT,
            (true, false) => Pred::SGT,
            (false, true) => Pred::ULT,
            (false, false) => Pred::UGT,
        };
        // A copy that is set wins over one that is not, and over a worse one.
        let better = ir.or(ir.bit(ir.icmp(pred, first, words.0)), ir.bit(ir.icmp(Pred::EQ, words.1, ir.int(0))));
        let take = ir.and(better, ir.bit(ir.icmp(Pred::NE, second, ir.int(0))));
        (ir.select(ir.icmp(Pred::NE, take, ir.int(0)), first, words.0), ir.or(words.1, second))
    }

    /// The number that stands for an aggregation.
    pub fn figure(&self, agg: &Agg, words: (Val<'c>, Val<'c>)) -> Val<'c> {
        use rtrace_lang::grammar::ast::BinOp;
        match agg {
            Agg::Avg { signed } | Agg::Stats { signed } => self.operate(BinOp::Div, words.0, words.1, *signed, None),
            _ => words.0,
        }
    }
}
