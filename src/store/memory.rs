//! A store in memory for simulations: ordered maps, a disk that fails when told, and a machine that crashes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use parking_lot::RecursiveRwLock;

use super::{ChunkId, Space, Store, StoreError, StoreMemory, Visit, Write};

/// How one write goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full; nothing was written.
    Full,
    /// The write fails and leaves no trace.
    Lost,
    /// The write fails, yet it had reached the disk: it is there after the next reopen or crash.
    Kept,
}

/// Keeps everything in memory and treats a returned write as durable.
#[derive(Default)]
pub struct MemoryStore {
    state: RecursiveRwLock<State>,
}

#[derive(Default)]
struct State {
    spaces: [BTreeMap<Vec<u8>, Bytes>; Space::ALL.len()],
    chunks: BTreeMap<u64, BTreeMap<u32, Bytes>>,
    faults: VecDeque<Option<Fault>>,
    /// Failed writes that had reached the disk.
    resurfacing: Vec<Change>,
    stopped: bool,
}

enum Change {
    Ingest { batch: u64, chunks: BTreeMap<u32, Bytes> },
    Commit(Vec<Write>),
    Drop(u64),
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Lets `healthy` more writes succeed, then makes one fail. Faults add up: the count begins after the previous one.
    pub fn fail_after(&self, healthy: usize, fault: Fault) {
        let faults = &mut self.state.write().faults;
        faults.extend(std::iter::repeat_n(None, healthy));
        faults.push_back(Some(fault));
    }

    /// Loses power and starts again: what remains is the last durable state.
    ///
    /// Writes that returned `Ok` stay; of a failed one stays what [`Fault`] says. Faults that lie ahead are forgotten.
    pub fn crash(&self) {
        let state = &mut *self.state.write();
        state.faults.clear();
        state.restart();
    }

    fn write(&self, doing: &'static str, change: Change) -> Result<(), StoreError> {
        let state = &mut *self.state.write();
        if state.stopped {
            return Err(StoreError::Stopped);
        }
        let Some(fault) = state.faults.pop_front().flatten() else {
            state.apply(change);
            return Ok(());
        };
        state.stopped = true;
        match fault {
            Fault::Full => return Err(StoreError::Full { doing }),
            Fault::Lost => {}
            Fault::Kept => state.resurfacing.push(change),
        }
        Err(StoreError::Failed { doing, reason: "a simulated fault".to_owned() })
    }
}

impl State {
    fn restart(&mut self) {
        for change in std::mem::take(&mut self.resurfacing) {
            self.apply(change);
        }
        self.stopped = false;
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Ingest { batch, chunks } => {
                self.chunks.insert(batch, chunks);
            }
            Change::Drop(batch) => {
                self.chunks.remove(&batch);
            }
            Change::Commit(writes) => {
                for write in writes {
                    match write {
                        Write::Put { space, key, value } => self.spaces[space as usize].insert(key, value.into()),
                        Write::Delete { space, key } => self.spaces[space as usize].remove(&key),
                    };
                }
            }
        }
    }
}

impl Store for MemoryStore {
    fn ingest(&self, batch: u64, chunks: &[(u32, Vec<u8>)]) -> Result<(), StoreError> {
        super::fjall::assert_ascending(batch, chunks);
        assert!(!self.state.read().chunks.contains_key(&batch), "batch {batch} is ingested once");
        if chunks.is_empty() {
            return Ok(());
        }
        let chunks = chunks.iter().map(|(index, chunk)| (*index, Bytes::copy_from_slice(chunk))).collect();
        self.write("ingesting chunks", Change::Ingest { batch, chunks })
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        super::fjall::assert_keys(&writes);
        self.write("committing rows", Change::Commit(writes))
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state.read().spaces[space as usize].get(key).cloned())
    }

    fn chunk(&self, id: ChunkId) -> Result<Option<Bytes>, StoreError> {
        let state = self.state.read();
        Ok(state.chunks.get(&id.batch()).and_then(|chunks| chunks.get(&id.index())).cloned())
    }

    fn scan_from(&self, space: Space, prefix: &[u8], start: &[u8], visit: &mut Visit) -> Result<(), StoreError> {
        let state = self.state.read();
        let range = (Bound::Included(start.max(prefix)), Bound::Unbounded);
        for (key, value) in state.spaces[space as usize].range::<[u8], _>(range) {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn drop_batch(&self, batch: u64) -> Result<(), StoreError> {
        self.write("dropping a batch", Change::Drop(batch))
    }

    fn batches(&self) -> Result<Vec<u64>, StoreError> {
        Ok(self.state.read().chunks.keys().copied().collect())
    }

    fn disk_bytes(&self) -> u64 {
        let state = self.state.read();
        let rows = state.spaces.iter().flatten().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        let chunks = state.chunks.values().flat_map(|chunks| chunks.values()).map(Bytes::len).sum::<usize>();
        (rows + chunks) as u64
    }

    /// What it holds is its disk.
    fn memory(&self) -> StoreMemory {
        StoreMemory::default()
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.state.write().restart();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(store: &MemoryStore) -> Vec<Vec<u8>> {
        store.state.read().spaces[Space::Keys as usize].keys().cloned().collect()
    }

    #[test]
    fn a_crash_keeps_what_was_acknowledged() {
        let store = MemoryStore::new();
        store.commit(vec![Write::put(Space::Keys, "a", "1")]).expect("no fault was asked for");
        store.ingest(7, &[(0, b"chunk".to_vec())]).expect("no fault was asked for");
        store.crash();
        assert_eq!(rows(&store), [b"a"]);
        assert_eq!(store.batches().expect("reads do not fail"), [7], "the orphan is there to be found");
    }

    #[test]
    fn a_failed_write_is_lost_or_kept_as_the_fault_says() {
        for (fault, after) in [(Fault::Full, vec![]), (Fault::Lost, vec![]), (Fault::Kept, vec![b"a".to_vec()])] {
            let store = MemoryStore::new();
            store.fail_after(1, fault);
            store.commit(vec![]).expect("the first write is healthy");
            store.commit(vec![Write::put(Space::Keys, "a", "1")]).expect_err("the second is not");
            assert!(rows(&store).is_empty(), "{fault:?}: nothing to see before the reopen");
            let refused = store.commit(vec![Write::put(Space::Keys, "b", "1")]);
            assert!(matches!(refused, Err(StoreError::Stopped)), "{fault:?}: {refused:?}");
            store.reopen().expect("memory always opens");
            assert_eq!(rows(&store), after, "{fault:?}");
            store.commit(vec![Write::put(Space::Keys, "c", "1")]).expect("writes go on");
        }
    }
}
