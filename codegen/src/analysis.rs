//! Questions about typed code that lowering asks before it builds: which locals may be read before
//! they are written, and whether an expression has effects. Reads the tree, changes nothing.

use rtrace_lang::builtins;
use rtrace_lang::bundle::Target;
use rtrace_lang::typed::{Expr, ExprKind, Local, LocalId, Program, Stmt, StmtKind};
use std::collections::HashSet;

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
    pub fn main(program: &'u Program) -> Routine<'u> {
        // What a test gives says how it went.
        let gives_number = program.attach.iter().any(|a| matches!(a.target, Target::Test { .. }));
        Routine { locals: &program.locals, params: 0, body: &program.body, gives_number }
    }
}

/// Calls `f` with every direct operand of an expression, in order of evaluation.
pub fn operands<'e>(e: &'e Expr, f: &mut dyn FnMut(&'e Expr)) {
    use ExprKind::*;
    match &e.kind {
        Int(_)
        | Bytes(_)
        | Local(_)
        | LocalAddress(_)
        | MapLen { .. }
        | Ctx { .. }
        | CtxAddr { .. }
        | CtxDataLoc { .. }
        | ProbeId => {}
        MapGet { key, .. } | MapHas { key, .. } | AggGet { key, .. } | StepMap { key, .. } | MapAddress { key, .. } => {
            key.iter().for_each(|k| f(k))
        }
        Call { args, .. } | Foreign { args, .. } | Invoke { args, .. } | Tuple(args) => args.iter().for_each(f),
        Neg(x) | BitNot(x) | Not(x) | Convert(x) | Resize(x) => f(x),
        Arith { left, right, .. } | Compare { left, right, .. } | Equal { left, right, .. } => {
            f(left);
            f(right);
        }
        And(left, right) | Or(left, right) => {
            f(left);
            f(right);
        }
        Ternary { cond, then, otherwise } => {
            f(cond);
            f(then);
            f(otherwise);
        }
        Load { ptr, .. } | Address { ptr, .. } => f(ptr),
        Part { base, .. } => f(base),
        Element { base, index, .. } => {
            f(base);
            f(index);
        }
        StepLocal { .. } => {}
        Block { value, .. } => f(value),
    }
}

/// Whether evaluating `e` changes anything, leaves the program, or repeats.
pub fn has_effect(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::StepLocal { .. }
        | ExprKind::StepMap { .. }
        | ExprKind::Block { .. }
        | ExprKind::Foreign { .. }
        | ExprKind::Invoke { .. } => true,
        ExprKind::Call { intrinsic, .. } if builtins::of(*intrinsic).unsafe_ => true,
        _ => {
            let mut found = false;
            operands(e, &mut |x| found |= has_effect(x));
            found
        }
    }
}

/// Whether `e` reads the map.
pub fn reads_map(e: &Expr, map: u32) -> bool {
    match &e.kind {
        ExprKind::MapGet { map: m, .. } | ExprKind::AggGet { map: m, .. } | ExprKind::StepMap { map: m, .. } => {
            *m == map
        }
        ExprKind::Block { .. } | ExprKind::Invoke { .. } => true,
        _ => {
            let mut found = false;
            operands(e, &mut |x| found |= reads_map(x, map));
            found
        }
    }
}

/// Whether `e` calls a function of the script.
pub fn invokes(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Invoke { .. } | ExprKind::Block { .. } => true,
        _ => {
            let mut found = false;
            operands(e, &mut |x| found |= invokes(x));
            found
        }
    }
}

/// Whether `e` reads the local.
pub fn reads_local(e: &Expr, local: LocalId) -> bool {
    match &e.kind {
        ExprKind::Local(l) | ExprKind::LocalAddress(l) | ExprKind::StepLocal { local: l, .. } => *l == local,
        ExprKind::Block { .. } => true,
        _ => {
            let mut found = false;
            operands(e, &mut |x| found |= reads_local(x, local));
            found
        }
    }
}

/// Locals for which some way through the routine reads before it writes.
pub fn read_before_written(routine: Routine<'_>) -> HashSet<LocalId> {
    let mut walk = Walk { unset: HashSet::new() };
    walk.block(routine.body, &mut (0..routine.params as LocalId).collect());
    walk.unset
}

struct Walk {
    unset: HashSet<LocalId>,
}

type Written = HashSet<LocalId>;

impl Walk {
    fn block(&mut self, stmts: &[Stmt], written: &mut Written) {
        for s in stmts {
            self.stmt(s, written);
        }
    }

    fn stmt(&mut self, s: &Stmt, written: &mut Written) {
        match &s.kind {
            StmtKind::Expr(e) => self.expr(e, written),
            StmtKind::SetLocal { local, value } => {
                self.expr(value, written);
                written.insert(*local);
            }
            StmtKind::SetMap { key, value, .. } | StmtKind::UpdateMap { key, value, .. } => {
                key.iter().for_each(|k| self.expr(k, written));
                self.expr(value, written);
            }
            StmtKind::Aggregate { key, value, .. } => {
                key.iter().chain(value).for_each(|e| self.expr(e, written));
            }
            StmtKind::Delete { key, .. } => key.iter().for_each(|k| self.expr(k, written)),
            StmtKind::Event { args, .. } => args.iter().for_each(|a| self.expr(a, written)),
            StmtKind::If { cond, then, otherwise } => {
                self.expr(cond, written);
                let (mut a, mut b) = (written.clone(), written.clone());
                self.block(then, &mut a);
                self.block(otherwise, &mut b);
                written.extend(a.intersection(&b).copied());
            }
            StmtKind::While { local, cond, body } => {
                self.expr(cond, written);
                let mut inside = written.clone();
                inside.insert(*local);
                self.block(body, &mut inside);
            }
            StmtKind::ForRange { local, start, end, body } => {
                self.expr(start, written);
                self.expr(end, written);
                let mut inside = written.clone();
                inside.insert(*local);
                self.block(body, &mut inside);
            }
            StmtKind::ForMap { local, body, .. } => {
                let mut inside = written.clone();
                inside.insert(*local);
                self.block(body, &mut inside);
            }
            StmtKind::Return(value) => value.iter().for_each(|v| self.expr(v, written)),
            StmtKind::Break | StmtKind::Continue | StmtKind::Leave => {}
        }
    }

    fn expr(&mut self, e: &Expr, written: &mut Written) {
        match &e.kind {
            ExprKind::Local(l) | ExprKind::LocalAddress(l) | ExprKind::StepLocal { local: l, .. } => {
                if !written.contains(l) {
                    self.unset.insert(*l);
                }
            }
            ExprKind::Block { stmts, value } => {
                self.block(stmts, written);
                self.expr(value, written);
            }
            ExprKind::And(left, right) | ExprKind::Or(left, right) => {
                self.expr(left, written);
                self.expr(right, &mut written.clone());
            }
            ExprKind::Ternary { cond, then, otherwise } => {
                self.expr(cond, written);
                let (mut a, mut b) = (written.clone(), written.clone());
                self.expr(then, &mut a);
                self.expr(otherwise, &mut b);
                written.extend(a.intersection(&b).copied());
            }
            _ => operands(e, &mut |x| self.expr(x, written)),
        }
    }
}
