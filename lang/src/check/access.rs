//! Reaching into things: members, elements, pointers.
//!
//! A chain such as `$skb->dev->name` becomes loads; members of records embedded in records only add to
//! an offset, so that each pointer is followed by one read.

use super::Checker;
use crate::codes::Code;
use crate::diag::{Diagnostic, Result};
use crate::kernel::Member;
use crate::probes::Context;
use crate::source::Span;
use crate::typed::{Bits, Expr, ExprKind, Known};
use crate::types::{Record, Space, Type, TypeId};
use rtrace_core::nearest::nearest;
use rtrace_grammar::ast::{self, BinOp};

impl Checker<'_> {
    pub(crate) fn field(&mut self, base: &ast::Expr, name: &ast::Name, span: Span) -> Result<Expr> {
        if matches!(&base.kind, ast::ExprKind::Ident(n) if n == "args") {
            return self.args_field(&name.text, span);
        }
        if matches!(&base.kind, ast::ExprKind::Ident(n) if n == "ctx") {
            return self.ctx_field(&name.text, span);
        }
        let base = self.expr(base)?;
        match base.ty.clone() {
            Type::Ptr { to, space } => match *to {
                Type::Record(r) => {
                    let m = self.member(&r, name)?;
                    self.note_byte_order(&m, span);
                    let known = match space {
                        Space::Kernel if self.is_plain(&r, &m) => self.known(&base, &r),
                        _ => Known::Nothing,
                    };
                    Ok(load_member(base, 0, &m, space, known, span))
                }
                Type::Void => {
                    let text = super::suggest::show(&self.text_of(base.span));
                    Err(Diagnostic::error(Code::WrongType, base.span, "cannot access a member through a `void *`")
                        .label("this has type `void *`")
                        .help(format!("cast it to a pointer to a struct: ((struct NAME *){text})->{}", name.text)))
                }
                Type::Ptr { .. } => Err(Diagnostic::error(
                    Code::WrongType,
                    name.span,
                    format!("cannot access a member through `{}`, a pointer to a pointer", base.ty),
                )
                .help(format!("dereference it first: {}[0]->{}", self.text_of(base.span), name.text))),
                other => Err(Diagnostic::error(Code::WrongType, name.span, format!("`{other}` has no members"))),
            },
            Type::Record(r) => {
                let m = self.member(&r, name)?;
                self.note_byte_order(&m, span);
                match base.kind {
                    ExprKind::Load { ptr, offset, space, bits: None, known } => {
                        let known = if self.is_plain(&r, &m) { known } else { Known::Nothing };
                        Ok(load_member(*ptr, offset, &m, space, known, span))
                    }
                    _ => {
                        let (start, bits) = place(&m);
                        let ty = reached(&m.ty, self.origin(&base).unwrap_or(self.default_space()));
                        let kind = ExprKind::Part { base: Box::new(base), offset: start, bits };
                        Ok(whole_text(Expr { kind, ty, span }))
                    }
                }
            }
            Type::NamedTuple(list) => {
                let at = list.iter().position(|(n, _)| *n == name.text);
                if let Some(part) = at.and_then(|i| constant_part(&base, i)) {
                    return Ok(Expr { span, ..part });
                }
                let found =
                    base.ty.elements().zip(&list).find(|(_, (n, _))| *n == name.text).map(|((o, t), _)| (o, t.clone()));
                match found {
                    Some((offset, ty)) => {
                        Ok(Expr { kind: ExprKind::Part { base: Box::new(base), offset, bits: None }, ty, span })
                    }
                    None => Err(self.no_member(
                        &base.ty.to_string(),
                        &name.text,
                        &list.iter().map(|l| l.0.clone()).collect::<Vec<_>>(),
                        name.span,
                    )),
                }
            }
            Type::Int { .. } => {
                Err(Diagnostic::error(Code::WrongType, base.span, format!("a number has no member `{}`", name.text))
                    .label(format!("this has type `{}`", base.ty))
                    .help(format!(
                        "cast it to a pointer: ((struct NAME *){})->{}",
                        super::suggest::show(&self.text_of(base.span)),
                        name.text
                    )))
            }
            other => {
                Err(Diagnostic::error(Code::WrongType, base.span, format!("a value of type `{other}` has no members")))
            }
        }
    }

    /// The verifier's knowledge about the struct that a pointer points to: an argument of fentry and fexit, and what
    /// such structs point to. Arguments of tracepoints are not among them: some it takes for numbers.
    fn known(&self, ptr: &Expr, record: &Record) -> Known {
        let found = || match self.is_exchanged(record, true) {
            true => Known::MemberOrUser,
            false => Known::Member,
        };
        match ptr.kind {
            ExprKind::Ctx { .. } => match &self.probe.context {
                Context::Trampoline { .. } => found(),
                Context::Iter(_) => Known::Member,
                Context::BpfFunction { function, .. } if function.tracked => Known::Member,
                _ => Known::Nothing,
            },
            ExprKind::Load { known: Known::Member, .. } => found(),
            _ => Known::Nothing,
        }
    }

    /// Whether a member is the only one at its place, and no bit-field: of overlapping members the verifier takes the
    /// first, whichever is meant.
    fn is_plain(&self, record: &Record, m: &Member) -> bool {
        record.id.0 < TypeId::SCRIPT
            && m.bits.is_none()
            && self.kernel.types.members(record.id).iter().filter(|o| o.bit_offset == m.bit_offset).count() == 1
            && self.kernel.types.members(record.id).iter().any(|o| o.name == m.name)
    }

    /// Whether a program may hand over such a struct: it holds numbers, text, and addresses of what itself has, if
    /// `pointers`, no addresses of other structs. Almost all structs of the kernel's own lead further.
    fn is_exchanged(&self, record: &Record, pointers: bool) -> bool {
        self.kernel.types.members(record.id).iter().all(|m| match element(&m.ty) {
            Type::Record(inner) => self.is_exchanged(inner, pointers),
            Type::Ptr { to, .. } => match &**to {
                Type::Record(to) => to.id == record.id || (pointers && self.is_exchanged(to, false)),
                _ => true,
            },
            _ => true,
        })
    }

    /// A member of a record, or the error with the nearest name.
    pub(super) fn member(&self, record: &Record, name: &ast::Name) -> Result<Member> {
        if let Some(m) = self.kernel.types.member(record.id, &name.text) {
            return Ok(m);
        }
        let mut names = Vec::new();
        self.member_names(record, &mut names, 0);
        Err(self.no_member(&record.name, &name.text, &names, name.span))
    }

    fn member_names(&self, record: &Record, names: &mut Vec<String>, depth: u32) {
        for m in self.kernel.types.members(record.id) {
            match (&m.ty, m.name.is_empty()) {
                (Type::Record(inner), true) if depth < 8 => self.member_names(inner, names, depth + 1),
                (_, false) => names.push(m.name),
                _ => {}
            }
        }
    }

    fn no_member(&self, record: &str, name: &str, names: &[String], span: Span) -> Box<Diagnostic> {
        let error = Diagnostic::error(Code::UnknownField, span, format!("`{record}` has no member `{name}`"));
        match nearest(name, names.iter().map(String::as_str)) {
            Some(n) => error.help(format!("did you mean `{n}`?")),
            None if names.len() <= 24 && !names.is_empty() => error.note(format!("members: {}", names.join(", "))),
            None => error.note(format!("it has {} members, none of which has a similar name", names.len())),
        }
    }

    /// `tuple.0`
    pub(crate) fn tuple_field(&mut self, base: &ast::Expr, index: u32, span: Span) -> Result<Expr> {
        let base = self.expr(base)?;
        self.tuple_part(base, index, span)
    }

    fn tuple_part(&self, base: Expr, index: u32, span: Span) -> Result<Expr> {
        if let Some(part) = constant_part(&base, index as usize) {
            return Ok(Expr { span, ..part });
        }
        let found = base.ty.elements().nth(index as usize).map(|(o, t)| (o, t.clone()));
        match found {
            Some((offset, ty)) => {
                Ok(Expr { kind: ExprKind::Part { base: Box::new(base), offset, bits: None }, ty, span })
            }
            None if matches!(base.ty, Type::Tuple(_) | Type::NamedTuple(_)) => Err(Diagnostic::error(
                Code::UnknownField,
                span,
                format!(
                    "tuple index {index} is out of bounds: `{}` has {} elements",
                    base.ty,
                    base.ty.elements().count()
                ),
            )),
            None => {
                Err(Diagnostic::error(Code::WrongType, span, format!("a value of type `{}` is not a tuple", base.ty)))
            }
        }
    }

    /// `base[index]`
    pub(crate) fn index(&mut self, base: &ast::Expr, index: &ast::Expr, span: Span) -> Result<Expr> {
        let base = elements(self.expr(base).map(characters)?);
        let index = self.expr(index)?;
        let (elem, len) = match &base.ty {
            Type::Array { elem, len } => ((**elem).clone(), Some(*len)),
            Type::String { cap } => (Type::I8, Some(*cap)),
            Type::Ptr { to, .. } if **to != Type::Void => ((**to).clone(), None),
            Type::Tuple(_) | Type::NamedTuple(_) => {
                return match index.constant().and_then(|i| u32::try_from(i).ok()) {
                    Some(i) => self.tuple_part(base, i, span),
                    None => Err(Diagnostic::error(Code::WrongType, index.span, "a tuple index must be a constant")),
                };
            }
            other => {
                return Err(Diagnostic::error(
                    Code::WrongType,
                    base.span,
                    format!("a value of type `{other}` has no elements"),
                ));
            }
        };
        let index = self.integer(index, "an index")?;
        if let (Some(i), Some(len)) = (index.constant(), len)
            && len > 0
            && !(0..i64::from(len)).contains(&i)
        {
            return Err(Diagnostic::error(
                Code::BadValue,
                index.span,
                format!("index {i} is out of bounds for `{}`", base.ty),
            ));
        }
        let size = i64::from(elem.size());
        match base.kind {
            ExprKind::Load { ptr, offset, space, bits: None, .. } if !matches!(base.ty, Type::Ptr { .. }) => {
                let ptr = match index.constant() {
                    Some(i) => return Ok(load(*ptr, offset.wrapping_add(i.wrapping_mul(size)), elem, space, span)),
                    None => add(*ptr, scale(index, size), span),
                };
                Ok(load(ptr, offset, elem, space, span))
            }
            _ => match base.ty.clone() {
                Type::Ptr { space, .. } => match index.constant() {
                    Some(i) => Ok(load(base, i.wrapping_mul(size), elem, space, span)),
                    None => {
                        let ptr = add(base, scale(index, size), span);
                        Ok(load(ptr, 0, elem, space, span))
                    }
                },
                _ => match index.constant() {
                    Some(i) => {
                        let offset = (i * size) as u32;
                        let kind = ExprKind::Part { base: Box::new(base), offset, bits: None };
                        Ok(whole_text(Expr { kind, ty: elem, span }))
                    }
                    None => {
                        let kind =
                            ExprKind::Element { base: Box::new(base), index: Box::new(index), len: len.unwrap_or(0) };
                        Ok(whole_text(Expr { kind, ty: elem, span }))
                    }
                },
            },
        }
    }

    /// `*x`
    pub(crate) fn dereference(&mut self, e: Expr, span: Span) -> Result<Expr> {
        let e = decayed(e);
        match e.ty.clone() {
            Type::Ptr { to, space } if *to != Type::Void => Ok(load(e, 0, *to, space, span)),
            // Addresses from `kaddr` and registers: a word of memory.
            Type::Int { .. } => {
                let space = self.space_of(&e);
                Ok(load(e, 0, Type::U64, space, span))
            }
            other => {
                Err(Diagnostic::error(Code::WrongType, e.span, format!("cannot dereference a value of type `{other}`"))
                    .help("cast it to a typed pointer: *(uint64 *)x"))
            }
        }
    }

    /// `&x`
    pub(crate) fn address_of(&mut self, e: Expr, span: Span) -> Result<Expr> {
        let e = characters(e);
        match e.kind {
            ExprKind::Load { ptr, offset, space, bits: None, .. } => {
                let ty = Type::Ptr { to: Box::new(e.ty), space };
                Ok(Expr { kind: ExprKind::Address { ptr, offset }, ty, span })
            }
            ExprKind::Load { .. } => {
                Err(Diagnostic::error(Code::WrongType, span, "cannot take the address of a bit-field"))
            }
            _ => Err(Diagnostic::error(Code::WrongType, span, "cannot take the address of this expression")
                .note("only variables, map entries, and members and elements behind a pointer have an address")
                .help("assign it to a variable first: $x = …; &$x")),
        }
    }

    /// `&$x` and `&@m[k]`; `None` for other operands.
    pub(crate) fn address_of_variable(&mut self, operand: &ast::Expr, span: Span) -> Option<Result<Expr>> {
        match &operand.kind {
            ast::ExprKind::Var(name) => Some(match self.find_local(name) {
                Some(local) => {
                    let ty = Type::kptr(self.local_type(local));
                    Ok(Expr { kind: ExprKind::LocalAddress(local), ty, span })
                }
                None => Err(self.unset(name, operand.span)),
            }),
            ast::ExprKind::Map { .. } => Some(self.expr(operand).and_then(|e| {
                match e.kind {
                    ExprKind::MapGet { map, key } => {
                        Ok(Expr { kind: ExprKind::MapAddress { map, key }, ty: Type::kptr(e.ty), span })
                    }
                    _ => Err(Diagnostic::error(Code::WrongType, span, "cannot take the address of an aggregation")
                        .note("each CPU has its own copy")),
                }
            })),
            _ => None,
        }
    }

    /// `a - b` of two pointers: how many elements are between them.
    pub(super) fn distance(&mut self, to: &Type, other: &Type, l: Expr, r: Expr, span: Span) -> Result<Expr> {
        if !to.same_but_for_space(other) {
            return Err(Diagnostic::error(Code::WrongType, span, "cannot subtract pointers to different types")
                .also(l.span, format!("this has type `{}`", l.ty))
                .also(r.span, format!("this has type `{}`", r.ty)));
        }
        let number = |e: Expr| Expr { span: e.span, ty: Type::I64, kind: ExprKind::Convert(Box::new(e)) };
        let bytes = ExprKind::Arith { op: BinOp::Sub, left: Box::new(number(l)), right: Box::new(number(r)) };
        let bytes = Expr { kind: bytes, ty: Type::I64, span };
        match i64::from(to.size()) {
            0 | 1 => Ok(bytes),
            size => self.arithmetic(BinOp::Div, bytes, Expr::int(size, Type::I64, span), span),
        }
    }
}

/// The element type of an array; other types unchanged.
fn element(ty: &Type) -> &Type {
    match ty {
        Type::Array { elem, .. } => element(elem),
        ty => ty,
    }
}

/// An element of a tuple that is written out, if nothing is lost by leaving the others out.
fn constant_part(base: &Expr, index: usize) -> Option<Expr> {
    let ExprKind::Tuple(list) = &base.kind else { return None };
    let fixed = |e: &Expr| matches!(e.kind, ExprKind::Int(_) | ExprKind::Bytes(_));
    if list.iter().all(fixed) { list.get(index).cloned() } else { None }
}

/// `ptr->member`, as a value of the member's type.
fn load_member(ptr: Expr, offset: i64, m: &Member, space: Space, known: Known, span: Span) -> Expr {
    let (start, bits) = place(m);
    let offset = offset.wrapping_add(i64::from(start));
    let kind = ExprKind::Load { ptr: Box::new(ptr), offset, space, bits, known };
    whole_text(Expr { kind, ty: reached(&m.ty, space), span })
}

/// The type of what is read from an address space. In the kernel's memory a type says itself which of its pointers
/// are those of a program; in a program's all are.
fn reached(ty: &Type, space: Space) -> Type {
    match space {
        Space::User => ty.in_space(space),
        Space::Kernel => ty.clone(),
    }
}

/// A character array as the text in it: an array that is full has no NUL at its end, a string has.
pub(super) fn whole_text(e: Expr) -> Expr {
    let Type::String { cap } = e.ty else { return e };
    let ty = Type::String { cap: cap.saturating_add(1) };
    match e.kind {
        // As far as the array is full, one more byte is read to be overwritten by the NUL.
        ExprKind::Load { .. } => Expr { ty, ..e },
        _ => Expr { span: e.span, kind: ExprKind::Resize(Box::new(e)), ty },
    }
}

/// Undoes [`whole_text`]: the character array again, with its bytes, whatever they are.
pub(crate) fn characters(e: Expr) -> Expr {
    let Type::String { cap } = e.ty else { return e };
    let array = |len| Type::Array { elem: Box::new(Type::I8), len };
    match e.kind {
        ExprKind::Load { .. } => Expr { ty: array(cap.saturating_sub(1)), ..e },
        ExprKind::Resize(inner) if matches!(inner.kind, ExprKind::Part { .. } | ExprKind::Element { .. }) => {
            Expr { ty: array(inner.ty.size()), ..*inner }
        }
        kind => Expr { kind, ..e },
    }
}

/// An array in memory as the address of its first element, where an address is wanted; other values unchanged.
pub(crate) fn decayed(e: Expr) -> Expr {
    let e = if matches!(e.kind, ExprKind::Load { .. }) { characters(e) } else { e };
    match (e.kind, e.ty) {
        (ExprKind::Load { ptr, offset, space, bits: None, .. }, Type::Array { elem, .. }) => {
            let ty = Type::Ptr { to: elem, space };
            Expr { kind: ExprKind::Address { ptr, offset }, ty, span: e.span }
        }
        (kind, ty) => Expr { kind, ty, span: e.span },
    }
}

/// The elements of a list as an array of the largest size, which is zero behind them.
fn elements(e: Expr) -> Expr {
    let Type::List { elem, cap } = &e.ty else { return e };
    let ty = Type::Array { elem: elem.clone(), len: cap / elem.size().max(1) };
    Expr { span: e.span, ty, kind: ExprKind::Part { base: Box::new(e), offset: 4, bits: None } }
}

/// Byte offset of a member, and how to take a bit-field out of the bytes there.
fn place(m: &Member) -> (u32, Option<Bits>) {
    let Some(width) = m.bits else { return (m.bit_offset / 8, None) };
    let unit = m.ty.size().clamp(1, 8) * 8;
    let start = m.bit_offset / unit * unit;
    let shift = m.bit_offset - start;
    if shift + u32::from(width) <= unit {
        return (start / 8, Some(Bits { bytes: (unit / 8) as u8, shift: shift as u8, width }));
    }
    // A packed field across its type's boundary.
    let start = m.bit_offset / 8;
    (start, Some(Bits { bytes: 8, shift: (m.bit_offset % 8) as u8, width }))
}

fn load(ptr: Expr, offset: i64, ty: Type, space: Space, span: Span) -> Expr {
    let kind = ExprKind::Load { ptr: Box::new(ptr), offset, space, bits: None, known: Known::Nothing };
    whole_text(Expr { kind, ty: reached(&ty, space), span })
}

fn add(ptr: Expr, bytes: Expr, span: Span) -> Expr {
    let ty = ptr.ty.clone();
    Expr { kind: ExprKind::Arith { op: BinOp::Add, left: Box::new(ptr), right: Box::new(bytes) }, ty, span }
}

/// How far one more is of a value: of a pointer, the size of what it points to.
pub(super) fn step_size(ty: &Type) -> i64 {
    match ty {
        Type::Ptr { to, .. } => i64::from(to.size().max(1)),
        _ => 1,
    }
}

/// `index * size`, in the type that address arithmetic takes.
pub(super) fn scale(index: Expr, size: i64) -> Expr {
    let span = index.span;
    let index = super::convert::signed_as(index, &Type::U64);
    if size == 1 {
        return index;
    }
    if let Some(i) = index.constant() {
        return Expr::int(i.wrapping_mul(size), Type::U64, span);
    }
    let right = Box::new(Expr::int(size, Type::U64, span));
    Expr { kind: ExprKind::Arith { op: BinOp::Mul, left: Box::new(index), right }, ty: Type::U64, span }
}
