//! Events: records that programs write to the ring buffer, their layout, and the work in user space they ask for.

use super::printf::Format;
use crate::types::Type;
use serde::{Deserialize, Serialize};

/// A record in the ring buffer: what to do, and with which values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventDef {
    pub action: Action,
    pub fields: Vec<Type>,
    pub layout: EventLayout,
    /// Offset in [`Globals`] of a `u64` for records that found no room: how many there were, or for an
    /// [`Action::Exit`] its status and 256.
    pub lost: u32,
    /// The call in the sources.
    pub span: (u32, u32),
}

/// The bytes of an event: `u32` index of the event, then the fixed part with each field at its
/// offset, then the variable parts one after the other, unaligned, in field order.
///
/// A fixed field holds the type's inline representation. A variable field (strings and buffers
/// above [`EventLayout::FIXED_LIMIT`] bytes, and stacks not stored before) holds `u32` length in bytes and `u32`
/// extra (the process for user stacks, else 0); its data is in the variable part: a string without
/// its NUL, a buffer's bytes, or a stack's `u64` frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLayout {
    pub fields: Vec<EventField>,
    /// Bytes up to the variable part, a multiple of 8 when there is none.
    pub fixed_size: u32,
    /// Most bytes that an event can have.
    pub max_size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventField {
    pub offset: u32,
    /// Most bytes in the variable part; 0 for a fixed field.
    pub var_max: u32,
}

impl EventLayout {
    /// Strings and buffers up to this many bytes are fixed fields.
    pub const FIXED_LIMIT: u32 = 64;

    /// Lays out fields of the given types.
    pub fn new(types: &[Type]) -> EventLayout {
        let mut at = 4u32;
        let mut var_total = 0u32;
        let mut fields = Vec::with_capacity(types.len());
        for ty in types {
            let var_max = match ty {
                Type::String { cap } | Type::Buffer { cap } | Type::List { cap, .. } if *cap > Self::FIXED_LIMIT => {
                    *cap
                }
                Type::Stack(s) if !s.stored => s.bytes(),
                _ => 0,
            };
            let (size, align) = if var_max > 0 { (8, 4) } else { (ty.size(), ty.align()) };
            at = at.checked_next_multiple_of(align).unwrap_or(u32::MAX);
            fields.push(EventField { offset: at, var_max });
            at = at.saturating_add(size);
            var_total = var_total.saturating_add(var_max);
        }
        let fixed_size = if var_total == 0 { at.checked_next_multiple_of(8).unwrap_or(u32::MAX) } else { at };
        EventLayout { fields, fixed_size, max_size: fixed_size.saturating_add(var_total) }
    }

    pub fn is_variable(&self) -> bool {
        self.fields.iter().any(|f| f.var_max > 0)
    }
}

/// User-side work asked for by an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// `printf`, `errorf`, `warnf`, and `join` alone: fields are the arguments.
    Printf {
        format: Format,
        stream: Stream,
    },
    /// `print(value)`: one field.
    PrintValue,
    /// `print(@map)`, `print(@map, top, div)`; 0 means not given. No fields.
    PrintMap {
        map: u32,
        top: u32,
        div: u64,
    },
    /// `print(@map[key])`: the field is the key; with the place of the entry in the sources.
    PrintEntry {
        map: u32,
        top: u32,
        div: u64,
        entry: (u32, u32),
    },
    /// `clear(@map)`. No fields.
    Clear {
        map: u32,
    },
    /// `zero(@map)`. No fields.
    Zero {
        map: u32,
    },
    /// `exit(code)`: one integer field.
    Exit,
    /// `unwatch(address)`: one integer field.
    Unwatch,
    /// `time(format)`: no fields.
    Time {
        format: String,
    },
    /// `system(format, …)` and `cat(format, …)`: fields are the arguments.
    System {
        format: Format,
    },
    Cat {
        format: Format,
    },
    /// A helper of the kernel failed (`-k`): one integer field, what it returned; 0 where a map had no such entry.
    Failure {
        helper: String,
    },
    /// A packet written by `skboutput` to the packets map, not the ring buffer; the record starts with
    /// `u32` index of the event, `u32` bytes captured, `u64` `bpf_ktime_get_boot_ns`, `u64` length of the packet, then
    /// the bytes. No fields.
    /// `offset` bytes of them are left out of the file.
    Packet {
        path: String,
        offset: u32,
    },
}

impl Action {
    /// Whether this happens even if there is no room for its record. Then the word [`EventDef::lost`] says that it is
    /// to be done, and so that nothing overtakes it, all such actions go that way until the runtime has taken
    /// them. What comes more than once before is done once.
    pub fn is_kept(&self) -> bool {
        use Action::{Clear, Exit, PrintMap, Unwatch, Zero};
        matches!(self, Exit | Unwatch | Clear { .. } | Zero { .. } | PrintMap { .. })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    Out,
    /// As `Out`; in JSON the type is `join`.
    Join,
    Warning,
    Error,
}
