//! Names that only user space knows: user names, paths of control groups, allocation flags. Each
//! table is read on first use and kept.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// User names by id, from `/etc/passwd`.
#[derive(Default)]
pub struct Users(Option<HashMap<u32, Vec<u8>>>);

impl Users {
    pub fn name(&mut self, id: u32) -> Option<&[u8]> {
        self.0
            .get_or_insert_with(|| parse_passwd(&fs::read("/etc/passwd").unwrap_or_default()))
            .get(&id)
            .map(Vec::as_slice)
    }
}

fn parse_passwd(text: &[u8]) -> HashMap<u32, Vec<u8>> {
    let mut users = HashMap::new();
    for line in text.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else { continue };
        if let Some(id) = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) {
            users.entry(id).or_insert_with(|| name.to_vec());
        }
    }
    users
}

/// Names of processes by id, as they are when they are printed; of a process that has ended, the last one seen.
#[derive(Default)]
pub struct Processes(HashMap<u32, Vec<u8>>);

impl Processes {
    /// Empty for a process that was never seen.
    pub fn name(&mut self, process: u32) -> &[u8] {
        let known = self.0.entry(process).or_default();
        if let Ok(mut name) = fs::read(format!("/proc/{process}/comm")) {
            name.truncate(name.trim_ascii_end().len());
            *known = name;
        }
        known
    }
}

/// Appends the names of the bits that are set, `A|B`, and what has none as a hexadecimal number. A name of several
/// bits stands for all of them; without any bit, the name of zero.
pub fn flags(out: &mut Vec<u8>, known: &[(String, i64)], value: u64) {
    if let Some((name, _)) = known.iter().find(|k| k.1 as u64 == value) {
        return out.extend_from_slice(name.as_bytes());
    }
    let mut rest = value;
    let mut found: Vec<(u64, &str)> = Vec::new();
    let mut masks: Vec<(u64, &str)> = known.iter().map(|(n, v)| (*v as u64, n.as_str())).collect();
    masks.sort_by_key(|m| (std::cmp::Reverse(m.0.count_ones()), m.0));
    for (mask, name) in masks {
        if mask != 0 && rest & mask == mask {
            rest &= !mask;
            found.push((mask, name));
        }
    }
    found.sort();
    for (_, name) in &found {
        out.extend_from_slice(name.as_bytes());
        out.push(b'|');
    }
    if rest != 0 {
        super::number::hex(out, rest);
    } else if found.is_empty() {
        out.push(b'0');
    } else {
        out.pop();
    }
}

/// Paths of control groups by id, each as `hierarchy:path`.
#[derive(Default)]
pub struct Cgroups {
    paths: HashMap<u64, Vec<u8>>,
    read: Option<Instant>,
}

impl Cgroups {
    /// An unknown id reads the tree again, at most once in this time: a script may print ids of groups
    /// that are long gone.
    const AGAIN: Duration = Duration::from_millis(500);
    const MAX_DEPTH: u32 = 64;

    pub fn path(&mut self, id: u64) -> &[u8] {
        if !self.paths.contains_key(&id) && self.read.is_none_or(|t| t.elapsed() >= Self::AGAIN) {
            self.paths.clear();
            self.load(Path::new("/sys/fs/cgroup"));
            self.read = Some(Instant::now());
        }
        self.paths.get(&id).map_or(b"", Vec::as_slice)
    }

    /// Version 2 alone has its files in the root; otherwise every folder of it is a hierarchy, the one
    /// of version 2 being `unified`.
    fn load(&mut self, root: &Path) {
        if root.join("cgroup.controllers").exists() {
            return self.walk(b"unified", root);
        }
        for entry in fs::read_dir(root).into_iter().flatten().flatten() {
            // Names like `cpu,cpuacct` have links beside them.
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                self.walk(entry.file_name().as_bytes(), &entry.path());
            }
        }
    }

    fn walk(&mut self, hierarchy: &[u8], root: &Path) {
        if let Ok(meta) = fs::metadata(root) {
            self.add(meta.ino(), hierarchy, b"/");
        }
        self.below(hierarchy, root, b"", 0);
    }

    fn below(&mut self, hierarchy: &[u8], folder: &Path, prefix: &[u8], depth: u32) {
        if depth > Self::MAX_DEPTH {
            return;
        }
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                let path = [prefix, b"/", entry.file_name().as_bytes()].concat();
                self.add(entry.ino(), hierarchy, &path);
                self.below(hierarchy, &entry.path(), &path, depth + 1);
            }
        }
    }

    fn add(&mut self, id: u64, hierarchy: &[u8], path: &[u8]) {
        let paths = self.paths.entry(id).or_default();
        if !paths.is_empty() {
            paths.push(b',');
        }
        paths.extend_from_slice(hierarchy);
        paths.push(b':');
        paths.extend_from_slice(path);
    }
}

/// Allocation flags, larger combinations first; numbers of every kernel since 5.10.
const GFP: [(u32, &str); 38] = [
    (0x1c_24ca, "GFP_TRANSHUGE"),
    (0x1c_20ca, "GFP_TRANSHUGE_LIGHT"),
    (0x10_0cca, "GFP_HIGHUSER_MOVABLE"),
    (0x10_0cc2, "GFP_HIGHUSER"),
    (0x10_0cc0, "GFP_USER"),
    (0x40_0cc0, "GFP_KERNEL_ACCOUNT"),
    (0xcc0, "GFP_KERNEL"),
    (0xc40, "GFP_NOFS"),
    (0x820, "GFP_ATOMIC"),
    (0xc00, "GFP_NOIO"),
    (0x800, "GFP_NOWAIT"),
    (0x1, "GFP_DMA"),
    (0x2, "__GFP_HIGHMEM"),
    (0x4, "GFP_DMA32"),
    (0x20, "__GFP_HIGH"),
    (0x40, "__GFP_IO"),
    (0x80, "__GFP_FS"),
    (0x2000, "__GFP_NOWARN"),
    (0x4000, "__GFP_RETRY_MAYFAIL"),
    (0x8000, "__GFP_NOFAIL"),
    (0x1_0000, "__GFP_NORETRY"),
    (0x4_0000, "__GFP_COMP"),
    (0x100, "__GFP_ZERO"),
    (0x8_0000, "__GFP_NOMEMALLOC"),
    (0x2_0000, "__GFP_MEMALLOC"),
    (0x10_0000, "__GFP_HARDWALL"),
    (0x20_0000, "__GFP_THISNODE"),
    (0x10, "__GFP_RECLAIMABLE"),
    (0x8, "__GFP_MOVABLE"),
    (0x40_0000, "__GFP_ACCOUNT"),
    (0x1000, "__GFP_WRITE"),
    (0xc00, "__GFP_RECLAIM"),
    (0x400, "__GFP_DIRECT_RECLAIM"),
    (0x800, "__GFP_KSWAPD_RECLAIM"),
    (0x80_0000, "__GFP_ZEROTAGS"),
    (0x100_0000, "__GFP_SKIP_ZERO"),
    (0x200_0000, "__GFP_SKIP_KASAN"),
    (0x400_0000, "__GFP_NOLOCKDEP"),
];

/// Appends allocation flags by name, `A|B`; what has no name as one number.
pub fn gfp_flags(out: &mut Vec<u8>, flags: u64) {
    let start = out.len();
    let mut rest = flags;
    for (mask, name) in GFP {
        let mask = u64::from(mask);
        if rest & mask == mask {
            rest &= !mask;
            if out.len() > start {
                out.push(b'|');
            }
            out.extend_from_slice(name.as_bytes());
        }
    }
    if out.len() == start {
        if rest == 0 {
            out.push(b'0');
        } else {
            super::number::hex(out, rest);
        }
    } else if rest != 0 {
        out.push(b'|');
        super::number::hex(out, rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gfp(flags: u64) -> String {
        let mut out = Vec::new();
        gfp_flags(&mut out, flags);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn allocation_flags_have_names() {
        assert_eq!(gfp(0xcc0), "GFP_KERNEL");
        assert_eq!(gfp(0xdc0), "GFP_KERNEL|__GFP_ZERO");
        assert_eq!(gfp(0x820), "GFP_ATOMIC");
        assert_eq!(gfp(0x10_0cca), "GFP_HIGHUSER_MOVABLE");
        assert_eq!(gfp(0), "0");
        assert_eq!(gfp(0x8000_0000), "0x80000000");
        assert_eq!(gfp(0x8000_0cc0), "GFP_KERNEL|0x80000000");
    }

    #[test]
    fn bits_have_names() {
        let known =
            [("NONE", 0), ("A", 1), ("B", 2), ("AB", 3), ("C", 8), ("ALSO_C", 8)].map(|(n, v)| (n.to_owned(), v));
        let text = |known: &[(String, i64)], value| {
            let mut out = Vec::new();
            flags(&mut out, known, value);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(&known, 0), "NONE");
        assert_eq!(text(&known, 3), "AB");
        assert_eq!(text(&known, 9), "A|C");
        assert_eq!(text(&known, 0x1b), "AB|C|0x10");
        assert_eq!(text(&known, 0x40), "0x40");
        assert_eq!(text(&[], 0), "0");
    }

    #[test]
    fn names_of_processes_outlive_them() {
        let mut processes = Processes::default();
        assert!(!processes.name(std::process::id()).is_empty());
        assert_eq!(processes.name(u32::MAX), b"");
        processes.0.insert(u32::MAX, b"gone".to_vec());
        assert_eq!(processes.name(u32::MAX), b"gone");
    }

    #[test]
    fn the_user_table_is_read() {
        let users = parse_passwd(b"root:x:0:0:root:/root:/bin/sh\nbroken\nfoo:x:notanumber:\nbar:x:12:\nroot2:x:0:\n");
        assert_eq!(users.get(&0).map(Vec::as_slice), Some(&b"root"[..]));
        assert_eq!(users.get(&12).map(Vec::as_slice), Some(&b"bar"[..]));
        assert_eq!(users.len(), 2);
    }

    #[test]
    fn control_groups_are_found_by_inode() {
        let root = std::env::temp_dir().join(format!("rt-cgroups-{}", std::process::id()));
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("cgroup.controllers"), "").unwrap();
        let mut cgroups = Cgroups { read: Some(Instant::now()), ..Cgroups::default() };
        cgroups.load(&root);
        assert_eq!(cgroups.path(fs::metadata(&root).unwrap().ino()), b"unified:/");
        assert_eq!(cgroups.path(fs::metadata(root.join("a/b")).unwrap().ino()), b"unified:/a/b");
        assert_eq!(cgroups.path(u64::MAX), b"");
        fs::remove_dir_all(&root).unwrap();
    }
}
