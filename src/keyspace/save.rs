//! What a checkpoint writes: objects as of one frame, the rows of what died, and the order in which both have to go.

use crate::log::Lsn;
use crate::store::{ChunkId, Space, Write};

use super::chunk_ref::ChunkRow;
use super::effect::ObjectId;
use super::fields::hash64;
use super::layout::{self, KEY_BYTES_MAX};
use super::memory::Spill;
use super::objects::{Object, RowName, Slot, Stored};
use super::ordered::Ordered;
use super::value::Value;
use super::{Keyspace, Kind};

/// Entries of a dead value that are freed in one step, so that a step stays well under a millisecond.
const SWEEP_ENTRIES: usize = 1024;
/// Taking a chunk apart costs as much as so many entries.
const CHUNK_ENTRIES: usize = 4;
/// What the row of a chunk counts for; those of queues have a summary.
const CHUNK_ROW_BYTES: usize = 256;
/// A key longer than [`KEY_BYTES_MAX`] keeps this much of its beginning in its row's name.
const LONG_KEY_PREFIX_BYTES: usize = 64;

/// Something dead that is taken apart in steps.
#[derive(Debug)]
pub enum Grave {
    Value {
        object: ObjectId,
        value: Value,
        accounted_bytes: usize,
    },
    /// A flushed database: its objects are found through its keys.
    Database {
        keys: Ordered<(u64, Slot), ()>,
    },
}

/// Something on disk that is to be deleted.
#[derive(Debug)]
pub enum Stale {
    /// The row of a key, and the rows in which its value lies; in one batch, since a replay may need both or neither.
    Value { name: RowName, object: ObjectId, pieces: u32 },
    /// A row of `dir`, and the chunk that it names.
    Chunk { object: ObjectId, base: u64, id: Option<ChunkId> },
}

/// One batch for the store. Everything in it is as of frame `lsn`, which must be durable before it is committed.
#[derive(Debug)]
pub struct Save {
    pub lsn: Lsn,
    /// Chunks that the rows refer to: to be ingested before the rows are committed. They may go first and land alone.
    pub spills: Vec<Spill>,
    writes: Vec<Write>,
    rows: Vec<(ObjectId, ChunkRow)>,
    pub objects: usize,
    pub bytes: usize,
    saved: Vec<(Slot, ObjectId)>,
    dead: Vec<ChunkId>,
}

impl Keyspace {
    /// Takes the next batch for a checkpoint: what was dirty up to frame `target`, oldest first, about `bytes_max` of it.
    ///
    /// `last` is the last frame that was finished. Call it between frames, and hand the batch to [`committed`](Self::committed) before the next.
    pub fn capture(&mut self, last: Lsn, target: Lsn, bytes_max: usize) -> Option<Save> {
        self.prune_dirty();
        let mut save = Save {
            lsn: last,
            spills: Vec::new(),
            writes: Vec::new(),
            rows: Vec::new(),
            objects: 0,
            bytes: 0,
            saved: Vec::new(),
            dead: Vec::new(),
        };
        while save.bytes < bytes_max && self.stale.front().is_some_and(|(lsn, _)| *lsn <= target) {
            let (_, stale) = self.stale.pop_front().expect("the front was just seen");
            self.delete_stale(&mut save, stale);
        }
        while save.bytes + save.spilled_bytes() < bytes_max
            && self.dirty.front().is_some_and(|(lsn, ..)| *lsn <= target)
        {
            let (lsn, slot, id) = self.dirty.pop_front().expect("the front was just seen");
            if self.is_due(lsn, slot, id) {
                self.save_object(&mut save, slot);
            }
        }
        self.memory.spilling_bytes += save.spilled_bytes();
        // Also where nothing is dirty, as after jobs that were pushed and popped in memory: otherwise a start would replay
        // them, and the log could never let go of them.
        let is_behind = self.complete < target.min(last);
        let has_others =
            self.databases_dirty != 0 && self.databases_dirty <= target || !save.writes.is_empty() || is_behind;
        // The counts of queues are as of the same frame as the objects in the batch: a replay counts what neither has.
        if self.queues.dirty_since != 0 && (has_others || self.queues.dirty_since <= target) {
            let mut queues = std::mem::take(&mut self.queues);
            queues.save(last, |name, row| match row {
                Some(row) => save.put(Space::Sys, name, row),
                None => save.delete(Space::Sys, name),
            });
            self.queues = queues;
        }
        if has_others || !save.writes.is_empty() {
            self.databases_dirty = 0;
            self.complete = self.oldest_dirty().map_or(last, |oldest| oldest - 1).min(last);
            save.writes.push(self.sys_row(last, self.complete));
        }
        (!save.writes.is_empty()).then_some(save)
    }

    /// Notes that a batch is in the store.
    pub fn committed(&mut self, mut save: Save) {
        save.spills.iter_mut().for_each(|spill| self.landed(spill));
        for (slot, id) in save.saved {
            if let Some(object) = self.objects.same_mut(slot, id) {
                object.saving = false;
            }
        }
        save.dead.into_iter().for_each(|id| self.batches.died(id));
    }

    /// The oldest frame whose effect the store does not have, apart from a batch under way.
    pub(super) fn oldest_dirty(&mut self) -> Option<Lsn> {
        self.prune_dirty();
        let dirty = self.dirty.front().map(|(lsn, ..)| *lsn);
        let stale = self.stale.front().map(|(lsn, _)| *lsn);
        let databases = (self.databases_dirty != 0).then_some(self.databases_dirty);
        let queues = (self.queues.dirty_since != 0).then_some(self.queues.dirty_since);
        [dirty, stale, databases, queues].into_iter().flatten().min()
    }

    /// The first frame that a start would replay once the store has the batch under way: the log is needed from there on. What
    /// was dirty then may have gone since without a trace, but the store does not say so before the next batch.
    pub fn replay_from(&self) -> Lsn {
        self.complete + 1
    }

    /// Takes dead values apart, one step; tells whether more is left.
    pub fn sweep(&mut self) -> bool {
        match self.graves.pop_front() {
            None => false,
            Some(Grave::Database { mut keys }) => {
                // The flush itself is in the log and in the row of the databases: the rows of its objects are garbage
                // that no recovery reads, so they do not hold the log back.
                for _ in 0..SWEEP_ENTRIES / 16 {
                    let Some(((_, slot), ())) = keys.pop_last() else { break };
                    self.forget_key(slot);
                }
                if !keys.is_empty() {
                    self.graves.push_front(Grave::Database { keys });
                }
                true
            }
            Some(mut grave) => {
                if self.take_apart(&mut grave, SWEEP_ENTRIES) {
                    self.graves.push_front(grave);
                }
                true
            }
        }
    }

    /// Frees up to `entries` of a dead value; tells whether more is left.
    pub(super) fn take_apart(&mut self, grave: &mut Grave, entries: usize) -> bool {
        let Grave::Value { object, value, accounted_bytes } = grave else { unreachable!("a database has no value") };
        let mut left = value.shrink(entries);
        if let Value::List(list) = value {
            let (mut rows, mut loose) = (Vec::new(), Vec::new());
            left = list.shrink((entries / CHUNK_ENTRIES).max(1), &mut rows, &mut loose);
            loose.into_iter().for_each(|id| self.batches.died(id));
            let stale = rows.into_iter().map(|(base, id)| (self.lsn, Stale::Chunk { object: *object, base, id }));
            self.stale.extend(stale);
        }
        let freed = if left { accounted_bytes.saturating_sub(value.memory_bytes()) } else { *accounted_bytes };
        *accounted_bytes -= freed;
        self.memory.dying_bytes -= freed;
        left
    }

    /// Tells whether an entry in the queue of dirty objects still means something.
    fn is_due(&self, lsn: Lsn, slot: Slot, id: ObjectId) -> bool {
        let object = self.objects.get(slot).filter(|object| object.id == id && object.dirty == lsn);
        object.is_some_and(|object| object.bound) && !self.is_flushed(slot)
    }

    /// Forgets what the queue of dirty objects still says about objects that are gone or were saved.
    fn prune_dirty(&mut self) {
        while let Some((lsn, slot, id)) = self.dirty.front().copied() {
            if self.is_due(lsn, slot, id) {
                break;
            }
            self.dirty.pop_front();
        }
        // Behind an old front, objects that come and go would pile up.
        if self.dirty.len() > 1024 + 4 * self.objects.len() {
            let objects = &mut self.objects;
            self.dirty
                .retain(|(lsn, slot, id)| objects.same_mut(*slot, *id).is_some_and(|object| object.dirty == *lsn));
        }
    }

    /// One key of a flushed database.
    fn forget_key(&mut self, slot: Slot) {
        let object = &mut self.objects[slot];
        object.bound = false;
        if object.expire_ms != 0 {
            self.expiries.remove(&(object.expire_ms, slot));
        }
        self.bury_unbound(slot);
    }

    fn delete_stale(&mut self, save: &mut Save, stale: Stale) {
        match stale {
            Stale::Value { name, object, pieces } => {
                self.delete_key_row(save, &name);
                for piece in 0..pieces {
                    save.delete(Space::Rows, piece_key(object, piece));
                }
            }
            Stale::Chunk { object, base, id } => {
                save.dead.extend(id);
                save.delete(Space::Dir, dir_key(object, base));
            }
        }
    }

    /// Deletes the row of a key, unless another object has been saved under it since.
    fn delete_key_row(&self, save: &mut Save, name: &RowName) {
        let database = self.databases.iter().position(|database| database.namespace == name.namespace);
        let taken = database
            .and_then(|database| self.lookup(database, &name.key))
            .is_some_and(|slot| self.objects[slot].stored == Stored::Here);
        if !taken && !self.elsewhere.contains_key(name) {
            save.delete(Space::Keys, key_row(name.namespace, hash64(&name.key), &name.key));
        }
    }

    fn save_object(&mut self, save: &mut Save, slot: Slot) {
        let inline_bytes_max = self.sizes.inline_bytes_max;
        let object = &self.objects[slot];
        let id = object.id;
        if let Value::List(list) = &object.value {
            for base in list.to_spill(inline_bytes_max) {
                // One batch at a time is packed in memory.
                if save.spills.last().is_none_or(|spill| spill.bytes >= self.memory.budget.batch_bytes) {
                    save.spills.push(Spill { batch: self.batches.next, chunks: Vec::new(), bytes: 0 });
                }
                let spill = save.spills.last_mut().expect("one was just made sure of");
                self.spill_chunk(spill, slot, id, base);
            }
        }
        let piece_bytes = self.sizes.piece_bytes;
        let lsn = save.lsn;
        let namespace = self.objects[slot].namespace;
        let old_row = match std::mem::replace(&mut self.objects[slot].stored, Stored::Here) {
            Stored::Elsewhere(name) => Some(name),
            _ => None,
        };
        if let Some(name) = old_row {
            self.elsewhere.remove(&name);
            self.delete_key_row(save, &name);
        }
        // The row under this key may be that of an object which was renamed since: it would be lost without it.
        let name = RowName { namespace, key: self.objects[slot].key.clone() };
        if let Some(other) = self.elsewhere.get(&name).copied() {
            self.save_object(save, other);
        }
        let object = &mut self.objects[slot];
        object.saved = lsn;
        object.dirty = 0;
        object.saving = true;
        save.saved.push((slot, id));
        save.objects += 1;
        let mut body = Vec::new();
        match &mut object.value {
            Value::List(list) => {
                let (mut put, mut deleted) = (Vec::new(), Vec::new());
                list.save(&mut |row| put.push((id, row)), &mut |base, chunk| deleted.push((base, chunk)));
                list.write_head(&mut body);
                for (base, chunk) in deleted {
                    save.dead.extend(chunk);
                    save.delete(Space::Dir, dir_key(id, base));
                }
                save.bytes += put.len() * CHUNK_ROW_BYTES;
                save.rows.append(&mut put);
            }
            Value::Cold(_) => unreachable!("what is not in memory is not dirty: expiry and renames bring it in first"),
            value => value.write(&mut body),
        }
        let mut pieces = 0;
        if object.value.kind() != Kind::List && body.len() > inline_bytes_max {
            for (index, piece) in body.chunks(piece_bytes).enumerate() {
                save.put(Space::Rows, piece_key(id, index as u32), piece.to_vec());
                pieces = index as u32 + 1;
            }
            body.clear();
        }
        for piece in pieces..object.pieces {
            save.delete(Space::Rows, piece_key(id, piece));
        }
        object.pieces = pieces;
        let row = encode_key_row(object, &body);
        let key = key_row(namespace, object.hash, &object.key);
        save.put(Space::Keys, key, row);
    }

    /// The row that tells what numbers are next and which namespace each database has.
    fn sys_row(&self, last: Lsn, complete: Lsn) -> Write {
        let mut row = vec![layout::ROW_VERSION];
        layout::put_varint(&mut row, last);
        layout::put_varint(&mut row, complete);
        layout::put_varint(&mut row, self.next_object);
        layout::put_varint(&mut row, self.next_namespace);
        layout::put_varint(&mut row, self.batches.next);
        let selectable = self.database_count();
        layout::put_varint(&mut row, selectable as u64);
        self.databases[..selectable].iter().for_each(|database| layout::put_varint(&mut row, database.namespace));
        Write::put(Space::Sys, layout::SYS_STATE_KEY, row)
    }
}

impl Save {
    /// Memory of the chunks in it.
    pub fn spilled_bytes(&self) -> usize {
        self.spills.iter().map(|spill| spill.bytes).sum()
    }

    /// What is to be written, once.
    pub fn take_writes(&mut self) -> Vec<Write> {
        let mut writes = std::mem::take(&mut self.writes);
        let rows = std::mem::take(&mut self.rows).into_iter();
        writes.extend(rows.map(|(object, row)| Write::Put {
            space: Space::Dir,
            key: dir_key(object, row.base),
            value: row.encode(),
        }));
        writes
    }

    fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.writes.push(Write::Put { space, key, value });
    }

    fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.bytes += key.len();
        self.writes.push(Write::Delete { space, key });
    }
}

/// The name of a key's row.
pub fn key_row(namespace: u64, hash: u64, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(17 + key.len().min(KEY_BYTES_MAX));
    row.extend_from_slice(&namespace.to_be_bytes());
    row.extend_from_slice(&hash.to_be_bytes());
    if key.len() <= KEY_BYTES_MAX {
        row.push(layout::SHORT_KEY);
        row.extend_from_slice(key);
    } else {
        row.push(layout::LONG_KEY);
        row.extend_from_slice(&key[..LONG_KEY_PREFIX_BYTES]);
        row.extend_from_slice(&xxhash_rust::xxh3::xxh3_128(key).to_be_bytes());
        row.extend_from_slice(&xxhash_rust::xxh3::xxh3_128_with_seed(key, 1).to_be_bytes());
    }
    row
}

/// The name of a chunk's row.
pub fn dir_key(object: ObjectId, base: u64) -> Vec<u8> {
    [object.to_be_bytes(), base.to_be_bytes()].concat()
}

/// The name of the row of one piece of a value.
pub fn piece_key(object: ObjectId, piece: u32) -> Vec<u8> {
    let mut key = object.to_be_bytes().to_vec();
    key.extend_from_slice(&piece.to_be_bytes());
    key
}

fn encode_key_row(object: &Object, body: &[u8]) -> Vec<u8> {
    let mut row = vec![layout::ROW_VERSION, object.value.kind() as u8];
    layout::put_varint(&mut row, object.id);
    layout::put_varint(&mut row, object.expire_ms);
    layout::put_varint(&mut row, object.saved);
    layout::put_varint(&mut row, u64::from(object.pieces));
    let long = if object.key.len() > KEY_BYTES_MAX { &*object.key } else { b"" };
    layout::put_bytes(&mut row, long);
    row.extend_from_slice(body);
    row
}
