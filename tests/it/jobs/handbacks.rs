//! Ground rule 7: where new jobs are refused, one that comes back is taken.

use super::payload::{resque, sidekiq};
use super::{list, start, sure, wait_until_swept};
use crate::harness::{Client, Value};

/// No disk has so much room, so that any disk counts as nearly full.
const NEARLY_FULL: &str = "CONFIG SET disk-reserve 8000000000gb";

fn is_refused(client: &mut Client, words: &[&str]) -> bool {
    matches!(client.must(words), Value::Error(text) if text.starts_with("OOM "))
}

#[test]
fn on_a_nearly_full_disk_jobs_that_come_back_are_taken_and_new_ones_are_not() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let job = |number| sidekiq("ImportJob", number, 1);
    client.must(&["LPUSH", "queue:a", &job(1), &job(2), &job(3)]);
    client.must(&["ZADD", "schedule", "1", &job(4)]);
    client.must(&["ZADD", "retry", "1", &job(5)]);
    client.must(&["RPUSH", "resque:queue:a", &resque("ImportJob", 6, 1)]);
    client.must(&["RPUSH", "resque:delayed:1", &resque("ImportJob", 7, 1)]);
    sure(&mut client, NEARLY_FULL);
    assert!(is_refused(&mut client, &["LPUSH", "queue:a", &job(10)]));

    // A worker hands back what it has popped, to the end that it came from; so does one that says it in another way.
    assert_eq!(client.line("RPOP queue:a").text(), job(1));
    assert_eq!(client.must(&["RPUSH", "queue:a", &job(1)]).integer(), 3);
    assert_eq!(client.line("BRPOP queue:a 1").items()[1].text(), job(1));
    assert_eq!(client.must(&["ZADD", "retry", "2", &job(1)]).integer(), 1);
    // A scheduler moves what is due, with the time of its enqueueing renewed.
    for set in ["schedule", "retry"] {
        let due = client.must(&["ZPOPMIN", set]).items()[0].text();
        let renewed = due.replace("\"enqueued_at\":1764000000.5", "\"enqueued_at\":1764000999.5");
        assert!(client.must(&["LPUSH", "queue:a", &renewed]).integer() > 0, "{set}: {due}");
    }
    // Without an id, one of the same class with the same arguments.
    assert_eq!(client.line("LPOP resque:queue:a").text(), resque("ImportJob", 6, 1));
    assert_eq!(client.must(&["RPUSH", "resque:queue:a", &resque("ImportJob", 6, 1)]).integer(), 1);
    assert_eq!(client.line("LPOP resque:delayed:1").text(), resque("ImportJob", 7, 1));
    assert_eq!(client.must(&["RPUSH", "resque:queue:a", &resque("ImportJob", 7, 1)]).integer(), 2);
    assert!(is_refused(&mut client, &["RPUSH", "resque:queue:a", &resque("ImportJob", 8, 1)]));
    // A rescue brings home what lay in a working list.
    assert_eq!(client.line("LMOVE queue:a working:1 RIGHT LEFT").text(), job(2));
    assert_eq!(client.line("LMOVE working:1 queue:a LEFT RIGHT").text(), job(2));
    assert!(is_refused(&mut client, &["LPUSH", "queue:a", &job(11)]));
}

#[test]
fn on_a_nearly_full_disk_a_transaction_moves_what_it_takes_out_itself() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let (jobs, other) = ([1, 2, 3].map(|number| resque("ImportJob", number, 1)), resque("ImportJob", 4, 1));
    client.must(&["RPUSH", "resque:delayed:1", &jobs[0], &jobs[1], &jobs[2]]);
    sure(&mut client, NEARLY_FULL);
    // As resque-scheduler does, in batches of two: first the pushes, then what makes them moves.
    let mut move_batch = |pushed: [&str; 2]| {
        client.line("MULTI");
        client.must(&["SREM", &format!("resque:timestamps:{}", pushed[0]), "delayed:1"]);
        client.line("SADD resque:queues a");
        pushed.iter().for_each(|job| assert_eq!(client.must(&["RPUSH", "resque:queue:a", job]).text(), "QUEUED"));
        client.line("LTRIM resque:delayed:1 2 -1");
        let reply = client.line("EXEC");
        let lists = ["resque:queue:a", "resque:delayed:1"].map(|key| list(&mut client, key));
        (reply.is_error(), lists)
    };
    assert_eq!(move_batch([&jobs[0], &other]), (true, [Vec::new(), jobs.to_vec()]), "one of the two is new");
    let (is_refused, lists) = move_batch([&jobs[0], &jobs[1]]);
    assert!(!is_refused);
    assert_eq!(lists, [jobs[..2].to_vec(), jobs[2..].to_vec()]);
}

#[test]
fn a_refusal_inside_a_transaction_comes_before_any_part_of_it() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let job = |number| sidekiq("ImportJob", number, 1);
    client.must(&["LPUSH", "queue:a", &job(1), &job(2)]);
    sure(&mut client, NEARLY_FULL);
    client.line("MULTI");
    client.line("RPOP queue:a");
    client.must(&["LPUSH", "queue:a", &job(3)]);
    client.line("EXEC");
    client.line("DISCARD");
    assert_eq!(list(&mut client, "queue:a"), [job(2), job(1)]);
    let script = "return redis.call('LPUSH', KEYS[1], ARGV[1])";
    assert!(client.must(&["EVAL", script, "1", "queue:a", &job(3)]).is_error());
    assert_eq!(list(&mut client, "queue:a"), [job(2), job(1)], "a script is refused before it has written");
}

#[test]
fn a_job_that_comes_back_is_taken_from_the_queue_by_a_rule_all_the_same() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let job = |number| sidekiq("ImportJob", number, 1);
    client.must(&["LPUSH", "queue:a", &job(1), &job(2)]);
    assert_eq!(client.line("RPOP queue:a").text(), job(1));
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    wait_until_swept(&mut client, "imp");
    sure(&mut client, NEARLY_FULL);
    // It is matched: it is never delivered again, and not lost either.
    assert_eq!(client.must(&["RPUSH", "queue:a", &job(1)]).integer(), 1);
    assert_eq!(list(&mut client, "job:quarantine:imp:queue:a"), [job(2), job(1)]);
    // Rules can be made and ended, and quarantines emptied, on a disk that is full.
    sure(&mut client, "JOB.PAUSE queue:a");
    sure(&mut client, "JOB.RESUME queue:a");
    sure(&mut client, "JOB.BLACKHOLE DEL imp");
    sure(&mut client, "JOB.BLACKHOLE PURGE imp");
    super::wait_until_quarantined(&mut client, "imp", 0);
}
