//! The part of the test harness that has a disk: values leave memory, and are brought in as the shard does it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::keyspace::chunk::Chunk;
use crate::keyspace::recovery::{Fetched, inline_body};
use crate::keyspace::{Keyspace, Missing, Value};
use crate::resp::{Reply, split_words};
use crate::session::{Peer, Session};
use crate::store::{Space, Write};

use super::testing::Bench;
use super::{Stop, find, is_immediate, queue_in_transaction};

/// What has been saved.
#[derive(Default)]
pub struct Disk {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    chunks: BTreeMap<u64, Arc<Chunk>>,
    /// How often something was read on the spot.
    pub spot_reads: usize,
}

impl Disk {
    /// Reads what a loader would.
    pub fn read(&self, keys: &Keyspace, missing: &Missing) -> Fetched {
        match missing {
            Missing::Chunk { at, .. } => Fetched::Chunk(self.chunks[&at.id.0].clone()),
            Missing::Whole { slot, .. } => {
                let (row, kind) = keys.key_row_of(*slot);
                let body = inline_body(&self.keys[&row]).expect("the row was written by a save");
                Fetched::Whole(Value::read(kind, body).expect("the value was written by a save"))
            }
        }
    }
}

impl Bench {
    /// Saves everything and lets it leave memory.
    pub fn cool(&mut self) {
        let last = self.lsn;
        self.keys.begin_turn(self.now_ms);
        while let Some(mut save) = self.keys.capture(last, u64::MAX, 1 << 20) {
            for chunk in save.spills.iter().flat_map(|spill| &spill.chunks) {
                self.host.disk.chunks.insert(chunk.at.id.0, chunk.body.clone());
            }
            for write in save.take_writes() {
                if let Write::Put { space: Space::Keys, key, value } = write {
                    self.host.disk.keys.insert(key, value);
                }
            }
            self.keys.committed(save);
        }
        self.keys.memory.budget.evict_all = true;
        assert!(self.keys.relieve().is_none(), "everything was saved");
        self.keys.memory.budget.evict_all = false;
    }

    /// Runs one request line as a turn does: queued in a transaction, and again after each fetch.
    pub fn send(&mut self, line: &str) -> Reply {
        self.send_counting(line).0
    }

    /// As [`send`](Self::send); answers also how much each fetch brought in.
    pub fn send_counting(&mut self, line: &str) -> (Reply, Vec<usize>) {
        let request = split_words(line.as_bytes()).expect("the line's quotes are balanced");
        self.send_request(&request)
    }

    /// As [`send_counting`](Self::send_counting), of a request.
    pub fn send_request(&mut self, request: &[Bytes]) -> (Reply, Vec<usize>) {
        let found = find(request);
        if self.session.transaction.is_some() && !found.as_ref().is_ok_and(|command| is_immediate(command)) {
            return (queue_in_transaction(&mut self.session, request, found), Vec::new());
        }
        let mut fetches = Vec::new();
        loop {
            match self.request(request) {
                Ok(reply) => return (reply, fetches),
                Err(Stop::Error(error)) => return (error.into(), fetches),
                Err(Stop::Fetch(missing)) => {
                    fetches.push(missing.len());
                    for wanted in &missing {
                        let fetched = self.host.disk.read(&self.keys, wanted);
                        self.keys.install(wanted, fetched);
                    }
                }
                Err(stop) => panic!("{request:?}: {stop:?}"),
            }
        }
    }

    /// Lets another client act.
    pub fn as_other(&mut self, act: impl FnOnce(&mut Bench)) {
        let other = Session::new(self.session.id + 1, Peer::default(), self.session.connected_at);
        let own = std::mem::replace(&mut self.session, other);
        act(self);
        self.session = own;
    }
}
