//! The one owner of the data: sessions, keyspace, log and store behind one function, [`Shard::turn`].

mod background;
mod checkpoint;
mod client;
pub mod directory;
mod figures;
mod house;
mod indexer;
pub mod info;
mod open;
mod progress;
mod pubsub;
mod room;
mod sweeper;
#[cfg(test)]
mod tests;
mod turn;
mod waiters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;

use crate::clock::Now;
use crate::keyspace::{Keyspace, Missing};
use crate::log::Lsn;
use crate::resp::Error;
use crate::sched::Scheduler;
use crate::session::Session;
pub use crate::session::{ClientId, Peer};

use self::checkpoint::Checkpoints;
use self::house::{House, OnSettings};

/// How often the page of metrics is made anew, while something happens.
const PAGE_EVERY: Duration = Duration::from_secs(1);

/// What the server hands to a turn.
#[derive(Debug)]
pub enum Input {
    Connected {
        client: ClientId,
        peer: Peer,
    },
    /// Whole requests, in the order in which they came; `requests[i][0]` is the command's name.
    Requests {
        client: ClientId,
        requests: Vec<Vec<Bytes>>,
    },
    /// The bytes after the last request are no RESP: the error is answered after what came before, then it is closed.
    Malformed {
        client: ClientId,
        error: Error,
    },
    /// The client sends nothing more, but may still read, as `printf … | nc` does. What it sent runs, until something
    /// of it would wait: then, or when all has run, the shard closes it by an [`Outgoing`] and forgets it. A client that
    /// is parked already is closed at once.
    Ended {
        client: ClientId,
    },
    /// The connection is gone: whatever it sent and did not run is dropped.
    Closed {
        client: ClientId,
    },
    /// SIGTERM or SIGINT.
    Terminate,
}

/// What a turn wants written to one connection. There is one for every client that had input in this turn or whose
/// `waiting_requests` changed, even if nothing is to be written: by it the server knows that it may read on.
#[derive(Debug)]
pub struct Outgoing {
    pub client: ClientId,
    pub bytes: Vec<u8>,
    /// Close the connection once the bytes are written. The shard has forgotten the client; no `Closed` will follow, and
    /// input of it that was on its way is to be ignored.
    pub close: bool,
    /// How many of the client's requests have not run yet, a parked one included; the server stops reading from it at
    /// a limit, and does not take it for idle while there are any.
    pub waiting_requests: usize,
    /// The client is subscribed to something: it may be silent for any time, and has to read what it is sent.
    pub subscribed: bool,
}

/// What the server knows of sockets and the shard has to ask.
pub trait Sockets {
    /// Tells whether the client is known to have hung up; looked at right before it is given a job.
    fn hung_up(&self, client: ClientId) -> bool;
}

/// How a turn ended.
#[derive(Debug, Default)]
pub struct Turned {
    /// When `turn` wants to be called again even without input, on the monotonic clock.
    pub wake_at: Option<Duration>,
    /// More requests are ready than one turn takes: look at the sockets, then call again at once.
    pub more: bool,
    /// The process ends with this code, after the replies are written.
    pub exit: Option<i32>,
}

/// See the module.
pub struct Shard {
    keys: Keyspace,
    /// The rules, and what follows from them.
    jobs: Scheduler,
    house: House,
    /// For what the server does of its own accord.
    own_session: Session,
    /// How often sets that pause queues had changed when it was looked at last.
    paused_seen: u64,
    random: StdRng,
    /// Which client waits for what was asked of the threads under a number.
    fetching: BTreeMap<u64, ClientId>,
    /// What is being read, and under which numbers it is waited for: the first asked for it. Many clients want the same at
    /// once, such as the chunk that the next jobs are in, and each would read a copy of its own.
    shared_loads: BTreeMap<Missing, Vec<u64>>,
    checkpoints: Checkpoints,
    /// The log found no room on the disk: nothing runs and no reply leaves until it does.
    stuck: bool,
    exit: Option<i32>,
    /// Requests that this turn has run.
    requests_run: u64,
    /// When it began.
    now: Now,
    /// When the page of metrics is made anew.
    page_due: Duration,
    /// The last frame that it tells of.
    page_lsn: Lsn,
}

impl Shard {
    /// Sets what background threads call when they have something for the next turn; any thread, any time.
    pub fn set_waker(&mut self, wake: Arc<dyn Fn() + Send + Sync>) {
        self.house.log().set_on_durable(wake.clone());
        self.house.background.set_waker(wake);
    }

    /// Sets who hears of what CONFIG SET changes.
    pub fn set_on_settings(&mut self, tell: OnSettings) {
        tell(&self.house.settings);
        self.house.on_settings = Some(tell);
    }

    /// Takes back a reply buffer that has been written, so that its memory is used again.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        self.house.recycle(bytes);
    }

    /// Notes how long the last turn ran, and how long it took until its replies were written.
    pub fn note_time(&mut self, turn: Duration, written: Duration) {
        let requests = std::mem::take(&mut self.requests_run);
        self.house.metrics.turn_time.record(turn.as_micros() as u64);
        self.house.metrics.request_time.record_many(written.as_micros() as u64, requests);
    }

    /// Brings the gauges up to date.
    fn measure(&mut self, now: Now) {
        self.house.metrics.keys_expired.add(self.keys.counts.take_expired_keys());
        let (metrics, memory) = (&self.house.metrics, &self.keys.memory);
        metrics.tick(now.mono);
        metrics.connected_clients.set(self.house.clients.len() as u64);
        metrics.blocked_clients.set(self.house.waiters.len() as u64);
        // What is being spilled or was read ahead is in the lists' account as well, and must not be shown twice.
        let elsewhere = memory.spilling_bytes + memory.ahead_bytes;
        metrics.memory_objects_bytes.set(memory.objects_bytes().saturating_sub(elsewhere) as u64);
        metrics.memory_spills_bytes.set(memory.spilling_bytes as u64);
        metrics.memory_prefetch_bytes.set(memory.ahead_bytes as u64);
        metrics.memory_peak_bytes.raise(metrics.memory_bytes());
        metrics.pubsub_channels.set(self.house.pubsub.channel_count() as u64);
        metrics.pubsub_patterns.set(self.house.pubsub.pattern_count() as u64);
        metrics.cold_chunks.set(memory.cold as u64);
        metrics.log_lsn.set(self.house.last_lsn);
        metrics.log_effects.set(self.checkpoints.replay.effects(self.keys.counts.effects));
        if let Some(log) = &self.house.log {
            metrics.log_bytes.set(log.bytes());
            metrics.log_durable_lsn.set(log.durable());
        }
        if metrics.page.is_wanted() && now.mono >= self.page_due {
            metrics.page.show(figures::page(&self.keys, &self.jobs));
            self.page_due = now.mono + PAGE_EVERY;
            self.page_lsn = self.house.last_lsn;
        }
    }

    /// The page tells of everything once nothing happens any more.
    fn page_wakes_at(&self) -> Option<Duration> {
        let is_old = self.house.metrics.page.is_wanted() && self.page_lsn != self.house.last_lsn;
        is_old.then_some(self.page_due)
    }
}
