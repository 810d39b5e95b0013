//! Differential test: the same random commands on Millpond and on a real Redis give the same replies.
//!
//! - `MILLPOND_TEST_DIFF_COMMANDS` how many commands (20,000; 100,000 in full)
//! - `MILLPOND_TEST_DIFF_SEED` the seed, printed by every run; both profiles get the same commands from it
//! - `MILLPOND_TEST_DIFF_MISMATCHES` how many differences are collected before giving up (10)
//! - `MILLPOND_TEST_SERVER=redis-server` compares Redis with itself, which tests the generator

pub mod compare;
pub mod differences;
pub mod generator;
pub mod introspection;
pub mod pair;
mod waiters;

use crate::harness::{self, Protocol, Server};
use generator::Generator;
use pair::{Pair, Tally};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

/// Millpond in the tiny profile is killed and started again after so many commands.
const COMMANDS_PER_LIFE: u64 = 5_000;
/// More would mean that the generator mostly asks for what is not there.
const NIL_OR_ERROR_SHARE_MAX: f64 = 0.40;
/// What empties the servers is rare, so that the others find something: so many commands meet it too.
const RARE: [&str; 2] = ["FLUSHALL", "FLUSHDB"];
const COMMANDS_FOR_RARE: u64 = 100_000;
/// So many commands meet all the others.
const COMMANDS_FOR_ALL: u64 = 20_000;
/// Counters of the paths that ordinary sizes never take in a short run.
const PATHS: [&str; 7] = ["spills", "cold_chunks", "fetches", "walks", "reruns", "checkpoints", "replayed_ops"];

/// Commands that are never sent, each with the reason. Every other command that Millpond lists is.
const NEVER_SENT: &[(&str, &[&str])] = &[
    (
        "tells of the server, not of the data: their examples are compared",
        &[
            "ACL",
            "BGREWRITEAOF",
            "BGSAVE",
            "CLIENT",
            "COMMAND",
            "CONFIG",
            "FUNCTION",
            "INFO",
            "LASTSAVE",
            "LATENCY",
            "MEMORY",
            "MODULE",
            "REPLICAOF",
            "ROLE",
            "SAVE",
            "SLAVEOF",
            "SLOWLOG",
            "TIME",
        ],
    ),
    ("changes or ends the connection or the server", &["AUTH", "DEBUG", "HELLO", "QUIT", "RESET", "SHUTDOWN"]),
    ("is answered by messages without a request", &["PSUBSCRIBE", "PUNSUBSCRIBE", "SUBSCRIBE", "UNSUBSCRIBE"]),
    ("tells an encoding, which in Redis depends on what the value was before", &["OBJECT"]),
];

#[test]
fn random_commands_get_the_replies_that_redis_gives() {
    check(&["--appendfsync", "everysec"], None);
}

#[test]
fn random_commands_get_the_replies_that_redis_gives_from_the_cold_store_and_across_crashes() {
    check(&["--appendfsync", harness::kill_safe("everysec"), "--profile", "tiny"], Some(COMMANDS_PER_LIFE));
}

fn check(flags: &[&str], commands_per_life: Option<u64>) {
    if !harness::redis_or_explain() {
        return;
    }
    let seed = seed();
    let commands = harness::size_from_environment("MILLPOND_TEST_DIFF_COMMANDS", 20_000);
    let mismatches_max = harness::size_from_environment("MILLPOND_TEST_DIFF_MISMATCHES", 10) as usize;
    print!("deliberate differences from Redis 7.0:\n{}", differences::describe());

    let mut run = Run::start(flags);
    let mut generator = Generator::new(seed);
    let mut tally = Tally::default();
    let mut mismatches = Vec::new();
    let mut killed_at = 0;
    while tally.commands < commands {
        let plan = generator.plan();
        let mut outcome = run.step(generator.connection(), &plan, &mut tally);
        if outcome.is_ok() && commands_per_life.is_some_and(|life| tally.commands >= killed_at + life) {
            killed_at = tally.commands;
            run.crash();
            outcome = run.compare_everything().map_err(|why| format!("after kill -9 and restart: {why}"));
        }
        if let Err(why) = outcome {
            let recent = tally.recent.iter().cloned().collect::<Vec<_>>().join("\n    ");
            println!("MISMATCH {} after {} commands: {why}\n  recent:\n    {recent}", mismatches.len(), tally.commands);
            mismatches.push(why);
            assert!(mismatches.len() < mismatches_max, "seed {seed}: {} differences, see above", mismatches.len());
            run.begin_anew();
        }
    }
    if let Err(why) = run.compare_everything() {
        mismatches.push(why);
    }
    assert!(mismatches.is_empty(), "seed {seed}: {} differences:\n{}", mismatches.len(), mismatches.join("\n"));

    let share = tally.nil_or_error as f64 / tally.commands as f64;
    println!(
        "{} commands, {} kinds, {:.1} % nil or error, seed {seed}",
        tally.commands,
        tally.by_name.len(),
        share * 100.0
    );
    let mut unsent = never_sent_without_reason(&mut run.millpond.client(), &tally);
    unsent.retain(|name| commands >= COMMANDS_FOR_RARE || !RARE.contains(&&**name));
    // Redis has more commands than are meant here.
    unsent.retain(|_| !harness::is_stand_in());
    assert!(unsent.is_empty() || commands < COMMANDS_FOR_ALL, "the generator never sent these: {unsent:?}");
    assert!(share < NIL_OR_ERROR_SHARE_MAX, "{:.1} % of the replies are nil or errors", share * 100.0);
    if commands_per_life.is_some() && !harness::is_stand_in() {
        run.collect_counters();
        let taken = PATHS.map(|path| format!("{path}={}", run.counters.get(path).copied().unwrap_or_default()));
        println!("paths taken: {}", taken.join(" "));
        for path in PATHS {
            let count = run.counters.get(path).copied();
            assert!(count.is_some_and(|count| count > 0), "the run never took the path {path:?}: {count:?}");
        }
    }
}

/// The commands that the server lists, that were not met, and that have no reason to be missing.
fn never_sent_without_reason(client: &mut harness::Client, tally: &Tally) -> BTreeSet<String> {
    let listed = client.line("COMMAND LIST");
    let names = listed.items().iter().map(|name| name.text().to_uppercase());
    let first_words = names.map(|name| name.split('|').next().unwrap_or_default().to_owned());
    let excused = |name: &str| introspection::is_own(name) || NEVER_SENT.iter().any(|(_, names)| names.contains(&name));
    first_words.filter(|name| !tally.by_name.contains_key(name) && !excused(name)).collect()
}

/// The seed of all runs of this process, so that the same commands go to the ordinary and to the tiny profile.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| harness::seed_from_environment("MILLPOND_TEST_DIFF_SEED"))
}

/// Both servers, and a connection of each protocol to both.
struct Run {
    millpond: Server,
    redis: Server,
    pairs: [Pair; 2],
    /// INFO's counters, summed over the lives of the server.
    counters: BTreeMap<String, u64>,
}

impl Run {
    fn start(flags: &[&str]) -> Run {
        let millpond = Server::millpond(flags);
        let redis = Server::redis(&["--appendfsync", "no"]);
        let pairs = connect(&millpond, &redis);
        Run { millpond, redis, pairs, counters: BTreeMap::new() }
    }

    fn step(&mut self, connection: usize, plan: &generator::Plan, tally: &mut Tally) -> pair::Outcome {
        let [first, second] = &mut self.pairs;
        if connection == 0 { first.run(plan, second, tally) } else { second.run(plan, first, tally) }
    }

    fn compare_everything(&mut self) -> pair::Outcome {
        self.pairs.iter_mut().try_for_each(Pair::compare_everything)
    }

    /// Kills Millpond and starts it again; Redis' clients begin anew as well, so that both have forgotten their state.
    fn crash(&mut self) {
        self.collect_counters();
        self.millpond.crash_and_restart();
        self.pairs = connect(&self.millpond, &self.redis);
    }

    /// Empties both servers, so that one difference does not cause the next.
    fn begin_anew(&mut self) {
        self.pairs = connect(&self.millpond, &self.redis);
        self.pairs[0].both(&["FLUSHALL"]);
    }

    fn collect_counters(&mut self) {
        for (name, value) in self.millpond.client().info("millpond") {
            if let Ok(count) = value.parse::<u64>() {
                *self.counters.entry(name).or_default() += count;
            }
        }
    }
}

fn connect(millpond: &Server, redis: &Server) -> [Pair; 2] {
    [Protocol::Resp2, Protocol::Resp3].map(|protocol| Pair::connect(millpond, redis, protocol))
}
