//! The locations of the arguments of a USDT probe, from its note: `-4@%eax 8@-16(%rbp) 4@$5 8@8(%rax,%rdx,8)` on x86,
//! `-4@w0 8@[sp, 16] 4@5` on aarch64. Before the `@` stands the size in bytes, negative for signed numbers, with an
//! `f` behind it for floating-point ones; after it an operand as the assembler writes it.

use crate::arch::Arch;

/// One argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// 1, 2, 4 or 8 of numbers; others are of structures.
    pub bytes: u32,
    pub signed: bool,
    pub operand: Operand,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Constant(i64),
    /// By its offset in `struct pt_regs`; `high` is the second byte of it (`%ah`).
    Register {
        offset: u32,
        high: bool,
    },
    Memory(Address),
    /// Memory at a symbol, known relative to the instruction: `8+counters(%rip)`.
    Symbol {
        name: String,
        plus: i64,
    },
}

/// `displacement + base + (index << shift)`; registers by their offsets in `struct pt_regs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    pub base: Option<u32>,
    pub index: Option<u32>,
    pub shift: u8,
    pub displacement: i64,
}

/// The arguments one by one, as written: blanks separate them, but not within brackets.
pub(crate) fn split(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut depth) = (0, 0i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            c if c.is_ascii_whitespace() && depth <= 0 => {
                found.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    found.extend(text.get(start..));
    found.retain(|t| !t.trim().is_empty());
    found
}

/// The types of the arguments, as their sizes tell: `int32`, `uint64`, `double`.
pub fn types(text: &str) -> Vec<String> {
    let name = |size: &str| match size {
        "4f" => "float".to_owned(),
        "8f" => "double".to_owned(),
        size => match size.parse::<i32>() {
            Ok(n) if is_number(n.unsigned_abs()) => {
                format!("{}int{}", if n < 0 { "" } else { "u" }, n.unsigned_abs().saturating_mul(8))
            }
            Ok(n) => format!("uint8[{}]", n.unsigned_abs()),
            Err(_) => "uint64".to_owned(),
        },
    };
    split(text).into_iter().map(|argument| name(argument.split_once('@').map_or("", |(size, _)| size))).collect()
}

/// Whether an argument of so many bytes is a number.
pub(crate) fn is_number(bytes: u32) -> bool {
    matches!(bytes, 1 | 2 | 4 | 8)
}

/// Reads one argument; the error says what about it is not understood.
pub(crate) fn parse(text: &str, arch: Arch) -> Result<Argument, String> {
    let text = text.trim();
    // Before sizes were written, every argument was a word.
    let (size, operand) = text.split_once('@').unwrap_or(("8", text));
    if size.ends_with('f') {
        return Err("it is a floating-point number, which BPF does not support".to_owned());
    }
    let size: i32 = size.trim().parse().map_err(|_| format!("its size `{size}` is not a number"))?;
    let bytes = size.unsigned_abs();
    if bytes == 0 {
        return Err("its size is 0".to_owned());
    }
    let operand = operand.trim();
    let read = match arch {
        Arch::X86_64 => x86(operand),
        Arch::Aarch64 => aarch64(operand),
    };
    let operand = read.ok_or_else(|| format!("its location `{operand}` is not supported"))?;
    Ok(Argument { bytes, signed: size < 0, operand })
}

fn number(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse::<u64>().ok()?,
    } as i64;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// A sum of numbers and at most one symbol: `8+counters`, `counters-4`, `-16`.
fn sum(text: &str) -> Option<(i64, Option<String>)> {
    let (mut total, mut symbol) = (0i64, None);
    let mut rest = text;
    while !rest.is_empty() {
        let after_sign = usize::from(rest.starts_with(['+', '-']));
        let end = rest.get(after_sign..)?.find(['+', '-']).map_or(rest.len(), |at| at + after_sign);
        let (term, more) = rest.split_at_checked(end)?;
        match number(term) {
            Some(n) => total = total.wrapping_add(n),
            None if symbol.is_none() && !term.starts_with('-') => {
                // `name@GOTPCREL` and the like are no plain places.
                let name = term.strip_prefix('+').unwrap_or(term);
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$');
                symbol = (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned());
                symbol.as_ref()?;
            }
            None => return None,
        }
        rest = more;
    }
    Some((total, symbol))
}

fn x86(text: &str) -> Option<Operand> {
    if let Some(constant) = text.strip_prefix('$') {
        return Some(Operand::Constant(number(constant)?));
    }
    if let Some(name) = text.strip_prefix('%') {
        let (offset, high) = x86_register(name)?;
        return Some(Operand::Register { offset, high });
    }
    let Some((before, inside)) = text.split_once('(') else {
        // A symbol by its address alone, which programs have that are not moved.
        let (plus, name) = sum(text)?;
        return Some(match name {
            Some(name) => Operand::Symbol { name, plus },
            None if text.is_empty() => return None,
            None => Operand::Memory(Address { displacement: plus, ..Address::default() }),
        });
    };
    let inside = inside.strip_suffix(')')?;
    let (plus, symbol) = sum(before.trim())?;
    if inside.trim() == "%rip" {
        return Some(Operand::Symbol { name: symbol?, plus });
    }
    if symbol.is_some() {
        return None;
    }
    let register = |text: &str| match text.trim() {
        "" => Some(None),
        text => match x86_register(text.strip_prefix('%')?)? {
            (offset, false) => Some(Some(offset)),
            _ => None,
        },
    };
    let mut parts = inside.split(',');
    let base = register(parts.next()?)?;
    let index = register(parts.next().unwrap_or_default())?;
    let shift = match parts.next().map(str::trim) {
        None | Some("" | "1") => 0,
        Some("2") => 1,
        Some("4") => 2,
        Some("8") => 3,
        Some(_) => return None,
    };
    if parts.next().is_some() || (base.is_none() && index.is_none()) {
        return None;
    }
    Some(Operand::Memory(Address { base, index, shift, displacement: plus }))
}

/// A register by any of its names: `al`, `ah`, `ax`, `eax` and `rax` are parts of one.
fn x86_register(name: &str) -> Option<(u32, bool)> {
    let whole = |name: &str| Some((Arch::X86_64.register(name)?, false));
    if let Some(letter) = name.strip_suffix('h')
        && ["a", "b", "c", "d"].contains(&letter)
    {
        return Some((Arch::X86_64.register(&format!("{letter}x"))?, true));
    }
    // r8 … r15, r8d, r8w, r8b
    let short = name.strip_suffix(['d', 'w', 'b', 'l']).unwrap_or(name);
    if short.strip_prefix('r').is_some_and(|n| n.parse::<u8>().is_ok()) {
        return whole(short);
    }
    // rax, eax; rsi, esi
    if let Some(rest) = name.strip_prefix(['r', 'e'])
        && rest.len() == 2
    {
        return whole(rest);
    }
    // al; sil, bpl
    if let Some(rest) = name.strip_suffix('l') {
        return if rest.len() == 1 { whole(&format!("{rest}x")) } else { whole(rest) };
    }
    (name.len() == 2).then(|| whole(name)).flatten()
}

fn aarch64(text: &str) -> Option<Operand> {
    let register = |name: &str| match name.trim() {
        "sp" | "wsp" => Arch::Aarch64.register("sp"),
        name => Arch::Aarch64.register(&format!("r{}", name.strip_prefix(['x', 'w'])?)),
    };
    if let Some(inside) = text.strip_prefix('[') {
        let mut parts = inside.strip_suffix(']')?.split(',').map(str::trim);
        let mut address = Address { base: Some(register(parts.next()?)?), ..Address::default() };
        if let Some(second) = parts.next() {
            match number(second.trim_start_matches('#')) {
                Some(n) => address.displacement = n,
                None => address.index = Some(register(second)?),
            }
        }
        if let Some(shift) = parts.next() {
            address.shift = number(shift.strip_prefix("lsl")?.trim().trim_start_matches('#'))?.try_into().ok()?;
        }
        return (parts.next().is_none() && address.shift < 4).then_some(Operand::Memory(address));
    }
    if let Some(n) = number(text.trim_start_matches('#')) {
        return Some(Operand::Constant(n));
    }
    Some(Operand::Register { offset: register(text)?, high: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x86(text: &str) -> Argument {
        parse(text, Arch::X86_64).unwrap()
    }

    fn memory(base: &str, index: Option<&str>, shift: u8, displacement: i64) -> Operand {
        let offset = |name: &str| Arch::X86_64.register(name).unwrap();
        Operand::Memory(Address { base: Some(offset(base)), index: index.map(offset), shift, displacement })
    }

    #[test]
    fn operands_of_x86() {
        let ax = Arch::X86_64.register("ax").unwrap();
        assert_eq!(
            x86("-4@%eax"),
            Argument { bytes: 4, signed: true, operand: Operand::Register { offset: ax, high: false } }
        );
        assert_eq!(x86("1@%ah").operand, Operand::Register { offset: ax, high: true });
        for name in ["al", "ax", "rax"] {
            assert_eq!(x86(&format!("1@%{name}")).operand, Operand::Register { offset: ax, high: false });
        }
        for (name, whole) in [("sil", "si"), ("bpl", "bp"), ("r9d", "r9"), ("r10w", "r10"), ("esp", "sp"), ("r8", "r8")]
        {
            let offset = Arch::X86_64.register(whole).unwrap();
            assert_eq!(x86(&format!("4@%{name}")).operand, Operand::Register { offset, high: false }, "{name}");
        }
        assert_eq!(x86("4@$-5").operand, Operand::Constant(-5));
        assert_eq!(x86("8@$0xffffffffffffffff").operand, Operand::Constant(-1));
        assert_eq!(x86("8@-16(%rbp)").operand, memory("bp", None, 0, -16));
        assert_eq!(x86("8@(%rax)").operand, memory("ax", None, 0, 0));
        assert_eq!(x86("8@8(%rax,%rdx,8)").operand, memory("ax", Some("dx"), 3, 8));
        assert_eq!(x86("8@(%rax,%rdx)").operand, memory("ax", Some("dx"), 0, 0));
        assert_eq!(x86("8@8+4(%rbx)").operand, memory("bx", None, 0, 12));
        let symbol = |plus| Operand::Symbol { name: "count".into(), plus };
        assert_eq!(x86("4@count(%rip)").operand, symbol(0));
        assert_eq!(x86("4@8+count(%rip)").operand, symbol(8));
        assert_eq!(x86("4@count-8(%rip)").operand, symbol(-8));
        assert_eq!(x86("4@count+4").operand, symbol(4));
    }

    #[test]
    fn operands_of_aarch64() {
        let read = |text| parse(text, Arch::Aarch64).unwrap().operand;
        assert_eq!(read("-4@w1"), Operand::Register { offset: 8, high: false });
        assert_eq!(read("4@5"), Operand::Constant(5));
        let at = |displacement| Address { base: Some(248), displacement, ..Address::default() };
        assert_eq!(read("8@[sp, 16]"), Operand::Memory(at(16)));
        assert_eq!(read("8@[sp]"), Operand::Memory(at(0)));
        let indexed = Address { base: Some(0), index: Some(16), shift: 3, displacement: 0 };
        assert_eq!(read("8@[x0, x2, lsl 3]"), Operand::Memory(indexed));
    }

    #[test]
    fn what_is_no_operand() {
        for text in ["4@", "4@%", "4@%xyz", "4@(%rax", "4@()", "0@%eax", "x@%eax", "8f@%xmm0", "4@(%rax,%rbx,3)"] {
            assert!(parse(text, Arch::X86_64).is_err(), "{text}");
        }
        for text in ["4@x99", "8@[q]", "8@[sp", "8@[x0, x1, lsl 9]", "8@[x0, x1, ror 2]"] {
            assert!(parse(text, Arch::Aarch64).is_err(), "{text}");
        }
    }

    #[test]
    fn types_by_size() {
        assert_eq!(types("-4@%eax 8@$5 8f@%xmm0 %rdi 1@%al"), ["int32", "uint64", "double", "uint64", "uint8"]);
        assert_eq!(types("12@(%rsp) -3@%eax"), ["uint8[12]", "uint8[3]"]);
    }

    #[test]
    fn blanks_within_brackets() {
        assert_eq!(split("-4@[sp, 28] 8@x1 "), ["-4@[sp, 28]", "8@x1"]);
        assert_eq!(split("  -4@%eax  8@(%rax, %rdx,8)"), ["-4@%eax", "8@(%rax, %rdx,8)"]);
        assert!(split(" ").is_empty());
    }
}
