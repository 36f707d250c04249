//! Opens and reads the files that traced programs hand over: programs, libraries, debug information, maps of names.
//! The traced user may have put anything there, and may change it while it is read. So:
//!
//! - only regular files are opened, without blocking: a FIFO would keep us waiting for good;
//! - they are read and not mapped: of a mapped file that is cut, the next access ends us with SIGBUS, and what was
//!   checked may be something else when it is used. A handler of that signal would mend the first alone, and a whole copy
//!   (in memory that nobody else can write to) would cost the size of the file each time;
//! - a file is read in blocks, as its reader asks for them, once each: of a program of 100 MB with debug information, its
//!   symbols take 10 MB. Ordinary files cost what a mapping costs, which is read in blocks, too;
//! - the holes of a sparse file are not read, and of no file more than a limit, the setting of the environment
//!   `RTRACE_MAX_FILE_BYTES`.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;

use memmap2::{MmapOptions, MmapRaw};
use object::{CompressionFormat, Object, ObjectSection, ReadRef};

use rtrace_sys::stamp::{Stamp, stamp_of};

/// Bytes that are read at a time.
const BLOCK: u64 = 64 << 10;
/// Bytes of a file with its holes: address space, which costs little.
const LONGEST: u64 = 64 << 30;
/// Bytes of a file that is kept for the next who reads it.
const KEPT: u64 = 32 << 20;
/// The maximum length of a name.
const NAME: u64 = 64 << 10;
/// The maximum ratio of a section's unpacked to its packed size: zlib reaches 1032 for zeros, sections of programs ten.
const UNPACKED: u64 = 1100;
/// Bytes that are read of a file, with those of its compressed sections once they are unpacked.
static LARGEST: LazyLock<u64> = LazyLock::new(|| {
    let set = std::env::var("RTRACE_MAX_FILE_BYTES").ok().and_then(|text| text.trim().parse().ok());
    set.unwrap_or(2 << 30)
});

/// An ELF file of which parts are read.
pub type Elf<'d> = object::File<'d, &'d Source>;

/// A file, and what was read of it so far.
pub struct Source {
    file: File,
    length: u64,
    /// Room for all of it; nothing for an empty file.
    memory: Option<MmapRaw>,
    /// A bit for each block that was read.
    known: RefCell<Vec<u64>>,
    /// Bytes that were read, and the most that may be.
    read: Cell<u64>,
    largest: u64,
}

/// Opens a regular file, without blocking.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening some devices does things: so look first, and again at what was opened.
    regular(&std::fs::metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    regular(&file.metadata()?)?;
    Ok(file)
}

fn regular(what: &Metadata) -> io::Result<()> {
    match what.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it is too large (RTRACE_MAX_FILE_BYTES)")
}

thread_local! {
    /// The file that was read last, which is often asked for again.
    static LAST: RefCell<Option<(Stamp, Rc<Source>)>> = const { RefCell::new(None) };
}

/// A file to read. That of the last call is the same until it changes.
pub fn source(path: &Path) -> io::Result<Rc<Source>> {
    let file = open(path)?;
    let now = stamp_of(&file.metadata()?);
    let last =
        LAST.with_borrow(|last| last.as_ref().filter(|(then, _)| *then == now).map(|(_, source)| source.clone()));
    if let Some(source) = last {
        return Ok(source);
    }
    let source = Rc::new(Source::new(file, *LARGEST)?);
    LAST.set(Some((now, source.clone())));
    Ok(source)
}

/// Frees what was read last, if it is much.
pub fn forget() {
    if LAST.with_borrow(|last| last.as_ref().is_some_and(|(_, source)| source.read.get() > KEPT)) {
        close();
    }
}

/// Closes the file that was read last. To be done before a child is made that closes what it inherits: it would read
/// from, and in the end close, what has the same number by then.
pub fn close() {
    LAST.take();
}

/// The bytes of a section, unpacked; `None` if there is no such section, or it would unpack to too much: gigabytes fit
/// into a few kilobytes, and a damaged size says anything.
pub fn section<'d>(elf: &Elf<'d>, name: &str) -> Option<Cow<'d, [u8]>> {
    let data = elf.section_by_name(name)?.compressed_data().ok()?;
    if data.format != CompressionFormat::None {
        let source = match elf {
            object::File::Elf32(file) => file.data(),
            object::File::Elf64(file) => file.data(),
            _ => return None,
        };
        source.charge(data.uncompressed_size).ok()?;
        if data.uncompressed_size > UNPACKED * data.data.len() as u64 {
            return None;
        }
    }
    data.decompress().ok()
}

/// Calls `each` with the bytes of a file, part by part.
pub fn stream(path: &Path, each: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let file = open(path)?;
    let mut part = vec![0; BLOCK as usize];
    let mut at = 0;
    loop {
        let count = file.read_at(&mut part, at)?;
        if count == 0 {
            return Ok(());
        }
        at += count as u64;
        if at > *LARGEST {
            return Err(too_large());
        }
        each(part.get(..count).unwrap_or_default());
    }
}

/// The data of a file without its holes, each with a new line in its place, and not more than so many bytes; whether
/// that is all.
pub fn data(path: &Path, most: usize) -> io::Result<(Vec<u8>, bool)> {
    let file = open(path)?;
    let length = file.metadata()?.len();
    let mut data = Vec::new();
    let mut at = 0;
    while let Some(start) = seek(&file, at, libc::SEEK_DATA).filter(|start| *start < length) {
        at = seek(&file, start, libc::SEEK_HOLE).unwrap_or(length).clamp(start, length);
        let begin = data.len();
        let size = usize::try_from(at - start).unwrap_or(usize::MAX).min(most - begin);
        data.resize(begin + size, 0);
        let place = data.get_mut(begin..).unwrap_or_default();
        match file.read_exact_at(place, start) {
            Ok(()) => {}
            // It was cut meanwhile.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok((data, true)),
            Err(e) => return Err(e),
        }
        if data.len() >= most {
            return Ok((data, start + size as u64 >= length));
        }
        data.push(b'\n');
    }
    Ok((data, true))
}

/// The next place with data, or without; the place itself where the file system knows no holes, `None` at the end.
fn seek(file: &File, at: u64, what: libc::c_int) -> Option<u64> {
    let offset = libc::off_t::try_from(at).ok()?;
    // SAFETY: the descriptor is open, and nothing but its own position changes, which nobody uses.
    let found = unsafe { libc::lseek(file.as_raw_fd(), offset, what) };
    match u64::try_from(found) {
        Ok(found) => Some(found),
        Err(_) if what == libc::SEEK_HOLE || io::Error::last_os_error().raw_os_error() == Some(libc::ENXIO) => None,
        Err(_) => Some(at),
    }
}

impl Source {
    fn new(file: File, largest: u64) -> io::Result<Source> {
        let length = file.metadata()?.len();
        if length > LONGEST {
            return Err(too_large());
        }
        let memory = match usize::try_from(length) {
            Ok(0) => None,
            Ok(length) => Some(MmapOptions::new().len(length).no_reserve_swap().map_anon()?.into()),
            Err(_) => return Err(too_large()),
        };
        let known = RefCell::new(vec![0; length.div_ceil(BLOCK).div_ceil(64) as usize]);
        Ok(Source { file, length, memory, known, read: Cell::new(0), largest })
    }

    /// Reads the blocks of a range that were not read yet.
    fn fill(&self, range: Range<u64>) -> Result<(), ()> {
        let mut known = self.known.borrow_mut();
        let mut block = range.start / BLOCK;
        let end = range.end.div_ceil(BLOCK);
        let is_known =
            |known: &[u64], block: u64| known.get(block as usize / 64).is_none_or(|w| w >> (block % 64) & 1 == 1);
        while block < end {
            if is_known(&known, block) {
                block += 1;
                continue;
            }
            let first = block;
            while block < end && !is_known(&known, block) {
                block += 1;
            }
            self.read(first * BLOCK..(block * BLOCK).min(self.length))?;
            // From here on these blocks are handed out, and never written again.
            for read in first..block {
                if let Some(word) = known.get_mut(read as usize / 64) {
                    *word |= 1 << (read % 64);
                }
            }
        }
        Ok(())
    }

    /// Counts bytes of memory that the file takes.
    fn charge(&self, bytes: u64) -> Result<(), ()> {
        let read = self.read.get().checked_add(bytes).filter(|read| *read <= self.largest).ok_or(())?;
        self.read.set(read);
        Ok(())
    }

    /// Reads a range, its holes apart: the memory has zeros there as it is.
    fn read(&self, range: Range<u64>) -> Result<(), ()> {
        let memory = self.memory.as_ref().ok_or(())?;
        let mut at = range.start;
        while let Some(start) = seek(&self.file, at, libc::SEEK_DATA).filter(|start| *start < range.end) {
            let end = seek(&self.file, start, libc::SEEK_HOLE).unwrap_or(range.end).clamp(start, range.end);
            self.charge(end - start)?;
            at = start;
            while at < end {
                // SAFETY: within the memory, as `end` is within the file, whose length that is. No block that was not
                // read yet was handed out, so that nobody else refers to this.
                let place = unsafe {
                    std::slice::from_raw_parts_mut(memory.as_mut_ptr().add(at as usize), (end - at) as usize)
                };
                match self.file.read_at(place, at) {
                    // It was cut meanwhile.
                    Ok(0) => return Err(()),
                    Ok(count) => at += count as u64,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Err(()),
                }
            }
            if at >= range.end {
                break;
            }
        }
        Ok(())
    }
}

impl<'d> ReadRef<'d> for &'d Source {
    fn len(self) -> Result<u64, ()> {
        Ok(self.length)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'d [u8], ()> {
        let end = offset.checked_add(size).filter(|end| *end <= self.length).ok_or(())?;
        let Some(memory) = self.memory.as_ref().filter(|_| size > 0) else { return Ok(&[]) };
        if size > self.largest {
            return Err(());
        }
        self.fill(offset..end)?;
        // SAFETY: within the memory, and all of it was read: it is not written any more, and lives as long as `self`.
        Ok(unsafe { std::slice::from_raw_parts(memory.as_ptr().add(offset as usize), size as usize) })
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'d [u8], ()> {
        let most = range.end.min(range.start.saturating_add(NAME));
        let mut at = range.start;
        while at < most {
            let end = ((at / BLOCK + 1) * BLOCK).min(most);
            if let Some(place) = memchr::memchr(delimiter, self.read_bytes_at(at, end - at)?) {
                return self.read_bytes_at(range.start, at - range.start + place as u64);
            }
            at = end;
        }
        Err(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrace_test_support::Folder;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    /// A path that is removed in the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            Scratch(std::env::temp_dir().join(format!("rtrace-foreign-{name}-{}", std::process::id())))
        }

        fn source(&self, largest: u64) -> Source {
            Source::new(open(&self.0).unwrap(), largest).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn only_regular_files() {
        let fifo = Scratch::new("fifo");
        let path = CString::new(fifo.0.as_os_str().as_bytes()).unwrap();
        // SAFETY: the path is a string that ends with zero.
        assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
        assert_eq!(open(&fifo.0).unwrap_err().to_string(), "it is not a regular file");
        assert!(source(&fifo.0).is_err() && open(Path::new("/dev/null")).is_err() && open(Path::new("/")).is_err());
        let link = Scratch::new("loop");
        std::os::unix::fs::symlink(&link.0, &link.0).unwrap();
        assert!(open(&link.0).is_err() && stream(&fifo.0, &mut |_| {}).is_err());
        // Through a descriptor, as unwind tables are read.
        let held = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(open(Path::new(&format!("/proc/self/fd/{}", held.as_raw_fd()))).is_ok());
    }

    #[test]
    fn what_is_asked_for_is_read_once() {
        let scratch = Scratch::new("parts");
        let bytes: Vec<u8> = (0..5 * BLOCK + 7).map(|n| (n / 3) as u8 | 1).collect();
        std::fs::write(&scratch.0, &bytes).unwrap();
        let source = scratch.source(u64::MAX);
        let part = |start: u64, size: u64| (&source).read_bytes_at(start, size);
        assert_eq!(part(BLOCK - 2, 5), Ok(&bytes[BLOCK as usize - 2..][..5]));
        assert_eq!(source.read.get(), 2 * BLOCK);
        assert_eq!(part(0, bytes.len() as u64), Ok(&bytes[..]));
        assert_eq!(source.read.get(), bytes.len() as u64);
        assert!(part(0, bytes.len() as u64 + 1).is_err() && part(u64::MAX, 2).is_err());
        assert_eq!(part(bytes.len() as u64, 0), Ok(&[][..]));
        // Names end with a byte, and are not without end.
        let until = |range: Range<u64>, end: u8| (&source).read_bytes_at_until(range, end);
        let name = until(BLOCK - 9..bytes.len() as u64, bytes[BLOCK as usize + 9]);
        assert!(name.is_ok_and(|name| bytes[BLOCK as usize - 9..].starts_with(name) && name.len() > 9));
        assert!(until(0..bytes.len() as u64, 0).is_err() && until(Range { start: 5, end: 3 }, 1).is_err());
    }

    #[test]
    fn holes_take_no_time_and_no_memory() {
        let scratch = Scratch::new("sparse");
        let file = File::create(&scratch.0).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"end", 3 << 30).unwrap();
        let source = scratch.source(4 << 30);
        let all = (&source).read_bytes_at(0, (3 << 30) + 3).unwrap();
        assert_eq!((&all[..6], &all[1 << 30..][..4], &all[3 << 30..]), (&b"begin\0"[..], &[0; 4][..], &b"end"[..]));
        assert!(source.read.get() <= 4 * BLOCK, "{}", source.read.get());
        file.set_len(LONGEST + 1).unwrap();
        assert!(Source::new(open(&scratch.0).unwrap(), u64::MAX).is_err());
    }

    #[test]
    fn no_more_than_a_limit() {
        let scratch = Scratch::new("large");
        std::fs::write(&scratch.0, vec![1; 1 << 20]).unwrap();
        let source = scratch.source(1 << 19);
        assert!((&source).read_bytes_at(0, 1 << 20).is_err());
        assert!((&source).read_bytes_at(0, 1 << 18).is_ok() && (&source).read_bytes_at(1 << 18, 1 << 18).is_ok());
        assert!((&source).read_bytes_at(1 << 19, 1).is_err());
    }

    #[test]
    fn sections_that_would_unpack_to_too_much() {
        // A file with a section `.debug_info` that says how long it is once it is unpacked.
        let scratch = Scratch::new("packed");
        let variables: String = (0..200).map(|n| format!("int v{n};\n")).collect();
        let folder = Folder::new("packed", &[("p.c", &(variables + "int main(void) { return 0; }"))]);
        folder.run("cc", &["-g", "-gz=zlib", "p.c", "-o", "p"]);
        let mut bytes = std::fs::read(folder.file("p")).unwrap();
        let unpacked = |bytes: &[u8], largest: u64| {
            std::fs::write(&scratch.0, bytes).unwrap();
            let source = scratch.source(largest);
            section(&object::File::parse(&source).unwrap(), ".debug_info").map(|data| data.len())
        };
        let size = unpacked(&bytes, u64::MAX).unwrap();
        assert!(size > 10);
        assert_eq!(
            unpacked(&bytes, (bytes.len() + size) as u64 - 1),
            None,
            "with what was read of the file it is more"
        );
        let start = {
            let source = scratch.source(u64::MAX);
            let elf = object::File::parse(&source).unwrap();
            elf.section_by_name(".debug_info").unwrap().file_range().unwrap().0 as usize
        };
        // The member ch_size of Elf64_Chdr.
        bytes[start + 8..start + 16].copy_from_slice(&(1u64 << 31).to_le_bytes());
        assert_eq!(unpacked(&bytes, u64::MAX), None);
    }

    #[test]
    fn a_file_that_is_cut_stays_as_it_was_read() {
        let scratch = Scratch::new("cut");
        std::fs::write(&scratch.0, vec![7; 1 << 20]).unwrap();
        let before = source(&scratch.0).unwrap();
        let read = (&*before).read_bytes_at(0, BLOCK).unwrap();
        File::options().write(true).open(&scratch.0).unwrap().set_len(100).unwrap();
        assert!(read.iter().all(|b| *b == 7));
        // What was not read yet is as empty as a hole, or gone.
        assert!((&*before).read_bytes_at(BLOCK, 1).is_ok_and(|rest| rest == [0]));
        assert_eq!(source(&scratch.0).unwrap().length, 100);
    }
}
