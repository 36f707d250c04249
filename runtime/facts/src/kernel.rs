//! The kernel's side of the compiler's questions, answered by the running system.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use rtrace_core::arch::Arch;
use rtrace_core::bundle::ProgType;
use rtrace_core::glob::{Glob, is_glob};
use rtrace_core::kernel::{
    BpfFunction, BpfName, Feature, Function, FunctionName, Functions, KernelError, Machine, Tracepoint, Tracepoints,
    TypeKind, Version,
};

use crate::btf::Prototype;
use crate::{btf, features, functions, namespace, probe_pmu, programs, tracefs};

/// The running kernel. Questions are answered from the system at the time of the first asking and
/// remembered; make a new one to ask again.
#[derive(Default)]
pub struct KernelFacts {
    version: OnceCell<Version>,
    pub btf: btf::Facts,
    tracefs: tracefs::Tracefs,
    functions: functions::Functions,
    features: RefCell<HashMap<Feature, bool>>,
}

impl KernelFacts {
    /// The same without some features, as if the kernel did not have them.
    pub fn without(self, features: &[Feature]) -> KernelFacts {
        self.features.borrow_mut().extend(features.iter().map(|f| (*f, false)));
        self
    }

    /// Whether kprobe programs may call a helper (`enum bpf_func_id`); when the kernel may not be asked, versions decide.
    pub fn has_helper(&self, number: i32, since: Version) -> bool {
        features::helper(number).unwrap_or(self.version() >= since)
    }

    /// The same for a type of programs (`enum bpf_prog_type`).
    pub fn has_program(&self, number: u32, since: Version) -> bool {
        features::program(number).unwrap_or(self.version() >= since)
    }

    /// The same for a type of maps (`enum bpf_map_type`).
    pub fn has_map(&self, number: u32, since: Version) -> bool {
        features::map(number).unwrap_or(self.version() >= since)
    }

    /// The same with the traceable functions that a file lists, in the form of `available_filter_functions`.
    pub fn with_traceable(mut self, file: PathBuf) -> Result<KernelFacts, KernelError> {
        self.functions = functions::Functions::of_file(file);
        self.traceable().map(drop)?;
        Ok(self)
    }

    fn sources(&self) -> functions::Sources<'_> {
        functions::Sources { tracefs: &self.tracefs, btf: &self.btf }
    }

    /// Whether the kernel describes its types (BTF).
    pub fn has_btf(&self) -> bool {
        self.btf.available()
    }
}

impl Functions for KernelFacts {
    fn function(&self, name: &str, module: Option<&str>) -> Result<Option<Function>, KernelError> {
        self.btf.function(name, module)
    }

    /// An exact name that BTF knows is taken from there: a lookup costs less than a tenth of reading the
    /// list of functions.
    fn traceable_functions(&self, module: Option<&str>, pattern: &str) -> Result<Vec<FunctionName>, KernelError> {
        if !is_glob(pattern)
            && !self.functions.is_given()
            && module.is_none_or(|m| m == "vmlinux")
            && matches!(self.btf.function(pattern, Some("vmlinux")), Ok(Some(_)))
        {
            return Ok(vec![FunctionName { name: pattern.to_owned(), module: None }]);
        }
        self.functions.matching(self.sources(), module, pattern)
    }

    fn functions_are_given(&self) -> bool {
        self.functions.is_given()
    }

    fn shares_name(&self, function: &str) -> bool {
        self.functions.shares_name(self.sources(), function)
    }

    fn namesakes(&self, function: &str) -> Vec<u64> {
        let shared = match self.functions.is_listed() {
            true => self.shares_name(function),
            false => probe_pmu::shares_name(function),
        };
        if shared { self.functions.places_of(function) } else { Vec::new() }
    }

    /// Exact names are answered from BTF alone; patterns leave out what ftrace cannot reach.
    fn btf_functions(&self, module: Option<&str>, pattern: &str) -> Result<Vec<FunctionName>, KernelError> {
        if !is_glob(pattern) && module.is_none_or(|m| !is_glob(m)) {
            let found = self.btf.function(pattern, module)?;
            return Ok(found.map(|f| FunctionName { name: f.name, module: f.module }).into_iter().collect());
        }
        let mut found = Vec::new();
        self.each_btf_function(module, &Glob::new(pattern), &mut |name, module| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            found.push(FunctionName { name: text(name), module: module.map(str::to_owned) });
        })?;
        found.sort();
        Ok(found)
    }

    fn bpf_functions(&self, program: Option<u32>, pattern: &str) -> Result<Vec<BpfName>, KernelError> {
        programs::functions(&self.btf, program, &Glob::new(pattern))
    }

    fn bpf_function(&self, name: &BpfName) -> Result<Option<BpfFunction>, KernelError> {
        programs::function(&self.btf, name)
    }

    fn has_bpf_program(&self, program: Option<u32>, name: &str) -> bool {
        programs::exists(program, name)
    }

    fn nearest_bpf_function(&self, name: &str) -> Option<String> {
        programs::nearest(&self.btf, name)
    }

    fn has_module(&self, module: &str) -> bool {
        functions::has_module(module)
    }

    fn nearest_function(&self, name: &str) -> Option<String> {
        self.functions.nearest(self.sources(), name)
    }

    fn symbol_address(&self, name: &str) -> Option<u64> {
        self.functions.address(name)
    }

    fn nearest_symbol(&self, name: &str) -> Option<String> {
        self.functions.nearest_symbol(name)
    }

    fn kfunc_allowed(&self, name: &str, program: ProgType) -> bool {
        let id = |name| self.btf.function(name, Some("vmlinux")).ok().flatten().map(|f| f.btf_id);
        let Some(function) = id(name).and_then(|n| i32::try_from(n).ok()) else { return false };
        features::kfunc(function, program, || id("vfs_read"))
    }
}

impl Tracepoints for KernelFacts {
    fn tracepoint(&self, category: &str, name: &str) -> Result<Option<Tracepoint>, KernelError> {
        let Some(format) = self.tracefs.format(category, name)? else { return Ok(None) };
        match tracefs::parse_format(category, name, &format, &self.btf) {
            Some(tracepoint) => Ok(Some(tracepoint)),
            None => Err(KernelError {
                message: format!("cannot parse the format of tracepoint {category}:{name}"),
                help: None,
            }),
        }
    }

    fn tracepoints(&self, category: &str, name: &str) -> Result<Vec<(String, String)>, KernelError> {
        self.tracefs.list(category, name)
    }

    fn raw_tracepoint(&self, name: &str) -> Result<Option<Function>, KernelError> {
        self.btf.raw_tracepoint(name)
    }

    fn raw_tracepoints(&self, pattern: &str) -> Result<Vec<String>, KernelError> {
        let found = self.btf.raw_tracepoints(&Glob::new(pattern))?;
        Ok(found.into_iter().map(|(_, name)| name).collect())
    }

    /// Each has a struct for its context and a function that stands for it.
    fn iterators(&self) -> Result<Vec<String>, KernelError> {
        let mut kinds = Vec::new();
        self.btf.each_name(btf::Kind::Struct, None, &mut |name| {
            kinds.extend(name.strip_prefix(b"bpf_iter__").map(|kind| String::from_utf8_lossy(kind).into_owned()));
        })?;
        let mut found = Vec::new();
        for kind in kinds {
            if self.btf.function(&format!("bpf_iter_{kind}"), Some("vmlinux"))?.is_some() {
                found.push(kind);
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn nearest_tracepoint(&self, category: &str, name: &str) -> Option<(String, String)> {
        self.tracefs.nearest(category, name)
    }
}

impl Machine for KernelFacts {
    fn version(&self) -> Version {
        *self.version.get_or_init(|| {
            let (major, minor) = rtrace_sys::kernel_version();
            Version(major.try_into().unwrap_or(0), minor.try_into().unwrap_or(0))
        })
    }

    fn has(&self, feature: Feature) -> bool {
        if let Some(known) = self.features.borrow().get(&feature) {
            return *known;
        }
        let rests_on = (feature == Feature::KprobeSession).then_some(Feature::KprobeMulti);
        let answer = rests_on.is_none_or(|f| self.has(f)) && features::probe(feature, self.version());
        self.features.borrow_mut().insert(feature, answer);
        answer
    }

    fn cgroup_id(&self, path: &str) -> Result<u64, KernelError> {
        namespace::cgroup_id(path)
    }

    fn pid_namespace(&self) -> Option<(u64, u64)> {
        namespace::pid_namespace()
    }
}

/// What the listing needs beyond the trait: streams instead of lists, types as C writes them.
impl KernelFacts {
    /// See [`functions::Functions::traceable`].
    pub fn traceable(&self) -> Result<impl Iterator<Item = (&[u8], Option<&[u8]>)>, KernelError> {
        self.functions.traceable(self.sources())
    }

    /// Functions with BTF that ftrace can reach, with their module, sorted within each; `module` is a pattern as in
    /// the trait.
    pub fn each_btf_function(
        &self,
        module: Option<&str>,
        names: &Glob<'_>,
        each: &mut dyn FnMut(&[u8], Option<&str>),
    ) -> Result<(), KernelError> {
        let modules = module.map(Glob::new);
        let mut reachable: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for (name, module) in self.traceable()? {
            let module = module.unwrap_or(VMLINUX);
            if names.matches(name) && modules.as_ref().is_none_or(|m| m.matches(module)) {
                reachable.entry(module).or_default().push(name);
            }
        }
        for (module, names) in reachable {
            let module = match module {
                VMLINUX => None,
                module => Some(String::from_utf8_lossy(module)),
            };
            self.btf.each_function(module.as_deref(), self.most_arguments(), &names, &mut |name| {
                each(name, module.as_deref());
            })?;
        }
        Ok(())
    }

    fn most_arguments(&self) -> usize {
        Arch::HOST.trampoline_arguments(self.version())
    }

    /// Raw tracepoints that match, with the module that has them.
    pub fn raw_tracepoints_by_module(&self, names: &Glob<'_>) -> Result<Vec<(Option<String>, String)>, KernelError> {
        self.btf.raw_tracepoints(names)
    }

    /// The text of a tracepoint's format file.
    pub fn tracepoint_format(&self, category: &str, name: &str) -> Result<Option<String>, KernelError> {
        self.tracefs.format(category, name)
    }

    /// A function's prototype as C writes it; `module` `None` is vmlinux.
    pub fn prototype(&self, name: &str, module: Option<&str>) -> Option<Prototype> {
        self.btf.prototype(name, module).ok().flatten()
    }

    /// The prototype of a BPF program's function as C writes it.
    pub fn bpf_prototype(&self, name: &BpfName) -> Option<Prototype> {
        programs::prototype(&self.btf, name)
    }

    /// A raw tracepoint's prototype as C writes it.
    pub fn raw_prototype(&self, name: &str) -> Option<Prototype> {
        self.btf.raw_prototype(name).ok().flatten()
    }

    /// The names of types of one kind that match, sorted; a pattern looks in all modules, too.
    pub fn type_names(&self, kind: TypeKind, names: &Glob<'_>) -> Result<Vec<String>, KernelError> {
        self.btf.type_names(kind, names)
    }

    /// A type's definition as C writes it, after its module's name.
    pub fn definition(&self, kind: TypeKind, name: &str) -> Result<Option<String>, KernelError> {
        self.btf.definition(kind, name)
    }
}

/// The module name in lists of functions that are in no module.
const VMLINUX: &[u8] = b"vmlinux";
