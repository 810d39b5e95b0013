//! A million tenants with ten jobs each, enabled on the backlog as it lies there: how fast it is drained, beside a plain list.

use crate::answers::ask_line;
use crate::connection::{Connection, wait};
use crate::crew::{QUEUE, WORKERS};
use crate::harness::{self, Chance, Client, Server, encode};
use crate::options::Options;
use crate::report::{Heading, Report, Spread, grouped};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

const DRAINS: Heading = Heading {
    title: "Draining a backlog of a million tenants with ten jobs each, 50 workers in BRPOP (MB and ms; medians, least and most).",
    columns: &[
        "layout",
        "served",
        "jobs",
        "jobs/s",
        "of plain",
        "slowest tenth",
        "VmHWM",
        "LRANGE 0 49",
        "LINDEX -1",
        "longest turn",
    ],
};

const JOBS_OF_A_TENANT: u64 = 10;
const JOBS_PER_PUSH: u64 = 200;
/// Of a plain list only this part is drained: it is as fast all along.
const PLAIN_PARTS: u64 = 5;
const RATE_MIN: f64 = 0.3;
const MEMORY_MAX_MB: u64 = 400;
const LOOK_MS_MAX: f64 = 5.0;
const TURN_MS_MAX: f64 = 5.0;
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// How the tenants' jobs lie in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One of each tenant, then the next of each.
    Turns,
    /// Each tenant's ten jobs are together.
    Runs,
    /// In any order.
    Mixed,
}

impl Layout {
    pub const ALL: [Layout; 3] = [Layout::Turns, Layout::Runs, Layout::Mixed];

    pub fn name(self) -> &'static str {
        match self {
            Layout::Turns => "turns",
            Layout::Runs => "runs",
            Layout::Mixed => "mixed",
        }
    }

    pub fn named(name: &str) -> Layout {
        let known = Layout::ALL.into_iter().find(|layout| layout.name() == name);
        known.unwrap_or_else(|| panic!("there is no layout {name}; there are turns, runs, mixed"))
    }

    /// Whose the job at a position is.
    fn tenant(self, position: u64, jobs: u64) -> u64 {
        match self {
            Layout::Turns => position % (jobs / JOBS_OF_A_TENANT),
            Layout::Runs => position / JOBS_OF_A_TENANT,
            Layout::Mixed => mixed(position, jobs) / JOBS_OF_A_TENANT,
        }
    }
}

/// A permutation of the numbers below `count`: a few rounds of a Feistel network, walked until it is below.
fn mixed(number: u64, count: u64) -> u64 {
    let bits = (u64::BITS - (count - 1).leading_zeros()).div_ceil(2);
    let mask = (1 << bits) - 1;
    let mut at = number;
    loop {
        for round in 0..4 {
            let (left, right) = (at >> bits, at & mask);
            at = right << bits | (left ^ (Chance::new(right ^ round << 40).bits() & mask));
        }
        if at < count {
            return at;
        }
    }
}

fn payload(number: u64, tenant: u64) -> Vec<u8> {
    let mut chance = Chance::new(number);
    let mut job = br#"{"retry":true,"queue":"default","class":"SyncJob","args":[{"note":""#.to_vec();
    for _ in 0..6 {
        write!(job, "{:016x}", chance.bits()).expect("memory takes it");
    }
    write!(
        job,
        r#""}}],"jid":"{number:024x}","created_at":1760000000.5,"enqueued_at":1760000000.5,"tenant_id":"shop-{tenant}"}}"#
    )
    .expect("memory takes it");
    job
}

/// What one drain has shown.
struct Drain {
    jobs: u64,
    rate: f64,
    /// Of ten parts of it.
    slowest: f64,
    memory_mb: u64,
    lrange_ms: Spread,
    lindex_ms: Spread,
    turn_ms: f64,
}

pub fn measure(options: &Options, report: &mut Report) {
    for layout in &options.layouts {
        let plain = measure_one(*layout, false, options);
        show(report, *layout, "plain", &plain, plain.rate);
        let fair = measure_one(*layout, true, options);
        show(report, *layout, "drr", &fair, plain.rate);
        let name = layout.name();
        let part = fair.rate / plain.rate;
        let mut claim = |what: &str, measured: String, asked: String, holds| {
            report.claim(format!("a million tenants, {name}: {what}"), measured, asked, holds);
        };
        claim("rate", format!("{part:.2} of plain"), format!("≥ {RATE_MIN}"), part >= RATE_MIN);
        let (memory, most) = (fair.memory_mb, MEMORY_MAX_MB);
        claim("VmHWM", format!("{memory} MB"), format!("≤ {most} MB"), memory <= most);
        for (command, times) in [("LRANGE 0 49", fair.lrange_ms), ("LINDEX -1", fair.lindex_ms)] {
            let (ms, most) = (times.middle, LOOK_MS_MAX);
            claim(command, format!("{ms:.2} ms, 19 of 20 below {:.2}", times.p95), format!("≤ {most} ms"), ms <= most);
        }
        let turn = fair.turn_ms;
        claim("longest turn", format!("{turn:.2} ms"), format!("≤ {TURN_MS_MAX} ms"), turn <= TURN_MS_MAX);
    }
}

fn show(report: &mut Report, layout: Layout, served: &str, drain: &Drain, plain_rate: f64) {
    let cells = vec![
        layout.name().to_owned(),
        served.to_owned(),
        grouped(drain.jobs),
        grouped(drain.rate as u64),
        format!("{:.2}", drain.rate / plain_rate),
        grouped(drain.slowest as u64),
        drain.memory_mb.to_string(),
        drain.lrange_ms.show(2),
        drain.lindex_ms.show(2),
        format!("{:.2}", drain.turn_ms),
    ];
    report.row(&DRAINS, cells);
}

fn measure_one(layout: Layout, fair: bool, options: &Options) -> Drain {
    let server = Server::millpond(&["--maxmemory", &options.maxmemory, "--appendfsync", "everysec"]);
    let mut control = server.client();
    control.set_timeout(SILENCE_MAX);
    favour(server.pid());
    let began = Instant::now();
    fill(&mut control, layout, options.jobs);
    let (filled, memory) = (began.elapsed(), harness::memory_peak_bytes(server.pid()) >> 20);
    eprintln!("{}: {} jobs pushed in {filled:.1?}, {memory} MB", layout.name(), grouped(options.jobs));
    ask_line(&mut control, "CONFIG RESETSTAT");
    if fair {
        ask_line(&mut control, "JOB.SHUFFLE default");
    }
    let jobs = if fair { options.jobs } else { options.jobs / PLAIN_PARTS };
    let mut drain = drain(server.port(), &mut control, jobs, options);
    drain.memory_mb = harness::memory_peak_bytes(server.pid()) >> 20;
    drain.turn_ms = control.info("millpond")["turn_us_max"].parse::<f64>().expect("a number") / 1e3;
    let left = control.must(&["LLEN", QUEUE]).integer() as u64;
    assert_eq!(left, options.jobs - jobs, "every job was handed out once");
    drain
}

/// Gives the thread that runs the turns the first call on a core: what it waits for one is no part of a turn, and there are
/// few cores for it, its own helpers and the workers here.
fn favour(pid: u32) {
    let asked = Command::new("renice").args(["-n", "-15", "-p", &pid.to_string()]).output();
    if !asked.is_ok_and(|output| output.status.success()) {
        eprintln!("turns may be interrupted: nobody here may give a process priority");
    }
}

fn fill(control: &mut Client, layout: Layout, jobs: u64) {
    for first in (0..jobs).step_by(JOBS_PER_PUSH as usize) {
        let mut words = vec![b"LPUSH".to_vec(), QUEUE.as_bytes().to_vec()];
        words.extend((first..(first + JOBS_PER_PUSH).min(jobs)).map(|at| payload(at, layout.tenant(at, jobs))));
        let mut wire = Vec::new();
        encode(&mut wire, &words);
        loop {
            control.send_raw(&wire).expect("the server reads");
            match control.reply().expect("the server answers") {
                harness::Value::Integer(_) => break,
                harness::Value::Error(text) if text.starts_with("OOM") => {
                    std::thread::sleep(Duration::from_millis(100))
                }
                other => panic!("a push was answered {other:?}"),
            }
        }
    }
}

/// Has fifty workers take so many jobs, as fast as they get them, while the list is looked at from time to time.
fn drain(port: u16, control: &mut Client, jobs: u64, options: &Options) -> Drain {
    let mut connections = (0..WORKERS).map(|_| Connection::open(port)).collect::<Vec<_>>();
    let (mut asked, mut got) = (0, 0);
    let (mut lrange, mut lindex) = (Vec::new(), Vec::new());
    let (began, mut looked) = (Instant::now(), Instant::now());
    let mut marks = vec![(0, began)];
    for worker in &mut connections {
        worker.send(&["BRPOP", QUEUE, "1"]);
        asked += 1;
    }
    while got < jobs {
        for worker in wait(&connections, Duration::from_millis(100)) {
            for reply in connections[worker].replies() {
                match reply.is_nil() {
                    true => asked -= 1,
                    false => got += 1,
                }
                if asked < jobs {
                    connections[worker].send(&["BRPOP", QUEUE, "1"]);
                    asked += 1;
                }
            }
        }
        if got >= jobs / 10 * marks.len() as u64 && got > marks[marks.len() - 1].0 {
            marks.push((got, Instant::now()));
            eprintln!("  {} jobs after {:.1?}", grouped(got), began.elapsed());
        }
        if looked.elapsed() >= options.look_interval {
            lrange.push(timed(control, &format!("LRANGE {QUEUE} 0 49")));
            lindex.push(timed(control, &format!("LINDEX {QUEUE} -1")));
            looked = Instant::now();
        }
        assert!(began.elapsed() < SILENCE_MAX * 30, "{got} of {jobs} jobs came");
    }
    let took = began.elapsed();
    let rate = |pair: &[(u64, Instant)]| (pair[1].0 - pair[0].0) as f64 / (pair[1].1 - pair[0].1).as_secs_f64();
    let slowest = marks.windows(2).map(rate).fold(f64::INFINITY, f64::min);
    Drain {
        jobs,
        rate: jobs as f64 / took.as_secs_f64(),
        slowest,
        memory_mb: 0,
        lrange_ms: Spread::of(lrange),
        lindex_ms: Spread::of(lindex),
        turn_ms: 0.0,
    }
}

fn timed(control: &mut Client, line: &str) -> f64 {
    let began = Instant::now();
    ask_line(control, line);
    began.elapsed().as_secs_f64() * 1e3
}
