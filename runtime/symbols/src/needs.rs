//! The files that a program is loaded with: its interpreter and libraries.

use crate::{foreign, user};
use std::path::{Path, PathBuf};

/// The interpreter and the libraries that a file names.
pub fn needs(path: &Path) -> Vec<PathBuf> {
    const DT_NULL: u64 = 0;
    const DT_NEEDED: u64 = 1;
    const DT_RPATH: u64 = 15;
    const DT_RUNPATH: u64 = 29;
    let found = user::with_elf(&path.to_string_lossy(), |elf| {
        let data = |name| foreign::section(elf, name).unwrap_or_default();
        let (dynamic, names, interpreter) = (data(".dynamic"), data(".dynstr"), data(".interp"));
        let text = |bytes: &[u8]| {
            let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
            String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
        };
        let word =
            |entry: &[u8], at| entry.get(at..).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
        let entries = dynamic.chunks_exact(16).map(|e| (word(e, 0), word(e, 8)));
        let entries: Vec<(u64, String)> = entries
            .take_while(|e| e.0 != DT_NULL)
            .filter(|e| [DT_NEEDED, DT_RPATH, DT_RUNPATH].contains(&e.0))
            .map(|e| (e.0, text(names.get(e.1 as usize..).unwrap_or_default())))
            .collect();
        (entries, text(&interpreter))
    });
    let Ok((entries, interpreter)) = found else { return script_interpreter(path).into_iter().collect() };
    let origin = path.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let folders: Vec<PathBuf> = entries
        .iter()
        .filter(|e| e.0 != DT_NEEDED)
        .flat_map(|e| e.1.split(':'))
        .map(|f| PathBuf::from(f.replace("$ORIGIN", &origin).replace("${ORIGIN}", &origin)))
        .collect();
    let library = |name: &str| {
        let near = folders.iter().map(|f| f.join(name)).find(|p| p.is_file());
        near.or_else(|| user::library(name))
    };
    let needed = entries.iter().filter(|e| e.0 == DT_NEEDED).filter_map(|e| library(&e.1));
    let interpreter = Some(PathBuf::from(interpreter)).filter(|p| p.is_file());
    interpreter.into_iter().chain(needed).collect()
}

/// The program that runs a script.
fn script_interpreter(path: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut head = Vec::new();
    foreign::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = String::from_utf8_lossy(&head).into_owned();
    let mut words = line.strip_prefix("#!")?.lines().next()?.split_whitespace();
    let first = words.next()?;
    let path = match (first.ends_with("/env"), words.next()) {
        (true, Some(name)) => user::executables(name).into_iter().next()?,
        _ => first.to_owned(),
    };
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_a_program() {
        let needed = needs(&std::env::current_exe().unwrap());
        assert!(needed.iter().any(|p| p.to_string_lossy().contains("libc.so")), "{needed:?}");
        assert!(needed.iter().any(|p| p.to_string_lossy().contains("ld-linux")), "{needed:?}");
        assert_eq!(needs(Path::new("/nowhere")), [] as [PathBuf; 0]);
    }
}
