//! Redis' types over memory, log and store: the keys of all databases, what they hold, and the effects that change them.
//!
//! A command reads through [`Keyspace`], meets a [`Miss`] where data is not in memory, and changes things by an [`Effect`]:
//! the effect is written to the frame and applied by the same function that replays the log. Nothing here does I/O: what
//! must be fetched, spilled, saved or dropped is handed out as values ([`Missing`], [`Spill`], [`Save`]) and reported back.

mod apply;
pub mod chunk;
mod chunk_ref;
mod counts;
mod effect;
mod fields;
mod handback;
pub mod layout;
pub mod list;
mod memory;
mod objects;
mod ordered;
pub mod queue;
pub mod recovery;
mod refs;
pub mod save;
mod sightings;
#[cfg(test)]
mod tests;
mod value;
mod watch;
mod zset;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::log::Lsn;

pub use self::counts::Counts;
pub use self::effect::{Effect, Miss, Missing, ObjectId};
pub use self::fields::{Fields, hash64};
pub use self::handback::{Disk, Handbacks, Leaving};
pub use self::list::{ChunkView, List, Piece, Pieces, Side};
pub use self::memory::{Budget, Memory, Spill, SpilledChunk};
pub use self::objects::{Object, Slot};
pub use self::queue::{JobCounts, Queue, QueueId, QueueTable};
pub use self::recovery::Recovery;
pub use self::save::Save;
pub use self::sightings::{Seen, Sighting, Sightings};
pub use self::value::{Hash, Kind, Set, Value};
pub use self::zset::Zset;

use self::fields::hash64 as key_hash;
use self::layout::{Corrupt, Reader};
use self::list::ChunkAt;
use self::memory::Batches;
use self::objects::{Objects, RowName};
use self::ordered::Ordered;
use self::save::{Grave, Stale};
use self::watch::Watches;

/// Chunks that a dying list may have and still be taken apart at once.
const CHUNKS_FREED_AT_ONCE: usize = 64;
/// Bytes that another dying value may have and still be freed at once.
const BYTES_FREED_AT_ONCE: usize = 64 * 1024;

/// The sizes that shape the keyspace; the tiny profile makes them small.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// A chunk is closed when the next item would make it longer.
    pub chunk_bytes: usize,
    /// Values up to this size are stored in their key's row.
    pub inline_bytes_max: usize,
    /// Larger ones in pieces of this size.
    pub piece_bytes: usize,
    /// How far ahead of the popped end chunks are brought in.
    pub prefetch_bytes: usize,
}

/// One of the numbered databases.
#[derive(Debug)]
struct Database {
    namespace: u64,
    /// (hash of the key, slot).
    keys: Ordered<(u64, Slot), ()>,
    /// How many keys expire, for INFO.
    expiring: usize,
}

/// A key that got something that a blocked client may wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grown {
    pub database: usize,
    pub key: Box<[u8]>,
}

/// See the module.
#[derive(Debug)]
pub struct Keyspace {
    pub sizes: Sizes,
    databases: Vec<Database>,
    objects: Objects,
    /// The database that commands work on.
    database: usize,
    /// The frame under way: its number and its effects so far.
    lsn: Lsn,
    frame: Vec<u8>,
    /// Writes are refused: the command only runs to learn what it will miss.
    refusing: bool,
    now_ms: u64,
    /// Newest frame that changed an object which was read since the frame began.
    read_lsn: Lsn,
    /// Newest frame that took a key away.
    deleted_lsn: Lsn,
    next_object: ObjectId,
    next_namespace: u64,
    /// (expiry, slot) of everything that expires.
    expiries: BTreeSet<(u64, Slot)>,
    /// Objects in the order in which they became dirty: (frame, slot, id). Entries may be out of date.
    dirty: VecDeque<(Lsn, Slot, ObjectId)>,
    /// Rows of keys whose objects live under other keys by now. Whoever writes such a row must save that object with it.
    elsewhere: BTreeMap<RowName, Slot>,
    graves: VecDeque<Grave>,
    /// What is to be deleted on disk, by the frame from which on the log is needed until then.
    stale: VecDeque<(Lsn, Stale)>,
    /// A namespace was given out that the store does not know of yet.
    databases_dirty: Lsn,
    /// The store was told that it has everything up to this frame.
    complete: Lsn,
    batches: Batches,
    pub memory: Memory,
    watches: Watches,
    pub queues: QueueTable,
    pub handbacks: Handbacks,
    pub sightings: Sightings,
    pub disk: Disk,
    /// What is pushed now has been looked at with the rules up to this one; see [`List`].
    pub checked: u32,
    /// Sets that name queues which are paused, as Sidekiq Pro has them; how often one of them has changed.
    paused_sets: BTreeSet<(usize, Slot)>,
    paused_changes: u64,
    /// Somebody is blocked, so growth is noted.
    pub note_growth: bool,
    grown: Vec<Grown>,
    /// Chunks that should be brought in before they are asked for.
    prefetch: Vec<Missing>,
    turn: u32,
    pub counts: Counts,
}

impl Keyspace {
    /// Makes an empty keyspace.
    pub fn new(databases: usize, sizes: Sizes, budget: Budget) -> Keyspace {
        let database = |index: usize| Database { namespace: index as u64, keys: Ordered::default(), expiring: 0 };
        Keyspace {
            sizes,
            // The last one is the server's own.
            databases: (0..=databases).map(database).map(|each| system_if(each, databases)).collect(),
            objects: Objects::default(),
            database: 0,
            lsn: 0,
            frame: Vec::new(),
            refusing: false,
            now_ms: 0,
            read_lsn: 0,
            deleted_lsn: 0,
            next_object: 1,
            next_namespace: databases as u64,
            expiries: BTreeSet::new(),
            dirty: VecDeque::new(),
            elsewhere: BTreeMap::new(),
            graves: VecDeque::new(),
            stale: VecDeque::new(),
            databases_dirty: 0,
            complete: 0,
            batches: Batches::default(),
            memory: Memory::new(budget),
            watches: Watches::new(databases + 1),
            queues: QueueTable::default(),
            handbacks: Handbacks::default(),
            sightings: Sightings::default(),
            disk: Disk::Roomy,
            checked: 0,
            paused_sets: BTreeSet::new(),
            paused_changes: 0,
            note_growth: false,
            grown: Vec::new(),
            prefetch: Vec::new(),
            turn: 0,
            counts: Counts::default(),
        }
    }

    // ---- frames -------------------------------------------------------------------------------------------------

    /// Begins a turn: until the next one it is this time.
    pub fn begin_turn(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.turn = self.turn.wrapping_add(1);
    }

    /// Begins the frame of one command, EXEC or script, in this database.
    pub fn begin(&mut self, lsn: Lsn, database: usize) {
        debug_assert!(self.frame.is_empty(), "the frame before was taken");
        self.lsn = lsn;
        self.database = database;
        self.read_lsn = 0;
    }

    /// The effects of the frame; empty if nothing was written. The caller clears it.
    pub fn frame(&mut self) -> &mut Vec<u8> {
        &mut self.frame
    }

    /// Tells whether the frame has effects yet.
    pub fn has_written(&self) -> bool {
        !self.frame.is_empty()
    }

    /// Newest frame on which what was read since `begin` rests.
    pub fn read_lsn(&self) -> Lsn {
        self.read_lsn
    }

    /// Refuses writes, or allows them again.
    pub fn refuse_writes(&mut self, refuse: bool) {
        self.refusing = refuse;
    }

    /// Tells whether writes are refused.
    pub fn refuses_writes(&self) -> bool {
        self.refusing
    }

    /// Goes on in another database, as SELECT inside a script does.
    pub fn select(&mut self, database: usize) {
        self.database = database;
    }

    pub fn selected(&self) -> usize {
        self.database
    }

    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// How many databases clients can select.
    pub fn database_count(&self) -> usize {
        self.databases.len() - 1
    }

    /// The database in which the server keeps its own things, out of the reach of clients. What is in it stays in memory.
    pub fn system(&self) -> usize {
        self.databases.len() - 1
    }

    /// Says that a list with the name of a queue holds jobs that are being worked on.
    pub fn mark_working(&mut self, slot: Slot) -> Result<(), Miss> {
        let is_known = self.queues.get(self.objects[slot].queue).is_none_or(|queue| queue.working);
        if is_known { Ok(()) } else { self.write(slot, &Effect::MarkWorking { object: self.objects[slot].id }) }
    }

    /// Says that a key has something for who waits for it, although nothing was added.
    pub fn note_eligible(&mut self, database: usize, key: &[u8]) {
        if self.note_growth {
            self.grown.push(Grown { database, key: key.into() });
        }
    }

    /// The sets that name paused queues in a database, by the keys of the sets.
    pub fn paused_sets(&self, database: usize) -> impl Iterator<Item = (&[u8], &Set)> {
        let sets = self.paused_sets.range((database, 0)..=(database, Slot::MAX));
        sets.filter_map(|(_, slot)| match &self.objects[*slot] {
            Object { key, value: Value::Set(set), bound: true, .. } => Some((&**key, &**set)),
            _ => None,
        })
    }

    pub fn has_paused_sets(&self) -> bool {
        !self.paused_sets.is_empty()
    }

    /// How many elements a list, set, hash or sorted set of the selected database has, 0 if it is not there; not known if it
    /// is not in memory.
    pub fn length(&self, key: &[u8]) -> Option<u64> {
        let Some(slot) = self.lookup(self.database, key) else { return Some(0) };
        match &self.objects[slot].value {
            Value::List(list) => Some(list.len()),
            Value::Zset(zset) => Some(zset.len() as u64),
            Value::Set(set) => Some(set.len() as u64),
            Value::Hash(hash) => Some(hash.len() as u64),
            Value::String(_) => Some(0),
            Value::Cold(_) => None,
        }
    }

    /// How many jobs a queue of some database has, 0 if it is not there.
    pub fn length_in(&self, database: usize, key: &[u8]) -> u64 {
        match self.lookup(database, key).map(|slot| &self.objects[slot].value) {
            Some(Value::List(list)) => list.len(),
            _ => 0,
        }
    }

    /// The same, and what is not in memory is asked for.
    pub fn count(&mut self, key: &[u8]) -> Result<u64, Miss> {
        if let Some(slot) = self.find(key) {
            self.resident(slot)?;
        }
        Ok(self.length(key).unwrap_or(0))
    }

    /// What has to be in memory always and is not, after a recovery.
    pub fn missing_own(&self) -> Vec<Missing> {
        let own = self.databases[self.system()].keys.iter().map(|((_, slot), ())| *slot);
        let sets = self.paused_sets.iter().map(|(_, slot)| *slot);
        let missing = own.chain(sets).filter_map(|slot| match &self.objects[slot].value {
            Value::Cold(cold) => {
                let object = &self.objects[slot];
                Some(Missing::Whole { object: object.id, slot, saved: object.saved, pieces: cold.pieces })
            }
            _ => None,
        });
        missing.collect()
    }

    /// Grows with every change to such a set.
    pub fn paused_changes(&self) -> u64 {
        self.paused_changes
    }

    /// Keys that grew since the last call, in order.
    pub fn take_grown(&mut self) -> Vec<Grown> {
        std::mem::take(&mut self.grown)
    }

    pub fn has_grown(&self) -> bool {
        !self.grown.is_empty()
    }

    /// Chunks to be brought in ahead of pops.
    pub fn take_prefetch(&mut self) -> Vec<Missing> {
        std::mem::take(&mut self.prefetch)
    }

    // ---- looking up ---------------------------------------------------------------------------------------------

    /// Finds a live key. A key whose time has come is deleted first, by an effect of its own in this frame.
    pub fn find(&mut self, key: &[u8]) -> Option<Slot> {
        let found = self.find_live(key);
        self.counts.looked_up(found.is_some());
        found
    }

    fn find_live(&mut self, key: &[u8]) -> Option<Slot> {
        let Some(slot) = self.lookup(self.database, key) else {
            // That a key is not there may rest on a deletion.
            self.read_lsn = self.read_lsn.max(self.deleted_lsn);
            return None;
        };
        let object = &mut self.objects[slot];
        if object.expire_ms != 0 && object.expire_ms <= self.now_ms {
            if !self.refusing {
                self.expire_now(slot);
            }
            return None;
        }
        object.used = self.turn;
        self.read_lsn = self.read_lsn.max(object.changed);
        Some(slot)
    }

    /// Finds a key of one type, in memory.
    pub fn find_kind(&mut self, key: &[u8], kind: Kind) -> Result<Option<Slot>, Miss> {
        let Some(slot) = self.find(key) else { return Ok(None) };
        if self.objects[slot].value.kind() != kind {
            return Err(Miss::WrongType);
        }
        self.resident(slot)?;
        Ok(Some(slot))
    }

    /// Finds several keys, each of one of these types, in memory; what is not is named all at once.
    pub fn find_all(&mut self, keys: &[impl AsRef<[u8]>], kinds: &[Kind]) -> Result<Vec<Option<Slot>>, Miss> {
        let mut missing = Vec::new();
        let mut slots = Vec::with_capacity(keys.len());
        for key in keys {
            let slot = self.find(key.as_ref());
            if let Some(slot) = slot {
                if !kinds.contains(&self.objects[slot].value.kind()) {
                    return Err(Miss::WrongType);
                }
                match self.resident(slot) {
                    Err(Miss::Fetch(more)) => missing.extend(more),
                    other => other?,
                }
            }
            slots.push(slot);
        }
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() { Ok(slots) } else { Err(Miss::Fetch(missing)) }
    }

    /// Finds a key of one type, or makes it. Call it after everything else that can fail.
    pub fn find_or_create(&mut self, key: &[u8], kind: Kind) -> Result<Slot, Miss> {
        match self.find_kind(key, kind)? {
            Some(slot) => Ok(slot),
            None => self.create(key, kind),
        }
    }

    /// Makes sure that a value which is stored whole is in memory. Lists are brought in chunk by chunk instead.
    #[inline]
    pub fn resident(&mut self, slot: Slot) -> Result<(), Miss> {
        let object = &self.objects[slot];
        match &object.value {
            Value::Cold(cold) => Err(Miss::Fetch(vec![Missing::Whole {
                object: object.id,
                slot,
                saved: object.saved,
                pieces: cold.pieces,
            }])),
            _ => Ok(()),
        }
    }

    /// The object in a slot that was just found.
    pub fn object(&self, slot: Slot) -> &Object {
        &self.objects[slot]
    }

    pub fn string(&self, slot: Slot) -> &[u8] {
        match &self.objects[slot].value {
            Value::String(bytes) => bytes,
            other => unreachable!("the slot was found as a string, not as {:?}", other.kind()),
        }
    }

    #[inline]
    pub fn list(&self, slot: Slot) -> &List {
        match &self.objects[slot].value {
            Value::List(list) => list,
            other => unreachable!("the slot was found as a list, not as {:?}", other.kind()),
        }
    }

    pub fn hash(&self, slot: Slot) -> &Hash {
        match &self.objects[slot].value {
            Value::Hash(hash) => hash,
            other => unreachable!("the slot was found as a hash, not as {:?}", other.kind()),
        }
    }

    pub fn set(&self, slot: Slot) -> &Set {
        match &self.objects[slot].value {
            Value::Set(set) => set,
            other => unreachable!("the slot was found as a set, not as {:?}", other.kind()),
        }
    }

    pub fn zset(&self, slot: Slot) -> &Zset {
        match &self.objects[slot].value {
            Value::Zset(zset) => zset,
            other => unreachable!("the slot was found as a sorted set, not as {:?}", other.kind()),
        }
    }

    /// Tells whether a list that was found earlier is still there.
    pub fn is_list(&self, slot: Slot, object: ObjectId) -> bool {
        // What was flushed counts as bound until it is taken apart.
        self.objects.get(slot).is_some_and(|found| found.id == object && found.bound) && !self.is_flushed(slot)
    }

    /// The item at an end of a list that was just found.
    #[inline]
    pub fn list_end(&self, slot: Slot, side: Side) -> Result<&[u8], Miss> {
        self.list(slot).end(side).map_err(|at| self.missing_chunk(slot, at))
    }

    /// The item at an index of a list, if it is that long.
    pub fn list_at(&self, slot: Slot, index: u64) -> Result<Option<&[u8]>, Miss> {
        self.list(slot).at(index).transpose().map_err(|at| self.missing_chunk(slot, at))
    }

    /// What to say of a chunk that is not in memory.
    pub fn missing_chunk(&self, slot: Slot, at: ChunkAt) -> Miss {
        Miss::Fetch(vec![self.chunk_ref(slot, at)])
    }

    /// Names a chunk for a loader.
    pub fn chunk_ref(&self, slot: Slot, at: ChunkAt) -> Missing {
        Missing::Chunk { object: self.objects[slot].id, slot, at }
    }

    /// The number of keys in the current database.
    pub fn key_count(&self) -> usize {
        self.databases[self.database].keys.len()
    }

    /// (keys, keys that expire) of a database.
    pub fn counts(&self, database: usize) -> (usize, usize) {
        (self.databases[database].keys.len(), self.databases[database].expiring)
    }

    /// Visits live keys of the current database from a scan cursor on; answers the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&Object)) -> u64 {
        let mut last = 0;
        let keys = &self.databases[self.database].keys;
        for (seen, ((hash, slot), ())) in keys.iter_from(|(hash, _)| *hash < cursor).enumerate() {
            if seen >= count && *hash != last {
                return *hash;
            }
            last = *hash;
            let object = &self.objects[*slot];
            if object.expire_ms == 0 || object.expire_ms > self.now_ms {
                visit(object);
            }
        }
        0
    }

    /// The live key with this many others before it in hash order; skips expired ones.
    pub fn select_key(&self, rank: usize) -> Option<&Object> {
        let keys = &self.databases[self.database].keys;
        let live = |object: &&Object| object.expire_ms == 0 || object.expire_ms > self.now_ms;
        let mut from_rank = keys.iter_from_rank(rank).map(|((_, slot), ())| &self.objects[*slot]);
        from_rank.find(live).or_else(|| keys.iter().map(|((_, slot), ())| &self.objects[*slot]).find(live))
    }

    // ---- changing -----------------------------------------------------------------------------------------------

    /// Makes an empty value under a key that is free. The caller fills it in the same frame.
    pub fn create(&mut self, key: &[u8], kind: Kind) -> Result<Slot, Miss> {
        if self.refusing {
            return Err(Miss::Refused);
        }
        let object = self.next_object;
        self.next_object += 1;
        let namespace = self.databases[self.database].namespace;
        self.note(&Effect::Create { namespace, key, object, kind });
        Ok(self.apply_create(self.database, key, object, kind, true))
    }

    /// Deletes a value; huge ones are freed in steps later.
    pub fn delete(&mut self, slot: Slot) -> Result<(), Miss> {
        self.write(slot, &Effect::Delete { object: self.objects[slot].id })
    }

    /// Moves a value to a key of a database; what stands there must have been deleted before.
    pub fn rename(&mut self, slot: Slot, database: usize, key: &[u8]) -> Result<(), Miss> {
        self.resident(slot)?;
        let namespace = self.databases[database].namespace;
        self.write(slot, &Effect::Rename { object: self.objects[slot].id, namespace, key })
    }

    /// Sets the moment of expiry; `None` takes it away.
    pub fn set_expiry(&mut self, slot: Slot, at_ms: Option<u64>) -> Result<(), Miss> {
        self.resident(slot)?;
        self.write(slot, &Effect::Expire { object: self.objects[slot].id, at_ms: at_ms.unwrap_or(0) })
    }

    /// Pushes items one after the other to an end.
    pub fn push(&mut self, slot: Slot, side: Side, items: &[&[u8]]) -> Result<(), Miss> {
        self.write(slot, &Effect::Push { object: self.objects[slot].id, side, items: Cow::Borrowed(items) })
    }

    /// Takes items off an end; the list goes when it is empty. The caller has read them before.
    pub fn pop(&mut self, slot: Slot, side: Side, count: u64) -> Result<(), Miss> {
        self.write(slot, &Effect::Pop { object: self.objects[slot].id, side, count })
    }

    /// Hands out items by ordinal; the list goes when it is empty. The caller has read them before.
    pub fn take_items(&mut self, slot: Slot, side: Side, ordinals: &[u64]) -> Result<(), Miss> {
        self.write(slot, &Effect::TakeItems { object: self.objects[slot].id, side, ordinals: Cow::Borrowed(ordinals) })
    }

    /// Cuts items off an end that nobody gets.
    pub fn trim(&mut self, slot: Slot, side: Side, count: u64) -> Result<(), Miss> {
        self.write(slot, &Effect::Trim { object: self.objects[slot].id, side, count })
    }

    /// Takes items out because a rule says so.
    pub fn banish(&mut self, slot: Slot, ordinals: &[u64]) -> Result<(), Miss> {
        self.write(slot, &Effect::Banish { object: self.objects[slot].id, ordinals: Cow::Borrowed(ordinals) })
    }

    /// Puts items back that a rule had taken out.
    pub fn restore(&mut self, slot: Slot, side: Side, items: &[&[u8]]) -> Result<(), Miss> {
        self.write(slot, &Effect::Restore { object: self.objects[slot].id, side, items: Cow::Borrowed(items) })
    }

    /// Notes that chunks of a list were looked at with the rules up to `checked`, unless the list was written anew since.
    pub fn mark_checked(&mut self, slot: Slot, object: ObjectId, bases: &[u64], checked: u32) {
        let Some(found) = self.objects.same_mut(slot, object) else { return };
        if let Value::List(list) = &mut found.value {
            bases.iter().for_each(|base| list.mark_checked(*base, checked));
        }
    }

    /// Removes items by ordinal.
    pub fn remove_items(&mut self, slot: Slot, ordinals: &[u64]) -> Result<(), Miss> {
        self.write(slot, &Effect::RemoveItems { object: self.objects[slot].id, ordinals: Cow::Borrowed(ordinals) })
    }

    /// Replaces an item; its chunk is fetched first.
    pub fn set_item(&mut self, slot: Slot, ordinal: u64, item: &[u8]) -> Result<(), Miss> {
        self.chunk_of(slot, ordinal)?;
        self.write(slot, &Effect::SetItem { object: self.objects[slot].id, ordinal, item })
    }

    /// Puts an item before or after another; the chunk is fetched first.
    pub fn insert_item(&mut self, slot: Slot, pivot: u64, after: bool, item: &[u8]) -> Result<(), Miss> {
        self.chunk_of(slot, pivot)?;
        self.write(slot, &Effect::InsertItem { object: self.objects[slot].id, pivot, after, item })
    }

    /// Sets a whole string.
    pub fn write_string(&mut self, slot: Slot, bytes: &[u8]) -> Result<(), Miss> {
        self.write(slot, &Effect::Write { object: self.objects[slot].id, bytes })
    }

    /// Overwrites part of a string, with zero bytes up to the offset where it is shorter.
    pub fn patch_string(&mut self, slot: Slot, offset: u64, bytes: &[u8]) -> Result<(), Miss> {
        self.write(slot, &Effect::Patch { object: self.objects[slot].id, offset, bytes })
    }

    /// Sets fields of a hash.
    pub fn put_fields(&mut self, slot: Slot, pairs: &[(&[u8], &[u8])]) -> Result<(), Miss> {
        self.write(slot, &Effect::PutFields { object: self.objects[slot].id, pairs: Cow::Borrowed(pairs) })
    }

    /// Adds members to a set.
    pub fn add_members(&mut self, slot: Slot, members: &[&[u8]]) -> Result<(), Miss> {
        self.write(slot, &Effect::AddMembers { object: self.objects[slot].id, members: Cow::Borrowed(members) })
    }

    /// Gives members of a sorted set their scores; no score is NaN.
    pub fn put_scores(&mut self, slot: Slot, pairs: &[(&[u8], f64)]) -> Result<(), Miss> {
        self.write(slot, &Effect::PutScores { object: self.objects[slot].id, pairs: Cow::Borrowed(pairs) })
    }

    /// Takes fields or members out; the key goes when nothing is left.
    pub fn remove_names(&mut self, slot: Slot, names: &[&[u8]]) -> Result<(), Miss> {
        self.write(slot, &Effect::RemoveNames { object: self.objects[slot].id, names: Cow::Borrowed(names) })
    }

    /// Empties a database at once; what was in it is freed later.
    pub fn flush(&mut self, database: usize) -> Result<(), Miss> {
        if self.refusing {
            return Err(Miss::Refused);
        }
        let namespace = self.next_namespace;
        self.next_namespace += 1;
        self.note(&Effect::Flush { database: database as u64, namespace });
        self.apply_flush(database, namespace);
        Ok(())
    }

    /// Deletes up to `limit` keys whose time has come, each by an effect in this frame.
    pub fn expire_due(&mut self, limit: usize) -> usize {
        for done in 0..limit {
            match self.expiries.first() {
                Some((at_ms, slot)) if *at_ms <= self.now_ms => {
                    let (at_ms, slot) = (*at_ms, *slot);
                    if self.is_flushed(slot) {
                        self.expiries.remove(&(at_ms, slot));
                    } else {
                        self.expire_now(slot);
                    }
                }
                _ => return done,
            }
        }
        limit
    }

    /// When the next key expires, in Unix milliseconds.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.expiries.first().map(|(at_ms, _)| *at_ms)
    }

    fn expire_now(&mut self, slot: Slot) {
        self.counts.expired_keys += 1;
        let effect = Effect::Delete { object: self.objects[slot].id };
        if self.sightings.active {
            self.look_at(slot, &effect);
        }
        self.note(&effect);
        self.apply(slot, &effect);
    }

    /// Looks at a change before it is made, for who wants to know.
    #[cold]
    fn look_at(&mut self, slot: Slot, effect: &Effect) {
        let object = &self.objects[slot];
        if self.handbacks.active {
            self.handbacks.see(&object.value, effect, self.now_ms);
        }
        if self.sightings.active {
            let is_queue = self.queues.get(object.queue).is_some_and(|queue| !queue.working);
            self.sightings.see(object, is_queue, effect);
        }
    }

    fn chunk_of(&self, slot: Slot, ordinal: u64) -> Result<(), Miss> {
        self.list(slot).missing_for(ordinal).map_or(Ok(()), |at| Err(self.missing_chunk(slot, at)))
    }

    #[inline]
    fn write(&mut self, slot: Slot, effect: &Effect) -> Result<(), Miss> {
        if self.refusing {
            return Err(Miss::Refused);
        }
        if self.handbacks.active | self.sightings.active {
            self.look_at(slot, effect);
        }
        self.note(effect);
        self.apply(slot, effect);
        Ok(())
    }

    /// Writes an effect to the frame.
    #[inline]
    fn note(&mut self, effect: &Effect) {
        effect.encode(&mut self.frame);
        self.counts.effects += 1;
    }
}

/// The database behind those that clients can select is the server's own.
fn system_if(mut database: Database, selectable: usize) -> Database {
    if database.namespace == selectable as u64 {
        database.namespace = layout::SYSTEM_NAMESPACE;
    }
    database
}

/// Reads the effects of a frame one by one.
fn effects(frame: &[u8]) -> impl Iterator<Item = Result<Effect<'_>, Corrupt>> {
    let mut reader = Reader::new(frame);
    std::iter::from_fn(move || (reader.left() > 0).then(|| Effect::decode(&mut reader)))
}
