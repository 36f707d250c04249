//! The kernel's own table of symbols, from its memory.
//!
//! Owns the form of the tables that scripts/kallsyms.c makes and kernel/kallsyms.c reads: names compressed with
//! a table of 256 tokens, and addresses as 32-bit offsets. Decoding takes a twentieth of what the kernel needs
//! to write `/proc/kallsyms`. Symbols of modules are not in it. Tables that are not as known are `None`.

use crate::kcore::{Memory, u16_at};

/// No kernel has more symbols.
const MOST: u32 = 4 << 20;
const TOKENS: usize = 256;

pub struct SymbolTable {
    /// Each symbol: its length in tokens, then the tokens; the first byte of what they stand for is the type.
    names: Vec<u8>,
    /// The offsets in `names` of each symbol's tokens, and their number.
    places: Vec<(u32, u16)>,
    /// The text of each token.
    tokens: Vec<Vec<u8>>,
    /// The address of each symbol, ascending.
    addresses: Vec<u64>,
}

/// Lengths have one byte, or since 6.1 two if the first has its upper bit set (73bbb94466fd).
fn places(names: &[u8], count: usize) -> Option<Vec<(u32, u16)>> {
    let mut places = Vec::with_capacity(count);
    let mut at = 0;
    for _ in 0..count {
        let mut length = u16::from(*names.get(at)?);
        at += 1;
        if length & 0x80 != 0 {
            length = (length & 0x7f) | u16::from(*names.get(at)?) << 7;
            at += 1;
        }
        places.push((u32::try_from(at).ok()?, length));
        at += usize::from(length);
    }
    (at <= names.len()).then_some(places)
}

/// Three forms there were, of which each kernel has one: relative to a base, unsigned; the same with absolute
/// addresses of per-CPU variables as positive numbers and the others negative (CONFIG_KALLSYMS_ABSOLUTE_PERCPU,
/// x86-64 before 6.15); relative to the place of the offset itself (7.x, without a base).
fn addresses(offsets: &[u8], at: u64, base: Option<u64>) -> Vec<u64> {
    let offsets = offsets.as_chunks::<4>().0.iter().map(|b| i32::from_ne_bytes(*b));
    match base {
        Some(base) if offsets.clone().next_back().is_some_and(|last| last < 0) => offsets
            .map(|o| match u64::try_from(o) {
                Ok(absolute) => absolute,
                Err(_) => base.wrapping_sub(1).wrapping_add_signed(-i64::from(o)),
            })
            .collect(),
        Some(base) => offsets.map(|o| base.wrapping_add(u64::from(o as u32))).collect(),
        None => offsets.zip(0..).map(|(o, i)| (at + 4 * i).wrapping_add_signed(i64::from(o))).collect(),
    }
}

impl SymbolTable {
    pub fn read(memory: &Memory) -> Option<SymbolTable> {
        let at = |name| memory.symbol(name);
        let count = memory.u32(at("kallsyms_num_syms")?)?;
        let (names, tokens, index) = (at("kallsyms_names")?, at("kallsyms_token_table")?, at("kallsyms_token_index")?);
        if count == 0 || count > MOST {
            return None;
        }
        let count = count as usize;
        // The tables follow one another, in this order.
        let (names, text) = (memory.between(names, tokens)?, memory.between(tokens, index)?);
        let index = memory.read(index, TOKENS * 2)?;
        let token = |n: usize| Some(text.get(u16_at(&index, n * 2)?.into()..)?.split(|b| *b == 0).next()?.to_vec());
        let tokens = (0..TOKENS).map(token).collect::<Option<Vec<_>>>()?;
        let base = match at("kallsyms_relative_base") {
            Some(at) => Some(memory.u64(at)?),
            None => None,
        };
        let at = at("kallsyms_offsets")?;
        let addresses = addresses(&memory.read(at, count * 4)?, at, base);
        let places = places(&names, count)?;
        addresses.is_sorted().then_some(SymbolTable { names, places, tokens, addresses })
    }

    /// The first of the symbols that start nearest before an address, or at it.
    pub fn containing(&self, address: u64) -> Option<usize> {
        let after = self.addresses.partition_point(|a| *a <= address);
        let start = *self.addresses.get(after.checked_sub(1)?)?;
        let before = self.addresses.get(..after)?.iter().rev().take_while(|a| **a == start).count();
        after.checked_sub(before)
    }

    /// Expands the tokens of a symbol: its type, then its name.
    fn parts(&self, symbol: usize) -> impl Iterator<Item = &[u8]> {
        let (at, length) = self.places.get(symbol).copied().unwrap_or_default();
        let (at, length) = (at as usize, usize::from(length));
        let tokens = self.names.get(at..at + length).unwrap_or_default();
        tokens.iter().map(|t| self.tokens.get(usize::from(*t)).map_or(&[][..], Vec::as_slice))
    }

    /// Appends the name of a symbol; returns its type as nm writes it.
    pub fn name(&self, symbol: usize, text: &mut Vec<u8>) -> Option<u8> {
        let start = text.len();
        self.parts(symbol).for_each(|part| text.extend_from_slice(part));
        (text.len() > start).then(|| text.remove(start))
    }

    /// The addresses of symbols, each of which must be there once.
    pub fn addresses_of<const N: usize>(&self, names: [&str; N]) -> Option<[u64; N]> {
        let mut found = [None; N];
        for (symbol, address) in self.addresses.iter().enumerate() {
            // Most symbols differ in what follows the type in their first token, and are not decoded further.
            let Some((_, first)) = self.parts(symbol).next().and_then(<[u8]>::split_first) else { continue };
            for (name, found) in names.iter().zip(&mut found) {
                if let Some(rest) = name.as_bytes().strip_prefix(first)
                    && self.continues(symbol, rest)
                    && found.replace(*address).is_some()
                {
                    return None;
                }
            }
        }
        let mut addresses = [0; N];
        for (to, from) in addresses.iter_mut().zip(found) {
            *to = from?;
        }
        Some(addresses)
    }

    /// Whether this is what follows the first token of a symbol.
    fn continues(&self, symbol: usize, text: &[u8]) -> bool {
        self.parts(symbol).skip(1).try_fold(text, <[u8]>::strip_prefix).is_some_and(<[u8]>::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::super::kcore::tests::core;
    use super::*;

    const AT: u64 = 0xffffffff82000000;

    /// Tables with tokens for `Tvfs_`, for `re`, and for letters, in the form that `offsets` has.
    fn table(name: &str, offsets: &[i32], base: Option<u64>, names: &[u8]) -> Option<SymbolTable> {
        let mut text = Vec::new();
        let mut index = Vec::new();
        for token in 0..=255u8 {
            index.extend_from_slice(&(text.len() as u16).to_ne_bytes());
            match token {
                1 => text.extend_from_slice(b"Tvfs_"),
                2 => text.extend_from_slice(b"re"),
                0 => {}
                letter => text.push(letter),
            }
            text.push(0);
        }
        let mut memory = (offsets.len() as u32).to_ne_bytes().to_vec();
        let mut info = format!("SYMBOL(kallsyms_num_syms)={AT:x}\n");
        let mut place = |name: &str, bytes: &[u8]| {
            memory.resize(memory.len().next_multiple_of(8), 0);
            info += &format!("SYMBOL(kallsyms_{name})={:x}\n", AT + memory.len() as u64);
            memory.extend_from_slice(bytes);
        };
        place("names", names);
        place("token_table", &text);
        place("token_index", &index);
        place("offsets", &offsets.iter().flat_map(|o| o.to_ne_bytes()).collect::<Vec<_>>());
        if let Some(base) = base {
            place("relative_base", &base.to_ne_bytes());
        }
        SymbolTable::read(&core(name, &info, &[(AT, memory)])?)
    }

    // A_a, vfs_read, its alias T_b, vfs_readv.
    const NAMES: &[u8] = b"\x03A_a\x04\x01\x02ad\x03T_b\x85\x00\x01\x02adv";

    #[test]
    fn names_and_addresses_in_all_forms() {
        let base = 0xffffffff81000000;
        let percpu = table("percpu", &[16, -0x11, -0x11, -0x41], Some(base), NAMES).expect("a table");
        assert_eq!(percpu.addresses, [16, base + 16, base + 16, base + 64]);
        let plain = table("plain", &[0, 16, 16, 64], Some(base), NAMES).expect("a table");
        assert_eq!(plain.addresses, [base, base + 16, base + 16, base + 64]);
        let own = table("own", &[0x1000, 0x2000, 0x1ffc, 0x3000], None, NAMES).expect("a table");
        let start = *own.addresses.first().expect("an address");
        assert_eq!(own.addresses, [start, start + 0x1004, start + 0x1004, start + 0x200c]);
        for table in [percpu, plain] {
            let name = |address| {
                let mut name = Vec::new();
                let kind = table.name(table.containing(address)?, &mut name)?;
                Some((kind, String::from_utf8(name).expect("text")))
            };
            assert_eq!(name(base + 16), Some((b'T', "vfs_read".to_owned())));
            assert_eq!(name(base + 63), Some((b'T', "vfs_read".to_owned())));
            assert_eq!(name(u64::MAX), Some((b'T', "vfs_readv".to_owned())));
            assert_eq!(table.containing(3), None);
            assert_eq!(table.addresses_of(["vfs_readv", "_b"]), Some([base + 64, base + 16]));
            assert_eq!(table.addresses_of(["vfs_rea"]), None);
            assert_eq!(table.addresses_of(["vfs_readvv"]), None);
        }
    }

    #[test]
    fn tables_that_are_not_as_known_are_refused() {
        let base = Some(0xffffffff81000000);
        assert!(table("descending", &[0, 64, 16, 64], base, NAMES).is_none());
        assert!(table("none", &[], base, NAMES).is_none());
        assert!(table("short", &[0; 40], base, NAMES).is_none());
        assert!(table("twice", &[0, 1], base, b"\x03T_b\x03t_b").is_some_and(|t| t.addresses_of(["_b"]).is_none()));
    }
}
