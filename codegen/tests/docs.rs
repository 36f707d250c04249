//! The examples of the documentation: every code block of `docs/*.md` compiles against the recorded kernel,
//! or fails with just the errors that stand below it. `tests/guest/run.py` runs them and compares their
//! output. `docs/README.md` says how examples are written.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use rtrace_lang::bundle::Mode;
use rtrace_lang::grammar::ast;
use rtrace_lang::imports::{Imported, Loader};
use rtrace_lang::probes::KINDS;
use rtrace_lang::source::SourceMap;
use rtrace_lang::{config, driver, imports};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// A fenced code block.
struct Block {
    /// `docs/language.md:12`
    place: String,
    /// The first word of its info line, and the others.
    tag: String,
    words: Vec<String>,
    text: String,
}

/// A script with what is expected of it.
struct Example {
    block: Block,
    /// Codes of errors with the text that must be in the messages.
    error: Option<Block>,
    /// The files that it may import.
    files: HashMap<String, String>,
}

/// The kinds of code blocks: scripts, the expected result of the script above, and commands, which are not run.
const TAGS: &[&str] = &["rtrace", "text", "json", "stderr", "error", "sh"];

fn blocks(path: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(path).expect("a readable page");
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let place = format!("docs/{}:{}", path.file_name().unwrap_or_default().to_string_lossy(), number + 1);
        let mut words = shlex::split(info).unwrap_or_else(|| panic!("{place}: quotes do not match: {info}"));
        assert!(!words.is_empty(), "{place}: a code block needs a tag, one of {TAGS:?}");
        let tag = words.remove(0);
        assert!(TAGS.contains(&tag.as_str()), "{place}: `{tag}` is none of {TAGS:?}");
        let body: Vec<&str> = lines.by_ref().map(|(_, l)| l).take_while(|l| *l != "```").collect();
        blocks.push(Block { place, tag, words, text: body.join("\n") + "\n" });
    }
    blocks
}

/// The examples of all pages but the one that is made from tables, which has tests of its own.
fn examples() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let entries = std::fs::read_dir(root).expect("the folder of pages");
    let mut paths: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "md") && !p.ends_with("functions.md"));
    paths.sort();
    let mut examples = Vec::new();
    for path in paths {
        let mut files = HashMap::new();
        let mut blocks = blocks(&path).into_iter().peekable();
        while let Some(block) = blocks.next() {
            if block.tag == "sh" {
                while blocks.next_if(|b| b.tag == "text").is_some() {}
                continue;
            }
            assert!(block.tag == "rtrace", "{}: there is no script above this", block.place);
            if let Some(name) = block.words.iter().find_map(|w| w.strip_prefix("file=")) {
                files.insert(name.to_owned(), block.text);
                continue;
            }
            let expected: Vec<Block> =
                std::iter::from_fn(|| blocks.next_if(|b| !matches!(b.tag.as_str(), "rtrace" | "sh"))).collect();
            let silent = block.words.iter().any(|w| w == "attaches" || w == "compiles");
            assert!(silent || !expected.is_empty(), "{}: what is expected of this script?", block.place);
            let error = expected.into_iter().find(|b| b.tag == "error");
            examples.push(Example { block, error, files: files.clone() });
        }
    }
    examples
}

/// Files beside the script.
struct Beside<'f>(&'f HashMap<String, String>);

impl Loader for Beside<'_> {
    fn import(&mut self, importer: &str, path: &str) -> Result<Vec<Imported>, String> {
        let module =
            || rtrace_stdlib::module(path).map(|text| Imported { name: path.to_owned(), text: text.to_owned() });
        let found = self.header(importer, path).or_else(module);
        found.map(|f| vec![f]).ok_or_else(|| format!("cannot import {path}"))
    }

    fn header(&mut self, _: &str, path: &str) -> Option<Imported> {
        self.0.get(path).map(|text| Imported { name: path.to_owned(), text: text.clone() })
    }
}

/// The script's tree with what it imports.
fn parse(example: &Example) -> Result<(ast::Program, SourceMap), String> {
    let mut sources = SourceMap::default();
    sources.add("example.rt", example.block.text.as_str());
    match imports::load(&mut sources, &mut Beside(&example.files)) {
        Ok(program) => Ok((program, sources)),
        Err(d) => Err(rtrace_lang::diag::render(&d, &sources, false)),
    }
}

/// Compiles a script with the options and parameters of its info line.
fn compile(example: &Example) -> Result<(), String> {
    let mut options = config::Options::default();
    let mut words = example.block.words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--unsafe" => options.unsafe_ = true,
            "--test" => options.run.mode = Mode::Test,
            "--bench" => options.run.mode = Mode::Bench,
            "-c" | "-f" => drop(words.next()),
            "--" | "-q" | "attaches" | "compiles" => {}
            _ if word.starts_with("linux") => {}
            _ => options.params.push(word.to_owned()),
        }
    }
    let (program, sources) = parse(example)?;
    let text = |d: Vec<_>| rtrace_lang::diag::render(&d, &sources, false);
    let typed = driver::analyse(program, &mut options, &sources, support::kernel().facts()).map_err(text)?;
    rtrace_codegen::compile(&typed, &sources, &support::modern()).map(drop).map_err(text)
}

#[test]
fn every_example_compiles_or_fails_as_it_says() {
    let examples = examples();
    assert!(examples.len() > 10, "only {} examples", examples.len());
    let mut wrong = Vec::new();
    for example in &examples {
        let place = &example.block.place;
        match (compile(example), &example.error) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => wrong.push(format!("{place}: this compiles, and should not\n{}", example.block.text)),
            (Err(text), None) => wrong.push(format!("{place}\n{text}")),
            (Err(text), Some(expected)) => {
                let found = codes(&text);
                let wanted: BTreeSet<&str> = expected.words.iter().map(String::as_str).collect();
                if found != wanted {
                    wrong.push(format!("{place}: the errors are {found:?}\n{text}"));
                } else if let Some(line) = missing(&expected.text, &text) {
                    wrong.push(format!("{}: the message does not say `{line}`\n{text}", expected.place));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The codes of all messages.
fn codes(text: &str) -> BTreeSet<&str> {
    let heads = text.lines().filter_map(|l| l.split_once('[')).filter(|(word, _)| matches!(*word, "error" | "warning"));
    heads.filter_map(|(_, rest)| rest.split_once(']')).map(|(code, _)| code).collect()
}

/// The first expected line that does not come in its turn.
fn missing<'e>(expected: &'e str, text: &str) -> Option<&'e str> {
    let mut lines = text.lines().map(str::trim);
    expected.lines().filter(|l| !l.trim().is_empty()).find(|e| !lines.any(|l| l == e.trim()))
}

/// Every kind of node of the syntax tree is in some example that is accepted.
#[test]
fn every_construct_is_shown() {
    let mut shown = BTreeSet::new();
    for example in examples().iter().filter(|e| e.error.is_none()) {
        let (program, _) = parse(example).unwrap_or_else(|text| panic!("{}\n{text}", example.block.place));
        let tree = format!("{program:?}");
        shown.extend(tree.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned));
        // Imports are replaced by what they bring.
        shown.extend(example.block.text.contains("import \"").then(|| "Import".to_owned()));
    }
    let missing: Vec<String> = variants().into_iter().filter(|v| !shown.contains(v)).collect();
    assert!(missing.is_empty(), "no example shows {missing:?} of grammar/src/ast.rs");
}

/// The names of all variants of the enums in the file of the syntax tree.
fn variants() -> Vec<String> {
    let source = include_str!("../../grammar/src/ast.rs");
    let mut names = Vec::new();
    let mut inside = false;
    for line in source.lines() {
        inside = line.starts_with("pub enum") || inside && line != "}";
        let name = line.strip_prefix("    ").filter(|l| inside && l.starts_with(|c: char| c.is_ascii_uppercase()));
        names.extend(name.map(|n| n.chars().take_while(char::is_ascii_alphanumeric).collect()));
    }
    assert!(names.len() > 60, "{names:?}");
    names
}

#[test]
fn every_kind_of_probe_is_shown() {
    let examples = examples();
    let points: Vec<String> = examples
        .iter()
        .filter_map(|e| parse(e).ok())
        .flat_map(|(program, _)| program.items)
        .filter_map(|item| if let ast::Item::Probe(p) = item { Some(p.attach_points) } else { None })
        .flatten()
        .map(|point| point.text)
        .collect();
    let shows = |kind: &str| points.iter().any(|p| p == kind || p.starts_with(&format!("{kind}:")));
    let missing: Vec<&str> = KINDS.iter().map(|k| k.name).filter(|k| !shows(k)).collect();
    assert!(missing.is_empty(), "no example has a probe of the kinds {missing:?}");
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let entries = std::fs::read_dir(root.join("docs")).expect("the folder of pages");
    let mut pages: Vec<_> = entries.map(|e| e.expect("an entry").path()).collect();
    pages.push(root.join("README.md"));
    let mut links = 0;
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a readable page");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(char::is_whitespace) {
                continue;
            }
            links += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name(file) };
            assert!(target.exists(), "{}: {link} is not there", page.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).expect("a readable page");
                let there = text.lines().filter(|l| l.starts_with('#')).any(|l| anchor_of(l) == anchor);
                assert!(there, "{}: {link}: there is no such heading", page.display());
            }
        }
    }
    assert!(links > 40, "only {links} links");
}

/// The anchor that a heading has on the web.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}
