//! Indirect functions (IFUNC): libc's `memcmp` and its like name code that chooses a function for the processor when a
//! program starts, and never runs after. Which one it chooses tells our own process, where it has mapped the same file:
//! all processes of a machine get the same, unless GLIBC_TUNABLES hides features of the processor from one.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rtrace_core::kernel::UserSymbol;

use crate::user::file_address;
use rtrace_sys::mappings::{self, Code};

/// The function that a symbol chooses, under the symbol's name; the symbol itself where that is not known.
pub fn chosen(path: &str, elf: &crate::foreign::Elf<'_>, symbol: UserSymbol) -> UserSymbol {
    match place(path, &symbol.name).and_then(|offset| Some((offset, file_address(elf, offset)?))) {
        Some((file_offset, address)) => UserSymbol { address, file_offset, size: 0, chooses: false, ..symbol },
        None => symbol,
    }
}

/// The file offset of the selected function.
fn place(path: &str, name: &str) -> Option<u64> {
    let maps = std::fs::read("/proc/self/maps").ok()?;
    let file = std::fs::metadata(path).ok()?;
    let is_file = |code: &Code<'_>| {
        code.inode == file.ino() && code.inode != 0 && (libc::major(file.dev()), libc::minor(file.dev())) == code.device
    };
    let mapped = mappings::code(&maps).find(is_file)?;
    let found = look_up(mapped.path, &CString::new(name).ok()?)?;
    let code = mappings::code(&maps).find(|c| is_file(c) && (c.start..c.end).contains(&found))?;
    Some(found - code.start + code.offset)
}

/// The address of a function of a library that we have loaded, as the dynamic linker finds it.
fn look_up(library: &Path, name: &CStr) -> Option<u64> {
    let library = CString::new(library.as_os_str().as_bytes()).ok()?;
    // SAFETY: the names are NUL-terminated and live through the calls. RTLD_NOLOAD loads nothing, so that no code of the
    // library runs but the choosing of a function, which the dynamic linker runs for every program; the library stays
    // loaded when the handle is given back.
    let found = unsafe {
        let handle = libc::dlopen(library.as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
        if handle.is_null() {
            return None;
        }
        let found = libc::dlsym(handle, name.as_ptr());
        libc::dlclose(handle);
        found
    };
    (!found.is_null()).then_some(found as u64)
}

#[cfg(test)]
mod tests {
    use crate::user;

    #[test]
    fn functions_of_our_own_libc_are_those_that_run() {
        let Some(libc) = user::library("libc") else { return };
        let path = libc.display().to_string();
        let found = user::symbols(&path, "memcmp").expect("readable");
        let Some(symbol) = found.first() else { return };
        let here: unsafe extern "C" fn(*const libc::c_void, *const libc::c_void, usize) -> i32 = libc::memcmp;
        let here = here as usize as u64;
        assert!(!symbol.chooses, "{symbol:?}");
        // Pages are where they are in the file.
        assert_eq!(symbol.address & 0xfff, here & 0xfff, "{symbol:?} {here:#x}");
    }
}
