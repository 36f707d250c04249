//! The check pass: names to meanings, types to every expression, one typed program per probe.
//!
//! A map has one type in the whole script and a variable one in its clause, inferred from all uses.
//! So the script is walked until the types of maps and variables no longer change, and then once more
//! to make the result; only that last walk reports errors.
//!
//! A clause is checked once for all its attach points when nothing in it depends on which one fired,
//! and once for each when it does (`args`, `retval`); equal results are merged into one program.

mod access;
mod args;
mod binary;
mod byte_order;
mod call;
mod convert;
mod draft;
mod expr;
mod function;
mod maps;
mod order;
mod parameters;
mod pinned;
mod session;
mod space;
mod stmt;
mod suggest;
mod type_info;
mod type_names;
mod usdt;
mod user;

pub(crate) use access::characters;
pub(crate) use call::{AggregateCheck, Call, CallCheck, LoweredCheck};
pub(crate) use convert::kept;
pub(crate) use expr::{effect, string};
pub(crate) use maps::MapInfo;
pub(crate) use type_names::primitive;

use crate::bundle::{Action, EventDef, EventLayout, ProbeInfo, ProgType, Target};
use crate::config::Options;
use crate::diag::{Diagnostic, Result, Severity};
use crate::intrinsic::Intrinsic;
use crate::kernel::Kernel;
use crate::parameters::Parameter;
use crate::probes::{self, Context, ProbeKind, Resolved};
use crate::script::{ResolvedClause, ResolvedScript};
use crate::source::{SourceMap, Span};
use crate::typed::{EventId, Expr, ExprKind, Function, Local, LocalId, MapId, Program, Stmt, StmtKind};
use crate::types::Type;
use draft::{Draft, MANY};
use rtrace_grammar::ast;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// The result of the check pass: programs, and the tables they refer to.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub programs: Vec<Program>,
    pub probes: Vec<ProbeInfo>,
    pub maps: Vec<MapInfo>,
    pub events: Vec<EventDef>,
    pub time_formats: Vec<String>,
    /// Some program computes the TAI clock.
    pub tai: bool,
    /// Some program unwinds user stacks by tables.
    pub unwinds: bool,
    /// The warnings.
    pub warnings: Vec<Diagnostic>,
}

/// The attach point that a body is being checked for.
#[derive(Clone, Debug)]
pub(crate) struct ProbeState {
    pub kind: &'static ProbeKind,
    pub prog_type: ProgType,
    pub context: Context,
    pub target: Target,
    /// Full name and function of the attach point.
    pub name: String,
    pub function: String,
    /// The clause has many attach points.
    pub many: bool,
    /// The result depends on which attach point this is.
    pub specific: Cell<bool>,
    /// It depends on how the kernel came to the attach point.
    pub kernel_frames: bool,
    /// How often the body asks which attach point fired.
    pub id_uses: Cell<u32>,
    /// The body calls `exit()` somewhere.
    pub exits: bool,
    /// The clause, for mended lines.
    pub clause: Option<ast::Probe>,
}

/// The state of the walk. Rows of the builtin table work through its methods.
pub(crate) struct Checker<'a> {
    pub kernel: Kernel<'a>,
    pub options: &'a Options,
    pub sources: &'a SourceMap,
    /// The names defined by `#define`.
    pub defines: &'a HashMap<String, ast::Expr>,
    /// Definitions that are being looked into: one that names itself is no definition.
    pub defining: Vec<String>,
    pub probe: ProbeState,
    pub maps: Vec<MapInfo>,
    map_ids: HashMap<String, MapId>,
    events: Vec<EventDef>,
    pub time_formats: Vec<String>,
    pub tai: bool,
    pub unwinds: bool,
    locals: Vec<Local>,
    /// Those whose type the script says.
    declared: HashSet<LocalId>,
    scopes: Vec<HashMap<String, LocalId>>,
    /// Types of variables found so far.
    local_types: HashMap<LocalKey, Type>,
    /// Variables without a value because the statement that sets them is wrong.
    broken: HashMap<String, Diagnostic>,
    /// The script's functions as written.
    functions: &'a [ast::FnDef],
    /// Those that the program being checked calls, with their index in `functions`.
    called: Vec<(usize, Function)>,
    /// The functions that the walk is in, outermost first; by index in `functions`.
    inside: Vec<usize>,
    /// The result type of the innermost of them.
    result: Type,
    /// The functions that some probe calls.
    reached: HashSet<usize>,
    /// Some branch is never taken and was not checked.
    pruned: bool,
    clause: usize,
    /// Number of the clause's attach point that the body is checked for.
    target: usize,
    loops: u32,
    /// Copies that the `unroll`s around the current statement make of it.
    unrolled: i64,
    changed: bool,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    /// The places at which numbers in network byte order are read, and their sizes.
    big_endian: HashMap<Span, u32>,
    /// The variables that hold such numbers.
    network: HashMap<LocalId, u32>,
    origins: space::Origins,
}

/// A variable across rounds: clause, attach point, function, name, and which of that name.
type LocalKey = (usize, usize, Option<usize>, String, usize);

/// More rounds than any sensible script needs; each round can only widen types.
const MAX_ROUNDS: usize = 16;

/// The named parameters that a script asks for with `getopt`, and what is wrong with them or their values.
pub(crate) fn parameters<'p>(
    probes: impl Iterator<Item = &'p ast::Probe>,
    script: &ResolvedScript,
    options: &Options,
    sources: &SourceMap,
    kernel: Kernel<'_>,
) -> (Vec<Parameter>, Vec<Diagnostic>) {
    let mut checker = Checker::new(script, options, sources, kernel);
    let list = checker.parameters(probes);
    (list, checker.errors)
}

/// Checks a script whose probes are resolved.
pub(crate) fn check(
    script: &ResolvedScript,
    options: &Options,
    sources: &SourceMap,
    kernel: Kernel<'_>,
) -> std::result::Result<Checked, Vec<Diagnostic>> {
    let mut checker = Checker::new(script, options, sources, kernel);
    let known = checker.parameters(script.clauses.iter().map(|c| &c.probe));
    if checker.errors.is_empty() {
        checker.errors = parameters::unknown(&known, &options.named);
    }
    for decl in &script.map_decls {
        checker.declare_map(decl);
    }
    // Each walk begins without errors; these are found once.
    let mut errors = std::mem::take(&mut checker.errors);
    checker.settle(script);
    // What only depends on itself, `@x = @x + 1`, is a number.
    let mut itself = false;
    for map in checker.maps.iter_mut().filter(|m| m.value.is_none() && m.assigned) {
        map.value = Some(Type::I64);
        itself = true;
    }
    if itself {
        checker.settle(script);
    }
    if script.incomplete || checker.pruned {
        // What only missing probes, or branches that are never taken, assign to is zero.
        for map in checker.maps.iter_mut().filter(|m| m.value.is_none()) {
            map.key.get_or_insert(None);
            map.value = Some(Type::I64);
        }
        checker.settle(script);
    }
    // What is read but nothing is assigned to is zero, too, and a mistake more often than not: a warning.
    let mut unset = false;
    for map in checker.maps.iter_mut().filter(|m| m.value.is_none() && m.read) {
        map.key.get_or_insert(None);
        (map.value, map.unset, unset) = (Some(Type::I64), true, true);
    }
    if unset {
        checker.settle(script);
    }
    let (mut programs, probes) = checker.walk(script);
    order::arrange(&mut programs, kernel);
    session::pair(&mut programs, kernel);
    errors.append(&mut checker.errors);
    errors.append(&mut checker.uncalled(script.clauses.len()));
    checker.without_values(&mut errors);
    if !errors.is_empty() {
        // What a wrong statement makes wrong elsewhere is the same error.
        let mut unique: Vec<Diagnostic> = Vec::new();
        for e in errors {
            if !unique.contains(&e) {
                unique.push(e);
            }
        }
        return Err(unique);
    }
    let Checker { maps, events, time_formats, tai, unwinds, warnings, .. } = checker;
    Ok(Checked { programs, probes, maps, events, time_formats, tai, unwinds, warnings })
}

impl<'a> Checker<'a> {
    fn new(script: &'a ResolvedScript, options: &'a Options, sources: &'a SourceMap, kernel: Kernel<'a>) -> Self {
        let nothing = ProbeState {
            kind: &probes::BEGIN,
            prog_type: ProgType::RawTracepoint,
            context: Context::Nothing,
            target: Target::Begin,
            name: String::new(),
            function: String::new(),
            many: false,
            specific: Cell::new(false),
            kernel_frames: false,
            id_uses: Cell::new(0),
            exits: false,
            clause: None,
        };
        Checker {
            kernel,
            options,
            sources,
            defines: &script.defines,
            defining: Vec::new(),
            probe: nothing,
            maps: Vec::new(),
            map_ids: HashMap::new(),
            events: Vec::new(),
            time_formats: Vec::new(),
            tai: false,
            unwinds: false,
            locals: Vec::new(),
            declared: HashSet::new(),
            scopes: Vec::new(),
            local_types: HashMap::new(),
            broken: HashMap::new(),
            functions: &script.functions,
            called: Vec::new(),
            inside: Vec::new(),
            result: Type::Void,
            reached: HashSet::new(),
            pruned: false,
            clause: 0,
            target: 0,
            loops: 0,
            unrolled: 1,
            changed: false,
            errors: Vec::new(),
            warnings: Vec::new(),
            big_endian: HashMap::new(),
            network: HashMap::new(),
            origins: space::Origins::default(),
        }
    }
}

impl Checker<'_> {
    /// Walks the script until no type changes.
    fn settle(&mut self, script: &ResolvedScript) {
        for _ in 0..MAX_ROUNDS {
            self.walk(script);
            if !std::mem::take(&mut self.changed) {
                break;
            }
        }
    }

    /// Walks the whole script once.
    fn walk(&mut self, script: &ResolvedScript) -> (Vec<Program>, Vec<ProbeInfo>) {
        self.errors.clear();
        self.warnings.clear();
        self.events.clear();
        self.time_formats.clear();
        let mut programs = Vec::new();
        let mut probes = Vec::new();
        for (index, clause) in script.clauses.iter().enumerate() {
            self.clause = index;
            for program in self.clause(clause) {
                let number = programs.len();
                programs.push(self.finish(program, clause, number, &mut probes));
            }
        }
        (programs, probes)
    }

    /// Checks a clause for all its attach points; each result lists the targets that share it.
    fn clause<'c>(&mut self, clause: &'c ResolvedClause) -> Vec<Draft<'c>> {
        let mut drafts: Vec<Draft<'c>> = Vec::new();
        for (number, (target, span)) in clause.targets.iter().enumerate() {
            self.target = number;
            // A body that asks nothing of its attach point serves all of one program type.
            if let Some(d) = drafts.iter_mut().find(|d| !d.specific && d.shares_with(target)) {
                d.targets.push((target, *span));
                continue;
            }
            let errors_before = self.errors.len();
            let mut draft = self.body(clause, target, *span);
            if self.errors.len() > errors_before {
                // The other attach points would mostly repeat the same errors.
                self.errors.truncate(errors_before.max(1).max(errors_before + 8));
                drafts.push(draft);
                break;
            }
            match drafts.iter_mut().find(|d| d.shares_with(target) && d.same_code(&draft)) {
                Some(d) => d.targets.append(&mut draft.targets),
                None => drafts.push(draft),
            }
        }
        drafts
    }

    fn body<'c>(&mut self, clause: &'c ResolvedClause, target: &'c Resolved, span: Span) -> Draft<'c> {
        self.probe = ProbeState {
            kind: target.kind,
            prog_type: target.prog_type,
            context: target.context.clone(),
            target: target.target.clone(),
            name: target.name.clone(),
            function: target.function.clone(),
            many: clause.targets.len() >= MANY,
            specific: Cell::new(false),
            kernel_frames: false,
            id_uses: Cell::new(0),
            exits: false,
            clause: Some(clause.probe.clone()),
        };
        self.locals.clear();
        self.declared.clear();
        self.network.clear();
        self.called.clear();
        self.broken.clear();
        self.scopes = vec![HashMap::new()];
        self.loops = 0;
        self.unrolled = 1;
        let predicate = clause.probe.predicate.as_ref().map(|p| self.expr(p).and_then(|e| self.truth(e)));
        let mut body = match predicate {
            // Like a branch that is never taken, the body of such a probe is not checked.
            Some(Ok(cond)) if cond.constant() == Some(0) => {
                self.pruned = true;
                Vec::new()
            }
            Some(Ok(cond)) if cond.constant().is_none() => {
                let (span, then) = (cond.span, self.block(&clause.probe.body));
                vec![Stmt { kind: StmtKind::If { cond, then, otherwise: Vec::new() }, span }]
            }
            Some(Err(e)) => {
                self.errors.push(*e);
                self.block(&clause.probe.body)
            }
            _ => self.block(&clause.probe.body),
        };
        if let Some(pid) = self.options.pid
            && !target.target.is_special()
            && !matches!(target.target, Target::Interval { .. })
        {
            let span = clause.probe.span;
            // An iterator runs in our own process; only of tasks it can be told whose they are.
            let current = match &target.context {
                Context::Iter(function) if function.params.iter().all(|p| p.0 != "task") => None,
                Context::Iter(_) => Some(self.prelude("iterated_process", &[], span)),
                _ => Some(Ok(Expr::intrinsic(Intrinsic::Pid, Vec::new(), Type::U32, span))),
            };
            if let Some(Ok(current)) = current {
                body = only_process(current, pid, body, span);
            }
        }
        Draft {
            body,
            locals: std::mem::take(&mut self.locals),
            functions: std::mem::take(&mut self.called).into_iter().map(|(_, f)| f).collect(),
            specific: self.probe.specific.get(),
            kernel_frames: self.probe.kernel_frames,
            uses_id: self.probe.id_uses.get() > 0,
            exits: self.probe.exits,
            targets: vec![(target, span)],
        }
    }

    /// A new variable in the innermost scope.
    pub(crate) fn new_local(&mut self, name: &str, ty: &Type) -> LocalId {
        let id = self.locals.len() as LocalId;
        let ty = match self.local_types.get(&self.local_key(name, id)) {
            // Declared without a type: it has that of what is assigned to it further on.
            Some(known) if *ty == Type::Void => known.clone(),
            Some(known) => convert::unify(known, ty).unwrap_or_else(|| ty.clone()),
            None => ty.clone(),
        };
        self.locals.push(Local { name: name.to_owned(), ty: ty.clone() });
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), id);
        }
        self.note_local(id, ty);
        id
    }

    /// A new variable of the type that the script says.
    pub(crate) fn declared_local(&mut self, name: &str, ty: &Type) -> LocalId {
        let id = self.locals.len() as LocalId;
        self.locals.push(Local { name: name.to_owned(), ty: ty.clone() });
        self.declared.insert(id);
        if let Some(scope) = self.scopes.last_mut() {
            scope.insert(name.to_owned(), id);
        }
        id
    }

    fn local_key(&self, name: &str, id: LocalId) -> LocalKey {
        let same = self.locals.iter().take(id as usize).filter(|l| l.name == name).count();
        (self.clause, self.target, self.inside.last().copied(), name.to_owned(), same)
    }

    fn local_key_of(&self, id: LocalId) -> LocalKey {
        let name = self.locals.get(id as usize).map(|l| l.name.clone()).unwrap_or_default();
        self.local_key(&name, id)
    }

    fn note_local(&mut self, id: LocalId, ty: Type) {
        let key = self.local_key_of(id);
        if self.local_types.get(&key) != Some(&ty) {
            self.local_types.insert(key, ty.clone());
            self.changed = true;
        }
        if let Some(local) = self.locals.get_mut(id as usize) {
            local.ty = ty;
        }
    }

    pub(crate) fn find_local(&self, name: &str) -> Option<LocalId> {
        self.scopes.iter().rev().find_map(|s| s.get(name)).copied()
    }

    pub(crate) fn local_type(&self, id: LocalId) -> Type {
        self.locals.get(id as usize).map_or(Type::Void, |l| l.ty.clone())
    }

    /// The number of an event, one for each call and combination of types.
    pub(crate) fn event(&mut self, action: Action, fields: Vec<Type>, span: Span) -> EventId {
        if let Target::Iter { pin: Some(_), .. } = self.probe.target
            && let Some(error) = pinned::refuse(&action, &fields, span)
        {
            self.errors.push(*error);
        }
        self.probe.exits |= action == Action::Exit;
        let layout = EventLayout::new(&fields);
        // Where it is counted is for the layout pass to say.
        let event = EventDef { action, fields, layout, lost: 0, span: (span.start, span.end) };
        if let Some(i) = self.events.iter().position(|e| *e == event) {
            return i as EventId;
        }
        self.events.push(event);
        self.events.len() as EventId - 1
    }

    /// Says that something is odd, once for each place.
    pub(crate) fn warn(&mut self, warning: Box<Diagnostic>) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(*warning);
        }
    }

    /// The use of a feature that a setting may warn about or forbid.
    pub(crate) fn feature(&mut self, setting: &str, what: &str, span: Span) -> Result<()> {
        match self.options.feature(setting, what, span) {
            Some(d) if d.severity == Severity::Error => Err(d),
            Some(d) => {
                self.warn(d);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// The expression of a statement-like call: sends an event.
    pub(crate) fn send(&mut self, action: Action, args: Vec<Expr>, span: Span) -> Expr {
        let fields = args.iter().map(|a| a.ty.clone()).collect();
        let event = self.event(action, fields, span);
        self.effect(vec![Stmt { kind: StmtKind::Event { event, args }, span }], span)
    }

    /// Statements as an expression without a value.
    pub(crate) fn effect(&self, stmts: Vec<Stmt>, span: Span) -> Expr {
        let value = Box::new(Expr::int(0, Type::Void, span));
        Expr { kind: ExprKind::Block { stmts, value }, ty: Type::Void, span }
    }
}

/// `if (current == PID) { body }`, for `-p`.
fn only_process(current: Expr, pid: u32, body: Vec<Stmt>, span: Span) -> Vec<Stmt> {
    let right = Box::new(Expr::int(i64::from(pid), current.ty.clone(), span));
    let kind = ExprKind::Compare { op: ast::BinOp::Eq, signed: false, left: Box::new(current), right };
    let cond = Expr { kind, ty: Type::Bool, span };
    vec![Stmt { kind: StmtKind::If { cond, then: body, otherwise: Vec::new() }, span }]
}
