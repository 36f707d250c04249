//! Facts about the running kernel and its programs, together: what the compiler asks on this machine.
//!
//! Nothing is read before it is asked for: a script with one probe costs the one file that answers its question.

use rtrace_core::kernel::{Feature, Kernel, KernelError, Member, TypeKind, Types};
use rtrace_core::types::{Type, TypeId};
use rtrace_facts::KernelFacts;
use rtrace_symbols::dwarf;
use rtrace_symbols::programs::ProgramFacts;

/// The running system. Questions are answered from the system at the time of the first asking and
/// remembered; make a new one to ask again.
#[derive(Default)]
pub struct System {
    pub kernel: KernelFacts,
    pub programs: ProgramFacts,
}

impl System {
    pub fn new() -> System {
        System::default()
    }

    /// The same as seen from one process, `-p`: names of programs and libraries mean the files that it runs.
    pub fn for_process(process: Option<u32>) -> System {
        System { programs: ProgramFacts::for_process(process), ..System::default() }
    }

    /// The same without some features, as if the kernel did not have them.
    pub fn without(self, features: &[Feature]) -> System {
        System { kernel: self.kernel.without(features), ..self }
    }

    /// The same with the traceable functions that a file lists, in the form of `available_filter_functions`.
    pub fn with_traceable(self, file: std::path::PathBuf) -> Result<System, KernelError> {
        Ok(System { kernel: self.kernel.with_traceable(file)?, ..self })
    }

    /// For the compiler.
    pub fn facts(&self) -> Kernel<'_> {
        Kernel {
            types: self,
            functions: &self.kernel,
            tracepoints: &self.kernel,
            programs: &self.programs,
            machine: &self.kernel,
        }
    }
}

impl Types for System {
    fn find_type(&self, kind: TypeKind, name: &str) -> Result<Option<Type>, KernelError> {
        self.kernel.btf.find_type(kind, name)
    }

    fn member(&self, id: TypeId, name: &str) -> Option<Member> {
        if dwarf::is_handle(id) {
            return self.programs.member(id, name);
        }
        self.kernel.btf.member(id, name)
    }

    fn members(&self, id: TypeId) -> Vec<Member> {
        if dwarf::is_handle(id) {
            return self.programs.members(id);
        }
        self.kernel.btf.members(id)
    }

    fn enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.kernel.btf.enumerator(name)
    }

    fn module_enumerator(&self, name: &str) -> Option<(i64, Type)> {
        self.kernel.btf.module_enumerator(name)
    }

    fn enum_values(&self, name: &str) -> Vec<(String, i64)> {
        self.programs.enum_values(name).unwrap_or_else(|| self.kernel.btf.enum_values(name))
    }

    fn nearest_type(&self, kind: TypeKind, name: &str) -> Option<String> {
        self.kernel.btf.nearest(kind, name)
    }

    fn user_type(&self, path: &str, kind: TypeKind, name: &str) -> Option<Type> {
        self.programs.user_type(path, kind, name)
    }

    fn user_enumerator(&self, path: &str, name: &str) -> Option<(i64, Type)> {
        self.programs.user_enumerator(path, name)
    }
}

#[cfg(test)]
mod tests;
