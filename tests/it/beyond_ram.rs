//! A backlog larger than memory: pushed, looked into while deep, drained in order, with a `kill -9` on either way.
//!
//! - `MILLPOND_TEST_BACKLOG_JOBS` jobs of 300 B in each direction (200,000; 10,000,000 in full)
//! - `MILLPOND_TEST_BACKLOG_SEED`
//! - `MILLPOND_TEST_ASSERT_TIMES=1` also asserts the longest turn and the prober's p99, which are printed always (a
//!   machine that does other work too cannot promise them)

use crate::harness::{self, Chance, Client, Server, Value, encode};
use std::collections::BTreeSet;
use std::io;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PRODUCERS: usize = 3;
const PUSHES_PER_WRITE: u64 = 100;
const POPS_PER_WRITE: u64 = 100;
const JOB_BYTES: usize = 300;
/// 1.25 × maxmemory + 80 MB, as the design promises for `--maxmemory 64mb`.
const MEMORY_PEAK_MAX: u64 = 160 << 20;
const DISK_AFTER_DRAIN_MAX: u64 = 600 << 20;
const PROBE_P99_MAX: Duration = Duration::from_millis(20);
/// No turn may be longer while the list is deep, whatever is asked for in its middle.
const TURN_MAX: Duration = Duration::from_millis(5);
/// How often the deep list is looked into.
const LOOKS: usize = 20;

#[test]
fn a_backlog_larger_than_memory_comes_out_in_order_by_brpop() {
    check(Direction { push: "LPUSH", pop: &["BRPOP", "deep", "1"], oldest_first: false });
}

#[test]
fn a_backlog_larger_than_memory_comes_out_in_order_by_lpop() {
    check(Direction { push: "RPUSH", pop: &["LPOP", "deep"], oldest_first: true });
}

/// Which end jobs enter and leave by.
#[derive(Clone, Copy)]
struct Direction {
    push: &'static str,
    pop: &'static [&'static str],
    /// Whether index 0 is the oldest job.
    oldest_first: bool,
}

fn check(direction: Direction) {
    let mut chance = Chance::new(harness::seed_from_environment("MILLPOND_TEST_BACKLOG_SEED"));
    let jobs = harness::size_from_environment("MILLPOND_TEST_BACKLOG_JOBS", 200_000);
    let mut server = Server::millpond(&["--maxmemory", "64mb", "--appendfsync", harness::kill_safe("everysec")]);
    let mut memory_peak = 0;

    let mut producers = (0..PRODUCERS).map(|number| Producer::new(number, chance.bits())).collect::<Vec<_>>();
    let each = jobs / PRODUCERS as u64;
    let began = Instant::now();
    let kill_after = jobs * chance.between(30, 70) as u64 / 100;
    memory_peak = memory_peak.max(fill(&mut server, direction, &mut producers, each, Some(kill_after)));
    println!("killed while filling, ready after {:?}", server.start());
    memory_peak = memory_peak.max(fill(&mut server, direction, &mut producers, each, None));
    println!("{}: {jobs} jobs in {:.1?}", direction.push, began.elapsed());

    // The turns that count are those from here on.
    server.client().line("CONFIG RESETSTAT");
    let removed = with_prober(&server, "while deep", || look_inside(&server, direction, &producers));
    check_turns(&server);

    let began = Instant::now();
    let mut drain = Drain::new(&producers, removed);
    let left = server.client().must(&["LLEN", "deep"]).integer() as u64;
    with_prober(&server, "while draining", || {
        drain.run(server.port(), direction, left / 3, &AtomicU64::new(0)).expect("nothing is killed yet");
    });
    let kill_after = left / 10 + chance.below(jobs as usize / 5) as u64;
    memory_peak = memory_peak.max(drain.run_and_kill(&mut server, direction, kill_after));
    println!("killed while draining, ready after {:?}", server.start());
    drain.run(server.port(), direction, u64::MAX, &AtomicU64::new(0)).expect("nothing is killed any more");
    drain.finish();
    println!("{}: {} jobs in {:.1?}", direction.pop[0], drain.taken, began.elapsed());

    assert_eq!(server.client().must(&["EXISTS", "deep"]), Value::Integer(0));
    memory_peak = memory_peak.max(look("drained", &server));
    println!("{}", describe_turns(&server));
    if !harness::is_stand_in() {
        assert!(memory_peak <= MEMORY_PEAK_MAX, "VmHWM was {} MB", memory_peak >> 20);
        let disk = harness::disk_usage_bytes(&server.directory());
        assert!(disk < DISK_AFTER_DRAIN_MAX, "{} MB on the disk after the drain", disk >> 20);
    }
}

/// Prints what the server takes, and gives the most memory that it ever had.
fn look(when: &str, server: &Server) -> u64 {
    let peak = harness::memory_peak_bytes(server.pid());
    let now = harness::memory_now_bytes(server.pid());
    let disk = harness::disk_usage_bytes(&server.directory());
    println!("{when}: VmHWM {} MB, VmRSS {} MB, disk {} MB", peak >> 20, now >> 20, disk >> 20);
    peak
}

/// Prints how long turns took, and asserts it where times are.
fn check_turns(server: &Server) {
    if harness::is_stand_in() {
        return;
    }
    println!("turns while deep: {}", describe_turns(server));
    let longest_us = server.client().info("millpond")["turn_us_max"].parse().expect("a number of microseconds");
    let longest = Duration::from_micros(longest_us);
    assert!(!harness::times_are_asserted() || longest <= TURN_MAX, "a turn took {longest:?} while the list was deep");
}

fn describe_turns(server: &Server) -> String {
    let info = server.client().info("millpond");
    let turns = info.iter().filter(|(name, _)| name.contains("turn")).map(|(name, value)| format!("{name}={value}"));
    turns.collect::<Vec<_>>().join(" ")
}

// --- pushing ---

/// One connection's jobs, numbered from 1; what was sent but not answered at a kill may be there or not.
struct Producer {
    number: usize,
    salt: u64,
    sent: u64,
    answered: u64,
    /// The unanswered jobs of each kill; the first few of them, or none, are there.
    uncertain: Vec<RangeInclusive<u64>>,
}

impl Producer {
    fn new(number: usize, salt: u64) -> Producer {
        Producer { number, salt, sent: 0, answered: 0, uncertain: Vec::new() }
    }

    /// Random letters, which a byte-wise compressor cannot shorten.
    fn job(&self, n: u64) -> Vec<u8> {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut job = format!("{}:{n}:", self.number).into_bytes();
        let mut chance = Chance::new(self.salt ^ n.wrapping_mul(0x9e37_79b9));
        while job.len() < JOB_BYTES {
            let mut bits = chance.bits();
            for _ in 0..10 {
                job.push(LETTERS[(bits & 63) as usize]);
                bits >>= 6;
            }
        }
        job.truncate(JOB_BYTES);
        job
    }

    /// Pushes up to the given job; an error says that the server is gone.
    fn push_until(&mut self, port: u16, command: &str, last: u64, progress: &AtomicU64) -> io::Result<()> {
        let mut client = Client::connect(port)?;
        while self.sent < last {
            let (first, until) = (self.sent + 1, (self.sent + PUSHES_PER_WRITE).min(last));
            let mut wire = Vec::new();
            for n in first..=until {
                encode(&mut wire, &[command.as_bytes(), b"deep", &self.job(n)]);
            }
            self.sent = until;
            for n in first..=until {
                let reply = if n == first { client.send_raw(&wire) } else { Ok(()) }.and_then(|()| client.reply());
                match reply {
                    Ok(Value::Integer(_)) => self.answered += 1,
                    Ok(other) => panic!("job {n} of producer {} was answered {other:?}", self.number),
                    Err(gone) => {
                        self.uncertain.push(n..=until);
                        return Err(gone);
                    }
                }
            }
            progress.fetch_add(until - first + 1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Pushes with all producers at once, and kills the server after some jobs if asked to. Gives its memory peak.
fn fill(
    server: &mut Server,
    direction: Direction,
    producers: &mut [Producer],
    last: u64,
    kill_after: Option<u64>,
) -> u64 {
    let port = server.port();
    let progress = AtomicU64::new(0);
    thread::scope(|scope| {
        let progress = &progress;
        let pushing = producers
            .iter_mut()
            .map(|producer| scope.spawn(move || producer.push_until(port, direction.push, last, progress)))
            .collect::<Vec<_>>();
        while !pushing.iter().all(|thread| thread.is_finished()) {
            if kill_after.is_some_and(|limit| progress.load(Ordering::Relaxed) >= limit) {
                let peak = look("filling", server);
                server.kill9();
                return peak;
            }
            thread::sleep(Duration::from_millis(1));
        }
        for thread in pushing {
            let outcome = thread.join().expect("a producer ends well");
            outcome.unwrap_or_else(|error| panic!("the server is gone: {error}\n{}", server.log_tail()));
        }
        assert!(kill_after.is_none(), "all jobs were pushed before the kill");
        look("full", server)
    })
}

// --- looking inside ---

/// Asks for both ends, pages in the middle and the length, and removes jobs from the middle. Gives what was removed.
fn look_inside(server: &Server, direction: Direction, producers: &[Producer]) -> BTreeSet<(usize, u64)> {
    let mut client = server.client();
    let mut removed = BTreeSet::new();
    let mut length = client.must(&["LLEN", "deep"]).integer();
    let answered = producers.iter().map(|producer| producer.answered as i64).sum::<i64>();
    let sent = producers.iter().map(|producer| producer.sent as i64).sum::<i64>();
    assert!((answered..=sent).contains(&length), "{length} jobs, {answered} were answered and {sent} sent");

    for look in 0..LOOKS {
        let oldest = client.must(&["LINDEX", "deep", if direction.oldest_first { "0" } else { "-1" }]);
        assert_eq!(identify(producers, oldest.bytes()).1, 1, "the oldest job is some producer's first");
        let newest = client.must(&["LINDEX", "deep", if direction.oldest_first { "-1" } else { "0" }]);
        let (producer, n) = identify(producers, newest.bytes());
        assert_eq!(n, producers[producer].sent, "the newest job is some producer's last");

        let start = length * (look as i64 + 1) / (LOOKS as i64 + 2);
        let page = client.must(&["LRANGE", "deep", &start.to_string(), &(start + 49).to_string()]);
        assert_eq!(page.items().len(), 50);
        check_page(producers, direction, &page, &removed);

        if look % 10 == 0 {
            let middle = client.must(&["LINDEX", "deep", &(length / 2).to_string()]);
            assert_eq!(client.must(&["LREM", "deep", "1", &middle.text()]), Value::Integer(1));
            assert_eq!(client.must(&["LREM", "deep", "0", "no such job"]), Value::Integer(0));
            let next = client.must(&["LINDEX", "deep", &(length / 2).to_string()]);
            assert_ne!(middle, next, "a removed job is not there any more");
            removed.insert(identify(producers, middle.bytes()));
            length -= 1;
        }
        assert_eq!(client.must(&["LLEN", "deep"]).integer(), length);
    }
    removed
}

/// In a page each producer's jobs follow one another.
fn check_page(producers: &[Producer], direction: Direction, page: &Value, removed: &BTreeSet<(usize, u64)>) {
    let mut last = [None; PRODUCERS];
    for job in page.items() {
        let (producer, n) = identify(producers, job.bytes());
        if let Some(before) = last[producer].replace(n) {
            let (older, newer) = if direction.oldest_first { (before, n) } else { (n, before) };
            let skipped = (older + 1..newer).all(|gap| {
                removed.contains(&(producer, gap))
                    || producers[producer].uncertain.iter().any(|range| range.contains(&gap))
            });
            assert!(older < newer && skipped, "producer {producer}: {older} and {newer} are neighbours");
        }
    }
}

/// Whose job this is, and which; its bytes must be what that producer pushed.
fn identify(producers: &[Producer], job: &[u8]) -> (usize, u64) {
    let mut parts = job.split(|byte| *byte == b':').map(|part| String::from_utf8_lossy(part).into_owned());
    let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let (Some(producer), Some(n)) = (number(), number()) else { panic!("no job: {}", job.escape_ascii()) };
    let producer = producer as usize;
    assert!(producer < PRODUCERS && producers[producer].job(n) == job, "not what was pushed: {}", job.escape_ascii());
    (producer, n)
}

/// Runs some work while another connection measures how long small requests take.
fn with_prober<T>(server: &Server, when: &str, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let mut client = server.client();
    thread::scope(|scope| {
        let prober = scope.spawn(|| {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                client.must(&["LLEN", "deep"]);
                times.push(began.elapsed());
                thread::sleep(Duration::from_millis(1));
            }
            times
        });
        let raise = harness::RaiseOnDrop(&stop);
        let result = work();
        drop(raise);
        let mut times = prober.join().expect("the prober ends well");
        times.sort();
        let p99 = harness::quantile(&times, 0.99);
        println!(
            "prober {when}: {} requests, p50 {:?}, p99 {p99:?}, most {:?}",
            times.len(),
            harness::quantile(&times, 0.5),
            harness::quantile(&times, 1.0)
        );
        assert!(!harness::times_are_asserted() || p99 <= PROBE_P99_MAX, "p99 of small requests {when} is {p99:?}");
        result
    })
}

// --- draining ---

/// What has come out so far, in order.
struct Drain<'a> {
    producers: &'a [Producer],
    /// The job that is expected next from each producer.
    next: Vec<u64>,
    taken: u64,
    removed: BTreeSet<(usize, u64)>,
    /// How many pops were under way at the kill, and which jobs have been found to have gone with them.
    under_way: u64,
    gone: Vec<(usize, u64)>,
    /// Jobs that were being pushed at the other kill and are not there.
    unpushed: Vec<(usize, u64)>,
    /// For each producer, whether its next job is its first since the kill.
    first_since_kill: Vec<bool>,
}

impl Drain<'_> {
    fn new(producers: &[Producer], removed: BTreeSet<(usize, u64)>) -> Drain<'_> {
        let (next, first_since_kill) = (vec![1; PRODUCERS], vec![false; PRODUCERS]);
        Drain {
            producers,
            next,
            taken: 0,
            removed,
            under_way: 0,
            gone: Vec::new(),
            unpushed: Vec::new(),
            first_since_kill,
        }
    }

    /// Pops until so many jobs came out or the list is empty; an error tells how many pops were not answered.
    fn run(&mut self, port: u16, direction: Direction, limit: u64, progress: &AtomicU64) -> Result<(), u64> {
        let mut client = Client::connect(port).map_err(|_| 0_u64)?;
        let length = client.ask(&["LLEN", "deep"]).map_err(|_| 0_u64)?.integer() as u64;
        let mut left = length.min(limit);
        while left > 0 {
            let batch = left.min(POPS_PER_WRITE);
            let mut wire = Vec::new();
            (0..batch).for_each(|_| encode(&mut wire, direction.pop));
            client.send_raw(&wire).map_err(|_| batch)?;
            for answered in 0..batch {
                match client.reply().map_err(|_| batch - answered)? {
                    Value::Bulk(job) => self.take(&job),
                    Value::Array(pair) => self.take(pair[1].bytes()),
                    other => panic!("a pop of a list that holds {left} jobs was answered {other:?}"),
                }
            }
            left -= batch;
            progress.fetch_add(batch, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The same, with the server killed on the way. Gives its memory peak.
    fn run_and_kill(&mut self, server: &mut Server, direction: Direction, kill_after: u64) -> u64 {
        let port = server.port();
        let progress = AtomicU64::new(0);
        let (peak, unanswered) = thread::scope(|scope| {
            let popping = scope.spawn(|| self.run(port, direction, u64::MAX, &progress));
            while progress.load(Ordering::Relaxed) < kill_after && !popping.is_finished() {
                thread::sleep(Duration::from_millis(1));
            }
            let peak = look("draining", server);
            server.kill9();
            (peak, popping.join().expect("the drain ends well").expect_err("the kill comes before the end"))
        });
        println!("{unanswered} pops were not answered");
        self.under_way = unanswered;
        self.first_since_kill = vec![true; PRODUCERS];
        peak
    }

    fn take(&mut self, job: &[u8]) {
        let (producer, n) = identify(self.producers, job);
        self.skip_until(producer, n);
        assert_eq!(self.next[producer], n, "producer {producer}: job {n} came out of order or twice");
        self.next[producer] += 1;
        self.taken += 1;
    }

    /// Every job that was passed over must have a reason.
    fn skip_until(&mut self, producer: usize, n: u64) {
        for missing in self.next[producer]..n {
            let uncertain = self.producers[producer].uncertain.iter().find(|range| range.contains(&missing));
            if self.removed.remove(&(producer, missing)) {
                continue;
            }
            if let Some(range) = uncertain {
                assert!(!range.contains(&n), "producer {producer}: job {missing} is missing, the later {n} is there");
                self.unpushed.push((producer, missing));
                continue;
            }
            assert!(self.first_since_kill[producer], "producer {producer}: job {missing} is LOST (before {n})");
            self.gone.push((producer, missing));
        }
        self.next[producer] = self.next[producer].max(n);
        self.first_since_kill[producer] = false;
    }

    /// Looks at what never came, and names it.
    fn finish(&mut self) {
        for producer in 0..PRODUCERS {
            self.skip_until(producer, self.producers[producer].sent + 1);
        }
        name_each(&self.unpushed, "was being pushed at the kill and is not there");
        name_each(&self.gone, "was on its way to the popping connection at the kill");
        assert!(
            self.gone.len() as u64 <= self.under_way,
            "{} jobs are gone, {} were under way",
            self.gone.len(),
            self.under_way
        );
        assert!(self.removed.is_empty(), "removed jobs came out: {:?}", self.removed);
    }
}

/// Prints jobs, neighbours as a range.
fn name_each(jobs: &[(usize, u64)], why: &str) {
    let mut jobs = jobs.to_vec();
    jobs.sort_unstable();
    for range in jobs.chunk_by(|(producer, n), (next_producer, next)| producer == next_producer && n + 1 == *next) {
        let ((producer, first), (_, last)) = (range[0], range[range.len() - 1]);
        println!("producer {producer}: each of jobs {first} to {last} {why}");
    }
}
