//! The typed program as text, for `rtrace --emit typed` and the golden tests.
//!
//! One declaration or statement per line, bodies indented by two blanks. A type stands in parentheses
//! before a value wherever it does not follow from the operands: `(string[16])comm()`. Memory is written
//! as what reads it: `ctx[112]` a word of the context, `load.kernel(p, +32)` a read through a pointer,
//! `part(v, +8)` a piece of a value that is already there.

use crate::builtins;
use crate::bundle::{
    Action, AttachMode, AttachPoint, EventDef, Format, MapDef, MapObject, Piece, ProbeIdSource, ProgType, Sampling,
    Storage, Target, Watched,
};
use crate::typed::{Bits, Expr, ExprKind, Function, Known, Local, LocalId, MapId, Program, Stmt, StmtKind, Typed};
use crate::types::{Agg, Space, StackMode, Type};
use rtrace_grammar::ast::BinOp;
use std::fmt::Write as _;

/// The whole program; deterministic.
pub fn dump(typed: &Typed) -> String {
    let mut d = Dump { typed, locals: Vec::new(), functions: Vec::new(), out: String::new(), depth: 0 };
    d.tables();
    for program in &typed.programs {
        d.program(program);
    }
    d.out
}

struct Dump<'t> {
    typed: &'t Typed,
    /// Names of the current program's variables, made unique.
    locals: Vec<String>,
    /// Names of the functions that it calls.
    functions: Vec<String>,
    out: String,
    depth: usize,
}

impl Dump<'_> {
    fn line(&mut self, text: &str) {
        for _ in 0..self.depth {
            self.out.push_str("  ");
        }
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn inside(&mut self, children: impl FnOnce(&mut Self)) {
        self.depth += 1;
        children(self);
        self.depth -= 1;
    }

    // ---- tables ----

    fn tables(&mut self) {
        let t = self.typed;
        if let Some(pid) = t.config.pid {
            self.line(&format!("only process {pid}"));
        }
        for map in &t.maps {
            self.line(&map_text(map));
        }
        for (i, object) in t.map_objects.iter().enumerate() {
            self.line(&object_text(i, object));
        }
        if !t.maps.is_empty() {
            self.line(&format!("globals {} bytes", t.globals.size));
        }
        for (i, format) in t.time_formats.iter().enumerate() {
            self.line(&format!("time format {i} {format:?}"));
        }
        for e in &t.enums {
            // Enough to recognise it by: some have hundreds.
            let mut values: Vec<String> = e.values.iter().take(3).map(|(n, v)| format!("{n} = {v}")).collect();
            if e.values.len() > 3 {
                values.push(format!("… {} in all", e.values.len()));
            }
            self.line(&format!("enum {} {{ {} }}", e.name, values.join(", ")));
        }
        for r in &t.records {
            self.line(&format!("{}, {} bytes, {} members", r.record.name, r.record.size, r.fields.len()));
        }
        for (i, event) in t.events.iter().enumerate() {
            self.event(i, event);
        }
    }

    fn event(&mut self, index: usize, event: &EventDef) {
        let action = self.action(&event.action);
        if event.fields.is_empty() {
            self.line(&format!("event {index} {action}"));
            return;
        }
        let size = if event.layout.is_variable() {
            format!("{} to {} bytes", event.layout.fixed_size, event.layout.max_size)
        } else {
            format!("{} bytes", event.layout.fixed_size)
        };
        self.line(&format!("event {index} {action}, {size}"));
        self.inside(|d| {
            for (ty, field) in event.fields.iter().zip(&event.layout.fields) {
                let more = if field.var_max > 0 { format!(", up to {} behind", field.var_max) } else { String::new() };
                d.line(&format!("+{} {}{more}", field.offset, type_text(ty)));
            }
        });
    }

    fn action(&self, action: &Action) -> String {
        let partly = |top: u32, div: u64| {
            let top = if top > 0 { format!(" top {top}") } else { String::new() };
            let div = if div > 0 { format!(" div {div}") } else { String::new() };
            format!("{top}{div}")
        };
        match action {
            Action::Printf { format, stream } => {
                format!("printf {} {}", format!("{stream:?}").to_lowercase(), format_text(format))
            }
            Action::PrintValue => "print".into(),
            Action::PrintMap { map, top, div } => format!("print {}{}", self.map(*map), partly(*top, *div)),
            Action::PrintEntry { map, top, div, .. } => {
                format!("print entry of {}{}", self.map(*map), partly(*top, *div))
            }
            Action::Clear { map } => format!("clear {}", self.map(*map)),
            Action::Zero { map } => format!("zero {}", self.map(*map)),
            Action::Exit => "exit".into(),
            Action::Unwatch => "unwatch".into(),
            Action::Time { format } => format!("time {format:?}"),
            Action::System { format } => format!("system {}", format_text(format)),
            Action::Cat { format } => format!("cat {}", format_text(format)),
            Action::Failure { helper } => format!("failure of {helper}"),
            Action::Packet { path, offset } => format!("packet {path:?} from {offset}"),
        }
    }

    fn map(&self, id: MapId) -> &str {
        self.typed.maps.get(id as usize).map_or("@?", |m| m.name.as_str())
    }

    // ---- programs ----

    fn program(&mut self, program: &Program) {
        let mut head = format!("program {} {}", program.symbol, prog_type(program.prog_type));
        match program.probe_id {
            ProbeIdSource::Unused => {}
            ProbeIdSource::Patch => head.push_str(", probe by patch"),
            ProbeIdSource::Cookie => head.push_str(", probe by cookie"),
        }
        match program.attach_mode {
            AttachMode::No => {}
            AttachMode::Link => head.push_str(", multi"),
            AttachMode::Event => head.push_str(", event"),
        }
        if let Some(returns) = program.session.and_then(|n| self.typed.programs.get(n as usize)) {
            head.push_str(&format!(", session with {}", returns.symbol));
        }
        if program.after_exit {
            head.push_str(", not after exit");
        }
        self.line(&head);
        self.functions = program.functions.iter().map(|f| f.name.clone()).collect();
        self.inside(|d| {
            for point in &program.attach {
                d.attach(point);
            }
            for function in &program.functions {
                d.function(function);
            }
            d.name_locals(&program.locals);
            d.list_locals(&program.locals, 0);
            d.line("do");
            d.block(&program.body);
        });
    }

    fn function(&mut self, f: &Function) {
        self.name_locals(&f.locals);
        let params = f.locals.iter().take(f.params).enumerate();
        let params: Vec<String> =
            params.map(|(i, l)| format!("{}: {}", self.local(i as LocalId), type_text(&l.ty))).collect();
        self.line(&format!("fn {}({}): {}", f.name, params.join(", "), type_text(&f.result)));
        self.inside(|d| {
            d.list_locals(&f.locals, f.params);
            d.line("do");
            d.block(&f.body);
        });
    }

    fn name_locals(&mut self, locals: &[Local]) {
        self.locals.clear();
        for (i, local) in locals.iter().enumerate() {
            let same = locals.iter().take(i).filter(|l| l.name == local.name).count();
            let number = if same > 0 { format!("#{}", same + 1) } else { String::new() };
            self.locals.push(format!("${}{number}", local.name));
        }
    }

    fn list_locals(&mut self, locals: &[Local], from: usize) {
        for (i, local) in locals.iter().enumerate().skip(from) {
            let name = self.local(i as LocalId).to_owned();
            self.line(&format!("{name}: {}", type_text(&local.ty)));
        }
    }

    fn attach(&mut self, point: &AttachPoint) {
        let info = self.typed.probes.get(point.probe as usize);
        let name = info.map_or("?", |p| p.name.as_str());
        let place = target_text(&point.target);
        self.line(&format!("at {} {name}{place}", point.probe));
    }

    fn local(&self, id: LocalId) -> &str {
        self.locals.get(id as usize).map_or("$?", String::as_str)
    }

    // ---- statements ----

    fn block(&mut self, stmts: &[Stmt]) {
        self.inside(|d| stmts.iter().for_each(|s| d.stmt(s)));
    }

    fn stmt(&mut self, s: &Stmt) {
        match &s.kind {
            StmtKind::If { cond, then, otherwise } => {
                let cond = self.expr(cond);
                self.line(&format!("if {cond}"));
                self.block(then);
                if !otherwise.is_empty() {
                    self.line("else");
                    self.block(otherwise);
                }
            }
            StmtKind::While { cond, body, .. } => {
                let cond = self.expr(cond);
                self.line(&format!("while {cond}"));
                self.block(body);
            }
            StmtKind::ForRange { local, start, end, body } => {
                let head = format!("for {} in {}..{}", self.local(*local), self.expr(start), self.expr(end));
                self.line(&head);
                self.block(body);
            }
            StmtKind::ForMap { local, map, body } => {
                let head = format!("for {} in {}", self.local(*local), self.map(*map));
                self.line(&head);
                self.block(body);
            }
            _ => {
                let text = self.simple(s);
                self.line(&text);
            }
        }
    }

    /// A statement on one line; those with bodies, inside expressions, in braces.
    fn simple(&self, s: &Stmt) -> String {
        let value = |e: &Option<Expr>| e.as_ref().map(|e| self.expr(e)).unwrap_or_default();
        match &s.kind {
            StmtKind::Expr(e) => self.expr(e),
            StmtKind::SetLocal { local, value } => format!("{} = {}", self.local(*local), self.expr(value)),
            StmtKind::SetMap { map, key, value } => {
                format!("{} = {}", self.place(*map, key.as_ref()), self.expr(value))
            }
            StmtKind::UpdateMap { map, key, op, value } => {
                format!("{} {}= {}", self.place(*map, key.as_ref()), op.text(), self.expr(value))
            }
            StmtKind::Aggregate { map, key, value: v } => {
                let name = match self.typed.maps.get(*map as usize).map(|m| &m.value) {
                    Some(Type::Agg(a)) => a.name(),
                    _ => "?",
                };
                format!("{} = {name}({})", self.place(*map, key.as_ref()), value(v))
            }
            StmtKind::Delete { map, key } => format!("delete {}", self.place(*map, key.as_ref())),
            StmtKind::Event { event, args } => format!("send {event}({})", self.list(args)),
            StmtKind::If { cond, then, otherwise } => {
                format!("if {} {{ {} }} else {{ {} }}", self.expr(cond), self.stmts(then), self.stmts(otherwise))
            }
            StmtKind::While { cond, body, .. } => {
                format!("while {} {{ {} }}", self.expr(cond), self.stmts(body))
            }
            StmtKind::ForRange { local, start, end, body } => {
                let (start, end) = (self.expr(start), self.expr(end));
                format!("for {} in {start}..{end} {{ {} }}", self.local(*local), self.stmts(body))
            }
            StmtKind::ForMap { local, map, body } => {
                format!("for {} in {} {{ {} }}", self.local(*local), self.map(*map), self.stmts(body))
            }
            StmtKind::Break => "break".into(),
            StmtKind::Continue => "continue".into(),
            StmtKind::Leave => "leave".into(),
            StmtKind::Return(None) => "return".into(),
            StmtKind::Return(Some(v)) => format!("return {}", self.expr(v)),
        }
    }

    fn stmts(&self, list: &[Stmt]) -> String {
        list.iter().map(|s| self.simple(s)).collect::<Vec<_>>().join("; ")
    }

    /// `@m` or `@m[key]`
    fn place(&self, map: MapId, key: Option<&Expr>) -> String {
        match key {
            Some(k) => format!("{}[{}]", self.map(map), self.expr(k)),
            None => self.map(map).to_owned(),
        }
    }

    // ---- expressions ----

    fn list(&self, list: &[Expr]) -> String {
        list.iter().map(|e| self.expr(e)).collect::<Vec<_>>().join(", ")
    }

    fn expr(&self, e: &Expr) -> String {
        let ty = type_text(&e.ty);
        match &e.kind {
            ExprKind::Int(v) => int_text(*v, &e.ty),
            ExprKind::Bytes(bytes) => bytes_text(bytes, &e.ty),
            ExprKind::Local(id) => self.local(*id).to_owned(),
            ExprKind::MapGet { map, key } => self.place(*map, key.as_deref()),
            ExprKind::MapHas { map, key } => format!("has({})", self.place(*map, key.as_deref())),
            ExprKind::AggGet { map, key } => format!("total({})", self.place(*map, key.as_deref())),
            ExprKind::MapLen { map } => format!("len({})", self.map(*map)),
            ExprKind::Ctx { offset } => format!("({ty})ctx[{offset}]"),
            ExprKind::CtxAddr { offset } => format!("({ty})&ctx[{offset}]"),
            ExprKind::CtxDataLoc { offset } => format!("({ty})data_loc(ctx[{offset}])"),
            ExprKind::ProbeId => format!("({ty})probe_id"),
            ExprKind::Call { intrinsic, args } => {
                format!("({ty}){}({})", builtins::of(*intrinsic).name, self.list(args))
            }
            ExprKind::Foreign { name, args, .. } => format!("({ty})c:{name}({})", self.list(args)),
            ExprKind::Invoke { function, args } => {
                let name = self.functions.get(*function as usize).map_or("?", String::as_str);
                format!("{name}({})", self.list(args))
            }
            ExprKind::Neg(x) => format!("-{}", self.expr(x)),
            ExprKind::BitNot(x) => format!("~{}", self.expr(x)),
            ExprKind::Not(x) => format!("!{}", self.expr(x)),
            ExprKind::Arith { op, left, right } => {
                // The sign matters to these only.
                let unsigned = matches!(op, BinOp::Div | BinOp::Rem | BinOp::Shr) && !e.ty.is_signed();
                let sign = if unsigned { "u" } else { "" };
                format!("({} {}{sign} {})", self.expr(left), op.text(), self.expr(right))
            }
            ExprKind::Compare { op, signed, left, right } => {
                let ordered = !matches!(op, BinOp::Eq | BinOp::Ne);
                let sign = if ordered && !signed { "u" } else { "" };
                format!("({} {}{sign} {})", self.expr(left), op.text(), self.expr(right))
            }
            ExprKind::Equal { negate, len, left, right } => {
                let not = if *negate { "!" } else { "" };
                format!("{not}equal({}, {}, {len})", self.expr(left), self.expr(right))
            }
            ExprKind::And(l, r) => format!("({} && {})", self.expr(l), self.expr(r)),
            ExprKind::Or(l, r) => format!("({} || {})", self.expr(l), self.expr(r)),
            ExprKind::Ternary { cond, then, otherwise } => {
                format!("({} ? {} : {})", self.expr(cond), self.expr(then), self.expr(otherwise))
            }
            ExprKind::Convert(x) => format!("({ty}){}", self.expr(x)),
            ExprKind::Resize(x) => format!("({ty})resize({})", self.expr(x)),
            ExprKind::Load { ptr, offset, space, bits, known } => {
                let space = match space {
                    Space::User => "user",
                    Space::Kernel => match known {
                        Known::Nothing => "kernel",
                        Known::Member => "known",
                        Known::MemberOrUser => "known_or_user",
                    },
                };
                format!("({ty})load.{space}({}, {offset:+}{})", self.expr(ptr), bits_text(*bits))
            }
            ExprKind::Address { ptr, offset } => format!("({ty})({} {offset:+})", self.expr(ptr)),
            ExprKind::LocalAddress(local) => format!("&{}", self.local(*local)),
            ExprKind::MapAddress { map, key } => format!("&{}", self.place(*map, key.as_deref())),
            ExprKind::Part { base, offset, bits } => {
                format!("({ty})part({}, +{offset}{})", self.expr(base), bits_text(*bits))
            }
            ExprKind::Element { base, index, len } => {
                format!("({ty})element({}, {} of {len})", self.expr(base), self.expr(index))
            }
            ExprKind::Tuple(list) => match &e.ty {
                Type::NamedTuple(names) => {
                    let list: Vec<String> =
                        names.iter().zip(list).map(|((n, _), e)| format!("{n} = {}", self.expr(e))).collect();
                    format!("({})", list.join(", "))
                }
                _ if list.len() == 1 => format!("({},)", self.list(list)),
                _ => format!("({})", self.list(list)),
            },
            ExprKind::StepLocal { local, delta, before } => step_text(self.local(*local), *delta, *before),
            ExprKind::StepMap { map, key, delta, before } => {
                step_text(&self.place(*map, key.as_deref()), *delta, *before)
            }
            ExprKind::Block { stmts, value } if e.ty == Type::Void => match &value.kind {
                ExprKind::Int(_) => format!("{{ {} }}", self.stmts(stmts)),
                _ => format!("{{ {}; {} }}", self.stmts(stmts), self.expr(value)),
            },
            ExprKind::Block { stmts, value } if stmts.is_empty() => format!("{{ {} }}", self.expr(value)),
            ExprKind::Block { stmts, value } => format!("{{ {}; {} }}", self.stmts(stmts), self.expr(value)),
        }
    }
}

// ---- parts of lines ----

/// A type as the language writes it, with what that leaves out: address spaces, parameters of
/// aggregations and stacks.
fn type_text(ty: &Type) -> String {
    match ty {
        Type::Ptr { to, space: Space::User } => match **to {
            Type::Ptr { .. } => format!("{}user*", type_text(to)),
            _ => format!("{} user*", type_text(to)),
        },
        Type::Ptr { to, .. } => match **to {
            Type::Ptr { .. } => format!("{}*", type_text(to)),
            _ => format!("{} *", type_text(to)),
        },
        Type::Tuple(list) => format!("({})", list.iter().map(type_text).collect::<Vec<_>>().join(", ")),
        Type::Array { elem, len } => format!("{}[{len}]", type_text(elem)),
        Type::List { elem, .. } => format!("{}[]", type_text(elem)),
        Type::Stack(s) => {
            let mode = match s.mode {
                StackMode::Bpftrace => "",
                StackMode::Perf => "perf, ",
                StackMode::Raw => "raw, ",
                StackMode::BuildId => "build_id, ",
            };
            let stored = if s.stored { ", stored" } else { "" };
            format!("{ty}({mode}{}{stored})", s.depth)
        }
        Type::Timestamp { format } => format!("{ty}({format})"),
        Type::Agg(Agg::Hist { bits }) if *bits > 0 => format!("{ty}({bits})"),
        Type::Agg(Agg::Lhist { min, max, step }) => format!("{ty}({min}, {max}, {step})"),
        Type::Agg(Agg::Quantiles { percentiles }) => format!("{ty}({percentiles:?})"),
        Type::Agg(Agg::Tseries { interval, intervals, of, .. }) => format!("{ty}({interval}, {intervals}, {of:?})"),
        Type::Agg(
            Agg::Sum { signed: false }
            | Agg::Avg { signed: false }
            | Agg::Stats { signed: false }
            | Agg::Min { signed: false }
            | Agg::Max { signed: false },
        ) => format!("u{ty}"),
        _ => ty.to_string(),
    }
}

fn map_text(map: &MapDef) -> String {
    let key = map.key.as_ref().map(|k| format!("[{}]", type_text(k))).unwrap_or_default();
    let place = match &map.storage {
        Storage::Global { offset, stripes: 1, .. } => format!("global +{offset}"),
        Storage::Global { offset, stripes, stride } => format!("global +{offset}, {stripes} stripes of {stride}"),
        Storage::Map { object, per_cpu: false } => format!("object {object}"),
        Storage::Map { object, per_cpu: true } => format!("object {object} per CPU"),
    };
    format!("map {}{key}: {} in {place}", map.name, type_text(&map.value))
}

fn object_text(index: usize, object: &MapObject) -> String {
    // `enum bpf_map_type` of `linux/bpf.h`.
    let kind = match object.map_type {
        1 => "hash",
        2 => "array",
        4 => "perf event array",
        5 => "per-CPU hash",
        6 => "per-CPU array",
        9 => "LRU hash",
        10 => "per-CPU LRU hash",
        27 => "ring buffer",
        _ => "map of another type",
    };
    let MapObject { symbol, key_size, value_size, max_entries, .. } = object;
    format!("object {index} {symbol}: {kind}, key {key_size}, value {value_size}, max {max_entries}")
}

fn prog_type(ty: ProgType) -> &'static str {
    match ty {
        ProgType::Kprobe => "kprobe",
        ProgType::Tracepoint => "tracepoint",
        ProgType::PerfEvent => "perf_event",
        ProgType::RawTracepoint => "raw_tracepoint",
        ProgType::BtfTracepoint => "tp_btf",
        ProgType::Fentry => "fentry",
        ProgType::Fexit => "fexit",
        ProgType::Iter => "iter",
    }
}

/// The part of a target that the probe's name does not show.
fn target_text(target: &Target) -> String {
    match target {
        Target::Kprobe { shared: true, .. } => ", name shared".to_owned(),
        Target::Kprobe { module: Some(m), .. } => format!(" in {m}"),
        Target::Trampoline { module: Some(m), btf_id, .. } => format!(" in {m}, btf {btf_id}"),
        Target::BpfFunction { program, btf_id, .. } => format!(" in program {program}, btf {btf_id}"),
        Target::Trampoline { btf_id, .. } => format!(", btf {btf_id}"),
        Target::RawTracepoint { btf_id: Some(id), .. } => format!(", btf {id}"),
        Target::Uprobe { offset, .. } | Target::Usdt { offset, semaphore: 0, .. } => {
            format!(", file offset {offset:#x}")
        }
        Target::Usdt { offset, semaphore, .. } => format!(", file offset {offset:#x}, semaphore {semaphore:#x}"),
        Target::Interval { nanoseconds } => format!(", every {nanoseconds} ns"),
        Target::Profile { sampling: Sampling::Hertz(hz) } => format!(", {hz} Hz"),
        Target::Profile { sampling: Sampling::Nanoseconds(ns) } => format!(", every {ns} ns"),
        Target::PerfEvent { perf_type, config, period } => {
            format!(", perf event {perf_type}/{config}, period {period}")
        }
        Target::Iter { btf_id, pin: None, .. } => format!(", btf {btf_id}"),
        Target::Iter { btf_id, pin: Some(pin), .. } => format!(", btf {btf_id}, pinned to {pin}"),
        Target::Watchpoint { watched: Watched::Address(address), .. } => format!(", address {address:#x}"),
        Target::Watchpoint { watched: Watched::Symbol { name, offset }, .. } => format!(", symbol {name}+{offset}"),
        Target::Begin
        | Target::End
        | Target::Signal { .. }
        | Target::Test { .. }
        | Target::Bench { .. }
        | Target::Kprobe { .. }
        | Target::Tracepoint { .. }
        | Target::RawTracepoint { .. } => String::new(),
    }
}

fn format_text(format: &Format) -> String {
    let mut out = String::from("\"");
    for piece in &format.0 {
        match piece {
            Piece::Text(text) => {
                let text = text.escape_ascii().to_string();
                out.push_str(&text.replace('%', "%%").replace("\\'", "'"));
            }
            Piece::Spec(spec) => {
                out.push('%');
                let flags =
                    [(spec.minus, '-'), (spec.plus, '+'), (spec.space, ' '), (spec.zero, '0'), (spec.alternate, '#')];
                out.extend(flags.iter().filter(|(set, _)| *set).map(|(_, c)| *c));
                if let Some(width) = spec.width {
                    let _ = write!(out, "{width}");
                }
                if let Some(precision) = spec.precision {
                    let _ = write!(out, ".{precision}");
                }
                out.push_str(match spec.length_bits {
                    8 => "hh",
                    16 => "h",
                    64 => "ll",
                    _ => "",
                });
                out.push_str(spec.name().trim_start_matches('%'));
            }
        }
    }
    out.push('"');
    out
}

fn int_text(v: i64, ty: &Type) -> String {
    match ty {
        Type::Bool if v == 0 => "false".into(),
        Type::Bool if v == 1 => "true".into(),
        Type::Int { bits: 64, signed: true } => v.to_string(),
        Type::Int { bits: 64, .. } => format!("({ty}){}", v as u64),
        Type::Ptr { .. } => format!("({}){v:#x}", type_text(ty)),
        _ => format!("({}){v}", type_text(ty)),
    }
}

fn bytes_text(bytes: &[u8], ty: &Type) -> String {
    match ty {
        Type::String { cap } => {
            let text = format!("\"{}\"", bytes.escape_ascii().to_string().replace("\\'", "'"));
            // The usual capacity of a literal is its length and the NUL.
            if *cap as usize == bytes.len() + 1 { text } else { format!("({ty}){text}") }
        }
        _ => {
            let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
            format!("({})[{}]", type_text(ty), hex.join(" "))
        }
    }
}

fn bits_text(bits: Option<Bits>) -> String {
    bits.map(|b| format!(", {} bits from {} of {} bytes", b.width, b.shift, b.bytes)).unwrap_or_default()
}

fn step_text(place: &str, delta: i64, before: bool) -> String {
    let sign = match delta {
        1 => "++".to_owned(),
        -1 => "--".to_owned(),
        n => format!("+={n}"),
    };
    if before { format!("{place}{sign}") } else { format!("{sign}{place}") }
}
