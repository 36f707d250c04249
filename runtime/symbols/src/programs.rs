//! Traced programs and libraries: the compiler's questions about them, answered from their files.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use rtrace_core::kernel::{
    GoAbi, KernelError, Member, Programs, TypeKind, UsdtProbe, UserFunction, UserObject, UserSymbol,
};
use rtrace_core::types::{Type, TypeId};

use crate::demangle::demangled;
use crate::{dwarf, go, instructions, mapped, usdt, user};

/// The value of an enumerator, and its type.
type Enumerator = (i64, Type);

/// The programs of this machine. What is found is remembered; make a new one to look again.
#[derive(Default)]
pub struct ProgramFacts {
    /// Debug information of executables, once looked for, by path; and those that have some.
    debug: RefCell<HashMap<String, Option<Rc<dwarf::Debug>>>>,
    debugged: RefCell<Vec<Rc<dwarf::Debug>>>,
    user_types: dwarf::Types,
    /// What was found there: types are inferred in rounds, each of which asks again.
    user_functions: RefCell<HashMap<(String, u64, String), Option<UserFunction>>>,
    /// What programs of Go say of themselves, by path.
    go: RefCell<HashMap<String, Option<go::Go>>>,
    named_types: RefCell<HashMap<(String, TypeKind, String), Option<Type>>>,
    user_enumerators: RefCell<HashMap<(String, String), Option<Enumerator>>>,
    /// The process that is traced, where it is only one.
    process: Option<u32>,
}

impl ProgramFacts {
    /// As seen from one process, `-p`: names of programs and libraries mean the files that it runs.
    pub fn for_process(process: Option<u32>) -> ProgramFacts {
        ProgramFacts { process, ..ProgramFacts::default() }
    }

    /// The process that is traced, where it is only one.
    pub fn process(&self) -> Option<u32> {
        self.process
    }

    /// A struct, union or enum of an executable.
    pub fn user_type(&self, path: &str, kind: TypeKind, name: &str) -> Option<Type> {
        let debug = self.debug(path)?;
        let mut known = self.named_types.borrow_mut();
        let key = (path.to_owned(), kind, name.to_owned());
        known.entry(key).or_insert_with(|| self.user_types.named(&debug, kind, name)).clone()
    }

    /// An enumerator of an executable.
    pub fn user_enumerator(&self, path: &str, name: &str) -> Option<(i64, Type)> {
        let debug = self.debug(path)?;
        let mut known = self.user_enumerators.borrow_mut();
        let key = (path.to_owned(), name.to_owned());
        known.entry(key).or_insert_with(|| self.user_types.enumerator(&debug, name)).clone()
    }

    /// The enumerators of an enum of an executable, by what its type is called.
    pub fn enum_values(&self, name: &str) -> Option<Vec<(String, i64)>> {
        self.user_types.enum_values(name)
    }

    fn debug(&self, path: &str) -> Option<Rc<dwarf::Debug>> {
        if let Some(known) = self.debug.borrow().get(path) {
            return known.clone();
        }
        let mut all = self.debugged.borrow_mut();
        let debug = dwarf::Debug::open(path, all.len()).map(Rc::new);
        all.extend(debug.clone());
        self.debug.borrow_mut().insert(path.to_owned(), debug.clone());
        debug
    }

    /// The members of a type with a handle of [`dwarf::is_handle`].
    pub fn members(&self, id: TypeId) -> Vec<Member> {
        let file = self.user_types.file(id);
        let debug = file.and_then(|n| self.debugged.borrow().get(n).cloned());
        debug.map(|d| self.user_types.members_of(&d, id)).unwrap_or_default()
    }

    /// One of them by name, also inside members without a name.
    pub fn member(&self, id: TypeId, name: &str) -> Option<Member> {
        let members = self.members(id);
        if let Some(m) = members.iter().find(|m| m.name == name) {
            return Some(m.clone());
        }
        // Through members without a name, and what a class inherits.
        members.iter().filter(|m| m.name.is_empty()).find_map(|outer| {
            let Type::Record(inner) = &outer.ty else { return None };
            let found = self.member(inner.id, name)?;
            Some(Member { bit_offset: outer.bit_offset.saturating_add(found.bit_offset), ..found })
        })
    }
}

impl Programs for ProgramFacts {
    fn executables(&self, pattern: &str) -> Result<Vec<String>, KernelError> {
        match (pattern, self.process) {
            ("", Some(process)) => mapped::program(process).map(|path| vec![path]),
            ("", None) => Ok(Vec::new()),
            ("*", Some(process)) => mapped::files(process),
            ("*", None) => Ok(mapped::files_of_all()),
            (name, Some(process)) => mapped::named(process, name),
            (name, None) => Ok(user::executables(name)),
        }
    }

    fn user_symbols(&self, path: &str, pattern: &str) -> Result<Vec<UserSymbol>, KernelError> {
        user::symbols(path, pattern)
    }

    fn user_offset(&self, path: &str, address: u64) -> Result<Option<u64>, KernelError> {
        user::offset(path, address)
    }

    fn usdt_probes(&self, path: &str) -> Result<Vec<UsdtProbe>, KernelError> {
        usdt::probes(path)
    }

    fn user_symbol_at(&self, path: &str, address: u64) -> Result<Option<UserSymbol>, KernelError> {
        user::symbol_at(path, address)
    }

    fn instructions(&self, path: &str, function: &UserSymbol, address: u64) -> Result<Option<(u64, u64)>, KernelError> {
        instructions::around(path, function, address)
    }

    fn returns(&self, path: &str, function: &UserSymbol) -> Vec<u64> {
        instructions::returns(path, function).unwrap_or_default()
    }

    fn source_name(&self, symbol: &str) -> Option<String> {
        demangled(symbol)
    }

    fn go_abi(&self, path: &str, function: &UserSymbol) -> Option<GoAbi> {
        let mut known = self.go.borrow_mut();
        // What cannot be read, or is no ELF file, is none of Go's.
        let go = known.entry(path.to_owned()).or_insert_with(|| go::Go::of(path).ok().flatten());
        go.as_ref()?.abi(function)
    }

    fn is_stripped(&self, path: &str) -> bool {
        user::is_stripped(path)
    }

    fn user_function(&self, path: &str, offset: u64, name: &str) -> Result<Option<UserFunction>, KernelError> {
        let key = (path.to_owned(), offset, name.to_owned());
        if let Some(known) = self.user_functions.borrow().get(&key) {
            return Ok(known.clone());
        }
        let (Some(debug), Some(address)) = (self.debug(path), user::address(path, offset)?) else { return Ok(None) };
        let found = debug.function(&self.user_types, address, name).map_err(|missing| missing.explain())?;
        self.user_functions.borrow_mut().insert(key, found.clone());
        Ok(found)
    }

    fn inlined(&self, path: &str, name: &str) -> Result<Vec<UserSymbol>, KernelError> {
        let found = self.debug(path).map(|d| d.inlined(name)).unwrap_or_default();
        user::places(path, found)
    }

    fn source_line(
        &self,
        path: &str,
        file: &str,
        line: u64,
        column: Option<u64>,
    ) -> Result<Vec<UserSymbol>, KernelError> {
        let Some(debug) = self.debug(path) else {
            return Err(KernelError::new(
                format!("{path} has no debug information, and no separate debug file was found"),
                "compile it with -g, or install its debug symbols",
            ));
        };
        let found = debug.line(file, line, column).map_err(|why| why.explain(path, file, line))?;
        user::places(path, found)
    }

    fn user_object(&self, path: &str, name: &str) -> Result<Option<UserObject>, KernelError> {
        user::object(path, name)
    }

    fn user_address(&self, path: &str, offset: u64) -> Result<Option<u64>, KernelError> {
        user::address(path, offset)
    }

    fn nearest_user_symbol(&self, path: &str, name: &str) -> Option<String> {
        user::nearest(path, name)
    }
}
