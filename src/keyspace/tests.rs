//! The keyspace against a naive model, through everything that happens to it: spills, evictions, fetches, checkpoints,
//! crashes and replays, with sizes so small that a short run meets all of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::chunk::Chunk;
use super::layout::{SYS_QUEUE_PREFIX, SYS_STATE_KEY};
use super::recovery::{Fetched, Recovery, inline_body};
use super::save::piece_key;
use super::*;
use crate::store::{MemoryStore, Space, Store};

const SIZES: Sizes = Sizes { chunk_bytes: 64, inline_bytes_max: 24, piece_bytes: 32, prefetch_bytes: 128 };
const BUDGET: Budget = Budget { objects_bytes: 8 << 10, spills_bytes: 4 << 10, batch_bytes: 512, evict_all: true };

/// Keys as the model names them: the database before the name.
const KEYS: [&[u8]; 8] = [b"0queue:a", b"0queue:b", b"0c", b"0d", b"0e", b"1queue:a", b"1b", b"1c"];

fn database(key: &[u8]) -> usize {
    usize::from(key[0] - b'0')
}

fn name(key: &[u8]) -> &[u8] {
    &key[1..]
}

/// What a key holds, told simply.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    List(VecDeque<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
}

fn keyspace() -> Keyspace {
    let mut keys = Keyspace::new(2, SIZES, BUDGET);
    keys.queues.names = crate::job::Queues::parse("queue:*", "");
    keys
}

/// A keyspace with its store and its log, as the shard keeps them.
struct World {
    keys: Keyspace,
    store: MemoryStore,
    frames: Vec<(u64, Vec<u8>)>,
    next: u64,
    model: BTreeMap<Vec<u8>, Told>,
    /// What became of the items of every list.
    counts: BTreeMap<Vec<u8>, JobCounts>,
    /// Items that rules have taken out of a list, without those that came back.
    apart: BTreeMap<Vec<u8>, u64>,
    random: StdRng,
    spills: usize,
    fetches: usize,
    saves: usize,
    /// The most that was read ahead at once.
    ahead_bytes_most: usize,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            keys: keyspace(),
            store: MemoryStore::new(),
            frames: Vec::new(),
            next: 1,
            model: BTreeMap::new(),
            counts: BTreeMap::new(),
            apart: BTreeMap::new(),
            random: StdRng::seed_from_u64(seed),
            spills: 0,
            fetches: 0,
            saves: 0,
            ahead_bytes_most: 0,
        }
    }

    /// Runs something as one frame, bringing in what it misses, as often as it takes.
    fn frame<T>(&mut self, database: usize, mut run: impl FnMut(&mut Keyspace) -> Result<T, Miss>) -> T {
        let mut wanted: BTreeSet<Missing> = BTreeSet::new();
        for _ in 0..50 {
            self.keys.begin_turn(1000);
            for missing in &wanted {
                let fetched = fetch(&self.store, &self.keys, missing).expect("what lives is in the store");
                if let Some(fetched) = fetched {
                    self.keys.install(missing, fetched);
                }
            }
            self.keys.begin(self.next, database);
            let outcome = run(&mut self.keys);
            if self.keys.has_written() {
                self.frames.push((self.next, self.keys.frame().clone()));
                self.keys.frame().clear();
                self.next += 1;
            }
            match outcome {
                Ok(value) => return value,
                Err(Miss::Fetch(missing)) => {
                    self.fetches += 1;
                    wanted.extend(missing);
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        panic!("a command does not get what it needs");
    }

    fn relieve(&mut self) {
        if let Some(mut spill) = self.keys.relieve() {
            self.spills += 1;
            let chunks: Vec<_> = spill
                .chunks
                .iter()
                .enumerate()
                .map(|(at, chunk)| (at as u32, chunk.body.encode(chunk.object)))
                .collect();
            self.store.ingest(spill.batch, &chunks).expect("memory takes it");
            self.keys.landed(&mut spill);
        }
        for missing in self.keys.take_prefetch() {
            match fetch(&self.store, &self.keys, &missing).expect("what lives is in the store") {
                Some(fetched) => self.keys.install(&missing, fetched),
                None => self.keys.give_up_loading(&missing),
            }
        }
        self.ahead_bytes_most = self.ahead_bytes_most.max(self.keys.memory.ahead_bytes);
        for batch in self.keys.take_dead_batches() {
            self.store.drop_batch(batch).expect("memory takes it");
        }
    }

    fn save(&mut self) {
        let Some(mut save) = self.keys.capture(self.next - 1, self.next - 1, 300) else { return };
        self.saves += 1;
        for spill in &save.spills {
            let chunks: Vec<_> = spill
                .chunks
                .iter()
                .enumerate()
                .map(|(at, chunk)| (at as u32, chunk.body.encode(chunk.object)))
                .collect();
            self.store.ingest(spill.batch, &chunks).expect("memory takes it");
        }
        self.store.commit(save.take_writes()).expect("memory takes it");
        self.keys.committed(save);
        let needed = self.keys.replay_from();
        // Not all that may go goes: a log is trimmed by segments.
        let keep = needed.saturating_sub(self.random.random_range(0..20));
        self.frames.retain(|(lsn, _)| *lsn >= keep);
    }

    /// Forgets the memory and comes back from store and log.
    fn crash(&mut self) {
        self.store.crash();
        let mut keys = keyspace();
        keys.begin_turn(1000);
        let mut recovery = Recovery::default();
        if let Some(row) = self.store.get(Space::Sys, SYS_STATE_KEY).expect("memory reads") {
            recovery.state(&mut keys, &row).expect("the state is whole");
        }
        self.store
            .scan(Space::Sys, SYS_QUEUE_PREFIX, &mut |name, row| {
                recovery.queue(&mut keys, name, row).expect("the row is whole");
                ControlFlow::Continue(())
            })
            .expect("memory reads");
        self.store
            .scan(Space::Keys, b"", &mut |name, row| {
                recovery.key(&mut keys, name, row).expect("the row is whole");
                ControlFlow::Continue(())
            })
            .expect("memory reads");
        self.store
            .scan(Space::Dir, b"", &mut |name, row| {
                recovery.chunk(&mut keys, name, row).expect("the row is whole");
                ControlFlow::Continue(())
            })
            .expect("memory reads");
        recovery.rows_done(&mut keys).expect("the rows fit together");
        let store = &self.store;
        let mut now = |missing: &Missing, keys: &Keyspace| {
            fetch(store, keys, missing)?.ok_or_else(|| "it is not in the store".to_owned())
        };
        let mut next = recovery.complete + 1;
        for (lsn, frame) in &self.frames {
            if *lsn > recovery.complete {
                assert_eq!(*lsn, next, "the log is whole from where the replay begins");
                next += 1;
                recovery.frame(&mut keys, *lsn, frame, &mut now).expect("the frame replays");
            }
        }
        recovery.finish(&mut keys);
        for batch in self.store.batches().expect("memory reads") {
            keys.note_batch(batch);
            if !keys.is_live_batch(batch) {
                self.store.drop_batch(batch).expect("memory takes it");
            }
        }
        self.keys = keys;
    }

    fn step(&mut self) {
        let key = self.key();
        match self.random.random_range(0..100) {
            0..40 => self.push(&key),
            40..60 => self.pop(&key),
            60..62 => self.remove(&key),
            62..63 => self.take(&key),
            63..64 => self.trim(&key),
            64..68 => self.set(&key),
            68..72 => self.insert(&key),
            72..74 => self.delete(&key),
            74..76 => self.rename(&key),
            76..84 => self.members(&key),
            84..85 => self.flush(),
            85..92 => self.relieve(),
            92..96 => self.save(),
            96..97 => drop(self.keys.sweep()),
            97..98 => self.crash(),
            _ => self.check(&key),
        }
    }

    fn key(&mut self) -> Vec<u8> {
        KEYS[self.random.random_range(0..KEYS.len())].to_vec()
    }

    fn list(&mut self, key: &[u8]) -> Option<&mut VecDeque<Vec<u8>>> {
        match self.model.get_mut(key)? {
            Told::List(list) => Some(list),
            Told::Set(_) => None,
        }
    }

    fn is_set(&self, key: &[u8]) -> bool {
        matches!(self.model.get(key), Some(Told::Set(_)))
    }

    fn side(&mut self) -> Side {
        if self.random.random() { Side::Left } else { Side::Right }
    }

    fn item(&mut self) -> Vec<u8> {
        let length = self.random.random_range(0..20);
        (0..length).map(|_| self.random.random_range(b'a'..b'e')).collect()
    }

    fn push(&mut self, key: &[u8]) {
        if self.is_set(key) {
            return;
        }
        let side = self.side();
        let count = self.random.random_range(1..6);
        let items: Vec<Vec<u8>> = (0..count).map(|_| self.item()).collect();
        let slices: Vec<&[u8]> = items.iter().map(|item| &item[..]).collect();
        self.frame(database(key), |keys| {
            let slot = keys.find_or_create(name(key), Kind::List)?;
            keys.push(slot, side, &slices)
        });
        let list = self.model.entry(key.to_vec()).or_insert(Told::List(VecDeque::new()));
        let Told::List(list) = list else { unreachable!() };
        self.counts.entry(key.to_vec()).or_default().pushed += count;
        for item in items {
            match side {
                Side::Left => list.push_front(item),
                Side::Right => list.push_back(item),
            }
        }
    }

    fn pop(&mut self, key: &[u8]) {
        let side = self.side();
        let Some(len) = self.list(key).map(|list| list.len()) else { return };
        let count = if self.random.random_range(0..4) == 0 { self.random.random_range(1..=len) } else { 1 };
        let end = self.frame(database(key), |keys| {
            let slot = keys.find_kind(name(key), Kind::List)?.expect("the model has it");
            let item = keys.list_end(slot, side)?.to_vec();
            keys.pop(slot, side, count as u64)?;
            Ok(item)
        });
        let list = self.list(key).expect("it was just there");
        let expected = if side == Side::Left { list.front() } else { list.back() };
        assert_eq!(Some(&end), expected);
        self.counts(key).popped += count as u64;
        self.drop_items(key, side, count);
    }

    fn remove(&mut self, key: &[u8]) {
        let Some(len) = self.list(key).map(|list| list.len()) else { return };
        let at = self.random.random_range(0..len);
        self.frame(database(key), |keys| {
            let slot = keys.find_kind(name(key), Kind::List)?.expect("the model has it");
            let ordinal = keys.list(slot).ordinal_at(at as u64).expect("it is that long");
            keys.remove_items(slot, &[ordinal])
        });
        self.list(key).expect("it was just there").remove(at);
        self.counts(key).removed += 1;
        self.tidy(key);
    }

    fn set(&mut self, key: &[u8]) {
        let Some(len) = self.list(key).map(|list| list.len()) else { return };
        let (at, item) = (self.random.random_range(0..len), self.item());
        self.frame(database(key), |keys| {
            let slot = keys.find_kind(name(key), Kind::List)?.expect("the model has it");
            let ordinal = keys.list(slot).ordinal_at(at as u64).expect("it is that long");
            keys.set_item(slot, ordinal, &item)
        });
        self.list(key).expect("it was just there")[at] = item;
    }

    fn insert(&mut self, key: &[u8]) {
        let Some(len) = self.list(key).map(|list| list.len()) else { return };
        let (at, item, after) = (self.random.random_range(0..len), self.item(), self.random.random());
        self.frame(database(key), |keys| {
            let slot = keys.find_kind(name(key), Kind::List)?.expect("the model has it");
            let pivot = keys.list(slot).ordinal_at(at as u64).expect("it is that long");
            keys.insert_item(slot, pivot, after, &item)
        });
        self.list(key).expect("it was just there").insert(at + usize::from(after), item);
        self.counts(key).pushed += 1;
    }

    fn delete(&mut self, key: &[u8]) {
        self.frame(database(key), |keys| match keys.find(name(key)) {
            Some(slot) => keys.delete(slot),
            None => Ok(()),
        });
        self.count_gone(key);
        self.model.remove(key);
    }

    fn rename(&mut self, key: &[u8]) {
        let to = self.key();
        if !self.model.contains_key(key) || to == key {
            return;
        }
        self.frame(database(key), |keys| {
            let slot = keys.find(name(key)).expect("the model has it");
            keys.resident(slot)?;
            keys.select(database(&to));
            if let Some(old) = keys.find(name(&to)) {
                keys.delete(old)?;
            }
            keys.rename(slot, database(&to), name(&to))
        });
        self.count_gone(key);
        self.count_gone(&to);
        let value = self.model.remove(key).expect("it was just there");
        if let Told::List(list) = &value {
            self.counts(&to).pushed += list.len() as u64;
        }
        self.model.insert(to, value);
    }

    fn members(&mut self, key: &[u8]) {
        if self.list(key).is_some() {
            return;
        }
        let (member, add) = (self.item(), self.random.random_range(0..3) > 0);
        let Told::Set(set) = self.model.entry(key.to_vec()).or_insert(Told::Set(BTreeSet::new())) else {
            unreachable!()
        };
        let change = if add { set.insert(member.clone()) } else { set.remove(&member) };
        self.frame(database(key), |keys| {
            let found = keys.find_kind(name(key), Kind::Set)?;
            if !change {
                return Ok(());
            }
            match add {
                true => {
                    let slot = found.map_or_else(|| keys.create(name(key), Kind::Set), Ok)?;
                    keys.add_members(slot, &[&member])
                }
                false => keys.remove_names(found.expect("it has the member"), &[&member]),
            }
        });
        self.tidy(key);
    }

    fn flush(&mut self) {
        if self.random.random_range(0..10) == 0 {
            let flushed = self.random.random_range(0..2);
            self.frame(flushed, |keys| keys.flush(flushed));
            for key in KEYS.iter().filter(|key| database(key) == flushed) {
                self.count_gone(key);
            }
            self.model.retain(|key, _| database(key) != flushed);
        }
    }

    fn tidy(&mut self, key: &[u8]) {
        let empty = match self.model.get(key) {
            Some(Told::List(list)) => list.is_empty(),
            Some(Told::Set(set)) => set.is_empty(),
            None => false,
        };
        if empty {
            self.model.remove(key);
        }
    }

    /// Compares a key with the model, item by item.
    fn check(&mut self, key: &[u8]) {
        let found = self.frame(database(key), |keys| {
            let Some(slot) = keys.find(name(key)) else { return Ok(None) };
            keys.resident(slot)?;
            if keys.object(slot).value.kind() == Kind::Set {
                return Ok(Some(Told::Set(keys.set(slot).iter().map(|(member, ())| member.to_vec()).collect())));
            }
            let list = keys.list(slot);
            let pieces: Vec<Piece> = list.pieces(0, list.len() - 1).collect();
            let missing: Vec<_> = pieces.iter().filter_map(Piece::missing).map(|at| keys.chunk_ref(slot, at)).collect();
            if !missing.is_empty() {
                return Err(Miss::Fetch(missing));
            }
            let items: VecDeque<Vec<u8>> =
                pieces.iter().flat_map(|piece| piece.items(Side::Left)).map(|(_, item)| item.to_vec()).collect();
            let mut backwards: VecDeque<Vec<u8>> = VecDeque::new();
            for piece in pieces.iter().rev() {
                piece.items(Side::Right).for_each(|(_, item)| backwards.push_front(item.to_vec()));
            }
            assert_eq!(items, backwards, "both directions read the same");
            for (index, item) in items.iter().enumerate() {
                assert_eq!(list.at(index as u64), Some(Ok(&item[..])), "index {index}");
                let ordinal = list.ordinal_at(index as u64).expect("it is that long");
                assert_eq!(list.index_of(ordinal), Some(index as u64));
            }
            Ok(Some(Told::List(items)))
        });
        assert_eq!(found.as_ref(), self.model.get(key), "key {}", String::from_utf8_lossy(key));
        self.check_counts(key);
    }

    /// What went into a queue is what came out of it and what is in it.
    fn check_counts(&mut self, key: &[u8]) {
        let Some(id) = self.keys.queues.find(database(key), name(key)) else { return };
        let told = *self.counts(key);
        let queue = self.keys.queues.get(id).expect("it was just found");
        assert_eq!(queue.counts, told, "counts of {}", String::from_utf8_lossy(key));
        let apart = self.apart.get(key).copied().unwrap_or(0);
        let length = self.list(key).map_or(0, |list| list.len() as u64);
        assert_eq!(told.pushed, told.popped + told.removed + apart + length, "{}", String::from_utf8_lossy(key));
    }

    fn counts(&mut self, key: &[u8]) -> &mut JobCounts {
        self.counts.entry(key.to_vec()).or_default()
    }

    /// A list that goes as a whole.
    fn count_gone(&mut self, key: &[u8]) {
        let length = self.list(key).map_or(0, |list| list.len() as u64);
        self.counts(key).removed += length;
    }

    /// Takes an item out of the middle, as a pop that passed over others, or as a rule; a rule's may come back.
    fn take(&mut self, key: &[u8]) {
        let Some(len) = self.list(key).map(|list| list.len()) else { return };
        let at = self.random.random_range(0..len);
        let is_rule = self.random.random();
        self.frame(database(key), |keys| {
            let slot = keys.find_kind(name(key), Kind::List)?.expect("the model has it");
            let ordinal = keys.list(slot).ordinal_at(at as u64).expect("it is that long");
            if is_rule { keys.banish(slot, &[ordinal]) } else { keys.take_items(slot, Side::Left, &[ordinal]) }
        });
        let item = self.list(key).expect("it was just there").remove(at).expect("it is that long");
        self.tidy(key);
        if !is_rule {
            self.counts(key).popped += 1;
            return;
        }
        if self.random.random() {
            *self.apart.entry(key.to_vec()).or_default() += 1;
            return;
        }
        self.frame(database(key), |keys| {
            let slot = keys.find_or_create(name(key), Kind::List)?;
            keys.restore(slot, Side::Left, &[&item])
        });
        let list = self.model.entry(key.to_vec()).or_insert(Told::List(VecDeque::new()));
        let Told::List(list) = list else { unreachable!() };
        list.push_front(item);
    }

    fn trim(&mut self, key: &[u8]) {
        let Some(len) = self.list(key).map(|list| list.len()) else { return };
        let (side, count) = (self.side(), self.random.random_range(1..=len.min(4)));
        self.frame(database(key), |keys| {
            let slot = keys.find_kind(name(key), Kind::List)?.expect("the model has it");
            keys.trim(slot, side, count as u64)
        });
        self.counts(key).removed += count as u64;
        self.drop_items(key, side, count);
    }

    fn drop_items(&mut self, key: &[u8], side: Side, count: usize) {
        let list = self.list(key).expect("it was just there");
        for _ in 0..count {
            match side {
                Side::Left => list.pop_front(),
                Side::Right => list.pop_back(),
            };
        }
        self.tidy(key);
    }
}

fn fetch(store: &MemoryStore, keys: &Keyspace, missing: &Missing) -> Result<Option<Fetched>, String> {
    if !keys.still_missing(missing) {
        return Ok(None);
    }
    match *missing {
        Missing::Chunk { object, at, .. } => {
            let stored = store.chunk(at.id).map_err(|error| error.to_string())?.ok_or("the chunk is gone")?;
            Ok(Some(Fetched::Chunk(Arc::new(Chunk::decode(&stored, object).map_err(|error| error.to_string())?))))
        }
        Missing::Whole { object, slot, pieces, .. } => {
            let (name, kind) = keys.key_row_of(slot);
            let mut body = Vec::new();
            if pieces == 0 {
                let row = store.get(Space::Keys, &name).map_err(|error| error.to_string())?.ok_or("the row is gone")?;
                body.extend_from_slice(inline_body(&row).map_err(|error| error.to_string())?);
            }
            for piece in 0..pieces {
                let name = piece_key(object, piece);
                let row = store.get(Space::Rows, &name).map_err(|error| error.to_string())?.ok_or("a piece is gone")?;
                body.extend_from_slice(&row);
            }
            Ok(Some(Fetched::Whole(Value::read(kind, &body).map_err(|error| error.to_string())?)))
        }
    }
}

fn check_seed(seed: u64) -> [usize; 4] {
    let mut world = World::new(seed);
    for step in 0..3000 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.step()));
        if let Err(panic) = outcome {
            eprintln!("seed {seed}, step {step}");
            std::panic::resume_unwind(panic);
        }
    }
    while world.keys.sweep() {}
    for _ in 0..20 {
        world.save();
    }
    world.crash();
    for key in KEYS {
        world.check(key);
    }
    // Counters equal what can be counted: with everything deleted, nothing is left on disk or in the account.
    for database in 0..2 {
        world.frame(database, |keys| keys.flush(database));
    }
    while world.keys.sweep() {}
    for _ in 0..1000 {
        world.save();
        world.relieve();
    }
    assert_eq!(world.keys.memory.objects_bytes(), 0, "seed {seed}: memory is given back");
    assert_eq!(world.keys.memory.cold, 0, "seed {seed}: nothing is cold");
    assert_eq!(world.keys.memory.ahead_bytes, 0, "seed {seed}: nothing is read ahead");
    assert_eq!(world.store.batches().expect("memory reads"), Vec::<u64>::new(), "seed {seed}: batches are dropped");
    for space in [Space::Keys, Space::Dir, Space::Rows] {
        let mut rows = 0;
        world
            .store
            .scan(space, b"", &mut |_, _| {
                rows += 1;
                ControlFlow::Continue(())
            })
            .expect("memory reads");
        assert_eq!(rows, 0, "seed {seed}: rows left in {space:?}");
    }
    [world.spills, world.fetches, world.saves, world.ahead_bytes_most]
}

#[test]
fn a_list_that_was_flushed_is_not_there_even_before_it_is_taken_apart() {
    let mut keys = keyspace();
    keys.begin(1, 0);
    let slot = keys.create(b"queue:a", Kind::List).unwrap();
    keys.push(slot, Side::Left, &[b"x"]).unwrap();
    let object = keys.object(slot).id;
    assert!(keys.is_list(slot, object));
    keys.flush(0).unwrap();
    assert!(!keys.is_list(slot, object));
}

#[test]
fn the_keyspace_is_what_the_model_says_through_spills_fetches_checkpoints_and_crashes() {
    let mut sums = [0; 4];
    for seed in 0..40 {
        sums.iter_mut().zip(check_seed(seed)).for_each(|(sum, count)| *sum += count);
    }
    assert!(sums.iter().all(|sum| *sum > 0), "the small sizes reach every path: {sums:?}");
}

/// Adds members to a set until memory holds more than so many bytes, and has the store get all of it.
#[test]
fn the_log_is_kept_from_where_the_store_says_that_a_start_replays_whatever_has_gone_since() {
    let mut keys = keyspace();
    keys.begin_turn(1000);
    for (lsn, key) in [(1, b"a"), (2, b"b")] {
        keys.begin(lsn, 0);
        let slot = keys.create(key, Kind::List).expect("nothing is missing");
        keys.push(slot, Side::Left, &[b"x"]).expect("nothing is missing");
        keys.frame().clear();
    }
    let save = keys.capture(2, 1, 1 << 20).expect("the first key is saved");
    // Of the second one nothing is left by the time that the batch is in the store.
    keys.begin(3, 0);
    let slot = keys.find(b"b").expect("it is there");
    keys.pop(slot, Side::Left, 1).expect("nothing is missing");
    keys.frame().clear();
    keys.committed(save);
    assert_eq!((keys.oldest_dirty(), keys.replay_from()), (None, 2));
    let save = keys.capture(3, 3, 1 << 20).expect("the store is to say so");
    keys.committed(save);
    assert_eq!(keys.replay_from(), 4);
}

fn fill(world: &mut World, key: &[u8], bytes: usize) {
    let mut count = 0_u32;
    while world.keys.memory.objects_bytes() <= bytes {
        world.frame(0, |keys| {
            let slot = keys.find_or_create(key, Kind::Set)?;
            keys.add_members(slot, &[&count.to_be_bytes()])
        });
        count += 1;
    }
    while world.keys.oldest_dirty().is_some() {
        world.save();
    }
}

fn is_cold(world: &mut World, key: &[u8]) -> bool {
    let slot = world.frame(0, |keys| Ok(keys.find(key))).expect("it is there");
    matches!(world.keys.object(slot).value, Value::Cold(_))
}

#[test]
fn a_value_in_use_stays_in_memory_that_is_a_little_too_full() {
    let mut world = World::new(1);
    world.keys.memory.budget.evict_all = false;
    fill(&mut world, b"unused", BUDGET.objects_bytes / 2);
    fill(&mut world, b"used", BUDGET.objects_bytes);
    for _ in 0..memory::RECENT_TURNS {
        assert!(!is_cold(&mut world, b"used"));
        world.relieve();
    }
    assert!(world.keys.memory.objects_bytes() <= BUDGET.objects_bytes);
    assert!(!is_cold(&mut world, b"used"));
    assert!(is_cold(&mut world, b"unused"));
}

#[test]
fn a_value_in_use_leaves_memory_that_is_much_too_full() {
    let mut world = World::new(1);
    world.keys.memory.budget.evict_all = false;
    fill(&mut world, b"used", BUDGET.objects_bytes + BUDGET.spills_bytes / 2);
    assert!(!is_cold(&mut world, b"used"));
    world.keys.begin_turn(1000);
    world.relieve();
    assert!(is_cold(&mut world, b"used"));
}
