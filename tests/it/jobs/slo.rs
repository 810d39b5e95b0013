//! Service levels on a live server, with a backlog that is not in memory.

use super::{field, start, sure, wait_until, wait_until_blocked};
use crate::harness::{Client, Value};
use std::thread;

const Q: &str = "queue:q";
/// Jobs of the class that may wait, and of the one that may not. Both were queued long ago, those of the second later.
const REPORTS: usize = 6_000;
const MAILS: usize = 600;

fn job(class: &str, number: usize, enqueued_at: u64) -> String {
    let filling = "x".repeat(200);
    format!(
        r#"{{"class":"{class}","args":[{number},"{filling}"],"jid":"{class}{number}","enqueued_at":{enqueued_at}.5}}"#
    )
}

fn push(client: &mut Client, queue: &str, class: &str, count: usize, enqueued_at: u64) {
    let jobs: Vec<String> = (0..count).map(|number| job(class, number, enqueued_at)).collect();
    for batch in jobs.chunks(500) {
        client.must(&["LPUSH", queue].into_iter().chain(batch.iter().map(String::as_str)).collect::<Vec<_>>());
    }
}

/// The id of a job.
fn id(reply: &Value) -> String {
    reply.text().split(r#""jid":""#).nth(1).and_then(|rest| rest.split('"').next()).expect("a job").to_owned()
}

fn now_s(client: &mut Client) -> u64 {
    client.must(&["TIME"]).items()[0].text().parse().expect("a number")
}

#[test]
fn the_urgent_class_of_a_deep_queue_is_served_first_and_still_is_after_a_kill() {
    let Some(mut server) = start(&["--profile", "tiny"]) else { return };
    let mut client = server.client();
    let now = now_s(&mut client);
    push(&mut client, Q, "Report", REPORTS, now - 1_000);
    push(&mut client, Q, "Mail", MAILS, now - 500);
    sure(&mut client, "JOB.SLO SET mail CLASS Mail WITHIN 1h");
    sure(&mut client, "JOB.SLO SET report CLASS Report WITHIN 7d");
    assert_eq!(id(&client.must(&["RPOP", Q])), "Report0", "levels alone change no order");
    sure(&mut client, "JOB.SLO ORDER q slack");
    let mut mails = 0;
    let mut pop_mails = |client: &mut Client, until: usize| {
        wait_until("the mails are found", || {
            while mails < until {
                let job = client.must(&["RPOP", Q]);
                if job.is_nil() {
                    return false;
                }
                assert_eq!(id(&job), format!("Mail{mails}"), "{:?}", sure(client, "JOB.EXPLAIN q"));
                mails += 1;
            }
            true
        });
    };
    wait_until("all is sorted into lanes", || {
        let told = sure(&mut client, "JOB.TENANT STATS q");
        super::number(&told, "sorting") == 0 && super::number(&told, "tenants") > 1
    });
    pop_mails(&mut client, MAILS / 2);
    server.crash_and_restart();
    let mut client = server.client();
    assert_eq!(sure(&mut client, "JOB.SLO LIST").items().len(), 3, "the rules are there");
    wait_until("all is sorted into lanes", || {
        let told = sure(&mut client, "JOB.TENANT STATS q");
        super::number(&told, "sorting") == 0 && super::number(&told, "tenants") > 1
    });
    pop_mails(&mut client, MAILS);
    let (mut next, mut left) = (1, REPORTS - 1);
    wait_until("the reports are popped", || {
        while left > 0 {
            let job = client.must(&["RPOP", Q]);
            if job.is_nil() {
                return false;
            }
            assert_eq!(id(&job), format!("Report{next}"));
            (next, left) = (next + 1, left - 1);
        }
        true
    });
    assert_eq!(client.must(&["LLEN", Q]).integer(), 0);
}

#[test]
fn a_worker_that_waits_at_several_queues_gets_what_comes() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.SLO SET mail QUEUE mail ALL WITHIN 1s");
    sure(&mut client, "JOB.SLO ORDER * slack");
    let mut other = server.client();
    let waiter = thread::spawn(move || other.must(&["BRPOP", "queue:low", "queue:mail", "30"]).items()[0].text());
    wait_until_blocked(&mut client, 1);
    push(&mut client, "queue:mail", "Mail", 1, 1_000);
    assert_eq!(waiter.join().expect("it is woken"), "queue:mail");
    push(&mut client, "queue:low", "Low", 1, 1_000_000);
    let now = now_s(&mut client);
    push(&mut client, "queue:mail", "Mail", 1, now - 10);
    let status = sure(&mut client, "JOB.SLO STATUS");
    let percent: f64 = field(&status.items()[0], "age_percent").text().parse().expect("a number");
    assert!((900.0..3_000.0).contains(&percent), "{percent}");
    assert_eq!(super::number(&status.items()[0], "late"), 1);
}
