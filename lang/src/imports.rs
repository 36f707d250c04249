//! The import pass: files that a script imports, read by the caller (nothing here does I/O), each once; a file that
//! imports itself, directly or not, is an error. Imports of C stay in the tree, under the full names of the files.

use crate::codes::Code;
use crate::diag::Diagnostic;
use crate::driver::parse;
use crate::headers;
use crate::preprocessor::Preprocessor;
use crate::source::{SourceMap, Span};
use rtrace_grammar::ast::{self, Item};

/// A file as the caller found it: the name that tells it from others, and its text.
#[derive(Clone, Debug)]
pub struct Imported {
    pub name: String,
    pub text: String,
}

/// Finds what a script asks for. The names of files are as in the source map.
pub trait Loader {
    /// Resolves `import "path"` in the file `importer`: to one file, or to all of a directory. The error gives the
    /// reason.
    fn import(&mut self, importer: &str, path: &str) -> Result<Vec<Imported>, String>;
    /// The file that `#include "path"` in the file `importer` means, if there is one.
    fn header(&mut self, importer: &str, path: &str) -> Option<Imported>;
}

/// Parses the first file of the source map and all it imports. Imported items come before those of the importing
/// file, so that what they define is known there.
pub fn load(sources: &mut SourceMap, loader: &mut dyn Loader) -> Result<ast::Program, Vec<Diagnostic>> {
    let mut files = Files { sources, loader, open: Vec::new() };
    files.items(0).map(|items| ast::Program { items })
}

struct Files<'a> {
    sources: &'a mut SourceMap,
    loader: &'a mut dyn Loader,
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
                Item::Import { path, span } => {
                    all.append(&mut self.import(&importer, &path, span)?);
                    // Kept for the settings to have a say.
                    all.push(Item::Import { path, span });
                }
                Item::Preprocessor { text, span } => match self.header(&importer, &text)? {
                    Some(mut items) => all.append(&mut items),
                    None => all.push(Item::Preprocessor { text, span }),
                },
                item => all.push(item),
            }
        }
        self.open.pop();
        Ok(all)
    }

    /// The items of a header of the script's own; `None` for one that libclang has to read.
    fn header(&mut self, importer: &str, line: &str) -> Result<Option<Vec<Item>>, Vec<Diagnostic>> {
        let path = headers::include(line).filter(|_| headers::is_local_include(line)).map(|p| p.trim_matches('"'));
        let Some(file) = path.and_then(|path| self.loader.header(importer, path)) else { return Ok(None) };
        if self.sources.files().iter().any(|f| f.name == file.name) {
            return Ok(Some(Vec::new()));
        }
        if !is_simple(&file.text) {
            return Ok(None);
        }
        self.sources.add(file.name, file.text);
        self.items(self.sources.files().len() - 1).map(Some)
    }

    fn import(&mut self, importer: &str, path: &str, span: Span) -> Result<Vec<Item>, Vec<Diagnostic>> {
        let error = |text: String| vec![*Diagnostic::error(Code::BadImport, span, text)];
        let found = self.loader.import(importer, path).map_err(error)?;
        let mut all = Vec::new();
        for file in found {
            match self.sources.files().iter().position(|f| f.name == file.name) {
                Some(known) if self.open.contains(&known) => {
                    return Err(error(format!("`{}` imports itself, directly or indirectly", file.name)));
                }
                // Imported before: its items are there.
                Some(_) => {}
                // Its text is kept for messages about it.
                None if file.name.ends_with(".c") => {
                    all.push(Item::Import { path: file.name.clone(), span });
                    self.sources.add(file.name, file.text);
                }
                // As with `#include`: what is more than definitions is for libclang.
                None if file.name.ends_with(".h") && !is_simple(&file.text) => {
                    all.push(Item::Preprocessor { text: format!("#include \"{}\"", file.name), span });
                }
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

/// Whether a header holds only what the language reads as C does: definitions of types, `#define`s of constants,
/// includes, and a guard against being included twice. Others are left to libclang.
fn is_simple(text: &str) -> bool {
    let mut attributes = text.split("__attribute__").skip(1).map(str::trim_start);
    if !attributes.all(|a| a.starts_with("((packed))") || a.starts_with("((__packed__))")) {
        return false;
    }
    let Ok(program) = rtrace_grammar::parse(text.as_bytes(), 0, crate::probes::path_part) else { return false };
    let mut lines = Preprocessor::default();
    let mut guarded = 0;
    program.items.iter().enumerate().all(|(i, item)| match item {
        Item::CDef(_) => true,
        Item::Preprocessor { text, span } => {
            let word = text.trim_start_matches('#').trim_start();
            guarded += usize::from(word.starts_with("endif"));
            let condition = word.starts_with("if") || word.starts_with("el");
            let pragma = word.strip_prefix("pragma").is_some_and(|p| p.trim() != "once");
            (!condition || (i == 0 && word.starts_with("ifndef"))) && !pragma && lines.line(text, *span).is_ok()
        }
        _ => false,
    }) && guarded <= 1
        && lines.unusable.is_empty()
        && lines.finish(Span::default()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrace_grammar::ast::{CDef, CDefKind};

    struct Given<'f>(&'f [(&'f str, &'f str)]);

    impl Loader for Given<'_> {
        fn import(&mut self, _: &str, path: &str) -> Result<Vec<Imported>, String> {
            self.header("", path).map(|f| vec![f]).ok_or_else(|| format!("{path} not found"))
        }

        fn header(&mut self, _: &str, path: &str) -> Option<Imported> {
            let found = self.0.iter().find(|f| f.0 == path);
            found.map(|(name, text)| Imported { name: (*name).into(), text: (*text).into() })
        }
    }

    /// Loads `main`, with the other files as what there is to import.
    fn names(main: &str, files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let mut sources = SourceMap::default();
        sources.add("main", main);
        let program = load(&mut sources, &mut Given(files)).map_err(|e| e[0].message.clone())?;
        Ok(program
            .items
            .iter()
            .filter(|i| !matches!(i, Item::Import { .. }))
            .map(|i| match i {
                Item::Macro(m) => m.name.text.clone(),
                Item::Probe(p) => p.attach_points[0].text.clone(),
                Item::Preprocessor { text, .. } => text.clone(),
                Item::CDef(CDef { kind: CDefKind::Record { name, .. }, .. }) => name.clone(),
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
    fn simple_headers_are_read_here_and_others_left() {
        let simple =
            "#ifndef A_H\n#define A_H\n#include \"b.h\"\nstruct a { int x; } __attribute__((packed));\n#endif\n";
        let files = [("a.h", simple), ("b.h", "#pragma once\nstruct b { int y; };"), ("c.h", "int f(void);")];
        let found = names("#include \"a.h\"\n#include \"a.h\"\n#include \"c.h\"\n#include <x.h>\nbegin { }", &files);
        let expected = [
            "#ifndef A_H",
            "#define A_H",
            "#pragma once",
            "b",
            "a",
            "#endif",
            "#include \"c.h\"",
            "#include <x.h>",
            "begin",
        ];
        assert_eq!(found, Ok(expected.map(String::from).into()));
        for left in [
            "struct a { int x; } __attribute__((aligned(64)));",
            "#ifdef __x86_64__\nstruct a { int x; };\n#endif",
            "#define F(x) x",
            "#define A_H\n#if 1\n#endif",
            "#pragma pack(1)\nstruct a { int x; };",
            "static inline int f(void) { return 1; }",
            "begin { exit() }",
        ] {
            assert!(!is_simple(left), "{left}");
        }
    }

    #[test]
    fn c_stays_in_the_tree() {
        let mut sources = SourceMap::default();
        sources.add("main", "import \"a\"\nimport \"x.bpf.c\"\nbegin { print(f()) }");
        let files = [("a", "import \"x.bpf.c\""), ("x.bpf.c", "int f(void) { return 1; }")];
        let program = load(&mut sources, &mut Given(&files)).unwrap();
        let found = headers::c_files(&program, &sources);
        assert_eq!(found.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["x.bpf.c"]);
    }

    #[test]
    fn a_cycle_is_an_error() {
        let files = [("a", "import \"b\""), ("b", "import \"a\"")];
        assert_eq!(names("import \"a\"\nbegin { }", &files), Err("`a` imports itself, directly or indirectly".into()));
        assert_eq!(names("import \"x\"\nbegin { }", &files), Err("x not found".into()));
    }
}
