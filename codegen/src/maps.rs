//! Reading and writing the script's maps, wherever they are stored: words of the shared globals or BPF
//! maps. Aggregations are `aggregation.rs`'s; the layout of values is `types.rs`'s in `lang`.

use crate::flags;
use crate::llvm::ir::{AtomicOp, Effect, Pred, Ptr, Val};
use crate::lower::Lower;
use crate::pool::Mem;
use rtrace_lang::bundle::{MapDef, Storage};
use rtrace_lang::diag::Result;
use rtrace_lang::grammar::ast::BinOp;
use rtrace_lang::typed::{Expr, MapId};
use rtrace_lang::types::Type;
use rtrace_lang::uapi::helper;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    pub fn map_def(&self, map: MapId) -> Result<&'u MapDef> {
        match self.unit.typed.maps.get(map as usize) {
            Some(def) => Ok(def),
            None => self.unexpected("this map"),
        }
    }

    /// The BPF map behind a script's map.
    pub fn map_object(&self, object: u32) -> Result<Ptr<'c>> {
        match self.unit.object(object) {
            Some(p) => Ok(p),
            None => self.unexpected("this map"),
        }
    }

    /// Memory that holds a map's key, padding and all.
    pub fn key(&mut self, key: Option<&Expr>) -> Result<Mem<'c>> {
        match key {
            Some(key) => {
                // A variable that lies in memory is a key where it is.
                if key.ty.is_scalar() {
                    let mem = self.temp(key.ty.size())?;
                    self.eval_into(key, mem)?;
                    Ok(mem)
                } else {
                    self.place(key)
                }
            }
            None => {
                let mem = self.word();
                self.ir.store(mem.ptr, self.ir.int(0), 4, 4);
                Ok(mem)
            }
        }
    }

    pub fn lookup(&self, object: u32, key: Mem<'c>) -> Result<Ptr<'c>> {
        let map = self.map_object(object)?;
        Ok(self.ir.helper_ptr(helper::MAP_LOOKUP_ELEM, &[map.into(), key.ptr.into()]))
    }

    /// The address of the value of an entry; null if there is none.
    pub fn entry_pointer(&mut self, map: MapId, key: Option<&Expr>) -> Result<Ptr<'c>> {
        match self.map_def(map)?.storage {
            Storage::Global { offset, .. } => Ok(self.unit.global(offset)),
            Storage::Map { object, .. } => {
                let mark = self.mark();
                let key = self.key(key)?;
                let p = self.lookup(object, key)?;
                self.release(mark);
                Ok(p)
            }
        }
    }

    /// Calls `f` with the entry's memory; the value is zero where there is no entry.
    pub fn with_entry(
        &mut self,
        map: MapId,
        key: Option<&Expr>,
        f: impl FnOnce(&mut Self, Mem<'c>) -> Val<'c>,
    ) -> Result<Val<'c>> {
        match self.map_def(map)?.storage {
            Storage::Global { offset, .. } => {
                let mem = Mem { ptr: self.unit.global(offset), align: 8 };
                Ok(f(self, mem))
            }
            Storage::Map { object, .. } => {
                let span = self.span;
                let mark = self.mark();
                let key = self.key(key)?;
                let p = self.lookup(object, key)?;
                self.release(mark);
                self.span = span;
                self.tell_missing(p);
                let (found, done) = (self.ir.block("found"), self.ir.block("done"));
                let before = self.ir.here();
                self.ir.cond_br(self.ir.is_null(p), done, found);
                self.ir.at(found);
                let v = f(self, Mem { ptr: p, align: 8 });
                let after = self.ir.here();
                self.ir.br(done);
                self.ir.at(done);
                let none = v.get_type().const_zero();
                Ok(self.ir.phi(&[(none, before), (v, after)]))
            }
        }
    }

    pub fn map_get(&mut self, map: MapId, key: Option<&Expr>, ty: &Type) -> Result<Val<'c>> {
        self.with_entry(map, key, |s, mem| s.load_scalar(mem, ty))
    }

    /// Copies `size` bytes at `offset` of an entry's value, or zeroes.
    pub fn entry_into(&mut self, map: MapId, key: Option<&Expr>, offset: u32, to: Mem<'c>, size: u32) -> Result<()> {
        match self.map_def(map)?.storage {
            Storage::Global { offset: start, .. } => {
                let from = Mem { ptr: self.unit.global(start + offset), align: 8 };
                self.copy(to, from, size);
                Ok(())
            }
            Storage::Map { object, .. } => {
                let span = self.span;
                let mark = self.mark();
                let key = self.key(key)?;
                let p = self.lookup(object, key)?;
                self.release(mark);
                self.span = span;
                self.tell_missing(p);
                let (found, missing, done) = (self.ir.block("found"), self.ir.block("missing"), self.ir.block("done"));
                self.ir.cond_br(self.ir.is_null(p), missing, found);
                self.ir.at(missing);
                self.zero(to, size);
                self.ir.br(done);
                self.ir.at(found);
                let from = self.at(Mem { ptr: p, align: 8 }, offset);
                self.copy(to, from, size);
                self.ir.br(done);
                self.ir.at(done);
                Ok(())
            }
        }
    }

    pub fn map_has(&mut self, map: MapId, key: Option<&Expr>) -> Result<Val<'c>> {
        let def = self.map_def(map)?;
        let (key, object) = match (key, &def.storage, def.set_flag) {
            (Some(key), Storage::Map { object, .. }, _) => (key, *object),
            (None, _, Some(flag)) => {
                let written = self.ir.load(self.unit.global(flag), 8, 8, false);
                return Ok(self.ir.bit(self.ir.icmp(Pred::NE, written, self.ir.int(0))));
            }
            _ => return self.unexpected("this map"),
        };
        let mark = self.mark();
        let key = self.key(Some(key))?;
        let p = self.lookup(object, key)?;
        self.release(mark);
        let bit = self.ir.is_null(p);
        Ok(self.ir.bit(self.ir.not(bit)))
    }

    /// Counts an update that failed.
    pub fn count_lost(&self, def: &MapDef) {
        self.ir.atomic(AtomicOp::Add, self.unit.global(def.lost), self.ir.int(1), 8);
    }

    /// Marks a keyless map as written. It is read first: a word that every CPU writes all the time
    /// costs more than the update itself.
    pub fn mark_written(&self, def: &MapDef) {
        let Some(flag) = def.set_flag else { return };
        let (set, done) = (self.ir.block("first"), self.ir.block("written"));
        let p = self.unit.global(flag);
        let old = self.ir.load(p, 8, 8, false);
        self.ir.cond_br(self.ir.icmp(Pred::EQ, old, self.ir.int(0)), set, done);
        self.ir.at(set);
        self.ir.store(p, self.ir.int(1), 8, 8);
        self.ir.br(done);
        self.ir.at(done);
    }

    /// `bpf_map_update_elem`; counts failures.
    fn put(&self, def: &MapDef, object: u32, key: Mem<'c>, value: Mem<'c>) -> Result<()> {
        let args =
            [self.map_object(object)?.into(), key.ptr.into(), value.ptr.into(), self.ir.int(flags::BPF_ANY).into()];
        let result = self.ir.helper(helper::MAP_UPDATE_ELEM, &args, Effect::Any);
        let (lost, done) = (self.ir.block("lost"), self.ir.block("done"));
        self.ir.cond_br(self.ir.icmp(Pred::EQ, result, self.ir.int(0)), done, lost);
        self.ir.at(lost);
        self.tell(helper::MAP_UPDATE_ELEM, result, || self.ir.icmp(Pred::NE, result, self.ir.int(0)));
        self.count_lost(def);
        self.ir.br(done);
        self.ir.at(done);
        Ok(())
    }

    pub fn set_map(&mut self, map: MapId, key: Option<&Expr>, value: &Expr) -> Result<()> {
        let def = self.map_def(map)?;
        let span = self.span;
        match def.storage {
            Storage::Global { offset, .. } => {
                let to = Mem { ptr: self.unit.global(offset), align: 8 };
                if crate::analysis::reads_map(value, map) && !value.ty.is_scalar() {
                    let from = self.place(value)?;
                    self.copy(to, from, value.ty.size());
                } else {
                    self.eval_into(value, to)?;
                }
                self.mark_written(def);
                Ok(())
            }
            Storage::Map { object, .. } => {
                let key = self.key(key)?;
                let value = if value.ty.is_scalar() {
                    let mem = self.word();
                    self.eval_into(value, mem)?;
                    mem
                } else {
                    self.place(value)?
                };
                // What may fail is all of it.
                self.span = span;
                self.put(def, object, key, value)?;
                self.mark_written(def);
                Ok(())
            }
        }
    }

    /// `@m op= value`: in place, atomically where that is one instruction.
    pub fn update_map(&mut self, map: MapId, key: Option<&Expr>, op: BinOp, value: &Expr) -> Result<()> {
        let v = self.number(value)?;
        let known = value.constant();
        // A division has the sign that both sides agreed on, all else the map's.
        let divides = matches!(op, BinOp::Div | BinOp::Rem);
        self.modify(map, key, |s, mem, ty| {
            let ty = if divides { &value.ty } else { ty };
            let Some(mem) = mem else { return s.operate(op, s.ir.int(0), v, ty.is_signed(), known) };
            s.change(op, v, known, mem, ty, false)
        })?;
        Ok(())
    }

    /// `++` and `--`.
    pub fn step_map(&mut self, map: MapId, key: Option<&Expr>, delta: i64, before: bool) -> Result<Val<'c>> {
        let old = self.modify(map, key, |s, mem, ty| {
            let Some(mem) = mem else { return s.ir.int(delta) };
            s.change(BinOp::Add, s.ir.int(delta), Some(delta), mem, ty, true)
        })?;
        let ty = &self.map_def(map)?.value;
        Ok(if before { old } else { self.normal(self.ir.add(old, self.ir.int(delta)), ty) })
    }

    /// Changes an integer in memory; returns the old value, if `want`ed exactly.
    fn change(&self, op: BinOp, v: Val<'c>, known: Option<i64>, mem: Mem<'c>, ty: &Type, want: bool) -> Val<'c> {
        let size = ty.size();
        let atomic = match op {
            BinOp::Add => Some((AtomicOp::Add, v)),
            BinOp::Sub => Some((AtomicOp::Add, self.ir.neg(v))),
            BinOp::BitAnd if self.unit.options.atomics => Some((AtomicOp::And, v)),
            BinOp::BitOr if self.unit.options.atomics => Some((AtomicOp::Or, v)),
            BinOp::BitXor if self.unit.options.atomics => Some((AtomicOp::Xor, v)),
            _ => None,
        };
        match atomic {
            Some((op, v)) if size >= 4 => {
                if !want || !self.unit.options.atomics {
                    // Without fetching atomics the value that is seen may be another CPU's; the count is right.
                    let old = self.load_scalar(mem, ty);
                    self.ir.atomic(op, mem.ptr, v, size);
                    return old;
                }
                let old = self.ir.atomic_fetch(op, mem.ptr, v, size);
                self.normal(old, ty)
            }
            _ => {
                let old = self.load_scalar(mem, ty);
                let new = self.operate(op, old, v, ty.is_signed(), known);
                self.store_scalar(mem, new, ty);
                old
            }
        }
    }

    /// Changes an entry with `f`, given its memory; with none, `f` says what a new entry holds.
    /// Returns what `f` returned for the memory, or zero for a new entry.
    fn modify(
        &mut self,
        map: MapId,
        key: Option<&Expr>,
        f: impl Fn(&mut Self, Option<Mem<'c>>, &Type) -> Val<'c>,
    ) -> Result<Val<'c>> {
        let def = self.map_def(map)?;
        let object = match def.storage {
            Storage::Global { offset, .. } => {
                let mem = Mem { ptr: self.unit.global(offset), align: 8 };
                let old = f(self, Some(mem), &def.value);
                self.mark_written(def);
                return Ok(old);
            }
            Storage::Map { object, .. } => object,
        };
        let (mark, span) = (self.mark(), self.span);
        let key = self.key(key)?;
        self.span = span;
        let ir = self.ir;
        let (found, missing, again, lost, done) =
            (ir.block("found"), ir.block("missing"), ir.block("again"), ir.block("lost"), ir.block("done"));
        let first = self.lookup(object, key)?;
        let from_first = ir.here();
        ir.cond_br(ir.is_null(first), missing, found);

        ir.at(missing);
        let value = self.word();
        let fresh = f(self, None, &def.value);
        self.store_scalar(value, fresh, &def.value);
        let flags = ir.int(flags::BPF_NOEXIST);
        let args = [self.map_object(object)?.into(), key.ptr.into(), value.ptr.into(), flags.into()];
        let result = ir.helper(helper::MAP_UPDATE_ELEM, &args, Effect::Any);
        let from_missing = ir.here();
        ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(0)), done, again);

        // Another CPU was quicker, or the map is full.
        ir.at(again);
        let second = self.lookup(object, key)?;
        let from_again = ir.here();
        ir.cond_br(ir.is_null(second), lost, found);

        ir.at(lost);
        self.tell(helper::MAP_UPDATE_ELEM, result, || ir.icmp(Pred::NE, result, ir.int(0)));
        self.count_lost(def);
        let from_lost = ir.here();
        ir.br(done);

        ir.at(found);
        let p = ir.phi_ptr(&[(first, from_first), (second, from_again)]);
        let old = f(self, Some(Mem { ptr: p, align: 8 }), &def.value);
        let from_found = ir.here();
        ir.br(done);

        ir.at(done);
        let zero = ir.int(0);
        let old = ir.phi(&[(zero, from_missing), (zero, from_lost), (old, from_found)]);
        self.mark_written(def);
        self.release(mark);
        Ok(old)
    }

    pub fn delete(&mut self, map: MapId, key: Option<&Expr>) -> Result<()> {
        let def = self.map_def(map)?;
        match def.storage {
            Storage::Global { offset, stripes, stride } => {
                for stripe in 0..stripes.max(1) {
                    let mem = Mem { ptr: self.unit.global(offset + stripe * stride), align: 8 };
                    self.zero(mem, def.value.size());
                }
            }
            Storage::Map { object, .. } if def.key.is_none() => {
                // Elements of arrays stay.
                let key = self.key(None)?;
                let p = self.lookup(object, key)?;
                let (found, done) = (self.ir.block("found"), self.ir.block("done"));
                self.ir.cond_br(self.ir.is_null(p), done, found);
                self.ir.at(found);
                self.zero(Mem { ptr: p, align: 8 }, def.value.size());
                self.ir.br(done);
                self.ir.at(done);
            }
            Storage::Map { object, .. } => {
                let key = self.key(key)?;
                let map = self.map_object(object)?;
                self.ir.helper(helper::MAP_DELETE_ELEM, &[map.into(), key.ptr.into()], Effect::Any);
            }
        }
        if let Some(flag) = def.set_flag {
            self.ir.store(self.unit.global(flag), self.ir.int(0), 8, 8);
        }
        Ok(())
    }
}
