//! The tree as text (being written).

pub fn dump(program: &crate::ast::Program) -> String {
    format!("{program:#?}\n")
}
