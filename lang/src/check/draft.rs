//! From checked bodies to programs: their names, their attach points, and how these are attached.

use super::Checker;
use crate::bundle::{AttachMode, AttachPoint, ProbeIdSource, ProbeInfo, ProgType, Target};
use crate::kernel::{Feature, Kernel};
use crate::probes::Resolved;
use crate::script::ResolvedClause;
use crate::source::Span;
use crate::typed::{Function, Local, Program, Stmt};

/// From so many tracepoints of system calls on, one link to their functions is worth it; from so many functions on, one
/// event.
pub(super) const MANY: usize = 8;

/// A checked body and the targets that share it.
pub(super) struct Draft<'c> {
    pub body: Vec<Stmt>,
    pub locals: Vec<Local>,
    pub functions: Vec<Function>,
    pub specific: bool,
    pub kernel_frames: bool,
    pub uses_id: bool,
    pub exits: bool,
    pub targets: Vec<(&'c Resolved, Span)>,
}

impl Draft<'_> {
    pub fn same_code(&self, other: &Draft<'_>) -> bool {
        self.body == other.body && self.locals == other.locals && self.functions == other.functions
    }

    /// Whether the target can run the same program.
    pub fn shares_with(&self, other: &Resolved) -> bool {
        self.targets.first().is_some_and(|(t, _)| {
            t.prog_type == other.prog_type
                && t.multi == other.multi
                && t.kind == other.kind
                && !t.target.is_special()
                && t.context.takes_arguments_as(&other.context)
        })
    }
}

/// Sets how the attach points of a program are attached.
pub(super) fn set_attach_mode(program: &mut Program, mode: AttachMode, kernel: Kernel<'_>) {
    program.attach_mode = mode;
    for point in &mut program.attach {
        if let Target::Kprobe { function, module: None, shared, .. } = &mut point.target {
            *shared = mode == AttachMode::Link && kernel.functions.shares_name(function);
        }
    }
}

impl Checker<'_> {
    /// Gives a draft its name, its attach points and the way it learns which one fired.
    pub(super) fn finish(
        &mut self,
        draft: Draft<'_>,
        clause: &ResolvedClause,
        number: usize,
        probes: &mut Vec<ProbeInfo>,
    ) -> Program {
        let first = draft.targets.first().map(|(t, _)| t.name.as_str()).unwrap_or_default();
        let clean: String = first.chars().take(40).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let prog_type = draft.targets.first().map_or(ProgType::RawTracepoint, |(t, _)| t.prog_type);
        let many = draft.targets.len() > 1;
        let trampoline =
            matches!(prog_type, ProgType::Fentry | ProgType::Fexit | ProgType::BtfTracepoint | ProgType::Iter);
        let probe_id = match (draft.uses_id, many && !trampoline && self.kernel.machine.has(Feature::AttachCookie)) {
            (false, _) => ProbeIdSource::Unused,
            (true, true) => ProbeIdSource::Cookie,
            (true, false) => ProbeIdSource::Patch,
        };
        let mode = self.attach_mode(&draft, probe_id);
        let attach = draft
            .targets
            .iter()
            .map(|(target, span)| {
                let info = ProbeInfo { name: target.name.clone(), function: target.function.clone() };
                // One number for a name, in all clauses: `@[probe]` has one entry for it.
                let known = probes.iter().position(|p| *p == info);
                if known.is_none() {
                    probes.push(info);
                }
                AttachPoint {
                    probe: known.unwrap_or(probes.len() - 1) as u32,
                    target: target.target.clone(),
                    span: (span.start, span.end),
                }
            })
            .collect();
        let mut program = Program {
            symbol: format!("{clean}_{number}"),
            prog_type,
            probe_id,
            attach_mode: AttachMode::No,
            session: None,
            exits: draft.exits,
            after_exit: false,
            attach,
            locals: draft.locals,
            body: draft.body,
            functions: draft.functions,
            span: clause.probe.span,
        };
        set_attach_mode(&mut program, mode, self.kernel);
        program
    }

    /// How the attach points of a draft are attached. The kernel is asked only where it matters.
    fn attach_mode(&self, draft: &Draft<'_>, probe_id: ProbeIdSource) -> AttachMode {
        let many = draft.targets.len() >= MANY;
        let Some((first, _)) = draft.targets.first() else { return AttachMode::No };
        if draft.targets.len() < 2 || !draft.targets.iter().all(|(t, _)| t.multi) {
            return AttachMode::No;
        }
        // Functions of system calls stand for their tracepoints only where nothing can tell them apart.
        if first.prog_type == ProgType::Tracepoint && (!many || draft.specific || draft.kernel_frames) {
            return AttachMode::No;
        }
        let of_kernel = first.target.file().is_none();
        let feature = if of_kernel { Feature::KprobeMulti } else { Feature::UprobeMulti };
        if probe_id != ProbeIdSource::Patch && self.kernel.machine.has(feature) {
            return AttachMode::Link;
        }
        // At a return, the instruction pointer does not tell which function it is.
        let returns = matches!(first.target, Target::Kprobe { ret: true, .. });
        if of_kernel && many && (!draft.uses_id || !returns || self.kernel.machine.has(Feature::GetFuncIp)) {
            return AttachMode::Event;
        }
        AttachMode::No
    }
}
