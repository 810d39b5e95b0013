//! From the rows of the store and the frames of the log back to the keyspace.
//!
//! A row says as of which frame it is, and a frame's effects are applied only to objects whose row is older. So the rows
//! may stem from different moments, and the log may reach back further than any of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::log::Lsn;

use super::chunk::Chunk;
use super::effect::{Effect, Missing, ObjectId};
use super::fields::hash64;
use super::layout::{self, Corrupt, Reader};
use super::list::List;
use super::objects::{OBJECT_OVERHEAD_BYTES, Object, Slot, Stored};
use super::save::Stale;
use super::value::{Cold, Kind, Value};
use super::{Keyspace, effects};

/// What was brought in for a frame that is replayed.
#[derive(Debug)]
pub enum Fetched {
    Chunk(Arc<Chunk>),
    Whole(Value),
}

/// Brings something in on the spot; replay asks for it only where an effect rewrites what is not in memory.
pub type FetchNow<'a> = dyn FnMut(&Missing, &Keyspace) -> Result<Fetched, String> + 'a;

/// The way back, in this order: [`state`](Self::state), all keys, all chunk rows, [`rows_done`](Self::rows_done), all
/// frames, [`finish`](Self::finish).
#[derive(Debug, Default)]
pub struct Recovery {
    slots: HashMap<ObjectId, Slot>,
    /// The store has everything up to here.
    pub complete: Lsn,
    /// The log was durable up to here when the store was written last.
    pub last: Lsn,
    pub keys: u64,
    pub chunks: u64,
}

impl Recovery {
    /// Takes the numbers and namespaces of the last checkpoint.
    pub fn state(&mut self, keyspace: &mut Keyspace, row: &[u8]) -> Result<(), Corrupt> {
        let mut reader = Reader::new(row);
        if reader.byte()? != layout::ROW_VERSION {
            return Err(Corrupt("state row of an unknown version"));
        }
        self.last = reader.varint()?;
        self.complete = reader.varint()?;
        keyspace.complete = self.complete;
        keyspace.next_object = reader.varint()?;
        keyspace.next_namespace = reader.varint()?;
        keyspace.batches.next = reader.varint()?;
        let count = reader.varint()? as usize;
        if count > keyspace.database_count() {
            // Without it, everything in the databases behind would count as flushed.
            return Err(Corrupt(
                "it was written with more databases than there are now; raise the setting `databases`",
            ));
        }
        for index in 0..count {
            keyspace.databases[index].namespace = reader.varint()?;
        }
        Ok(())
    }

    /// Takes the counts of one queue.
    pub fn queue(&mut self, keyspace: &mut Keyspace, name: &[u8], row: &[u8]) -> Result<(), Corrupt> {
        keyspace.queues.load(name, row)
    }

    /// Takes the row of one key. One in a namespace that was flushed gets no key: the log may tell that its object was
    /// moved to another database before the flush. If it does not, the object is buried at the end.
    pub fn key(&mut self, keyspace: &mut Keyspace, name: &[u8], row: &[u8]) -> Result<(), Corrupt> {
        let mut name = Reader::new(name);
        let namespace = name.u64()?;
        let hash = name.u64()?;
        let tag = name.byte()?;
        let mut reader = Reader::new(row);
        if reader.byte()? != layout::ROW_VERSION {
            return Err(Corrupt("key row of an unknown version"));
        }
        let kind = Kind::from_number(reader.byte()?)?;
        let id = reader.varint()?;
        let expire_ms = reader.varint()?;
        let saved = reader.varint()?;
        let pieces = reader.varint()? as u32;
        let long_key = reader.bytes()?;
        let key: Box<[u8]> = if tag == layout::SHORT_KEY { name.rest().into() } else { long_key.into() };
        let database = keyspace.databases.iter().position(|database| database.namespace == namespace);
        if hash != hash64(&key) {
            return Err(Corrupt("key row under the hash of another key"));
        }
        let value = match kind {
            Kind::List => Value::List(Box::new(List::read_head(&mut reader)?)),
            kind => Value::Cold(Cold { kind, bytes: reader.left() as u64, pieces }),
        };
        keyspace.memory.keys_bytes += OBJECT_OVERHEAD_BYTES + key.len();
        let object = Object {
            id,
            queue: 0,
            database: database.unwrap_or_default(),
            namespace,
            key,
            hash,
            expire_ms,
            value,
            bound: false,
            changed: 0,
            dirty: 0,
            saved,
            saving: false,
            stored: Stored::Here,
            pieces,
            used: 0,
            accounted_bytes: 0,
            accounted_cold: 0,
        };
        let slot = keyspace.objects.insert(Box::new(object));
        if database.is_some() {
            keyspace.bind(slot);
        }
        keyspace.account(slot);
        if self.slots.insert(id, slot).is_some() {
            return Err(Corrupt("one object under two keys"));
        }
        keyspace.next_object = keyspace.next_object.max(id + 1);
        self.keys += 1;
        Ok(())
    }

    /// Takes the row of one chunk of a list.
    pub fn chunk(&mut self, keyspace: &mut Keyspace, name: &[u8], row: &[u8]) -> Result<(), Corrupt> {
        let mut name = Reader::new(name);
        let (object, base) = (name.u64()?, name.u64()?);
        let list = self.slots.get(&object).and_then(|slot| match &mut keyspace.objects[*slot].value {
            Value::List(list) => Some((*slot, list)),
            _ => None,
        });
        let Some((slot, list)) = list else {
            keyspace.stale.push_back((self.complete + 1, Stale::Chunk { object, base, id: None }));
            return Ok(());
        };
        let (room, before) = (keyspace.memory.has_room_for_summaries(), list.summaries_bytes());
        let id = list.load_row(base, row, room)?;
        keyspace.memory.summaries_bytes += list.summaries_bytes() - before;
        if let Some(id) = id {
            keyspace.batches.born(id);
        }
        keyspace.account(slot);
        self.chunks += 1;
        Ok(())
    }

    /// Checks that rows fit together.
    pub fn rows_done(&mut self, keyspace: &mut Keyspace) -> Result<(), Corrupt> {
        for slot in self.slots.values() {
            if let Value::List(list) = &keyspace.objects[*slot].value
                && !list.adds_up()
            {
                return Err(Corrupt("a list's chunks do not add up to its length"));
            }
        }
        Ok(())
    }

    /// Applies one frame of the log.
    pub fn frame(
        &mut self,
        keyspace: &mut Keyspace,
        lsn: Lsn,
        frame: &[u8],
        fetch: &mut FetchNow,
    ) -> Result<(), String> {
        keyspace.lsn = lsn;
        for effect in effects(frame) {
            let effect = effect.map_err(|corrupt| format!("frame {lsn}: {corrupt}"))?;
            keyspace.counts.effects += 1;
            match &effect {
                Effect::Flush { database, namespace } => self.flush(keyspace, *database as usize, *namespace),
                Effect::Create { namespace, key, object, kind } => {
                    self.create(keyspace, lsn, *namespace, key, *object, *kind);
                }
                effect => self.change(keyspace, lsn, effect, fetch)?,
            }
        }
        Ok(())
    }

    /// Ends the recovery: objects that lost their key to a later state of the store are gone.
    pub fn finish(self, keyspace: &mut Keyspace) {
        keyspace.lsn = keyspace.lsn.max(self.complete + 1);
        let mut unbound: Vec<Slot> = Vec::new();
        for slot in self.slots.values() {
            if keyspace.objects.get(*slot).is_some_and(|object| !object.bound) {
                unbound.push(*slot);
            }
        }
        unbound.sort_unstable();
        for slot in unbound {
            keyspace.bury_unbound(slot);
        }
        keyspace.grown.clear();
        keyspace.prefetch.clear();
    }

    fn flush(&mut self, keyspace: &mut Keyspace, database: usize, namespace: u64) {
        // A namespace only grows: an older one is a flush that the store has seen.
        if keyspace.databases.get(database).is_some_and(|database| database.namespace < namespace) {
            keyspace.apply_flush(database, namespace);
            while keyspace.sweep() {}
            self.slots.retain(|id, slot| keyspace.objects.get(*slot).is_some_and(|object| object.id == *id));
        }
    }

    fn create(&mut self, keyspace: &mut Keyspace, lsn: Lsn, namespace: u64, key: &[u8], id: ObjectId, kind: Kind) {
        keyspace.next_object = keyspace.next_object.max(id + 1);
        if self.slots.contains_key(&id) {
            return;
        }
        // Without a database it was created before a flush, and perhaps moved to another one in time.
        let database = keyspace.databases.iter().position(|database| database.namespace == namespace);
        let bound = database.is_some_and(|database| self.may_bind(keyspace, lsn, database, key));
        let slot = keyspace.apply_create(database.unwrap_or_default(), key, id, kind, bound);
        keyspace.objects[slot].namespace = namespace;
        self.slots.insert(id, slot);
    }

    /// A key belongs to what the store has under it if that is newer than the frame. If it is older, the row is that of an
    /// object which was renamed by a frame that the log no longer has; it was given up because the object died later.
    fn may_bind(&self, keyspace: &mut Keyspace, lsn: Lsn, database: usize, key: &[u8]) -> bool {
        let Some(slot) = keyspace.lookup(database, key) else { return true };
        if keyspace.objects[slot].saved >= lsn {
            return false;
        }
        keyspace.unbind(slot);
        true
    }

    fn change(
        &mut self,
        keyspace: &mut Keyspace,
        lsn: Lsn,
        effect: &Effect,
        fetch: &mut FetchNow,
    ) -> Result<(), String> {
        let id = effect.object().expect("all other effects have an object");
        let Some(slot) = self.slots.get(&id).copied() else { return Ok(()) };
        if keyspace.objects[slot].saved >= lsn {
            return Ok(());
        }
        if let Some(missing) = keyspace.needed_for(slot, effect) {
            let fetched = fetch(&missing, keyspace)?;
            keyspace.install(&missing, fetched);
        }
        if let Effect::Rename { namespace, key, .. } = effect {
            let target = keyspace.databases.iter().position(|database| database.namespace == *namespace);
            if !target.is_some_and(|database| self.may_bind(keyspace, lsn, database, key)) {
                keyspace.unbind(slot);
                return Ok(());
            }
        }
        keyspace.apply(slot, effect);
        if keyspace.objects.get(slot).is_none_or(|object| object.id != id) {
            self.slots.remove(&id);
        }
        Ok(())
    }
}

impl Keyspace {
    /// What has to be in memory before an effect can be applied.
    fn needed_for(&self, slot: Slot, effect: &Effect) -> Option<Missing> {
        let object = &self.objects[slot];
        match (&object.value, effect) {
            (_, Effect::Delete { .. }) => None,
            (Value::Cold(cold), _) => {
                Some(Missing::Whole { object: object.id, slot, saved: object.saved, pieces: cold.pieces })
            }
            (Value::List(list), Effect::SetItem { ordinal, .. } | Effect::InsertItem { pivot: ordinal, .. }) => {
                list.missing_for(*ordinal).map(|at| self.chunk_ref(slot, at))
            }
            _ => None,
        }
    }

    /// Puts into its place what was fetched.
    pub fn install(&mut self, missing: &Missing, fetched: Fetched) {
        match (*missing, fetched) {
            (Missing::Chunk { object, slot, at }, Fetched::Chunk(body)) => self.install_chunk(slot, object, at, body),
            (Missing::Whole { object, slot, saved, .. }, Fetched::Whole(value)) => {
                self.install_whole(slot, object, saved, value);
            }
            _ => unreachable!("a chunk is fetched as a chunk, and a value as a value"),
        }
    }

    /// The row of an object's key, and its kind, for a loader.
    pub fn key_row_of(&self, slot: Slot) -> (Vec<u8>, Kind) {
        let object = &self.objects[slot];
        (super::save::key_row(object.namespace, object.hash, &object.key), object.value.kind())
    }
}

/// Reads the bytes of a value out of its key's row, if they are there.
pub fn inline_body(row: &[u8]) -> Result<&[u8], Corrupt> {
    let mut reader = Reader::new(row);
    reader.take(2)?;
    for _ in 0..4 {
        reader.varint()?;
    }
    reader.bytes()?;
    Ok(reader.rest())
}
