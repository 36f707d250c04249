//! Imported C: compiled, its functions called with the types they have, and what is said when that cannot be.
//! They need clang and libclang, which `scripts/setup` installs. What the code does is tested by its instructions:
//! guests have no clang.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

/// A folder with the files of a test, which only its owner may write to; it goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let folder = std::env::temp_dir().join(format!("rtrace-c-{}-{name}", std::process::id()));
        for (file, text) in files {
            let path = folder.join(file);
            let parent = path.parent().unwrap();
            std::fs::create_dir_all(parent).expect("a folder for the test");
            std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o755)).expect("permissions");
            std::fs::write(&path, text).expect("a file for the test");
        }
        Folder(folder)
    }

    /// What `rtrace --emit STAGE s.rt` gives: standard output, then standard error.
    fn emit(&self, stage: &str, environment: &[(&str, &str)]) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtrace"));
        command.args(["--emit", stage, "s.rt"]).current_dir(&self.0);
        command.env_remove("RTRACE_CLANG").env_remove("LIBCLANG_PATH").envs(environment.iter().copied());
        let output = command.output().expect("rtrace");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (text(output.stdout), text(output.stderr))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FILE: &str = r#"
#include <stddef.h>
#define SEC(name) __attribute__((section(name), used))
char license[] SEC("license") = "GPL";
struct point { int x, y; };
static int helper(int a) { return a * 3; }
int triple(int a) { return helper(a) + 0; }
_Bool odd(unsigned char c) { return c & 1; }
unsigned int length(const char *text) { unsigned int n = 0; while (n < 16 && text[n]) n++; return n; }
__attribute__((noinline)) long plus(long a, long b) { return a + b; }
void nothing(void) {}
struct point *same(struct point *p) { return p; }
"#;

#[test]
fn functions_are_called_with_their_types() {
    let script = "import \"x.bpf.c\"\nbegin { print(triple(14)); print(odd(3)); print(length(\"four\")); \
                  print(plus(pid, -1)); nothing(); print(sizeof(*same(curtask))) }";
    let folder = Folder::new("types", &[("x.bpf.c", FILE), ("s.rt", script)]);
    let (out, err) = folder.emit("typed", &[]);
    assert_eq!(err, "");
    let plain = out.replace("(int32)14", "14").replace("(uint8)3", "3").replace("(uint64)8", "8");
    for expected in
        ["(int32)c:triple(14)", "(bool)c:odd(3)", "(uint32)c:length(\"four\")", "c:plus(", "c:nothing()", "send 4(8)"]
    {
        assert!(plain.contains(expected), "{expected} is not in\n{out}");
    }
    // They are part of the program: no calls are left but those of helpers, and constants are computed.
    let (out, err) = folder.emit("llvm-opt", &[]);
    assert_eq!(err, "");
    assert!(!out.contains("@triple") && !out.contains("@plus") && !out.contains("define internal"), "{out}");
    assert!(out.contains("i32 42"), "{out}");
    let (out, err) = folder.emit("bpf", &[]);
    assert!(err.is_empty() && out.contains("begin_0"), "{out}{err}");
}

#[test]
fn folders_of_scripts_and_c() {
    let files = [
        ("lib/x.bpf.c", FILE),
        ("lib/a.rt", "macro six(x) { triple(x) * 2 }"),
        ("lib/b.bt", "macro seven() { 7 }"),
        ("lib/notes.txt", "no script"),
        ("s.rt", "import \"lib\"\nimport \"lib/x.bpf.c\"\nbegin { print(six(seven)) }"),
    ];
    let (out, err) = Folder::new("folder", &files).emit("llvm-opt", &[]);
    assert!(err.is_empty() && out.contains("i64 42"), "{out}{err}");
}

#[test]
fn wrong_calls() {
    let script = "import \"x.bpf.c\"\nbegin { print(triple(1, 2)); print(triple(comm)); print(tripel(1)) }";
    let (_, err) = Folder::new("wrong", &[("x.bpf.c", FILE), ("s.rt", script)]).emit("typed", &[]);
    for expected in [
        "error[RT0205]: too many arguments for `triple`: expected 1, found 2",
        "it is declared as: int32 triple(int32 a)",
        "wrong type for an argument of `triple`: expected `int32`, found `string[16]`",
        "unknown function `tripel`",
        "did you mean `triple`?",
    ] {
        assert!(err.contains(expected), "{expected} is not in\n{err}");
    }
}

#[test]
fn what_cannot_be_linked_is_refused() {
    let call = "import \"x.bpf.c\"\nbegin { print(f()) }";
    for (name, text, expected) in [
        (
            "data",
            "int counter; int f(void) { return counter++; }",
            "has static data, which cannot be linked: `counter`",
        ),
        ("syntax", "int f(void) { return 1 }", "x.bpf.c:1:23: error: expected ';'"),
        (
            "core",
            "struct s { int a; } __attribute__((preserve_access_index));\nint f(void) { return ((struct s *)1)->a; }",
            "needs CO-RE relocations",
        ),
    ] {
        let (out, err) = Folder::new(name, &[("x.bpf.c", text), ("s.rt", call)]).emit("bpf", &[]);
        assert!(out.is_empty() && err.contains(expected), "{name}: {expected} is not in\n{err}{out}");
    }
}

#[test]
fn without_clang_or_with_another() {
    let script = "import \"x.bpf.c\"\nbegin { print(triple(2)) }";
    let files = [("x.bpf.c", FILE), ("s.rt", script), ("newer", "#!/bin/sh\nprintf 'BC\\300\\336 from the future'\n")];
    let folder = Folder::new("clang", &files);
    let (_, err) = folder.emit("bpf", &[("RTRACE_CLANG", "/nonexistent/clang")]);
    assert!(err.contains("x.bpf.c: clang not found") && err.contains("apt install clang"), "{err}");
    let newer = folder.0.join("newer");
    std::fs::set_permissions(&newer, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let (_, err) = folder.emit("bpf", &[("RTRACE_CLANG", &newer.display().to_string())]);
    assert!(err.contains("cannot read the bitcode of") && err.contains("must not be newer than 22"), "{err}");
    let (_, err) = folder.emit("bpf", &[("LIBCLANG_PATH", "/nonexistent")]);
    assert!(err.contains("cannot determine the functions of") && err.contains("apt install libclang1"), "{err}");
}

#[test]
fn modules_that_come_with_rtrace() {
    let (out, err) = Folder::new("module", &[("s.rt", "import \"net\"\nbegin { exit() }")]).emit("typed", &[]);
    assert!(err.is_empty() && out.contains("program begin_0"), "{out}{err}");
    let (_, err) = Folder::new("none", &[("s.rt", "import \"nett\"\nbegin { exit() }")]).emit("typed", &[]);
    assert!(err.contains("cannot import nett") && err.contains("modules that come with rtrace: net"), "{err}");
}
