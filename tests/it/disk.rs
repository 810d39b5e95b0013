//! A disk that is nearly full: what adds data is refused, what finishes jobs goes on.

use crate::harness::{self, Client, Server, Value};

/// No disk has so much room, so that any disk counts as nearly full.
const MORE_THAN_ANY_DISK: &str = "8000000000gb";

#[test]
fn on_a_disk_that_is_nearly_full_only_new_data_is_refused() {
    if harness::is_stand_in() {
        return;
    }
    let server = Server::millpond(&[]);
    let mut client = server.client();
    client.line("RPUSH jobs a b c d");
    client.line(&format!("CONFIG SET disk-reserve {MORE_THAN_ANY_DISK}"));

    let large = format!("SET key {}", "x".repeat(5000));
    for refused in ["LPUSH jobs e", "ZADD schedule 1 {}", "COPY jobs others", &large] {
        assert!(is_out_of_memory(&mut client, refused), "{refused}");
    }
    let refused = client.must(&["EVAL", "return redis.call('rpush', 'jobs', 'e')", "0"]);
    assert!(matches!(&refused, Value::Error(text) if text.starts_with("OOM ")), "{refused:?}");
    let served = client.must(&["EVAL", "return redis.call('set', 'lock', 'me')", "0"]);
    assert!(!served.is_error(), "a script that takes a lock: {served:?}");
    // What workers write around a job goes on.
    for served in [
        "SET worker:1 job",
        "HSET workers:heartbeat 1 now",
        "SADD queues jobs",
        "INCRBY stat:processed 1",
        "RPUSH failed job",
        "ZADD delayed_queue_schedule 1 1",
    ] {
        assert!(!client.line(served).is_error(), "{served}");
    }
    client.line("MULTI");
    client.line("DEL jobs");
    client.line("LPUSH jobs e");
    let refused = client.line("EXEC");
    assert!(
        matches!(&refused, Value::Error(text) if text.starts_with("EXECABORT Transaction discarded because of: OOM ")),
        "a transaction is refused before any part of it applies, and is over: {refused:?}"
    );

    assert_eq!(client.line("LPOP jobs").text(), "a");
    assert_eq!(client.line("RPUSH others a").integer(), 1, "a job that was just taken is handed back");
    assert_eq!(client.line("LMOVE jobs working LEFT LEFT").text(), "b");
    assert_eq!(client.line("ZADD retry 1 b").integer(), 1);
    assert_eq!(client.line("LREM working 1 b").integer(), 1);
    assert_eq!(client.line("LLEN jobs").integer(), 2);
    assert_eq!(client.line("DEL jobs").integer(), 1);

    client.line("CONFIG SET disk-reserve 0");
    assert_eq!(client.line("RPUSH jobs e").integer(), 1);
}

fn is_out_of_memory(client: &mut Client, line: &str) -> bool {
    let reply = client.line(line);
    matches!(&reply, Value::Error(text) if text.starts_with("OOM "))
}
