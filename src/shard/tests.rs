//! The shard stepped by hand: the test says which time it is and who has hung up. Log and store are real.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::resp::split_words;
use crate::settings::{AppendFsync, Profile, Settings};

/// The time at which a test begins.
const START_MS: u64 = 1_700_000_000_000;
/// What the threads have not done after so many turns, they never do.
const TURNS_MAX: usize = 100_000;

/// See the module.
struct Stepped {
    shard: Shard,
    time: Duration,
    inputs: VecDeque<Input>,
    sockets: Gone,
    next_client: ClientId,
    /// What each client was told and has not been looked at.
    replies: BTreeMap<ClientId, Vec<u8>>,
    closed: BTreeSet<ClientId>,
    _directory: tempfile::TempDir,
}

/// Clients that have hung up without the server's knowing.
#[derive(Default)]
struct Gone(RefCell<BTreeSet<ClientId>>);

impl Sockets for Gone {
    fn hung_up(&self, client: ClientId) -> bool {
        self.0.borrow().contains(&client)
    }
}

impl Stepped {
    fn start(change: impl FnOnce(&mut Settings)) -> Stepped {
        let directory = tempfile::tempdir().expect("a directory for the data");
        let mut settings = Settings::defaults(Profile::Tiny);
        settings.dir = directory.path().to_owned();
        change(&mut settings);
        Stepped {
            shard: Shard::open(settings, Clock::start(), Arc::default()).expect("an empty directory opens"),
            time: Duration::ZERO,
            inputs: VecDeque::new(),
            sockets: Gone::default(),
            next_client: 1,
            replies: BTreeMap::new(),
            closed: BTreeSet::new(),
            _directory: directory,
        }
    }

    fn connect(&mut self) -> ClientId {
        let client = self.next_client;
        self.next_client += 1;
        self.inputs.push_back(Input::Connected { client, peer: Peer::default() });
        self.turn();
        client
    }

    /// Sends request lines, quoted as redis-cli takes them; they run in the next turn.
    fn send(&mut self, client: ClientId, lines: &[&str]) {
        let split = |line: &&str| split_words(line.as_bytes()).expect("the line's quotes are balanced");
        self.inputs.push_back(Input::Requests { client, requests: lines.iter().map(split).collect() });
    }

    fn turn(&mut self) -> Turned {
        let wall = Duration::from_millis(START_MS) + self.time;
        let now = Now { wall_us: wall.as_micros() as u64, mono: self.time };
        let mut outgoing = Vec::new();
        let turned = self.shard.turn(now, &mut self.inputs, &self.sockets, &mut outgoing);
        for Outgoing { client, bytes, close, .. } in outgoing {
            self.replies.entry(client).or_default().extend(bytes);
            if close {
                self.closed.insert(client);
            }
        }
        turned
    }

    /// Takes what a client was told so far.
    fn told(&mut self, client: ClientId) -> String {
        String::from_utf8_lossy(&self.replies.remove(&client).unwrap_or_default()).into_owned()
    }

    /// Sends a line and answers what the client is told in the same turn.
    fn ask(&mut self, client: ClientId, line: &str) -> String {
        self.send(client, &[line]);
        self.turn();
        self.told(client)
    }

    /// Sends a line and takes turns until the client is told something.
    fn wait(&mut self, client: ClientId, line: &str) -> String {
        self.send(client, &[line]);
        self.until(|stepped| stepped.replies.get(&client).is_some_and(|told| !told.is_empty()));
        self.told(client)
    }

    /// Takes turns until something is so.
    fn until(&mut self, so: impl Fn(&Stepped) -> bool) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if so(self) {
                return;
            }
            std::thread::yield_now();
        }
        panic!("it does not come to that");
    }

    fn is_durable(&self) -> bool {
        let log = self.shard.house.log.as_ref().expect("the log is open");
        log.durable() >= self.shard.house.last_lsn
    }
}

/// More keys than the tiny profile has memory for.
const KEYS_MAX: usize = 20_000;

const OK: &str = "+OK\r\n";

#[test]
fn replies_wait_for_a_sync_from_the_moment_that_config_set_says_so() {
    let mut shard = Stepped::start(|settings| settings.appendfsync = AppendFsync::No);
    let client = shard.connect();
    assert_eq!(shard.ask(client, "SET key one"), OK);
    assert!(!shard.is_durable(), "nobody has asked for a sync");
    // What is read now was never promised to anybody before, and is now.
    shard.send(client, &["CONFIG SET appendfsync always", "GET key"]);
    let both = format!("{OK}$3\r\none\r\n");
    shard.until(|shard| shard.replies.get(&client).is_some_and(|told| told.len() == both.len()));
    assert!(shard.is_durable());
    assert_eq!(shard.told(client), both);
    for n in 0..50 {
        assert_eq!(shard.wait(client, &format!("SET key {n}")), OK);
        assert!(shard.is_durable());
    }
}

#[test]
fn replies_no_longer_wait_when_config_set_takes_it_back_but_what_was_promised_is_kept() {
    let mut shard = Stepped::start(|settings| settings.appendfsync = AppendFsync::Always);
    let client = shard.connect();
    shard.send(client, &["SET key one", "CONFIG SET appendfsync no"]);
    let both = OK.len() * 2;
    shard.until(|shard| shard.replies.get(&client).is_some_and(|told| told.len() == both));
    assert!(shard.is_durable(), "SET was answered under always");
    shard.told(client);
    assert_eq!(shard.ask(client, "SET key two"), OK);
    assert!(!shard.is_durable());
}

#[test]
fn config_set_maxmemory_gives_room_and_takes_it_back() {
    let mut shard = Stepped::start(|_| {});
    let client = shard.connect();
    fill_with_keys(&mut shard, client);
    assert_eq!(shard.ask(client, "CONFIG SET maxmemory 2mb"), OK);
    assert_eq!(shard.ask(client, "SET one-more x"), OK);
    assert_eq!(shard.ask(client, "CONFIG SET maxmemory 1mb"), OK);
    assert!(shard.ask(client, "SET one-more x").starts_with("-OOM "));
}

/// Sets keys until there is no room for another one.
fn fill_with_keys(shard: &mut Stepped, client: ClientId) {
    for n in 0..KEYS_MAX {
        if shard.ask(client, &format!("SET key:{n} x")) != OK {
            return;
        }
    }
    panic!("{KEYS_MAX} keys fit into the memory of the tiny profile");
}
