//! The queues among the lists: what each was given and what became of it, known by name for longer than a list lives.
//!
//! A list goes when it is empty, and an idle queue is empty after every job. So the counts stand in a table of their own.
//! They follow from the effects alone, which cost the log nothing, and are saved as of one frame with every batch of a
//! checkpoint, before the objects of that batch: a replay counts exactly the frames that the saved counts do not have.

use hashbrown::HashTable;

use crate::job::Queues as QueueNames;
use crate::log::Lsn;

use super::effect::Effect;
use super::fields::hash64;
use super::layout::{self, Corrupt, Reader};
use super::list::Side;

/// Names a queue in this process; 0 stands for a list that is none.
pub type QueueId = u32;

/// Queues that are remembered although they are empty; beyond it, the one whose turn it is gets forgotten.
const QUEUES_MAX: usize = 65_536;
/// A longer key is no queue: nobody gives a queue such a name, and its row would not fit.
const KEY_BYTES_MAX: usize = 1024;
/// Rows that were looked at to find one that can be forgotten.
const FORGET_TRIES: usize = 64;

/// What became of the jobs of one queue since it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Put in by clients.
    pub pushed: u64,
    /// Handed out to clients.
    pub popped: u64,
    /// Taken out by a client in another way: LREM, LTRIM, DEL, RENAME, a flush, expiry.
    pub removed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    pub database: usize,
    pub key: Box<[u8]>,
    pub counts: JobCounts,
    /// The end last popped.
    pub popped: Option<Side>,
    /// It holds jobs that are being worked on, although its name is that of a queue.
    pub working: bool,
    /// It has a list at the moment.
    listed: bool,
    /// Up to which frame the saved row has its counts.
    saved: Lsn,
    dirty: bool,
}

/// All queues, by number and by name.
#[derive(Debug, Default)]
pub struct QueueTable {
    pub names: QueueNames,
    /// Number 1 is at index 0.
    all: Vec<Queue>,
    by_name: HashTable<QueueId>,
    dirty: Vec<QueueId>,
    /// The oldest frame whose counts are not saved; 0 for none.
    pub(super) dirty_since: Lsn,
    /// Where the search for one to forget goes on.
    hand: usize,
    /// Rows to be deleted at the next save.
    forgotten: Vec<Vec<u8>>,
}

impl QueueTable {
    /// The queue with a number.
    pub fn get(&self, id: QueueId) -> Option<&Queue> {
        self.all.get((id as usize).checked_sub(1)?)
    }

    /// Finds a queue by its name.
    pub fn find(&self, database: usize, key: &[u8]) -> Option<QueueId> {
        let is_it = |id: &QueueId| {
            let queue = &self.all[*id as usize - 1];
            queue.database == database && *queue.key == *key
        };
        self.by_name.find(hash_of(database, hash64(key)), is_it).copied()
    }

    /// All queues of a database, in the order in which they became known.
    pub fn in_database(&self, database: usize) -> impl Iterator<Item = (QueueId, &Queue)> {
        let numbered = self.all.iter().enumerate().map(|(at, queue)| (at as QueueId + 1, queue));
        numbered.filter(move |(_, queue)| queue.database == database && !queue.key.is_empty())
    }

    /// One more than the largest number.
    pub fn end(&self) -> usize {
        self.all.len() + 1
    }

    /// The number for a list that gets this key; 0 if it is no queue.
    pub(super) fn bind(&mut self, database: usize, key: &[u8], hash: u64) -> QueueId {
        let is_it = |id: &QueueId| {
            let queue = &self.all[*id as usize - 1];
            queue.database == database && *queue.key == *key
        };
        if let Some(id) = self.by_name.find(hash_of(database, hash), is_it).copied() {
            self.all[id as usize - 1].listed = true;
            return id;
        }
        if key.len() > KEY_BYTES_MAX || !self.names.is_queue(key) {
            return 0;
        }
        let id = self.add(database, key, hash);
        self.all[id as usize - 1].listed = true;
        id
    }

    /// Its list has got another key, or is gone.
    pub(super) fn unbind(&mut self, id: QueueId) {
        if id != 0 {
            self.all[id as usize - 1].listed = false;
        }
    }

    /// JobCounts an effect on the list of a queue. `gone` items went with it, `came` were added.
    #[inline]
    pub(super) fn count(&mut self, id: QueueId, effect: &Effect, lsn: Lsn, before: u64, after: u64) {
        let queue = &mut self.all[id as usize - 1];
        if queue.saved >= lsn {
            return;
        }
        match effect {
            Effect::Push { .. } | Effect::InsertItem { .. } => queue.counts.pushed += after - before,
            Effect::Pop { side, .. } | Effect::TakeItems { side, .. } => {
                queue.counts.popped += before - after;
                queue.popped = Some(*side);
            }
            Effect::MarkWorking { .. } => queue.working = true,
            Effect::RemoveItems { .. } | Effect::Trim { .. } => queue.counts.removed += before - after,
            _ => return,
        }
        self.mark_dirty(id, lsn);
    }

    /// JobCounts items that went with their list, or came with one that was renamed.
    pub(super) fn count_all(&mut self, id: QueueId, lsn: Lsn, gone: u64, came: u64) {
        if id == 0 || gone + came == 0 || self.all[id as usize - 1].saved >= lsn {
            return;
        }
        let counts = &mut self.all[id as usize - 1].counts;
        counts.removed += gone;
        counts.pushed += came;
        self.mark_dirty(id, lsn);
    }

    #[inline]
    fn mark_dirty(&mut self, id: QueueId, lsn: Lsn) {
        let queue = &mut self.all[id as usize - 1];
        if !queue.dirty {
            queue.dirty = true;
            self.dirty.push(id);
            if self.dirty_since == 0 {
                self.dirty_since = lsn;
            }
        }
    }

    /// Writes the rows of all queues whose counts have changed, as of frame `lsn`.
    pub(super) fn save(&mut self, lsn: Lsn, mut put: impl FnMut(Vec<u8>, Option<Vec<u8>>)) {
        self.dirty_since = 0;
        self.forgotten.drain(..).for_each(|name| put(name, None));
        for id in std::mem::take(&mut self.dirty) {
            let queue = &mut self.all[id as usize - 1];
            queue.dirty = false;
            queue.saved = lsn;
            if !queue.key.is_empty() {
                put(row_name(queue.database, &queue.key), Some(encode_row(queue)));
            }
        }
    }

    /// Takes a row that [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, name: &[u8], row: &[u8]) -> Result<(), Corrupt> {
        let mut name = Reader::new(name);
        name.take(layout::SYS_QUEUE_PREFIX.len())?;
        let database = name.varint()? as usize;
        let key = name.rest();
        let mut reader = Reader::new(row);
        if reader.byte()? != layout::ROW_VERSION {
            return Err(Corrupt("queue row of an unknown version"));
        }
        let flags = reader.byte()?;
        let saved = reader.varint()?;
        let counts = JobCounts { pushed: reader.varint()?, popped: reader.varint()?, removed: reader.varint()? };
        let id = match self.find(database, key) {
            Some(id) => id,
            None => self.add(database, key, hash64(key)),
        };
        let queue = &mut self.all[id as usize - 1];
        queue.counts = counts;
        queue.saved = saved;
        queue.working = flags & ROW_WORKING != 0;
        queue.popped = match flags & ROW_POPPED {
            ROW_LEFT => Some(Side::Left),
            ROW_RIGHT => Some(Side::Right),
            _ => None,
        };
        Ok(())
    }

    fn add(&mut self, database: usize, key: &[u8], hash: u64) -> QueueId {
        let queue = Queue {
            database,
            key: key.into(),
            counts: JobCounts::default(),
            popped: None,
            working: false,
            listed: false,
            saved: 0,
            dirty: false,
        };
        let id = match self.forget_one() {
            Some(id) => {
                self.all[id as usize - 1] = queue;
                id
            }
            None => {
                self.all.push(queue);
                self.all.len() as QueueId
            }
        };
        let all = &self.all;
        self.by_name.insert_unique(hash_of(database, hash), id, |id| {
            let queue = &all[*id as usize - 1];
            hash_of(queue.database, hash64(&queue.key))
        });
        id
    }

    /// When there are very many, one that has no list gives its number away.
    fn forget_one(&mut self) -> Option<QueueId> {
        if self.all.len() < QUEUES_MAX {
            return None;
        }
        for _ in 0..FORGET_TRIES {
            self.hand = (self.hand + 1) % self.all.len();
            let (queue, id) = (&self.all[self.hand], self.hand as QueueId + 1);
            if queue.listed || queue.dirty {
                continue;
            }
            let hash = hash_of(queue.database, hash64(&queue.key));
            if let Ok(entry) = self.by_name.find_entry(hash, |other| *other == id) {
                entry.remove();
            }
            self.forgotten.push(row_name(queue.database, &queue.key));
            return Some(id);
        }
        None
    }
}

const ROW_LEFT: u8 = 1;
const ROW_RIGHT: u8 = 2;
const ROW_POPPED: u8 = 3;
const ROW_WORKING: u8 = 4;

fn encode_row(queue: &Queue) -> Vec<u8> {
    let popped = match queue.popped {
        None => 0,
        Some(Side::Left) => ROW_LEFT,
        Some(Side::Right) => ROW_RIGHT,
    };
    let mut row = vec![layout::ROW_VERSION, popped | if queue.working { ROW_WORKING } else { 0 }];
    for number in [queue.saved, queue.counts.pushed, queue.counts.popped, queue.counts.removed] {
        layout::put_varint(&mut row, number);
    }
    row
}

fn row_name(database: usize, key: &[u8]) -> Vec<u8> {
    let mut name = layout::SYS_QUEUE_PREFIX.to_vec();
    layout::put_varint(&mut name, database as u64);
    name.extend_from_slice(key);
    name
}

/// Databases share the table, so that the same name in two of them is two queues.
fn hash_of(database: usize, hash: u64) -> u64 {
    hash ^ (database as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
