//! Every command's declared example, run on Millpond and on a real Redis, and every command of COMMAND LIST met.
//!
//! `millpond examples` prints one JSON object a line: `{"command":"LPUSH","send":["LPUSH","k","a"]}`. Lines of one command
//! follow one another on the same data; each command begins with empty servers. In the tiny profile Millpond is killed and
//! started again again and again, between the lines of one command and between commands, and holds the same data as Redis
//! afterwards.

use crate::differential::compare;
use crate::differential::differences::SINCE_7_2;
use crate::differential::generator::How;
use crate::differential::introspection;
use crate::differential::pair::{Pair, iterate};
use crate::harness::{self, Protocol, Server, Value};
use std::collections::BTreeSet;
use std::process::Command;

/// Replies that tell of the server, the moment or the connection: only their kind is compared, unless one is an error.
const COMPARED_BY_KIND: &[(&str, &[&str])] = &[
    ("tells of the moment", &["TIME", "LASTSAVE"]),
    ("tells of this connection", &["CLIENT ID", "CLIENT INFO", "CLIENT LIST", "HELLO"]),
    ("tells of the commands and settings that there are", &["COMMAND COUNT", "COMMAND DOCS", "ACL CAT"]),
    ("is an estimate, or advice", &["MEMORY USAGE", "MEMORY DOCTOR"]),
];
/// Replies that are drawn by chance: their kind and their size are compared.
const BY_CHANCE: &[&str] = &["RANDOMKEY", "HRANDFIELD", "SPOP", "SRANDMEMBER", "ZRANDMEMBER"];
/// Replies without an order.
const UNORDERED: &[&str] = &["SMEMBERS", "KEYS", "SINTER", "SUNION", "SDIFF", "HKEYS", "HVALS"];
/// Replies that tell a time from now, in seconds or milliseconds.
const TIMES: &[&str] = &["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"];
/// Commands that end the server or the connection, or that wait: other tests run them.
const NOT_RUN_HERE: &[&str] =
    &["SHUTDOWN", "QUIT", "MONITOR", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "SYNC", "PSYNC"];
/// What a connection or the process remembers, and so forgets at a kill: the lines around these stay together.
const OF_THE_CONNECTION: &[&str] = &[
    "AUTH",
    "CLIENT",
    "CONFIG",
    "DEBUG",
    "DISCARD",
    "EVALSHA",
    "EVALSHA_RO",
    "EXEC",
    "HELLO",
    "MULTI",
    "RESET",
    "SCRIPT",
    "SELECT",
    "UNWATCH",
    "WATCH",
];
/// Millpond has no slow log, so Redis' must stay empty however busy the machine is.
const REDIS_FLAGS: &[&str] = &["--appendfsync", "no", "--slowlog-log-slower-than", "-1"];
/// In the tiny profile Millpond is killed before one line in so many.
const LINES_PER_LIFE: usize = 20;

/// One line of `millpond examples`.
struct Example {
    command: String,
    send: Vec<Vec<u8>>,
}

#[test]
fn every_declared_example_gets_the_reply_that_redis_gives_and_every_command_has_one() {
    check(&[], None);
}

#[test]
fn every_declared_example_gets_the_reply_that_redis_gives_from_the_cold_store_and_across_crashes() {
    check(&["--appendfsync", "everysec", "--profile", "tiny"], Some(LINES_PER_LIFE));
}

#[test]
fn what_came_with_7_2_is_answered_as_there() {
    if harness::is_stand_in() || !harness::redis_or_explain() {
        return;
    }
    let (millpond, redis) = (Server::millpond(&[]), Server::redis(&["--appendfsync", "no"]));
    let mut pair = Pair::connect(&millpond, &redis, Protocol::Resp2);
    pair.both(&["ZADD", "z", "1", "a", "2.5", "b"]);
    for (line, expected) in SINCE_7_2 {
        let words = line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let (ours, theirs) = pair.both(&words);
        assert_eq!(format!("{ours:?}"), *expected, "{line}");
        assert_eq!(compare::difference(&words, &How::Exact, &ours, &theirs), None, "{line}");
    }
}

fn check(flags: &[&str], lines_per_life: Option<usize>) {
    if harness::is_stand_in() || !harness::redis_or_explain() {
        return;
    }
    let examples = declared_examples();
    let mut run = Run { millpond: Server::millpond(flags), redis: Server::redis(REDIS_FLAGS), kills: 0 };
    let mut failures = Vec::new();
    let (mut lines, mut killed_at) = (0, 0);
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        for of_one_command in examples.chunk_by(|example, next| example.command == next.command) {
            let mut pair = run.connect(protocol);
            pair.both(&["FLUSHALL"]);
            // Of these Redis does nothing, so that what they leave is not compared.
            let is_about_jobs = of_one_command[0].command.starts_with("job.");
            let may_be_parted =
                !is_about_jobs && of_one_command.iter().all(|example| !OF_THE_CONNECTION.contains(&&*example.word(0)));
            for (place, example) in of_one_command.iter().enumerate() {
                lines += 1;
                let is_due = lines_per_life.is_some_and(|life| lines >= killed_at + life);
                if is_due && place > 0 && may_be_parted {
                    killed_at = lines;
                    pair = run.crash(pair, protocol, &mut failures, example);
                }
                failures.extend(compare_example(&mut pair, example));
            }
            if is_about_jobs {
                pair.both(&["FLUSHALL"]);
            }
            // What the command has left must outlive a kill as well; here the connection may have been in any state.
            if lines_per_life.is_some_and(|life| lines >= killed_at + life) {
                killed_at = lines;
                run.crash(pair, protocol, &mut failures, &of_one_command[0]);
            }
        }
    }
    assert!(failures.is_empty(), "{} examples differ:\n{}", failures.len(), failures.join("\n"));

    let met = examples.iter().map(|example| example.command.to_uppercase()).collect::<BTreeSet<_>>();
    let listed = run.millpond.client().line("COMMAND LIST");
    let missing = listed
        .items()
        .iter()
        .map(|name| name.text().to_uppercase())
        .filter(|name| !met.contains(name) && !met.iter().any(|other| other.starts_with(&format!("{name} "))))
        .collect::<Vec<_>>();
    assert!(missing.is_empty(), "no example runs these commands: {}", missing.join(" "));
    println!("{} examples of {} commands, in both protocols, {} kills", examples.len(), met.len(), run.kills);
    assert!(lines_per_life.is_none() || run.kills > 20, "{} kills", run.kills);
}

/// Both servers.
struct Run {
    millpond: Server,
    redis: Server,
    kills: usize,
}

impl Run {
    fn connect(&self, protocol: Protocol) -> Pair {
        Pair::connect(&self.millpond, &self.redis, protocol)
    }

    /// Kills Millpond, starts it again and compares all that it holds. The next pair begins anew on both servers.
    fn crash(&mut self, pair: Pair, protocol: Protocol, failures: &mut Vec<String>, at: &Example) -> Pair {
        drop(pair);
        self.kills += 1;
        self.millpond.crash_and_restart();
        let mut pair = self.connect(protocol);
        let outcome = pair.compare_everything();
        failures.extend(outcome.err().map(|why| format!("killed at an example of {}: {why}", at.command)));
        pair
    }
}

/// Asks both servers and describes how their replies differ.
fn compare_example(pair: &mut Pair, example: &Example) -> Option<String> {
    if NOT_RUN_HERE.contains(&&*example.word(0)) {
        return None;
    }
    let (ours, theirs) = pair.both(&example.send);
    if introspection::is_own(&example.word(0)) {
        // Redis knows nothing of jobs. Here they have to be answered.
        return None;
    }
    let (how, ours, theirs) = match example.cursor_place() {
        Some(place) if !ours.is_error() && !theirs.is_error() => {
            // Each server cuts an iteration where it likes: what it gives to the end is compared.
            let (before, after) = (&example.send[..place], &example.send[place + 1..]);
            let pairs = ["HSCAN", "ZSCAN"].contains(&&*example.word(0));
            let [ours, theirs] = pair.each(|client| whole_iteration(client, before, after, pairs));
            (How::Exact, ours, theirs)
        }
        _ => (example.how(), ours, theirs),
    };
    let why = compare::difference(&example.send, &how, &ours, &theirs)?;
    let line = example.send.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
    Some(format!("{:?} {line}: {why}", pair.protocol))
}

/// What an iteration from its start gives, sorted: what members and values it tells of is compared, not their order.
fn whole_iteration(client: &mut harness::Client, before: &[Vec<u8>], after: &[Vec<u8>], pairs: bool) -> Value {
    match iterate(client, before, after, pairs) {
        Ok(found) => Value::Array(found.into_iter().map(Value::Array).collect()),
        Err(error) => error,
    }
}

impl Example {
    /// A word in upper case; empty if there are fewer.
    fn word(&self, place: usize) -> String {
        self.send.get(place).map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default()
    }

    /// Where the cursor of an iteration stands.
    fn cursor_place(&self) -> Option<usize> {
        match &*self.word(0) {
            "SCAN" => Some(1),
            "SSCAN" | "HSCAN" | "ZSCAN" => Some(2),
            _ => None,
        }
    }

    fn how(&self) -> How {
        let first = &*self.word(0);
        let both = format!("{first} {}", self.word(1));
        let is_by_kind = |name: &&str| *name == first || *name == both;
        // A container's HELP tells of the subcommands that there are.
        if self.word(1) == "HELP" || COMPARED_BY_KIND.iter().any(|(_, names)| names.iter().any(is_by_kind)) {
            return How::Kind;
        }
        match first {
            "HGETALL" => How::Pairs,
            _ if BY_CHANCE.contains(&first) => How::Size,
            _ if UNORDERED.contains(&first) => How::Unordered,
            _ if TIMES.contains(&first) => How::Time(if first.starts_with('P') { 2000 } else { 2 }),
            _ => How::Exact,
        }
    }
}

fn declared_examples() -> Vec<Example> {
    let output = Command::new(harness::millpond_binary().1).arg("examples").output().expect("the binary runs");
    assert!(output.status.success(), "millpond examples: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let examples = text.lines().map(parse).collect::<Vec<_>>();
    assert!(!examples.is_empty(), "millpond examples printed nothing");
    examples
}

fn parse(line: &str) -> Example {
    let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let words = object["send"].as_array().unwrap_or_else(|| panic!("no words to send: {line}"));
    Example {
        command: object["command"].as_str().unwrap_or_else(|| panic!("no command: {line}")).to_owned(),
        send: words.iter().map(|word| word.as_str().expect("words are strings").into()).collect(),
    }
}
