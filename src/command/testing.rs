//! A keyspace with a session and a host that only has settings, so that a test can say `run("SET a 1")` and look at the
//! reply.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::clock::Now;
use crate::keyspace::chunk::Chunk;
use crate::keyspace::list::ChunkAt;
use crate::keyspace::{Budget, Keyspace, Missing, ObjectId, Sizes};
use crate::metrics::Metrics;
use crate::resp::{Error, Protocol, Reply, encode, split_words};
use crate::script::Engine;
use crate::session::{ClientId, Peer, Session};
use crate::settings::{Profile, Settings};

use super::{Context, Host, Stop, Within, run};

/// The time at which a test begins.
pub const START_MS: u64 = 1_700_000_000_000;

/// See the module.
pub struct Bench {
    pub keys: Keyspace,
    pub session: Session,
    pub host: FakeHost,
    pub random: StdRng,
    pub within: Within,
    pub now_ms: u64,
    /// The frames that were written so far.
    pub frames: Vec<Vec<u8>>,
    lsn: u64,
}

impl Default for Bench {
    fn default() -> Bench {
        let sizes =
            Sizes { chunk_bytes: 64 << 10, inline_bytes_max: 4 << 10, piece_bytes: 64 << 10, prefetch_bytes: 0 };
        let budget = Budget { objects_bytes: 64 << 20, spills_bytes: 64 << 20, batch_bytes: 8 << 20, evict_all: false };
        let settings = Settings::defaults(Profile::Ordinary);
        Bench {
            keys: Keyspace::new(16, sizes, budget),
            session: Session::new(1, Peer::default(), Duration::ZERO),
            host: FakeHost { settings, metrics: Metrics::default(), engine: None },
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
        self.lsn += 1;
        self.keys.begin_turn(self.now_ms);
        self.keys.begin(self.lsn, self.session.database);
        let now = Now { wall_us: self.now_ms * 1000, mono: Duration::from_millis(self.now_ms - START_MS) };
        let mut context = Context {
            now,
            keys: &mut self.keys,
            session: &mut self.session,
            host: &mut self.host,
            random: &mut self.random,
            within: self.within,
        };
        let outcome = run(&mut context, request);
        let frame = std::mem::take(self.keys.frame());
        if !frame.is_empty() {
            self.frames.push(frame);
        }
        outcome
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

/// A host that answers for nothing but settings, metrics and the script engine.
pub struct FakeHost {
    pub settings: Settings,
    pub metrics: Metrics,
    pub engine: Option<Box<Engine>>,
}

impl Host for FakeHost {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn configure(&mut self, _pairs: &[(&[u8], &[u8])]) -> Result<(), Error> {
        Ok(())
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn info(&self, _keys: &Keyspace, _session: &Session, _sections: &[String]) -> String {
        String::new()
    }

    fn sessions(&self) -> Vec<&Session> {
        Vec::new()
    }

    fn kill(&mut self, _client: ClientId) -> bool {
        false
    }

    fn unblock(&mut self, _client: ClientId, _with_error: bool) -> bool {
        false
    }

    fn publish(&mut self, _caller: &Session, _channel: &[u8], _message: &[u8]) -> i64 {
        0
    }

    fn listen(&mut self, _client: ClientId, _name: &Bytes, _pattern: bool, _on: bool) {}

    fn channels(&self) -> Vec<(Bytes, usize)> {
        Vec::new()
    }

    fn pattern_count(&self) -> usize {
        0
    }

    fn take_engine(&mut self) -> Option<Box<Engine>> {
        self.engine.take()
    }

    fn put_engine(&mut self, engine: Box<Engine>) {
        self.engine = Some(engine);
    }

    fn script_interrupted(&mut self, _has_written: bool) -> bool {
        false
    }

    fn fetch_now(&mut self, _keys: &mut Keyspace, _missing: &[Missing]) -> Result<(), Error> {
        Err(Error::new("ERR nothing is on disk in this test"))
    }

    fn load_chunk(&mut self, _object: ObjectId, _at: ChunkAt) -> Result<Arc<Chunk>, Error> {
        Err(Error::new("ERR nothing is on disk in this test"))
    }

    fn shut_down(&mut self) {}

    fn sleep(&mut self, _time: Duration) {}
}
