//! Queues that tenants share: whose job is next, on a live server and through everything that happens to a queue.

use super::{field, list, number, refused, start, sure, wait_until, wait_until_blocked};
use crate::harness::{Client, Value};
use std::collections::BTreeMap;
use std::thread;

const Q: &str = "queue:q";
/// Jobs of one LPUSH.
const BATCH: usize = 500;

fn job(tenant: &str, number: usize) -> String {
    let tenant = if tenant == "-" { String::new() } else { format!(r#","tenant_id":"{tenant}""#) };
    format!(r#"{{"class":"A","args":[{number}],"jid":"{number:024x}"{tenant}}}"#)
}

/// The tenant and the number of a job.
fn read(payload: &str) -> (String, usize) {
    let after = |mark: &str| payload.split_once(mark).map(|(_, rest)| rest);
    let number = after("\"args\":[").and_then(|rest| rest.split(']').next()).and_then(|number| number.parse().ok());
    let tenant = after("\"tenant_id\":\"").and_then(|rest| rest.split('"').next()).unwrap_or("-");
    (tenant.to_owned(), number.expect("a job has its number"))
}

fn push(client: &mut Client, jobs: impl IntoIterator<Item = String>) {
    let jobs: Vec<String> = jobs.into_iter().collect();
    for batch in jobs.chunks(BATCH) {
        let words: Vec<&str> = ["LPUSH", Q].into_iter().chain(batch.iter().map(String::as_str)).collect();
        client.must(&words);
    }
}

/// Pops everything; a pop that finds nothing while jobs wait is asked again.
fn drain(client: &mut Client) -> Vec<(String, usize)> {
    let mut order = Vec::new();
    wait_until("the queue is empty", || {
        loop {
            match client.must(&["RPOP", Q, "100"]) {
                Value::Array(jobs) => order.extend(jobs.iter().map(|job| read(&job.text()))),
                _ => return client.must(&["LLEN", Q]).integer() == 0,
            }
        }
    });
    order
}

/// Waits until the sweeper has seen whose all the jobs are.
fn wait_until_sorted(client: &mut Client) {
    wait_until("all is sorted into lanes", || {
        let told = sure(client, "JOB.TENANT STATS q");
        number(&told, "tenants") > 1 && number(&told, "sorting") == 0
    });
}

/// Panics unless each tenant's jobs came in order and all of them once.
fn check_order(order: &[(String, usize)], counts: &[(&str, usize)]) {
    let mut by_tenant: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (tenant, number) in order {
        by_tenant.entry(tenant).or_default().push(*number);
    }
    for (tenant, count) in counts {
        let numbers = by_tenant.remove(tenant).unwrap_or_default();
        assert!(numbers.iter().copied().eq(0..*count), "{tenant}: not each of {count} once and in order: {numbers:?}");
    }
    assert!(by_tenant.is_empty(), "jobs that nobody pushed: {:?}", by_tenant.keys());
}

#[test]
fn a_backlog_on_disk_is_shared_at_once_and_comes_out_whole() {
    for profile in [&[][..], &["--profile", "tiny"]] {
        let Some(server) = start(profile) else { return };
        let mut client = server.client();
        push(&mut client, (0..20_000).map(|number| job("a", number)));
        push(
            &mut client,
            (0..5_000).map(|number| {
                if number % 10 == 0 { job("-", number / 10) } else { job("b", number / 10 * 9 + number % 10 - 1) }
            }),
        );
        sure(&mut client, "JOB.TENANT ENABLE q");
        wait_until_sorted(&mut client);
        let told = sure(&mut client, "JOB.TENANT STATS q TOP 1");
        let top = &field(&told, "top").items()[0].clone();
        assert_eq!((field(top, "tenant").text(), number(top, "pending")), ("a".to_owned(), 20_000));
        let mut order = Vec::new();
        while let Value::Array(jobs) = client.must(&["RPOP", Q, "200"]) {
            order.extend(jobs.iter().map(|job| read(&job.text())));
            // So that it does not matter how fast the sweeper is.
            wait_until("what comes next is sorted", || {
                number(&sure(&mut client, "JOB.TENANT STATS q"), "sorting") == 0
            });
        }
        check_order(&order, &[("a", 20_000), ("b", 4_500), ("-", 500)]);
        let last_of = |tenant: &str| order.iter().rposition(|(of, _)| of == tenant).expect("it was served");
        assert!((8_500..11_000).contains(&last_of("b")), "b is served in turn with a: {}", last_of("b"));
        // Of the last thousand arrivals a tenth had no tenant, and they are served as large a part.
        assert!((4_500..6_000).contains(&last_of("-")), "jobs without a tenant get their part: {}", last_of("-"));
    }
}

#[test]
fn who_comes_later_does_not_wait_for_who_came_first() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.SHUFFLE queue:*");
    push(&mut client, (0..5_000).map(|number| job("a", number)));
    for number in 0..50 {
        assert_eq!(read(&client.must(&["RPOP", Q]).text()), ("a".to_owned(), number));
    }
    push(&mut client, (0..10).map(|number| job("b", number)));
    let next: Vec<String> = (0..22).map(|_| read(&client.must(&["RPOP", Q]).text()).0).collect();
    assert_eq!(next.iter().filter(|tenant| *tenant == "b").count(), 10, "{next:?}");
}

#[test]
fn every_kind_of_pop_goes_by_lanes() {
    let Some(server) = start(&["--profile", "tiny"]) else { return };
    let mut client = server.client();
    push(&mut client, (0..300).map(|number| job("a", number)));
    push(&mut client, (0..30).map(|number| job("b", number)));
    sure(&mut client, "JOB.SHUFFLE q");
    wait_until_sorted(&mut client);
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(client.must(&["RPOP", Q]).text());
        seen.push(client.must(&["BRPOP", Q, "1"]).items()[1].text());
        seen.push(client.must(&["RPOPLPUSH", Q, "w"]).text());
        seen.push(client.must(&["LMOVE", Q, "w", "RIGHT", "LEFT"]).text());
        seen.push(client.must(&["EVAL", "return redis.call('rpop', KEYS[1])", "1", Q]).text());
        client.must(&["MULTI"]);
        client.must(&["RPOP", Q]);
        client.must(&["RPOP", Q, "2"]);
        let done = client.must(&["EXEC"]).into_items();
        seen.push(done[0].text());
        seen.extend(done[1].items().iter().map(Value::text));
        seen.extend(client.must(&["LMPOP", "1", Q, "RIGHT", "COUNT", "2"]).items()[1].items().iter().map(Value::text));
    }
    let order: Vec<(String, usize)> = seen.iter().map(|payload| read(payload)).collect();
    check_order(&order, &[("a", 30), ("b", 30)]);
}

#[test]
fn a_waiting_worker_gets_the_first_job_of_a_tenant_that_may_go() {
    let Some(server) = start(&["--job-scan-max", "10"]) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.SHUFFLE q");
    sure(&mut client, "JOB.TENANT WEIGHT q a 0");
    push(&mut client, (0..3_000).map(|number| job("a", number)));
    let mut other = server.client();
    let waiter = thread::spawn(move || other.must(&["BRPOP", Q, "30"]).items()[1].text());
    wait_until_blocked(&mut client, 1);
    push(&mut client, [job("b", 0)]);
    assert_eq!(read(&waiter.join().expect("it is woken")).0, "b");
    assert!(client.must(&["RPOP", Q]).is_nil(), "a is paused");
    let mut other = server.client();
    let waiter = thread::spawn(move || other.must(&["BRPOP", Q, "30"]).items()[1].text());
    wait_until_blocked(&mut client, 1);
    sure(&mut client, "JOB.TENANT WEIGHT q a 1");
    assert_eq!(read(&waiter.join().expect("it is woken")), ("a".to_owned(), 0));
}

#[test]
fn rules_for_tenants_survive_a_crash_and_are_undone_dumped_and_loaded() {
    let Some(mut server) = start(&[]) else { return };
    let mut client = server.client();
    let lines = [
        "JOB.TENANT ENABLE queue:q BY $.tenant_id MODE drr COST count QUANTUM 3 COMMENT \"as agreed\"",
        "JOB.TENANT WEIGHT queue:q a 2.5",
        "JOB.TENANT WEIGHT queue:q b 0 EXPIRE 1h",
    ];
    lines.iter().for_each(|line| drop(sure(&mut client, line)));
    assert!(refused(&mut client, "JOB.SHUFFLE queue:q").contains("REPLACE"));
    push(&mut client, (0..9).map(|number| job("a", number)));
    push(&mut client, (0..9).map(|number| job("b", number)));
    server.crash_and_restart();
    let mut client = server.client();
    let dump = sure(&mut client, "JOB.CONFIG DUMP").text();
    assert_eq!(dump.lines().take(2).collect::<Vec<_>>(), lines[..2], "{dump}");
    assert_eq!(drain_some(&mut client, 20), "aaaaaaaaa", "b is paused");
    let newest = sure(&mut client, "JOB.RULES LOG 1").items()[0].clone();
    sure(&mut client, &field(&newest, "undo").text());
    assert_eq!(drain_some(&mut client, 20), "bbbbbbbbb", "the pause of b is undone");
    assert_eq!(sure(&mut client, "JOB.RULES LIST").items().len(), 2);
    sure(&mut client, "FLUSHALL");
    client.must(&["JOB.CONFIG", "LOAD", &dump]);
    assert_eq!(sure(&mut client, "JOB.CONFIG DUMP").text().lines().count(), 3);
}

fn drain_some(client: &mut Client, count: usize) -> String {
    let popped = (0..count).filter_map(|_| match client.must(&["RPOP", Q]) {
        Value::Bulk(payload) => Some(read(&String::from_utf8_lossy(&payload)).0),
        _ => None,
    });
    popped.collect()
}

#[test]
fn every_queue_is_shared_where_a_setting_says_so() {
    let Some(server) = start(&["--job-fair-default", "yes"]) else { return };
    let mut client = server.client();
    push(&mut client, (0..5).map(|number| job("a", number)));
    push(&mut client, (0..2).map(|number| job("b", number)));
    client.must(&["RPUSH", "no-queue", "1", "2"]);
    assert_eq!(drain_some(&mut client, 3), "aba");
    assert_eq!(client.must(&["RPOP", "no-queue"]).text(), "2");
    sure(&mut client, "CONFIG SET job-fair-default no");
    push(&mut client, (2..4).map(|number| job("b", number)));
    assert_eq!(drain_some(&mut client, 9), "aaabbb");
}

#[test]
fn jobs_go_on_and_off_a_shared_queue_in_every_way() {
    let Some(server) = start(&["--profile", "tiny"]) else { return };
    let mut client = server.client();
    push(&mut client, (0..2_000).map(|number| job("a", number)));
    push(&mut client, (0..2_000).map(|number| job("b", number)));
    sure(&mut client, "JOB.SHUFFLE q");
    wait_until_sorted(&mut client);
    for number in (0..2_000).step_by(3) {
        assert_eq!(client.must(&["LREM", Q, "1", &job("a", number)]).integer(), 1);
    }
    sure(&mut client, "JOB.BLACKHOLE ADD half CLASS A SAMPLE 0.5");
    super::wait_until_swept(&mut client, "half");
    sure(&mut client, "JOB.BLACKHOLE DEL half");
    sure(&mut client, "JOB.BLACKHOLE RESTORE half");
    super::wait_until_quarantined(&mut client, "half", 0);
    let mut waiting: Vec<String> = list(&mut client, Q);
    let order = drain(&mut client);
    let mut drained: Vec<String> = order.iter().map(|(tenant, number)| job(tenant, *number)).collect();
    waiting.sort_unstable();
    drained.sort_unstable();
    assert_eq!(drained, waiting);
}
