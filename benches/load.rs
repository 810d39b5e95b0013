//! How fast: Millpond beside a real Redis in one run, so that the ratio means something on any machine.
//!
//! `cargo bench --bench load` measures every cell; `cargo bench --bench load -- --rounds 3 --commands LPUSH,RPOP
//! --pipelines 1,16 --requests 50000` a part. For each command and pipeline depth the two servers take turns, in
//! alternating order; medians are printed with their spread, as a markdown table.
//!
//! - `MILLPOND_TEST_LOAD_SERVER` another binary instead of Millpond; a path that holds `redis-server` compares Redis with itself
//!
//! The client is one thread over nonblocking sockets: requests are prepared beforehand and replies only counted, so that
//! it takes as little as it can of the machine that the servers share with it.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "../tests/it/harness/mod.rs"]
mod harness;

use harness::{Client, Server};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

const CONNECTIONS: usize = 50;
const VALUE_BYTES: usize = 300;
/// Different members, fields and keys; more would measure memory instead of commands.
const MEMBERS: u64 = 100_000;
/// Jobs pushed in one command while a list is prepared.
const JOBS_PER_PREPARING_PUSH: usize = 100;
/// Longer silence means a hang.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const COMMANDS: [&str; 6] = ["LPUSH", "RPOP", "LMOVE", "SADD", "ZADD", "HSET"];

fn main() {
    // `cargo test --benches` runs this too; then a few requests are enough.
    let arguments = std::env::args().collect::<Vec<_>>();
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let options = Options::parse(&arguments, measured);
    if !harness::redis_or_explain() {
        return;
    }
    println!(
        "{CONNECTIONS} connections, {VALUE_BYTES} B, {} requests a cell (at least), {} rounds, one client thread\n",
        options.requests, options.rounds
    );
    println!(
        "| command | pipeline | Millpond req/s | Redis req/s | ratio | p99 ms | Redis p99 ms | CPU µs/req | Redis CPU µs/req | CPU ratio |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    let mut lowest = (f64::INFINITY, String::new());
    for command in &options.commands {
        for pipeline in &options.pipelines {
            let cell = measure(command, *pipeline, &options);
            println!("{}", cell.row(command, *pipeline));
            if cell.ratio() < lowest.0 {
                lowest = (cell.ratio(), format!("{command} at pipeline {pipeline}"));
            }
        }
    }
    println!("\nlowest ratio {:.2} ({})", lowest.0, lowest.1);
}

struct Options {
    rounds: usize,
    requests: usize,
    pipelines: Vec<usize>,
    commands: Vec<String>,
}

impl Options {
    fn parse(arguments: &[String], measured: bool) -> Options {
        let mut options = Options {
            rounds: if measured { 7 } else { 1 },
            requests: if measured { 100_000 } else { 2_000 },
            pipelines: vec![1, 16, 64],
            commands: COMMANDS.map(String::from).to_vec(),
        };
        let mut words = arguments.iter().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match &**word {
                "--rounds" => options.rounds = value().parse().expect("--rounds takes a number"),
                "--requests" => options.requests = value().parse().expect("--requests takes a number"),
                "--pipelines" => {
                    options.pipelines =
                        value().split(',').map(|depth| depth.parse().expect("--pipelines takes numbers")).collect();
                }
                "--commands" => options.commands = value().split(',').map(str::to_uppercase).collect(),
                "--bench" => {}
                other => panic!("unknown option {other}; there are --rounds --requests --pipelines --commands"),
            }
        }
        for command in &options.commands {
            assert!(COMMANDS.contains(&&**command), "{command} is not measured here; {COMMANDS:?} are");
        }
        options
    }
}

// --- one cell of the table ---

#[derive(Clone, Copy)]
struct Sample {
    requests_per_second: f64,
    p99_ms: f64,
    cpu_us_per_request: f64,
}

struct Cell {
    millpond: Vec<Sample>,
    redis: Vec<Sample>,
}

fn measure(command: &str, pipeline: usize, options: &Options) -> Cell {
    // Everysec on both sides; Redis must not rewrite its file in the middle of a measurement.
    let millpond = Server::millpond(&["--appendfsync", "everysec"]);
    let redis = Server::redis(&["--appendfsync", "everysec"]);
    // Deep pipelines finish sooner, so they get more requests.
    let requests = options.requests * if pipeline > 1 { 3 } else { 1 };
    let mut cell = Cell { millpond: Vec::new(), redis: Vec::new() };
    for round in 0..options.rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                cell.millpond.push(run(&millpond, command, pipeline, requests));
            } else {
                cell.redis.push(run(&redis, command, pipeline, requests));
            }
        }
    }
    cell
}

impl Cell {
    fn ratio(&self) -> f64 {
        // Each round's two measurements were neighbours in time, so their ratio says more than that of the medians.
        let ratios = self.millpond.iter().zip(&self.redis);
        median(ratios.map(|(ours, theirs)| ours.requests_per_second / theirs.requests_per_second)).0
    }

    fn row(&self, command: &str, pipeline: usize) -> String {
        let rate = |samples: &[Sample]| {
            let (middle, low, high) = median(samples.iter().map(|sample| sample.requests_per_second));
            format!("{:.0} k ({:.0}–{:.0})", middle / 1e3, low / 1e3, high / 1e3)
        };
        let p99 = |samples: &[Sample]| median(samples.iter().map(|sample| sample.p99_ms)).0;
        let cpu = |samples: &[Sample]| median(samples.iter().map(|sample| sample.cpu_us_per_request)).0;
        let (_, low, high) = median(
            self.millpond
                .iter()
                .zip(&self.redis)
                .map(|(ours, theirs)| ours.requests_per_second / theirs.requests_per_second),
        );
        format!(
            "| {command} | {pipeline} | {} | {} | {:.2} ({low:.2}–{high:.2}) | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
            rate(&self.millpond),
            rate(&self.redis),
            self.ratio(),
            p99(&self.millpond),
            p99(&self.redis),
            cpu(&self.millpond),
            cpu(&self.redis),
            cpu(&self.millpond) / cpu(&self.redis),
        )
    }
}

/// The middle of the values, the lowest and the highest.
fn median(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values = values.collect::<Vec<_>>();
    values.sort_by(f64::total_cmp);
    (harness::quantile(&values, 0.5), values[0], values[values.len() - 1])
}

// --- one run ---

fn run(server: &Server, command: &str, pipeline: usize, requests: usize) -> Sample {
    let mut control = server.client();
    control.line("FLUSHALL");
    if ["RPOP", "LMOVE"].contains(&command) {
        fill(&mut control, requests + CONNECTIONS * pipeline);
    }
    let mut connections =
        (0..CONNECTIONS).map(|number| Connection::new(server.port(), command, number, pipeline)).collect::<Vec<_>>();
    let mut latencies = Vec::with_capacity(requests / pipeline + CONNECTIONS);
    let cpu_before = harness::cpu_time(server.pid());
    let began = Instant::now();
    let answered = drive(&mut connections, pipeline, requests, &mut latencies);
    let elapsed = began.elapsed();
    let cpu = harness::cpu_time(server.pid()).saturating_sub(cpu_before);
    latencies.sort_unstable();
    Sample {
        requests_per_second: answered as f64 / elapsed.as_secs_f64(),
        p99_ms: harness::quantile(&latencies, 0.99) as f64 / 1e6,
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / answered as f64,
    }
}

/// Pushes enough jobs that no pop finds the list empty.
fn fill(control: &mut Client, jobs: usize) {
    let value = vec![b'v'; VALUE_BYTES];
    let mut words = vec![b"LPUSH".to_vec(), b"list".to_vec()];
    words.extend(std::iter::repeat_n(value, JOBS_PER_PREPARING_PUSH));
    let pushes = vec![words; 10];
    for _ in 0..jobs.div_ceil(JOBS_PER_PREPARING_PUSH * pushes.len()) {
        let replies = control.pipeline(&pushes).expect("the server takes jobs");
        assert!(!replies.iter().any(harness::Value::is_error), "{replies:?}");
    }
}

/// Keeps every connection busy with one batch at a time until enough requests were answered.
fn drive(connections: &mut [Connection], pipeline: usize, requests: usize, latencies: &mut Vec<u64>) -> usize {
    let mut poll = connections
        .iter()
        .map(|connection| libc::pollfd { fd: connection.stream.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect::<Vec<_>>();
    let mut sent = 0;
    let mut answered = 0;
    let mut buffer = vec![0; 256 * 1024];
    for connection in connections.iter_mut() {
        connection.send();
        sent += pipeline;
    }
    while answered < sent {
        // SAFETY: `poll` is an array of valid entries, as long as it says.
        let ready =
            unsafe { libc::poll(poll.as_mut_ptr(), poll.len() as libc::nfds_t, SILENCE_MAX.as_millis() as i32) };
        assert!(ready > 0, "the server is silent");
        for (entry, connection) in poll.iter().zip(connections.iter_mut()) {
            if entry.revents == 0 || !connection.receive(&mut buffer) {
                continue;
            }
            latencies.push(connection.sent_at.elapsed().as_nanos() as u64);
            answered += pipeline;
            if sent < requests {
                connection.send();
                sent += pipeline;
            }
        }
    }
    answered
}

/// One connection: a prepared batch with places for changing numbers, and a counter of replies.
struct Connection {
    stream: TcpStream,
    batch: Vec<u8>,
    /// Where in the batch a number of twelve digits goes, and the next number.
    places: Vec<usize>,
    next_number: u64,
    pipeline: usize,
    replies: Replies,
    sent_at: Instant,
}

/// Stands for a number in a prepared request.
const PLACE: &[u8; 12] = b"000000000000";

impl Connection {
    fn new(port: u16, command: &str, number: usize, pipeline: usize) -> Connection {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server takes connections");
        stream.set_nodelay(true).expect("a socket can be set up");
        let mut batch = Vec::new();
        (0..pipeline).for_each(|_| harness::encode(&mut batch, &words(command)));
        let places = batch.windows(PLACE.len()).enumerate().filter(|(_, window)| window == PLACE).map(|(at, _)| at);
        Connection {
            places: places.collect(),
            stream,
            batch,
            // Spread, so that connections do not add the same members.
            next_number: number as u64 * (MEMBERS / CONNECTIONS as u64),
            pipeline,
            replies: Replies::default(),
            sent_at: Instant::now(),
        }
    }

    fn send(&mut self) {
        for place in &self.places {
            let mut number = self.next_number % MEMBERS;
            self.next_number += 1;
            for digit in (place + 6..place + PLACE.len()).rev() {
                self.batch[digit] = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        self.sent_at = Instant::now();
        // A batch fits the socket's buffer, whose reader is waiting: this does not block for long.
        self.stream.write_all(&self.batch).expect("the server reads");
    }

    /// Reads what is there; true when the whole batch has been answered.
    fn receive(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => panic!("the server hung up"),
            Ok(count) => self.replies.count(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("the server is gone: {error}"),
        }
        assert!(self.replies.complete <= self.pipeline, "more replies than requests");
        let done = self.replies.complete == self.pipeline;
        if done {
            self.replies.complete = 0;
        }
        done
    }
}

fn words(command: &str) -> Vec<Vec<u8>> {
    let value = [PLACE.as_slice(), &vec![b'v'; VALUE_BYTES - PLACE.len()]].concat();
    let line: &[&[u8]] = match command {
        "LPUSH" => &[b"LPUSH", b"list", &value],
        "RPOP" => &[b"RPOP", b"list"],
        "LMOVE" => &[b"LMOVE", b"list", b"working", b"RIGHT", b"LEFT"],
        "SADD" => &[b"SADD", b"set", &value],
        "ZADD" => &[b"ZADD", b"zset", b"1795291989.5", &value],
        "HSET" => &[b"HSET", b"hash", PLACE, &value[PLACE.len()..]],
        other => panic!("{other} is not measured here"),
    };
    line.iter().map(|word| word.to_vec()).collect()
}

/// Counts replies that are a line or a string, without looking at what they say.
#[derive(Default)]
struct Replies {
    complete: usize,
    /// Bytes of a string still to come, its line end included.
    string_left: usize,
    /// The line that has been read in part: its kind and, of a string, its length so far.
    kind: Option<u8>,
    length: usize,
}

impl Replies {
    fn count(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            if self.string_left > 0 {
                let skipped = self.string_left.min(bytes.len());
                self.string_left -= skipped;
                bytes = &bytes[skipped..];
                self.complete += usize::from(self.string_left == 0);
                continue;
            }
            bytes = &bytes[1..];
            match (self.kind, byte) {
                (None, b'-') => panic!("an error: {}", String::from_utf8_lossy(&bytes[..bytes.len().min(200)])),
                (None, b'+' | b':' | b'$') => {
                    self.kind = Some(byte);
                    self.length = 0;
                }
                (None, other) => panic!("an unexpected kind of reply: {:?}", other as char),
                (Some(b'$'), b'-') => panic!("nil: the list was empty"),
                (Some(kind), b'\n') => {
                    self.kind = None;
                    match kind {
                        b'$' => self.string_left = self.length + 2,
                        _ => self.complete += 1,
                    }
                }
                (Some(b'$'), b'0'..=b'9') => self.length = self.length * 10 + usize::from(byte - b'0'),
                _ => {}
            }
        }
    }
}
