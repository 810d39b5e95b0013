//! Leases on a real server: who waits is woken by what comes back, and a kill loses none of them.

use super::payload::sidekiq;
use super::{start, sure, wait_until};
use crate::harness::{Client, Value};
use std::collections::BTreeSet;

/// Long enough that it is not over before the test is.
const LONG: &str = "10m";

fn tokens(reply: &Value) -> Vec<String> {
    reply.items().iter().map(|job| job.items()[1].text()).collect()
}

fn reserve(client: &mut Client, lease: &str, count: usize) -> Vec<String> {
    tokens(&sure(client, &format!("JOB.RESERVE COUNT {count} LEASE {lease} FROM default")))
}

#[test]
fn a_blocked_worker_gets_what_is_added_and_what_a_lease_gives_back() {
    let Some(server) = start(&[]) else { return };
    let (mut client, mut waiting, mut stock) = (server.client(), server.client(), server.client());
    waiting.send(&["JOB.RESERVE", "BLOCK", "0", "LEASE", "200ms", "FROM", "other", "default"]).expect("it is sent");
    wait_until("it waits", || client.info("clients")["blocked_clients"] == "1");
    sure(&mut client, r#"JOB.ADD default '{"class":"Mail","jid":"m1"}'"#);
    assert_eq!(tokens(&waiting.reply().expect("it is answered")), ["m1"]);
    // The worker has gone; one that knows nothing of leases gets its job.
    drop(waiting);
    let popped = stock.must(&["BRPOP", "queue:default", "60"]);
    assert_eq!(popped.items()[1].text(), r#"{"class":"Mail","jid":"m1"}"#);
    assert!(client.must(&["JOB.ACK", "m1"]).is_error());
    sure(&mut client, r#"JOB.ADD default '{"class":"Mail","jid":"m2"}' DELAY 50ms"#);
    assert_eq!(stock.must(&["BRPOP", "queue:default", "60"]).items()[1].text(), r#"{"class":"Mail","jid":"m2"}"#);
}

#[test]
fn a_kill_loses_no_lease_and_gives_none_twice() {
    check(&[]);
}

#[test]
fn a_kill_loses_no_lease_where_everything_is_on_disk() {
    check(&["--profile", "tiny"]);
}

fn check(flags: &[&str]) {
    let Some(mut server) = start(flags) else { return };
    let mut client = server.client();
    const JOBS: usize = 600;
    for number in 0..JOBS {
        client.must(&["JOB.ADD", "default", &sidekiq("Mail", number, number % 3)]);
    }
    let held = reserve(&mut client, LONG, 200);
    let ended: Vec<String> = held.iter().step_by(4).cloned().collect();
    for token in &ended {
        sure(&mut client, &format!("JOB.ACK {token}"));
    }
    let back: Vec<String> = held.iter().skip(1).step_by(4).cloned().collect();
    for token in &back {
        sure(&mut client, &format!("JOB.NACK {token}"));
    }
    let later: Vec<String> = held.iter().skip(2).step_by(4).cloned().collect();
    for token in &later {
        sure(&mut client, &format!("JOB.NACK {token} DELAY 1h"));
    }
    server.crash_and_restart();
    let mut client = server.client();
    for token in ended.iter().chain(&back).chain(&later) {
        assert!(client.must(&["JOB.ACK", token]).is_error(), "{token} is not leased any more");
    }
    for token in &later {
        assert_eq!(sure(&mut client, &format!("JOB.STATUS {token}")).items()[1].text(), "retrying");
    }
    let left = held.iter().skip(3).step_by(4);
    for token in left.clone() {
        assert_eq!(client.must(&["JOB.ACK", token]).text(), "OK", "{token}");
    }
    let mut got = Vec::new();
    loop {
        let more = reserve(&mut client, LONG, 100);
        if more.is_empty() {
            break;
        }
        got.extend(more);
    }
    let again: BTreeSet<String> = back.iter().map(|token| format!("{token}#2")).collect();
    let (second, first): (Vec<String>, Vec<String>) = got.into_iter().partition(|token| token.ends_with("#2"));
    assert_eq!(second.into_iter().collect::<BTreeSet<_>>(), again);
    assert_eq!((first.len(), first.iter().collect::<BTreeSet<_>>().len()), (JOBS - held.len(), JOBS - held.len()));
}
