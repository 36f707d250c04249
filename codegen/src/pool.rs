//! The memory that a function has allocated so far: stack slots, reused from statement to statement, and the program's
//! scratch memory. Only what is taken and free; `memory.rs` builds the code.
//!
//! By construction the stack of a program stays under [`STACK_LIMIT`], which leaves the other half of
//! BPF's 512 bytes to the register allocator. Where functions that call each other take more together (`depth.rs`), a
//! lean program keeps only single words there.

use crate::llvm::ir::Ptr;

/// Larger pieces go to scratch memory.
const SLOT_LIMIT: u32 = 64;
/// Most bytes of stack slots in a program.
const STACK_LIMIT: u32 = 256;
/// The same in each function of a lean program, of slots of a word.
const LEAN_LIMIT: u32 = 48;
const LEAN_SLOT: u32 = 8;
/// Per-CPU maps of old kernels hold values up to this size.
pub const SCRATCH_LIMIT: u32 = 32 << 10;

/// A place in memory and what its address is known to be a multiple of.
#[derive(Clone, Copy)]
pub struct Mem<'c> {
    pub ptr: Ptr<'c>,
    pub align: u32,
}

struct Slot<'c> {
    ptr: Ptr<'c>,
    size: u32,
    held: bool,
}

/// The memory that a function has allocated so far.
pub struct Pool<'c> {
    slots: Vec<Slot<'c>>,
    stack: u32,
    stack_limit: u32,
    slot_limit: u32,
    /// Slots held, in the order taken.
    held: Vec<usize>,
    scratch_top: u32,
    pub scratch_max: u32,
    /// The scratch entry, where it has been looked up on every way to the present place.
    pub scratch: Option<Ptr<'c>>,
    /// Index of the program's entry.
    pub scratch_index: Option<u32>,
}

impl<'c> Pool<'c> {
    /// The memory of a program.
    pub fn new(lean: bool) -> Self {
        Pool {
            slots: Vec::new(),
            stack: 0,
            stack_limit: if lean { LEAN_LIMIT } else { STACK_LIMIT },
            slot_limit: if lean { LEAN_SLOT } else { SLOT_LIMIT },
            held: Vec::new(),
            scratch_top: 0,
            scratch_max: 0,
            scratch: None,
            scratch_index: None,
        }
    }

    /// Leaves most of the stack to functions that are called.
    pub fn share_stack(&mut self) {
        self.stack_limit = self.stack_limit.min(STACK_LIMIT / 2);
    }

    /// Takes all scratch memory used so far for good.
    pub fn keep_scratch(&mut self) {
        self.scratch_top = self.scratch_top.max(self.scratch_max);
    }

    /// Marks stack as used for good, and leaves some to functions called back.
    pub fn take_stack(&mut self, size: u32) {
        if self.slot_limit == LEAN_SLOT {
            return;
        }
        self.stack += size;
        self.stack_limit = (self.stack_limit - self.stack_limit / 4).max(self.stack);
    }

    /// The memory of a function called back: a stack of its own, and the scratch memory not held here.
    pub fn inner(&self, stack_limit: u32) -> Pool<'c> {
        Pool {
            stack_limit: if self.slot_limit == LEAN_SLOT { LEAN_LIMIT } else { stack_limit },
            slot_limit: self.slot_limit,
            scratch_top: self.scratch_top,
            scratch_max: self.scratch_max,
            scratch_index: self.scratch_index,
            ..Pool::new(false)
        }
    }

    /// Marks the allocations from here on, which [`Pool::release`] frees.
    pub fn mark(&self) -> Mark {
        Mark(self.held.len(), self.scratch_top)
    }

    pub fn release(&mut self, mark: Mark) {
        while self.held.len() > mark.0 {
            if let Some(slot) = self.held.pop().and_then(|i| self.slots.get_mut(i)) {
                slot.held = false;
            }
        }
        self.scratch_top = mark.1;
    }

    /// A stack slot, if the size and what is left allow; one that is free, or a new one.
    pub fn slot(&mut self, size: u32, new: impl FnOnce(u32) -> Ptr<'c>) -> Option<Mem<'c>> {
        let size = size.next_multiple_of(8).max(8);
        if size > self.slot_limit {
            return None;
        }
        let free = self.slots.iter().enumerate().filter(|(_, s)| !s.held && s.size >= size);
        let index = match free.min_by_key(|(_, s)| s.size).map(|(i, _)| i) {
            Some(index) => index,
            None if self.stack + size > self.stack_limit => return None,
            None => {
                self.stack += size;
                self.slots.push(Slot { ptr: new(size), size, held: false });
                self.slots.len() - 1
            }
        };
        let slot = self.slots.get_mut(index)?;
        slot.held = true;
        self.held.push(index);
        Some(Mem { ptr: slot.ptr, align: 8 })
    }

    /// Takes scratch memory and returns its offset in the program's entry; nothing if there is no more.
    pub fn reserve(&mut self, size: u32) -> Option<u32> {
        let offset = self.scratch_top;
        let top = offset.saturating_add(size.next_multiple_of(8));
        if top > SCRATCH_LIMIT {
            return None;
        }
        self.scratch_top = top;
        self.scratch_max = self.scratch_max.max(top);
        Some(offset)
    }

    /// Takes over what a function called back says about the memory that both use.
    pub fn absorb(&mut self, inner: &Pool<'c>) {
        self.scratch_max = self.scratch_max.max(inner.scratch_max);
        self.scratch_index = self.scratch_index.or(inner.scratch_index);
    }
}

/// See [`Pool::mark`].
pub struct Mark(usize, u32);
