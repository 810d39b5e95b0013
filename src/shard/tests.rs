//! The shard stepped by hand: the test says which time it is and who has hung up. Log and store are real.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::metrics::Section;
use crate::resp::split_words;
use crate::settings::{AppendFsync, Profile, Settings, Whom};

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
    directory: tempfile::TempDir,
}

/// Clients that have hung up without the server's knowing.
#[derive(Default)]
struct Gone(RefCell<BTreeSet<ClientId>>);

impl Sockets for Gone {
    fn hung_up(&self, client: ClientId) -> bool {
        self.0.borrow().contains(&client)
    }
}

/// A way in which a client goes.
type Leaving = fn(&mut Stepped, ClientId);

impl Stepped {
    fn start(change: impl FnOnce(&mut Settings)) -> Stepped {
        let directory = tempfile::tempdir().expect("a directory for the data");
        let mut settings = Settings::defaults(Profile::Tiny);
        settings.dir = directory.path().to_owned();
        change(&mut settings);
        Stepped::open(settings, directory)
    }

    /// Ends as a crash of the process would, and starts again.
    fn restart(self) -> Stepped {
        let Stepped { shard, directory, .. } = self;
        let settings = shard.house.settings.clone();
        drop(shard);
        Stepped::open(settings, directory)
    }

    fn open(settings: Settings, directory: tempfile::TempDir) -> Stepped {
        Stepped {
            shard: Shard::open(settings, Clock::start(), Arc::default()).expect("the directory opens"),
            time: Duration::ZERO,
            inputs: VecDeque::new(),
            sockets: Gone::default(),
            next_client: 1,
            replies: BTreeMap::new(),
            closed: BTreeSet::new(),
            directory,
        }
    }

    fn connect(&mut self) -> ClientId {
        self.connect_from(Peer::default())
    }

    fn connect_from(&mut self, peer: Peer) -> ClientId {
        let client = self.next_client;
        self.next_client += 1;
        self.inputs.push_back(Input::Connected { client, peer });
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

    fn pass_ms(&mut self, ms: u64) {
        self.time += Duration::from_millis(ms);
    }

    /// As if more had come than the store could take so far.
    fn fall_behind(&mut self) {
        self.shard.keys.memory.dying_bytes += BEHIND_BYTES;
        assert!(self.shard.keys.memory.is_behind());
    }

    fn catch_up(&mut self) {
        self.shard.keys.memory.dying_bytes -= BEHIND_BYTES;
        assert!(!self.shard.keys.memory.is_behind());
    }

    /// A figure of INFO.
    fn figure(&self, field: &str) -> u64 {
        let info = self.shard.house.metrics.info(Section::Millpond);
        let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{field} is in {info}")).parse().expect("a number")
    }

    fn is_durable(&self) -> bool {
        let log = self.shard.house.log.as_ref().expect("the log is open");
        log.durable() >= self.shard.house.last_lsn
    }
}

/// More than objects and spills of the tiny profile may take.
const BEHIND_BYTES: usize = 1 << 20;
/// More keys than the tiny profile has memory for.
const KEYS_MAX: usize = 20_000;

const OK: &str = "+OK\r\n";
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

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
fn a_checkpoint_begins_when_there_are_many_effects_to_replay_however_few_the_frames() {
    let mut shard = Stepped::start(|settings| {
        settings.limits.checkpoint_commands = None;
        settings.limits.log_ops_max = 2000;
    });
    let client = shard.connect();
    // Each makes a key and gives it its value.
    let transaction = |shard: &mut Stepped, first: usize| {
        let sets: Vec<String> = (first..first + 400).map(|n| format!("SET key:{n} x")).collect();
        let lines: Vec<&str> = ["MULTI"].into_iter().chain(sets.iter().map(String::as_str)).chain(["EXEC"]).collect();
        shard.send(client, &lines);
        shard.turn();
    };
    transaction(&mut shard, 0);
    for _ in 0..100 {
        shard.turn();
    }
    assert_eq!((shard.figure("log_frames"), shard.figure("log_effects")), (1, 800));
    assert_eq!(shard.figure("checkpoints"), 0, "a thousand effects are half of what may be");

    let mut shard = shard.restart();
    shard.connect();
    assert_eq!((shard.figure("replayed_ops"), shard.figure("log_effects")), (800, 800));
    transaction(&mut shard, 400);
    shard.until(|shard| shard.figure("checkpoints") > 0);
    assert_eq!(shard.figure("log_effects"), 0);

    let mut shard = shard.restart();
    shard.turn();
    assert_eq!(shard.figure("replayed_ops"), 0);
    assert_eq!(shard.shard.keys.counts(0), (800, 0));
}

#[test]
fn a_queue_that_is_empty_again_leaves_nothing_to_replay() {
    let mut shard = Stepped::start(|settings| settings.limits.checkpoint_commands = None);
    let client = shard.connect();
    for _ in 0..100 {
        shard.send(client, &["RPUSH q job", "LPOP q"]);
        shard.turn();
    }
    shard.pass_ms(10_000);
    shard.until(|shard| shard.figure("checkpoints") > 0);
    assert_eq!(shard.figure("log_effects"), 0);
    let mut shard = shard.restart();
    shard.turn();
    assert_eq!(shard.figure("replayed_ops"), 0);
}

#[test]
fn debug_is_for_those_whom_enable_debug_command_names() {
    let check = |whom: Whom, local_may: bool, other_may: bool| {
        let mut shard = Stepped::start(|settings| settings.enable_debug_command = whom);
        for (loopback, may) in [(true, local_may), (false, other_may)] {
            let client = shard.connect_from(Peer { loopback, ..Peer::default() });
            let told = shard.ask(client, "DEBUG SLEEP 0");
            assert_eq!(told == OK, may, "{whom:?} {loopback}: {told}");
            assert!(
                may || told.starts_with("-ERR DEBUG command not allowed. If the enable-debug-command option"),
                "{told}"
            );
            shard.send(client, &["MULTI", "DEBUG SLEEP 0", "EXEC"]);
            shard.turn();
            let told = shard.told(client);
            assert_eq!(told.contains("-EXECABORT "), !may, "{whom:?} {loopback}: {told}");
        }
    };
    check(Whom::Nobody, false, false);
    check(Whom::Local, true, false);
    check(Whom::Everybody, true, true);
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

#[test]
fn a_push_waits_while_the_store_is_behind_and_what_takes_jobs_does_not() {
    let mut shard = Stepped::start(|_| {});
    let (producer, worker) = (shard.connect(), shard.connect());
    shard.ask(producer, "RPUSH q first");
    shard.fall_behind();
    shard.send(producer, &["RPUSH q second", "PING"]);
    shard.turn();
    assert_eq!(shard.told(producer), "", "what is behind the push waits with it");
    assert_eq!(shard.ask(worker, "LPOP q"), "$5\r\nfirst\r\n");
    assert_eq!(shard.ask(worker, "LPOP q"), "$-1\r\n");
    shard.catch_up();
    shard.turn();
    assert_eq!(shard.told(producer), ":1\r\n+PONG\r\n");
    assert_eq!(shard.shard.house.metrics.push_waits.get(), 1);
}

#[test]
fn a_push_that_has_waited_too_long_is_refused_in_redis_words_and_can_be_sent_again() {
    let mut shard = Stepped::start(|settings| settings.push_wait_ms = 800);
    let client = shard.connect();
    shard.fall_behind();
    assert_eq!(shard.ask(client, "RPUSH q job"), "");
    shard.pass_ms(799);
    assert!(shard.turn().wake_at.is_some(), "somebody looks again");
    assert_eq!(shard.told(client), "");
    shard.pass_ms(1);
    shard.turn();
    assert_eq!(shard.told(client), OOM);
    assert_eq!(shard.shard.house.metrics.oom_refusals.get(), 1);
    shard.catch_up();
    assert_eq!(shard.ask(client, "RPUSH q job"), ":1\r\n");
}

#[test]
fn without_push_wait_a_push_is_refused_at_once() {
    let mut shard = Stepped::start(|settings| settings.push_wait_ms = 0);
    let client = shard.connect();
    shard.fall_behind();
    assert_eq!(shard.ask(client, "RPUSH q job"), OOM);
    assert_eq!(shard.shard.house.metrics.push_waits.get(), 0);
}

#[test]
fn a_push_whose_client_has_left_meanwhile_is_dropped() {
    let ways: [(&str, Leaving); 4] = [
        ("hung up, and nobody knows", |shard, client| assert!(shard.sockets.0.borrow_mut().insert(client))),
        ("closed its side", |shard, client| shard.inputs.push_back(Input::Ended { client })),
        ("lost", |shard, client| shard.inputs.push_back(Input::Closed { client })),
        ("killed", |shard, client| {
            let other = shard.connect();
            assert_eq!(shard.wait(other, &format!("CLIENT KILL ID {client}")), ":1\r\n");
        }),
    ];
    for (how, leave) in ways {
        // Replies that wait for a sync keep a killed client there for a while.
        let mut shard = Stepped::start(|settings| settings.appendfsync = AppendFsync::Always);
        let (client, other) = (shard.connect(), shard.connect());
        assert_eq!(shard.wait(client, "RPUSH q first"), ":1\r\n");
        shard.fall_behind();
        shard.send(client, &["LPOP q", "RPUSH q second", "RPUSH q third"]);
        shard.turn();
        assert_eq!(shard.shard.house.held.len(), 1, "{how}");
        leave(&mut shard, client);
        shard.catch_up();
        shard.until(|shard| !shard.shard.house.clients.contains_key(&client));
        assert_eq!(shard.wait(other, "LLEN q"), ":0\r\n", "{how}");
        assert_eq!(shard.closed.contains(&client), how != "lost", "{how}");
        assert!(shard.shard.house.held.is_empty(), "{how}");
    }
}

#[test]
fn a_held_push_is_the_one_that_client_reply_skip_leaves_out() {
    let mut shard = Stepped::start(|_| {});
    let client = shard.connect();
    shard.fall_behind();
    shard.send(client, &["CLIENT REPLY SKIP", "RPUSH q job", "PING"]);
    shard.turn();
    shard.catch_up();
    shard.turn();
    assert_eq!(shard.told(client), "+PONG\r\n");
}

#[test]
fn a_transaction_waits_as_a_whole_and_is_over_when_it_is_refused() {
    let mut shard = Stepped::start(|_| {});
    let client = shard.connect();
    shard.send(client, &["WATCH other", "MULTI", "SET key value", "RPUSH q job"]);
    shard.turn();
    shard.told(client);
    shard.fall_behind();
    assert_eq!(shard.ask(client, "EXEC"), "");
    shard.pass_ms(800);
    shard.turn();
    assert_eq!(shard.told(client), format!("-EXECABORT Transaction discarded because of: {}", &OOM[1..]));
    shard.catch_up();
    assert_eq!(shard.ask(client, "EXISTS key q"), ":0\r\n", "neither queued nor done");

    shard.send(client, &["MULTI", "SET key value", "RPUSH q job"]);
    shard.turn();
    shard.told(client);
    shard.fall_behind();
    assert_eq!(shard.ask(client, "EXEC"), "");
    shard.catch_up();
    shard.turn();
    assert_eq!(shard.told(client), "*2\r\n+OK\r\n:1\r\n");
}

#[test]
fn where_keys_fill_their_share_lists_go_on() {
    let mut shard = Stepped::start(|_| {});
    let client = shard.connect();
    shard.ask(client, "RPUSH q a b c");
    fill_with_keys(&mut shard, client);
    for refused in ["SET key:0 x", "HSET hash field value", "SADD set member", "ZADD schedule 1 job"] {
        assert!(shard.ask(client, refused).starts_with("-OOM "), "{refused}");
    }
    for (line, reply) in [
        ("RPUSH q d", ":4\r\n"),
        ("LPUSH another a", ":1\r\n"),
        ("LMOVE q another LEFT LEFT", "$1\r\na\r\n"),
        ("ZADD retry 1 job", ":1\r\n"),
        ("EVAL \"return redis.call('rpush', 'q', 'e')\" 0", ":4\r\n"),
    ] {
        assert_eq!(shard.wait(client, line), reply, "{line}");
    }
    assert!(shard.wait(client, "EVAL \"return redis.call('set', 'k', 'v')\" 0").starts_with("-OOM "));

    shard.send(client, &["MULTI", "RPUSH q f", "LLEN q", "EXEC"]);
    shard.until(|shard| shard.replies.get(&client).is_some_and(|told| told.ends_with(b":5\r\n:5\r\n")));
    shard.told(client);
    shard.send(client, &["MULTI", "RPUSH q g", "SADD queues q", "EXEC", "LLEN q"]);
    shard.turn();
    let told = shard.told(client);
    assert!(told.contains("-EXECABORT Transaction discarded because of: OOM ") && told.ends_with(":5\r\n"), "{told}");

    shard.ask(client, "DEL key:0 key:1 key:2 key:3");
    assert_eq!(shard.wait(client, "SET key:0 x"), OK);
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
