//! `.gnu_debugdata`: the symbol table of a stripped program as Fedora and others ship it, an ELF file in xz (GDB manual,
//! "Debugging information in a special section"). It has the functions that `.dynsym` has not.

use std::cell::RefCell;
use std::io::{Cursor, Read};
use std::path::Path;
use std::rc::Rc;

use lzma_rust2::XzReader;
use object::{Object, ObjectSection};

use rtrace_sys::stamp::{Stamp, stamp};

/// Most bytes that a table may have: what is traced may be hostile, and small files unpack to large ones. The largest of
/// Fedora have some megabytes.
const MOST: u64 = 32 << 20;
/// Most memory for unpacking, in KiB; xz uses 64 MiB at its highest level.
const MEMORY: u32 = 96 << 10;

thread_local! {
    /// The last one: a file is asked for several forms of a name.
    static LAST: RefCell<Option<(Stamp, Table)>> = const { RefCell::new(None) };
}

/// The ELF file with the symbols of a program.
pub type Table = Option<Rc<Vec<u8>>>;

/// That of a program that has no other table of them.
pub fn unpack(path: &str, elf: &crate::foreign::Elf<'_>) -> Table {
    if elf.symbol_table().is_some() {
        return None;
    }
    let packed = elf.section_by_name(".gnu_debugdata")?.data().ok()?;
    let stamp = stamp(Path::new(path))?;
    LAST.with_borrow_mut(|last| match last {
        Some((known, table)) if *known == stamp => table.clone(),
        _ => {
            let table = unpacked(packed).map(Rc::new);
            *last = Some((stamp, table.clone()));
            table
        }
    })
}

fn unpacked(packed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = XzReader::new_mem_limit(Cursor::new(packed), false, MEMORY);
    reader.take(MOST + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= MOST).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "text\n" as `xz` packs it.
    const TEXT: [u8; 64] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x04, 0xe6, 0xd6, 0xb4, 0x46, 0x02, 0x00, 0x21, 0x01, 0x16, 0x00,
        0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0x01, 0x00, 0x04, 0x74, 0x65, 0x78, 0x74, 0x0a, 0x00, 0x00, 0x00, 0x00,
        0x1d, 0x2b, 0xd2, 0x8a, 0xaf, 0x19, 0x4c, 0xcd, 0x00, 0x01, 0x1d, 0x05, 0xb8, 0x2d, 0x80, 0xaf, 0x1f, 0xb6,
        0xf3, 0x7d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x04, 0x59, 0x5a,
    ];

    #[test]
    fn what_is_packed() {
        assert_eq!(unpacked(&TEXT).as_deref(), Some(b"text\n".as_slice()));
        assert_eq!(unpacked(b"no xz"), None);
        assert_eq!(unpacked(TEXT.get(..40).unwrap_or_default()), None);
    }
}
