//! `--test` and `--bench`: the script's tests run once each, its benchmarks many times, in our own process. What they
//! print is kept back: of a test that failed it is shown.

use super::{RunError, Session, system};
use crate::attach::{Context, Programs, TestRun};
use crate::output::Report;
use rtrace_core::bundle::{Bundle, Mode};
use rtrace_sys::{self as sys, EndSignals, Epoll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// A benchmark runs for this long at least.
const LONG_ENOUGH: Duration = Duration::from_millis(300);
/// Runs between two readings of the event buffer, so that it does not fill.
const ROUND: u64 = 64;

/// The state of a benchmark's measurement.
pub(super) struct Yardstick {
    /// While it is open, the kernel measures. Without CAP_SYS_ADMIN it does not; the time of the system call, which is
    /// taken then, is less exact.
    statistics: Option<OwnedFd>,
    /// A program without instructions.
    empty: OwnedFd,
}

impl Yardstick {
    /// For bundles whose benchmarks are run. Needs capabilities that are given up before they are.
    pub(super) fn new(bundle: &Bundle) -> Result<Option<Yardstick>, RunError> {
        if bundle.config.mode != Mode::Bench {
            return Ok(None);
        }
        let empty = sys::empty_raw_tracepoint().map_err(system("load a program"))?;
        Ok(Some(Yardstick { statistics: sys::run_statistics().ok(), empty }))
    }
}

impl Session<'_, '_> {
    /// Runs the tests; the exit status is 1 if one has failed. What BEGIN printed belongs to the first one.
    pub(super) fn tests(
        &mut self,
        context: &Context<'_>,
        programs: &Programs,
        begin: &[Vec<u8>],
        signals: &EndSignals,
    ) -> Result<i32, RunError> {
        let runs = programs.test_runs(context);
        self.printer.report(&Report::Tests(runs.len())).map_err(RunError::Output)?;
        let mut failed = Vec::new();
        let mut done = 0;
        for (n, run) in runs.iter().enumerate() {
            if interrupted(signals)? {
                break;
            }
            self.printer.test_begins(run.name).map_err(RunError::Output)?;
            if n == 0 {
                begin.iter().try_for_each(|record| self.record(record))?;
            }
            let start = Instant::now();
            let result = run.run(context)?;
            let took = start.elapsed();
            self.drain_all()?;
            let passed = result == 0 && self.exit.take().unwrap_or(0) == 0;
            if !passed {
                failed.push(run.name);
            }
            done += 1;
            self.printer.test_ends(run.name, passed, took).map_err(RunError::Output)?;
        }
        self.printer.report(&Report::TestsEnd(done, &failed)).map_err(RunError::Output)?;
        Ok(i32::from(!failed.is_empty()))
    }

    /// Runs the benchmarks, less the time that a program without instructions takes.
    pub(super) fn benchmarks(
        &mut self,
        context: &Context<'_>,
        programs: &Programs,
        begin: &[Vec<u8>],
        signals: &EndSignals,
        yardstick: &Yardstick,
    ) -> Result<i32, RunError> {
        self.printer.hold();
        begin.iter().try_for_each(|record| self.record(record))?;
        let Yardstick { statistics, empty } = yardstick;
        let inside = statistics.is_some();
        let run_empty = || sys::run_raw_tracepoint(empty.as_fd()).map(drop).map_err(system("run a program"));
        let (idle, idle_runs) = self.measure(inside, empty.as_fd(), &run_empty)?;
        let idle = idle / idle_runs.max(1);
        let mut results = Vec::new();
        for run in programs.test_runs(context) {
            if interrupted(signals)? {
                break;
            }
            let TestRun { name, program, .. } = run;
            let (time, runs) = self.measure(inside, program, &|| Ok(run.run(context).map(drop)?))?;
            results.push((name, (time / runs.max(1)).saturating_sub(idle), runs));
        }
        self.printer.release().map_err(RunError::Output)?;
        self.exit = None;
        self.printer.report(&Report::Benchmarks(&results)).map_err(RunError::Output)?;
        Ok(0)
    }

    /// Runs a program over and over. Returns nanoseconds and runs.
    fn measure(
        &mut self,
        inside: bool,
        program: BorrowedFd<'_>,
        run: &dyn Fn() -> Result<(), RunError>,
    ) -> Result<(u64, u64), RunError> {
        let reading = || if inside { sys::run_time(program) } else { Ok((0, 0)) };
        let (time_before, runs_before) = reading().map_err(system("read a program's time"))?;
        let start = Instant::now();
        let (mut outside, mut runs) = (Duration::ZERO, 0);
        while start.elapsed() < LONG_ENOUGH {
            let round = Instant::now();
            for _ in 0..ROUND {
                run()?;
            }
            outside += round.elapsed();
            runs += ROUND;
            self.drain_all()?;
            // Each run may ask for the end; that ends nothing but itself.
            self.exit = None;
        }
        let (time, counted) = reading().map_err(system("read a program's time"))?;
        Ok(match inside {
            true => (time.saturating_sub(time_before), counted.saturating_sub(runs_before)),
            false => (u64::try_from(outside.as_nanos()).unwrap_or(u64::MAX), runs),
        })
    }
}

/// Whether the user wants the end.
fn interrupted(signals: &EndSignals) -> Result<bool, RunError> {
    let woken = || -> io::Result<bool> {
        let epoll = Epoll::new()?;
        epoll.add(signals.as_fd(), 0)?;
        Ok(!epoll.wait(0)?.is_empty())
    };
    woken().map_err(system("wait for signals"))
}
