//! Functions of the script: each becomes a BPF function of its own in each program that calls it.
//!
//! A call hands over the context and up to four numbers in registers. What does not fit there, and everything
//! larger than a number, lies in the program's scratch memory, at a place that belongs to the function: functions
//! do not recurse, so that one place is enough. The result comes back in a register or in such a place.

use crate::analysis::{Routine, invokes, operands};
use crate::capture::{Plan, RESULT, blocks, expressions};
use crate::llvm::ir::{Arg, Func, Pred, Ptr, Val};
use crate::lower::{Built, Frame, LocalSlot, Lower, Param};
use crate::pool::Mem;
use rtrace_lang::diag::Result;
use rtrace_lang::typed::{Expr, ExprKind, Function, Stmt, StmtKind};
use rtrace_lang::types::Type;

/// Numbers that go in registers; one register has the context.
const IN_REGISTERS: usize = 4;
/// Stack slots of a function: the stack of all functions that call each other has 512 bytes.
const FUNCTION_STACK: u32 = 48;

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// The name of what is being built.
    pub fn name(&self) -> String {
        match self.program.functions.get(self.functions.len()) {
            Some(f) => self.function_name(f),
            None => self.program.symbol.clone(),
        }
    }

    fn function_name(&self, f: &Function) -> String {
        format!("{}_{}", self.program.symbol, f.name)
    }

    /// Builds the functions that the program calls, callees first.
    pub fn build_functions(&mut self) -> Result<()> {
        let program = self.program;
        if !program.functions.is_empty() {
            self.pool.share_stack();
        }
        for f in &program.functions {
            let built = self.build_function(f)?;
            self.functions.push(built);
        }
        Ok(())
    }

    fn build_function(&mut self, f: &'u Function) -> Result<Built<'c>> {
        let ir = self.ir;
        let params = &f.locals.get(..f.params).unwrap_or_default();
        let numbers = params.iter().filter(|l| l.ty.is_scalar()).count().min(IN_REGISTERS);
        let name = self.function_name(f);
        let suspended = ir.suspend();
        let function = ir.local_function(&name, numbers as u32);
        let scope = self.unit.debug.enter(function, &name, f.span);
        let routine = Routine {
            locals: &f.locals,
            params: f.params,
            body: &f.body,
            gives_number: f.result.is_scalar() || f.result == Type::Void,
        };
        let inner = self.pool.inner(FUNCTION_STACK);
        let exit = ir.block("exit");
        let outer = self.enter_function(Frame {
            scope,
            context: ir.param(function, 0),
            pool: inner,
            locals: Vec::new(),
            open: Vec::new(),
            loops: Vec::new(),
            exit,
            shared: None,
            result: None,
        });
        let outer_tracked = std::mem::take(&mut self.tracked);
        let outer_plan = std::mem::replace(&mut self.plan, Plan::new(routine, self.unit.options));
        let outer_routine = std::mem::replace(&mut self.routine, routine);
        self.locate(f.span);

        let built = self.fill_function(f, function);

        self.leave_function(outer);
        // Its memory is its own: the caller keeps values in scratch memory across the call.
        self.pool.keep_scratch();
        self.tracked = outer_tracked;
        self.plan = outer_plan;
        self.routine = outer_routine;
        (self.result_place, self.left, self.words) = (None, None, None);
        ir.resume(suspended);
        self.locate(self.program.span);
        built
    }

    fn fill_function(&mut self, f: &Function, function: Func<'c>) -> Result<Built<'c>> {
        let ir = self.ir;
        let exit = self.exit;
        self.make_frame()?;
        self.result = Some(match self.frame {
            Some(frame) => ir.offset(frame, i64::from(RESULT)),
            None => ir.variable(),
        });
        let from = self.result;
        self.make_shared()?;
        self.result_place = self.reserve_result(&f.result)?;
        let result = self.result_place;
        if leaves(&f.body, &self.functions) {
            let offset = self.reserve_scratch(8)?;
            let mark = self.scratch_at(offset)?;
            ir.store(mark.ptr, ir.int(0), 8, 8);
            self.left = Some(offset);
        }
        let left = self.left;
        self.declare_locals()?;
        let mut params = Vec::with_capacity(f.params);
        let mut register = 1;
        for id in 0..f.params {
            let slot = self.locals.get(id).copied();
            let param = match slot {
                Some(LocalSlot::Scalar(p)) if register <= IN_REGISTERS => {
                    ir.store(p, ir.param_value(function, register as u32), 8, 8);
                    register += 1;
                    Param::Register
                }
                Some(LocalSlot::Scalar(p)) => {
                    let offset = self.reserve_scratch(8)?;
                    let word = self.scratch_at(offset)?;
                    ir.store(p, ir.load(word.ptr, 8, 8, false), 8, 8);
                    Param::Scratch(offset)
                }
                Some(LocalSlot::Scratch(offset)) => Param::Scratch(offset),
                _ => return self.unexpected("this parameter"),
            };
            params.push(param);
        }
        self.block(&f.body)?;
        ir.br(exit);
        ir.at(exit);
        ir.ret(from.map_or(ir.int(0), |p: Ptr<'c>| ir.load(p, 8, 8, false)));
        ir.finish_entry(function);
        Ok(Built { function, params, result, left })
    }

    fn reserve_result(&mut self, ty: &Type) -> Result<Option<u32>> {
        match ty {
            Type::Void => Ok(None),
            t if t.is_scalar() => Ok(None),
            t => self.reserve_scratch(t.size()).map(Some),
        }
    }

    /// `return value`
    pub fn give(&mut self, value: &Expr) -> Result<()> {
        if value.ty.is_scalar() {
            let v = self.number(value)?;
            let Some(to) = self.result else { return self.unexpected("this value") };
            self.ir.store(to, v, 8, 8);
            return Ok(());
        }
        let Some(offset) = self.result_place else { return self.unexpected("this value") };
        let to = self.scratch_at(offset)?;
        self.eval_into(value, to)
    }

    /// Calls a function; its result if that is a number.
    pub fn invoke(&mut self, index: u32, args: &[Expr]) -> Result<Val<'c>> {
        let Some(built) = self.functions.get(index as usize).cloned() else { return self.unexpected("this call") };
        let mark = self.mark();
        // An argument may call the same function, which would overwrite what is in its place already.
        let aside = args.iter().any(invokes);
        let mut registers: Vec<Arg<'c>> = vec![self.context.into()];
        let mut later: Vec<(u32, Later<'c>)> = Vec::new();
        for (arg, param) in args.iter().zip(&built.params) {
            match param {
                Param::Register => registers.push(self.number(arg)?.into()),
                Param::Scratch(offset) if arg.ty.is_scalar() => {
                    let v = self.number(arg)?;
                    later.push((*offset, Later::Number(v)));
                }
                Param::Scratch(offset) if aside => {
                    let mem = self.temp(arg.ty.size())?;
                    self.eval_into(arg, mem)?;
                    later.push((*offset, Later::Copy(mem, arg.ty.size())));
                }
                Param::Scratch(offset) => {
                    let to = self.scratch_at(*offset)?;
                    self.eval_into(arg, to)?;
                }
            }
        }
        for (offset, value) in later {
            let to = self.scratch_at(offset)?;
            match value {
                Later::Number(v) => self.ir.store(to.ptr, v, 8, 8),
                Later::Copy(from, size) => self.copy(to, from, size),
            }
        }
        let result = self.ir.call(built.function, &registers, false);
        self.release(mark);
        if let Some(offset) = built.left {
            let mark = self.scratch_at(offset)?;
            let left = self.ir.load(mark.ptr, 8, 8, false);
            let (end, on) = (self.ir.block("left"), self.ir.block("on"));
            self.ir.cond_br(self.ir.icmp(Pred::EQ, left, self.ir.int(0)), on, end);
            self.ir.at(end);
            self.sometimes(Self::leave_program)?;
            self.ir.at(on);
        }
        Ok(result)
    }

    /// Ends the program: a function returns, and its caller sees that it is to end, too.
    pub fn leave_program(&mut self) -> Result<()> {
        if let Some(offset) = self.left {
            let mark = self.scratch_at(offset)?;
            self.ir.store(mark.ptr, self.ir.int(1), 8, 8);
        }
        self.leave();
        Ok(())
    }

    /// The same for a result that lies in memory, copied to `to`.
    pub fn invoke_into(&mut self, index: u32, args: &[Expr], size: u32, to: Mem<'c>) -> Result<()> {
        self.invoke(index, args)?;
        let Some(offset) = self.functions.get(index as usize).and_then(|b| b.result) else {
            return self.unexpected("this call");
        };
        let from = self.scratch_at(offset)?;
        self.copy(to, from, size);
        Ok(())
    }
}

/// Whether a function may end the program, itself or by a function that it calls.
fn leaves(stmts: &[Stmt], functions: &[Built<'_>]) -> bool {
    stmts.iter().any(|s| {
        let mut found = matches!(s.kind, StmtKind::Leave);
        expressions(s, &mut |e| found |= leaves_within(e, functions));
        blocks(s, &mut |b| found |= leaves(b, functions));
        found
    })
}

fn leaves_within(e: &Expr, functions: &[Built<'_>]) -> bool {
    let mut found = match &e.kind {
        ExprKind::Invoke { function, .. } => functions.get(*function as usize).is_some_and(|b| b.left.is_some()),
        ExprKind::Block { stmts, .. } => leaves(stmts, functions),
        _ => false,
    };
    operands(e, &mut |x| found |= leaves_within(x, functions));
    found
}

/// An argument that goes to its place when all are evaluated.
enum Later<'c> {
    Number(Val<'c>),
    Copy(Mem<'c>, u32),
}
