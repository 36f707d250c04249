//! The starts of the instructions of a function.

use object::{Object, ObjectSection};
use rtrace_core::kernel::{KernelError, UserSymbol};

use crate::user::with_elf;

/// See [`rtrace_core::kernel::Programs::instructions`]: decodes from the beginning of the function.
pub fn around(path: &str, function: &UserSymbol, address: u64) -> Result<Option<(u64, u64)>, KernelError> {
    with_elf(path, |elf| {
        let code = code(elf, function)?;
        match elf.architecture() {
            object::Architecture::Aarch64 => (!address.is_multiple_of(4)).then_some((address & !3, (address & !3) + 4)),
            object::Architecture::I386 => x86(code, 32, function.address, address),
            _ => x86(code, 64, function.address, address),
        }
    })
}

/// See [`rtrace_core::kernel::Programs::returns`].
pub fn returns(path: &str, function: &UserSymbol) -> Result<Vec<u64>, KernelError> {
    with_elf(path, |elf| {
        let code = code(elf, function).unwrap_or_default();
        let code = code.get(..usize::try_from(function.size).unwrap_or(0)).unwrap_or_default();
        match elf.architecture() {
            object::Architecture::Aarch64 => {
                const RET: [u8; 4] = 0xd65f_03c0_u32.to_le_bytes();
                let found = (0..).zip(code.chunks(4)).filter(|(_, instruction)| *instruction == RET);
                found.map(|(n, _)| function.address + n * 4).collect()
            }
            object::Architecture::I386 => x86_returns(code, 32, function.address),
            _ => x86_returns(code, 64, function.address),
        }
    })
}

/// The bytes of a function and of what follows it.
fn code<'d>(elf: &crate::foreign::Elf<'d>, function: &UserSymbol) -> Option<&'d [u8]> {
    let section =
        elf.sections().find(|s| s.address() <= function.address && function.address - s.address() < s.size())?;
    section.data().ok()?.get(usize::try_from(function.address - section.address()).ok()?..)
}

fn x86_returns(code: &[u8], bits: u32, start: u64) -> Vec<u64> {
    let decoder = iced_x86::Decoder::with_ip(bits, code, start, iced_x86::DecoderOptions::NONE);
    decoder.into_iter().filter(|i| i.mnemonic() == iced_x86::Mnemonic::Ret).map(|i| i.ip()).collect()
}

/// The instruction that `address` is in the middle of: where it and the next one begin.
fn x86(code: &[u8], bits: u32, start: u64, address: u64) -> Option<(u64, u64)> {
    let mut decoder = iced_x86::Decoder::with_ip(bits, code, start, iced_x86::DecoderOptions::NONE);
    while decoder.can_decode() && decoder.ip() < address {
        let begin = decoder.ip();
        // What is no instruction takes one byte, and the next may be one again.
        let _ = decoder.decode();
        if decoder.ip() > address {
            return Some((begin, decoder.ip()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_function_returns() {
        // test %eax,%eax; je +1; ret; add $1,%rax; ret
        let code = [0x85, 0xc0, 0x74, 0x01, 0xc3, 0x48, 0x83, 0xc0, 0x01, 0xc3];
        assert_eq!(x86_returns(&code, 64, 0x1000), [0x1004, 0x1009]);
    }

    #[test]
    fn the_middle_of_instructions() {
        // push %rbp; mov %rsp,%rbp; sub $0x10,%rsp; vaddps %ymm1,%ymm2,%ymm3
        let code = [0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xec, 0x10, 0xc5, 0xec, 0x58, 0xd9];
        for begin in [0, 1, 4, 8, 12] {
            assert_eq!(x86(&code, 64, 0x1000, 0x1000 + begin), None, "{begin}");
        }
        assert_eq!(x86(&code, 64, 0x1000, 0x1002), Some((0x1001, 0x1004)));
        assert_eq!(x86(&code, 64, 0x1000, 0x1007), Some((0x1004, 0x1008)));
        assert_eq!(x86(&code, 64, 0x1000, 0x100b), Some((0x1008, 0x100c)));
    }
}
