//! BTF types as types of the language, and the members of records.
//!
//! Owns what C types become: `char[N]` a string, `bool` a boolean, typedefs and qualifiers what they
//! stand for, pointers marked `__user` pointers into user space. Records carry handle, name and
//! size only, so that a type never contains itself.

use btf_rs::{BtfType, Type as Raw};
use rtrace_core::kernel::{Function, Member, TypeKind, Version};
use rtrace_core::types::{Record, Space, Type, TypeId, first_of_unnamed, unnamed_enum};

use super::{At, Facts, Kind};

/// Chains of typedefs, pointers and anonymous members in real kernels are below ten long.
const MAX_DEPTH: u32 = 32;

/// A type with its typedefs and qualifiers taken off.
struct Bare {
    at: At,
    raw: std::rc::Rc<Raw>,
    /// The innermost typedef passed: the name of an anonymous record.
    typedef: Option<String>,
    /// Passed a type tag "user".
    user: bool,
}

impl Facts {
    fn bare(&self, mut at: At) -> Option<Bare> {
        let mut typedef = None;
        let mut user = false;
        for _ in 0..MAX_DEPTH {
            let (here, raw) = self.get(at)?;
            let next = match &*raw {
                Raw::Typedef(t) => {
                    typedef = t.get_name_offset().map(|o| self.string(here.object, o));
                    t.get_type_id()
                }
                Raw::TypeTag(t) => {
                    user |= t.get_name_offset().is_some_and(|o| self.string(here.object, o) == "user");
                    t.get_type_id()
                }
                Raw::Const(t) | Raw::Volatile(t) | Raw::Restrict(t) => t.get_type_id(),
                _ => return Some(Bare { at: here, raw, typedef, user }),
            };
            at = At { object: here.object, id: next? };
        }
        None
    }

    /// A type as the language sees it; what cannot be decoded is `void`.
    pub(super) fn convert(&self, at: At) -> Type {
        self.convert_at(at, 0)
    }

    fn convert_at(&self, at: At, depth: u32) -> Type {
        match self.bare(at) {
            Some(bare) if depth < MAX_DEPTH => self.convert_bare(&bare, depth),
            _ => Type::Void,
        }
    }

    fn convert_bare(&self, bare: &Bare, depth: u32) -> Type {
        let object = bare.at.object;
        let name = |raw: &dyn BtfType| raw.get_name_offset().map(|o| self.string(object, o)).unwrap_or_default();
        match &*bare.raw {
            Raw::Int(int) if int.is_bool() => Type::Bool,
            // `char` is unsigned in kernels since 6.2; scripts expect C's usual.
            Raw::Int(int) if int.size() == 1 && name(int) == "char" => Type::I8,
            Raw::Int(int) => integer(int.size(), int.is_signed()),
            Raw::Float(float) => Type::float(float.size() as u64).unwrap_or_else(|| integer(float.size(), false)),
            Raw::Enum(e) => {
                let signed = if self.knows_signs(object) { e.is_signed() } else { true };
                let first = || e.members.first().map(|m| name(m));
                enumeration(name(e), first, bare, e.size(), signed)
            }
            Raw::Enum64(e) => {
                let first = || e.members.first().map(|m| name(m));
                enumeration(name(e), first, bare, e.size(), e.is_signed())
            }
            Raw::Ptr(ptr) => {
                let to = ptr.get_type_id().and_then(|id| self.bare(At { object, id }));
                let space = if to.as_ref().is_some_and(|to| to.user) { Space::User } else { Space::Kernel };
                let to = match to {
                    Some(to) if depth < MAX_DEPTH => self.convert_bare(&to, depth + 1),
                    _ => Type::Void,
                };
                Type::Ptr { to: Box::new(to), space }
            }
            Raw::Array(array) => {
                let len = u32::try_from(array.len()).unwrap_or(0);
                let Some(elem) = array.get_type_id().and_then(|id| self.bare(At { object, id })) else {
                    return Type::Void;
                };
                let is_char = matches!(&*elem.raw, Raw::Int(i) if i.size() == 1 && name(i) == "char");
                if is_char && len > 0 {
                    return Type::String { cap: len };
                }
                Type::Array { elem: Box::new(self.convert_bare(&elem, depth + 1)), len }
            }
            Raw::Struct(s) => match self.of_kernel(bare.at, &name(s), &s.members, TypeKind::Struct) {
                Some(full) => self.convert_at(full, depth + 1),
                None => record("struct", name(s), bare, s.size()),
            },
            Raw::Union(u) => match self.of_kernel(bare.at, &name(u), &u.members, TypeKind::Union) {
                Some(full) => self.convert_at(full, depth + 1),
                None => record("union", name(u), bare, u.size()),
            },
            Raw::Fwd(fwd) => {
                let name = name(fwd);
                let (keyword, kind) = if fwd.is_union() { ("union", Kind::Union) } else { ("struct", Kind::Struct) };
                // Modules are searched when a member is asked for: opening them for each pointer costs more than it gives.
                match self.find_in(0, &name, &[kind]) {
                    Ok(Some(full)) if full != bare.at => self.convert_at(full, depth + 1),
                    _ => record(keyword, name, bare, 0),
                }
            }
            // Functions are only ever pointed to.
            _ => Type::Void,
        }
    }

    fn knows_signs(&self, object: u32) -> bool {
        self.object(object).is_ok_and(|o| o.index.knows_signs())
    }

    /// See [`rtrace_core::kernel::Types::member`].
    pub fn member(&self, id: TypeId, name: &str) -> Option<Member> {
        self.member_at(self.defined(At::from_handle(id)), name, 0, 0)
    }

    /// The definition of a record that is only declared in its object: that of a module, first of those that were asked
    /// about before.
    fn defined(&self, at: At) -> At {
        let Some((here, raw)) = self.get(at) else { return at };
        let Raw::Fwd(fwd) = &*raw else { return at };
        let name = fwd.get_name_offset().map(|o| self.string(here.object, o)).unwrap_or_default();
        let kind = if fwd.is_union() { Kind::Union } else { Kind::Struct };
        let opened = self.modules.borrow().len() as u32;
        let of_module = |n: &u32| self.object(*n).is_ok_and(|o| !o.of_program);
        let known = (1..=opened).filter(of_module).find_map(|n| self.find_in(n, &name, &[kind]).ok().flatten());
        known.or_else(|| self.find(&name, &[kind]).ok().flatten()).unwrap_or(at)
    }

    fn member_at(&self, record: At, name: &str, base: u32, depth: u32) -> Option<Member> {
        let (at, raw) = self.get(record)?;
        let (Raw::Struct(s) | Raw::Union(s)) = &*raw else { return None };
        let mut anonymous = Vec::new();
        for member in &s.members {
            let offset = member.get_name_offset().unwrap_or(0);
            if offset == 0 {
                anonymous.push(member);
            } else if self.is_string(at.object, offset, name) {
                return Some(self.make_member(at, member, base));
            }
        }
        for member in anonymous {
            let inner = self.bare(At { object: at.object, id: member.get_type_id()? })?;
            if depth < MAX_DEPTH
                && let Some(found) = self.member_at(inner.at, name, base + member.bit_offset(), depth + 1)
            {
                return Some(found);
            }
        }
        None
    }

    fn is_string(&self, object: u32, offset: u32, name: &str) -> bool {
        let (Ok(o), Ok(vmlinux)) = (self.object(object), self.object(0)) else { return false };
        o.index.string(offset) == name.as_bytes() || vmlinux.index.string(offset) == name.as_bytes()
    }

    /// Bit-fields come in the encoding with `kind_flag`, which pahole writes since 1.13; kernels from 5.10
    /// need a later one.
    fn make_member(&self, record: At, member: &btf_rs::Member, base: u32) -> Member {
        let ty = member.get_type_id().map_or(Type::Void, |id| self.convert(At { object: record.object, id }));
        let bits = member.bitfield_size().filter(|b| *b > 0).and_then(|b| u8::try_from(b).ok());
        let name = member.get_name_offset().map(|o| self.string(record.object, o)).unwrap_or_default();
        let big_endian = matches!(ty, Type::Int { signed: false, .. })
            && member.get_type_id().is_some_and(|id| self.is_big_endian(At { object: record.object, id }));
        Member { name, ty, bit_offset: base + member.bit_offset(), bits, big_endian }
    }

    /// Whether one of the typedefs on the way to a type is `__be16`, `__be32` or `__be64`.
    fn is_big_endian(&self, mut at: At) -> bool {
        for _ in 0..MAX_DEPTH {
            let Some((here, raw)) = self.get(at) else { return false };
            let next = match &*raw {
                Raw::Typedef(t) => {
                    let named = |name| t.get_name_offset().is_some_and(|o| self.is_string(here.object, o, name));
                    if ["__be16", "__be32", "__be64"].into_iter().any(named) {
                        return true;
                    }
                    t.get_type_id()
                }
                Raw::TypeTag(t) => t.get_type_id(),
                Raw::Const(t) | Raw::Volatile(t) | Raw::Restrict(t) => t.get_type_id(),
                _ => return false,
            };
            let Some(id) = next else { return false };
            at = At { object: here.object, id };
        }
        false
    }

    /// See [`rtrace_core::kernel::Types::members`].
    pub fn members(&self, id: TypeId) -> Vec<Member> {
        let Some((at, raw)) = self.get(self.defined(At::from_handle(id))) else { return Vec::new() };
        match &*raw {
            Raw::Struct(s) | Raw::Union(s) => s.members.iter().map(|m| self.make_member(at, m, 0)).collect(),
            _ => Vec::new(),
        }
    }

    /// See [`rtrace_core::kernel::Types::enum_values`]; also by a typedef's name.
    pub fn enum_values(&self, name: &str) -> Vec<(String, i64)> {
        let found = match first_of_unnamed(name) {
            Some(first) => self.enum_with(first).map(|(at, _)| at),
            None => match self.find(name, &[Kind::Enum, Kind::Enum64]) {
                Ok(Some(at)) => Some(at),
                _ => self.find(name, &[Kind::Typedef]).ok().flatten(),
            },
        };
        let Some(bare) = found.and_then(|at| self.bare(at)) else { return Vec::new() };
        let object = bare.at.object;
        let text = |o: Option<u32>| o.map(|o| self.string(object, o)).unwrap_or_default();
        match &*bare.raw {
            Raw::Enum(e) => {
                let signed = if self.knows_signs(object) { e.is_signed() } else { true };
                let value = |v: u32| if signed { i64::from(v as i32) } else { i64::from(v) };
                e.members.iter().map(|m| (text(m.get_name_offset()), value(m.val()))).collect()
            }
            Raw::Enum64(e) => e.members.iter().map(|m| (text(m.get_name_offset()), m.val() as i64)).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether the verifier refuses to load a value of this type from a tracing program's context (`btf_ctx_access` in
    /// kernel/bpf/btf.c). Of pointers it takes those to records and to plain `void`, those to numbers since Linux 5.18,
    /// those to `const void` since 6.16.
    fn is_refused(&self, at: At) -> bool {
        let Some(Bare { at, raw, .. }) = self.bare(at) else { return false };
        let Raw::Ptr(p) = &*raw else { return false };
        let id = p.get_type_id().unwrap_or(0);
        let (major, minor) = rtrace_sys::kernel_version();
        let before = |since: (u16, u16)| Version(major as u16, minor as u16) < Version(since.0, since.1);
        match self.bare(At { object: at.object, id }).as_ref().map(|to| &*to.raw) {
            _ if id == 0 => false,
            Some(Raw::Struct(_) | Raw::Union(_)) => false,
            Some(Raw::Int(_)) => before((5, 18)),
            None | Some(Raw::Void) => before((6, 16)),
            Some(_) => true,
        }
    }

    /// A FUNC, or a typedef of a pointer to a function, as a function of that name.
    pub(super) fn function_at(&self, at: At, name: &str) -> Option<Function> {
        let (at, raw) = self.get(at)?;
        let mut target = match &*raw {
            Raw::Func(f) => self.bare(At { object: at.object, id: f.get_type_id()? })?,
            _ => self.bare(at)?,
        };
        if let Raw::Ptr(p) = &*target.raw {
            target = self.bare(At { object: target.at.object, id: p.get_type_id()? })?;
        }
        let Raw::FuncProto(proto) = &*target.raw else { return None };
        let object = target.at.object;
        let passed = || proto.parameters.iter().filter(|p| !p.is_variadic());
        let types = passed().map(|p| p.get_type_id().unwrap_or(0)).chain([proto.return_type_id()]);
        let params = passed().map(|p| {
            let name = p.get_name_offset().map(|o| self.string(object, o)).unwrap_or_default();
            (name, p.get_type_id().map_or(Type::Void, |id| self.convert(At { object, id })))
        });
        Some(Function {
            name: name.to_owned(),
            module: self.object(at.object).ok()?.module.clone(),
            btf_id: at.id,
            params: params.collect(),
            refused: types.map(|id| self.is_refused(At { object, id })).collect(),
            variadic: proto.parameters.iter().any(|p| p.is_variadic()),
            ret: self.convert(At { object, id: proto.return_type_id() }),
        })
    }
}

/// Other integers wider than registers are arrays of words: nothing computes with them.
fn integer(bytes: usize, signed: bool) -> Type {
    match bytes {
        1 | 2 | 4 | 8 => Type::Int { bits: bytes as u8 * 8, signed },
        16 => Type::Int128 { signed },
        _ if bytes.is_multiple_of(8) => Type::Array { elem: Box::new(Type::U64), len: bytes as u32 / 8 },
        _ => Type::Array { elem: Box::new(Type::U8), len: bytes as u32 },
    }
}

/// An enum; one without a name goes by that of its typedef or of its first enumerator.
fn enumeration(name: String, first: impl FnOnce() -> Option<String>, bare: &Bare, bytes: usize, signed: bool) -> Type {
    let named = Some(name).filter(|n| !n.is_empty()).or_else(|| bare.typedef.clone());
    let name = named.or_else(|| Some(unnamed_enum(&first()?))).unwrap_or_default();
    match (name.is_empty(), bytes) {
        (false, 1 | 2 | 4 | 8) => Type::Enum { name, bits: bytes as u8 * 8, signed },
        _ => integer(bytes, signed),
    }
}

fn record(keyword: &str, name: String, bare: &Bare, bytes: usize) -> Type {
    let name = match (&bare.typedef, name.is_empty()) {
        (_, false) => format!("{keyword} {name}"),
        (Some(typedef), true) => typedef.clone(),
        (None, true) => format!("{keyword} (anonymous)"),
    };
    Type::Record(Record { name, id: bare.at.handle(), size: bytes as u32 })
}
