//! Events on their way from the kernel: splitting a record into its fields, reading the ring buffer and the
//! per-CPU buffers of packets. The other side of this is [`crate::output`], which shows events to the user.
//!
//! Nothing that comes out of a buffer is trusted: a record whose lengths do not fit is reported as damaged
//! and skipped.

use crate::load::Loaded;
use aya::maps::perf::{PerfEvent, PerfEventArrayBuffer};
use aya::maps::{Map, MapData, PerfEventArray, RingBuf};
use rtrace_core::bundle::{Action, Bundle, EventDef, PACKET_HEADER, PACKETS_SYMBOL, PULLED_MOST, RINGBUF_SYMBOL};
use rtrace_core::types::Type;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The bytes of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datum<'a> {
    pub bytes: &'a [u8],
    /// The extra word of a variable field: the process of a user stack.
    pub extra: u32,
    /// Whether the bytes are the variable part of an event's field: a string without its NUL, the bytes
    /// of a buffer, the frames of a stack. Otherwise they are the type's inline representation.
    pub variable: bool,
}

impl<'a> Datum<'a> {
    pub fn inline(bytes: &'a [u8]) -> Datum<'a> {
        Datum { bytes, extra: 0, variable: false }
    }
}

/// The fields of an event, read from its record one after the other as they are asked for: nothing is allocated.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    event: &'a EventDef,
    record: &'a [u8],
    /// Index of the next field.
    next: u32,
    /// The start of its data, if it is variable.
    variable: u32,
}

impl<'a> Fields<'a> {
    /// None, for an event whose record found no room.
    pub fn none(event: &'a EventDef) -> Fields<'a> {
        Fields { event, record: &[], next: u32::MAX, variable: 0 }
    }

    /// Splits a record of the ring buffer, whose index at the start chose `event`. `None`: damaged.
    #[inline]
    pub fn new(event: &'a EventDef, record: &'a [u8]) -> Option<Fields<'a>> {
        let mut end = event.layout.fixed_size as usize;
        if record.len() < end {
            return None;
        }
        for field in event.layout.fields.iter().filter(|f| f.var_max > 0) {
            let length = number(record, field.offset as usize).filter(|length| *length <= field.var_max)?;
            end = end.checked_add(length as usize)?;
        }
        (end <= record.len()).then_some(Fields { event, record, next: 0, variable: event.layout.fixed_size })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a Type, Datum<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next as usize;
        let (ty, field) = (self.event.fields.get(index)?, self.event.layout.fields.get(index)?);
        self.next += 1;
        let offset = field.offset as usize;
        let part = |from: usize, size: usize| self.record.get(from..from.checked_add(size)?);
        if field.var_max == 0 {
            // Without a call for what most events are made of.
            let size = match ty {
                Type::Int { bits, .. } => u32::from(*bits) / 8,
                Type::String { cap } => *cap,
                other => other.size(),
            };
            return Some((ty, Datum::inline(part(offset, size as usize).unwrap_or_default())));
        }
        let length = number(self.record, offset).unwrap_or(0);
        let bytes = part(self.variable as usize, length as usize).unwrap_or_default();
        self.variable = self.variable.saturating_add(length);
        Some((ty, Datum { bytes, extra: number(self.record, offset + 4).unwrap_or(0), variable: true }))
    }
}

fn number(record: &[u8], offset: usize) -> Option<u32> {
    record.get(offset..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

/// The event that a record belongs to, by the index at its start, and its fields. `None`: damaged.
#[inline]
pub fn decode<'a>(bundle: &'a Bundle, record: &'a [u8]) -> Option<(&'a EventDef, Fields<'a>)> {
    let event = bundle.events.get(number(record, 0)? as usize)?;
    Some((event, Fields::new(event, record)?))
}

/// A captured packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Index of its event.
    pub event: u32,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Bytes of the packet's data, of which `data` has the first.
    pub length: usize,
    pub data: Vec<u8>,
    /// The bytes before the data, from the network header on.
    pub before: Vec<u8>,
}

impl Packet {
    /// Reads a record of the packets map; the kernel pads it.
    pub fn parse(record: &[u8]) -> Option<Packet> {
        let captured = number(record, 4)? as usize;
        let time = record.get(8..)?.first_chunk().map(|b| u64::from_ne_bytes(*b))?;
        let length = record.get(16..)?.first_chunk().map(|b| u64::from_ne_bytes(*b))? as usize;
        let before = number(record, 24)?.min(PULLED_MOST) as usize;
        let (before, rest) = record.get(PACKET_HEADER as usize..)?.split_at_checked(before)?;
        let data = rest.get(..captured)?.to_vec();
        Some(Packet { event: number(record, 0)?, time, length, data, before: before.to_vec() })
    }
}

/// The reader of the events' ring buffer.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    /// `None` when the bundle has no events.
    pub fn open(loaded: &Loaded) -> io::Result<Option<Ring>> {
        let Some(fd) = loaded.maps.object_fd(RINGBUF_SYMBOL) else { return Ok(None) };
        let data = MapData::from_fd(fd.try_clone_to_owned()?).map_err(io::Error::other)?;
        Ok(Some(Ring(RingBuf::try_from(Map::RingBuf(data)).map_err(io::Error::other)?)))
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Hands over records until there are no more, `most` were read, or `each` fails. Returns how many.
    pub fn drain<E>(&mut self, most: usize, mut each: impl FnMut(&[u8]) -> Result<(), E>) -> Result<usize, E> {
        let mut count = 0;
        while count < most {
            let Some(record) = self.0.next() else { break };
            count += 1;
            each(&record)?;
        }
        Ok(count)
    }
}

/// The buffers of captured packets, one for each CPU.
pub struct Packets(Vec<PerfEventArrayBuffer<MapData>>);

/// Pages of each packet buffer; a packet is 64 KiB at most.
const PACKET_PAGES: usize = 64;

impl Packets {
    /// Empty when the bundle captures no packets.
    pub fn open(bundle: &Bundle, loaded: &Loaded) -> io::Result<Packets> {
        let captures = bundle.events.iter().any(|e| matches!(e.action, Action::Packet { .. }));
        let Some(fd) = loaded.maps.object_fd(PACKETS_SYMBOL).filter(|_| captures) else {
            return Ok(Packets(Vec::new()));
        };
        let data = MapData::from_fd(fd.try_clone_to_owned()?).map_err(io::Error::other)?;
        let mut array = PerfEventArray::try_from(Map::PerfEventArray(data)).map_err(io::Error::other)?;
        let cpus = rtrace_sys::online_cpus()?;
        let open = |cpu| array.open(cpu, Some(PACKET_PAGES)).map_err(io::Error::other);
        Ok(Packets(cpus.into_iter().map(open).collect::<io::Result<_>>()?))
    }

    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|b| b.as_fd())
    }

    /// All packets that wait, and how many the kernel dropped for lack of room.
    pub fn drain(&mut self) -> (Vec<Packet>, u64) {
        let mut packets = Vec::new();
        let mut lost = 0;
        for buffer in &mut self.0 {
            buffer.for_each(|event| match event {
                PerfEvent::Sample { head, tail: [] } => packets.extend(Packet::parse(head)),
                PerfEvent::Sample { head, tail } => packets.extend(Packet::parse(&[head, tail].concat())),
                PerfEvent::Lost { count } => lost += count,
            });
        }
        packets.sort_by_key(|p| p.time);
        (packets, lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtrace_core::bundle::EventLayout;

    fn event(types: Vec<Type>) -> EventDef {
        EventDef { action: Action::PrintValue, layout: EventLayout::new(&types), fields: types, lost: 0, span: (0, 0) }
    }

    #[test]
    fn fixed_and_variable_fields() {
        let event = event(vec![Type::U32, Type::String { cap: 128 }, Type::U64, Type::String { cap: 256 }]);
        let mut record = vec![0; event.layout.fixed_size as usize];
        let mut put = |n: usize, bytes: &[u8]| {
            let at = event.layout.fields[n].offset as usize;
            record[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &7u32.to_ne_bytes());
        put(1, &5u32.to_ne_bytes());
        put(2, &9u64.to_ne_bytes());
        put(3, &3u32.to_ne_bytes());
        record.extend(b"helloabc");
        let found = Fields::new(&event, &record).unwrap();
        let data: Vec<&[u8]> = found.map(|(_, data)| data.bytes).collect();
        assert_eq!(data, [&7u32.to_ne_bytes()[..], b"hello", &9u64.to_ne_bytes(), b"abc"]);

        assert!(Fields::new(&event, &record[..record.len() - 1]).is_none(), "cut off");
        assert!(Fields::new(&event, &record[..4]).is_none(), "fixed fields cut off");
        let at = event.layout.fields[1].offset as usize;
        record[at..at + 4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert!(Fields::new(&event, &record).is_none(), "a length beyond what the layout allows");
    }

    #[test]
    fn an_event_without_fields_is_its_index() {
        let (none, one) = (event(Vec::new()), event(vec![Type::U64]));
        assert_eq!(Fields::new(&none, &[0; 8]).map(Iterator::count), Some(0));
        assert!(Fields::new(&one, &[0; 8]).is_none());
    }

    #[test]
    fn packets_are_bounded() {
        let mut record = Vec::new();
        record.extend(3u32.to_ne_bytes());
        record.extend(2u32.to_ne_bytes());
        record.extend(99u64.to_ne_bytes());
        record.extend(60u64.to_ne_bytes());
        record.extend(1u64.to_ne_bytes());
        record.extend([0x45, 0xaa, 0xbb, 0, 0]);
        let (data, before) = (vec![0xaa, 0xbb], vec![0x45]);
        assert_eq!(Packet::parse(&record), Some(Packet { event: 3, time: 99, length: 60, data, before }));
        assert_eq!(Packet::parse(&record[..34]), None);
        assert_eq!(Packet::parse(b""), None);
    }
}
