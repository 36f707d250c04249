//! The import pass: files that a script imports, read by the caller (nothing here does I/O), each once; a file that
//! imports itself, directly or not, is an error.

use crate::codes::Code;
use crate::diag::Diagnostic;
use crate::driver::parse;
use crate::source::{SourceMap, Span};
use rtrace_grammar::ast::{self, Item};

/// A file as the caller found it: the name that tells it from others, and its text.
#[derive(Clone, Debug)]
pub struct Imported {
    pub name: String,
    pub text: String,
}

/// Finds what `import "path"` in the file of that name means: one file, or all of a folder. The error says why not.
pub type Loader<'l> = &'l mut dyn FnMut(&str, &str) -> Result<Vec<Imported>, String>;

/// Parses the first file of the source map and all it imports. Imported items come before those of the importing
/// file, so that what they define is known there.
pub fn load(sources: &mut SourceMap, loader: Loader<'_>) -> Result<ast::Program, Vec<Diagnostic>> {
    let mut files = Files { sources, loader, open: Vec::new() };
    files.items(0).map(|items| ast::Program { items })
}

struct Files<'a> {
    sources: &'a mut SourceMap,
    loader: Loader<'a>,
    /// Indexes of the files that are being read, from the script inwards.
    open: Vec<usize>,
}

impl Files<'_> {
    fn items(&mut self, index: usize) -> Result<Vec<Item>, Vec<Diagnostic>> {
        let program = parse(self.sources, index)?;
        let importer = self.sources.files().get(index).map(|f| f.name.clone()).unwrap_or_default();
        self.open.push(index);
        let mut all = Vec::new();
        for item in program.items {
            match item {
                Item::Import { path, span } => all.append(&mut self.import(&importer, &path, span)?),
                item => all.push(item),
            }
        }
        self.open.pop();
        Ok(all)
    }

    fn import(&mut self, importer: &str, path: &str, span: Span) -> Result<Vec<Item>, Vec<Diagnostic>> {
        let error = |text: String| vec![*Diagnostic::error(Code::BadImport, span, text)];
        if path.ends_with(".bpf.c") || path.ends_with(".c") {
            return Err(vec![
                *Diagnostic::error(Code::UnsupportedSyntax, span, format!("`{path}` is C, which cannot be imported"))
                    .help("write it in the language, or as a macro"),
            ]);
        }
        let found = (self.loader)(importer, path).map_err(error)?;
        let mut all = Vec::new();
        for file in found {
            match self.sources.files().iter().position(|f| f.name == file.name) {
                Some(known) if self.open.contains(&known) => {
                    return Err(error(format!("`{}` imports itself, directly or through others", file.name)));
                }
                // Imported before: its items are there.
                Some(_) => {}
                None => {
                    self.sources.add(file.name, file.text);
                    let index = self.sources.files().len() - 1;
                    all.append(&mut self.items(index)?);
                }
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads `main`, with the other files as what there is to import.
    fn names(main: &str, files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let mut sources = SourceMap::default();
        sources.add("main", main);
        let mut loader = |_: &str, path: &str| match files.iter().find(|f| f.0 == path) {
            Some((name, text)) => Ok(vec![Imported { name: (*name).into(), text: (*text).into() }]),
            None => Err(format!("there is no {path}")),
        };
        let program = load(&mut sources, &mut loader).map_err(|e| e[0].message.clone())?;
        Ok(program
            .items
            .iter()
            .map(|i| match i {
                Item::Macro(m) => m.name.text.clone(),
                Item::Probe(p) => p.attach_points[0].text.clone(),
                _ => "?".into(),
            })
            .collect())
    }

    #[test]
    fn files_come_once_and_before_their_importer() {
        let files = [("a", "import \"b\"\nmacro one() { 1 }"), ("b", "macro two() { 2 }")];
        let found = names("import \"a\"\nimport \"b\"\nbegin { print(one + two) }", &files);
        assert_eq!(found, Ok(vec!["two".into(), "one".into(), "begin".into()]));
    }

    #[test]
    fn a_cycle_is_an_error() {
        let files = [("a", "import \"b\""), ("b", "import \"a\"")];
        assert_eq!(
            names("import \"a\"\nbegin { }", &files),
            Err("`a` imports itself, directly or through others".into())
        );
        assert_eq!(names("import \"x\"\nbegin { }", &files), Err("there is no x".into()));
    }
}
