//! The kernel's code as it is in memory.

use super::kcore::Memory;

/// The first instruction of a function behind what the compiler put at its entry for tracing, if that is there and
/// not in use: a probe finds the same arguments there. x86-64.
pub fn behind_entry(memory: &Memory, address: u64) -> Option<u64> {
    Some(address + entry(&memory.read(address, 9)?)? as u64)
}

/// Bytes of `endbr64` (or what the kernel writes over it, arch/x86/include/asm/ibt.h) and the idle call of ftrace (two
/// forms of one instruction of five bytes, arch/x86/include/asm/nops.h).
fn entry(code: &[u8]) -> Option<usize> {
    const ENDBR: [&[u8]; 4] = [
        &[0xf3, 0x0f, 0x1e, 0xfa],
        &[0x66, 0x0f, 0x1f, 0x00],
        &[0x0f, 0x1f, 0x40, 0x00],
        &[0x0f, 0x1f, 0x40, 0xd6], // since 6.16
    ];
    const IDLE: [&[u8]; 2] = [&[0x0f, 0x1f, 0x44, 0x00, 0x00], &[0x66, 0x66, 0x66, 0x66, 0x90]];
    let marker = if ENDBR.iter().any(|e| code.starts_with(e)) { 4 } else { 0 };
    let rest = code.get(marker..)?;
    IDLE.iter().any(|i| rest.starts_with(i)).then_some(marker + 5)
}

#[cfg(test)]
mod tests {
    use super::super::kcore::tests::core;
    use super::*;

    #[test]
    fn entries() {
        assert_eq!(entry(&[0x0f, 0x1f, 0x44, 0, 0, 0x41, 0x57, 0x41, 0x56]), Some(5));
        assert_eq!(entry(&[0x66, 0x66, 0x66, 0x66, 0x90, 0x55, 0x53, 0x48, 0x89]), Some(5));
        assert_eq!(entry(&[0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x1f, 0x44, 0, 0]), Some(9));
        assert_eq!(entry(&[0x0f, 0x1f, 0x40, 0xd6, 0x0f, 0x1f, 0x44, 0, 0]), Some(9));
        // Traced already, and not traceable.
        assert_eq!(entry(&[0xe8, 1, 2, 3, 4, 0x55, 0x53, 0x48, 0x89]), None);
        assert_eq!(entry(&[0x55, 0x48, 0x89, 0xe5, 0x0f, 0x1f, 0x44, 0, 0]), None);
        assert_eq!(entry(&[]), None);
    }

    #[test]
    fn entries_in_memory() {
        let code = vec![0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x53, 0x48, 0x89];
        let memory = core("text", "", &[(0xffff_ffff_8100_0000, code)]).unwrap();
        assert_eq!(behind_entry(&memory, 0xffff_ffff_8100_0000), Some(0xffff_ffff_8100_0005));
        assert_eq!(behind_entry(&memory, 0xffff_ffff_8100_0001), None);
        assert_eq!(behind_entry(&memory, 0), None);
    }
}
