//! The lines of a formatted script: what belongs to one statement is collected, then laid out.

use super::{INDENT, WIDTH};

/// May a line end before an atom?
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stop {
    No,
    /// If it gets too long: the smallest number goes first.
    May(u32),
    Must,
}

#[derive(Clone, Debug)]
struct Atom {
    text: String,
    space: bool,
    stop: Stop,
    comment: bool,
}

impl Atom {
    /// In columns. Comments of several lines do not count.
    fn width(&self) -> usize {
        if self.text.contains('\n') { 0 } else { self.text.chars().count().saturating_add(self.space.into()) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    out: String,
    /// The statement so far.
    line: Vec<Atom>,
    /// The indentation of its first line and of those after.
    first: usize,
    next: usize,
}

impl Lines {
    pub fn begin(&mut self, first: usize, next: usize) {
        self.flush();
        (self.first, self.next) = (first, next);
    }

    pub fn push(&mut self, text: &str, space: bool, stop: Stop) {
        self.line.push(Atom { text: text.to_owned(), space, stop, comment: false });
    }

    pub fn comment(&mut self, text: &str, space: bool, stop: Stop) {
        self.line.push(Atom { text: text.to_owned(), space, stop, comment: true });
    }

    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// How much is laid out.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Has what is laid out between two positions more than one line?
    pub fn spans_lines(&self, from: usize, to: usize) -> bool {
        self.out.get(from..to).unwrap_or_default().trim_end().contains('\n')
    }

    /// Puts an empty line there, unless there is one or the script begins there. Gives how much was added.
    pub fn blank_at(&mut self, position: usize) -> usize {
        let before = self.out.get(..position).unwrap_or_default();
        if before.is_empty() || before.ends_with("\n\n") {
            return 0;
        }
        self.out.insert(position, '\n');
        1
    }

    pub fn blank(&mut self) {
        self.flush();
        self.blank_at(self.out.len());
    }

    pub fn finish(mut self) -> String {
        self.flush();
        self.out.truncate(self.out.trim_end().len());
        if !self.out.is_empty() {
            self.out.push('\n');
        }
        self.out
    }

    /// The indentations of the line that the statement has come to, and of those after.
    pub fn levels(&self) -> (usize, usize) {
        let on_first = fitting(&self.line, self.first) == self.line.len();
        (if on_first { self.first } else { self.next }, self.next)
    }

    /// Lays the statement out.
    fn flush(&mut self) {
        let atoms = std::mem::take(&mut self.line);
        let (mut rest, mut level) = (&atoms[..], self.first);
        while !rest.is_empty() {
            let (line, behind) = rest.split_at(fitting(rest, level));
            self.write(line, level);
            rest = behind;
            level = self.next;
        }
    }

    fn write(&mut self, atoms: &[Atom], level: usize) {
        let blanks = " ".repeat(level.saturating_mul(INDENT));
        self.out.push_str(&blanks);
        for (at, atom) in atoms.iter().enumerate() {
            if atom.space && at > 0 {
                self.out.push(' ');
            }
            if !atom.comment {
                self.out.push_str(&atom.text);
                continue;
            }
            for (at, text) in atom.text.lines().enumerate() {
                let inner = text.trim_start();
                if at > 0 {
                    self.out.push('\n');
                }
                if at > 0 && inner.starts_with('*') {
                    self.out.push_str(&blanks);
                    self.out.push(' ');
                    self.out.push_str(inner.trim_end());
                } else {
                    self.out.push_str(text.trim_end());
                }
            }
        }
        self.out.push('\n');
    }
}

/// How many atoms go on a line, one at least. Comments at its end may be too long.
fn fitting(atoms: &[Atom], level: usize) -> usize {
    let mut width = level.saturating_mul(INDENT);
    let mut comments = 0_usize;
    let mut best: Option<(u32, usize)> = None;
    let mut full = false;
    for (at, atom) in atoms.iter().enumerate() {
        match atom.stop {
            _ if at == 0 => {}
            Stop::Must if !full => return at,
            Stop::Must => return best.map_or(at, |(_, at)| at),
            Stop::May(rank) if !full && best.is_none_or(|(least, _)| rank <= least) => best = Some((rank, at)),
            // Nothing before it fits: as short as it gets.
            Stop::May(_) if best.is_none() => return at,
            _ => {}
        }
        if atom.comment {
            comments = comments.saturating_add(atom.width());
            continue;
        }
        width = width.saturating_add(std::mem::take(&mut comments)).saturating_add(atom.width());
        if width > WIDTH {
            full = true;
            if let Some((_, at)) = best {
                return at;
            }
        }
    }
    atoms.len()
}
