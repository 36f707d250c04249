//! Source lines: where the code of a line begins.

use rtrace_core::nearest::nearest;
use std::path::{Component, Path, PathBuf};

use rtrace_core::kernel::KernelError;

use super::{At, Beginning, Debug, Missing};

/// The reason why a line has no address.
#[derive(Debug, PartialEq)]
pub enum NoLine {
    /// No unit was compiled of such a file; the one whose name is nearest.
    NoFile(Option<String>),
    /// Several files are called so.
    Ambiguous(Vec<String>),
    /// The lines with code nearest before and after it.
    NoCode(Option<u64>, Option<u64>),
    /// The functions around it are in a file that is not there.
    Split(Missing),
}

impl NoLine {
    /// In words.
    pub fn explain(self, path: &str, file: &str, line: u64) -> KernelError {
        match self {
            NoLine::NoFile(near) => KernelError {
                message: format!("no part of {path} was compiled from `{file}`"),
                help: near.map(|n| format!("did you mean `{n}`?")),
            },
            NoLine::Ambiguous(paths) => KernelError {
                message: format!("`{file}` is ambiguous: {}", paths.join(", ")),
                help: Some("specify more of its path".to_owned()),
            },
            NoLine::Split(missing) => missing.explain(),
            NoLine::NoCode(before, after) => {
                let near: Vec<String> = [before, after].into_iter().flatten().map(|l| l.to_string()).collect();
                let help = (!near.is_empty()).then(|| format!("the nearest lines with code: {}", near.join(" and ")));
                KernelError { message: format!("line {line} of {file} has no code in {path}"), help }
            }
        }
    }
}

impl Debug {
    /// The places where the code of a line begins: one for each function, and each inlined copy, that the line
    /// became part of.
    pub fn line(&self, file: &str, line: u64, column: Option<u64>) -> Result<Vec<Beginning>, NoLine> {
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut names = Vec::new();
        let mut places: Vec<u64> = Vec::new();
        let (mut before, mut after) = (None, None);
        for number in 0..self.headers.len() {
            let Some(unit) = self.skeleton(number) else { continue };
            let Some(program) = unit.unit.line_program.clone() else { continue };
            let header = program.header();
            let first = if header.version() >= 5 { 0 } else { 1 };
            let mut files = Vec::new();
            for index in first..first + header.file_names().len() as u64 {
                let Some(path) = source_file(unit, header, index) else { continue };
                if ends_with(&path, Path::new(file)) {
                    files.push(index);
                    if !paths.contains(&path) {
                        paths.push(path);
                    }
                } else if let Some(name) = path.file_name() {
                    names.push(name.to_string_lossy().into_owned());
                }
            }
            if files.is_empty() {
                continue;
            }
            let mut rows = program.rows();
            while let Ok(Some((_, row))) = rows.next_row() {
                if !row.is_stmt() || row.end_sequence() || !files.contains(&row.file_index()) {
                    continue;
                }
                let found = row.line().map_or(0, |l| l.get());
                let at = match row.column() {
                    gimli::ColumnType::LeftEdge => 0,
                    gimli::ColumnType::Column(c) => c.get(),
                };
                if found == line && column.is_none_or(|c| c == at) {
                    places.push(row.address());
                } else if found != 0 && found < line {
                    before = before.max(Some(found));
                } else if found > line {
                    after = Some(after.map_or(found, |a: u64| a.min(found)));
                }
            }
        }
        if paths.len() > 1 {
            return Err(NoLine::Ambiguous(paths.iter().map(|p| p.to_string_lossy().into_owned()).collect()));
        }
        if paths.is_empty() {
            let wanted = Path::new(file).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let near = nearest(&wanted, names.iter().map(String::as_str));
            return Err(NoLine::NoFile(near));
        }
        places.sort_unstable();
        places.dedup();
        // Of each function, or copy of one, the first: it runs once each time.
        let mut seen: Vec<At> = Vec::new();
        let mut found = Vec::new();
        for address in places {
            let around = self.around(address).map_err(NoLine::Split)?;
            let Some(innermost) = around.last() else { continue };
            if !seen.contains(innermost) {
                seen.push(*innermost);
                let function = around.first().and_then(|at| self.name(*at)).unwrap_or_default();
                found.push(Beginning { address, function });
            }
        }
        if found.is_empty() { Err(NoLine::NoCode(before, after)) } else { Ok(found) }
    }
}

/// The path of a source file, as whole as the debug information has it.
fn source_file(
    unit: gimli::UnitRef<'_, super::Reader>,
    header: &gimli::LineProgramHeader<super::Reader>,
    index: u64,
) -> Option<PathBuf> {
    let file = header.file(index)?;
    let mut path = PathBuf::new();
    if let Some(folder) = unit.unit.comp_dir {
        path.push(folder.to_string_lossy().as_ref());
    }
    if let Some(folder) = file.directory(header).and_then(|d| unit.attr_string(d).ok()) {
        path.push(folder.to_string_lossy().as_ref());
    }
    path.push(unit.attr_string(file.path_name()).ok()?.to_string_lossy().as_ref());
    Some(plain(&path))
}

/// Without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

fn ends_with(path: &Path, end: &Path) -> bool {
    path.ends_with(plain(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_by_their_ends() {
        let path = plain(Path::new("/build/src/../src/./shell.c"));
        assert_eq!(path, Path::new("/build/src/shell.c"));
        assert!(ends_with(&path, Path::new("shell.c")) && ends_with(&path, Path::new("./src/shell.c")));
        assert!(!ends_with(&path, Path::new("ell.c")) && !ends_with(&path, Path::new("other/shell.c")));
    }
}
