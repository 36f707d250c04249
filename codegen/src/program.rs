//! One BPF program: its function, locals, and the ways out of it.
//!
//! [`Lower`] is the state while a program is built; the files `stmt`, `expr`, `aggregate`, `maps`,
//! `events` and `builtins/` add the lowering of their part of the language to it.

use crate::capture::{Home, Plan, RESULT};
use crate::function::Built;
use crate::llvm::di::Scope;
use crate::llvm::ir::{Block, Ir, Pred, Ptr};
use crate::memory::{Mem, Pool};
use crate::module::Unit;
use crate::unwind::Unwinder;
use rtrace_lang::bundle::{ProgType, Target};
use rtrace_lang::diag::Result;
use rtrace_lang::source::Span;
use rtrace_lang::typed::{Local, LocalId, Program, Stmt};
use rtrace_lang::uapi::helper;
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

/// Variables and statements that belong to one stack frame.
#[derive(Clone, Copy)]
pub struct Routine<'u> {
    pub locals: &'u [Local],
    /// The number of locals that come from the caller.
    pub params: usize,
    pub body: &'u [Stmt],
    pub gives_number: bool,
}

impl<'u> Routine<'u> {
    fn main(program: &'u Program) -> Routine<'u> {
        // What a test gives says how it went.
        let gives_number = program.attach.iter().any(|a| matches!(a.target, Target::Test { .. }));
        Routine { locals: &program.locals, params: 0, body: &program.body, gives_number }
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

/// Builds `program`'s function; returns the bytes of scratch memory it uses.
pub fn lower(unit: &Unit<'_, '_>, program: &Program) -> Result<Option<u32>> {
    let ir = &unit.ir;
    let function = ir.function(&program.symbol, &format!("kprobe/{}", program.symbol));
    let mut scope = unit.debug.enter(function, &program.symbol, program.span);
    unit.debug.locate(ir, &mut scope, program.span);
    let body = ir.here();
    let exit = ir.block("exit");
    let routine = Routine::main(program);
    if !routine.gives_number {
        ir.at(exit);
        ir.ret(ir.int(0));
        ir.at(body);
    }
    let mut lower = Lower {
        unit,
        ir,
        program,
        routine,
        functions: Vec::new(),
        result: None,
        result_place: None,
        left: None,
        context: ir.param(function, 0),
        pool: Pool::new(unit.lean),
        span: program.span,
        locals: Vec::new(),
        tracked: HashSet::new(),
        open: Vec::new(),
        loops: Vec::new(),
        pad: true,
        plan: Plan::new(routine, unit.options),
        frame: None,
        words: None,
        depth: 0,
        unwinder: None,
        exit,
        scope,
    };
    lower.build_unwinder()?;
    lower.build_functions()?;
    lower.make_frame()?;
    if routine.gives_number {
        lower.result = Some(match lower.frame {
            Some(frame) => ir.offset(frame, i64::from(RESULT)),
            None => ir.variable(),
        });
    }
    let result = lower.result;
    lower.end_after_exit();
    lower.make_shared()?;
    lower.declare_locals()?;
    lower.begin_object()?;
    lower.block(&program.body)?;
    ir.br(exit);
    if let Some(result) = result {
        ir.at(exit);
        // The kernel hands over 32 bits of it.
        ir.ret(ir.bit(ir.icmp(Pred::NE, ir.load(result, 8, 8, false), ir.int(0))));
    }
    ir.finish_entry(function);
    unit.settle_scratch(&program.symbol, lower.pool.scratch_max);
    Ok(lower.pool.scratch_index.map(|_| lower.pool.scratch_max))
}

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// Room for every local of the main function, or of one of the script's; the ones in memory that may be read before they are
    /// written are zeroed.
    pub fn declare_locals(&mut self) -> Result<()> {
        let unset = crate::analysis::read_before_written(self.routine);
        for id in 0..self.routine.locals.len() as LocalId {
            let slot = self.room_for(id, None)?;
            self.locals.push(slot);
            let Some(local) = self.routine.locals.get(id as usize) else { continue };
            if !local.ty.is_scalar() && unset.contains(&id) {
                let mem = self.local_memory(id)?;
                self.zero(mem, local.ty.size());
            }
        }
        Ok(())
    }

    /// The locals of the body of a loop: its own, and those shared with the code around it.
    pub fn inherit_locals(&mut self, outer: &[LocalSlot<'c>], home: Home) -> Result<()> {
        for (id, slot) in outer.iter().enumerate() {
            let id = id as LocalId;
            let slot = match slot {
                LocalSlot::Scratch(_) if self.plan.is_shared(id) => *slot,
                _ => self.room_for(id, home)?,
            };
            self.locals.push(slot);
        }
        Ok(())
    }

    fn room_for(&mut self, id: LocalId, home: Home) -> Result<LocalSlot<'c>> {
        let Some(local) = self.routine.locals.get(id as usize) else { return self.unexpected("this variable") };
        if let (Some(at), Some(_)) = (self.plan.word(id), self.frame) {
            return Ok(LocalSlot::Scalar(self.shared_word(at)?));
        }
        if self.plan.home(id) != home {
            return Ok(LocalSlot::Elsewhere);
        }
        if local.ty.is_scalar() {
            return Ok(LocalSlot::Scalar(self.ir.variable()));
        }
        if !self.plan.is_shared(id)
            && id as usize >= self.routine.params
            && let Some(mem) = self.stack_slot(local.ty.size())
        {
            return Ok(LocalSlot::Stack(mem));
        }
        Ok(LocalSlot::Scratch(self.reserve_scratch(local.ty.size())?))
    }

    /// Sets the source position of what is built next, and of errors.
    pub fn locate(&mut self, span: Span) {
        self.span = span;
        self.unit.debug.locate(self.ir, &mut self.scope, span);
    }

    /// Ends the program here, giving back open records.
    pub fn leave(&self) {
        self.discard(0);
        self.ir.br(self.exit);
    }

    /// Ends the program here if `exit()` was called before and a clause at the same place may have done so.
    fn end_after_exit(&self) {
        let Some(exited) = self.unit.typed.globals.exited.filter(|_| self.program.after_exit) else { return };
        let go_on = self.ir.block("go_on");
        let flag = self.ir.load(self.unit.global(exited), 8, 8, false);
        self.ir.cond_br(self.ir.icmp(Pred::EQ, flag, self.ir.int(0)), go_on, self.exit);
        self.ir.at(go_on);
    }

    /// Gives back open records on a way that goes elsewhere.
    pub fn discard(&self, keep: usize) {
        for record in self.open.iter().skip(keep).rev() {
            self.ir.helper(
                helper::RINGBUF_DISCARD,
                &[(*record).into(), self.ir.int(0).into()],
                crate::llvm::ir::Effect::Any,
            );
        }
    }

    /// Whether words of the context may be pointers that the verifier follows.
    pub fn has_tracked_context(&self) -> bool {
        matches!(self.program.prog_type, ProgType::BtfTracepoint | ProgType::Fentry | ProgType::Fexit | ProgType::Iter)
    }
}
