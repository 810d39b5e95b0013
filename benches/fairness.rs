//! How fair: waits and shares of tenants under workers that only pop, and what a million tenants cost.
//!
//! `cargo bench --bench fairness` measures everything; `cargo bench --bench fairness -- --parts curves,shares` a part (the
//! parts are curves, shares, runtime, limits, adaptive, slo and million); `--jobs 1000000 --maxmemory 64mb --layouts turns` make the million smaller.
//! `--assert` also fails where a claim does not hold. `--plots` draws the curves again, for `benches/README.md`.
//!
//! The workers are simulated as far as the work goes: real connections with BRPOP, and a pause instead of a job.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "../tests/it/harness/mod.rs"]
mod harness;

#[path = "kit/answers.rs"]
mod answers;
#[path = "kit/connection.rs"]
mod connection;
#[path = "kit/report.rs"]
mod report;

#[path = "fairness/crew.rs"]
mod crew;
#[path = "fairness/curves.rs"]
mod curves;
#[path = "fairness/limits.rs"]
mod limits;
#[path = "fairness/million.rs"]
mod million;
#[path = "fairness/options.rs"]
mod options;
#[path = "fairness/plot.rs"]
mod plot;
#[path = "fairness/shares.rs"]
mod shares;
#[path = "fairness/slo.rs"]
mod slo;

use options::Options;
use report::Report;

fn main() {
    let options = Options::parse(&std::env::args().collect::<Vec<_>>());
    // A Redis that stands in for Millpond knows no JOB commands.
    if harness::is_stand_in() {
        return;
    }
    let mut report = Report::default();
    if options.has_part("curves") {
        curves::measure(&options, &mut report);
    }
    if options.has_part("shares") {
        shares::measure(&options, &mut report);
    }
    if options.has_part("runtime") {
        shares::by_run_time(&options, &mut report);
    }
    if options.has_part("limits") {
        limits::measure(&options, &mut report);
    }
    if options.has_part("adaptive") {
        limits::adaptive(&options, &mut report);
    }
    if options.has_part("slo") {
        slo::measure(&options, &mut report);
    }
    if options.has_part("million") {
        million::measure(&options, &mut report);
    }
    report.print();
    if options.asserted {
        report.assert_claims();
    }
}
