//! "Did you mean": the one rule for which of the known words is near enough to an unknown one to be named.

/// Keeps the candidate nearest to a word.
#[derive(Debug)]
pub struct Nearest<'w> {
    word: &'w str,
    best: Option<(Distance, String)>,
}

/// Edits, then the difference of the lengths: of words equally near, letters swapped are likelier than letters left out.
type Distance = (usize, usize);

/// The most edits between a word and one that may have been meant.
pub fn limit(word: &str) -> usize {
    // A name of one or two letters is near to everything.
    if word.len() < 3 { 0 } else { (word.len() / 3).min(3) }
}

impl<'w> Nearest<'w> {
    pub fn new(word: &'w str) -> Nearest<'w> {
        Nearest { word, best: None }
    }

    pub fn offer(&mut self, candidate: &[u8]) {
        let limit = limit(self.word);
        let longer = candidate.len().abs_diff(self.word.len());
        // Counting edits costs the product of the lengths.
        if longer > limit {
            return;
        }
        let Ok(candidate) = std::str::from_utf8(candidate) else { return };
        let distance = (strsim::osa_distance(candidate, self.word), longer);
        let better = |(known, name): &(Distance, String)| (distance, candidate) < (*known, name.as_str());
        if distance.0 <= limit && self.best.as_ref().is_none_or(better) {
            self.best = Some((distance, candidate.to_owned()));
        }
    }

    pub fn take(self) -> Option<String> {
        self.best.map(|(_, name)| name)
    }
}

/// The nearest of some words, if one is near enough.
pub fn nearest<'n>(word: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<String> {
    let mut best = Nearest::new(word);
    candidates.into_iter().for_each(|candidate| best.offer(candidate.as_bytes()));
    best.take()
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_and_far() {
        let near = |word, candidates: &[&str]| nearest(word, candidates.iter().copied());
        assert_eq!(near("kprob", &["uprobe", "kprobe"]).as_deref(), Some("kprobe"));
        assert_eq!(near("lne", &["line", "len"]).as_deref(), Some("len"), "letters swapped");
        assert_eq!(near("ab", &["ac"]), None);
        assert_eq!(near("vfs_read", &["vfs_read_iter_more", "vfs_reap"]).as_deref(), Some("vfs_reap"));
        assert_eq!(near("banana", &["kprobe"]), None);
        assert_eq!(near("abd", &["abe", "abc"]).as_deref(), Some("abc"), "the first by name of those equally near");
    }
}
