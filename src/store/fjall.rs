//! The store on disk. This is the only file that knows fjall, its hidden API included.
//!
//! - A **batch of chunks** is one table (two if it is over 64 MiB) that bulk ingestion writes, with no journal and no
//!   memtable, syncs, and names in the manifest. Nothing rewrites it. Dropping a batch takes its tables out of the
//!   manifest and unlinks them.
//! - **Rows** go through fjall's journal, synced at each commit, and small memtables into a leveled tree per space.
//! - A crash between a table and its manifest leaves a file that no manifest names; opening removes it.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fjall::compaction::{Fifo, Leveled};
use fjall::config::{BlockSizePolicy, CompressionPolicy, PartitioningPolicy, PinningPolicy};
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Slice, UserKey,
};
use parking_lot::RecursiveRwLock;

use super::{ChunkId, KEY_BYTES_MAX, Space, Store, StoreError, StoreMemory, Visit, Write, torn};

// The options of a keyspace are frozen when it is created: fjall keeps them with the data and ignores later ones.

/// Memtable of `keys`, `dir` and `rows`: a few thousand rows between flushes, and small enough that one that fills
/// while others are being written costs little memory.
const DATA_MEMTABLE_BYTES: u64 = 4 << 20;

/// Memtable of `ttl` and `sys`, whose rows are few and small.
const SMALL_MEMTABLE_BYTES: u64 = 1 << 20;

/// Tables of rows are small, so that a compaction is a short piece of work: the only worker must get back to flushing
/// before four full memtables have piled up, where fjall puts the writer to sleep.
const ROW_TABLE_BYTES: u64 = 8 << 20;

/// The smallest block of the chunk tables. A chunk that is longer has a block of its own, so that reading it reads
/// nothing else; short ones share.
const CHUNK_BLOCK_BYTES: u32 = 4 << 10;

/// The chunk tables are dealt out to this many keyspaces by batch number, because fjall compares each new table with
/// all tables of its keyspace pairwise. Persisted: another number finds no chunk.
const CHUNK_SHELVES: u64 = 8;

// These can change at any start.

/// Size of all sealed journals at which fjall flushes the memtables that pin the oldest one, so that a rarely written
/// space keeps no journal alive. The smallest value that fjall takes.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// After so many bytes of rows all memtables are flushed, so that a start has few rows of the journal to put back, and few
/// versions of one row to pass over: the same rows are written again at every checkpoint.
const ROWS_BYTES_UNFLUSHED_MAX: u64 = 4 << 20;

/// One thread flushes and compacts. With two, fjall keeps one free for flushes and it spins while the other compacts.
const WORKER_THREADS: usize = 1;

/// Table files that stay open between reads. There can be thousands of tables, and the descriptors belong to clients.
const OPEN_TABLES_MAX: usize = 256;

/// A [`Store`] in a directory.
pub struct FjallStore {
    directory: PathBuf,
    cache_bytes: u64,
    /// Empty only after a reopen that failed.
    opened: RecursiveRwLock<Option<Opened>>,
    /// A write failed. fjall refuses some writes by itself from then on; we refuse all.
    stopped: AtomicBool,
}

struct Opened {
    database: Database,
    spaces: Vec<Keyspace>,
    shelves: Vec<Keyspace>,
    /// Bytes of rows since the memtables were flushed last.
    unflushed_bytes: AtomicU64,
}

impl FjallStore {
    /// Opens the store in `directory`, or creates it; `cache_bytes` bounds the cache of table blocks.
    pub fn open(directory: &Path, cache_bytes: u64) -> Result<FjallStore, StoreError> {
        Ok(FjallStore {
            directory: directory.to_owned(),
            cache_bytes,
            opened: RecursiveRwLock::new(Some(Opened::open(directory, cache_bytes)?)),
            stopped: AtomicBool::new(false),
        })
    }

    /// Runs a read. A lock that may be taken twice by one thread, since a scan's visitor may read.
    fn read<T>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Opened) -> Result<T, fjall::Error>,
    ) -> Result<T, StoreError> {
        let opened = self.opened.read();
        read(opened.as_ref().ok_or(StoreError::Stopped)?).map_err(|error| explain(doing, error))
    }

    /// Runs a write, and refuses all others after one has failed.
    fn write<T>(
        &self,
        doing: &'static str,
        write: impl FnOnce(&Opened) -> Result<T, fjall::Error>,
    ) -> Result<T, StoreError> {
        let opened = self.opened.read();
        if self.stopped.load(Ordering::Acquire) {
            return Err(StoreError::Stopped);
        }
        write(opened.as_ref().ok_or(StoreError::Stopped)?).map_err(|error| {
            self.stopped.store(true, Ordering::Release);
            explain(doing, error)
        })
    }
}

impl Store for FjallStore {
    fn ingest(&self, batch: u64, chunks: &[(u32, Vec<u8>)]) -> Result<(), StoreError> {
        assert_ascending(batch, chunks);
        if chunks.is_empty() {
            return Ok(());
        }
        self.write("ingesting chunks", |opened| {
            let shelf = opened.shelf(batch);
            assert!(!batches_of(shelf).contains(&batch), "batch {batch} is ingested once");
            let mut ingestion = shelf.start_ingestion()?;
            for (index, chunk) in chunks {
                ingestion.write(ChunkId::new(batch, *index).to_key(), Slice::from(chunk.as_slice()))?;
            }
            // Syncs the table and its directory, then the manifest and the pointer to it.
            ingestion.finish()?;
            forget_old_versions(shelf)
        })
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        assert_keys(&writes);
        self.write("committing rows", |opened| {
            let mut batch = opened.database.batch().durability(Some(PersistMode::SyncAll));
            let mut bytes = 0;
            for write in writes {
                bytes += write.bytes();
                match write {
                    Write::Put { space, key, value } => batch.insert(opened.space(space), key, value),
                    Write::Delete { space, key } => batch.remove(opened.space(space), key),
                }
            }
            batch.commit()?;
            opened.flush_now_and_then(bytes)
        })
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.read("reading a row", |opened| {
            // Copied, because a row would keep the block of its neighbours alive.
            Ok(opened.space(space).get(key)?.map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn chunk(&self, id: ChunkId) -> Result<Option<Bytes>, StoreError> {
        self.read("reading a chunk", |opened| Ok(opened.shelf(id.batch()).get(id.to_key())?.map(Bytes::from_owner)))
    }

    fn scan_from(&self, space: Space, prefix: &[u8], start: &[u8], visit: &mut Visit) -> Result<(), StoreError> {
        self.read("scanning rows", |opened| {
            let start = Bound::Included(UserKey::from(start.max(prefix)));
            let (_, end) = fjall::util::prefix_to_range(prefix);
            // A snapshot, because fjall applies a batch row by row and the newest state may be half of one.
            for row in opened.database.snapshot().range(opened.space(space), (start, end)) {
                let (key, value) = row.into_inner()?;
                if visit(&key, &value).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn drop_batch(&self, batch: u64) -> Result<(), StoreError> {
        self.write("dropping a batch", |opened| {
            let shelf = opened.shelf(batch);
            // Keeps the tables alive until the end of this function: the last owner unlinks the file, and `shelf` must
            // not be locked against readers meanwhile.
            let _before = shelf.tree.current_version();
            let first = ChunkId::new(batch, 0).to_key();
            let last = ChunkId::new(batch, ChunkId::INDEX_MAX).to_key();
            shelf.tree.drop_range(first..=last)?;
            forget_old_versions(shelf)
        })
    }

    fn batches(&self) -> Result<Vec<u64>, StoreError> {
        self.read("listing batches", |opened| {
            let mut batches: Vec<u64> = opened.shelves.iter().flat_map(batches_of).collect();
            batches.sort_unstable();
            Ok(batches)
        })
    }

    fn disk_bytes(&self) -> u64 {
        let opened = self.opened.read();
        let tables = opened.as_ref().map_or(0, |opened| {
            opened.spaces.iter().chain(&opened.shelves).map(|keyspace| keyspace.disk_space()).sum()
        });
        tables + journal_bytes(&self.directory)
    }

    fn memory(&self) -> StoreMemory {
        let Some(opened) = self.opened.try_read() else { return StoreMemory::default() };
        opened.as_ref().map_or(StoreMemory::default(), |Opened { database, .. }| StoreMemory {
            cache_bytes: database.cache_size(),
            buffer_bytes: database.write_buffer_size(),
        })
    }

    fn reopen(&self) -> Result<(), StoreError> {
        let mut opened = self.opened.write();
        // IMPORTANT: the old one goes first, since the new one needs its lock on the directory.
        *opened = None;
        *opened = Some(Opened::open(&self.directory, self.cache_bytes)?);
        self.stopped.store(false, Ordering::Release);
        Ok(())
    }
}

impl Opened {
    fn open(directory: &Path, cache_bytes: u64) -> Result<Opened, StoreError> {
        Opened::try_open(directory, cache_bytes).map_err(|error| explain("opening the store", error))
    }

    fn try_open(directory: &Path, cache_bytes: u64) -> Result<Opened, fjall::Error> {
        let database = match open_database(directory, cache_bytes) {
            Err(fjall::Error::JournalRecovery(_)) if torn::cut(directory)? => {
                tracing::warn!(directory = %directory.display(), "cut a commit off the journal that a power cut had torn");
                open_database(directory, cache_bytes)?
            }
            opened => opened?,
        };
        let spaces = Space::ALL
            .into_iter()
            .map(|space| database.keyspace(name(space), || row_options(space)))
            .collect::<Result<_, _>>()?;
        let shelves = (0..CHUNK_SHELVES)
            .map(|shelf| database.keyspace(&format!("chunks-{shelf}"), chunk_options))
            .collect::<Result<_, _>>()?;
        // fjall syncs what is in a new keyspace, but not that the keyspace is there.
        File::open(directory.join("keyspaces"))?.sync_all()?;
        // What a start had to put back counts, or a server that is killed again and again would never flush it.
        let opened = Opened { database, spaces, shelves, unflushed_bytes: AtomicU64::new(0) };
        opened.flush_now_and_then(journal_bytes(directory))?;
        Ok(opened)
    }

    /// Lets the worker flush all memtables of rows once enough has been written.
    fn flush_now_and_then(&self, bytes: u64) -> Result<(), fjall::Error> {
        if self.unflushed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes < ROWS_BYTES_UNFLUSHED_MAX {
            return Ok(());
        }
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        for space in &self.spaces {
            space.rotate_memtable()?;
        }
        Ok(())
    }

    fn space(&self, space: Space) -> &Keyspace {
        &self.spaces[space as usize]
    }

    fn shelf(&self, batch: u64) -> &Keyspace {
        &self.shelves[(batch % CHUNK_SHELVES) as usize]
    }
}

fn open_database(directory: &Path, cache_bytes: u64) -> Result<Database, fjall::Error> {
    Database::builder(directory)
        .cache_size(cache_bytes)
        .worker_threads(WORKER_THREADS)
        .max_cached_files(Some(OPEN_TABLES_MAX))
        .max_journaling_size(JOURNAL_BYTES_MAX)
        .open()
}

/// The keyspace's name; persisted.
fn name(space: Space) -> &'static str {
    match space {
        Space::Keys => "keys",
        Space::Dir => "dir",
        Space::Rows => "rows",
        Space::Ttl => "ttl",
        Space::Sys => "sys",
    }
}

fn row_options(space: Space) -> KeyspaceCreateOptions {
    let memtable_bytes = match space {
        Space::Keys | Space::Dir | Space::Rows => DATA_MEMTABLE_BYTES,
        Space::Ttl | Space::Sys => SMALL_MEMTABLE_BYTES,
    };
    KeyspaceCreateOptions::default()
        .max_memtable_size(memtable_bytes)
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        // What is pinned does not count in the cache: at some size of the tree it would break the memory budget.
        .index_block_pinning_policy(PinningPolicy::all(false))
        .filter_block_pinning_policy(PinningPolicy::all(false))
        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(ROW_TABLE_BYTES)))
}

fn chunk_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        // Chunks come compressed.
        .data_block_compression_policy(CompressionPolicy::disabled())
        .data_block_size_policy(BlockSizePolicy::all(CHUNK_BLOCK_BYTES))
        // Batches do not overlap, so one table can hold a chunk, and whoever asks for one knows that it exists.
        .expect_point_read_hits(true)
        .index_block_pinning_policy(PinningPolicy::all(false))
        .index_block_partitioning_policy(PartitioningPolicy::all(false))
        // First in, first out, without a limit: it never rewrites, moves or drops a table.
        .compaction_strategy(Arc::new(Fifo::new(u64::MAX, None)))
}

/// Reads from the manifest in memory which batches have tables.
fn batches_of(shelf: &Keyspace) -> HashSet<u64> {
    shelf
        .tree
        .current_version()
        .iter_tables()
        .map(|table| {
            let first = table.metadata.key_range.min();
            ChunkId::from_key(first).expect("the keys of a chunk table are chunk ids").batch()
        })
        .collect()
}

/// Lets go of all manifests but the newest, and with them of the tables that only they name.
///
/// fjall does so when a memtable is rotated, and a shelf never has one. Chunks are read at the newest version only, so
/// no snapshot needs an older one; a read that is under way keeps what it needs.
fn forget_old_versions(shelf: &Keyspace) -> Result<(), fjall::Error> {
    Ok(shelf.tree.get_version_history_lock().maintenance(shelf.path(), fjall::SeqNo::MAX)?)
}

/// Counts the blocks of the journals: they are sparse files of 64 MiB.
fn journal_bytes(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .filter(|entry| is_journal(&entry.path()))
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum()
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jnl")
}

/// Turns fjall's error into what to do about it.
fn explain(doing: &'static str, error: fjall::Error) -> StoreError {
    let io = match &error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => Some(io.kind()),
        _ => None,
    };
    match error {
        _ if io == Some(std::io::ErrorKind::StorageFull) => StoreError::Full { doing },
        fjall::Error::Poisoned => StoreError::Stopped,
        fjall::Error::Locked => StoreError::Locked,
        error => StoreError::Failed { doing, reason: error.to_string() },
    }
}

pub(super) fn assert_ascending(batch: u64, chunks: &[(u32, Vec<u8>)]) {
    assert!(chunks.is_sorted_by(|(before, _), (after, _)| before < after), "batch {batch} is not in index order");
}

pub(super) fn assert_keys(writes: &[Write]) {
    for write in writes {
        let bytes = write.key().len();
        assert!((1..=KEY_BYTES_MAX).contains(&bytes), "a row's key has {bytes} bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite::{chunks, files, noise};
    use super::*;

    const CACHE_BYTES: u64 = 1 << 20;

    fn table_bytes(directory: &Path) -> u64 {
        files(directory).iter().filter(|(path, _)| !is_journal(path)).map(|(_, bytes)| bytes).sum()
    }

    /// Waits for fjall's worker, a bounded time.
    fn eventually(what: &str, reached: impl Fn() -> bool) {
        for _ in 0..1_000 {
            if reached() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("waited ten seconds for: {what}");
    }

    #[test]
    fn a_dropped_batch_gives_its_files_back_at_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        for batch in 0..20 {
            store.ingest(batch, &chunks(batch, 16, 65_536)).expect("ingests");
        }
        for batch in 0..20 {
            let before = (files(directory.path()).len(), table_bytes(directory.path()));
            store.chunk(ChunkId::new(batch, 3)).expect("reads").expect("a chunk in the caches");
            store.drop_batch(batch).expect("drops");
            let after = (files(directory.path()).len(), table_bytes(directory.path()));
            assert_eq!(after.0, before.0 - 1, "one table, and the manifest replaces the one before");
            assert!(after.1 + 16 * 65_536 <= before.1, "{before:?} → {after:?}");
        }
    }

    #[test]
    fn a_batch_of_two_tables_is_dropped_whole() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        let chunk = noise(1, 1 << 20);
        let batch: Vec<_> = (0..70).map(|index| (index, chunk.clone())).collect();
        let empty = files(directory.path()).len();
        store.ingest(5, &batch).expect("ingests");
        assert_eq!(files(directory.path()).len(), empty + 2);
        assert_eq!(store.batches().expect("lists"), [5]);
        store.drop_batch(5).expect("drops");
        assert_eq!(files(directory.path()).len(), empty);
    }

    #[test]
    fn a_chunk_being_read_outlives_its_batch() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        let batch = chunks(1, 4, 65_536);
        store.ingest(1, &batch).expect("ingests");
        let chunk = store.chunk(ChunkId::new(1, 2)).expect("reads").expect("is there");
        store.drop_batch(1).expect("drops");
        store.reopen().expect("opens again");
        assert_eq!(chunk, batch[2].1);
    }

    #[test]
    fn ingested_tables_are_never_rewritten() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        let tables = || -> Vec<_> {
            let mut tables = files(directory.path());
            tables.retain(|(_, bytes)| *bytes > 65_536 && *bytes < JOURNAL_BYTES_MAX);
            tables.sort();
            tables
        };
        let mut written = Vec::new();
        for batch in 0..40 {
            store.ingest(batch, &chunks(batch, 2, 65_536)).expect("ingests");
            written.extend(tables().into_iter().filter(|table| !written.contains(table)).collect::<Vec<_>>());
        }
        store.reopen().expect("opens again");
        written.sort();
        assert_eq!(tables(), written, "forty tables, and the same forty");
        assert_eq!(written.len(), 40);
    }

    #[test]
    fn a_half_written_batch_is_removed_by_the_next_open() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        let tables = store.opened.read().as_ref().expect("open").shelf(1).path().join("tables");
        store.ingest(1, &chunks(1, 2, 65_536)).expect("ingests");
        {
            let opened = store.opened.read();
            let shelf = opened.as_ref().expect("open").shelf(1);
            let mut ingestion = shelf.start_ingestion().expect("starts");
            let other = ChunkId::new(1 + CHUNK_SHELVES, 0);
            ingestion.write(other.to_key(), noise(2, 100_000)).expect("writes");
            // The process dies here: the table has no trailer and no manifest names it.
        }
        assert_eq!(files(&tables).len(), 2);
        store.reopen().expect("opens again");
        assert_eq!(files(&tables).len(), 1);
        assert_eq!(store.batches().expect("lists"), [1]);
    }

    #[test]
    fn after_a_failed_write_reads_go_on_and_a_reopen_heals() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        store.commit(vec![Write::put(Space::Keys, "a", "1")]).expect("commits");
        let shelf = store.opened.read().as_ref().expect("open").shelf(1).path().join("tables");
        std::fs::remove_dir(&shelf).expect("the shelf is empty");
        let failed = store.ingest(1, &chunks(1, 1, 100)).expect_err("there is no directory to write to");
        assert!(matches!(failed, StoreError::Failed { .. }), "{failed}");
        let refused = store.commit(vec![Write::put(Space::Keys, "a", "2")]).expect_err("writes have stopped");
        assert!(matches!(refused, StoreError::Stopped), "{refused}");
        assert_eq!(store.get(Space::Keys, b"a").expect("reads go on").as_deref(), Some(&b"1"[..]));
        store.reopen().expect("opens again");
        store.ingest(1, &chunks(1, 1, 100)).expect("ingests");
        store.commit(vec![Write::put(Space::Keys, "a", "2")]).expect("commits");
        assert_eq!(store.get(Space::Keys, b"a").expect("reads").as_deref(), Some(&b"2"[..]));
    }

    #[test]
    fn it_tells_what_it_holds_in_memory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        let empty = store.memory();
        store.commit(vec![Write::put(Space::Keys, "a", noise(1, 10_000))]).expect("commits");
        assert!(store.memory().buffer_bytes >= empty.buffer_bytes + 10_000, "{:?}", store.memory());
        store.ingest(1, &chunks(1, 4, 65_536)).expect("ingests");
        store.chunk(ChunkId::new(1, 2)).expect("reads").expect("is there");
        let cached = store.memory().cache_bytes;
        assert!((empty.cache_bytes + 65_536..=CACHE_BYTES).contains(&cached), "{cached}");
    }

    #[test]
    fn a_directory_is_open_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let _store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        let Err(refused) = FjallStore::open(directory.path(), CACHE_BYTES) else { panic!("opened twice") };
        assert!(matches!(refused, StoreError::Locked), "{refused}");
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        for error in [fjall::Error::Io(full()), fjall::Error::Storage(fjall::LsmError::Io(full()))] {
            assert!(matches!(explain("testing", error), StoreError::Full { doing: "testing" }));
        }
        let broken = fjall::Error::Io(std::io::Error::from_raw_os_error(libc::EIO));
        assert!(matches!(explain("testing", broken), StoreError::Failed { .. }));
    }

    #[test]
    fn a_rarely_written_space_pins_no_journal() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        let journals = || files(directory.path()).iter().filter(|(path, _)| is_journal(path)).count();
        store.commit(vec![Write::put(Space::Sys, "schema", "1")]).expect("commits");
        for row in 0..260u64 {
            let value = noise(row, 1 << 20);
            store.commit(vec![Write::put(Space::Rows, row.to_be_bytes(), value)]).expect("commits");
        }
        eventually("old journals go", || journals() <= 2);
        assert_eq!(store.get(Space::Sys, b"schema").expect("reads").as_deref(), Some(&b"1"[..]));
    }

    /// `STORE_SMALL_DISK` is a directory on a file system of 30 to 60 MB, such as `mount -t tmpfs -o size=40m`.
    #[test]
    #[ignore = "needs a small disk"]
    fn a_full_disk_refuses_writes_and_recovers_when_batches_go() {
        let disk = std::env::var_os("STORE_SMALL_DISK").expect("STORE_SMALL_DISK names a directory");
        let directory = tempfile::tempdir_in(disk).expect("a directory on the small disk");
        let store = FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens");
        store.commit(vec![Write::put(Space::Keys, "kept", "1")]).expect("commits");
        for round in 0..3u64 {
            let batches = round * 1_000..(round + 1) * 1_000;
            let full = batches.clone().find_map(|batch| {
                let failed = store.ingest(batch, &chunks(batch, 16, 65_536)).err()?;
                Some((batch, failed))
            });
            let (failed, error) = full.expect("a disk of at most 60 MB is full before a thousand batches");
            println!("round {round}: full after {} batches", failed - batches.start);
            assert!(matches!(error, StoreError::Full { .. }), "{error}");
            store.reopen().expect("opens again on a full disk");
            let kept: Vec<u64> = (batches.start..failed).collect();
            assert_eq!(store.batches().expect("lists"), kept, "the failed one is gone");
            // Rows until the journal finds no room either; what failed is there whole or not at all.
            let failed = (0..100u8).find(|row| {
                let rows = (0..100u8).map(|column| Write::put(Space::Rows, [*row, column], noise(7, 3_000)));
                store.commit(rows.collect()).is_err()
            });
            store.reopen().expect("opens again on a full disk");
            for row in 0..100u8 {
                let columns = |column: &u8| store.get(Space::Rows, &[row, *column]).expect("reads").is_some();
                let there = (0..100u8).filter(columns).count();
                assert!(there == 0 || there == 100, "row {row} of commit {failed:?} has {there} columns");
            }
            for batch in kept {
                store.drop_batch(batch).expect("drops on a full disk");
            }
            let deletes = (0..100u8).flat_map(|row| (0..100u8).map(move |column| [row, column]));
            store.commit(deletes.map(|key| Write::delete(Space::Rows, key)).collect()).expect("commits");
            assert_eq!(store.get(Space::Keys, b"kept").expect("reads").as_deref(), Some(&b"1"[..]));
        }
    }
}
