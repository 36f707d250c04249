//! BPF programs that are loaded, and the functions in them that fentry and fexit can be placed on: those that the
//! program's own BTF describes.

use rtrace_core::nearest::Nearest;
use std::io;
use std::os::fd::AsFd;

use rtrace_core::kernel::{BpfFunction, BpfName, KernelError};

use crate::btf::{self, Prototype};
use crate::features;
use rtrace_core::glob::Glob;
use rtrace_sys::{self as sys, ProgramInfo};

/// A program that went away is passed over.
fn info(program: u32) -> Result<Option<ProgramInfo>, KernelError> {
    let found = sys::program(program).and_then(|fd| sys::program_functions(fd.as_fd()));
    match found {
        Ok(info) => Ok(Some(info)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(cannot_look(&e)),
    }
}

fn cannot_look(error: &io::Error) -> KernelError {
    let help = (error.raw_os_error() == Some(libc::EPERM))
        .then(|| "the kernel shows BPF programs to root, or with CAP_SYS_ADMIN".to_owned());
    KernelError { message: format!("cannot list the loaded BPF programs: {error}"), help }
}

/// One program, or all.
fn numbers(program: Option<u32>) -> Result<Vec<u32>, KernelError> {
    program.map_or_else(|| sys::programs().map_err(|e| cannot_look(&e)), |n| Ok(vec![n]))
}

/// Functions that match, sorted by number and name.
pub fn functions(types: &btf::Facts, program: Option<u32>, names: &Glob<'_>) -> Result<Vec<BpfName>, KernelError> {
    let mut found = Vec::new();
    for program in numbers(program)? {
        let Some(info) = info(program)?.filter(|i| i.btf != 0 && !i.functions.is_empty()) else { continue };
        // Of many programs, one that goes away meanwhile does not count.
        let Ok(known) = types.program_types(info.btf) else { continue };
        let all = info.functions.iter().filter_map(|id| Some((known.function(*id)?, *id)));
        found.extend(all.filter(|(name, _)| names.matches(name.as_bytes())).map(|(name, btf_id)| BpfName {
            program,
            name,
            btf_id,
        }));
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// One function with its prototype; `None` when its program is gone.
pub fn function(types: &btf::Facts, of: &BpfName) -> Result<Option<BpfFunction>, KernelError> {
    let Some(info) = info(of.program)? else { return Ok(None) };
    let main = (info.functions.first() == Some(&of.btf_id)).then_some(info.prog_type);
    let Some((function, of_kernel)) = types.program_function(info.btf, of.btf_id, &of.name, main)? else {
        return Ok(None);
    };
    let Ok(fd) = sys::program(of.program) else { return Ok(None) };
    let followed = features::followed(fd.as_fd(), of.btf_id);
    let words = if followed.blind { BLIND } else { function.params.len() as u32 };
    Ok(Some(BpfFunction { program: of.program, function, words, tracked: of_kernel && followed.first }))
}

/// Words that the verifier takes where it does not go by types (MAX_BPF_FUNC_REG_ARGS).
const BLIND: u32 = 5;

/// A function as C writes it.
pub fn prototype(types: &btf::Facts, of: &BpfName) -> Option<Prototype> {
    types.program_prototype(info(of.program).ok()??.btf, of.btf_id)
}

/// Whether there is a program of this number or, without one, name; names of programs without BTF are cut.
pub fn exists(program: Option<u32>, name: &str) -> bool {
    match program {
        Some(n) => info(n).is_ok_and(|i| i.is_some()),
        None => numbers(None).is_ok_and(|all| {
            let named = |i: ProgramInfo| i.name.len() == name.len().min(15) && name.starts_with(&i.name);
            all.into_iter().any(|n| info(n).ok().flatten().is_some_and(named))
        }),
    }
}

/// The function of a program spelt nearest to a name.
pub fn nearest(types: &btf::Facts, name: &str) -> Option<String> {
    let mut best = Nearest::new(name);
    functions(types, None, &Glob::new("*")).ok()?.iter().for_each(|f| best.offer(f.name.as_bytes()));
    best.take()
}

/// Whether a program still has a function by this type and name: numbers are given again in time.
pub fn has_function(program: u32, btf_id: u32, name: &str) -> bool {
    let types = btf::Facts::default();
    info(program).ok().flatten().is_some_and(|i| {
        i.functions.contains(&btf_id)
            && types.program_types(i.btf).is_ok_and(|t| t.function(btf_id).as_deref() == Some(name))
    })
}
