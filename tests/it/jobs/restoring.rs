//! RESTORE and PURGE.

use super::payload::sidekiq;
use super::{info, list, number, refused, start, sure, wait_until, wait_until_quarantined, wait_until_swept};
use crate::harness::Client;

const A: &str = "queue:a";
const QUARANTINE: &str = "job:quarantine:imp:queue:a";

fn bad(number: usize) -> String {
    sidekiq("ImportJob", number, number % 2)
}

fn good(number: usize) -> String {
    sidekiq("ExportJob", number, 1)
}

/// Pushes bad and good jobs, from the left as Sidekiq does; sweeps the bad ones 0 to 5, and ends the rule.
fn sweep(client: &mut Client) {
    for number in 0..6 {
        client.must(&["LPUSH", A, &bad(number), &good(100 + number)]);
    }
    sure(client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    wait_until_swept(client, "imp");
    sure(client, "JOB.BLACKHOLE DEL imp");
    assert_eq!(list(client, QUARANTINE), (0..6).map(bad).collect::<Vec<_>>());
}

/// The queue as workers meet it.
fn oldest_first(client: &mut Client) -> Vec<String> {
    list(client, A).into_iter().rev().collect()
}

fn goods() -> Vec<String> {
    (100..106).map(good).collect()
}

#[test]
fn what_is_restored_goes_to_the_back_or_the_front_in_order_of_arrival() {
    for (place, profile) in [("", "ordinary"), ("AT back", "tiny"), ("AT front", "ordinary"), ("AT front", "tiny")] {
        let Some(server) = start(&["--profile", profile]) else { return };
        let mut client = server.client();
        sweep(&mut client);
        sure(&mut client, &format!("JOB.BLACKHOLE RESTORE imp {place}"));
        wait_until_quarantined(&mut client, "imp", 0);
        let bads: Vec<String> = (0..6).map(bad).collect();
        let expected = if place == "AT front" { [bads, goods()].concat() } else { [goods(), bads].concat() };
        assert_eq!(oldest_first(&mut client), expected, "{place}, {profile}");
        assert_eq!(client.line("EXISTS job:quarantine:imp:queue:a").integer(), 0);
        assert_eq!(number(&info(&mut client, "imp"), "restored"), 6);
    }
}

#[test]
fn a_count_or_a_predicate_restores_a_part_and_leaves_the_rest() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sweep(&mut client);
    sure(&mut client, "JOB.BLACKHOLE RESTORE imp ARG customer_id=1 COUNT 2");
    wait_until_quarantined(&mut client, "imp", 4);
    assert_eq!(oldest_first(&mut client), [goods(), vec![bad(1), bad(3)]].concat());
    assert_eq!(list(&mut client, QUARANTINE), [bad(0), bad(2), bad(4), bad(5)]);
    sure(&mut client, "JOB.BLACKHOLE RESTORE imp COUNT 1");
    wait_until_quarantined(&mut client, "imp", 3);
    assert_eq!(list(&mut client, QUARANTINE), [bad(2), bad(4), bad(5)]);
    sure(&mut client, &format!("JOB.BLACKHOLE RESTORE imp JID {:024x}", 4));
    wait_until_quarantined(&mut client, "imp", 2);
    assert_eq!(oldest_first(&mut client), [goods(), vec![bad(1), bad(3), bad(0), bad(4)]].concat());
    assert!(refused(&mut client, "JOB.BLACKHOLE RESTORE imp COUNT 0").contains("COUNT"));
    assert!(refused(&mut client, "JOB.BLACKHOLE RESTORE imp AT middle").contains("AT"));
}

#[test]
fn a_rate_restores_little_by_little() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sweep(&mut client);
    sure(&mut client, "JOB.BLACKHOLE RESTORE imp RATE 1");
    wait_until("the first one is back", || number(&info(&mut client, "imp"), "restored") >= 1);
    assert!(number(&info(&mut client, "imp"), "quarantined") > 0, "not all at once");
    sure(&mut client, "JOB.BLACKHOLE RESTORE imp RATE 1000000");
    wait_until_quarantined(&mut client, "imp", 0);
    assert_eq!(client.line("LLEN queue:a").integer(), 12);
}

#[test]
fn a_restore_is_refused_while_a_rule_would_take_the_jobs_again_and_names_it() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sweep(&mut client);
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    assert!(refused(&mut client, "JOB.BLACKHOLE RESTORE imp").contains("'imp'"));
    sure(&mut client, "JOB.BLACKHOLE DEL imp");
    sure(&mut client, "JOB.BLACKHOLE ADD \"another one\" QUEUE queue:a ALL");
    wait_until_swept(&mut client, "another one");
    assert!(refused(&mut client, "JOB.BLACKHOLE RESTORE imp").contains("'another one'"));
    assert_eq!(list(&mut client, QUARANTINE).len(), 6);
    assert_eq!(client.line("EXISTS queue:a").integer(), 0);
    sure(&mut client, "JOB.BLACKHOLE DEL \"another one\"");
    sure(&mut client, "JOB.BLACKHOLE RESTORE imp");
    wait_until_quarantined(&mut client, "imp", 0);
}

#[test]
fn a_job_in_the_middle_of_a_quarantine_is_not_handed_out_while_another_rule_takes_it() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["LPUSH", A, &good(1), &bad(2), &good(3)]);
    sure(&mut client, "JOB.BLACKHOLE ADD imp QUEUE queue:a ALL");
    wait_until_swept(&mut client, "imp");
    sure(&mut client, "JOB.BLACKHOLE DEL imp");
    // With a list that is swept already, nothing in it need be looked at.
    client.must(&["LPUSH", A, &good(0)]);
    sure(&mut client, "JOB.BLACKHOLE ADD other CLASS ImportJob");
    wait_until_swept(&mut client, "other");
    if client.line("JOB.BLACKHOLE RESTORE imp").is_error() {
        return;
    }
    wait_until("the others are back", || client.line("LLEN queue:a").integer() >= 3);
    let mut popped = Vec::new();
    loop {
        let reply = client.line("RPOP queue:a");
        if reply.is_nil() {
            break;
        }
        popped.push(reply.text());
    }
    assert_eq!(popped, [good(0), good(1), good(3)]);
    // Each job is in one place: it stayed where it was, or the other rule has it.
    wait_until("it is in quarantine", || client.line("LLEN queue:a").integer() == 0);
    let kept = [list(&mut client, QUARANTINE), list(&mut client, "job:quarantine:other:queue:a")].concat();
    assert_eq!(kept, [bad(2)]);
}

#[test]
fn a_purge_deletes_for_good_and_counts() {
    let Some(server) = start(&["--profile", "tiny"]) else { return };
    let mut client = server.client();
    sweep(&mut client);
    sure(&mut client, "JOB.BLACKHOLE PURGE imp ARG customer_id=1");
    wait_until_quarantined(&mut client, "imp", 3);
    assert_eq!(list(&mut client, QUARANTINE), [bad(0), bad(2), bad(4)]);
    sure(&mut client, "JOB.BLACKHOLE PURGE imp");
    wait_until_quarantined(&mut client, "imp", 0);
    assert_eq!(number(&info(&mut client, "imp"), "purged"), 6);
    assert_eq!(oldest_first(&mut client), goods());
}

#[test]
fn a_purge_leaves_what_is_caught_after_it() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
    client.must(&["LPUSH", "queue:a", &bad(0), &bad(1)]);
    // In one transaction, so that the work begins when the last job is there.
    client.line("MULTI");
    client.line("JOB.BLACKHOLE PURGE imp");
    client.must(&["LPUSH", "queue:a", &bad(2)]);
    assert!(!client.line("EXEC").is_error());
    wait_until_quarantined(&mut client, "imp", 1);
    assert_eq!(list(&mut client, QUARANTINE), [bad(2)]);
}

/// What sidekiq-unique-jobs keeps of a lock.
fn lock(client: &mut Client, digest: &str) {
    sure(client, &format!("SET {digest} jid"));
    for (command, suffix) in [
        ("LPUSH", "QUEUED"),
        ("LPUSH", "PRIMED"),
        ("HSET", "LOCKED"),
        ("SET", "INFO"),
        ("LPUSH", "RUN:QUEUED"),
        ("HSET", "RUN:LOCKED"),
        ("SET", "RUN:INFO"),
    ] {
        let value = if command == "HSET" { "jid 1" } else { "jid" };
        sure(client, &format!("{command} {digest}:{suffix} {value}"));
    }
    sure(client, &format!("ZADD uniquejobs:digests 1 {digest}"));
}

fn unique(number: usize) -> String {
    format!(
        r#"{{"class":"ImportJob","args":[],"jid":"{number:024x}","lock":"until_executed","lock_digest":"uniquejobs:{number}"}}"#
    )
}

#[test]
fn locks_of_unique_jobs_go_with_the_jobs_where_unlock_says_so() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    for number in 1..=4 {
        lock(&mut client, &format!("uniquejobs:{number}"));
    }
    let locks = |client: &mut Client, number: usize| {
        let keys = client.must(&["KEYS", &format!("uniquejobs:{number}*")]).items().len();
        (keys, client.must(&["ZSCORE", "uniquejobs:digests", &format!("uniquejobs:{number}")]).is_nil())
    };
    const THERE: (usize, bool) = (8, false);
    const GONE: (usize, bool) = (0, true);
    client.must(&["LPUSH", A, &unique(1), &unique(2)]);
    sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob UNLOCK");
    wait_until_swept(&mut client, "imp");
    assert_eq!(locks(&mut client, 1), THERE, "what is in quarantine keeps its lock");
    assert_eq!(number(&info(&mut client, "imp"), "unique"), 2);
    sure(&mut client, &format!("JOB.BLACKHOLE PURGE imp JID {:024x}", 1));
    wait_until_quarantined(&mut client, "imp", 1);
    assert_eq!(locks(&mut client, 1), THERE, "a purge without UNLOCK leaves locks alone");
    sure(&mut client, "JOB.BLACKHOLE PURGE imp UNLOCK");
    wait_until_quarantined(&mut client, "imp", 0);
    assert_eq!(locks(&mut client, 2), GONE);

    sure(&mut client, "JOB.BLACKHOLE DEL imp");
    client.must(&["LPUSH", A, &unique(3)]);
    sure(&mut client, "JOB.BLACKHOLE ADD drop CLASS ImportJob ACTION drop UNLOCK");
    wait_until_swept(&mut client, "drop");
    client.must(&["LPUSH", A, &unique(4)]);
    assert_eq!((locks(&mut client, 3), locks(&mut client, 4)), (GONE, GONE), "swept and caught at a push");
    assert_eq!(locks(&mut client, 1), THERE);
}
