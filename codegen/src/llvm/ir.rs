//! Building instructions: a thin, infallible face of inkwell's builder.
//!
//! Integers are 64 bits wide unless a name says otherwise, memory is addressed in bytes with the
//! alignment given at every access. A builder error (there is none unless this crate is wrong) is
//! remembered and reported once by [`Ir::failure`], so that lowering reads without noise.
//! Nothing here knows the language or BPF helpers.

use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::builder::{Builder, BuilderError};
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::types::{BasicMetadataTypeEnum, IntType, PointerType};
use inkwell::values::{BasicMetadataValueEnum, BasicValue, BasicValueEnum, FunctionValue, IntValue, PointerValue};
use inkwell::{AddressSpace, AtomicOrdering, AtomicRMWBinOp, IntPredicate};
use rtrace_lang::uapi::Entry;
use std::cell::{Cell, RefCell};

pub type Val<'c> = IntValue<'c>;
pub type Ptr<'c> = PointerValue<'c>;
pub type Block<'c> = BasicBlock<'c>;
pub type Func<'c> = FunctionValue<'c>;
pub use inkwell::AtomicRMWBinOp as AtomicOp;
pub use inkwell::IntPredicate as Pred;

/// An argument of a helper call.
#[derive(Clone, Copy)]
pub enum Arg<'c> {
    Val(Val<'c>),
    Ptr(Ptr<'c>),
}

impl<'c> From<Val<'c>> for Arg<'c> {
    fn from(v: Val<'c>) -> Arg<'c> {
        Arg::Val(v)
    }
}

impl<'c> From<Ptr<'c>> for Arg<'c> {
    fn from(p: Ptr<'c>) -> Arg<'c> {
        Arg::Ptr(p)
    }
}

/// The attributes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Any,
    /// The same result whenever called, no effect: calls may be merged and dropped.
    None,
}

/// See [`Ir::suspend`].
pub struct Suspended<'c> {
    body: Option<Block<'c>>,
    entry: Option<Block<'c>>,
}

pub struct Ir<'m, 'c> {
    context: &'c Context,
    module: &'m Module<'c>,
    builder: Builder<'c>,
    /// For instructions that belong to the entry block, whatever block is being filled.
    entry: Builder<'c>,
    i1: IntType<'c>,
    i64: IntType<'c>,
    ptr: PointerType<'c>,
    pure_attributes: [Attribute; 3],
    /// `elementtype(i8)`
    element_type: Attribute,
    failure: RefCell<Option<String>>,
    /// See [`Ir::branches`].
    branches: Cell<u64>,
}

impl<'m, 'c> Ir<'m, 'c> {
    pub fn new(context: &'c Context, module: &'m Module<'c>) -> Ir<'m, 'c> {
        let attribute = |name: &str| context.create_enum_attribute(Attribute::get_named_enum_kind_id(name), 0);
        Ir {
            context,
            module,
            builder: context.create_builder(),
            entry: context.create_builder(),
            i1: context.bool_type(),
            i64: context.i64_type(),
            ptr: context.ptr_type(AddressSpace::default()),
            pure_attributes: [attribute("memory"), attribute("nounwind"), attribute("willreturn")],
            element_type: context
                .create_type_attribute(Attribute::get_named_enum_kind_id("elementtype"), context.i8_type().into()),
            failure: RefCell::new(None),
            branches: Cell::new(0),
        }
    }

    /// How many times the verifier may come to a branch in what has been built so far, if it walks through every round of
    /// loops; what LLVM makes of it may have fewer.
    pub fn branches(&self) -> u64 {
        self.branches.get()
    }

    /// Counts so many more (or, of loops, that what was built since then is walked through several times).
    pub fn count_branches(&self, more: u64) {
        self.branches.set(self.branches.get().saturating_add(more));
    }

    pub(super) fn builder(&self) -> &Builder<'c> {
        &self.builder
    }

    pub(super) fn context(&self) -> &'c Context {
        self.context
    }

    /// The first error of the builder, if any.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    fn ok<T>(&self, result: Result<T, BuilderError>, otherwise: T) -> T {
        match result {
            Ok(value) => value,
            Err(e) => {
                self.note(&e.to_string());
                otherwise
            }
        }
    }

    fn note(&self, message: &str) {
        let mut failure = self.failure.borrow_mut();
        if failure.is_none() {
            *failure = Some(message.to_string());
        }
    }

    // --- functions and blocks ---

    /// Adds a function `i64 name(ptr)` in its own section and starts filling its entry block.
    pub fn function(&self, name: &str, section: &str) -> Func<'c> {
        let function = self.module.add_function(name, self.i64.fn_type(&[self.ptr.into()], false), None);
        function.as_global_value().set_section(Some(section));
        let entry = self.context.append_basic_block(function, "entry");
        let body = self.context.append_basic_block(function, "body");
        self.entry.position_at_end(entry);
        self.builder.position_at_end(body);
        function
    }

    /// Adds a function that the kernel calls back, known only in this object: `i64 name(i64, ptr)` for an
    /// `index` and its own argument, else `i64 name(ptr, ptr, ptr, ptr)`; starts filling it.
    pub fn callback(&self, name: &str, index: bool) -> Func<'c> {
        let ptr: BasicMetadataTypeEnum<'c> = self.ptr.into();
        let ty =
            if index { self.i64.fn_type(&[self.i64.into(), ptr], false) } else { self.i64.fn_type(&[ptr; 4], false) };
        let function = self.module.add_function(name, ty, Some(Linkage::Internal));
        let entry = self.context.append_basic_block(function, "entry");
        let body = self.context.append_basic_block(function, "body");
        self.entry.position_at_end(entry);
        self.builder.position_at_end(body);
        function
    }

    /// Adds a function known only in this object, `i64 name(ptr, i64, …)` with so many numbers, and starts
    /// filling it.
    pub fn local_function(&self, name: &str, numbers: u32) -> Func<'c> {
        let mut params: Vec<BasicMetadataTypeEnum<'c>> = vec![self.ptr.into()];
        params.extend((0..numbers).map(|_| BasicMetadataTypeEnum::from(self.i64)));
        let function = self.module.add_function(name, self.i64.fn_type(&params, false), Some(Linkage::Internal));
        let entry = self.context.append_basic_block(function, "entry");
        let body = self.context.append_basic_block(function, "body");
        self.entry.position_at_end(entry);
        self.builder.position_at_end(body);
        function
    }

    /// Adds a function `i64 name()` that stays one, whatever LLVM thinks of it, and starts filling it.
    pub fn noinline_function(&self, name: &str) -> Func<'c> {
        let function = self.module.add_function(name, self.i64.fn_type(&[], false), None);
        let noinline = self.context.create_enum_attribute(Attribute::get_named_enum_kind_id("noinline"), 0);
        function.add_attribute(AttributeLoc::Function, noinline);
        let entry = self.context.append_basic_block(function, "entry");
        let body = self.context.append_basic_block(function, "body");
        self.entry.position_at_end(entry);
        self.builder.position_at_end(body);
        function
    }

    /// The insertion point, to return to after building another function.
    pub fn suspend(&self) -> Suspended<'c> {
        Suspended { body: self.builder.get_insert_block(), entry: self.entry.get_insert_block() }
    }

    pub fn resume(&self, at: Suspended<'c>) {
        if let (Some(body), Some(entry)) = (at.body, at.entry) {
            self.builder.position_at_end(body);
            self.entry.position_at_end(entry);
        }
    }

    /// Ends the entry block; nothing can be added to it afterwards.
    pub fn finish_entry(&self, function: Func<'c>) {
        let blocks = function.get_basic_blocks();
        if let Some(body) = blocks.get(1) {
            let _ = self.entry.build_unconditional_branch(*body).map_err(|e| self.note(&e.to_string()));
        }
    }

    pub fn param(&self, function: Func<'c>, index: u32) -> Ptr<'c> {
        match function.get_nth_param(index) {
            Some(p) if p.is_pointer_value() => p.into_pointer_value(),
            _ => {
                self.note("missing parameter");
                self.null()
            }
        }
    }

    /// A parameter that is a number.
    pub fn param_value(&self, function: Func<'c>, index: u32) -> Val<'c> {
        match function.get_nth_param(index) {
            Some(p) if p.is_int_value() => p.into_int_value(),
            _ => {
                self.note("missing parameter");
                self.int(0)
            }
        }
    }

    /// A new block of the function that is being filled.
    pub fn block(&self, name: &str) -> Block<'c> {
        match self.builder.get_insert_block().and_then(BasicBlock::get_parent) {
            Some(function) => self.context.append_basic_block(function, name),
            None => {
                // Cannot happen: a program's body starts with a block.
                self.note("no function");
                let dummy = self.context.create_module("dummy").add_function("f", self.i64.fn_type(&[], false), None);
                self.context.append_basic_block(dummy, name)
            }
        }
    }

    /// Continues at the end of `block`.
    pub fn at(&self, block: Block<'c>) {
        self.builder.position_at_end(block);
    }

    /// The block that is being filled.
    pub fn here(&self) -> Block<'c> {
        match self.builder.get_insert_block() {
            Some(block) => block,
            None => self.block("nowhere"),
        }
    }

    pub fn br(&self, to: Block<'c>) {
        let _ = self.builder.build_unconditional_branch(to).map_err(|e| self.note(&e.to_string()));
    }

    pub fn cond_br(&self, cond: Val<'c>, then: Block<'c>, otherwise: Block<'c>) {
        self.count_branches(1);
        let _ = self.builder.build_conditional_branch(cond, then, otherwise).map_err(|e| self.note(&e.to_string()));
    }

    /// The same where `then` is seldom taken: it is laid out behind what is usual.
    pub fn cond_br_rarely(&self, cond: Val<'c>, then: Block<'c>, otherwise: Block<'c>) {
        self.count_branches(1);
        let weight = |n| self.context.i32_type().const_int(n, false).into();
        let words = [self.context.metadata_string("branch_weights").into(), weight(1), weight(2000)];
        let kind = self.context.get_kind_id("prof");
        match self.builder.build_conditional_branch(cond, then, otherwise) {
            Ok(branch) => {
                let _ = branch
                    .set_metadata(self.context.metadata_node(&words), kind)
                    .map_err(|e| self.note(&e.to_string()));
            }
            Err(e) => self.note(&e.to_string()),
        }
    }

    pub fn ret(&self, value: Val<'c>) {
        let _ = self.builder.build_return(Some(&value)).map_err(|e| self.note(&e.to_string()));
    }

    // --- values ---

    pub fn int(&self, value: i64) -> Val<'c> {
        self.i64.const_int(value as u64, true)
    }

    pub fn null(&self) -> Ptr<'c> {
        self.ptr.const_zero()
    }

    pub fn no(&self) -> Val<'c> {
        self.i1.const_zero()
    }

    pub fn add(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_add(a, b, ""), a)
    }

    pub fn sub(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_sub(a, b, ""), a)
    }

    pub fn mul(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_mul(a, b, ""), a)
    }

    pub fn udiv(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_unsigned_div(a, b, ""), a)
    }

    pub fn urem(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_unsigned_rem(a, b, ""), a)
    }

    pub fn and(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_and(a, b, ""), a)
    }

    pub fn or(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_or(a, b, ""), a)
    }

    pub fn xor(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_xor(a, b, ""), a)
    }

    pub fn shl(&self, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_left_shift(a, b, ""), a)
    }

    pub fn shr(&self, a: Val<'c>, b: Val<'c>, signed: bool) -> Val<'c> {
        self.ok(self.builder.build_right_shift(a, b, signed, ""), a)
    }

    pub fn neg(&self, a: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_neg(a, ""), a)
    }

    pub fn not(&self, a: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_not(a, ""), a)
    }

    /// One bit.
    pub fn icmp(&self, pred: IntPredicate, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_compare(pred, a, b, ""), self.no())
    }

    /// One bit: whether a pointer is null.
    pub fn is_null(&self, p: Ptr<'c>) -> Val<'c> {
        self.ok(self.builder.build_is_null(p, ""), self.no())
    }

    pub fn select(&self, cond: Val<'c>, a: Val<'c>, b: Val<'c>) -> Val<'c> {
        // BPF has no such instruction.
        self.count_branches(1);
        match self.builder.build_select(cond, a, b, "") {
            Ok(v) if v.is_int_value() => v.into_int_value(),
            _ => {
                self.note("select");
                a
            }
        }
    }

    /// A bit as 0 or 1.
    pub fn bit(&self, bit: Val<'c>) -> Val<'c> {
        self.ok(self.builder.build_int_z_extend(bit, self.i64, ""), self.int(0))
    }

    /// The low `bits` bits of a value, extended again.
    pub fn narrow(&self, value: Val<'c>, bits: u32, signed: bool) -> Val<'c> {
        if bits >= 64 {
            return value;
        }
        let low = self.ok(self.builder.build_int_truncate(value, self.int_type(bits), ""), value);
        self.widen(low, signed)
    }

    fn widen(&self, value: Val<'c>, signed: bool) -> Val<'c> {
        if value.get_type().get_bit_width() == 64 {
            value
        } else if signed {
            self.ok(self.builder.build_int_s_extend(value, self.i64, ""), self.int(0))
        } else {
            self.ok(self.builder.build_int_z_extend(value, self.i64, ""), self.int(0))
        }
    }

    fn int_type(&self, bits: u32) -> IntType<'c> {
        match bits {
            8 => self.context.i8_type(),
            16 => self.context.i16_type(),
            32 => self.context.i32_type(),
            _ => self.i64,
        }
    }

    pub fn int_to_ptr(&self, v: Val<'c>) -> Ptr<'c> {
        self.ok(self.builder.build_int_to_ptr(v, self.ptr, ""), self.null())
    }

    pub fn ptr_to_int(&self, p: Ptr<'c>) -> Val<'c> {
        self.ok(self.builder.build_ptr_to_int(p, self.i64, ""), self.int(0))
    }

    /// An address that is not known yet; [`Ir::settle`] says what it is.
    pub fn unsettled(&self) -> Ptr<'c> {
        self.int_to_ptr(self.opaque(self.int(0)))
    }

    /// Puts the address that `build` builds in place of one from [`Ir::unsettled`].
    pub fn settle(&self, unsettled: Ptr<'c>, build: impl FnOnce() -> Ptr<'c>) {
        let Some(instruction) = unsettled.as_instruction() else { return self.note("not an address to settle") };
        let back = self.builder.get_insert_block();
        self.builder.position_before(&instruction);
        unsettled.replace_all_uses_with(build());
        if let Some(back) = back {
            self.builder.position_at_end(back);
        }
    }

    /// A number that is not known yet; [`Ir::settle_number`] says what it is.
    pub fn unsettled_number(&self) -> Val<'c> {
        self.opaque(self.int(0))
    }

    pub fn settle_number(&self, unsettled: Val<'c>, value: i64) {
        match unsettled.as_instruction() {
            Some(instruction) => {
                unsettled.replace_all_uses_with(self.int(value));
                instruction.erase_from_basic_block();
            }
            None => self.note("not a number to settle"),
        }
    }

    pub fn phi(&self, incoming: &[(Val<'c>, Block<'c>)]) -> Val<'c> {
        let Some((first, _)) = incoming.first() else { return self.int(0) };
        match self.builder.build_phi(first.get_type(), "") {
            Ok(phi) => {
                for (value, block) in incoming {
                    phi.add_incoming(&[(value, *block)]);
                }
                phi.as_basic_value().into_int_value()
            }
            Err(e) => {
                self.note(&e.to_string());
                *first
            }
        }
    }

    /// A phi whose second value is added later with [`Ir::close_loop`].
    pub fn loop_phi(&self, first: Val<'c>, from: Block<'c>) -> Val<'c> {
        self.phi(&[(first, from)])
    }

    pub fn close_loop(&self, phi: Val<'c>, value: Val<'c>, from: Block<'c>) {
        match phi.as_instruction().and_then(|i| inkwell::values::PhiValue::try_from(i).ok()) {
            Some(phi) => phi.add_incoming(&[(&value, from)]),
            None => self.note("not a phi"),
        }
    }

    pub fn phi_ptr(&self, incoming: &[(Ptr<'c>, Block<'c>)]) -> Ptr<'c> {
        match self.builder.build_phi(self.ptr, "") {
            Ok(phi) => {
                for (value, block) in incoming {
                    phi.add_incoming(&[(value, *block)]);
                }
                phi.as_basic_value().into_pointer_value()
            }
            Err(e) => {
                self.note(&e.to_string());
                self.null()
            }
        }
    }

    /// The same value, of which LLVM knows nothing: what was computed before stays computed as
    /// written, in one register, so that the verifier sees the bound that was put on it.
    pub fn opaque(&self, value: Val<'c>) -> Val<'c> {
        self.assembly(String::new(), value)
    }

    /// The bytes of a word in opposite order.
    pub fn swap_bytes(&self, value: Val<'c>) -> Val<'c> {
        self.assembly("$0 = be64 $0".into(), value)
    }

    /// Assembly text that changes `$0`, which starts as `value`; without side effects.
    fn assembly(&self, text: String, value: Val<'c>) -> Val<'c> {
        let ty = self.i64.fn_type(&[self.i64.into()], false);
        let asm = self.context.create_inline_asm(ty, text, "=r,0".into(), false, false, None, false);
        match self.builder.build_indirect_call(ty, asm, &[value.into()], "") {
            Ok(call) => {
                for a in self.pure_attributes {
                    call.add_attribute(AttributeLoc::Function, a);
                }
                call.try_as_basic_value().basic().map_or(value, |v| v.into_int_value())
            }
            Err(e) => {
                self.note(&e.to_string());
                value
            }
        }
    }

    /// The smaller of `value` (unsigned) and `max`, in a form from which every verifier sees the bound.
    pub fn bound(&self, value: Val<'c>, max: u32) -> Val<'c> {
        if (u64::from(max) + 1).is_power_of_two() {
            // Callers keep values in range; the mask is for the verifier.
            return self.and(self.opaque(value), self.int(i64::from(max)));
        }
        // Comparison and correction on one register: verifiers before 5.11 do not carry what a
        // comparison says over to copies of the register.
        self.assembly(format!("if $0 < {} goto +1\n$0 = {max}", u64::from(max) + 1), value)
    }

    // --- memory ---

    /// Stack memory of the function, 8-aligned.
    pub fn alloca(&self, size: u32) -> Ptr<'c> {
        let ty = self.i64.array_type(size.div_ceil(8).max(1));
        self.ok(self.entry.build_alloca(ty, ""), self.null())
    }

    /// A stack word that LLVM turns into registers; starts as zero.
    pub fn variable(&self) -> Ptr<'c> {
        let p = self.ok(self.entry.build_alloca(self.i64, ""), self.null());
        let _ = self.entry.build_store(p, self.int(0)).map_err(|e| self.note(&e.to_string()));
        p
    }

    pub fn offset(&self, p: Ptr<'c>, offset: i64) -> Ptr<'c> {
        if offset == 0 { p } else { self.index(p, self.int(offset)) }
    }

    pub fn index(&self, p: Ptr<'c>, offset: Val<'c>) -> Ptr<'c> {
        super::byte_address(&self.builder, self.context.i8_type(), p, offset)
    }

    /// Loads `bytes` (1, 2, 4 or 8) and extends.
    pub fn load(&self, p: Ptr<'c>, bytes: u32, align: u32, signed: bool) -> Val<'c> {
        match self.builder.build_load(self.int_type(bytes * 8), p, "") {
            Ok(v) if v.is_int_value() => {
                if let Some(i) = v.as_instruction_value() {
                    let _ = i.set_alignment(align.min(bytes)).map_err(|e| self.note(&e.to_string()));
                }
                self.widen(v.into_int_value(), signed)
            }
            _ => {
                self.note("load");
                self.int(0)
            }
        }
    }

    /// Loads a word that was stored before, really: to the verifier it is any number then.
    pub fn reload(&self, p: Ptr<'c>) -> Val<'c> {
        match self.builder.build_load(self.i64, p, "") {
            Ok(v) if v.is_int_value() => {
                if let Some(i) = v.as_instruction_value() {
                    let _ = i.set_volatile(true).map_err(|e| self.note(&e.to_string()));
                }
                v.into_int_value()
            }
            _ => {
                self.note("load");
                self.int(0)
            }
        }
    }

    pub fn load_ptr(&self, p: Ptr<'c>) -> Ptr<'c> {
        match self.builder.build_load(self.ptr, p, "") {
            Ok(v) if v.is_pointer_value() => v.into_pointer_value(),
            _ => {
                self.note("load");
                self.null()
            }
        }
    }

    pub fn store_ptr(&self, p: Ptr<'c>, value: Ptr<'c>) {
        let _ = self.builder.build_store(p, value).map_err(|e| self.note(&e.to_string()));
    }

    /// Loads from the program's context. The address and the load stay one instruction with a
    /// constant offset, which is all that the verifier allows: LLVM may not merge two of them into a
    /// load from a chosen address, nor narrow one.
    pub fn load_context(&self, p: Ptr<'c>, offset: u32, bytes: u32, signed: bool) -> Val<'c> {
        let ty = self.int_type(bytes * 8);
        let Some(function) = inkwell::intrinsics::Intrinsic::find("llvm.bpf.getelementptr.and.load")
            .and_then(|i| i.get_declaration(self.module, &[ty.into()]))
        else {
            self.note("llvm.bpf.getelementptr.and.load");
            return self.int(0);
        };
        let i8 = self.context.i8_type();
        let shift = i8.const_int(u64::from(bytes.trailing_zeros()), false);
        let args: [BasicMetadataValueEnum<'c>; 7] = [
            p.into(),
            self.no().into(),
            i8.const_zero().into(),
            i8.const_int(1, false).into(),
            shift.into(),
            self.i1.const_int(1, false).into(),
            self.int(i64::from(offset)).into(),
        ];
        match self.builder.build_call(function, &args, "") {
            Ok(call) => {
                call.add_attribute(AttributeLoc::Param(0), self.element_type);
                for a in self.pure_attributes {
                    call.add_attribute(AttributeLoc::Function, a);
                }
                let loaded = call.try_as_basic_value().basic().map(|v| v.into_int_value());
                loaded.map_or(self.int(0), |v| self.widen(v, signed))
            }
            Err(e) => {
                self.note(&e.to_string());
                self.int(0)
            }
        }
    }

    pub fn store(&self, p: Ptr<'c>, value: Val<'c>, bytes: u32, align: u32) {
        let ty = self.int_type(bytes * 8);
        let value =
            if bytes >= 8 { value } else { self.ok(self.builder.build_int_truncate(value, ty, ""), ty.const_zero()) };
        match self.builder.build_store(p, value) {
            Ok(i) => {
                let _ = i.set_alignment(align.min(bytes)).map_err(|e| self.note(&e.to_string()));
            }
            Err(e) => self.note(&e.to_string()),
        }
    }

    /// `*p op= value` on 4 or 8 bytes, atomically.
    pub fn atomic(&self, op: AtomicRMWBinOp, p: Ptr<'c>, value: Val<'c>, bytes: u32) {
        self.atomic_op(op, p, value, bytes, AtomicOrdering::Monotonic);
    }

    /// As `atomic`; returns the old value. Where it is used the kernel must have fetching atomics.
    pub fn atomic_fetch(&self, op: AtomicRMWBinOp, p: Ptr<'c>, value: Val<'c>, bytes: u32) -> Val<'c> {
        // For the weakest ordering LLVM takes the instruction that does not fetch, whether the result is used or not.
        self.atomic_op(op, p, value, bytes, AtomicOrdering::SequentiallyConsistent)
    }

    fn atomic_op(
        &self,
        op: AtomicRMWBinOp,
        p: Ptr<'c>,
        value: Val<'c>,
        bytes: u32,
        ordering: AtomicOrdering,
    ) -> Val<'c> {
        let ty = self.int_type(bytes * 8);
        // Adding what it knows to be zero LLVM would turn into an atomic `or`, which kernels before 5.12 do not have.
        let nonzero = value.get_zero_extended_constant().is_some_and(|v| v != 0);
        let value = if nonzero { value } else { self.opaque(value) };
        let value =
            if bytes >= 8 { value } else { self.ok(self.builder.build_int_truncate(value, ty, ""), ty.const_zero()) };
        let old = self.ok(self.builder.build_atomicrmw(op, p, value, ordering), value);
        self.widen(old, false)
    }

    // --- calls ---

    fn signature(&self, args: &[Arg<'c>]) -> (Vec<BasicMetadataTypeEnum<'c>>, Vec<BasicMetadataValueEnum<'c>>) {
        let types = args.iter().map(|a| match a {
            Arg::Val(_) => self.i64.into(),
            Arg::Ptr(_) => self.ptr.into(),
        });
        let values = args.iter().map(|a| match a {
            Arg::Val(v) => (*v).into(),
            Arg::Ptr(p) => (*p).into(),
        });
        (types.collect(), values.collect())
    }

    /// Calls a function of another module that will be linked into this one. Arguments and the result are fitted to
    /// its types; without a result it is zero.
    pub fn call(&self, function: Func<'c>, args: &[Arg<'c>], signed: bool) -> Val<'c> {
        let (ty, name) = (function.get_type(), function.get_name().to_string_lossy().into_owned());
        let target = self.module.get_function(&name).unwrap_or_else(|| self.module.add_function(&name, ty, None));
        let mut values: Vec<BasicMetadataValueEnum<'c>> = Vec::new();
        for (arg, param) in args.iter().zip(ty.get_param_types()) {
            values.push(match (*arg, param) {
                (Arg::Val(v), BasicMetadataTypeEnum::PointerType(p)) => {
                    self.ok(self.builder.build_int_to_ptr(v, p, ""), self.null()).into()
                }
                (Arg::Val(v), BasicMetadataTypeEnum::IntType(i)) if i.get_bit_width() < 64 => {
                    self.ok(self.builder.build_int_truncate(v, i, ""), v).into()
                }
                (Arg::Val(v), _) => v.into(),
                (Arg::Ptr(p), _) => p.into(),
            });
        }
        match self.builder.build_call(target, &values, "") {
            Ok(call) => match call.try_as_basic_value().basic() {
                Some(BasicValueEnum::PointerValue(p)) => self.ptr_to_int(p),
                Some(BasicValueEnum::IntValue(v)) if v.get_type().get_bit_width() == 64 => v,
                Some(BasicValueEnum::IntValue(v)) if signed => {
                    self.ok(self.builder.build_int_s_extend(v, self.i64, ""), self.int(0))
                }
                Some(BasicValueEnum::IntValue(v)) => {
                    self.ok(self.builder.build_int_z_extend(v, self.i64, ""), self.int(0))
                }
                _ => self.int(0),
            },
            Err(e) => {
                self.note(&e.to_string());
                self.int(0)
            }
        }
    }

    /// Calls a BPF helper.
    pub fn helper(&self, helper: Entry, args: &[Arg<'c>], effect: Effect) -> Val<'c> {
        let (types, args) = self.signature(args);
        let target = self.int(i64::from(helper.number)).const_to_pointer(self.ptr);
        match self.builder.build_indirect_call(self.i64.fn_type(&types, false), target, &args, "") {
            Ok(call) => {
                if effect == Effect::None {
                    for a in self.pure_attributes {
                        call.add_attribute(AttributeLoc::Function, a);
                    }
                }
                call.try_as_basic_value().basic().map_or(self.int(0), |v| v.into_int_value())
            }
            Err(e) => {
                self.note(&e.to_string());
                self.int(0)
            }
        }
    }

    /// The same for helpers that return a pointer.
    pub fn helper_ptr(&self, helper: Entry, args: &[Arg<'c>]) -> Ptr<'c> {
        let (types, args) = self.signature(args);
        let target = self.int(i64::from(helper.number)).const_to_pointer(self.ptr);
        match self.builder.build_indirect_call(self.ptr.fn_type(&types, false), target, &args, "") {
            Ok(call) => call.try_as_basic_value().basic().map_or(self.null(), |v| v.into_pointer_value()),
            Err(e) => {
                self.note(&e.to_string());
                self.null()
            }
        }
    }
}
