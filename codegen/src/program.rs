//! One BPF program: its function, locals, and the ways out of it.

use crate::analysis::Routine;
use crate::capture::{Home, Plan, RESULT};
use crate::llvm::ir::Pred;
use crate::lower::{LocalSlot, Lower};
use crate::pool::Pool;
use crate::unit::Unit;
use rtrace_lang::bundle::ProgType;
use rtrace_lang::diag::Result;
use rtrace_lang::source::Span;
use rtrace_lang::typed::{LocalId, Program};
use rtrace_lang::uapi::helper;
use std::collections::HashSet;

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
