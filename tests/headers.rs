//! Headers that a script includes: what they define, what is wrong with them, and what is said without libclang.
//! They need libclang, which `scripts/setup` installs, and no privileges: the scripts are compiled, not run.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;

/// A folder with the files of a test; it goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Folder {
        let folder = std::env::temp_dir().join(format!("rtrace-headers-{}-{name}", std::process::id()));
        for (file, text) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).expect("a folder for the test");
            std::fs::write(&path, text).expect("a file for the test");
        }
        Folder(folder)
    }

    /// What `rtrace --emit typed s.rt` gives: standard output, then standard error.
    fn typed(&self, arguments: &[&str], environment: &[(&str, &str)]) -> (String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rtrace"));
        command.args(["--emit", "typed"]).args(arguments).arg("s.rt").current_dir(&self.0);
        command.env_remove("LIBCLANG_PATH").envs(environment.iter().copied());
        let output = command.output().expect("rtrace");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        (text(output.stdout), text(output.stderr))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The one line of a text that holds a word.
fn line<'t>(text: &'t str, word: &str) -> &'t str {
    text.lines().find(|l| l.contains(word)).unwrap_or_else(|| panic!("no line with {word:?} in:\n{text}"))
}

/// Only C can read it: a function, a macro with parameters, a condition.
const HEADER: &str = r#"
#include <stddef.h>
#define F(x) ((x) + 1)
#define MINE F(41)
#define NEGATIVE (-7)
#define LARGE 0xffffffffffffffffULL
#define TEXT "a" "b"
#define IN_PARENTHESES ("c")
#ifndef TASK_COMM_LEN
#define TASK_COMM_LEN 99
#endif
enum color { RED, GREEN = 5, BLUE };
typedef struct { int x; char name[12]; unsigned a : 3, b : 5; long long z; } my_t;
struct __attribute__((packed)) packed {
    char c; long l; struct { short s1, s2; }; union { int i; char b[4]; } u; struct packed *next; my_t arr[2];
    double d; __int128 w; enum color col; int rest[];
};
static inline int f(void) { return 1; }
"#;

#[test]
fn constants_of_every_kind() {
    let script = "#include \"my.h\"\nbegin { print((MINE, NEGATIVE, LARGE, TEXT, IN_PARENTHESES, TASK_COMM_LEN, GREEN, \
                  sizeof(struct packed), sizeof(my_t))) }";
    let (out, err) = Folder::new("constants", &[("my.h", HEADER), ("s.rt", script)]).typed(&[], &[]);
    assert_eq!(err, "");
    assert_eq!(
        line(&out, "send 0").trim(),
        "send 0((42, -7, (uint64)18446744073709551615, \"ab\", \"c\", 99, (enum color)5, (uint64)117, (uint64)32))"
    );
    assert_eq!(line(&out, "enum color {"), "enum color { RED = 0, GREEN = 5, BLUE = 6 }");
}

#[test]
fn names_that_only_a_function_uses() {
    let script = "#include \"my.h\"\nfn mine($p: my_t *) : int64 { return $p->x + MINE }\n\
                  begin { print(mine((my_t *)0)) }";
    let (out, err) = Folder::new("function", &[("my.h", HEADER), ("s.rt", script)]).typed(&[], &[]);
    assert_eq!(err, "");
    assert!(out.contains("42"), "{out}");
}

#[test]
fn members_lie_where_c_puts_them() {
    let script = "#include \"my.h\"\nbegin { $p = (struct packed *)0; print($p->l); print($p->s2); print($p->u.b); \
                  print($p->next->arr[1].name); print($p->arr[1].b); print($p->col); print($p->rest[1]); print(((my_t *)0)->z) }";
    let (out, err) = Folder::new("members", &[("my.h", HEADER), ("s.rt", script)]).typed(&[], &[]);
    assert_eq!(err, "");
    for expected in [
        "send 0((int64)load.kernel($p, +1))",
        "send 1((int16)load.kernel($p, +11))",
        "send 2((string[5])load.kernel($p, +13))",
        "send 3((string[13])load.kernel((struct packed *)load.kernel($p, +17), +61))",
        "load.kernel($p, +73, 5 bits from 3 of 4 bytes)",
        "(enum color)load.kernel($p, +113)",
        "load.kernel($p, +121)",
        "load.kernel((struct my_t *)0, +24)",
    ] {
        assert!(out.contains(expected), "{expected} is not in\n{out}");
    }
}

#[test]
fn folders_and_headers_of_the_command_line() {
    let files = [
        ("include/own.h", "#define OWN_CONSTANT (3 * sizeof(struct own))\nstruct own { int a, b; };"),
        ("other.h", "#define OTHER_CONSTANT OWN_CONSTANT + 1"),
        ("s.rt", "#include <own.h>\nbegin { print(OWN_CONSTANT); print(sizeof(struct own)) }"),
    ];
    let folder = Folder::new("folders", &files);
    let (out, err) = folder.typed(&["-I", "include"], &[]);
    assert!(out.contains("send 0((uint64)24)") && out.contains("send 1((uint64)8)"), "{out}{err}");
    let (_, err) = folder.typed(&[], &[]);
    assert!(err.contains("'own.h' file not found") && err.contains("s.rt:1:1"), "{err}");
    assert!(err.contains("unknown name `OWN_CONSTANT`") && err.contains("unknown type `struct own`"), "{err}");
    let (out, err) = folder.typed(&["-I", "include", "--include", "own.h"], &[]);
    assert!(out.contains("send 0((uint64)24)") && out.contains("send 1((uint64)8)"), "{out}{err}");
    std::fs::write(folder.0.join("s.rt"), "begin { print(OTHER_CONSTANT) }").unwrap();
    let (out, err) = folder.typed(&["-I", "include", "--include", "own.h", "--include", "other.h"], &[]);
    assert!(out.contains("send 0((uint64)25)"), "{out}{err}");
}

#[test]
fn headers_of_the_kernel() {
    let files = [
        ("k/include/linux/kconfig.h", "#define CONFIG_THING 1\n"),
        (
            "k/include/linux/rtrace_thing.h",
            "#include <asm/own.h>\n#ifdef __KERNEL__\n#define THING (ARCH_THING + CONFIG_THING)\n#endif",
        ),
        ("k/arch/x86/include/asm/own.h", "#define ARCH_THING 40"),
        ("k/arch/arm64/include/asm/own.h", "#define ARCH_THING 40"),
        ("s.rt", "#include <linux/rtrace_thing.h>\nbegin { print(THING) }"),
    ];
    let folder = Folder::new("kernel", &files);
    let source = folder.0.join("k").display().to_string();
    let (out, err) = folder.typed(&[], &[("BPFTRACE_KERNEL_SOURCE", &source)]);
    assert!(out.contains("send 0(41)") && err.is_empty(), "{out}{err}");
}

#[test]
fn errors_in_headers_are_shown() {
    let files = [
        ("bad.h", "int f(void);\nstruct bad { unknown_t x; int y; };\n#define GOOD 7\n"),
        ("s.rt", "#include \"bad.h\"\nbegin { print(GOOD) }"),
    ];
    let (out, err) = Folder::new("errors", &files).typed(&[], &[]);
    assert!(out.contains("send 0(7)"), "{out}{err}");
    assert!(err.contains("warning[RT0105]") && err.contains("bad.h:2:14: unknown type name 'unknown_t'"), "{err}");
}

/// Types-only headers of the script need no libclang, others say which package brings it, and what nothing in the
/// headers is needed for costs nothing.
#[test]
fn without_libclang() {
    let nowhere = [("LIBCLANG_PATH", "/nonexistent")];
    let files = [
        ("simple.h", "#ifndef S_H\n#define S_H\n#define FOUR (2 + 2)\nstruct s { int a; long b[FOUR]; };\n#endif"),
        ("complex.h", HEADER),
        ("s.rt", "#include <linux/sched.h>\n#include \"simple.h\"\nbegin { print((FOUR, sizeof(struct s), AF_INET)) }"),
    ];
    let folder = Folder::new("without", &files);
    let (out, err) = folder.typed(&[], &nowhere);
    assert!(out.contains("send 0((4, (uint64)40, 2))") && err.is_empty(), "{out}{err}");
    std::fs::write(folder.0.join("s.rt"), "#include \"complex.h\"\nbegin { print(MINE) }").unwrap();
    let (_, err) = folder.typed(&[], &nowhere);
    assert!(err.contains("unknown name `MINE`") && err.contains("\"complex.h\", which requires libclang"), "{err}");
    assert!(err.contains("apt install libclang1"), "{err}");
}
