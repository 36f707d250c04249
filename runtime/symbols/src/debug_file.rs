//! Finds the symbols and the debug information of an executable: in itself, or in a separate file.
//!
//! A separate file is looked for as the debugger does (GDB manual, "Debugging Information in Separate Files"): by the
//! build id under /usr/lib/debug/.build-id, then by the name in section `.gnu_debuglink` beside the executable, in
//! `.debug` there, and under /usr/lib/debug; before these, in the folders of `--debuginfo`. It counts when its build id
//! is the same, or its checksum the linked one.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use object::Object;

use crate::foreign;
use crate::user::with_elf;

/// A file that stays in memory until the end of the process: what is read of it refers to it.
pub type Elf = foreign::Elf<'static>;

/// Reads an ELF file for good.
pub fn open(path: &Path) -> Option<Elf> {
    let source = foreign::source(path).ok()?;
    object::File::parse(&*source).ok()?;
    let source: &'static foreign::Source = Box::leak(Box::new(source));
    object::File::parse(source).ok()
}

/// The folders of `--debuginfo`, for all that this process looks up.
static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Looks for debug files in these folders first. Only the first call counts.
pub fn look_in(folders: Vec<PathBuf>) {
    let _ = FOLDERS.set(folders);
}

/// The separate file with the symbols and debug information of an executable.
pub fn separate(path: &str, elf: &foreign::Elf<'_>) -> Option<PathBuf> {
    let id = elf.build_id().ok().flatten();
    candidates(path, elf).into_iter().find(|candidate| {
        let found = with_elf(&candidate.to_string_lossy(), |found| found.build_id().ok().flatten().map(<[u8]>::to_vec));
        match (id, found) {
            (_, Err(_)) => false,
            (Some(id), Ok(Some(other))) => id == other,
            _ => linked(elf).is_some_and(|(_, sum)| checksum(candidate) == Some(sum)),
        }
    })
}

/// The root of the container that a path leads into: `/proc/PID/root`.
pub fn root(path: &Path) -> Option<PathBuf> {
    let (process, _) = path.to_str()?.strip_prefix("/proc/")?.split_once("/root/")?;
    Some(PathBuf::from(format!("/proc/{process}/root")))
}

fn linked<'d>(elf: &foreign::Elf<'d>) -> Option<(&'d [u8], u32)> {
    elf.gnu_debuglink().ok().flatten()
}

/// The places, in order.
fn candidates(path: &str, elf: &foreign::Elf<'_>) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    // The files of a container have their debug information there, or here.
    let root = root(Path::new(path));
    let folders: Vec<PathBuf> =
        root.iter().map(|r| r.join("usr/lib/debug")).chain([PathBuf::from("/usr/lib/debug")]).collect();
    let mut found = Vec::new();
    let given = FOLDERS.get().map_or(&[][..], Vec::as_slice);
    given.iter().for_each(|folder| found.extend(in_folder(folder, &real, elf)));
    if let Some(name) = by_build_id(elf) {
        found.extend(folders.iter().map(|f| f.join(&name)));
    }
    if let Some((name, _)) = linked(elf)
        && let Ok(name) = std::str::from_utf8(name)
        && let Some(folder) = real.parent()
    {
        found.push(folder.join(name));
        found.push(folder.join(".debug").join(name));
        let inside = root.as_ref().and_then(|r| Path::new(path).strip_prefix(r).ok()?.parent()).map(Path::to_path_buf);
        let inside = inside.unwrap_or_else(|| folder.strip_prefix("/").unwrap_or(folder).to_path_buf());
        found.extend(folders.iter().map(|f| f.join(&inside).join(name)));
    }
    // A link that names the file itself leads nowhere.
    found.retain(|candidate| *candidate != real && candidate.is_file());
    found
}

/// The name by the build id, below a folder of debug files.
fn by_build_id(elf: &foreign::Elf<'_>) -> Option<String> {
    let (first, rest) = elf.build_id().ok().flatten()?.split_first()?;
    let name: String = rest.iter().map(|b| format!("{b:02x}")).collect();
    Some(format!(".build-id/{first:02x}/{name}.debug"))
}

/// The places in a folder of `--debuginfo`, which may be relative to where the executable lies: by the build id, then
/// by the linked name, or where none is linked by the executable's own, in the folder itself and in the tree below it.
fn in_folder(folder: &Path, executable: &Path, elf: &foreign::Elf<'_>) -> Vec<PathBuf> {
    let (Some(parent), Some(own)) = (executable.parent(), executable.file_name().and_then(|n| n.to_str())) else {
        return Vec::new();
    };
    let folder = parent.join(folder);
    let mut found: Vec<PathBuf> = by_build_id(elf).map(|name| folder.join(name)).into_iter().collect();
    let names = match linked(elf).and_then(|(name, _)| std::str::from_utf8(name).ok()) {
        Some(name) => vec![name.to_owned()],
        None => vec![format!("{own}.debug"), own.to_owned()],
    };
    let below = folder.join(parent.strip_prefix("/").unwrap_or(parent));
    found.extend([&folder, &below].iter().flat_map(|f| names.iter().map(|name| f.join(name))));
    found
}

/// Whether others may follow the links of an executable to its debug information by means of their own: nothing is
/// there, or a regular file.
pub fn links_are_harmless(path: &Path) -> bool {
    let names = with_elf(&path.to_string_lossy(), |elf| {
        let link = elf.gnu_debuglink().ok().flatten().map(|l| l.0.to_vec());
        let supplement = elf.gnu_debugaltlink().ok().flatten().map(|l| l.0.to_vec());
        [link, supplement].into_iter().flatten().map(OsString::from_vec).collect::<Vec<_>>()
    });
    let Ok(names) = names else { return false };
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(folder) = real.parent() else { return true };
    // The folders of the system are not for everybody to write to.
    let folders = [folder.to_path_buf(), folder.join(".debug")];
    let mut package = path.as_os_str().to_owned();
    package.push(".dwp");
    let linked = names.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    linked.chain([package.into()]).all(|path| std::fs::metadata(path).map_or(true, |found| found.is_file()))
}

/// The checksum of a file in `.gnu_debuglink`.
fn checksum(path: &Path) -> Option<u32> {
    let mut sum = 0;
    foreign::stream(path, &mut |bytes| sum = crc32(sum, bytes)).ok()?;
    Some(sum)
}

/// CRC-32 as in zip files, polynomial 0xedb88320, of what had the checksum `before` with more behind it.
fn crc32(before: u32, bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (byte, entry) in table.iter_mut().enumerate() {
        *entry = (0..8).fold(byte as u32, |sum, _| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 });
    }
    !bytes.iter().fold(!before, |sum, byte| {
        let at = usize::from((sum as u8) ^ byte);
        table.get(at).copied().unwrap_or(0) ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrace_test_support::Folder;

    #[test]
    fn links_to_what_would_block() {
        let files = [("p.c", "int main(void) { return 0; }"), ("p.link", "apart"), (".debug/other", "")];
        let folder = Folder::new("links", &files);
        let program = folder.file("p");
        folder.run("cc", &["p.c", "-o", "p"]);
        folder.run("objcopy", &["--add-gnu-debuglink=p.link", "p"]);
        assert!(links_are_harmless(&program));
        folder.run("mkfifo", &[".debug/p.link"]);
        assert!(!links_are_harmless(&program) && !links_are_harmless(&folder.file(".debug/p.link")));
        // What reads the symbols leaves it out, and does not wait; so with the others that a program may name.
        assert!(crate::user::symbols(&program.to_string_lossy(), "main").is_ok_and(|s| s.len() == 1));
        std::fs::remove_file(folder.file(".debug/p.link")).unwrap();
        assert!(links_are_harmless(&program));
        folder.run("mkfifo", &["p.dwp"]);
        assert!(!links_are_harmless(&program));
    }

    #[test]
    fn checksums() {
        assert_eq!(crc32(0, b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(crc32(0, b"1234"), b"56789"), 0xcbf4_3926);
        assert_eq!(crc32(0, b""), 0);
    }
}
