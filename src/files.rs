//! The files that scripts name: imports and headers.

use crate::Failure;
use crate::compile::read_all;
use rtrace_lang::imports::{Imported, Loader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files that scripts name.
pub struct Files<'c> {
    /// `-I`
    pub folders: &'c [PathBuf],
}

impl Loader for Files<'_> {
    fn import(&mut self, importer: &str, path: &str) -> Result<Vec<Imported>, String> {
        find_import(importer, path)
    }

    fn header(&mut self, importer: &str, path: &str) -> Option<Imported> {
        let beside = Path::new(importer).parent().unwrap_or(Path::new(""));
        let places = std::iter::once(beside).chain(self.folders.iter().map(PathBuf::as_path));
        let found = places.map(|p| p.join(path)).find_map(|p| p.canonicalize().ok().filter(|p| p.is_file()))?;
        let name = found.display().to_string();
        let text = read_all(&mut std::fs::File::open(&found).ok()?, &name).ok()?;
        Some(Imported { name, text })
    }
}

/// `import "path"`: relative to the importing file, else a module that comes with rtrace; a folder stands for its
/// scripts and C files, in order of their names.
fn find_import(importer: &str, path: &str) -> Result<Vec<Imported>, String> {
    let folder = Path::new(importer).parent().unwrap_or(Path::new(""));
    let place = folder.join(path);
    let place = match (place.canonicalize(), rtrace_stdlib::module(path)) {
        (Ok(place), _) => place,
        (Err(_), Some(text)) => return Ok(vec![Imported { name: format!("stdlib/{path}.rt"), text: text.to_owned() }]),
        (Err(e), None) => {
            let modules: Vec<&str> = rtrace_stdlib::MODULES.iter().map(|m| m.name).collect();
            let have = format!("modules that come with rtrace: {}", modules.join(", "));
            return Err(format!("cannot import {}: {e} ({have})", place.display()));
        }
    };
    let mut files = vec![place.clone()];
    if place.is_dir() {
        let entries = std::fs::read_dir(&place).map_err(|e| format!("cannot read {}: {e}", place.display()))?;
        files = entries.flatten().map(|e| e.path()).collect();
        files.retain(|p| [".rt", ".bt", ".bpf.c", ".h"].iter().any(|end| p.to_string_lossy().ends_with(end)));
        files.sort();
    }
    files.iter().map(|p| import_file(p)).collect()
}

fn import_file(path: &Path) -> Result<Imported, String> {
    // Whoever may put files beside a script that root runs is root.
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mode = std::fs::metadata(folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?.mode();
    if mode & 0o002 != 0 {
        return Err(format!("{} is writable by everyone: nothing is imported from it", folder.display()));
    }
    let name = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(mut file) => {
            let text = read_all(&mut file, &name).map_err(|Failure { text, .. }| text.trim_end().to_owned())?;
            Ok(Imported { name, text })
        }
        Err(e) => Err(format!("cannot import {name}: {e}")),
    }
}
