//! `Fields`: the ordered map that hashes, sets and sorted sets are made of. This is its inline backend, which holds
//! everything in memory; commands go through this interface only, so that a paged backend can stand behind it.
//!
//! The order is that of a 64-bit hash, then of the name: a scan cursor is the next hash to visit, and a pick by rank is
//! uniform.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ordered::Ordered;

/// What an entry costs beside its bytes: the place in its leaf and the allocator's share.
const ENTRY_OVERHEAD_BYTES: usize = 56;

/// The hash that orders keys and fields; it stands in rows on disk and in clients' cursors, and never changes.
pub fn hash64(name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name)
}

/// A name with its hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Hashed {
    hash: u64,
    name: Arc<[u8]>,
}

/// A payload whose size counts in the memory of its object.
pub trait Weigh {
    fn weight_bytes(&self) -> usize;
}

impl Weigh for () {
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl Weigh for f64 {
    fn weight_bytes(&self) -> usize {
        0
    }
}

impl Weigh for Box<[u8]> {
    fn weight_bytes(&self) -> usize {
        self.len() + 16
    }
}

/// See the module.
#[derive(Debug)]
pub struct Fields<V> {
    entries: Ordered<Hashed, V>,
    memory_bytes: usize,
}

impl<V> Default for Fields<V> {
    fn default() -> Self {
        Fields { entries: Ordered::default(), memory_bytes: 0 }
    }
}

impl<V: Weigh> Fields<V> {
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What the map costs in memory.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    pub fn get(&self, name: &[u8]) -> Option<&V> {
        let hash = hash64(name);
        self.entries.get_by(|key| compare(key, hash, name)).map(|(_, value)| value)
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Puts a value; tells whether the name is new.
    pub fn put(&mut self, name: &[u8], value: V) -> bool {
        self.put_named(name, value, || Arc::from(name))
    }

    /// As [`put`](Self::put), sharing the name's memory.
    pub fn put_shared(&mut self, name: &Arc<[u8]>, value: V) -> bool {
        self.put_named(name, value, || name.clone())
    }

    fn put_named(&mut self, name: &[u8], value: V, own: impl FnOnce() -> Arc<[u8]>) -> bool {
        let hash = hash64(name);
        self.memory_bytes += value.weight_bytes();
        match self.entries.find_mut(|key| compare(key, hash, name)) {
            Ok(old) => {
                self.memory_bytes -= old.weight_bytes();
                *old = value;
                false
            }
            Err(place) => {
                self.memory_bytes += name.len() + ENTRY_OVERHEAD_BYTES;
                self.entries.insert_at(place, Hashed { hash, name: own() }, value);
                true
            }
        }
    }

    /// Removes a name; answers its value.
    pub fn remove(&mut self, name: &[u8]) -> Option<V> {
        let hash = hash64(name);
        let (_, value) = self.entries.remove_by(|key| compare(key, hash, name))?;
        self.memory_bytes -= name.len() + ENTRY_OVERHEAD_BYTES + value.weight_bytes();
        Some(value)
    }

    /// What one name costs in memory, its value apart.
    pub fn name_bytes(name: &[u8]) -> usize {
        name.len() + ENTRY_OVERHEAD_BYTES
    }

    /// Visits all in the order of their hashes.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &V)> {
        self.entries.iter().map(|(key, value)| (&*key.name, value))
    }

    /// The entry with this many before it: with a uniform rank, a uniform pick.
    pub fn select(&self, rank: usize) -> Option<(&[u8], &V)> {
        self.entries.select(rank).map(|(key, value)| (&*key.name, value))
    }

    /// Visits from a scan cursor on; answers the next cursor, 0 at the end. All names of one hash leave in one step.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], &V)) -> u64 {
        let mut last = 0;
        for (seen, (key, value)) in self.entries.iter_from(|key| key.hash < cursor).enumerate() {
            if seen >= count && key.hash != last {
                return key.hash;
            }
            last = key.hash;
            visit(&key.name, value);
        }
        0
    }

    /// Drops up to `count` entries to free their memory in steps; tells whether any are left.
    pub fn shrink(&mut self, count: usize) -> bool {
        for _ in 0..count {
            if self.entries.pop_last().is_none() {
                return false;
            }
        }
        !self.entries.is_empty()
    }
}

fn compare(key: &Hashed, hash: u64, name: &[u8]) -> Ordering {
    key.hash.cmp(&hash).then_with(|| (*key.name).cmp(name))
}
