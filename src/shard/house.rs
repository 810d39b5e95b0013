//! What stands around the data: clients, settings, messages, scripts, log and threads; the [`Host`] of all commands.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Clock;
use crate::command::job::count::Count;
use crate::command::{Host, SweepState};
use crate::keyspace::chunk::Chunk;
use crate::keyspace::list::ChunkAt;
use crate::keyspace::recovery::Fetched;
use crate::keyspace::{Keyspace, Missing};
use crate::log::{FrameBuffer, Log, Lsn};
use crate::metrics::Metrics;
use crate::resp::{Error, Reply};
use crate::sched::Scheduler;
use crate::script::Engine;
use crate::session::{ClientId, Session};
use crate::settings::{AppendFsync, Settings};

use super::background::{self, Background, Done};
use super::client::{Client, State};
use super::info;
use super::pubsub::PubSub;
use super::sweeper::Sweeper;
use super::waiters::Waiters;

/// Reply buffers that are kept for the next turn.
const FREE_BUFFERS_MAX: usize = 256;
/// A larger one gives its memory back.
const FREE_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Is told what CONFIG SET changed.
pub type OnSettings = Box<dyn Fn(&Settings) + Send>;

/// See the module.
pub struct House {
    pub settings: Settings,
    /// CONFIG SET has changed them since the shard looked.
    pub reconfigured: bool,
    pub on_settings: Option<OnSettings>,
    pub metrics: Arc<Metrics>,
    pub clients: BTreeMap<ClientId, Client>,
    /// Clients whose requests may run, in turn.
    pub queue: VecDeque<ClientId>,
    /// Clients of which the server is to hear at the end of the turn.
    pub touched: Vec<ClientId>,
    /// Clients whose replies wait for a sync.
    pub gated: BTreeSet<ClientId>,
    /// Clients whose command waits until the store has caught up.
    pub held: BTreeSet<ClientId>,
    pub walking: BTreeSet<ClientId>,
    pub sweeper: Sweeper,
    pub waiters: Waiters,
    pub pubsub: PubSub,
    pub engine: Option<Box<Engine>>,
    pub log: Option<Log>,
    pub buffer: FrameBuffer,
    pub background: Background,
    /// Answers of threads that came while something was read on the spot.
    pub early: VecDeque<Done>,
    pub next_token: u64,
    pub free: Vec<Vec<u8>>,
    /// The last frame whose effects are in memory.
    pub last_lsn: Lsn,
    pub stopping: bool,
    pub clock: Clock,
    pub started: Duration,
    pub script_began: Option<Duration>,
    pub identity: info::Identity,
}

impl House {
    /// Puts a reply into a client's buffer, behind the frames that it speaks of.
    pub fn answer(&mut self, session: &Session, reply: &Reply, gate: Lsn) {
        let Some(client) = self.clients.get_mut(&session.id) else { return };
        let gate = if self.settings.appendfsync == AppendFsync::Always { gate } else { 0 };
        if let Reply::Error(_) = reply {
            self.metrics.error_replies.count();
        }
        client.reply(reply, session.protocol, gate, &mut self.free);
        touch(client, session.id, &mut self.touched);
    }

    /// Lets the server hear of a client at the end of the turn.
    pub fn touch(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            touch(client, id, &mut self.touched);
        }
    }

    /// Lets a client's pending requests run.
    pub fn enqueue(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id)
            && !client.queued
        {
            client.queued = true;
            self.queue.push_back(id);
        }
    }

    /// Keeps a buffer for later.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.free.len() < FREE_BUFFERS_MAX && bytes.capacity() <= FREE_BUFFER_BYTES_MAX && bytes.capacity() > 0 {
            bytes.clear();
            self.free.push(bytes);
        }
    }

    pub fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("the log is open until the shard ends")
    }

    /// A number for something that is asked of the threads.
    pub fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn session_of(client: &Client) -> Option<&Session> {
        client.session.as_deref()
    }
}

fn touch(client: &mut Client, id: ClientId, touched: &mut Vec<ClientId>) {
    if !client.touched {
        client.touched = true;
        touched.push(id);
    }
}

impl Host for House {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn configure(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error> {
        self.settings.config_set(pairs).map_err(Error::new)?;
        self.reconfigured = true;
        if let Some(tell) = &self.on_settings {
            tell(&self.settings);
        }
        Ok(())
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn info(&self, keys: &Keyspace, jobs: &Scheduler, sections: &[String]) -> String {
        let engine = self.engine.as_deref();
        let store = self.background.store().memory();
        let lua_bytes = engine.map_or(0, Engine::memory_bytes);
        let script_sources_bytes = engine.map_or(0, Engine::sources_bytes);
        self.metrics.memory_cache_bytes.set(store.cache_bytes);
        self.metrics.memory_fixed_bytes.set(store.buffer_bytes + (lua_bytes + script_sources_bytes) as u64);
        self.metrics.memory_peak_bytes.raise(self.metrics.memory_bytes());
        let facts = info::Facts {
            identity: &self.identity,
            now: self.clock.now(),
            uptime: self.clock.now().mono.saturating_sub(self.started),
            usage: info::Usage::read(),
            scripts: engine.map_or(0, Engine::len),
            script_sources_bytes,
            lua_bytes,
            log_is_well: self.log.as_ref().is_some_and(|log| log.failed().is_none()),
        };
        info::text(&self.settings, &self.metrics, &facts, (keys, jobs), sections)
    }

    fn sessions(&self) -> Vec<&Session> {
        self.clients.values().filter_map(House::session_of).collect()
    }

    fn kill(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        if let Some(session) = &mut client.session {
            session.closing = true;
        }
        client.drop_requests();
        self.touch(id);
        true
    }

    fn unblock(&mut self, id: ClientId, with_error: bool) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return false };
        let State::Parked(parked) = &mut client.state else { return false };
        // It is over at once: the turn looks for those whose time has come before it ends.
        let (keys, until) = (parked.wait.keys.clone(), parked.wait.until);
        let (place, database) = (parked.place, parked.database);
        if with_error {
            let text = "UNBLOCKED client unblocked via CLIENT UNBLOCK";
            parked.wait.timed_out = Reply::Error(Error::constant(text));
        }
        parked.wait.until = Some(Duration::ZERO);
        self.waiters.leave(id, place, database, &keys, until);
        parked.place = self.waiters.park(id, database, &keys, Some(Duration::ZERO));
        true
    }

    fn publish(&mut self, caller: &Session, channel: &[u8], message: &[u8]) -> i64 {
        let listeners = self.pubsub.listeners(channel);
        for (id, pattern) in &listeners {
            let mut push = match pattern {
                None => vec![Reply::bulk("message")],
                Some(pattern) => vec![Reply::bulk("pmessage"), Reply::Bulk(pattern.clone())],
            };
            push.extend([Reply::bulk(channel), Reply::bulk(message)]);
            let protocol = if *id == caller.id {
                caller.protocol
            } else {
                match self.clients.get(id).and_then(House::session_of) {
                    Some(session) => session.protocol,
                    None => continue,
                }
            };
            let gate = if self.settings.appendfsync == AppendFsync::Always { self.buffer.next_lsn() } else { 0 };
            if let Some(client) = self.clients.get_mut(id) {
                // What was published may rest on what was written before it, so it leaves no earlier.
                client.reply(&Reply::Push(push), protocol, gate.saturating_sub(1), &mut self.free);
                touch(client, *id, &mut self.touched);
            }
        }
        listeners.len() as i64
    }

    fn listen(&mut self, client: ClientId, name: &Bytes, pattern: bool, on: bool) {
        self.pubsub.listen(client, name, pattern, on);
    }

    fn channels(&self) -> Vec<(Bytes, usize)> {
        self.pubsub.channels()
    }

    fn pattern_count(&self) -> usize {
        self.pubsub.pattern_count()
    }

    fn take_engine(&mut self) -> Option<Box<Engine>> {
        self.script_began = Some(self.clock.now().mono);
        self.engine.take()
    }

    fn put_engine(&mut self, engine: Box<Engine>) {
        self.script_began = None;
        self.engine = Some(engine);
    }

    fn script_interrupted(&mut self, has_written: bool) -> bool {
        let limit_ms = self.settings.busy_reply_threshold_ms;
        let Some(began) = self.script_began.filter(|_| limit_ms > 0 && !has_written) else { return false };
        self.clock.now().mono.saturating_sub(began) > Duration::from_millis(limit_ms)
    }

    fn fetch_now(&mut self, keys: &mut Keyspace, missing: &[Missing]) -> Result<(), Error> {
        for wanted in missing {
            self.metrics.spot_reads.count();
            let fetched = self.read_now(wanted, row_of(keys, wanted).as_ref())?;
            keys.install(wanted, fetched);
        }
        Ok(())
    }

    fn load_chunk(&mut self, object: u64, at: ChunkAt) -> Result<Arc<Chunk>, Error> {
        self.metrics.spot_reads.count();
        match self.read_now(&Missing::Chunk { object, slot: 0, at }, None)? {
            Fetched::Chunk(chunk) => Ok(chunk),
            Fetched::Whole(_) => unreachable!("a chunk is fetched as a chunk"),
        }
    }

    fn sweep_of(&self, database: usize, rule: u64) -> SweepState {
        self.sweeper.state(database, rule)
    }

    fn begin_count(&mut self, count: Count) {
        self.sweeper.begin_count(count);
    }

    fn count_of(&self, database: usize, name: &str) -> Option<&Count> {
        self.sweeper.count_of(database, name)
    }

    fn shut_down(&mut self) {
        self.stopping = true;
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

impl House {
    fn read_now(
        &mut self,
        missing: &Missing,
        row: Option<&(Vec<u8>, crate::keyspace::Kind)>,
    ) -> Result<Fetched, Error> {
        let store = self.background.store().clone();
        match background::fetch(&*store, missing, row) {
            Ok(Some(fetched)) => Ok(fetched),
            Ok(None) => Err(Error::constant("ERR the stored data of this key is missing; see the server's log")),
            Err(reason) => {
                tracing::error!(%reason, "stored data cannot be read");
                Err(Error::new(format!("ERR the stored data of this key cannot be read: {reason}")))
            }
        }
    }
}

/// The row of a whole value's key, for who reads it.
pub fn row_of(keys: &Keyspace, missing: &Missing) -> Option<(Vec<u8>, crate::keyspace::Kind)> {
    match missing {
        Missing::Whole { slot, .. } => Some(keys.key_row_of(*slot)),
        Missing::Chunk { .. } => None,
    }
}
