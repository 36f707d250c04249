//! The table of stacks that maps and variables name by id. Programs only put stacks in; what no map names any more is
//! taken out here when the table fills, so that a run of any length finds room for new ones.
//!
//! Programs go on meanwhile: one that found a stack in the table may be about to write its id to a map. So stacks that
//! were taken out are remembered; they go back in if a map names them after all, and are printed if a record on its way
//! through the ring buffer does.

use super::maps::BpfMap;
use super::merge::word;
use rtrace_core::bundle::MapDef;
use rtrace_sys as sys;
use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

/// Programs that had found a stack when it was taken out have ended, and written its id, after this time.
const GRACE: Duration = Duration::from_millis(100);
/// How often to look how full the table is; and how often where it fills fast.
const PAUSE: Duration = Duration::from_millis(100);
const SHORT_PAUSE: Duration = Duration::from_millis(5);

/// Most stacks that are taken out at once while new ones come slowly: so few of them need to be remembered.
const FEW: usize = 1024;

/// The knowledge about the table between two checks.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    /// The index of its BPF map.
    pub object: usize,
    /// Most stacks in it.
    room: u64,
    /// Room beyond what maps can name.
    spare: u64,
    /// Stacks in it, and the programs' count of new ones, when it was last gone over.
    held: u64,
    counted: u64,
    /// The count at the last look.
    seen: u64,
    /// New stacks come fast.
    filling: bool,
    /// Stacks that were taken out, by id.
    removed: HashMap<u64, Box<[u8]>>,
    /// When those are compared with the maps once more.
    check: Option<Instant>,
}

impl Stacks {
    pub fn new(object: usize, room: u64, defs: &[MapDef]) -> Stacks {
        let named = defs.iter().map(MapDef::most_stacks).sum::<u64>();
        Stacks { object, room, spare: room.saturating_sub(named), ..Stacks::default() }
    }

    /// When [`Stacks::tend`] wants to be called again.
    pub fn wait(&self) -> Duration {
        if self.filling { SHORT_PAUSE } else { PAUSE }
    }

    /// Looks how full the table is, and frees stacks when it has little room left. `count` is the programs' count of
    /// new stacks, `named` reads the ids in maps; `drained`: no record that names a stack is older than the last call.
    pub fn tend(
        &mut self,
        table: &BpfMap,
        count: u64,
        drained: bool,
        named: impl Fn() -> io::Result<HashSet<u64>>,
    ) -> io::Result<()> {
        self.filling = count.saturating_sub(self.seen) > self.spare / 64;
        self.seen = count;
        if self.check.is_some_and(|at| at <= Instant::now()) {
            self.check = None;
            self.put_back(table, &named()?);
        }
        let used = self.held + count.saturating_sub(self.counted);
        // Without an end of records these could be remembered without end.
        if used >= self.room - self.spare / 4 * 3 && (drained || self.removed.len() as u64 <= self.room) {
            self.sweep(table, count, drained, named)?;
        }
        Ok(())
    }

    fn sweep(
        &mut self,
        table: &BpfMap,
        count: u64,
        drained: bool,
        named: impl Fn() -> io::Result<HashSet<u64>>,
    ) -> io::Result<()> {
        // First the table: what is put in later is not touched, what was in is named by now if it ever is.
        let mut held = Vec::new();
        table.each(1, |key, _| held.push(word(key)))?;
        let named = named()?;
        self.put_back(table, &named);
        if drained {
            self.removed.retain(|id, _| named.contains(id));
        }
        (self.held, self.counted) = (held.len() as u64, count);
        let mut value = vec![0; table.value_bytes(1)];
        let most = if self.filling { held.len() } else { FEW };
        for id in held.into_iter().filter(|id| !named.contains(id)).take(most) {
            let key = id.to_ne_bytes();
            if sys::map_lookup(table.fd(), &key, &mut value)? && sys::map_delete(table.fd(), &key)? {
                // Most stacks are much shorter than the room for one.
                self.removed.insert(id, value.iter().take(8 + length(&value)).copied().collect());
                self.held -= 1;
            }
        }
        self.check = Some(Instant::now() + GRACE);
        Ok(())
    }

    /// Puts stacks back that a program named while they were taken out.
    fn put_back(&mut self, table: &BpfMap, named: &HashSet<u64>) {
        let size = table.value_bytes(1);
        for (id, value) in self.removed.iter().filter(|(id, _)| named.contains(id)) {
            let mut value = value.to_vec();
            value.resize(size, 0);
            // Where there is no room, it is still printed.
            if sys::map_update(table.fd(), &id.to_ne_bytes(), &value).is_ok() {
                self.held += 1;
            }
        }
    }

    /// The words of a stack; `None` if there is none with this id.
    pub fn words(&self, table: &BpfMap, id: u64) -> io::Result<Option<Vec<u64>>> {
        let words = |value: &[u8]| value.chunks_exact(8).skip(1).take(length(value) / 8).map(word).collect();
        let mut value = vec![0; table.value_bytes(1)];
        if sys::map_lookup(table.fd(), &id.to_ne_bytes(), &mut value)? {
            return Ok(Some(words(&value)));
        }
        Ok(self.removed.get(&id).map(|value| words(value)))
    }
}

/// Bytes of the frames, which follow a word with their number.
fn length(value: &[u8]) -> usize {
    value.first_chunk::<4>().map_or(0, |n| u32::from_ne_bytes(*n)) as usize
}
