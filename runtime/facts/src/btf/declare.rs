//! BTF types as C writes them, for listings: `struct file *`, `const char *`, `int (*fn)(void *)`.
//!
//! The compiler's types (`convert.rs`) have lost typedefs and qualifiers, which a reader wants to see.

use btf_rs::{BtfType, Type as Raw};
use rtrace_core::kernel::{KernelError, TypeKind};

use super::{At, Facts, Kind, kinds};

const MAX_DEPTH: u32 = 32;

/// A function as declared: parameters by name and C type, return type.
pub struct Prototype {
    pub params: Vec<(String, String)>,
    pub ret: String,
}

impl Facts {
    /// The declaration of `inner` (a name, possibly empty, with what is already around it) with a type.
    fn declare(&self, at: At, inner: &str, depth: u32) -> String {
        if depth > MAX_DEPTH {
            return format!("... {inner}");
        }
        let Some((at, raw)) = self.get(at) else { return format!("void {inner}").trim_end().to_owned() };
        let target = |ty: &dyn BtfType| At { object: at.object, id: ty.get_type_id().unwrap_or(0) };
        let name = |ty: &dyn BtfType| ty.get_name_offset().map(|o| self.string(at.object, o)).unwrap_or_default();
        let with = |base: &str| if inner.is_empty() { base.to_owned() } else { format!("{base} {inner}") };
        match &*raw {
            Raw::Ptr(ptr) => {
                let to = target(ptr);
                let needs_parentheses =
                    self.get(to).is_some_and(|(_, raw)| matches!(&*raw, Raw::Array(_) | Raw::FuncProto(_)));
                let inner = match needs_parentheses {
                    true => format!("(*{inner})"),
                    false if inner.starts_with('(') => format!("* {inner}"),
                    false => format!("*{inner}"),
                };
                self.declare(to, &inner, depth + 1)
            }
            Raw::Array(array) => self.declare(target(array), &format!("{inner}[{}]", array.len()), depth + 1),
            Raw::Const(c) => self.qualified("const", target(c), inner, depth),
            Raw::Volatile(v) => self.qualified("volatile", target(v), inner, depth),
            Raw::Restrict(r) => self.declare(target(r), inner, depth + 1),
            Raw::TypeTag(t) => self.declare(target(t), inner, depth + 1),
            Raw::FuncProto(proto) => {
                let mut list: Vec<String> = Vec::new();
                for p in &proto.parameters {
                    list.push(if p.is_variadic() {
                        "...".to_owned()
                    } else {
                        self.declare(target(p), &name(p), depth + 1)
                    });
                }
                if list.is_empty() {
                    list.push("void".to_owned());
                }
                let ret = At { object: at.object, id: proto.return_type_id() };
                self.declare(ret, &format!("{inner}({})", list.join(", ")), depth + 1)
            }
            Raw::Struct(_) | Raw::Union(_) | Raw::Enum(_) | Raw::Enum64(_) | Raw::Fwd(_) => {
                let keyword = match &*raw {
                    Raw::Union(_) => "union",
                    Raw::Enum(_) | Raw::Enum64(_) => "enum",
                    Raw::Fwd(f) if f.is_union() => "union",
                    _ => "struct",
                };
                let name = raw.as_btf_type().map(name).unwrap_or_default();
                if name.is_empty() {
                    with(&self.body(at, keyword, depth + 1))
                } else {
                    with(&format!("{keyword} {name}"))
                }
            }
            Raw::Void => with("void"),
            other => with(&other.as_btf_type().map(name).unwrap_or_default()),
        }
    }

    /// A qualifier stands before a plain type and after the asterisk of a pointer.
    fn qualified(&self, word: &str, to: At, inner: &str, depth: u32) -> String {
        if self.get(to).is_some_and(|(_, raw)| matches!(&*raw, Raw::Ptr(_))) {
            let gap = if inner.is_empty() { "" } else { " " };
            let inner = format!(" {word}{gap}{inner}");
            return self.declare(to, &inner, depth + 1);
        }
        format!("{word} {}", self.declare(to, inner, depth + 1))
    }

    /// `struct NAME { … }` with its members, one to a line.
    fn body(&self, at: At, head: &str, depth: u32) -> String {
        let Some((at, raw)) = self.get(at) else { return head.to_owned() };
        let name = |offset: Option<u32>| offset.map(|o| self.string(at.object, o)).unwrap_or_default();
        let mut lines = Vec::new();
        match &*raw {
            Raw::Struct(s) | Raw::Union(s) => {
                for member in &s.members {
                    let ty = At { object: at.object, id: member.get_type_id().unwrap_or(0) };
                    let declared = self.declare(ty, &name(member.get_name_offset()), depth + 1);
                    match member.bitfield_size().filter(|bits| *bits > 0) {
                        Some(bits) => lines.push(format!("{declared}: {bits};")),
                        None => lines.push(format!("{declared};")),
                    }
                }
            }
            Raw::Enum(e) => {
                let signed = e.is_signed();
                for m in &e.members {
                    let value = if signed { i64::from(m.val() as i32) } else { i64::from(m.val()) };
                    lines.push(format!("{} = {value},", name(m.get_name_offset())));
                }
            }
            Raw::Enum64(e) => {
                lines.extend(e.members.iter().map(|m| format!("{} = {},", name(m.get_name_offset()), m.val() as i64)));
            }
            _ => {}
        }
        if lines.is_empty() {
            return format!("{head} {{}}");
        }
        let inside: String = lines.iter().flat_map(|entry| entry.lines()).map(|line| format!("\t{line}\n")).collect();
        format!("{head} {{\n{inside}}}")
    }

    /// The definition of a struct, union or enum as C writes it; `None` when there is none.
    pub fn definition(&self, kind: TypeKind, name: &str) -> Result<Option<String>, KernelError> {
        let keyword = keyword(kind);
        let Some(at) = self.find(name, kinds(kind))? else { return Ok(None) };
        let module = self.object(at.object)?.module.clone();
        let module = module.as_deref().unwrap_or("vmlinux");
        Ok(Some(format!("{module}: {};", self.body(at, &format!("{keyword} {name}"), 0))))
    }

    /// A function's prototype as C writes it.
    pub fn prototype(&self, name: &str, module: Option<&str>) -> Result<Option<Prototype>, KernelError> {
        let at = match module {
            Some(module) if module != "vmlinux" => match self.module(module)? {
                Some(object) => self.find_in(object, name, &[Kind::Func])?,
                None => None,
            },
            _ => self.find_in(0, name, &[Kind::Func])?,
        };
        Ok(at.and_then(|at| self.prototype_at(at)))
    }

    /// A raw tracepoint's prototype, without the first parameter, which is not the script's.
    pub fn raw_prototype(&self, name: &str) -> Result<Option<Prototype>, KernelError> {
        let at = self.find(&format!("{}{name}", super::RAW_PREFIX), &[Kind::Typedef])?;
        let Some((at, mut prototype)) = at.and_then(|at| Some((at, self.prototype_at(at)?))) else { return Ok(None) };
        if !prototype.params.is_empty() {
            prototype.params.remove(0);
        }
        for ((param, _), name) in prototype.params.iter_mut().zip(self.raw_parameters(at.object, name)) {
            *param = name;
        }
        Ok(Some(prototype))
    }

    pub(super) fn prototype_at(&self, at: At) -> Option<Prototype> {
        let (at, mut raw) = self.get(at)?;
        let mut here = at;
        // FUNC → FUNC_PROTO, or typedef → pointer → FUNC_PROTO.
        for _ in 0..3 {
            if let Raw::FuncProto(proto) = &*raw {
                let object = here.object;
                let name = |o: Option<u32>| o.map(|o| self.string(object, o)).unwrap_or_default();
                let ty = |id: u32| self.declare(At { object, id }, "", 0);
                let params = proto.parameters.iter().map(|p| match p.is_variadic() {
                    true => (String::new(), "...".to_owned()),
                    false => (name(p.get_name_offset()), ty(p.get_type_id().unwrap_or(0))),
                });
                return Some(Prototype { params: params.collect(), ret: ty(proto.return_type_id()) });
            }
            let id = raw.as_btf_type()?.get_type_id()?;
            (here, raw) = self.get(At { object: here.object, id })?;
        }
        None
    }
}

/// The word before a type's name.
pub fn keyword(kind: TypeKind) -> &'static str {
    match kind {
        TypeKind::Struct => "struct",
        TypeKind::Union => "union",
        TypeKind::Enum => "enum",
        TypeKind::Typedef => "typedef",
    }
}
