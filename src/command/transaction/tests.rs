use crate::command::testing::Bench;
use crate::keyspace::Kind;

use super::*;

fn error(line: &'static str) -> Reply {
    Reply::Error(Error::constant(line))
}

fn expire_in(bench: &mut Bench, key: &[u8], ms: u64) {
    let at_ms = bench.now_ms + ms;
    bench.lsn += 1;
    bench.keys.begin(bench.lsn, 0);
    let slot = bench.keys.find(key).expect("the key was made");
    bench.keys.set_expiry(slot, Some(at_ms)).expect("the key is in memory");
    bench.keys.frame().clear();
}

/// A list of several chunks, a hash and a sorted set, all on disk.
fn cold() -> Bench {
    let mut bench = Bench::default();
    for _ in 0..60 {
        bench.run(&format!("RPUSH q {}", "x".repeat(5000)));
    }
    bench.run("HSET h f 1");
    bench.run("ZADD z 1 a");
    bench.cool();
    assert!(bench.keys.memory.cold >= 3);
    bench.frames.clear();
    bench
}

#[test]
fn a_transaction_is_one_frame() {
    let mut bench = Bench::default();
    for line in ["MULTI", "RPUSH q a b", "HSET h f 1", "LPOP q"] {
        bench.send(line);
    }
    assert!(bench.frames.is_empty(), "nothing runs before EXEC");
    let replies = vec![Reply::Integer(2), Reply::Integer(1), Reply::bulk("a")];
    assert_eq!(bench.send("EXEC"), Reply::Array(replies));
    assert_eq!(bench.frames.len(), 1);
}

#[test]
fn an_error_is_an_element_and_the_rest_runs() {
    let mut bench = Bench::default();
    for line in ["MULTI", "RPUSH q a", "HGET q f", "RPUSH q b"] {
        bench.send(line);
    }
    let replies = vec![Reply::Integer(1), Reply::Error(Error::WRONG_TYPE), Reply::Integer(2)];
    assert_eq!(bench.send("EXEC"), Reply::Array(replies));
}

#[test]
fn what_cannot_be_queued_aborts_the_transaction() {
    for line in ["NOSUCHCOMMAND", "LPOP"] {
        let mut bench = Bench::default();
        bench.send("WATCH q");
        bench.send("MULTI");
        bench.send("RPUSH q a");
        assert!(matches!(bench.send(line), Reply::Error(_)));
        assert_eq!(bench.send("RPUSH q b"), Reply::status("QUEUED"));
        assert_eq!(bench.send("EXEC"), Reply::Error(ABORTED));
        assert_eq!(bench.send("LLEN q"), Reply::Integer(0));
        assert!(bench.session.watching.is_empty());
    }
}

#[test]
fn a_transaction_that_takes_too_much_is_refused_and_freed() {
    let mut bench = Bench::default();
    bench.send("MULTI");
    let request: Vec<Bytes> =
        ["RPUSH", "q", &"x".repeat(QUEUE_BYTES_MAX / 2)].map(|word| word.to_owned().into()).into();
    assert_eq!(bench.send_request(&request).0, Reply::status("QUEUED"));
    assert_eq!(bench.send_request(&request).0, error("ERR the transaction takes more than 67108864 bytes"));
    assert!(bench.session.transaction.as_ref().is_some_and(|transaction| transaction.queue.is_empty()));
    assert_eq!(bench.send("EXEC"), Reply::Error(ABORTED));
}

#[test]
fn a_queued_request_is_a_copy() {
    let buffer = Bytes::from_static(b"LLENq");
    let request = copied(&[buffer.slice(..4), buffer.slice(4..)]);
    assert_eq!(request, [&b"LLEN"[..], b"q"]);
    assert!(!buffer.as_ptr_range().contains(&request[1].as_ptr()));
}

#[test]
fn a_write_of_another_client_fails_the_watch() {
    let mut bench = Bench::default();
    bench.send("WATCH q");
    bench.as_other(|bench| drop(bench.send("RPUSH q a")));
    bench.send("MULTI");
    bench.send("RPUSH q b");
    assert_eq!(bench.send("EXEC"), Reply::NullArray);
    assert_eq!(bench.send("LLEN q"), Reply::Integer(1));
    bench.send("MULTI");
    assert_eq!(bench.send("EXEC"), Reply::Array(vec![]), "the watch is over");
}

#[test]
fn its_own_write_inside_the_transaction_does_not_fail_the_watch() {
    let mut bench = Bench::default();
    for line in ["WATCH q", "MULTI", "RPUSH q a"] {
        bench.send(line);
    }
    assert_eq!(bench.send("EXEC"), Reply::Array(vec![Reply::Integer(1)]));
    bench.send("MULTI");
    assert_eq!(bench.send("EXEC"), Reply::Array(vec![]), "nor the next one");
}

#[test]
fn unwatch_and_discard_end_the_watch() {
    for end in [&["UNWATCH"][..], &["MULTI", "DISCARD"]] {
        let mut bench = Bench::default();
        bench.send("WATCH q");
        bench.send("RPUSH q a");
        end.iter().for_each(|line| assert_eq!(bench.send(line), Reply::Ok));
        bench.send("MULTI");
        assert_eq!(bench.send("EXEC"), Reply::Array(vec![]));
    }
}

#[test]
fn a_watched_key_whose_time_comes_fails_the_watch() {
    let mut bench = Bench::default();
    bench.send("RPUSH q a");
    expire_in(&mut bench, b"q", 100);
    bench.send("WATCH q");
    bench.send("MULTI");
    bench.pass_ms(101);
    assert_eq!(bench.send("EXEC"), Reply::NullArray);
}

#[test]
fn a_key_whose_time_had_come_is_watched_as_absent() {
    let mut bench = Bench::default();
    bench.send("RPUSH q a");
    expire_in(&mut bench, b"q", 100);
    bench.pass_ms(101);
    bench.send("WATCH q");
    bench.send("MULTI");
    assert_eq!(bench.send("EXEC"), Reply::Array(vec![]));
}

#[test]
fn all_that_the_commands_miss_is_fetched_at_once() {
    let mut bench = cold();
    for line in ["MULTI", "HGET h f", "RPUSH other a", "ZADD z 2 b", "LINDEX q 0", "LINDEX q 30", "HLEN h"] {
        bench.send(line);
    }
    let (reply, fetches) = bench.send_counting("EXEC");
    let item = Reply::Bulk("x".repeat(5000).into());
    assert_eq!(
        reply,
        Reply::Array(vec![
            Reply::bulk("1"),
            Reply::Integer(1),
            Reply::Integer(1),
            item.clone(),
            item,
            Reply::Integer(1)
        ])
    );
    assert_eq!(fetches, [4], "the hash, the sorted set, and two chunks of the list");
    assert_eq!(bench.host.disk.spot_reads, 0);
    assert_eq!(bench.frames.len(), 1, "the runs that only learn what is missing write nothing");
    assert!(!bench.keys.refuses_writes());
}

#[test]
fn what_only_an_earlier_command_of_the_transaction_brings_up_is_read_on_the_spot() {
    let mut bench = cold();
    for line in ["MULTI", "LMOVE q q LEFT RIGHT", "LTRIM q 20 -1", "LINDEX q 0"] {
        bench.send(line);
    }
    let (reply, _) = bench.send_counting("EXEC");
    let Reply::Array(replies) = reply else { panic!("{reply:?}") };
    assert_eq!(replies[2], Reply::Bulk("x".repeat(5000).into()));
    assert_eq!(bench.host.disk.spot_reads, 1);
}

#[test]
fn a_write_of_another_client_during_the_fetch_fails_the_watch() {
    let mut bench = cold();
    for line in ["WATCH h", "MULTI", "HGET h f"] {
        bench.send(line);
    }
    assert!(matches!(bench.outcome("EXEC"), Err(Stop::Fetch(_))));
    assert!(bench.session.transaction.is_some(), "the transaction is put back");
    bench.as_other(|bench| drop(bench.send("HSET h f 2")));
    assert_eq!(bench.send("EXEC"), Reply::NullArray);
    assert!(bench.session.transaction.is_none());
}

#[test]
fn a_blocking_command_does_not_block() {
    let mut bench = Bench::default();
    for line in ["MULTI", "BLPOP q 0", "BLMOVE q r LEFT RIGHT 0"] {
        bench.send(line);
    }
    assert_eq!(bench.send("EXEC"), Reply::Array(vec![Reply::NullArray, Reply::Null]));
}

#[test]
fn a_script_in_a_transaction_is_asked_too_what_it_misses() {
    let mut bench = cold();
    for line in ["MULTI", "EVAL \"return redis.call('hget', KEYS[1], 'f')\" 1 h", "ZCARD z", "EXEC"] {
        if line == "EXEC" {
            let (reply, fetches) = bench.send_counting(line);
            assert_eq!(reply, Reply::Array(vec![Reply::bulk("1"), Reply::Integer(1)]));
            assert_eq!(fetches, [2]);
        } else {
            bench.send(line);
        }
    }
}

#[test]
fn a_killed_script_is_an_error_among_the_replies() {
    let mut bench = Bench::default();
    bench.host.interrupts = true;
    for line in ["MULTI", "EVAL \"while true do end\" 0", "RPUSH q a"] {
        bench.send(line);
    }
    assert_eq!(bench.send("EXEC"), Reply::Array(vec![Reply::Error(scripting::KILLED), Reply::Integer(1)]));
    assert_eq!(bench.run("LLEN q"), Reply::Integer(1));
}

#[test]
fn a_dropped_transaction_leaves_nothing_behind() {
    let mut bench = Bench::default();
    bench.send("WATCH q");
    bench.send("MULTI");
    drop_transaction(&mut bench.keys, &mut bench.session);
    assert_eq!(bench.send("EXEC"), error("ERR EXEC without MULTI"));
    bench.lsn += 1;
    bench.keys.begin(bench.lsn, 0);
    bench.keys.create(b"q", Kind::List).expect("writes are allowed");
    assert!(!bench.keys.is_touched(bench.session.id));
    bench.keys.frame().clear();
}

#[test]
fn select_leads_the_commands_behind_it_and_stays() {
    let mut bench = Bench::default();
    for index in 1..=3 {
        bench.run(&format!("SELECT {index}"));
        bench.run(&format!("HSET h f {index}"));
    }
    bench.run("SELECT 0");
    bench.cool();
    let script = "EVAL \"redis.call('select', 3) return redis.call('hget', 'h', 'f')\" 0";
    for line in ["MULTI", "SELECT 1", "HGET h f", script, "SELECT 99", "HLEN h", "SELECT 2", "HGET h f"] {
        bench.send(line);
    }
    let (reply, fetches) = bench.send_counting("EXEC");
    assert_eq!(
        reply,
        Reply::Array(vec![
            Reply::Ok,
            Reply::bulk("1"),
            Reply::bulk("3"),
            error("ERR DB index is out of range"),
            Reply::Integer(1),
            Reply::Ok,
            Reply::bulk("2"),
        ])
    );
    assert_eq!(fetches, [3]);
    assert_eq!(bench.session.database, 2);
}
