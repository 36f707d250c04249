//! The code mappings of `/proc/PID/maps` (proc_pid_maps(5)). Paths are bytes, which need not be UTF-8.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Memory that a process may execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'t> {
    pub start: u64,
    pub end: u64,
    /// Offset in the file of the start.
    pub offset: u64,
    /// Major and minor number; zeros for memory without a file, as the inode.
    pub device: (u32, u32),
    pub inode: u64,
    /// As the process sees it, or a name such as `[vdso]`, or nothing.
    pub path: &'t Path,
}

/// The mappings of a text that may be executed.
pub fn code(maps: &[u8]) -> impl Iterator<Item = Code<'_>> {
    maps.split(|b| *b == b'\n').filter_map(line)
}

fn line(text: &[u8]) -> Option<Code<'_>> {
    let mut parts = text.splitn(6, |b| *b == b' ');
    let mut part = || std::str::from_utf8(parts.next()?).ok();
    let (range, rights, offset, device, inode) = (part()?, part()?, part()?, part()?, part()?);
    let path = Path::new(OsStr::from_bytes(parts.next().unwrap_or_default().trim_ascii_start()));
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    rights.contains('x').then_some(Code {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        device: (hex(major)? as u32, hex(minor)? as u32),
        inode: inode.parse().ok()?,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        let text = b"55e0a7b0d000-55e0a7b0e000 r-xp 00001000 fe:01 7                          /bin/x\n\
            7ffd3b9f2000-7ffd3ba13000 rw-p 00000000 00:00 0  [stack]\n\
            7ffd3bb8e000-7ffd3bb90000 r-xp 00000000 00:00 0                          [vdso]\n\
            7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n\
            nonsense\n\
            7f0000000000-7f0000001000 r-xp 00000000 08:01 9    /tmp/caf\xe9 1\n";
        let all: Vec<Code<'_>> = code(text).collect();
        let (start, end) = (0x55e0_a7b0_d000, 0x55e0_a7b0_e000);
        let path = Path::new("/bin/x");
        assert_eq!(all[0], Code { start, end, offset: 0x1000, device: (0xfe, 1), inode: 7, path });
        let paths: Vec<&[u8]> = all.iter().map(|c| c.path.as_os_str().as_bytes()).collect();
        assert_eq!(paths, [&b"/bin/x"[..], b"[vdso]", b"", b"/tmp/caf\xe9 1"]);
    }
}
