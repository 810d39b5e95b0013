//! Service levels in overload: jobs come faster than fifty workers can do them, and the job that has used most of its time is
//! next. Once as the queues of one BRPOP, with payloads as Sidekiq writes them; once as classes of one queue, as Resque pops.

use crate::connection::{Connection, wait};
use crate::crew::WORKERS;
use crate::harness::{Server, Value};
use crate::options::Options;
use crate::report::{Heading, Report, grouped};
use std::collections::BinaryHeap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LEVELS: Heading = Heading {
    title: "Service levels at 1.2 times what 50 workers can do.",
    columns: &[
        "case",
        "level",
        "within s",
        "weight",
        "jobs/s come",
        "jobs done",
        "longest wait, of within",
        "share",
        "longest pause s",
    ],
};

/// One of the levels: its name, what it is promised, its weight, and its part of what the workers could do.
struct Level {
    name: &'static str,
    within: Duration,
    weight: f64,
    part: f64,
}

const ALL: [Level; 3] = [
    Level { name: "tight", within: Duration::from_secs(1), weight: 1.0, part: 0.2 },
    Level { name: "heavy", within: Duration::from_secs(4), weight: 2.0, part: 0.6 },
    Level { name: "light", within: Duration::from_secs(8), weight: 1.0, part: 0.4 },
];
/// How far a share may be from what its weight says, as a part of it.
const OFF_MAX: f64 = 0.1;
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a worker waits that has found nothing.
const POLL: Duration = Duration::from_millis(5);

/// What became of one level.
#[derive(Default)]
struct Seen {
    jobs: u64,
    /// In the second half.
    jobs_late: u64,
    longest: Duration,
    last: Duration,
    pause: Duration,
}

pub fn measure(options: &Options, report: &mut Report) {
    one_case("queues of one BRPOP", true, options, report);
    one_case("classes of one queue", false, options, report);
}

fn one_case(case: &str, by_queue: bool, options: &Options, report: &mut Report) {
    let server = Server::millpond(&["--appendfsync", "everysec"]);
    let mut control = server.client();
    let mut lines: Vec<String> = Vec::new();
    for Level { name, within, weight, .. } in &ALL {
        let which = if by_queue { format!("QUEUE {name} ALL") } else { format!("CLASS {name}") };
        lines.push(format!("JOB.SLO SET {name} {which} WITHIN {}ms WEIGHT {weight}", within.as_millis()));
    }
    let queues = if by_queue { ALL.map(|level| level.name).to_vec() } else { vec!["all"] };
    lines.extend(queues.iter().map(|queue| format!("JOB.SLO ORDER queue:{queue} slack")));
    for line in &lines {
        assert!(!control.line(line).is_error(), "{line}");
    }
    let length = options.watched + options.watched / 2;
    let capacity = WORKERS as f64 / options.short_work.as_secs_f64();
    let seen = run(server.port(), by_queue, capacity, length, options.short_work);
    let of_others: f64 = seen[1..].iter().map(|seen| seen.jobs_late as f64).sum();
    let weights: f64 = ALL[1..].iter().map(|level| level.weight).sum();
    for (index, (level, seen)) in ALL.iter().zip(&seen).enumerate() {
        let share = seen.jobs_late as f64 / of_others;
        report.row(
            &LEVELS,
            vec![
                case.to_owned(),
                level.name.to_owned(),
                format!("{:.0}", level.within.as_secs_f64()),
                level.weight.to_string(),
                grouped((capacity * level.part) as u64),
                grouped(seen.jobs),
                format!("{:.0} %", seen.longest.div_duration_f64(level.within) * 100.0),
                if index == 0 { "-".to_owned() } else { format!("{share:.3}") },
                format!("{:.2}", seen.pause.as_secs_f64()),
            ],
        );
        let (asked, off) = (level.weight / weights, (share / (level.weight / weights) - 1.0).abs());
        if index > 0 {
            let asked = format!("{asked:.3} ± {:.0} %", OFF_MAX * 100.0);
            report.claim(format!("{case}: share of {}", level.name), format!("{share:.3}"), asked, off <= OFF_MAX);
        }
    }
    let used = seen[0].longest.div_duration_f64(ALL[0].within);
    let shown = format!("{:.0} %", used * 100.0);
    report.claim(format!("{case}: the tightest level's age"), shown, "≤ 100 %".to_owned(), used <= 1.0);
    let pause = seen.iter().map(|seen| seen.pause).max().expect("there are levels");
    let shown = format!("{:.2} s", pause.as_secs_f64());
    let asked = format!("< {} s", PAUSE_MAX.as_secs());
    report.claim(format!("{case}: longest time without service"), shown, asked, pause < PAUSE_MAX);
}

/// A job that knows its level and when it was pushed. Resque's do not say when they came, but the arguments here do.
fn payload(by_queue: bool, level: &Level, at: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs_f64();
    let (name, at_us) = (level.name, at.as_micros());
    match by_queue {
        true => format!(
            r#"{{"retry":true,"queue":"{name}","class":"{name}","args":["{name} {at_us}"],"jid":"{at_us:024x}","created_at":{now:.6},"enqueued_at":{now:.6}}}"#
        ),
        false => format!(r#"{{"class":"{name}","args":["{name} {at_us}"]}}"#),
    }
}

/// Of a delivered job: its level, and when it was pushed.
fn read(payload: &[u8]) -> (usize, Duration) {
    let text = std::str::from_utf8(payload).expect("a job is text");
    let after = text.split(r#""args":[""#).nth(1).expect("a job has arguments");
    let mut words = after.split('"').next().expect("it ends").split(' ');
    let name = words.next().expect("it names its level");
    let at_us = words.next().expect("it says when it came").parse().expect("a number");
    (ALL.iter().position(|level| level.name == name).expect("it is one of them"), Duration::from_micros(at_us))
}

/// Pushes jobs evenly while workers pop and pause.
fn run(port: u16, by_queue: bool, capacity: f64, length: Duration, work: Duration) -> Vec<Seen> {
    let ask: &[&str] = match by_queue {
        true => &["BRPOP", "queue:tight", "queue:heavy", "queue:light", "1"],
        false => &["LPOP", "queue:all"],
    };
    let mut connections: Vec<Connection> = (0..WORKERS).map(|_| Connection::open(port)).collect();
    let mut producer = Connection::open(port);
    let mut pausing = BinaryHeap::new();
    let mut seen: Vec<Seen> = ALL.iter().map(|_| Seen::default()).collect();
    let mut pushed = [0_u64; ALL.len()];
    let began = Instant::now();
    connections.iter_mut().for_each(|worker| worker.send(ask));
    loop {
        let now = began.elapsed();
        if now >= length {
            return seen;
        }
        for (level, pushed) in ALL.iter().zip(&mut pushed) {
            while (*pushed as f64) < now.as_secs_f64() * capacity * level.part {
                let queue = if by_queue { format!("queue:{}", level.name) } else { "queue:all".to_owned() };
                let push = if by_queue { "LPUSH" } else { "RPUSH" };
                producer.send(&[push, &queue, &payload(by_queue, level, now)]);
                *pushed += 1;
            }
        }
        for reply in producer.replies() {
            assert!(!reply.is_error(), "{reply:?}");
        }
        while let Some(std::cmp::Reverse((at, worker))) = pausing.peek().copied()
            && at <= now
        {
            pausing.pop();
            let worker: usize = worker;
            connections[worker].send(ask);
        }
        for worker in wait(&connections, Duration::from_millis(1)) {
            for reply in connections[worker].replies() {
                let at = began.elapsed();
                assert!(!reply.is_error(), "{reply:?}");
                let job = match &reply {
                    _ if reply.is_nil() => {
                        pausing.push(std::cmp::Reverse((at + POLL, worker)));
                        continue;
                    }
                    Value::Array(_) => reply.items()[1].bytes(),
                    other => other.bytes(),
                };
                let (level, came) = read(job);
                let of = &mut seen[level];
                of.jobs += 1;
                of.jobs_late += u64::from(at >= length / 2);
                of.longest = of.longest.max(at.saturating_sub(came));
                of.pause = of.pause.max(at - of.last);
                of.last = at;
                pausing.push(std::cmp::Reverse((at + work, worker)));
            }
        }
    }
}
