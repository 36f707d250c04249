//! `--probe-filter`: which attach points of a script are used, by a regular expression over their full names.

use crate::bundle::Target;
use regex_lite::Regex;

/// A regular expression that is searched in the full names of attach points (`kprobe:vfs_read`).
#[derive(Clone, Debug)]
pub struct ProbeFilter(Regex);

impl ProbeFilter {
    /// The filter, or what is wrong with the expression.
    pub fn new(text: &str) -> Result<ProbeFilter, String> {
        Regex::new(text).map(ProbeFilter).map_err(|e| e.to_string())
    }

    /// The expression as written.
    pub fn text(&self) -> &str {
        self.0.as_str()
    }

    /// Whether a target of that name stays. What begins and ends a run, and signals, are not filtered.
    pub(crate) fn keeps(&self, target: &Target, name: &str) -> bool {
        matches!(target, Target::Begin | Target::End | Target::Signal { .. }) || self.0.is_match(name)
    }
}

impl PartialEq for ProbeFilter {
    fn eq(&self, other: &ProbeFilter) -> bool {
        self.text() == other.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        assert!(ProbeFilter::new("ms:1$").is_ok());
        assert!(ProbeFilter::new("(").is_err_and(|e| e.contains("open group")));
    }
}
