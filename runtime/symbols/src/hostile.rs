//! Programs that were damaged, in ways that a fixed seed chooses, and that all readers of programs get: symbols, debug
//! information, static probes, unwind tables, names of functions made at run time. None may panic, hang, or take memory
//! without end; what it finds does not matter. So each failure is the same again the next time.

use crate::foreign;
use crate::perf_maps::Names;
use crate::programs::ProgramFacts;
use crate::reader::{NoAnswer, Question, Reader};
use crate::{unwind_table, user};
use object::{Object, ObjectSection};
use rtrace_core::bundle::{Config, unwind};
use rtrace_core::kernel::{Programs, TypeKind};
use rtrace_core::types::Type;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MUTANTS: u64 = 360;
/// The time limit for one program, on a machine with other load.
const TIME: Duration = Duration::from_secs(15);
/// Memory of this process at its largest, with other tests at the same time.
const MEMORY: u64 = 2 << 30;

#[derive(Default)]
struct Reads {
    reader: Reader,
    number: u64,
    /// Symbols so far.
    found: u64,
}

impl Reads {
    /// Asks for the symbols of a file as long as there are answers, with debug information and then without.
    fn symbols(&mut self, path: &Path, offsets: &[u64]) {
        self.number += 1;
        let config = Config { show_debug_info: true, symbol_timeout: 3, ..Config::default() };
        for debug in [true, false] {
            let mut spent = Duration::ZERO;
            let ask = |offset: &u64| {
                let question = Question::File { number: self.number, offset: *offset, debug, path };
                match self.reader.ask(&config, question, &mut spent) {
                    Ok(symbol) => self.found += u64::from(symbol.is_some()),
                    Err(NoAnswer::Failed(_)) => return false,
                    Err(NoAnswer::NoChild(e)) => panic!("no reader: {e}"),
                }
                true
            };
            if offsets.iter().all(ask) {
                break;
            }
        }
        self.reader.close(self.number);
    }
}

/// How many addresses have a name.
fn perf_names(text: Vec<u8>, addresses: impl Iterator<Item = u64>) -> u64 {
    let names = Names::parse(text);
    addresses.filter(|address| names.find(*address).is_some()).count() as u64
}

const SOURCE: &str = r#"
#include "sdt.h"
#include <stdio.h>
SEMAPHORE(demo, guarded);
struct pair { int left, right : 5; struct pair *next; union { long a; double b; }; char name[7]; };
enum colour { RED, BLUE = -4 };
static inline __attribute__((always_inline)) int small(int n) { return n * 3; }
__attribute__((noinline)) long apart(struct pair p, const struct pair *q, enum colour c, unsigned char n, double f) {
    PROBE(demo, apart, "0", "-4@%[n] 8@$5", : : [n] "nor"((int)n));
    return p.left + q->right + c + small(n) + (long)f;
}
static int (*volatile choice)(const char *, ...) = printf;
int main(int argc, char **argv) {
    struct pair p = {argc, 2, 0, {3}, "pair"};
    PROBE(demo, guarded, "demo_guarded_semaphore", "-4@%[i] 8@(%%rsp)", : : [i] "nor"(argc));
    return choice("%ld %d\n", apart(p, &p, BLUE, argc, 1.5), small(argc)) < 0;
}
"#;

/// Random choices, the same in each run.
struct Dice(fastrand::Rng);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end.max(1))
    }

    /// Damages some bytes of a range.
    fn damage(&mut self, bytes: &mut [u8]) {
        const NUMBERS: [u64; 8] = [0, 1, 0x7f, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 62, u64::MAX];
        let at = self.below(bytes.len());
        let number = match self.below(2) {
            0 => NUMBERS[self.below(NUMBERS.len())],
            _ => self.0.u64(..),
        };
        let size = [1, 1, 2, 4, 8, 8, 64, 512][self.below(8)];
        let from = self.below(bytes.len());
        let fill = self.below(3);
        for n in 0..size.min(bytes.len() - at) {
            bytes[at + n] = match fill {
                0 => bytes[(from + n) % bytes.len()],
                _ => (number >> (n % 8 * 8)) as u8,
            };
        }
    }
}

/// A program, and the ranges in which damage means something.
type Original = (Vec<u8>, Vec<(usize, usize)>);

/// Programs to damage.
struct Originals(PathBuf, Vec<Original>);

impl Originals {
    fn compile() -> Originals {
        let folder = std::env::temp_dir().join(format!("rtrace-hostile-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("p.c"), SOURCE).unwrap();
        let headers = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guest/programs");
        let mut all = Originals(folder, Vec::new());
        for arguments in [&["-gdwarf-4", "-O1"][..], &["-gdwarf-5", "-O2", "-gz"], &["-gdwarf-5", "-O0", "-no-pie"]] {
            let mut compiler = Command::new("cc");
            let status = compiler.args(arguments).args(["-I", headers, "p.c", "-o", "p"]).current_dir(&all.0).status();
            assert!(status.expect("cc, with which programs of Rust are linked, too").success());
            let program = all.0.join("p");
            let ranges = user::with_elf(&program.to_string_lossy(), ranges).unwrap();
            all.1.push((std::fs::read(program).unwrap(), ranges));
        }
        all
    }

    fn mutant(&self, dice: &mut Dice) -> PathBuf {
        let (bytes, ranges) = &self.1[dice.below(self.1.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=dice.below(8) {
            let (start, end) = ranges[dice.below(ranges.len())];
            dice.damage(&mut bytes[start..end]);
        }
        if dice.below(8) == 0 {
            let (start, end) = ranges[dice.below(ranges.len())];
            bytes.truncate(start + dice.below(end - start));
        }
        let path = self.0.join("mutant");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Originals {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The headers, and the sections that somebody reads.
fn ranges(elf: &foreign::Elf<'_>) -> Vec<(usize, usize)> {
    const READ: [&str; 8] =
        [".symtab", ".strtab", ".dynsym", ".dynstr", ".eh_frame", ".note.stapsdt", ".shstrtab", ".note.gnu.build-id"];
    let wanted = |name: &str| READ.contains(&name) || name.starts_with(".debug_");
    let sections = elf.sections().filter(|s| s.name().is_ok_and(wanted));
    let found = sections.filter_map(|s| s.file_range()).map(|(start, size)| (start as usize, (start + size) as usize));
    let mut found: Vec<(usize, usize)> = found.filter(|(start, end)| start < end).collect();
    let object::File::Elf64(file) = elf else { panic!("no program for 64 bits") };
    let headers = file.elf_header().e_shoff.get(object::Endianness::Little) as usize;
    let count = file.elf_header().e_shnum.get(object::Endianness::Little) as usize;
    found.extend([(0, 0x40), (0x40, 0x200), (headers, headers + 64 * count), (headers, headers + 64 * count)]);
    found
}

/// Rows in the unwind table of a program.
fn unwind_rows(path: &str) -> usize {
    user::with_elf(path, unwind_table::rows).map_or(0, |rows| unwind_table::bytes(&rows).len() / unwind::ROW as usize)
}

/// Lets everybody read a program.
fn read(path: &Path, reads: &mut Reads) {
    let text = path.display().to_string();
    let programs = ProgramFacts::default();
    let symbols = programs.user_symbols(&text, "*").unwrap_or_default();
    let _ = programs.user_symbols(&text, "app::*");
    let _ = (
        programs.is_stripped(&text),
        programs.nearest_user_symbol(&text, "mein"),
        programs.user_object(&text, "choice"),
    );
    for symbol in symbols.iter().filter(|s| ["main", "apart"].contains(&s.name.as_str())) {
        let _ = programs.user_symbol_at(&text, symbol.address + 1);
        let _ = programs.instructions(&text, symbol, symbol.address + 3);
        if let Ok(Some(function)) = programs.user_function(&text, symbol.file_offset, &symbol.name) {
            let types = function.params.iter().map(|p| p.ty.to_string()).collect::<Vec<_>>();
            std::hint::black_box(types);
        }
    }
    let _ = programs.user_type(&text, TypeKind::Struct, "pair");
    if let Some(Type::Enum { name, .. }) = programs.user_type(&text, TypeKind::Enum, "colour") {
        let _ = (programs.enum_values(&name), programs.user_enumerator(&text, "BLUE"));
    }
    let _ = (programs.inlined(&text, "small"), programs.source_line(&text, "p.c", 9, None));
    for probe in programs.usdt_probes(&text).unwrap_or_default() {
        let _ = programs.user_address(&text, probe.file_offset);
    }
    unwind_rows(&text);
    let places = symbols.iter().map(|s| s.file_offset).take(8).chain([0x1139, 0x1160, 0x2000]);
    reads.symbols(path, &places.collect::<Vec<u64>>());
}

/// The most memory that this process had.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn damaged_programs_are_read_to_the_end() {
    let originals = Originals::compile();
    let mut dice = Dice(fastrand::Rng::with_seed(0x0123_4567_89ab_cdef));
    let mut reads = Reads::default();
    for (bytes, _) in &originals.1 {
        // As they are, they say all that is asked.
        let path = originals.0.join("whole");
        std::fs::write(&path, bytes).unwrap();
        read(&path, &mut reads);
        let programs = ProgramFacts::default();
        let text = path.display().to_string();
        let apart = programs.user_symbols(&text, "apart").unwrap().pop().unwrap();
        let function = programs.user_function(&text, apart.file_offset, "apart").unwrap().unwrap();
        assert_eq!(function.params.len(), 5);
        let Type::Enum { name, bits: 32, signed: true } = &function.params[2].ty else {
            panic!("{:?}", function.params)
        };
        assert_eq!(programs.enum_values(name).unwrap(), [("RED".to_owned(), 0), ("BLUE".to_owned(), -4)]);
        assert_eq!(programs.user_enumerator(&text, "BLUE").map(|(value, _)| value), Some(-4));
        assert!(programs.usdt_probes(&text).unwrap().len() >= 2 && unwind_rows(&text) > 10);
        assert!(!programs.inlined(&text, "small").unwrap().is_empty());
    }
    for number in 0..MUTANTS {
        let began = Instant::now();
        read(&originals.mutant(&mut dice), &mut reads);
        assert!(began.elapsed() < TIME, "mutant {number} took {:?}", began.elapsed());
        assert!(memory() < MEMORY, "mutant {number} takes {} MB", memory() >> 20);
    }
    assert!(reads.found > MUTANTS / 4, "most mutants have some symbols: {}", reads.found);
}

#[test]
fn damaged_maps_of_names_are_read_to_the_end() {
    let mut dice = Dice(fastrand::Rng::with_seed(0xfedc_ba98_7654_3210));
    let whole: String = (0..2000).map(|n| format!("{:x} {:x} function {n}\n", 0x1000 + n * 16, n % 40)).collect();
    let mut found = 0;
    for number in 0..MUTANTS {
        let mut text = whole.clone().into_bytes();
        for _ in 0..=dice.below(200) {
            dice.damage(&mut text);
        }
        let began = Instant::now();
        found += perf_names(text, (0..1000).map(|n| 0x1000 + n * 33));
        assert!(began.elapsed() < TIME, "map {number} took {:?}", began.elapsed());
    }
    assert!(found > MUTANTS * 100, "{found}");
}
