//! `dw_ustack`: walking the stack of a program by the unwind tables of its files, in the kernel. What the tables are
//! stands in `rtrace_lang::bundle::unwind`; where things lie in kernel memory comes with the call as arguments.
//!
//! One step goes from a frame to its caller, and is a function of its own in each program that unwinds. It has no
//! arguments and is global to the kernel, so that the verifier walks through it once, not at each call. What it
//! works on, the *state*, lies in the program's scratch memory.
//!
//! Numbers go from one part of the step to the next through the state, and are really loaded from there: of what
//! comes out of memory the verifier knows nothing, so that the ways through one part all look the same to the next.
//! Else it would follow each way through a search to its end.

use crate::analysis::operands;
use crate::capture::{blocks, expressions};
use crate::flags::*;
use crate::llvm::ir::{Arg, AtomicOp, Block, Effect, Pred, Ptr, Val};
use crate::lower::{Lower, Unwinder};
use crate::pool::{Mem, Pool};
use rtrace_lang::bundle::unwind::*;
use rtrace_lang::bundle::{UNWIND_SYMBOL, WANTED_SYMBOL};
use rtrace_lang::diag::Result;
use rtrace_lang::intrinsic::Intrinsic;
use rtrace_lang::typed::{Expr, ExprKind, Program, Stmt};
use rtrace_lang::types::{Space, Type};
use rtrace_lang::uapi::helper::*;

/// Offsets in the state, of words.
mod at {
    /// Registers of the frame.
    pub const IP: u32 = 0;
    pub const SP: u32 = 8;
    pub const BP: u32 = 16;
    /// Whether the instruction itself runs in this frame; else it is the one behind a call.
    pub const EXACT: u32 = 24;
    /// Frames so far, and how many are wanted.
    pub const COUNT: u32 = 32;
    pub const MOST: u32 = 40;
    /// The location of the mappings of the process.
    pub const MM: u32 = 48;
    /// The process and the mapping of the frame; these two are the value of a wanted file.
    pub const PROCESS: u32 = 56;
    pub const START: u32 = 64;
    pub const END: u32 = 72;
    /// Offset in the file of its start.
    pub const OFFSET: u32 = 80;
    /// The file's key: device and inode.
    pub const FILE: u32 = 88;
    pub const INODE: u32 = 96;
    /// Some table was not there.
    pub const MISSING: u32 = 104;
    /// The canonical frame address.
    pub const CFA: u32 = 112;
    /// Of searches.
    pub const NODE: u32 = 120;
    pub const LOW: u32 = 128;
    pub const HIGH: u32 = 136;
    pub const SLOTS: u32 = 144;
    pub const KEY: u32 = 152;
    pub const WORD: u32 = 160;
    /// Room for what is read of the kernel.
    pub const BUFFER: u32 = 168;
    /// The frames.
    pub const FRAMES: u32 = BUFFER + super::BUFFER;
}

/// Bytes of a node of a maple tree, and more than the registers take.
const BUFFER: u32 = 256;
/// More levels than a tree of as many mappings as a process may have.
const MAPLE_LEVELS: i64 = 12;
const RB_LEVELS: i64 = 40;
/// The layout of the nodes of a maple tree: `maple_range_64` and `maple_arange_64` of `linux/maple_tree.h`.
const MAPLE_PIVOTS: i64 = 15;
const RANGE_SLOTS: i64 = 16;
const ARANGE_SLOTS: i64 = 10;
const RANGE_END: u32 = 248;
const ARANGE_END: u32 = 240;
const MAPLE_ARANGE: i64 = 3;
/// Smaller values are no addresses of nodes or mappings.
const NO_ADDRESS: i64 = 4096;
/// `VM_EXEC`
const EXECUTABLE: i64 = 4;
/// A frame is not larger than this.
const FRAME_LIMIT: i64 = 1 << 24;

/// The constant arguments of a call, see `lang/src/builtins/stacks.rs`.
struct Facts {
    maple: bool,
    root: i64,
    node: i64,
    start: i64,
    end: i64,
    page: i64,
    flags: i64,
    file: i64,
    inode: i64,
    number: i64,
    super_block: i64,
    device: i64,
}

/// Before them: two addresses and the offsets of three registers.
const FIRST_FACT: usize = 5;

impl Facts {
    fn of(args: &[Expr]) -> Option<Facts> {
        let mut facts = args.iter().skip(FIRST_FACT).map(Expr::constant);
        let mut next = || facts.next().flatten();
        Some(Facts {
            maple: next()? != 0,
            root: next()?,
            node: next()?,
            start: next()?,
            end: next()?,
            page: next()?,
            flags: next()?,
            file: next()?,
            inode: next()?,
            number: next()?,
            super_block: next()?,
            device: next()?,
        })
    }
}

/// Calls `f` with the arguments and the depth of every `dw_ustack` of a program.
fn calls<'p>(program: &'p Program, f: &mut dyn FnMut(&'p [Expr], u32)) {
    in_block(&program.body, f);
    program.functions.iter().for_each(|x| in_block(&x.body, f));
}

fn in_block<'p>(stmts: &'p [Stmt], f: &mut dyn FnMut(&'p [Expr], u32)) {
    for s in stmts {
        expressions(s, &mut |e| in_expr(e, f));
        blocks(s, &mut |b| in_block(b, f));
    }
}

fn in_expr<'p>(e: &'p Expr, f: &mut dyn FnMut(&'p [Expr], u32)) {
    match (&e.kind, &e.ty) {
        (ExprKind::Call { intrinsic: Intrinsic::DwUstack, args }, Type::Stack(stack)) => f(args, stack.depth.into()),
        (ExprKind::Block { stmts, .. }, _) => in_block(stmts, f),
        _ => {}
    }
    operands(e, &mut |x| in_expr(x, f));
}

/// The step while it is built.
struct Step<'l, 'u, 'm, 'c> {
    lower: &'l Lower<'u, 'm, 'c>,
    state: Mem<'c>,
    /// There is no caller, or none that can be found.
    end: Block<'c>,
    facts: Facts,
}

impl<'u, 'm, 'c> Lower<'u, 'm, 'c> {
    /// Builds the step, if the program unwinds; before anything else of it.
    pub fn build_unwinder(&mut self) -> Result<()> {
        let (mut found, mut depth) = (None, 0);
        calls(self.program, &mut |args, d| {
            found = Some(args);
            depth = depth.max(d);
        });
        let Some(args) = found else { return Ok(()) };
        let Some(facts) = Facts::of(args) else { return self.unexpected("this stack") };
        // Never given back: it is in use wherever the step is called.
        let state = self.reserve_scratch(at::FRAMES + depth * 8)?;
        let ir = self.ir;
        let name = format!("{}_unwind", self.program.symbol);
        let suspended = ir.suspend();
        let step = ir.noinline_function(&name);
        let scope = self.unit.debug.enter_lone(step, &name, self.span);
        let outer_scope = std::mem::replace(&mut self.scope, scope);
        self.locate(self.program.span);
        let end = ir.block("end");
        let inner = self.pool.inner(64);
        let outer_pool: Pool<'c> = std::mem::replace(&mut self.pool, inner);
        let outer_exit = std::mem::replace(&mut self.exit, end);
        let built = self.scratch_at(state).and_then(|state| Step { lower: self, state, end, facts }.build(depth));
        ir.at(end);
        ir.ret(ir.int(1));
        ir.finish_entry(step);
        let inner = std::mem::replace(&mut self.pool, outer_pool);
        self.pool.absorb(&inner);
        self.exit = outer_exit;
        self.scope = outer_scope;
        self.scope.forget();
        ir.resume(suspended);
        self.locate(self.program.span);
        self.unwinder = Some(Unwinder { step, state, depth });
        built
    }

    /// Walks the stack of the running process; writes the frames and returns how many bytes they are.
    pub fn unwound_frames(&mut self, args: &[Expr], depth: u32, to: Mem<'c>) -> Result<Val<'c>> {
        let (Some(unwinder), [mm, regs, ip, sp, bp, ..]) = (self.unwinder, args) else {
            return self.unexpected("this stack");
        };
        let (mm, known) = (self.number(mm)?, self.number(regs)?);
        let asked = regs.constant() == Some(0);
        let state = self.scratch_at(unwinder.state)?;
        let process = self.process_id();
        let ir = self.ir;
        let place = |offset: u32| ir.offset(state.ptr, i64::from(offset));
        let set = |offset: u32, value: Val<'c>| ir.store(place(offset), value, 8, 8);
        set(at::MM, mm);
        for (offset, value) in [
            (at::COUNT, 0),
            (at::MOST, i64::from(depth)),
            (at::EXACT, 1),
            (at::START, 1),
            (at::END, 0),
            (at::MISSING, 0),
        ] {
            set(offset, ir.int(value));
        }
        set(at::PROCESS, process);
        let (user, head, again, done) = (ir.block("user"), ir.block("frame"), ir.block("caller"), ir.block("unwound"));
        // Threads of the kernel have no stack of a program.
        ir.cond_br_rarely(ir.icmp(Pred::EQ, mm, ir.int(0)), done, user);

        ir.at(user);
        let regs = match asked {
            true => {
                let task = ir.helper(GET_CURRENT_TASK_BTF, &[], Effect::None);
                ir.helper(TASK_PT_REGS, &[task.into()], Effect::None)
            }
            false => known,
        };
        let last = [ip, sp, bp].into_iter().filter_map(|r| r.constant()).max().unwrap_or(0);
        self.read(place(at::BUFFER), (last as u32 + 8).min(BUFFER), regs, Space::Kernel);
        for (register, to) in [(ip, at::IP), (sp, at::SP), (bp, at::BP)] {
            let from = register.constant().unwrap_or(0) as u32;
            set(to, ir.load(place(at::BUFFER + from.min(BUFFER - 8)), 8, 8, false));
        }
        let from = ir.here();
        ir.br(head);
        ir.at(head);
        let round = ir.loop_phi(ir.int(0), from);
        let ended = ir.call(unwinder.step, &[], false);
        let next = ir.opaque(ir.add(round, ir.int(1)));
        ir.cond_br(ir.icmp(Pred::EQ, ended, ir.int(0)), again, done);
        ir.at(again);
        ir.close_loop(round, next, again);
        ir.cond_br(ir.icmp(Pred::ULT, next, ir.int(i64::from(depth))), head, done);

        ir.at(done);
        if let Some(counter) = self.unit.typed.globals.unready {
            let (missing, counted) = (ir.block("unready"), ir.block("counted"));
            ir.cond_br_rarely(ir.icmp(Pred::NE, ir.reload(place(at::MISSING)), ir.int(0)), missing, counted);
            ir.at(missing);
            ir.atomic(AtomicOp::Add, self.unit.global(counter), ir.int(1), 8);
            ir.br(counted);
            ir.at(counted);
        }
        let count = ir.reload(place(at::COUNT));
        let bytes = ir.bound(ir.shl(count, ir.int(3)), depth.min(unwinder.depth) * 8);
        self.read_sized(to.ptr, bytes, ir.ptr_to_int(place(at::FRAMES)), Space::Kernel);
        Ok(bytes)
    }
}

impl<'c> Step<'_, '_, '_, 'c> {
    fn place(&self, offset: u32) -> Ptr<'c> {
        self.lower.ir.offset(self.state.ptr, i64::from(offset))
    }

    fn get(&self, offset: u32) -> Val<'c> {
        self.lower.ir.reload(self.place(offset))
    }

    fn set(&self, offset: u32, value: Val<'c>) {
        self.lower.ir.store(self.place(offset), value, 8, 8);
    }

    /// Reads a word to the state; goes to `failed` if it cannot be read.
    fn fetch(&self, to: u32, from: Val<'c>, space: Space, failed: Block<'c>) {
        let ir = self.lower.ir;
        let result = self.lower.read(self.place(to), 8, from, space);
        let read = ir.block("read");
        ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(0)), read, failed);
        ir.at(read);
    }

    /// Up to `rounds` rounds: `f` is given the number of the round and where a round and the loop end.
    fn search(&self, rounds: i64, done: Block<'c>, f: impl FnOnce(Val<'c>, Block<'c>)) {
        let ir = self.lower.ir;
        let (head, next) = (ir.block("round"), ir.block("next"));
        let from = ir.here();
        ir.br(head);
        ir.at(head);
        let round = ir.loop_phi(ir.int(0), from);
        f(round, next);
        ir.at(next);
        let following = ir.opaque(ir.add(round, ir.int(1)));
        ir.close_loop(round, following, next);
        ir.cond_br(ir.icmp(Pred::ULT, following, ir.int(rounds)), head, done);
    }

    /// Takes the frame that the registers are of, and puts those of its caller in their place. Gives 0 to go on.
    fn build(&self, depth: u32) -> Result<()> {
        let ir = self.lower.ir;
        let (mapped, unmapped, take, looked) =
            (ir.block("mapped"), ir.block("unmapped"), ir.block("take"), ir.block("looked"));
        let (find, by_base) = (ir.block("find"), ir.block("by_base"));
        let pc = self.code_address();
        ir.cond_br(ir.icmp(Pred::ULT, pc, self.get(at::START)), find, looked);
        ir.at(looked);
        ir.cond_br(ir.icmp(Pred::ULT, pc, self.get(at::END)), mapped, find);
        ir.at(find);
        self.find_mapping(mapped, unmapped);
        // What is no code is no frame, but the first is shown whatever it is.
        ir.at(unmapped);
        self.set(at::START, ir.int(1));
        self.set(at::END, ir.int(0));
        ir.cond_br(ir.icmp(Pred::EQ, self.get(at::COUNT), ir.int(0)), take, self.end);
        for (block, then) in [(take, self.end), (mapped, ir.block("taken"))] {
            ir.at(block);
            self.take_frame(depth);
            ir.br(then);
            ir.at(then);
        }
        self.follow_table(by_base)?;
        ir.at(by_base);
        self.follow_base();
        Ok(())
    }

    /// An address within the instruction that runs, or that called.
    fn code_address(&self) -> Val<'c> {
        let ir = self.lower.ir;
        ir.sub(ir.add(self.get(at::IP), self.get(at::EXACT)), ir.int(1))
    }

    fn take_frame(&self, depth: u32) {
        let ir = self.lower.ir;
        let count = self.get(at::COUNT);
        let room = ir.block("room");
        ir.cond_br(ir.icmp(Pred::ULT, count, self.get(at::MOST)), room, self.end);
        ir.at(room);
        let index = ir.bound(count, depth.saturating_sub(1));
        let to = ir.index(self.place(at::FRAMES), ir.shl(index, ir.int(3)));
        ir.store(to, self.get(at::IP), 8, 8);
        self.set(at::COUNT, ir.add(count, ir.int(1)));
    }

    /// Finds the mapping of the code and its file.
    fn find_mapping(&self, mapped: Block<'c>, unmapped: Block<'c>) {
        let ir = self.lower.ir;
        let found = ir.block("found");
        let root = ir.add(self.get(at::MM), ir.int(self.facts.root));
        self.fetch(at::NODE, root, Space::Kernel, unmapped);
        if self.facts.maple {
            self.maple(found, unmapped)
        } else {
            self.red_black(found, unmapped)
        }
        ir.at(found);
        let mapping = self.get(at::NODE);
        let (nobody, inside, executable, file) =
            (ir.block("anonymous"), ir.block("inside"), ir.block("executable"), ir.block("file"));
        for (to, offset) in [
            (at::START, self.facts.start),
            (at::END, self.facts.end),
            (at::OFFSET, self.facts.page),
            (at::WORD, self.facts.flags),
            (at::NODE, self.facts.file),
        ] {
            self.fetch(to, ir.add(mapping, ir.int(offset)), Space::Kernel, unmapped);
        }
        let pc = self.code_address();
        ir.cond_br(ir.icmp(Pred::ULT, pc, self.get(at::START)), unmapped, inside);
        ir.at(inside);
        let later = ir.icmp(Pred::ULT, pc, self.get(at::END));
        let check = ir.block("flags");
        ir.cond_br(later, check, unmapped);
        ir.at(check);
        let flags = ir.and(self.get(at::WORD), ir.int(EXECUTABLE));
        ir.cond_br(ir.icmp(Pred::EQ, flags, ir.int(0)), unmapped, executable);
        ir.at(executable);
        self.set(at::OFFSET, ir.shl(self.get(at::OFFSET), ir.int(12)));
        self.set(at::FILE, ir.int(0));
        self.set(at::INODE, ir.int(0));
        let name = self.get(at::NODE);
        ir.cond_br(ir.icmp(Pred::EQ, name, ir.int(0)), nobody, file);
        ir.at(nobody);
        ir.br(mapped);
        ir.at(file);
        self.fetch(at::NODE, ir.add(name, ir.int(self.facts.inode)), Space::Kernel, unmapped);
        let inode = self.get(at::NODE);
        self.fetch(at::INODE, ir.add(inode, ir.int(self.facts.number)), Space::Kernel, unmapped);
        self.fetch(at::NODE, ir.add(inode, ir.int(self.facts.super_block)), Space::Kernel, unmapped);
        let device = ir.add(self.get(at::NODE), ir.int(self.facts.device));
        self.lower.read(self.place(at::FILE), 4, device, Space::Kernel);
        ir.br(mapped);
    }

    /// The mapping in a red-black tree: the first one that ends behind the address.
    fn red_black(&self, found: Block<'c>, unmapped: Block<'c>) {
        let ir = self.lower.ir;
        self.search(RB_LEVELS, unmapped, |_, next| {
            let node = self.get(at::NODE);
            let (some, before, after) = (ir.block("some"), ir.block("before"), ir.block("after"));
            ir.cond_br(ir.icmp(Pred::ULT, node, ir.int(NO_ADDRESS)), unmapped, some);
            ir.at(some);
            let mapping = ir.sub(node, ir.int(self.facts.node));
            let pc = self.code_address();
            // `struct rb_node`: parent, right, left.
            self.fetch(at::LOW, ir.add(mapping, ir.int(self.facts.end)), Space::Kernel, unmapped);
            self.fetch(at::HIGH, ir.add(mapping, ir.int(self.facts.start)), Space::Kernel, unmapped);
            ir.cond_br(ir.icmp(Pred::ULT, pc, self.get(at::LOW)), before, after);
            ir.at(after);
            self.fetch(at::NODE, ir.add(node, ir.int(8)), Space::Kernel, unmapped);
            ir.br(next);
            ir.at(before);
            let (here, left) = (ir.block("here"), ir.block("left"));
            ir.cond_br(ir.icmp(Pred::ULT, pc, self.get(at::HIGH)), left, here);
            ir.at(here);
            self.set(at::NODE, mapping);
            ir.br(found);
            ir.at(left);
            self.fetch(at::NODE, ir.add(node, ir.int(16)), Space::Kernel, unmapped);
            ir.br(next);
        });
    }

    /// The mapping in a maple tree (`lib/maple_tree.c`): nodes of 256 bytes, whose kind stands in the low bits of the
    /// pointers to them; slots with the highest address of each between them.
    fn maple(&self, found: Block<'c>, unmapped: Block<'c>) {
        let ir = self.lower.ir;
        self.search(MAPLE_LEVELS, unmapped, |_, next| {
            let node = self.get(at::NODE);
            let (some, known, chosen) = (ir.block("some"), ir.block("known"), ir.block("chosen"));
            ir.cond_br(ir.icmp(Pred::ULT, node, ir.int(NO_ADDRESS)), unmapped, some);
            ir.at(some);
            let base = ir.and(node, ir.int(!255));
            let result = self.lower.read(self.place(at::BUFFER), BUFFER, base, Space::Kernel);
            ir.cond_br(ir.icmp(Pred::EQ, result, ir.int(0)), known, unmapped);
            ir.at(known);
            let byte = |offset: u32| ir.load(self.place(at::BUFFER + offset), 1, 1, false);
            let kind = || ir.and(ir.shr(self.get(at::NODE), ir.int(3), false), ir.int(15));
            let (range, arange, full) = (ir.block("range"), ir.block("arange"), ir.block("full"));
            ir.cond_br(ir.icmp(Pred::EQ, kind(), ir.int(MAPLE_ARANGE)), arange, range);
            ir.at(arange);
            self.set(at::SLOTS, ir.int(ARANGE_SLOTS));
            self.set(at::HIGH, byte(ARANGE_END));
            ir.br(chosen);
            ir.at(range);
            self.set(at::SLOTS, ir.int(RANGE_SLOTS));
            self.set(at::HIGH, ir.int(MAPLE_PIVOTS));
            // The last pivot of a node that is not full is not used.
            let last = ir.load(self.place(at::BUFFER + 8 + 14 * 8), 8, 8, false);
            ir.cond_br(ir.icmp(Pred::EQ, last, ir.int(0)), full, chosen);
            ir.at(full);
            self.set(at::HIGH, byte(RANGE_END));
            ir.br(chosen);

            ir.at(chosen);
            let pc = self.code_address();
            self.set(at::LOW, ir.int(0));
            let slot = ir.block("slot");
            self.search(MAPLE_PIVOTS, slot, |round, on| {
                self.set(at::LOW, round);
                let (pivot, above) = (ir.block("pivot"), ir.block("above"));
                ir.cond_br(ir.icmp(Pred::ULT, round, self.get(at::HIGH)), pivot, slot);
                ir.at(pivot);
                let highest = ir.load(ir.index(self.place(at::BUFFER + 8), ir.shl(round, ir.int(3))), 8, 8, false);
                ir.cond_br(ir.icmp(Pred::ULT, highest, pc), above, slot);
                ir.at(above);
                self.set(at::LOW, ir.add(round, ir.int(1)));
                ir.br(on);
            });
            ir.at(slot);
            let index = ir.and(ir.opaque(ir.add(self.get(at::SLOTS), self.get(at::LOW))), ir.int(31));
            let entry = ir.load(ir.index(self.place(at::BUFFER), ir.shl(index, ir.int(3))), 8, 8, false);
            let kind = kind();
            self.set(at::NODE, entry);
            let (leaf, address) = (ir.block("leaf"), ir.block("address"));
            ir.cond_br(ir.icmp(Pred::ULT, kind, ir.int(2)), leaf, next);
            ir.at(leaf);
            ir.cond_br(ir.icmp(Pred::ULT, entry, ir.int(NO_ADDRESS)), unmapped, address);
            ir.at(address);
            ir.br(found);
        });
    }

    /// By the file's table; without one, or where it says nothing, by the base pointer.
    fn follow_table(&self, by_base: Block<'c>) -> Result<()> {
        let (Some(tables), Some(wanted)) =
            (self.lower.unit.object_named(UNWIND_SYMBOL), self.lower.unit.object_named(WANTED_SYMBOL))
        else {
            return self.lower.unexpected("this stack");
        };
        let ir = self.lower.ir;
        let (missing, present, named) = (ir.block("missing"), ir.block("present"), ir.block("wanted"));
        let table = ir.helper_ptr(MAP_LOOKUP_ELEM, &[tables.into(), self.place(at::FILE).into()]);
        ir.cond_br(ir.is_null(table), missing, present);
        ir.at(missing);
        ir.cond_br(ir.icmp(Pred::EQ, self.get(at::INODE), ir.int(0)), by_base, named);
        ir.at(named);
        self.set(at::MISSING, ir.int(1));
        let value = self.place(at::PROCESS);
        let args = [wanted.into(), self.place(at::FILE).into(), value.into(), ir.int(BPF_NOEXIST).into()];
        ir.helper(MAP_UPDATE_ELEM, &args, Effect::Any);
        ir.br(by_base);

        ir.at(present);
        let row = |index: Val<'c>, absent: Block<'c>| {
            let key = self.place(at::KEY);
            ir.store(key, index, 8, 8);
            let args: [Arg<'c>; 2] = [table.into(), key.into()];
            let p = ir.helper_ptr(MAP_LOOKUP_ELEM, &args);
            let there = ir.block("row");
            ir.cond_br(ir.is_null(p), absent, there);
            ir.at(there);
            p
        };
        let head = row(ir.int(0), by_base);
        self.set(at::LOW, ir.int(0));
        self.set(at::HIGH, ir.load(head, 8, 8, false));
        let offset = ir.add(ir.sub(self.code_address(), self.get(at::START)), self.get(at::OFFSET));
        self.set(at::WORD, offset);
        let found = ir.block("found_row");
        // The row is one of those from `low` to before `high`.
        self.search(i64::from(ROWS.trailing_zeros()) + 1, found, |_, next| {
            let (low, high) = (self.get(at::LOW), self.get(at::HIGH));
            let (more, below, above) = (ir.block("more"), ir.block("below"), ir.block("above"));
            ir.cond_br(ir.icmp(Pred::ULT, ir.add(low, ir.int(1)), high), more, found);
            ir.at(more);
            let middle = ir.shr(ir.add(low, high), ir.int(1), false);
            self.set(at::CFA, middle);
            let p = row(ir.add(middle, ir.int(1)), by_base);
            let start = ir.load(p, 4, 4, false);
            ir.cond_br(ir.icmp(Pred::ULT, self.get(at::WORD), start), below, above);
            ir.at(below);
            self.set(at::HIGH, self.get(at::CFA));
            ir.br(next);
            ir.at(above);
            self.set(at::LOW, self.get(at::CFA));
            ir.br(next);
        });
        ir.at(found);
        let p = row(ir.add(self.get(at::LOW), ir.int(1)), by_base);
        self.apply(p, by_base);
        Ok(())
    }

    /// Does what a row says.
    fn apply(&self, row: Ptr<'c>, by_base: Block<'c>) {
        let ir = self.lower.ir;
        let is = |v: Val<'c>, n: u8| ir.icmp(Pred::EQ, v, ir.int(i64::from(n)));
        let byte = |at: i64| ir.load(ir.offset(row, at), 1, 1, false);
        let int = |at: i64| ir.load(ir.offset(row, at), 4, 4, true);
        let (cfa, ra, bp, slot) = (byte(4), byte(5), byte(6), byte(7));
        let (cfa_offset, bp_offset) = (int(8), int(12));
        let (known, inner, by_sp, by_bp, sum) =
            (ir.block("rule"), ir.block("inner"), ir.block("by_sp"), ir.block("by_bp"), ir.block("cfa"));
        ir.cond_br(is(cfa, CFA_NONE), by_base, known);
        ir.at(known);
        ir.cond_br(is(cfa, CFA_END), self.end, inner);
        ir.at(inner);
        let from_bp = ir.block("from_bp");
        ir.cond_br(is(cfa, CFA_BP), by_bp, from_bp);
        ir.at(from_bp);
        ir.cond_br(is(cfa, CFA_AT_BP), by_bp, by_sp);
        for (block, register) in [(by_sp, at::SP), (by_bp, at::BP)] {
            ir.at(block);
            self.set(at::CFA, ir.add(self.get(register), cfa_offset));
            ir.br(sum);
        }
        ir.at(sum);
        let (indirect, table, plain) = (ir.block("indirect"), ir.block("table"), ir.block("plain"));
        let (other, plt, pushed, address) =
            (ir.block("other"), ir.block("plt"), ir.block("pushed"), ir.block("address"));
        ir.cond_br(is(cfa, CFA_AT_SP), indirect, other);
        ir.at(other);
        ir.cond_br(is(cfa, CFA_AT_BP), indirect, table);
        ir.at(indirect);
        self.fetch(at::CFA, self.get(at::CFA), Space::User, self.end);
        ir.br(address);
        ir.at(table);
        ir.cond_br(is(cfa, CFA_PLT), plt, plain);
        ir.at(plt);
        let byte_of_entry = ir.and(self.get(at::IP), ir.int(15));
        ir.cond_br(ir.icmp(Pred::ULT, byte_of_entry, slot), plain, pushed);
        ir.at(pushed);
        self.set(at::CFA, ir.add(self.get(at::CFA), ir.int(8)));
        ir.br(plain);
        // Stacks grow downwards.
        ir.at(plain);
        let size = ir.sub(self.get(at::CFA), self.get(at::SP));
        ir.cond_br(ir.icmp(Pred::ULT, ir.sub(size, ir.int(1)), ir.int(FRAME_LIMIT)), address, self.end);

        ir.at(address);
        let (called, interrupted, saved) = (ir.block("called"), ir.block("interrupted"), ir.block("saved"));
        ir.cond_br(is(ra, RA_SP), interrupted, called);
        ir.at(called);
        self.set(at::EXACT, ir.int(0));
        self.fetch(at::IP, ir.sub(self.get(at::CFA), ir.int(8)), Space::User, self.end);
        ir.br(saved);
        ir.at(interrupted);
        self.set(at::EXACT, ir.int(1));
        let word = ir.add(self.get(at::SP), ir.shl(slot, ir.int(3)));
        self.fetch(at::IP, word, Space::User, self.end);
        ir.br(saved);

        ir.at(saved);
        let done = ir.block("done");
        for (kind, register) in [(BP_CFA, at::CFA), (BP_SP, at::SP), (BP_BP, at::BP)] {
            let (this, next) = (ir.block("saved_bp"), ir.block("not_there"));
            ir.cond_br(is(bp, kind), this, next);
            ir.at(this);
            self.fetch(at::BP, ir.add(self.get(register), bp_offset), Space::User, self.end);
            ir.br(done);
            ir.at(next);
        }
        ir.br(done);
        ir.at(done);
        self.set(at::SP, self.get(at::CFA));
        self.go_on();
    }

    /// The base pointer points to that of the caller, above which the return address lies.
    fn follow_base(&self) {
        let ir = self.lower.ir;
        let sound = ir.block("sound");
        let bp = self.get(at::BP);
        let size = ir.sub(bp, self.get(at::SP));
        ir.cond_br(ir.icmp(Pred::ULT, size, ir.int(FRAME_LIMIT)), sound, self.end);
        ir.at(sound);
        self.set(at::EXACT, ir.int(0));
        self.fetch(at::IP, ir.add(bp, ir.int(8)), Space::User, self.end);
        self.fetch(at::BP, bp, Space::User, self.end);
        self.set(at::SP, ir.add(bp, ir.int(16)));
        self.go_on();
    }

    fn go_on(&self) {
        let ir = self.lower.ir;
        let on = ir.block("on");
        ir.cond_br(ir.icmp(Pred::EQ, self.get(at::IP), ir.int(0)), self.end, on);
        ir.at(on);
        ir.ret(ir.int(0));
    }
}
