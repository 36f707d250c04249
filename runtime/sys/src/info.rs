//! Information about BPF objects of the kernel, from bpf(2): programs by ID, their functions and types, the types
//! of modules, and what was missed (`struct bpf_prog_info`, `bpf_btf_info`, `bpf_link_info` of include/uapi/linux/bpf.h).

use crate::bpf::{Attr, Command, address_mut, bpf, bpf_fd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next_id: u32,
    open_flags: u32,
    padding: u32,
}
// SAFETY: the structure of the *_GET_NEXT_ID and *_GET_FD_BY_ID commands; `padding` stands for
// `fd_by_id_token_fd`, zero.
unsafe impl Attr for IdAttr {}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}
// SAFETY: the `info` structure.
unsafe impl Attr for InfoAttr {}

/// `struct bpf_btf_info`
#[repr(C)]
#[derive(Default)]
struct BtfObjectInfo {
    btf: u64,
    btf_size: u32,
    id: u32,
    name: u64,
    name_len: u32,
    kernel_btf: u32,
}

/// The number that follows `id` among those of BTF objects or programs.
fn next_id(command: Command, id: u32) -> io::Result<Option<u32>> {
    let mut attr = IdAttr { id, ..IdAttr::default() };
    match bpf(command, &mut attr) {
        Ok(_) => Ok(Some(attr.next_id)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn by_id(command: Command, id: u32) -> io::Result<OwnedFd> {
    bpf_fd(command, &mut IdAttr { id, ..IdAttr::default() })
}

fn btf_info(btf: BorrowedFd<'_>, info: &mut BtfObjectInfo) -> io::Result<()> {
    let mut attr = InfoAttr {
        fd: btf.as_raw_fd() as u32,
        len: std::mem::size_of::<BtfObjectInfo>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    bpf(Command::ObjGetInfo, &mut attr).map(drop)
}

/// The BTF object of a loaded kernel module (Linux 5.11); `None` when it has none.
pub fn module_btf(module: &str) -> io::Result<Option<OwnedFd>> {
    let mut id = 0;
    while let Some(next) = next_id(Command::BtfNextId, id)? {
        id = next;
        let fd = match by_id(Command::BtfGetFd, id) {
            Ok(fd) => fd,
            // It went away between the two calls.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => continue,
            Err(e) => return Err(e),
        };
        let mut name = [0u8; 64];
        let mut info = BtfObjectInfo { name: address_mut(&mut name), name_len: 64, ..BtfObjectInfo::default() };
        btf_info(fd.as_fd(), &mut info)?;
        let name = name.split(|b| *b == 0).next().unwrap_or_default();
        if info.kernel_btf != 0 && name == module.as_bytes() {
            return Ok(Some(fd));
        }
    }
    Ok(None)
}

/// The bytes of a BTF object, by its number; needs CAP_SYS_ADMIN.
pub fn btf_bytes(id: u32) -> io::Result<Vec<u8>> {
    let fd = by_id(Command::BtfGetFd, id)?;
    let mut info = BtfObjectInfo::default();
    btf_info(fd.as_fd(), &mut info)?;
    let mut bytes = vec![0; info.btf_size as usize];
    let mut info = BtfObjectInfo { btf: address_mut(&mut bytes), btf_size: info.btf_size, ..BtfObjectInfo::default() };
    btf_info(fd.as_fd(), &mut info)?;
    Ok(bytes)
}

/// The numbers of all programs in the kernel, in order; needs CAP_SYS_ADMIN.
pub fn programs() -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    while let Some(next) = next_id(Command::ProgNextId, found.last().copied().unwrap_or(0))? {
        found.push(next);
    }
    Ok(found)
}

/// A program by its number; needs CAP_SYS_ADMIN.
pub fn program(id: u32) -> io::Result<OwnedFd> {
    by_id(Command::ProgGetFd, id)
}

/// The function information of a program.
#[derive(Clone, Debug, Default)]
pub struct ProgramInfo {
    /// `enum bpf_prog_type`
    pub prog_type: u32,
    /// The first 15 bytes of its name.
    pub name: String,
    /// Number of its BTF object, 0 for none.
    pub btf: u32,
    /// Type in its BTF of each of its functions; the first one is the program itself.
    pub functions: Vec<u32>,
}

pub fn program_functions(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let info = program_info(program, [0; 27])?;
    let halves = |word: u64| (word as u32, (word >> 32) as u32);
    let [first, .., name, rest] = info.get(..10).and_then(|w| w.first_chunk::<10>()).copied().unwrap_or_default();
    let name: Vec<u8> = [name, rest].iter().flat_map(|w| w.to_ne_bytes()).take_while(|b| *b != 0).collect();
    let (btf, _) = halves(info.get(16).copied().unwrap_or(0));
    let (count, _) = halves(info.get(18).copied().unwrap_or(0));
    // `struct bpf_func_info`: first instruction, type.
    let mut functions = vec![[0u32; 2]; count as usize];
    if count > 0 {
        let mut wanted = [0u64; 27];
        let places = [(16, 8 << 32), (17, address_mut(&mut functions)), (18, u64::from(count))];
        for (place, value) in places {
            if let Some(word) = wanted.get_mut(place) {
                *word = value;
            }
        }
        program_info(program, wanted)?;
    }
    Ok(ProgramInfo {
        prog_type: first as u32,
        name: String::from_utf8_lossy(&name).into_owned(),
        btf,
        functions: functions.iter().map(|[_, ty]| *ty).collect(),
    })
}

/// Runs of a program that were left out because it, or another one, was running on the CPU already
/// (Linux 5.12; zero before).
pub fn missed_runs(program: BorrowedFd<'_>) -> io::Result<u64> {
    let [.., misses] = program_info(program, [0; 27])?;
    Ok(misses)
}

/// How long a program ran in all, in nanoseconds, and how often, while [`run_statistics`] were kept.
pub fn run_time(program: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let [.., time, count, _] = program_info(program, [0; 27])?;
    Ok((time, count))
}

/// `struct bpf_prog_info` up to `recursion_misses`, its 27th word; goes in with what is wanted beyond numbers.
fn program_info(program: BorrowedFd<'_>, mut info: [u64; 27]) -> io::Result<[u64; 27]> {
    let mut attr = InfoAttr {
        fd: program.as_raw_fd() as u32,
        len: std::mem::size_of_val(&info) as u32,
        info: address_mut(&mut info),
    };
    bpf(Command::ObjGetInfo, &mut attr)?;
    Ok(info)
}

/// Hits that a link to kprobes missed: because a kprobe was running on the CPU already, or because more calls were open
/// than a return probe keeps (Linux 6.7; zero before, and for other links).
pub fn missed_hits(link: BorrowedFd<'_>) -> io::Result<u64> {
    /// `enum bpf_link_type`.
    const PERF_EVENT: u64 = 7;
    const KPROBE_MULTI: u64 = 8;
    /// `enum bpf_perf_event_type`.
    const KPROBE: u64 = 3;
    const KRETPROBE: u64 = 4;
    // `struct bpf_link_info` in words: type and id; program; then by type. A kernel that knows less leaves zeros.
    let mut info = [0u64; 8];
    let mut attr = InfoAttr {
        fd: link.as_raw_fd() as u32,
        len: std::mem::size_of_val(&info) as u32,
        info: address_mut(&mut info),
    };
    bpf(Command::ObjGetInfo, &mut attr)?;
    let low = |word: u64| word & 0xffff_ffff;
    // kprobe_multi: addresses; count and flags; missed. kprobe: type; name; its length and offset; address; missed.
    let [head, _, word2, _, missed_multi, _, missed_single, _] = info;
    Ok(match (low(head), low(word2)) {
        (KPROBE_MULTI, _) => missed_multi,
        (PERF_EVENT, KPROBE | KRETPROBE) => missed_single,
        _ => 0,
    })
}
