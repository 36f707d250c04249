//! Actions beyond printing: `system` runs a shell, `cat` reads a file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Milliseconds between two looks whether a shell that writes nothing has ended.
const LOOK: i32 = 10;
/// The capacity of a pipe, which may still be full after a shell has ended.
const PIPE: usize = 64 << 10;

/// Runs a shell command to its end and returns what it wrote to standard output, and how it failed if it did.
/// Its background jobs keep running, and their later output is not shown.
/// The compiler lets `system` through with `--unsafe` only.
pub fn system(command: &[u8]) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(OsStr::from_bytes(command)).stdin(Stdio::null()).stdout(Stdio::piped());
    // SAFETY: the closure runs in the forked child and makes async-signal-safe calls only.
    unsafe {
        shell.pre_exec(|| {
            rtrace_sys::unblock_all_signals();
            Ok(())
        });
    }
    let mut shell = shell.spawn()?;
    let mut output = Vec::new();
    if let Some(mut pipe) = shell.stdout.take()
        && !read_while_running(&mut shell, &mut pipe, &mut output)?
    {
        // A job in the background holds the pipe. It would block, or be ended, if nobody read what it writes.
        std::thread::spawn(move || io::copy(&mut pipe, &mut io::sink()));
    }
    let status = shell.wait()?;
    let failure = match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exited with code {code}")),
        (None, signal) => Some(format!("was killed by signal {}", signal.unwrap_or(0))),
    };
    Ok((output, failure))
}

/// Reads what a process and its children write until it ends. Returns whether the pipe is closed then.
fn read_while_running(process: &mut Child, pipe: &mut ChildStdout, output: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    let mut left = PIPE;
    loop {
        let ended = process.try_wait()?.is_some();
        if !rtrace_sys::readable_within(pipe.as_fd(), if ended { 0 } else { LOOK }) {
            if ended {
                return Ok(false);
            }
            continue;
        }
        let n = match pipe.read(&mut chunk) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        output.extend_from_slice(chunk.get(..n).unwrap_or_default());
        if n == 0 {
            return Ok(true);
        }
        if ended {
            // What comes later is not the shell's any more, and may never end.
            left = left.saturating_sub(n);
            if left == 0 {
                return Ok(false);
            }
        }
    }
}

/// The beginning of a file.
pub fn cat(path: &[u8], most: u32) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(Path::new(OsStr::from_bytes(path)))?.take(u64::from(most)).read_to_end(&mut contents)?;
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn only_the_shell_is_waited_for() {
        let begin = Instant::now();
        let (output, failure) = system(b"echo first; sleep 30 & echo $!").unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
        assert_eq!(failure, None);
        let text = String::from_utf8(output).unwrap();
        let job = text.strip_prefix("first\n").unwrap().trim();
        // It runs on.
        assert_eq!(system(format!("kill {job}").as_bytes()).unwrap(), (Vec::new(), None));
    }

    #[test]
    fn jobs_that_write_on_neither_hold_us_nor_end() {
        let begin = Instant::now();
        let (output, _) = system(b"timeout 20 yes & echo $!").unwrap();
        assert!(begin.elapsed() < Duration::from_secs(10));
        let text = String::from_utf8(output).unwrap();
        let job = text.lines().find(|line| line.parse::<u32>().is_ok()).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(system(format!("kill {job}").as_bytes()).unwrap(), (Vec::new(), None));
    }

    #[test]
    fn all_that_a_shell_wrote_is_there() {
        let (output, failure) = system(b"head -c 1000000 /dev/zero; exit 3").unwrap();
        assert_eq!((output.len(), failure.as_deref()), (1_000_000, Some("exited with code 3")));
    }
}
