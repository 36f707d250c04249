//! Folders with files that a test makes, and programs that it compiles there.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of temporary files, which is deleted in the end.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A folder with these files, by relative path and contents. The name tells folders of one test binary apart.
    pub fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let folder = Folder(std::env::temp_dir().join(format!("rtrace-test-{name}-{}", std::process::id())));
        for (file, contents) in files {
            let path = folder.file(file);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a new folder");
            std::fs::write(path, contents).expect("a new file");
        }
        folder
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs a program in the folder, which must succeed. A missing tool is a failure, not a reason to skip: linking
    /// Rust needs `cc` and binutils anyway.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        let status = Command::new(program).args(arguments).current_dir(&self.0).status();
        assert!(status.is_ok_and(|s| s.success()), "{program} {arguments:?} in {}", self.0.display());
    }

    /// Moves the folder elsewhere.
    pub fn rename(&mut self) {
        let moved = self.0.with_extension("moved");
        std::fs::rename(&self.0, &moved).expect("a folder that can be moved");
        self.0 = moved;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
