//! What is in the queue, before anything is done about it: DRYRUN, STATS and INSPECT on the whole backlog, and what ADD costs.

use crate::answers::{ask, ask_line, field, find, find_row, number};
use crate::backlog::{Backlog, forget_turns, longest_turn_ms, shown_ms};
use crate::filling::{QUEUE, settle};
use crate::harness::Value;
use crate::jobs::{ABSENT_CUSTOMER, CUSTOMERS, Kind};
use crate::options::Options;
use crate::report::{Heading, Report, Spread, grouped};
use std::thread;
use std::time::{Duration, Instant};

const LOOKING: Heading = Heading {
    title: "What is in there, asked on the full backlog (ms at the client: median, least and most).",
    columns: &["layout", "command", "ms", "answer", "truth", "intervals that hold it", "half-width", "longest turn ms"],
};

const DRYRUN_MS_MAX: f64 = 50.0;
const COUNT_WAIT_MAX: Duration = Duration::from_secs(600);
const STATS_MS_MAX: f64 = 50.0;
const INSPECT_MS_MAX: f64 = 200.0;
const ADD_MS_MAX: f64 = 1.0;
const TURN_MS_MAX: f64 = 5.0;
const HOLDING_SHARE_MIN: f64 = 0.9;
/// Of the truth, in the spread layout.
const HALF_WIDTH_MAX: f64 = 0.5;

/// Asks everything several times and compares it with the truth.
pub fn measure(backlog: &mut Backlog, options: &Options, report: &mut Report) {
    dry_run(backlog, options, report, CUSTOMERS[0]);
    dry_run(backlog, options, report, ABSENT_CUSTOMER);
    count(backlog, report);
    stats(backlog, options, report);
    inspect(backlog, options, report);
    add(backlog, options, report);
}

fn dry_run(backlog: &mut Backlog, options: &Options, report: &mut Report, customer: u64) {
    let layout = backlog.layout.name();
    let truth = backlog.jobs.count_of(Kind::bad(customer)) as f64;
    let mut words = ["JOB.BLACKHOLE", "ADD", "dry"].map(String::from).to_vec();
    words.extend(Kind::bad(customer).predicate());
    words.push("DRYRUN".to_owned());
    let (answers, times, turn) = repeat(backlog, options.dry_runs, &words);

    let estimates = answers.iter().map(|answer| {
        let bounds = field(answer, "interval").items().iter().map(number).collect::<Vec<_>>();
        let [low, high] = bounds[..] else { panic!("an interval has two ends: {answer:?}") };
        assert!(low <= high, "{answer:?}");
        assert_eq!(number(field(answer, "total")), backlog.pushed as f64, "{answer:?}");
        (number(field(answer, "matched")), low, high)
    });
    let estimates = estimates.collect::<Vec<_>>();
    let holding = estimates.iter().filter(|(_, low, high)| (*low..=*high).contains(&truth)).count();
    let matched = Spread::of(estimates.iter().map(|(matched, ..)| *matched));
    let half_width = Spread::of(estimates.iter().map(|(_, low, high)| (high - low) / 2.0));
    let what = if customer == ABSENT_CUSTOMER { "DRYRUN, absent" } else { "DRYRUN" };
    // Of an absent match there is no share, so the jobs are shown.
    let width = if truth > 0.0 {
        let percent = |jobs: f64| format!("{:.0} %", jobs / truth * 100.0);
        format!("± {}, widest {}", percent(half_width.middle), percent(half_width.most))
    } else {
        format!("± {:.0} jobs", half_width.middle)
    };
    report.row(
        &LOOKING,
        vec![
            layout.to_owned(),
            what.to_owned(),
            times.show(1),
            matched.show(0),
            grouped(truth as u64),
            format!("{holding} of {}", estimates.len()),
            width,
            shown_turns(turn),
        ],
    );
    claim_time(report, layout, what, times, DRYRUN_MS_MAX);
    claim_turns(report, layout, what, turn);
    report.claim(
        format!("{layout}: the interval of {what} holds the truth"),
        format!("{holding} of {}", estimates.len()),
        "≥ 90 of 100",
        holding as f64 >= HOLDING_SHARE_MIN * estimates.len() as f64,
    );
    if truth > 0.0 && layout == "spread" {
        let widest = half_width.most / truth;
        report.claim(
            format!("{layout}: {what} is no wider than ± 50 %"),
            format!("± {:.0} %", widest * 100.0),
            "≤ 50 %",
            widest <= HALF_WIDTH_MAX,
        );
    }
}

/// Counts to the job, behind the reply.
fn count(backlog: &mut Backlog, report: &mut Report) {
    let layout = backlog.layout.name();
    let truth = backlog.jobs.count_of(Kind::bad(CUSTOMERS[0]));
    let mut words = ["JOB.BLACKHOLE", "ADD", "dry"].map(String::from).to_vec();
    words.extend(Kind::bad(CUSTOMERS[0]).predicate());
    words.extend(["DRYRUN", "EXACT"].map(String::from));
    forget_turns(&mut backlog.control);
    let began = Instant::now();
    ask(&mut backlog.control, &words);
    let told = loop {
        let info = ask(&mut backlog.control, &["JOB.BLACKHOLE", "INFO", "dry"]);
        let count = field(&info, "count");
        if number(field(count, "counting")) == 0.0 {
            break count.clone();
        }
        assert!(began.elapsed() < COUNT_WAIT_MAX, "the count does not end: {count:?}");
        thread::sleep(Duration::from_millis(5));
    };
    let ms = began.elapsed().as_secs_f64() * 1e3;
    let turn = longest_turn_ms(&mut backlog.control);
    assert_eq!(number(field(&told, "matched")), truth as f64, "{told:?}");
    assert_eq!(number(field(&told, "passed")), backlog.pushed as f64, "{told:?}");
    let mut cells = vec![layout.to_owned(), "DRYRUN EXACT, counted".to_owned(), format!("{ms:.0}")];
    cells.extend([grouped(number(field(&told, "matched")) as u64), grouped(truth), "–".to_owned(), "–".to_owned()]);
    cells.push(shown_ms(turn));
    report.row(&LOOKING, cells);
    claim_turn(report, layout, "DRYRUN EXACT", turn);
}

fn stats(backlog: &mut Backlog, options: &Options, report: &mut Report) {
    let layout = backlog.layout.name();
    let words = ["JOB.STATS", "BY", "class"].map(String::from);
    let (answers, times, turn) = repeat(backlog, options.calls, &words);
    let class = Kind::bad(CUSTOMERS[0]).class;
    let pending = find_row(&answers[0], "class", class).and_then(|row| find(row, "pending")).map(number);
    let truth = backlog.jobs.count_of_bad_class();
    report.row(
        &LOOKING,
        vec![
            layout.to_owned(),
            "STATS BY class".to_owned(),
            times.show(1),
            pending.map_or("–".to_owned(), |pending| grouped(pending as u64)),
            grouped(truth),
            "–".to_owned(),
            "–".to_owned(),
            shown_turns(turn),
        ],
    );
    claim_time(report, layout, "STATS BY class", times, STATS_MS_MAX);
    claim_turns(report, layout, "STATS BY class", turn);
}

fn inspect(backlog: &mut Backlog, options: &Options, report: &mut Report) {
    let layout = backlog.layout.name();
    let words = ["JOB.INSPECT", QUEUE, "SAMPLE", "10000"].map(String::from);
    let (_, times, turn) = repeat(backlog, options.calls, &words);
    let mut cells = vec![layout.to_owned(), "INSPECT SAMPLE 10000".to_owned(), times.show(1)];
    cells.extend(["–"; 4].map(String::from));
    cells.push(shown_turns(turn));
    report.row(&LOOKING, cells);
    claim_time(report, layout, "INSPECT SAMPLE 10000", times, INSPECT_MS_MAX);
    claim_turns(report, layout, "INSPECT SAMPLE 10000", turn);
}

/// Times ADD on a server that does nothing else, beside PING: what the client sees bounds what the server takes.
fn add(backlog: &mut Backlog, options: &Options, report: &mut Report) {
    let layout = backlog.layout.name();
    let (_, pings, _) = repeat(backlog, options.calls, &["PING".to_owned()]);
    forget_turns(&mut backlog.control);
    let times = (0..options.calls).map(|call| {
        let name = format!("idle-{call}");
        let mut words = ["JOB.BLACKHOLE", "ADD", &name].map(String::from).to_vec();
        words.extend(Kind::bad(ABSENT_CUSTOMER).predicate());
        let began = Instant::now();
        ask(&mut backlog.control, &words);
        let time = began.elapsed();
        ask_line(&mut backlog.control, &format!("JOB.BLACKHOLE DEL {name}"));
        time.as_secs_f64() * 1e3
    });
    let times = Spread::of(times);
    let turn = longest_turn_ms(&mut backlog.control);
    let mut cells = vec![layout.to_owned(), "ADD (then DEL)".to_owned(), times.show(2)];
    cells.push(format!("PING {}", pings.show(2)));
    cells.extend(["–"; 3].map(String::from));
    cells.push(shown_ms(turn));
    report.row(&LOOKING, cells);
    report.claim(
        format!("{layout}: ADD on an idle server, round trip"),
        format!("{:.2} ms, {:.2} ms in 19 of 20 calls", times.middle, times.p95),
        format!("≤ {ADD_MS_MAX} ms"),
        times.middle <= ADD_MS_MAX,
    );
    settle(&mut backlog.control);
}

/// Asks the same thing again and again. Gives the answers, their times in milliseconds, and the longest turn of each.
fn repeat(backlog: &mut Backlog, calls: usize, words: &[String]) -> (Vec<Value>, Spread, Option<Spread>) {
    let mut answers = Vec::new();
    let (mut times_ms, mut turns_ms) = (Vec::new(), Vec::new());
    for _ in 0..calls {
        forget_turns(&mut backlog.control);
        let began = Instant::now();
        answers.push(ask(&mut backlog.control, words));
        times_ms.push(began.elapsed().as_secs_f64() * 1e3);
        turns_ms.extend(longest_turn_ms(&mut backlog.control));
    }
    (answers, Spread::of(times_ms), (!turns_ms.is_empty()).then(|| Spread::of(turns_ms)))
}

fn claim_time(report: &mut Report, layout: &str, what: &str, times: Spread, ms_max: f64) {
    report.claim(
        format!("{layout}: {what}"),
        format!("{:.2} ms in 19 of 20 calls, {:.2} ms at most", times.p95, times.most),
        format!("≤ {ms_max} ms"),
        times.p95 <= ms_max,
    );
}

/// Notes whether a command, or a step of what it began, let the others wait for too long: a turn that was itself kept
/// waiting by the machine is told apart from the others by asking again.
fn claim_turns(report: &mut Report, layout: &str, what: &str, turns_ms: Option<Spread>) {
    if let Some(turns) = turns_ms {
        report.claim(
            format!("{layout}: longest turn, {what}"),
            format!("{:.2} ms in 19 of 20 calls, {:.2} ms at most", turns.p95, turns.most),
            format!("≤ {TURN_MS_MAX} ms"),
            turns.p95 <= TURN_MS_MAX,
        );
    }
}

/// As [`claim_turns`], for what is done once.
pub fn claim_turn(report: &mut Report, layout: &str, what: &str, turn_ms: Option<f64>) {
    if let Some(ms) = turn_ms {
        report.claim(
            format!("{layout}: longest turn, {what}"),
            format!("{ms:.2} ms"),
            format!("≤ {TURN_MS_MAX} ms"),
            ms <= TURN_MS_MAX,
        );
    }
}

/// As [`claim_turns`], for rounds.
pub fn claim_rounds(report: &mut Report, layout: &str, what: &str, turns_ms: &[f64]) {
    if !turns_ms.is_empty() {
        let turns = Spread::of(turns_ms.iter().copied());
        report.claim(
            format!("{layout}: longest turn of a round, {what}"),
            format!("{:.2} ms, {:.2} ms at most", turns.middle, turns.most),
            format!("≤ {TURN_MS_MAX} ms"),
            turns.middle <= TURN_MS_MAX,
        );
    }
}

fn shown_turns(turns_ms: Option<Spread>) -> String {
    turns_ms.map_or("–".to_owned(), |turns| turns.show(2))
}
