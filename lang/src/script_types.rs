//! Types that the script itself defines (`struct`, `union`, `enum`, `typedef`), laid over those of the kernel and
//! of traced programs: [`ScriptTypes`] answers for all of them. Layout is that of C on the supported
//! processors (System V: bit-fields share the storage unit of their declared type).

use crate::check::primitive;
use crate::codes::Code;
use crate::constants;
use crate::diag::{Diagnostic, Result};
use crate::headers::Headers;
use crate::kernel::{KernelError, Member, TypeKind, Types, network_size_of};
use crate::source::Span;
use crate::types::{Record, Space, Type, TypeId, unnamed_enum};
use rtrace_core::nearest::nearest;
use rtrace_grammar::ast::{self, BinOp, CBase, CDef, CDefKind, CMember, CType, Expr, ExprKind, TypeBase, UnOp};
use std::collections::HashMap;

/// The script's types, and those below them.
pub(crate) struct ScriptTypes<'k> {
    below: &'k dyn Types,
    /// The names defined by `#define`.
    defines: &'k HashMap<String, Expr>,
    records: Vec<(Record, Vec<Member>)>,
    /// Tagged types by keyword and name, and typedefs.
    types: HashMap<(TypeKind, String), Type>,
    enumerators: HashMap<String, (i64, Type)>,
    enums: HashMap<String, Vec<(String, i64)>>,
}

impl<'k> ScriptTypes<'k> {
    /// Takes those of the headers and lays the script's definitions out, in order: a type is known to those after it, and to pointers in itself.
    pub(crate) fn new(
        below: &'k dyn Types,
        headers: &Headers,
        definitions: &[CDef],
        defines: &'k HashMap<String, Expr>,
    ) -> Result<ScriptTypes<'k>> {
        let mut all = ScriptTypes {
            below,
            defines,
            records: headers.records.clone(),
            types: headers.types.clone(),
            enumerators: headers.enumerators.clone(),
            enums: headers.enums.clone(),
        };
        for definition in definitions {
            all.define(definition)?;
        }
        Ok(all)
    }

    /// The type that a definition makes.
    fn define(&mut self, definition: &CDef) -> Result<Type> {
        match &definition.kind {
            CDefKind::Record { union, name, members, packed } => {
                self.record(*union, name, members, *packed, definition.span)
            }
            CDefKind::Enum { name, values } => self.enumeration(name.as_deref(), values),
            CDefKind::Typedef { name, ty } => {
                let ty = self.declared(ty, definition.span)?;
                self.types.insert((TypeKind::Typedef, name.clone()), ty.clone());
                Ok(ty)
            }
        }
    }

    fn record(&mut self, union: bool, name: &str, members: &[CMember], packed: bool, span: Span) -> Result<Type> {
        let (keyword, kind) = if union { ("union", TypeKind::Union) } else { ("struct", TypeKind::Struct) };
        let index = self.records.len();
        let id = TypeId(TypeId::SCRIPT + index as u32);
        let shown = if name.is_empty() { format!("{keyword} (anonymous)") } else { format!("{keyword} {name}") };
        let mut record = Record { name: shown, id, size: 0 };
        self.records.push((record.clone(), Vec::new()));
        if !name.is_empty() {
            // Pointers to the type may stand in the type.
            self.types.insert((kind, name.to_owned()), Type::Record(record.clone()));
        }
        let mut laid = Vec::new();
        let mut place = Place { union, packed, bit: 0, end: 0, align: 1 };
        for member in members {
            let ty = self.declared(&member.ty, span)?;
            let bits = match &member.bits {
                Some(width) => {
                    let n = self.number(width)?;
                    let most = i64::from(ty.size()) * 8;
                    if !ty.is_integer() || !(0..=most).contains(&n) {
                        let message = format!("a bit-field of {n} bits does not fit in `{ty}`");
                        return Err(Diagnostic::error(Code::BadValue, width.span, message));
                    }
                    Some(n as u8)
                }
                None => None,
            };
            let bit_offset = place.put(&ty, self.align(&ty), bits);
            let name = member.name.as_ref().map_or(String::new(), |n| n.text.clone());
            if !(name.is_empty() && bits.is_some()) {
                laid.push(Member { name, ty, bit_offset, bits, big_endian: big_endian(&member.ty) });
            }
        }
        record.size = place.size();
        if let Some(slot) = self.records.get_mut(index) {
            *slot = (record.clone(), laid);
        }
        let ty = Type::Record(record);
        if !name.is_empty() {
            self.types.insert((kind, name.to_owned()), ty.clone());
        }
        Ok(ty)
    }

    fn enumeration(&mut self, name: Option<&str>, values: &[(ast::Name, Option<Expr>)]) -> Result<Type> {
        let unnamed = || values.first().map(|(first, _)| unnamed_enum(&first.text)).unwrap_or_default();
        let name = name.map_or_else(unnamed, str::to_owned);
        let ty = Type::Enum { name: name.clone(), bits: 32, signed: true };
        let mut next = 0i64;
        let mut list = Vec::new();
        for (enumerator, value) in values {
            if let Some(e) = value {
                next = self.number(e)?;
            }
            self.enumerators.insert(enumerator.text.clone(), (next, ty.clone()));
            list.push((enumerator.text.clone(), next));
            next = next.wrapping_add(1);
        }
        self.enums.insert(name.clone(), list);
        self.types.insert((TypeKind::Enum, name), ty.clone());
        Ok(ty)
    }

    /// The type of a declarator.
    fn declared(&mut self, ty: &CType, span: Span) -> Result<Type> {
        let mut base = match &ty.base {
            CBase::Inline(definition) => self.define(definition)?,
            CBase::Named(name) => self.named(name, ty.pointers > 0)?,
        };
        for _ in 0..ty.pointers {
            base = Type::Ptr { to: Box::new(base), space: Space::Kernel };
        }
        for bound in ty.array.iter().rev() {
            let len = match bound {
                Some(e) => self.number(e)?,
                None => 0,
            };
            let len = u32::try_from(len)
                .map_err(|_| Diagnostic::error(Code::BadValue, span, format!("invalid array length: {len}")))?;
            base = match base {
                // `char` arrays are strings, as in the kernel's own types.
                Type::Int { bits: 8, signed: true } if len > 0 => Type::String { cap: len },
                elem => Type::Array { elem: Box::new(elem), len },
            };
        }
        Ok(base)
    }

    fn named(&self, name: &ast::TypeName, behind_pointer: bool) -> Result<Type> {
        let (kind, word, text) = match &name.base {
            TypeBase::Named(n) => match primitive(n) {
                Some(ty) => return Ok(ty),
                None => (TypeKind::Typedef, "typedef", n),
            },
            TypeBase::Struct(n) => (TypeKind::Struct, "struct", n),
            TypeBase::Union(n) => (TypeKind::Union, "union", n),
            TypeBase::Enum(n) => (TypeKind::Enum, "enum", n),
            _ => return Err(Diagnostic::error(Code::WrongType, name.span, "invalid type for a member")),
        };
        match self.find_type(kind, text) {
            Ok(Some(ty)) => Ok(ty),
            // What it points to may never matter.
            _ if behind_pointer => Ok(Type::Void),
            Ok(None) => Err(Diagnostic::error(Code::UnknownType, name.span, format!("unknown type `{word} {text}`"))),
            Err(e) => Err(crate::probes::no_facts(e, name.span)),
        }
    }

    /// Alignment in C, where it differs from a value's inline representation.
    fn align(&self, ty: &Type) -> u32 {
        match ty {
            Type::Record(r) => match r.id.0.checked_sub(TypeId::SCRIPT).and_then(|i| self.records.get(i as usize)) {
                Some((_, members)) => members.iter().map(|m| self.align(&m.ty)).max().unwrap_or(1),
                None => 8.min(1 << r.size.trailing_zeros()),
            },
            Type::Array { elem, .. } => self.align(elem),
            Type::Float { bytes: 16 } | Type::Int128 { .. } => 16,
            ty => ty.align(),
        }
    }

    /// A constant expression of a definition.
    fn number(&self, e: &Expr) -> Result<i64> {
        self.evaluate(e, 0).ok_or_else(|| Diagnostic::error(Code::WrongType, e.span, "expected an integer constant"))
    }

    fn evaluate(&self, e: &Expr, depth: u32) -> Option<i64> {
        Some(match &e.kind {
            ExprKind::Int { value, .. } => *value as i64,
            ExprKind::Ident(name) => match (self.enumerators.get(name), self.defines.get(name)) {
                (Some((value, _)), _) => *value,
                // A definition may name others, but not itself.
                (None, Some(definition)) if depth < 32 => self.evaluate(definition, depth + 1)?,
                _ => constants::find(self.below, name)?.0,
            },
            ExprKind::Unary { op: UnOp::Neg, expr } => self.evaluate(expr, depth)?.wrapping_neg(),
            ExprKind::Unary { op: UnOp::BitNot, expr } => !self.evaluate(expr, depth)?,
            ExprKind::Binary { op, left, right } => {
                let (a, b) = (self.evaluate(left, depth)?, self.evaluate(right, depth)?);
                match op {
                    BinOp::Add => a.wrapping_add(b),
                    BinOp::Sub => a.wrapping_sub(b),
                    BinOp::Mul => a.wrapping_mul(b),
                    BinOp::Div => a.checked_div(b)?,
                    BinOp::Rem => a.checked_rem(b)?,
                    BinOp::Shl => a.checked_shl(u32::try_from(b).ok()?)?,
                    BinOp::Shr => a.checked_shr(u32::try_from(b).ok()?)?,
                    BinOp::BitAnd => a & b,
                    BinOp::BitOr => a | b,
                    BinOp::BitXor => a ^ b,
                    _ => return None,
                }
            }
            ExprKind::Tuple(list) => match list.as_slice() {
                [one] => self.evaluate(one, depth)?,
                _ => return None,
            },
            ExprKind::Sizeof(ast::TypeOrExpr::Type(name)) if name.array.is_empty() => match name.pointers {
                0 => i64::from(self.named(name, false).ok()?.size()),
                _ => 8,
            },
            _ => return None,
        })
    }

    fn own(&self, id: TypeId) -> Option<&[Member]> {
        let index = id.0.checked_sub(TypeId::SCRIPT)?;
        self.records.get(index as usize).map(|(_, members)| members.as_slice())
    }
}

/// The offset of the next member.
struct Place {
    union: bool,
    packed: bool,
    /// First free bit.
    bit: u32,
    /// Bits of the largest member, of a union.
    end: u32,
    align: u32,
}

impl Place {
    /// The bit offset of the next member.
    fn put(&mut self, ty: &Type, align: u32, bits: Option<u8>) -> u32 {
        let align = if self.packed { 1 } else { align };
        self.align = self.align.max(align);
        let unit = align * 8;
        let size = ty.size().saturating_mul(8);
        let at = match bits {
            _ if self.union => 0,
            // A field of no bits ends the storage unit.
            Some(0) => self.bit.next_multiple_of(unit),
            Some(width) if !self.packed && self.bit % size.max(8) + u32::from(width) > size => {
                self.bit.next_multiple_of(unit)
            }
            Some(_) => self.bit,
            None => self.bit.next_multiple_of(unit.max(8)),
        };
        let taken = bits.map_or(size, u32::from);
        self.bit = at.saturating_add(taken);
        self.end = self.end.max(self.bit);
        at
    }

    /// Bytes of the whole record.
    fn size(&self) -> u32 {
        self.end.div_ceil(8).next_multiple_of(self.align)
    }
}

impl Types for ScriptTypes<'_> {
    fn find_type(&self, kind: TypeKind, name: &str) -> std::result::Result<Option<Type>, KernelError> {
        match self.types.get(&(kind, name.to_owned())) {
            // A record's size was not known yet where a pointer in itself named it.
            Some(Type::Record(r)) => {
                let index = r.id.0.wrapping_sub(TypeId::SCRIPT) as usize;
                Ok(Some(Type::Record(self.records.get(index).map_or_else(|| r.clone(), |(r, _)| r.clone()))))
            }
            Some(ty) => Ok(Some(ty.clone())),
            None => self.below.find_type(kind, name),
        }
    }

    fn member(&self, id: TypeId, name: &str) -> Option<Member> {
        let Some(members) = self.own(id) else { return self.below.member(id, name) };
        for m in members {
            if m.name == name {
                return Some(m.clone());
            }
            if let (true, Type::Record(inner)) = (m.name.is_empty(), &m.ty)
                && let Some(mut found) = self.member(inner.id, name)
            {
                found.bit_offset += m.bit_offset;
                return Some(found);
            }
        }
        None
    }

    fn members(&self, id: TypeId) -> Vec<Member> {
        self.own(id).map_or_else(|| self.below.members(id), <[Member]>::to_vec)
    }

    fn enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.enumerators.get(name).cloned().or_else(|| self.below.enumerator(name))
    }

    fn module_enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.below.module_enumerator(name)
    }

    fn enum_values(&self, name: &str) -> Vec<(String, i64)> {
        self.enums.get(name).cloned().unwrap_or_else(|| self.below.enum_values(name))
    }

    fn nearest_type(&self, kind: TypeKind, name: &str) -> Option<String> {
        let own = self.types.keys().filter(|(k, _)| *k == kind).map(|(_, n)| n);
        let near = nearest(name, own.map(String::as_str));
        near.or_else(|| self.below.nearest_type(kind, name))
    }

    /// Types of the script come first.
    fn user_type(&self, path: &str, kind: TypeKind, name: &str) -> Option<Type> {
        if self.types.contains_key(&(kind, name.to_owned())) { None } else { self.below.user_type(path, kind, name) }
    }

    fn user_enumerator(&self, path: &str, name: &str) -> Option<(i64, Type)> {
        self.below.user_enumerator(path, name)
    }
}

/// Whether a member is declared in the byte order of the network.
fn big_endian(ty: &CType) -> bool {
    let CBase::Named(name) = &ty.base else { return false };
    let plain = ty.pointers == 0 && ty.array.is_empty() && name.pointers == 0;
    plain && matches!(&name.base, TypeBase::Named(n) if network_size_of(n).is_some())
}
