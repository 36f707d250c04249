//! Attaching: loaded programs meet their attach points. One module per kind of probe knows how the kernel
//! wants it; this one decides which copies of a program are loaded, what happens when a point fails, and
//! holds everything attached so that dropping it detaches everything.

pub mod kprobe;
pub mod perf;
pub mod raw_tracepoint;
pub mod special;
pub mod tracepoint;
pub mod trampoline;
pub mod uprobe;
pub mod watchpoint;

use crate::load::{self, LoadError, Loaded, Multi, Variant, program};
use crate::sys::{self, PerfControl};
use rtrace_lang::bundle::{AttachPoint, Bundle, MissingProbes, ProbeIdSource, ProgType, ProgramDef, Target};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Why one attach point failed, in words.
#[derive(Clone, Debug)]
pub struct Reason(pub String);

impl Reason {
    fn of(error: &io::Error, words: &[(i32, &str)]) -> Reason {
        let code = error.raw_os_error().unwrap_or(0);
        match words.iter().find(|(errno, _)| *errno == code) {
            Some((_, text)) => Reason((*text).to_owned()),
            None if matches!(code, libc::EPERM | libc::EACCES) => Reason(
                "not allowed: this needs root or CAP_PERFMON, and no lockdown of the kernel in confidentiality mode"
                    .to_owned(),
            ),
            None if code == libc::EMFILE => Reason("too many open files: raise the limit (ulimit -n)".to_owned()),
            None => Reason(error.to_string()),
        }
    }
}

/// One attachment; dropping it detaches.
#[derive(Debug)]
pub struct Link {
    /// Closed before the event.
    link: Option<OwnedFd>,
    event: Option<OwnedFd>,
    /// fentry or fexit, slow to detach.
    trampoline: bool,
    /// The address of a watchpoint.
    watches: Option<u64>,
}

impl Link {
    fn whole(fd: OwnedFd) -> Link {
        Link { link: Some(fd), event: None, trampoline: false, watches: None }
    }

    /// Ties a program to an opened perf event and starts it. With a link where the kernel has them (5.15):
    /// closing the link takes the program off without taking the probe out, which is slow.
    fn event(event: OwnedFd, program: BorrowedFd<'_>, cookie: Option<u64>) -> io::Result<Link> {
        static NO_LINKS: AtomicBool = AtomicBool::new(false);
        let link = match cookie {
            Some(cookie) => Some(sys::perf_link(program, event.as_fd(), cookie)?),
            None if NO_LINKS.load(Ordering::Relaxed) => None,
            None => match sys::perf_link(program, event.as_fd(), 0) {
                Ok(link) => Some(link),
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    NO_LINKS.store(true, Ordering::Relaxed);
                    None
                }
                Err(e) => return Err(e),
            },
        };
        if link.is_none() {
            sys::perf_control(event.as_fd(), PerfControl::SetProgram(program))?;
        }
        sys::perf_control(event.as_fd(), PerfControl::Enable)?;
        Ok(Link { link, event: Some(event), trampoline: false, watches: None })
    }
}

/// A copy of a program in the kernel, with the attach points (indices) that it serves.
#[derive(Debug)]
struct Instance {
    program: usize,
    points: Vec<usize>,
    multi: Option<Multi>,
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

/// What is attached.
#[derive(Debug, Default)]
pub struct Attached {
    links: Vec<Link>,
    /// Copies of programs (indices) that were loaded while attaching.
    copies: Vec<(usize, OwnedFd)>,
    /// Attach points as written of which something works.
    spans: HashSet<(u32, u32)>,
    /// Attach points that work.
    pub count: usize,
    pub missing: Vec<Missing>,
}

impl Attached {
    /// Removes the watchpoints of an address. Returns whether there were any.
    pub fn unwatch(&mut self, address: u64) -> bool {
        let before = self.links.len();
        self.links.retain(|l| l.watches != Some(address));
        self.links.len() < before
    }

    /// Stops the probes as far as that is quick: taking a kprobe or a trampoline out makes the kernel wait each
    /// time, which is for after the results are shown. A link to a perf event lets go of the program at once;
    /// timers can be disabled; of the others only a few are taken out here. What remains is released by dropping.
    pub fn stop(&mut self) {
        let slow = |l: &&Link| l.trampoline || l.link.is_none();
        let few = self.links.iter().filter(slow).count() <= FEW;
        for link in &mut self.links {
            match (&link.link, &link.event) {
                (Some(_), Some(_)) => link.link = None,
                (Some(_), None) if few || !link.trampoline => link.link = None,
                (None, Some(_)) if few => link.event = None,
                (None, Some(event)) => {
                    // A probe that cannot be disabled is detached by closing; nothing to report.
                    let _ = sys::perf_control(event.as_fd(), PerfControl::Disable);
                }
                _ => {}
            }
        }
    }
}

/// What attaching needs to know.
pub struct Context<'a> {
    pub bundle: &'a Bundle,
    pub loaded: &'a Loaded,
    /// Only this process, for probes that can be tied to one.
    pub pid: Option<u32>,
    /// The process that `-c` started.
    pub child: Option<u32>,
    modules: RefCell<HashMap<String, Option<OwnedFd>>>,
    /// How many attach points each one as written stands for.
    written: HashMap<(u32, u32), usize>,
}

impl<'a> Context<'a> {
    pub fn new(bundle: &'a Bundle, loaded: &'a Loaded, pid: Option<u32>) -> Context<'a> {
        let mut written = HashMap::new();
        for point in bundle.programs.iter().flat_map(|p| &p.attach) {
            *written.entry(point.span).or_insert(0) += 1;
        }
        Context { bundle, loaded, pid, child: None, modules: RefCell::default(), written }
    }

    fn name(&self, point: &AttachPoint) -> String {
        self.bundle.probes.get(point.probe as usize).map_or_else(|| "probe".to_owned(), |p| p.name.clone())
    }

    fn error(&self, point: &AttachPoint, reason: Reason) -> AttachError {
        AttachError::Point { name: self.name(point), span: point.span, reason: reason.0 }
    }

    /// Whether an attach point may be left out: one of a wildcard, or any when the script says so.
    fn tolerates(&self, point: &AttachPoint) -> bool {
        self.bundle.config.missing_probes != MissingProbes::Error
            || self.written.get(&point.span).is_some_and(|count| *count > 1)
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
            Some(Target::RawTracepoint { btf_id, .. }) => (btf_id.unwrap_or(0), None),
            _ => (0, None),
        };
        let mut modules = self.modules.borrow_mut();
        let btf_module = match (module, point) {
            (Some(module), Some(point)) => {
                let known = match modules.entry(module.clone()) {
                    std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::hash_map::Entry::Vacant(entry) => {
                        let fd = sys::module_btf(module)
                            .map_err(|e| self.error(point, Reason(format!("no types of module {module}: {e}"))))?;
                        entry.insert(fd)
                    }
                };
                let Some(fd) = known.as_ref() else {
                    let reason =
                        format!("module {module} has no BTF (it needs Linux 5.11 and CONFIG_DEBUG_INFO_BTF_MODULES)");
                    return Err(self.error(point, Reason(reason)));
                };
                Some(fd.as_fd())
            }
            _ => None,
        };
        let variant = Variant { probe, btf_id, btf_module, multi };
        program::load(self.loaded, def, variant, &self.bundle.sources).map_err(|e| self.blame_point(e, point))
    }

    /// A tracing program that the kernel refuses without a word of the verifier is refused for its target.
    fn blame_point(&self, error: LoadError, point: Option<&AttachPoint>) -> AttachError {
        match (error, point) {
            (LoadError::Program { source, .. }, Some(point))
                if matches!(point.target, Target::Trampoline { .. } | Target::RawTracepoint { .. }) =>
            {
                self.error(point, trampoline::reason(&source))
            }
            (error, _) => error.into(),
        }
    }
}

/// Whether each attach point needs a copy of the program of its own.
fn copy_per_point(def: &ProgramDef) -> bool {
    matches!(def.prog_type, ProgType::Fentry | ProgType::Fexit | ProgType::BtfTracepoint)
        || def.probe_id == ProbeIdSource::Patch
}

/// The multi link that a program asks for.
fn multi_of(def: &ProgramDef) -> Option<Multi> {
    if !def.multi || def.attach.len() < 2 || def.probe_id == ProbeIdSource::Patch {
        return None;
    }
    match def.attach.first()?.target {
        Target::Kprobe { .. } => Some(Multi::Kprobe),
        Target::Uprobe { .. } | Target::Usdt { .. } => Some(Multi::Uprobe),
        _ => None,
    }
}

/// Loads every program of the bundle.
pub fn load_programs(context: &Context<'_>) -> Result<Programs, AttachError> {
    let mut instances = Vec::new();
    let mut missing = Vec::new();
    let (mut loaded, mut refused) = (HashSet::new(), Vec::new());
    for (program, def) in context.bundle.programs.iter().enumerate() {
        if copy_per_point(def) {
            if def.attach.len() > MANY {
                sys::raise_open_files();
            }
            for (n, point) in def.attach.iter().enumerate() {
                match context.load(def, Some(point), None) {
                    Ok(fd) => {
                        loaded.insert(point.span);
                        instances.push(Instance { program, points: vec![n], multi: None, fd });
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
            let wanted = multi_of(def);
            let (multi, fd) = match context.load(def, None, wanted) {
                // A kernel before 5.18 (6.6 for uprobes) does not know the attach type.
                Err(_) if wanted.is_some() => (None, context.load(def, None, None)?),
                other => (wanted, other?),
            };
            instances.push(Instance { program, points, multi, fd });
        }
    }
    // What the verifier refuses for every function of a wildcard is itself at fault.
    let at_fault = |(span, error): &(_, _)| matches!(error, AttachError::Load(_)) && !loaded.contains(span);
    match refused.into_iter().find(at_fault) {
        Some((_, error)) => Err(error),
        None => Ok(Programs { instances, missing }),
    }
}

/// Runs that the kernel left out because a program was running on the CPU already, by clause.
pub fn misses(bundle: &Bundle, programs: &Programs, attached: &Attached) -> Vec<((u32, u32), u64)> {
    let mut found: Vec<((u32, u32), u64)> = Vec::new();
    let loaded =
        programs.instances.iter().map(|i| (i.program, &i.fd)).chain(attached.copies.iter().map(|(p, f)| (*p, f)));
    for (program, fd) in loaded {
        let (Some(def), Ok(missed)) = (bundle.programs.get(program), sys::missed_runs(fd.as_fd())) else { continue };
        match found.iter_mut().find(|(span, _)| *span == def.span) {
            Some((_, count)) => *count += missed,
            None => found.push((def.span, missed)),
        }
    }
    found
}

/// As many trampolines are taken out before the results are shown; 0.02 to 0.2 s each.
const FEW: usize = 4;

/// With more attach points than this, the usual limit of 1024 open files is near.
const MANY: usize = 200;

impl Programs {
    /// Runs the programs of `BEGIN` or `END`. Returns how many there were.
    pub fn run_special(&self, context: &Context<'_>, which: &Target) -> Result<usize, AttachError> {
        let mut count = 0;
        for instance in &self.instances {
            let Some(def) = context.bundle.programs.get(instance.program) else { continue };
            for point in instance.points.iter().filter_map(|n| def.attach.get(*n)) {
                if point.target == *which {
                    special::run(instance.fd.as_fd()).map_err(|e| context.error(point, special::reason(&e)))?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Attaches all programs but those of `BEGIN` and `END`, which only count. On an error everything that
    /// was attached is released again.
    pub fn attach(&self, context: &Context<'_>) -> Result<Attached, AttachError> {
        let mut attached = Attached { missing: self.missing.clone(), ..Attached::default() };
        for instance in &self.instances {
            let Some(def) = context.bundle.programs.get(instance.program) else { continue };
            let points: Vec<&AttachPoint> = instance.points.iter().filter_map(|n| def.attach.get(*n)).collect();
            let left = match instance.multi {
                Some(multi) => attach_multi(context, instance.fd.as_fd(), def, &points, multi, &mut attached),
                None => points,
            };
            if left.is_empty() {
                continue;
            }
            // Multi-link programs cannot be attached singly: load a plain copy.
            let plain = instance.multi.map(|_| context.load(def, None, None)).transpose()?;
            let fd = plain.as_ref().unwrap_or(&instance.fd).as_fd();
            if left.len() > MANY {
                sys::raise_open_files();
            }
            for point in left {
                let cookie = (def.probe_id == ProbeIdSource::Cookie).then_some(u64::from(point.probe));
                match attach_one(context, fd, point, cookie) {
                    Ok(links) => {
                        attached.links.extend(links);
                        attached.count += 1;
                        attached.spans.insert(point.span);
                    }
                    Err(reason) if context.tolerates(point) => {
                        attached.missing.push(Missing { name: context.name(point), reason: reason.0, span: point.span })
                    }
                    Err(reason) => return Err(context.error(point, reason)),
                }
            }
            attached.copies.extend(plain.map(|fd| (instance.program, fd)));
        }
        let specials = |p: &&AttachPoint| matches!(p.target, Target::Begin | Target::End);
        let special = context.bundle.programs.iter().flat_map(|p| &p.attach).filter(specials).count();
        // Nothing to trace is an error whatever is tolerated; usually, so is an attach point as written of which
        // nothing is left.
        let whole = context.bundle.config.missing_probes == MissingProbes::Error;
        let fatal =
            attached.missing.iter().find(|m| attached.count <= special || (whole && !attached.spans.contains(&m.span)));
        match fatal {
            Some(Missing { name, reason, span }) => {
                Err(AttachError::Point { name: name.clone(), span: *span, reason: reason.clone() })
            }
            None => Ok(attached),
        }
    }
}

fn attach_one(
    context: &Context<'_>,
    program: BorrowedFd<'_>,
    point: &AttachPoint,
    cookie: Option<u64>,
) -> Result<Vec<Link>, Reason> {
    match &point.target {
        // Run by themselves.
        Target::Begin | Target::End => Ok(Vec::new()),
        Target::Kprobe { function, module, offset, ret } => {
            kprobe::attach(program, function, module.as_deref(), *offset, *ret, cookie)
        }
        Target::Trampoline { .. } => trampoline::attach(program),
        Target::Tracepoint { category, name } => tracepoint::attach(program, category, name, cookie),
        Target::RawTracepoint { name, btf_id } => raw_tracepoint::attach(program, name, btf_id.is_some()),
        target @ (Target::Uprobe { .. } | Target::Usdt { .. }) => uprobe::attach(program, target, context.pid, cookie),
        Target::Interval { nanoseconds } => perf::attach_interval(program, *nanoseconds, cookie),
        Target::Profile { sampling } => perf::attach_profile(program, *sampling, context.pid, cookie),
        Target::PerfEvent { perf_type, config, period } => {
            perf::attach_event(program, (*perf_type, *config), *period, context.pid, cookie)
        }
        Target::Watchpoint { watched, length, access } => {
            watchpoint::attach(program, (watched, *length, *access), context.pid.or(context.child), cookie)
        }
    }
}

/// Attaches as many points as possible with multi links; returns those left for single links.
fn attach_multi<'p>(
    context: &Context<'_>,
    program: BorrowedFd<'_>,
    def: &ProgramDef,
    points: &[&'p AttachPoint],
    multi: Multi,
    attached: &mut Attached,
) -> Vec<&'p AttachPoint> {
    let with_cookies = def.probe_id == ProbeIdSource::Cookie;
    let (links, left) = match multi {
        Multi::Kprobe => kprobe::attach_multi(program, points, with_cookies),
        Multi::Uprobe => uprobe::attach_multi(program, points, with_cookies, context.pid),
    };
    attached.links.extend(links);
    attached.count += points.len() - left.len();
    let done = points.iter().filter(|p| !left.iter().any(|l| std::ptr::eq(*l, **p)));
    attached.spans.extend(done.map(|p| p.span));
    left
}

/// Loads the object of a bundle; see [`load::load`].
pub fn load_object(bundle: &Bundle) -> Result<Loaded, AttachError> {
    Ok(load::load(bundle)?)
}
