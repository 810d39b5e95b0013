//! Fifty workers, each on a connection of its own, that pop as Sidekiq does: one BRPOP after the other.

use crate::connection::{Connection, wait};
use crate::harness::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub const WORKERS: usize = 50;
/// Of all workers together: enough to meet whatever could slip through, without emptying the queue meanwhile.
pub const JOBS_PER_SECOND: u32 = 2_000;
/// How soon a worker that waits in vain asks again, and how long the last of them are waited for.
const BLOCK_SECONDS: &str = "1";
/// How often the order to stop is looked for when nothing is to be sent.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What the workers are told, and what they tell.
pub struct Shift<'a> {
    pub queue: &'a str,
    /// After so many jobs they only wait to be stopped.
    pub jobs_max: u64,
    pub stop: &'a AtomicBool,
    pub delivered: &'a AtomicU64,
}

/// Pops at the given rate until stopped, and hands over each job with the moment at which it was asked for.
///
/// Ends when every BRPOP has been answered, so that no job is lost on its way.
pub fn work(port: u16, shift: &Shift, mut take: impl FnMut(&[u8], Instant)) {
    let mut connections = (0..WORKERS).map(|_| Connection::open(port)).collect::<Vec<_>>();
    let mut asked_at: Vec<Option<Instant>> = vec![None; WORKERS];
    // In turn, so that all of them work even if one alone would do.
    let mut idle = (0..WORKERS).collect::<VecDeque<_>>();
    let interval = Duration::from_secs(1) / JOBS_PER_SECOND;
    let mut next_ask = Instant::now();
    let mut left = shift.jobs_max;
    loop {
        let stopping = shift.stop.load(Ordering::Relaxed);
        if stopping && idle.len() == WORKERS {
            return;
        }
        let now = Instant::now();
        while !stopping && left > 0 && now >= next_ask {
            // Jobs that nobody was free for are not caught up with.
            next_ask = (next_ask + interval).max(now - Duration::from_millis(10));
            let Some(worker) = idle.pop_front() else { continue };
            asked_at[worker] = Some(Instant::now());
            connections[worker].send(&["BRPOP", shift.queue, BLOCK_SECONDS]);
            left -= 1;
        }
        let asks_again = !stopping && left > 0;
        let pause = if asks_again { next_ask.saturating_duration_since(now) } else { LOOK_INTERVAL };
        let ready = wait(&connections, pause);
        for worker in ready {
            for reply in connections[worker].replies() {
                let asked_at = asked_at[worker].take().expect("one reply to one request");
                idle.push_back(worker);
                match reply {
                    Value::Array(pair) => {
                        take(pair[1].bytes(), asked_at);
                        shift.delivered.fetch_add(1, Ordering::Relaxed);
                    }
                    nil if nil.is_nil() => left += 1,
                    other => panic!("BRPOP was answered {other:?}"),
                }
            }
        }
    }
}
