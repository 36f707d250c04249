//! Names of one BTF object, found without decoding its types.
//!
//! btf-rs decodes types by id well, but finds names by decoding and comparing all of them (0.7 to
//! 1.1 ms each in a vmlinux of 127,000 types). This index walks the type section once (about 0.4 ms) and
//! keeps the name offset and kind of every type; a name is then one search of the string section
//! and one of the offsets. Layout: Documentation/bpf/btf.rst and include/uapi/linux/btf.h.

use std::cell::OnceCell;

use memmap2::Mmap;

/// The kinds that names are asked for, as numbered by BTF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Int = 1,
    Struct = 4,
    Union = 5,
    Enum = 6,
    Typedef = 8,
    Func = 12,
    Enum64 = 19,
}

/// The bytes of a BTF object: mapped (vmlinux) or read (modules, which are small).
pub enum Bytes {
    Mapped(Mmap),
    Read(Vec<u8>),
}

impl Bytes {
    fn get(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

pub struct Index {
    bytes: Bytes,
    /// Offset of the type section in `bytes`.
    types: usize,
    /// The offset of each type, filled on first use.
    starts: OnceCell<Vec<u32>>,
    /// Offset and length of the string section in `bytes`.
    strings: (usize, usize),
    /// The base of the name offsets of this object: the length of the base's strings, 0 for vmlinux.
    string_base: u32,
    /// Id of the first type: 1, or the number of the base's types.
    first_id: u32,
    names: Vec<u32>,
    kinds: Vec<u8>,
    /// Id, byte offset of the first enumerator, count and whether 64 bits wide, of every enum.
    enums: Vec<(u32, usize, u16, bool)>,
    /// Whether this BTF says which enums are signed (kernel 6.0 and later do).
    knows_signs: bool,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| u32::from_ne_bytes(*b))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|b| u16::from_ne_bytes(*b))
}

/// How many bytes follow the first twelve of a type.
fn tail(kind: u8, count: usize) -> Option<usize> {
    match kind {
        2 | 7 | 8 | 9 | 10 | 11 | 12 | 16 | 18 => Some(0),
        1 | 14 | 17 => Some(4),
        3 => Some(12),
        4 | 5 | 15 | 19 => Some(12 * count),
        6 | FUNC_PROTO => Some(8 * count),
        _ => None,
    }
}

const FUNC_PROTO: u8 = 13;

impl Index {
    /// Walks the types once. `base` is vmlinux for a module. `None` when this is not BTF as known.
    pub fn new(bytes: Bytes, base: Option<&Index>) -> Option<Index> {
        const MAGIC: u16 = 0xeb9f;
        let data = bytes.get();
        if u16_at(data, 0)? != MAGIC {
            return None;
        }
        let header = u32_at(data, 4)? as usize;
        let types = header.checked_add(u32_at(data, 8)? as usize)?;
        let types_end = types.checked_add(u32_at(data, 12)? as usize)?;
        let strings = header.checked_add(u32_at(data, 16)? as usize)?;
        let strings_len = u32_at(data, 20)? as usize;
        data.get(strings..strings.checked_add(strings_len)?)?;

        let (string_base, first_id) = match base {
            Some(base) => (base.strings.1 as u32, base.end_id()),
            None => (0, 1),
        };
        // 26 bytes is the average type of Debian's kernels.
        let guess = types_end.saturating_sub(types) / 24;
        let mut names = Vec::with_capacity(guess);
        let mut kinds = Vec::with_capacity(guess);
        let mut enums = Vec::new();
        let mut knows_signs = false;
        let section = data.get(..types_end)?;
        let mut at = types;
        let mut id = first_id;
        while let Some(head) = section.get(at..).and_then(|b| b.first_chunk::<12>()) {
            let [n0, n1, n2, n3, i0, i1, i2, i3, ..] = *head;
            let info = u32::from_ne_bytes([i0, i1, i2, i3]);
            let kind = ((info >> 24) & 0x1f) as u8;
            let count = (info & 0xffff) as usize;
            at += 12;
            let tail = tail(kind, count)?;
            if kind == 6 || kind == 19 {
                enums.push((id, at, count as u16, kind == 19));
                knows_signs |= kind == 19 || info >> 31 == 1;
            }
            at += tail;
            names.push(u32::from_ne_bytes([n0, n1, n2, n3]));
            kinds.push(kind);
            id += 1;
        }
        let knows_signs = knows_signs || base.is_some_and(|b| b.knows_signs);
        let (starts, strings) = (OnceCell::new(), (strings, strings_len));
        Some(Index { bytes, types, starts, strings, string_base, first_id, names, kinds, enums, knows_signs })
    }

    /// One past the last id.
    pub fn end_id(&self) -> u32 {
        self.first_id + self.names.len() as u32
    }

    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    pub fn knows_signs(&self) -> bool {
        self.knows_signs
    }

    fn string_section(&self) -> &[u8] {
        self.bytes.get().get(self.strings.0..).and_then(|b| b.get(..self.strings.1)).unwrap_or_default()
    }

    /// The offset that types name `name` by, if this object's own strings have it. BTF strings are
    /// unique, each after the NUL of the one before it.
    pub fn string_offset(&self, name: &str) -> Option<u32> {
        let mut needle = Vec::with_capacity(name.len() + 2);
        needle.push(0);
        needle.extend_from_slice(name.as_bytes());
        needle.push(0);
        let at = memchr::memmem::find(self.string_section(), &needle)?;
        Some(self.string_base + at as u32 + 1)
    }

    /// The string at a name offset; empty when it is not in this object.
    pub fn string(&self, offset: u32) -> &[u8] {
        let Some(at) = offset.checked_sub(self.string_base) else { return &[] };
        let rest = self.string_section().get(at as usize..).unwrap_or_default();
        rest.get(..memchr::memchr(0, rest).unwrap_or(rest.len())).unwrap_or_default()
    }

    /// The string at a name offset, for a module also one of the base's.
    pub fn name<'a>(&'a self, base: Option<&'a Index>, offset: u32) -> &'a [u8] {
        match base {
            Some(base) if offset < self.string_base => base.string(offset),
            _ => self.string(offset),
        }
    }

    /// The name of a type, if it is of this kind.
    pub fn name_of(&self, id: u32, kind: Kind) -> Option<&[u8]> {
        let at = id.checked_sub(self.first_id)? as usize;
        let of_kind = self.kinds.get(at) == Some(&(kind as u8));
        self.names.get(at).filter(|_| of_kind).map(|offset| self.string(*offset))
    }

    /// Ids of the types named `name`, of the kinds asked for, in order. For a module also those
    /// that take their name from the base's strings.
    pub fn find<'a>(&'a self, base: Option<&Index>, name: &str, kinds: &'a [Kind]) -> impl Iterator<Item = u32> + 'a {
        let own = self.string_offset(name);
        let based = base.and_then(|b| b.string_offset(name));
        let none = own.is_none() && based.is_none();
        let names: &[u32] = if none { &[] } else { &self.names };
        names.iter().zip(&self.kinds).zip(self.first_id..).filter_map(move |((offset, kind), id)| {
            let same = Some(*offset) == own || Some(*offset) == based;
            (same && kinds.iter().any(|k| *k as u8 == *kind)).then_some(id)
        })
    }

    /// Id and name offset of every type of one kind.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = (u32, u32)> + '_ {
        let ids = self.first_id..;
        self.names
            .iter()
            .zip(&self.kinds)
            .zip(ids)
            .filter_map(move |((offset, k), id)| (*k == kind as u8).then_some((id, *offset)))
    }

    /// The bytes of a type of this object, and of all that follow.
    fn at(&self, id: u32) -> Option<&[u8]> {
        let starts = self.starts.get_or_init(|| {
            let mut at = self.types;
            let start = |kind: &u8| {
                let start = at as u32;
                let count = u16_at(self.bytes.get(), at + 4).unwrap_or(0);
                at += 12 + tail(*kind, count.into()).unwrap_or(0);
                start
            };
            self.kinds.iter().map(start).collect()
        });
        self.bytes.get().get(*starts.get(id.checked_sub(self.first_id)? as usize)? as usize..)
    }

    /// Whether a trampoline can carry the arguments of a FUNC: not if their number is variable or above `most`.
    pub fn fits_trampoline(&self, base: Option<&Index>, id: u32, most: usize) -> bool {
        let fits = || {
            let prototype = u32_at(self.at(id)?, 8)?;
            let object = if prototype < self.first_id { base? } else { self };
            let bytes = object.at(prototype)?;
            let info = u32_at(bytes, 4)?;
            let count = (info & 0xffff) as usize;
            // A last parameter without name and type stands for `...`.
            let is_variable =
                |last: usize| Some(u32_at(bytes, 4 + 8 * last)? == 0 && u32_at(bytes, 8 + 8 * last)? == 0);
            let variable = count > 0 && is_variable(count)?;
            Some((info >> 24) as u8 & 0x1f == FUNC_PROTO && count <= most && !variable)
        };
        fits().unwrap_or(false)
    }

    /// The enum that has an enumerator of this name, and its value as unsigned bits.
    pub fn enumerator(&self, base: Option<&Index>, name: &str) -> Option<(u32, u64)> {
        let own = self.string_offset(name);
        let based = base.and_then(|b| b.string_offset(name));
        if own.is_none() && based.is_none() {
            return None;
        }
        let data = self.bytes.get();
        for (id, start, count, wide) in &self.enums {
            let step = if *wide { 12 } else { 8 };
            for i in 0..usize::from(*count) {
                let at = start + i * step;
                let offset = u32_at(data, at)?;
                if Some(offset) != own && Some(offset) != based {
                    continue;
                }
                let low = u64::from(u32_at(data, at + 4)?);
                let high = if *wide { u64::from(u32_at(data, at + 8)?) } else { 0 };
                return Some((*id, high << 32 | low));
            }
        }
        None
    }
}
