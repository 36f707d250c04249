//! Tests and benchmarks: their output, which is kept back, and how they went, in the reference's words.

use super::{Printer, json};
use std::io::{self, Write};
use std::time::Duration;

/// Colours a text green or red on a terminal.
const GOOD: &str = "\x1b[32m";
const BAD: &str = "\x1b[31m";

impl<W: Write> Printer<W> {
    /// Keeps output back until [`Printer::release`]. It is text, as part of an object it is not JSON itself.
    pub fn hold(&mut self) {
        // What came before is not held; its failure shows with the next write.
        if self.held.is_none() && self.write().is_ok() {
            self.held = Some((Vec::new(), std::mem::take(&mut self.options.json)));
        }
    }

    pub fn release(&mut self, show: bool) -> io::Result<()> {
        let held = self.let_go()?;
        if show {
            self.buffer.extend_from_slice(&held);
        }
        self.write_if_full()
    }

    fn let_go(&mut self) -> io::Result<Vec<u8>> {
        self.write()?;
        let Some((held, json)) = self.held.take() else { return Ok(Vec::new()) };
        self.options.json = json;
        Ok(held)
    }

    pub fn tests(&mut self, count: usize) -> io::Result<()> {
        self.report(GOOD, "==========", &format!("Running {}.", tests(count)))
    }

    pub fn test_begins(&mut self, name: &str) -> io::Result<()> {
        self.report(GOOD, " RUN      ", name)?;
        // A test that never ends should be known by name.
        self.flush()?;
        self.hold();
        Ok(())
    }

    pub fn test_ends(&mut self, name: &str, passed: bool, took: Duration) -> io::Result<()> {
        let output = self.let_go()?;
        if self.options.json {
            json::begin(&mut self.buffer, "test_result");
            self.buffer.push(b'{');
            json::quoted(&mut self.buffer, name.as_bytes());
            let facts = format!(": {{\"duration\": {}, \"passed\": {passed}, \"output\": ", took.as_nanos());
            self.buffer.extend_from_slice(facts.as_bytes());
            json::quoted(&mut self.buffer, &output);
            self.buffer.extend_from_slice(b"}}}\n");
            return self.flush();
        }
        if !passed {
            self.buffer.extend_from_slice(&output);
        }
        let (colour, word) = if passed { (GOOD, "       OK ") } else { (BAD, "  FAILED  ") };
        self.report(colour, word, &format!("{name} ({})", short(took)))?;
        self.flush()
    }

    pub fn tests_end(&mut self, count: usize, failed: &[&str]) -> io::Result<()> {
        self.report(GOOD, "==========", &format!("{} ran.", tests(count)))?;
        self.report(GOOD, "  PASSED  ", &format!("{}.", tests(count - failed.len())))?;
        if !failed.is_empty() {
            self.report(BAD, "  FAILED  ", &format!("{}, listed below:", tests(failed.len())))?;
        }
        failed.iter().try_for_each(|name| self.report(BAD, "  FAILED  ", name))
    }

    pub fn benchmarks(&mut self, results: &[(&str, u64, u64)]) -> io::Result<()> {
        if self.options.json {
            for (name, time, runs) in results {
                json::begin(&mut self.buffer, "benchmark_result");
                self.buffer.push(b'{');
                json::quoted(&mut self.buffer, name.as_bytes());
                let facts = format!(": {{\"average\": {time}, \"iters\": {runs}}}}}}}\n");
                self.buffer.extend_from_slice(facts.as_bytes());
            }
            return self.write_if_full();
        }
        let mut line = |name: &str, time: &str, runs: &str| {
            let text = format!("{name:<40} {time:<14} {runs}");
            self.buffer.extend_from_slice(text.trim_end().as_bytes());
            self.buffer.push(b'\n');
        };
        line("Benchmark", "Time(ns)", "Iterations");
        line(&"-".repeat(66), "", "");
        for (name, time, runs) in results {
            line(name, &time.to_string(), &runs.to_string());
        }
        self.write_if_full()
    }

    /// A line with a mark in brackets; JSON has an object for each test instead.
    fn report(&mut self, colour: &str, mark: &str, text: &str) -> io::Result<()> {
        if self.options.json {
            return Ok(());
        }
        let (on, off) = if self.options.terminal { (colour, "\x1b[0m") } else { ("", "") };
        self.buffer.extend_from_slice(format!("{on}[{mark}]{off} {text}\n").as_bytes());
        self.write_if_full()
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
