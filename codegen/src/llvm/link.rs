//! Modules that another compiler made: bitcode read in, prepared and linked.

use super::Message;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::Context;
use inkwell::llvm_sys::linker::LLVMLinkModules2;
use inkwell::memory_buffer::MemoryBuffer;
use inkwell::module::{Linkage, Module};
use inkwell::values::{BasicValue, FunctionValue, GlobalValue};

/// Passes that make functions of other modules part of their callers, and drop what is left of them.
pub const INLINE: &str = "always-inline,globaldce";

/// Attributes of compiled functions that would prevent inlining.
const HINTS: &[&str] = &["noinline", "optnone"];
const TARGETS: &[&str] = &["target-cpu", "target-features", "frame-pointer"];

/// Reads bitcode. LLVM reads that of its own and of earlier versions.
pub fn parse<'c>(context: &'c Context, name: &str, bitcode: &[u8]) -> Result<Module<'c>, Message> {
    let buffer = MemoryBuffer::create_from_memory_range_copy(bitcode, name);
    Module::parse_bitcode_from_buffer(&buffer, context).map_err(|e| e.to_string())
}

/// Makes the functions of a module, which is to be linked, ready to become parts of their callers.
pub fn prepare(context: &Context, module: &Module<'_>) {
    let always = context.create_enum_attribute(Attribute::get_named_enum_kind_id("alwaysinline"), 0);
    for function in module.get_functions().filter(has_body) {
        for hint in HINTS {
            function.remove_enum_attribute(AttributeLoc::Function, Attribute::get_named_enum_kind_id(hint));
        }
        for key in TARGETS {
            function.remove_string_attribute(AttributeLoc::Function, key);
        }
        function.add_attribute(AttributeLoc::Function, always);
        // A program of its own (`SEC("kprobe/…")`) is a function like others here.
        function.set_section(None);
    }
    // Lists of what must be kept: all that is called is kept, and nothing else.
    remove(module, |g| matches!(g.get_name().to_bytes(), b"llvm.used" | b"llvm.compiler.used"));
    // So is other data: what nothing uses goes, as the license that programs state.
    for global in module.get_globals().filter(|g| !g.get_name().to_bytes().starts_with(b"llvm.")) {
        global.set_linkage(Linkage::Internal);
        if global.get_section().is_some_and(|s| matches!(s.to_bytes(), b"license" | b"version")) {
            global.set_section(None);
        }
    }
}

fn has_body(function: &FunctionValue<'_>) -> bool {
    function.count_basic_blocks() > 0
}

/// Removes the global variables that nothing uses and that a test picks.
fn remove(module: &Module<'_>, picked: impl Fn(&GlobalValue<'_>) -> bool) {
    let unused = |g: &GlobalValue<'_>| g.as_pointer_value().get_first_use().is_none();
    let list: Vec<GlobalValue<'_>> = module.get_globals().filter(|g| picked(g) && unused(g)).collect();
    for global in list {
        // SAFETY: the global belongs to the live module, nothing uses it, and this handle is the last one.
        unsafe { global.delete() };
    }
}

/// Links a module into another of the same context; the session's handler gets what LLVM says about errors.
pub fn link<'c>(into: &Module<'c>, other: Module<'c>) -> Result<(), Message> {
    let names: Vec<String> =
        other.get_functions().filter(has_body).map(|f| f.get_name().to_string_lossy().into_owned()).collect();
    other.set_triple(&into.get_triple());
    other.set_data_layout(&into.get_data_layout());
    // inkwell's own function replaces the context's diagnostic handler by one that does not outlive the call.
    // SAFETY: both modules are valid and of one context; LLVM consumes the second, which is forgotten below.
    let failed = unsafe { LLVMLinkModules2(into.as_mut_ptr(), other.as_mut_ptr()) } != 0;
    std::mem::forget(other);
    if failed {
        return Err("LLVM cannot link it".to_owned());
    }
    for function in names.iter().filter_map(|n| into.get_function(n)) {
        function.set_linkage(Linkage::Internal);
    }
    Ok(())
}

/// The data that modules brought, by name: all global variables but those that were there before.
pub fn data(module: &Module<'_>, known: &[String]) -> Vec<String> {
    let names = module.get_globals().map(|g| g.get_name().to_string_lossy().into_owned());
    names.filter(|n| !known.contains(n)).collect()
}
