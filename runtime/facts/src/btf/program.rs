//! BTF of BPF programs: an object of its own for each, apart from the kernel's. Its records are the kernel's where they
//! are meant to be: programs are compiled with partial or other kernels' definitions, and fitted to this one as they
//! are loaded.

use std::rc::Rc;

use btf_rs::{Btf, BtfType};
use rtrace_core::kernel::{Function, KernelError, TypeKind};
use rtrace_core::types::Type;

use super::index::{Bytes, Index};
use super::{At, Facts, ID_BITS, Kind, Object, Prototype};
use rtrace_core::types::TypeId;
use rtrace_sys as sys;

/// The types of a BPF program.
pub struct ProgramTypes(Rc<Object>);

impl ProgramTypes {
    /// The name of a function by its type.
    pub fn function(&self, id: u32) -> Option<String> {
        let name = self.0.index.name_of(id, Kind::Func)?;
        Some(String::from_utf8_lossy(name).into_owned())
    }
}

fn unusable(btf: u32, why: impl std::fmt::Display) -> KernelError {
    KernelError { message: format!("cannot read the types of a BPF program (BTF object {btf}): {why}"), help: None }
}

impl Facts {
    /// The types of a BPF program, by the number of its BTF object; several programs may share one.
    pub fn program_types(&self, btf: u32) -> Result<ProgramTypes, KernelError> {
        if let Some(known) = self.programs.borrow().get(&btf) {
            return Ok(ProgramTypes(known.clone()));
        }
        let bytes = sys::btf_bytes(btf).map_err(|e| unusable(btf, e))?;
        let types = Btf::from_bytes(&bytes).map_err(|e| unusable(btf, e))?;
        let index = Index::new(Bytes::Read(bytes), None).ok_or_else(|| unusable(btf, "unknown format"))?;
        let object = Rc::new(Object { module: None, of_program: true, types, index });
        self.programs.borrow_mut().insert(btf, object.clone());
        Ok(ProgramTypes(object))
    }

    /// The same with a number of ours, which handles have in them.
    fn program_object(&self, btf: u32) -> Result<u32, KernelError> {
        let ProgramTypes(object) = self.program_types(btf)?;
        let mut all = self.modules.borrow_mut();
        if let Some(known) = all.iter().position(|o| Rc::ptr_eq(o, &object)) {
            return Ok(known as u32 + 1);
        }
        if all.len() as u32 + 1 >= TypeId::PROGRAM >> ID_BITS {
            return Err(unusable(btf, "the types of too many other programs are in use"));
        }
        all.push(object);
        Ok(all.len() as u32)
    }

    /// A function of a program. `main`: it is the program itself, of this type (`enum bpf_prog_type`), and its parameter is
    /// what the kernel has for such programs. Tells whether that is a record of the kernel.
    pub fn program_function(
        &self,
        btf: u32,
        id: u32,
        name: &str,
        main: Option<u32>,
    ) -> Result<Option<(Function, bool)>, KernelError> {
        let object = self.program_object(btf)?;
        let Some(mut function) = self.function_at(At { object, id }, name) else { return Ok(None) };
        let mut of_kernel = false;
        for (n, (name, ty)) in function.params.iter_mut().enumerate() {
            if let Some(prog_type) = main
                && let Some(context) = self.context(prog_type, ty)
            {
                of_kernel = matches!(&context, Type::Ptr { to, .. } if matches!(**to, Type::Record(_)));
                *ty = context;
            }
            if name.is_empty() {
                *name = if main.is_some() { "ctx".to_owned() } else { format!("arg{n}") };
            }
        }
        Ok(Some((function, of_kernel)))
    }

    /// A function of a program as C writes it.
    pub fn program_prototype(&self, btf: u32, id: u32) -> Option<Prototype> {
        self.prototype_at(At { object: self.program_object(btf).ok()?, id })
    }

    /// The kernel type behind the context that a program of some type declares: `struct bpf_ctx_convert`
    /// (kernel/bpf/btf.c) has a pair of members for each type. `None` where it is what it says, or cannot be said
    /// better.
    fn context(&self, prog_type: u32, declared: &Type) -> Option<Type> {
        let Type::Ptr { to, space } = declared else { return None };
        let types = self.enum_values("bpf_prog_type");
        let pairs = self.find_in(0, "bpf_ctx_convert", &[Kind::Struct]).ok()??;
        // A number may have a second name, from before it was renamed.
        types.iter().filter(|(_, value)| *value == i64::from(prog_type)).find_map(|(name, _)| {
            let side = |side| self.member(pairs.handle(), &format!("{name}_{side}")).map(|m| m.ty);
            let (declared_as, real) = (side("prog")?, side("kern")?);
            let same = match (&**to, &declared_as) {
                (Type::Void | Type::Int { .. }, _) => true,
                (Type::Record(a), Type::Record(b)) => a.name == b.name,
                _ => false,
            };
            let known = matches!(real, Type::Record(_) | Type::Int { .. });
            (same && known).then(|| Type::Ptr { to: Box::new(real), space: *space })
        })
    }

    /// The kernel's record that a program's stands for: it has the name, but for what follows `___`, and all members.
    pub(super) fn of_kernel(&self, at: At, name: &str, members: &[btf_rs::Member], kind: TypeKind) -> Option<At> {
        let name = name.split("___").next().filter(|n| !n.is_empty())?;
        let is_program = at.object > 0 && self.object(at.object).is_ok_and(|o| o.of_program);
        let found = is_program.then(|| self.find_in(0, name, super::kinds(kind)).ok().flatten()).flatten()?;
        let named = members.iter().filter_map(BtfType::get_name_offset).filter(|offset| *offset > 0);
        let mut names = named.map(|offset| self.string(at.object, offset));
        names.all(|member| self.member(found.handle(), &member).is_some()).then_some(found)
    }
}
