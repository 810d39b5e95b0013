//! Filling a queue in the order of the jobs' numbers, and reading it back to the job.

use crate::harness::{Client, Value, encode};
use crate::jobs::Jobs;
use std::ops::Range;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub const QUEUE: &str = "queue:default";
const JOBS_PER_PUSH: u64 = 200;
const JOBS_PER_PAGE: u64 = 1_000;
/// Pushes that are made ready ahead.
const PUSHES_AHEAD: usize = 64;
/// A store that is behind refuses pushes for less.
const REFUSED_MAX: Duration = Duration::from_secs(60);

/// Pushes jobs with LPUSH, on one connection and each push after the reply to the one before.
///
/// Several connections, or a refusal in the middle of a pipeline, would mix up the order that all checks rest on. The
/// payloads are made in another thread meanwhile, which takes longer than a round trip.
pub fn fill(client: &mut Client, queue: &str, jobs: &Jobs, numbers: Range<u64>) {
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(PUSHES_AHEAD);
        scope.spawn(move || {
            let mut first = numbers.start;
            while first < numbers.end {
                let last = (first + JOBS_PER_PUSH).min(numbers.end);
                let mut words = vec![b"LPUSH".to_vec(), queue.as_bytes().to_vec()];
                words.extend((first..last).map(|n| jobs.payload(n)));
                let mut wire = Vec::new();
                encode(&mut wire, &words);
                if sender.send(wire).is_err() {
                    return;
                }
                first = last;
            }
        });
        for push in receiver {
            deliver(client, &push);
        }
    });
}

fn deliver(client: &mut Client, push: &[u8]) {
    let began = Instant::now();
    loop {
        client.send_raw(push).expect("the server reads");
        match client.reply().expect("the server answers") {
            Value::Integer(_) => return,
            Value::Error(text) if text.starts_with("OOM") && began.elapsed() < REFUSED_MAX => {
                thread::sleep(Duration::from_millis(100));
            }
            other => panic!("a push was answered {other:?}"),
        }
    }
}

/// Reads the whole queue from the back, where jobs are pushed, and panics unless it holds just these jobs in this order.
pub fn check_whole(client: &mut Client, queue: &str, jobs: &Jobs, mut expected: impl Iterator<Item = u64>) {
    let mut position = 0;
    loop {
        let page = client.line(&format!("LRANGE {queue} {position} {}", position + JOBS_PER_PAGE - 1)).into_items();
        if page.is_empty() {
            assert_eq!(expected.next(), None, "{queue} ends after {position} jobs");
            return;
        }
        for job in page {
            match expected.next() {
                Some(n) if jobs.payload(n) == job.bytes() => position += 1,
                other => {
                    panic!("{queue} at {position}: job {} instead of {other:?}", jobs.identify(job.bytes()))
                }
            }
        }
    }
}

/// Waits until the store has what is not to stay in memory: no measurement is to rest on a backlog still under way.
pub fn settle(client: &mut Client) {
    let began = Instant::now();
    let busy =
        |client: &mut Client| client.info("millpond").get("memory_spills_bytes").is_some_and(|bytes| bytes != "0");
    while busy(client) && began.elapsed() < REFUSED_MAX {
        thread::sleep(Duration::from_millis(50));
    }
    thread::sleep(Duration::from_millis(500));
}
