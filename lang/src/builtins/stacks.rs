//! Modes and depths of stacks, and what the program of `dw_ustack` must know of this kernel: its lowering walks the
//! mappings of the process and its stack by addresses in kernel memory; where things lie there stands in the kernel's types.

use crate::arch::Arch;
use crate::check::{Call, Checker};
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::intrinsic::Intrinsic;
use crate::kernel::{TypeKind, Version};
use crate::source::Span;
use crate::typed::{Expr, ExprKind, Known};
use crate::types::{Space, StackMode, StackType, Type};
use rtrace_grammar::ast;

/// Frames kept unless a script says otherwise: what the kernel gives by default.
const DEPTH: u16 = 127;
/// `bpf_task_pt_regs`; before, a program computes where the registers lie.
const TASK_PT_REGS: Version = Version(5, 15);
/// `THREAD_SIZE` and `sizeof(struct pt_regs)` of x86-64: a task's user registers lie at the end of its kernel stack.
const THREAD_SIZE: i64 = 16 << 10;
const PT_REGS_SIZE: i64 = 168;

/// The members that the lowering asks for: struct and path, in the order of its arguments. The mappings are in a
/// red-black tree before Linux 6.1, in a maple tree since.
const MAPPING: &[(&str, &[&str])] = &[
    ("vm_area_struct", &["vm_start"]),
    ("vm_area_struct", &["vm_end"]),
    ("vm_area_struct", &["vm_pgoff"]),
    ("vm_area_struct", &["vm_flags"]),
    ("vm_area_struct", &["vm_file"]),
    ("file", &["f_inode"]),
    ("inode", &["i_ino"]),
    ("inode", &["i_sb"]),
    ("super_block", &["s_dev"]),
];

/// Arguments of the lowered call: the address of the process's `mm_struct`, that of its user registers (0: ask the
/// kernel), offsets of instruction pointer, stack pointer and base pointer in them, whether the tree is a maple tree,
/// the offset of its root in `mm_struct`, the offset of its node in a mapping (of a red-black tree), then [`MAPPING`].
pub(super) fn dw_ustack(c: &mut Checker<'_>, call: &Call<'_>, intrinsic: Intrinsic) -> Result<Expr> {
    let span = call.span;
    let ty = stack_type(c, call, true, false)?;
    if c.options.arch != Arch::X86_64 {
        return Err(Diagnostic::error(Code::NotAllowedHere, span, "`dw_ustack` is supported only on x86-64")
            .help("use `ustack` for programs compiled with frame pointers"));
    }
    c.feature("unstable_dw_ustack", "`dw_ustack`", span)?;
    c.unwinds = true;
    let int = |n: i64| Expr::int(n, Type::U64, span);
    let mm = task_member(c, "mm", span)?;
    let regs = if c.kernel.machine.version() >= TASK_PT_REGS {
        int(0)
    } else {
        let stack = Box::new(task_member(c, "stack", span)?);
        let end = Box::new(int(THREAD_SIZE - PT_REGS_SIZE));
        Expr {
            kind: ExprKind::Arith { op: rtrace_grammar::ast::BinOp::Add, left: stack, right: end },
            ty: Type::U64,
            span,
        }
    };
    let mut args = vec![mm, regs];
    for register in ["ip", "sp", "bp"] {
        args.push(int(c.options.arch.register(register).map_or(0, i64::from)));
    }
    let maple = find(c, "mm_struct", &["mm_mt"], span)?.is_some();
    let (root, node) = if maple {
        (member(c, "mm_struct", &["mm_mt", "ma_root"], span)?, 0)
    } else {
        (member(c, "mm_struct", &["mm_rb", "rb_node"], span)?, member(c, "vm_area_struct", &["vm_rb"], span)?)
    };
    args.extend([i64::from(maple), root, node].map(int));
    for (record, path) in MAPPING {
        args.push(int(member(c, record, path, span)?));
    }
    Ok(call.lowered(intrinsic, args, Type::Stack(ty)))
}

/// A pointer that the running task has, as a number.
fn task_member(c: &Checker<'_>, name: &str, span: Span) -> Result<Expr> {
    let offset = member(c, "task_struct", &[name], span)?;
    let ptr = Box::new(Expr::intrinsic(Intrinsic::Curtask, Vec::new(), Type::U64, span));
    let kind = ExprKind::Load { ptr, offset, space: Space::Kernel, bits: None, known: Known::Nothing };
    Ok(Expr { kind, ty: Type::U64, span })
}

fn member(c: &Checker<'_>, record: &str, path: &[&str], span: Span) -> Result<i64> {
    find(c, record, path, span)?.ok_or_else(|| {
        let message =
            format!("`dw_ustack` is not supported on this kernel: `struct {record}` has no `{}`", path.join("."));
        Diagnostic::error(Code::KernelLacks, span, message)
            .help("use `ustack` for programs compiled with frame pointers")
    })
}

/// The offset of a member in bytes.
fn find(c: &Checker<'_>, record: &str, path: &[&str], span: Span) -> Result<Option<i64>> {
    let mut ty = c.kernel.types.find_type(TypeKind::Struct, record).map_err(|e| crate::probes::no_facts(e, span))?;
    let mut offset = 0;
    for name in path {
        let Some(Type::Record(r)) = ty else { return Ok(None) };
        let Some(m) = c.kernel.types.member(r.id, name) else { return Ok(None) };
        offset += i64::from(m.bit_offset / 8);
        ty = Some(m.ty);
    }
    Ok(Some(offset))
}

/// The mode and depth in the arguments of a stack.
pub(super) fn stack_type(c: &mut Checker<'_>, call: &Call<'_>, user: bool, build_ids: bool) -> Result<StackType> {
    let mut mode = c.options.stack_mode;
    if mode == StackMode::BuildId && !build_ids {
        mode = StackMode::Bpftrace;
    }
    let mut depth = DEPTH;
    for (i, arg) in call.args.iter().enumerate() {
        if let (0, ast::ExprKind::Ident(word)) = (i, &arg.kind)
            && let Some(m) = mode_of(word)
        {
            if m == StackMode::BuildId && !build_ids {
                return Err(Diagnostic::error(
                    Code::BadValue,
                    arg.span,
                    "only `ustack` supports the stack mode `build_id`",
                )
                .help("stack modes: bpftrace, perf, raw"));
            }
            mode = m;
            continue;
        }
        if let (0, ast::ExprKind::Ident(word)) = (i, &arg.kind)
            && !c.is_constant(word)
        {
            let message = format!("unknown stack mode `{word}`");
            return Err(Diagnostic::error(Code::BadValue, arg.span, message).note(if build_ids {
                "stack modes: bpftrace, perf, raw, build_id"
            } else {
                "stack modes: bpftrace, perf, raw"
            }));
        }
        let n = c.constant(arg, "the number of frames")?;
        depth = u16::try_from(n).ok().filter(|n| (1..=1024).contains(n)).ok_or_else(|| {
            Diagnostic::error(Code::BadValue, arg.span, format!("the number of frames must be 1 to 1024, not {n}"))
        })?;
    }
    Ok(StackType { user, mode, depth, stored: false })
}

fn mode_of(word: &str) -> Option<StackMode> {
    match word {
        "bpftrace" => Some(StackMode::Bpftrace),
        "perf" => Some(StackMode::Perf),
        "raw" => Some(StackMode::Raw),
        "build_id" => Some(StackMode::BuildId),
        _ => None,
    }
}
