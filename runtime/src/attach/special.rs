//! BEGIN, END, signals, tests and benchmarks: raw tracepoint programs that are never attached, run through BPF_PROG_TEST_RUN. They
//! run in our own process, so `pid` and `comm` are ours.

use super::{AttachError, Context, Programs, Reason};
use rtrace_core::bundle::{AttachPoint, Target};
use rtrace_sys as sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

fn run(program: BorrowedFd<'_>) -> io::Result<u32> {
    sys::run_raw_tracepoint(program)
}

fn reason(error: &io::Error) -> Reason {
    Reason::of(error, &[(524, "this kernel cannot run it (needs Linux 5.10)")])
}

/// A test or a benchmark.
#[derive(Clone, Copy, Debug)]
pub struct TestRun<'a> {
    pub name: &'a str,
    pub program: BorrowedFd<'a>,
    point: &'a AttachPoint,
}

impl TestRun<'_> {
    /// Runs it once; returns what it gives.
    pub fn run(&self, context: &Context<'_>) -> Result<u32, AttachError> {
        run(self.program).map_err(|e| context.error(self.point, reason(&e)))
    }
}

impl Programs {
    /// Runs the programs of `BEGIN` or `END`. Returns how many there were.
    pub fn run_special(&self, context: &Context<'_>, which: &Target) -> Result<usize, AttachError> {
        let mut count = 0;
        for instance in &self.instances {
            let Some(def) = context.bundle.programs.get(instance.program) else { continue };
            for point in instance.points.iter().filter_map(|n| def.attach.get(*n)) {
                if point.target == *which {
                    run(instance.fd.as_fd()).map_err(|e| context.error(point, reason(&e)))?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// The programs of tests or benchmarks with their names, in the script's order.
    pub fn test_runs<'s>(&'s self, context: &Context<'s>) -> Vec<TestRun<'s>> {
        let mut found = Vec::new();
        for instance in &self.instances {
            let Some(def) = context.bundle.programs.get(instance.program) else { continue };
            for point in instance.points.iter().filter_map(|n| def.attach.get(*n)) {
                if let Target::Test { name } | Target::Bench { name } = &point.target {
                    found.push(TestRun { name, program: instance.fd.as_fd(), point });
                }
            }
        }
        found
    }
}
