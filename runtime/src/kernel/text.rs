//! The kernel's code as it is in memory, from /proc/kcore: an ELF core file whose segments are the kernel's mappings
//! (fs/proc/kcore.c). Root only, and not under lockdown.

use std::fs::File;
use std::os::unix::fs::FileExt;

#[derive(Debug)]
pub struct KernelText {
    file: File,
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    start: u64,
    size: u64,
    offset: u64,
}

impl KernelText {
    /// `None` where it cannot be read.
    pub fn open() -> Option<KernelText> {
        KernelText::new(File::open("/proc/kcore").ok()?)
    }

    /// Reads the header and the program headers (`Elf64_Ehdr`, `Elf64_Phdr`).
    fn new(file: File) -> Option<KernelText> {
        const LOAD: u64 = 1;
        let mut header = [0u8; 64];
        file.read_exact_at(&mut header, 0).ok()?;
        let count = word(&header, 56, 2)?;
        let mut table = vec![0u8; count as usize * 56];
        file.read_exact_at(&mut table, word(&header, 32, 8)?).ok()?;
        let segments = table
            .chunks_exact(56)
            .filter(|p| word(p, 0, 4) == Some(LOAD))
            .filter_map(|p| Some(Segment { start: word(p, 16, 8)?, size: word(p, 40, 8)?, offset: word(p, 8, 8)? }));
        let segments = segments.collect();
        Some(KernelText { file, segments })
    }

    fn read(&self, address: u64, bytes: &mut [u8]) -> Option<()> {
        let inside = |s: &&Segment| address.checked_sub(s.start).is_some_and(|at| at + bytes.len() as u64 <= s.size);
        let segment = self.segments.iter().find(inside)?;
        self.file.read_exact_at(bytes, segment.offset + (address - segment.start)).ok()
    }

    /// The first instruction of a function behind what the compiler put at its entry for tracing, if that is there and
    /// not in use: a probe finds the same arguments there. x86-64.
    pub fn behind_entry(&self, address: u64) -> Option<u64> {
        let mut code = [0u8; 9];
        self.read(address, &mut code)?;
        Some(address + entry(&code)? as u64)
    }
}

/// Bytes of `endbr64` (or what the kernel writes over it, arch/x86/include/asm/ibt.h) and the idle call of ftrace (two
/// forms of one instruction of five bytes, arch/x86/include/asm/nops.h).
fn entry(code: &[u8]) -> Option<usize> {
    const ENDBR: [&[u8]; 3] = [&[0xf3, 0x0f, 0x1e, 0xfa], &[0x66, 0x0f, 0x1f, 0x00], &[0x0f, 0x1f, 0x40, 0x00]];
    const IDLE: [&[u8]; 2] = [&[0x0f, 0x1f, 0x44, 0x00, 0x00], &[0x66, 0x66, 0x66, 0x66, 0x90]];
    let marker = if ENDBR.iter().any(|e| code.starts_with(e)) { 4 } else { 0 };
    let rest = code.get(marker..)?;
    IDLE.iter().any(|i| rest.starts_with(i)).then_some(marker + 5)
}

fn word(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + size)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        assert_eq!(entry(&[0x0f, 0x1f, 0x44, 0, 0, 0x41, 0x57, 0x41, 0x56]), Some(5));
        assert_eq!(entry(&[0x66, 0x66, 0x66, 0x66, 0x90, 0x55, 0x53, 0x48, 0x89]), Some(5));
        assert_eq!(entry(&[0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0]), Some(9));
        // Traced already, and not traceable.
        assert_eq!(entry(&[0xe8, 1, 2, 3, 4, 0x55, 0x53, 0x48, 0x89]), None);
        assert_eq!(entry(&[0x55, 0x48, 0x89, 0xe5, 0x0f, 0x1f, 0x44, 0, 0]), None);
        assert_eq!(entry(&[]), None);
    }

    #[test]
    fn segments_of_a_core_file() {
        let path = std::env::temp_dir().join(format!("rtrace-kcore-{}", std::process::id()));
        let mut file = vec![0u8; 64 + 56];
        file[32..40].copy_from_slice(&64u64.to_le_bytes());
        file[56..58].copy_from_slice(&1u16.to_le_bytes());
        let header = [1u64, 120, 0xffff_ffff_8100_0000, 0, 9, 9, 0];
        for (at, value) in header.iter().enumerate() {
            file[64 + 8 * at..72 + 8 * at].copy_from_slice(&value.to_le_bytes());
        }
        file.extend([0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x53, 0x48, 0x89]);
        std::fs::write(&path, file).unwrap();
        let text = KernelText::new(File::open(&path).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text.behind_entry(0xffff_ffff_8100_0000), Some(0xffff_ffff_8100_0005));
        assert_eq!(text.behind_entry(0xffff_ffff_8100_0001), None);
        assert_eq!(text.behind_entry(0), None);
    }
}
