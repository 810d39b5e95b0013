//! `kill -9` in the middle of a sweep, a restore and a purge: nothing is lost, nothing is there twice, rules and what was
//! under way are still in force.
//!
//! - `MILLPOND_TEST_JOBS_CRASH_JOBS` jobs in the queue (40,000; a tenth of it where everything is on disk)
//! - `MILLPOND_TEST_JOBS_CRASH_ROUNDS` kills of each kind (2)
//! - `MILLPOND_TEST_JOBS_SEED`

use super::payload::sidekiq;
use super::settle::ledger_row;
use super::{field, list, number, rule_names, start, sure, wait_until_quarantined, wait_until_swept};
use crate::harness::{self, Chance, Client, Server};
use std::thread;

const QUEUE: &str = "queue:default";
const QUARANTINE: &str = "job:quarantine:imp:queue:default";
const JOBS_PER_PUSH: usize = 100;
/// Each takes a tenth of a millisecond at least.
const QUESTIONS_MAX: usize = 1_000_000;

#[test]
fn nothing_is_lost_by_a_kill_in_the_middle_of_a_sweep_a_restore_or_a_purge() {
    check(&["--maxmemory", "32mb"], 1);
}

#[test]
fn nothing_is_lost_by_such_a_kill_where_everything_is_on_disk() {
    check(&["--profile", "tiny"], 10);
}

fn check(flags: &[&str], fewer: u64) {
    let seed = harness::seed_from_environment("MILLPOND_TEST_JOBS_SEED");
    let jobs = harness::size_from_environment("MILLPOND_TEST_JOBS_CRASH_JOBS", 40_000) / fewer;
    let rounds = harness::size_from_environment("MILLPOND_TEST_JOBS_CRASH_ROUNDS", 2);
    let Some(server) = start(flags) else { return };
    let mut client = server.client();
    sure(&mut client, "JOB.PAUSE queue:other CLASS MailJob");
    let mut round = Round { server, jobs: jobs as usize, chance: Chance::new(seed) };
    for _ in 0..rounds {
        round.fill();
        let left = round.sweep();
        let left = round.restore(left);
        round.purge(&left);
    }
}

struct Round {
    server: Server,
    jobs: usize,
    chance: Chance,
}

/// The oldest jobs are a solid block of bad ones; then every third is bad.
fn is_bad(number: usize, jobs: usize) -> bool {
    number < jobs / 6 || number.is_multiple_of(3)
}

impl Round {
    fn fill(&mut self) {
        let mut client = self.server.client();
        let jobs: Vec<String> = (0..self.jobs)
            .map(|number| {
                sidekiq(if is_bad(number, self.jobs) { "ImportJob" } else { "ExportJob" }, number, number % 7)
            })
            .collect();
        for part in jobs.chunks(JOBS_PER_PUSH) {
            let words = [vec!["LPUSH".to_owned(), QUEUE.to_owned()], part.to_vec()].concat();
            assert!(!client.must(&words).is_error());
        }
    }

    /// Sweeps while a worker pops; gives the good jobs that are left.
    fn sweep(&mut self) -> Vec<usize> {
        let mut client = self.server.client();
        sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
        let port = self.server.port();
        let worker = thread::spawn(move || pop_until_killed(port));
        let bad = (0..self.jobs).filter(|number| is_bad(*number, self.jobs)).count();
        let enough = 1 + self.chance.below(bad / 2) as i64;
        self.kill_when("a part is swept", |_, quarantined| quarantined >= enough);
        let popped = worker.join().expect("the worker ends well");

        let mut client = self.server.client();
        assert!(popped.iter().all(|number| !is_bad(*number, self.jobs)), "a job was delivered that a rule takes");
        assert_eq!(rule_names(&mut client), ["queue:other CLASS MailJob", "imp"], "rules are still in force");
        let (pending, quarantined) = lengths(&mut client);
        println!("{} jobs, {bad} bad; {} were popped", self.jobs, popped.len());
        // A job on its way to the worker may have gone with it.
        let gone = self.jobs - (pending + quarantined) as usize;
        assert!((popped.len()..=popped.len() + 1).contains(&gone), "{gone} are gone, {} were popped", popped.len());

        wait_until_swept(&mut client, "imp");
        let left = numbers(&mut client, QUEUE).into_iter().rev().collect::<Vec<_>>();
        let good = (0..self.jobs).filter(|number| !is_bad(*number, self.jobs)).skip(gone).collect::<Vec<_>>();
        assert_same(&left, &good, "the queue after the sweep");
        let bad = (0..self.jobs).filter(|number| is_bad(*number, self.jobs)).collect::<Vec<_>>();
        assert_same(&numbers(&mut client, QUARANTINE), &bad, "the quarantine after the sweep");
        left
    }

    /// Restores everything; gives what is in the queue then, oldest first.
    fn restore(&mut self, left: Vec<usize>) -> Vec<usize> {
        let mut client = self.server.client();
        sure(&mut client, "JOB.BLACKHOLE DEL imp");
        let (before, bad) = lengths(&mut client);
        sure(&mut client, "JOB.BLACKHOLE RESTORE imp");
        let few = self.chance.below(bad as usize) as i64;
        self.kill_when("a part is restored", |_, quarantined| quarantined <= few);

        let mut client = self.server.client();
        let (pending, quarantined) = lengths(&mut client);
        assert_eq!(pending + quarantined, before + bad, "each job is in one place");
        wait_until_quarantined(&mut client, "imp", 0);
        let bad = (0..self.jobs).filter(|number| is_bad(*number, self.jobs));
        let expected: Vec<usize> = left.into_iter().chain(bad).collect();
        let found = numbers(&mut client, QUEUE).into_iter().rev().collect::<Vec<_>>();
        assert_same(&found, &expected, "the queue after the restore");
        self.check_log(&["DEL imp", "ADD imp", "JOB.PAUSE queue:other"]);
        expected
    }

    /// Sweeps again, and purges what was taken.
    fn purge(&mut self, left: &[usize]) {
        let mut client = self.server.client();
        sure(&mut client, "JOB.BLACKHOLE ADD imp CLASS ImportJob");
        wait_until_swept(&mut client, "imp");
        sure(&mut client, "JOB.BLACKHOLE DEL imp");
        let (before, bad) = lengths(&mut client);
        sure(&mut client, "JOB.BLACKHOLE PURGE imp");
        let few = self.chance.below(bad as usize) as i64;
        self.kill_when("a part is purged", |_, quarantined| quarantined <= few);

        let mut client = self.server.client();
        let (pending, _) = lengths(&mut client);
        assert_eq!(pending, before, "a purge concerns the quarantine only");
        wait_until_quarantined(&mut client, "imp", 0);
        let good: Vec<usize> = left.iter().copied().filter(|number| !is_bad(*number, self.jobs)).collect();
        let found = numbers(&mut client, QUEUE).into_iter().rev().collect::<Vec<_>>();
        assert_same(&found, &good, "the queue after the purge");
        let row = ledger_row(&sure(&mut client, "JOB.LEDGER BY queue"), QUEUE);
        assert_eq!(number(&row, "off"), 0, "{row:?}");
        sure(&mut client, "FLUSHDB");
    }

    /// Kills the server as soon as the lengths of queue and quarantine are such, and starts it again.
    fn kill_when(&mut self, what: &str, is_so: impl Fn(i64, i64) -> bool) {
        let mut client = self.server.client();
        // Without a pause in between: a sweep of so few jobs takes some milliseconds.
        let seen = (0..QUESTIONS_MAX).map(|_| lengths(&mut client)).find(|(pending, kept)| is_so(*pending, *kept));
        self.server.crash_and_restart();
        println!("killed when {what}: {:?} in queue and quarantine", seen.expect("it is so some time"));
    }

    /// The log tells of these changes, whatever happened in between.
    fn check_log(&self, expected: &[&str]) {
        let reply = sure(&mut self.server.client(), "JOB.RULES LOG 50");
        let told: Vec<String> = reply.items().iter().map(|change| field(change, "what").text()).collect();
        for change in expected {
            assert!(told.iter().any(|told| told.contains(change)), "{change} is not in the log: {told:?}");
        }
    }
}

/// Queue and quarantine at one moment.
fn lengths(client: &mut Client) -> (i64, i64) {
    client.line("MULTI");
    client.must(&["LLEN", QUEUE]);
    client.must(&["LLEN", QUARANTINE]);
    let reply = client.line("EXEC");
    (reply.items()[0].integer(), reply.items()[1].integer())
}

fn pop_until_killed(port: u16) -> Vec<usize> {
    let Ok(mut client) = Client::connect(port) else { return Vec::new() };
    let mut popped = Vec::new();
    while let Ok(reply) = client.ask(&["RPOP", QUEUE]) {
        if !reply.is_nil() {
            popped.push(number_of(&reply.text()));
        }
    }
    popped
}

fn numbers(client: &mut Client, key: &str) -> Vec<usize> {
    list(client, key).iter().map(|payload| number_of(payload)).collect()
}

fn number_of(payload: &str) -> usize {
    let (_, rest) = payload.split_once("\"jid\":\"").expect("it is a job of Sidekiq");
    usize::from_str_radix(&rest[..24], 16).expect("its jid is a number")
}

fn assert_same(found: &[usize], expected: &[usize], what: &str) {
    if found == expected {
        return;
    }
    let at = found.iter().zip(expected).take_while(|(found, expected)| found == expected).count();
    let around = |list: &[usize]| list[at.saturating_sub(2).min(list.len())..(at + 6).min(list.len())].to_vec();
    let (mut ours, mut theirs) = (found.to_vec(), expected.to_vec());
    ours.sort_unstable();
    theirs.sort_unstable();
    panic!(
        "{what} differs from place {at} on: {:?}, expected {:?}; {} jobs, expected {}; the same jobs: {}",
        around(found),
        around(expected),
        found.len(),
        expected.len(),
        ours == theirs
    );
}
