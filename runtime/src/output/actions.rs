//! Actions beyond printing: `system` runs a shell, `cat` reads a file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a shell command to its end and returns what it wrote to standard output, and how it failed if it did.
/// The compiler lets `system` through with `--unsafe` only.
pub fn system(command: &[u8]) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(OsStr::from_bytes(command)).stdin(Stdio::null()).stderr(Stdio::inherit());
    // SAFETY: the closure runs in the forked child and makes async-signal-safe calls only.
    unsafe {
        shell.pre_exec(|| {
            crate::sys::unblock_all_signals();
            Ok(())
        });
    }
    let output = shell.output()?;
    let failure = match (output.status.code(), output.status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exited with code {code}")),
        (None, signal) => Some(format!("was ended by signal {}", signal.unwrap_or(0))),
    };
    Ok((output.stdout, failure))
}

/// The beginning of a file.
pub fn cat(path: &[u8], most: u32) -> io::Result<Vec<u8>> {
    let mut contents = Vec::new();
    File::open(Path::new(OsStr::from_bytes(path)))?.take(u64::from(most)).read_to_end(&mut contents)?;
    Ok(contents)
}
