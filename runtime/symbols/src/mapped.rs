//! The files that processes run: their programs and what they have mapped as code, from /proc.
//!
//! A process may see other files under a name than we do (containers): then its files are named through
//! `/proc/PID/root`, which leads to them from here. /proc shows paths from our root, or, of what is mounted for the
//! process alone, from the root that it has.

use std::collections::BTreeSet;
use std::path::Path;

use rtrace_core::kernel::KernelError;

use crate::user;
use rtrace_core::glob::{self, Glob};
use rtrace_sys::mappings;

/// The program of a process.
pub fn program(process: u32) -> Result<String, KernelError> {
    let link = std::fs::read_link(format!("/proc/{process}/exe")).map_err(|e| unreadable(process, &e))?;
    let path = link.to_string_lossy().into_owned();
    // A program that was replaced or deleted is still there for the process.
    Ok(match path.strip_suffix(" (deleted)") {
        Some(_) if !Path::new(&path).exists() => format!("/proc/{process}/exe"),
        _ => seen_from_here(process, &path, elsewhere(process)),
    })
}

/// The files that a process has mapped as code, sorted.
pub fn files(process: u32) -> Result<Vec<String>, KernelError> {
    let maps = std::fs::read(format!("/proc/{process}/maps")).map_err(|e| unreadable(process, &e))?;
    let elsewhere = elsewhere(process);
    Ok(code(&maps).iter().map(|path| seen_from_here(process, path, elsewhere)).collect())
}

/// The files that any process has mapped as code, sorted. Processes that end meanwhile, or that we may not look
/// into, are passed over.
pub fn files_of_all() -> Vec<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let process = entry.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(process.and_then(|p| files(p).ok()).into_iter().flatten());
    }
    found.into_iter().collect()
}

/// Resolves a name or pattern for a process: to the mapped files whose path or file name it is, or whose
/// name as a library; else what it means without the process.
pub fn named(process: u32, name: &str) -> Result<Vec<String>, KernelError> {
    let root = format!("/proc/{process}/root");
    let mapped = files(process)?;
    if name.contains('/') {
        // As the process sees it, which need not have mapped it yet.
        let inside = name.starts_with('/') && !name.starts_with("/proc/") && has_other_root(process);
        let found = if inside { user::executables(&format!("{root}{name}")) } else { Vec::new() };
        return Ok(if found.is_empty() { user::executables(name) } else { found });
    }
    let names = Glob::new(name);
    let fits = |path: &String| {
        let file = path.rsplit('/').next().unwrap_or_default();
        names.matches(file.as_bytes()) || (!glob::is_glob(name) && user::is_library(file, name))
    };
    let found: Vec<String> = mapped.into_iter().filter(fits).collect();
    Ok(if found.is_empty() { user::executables(name) } else { found })
}

/// Whether a process has mounts of its own.
fn elsewhere(process: u32) -> bool {
    let namespace = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/mnt")).ok();
    namespace(&process.to_string()) != namespace("self")
}

/// Whether paths mean other files to a process than to us.
fn has_other_root(process: u32) -> bool {
    let root = |who: &str| std::fs::read_link(format!("/proc/{who}/root")).ok();
    elsewhere(process) || root(&process.to_string()) != root("self")
}

fn seen_from_here(process: u32, path: &str, elsewhere: bool) -> String {
    let inside = format!("/proc/{process}/root{path}");
    if elsewhere && Path::new(&inside).exists() { inside } else { path.to_owned() }
}

/// The files in a list of mappings (proc_pid_maps(5)) that are mapped with the right to execute, each once.
fn code(maps: &[u8]) -> BTreeSet<String> {
    let paths = mappings::code(maps).filter_map(|code| code.path.to_str());
    // Deleted files have no name any more that leads to them.
    paths.filter(|path| path.starts_with('/') && !path.ends_with(" (deleted)")).map(str::to_owned).collect()
}

fn unreadable(process: u32, error: &std::io::Error) -> KernelError {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            KernelError::new(format!("no such process: {process}"), "use the ID of a running process: -p PID")
        }
        _ => KernelError::new(
            format!("cannot read the program of process {process}: {error}"),
            "run as root, or with CAP_SYS_PTRACE",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let maps = b"55d0-55d1 r--p 00000000 fe:00 12     /usr/bin/cat\n55d1-55d2 r-xp 00001000 fe:00 12     /usr/bin/cat\n\
            7f00-7f01 r-xp 00000000 fe:00 13                         /tmp/a b.so\n7f02-7f03 rw-p 00000000 00:00 0 \n\
            7f04-7f05 r-xp 00000000 00:00 0                          [vdso]\n7f06-7f07 r-xp 0 fe:00 9 /tmp/x (deleted)\n";
        assert_eq!(code(maps).into_iter().collect::<Vec<_>>(), ["/tmp/a b.so", "/usr/bin/cat"]);
    }

    #[test]
    fn files_of_this_process() {
        let own = std::process::id();
        let exe = std::env::current_exe().expect("a path").display().to_string();
        assert_eq!(program(own), Ok(exe.clone()));
        assert!(files(own).expect("readable").contains(&exe));
        assert!(files_of_all().contains(&exe));
        assert!(named(own, "libc").expect("readable").iter().all(|p| p.contains("/libc.so")));
        assert_eq!(named(own, &exe), Ok(vec![exe]));
        assert!(files(u32::MAX).is_err_and(|e| e.message.contains("no such process")));
    }
}
