//! Golden files: the expected output of a script lies beside it, with another ending. With `BLESS` in the environment,
//! a test writes what it found instead of comparing; the difference in git is then what to review.

use std::path::{Path, PathBuf};

/// The line before each script of a file that holds several, followed by its title.
const SEPARATOR: &str = "// --- ";

/// A path below the folder `tests` of the workspace.
pub fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(below)
}

/// Whether golden files are to be written.
pub fn blessing() -> bool {
    std::env::var_os("BLESS").is_some()
}

/// The scripts (`*.rt`) of a folder below `tests`, sorted.
pub fn scripts(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path(folder)).expect("the folder of golden files");
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "rt"));
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no scripts");
    paths
}

/// Compares the result of each script of a folder with the file of that ending beside it. An error is a result that
/// no golden file may hold.
pub fn check(folder: &str, ending: &str, result: impl Fn(&[u8]) -> Result<String, String>) {
    let mut wrong = Vec::new();
    for script in scripts(folder) {
        match result(&std::fs::read(&script).expect("a readable script")) {
            Ok(found) => wrong.extend(difference(&script.with_extension(ending), &found)),
            Err(text) => wrong.push(format!("{}\n{text}", script.display())),
        }
    }
    assert!(wrong.is_empty(), "these differ (BLESS=1 rewrites them):\n{}", wrong.join("\n"));
}

/// The same for files of several scripts, each after a line `// --- TITLE`.
pub fn check_sections(folder: &str, ending: &str, result: impl Fn(&str) -> Result<String, String>) {
    check(folder, ending, |text| {
        let sections = sections(std::str::from_utf8(text).expect("UTF-8"));
        assert!(!sections.is_empty(), "no line {SEPARATOR:?}");
        let part = |(title, script)| match result(script) {
            Ok(text) => Ok(format!("{SEPARATOR}{title}\n{text}")),
            Err(text) => Err(format!("{title}\n{text}")),
        };
        Ok(sections.into_iter().map(part).collect::<Result<Vec<_>, _>>()?.join("\n"))
    });
}

/// Compares a text with a golden file, or writes it; the difference, if there is one.
pub fn difference(golden: &Path, found: &str) -> Option<String> {
    if blessing() {
        std::fs::write(golden, found).expect("a writable golden file");
        return None;
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    (expected != found).then(|| format!("{}\n{found}", golden.display()))
}

/// The scripts of a file with their titles.
pub fn sections(text: &str) -> Vec<(&str, &str)> {
    let (_, first) = text.split_once(SEPARATOR).unwrap_or_default();
    let separator = format!("\n{SEPARATOR}");
    let parts = first.split(&separator[..]);
    parts.filter_map(|p| p.split_once('\n')).map(|(title, script)| (title, script.trim_matches('\n'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_have_titles() {
        let text = "// a comment\n// --- one\na\n\n// --- two\nb\nc\n";
        assert_eq!(sections(text), [("one", "a"), ("two", "b\nc")]);
        assert!(sections("a\n").is_empty());
    }
}
