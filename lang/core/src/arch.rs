//! Processor facts: where `struct pt_regs` keeps arguments and the return value. Offsets in bytes,
//! from each architecture's `asm/ptrace.h`.

use crate::kernel::Version;

/// Architectures that programs can be compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

/// The registers of `struct pt_regs` on x86, in their order.
const X86: [&str; 21] = [
    "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di", "orig_ax", "ip",
    "cs", "flags", "sp", "ss",
];

impl Arch {
    /// The processor that this program was built for.
    pub const HOST: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

    /// The name in the kernel's sources: `arch/x86`, `__TARGET_ARCH_x86`.
    pub fn folder(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86",
            Arch::Aarch64 => "arm64",
        }
    }

    /// Offset of argument `n` (from 0) in `pt_regs`; `None` when it is passed on the stack.
    pub fn argument(self, n: u32) -> Option<u32> {
        match self {
            // di, si, dx, cx, r8, r9
            Arch::X86_64 => [112u32, 104, 96, 88, 72, 64].get(n as usize).copied(),
            Arch::Aarch64 => (n < 8).then_some(n * 8),
        }
    }

    /// How many registers arguments are passed in.
    pub fn argument_registers(self) -> u32 {
        match self {
            Arch::X86_64 => 6,
            Arch::Aarch64 => 8,
        }
    }

    /// Bytes from the stack pointer at function entry to argument `n` passed on the stack.
    pub fn stack_argument(self, n: u32) -> u32 {
        let word = n.saturating_sub(self.argument_registers());
        match self {
            // The return address comes first.
            Arch::X86_64 => 8 + word * 8,
            Arch::Aarch64 => word * 8,
        }
    }

    /// Offset of word `n` (from 0) of what Go passes in integer registers; `None` behind the last (Go's
    /// src/cmd/compile/abi-internal.md).
    pub fn go_argument(self, n: u32) -> Option<u32> {
        match self {
            // ax, bx, cx, di, si, r8, r9, r10, r11
            Arch::X86_64 => [80u32, 40, 88, 112, 104, 72, 64, 56, 48].get(n as usize).copied(),
            Arch::Aarch64 => (n < 16).then_some(n * 8),
        }
    }

    /// How many arguments of a function BPF trampolines can carry: those in registers, and on x86 since 6.6 (473e3150e30a)
    /// those on the stack up to MAX_BPF_FUNC_ARGS.
    pub fn trampoline_arguments(self, kernel: Version) -> usize {
        match self {
            Arch::Aarch64 => 8,
            Arch::X86_64 if kernel >= Version(6, 6) => 12,
            Arch::X86_64 => 6,
        }
    }

    pub fn stack_pointer(self) -> u32 {
        match self {
            Arch::X86_64 => 152,
            Arch::Aarch64 => 248,
        }
    }

    pub fn instruction_pointer(self) -> u32 {
        match self {
            Arch::X86_64 => 128,
            Arch::Aarch64 => 256,
        }
    }

    pub fn return_value(self) -> u32 {
        match self {
            Arch::X86_64 => 80,
            Arch::Aarch64 => 0,
        }
    }

    /// The name of the register at an offset, where [`Arch::register`] knows it.
    pub fn register_name(self, offset: u32) -> Option<String> {
        let n = (offset / 8) as usize;
        match self {
            Arch::X86_64 => X86.get(n).map(|&name| name.to_owned()),
            Arch::Aarch64 => (n < 31).then(|| format!("r{n}")),
        }
    }

    /// Offset of a register by name, for `reg("ip")`.
    pub fn register(self, name: &str) -> Option<u32> {
        match self {
            Arch::X86_64 => {
                // The name that other processors have for it.
                let name = if name == "pc" { "ip" } else { name };
                X86.iter().position(|n| *n == name).map(|i| i as u32 * 8)
            }
            Arch::Aarch64 => match name {
                "sp" => Some(248),
                "pc" => Some(256),
                "pstate" => Some(264),
                _ => name.strip_prefix('r')?.parse::<u32>().ok().filter(|n| *n < 31).map(|n| n * 8),
            },
        }
    }
}
