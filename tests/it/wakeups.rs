//! Blocking pops: no job is lost between "the list is empty" and "wait for it", none is given twice, oldest waiter first.
//!
//! - `MILLPOND_TEST_WAKEUP_JOBS` jobs pushed (50,000; 1,000,000 in full)
//! - `MILLPOND_TEST_WAKEUP_SEED`

use crate::harness::{self, Chance, Client, Server, Value};
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CONSUMERS: usize = 64;
const PRODUCERS: usize = 4;
const QUEUES: usize = 8;
/// Each producer's target for RENAME, on which nobody else pushes.
const RENAME_QUEUES: usize = PRODUCERS;
/// Short, so that timeouts are met too.
const BLOCK_SECONDS: f64 = 0.3;
/// One client is killed for so many jobs.
const JOBS_PER_KILL: u64 = 500;

#[test]
fn no_wake_up_is_lost_and_no_job_is_given_twice() {
    let seed = harness::seed_from_environment("MILLPOND_TEST_WAKEUP_SEED");
    let jobs = harness::size_from_environment("MILLPOND_TEST_WAKEUP_JOBS", 50_000);
    let server = Server::millpond(&["--appendfsync", "everysec"]);
    let mut chance = Chance::new(seed);
    let shared = Shared::new(jobs);
    let began = Instant::now();
    thread::scope(|scope| {
        let raise = harness::RaiseOnDrop(&shared.done);
        let consumers = (0..CONSUMERS)
            .map(|number| {
                let (shared, chance, port) = (&shared, chance.fork(), server.port());
                scope.spawn(move || Consumer::new(number, port, shared, chance).run())
            })
            .collect::<Vec<_>>();
        let killer_chance = chance.fork();
        let killer = scope.spawn(|| kill_blocked_clients(&shared, killer_chance));
        let producers = (0..PRODUCERS)
            .map(|number| {
                let (shared, chance, port) = (&shared, chance.fork(), server.port());
                scope.spawn(move || {
                    Producer { number, client: Client::connect(port).expect("a connection"), shared, chance }.run()
                })
            })
            .collect::<Vec<_>>();
        producers.into_iter().for_each(|producer| producer.join().expect("a producer ends well"));
        wait_until_drained(&server, &shared);
        drop(raise);
        killer.join().expect("the killer ends well");
        consumers.into_iter().for_each(|consumer| consumer.join().expect("a consumer ends well"));
    });
    collect_moved_jobs(&server, &shared);
    let lost = (0..jobs).filter(|job| shared.received[*job as usize].load(Ordering::SeqCst) == 0).collect::<Vec<_>>();
    let kills = shared.kills.into_inner().expect("no thread panicked");
    let moving = kills.iter().filter(|kill| kill.way.is_move()).count();
    let popping = kills.len() - moving;
    println!(
        "{jobs} jobs in {:.1?}, {popping} clients killed in a blocking pop, {moving} in a blocking move, {} timeouts",
        began.elapsed(),
        shared.timeouts.load(Ordering::SeqCst)
    );
    let queues = shared.queue_of.into_iter().map(AtomicU8::into_inner).collect::<Vec<_>>();
    let queue_of = |job: u64| queue_name(queues[job as usize] as usize);
    for (job, kill) in account_for(&lost, &kills, queue_of) {
        let kill = &kills[kill];
        println!(
            "job {job} of {} was on its way to consumer {}, killed in {:?}",
            queue_of(job),
            kill.consumer,
            kill.way
        );
    }
}

/// Gives each lost job a killed client that it can have been on its way to: one that popped from its queue, and no
/// client two jobs. Panics if that cannot be done.
fn account_for(lost: &[u64], kills: &[Kill], queue_of: impl Fn(u64) -> String) -> BTreeMap<u64, usize> {
    /// Finds a kill for a job, moving other jobs to other kills where that helps.
    fn place(job: u64, fits: &dyn Fn(u64, usize) -> bool, job_of: &mut [Option<u64>], seen: &mut [bool]) -> bool {
        for kill in 0..job_of.len() {
            if seen[kill] || !fits(job, kill) {
                continue;
            }
            seen[kill] = true;
            if job_of[kill].is_none_or(|other| place(other, fits, job_of, seen)) {
                job_of[kill] = Some(job);
                return true;
            }
        }
        false
    }
    let fits = |job: u64, kill: usize| !kills[kill].way.is_move() && kills[kill].keys.contains(&queue_of(job));
    let mut job_of = vec![None; kills.len()];
    for job in lost {
        let found = place(*job, &fits, &mut job_of, &mut vec![false; kills.len()]);
        assert!(found, "job {job} of {} is lost, and no killed client accounts for it; lost: {lost:?}", queue_of(*job));
    }
    job_of.iter().enumerate().filter_map(|(kill, job)| job.map(|job| (job, kill))).collect()
}

#[test]
fn a_client_that_has_hung_up_is_not_given_a_job() {
    let server = Server::millpond(&[]);
    let mut producer = server.client();
    for round in 0..20 {
        let key = format!("left:{round}");
        let mut waiter = server.client();
        waiter.send(&["BRPOP", &key, "30"]).expect("the server takes a command");
        wait_for_blocked(&mut producer, 1);
        drop(waiter);
        wait_for_blocked(&mut producer, 0);
        assert_eq!(producer.must(&["LPUSH", &key, "job"]), Value::Integer(1));
        assert_eq!(producer.must(&["LLEN", &key]), Value::Integer(1));
    }
}

#[test]
fn the_oldest_waiter_is_served_first_however_the_job_arrives() {
    let server = Server::millpond(&[]);
    let mut producer = server.client();
    for (round, push) in ["LPUSH", "RPUSH", "LMOVE", "EXEC", "EVAL", "RENAME"].iter().enumerate() {
        let key = format!("fifo:{round}");
        let mut waiters = (0..12).map(|_| server.client()).collect::<Vec<_>>();
        for (place, waiter) in waiters.iter_mut().enumerate() {
            let other = format!("never:{place}");
            let to = format!("to:{round}:{place}");
            match place % 5 {
                0 => waiter.send(&["BRPOP", &key, "30"]),
                1 => waiter.send(&["BLPOP", &other, &key, "30"]),
                2 => waiter.send(&["BLMOVE", &key, &to, "RIGHT", "LEFT", "30"]),
                3 => waiter.send(&["BRPOPLPUSH", &key, &to, "30"]),
                _ => waiter.send(&["BLMPOP", "30", "2", &other, &key, "RIGHT"]),
            }
            .expect("the server takes a command");
            wait_for_blocked(&mut producer, place + 1);
        }
        // One job at a time: who gets it is the oldest of those that still wait.
        for (place, waiter) in waiters.iter_mut().enumerate() {
            let job = format!("job-{round}-{place}");
            push_by(&mut producer, push, &key, &job);
            let reply = waiter.reply().expect("the oldest waiter is served");
            assert!(format!("{reply:?}").contains(&job), "waiter {place} by {push}: {reply:?}");
        }
        assert_eq!(producer.must(&["LLEN", &key]), Value::Integer(0));
    }
}

#[test]
fn jobs_pushed_together_go_to_the_waiters_in_their_order() {
    let server = Server::millpond(&[]);
    let mut producer = server.client();
    let mut waiters = (0..3).map(|_| server.client()).collect::<Vec<_>>();
    for (place, waiter) in waiters.iter_mut().enumerate() {
        waiter.send(&["BLPOP", "together", "30"]).expect("the server takes a command");
        wait_for_blocked(&mut producer, place + 1);
    }
    assert_eq!(producer.line("RPUSH together 1 2 3 4"), Value::Integer(4));
    for (place, waiter) in waiters.iter_mut().enumerate() {
        let reply = waiter.reply().expect("each waiter is served");
        assert_eq!(reply.items()[1].text(), (place + 1).to_string());
    }
    assert_eq!(producer.line("LLEN together"), Value::Integer(1));
}

#[test]
fn a_job_that_is_gone_again_at_the_end_of_the_transaction_wakes_nobody() {
    let server = Server::millpond(&[]);
    let (mut producer, mut waiter) = (server.client(), server.client());
    waiter.line("PING");
    waiter.send(&["BRPOP", "fleeting", "30"]).expect("the server takes a command");
    wait_for_blocked(&mut producer, 1);
    producer.line("MULTI");
    producer.line("LPUSH fleeting a");
    producer.line("DEL fleeting");
    assert_eq!(producer.line("EXEC").items().len(), 2);
    producer.line("ZADD fleeting 1 a");
    producer.line("DEL fleeting");
    wait_for_blocked(&mut producer, 1);
    producer.line("LPUSH fleeting b");
    assert_eq!(waiter.reply().expect("the waiter is served").items()[1].text(), "b");
}

#[test]
fn a_timeout_never_comes_early_and_answers_nil() {
    let server = Server::millpond(&[]);
    for (words, nil) in [
        (vec!["BRPOP", "none", "0.2"], Value::NullArray),
        (vec!["BLMOVE", "none", "to", "LEFT", "LEFT", "0.2"], Value::NullArray),
        (vec!["BRPOPLPUSH", "none", "to", "1"], Value::NullArray),
        (vec!["BLMPOP", "0.05", "1", "none", "LEFT"], Value::NullArray),
        (vec!["BZPOPMIN", "none", "0.2"], Value::NullArray),
    ] {
        let timeout = words.iter().find_map(|word| word.parse::<f64>().ok()).expect("each has a timeout");
        let mut client = server.client();
        let began = Instant::now();
        assert_eq!(client.must(&words), nil, "{words:?}");
        assert_not_early(began.elapsed(), timeout);
    }
}

fn assert_not_early(waited: Duration, timeout: f64) {
    // Redis counts in whole milliseconds and may cut the first one short.
    let rounding = Duration::from_millis(if harness::is_stand_in() { 2 } else { 0 });
    assert!(waited + rounding >= Duration::from_secs_f64(timeout), "a timeout of {timeout} s came after {waited:?}");
}

fn wait_for_blocked(client: &mut Client, count: usize) {
    for _ in 0..10_000 {
        let blocked = client.info("clients").get("blocked_clients").and_then(|text| text.parse::<usize>().ok());
        if blocked == Some(count) {
            return;
        }
        thread::sleep(Duration::from_micros(200));
    }
    panic!("{count} clients never blocked: {:?}", client.info("clients").get("blocked_clients"));
}

fn push_by(client: &mut Client, way: &str, key: &str, job: &str) {
    match way {
        "LPUSH" | "RPUSH" => drop(client.must(&[way, key, job])),
        "LMOVE" => {
            client.must(&["RPUSH", "staging", job]);
            client.must(&["LMOVE", "staging", key, "LEFT", "LEFT"]);
        }
        "EXEC" => {
            client.line("MULTI");
            client.must(&["LPUSH", key, job]);
            assert_eq!(client.line("EXEC").items().len(), 1);
        }
        "EVAL" => drop(client.must(&["EVAL", "return redis.call('LPUSH', KEYS[1], ARGV[1])", "1", key, job])),
        "RENAME" => {
            client.must(&["RPUSH", "staging", job]);
            assert_eq!(client.must(&["RENAME", "staging", key]), Value::Simple("OK".into()));
        }
        other => panic!("no way to push is called {other}"),
    }
}

// --- the big run ---

/// What all threads of the big run see.
struct Shared {
    /// How often each job came out.
    received: Vec<AtomicU8>,
    /// The queue that each job was pushed to.
    queue_of: Vec<AtomicU8>,
    next_job: AtomicU64,
    arrived: AtomicU64,
    timeouts: AtomicU64,
    done: AtomicBool,
    /// The consumers' present sockets, for the killer.
    sockets: Mutex<Vec<Option<TcpStream>>>,
    kills: Mutex<Vec<Kill>>,
}

/// A client whose connection was cut while it waited or was being answered.
struct Kill {
    consumer: usize,
    way: Way,
    keys: Vec<String>,
}

/// How a consumer takes jobs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Brpop,
    Blpop,
    Blmpop,
    Blmove,
    Brpoplpush,
}

impl Way {
    fn is_move(self) -> bool {
        matches!(self, Way::Blmove | Way::Brpoplpush)
    }
}

impl Shared {
    fn new(jobs: u64) -> Shared {
        Shared {
            received: (0..jobs).map(|_| AtomicU8::new(0)).collect(),
            queue_of: (0..jobs).map(|_| AtomicU8::new(0)).collect(),
            next_job: AtomicU64::new(0),
            arrived: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            done: AtomicBool::new(false),
            sockets: Mutex::new((0..CONSUMERS).map(|_| None).collect()),
            kills: Mutex::new(Vec::new()),
        }
    }

    fn receive(&self, job: &[u8], from: &str) {
        let job = std::str::from_utf8(job).ok().and_then(|text| text.parse::<usize>().ok()).expect("a job's number");
        let before = self.received[job].fetch_add(1, Ordering::SeqCst);
        assert_eq!(before, 0, "job {job} was given twice, the second time by {from}");
        self.arrived.fetch_add(1, Ordering::SeqCst);
    }
}

struct Consumer<'a> {
    number: usize,
    port: u16,
    shared: &'a Shared,
    chance: Chance,
}

impl<'a> Consumer<'a> {
    fn new(number: usize, port: u16, shared: &'a Shared, chance: Chance) -> Consumer<'a> {
        Consumer { number, port, shared, chance }
    }

    fn run(&mut self) {
        const WAYS: [Way; 5] = [Way::Brpop, Way::Blmove, Way::Blpop, Way::Brpoplpush, Way::Blmpop];
        let way = WAYS[self.number % WAYS.len()];
        while !self.shared.done.load(Ordering::SeqCst) {
            let mut client = Client::connect(self.port).expect("the server takes connections");
            let keys = self.keys(way);
            self.shared.sockets.lock().expect("no thread panicked")[self.number] = Some(client.socket());
            while !self.shared.done.load(Ordering::SeqCst) {
                if self.take(&mut client, way, &keys).is_err() {
                    let kill = Kill { consumer: self.number, way, keys };
                    self.shared.kills.lock().expect("no thread panicked").push(kill);
                    break;
                }
            }
        }
    }

    /// A move waits on one key only, a pop on several in an order of its own.
    fn keys(&mut self, way: Way) -> Vec<String> {
        let all = QUEUES + RENAME_QUEUES;
        let count = if way.is_move() { 1 } else { 2 + self.chance.below(4) };
        let mut keys = Vec::new();
        while keys.len() < count {
            // Every queue has somebody who waits for it, whatever the chance says.
            let key = queue_name(if keys.is_empty() { self.number % all } else { self.chance.below(all) });
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys
    }

    fn take(&mut self, client: &mut Client, way: Way, keys: &[String]) -> io::Result<()> {
        let timeout = BLOCK_SECONDS.to_string();
        let working = format!("working:{}", self.number);
        let count = keys.len().to_string();
        let mut words = Vec::new();
        match way {
            Way::Brpop => words.push("BRPOP"),
            Way::Blpop => words.push("BLPOP"),
            Way::Blmpop => words.extend(["BLMPOP", &timeout, &count]),
            Way::Blmove => words.push("BLMOVE"),
            Way::Brpoplpush => words.push("BRPOPLPUSH"),
        }
        words.extend(keys.iter().map(String::as_str));
        match way {
            Way::Brpop | Way::Blpop => words.push(&timeout),
            Way::Blmpop => words.push("RIGHT"),
            Way::Blmove => words.extend([&*working, "RIGHT", "LEFT", &timeout]),
            Way::Brpoplpush => words.extend([&*working, &timeout]),
        }
        let began = Instant::now();
        let reply = client.ask(&words)?;
        if reply.is_nil() {
            assert_not_early(began.elapsed(), BLOCK_SECONDS);
            self.shared.timeouts.fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        match (way, &reply) {
            // What was moved is counted in the working lists at the end.
            (Way::Blmove | Way::Brpoplpush, Value::Bulk(_)) => {}
            (Way::Brpop | Way::Blpop, Value::Array(pair)) => {
                assert!(keys.contains(&pair[0].text()), "nobody asked for {:?}", pair[0]);
                self.shared.receive(pair[1].bytes(), "a pop");
            }
            (Way::Blmpop, Value::Array(pair)) => self.shared.receive(pair[1].items()[0].bytes(), "BLMPOP"),
            _ => panic!("{words:?} was answered {reply:?}"),
        }
        Ok(())
    }
}

struct Producer<'a> {
    number: usize,
    client: Client,
    shared: &'a Shared,
    chance: Chance,
}

impl Producer<'_> {
    fn run(&mut self) {
        let jobs = self.shared.received.len() as u64;
        loop {
            let count = 1 + self.chance.below(3) as u64;
            let first = self.shared.next_job.fetch_add(count, Ordering::SeqCst);
            if first >= jobs {
                return;
            }
            let numbers = (first..(first + count).min(jobs)).collect::<Vec<_>>();
            self.push(&numbers);
            // Lets the queues run empty now and then, so that the next push finds everybody waiting.
            if self.chance.one_in(50) {
                thread::sleep(Duration::from_millis(self.chance.below(4) as u64));
            }
        }
    }

    fn push(&mut self, numbers: &[u64]) {
        let way = self.chance.below(7);
        let queue = if way == 6 { QUEUES + self.number } else { self.chance.below(QUEUES) };
        for number in numbers {
            self.shared.queue_of[*number as usize].store(queue as u8, Ordering::SeqCst);
        }
        let key = queue_name(queue);
        let jobs = numbers.iter().map(u64::to_string).collect::<Vec<_>>();
        let staging = format!("staging:{}", self.number);
        let with = |start: &[&str]| {
            start.iter().map(|word| (*word).to_owned()).chain(jobs.iter().cloned()).collect::<Vec<_>>()
        };
        match way {
            0 => drop(self.sure(&with(&["LPUSH", &key]))),
            1 => drop(self.sure(&with(&["RPUSH", &key]))),
            2 => {
                self.sure(&with(&["RPUSH", &staging]));
                for _ in &jobs {
                    self.sure(&["LMOVE", &staging, &key, "LEFT", "RIGHT"]);
                }
            }
            3 => {
                self.sure(&["MULTI"]);
                for job in &jobs {
                    self.sure(&["LPUSH", &key, job]);
                }
                assert_eq!(self.sure(&["EXEC"]).items().len(), jobs.len());
            }
            4 => {
                let script = "for i = 1, #ARGV do redis.call('LPUSH', KEYS[1], ARGV[i]) end return #ARGV";
                drop(self.sure(&with(&["EVAL", script, "1", &key])));
            }
            5 => {
                self.sure(&with(&["LPUSH", &staging]));
                for _ in &jobs {
                    self.sure(&["RPOPLPUSH", &staging, &key]);
                }
            }
            _ => {
                // RENAME would overwrite what still waits there.
                while self.sure(&["EXISTS", &key]) == Value::Integer(1) {
                    thread::sleep(Duration::from_micros(100));
                }
                self.sure(&with(&["RPUSH", &staging]));
                self.sure(&["RENAME", &staging, &key]);
            }
        }
    }

    fn sure<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Value {
        let reply = self.client.must(words);
        assert!(!reply.is_error() && !reply.is_nil(), "a push was answered {reply:?}");
        reply
    }
}

/// Cuts connections of consumers, most of which are blocked at that moment.
fn kill_blocked_clients(shared: &Shared, mut chance: Chance) {
    let mut killed = 0;
    while !shared.done.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_millis(1));
        if shared.arrived_or_moved() / JOBS_PER_KILL <= killed {
            continue;
        }
        killed += 1;
        let victim = chance.below(CONSUMERS);
        if let Some(socket) = shared.sockets.lock().expect("no thread panicked")[victim].take() {
            // It may have been cut before.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    /// Pushes are counted instead of arrivals, because moves are only counted at the end.
    fn arrived_or_moved(&self) -> u64 {
        self.next_job.load(Ordering::SeqCst).min(self.received.len() as u64)
    }
}

fn wait_until_drained(server: &Server, shared: &Shared) {
    let mut client = server.client();
    let mut last_seen = (usize::MAX, Instant::now());
    loop {
        let waiting = (0..QUEUES + RENAME_QUEUES)
            .map(|queue| client.must(&["LLEN", &queue_name(queue)]).integer() as usize)
            .sum::<usize>();
        if waiting == 0 {
            return;
        }
        if waiting < last_seen.0 {
            last_seen = (waiting, Instant::now());
        }
        let arrived = shared.arrived.load(Ordering::SeqCst);
        assert!(
            last_seen.1.elapsed() < Duration::from_secs(20),
            "{waiting} jobs wait while {CONSUMERS} clients block on their queues; {arrived} were popped: a lost wake-up"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// Counts what the moves put into the working lists, killed clients' included.
fn collect_moved_jobs(server: &Server, shared: &Shared) {
    let mut client = server.client();
    for consumer in 0..CONSUMERS {
        let working = format!("working:{consumer}");
        for job in client.must(&["LRANGE", &working, "0", "-1"]).items() {
            shared.receive(job.bytes(), &working);
        }
    }
    for producer in 0..PRODUCERS {
        assert_eq!(client.must(&["LLEN", &format!("staging:{producer}")]), Value::Integer(0));
    }
}

fn queue_name(queue: usize) -> String {
    if queue < QUEUES { format!("queue:{queue}") } else { format!("renamed:{}", queue - QUEUES) }
}
