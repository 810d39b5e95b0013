//! THE MODEL TEST: random pushes, pops, moves, leases, limits, rules, pauses, restores and crashes against a naive model. Every
//! job is in exactly one place, always, and a pop answers the first job that may go.
//!
//! - `MILLPOND_TEST_JOBS_STEPS` steps per profile (3,000)
//! - `MILLPOND_TEST_JOBS_SEED`

use super::steps::Run;
use crate::harness;
use crate::harness::Chance;

/// Small, so that pops give up and the sweeper has to look further.
const SCAN_MAX: usize = 24;
/// Steps between two comparisons of everything, and between two crashes.
const STEPS_PER_COMPARISON: u64 = 150;
const STEPS_PER_CRASH: u64 = 400;
/// For so many steps pushes are more frequent than pops, then the other way round.
const STEPS_PER_TIDE: u64 = 120;

#[test]
fn every_job_is_in_exactly_one_place_whatever_is_done() {
    check(&[]);
}

#[test]
fn every_job_is_in_exactly_one_place_where_everything_is_on_disk() {
    check(&["--profile", "tiny"]);
}

fn check(flags: &[&str]) {
    let seed = harness::seed_from_environment("MILLPOND_TEST_JOBS_SEED");
    let steps = harness::size_from_environment("MILLPOND_TEST_JOBS_STEPS", 3_000);
    let scan_max = SCAN_MAX.to_string();
    let Some(server) = super::start(&[flags, &["--job-scan-max", &scan_max]].concat()) else { return };
    let mut run = Run::new(server, seed, SCAN_MAX);
    let mut chance = Chance::new(seed ^ 1);
    for step in 1..=steps {
        let is_flood = (step / STEPS_PER_TIDE).is_multiple_of(2);
        one_step(&mut run, &mut chance, is_flood);
        if step % STEPS_PER_CRASH == 0 {
            run.crash();
        }
        if step % STEPS_PER_COMPARISON == 0 {
            run.compare();
            run.check_leases();
        }
    }
    run.compare();
    run.check_leases();
}

fn one_step(run: &mut Run, chance: &mut Chance, is_flood: bool) {
    match chance.below(100) {
        0..=17 => run.push_some(),
        18..=35 if is_flood => run.push_some(),
        18..=35 => run.pop_some(),
        36..=48 => run.pop_some(),
        49 if chance.one_in(2) => run.limit(),
        49 => run.acknowledge_one(),
        50..=51 => run.reserve_some(),
        52..=53 => run.end_lease(),
        54..=61 => run.move_one(),
        62..=66 => run.finish_one(),
        67..=69 => run.return_one(),
        70..=73 => run.schedule_one(),
        74..=76 => run.enqueue_due(),
        77..=80 => run.transact(),
        81..=84 => run.look(),
        85..=86 => run.remove_one(),
        87..=89 => run.add_rule(),
        90 if chance.one_in(4) => run.replace_rule(),
        90..=91 => run.delete_rule(),
        92..=93 => run.pause(),
        94..=95 => run.resume(),
        96 if chance.one_in(4) => run.order(),
        96 if chance.one_in(3) => run.share(),
        96 if chance.one_in(2) => run.weigh(),
        96 => run.restore(),
        97 if chance.one_in(2) => run.purge(),
        97 => run.restore(),
        98 if chance.one_in(8) => run.flush(),
        _ => run.look_at_rule(),
    }
}
