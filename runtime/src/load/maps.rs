//! The maps of a run as its users see them: entries of a script's map with all CPUs merged, whether the
//! map lies in the globals or is a BPF map of its own; stacks by identifier; counters of what was lost.
//! Creation is in [`super::object`].

use super::merge::{merge, word};
use super::stacks::Stacks;
use aya::maps::MapData;
use rtrace_core::bundle::{Bundle, Globals, MapDef, MapObject, STACKS_SYMBOL, Storage};
use rtrace_core::types::Type;
use rtrace_core::uapi::map_type;
use rtrace_sys as sys;
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// More copies of a value than any compiler makes: a bundle from a file is not trusted.
const MOST_STRIPES: u32 = 4096;

/// Elements asked for in one batch lookup: what lies in this many bytes, and no fewer than a crowded bucket holds.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_LEAST: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    #[error("the bundle has no map {0}")]
    Unknown(usize),
    #[error("cannot read map {map}: {source}")]
    Read { map: String, source: io::Error },
    #[error("cannot change map {map}: {source}")]
    Write { map: String, source: io::Error },
}

/// A key and its value, in the inline representation of their types.
pub type Entry = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
pub(super) struct BpfMap {
    data: MapData,
    def: MapObject,
}

/// All maps of a loaded bundle.
#[derive(Debug)]
pub struct Maps {
    defs: Vec<MapDef>,
    objects: Vec<BpfMap>,
    stacks: Option<Mutex<Stacks>>,
    memory: sys::SharedWords,
    /// Keeps the descriptor that the code names open until it is loaded.
    _globals: MapData,
    layout: Globals,
    cpus: usize,
    /// Maps without keys that `zero` set to zero: they are not empty, as their values would say.
    zeroed: Vec<AtomicBool>,
}

impl Maps {
    /// `created` are the bundle's map objects, in its order.
    pub(super) fn new(bundle: &Bundle, created: Vec<MapData>, globals: MapData) -> io::Result<Maps> {
        let objects: Vec<BpfMap> =
            created.into_iter().zip(&bundle.map_objects).map(|(data, def)| BpfMap { data, def: def.clone() }).collect();
        Ok(Maps {
            defs: bundle.maps.clone(),
            stacks: (0..)
                .zip(&objects)
                .find(|(_, o)| o.def.symbol == STACKS_SYMBOL)
                .map(|(at, o)| Mutex::new(Stacks::new(at, u64::from(o.def.max_entries), &bundle.maps))),
            objects,
            memory: sys::SharedWords::map(globals.fd().as_fd(), bundle.globals.size as usize)?,
            _globals: globals,
            layout: bundle.globals,
            cpus: sys::possible_cpus()?,
            zeroed: bundle.maps.iter().map(|_| AtomicBool::new(false)).collect(),
        })
    }

    pub fn def(&self, map: usize) -> Result<&MapDef, MapsError> {
        self.defs.get(map).ok_or(MapsError::Unknown(map))
    }

    /// All entries of a script's map, merged over CPUs, in no order. A keyless map has one entry with an empty
    /// key once it was written, none before. An entry deleted meanwhile is left out; none comes twice.
    pub fn entries(&self, map: usize) -> Result<Vec<Entry>, MapsError> {
        let def = self.def(map)?;
        let read = |source| MapsError::Read { map: def.name.clone(), source };
        if def.key.is_none() {
            return Ok(self.lookup(map, &[])?.map(|value| (Vec::new(), value)).into_iter().collect());
        }
        let Some(object) = self.object_of(def) else { return Ok(Vec::new()) };
        let raw = object.entries(self.cpus).map_err(read)?;
        let key_size = def.key.as_ref().map_or(0, |k| k.size() as usize);
        Ok(raw
            .into_iter()
            .map(|(mut key, value)| {
                key.truncate(key_size);
                (key, object.merge(def, &value))
            })
            .collect())
    }

    /// The value of a key, merged over CPUs; `None` when there is no such entry. The key of a keyless map is
    /// empty.
    pub fn lookup(&self, map: usize, key: &[u8]) -> Result<Option<Vec<u8>>, MapsError> {
        let def = self.def(map)?;
        let found = match (&def.storage, self.object_of(def)) {
            (Storage::Global { offset, stripes, stride }, _) => {
                let size = def.value.size();
                let copies: Vec<Vec<u8>> = (0..(*stripes).min(MOST_STRIPES))
                    .map(|n| self.bytes(offset.saturating_add(n.saturating_mul(*stride)), size))
                    .collect();
                Some(merge(&def.value, copies.iter().map(Vec::as_slice)))
            }
            (Storage::Map { .. }, Some(object)) => {
                let key = object.key(key);
                let mut value = vec![0; object.value_bytes(self.cpus)];
                let found = sys::map_lookup(object.fd(), &key, &mut value)
                    .map_err(|source| MapsError::Read { map: def.name.clone(), source })?;
                found.then(|| object.merge(def, &value))
            }
            (Storage::Map { .. }, None) => None,
        };
        Ok(found.filter(|value| self.was_written(map, def, value)))
    }

    /// Whether the value of a map without keys is one, and not what was there before.
    fn was_written(&self, map: usize, def: &MapDef, value: &[u8]) -> bool {
        match def.set_flag {
            Some(flag) => self.load(flag) != 0,
            None if def.key.is_some() => true,
            None => {
                let zeroed = self.zeroed.get(map).is_some_and(|z| z.load(Ordering::Relaxed));
                zeroed || value.iter().any(|b| *b != 0)
            }
        }
    }

    /// Deletes all entries.
    pub fn clear(&self, map: usize) -> Result<(), MapsError> {
        self.reset(map, true)
    }

    /// Keeps the keys and sets all values to zero.
    pub fn zero(&self, map: usize) -> Result<(), MapsError> {
        self.reset(map, false)
    }

    fn reset(&self, map: usize, delete: bool) -> Result<(), MapsError> {
        let def = self.def(map)?;
        if def.key.is_none() {
            let zeroed = !delete && self.lookup(map, &[])?.is_some();
            if let Some(z) = self.zeroed.get(map) {
                z.store(zeroed, Ordering::Relaxed);
            }
        }
        match (&def.storage, self.object_of(def)) {
            (Storage::Global { offset, stripes, stride }, _) => {
                for n in 0..(*stripes).min(MOST_STRIPES) {
                    self.clear_bytes(offset.saturating_add(n.saturating_mul(*stride)), def.value.size());
                }
            }
            (Storage::Map { .. }, Some(object)) => {
                object.reset(self.cpus, delete).map_err(|source| MapsError::Write { map: def.name.clone(), source })?
            }
            (Storage::Map { .. }, None) => {}
        }
        if let (true, Some(flag)) = (delete, def.set_flag) {
            self.store(flag, 0);
        }
        Ok(())
    }

    /// The frames of a stack, innermost first; `None` when it was not stored (or `id` is 0).
    pub fn stack(&self, id: u64) -> Result<Option<Vec<u64>>, MapsError> {
        if id == 0 {
            return Ok(None);
        }
        let words = self.with_stacks(|stacks, table| stacks.words(table, id));
        words.unwrap_or(Ok(None)).map_err(|source| MapsError::Read { map: STACKS_SYMBOL.into(), source })
    }

    /// Makes room for new stacks when there is little; to be called every [`Maps::stacks_wait`]. `drained`: the ring
    /// buffer was found empty after the last call.
    pub fn tend_stacks(&self, drained: bool) -> Result<(), MapsError> {
        let count = self.layout.new_stacks.map_or(0, |at| self.load(at));
        let named = || self.named_stacks().map_err(io::Error::other);
        let done = self.with_stacks(|stacks, table| stacks.tend(table, count, drained, named));
        done.unwrap_or(Ok(())).map_err(|source| MapsError::Write { map: STACKS_SYMBOL.into(), source })
    }

    /// How long [`Maps::tend_stacks`] can wait; nothing where no stacks are kept.
    pub fn stacks_wait(&self) -> Option<Duration> {
        self.with_stacks(|stacks, _| stacks.wait())
    }

    fn with_stacks<T>(&self, f: impl FnOnce(&mut Stacks, &BpfMap) -> T) -> Option<T> {
        let mut stacks = self.stacks.as_ref()?.lock().unwrap_or_else(|e| e.into_inner());
        let table = self.objects.get(stacks.object)?;
        Some(f(&mut stacks, table))
    }

    /// Ids of all stacks in keys and values of the script's maps.
    fn named_stacks(&self) -> Result<HashSet<u64>, MapsError> {
        let mut named = HashSet::new();
        for (map, def) in (0..).zip(&self.defs).filter(|(_, def)| def.most_stacks() > 0) {
            let key = def.key.as_ref().map(Type::stacks).unwrap_or_default();
            let value = def.value.stacks();
            let id = |bytes: &[u8], at: &u32| bytes.get(*at as usize..).and_then(|b| b.get(..8)).map(word);
            for (k, v) in self.entries(map)? {
                named.extend(key.iter().filter_map(|at| id(&k, at)));
                named.extend(value.iter().filter_map(|at| id(&v, at)));
            }
        }
        Ok(named)
    }

    /// A word of the globals by its offset; 0 where there is none.
    pub fn counter(&self, offset: u32) -> u64 {
        self.load(offset)
    }

    /// The same, which is set to zero.
    pub(crate) fn take(&self, offset: u32) -> u64 {
        self.memory.word(offset as usize).map_or(0, |w| w.swap(0, Ordering::AcqRel))
    }

    /// Stacks that could not be stored, so far.
    pub fn lost_stacks(&self) -> u64 {
        self.load(self.layout.lost_stacks)
    }

    /// Stacks that led into a file without unwind tables, so far.
    pub fn unready_stacks(&self) -> u64 {
        self.layout.unready.map_or(0, |at| self.load(at))
    }

    /// Updates of a map that failed, so far.
    pub fn lost_updates(&self, map: usize) -> u64 {
        self.defs.get(map).map_or(0, |def| self.load(def.lost))
    }

    /// Number of maps of the script.
    pub fn len(&self) -> usize {
        self.defs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.defs.is_empty()
    }

    /// The start of `elapsed`, in `CLOCK_MONOTONIC` nanoseconds.
    pub(crate) fn set_start_time(&self, nanoseconds: u64) {
        self.store(self.layout.start_time, nanoseconds);
    }

    /// The values of `cpid` and `ncpus`, and the offsets of other clocks.
    pub(crate) fn set_machine(&self, child: Option<u32>) {
        for (offset, clock) in [(self.layout.tai, libc::CLOCK_TAI), (self.layout.wall, libc::CLOCK_REALTIME)] {
            let Some(offset) = offset else { continue };
            // Half-way between two readings is when the one between them was taken.
            let before = sys::clock_ns(libc::CLOCK_BOOTTIME);
            let time = sys::clock_ns(clock);
            let after = sys::clock_ns(libc::CLOCK_BOOTTIME);
            self.store(offset, time.wrapping_sub(before + after.saturating_sub(before) / 2));
        }
        self.store(self.layout.cpid, child.map_or(0, u64::from));
        self.store(self.layout.ncpus, self.cpus as u64);
    }

    /// The descriptor of a map of the object.
    pub(crate) fn object_fd(&self, symbol: &str) -> Option<BorrowedFd<'_>> {
        self.objects.iter().find(|o| o.def.symbol == symbol).map(BpfMap::fd)
    }

    fn object_of(&self, def: &MapDef) -> Option<&BpfMap> {
        match def.storage {
            Storage::Map { object, .. } => self.objects.get(object as usize),
            Storage::Global { .. } => None,
        }
    }

    fn load(&self, offset: u32) -> u64 {
        self.memory.word(offset as usize).map_or(0, |w| w.load(Ordering::Relaxed))
    }

    fn store(&self, offset: u32, value: u64) {
        if let Some(word) = self.memory.word(offset as usize) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Bytes of the globals, also when they do not start or end on a word.
    fn bytes(&self, offset: u32, size: u32) -> Vec<u8> {
        let start = (offset / 8) * 8;
        let end = offset.saturating_add(size).min(self.layout.size);
        let words: Vec<u8> = (start..end).step_by(8).flat_map(|at| self.load(at).to_ne_bytes()).collect();
        words.into_iter().skip((offset - start) as usize).take(size as usize).collect()
    }

    fn clear_bytes(&self, offset: u32, size: u32) {
        let end = offset.saturating_add(size).min(self.layout.size);
        for at in ((offset / 8) * 8..end).step_by(8) {
            // Neighbours in the same word keep their bytes.
            let mut keep = [0u8; 8];
            for (n, byte) in keep.iter_mut().enumerate() {
                let position = at + n as u32;
                *byte = if position < offset || position >= end { 0xff } else { 0 };
            }
            if let Some(word) = self.memory.word(at as usize) {
                word.fetch_and(u64::from_ne_bytes(keep), Ordering::Relaxed);
            }
        }
    }
}

impl BpfMap {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.data.fd().as_fd()
    }

    fn per_cpu(&self) -> bool {
        [map_type::PERCPU_HASH, map_type::PERCPU_ARRAY, map_type::LRU_PERCPU_HASH]
            .map(|t| t.number)
            .contains(&self.def.map_type)
    }

    /// Bytes that the kernel copies for one element.
    pub fn value_bytes(&self, cpus: usize) -> usize {
        let size = self.def.value_size as usize;
        if self.per_cpu() { size.next_multiple_of(8) * cpus } else { size }
    }

    fn merge(&self, def: &MapDef, value: &[u8]) -> Vec<u8> {
        let stride = if self.per_cpu() { (self.def.value_size as usize).next_multiple_of(8) } else { value.len() };
        merge(&def.value, value.chunks(stride.max(1)))
    }

    /// A key of the map's size.
    fn key(&self, key: &[u8]) -> Vec<u8> {
        let mut key = key.to_vec();
        key.resize(self.def.key_size as usize, 0);
        key
    }

    fn is_array(&self) -> bool {
        [map_type::ARRAY, map_type::PERCPU_ARRAY].map(|t| t.number).contains(&self.def.map_type)
    }

    pub fn entries(&self, cpus: usize) -> io::Result<Vec<Entry>> {
        let mut out = Vec::new();
        self.each(cpus, |key, value| out.push((key.to_vec(), value.to_vec())))?;
        Ok(out)
    }

    /// Shows all elements without holding more than some of them at a time. One deleted meanwhile is left out, none
    /// comes twice.
    pub fn each(&self, cpus: usize, mut show: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        match self.each_batched(cpus, &mut show) {
            // EINVAL, ENOTSUPP (524): no batch operations for this map or on this kernel (before 5.6).
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | 524 | libc::EOPNOTSUPP)) => {
                self.each_one_by_one(cpus, show)
            }
            other => other,
        }
    }

    fn each_batched(&self, cpus: usize, show: &mut impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let (key_size, value_size) = (self.def.key_size as usize, self.value_bytes(cpus));
        let fitting = (BATCH_BYTES / (key_size + value_size).max(1)).max(BATCH_LEAST);
        let mut count = fitting.min(self.def.max_entries.max(1) as usize);
        let mut position = vec![0; key_size.max(8)];
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut first = true;
        loop {
            keys.resize(key_size * count, 0);
            values.resize(value_size * count, 0);
            match sys::map_lookup_batch(self.fd(), first, &mut position, &mut keys, &mut values, count as u32) {
                Ok((got, more)) => {
                    let pairs = keys.chunks_exact(key_size.max(1)).zip(values.chunks_exact(value_size.max(1)));
                    pairs.take(got as usize).for_each(|(key, value)| show(key, value));
                    if !more {
                        return Ok(());
                    }
                    first = false;
                }
                // One bucket of the hash holds more than fits.
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && count < 1 << 20 => count *= 4,
                Err(e) => return Err(e),
            }
        }
    }

    fn each_one_by_one(&self, cpus: usize, mut show: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        // When the current key is deleted under us, the kernel starts over.
        let mut seen = HashSet::new();
        let mut key: Option<Vec<u8>> = None;
        let mut steps = (self.def.max_entries as usize).saturating_mul(4).saturating_add(16);
        let mut next = vec![0; self.def.key_size as usize];
        let mut value = vec![0; self.value_bytes(cpus)];
        while steps > 0 && sys::map_next_key(self.fd(), key.as_deref(), &mut next)? {
            steps -= 1;
            if seen.insert(next.clone()) && sys::map_lookup(self.fd(), &next, &mut value)? {
                show(&next, &value);
            }
            key = Some(next.clone());
        }
        Ok(())
    }

    fn reset(&self, cpus: usize, delete: bool) -> io::Result<()> {
        let zeros = vec![0; self.value_bytes(cpus)];
        for (key, _) in self.entries(cpus)? {
            if delete && !self.is_array() {
                sys::map_delete(self.fd(), &key)?;
            } else {
                sys::map_update(self.fd(), &key, &zeros)?;
            }
        }
        Ok(())
    }
}
