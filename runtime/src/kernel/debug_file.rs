//! Where the symbols and the debug information of an executable are: in itself, or in a file of their own.
//!
//! A separate file is looked for as the debugger does (GDB manual, "Debugging Information in Separate Files"): by the
//! build id under /usr/lib/debug/.build-id, then by the name in section `.gnu_debuglink` beside the executable, in
//! `.debug` there, and under /usr/lib/debug; before these, in the folders of `--debuginfo`. It counts when its build id
//! is the same, or its checksum the linked one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use memmap2::Mmap;
use object::Object;

/// A file that stays mapped until the end of the process: what is read of it refers to it.
pub type Elf = object::File<'static>;

/// Maps an ELF file for good.
pub fn open(path: &Path) -> Option<Elf> {
    let file = File::open(path).ok()?;
    // SAFETY: private and read-only. A file that shrinks while it is read would end us with SIGBUS; executables and
    // their debug files are replaced, not rewritten.
    let map = unsafe { Mmap::map(&file) }.ok()?;
    let bytes: &'static [u8] = Box::leak(Box::new(map));
    object::File::parse(bytes).ok()
}

/// The folders of `--debuginfo`, for all that this process looks up.
static FOLDERS: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Looks for debug files in these folders first. Only the first call counts.
pub fn look_in(folders: Vec<PathBuf>) {
    let _ = FOLDERS.set(folders);
}

/// The separate file with the symbols and debug information of an executable.
pub fn separate(path: &str, elf: &object::File<'_>) -> Option<PathBuf> {
    let id = elf.build_id().ok().flatten();
    candidates(path, elf).into_iter().find(|candidate| {
        let Some(found) = open(candidate) else { return false };
        match (id, found.build_id().ok().flatten()) {
            (Some(id), Some(other)) => id == other,
            _ => linked(elf).is_some_and(|(_, sum)| std::fs::read(candidate).is_ok_and(|bytes| crc32(&bytes) == sum)),
        }
    })
}

/// The root of the container that a path leads into: `/proc/PID/root`.
pub fn root(path: &Path) -> Option<PathBuf> {
    let (process, _) = path.to_str()?.strip_prefix("/proc/")?.split_once("/root/")?;
    Some(PathBuf::from(format!("/proc/{process}/root")))
}

fn linked<'d>(elf: &object::File<'d>) -> Option<(&'d [u8], u32)> {
    elf.gnu_debuglink().ok().flatten()
}

/// The places, in order.
fn candidates(path: &str, elf: &object::File<'_>) -> Vec<PathBuf> {
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
fn by_build_id(elf: &object::File<'_>) -> Option<String> {
    let (first, rest) = elf.build_id().ok().flatten()?.split_first()?;
    let name: String = rest.iter().map(|b| format!("{b:02x}")).collect();
    Some(format!(".build-id/{first:02x}/{name}.debug"))
}

/// The places in a folder of `--debuginfo`, which may be relative to where the executable lies: by the build id, then
/// by the linked name, or where none is linked by the executable's own, in the folder itself and in the tree below it.
fn in_folder(folder: &Path, executable: &Path, elf: &object::File<'_>) -> Vec<PathBuf> {
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

/// The checksum of `.gnu_debuglink`: CRC-32 as in zip files, polynomial 0xedb88320.
fn crc32(bytes: &[u8]) -> u32 {
    let mut table = [0u32; 256];
    for (byte, entry) in table.iter_mut().enumerate() {
        *entry = (0..8).fold(byte as u32, |sum, _| if sum & 1 == 1 { 0xedb8_8320 ^ (sum >> 1) } else { sum >> 1 });
    }
    !bytes.iter().fold(!0u32, |sum, byte| {
        let at = usize::from((sum as u8) ^ byte);
        table.get(at).copied().unwrap_or(0) ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }
}
