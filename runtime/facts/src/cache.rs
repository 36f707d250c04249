//! The list of traceable functions, kept from one command to the next.
//!
//! Making `available_filter_functions` costs the kernel 10,000 instructions a function, half a second under
//! emulation, and the list changes only when a module comes or goes. Owns /run/rtrace/functions: when it may be
//! used (the key), who may have written it, how it is replaced. One file: a header with the key, the length and a
//! checksum, then the list as `functions.rs` makes it. Root only. Whatever is wrong with the file or its folder, it is
//! as if it were not there; a list that cannot be written is made again by the next command.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rtrace_sys::files;

const FOLDER: &str = "/run/rtrace";
const FILE: &str = "functions";
/// First in the header. To be raised when the form of the list changes, or what is left out of it.
const FORMAT: &str = "rtrace-functions-2";
/// No kernel has a list this long: a file that has is not ours.
const MOST: u64 = 64 << 20;
/// The length of the header after the key: length and checksum, in 16 digits each.
const NUMBERS: usize = 16 + 1 + 16 + 1;

/// The key of a list: everything that it depends on. Lists with equal keys are equal.
#[derive(Clone, Debug, PartialEq)]
pub struct Key(String);

impl Key {
    /// The key of a list that is made now. `None` while a module is being loaded or unloaded, when the list has
    /// functions that will be gone in a moment, and where the system does not tell what the key needs.
    pub fn now(with_blacklist: bool) -> Option<Key> {
        let word = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().replace(char::is_whitespace, "_"));
        let boot = word("/proc/sys/kernel/random/boot_id")?;
        let release = word("/proc/sys/kernel/osrelease")?;
        let modules = match fs::read("/proc/modules") {
            // A kernel without modules.
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            other => other.ok()?,
        };
        // The inode of a module's folder is new each time it is loaded: a module that was changed, built and loaded
        // again has the same size (in pages) and often the same address.
        let mut facts = Vec::new();
        for entry in fs::read_dir("/sys/module").ok()? {
            let entry = entry.ok()?;
            facts.extend_from_slice(entry.file_name().as_encoded_bytes());
            facts.push(b' ');
            facts.extend_from_slice(&entry.ino().to_le_bytes());
        }
        Key::from_facts(&boot, &release, &modules, facts, with_blacklist)
    }

    fn from_facts(boot: &str, release: &str, modules: &[u8], mut facts: Vec<u8>, with_blacklist: bool) -> Option<Key> {
        // `NAME SIZE REFERENCES USERS STATE ADDRESS`: references and users change all the time.
        for line in modules.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let mut words = line.split(|b| *b == b' ');
            let (name, size) = (words.next()?, words.next()?);
            let (state, address) = (words.nth(2)?, words.next()?);
            if state != b"Live" {
                return None;
            }
            for word in [name, size, address] {
                facts.extend_from_slice(word);
                facts.push(b' ');
            }
        }
        let version = env!("CARGO_PKG_VERSION");
        let blacklist = u8::from(with_blacklist);
        let sum = checksum(&facts);
        Some(Key(format!("{FORMAT} {version} {boot} {release} {blacklist} {sum:016x} ")))
    }
}

/// A file with a list.
pub struct Cache {
    folder: PathBuf,
    /// The required owner of the directory and the file.
    owner: u32,
}

impl Cache {
    /// The cache of this machine; `None` for all but root, who alone can read what is cached.
    pub fn of_root() -> Option<Cache> {
        (files::effective_user() == 0).then(|| Cache { folder: PathBuf::from(FOLDER), owner: 0 })
    }

    /// The list that was written with this key, if all of it is there and nothing else.
    pub fn read(&self, key: &Key) -> Option<Vec<u8>> {
        if !self.is_ours() {
            return None;
        }
        let path = self.folder.join(FILE);
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let facts = file.metadata().ok()?;
        if !facts.is_file() || facts.uid() != self.owner || facts.mode() & 0o022 != 0 || facts.len() > MOST {
            return None;
        }
        let mut header = vec![0; key.0.len() + NUMBERS];
        file.read_exact(&mut header).ok()?;
        let numbers = std::str::from_utf8(header.strip_prefix(key.0.as_bytes())?).ok()?;
        let (length, sum) = numbers.strip_suffix('\n')?.split_once(' ')?;
        let length = usize::from_str_radix(length, 16).ok()?;
        let sum = u64::from_str_radix(sum, 16).ok()?;
        if length as u64 > MOST {
            return None;
        }
        let mut list = Vec::with_capacity(length + 1);
        file.take(length as u64 + 1).read_to_end(&mut list).ok()?;
        (list.len() == length && list.ends_with(b"\n") && checksum(&list) == sum).then_some(list)
    }

    /// Replaces the list. A reader sees the old file or the new one.
    pub fn write(&self, key: &Key, list: &[u8]) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        if !self.is_ours() {
            return Err(ErrorKind::PermissionDenied.into());
        }
        self.sweep();
        let new = self.folder.join(format!("{FILE}.{}", std::process::id()));
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&new)?;
        let written = (|| {
            writeln!(file, "{}{:016x} {:016x}", key.0, list.len(), checksum(list))?;
            file.write_all(list)?;
            fs::rename(&new, self.folder.join(FILE))
        })();
        written.inspect_err(|_| drop(fs::remove_file(&new)))
    }

    /// Whether nobody but the owner can have put something into the folder, or the folder there.
    fn is_ours(&self) -> bool {
        let own = |path: &Path, sticky_will_do: bool| {
            fs::symlink_metadata(path).is_ok_and(|facts| {
                let protected = facts.mode() & 0o022 == 0 || (sticky_will_do && facts.mode() & libc::S_ISVTX != 0);
                facts.is_dir() && facts.uid() == self.owner && protected
            })
        };
        self.folder.parent().is_some_and(|parent| own(parent, true)) && own(&self.folder, false)
    }

    /// Removes what commands that were killed while writing left behind.
    fn sweep(&self) {
        const ABANDONED: Duration = Duration::from_secs(60);
        let old = |entry: &fs::DirEntry| {
            let written = entry.metadata().and_then(|facts| facts.modified());
            written.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > ABANDONED))
        };
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let unfinished = name.as_encoded_bytes().strip_prefix(FILE.as_bytes()).is_some_and(|r| r.starts_with(b"."));
            if unfinished && old(&entry) {
                // Failing, it stays until the next time.
                drop(fs::remove_file(entry.path()));
            }
        }
    }
}

/// Finds damage, not malice: eight bytes at a time, so that it costs a thousandth of making the list.
fn checksum(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mix = |sum: u64, word: &[u8; 8]| (sum ^ u64::from_le_bytes(*word)).wrapping_mul(ODD).rotate_left(29);
    let sum = words.iter().chain([&last]).fold(bytes.len() as u64, mix);
    mix(sum, &[0; 8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const MODULES: &str = "dummy 12288 0 - Live 0xffffffffc0442000\next4 1142784 2 - Live 0xffffffffc0255000\n";
    const LIST: &[u8] = b"nft_do_chain\tnf_tables\nvfs_read\n";

    fn key(modules: &str, facts: &str) -> Option<Key> {
        Key::from_facts("0b7c", "6.12.1", modules.as_bytes(), facts.as_bytes().to_vec(), true)
    }

    /// A cache below a folder of the test's own, which is removed at the end.
    struct Scratch(Cache, PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let outer = std::env::temp_dir().join(format!("rtrace-cache-{name}-{}", std::process::id()));
            fs::create_dir(&outer).expect("a temporary folder");
            let owner = fs::metadata(&outer).expect("facts").uid();
            Scratch(Cache { folder: outer.join("rtrace"), owner }, outer)
        }

        fn file(&self) -> PathBuf {
            self.0.folder.join(FILE)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.1));
        }
    }

    #[test]
    fn keys_tell_modules_apart_and_not_their_use() {
        let first = key(MODULES, "dummy 1").expect("a key");
        let used = MODULES.replace("dummy 12288 0 -", "dummy 12288 3 bond,team,");
        assert_eq!(key(&used, "dummy 1"), Some(first.clone()));
        for (from, to) in [("12288", "16384"), ("c0442000", "c0443000"), ("dummy", "dimmy")] {
            assert_ne!(key(&MODULES.replace(from, to), "dummy 1"), Some(first.clone()), "{from}");
        }
        assert_ne!(key("", "dummy 1"), Some(first.clone()));
        assert_ne!(key(MODULES, "dummy 2"), Some(first.clone()), "loaded again");
        assert_ne!(Key::from_facts("0b7c", "6.12.1", MODULES.as_bytes(), b"dummy 1".to_vec(), false), Some(first));
        assert_eq!(key(&MODULES.replace("- Live 0xffffffffc0442000", "- Loading 0x0"), ""), None);
        assert_eq!(key("nonsense", ""), None);
        assert!(key("taint 4096 1 - Live 0x0 (OE)\n", "").is_some());
    }

    #[test]
    fn what_was_written_is_read_with_its_key_only() {
        let scratch = Scratch::new("written");
        let (cache, first) = (&scratch.0, key(MODULES, "").expect("a key"));
        assert_eq!(cache.read(&first), None);
        cache.write(&first, LIST).expect("written");
        assert_eq!(cache.read(&first).as_deref(), Some(LIST));
        assert_eq!(fs::metadata(&cache.folder).expect("facts").mode() & 0o777, 0o700);
        let second = key("", "").expect("a key");
        assert_eq!(cache.read(&second), None);
        cache.write(&second, b"vfs_read\n").expect("written");
        assert_eq!((cache.read(&first), cache.read(&second)), (None, Some(b"vfs_read\n".to_vec())));
        assert_eq!(fs::read_dir(&cache.folder).expect("a folder").count(), 1);
    }

    #[test]
    fn damaged_files_are_as_none() {
        let scratch = Scratch::new("damaged");
        let (cache, key) = (&scratch.0, key(MODULES, "").expect("a key"));
        cache.write(&key, LIST).expect("written");
        let good = fs::read(scratch.file()).expect("readable");
        for length in 0..good.len() {
            fs::write(scratch.file(), good.get(..length).expect("a part")).expect("written");
            assert_eq!(cache.read(&key), None, "cut to {length}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            *bad.get_mut(at).expect("a byte") ^= 0x21;
            fs::write(scratch.file(), bad).expect("written");
            assert_eq!(cache.read(&key), None, "byte {at}");
        }
        fs::write(scratch.file(), [good.as_slice(), b"x\n"].concat()).expect("written");
        assert_eq!(cache.read(&key), None, "longer");
        let huge = format!("{}{:016x} {:016x}\n", key.0, u64::MAX, 0);
        fs::write(scratch.file(), huge).expect("written");
        assert_eq!(cache.read(&key), None, "a length that cannot be");
        cache.write(&key, LIST).expect("written over it");
        assert_eq!(cache.read(&key).as_deref(), Some(LIST));
    }

    #[test]
    fn files_and_folders_of_others_are_refused() {
        let scratch = Scratch::new("others");
        let (cache, key) = (&scratch.0, key(MODULES, "").expect("a key"));
        cache.write(&key, LIST).expect("written");
        let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
        for (path, bad, good) in
            [(scratch.file(), 0o602, 0o600), (cache.folder.clone(), 0o777, 0o700), (scratch.1.clone(), 0o777, 0o1777)]
        {
            allow(&path, bad);
            assert_eq!(cache.read(&key), None, "{}", path.display());
            allow(&path, good);
            assert!(cache.read(&key).is_some(), "{}", path.display());
        }
        let other = Cache { folder: cache.folder.clone(), owner: cache.owner + 1 };
        assert_eq!(other.read(&key), None);
        assert!(other.write(&key, LIST).is_err());
        let elsewhere = scratch.1.join("elsewhere");
        fs::rename(scratch.file(), &elsewhere).expect("moved");
        symlink(&elsewhere, scratch.file()).expect("a link");
        assert_eq!(cache.read(&key), None);
        // The link is replaced, and what it points to is left alone.
        cache.write(&key, b"x\n").expect("written");
        assert_eq!(cache.read(&key).as_deref(), Some(b"x\n".as_slice()));
        assert!(fs::read(&elsewhere).expect("readable").ends_with(LIST));
        let moved = scratch.1.join("moved");
        fs::rename(&cache.folder, &moved).expect("moved");
        symlink(&moved, &cache.folder).expect("a link");
        assert_eq!(cache.read(&key), None);
        assert!(cache.write(&key, LIST).is_err());
    }

    #[test]
    fn unfinished_files_are_swept_when_they_are_old() {
        let scratch = Scratch::new("swept");
        let (cache, key) = (&scratch.0, key(MODULES, "").expect("a key"));
        cache.write(&key, LIST).expect("written");
        for (name, age) in [("functions.1", 3600), ("functions.2", 0), ("other", 3600)] {
            let file = File::create(cache.folder.join(name)).expect("a file");
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age)).expect("aged");
        }
        cache.write(&key, LIST).expect("written");
        let left = |name: &str| cache.folder.join(name).exists();
        assert_eq!([left("functions.1"), left("functions.2"), left("other")], [false, true, true]);
    }
}
