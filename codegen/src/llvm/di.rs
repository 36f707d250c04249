//! Debug information: the sources with their text, one subprogram for each BPF program, and a
//! position for every instruction. LLVM turns it into `.BTF` and `.BTF.ext`, by which the kernel's
//! verifier names lines of the script.
//!
//! inkwell cannot attach the source text to a file, so this goes through llvm-sys.

use super::ir::{Func, Ir};
use inkwell::llvm_sys::core::LLVMSetCurrentDebugLocation2;
use inkwell::llvm_sys::debuginfo::*;
use inkwell::llvm_sys::prelude::{LLVMDIBuilderRef, LLVMMetadataRef};
use inkwell::module::Module;
use inkwell::values::AsValueRef;
use rtrace_lang::source::{SourceMap, Span};
use std::cell::Cell;
use std::ffi::c_char;

pub struct DebugInfo {
    builder: LLVMDIBuilderRef,
    files: Vec<File>,
    /// Type of all programs.
    signature: LLVMMetadataRef,
    /// Type of functions that are verified by themselves: an `int`, and no arguments.
    lone: LLVMMetadataRef,
}

struct File {
    node: LLVMMetadataRef,
    base: u32,
    /// Positions of line starts, relative to `base`.
    lines: Vec<u32>,
}

/// The scope of one program's positions.
pub struct Scope {
    /// For each file: the subprogram itself, or a block of it in another file.
    files: Vec<Option<LLVMMetadataRef>>,
    subprogram: LLVMMetadataRef,
    last: Cell<Option<u32>>,
}

impl Scope {
    /// Makes the next position be set whatever the last one was: another function was built meanwhile.
    pub fn forget(&self) {
        self.last.set(None);
    }
}

impl DebugInfo {
    pub fn new(module: &Module<'_>, sources: &SourceMap) -> DebugInfo {
        let debug_version = module.get_context().i32_type().const_int(3, false);
        module.add_basic_value_flag("Debug Info Version", inkwell::module::FlagBehavior::Warning, debug_version);
        // SAFETY: all references come from this module and builder; strings are passed with their
        // lengths and copied by LLVM.
        unsafe {
            let builder = LLVMCreateDIBuilder(module.as_mut_ptr());
            let mut files: Vec<File> =
                sources.files().iter().map(|f| file(builder, &f.name, &f.text, f.base)).collect();
            if files.is_empty() {
                files.push(file(builder, "-", "", 0));
            }
            let first = files.first().map_or(std::ptr::null_mut(), |f| f.node);
            let producer = "rtrace";
            LLVMDIBuilderCreateCompileUnit(
                builder,
                LLVMDWARFSourceLanguage::LLVMDWARFSourceLanguageC99,
                first,
                producer.as_ptr().cast::<c_char>(),
                producer.len(),
                1,
                std::ptr::null(),
                0,
                0,
                std::ptr::null(),
                0,
                // LineTablesOnly crashes LLVM 22's BTF writer.
                LLVMDWARFEmissionKind::LLVMDWARFEmissionKindFull,
                0,
                0,
                0,
                std::ptr::null(),
                0,
                std::ptr::null(),
                0,
            );
            let int = "int";
            let int = LLVMDIBuilderCreateBasicType(builder, int.as_ptr().cast::<c_char>(), int.len(), 32, 5, 0);
            let context = LLVMDIBuilderCreatePointerType(builder, std::ptr::null_mut(), 64, 64, 0, std::ptr::null(), 0);
            let mut types = [int, context];
            let signature = LLVMDIBuilderCreateSubroutineType(builder, first, types.as_mut_ptr(), 2, 0);
            let lone = LLVMDIBuilderCreateSubroutineType(builder, first, types.as_mut_ptr(), 1, 0);
            DebugInfo { builder, files, signature, lone }
        }
    }

    /// Gives a function its subprogram.
    pub fn enter(&self, function: Func<'_>, name: &str, span: Span) -> Scope {
        // Local, or the kernel would check the types of the arguments.
        self.subprogram(function, name, span, self.signature, 1)
    }

    /// The same for a function without arguments that is global to the kernel: the verifier looks at it once, and
    /// not at each call.
    pub fn enter_lone(&self, function: Func<'_>, name: &str, span: Span) -> Scope {
        self.subprogram(function, name, span, self.lone, 0)
    }

    fn subprogram(&self, function: Func<'_>, name: &str, span: Span, ty: LLVMMetadataRef, local: i32) -> Scope {
        let (index, line, _) = self.place(span.start);
        let node = self.files.get(index).map_or(std::ptr::null_mut(), |f| f.node);
        // SAFETY: as in `new`; the function belongs to the builder's module.
        let subprogram = unsafe {
            let subprogram = LLVMDIBuilderCreateFunction(
                self.builder,
                node,
                name.as_ptr().cast::<c_char>(),
                name.len(),
                std::ptr::null(),
                0,
                node,
                line,
                ty,
                local,
                1,
                line,
                0,
                1,
            );
            LLVMSetSubprogram(function.as_value_ref(), subprogram);
            subprogram
        };
        let mut files = vec![None; self.files.len()];
        if let Some(own) = files.get_mut(index) {
            *own = Some(subprogram);
        }
        Scope { files, subprogram, last: Cell::new(None) }
    }

    /// Sets the source location `span` of the instructions built from here on.
    pub fn locate(&self, ir: &Ir<'_, '_>, scope: &mut Scope, span: Span) {
        if scope.last.replace(Some(span.start)) == Some(span.start) {
            return;
        }
        let (index, line, column) = self.place(span.start);
        let (Some(slot), Some(file)) = (scope.files.get_mut(index), self.files.get(index)) else { return };
        // SAFETY: as in `new`; builder and context are the ones that `ir` builds with.
        unsafe {
            let parent = scope.subprogram;
            let node =
                *slot.get_or_insert_with(|| LLVMDIBuilderCreateLexicalBlockFile(self.builder, parent, file.node, 0));
            let location =
                LLVMDIBuilderCreateDebugLocation(ir.context().raw(), line, column, node, std::ptr::null_mut());
            LLVMSetCurrentDebugLocation2(ir.builder().as_mut_ptr(), location);
        }
    }

    /// Index of the file, line and column from 1.
    fn place(&self, position: u32) -> (usize, u32, u32) {
        let index = self.files.partition_point(|f| f.base <= position).saturating_sub(1);
        let Some(file) = self.files.get(index) else { return (0, 1, 1) };
        let at = position.saturating_sub(file.base);
        let line = file.lines.partition_point(|l| *l <= at).max(1);
        let start = file.lines.get(line - 1).copied().unwrap_or(0);
        (index, line as u32, at.saturating_sub(start) + 1)
    }

    /// Completes the metadata; after all functions, before any pass.
    pub fn finish(&self) {
        // SAFETY: the builder is valid until dropped.
        unsafe { LLVMDIBuilderFinalize(self.builder) };
    }
}

impl Drop for DebugInfo {
    fn drop(&mut self) {
        // SAFETY: created in `new`, disposed once.
        unsafe { LLVMDisposeDIBuilder(self.builder) };
    }
}

fn file(builder: LLVMDIBuilderRef, name: &str, text: &str, base: u32) -> File {
    let (directory, checksum) = (".", "00000000000000000000000000000000");
    // SAFETY: strings are passed with their lengths and copied by LLVM. The checksum is not used for
    // BTF; it is what makes room for the text.
    let node = unsafe {
        LLVMDIBuilderCreateFileWithChecksum(
            builder,
            name.as_ptr().cast::<c_char>(),
            name.len(),
            directory.as_ptr().cast::<c_char>(),
            directory.len(),
            LLVMChecksumKind::CSK_MD5,
            checksum.as_ptr().cast::<c_char>(),
            checksum.len(),
            text.as_ptr().cast::<c_char>(),
            text.len(),
        )
    };
    let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i as u32 + 1);
    File { node, base, lines: std::iter::once(0).chain(starts).collect() }
}
