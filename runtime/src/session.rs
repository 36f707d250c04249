//! A run from beginning to end: load, `BEGIN`, attach, events, detach, `END`, maps, what was lost. Everything
//! attached belongs to values in [`run`]; however it returns, nothing stays attached.

use crate::attach::{self, AttachError, Attached, Context, Missed, Programs};
use crate::command::{self, Child, CommandError, Ended};
use crate::events::{self, Fields, Packets, Ring};
use crate::load::{Loaded, MapsError};
use crate::losses::{self, Loss, Of};
use crate::output::{CaptureError, MapSource, Printer, Report};
use crate::privileges;
use crate::unwind::Tables;
use rtrace_core::bundle::{Action, Bundle, EventDef, MissingProbes, Mode, Target};
use rtrace_symbols::foreign;
use rtrace_sys::notify;
use rtrace_sys::{self as sys, EndSignals, Epoll, OwnSignals};
use std::collections::BTreeMap;
use std::io::{self, Read};
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
/// How often at least new mappings of processes are looked at: files that only a process can reach are out of reach
/// when it has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Objects that an iterator goes over between two readings of the event buffer.
const OBJECTS: usize = 64;

/// The longest time to read on after the end, when probes that cannot be stopped at once go on filling.
const LAST_DRAIN: Duration = Duration::from_secs(2);

/// The options of a run.
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
    #[error(transparent)]
    Capture(#[from] CaptureError),
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
pub fn run(bundle: &Bundle, options: &RunOptions, printer: &mut Printer<'_>) -> Result<i32, RunError> {
    sys::await_children();
    // Compiling is over.
    foreign::forget();
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
        printer,
        ring: Ring::open(&loaded).map_err(system("open the ring buffer"))?,
        packets: Packets::open(bundle, &loaded).map_err(system("open the packet buffers"))?,
        tables: Tables::new(&loaded.maps),
        exit: None,
        unwatch: Vec::new(),
        lost_seen: 0,
        lost_checked: Instant::now(),
        lost_packets: 0,
        merged: BTreeMap::new(),
        before_kept: None,
    };
    if options.dry_run {
        context.dry_run = true;
        // For tests: attaching thousands of probes takes much longer than what they are after.
        context.only_load = std::env::var_os("RTRACE_ONLY_LOAD").is_some();
        let attached = programs.attach(&context)?;
        session.warn_missing(&attached, options)?;
        return Ok(0);
    }
    if let Some(tables) = &mut session.tables {
        tables.prepare(bundle, options.pid, child.as_ref().map(Child::path));
    }
    session.run(&context, &programs, options, child, watched)
}

struct Session<'a, 'o> {
    bundle: &'a Bundle,
    loaded: &'a Loaded,
    printer: &'a mut Printer<'o>,
    ring: Option<Ring>,
    packets: Packets,
    /// The unwind tables of `dw_ustack`.
    tables: Option<Tables<'a>>,
    /// The script asked to end, with this status. What comes after in the buffer is not shown.
    exit: Option<i32>,
    /// Addresses that the script no longer watches.
    unwatch: Vec<u64>,
    lost_seen: u64,
    lost_checked: Instant,
    lost_packets: u64,
    /// Prints of maps that were done once for several times.
    merged: BTreeMap<(u32, u32), u64>,
    /// Bytes of records to be read before what is kept elsewhere is done ([`Session::do_kept`]).
    before_kept: Option<usize>,
}

mod test_runs;

/// The cause of a wake-up of the loop.
mod token {
    pub const SIGNAL: u64 = 0;
    pub const CHILD: u64 = 1;
    pub const PROCESS: u64 = 2;
    pub const EVENTS: u64 = 3;
    pub const OWN_SIGNAL: u64 = 4;
}

/// The sources of wake-ups of the loop besides events and the child.
struct Sources<'a> {
    signals: &'a EndSignals,
    own: &'a OwnSignals,
    watched: Option<&'a OwnedFd>,
}

impl Session<'_, '_> {
    fn run(
        &mut self,
        context: &Context<'_>,
        programs: &Programs,
        options: &RunOptions,
        mut child: Option<Child>,
        watched: Option<OwnedFd>,
    ) -> Result<i32, RunError> {
        let own = self.own_signals()?;
        if privileges::names_user_addresses(self.bundle) {
            self.printer.symbols().watch();
        }
        // What BEGIN prints comes after the line that says how many probes are attached, which is known later.
        programs.run_special(context, &Target::Begin)?;
        let begin = self.take_records();
        // Even if BEGIN called exit(): that a script could be attached is what some of them are there to tell.
        let mut attached = programs.attach(context)?;
        // From here on Ctrl-C means the end of the script, not of the process.
        let signals =
            EndSignals::new(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP]).map_err(system("receive signals"))?;
        let yardstick = test_runs::Yardstick::new(self.bundle)?;
        privileges::drop_others(self.bundle, options, attached.capabilities()).map_err(system("drop capabilities"))?;
        self.warn_missing(&attached, options)?;
        let mode = self.bundle.config.mode;
        if mode == Mode::Trace {
            self.printer.report(&Report::Attached(attached.count)).map_err(RunError::Output)?;
        }
        for path in &attached.pinned {
            self.printer.report(&Report::Pinned(path)).map_err(RunError::Output)?;
        }
        if let Some(line) = &options.notify {
            self.printer.flush().map_err(RunError::Output)?;
            println_flushed(line).map_err(RunError::Output)?;
        }
        notify::ready(attached.count);
        let tried = match mode {
            Mode::Trace => None,
            Mode::Test => Some(self.tests(context, programs, &begin, &signals)?),
            Mode::Bench => match &yardstick {
                Some(yardstick) => Some(self.benchmarks(context, programs, &begin, &signals, yardstick)?),
                None => None,
            },
        };
        if tried.is_none() {
            for record in &begin {
                self.record(record)?;
            }
            self.do_kept()?;
        }
        if self.exit.is_none() && tried.is_none() {
            if let Some(child) = &mut child {
                // What BEGIN says comes before what the command says.
                self.printer.flush().map_err(RunError::Output)?;
                child.release()?;
            }
            let sources = Sources { signals: &signals, own: &own, watched: watched.as_ref() };
            self.iterate(&attached, &signals)?;
            // Nothing can happen any more, unless a process is waited for.
            let ends = !attached.waits && child.is_none() && watched.is_none();
            if !ends {
                self.events(context, programs, &sources, &mut child, &mut attached)?;
            }
        }

        notify::stopping();
        attached.stop();
        if let Some(child) = &mut child {
            self.child_ended(child, options)?;
        }
        self.drain_all()?;
        // Events that END asks for are shown even when exit() had its way before.
        let status = self.exit.take();
        if let Some(exited) = self.bundle.globals.exited {
            self.loaded.maps.take(exited);
        }
        programs.run_special(context, &Target::End)?;
        self.drain_all()?;
        let status = tried.or(status).or(self.exit).unwrap_or(0);
        self.report_losses(&programs.missed(self.bundle, &mut attached))?;
        let shown = self.bundle.config.print_maps_on_exit && mode == Mode::Trace;
        let maps = shown.then_some(&self.loaded.maps as &dyn MapSource);
        self.printer.finish(maps).map_err(RunError::Output)?;
        Ok(status)
    }

    /// The loop: until the script, the user or a process that ends says that it is over.
    fn events(
        &mut self,
        context: &Context<'_>,
        programs: &Programs,
        sources: &Sources<'_>,
        child: &mut Option<Child>,
        attached: &mut Attached,
    ) -> Result<(), RunError> {
        // One set for naps, which new events must not cut short, and one for waiting.
        let control = Epoll::new().map_err(system("wait for events"))?;
        let all = Epoll::new().map_err(system("wait for events"))?;
        let add = |epoll: &Epoll, fd: BorrowedFd<'_>, token| epoll.add(fd, token).map_err(system("wait for events"));
        for epoll in [&control, &all] {
            add(epoll, sources.signals.as_fd(), token::SIGNAL)?;
            add(epoll, sources.own.as_fd(), token::OWN_SIGNAL)?;
            if let Some(child) = child.as_ref() {
                add(epoll, child.fd(), token::CHILD)?;
            }
            if let Some(process) = sources.watched {
                add(epoll, process.as_fd(), token::PROCESS)?;
            }
        }
        for fd in self.ring.iter().map(Ring::fd).chain(self.packets.fds()).chain(self.printer.symbols().fds()) {
            add(&all, fd, token::EVENTS)?;
        }

        let look = self.printer.symbols().fds().next().is_some().then_some(LOOK_INTERVAL);
        let mut nap = NAP;
        let mut count = 0;
        while self.exit.is_none() {
            let woken = if count >= BATCH {
                control.wait(0)
            } else if count >= BUSY {
                control.wait(nap)
            } else {
                let others = [self.tables.as_ref().map(Tables::wait), self.loaded.maps.stacks_wait(), look];
                let wait = others.into_iter().flatten().fold(LOSS_INTERVAL, Duration::min);
                all.wait(wait.as_millis() as i32)
            };
            self.serve_tables()?;
            self.printer.symbols().update();
            for token in woken.map_err(system("wait for events"))? {
                match token {
                    token::SIGNAL => {
                        let (signal, sent) = sources.signals.last();
                        if let Some(child) = child {
                            child.interrupt(signal, sent);
                        }
                        return Ok(());
                    }
                    token::PROCESS => return Ok(()),
                    token::OWN_SIGNAL => {
                        for number in sources.own.take() {
                            let ran = programs.run_special(context, &Target::Signal { number })?;
                            if ran == 0 {
                                self.drain_past()?;
                                self.printer.maps(&self.loaded.maps).map_err(RunError::Output)?;
                            }
                        }
                    }
                    token::CHILD if child.as_mut().is_some_and(|c| c.ended().is_some()) => return Ok(()),
                    _ => {}
                }
            }
            count = self.drain()?;
            self.loaded.maps.tend_stacks(count < BATCH)?;
            for address in self.unwatch.drain(..) {
                attached.unwatch(address);
            }
            // A full batch means that the reader is behind; many records, that it may sleep longer.
            nap = if count > 8 * BUSY { LONG_NAP } else { NAP };
            self.report_lost_events(false)?;
            for text in attached.follow() {
                self.printer.warning(&text).map_err(RunError::Output)?;
            }
            self.printer.pause().map_err(RunError::Output)?;
        }
        Ok(())
    }

    /// Makes the unwind tables that programs missed.
    fn serve_tables(&mut self) -> Result<(), RunError> {
        let Some(tables) = &mut self.tables else { return Ok(()) };
        tables.serve();
        match tables.failure() {
            Some(text) => self.printer.warning(&text).map_err(RunError::Output),
            None => Ok(()),
        }
    }

    /// Runs the iterators, one after the other, and shows what they print as they do.
    fn iterate(&mut self, attached: &Attached, signals: &EndSignals) -> Result<(), RunError> {
        // A read ends after as many objects as the buffer has bytes (`Lower::begin_object`).
        let mut buffer = [0u8; OBJECTS];
        let waiting = Epoll::new().map_err(system("wait for signals"))?;
        waiting.add(signals.as_fd(), token::SIGNAL).map_err(system("wait for signals"))?;
        for link in attached.iterators() {
            let mut file = std::fs::File::from(sys::iter_create(link).map_err(system("run an iterator"))?);
            loop {
                let read = match file.read(&mut buffer) {
                    // So many objects in a row that the kernel would not show: it goes on with the next read.
                    Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => 1,
                    other => other.map_err(system("run an iterator"))?,
                };
                self.drain_past()?;
                if read == 0 || self.exit.is_some() {
                    break;
                }
                self.printer.flush().map_err(RunError::Output)?;
                if !waiting.wait(0).map_err(system("wait for signals"))?.is_empty() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The signals that the script waits for, and SIGUSR1, which without a clause of the script prints all maps.
    fn own_signals(&self) -> Result<OwnSignals, RunError> {
        let mut numbers = vec![libc::SIGUSR1];
        for point in self.bundle.programs.iter().flat_map(|p| &p.attach) {
            if let Target::Signal { number } = point.target
                && !numbers.contains(&number)
            {
                numbers.push(number);
            }
        }
        OwnSignals::new(numbers).map_err(system("receive signals"))
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
        if options.verbose { self.printer.warning(&text).map_err(RunError::Output) } else { Ok(()) }
    }

    /// Reads what is in the buffers, at most a batch. Returns the number of records.
    fn drain(&mut self) -> Result<usize, RunError> {
        // What is kept comes after what was in the buffer by now.
        if self.before_kept.is_none() && self.keeps() {
            self.before_kept = Some(self.bundle.config.ringbuf_bytes as usize);
        }
        let mut ring = self.ring.take();
        let result = match &mut ring {
            Some(ring) => ring.drain(BATCH, |record| {
                if let Some(bytes) = &mut self.before_kept {
                    *bytes = bytes.saturating_sub(record.len());
                }
                self.record(record)
            }),
            None => Ok(0),
        };
        self.ring = ring;
        let count = result?;
        if self.before_kept.is_some_and(|bytes| bytes == 0 || count < BATCH) {
            self.do_kept()?;
        }
        Ok(count + self.drain_packets()?)
    }

    /// Reads until the buffers are empty. Some links are still there ([`Attached::stop`]), so they may never
    /// be: then until a time that is enough for what was in the buffers.
    fn drain_all(&mut self) -> Result<(), RunError> {
        let start = Instant::now();
        while self.drain()? > 0 && start.elapsed() < LAST_DRAIN {}
        Ok(())
    }

    /// Reads until the buffers were empty once, so that all that is there by now has been read. Other probes may fill
    /// them meanwhile, but not for long.
    fn drain_past(&mut self) -> Result<(), RunError> {
        let start = Instant::now();
        while self.drain()? >= BATCH && start.elapsed() < LAST_DRAIN {}
        Ok(())
    }

    fn drain_packets(&mut self) -> Result<usize, RunError> {
        let (packets, lost) = self.packets.drain();
        if !packets.is_empty() {
            self.printer.packets(&packets)?;
        }
        self.lost_packets += lost;
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

    /// Whether actions wait that found no room in the buffer.
    fn keeps(&self) -> bool {
        self.bundle.globals.kept.is_some_and(|flag| self.loaded.maps.counter(flag) != 0)
    }

    /// Does what found no room in the buffer and must happen nevertheless, in the order of the script.
    fn do_kept(&mut self) -> Result<(), RunError> {
        self.before_kept = None;
        let (bundle, maps) = (self.bundle, &self.loaded.maps);
        let Some(flag) = bundle.globals.kept else { return Ok(()) };
        // First the flag: what is kept from now on sets it again.
        if maps.take(flag) == 0 {
            return Ok(());
        }
        for event in bundle.events.iter().filter(|e| e.action.is_kept()) {
            let word = maps.take(event.lost);
            if word > 1 && matches!(event.action, Action::PrintMap { .. }) {
                *self.merged.entry(event.span).or_insert(0) += word - 1;
            }
            if word > 0 {
                self.act(event, Fields::none(event), Some(word))?;
            }
        }
        Ok(())
    }

    /// One record of the ring buffer.
    fn record(&mut self, record: &[u8]) -> Result<(), RunError> {
        if self.exit.is_some() {
            return Ok(());
        }
        let Some((event, fields)) = events::decode(self.bundle, record) else {
            return self
                .printer
                .warning("an event from the kernel is malformed and was skipped")
                .map_err(RunError::Output);
        };
        self.act(event, fields, None)
    }

    /// Performs the action of an event; `kept` is the mark that was written where there was no room for its record.
    #[inline]
    fn act(&mut self, event: &EventDef, mut fields: Fields<'_>, kept: Option<u64>) -> Result<(), RunError> {
        if self.exit.is_some() {
            return Ok(());
        }
        let maps = &self.loaded.maps;
        match &event.action {
            Action::Exit => {
                let status = || fields.next().map_or(0, |(_, data)| exit_status(data.bytes));
                self.exit = Some(kept.map_or_else(status, |word| exit_status(&word.to_le_bytes())));
            }
            Action::Unwatch => self.unwatch.extend(kept.or_else(|| fields.next().map(|(_, data)| word(data.bytes)))),
            Action::Clear { map } => maps.clear(*map as usize)?,
            Action::Zero { map } => maps.zero(*map as usize)?,
            Action::Packet { .. } => {}
            _ => self.printer.event(event, fields, maps).map_err(RunError::Output)?,
        }
        Ok(())
    }

    fn warn_missing(&mut self, attached: &Attached, options: &RunOptions) -> Result<(), RunError> {
        attached.notes.iter().try_for_each(|note| self.printer.warning(note)).map_err(RunError::Output)?;
        let Some(first) = attached.missing.first() else { return Ok(()) };
        if self.bundle.config.missing_probes == MissingProbes::Ignore {
            return Ok(());
        }
        let count = attached.missing.len();
        let mut warn = |text: &str| self.printer.warning(text).map_err(RunError::Output);
        if options.verbose || count == 1 {
            attached.missing.iter().try_for_each(|m| warn(&format!("cannot attach {}: {}", m.name, m.reason)))
        } else {
            warn(&format!("cannot attach {count} probes (-v lists them); {}: {}", first.name, first.reason))
        }
    }

    /// Tells about events lost since the last time, at most once in [`LOSS_INTERVAL`].
    fn report_lost_events(&mut self, now: bool) -> Result<(), RunError> {
        if !now && self.lost_checked.elapsed() < LOSS_INTERVAL {
            return Ok(());
        }
        self.lost_checked = Instant::now();
        let lost = losses::all_events(self.bundle, &self.loaded.maps);
        if lost > self.lost_seen {
            self.printer.report(&Report::LostEvents(lost - self.lost_seen)).map_err(RunError::Output)?;
            self.lost_seen = lost;
        }
        Ok(())
    }

    /// Reports the losses at the end of a run; `runs` are those that the kernel left out.
    fn report_losses(&mut self, runs: &BTreeMap<Missed, u64>) -> Result<(), RunError> {
        self.report_lost_events(true)?;
        let mut losses = losses::collect(self.bundle, &self.loaded.maps);
        let mut add = |count, of| losses.extend((count > 0).then_some(Loss { count, of }));
        self.merged.iter().for_each(|(span, count)| add(*count, Of::Merged { span: *span }));
        runs.iter().for_each(|((span, probe), count)| add(*count, Of::Run { span: *span, probe: *probe }));
        add(self.lost_packets, Of::Packet);
        add(self.printer.packets_left_out(), Of::Foreign);
        self.printer.report(&Report::Losses(&losses)).map_err(RunError::Output)
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
