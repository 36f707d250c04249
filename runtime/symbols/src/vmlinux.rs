//! The locations of images of the running kernel with debug information, and how to install them.

use std::path::{Path, PathBuf};

/// The running kernel's release, as `uname -r` gives it.
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// An image of the running kernel, in the places where distributions put it, or where it was downloaded by build id.
pub fn find() -> Option<PathBuf> {
    let release = release();
    let mut places = vec![
        PathBuf::from(format!("/usr/lib/debug/boot/vmlinux-{release}")),
        PathBuf::from(format!("/usr/lib/debug/lib/modules/{release}/vmlinux")),
        PathBuf::from(format!("/usr/lib/debug/boot/vmlinux-{release}.debug")),
        PathBuf::from(format!("/lib/modules/{release}/build/vmlinux")),
        PathBuf::from(format!("/lib/modules/{release}/vmlinux")),
        PathBuf::from(format!("/boot/vmlinux-{release}")),
    ];
    if let Some(id) = std::fs::read("/sys/kernel/notes").ok().as_deref().and_then(build_id) {
        let (head, tail) = id.split_at(id.len().min(2));
        places.push(PathBuf::from(format!("/usr/lib/debug/.build-id/{head}/{tail}.debug")));
        places.extend(downloaded(&id));
    }
    places.into_iter().find(|p| p.is_file())
}

/// The cache directory of the debuginfod client.
fn downloaded(id: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DEBUGINFOD_CACHE_PATH").map(PathBuf::from).or_else(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
        cache.map(|c| c.join("debuginfod_client"))
    });
    Some(folder?.join(id).join("debuginfo"))
}

/// The GNU build id in a list of ELF notes, as hexadecimal digits.
fn build_id(notes: &[u8]) -> Option<String> {
    const BUILD_ID: u32 = 3;
    let mut rest = notes;
    loop {
        let word = |at: usize| rest.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b));
        let (name, length, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let start = 12 + name.next_multiple_of(4);
        if kind == BUILD_ID && rest.get(12..12 + name) == Some(b"GNU\0") {
            let bytes = rest.get(start..start.checked_add(length)?)?;
            return Some(bytes.iter().map(|b| format!("{b:02x}")).collect());
        }
        rest = rest.get(start.checked_add(length.next_multiple_of(4))?..)?;
    }
}

/// The debug information of a module of the running kernel.
pub fn find_module(name: &str) -> Option<PathBuf> {
    let release = release();
    // Files may have either character where names of modules have `_`.
    let plain = |text: &str| text.replace('-', "_");
    let wanted = plain(name);
    let matches = |path: &Path| {
        let file = path.file_name().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = file.strip_suffix(".debug").unwrap_or(&file);
        stem.strip_suffix(".ko").is_some_and(|stem| plain(stem) == wanted)
    };
    ["/usr/lib/debug/lib/modules", "/usr/lib/debug/usr/lib/modules", "/lib/modules"]
        .iter()
        .find_map(|folder| walk(&Path::new(folder).join(&release), &matches, 0))
}

/// The first file in a folder, or below, that a test picks.
fn walk(folder: &Path, picked: &dyn Fn(&Path) -> bool, depth: u32) -> Option<PathBuf> {
    const DEEPEST: u32 = 12;
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        match entry.file_type() {
            // Links lead to the sources that it was built of.
            Ok(kind) if kind.is_dir() => folders.push(path),
            Ok(_) if picked(&path) => return Some(path),
            _ => {}
        }
    }
    folders.iter().filter(|_| depth < DEEPEST).find_map(|f| walk(f, picked, depth + 1))
}

/// How one gets an image with debug information on this distribution.
pub fn how_to_get() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    format!("{}, or specify an image with --vmlinux FILE", advice(&text, &release()))
}

/// The same for an `os-release` file and a kernel.
fn advice(os: &str, release: &str) -> String {
    let field = |name: &str| {
        let line = os.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let (id, like) = (field("ID"), field("ID_LIKE"));
    let families = std::iter::once(id.as_str()).chain(like.split_whitespace());
    families
        .filter_map(|family| match family {
            "debian" => Some(format!("on Debian: apt install linux-image-{release}-dbg")),
            "ubuntu" => Some(format!(
                "on Ubuntu: add the archive of debug symbols (ddebs), then apt install linux-image-{release}-dbgsym"
            )),
            "fedora" | "rhel" | "centos" => {
                Some(format!("on Fedora and derivatives: dnf debuginfo-install kernel-core-{release}"))
            }
            "suse" | "opensuse" | "sles" => Some(
                "on SUSE: add the repository of debug information, then zypper install kernel-default-debuginfo"
                    .to_owned(),
            ),
            "arch" => Some("on Arch: debuginfod-find debuginfo, with the build id of the kernel".to_owned()),
            _ => None,
        })
        .next()
        .unwrap_or_else(|| "install the debug information of the kernel, or build it with CONFIG_DEBUG_INFO".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions() {
        let advised = |os: &str| advice(os, "6.12.1-x");
        assert!(advised("ID=debian\n").contains("linux-image-6.12.1-x-dbg"));
        assert!(advised("ID=ubuntu\nID_LIKE=debian\n").contains("linux-image-6.12.1-x-dbgsym"));
        assert!(advised("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n").contains("dnf debuginfo-install"));
        assert!(advised("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n").contains("zypper"));
        assert!(advised("").contains("CONFIG_DEBUG_INFO"));
    }

    #[test]
    fn notes() {
        let mut notes = Vec::new();
        for (name, kind, data) in [("Linux\0", 257u32, &[1u8, 2, 3, 4][..]), ("GNU\0", 3, &[0xab, 0xcd, 0x01])] {
            notes.extend((name.len() as u32).to_ne_bytes());
            notes.extend((data.len() as u32).to_ne_bytes());
            notes.extend(kind.to_ne_bytes());
            notes.extend(name.as_bytes());
            notes.resize(notes.len().next_multiple_of(4), 0);
            notes.extend(data);
            notes.resize(notes.len().next_multiple_of(4), 0);
        }
        assert_eq!(build_id(&notes).as_deref(), Some("abcd01"));
        assert_eq!(build_id(&notes[..20]), None);
        assert_eq!(build_id(&[]), None);
    }
}
