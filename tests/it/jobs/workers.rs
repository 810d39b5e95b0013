//! Many workers at once, while rules come and go: none of them gets a job that a rule in force takes or holds, and each
//! job is delivered once.
//!
//! - `MILLPOND_TEST_JOBS_WORKED` jobs pushed (20,000)
//! - `MILLPOND_TEST_JOBS_SEED`

use super::payload::sidekiq;
use super::{info, number, start, sure, wait_until, wait_until_quarantined};
use crate::harness::{self, Chance, Client, RaiseOnDrop, Value};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;

const QUEUES: [&str; 2] = ["queue:a", "queue:b"];
const WORKERS: usize = 6;
const PRODUCERS: usize = 2;
/// Good jobs that are delivered while a rule is in force, and while none is.
const JOBS_PER_RULE: u64 = 200;

/// What all threads know. While the epoch is odd, a rule is in force for jobs of class ImportJob.
struct Shared {
    epoch: AtomicU64,
    next: AtomicU64,
    /// By job: the epoch in which its push was sent, and how often it was delivered.
    pushed_in: Vec<AtomicU64>,
    delivered: Vec<AtomicU64>,
    good_delivered: AtomicU64,
    done: AtomicBool,
}

#[test]
fn no_worker_gets_a_job_that_a_rule_in_force_is_for_and_each_job_is_delivered_once() {
    let seed = harness::seed_from_environment("MILLPOND_TEST_JOBS_SEED");
    let jobs = harness::size_from_environment("MILLPOND_TEST_JOBS_WORKED", 20_000) as usize;
    let Some(server) = start(&["--job-scan-max", "20"]) else { return };
    sure(&mut server.client(), "SADD queues a b");
    let none = || (0..jobs).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let shared = Shared {
        epoch: AtomicU64::new(0),
        next: AtomicU64::new(0),
        pushed_in: none(),
        delivered: none(),
        good_delivered: AtomicU64::new(0),
        done: AtomicBool::new(false),
    };
    let mut chance = Chance::new(seed);
    let rules = thread::scope(|scope| {
        let raise = RaiseOnDrop(&shared.done);
        for number in 0..WORKERS {
            let (client, chance) = (server.client(), chance.fork());
            let shared = &shared;
            scope.spawn(move || work(client, number, chance, shared));
        }
        for _ in 0..PRODUCERS {
            let (client, chance) = (server.client(), chance.fork());
            let shared = &shared;
            scope.spawn(move || produce(client, chance, shared));
        }
        let rules = make_rules(&mut server.client(), &shared, &mut chance);
        wait_until("all jobs are delivered", || shared.delivered.iter().all(|times| times.load(SeqCst) > 0));
        drop(raise);
        rules
    });
    println!("{jobs} jobs, {rules} rules");
    let twice: Vec<usize> = (0..jobs).filter(|job| shared.delivered[*job].load(SeqCst) > 1).collect();
    assert!(twice.is_empty(), "delivered more than once: {twice:?}");
    assert_eq!(server.client().line("KEYS *").items().len(), 1, "nothing is left but the names of the queues");
}

/// Puts rules into force and ends them, until all jobs are pushed; gives how many there were.
fn make_rules(client: &mut Client, shared: &Shared, chance: &mut Chance) -> u64 {
    let jobs = shared.delivered.len() as u64;
    let mut rules = 0;
    while shared.next.load(SeqCst) < jobs {
        let (make, end) = *chance.pick(&[
            ("JOB.BLACKHOLE ADD imp CLASS ImportJob", "JOB.BLACKHOLE DEL imp"),
            ("JOB.BLACKHOLE ADD imp QUEUE queue:* CLASS Imp*", "JOB.RULES DEL blackhole imp"),
            ("JOB.PAUSE queue:* CLASS ImportJob", "JOB.RESUME queue:* CLASS ImportJob"),
        ]);
        sure(client, make);
        shared.epoch.fetch_add(1, SeqCst);
        shared.wait_for_good_ones(JOBS_PER_RULE);
        shared.epoch.fetch_add(1, SeqCst);
        sure(client, end);
        rules += 1;
        if make.contains("BLACKHOLE") && number(&info(client, "imp"), "quarantined") > 0 {
            let place = if chance.one_in(2) { "front" } else { "back" };
            sure(client, &format!("JOB.BLACKHOLE RESTORE imp AT {place}"));
            // Before a rule of the same name is made again.
            wait_until_quarantined(client, "imp", 0);
        }
        shared.wait_for_good_ones(chance.below(JOBS_PER_RULE as usize) as u64);
    }
    rules
}

impl Shared {
    fn wait_for_good_ones(&self, count: u64) {
        let wanted = self.good_delivered.load(SeqCst) + count;
        let jobs = self.delivered.len() as u64;
        wait_until("workers get on", || self.good_delivered.load(SeqCst) >= wanted || self.next.load(SeqCst) >= jobs);
    }

    /// Checks one delivery; the pop was sent in epoch `sent_in`.
    fn deliver(&self, payload: &str, sent_in: u64) {
        let now = self.epoch.load(SeqCst);
        let job = job_of(payload);
        self.delivered[job].fetch_add(1, SeqCst);
        if !payload.contains("ImportJob") {
            self.good_delivered.fetch_add(1, SeqCst);
            return;
        }
        // It was in force all the time from before the pop, or from before the push, until now.
        let since = sent_in.max(self.pushed_in[job].load(SeqCst));
        assert!(now.is_multiple_of(2) || since != now, "job {job} was delivered while a rule was in force for it");
    }
}

fn produce(mut client: Client, mut chance: Chance, shared: &Shared) {
    let jobs = shared.delivered.len() as u64;
    loop {
        let first = shared.next.fetch_add(4, SeqCst);
        if first >= jobs || shared.done.load(SeqCst) {
            return;
        }
        let numbers = (first..(first + 4).min(jobs)).map(|number| number as usize);
        let queue = *chance.pick(&QUEUES);
        let mut words = vec!["LPUSH".to_owned(), queue.to_owned()];
        for number in numbers {
            shared.pushed_in[number].store(shared.epoch.load(SeqCst), SeqCst);
            words.push(sidekiq(if chance.one_in(3) { "ImportJob" } else { "ExportJob" }, number, 1));
        }
        assert!(client.must(&words).integer() >= words.len() as i64 - 2);
    }
}

fn work(mut client: Client, number: usize, mut chance: Chance, shared: &Shared) {
    let working = format!("working:{number}");
    while !shared.done.load(SeqCst) {
        let (queue, sent_in) = (*chance.pick(&QUEUES), shared.epoch.load(SeqCst));
        let reply = match chance.below(6) {
            0 => client.must(&["RPOP", queue]),
            1 => client.must(&["RPOP", queue, "3"]),
            2 => client.must(&["LMPOP", "2", queue, QUEUES[0], "RIGHT"]),
            3 => client.must(&["EVAL", "return redis.call('RPOP', KEYS[1])", "1", queue]),
            4 => client.must(&["BLMOVE", queue, &working, "RIGHT", "LEFT", "0.05"]),
            _ => client.must(&["BRPOP", queue, QUEUES[1], "0.05"]),
        };
        let mut payloads = Vec::new();
        collect(&reply, &mut payloads);
        for payload in &payloads {
            shared.deliver(payload, sent_in);
            client.must(&["LREM", &working, "1", payload]);
        }
    }
}

/// All payloads in a reply, which may also name a queue.
fn collect(reply: &Value, payloads: &mut Vec<String>) {
    match reply {
        Value::Array(items) => items.iter().for_each(|item| collect(item, payloads)),
        Value::Bulk(bytes) if bytes.starts_with(b"{") => payloads.push(reply.text()),
        _ => {}
    }
}

fn job_of(payload: &str) -> usize {
    let (_, rest) = payload.split_once("\"jid\":\"").expect("it is a job of Sidekiq");
    usize::from_str_radix(&rest[..24], 16).expect("its jid is a number")
}
