//! Where output goes: standard output, or a file (`-o`), whose disk may fill up: that is said at once, the run goes on,
//! and what is lost is counted.

use std::io::{self, ErrorKind, Write};

/// Standard output without the standard library's buffer: the printer hands over what is to be seen at once in one piece.
#[derive(Debug)]
pub struct Stdout(pub io::Stdout);

impl Write for Stdout {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(&self.0, data)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that takes everything, and knows what it could not keep.
#[derive(Debug)]
pub struct OutputFile<F> {
    file: F,
    name: String,
    lost: u64,
    /// The last error that lost output.
    error: Option<io::Error>,
    /// Whether the last write ended within a line.
    torn: bool,
}

impl<F: Write> OutputFile<F> {
    /// `name` is for messages.
    pub fn new(file: F, name: String) -> OutputFile<F> {
        OutputFile { file, name, lost: 0, error: None, torn: false }
    }

    /// The message about lost output.
    pub fn loss(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(format!("{} bytes of the output could not be written to {}: {error}", self.lost, self.name))
    }

    /// As much of `data` as there is room for; the rest is lost. What comes after a loss begins a line.
    fn keep(&mut self, data: &[u8]) -> io::Result<()> {
        if self.torn && self.error.is_some() {
            if let Err(error) = self.file.write_all(b"\n") {
                return self.lose(data, error);
            }
            self.torn = false;
        }
        let mut rest = data;
        while let [_, ..] = rest {
            let written = match self.file.write(rest) {
                Ok(0) => Err(io::Error::from(ErrorKind::WriteZero)),
                other => other,
            };
            match written {
                Ok(n) => {
                    let (done, more) = rest.split_at_checked(n).unwrap_or((rest, &[]));
                    self.torn = done.last().is_some_and(|b| *b != b'\n');
                    rest = more;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return self.lose(rest, e),
            }
        }
        Ok(())
    }

    fn lose(&mut self, data: &[u8], error: io::Error) -> io::Result<()> {
        if error.kind() == ErrorKind::BrokenPipe {
            return Err(error);
        }
        if self.error.is_none() {
            // Standard error may be closed; there is nowhere left to say so.
            let _ = writeln!(io::stderr(), "ERROR: cannot write to {}: {error}; lost output is counted", self.name);
        }
        self.lost += data.len() as u64;
        self.error = Some(error);
        Ok(())
    }
}

impl<F: Write> Write for OutputFile<F> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.keep(data).map(|()| data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.file.flush() {
            Err(e) => self.lose(&[], e),
            Ok(()) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with so much room.
    struct Disk(Vec<u8>, usize);

    impl Write for Disk {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            match data.len().min(self.1) {
                0 => Err(ErrorKind::StorageFull.into()),
                n => {
                    self.0.extend_from_slice(&data[..n]);
                    self.1 -= n;
                    Ok(n)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_what_follows_begins_a_line() {
        let mut out = OutputFile::new(Disk(Vec::new(), 8), "x".into());
        out.write_all(b"one\n").unwrap();
        assert_eq!(out.loss(), None);
        out.write_all(b"twenty\nthree\n").unwrap();
        out.write_all(b"four\n").unwrap();
        assert_eq!(out.lost, 9 + 5);
        out.file.1 = 100;
        out.write_all(b"five\n").unwrap();
        out.write_all(b"six\n").unwrap();
        assert_eq!(out.file.0, b"one\ntwen\nfive\nsix\n");
        assert!(out.loss().unwrap().starts_with("14 bytes of the output could not be written to x: "));
    }

    #[test]
    fn a_reader_that_goes_away_is_a_failure() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert!(OutputFile::new(Gone, "x".into()).write_all(b"x").is_err());
    }
}
