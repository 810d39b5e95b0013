//! Parked clients: who waits for which key, oldest first, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use crate::session::ClientId;

/// The order in which clients were parked; one that is run again in vain keeps its place.
pub type Place = u64;

/// See the module.
#[derive(Debug, Default)]
pub struct Waiters {
    next: Place,
    /// By database and key: places in order, with the client of each.
    by_key: BTreeMap<(usize, Bytes), BTreeMap<Place, ClientId>>,
    deadlines: BTreeSet<(Duration, ClientId)>,
    count: usize,
}

impl Waiters {
    /// Gives a client the next place in all its queues.
    pub fn park(&mut self, client: ClientId, database: usize, keys: &[Bytes], until: Option<Duration>) -> Place {
        let place = self.next;
        self.next += 1;
        for key in keys {
            self.by_key.entry((database, key.clone())).or_default().insert(place, client);
        }
        self.deadlines.extend(until.map(|until| (until, client)));
        self.count += 1;
        place
    }

    /// Takes a client out of all its queues.
    pub fn leave(&mut self, client: ClientId, place: Place, database: usize, keys: &[Bytes], until: Option<Duration>) {
        for key in keys {
            let name = (database, key.clone());
            if let Some(queue) = self.by_key.get_mut(&name) {
                queue.remove(&place);
                if queue.is_empty() {
                    self.by_key.remove(&name);
                }
            }
        }
        if let Some(until) = until {
            self.deadlines.remove(&(until, client));
        }
        self.count -= 1;
    }

    /// The oldest client behind a place that waits for a key.
    pub fn next_on(&self, database: usize, key: &Bytes, behind: Option<Place>) -> Option<(Place, ClientId)> {
        let queue = self.by_key.get(&(database, key.clone()))?;
        let from = behind.map_or(0, |place| place + 1);
        queue.range(from..).next().map(|(place, client)| (*place, *client))
    }

    /// All keys that somebody waits for.
    pub fn keys(&self) -> Vec<(usize, Bytes)> {
        self.by_key.keys().cloned().collect()
    }

    /// A client whose time is over.
    pub fn overdue(&self, now: Duration) -> Option<ClientId> {
        self.deadlines.first().filter(|(until, _)| *until <= now).map(|(_, client)| *client)
    }

    /// When the next client's time is over.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    pub fn len(&self) -> usize {
        self.count
    }
}
