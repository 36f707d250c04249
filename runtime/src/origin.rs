//! The identity of this machine for a bundle: recorded where one is compiled, compared where one runs.

use object::{Object, ReadCache};
use rtrace_core::bundle::{Bundle, Target};
use rtrace_core::origin::{FileId, Origin, checksum};
use rtrace_symbols::vmlinux;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;

/// Type information of the kernel and its modules, a file each.
const TYPES: &str = "/sys/kernel/btf";
/// Largest file without a build id that is read whole.
const LARGEST: u64 = 4 << 30;

/// The reason why a bundle does not run here, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("it does not record what it was compiled for: compile it again with `rtrace --emit bundle`")]
    Unknown,
    #[error("it was compiled for {wanted}, but this machine is {found}")]
    Machine { wanted: String, found: String },
    #[error(
        "it was compiled for Linux {wanted}, but this is Linux {found} with different kernel types: compile it on this kernel"
    )]
    Kernel { wanted: String, found: String },
    #[error("it probes the module {module}, which is not loaded or not the one that it was compiled for")]
    Module { module: String },
    #[error("it was compiled in a different PID namespace: compile it in the one where it runs")]
    Namespace,
    #[error("{path} is not the build that it was compiled for: compile it again with this one")]
    File { path: String },
    #[error("it probes {path}, which cannot be read: {why}")]
    Unreadable { path: String, why: String },
    #[error("it was compiled with --unsafe and may change the system: use --unsafe to run it")]
    Unsafe,
}

/// The machine as the bundle uses it: to be kept in [`Bundle::origin`].
pub fn of(bundle: &Bundle) -> Result<Origin, Mismatch> {
    let (machine, release) = (std::env::consts::ARCH.to_owned(), vmlinux::release());
    let mut names = vec!["vmlinux".to_owned()];
    names.extend(modules(bundle).into_iter().map(str::to_owned));
    // A kernel or module without type information has none to differ.
    let types = names.into_iter().filter_map(|name| Some((types_of(&name)?, name))).map(|(sum, name)| (name, sum));
    let files = paths(bundle).into_iter().map(|path| match identify(path) {
        Ok(id) => Ok((path.to_owned(), id)),
        Err(e) => Err(Mismatch::Unreadable { path: path.to_owned(), why: e.to_string() }),
    });
    Ok(Origin { machine, release, types: types.collect(), files: files.collect::<Result<_, _>>()? })
}

/// Whether a bundle from a file may run on this machine.
pub fn check(bundle: &Bundle, unsafe_: bool) -> Result<(), Mismatch> {
    let Some(origin) = &bundle.origin else { return Err(Mismatch::Unknown) };
    let (machine, release) = (std::env::consts::ARCH.to_owned(), vmlinux::release());
    if machine != origin.machine {
        return Err(Mismatch::Machine { wanted: origin.machine.clone(), found: machine });
    }
    for (name, sum) in &origin.types {
        if types_of(name) != Some(*sum) {
            return Err(match name.as_str() {
                "vmlinux" => Mismatch::Kernel { wanted: origin.release.clone(), found: release },
                module => Mismatch::Module { module: module.to_owned() },
            });
        }
    }
    if bundle.config.pid_namespace != rtrace_facts::namespace::pid_namespace() {
        return Err(Mismatch::Namespace);
    }
    for (path, id) in &origin.files {
        match identify(path) {
            Ok(found) if found == *id => {}
            Ok(_) => return Err(Mismatch::File { path: path.clone() }),
            Err(e) => return Err(Mismatch::Unreadable { path: path.clone(), why: e.to_string() }),
        }
    }
    if bundle.config.changes_system && !unsafe_ {
        return Err(Mismatch::Unsafe);
    }
    Ok(())
}

fn targets(bundle: &Bundle) -> impl Iterator<Item = &Target> {
    bundle.programs.iter().flat_map(|p| &p.attach).map(|a| &a.target)
}

fn modules(bundle: &Bundle) -> BTreeSet<&str> {
    targets(bundle).filter_map(Target::module).collect()
}

fn paths(bundle: &Bundle) -> BTreeSet<&str> {
    targets(bundle).filter_map(Target::file).collect()
}

fn types_of(name: &str) -> Option<u64> {
    std::fs::read(format!("{TYPES}/{name}")).ok().map(|bytes| checksum(&bytes))
}

/// Identifies a file. Only regular files are read, and never more than [`LARGEST`].
fn identify(path: &str) -> io::Result<FileId> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let known = file.metadata()?;
    if !known.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if let Some(id) = build_id(&file) {
        return Ok(FileId::Build(id));
    }
    if known.len() > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {} GB", LARGEST >> 30)));
    }
    let mut sum = twox_hash::XxHash64::with_seed(0);
    let mut length = 0;
    let mut buffer = vec![0; 1 << 16];
    io::Seek::rewind(&mut file)?;
    loop {
        let n = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..n).filter(|b| !b.is_empty()) else { break };
        sum.write(bytes);
        length += n as u64;
        if length > LARGEST {
            break;
        }
    }
    Ok(FileId::Contents { length, sum: sum.finish() })
}

fn build_id(file: &File) -> Option<Vec<u8>> {
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).ok()?;
    elf.build_id().ok().flatten().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn folder(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("rtrace-origin-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn id(path: &Path) -> io::Result<FileId> {
        identify(path.to_str().unwrap())
    }

    #[test]
    fn files_are_told_apart_by_their_contents() {
        let folder = folder("contents");
        let path = folder.join("program");
        std::fs::write(&path, b"one").unwrap();
        let one = id(&path).unwrap();
        assert_eq!(one, FileId::Contents { length: 3, sum: checksum(b"one") });
        std::fs::write(&path, b"two").unwrap();
        assert_ne!(id(&path).unwrap(), one);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_not_a_regular_file_is_refused_at_once() {
        assert!(id(Path::new("/dev/zero")).is_err());
        assert!(id(Path::new("/")).is_err());
        let folder = folder("fifo");
        let fifo = folder.join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        assert!(id(&fifo).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
