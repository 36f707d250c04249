//! Values that live in memory: evaluation into a given place, finding the place of a value that
//! already lies somewhere, and comparison.
//!
//! Writes cover the whole inline representation of the type, including padding, because
//! keys are compared by their bytes.

use crate::llvm::ir::{Pred, Val};
use crate::lower::{LocalSlot, Lower};
use crate::pool::Mem;
use rtrace_lang::diag::Result;
use rtrace_lang::typed::{Expr, ExprKind, LocalId};
use rtrace_lang::types::{Space, Type};

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// Evaluates `e` into `to`; scalars too.
    pub fn eval_into(&mut self, e: &Expr, to: Mem<'c>) -> Result<()> {
        self.locate(e.span);
        if e.ty.is_scalar() {
            let v = self.scalar(e)?;
            self.store_scalar(to, v, &e.ty);
            return Ok(());
        }
        let size = e.ty.size();
        match &e.kind {
            ExprKind::Bytes(bytes) => {
                self.store_bytes(to, bytes, size);
                Ok(())
            }
            ExprKind::Local(id) => {
                let from = self.local_memory(*id)?;
                self.copy(to, from, size);
                Ok(())
            }
            ExprKind::MapGet { map, key } => self.entry_into(*map, key.as_deref(), 0, to, size),
            ExprKind::Call { intrinsic, args } => self.call_memory(e, *intrinsic, args, to),
            ExprKind::Invoke { function, args } => self.invoke_into(*function, args, size, to),
            ExprKind::Ternary { cond, then, otherwise } => {
                let (yes, no, done) = (self.ir.block("then"), self.ir.block("else"), self.ir.block("done"));
                self.branch(cond, yes, no)?;
                self.ir.at(yes);
                self.sometimes(|s| s.eval_into(then, to))?;
                self.ir.br(done);
                self.ir.at(no);
                self.sometimes(|s| s.eval_into(otherwise, to))?;
                self.ir.br(done);
                self.ir.at(done);
                Ok(())
            }
            ExprKind::Resize(x) => self.resize_into(x, &e.ty, to),
            // An integer as the array of its bytes.
            ExprKind::Convert(x) if x.ty.is_integer() && x.ty.size() == size => {
                let v = self.number(x)?;
                self.store_scalar(to, v, &x.ty);
                Ok(())
            }
            ExprKind::Load { ptr, offset, space, .. } => {
                let address = self.address(ptr, *offset)?;
                self.load_into(address, *space, &e.ty, to);
                Ok(())
            }
            ExprKind::Part { base, offset, .. } => {
                if let ExprKind::Load { ptr, offset: start, space, .. } = &base.kind {
                    let address = self.address(ptr, start + i64::from(*offset))?;
                    self.load_into(address, *space, &e.ty, to);
                    return Ok(());
                }
                if let ExprKind::MapGet { map, key } = &base.kind {
                    return self.entry_into(*map, key.as_deref(), *offset, to, size);
                }
                let mark = self.mark();
                let from = self.place(base)?;
                self.copy(to, self.at(from, *offset), size);
                self.release(mark);
                Ok(())
            }
            ExprKind::Element { base, index, len } => {
                let mark = self.mark();
                self.element_into(base, index, *len, &e.ty, to)?;
                self.release(mark);
                Ok(())
            }
            ExprKind::Tuple(list) => {
                let mut end = 0;
                for ((offset, ty), x) in e.ty.elements().zip(list) {
                    self.zero(self.at(to, end), offset - end);
                    self.eval_into(x, self.at(to, offset))?;
                    end = offset + ty.size();
                }
                self.zero(self.at(to, end), size - end);
                Ok(())
            }
            ExprKind::Block { stmts, value } => {
                self.block(stmts)?;
                self.eval_into(value, to)
            }
            _ => self.unexpected("this value"),
        }
    }

    /// Memory that holds the value of `e`: where it lies, or a copy.
    pub fn place(&mut self, e: &Expr) -> Result<Mem<'c>> {
        match &e.kind {
            ExprKind::Local(id) if !e.ty.is_scalar() => self.local_memory(*id),
            ExprKind::Part { base, offset, bits: None }
                if !matches!(base.kind, ExprKind::Load { .. } | ExprKind::MapGet { .. }) =>
            {
                let mem = self.place(base)?;
                Ok(self.at(mem, *offset))
            }
            _ => {
                let mem = self.temp(e.ty.size())?;
                self.eval_into(e, mem)?;
                Ok(mem)
            }
        }
    }

    pub fn local_memory(&mut self, id: LocalId) -> Result<Mem<'c>> {
        match self.locals.get(id as usize).copied() {
            Some(LocalSlot::Stack(mem)) => Ok(mem),
            Some(LocalSlot::Scratch(offset)) => self.scratch_at(offset),
            _ => self.unexpected("this variable"),
        }
    }

    /// Copies an aggregate from another address space; zero when that fails.
    fn load_into(&mut self, address: Val<'c>, space: Space, ty: &Type, to: Mem<'c>) {
        match ty {
            Type::String { cap } => {
                // What follows the NUL in a character array can be anything.
                self.zero(to, *cap);
                let result = self.fetch_str(to.ptr, self.ir.int(i64::from(*cap)), address, space);
                self.tell_read(true, space, result);
            }
            _ => {
                let result = self.fetch(to.ptr, self.ir.int(i64::from(ty.size())), address, space);
                self.tell_read(false, space, result);
            }
        }
    }

    fn resize_into(&mut self, x: &Expr, ty: &Type, to: Mem<'c>) -> Result<()> {
        let (size, from) = (ty.size(), x.ty.size());
        if let ExprKind::Bytes(bytes) = &x.kind {
            let keep = if matches!(ty, Type::String { .. }) { size.saturating_sub(1) } else { size };
            let bytes = bytes.get(..(keep as usize).min(bytes.len())).unwrap_or_default();
            self.store_bytes(to, bytes, size);
            return Ok(());
        }
        if size >= from {
            self.eval_into(x, to)?;
            self.zero(self.at(to, from), size - from);
            return Ok(());
        }
        let mark = self.mark();
        let whole = self.place(x)?;
        self.copy(to, whole, size);
        match ty {
            Type::String { cap } if *cap > 0 => self.ir.store(self.at(to, cap - 1).ptr, self.ir.int(0), 1, 1),
            Type::Buffer { cap } => {
                let len = self.ir.load(to.ptr, 4, to.align, false);
                let cap = self.ir.int(i64::from(*cap));
                let len = self.ir.select(self.ir.icmp(Pred::ULT, len, cap), len, cap);
                self.ir.store(to.ptr, len, 4, to.align);
            }
            _ => {}
        }
        self.release(mark);
        Ok(())
    }

    /// Whether two aggregates have the same first `len` bytes, as one bit.
    pub fn equal(&mut self, negate: bool, len: u32, left: &Expr, right: &Expr) -> Result<Val<'c>> {
        let mark = self.mark();
        let (left, right) = match left.kind {
            ExprKind::Bytes(_) => (right, left),
            _ => (left, right),
        };
        let a = self.place(left)?;
        // Strings are padded with zeros: comparing whole words costs less and says the same, if the
        // comparison goes to the end of a string and not only of a beginning.
        let whole = match &right.kind {
            ExprKind::Bytes(text) => (text.len() as u32) < len,
            _ => len >= left.ty.size(),
        };
        let padded = whole && matches!(left.ty, Type::String { .. });
        let len = if padded { len.next_multiple_of(a.align.min(8)).min(left.ty.size()) } else { len };
        let literal = match &right.kind {
            ExprKind::Bytes(bytes) => Some(bytes),
            _ => None,
        };
        let b = match literal {
            Some(_) => a,
            None => self.place(right)?,
        };
        let align = a.align.min(b.align).min(8);
        let differ = self.ir.block("differ");
        let done = self.ir.block("done");
        if literal.is_none() && len.div_ceil(align) > 32 {
            self.compare_loop(a, b, len, align, differ);
        } else {
            let mut at = 0;
            while at < len {
                let mut word = align;
                while at % word != 0 || at + word > len {
                    word /= 2;
                }
                let x = self.ir.load(self.at(a, at).ptr, word, word, false);
                let y = match literal {
                    Some(bytes) => {
                        let mut raw = [0u8; 8];
                        for (to, from) in raw.iter_mut().zip(bytes.iter().skip(at as usize).take(word as usize)) {
                            *to = *from;
                        }
                        self.ir.int(i64::from_le_bytes(raw))
                    }
                    None => self.ir.load(self.at(b, at).ptr, word, word, false),
                };
                let same = self.ir.block("same");
                self.ir.cond_br(self.ir.icmp(Pred::EQ, x, y), same, differ);
                self.ir.at(same);
                at += word;
            }
        }
        let equal = self.ir.here();
        self.ir.br(done);
        self.ir.at(differ);
        self.ir.br(done);
        self.ir.at(done);
        let (yes, no) = (self.ir.not(self.ir.no()), self.ir.no());
        self.release(mark);
        Ok(self.ir.phi(&[(if negate { no } else { yes }, equal), (if negate { yes } else { no }, differ)]))
    }

    /// Compares many words; goes to `differ` at the first that differs, else continues.
    fn compare_loop(&mut self, a: Mem<'c>, b: Mem<'c>, len: u32, align: u32, differ: crate::llvm::ir::Block<'c>) {
        let ir = self.ir;
        let (head, next, tail) = (ir.block("compare"), ir.block("next"), ir.block("compared"));
        let before = ir.here();
        ir.br(head);
        ir.at(head);
        let whole = len / align * align;
        let i = ir.loop_phi(ir.int(0), before);
        let x = ir.load(ir.index(a.ptr, i), align, align, false);
        let y = ir.load(ir.index(b.ptr, i), align, align, false);
        ir.cond_br(ir.icmp(Pred::EQ, x, y), next, differ);
        ir.at(next);
        let after = ir.add(i, ir.int(i64::from(align)));
        ir.close_loop(i, after, next);
        ir.cond_br(ir.icmp(Pred::ULT, after, ir.int(i64::from(whole))), head, tail);
        ir.at(tail);
        for at in whole..len {
            let same = ir.block("same");
            let x = ir.load(ir.offset(a.ptr, i64::from(at)), 1, 1, false);
            let y = ir.load(ir.offset(b.ptr, i64::from(at)), 1, 1, false);
            ir.cond_br(ir.icmp(Pred::EQ, x, y), same, differ);
            ir.at(same);
        }
    }
}
