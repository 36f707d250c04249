//! The manual's pages that are made from the tables: functions, probes, settings, diagnostics. `docs/functions.md` is
//! this text; a test compares them, `BLESS=1` rewrites the file.

use crate::builtins::{self, Allowed, Builtin, Side};
use crate::codes::Code;
use crate::config::SETTINGS;
use crate::probes::{self, KINDS};
use std::fmt::Write;

/// The page of functions, probes, settings and diagnostics.
pub fn page() -> String {
    let mut out = String::from(
        "# Functions, probes, settings, diagnostics\n\nGenerated from the compiler's tables. `rtrace --explain \
        NAME` prints an entry, `rtrace --explain manual` all.\n\n## Functions and builtins\n",
    );
    let mut rows: Vec<&Builtin> = builtins::all().collect();
    rows.sort_by_key(|b| b.name);
    for row in rows {
        let _ = write!(out, "\n### {}\n\n{}", row.name, function(row));
    }
    out.push_str("\n## Probe types\n");
    for kind in KINDS {
        let aliases = if kind.aliases.is_empty() { String::new() } else { format!(" ({})", kind.aliases.join(", ")) };
        let _ = write!(out, "\n### {}{aliases}\n\n{}\n\n", kind.name, kind.doc);
        let _ = write!(out, "```\n{}\n```\n\n```\n{}\n```\n", kind.form, kind.example);
    }
    out.push_str("\n## Settings\n\nSet in the script, `config = { max_strlen = 256 }`, or in the environment,\n");
    out.push_str(
        "`BPFTRACE_MAX_STRLEN=256` or `RTRACE_MAX_STRLEN=256`, which takes precedence.\n\n| name | \
        default | meaning |\n| --- | --- | --- |\n",
    );
    for s in SETTINGS {
        let _ = writeln!(out, "| `{}` | `{}` | {} |", s.name, s.default, s.doc);
    }
    out.push_str("\n## Diagnostics\n");
    for code in Code::ALL {
        let _ = write!(out, "\n### {}: {}\n\n{}\n", code.name(), code.title(), code.explanation());
        let (bad, good) = code.examples();
        if !bad.is_empty() {
            let _ = write!(out, "\nExample that causes it:\n\n```\n{bad}\n```\n");
        }
        if !good.is_empty() {
            let _ = write!(out, "\nCorrected:\n\n```\n{good}\n```\n");
        }
    }
    out
}

/// The entry of one function or builtin.
pub fn function(row: &Builtin) -> String {
    let mut out = String::new();
    for signature in row.signatures {
        let _ = writeln!(out, "- `{signature}`");
    }
    let _ = write!(out, "\n{}", row.doc);
    let side = match row.side {
        Side::Kernel => "",
        Side::User => " Done in user space when the event arrives.",
        Side::Const => " Evaluated at compile time.",
    };
    out.push_str(side);
    if row.unsafe_ {
        out.push_str(" Needs `--unsafe`.");
    }
    if let Allowed::In(types) = row.allowed {
        let _ = write!(out, " Only in {}.", probes::names_with(types).join(", "));
    }
    if let Some(helper) = row.helper {
        let _ = write!(out, " Uses the BPF helper `bpf_{}`, Linux {}.", helper.name, helper.since);
    }
    let _ = write!(out, "\n\n```\n{}\n```\n", row.example);
    out
}
