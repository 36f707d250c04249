//! Output: what a run shows, as text or as JSON. [`Printer`] takes events, maps and counts and writes
//! them; the modules below each know one form: values, `printf`, maps, histograms, JSON, symbols.
//!
//! Formats are those of bpftrace 0.27 as it runs (its manual differs here and there), so that what reads
//! its output reads this. Everything is formatted into one buffer that is written when it is full or on
//! [`Printer::flush`].

mod actions;
mod clock;
mod file;
mod float;
mod histogram;
mod json;
mod maps;
mod messages;
mod names;
mod number;
mod printf;
mod quantiles;
mod rows;
mod series;
mod sink;
#[cfg(test)]
mod tests;
mod trials;
mod value;

pub use file::OutputFile;
pub use maps::Entry;

use crate::events::Fields;
use crate::losses::Loss;
use number::Int;
use rtrace_core::bundle::{Action, Bundle, EventDef, Format, MapDef, Stream};
use rtrace_core::types::{Agg, Type};
use std::collections::{HashMap, HashSet};
use std::io::{self, IsTerminal, Write};
use value::{Datum, Host, Scope};

/// The maps of a run, as far as output reads them. Keys and values are in the inline representation of
/// their types, values merged over CPUs.
pub trait MapSource {
    /// All entries of a map. A keyless map has one with an empty key once it was written, none before.
    fn entries(&self, map: u32) -> io::Result<Vec<Entry>>;
    fn lookup(&self, map: u32, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// The frames of a stored stack.
    fn stack(&self, id: u64) -> Option<Vec<u64>>;
}

/// How a run is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub json: bool,
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

/// Writes what a run shows: output to `W`, messages to standard error.
pub struct Printer<W: Write> {
    out: W,
    errors: Box<dyn Write + Send>,
    /// Whether messages go to a terminal, which output need not go to.
    errors_terminal: bool,
    options: Options,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    /// Output that is kept back, and whether it is JSON when it is not.
    held: Option<(Vec<u8>, bool)>,
    host: Host,
    /// The widths of columns, by the `print` that shows them.
    widths: HashMap<(u32, u32), Vec<usize>>,
    /// The calls that were told of numbers whose digits they leave out.
    cut: HashSet<(u32, u32)>,
}

impl<W: Write> Printer<W> {
    pub fn new(out: W, options: Options) -> Printer<W> {
        Printer {
            out,
            errors: Box::new(io::stderr()),
            errors_terminal: io::stderr().is_terminal(),
            options,
            buffer: Vec::with_capacity(BUFFER + 4096),
            scratch: Vec::new(),
            held: None,
            host: Host::default(),
            widths: HashMap::new(),
            cut: HashSet::new(),
        }
    }

    /// Messages go elsewhere than to standard error, which may be a terminal.
    pub fn with_errors(mut self, errors: impl Write + Send + 'static, terminal: bool) -> Printer<W> {
        self.errors = Box::new(errors);
        self.errors_terminal = terminal;
        self
    }

    /// What output goes to.
    pub fn output(&self) -> &W {
        &self.out
    }

    /// Shows an event. Those that only act on the run (exit, clear, zero, packets) are not shown.
    pub fn event(
        &mut self,
        bundle: &Bundle,
        event: &EventDef,
        mut fields: Fields<'_>,
        maps: &dyn MapSource,
    ) -> io::Result<()> {
        match &event.action {
            Action::Printf { format, stream: Stream::Out | Stream::Join } if !self.options.json => {
                // The path of most events: straight into the buffer.
                let (mut scope, buffer) = self.scope(bundle, maps);
                if printf::printf(&mut scope, buffer, format, fields) {
                    self.cut(bundle, event.span)?;
                }
            }
            Action::Printf { format, stream } => {
                let text = self.formatted(bundle, maps, event, format, fields)?;
                match stream {
                    Stream::Out => json::text_line(&mut self.buffer, "printf", &text),
                    // The new line belongs to the text form.
                    Stream::Join => {
                        json::text_line(&mut self.buffer, "join", text.strip_suffix(b"\n").unwrap_or(&text));
                    }
                    Stream::Warning if self.options.no_warnings => {}
                    Stream::Warning | Stream::Error => self.message(bundle, event, *stream, &text)?,
                }
                self.scratch = text;
            }
            Action::PrintValue => {
                if let Some((ty, data)) = fields.next() {
                    match ty {
                        Type::NamedTuple(list) if self.options.terminal && !self.options.json => {
                            let mut widths = self.widths.remove(&event.span).unwrap_or_default();
                            let (mut scope, buffer) = self.scope(bundle, maps);
                            rows::row(&mut scope, buffer, &mut widths, ty, list, data.bytes);
                            buffer.push(b'\n');
                            self.widths.insert(event.span, widths);
                        }
                        _ => self.value(bundle, maps, ty, data),
                    }
                }
            }
            Action::PrintMap { map, top, div } => self.map(bundle, maps, *map, *top, *div, true)?,
            Action::PrintEntry { map, div, entry, .. } => {
                if let (Some(def), Some((ty, key))) = (bundle.maps.get(*map as usize), fields.next()) {
                    let found = maps.lookup(*map, &key_bytes(ty, key));
                    let told = bundle.globals.failures.is_some() && !self.options.no_warnings;
                    if told && matches!(found, Ok(None)) {
                        self.failure(bundle, *entry, "map_lookup_elem", 0)?;
                    }
                    self.entry(bundle, maps, def, found, *div)?;
                }
            }
            Action::Time { format } => {
                let mut text = std::mem::take(&mut self.scratch);
                text.clear();
                clock::strftime(&mut text, format, clock::now(libc::CLOCK_REALTIME));
                self.text("time", &text);
                self.scratch = text;
            }
            Action::System { format } => {
                let command = self.formatted(bundle, maps, event, format, fields)?;
                self.flush()?;
                match actions::system(&command) {
                    Ok((output, failure)) => {
                        self.text("syscall", &output);
                        if !self.options.json {
                            self.buffer.push(b'\n');
                        }
                        if let Some(how) = failure {
                            let command = String::from_utf8_lossy(&command);
                            self.warning(&format!("the command '{command}' of system() {how}"))?;
                        }
                    }
                    Err(e) => self.warning(&format!("system() cannot run a shell: {e}"))?,
                }
                self.scratch = command;
            }
            Action::Cat { format } => {
                let path = self.formatted(bundle, maps, event, format, fields)?;
                match actions::cat(&path, bundle.config.max_cat_bytes) {
                    Ok(contents) if self.escapes() => value::write_escaped(&mut self.buffer, &contents),
                    Ok(contents) => self.text("cat", &contents),
                    Err(e) => {
                        self.warning(&format!("cat() cannot read '{}': {e}", String::from_utf8_lossy(&path)))?;
                    }
                }
                self.scratch = path;
            }
            Action::Failure { .. } if self.options.no_warnings => {}
            Action::Failure { helper } => {
                let code = fields.next().and_then(|(ty, data)| value::integer(ty, data.bytes));
                self.failure(bundle, event.span, helper, code.map_or(0, Int::wide) as i64)?;
            }
            Action::Clear { .. } | Action::Zero { .. } | Action::Exit | Action::Unwatch | Action::Packet { .. } => {}
        }
        if self.options.buffering == Buffering::None { self.flush() } else { self.write_if_full() }
    }

    /// Two empty lines, as the reference has them between what ran and what remains.
    pub fn end(&mut self) -> io::Result<()> {
        if !self.options.json {
            self.buffer.extend_from_slice(b"\n\n");
        }
        self.write_if_full()
    }

    /// All maps that hold something, by name.
    pub fn print_all_maps(&mut self, bundle: &Bundle, maps: &dyn MapSource) -> io::Result<()> {
        let mut order: Vec<(u32, &MapDef)> = (0..).zip(&bundle.maps).collect();
        order.sort_by(|a, b| a.1.name.cmp(&b.1.name));
        for (index, _) in order {
            self.map(bundle, maps, index, 0, 0, false)?;
        }
        self.complain()?;
        self.write_if_full()
    }

    /// That many probes are attached.
    pub fn attached(&mut self, probes: usize) -> io::Result<()> {
        if self.options.quiet {
            return Ok(());
        }
        if self.options.json {
            json::count_line(&mut self.buffer, "attached_probes", "probes", probes as u64);
            return self.pause();
        }
        self.say(&format!("Attached {probes} probe{}", if probes == 1 { "" } else { "s" }))
    }

    /// An iterator was pinned.
    pub fn pinned(&mut self, path: &str) -> io::Result<()> {
        if self.options.json {
            json::text_line(&mut self.buffer, "pinned", path.as_bytes());
        } else if !self.options.quiet {
            self.buffer.extend_from_slice(format!("Program pinned to {path}\n").as_bytes());
        }
        self.flush()
    }

    /// That many events found no room since the last call.
    pub fn lost_events(&mut self, events: u64) -> io::Result<()> {
        if self.options.json {
            json::count_line(&mut self.buffer, "lost_events", "events", events);
            return self.write_if_full();
        }
        self.say(&format!("Lost {events} events"))
    }

    /// What was lost in all; nothing for nothing.
    pub fn losses(&mut self, bundle: &Bundle, losses: &[Loss]) -> io::Result<()> {
        if !self.options.json {
            return losses.iter().try_for_each(|loss| self.warning(&loss.text(bundle)));
        }
        if !losses.is_empty() {
            json::losses_line(&mut self.buffer, bundle, losses);
        }
        self.write_if_full()
    }

    pub fn warning(&mut self, text: &str) -> io::Result<()> {
        if self.options.no_warnings { Ok(()) } else { self.say(&format!("WARNING: {text}")) }
    }

    /// Says what was noticed while printing.
    fn complain(&mut self) -> io::Result<()> {
        self.host.symbols.complaints().iter().try_for_each(|text| self.warning(text))
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

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = match &mut self.held {
            Some((held, _)) => {
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

    /// A line on standard error, after all output that came before it. A failure there is not one of the
    /// output.
    fn say(&mut self, line: &str) -> io::Result<()> {
        let mut text = Vec::with_capacity(line.len() + 1);
        if self.errors_terminal {
            // Messages name paths, commands and the like.
            value::write_escaped(&mut text, line.as_bytes());
        } else {
            text.extend_from_slice(line.as_bytes());
        }
        text.push(b'\n');
        self.tell(&text)
    }

    /// Writes what is ready for standard error, after all output that came before it.
    fn tell(&mut self, text: &[u8]) -> io::Result<()> {
        self.flush()?;
        let _ = self.errors.write_all(text);
        let _ = self.errors.flush();
        Ok(())
    }

    /// Whether output is escaped for a terminal; JSON has escapes of its own.
    fn escapes(&self) -> bool {
        self.options.terminal && !self.options.json
    }

    fn scope<'s>(&'s mut self, bundle: &'s Bundle, maps: &'s dyn MapSource) -> (Scope<'s>, &'s mut Vec<u8>) {
        let escape = self.escapes();
        (Scope { bundle, maps, host: &mut self.host, escape }, &mut self.buffer)
    }

    /// Text that stands for itself in text mode and is an object's data in JSON.
    fn text(&mut self, kind: &str, text: &[u8]) {
        if self.options.json {
            json::text_line(&mut self.buffer, kind, text);
        } else {
            self.buffer.extend_from_slice(text);
        }
    }

    /// A format's text in the scratch buffer, which the caller puts back.
    fn formatted(
        &mut self,
        bundle: &Bundle,
        maps: &dyn MapSource,
        event: &EventDef,
        format: &Format,
        fields: Fields<'_>,
    ) -> io::Result<Vec<u8>> {
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        let errors = self.errors_terminal && !self.options.json;
        let (mut scope, _) = self.scope(bundle, maps);
        match &event.action {
            Action::Printf { stream: Stream::Warning | Stream::Error, .. } => scope.escape = errors,
            Action::Printf { .. } => {}
            // A command or a path is not for a terminal.
            _ => scope.escape = false,
        }
        if printf::printf(&mut scope, &mut text, format, fields) {
            self.cut(bundle, event.span)?;
        }
        Ok(text)
    }

    /// A conversion of 32 bits was given a larger number: said once for each call.
    #[cold]
    fn cut(&mut self, bundle: &Bundle, span: (u32, u32)) -> io::Result<()> {
        if self.options.no_warnings || !self.cut.insert(span) {
            return Ok(());
        }
        let mut line = Vec::new();
        messages::range(&mut line, bundle, span);
        line.extend_from_slice(b"WARNING: a number of more than 32 bits was truncated, as in C: use %ld, %lu or %lx\n");
        self.tell(&line)
    }

    /// `warnf` and `errorf`: with the place of the call.
    fn message(&mut self, bundle: &Bundle, event: &EventDef, stream: Stream, text: &[u8]) -> io::Result<()> {
        let error = stream == Stream::Error;
        let place = messages::place(bundle, event.span);
        if self.options.json {
            let place = place.as_ref().map(|p| (p.file.as_str(), p.line, p.column));
            json::message_line(&mut self.buffer, if error { "errorf" } else { "warnf" }, text, place);
            return Ok(());
        }
        let mut line = Vec::new();
        messages::range(&mut line, bundle, event.span);
        line.extend_from_slice(if error { b"ERROR: " } else { b"WARNING: " });
        line.extend_from_slice(text);
        line.push(b'\n');
        self.tell(&line)
    }

    /// A helper of the kernel failed (`-k`): where and why, with the line of the script.
    fn failure(&mut self, bundle: &Bundle, span: (u32, u32), helper: &str, code: i64) -> io::Result<()> {
        // Helpers that give an `int` leave the upper half of the register as it is on some kernels (5.10).
        let code = i64::from(code as i32);
        if self.options.json {
            messages::failure_line(&mut self.buffer, bundle, span, helper, code);
            return Ok(());
        }
        let mut text = Vec::new();
        messages::failure(&mut text, bundle, span, helper, code);
        self.tell(&text)
    }

    fn value(&mut self, bundle: &Bundle, maps: &dyn MapSource, ty: &Type, data: Datum<'_>) {
        let json = self.options.json;
        let (mut scope, buffer) = self.scope(bundle, maps);
        if json {
            scope.value_line(buffer, ty, data);
        } else {
            scope.text(buffer, ty, data);
            buffer.push(b'\n');
        }
    }

    /// A map. One without a key that was never written prints as zero if it was asked for by name.
    fn map(
        &mut self,
        bundle: &Bundle,
        maps: &dyn MapSource,
        map: u32,
        top: u32,
        div: u64,
        asked: bool,
    ) -> io::Result<()> {
        let Some(def) = bundle.maps.get(map as usize) else { return Ok(()) };
        let mut entries = match maps.entries(map) {
            Ok(entries) => entries,
            Err(e) => return self.warning(&format!("cannot read map {}: {e}", def.name)),
        };
        if entries.is_empty() && asked && def.key.is_none() && !is_chart(&def.value) {
            entries.push((Vec::new(), Vec::new()));
        }
        let entries = maps::arrange(def, entries, top);
        let json = self.options.json;
        let (mut scope, buffer) = self.scope(bundle, maps);
        if json {
            scope.map_line(buffer, def, &entries, div);
        } else if is_chart(&def.value) || !entries.is_empty() {
            scope.map_text(buffer, def, &entries, div);
        }
        Ok(())
    }

    /// The value of one key, zero if there is no such key.
    fn entry(
        &mut self,
        bundle: &Bundle,
        maps: &dyn MapSource,
        def: &MapDef,
        found: io::Result<Option<Vec<u8>>>,
        div: u64,
    ) -> io::Result<()> {
        let value = match found {
            Ok(value) => value.unwrap_or_default(),
            Err(e) => return self.warning(&format!("cannot read map {}: {e}", def.name)),
        };
        let json = self.options.json;
        let (mut scope, buffer) = self.scope(bundle, maps);
        if json {
            json::begin(buffer, "value");
            scope.json(buffer, &def.value, Datum::inline(&value), div, 0);
            buffer.extend_from_slice(b"}\n");
        } else {
            scope.entry_text(buffer, &def.value, &value, div);
            buffer.push(b'\n');
        }
        Ok(())
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
