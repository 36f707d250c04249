//! Events: records for the runtime in the ring buffer, laid out as `EventLayout` says.
//!
//! A record of fixed size is reserved and written in place. One with long strings, buffers or stacks is
//! built in scratch memory, so that only the bytes used are sent.

use crate::analysis::has_effect;
use crate::llvm::ir::{AtomicOp, Effect, Pred, Ptr, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::bundle::{Action, EventDef, RINGBUF_SYMBOL, STACKS_SYMBOL};
use rtrace_lang::diag::Result;
use rtrace_lang::typed::{EventId, Expr, ExprKind};
use rtrace_lang::types::{Space, Type};
use rtrace_lang::uapi::{Entry, helper};

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    pub fn event(&mut self, id: EventId, args: &[Expr]) -> Result<()> {
        let Some(def) = self.unit.typed.events.get(id as usize) else { return self.unexpected("this event") };
        if let (Action::Exit, Some(exited)) = (&def.action, self.unit.typed.globals.exited) {
            self.ir.store(self.unit.global(exited), self.ir.int(1), 8, 8);
        }
        if def.layout.fields.len() != args.len() {
            return self.unexpected("this event");
        }
        if self.is_pinned() {
            return self.print_to_file(def, args);
        }
        if def.layout.is_variable() { self.variable_event(id, def, args) } else { self.fixed_event(id, def, args) }
    }

    fn fixed_event(&mut self, id: EventId, def: &EventDef, args: &[Expr]) -> Result<()> {
        let Some(ringbuf) = self.unit.object_named(RINGBUF_SYMBOL) else { return self.unexpected("this event") };
        // What changes something must happen even if there is no room for the event; a status or an address is kept then.
        let mut early = vec![None; args.len()];
        if matches!(def.action, Action::Exit | Action::Unwatch) || args.iter().any(has_effect) {
            for (value, arg) in early.iter_mut().zip(args).filter(|(_, a)| a.ty.is_scalar()) {
                *value = Some(self.scalar(arg)?);
            }
        }
        let span = self.span;
        let ir = self.ir;
        let (full, room, done) = (ir.block("full"), ir.block("room"), ir.block("sent"));
        if let Some(kept) = self.kept_flag(def) {
            // Not before others that wait: `print(@m); clear(@m)` has an order.
            let free = ir.block("free");
            ir.cond_br(ir.icmp(Pred::EQ, ir.load(kept, 8, 8, false), ir.int(0)), free, full);
            ir.at(free);
        }
        let size = ir.int(i64::from(def.layout.fixed_size));
        let record = ir.helper_ptr(helper::RINGBUF_RESERVE, &[ringbuf.into(), size.into(), ir.int(0).into()]);
        ir.cond_br(ir.is_null(record), full, room);
        ir.at(full);
        self.no_room(def, early.first().copied().flatten());
        ir.br(done);
        ir.at(room);
        self.sometimes(|s| -> Result<()> {
            s.open.push(record);
            let mem = Mem { ptr: record, align: 8 };
            ir.store(record, ir.int(i64::from(id)), 4, 8);
            for ((field, arg), value) in def.layout.fields.iter().zip(args).zip(early) {
                let place = s.at(mem, field.offset);
                match value {
                    Some(v) => s.store_scalar(place, v, &arg.ty),
                    None => s.unpadded_into(arg, place)?,
                }
            }
            s.open.pop();
            s.locate(span);
            ir.helper(helper::RINGBUF_SUBMIT, &[record.into(), ir.int(0).into()], Effect::Any);
            Ok(())
        })?;
        ir.br(done);
        ir.at(done);
        Ok(())
    }

    fn variable_event(&mut self, id: EventId, def: &EventDef, args: &[Expr]) -> Result<()> {
        let Some(ringbuf) = self.unit.object_named(RINGBUF_SYMBOL) else { return self.unexpected("this event") };
        let span = self.span;
        let ir = self.ir;
        let offset = self.reserve_scratch(def.layout.max_size)?;
        let record = self.scratch_at(offset)?;
        ir.store(record.ptr, ir.int(i64::from(id)), 4, 8);
        let mut end = ir.int(i64::from(def.layout.fixed_size));
        for (field, arg) in def.layout.fields.iter().zip(args) {
            let place = self.at(record, field.offset);
            if field.var_max == 0 {
                self.unpadded_into(arg, place)?;
                continue;
            }
            let to = Mem { ptr: ir.index(record.ptr, end), align: 1 };
            let mark = self.mark();
            let (len, extra) = self.variable(arg, to, field.var_max)?;
            self.release(mark);
            ir.store(place.ptr, len, 4, 4);
            ir.store(self.at(place, 4).ptr, extra, 4, 4);
            end = ir.add(end, len);
        }
        self.locate(span);
        let args = [ringbuf.into(), record.ptr.into(), end.into(), ir.int(0).into()];
        let result = ir.helper(helper::RINGBUF_OUTPUT, &args, Effect::Any);
        let (full, done) = (ir.block("full"), ir.block("sent"));
        ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(0)), done, full);
        ir.at(full);
        self.no_room(def, None);
        ir.br(done);
        ir.at(done);
        Ok(())
    }

    /// Says that a helper failed, if it did, and if that is to be said (`-k`): `result` is what it returned.
    pub fn tell(&self, helper: Entry, result: Val<'c>, failed: impl FnOnce() -> Val<'c>) {
        let Some((id, def)) = self.unit.failure(helper, self.span) else { return };
        let (Some(ringbuf), Some(field)) = (self.unit.object_named(RINGBUF_SYMBOL), def.layout.fields.first()) else {
            return;
        };
        let ir = self.ir;
        let (bad, room, full, done) = (ir.block("failed"), ir.block("room"), ir.block("full"), ir.block("told"));
        ir.cond_br(failed(), bad, done);
        ir.at(bad);
        let size = ir.int(i64::from(def.layout.fixed_size));
        let record = ir.helper_ptr(helper::RINGBUF_RESERVE, &[ringbuf.into(), size.into(), ir.int(0).into()]);
        ir.cond_br(ir.is_null(record), full, room);
        ir.at(full);
        self.no_room(&def, None);
        ir.br(done);
        ir.at(room);
        ir.store(record, ir.int(i64::from(id)), 4, 8);
        ir.store(ir.offset(record, i64::from(field.offset)), result, 8, 8);
        ir.helper(helper::RINGBUF_SUBMIT, &[record.into(), ir.int(0).into()], Effect::Any);
        ir.br(done);
        ir.at(done);
    }

    /// The same of a read, after the fact.
    pub fn tell_read(&self, text: bool, space: Space, result: Val<'c>) {
        let helper = match (space, text) {
            (Space::Kernel, false) => helper::PROBE_READ_KERNEL,
            (Space::User, false) => helper::PROBE_READ_USER,
            (Space::Kernel, true) => helper::PROBE_READ_KERNEL_STR,
            (Space::User, true) => helper::PROBE_READ_USER_STR,
        };
        self.tell(helper, result, || self.ir.icmp(Pred::SLT, result, self.ir.int(0)));
    }

    /// The same of a map that has no such entry.
    pub fn tell_missing(&self, entry: Ptr<'c>) {
        self.tell(helper::MAP_LOOKUP_ELEM, self.ir.int(0), || self.ir.is_null(entry));
    }

    /// The flag that actions wait outside of the ring buffer, for actions that may.
    fn kept_flag(&self, def: &EventDef) -> Option<Ptr<'c>> {
        let kept = self.unit.typed.globals.kept.filter(|_| def.action.is_kept())?;
        Some(self.unit.global(kept))
    }

    /// Counts an event that found no room, or keeps it; `value` is the status of `exit`, the address of `unwatch`.
    fn no_room(&self, def: &EventDef, value: Option<Val<'c>>) {
        let ir = self.ir;
        let lost = self.unit.global(def.lost);
        match (&def.action, value) {
            (Action::Exit, Some(status)) => ir.store(lost, ir.or(ir.and(status, ir.int(0xff)), ir.int(0x100)), 8, 8),
            (Action::Unwatch, Some(address)) => ir.store(lost, address, 8, 8),
            _ => ir.atomic(AtomicOp::Add, lost, ir.int(1), 8),
        }
        if let Some(kept) = self.kept_flag(def) {
            ir.store(kept, ir.int(1), 8, 8);
        }
    }

    /// A field in place. Strings end at their NUL there: nobody compares what follows it.
    fn unpadded_into(&mut self, e: &Expr, to: Mem<'c>) -> Result<()> {
        match (&e.kind, &e.ty) {
            (ExprKind::Call { .. }, ty) if !ty.is_scalar() => {
                self.pad = false;
                let result = self.eval_into(e, to);
                self.pad = true;
                result
            }
            (ExprKind::Load { ptr, offset, space, .. }, Type::String { cap }) => {
                self.locate(e.span);
                let address = self.address(ptr, *offset)?;
                self.span = e.span;
                let result = self.fetch_str(to.ptr, self.ir.int(i64::from(*cap)), address, *space);
                self.tell_read(true, *space, result);
                Ok(())
            }
            _ => self.eval_into(e, to),
        }
    }

    /// Writes a value's bytes to the variable part; returns their number and the field's extra word.
    pub fn variable(&mut self, e: &Expr, to: Mem<'c>, max: u32) -> Result<(Val<'c>, Val<'c>)> {
        self.locate(e.span);
        let zero = self.ir.int(0);
        if let ExprKind::Call { intrinsic, args } = &e.kind
            && let Some(result) = self.call_variable(e, *intrinsic, args, to, max)
        {
            return result;
        }
        match (&e.kind, &e.ty) {
            (ExprKind::Bytes(bytes), Type::String { .. }) => {
                let text = bytes.split(|b| *b == 0).next().unwrap_or_default();
                let text = text.get(..text.len().min(max as usize)).unwrap_or_default();
                self.store_bytes(to, text, text.len() as u32);
                Ok((self.ir.int(text.len() as i64), zero))
            }
            (ExprKind::Load { ptr, offset, space, .. }, Type::String { cap }) => {
                let address = self.address(ptr, *offset)?;
                self.span = e.span;
                let result = self.fetch_str(to.ptr, self.ir.int(i64::from(*cap)), address, *space);
                self.tell_read(true, *space, result);
                Ok((self.str_len(result, *cap), zero))
            }
            (_, Type::String { cap }) => {
                let from = self.place(e)?;
                let from = self.ir.ptr_to_int(from.ptr);
                let result = self.read_str(to.ptr, self.ir.int(i64::from(*cap)), from, Space::Kernel);
                Ok((self.str_len(result, *cap), zero))
            }
            (_, Type::Buffer { cap } | Type::List { cap, .. }) => {
                let from = self.place(e)?;
                let len = self.ir.bound(self.ir.load(from.ptr, 4, from.align, false), *cap);
                let data = self.ir.ptr_to_int(self.at(from, 4).ptr);
                self.read_sized(to.ptr, len, data, Space::Kernel);
                Ok((len, zero))
            }
            (_, Type::Stack(stack)) => {
                let value = self.place(e)?;
                let max = stack.bytes();
                let process = self.ir.load(self.at(value, 8).ptr, 4, 4, false);
                Ok((self.stored_stack(value, to, max)?, process))
            }
            _ => self.unexpected("this argument"),
        }
    }

    /// Copies the frames of a stack that was stored under the id at `value`.
    fn stored_stack(&mut self, value: Mem<'c>, to: Mem<'c>, max: u32) -> Result<Val<'c>> {
        let Some(stacks) = self.unit.object_named(STACKS_SYMBOL) else { return self.unexpected("this stack") };
        let ir = self.ir;
        let key = self.word();
        let id = ir.load(value.ptr, 8, value.align, false);
        ir.store(key.ptr, id, 8, 8);
        let lookup = || ir.helper_ptr(helper::MAP_LOOKUP_ELEM, &[stacks.into(), key.ptr.into()]);
        let (none, some) = (ir.block("no_stack"), ir.block("some_stack"));
        let (found, gone, done) = (ir.block("stack"), ir.block("gone"), ir.block("done"));
        ir.cond_br(ir.icmp(Pred::EQ, id, ir.int(0)), none, some);
        ir.at(none);
        ir.br(done);
        ir.at(some);
        let p = lookup();
        ir.cond_br(ir.is_null(p), gone, found);
        ir.at(found);
        let len = ir.bound(ir.load(p, 4, 4, false), max);
        self.read_sized(to.ptr, len, ir.ptr_to_int(ir.offset(p, 8)), Space::Kernel);
        // The runtime may have freed the stack meanwhile, and another be in its place.
        let same = ir.icmp(Pred::EQ, ir.ptr_to_int(lookup()), ir.ptr_to_int(p));
        let from = ir.here();
        ir.cond_br(same, done, gone);
        ir.at(gone);
        ir.atomic(AtomicOp::Add, self.unit.global(self.unit.typed.globals.lost_stacks), ir.int(1), 8);
        ir.br(done);
        ir.at(done);
        Ok(ir.phi(&[(ir.int(0), none), (len, from), (ir.int(0), gone)]))
    }
}
