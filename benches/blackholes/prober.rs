//! What other users notice: an open-loop client at a fixed rate, which goes on asking while the server is silent.

use crate::connection::{Connection, wait};
use crate::harness::{self, Value};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const OPS_PER_SECOND: u32 = 1_000;
const QUEUE: &str = "queue:probe";
const JOB: &str = r#"{"class":"ProbeJob","args":[{"customer_id":1}],"jid":"b4a577edbccf1d805744efa9","retry":true}"#;
/// A longer silence is a hang.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// How long the replies took, from the moment at which each request was due.
///
/// Counting from when it was sent would leave out what the server's silence, or a busy machine, kept from being sent.
pub struct Latencies {
    sorted_ms: Vec<f64>,
    /// Requests that Redis answered with BUSY, because of a script.
    pub refused: u64,
}

impl Latencies {
    pub fn p99_ms(&self) -> f64 {
        harness::quantile(&self.sorted_ms, 0.99)
    }

    pub fn most_ms(&self) -> f64 {
        harness::quantile(&self.sorted_ms, 1.0)
    }
}

/// Does some work while another thread pushes to and pops from a queue of its own.
pub fn beside<T>(port: u16, work: impl FnOnce() -> T) -> (T, Latencies) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let prober = scope.spawn(|| probe(port, &stop));
        let raise = harness::RaiseOnDrop(&stop);
        let result = work();
        drop(raise);
        (result, prober.join().expect("the prober ends well"))
    })
}

/// Pushes and pops in turn, each at its time, until told to stop and all is answered.
fn probe(port: u16, stop: &AtomicBool) -> Latencies {
    let mut connections = [Connection::open(port)];
    let mut latencies = Latencies { sorted_ms: Vec::new(), refused: 0 };
    let mut unanswered = VecDeque::new();
    let began = Instant::now();
    let mut asked = 0;
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && unanswered.is_empty() {
            break;
        }
        while !stopping && began.elapsed() >= due(asked) {
            match asked % 2 {
                0 => connections[0].send(&["LPUSH", QUEUE, JOB]),
                _ => connections[0].send(&["RPOP", QUEUE]),
            }
            unanswered.push_back(due(asked));
            asked += 1;
        }
        wait(
            &connections,
            if stopping { Duration::from_millis(10) } else { due(asked).saturating_sub(began.elapsed()) },
        );
        for reply in connections[0].replies() {
            match reply {
                Value::Error(text) if text.starts_with("BUSY") => latencies.refused += 1,
                Value::Error(text) => panic!("the prober was answered {text}"),
                _ => {}
            }
            let due = unanswered.pop_front().expect("one reply to one request");
            latencies.sorted_ms.push((began.elapsed() - due).as_secs_f64() * 1e3);
        }
        let oldest = unanswered.front().copied().unwrap_or(began.elapsed());
        assert!(began.elapsed().saturating_sub(oldest) < SILENCE_MAX, "the server is silent");
    }
    latencies.sorted_ms.sort_by(f64::total_cmp);
    latencies
}

/// When the request of this number is to be sent.
fn due(asked: u32) -> Duration {
    Duration::from_secs(1) / OPS_PER_SECOND * asked
}
