//! Reading C headers with libclang, which is loaded when a script uses what only its headers define, and never linked.
//!
//! A wrapper with the script's preprocessor lines is parsed from memory. Its tree gives the types; a variable for each
//! wanted macro gives the value of the macro. Programs' headers are tried first, then those of the kernel.

use clang::diagnostic::{Diagnostic as Complaint, Severity};
use clang::{
    Clang, Entity, EntityKind, EvaluationResult, Index, StorageClass, TranslationUnit, Type as CType,
    TypeKind as CKind, Unsaved,
};
use rtrace_lang::arch::Arch;
use rtrace_lang::codes::Code;
use rtrace_lang::diag::Diagnostic;
use rtrace_lang::headers::{Constant, Function, Headers, Name, Wanted, include, is_local_include};
use rtrace_lang::kernel::{Kernel, Member, TypeKind, network_size_of};
use rtrace_lang::source::{SourceMap, Span};
use rtrace_lang::types::{Record, Space, Type, TypeId, unnamed_enum};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The search path of headers.
#[derive(Debug, Default)]
pub struct Places {
    /// `-I`
    pub folders: Vec<PathBuf>,
    /// `BPFTRACE_KERNEL_SOURCE`, `BPFTRACE_KERNEL_BUILD`
    pub kernel_source: Option<PathBuf>,
    pub kernel_build: Option<PathBuf>,
}

/// The definitions found, and the errors in the headers.
#[derive(Debug, Default)]
pub struct Found {
    pub headers: Headers,
    pub complaints: Vec<Diagnostic>,
}

/// How to get libclang.
pub const INSTALL: &str = "install libclang: apt install libclang1 (Debian, Ubuntu), dnf install clang-libs \
    (Fedora), apk add clang-libs (Alpine); or set LIBCLANG_PATH to its location";

/// The short reason why libclang cannot be loaded.
pub fn reason(why: &str) -> &str {
    match why.split_once(" (invalid: [") {
        Some((_, "])")) => "it is not installed",
        Some((_, rest)) => rest.trim_end_matches("])"),
        None => why,
    }
}

/// Names of the wrapper's variables begin so; the name of a macro follows.
const PROBE: &str = "rtrace_value_of_";
/// Most complaints that are shown.
const MOST: usize = 5;
/// A folder that exists in libclang's view only.
const OWN: &str = "/rtrace-include";
/// The definitions of the compiler's own headers, which come in a separate package.
const COMPILER_HEADERS: &[(&str, &str)] = &[
    (
        "stddef.h",
        "#pragma once\ntypedef __SIZE_TYPE__ size_t;\ntypedef __PTRDIFF_TYPE__ ptrdiff_t;\ntypedef __WCHAR_TYPE__ wchar_t;\n\
         #define NULL ((void *)0)\n#define offsetof(t, m) __builtin_offsetof(t, m)\n",
    ),
    (
        "stdarg.h",
        "#pragma once\ntypedef __builtin_va_list va_list;\ntypedef __builtin_va_list __gnuc_va_list;\n\
         #define va_start(a, b) __builtin_va_start(a, b)\n#define va_end(a) __builtin_va_end(a)\n\
         #define va_arg(a, t) __builtin_va_arg(a, t)\n#define va_copy(a, b) __builtin_va_copy(a, b)\n",
    ),
    ("stdbool.h", "#pragma once\n#define bool _Bool\n#define true 1\n#define false 0\n"),
    ("stdalign.h", "#pragma once\n#define alignas _Alignas\n#define alignof _Alignof\n"),
];

/// Looks up what a script wants, and the functions of the C files that it imports. The error says why libclang cannot
/// be used.
pub fn read(
    wanted: &Wanted,
    c_files: &[(String, Span)],
    places: &Places,
    sources: &SourceMap,
    kernel: Kernel<'_>,
) -> Result<Found, String> {
    let clang = Clang::new()?;
    let index = Index::new(&clang, true, false);
    let mut found = look_up(&index, wanted, places, sources, kernel);
    for (file, span) in c_files {
        functions(&index, file, *span, places, kernel, &mut found);
    }
    Ok(found)
}

/// The functions that a C file defines for others; the compiler has found no errors in it.
fn functions(index: &Index<'_>, file: &str, span: Span, places: &Places, kernel: Kernel<'_>, found: &mut Found) {
    let own: Vec<Unsaved> = compiler_headers().collect();
    let parsed =
        index.parser(file).arguments(&program_arguments(places)).unsaved(&own).skip_function_bodies(true).parse();
    let unit = match parsed {
        Ok(unit) => unit,
        Err(e) => {
            let complaint = Diagnostic::warning(Code::BadHeader, span, format!("libclang cannot read {file}: {e}"));
            found.complaints.push(*complaint);
            return;
        }
    };
    let headers = std::mem::take(&mut found.headers);
    let mut reader = Reader { kernel, headers, records: HashMap::new() };
    for entity in unit.get_entity().get_children() {
        if entity.get_kind() != EntityKind::FunctionDecl
            || !entity.is_in_main_file()
            || entity.get_storage_class() == Some(StorageClass::Static)
        {
            continue;
        }
        let (Some(name), Some(ret)) = (entity.get_name(), entity.get_result_type()) else { continue };
        let ret = reader.ty(ret, 0);
        if !(ret.is_scalar() || ret == Type::Void) {
            let message =
                format!("cannot call `{name}` of {file}: its return type `{ret}` is not a number or a pointer");
            found.complaints.push(*Diagnostic::warning(Code::BadImport, span, message));
            continue;
        }
        let arguments = entity.get_arguments().unwrap_or_default();
        let params = arguments
            .iter()
            .filter_map(|a| Some((a.get_name().unwrap_or_default(), reader.ty(a.get_type()?, 0))))
            .collect();
        reader.headers.functions.insert(name, Function { params, ret });
    }
    found.headers = reader.headers;
}

fn look_up(index: &Index<'_>, wanted: &Wanted, places: &Places, sources: &SourceMap, kernel: Kernel<'_>) -> Found {
    if wanted.names.is_empty() && wanted.types.is_empty() {
        return Found::default();
    }
    let wrapper = Wrapper::new(wanted, sources);
    let attempt = |arguments: &[String]| attempt(index, &wrapper, arguments, wanted, kernel);
    let first = attempt(&program_arguments(places));
    let Some((arguments, folder)) = kernel_arguments(places).filter(|_| !first.missing.is_empty()) else {
        return first.found;
    };
    let second = attempt(&arguments);
    // What is wrong with headers that gave less is of no interest.
    let mut better = if second.missing.len() < first.missing.len() { second } else { first };
    for complaint in &mut better.found.complaints {
        complaint.notes.push(format!("kernel headers are taken from {}", folder.display()));
    }
    better.found
}

fn compiler_headers() -> impl Iterator<Item = Unsaved> {
    COMPILER_HEADERS.iter().map(|(name, text)| Unsaved::new(format!("{OWN}/{name}"), text))
}

struct Attempt {
    found: Found,
    missing: Vec<String>,
}

fn attempt(index: &Index<'_>, wrapper: &Wrapper, arguments: &[String], wanted: &Wanted, kernel: Kernel<'_>) -> Attempt {
    let mut files = vec![Unsaved::new(&wrapper.path, &wrapper.text)];
    files.extend(compiler_headers());
    let parsed = index
        .parser(&wrapper.path)
        .arguments(arguments)
        .unsaved(&files)
        .skip_function_bodies(true)
        .keep_going(true)
        .detailed_preprocessing_record(wanted.names.iter().any(|n| n.known))
        .parse();
    let unit = match parsed {
        Ok(unit) => unit,
        Err(e) => {
            let complaint = *Diagnostic::general(Code::BadHeader, format!("libclang cannot read the headers: {e}"));
            let missing = vec![String::new(); wanted.names.len() + wanted.types.len()];
            return Attempt { found: Found { headers: Headers::default(), complaints: vec![complaint] }, missing };
        }
    };
    let mut reader = Reader { kernel, headers: Headers::default(), records: HashMap::new() };
    reader.unit(&unit, wanted);
    let headers = reader.headers;
    let constant = |n: &Name| {
        headers.constants.contains_key(&n.text)
            || headers.enumerators.contains_key(&n.text)
            || headers.types.contains_key(&(TypeKind::Typedef, n.text.clone()))
    };
    let missing_names = wanted.names.iter().filter(|n| !n.known && !constant(n)).map(|n| n.text.clone());
    let missing_types =
        wanted.types.iter().filter(|(kind, n)| !n.known && !headers.types.contains_key(&(*kind, n.text.clone())));
    let missing = missing_names.chain(missing_types.map(|(_, n)| n.text.clone())).collect();
    let complaints = wrapper.complaints(&unit);
    Attempt { found: Found { headers, complaints }, missing }
}

/// The file that includes the headers.
struct Wrapper {
    path: PathBuf,
    text: String,
    /// The script's place of each of its lines.
    lines: Vec<Span>,
}

impl Wrapper {
    fn new(wanted: &Wanted, sources: &SourceMap) -> Wrapper {
        let (mut text, mut lines) = (String::new(), Vec::new());
        for (line, span) in &wanted.lines {
            let line = if is_local_include(line) { absolute(line, *span, sources) } else { line.replace("\\\n", " ") };
            text.push_str(&line);
            text.push('\n');
            lines.push(*span);
        }
        for name in &wanted.names {
            // Text has to be an array: a pointer to it has no value here.
            let n = &name.text;
            text.push_str(&format!(
                "#ifdef {n}\nstatic const __auto_type {PROBE}{n} = {n};\nstatic const char {PROBE}_{n}[] = {n};\n#endif\n"
            ));
        }
        Wrapper { path: PathBuf::from("/rtrace-headers.c"), text, lines }
    }

    /// The errors that libclang reports in the headers, without those of the wrapper's variables.
    fn complaints(&self, unit: &TranslationUnit<'_>) -> Vec<Diagnostic> {
        let mut all = Vec::new();
        for complaint in unit.get_diagnostics() {
            if matches!(complaint.get_severity(), Severity::Error | Severity::Fatal) {
                all.extend(self.complaint(&complaint));
            }
        }
        all.truncate(MOST);
        all
    }

    fn complaint(&self, complaint: &Complaint<'_>) -> Option<Diagnostic> {
        let place = complaint.get_location().get_file_location();
        let text = complaint.get_text();
        let path = place.file.map(|f| f.get_path()).unwrap_or_default();
        if path == self.path {
            let span = *self.lines.get((place.line as usize).checked_sub(1)?)?;
            let mut warning = if span == Span::default() {
                Diagnostic::general(Code::BadHeader, text)
            } else {
                Diagnostic::error(Code::BadHeader, span, text)
            };
            warning.severity = rtrace_lang::diag::Severity::Warning;
            return Some(*warning);
        }
        let text = format!("{}:{}:{}: {text}", path.display(), place.line, place.column);
        let mut warning = Diagnostic::general(Code::BadHeader, text);
        warning.severity = rtrace_lang::diag::Severity::Warning;
        Some(*warning)
    }
}

/// `#include "file.h"` with the file's full path, where it lies beside the file that includes it.
fn absolute(line: &str, span: Span, sources: &SourceMap) -> String {
    let name = include(line).unwrap_or_default().trim_matches('"');
    let importer = sources.file_at(span.start).map(|(_, f)| f.name.as_str()).unwrap_or_default();
    let path = Path::new(importer).parent().unwrap_or(Path::new("")).join(name);
    match path.canonicalize() {
        Ok(full) => format!("#include \"{}\"", full.display()),
        Err(_) => line.to_owned(),
    }
}

/// For headers of programs.
fn program_arguments(places: &Places) -> Vec<String> {
    let mut arguments = common(places);
    arguments.extend(["-idirafter".into(), OWN.into()]);
    arguments
}

/// For headers of the kernel, if they are installed, and where they are.
fn kernel_arguments(places: &Places) -> Option<(Vec<String>, PathBuf)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let modules = Path::new("/lib/modules").join(release.trim());
    let (source, build) = match (&places.kernel_source, &places.kernel_build) {
        (Some(source), build) => (source.clone(), build.clone().unwrap_or_else(|| source.clone())),
        (None, build) => {
            let build = build.clone().unwrap_or_else(|| modules.join("build"));
            let source = modules.join("source");
            (if source.is_dir() { source } else { build.clone() }, build)
        }
    };
    if !source.join("include/linux").is_dir() {
        return None;
    }
    let arch = Arch::HOST.folder();
    let mut arguments = common(places);
    arguments.push("-nostdinc".into());
    let folders = [
        (&source, format!("arch/{arch}/include")),
        (&build, format!("arch/{arch}/include/generated")),
        (&source, "include".to_owned()),
        (&build, "include".to_owned()),
        (&source, format!("arch/{arch}/include/uapi")),
        (&build, format!("arch/{arch}/include/generated/uapi")),
        (&source, "include/uapi".to_owned()),
        (&build, "include/generated/uapi".to_owned()),
    ];
    for (root, folder) in folders {
        arguments.extend(["-isystem".into(), root.join(folder).display().to_string()]);
    }
    arguments.extend(["-idirafter".into(), OWN.into()]);
    let configuration = source.join("include/linux/kconfig.h");
    if configuration.exists() {
        arguments.extend(["-include".into(), configuration.display().to_string()]);
    }
    let defines =
        ["-D__KERNEL__", "-D__BPF_TRACING__", "-DKBUILD_MODNAME=\"rtrace\"", "-fno-builtin", "-fgnu89-inline"];
    arguments.extend(defines.map(String::from));
    Some((arguments, source))
}

fn common(places: &Places) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["-x", "c", "-std=gnu11", "-w", "-ferror-limit=0", "-fms-extensions"].map(String::from).into();
    for folder in &places.folders {
        arguments.extend(["-I".into(), folder.display().to_string()]);
    }
    arguments
}

/// Turns the tree of the headers into definitions.
struct Reader<'k, 'tu> {
    kernel: Kernel<'k>,
    headers: Headers,
    /// Numbers of the records, by their definition.
    records: HashMap<Entity<'tu>, usize>,
}

impl<'tu> Reader<'_, 'tu> {
    fn unit(&mut self, unit: &'tu TranslationUnit<'tu>, wanted: &Wanted) {
        let names: HashMap<&str, &Name> = wanted.names.iter().map(|n| (n.text.as_str(), n)).collect();
        let types: HashMap<(TypeKind, &str), &Name> =
            wanted.types.iter().map(|(k, n)| ((*k, n.text.as_str()), n)).collect();
        // Macros of the script's own headers.
        let mut own: HashSet<String> = HashSet::new();
        for entity in unit.get_entity().get_children() {
            let Some(kind) = entity_kind(entity.get_kind()) else {
                match entity.get_kind() {
                    EntityKind::VarDecl => self.constant(&entity),
                    EntityKind::MacroDefinition if !entity.is_in_system_header() => own.extend(entity.get_name()),
                    _ => {}
                }
                continue;
            };
            // The system's headers do not go before what is known without them.
            let counts = |n: &&&Name| !n.known || !entity.is_in_system_header();
            if kind == TypeKind::Enum {
                for enumerator in entity.get_children() {
                    let name = enumerator.get_name().unwrap_or_default();
                    if names.get(name.as_str()).filter(counts).is_some()
                        && let (Some((value, _)), Some(ty)) = (enumerator.get_enum_constant_value(), entity.get_type())
                    {
                        let ty = self.ty(ty, 0);
                        self.headers.enumerators.insert(name, (value, ty));
                    }
                }
            }
            let name = entity.get_name().unwrap_or_default();
            let asked = types.get(&(kind, name.as_str())).filter(counts).is_some()
                || (kind == TypeKind::Typedef && names.get(name.as_str()).filter(counts).is_some());
            if asked
                && (kind == TypeKind::Typedef || entity.is_definition())
                && let Some(ty) = entity.get_typedef_underlying_type().or_else(|| entity.get_type())
            {
                let ty = self.ty(ty, 0);
                self.headers.types.insert((kind, name), ty);
            }
        }
        // Nor do their macros go before the table.
        let known: HashSet<&str> = wanted.names.iter().filter(|n| n.known).map(|n| n.text.as_str()).collect();
        self.headers.constants.retain(|name, _| !known.contains(name.as_str()) || own.contains(name));
    }

    /// The value of a macro, from the wrapper's variable for it.
    fn constant(&mut self, variable: &Entity<'tu>) {
        let name = variable.get_name().unwrap_or_default();
        let Some(rest) = name.strip_prefix(PROBE) else { return };
        let text = variable.get_type().is_some_and(|t| t.get_kind() == CKind::ConstantArray);
        let value = match variable.evaluate() {
            Some(EvaluationResult::SignedInteger(n)) if !text => Constant::Signed(n),
            Some(EvaluationResult::UnsignedInteger(n)) if !text => Constant::Unsigned(n),
            Some(EvaluationResult::String(s)) => Constant::Text(s.into_bytes()),
            _ => return,
        };
        let name = if text { rest.strip_prefix('_').unwrap_or(rest) } else { rest };
        self.headers.constants.insert(name.to_owned(), value);
    }

    /// A C type as the language sees it, as for the kernel's own.
    fn ty(&mut self, ty: CType<'tu>, depth: u32) -> Type {
        let ty = ty.get_canonical_type();
        let size = ty.get_sizeof().ok().and_then(|s| u32::try_from(s).ok()).unwrap_or(0);
        match ty.get_kind() {
            CKind::Bool => Type::Bool,
            CKind::CharS | CKind::SChar => Type::I8,
            CKind::CharU | CKind::UChar => Type::U8,
            CKind::Short | CKind::Int | CKind::Long | CKind::LongLong => integer(size, true),
            CKind::UShort | CKind::UInt | CKind::ULong | CKind::ULongLong => integer(size, false),
            CKind::Float | CKind::Double | CKind::LongDouble => {
                Type::float(size.into()).unwrap_or_else(|| integer(size, false))
            }
            CKind::Int128 => Type::Int128 { signed: true },
            CKind::UInt128 => Type::Int128 { signed: false },
            CKind::Pointer => {
                let to = match ty.get_pointee_type() {
                    Some(to) if depth < 32 => self.ty(to, depth + 1),
                    _ => Type::Void,
                };
                Type::Ptr { to: Box::new(to), space: Space::Kernel }
            }
            CKind::ConstantArray | CKind::IncompleteArray => {
                let len = ty.get_size().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
                match ty.get_element_type() {
                    Some(elem) if elem.get_canonical_type().get_kind() == CKind::CharS && len > 0 => {
                        Type::String { cap: len }
                    }
                    Some(elem) => Type::Array { elem: Box::new(self.ty(elem, depth)), len },
                    None => Type::Void,
                }
            }
            CKind::Enum => self.enumeration(ty, size),
            CKind::Record => self.record(ty, size),
            CKind::Void | CKind::FunctionPrototype | CKind::FunctionNoPrototype => Type::Void,
            // Vectors and the like: their bytes.
            _ => Type::Array { elem: Box::new(Type::U8), len: size },
        }
    }

    fn enumeration(&mut self, ty: CType<'tu>, size: u32) -> Type {
        let Some(entity) = ty.get_declaration() else { return integer(size, true) };
        let signed = entity.get_enum_underlying_type().is_some_and(|t| {
            !matches!(t.get_canonical_type().get_kind(), CKind::UInt | CKind::ULong | CKind::UChar | CKind::UShort)
        });
        let values = entity.get_children().into_iter();
        let values = values.filter_map(|e| Some((e.get_name()?, e.get_enum_constant_value()?.0)));
        let values: Vec<(String, i64)> = values.collect();
        let unnamed = || Some(unnamed_enum(&values.first()?.0));
        match own_name(&entity).or_else(unnamed) {
            Some(name) => {
                self.headers.enums.insert(name.clone(), values);
                Type::Enum { name, bits: (size * 8) as u8, signed }
            }
            None => integer(size, signed),
        }
    }

    fn record(&mut self, ty: CType<'tu>, size: u32) -> Type {
        let Some(entity) = ty.get_declaration().map(|d| d.get_definition().unwrap_or(d)) else { return Type::Void };
        let (kind, keyword) = match entity.get_kind() {
            EntityKind::UnionDecl => (TypeKind::Union, "union"),
            _ => (TypeKind::Struct, "struct"),
        };
        let name = own_name(&entity);
        // The kernel's own, where it is the same: it knows what its pointers lead to.
        if let Some(name) = name.as_deref().filter(|_| !entity.is_definition() || entity.is_in_system_header())
            && let Ok(Some(Type::Record(known))) = self.kernel.types.find_type(kind, name)
            && (known.size == size || !entity.is_definition())
        {
            return Type::Record(known);
        }
        if !entity.is_definition() {
            return Type::Void;
        }
        let shown = name.map_or_else(|| format!("{keyword} (anonymous)"), |n| format!("{keyword} {n}"));
        if let Some(number) = self.records.get(&entity) {
            return Type::Record(Record { name: shown, id: TypeId(TypeId::SCRIPT + *number as u32), size });
        }
        let number = self.headers.records.len();
        let record = Record { name: shown, id: TypeId(TypeId::SCRIPT + number as u32), size };
        // Before the members: pointers to the type may stand in it.
        self.records.insert(entity, number);
        self.headers.records.push((record.clone(), Vec::new()));
        let members: Vec<Member> = ty.get_fields().unwrap_or_default().iter().filter_map(|f| self.member(f)).collect();
        if let Some(slot) = self.headers.records.get_mut(number) {
            slot.1 = members;
        }
        Type::Record(record)
    }

    fn member(&mut self, field: &Entity<'tu>) -> Option<Member> {
        let bit_offset = u32::try_from(field.get_offset_of_field().ok()?).ok()?;
        let bits =
            if field.is_bit_field() { field.get_bit_field_width().and_then(|w| u8::try_from(w).ok()) } else { None };
        let ty = self.ty(field.get_type()?, 0);
        let declared = field.get_type().map(|t| t.get_display_name()).unwrap_or_default();
        let big_endian = network_size_of(declared.trim_start_matches("const ")).is_some();
        let name = field.get_name().filter(|n| !n.contains('(')).unwrap_or_default();
        (!(name.is_empty() && bits.is_some())).then_some(Member { name, ty, bit_offset, bits, big_endian })
    }
}

fn entity_kind(kind: EntityKind) -> Option<TypeKind> {
    Some(match kind {
        EntityKind::StructDecl => TypeKind::Struct,
        EntityKind::UnionDecl => TypeKind::Union,
        EntityKind::EnumDecl => TypeKind::Enum,
        EntityKind::TypedefDecl => TypeKind::Typedef,
        _ => return None,
    })
}

/// The name of a type; what libclang calls one without a name is a description.
fn own_name(entity: &Entity<'_>) -> Option<String> {
    entity.get_name().filter(|n| !n.is_empty() && !n.contains(['(', ' ']))
}

fn integer(size: u32, signed: bool) -> Type {
    match size {
        1 | 2 | 4 | 8 => Type::Int { bits: (size * 8) as u8, signed },
        _ => Type::Array { elem: Box::new(Type::U8), len: size },
    }
}

/// The places that the command line and the environment name.
pub fn places(folders: &[PathBuf]) -> Places {
    let path = |name: &str| std::env::var_os(name).filter(|v: &OsString| !v.is_empty()).map(PathBuf::from);
    Places {
        folders: folders.to_vec(),
        kernel_source: path("BPFTRACE_KERNEL_SOURCE"),
        kernel_build: path("BPFTRACE_KERNEL_BUILD"),
    }
}
