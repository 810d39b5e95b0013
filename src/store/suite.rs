//! What both stores promise, checked on each.

use std::ops::{ControlFlow, Deref};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{ChunkId, FjallStore, MemoryStore, Space, Store, StoreError, Write};

const CACHE_BYTES: u64 = 1 << 20;

/// A store, and where it finds its data again when its process has ended without a goodbye.
struct Subject {
    store: Option<Box<dyn Store>>,
    directory: Option<TempDir>,
}

impl Subject {
    fn restart(&mut self) {
        match &self.directory {
            None => self.reopen().expect("memory always opens"),
            Some(directory) => {
                self.store = None;
                self.store = Some(on_disk(directory));
            }
        }
    }
}

impl Deref for Subject {
    type Target = dyn Store;
    fn deref(&self) -> &(dyn Store + 'static) {
        self.store.as_deref().expect("restart puts it back")
    }
}

fn on_disk(directory: &TempDir) -> Box<dyn Store> {
    Box::new(FjallStore::open(directory.path(), CACHE_BYTES).expect("the store opens"))
}

fn check(promise: impl Fn(&mut Subject) -> Result<(), StoreError>) {
    promise(&mut Subject { store: Some(Box::new(MemoryStore::new())), directory: None }).expect("in memory");
    let directory = tempfile::tempdir().expect("a temporary directory");
    promise(&mut Subject { store: Some(on_disk(&directory)), directory: Some(directory) }).expect("on disk");
}

/// Bytes that do not compress and differ from seed to seed.
pub(super) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(bytes.div_ceil(8)).flatten().take(bytes).collect()
}

pub(super) fn chunks(batch: u64, count: u32, bytes: usize) -> Vec<(u32, Vec<u8>)> {
    (0..count).map(|index| (index, noise(ChunkId::new(batch, index).0, bytes))).collect()
}

/// Lists all files under a directory with their sizes.
pub(super) fn files(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory is there").flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&entry.path())),
            Ok(metadata) => found.push((entry.path(), metadata.len())),
            // The store deletes files in the background.
            Err(_) => {}
        }
    }
    found
}

fn rows(store: &dyn Store, prefix: &str, start: &str) -> Result<Vec<String>, StoreError> {
    let mut rows = Vec::new();
    store.scan_from(Space::Rows, prefix.as_bytes(), start.as_bytes(), &mut |key, value| {
        rows.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

#[test]
fn a_chunk_id_holds_batch_and_index_and_sorts_by_both() {
    let last = ChunkId::new(ChunkId::BATCH_MAX, ChunkId::INDEX_MAX);
    assert_eq!((last.batch(), last.index()), (ChunkId::BATCH_MAX, ChunkId::INDEX_MAX));
    assert!(ChunkId::new(1, ChunkId::INDEX_MAX).to_key() < ChunkId::new(2, 0).to_key());
    assert_eq!(ChunkId::from_key(&last.to_key()), Some(last));
}

#[test]
fn chunks_come_back_until_their_batch_is_dropped() {
    check(|store| {
        for batch in [1, 2, 9] {
            store.ingest(batch, &chunks(batch, 5, 70_000))?;
        }
        store.drop_batch(2)?;
        for restarted in [false, true] {
            assert_eq!(store.batches()?, [1, 9], "restarted: {restarted}");
            for batch in [1, 9] {
                for (index, chunk) in chunks(batch, 5, 70_000) {
                    assert_eq!(store.chunk(ChunkId::new(batch, index))?.as_deref(), Some(&chunk[..]));
                }
            }
            assert_eq!(store.chunk(ChunkId::new(2, 0))?, None);
            assert_eq!(store.chunk(ChunkId::new(1, 5))?, None);
            store.restart();
        }
        Ok(())
    });
}

#[test]
fn a_batch_may_have_gaps_and_short_chunks() {
    check(|store| {
        let sparse = [(3, vec![1]), (4, vec![]), (ChunkId::INDEX_MAX, vec![2; 100])];
        store.ingest(ChunkId::BATCH_MAX, &sparse)?;
        store.restart();
        for (index, chunk) in &sparse {
            assert_eq!(store.chunk(ChunkId::new(ChunkId::BATCH_MAX, *index))?.as_deref(), Some(&chunk[..]));
        }
        assert_eq!(store.chunk(ChunkId::new(ChunkId::BATCH_MAX, 0))?, None);
        store.drop_batch(ChunkId::BATCH_MAX)?;
        assert_eq!(store.chunk(ChunkId::new(ChunkId::BATCH_MAX, 3))?, None);
        Ok(())
    });
}

#[test]
fn dropping_a_batch_that_is_not_there_is_no_error() {
    check(|store| {
        store.ingest(1, &[])?;
        store.drop_batch(1)?;
        store.drop_batch(77)?;
        assert_eq!(store.batches()?, Vec::<u64>::new());
        Ok(())
    });
}

#[test]
fn a_batch_without_rows_that_name_it_is_found_after_a_restart() {
    check(|store| {
        store.ingest(1, &chunks(1, 2, 100))?;
        store.commit(vec![Write::put(Space::Sys, "next", "2")])?;
        store.ingest(2, &chunks(2, 2, 100))?;
        store.restart();
        assert_eq!(store.batches()?, [1, 2]);
        store.drop_batch(2)?;
        store.ingest(2, &chunks(2, 3, 100))?;
        assert!(store.chunk(ChunkId::new(2, 2))?.is_some(), "its number can be used again");
        Ok(())
    });
}

#[test]
fn a_commit_applies_its_writes_in_order_over_all_spaces() {
    check(|store| {
        let writes = Space::ALL.map(|space| Write::put(space, "row", format!("{space:?}")));
        store.commit(writes.to_vec())?;
        store.commit(vec![
            Write::put(Space::Rows, "twice", "first"),
            Write::put(Space::Rows, "twice", "second"),
            Write::put(Space::Rows, "gone", "x"),
            Write::delete(Space::Rows, "gone"),
            Write::delete(Space::Rows, "back"),
            Write::put(Space::Rows, "back", "y"),
            Write::delete(Space::Ttl, "row"),
            Write::delete(Space::Ttl, "never was"),
        ])?;
        for restarted in [false, true] {
            assert_eq!(rows(&**store, "", "")?, ["back=y", "row=Rows", "twice=second"], "restarted: {restarted}");
            assert_eq!(store.get(Space::Sys, b"row")?.as_deref(), Some(&b"Sys"[..]));
            assert_eq!(store.get(Space::Ttl, b"row")?, None);
            assert_eq!(store.get(Space::Rows, b"gone")?, None);
            store.restart();
        }
        Ok(())
    });
}

#[test]
fn a_row_is_overwritten_and_deleted_and_stays_so() {
    check(|store| {
        for value in ["1", "2", ""] {
            store.commit(vec![Write::put(Space::Keys, "a", value)])?;
            store.restart();
            assert_eq!(store.get(Space::Keys, b"a")?.as_deref(), Some(value.as_bytes()));
        }
        store.commit(vec![Write::delete(Space::Keys, "a")])?;
        store.restart();
        assert_eq!(store.get(Space::Keys, b"a")?, None);
        Ok(())
    });
}

#[test]
fn a_scan_sees_its_prefix_in_key_order_from_where_it_is_told() {
    check(|store| {
        let keys = ["a", "b1", "b2", "b", "b10", "c"];
        store.commit(keys.map(|key| Write::put(Space::Rows, key, "")).to_vec())?;
        store.commit(vec![Write::put(Space::Rows, [0xff, 0xff], ""), Write::put(Space::Rows, [0xff], "")])?;
        assert_eq!(rows(&**store, "b", "b")?, ["b=", "b1=", "b10=", "b2="]);
        assert_eq!(rows(&**store, "b", "b11")?, ["b2="]);
        assert_eq!(rows(&**store, "b", "a")?.len(), 4, "a start before the prefix is the prefix");
        assert_eq!(rows(&**store, "b", "c")?, [""; 0]);
        assert_eq!(rows(&**store, "", "")?.len(), 8);
        let mut last = Vec::new();
        store.scan(Space::Rows, &[0xff], &mut |key, _| {
            last.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        assert_eq!(last, [vec![0xff], vec![0xff, 0xff]]);
        Ok(())
    });
}

#[test]
fn a_scan_ends_when_told_and_its_visitor_may_read() {
    check(|store| {
        store.commit((0..10u8).map(|row| Write::put(Space::Dir, [row], [row])).collect())?;
        let mut seen = 0;
        store.scan(Space::Dir, b"", &mut |key, value| {
            let again = store.get(Space::Dir, key).expect("a visitor may read");
            assert_eq!(again.as_deref(), Some(value));
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        assert_eq!(seen, 3);
        Ok(())
    });
}

#[test]
fn a_value_of_a_megabyte_and_the_longest_key_survive() {
    check(|store| {
        let value = noise(1, 1 << 20);
        let key = vec![b'k'; super::KEY_BYTES_MAX];
        store.commit(vec![Write::put(Space::Rows, key.clone(), value.clone())])?;
        store.ingest(1, &[(0, value.clone())])?;
        store.restart();
        assert_eq!(store.get(Space::Rows, &key)?.as_deref(), Some(&value[..]));
        assert_eq!(store.chunk(ChunkId::new(1, 0))?.as_deref(), Some(&value[..]));
        Ok(())
    });
}

#[test]
fn a_reopen_in_place_keeps_everything() {
    check(|store| {
        store.commit(vec![Write::put(Space::Keys, "a", "1")])?;
        store.ingest(1, &chunks(1, 2, 5_000))?;
        store.reopen()?;
        assert_eq!(store.get(Space::Keys, b"a")?.as_deref(), Some(&b"1"[..]));
        assert_eq!(store.batches()?, [1]);
        store.commit(vec![Write::put(Space::Keys, "a", "2")])?;
        store.restart();
        assert_eq!(store.get(Space::Keys, b"a")?.as_deref(), Some(&b"2"[..]));
        Ok(())
    });
}

#[test]
fn dropping_a_batch_makes_the_store_smaller() {
    check(|store| {
        store.ingest(1, &chunks(1, 16, 65_536))?;
        let before = store.disk_bytes();
        store.drop_batch(1)?;
        assert!(store.disk_bytes() + 16 * 65_536 <= before);
        Ok(())
    });
}
