//! A server in need of memory: what is refused, what waits, and what goes on.

use crate::harness::{self, Server, Value, encode};

/// More keys than the tiny profile has memory for.
const KEYS_MAX: usize = 20_000;
/// Four times the tiny profile's memory.
const JOBS: usize = 4000;
const JOB_BYTES: usize = 1000;

#[test]
fn where_keys_fill_the_memory_queues_go_on() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&["--profile", "tiny", "--maxmemory", "1mb"]);
    let mut client = server.client();
    let is_refused = |reply: Value| matches!(&reply, Value::Error(text) if text.starts_with("OOM "));
    let filled = (0..KEYS_MAX).any(|n| is_refused(client.line(&format!("SET key:{n} x"))));
    assert!(filled, "{KEYS_MAX} keys fit into a megabyte");
    for n in 1..=100 {
        assert_eq!(client.line("RPUSH jobs job").integer(), n);
    }
    for line in ["MULTI", "LPUSH jobs job", "LPUSH others job"] {
        client.line(line);
    }
    assert!(matches!(client.line("EXEC"), Value::Array(replies) if replies.len() == 2));
    assert_eq!(client.must(&["EVAL", "return redis.call('RPUSH', KEYS[1], 'job')", "1", "others"]).integer(), 2);
    let text = client.must(&["EVAL", "return redis.call('SADD', 'queues', 'jobs')", "0"]);
    assert!(is_refused(text));
    client.line("DEL key:0 key:1 key:2 key:3");
    assert_eq!(client.line("SADD queues jobs").integer(), 1);
}

#[test]
fn pushes_wait_for_a_store_that_is_behind_and_none_is_lost() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&["--profile", "tiny", "--maxmemory", "1mb", "--push-wait", "60000"]);
    let mut client = server.client();
    let mut wire = Vec::new();
    for n in 0..JOBS {
        encode(&mut wire, &["RPUSH", "jobs", &format!("{n:0JOB_BYTES$}")]);
    }
    client.send_raw(&wire).expect("the server takes the jobs");
    for n in 1..=JOBS {
        assert_eq!(client.reply().expect("a reply").integer(), n as i64);
    }
    let waited: u64 = client.info("millpond")["push_waits"].parse().expect("a number");
    assert!(waited > 0, "no push waited: the store was never behind");
    for n in 0..JOBS {
        assert_eq!(client.line("LPOP jobs").text(), format!("{n:0JOB_BYTES$}"));
    }
}
