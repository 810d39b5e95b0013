//! When a job that an ordinary pop has handed out has ended, as far as heartbeats tell: stock Sidekiq writes nothing when a job
//! succeeds, but every process says every ten seconds what it works on. Pure: sightings in, ends out.
//!
//! A job has ended when its process has beaten twice without it. Until a process has said that it has the job, that goes for
//! every process at the address that popped it: the first beat may have been under way before the pop.

use std::collections::{BTreeMap, BTreeSet};

/// Beats without a job that say that it has ended.
const BEATS: u8 = 2;
/// Jobs that one process may say to work on between two beats.
const WORKS_ON_MAX: usize = 10_000;
/// A process that has not beaten for so long is no longer asked.
const ALIVE_MS: u64 = 60_000;

/// A job that is followed: its database and its number.
pub type Run = (usize, u64);

/// See the module.
#[derive(Debug, Default)]
pub struct Heartbeats {
    runs: BTreeMap<Run, Followed>,
    by_host: BTreeMap<Box<str>, BTreeSet<Run>>,
    /// By database and key.
    processes: BTreeMap<(usize, Box<[u8]>), Process>,
    /// What workers note that they work on, by database and key.
    notes: BTreeMap<(usize, Box<[u8]>), u64>,
}

#[derive(Debug)]
struct Followed {
    host: Box<str>,
    identity: u64,
    /// Who has said that it works on it.
    process: Option<Box<[u8]>>,
    /// Who has beaten without it, and how often.
    missed: BTreeMap<Box<[u8]>, u8>,
}

#[derive(Debug, Default)]
struct Process {
    host: Box<str>,
    beat_ms: u64,
    /// What it has said since its last beat that it works on.
    works_on: BTreeSet<u64>,
}

impl Heartbeats {
    /// Follows a job that was popped from a host.
    pub fn follow(&mut self, run: Run, identity: u64, host: &str) {
        let followed = Followed { host: host.into(), identity, process: None, missed: BTreeMap::new() };
        self.by_host.entry(host.into()).or_default().insert(run);
        self.runs.insert(run, followed);
    }

    pub fn forget(&mut self, run: Run) {
        let Some(followed) = self.runs.remove(&run) else { return };
        if let Some(runs) = self.by_host.get_mut(&followed.host) {
            runs.remove(&run);
            if runs.is_empty() {
                self.by_host.remove(&followed.host);
            }
        }
        if self.runs.is_empty() {
            self.processes.clear();
            self.notes.clear();
        }
    }

    /// Forgets all that is followed in a database.
    pub fn clear(&mut self, database: usize) {
        let runs: Vec<Run> = self.runs.range((database, 0)..=(database, u64::MAX)).map(|(run, _)| *run).collect();
        runs.into_iter().for_each(|run| self.forget(run));
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// A worker notes under a key that it works on a job.
    pub fn note(&mut self, database: usize, key: &[u8], identity: u64) {
        self.notes.insert((database, key.into()), identity);
    }

    /// A worker has taken its note back; answers what it has worked on.
    pub fn take_note(&mut self, database: usize, key: &[u8]) -> Option<u64> {
        self.notes.remove(&(database, key.into()))
    }

    /// A process says that it works on a job.
    pub fn works_on(&mut self, database: usize, process: &[u8], identity: u64) {
        let of = self.processes.entry((database, process.into())).or_default();
        if of.works_on.len() < WORKS_ON_MAX {
            of.works_on.insert(identity);
        }
    }

    /// A process at a host has beaten; answers the jobs that have ended.
    pub fn beat(&mut self, database: usize, process: &[u8], host: &str, now_ms: u64) -> Vec<Run> {
        let of = self.processes.entry((database, process.into())).or_default();
        (of.host, of.beat_ms) = (host.into(), now_ms);
        let works_on = std::mem::take(&mut of.works_on);
        let is_alive = |of: &Process| &*of.host == host && of.beat_ms + ALIVE_MS >= now_ms;
        let all: Vec<Box<[u8]>> = self
            .processes
            .range((database, Box::default())..)
            .take_while(|((of, _), _)| *of == database)
            .filter(|(_, of)| is_alive(of))
            .map(|((_, process), _)| process.clone())
            .collect();
        let runs = self.by_host.get(host).into_iter().flatten().filter(|(of, _)| *of == database);
        let mut ended = Vec::new();
        for run in runs {
            let followed = self.runs.get_mut(run).expect("what a host has is followed");
            if works_on.contains(&followed.identity) {
                followed.process = Some(process.into());
                followed.missed.clear();
                continue;
            }
            if followed.process.as_deref().is_some_and(|owner| owner != process) {
                continue;
            }
            *followed.missed.entry(process.into()).or_default() += 1;
            let missed = |process: &[u8]| followed.missed.get(process).is_some_and(|beats| *beats >= BEATS);
            let has_ended = match &followed.process {
                Some(owner) => missed(owner),
                None => all.iter().all(|process| missed(process)),
            };
            if has_ended {
                ended.push(*run);
            }
        }
        ended
    }

    /// The jobs that are followed of those popped from a host.
    pub fn at_host(&self, host: &str) -> impl Iterator<Item = Run> {
        self.by_host.get(host).into_iter().flatten().copied()
    }

    /// The key of a process is gone; answers the jobs that nobody has any more.
    pub fn gone(&mut self, database: usize, process: &[u8]) -> Vec<Run> {
        let Some(of) = self.processes.remove(&(database, process.into())) else { return Vec::new() };
        let is_there =
            |(in_database, _): &&(usize, Box<[u8]>), other: &Process| *in_database == database && other.host == of.host;
        let is_last = !self.processes.iter().any(|(key, other)| is_there(&key, other));
        let runs = self.by_host.get(&of.host).into_iter().flatten().filter(|(of, _)| *of == database);
        let is_orphan = |run: &&Run| match &self.runs[*run].process {
            Some(owner) => **owner == *process,
            None => is_last,
        };
        runs.filter(is_orphan).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: u64 = 77;

    #[test]
    fn a_job_has_ended_when_its_process_has_beaten_twice_without_it() {
        let mut beats = Heartbeats::default();
        beats.follow((0, 1), JOB, "10.0.0.1");
        beats.works_on(0, b"p", JOB);
        assert!(beats.beat(0, b"p", "10.0.0.1", 0).is_empty());
        assert!(beats.beat(0, b"q", "10.0.0.1", 0).is_empty() && beats.beat(0, b"q", "10.0.0.1", 0).is_empty());
        assert!(beats.beat(0, b"p", "10.0.0.1", 10).is_empty(), "once may be chance");
        assert_eq!(beats.beat(0, b"p", "10.0.0.1", 20), [(0, 1)]);
        beats.forget((0, 1));
        assert!(beats.is_empty() && beats.by_host.is_empty() && beats.processes.is_empty());
    }

    #[test]
    fn until_somebody_says_that_he_has_it_all_at_its_address_have_to_beat_without_it() {
        let mut beats = Heartbeats::default();
        beats.beat(0, b"dead", "10.0.0.1", 0);
        beats.beat(0, b"q", "10.0.0.1", 100_000);
        beats.follow((0, 1), JOB, "10.0.0.1");
        for _ in 0..2 {
            assert!(beats.beat(0, b"p", "10.0.0.1", 100_000).is_empty());
            assert!(beats.beat(0, b"elsewhere", "10.0.0.2", 100_000).is_empty());
            assert!(beats.beat(1, b"q", "10.0.0.1", 100_000).is_empty(), "another database is another fleet");
        }
        assert!(beats.beat(0, b"q", "10.0.0.1", 100_001).is_empty());
        assert_eq!(beats.beat(0, b"q", "10.0.0.1", 100_002), [(0, 1)]);
    }

    #[test]
    fn a_process_that_is_gone_leaves_its_jobs() {
        let mut beats = Heartbeats::default();
        for (number, job) in [(1, JOB), (2, JOB + 1)] {
            beats.follow((0, number), job, "h");
        }
        beats.works_on(0, b"p", JOB);
        beats.beat(0, b"p", "h", 0);
        beats.beat(0, b"q", "h", 0);
        assert_eq!(beats.gone(0, b"p"), [(0, 1)], "the other one may be q's");
        assert_eq!(beats.gone(0, b"q"), [(0, 2)]);
        assert!(beats.gone(0, b"q").is_empty());
    }
}
