//! Each stock script is compared with a Lua script of the same steps: replies, effects and what is there afterwards.

use bytes::Bytes;

use crate::clock::Now;
use crate::command::testing::Bench;
use crate::command::{Context, Outcome, Stop, Within};
use crate::resp::{Error, Protocol, Reply, encode};

const SIDEKIQ: &str = "000a4c2f82df69db1780053377a2c9b0741570e0";
const OLD_SIDEKIQ: &str = "f4a8a5467f9f4697a26fdfb839476b9ee52e897c";

const SIDEKIQ_STEPS: &str = "local due = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)[1] \
     if due then redis.call('ZREM', KEYS[1], due) end return due or nil";
const OLD_SIDEKIQ_STEPS: &str = "local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 1)[1] \
     if due then redis.call('ZREM', KEYS[1], due) end return due or nil";

fn run_stock(bench: &mut Bench, sha: &str, words: &[&str]) -> Option<Outcome> {
    let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    bench.lsn += 1;
    bench.keys.begin_turn(bench.now_ms);
    bench.keys.begin(bench.lsn, 0);
    let mut context = Context {
        now: Now { wall_us: bench.now_ms * 1000, mono: std::time::Duration::ZERO },
        keys: &mut bench.keys,
        session: &mut bench.session,
        host: &mut bench.host,
        random: &mut bench.random,
        within: Within::Nothing,
    };
    let outcome = super::run(&mut context, sha, &words[..1], &words[1..]);
    let frame = std::mem::take(bench.keys.frame());
    if !frame.is_empty() {
        bench.frames.push(frame);
    }
    outcome
}

fn on_the_wire(reply: &Reply) -> String {
    let mut bytes = Vec::new();
    encode(reply, Protocol::Resp3, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Runs both on the same state, several times in a row.
fn check(setup: &[&str], sha: &str, steps: &str, words: &[&str]) {
    let (mut native, mut lua) = (Bench::default(), Bench::default());
    for line in setup {
        assert_eq!(native.run(line), lua.run(line));
    }
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let line = format!("EVAL \"{steps}\" 1 {}", quoted.join(" "));
    for round in 0..4 {
        let expected = lua.run(&line);
        let outcome = run_stock(&mut native, sha, words);
        match outcome {
            // Lua words the error.
            None => assert!(matches!(expected, Reply::Error(_)), "{words:?} round {round}: {expected:?}"),
            Some(Ok(reply)) => {
                assert_eq!(on_the_wire(&reply), on_the_wire(&expected), "{words:?} round {round}");
            }
            Some(Err(stop)) => panic!("{stop:?}"),
        }
        assert_eq!(native.frames, lua.frames, "{words:?} round {round}");
    }
}

#[test]
fn sidekiqs_schedule_is_popped_as_lua_does_it() {
    for (sha, steps) in [(SIDEKIQ, SIDEKIQ_STEPS), (OLD_SIDEKIQ, OLD_SIDEKIQ_STEPS)] {
        let jobs = ["ZADD schedule 1700000000.1234567 late 1700000000.5 later -5 early 1800000000 future"];
        for now in ["1700000000.2", "(1700000000.1234567", "-10", "+inf", "now", ""] {
            check(&jobs, sha, steps, &["schedule", now]);
        }
        check(&["ZADD schedule 5 b 5 a"], sha, steps, &["schedule", "5"]);
        check(&["ZADD schedule 5 b"], sha, steps, &["schedule", "(5"]);
        check(&["RPUSH schedule a"], sha, steps, &["schedule", "5"]);
        check(&[], sha, steps, &["schedule", "5"]);
        check(&[], sha, steps, &["schedule"]);
    }
}

#[test]
fn a_stock_script_asks_for_what_is_on_disk() {
    let mut bench = Bench::default();
    bench.run("ZADD schedule 1 a");
    bench.cool();
    assert!(
        matches!(run_stock(&mut bench, SIDEKIQ, &["schedule", "5"]), Some(Err(Stop::Fetch(missing))) if missing.len() == 1)
    );
}

#[test]
fn a_stock_script_that_nobody_loaded_is_not_there() {
    let mut bench = Bench::default();
    bench.run("ZADD schedule 1 a");
    let reply = bench.run(&format!("EVALSHA {SIDEKIQ} 1 schedule 5"));
    assert_eq!(reply, Reply::Error(Error::constant("NOSCRIPT No matching script. Please use EVAL.")));
    assert_eq!(bench.run(&format!("SCRIPT EXISTS {SIDEKIQ}")), Reply::Array(vec![Reply::Integer(0)]));
}
