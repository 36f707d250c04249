//! Where the instructions of a function begin.

use object::{Object, ObjectSection};
use rtrace_lang::kernel::{KernelError, UserSymbol};

use super::user::with_elf;

/// See [`rtrace_lang::kernel::Kernel::instructions`]: decodes from the beginning of the function.
pub fn around(path: &str, function: &UserSymbol, address: u64) -> Result<Option<(u64, u64)>, KernelError> {
    with_elf(path, |elf| {
        let section =
            elf.sections().find(|s| s.address() <= function.address && function.address - s.address() < s.size());
        let code = section.and_then(|s| {
            let data = s.data().ok()?;
            data.get(usize::try_from(function.address - s.address()).ok()?..)
        });
        let code = code?;
        match elf.architecture() {
            object::Architecture::Aarch64 => (!address.is_multiple_of(4)).then_some((address & !3, (address & !3) + 4)),
            object::Architecture::I386 => x86(code, 32, function.address, address),
            _ => x86(code, 64, function.address, address),
        }
    })
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
