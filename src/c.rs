//! Imported C: compiled to bitcode by an installed clang, which code generation links.

use crate::Failure;
use rtrace_codegen::Bitcode;
use rtrace_lang::arch::Arch;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The newest clang whose bitcode LLVM 22, which is linked here, reads; and the oldest that is worth a try.
const NEWEST: u32 = 22;
const OLDEST: u32 = 11;

/// Compiles a file for BPF. Nothing is written to disk.
pub fn compile(file: &str, folders: &[PathBuf]) -> Result<Bitcode, Failure> {
    let Some(clang) = find_clang() else {
        return Err(Failure::plain(
            format!("cannot compile {file}: clang not found"),
            Some(
                "install clang: apt install clang (Debian, Ubuntu), dnf install clang (Fedora); or set RTRACE_CLANG to its path",
            ),
        ));
    };
    let arch = Arch::HOST.folder();
    let mut command = Command::new(&clang);
    command.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c", "-emit-llvm", "-fno-stack-protector"]);
    command.arg(format!("-D__TARGET_ARCH_{arch}"));
    for folder in folders {
        command.arg("-I").arg(folder);
    }
    // The folder that asm/types.h is in, which clang knows for the host only.
    let multiarch = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    command.args(["-idirafter", &multiarch, "-x", "c", file, "-o", "-"]).stdin(Stdio::null());
    let name = clang.display();
    let output = command.output().map_err(|e| Failure::plain(format!("cannot run {name}: {e}"), None))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let text = format!("{said}error: {name} cannot compile {file}\n");
        return Err(Failure::text(text));
    }
    eprint!("{said}");
    Ok(Bitcode { name: file.to_owned(), bytes: output.stdout })
}

/// `RTRACE_CLANG`, else the newest of those in the search path whose bitcode can be read, else `clang`.
fn find_clang() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("RTRACE_CLANG").filter(|n| !n.is_empty()) {
        let named = PathBuf::from(named);
        return if named.components().count() > 1 { named.is_file().then_some(named) } else { in_path(&named) };
    }
    let versioned = (OLDEST..=NEWEST).rev().map(|v| PathBuf::from(format!("clang-{v}")));
    versioned.chain([PathBuf::from("clang")]).find_map(|name| in_path(&name))
}

fn in_path(name: &Path) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|f| f.join(name)).find(|p| p.is_file())
}
