//! The kernel's memory, read only, as `/proc/kcore` shows it (fs/proc/kcore.c).
//!
//! Owns that file: an ELF core whose segments are the mapped ranges of kernel addresses, and whose note VMCOREINFO
//! (kernel/vmcore_info.c) names the addresses of a few tables. Opening needs CAP_SYS_RAWIO and a kernel that is not
//! locked down. Everything read is data that may change or lie: each reader checks what it gets, and has another
//! source where it gets nothing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// No table that is read at once is longer.
const MOST: usize = 64 << 20;

/// Of a program header: type, offset in the file, first address, length in the file.
#[derive(Debug)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    length: u64,
}

#[derive(Debug)]
pub struct Memory {
    file: File,
    segments: Vec<Segment>,
    /// Lines `KEY=VALUE`; empty where the kernel says nothing of its tables.
    info: String,
}

/// A number at an offset of bytes in the machine's order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_ne_bytes(*b))
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_ne_bytes(*b))
}

fn read_at(file: &File, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// Layout of the headers: Elf64_Ehdr and Elf64_Phdr of include/uapi/linux/elf.h.
fn segments(file: &File) -> Option<Vec<Segment>> {
    const MAGIC_64: &[u8] = b"\x7fELF\x02";
    let head = read_at(file, 0, 64)?;
    if !head.starts_with(MAGIC_64) {
        return None;
    }
    let (size, count) = (usize::from(u16_at(&head, 54)?), usize::from(u16_at(&head, 56)?));
    let table = read_at(file, u64_at(&head, 32)?, size * count)?;
    let segment = |h: &[u8]| {
        Some(Segment { kind: u32_at(h, 0)?, offset: u64_at(h, 8)?, address: u64_at(h, 16)?, length: u64_at(h, 32)? })
    };
    table.chunks_exact(size.max(1)).map(segment).collect()
}

/// The text of the note VMCOREINFO. Each note is three lengths and types of 32 bits, name and text, padded to four bytes.
fn vmcoreinfo(notes: &[u8]) -> Option<String> {
    let mut rest = notes;
    loop {
        let (name, text) = (u32_at(rest, 0)? as usize, u32_at(rest, 4)? as usize);
        let start = 12usize.checked_add(name.checked_next_multiple_of(4)?)?;
        if rest.get(12..)?.starts_with(b"VMCOREINFO\0") {
            let text = rest.get(start..start.checked_add(text)?)?;
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = rest.get(start.checked_add(text.checked_next_multiple_of(4)?)?..)?;
    }
}

impl Memory {
    /// `None` where it cannot be read.
    pub fn open() -> Option<Memory> {
        Memory::of(Path::new("/proc/kcore"))
    }

    fn of(path: &Path) -> Option<Memory> {
        const PT_LOAD: u32 = 1;
        const PT_NOTE: u32 = 4;
        let file = File::open(path).ok()?;
        let mut segments = segments(&file)?;
        let notes = segments.iter().find(|s| s.kind == PT_NOTE && s.length <= MOST as u64);
        let notes = notes.and_then(|s| read_at(&file, s.offset, s.length as usize)).unwrap_or_default();
        let info = vmcoreinfo(&notes).unwrap_or_default();
        segments.retain(|s| s.kind == PT_LOAD);
        Some(Memory { file, segments, info })
    }

    /// The address of a symbol that VMCOREINFO names.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        let value =
            |line: &str| line.strip_prefix("SYMBOL(")?.strip_prefix(name)?.strip_prefix(")=").map(str::to_owned);
        u64::from_str_radix(&self.info.lines().find_map(value)?, 16).ok()
    }

    /// Reads `length` bytes at an address. Unmapped memory reads as zero or is missing.
    pub fn read(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        if length > MOST {
            return None;
        }
        self.segments.iter().find_map(|s| {
            let within = address.checked_sub(s.address)?;
            if within.checked_add(length as u64)? > s.length {
                return None;
            }
            read_at(&self.file, s.offset.checked_add(within)?, length)
        })
    }

    /// The bytes from one address to another.
    pub fn between(&self, start: u64, end: u64) -> Option<Vec<u8>> {
        self.read(start, usize::try_from(end.checked_sub(start)?).ok()?)
    }

    pub fn u32(&self, address: u64) -> Option<u32> {
        u32_at(&self.read(address, 4)?, 0)
    }

    pub fn u64(&self, address: u64) -> Option<u64> {
        u64_at(&self.read(address, 8)?, 0)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A file as the kernel makes it: one note, and a segment for each address.
    pub fn core(name: &str, info: &str, parts: &[(u64, Vec<u8>)]) -> Option<Memory> {
        let mut note = Vec::new();
        for (name, text) in [("CORE\0", "xyz"), ("VMCOREINFO\0", info)] {
            [name.len() as u32, text.len() as u32, 0].iter().for_each(|n| note.extend_from_slice(&n.to_ne_bytes()));
            for part in [name, text] {
                note.extend_from_slice(part.as_bytes());
                note.resize(note.len().next_multiple_of(4), 0);
            }
        }
        let mut file = vec![0; 64];
        file[..5].copy_from_slice(b"\x7fELF\x02");
        file[32..40].copy_from_slice(&64u64.to_ne_bytes());
        file[54..56].copy_from_slice(&56u16.to_ne_bytes());
        file[56..58].copy_from_slice(&(parts.len() as u16 + 1).to_ne_bytes());
        let mut contents = Vec::new();
        let start = 64 + 56 * (parts.len() as u64 + 1);
        for (kind, address, bytes) in
            std::iter::once((4u32, 0, &note)).chain(parts.iter().map(|(address, bytes)| (1, *address, bytes)))
        {
            let mut head = [0; 56];
            head[..4].copy_from_slice(&kind.to_ne_bytes());
            head[8..16].copy_from_slice(&(start + contents.len() as u64).to_ne_bytes());
            head[16..24].copy_from_slice(&address.to_ne_bytes());
            head[32..40].copy_from_slice(&(bytes.len() as u64).to_ne_bytes());
            file.extend_from_slice(&head);
            contents.extend_from_slice(bytes);
        }
        file.extend_from_slice(&contents);
        let path = std::env::temp_dir().join(format!("rtrace-kcore-{name}-{}", std::process::id()));
        std::fs::write(&path, file).expect("a temporary file");
        let memory = Memory::of(&path);
        std::fs::remove_file(&path).expect("removable");
        memory
    }

    #[test]
    fn memory_is_read_by_address_and_symbols_are_named() {
        let parts = [(0x1000, b"abcdefgh".to_vec()), (0xffffffff81000000, b"ijklmnop".to_vec())];
        let memory =
            core("read", "OSRELEASE=6.12\nSYMBOL(a)=ffffffff81000004\nSYMBOL(bad)=x\n", &parts).expect("opened");
        assert_eq!(memory.symbol("a"), Some(0xffffffff81000004));
        assert_eq!((memory.symbol("bad"), memory.symbol("c")), (None, None));
        assert_eq!(memory.read(0x1002, 3).as_deref(), Some(b"cde".as_slice()));
        assert_eq!(memory.u32(0xffffffff81000004), Some(u32::from_ne_bytes(*b"mnop")));
        assert_eq!(memory.between(0xffffffff81000000, 0xffffffff81000002).as_deref(), Some(b"ij".as_slice()));
        for (address, length) in [(0x1000, 9), (0xfff, 1), (u64::MAX, 1), (0xffffffff81000001, usize::MAX)] {
            assert_eq!(memory.read(address, length), None, "{address:x}");
        }
        assert_eq!(memory.between(2, 1), None);
    }

    #[test]
    fn what_is_no_core_is_not_opened() {
        assert!(Memory::of(Path::new("/proc/self/status")).is_none());
        assert!(Memory::of(Path::new("/no/such/file")).is_none());
        assert!(vmcoreinfo(&[]).is_none());
        assert!(vmcoreinfo(&[0xff; 64]).is_none());
    }
}
