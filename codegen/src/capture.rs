//! Selection of the loops that become separate functions, called by the kernel for each iteration, and of the variables
//! such a function shares with the code around it. Reads the typed tree, builds nothing.
//!
//! A function that the kernel calls back sees nothing of the stack around it but the one address that it
//! is given. So variables used on both sides lie behind that address, in the program's *frame*: words in the
//! stack of the main function. Large values lie in scratch memory, which both sides look up.

use crate::Options;
use crate::analysis::{Routine, operands, read_before_written};
use rtrace_lang::grammar::ast::BinOp;
use rtrace_lang::source::Span;
use rtrace_lang::typed::{Expr, ExprKind, LocalId, Program, Stmt, StmtKind};
use std::collections::{HashMap, HashSet};

/// Loops over constant ranges up to this many rounds stay in place: the verifier walks through them at
/// once, and no call is needed.
const INLINE_ROUNDS: i64 = 64;
/// Words of the frame before the variables: the context, and how the program goes on after a loop.
pub const CONTEXT: u32 = 0;
pub const LEFT: u32 = 8;
pub const FIRST: u32 = 16;
/// In a function that gives a number: that number; the variables come after it.
pub const RESULT: u32 = FIRST;

/// The function that is called for each entry that is counted.
pub const COUNTING: &str = "rt_count";

/// A function: the main one, or the body of the loop with that variable.
pub type Home = Option<LocalId>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RangeLoop {
    /// A loop in place, with this number of iterations.
    Rounds(i64),
    /// In place, and the number of rounds is not known.
    Unknown,
    Callback,
}

pub fn range_loop(start: &Expr, end: &Expr, options: &Options) -> RangeLoop {
    match (start.constant(), end.constant()) {
        (Some(a), Some(b)) => {
            let rounds = b.saturating_sub(a).max(0);
            if rounds > INLINE_ROUNDS && options.bpf_loop { RangeLoop::Callback } else { RangeLoop::Rounds(rounds) }
        }
        _ if options.bpf_loop => RangeLoop::Callback,
        _ => RangeLoop::Unknown,
    }
}

/// Whether a `while` loop is called back. One that compares a variable with a small number most likely ends after few
/// rounds: it stays in place, where fewer instructions do.
pub fn while_callback(cond: &Expr, options: &Options) -> bool {
    options.bpf_loop && !counts_to_few(cond)
}

fn counts_to_few(cond: &Expr) -> bool {
    let few = |e: &Expr| e.constant().is_some_and(|n| n.abs() <= INLINE_ROUNDS);
    match &cond.kind {
        ExprKind::And(left, right) => counts_to_few(left) || counts_to_few(right),
        ExprKind::Compare { op, left, right, .. } => {
            let compares = matches!(op, BinOp::Lt | BinOp::Le | BinOp::Gt | BinOp::Ge);
            compares && (few(left) || few(right))
        }
        _ => false,
    }
}

/// The storage of the variables of a program.
#[derive(Default)]
pub struct Plan {
    homes: HashMap<LocalId, Home>,
    shared: HashSet<LocalId>,
    words: HashMap<LocalId, u32>,
    starts: HashMap<LocalId, u32>,
    /// Bytes of the frame, and of those before the variables.
    size: u32,
    fixed: u32,
}

impl Plan {
    pub fn new(routine: Routine<'_>, options: &Options) -> Plan {
        let mut walk = Walk { options, plan: Plan::default(), callbacks: HashSet::new() };
        (0..routine.params as LocalId).for_each(|id| walk.used(id, None));
        walk.block(routine.body, None);
        let (mut plan, callbacks) = (walk.plan, walk.callbacks);
        if callbacks.is_empty() {
            return plan;
        }
        // What a round may read from the round before must not start anew with each call.
        let unset = read_before_written(routine);
        let kept = plan.homes.iter().filter(|(id, home)| home.is_some() && unset.contains(id)).map(|(id, _)| *id);
        plan.shared.extend(kept.collect::<Vec<_>>());
        plan.fixed = if routine.gives_number { RESULT + 8 } else { FIRST };
        plan.size = plan.fixed;
        for (id, local) in routine.locals.iter().enumerate() {
            let id = id as LocalId;
            if local.ty.is_scalar() && plan.shared.contains(&id) {
                plan.words.insert(id, plan.size);
                plan.size += 8;
            }
        }
        let mut starts: Vec<LocalId> = plan.starts.keys().copied().collect();
        starts.sort_unstable();
        for id in starts {
            plan.starts.insert(id, plan.size);
            plan.size += 8;
        }
        plan
    }

    /// Bytes of the frame; 0 for a program without such functions.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Bytes of it before the variables.
    pub fn fixed(&self) -> u32 {
        self.fixed
    }

    pub fn is_shared(&self, local: LocalId) -> bool {
        self.shared.contains(&local)
    }

    /// The function that alone uses a variable.
    pub fn home(&self, local: LocalId) -> Home {
        if self.is_shared(local) { None } else { self.homes.get(&local).copied().flatten() }
    }

    /// Offset in the frame of a shared variable.
    pub fn word(&self, local: LocalId) -> Option<u32> {
        self.words.get(&local).copied()
    }

    /// Offset in the frame of where the range of a loop starts.
    pub fn start(&self, local: LocalId) -> Option<u32> {
        self.starts.get(&local).copied()
    }
}

struct Walk<'o> {
    options: &'o Options,
    plan: Plan,
    callbacks: HashSet<LocalId>,
}

impl Walk<'_> {
    fn used(&mut self, local: LocalId, home: Home) {
        if *self.plan.homes.entry(local).or_insert(home) != home {
            self.plan.shared.insert(local);
        }
    }

    fn block(&mut self, stmts: &[Stmt], home: Home) {
        for s in stmts {
            match &s.kind {
                StmtKind::SetLocal { local, .. } => self.used(*local, home),
                StmtKind::ForMap { local, .. } => {
                    self.callbacks.insert(*local);
                    self.used(*local, Some(*local));
                }
                StmtKind::ForRange { local, start, end, .. } => {
                    if range_loop(start, end, self.options) == RangeLoop::Callback {
                        self.callbacks.insert(*local);
                        self.plan.starts.insert(*local, 0);
                        self.used(*local, Some(*local));
                    } else {
                        self.used(*local, home);
                    }
                }
                StmtKind::While { local, cond, .. } if while_callback(cond, self.options) => {
                    self.callbacks.insert(*local);
                    self.used(*local, Some(*local));
                }
                _ => {}
            }
            let inside = match &s.kind {
                StmtKind::ForMap { local, .. } | StmtKind::ForRange { local, .. } | StmtKind::While { local, .. }
                    if self.callbacks.contains(local) =>
                {
                    Some(*local)
                }
                _ => home,
            };
            // The condition of a `while` is asked in each round.
            let asked = if matches!(s.kind, StmtKind::While { .. }) { inside } else { home };
            expressions(s, &mut |e| self.expr(e, asked));
            blocks(s, &mut |b| self.block(b, inside));
        }
    }

    fn expr(&mut self, e: &Expr, home: Home) {
        match &e.kind {
            ExprKind::Local(local) | ExprKind::LocalAddress(local) | ExprKind::StepLocal { local, .. } => {
                self.used(*local, home);
            }
            ExprKind::Block { stmts, .. } => self.block(stmts, home),
            _ => {}
        }
        operands(e, &mut |x| self.expr(x, home));
    }
}

/// The expressions of a statement itself.
pub fn expressions<'s>(s: &'s Stmt, f: &mut dyn FnMut(&'s Expr)) {
    match &s.kind {
        StmtKind::Expr(e) | StmtKind::SetLocal { value: e, .. } => f(e),
        StmtKind::SetMap { key, value, .. } | StmtKind::UpdateMap { key, value, .. } => {
            key.iter().for_each(&mut *f);
            f(value);
        }
        StmtKind::Aggregate { key, value, .. } => key.iter().chain(value).for_each(f),
        StmtKind::Delete { key, .. } => key.iter().for_each(f),
        StmtKind::Event { args, .. } => args.iter().for_each(f),
        StmtKind::If { cond, .. } | StmtKind::While { cond, .. } => f(cond),
        StmtKind::ForRange { start, end, .. } => {
            f(start);
            f(end);
        }
        StmtKind::Return(value) => value.iter().for_each(f),
        StmtKind::ForMap { .. } | StmtKind::Break | StmtKind::Continue | StmtKind::Leave => {}
    }
}

/// The blocks of a statement itself.
pub fn blocks<'s>(s: &'s Stmt, f: &mut dyn FnMut(&'s [Stmt])) {
    match &s.kind {
        StmtKind::If { then, otherwise, .. } => {
            f(then);
            f(otherwise);
        }
        StmtKind::While { body, .. } | StmtKind::ForRange { body, .. } | StmtKind::ForMap { body, .. } => f(body),
        _ => {}
    }
}

/// The places of the loops that may have to be stopped before their end.
pub fn limited_loops(program: &Program) -> HashSet<Span> {
    let mut found = HashSet::new();
    limited_in(&program.body, &mut found);
    program.functions.iter().for_each(|f| limited_in(&f.body, &mut found));
    found
}

fn limited_in(stmts: &[Stmt], found: &mut HashSet<Span>) {
    for s in stmts {
        match &s.kind {
            StmtKind::While { .. } => {
                found.insert(s.span);
            }
            StmtKind::ForRange { start, end, .. } if start.constant().is_none() || end.constant().is_none() => {
                found.insert(s.span);
            }
            _ => {}
        }
        expressions(s, &mut |e| limited_within(e, found));
        blocks(s, &mut |b| limited_in(b, found));
    }
}

fn limited_within(e: &Expr, found: &mut HashSet<Span>) {
    if let ExprKind::Block { stmts, .. } = &e.kind {
        limited_in(stmts, found);
    }
    operands(e, &mut |x| limited_within(x, found));
}
