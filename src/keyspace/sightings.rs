//! What unmodified workers tell by what they write: a job comes back, is taken out of a working list, is what a process works
//! on. Seen from the effects, whichever command has them, while somebody follows running jobs.

use crate::job::Job;

use super::effect::Effect;
use super::objects::Object;
use super::value::Value;

/// Items of one effect that are looked at: what workers write is about a job or a few.
const ITEMS_MAX: usize = 1024;
/// The field of a process's hash that Sidekiq renews with each heartbeat.
const BEAT: &[u8] = b"beat";
/// Behind the name of a process: what it works on.
const WORK: &[u8] = b":work";

/// One thing that was seen. Jobs are told by their identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// A job came (back) to a queue, or to where jobs are scheduled, tried again or failed.
    Came(u64),
    /// A job has failed: it came to where those are kept that are tried again, or never more. The class of the error, if known.
    Failed { job: u64, error: Option<Box<str>> },
    /// A job was taken out of a list in which it was worked on.
    Done(u64),
    /// A worker notes under a key that it works on a job …
    Notes { key: Box<[u8]>, job: u64 },
    /// … and has taken the note back.
    Unnoted(Box<[u8]>),
    /// A process says that it works on a job …
    Works { process: Box<[u8]>, job: u64 },
    /// … and with its heartbeat, that this was all.
    Beat(Box<[u8]>),
    /// The key of a process is gone.
    Gone(Box<[u8]>),
}

/// A sighting in a database.
#[derive(Debug)]
pub struct Seen {
    pub database: usize,
    pub sighting: Sighting,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Sightings {
    /// Running jobs are followed.
    pub active: bool,
    /// The host of the client whose command runs.
    pub host: String,
    seen: Vec<Seen>,
}

impl Sightings {
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    pub fn take(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// Notes that a job came which is kept out of its queue.
    pub fn came(&mut self, database: usize, payload: &[u8]) {
        if self.active {
            self.seen.push(Seen { database, sighting: Sighting::Came(Job::new(payload).identity()) });
        }
    }

    /// Notes that a job was taken out of a list in which it was worked on.
    pub fn done(&mut self, database: usize, payload: &[u8]) {
        if self.active {
            self.seen.push(Seen { database, sighting: Sighting::Done(Job::new(payload).identity()) });
        }
    }

    /// Looks at a change before it is made. `is_queue` says that the object is a list of jobs that wait.
    pub(super) fn see(&mut self, object: &Object, is_queue: bool, effect: &Effect) {
        let database = object.database;
        let seen = &mut self.seen;
        let mut note = |sighting| seen.push(Seen { database, sighting });
        match (effect, &object.value) {
            (Effect::Push { items, .. }, _) if is_queue || is_delayed(&object.key) => {
                items.iter().take(ITEMS_MAX).for_each(|item| note(Sighting::Came(Job::new(item).identity())));
            }
            (Effect::Push { items, .. }, _) if is_failed(&object.key) => {
                for item in items.iter().take(ITEMS_MAX) {
                    if let Some(job) = told_of(item) {
                        note(Sighting::Failed { job, error: error_of(item) });
                    }
                }
            }
            (Effect::PutScores { pairs, .. }, _) => {
                let failed = is_retried(&object.key);
                for (member, _) in pairs.iter().take(ITEMS_MAX).filter(|(member, _)| member.starts_with(b"{")) {
                    let job = Job::new(member).identity();
                    note(if failed { Sighting::Failed { job, error: error_of(member) } } else { Sighting::Came(job) });
                }
            }
            (Effect::PutFields { pairs, .. }, _) => {
                if let Some(process) = object.key.strip_suffix(WORK) {
                    let jobs = pairs.iter().take(ITEMS_MAX).filter_map(|(_, note)| told_of(note));
                    jobs.for_each(|job| note(Sighting::Works { process: process.into(), job }));
                } else if pairs.iter().any(|(field, _)| *field == BEAT) {
                    note(Sighting::Beat(object.key.clone()));
                }
            }
            (Effect::Write { bytes, .. }, _) if is_worker(&object.key) => {
                let job = told_of(bytes);
                job.into_iter().for_each(|job| note(Sighting::Notes { key: object.key.clone(), job }));
            }
            // What is deleted need not be in memory.
            (Effect::Delete { .. }, Value::String(_) | Value::Cold(_)) if is_worker(&object.key) => {
                note(Sighting::Unnoted(object.key.clone()));
            }
            (Effect::Delete { .. }, Value::Hash(_) | Value::Cold(_)) => note(Sighting::Gone(object.key.clone())),
            _ => {}
        }
    }
}

/// Where Resque and its add-ons keep what has failed.
fn is_failed(key: &[u8]) -> bool {
    let name = key.rsplit(|byte| *byte == b':').next().unwrap_or_default();
    name == b"failed" || name.ends_with(b"_failed")
}

/// Where Sidekiq keeps what has failed.
fn is_retried(key: &[u8]) -> bool {
    let name = key.rsplit(|byte| *byte == b':').next();
    name.is_some_and(|name| name == b"retry" || name == b"dead")
}

/// The class of the error that a failed job, or a note about a failure, tells of.
fn error_of(payload: &[u8]) -> Option<Box<str>> {
    Job::new(payload).error_class().map(|class| (*class).into())
}

/// A list of resque-scheduler: `delayed:` and a moment.
fn is_delayed(key: &[u8]) -> bool {
    let mut parts = key.rsplit(|byte| *byte == b':');
    parts.next().is_some_and(|moment| moment.iter().all(u8::is_ascii_digit)) && parts.next() == Some(b"delayed")
}

/// What a worker of Resque notes that it works on: `worker:` and who it is.
fn is_worker(key: &[u8]) -> bool {
    key.split(|byte| *byte == b':').any(|part| part == b"worker")
}

/// The job that a note about it carries.
fn told_of(note: &[u8]) -> Option<u64> {
    Job::new(note).carried().map(|payload| Job::new(&payload).identity())
}
