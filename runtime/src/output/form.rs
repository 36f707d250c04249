//! The seam between a run and the forms that it is shown in: text, JSON and what else there is in [`FORMS`]. The
//! [`Printer`](super::Printer) decides what is shown and does what calls ask for; a form says how it is written.

use super::maps::Entry;
use super::printf;
use super::value::{self, Scope};
use super::{Options, folded, json, text};
use crate::events::{Datum, Fields};
use crate::losses::Loss;
use rtrace_core::bundle::{self, MapDef};
use rtrace_core::types::Type;
use std::fmt;
use std::time::Duration;

/// The table of forms: what `-f` takes.
pub static FORMS: [&Form; 3] = [&text::FORM, &json::FORM, &folded::FORM];

/// A form of output.
pub struct Form {
    /// Its name on the command line.
    pub name: &'static str,
    /// The description in the help text.
    pub doc: &'static str,
    /// Whether control characters are escaped where output goes to a terminal; a form may have escapes of its own.
    pub(super) escapes: bool,
    pub(super) open: fn() -> Box<dyn Output>,
}

impl Form {
    /// The form of that name.
    pub fn named(name: &str) -> Option<&'static Form> {
        FORMS.into_iter().find(|form| form.name == name)
    }
}

impl Default for &'static Form {
    fn default() -> Self {
        &text::FORM
    }
}

impl PartialEq for Form {
    fn eq(&self, other: &Form) -> bool {
        self.name == other.name
    }
}

impl Eq for Form {}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How each kind of thing is written in a form. Methods append to the page; nobody sees it before the printer hands it
/// over, first output, then messages.
pub(super) trait Output {
    /// Text that a call of the script made.
    fn text(&mut self, page: &mut Page<'_>, call: Call, text: &Text<'_>);
    /// A value, or the value of a map's entry.
    fn value(&mut self, page: &mut Page<'_>, value: &Value<'_>);
    /// A map.
    fn map(&mut self, page: &mut Page<'_>, map: &Map<'_>);
    /// A message of the script or the kernel about a call.
    fn message(&mut self, page: &mut Page<'_>, message: &Message<'_>);
    /// A report about the run.
    fn report(&mut self, page: &mut Page<'_>, report: &Report<'_>);
    /// The script has ended; what its maps hold follows.
    fn end(&mut self, page: &mut Page<'_>);
}

/// Where a form writes, and what it needs for that.
pub(super) struct Page<'a> {
    pub out: &'a mut Vec<u8>,
    /// For standard error.
    pub errors: &'a mut Vec<u8>,
    /// Whether that is a terminal, which output need not go to.
    pub errors_terminal: bool,
    pub options: Options,
    pub scope: Scope<'a>,
}

impl Page<'_> {
    /// Appends a line for standard error.
    pub fn say(&mut self, line: &str) {
        if self.errors_terminal {
            // Messages name paths, commands and the like.
            value::write_escaped(self.errors, line.as_bytes());
        } else {
            self.errors.extend_from_slice(line.as_bytes());
        }
        self.errors.push(b'\n');
    }

    /// Appends a warning for standard error, unless the user wants none.
    pub fn warn(&mut self, text: &str) {
        if !self.options.no_warnings {
            self.say(&format!("WARNING: {text}"));
        }
    }
}

/// The calls whose text is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Printf,
    Join,
    Time,
    Cat,
    System,
}

/// Text, perhaps not made yet: so it is written once, to where it belongs.
pub(super) enum Text<'a> {
    Done(&'a [u8]),
    Format(&'a bundle::Format, Fields<'a>),
}

impl Text<'_> {
    pub fn append(&self, scope: &mut Scope<'_>, out: &mut Vec<u8>) {
        match self {
            Text::Done(text) => out.extend_from_slice(text),
            Text::Format(format, fields) => printf::printf(scope, out, format, *fields),
        }
    }
}

/// A value to be shown.
pub(super) struct Value<'a> {
    pub ty: &'a Type,
    pub data: Datum<'a>,
    /// The divisor of numbers.
    pub div: u64,
    /// The call, whose values may be shown in rows; none for a map's entry.
    pub call: Option<(u32, u32)>,
}

/// A map to be shown: its entries in order.
pub(super) struct Map<'a> {
    pub def: &'a MapDef,
    pub entries: &'a [Entry],
    pub div: u64,
}

pub(super) struct Message<'a> {
    /// The call that it is about.
    pub span: (u32, u32),
    pub of: Of<'a>,
}

pub(super) enum Of<'a> {
    /// `warnf`
    Warning(Text<'a>),
    /// `errorf`
    Error(Text<'a>),
    /// A helper of the kernel failed with this code.
    Helper { name: &'a str, code: i64 },
}

/// A report of a run about itself.
pub enum Report<'a> {
    /// That many probes are attached.
    Attached(usize),
    /// An iterator was pinned to a file.
    Pinned(&'a str),
    /// That many events found no room since the last time.
    LostEvents(u64),
    /// All losses.
    Losses(&'a [Loss]),
    /// That many tests are to be run.
    Tests(usize),
    TestBegins(&'a str),
    TestEnds {
        name: &'a str,
        passed: bool,
        took: Duration,
        /// Its output.
        output: &'a [u8],
    },
    /// That many tests were run; those that have failed.
    TestsEnd(usize, &'a [&'a str]),
    /// The benchmarks: name, nanoseconds of one run, number of runs.
    Benchmarks(&'a [(&'a str, u64, u64)]),
}
