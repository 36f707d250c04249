//! Types as written: `uint64`, `struct sock *`, `int8[16]`, `typeof(x)`.

use super::Checker;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::TypeKind;
use crate::probes::no_facts;
use crate::source::Span;
use crate::types::Type;
use rtrace_grammar::ast;

impl Checker<'_> {
    /// The type that a type name means; pointers point into the probe's usual address space.
    pub(crate) fn type_name(&mut self, name: &ast::TypeName) -> Result<Type> {
        let mut ty = match &name.base {
            ast::TypeBase::Named(n) => self.named_type(n, name)?,
            ast::TypeBase::Struct(n) => self.kernel_type(TypeKind::Struct, "struct", n, name.span)?,
            ast::TypeBase::Union(n) => self.kernel_type(TypeKind::Union, "union", n, name.span)?,
            ast::TypeBase::Enum(n) => self.kernel_type(TypeKind::Enum, "enum", n, name.span)?,
            ast::TypeBase::Typeof(of) => self.type_of(of)?,
            ast::TypeBase::Tuple(list) => {
                Type::Tuple(list.iter().map(|t| self.type_name(t)).collect::<Result<Vec<_>>>()?)
            }
        };
        let space = self.default_space();
        for _ in 0..name.pointers {
            ty = Type::Ptr { to: Box::new(ty), space };
        }
        // Their bound is their size.
        let sized = matches!(name.base, ast::TypeBase::Named(ref n) if n == "string" || n == "buffer" || n == "inet");
        for bound in name.array.iter().rev().take(if sized { 0 } else { usize::MAX }) {
            let len = match bound {
                Some(e) => self.constant(e, "an array's length")?,
                None => 0,
            };
            let len = u32::try_from(len)
                .map_err(|_| Diagnostic::error(Code::BadValue, name.span, format!("invalid array length: {len}")))?;
            ty = Type::Array { elem: Box::new(ty), len };
        }
        for _ in 0..name.outer {
            ty = Type::Ptr { to: Box::new(ty), space };
        }
        Ok(ty)
    }

    fn named_type(&mut self, n: &str, name: &ast::TypeName) -> Result<Type> {
        let sized = |checker: &mut Self, default: u32| match name.array.first() {
            Some(Some(e)) => {
                let len = checker.constant(e, "the size of a string")?;
                u32::try_from(len)
                    .ok()
                    .filter(|l| (1..=1 << 16).contains(l))
                    .ok_or_else(|| Diagnostic::error(Code::BadValue, name.span, format!("invalid string size: {len}")))
            }
            _ => Ok(default),
        };
        Ok(match n {
            "string" => Type::String { cap: sized(self, self.options.string_cap())? },
            "buffer" => Type::Buffer { cap: sized(self, self.options.max_strlen)? },
            "inet" => Type::Inet,
            _ => match primitive(n) {
                Some(ty) => ty,
                None => self.kernel_type(TypeKind::Typedef, "typedef", n, name.span)?,
            },
        })
    }

    /// The program that the probe is in: in another one, names mean other things.
    fn program(&self) -> Option<&str> {
        let path = self.probe.target.file()?;
        self.probe.specific.set(true);
        Some(path)
    }

    /// In a program, a name means the program's type before the kernel's.
    fn program_type(&self, kind: TypeKind, name: &str) -> Option<Type> {
        self.kernel.types.user_type(self.program()?, kind, name)
    }

    /// The value and type of an enumerator of the program that the probe is in.
    pub(super) fn program_enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.kernel.types.user_enumerator(self.program()?, name)
    }

    /// The type of an enum with enumerators, by its name.
    pub(crate) fn enum_of(&self, name: &str) -> Option<String> {
        match self.program_type(TypeKind::Enum, name) {
            Some(Type::Enum { name, .. }) => Some(name),
            _ => (!self.kernel.types.enum_values(name).is_empty()).then(|| name.to_owned()),
        }
    }

    pub(crate) fn kernel_type(&mut self, kind: TypeKind, word: &str, name: &str, span: Span) -> Result<Type> {
        if let Some(ty) = self.program_type(kind, name) {
            return Ok(ty);
        }
        match self.kernel.types.find_type(kind, name) {
            Ok(Some(ty)) => Ok(ty),
            Ok(None) => {
                let written = |word: &str, name: &str| match word {
                    "typedef" => name.to_owned(),
                    _ => format!("{word} {name}"),
                };
                let message = format!("unknown type `{}`", written(word, name));
                let error = Diagnostic::error(Code::UnknownType, span, message);
                for (other, word) in
                    [(TypeKind::Struct, "struct"), (TypeKind::Union, "union"), (TypeKind::Enum, "enum")]
                {
                    if other != kind && matches!(self.kernel.types.find_type(other, name), Ok(Some(_))) {
                        return Err(error.help(format!("did you mean `{word} {name}`?")));
                    }
                }
                Err(match self.kernel.types.nearest_type(kind, name) {
                    Some(n) => error.help(format!("did you mean `{}`?", written(word, &n))),
                    None => error.note("types are taken from the BTF of the kernel and its loaded modules"),
                })
            }
            Err(e) => Err(no_facts(e, span)),
        }
    }
}

/// The types that C and the language have by name.
pub(crate) fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "void" => Type::Void,
        "bool" | "_Bool" => Type::Bool,
        "int" | "signed" | "signed int" => Type::I32,
        "float" => Type::Float { bytes: 4 },
        "double" => Type::Float { bytes: 8 },
        "long double" | "double long" => Type::Float { bytes: 16 },
        "__int128" | "signed __int128" | "__int128 signed" => Type::Int128 { signed: true },
        "unsigned __int128" | "__int128 unsigned" => Type::Int128 { signed: false },
        "char" | "signed char" => Type::I8,
        "unsigned" | "unsigned int" | "uint" => Type::U32,
        "unsigned char" => Type::U8,
        "short" | "short int" | "signed short" => Type::Int { bits: 16, signed: true },
        "unsigned short" | "unsigned short int" | "short unsigned int" => Type::U16,
        "long" | "long int" | "long long" | "signed long" | "long long int" | "ssize_t" | "intptr_t" => Type::I64,
        "unsigned long"
        | "long unsigned int"
        | "unsigned long int"
        | "unsigned long long"
        | "size_t"
        | "long long unsigned int"
        | "uintptr_t"
        | "unsigned long long int" => Type::U64,
        _ => return sized_integer(name),
    })
}

/// `uint64`, `u64`, `__u64`, `uint64_t`, `__be32`, `s8`, …
fn sized_integer(name: &str) -> Option<Type> {
    let n = name.trim_start_matches('_');
    let n = n.strip_suffix("_t").unwrap_or(n);
    let (prefix, digits) = n.split_at(n.find(|c: char| c.is_ascii_digit())?);
    let bits = match digits {
        "8" => 8,
        "16" => 16,
        "32" => 32,
        "64" => 64,
        _ => return None,
    };
    let signed = match prefix {
        "int" | "s" => true,
        "uint" | "u" | "be" | "le" => false,
        _ => return None,
    };
    Some(Type::Int { bits, signed })
}
