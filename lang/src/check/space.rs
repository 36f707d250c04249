//! Address spaces: whether an address is the kernel's or the traced program's.
//!
//! Pointers say it by their types. Numbers made of pointers and structures copied out of memory do not, so it is
//! remembered of the variables and maps that hold them.

use super::{Checker, LocalKey};
use crate::bundle::{Target, Watched};
use crate::typed::{Expr, ExprKind, LocalId, MapId};
use crate::types::{Space, Type};
use rtrace_grammar::ast::BinOp;
use std::collections::HashMap;

/// The origins of the values of variables and maps.
#[derive(Default)]
pub(super) struct Origins {
    locals: HashMap<LocalKey, Space>,
    maps: HashMap<MapId, Space>,
}

impl Checker<'_> {
    /// The address space of a number of which nothing else is known.
    pub(crate) fn default_space(&self) -> Space {
        // The kernel's addresses are the upper half.
        let user_memory = matches!(
            self.probe.target,
            Target::Watchpoint { watched: Watched::Address(address), .. } if address >> 63 == 0
        );
        if user_memory || self.probe.context.is_user() { Space::User } else { Space::Kernel }
    }

    /// The address space of a value, taken as an address.
    pub(crate) fn space_of(&self, e: &Expr) -> Space {
        self.origin(e).unwrap_or(self.default_space())
    }

    /// The address space that a value is known to come from: that a pointer points into, or that something was read in.
    pub(super) fn origin(&self, e: &Expr) -> Option<Space> {
        if let Type::Ptr { space, .. } = &e.ty {
            return Some(*space);
        }
        match &e.kind {
            // What a system call is given, as a number too, is the program's.
            ExprKind::Ctx { .. } => self.in_system_call().then_some(Space::User),
            ExprKind::Load { ptr, .. } if matches!(ptr.kind, ExprKind::CtxAddr { .. }) && self.in_system_call() => {
                Some(Space::User)
            }
            // A number that the kernel has in its memory may be any address.
            ExprKind::Load { space: Space::Kernel, .. } if e.ty.is_integer() => None,
            ExprKind::Load { space, .. } => Some(*space),
            ExprKind::Convert(x) | ExprKind::Resize(x) | ExprKind::BitNot(x) => self.origin(x),
            ExprKind::Part { base, .. } | ExprKind::Element { base, .. } => self.origin(base),
            ExprKind::Block { value, .. } => self.origin(value),
            ExprKind::Ternary { then, otherwise, .. } => self.origin(then).or_else(|| self.origin(otherwise)),
            // Sums of addresses and distances, and addresses without their low bits.
            ExprKind::Arith { op: BinOp::Add | BinOp::Sub | BinOp::BitAnd | BinOp::BitOr, left, right } => {
                self.origin(left).or_else(|| self.origin(right))
            }
            ExprKind::Local(id) => self.origins.locals.get(&self.local_key_of(*id)).copied(),
            ExprKind::MapGet { map, .. } => self.origins.maps.get(map).copied(),
            _ => None,
        }
    }

    fn in_system_call(&self) -> bool {
        let Target::Tracepoint { category, .. } = &self.probe.target else { return false };
        matches!(category.as_str(), "syscalls" | "raw_syscalls")
    }

    /// Remembers where the value of a variable comes from.
    pub(super) fn note_origin(&mut self, local: LocalId, value: &Expr) {
        let Some(space) = self.origin(value).filter(|_| has_origin(&value.ty)) else { return };
        let key = self.local_key_of(local);
        let old = self.origins.locals.get(&key).copied();
        let new = both(old, space);
        if old != Some(new) {
            self.origins.locals.insert(key, new);
            self.changed = true;
        }
    }

    /// The same of a map.
    pub(super) fn note_map_origin(&mut self, map: MapId, value: &Expr) {
        let Some(space) = self.origin(value).filter(|_| has_origin(&value.ty)) else { return };
        let old = self.origins.maps.get(&map).copied();
        let new = both(old, space);
        if old != Some(new) {
            self.origins.maps.insert(map, new);
            self.changed = true;
        }
    }
}

/// Numbers and what is made of several values: pointers have their space in their types.
fn has_origin(ty: &Type) -> bool {
    matches!(ty, Type::Int { bits: 64, .. } | Type::Record(_) | Type::Array { .. })
}

/// Of a place that gets both, the program's: that one is always said, the kernel's is often only assumed.
fn both(old: Option<Space>, new: Space) -> Space {
    match (old, new) {
        (Some(Space::User), _) | (_, Space::User) => Space::User,
        _ => Space::Kernel,
    }
}
