//! The files that have their table, and those that could not be read.

use super::Key;
use rtrace_sys::stamp::{Stamp, stamp};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often to ask whether files were changed, and to try one again that could not be read.
const AGAIN: Duration = Duration::from_secs(1);
/// A table stays so long at least, even if another one finds no room: where more files than there is room for run all
/// the time, tables must not be made all the time.
const AT_LEAST: Duration = Duration::from_secs(10);
/// Files that could not be read and are remembered.
const FAILED: usize = 4096;

struct Made {
    when: Instant,
    /// The path of the file at the time; none if it no longer has one.
    seen: Option<(PathBuf, Stamp)>,
}

pub struct Known {
    made: HashMap<Key, Made>,
    failed: HashMap<Key, Instant>,
    checked: Instant,
}

impl Known {
    pub fn new() -> Known {
        Known { made: HashMap::new(), failed: HashMap::new(), checked: Instant::now() }
    }

    /// Whether to make a table of a file now.
    pub fn wants(&self, file: &Key) -> bool {
        !self.made.contains_key(file) && self.failed.get(file).is_none_or(|t| t.elapsed() >= AGAIN)
    }

    /// A file has its table. The stamp is of the time before it was read.
    pub fn made(&mut self, file: Key, path: &Path, stamp: Option<Stamp>) {
        self.failed.remove(&file);
        let seen = stamp.map(|stamp| (path.to_owned(), stamp));
        self.made.insert(file, Made { when: Instant::now(), seen });
    }

    /// A file has no table, for now.
    pub fn failed(&mut self, file: Key) {
        if self.failed.len() >= FAILED {
            self.failed.clear();
        }
        self.failed.insert(file, Instant::now());
    }

    /// Forgets the file whose table is the oldest, if that may make room for another.
    pub fn give_up_oldest(&mut self) -> Option<Key> {
        let (file, made) = self.made.iter().min_by_key(|(_, made)| made.when)?;
        let file = *file;
        (made.when.elapsed() >= AT_LEAST).then(|| self.made.remove(&file)).flatten().map(|_| file)
    }

    /// Forgets the files that were written, replaced or deleted since the last time, when it is time to look: device
    /// and inode may be those of another file by now. Processes that still run one ask for it again.
    pub fn give_up_changed(&mut self) -> Vec<Key> {
        if self.checked.elapsed() < AGAIN {
            return Vec::new();
        }
        self.checked = Instant::now();
        let changed = |made: &Made| made.seen.as_ref().is_some_and(|(path, then)| stamp(path) != Some(*then));
        self.made.extract_if(|_, made| changed(made)).map(|(file, _)| file).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;

    fn ago(time: Duration) -> Instant {
        Instant::now().checked_sub(time).unwrap()
    }

    #[test]
    fn files_that_could_not_be_read_are_tried_again() {
        let (mut known, file) = (Known::new(), key(1, 2));
        assert!(known.wants(&file));
        known.failed(file);
        assert!(!known.wants(&file));
        known.failed.insert(file, ago(AGAIN));
        assert!(known.wants(&file));
        known.made(file, Path::new("/nowhere"), None);
        assert!(!known.wants(&file));
    }

    #[test]
    fn the_oldest_table_makes_room() {
        let mut known = Known::new();
        assert_eq!(known.give_up_oldest(), None);
        for n in 0..3 {
            known.made(key(1, n), Path::new("/nowhere"), None);
        }
        assert_eq!(known.give_up_oldest(), None);
        known.made.get_mut(&key(1, 1)).unwrap().when = ago(AT_LEAST);
        assert_eq!(known.give_up_oldest(), Some(key(1, 1)));
        assert!(known.wants(&key(1, 1)) && !known.wants(&key(1, 0)));
    }

    #[test]
    fn files_that_are_written_anew_lose_their_table() {
        let path = std::env::temp_dir().join(format!("rt-known-{}", std::process::id()));
        std::fs::write(&path, "one").unwrap();
        let mut known = Known::new();
        known.made(key(1, 2), &path, stamp(&path));
        known.made(key(1, 3), &path, None);
        known.checked = ago(AGAIN);
        assert!(known.give_up_changed().is_empty());
        std::fs::write(&path, "three").unwrap();
        assert!(known.give_up_changed().is_empty());
        known.checked = ago(AGAIN);
        assert_eq!(known.give_up_changed(), [key(1, 2)]);
        known.made(key(1, 2), &path, stamp(&path));
        std::fs::remove_file(&path).unwrap();
        known.checked = ago(AGAIN);
        assert_eq!(known.give_up_changed(), [key(1, 2)]);
    }
}
