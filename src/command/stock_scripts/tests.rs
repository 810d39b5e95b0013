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

const UNLOCK: &str = "8e4905cee18e7c3188d10f2b8b170e403baed34f";
const LOCK: &str = "ceb2b2062e40c51a2b3963fd078bc71f11bdc65c";
const OWNER_AND_TIME: &str = "78d2ca48a6dc9ef6892059792a3a0c5237733d64";

const UNLOCK_STEPS: &str =
    "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end return redis.call('DEL', KEYS[1])";
const LOCK_STEPS: &str = "local free = redis.call('EXISTS', KEYS[1]) == 0 and ARGV[3] == 'yes' \
     if not free and redis.call('GET', KEYS[1]) ~= ARGV[1] then return nil end \
     return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";
const OWNER_AND_TIME_STEPS: &str =
    "local owner = redis.call('GET', KEYS[1]) return {owner, redis.call('PTTL', KEYS[1])}";

fn run_stock(bench: &mut Bench, sha: &str, words: &[&str]) -> Option<Outcome> {
    let words: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    bench.lsn += 1;
    bench.keys.begin_turn(bench.now_ms);
    bench.keys.begin(bench.lsn, 0);
    let mut context = Context {
        now: Now { wall_us: bench.now_ms * 1000, mono: std::time::Duration::ZERO },
        keys: &mut bench.keys,
        jobs: &mut bench.jobs,
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
        let before = native.frames.len();
        match run_stock(&mut native, sha, words) {
            // Left to Lua, as it was.
            None => return assert_eq!(native.frames.len(), before, "{words:?} round {round}"),
            Some(Ok(reply)) => {
                assert_eq!(on_the_wire(&reply), on_the_wire(&expected), "{words:?} round {round}");
            }
            Some(Err(stop)) => panic!("{stop:?}"),
        }
        assert!(words.len() > 1 || sha == OWNER_AND_TIME, "without its arguments a script is left to Lua");
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
fn redlocks_scripts_do_as_lua_does_them() {
    let states: [&[&str]; 5] =
        [&[], &["SET lock me"], &["SET lock me PX 5000"], &["SET lock other PX 5000"], &["RPUSH lock me"]];
    for state in states {
        check(state, UNLOCK, UNLOCK_STEPS, &["lock", "me"]);
        check(state, UNLOCK, UNLOCK_STEPS, &["lock"]);
        for (time, if_free) in [("1000", "yes"), ("1000", "no"), ("0", "yes"), ("soon", "yes")] {
            check(state, LOCK, LOCK_STEPS, &["lock", "me", time, if_free]);
        }
        check(state, OWNER_AND_TIME, OWNER_AND_TIME_STEPS, &["lock"]);
        check(state, OWNER_AND_TIME, OWNER_AND_TIME_STEPS, &["lock", "more"]);
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

#[test]
fn a_lock_is_refused_where_keys_fill_their_share_and_one_is_still_given_back() {
    let mut bench = Bench::default();
    bench.run("SET held me");
    bench.keys.memory.budget.objects_bytes = 0;
    assert!(run_stock(&mut bench, LOCK, &["free", "me", "1000", "yes"]).is_none(), "Lua tells the client");
    assert!(matches!(run_stock(&mut bench, UNLOCK, &["held", "me"]), Some(Ok(Reply::Integer(1)))));
}
