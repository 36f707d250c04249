//! [`Lower`]: the state while a program is built. The files `stmt`, `expr`, `aggregate`, `maps`, `events` and `builtins/`
//! add the lowering of their part of the language to it.

use crate::analysis::Routine;
use crate::capture::Plan;
use crate::llvm::di::Scope;
use crate::llvm::ir::{Block, Func, Ir, Ptr};
use crate::pool::{Mem, Pool};
use crate::unit::Unit;
use rtrace_lang::source::Span;
use rtrace_lang::typed::{LocalId, Program};
use std::collections::HashSet;

pub struct Lower<'u, 'm, 'c> {
    pub unit: &'u Unit<'m, 'c>,
    pub ir: &'u Ir<'m, 'c>,
    pub program: &'u Program,
    /// The program's own code, or the function of it that is being built.
    pub routine: Routine<'u>,
    /// The program's functions, as far as they are built.
    pub functions: Vec<Built<'c>>,
    /// The location of the function's numeric result.
    pub result: Option<Ptr<'c>>,
    /// The location of a larger result: offset in the scratch entry.
    pub result_place: Option<u32>,
    /// The location of the flag that ends the program, if it may: offset in the scratch entry.
    pub left: Option<u32>,
    pub context: Ptr<'c>,
    pub pool: Pool<'c>,
    /// The source being lowered, for messages.
    pub span: Span,
    pub locals: Vec<LocalSlot<'c>>,
    /// Locals that may hold a pointer that the verifier follows; see `expr::number`.
    pub tracked: HashSet<LocalId>,
    /// Ring buffer records that are open here; every way out gives them back.
    pub open: Vec<Ptr<'c>>,
    pub loops: Vec<Loop<'c>>,
    /// Whether strings in memory are padded with zeros; see `Lower::unpadded_into`.
    pub pad: bool,
    /// The storage of the variables that loops in separate functions use.
    pub plan: Plan,
    /// The variables that such functions share.
    pub frame: Option<Ptr<'c>>,
    /// Their storage in a lean program, which has them in scratch memory: offset in the entry.
    pub words: Option<u32>,
    /// How many such functions are around this place.
    pub depth: u32,
    /// The unwinder of user stacks, if the program has one.
    pub unwinder: Option<Unwinder<'c>>,
    pub exit: Block<'c>,
    pub scope: Scope,
}

/// The part of [`Lower`] that belongs to one BPF function, either of the script or a callback of the kernel.
pub struct Frame<'c> {
    pub scope: Scope,
    pub context: Ptr<'c>,
    pub pool: Pool<'c>,
    pub locals: Vec<LocalSlot<'c>>,
    pub open: Vec<Ptr<'c>>,
    pub loops: Vec<Loop<'c>>,
    pub exit: Block<'c>,
    pub shared: Option<Ptr<'c>>,
    pub result: Option<Ptr<'c>>,
}

impl<'c> Lower<'_, '_, 'c> {
    /// Goes on in another function; gives what belongs to the one before, for [`Lower::leave_function`].
    pub fn enter_function(&mut self, mut frame: Frame<'c>) -> Frame<'c> {
        self.exchange(&mut frame);
        frame
    }

    /// Back to the function before.
    pub fn leave_function(&mut self, mut outer: Frame<'c>) {
        self.exchange(&mut outer);
        self.pool.absorb(&outer.pool);
        self.scope.forget();
    }

    fn exchange(&mut self, frame: &mut Frame<'c>) {
        use std::mem::swap;
        swap(&mut self.scope, &mut frame.scope);
        swap(&mut self.context, &mut frame.context);
        swap(&mut self.pool, &mut frame.pool);
        swap(&mut self.locals, &mut frame.locals);
        swap(&mut self.open, &mut frame.open);
        swap(&mut self.loops, &mut frame.loops);
        swap(&mut self.exit, &mut frame.exit);
        swap(&mut self.frame, &mut frame.shared);
        swap(&mut self.result, &mut frame.result);
    }
}

#[derive(Clone, Copy)]
pub enum LocalSlot<'c> {
    /// A scalar, 64 bits wide; LLVM makes it a register.
    Scalar(Ptr<'c>),
    Stack(Mem<'c>),
    /// Offset in the program's scratch entry.
    Scratch(u32),
    /// In another function.
    Elsewhere,
}

#[derive(Clone, Copy)]
pub struct Loop<'c> {
    pub next: Block<'c>,
    pub done: Block<'c>,
    /// Records open outside of the loop.
    pub open: usize,
    /// How often the verifier walks through it; for a loop in place whose rounds nobody knows that is found afterwards.
    pub rounds: Option<u64>,
}

/// A function that can be called.
#[derive(Clone)]
pub struct Built<'c> {
    pub function: Func<'c>,
    pub params: Vec<Param>,
    /// The offset in the scratch entry of a result that is not a number.
    pub result: Option<u32>,
    /// The location of the flag that ends the program.
    pub left: Option<u32>,
}

#[derive(Clone, Copy)]
pub enum Param {
    Register,
    /// Offset in the scratch entry.
    Scratch(u32),
}

/// The function that does a step, and its state.
#[derive(Clone, Copy)]
pub struct Unwinder<'c> {
    pub step: Func<'c>,
    /// Offset in the scratch entry.
    pub state: u32,
    pub depth: u32,
}
