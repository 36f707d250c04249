//! Programs of Go: which functions of a file are Go's, and how these take their arguments.

use std::ops::Range;

use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};
use rtrace_core::kernel::{GoAbi, KernelError, UserSymbol};

use crate::user::with_elf;

/// The oldest Go whose functions take arguments in registers: minor version of Go 1.
const REGISTERS_SINCE: u32 = if cfg!(target_arch = "aarch64") { 18 } else { 17 };

/// The build information of a file made by Go's linker.
#[derive(Clone, Debug, PartialEq)]
pub struct Go {
    /// The addresses of what Go compiled: C may be linked to it.
    code: Range<u64>,
    /// Minor version of Go 1.
    version: Option<u32>,
}

impl Go {
    /// `None` for a file that has nothing of Go in it.
    pub fn of(path: &str) -> Result<Option<Go>, KernelError> {
        with_elf(path, |elf| {
            // The table by which the runtime finds functions cannot be taken out; position-independent programs have it
            // in the part that is read-only once it is relocated.
            let tables = [".gopclntab", ".data.rel.ro.gopclntab", ".go.buildinfo"];
            tables.iter().any(|name| elf.section_by_name(name).is_some()).then(|| Go::read(elf))
        })
    }

    fn read(elf: &crate::foreign::Elf<'_>) -> Go {
        let mut code = 0..u64::MAX;
        for symbol in elf.symbols() {
            match symbol.name() {
                Ok("runtime.text") => code.start = symbol.address(),
                Ok("runtime.etext") => code.end = symbol.address(),
                _ => {}
            }
        }
        Go { code, version: version(elf) }
    }

    /// How a function takes its arguments, if it is Go's.
    pub fn abi(&self, function: &UserSymbol) -> Option<GoAbi> {
        if !self.code.contains(&function.address) {
            return None;
        }
        let is_new = self.version.is_some_and(|v| v >= REGISTERS_SINCE);
        // The linker marks what is written in assembly.
        Some(if is_new && !function.name.ends_with(".abi0") { GoAbi::Registers } else { GoAbi::Stack })
    }
}

/// The version that `.go.buildinfo` names. Its head of 32 bytes holds 14 that mark it, the size of a pointer, and flags;
/// then, since Go 1.18 (flag 2), come length and text; before, the address of a string's address and length.
fn version(elf: &crate::foreign::Elf<'_>) -> Option<u32> {
    const MARK: &[u8] = b"\xff Go buildinf:";
    let section = elf.section_by_name(".go.buildinfo")?;
    let data = section.data().ok()?;
    let flags = *data.strip_prefix(MARK)?.get(1)?;
    let text = if flags & 2 != 0 {
        let length = usize::from(*data.get(32)?);
        data.get(33..33 + length)?
    } else {
        let string = memory(elf, word(data.get(16..)?)?)?;
        memory(elf, word(string)?)?.get(..usize::try_from(word(string.get(8..)?)?).ok()?)?
    };
    minor(std::str::from_utf8(text).ok()?)
}

/// 19 of `go1.19.8` and `devel go1.19-1234abc`.
fn minor(text: &str) -> Option<u32> {
    let rest = text.split("go1.").nth(1)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn word(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|b| u64::from_ne_bytes(*b))
}

/// The contents of the file from an address on.
fn memory<'d>(elf: &crate::foreign::Elf<'d>, address: u64) -> Option<&'d [u8]> {
    elf.segments().find_map(|segment| {
        let at = usize::try_from(address.checked_sub(segment.address())?).ok()?;
        segment.data().ok()?.get(at..).filter(|rest| !rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(minor("go1.19.8"), Some(19));
        assert_eq!(minor("devel go1.21-abcdef Mon"), Some(21));
        assert_eq!(minor("go1.17rc1"), Some(17));
        assert_eq!(minor("go2"), None);
        assert_eq!(minor(""), None);
    }

    #[test]
    fn functions_by_version_place_and_name() {
        let go = Go { code: 0x1000..0x2000, version: Some(REGISTERS_SINCE) };
        let at = |address, name: &str| UserSymbol {
            name: name.to_owned(),
            address,
            file_offset: 0,
            size: 1,
            chooses: false,
        };
        assert_eq!(go.abi(&at(0x1000, "main.main")), Some(GoAbi::Registers));
        assert_eq!(go.abi(&at(0x1000, "runtime.memmove.abi0")), Some(GoAbi::Stack));
        assert_eq!(go.abi(&at(0x2000, "written_in_c")), None);
        for version in [None, Some(REGISTERS_SINCE - 1)] {
            assert_eq!(Go { version, ..go.clone() }.abi(&at(0x1000, "main.main")), Some(GoAbi::Stack));
        }
        assert_eq!(Go::of("/proc/self/exe").expect("readable"), None);
    }
}
