//! A recorded kernel for tests: the [`Kernel`] trait answered from text, so that everything but
//! attaching is tested without that kernel and without privileges.
//!
//! Facts are lines (`tests/facts/6.12/types.txt`), members and values indented under theirs:
//! ```text
//! function [until V] NAME #BTFID (PARAM: TYPE, …) -> TYPE [in MODULE]     traceable NAME
//! raw NAME #BTFID (PARAM: TYPE, …) -> void                               renamed OLD NEW
//! typedef NAME TYPE       symbol NAME ADDRESS       enum NAME TYPE       program PATH
//! struct NAME SIZE, union #1 SIZE [named TYPEDEF]  with  NAME: TYPE @BITOFFSET[:BITS]
//! ```
//! Anonymous records have numbers instead of names; types read from left to right, `struct sock *[4]`
//! being four pointers. Tracepoints come as tracefs writes them, after a line `system: CATEGORY`.

use rtrace_core::bundle::ProgType;
use rtrace_core::glob::Glob;
use rtrace_core::kernel::{
    BpfFunction, BpfName, Feature, Function, FunctionName, Functions, GoAbi, Image, Kernel, KernelError, Machine,
    Member, Programs, Tracepoint, TracepointField, Tracepoints, TypeKind, Types, UsdtProbe, UserFunction, UserObject,
    UserSymbol, Version,
};
use rtrace_core::nearest::nearest;
use rtrace_core::types::{Record, Space, Type, TypeId};
use std::collections::HashMap;

/// Facts about one kernel.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    version: (u16, u16),
    records: Vec<RecordFacts>,
    enums: Vec<EnumFacts>,
    typedefs: HashMap<String, Type>,
    functions: Vec<FunctionFacts>,
    raw: Vec<Function>,
    renamed: HashMap<String, String>,
    symbols: HashMap<String, u64>,
    programs: Vec<(String, Vec<UserSymbol>)>,
    /// With the path of the program.
    usdt: Vec<(String, UsdtProbe)>,
    tracepoints: Vec<Tracepoint>,
}

#[derive(Clone, Debug)]
struct RecordFacts {
    /// `struct NAME`, `union #1`.
    key: String,
    /// As messages name it.
    shown: String,
    size: u32,
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct EnumFacts {
    name: String,
    ty: Type,
    values: Vec<(String, i64)>,
}

#[derive(Clone, Debug)]
struct FunctionFacts {
    function: Function,
    /// The first version without it.
    until: Option<Version>,
    /// BTF describes it.
    typed: bool,
}

type Parsed<T> = Result<T, String>;

impl Recorded {
    /// For the compiler.
    pub fn facts(&self) -> Kernel<'_> {
        Kernel::of(self)
    }

    /// Reads facts and tracepoint formats; the error quotes the line that is not understood.
    pub fn parse(version: Version, facts: &str, formats: &str) -> Parsed<Recorded> {
        let mut recorded = Recorded { version: (version.0, version.1), ..Recorded::default() };
        // Types may be used before their line: handles first.
        for line in facts.lines() {
            recorded.header(line).ok_or_else(|| format!("not understood: {line}"))?;
        }
        let mut owner = String::new();
        for line in facts.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
            let read = match line.strip_prefix("  ") {
                Some(inner) => recorded.inner(&owner, inner),
                None => {
                    owner = line.to_owned();
                    recorded.outer(line)
                }
            };
            read.ok_or_else(|| format!("not understood: {line}"))?;
        }
        for text in formats.split("system: ").skip(1) {
            let tracepoint = recorded.format(text);
            let first = text.lines().next().unwrap_or_default();
            recorded.tracepoints.push(tracepoint.ok_or_else(|| format!("a format of {first} is not understood"))?);
        }
        Ok(recorded)
    }

    /// The same facts under another version, for what depends on it.
    pub fn at_version(self, version: Version) -> Recorded {
        Recorded { version: (version.0, version.1), ..self }
    }

    // ---- reading ----

    fn header(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [word @ ("struct" | "union"), name, size, rest @ ..] => {
                let shown = match rest {
                    ["named", typedef] => (*typedef).to_owned(),
                    _ if name.starts_with('#') => format!("{word} (anonymous)"),
                    _ => format!("{word} {name}"),
                };
                let key = format!("{word} {name}");
                self.records.push(RecordFacts { key, shown, size: size.parse().ok()?, members: Vec::new() });
            }
            ["enum", name, integer] => {
                let Type::Int { bits, signed } = self.ty(integer)? else { return None };
                let ty = Type::Enum { name: (*name).to_owned(), bits, signed };
                self.enums.push(EnumFacts { name: (*name).to_owned(), ty, values: Vec::new() });
            }
            _ => {}
        }
        Some(())
    }

    fn outer(&mut self, line: &str) -> Option<()> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "function" => {
                let (until, rest) = match rest.strip_prefix("until ") {
                    Some(rest) => {
                        let (version, rest) = rest.split_once(' ')?;
                        let (major, minor) = version.split_once('.')?;
                        (Some(Version(major.parse().ok()?, minor.parse().ok()?)), rest)
                    }
                    None => (None, rest),
                };
                let function = self.function_line(rest)?;
                self.functions.push(FunctionFacts { function, until, typed: true });
            }
            "raw" => {
                let function = self.function_line(rest)?;
                self.raw.push(function);
            }
            "traceable" => {
                let function = Function {
                    name: rest.into(),
                    module: None,
                    btf_id: 0,
                    params: Vec::new(),
                    variadic: false,
                    refused: Vec::new(),
                    ret: Type::Void,
                };
                self.functions.push(FunctionFacts { function, until: None, typed: false });
            }
            "renamed" => {
                let (old, new) = rest.split_once(' ')?;
                self.renamed.insert(old.to_owned(), new.to_owned());
            }
            "symbol" => {
                let (name, address) = rest.split_once(' ')?;
                self.symbols.insert(name.to_owned(), number(address)?);
            }
            "typedef" => {
                let (name, ty) = rest.split_once(' ')?;
                let ty = self.ty(ty)?;
                self.typedefs.insert(name.to_owned(), ty);
            }
            "program" => self.programs.push((rest.to_owned(), Vec::new())),
            "struct" | "union" | "enum" => {}
            _ => return None,
        }
        Some(())
    }

    fn inner(&mut self, owner: &str, line: &str) -> Option<()> {
        let mut words = owner.split(' ');
        match words.next()? {
            word @ ("struct" | "union") => {
                let key = format!("{word} {}", words.next()?);
                let (name, rest) = line.split_once(": ")?;
                let (ty, place) = rest.rsplit_once(" @")?;
                let (place, big_endian) = place.strip_suffix(" be").map_or((place, false), |p| (p, true));
                let (offset, bits) = match place.split_once(':') {
                    Some((offset, bits)) => (offset, Some(bits.parse().ok()?)),
                    None => (place, None),
                };
                let name = if name == "-" { String::new() } else { name.to_owned() };
                let member = Member { name, ty: self.ty(ty)?, bit_offset: offset.parse().ok()?, bits, big_endian };
                self.records.iter_mut().find(|r| r.key == key)?.members.push(member);
            }
            "enum" => {
                let (name, value) = line.split_once(" = ")?;
                let owner = words.next()?;
                let values = &mut self.enums.iter_mut().find(|e| e.name == owner)?.values;
                values.push((name.to_owned(), value.parse().ok()?));
            }
            "program" => match line.split(' ').collect::<Vec<_>>().as_slice() {
                [name, address, "at", offset, "size", size] => self.programs.last_mut()?.1.push(UserSymbol {
                    name: (*name).to_owned(),
                    address: number(address)?,
                    file_offset: number(offset)?,
                    size: number(size)?,
                    chooses: false,
                }),
                ["usdt", provider, name, "at", offset, "semaphore", semaphore, arguments @ ..] => {
                    let (path, _) = self.programs.last()?;
                    let probe = UsdtProbe {
                        provider: (*provider).to_owned(),
                        name: (*name).to_owned(),
                        address: number(offset)?,
                        file_offset: number(offset)?,
                        semaphore: number(semaphore)?,
                        arguments: arguments.join(" "),
                    };
                    self.usdt.push((path.clone(), probe));
                }
                _ => return None,
            },
            _ => return None,
        }
        Some(())
    }

    /// `NAME #ID (PARAM: TYPE, …) -> TYPE [in MODULE]`
    fn function_line(&self, line: &str) -> Option<Function> {
        let (name, rest) = line.split_once(" #")?;
        let (id, rest) = rest.split_once(" (")?;
        let (params, rest) = rest.split_once(") -> ")?;
        let (ret, module) = match rest.split_once(" in ") {
            Some((ret, module)) => (ret, Some(module.to_owned())),
            None => (rest, None),
        };
        let variadic = params.ends_with("...");
        let params = params.split(", ").filter(|p| !p.is_empty() && *p != "...").map(|p| {
            let (name, ty) = p.split_once(": ")?;
            Some((name.to_owned(), self.ty(ty)?))
        });
        Some(Function {
            name: name.to_owned(),
            module,
            btf_id: id.parse().ok()?,
            params: params.collect::<Option<_>>()?,
            variadic,
            refused: Vec::new(),
            ret: self.ty(ret)?,
        })
    }

    fn ty(&self, text: &str) -> Option<Type> {
        let end = text.find([' ', '[']).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        let (mut ty, mut rest) = match word {
            "struct" | "union" => {
                let name = rest.trim_start();
                let end = name.find([' ', '[']).unwrap_or(name.len());
                let (name, rest) = name.split_at(end);
                (self.record(&format!("{word} {name}"))?, rest)
            }
            "enum" => {
                let name = rest.trim_start();
                let end = name.find([' ', '[']).unwrap_or(name.len());
                let (name, rest) = name.split_at(end);
                (self.enums.iter().find(|e| e.name == name)?.ty.clone(), rest)
            }
            "string" => {
                let (cap, rest) = rest.strip_prefix('[')?.split_once(']')?;
                (Type::String { cap: cap.parse().ok()? }, rest)
            }
            "void" => (Type::Void, rest),
            "bool" => (Type::Bool, rest),
            _ => match word.strip_prefix('u').unwrap_or(word).strip_prefix("int") {
                Some(bits) => (Type::Int { bits: bits.parse().ok()?, signed: !word.starts_with('u') }, rest),
                None => return None,
            },
        };
        while !rest.is_empty() {
            let trimmed = rest.trim_start();
            if let Some(after) = trimmed.strip_prefix('*') {
                ty = Type::kptr(ty);
                rest = after;
            } else {
                let (len, after) = trimmed.strip_prefix('[')?.split_once(']')?;
                ty = Type::Array { elem: Box::new(ty), len: len.parse().ok()? };
                rest = after;
            }
        }
        Some(ty)
    }

    fn record(&self, key: &str) -> Option<Type> {
        let index = self.records.iter().position(|r| r.key == key)?;
        let r = self.records.get(index)?;
        Some(Type::Record(Record { name: r.shown.clone(), id: TypeId(index as u32), size: r.size }))
    }

    /// A tracepoint's format, after the line with its category.
    fn format(&self, text: &str) -> Option<Tracepoint> {
        let category = text.lines().next()?.trim().to_owned();
        let value = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
        // The common fields end at the first empty line.
        let own = text.lines().skip_while(|l| !l.starts_with("format:")).skip_while(|l| !l.trim().is_empty());
        let fields = own.filter_map(|l| l.trim().strip_prefix("field:")).map(|l| self.format_field(&category, l));
        Some(Tracepoint {
            name: value("name:")?.to_owned(),
            id: value("ID:")?.parse().ok()?,
            fields: fields.collect::<Option<_>>()?,
            category,
        })
    }

    /// `char comm[16]; offset:8; size:16; signed:0;`
    fn format_field(&self, category: &str, line: &str) -> Option<TracepointField> {
        let mut parts = line.split(';').map(str::trim);
        let text = parts.next()?;
        let mut part = |key: &str| parts.next()?.strip_prefix(key)?.parse::<u32>().ok();
        let (offset, size, signed) = (part("offset:")?, part("size:")?, part("signed:")? == 1);
        let data_loc = text.starts_with("__data_loc");
        let (front, array) = match text.find('[') {
            Some(at) if !data_loc => text.split_at(at),
            _ => (text, ""),
        };
        let (before, name) = front.split_at(front.rfind([' ', '*', ']'])? + 1);
        let before = before.trim_end();
        let space = if category == "syscalls" { Space::User } else { Space::Kernel };
        let ty = if data_loc {
            Type::kptr(Type::I8)
        } else if array.is_empty() {
            self.format_type(before, size, signed, space)
        } else if before == "char" || before == "const char" {
            Type::String { cap: size }
        } else {
            let elem = self.format_type(before, 1, signed, space);
            let len = size.checked_div(elem.size()).unwrap_or(0);
            Type::Array { elem: Box::new(elem), len }
        };
        let declared = format!("{before}{array}");
        Some(TracepointField { name: name.to_owned(), declared, offset, size, signed, ty, data_loc })
    }

    /// A C type as formats write it; integers go by their size.
    fn format_type(&self, declared: &str, size: u32, signed: bool, space: Space) -> Type {
        let declared = declared.trim();
        if let Some(inner) = declared.strip_suffix("const") {
            return self.format_type(inner, size, signed, space);
        }
        if let Some(inner) = declared.strip_suffix('*') {
            return Type::Ptr { to: Box::new(self.format_type(inner, 0, false, space)), space };
        }
        let bare = declared.trim_start_matches("const ").trim();
        match bare {
            "void" => return Type::Void,
            "bool" => return Type::Bool,
            "char" => return Type::I8,
            _ => {}
        }
        if let Some(name) = bare.strip_prefix("enum ") {
            let bits = if size == 0 { 32 } else { (size * 8) as u8 };
            return Type::Enum { name: name.to_owned(), bits, signed };
        }
        if bare.starts_with("struct ") || bare.starts_with("union ") {
            return self.record(bare).unwrap_or(Type::Void);
        }
        match size {
            0 => self.typedefs.get(bare).cloned().unwrap_or(Type::I32),
            _ => Type::Int { bits: (size * 8) as u8, signed },
        }
    }

    // ---- answering ----

    fn record_facts(&self, id: TypeId) -> Option<&RecordFacts> {
        self.records.get(id.0 as usize)
    }

    fn functions(&self) -> impl Iterator<Item = &FunctionFacts> {
        self.functions.iter().filter(|f| f.until.is_none_or(|v| self.version() < v))
    }

    fn names(&self, typed: bool, module: Option<&str>, pattern: &str) -> Vec<FunctionName> {
        let of_module = |f: &Function| module.is_none_or(|m| glob(m, f.module.as_deref().unwrap_or("vmlinux")));
        let mut found: Vec<FunctionName> = self
            .functions()
            .filter(|f| (f.typed || !typed) && glob(pattern, &f.function.name) && of_module(&f.function))
            .map(|f| FunctionName { name: f.function.name.clone(), module: f.function.module.clone() })
            .collect();
        found.sort();
        found
    }
}

impl Types for Recorded {
    fn find_type(&self, kind: TypeKind, name: &str) -> Result<Option<Type>, KernelError> {
        Ok(match kind {
            TypeKind::Struct => self.record(&format!("struct {name}")),
            TypeKind::Union => self.record(&format!("union {name}")),
            TypeKind::Enum => self.enums.iter().find(|e| e.name == name).map(|e| e.ty.clone()),
            TypeKind::Typedef => self.typedefs.get(name).cloned(),
        })
    }

    fn member(&self, id: TypeId, name: &str) -> Option<Member> {
        let members = &self.record_facts(id)?.members;
        if let Some(m) = members.iter().find(|m| m.name == name) {
            return Some(m.clone());
        }
        members.iter().filter(|m| m.name.is_empty()).find_map(|outer| {
            let Type::Record(inner) = &outer.ty else { return None };
            let found = self.member(inner.id, name)?;
            Some(Member { bit_offset: outer.bit_offset + found.bit_offset, ..found })
        })
    }

    fn members(&self, id: TypeId) -> Vec<Member> {
        self.record_facts(id).map(|r| r.members.clone()).unwrap_or_default()
    }

    fn enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.enums.iter().find_map(|e| e.values.iter().find(|v| v.0 == name).map(|v| (v.1, e.ty.clone())))
    }

    fn module_enumerator(&self, _: &str) -> Option<(i64, Type)> {
        None
    }

    fn enum_values(&self, name: &str) -> Vec<(String, i64)> {
        self.enums.iter().find(|e| e.name == name).map(|e| e.values.clone()).unwrap_or_default()
    }

    fn nearest_type(&self, kind: TypeKind, name: &str) -> Option<String> {
        let prefix = match kind {
            TypeKind::Struct => "struct ",
            TypeKind::Union => "union ",
            TypeKind::Enum => return nearest(name, self.enums.iter().map(|e| e.name.as_str())),
            TypeKind::Typedef => {
                let mut names: Vec<&str> = self.typedefs.keys().map(String::as_str).collect();
                names.sort_unstable();
                return nearest(name, names);
            }
        };
        nearest(name, self.records.iter().filter_map(|r| r.key.strip_prefix(prefix)))
    }

    fn user_type(&self, _: &str, _: TypeKind, _: &str) -> Option<Type> {
        None
    }

    fn user_enumerator(&self, _: &str, _: &str) -> Option<(i64, Type)> {
        None
    }
}

impl Functions for Recorded {
    fn function(&self, name: &str, module: Option<&str>) -> Result<Option<Function>, KernelError> {
        let of_module = |f: &Function| module.is_none_or(|m| f.module.as_deref().unwrap_or("vmlinux") == m);
        let found = self.functions().find(|f| f.typed && f.function.name == name && of_module(&f.function));
        Ok(found.map(|f| f.function.clone()))
    }

    fn traceable_functions(&self, module: Option<&str>, pattern: &str) -> Result<Vec<FunctionName>, KernelError> {
        Ok(self.names(false, module, pattern))
    }

    fn functions_are_given(&self) -> bool {
        false
    }

    fn shares_name(&self, _: &str) -> bool {
        false
    }

    fn namesakes(&self, _: &str) -> Vec<u64> {
        Vec::new()
    }

    fn btf_functions(&self, module: Option<&str>, pattern: &str) -> Result<Vec<FunctionName>, KernelError> {
        Ok(self.names(true, module, pattern))
    }

    fn bpf_functions(&self, _: Option<u32>, _: &str) -> Result<Vec<BpfName>, KernelError> {
        Ok(Vec::new())
    }

    fn bpf_function(&self, _: &BpfName) -> Result<Option<BpfFunction>, KernelError> {
        Ok(None)
    }

    fn has_bpf_program(&self, _: Option<u32>, _: &str) -> bool {
        false
    }

    fn nearest_bpf_function(&self, _: &str) -> Option<String> {
        None
    }

    fn has_module(&self, _: &str) -> bool {
        true
    }

    fn nearest_function(&self, name: &str) -> Option<String> {
        let renamed = self.renamed.get(name).cloned();
        renamed.or_else(|| nearest(name, self.functions().map(|f| f.function.name.as_str())))
    }

    fn symbol_address(&self, name: &str) -> Option<u64> {
        self.symbols.get(name).copied()
    }

    fn nearest_symbol(&self, name: &str) -> Option<String> {
        nearest(name, self.symbols.keys().map(String::as_str))
    }

    fn kfunc_allowed(&self, _: &str, _: ProgType) -> bool {
        false
    }
}

impl Tracepoints for Recorded {
    fn tracepoint(&self, category: &str, name: &str) -> Result<Option<Tracepoint>, KernelError> {
        Ok(self.tracepoints.iter().find(|t| t.category == category && t.name == name).cloned())
    }

    fn tracepoints(&self, category: &str, name: &str) -> Result<Vec<(String, String)>, KernelError> {
        let found = self.tracepoints.iter().filter(|t| glob(category, &t.category) && glob(name, &t.name));
        let mut found: Vec<_> = found.map(|t| (t.category.clone(), t.name.clone())).collect();
        found.sort();
        Ok(found)
    }

    fn raw_tracepoint(&self, name: &str) -> Result<Option<Function>, KernelError> {
        Ok(self.raw.iter().find(|f| f.name == name).cloned())
    }

    fn raw_tracepoints(&self, pattern: &str) -> Result<Vec<String>, KernelError> {
        Ok(self.raw.iter().filter(|f| glob(pattern, &f.name)).map(|f| f.name.clone()).collect())
    }

    fn iterators(&self) -> Result<Vec<String>, KernelError> {
        let mut found: Vec<String> =
            self.functions().filter_map(|f| f.function.name.strip_prefix("bpf_iter_")).map(str::to_owned).collect();
        found.sort();
        Ok(found)
    }

    fn nearest_tracepoint(&self, category: &str, name: &str) -> Option<(String, String)> {
        if let Some(t) = self.tracepoints.iter().find(|t| t.name == name) {
            return Some((t.category.clone(), t.name.clone()));
        }
        let all: Vec<String> = self.tracepoints.iter().map(|t| format!("{}:{}", t.category, t.name)).collect();
        let found = nearest(&format!("{category}:{name}"), all.iter().map(String::as_str))?;
        found.split_once(':').map(|(c, n)| (c.to_owned(), n.to_owned()))
    }
}

impl Programs for Recorded {
    fn executables(&self, pattern: &str) -> Result<Vec<String>, KernelError> {
        let named = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or(path);
            file == pattern || file.split(".so").next() == Some(pattern)
        };
        let found = self.programs.iter().filter(|(path, _)| glob(pattern, path) || named(path));
        Ok(found.map(|(path, _)| path.clone()).collect())
    }

    fn user_symbols(&self, path: &str, pattern: &str) -> Result<Vec<UserSymbol>, KernelError> {
        let program = self.programs.iter().find(|(p, _)| p == path);
        Ok(program.map(|(_, s)| s.iter().filter(|s| glob(pattern, &s.name)).cloned().collect()).unwrap_or_default())
    }

    fn user_offset(&self, path: &str, address: u64) -> Result<Option<u64>, KernelError> {
        let program = self.programs.iter().find(|(p, _)| p == path);
        let inside = |s: &&UserSymbol| (s.address..s.address + s.size).contains(&address);
        let found = program.and_then(|(_, s)| s.iter().find(inside));
        Ok(found.map(|s| s.file_offset + (address - s.address)))
    }

    fn usdt_probes(&self, path: &str) -> Result<Vec<UsdtProbe>, KernelError> {
        Ok(self.usdt.iter().filter(|(p, _)| p == path).map(|(_, probe)| probe.clone()).collect())
    }

    fn user_symbol_at(&self, path: &str, address: u64) -> Result<Option<UserSymbol>, KernelError> {
        let program = self.programs.iter().find(|(p, _)| p == path);
        let inside = |s: &&UserSymbol| (s.address..s.address + s.size).contains(&address);
        Ok(program.and_then(|(_, s)| s.iter().find(inside)).cloned())
    }

    fn instructions(&self, _: &str, _: &UserSymbol, _: u64) -> Result<Option<(u64, u64)>, KernelError> {
        Ok(None)
    }

    fn returns(&self, _: &str, _: &UserSymbol) -> Vec<u64> {
        Vec::new()
    }

    fn source_name(&self, _: &str) -> Option<String> {
        None
    }

    fn go_abi(&self, _: &str, _: &UserSymbol) -> Option<GoAbi> {
        None
    }

    fn is_stripped(&self, _: &str) -> bool {
        false
    }

    fn user_function(&self, _: &str, _: u64, _: &str) -> Result<Option<UserFunction>, KernelError> {
        Ok(None)
    }

    fn inlined(&self, _: &str, _: &str) -> Result<Vec<UserSymbol>, KernelError> {
        Ok(Vec::new())
    }

    fn source_line(&self, path: &str, _: &str, _: u64, _: Option<u64>) -> Result<Vec<UserSymbol>, KernelError> {
        Err(KernelError { message: format!("{path} has no debug information"), help: None })
    }

    fn user_object(&self, path: &str, name: &str) -> Result<Option<UserObject>, KernelError> {
        let found = self.user_symbols(path, name)?.into_iter().next();
        Ok(found.map(|s| UserObject { address: s.address, size: s.size, image: Image::Executable { code: 0x1000 } }))
    }

    fn user_address(&self, path: &str, offset: u64) -> Result<Option<u64>, KernelError> {
        let symbols = self.user_symbols(path, "*")?;
        let inside = |s: &UserSymbol| (s.file_offset..s.file_offset + s.size.max(1)).contains(&offset);
        Ok(symbols.into_iter().find(inside).map(|s| s.address + (offset - s.file_offset)))
    }

    fn nearest_user_symbol(&self, path: &str, name: &str) -> Option<String> {
        let (_, symbols) = self.programs.iter().find(|(p, _)| p == path)?;
        nearest(name, symbols.iter().map(|s| s.name.as_str()))
    }
}

impl Machine for Recorded {
    fn version(&self) -> Version {
        Version(self.version.0, self.version.1)
    }

    fn has(&self, feature: Feature) -> bool {
        self.version() >= feature.since()
    }

    fn cgroup_id(&self, path: &str) -> Result<u64, KernelError> {
        match path {
            "/sys/fs/cgroup" => Ok(1),
            _ => Err(KernelError { message: format!("the recording has no cgroup {path}"), help: None }),
        }
    }

    fn pid_namespace(&self) -> Option<(u64, u64)> {
        None
    }
}

/// A decimal or `0x` number.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Whether a name matches a pattern.
fn glob(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).matches(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: &str = "\
function vfs_read #7 (file: struct file *, pos: int64 *) -> int64
function until 5.16 old #8 () -> void in m
enum e uint32
  A = 1
struct file 16
  f: struct file *[2] @0
  -: union #1 @64
union #1 8
  inner: string[4] @0
  flag: uint8 @8:3
";

    #[test]
    fn facts_are_read() {
        let kernel = Recorded::parse(Version(6, 12), FACTS, "").unwrap();
        let Some(Type::Record(file)) = kernel.find_type(TypeKind::Struct, "file").unwrap() else { panic!() };
        assert_eq!(kernel.member(file.id, "flag").unwrap().bit_offset, 72);
        assert_eq!(kernel.member(file.id, "f").unwrap().ty.to_string(), "struct file *[2]");
        assert_eq!(kernel.enumerator("A").unwrap().0, 1);
        assert!(kernel.function("old", None).unwrap().is_none());
        assert!(kernel.at_version(Version(5, 10)).function("old", Some("m")).unwrap().is_some());
        assert!(Recorded::parse(Version(6, 12), "nonsense here\n", "").unwrap_err().contains("nonsense"));
    }

    #[test]
    fn patterns() {
        assert!(glob("vfs_*", "vfs_read") && glob("*", "") && glob("v?s_[a-r]*", "vfs_read"));
        assert!(!glob("vfs_", "vfs_read") && !glob("v?s_[a-q]*", "vfs_read"));
    }
}
