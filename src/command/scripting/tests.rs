use crate::command::testing::Bench;

use super::*;

/// Five hashes on disk.
fn cold() -> Bench {
    let mut bench = Bench::default();
    for index in 1..=5 {
        bench.run(&format!("HSET h{index} f {index}"));
    }
    bench.cool();
    assert_eq!(bench.keys.memory.cold, 5);
    bench.frames.clear();
    bench
}

#[test]
fn a_script_begins_again_once_its_data_is_there() {
    let mut bench = cold();
    let script =
        "EVAL \"local value = redis.call('hget', KEYS[1], 'f') redis.call('rpush', 'q', value) return value\" 1 h1";
    let (reply, fetches) = bench.send_counting(script);
    assert_eq!(reply, Reply::bulk("1"));
    assert_eq!(fetches, [1]);
    assert_eq!(bench.host.disk.spot_reads, 0);
    assert_eq!(bench.session.script_attempts, 0);
    assert_eq!(bench.run("LRANGE q 0 -1"), Reply::Array(vec![Reply::bulk("1")]), "it has run once");
    assert_eq!(bench.frames.len(), 1);
}

#[test]
fn a_script_begins_again_three_times_and_then_reads_on_the_spot() {
    let mut bench = cold();
    let script =
        "EVAL \"local sum = 0 for i = 1, 5 do sum = sum + redis.call('hget', 'h' .. i, 'f') end return sum\" 0";
    let (reply, fetches) = bench.send_counting(script);
    assert_eq!(reply, Reply::Integer(15));
    assert_eq!(fetches, [1, 1, 1]);
    assert_eq!(bench.host.disk.spot_reads, 2);
    assert_eq!(bench.session.script_attempts, 0);
}

#[test]
fn a_script_that_has_written_reads_on_the_spot() {
    let mut bench = cold();
    let script = "EVAL \"redis.call('rpush', 'q', 'a') return redis.call('hget', 'h1', 'f')\" 0";
    let (reply, fetches) = bench.send_counting(script);
    assert_eq!(reply, Reply::bulk("1"));
    assert!(fetches.is_empty());
    assert_eq!(bench.host.disk.spot_reads, 1);
    assert_eq!(bench.run("LLEN q"), Reply::Integer(1));
    assert_eq!(bench.frames.len(), 1);
}

#[test]
fn pcall_does_not_catch_a_script_being_dropped() {
    let mut bench = cold();
    let (reply, fetches) = bench.send_counting("EVAL \"return redis.pcall('hget', 'h1', 'f')\" 0");
    assert_eq!((reply, fetches), (Reply::bulk("1"), vec![1]));
}

#[test]
fn a_script_is_one_frame_even_when_it_fails() {
    let mut bench = Bench::default();
    let reply = bench.run("EVAL \"redis.call('rpush', 'q', 'a') redis.call('hset', 'h', 'f', '1') error('late')\" 0");
    assert!(matches!(reply, Reply::Error(_)));
    assert_eq!(bench.frames.len(), 1);
    assert_eq!(bench.run("LLEN q"), Reply::Integer(1), "what a script wrote before its error stays, as in Redis");
}

#[test]
fn a_script_that_runs_too_long_is_killed_unless_it_has_written() {
    let mut bench = Bench::default();
    bench.host.interrupts = true;
    assert!(matches!(bench.outcome("EVAL \"while true do end\" 0"), Err(Stop::Killed)));
    assert_eq!(bench.run("EVAL \"return 1\" 0"), Reply::Integer(1), "the engine was put back");
    let written = "EVAL \"redis.call('rpush', 'q', 'a') for i = 1, 300000 do end return 2\" 0";
    assert_eq!(bench.run(written), Reply::Integer(2));
}

#[test]
fn the_commands_of_a_script_are_counted() {
    let mut bench = Bench::default();
    bench.run("EVAL \"redis.call('rpush', 'q', 'a') redis.call('llen', 'q')\" 0");
    assert_eq!(bench.host.metrics.commands_processed.get(), 2);
}

#[test]
fn a_blocking_command_may_not_be_called() {
    let mut bench = Bench::default();
    let reply = bench.run("EVAL \"return redis.pcall('blpop', 'q', 0)\" 0");
    assert!(matches!(reply, Reply::Error(_) | Reply::Null), "{reply:?}");
}

#[test]
fn flush_forgets_scripts_and_keeps_the_engine_usable() {
    let mut bench = Bench::default();
    let Reply::Bulk(sha) = bench.run("SCRIPT LOAD \"return 7\"") else { panic!("LOAD answers the SHA1") };
    let sha = String::from_utf8(sha.to_vec()).expect("a SHA1 is digits");
    assert_eq!(bench.run(&format!("EVALSHA {} 0", sha.to_uppercase())), Reply::Integer(7));
    assert_eq!(bench.run("SCRIPT FLUSH"), Reply::Ok);
    assert_eq!(bench.run(&format!("EVALSHA {sha} 0")), Reply::Error(NO_SUCH_SCRIPT));
    assert_eq!(bench.run("EVAL \"return 7\" 0"), Reply::Integer(7));
}

#[test]
fn help_lists_what_is_declared() {
    let Reply::Array(lines) = Bench::default().run("SCRIPT HELP") else { panic!("HELP answers lines") };
    assert!(lines.contains(&Reply::status("FLUSH [ASYNC | SYNC]")));
}

#[test]
fn select_holds_for_the_script_only() {
    let mut bench = Bench::default();
    bench.run("EVAL \"redis.call('select', 3) redis.call('rpush', 'q', 'a') return redis.call('llen', 'q')\" 0");
    assert_eq!(bench.run("LLEN q"), Reply::Integer(0));
    bench.run("SELECT 3");
    assert_eq!(bench.run("LLEN q"), Reply::Integer(1));
}

#[test]
fn a_script_that_has_told_others_something_does_not_begin_again() {
    let mut bench = cold();
    let script = "EVAL \"redis.call('publish', 'news', 'x') return redis.call('hget', 'h1', 'f')\" 0";
    assert_eq!(bench.send_counting(script), (Reply::bulk("1"), vec![]));
    assert_eq!(bench.host.disk.spot_reads, 1);
    let read_only = "EVAL_RO \"return redis.pcall('publish', 'news', 'x')\" 0";
    assert_eq!(bench.run(read_only), Reply::Error(READ_ONLY));
}
