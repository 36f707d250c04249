//! One input through the compiler, as the fuzz targets and the tests that replay what they found do it.
//!
//! The input is a script; after a zero byte follow further files, which `import "1"` and `#include "1"`, … name.

use rtrace_lang::config::Options;
use rtrace_lang::diag::render;
use rtrace_lang::grammar::dump::dump;
use rtrace_lang::grammar::format::format;
use rtrace_lang::grammar::parse;
use rtrace_lang::imports::{self, Imported, Loader};
use rtrace_lang::probes::path_part;
use rtrace_lang::source::SourceMap;
use rtrace_lang::typed::Typed;
use rtrace_lang::{driver, dump as typed_dump};
use rtrace_test_support::Recorded;
pub use rtrace_test_support::kernel;

struct Files<'a>(Vec<&'a str>);

impl Loader for Files<'_> {
    fn import(&mut self, importer: &str, path: &str) -> Result<Vec<Imported>, String> {
        self.header(importer, path).map(|file| vec![file]).ok_or_else(|| "no such file".into())
    }

    fn header(&mut self, _importer: &str, path: &str) -> Option<Imported> {
        let text = self.0.get(path.parse::<usize>().ok()?.checked_sub(1)?)?;
        Some(Imported { name: path.to_owned(), text: (*text).to_owned() })
    }
}

/// Everything before code generation. Panics where the compiler breaks a promise.
pub fn front(input: &[u8], kernel: &Recorded) -> Option<(Typed, SourceMap)> {
    let Ok(text) = std::str::from_utf8(input) else {
        assert!(parse(input, 0, path_part).is_err(), "this is no text");
        return None;
    };
    let mut files = text.split('\0');
    let script = files.next().unwrap_or_default();
    let files: Vec<&str> = files.collect();
    if let Ok(tree) = parse(script.as_bytes(), 0, path_part) {
        let once = format(script, 0, path_part).expect("a script that parses can be formatted");
        assert_eq!(format(&once, 0, path_part).as_ref(), Ok(&once), "formatted twice");
        assert!(!dump(&tree).is_empty() || tree.items.is_empty());
    }
    let mut sources = SourceMap::default();
    sources.add("script.rt", script);
    let mut options = Options { unsafe_: true, params: vec!["1".into(), "text".into()], ..Options::default() };
    let typed = imports::load(&mut sources, &mut Files(files))
        .and_then(|program| driver::analyse(program, &mut options, &sources, kernel.facts()));
    match typed {
        Ok(typed) => {
            assert!(!typed_dump::dump(&typed).is_empty() || typed.programs.is_empty());
            Some((typed, sources))
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            assert!(!errors.iter().any(|e| e.message.starts_with("internal:")), "{errors:?}");
            assert!(render(&errors, &sources, false).contains("RT0"));
            None
        }
    }
}
