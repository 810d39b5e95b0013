//! SCOPE all: the sets of scheduled and failed jobs and resque-scheduler's delayed lists are swept, with what the library
//! has noted about them.

use super::payload::sidekiq;
use super::{info, list, number, start, sure, wait_until_quarantined, wait_until_swept};
use crate::harness::{Client, Value};

/// A job of resque-scheduler, which names its queue in the payload.
fn delayed(class: &str, number: usize, queue: &str) -> String {
    format!(r#"{{"class":"{class}","args":[{number}],"queue":"{queue}"}}"#)
}

/// What `Resque.enqueue_at` writes.
fn enqueue_at(client: &mut Client, namespace: &str, moment: usize, payload: &str) {
    client.must(&["RPUSH", &format!("{namespace}delayed:{moment}"), payload]);
    client.must(&["SADD", &format!("{namespace}timestamps:{payload}"), &format!("delayed:{moment}")]);
    client.must(&["ZADD", &format!("{namespace}delayed_queue_schedule"), &moment.to_string(), &moment.to_string()]);
}

fn scores(client: &mut Client, key: &str) -> Vec<(String, String)> {
    let reply = client.must(&["ZRANGE", key, "0", "-1", "WITHSCORES"]);
    reply.items().chunks(2).map(|pair| (pair[0].text(), pair[1].text())).collect()
}

#[test]
fn scheduled_and_failed_jobs_are_swept_and_restored_with_their_scores() {
    for profile in ["ordinary", "tiny"] {
        let Some(server) = start(&["--profile", profile]) else { return };
        let mut client = server.client();
        sure(&mut client, "LPUSH app:queue:x x");
        let places = ["schedule", "retry", "app:schedule", "app:retry"];
        for key in places {
            for number in 0..600 {
                let class = if number % 3 == 0 { "ImportJob" } else { "ExportJob" };
                client.must(&["ZADD", key, &format!("{}.5", 1000 + number), &sidekiq(class, number, 1)]);
            }
        }
        let before = places.map(|key| scores(&mut client, key));
        sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
        wait_until_swept(&mut client, "imp");
        for (key, before) in places.iter().zip(&before) {
            let (bad, good): (Vec<_>, Vec<_>) = before.iter().cloned().partition(|(job, _)| job.contains("ImportJob"));
            assert_eq!(scores(&mut client, key), good, "{key}, {profile}");
            assert_eq!(scores(&mut client, &format!("job:quarantine:imp:{key}")), bad, "{key}, {profile}");
        }
        assert_eq!(number(&info(&mut client, "imp"), "quarantined"), 800);
        sure(&mut client, "JOB.BLACKHOLE DEL imp");
        sure(&mut client, "JOB.BLACKHOLE RESTORE imp");
        wait_until_quarantined(&mut client, "imp", 0);
        assert_eq!(places.map(|key| scores(&mut client, key)), before);
    }
}

#[test]
fn scope_queues_leaves_the_sets_alone_and_a_queue_is_read_from_the_payload() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    client.must(&["ZADD", "schedule", "1", &sidekiq("ImportJob", 1, 1)]);
    client.must(&["ZADD", "schedule", "2", &delayed("ImportJob", 2, "other")]);
    sure(&mut client, "JOB.BLACKHOLE ADD queues CLASS ImportJob SCOPE queues");
    wait_until_swept(&mut client, "queues");
    assert_eq!(client.line("ZCARD schedule").integer(), 2);
    sure(&mut client, "JOB.BLACKHOLE ADD other QUEUE other CLASS ImportJob");
    wait_until_swept(&mut client, "other");
    assert_eq!(scores(&mut client, "schedule"), [(sidekiq("ImportJob", 1, 1), "1".to_owned())]);
    // What comes later is caught on its way into the queue.
    client.must(&["LPUSH", "queue:other", &delayed("ImportJob", 3, "other")]);
    assert_eq!(client.line("EXISTS queue:other").integer(), 0);
}

#[test]
fn delayed_lists_of_resque_scheduler_are_swept_with_their_bookkeeping() {
    for (profile, namespace) in [("ordinary", "resque:"), ("tiny", ""), ("tiny", "app:resque:")] {
        let Some(server) = start(&["--profile", profile]) else { return };
        let mut client = server.client();
        client.must(&["RPUSH", &format!("{namespace}queue:mails"), &delayed("MailJob", 0, "mails")]);
        let (bad, good) = (delayed("ImportJob", 1, "imports"), delayed("MailJob", 2, "mails"));
        enqueue_at(&mut client, namespace, 1000, &bad);
        enqueue_at(&mut client, namespace, 2000, &bad);
        enqueue_at(&mut client, namespace, 2000, &good);
        for number in 0..300 {
            enqueue_at(&mut client, namespace, 3000 + number % 50, &delayed("ImportJob", 10 + number, "imports"));
        }
        sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
        wait_until_swept(&mut client, "imp");

        let key = |name: &str| format!("{namespace}{name}");
        assert_eq!(list(&mut client, &key("delayed:2000")), std::slice::from_ref(&good), "{namespace}");
        assert_eq!(client.must(&["EXISTS", &key("delayed:1000"), &key("delayed:3000")]).integer(), 0, "{namespace}");
        assert_eq!(scores(&mut client, &key("delayed_queue_schedule")), [("2000".to_owned(), "2000".to_owned())]);
        let noted = client.must(&["KEYS", &key("timestamps:*")]);
        assert_eq!(noted, Value::Array(vec![Value::Bulk(key(&format!("timestamps:{good}")).into_bytes())]));
        assert_eq!(number(&info(&mut client, "imp"), "quarantined"), 302, "{namespace}");

        sure(&mut client, "JOB.BLACKHOLE DEL imp");
        sure(&mut client, "JOB.BLACKHOLE RESTORE imp");
        wait_until_quarantined(&mut client, "imp", 0);
        let mut moments = client.must(&["SMEMBERS", &key(&format!("timestamps:{bad}"))]).into_items();
        moments.sort();
        let texts: Vec<String> = moments.iter().map(Value::text).collect();
        assert_eq!(texts, ["delayed:1000", "delayed:2000"], "{namespace}");
        assert_eq!(list(&mut client, &key("delayed:1000")), std::slice::from_ref(&bad));
        assert_eq!(client.must(&["LLEN", &key("delayed:2000")]).integer(), 2);
        assert_eq!(scores(&mut client, &key("delayed_queue_schedule")).len(), 52);
        assert_eq!(client.must(&["ZSCORE", &key("delayed_queue_schedule"), "3049"]).text(), "3049");
    }
}

#[test]
fn a_rule_for_what_is_older_is_swept_again_and_one_for_what_was_before_is_fixed() {
    let Some(server) = start(&[]) else { return };
    let mut client = server.client();
    let now = client.line("TIME").items()[0].text();
    let job = |class: &str, number: usize, created: &str| {
        format!(
            r#"{{"class":"{class}","args":[],"jid":"{number:024x}","created_at":{created},"enqueued_at":{created}}}"#
        )
    };
    let (old, new) = (
        job("ImportJob", 1, "1764000000.5"),
        job("ImportJob", 2, &format!("{}.0", now.parse::<u64>().unwrap() + 3600)),
    );
    client.must(&["LPUSH", "queue:a", &old, &new]);
    sure(&mut client, "JOB.BLACKHOLE ADD before CLASS ImportJob BEFORE now");
    wait_until_swept(&mut client, "before");
    assert_eq!(list(&mut client, "queue:a"), std::slice::from_ref(&new));
    assert_eq!(list(&mut client, "job:quarantine:before:queue:a"), std::slice::from_ref(&old));
    sure(&mut client, "JOB.BLACKHOLE DEL before");
    client.must(&["LPUSH", "queue:b", &old, &new]);
    sure(&mut client, "JOB.BLACKHOLE ADD older OLDER 1s QUEUE queue:b");
    assert_eq!(client.line("RPOP queue:b").text(), new, "what is too old is passed over");
    assert!(client.line("RPOP queue:b").is_nil());
    wait_until_quarantined(&mut client, "older", 1);
}
