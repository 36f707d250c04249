//! A run from beginning to end: load, `BEGIN`, attach, events, detach, `END`, maps, what was lost. Everything
//! attached belongs to values in [`run`]; however it returns, nothing stays attached.

use crate::attach::{self, AttachError, Attached, Context, Programs};
use crate::command::{self, Child, CommandError, Ended};
use crate::events::{self, Packets, Ring, Sink};
use crate::load::{Loaded, MapsError};
use crate::pcap::Captures;
use crate::sys::{self, EndSignals, Epoll};
use crate::unwind::Tables;
use rtrace_lang::bundle::{Action, Bundle, MissingProbes, Target};
use rtrace_lang::types::{StackMode, Type};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Records read in one go before signals and ended processes are looked at.
const BATCH: usize = 32 * 1024;
/// Milliseconds of sleep between two reads of a busy buffer. Being woken for every event would cost the traced
/// programs more than the events do; longer sleeps fill the buffer.
const NAP: i32 = 1;
const LONG_NAP: i32 = 4;
/// Fewer records than this in a nap: the buffer is not busy.
const BUSY: usize = 16;
/// How often the counter of lost events is read.
const LOSS_INTERVAL: Duration = Duration::from_secs(1);
/// How long after its start the child's mappings are first read for the names of its addresses; the time between
/// two readings doubles up to [`LOSS_INTERVAL`].
const FIRST_LOOK: Duration = Duration::from_millis(1);

/// The longest time to read on after the end, when probes that cannot be stopped at once go on filling.
const LAST_DRAIN: Duration = Duration::from_secs(2);

/// What a user may ask of a run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// `-c`: run this command, trace until it ends.
    pub command: Option<String>,
    /// `-p`: trace until this process ends; tie probes to it that can be.
    pub pid: Option<u32>,
    /// `-v`: say how the child ended, name probes that are missing.
    pub verbose: bool,
    /// Load and attach, then end without running anything.
    pub dry_run: bool,
    /// Print this line on standard output when everything is attached.
    pub notify: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Maps(#[from] MapsError),
    /// The output failed; a closed pipe is not worth a message ([`RunError::is_quiet`]).
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    #[error("cannot write {path}: {source}")]
    Capture { path: String, source: io::Error },
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
}

impl RunError {
    /// The place in the bundle's sources that the error is about.
    pub fn span(&self) -> Option<(u32, u32)> {
        match self {
            RunError::Attach(error) => error.span(),
            _ => None,
        }
    }

    /// Advice, when there is any.
    pub fn advice(&self) -> Option<&'static str> {
        self.verifier().and_then(|error| error.advice)
    }

    /// The verifier's log, for `-v`.
    pub fn log(&self) -> Option<&str> {
        self.verifier().map(|error| error.log.as_str())
    }

    /// The reader of our output went away: end without a word.
    pub fn is_quiet(&self) -> bool {
        matches!(self, RunError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    fn verifier(&self) -> Option<&crate::load::VerifierError> {
        match self {
            RunError::Attach(AttachError::Load(crate::load::LoadError::Verifier { error, .. })) => Some(error),
            _ => None,
        }
    }
}

fn system(action: &'static str) -> impl Fn(io::Error) -> RunError {
    move |source| RunError::System { action, source }
}

/// Runs a bundle to its end. Returns the exit status that the script chose, 0 when it chose none.
pub fn run(bundle: &Bundle, options: &RunOptions, sink: &mut dyn Sink) -> Result<i32, RunError> {
    let watched = options.pid.map(command::watch).transpose()?;
    let loaded = attach::load_object(bundle)?;
    let mut context = Context::new(bundle, &loaded, options.pid);
    let programs = attach::load_programs(&context)?;
    loaded.maps.set_start_time(sys::clock_ns(libc::CLOCK_MONOTONIC));
    let child = options.command.as_deref().map(Child::start).transpose()?;
    context.child = child.as_ref().map(Child::pid);
    loaded.maps.set_machine(context.child);
    let mut session = Session {
        bundle,
        loaded: &loaded,
        sink,
        ring: Ring::open(&loaded).map_err(system("open the ring buffer"))?,
        packets: Packets::open(bundle, &loaded).map_err(system("open the packet buffers"))?,
        captures: Captures::default(),
        tables: Tables::new(&loaded.maps),
        exit: None,
        unwatch: Vec::new(),
        lost_seen: 0,
        lost_checked: Instant::now(),
    };
    if options.dry_run {
        let attached = programs.attach(&context)?;
        session.warn_missing(&attached, options)?;
        return Ok(0);
    }
    if let Some(tables) = &mut session.tables {
        tables.prepare(bundle, options.pid, child.as_ref().map(Child::path));
    }
    session.run(&context, &programs, options, child, watched)
}

struct Session<'a> {
    bundle: &'a Bundle,
    loaded: &'a Loaded,
    sink: &'a mut dyn Sink,
    ring: Option<Ring>,
    packets: Packets,
    captures: Captures,
    /// What `dw_ustack` walks stacks by.
    tables: Option<Tables<'a>>,
    /// The script asked to end, with this status. What comes after in the buffer is not shown.
    exit: Option<i32>,
    /// Addresses that the script no longer watches.
    unwatch: Vec<u64>,
    lost_seen: u64,
    lost_checked: Instant,
}

/// When to look at the mappings of the child: programs load libraries for a while, and once the child is gone
/// nobody knows what was where.
struct Looks {
    process: Option<u32>,
    next: Instant,
    pause: Duration,
}

impl Looks {
    /// Never, where no address of a program is printed.
    fn new(bundle: &Bundle, child: Option<&Child>) -> Looks {
        let types = bundle.events.iter().flat_map(|e| e.fields.iter());
        let types = types.chain(bundle.maps.iter().flat_map(|m| m.key.iter().chain([&m.value])));
        let asked = types.into_iter().any(names_user_addresses);
        let process = child.map(Child::pid).filter(|_| asked);
        Looks { process, next: Instant::now() + FIRST_LOOK, pause: FIRST_LOOK }
    }

    /// How long to wait for events at most.
    fn wait(&self) -> Duration {
        match self.process {
            // At least a millisecond, or the wait would not be one.
            Some(_) => self.next.saturating_duration_since(Instant::now()).clamp(FIRST_LOOK, LOSS_INTERVAL),
            None => LOSS_INTERVAL,
        }
    }

    /// The process, when it is time to look at it.
    fn due(&mut self) -> Option<u32> {
        let process = self.process.filter(|_| Instant::now() >= self.next)?;
        self.pause = (self.pause * 2).min(LOSS_INTERVAL);
        self.next = Instant::now() + self.pause;
        // Before its exec the child is a copy of us, after its end it has no mappings.
        let link = |who: &str| std::fs::read_link(format!("/proc/{who}/exe")).ok();
        let runs = link(&process.to_string()).is_some_and(|exe| Some(exe) != link("self"));
        let mapped = || std::fs::read(format!("/proc/{process}/maps")).is_ok_and(|m| !m.is_empty());
        (runs && mapped()).then_some(process)
    }
}

fn names_user_addresses(ty: &Type) -> bool {
    match ty {
        Type::Stack(s) => s.user && s.mode != StackMode::Raw,
        Type::Usym => true,
        Type::Tuple(list) => list.iter().any(names_user_addresses),
        Type::NamedTuple(list) => list.iter().any(|(_, t)| names_user_addresses(t)),
        _ => false,
    }
}

/// What woke the loop.
mod token {
    pub const SIGNAL: u64 = 0;
    pub const CHILD: u64 = 1;
    pub const PROCESS: u64 = 2;
    pub const EVENTS: u64 = 3;
}

impl Session<'_> {
    fn run(
        &mut self,
        context: &Context<'_>,
        programs: &Programs,
        options: &RunOptions,
        mut child: Option<Child>,
        watched: Option<OwnedFd>,
    ) -> Result<i32, RunError> {
        // What BEGIN prints comes after the line that says how many probes are attached, which is known later.
        programs.run_special(context, &Target::Begin)?;
        let begin = self.take_records();
        let mut attached =
            if self.exits(&begin) { Attached::uncalled(self.bundle) } else { programs.attach(context)? };
        // From here on Ctrl-C means the end of the script, not of the process.
        let signals = EndSignals::new(&[libc::SIGINT, libc::SIGTERM]).map_err(system("take signals"))?;
        self.warn_missing(&attached, options)?;
        self.sink.attached(attached.count).map_err(RunError::Output)?;
        if let Some(line) = &options.notify {
            self.sink.flush().map_err(RunError::Output)?;
            println_flushed(line).map_err(RunError::Output)?;
        }
        for record in &begin {
            self.record(record)?;
        }
        if self.exit.is_none() {
            if let Some(child) = &mut child {
                // What BEGIN says comes before what the command says.
                self.sink.flush().map_err(RunError::Output)?;
                child.release()?;
            }
            self.events(&signals, &mut child, watched.as_ref(), &mut attached)?;
        }

        attached.stop();
        if let Some(child) = &mut child {
            self.child_ended(child, options)?;
        }
        self.drain_all()?;
        // Events that END asks for are shown even when exit() had its way before.
        let status = self.exit.take();
        programs.run_special(context, &Target::End)?;
        self.drain_all()?;
        let status = status.or(self.exit).unwrap_or(0);
        self.report_losses(programs.misses() + attached.misses())?;
        self.sink
            .finish(self.bundle, &self.loaded.maps, self.bundle.config.print_maps_on_exit)
            .and_then(|()| self.sink.flush())
            .map_err(RunError::Output)?;
        Ok(status)
    }

    /// The loop: until the script, the user or a process that ends says that it is over.
    fn events(
        &mut self,
        signals: &EndSignals,
        child: &mut Option<Child>,
        watched: Option<&OwnedFd>,
        attached: &mut Attached,
    ) -> Result<(), RunError> {
        // One set for naps, which new events must not cut short, and one for waiting.
        let control = Epoll::new().map_err(system("wait for events"))?;
        let all = Epoll::new().map_err(system("wait for events"))?;
        let add = |epoll: &Epoll, fd: BorrowedFd<'_>, token| epoll.add(fd, token).map_err(system("wait for events"));
        for epoll in [&control, &all] {
            add(epoll, signals.as_fd(), token::SIGNAL)?;
            if let Some(child) = child.as_ref() {
                add(epoll, child.fd(), token::CHILD)?;
            }
            if let Some(process) = watched {
                add(epoll, process.as_fd(), token::PROCESS)?;
            }
        }
        for fd in self.ring.iter().map(Ring::fd).chain(self.packets.fds()) {
            add(&all, fd, token::EVENTS)?;
        }

        let mut looks = Looks::new(self.bundle, child.as_ref());
        let mut nap = NAP;
        let mut count = 0;
        while self.exit.is_none() {
            let woken = if count >= BATCH {
                control.wait(0)
            } else if count >= BUSY {
                control.wait(nap)
            } else {
                let tables = self.tables.as_ref().map_or(LOSS_INTERVAL, Tables::wait);
                all.wait(looks.wait().min(tables).as_millis() as i32)
            };
            self.serve_tables()?;
            if let Some(process) = looks.due() {
                self.sink.remember(self.bundle, process);
            }
            for token in woken.map_err(system("wait for events"))? {
                match token {
                    token::SIGNAL | token::PROCESS => return Ok(()),
                    token::CHILD if child.as_mut().is_some_and(|c| c.ended().is_some()) => return Ok(()),
                    _ => {}
                }
            }
            count = self.drain()?;
            for address in self.unwatch.drain(..) {
                attached.unwatch(address);
            }
            // A full batch means that the reader is behind; many records, that it may sleep longer.
            nap = if count > 8 * BUSY { LONG_NAP } else { NAP };
            self.report_lost_events(false)?;
            self.sink.flush().map_err(RunError::Output)?;
        }
        Ok(())
    }

    /// Makes the unwind tables that programs missed.
    fn serve_tables(&mut self) -> Result<(), RunError> {
        let Some(tables) = &mut self.tables else { return Ok(()) };
        tables.serve();
        match tables.failure() {
            Some(text) => self.sink.warning(&text).map_err(RunError::Output),
            None => Ok(()),
        }
    }

    /// Says how the child ended, if it did.
    fn child_ended(&mut self, child: &mut Child, options: &RunOptions) -> Result<(), RunError> {
        let Some(ended) = child.ended() else { return Ok(()) };
        if let Some(error) = child.exec_failure() {
            return Err(error.into());
        }
        let text = match ended {
            Ended::Code(code) => format!("the command ended with status {code}"),
            Ended::Signal(signal) => format!("the command was killed by signal {signal}"),
        };
        if options.verbose { self.sink.warning(&text).map_err(RunError::Output) } else { Ok(()) }
    }

    /// Reads what is in the buffers, at most a batch. Returns the number of records.
    fn drain(&mut self) -> Result<usize, RunError> {
        let mut ring = self.ring.take();
        let result = match &mut ring {
            Some(ring) => ring.drain(BATCH, |record| self.record(record)),
            None => Ok(0),
        };
        self.ring = ring;
        Ok(result? + self.drain_packets()?)
    }

    /// Reads until the buffers are empty. Some links are still there ([`Attached::stop`]), so they may never
    /// be: then until a time that is enough for what was in the buffers.
    fn drain_all(&mut self) -> Result<(), RunError> {
        let start = Instant::now();
        while self.drain()? > 0 && start.elapsed() < LAST_DRAIN {}
        Ok(())
    }

    fn drain_packets(&mut self) -> Result<usize, RunError> {
        let (packets, lost) = self.packets.drain();
        for packet in &packets {
            let Some(Action::Packet { path, offset }) =
                self.bundle.events.get(packet.event as usize).map(|e| &e.action)
            else {
                continue;
            };
            self.captures
                .write(path, *offset, packet.time, &packet.data)
                .map_err(|source| RunError::Capture { path: path.clone(), source })?;
        }
        if !packets.is_empty() {
            self.captures
                .flush()
                .map_err(|source| RunError::Capture { path: "the capture file".to_owned(), source })?;
        }
        if lost > 0 {
            self.sink
                .warning(&format!("{lost} packets found no room in the packet buffers"))
                .map_err(RunError::Output)?;
        }
        Ok(packets.len())
    }

    /// All waiting records, unread.
    fn take_records(&mut self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        if let Some(ring) = &mut self.ring {
            let keep = |record: &[u8]| -> Result<(), std::convert::Infallible> {
                records.push(record.to_vec());
                Ok(())
            };
            match ring.drain(usize::MAX, keep) {
                Ok(_) => {}
            }
        }
        records
    }

    /// Whether the script ends in one of these records.
    fn exits(&self, records: &[Vec<u8>]) -> bool {
        records.iter().any(|r| events::event_of(self.bundle, r).is_some_and(|e| e.action == Action::Exit))
    }

    /// One record of the ring buffer.
    fn record(&mut self, record: &[u8]) -> Result<(), RunError> {
        if self.exit.is_some() {
            return Ok(());
        }
        let bundle = self.bundle;
        let decoded = events::event_of(bundle, record).and_then(|e| Some((e, events::fields(e, record)?)));
        let Some((event, fields)) = decoded else {
            return self.sink.warning("an event from the kernel is damaged and was skipped").map_err(RunError::Output);
        };
        let maps = &self.loaded.maps;
        match &event.action {
            Action::Exit => self.exit = Some(fields.first().map_or(0, |f| exit_status(f.data))),
            Action::Unwatch => self.unwatch.extend(fields.first().map(|f| word(f.data))),
            Action::Clear { map } => maps.clear(*map as usize)?,
            Action::Zero { map } => maps.zero(*map as usize)?,
            Action::Packet { .. } => {}
            _ => self.sink.event(bundle, event, &fields, maps).map_err(RunError::Output)?,
        }
        Ok(())
    }

    fn warn_missing(&mut self, attached: &Attached, options: &RunOptions) -> Result<(), RunError> {
        let Some(first) = attached.missing.first() else { return Ok(()) };
        if self.bundle.config.missing_probes == MissingProbes::Ignore {
            return Ok(());
        }
        let count = attached.missing.len();
        let mut warn = |text: &str| self.sink.warning(text).map_err(RunError::Output);
        if options.verbose || count == 1 {
            attached.missing.iter().try_for_each(|m| warn(&format!("cannot attach {}: {}", m.name, m.reason)))
        } else {
            warn(&format!("cannot attach {count} probes (-v names them); {}: {}", first.name, first.reason))
        }
    }

    /// Tells about events lost since the last time, at most once in [`LOSS_INTERVAL`].
    fn report_lost_events(&mut self, now: bool) -> Result<(), RunError> {
        if !now && self.lost_checked.elapsed() < LOSS_INTERVAL {
            return Ok(());
        }
        self.lost_checked = Instant::now();
        let lost = self.loaded.maps.lost_events();
        if lost > self.lost_seen {
            self.sink.lost_events(lost - self.lost_seen).map_err(RunError::Output)?;
            self.lost_seen = lost;
        }
        Ok(())
    }

    /// What else was lost, at the end of a run.
    fn report_losses(&mut self, misses: u64) -> Result<(), RunError> {
        self.report_lost_events(true)?;
        let maps = &self.loaded.maps;
        let mut texts = Vec::new();
        for (n, def) in self.bundle.maps.iter().enumerate() {
            let failed = maps.lost_updates(n);
            if failed > 0 {
                let (name, most) = (&def.name, def.max_entries);
                texts.push(format!(
                    "{failed} updates of map {name} failed; it holds {most} entries at most (config max_map_keys)"
                ));
            }
        }
        for l in &self.bundle.loops {
            let times = maps.stopped(l.stopped);
            if times > 0 {
                let word = if l.range { "for" } else { "while" };
                let place = self.bundle.sources.place(l.span.0);
                let place = place.map_or_else(|| "?".into(), |p| format!("{}:{}", p.line, p.column));
                let times = if times == 1 { String::new() } else { format!(" ({times} times)") };
                texts.push(format!("a {word} loop at {place} was stopped after {} rounds{times}", l.rounds));
            }
        }
        let mut count = |number: u64, what: &str| {
            if number > 0 {
                texts.push(format!("{number} {what}"));
            }
        };
        count(maps.lost_stacks(), "stacks could not be stored");
        count(
            maps.unready_stacks(),
            "user stacks were taken before the unwind tables of their files were there: frames may be missing",
        );
        count(misses, "times a probe was hit while a probe ran on the same CPU, and was left out");
        count(self.captures.skipped, "packets that are not IP were left out of the capture files");
        texts.iter().try_for_each(|text| self.sink.warning(text)).map_err(RunError::Output)
    }
}

/// The status of `exit(n)`: the field is an integer of any size.
fn exit_status(bytes: &[u8]) -> i32 {
    // As exit(3): the low 8 bits, whatever the sign.
    (word(bytes) & 0xff) as i32
}

/// An integer field of any size.
fn word(bytes: &[u8]) -> u64 {
    let mut value = [0u8; 8];
    for (to, from) in value.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(value)
}

fn println_flushed(line: &str) -> io::Result<()> {
    use std::io::Write;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(exit_status(&3i32.to_le_bytes()), 3);
        assert_eq!(exit_status(&(-1i64).to_le_bytes()), 255);
        assert_eq!(exit_status(&[]), 0);
    }
}
