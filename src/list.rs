//! `rtrace -l`: the probes that there are on this machine, as attach points that a script can use.
//!
//! Owns the patterns of `-l` (comma lists, `KIND:TARGET`, a bare word for all kinds, `struct NAME`), the order and
//! form of the lines, and what `-lv` adds. Lines of one kind are collected in one buffer, sorted and written, or
//! written as they come where they come sorted; nothing is allocated for a line, as there are about 45,000 kernel
//! functions.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};

use rtrace_lang::kernel::{Functions, KernelError, Programs, Tracepoints, TypeKind, Types, UsdtProbe};
use rtrace_lang::probes::{self, KINDS, Listing, PerfEvent, ProbeKind, SIGNALS, usdt_argument_types};

use rtrace_core::glob::{Glob, is_glob};
use rtrace_facts::btf::{Prototype, keyword};
use rtrace_facts::tracefs;
use rtrace_runtime::system::System;
use rtrace_symbols::demangle::demangled;

/// How symbols of Rust begin (RFC 2603, "v0").
const RUST: &str = "_R";

/// The reason why nothing could be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("unknown probe type `{word}`")]
    UnknownKind {
        word: String,
        /// The kinds there are, for a note.
        kinds: Vec<&'static str>,
    },
    #[error("{}", .0.message)]
    Kernel(KernelError),
    #[error("cannot write the list: {0}")]
    Write(std::io::Error),
}

impl ListError {
    /// The suggestion, if any.
    pub fn help(&self) -> Option<String> {
        match self {
            ListError::UnknownKind { kinds, .. } => Some(format!("probe types: {}", kinds.join(", "))),
            ListError::Kernel(error) => error.help.clone(),
            ListError::Write(_) => None,
        }
    }
}

impl From<KernelError> for ListError {
    fn from(error: KernelError) -> ListError {
        ListError::Kernel(error)
    }
}

/// The probe types that a pattern without one searches: each location once, in the order of the lines. Returns have the
/// targets of entries, and uprobes need a file.
const EVERYWHERE: [&str; 6] = ["fentry", "hardware", "kprobe", "rawtracepoint", "software", "tracepoint"];

/// The probe types that it searches in programs.
const IN_PROGRAMS: [&str; 2] = ["uprobe", "usdt"];

/// Kinds by name.
fn kinds(names: &[&str]) -> Vec<&'static ProbeKind> {
    names.iter().filter_map(|name| probes::find(name)).collect()
}

/// Writes what matches a pattern, one attach point to a line, sorted within each kind; with `verbose`, arguments
/// follow, indented. Returns the number of attach points. A reader that closes the pipe has seen enough:
/// that is no error.
pub fn list(system: &System, pattern: &str, verbose: bool, out: &mut dyn Write) -> Result<usize, ListError> {
    let mut lister = Lister { system, verbose, out: BufWriter::with_capacity(64 << 10, out), count: 0 };
    let result = lister.patterns(pattern).and_then(|()| lister.out.flush().map_err(ListError::Write));
    // What the buffer could not write is lost with the reader, not tried again.
    let Lister { out, count, .. } = lister;
    let _ = out.into_parts();
    match result {
        Err(ListError::Write(e)) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(count),
        other => other.map(|()| count),
    }
}

/// The message for a pattern that matched nothing.
pub fn nothing_found(system: &System, pattern: &str) -> String {
    match near(system, pattern) {
        Some(near) => format!("nothing matches `{pattern}`; did you mean `{near}`?"),
        None => format!("nothing matches `{pattern}`"),
    }
}

/// The attach point or type that a pattern may have meant.
fn near(system: &System, pattern: &str) -> Option<String> {
    match parse(pattern.trim()) {
        Query::Probes { kinds, target } if kinds.len() == 1 && !target.iter().any(|t| is_glob(t)) => {
            let name = target.last().map_or("", String::as_str);
            let kind = kinds.first().copied()?;
            let ProbeKind { name: word, listing, .. } = kind;
            let first = target.first().map_or("", String::as_str);
            match listing {
                Listing::Tracepoints => {
                    system.kernel.nearest_tracepoint(first, name).map(|(c, n)| format!("{word}:{c}:{n}"))
                }
                Listing::TypedFunctions if first == "bpf" => {
                    system.kernel.nearest_bpf_function(name).map(|n| format!("{word}:bpf:{n}"))
                }
                Listing::Functions | Listing::TypedFunctions => {
                    system.kernel.nearest_function(name).map(|n| format!("{word}:{n}"))
                }
                Listing::ProgramFunctions => {
                    system.programs.nearest_user_symbol(first, name).map(|n| format!("{word}:{first}:{n}"))
                }
                Listing::Kind
                | Listing::RawTracepoints
                | Listing::StaticProbes
                | Listing::Words(_)
                | Listing::Events(_)
                | Listing::Iterators
                | Listing::Signals => None,
            }
        }
        Query::Type { kind, name } => system.nearest_type(kind, name.trim()).map(|n| format!("{} {n}", keyword(kind))),
        _ => None,
    }
}

/// A pattern taken apart.
#[derive(Debug, PartialEq)]
enum Query {
    Probes { kinds: Vec<&'static ProbeKind>, target: Vec<String> },
    Type { kind: TypeKind, name: String },
    Unknown(String),
}

fn parse(pattern: &str) -> Query {
    for kind in [TypeKind::Struct, TypeKind::Union, TypeKind::Enum] {
        if let Some(name) = pattern.strip_prefix(keyword(kind)).and_then(|rest| rest.strip_prefix(' ')) {
            return Query::Type { kind, name: name.trim().to_owned() };
        }
    }
    let mut parts = probes::split(pattern);
    let word = parts.remove(0);
    if word == "*" && !parts.is_empty() {
        return Query::Probes { kinds: kinds(&EVERYWHERE), target: parts };
    }
    if let Some(kind) = probes::find(&word) {
        return Query::Probes { kinds: vec![kind], target: parts };
    }
    if parts.is_empty() {
        return Query::Probes { kinds: kinds(&EVERYWHERE), target: vec![word] };
    }
    let glob = Glob::new(&word);
    let mut kinds: Vec<&ProbeKind> = KINDS.iter().copied().filter(|k| glob.matches(k.name.as_bytes())).collect();
    kinds.sort_unstable_by_key(|k| k.name);
    if kinds.is_empty() { Query::Unknown(word) } else { Query::Probes { kinds, target: parts } }
}

/// Splits at commas that are not inside double quotes, brackets or parentheses, as those of `Map[int,string]` are. At
/// least one part.
fn split(text: &str) -> Vec<String> {
    let (mut quoted, mut depth) = (false, 0usize);
    let parts = text.split(|c| {
        match c {
            '"' => quoted = !quoted,
            '[' | '(' => depth += 1,
            ']' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && !quoted && depth == 0
    });
    parts.map(str::to_owned).collect()
}

/// Lines of one kind, without the kind.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    fn push(&mut self, parts: &[&[u8]]) {
        for (i, part) in parts.iter().enumerate() {
            if i > 0 {
                self.text.push(b':');
            }
            self.text.extend_from_slice(part);
        }
        self.ends.push(self.text.len());
    }

    /// The lines, sorted, each once.
    fn sorted(&self) -> Vec<&[u8]> {
        let mut start = 0;
        let mut lines: Vec<&[u8]> = Vec::with_capacity(self.ends.len());
        for end in &self.ends {
            lines.extend(self.text.get(start..*end));
            start = *end;
        }
        lines.sort_unstable();
        lines.dedup();
        lines
    }
}

struct Lister<'a> {
    system: &'a System,
    verbose: bool,
    out: BufWriter<&'a mut dyn Write>,
    count: usize,
}

type Done = Result<(), ListError>;

impl Lister<'_> {
    fn patterns(&mut self, patterns: &str) -> Done {
        let mut parts = split(patterns);
        parts.retain(|p| !p.trim().is_empty());
        if parts.is_empty() {
            parts.push("*".to_owned());
        }
        let queries: Vec<Query> = parts.iter().map(|p| parse(p.trim())).collect();
        for query in queries {
            match query {
                Query::Unknown(word) => {
                    return Err(ListError::UnknownKind { word, kinds: KINDS.iter().map(|k| k.name).collect() });
                }
                Query::Type { kind, name } => self.types(kind, &name)?,
                Query::Probes { mut kinds, target } => {
                    let everywhere = kinds.iter().map(|k| k.name).eq(EVERYWHERE);
                    if everywhere {
                        kinds = self.everywhere(&target);
                    }
                    // In all that the process has mapped, not in its program alone.
                    let anywhere: Vec<String> = std::iter::once("*".to_owned()).chain(target.iter().cloned()).collect();
                    let in_programs =
                        |kind: &ProbeKind| everywhere && target.len() == 1 && IN_PROGRAMS.contains(&kind.name);
                    let several = kinds.len() > 1;
                    let mut first_error = None;
                    let before = self.count;
                    for kind in kinds {
                        match self.kind(kind, if in_programs(kind) { &anywhere } else { &target }) {
                            // Looking everywhere, what cannot be read (no BTF, no tracefs) is passed over.
                            Err(ListError::Kernel(e)) if several => first_error = first_error.or(Some(e)),
                            other => other?,
                        }
                    }
                    if let Some(error) = first_error
                        && self.count == before
                    {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// The kinds that a pattern without one looks through: programs only where a path names some, or with the process
    /// that is traced.
    fn everywhere(&self, target: &[String]) -> Vec<&'static ProbeKind> {
        if target.len() > 1 && target.first().is_some_and(|t| t.contains('/')) {
            return kinds(&IN_PROGRAMS);
        }
        let mut found = kinds(&EVERYWHERE);
        if self.system.programs.process().is_some() {
            found.extend(kinds(&IN_PROGRAMS));
        }
        found
    }

    fn kind(&mut self, kind: &'static ProbeKind, target: &[String]) -> Done {
        match kind.listing {
            Listing::Kind => self.line(kind.name, b""),
            Listing::Functions => self.functions(kind, target),
            Listing::TypedFunctions => self.btf_functions(kind, target),
            Listing::Tracepoints => self.tracepoints(target),
            Listing::RawTracepoints => self.raw_tracepoints(target),
            Listing::ProgramFunctions => self.user_functions(kind, target),
            Listing::StaticProbes => self.static_probes(target),
            Listing::Words(words) => self.words(kind.name, words, target),
            Listing::Signals => self.own(target),
            Listing::Iterators => self.iterators(target),
            Listing::Events(events) => self.perf_events(kind.name, events, target),
        }
    }

    fn line(&mut self, kind: &str, rest: &[u8]) -> Done {
        self.count += 1;
        let mut write = || {
            self.out.write_all(kind.as_bytes())?;
            if !rest.is_empty() {
                self.out.write_all(b":")?;
                self.out.write_all(rest)?;
            }
            self.out.write_all(b"\n")
        };
        write().map_err(ListError::Write)
    }

    fn argument(&mut self, ty: &str, name: &str) -> Done {
        let gap = if name.is_empty() { "" } else { " " };
        writeln!(self.out, "    {ty}{gap}{name}").map_err(ListError::Write)
    }

    fn functions(&mut self, kind: &'static ProbeKind, target: &[String]) -> Done {
        let (module, name) = module_and_name(target);
        let names = Glob::new(name);
        let mut lines = Lines::default();
        if names.exact().is_some() {
            // Patterns leave functions out that can be asked for by name.
            for f in self.system.kernel.traceable_functions(module, name)? {
                let of = f.module.as_deref().unwrap_or("vmlinux");
                let shown: &[&[u8]] =
                    if module.is_some() { &[of.as_bytes(), f.name.as_bytes()] } else { &[f.name.as_bytes()] };
                lines.push(shown);
            }
        } else {
            let Some(modules) = module.map(Glob::new) else { return self.functions_everywhere(kind, &names) };
            for (name, of) in self.system.kernel.traceable()? {
                let of = of.unwrap_or(b"vmlinux");
                if names.matches(name) && modules.matches(of) {
                    lines.push(&[of, name]);
                }
            }
        }
        for line in lines.sorted() {
            self.function(kind, line)?;
        }
        Ok(())
    }

    /// Without a module in the pattern, lines are names, which come sorted: they are written as they come.
    fn functions_everywhere(&mut self, kind: &'static ProbeKind, names: &Glob<'_>) -> Done {
        let mut last: &[u8] = b"";
        for (name, _) in self.system.kernel.traceable()? {
            // Once, though several modules may have it.
            if names.matches(name) && name != last {
                last = name;
                self.function(kind, name)?;
            }
        }
        Ok(())
    }

    fn function(&mut self, kind: &'static ProbeKind, line: &[u8]) -> Done {
        self.line(kind.name, line)?;
        if !self.verbose {
            return Ok(());
        }
        let text = String::from_utf8_lossy(line);
        let (module, name) = text.split_once(':').map_or((None, &*text), |(m, n)| (Some(m), n));
        let Some(prototype) = self.system.kernel.prototype(name, module) else { return Ok(()) };
        if kind.returns {
            return self.return_value(&prototype);
        }
        for (i, (_, ty)) in prototype.params.iter().enumerate() {
            self.argument(ty, &format!("arg{i}"))?;
        }
        Ok(())
    }

    fn return_value(&mut self, prototype: &Prototype) -> Done {
        if prototype.ret == "void" { Ok(()) } else { self.argument(&prototype.ret, "retval") }
    }

    fn btf_functions(&mut self, kind: &'static ProbeKind, target: &[String]) -> Done {
        if let [of, rest @ ..] = target
            && of == "bpf"
        {
            return self.bpf_functions(kind, rest);
        }
        let (module, name) = module_and_name(target);
        let mut lines = Lines::default();
        if is_glob(name) || module.is_some_and(is_glob) {
            let ret = kind.returns;
            self.system.kernel.each_btf_function(module, &Glob::new(name), &mut |name, module| {
                if std::str::from_utf8(name).is_ok_and(|name| probes::trampoline::barred(name, ret).is_some()) {
                    return;
                }
                lines.push(&[module.unwrap_or("vmlinux").as_bytes(), name]);
            })?;
        } else {
            for f in self.system.kernel.btf_functions(module, name)? {
                lines.push(&[f.module.as_deref().unwrap_or("vmlinux").as_bytes(), f.name.as_bytes()]);
            }
        }
        for line in lines.sorted() {
            self.line(kind.name, line)?;
            if self.verbose
                && let Some((module, name)) = String::from_utf8_lossy(line).split_once(':')
                && let Some(prototype) = self.system.kernel.prototype(name, Some(module))
            {
                for (name, ty) in &prototype.params {
                    self.argument(ty, name)?;
                }
                if kind.returns {
                    self.return_value(&prototype)?;
                }
            }
        }
        Ok(())
    }

    /// Functions of BPF programs: `NUMBER:NAME`, in the order of the numbers.
    fn bpf_functions(&mut self, kind: &'static ProbeKind, target: &[String]) -> Done {
        let (number, name) = module_and_name(target);
        let program = match number.map(str::parse) {
            Some(Ok(n)) => Some(n),
            Some(Err(_)) if number != Some("*") => return Ok(()),
            _ => None,
        };
        for f in self.system.kernel.bpf_functions(program, name)? {
            self.line(kind.name, format!("bpf:{}:{}", f.program, f.name).as_bytes())?;
            if self.verbose
                && let Some(prototype) = self.system.kernel.bpf_prototype(&f)
            {
                for (n, (name, ty)) in prototype.params.iter().enumerate() {
                    let unnamed = if prototype.params.len() == 1 { "ctx".to_owned() } else { format!("arg{n}") };
                    self.argument(ty, if name.is_empty() { &unnamed } else { name })?;
                }
                if kind.returns {
                    self.return_value(&prototype)?;
                }
            }
        }
        Ok(())
    }

    fn tracepoints(&mut self, target: &[String]) -> Done {
        let found = match target {
            [] => self.system.kernel.tracepoints("*", "*")?,
            [name] => self.system.kernel.tracepoints("*", name)?,
            [category, name, ..] => self.system.kernel.tracepoints(category, or_all(name))?,
        };
        let mut lines = Lines::default();
        for (category, name) in &found {
            lines.push(&[category.as_bytes(), name.as_bytes()]);
        }
        for line in lines.sorted() {
            self.line("tracepoint", line)?;
            if self.verbose
                && let Some((category, name)) = String::from_utf8_lossy(line).split_once(':')
                && let Some(format) = self.system.kernel.tracepoint_format(category, name)?
            {
                for field in tracefs::fields(&format) {
                    self.argument(field.text, "")?;
                }
            }
        }
        Ok(())
    }

    fn raw_tracepoints(&mut self, target: &[String]) -> Done {
        let (module, name) = module_and_name(target);
        let modules = Glob::new(module.unwrap_or("*"));
        let mut lines = Lines::default();
        for (of, name) in self.system.kernel.raw_tracepoints_by_module(&Glob::new(name))? {
            let of = of.as_deref().unwrap_or("vmlinux");
            if modules.matches(of.as_bytes()) {
                lines.push(&[of.as_bytes(), name.as_bytes()]);
            }
        }
        for line in lines.sorted() {
            self.line("rawtracepoint", line)?;
            if self.verbose
                && let Some((_, name)) = String::from_utf8_lossy(line).split_once(':')
                && let Some(prototype) = self.system.kernel.raw_prototype(name)
            {
                for (name, ty) in &prototype.params {
                    self.argument(ty, name)?;
                }
            }
        }
        Ok(())
    }

    fn user_functions(&mut self, kind: &'static ProbeKind, target: &[String]) -> Done {
        let (file, name) = match target {
            [] if self.system.programs.process().is_none() => return Ok(()),
            // All that the process has mapped that is traced.
            [] => ("*", "*"),
            [name] if is_glob(name) && !name.contains('/') && self.system.programs.process().is_some() => {
                ("*", name.as_str())
            }
            // As an attach point: of its program.
            [name] if !name.contains('/') && self.system.programs.process().is_some() => ("", or_all(name)),
            [file] => (file.as_str(), "*"),
            // A language tag between them says how to demangle.
            [file, .., name] => (file.as_str(), or_all(name)),
        };
        let language = match target {
            [_, language, _] => Some(language),
            _ => None,
        };
        for path in self.system.programs.executables(file)? {
            let symbols = match self.system.programs.user_symbols(&path, name) {
                // Of many files, those that are no executables are passed over.
                Err(_) if is_glob(file) => continue,
                other => other?,
            };
            // As it is written in the sources, in quotes, where a language is named or the pattern means such names: an
            // attach point that a script can have.
            let names = Glob::new(name);
            let by_symbol =
                language.is_none() && symbols.iter().any(|s| s.name == name || names.matches(s.name.as_bytes()));
            // Symbols of Rust's present form say nothing to anybody, unless just these are asked for.
            let as_symbol = |symbol: &str| by_symbol && (name.starts_with(RUST) || !symbol.starts_with(RUST));
            let mut lines = BTreeMap::new();
            for symbol in &symbols {
                let source = if as_symbol(&symbol.name) { None } else { demangled(&symbol.name) };
                let shown = source.map_or_else(|| symbol.name.clone(), |full| format!("\"{full}\""));
                let line = match language {
                    Some(language) => format!("{path}:{language}:{shown}"),
                    None => format!("{path}:{shown}"),
                };
                lines.entry(line).or_insert(symbol);
            }
            for (line, s) in lines {
                self.line(kind.name, line.as_bytes())?;
                if self.verbose
                    // Those whose debug information is out of reach are listed without.
                    && let Ok(Some(f)) = self.system.programs.user_function(&path, s.file_offset, &s.name)
                {
                    match kind.returns {
                        true if f.returns == "void" => {}
                        true => self.argument(&f.returns, "retval")?,
                        false => f.params.iter().try_for_each(|p| self.argument(&p.declared, &p.name))?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Static probes: once for each name, however many places it has.
    fn static_probes(&mut self, target: &[String]) -> Done {
        let (file, provider, name) = match target {
            // Of the process that is traced; there may be none.
            [] if self.system.programs.process().is_none() => return Ok(()),
            [] => ("*", "*", "*"),
            [name] if !name.contains('/') && self.system.programs.process().is_some() => ("*", "*", or_all(name)),
            [file] => (file.as_str(), "*", "*"),
            [file, name] => (file.as_str(), "*", or_all(name)),
            [file, provider, name, ..] => (file.as_str(), or_all(provider), or_all(name)),
        };
        let (providers, names) = (Glob::new(provider), Glob::new(name));
        for path in self.system.programs.executables(or_all(file))? {
            let probes = match self.system.programs.usdt_probes(&path) {
                Err(_) if is_glob(file) => continue,
                other => other?,
            };
            let mut lines = Lines::default();
            let fits = |p: &&UsdtProbe| providers.matches(p.provider.as_bytes()) && names.matches(p.name.as_bytes());
            for p in probes.iter().filter(fits) {
                lines.push(&[path.as_bytes(), p.provider.as_bytes(), p.name.as_bytes()]);
            }
            for line in lines.sorted() {
                self.line("usdt", line)?;
                let full = |p: &&UsdtProbe| format!("{path}:{}:{}", p.provider, p.name).as_bytes() == line;
                if self.verbose
                    && let Some(probe) = probes.iter().find(full)
                {
                    for (n, ty) in usdt_argument_types(&probe.arguments).into_iter().enumerate() {
                        self.argument(&ty, &format!("arg{n}"))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Kinds whose targets are a few words; the number that follows the last colon is the script's.
    fn words(&mut self, kind: &'static str, words: &[&str], target: &[String]) -> Done {
        let names = Glob::new(target.first().map_or("*", |t| or_all(t)));
        for word in words.iter().filter(|w| names.matches(w.as_bytes())) {
            self.line(kind, format!("{word}:").as_bytes())?;
        }
        Ok(())
    }

    fn iterators(&mut self, target: &[String]) -> Done {
        let names = Glob::new(target.first().map_or("*", |t| or_all(t)));
        for kind in self.system.kernel.iterators()?.iter().filter(|k| names.matches(k.as_bytes())) {
            self.line("iter", kind.as_bytes())?;
            if self.verbose
                && let Some(prototype) = self.system.kernel.prototype(&format!("bpf_iter_{kind}"), Some("vmlinux"))
            {
                // The first one is the same for all.
                for (name, ty) in prototype.params.iter().skip(1) {
                    self.argument(ty, name)?;
                }
            }
        }
        Ok(())
    }

    fn own(&mut self, target: &[String]) -> Done {
        let [what, name] = [0, 1].map(|i| Glob::new(target.get(i).map_or("*", |t| or_all(t))));
        let mut lines: Vec<String> = SIGNALS.iter().map(|(name, _)| format!("signal:{name}")).collect();
        lines.retain(|l| {
            l.split_once(':').is_some_and(|(w, n)| what.matches(w.as_bytes()) && name.matches(n.as_bytes()))
        });
        lines.iter().try_for_each(|l| self.line("self", l.as_bytes()))
    }

    fn perf_events(&mut self, kind: &'static str, events: &[PerfEvent], target: &[String]) -> Done {
        let mut words: Vec<&str> = events.iter().flat_map(|e| [e.0, e.1]).filter(|w| !w.is_empty()).collect();
        // As the lines sort: the colon after a name counts.
        words.sort_by(|a, b| format!("{a}:").cmp(&format!("{b}:")));
        self.words(kind, &words, target)
    }

    fn types(&mut self, kind: TypeKind, pattern: &str) -> Done {
        for name in self.system.kernel.type_names(kind, &Glob::new(pattern))? {
            self.count += 1;
            let text = match self.verbose {
                true => self.system.kernel.definition(kind, &name)?.map(|text| text + "\n"),
                false => None,
            };
            let text = text.unwrap_or_else(|| format!("{} {name}", keyword(kind)));
            writeln!(self.out, "{text}").map_err(ListError::Write)?;
        }
        Ok(())
    }
}

fn or_all(word: &str) -> &str {
    if word.is_empty() { "*" } else { word }
}

/// `[MODULE:]NAME` as it follows a kind.
fn module_and_name(target: &[String]) -> (Option<&str>, &str) {
    match target {
        [] => (None, "*"),
        [name] => (None, or_all(name)),
        [module, name, ..] => (Some(module), or_all(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(pattern: &str, verbose: bool) -> (usize, String) {
        let mut out = Vec::new();
        let count = list(&System::new(), pattern, verbose, &mut out).expect("a list");
        (count, String::from_utf8(out).expect("text"))
    }

    #[test]
    fn patterns_are_taken_apart() {
        let probes = |names: &[&str], target: &[&str]| Query::Probes {
            kinds: kinds(names),
            target: target.iter().map(|t| (*t).to_owned()).collect(),
        };
        assert_eq!(parse("kprobe:*skb*"), probes(&["kprobe"], &["*skb*"]));
        assert_eq!(parse("k:nf_tables:*"), probes(&["kprobe"], &["nf_tables", "*"]));
        assert_eq!(parse("*execve*"), probes(&EVERYWHERE, &["*execve*"]));
        assert_eq!(parse("*:vfs_read"), probes(&EVERYWHERE, &["vfs_read"]));
        assert_eq!(parse("kprobe"), probes(&["kprobe"], &[]));
        assert_eq!(parse("k*:vfs_read"), probes(&["kprobe", "kretprobe"], &["vfs_read"]));
        assert_eq!(parse("u:/bin/bash:\"a:b\""), probes(&["uprobe"], &["/bin/bash", "a:b"]));
        assert_eq!(parse("u:./app:ns::f"), probes(&["uprobe"], &["./app", "ns::f"]));
        assert_eq!(split("u:./app:main.Map[int,string],k:*"), ["u:./app:main.Map[int,string]", "k:*"]);
        assert_eq!(parse("struct path"), Query::Type { kind: TypeKind::Struct, name: "path".to_owned() });
        assert_eq!(parse("nosuch:*"), Query::Unknown("nosuch".to_owned()));
    }

    #[test]
    fn events_of_the_processor_and_the_kernel() {
        let (count, text) = listed("software:*", false);
        assert_eq!(count, text.lines().count());
        assert!(text.starts_with("software:alignment-faults:\nsoftware:bpf-output:\n"), "{text}");
        assert!(text.contains("software:cpu-migrations:\nsoftware:cpu:\nsoftware:cs:\n"), "{text}");
        assert_eq!(
            listed("interval:*,profile:h*", false).1,
            "interval:hz:\ninterval:ms:\ninterval:s:\ninterval:us:\nprofile:hz:\n"
        );
    }

    #[test]
    fn unknown_kinds_name_the_known_ones() {
        assert_eq!(listed("software:cpu, ,profile:s", false).0, 2);
        let error = list(&System::new(), "nosuch:*", false, &mut Vec::new()).expect_err("an error");
        assert_eq!(error.to_string(), "unknown probe type `nosuch`");
        assert!(error.help().is_some_and(|h| h.contains("kprobe, kretprobe, fentry")));
    }

    #[test]
    fn functions_of_executables() {
        let own = std::env::current_exe().expect("a path").display().to_string();
        let (count, text) = listed(&format!("uprobe:{own}:main"), false);
        assert_eq!((count, text), (1, format!("uprobe:{own}:main\n")));
    }

    #[test]
    #[ignore = "reads the BTF of the running kernel"]
    fn arguments_as_c_declares_them() {
        let (_, text) = listed("fexit:vfs_read", true);
        assert_eq!(
            text,
            "fexit:vmlinux:vfs_read\n    struct file * file\n    char * buf\n    size_t count\n    loff_t * pos\n    ssize_t retval\n"
        );
        assert_eq!(
            listed("kprobe:vfs_write", true).1,
            "kprobe:vfs_write\n    struct file * arg0\n    const char * arg1\n    size_t arg2\n    loff_t * arg3\n"
        );
        let (_, text) = listed("struct path,enum pid_type", true);
        assert!(
            text.starts_with("vmlinux: struct path {\n\tstruct vfsmount *mnt;\n\tstruct dentry *dentry;\n};\n\n"),
            "{text}"
        );
        assert!(text.contains("vmlinux: enum pid_type {\n\tPIDTYPE_PID = 0,\n"), "{text}");
        assert!(listed("struct *sk_buff*", false).1.contains("struct sk_buff_head\n"));
    }

    #[test]
    fn a_closed_pipe_ends_quietly() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert!(list(&System::new(), "software:*", false, &mut Closed).is_ok());
    }
}
