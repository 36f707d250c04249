//! The prelude: builtins that the language can say itself, as macros in `stdlib/prelude.rt`. The rows with
//! `Check::Prelude` have their meaning there. The text is parsed when the first call of such a row is checked, so that
//! scripts without any do not pay for it.

use crate::diag::{Diagnostic, Result};
use crate::source::Span;
use rtrace_grammar::ast::{Item, MacroDef};
use std::sync::OnceLock;

/// All macros of the prelude.
pub(crate) fn macros() -> Result<&'static [MacroDef]> {
    static MACROS: OnceLock<Option<Vec<MacroDef>>> = OnceLock::new();
    let macros = MACROS.get_or_init(|| {
        let program = rtrace_grammar::parse(rtrace_stdlib::PRELUDE.as_bytes(), 0, |_| None).ok()?;
        let of = |item| if let Item::Macro(m) = item { Some(m) } else { None };
        program.items.into_iter().map(of).collect()
    });
    macros.as_deref().ok_or_else(|| Diagnostic::internal(Span::default(), "the prelude cannot be parsed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtins;

    #[test]
    fn every_row_has_its_macros() {
        let macros = macros().unwrap();
        let takes = |name: &str, n: usize| macros.iter().filter(|m| m.name.text == name && m.params.len() == n).count();
        let rows: Vec<_> = builtins::all().filter(|row| row.is_in_prelude()).collect();
        assert!(rows.len() > 3);
        for row in rows {
            for n in row.arity.0..=row.arity.1 {
                assert_eq!(takes(row.name, n), 1, "{} with {n} arguments", row.name);
            }
        }
    }
}
