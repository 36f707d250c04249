//! The layer over LLVM: the BPF target, the context with its diagnostic handler, passes and the
//! object file, and in `ir` and `di` the building of instructions and debug information.
//!
//! All `unsafe` of this crate is in this folder. LLVM's own error handling would print and exit the
//! process; here every error becomes a [`Message`].

pub mod di;
pub mod ir;
pub mod link;

use inkwell::OptimizationLevel;
use inkwell::builder::Builder;
use inkwell::context::Context;
use inkwell::llvm_sys::core::{
    LLVMContextSetDiagnosticHandler, LLVMDisposeMessage, LLVMGetDiagInfoDescription, LLVMGetDiagInfoSeverity,
};
use inkwell::llvm_sys::prelude::LLVMDiagnosticInfoRef;
use inkwell::llvm_sys::{LLVMDiagnosticSeverity, core::LLVMBuildGEP2};
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, Target, TargetMachine, TargetTriple};
use inkwell::types::{AsTypeRef, IntType};
use inkwell::values::{AsValueRef, IntValue, PointerValue};
use std::cell::RefCell;
use std::ffi::{CStr, c_void};
use std::sync::Once;

/// An error of LLVM: `file:line:column: text` where it knows the location.
pub type Message = String;

/// Passes for code of this shape (no loops to speak of, few calls between functions): as good as
/// `default<O2>` at a third of the time. `instcombine` ends the process when it would have to go on, unless
/// told not to look.
const PASSES: &str = "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg,gvn,dse,\
                      instcombine<no-verify-fixpoint>,simplifycfg)";

/// A context that collects errors instead of exiting.
pub struct Session {
    context: Context,
    // Boxed: LLVM keeps the address.
    errors: Box<RefCell<Vec<Message>>>,
}

impl Session {
    pub fn new() -> Session {
        let context = Context::create();
        let errors = Box::new(RefCell::new(Vec::new()));
        let address: *const RefCell<Vec<Message>> = &*errors;
        // SAFETY: the context is valid; `errors` is boxed and dropped after the context (field order),
        // and the handler is called only while the context lives, on this thread.
        unsafe { LLVMContextSetDiagnosticHandler(context.raw(), Some(collect), address.cast_mut().cast::<c_void>()) };
        Session { context, errors }
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The errors so far.
    pub fn errors(&self) -> Vec<Message> {
        self.errors.borrow().clone()
    }
}

/// LLVM's diagnostic handler: keeps errors, drops warnings and remarks.
extern "C" fn collect(info: LLVMDiagnosticInfoRef, sink: *mut c_void) {
    // SAFETY: LLVM hands a valid diagnostic; `sink` is the address given in `Session::new`, alive as
    // long as the context.
    unsafe {
        if LLVMGetDiagInfoSeverity(info) != LLVMDiagnosticSeverity::LLVMDSError {
            return;
        }
        let text = LLVMGetDiagInfoDescription(info);
        let message = CStr::from_ptr(text).to_string_lossy().into_owned();
        LLVMDisposeMessage(text);
        if let Ok(mut errors) = (*sink.cast::<RefCell<Vec<Message>>>().cast_const()).try_borrow_mut() {
            errors.push(message);
        }
    }
}

/// The code generator for little-endian BPF.
pub struct Machine(TargetMachine);

impl Machine {
    pub fn new(level: u8) -> Result<Machine, Message> {
        static INIT: Once = Once::new();
        INIT.call_once(|| {
            Target::initialize_bpf(&InitializationConfig {
                asm_parser: false,
                asm_printer: true,
                base: true,
                disassembler: false,
                info: true,
                machine_code: true,
            });
            // inkwell leaves it out; `Ir::bound` has assembly text.
            // SAFETY: registers the parser with LLVM's list of targets, once, under `INIT`.
            unsafe { inkwell::llvm_sys::target::LLVMInitializeBPFAsmParser() };
        });
        let triple = TargetTriple::create("bpfel");
        let target = Target::from_triple(&triple).map_err(|e| e.to_string())?;
        let level = match level {
            0 => OptimizationLevel::None,
            1 => OptimizationLevel::Less,
            _ => OptimizationLevel::Default,
        };
        target
            .create_target_machine(&triple, "v3", "", level, RelocMode::PIC, CodeModel::Default)
            .map(Machine)
            .ok_or_else(|| "LLVM has no BPF target machine".to_string())
    }

    /// Says which target a module is for; before anything is added to it.
    pub fn prepare(&self, module: &Module<'_>) {
        module.set_triple(&self.0.get_triple());
        module.set_data_layout(&self.0.get_target_data().get_data_layout());
    }

    pub fn optimize(&self, module: &Module<'_>) -> Result<(), Message> {
        self.run(module, PASSES)
    }

    /// Runs passes that are named as LLVM's `opt` names them.
    pub fn run(&self, module: &Module<'_>, passes: &str) -> Result<(), Message> {
        module.run_passes(passes, &self.0, PassBuilderOptions::create()).map_err(|e| e.to_string())
    }

    /// The object file.
    pub fn emit(&self, module: &Module<'_>) -> Result<Vec<u8>, Message> {
        let buffer = self.0.write_to_memory_buffer(module, FileType::Object).map_err(|e| e.to_string())?;
        Ok(buffer.as_slice().to_vec())
    }
}

/// `p + offset` in bytes.
fn byte_address<'c>(b: &Builder<'c>, byte: IntType<'c>, p: PointerValue<'c>, offset: IntValue<'c>) -> PointerValue<'c> {
    let mut indices = [offset.as_value_ref()];
    // SAFETY: builder, type and values belong to one live context, the builder is positioned (blocks
    // are entered before anything is built), and one index is valid for a byte-typed GEP without
    // `inbounds`, whose result is defined for every offset.
    unsafe {
        PointerValue::new(LLVMBuildGEP2(
            b.as_mut_ptr(),
            byte.as_type_ref(),
            p.as_value_ref(),
            indices.as_mut_ptr(),
            1,
            c"".as_ptr(),
        ))
    }
}
