//! Memory of one program while it runs: stack slots and scratch memory, one copy for each CPU, for what is too large for
//! the stack; copying, zeroing, reading scalars. Nothing here knows what the memory means.

use crate::llvm::ir::{Effect, Pred, Ptr, Val};
use crate::lower::Lower;
use crate::pool::{Mark, Mem, SCRATCH_LIMIT};
use rtrace_lang::codes::Code;
use rtrace_lang::diag::{Diagnostic, Result};
use rtrace_lang::typed::Bits;
use rtrace_lang::types::{Space, Type};
use rtrace_lang::uapi::{Entry, helper};

/// Up to this many words memory is zeroed, or copied, by stores; more by a helper call.
const ZERO_WORDS: u32 = 16;
const COPY_WORDS: u32 = 8;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// Marks the allocations from here on, which [`Lower::release`] frees.
    pub fn mark(&self) -> Mark {
        self.pool.mark()
    }

    pub fn release(&mut self, mark: Mark) {
        self.pool.release(mark);
    }

    /// Memory of that size, 8-aligned, contents undefined.
    pub fn temp(&mut self, size: u32) -> Result<Mem<'c>> {
        match self.stack_slot(size) {
            Some(mem) => Ok(mem),
            None => {
                let offset = self.reserve_scratch(size)?;
                self.scratch_at(offset)
            }
        }
    }

    /// A stack slot, if the size and what is left allow.
    pub fn stack_slot(&mut self, size: u32) -> Option<Mem<'c>> {
        let ir = self.ir;
        self.pool.slot(size, |size| ir.alloca(size))
    }

    /// An eight-byte stack slot; there always is one, beyond the limit if need be.
    pub fn word(&mut self) -> Mem<'c> {
        match self.stack_slot(8) {
            Some(mem) => mem,
            None => Mem { ptr: self.ir.alloca(8), align: 8 },
        }
    }

    /// Takes scratch memory and returns its offset in the program's entry.
    pub fn reserve_scratch(&mut self, size: u32) -> Result<u32> {
        self.pool.reserve(size).ok_or_else(|| {
            Diagnostic::error(Code::TooLarge, self.span, "the values in this probe are too large")
                .label(format!("this needs more than {} KiB of memory", SCRATCH_LIMIT >> 10))
                .help("use a smaller max_strlen, or shorter strings and buffers")
        })
    }

    /// The address of scratch memory; finds the entry where that has not been done yet.
    pub fn scratch_at(&mut self, offset: u32) -> Result<Mem<'c>> {
        let base = match self.pool.scratch {
            Some(base) => base,
            None if self.unit.options.cpus.is_some() => {
                let base = self.unit.scratch_place();
                self.pool.scratch = Some(base);
                base
            }
            None => {
                let index = match self.pool.scratch_index {
                    Some(index) => index,
                    None => *self.pool.scratch_index.insert(self.unit.next_scratch()),
                };
                let mark = self.mark();
                let key = self.word();
                self.ir.store(key.ptr, self.ir.int(i64::from(index)), 4, 4);
                let map = self.unit.scratch_map();
                let base = self.ir.helper_ptr(helper::MAP_LOOKUP_ELEM, &[map.into(), key.ptr.into()]);
                self.release(mark);
                let (lost, found) = (self.ir.block("no_scratch"), self.ir.block("scratch"));
                self.ir.cond_br(self.ir.is_null(base), lost, found);
                self.ir.at(lost);
                self.leave();
                self.ir.at(found);
                self.pool.scratch = Some(base);
                base
            }
        };
        Ok(self.at(Mem { ptr: base, align: 8 }, offset))
    }

    /// `f` builds what runs only sometimes: what it looked up is not known afterwards.
    pub fn sometimes<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let scratch = self.pool.scratch;
        let result = f(self);
        self.pool.scratch = scratch;
        result
    }

    /// Memory at an offset.
    pub fn at(&self, mem: Mem<'c>, offset: u32) -> Mem<'c> {
        let align = if offset == 0 { mem.align } else { mem.align.min(1 << offset.trailing_zeros()) };
        Mem { ptr: self.ir.offset(mem.ptr, i64::from(offset)), align }
    }

    /// Calls `f` with offset and size of each word of a piece of memory.
    fn words(size: u32, align: u32, mut f: impl FnMut(u32, u32)) {
        let mut at = 0;
        while at < size {
            let mut word = align.min(8);
            while at % word != 0 || at + word > size {
                word /= 2;
            }
            f(at, word);
            at += word;
        }
    }

    pub fn zero(&self, mem: Mem<'c>, size: u32) {
        if size.div_ceil(mem.align.min(8)) > ZERO_WORDS {
            // A failed read zeroes its destination: the shortest way to zero much memory.
            self.read(mem.ptr, size, self.ir.int(0), Space::Kernel);
            return;
        }
        Self::words(size, mem.align, |at, word| {
            let place = self.at(mem, at);
            self.ir.store(place.ptr, self.ir.int(0), word, place.align);
        });
    }

    pub fn copy(&self, to: Mem<'c>, from: Mem<'c>, size: u32) {
        let align = to.align.min(from.align);
        if size.div_ceil(align.min(8)) > COPY_WORDS {
            self.read(to.ptr, size, self.ir.ptr_to_int(from.ptr), Space::Kernel);
            return;
        }
        Self::words(size, align, |at, word| {
            let (to, from) = (self.at(to, at), self.at(from, at));
            let value = self.ir.load(from.ptr, word, word, false);
            self.ir.store(to.ptr, value, word, word);
        });
    }

    /// Stores bytes; what is left up to `size` becomes zero.
    pub fn store_bytes(&self, mem: Mem<'c>, bytes: &[u8], size: u32) {
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last as u32 + 1);
        let inline = used.next_multiple_of(8).min(size);
        Self::words(inline, mem.align, |at, word| {
            let mut raw = [0u8; 8];
            for (to, from) in raw.iter_mut().zip(bytes.iter().skip(at as usize).take(word as usize)) {
                *to = *from;
            }
            let place = self.at(mem, at);
            self.ir.store(place.ptr, self.ir.int(i64::from_le_bytes(raw)), word, place.align);
        });
        if inline < size {
            self.zero(self.at(mem, inline), size - inline);
        }
    }

    /// `bpf_probe_read_…`; zeroes the destination when it fails. Returns the helper's result.
    pub fn read(&self, to: Ptr<'c>, size: u32, from: Val<'c>, space: Space) -> Val<'c> {
        self.read_sized(to, self.ir.int(i64::from(size)), from, space)
    }

    /// The same with a size that the verifier sees the bound of.
    pub fn read_sized(&self, to: Ptr<'c>, size: Val<'c>, from: Val<'c>, space: Space) -> Val<'c> {
        self.copy_in([helper::PROBE_READ_KERNEL, helper::PROBE_READ_USER], to, size, from, space)
    }

    /// Copies a string; returns its length with the NUL, or an error number (then all is zero).
    pub fn read_str(&self, to: Ptr<'c>, size: Val<'c>, from: Val<'c>, space: Space) -> Val<'c> {
        self.copy_in([helper::PROBE_READ_KERNEL_STR, helper::PROBE_READ_USER_STR], to, size, from, space)
    }

    /// Reads what is at an address of the script. One that is not known to be a program's is read by its value, which says
    /// whose it is on processors where kernel and programs share one range of addresses: arguments of kernel functions
    /// may be either, and few kernels' type information tells (`__user`). Zeroes the destination when it fails.
    pub fn fetch(&self, to: Ptr<'c>, size: Val<'c>, from: Val<'c>, space: Space) -> Val<'c> {
        self.copy_in([helper::PROBE_READ, helper::PROBE_READ_USER], to, size, from, space)
    }

    /// The same of a string; returns its length with the NUL, or an error number.
    pub fn fetch_str(&self, to: Ptr<'c>, size: Val<'c>, from: Val<'c>, space: Space) -> Val<'c> {
        self.copy_in([helper::PROBE_READ_STR, helper::PROBE_READ_USER_STR], to, size, from, space)
    }

    /// Calls the helper for the kernel's memory, or that for a program's.
    fn copy_in(&self, helpers: [Entry; 2], to: Ptr<'c>, size: Val<'c>, from: Val<'c>, space: Space) -> Val<'c> {
        let [kernel, user] = helpers;
        let id = if space == Space::Kernel { kernel } else { user };
        self.ir.helper(id, &[to.into(), size.into(), from.into()], Effect::Any)
    }

    /// The length without NUL from the result of [`Lower::read_str`] with at most `cap` bytes.
    pub fn str_len(&self, result: Val<'c>, cap: u32) -> Val<'c> {
        let some = self.ir.icmp(Pred::SGT, result, self.ir.int(0));
        let len = self.ir.select(some, self.ir.sub(result, self.ir.int(1)), self.ir.int(0));
        self.ir.bound(len, cap.saturating_sub(1))
    }

    /// The scalar of type `ty` at `mem`.
    pub fn load_scalar(&self, mem: Mem<'c>, ty: &Type) -> Val<'c> {
        self.ir.load(mem.ptr, ty.size().max(1), mem.align, ty.is_signed())
    }

    pub fn store_scalar(&self, mem: Mem<'c>, value: Val<'c>, ty: &Type) {
        self.ir.store(mem.ptr, value, ty.size().max(1), mem.align);
    }

    /// The bit-field of a word that was loaded zero-extended.
    pub fn bit_field(&self, word: Val<'c>, bits: Bits, signed: bool) -> Val<'c> {
        let (shift, width) = (u32::from(bits.shift), u32::from(bits.width));
        let up = self.ir.shl(word, self.ir.int(i64::from(64u32.saturating_sub(shift + width))));
        self.ir.shr(up, self.ir.int(i64::from(64u32.saturating_sub(width))), signed)
    }
}
