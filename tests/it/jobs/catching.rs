//! Blackholes: what they catch, where it goes, and what they leave alone.

use super::payload::{resque, sidekiq};
use super::{field, info, list, number, refused, start, sure, wait_until, wait_until_swept};
use crate::harness::{Client, Value};

const A: &str = "queue:a";
const QUARANTINE: &str = "job:quarantine:imp:queue:a";

#[test]
fn a_push_that_is_caught_answers_the_length_that_redis_would() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    let (bad, good) = (sidekiq("ImportJob", 1, 1), sidekiq("ExportJob", 2, 1));
    assert_eq!(client.must(&["LPUSH", A, &bad]).integer(), 1);
    assert_eq!(client.line("EXISTS queue:a").integer(), 0);
    assert_eq!(client.must(&["LPUSH", A, &good, &bad, &good]).integer(), 3);
    assert_eq!(client.line("LLEN queue:a").integer(), 2);
    assert_eq!(client.must(&["RPUSH", A, &bad, &bad]).integer(), 4);
    assert_eq!(client.must(&["LPUSHX", A, &bad]).integer(), 3);
    assert_eq!(
        client.must(&["LPUSHX", "queue:none", &bad]).integer(),
        0,
        "which is no list, so that nothing is pushed"
    );
    assert_eq!(client.line("LLEN job:quarantine:imp:queue:a").integer(), 5);
    let told = info(&mut client, "imp");
    assert_eq!((number(&told, "matched_at_push"), number(&told, "quarantined")), (5, 5), "{told:?}");
    assert_eq!(number(&told, "bytes"), 5 * bad.len() as i64, "{told:?}");
}

#[test]
fn a_blackhole_catches_what_transactions_scripts_and_moves_push() {
    let Some(server) = start(&["--profile", "tiny"]) else { return };
    let mut client = server.client();
    sure(&mut client, "SADD queues a b");
    let bad = |number| sidekiq("ImportJob", number, 1);
    client.must(&["LPUSH", "staging", &bad(3)]);
    client.must(&["LPUSH", "queue:b", &bad(4)]);
    sure(&mut client, "JOB.BLACKHOLE ADD imp QUEUE queue:a CLASS ImportJob");

    client.line("MULTI");
    client.must(&["LPUSH", A, &bad(1)]);
    client.line("LLEN queue:a");
    client.line("RPOP queue:a");
    assert_eq!(client.line("EXEC"), Value::Array(vec![Value::Integer(1), Value::Integer(0), Value::NullBulk]));
    let script = "local length = redis.call('RPUSH', KEYS[1], ARGV[1]) return {length, redis.call('LLEN', KEYS[1])}";
    let reply = client.must(&["EVAL", script, "1", A, &bad(2)]);
    assert_eq!(reply, Value::Array(vec![Value::Integer(1), Value::Integer(0)]));
    assert_eq!(client.line("LMOVE staging queue:a LEFT LEFT").text(), bad(3), "a move answers what it moved");
    assert_eq!(client.line("RPOPLPUSH queue:b queue:a").text(), bad(4));
    assert_eq!(client.line("EXISTS queue:a staging queue:b").integer(), 0);
    assert_eq!(list(&mut client, QUARANTINE), [bad(1), bad(2), bad(3), bad(4)]);
}

#[test]
fn a_rename_or_a_copy_to_a_queue_is_swept_and_never_handed_out() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let (bad, good) = (sidekiq("ImportJob", 1, 1), sidekiq("ExportJob", 2, 1));
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    wait_until_swept(&mut client, "imp");
    client.must(&["LPUSH", "staging", &bad, &good]);
    sure(&mut client, "RENAME staging queue:a");
    assert_eq!(client.line("RPOP queue:a").text(), good);
    assert!(client.line("RPOP queue:a").is_nil());
    assert!(client.line("LPOP queue:a").is_nil());
}

#[test]
fn working_lists_are_left_alone() {
    let Some(mut server) = start(&["--job-working-lists", "queue:private:*"]) else { return };
    let mut client = server.client();
    sure(&mut client, "SADD queues a");
    let bad = |number| sidekiq("ImportJob", number, 1);
    client.must(&["LPUSH", A, &bad(0), &bad(1), &bad(2), &bad(3)]);
    for target in ["queue:a:working", "working:1", "queue:sq|host:1:abc|a", "queue:private:1"] {
        assert_eq!(client.must(&["LMOVE", A, target, "RIGHT", "LEFT"]).text().len(), bad(0).len());
    }
    client.must(&["LPUSH", A, &bad(4)]);
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    wait_until_swept(&mut client, "imp");
    let check = |client: &mut Client, when: &str| {
        for target in ["queue:a:working", "working:1", "queue:sq|host:1:abc|a", "queue:private:1"] {
            assert_eq!(client.must(&["LLEN", target]).integer(), 1, "{target} {when}");
        }
        assert_eq!(list(client, QUARANTINE), [bad(4)], "{when}");
    };
    check(&mut client, "while the rule is new");
    server.crash_and_restart();
    let mut client = server.client();
    wait_until_swept(&mut client, "imp");
    check(&mut client, "after a crash");
    sure(&mut client, "JOB.BLACKHOLE ADD more CLASS ImportJob");
    wait_until_swept(&mut client, "more");
    check(&mut client, "after a crash, with a new rule");
    for (number, target) in
        ["queue:a:working", "working:1", "queue:sq|host:1:abc|a", "queue:private:1"].iter().enumerate()
    {
        assert_eq!(client.must(&["LREM", target, "1", &bad(number)]).integer(), 1, "{target}");
    }
}

#[test]
fn a_rule_that_is_ended_or_replaced_in_the_middle_of_its_sweep_takes_nothing_any_more() {
    const JOBS: usize = 40_000;
    for end in ["JOB.BLACKHOLE DEL imp", "JOB.BLACKHOLE SET imp CLASS ExportJob REPLACE"] {
        let Some(server) = start(&[]) else { return };
        let mut client = server.client();
        for first in (0..JOBS).step_by(200) {
            let jobs = (first..first + 200).map(|number| sidekiq("ImportJob", number, 1));
            client.must(&["LPUSH".to_owned(), A.to_owned()].into_iter().chain(jobs).collect::<Vec<_>>());
        }
        sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
        while client.must(&["LLEN", QUARANTINE]).integer() == 0 {}
        sure(&mut client, end);
        let taken = client.must(&["LLEN", QUARANTINE]).integer();
        println!("{end} after {taken} of {JOBS} jobs");
        sure(&mut client, "JOB.BLACKHOLE ADD other CLASS Nothing");
        wait_until_swept(&mut client, "other");
        assert_eq!(client.must(&["LLEN", QUARANTINE]).integer(), taken, "{end}");
        assert_eq!(client.line("LLEN queue:a").integer() + taken, JOBS as i64, "{end}");
    }
}

#[test]
fn where_a_rule_is_ended_in_the_middle_of_its_sweep_the_next_one_takes_what_it_did_not() {
    const JOBS: usize = 40_000;
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    for first in (0..JOBS).step_by(200) {
        let jobs = (first..first + 200).map(|number| sidekiq("ImportJob", number, 1));
        client.must(&["LPUSH".to_owned(), "elsewhere".to_owned()].into_iter().chain(jobs).collect::<Vec<_>>());
    }
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    sure(&mut client, "JOB.BLACKHOLE ADD wide CLASS Imp*");
    sure(&mut client, "RENAME elsewhere queue:a");
    assert!(client.must(&["RPOP", A]).is_nil(), "all of them are for a rule to take");
    wait_until("the sweep has begun", || client.must(&["LLEN", QUARANTINE]).integer() > 0);
    sure(&mut client, "JOB.BLACKHOLE DEL imp");
    wait_until_swept(&mut client, "wide");
    let taken = client.must(&["LLEN", QUARANTINE]).integer();
    println!("the first rule took {taken} of {JOBS} jobs");
    assert!(client.must(&["RPOP", A]).is_nil(), "a job is handed out that a rule takes");
    assert_eq!(client.line("LLEN job:quarantine:wide:queue:a").integer() + taken, JOBS as i64);
}

#[test]
fn what_a_rule_would_match_is_counted_to_the_job_behind_the_reply_while_the_queue_moves() {
    const JOBS: usize = 40_000;
    let Some(server) = start(&["--maxmemory", "32mb", "--profile", "tiny"]) else { return };
    let mut client = server.client();
    for first in (0..JOBS).step_by(200) {
        let jobs = (first..first + 200).map(|number| sidekiq(["ImportJob", "Mail"][number % 2], number, number % 7));
        client.must(&["LPUSH".to_owned(), A.to_owned()].into_iter().chain(jobs).collect::<Vec<_>>());
    }
    let truth = (0..JOBS).filter(|number| number % 2 == 0 && number % 7 == 3).count() as i64;
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob ARG customer_id=3 DRYRUN EXACT");
    // Jobs that do not match come and go meanwhile.
    for number in JOBS..JOBS + 100 {
        client.must(&["LPUSH", A, &sidekiq("Mail", number, 3)]);
    }
    assert_eq!(
        client.must(&["RPOP", A]).text(),
        sidekiq("ImportJob", 0, 0),
        "it is only a question: nothing is held back"
    );
    let count = |client: &mut Client| field(&info(client, "imp"), "count").clone();
    wait_until("it is counted", || number(&count(&mut client), "counting") == 0);
    let told = count(&mut client);
    assert_eq!((number(&told, "matched"), number(&told, "of")), (truth, JOBS as i64), "{told:?}");
    assert_eq!(client.line("LLEN queue:a").integer(), JOBS as i64 + 99);
    assert_eq!(
        refused(&mut client, "JOB.BLACKHOLE INFO other"),
        "NORULE no blackhole is called 'other' in this database"
    );
}

#[test]
fn a_sample_takes_always_the_same_jobs() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let jobs: Vec<String> = (0..400).map(|number| sidekiq("ImportJob", number, 1)).collect();
    let taken_of = |client: &mut Client, swept: bool| {
        let push = [vec!["LPUSH".to_owned(), A.to_owned()], jobs.clone()].concat();
        if swept {
            client.must(&push);
        }
        sure(client, "JOB.BLACKHOLE ADD imp CLASS ImportJob SAMPLE 0.25");
        if !swept {
            client.must(&push);
        }
        wait_until_swept(client, "imp");
        let mut taken = list(client, QUARANTINE);
        assert_eq!(client.line("LLEN queue:a").integer() as usize, jobs.len() - taken.len());
        sure(client, "JOB.BLACKHOLE DEL imp");
        sure(client, "FLUSHDB");
        taken.sort();
        taken
    };
    let taken = taken_of(&mut client, true);
    assert!((50..150).contains(&taken.len()), "a quarter of {} is not {}", jobs.len(), taken.len());
    assert_eq!(taken_of(&mut client, true), taken);
    assert_eq!(taken_of(&mut client, false), taken, "the same at a push");
    let Some(other) = start(&["--profile", "tiny"]) else { return };
    assert_eq!(taken_of(&mut other.client(), true), taken, "the same on another server");
}

#[test]
fn what_is_dropped_is_gone_and_counted() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", A, &sidekiq("ImportJob", 1, 1), &sidekiq("ExportJob", 2, 1)]);
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob ACTION drop");
    wait_until_swept(&mut client, "imp");
    client.must(&["LPUSH", A, &sidekiq("ImportJob", 3, 1)]);
    let told = info(&mut client, "imp");
    assert_eq!(
        (number(&told, "dropped"), number(&told, "quarantined"), number(&told, "matched")),
        (2, 0, 2),
        "{told:?}"
    );
    assert_eq!(client.line("KEYS *").items().len(), 1);
    assert_eq!(client.line("LLEN queue:a").integer(), 1);
}

#[test]
fn jobs_become_dead_where_their_library_keeps_dead_ones_and_at_most_five_thousand() {
    const DEAD_MAX: usize = 5_000;
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    for first in (0..DEAD_MAX + 200).step_by(200) {
        let jobs = (first..first + 200).map(|number| sidekiq("ImportJob", number, 1));
        client.must(&["LPUSH".to_owned(), A.to_owned()].into_iter().chain(jobs).collect::<Vec<_>>());
    }
    client.must(&["RPUSH", "resque:queue:a", &resque("MailJob", 1, 7)]);
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob ACTION dead");
    sure(&mut client, "JOB.BLACKHOLE ADD mails CLASS MailJob ACTION dead");
    wait_until_swept(&mut client, "imp");
    wait_until_swept(&mut client, "mails");
    assert_eq!(client.line("ZCARD dead").integer() as usize, DEAD_MAX);
    assert_eq!(client.line("LLEN job:quarantine:imp:queue:a").integer(), 200);
    let told = info(&mut client, "imp");
    assert_eq!((number(&told, "dead"), number(&told, "quarantined")), (DEAD_MAX as i64, 200), "{told:?}");
    let dead = client.line("ZRANGE dead 0 0 WITHSCORES");
    assert!(dead.items()[0].text().contains("\"class\":\"ImportJob\""), "the payload is unchanged: {dead:?}");
    let score: f64 = dead.items()[1].text().parse().expect("a score is a number");
    assert!(score > 1_700_000_000.0 && score < 100_000_000_000.0, "it died now, in seconds: {score}");

    let failed = client.line("LRANGE resque:failed 0 -1");
    let failed = failed.items()[0].text();
    for part in [
        r#""payload":{"class":"MailJob","args":[{"customer_id":7},1]}"#,
        r#""failed_at":"#,
        r#""exception":"#,
        r#""error":"#,
        r#""backtrace":"#,
        r#""worker":"#,
        r#""queue":"a""#,
    ] {
        assert!(failed.contains(part), "{part} is not in {failed}");
    }
}

#[test]
fn info_of_a_rule_tells_what_it_took_from_where() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", A, &sidekiq("ImportJob", 1, 1), &sidekiq("ImportJob", 2, 2), &sidekiq("ExportJob", 3, 1)]);
    client.must(&["LPUSH", "queue:b", &sidekiq("ImportJob", 4, 1)]);
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    wait_until_swept(&mut client, "imp");
    client.must(&["LPUSH", "queue:b", &sidekiq("ImportJob", 5, 1)]);
    let told = info(&mut client, "imp");
    for (name, expected) in [
        ("in_force", 1),
        ("matched", 4),
        ("matched_at_push", 1),
        ("matched_by_sweep", 3),
        ("quarantined", 4),
        ("sweeping", 0),
    ] {
        assert_eq!(number(&told, name), expected, "{name} in {told:?}");
    }
    assert!(number(&told, "first") > 0 && number(&told, "last") >= number(&told, "first"), "{told:?}");
    let places = field(&told, "matched_in");
    assert_eq!((number(&places, A), number(&places, "queue:b")), (2, 2), "{told:?}");
    let gone = sure(&mut client, "JOB.BLACKHOLE DEL imp");
    assert_eq!(number(&gone, "quarantined"), 4, "{gone:?}");
    assert_eq!(number(&info(&mut client, "imp"), "in_force"), 0, "a quarantine outlives its rule");
}
