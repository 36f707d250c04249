//! Diagnostics as data: a code from the table in `codes.rs`, a message, labelled places, notes and a
//! mended line. [`render`] is the one place that turns them into text.

use crate::codes::Code;
use crate::source::{SourceMap, Span};
use codespan_reporting::diagnostic::{Diagnostic as Report, Label as ReportLabel, LabelStyle};
use codespan_reporting::files::{Error as FilesError, Files};
use codespan_reporting::term;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    /// The message: one line, no full stop.
    pub message: String,
    /// Where; the first is the place of the error itself.
    pub labels: Vec<(Span, String)>,
    /// Why, and other facts.
    pub notes: Vec<String>,
    /// The suggestion: text to write or an action to take instead.
    pub help: Option<String>,
}

pub type Result<T> = std::result::Result<T, Box<Diagnostic>>;

impl Diagnostic {
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: vec![(span, String::new())],
            notes: Vec::new(),
            help: None,
        })
    }

    /// Something that the passes before must not hand over: a bug in the compiler.
    pub fn internal(span: Span, what: impl std::fmt::Display) -> Box<Diagnostic> {
        Diagnostic::error(Code::Internal, span, format!("internal error: {what}"))
            .help("this is a bug in rtrace: please report it with the script")
    }

    /// An error without a place in the script: what is wrong was given on the command line.
    pub fn general(code: Code, message: impl Into<String>) -> Box<Diagnostic> {
        let mut d = Diagnostic::error(code, Span::default(), message);
        d.labels.clear();
        d
    }

    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Box<Diagnostic> {
        let mut d = Diagnostic::error(code, span, message);
        d.severity = Severity::Warning;
        d
    }

    /// Says something at the place of the error.
    pub fn label(mut self: Box<Self>, text: impl Into<String>) -> Box<Self> {
        if let Some(first) = self.labels.first_mut() {
            first.1 = text.into();
        }
        self
    }

    /// Points at another place.
    pub fn also(mut self: Box<Self>, span: Span, text: impl Into<String>) -> Box<Self> {
        self.labels.push((span, text.into()));
        self
    }

    pub fn note(mut self: Box<Self>, text: impl Into<String>) -> Box<Self> {
        self.notes.push(text.into());
        self
    }

    pub fn help(mut self: Box<Self>, text: impl Into<String>) -> Box<Self> {
        self.help = Some(text.into());
        self
    }
}

/// Renders diagnostics as text, with source excerpts.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap, color: bool) -> String {
    let config = term::Config { before_label_lines: 0, after_label_lines: 0, ..term::Config::default() };
    let mut out = String::new();
    for d in diagnostics {
        let labels = d.labels.iter().enumerate().filter_map(|(i, (span, text))| {
            let (file, source) = sources.file_at(span.start)?;
            let clamp = |p: u32| ((p.max(source.base) - source.base) as usize).min(source.text.len());
            let style = if i == 0 { LabelStyle::Primary } else { LabelStyle::Secondary };
            Some(ReportLabel::new(style, file, clamp(span.start)..clamp(span.end)).with_message(text))
        });
        let mut notes: Vec<String> = d.notes.iter().map(|n| format!("note: {}", n.replace('\n', "\n      "))).collect();
        notes.extend(d.help.iter().map(|h| format!("help: {}", h.replace('\n', "\n      "))));
        let report = match d.severity {
            Severity::Error => Report::error(),
            Severity::Warning => Report::warning(),
        };
        let report =
            report.with_code(d.code.name()).with_message(&d.message).with_labels(labels.collect()).with_notes(notes);
        let files = SourceFiles(sources);
        let rendered = if color {
            let mut buffer = term::termcolor::Buffer::ansi();
            term::emit_to_write_style(&mut buffer, &config, &files, &report)
                .map(|()| String::from_utf8_lossy(buffer.as_slice()).into_owned())
        } else {
            term::emit_into_string(&config, &files, &report)
        };
        // A span outside its file is the only way to fail: the message still has to be seen.
        let rendered = rendered.unwrap_or_else(|_| format!("{}: {}\n", d.code.name(), d.message));
        // Lines of labels are padded to the width of the excerpt.
        for line in rendered.lines() {
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
    out
}

/// The source map as codespan asks for it.
struct SourceFiles<'a>(&'a SourceMap);

impl<'a> Files<'a> for SourceFiles<'a> {
    type FileId = usize;
    type Name = &'a str;
    type Source = &'a str;

    fn name(&'a self, id: usize) -> std::result::Result<&'a str, FilesError> {
        self.0.files().get(id).map(|f| f.name.as_str()).ok_or(FilesError::FileMissing)
    }

    fn source(&'a self, id: usize) -> std::result::Result<&'a str, FilesError> {
        self.0.files().get(id).map(|f| f.text.as_str()).ok_or(FilesError::FileMissing)
    }

    fn line_index(&'a self, id: usize, byte: usize) -> std::result::Result<usize, FilesError> {
        let text = self.source(id)?;
        Ok(text.as_bytes().iter().take(byte).filter(|b| **b == b'\n').count())
    }

    fn line_range(&'a self, id: usize, line: usize) -> std::result::Result<std::ops::Range<usize>, FilesError> {
        let text = self.source(id)?;
        let mut start = 0;
        for (i, l) in text.split_inclusive('\n').enumerate() {
            if i == line {
                return Ok(start..start + l.len());
            }
            start += l.len();
        }
        Ok(start..text.len())
    }
}
