//! Scalar expressions: each is a 64-bit value, extended by the sign of its type.
//!
//! Values that live in memory are `aggregate.rs`'s, map access `maps.rs`'s, functions `builtins/`'s.

use crate::llvm::ir::{Block, Effect, Pred, Ptr, Val};
use crate::lower::{LocalSlot, Lower};
use crate::pool::Mem;
use rtrace_lang::bundle::{AttachMode, PROBE_ID_LOOKUP, PROBE_ID_MAGIC, PROBES_SYMBOL, ProbeIdSource, Target};
use rtrace_lang::diag::{Diagnostic, Result};
use rtrace_lang::grammar::ast::BinOp;
use rtrace_lang::typed::{Bits, Expr, ExprKind, Known, LocalId};
use rtrace_lang::types::{Space, Type};
use rtrace_lang::uapi::helper;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// Something that the checker must not hand over: an internal error.
    pub fn unexpected<T>(&self, what: &str) -> Result<T> {
        Err(Diagnostic::internal(self.span, format!("{what} cannot be compiled here")))
    }

    /// The value of a scalar expression.
    pub fn scalar(&mut self, e: &Expr) -> Result<Val<'c>> {
        self.locate(e.span);
        match &e.kind {
            ExprKind::Int(v) => Ok(self.ir.int(*v)),
            ExprKind::Local(id) => self.get_local(*id),
            ExprKind::MapGet { map, key } => self.map_get(*map, key.as_deref(), &e.ty),
            ExprKind::MapHas { map, key } => self.map_has(*map, key.as_deref()),
            ExprKind::AggGet { map, key } => self.agg_get(*map, key.as_deref()),
            ExprKind::MapLen { map } => self.map_len(*map),
            ExprKind::Ctx { offset } => {
                let size = e.ty.size().max(1);
                let v = self.ir.load_context(self.context, *offset, size, e.ty.is_signed());
                self.require_object(v, *offset, &e.ty);
                Ok(v)
            }
            ExprKind::CtxAddr { offset } => Ok(self.ir.add(self.context_address(), self.ir.int(i64::from(*offset)))),
            ExprKind::CtxDataLoc { offset } => {
                let loc = self.ir.load_context(self.context, *offset, 4, false);
                let start = self.ir.and(self.ir.opaque(loc), self.ir.int(0xffff));
                Ok(self.ir.add(self.context_address(), start))
            }
            ExprKind::ProbeId if e.ty == Type::FuncName => self.function_id(),
            ExprKind::ProbeId => self.probe_id(),
            ExprKind::Call { intrinsic, args } => self.call_scalar(e, *intrinsic, args),
            ExprKind::Foreign { name, params, args } => self.foreign(e, name, params, args),
            ExprKind::Invoke { function, args } => self.invoke(*function, args),
            ExprKind::Neg(x) => {
                let v = self.number(x)?;
                Ok(self.normal(self.ir.neg(v), &e.ty))
            }
            ExprKind::BitNot(x) => {
                let v = self.number(x)?;
                Ok(self.normal(self.ir.not(v), &e.ty))
            }
            ExprKind::Arith { op, left, right } => self.arith(*op, left, right, &e.ty),
            ExprKind::Not(_)
            | ExprKind::Compare { .. }
            | ExprKind::Equal { .. }
            | ExprKind::And(..)
            | ExprKind::Or(..) => {
                let bit = self.truth(e)?;
                Ok(self.ir.bit(bit))
            }
            ExprKind::Ternary { cond, then, otherwise } => self.ternary(cond, then, otherwise),
            ExprKind::Convert(x) => self.convert(x, &e.ty),
            ExprKind::Load { ptr, offset, known, .. } if self.depth == 0 && *known != Known::Nothing => {
                self.span = e.span;
                self.known(ptr, *offset, *known, &e.ty)
            }
            ExprKind::Load { ptr, offset, space, bits, .. } => {
                let address = self.address(ptr, *offset)?;
                self.span = e.span;
                self.load(address, *space, *bits, &e.ty)
            }
            ExprKind::Address { ptr, offset } => self.address(ptr, *offset),
            ExprKind::LocalAddress(id) => {
                let p = match self.locals.get(*id as usize).copied() {
                    Some(LocalSlot::Scalar(p)) => p,
                    _ => self.local_memory(*id)?.ptr,
                };
                Ok(self.untrack(self.ir.ptr_to_int(p)))
            }
            ExprKind::MapAddress { map, key } => {
                let p = self.entry_pointer(*map, key.as_deref())?;
                Ok(self.untrack(self.ir.ptr_to_int(p)))
            }
            ExprKind::Part { base, offset, bits } => self.part(base, *offset, *bits, &e.ty),
            ExprKind::Element { base, index, len } => self.element(base, index, *len, &e.ty),
            ExprKind::StepLocal { local, delta, before } => {
                let Some(LocalSlot::Scalar(p)) = self.locals.get(*local as usize).copied() else {
                    return self.unexpected("this variable");
                };
                let old = self.get_local(*local)?;
                let old = self.follow(ExprKind::Local(*local), &e.ty, old);
                let new = self.normal(self.ir.add(old, self.ir.int(*delta)), &e.ty);
                self.ir.store(p, new, 8, 8);
                Ok(if *before { old } else { new })
            }
            ExprKind::StepMap { map, key, delta, before } => self.step_map(*map, key.as_deref(), *delta, *before),
            ExprKind::Block { stmts, value } => {
                self.block(stmts)?;
                self.scalar(value)
            }
            ExprKind::Bytes(_) | ExprKind::Resize(_) | ExprKind::Tuple(_) => self.unexpected("this value"),
        }
    }

    /// A scalar as a number: never a pointer that the verifier follows, which allows little
    /// arithmetic on such pointers.
    pub fn number(&mut self, e: &Expr) -> Result<Val<'c>> {
        let v = self.scalar(e)?;
        Ok(if self.is_tracked(e) { self.untrack(v) } else { v })
    }

    fn follow(&mut self, kind: ExprKind, ty: &Type, v: Val<'c>) -> Val<'c> {
        if self.is_tracked(&Expr { kind, ty: ty.clone(), span: self.span }) { self.untrack(v) } else { v }
    }

    /// Forgets what the verifier knows of a pointer, by a way through memory.
    fn untrack(&mut self, v: Val<'c>) -> Val<'c> {
        let mark = self.mark();
        let (from, to) = (self.word(), self.word());
        self.ir.store(from.ptr, v, 8, 8);
        self.read(to.ptr, 8, self.ir.ptr_to_int(from.ptr), Space::Kernel);
        let plain = self.ir.load(to.ptr, 8, 8, false);
        self.release(mark);
        plain
    }

    /// Whether the register of a value may be a pointer to the verifier.
    pub fn is_tracked(&self, e: &Expr) -> bool {
        match &e.kind {
            ExprKind::Ctx { .. } => self.has_tracked_context() && e.ty.size() == 8,
            ExprKind::CtxAddr { .. } | ExprKind::CtxDataLoc { .. } => true,
            ExprKind::Local(id) => self.tracked.contains(id),
            ExprKind::Load { known, .. } => {
                self.depth == 0
                    && *known != Known::Nothing
                    && matches!(&e.ty, Type::Ptr { to, .. } if matches!(**to, Type::Record(_)))
            }
            ExprKind::Convert(x) => e.ty.size() == 8 && self.is_tracked(x),
            ExprKind::Address { ptr, .. } => self.is_tracked(ptr),
            ExprKind::Arith { op: BinOp::Add | BinOp::Sub, left, right } => {
                right.constant().is_some() && self.is_tracked(left)
            }
            ExprKind::Ternary { then, otherwise, .. } => self.is_tracked(then) || self.is_tracked(otherwise),
            ExprKind::Block { value, .. } => self.is_tracked(value),
            _ => false,
        }
    }

    /// Extends the low bits that `ty` has.
    pub fn normal(&self, v: Val<'c>, ty: &Type) -> Val<'c> {
        self.ir.narrow(v, ty.size().max(1) * 8, ty.is_signed())
    }

    fn context_address(&self) -> Val<'c> {
        self.ir.ptr_to_int(self.context)
    }

    pub fn get_local(&mut self, id: LocalId) -> Result<Val<'c>> {
        match self.locals.get(id as usize) {
            Some(LocalSlot::Scalar(p)) => Ok(self.ir.load(*p, 8, 8, false)),
            _ => self.unexpected("this variable"),
        }
    }

    /// The identifier of the probe that fired. A copy of the program that serves many functions at once finds it by the
    /// address; what that copy does not need, and what it alone needs, the verifier knows to be dead by the patched number.
    fn probe_id(&mut self) -> Result<Val<'c>> {
        let ir = self.ir;
        let cookie = |context: Ptr<'c>| ir.helper(helper::GET_ATTACH_COOKIE, &[context.into()], Effect::None);
        let patched = || ir.opaque(ir.int(PROBE_ID_MAGIC as i64));
        let by_cookie = self.program.probe_id == ProbeIdSource::Cookie;
        if self.program.attach_mode != AttachMode::Event {
            return Ok(if by_cookie { cookie(self.context) } else { patched() });
        }
        let Some(probes) = self.unit.object_named(PROBES_SYMBOL) else { return self.unexpected("this probe") };
        let unknown = ir.int(PROBE_ID_LOOKUP as i64);
        let (lookup, found, single, done) =
            (ir.block("shared"), ir.block("known"), ir.block("single"), ir.block("identified"));
        let id = patched();
        ir.cond_br(ir.icmp(Pred::EQ, id, unknown), lookup, single);
        ir.at(lookup);
        let returns = self.program.attach.iter().any(|a| matches!(a.target, Target::Kprobe { ret: true, .. }));
        let address = if returns {
            ir.helper(helper::GET_FUNC_IP, &[self.context.into()], Effect::None)
        } else {
            ir.load_context(self.context, self.unit.typed.instruction_pointer, 8, false)
        };
        let mark = self.mark();
        let key = self.word();
        ir.store(key.ptr, address, 8, 8);
        let entry = ir.helper_ptr(helper::MAP_LOOKUP_ELEM, &[probes.into(), key.ptr.into()]);
        self.release(mark);
        let missed = ir.here();
        ir.cond_br(ir.is_null(entry), done, found);
        ir.at(found);
        let by_address = ir.load(entry, 8, 8, false);
        ir.br(done);
        ir.at(single);
        let own = if by_cookie { cookie(self.context) } else { id };
        ir.br(done);
        ir.at(done);
        Ok(ir.phi(&[(unknown, missed), (by_address, found), (own, single)]))
    }

    /// The identifier of the function that was probed, which is that of the first of its probes: `func` is the same key at
    /// its entry and at its return.
    fn function_id(&mut self) -> Result<Val<'c>> {
        let probes = &self.unit.typed.probes;
        let first = |probe: u32| {
            let function = &probes.get(probe as usize)?.function;
            probes.iter().position(|p| p.function == *function).map(|at| at as i64)
        };
        let mut numbers: Vec<u32> = self.program.attach.iter().map(|a| a.probe).collect();
        numbers.sort_unstable();
        // Probes that follow each other are mostly those of functions that do so too: one difference is enough for them.
        let mut runs: Vec<(u32, i64)> = Vec::new();
        for probe in numbers {
            let difference = first(probe).map_or(0, |at| at - i64::from(probe));
            if runs.last().is_none_or(|(_, of_run)| *of_run != difference) {
                runs.push((probe, difference));
            }
        }
        let id = self.probe_id()?;
        let ir = self.ir;
        let mut runs = runs.into_iter();
        let mut difference = ir.int(runs.next().map_or(0, |(_, difference)| difference));
        for (start, of_run) in runs {
            let inside = ir.icmp(Pred::UGE, id, ir.int(i64::from(start)));
            difference = ir.select(inside, ir.int(of_run), difference);
        }
        Ok(ir.add(id, difference))
    }

    fn arith(&mut self, op: BinOp, left: &Expr, right: &Expr, ty: &Type) -> Result<Val<'c>> {
        let keeps = matches!(op, BinOp::Add | BinOp::Sub) && right.constant().is_some();
        let a = if keeps { self.scalar(left)? } else { self.number(left)? };
        let b = self.number(right)?;
        Ok(self.operate(op, a, b, ty.is_signed(), right.constant()))
    }

    /// One operation on 64-bit values; `known` is the right side if it is a constant.
    pub fn operate(&self, op: BinOp, a: Val<'c>, b: Val<'c>, signed: bool, known: Option<i64>) -> Val<'c> {
        let ir = self.ir;
        match op {
            BinOp::Add => ir.add(a, b),
            BinOp::Sub => ir.sub(a, b),
            BinOp::Mul => ir.mul(a, b),
            BinOp::BitAnd => ir.and(a, b),
            BinOp::BitOr => ir.or(a, b),
            BinOp::BitXor => ir.xor(a, b),
            BinOp::Shl | BinOp::Shr => {
                let count = match known {
                    Some(n) => ir.int(n & 63),
                    None => ir.and(b, ir.int(63)),
                };
                if op == BinOp::Shl { ir.shl(a, count) } else { ir.shr(a, count, signed) }
            }
            BinOp::Div | BinOp::Rem if signed => self.signed_division(op, a, b, known),
            BinOp::Div => self.unsigned_division(op, a, b, known),
            BinOp::Rem => self.unsigned_division(op, a, b, known),
            // Comparisons are `ExprKind::Compare`.
            _ => ir.int(0),
        }
    }

    /// BPF's own division, in which `x / 0` is 0 and `x % 0` is `x`. LLVM takes a zero divisor for
    /// impossible, so it must see neither where the divisor comes from nor what the result is used for: it
    /// makes `x / y != 0` a comparison of `x` and `y`.
    fn unsigned_division(&self, op: BinOp, a: Val<'c>, b: Val<'c>, known: Option<i64>) -> Val<'c> {
        let ir = self.ir;
        let divide = op == BinOp::Div;
        match known {
            Some(0) => return if divide { ir.int(0) } else { a },
            Some(_) if divide => return ir.udiv(a, b),
            Some(_) => return ir.urem(a, b),
            None => {}
        }
        let b = ir.opaque(b);
        ir.opaque(if divide { ir.udiv(a, b) } else { ir.urem(a, b) })
    }

    /// Truncating division: on absolute values, then with the sign; instruction sets before v4 have no
    /// signed division.
    fn signed_division(&self, op: BinOp, a: Val<'c>, b: Val<'c>, known: Option<i64>) -> Val<'c> {
        let ir = self.ir;
        let zero = ir.int(0);
        let absolute = |v: Val<'c>| ir.select(ir.icmp(Pred::SLT, v, zero), ir.neg(v), v);
        let known_abs = known.map(|n| n.wrapping_abs());
        let b_abs = known_abs.map_or_else(|| absolute(b), |n| ir.int(n));
        let magnitude = self.unsigned_division(op, absolute(a), b_abs, known_abs);
        // The quotient is negative if the signs differ, the remainder if the dividend is.
        let sign = match (op, known) {
            (BinOp::Rem, _) => a,
            (_, Some(n)) if n >= 0 => a,
            _ => ir.xor(a, b),
        };
        ir.select(ir.icmp(Pred::SLT, sign, zero), ir.neg(magnitude), magnitude)
    }

    fn convert(&mut self, x: &Expr, to: &Type) -> Result<Val<'c>> {
        if !x.ty.is_scalar() {
            return self.unexpected("this conversion");
        }
        if *to == Type::Bool {
            let bit = self.truth(x)?;
            return Ok(self.ir.bit(bit));
        }
        let same = to.size() == x.ty.size() && to.is_signed() == x.ty.is_signed();
        let grows = to.size() > x.ty.size() && (!x.ty.is_signed() || to.is_signed());
        if to.size() >= 8 || same || grows {
            return self.scalar(x);
        }
        let v = self.number(x)?;
        Ok(self.normal(v, to))
    }

    /// A pointer plus a constant, as a number.
    pub fn address(&mut self, ptr: &Expr, offset: i64) -> Result<Val<'c>> {
        let p = self.scalar(ptr)?;
        Ok(if offset == 0 { p } else { self.ir.add(p, self.ir.int(offset)) })
    }

    /// Reads a scalar from another address space.
    pub fn load(&mut self, address: Val<'c>, space: Space, bits: Option<Bits>, ty: &Type) -> Result<Val<'c>> {
        let mark = self.mark();
        let word = self.word();
        let size = bits.map_or(ty.size(), |b| u32::from(b.bytes)).clamp(1, 8);
        if !size.is_power_of_two() {
            self.zero(word, 8);
        }
        let result = self.fetch(word.ptr, self.ir.int(i64::from(size)), address, space);
        self.tell_read(false, space, result);
        let v = self.load_part(word, bits, ty);
        self.release(mark);
        Ok(v)
    }

    /// A member of a struct that the verifier knows: loaded by one instruction, in the same way as the context. The
    /// kernel makes zero of what cannot be read.
    fn known(&mut self, ptr: &Expr, offset: i64, known: Known, ty: &Type) -> Result<Val<'c>> {
        let p = self.scalar(ptr)?;
        let size = ty.size().max(1);
        let load = |s: &Self| s.ir.load_context(s.ir.int_to_ptr(p), offset as u32, size, ty.is_signed());
        let argument = matches!(ptr.kind, ExprKind::Ctx { .. });
        if argument && known == Known::Member {
            return Ok(load(self));
        }
        let done = self.ir.block("done");
        let mut values = Vec::new();
        if !argument {
            // Of some members the verifier knows that they may be null, and wants that tested.
            let some = self.ir.block("some");
            values.push((self.ir.int(0), self.ir.here()));
            self.ir.cond_br(self.ir.icmp(Pred::EQ, p, self.ir.int(0)), done, some);
            self.ir.at(some);
        }
        if known == Known::MemberOrUser {
            // The kernel's addresses are the upper half. Of others the instruction makes zero.
            let (kernel, user) = (self.ir.block("kernel"), self.ir.block("user"));
            self.ir.cond_br(self.ir.icmp(Pred::SLT, p, self.ir.int(0)), kernel, user);
            self.ir.at(user);
            let address = self.ir.add(p, self.ir.int(offset));
            let v = self.sometimes(|s| s.load(address, Space::User, None, ty))?;
            values.push((v, self.ir.here()));
            self.ir.br(done);
            self.ir.at(kernel);
        }
        let v = load(self);
        values.push((v, self.ir.here()));
        self.ir.br(done);
        self.ir.at(done);
        Ok(self.ir.phi(&values))
    }

    /// A scalar or bit-field at `mem`; for sizes that are no power of two the whole word is there.
    fn load_part(&self, mem: Mem<'c>, bits: Option<Bits>, ty: &Type) -> Val<'c> {
        match bits {
            None => self.load_scalar(mem, ty),
            Some(bits) => {
                let size = u32::from(bits.bytes).clamp(1, 8).next_power_of_two();
                self.bit_field(self.ir.load(mem.ptr, size, mem.align, false), bits, ty.is_signed())
            }
        }
    }

    /// A scalar part of an aggregate.
    fn part(&mut self, base: &Expr, offset: u32, bits: Option<Bits>, ty: &Type) -> Result<Val<'c>> {
        // Of memory elsewhere only the part is read.
        if let ExprKind::Load { ptr, offset: start, space, bits: None, .. } = &base.kind {
            let address = self.address(ptr, start + i64::from(offset))?;
            return self.load(address, *space, bits, ty);
        }
        if let ExprKind::Part { base: inner, offset: first, bits: None } = &base.kind {
            return self.part(inner, first + offset, bits, ty);
        }
        if let ExprKind::MapGet { map, key } = &base.kind {
            let (map, key) = (*map, key.as_deref());
            return self.with_entry(map, key, |s, entry| {
                let mem = s.at(entry, offset);
                s.load_part(mem, bits, ty)
            });
        }
        let mark = self.mark();
        let mem = self.place(base)?;
        let v = self.load_part(self.at(mem, offset), bits, ty);
        self.release(mark);
        Ok(v)
    }

    /// A scalar element of an array.
    fn element(&mut self, base: &Expr, index: &Expr, len: u32, ty: &Type) -> Result<Val<'c>> {
        let mark = self.mark();
        let word = self.word();
        self.element_into(base, index, len, ty, word)?;
        let v = self.load_scalar(word, ty);
        self.release(mark);
        Ok(v)
    }

    /// An element of an array into memory; zero when out of bounds.
    pub fn element_into(&mut self, base: &Expr, index: &Expr, len: u32, ty: &Type, to: Mem<'c>) -> Result<()> {
        let (start, space) = match &base.kind {
            ExprKind::Load { ptr, offset, space, .. } => {
                let p = self.number(ptr)?;
                (self.ir.add(p, self.ir.int(*offset)), *space)
            }
            _ => {
                let mem = self.place(base)?;
                // Opaque, or LLVM, which knows how the memory is aligned, adds the index with an `or`: no
                // verifier allows that on a pointer.
                (self.ir.opaque(self.ir.ptr_to_int(mem.ptr)), Space::Kernel)
            }
        };
        let index = self.number(index)?;
        let (inside, outside, done) = (self.ir.block("element"), self.ir.block("outside"), self.ir.block("done"));
        self.ir.cond_br(self.ir.icmp(Pred::ULT, index, self.ir.int(i64::from(len))), inside, outside);
        self.ir.at(outside);
        self.zero(to, ty.size());
        self.ir.br(done);
        self.ir.at(inside);
        let index = self.ir.bound(index, len.saturating_sub(1));
        let from = self.ir.add(start, self.ir.mul(index, self.ir.int(i64::from(ty.size()))));
        let result = self.fetch(to.ptr, self.ir.int(i64::from(ty.size())), from, space);
        self.tell_read(false, space, result);
        self.ir.br(done);
        self.ir.at(done);
        Ok(())
    }

    fn ternary(&mut self, cond: &Expr, then: &Expr, otherwise: &Expr) -> Result<Val<'c>> {
        let (yes, no, done) = (self.ir.block("then"), self.ir.block("else"), self.ir.block("done"));
        self.branch(cond, yes, no)?;
        self.ir.at(yes);
        let a = self.sometimes(|s| s.scalar(then))?;
        let from_a = self.ir.here();
        self.ir.br(done);
        self.ir.at(no);
        let b = self.sometimes(|s| s.scalar(otherwise))?;
        let from_b = self.ir.here();
        self.ir.br(done);
        self.ir.at(done);
        Ok(self.ir.phi(&[(a, from_a), (b, from_b)]))
    }

    /// A condition as one bit.
    pub fn truth(&mut self, e: &Expr) -> Result<Val<'c>> {
        self.locate(e.span);
        match &e.kind {
            ExprKind::Compare { op, signed, left, right } => {
                let (a, b) = (self.scalar(left)?, self.scalar(right)?);
                let pred = match (op, signed) {
                    (BinOp::Eq, _) => Pred::EQ,
                    (BinOp::Ne, _) => Pred::NE,
                    (BinOp::Lt, true) => Pred::SLT,
                    (BinOp::Lt, false) => Pred::ULT,
                    (BinOp::Le, true) => Pred::SLE,
                    (BinOp::Le, false) => Pred::ULE,
                    (BinOp::Gt, true) => Pred::SGT,
                    (BinOp::Gt, false) => Pred::UGT,
                    (BinOp::Ge, true) => Pred::SGE,
                    (BinOp::Ge, false) => Pred::UGE,
                    _ => return self.unexpected("this comparison"),
                };
                Ok(self.ir.icmp(pred, a, b))
            }
            ExprKind::Not(x) => {
                let bit = self.truth(x)?;
                Ok(self.ir.not(bit))
            }
            ExprKind::Convert(x) if e.ty == Type::Bool && x.ty.is_scalar() => self.truth(x),
            ExprKind::Equal { negate, len, left, right } => self.equal(*negate, *len, left, right),
            ExprKind::And(..) | ExprKind::Or(..) => {
                let (yes, no, done) = (self.ir.block("true"), self.ir.block("false"), self.ir.block("done"));
                self.branch(e, yes, no)?;
                self.ir.at(yes);
                self.ir.br(done);
                self.ir.at(no);
                self.ir.br(done);
                self.ir.at(done);
                let (one, zero) = (self.ir.not(self.ir.no()), self.ir.no());
                Ok(self.ir.phi(&[(one, yes), (zero, no)]))
            }
            _ => {
                let v = self.scalar(e)?;
                Ok(self.ir.icmp(Pred::NE, v, self.ir.int(0)))
            }
        }
    }

    /// Goes to `yes` or `no` by a condition.
    pub fn branch(&mut self, e: &Expr, yes: Block<'c>, no: Block<'c>) -> Result<()> {
        match &e.kind {
            ExprKind::Not(x) if x.ty == Type::Bool => self.branch(x, no, yes),
            ExprKind::Convert(x) if x.ty == Type::Bool => self.branch(x, yes, no),
            ExprKind::And(left, right) => {
                let more = self.ir.block("and");
                self.branch(left, more, no)?;
                self.ir.at(more);
                self.sometimes(|s| s.branch(right, yes, no))
            }
            ExprKind::Or(left, right) => {
                let more = self.ir.block("or");
                self.branch(left, yes, more)?;
                self.ir.at(more);
                self.sometimes(|s| s.branch(right, yes, no))
            }
            ExprKind::Int(v) => {
                self.ir.br(if *v != 0 { yes } else { no });
                Ok(())
            }
            _ => {
                let bit = self.truth(e)?;
                self.ir.cond_br(bit, yes, no);
                Ok(())
            }
        }
    }
}
