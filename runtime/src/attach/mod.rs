//! Attaching: loaded programs meet their attach points. One module per kind of probe knows how the kernel
//! wants it; this one decides which copies of a program are loaded, what happens when a point fails, and
//! holds everything attached so that dropping it detaches everything.

mod cpus;
mod hurry;
mod iter;
pub mod kprobe;
mod kprobe_events;
mod link;
mod modules;
mod multi;
pub mod perf;
pub mod raw_tracepoint;
mod session;
mod special;
pub mod tracepoint;
pub mod trampoline;
pub mod uprobe;
pub mod watchpoint;

use crate::load::{self, LoadError, Loaded, Multi, Variant, program};
use kprobe::{Place, Places};
use kprobe_events::Identities;
pub use link::Link;
use link::Links;
use modules::{Inside, Stamp};
use multi::Wanted;
use rtrace_core::bundle::{
    AttachMode, AttachPoint, Bundle, MissingProbes, PROBES_SYMBOL, ProbeIdSource, ProgType, ProgramDef, Target,
};
use rtrace_core::uapi::cap;
use rtrace_sys as sys;
pub use special::TestRun;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot attach {name}: {reason}")]
    Point { name: String, span: (u32, u32), reason: String },
}

impl AttachError {
    /// The attach point or clause that the error is about.
    pub fn span(&self) -> Option<(u32, u32)> {
        match self {
            AttachError::Load(error) => error.span(),
            AttachError::Point { span, .. } => Some(*span),
        }
    }
}

impl AttachError {
    /// Whether the error may be due to the attach point and not to the program.
    fn is_of_target(&self) -> bool {
        matches!(self, AttachError::Point { .. } | AttachError::Load(LoadError::Verifier { .. }))
    }
}

// linux/capability.h

/// The reason why an attach point failed.
#[derive(Clone, Debug)]
pub struct Reason(pub String);

impl Reason {
    fn of(error: &io::Error, words: &[(i32, &str)]) -> Reason {
        let code = error.raw_os_error().unwrap_or(0);
        if matches!(code, libc::EPERM | libc::EACCES)
            && let Some(reason) = too_paranoid()
        {
            return reason;
        }
        if matches!(code, libc::EPERM | libc::EACCES)
            && let Some(reason) = locked_down()
        {
            return reason;
        }
        match words.iter().find(|(errno, _)| *errno == code) {
            Some((_, text)) => Reason((*text).to_owned()),
            None if matches!(code, libc::EPERM | libc::EACCES) => {
                // For uprobes the kernel wants more.
                let missing = if sys::has_capability(cap::PERFMON) { "CAP_SYS_ADMIN" } else { "CAP_PERFMON" };
                Reason(format!("not allowed: this needs root or {missing}"))
            }
            None if code == libc::EMFILE => Reason("too many open files: raise the limit (ulimit -n)".to_owned()),
            None => Reason(error.to_string()),
        }
    }
}

/// Whether the kernel is locked down so that it allows no kprobes (`LOCKDOWN_KPROBES` of linux/security.h).
fn locked_down() -> Option<Reason> {
    let modes = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    modes.contains("[confidentiality]").then(|| {
        Reason(
            "not allowed: the kernel is locked down in confidentiality mode (/sys/kernel/security/lockdown); fentry and \
             tracepoints may work"
                .to_owned(),
        )
    })
}

/// Whether this kernel keeps perf events, which most probes are, from us: some distributions' kernels have a level 3 that
/// CAP_PERFMON does not lift.
fn too_paranoid() -> Option<Reason> {
    let level = paranoid_level()?;
    (level > 2 && !sys::has_capability(cap::SYS_ADMIN)).then(|| {
        Reason(format!(
            "not allowed: with kernel.perf_event_paranoid={level} this needs root or CAP_SYS_ADMIN; with \
             `sysctl kernel.perf_event_paranoid=2`, CAP_PERFMON"
        ))
    })
}

fn paranoid_level() -> Option<i32> {
    std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").ok()?.trim().parse().ok()
}

/// A copy of a program in the kernel, with the attach points (indices) that it serves.
#[derive(Debug)]
struct Instance {
    program: usize,
    points: Vec<usize>,
    multi: Option<Multi>,
    /// The program that is part of it for returns, with [`Multi::Session`].
    returns: Option<usize>,
    fd: OwnedFd,
}

/// All programs of a bundle, loaded and not yet attached.
#[derive(Debug)]
pub struct Programs {
    instances: Vec<Instance>,
    missing: Vec<Missing>,
}

/// An attach point that was left out.
#[derive(Clone, Debug)]
pub struct Missing {
    pub name: String,
    pub reason: String,
    span: (u32, u32),
}

/// The origin of missed hits: the clause in the sources, and the probe (index) if it is known.
pub type Missed = ((u32, u32), Option<u32>);

/// The attached probes.
#[derive(Debug, Default)]
pub struct Attached {
    links: Links,
    /// Copies of programs that were loaded while attaching, with the program's index.
    copies: Vec<(usize, OwnedFd)>,
    /// Files that iterators were pinned to.
    pub pinned: Vec<String>,
    /// Clauses of which something works.
    clauses: HashSet<(u32, u32)>,
    /// Attach points that work; the places of a static probe are one.
    pub count: usize,
    /// Whether any of them waits for something to happen; the others are run by rtrace itself.
    pub waits: bool,
    /// The probes that addresses stand for, where programs look that up.
    identities: HashMap<u64, u32>,
    /// The probes in functions of modules that may go.
    inside: Inside,
    /// The processors and modules that may come and go while they are probed.
    watch: Option<cpus::Watch>,
    /// Clauses with the static probes that were counted.
    counted: HashSet<((u32, u32), u32)>,
    pub missing: Vec<Missing>,
    /// Warnings about probes that work.
    pub notes: Vec<String>,
}

impl Attached {
    /// The links of iterators that are to be run once, in the script's order.
    pub fn iterators(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.links.iterators()
    }

    fn works(&mut self, def: &ProgramDef, point: &AttachPoint) {
        self.clauses.insert(def.span);
        self.waits |= point.target.waits();
        if let Some(module) = modules::of(&point.target) {
            self.inside.add(module);
        }
        let is_static = matches!(point.target, Target::Usdt { .. });
        if !is_static || self.counted.insert((def.span, point.probe)) {
            self.count += 1;
        }
    }

    /// Follows processors and modules that come and go, at most once a second; returns what there is to say.
    pub fn follow(&mut self) -> Vec<String> {
        self.watch.as_mut().map(|watch| watch.look(&mut self.links, &self.inside)).unwrap_or_default()
    }

    /// The capabilities that following processors takes.
    pub fn capabilities(&self) -> &'static [u32] {
        match self.watch.as_ref().filter(|watch| watch.opens()) {
            None => &[],
            Some(_) if paranoid_level().is_some_and(|level| level > 2) => &[cap::PERFMON, cap::SYS_ADMIN],
            Some(_) => &[cap::PERFMON],
        }
    }

    /// Removes the watchpoints of an address. Returns whether there were any.
    pub fn unwatch(&mut self, address: u64) -> bool {
        self.links.unwatch(address)
    }

    /// Stops the probes as far as that is quick; see [`Links::stop`].
    pub fn stop(&mut self) {
        self.links.stop();
    }
}

/// The context of attaching.
pub struct Context<'a> {
    pub bundle: &'a Bundle,
    pub loaded: &'a Loaded,
    /// Only this process, for probes that can be tied to one.
    pub pid: Option<u32>,
    /// The process that `-c` started.
    pub child: Option<u32>,
    /// Nothing may stay behind.
    pub dry_run: bool,
    /// Programs are loaded, which is all that is asked.
    pub only_load: bool,
    /// Types of modules, with what these were known by when they were looked for.
    modules: RefCell<HashMap<String, (Stamp, Option<OwnedFd>)>>,
    /// How many attach points each one as written stands for, and the clause that it is of.
    written: HashMap<(u32, u32), (usize, (u32, u32))>,
}

impl<'a> Context<'a> {
    pub fn new(bundle: &'a Bundle, loaded: &'a Loaded, pid: Option<u32>) -> Context<'a> {
        let mut written = HashMap::new();
        for (def, point) in bundle.programs.iter().flat_map(|def| def.attach.iter().map(move |point| (def, point))) {
            written.entry(point.span).or_insert((0, def.span)).0 += 1;
        }
        Context {
            bundle,
            loaded,
            pid,
            child: None,
            dry_run: false,
            only_load: false,
            modules: RefCell::default(),
            written,
        }
    }

    fn name(&self, point: &AttachPoint) -> String {
        self.bundle.probes.get(point.probe as usize).map_or_else(|| "probe".to_owned(), |p| p.name.clone())
    }

    /// Says what else than exactly the function that was asked for is probed.
    fn note(&self, point: &AttachPoint, links: &[Link]) -> Option<String> {
        if links.iter().any(Link::is_of_some) {
            return Some(self.partly(point));
        }
        let variants: Vec<&str> = links.iter().filter_map(Link::variant).collect();
        (!variants.is_empty()).then(|| {
            let (name, taken) = (self.name(point), variants.join(", "));
            format!("{name} is probed as {taken}, which is all that the compiler left of it; its arguments may differ")
        })
    }

    fn partly(&self, point: &AttachPoint) -> String {
        format!("{}: the kernel allows no probe in some of the functions of this name", self.name(point))
    }

    fn error(&self, point: &AttachPoint, reason: Reason) -> AttachError {
        AttachError::Point { name: self.name(point), span: point.span, reason: reason.0 }
    }

    /// Whether an attach point may be left out: one of a wildcard, or any when the script says so.
    fn tolerates(&self, point: &AttachPoint) -> bool {
        self.bundle.config.missing_probes != MissingProbes::Error
            || self.written.get(&point.span).is_some_and(|(count, _)| *count > 1)
    }

    /// Adds to the points that are left for single links those that are gone but must be there; the others are missing.
    fn leave_out<'p>(
        &self,
        mut left: Vec<&'p AttachPoint>,
        gone: &[&'p AttachPoint],
        attached: &mut Attached,
    ) -> Vec<&'p AttachPoint> {
        for point in gone {
            match modules::of(&point.target).filter(|_| self.tolerates(point)) {
                Some(module) => {
                    let (name, reason) = (self.name(point), modules::went(module).0);
                    attached.missing.push(Missing { name, reason, span: point.span });
                }
                None => left.push(point),
            }
        }
        left
    }

    fn missing(&self, point: &AttachPoint, error: &AttachError) -> Missing {
        let reason = match error {
            AttachError::Point { reason, .. } => reason.clone(),
            AttachError::Load(LoadError::Verifier { error, .. }) => error.message.clone(),
            AttachError::Load(error) => error.to_string(),
        };
        Missing { name: self.name(point), reason, span: point.span }
    }

    /// Loads one copy of a program; `point` is the one that it is patched or specialised for.
    fn load(
        &self,
        def: &ProgramDef,
        point: Option<&AttachPoint>,
        multi: Option<Multi>,
    ) -> Result<OwnedFd, AttachError> {
        let probe = point.filter(|_| def.probe_id == ProbeIdSource::Patch).map(|p| p.probe);
        let (btf_id, module) = match point.map(|p| &p.target) {
            Some(Target::Trampoline { btf_id, module, .. }) => (*btf_id, module.as_ref()),
            Some(Target::RawTracepoint { btf_id, module, .. }) => (btf_id.unwrap_or(0), module.as_ref()),
            Some(Target::Iter { btf_id, .. }) => (*btf_id, None),
            _ => (0, None),
        };
        if let Some(point) = point
            && let Target::BpfFunction { program, function, btf_id } = &point.target
        {
            let traced =
                trampoline::program(*program, function, *btf_id).map_err(|reason| self.error(point, reason))?;
            let variant = Variant { probe, btf_id: *btf_id, attach_to: Some(traced.as_fd()), multi };
            return program::load(self.loaded, def, variant, &self.bundle.sources)
                .map_err(|e| self.blame_point(e, Some(point)));
        }
        let mut modules = self.modules.borrow_mut();
        let attach_to = match (module, point) {
            (Some(module), Some(point)) => {
                let known = match modules.entry(module.clone()) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        let stamp = modules::stamp(module);
                        let fd = sys::module_btf(module).map_err(|e| {
                            self.error(point, Reason(format!("cannot read the types of module {module}: {e}")))
                        })?;
                        entry.insert((stamp, fd))
                    }
                };
                let Some(fd) = known.1.as_ref() else {
                    if let Some(reason) = modules::absent(module) {
                        return Err(self.error(point, reason));
                    }
                    let reason =
                        format!("module {module} has no BTF (it needs Linux 5.11 and CONFIG_DEBUG_INFO_BTF_MODULES)");
                    return Err(self.error(point, Reason(reason)));
                };
                Some(fd.as_fd())
            }
            _ => None,
        };
        let variant = Variant { probe, btf_id, attach_to, multi };
        let error = match program::load(self.loaded, def, variant, &self.bundle.sources) {
            Ok(program) => return Ok(program),
            Err(error) => error,
        };
        // What the kernel says of types that went with their module, or are about to, is not worth repeating.
        if let (Some(module), Some(point)) = (module, point)
            && let Some((known, _)) = modules.get(module)
            && let Some(reason) =
                modules::absent(module).or_else(|| (modules::stamp(module) != *known).then(|| modules::went(module)))
        {
            modules.remove(module);
            return Err(self.error(point, reason));
        }
        Err(self.blame_point(error, point))
    }

    /// A tracing program that the kernel refuses without a word of the verifier is refused for its target.
    fn blame_point(&self, error: LoadError, point: Option<&AttachPoint>) -> AttachError {
        match (error, point) {
            (LoadError::Program { source, .. }, Some(point))
                if matches!(point.target, Target::Trampoline { .. } | Target::RawTracepoint { .. }) =>
            {
                self.error(point, trampoline::reason(&source))
            }
            (LoadError::Program { source, .. }, Some(point)) if matches!(point.target, Target::BpfFunction { .. }) => {
                self.error(point, trampoline::program_reason(&source))
            }
            // What the kernel says before it looks at the first instruction is about the program to be traced.
            (LoadError::Verifier { error, .. }, Some(point))
                if matches!(point.target, Target::BpfFunction { .. }) && error.instruction.is_none() =>
            {
                self.error(point, Reason(format!("the kernel refuses to trace this program: {}", error.message)))
            }
            (error, _) => error.into(),
        }
    }
}

/// Whether each attach point needs a copy of the program of its own.
fn copy_per_point(def: &ProgramDef) -> bool {
    matches!(def.prog_type, ProgType::Fentry | ProgType::Fexit | ProgType::BtfTracepoint | ProgType::Iter)
        || def.probe_id == ProbeIdSource::Patch
}

/// The way to attach to many points at once that a program asks for.
fn multi_of(def: &ProgramDef) -> Option<Multi> {
    match (def.attach_mode, &def.attach.first()?.target) {
        (AttachMode::No, _) => None,
        (AttachMode::Link, target) if target.file().is_some() => Some(Multi::Uprobe),
        (AttachMode::Link, _) => Some(Multi::Kprobe),
        (AttachMode::Event, _) => Some(Multi::Event),
    }
}

/// Loads every program of the bundle.
pub fn load_programs(context: &Context<'_>) -> Result<Programs, AttachError> {
    let mut instances = Vec::new();
    let mut missing = Vec::new();
    let (mut loaded, mut refused) = (HashSet::new(), Vec::new());
    let mut sessions = session::load(context);
    let returning: HashSet<usize> = sessions.values().map(|(returns, _)| *returns).collect();
    for (program, def) in context.bundle.programs.iter().enumerate() {
        if let Some((returns, fd)) = sessions.remove(&program) {
            let points = (0..def.attach.len()).collect();
            instances.push(Instance { program, points, multi: Some(Multi::Session), returns: Some(returns), fd });
        } else if returning.contains(&program) {
            // It is part of another one.
        } else if let Some(multi) = multi_of(def)
            // A kernel before 5.18 (6.6 for uprobes) does not know the attach type.
            && let Ok(fd) = context.load(def, None, Some(multi))
        {
            let points = (0..def.attach.len()).collect();
            instances.push(Instance { program, points, multi: Some(multi), returns: None, fd });
        } else if copy_per_point(def) {
            if def.attach.len() > MANY {
                sys::raise_open_files();
            }
            for (n, point) in def.attach.iter().enumerate() {
                match context.load(def, Some(point), None) {
                    Ok(fd) => {
                        loaded.insert(point.span);
                        instances.push(Instance { program, points: vec![n], multi: None, returns: None, fd });
                    }
                    // The kernel has no trampoline for the function, or (before 6.0) its verifier does not know a
                    // type of its parameters.
                    Err(error) if error.is_of_target() && context.tolerates(point) => {
                        missing.push(context.missing(point, &error));
                        refused.push((point.span, error));
                    }
                    Err(error) => return Err(error),
                }
            }
        } else {
            let points = (0..def.attach.len()).collect();
            instances.push(Instance {
                program,
                points,
                multi: None,
                returns: None,
                fd: context.load(def, None, None)?,
            });
        }
    }
    // What the verifier refuses for every function of a wildcard is itself at fault.
    let at_fault = |(span, error): &(_, _)| matches!(error, AttachError::Load(_)) && !loaded.contains(span);
    match refused.into_iter().find(at_fault) {
        Some((_, error)) => Err(error),
        None => Ok(Programs { instances, missing }),
    }
}

/// Whether the kernel runs, of several programs at one place, the one first that was attached last: its lists of kprobes,
/// of ftrace's callbacks, of a trampoline's programs and of a uprobe's consumers grow at the head. Returns of kernel functions
/// are run from a stack that the entries fill, so again in the order of attaching, but for links to many since Linux 6.14,
/// which follow the function graph tracer; events that the kernel counts itself grow at the head, too (`perf_swevent_add`);
/// tracepoints and timers keep that order.
fn runs_newest_first(target: &Target, multi: Option<Multi>) -> bool {
    match target {
        Target::Kprobe { ret: false, .. } => true,
        Target::Kprobe { ret: true, .. } => {
            multi == Some(Multi::Session) || (multi == Some(Multi::Kprobe) && sys::kernel_version() >= (6, 14))
        }
        Target::Trampoline { .. } | Target::BpfFunction { .. } | Target::Uprobe { .. } | Target::Usdt { .. } => true,
        Target::PerfEvent { perf_type: perf::SOFTWARE, config, .. } => !perf::CLOCKS.contains(config),
        // Reached through the functions of the system calls.
        Target::Tracepoint { .. } => multi.is_some(),
        Target::Begin
        | Target::End
        | Target::Signal { .. }
        | Target::Test { .. }
        | Target::Bench { .. }
        | Target::RawTracepoint { .. }
        | Target::Interval { .. }
        | Target::Profile { .. }
        | Target::PerfEvent { .. }
        | Target::Iter { .. }
        | Target::Watchpoint { .. } => false,
    }
}

/// With more attach points than this, the usual limit of 1024 open files is near.
const MANY: usize = 200;

impl Programs {
    /// Hits of probes that ran no program, because a program or a kprobe was running on the CPU already, or because a
    /// return probe follows only so many open calls: by clause, and by probe where the kernel counts it alone.
    pub fn missed(&self, bundle: &Bundle, attached: &mut Attached) -> BTreeMap<Missed, u64> {
        attached.links.count_missed();
        let loaded = self.instances.iter().map(|i| (i.program, i.points.as_slice(), &i.fd, i.returns));
        let copies = attached.copies.iter().map(|(program, fd)| (*program, [].as_slice(), fd, None));
        let of_programs = loaded.chain(copies).map(|(program, points, fd, returns)| {
            let point = match (points, bundle.programs.get(program)) {
                ([one], Some(def)) => def.attach.get(*one).map(|p| p.probe),
                _ => None,
            };
            let missed = sys::missed_runs(fd.as_fd()).unwrap_or(0);
            // Of a clause for both, all; else what was missed at entries.
            let shared = returns.is_some_and(|returns| returns != program);
            (program, point, if shared { session::shares(missed).0 } else { missed })
        });
        let of_returns = self.instances.iter().filter_map(|i| {
            let (_, of_returns) = session::shares(sys::missed_runs(i.fd.as_fd()).unwrap_or(0));
            Some((i.returns.filter(|returns| *returns != i.program)?, None, of_returns))
        });
        let of_links = attached.links.missed();
        let mut missed = BTreeMap::new();
        for (program, probe, count) in of_programs.chain(of_returns).chain(of_links).filter(|(.., count)| *count > 0) {
            let Some(def) = bundle.programs.get(program) else { continue };
            *missed.entry((def.span, probe)).or_insert(0) += count;
        }
        missed
    }

    /// The functions that are attached to one by one in any case.
    fn places(&self, context: &Context<'_>) -> Places {
        let single = self.instances.iter().filter(|i| i.multi.is_none()).filter_map(|i| {
            let def = context.bundle.programs.get(i.program)?;
            Some(i.points.iter().filter_map(|n| def.attach.get(*n)))
        });
        Places::of(&single.flatten().collect::<Vec<_>>())
    }

    /// The programs with their attach points in the order of attaching, after which clauses at one place run in the order of
    /// the script.
    fn in_order<'p>(&'p self, context: &Context<'p>) -> impl Iterator<Item = (&'p Instance, Vec<&'p AttachPoint>)> {
        let bundle = context.bundle;
        let points = move |instance: &'p Instance, newest: bool| -> (&'p Instance, Vec<&'p AttachPoint>) {
            let attach = bundle.programs.get(instance.program).map(|def| def.attach.as_slice()).unwrap_or_default();
            let points = instance.points.iter().filter_map(|n| attach.get(*n));
            (instance, points.filter(|p| runs_newest_first(&p.target, instance.multi) == newest).collect())
        };
        let newest_first = self.instances.iter().rev().map(move |i| points(i, true));
        newest_first
            .chain(self.instances.iter().map(move |i| points(i, false)))
            .filter(|(_, points)| !points.is_empty())
    }

    /// Attaches all programs but the special ones, which only count. On an error everything that
    /// was attached is released again.
    pub fn attach(&self, context: &Context<'_>) -> Result<Attached, AttachError> {
        let mut attached = Attached { missing: self.missing.clone(), ..Attached::default() };
        let places = self.places(context);
        for (instance, points) in self.in_order(context) {
            let Some(def) = context.bundle.programs.get(instance.program) else { continue };
            let program = (instance.program, instance.fd.as_fd());
            if let Some(returns) = instance.returns {
                session::attach(context, (instance.program, returns), instance.fd.as_fd(), &mut attached)?;
                continue;
            }
            match instance.multi {
                Some(multi) => {
                    let left = attach_multi(context, program, def, &points, multi, &mut attached);
                    attach_copy(context, instance.program, def, &left, &mut attached)?;
                }
                None => attach_singly(context, program, def, &points, &places, &mut attached)?,
            }
        }
        let specials = |p: &&AttachPoint| p.target.is_special();
        let special = context.bundle.programs.iter().flat_map(|p| &p.attach).filter(specials).count();
        // Nothing to trace is an error whatever is tolerated, unless there is a `begin` or `end` to run; usually, so is a
        // clause of which nothing is left.
        let whole = context.bundle.config.missing_probes == MissingProbes::Error;
        let works =
            |m: &Missing| context.written.get(&m.span).is_some_and(|(_, clause)| attached.clauses.contains(clause));
        let nothing = attached.count == 0 && special == 0;
        let fatal = attached.missing.iter().find(|m| nothing || (whole && !works(m)));
        match fatal {
            Some(Missing { name, reason, span }) => {
                Err(AttachError::Point { name: name.clone(), span: *span, reason: reason.clone() })
            }
            None => {
                attached.watch = cpus::Watch::start(&attached.links, &attached.inside);
                Ok(attached)
            }
        }
    }
}

/// Attaches one by one the points that could not be attached together, with a plain copy of the program or one for
/// each.
fn attach_copy(
    context: &Context<'_>,
    program: usize,
    def: &ProgramDef,
    left: &[&AttachPoint],
    attached: &mut Attached,
) -> Result<(), AttachError> {
    if left.is_empty() {
        return Ok(());
    }
    let places = Places::of(left);
    if !copy_per_point(def) {
        let plain = context.load(def, None, None)?;
        attach_singly(context, (program, plain.as_fd()), def, left, &places, attached)?;
        attached.copies.push((program, plain));
        return Ok(());
    }
    if left.len() > MANY {
        sys::raise_open_files();
    }
    for point in left {
        let own = context.load(def, Some(point), None)?;
        attach_singly(context, (program, own.as_fd()), def, &[*point], &places, attached)?;
        attached.copies.push((program, own));
    }
    Ok(())
}

/// Attaches points one by one, with a program (index, and copy in the kernel).
fn attach_singly(
    context: &Context<'_>,
    (program, fd): (usize, BorrowedFd<'_>),
    def: &ProgramDef,
    points: &[&AttachPoint],
    places: &Places,
    attached: &mut Attached,
) -> Result<(), AttachError> {
    if points.len() > MANY {
        sys::raise_open_files();
    }
    for point in points.iter().copied() {
        let cookie = (def.probe_id == ProbeIdSource::Cookie).then_some(u64::from(point.probe));
        match attach_one(context, fd, point, places, cookie) {
            Ok(links) => {
                attached.notes.extend(context.note(point, &links));
                let known = links.into_iter().map(|l| l.belonging(program, Some(point.probe)));
                attached.links.extend(known);
                attached.works(def, point);
                if let Target::Iter { pin: Some(path), .. } = &point.target {
                    attached.pinned.push(path.clone());
                }
            }
            Err(reason) if context.tolerates(point) => {
                attached.missing.push(Missing { name: context.name(point), reason: reason.0, span: point.span })
            }
            Err(reason) => return Err(context.error(point, reason)),
        }
    }
    Ok(())
}

/// The reason why a target cannot exist.
fn absent(target: &Target) -> Option<Reason> {
    target.module().and_then(modules::absent)
}

fn attach_one(
    context: &Context<'_>,
    program: BorrowedFd<'_>,
    point: &AttachPoint,
    places: &Places,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    if let Some(reason) = absent(&point.target) {
        return Err(reason);
    }
    if context.only_load {
        return Ok(Vec::new());
    }
    match &point.target {
        // Run by themselves.
        Target::Begin | Target::End | Target::Signal { .. } | Target::Test { .. } | Target::Bench { .. } => {
            Ok(Vec::new())
        }
        Target::Kprobe { function, module, offset, ret, .. } => {
            let place = Place { function, module: module.as_deref(), offset: *offset, ret: *ret };
            kprobe::attach(program, place, places, cookie)
        }
        Target::Trampoline { .. } | Target::BpfFunction { .. } => trampoline::attach(program),
        Target::Tracepoint { category, name } => tracepoint::attach(program, category, name, cookie),
        Target::RawTracepoint { name, btf_id, .. } => raw_tracepoint::attach(program, name, btf_id.is_some()),
        target @ (Target::Uprobe { .. } | Target::Usdt { .. }) => uprobe::attach(program, target, context.pid, cookie),
        Target::Interval { nanoseconds } => perf::attach_interval(program, *nanoseconds, cookie),
        Target::Profile { sampling } => perf::attach_profile(program, *sampling, context.pid, cookie),
        Target::PerfEvent { perf_type, config, period } => {
            perf::attach_event(program, (*perf_type, *config), *period, context.pid, cookie)
        }
        Target::Iter { pin, .. } => iter::attach(program, pin.as_deref(), context.dry_run),
        Target::Watchpoint { watched, length, access } => {
            watchpoint::attach(program, (watched, *length, *access), context.pid.or(context.child), cookie)
        }
    }
}

/// Attaches as many points as possible at once, with a program (index, and copy in the kernel); returns those left for
/// single links.
fn attach_multi<'p>(
    context: &Context<'_>,
    (program, fd): (usize, BorrowedFd<'_>),
    def: &ProgramDef,
    points: &[&'p AttachPoint],
    multi: Multi,
    attached: &mut Attached,
) -> Vec<&'p AttachPoint> {
    if context.only_load {
        return Vec::new();
    }
    let ((links, left), gone) =
        modules::steadily(points, |p| p, |points| attach_at_once(context, fd, def, points, multi, attached));
    attached.links.extend(links.into_iter().map(|l| l.belonging(program, None)));
    let left = context.leave_out(left, &gone, attached);
    let done = points.iter().filter(|p| !left.iter().chain(&gone).any(|l| std::ptr::eq(*l, **p)));
    done.for_each(|point| attached.works(def, point));
    left
}

/// The same, whatever modules come and go.
fn attach_at_once<'p>(
    context: &Context<'_>,
    fd: BorrowedFd<'_>,
    def: &ProgramDef,
    points: &[&'p AttachPoint],
    multi: Multi,
    attached: &mut Attached,
) -> (Vec<Link>, Vec<&'p AttachPoint>) {
    let with_cookies = def.probe_id == ProbeIdSource::Cookie;
    match multi {
        Multi::Kprobe | Multi::Session => {
            let wanted: Vec<_> = points.iter().map(|point| Wanted { point, returns: None }).collect();
            let (links, left) = multi::attach(fd, &wanted, with_cookies);
            (links, left.into_iter().map(|w| w.point).collect())
        }
        Multi::Uprobe => uprobe::attach_multi(fd, points, with_cookies, context.pid),
        Multi::Event => {
            let map = context.loaded.maps.object_fd(PROBES_SYMBOL).filter(|_| def.probe_id != ProbeIdSource::Unused);
            let identities = map.map(|map| Identities { map, known: &mut attached.identities });
            let outcome = kprobe_events::attach(fd, points, identities);
            attached.notes.extend(outcome.partly.iter().map(|point| context.partly(point)));
            (outcome.link.into_iter().collect(), outcome.left)
        }
    }
}

/// Loads the object of a bundle; see [`load::load`].
pub fn load_object(bundle: &Bundle) -> Result<Loaded, AttachError> {
    Ok(load::load(bundle)?)
}
