//! Static probes (USDT) of executables and libraries: the notes in section `.note.stapsdt`.
//!
//! A note's description holds three addresses (the probe, where `.stapsdt.base` was when the note was made, and the
//! counter of those who listen, or 0), then three strings: provider, name, arguments. When a file was prelinked, the
//! notes stayed as they were: how far `.stapsdt.base` is from where it was tells by how much everything moved. The
//! format: <https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>

use object::{Object, ObjectSection};
use rtrace_core::kernel::{KernelError, UsdtProbe};

use crate::user::{file_offset, with_elf};

/// Type of the notes, and the name of their owner.
const TYPE: u32 = 3;
const OWNER: &[u8] = b"stapsdt\0";

/// See [`rtrace_core::kernel::Programs::usdt_probes`]. In the order of the file.
pub fn probes(path: &str) -> Result<Vec<UsdtProbe>, KernelError> {
    with_elf(path, |elf| {
        let Some(section) = elf.section_by_name(".note.stapsdt") else { return Vec::new() };
        let base = elf.section_by_name(".stapsdt.base").map(|s| s.address());
        let data = section.data().unwrap_or_default();
        let word = if elf.is_64() { 8 } else { 4 };
        let found = notes(data).into_iter().filter_map(|description| {
            let note = parse(description, word)?;
            let moved = base.map_or(0, |base| base.wrapping_sub(note.base));
            let address = note.address.wrapping_add(moved);
            let semaphore = if note.semaphore == 0 { 0 } else { note.semaphore.wrapping_add(moved) };
            Some(UsdtProbe {
                provider: note.provider,
                name: note.name,
                address,
                file_offset: file_offset(elf, address)?,
                semaphore: if semaphore == 0 { 0 } else { file_offset(elf, semaphore)? },
                arguments: note.arguments,
            })
        });
        found.collect()
    })
}

#[derive(Debug, PartialEq)]
struct Note {
    address: u64,
    base: u64,
    semaphore: u64,
    provider: String,
    name: String,
    arguments: String,
}

/// The descriptions of the notes of static probes; what follows a damaged one is left out.
fn notes(mut data: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    let number = |data: &[u8], at: usize| Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?));
    while let (Some(owner), Some(size), Some(kind)) = (number(data, 0), number(data, 4), number(data, 8)) {
        let owner_end = 12usize.saturating_add(owner as usize);
        let start = 12usize.saturating_add((owner as usize).next_multiple_of(4));
        let end = start.saturating_add(size as usize);
        let (Some(by), Some(description)) = (data.get(12..owner_end), data.get(start..end)) else { break };
        if kind == TYPE && by == OWNER {
            found.push(description);
        }
        data = data.get(end.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn parse(description: &[u8], word: usize) -> Option<Note> {
    let address = |n: usize| {
        let bytes = description.get(n * word..)?;
        match word {
            8 => Some(u64::from_ne_bytes(*bytes.first_chunk()?)),
            _ => Some(u64::from(u32::from_ne_bytes(*bytes.first_chunk()?))),
        }
    };
    let mut strings = description.get(3 * word..)?.split(|b| *b == 0).map(|s| String::from_utf8_lossy(s).into_owned());
    let note = Note {
        address: address(0)?,
        base: address(1)?,
        semaphore: address(2)?,
        provider: strings.next()?,
        name: strings.next()?,
        arguments: strings.next()?,
    };
    (!note.name.is_empty()).then_some(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u32, owner: &[u8], description: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in [owner.len() as u32, description.len() as u32, kind] {
            bytes.extend(number.to_ne_bytes());
        }
        for part in [owner, description] {
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn notes_are_read() {
        let mut description = Vec::new();
        for number in [0x1130u64, 0x2000, 0x4008] {
            description.extend(number.to_ne_bytes());
        }
        description.extend_from_slice(b"demo\0loop\0-4@%eax 8@$5\0");
        let mut data = note(TYPE, b"GNU\0", b"other");
        data.extend(note(TYPE, OWNER, &description));
        data.extend(note(1, OWNER, b"x"));
        let found = notes(&data);
        assert_eq!(found, [description.as_slice()]);
        let wanted = Note {
            address: 0x1130,
            base: 0x2000,
            semaphore: 0x4008,
            provider: "demo".into(),
            name: "loop".into(),
            arguments: "-4@%eax 8@$5".into(),
        };
        assert_eq!(parse(&description, 8), Some(wanted));
        let narrow: Vec<u8> = [16u32, 32, 0].iter().flat_map(|n| n.to_ne_bytes()).chain(*b"a\0b\0\0").collect();
        assert_eq!(parse(&narrow, 4).map(|n| (n.address, n.semaphore, n.arguments)), Some((16, 0, String::new())));
    }

    #[test]
    fn damaged_notes() {
        assert_eq!(parse(b"", 8), None);
        assert_eq!(parse(&[0; 24], 8), None);
        assert!(notes(&[0xff; 40]).is_empty());
        assert!(notes(&note(TYPE, OWNER, b"")[..10]).is_empty());
    }

    #[test]
    fn files_without_probes() {
        assert!(probes("/etc/passwd").is_err());
        let own = std::env::current_exe().expect("a path").display().to_string();
        assert_eq!(probes(&own), Ok(Vec::new()));
    }
}
