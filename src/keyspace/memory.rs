//! What is in memory, what may leave it, and what was asked back: the account, spills, evictions, installs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::job::Summary;
use crate::store::ChunkId;

use super::chunk::Chunk;
use super::effect::{Missing, ObjectId};
use super::list::{ChunkAt, ListEvents, Side};
use super::objects::{Slot, Stored};
use super::value::{Cold, Value};
use super::{Keyspace, Kind};

/// Objects looked at to find one that may leave memory; Redis looks at as many to choose what to evict.
const EVICTION_SAMPLES: usize = 5;
/// Values that leave memory in one turn at the most, so that a turn stays short.
const EVICTIONS_PER_TURN: usize = 64;
/// A value that was used so many turns ago, or earlier, is worth less than room for what comes; one that every job uses is not.
pub(super) const RECENT_TURNS: u32 = 4096;
/// Lanes take this part of the share for objects at the most.
const LANES_PARTS: usize = 2;
/// Summaries take this part of the share for objects at the most.
const SUMMARY_PARTS: usize = 8;
/// Loaded chunks looked at in one turn to find some that may leave memory.
const LOADED_CHECKS_PER_TURN: usize = 64;

/// How the memory is divided, in bytes. See `--maxmemory`.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Keys, values and chunks.
    pub objects_bytes: usize,
    /// Chunks on their way to the store.
    pub spills_bytes: usize,
    /// One batch of chunks.
    pub batch_bytes: usize,
    /// Drop whatever the store has at the end of each turn: for tests.
    pub evict_all: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Memory {
    pub budget: Budget,
    /// Keys and what every object costs.
    pub keys_bytes: usize,
    /// Values, lists' chunks included.
    pub values_bytes: usize,
    /// Chunks that were read ahead of pops; they count in `values_bytes` too.
    pub ahead_bytes: usize,
    /// Chunks and whole values that are in the store only.
    pub cold: usize,
    /// Values that are dead and not freed yet.
    pub dying_bytes: usize,
    /// Summaries of chunks; they count in `values_bytes` too.
    pub summaries_bytes: usize,
    /// Which jobs of shared queues are whose; kept by the scheduler.
    pub lanes_bytes: usize,
    /// What is known of jobs that are leased or not due yet; kept by the scheduler.
    pub leases_bytes: usize,
    /// Chunks handed to the store and not yet confirmed; they count in `values_bytes` too.
    pub spilling_bytes: usize,
    /// Closed chunks that the store does not have, newest last: (slot, object, base). Entries may be out of date.
    pub(super) sealed: Vec<(Slot, ObjectId, u64)>,
    /// Chunks in memory that the store has, in the order in which they came: entries may be out of date.
    pub(super) loaded: VecDeque<(Slot, ObjectId, ChunkAt)>,
    /// Where the search for values that may leave memory goes on.
    clock_hand: Slot,
}

impl Memory {
    pub fn new(budget: Budget) -> Memory {
        Memory {
            budget,
            keys_bytes: 0,
            values_bytes: 0,
            ahead_bytes: 0,
            cold: 0,
            dying_bytes: 0,
            summaries_bytes: 0,
            lanes_bytes: 0,
            leases_bytes: 0,
            spilling_bytes: 0,
            sealed: Vec::new(),
            loaded: VecDeque::new(),
            clock_hand: 0,
        }
    }

    /// What counts in the share of the objects.
    pub fn objects_bytes(&self) -> usize {
        self.keys_bytes + self.values_bytes + self.dying_bytes + self.lanes_bytes + self.leases_bytes
    }

    /// What the lanes of a queue may take which take `bytes` now.
    pub fn lanes_bytes_max(&self, bytes: usize) -> usize {
        (self.budget.objects_bytes / LANES_PARTS + bytes).saturating_sub(self.lanes_bytes)
    }

    /// Chunks may get summaries; without one, a chunk is read where its summary would have told enough.
    pub fn has_room_for_summaries(&self) -> bool {
        self.summaries_bytes < self.budget.objects_bytes / SUMMARY_PARTS
    }

    /// The store has not kept up: commands that need memory should wait.
    pub fn is_behind(&self) -> bool {
        self.objects_bytes() > self.budget.objects_bytes + self.budget.spills_bytes
    }

    /// Half of what may be exceeded until the store has caught up is: nothing is spared any more.
    pub fn is_tight(&self) -> bool {
        self.objects_bytes() > self.budget.objects_bytes + self.budget.spills_bytes / 2
    }

    /// Keys alone fill the share; only what is no list can be blamed, and nothing can leave.
    pub fn is_full_of_keys(&self) -> bool {
        self.keys_bytes > self.budget.objects_bytes
    }
}

/// Chunks for the store, as one batch.
#[derive(Debug, Clone)]
pub struct Spill {
    pub batch: u64,
    pub chunks: Vec<SpilledChunk>,
    pub bytes: usize,
}

/// One chunk of a [`Spill`].
#[derive(Debug, Clone)]
pub struct SpilledChunk {
    pub slot: Slot,
    pub object: ObjectId,
    pub at: ChunkAt,
    pub body: Arc<Chunk>,
    /// Its items are jobs, and whoever stores them says what jobs they are.
    pub holds_jobs: bool,
    pub summary: Option<Arc<Summary>>,
}

/// Which batches of chunks are still needed.
#[derive(Debug, Default)]
pub struct Batches {
    pub next: u64,
    /// References to each batch, in memory or in rows on disk.
    live: BTreeMap<u64, u32>,
    /// Batches without any, to be dropped.
    dead: Vec<u64>,
}

impl Batches {
    pub fn born(&mut self, id: ChunkId) {
        *self.live.entry(id.batch()).or_default() += 1;
        self.next = self.next.max(id.batch() + 1);
    }

    pub fn died(&mut self, id: ChunkId) {
        let live = self.live.get_mut(&id.batch()).expect("a chunk that dies was born");
        *live -= 1;
        if *live == 0 {
            self.live.remove(&id.batch());
            self.dead.push(id.batch());
        }
    }

    pub fn is_live(&self, batch: u64) -> bool {
        self.live.contains_key(&batch)
    }
}

impl Keyspace {
    /// Drops references to chunks that are gone, so that the queue of loaded chunks does not outgrow them.
    fn prune_loaded(&mut self) {
        for _ in 0..LOADED_CHECKS_PER_TURN {
            let Some((slot, id, at)) = self.memory.loaded.front().copied() else { return };
            let there = self.objects.same_mut(slot, id).is_some_and(|object| match &object.value {
                Value::List(list) => list.holds(at),
                _ => false,
            });
            if there {
                return;
            }
            self.memory.loaded.pop_front();
        }
    }

    /// Lets memory go where the share is exceeded and the store has what goes; answers what the store should get first.
    pub fn relieve(&mut self) -> Option<Spill> {
        let all = self.memory.budget.evict_all;
        self.prune_loaded();
        if all || self.memory.objects_bytes() > self.memory.budget.objects_bytes {
            self.evict_loaded(all);
        }
        if all || self.memory.objects_bytes() > self.memory.budget.objects_bytes {
            self.evict_values(all);
        }
        let goes = self.memory.objects_bytes().saturating_sub(self.memory.spilling_bytes);
        let room = self.memory.spilling_bytes + self.memory.budget.batch_bytes
            <= self.memory.budget.spills_bytes.max(self.memory.budget.batch_bytes);
        let enough = all && self.memory.sealed.len() * self.sizes.chunk_bytes >= self.memory.budget.batch_bytes;
        if room && (enough || goes > self.memory.budget.objects_bytes) {
            return self.spill(self.memory.budget.batch_bytes);
        }
        None
    }

    /// Batches that nothing refers to any more.
    pub fn take_dead_batches(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.batches.dead)
    }

    /// Tells whether something refers to a batch.
    pub fn is_live_batch(&self, batch: u64) -> bool {
        self.batches.is_live(batch)
    }

    /// Notes that a batch exists, so that its number is not used again.
    pub fn note_batch(&mut self, batch: u64) {
        self.batches.next = self.batches.next.max(batch + 1);
    }

    /// Takes closed chunks for the store, newest first: they are popped last.
    pub(super) fn spill(&mut self, bytes_max: usize) -> Option<Spill> {
        if self.memory.sealed.is_empty() {
            self.close_open_chunks();
        }
        let batch = self.batches.next;
        let mut spill = Spill { batch, chunks: Vec::new(), bytes: 0 };
        while spill.bytes < bytes_max && spill.chunks.len() < ChunkId::INDEX_MAX as usize {
            let Some((slot, object, base)) = self.memory.sealed.pop() else { break };
            self.spill_chunk(&mut spill, slot, object, base);
        }
        if spill.chunks.is_empty() {
            return None;
        }
        self.batches.next = batch + 1;
        self.memory.spilling_bytes += spill.bytes;
        Some(spill)
    }

    pub(super) fn spill_chunk(&mut self, spill: &mut Spill, slot: Slot, object: ObjectId, base: u64) {
        let Some(found) = self.objects.same_mut(slot, object) else { return };
        let Value::List(list) = &mut found.value else { return };
        let id = ChunkId::new(spill.batch, spill.chunks.len() as u32);
        let Some(body) = list.spill(base, id) else { return };
        spill.bytes += body.memory_bytes();
        let (at, holds_jobs) = (ChunkAt { base, id }, found.queue != 0);
        spill.chunks.push(SpilledChunk { slot, object, at, body, holds_jobs, summary: None });
        self.batches.born(id);
        // Its row has to say where it is now.
        self.mark_moved(slot);
    }

    /// Notes that the store holds a batch.
    pub fn landed(&mut self, spill: &mut Spill) {
        self.memory.spilling_bytes -= spill.bytes;
        for chunk in &mut spill.chunks {
            let Some(object) = self.objects.same_mut(chunk.slot, chunk.object) else { continue };
            let Value::List(list) = &mut object.value else { continue };
            if !list.land(chunk.at) {
                continue;
            }
            self.memory.loaded.push_back((chunk.slot, chunk.object, chunk.at));
            if let Some(summary) = chunk.summary.take_if(|_| self.memory.has_room_for_summaries()) {
                self.memory.summaries_bytes += summary.memory_bytes();
                list.summarize(chunk.at, summary);
                self.account(chunk.slot);
                self.mark_moved(chunk.slot);
            }
        }
    }

    /// Puts a fetched chunk into its list; a list that has changed so that it does not need it ignores it.
    pub fn install_chunk(&mut self, slot: Slot, object: ObjectId, at: ChunkAt, body: Arc<Chunk>) {
        let Some(found) = self.objects.same_mut(slot, object) else { return };
        let Value::List(list) = &mut found.value else { return };
        if list.install(at, body) {
            self.memory.loaded.push_back((slot, object, at));
        }
        self.account(slot);
    }

    /// Tells whether what was asked for is still missing: its object lives, as it was, and nobody brought it in meanwhile.
    pub fn still_missing(&self, missing: &Missing) -> bool {
        match missing {
            Missing::Chunk { object, slot, at } => {
                self.objects.get(*slot).filter(|found| found.id == *object).is_some_and(|found| match &found.value {
                    Value::List(list) => list.is_missing(*at),
                    _ => false,
                })
            }
            Missing::Whole { object, slot, saved, .. } => self.objects.get(*slot).is_some_and(|found| {
                found.id == *object && found.saved == *saved && matches!(found.value, Value::Cold(_))
            }),
        }
    }

    /// Tells whether the object that something was asked for is still there, whatever is in memory of it.
    pub fn is_alive(&self, missing: &Missing) -> bool {
        let (Missing::Chunk { object, slot, .. } | Missing::Whole { object, slot, .. }) = missing;
        self.objects.get(*slot).is_some_and(|found| found.id == *object)
    }

    /// Forgets that something was asked for, so that it is asked for again.
    pub fn give_up_loading(&mut self, missing: &Missing) {
        let Missing::Chunk { object, slot, at } = missing else { return };
        if let Some(found) = self.objects.same_mut(*slot, *object)
            && let Value::List(list) = &mut found.value
        {
            list.give_up_loading(*at);
        }
    }

    /// Puts a fetched value into its object, if that is still as it was when the fetch began.
    pub fn install_whole(&mut self, slot: Slot, object: ObjectId, saved: u64, value: Value) {
        let Some(found) = self.objects.same_mut(slot, object) else { return };
        if found.saved != saved || !matches!(found.value, Value::Cold(_)) {
            return;
        }
        found.value = value;
        found.used = self.turn;
        self.account(slot);
    }

    /// Writes the current size of a value into the account.
    #[inline]
    pub(super) fn account(&mut self, slot: Slot) {
        let object = &mut self.objects[slot];
        let (bytes, cold) = (object.value.memory_bytes(), object.value.cold_count());
        self.memory.values_bytes = self.memory.values_bytes + bytes - object.accounted_bytes;
        self.memory.cold = self.memory.cold + cold - object.accounted_cold;
        if let Value::List(list) = &mut object.value {
            let (accounted, ahead) = list.account_ahead();
            self.memory.ahead_bytes = self.memory.ahead_bytes + ahead - accounted;
        }
        object.accounted_bytes = bytes;
        object.accounted_cold = cold;
    }

    /// An object that must be saved again although no effect changed it.
    fn mark_moved(&mut self, slot: Slot) {
        let object = &mut self.objects[slot];
        if object.dirty == 0 {
            object.dirty = self.lsn;
            let id = object.id;
            self.dirty.push_back((self.lsn, slot, id));
        }
    }

    fn evict_loaded(&mut self, all: bool) {
        for _ in 0..if all { usize::MAX } else { LOADED_CHECKS_PER_TURN }.min(self.memory.loaded.len()) {
            if !all && self.memory.objects_bytes() <= self.memory.budget.objects_bytes {
                return;
            }
            let Some((slot, id, at)) = self.memory.loaded.pop_front() else { return };
            let near_bytes = self.sizes.prefetch_bytes;
            let Some(object) = self.objects.same_mut(slot, id) else { continue };
            let Value::List(list) = &mut object.value else { continue };
            let end = list.popped.unwrap_or(Side::Right);
            if !all && list.is_near(end, near_bytes, at) {
                self.memory.loaded.push_back((slot, id, at));
                continue;
            }
            list.evict(at);
            self.account(slot);
        }
    }

    /// Lets values leave memory. Those in use stay while spills can still make room: they would have to come back, whole,
    /// for the next command.
    fn evict_values(&mut self, all: bool) {
        let end = self.objects.slots();
        let spared_turns = if all || self.memory.is_tight() { 0 } else { RECENT_TURNS };
        let tries = if all { end as usize } else { EVICTIONS_PER_TURN * EVICTION_SAMPLES };
        for _ in 0..tries {
            if end == 0 || !all && self.memory.objects_bytes() <= self.memory.budget.objects_bytes {
                return;
            }
            self.memory.clock_hand = (self.memory.clock_hand + 1) % end;
            self.evict_value(self.memory.clock_hand, spared_turns);
        }
    }

    /// Lets a value leave memory if the store has it as it is, and it is worth it.
    ///
    /// It stays if this turn used it, or one of `spared_turns` before.
    fn evict_value(&mut self, slot: Slot, spared_turns: u32) {
        let (turn, system) = (self.turn, self.system());
        let Some(object) = self.objects.get_mut(slot) else { return };
        let kind = object.value.kind();
        let clean = object.dirty == 0 && !object.saving && object.stored == Stored::Here;
        // What the server keeps for itself, and what pops look at, stays.
        if object.database == system
            || self.paused_sets.contains(&(object.database, slot))
            || !clean
            || turn.wrapping_sub(object.used) <= spared_turns
            || kind == Kind::List
            || matches!(object.value, Value::Cold(_))
        {
            return;
        }
        let bytes = object.value.memory_bytes() as u64;
        object.value = Value::Cold(Cold { kind, bytes, pieces: object.pieces });
        self.account(slot);
    }

    /// Where many lists have a short open chunk each, those chunks must leave too: they are closed as they are.
    fn close_open_chunks(&mut self) {
        let end = self.objects.slots();
        for _ in 0..(EVICTIONS_PER_TURN * EVICTION_SAMPLES).min(end as usize) {
            self.memory.clock_hand = (self.memory.clock_hand + 1) % end;
            let slot = self.memory.clock_hand;
            let Some(object) = self.objects.get_mut(slot) else { continue };
            let mut events = ListEvents::default();
            if let Value::List(list) = &mut object.value {
                list.close_all(&mut events);
            }
            self.take_events(slot, events);
        }
    }
}
