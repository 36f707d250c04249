//! Split debug information (`-gsplit-dwarf`): the program has the skeletons of the units, with their lines and the
//! ranges of their code. The rest is in `.dwo` files, or in one package of them beside the program, `PROGRAM.dwp`
//! (DWARF 5, sections 3.1.3 and 7.3.5; with DWARF 4 the extension of GCC, "DebugFission").
//!
//! A file is opened when its unit is asked for, and counts when its id is the skeleton's.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::result::Result;

use gimli::{DwarfPackage, DwoId, EndianSlice, NativeEndian, UnitRef};
use rtrace_core::kernel::KernelError;

use super::{Reader, Unit, debug_file, section};

/// The split debug information of one program.
pub(super) struct Split {
    program: PathBuf,
    package: OnceCell<Option<DwarfPackage<Reader>>>,
    /// By the numbers of the units.
    rests: Vec<OnceCell<Result<Box<Rest>, Missing>>>,
}

/// The rest of a unit, with the sections that it refers to.
struct Rest {
    dwarf: gimli::Dwarf<Reader>,
    unit: Unit,
}

/// The reason why the rest of a unit cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Missing {
    program: PathBuf,
    /// The path at which the compiler wrote it.
    wanted: PathBuf,
    /// The file that was found instead.
    other: Option<PathBuf>,
}

impl Missing {
    /// In words.
    pub fn explain(&self) -> KernelError {
        let program = self.program.display();
        let message = match &self.other {
            None => format!(
                "{program} was compiled with -gsplit-dwarf, and its split debug information was not found: {}",
                self.wanted.display()
            ),
            Some(other) => format!("{} is from a different build than {program}: their IDs differ", other.display()),
        };
        KernelError::new(message, format!("put it there, beside the program, or in a DWARF package: dwp -e {program}"))
    }
}

impl Split {
    pub(super) fn new(program: &str, units: usize) -> Split {
        let rests = (0..units).map(|_| OnceCell::new()).collect();
        Split { program: PathBuf::from(program), package: OnceCell::new(), rests }
    }

    /// The rest of a unit that has an id; `None` for units that are none.
    pub(super) fn rest(
        &self,
        number: usize,
        skeleton: UnitRef<'_, Reader>,
        id: DwoId,
    ) -> Option<Result<UnitRef<'_, Reader>, &Missing>> {
        let rest = self.rests.get(number)?.get_or_init(|| self.find(skeleton, id)).as_ref();
        Some(rest.map(|rest| UnitRef::new(&rest.dwarf, &rest.unit)))
    }

    fn find(&self, skeleton: UnitRef<'_, Reader>, id: DwoId) -> Result<Box<Rest>, Missing> {
        let package = self.package.get_or_init(|| self.open_package());
        let packed = package.as_ref().and_then(|p| p.find_cu(id, skeleton.dwarf).ok().flatten());
        if let Some(rest) = packed.and_then(|dwarf| rest(dwarf, skeleton, id)) {
            return Ok(rest);
        }
        let wanted = wanted(skeleton);
        let mut other = None;
        for path in self.candidates(&wanted) {
            let Some(elf) = debug_file::open(&path) else { continue };
            let loaded = gimli::Dwarf::load(|part| section::<gimli::Error>(&elf, part.dwo_name()));
            let Ok(mut dwarf) = loaded else { continue };
            dwarf.make_dwo(skeleton.dwarf);
            match rest(dwarf, skeleton, id) {
                Some(rest) => return Ok(rest),
                None => other = other.or(Some(path)),
            }
        }
        Err(Missing { program: self.program.clone(), wanted, other })
    }

    /// The program as it is called, and as it is without symbolic links.
    fn programs(&self) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = [self.program.clone()].into();
        paths.extend(std::fs::canonicalize(&self.program).ok().filter(|real| *real != self.program));
        paths
    }

    fn open_package(&self) -> Option<DwarfPackage<Reader>> {
        self.programs().into_iter().find_map(|path| {
            let mut name = path.into_os_string();
            name.push(".dwp");
            let elf = debug_file::open(Path::new(&name))?;
            let empty = EndianSlice::new(&[], NativeEndian);
            DwarfPackage::load(|part| section::<gimli::Error>(&elf, part.dwo_name()), empty).ok()
        })
    }

    /// The candidate paths of a file: as written by the compiler, in the program's container and here; then beside the
    /// program.
    fn candidates(&self, wanted: &Path) -> Vec<PathBuf> {
        let inside = debug_file::root(&self.program).map(|r| r.join(wanted.strip_prefix("/").unwrap_or(wanted)));
        let mut found: Vec<PathBuf> = inside.into_iter().chain([wanted.to_path_buf()]).collect();
        if let Some(name) = wanted.file_name() {
            found.extend(self.programs().iter().filter_map(|p| Some(p.parent()?.join(name))));
        }
        found
    }
}

/// The file that a skeleton names.
fn wanted(skeleton: UnitRef<'_, Reader>) -> PathBuf {
    let mut path = PathBuf::new();
    if let Some(folder) = skeleton.unit.comp_dir {
        path.push(folder.to_string_lossy().as_ref());
    }
    if let Ok(Some(name)) = skeleton.unit.dwo_name()
        && let Ok(name) = skeleton.attr_string(name)
    {
        path.push(name.to_string_lossy().as_ref());
    }
    path
}

/// Of the units in a file, the one with this id.
fn rest(dwarf: gimli::Dwarf<Reader>, skeleton: UnitRef<'_, Reader>, id: DwoId) -> Option<Box<Rest>> {
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next() {
        if let Ok(mut unit) = dwarf.unit(header)
            && unit.dwo_id == Some(id)
        {
            unit.copy_relocated_attributes(skeleton.unit);
            return Some(Box::new(Rest { dwarf, unit }));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Debug, Types};
    use super::Missing;
    use crate::user;
    use rtrace_test_support::Folder;
    use std::path::Path;

    const SOURCE: &str = "struct pair { int left, right; };\n\
        int apart(struct pair *pair, long more) { return pair->left + more; }\n\
        int main(void) { struct pair p = {1, 2}; return apart(&p, 3); }\n";

    /// A program with split debug information.
    struct Sample(Folder);

    impl Sample {
        fn compile(name: &str, version: u32) -> Sample {
            let folder = Folder::new(&format!("split-{name}-{version}"), &[("s.c", SOURCE)]);
            folder.run("cc", &["-g", &format!("-gdwarf-{version}"), "-gsplit-dwarf", "-c", "s.c", "-o", "s.o"]);
            folder.run("cc", &["s.o", "-o", "s"]);
            Sample(folder)
        }

        fn parameters(&self) -> Result<Vec<String>, Missing> {
            let path = self.0.file("s").display().to_string();
            let symbol = user::symbols(&path, "apart").expect("readable").pop().expect("the function");
            let debug = Debug::open(&path, 0).expect("debug information");
            let found = debug.function(&Types::default(), symbol.address, "apart")?.expect("described");
            Ok(found.params.iter().map(|p| format!("{} {}", p.declared, p.name)).collect())
        }
    }

    #[test]
    fn where_the_compiler_put_it_or_beside_the_program() {
        for version in [4, 5] {
            let mut sample = Sample::compile("places", version);
            let expected = ["struct pair* pair".to_owned(), "long int more".to_owned()];
            assert_eq!(sample.parameters().expect("found"), expected);
            sample.0.rename();
            assert_eq!(sample.parameters().expect("found"), expected);
        }
    }

    #[test]
    fn what_is_missing_or_of_another_build() {
        for version in [4, 5] {
            let sample = Sample::compile("missing", version);
            let part = sample.0.file("s.dwo");
            std::fs::remove_file(&part).expect("removed");
            let missing = sample.parameters().expect_err("missing");
            assert!(missing.other.is_none() && missing.wanted.ends_with(Path::new("s.dwo")), "{missing:?}");
            let other = Sample::compile("other", 9 - version);
            std::fs::copy(other.0.file("s.dwo"), &part).expect("copied");
            let missing = sample.parameters().expect_err("another");
            assert_eq!(missing.other.as_deref(), Some(missing.wanted.as_path()));
        }
    }
}
