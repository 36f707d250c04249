//! From the `.eh_frame` of a file to the rows that programs walk stacks by; `rtrace_core::bundle::unwind` says what
//! a row is. Only x86-64: registers have the numbers of its psABI.

use crate::foreign::{self, Elf, Source};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, DebugFrame, EhFrame, Expression, LittleEndian, Operation, Register, RegisterRule,
    UnwindContext, UnwindSection,
};
use object::{Object, ObjectSection, ObjectSegment};
use rtrace_core::bundle::unwind::*;
use std::collections::HashMap;

const BP: Register = Register(6);
const SP: Register = Register(7);
const RA: Register = Register(16);

type Reader<'d> = gimli::EndianSlice<'d, LittleEndian>;

/// One row, without its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub cfa: u8,
    pub ra: u8,
    pub bp: u8,
    pub slot: u8,
    pub cfa_offset: i32,
    pub bp_offset: i32,
}

const NOTHING: Rule = Rule { cfa: CFA_NONE, ra: RA_CFA, bp: BP_SAME, slot: 0, cfa_offset: 0, bp_offset: 0 };

/// The rows of a file, sorted; the first is at 0. A file without unwind information has that one only.
pub fn rows(elf: &Elf<'_>) -> Vec<(u32, Rule)> {
    let mut found = Vec::new();
    if elf.architecture() == object::Architecture::X86_64 {
        let bases = bases(elf);
        let code = code(elf);
        let data = |name| foreign::section(elf, name);
        if let Some(frames) = data(".eh_frame") {
            collect(&EhFrame::new(&frames, LittleEndian), &bases, &code, &mut found);
        }
        if let Some(frames) = data(".debug_frame").filter(|_| found.is_empty()) {
            let mut frames = DebugFrame::new(&frames, LittleEndian);
            frames.set_address_size(8);
            collect(&frames, &bases, &code, &mut found);
        }
    }
    arrange(found)
}

/// The addresses that entries may be relative to.
fn bases(elf: &Elf<'_>) -> BaseAddresses {
    let mut bases = BaseAddresses::default();
    for (name, set) in [
        (".text", BaseAddresses::set_text as fn(BaseAddresses, u64) -> BaseAddresses),
        (".got", BaseAddresses::set_got),
        (".eh_frame", BaseAddresses::set_eh_frame),
    ] {
        if let Some(section) = elf.section_by_name(name) {
            bases = set(bases, section.address());
        }
    }
    bases
}

/// Start and size of the function around an address, which stripped files tell by their unwind information.
pub fn function_around(elf: &Elf<'_>, address: u64) -> Option<(u64, u64)> {
    let data = foreign::section(elf, ".eh_frame")?;
    let frames = EhFrame::new(&data, LittleEndian);
    let found = frames.fde_for_address(&bases(elf), address, EhFrame::cie_from_offset).ok()?;
    Some((found.initial_address(), found.len()))
}

/// The bytes of a table as its map has them: the head, then the rows.
pub fn bytes(rows: &[(u32, Rule)]) -> Vec<u8> {
    let mut out = Vec::with_capacity((rows.len() + 1) * ROW as usize);
    out.extend((rows.len() as u64).to_le_bytes());
    out.extend([0; 8]);
    for (place, rule) in rows {
        out.extend(place.to_le_bytes());
        out.extend([rule.cfa, rule.ra, rule.bp, rule.slot]);
        out.extend(rule.cfa_offset.to_le_bytes());
        out.extend(rule.bp_offset.to_le_bytes());
    }
    out
}

/// The executable segments of a file: address, size, offset.
fn code(elf: &Elf<'_>) -> Vec<(u64, u64, u64)> {
    let executable = |s: &object::Segment<'_, '_, &Source>| match s.flags() {
        object::SegmentFlags::Elf { p_flags } => p_flags & object::elf::PF_X != 0,
        _ => false,
    };
    let segments = elf.segments().filter(executable);
    segments.map(|s| (s.address(), s.file_range().1, s.file_range().0)).collect()
}

/// Start and end in the file, and what holds there.
type Piece = (u32, u32, Rule);

fn collect<'d, S: UnwindSection<Reader<'d>>>(
    section: &S,
    bases: &BaseAddresses,
    code: &[(u64, u64, u64)],
    out: &mut Vec<Piece>,
) where
    S::Offset: std::hash::Hash,
{
    let place = |address: u64| {
        let (start, _, offset) = code.iter().find(|(start, size, _)| (*start..=start + size).contains(&address))?;
        u32::try_from(address - start + offset).ok()
    };
    let mut context = UnwindContext::new();
    let mut known = HashMap::new();
    let mut entries = section.entries(bases);
    // What is damaged ends the list; what was read before holds.
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(|section, bases, offset| match known.get(&offset) {
            Some(cie) => Ok(Clone::clone(cie)),
            None => {
                let cie = section.cie_from_offset(bases, offset)?;
                known.insert(offset, cie.clone());
                Ok(cie)
            }
        });
        let Ok(fde) = fde else { continue };
        let encoding = fde.cie().encoding();
        let Ok(mut table) = fde.rows(section, bases, &mut context) else { continue };
        while let Ok(Some(row)) = table.next_row() {
            let (Some(start), Some(end)) = (place(row.start_address()), place(row.end_address())) else { continue };
            let expression = |e: &gimli::UnwindExpression<usize>| e.get(section).ok().map(|e| shape(e, encoding));
            let rule = rule(row.cfa(), row.register(RA).as_ref(), row.register(BP).as_ref(), &expression);
            if start < end {
                out.push((start, end, rule));
            }
        }
    }
}

/// The DWARF expressions that occur in unwind information.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// A register plus an offset.
    Sum(Register, i64),
    /// The word there.
    Word(Register, i64),
    /// The stack pointer plus an offset, and a word more from this byte of 16 on.
    Table(i64, u8),
    Other,
}

fn shape(expression: Expression<Reader<'_>>, encoding: gimli::Encoding) -> Shape {
    let mut operations = expression.operations(encoding);
    let mut list = Vec::new();
    while let Ok(Some(operation)) = operations.next() {
        if list.len() > 10 {
            return Shape::Other;
        }
        list.push(operation);
    }
    use Operation::{And, Deref, Ge, Plus, RegisterOffset, Shl, UnsignedConstant};
    match list.as_slice() {
        [RegisterOffset { register, offset, .. }] => Shape::Sum(*register, *offset),
        [RegisterOffset { register, offset, .. }, Deref { size: 8, space: false, .. }] => {
            Shape::Word(*register, *offset)
        }
        [
            RegisterOffset { register: SP, offset, .. },
            RegisterOffset { register: RA, offset: 0, .. },
            UnsignedConstant { value: 15 },
            And,
            UnsignedConstant { value },
            Ge,
            UnsignedConstant { value: 3 },
            Shl,
            Plus,
        ] => Shape::Table(*offset, *value as u8),
        _ => Shape::Other,
    }
}

fn rule(
    cfa: &CfaRule<usize>,
    ra: Option<&RegisterRule<usize>>,
    bp: Option<&RegisterRule<usize>>,
    expression: &dyn Fn(&gimli::UnwindExpression<usize>) -> Option<Shape>,
) -> Rule {
    let mut rule = NOTHING;
    let (kind, offset) = match cfa {
        CfaRule::RegisterAndOffset { register: SP, offset } => (CFA_SP, *offset),
        CfaRule::RegisterAndOffset { register: BP, offset } => (CFA_BP, *offset),
        CfaRule::RegisterAndOffset { .. } => return NOTHING,
        CfaRule::Expression(e) => match expression(e) {
            Some(Shape::Sum(SP, offset)) => (CFA_SP, offset),
            Some(Shape::Sum(BP, offset)) => (CFA_BP, offset),
            Some(Shape::Word(SP, offset)) => (CFA_AT_SP, offset),
            Some(Shape::Word(BP, offset)) => (CFA_AT_BP, offset),
            Some(Shape::Table(offset, from)) => {
                rule.slot = from;
                (CFA_PLT, offset)
            }
            _ => return NOTHING,
        },
    };
    let Ok(offset) = i32::try_from(offset) else { return NOTHING };
    (rule.cfa, rule.cfa_offset) = (kind, offset);
    match ra {
        Some(RegisterRule::Offset(-8)) => {}
        Some(RegisterRule::Undefined) => return Rule { cfa: CFA_END, ..NOTHING },
        Some(RegisterRule::Expression(e)) => match expression(e) {
            Some(Shape::Sum(SP, offset)) if offset % 8 == 0 && (0..=255 * 8).contains(&offset) => {
                (rule.ra, rule.slot) = (RA_SP, (offset / 8) as u8);
            }
            _ => return NOTHING,
        },
        _ => return NOTHING,
    }
    let saved = match bp {
        Some(RegisterRule::Offset(offset)) => (BP_CFA, *offset),
        Some(RegisterRule::Expression(e)) => match expression(e) {
            Some(Shape::Sum(SP, offset)) => (BP_SP, offset),
            Some(Shape::Sum(BP, offset)) => (BP_BP, offset),
            _ => return NOTHING,
        },
        None | Some(RegisterRule::Undefined | RegisterRule::SameValue) => (BP_SAME, 0),
        _ => return NOTHING,
    };
    let Ok(offset) = i32::try_from(saved.1) else { return NOTHING };
    (rule.bp, rule.bp_offset) = (saved.0, offset);
    rule
}

/// Sorted, with what lies between the pieces, and without rows that say what the row before says.
fn arrange(mut pieces: Vec<Piece>) -> Vec<(u32, Rule)> {
    pieces.sort_by_key(|p| (p.0, p.1));
    let mut rows: Vec<(u32, Rule)> = vec![(0, NOTHING)];
    let mut end = 0;
    let mut push = |place: u32, rule: Rule| match rows.last_mut() {
        Some(last) if last.0 == place => last.1 = rule,
        Some(last) if last.1 == rule => {}
        _ => rows.push((place, rule)),
    };
    for (start, stop, rule) in pieces {
        // Of two that overlap, the first holds to its end.
        let start = start.max(end);
        if start >= stop {
            continue;
        }
        if start > end {
            push(end, NOTHING);
        }
        push(start, rule);
        end = stop;
    }
    push(end, NOTHING);
    // One row is the head.
    cut(&mut rows, ROWS as usize - 1);
    rows
}

/// No more than so many rows; the last one holds to the end of the file, so it must say that nothing is known.
fn cut(rows: &mut Vec<(u32, Rule)>, most: usize) {
    if rows.len() > most {
        rows.truncate(most);
        if let Some(last) = rows.last_mut() {
            last.1 = NOTHING;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repetitions() {
        let rule = |offset| Rule { cfa: CFA_SP, cfa_offset: offset, ..NOTHING };
        let pieces =
            vec![(32, 48, rule(16)), (16, 24, rule(8)), (24, 32, rule(8)), (64, 80, rule(8)), (70, 90, rule(9))];
        let expected =
            [(0, NOTHING), (16, rule(8)), (32, rule(16)), (48, NOTHING), (64, rule(8)), (80, rule(9)), (90, NOTHING)];
        assert_eq!(arrange(pieces), expected);
        assert_eq!(arrange(Vec::new()), [(0, NOTHING)]);
        let table = bytes(&expected);
        assert_eq!(table.len(), 16 * 8);
        assert_eq!(table[..8], 7u64.to_le_bytes());
        assert_eq!(table[32..48], [16, 0, 0, 0, CFA_SP, RA_CFA, BP_SAME, 0, 8, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn behind_the_last_row_that_fits_nothing_is_known() {
        let rule = Rule { cfa: CFA_SP, cfa_offset: 8, ..NOTHING };
        let all = vec![(0, NOTHING), (16, rule), (32, Rule { cfa_offset: 16, ..rule }), (48, NOTHING)];
        let most = |most| {
            let mut rows = all.clone();
            cut(&mut rows, most);
            rows
        };
        assert_eq!(most(3), [(0, NOTHING), (16, rule), (32, NOTHING)]);
        assert_eq!(most(4), all);
    }

    /// The C library has all that there is: functions, signal frames, a start without a caller.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_c_library_has_rows() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let Some(path) = maps.lines().filter_map(|l| l.split_whitespace().nth(5)).find(|p| p.contains("/libc.so"))
        else {
            return;
        };
        let rows = crate::user::with_elf(path, rows).unwrap();
        assert!(rows.len() > 1000, "{}", rows.len());
        assert!(rows.is_sorted_by(|a, b| a.0 < b.0));
        let plain = rows.iter().filter(|r| r.1.cfa == CFA_SP).count();
        assert!(plain > rows.len() / 2, "{plain} of {}", rows.len());
        let signal = rows.iter().find(|r| r.1.ra == RA_SP).unwrap().1;
        assert_eq!(
            (signal.cfa, signal.cfa_offset, signal.slot, signal.bp, signal.bp_offset),
            (CFA_AT_SP, 160, 21, BP_SP, 120)
        );
    }
}
