//! Shared by the tests of the language: the recorded kernel, and compiling a script as its header says.
//!
//! A script may begin with header lines: `// args: a b` (positional parameters), `// kernel: 5.10` (the same
//! facts under another version), `// options: unsafe, pid=3`. The compiler sees them as comments.

#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "each test binary uses its own part; a test fails by panicking"
)]

use rtrace_lang::bundle::Mode;
use rtrace_lang::config::Options;
use rtrace_lang::diag::{Diagnostic, render};
use rtrace_lang::driver;
use rtrace_lang::kernel::Version;
use rtrace_lang::source::SourceMap;
use rtrace_lang::typed::Typed;
use rtrace_test_support::Recorded;
pub use rtrace_test_support::kernel;

/// The errors, with the sources to show them in.
#[derive(Debug)]
pub struct Failure {
    pub diagnostics: Vec<Diagnostic>,
    pub sources: SourceMap,
}

impl Failure {
    pub fn text(&self) -> String {
        render(&self.diagnostics, &self.sources, false)
    }
}

/// Compiles a script as far as the typed program.
pub fn analyse(name: &str, script: &str, kernel: &Recorded) -> Result<Typed, Failure> {
    analyse_aloud(name, script, kernel).0
}

/// The same, and the warnings.
pub fn analyse_aloud(name: &str, script: &str, kernel: &Recorded) -> (Result<Typed, Failure>, Failure) {
    let mut options = Options::default();
    let mut at_version = None;
    for line in script.lines().map_while(|l| l.strip_prefix("// ")) {
        match line.split_once(": ") {
            Some(("args", list)) => options.params = list.split_whitespace().map(str::to_owned).collect(),
            Some(("kernel", version)) => {
                let (major, minor) = version.split_once('.').expect("a version such as 5.10");
                let version = Version(major.parse().expect("a number"), minor.parse().expect("a number"));
                at_version = Some(kernel.clone().at_version(version));
            }
            Some(("options", list)) => {
                for option in list.split(", ") {
                    match option.split_once('=') {
                        None if option == "unsafe" => options.unsafe_ = true,
                        None if option == "test" => options.run.mode = Mode::Test,
                        None if option == "bench" => options.run.mode = Mode::Bench,
                        Some(("pid", pid)) => options.pid = Some(pid.parse().expect("a process")),
                        _ => panic!("unknown option {option}"),
                    }
                }
            }
            _ => {}
        }
    }
    let mut sources = SourceMap::default();
    sources.add(name, script);
    let kernel = at_version.as_ref().unwrap_or(kernel);
    let result =
        driver::parse(&sources, 0).and_then(|ast| driver::analyse(ast, &mut options, &sources, kernel.facts()));
    let warnings = Failure { diagnostics: options.warnings, sources: sources.clone() };
    (result.map_err(|diagnostics| Failure { diagnostics, sources }), warnings)
}
