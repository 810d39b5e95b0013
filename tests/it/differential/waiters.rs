//! A client that waits for several keys, of which one transaction or script fills more than one.

use super::compare::difference_after_a_wait;
use crate::harness::{self, Client, Server, Value};
use std::thread;
use std::time::{Duration, Instant};

/// What waits, what fills its keys from the last to the first, and what it is then given.
const CASES: &[(&str, [&str; 2], &str)] = &[
    ("BLPOP k1 k2 k3 5", ["LPUSH k3 c", "LPUSH k1 a"], "[\"k1\", \"a\"]"),
    ("BRPOP k1 k2 k3 5", ["RPUSH k3 c", "RPUSH k2 b"], "[\"k2\", \"b\"]"),
    ("BLMPOP 5 3 k1 k2 k3 LEFT COUNT 2", ["RPUSH k3 c", "RPUSH k1 a b"], "[\"k1\", [\"a\", \"b\"]]"),
    ("BZPOPMIN k1 k2 k3 5", ["ZADD k3 3 c", "ZADD k1 1 a"], "[\"k1\", \"a\", \"1\"]"),
    ("BZMPOP 5 3 k1 k2 k3 MAX", ["ZADD k3 3 c", "ZADD k1 1 a"], "[\"k1\", [[\"a\", \"1\"]]]"),
];

#[test]
fn a_waiter_gets_the_first_of_its_arguments_of_what_a_transaction_has_filled() {
    check(|client, writes| {
        client.line("MULTI");
        writes.iter().for_each(|write| drop(client.line(write)));
        assert_eq!(client.line("EXEC").items().len(), writes.len());
    });
}

#[test]
fn a_waiter_gets_the_first_of_its_arguments_of_what_a_script_has_filled() {
    const SCRIPT: &str = "for _, line in ipairs(ARGV) do local words = {} \
                          for word in string.gmatch(line, '%S+') do words[#words + 1] = word end \
                          redis.call(unpack(words)) end";
    check(|client, writes| {
        let reply = client.must(&[&["EVAL", SCRIPT, "0"], writes.as_slice()].concat());
        assert!(!reply.is_error(), "{reply:?}");
    });
}

fn check(fill: fn(&mut Client, &[&str; 2])) {
    if !harness::redis_or_explain() {
        return;
    }
    let (millpond, redis) = (Server::millpond(&[]), Server::redis(&["--appendfsync", "no"]));
    for (wait, writes, expected) in CASES {
        let (ours, theirs) = (served(&millpond, wait, writes, fill), served(&redis, wait, writes, fill));
        let words = wait.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(difference_after_a_wait(&words, &ours, &theirs), None, "{wait}");
        assert!(harness::is_stand_in() || format!("{ours:?}") == *expected, "{wait}: {ours:?}, not {expected}");
    }
}

/// What a waiting client is given when its keys are filled.
fn served(server: &Server, wait: &str, writes: &[&str; 2], fill: fn(&mut Client, &[&str; 2])) -> Value {
    let (mut waiter, mut writer) = (server.client(), server.client());
    writer.line("FLUSHALL");
    waiter.send(&wait.split(' ').collect::<Vec<_>>()).expect("it takes a command");
    let began = Instant::now();
    while writer.info("clients").get("blocked_clients").is_none_or(|count| count == "0") {
        assert!(began.elapsed() < Duration::from_secs(4), "{wait} does not wait");
        thread::sleep(Duration::from_millis(2));
    }
    fill(&mut writer, writes);
    waiter.reply().expect("it is served")
}
