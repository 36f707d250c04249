//! The sources of a run: each file has its own range of one position space, so that a [`Span`]
//! alone names file, line and column.

use serde::{Deserialize, Serialize};

/// A half-open range of byte positions in the run's position space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Span {
        Span { start: u32::try_from(start).unwrap_or(u32::MAX), end: u32::try_from(end).unwrap_or(u32::MAX) }
    }

    /// The smallest span that covers both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As messages name it: the path given, or `-e` for a one-liner.
    pub name: String,
    pub text: String,
    /// Position of the first byte.
    pub base: u32,
}

/// A place in words: file, line and column counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: u32,
    pub column: u32,
}

impl SourceMap {
    /// Adds a file and returns the position of its first byte.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        // A gap of one keeps the end of a file apart from the start of the next.
        let base = self.files.last().map_or(0, |f| f.base + f.text.len() as u32 + 1);
        self.files.push(SourceFile { name: name.into(), text: text.into(), base });
        base
    }

    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The file that holds a position, with its index.
    pub fn file_at(&self, position: u32) -> Option<(usize, &SourceFile)> {
        let index = self.files.partition_point(|f| f.base <= position).checked_sub(1)?;
        self.files.get(index).map(|f| (index, f))
    }

    /// The text of a span.
    pub fn text(&self, span: Span) -> &str {
        self.file_at(span.start)
            .and_then(|(_, f)| f.text.get((span.start - f.base) as usize..(span.end.max(span.start) - f.base) as usize))
            .unwrap_or("")
    }

    /// File, line and column of a position; columns count bytes.
    pub fn place(&self, position: u32) -> Option<Place> {
        let (_, file) = self.file_at(position)?;
        let before = file.text.as_bytes().get(..(position - file.base) as usize)?;
        let line = before.iter().filter(|b| **b == b'\n').count() as u32 + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() as u32 + 1;
        Some(Place { file: file.name.clone(), line, column })
    }

    /// The position of a line and column (counted from 1) of a file.
    pub fn position(&self, file: usize, line: u32, column: u32) -> Option<u32> {
        let file = self.files.get(file)?;
        let start: usize = file.text.split_inclusive('\n').take(line.checked_sub(1)? as usize).map(str::len).sum();
        let at = start + column.max(1) as usize - 1;
        (at <= file.text.len()).then(|| file.base + at as u32)
    }
}
