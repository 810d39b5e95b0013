//! The table of objects: a value with its key, its expiry, and where it stands between log and store.

use crate::log::Lsn;

use super::effect::ObjectId;
use super::queue::QueueId;
use super::value::Value;

/// Names an object in memory. Slots are used again: together with the object's id it is a safe reference.
pub type Slot = u32;

/// Objects in one page of the table, so that it grows without moving what is there.
const PAGE_SLOTS: usize = 4096;

/// What a key costs beside its name and its value.
pub const OBJECT_OVERHEAD_BYTES: usize = size_of::<Object>() + 32;

/// Where the row of a key lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    No,
    /// Under the key that the object has now.
    Here,
    /// Under the key that it had when it was saved last.
    Elsewhere(Box<RowName>),
}

/// Which row of `keys` is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowName {
    pub namespace: u64,
    pub key: Box<[u8]>,
}

/// See the module.
#[derive(Debug)]
pub struct Object {
    pub id: ObjectId,
    pub database: usize,
    /// The namespace in which it was bound; when its database was flushed since, that has another one.
    pub namespace: u64,
    pub key: Box<[u8]>,
    pub hash: u64,
    /// Unix milliseconds; 0 for none.
    pub expire_ms: u64,
    pub value: Value,
    /// The queue that it is the list of; 0 if it is none.
    pub queue: QueueId,
    /// Found under its key. Only while the log is replayed may an object have none.
    pub bound: bool,
    /// The frame that changed it last.
    pub changed: Lsn,
    /// The oldest frame whose effect the store does not have; 0 if it has all.
    pub dirty: Lsn,
    /// Up to which frame the store has it, 0 for not at all.
    pub saved: Lsn,
    /// A save of it is on its way.
    pub saving: bool,
    pub stored: Stored,
    /// In how many rows its bytes lie in the store.
    pub pieces: u32,
    /// The turn that used it last, for choosing what may leave memory.
    pub used: u32,
    /// Its share of the memory account.
    pub accounted_bytes: usize,
    /// How many of its pieces are counted as cold.
    pub accounted_cold: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Objects {
    pages: Vec<Box<[Option<Box<Object>>]>>,
    free: Vec<Slot>,
    end: Slot,
    len: usize,
}

impl Objects {
    pub fn len(&self) -> usize {
        self.len
    }

    /// One more than the largest slot that was ever used.
    pub fn slots(&self) -> Slot {
        self.end
    }

    pub fn insert(&mut self, object: Box<Object>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.end as usize == self.pages.len() * PAGE_SLOTS {
                self.pages.push((0..PAGE_SLOTS).map(|_| None).collect());
            }
            self.end += 1;
            self.end - 1
        });
        self.pages[slot as usize / PAGE_SLOTS][slot as usize % PAGE_SLOTS] = Some(object);
        self.len += 1;
        slot
    }

    pub fn remove(&mut self, slot: Slot) -> Box<Object> {
        let place = &mut self.pages[slot as usize / PAGE_SLOTS][slot as usize % PAGE_SLOTS];
        let object = place.take().expect("only an object that is there is removed");
        self.free.push(slot);
        self.len -= 1;
        object
    }

    pub fn get(&self, slot: Slot) -> Option<&Object> {
        self.pages.get(slot as usize / PAGE_SLOTS)?[slot as usize % PAGE_SLOTS].as_deref()
    }

    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Object> {
        self.pages.get_mut(slot as usize / PAGE_SLOTS)?[slot as usize % PAGE_SLOTS].as_deref_mut()
    }

    /// The object in a slot, if it is still this one.
    pub fn same_mut(&mut self, slot: Slot, id: ObjectId) -> Option<&mut Object> {
        self.get_mut(slot).filter(|object| object.id == id)
    }
}

impl std::ops::Index<Slot> for Objects {
    type Output = Object;

    fn index(&self, slot: Slot) -> &Object {
        self.get(slot).expect("a slot that was just looked up holds an object")
    }
}

impl std::ops::IndexMut<Slot> for Objects {
    fn index_mut(&mut self, slot: Slot) -> &mut Object {
        self.get_mut(slot).expect("a slot that was just looked up holds an object")
    }
}
