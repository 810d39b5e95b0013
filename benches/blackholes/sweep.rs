//! The bad jobs out of the backlog: rounds of a quiet span and a sweep, with workers and a prober in both, then the way back.

use crate::answers::{ask, ask_line, count};
use crate::backlog::{Backlog, LATE_JOBS, forget_turns, longest_turn_ms, quarantine, shown_ms, wait_for_sweep};
use crate::filling::{QUEUE, check_whole, fill};
use crate::harness::{self, Client, Value};
use crate::jobs::{CUSTOMERS, Jobs, Kind, Layout};
use crate::look::{claim_rounds, claim_turn};
use crate::options::Options;
use crate::prober::{self, Latencies};
use crate::report::{Heading, Report, Spread, grouped};
use crate::workers::{self, JOBS_PER_SECOND, Shift, WORKERS};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SWEEPING: Heading = Heading {
    title: "The sweep (median, least and most of the rounds) while 50 BRPOP workers take up to 2,000 jobs/s.",
    columns: &[
        "layout",
        "jobs",
        "1st rule's matches",
        "ADD ms under load",
        "sweep s",
        "jobs/s",
        "skipped by summaries",
        "read jobs/s",
        "delivered",
        "seen after ADD",
        "VmHWM MB",
    ],
};
const PROBING: Heading = Heading {
    title: "What others notice of it: LPUSH and RPOP of another queue at 1,000 ops/s (ms at the client, from when each was due).",
    columns: &[
        "layout",
        "p99 quiet",
        "p99 during the sweep",
        "most quiet",
        "most during the sweep",
        "longest turn quiet",
        "during the sweep",
    ],
};
const RESTORING: Heading = Heading {
    title: "What the first rule took out, and back again.",
    columns: &[
        "layout",
        "at push",
        "at pop",
        "by sweep",
        "quarantined",
        "restored in order, s",
        "jobs/s",
        "longest turn ms",
    ],
};

const SWEPT_PER_SECOND_MIN: f64 = 500_000.0;
const P99_MS_MAX: f64 = 3.0;
const P99_TIMES_MAX: f64 = 2.0;
/// Where nearly all is skipped, the rate of what is left says nothing.
const READ_SHARE_MIN: f64 = 0.1;
const QUIET_QUEUE: &str = "queue:quiet";
const QUIET_SALT: u64 = 104;
const RESTORE_WAIT_MAX: Duration = Duration::from_secs(600);

/// What one round found.
struct Round {
    quiet: Latencies,
    /// What the machine takes away from a server that has nothing special to do.
    quiet_turn_ms: Option<f64>,
    swept: Latencies,
    add_ms: f64,
    seconds: f64,
    jobs: u64,
    skipped: u64,
    turn_ms: Option<f64>,
    delivered: u64,
    seen: u64,
}

/// Runs all rounds, each with a rule for another customer; after the first one the jobs are put back.
pub fn measure(backlog: &mut Backlog, options: &Options, report: &mut Report) {
    let matches = backlog.jobs.count_of(Kind::bad(CUSTOMERS[0]));
    let mut rounds = Vec::new();
    for customer in CUSTOMERS.into_iter().take(options.rounds) {
        let rule = if customer == CUSTOMERS[0] { "imp".to_owned() } else { format!("customer-{customer}") };
        forget_turns(&mut backlog.control);
        let quiet = quiet(backlog, options);
        let quiet_turn_ms = longest_turn_ms(&mut backlog.control);
        rounds.push(Round { quiet_turn_ms, ..sweep(backlog, options, &rule, customer, quiet) });
        let info = check_rule(backlog, &rule, customer);
        ask_line(&mut backlog.control, &format!("JOB.BLACKHOLE DEL {rule}"));
        if customer == CUSTOMERS[0] {
            restore(backlog, &info, report);
        }
    }
    backlog.check_balance();
    describe(backlog, matches, &rounds, report);
}

/// The same load without a rule: the workers pop from another queue, since this one must keep its jobs.
fn quiet(backlog: &mut Backlog, options: &Options) -> Latencies {
    let count = (options.quiet.as_secs_f64() * f64::from(JOBS_PER_SECOND) * 1.5) as u64;
    let jobs = Jobs::new(count, Layout::Spread, QUIET_SALT);
    fill(&mut backlog.control, QUIET_QUEUE, &jobs, 0..count);
    let (stop, delivered) = (AtomicBool::new(false), AtomicU64::new(0));
    let shift = Shift { queue: QUIET_QUEUE, jobs_max: count, stop: &stop, delivered: &delivered };
    let port = backlog.server.port();
    let latencies = thread::scope(|scope| {
        let crew = scope.spawn(|| workers::work(port, &shift, |payload, _| assert!(jobs.identify(payload) < count)));
        let raise = harness::RaiseOnDrop(&stop);
        let ((), latencies) = prober::beside(port, || thread::sleep(options.quiet));
        drop(raise);
        crew.join().expect("the workers end well");
        latencies
    });
    backlog.control.must(&["DEL", QUIET_QUEUE]);
    latencies
}

fn sweep(backlog: &mut Backlog, options: &Options, rule: &str, customer: u64, quiet: Latencies) -> Round {
    let port = backlog.server.port();
    let Backlog { control, jobs, account, pushed, .. } = backlog;
    let (stop, delivered) = (AtomicBool::new(false), AtomicU64::new(0));
    let added_at = OnceLock::new();
    let mut seen = 0;
    let shift = Shift { queue: QUEUE, jobs_max: options.jobs_per_shift(), stop: &stop, delivered: &delivered };
    let take = |payload: &[u8], asked_at: Instant| {
        let n = jobs.identify(payload);
        let kind = jobs.kind(n);
        account.deliver(n, kind);
        // One that was asked for before ADD's reply may have been popped before ADD.
        let is_after = added_at.get().is_some_and(|added_at| asked_at > *added_at);
        seen += u64::from(is_after && kind == Kind::bad(customer));
    };
    let mut words = ["JOB.BLACKHOLE", "ADD", rule].map(String::from).to_vec();
    words.extend(Kind::bad(customer).predicate());

    forget_turns(control);
    let (add_ms, seconds, info, swept) = thread::scope(|scope| {
        let crew = scope.spawn(|| workers::work(port, &shift, take));
        let raise = harness::RaiseOnDrop(&stop);
        while delivered.load(Ordering::Relaxed) < WORKERS as u64 && !crew.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        let ((add_ms, seconds, info), swept) = prober::beside(port, || {
            let began = Instant::now();
            ask(control, &words);
            let added = *added_at.get_or_init(Instant::now);
            if customer == CUSTOMERS[0] {
                push_late(control, jobs);
                *pushed += LATE_JOBS;
            }
            let info = wait_for_sweep(control, rule);
            ((added - began).as_secs_f64() * 1e3, added.elapsed().as_secs_f64(), info)
        });
        // A short sweep leaves the workers little time to meet what it may have left behind.
        thread::sleep(options.shift_min.saturating_sub(Duration::from_secs_f64(seconds)));
        drop(raise);
        crew.join().expect("the workers end well");
        (add_ms, seconds, info, swept)
    });
    assert_eq!(seen, 0, "jobs that match {rule} were handed out after ADD's reply");
    Round {
        quiet,
        quiet_turn_ms: None,
        swept,
        add_ms,
        seconds,
        jobs: count(&info, "of"),
        skipped: count(&info, "skipped"),
        turn_ms: longest_turn_ms(control),
        delivered: delivered.load(Ordering::Relaxed),
        seen,
    }
}

/// Pushes jobs that the rule matches, one by one: each push answers a length, none of them enters the queue.
fn push_late(control: &mut Client, jobs: &Jobs) {
    for n in jobs.count()..jobs.count() + LATE_JOBS {
        let reply = control.must(&[b"LPUSH".as_slice(), QUEUE.as_bytes(), &jobs.payload(n)]);
        assert!(matches!(reply, Value::Integer(length) if length > 0), "{reply:?}");
    }
}

/// Panics unless the rule took out just what matched and had not been handed out before. Gives what INFO says.
fn check_rule(backlog: &mut Backlog, rule: &str, customer: u64) -> Value {
    let info = ask(&mut backlog.control, &["JOB.BLACKHOLE", "INFO", rule]);
    let quarantined = backlog.control.must(&["LLEN", &quarantine(rule)]).integer() as u64;
    let caught = ["matched_at_push", "matched_at_pop", "matched_by_sweep"].map(|place| count(&info, place));
    assert_eq!(quarantined, caught.iter().sum::<u64>(), "{info:?}");
    assert_eq!(quarantined, count(&info, "quarantined"), "{info:?}");
    assert_eq!(quarantined, backlog.left_of(customer), "what {rule} matches: {info:?}");
    assert_eq!(caught[0], if customer == CUSTOMERS[0] { LATE_JOBS } else { 0 }, "{info:?}");
    backlog.quarantined += quarantined;
    backlog.check_balance();
    info
}

/// Puts all back, and reads the whole queue: the restored jobs stand behind all others, in the order of their arrival.
fn restore(backlog: &mut Backlog, info: &Value, report: &mut Report) {
    let control = &mut backlog.control;
    let quarantined = backlog.quarantined;
    forget_turns(control);
    let began = Instant::now();
    ask_line(control, "JOB.BLACKHOLE RESTORE imp");
    while control.must(&["LLEN", &quarantine("imp")]).integer() > 0 {
        assert!(began.elapsed() < RESTORE_WAIT_MAX, "RESTORE does not end");
        thread::sleep(Duration::from_millis(5));
    }
    let seconds = began.elapsed().as_secs_f64();
    let turn = longest_turn_ms(control);
    backlog.quarantined = 0;
    backlog.check_balance();

    let Backlog { control, jobs, account, pushed, layout, .. } = backlog;
    let is_restored = |n: &u64| jobs.kind(*n) == Kind::bad(CUSTOMERS[0]);
    let newest_first = || (0..*pushed).rev().filter(|n| !account.is_delivered(*n));
    let restored = newest_first().filter(is_restored);
    check_whole(control, QUEUE, jobs, restored.chain(newest_first().filter(|n| !is_restored(n))));

    let mut cells = vec![layout.name().to_owned()];
    let places = ["matched_at_push", "matched_at_pop", "matched_by_sweep", "quarantined"];
    cells.extend(places.map(|place| grouped(count(info, place))));
    cells.extend([format!("{seconds:.2}"), grouped((quarantined as f64 / seconds) as u64), shown_ms(turn)]);
    report.row(&RESTORING, cells);
    claim_turn(report, layout.name(), "RESTORE", turn);
}

fn describe(backlog: &mut Backlog, matches: u64, rounds: &[Round], report: &mut Report) {
    let layout = backlog.layout.name();
    let of = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value));
    let add_ms = of(|round| round.add_ms);
    let rate = of(|round| round.jobs as f64 / round.seconds);
    let read_rate = of(|round| (round.jobs - round.skipped) as f64 / round.seconds);
    let read_share = of(|round| 1.0 - round.skipped as f64 / round.jobs as f64);
    let (quiet, swept) = (of(|round| round.quiet.p99_ms()), of(|round| round.swept.p99_ms()));
    let turns = rounds.iter().filter_map(|round| round.turn_ms).reduce(f64::max);
    report.row(
        &SWEEPING,
        vec![
            layout.to_owned(),
            grouped(backlog.jobs.count()),
            grouped(matches),
            add_ms.show(2),
            of(|round| round.seconds).show(2),
            grouped(rate.middle as u64),
            format!("{:.0} %", (1.0 - read_share.middle) * 100.0),
            grouped(read_rate.middle as u64),
            grouped(rounds.iter().map(|round| round.delivered).sum()),
            grouped(rounds.iter().map(|round| round.seen).sum()),
            (harness::memory_peak_bytes(backlog.server.pid()) >> 20).to_string(),
        ],
    );
    report.row(
        &PROBING,
        vec![
            layout.to_owned(),
            quiet.show(2),
            swept.show(2),
            of(|round| round.quiet.most_ms()).show(1),
            of(|round| round.swept.most_ms()).show(1),
            shown_ms(rounds.iter().filter_map(|round| round.quiet_turn_ms).reduce(f64::max)),
            shown_ms(turns),
        ],
    );
    let per_second = |rate: Spread| format!("{} jobs/s", grouped(rate.middle as u64));
    let asked = "≥ 500,000 jobs/s";
    report.claim(format!("{layout}: sweep"), per_second(rate), asked, rate.middle >= SWEPT_PER_SECOND_MIN);
    if read_share.middle >= READ_SHARE_MIN {
        let holds = read_rate.middle >= SWEPT_PER_SECOND_MIN;
        report.claim(format!("{layout}: sweep, without what was skipped"), per_second(read_rate), asked, holds);
    }
    let limit = P99_MS_MAX.max(P99_TIMES_MAX * quiet.middle);
    report.claim(
        format!("{layout}: prober's p99 during the sweep"),
        format!("{:.2} ms", swept.middle),
        format!("≤ {limit:.2} ms"),
        swept.middle <= limit,
    );
    let turns = rounds.iter().filter_map(|round| round.turn_ms).collect::<Vec<_>>();
    claim_rounds(report, layout, "workers, prober and sweep", &turns);
}
