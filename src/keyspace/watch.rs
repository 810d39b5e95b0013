//! WATCH: which clients watch which keys, and which of them were touched since.

use std::collections::{BTreeMap, BTreeSet};

use super::Keyspace;

/// See the module.
#[derive(Debug)]
pub struct Watches {
    /// By database: key → clients.
    keys: Vec<BTreeMap<Box<[u8]>, Vec<u64>>>,
    count: usize,
    touched: BTreeSet<u64>,
}

impl Watches {
    pub fn new(databases: usize) -> Watches {
        Watches { keys: vec![BTreeMap::new(); databases], count: 0, touched: BTreeSet::new() }
    }

    /// Marks all who watch the key.
    pub fn touch(&mut self, database: usize, key: &[u8]) {
        if self.count == 0 {
            return;
        }
        if let Some(clients) = self.keys[database].get(key) {
            self.touched.extend(clients);
        }
    }

    /// Marks all who watch a key of the database that exists.
    pub fn touch_all(&mut self, database: usize, mut exists: impl FnMut(&[u8]) -> bool) {
        for (key, clients) in &self.keys[database] {
            if exists(key) {
                self.touched.extend(clients);
            }
        }
    }
}

impl Keyspace {
    /// Begins to watch a key of the current database for a client. A key whose time has come counts as absent from now.
    pub fn watch(&mut self, client: u64, key: &[u8]) {
        self.find(key);
        let clients = self.watches.keys[self.database].entry(key.into()).or_default();
        if !clients.contains(&client) {
            clients.push(client);
            self.watches.count += 1;
        }
    }

    /// Ends all of a client's watches; tells whether one of the keys was touched meanwhile.
    pub fn unwatch(&mut self, client: u64, keys: &[(usize, Box<[u8]>)]) -> bool {
        // A watched key whose time has come counts as touched, even if nobody met it.
        for (database, key) in keys {
            let before = std::mem::replace(&mut self.database, *database);
            self.find(key);
            self.database = before;
        }
        for (database, key) in keys {
            let watched = &mut self.watches.keys[*database];
            let Some(clients) = watched.get_mut(key) else { continue };
            let before = clients.len();
            clients.retain(|other| *other != client);
            self.watches.count -= before - clients.len();
            if clients.is_empty() {
                watched.remove(key);
            }
        }
        self.watches.touched.remove(&client)
    }

    /// Tells whether one of the keys that a client watches was touched.
    pub fn is_touched(&self, client: u64) -> bool {
        self.watches.touched.contains(&client)
    }
}
