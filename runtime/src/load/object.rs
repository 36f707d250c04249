//! From the bundle's bytes to relocated code: parsing the ELF object, loading its BTF, creating the maps
//! and putting their descriptors into the instructions. aya-obj does the parsing and relocating; what is
//! loaded with which attributes is decided here and in [`super::program`].

use super::LoadError;
use super::maps::Maps;
use aya::maps::{MapData, MapError};
use aya_obj::btf::BtfFeatures;
use object::{Object, ObjectSection};
use rtrace_core::bundle::{Bundle, MapObject, RINGBUF_SYMBOL, UNWIND_SYMBOL, unwind};
use rtrace_core::uapi::map_type;
use rtrace_sys as sys;
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// `BPF_F_MMAPABLE`, Linux 5.5.
const MMAPABLE: u32 = 1 << 10;
/// Most bytes of a section: programs and their memory are far below, and a size that is wrong must not be made room for.
const LARGEST_SECTION: u64 = 1 << 30;
/// The section of the globals, which is also the name of their map.
const GLOBALS_SECTION: &str = ".bss";

/// A program ready to load.
#[derive(Debug)]
pub struct Code {
    /// In the kernel's encoding.
    pub instructions: Vec<u64>,
    /// `bpf_func_info`: first instruction, BTF type.
    pub func_info: Vec<[u32; 2]>,
    /// `bpf_line_info`: first instruction, file name and line text (offsets of BTF strings), line << 10 | column.
    pub line_info: Vec<[u32; 4]>,
}

/// The program's BTF in the kernel.
#[derive(Debug)]
pub struct LoadedBtf {
    pub fd: OwnedFd,
    bytes: Vec<u8>,
}

impl LoadedBtf {
    /// A string by its offset; layout of `struct btf_header` (include/uapi/linux/btf.h).
    pub fn string(&self, offset: u32) -> Option<&str> {
        let field = |at: usize| {
            self.bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(|b| u32::from_ne_bytes(b) as usize)
        };
        let (header, strings) = (field(4)?, field(16)?);
        let tail = self.bytes.get(header + strings + offset as usize..)?;
        std::str::from_utf8(tail.split(|b| *b == 0).next()?).ok()
    }
}

/// Everything of the object, in the kernel but for the programs.
#[derive(Debug)]
pub struct Loaded {
    pub code: HashMap<String, Code>,
    pub btf: Option<LoadedBtf>,
    pub license: CString,
    pub maps: Maps,
}

pub fn load(bundle: &Bundle) -> Result<Loaded, LoadError> {
    if sys::kernel_version() < (5, 11) {
        sys::raise_memlock();
    }
    let (mut object, btf) = guarded(|| parse(bundle))?;
    let globals = create_globals(&mut object, bundle)?;
    let mut created = Vec::with_capacity(bundle.map_objects.len());
    for def in &bundle.map_objects {
        created.push(create_map(&object, def, bundle)?);
    }

    let text_sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    let by_name = bundle.map_objects.iter().map(|d| d.symbol.as_str()).zip(&created);
    let all: Vec<_> = by_name
        .chain([(GLOBALS_SECTION, &globals)])
        .filter_map(|(name, data)| Some((name, data.fd().as_fd().as_raw_fd(), object.maps.get(name)?.clone())))
        .collect();
    guarded(|| {
        let maps = all.iter().map(|(name, fd, map)| (*name, *fd, map));
        object.relocate_maps(maps, &text_sections).map_err(|e| LoadError::Object(e.to_string()))?;
        object.relocate_calls(&text_sections).map_err(|e| LoadError::Object(e.to_string()))
    })?;

    let code = object.programs.iter().filter_map(|(name, program)| {
        let function = object.functions.get(&program.function_key())?;
        Some((name.clone(), code(function)))
    });
    let code = code.collect();
    let maps = Maps::new(bundle, created, globals).map_err(|source| LoadError::map("globals", source))?;
    Ok(Loaded { code, btf, license: object.license.clone(), maps })
}

/// Calls into aya-obj, which panics on some objects that no compiler makes: a damaged file must be an error.
fn guarded<T>(call: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
    std::panic::set_hook(hook);
    result.unwrap_or_else(|_| Err(LoadError::Object("it is corrupted".to_owned())))
}

/// Refuses an object whose sections say that they are larger than they can be: aya-obj makes room for what they say.
fn bounded(bytes: &[u8]) -> Result<(), LoadError> {
    let elf = object::File::parse(bytes).map_err(|e| LoadError::Object(e.to_string()))?;
    match elf.sections().find(|s| s.size() > LARGEST_SECTION) {
        Some(section) => {
            let name = section.name().unwrap_or_default();
            Err(LoadError::Object(format!("its section {name} claims {} bytes", section.size())))
        }
        None => Ok(()),
    }
}

/// Parses the object and loads its BTF. BTF is a help (line numbers in the verifier's messages), not a need:
/// kernels that refuse some kinds of types get the object without them, then without BTF.
fn parse(bundle: &Bundle) -> Result<(aya_obj::Object, Option<LoadedBtf>), LoadError> {
    bounded(&bundle.object)?;
    let newest = BtfFeatures::new(true, true, true, true, true, true, true, true);
    // What Linux 5.10 knows: no floats (5.13), tags (5.16, 5.17) or 64-bit enums (6.0).
    let oldest = BtfFeatures::new(true, true, true, false, false, false, false, false);
    for features in [newest, oldest] {
        let mut object = aya_obj::Object::parse(&bundle.object).map_err(|e| LoadError::Object(e.to_string()))?;
        let Ok(Some(btf)) = object.fixup_and_sanitize_btf(&features) else { break };
        let bytes = btf.to_bytes();
        if let Ok(fd) = sys::btf_load(&bytes) {
            return Ok((object, Some(LoadedBtf { fd, bytes })));
        }
    }
    let object = aya_obj::Object::parse(&bundle.object).map_err(|e| LoadError::Object(e.to_string()))?;
    Ok((object, None))
}

/// The map behind the globals; mapped into our memory, so that reading them takes no system call.
fn create_globals(object: &mut aya_obj::Object, bundle: &Bundle) -> Result<MapData, LoadError> {
    let map = match object.maps.get(GLOBALS_SECTION) {
        Some(map) if map.value_size() >= bundle.globals.size => {
            aya_obj::Map::new_from_params(map.map_type(), map.key_size(), map.value_size(), 1, MMAPABLE)
        }
        _ => return Err(LoadError::Object(format!("its globals are not {} bytes", bundle.globals.size))),
    };
    MapData::create(map, "rt_globals", None).map_err(|e| create_error("globals", e))
}

fn create_map(object: &aya_obj::Object, def: &MapObject, bundle: &Bundle) -> Result<MapData, LoadError> {
    if !object.maps.contains_key(&def.symbol) {
        return Err(LoadError::Object(format!("it has no map {}", def.symbol)));
    }
    if def.symbol == UNWIND_SYMBOL {
        let fd = create_tables(def).map_err(|source| LoadError::map(&def.symbol, source))?;
        return MapData::from_fd(fd).map_err(|e| create_error(&def.symbol, e));
    }
    let entries =
        if def.symbol == RINGBUF_SYMBOL { bundle.config.ringbuf_bytes.max(def.max_entries) } else { def.max_entries };
    let map = aya_obj::Map::new_from_params(def.map_type, def.key_size, def.value_size, entries, def.flags);
    MapData::create(map, &def.symbol, None).map_err(|e| create_error(&def.symbol, e))
}

/// The map of unwind tables, whose values are maps.
fn create_tables(def: &MapObject) -> io::Result<OwnedFd> {
    let inner = crate::unwind::table(1)?;
    sys::map_create(&sys::MapCreate {
        map_type: map_type::HASH_OF_MAPS.number,
        key_size: unwind::KEY,
        value_size: 4,
        max_entries: def.max_entries,
        flags: 0,
        inner: Some(inner.as_fd()),
        name: &def.symbol,
    })
}

fn create_error(name: &str, error: MapError) -> LoadError {
    match error {
        MapError::CreateError { io_error, .. } | MapError::IoError(io_error) => LoadError::map(name, io_error),
        other => LoadError::map(name, io::Error::other(other.to_string())),
    }
}

fn code(function: &aya_obj::Function) -> Code {
    let encode = |i: &aya_obj::generated::bpf_insn| {
        let registers = u64::from(i.dst_reg() & 15) | u64::from(i.src_reg() & 15) << 4;
        u64::from(i.code) | registers << 8 | u64::from(i.off as u16) << 16 | u64::from(i.imm as u32) << 32
    };
    let line = |l: &aya_obj::generated::bpf_line_info| [l.insn_off, l.file_name_off, l.line_off, l.line_col];
    Code {
        instructions: function.instructions.iter().map(encode).collect(),
        func_info: function.func_info.func_info.iter().map(|f| [f.insn_off, f.type_id]).collect(),
        line_info: function.line_info.line_info.iter().map(line).collect(),
    }
}
