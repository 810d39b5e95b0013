//! Pauses, and pops of queues none of whose jobs may go.

use super::payload::sidekiq;
use super::{field, info, rule_names, start, sure, wait_until, wait_until_blocked, wait_until_swept};
use crate::harness::{Client, Server, Value};
use std::thread::{self, JoinHandle};

const A: &str = "queue:a";

/// A client that waits for a job of two queues; gives the job that it got.
fn block(server: &Server, keys: &[&str]) -> JoinHandle<String> {
    let mut client = server.client();
    let words = [&["BRPOP"], keys, &["30"]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    thread::spawn(move || match client.must(&words) {
        Value::Array(items) => items[1].text(),
        nothing => format!("{nothing:?}"),
    })
}

#[test]
fn a_resumed_queue_wakes_who_waits_for_it() {
    for (pause, resume) in [
        ("JOB.PAUSE queue:a", "JOB.RESUME queue:a"),
        ("JOB.PAUSE a", "JOB.RESUME a"),
        ("JOB.PAUSE queue:a CLASS Import*", "JOB.RESUME queue:a CLASS Import*"),
        ("JOB.PAUSE queue:a NAME night", "JOB.RULES DEL pause night"),
        ("JOB.BLACKHOLE ADD imp QUEUE queue:other CLASS ImportJob", "JOB.BLACKHOLE DEL imp"),
        ("SADD paused a", "SREM paused a"),
        ("SADD paused a", "DEL paused"),
        ("SADD paused a", "CONFIG SET job-paused-sets no"),
    ] {
        let Some(server) = start(&["--profile", "tiny"]) else { return };
        let mut client = server.client();
        sure(&mut client, pause);
        let is_pause = !pause.contains("BLACKHOLE");
        if is_pause {
            client.must(&["LPUSH", A, &sidekiq("ImportJob", 1, 1)]);
        }
        let waiter = block(&server, &["queue:none", A]);
        wait_until_blocked(&mut client, 1);
        sure(&mut client, resume);
        if !is_pause {
            client.must(&["LPUSH", A, &sidekiq("ImportJob", 1, 1)]);
        }
        assert_eq!(waiter.join().expect("it is woken"), sidekiq("ImportJob", 1, 1), "{pause}, {resume}");
    }
}

#[test]
fn a_pause_and_a_blackhole_end_by_themselves_when_their_time_is_over() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", A, &sidekiq("ImportJob", 1, 1)]);
    sure(&mut client, "JOB.PAUSE queue:a FOR 200ms");
    let waiter = block(&server, &[A]);
    assert_eq!(waiter.join().expect("it is woken"), sidekiq("ImportJob", 1, 1));
    assert!(rule_names(&mut client).is_empty());
    let newest = sure(&mut client, "JOB.RULES LOG 1").items()[0].clone();
    assert!(field(&newest, "what").text().contains("queue:a"), "{newest:?}");

    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob EXPIRE 100ms");
    client.must(&["LPUSH", A, &sidekiq("ImportJob", 2, 1)]);
    wait_until("the rule ends", || rule_names(&mut client).is_empty());
    client.must(&["LPUSH", A, &sidekiq("ImportJob", 3, 1)]);
    assert_eq!(client.line("RPOP queue:a").text(), sidekiq("ImportJob", 3, 1));
    let told = info(&mut client, "imp");
    assert_eq!((super::number(&told, "in_force"), super::number(&told, "quarantined")), (0, 1), "{told:?}");
}

#[test]
fn a_rule_whose_time_ends_while_the_server_is_down_is_not_in_force_after_the_start() {
    let Some(mut server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", A, &sidekiq("ImportJob", 1, 1)]);
    sure(&mut client, "JOB.PAUSE queue:a FOR 1ms");
    sure(&mut client, "JOB.PAUSE queue:b FOR 1h");
    server.crash_and_restart();
    let mut client = server.client();
    wait_until("the rule ends", || rule_names(&mut client) == ["queue:b"]);
    assert_eq!(client.line("RPOP queue:a").text(), sidekiq("ImportJob", 1, 1));
}

#[test]
fn a_queue_none_of_whose_jobs_may_go_counts_as_empty_to_every_pop_and_has_its_length() {
    for rule in
        ["JOB.PAUSE queue:a", "JOB.PAUSE queue:a CLASS ImportJob", "JOB.PAUSE queue:* CLASS Import*", "SADD paused a"]
    {
        let Some(server) = start(&["--job-scan-max", "10"]) else { return };
        let mut client = server.client();
        for number in 0..50 {
            client.must(&["LPUSH", A, &sidekiq("ImportJob", number, 1)]);
        }
        sure(&mut client, rule);
        check_counts_as_empty(&mut client, rule);
        assert_eq!(client.line("LLEN queue:a").integer(), 50, "{rule}");
        assert_eq!(client.line("LRANGE queue:a 0 -1").items().len(), 50, "{rule}");
        assert_eq!(client.line("LINDEX queue:a -1").text(), sidekiq("ImportJob", 0, 1), "{rule}");
    }
}

fn check_counts_as_empty(client: &mut Client, rule: &str) {
    sure(client, "DEL queue:b");
    for line in ["RPOP queue:a", "LPOP queue:a", "RPOPLPUSH queue:a w", "LMOVE queue:a w LEFT LEFT"] {
        assert_eq!(client.line(line), Value::NullBulk, "{rule}: {line}");
    }
    for line in [
        "RPOP queue:a 2",
        "LPOP queue:a 2",
        "LMPOP 1 queue:a RIGHT",
        "BRPOP queue:a 0.01",
        "BLPOP queue:a queue:b 0.01",
        "BLMPOP 0.01 1 queue:a LEFT COUNT 5",
    ] {
        assert_eq!(client.line(line), Value::NullArray, "{rule}: {line}");
    }
    // It is passed over where several keys are asked for.
    for line in [
        "BRPOP queue:a queue:b 1",
        "BLPOP queue:a queue:b 1",
        "LMPOP 2 queue:a queue:b LEFT",
        "BLMPOP 1 2 queue:a queue:b RIGHT",
    ] {
        client.must(&["LPUSH", "queue:b", &sidekiq("ExportJob", 100, 1)]);
        assert_eq!(client.line(line).items()[0].text(), "queue:b", "{rule}: {line}");
    }
    assert_eq!(client.must(&["EVAL", "return redis.call('RPOP', KEYS[1])", "1", A]), Value::NullBulk, "{rule}");
    client.line("MULTI");
    client.line("RPOP queue:a");
    client.line("BRPOP queue:a 0");
    let replies = client.line("EXEC").into_items();
    assert!(replies.iter().all(Value::is_nil), "{rule}: {replies:?}");
}

#[test]
fn a_script_and_a_transaction_get_the_first_job_that_may_go_from_far_behind_others_on_disk() {
    const HELD: usize = 200;
    for (profile, popped) in [("ordinary", "1"), ("tiny", "1"), ("tiny", "60")] {
        let Some(mut server) = start(&["--profile", profile]) else { return };
        let mut client = server.client();
        sure(&mut client, "JOB.PAUSE queue:a CLASS ImportJob");
        for number in 0..HELD {
            client.must(&["LPUSH", A, &sidekiq("ImportJob", number, 1)]);
        }
        for number in HELD..2 * HELD {
            client.must(&["LPUSH", A, &sidekiq("ExportJob", number, 1)]);
        }
        server.kill9();
        server.start();
        let mut client = server.client();
        let count: usize = popped.parse().expect("a number");
        let expected: Vec<String> = (HELD..).take(3 * count).map(|number| sidekiq("ExportJob", number, 1)).collect();
        let mut got = Vec::new();
        let script = "redis.call('SET', 'written', '1') return redis.call('RPOP', KEYS[1], ARGV[1])";
        got.extend(client.must(&["EVAL", script, "1", A, popped]).into_items());
        client.line("MULTI");
        client.line("SET written 2");
        client.line(&format!("RPOP queue:a {popped}"));
        got.extend(client.line("EXEC").into_items().remove(1).into_items());
        let script = "return redis.call('RPOP', KEYS[1], ARGV[1])";
        got.extend(client.must(&["EVAL", script, "1", A, popped]).into_items());
        assert_eq!(got.iter().map(Value::text).collect::<Vec<_>>(), expected, "{profile}");
    }
}

#[test]
fn a_paused_class_or_tenant_leaves_the_way_free_for_others_in_order() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let tenant = |number: usize, tenant: usize| {
        format!(r#"{{"class":"ImportJob","args":[],"jid":"{number:024x}","tenant_id":{tenant}}}"#)
    };
    for number in 0..6 {
        client.must(&["LPUSH", A, &tenant(number, number % 2), &sidekiq("ExportJob", 100 + number, 1)]);
    }
    sure(&mut client, "JOB.PAUSE queue:a CLASS ExportJob");
    sure(&mut client, "JOB.PAUSE a TENANT 1");
    for number in [0, 2, 4] {
        assert_eq!(client.line("RPOP queue:a").text(), tenant(number, 0));
    }
    assert!(client.line("RPOP queue:a").is_nil());
    sure(&mut client, "JOB.RESUME queue:a CLASS ExportJob");
    assert_eq!(client.line("RPOP queue:a").text(), sidekiq("ExportJob", 100, 1));
    sure(&mut client, "JOB.RESUME a TENANT 1");
    assert_eq!(client.line("RPOP queue:a").text(), tenant(1, 1));
    assert_eq!(client.line("LLEN queue:a").integer(), 7);
}

#[test]
fn the_first_job_that_may_go_reaches_a_waiter_from_far_behind_others() {
    for (profile, rule) in
        [("ordinary", "JOB.PAUSE queue:a CLASS ImportJob"), ("tiny", "JOB.BLACKHOLE ADD imp CLASS ImportJob")]
    {
        let Some(server) = start(&["--profile", profile, "--job-scan-max", "10"]) else { return };
        let mut client = server.client();
        sure(&mut client, "SADD queues a");
        for number in (0..2000).step_by(50) {
            let jobs = (number..number + 50).map(|number| sidekiq("ImportJob", number, 1));
            client.must(&["LPUSH".to_owned(), A.to_owned()].into_iter().chain(jobs).collect::<Vec<_>>());
        }
        client.must(&["LPUSH", A, &sidekiq("ExportJob", 5000, 1)]);
        sure(&mut client, rule);
        let waiter = block(&server, &[A]);
        assert_eq!(waiter.join().expect("it is woken"), sidekiq("ExportJob", 5000, 1), "{rule}");
        // One that comes while all others are known to be held goes out at once.
        let waiter = block(&server, &["queue:b", A]);
        wait_until_blocked(&mut client, 1);
        client.must(&["LPUSH", A, &sidekiq("ImportJob", 5001, 1), &sidekiq("ExportJob", 5002, 1)]);
        assert_eq!(waiter.join().expect("it is woken"), sidekiq("ExportJob", 5002, 1), "{rule}");
        if rule.contains("BLACKHOLE") {
            wait_until_swept(&mut client, "imp");
            assert_eq!(client.line("LLEN queue:a").integer(), 0);
            assert_eq!(client.line("LLEN job:quarantine:imp:queue:a").integer(), 2001);
        }
    }
}

#[test]
fn the_set_in_which_sidekiq_pro_names_paused_queues_is_honoured_and_shown() {
    let Some(mut server) = start(&["--profile", "tiny"]) else { return };
    let mut client = server.client();
    sure(&mut client, "LPUSH queue:a 1 2 3");
    sure(&mut client, "LPUSH app:queue:a 1");
    sure(&mut client, "SADD paused a");
    assert!(client.line("RPOP queue:a").is_nil());
    assert_eq!(client.line("RPOP app:queue:a").text(), "1", "another namespace has a set of its own");
    let rules = sure(&mut client, "JOB.RULES LIST");
    assert_eq!(rules.items().len(), 1);
    assert_eq!(field(&rules.items()[0], "name").text(), "sidekiq:paused");
    assert!(field(&rules.items()[0], "rule").text().contains('a'), "{rules:?}");
    server.crash_and_restart();
    let mut client = server.client();
    assert!(client.line("RPOP queue:a").is_nil(), "after a restart");

    // With a rule of another queue, so that rules are asked at all.
    sure(&mut client, "JOB.PAUSE queue:z");
    assert!(client.line("RPOP queue:a").is_nil());
    sure(&mut client, "CONFIG SET job-paused-sets no");
    assert_eq!(client.line("RPOP queue:a").text(), "1");
    sure(&mut client, "JOB.RESUME queue:z");
    assert!(rule_names(&mut client).is_empty(), "a set that is not honoured is no rule");
    sure(&mut client, "CONFIG SET job-paused-sets yes");
    assert!(client.line("RPOP queue:a").is_nil());
    sure(&mut client, "FLUSHDB");
    sure(&mut client, "LPUSH queue:a 4");
    assert_eq!(client.line("RPOP queue:a").text(), "4", "the set is data, and is flushed");
}
