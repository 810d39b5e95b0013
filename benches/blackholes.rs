//! How fast bad jobs go: JOB.BLACKHOLE and JOB.PAUSE on a backlog of ten million, and the same removal on Redis.
//!
//! `cargo bench --bench blackholes` measures everything; `cargo bench --bench blackholes -- --jobs 1000000 --layouts
//! spread,solid --rounds 3 --maxmemory 64mb --parts backlog` a part (the parts are backlog, million and redis).
//! `--assert` also fails where a claim does not hold; what must be right to the job is asserted always. Tables
//! go to the standard output, progress to the standard error.
//!
//! The backlog's jobs are all different, follow from their numbers, and are pushed in that order. So it is known which of
//! them match a rule, which a worker got, and where in the queue each one stands, without keeping any.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

#[path = "../tests/it/harness/mod.rs"]
mod harness;

#[path = "kit/answers.rs"]
mod answers;
#[path = "blackholes/backlog.rs"]
mod backlog;
#[path = "kit/connection.rs"]
mod connection;
#[path = "blackholes/filling.rs"]
mod filling;
#[path = "blackholes/jobs.rs"]
mod jobs;
#[path = "blackholes/look.rs"]
mod look;
#[path = "blackholes/million.rs"]
mod million;
#[path = "blackholes/on_redis.rs"]
mod on_redis;
#[path = "blackholes/options.rs"]
mod options;
#[path = "blackholes/prober.rs"]
mod prober;
#[path = "kit/report.rs"]
mod report;
#[path = "blackholes/sweep.rs"]
mod sweep;
#[path = "blackholes/workers.rs"]
mod workers;

use backlog::Backlog;
use options::Options;
use report::Report;

fn main() {
    let options = Options::parse(&std::env::args().collect::<Vec<_>>());
    let mut report = Report::default();
    // A Redis that stands in for Millpond knows no JOB commands.
    if options.has_part("backlog") && !harness::is_stand_in() {
        for layout in &options.layouts {
            let mut backlog = Backlog::filled(*layout, &options);
            look::measure(&mut backlog, &options, &mut report);
            sweep::measure(&mut backlog, &options, &mut report);
        }
    }
    if options.has_part("million") && !harness::is_stand_in() {
        million::measure(&options, &mut report);
    }
    if options.has_part("redis") && harness::redis_or_explain() {
        for layout in &options.layouts {
            on_redis::measure(*layout, &options, &mut report);
        }
    }
    report.print();
    if options.asserted {
        report.assert_claims();
    }
}
