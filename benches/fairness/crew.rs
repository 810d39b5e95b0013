//! Fifty workers that pop as Sidekiq does, one BRPOP after the other, and pause for as long as a job would take.

use crate::connection::{Connection, wait};
use crate::harness::{Client, Value, encode};
use std::collections::BinaryHeap;
use std::io::Write;
use std::time::{Duration, Instant};

pub const WORKERS: usize = 50;
pub const QUEUE: &str = "queue:default";
const BLOCK_SECONDS: &str = "1";
const JOBS_PER_PUSH: usize = 200;
/// No job, for longer than any queue here is empty: something hangs.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// A job that is pushed at its time.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub at: Duration,
    /// 0 for a job without a tenant.
    pub tenant: usize,
    pub class: &'static str,
}

impl Arrival {
    /// A job that is there from the beginning.
    pub fn at_once(tenant: usize) -> Arrival {
        Arrival { at: Duration::ZERO, tenant, class: "SyncJob" }
    }
}

/// A job that a worker got.
#[derive(Debug, Clone, Copy)]
pub struct Delivery {
    pub tenant: usize,
    pub class: &'static str,
    /// When it came.
    pub at: Duration,
    pub wait: Duration,
    /// When the worker was done with it.
    pub done: Duration,
}

/// How the workers go about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// When they end although jobs are left.
    pub until: Option<Duration>,
    /// They say when a job is done, as README's middleware does.
    pub acknowledges: bool,
}

/// A job as Sidekiq 7 writes it, known by its number.
pub fn payload(number: usize, tenant: usize, class: &str) -> Vec<u8> {
    let mut job = br#"{"retry":true,"queue":"default","class":""#.to_vec();
    write!(
        job,
        r#"{class}","args":[{number}],"jid":"{number:024x}","created_at":1760000000.5,"enqueued_at":1760000000.5"#
    )
    .expect("memory takes it");
    if tenant > 0 {
        write!(job, r#","tenant_id":{tenant}"#).expect("memory takes it");
    }
    job.push(b'}');
    job
}

fn number_of(payload: &[u8]) -> usize {
    const BEFORE: &[u8] = br#""jid":""#;
    let at = payload.windows(BEFORE.len()).position(|window| window == BEFORE).expect("a job has an id") + BEFORE.len();
    let digits = std::str::from_utf8(&payload[at..at + 24]).expect("an id is text");
    usize::from_str_radix(digits, 16).expect("an id is a number")
}

/// Pushes the arrivals, in order and each at its time, to workers who take all of them; gives what they got, in order.
///
/// What arrives at the beginning is there before the workers are. `work` says how long a job of a tenant takes.
pub fn run(port: u16, arrivals: &[Arrival], work: impl Fn(usize) -> Duration, how: How) -> Vec<Delivery> {
    let How { until, acknowledges } = how;
    let mut control = Client::connect(port).expect("the server takes connections");
    let mut next = push_all(&mut control, arrivals);
    let mut connections = (0..WORKERS).map(|_| Connection::open(port)).collect::<Vec<_>>();
    let mut held: Vec<Option<usize>> = vec![None; WORKERS];
    let mut producer = Connection::open(port);
    // Whoever has paused longest asks first; the earliest is on top.
    let mut pausing = BinaryHeap::new();
    let began = Instant::now();
    connections.iter_mut().for_each(|worker| worker.send(&["BRPOP", QUEUE, BLOCK_SECONDS]));
    let mut deliveries = Vec::with_capacity(arrivals.len());
    let mut last_news = Instant::now();
    while deliveries.len() < arrivals.len() {
        let now = began.elapsed();
        if until.is_some_and(|until| now >= until) {
            break;
        }
        while arrivals.get(next).is_some_and(|arrival| arrival.at <= now) {
            producer.send(&[
                b"LPUSH".to_vec(),
                QUEUE.as_bytes().to_vec(),
                payload(next, arrivals[next].tenant, arrivals[next].class),
            ]);
            next += 1;
        }
        producer.replies();
        while let Some(std::cmp::Reverse((at, worker))) = pausing.peek().copied()
            && at <= now
        {
            pausing.pop();
            let (connection, held): (&mut Connection, &mut Option<usize>) =
                (&mut connections[worker], &mut held[worker]);
            if let Some(number) = held.take().filter(|_| acknowledges) {
                connection.send(&["JOB.ACK", &format!("{number:024x}")]);
            }
            connection.send(&["BRPOP", QUEUE, BLOCK_SECONDS]);
        }
        let next_arrival = arrivals.get(next).map(|arrival| arrival.at);
        let next_asking = pausing.peek().map(|std::cmp::Reverse((at, _))| *at);
        let until = next_arrival.into_iter().chain(next_asking).min().unwrap_or(now + Duration::from_millis(100));
        for worker in wait(&connections, until.saturating_sub(began.elapsed())) {
            for reply in connections[worker].replies() {
                if reply.is_nil() {
                    connections[worker].send(&["BRPOP", QUEUE, BLOCK_SECONDS]);
                    continue;
                }
                if !matches!(reply, Value::Array(_)) {
                    // To JOB.ACK, which may know nothing of the job.
                    continue;
                }
                let at = began.elapsed();
                let number = number_of(reply.items()[1].bytes());
                let arrival = arrivals[number];
                held[worker] = Some(number);
                let done = at + work(arrival.tenant);
                let (tenant, class, wait) = (arrival.tenant, arrival.class, at.saturating_sub(arrival.at));
                deliveries.push(Delivery { tenant, class, at, wait, done });
                pausing.push(std::cmp::Reverse((done, worker)));
                last_news = Instant::now();
            }
        }
        assert!(last_news.elapsed() < SILENCE_MAX, "{} of {} jobs came", deliveries.len(), arrivals.len());
    }
    deliveries
}

/// Pushes what arrives at the beginning; answers how many that were.
fn push_all(control: &mut Client, arrivals: &[Arrival]) -> usize {
    let count = arrivals.iter().take_while(|arrival| arrival.at.is_zero()).count();
    for first in (0..count).step_by(JOBS_PER_PUSH) {
        let numbers = first..(first + JOBS_PER_PUSH).min(count);
        let mut words = vec![b"LPUSH".to_vec(), QUEUE.as_bytes().to_vec()];
        words.extend(numbers.map(|number| payload(number, arrivals[number].tenant, arrivals[number].class)));
        let mut wire = Vec::new();
        encode(&mut wire, &words);
        control.send_raw(&wire).expect("the server reads");
        control.reply().expect("the server answers").integer();
    }
    count
}
