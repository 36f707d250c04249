//! The unwind tables that `dw_ustack` walks stacks by: how programs, which read them, and the runtime, which makes
//! them from `.eh_frame`, lay them out. Numbers are little-endian, all rows have [`ROW`] bytes.
//!
//! A file is known by [`KEY`] bytes: `u64` device (as the kernel encodes it: major << 20 | minor), `u64` inode.
//! The first row of its table begins with the `u64` number of those that follow. These are sorted by place: a row
//! holds from its place to that of the next, and the first place is 0.
//!
//! A row: `u32` offset in the file, `u8` how the canonical frame address (CFA, what the stack pointer is in the caller)
//! is found, `u8` where the return address lies, `u8` where the caller's base pointer lies, `u8` number of the word
//! above the stack pointer that has the return address or, of a linkage table, the first byte of an entry in whose
//! code a word more is on the stack, `i32` offset for the CFA, `i32` offset for the base pointer.

/// Bytes of a row.
pub const ROW: u32 = 16;
/// Bytes of a key.
pub const KEY: u32 = 16;
/// Files that there is room for.
pub const FILES: u32 = 1024;
/// Most rows of a file, a power of two: those of the largest programs there are fit.
pub const ROWS: u32 = 1 << 22;
/// Bytes of a wanted file's value: `u64` process, `u64` an address where the process has it mapped.
pub const WANTED: u32 = 16;
/// Wanted files that there is room for between two looks.
pub const WANTED_FILES: u32 = 256;

/// Nothing is known of this place.
pub const CFA_NONE: u8 = 0;
/// Stack pointer plus offset.
pub const CFA_SP: u8 = 1;
/// Base pointer plus offset.
pub const CFA_BP: u8 = 2;
/// The word at stack pointer plus offset.
pub const CFA_AT_SP: u8 = 3;
/// The word at base pointer plus offset.
pub const CFA_AT_BP: u8 = 4;
/// Stack pointer plus offset, and a word more from some byte of each 16 on: the entries of a linkage table.
pub const CFA_PLT: u8 = 5;
/// The outermost function: there is no caller.
pub const CFA_END: u8 = 6;
/// In the word below the CFA.
pub const RA_CFA: u8 = 1;
/// The number of words above the stack pointer; the code it points to was interrupted and did not make a call.
pub const RA_SP: u8 = 2;
/// The base pointer is the same in the caller (or of no use to it).
pub const BP_SAME: u8 = 0;
/// At CFA plus offset.
pub const BP_CFA: u8 = 1;
/// At stack pointer plus offset.
pub const BP_SP: u8 = 2;
/// At base pointer plus offset.
pub const BP_BP: u8 = 3;
