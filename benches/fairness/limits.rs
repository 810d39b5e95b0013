//! Limits: whether a rate holds and who notices it, how much of a concurrency is used, and what waiting costs.

use crate::connection::{Connection, wait};
use crate::crew::{Arrival, Delivery, How, QUEUE, WORKERS, payload, run};
use crate::harness::{Client, Server};
use crate::options::Options;
use crate::report::{Heading, Report, grouped};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

const RATES: Heading = Heading {
    title: "A rate of 100/s on a class, a burst of it in front of jobs of another class, which come at 200/s.",
    columns: &["case", "limited in the time", "off", "others", "others' p99 ms", "without the burst"],
};
const TURNS: Heading = Heading {
    title: "One job of a tenant at a time, by JOB.RESERVE and JOB.ACK.",
    columns: &["tenants", "jobs", "a job ms", "s", "jobs/s", "of what is possible", "most of one at once"],
};

const ADAPTIVE: Heading = Heading {
    title: "An adaptive rate before a target whose capacity changes by 5× every minute; jobs of 100 ms by JOB.RESERVE, ACK and NACK.",
    columns: &["capacity /s", "used", "in the second half", "failed", "nine tenths used after s"],
};

const LIMITED: &str = "LimitedJob";
const RATE: f64 = 100.0;
/// How far the number of jobs in the time may be from the rate.
const OFF_MAX: f64 = 0.01;
/// How much longer the others may wait, and what two runs differ by anyhow.
const NOTICED_MAX: f64 = 1.5;
const CHANCE_MS: f64 = 2.0;
const OTHERS_PER_SECOND: u32 = 200;
const TENANTS: usize = 40;
const USED_MIN: f64 = 0.9;
/// What the target takes a second, in each minute, and how long a job takes.
const CAPACITIES: [f64; 5] = [100.0, 20.0, 100.0, 20.0, 100.0];
const CALL: Duration = Duration::from_millis(100);
const USED_ALL_MIN: f64 = 0.8;
const FAILED_MAX: f64 = 0.03;
const FULL_AFTER_S_MAX: f64 = 20.0;
const CPU_IDLE_MAX: f64 = 0.01;
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub fn measure(options: &Options, report: &mut Report) {
    rates(options, report);
    turns(options, report);
    waiting(options, report);
}

// ---- rates ------------------------------------------------------------------------------------------------------------

fn rates(options: &Options, report: &mut Report) {
    let burst = vec![Arrival { class: LIMITED, ..Arrival::at_once(1) }; 50_000 / options.divisor];
    let count = (options.watched.as_secs_f64() * f64::from(OTHERS_PER_SECOND)) as u32;
    let others = |tenant| {
        // Not all at the beginning, when the burst is sorted.
        let at = |number: u32| Duration::from_secs(1) / OTHERS_PER_SECOND * (number + 1);
        (0..count).map(move |number| Arrival { at: at(number), ..Arrival::at_once(tenant) })
    };
    for (case, commands, tenant) in [
        ("in order of arrival", &[][..], 2),
        ("tenants, others of another one", &["JOB.SHUFFLE default"][..], 2),
        ("tenants, others of the same one", &["JOB.SHUFFLE default"][..], 1),
    ] {
        let limit = "JOB.LIMIT SET partner CLASS LimitedJob RATE 100 PER 1s";
        let commands = [commands, &[limit]].concat();
        let quiet = deliver(&others(tenant).collect::<Vec<_>>(), &commands, options);
        let busy = deliver(&burst.iter().copied().chain(others(tenant)).collect::<Vec<_>>(), &commands, options);
        let limited: Vec<&Delivery> = busy.iter().filter(|delivery| delivery.class == LIMITED).collect();
        let first = limited.first().map_or(Duration::ZERO, |delivery| delivery.at);
        let last = limited.last().map_or(Duration::ZERO, |delivery| delivery.at);
        let expected = (last - first).as_secs_f64() * RATE + 1.0;
        let off = limited.len() as f64 / expected - 1.0;
        let (busy_ms, quiet_ms) = (p99_ms(&busy), p99_ms(&quiet));
        report.row(
            &RATES,
            vec![
                case.to_owned(),
                grouped(limited.len() as u64),
                format!("{:+.2} %", off * 100.0),
                grouped(u64::from(count)),
                format!("{busy_ms:.2}"),
                format!("{quiet_ms:.2}"),
            ],
        );
        report.claim(
            format!("rate, {case}"),
            format!("{:+.2} % off", off * 100.0),
            format!("≤ {:.0} % off", OFF_MAX * 100.0),
            off.abs() <= OFF_MAX,
        );
        let asked_ms = (quiet_ms * NOTICED_MAX).max(quiet_ms + CHANCE_MS);
        report.claim(
            format!("others' p99 behind the burst, {case}"),
            format!("{busy_ms:.2} ms"),
            format!("≤ {asked_ms:.2} ms"),
            busy_ms <= asked_ms,
        );
    }
}

fn deliver(arrivals: &[Arrival], commands: &[&str], options: &Options) -> Vec<Delivery> {
    let server = Server::millpond(&["--appendfsync", "everysec"]);
    for command in commands {
        assert!(!server.client().line(command).is_error(), "{command}");
    }
    let how = How { until: Some(options.watched), ..How::default() };
    run(server.port(), arrivals, |_| options.short_work, how)
}

fn p99_ms(deliveries: &[Delivery]) -> f64 {
    let others = deliveries.iter().filter(|delivery| delivery.class != LIMITED);
    let mut waits: Vec<Duration> = others.map(|delivery| delivery.wait).collect();
    waits.sort_unstable();
    waits.get(waits.len() * 99 / 100).map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
}

// ---- concurrency --------------------------------------------------------------------------------------------------------

fn turns(options: &Options, report: &mut Report) {
    let jobs = 100_000 / options.divisor;
    let server = Server::millpond(&["--appendfsync", "everysec"]);
    let mut control = server.client();
    assert!(!control.line("JOB.LIMIT SET turns ALL BY tenant CONCURRENCY 1").is_error());
    fill(&mut control, jobs, |number| 1 + number % TENANTS);
    let work = options.short_work / 2;
    let (seconds, most) = reserve_all(server.port(), jobs, work);
    let possible = TENANTS.min(WORKERS) as f64 / work.as_secs_f64();
    let rate = jobs as f64 / seconds;
    let used = rate / possible;
    report.row(
        &TURNS,
        vec![
            TENANTS.to_string(),
            grouped(jobs as u64),
            format!("{:.1}", work.as_secs_f64() * 1000.0),
            format!("{seconds:.1}"),
            grouped(rate as u64),
            format!("{used:.2}"),
            most.to_string(),
        ],
    );
    report.claim("one job of a tenant at a time, at once", most.to_string(), "1", most == 1);
    report.claim(
        "one job of a tenant at a time, used",
        format!("{used:.2}"),
        format!("≥ {USED_MIN}"),
        used >= USED_MIN,
    );
    let told = format!("{:?}", control.line("JOB.LIMIT GET turns"));
    report.claim(
        "slots held at the end",
        told.matches("\"running\"").count().to_string(),
        "0",
        !told.contains("\"running\""),
    );
}

fn fill(control: &mut Client, jobs: usize, tenant: impl Fn(usize) -> usize) {
    const JOBS_PER_PUSH: usize = 200;
    for first in (0..jobs).step_by(JOBS_PER_PUSH) {
        let numbers = first..(first + JOBS_PER_PUSH).min(jobs);
        let mut words = vec![b"LPUSH".to_vec(), QUEUE.as_bytes().to_vec()];
        words.extend(numbers.map(|number| payload(number, tenant(number), "SyncJob")));
        control.must(&words).integer();
    }
}

/// Takes all jobs by leases; gives the seconds that took, and how many of one tenant were out at once at the most.
fn reserve_all(port: u16, jobs: usize, work: Duration) -> (f64, usize) {
    const RESERVE: [&str; 5] = ["JOB.RESERVE", "BLOCK", "1000", "FROM", QUEUE];
    let mut connections: Vec<Connection> = (0..WORKERS).map(|_| Connection::open(port)).collect();
    let mut held: Vec<Option<(String, usize)>> = vec![None; WORKERS];
    let mut out = [0; TENANTS + 1];
    let (mut done, mut most) = (0, 0);
    let mut pausing = BinaryHeap::new();
    let began = Instant::now();
    let mut last_news = Instant::now();
    connections.iter_mut().for_each(|worker| worker.send(&RESERVE));
    while done < jobs {
        while let Some(std::cmp::Reverse((at, worker))) = pausing.peek().copied()
            && at <= began.elapsed()
        {
            pausing.pop();
            let worker: usize = worker;
            let (id, tenant) = held[worker].take().expect("who pauses has a job");
            out[tenant] -= 1;
            done += 1;
            connections[worker].send(&["JOB.ACK", &id]);
            connections[worker].send(&RESERVE);
        }
        let next = pausing.peek().map(|std::cmp::Reverse((at, _))| *at);
        let pause = next.map_or(Duration::from_millis(100), |at: Duration| at.saturating_sub(began.elapsed()));
        for worker in wait(&connections, pause) {
            for reply in connections[worker].replies() {
                // The answer to ACK is no array.
                if !matches!(reply, crate::harness::Value::Array(_)) {
                    assert!(!reply.is_error(), "{reply:?}");
                    continue;
                }
                let Some(job) = reply.items().first() else {
                    connections[worker].send(&RESERVE);
                    continue;
                };
                let id = job.items()[1].text();
                let tenant: usize = job.items()[3].items()[5].text().parse().expect("a tenant is a number");
                out[tenant] += 1;
                most = most.max(out[tenant]);
                held[worker] = Some((id, tenant));
                pausing.push(std::cmp::Reverse((began.elapsed() + work, worker)));
                last_news = Instant::now();
            }
        }
        assert!(last_news.elapsed() < SILENCE_MAX, "{done} of {jobs} jobs are done");
    }
    (began.elapsed().as_secs_f64(), most)
}

// ---- a rate that finds itself -------------------------------------------------------------------------------------------

/// What became of the calls of one minute.
#[derive(Default, Clone)]
struct Minute {
    ok: usize,
    ok_late: usize,
    failed: usize,
    /// By second.
    each: Vec<usize>,
}

pub fn adaptive(options: &Options, report: &mut Report) {
    let server = Server::millpond(&["--appendfsync", "everysec"]);
    let mut control = server.client();
    let limit = "JOB.LIMIT SET partner ALL RATE 100 PER 1s ADAPTIVE MIN 1 MAX 1000";
    assert!(!control.line(limit).is_error());
    fill(&mut control, 60_000 / options.divisor, |number| 1 + number % TENANTS);
    let minutes = call(server.port(), options.watched);
    let length_s = options.watched.as_secs_f64();
    let (mut used, mut failed, mut calls) = (0.0, 0, 0);
    let (mut late_min, mut slowest) = (f64::MAX, 0.0_f64);
    for (minute, capacity) in minutes.iter().zip(CAPACITIES) {
        let part = minute.ok as f64 / (capacity * length_s);
        let late = minute.ok_late as f64 / (capacity * length_s / 2.0);
        let full = minute.each.iter().position(|ok| *ok as f64 >= 0.9 * capacity);
        let full_s = full.map_or(length_s, |second| second as f64 + 1.0);
        used += part / CAPACITIES.len() as f64;
        failed += minute.failed;
        calls += minute.ok + minute.failed;
        (late_min, slowest) = (late_min.min(late), slowest.max(full_s));
        report.row(
            &ADAPTIVE,
            vec![
                format!("{capacity:.0}"),
                format!("{part:.2}"),
                format!("{late:.2}"),
                format!("{:.1} %", 100.0 * minute.failed as f64 / (minute.ok + minute.failed).max(1) as f64),
                format!("{full_s:.0}"),
            ],
        );
    }
    let failed = failed as f64 / calls.max(1) as f64;
    report.claim(
        "adaptive: used in the second half of each minute",
        format!("{late_min:.2}"),
        "≥ 0.9",
        late_min >= 0.9,
    );
    report.claim("adaptive: used over all", format!("{used:.2}"), format!("≥ {USED_ALL_MIN}"), used >= USED_ALL_MIN);
    report.claim(
        "adaptive: failed",
        format!("{:.1} %", failed * 100.0),
        format!("≤ {:.0} %", FAILED_MAX * 100.0),
        failed <= FAILED_MAX,
    );
    report.claim(
        "adaptive: back to nine tenths",
        format!("{slowest:.0} s"),
        format!("≤ {FULL_AFTER_S_MAX:.0} s"),
        slowest <= FULL_AFTER_S_MAX,
    );
}

/// Lets workers call a target that takes so many calls a second, evenly, with a tenth of a second to spare.
fn call(port: u16, length: Duration) -> Vec<Minute> {
    const RESERVE: [&str; 5] = ["JOB.RESERVE", "BLOCK", "1000", "FROM", QUEUE];
    let mut connections: Vec<Connection> = (0..WORKERS).map(|_| Connection::open(port)).collect();
    let mut held: Vec<Option<String>> = vec![None; WORKERS];
    let mut minutes = vec![Minute::default(); CAPACITIES.len()];
    let (mut tokens, mut filled) = (0.0_f64, Duration::ZERO);
    let mut calling = BinaryHeap::new();
    let began = Instant::now();
    connections.iter_mut().for_each(|worker| worker.send(&RESERVE));
    loop {
        let now = began.elapsed();
        let minute = (now.as_secs_f64() / length.as_secs_f64()) as usize;
        let Some(capacity) = CAPACITIES.get(minute) else { return minutes };
        tokens = (tokens + (now - filled).as_secs_f64() * capacity).min(capacity / 10.0);
        filled = now;
        while let Some(std::cmp::Reverse((at, worker))) = calling.peek().copied()
            && at <= now
        {
            calling.pop();
            let worker: usize = worker;
            let id: String = held[worker].take().expect("who calls has a job");
            let of = &mut minutes[minute];
            let in_minute = now.saturating_sub(length * minute as u32);
            let second = in_minute.as_secs() as usize;
            of.each.resize(of.each.len().max(second + 1), 0);
            if tokens >= 1.0 {
                tokens -= 1.0;
                of.ok += 1;
                of.each[second] += 1;
                of.ok_late += usize::from(in_minute >= length / 2);
                connections[worker].send(&["JOB.ACK", &id]);
            } else {
                of.failed += 1;
                connections[worker].send(&["JOB.NACK", &id, "DELAY", "1h", "ERROR", "RateLimited", "too many"]);
            }
            connections[worker].send(&RESERVE);
        }
        let next = calling.peek().map(|std::cmp::Reverse((at, _))| *at);
        let pause = next.map_or(Duration::from_millis(100), |at: Duration| at.saturating_sub(began.elapsed()));
        for worker in wait(&connections, pause.min(Duration::from_millis(100))) {
            for reply in connections[worker].replies() {
                if !matches!(reply, crate::harness::Value::Array(_)) {
                    assert!(!reply.is_error(), "{reply:?}");
                    continue;
                }
                match reply.items().first() {
                    None => connections[worker].send(&RESERVE),
                    Some(job) => {
                        held[worker] = Some(job.items()[1].text());
                        calling.push(std::cmp::Reverse((began.elapsed() + CALL, worker)));
                    }
                }
            }
        }
    }
}

// ---- waiting ------------------------------------------------------------------------------------------------------------

/// What the server costs while nothing may go and everybody waits.
fn waiting(options: &Options, report: &mut Report) {
    let server = Server::millpond(&["--appendfsync", "everysec"]);
    let mut control = server.client();
    assert!(!control.line("JOB.LIMIT SET one ALL CONCURRENCY 1").is_error());
    fill(&mut control, 20_000 / options.divisor, |number| 1 + number % TENANTS);
    let mut connections: Vec<Connection> = (0..WORKERS).map(|_| Connection::open(server.port())).collect();
    connections.iter_mut().for_each(|worker| worker.send(&["BRPOP", QUEUE, "0"]));
    let mut cpu = || {
        let told = control.info("cpu");
        let seconds = |name: &str| told[name].parse::<f64>().expect("it is a number");
        seconds("used_cpu_sys") + seconds("used_cpu_user")
    };
    // The jobs are sorted, and the log is synced, before it is quiet.
    std::thread::sleep(options.idle);
    let before = cpu();
    std::thread::sleep(options.idle);
    let used = (cpu() - before) / options.idle.as_secs_f64();
    report.claim(
        "CPU while everything is held and 50 workers wait",
        format!("{:.2} % of a core", used * 100.0),
        format!("≤ {:.0} %", CPU_IDLE_MAX * 100.0),
        used <= CPU_IDLE_MAX,
    );
}
