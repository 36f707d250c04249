//! `-f text`: what people read, in the reference's words. Values, maps and messages are written by the modules beside this one.

use super::form::{Call, Form, Map, Message, Of, Output, Page, Report, Text, Value};
use super::{messages, rows, value};
use rtrace_core::types::Type;
use std::collections::HashMap;
use std::time::Duration;

pub(super) static FORM: Form =
    Form { name: "text", doc: "What people read", escapes: true, open: || Box::new(Plain::default()) };

/// Colours a text green or red on a terminal.
const GOOD: &str = "\x1b[32m";
const BAD: &str = "\x1b[31m";

#[derive(Default)]
pub(super) struct Plain {
    /// The widths of columns, by the `print` that shows them.
    widths: HashMap<(u32, u32), Vec<usize>>,
}

impl Output for Plain {
    fn text(&mut self, page: &mut Page<'_>, call: Call, text: &Text<'_>) {
        match (call, text) {
            // Others wrote it.
            (Call::Cat, Text::Done(contents)) if page.scope.escape => value::write_escaped(page.out, contents),
            _ => text.append(&mut page.scope, page.out),
        }
        if call == Call::System {
            page.out.push(b'\n');
        }
    }

    fn value(&mut self, page: &mut Page<'_>, value: &Value<'_>) {
        match (value.ty, value.call) {
            (Type::NamedTuple(list), Some(call)) if page.options.terminal => {
                let widths = self.widths.entry(call).or_default();
                rows::row(&mut page.scope, page.out, widths, value.ty, list, value.data.bytes);
            }
            _ => page.scope.value_text(page.out, value.ty, value.data, value.div),
        }
        page.out.push(b'\n');
    }

    fn map(&mut self, page: &mut Page<'_>, map: &Map<'_>) {
        page.scope.map_text(page.out, map.def, map.entries, map.div);
    }

    fn message(&mut self, page: &mut Page<'_>, message: &Message<'_>) {
        let (bundle, span) = (page.scope.bundle, message.span);
        let (kind, text): (&[u8], _) = match &message.of {
            Of::Warning(_) if page.options.no_warnings => return,
            Of::Warning(text) => (b"WARNING: ", text),
            Of::Error(text) => (b"ERROR: ", text),
            Of::Helper { .. } if page.options.no_warnings => return,
            Of::Helper { name, code } => return messages::failure(page.errors, bundle, span, name, *code),
        };
        messages::range(page.errors, bundle, span);
        page.errors.extend_from_slice(kind);
        page.scope.escape = page.errors_terminal;
        text.append(&mut page.scope, page.errors);
        page.errors.push(b'\n');
    }

    fn report(&mut self, page: &mut Page<'_>, report: &Report<'_>) {
        match report {
            Report::Attached(_) | Report::Pinned(_) if page.options.quiet => {}
            Report::Attached(probes) => {
                page.say(&format!("Attached {probes} probe{}", if *probes == 1 { "" } else { "s" }));
            }
            Report::Pinned(path) => page.out.extend_from_slice(format!("Program pinned to {path}\n").as_bytes()),
            Report::LostEvents(events) => page.say(&format!("Lost {events} events")),
            Report::Losses(losses) => {
                let bundle = page.scope.bundle;
                losses.iter().for_each(|loss| page.warn(&loss.text(bundle)));
            }
            Report::Tests(count) => mark(page, GOOD, "==========", &format!("Running {}.", tests(*count))),
            Report::TestBegins(name) => mark(page, GOOD, " RUN      ", name),
            Report::TestEnds { name, passed, took, output } => {
                if !passed {
                    page.out.extend_from_slice(output);
                }
                let (colour, word) = if *passed { (GOOD, "       OK ") } else { (BAD, "  FAILED  ") };
                mark(page, colour, word, &format!("{name} ({})", short(*took)));
            }
            Report::TestsEnd(count, failed) => tests_end(page, *count, failed),
            Report::Benchmarks(results) => benchmarks(page.out, results),
        }
    }

    /// Two empty lines, as the reference has them between what ran and what remains.
    fn end(&mut self, page: &mut Page<'_>) {
        page.out.extend_from_slice(b"\n\n");
    }
}

/// A line about tests, with a mark in brackets.
fn mark(page: &mut Page<'_>, colour: &str, mark: &str, text: &str) {
    let (on, off) = if page.options.terminal { (colour, "\x1b[0m") } else { ("", "") };
    page.out.extend_from_slice(format!("{on}[{mark}]{off} {text}\n").as_bytes());
}

fn tests_end(page: &mut Page<'_>, count: usize, failed: &[&str]) {
    mark(page, GOOD, "==========", &format!("{} ran.", tests(count)));
    mark(page, GOOD, "  PASSED  ", &format!("{}.", tests(count - failed.len())));
    if !failed.is_empty() {
        mark(page, BAD, "  FAILED  ", &format!("{}, listed below:", tests(failed.len())));
    }
    failed.iter().for_each(|name| mark(page, BAD, "  FAILED  ", name));
}

fn benchmarks(out: &mut Vec<u8>, results: &[(&str, u64, u64)]) {
    let mut line = |name: &str, time: &str, runs: &str| {
        let text = format!("{name:<40} {time:<14} {runs}");
        out.extend_from_slice(text.trim_end().as_bytes());
        out.push(b'\n');
    };
    line("Benchmark", "Time(ns)", "Iterations");
    line(&"-".repeat(66), "", "");
    for (name, time, runs) in results {
        line(name, &time.to_string(), &runs.to_string());
    }
}

fn tests(count: usize) -> String {
    if count == 1 { "1 test".to_owned() } else { format!("{count} tests") }
}

/// A time in a unit that gives it one to four digits.
fn short(time: Duration) -> String {
    match time.as_micros() {
        micros @ ..10_000 => format!("{micros} μs"),
        micros @ ..10_000_000 => format!("{} ms", micros / 1000),
        micros => format!("{} s", micros / 1_000_000),
    }
}
