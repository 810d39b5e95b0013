//! Writers that make the log long: they overwrite the same keys faster than checkpoints can save them.
//!
//! A checkpoint begins when the log has half of its largest size, 256 MB in the `long-log` profile, and may be as slow as
//! the disk is; meanwhile the log grows on. What each key must hold after a kill is known: the last value that was answered, or a later one.

use crate::harness::{Client, RaiseOnDrop, Server, encode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const WRITERS: usize = 2;
/// Together 64 MB, half of what objects may take in memory: so much has to be saved by each checkpoint.
const KEYS_PER_WRITER: u64 = 1024;
const VALUE_BYTES: usize = 32 * 1024;
const WRITES_AT_ONCE: u64 = 32;
/// After so long the log counts as long if it is nearly as long as it has been …
const PATIENCE: Duration = Duration::from_secs(6);
const NEARLY: f64 = 0.9;
/// … and after so long whatever it is.
const PATIENCE_MAX: Duration = Duration::from_secs(15);

/// One connection's keys.
pub struct Writer {
    number: usize,
    sent: u64,
    /// For each key the last value that was answered.
    answered: Vec<u64>,
}

impl Writer {
    /// As many as write at once.
    pub fn all() -> Vec<Writer> {
        let new = |number| Writer { number, sent: 0, answered: vec![0; KEYS_PER_WRITER as usize] };
        (0..WRITERS).map(new).collect()
    }

    fn key(&self, n: u64) -> String {
        format!("long:{}:{}", self.number, n % KEYS_PER_WRITER)
    }

    /// Writes until told to stop or until the server is gone.
    fn write_until(&mut self, port: u16, stop: &AtomicBool) {
        let Ok(mut client) = Client::connect(port) else { return };
        let padding = "y".repeat(VALUE_BYTES);
        while !stop.load(Ordering::Relaxed) {
            let numbers = self.sent + 1..=self.sent + WRITES_AT_ONCE;
            let mut wire = Vec::new();
            for n in numbers.clone() {
                encode(&mut wire, &["SET", &self.key(n), &format!("{n} {padding}")]);
            }
            self.sent += WRITES_AT_ONCE;
            if client.send_raw(&wire).is_err() {
                return;
            }
            for n in numbers {
                match client.reply() {
                    // A store that is too far behind refuses what would grow memory; the key keeps its value.
                    Ok(reply) if reply.is_error() => assert!(format!("{reply:?}").starts_with("-OOM"), "{reply:?}"),
                    Ok(_) => self.answered[(n % KEYS_PER_WRITER) as usize] = n,
                    Err(_) => return,
                }
            }
        }
    }

    /// Checks that every key holds what was answered last, or something later.
    pub fn verify(&self, client: &mut Client) -> Result<(), String> {
        for answered in self.answered.iter().filter(|answered| **answered > 0) {
            let key = self.key(*answered);
            let text = client.must(&["GETRANGE", &key, "0", "19"]).text();
            let found = text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or_default();
            if found < *answered || found > self.sent {
                return Err(format!("{key}: {answered} was answered, {} sent, {text:?} is there", self.sent));
            }
        }
        Ok(())
    }
}

/// Runs all writers until the log has the wanted size or as much as it gets, then does the work while they write on.
/// Gives the size that the log had then.
pub fn while_log_is_long<T>(
    writers: &mut [Writer],
    server: &mut Server,
    wanted_bytes: u64,
    work: impl FnOnce(&mut Server) -> T,
) -> (u64, T) {
    let (stop, port) = (AtomicBool::new(false), server.port());
    thread::scope(|scope| {
        for writer in writers {
            let stop = &stop;
            scope.spawn(move || writer.write_until(port, stop));
        }
        let _stop = RaiseOnDrop(&stop);
        let bytes = wait_until_long(server, wanted_bytes);
        (bytes, work(server))
    })
}

fn wait_until_long(server: &Server, wanted_bytes: u64) -> u64 {
    let (mut client, began, mut most) = (server.client(), Instant::now(), 0);
    loop {
        let bytes = client.info("millpond")["log_bytes"].parse::<u64>().expect("a number of bytes");
        most = most.max(bytes);
        let is_nearly_longest = began.elapsed() >= PATIENCE && bytes as f64 >= most as f64 * NEARLY;
        if bytes >= wanted_bytes || is_nearly_longest || began.elapsed() >= PATIENCE_MAX {
            return bytes;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
