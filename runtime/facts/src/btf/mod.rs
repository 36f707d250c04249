//! BTF of the running kernel: vmlinux, modules when something is asked that only they know, and BPF programs.
//!
//! Owns opening (mapped straight from sysfs where the kernel allows it, through a memfd copy before
//! 6.16), the handles given to the compiler, and lookups by name. `index.rs` finds names,
//! `convert.rs` turns BTF types into the language's,
//! `program.rs` knows those of BPF programs. Nothing is opened before the first question.

mod convert;
mod declare;
mod index;
mod program;

use rtrace_core::nearest::Nearest;
use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use btf_rs::{Backend, Btf};
use memmap2::MmapOptions;
use rtrace_core::kernel::{Function, KernelError, TypeKind};
use rtrace_core::types::{Type, TypeId};

use crate::hash::BuildNameHasher;
use index::{Bytes, Index};
use rtrace_core::glob::Glob;

pub use declare::{Prototype, keyword};
pub use index::Kind;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const MODULES: &str = "/sys/kernel/btf";

/// A handle is `object << ID_BITS | BTF id`. Debian's largest kernels have 200,000 types.
const ID_BITS: u32 = 22;

/// One BTF object. Object 0 is vmlinux, the others are modules on top of it, or BPF programs.
struct Object {
    module: Option<String>,
    /// Of a BPF program, which stands on its own.
    of_program: bool,
    types: Btf,
    index: Index,
}

/// A type of an object: what a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct At {
    object: u32,
    id: u32,
}

impl At {
    fn handle(self) -> TypeId {
        TypeId(self.object << ID_BITS | self.id)
    }

    fn from_handle(id: TypeId) -> At {
        At { object: id.0 >> ID_BITS, id: id.0 & ((1 << ID_BITS) - 1) }
    }
}

#[derive(Default)]
pub struct Facts {
    vmlinux: OnceCell<Result<Rc<Object>, KernelError>>,
    /// In the order of their numbers; of BPF programs only those whose types were asked for.
    modules: RefCell<Vec<Rc<Object>>>,
    /// Of BPF programs, by the number that the kernel has for them.
    programs: RefCell<HashMap<u32, Rc<Object>>>,
    /// Answers to [`Facts::find`], also the negative ones.
    found: RefCell<HashMap<(String, u8), Option<At>>>,
    /// Decoded types: records are asked about again and again.
    decoded: RefCell<HashMap<At, Rc<btf_rs::Type>>>,
}

fn cannot_read(path: &Path, why: impl std::fmt::Display) -> KernelError {
    KernelError::new(
        format!("cannot read kernel types from {}: {why}", path.display()),
        "kernel types need a kernel built with CONFIG_DEBUG_INFO_BTF=y; probes that use none of them work without",
    )
}

/// Maps the file, or a copy of it where sysfs refuses (ENODEV before Linux 6.16). The path opens
/// the mapped file again for as long as the returned file is open.
fn map(path: &Path) -> std::io::Result<(memmap2::Mmap, PathBuf, Option<File>)> {
    let mut file = File::open(path)?;
    // SAFETY: the mapping is private and read-only; BTF in sysfs is the kernel's read-only memory and does
    // not change. A file named by BPFTRACE_BTF is the user's to leave alone.
    if let Ok(map) = unsafe { MmapOptions::new().map_copy_read_only(&file) } {
        return Ok((map, path.to_path_buf(), None));
    }
    let mut copy = rtrace_sys::files::memfd(c"btf")?;
    // Written, not read into a mapping: that would cost a page fault for every page.
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            got => copy.write_all(buffer.get(..got).unwrap_or_default())?,
        }
    }
    // SAFETY: nobody else knows the memfd, and it is not written to again.
    let map = unsafe { MmapOptions::new().map_copy_read_only(&copy)? };
    let again = PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd()));
    Ok((map, again, Some(copy)))
}

fn open_vmlinux() -> Result<Object, KernelError> {
    let path = std::env::var_os("BPFTRACE_BTF").map_or_else(|| PathBuf::from(VMLINUX), PathBuf::from);
    // The memfd, if any, is open until btf-rs has mapped it.
    let (bytes, again, _copy) = map(&path).map_err(|e| cannot_read(&path, e))?;
    // The index checks the bounds that btf-rs relies on.
    let index = Index::new(Bytes::Mapped(bytes), None).ok_or_else(|| cannot_read(&path, "unknown format"))?;
    let types = Btf::from_file_with_backend(&again, Backend::Mmap).map_err(|e| cannot_read(&path, e))?;
    Ok(Object { module: None, of_program: false, types, index })
}

impl Facts {
    fn vmlinux(&self) -> Result<&Rc<Object>, KernelError> {
        self.vmlinux.get_or_init(|| open_vmlinux().map(Rc::new)).as_ref().map_err(Clone::clone)
    }

    /// Whether the kernel has BTF at all; opens it.
    pub fn available(&self) -> bool {
        self.vmlinux().is_ok()
    }

    fn object(&self, object: u32) -> Result<Rc<Object>, KernelError> {
        let vmlinux = self.vmlinux()?;
        let module = match object.checked_sub(1) {
            None => Some(vmlinux.clone()),
            Some(i) => self.modules.borrow().get(i as usize).cloned(),
        };
        module.ok_or_else(|| KernelError::new("no such BTF object", "this is a bug in rtrace"))
    }

    /// Opens a module's BTF; `None` when no such module has BTF.
    fn module(&self, name: &str) -> Result<Option<u32>, KernelError> {
        if let Some(i) = self.modules.borrow().iter().position(|m| m.module.as_deref() == Some(name)) {
            return Ok(Some(i as u32 + 1));
        }
        let path = Path::new(MODULES).join(name);
        match std::fs::read(&path) {
            Ok(bytes) if name != "vmlinux" && !name.contains('/') => self.add_module(name, bytes).map(Some),
            Err(e) if !crate::is_gone(&e) => Err(cannot_read(&path, e)),
            _ => Ok(None),
        }
    }

    fn add_module(&self, name: &str, bytes: Vec<u8>) -> Result<u32, KernelError> {
        let vmlinux = self.vmlinux()?;
        let path = Path::new(MODULES).join(name);
        let types = Btf::from_split_bytes(&bytes, &vmlinux.types).map_err(|e| cannot_read(&path, e))?;
        let index =
            Index::new(Bytes::Read(bytes), Some(&vmlinux.index)).ok_or_else(|| cannot_read(&path, "unknown format"))?;
        let mut modules = self.modules.borrow_mut();
        modules.push(Rc::new(Object { module: Some(name.to_owned()), of_program: false, types, index }));
        Ok(modules.len() as u32)
    }

    /// Names of the modules that have BTF, sorted.
    pub fn module_names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(MODULES)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name != "vmlinux")
            .collect();
        names.sort();
        names
    }

    /// The modules that hold `name`: the others are read but not parsed. What vmlinux has among its strings, as of a
    /// structure that it only declares, modules do not repeat: they use its offset there.
    fn modules_with(&self, name: &str) -> Result<Vec<u32>, KernelError> {
        let mut needle = vec![0];
        needle.extend_from_slice(name.as_bytes());
        needle.push(0);
        if let Some(offset) = self.vmlinux()?.index.string_offset(name) {
            needle = offset.to_ne_bytes().to_vec();
        }
        let mut found = Vec::new();
        for module in self.module_names() {
            if let Ok(bytes) = std::fs::read(Path::new(MODULES).join(&module))
                && memchr::memmem::find(&bytes, &needle).is_some()
            {
                let open = self.modules.borrow().iter().position(|m| m.module.as_deref() == Some(module.as_str()));
                found.push(match open {
                    Some(i) => i as u32 + 1,
                    None => self.add_module(&module, bytes)?,
                });
            }
        }
        Ok(found)
    }

    fn find_in(&self, object: u32, name: &str, kinds: &[Kind]) -> Result<Option<At>, KernelError> {
        let o = self.object(object)?;
        let base = if object == 0 { None } else { Some(self.vmlinux()?) };
        let id = o.index.find(base.map(|b| &b.index), name, kinds).next();
        Ok(id.map(|id| At { object, id }))
    }

    /// The first type of that name and one of the kinds: in vmlinux, else in a loaded module.
    fn find(&self, name: &str, kinds: &[Kind]) -> Result<Option<At>, KernelError> {
        let key = (name.to_owned(), kinds.first().map_or(0, |k| *k as u8));
        if let Some(known) = self.found.borrow().get(&key) {
            return Ok(*known);
        }
        let mut at = self.find_in(0, name, kinds)?;
        if at.is_none() {
            for module in self.modules_with(name)? {
                at = self.find_in(module, name, kinds)?;
                if at.is_some() {
                    break;
                }
            }
        }
        self.found.borrow_mut().insert(key, at);
        Ok(at)
    }

    /// A name of vmlinux or a module.
    fn string(&self, object: u32, offset: u32) -> String {
        let (Ok(o), Ok(vmlinux)) = (self.object(object), self.vmlinux()) else { return String::new() };
        let mut bytes = o.index.string(offset);
        if bytes.is_empty() {
            bytes = vmlinux.index.string(offset);
        }
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// Decodes a type, moving it to vmlinux when its id is one of vmlinux.
    fn get(&self, at: At) -> Option<(At, Rc<btf_rs::Type>)> {
        let object = self.object(at.object).ok()?;
        let at = if at.id < object.index.first_id() { At { object: 0, id: at.id } } else { at };
        if let Some(known) = self.decoded.borrow().get(&at) {
            return Some((at, known.clone()));
        }
        let ty = Rc::new(object.types.resolve_type_by_id(at.id).ok()?);
        self.decoded.borrow_mut().insert(at, ty.clone());
        Some((at, ty))
    }

    /// See [`rtrace_core::kernel::Types::find_type`].
    pub fn find_type(&self, kind: TypeKind, name: &str) -> Result<Option<Type>, KernelError> {
        Ok(self.find(name, kinds(kind))?.map(|at| self.convert(at)))
    }

    /// A type by the name C knows it by: a typedef or a base type such as `unsigned int`.
    pub fn find_plain(&self, name: &str) -> Result<Option<Type>, KernelError> {
        Ok(self.find(name, &[Kind::Typedef, Kind::Int])?.map(|at| self.convert(at)))
    }

    /// The value and type of an enumerator of vmlinux.
    pub fn enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.vmlinux_enum_with(name).map(|(at, bits)| self.enumerator_of(at, bits))
    }

    /// The value and type of an enumerator of a module.
    pub fn module_enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.module_enum_with(name).map(|(at, bits)| self.enumerator_of(at, bits))
    }

    /// The enum that has an enumerator of this name, and its value as unsigned bits.
    fn enum_with(&self, enumerator: &str) -> Option<(At, u64)> {
        self.vmlinux_enum_with(enumerator).or_else(|| self.module_enum_with(enumerator))
    }

    fn vmlinux_enum_with(&self, enumerator: &str) -> Option<(At, u64)> {
        let (id, bits) = self.vmlinux().ok()?.index.enumerator(None, enumerator)?;
        Some((At { object: 0, id }, bits))
    }

    fn module_enum_with(&self, enumerator: &str) -> Option<(At, u64)> {
        let vmlinux = self.vmlinux().ok()?;
        self.modules_with(enumerator).ok()?.into_iter().find_map(|module| {
            let (id, bits) = self.object(module).ok()?.index.enumerator(Some(&vmlinux.index), enumerator)?;
            Some((At { object: module, id }, bits))
        })
    }

    fn enumerator_of(&self, at: At, bits: u64) -> (i64, Type) {
        let ty = self.convert(at);
        let wide = matches!(ty, Type::Enum { bits: 64, .. } | Type::Int { bits: 64, .. });
        let value = match ty.is_signed() {
            true if !wide => i64::from(bits as u32 as i32),
            _ => bits as i64,
        };
        (value, ty)
    }

    /// A function with its prototype: in vmlinux, in one module, or (`None`) wherever it is.
    pub fn function(&self, name: &str, module: Option<&str>) -> Result<Option<Function>, KernelError> {
        let at = match module {
            Some("vmlinux") => self.find_in(0, name, &[Kind::Func])?,
            Some(module) => match self.module(module)? {
                Some(object) => self.find_in(object, name, &[Kind::Func])?,
                None => None,
            },
            None => self.find(name, &[Kind::Func])?,
        };
        Ok(at.and_then(|at| self.function_at(at, name)))
    }

    /// A raw tracepoint: its `btf_trace_NAME` typedef points to its prototype (include/trace/bpf_probe.h),
    /// whose first parameter `void *__data` is not the script's.
    pub fn raw_tracepoint(&self, name: &str) -> Result<Option<Function>, KernelError> {
        let Some(at) = self.find(&format!("{RAW_PREFIX}{name}"), &[Kind::Typedef])? else { return Ok(None) };
        let Some(mut function) = self.function_at(at, name) else { return Ok(None) };
        if !function.params.is_empty() {
            function.params.remove(0);
            function.refused.remove(0);
        }
        for (i, (param, _)) in function.params.iter_mut().enumerate() {
            *param = format!("arg{i}");
        }
        for ((param, _), name) in function.params.iter_mut().zip(self.raw_parameters(at.object, name)) {
            *param = name;
        }
        Ok(Some(function))
    }

    /// Names of a raw tracepoint's parameters, which the typedef's prototype lacks: from the function that calls
    /// the attached probes (`__traceiter_NAME`, Linux 5.10) or the one that stands for them (6.6).
    fn raw_parameters(&self, object: u32, name: &str) -> Vec<String> {
        for prefix in ["__traceiter_", "__probestub_"] {
            let full = format!("{prefix}{name}");
            if let Ok(Some(at)) = self.find_in(object, &full, &[Kind::Func])
                && let Some(function) = self.function_at(at, &full)
            {
                return function.params.into_iter().skip(1).map(|(name, _)| name).collect();
            }
        }
        Vec::new()
    }

    /// Calls `each` with those names, in their order, that are functions of one object (`None`: vmlinux) whose arguments,
    /// at most `most`, a trampoline can carry.
    pub fn each_function(
        &self,
        module: Option<&str>,
        most: usize,
        names: &[&[u8]],
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<(), KernelError> {
        let vmlinux = self.vmlinux()?;
        let Some(object) = self.object_of(module)? else { return Ok(()) };
        let base = module.map(|_| &vmlinux.index);
        let functions = object.index.all(Kind::Func).filter(|(id, _)| object.index.fits_trampoline(base, *id, most));
        let mut known: HashSet<&[u8], BuildNameHasher> = HashSet::with_capacity_and_hasher(names.len(), <_>::default());
        known.extend(functions.map(|(_, offset)| object.index.name(base, offset)));
        names.iter().filter(|name| known.contains(*name)).for_each(|name| each(name));
        Ok(())
    }

    /// vmlinux, or a module, if it has BTF.
    fn object_of(&self, module: Option<&str>) -> Result<Option<Rc<Object>>, KernelError> {
        match module {
            None => Ok(Some(self.vmlinux()?.clone())),
            Some(module) => self.module(module)?.map(|object| self.object(object)).transpose(),
        }
    }

    /// Calls `each` with the name of every type of one kind in one object (`None`: vmlinux).
    pub fn each_name(&self, kind: Kind, module: Option<&str>, each: &mut dyn FnMut(&[u8])) -> Result<(), KernelError> {
        self.each_named(kind, module, &mut |_, name| each(name))
    }

    /// The same with the place of each.
    fn each_named(&self, kind: Kind, module: Option<&str>, each: &mut dyn FnMut(At, &[u8])) -> Result<(), KernelError> {
        let vmlinux = self.vmlinux()?;
        let Some(number) = module.map_or(Ok(Some(0)), |module| self.module(module))? else { return Ok(()) };
        let (object, base) = (self.object(number)?, module.map(|_| &vmlinux.index));
        for (id, offset) in object.index.all(kind) {
            each(At { object: number, id }, object.index.name(base, offset));
        }
        Ok(())
    }

    /// Names of raw tracepoints that match, with the module that has them.
    pub fn raw_tracepoints(&self, pattern: &Glob<'_>) -> Result<Vec<(Option<String>, String)>, KernelError> {
        let mut found: Vec<(Option<String>, String)> = Vec::new();
        let modules = self.module_names();
        for module in std::iter::once(None).chain(modules.iter().map(|m| Some(m.as_str()))) {
            self.each_named(Kind::Typedef, module, &mut |at, name| {
                if let Some(name) = name.strip_prefix(RAW_PREFIX.as_bytes())
                    && pattern.matches(name)
                {
                    let name = String::from_utf8_lossy(name).into_owned();
                    // They may be asked about one by one, which would otherwise look through all modules for each.
                    let key = (format!("{RAW_PREFIX}{name}"), Kind::Typedef as u8);
                    self.found.borrow_mut().entry(key).or_insert(Some(at));
                    found.push((module.map(str::to_owned), name));
                }
            })?;
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// Names of types of one kind that match, of vmlinux and of all modules, sorted.
    pub fn type_names(&self, kind: TypeKind, pattern: &Glob<'_>) -> Result<Vec<String>, KernelError> {
        if let Some(name) = pattern.exact() {
            return Ok(self.find(name, kinds(kind))?.map(|_| name.to_owned()).into_iter().collect());
        }
        let mut found = Vec::new();
        let modules = self.module_names();
        for module in std::iter::once(None).chain(modules.iter().map(|m| Some(m.as_str()))) {
            for kind in kinds(kind) {
                self.each_name(*kind, module, &mut |name| {
                    if !name.is_empty() && pattern.matches(name) {
                        found.push(String::from_utf8_lossy(name).into_owned());
                    }
                })?;
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The name nearest to `name` among those of `kind`; for messages, it looks at all of them.
    pub fn nearest(&self, kind: TypeKind, name: &str) -> Option<String> {
        let mut best = Nearest::new(name);
        for kind in kinds(kind) {
            self.each_name(*kind, None, &mut |candidate| best.offer(candidate)).ok()?;
        }
        best.take()
    }
}

/// The prefix that `DECLARE_TRACE` adds to a tracepoint's name in the typedef of its prototype.
const RAW_PREFIX: &str = "btf_trace_";

fn kinds(kind: TypeKind) -> &'static [Kind] {
    match kind {
        TypeKind::Struct => &[Kind::Struct],
        TypeKind::Union => &[Kind::Union],
        TypeKind::Enum => &[Kind::Enum, Kind::Enum64],
        TypeKind::Typedef => &[Kind::Typedef],
    }
}
