//! Applying effects: the one way in which data changes, when a command runs and when the log is replayed.

use super::effect::{Effect, Missing, ObjectId};
use super::list::{ChunkAt, ListEvents};
use super::objects::{OBJECT_OVERHEAD_BYTES, Object, RowName, Slot, Stored};
use super::ordered::Ordered;
use super::queue::QueueId;
use super::save::{Grave, Stale};
use super::value::{Kind, Value};
use super::{BYTES_FREED_AT_ONCE, CHUNKS_FREED_AT_ONCE, Database, Grown, Keyspace, Side, key_hash};
use crate::log::Lsn;

impl Keyspace {
    pub(super) fn apply_create(&mut self, database: usize, key: &[u8], id: ObjectId, kind: Kind, bound: bool) -> Slot {
        let hash = key_hash(key);
        let accounted_bytes = OBJECT_OVERHEAD_BYTES + key.len();
        self.memory.keys_bytes += accounted_bytes;
        let queue = if bound { self.queue_of(database, key, hash, kind) } else { 0 };
        let slot = self.objects.insert(Box::new(Object {
            queue,
            id,
            database,
            namespace: self.databases[database].namespace,
            key: key.into(),
            hash,
            expire_ms: 0,
            value: Value::new(kind),
            bound,
            changed: 0,
            dirty: 0,
            saved: 0,
            saving: false,
            stored: Stored::No,
            pieces: 0,
            used: self.turn,
            accounted_bytes: 0,
            accounted_cold: 0,
        }));
        if bound {
            self.databases[database].keys.insert((hash, slot), ());
            self.note_paused_set(slot);
        }
        self.mark_changed(slot);
        slot
    }

    pub(super) fn apply_flush(&mut self, database: usize, namespace: u64) {
        self.deleted_lsn = self.lsn;
        let fresh = Database { namespace, keys: Ordered::default(), expiring: 0 };
        let old = std::mem::replace(&mut self.databases[database], fresh);
        self.leave_rows_elsewhere(old.namespace);
        self.watches.touch_all(database, |key| {
            let hash = key_hash(key);
            old.keys
                .iter_from(|(other, _)| *other < hash)
                .take_while(|((other, _), ())| *other == hash)
                .any(|((_, slot), ())| *self.objects[*slot].key == *key)
        });
        self.next_namespace = self.next_namespace.max(namespace + 1);
        self.count_flushed(database, &old.keys);
        if self.paused_sets(database).next().is_some() {
            self.paused_changes += 1;
        }
        self.paused_sets.retain(|(other, _)| *other != database);
        if self.databases_dirty == 0 {
            self.databases_dirty = self.lsn;
        }
        if !old.keys.is_empty() {
            self.graves.push_back(Grave::Database { keys: old.keys });
        }
    }

    /// Objects that were moved into a namespace and die with it may have their rows under keys of another one, where only
    /// the log says that they no longer belong.
    pub(super) fn leave_rows_elsewhere(&mut self, flushed: u64) {
        let objects = &mut self.objects;
        let mut left = Vec::new();
        self.elsewhere.retain(|name, slot| {
            let object = &mut objects[*slot];
            let leaves = object.namespace == flushed && name.namespace != flushed;
            if leaves {
                object.stored = Stored::No;
                let pieces = std::mem::take(&mut object.pieces);
                left.push((object.dirty, Stale::Value { name: name.clone(), object: object.id, pieces }));
            }
            !leaves
        });
        left.into_iter().for_each(|(needed, stale)| self.note_stale(needed, stale));
    }

    /// Notes what is to be deleted on disk; until then the log is needed from this frame on.
    pub(super) fn note_stale(&mut self, needed: Lsn, stale: Stale) {
        let at = self.stale.partition_point(|(other, _)| *other <= needed);
        self.stale.insert(at, (needed, stale));
    }

    /// Applies an effect to its object. `Create` and `Flush` have functions of their own.
    pub(super) fn apply(&mut self, slot: Slot, effect: &Effect) {
        let mut events = ListEvents::default();
        let (chunk_bytes, checked) = (self.sizes.chunk_bytes, self.checked);
        let object = &mut self.objects[slot];
        let queue = object.queue;
        let length = if let (true, Value::List(list)) = (queue != 0, &object.value) { list.len() } else { 0 };
        match (effect, &mut object.value) {
            (Effect::Delete { .. }, _) => return self.bury(slot),
            (Effect::Rename { namespace, key, .. }, _) => return self.apply_rename(slot, *namespace, key),
            (Effect::Expire { at_ms, .. }, _) => self.apply_expire(slot, *at_ms),
            (Effect::Push { side, items, .. } | Effect::Restore { side, items, .. }, Value::List(list)) => {
                for item in items.iter() {
                    list.push(*side, item, chunk_bytes, checked, &mut events);
                }
                self.note_growth(slot);
            }
            (Effect::Pop { side, count, .. }, Value::List(list)) => {
                let chunks = list.chunk_count();
                list.popped = Some(*side);
                list.pop(*side, *count, &mut events);
                if list.cold_count() > 0 && list.chunk_count() < chunks {
                    self.prefetch_ahead(slot, *side);
                }
            }
            (Effect::MarkWorking { .. }, Value::List(_)) => {}
            (Effect::Trim { side, count, .. }, Value::List(list)) => list.pop(*side, *count, &mut events),
            (Effect::TakeItems { side, ordinals, .. }, Value::List(list)) => {
                list.popped = Some(*side);
                list.remove(ordinals, &mut events);
            }
            (Effect::RemoveItems { ordinals, .. } | Effect::Banish { ordinals, .. }, Value::List(list)) => {
                list.remove(ordinals, &mut events);
            }
            (Effect::SetItem { ordinal, item, .. }, Value::List(list)) => list.set(*ordinal, item, &mut events),
            (Effect::InsertItem { pivot, after, item, .. }, Value::List(list)) => {
                list.insert(*pivot, *after, item, &mut events);
            }
            (Effect::Write { bytes, .. }, Value::String(string)) => {
                *string = bytes.to_vec();
            }
            (Effect::Patch { offset, bytes, .. }, Value::String(string)) => {
                let end = *offset as usize + bytes.len();
                if string.len() < end {
                    string.resize(end, 0);
                }
                string[*offset as usize..end].copy_from_slice(bytes);
            }
            (Effect::PutFields { pairs, .. }, Value::Hash(hash)) => {
                for (field, value) in pairs.iter() {
                    hash.put(field, (*value).into());
                }
            }
            (Effect::AddMembers { members, .. }, Value::Set(set)) => {
                for member in members.iter() {
                    set.put(member, ());
                }
            }
            (Effect::PutScores { pairs, .. }, Value::Zset(zset)) => {
                for (member, score) in pairs.iter() {
                    zset.put(member, *score);
                }
                self.note_growth(slot);
            }
            (Effect::RemoveNames { names, .. }, value) => {
                for name in names.iter() {
                    match value {
                        Value::Hash(hash) => drop(hash.remove(name)),
                        Value::Set(set) => drop(set.remove(name)),
                        Value::Zset(zset) => drop(zset.remove(name)),
                        _ => unreachable!("names are taken out of hashes and sets only"),
                    }
                }
            }
            (effect, value) => unreachable!("{effect:?} does not fit a {:?}", value.kind()),
        }
        if queue != 0 {
            let now = if let Value::List(list) = &self.objects[slot].value { list.len() } else { 0 };
            self.queues.count(queue, effect, self.lsn, length, now);
        }
        self.take_events(slot, events);
        self.mark_changed(slot);
        if self.objects[slot].value.is_empty_collection() {
            self.bury(slot);
        }
    }

    pub(super) fn apply_rename(&mut self, slot: Slot, namespace: u64, key: &[u8]) {
        let target = self.databases.iter().position(|database| database.namespace == namespace);
        self.unbind(slot);
        let object = &mut self.objects[slot];
        if object.stored == Stored::Here {
            let name = RowName { namespace: object.namespace, key: object.key.clone() };
            self.elsewhere.insert(name.clone(), slot);
            object.stored = Stored::Elsewhere(Box::new(name));
        }
        self.memory.keys_bytes = self.memory.keys_bytes + key.len() - object.key.len();
        object.key = key.into();
        object.hash = key_hash(key);
        // A namespace that is gone was flushed by a later frame of the log that is being replayed.
        if let Some(database) = target {
            object.database = database;
            object.namespace = namespace;
            self.bind(slot);
            let object = &self.objects[slot];
            if let (true, Value::List(list)) = (object.queue != 0, &object.value) {
                self.queues.count_all(object.queue, self.lsn, 0, list.len());
            }
        }
        self.mark_changed(slot);
        if matches!(self.objects[slot].value.kind(), Kind::List | Kind::Zset) {
            self.note_growth(slot);
        }
    }

    pub(super) fn apply_expire(&mut self, slot: Slot, at_ms: u64) {
        let object = &mut self.objects[slot];
        let before = std::mem::replace(&mut object.expire_ms, at_ms);
        if object.bound {
            let expiring = &mut self.databases[object.database].expiring;
            *expiring = *expiring + usize::from(at_ms != 0) - usize::from(before != 0);
        }
        if before != 0 {
            self.expiries.remove(&(before, slot));
        }
        if at_ms != 0 && object.bound {
            self.expiries.insert((at_ms, slot));
        }
    }

    pub(super) fn bind(&mut self, slot: Slot) {
        let object = &self.objects[slot];
        let (database, hash, kind) = (object.database, object.hash, object.value.kind());
        let key = object.key.clone();
        let queue = self.queue_of(database, &key, hash, kind);
        let object = &mut self.objects[slot];
        object.bound = true;
        object.queue = queue;
        let database = &mut self.databases[object.database];
        database.keys.insert((object.hash, slot), ());
        if object.expire_ms != 0 {
            database.expiring += 1;
            self.expiries.insert((object.expire_ms, slot));
        }
        self.note_paused_set(slot);
    }

    /// The queue that a list under this key is; 0 if it is none.
    pub(super) fn queue_of(&mut self, database: usize, key: &[u8], hash: u64, kind: Kind) -> QueueId {
        if kind == Kind::List && database != self.system() { self.queues.bind(database, key, hash) } else { 0 }
    }

    pub(super) fn note_paused_set(&mut self, slot: Slot) {
        let object = &self.objects[slot];
        if object.value.kind() == Kind::Set
            && object.key.strip_suffix(b"paused").is_some_and(|before| before.is_empty() || before.ends_with(b":"))
        {
            self.paused_sets.insert((object.database, slot));
        }
    }

    /// What a flush takes with it.
    pub(super) fn count_flushed(&mut self, database: usize, keys: &Ordered<(u64, Slot), ()>) {
        if keys.is_empty() {
            return;
        }
        let queues: Vec<QueueId> = self.queues.in_database(database).map(|(id, _)| id).collect();
        for id in queues {
            let key = &self.queues.get(id).expect("it was just listed").key;
            let hash = key_hash(key);
            let at = keys.iter_from(|(other, _)| *other < hash).take_while(|((other, _), ())| *other == hash);
            let slot = at.map(|((_, slot), ())| *slot).find(|slot| self.objects[*slot].key == *key);
            let Some(slot) = slot else { continue };
            self.objects[slot].queue = 0;
            if let Value::List(list) = &self.objects[slot].value {
                self.queues.count_all(id, self.lsn, list.len(), 0);
            }
            self.queues.unbind(id);
        }
    }

    /// Takes a key away from its object.
    pub(super) fn unbind(&mut self, slot: Slot) {
        let object = &mut self.objects[slot];
        if !object.bound {
            return;
        }
        object.bound = false;
        self.deleted_lsn = self.lsn;
        let queue = std::mem::take(&mut object.queue);
        if queue != 0 {
            let left = if let Value::List(list) = &object.value { list.len() } else { 0 };
            self.queues.count_all(queue, self.lsn, left, 0);
            self.queues.unbind(queue);
        }
        if self.paused_sets.remove(&(object.database, slot)) {
            self.paused_changes += 1;
        }
        let database = &mut self.databases[object.database];
        database.keys.remove(&(object.hash, slot));
        if object.expire_ms != 0 {
            database.expiring -= 1;
            self.expiries.remove(&(object.expire_ms, slot));
        }
        self.watches.touch(object.database, &object.key);
    }

    /// Takes an object out; what of it is large or on disk is left to the sweeper.
    pub(super) fn bury(&mut self, slot: Slot) {
        self.unbind(slot);
        self.bury_unbound(slot);
    }

    pub(super) fn bury_unbound(&mut self, slot: Slot) {
        let mut object = *self.objects.remove(slot);
        if let Value::List(list) = &mut object.value {
            self.memory.ahead_bytes -= list.account_ahead().0;
        }
        self.memory.keys_bytes -= OBJECT_OVERHEAD_BYTES + object.key.len();
        self.memory.values_bytes -= object.accounted_bytes;
        self.memory.cold -= object.accounted_cold;
        if let Value::List(list) = &object.value {
            self.memory.summaries_bytes -= list.summaries_bytes();
        }
        let small = match &object.value {
            Value::List(list) => list.chunk_count() <= CHUNKS_FREED_AT_ONCE,
            other => other.memory_bytes() <= BYTES_FREED_AT_ONCE,
        };
        // The row of the key goes before those of a list's chunks: chunks without a list are garbage that a recovery finds,
        // a list without chunks would be damage.
        if let Some(name) = match object.stored {
            Stored::No => None,
            Stored::Here => Some(RowName { namespace: object.namespace, key: object.key.clone() }),
            Stored::Elsewhere(name) => {
                self.elsewhere.remove(&name);
                Some(*name)
            }
        } {
            // Until its row is gone, the log must tell all that the row does not: by less the object might not die again. A
            // flush tells enough by itself, and may have let go of older frames.
            let is_flushed = object.namespace != self.databases[object.database].namespace;
            let needed = if object.dirty == 0 || is_flushed { self.lsn } else { object.dirty };
            self.note_stale(needed, Stale::Value { name, object: object.id, pieces: object.pieces });
        }
        let mut grave =
            Grave::Value { object: object.id, value: object.value, accounted_bytes: object.accounted_bytes };
        self.memory.dying_bytes += object.accounted_bytes;
        if !small || self.take_apart(&mut grave, usize::MAX) {
            self.graves.push_back(grave);
        }
    }

    /// Tells whether an object went with its database and only waits to be taken apart.
    pub(super) fn is_flushed(&self, slot: Slot) -> bool {
        let object = &self.objects[slot];
        object.namespace != self.databases[object.database].namespace
    }

    pub(super) fn lookup(&self, database: usize, key: &[u8]) -> Option<Slot> {
        let hash = key_hash(key);
        self.databases[database]
            .keys
            .iter_from(|(other, _)| *other < hash)
            .take_while(|((other, _), ())| *other == hash)
            .map(|((_, slot), ())| *slot)
            .find(|slot| *self.objects[*slot].key == *key)
    }

    pub(super) fn mark_changed(&mut self, slot: Slot) {
        let object = &mut self.objects[slot];
        object.changed = self.lsn;
        self.read_lsn = self.read_lsn.max(self.lsn);
        if object.dirty == 0 {
            object.dirty = self.lsn;
            self.dirty.push_back((self.lsn, slot, object.id));
        }
        if object.bound {
            self.watches.touch(object.database, &object.key);
            if !self.paused_sets.is_empty() && self.paused_sets.contains(&(object.database, slot)) {
                self.paused_changes += 1;
            }
        }
        self.account(slot);
    }

    pub(super) fn note_growth(&mut self, slot: Slot) {
        if self.note_growth {
            let object = &self.objects[slot];
            self.grown.push(Grown { database: object.database, key: object.key.clone() });
        }
    }

    #[inline]
    pub(super) fn take_events(&mut self, slot: Slot, events: ListEvents) {
        if events.is_empty() {
            return;
        }
        self.memory.summaries_bytes -= events.summaries_bytes;
        let id = self.objects[slot].id;
        self.memory.sealed.extend(events.sealed.into_iter().map(|base| (slot, id, base)));
        events.born.into_iter().for_each(|id| self.batches.born(id));
        events.dead.into_iter().for_each(|id| self.batches.died(id));
    }

    pub(super) fn prefetch_ahead(&mut self, slot: Slot, side: Side) {
        let window_bytes = self.sizes.prefetch_bytes;
        let object = &mut self.objects[slot];
        let Value::List(list) = &mut object.value else { return };
        let mut wanted = Vec::new();
        list.prefetch(side, window_bytes, &mut wanted);
        let id = object.id;
        self.prefetch.extend(wanted.into_iter().map(|at| Missing::Chunk { object: id, slot, at }));
    }

    /// Has chunks of a list brought in that will be wanted soon, unless they are there or on their way.
    pub fn prefetch(&mut self, slot: Slot, chunks: &[ChunkAt]) {
        let object = &mut self.objects[slot];
        let Value::List(list) = &mut object.value else { return };
        let wanted = chunks.iter().filter(|at| list.begin_loading(**at));
        self.prefetch.extend(wanted.map(|at| Missing::Chunk { object: object.id, slot, at: *at }));
    }
}
