//! BPF programs as text, in the assembly language of the kernel's verifier log, with the lines of the
//! sources between. Reads the finished object, so it shows what is loaded; knows nothing of how it was made.

use crate::elf::{Object, PROGBITS, u16_at, u32_at};
use rtrace_lang::uapi::helper;
use std::fmt::Write;

/// Every program of an object.
pub fn disassemble(object: &[u8]) -> String {
    let object = Object::parse(object);
    let mut out = String::new();
    for (index, section) in object.sections.iter().enumerate() {
        // Functions that the kernel calls back are all in one section.
        let program = match section.name {
            ".text" if !section.data.is_empty() => "functions",
            name => name.strip_prefix("kprobe/").unwrap_or_default(),
        };
        if program.is_empty() || section.kind != PROGBITS {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{program}: {} instructions", section.data.len() / 8);
        let relocations = object.relocations(index);
        let mut lines = object.lines(section.name).into_iter().peekable();
        let mut at = 0;
        while let Some(raw) = section.data.get(at..at + 8) {
            while let Some(line) = lines.next_if(|l| l.at as usize <= at) {
                let _ = writeln!(
                    out,
                    "; {}:{}:{}: {}",
                    line.file.trim_start_matches("./"),
                    line.line,
                    line.column,
                    line.text.trim()
                );
            }
            let next = section.data.get(at + 8..at + 16).unwrap_or_default();
            let symbol = relocations.iter().find(|(offset, _)| *offset == at as u64).map(|(_, name)| *name);
            let insn = Insn::decode(raw, next);
            let _ = writeln!(out, "{:4}: {}", at / 8, insn.text(at / 8, symbol));
            at += if insn.is_wide() { 16 } else { 8 };
        }
    }
    out
}

pub struct Insn {
    pub code: u8,
    dst: u8,
    pub src: u8,
    pub offset: i16,
    pub imm: i32,
    /// The second half of a 64-bit constant.
    high: u32,
}

pub const CALL: u8 = 0x85;
/// Instruction classes.
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;

impl Insn {
    pub fn decode(raw: &[u8], next: &[u8]) -> Insn {
        let regs = raw.get(1).copied().unwrap_or(0);
        Insn {
            code: raw.first().copied().unwrap_or(0),
            dst: regs & 15,
            src: regs >> 4,
            offset: u16_at(raw, 2) as i16,
            imm: u32_at(raw, 4) as i32,
            high: u32_at(next, 4),
        }
    }

    pub fn is_wide(&self) -> bool {
        self.code == 0x18
    }

    /// The register whose address a load or a store is at.
    pub fn accesses(&self) -> Option<u8> {
        match self.code & 7 {
            LDX => Some(self.src),
            ST | STX => Some(self.dst),
            _ => None,
        }
    }

    /// The register that this makes a copy of another.
    pub fn copies(&self, register: u8) -> Option<u8> {
        (self.code == 0xbf && self.src == register).then_some(self.dst)
    }

    /// Whether it adds a constant to a register.
    pub fn adds_to(&self, register: u8) -> bool {
        self.code == 0x07 && self.dst == register
    }

    fn text(&self, at: usize, symbol: Option<&str>) -> String {
        let (d, s, off, imm) = (self.dst, self.src, self.offset, self.imm);
        let size = match self.code & 0x18 {
            0x00 => "u32",
            0x08 => "u16",
            0x10 => "u8",
            _ => "u64",
        };
        match self.code & 7 {
            LD if self.is_wide() => match symbol {
                Some(name) if imm != 0 => format!("r{d} = {name} + {imm}"),
                Some(name) => format!("r{d} = {name}"),
                None => format!("r{d} = {:#x} ll", u64::from(self.high) << 32 | u64::from(imm as u32)),
            },
            LDX => format!("r{d} = *({size} *)(r{s} {off:+})"),
            ST => format!("*({size} *)(r{d} {off:+}) = {imm}"),
            STX if self.code & 0xe0 == 0xc0 => self.atomic(size),
            STX => format!("*({size} *)(r{d} {off:+}) = r{s}"),
            // The object's own functions, by the instruction where they begin.
            JMP if self.code == CALL && self.src == 1 => match symbol {
                Some(_) => format!("call functions at {}", i64::from(imm) + 1),
                None => format!("call {}", at as i64 + 1 + i64::from(imm)),
            },
            JMP | JMP32 => self.jump(at),
            _ => self.arithmetic(),
        }
    }

    fn atomic(&self, size: &str) -> String {
        let (d, s, off) = (self.dst, self.src, self.offset);
        let op = match self.imm & 0xf0 {
            0x40 => "|=",
            0x50 => "&=",
            0xa0 => "^=",
            0xe0 => "xchg",
            0xf0 => "cmpxchg",
            _ => "+=",
        };
        if self.imm & 1 != 0 {
            format!("r{s} = atomic_fetch *({size} *)(r{d} {off:+}) {op} r{s}")
        } else {
            format!("lock *({size} *)(r{d} {off:+}) {op} r{s}")
        }
    }

    fn jump(&self, at: usize) -> String {
        let wide = self.code & 7 == JMP;
        let r = if wide { 'r' } else { 'w' };
        let target = at as i64 + 1 + i64::from(self.offset);
        let right = if self.code & 8 != 0 { format!("{r}{}", self.src) } else { self.imm.to_string() };
        let op = match self.code & 0xf0 {
            0x00 => return format!("goto {target}"),
            0x80 => {
                return match helper::find(self.imm as u32) {
                    Some(helper) => format!("call {}", helper.name),
                    None => format!("call {}", self.imm),
                };
            }
            0x90 => return "exit".to_string(),
            0x10 => "==",
            0x20 => ">",
            0x30 => ">=",
            0x40 => "&",
            0x50 => "!=",
            0x60 => "s>",
            0x70 => "s>=",
            0xa0 => "<",
            0xb0 => "<=",
            0xc0 => "s<",
            _ => "s<=",
        };
        format!("if {r}{} {op} {right} goto {target}", self.dst)
    }

    fn arithmetic(&self) -> String {
        let r = if self.code & 7 == ALU { 'w' } else { 'r' };
        let d = self.dst;
        let right = if self.code & 8 != 0 { format!("{r}{}", self.src) } else { self.imm.to_string() };
        let op = match self.code & 0xf0 {
            0x00 => "+=",
            0x10 => "-=",
            0x20 => "*=",
            0x30 => "/=",
            0x40 => "|=",
            0x50 => "&=",
            0x60 => "<<=",
            0x70 => ">>=",
            0x80 => return format!("{r}{d} = -{r}{d}"),
            0x90 => "%=",
            0xa0 => "^=",
            0xb0 => "=",
            0xc0 => "s>>=",
            _ => return format!("r{d} = {}{} r{d}", if self.code & 8 != 0 { "be" } else { "le" }, self.imm),
        };
        format!("{r}{d} {op} {right}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: u64) -> String {
        Insn::decode(&raw.to_le_bytes(), &[]).text(4, None)
    }

    #[test]
    fn instructions_read_as_the_verifier_writes_them() {
        assert_eq!(text(0x0000_0008_0000_0085), "call get_smp_processor_id");
        assert_eq!(text(0x0000_0000_0000_0095), "exit");
        assert_eq!(text(0x0000_0000_0000_00b7), "r0 = 0");
        assert_eq!(text(0x0000_0001_0000_12db), "r1 = atomic_fetch *(u64 *)(r2 +0) += r1");
        assert_eq!(text(0x0000_0000_0000_12db), "lock *(u64 *)(r2 +0) += r1");
        assert_eq!(text(0x0000_0000_fff8_1a7b), "*(u64 *)(r10 -8) = r1");
        assert_eq!(text(0x0000_0000_0003_0115), "if r1 == 0 goto 8");
    }
}
