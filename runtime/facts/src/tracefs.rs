//! tracefs: tracepoints and their record formats.
//!
//! Owns finding the mount, listing tracepoints and parsing `format` files (as written by
//! kernel/trace/trace_events.c, `f_show`). One tracepoint costs one file; only wildcards over categories
//! read the list of all events.

use rtrace_core::nearest::Nearest;
use std::cell::OnceCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rtrace_core::kernel::{KernelError, Tracepoint, TracepointField, TypeKind};
use rtrace_core::types::{Space, Type};

use crate::btf;
use rtrace_core::glob::Glob;

/// The possible mount points of tracefs.
pub const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

#[derive(Default)]
pub struct Tracefs {
    root: OnceCell<Result<PathBuf, KernelError>>,
}

fn find_mount() -> Result<PathBuf, KernelError> {
    for mount in MOUNTS {
        match std::fs::metadata(Path::new(mount).join("events")) {
            Ok(_) => return Ok(PathBuf::from(mount)),
            Err(e) if e.kind() == ErrorKind::PermissionDenied => {
                return Err(KernelError::new(
                    format!("no permission to read {mount}"),
                    "run as root, or with CAP_DAC_READ_SEARCH",
                ));
            }
            Err(_) => {}
        }
    }
    Err(KernelError::new(
        "tracefs is not mounted",
        "mount it: mount -t tracefs tracefs /sys/kernel/tracing (the kernel needs CONFIG_FTRACE=y)",
    ))
}

fn cannot_read(path: &Path, e: &std::io::Error) -> KernelError {
    let help = (e.kind() == ErrorKind::PermissionDenied).then(|| "run as root, or with CAP_DAC_READ_SEARCH".to_owned());
    KernelError { message: format!("cannot read {}: {e}", path.display()), help }
}

/// A category or event name that can be a folder of `events/`.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

impl Tracefs {
    /// The mount point of tracefs.
    pub fn root(&self) -> Result<&Path, KernelError> {
        self.root.get_or_init(find_mount).as_deref().map_err(Clone::clone)
    }

    /// The text of a tracepoint's `format` file; `None` when there is no such tracepoint.
    pub fn format(&self, category: &str, name: &str) -> Result<Option<String>, KernelError> {
        if !is_plain(category) || !is_plain(name) {
            return Ok(None);
        }
        let path = self.root()?.join("events").join(category).join(name).join("format");
        match std::fs::read(&path) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(e) if crate::is_gone(&e) => Ok(None),
            Err(e) => Err(cannot_read(&path, &e)),
        }
    }

    /// The tracepoints that match, sorted. An exact category reads one folder, a pattern the list of all events.
    pub fn list(&self, category: &str, name: &str) -> Result<Vec<(String, String)>, KernelError> {
        let root = self.root()?;
        let (categories, names) = (Glob::new(category), Glob::new(name));
        let mut found = Vec::new();
        match (categories.exact(), names.exact()) {
            (Some(_), Some(_)) => {
                if self.format(category, name)?.is_some() {
                    found.push((category.to_owned(), name.to_owned()));
                }
            }
            (Some(_), None) if is_plain(category) => {
                let folder = root.join("events").join(category);
                for event in subfolders(&folder)? {
                    if names.matches(event.as_bytes()) {
                        found.push((category.to_owned(), event));
                    }
                }
            }
            (Some(_), None) => {}
            (None, _) => {
                let path = root.join("available_events");
                let text = std::fs::read(&path).map_err(|e| cannot_read(&path, &e))?;
                for line in String::from_utf8_lossy(&text).lines() {
                    if let Some((c, n)) = line.split_once(':')
                        && names.matches(n.as_bytes())
                        && categories.matches(c.as_bytes())
                    {
                        found.push((c.to_owned(), n.to_owned()));
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Category and name of the tracepoint spelt nearest.
    pub fn nearest(&self, category: &str, name: &str) -> Option<(String, String)> {
        let all = self.list("*", "*").ok()?;
        // The right name in another category is the likeliest mistake.
        if let Some(found) = all.iter().find(|(_, n)| n == name) {
            return Some(found.clone());
        }
        let wanted = format!("{category}:{name}");
        let mut best = Nearest::new(&wanted);
        for (c, n) in &all {
            best.offer(format!("{c}:{n}").as_bytes());
        }
        let (c, n) = best.take()?.split_once(':').map(|(c, n)| (c.to_owned(), n.to_owned()))?;
        Some((c, n))
    }
}

fn subfolders(folder: &Path) -> Result<Vec<String>, KernelError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if crate::is_gone(&e) => return Ok(Vec::new()),
        Err(e) => return Err(cannot_read(folder, &e)),
    };
    Ok(entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect())
}

/// A line of a format file, `field:DECLARATION; offset:N; size:N; signed:N;`.
#[derive(Debug, PartialEq)]
pub struct Field<'a> {
    /// The declaration with the name, as in the file: `char prev_comm[16]`.
    pub text: &'a str,
    pub offset: u32,
    pub size: u32,
    pub signed: bool,
}

/// A declaration taken apart.
#[derive(Debug, PartialEq)]
struct Declaration<'a> {
    name: &'a str,
    /// The type without name and array length: `const char *`, `__data_loc char[]`.
    before: &'a str,
    /// `[16]`, `[TASK_COMM_LEN]`, or empty.
    array: &'a str,
}

impl<'a> Field<'a> {
    fn parse(line: &'a str) -> Option<Field<'a>> {
        let mut parts = line.trim().split(';');
        let text = parts.next()?.strip_prefix("field:")?.trim();
        let mut field = Field { text, offset: 0, size: 0, signed: false };
        for part in parts {
            match part.trim().split_once(':') {
                Some(("offset", n)) => field.offset = n.parse().ok()?,
                Some(("size", n)) => field.size = n.parse().ok()?,
                Some(("signed", n)) => field.signed = n != "0",
                _ => {}
            }
        }
        Some(field)
    }

    fn declaration(&self) -> Option<Declaration<'a>> {
        let bare = self.text.split_once('[').filter(|_| self.text.ends_with(']') && !self.text.contains("[]"));
        let (front, array) = match bare {
            Some((front, _)) => (front, self.text.strip_prefix(front).unwrap_or_default()),
            None => (self.text, ""),
        };
        let front = front.trim_end();
        let start = front.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |i| i + 1);
        let (before, name) = front.split_at_checked(start)?;
        (!name.is_empty()).then_some(Declaration { name, before: before.trim_end(), array })
    }
}

/// The fields after the common ones: those after the first empty line of the list.
pub fn fields(format: &str) -> impl Iterator<Item = Field<'_>> {
    let lines = format.lines().skip_while(|l| !l.starts_with("format:")).skip_while(|l| !l.trim().is_empty());
    lines.take_while(|l| !l.starts_with("print fmt")).filter_map(Field::parse)
}

/// Parses a format file. Types that only BTF knows (structs, rare typedefs) are looked up there, and
/// taken by size and sign where there is no BTF.
pub fn parse_format(category: &str, name: &str, format: &str, btf: &btf::Facts) -> Option<Tracepoint> {
    let id = format.lines().find_map(|l| l.strip_prefix("ID:"))?.trim().parse().ok()?;
    // Pointers among system call arguments come from the caller.
    let space = if category == "syscalls" { Space::User } else { Space::Kernel };
    let fields = fields(format).filter_map(|field| make_field(&field, space, btf));
    // Since Linux 7.2 records of system calls also hold copies of their strings (`__filename_val`); a BPF program gets
    // the arguments alone (`perf_call_bpf_enter` in kernel/trace/trace_syscalls.c).
    let fields = fields.filter(|field| category != "syscalls" || !field.data_loc).collect();
    Some(Tracepoint { category: category.to_owned(), name: name.to_owned(), id, fields })
}

fn make_field(field: &Field<'_>, space: Space, btf: &btf::Facts) -> Option<TracepointField> {
    let declaration = field.declaration()?;
    let data_loc = declaration.before.strip_prefix("__data_loc ");
    let ty = if let Some(element) = data_loc {
        let element = plain_type(element.trim_end_matches("[]").trim(), 0, false, space, btf);
        // The data is in the record itself.
        Type::Ptr { to: Box::new(element.unwrap_or(Type::U8)), space: Space::Kernel }
    } else if declaration.array.is_empty() {
        plain_type(declaration.before, field.size, field.signed, space, btf).unwrap_or(by_size(field))
    } else {
        let element = plain_type(declaration.before, 0, field.signed, space, btf).unwrap_or(Type::U8);
        // The length may be written as a macro's name: the sizes are what counts.
        let len = field.size.checked_div(element.size()).unwrap_or(0);
        if is_char(declaration.before) && len > 0 {
            Type::String { cap: len }
        } else {
            Type::Array { elem: Box::new(element), len }
        }
    };
    Some(TracepointField {
        name: declaration.name.to_owned(),
        declared: format!("{}{}", declaration.before, declaration.array),
        offset: field.offset,
        size: field.size,
        signed: field.signed,
        ty,
        data_loc: data_loc.is_some(),
    })
}

fn is_char(declared: &str) -> bool {
    declared.strip_prefix("const ").unwrap_or(declared).trim() == "char"
}

fn by_size(field: &Field<'_>) -> Type {
    match field.size {
        1 | 2 | 4 | 8 => Type::Int { bits: field.size as u8 * 8, signed: field.signed },
        size => Type::Array { elem: Box::new(Type::U8), len: size },
    }
}

/// A C type as a format file writes it. `size` 0: not known. `None`: nobody knows it.
fn plain_type(declared: &str, size: u32, signed: bool, space: Space, btf: &btf::Facts) -> Option<Type> {
    let declared = declared.trim();
    if let Some(target) = declared.strip_suffix("const").or_else(|| declared.strip_suffix("__user")) {
        return plain_type(target, size, signed, space, btf);
    }
    if let Some(target) = declared.strip_suffix('*') {
        let to = plain_type(target, 0, false, space, btf).unwrap_or(Type::Void);
        return Some(Type::Ptr { to: Box::new(to), space });
    }
    let mut words: Vec<&str> = declared.split_whitespace().collect();
    words.retain(|w| !matches!(*w, "const" | "volatile"));
    match words.as_slice() {
        ["struct", name] => btf.find_type(TypeKind::Struct, name).ok().flatten(),
        ["union", name] => btf.find_type(TypeKind::Union, name).ok().flatten(),
        ["enum", name] => {
            let bits = if size == 0 { 32 } else { u8::try_from(size * 8).unwrap_or(32) };
            Some(Type::Enum { name: (*name).to_owned(), bits, signed })
        }
        words => {
            let name = words.join(" ");
            if let Some(ty) = base_type(&name) {
                return Some(ty);
            }
            // A typedef whose size and sign the file gives needs no BTF: it is an integer, or small enough to
            // be taken for one.
            match size {
                1 | 2 | 4 | 8 => Some(Type::Int { bits: size as u8 * 8, signed }),
                _ => btf.find_plain(&name).ok().flatten(),
            }
        }
    }
}

/// C's base types and the kernel's everyday typedefs, so that common tracepoints need no BTF.
fn base_type(name: &str) -> Option<Type> {
    Some(match name {
        "void" => Type::Void,
        "bool" | "_Bool" => Type::Bool,
        "char" | "signed char" | "s8" | "__s8" | "int8_t" => Type::I8,
        "unsigned char" | "u8" | "__u8" | "uint8_t" => Type::U8,
        "short" | "short int" | "s16" | "__s16" | "int16_t" => Type::Int { bits: 16, signed: true },
        "unsigned short" | "short unsigned int" | "u16" | "__u16" | "uint16_t" | "umode_t" | "__be16" | "__le16"
        | "sa_family_t" => Type::U16,
        "int" | "s32" | "__s32" | "int32_t" | "pid_t" | "key_t" | "clockid_t" | "timer_t" | "mqd_t"
        | "key_serial_t" => Type::I32,
        "unsigned" | "unsigned int" | "u32" | "__u32" | "uint32_t" | "uid_t" | "gid_t" | "qid_t" | "dev_t"
        | "gfp_t" | "__be32" | "__le32" | "fmode_t" => Type::U32,
        "long" | "long int" | "long long" | "long long int" | "s64" | "__s64" | "int64_t" | "loff_t" | "ssize_t"
        | "off_t" | "ktime_t" => Type::I64,
        "unsigned long"
        | "long unsigned int"
        | "unsigned long long"
        | "long long unsigned int"
        | "u64"
        | "__u64"
        | "uint64_t"
        | "size_t"
        | "sector_t"
        | "ino_t"
        | "aio_context_t"
        | "old_sigset_t"
        | "__be64"
        | "__le64"
        | "blkcnt_t"
        | "pgoff_t"
        | "dma_addr_t"
        | "phys_addr_t"
        | "uintptr_t" => Type::U64,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHED_SWITCH: &str = include_str!("testdata/sched_switch.format");
    const EXEC: &str = include_str!("testdata/sched_process_exec.format");
    const EXECVE: &str = include_str!("testdata/sys_enter_execve.format");

    fn parse(category: &str, name: &str, text: &str) -> Tracepoint {
        parse_format(category, name, text, &btf::Facts::default()).expect("a format")
    }

    fn show(t: &Tracepoint) -> Vec<String> {
        let line = |f: &TracepointField| format!("{}@{}+{}: {}", f.name, f.offset, f.size, f.ty);
        t.fields.iter().map(line).collect()
    }

    #[test]
    fn execve_arguments_point_to_user_space() {
        let t = parse("syscalls", "sys_enter_execve", EXECVE);
        assert_eq!(t.id, 829);
        assert_eq!(
            show(&t),
            ["__syscall_nr@8+4: int32", "filename@16+8: int8 *", "argv@24+8: int8 **", "envp@32+8: int8 **"]
        );
        let declared: Vec<&str> = t.fields.iter().map(|f| f.declared.as_str()).collect();
        assert_eq!(declared, ["int", "const char *", "const char *const *", "const char *const *"]);
        for field in t.fields.iter().skip(1) {
            assert!(matches!(&field.ty, Type::Ptr { space: Space::User, .. }), "{field:?}");
        }
    }

    #[test]
    fn copies_of_a_system_calls_strings_are_left_out() {
        let copy = "\tfield:__data_loc char[] __filename_val;\toffset:40;\tsize:4;\tsigned:0;\n\nprint fmt";
        let text = EXECVE.replacen("\nprint fmt", copy, 1);
        assert!(fields(&text).any(|f| f.text.contains("__filename_val")), "{text}");
        let t = parse("syscalls", "sys_enter_execve", &text);
        assert_eq!(show(&t), show(&parse("syscalls", "sys_enter_execve", EXECVE)));
    }

    #[test]
    fn arrays_of_char_are_strings() {
        let t = parse("sched", "sched_switch", SCHED_SWITCH);
        assert_eq!(show(&t).first().map(String::as_str), Some("prev_comm@8+16: string[16]"));
        assert_eq!(t.fields.first().map(|f| f.declared.as_str()), Some("char[16]"));
        assert!(show(&t).contains(&"prev_state@32+8: int64".to_owned()), "{:?}", show(&t));
    }

    #[test]
    fn data_elsewhere_in_the_record_is_marked() {
        let t = parse("sched", "sched_process_exec", EXEC);
        let file = t.fields.first().expect("a field");
        assert!(file.data_loc);
        assert_eq!((file.name.as_str(), file.declared.as_str()), ("filename", "__data_loc char[]"));
        assert_eq!(file.ty, Type::kptr(Type::I8));
    }

    #[test]
    fn odd_declarations() {
        let field = |text| Field { text, offset: 0, size: 8, signed: false };
        let parts = |text| {
            let d = field(text).declaration().expect("a declaration");
            (d.before.to_owned(), d.name.to_owned(), d.array.to_owned())
        };
        let owned = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        assert_eq!(parts("char comm[TASK_COMM_LEN]"), owned("char", "comm", "[TASK_COMM_LEN]"));
        assert_eq!(parts("void *skbaddr"), owned("void *", "skbaddr", ""));
        assert_eq!(parts("__u8 saddr[4]"), owned("__u8", "saddr", "[4]"));
        assert_eq!(parts("__data_loc unsigned long[] ips"), owned("__data_loc unsigned long[]", "ips", ""));
        assert_eq!(parts("enum skb_drop_reason reason"), owned("enum skb_drop_reason", "reason", ""));
    }
}
