//! What all programs of an object share while it is built: maps, shared memory, license, debug information.

use crate::bitcode::Foreign;
use crate::llvm::Session;
use crate::llvm::di::DebugInfo;
use crate::llvm::ir::{Effect, Ir, Ptr};
use crate::{Options, capture};
use inkwell::module::Module;
use inkwell::values::GlobalValue;
use rtrace_lang::bundle::{
    Action, EventDef, EventLayout, GLOBALS_SYMBOL, LoopDef, MapObject, PLACED_SCRATCH_SYMBOL, SCRATCH_SYMBOL, Storage,
};
use rtrace_lang::source::{SourceMap, Span};
use rtrace_lang::typed::{EventId, Typed};
use rtrace_lang::types::Type;
use rtrace_lang::uapi::{Entry, helper};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;

/// Bytes of a cache line: what CPUs write to lies on different ones.
const LINE: u32 = 64;

/// State shared by all programs of an object.
pub struct Unit<'m, 'c> {
    pub typed: &'m Typed,
    pub options: &'m Options,
    pub ir: Ir<'m, 'c>,
    pub debug: DebugInfo,
    pub foreign: &'m Foreign<'c>,
    /// Programs are to keep as little as possible on the stack.
    pub lean: bool,
    module: &'m Module<'c>,
    objects: Vec<GlobalValue<'c>>,
    globals: Option<GlobalValue<'c>>,
    pub scratch: Cell<Option<GlobalValue<'c>>>,
    pub scratch_entries: Cell<u32>,
    /// The function that counts entries, once there is one; see `Lower::map_len`.
    pub counting: Cell<Option<Ptr<'c>>>,
    /// Loops that may be stopped; their counters follow what the layout pass put into the globals.
    pub loops: RefCell<Vec<LoopDef>>,
    /// Events about helpers that failed; their numbers follow those of the script's.
    pub failures: RefCell<Vec<EventDef>>,
    /// Addresses in the scratch memory of the program that is being built, which has no place yet.
    scratch_places: RefCell<Vec<Ptr<'c>>>,
    /// Bytes of scratch memory that has a place, for all CPUs.
    pub placed: Cell<u32>,
    /// The offset in the globals of zeros that nobody writes: the initial value of new map entries.
    zeros: u32,
    pub size: u32,
}

impl<'m, 'c> Unit<'m, 'c> {
    pub fn new(
        module: &'m Module<'c>,
        session: &'c Session,
        typed: &'m Typed,
        sources: &SourceMap,
        options: &'m Options,
        foreign: &'m Foreign<'c>,
        lean: bool,
    ) -> Self {
        let context = session.context();
        let limited: HashSet<Span> = typed.programs.iter().flat_map(capture::limited_loops).collect();
        let zeros = typed.globals.size.next_multiple_of(8) + 8 * limited.len() as u32;
        let counted =
            typed.maps.iter().filter(|m| matches!((&m.value, &m.storage), (Type::Agg(_), Storage::Map { .. })));
        let size = zeros + counted.map(|m| m.value.size()).max().unwrap_or(0);
        let globals = (size > 0).then(|| {
            let ty = context.i64_type().array_type(size.div_ceil(8));
            let global = module.add_global(ty, None, GLOBALS_SYMBOL);
            global.set_initializer(&ty.const_zero());
            global.set_alignment(8);
            global
        });
        let mut unit = Unit {
            typed,
            options,
            ir: Ir::new(context, module),
            debug: DebugInfo::new(module, sources),
            foreign,
            lean,
            module,
            objects: Vec::new(),
            globals,
            scratch: Cell::new(None),
            scratch_entries: Cell::new(0),
            counting: Cell::new(None),
            loops: RefCell::new(Vec::new()),
            failures: RefCell::new(Vec::new()),
            scratch_places: RefCell::new(Vec::new()),
            placed: Cell::new(0),
            zeros,
            size,
        };
        for object in &typed.map_objects {
            // The scratch map's size comes out of lowering; it is added when first used.
            if object.symbol != SCRATCH_SYMBOL {
                let global = unit.declare_map(&object.symbol);
                unit.define_map(global, object);
                unit.objects.push(global);
            } else {
                let global = unit.scratch_global();
                unit.objects.push(global);
            }
        }
        let license = context.const_string(unit.typed.license.as_bytes(), true);
        let global = module.add_global(license.get_type(), None, "_license");
        global.set_section(Some("license"));
        global.set_initializer(&license);
        unit
    }

    fn declare_map(&self, symbol: &str) -> GlobalValue<'c> {
        let ty = self.module.get_context().i32_type().array_type(7);
        let global = self.module.add_global(ty, None, symbol);
        global.set_section(Some("maps"));
        global.set_alignment(4);
        global
    }

    /// `struct bpf_map_def`: type, key size, value size, entries, flags, id, pinning.
    pub fn define_map(&self, global: GlobalValue<'c>, object: &MapObject) {
        let i32 = self.module.get_context().i32_type();
        let words = [object.map_type, object.key_size, object.value_size, object.max_entries, object.flags, 0, 0];
        let words = words.map(|w| i32.const_int(u64::from(w), false));
        global.set_initializer(&i32.const_array(&words));
    }

    fn scratch_global(&self) -> GlobalValue<'c> {
        match self.scratch.get() {
            Some(global) => global,
            None => {
                let global = self.declare_map(SCRATCH_SYMBOL);
                self.scratch.set(Some(global));
                global
            }
        }
    }

    /// A byte of the shared memory.
    pub fn global(&self, offset: u32) -> Ptr<'c> {
        match self.globals {
            Some(global) => self.ir.offset(global.as_pointer_value(), i64::from(offset)),
            None => self.ir.null(),
        }
    }

    /// Zeros, as many as the value of any keyed aggregation has.
    pub fn zeros(&self) -> Ptr<'c> {
        self.global(self.zeros)
    }

    /// The counter of how often a loop was stopped after that many rounds; one for each place.
    pub fn loop_counter(&self, span: Span, range: bool, rounds: u32) -> Option<Ptr<'c>> {
        let mut loops = self.loops.borrow_mut();
        let span = (span.start, span.end);
        if let Some(known) = loops.iter().find(|l| l.span == span) {
            return Some(self.global(known.stopped));
        }
        let stopped = self.typed.globals.size.next_multiple_of(8) + 8 * loops.len() as u32;
        if stopped + 8 > self.zeros {
            return None;
        }
        loops.push(LoopDef { span, range, rounds, stopped });
        Some(self.global(stopped))
    }

    /// A loop that [`Unit::loop_counter`] knows is stopped after fewer rounds.
    pub fn limit_loop(&self, span: Span, rounds: u32) {
        let span = (span.start, span.end);
        if let Some(known) = self.loops.borrow_mut().iter_mut().find(|l| l.span == span) {
            known.rounds = known.rounds.min(rounds);
        }
    }

    /// The event that says that a helper failed, for each helper and place, if such events are wanted.
    pub fn failure(&self, helper: Entry, span: Span) -> Option<(EventId, EventDef)> {
        let lost = self.typed.globals.failures?;
        let action = Action::Failure { helper: helper.name.to_owned() };
        let fields = vec![Type::I64];
        let event = EventDef { layout: EventLayout::new(&fields), action, fields, lost, span: (span.start, span.end) };
        let mut failures = self.failures.borrow_mut();
        let index = failures.iter().position(|e| *e == event).unwrap_or_else(|| {
            failures.push(event.clone());
            failures.len() - 1
        });
        Some(((self.typed.events.len() + index) as EventId, event))
    }

    /// A BPF map by its index in the bundle.
    pub fn object(&self, index: u32) -> Option<Ptr<'c>> {
        self.objects.get(index as usize).map(|g| g.as_pointer_value())
    }

    fn index_of(&self, symbol: &str) -> Option<usize> {
        self.typed.map_objects.iter().position(|o| o.symbol == symbol)
    }

    pub fn object_named(&self, symbol: &str) -> Option<Ptr<'c>> {
        self.index_of(symbol).and_then(|i| self.object(i as u32))
    }

    pub fn object_size(&self, symbol: &str) -> u32 {
        self.index_of(symbol).and_then(|i| self.typed.map_objects.get(i)).map_or(0, |o| o.value_size)
    }

    /// The index of the next program's entry in the scratch map.
    pub fn next_scratch(&self) -> u32 {
        let index = self.scratch_entries.get();
        self.scratch_entries.set(index + 1);
        index
    }

    /// This CPU's scratch memory of the program that is being built, where the number of CPUs is known: plain memory,
    /// a copy for each CPU. How large it is comes out of lowering the whole program; [`Unit::settle_scratch`] puts in
    /// the address then.
    pub fn scratch_place(&self) -> Ptr<'c> {
        let place = self.ir.unsettled();
        self.scratch_places.borrow_mut().push(place);
        place
    }

    /// Makes the scratch memory of the program that was built, `size` bytes for each CPU.
    pub fn settle_scratch(&self, program: &str, size: u32) {
        let places = self.scratch_places.take();
        if places.is_empty() {
            return;
        }
        let copies = self.options.cpus.unwrap_or(1).max(1).next_power_of_two();
        let stride = size.next_multiple_of(LINE);
        let bytes = stride.saturating_mul(copies);
        self.placed.set(self.placed.get().saturating_add(bytes));
        let ty = self.module.get_context().i64_type().array_type(bytes / 8);
        let memory = self.module.add_global(ty, None, &format!("{program}_scratch"));
        memory.set_section(Some(PLACED_SCRATCH_SYMBOL));
        memory.set_initializer(&ty.const_zero());
        memory.set_alignment(LINE);
        let ir = &self.ir;
        for place in places {
            ir.settle(place, || {
                let cpu = ir.helper(helper::GET_SMP_PROCESSOR_ID, &[], Effect::None);
                let copy = ir.and(cpu, ir.int(i64::from(copies) - 1));
                ir.index(memory.as_pointer_value(), ir.mul(copy, ir.int(i64::from(stride))))
            });
        }
    }

    pub fn scratch_map(&self) -> Ptr<'c> {
        self.scratch_global().as_pointer_value()
    }
}
