//! The cold store: where the image of the log goes when it is old or too big. It knows no Redis: spaces of rows, bytes,
//! and chunks that live and die in batches.
//!
//! [`FjallStore`] is the real one. [`MemoryStore`] is for simulations: its disk can fail and its machine can crash.

mod fjall;
mod memory;
mod torn;

#[cfg(test)]
mod measure;
#[cfg(test)]
mod suite;

use std::ops::ControlFlow;

use bytes::Bytes;

pub use self::fjall::FjallStore;
pub use self::memory::{Fault, MemoryStore};

/// Names one chunk: its batch in the upper 44 bits, its place in the batch in the lower 20.
///
/// Persisted, big-endian, as the chunk's key: the order of numbers is the order on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub u64);

impl ChunkId {
    /// At a thousand batches a second this lasts for five centuries.
    pub const BATCH_MAX: u64 = (1 << 44) - 1;
    /// A batch of 64 MB would need chunks of 64 bytes to get here.
    pub const INDEX_MAX: u32 = (1 << 20) - 1;

    /// Makes the id of the chunk at `index` of `batch`.
    pub fn new(batch: u64, index: u32) -> ChunkId {
        assert!(batch <= ChunkId::BATCH_MAX, "batch {batch} does not fit into 44 bits");
        assert!(index <= ChunkId::INDEX_MAX, "index {index} does not fit into 20 bits");
        ChunkId(batch << 20 | u64::from(index))
    }

    /// The batch that the chunk was ingested with and will be dropped with.
    pub fn batch(self) -> u64 {
        self.0 >> 20
    }

    /// The chunk's place in its batch.
    pub fn index(self) -> u32 {
        (self.0 & u64::from(ChunkId::INDEX_MAX)) as u32
    }

    fn to_key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    fn from_key(key: &[u8]) -> Option<ChunkId> {
        Some(ChunkId(u64::from_be_bytes(key.try_into().ok()?)))
    }
}

/// One ordered map of rows; what each holds is up to who writes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Space {
    Keys,
    Dir,
    Rows,
    Ttl,
    Sys,
}

impl Space {
    pub const ALL: [Space; 5] = [Space::Keys, Space::Dir, Space::Rows, Space::Ttl, Space::Sys];
}

/// One row to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { space: Space, key: Vec<u8>, value: Vec<u8> },
    Delete { space: Space, key: Vec<u8> },
}

impl Write {
    /// Makes a row, or replaces it.
    pub fn put(space: Space, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Write {
        Write::Put { space, key: key.into(), value: value.into() }
    }

    /// Removes a row; one that does not exist is no error.
    pub fn delete(space: Space, key: impl Into<Vec<u8>>) -> Write {
        Write::Delete { space, key: key.into() }
    }

    /// What it adds to a journal, about.
    pub fn bytes(&self) -> u64 {
        let value = if let Write::Put { value, .. } = self { value.len() } else { 0 };
        (self.key().len() + value) as u64
    }

    fn key(&self) -> &[u8] {
        match self {
            Write::Put { key, .. } | Write::Delete { key, .. } => key,
        }
    }
}

/// The longest key of a row; fjall keeps its length in 16 bits. The layout hashes longer ones.
pub const KEY_BYTES_MAX: usize = 65_535;

/// What [`Store::scan`] calls for each row, with key and value; `Break` ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Rows and chunks that outlive the process.
///
/// One thread writes, any number read. A write that has returned `Ok` survives a power cut. A write that has failed
/// may still be there after the next [`reopen`](Store::reopen) or start, as on any disk; until that reopen every write
/// is refused with [`StoreError::Stopped`], while reads go on.
pub trait Store: Send + Sync {
    /// Ingests one batch of chunks at once, indexes ascending; durable when it returns.
    ///
    /// Meant for 8–64 MB. A batch is ingested once: a number that exists is refused.
    fn ingest(&self, batch: u64, chunks: &[(u32, Vec<u8>)]) -> Result<(), StoreError>;

    /// Applies the writes in their order, all or none; durable when it returns.
    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// Reads one row.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Reads one chunk. The answer may keep a whole disk block alive: unpack it, then let it go.
    fn chunk(&self, id: ChunkId) -> Result<Option<Bytes>, StoreError>;

    /// Visits the rows that begin with `prefix`, in key order, as they were when the scan began.
    fn scan(&self, space: Space, prefix: &[u8], visit: &mut Visit) -> Result<(), StoreError> {
        self.scan_from(space, prefix, prefix, visit)
    }

    /// As [`scan`](Store::scan), from the first key at or after `start`.
    ///
    /// `visit` may read the store; it must not [`reopen`](Store::reopen) it.
    fn scan_from(&self, space: Space, prefix: &[u8], start: &[u8], visit: &mut Visit) -> Result<(), StoreError>;

    /// Removes a batch whole and gives its disk back before it returns; one that does not exist is no error.
    fn drop_batch(&self, batch: u64) -> Result<(), StoreError>;

    /// Lists the batches that exist, ascending, without reading any chunk.
    fn batches(&self) -> Result<Vec<u64>, StoreError>;

    /// Counts the bytes on disk, file-system overhead aside.
    fn disk_bytes(&self) -> u64;

    /// Tells what the store holds in memory. Never waits: 0 while it is being opened again.
    fn memory(&self) -> StoreMemory;

    /// Closes the store and opens it again in place, which is the only cure after a failed write.
    ///
    /// The caller counts: a disk that fails twice in a minute will not get better.
    fn reopen(&self) -> Result<(), StoreError>;
}

/// What a store holds in memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreMemory {
    /// Blocks that were read, kept to be read again.
    pub cache_bytes: u64,
    /// Rows on their way to a table.
    pub buffer_bytes: u64,
}

/// What can go wrong with the disk. Mistakes of the caller (an empty key, indexes out of order) panic instead.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the disk is full while {doing}; free some space, then reopen the store")]
    Full { doing: &'static str },
    #[error("the store stopped writing after an earlier failure; reopen it")]
    Stopped,
    #[error("another process has the data directory open; stop it, or choose another directory")]
    Locked,
    #[error("{doing} failed: {reason}; look at the disk and at the system log")]
    Failed { doing: &'static str, reason: String },
}
