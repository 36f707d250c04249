//! Output: what a run shows, in one of several forms ([`FORMS`]). [`Printer`] takes events, maps and reports; the
//! modules below each know one thing: a form (`text`, `json`, `folded`), or how values, maps, histograms, symbols are written.
//!
//! Formats are those of bpftrace 0.27 as it runs (its manual differs here and there), so that what reads
//! its output reads this. Everything is formatted into one buffer that is written when it is full or on
//! [`Printer::flush`].

mod actions;
mod clock;
mod file;
mod float;
mod folded;
mod form;
mod histogram;
mod json;
mod maps;
mod messages;
mod names;
mod number;
mod pcap;
mod printf;
mod quantiles;
mod rows;
mod series;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use file::{OutputFile, Stdout};
pub use form::{FORMS, Form, Report};
pub use maps::Entry;
pub use pcap::CaptureError;

use crate::events::{Datum, Fields, Packet};
use crate::load::Maps;
use form::{Call, Map, Message, Of, Output, Page, Text, Value};
use number::Int;
use pcap::Captures;
use rtrace_core::bundle::{Action, Bundle, EventDef, Format, MapDef, Stream};
use rtrace_core::types::{Agg, Type};
use rtrace_symbols::addresses::Symbols;
use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use value::{Host, Scope};

/// The maps of a run, as far as output reads them. Keys and values are in the inline representation of
/// their types, values merged over CPUs.
pub trait MapSource {
    /// All entries of a map. A keyless map has one with an empty key once it was written, none before.
    fn entries(&self, map: u32) -> io::Result<Vec<Entry>>;
    fn lookup(&self, map: u32, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// The frames of a stored stack.
    fn stack(&self, id: u64) -> Option<Vec<u64>>;
}

impl MapSource for Maps {
    fn entries(&self, map: u32) -> io::Result<Vec<Entry>> {
        Maps::entries(self, map as usize).map_err(io::Error::other)
    }

    fn lookup(&self, map: u32, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Maps::lookup(self, map as usize, key).map_err(io::Error::other)
    }

    fn stack(&self, id: u64) -> Option<Vec<u64>> {
        Maps::stack(self, id).ok().flatten()
    }
}

/// For what is not about maps.
struct NoMaps;

impl MapSource for NoMaps {
    fn entries(&self, _: u32) -> io::Result<Vec<Entry>> {
        Ok(Vec::new())
    }

    fn lookup(&self, _: u32, _: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn stack(&self, _: u64) -> Option<Vec<u64>> {
        None
    }
}

/// How a run is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub form: &'static Form,
    /// For a terminal: control characters in text that others chose, which it could act on, are escaped, and records
    /// are rows.
    pub terminal: bool,
    /// Leave out the line about attached probes.
    pub quiet: bool,
    /// Leave out warnings, those of `warnf` included.
    pub no_warnings: bool,
    pub buffering: Buffering,
}

/// When output becomes visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Buffering {
    /// Whenever nothing more waits to be printed.
    #[default]
    Line,
    /// When a buffer of 64 KiB is full, and at the end.
    Full,
    /// With each event.
    None,
}

/// The buffer is written when it holds this much.
const BUFFER: usize = 64 << 10;

/// The output of a run: takes events, maps and reports, performs the actions of calls, and writes everything in one
/// form. Output and messages go to different places, in the order in which they came.
pub struct Printer<'o> {
    bundle: &'o Bundle,
    out: Box<dyn Write + 'o>,
    errors: Box<dyn Write + Send>,
    /// Whether messages go to a terminal, which output need not go to.
    errors_terminal: bool,
    options: Options,
    form: Box<dyn Output>,
    buffer: Vec<u8>,
    /// Messages that are not written yet.
    notes: Vec<u8>,
    scratch: Vec<u8>,
    /// Output that is kept back, and the form that is used again when it is not.
    held: Option<(Vec<u8>, &'static Form, Box<dyn Output>)>,
    host: Host,
    /// The calls that were told of numbers whose digits they leave out.
    shortened: HashSet<(u32, u32)>,
    captures: Captures,
}

impl<'o> Printer<'o> {
    pub fn new(out: impl Write + 'o, bundle: &'o Bundle, options: Options) -> Printer<'o> {
        Printer {
            bundle,
            out: Box::new(out),
            errors: Box::new(io::stderr()),
            errors_terminal: io::stderr().is_terminal(),
            options,
            form: (options.form.open)(),
            buffer: Vec::with_capacity(BUFFER + 4096),
            notes: Vec::new(),
            scratch: Vec::new(),
            held: None,
            host: Host::default(),
            shortened: HashSet::new(),
            captures: Captures::default(),
        }
    }

    /// Messages go elsewhere than to standard error, which may be a terminal.
    pub fn with_errors(mut self, errors: impl Write + Send + 'static, terminal: bool) -> Printer<'o> {
        self.errors = Box::new(errors);
        self.errors_terminal = terminal;
        self
    }

    /// Names of addresses, which follow what processes map.
    pub fn symbols(&mut self) -> &mut Symbols {
        &mut self.host.symbols
    }

    /// Shows an event. Those that only act on the run (exit, clear, zero, packets) are not shown.
    pub fn event(&mut self, event: &EventDef, mut fields: Fields<'_>, maps: &dyn MapSource) -> io::Result<()> {
        let span = event.span;
        match &event.action {
            Action::Printf { format, stream } => self.printf(span, format, *stream, fields, maps)?,
            Action::PrintValue => {
                if let Some((ty, data)) = fields.next() {
                    self.show(maps, |form, page| form.value(page, &Value { ty, data, div: 1, call: Some(span) }))?;
                }
            }
            Action::PrintMap { map, top, div } => self.map(maps, *map, *top, *div, true)?,
            Action::PrintEntry { map, div, entry, .. } => {
                if let (Some(def), Some((ty, key))) = (self.bundle.maps.get(*map as usize), fields.next()) {
                    let found = maps.lookup(*map, &key_bytes(ty, key));
                    if self.bundle.globals.failures.is_some() && matches!(found, Ok(None)) {
                        self.failure(*entry, "map_lookup_elem", 0)?;
                    }
                    self.entry(maps, def, found, *div)?;
                }
            }
            Action::Time { format } => {
                let mut text = std::mem::take(&mut self.scratch);
                text.clear();
                clock::strftime(&mut text, format, clock::now(libc::CLOCK_REALTIME));
                self.show(maps, |form, page| form.text(page, Call::Time, &Text::Done(&text)))?;
                self.scratch = text;
            }
            Action::System { format } => {
                let command = self.formatted(span, format, fields, maps)?;
                self.system(&command)?;
                self.scratch = command;
            }
            Action::Cat { format } => {
                let path = self.formatted(span, format, fields, maps)?;
                match actions::cat(&path, self.bundle.config.max_cat_bytes) {
                    Ok(text) => self.show(maps, |form, page| form.text(page, Call::Cat, &Text::Done(&text)))?,
                    Err(e) => {
                        self.warning(&format!("cat() cannot read '{}': {e}", String::from_utf8_lossy(&path)))?;
                    }
                }
                self.scratch = path;
            }
            Action::Failure { helper } => {
                let code = fields.next().and_then(|(ty, data)| value::integer(ty, data.bytes));
                self.failure(span, helper, code.map_or(0, Int::wide) as i64)?;
            }
            Action::Clear { .. } | Action::Zero { .. } | Action::Exit | Action::Unwatch | Action::Packet { .. } => {}
        }
        if self.options.buffering == Buffering::None { self.flush() } else { self.write_if_full() }
    }

    /// All maps that hold something, by name.
    pub fn maps(&mut self, maps: &dyn MapSource) -> io::Result<()> {
        let mut order: Vec<(u32, &MapDef)> = (0..).zip(&self.bundle.maps).collect();
        order.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        for (index, _) in order {
            self.map(maps, index, 0, 0, false)?;
        }
        self.complain()?;
        self.flush()
    }

    /// The run is over; the maps are shown if they are to be.
    pub fn finish(&mut self, maps: Option<&dyn MapSource>) -> io::Result<()> {
        self.show(&NoMaps, |form, page| form.end(page))?;
        if let Some(maps) = maps {
            self.maps(maps)?;
        }
        self.complain()?;
        let lost = self.host.symbols.lost();
        if lost > 0 {
            self.warning(&format!(
                "lost {lost} events about processes; addresses of processes that have ended may have no names or wrong ones"
            ))?;
        }
        self.flush()
    }

    /// Shows what a run tells about itself.
    pub fn report(&mut self, report: &Report<'_>) -> io::Result<()> {
        self.show(&NoMaps, |form, page| form.report(page, report))?;
        match report {
            Report::Attached(_) => self.pause(),
            // A test that never ends should be known by name.
            Report::Pinned(_) | Report::TestBegins(_) | Report::TestEnds { .. } => self.flush(),
            Report::LostEvents(_)
            | Report::Losses(_)
            | Report::Tests(_)
            | Report::TestsEnd(..)
            | Report::Benchmarks(_) => self.write_if_full(),
        }
    }

    /// Something that the user should know, in a sentence.
    pub fn warning(&mut self, text: &str) -> io::Result<()> {
        self.show(&NoMaps, |_, page| page.warn(text))
    }

    /// Writes captured packets to the files that their calls name.
    pub fn packets(&mut self, packets: &[Packet]) -> Result<(), CaptureError> {
        self.captures.write(self.bundle, packets)
    }

    /// How many packets had no place in a capture file.
    pub fn packets_left_out(&self) -> u64 {
        self.captures.skipped
    }

    /// Makes everything so far visible.
    pub fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        self.out.flush()
    }

    /// Nothing more waits: what there is becomes visible, unless only full buffers are wanted.
    pub fn pause(&mut self) -> io::Result<()> {
        if self.options.buffering == Buffering::Full { self.write_if_full() } else { self.flush() }
    }

    /// Keeps output back until [`Printer::release`]. It is text, as part of an object it is not JSON itself.
    pub fn hold(&mut self) {
        // What came before is not held; its failure shows with the next write.
        if self.held.is_none() && self.write().is_ok() {
            let form = std::mem::take(&mut self.options.form);
            let open = std::mem::replace(&mut self.form, (self.options.form.open)());
            self.held = Some((Vec::new(), form, open));
        }
    }

    /// Ends that, and returns what was kept back.
    pub fn release(&mut self) -> io::Result<Vec<u8>> {
        self.write()?;
        let Some((held, form, open)) = self.held.take() else { return Ok(Vec::new()) };
        (self.options.form, self.form) = (form, open);
        Ok(held)
    }

    /// A test begins; its output is kept back until it ends.
    pub fn test_begins(&mut self, name: &str) -> io::Result<()> {
        self.report(&Report::TestBegins(name))?;
        self.hold();
        Ok(())
    }

    pub fn test_ends(&mut self, name: &str, passed: bool, took: Duration) -> io::Result<()> {
        let output = self.release()?;
        self.report(&Report::TestEnds { name, passed, took, output: &output })
    }

    /// Says what was noticed while printing.
    fn complain(&mut self) -> io::Result<()> {
        self.host.symbols.complaints().iter().try_for_each(|text| self.warning(text))
    }

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = match &mut self.held {
            Some((held, ..)) => {
                held.extend_from_slice(&self.buffer);
                Ok(())
            }
            None => self.out.write_all(&self.buffer),
        };
        // Also on failure: what was written in part must not come twice.
        self.buffer.clear();
        // One huge map must not hold its memory for the rest of the run.
        self.buffer.shrink_to(4 * BUFFER);
        result
    }

    /// Writes what waits for standard error, after all output that came before it. A failure there is not one of the
    /// output.
    fn tell(&mut self) -> io::Result<()> {
        if self.notes.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let _ = self.errors.write_all(&self.notes);
        let _ = self.errors.flush();
        self.notes.clear();
        Ok(())
    }

    /// The form, and where it writes.
    fn page<'s>(&'s mut self, maps: &'s dyn MapSource) -> (&'s mut dyn Output, Page<'s>) {
        let escape = self.options.terminal && self.options.form.escapes;
        let scope = Scope { bundle: self.bundle, maps, host: &mut self.host, escape, shortened: false };
        let (out, errors, errors_terminal) = (&mut self.buffer, &mut self.notes, self.errors_terminal);
        (&mut *self.form, Page { out, errors, errors_terminal, options: self.options, scope })
    }

    /// Has the form write one thing.
    fn show(&mut self, maps: &dyn MapSource, write: impl FnOnce(&mut dyn Output, &mut Page<'_>)) -> io::Result<()> {
        let (form, mut page) = self.page(maps);
        write(form, &mut page);
        self.tell()
    }

    fn printf(
        &mut self,
        span: (u32, u32),
        format: &Format,
        stream: Stream,
        fields: Fields<'_>,
        maps: &dyn MapSource,
    ) -> io::Result<()> {
        let text = Text::Format(format, fields);
        let (form, mut page) = self.page(maps);
        match stream {
            Stream::Out => form.text(&mut page, Call::Printf, &text),
            Stream::Join => form.text(&mut page, Call::Join, &text),
            Stream::Warning if page.options.no_warnings => {}
            Stream::Warning => form.message(&mut page, &Message { span, of: Of::Warning(text) }),
            Stream::Error => form.message(&mut page, &Message { span, of: Of::Error(text) }),
        }
        if page.scope.shortened {
            self.shortened(span)?;
        }
        self.tell()
    }

    /// A format's text in the scratch buffer, which the caller puts back: a command or a path, not for a terminal.
    fn formatted(
        &mut self,
        span: (u32, u32),
        format: &Format,
        fields: Fields<'_>,
        maps: &dyn MapSource,
    ) -> io::Result<Vec<u8>> {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let (_, mut page) = self.page(maps);
        page.scope.escape = false;
        printf::printf(&mut page.scope, &mut text, format, fields);
        if page.scope.shortened {
            self.shortened(span)?;
            self.tell()?;
        }
        Ok(text)
    }

    /// A conversion of 32 bits was given a larger number: said once for each call.
    #[cold]
    fn shortened(&mut self, span: (u32, u32)) -> io::Result<()> {
        if self.options.no_warnings || !self.shortened.insert(span) {
            return Ok(());
        }
        messages::range(&mut self.notes, self.bundle, span);
        self.notes
            .extend_from_slice(b"WARNING: a number of more than 32 bits was truncated, as in C: use %ld, %lu or %lx\n");
        self.tell()
    }

    fn system(&mut self, command: &[u8]) -> io::Result<()> {
        // What came before the command is seen before what it does.
        self.flush()?;
        match actions::system(command) {
            Ok((output, failure)) => {
                self.show(&NoMaps, |form, page| form.text(page, Call::System, &Text::Done(&output)))?;
                let Some(how) = failure else { return Ok(()) };
                let command = String::from_utf8_lossy(command);
                self.warning(&format!("the command '{command}' of system() {how}"))
            }
            Err(e) => self.warning(&format!("system() cannot run a shell: {e}")),
        }
    }

    /// A helper of the kernel failed (`-k`): where and why, with the line of the script.
    fn failure(&mut self, span: (u32, u32), name: &str, code: i64) -> io::Result<()> {
        if self.options.no_warnings {
            return Ok(());
        }
        // Helpers that give an `int` leave the upper half of the register as it is on some kernels (5.10).
        let code = i64::from(code as i32);
        self.show(&NoMaps, |form, page| form.message(page, &Message { span, of: Of::Helper { name, code } }))
    }

    /// A map. One without a key that was never written prints as zero if it was asked for by name.
    fn map(&mut self, maps: &dyn MapSource, map: u32, top: u32, div: u64, asked: bool) -> io::Result<()> {
        let Some(def) = self.bundle.maps.get(map as usize) else { return Ok(()) };
        let mut entries = match maps.entries(map) {
            Ok(entries) => entries,
            Err(e) => return self.warning(&format!("cannot read map {}: {e}", def.name)),
        };
        if entries.is_empty() && asked && def.key.is_none() && !is_chart(&def.value) {
            entries.push((Vec::new(), Vec::new()));
        }
        let entries = maps::arrange(def, entries, top);
        self.show(maps, |form, page| form.map(page, &Map { def, entries: &entries, div }))
    }

    /// The value of one key, zero if there is no such key.
    fn entry(
        &mut self,
        maps: &dyn MapSource,
        def: &MapDef,
        found: io::Result<Option<Vec<u8>>>,
        div: u64,
    ) -> io::Result<()> {
        let value = match found {
            Ok(value) => value.unwrap_or_default(),
            Err(e) => return self.warning(&format!("cannot read map {}: {e}", def.name)),
        };
        let (ty, data) = (&def.value, Datum::inline(&value));
        self.show(maps, |form, page| form.value(page, &Value { ty, data, div, call: None }))
    }
}

/// Values that print on lines of their own.
fn is_chart(ty: &Type) -> bool {
    matches!(ty, Type::Agg(Agg::Hist { .. } | Agg::Lhist { .. } | Agg::Tseries { .. }))
}

/// The inline representation of a key that came as a field.
fn key_bytes(ty: &Type, key: Datum<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(ty.size() as usize);
    if key.variable && matches!(ty, Type::Buffer { .. } | Type::List { .. }) {
        bytes.extend_from_slice(&(key.bytes.len() as u32).to_le_bytes());
    }
    bytes.extend_from_slice(key.bytes);
    bytes.resize(ty.size() as usize, 0);
    bytes
}
