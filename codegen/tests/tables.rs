//! The examples that stand in the tables, compiled to BPF against the recorded kernel: those of builtins, of kinds of
//! probes, and the mended ones of diagnostics. The checker's view of them is in `lang/tests/tables.rs`.

mod support;

use rtrace_codegen::Options;
use rtrace_lang::codes::Code;
use rtrace_lang::{builtins, probes};

/// The name of a row, and its script.
fn examples() -> Vec<(String, &'static str)> {
    let builtins = builtins::all().map(|row| (format!("builtin {}", row.name), row.example));
    let kinds = probes::KINDS.iter().map(|kind| (format!("probe {}", kind.name), kind.example));
    let mended = Code::ALL.iter().map(|code| (code.name().to_owned(), code.examples().1));
    builtins.chain(kinds).chain(mended.filter(|(_, script)| !script.is_empty())).collect()
}

/// None is left out: the recorded kernel has what the examples name.
#[test]
fn examples_become_bpf() {
    let all = examples();
    assert!(all.len() > 150, "only {} examples", all.len());
    let mut wrong = Vec::new();
    for (row, script) in &all {
        for (kernel, how) in [("a new", support::modern()), ("an old", Options::default())] {
            match support::try_compile_for(script, &how) {
                Ok(output) if output.bundle.programs.is_empty() => wrong.push(format!("{row}: no program")),
                Ok(_) => {}
                Err(text) => wrong.push(format!("{row}, for {kernel} kernel:\n{text}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
