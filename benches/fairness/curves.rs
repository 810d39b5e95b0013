//! How long tenants wait: the seed's case, and quiet tenants beside a burst, under each way to serve a queue.

use crate::crew::{Arrival, Delivery, How, QUEUE, run};
use crate::harness::{Chance, Server, quantile};
use crate::options::Options;
use crate::plot::{self, Curve, Panel};
use crate::report::{Heading, Report, grouped};
use std::thread;
use std::time::Duration;

const WAITS: Heading = Heading {
    title: "How long jobs wait, 50 workers (seconds; in brackets, of what FIFO makes it).",
    columns: &["case", "served", "tenant", "jobs", "median", "p99", "last one done"],
};

/// Of the median or p99 that FIFO gives.
const SEED_MEDIAN_MAX: f64 = 0.02;
const QUIET_P99_MAX: f64 = 0.01;
/// How much later the large tenant may be done.
const DONE_LATER_MAX: f64 = 0.02;
const QUIET_TENANTS: usize = 200;
const JOBS_OF_A_QUIET_ONE: usize = 5;
/// Tenants of the cases: who has sent very much, and who has not.
const LARGE: usize = 1;
const SMALL: usize = 2;

/// A way to serve a queue: what it is called, and the command that turns it on.
struct Mode {
    name: &'static str,
    command: Option<&'static str>,
    /// Its workers say when a job is done, since it goes by what runs.
    acknowledges: bool,
}

const MODES: [Mode; 3] = [
    Mode { name: "FIFO", command: None, acknowledges: false },
    Mode { name: "drr", command: Some("JOB.TENANT ENABLE queue:default MODE drr"), acknowledges: false },
    Mode { name: "sqs", command: Some("JOB.TENANT ENABLE queue:default MODE sqs"), acknowledges: true },
];

/// What is plotted and reported as one tenant.
struct Group {
    name: &'static str,
    has: fn(usize) -> bool,
}

const SEED_GROUPS: [Group; 2] = [
    Group { name: "A, the large one", has: |tenant| tenant == LARGE },
    Group { name: "B, the small one", has: |tenant| tenant == SMALL },
];
const QUIET_GROUPS: [Group; 2] = [
    Group { name: "the burst", has: |tenant| tenant == LARGE },
    Group { name: "200 quiet ones", has: |tenant| tenant != LARGE },
];

pub fn measure(options: &Options, report: &mut Report) {
    let seed = seed_case(options.divisor);
    let curves = measure_case("100,000 of A, then 1,000 of B", &seed, &SEED_GROUPS, options, report);
    let [fifo, drr, _] = &curves[..] else { panic!("a curve for each mode") };
    claim(report, "B's median wait under drr", (fifo, drr), 1, 0.5, SEED_MEDIAN_MAX);
    let later = last_done(drr, &SEED_GROUPS[0]).div_duration_f64(last_done(fifo, &SEED_GROUPS[0])) - 1.0;
    report.claim(
        "A is done later under drr",
        format!("{:.1} %", later * 100.0),
        format!("≤ {:.0} %", DONE_LATER_MAX * 100.0),
        later <= DONE_LATER_MAX,
    );
    let quiet = quiet_case(options.divisor, options.work);
    let curves_of_quiet =
        measure_case("a burst of 50,000 beside quiet tenants", &quiet, &QUIET_GROUPS, options, report);
    let [fifo, drr, _] = &curves_of_quiet[..] else { panic!("a curve for each mode") };
    claim(report, "the quiet tenants' p99 under drr", (fifo, drr), 1, 0.99, QUIET_P99_MAX);
    if options.plotted {
        plot::draw("seed", &panels(&curves, &SEED_GROUPS));
        plot::draw("quiet", &panels(&curves_of_quiet, &QUIET_GROUPS));
    }
}

/// All of A and then all of B, before the first worker comes.
fn seed_case(divisor: usize) -> Vec<Arrival> {
    let of = |tenant, jobs: usize| vec![Arrival::at_once(tenant); jobs / divisor];
    [of(LARGE, 100_000), of(SMALL, 1_000)].concat()
}

/// A burst of one tenant, and jobs of many others while workers are busy with it.
fn quiet_case(divisor: usize, work: Duration) -> Vec<Arrival> {
    let burst = 50_000 / divisor;
    let busy = work * (burst / crate::crew::WORKERS) as u32;
    let mut chance = Chance::new(5);
    let mut arrivals = vec![Arrival::at_once(LARGE); burst];
    let quiet = QUIET_TENANTS * JOBS_OF_A_QUIET_ONE / divisor.min(JOBS_OF_A_QUIET_ONE);
    for number in 0..quiet {
        let at = busy.mul_f64(0.01 + 0.8 * (chance.below(10_000) as f64 / 10_000.0));
        arrivals.push(Arrival { at, ..Arrival::at_once(LARGE + 1 + number % QUIET_TENANTS) });
    }
    arrivals.sort_by_key(|arrival| arrival.at);
    arrivals
}

/// Runs a case in all modes at the same time, since workers only pause; gives what was delivered in each.
fn measure_case(
    case: &str,
    arrivals: &[Arrival],
    groups: &[Group],
    options: &Options,
    report: &mut Report,
) -> Vec<Vec<Delivery>> {
    eprintln!("{case}: {} jobs", grouped(arrivals.len() as u64));
    let runs = thread::scope(|scope| {
        let runs = MODES.map(|mode| {
            scope.spawn(move || {
                let server = Server::millpond(&["--appendfsync", "everysec"]);
                if let Some(command) = mode.command {
                    assert!(!server.client().line(command).is_error(), "{command} in {QUEUE}");
                }
                let how = How { acknowledges: mode.acknowledges, ..How::default() };
                run(server.port(), arrivals, |_| options.work, how)
            })
        });
        runs.map(|run| run.join().expect("a run ends well"))
    });
    for (mode, deliveries) in MODES.iter().zip(&runs) {
        for group in groups {
            let (waits, fifo) = (waits(deliveries, group), self::waits(&runs[0], group));
            let shown = |share: f64| {
                let part = quantile(&waits, share) / quantile(&fifo, share) * 100.0;
                format!("{:.2} ({part:.1} %)", quantile(&waits, share))
            };
            let done = last_done(deliveries, group).as_secs_f64();
            let [mode, name] = [mode.name, group.name].map(str::to_owned);
            let cells = [case.to_owned(), mode, name, grouped(waits.len() as u64), shown(0.5), shown(0.99)];
            report.row(&WAITS, cells.into_iter().chain([format!("{done:.1}")]).collect());
        }
    }
    runs.into()
}

fn claim(
    report: &mut Report,
    what: &str,
    (fifo, other): (&[Delivery], &[Delivery]),
    group: usize,
    share: f64,
    most: f64,
) {
    let group = if share == 0.5 { &SEED_GROUPS[group] } else { &QUIET_GROUPS[group] };
    let part = quantile(&waits(other, group), share) / quantile(&waits(fifo, group), share);
    let asked = format!("≤ {:.0} % of FIFO's", most * 100.0);
    report.claim(what, format!("{:.2} %", part * 100.0), asked, part <= most);
}

/// The waits of some tenants' jobs in seconds, sorted.
fn waits(deliveries: &[Delivery], group: &Group) -> Vec<f64> {
    let of_group = deliveries.iter().filter(|delivery| (group.has)(delivery.tenant));
    let mut waits = of_group.map(|delivery| delivery.wait.as_secs_f64()).collect::<Vec<_>>();
    waits.sort_by(f64::total_cmp);
    waits
}

fn last_done(deliveries: &[Delivery], group: &Group) -> Duration {
    let of_group = deliveries.iter().filter(|delivery| (group.has)(delivery.tenant));
    of_group.map(|delivery| delivery.done).max().expect("it had jobs")
}

fn panels(runs: &[Vec<Delivery>], groups: &[Group]) -> Vec<Panel> {
    let panel = |(mode, deliveries): (&Mode, &Vec<Delivery>)| Panel {
        title: mode.name,
        curves: groups.iter().map(|group| Curve { name: group.name, waits: waits(deliveries, group) }).collect(),
    };
    MODES.iter().zip(runs).map(panel).collect()
}
