//! What part of the workers tenants get while all of them have jobs: by weight, and without a tenant.

use crate::crew::{Arrival, Delivery, How, run};
use crate::harness::{Chance, Server};
use crate::options::Options;
use crate::report::{Heading, Report, grouped};
use std::time::Duration;

const SHARES: Heading = Heading {
    title: "Shares of 50 workers while everybody has jobs.",
    columns: &["case", "tenant", "jobs", "delivered meanwhile", "share", "asked"],
};

const TIMES: Heading = Heading {
    title: "By run time: jobs of A take 40 times as long as those of B, which came behind them; both are of one class.",
    columns: &["queue", "B's median wait s", "of FIFO", "A's part of worker time while both wait"],
};
/// How far a part of the time may be from one half, and what B may wait of what it waits in FIFO.
const TIME_OFF_MAX: f64 = 0.05;
const WAIT_MAX: f64 = 0.05;

/// How far a share may be from what is asked, as a part of it.
const OFF_MAX: f64 = 0.03;
/// Beside the tenant whose number is 0, which stands for none.
const NAMED_TENANTS: usize = 10;
const PART_WITHOUT: f64 = 0.6;

pub fn measure(options: &Options, report: &mut Report) {
    let weights = [1.0, 2.0, 4.0];
    let of = |tenant| vec![Arrival::at_once(tenant); 20_000 / options.divisor];
    let arrivals = (1..=weights.len()).flat_map(of).collect::<Vec<_>>();
    let commands = [
        "JOB.SHUFFLE default",
        "JOB.TENANT WEIGHT default 1 1",
        "JOB.TENANT WEIGHT default 2 2",
        "JOB.TENANT WEIGHT default 3 4",
    ];
    let deliveries = deliver(&arrivals, &commands, options);
    let asked = weights.iter().enumerate().map(|(index, weight)| (index + 1, weight / weights.iter().sum::<f64>()));
    judge("weights 1:2:4", &deliveries, &asked.collect::<Vec<_>>(), report);

    let mut chance = Chance::new(6);
    let tenant = |chance: &mut Chance| match chance.below(100) < (PART_WITHOUT * 100.0) as usize {
        true => 0,
        false => 1 + chance.below(NAMED_TENANTS),
    };
    let arrivals = (0..50_000 / options.divisor).map(|_| Arrival::at_once(tenant(&mut chance)));
    let arrivals = arrivals.collect::<Vec<_>>();
    let deliveries = deliver(&arrivals, &commands[..1], options);
    let of_named = (1.0 - PART_WITHOUT) / NAMED_TENANTS as f64;
    let asked = std::iter::once((0, PART_WITHOUT)).chain((1..=NAMED_TENANTS).map(|tenant| (tenant, of_named)));
    judge("60 % without a tenant", &deliveries, &asked.collect::<Vec<_>>(), report);
}

/// Tenants share workers by how long their jobs run.
pub fn by_run_time(options: &Options, report: &mut Report) {
    let of = |tenant| vec![Arrival::at_once(tenant); 20_000 / options.divisor];
    let arrivals: Vec<Arrival> = (1..=2).flat_map(of).collect();
    let work = |tenant: usize| if tenant == 1 { options.short_work * 10 } else { options.short_work / 4 };
    let mut fifo_s = 0.0;
    for (queue, command) in [
        ("FIFO", None),
        ("COST count", Some("JOB.SHUFFLE default")),
        ("COST runtime", Some("JOB.SHUFFLE default COST runtime")),
    ] {
        let server = Server::millpond(&["--appendfsync", "everysec"]);
        command.iter().for_each(|command| assert!(!server.client().line(command).is_error(), "{command}"));
        let deliveries = run(server.port(), &arrivals, work, How { acknowledges: true, ..How::default() });
        let mut waits: Vec<Duration> = deliveries.iter().filter(|of| of.tenant == 2).map(|of| of.wait).collect();
        waits.sort_unstable();
        let median_s = waits[waits.len() / 2].as_secs_f64();
        if command.is_none() {
            fifo_s = median_s;
        }
        let last = |tenant: usize| deliveries.iter().filter(|of| of.tenant == tenant).map(|of| of.at).max();
        let together = last(1).min(last(2)).expect("both have jobs");
        let spent = |tenant: usize| -> f64 {
            let jobs = deliveries.iter().filter(|of| of.tenant == tenant && of.at < together);
            jobs.map(|of| (of.done.min(together) - of.at).as_secs_f64()).sum()
        };
        let part = spent(1) / (spent(1) + spent(2));
        let of_fifo = median_s / fifo_s;
        report.row(
            &TIMES,
            vec![
                queue.to_owned(),
                format!("{median_s:.2}"),
                format!("{:.1} %", of_fifo * 100.0),
                format!("{:.1} %", part * 100.0),
            ],
        );
        if queue == "COST runtime" {
            report.claim(
                "by run time: B's median wait",
                format!("{:.1} % of FIFO", of_fifo * 100.0),
                format!("≤ {:.0} % of FIFO", WAIT_MAX * 100.0),
                of_fifo <= WAIT_MAX,
            );
            let off = (part / 0.5 - 1.0).abs();
            report.claim(
                "by run time: worker time while both wait",
                format!("{:.1} % off", off * 100.0),
                format!("≤ {:.0} % off", TIME_OFF_MAX * 100.0),
                off <= TIME_OFF_MAX,
            );
        }
    }
}

fn deliver(arrivals: &[Arrival], commands: &[&str], options: &Options) -> Vec<Delivery> {
    let server = Server::millpond(&["--appendfsync", "everysec"]);
    for command in commands {
        assert!(!server.client().line(command).is_error(), "{command}");
    }
    run(server.port(), arrivals, |_| options.short_work, How::default())
}

/// Compares what was delivered before the first tenant had nothing left with what each should have got.
fn judge(case: &str, deliveries: &[Delivery], asked: &[(usize, f64)], report: &mut Report) {
    let last_of = |tenant: usize| {
        let last = deliveries.iter().rposition(|delivery| delivery.tenant == tenant);
        last.expect("every tenant has jobs")
    };
    let together = asked.iter().map(|(tenant, _)| last_of(*tenant)).min().expect("there are tenants");
    let mut furthest: f64 = 0.0;
    for (tenant, share) in asked {
        let of_tenant = |deliveries: &[Delivery]| deliveries.iter().filter(|of| of.tenant == *tenant).count();
        let delivered = of_tenant(&deliveries[..together]);
        let got = delivered as f64 / together as f64;
        furthest = furthest.max((got / share - 1.0).abs());
        let name = if *tenant == 0 { "-".to_owned() } else { tenant.to_string() };
        let [jobs, delivered] = [of_tenant(deliveries), delivered].map(|count| grouped(count as u64));
        let [got, share] = [got, *share].map(|share| format!("{:.2} %", share * 100.0));
        report.row(&SHARES, vec![case.to_owned(), name, jobs, delivered, got, share]);
    }
    report.claim(
        format!("shares, {case}"),
        format!("at most {:.1} % off", furthest * 100.0),
        format!("≤ {:.0} % off", OFF_MAX * 100.0),
        furthest <= OFF_MAX,
    );
}
