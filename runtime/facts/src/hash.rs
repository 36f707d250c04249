//! A hash for sets of many names.
//!
//! The standard library's withstands names that were chosen to collide, for ten times the instructions. The kernel's
//! names are not chosen so.

use std::hash::{BuildHasherDefault, Hasher};

pub type BuildNameHasher = BuildHasherDefault<NameHasher>;

/// Eight bytes at a time.
#[derive(Default)]
pub struct NameHasher(u64);

impl NameHasher {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        self.mix(rest.iter().fold(0, |last, byte| last << 8 | u64::from(*byte)));
    }

    fn write_usize(&mut self, length: usize) {
        self.mix(length as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::BuildHasher;

    #[test]
    fn names_that_differ_little_spread() {
        let names: Vec<String> = (0..20_000).map(|n| format!("__do_sys_number_{n}")).collect();
        let hash = |name: &String| BuildNameHasher::default().hash_one(name.as_bytes());
        let hashes: HashSet<u64> = names.iter().map(hash).collect();
        assert_eq!(hashes.len(), names.len());
        // What the table takes first: so many of 65,536 places are used by chance.
        let places: HashSet<u64> = names.iter().map(|n| hash(n) & 0xffff).collect();
        assert!(places.len() > 16_000, "{}", places.len());
    }
}
