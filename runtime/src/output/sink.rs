//! The session's view of output: [`Printer`] as its [`Sink`], the loaded maps as a [`MapSource`].

use super::{Entry, MapSource, Printer};
use crate::events::{Fields, Sink};
use crate::load::Maps;
use crate::losses::Loss;
use rtrace_core::bundle::{Bundle, EventDef};
use std::io::{self, Write};
use std::os::fd::BorrowedFd;
use std::time::Duration;

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

impl<W: Write> Sink for Printer<W> {
    fn attached(&mut self, probes: usize) -> io::Result<()> {
        Printer::attached(self, probes)
    }

    fn event(&mut self, bundle: &Bundle, event: &EventDef, fields: Fields<'_>, maps: &Maps) -> io::Result<()> {
        Printer::event(self, bundle, event, fields, maps)
    }

    fn finish(&mut self, bundle: &Bundle, maps: &Maps, print_maps: bool) -> io::Result<()> {
        self.end()?;
        if print_maps {
            self.print_all_maps(bundle, maps)?;
        }
        self.complain()?;
        let lost = self.host.symbols.lost();
        if lost > 0 {
            self.warning(&format!(
                "lost {lost} events about processes; addresses of processes that have ended may have no names or wrong ones"
            ))?;
        }
        Printer::flush(self)
    }

    fn maps(&mut self, bundle: &Bundle, maps: &Maps) -> io::Result<()> {
        self.print_all_maps(bundle, maps)?;
        Printer::flush(self)
    }

    fn lost_events(&mut self, events: u64) -> io::Result<()> {
        Printer::lost_events(self, events)
    }

    fn losses(&mut self, bundle: &Bundle, losses: &[Loss]) -> io::Result<()> {
        Printer::losses(self, bundle, losses)
    }

    fn watch(&mut self) {
        self.host.symbols.watch();
    }

    fn watched(&self) -> Vec<BorrowedFd<'_>> {
        self.host.symbols.fds().collect()
    }

    fn look(&mut self) {
        self.host.symbols.update();
    }

    fn pinned(&mut self, path: &str) -> io::Result<()> {
        Printer::pinned(self, path)
    }

    fn hold(&mut self) {
        Printer::hold(self);
    }

    fn release(&mut self, show: bool) -> io::Result<()> {
        Printer::release(self, show)
    }

    fn tests(&mut self, count: usize) -> io::Result<()> {
        Printer::tests(self, count)
    }

    fn test_begins(&mut self, name: &str) -> io::Result<()> {
        Printer::test_begins(self, name)
    }

    fn test_ends(&mut self, name: &str, passed: bool, took: Duration) -> io::Result<()> {
        Printer::test_ends(self, name, passed, took)
    }

    fn tests_end(&mut self, count: usize, failed: &[&str]) -> io::Result<()> {
        Printer::tests_end(self, count, failed)
    }

    fn benchmarks(&mut self, results: &[(&str, u64, u64)]) -> io::Result<()> {
        Printer::benchmarks(self, results)
    }

    fn warning(&mut self, text: &str) -> io::Result<()> {
        Printer::warning(self, text)
    }

    fn pause(&mut self) -> io::Result<()> {
        Printer::pause(self)
    }

    fn flush(&mut self) -> io::Result<()> {
        Printer::flush(self)
    }
}
