//! A keyspace with a session and a host without a server, so that a test can say `run("SET a 1")` and look at the
//! reply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::clock::Now;
use crate::job::Queues;
use crate::keyspace::chunk::Chunk;
use crate::keyspace::list::ChunkAt;
use crate::keyspace::{Budget, Keyspace, Missing, ObjectId, Sizes};
use crate::metrics::Metrics;
use crate::resp::{Error, Protocol, Reply, encode, split_words};
use crate::sched::Scheduler;
use crate::script::Engine;
use crate::session::{ClientId, Peer, Session};
use crate::settings::{Profile, Settings};

use super::job::count::Count;
use super::job::see_workers;
use super::testing_disk::Disk;
use crate::glob;

use super::{Context, Host, Stop, SweepState, Within, find};

/// The time at which a test begins.
pub const START_MS: u64 = 1_700_000_000_000;

/// See the module.
pub struct Bench {
    pub keys: Keyspace,
    pub jobs: Scheduler,
    pub session: Session,
    pub host: FakeHost,
    pub random: StdRng,
    pub within: Within,
    pub now_ms: u64,
    /// The frames that were written so far.
    pub frames: Vec<Vec<u8>>,
    pub lsn: u64,
}

impl Default for Bench {
    fn default() -> Bench {
        let sizes =
            Sizes { chunk_bytes: 64 << 10, inline_bytes_max: 4 << 10, piece_bytes: 64 << 10, prefetch_bytes: 0 };
        let budget = Budget { objects_bytes: 64 << 20, spills_bytes: 64 << 20, batch_bytes: 8 << 20, evict_all: false };
        let settings = Settings::defaults(Profile::Ordinary);
        let mut keys = Keyspace::new(16, sizes, budget);
        keys.queues.names = Queues::parse(&settings.job_queues.join(" "), &settings.job_working_lists.join(" "));
        Bench {
            keys,
            jobs: Scheduler::default(),
            session: Session::new(1, Peer::default(), Duration::ZERO),
            host: FakeHost::new(settings),
            random: StdRng::seed_from_u64(1),
            within: Within::Nothing,
            now_ms: START_MS,
            frames: Vec::new(),
            lsn: 0,
        }
    }
}

impl Bench {
    /// Runs one request line, quoted as redis-cli takes it; an error is a reply too.
    pub fn run(&mut self, line: &str) -> Reply {
        match self.outcome(line) {
            Ok(reply) => reply,
            Err(Stop::Error(error)) => Reply::Error(error),
            Err(stop) => panic!("{line}: {stop:?}"),
        }
    }

    /// Runs one request line to however it ends.
    pub fn outcome(&mut self, line: &str) -> Result<Reply, Stop> {
        let request = split_words(line.as_bytes()).expect("the line's quotes are balanced");
        self.request(&request)
    }

    /// Runs a request.
    pub fn request(&mut self, request: &[Bytes]) -> Result<Reply, Stop> {
        self.with_context(|context| {
            let command = find(request)?;
            (command.run)(context, request)
        })
    }

    /// Does what is not asked for by a request, as one frame.
    pub fn with_context<T>(&mut self, work: impl FnOnce(&mut Context) -> T) -> T {
        self.lsn += 1;
        self.keys.begin_turn(self.now_ms);
        self.keys.begin(self.lsn, self.session.database);
        let now = Now { wall_us: self.now_ms * 1000, mono: Duration::from_millis(self.now_ms - START_MS) };
        self.keys.sightings.host = self.session.peer.host().to_owned();
        let mut context = Context {
            now,
            keys: &mut self.keys,
            jobs: &mut self.jobs,
            session: &mut self.session,
            host: &mut self.host,
            random: &mut self.random,
            within: self.within,
        };
        let done = work(&mut context);
        see_workers(&mut context).expect("what was written is in memory");
        let frame = std::mem::take(self.keys.frame());
        if !frame.is_empty() {
            self.frames.push(frame);
        }
        done
    }

    /// Runs one request line and answers the reply as RESP2 bytes, lossily as text.
    pub fn resp2(&mut self, line: &str) -> String {
        let mut bytes = Vec::new();
        encode(&self.run(line), Protocol::Resp2, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Lets time pass.
    pub fn pass_ms(&mut self, ms: u64) {
        self.now_ms += ms;
    }
}

/// A host around nothing: it keeps who listens and which other clients there are, and notes what it was asked to do.
pub struct FakeHost {
    pub settings: Settings,
    pub metrics: Metrics,
    pub engine: Option<Box<Engine>>,
    pub disk: Disk,
    /// Scripts that can be taken back are killed.
    pub interrupts: bool,
    /// In the order of their numbers.
    pub others: Vec<Session>,
    pub killed: Vec<ClientId>,
    pub counts: Vec<Count>,
    pub unblocked: Vec<(ClientId, bool)>,
    pub stopped: bool,
    pub slept: Duration,
    /// Name, and whether it is a pattern → who listens.
    listeners: BTreeMap<(Bytes, bool), BTreeSet<ClientId>>,
}

impl FakeHost {
    fn new(settings: Settings) -> FakeHost {
        FakeHost {
            settings,
            metrics: Metrics::default(),
            engine: None,
            disk: Disk::default(),
            interrupts: false,
            others: Vec::new(),
            killed: Vec::new(),
            counts: Vec::new(),
            unblocked: Vec::new(),
            stopped: false,
            slept: Duration::ZERO,
            listeners: BTreeMap::new(),
        }
    }
}

impl Host for FakeHost {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn configure(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error> {
        self.settings.config_set(pairs).map(drop).map_err(Error::new)
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn info(&self, _keys: &Keyspace, _jobs: &Scheduler, sections: &[String]) -> String {
        sections.join(" ")
    }

    fn sessions(&self) -> Vec<&Session> {
        self.others.iter().collect()
    }

    fn kill(&mut self, client: ClientId) -> bool {
        self.killed.push(client);
        self.others.iter().any(|other| other.id == client)
    }

    fn unblock(&mut self, client: ClientId, with_error: bool) -> bool {
        self.unblocked.push((client, with_error));
        self.others.iter().any(|other| other.id == client && other.blocked)
    }

    fn publish(&mut self, _caller: &Session, channel: &[u8], _message: &[u8]) -> i64 {
        let hears =
            |(name, pattern): &(Bytes, bool)| if *pattern { glob::matches(name, channel) } else { name == channel };
        self.listeners.iter().filter(|(name, _)| hears(name)).map(|(_, clients)| clients.len() as i64).sum()
    }

    fn listen(&mut self, client: ClientId, name: &Bytes, pattern: bool, on: bool) {
        let key = (name.clone(), pattern);
        let clients = self.listeners.entry(key.clone()).or_default();
        assert!(if on { clients.insert(client) } else { clients.remove(&client) }, "the host is told of changes only");
        if clients.is_empty() {
            self.listeners.remove(&key);
        }
    }

    fn channels(&self) -> Vec<(Bytes, usize)> {
        let channels = self.listeners.iter().filter(|((_, pattern), _)| !pattern);
        channels.map(|((name, _), clients)| (name.clone(), clients.len())).collect()
    }

    fn pattern_count(&self) -> usize {
        self.listeners.keys().filter(|(_, pattern)| *pattern).count()
    }

    fn take_engine(&mut self) -> Option<Box<Engine>> {
        self.engine.take()
    }

    fn put_engine(&mut self, engine: Box<Engine>) {
        self.engine = Some(engine);
    }

    fn script_interrupted(&mut self, has_written: bool) -> bool {
        self.interrupts && !has_written
    }

    fn fetch_now(&mut self, keys: &mut Keyspace, missing: &[Missing]) -> Result<(), Error> {
        for wanted in missing {
            self.disk.spot_reads += 1;
            let fetched = self.disk.read(keys, wanted);
            keys.install(wanted, fetched);
        }
        Ok(())
    }

    fn load_chunk(&mut self, _object: ObjectId, _at: ChunkAt) -> Result<Arc<Chunk>, Error> {
        Err(Error::new("ERR nothing is on disk in this test"))
    }

    fn sweep_of(&self, _database: usize, _rule: u64) -> SweepState {
        SweepState::default()
    }

    fn begin_count(&mut self, count: Count) {
        self.counts.push(count);
    }

    fn count_of(&self, database: usize, name: &str) -> Option<&Count> {
        self.counts.iter().rfind(|count| count.database == database && count.rule.name == name)
    }

    fn shut_down(&mut self) {
        self.stopped = true;
    }

    fn sleep(&mut self, time: Duration) {
        self.slept += time;
    }
}
