//! Processes that a run belongs to: the child of `-c`, which waits until everything is attached, and the
//! process of `-p`, whose end ends the run.

use rtrace_sys as sys;
use std::ffi::{CString, OsStr};
use std::io::{self, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("the command of -c is empty")]
    Empty,
    #[error("unterminated quote in the command of -c: {0}")]
    Quote(String),
    #[error("cannot run {program}: {reason}")]
    Program { program: String, reason: &'static str },
    #[error("cannot start {program}: {source}")]
    Start { program: String, source: io::Error },
    #[error("no such process: {0}")]
    NoProcess(u32),
    #[error("cannot watch process {pid}: {source}")]
    Watch { pid: u32, source: io::Error },
}

/// Splits a command as a shell does: blanks separate; single quotes keep everything, double quotes all but
/// `\` before `" \ $` and a backquote; `\` outside quotes keeps the next character. Nothing is expanded.
pub fn split(command: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars();
    let unclosed = || CommandError::Quote(command.to_owned());
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unclosed)? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(unclosed)? {
                        '"' => break,
                        '\\' => match chars.next().ok_or_else(unclosed)? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            '\n' => {}
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(unclosed()),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.is_empty() { Err(CommandError::Empty) } else { Ok(words) }
}

/// The file that a command name means, as execvp(3) finds it.
fn find_program(name: &str) -> Result<PathBuf, CommandError> {
    let error = |reason| CommandError::Program { program: name.to_owned(), reason };
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        std::env::split_paths(&path).map(|dir| dir.join(name)).collect()
    };
    let mut found_file = false;
    for path in candidates {
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => return Ok(path),
            Ok(_) => found_file = true,
            Err(_) => {}
        }
    }
    Err(error(if found_file { "it is not an executable file" } else { "program not found" }))
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

/// Milliseconds that a child which was asked to end has for it before it gets a SIGTERM.
const GRACE: i32 = 200;

/// The child of `-c`. Until [`Child::release`] it waits before its exec. Dropping a child that still runs
/// asks it to end.
#[derive(Debug)]
pub struct Child {
    pid: u32,
    pidfd: OwnedFd,
    program: String,
    path: PathBuf,
    /// A byte lets the child go; closing it makes the child end.
    gate: Option<PipeWriter>,
    /// The child's errno when its exec fails.
    failure: Option<io::PipeReader>,
    ended: Option<Ended>,
    /// It was asked to end, by us or by whoever asked us.
    asked: bool,
}

impl Child {
    /// Starts the command, stopped.
    pub fn start(command: &str) -> Result<Child, CommandError> {
        let words = split(command)?;
        let program = words.first().cloned().unwrap_or_default();
        let path = find_program(&program)?;
        let start = |source| CommandError::Start { program: program.clone(), source };
        let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|e| start(e.into()));
        let program_path = c_string(path.as_os_str().as_bytes())?;
        let arguments = words.iter().map(|w| c_string(w.as_bytes())).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
        pointers.push(std::ptr::null());

        // Close-on-exec, both ends of both.
        let (gate_read, gate) = io::pipe().map_err(start)?;
        let (failure, failure_write) = io::pipe().map_err(start)?;
        let parent = std::process::id();
        // SAFETY: the child calls only async-signal-safe functions, on data made before the fork, and never
        // returns from the block.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            sys::unblock_all_signals();
            let parent_lives = sys::end_with(parent);
            let mut byte = 0u8;
            // SAFETY: as above; the buffers are live, the argument list ends with a null pointer.
            unsafe {
                libc::close(gate.as_raw_fd());
                while libc::read(gate_read.as_raw_fd(), (&raw mut byte).cast(), 1) < 0 {
                    if *libc::__errno_location() != libc::EINTR {
                        libc::_exit(127);
                    }
                }
                if byte == 0 || !parent_lives {
                    // The tracer gave up before letting us go.
                    libc::_exit(127);
                }
                libc::execv(program_path.as_ptr(), pointers.as_ptr());
                let errno = *libc::__errno_location();
                libc::write(failure_write.as_raw_fd(), (&raw const errno).cast(), 4);
                libc::_exit(127);
            }
        }
        if pid < 0 {
            return Err(start(io::Error::last_os_error()));
        }
        let pid = pid as u32;
        let pidfd = sys::pidfd_open(pid).map_err(|source| CommandError::Watch { pid, source })?;
        Ok(Child { pid, pidfd, program, path, gate: Some(gate), failure: Some(failure), ended: None, asked: false })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that it runs.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Readable when the child has ended.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Lets the child run its program. That it cannot be run shows when the child has ended
    /// ([`Child::exec_failure`]): waiting for it here would be a read that the probes see.
    pub fn release(&mut self) -> Result<(), CommandError> {
        let Some(mut gate) = self.gate.take() else { return Ok(()) };
        gate.write_all(&[1]).map_err(|source| CommandError::Start { program: self.program.clone(), source })
    }

    /// We are asked to end by this signal; `pass` it on unless the child got it as well.
    pub fn interrupt(&mut self, signal: i32, pass: bool) {
        self.asked = true;
        if pass && self.ended().is_none() {
            // It may have ended this moment; then there is nothing to do.
            let _ = sys::kill(self.pid, signal);
        }
    }

    /// The reason why the program could not be run, of a child that has ended.
    pub fn exec_failure(&mut self) -> Option<CommandError> {
        let mut errno = [0u8; 4];
        // A successful exec closed the pipe without a byte.
        io::Read::read_exact(&mut self.failure.take()?, &mut errno).ok()?;
        let program = self.program.clone();
        Some(match i32::from_ne_bytes(errno) {
            libc::ENOENT => CommandError::Program { program, reason: "the interpreter of its #! line does not exist" },
            libc::ENOEXEC => CommandError::Program {
                program,
                reason: "it is neither a program for this machine nor a script with a #! line",
            },
            errno => CommandError::Start { program, source: io::Error::from_raw_os_error(errno) },
        })
    }

    /// How the child ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<Ended> {
        if self.ended.is_none() {
            let mut status = 0;
            // SAFETY: writes one integer. WNOHANG: never blocks.
            let pid = unsafe { libc::waitpid(self.pid as i32, &raw mut status, libc::WNOHANG) };
            if pid == self.pid as i32 {
                self.ended = Some(if libc::WIFSIGNALED(status) {
                    Ended::Signal(libc::WTERMSIG(status))
                } else {
                    Ended::Code(libc::WEXITSTATUS(status))
                });
            }
        }
        self.ended
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.gate.take().is_some() || self.ended().is_some() {
            return;
        }
        if self.asked && sys::readable_within(self.pidfd.as_fd(), GRACE) {
            return;
        }
        // It may have ended this moment; then there is nothing to do.
        let _ = sys::kill(self.pid, libc::SIGTERM);
    }
}

/// Watches the process of `-p`; the descriptor becomes readable at its end.
pub fn watch(pid: u32) -> Result<OwnedFd, CommandError> {
    if !Path::new(OsStr::new("/proc")).join(pid.to_string()).exists() {
        return Err(CommandError::NoProcess(pid));
    }
    sys::pidfd_open(pid).map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH) => CommandError::NoProcess(pid),
        _ => CommandError::Watch { pid, source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_like_a_shell_does() {
        let cases: [(&str, &[&str]); 7] = [
            ("dd if=/dev/zero  of=/dev/null", &["dd", "if=/dev/zero", "of=/dev/null"]),
            (r#"sh -c "echo 'a b' \"c\" \n""#, &["sh", "-c", r#"echo 'a b' "c" \n"#]),
            (r"echo 'it'\''s'", &["echo", "it's"]),
            (r"a\ b c", &["a b", "c"]),
            (r#"x "" ''"#, &["x", "", ""]),
            ("a\tb\nc", &["a", "b", "c"]),
            (r#"--x="a b"c"#, &["--x=a bc"]),
        ];
        for (command, words) in cases {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
    }

    #[test]
    fn bad_commands() {
        assert!(matches!(split("   "), Err(CommandError::Empty)));
        for command in ["'a", "\"a", "a\\", "\"a\\"] {
            assert!(matches!(split(command), Err(CommandError::Quote(_))), "{command}");
        }
        assert!(matches!(find_program("/proc/self/status"), Err(CommandError::Program { .. })));
        assert!(matches!(find_program("no-such-program-here"), Err(CommandError::Program { .. })));
    }

    #[test]
    fn a_child_waits_and_then_runs() {
        let mut child = Child::start("sh -c 'exit 3'").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(child.ended(), None);
        child.release().unwrap();
        let mut ended = None;
        for _ in 0..500 {
            ended = child.ended();
            if ended.is_some() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert_eq!(ended, Some(Ended::Code(3)));
        assert!(child.exec_failure().is_none());
    }
}
