//! "Did you mean": the one rule for which of the known words is near enough to an unknown one to be named.

/// Keeps the candidate nearest to a word, for "did you mean".
pub struct Nearest<'w> {
    word: &'w str,
    best: Option<(f64, String)>,
}

impl<'w> Nearest<'w> {
    pub fn new(word: &'w str) -> Nearest<'w> {
        Nearest { word, best: None }
    }

    pub fn offer(&mut self, candidate: &[u8]) {
        /// Below this, names have little in common.
        const NEAR: f64 = 0.75;
        // Comparing costs the product of the lengths: names of quite another length cannot be near.
        if candidate.len().abs_diff(self.word.len()) > 2 + self.word.len() / 3 {
            return;
        }
        let Ok(candidate) = std::str::from_utf8(candidate) else { return };
        let likeness = strsim::normalized_damerau_levenshtein(self.word, candidate);
        if likeness >= NEAR && self.best.as_ref().is_none_or(|(known, _)| likeness > *known) {
            self.best = Some((likeness, candidate.to_owned()));
        }
    }

    pub fn take(self) -> Option<String> {
        self.best.map(|(_, name)| name)
    }
}
