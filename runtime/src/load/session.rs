//! One program out of two: what runs at the entry of functions and what runs at their return, for a kprobe.session
//! link, which runs one program at both.
//!
//! A small program asks the kernel which of them it is and calls the one or the other, whose code stays as it is. It
//! returns 0 at the entry whatever happened there, which lets the return run. The link has one cookie for a function,
//! with a probe in each half: calls for the cookie become calls of a function that takes its half.

use super::object::Code;
use rtrace_sys::insn;

/// `bpf_get_attach_cookie`, as a call.
const COOKIE: u64 = insn(CALL, 0, 0, 0, 174);
const CALL: u8 = 0x85;
const EXIT: u64 = insn(0x95, 0, 0, 0, 0);
/// Source registers of calls: of a function of the program, of one of the kernel.
const LOCAL: u8 = 1;
const KERNEL: u8 = 2;

/// `is_return`: BTF id of the kernel's function `bpf_session_is_return`.
pub fn join(entry: &Code, returns: &Code, is_return: i32) -> Option<Code> {
    const MAIN: usize = 10;
    let after_entry = MAIN + entry.instructions.len();
    let after_returns = after_entry + returns.instructions.len();
    let call = |from: usize, to: usize| Some(insn(CALL, 0, LOCAL, 0, i32::try_from(to as i64 - from as i64 - 1).ok()?));
    let mut joined = Code {
        instructions: vec![
            insn(0xbf, 6, 1, 0, 0), // r6 = context
            // Up to 6.19 it has no parameter.
            insn(CALL, 0, KERNEL, 0, is_return),
            insn(0x57, 0, 0, 0, 0xff), // A bool has 8 bits.
            insn(0xbf, 1, 6, 0, 0),
            insn(0x55, 0, 0, 2, 0), // if r0 != 0 goto the second call
            call(5, MAIN)?,
            insn(0x05, 0, 0, 1, 0),
            call(7, after_entry)?,
            insn(0xb7, 0, 0, 0, 0),
            EXIT,
        ],
        func_info: entry.func_info.first().map(|[_, ty]| [0, *ty]).into_iter().collect(),
        line_info: entry.line_info.first().map(|[_, rest @ ..]| at(0, rest)).into_iter().collect(),
    };
    append(&mut joined, entry);
    append(&mut joined, returns);
    // r0 = cookie; the lower half, or the upper one.
    let lower = [COOKIE, insn(0x67, 0, 0, 0, 32), insn(0x77, 0, 0, 0, 32), EXIT];
    let upper = [COOKIE, insn(0x77, 0, 0, 0, 32), EXIT];
    let halves =
        [(MAIN..after_entry, lower.as_slice(), entry), (after_entry..after_returns, upper.as_slice(), returns)];
    for (range, half, of) in halves {
        let start = joined.instructions.len();
        let mut used = false;
        // The second word of a load of 64 bits has no opcode, so is no call.
        for (n, word) in joined.instructions.iter_mut().enumerate().take(range.end).skip(range.start) {
            if *word == COOKIE {
                *word = call(n, start)?;
                used = true;
            }
        }
        if used {
            joined.instructions.extend_from_slice(half);
            joined.func_info.extend(of.func_info.first().map(|[_, ty]| [start as u32, *ty]));
            joined.line_info.extend(of.line_info.first().map(|[_, rest @ ..]| at(start as u32, rest)));
        }
    }
    Some(joined)
}

fn at(instruction: u32, rest: &[u32; 3]) -> [u32; 4] {
    let [file, line, column] = *rest;
    [instruction, file, line, column]
}

/// Calls within are relative and stay right.
fn append(to: &mut Code, code: &Code) {
    let start = to.instructions.len() as u32;
    to.instructions.extend_from_slice(&code.instructions);
    to.func_info.extend(code.func_info.iter().map(|[at, ty]| [at + start, *ty]));
    to.line_info.extend(code.line_info.iter().map(|[n, rest @ ..]| at(n + start, rest)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(instructions: &[u64], ty: u32) -> Code {
        Code {
            instructions: instructions.to_vec(),
            func_info: vec![[0, ty]],
            line_info: vec![[0, 1, 2, 3], [1, 1, 2, 4]],
        }
    }

    /// The target of a call of a function of the program.
    fn target(code: &Code, n: usize) -> usize {
        let word = code.instructions[n];
        assert_eq!(word & 0xffff_ffff, insn(CALL, 0, LOCAL, 0, 0), "{word:x}");
        (n as i64 + 1 + i64::from((word >> 32) as i32)) as usize
    }

    #[test]
    fn both_bodies_are_called() {
        let nothing = insn(0xb7, 0, 0, 0, 0);
        let joined = join(&code(&[nothing, EXIT], 7), &code(&[nothing, nothing, EXIT], 8), 99).unwrap();
        assert_eq!(joined.instructions.len(), 15);
        assert_eq!((target(&joined, 5), target(&joined, 7)), (10, 12));
        assert_eq!(joined.func_info, [[0, 7], [10, 7], [12, 8]]);
        assert_eq!(joined.line_info, [[0, 1, 2, 3], [10, 1, 2, 3], [11, 1, 2, 4], [12, 1, 2, 3], [13, 1, 2, 4]]);
        assert_eq!(joined.instructions[1], insn(CALL, 0, KERNEL, 0, 99));
    }

    #[test]
    fn each_side_takes_its_half_of_the_cookie() {
        let (entry, returns) = (code(&[COOKIE, EXIT], 7), code(&[insn(0xb7, 6, 0, 0, 0), COOKIE, COOKIE, EXIT], 8));
        let joined = join(&entry, &returns, 99).unwrap();
        assert_eq!(target(&joined, 10), 16);
        assert_eq!((target(&joined, 13), target(&joined, 14)), (20, 20));
        assert_eq!(joined.instructions[16..20], [COOKIE, insn(0x67, 0, 0, 0, 32), insn(0x77, 0, 0, 0, 32), EXIT]);
        assert_eq!(joined.instructions[20..], [COOKIE, insn(0x77, 0, 0, 0, 32), EXIT]);
        assert_eq!(joined.func_info, [[0, 7], [10, 7], [12, 8], [16, 7], [20, 8]]);
        let none = join(&code(&[EXIT], 7), &returns, 99).unwrap();
        assert_eq!(none.instructions.len(), 10 + 1 + 4 + 3);
    }
}
