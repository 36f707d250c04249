//! The kernel's code as it is in memory.

use crate::kcore::Memory;
use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};

/// More of a function than this is not looked at.
const MOST: usize = 4096;

/// The first instruction of a function behind what the compiler put at its entry for tracing, if that is there and
/// not in use: a probe finds the same arguments there. `None` if the function may come back to it. x86-64.
pub fn behind_entry(memory: &Memory, address: u64) -> Option<u64> {
    let size = entry(&memory.read(address, 9)?)?;
    let behind = address + size as u64;
    // At the end of a mapped range there is less to read.
    let code = [MOST, 256, 16].into_iter().find_map(|length| memory.read(behind, length))?;
    runs_once(&code, behind).then_some(behind)
}

/// Whether the first instruction runs only when the function is called: it makes the function's frame, or no jump of the
/// function may lead to it.
fn runs_once(code: &[u8], start: u64) -> bool {
    let mut decoder = Decoder::with_ip(64, code, start, DecoderOptions::NONE);
    let end = start + code.len() as u64;
    let mut furthest = start;
    for instruction in &mut decoder {
        let makes_frame = instruction.mnemonic() == Mnemonic::Push
            || instruction.mnemonic() == Mnemonic::Sub && instruction.op0_register() == Register::RSP;
        if instruction.ip() == start && makes_frame {
            return true;
        }
        let direct = instruction.op0_kind() == OpKind::NearBranch64;
        let ends = match instruction.mnemonic() {
            Mnemonic::Ret | Mnemonic::Int3 => true,
            Mnemonic::Call => false,
            // The table of a `switch` may lead anywhere.
            Mnemonic::Jmp if !direct => return false,
            mnemonic => {
                let target = instruction.near_branch_target();
                let inside = direct && (start..end).contains(&target);
                // Unlikely code lies elsewhere and may jump to anywhere in the function; a tail call does not come back.
                if direct && (target == start || !inside && mnemonic != Mnemonic::Jmp) {
                    return false;
                }
                if inside {
                    furthest = furthest.max(target);
                }
                mnemonic == Mnemonic::Jmp
            }
        };
        if ends && instruction.next_ip() > furthest {
            return true;
        }
    }
    false
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
        let mut code = vec![0x0f, 0x1f, 0x44, 0, 0, 0x55, 0x53, 0x48, 0x89];
        code.resize(300, 0xcc);
        let memory = core("text", "", &[(0xffff_ffff_8100_0000, code)]).unwrap();
        assert_eq!(behind_entry(&memory, 0xffff_ffff_8100_0000), Some(0xffff_ffff_8100_0005));
        assert_eq!(behind_entry(&memory, 0xffff_ffff_8100_0001), None);
        assert_eq!(behind_entry(&memory, 0), None);
    }

    #[test]
    fn instructions_that_run_again() {
        const NOP: u8 = 0x90;
        const RET: u8 = 0xc3;
        let once = |code: &[u8]| runs_once(&[code, &[0xcc; 16]].concat(), 0xffff_ffff_8100_0005);
        // push rbx; sub rsp, 8: even if something jumps back.
        assert!(once(&[0x53, NOP, 0x74, 0xfc, RET]));
        assert!(once(&[0x48, 0x83, 0xec, 0x08, 0x74, 0xfa, RET]));
        // No jump; a jump to the second instruction; a jump forward over an end.
        assert!(once(&[NOP, RET]));
        assert!(once(&[NOP, NOP, 0x74, 0xfd, RET]));
        assert!(once(&[NOP, 0x74, 0x01, RET, NOP, RET]));
        // A tail call: jmp far away.
        assert!(once(&[NOP, 0xe9, 0, 0, 0x10, 0]));
        // Loops to the first instruction: directly, and from behind an end.
        assert!(!once(&[NOP, NOP, 0x74, 0xfc, RET]));
        assert!(!once(&[NOP, 0x74, 0x01, RET, 0xeb, 0xfa]));
        // What may lead anywhere: je far away; jmp rax; jmp [rax*8 + table]; no end in sight.
        assert!(!once(&[NOP, 0x0f, 0x84, 0, 0, 0x10, 0, RET]));
        assert!(!once(&[NOP, 0xff, 0xe0]));
        assert!(!once(&[NOP, 0xff, 0x24, 0xc5, 0, 0, 0, 0]));
        assert!(!runs_once(&[NOP; 64], 0xffff_ffff_8100_0005));
    }
}
