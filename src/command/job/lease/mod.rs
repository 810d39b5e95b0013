//! Leases: jobs that the server itself gives to workers for a time, and jobs that it keeps until they are due.
//!
//! A leased job has left its queue and stands in a list of the server's own, written by the frame that took it out; so a
//! crash finds it in one of the two. What the scheduler knows of leases is made anew from these lists at a start.

mod add;
mod end;
mod follow;
mod record;
mod reserve;
mod status;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{Kind, Side, Slot};
use crate::resp::Error;
use crate::sched::{HeldBy, Kind as RuleKind, Lease, Returned};

use self::record::{Record, Stage};
use super::registry::in_system;
use super::sample::reading::one_list;
use super::{SINCE, serve};
use crate::command::{Command, Context, Flag, Group, Keys, Stop};

pub use end::put_back_due;
use follow::{End, end as end_run};
pub use follow::{follow, see};

/// How long a lease lasts if nothing is said, and at the most.
const LEASE_DEFAULT_MS: u64 = 60_000;
const LEASE_MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// A delay is no longer: ten years.
const DELAY_MAX_MS: u64 = 3_653 * 24 * 60 * 60 * 1000;
/// Ids, names of workers and what they tell are no longer.
const NAME_BYTES_MAX: usize = 256;

const ADD: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];
const END: &[Flag] = &[Flag::Write, Flag::Fast];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "job.add",
        run: add::add,
        syntax: "queue payload [ID id] [DELAY duration | AT unix-ms] [UNIQUE key FOR duration]",
        summary: "Adds a job to a queue, now or later, and returns its id.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: ADD,
        keys: Keys::None,
        examples: &[
            "JOB.ADD mails '{\"class\":\"Mail\",\"jid\":\"5f2c9a\"}'",
            "JOB.ADD mails '{\"class\":\"Mail\"}' ID 77 DELAY 5m",
            "JOB.ADD mails x ID 78",
            "JOB.ADD mails x DELAY never",
        ],
    },
    Command {
        name: "job.reserve",
        run: reserve::reserve,
        syntax: "[COUNT count] [BLOCK ms] [LEASE duration] [WORKER name] FROM queue [queue ...]",
        summary: "Takes jobs out of queues for a time. Those that are not acknowledged in it go back.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of jobs.",
        flags: &[Flag::Write, Flag::Blocking],
        keys: Keys::None,
        examples: &[
            "JOB.ADD mails '{\"class\":\"Mail\",\"jid\":\"5f2c9a\",\"tenant_id\":7}'",
            "JOB.RESERVE LEASE 30s WORKER w1 FROM mails",
            "JOB.RESERVE COUNT 5 FROM mails",
            "JOB.RESERVE COUNT 0 FROM mails",
            "JOB.RESERVE mails",
        ],
    },
    Command {
        name: "job.ack",
        run: end::acknowledge,
        syntax: "id [id ...]",
        summary: "Says that jobs are done. Of several ids each is answered for itself.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of ids.",
        flags: END,
        keys: Keys::None,
        examples: &[
            "JOB.ADD mails '{\"class\":\"Mail\",\"jid\":\"5f2c9a\"}'",
            "JOB.RESERVE FROM mails",
            "JOB.ACK 5f2c9a",
            "JOB.ACK 5f2c9a",
        ],
    },
    Command {
        name: "job.nack",
        run: end::refuse,
        syntax: "id [DELAY duration] [ERROR class message]",
        summary: "Says that a job has failed: it goes back to its queue, now or later, for another attempt.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: END,
        keys: Keys::None,
        examples: &[
            "JOB.ADD mails '{\"class\":\"Mail\",\"jid\":\"5f2c9a\"}'",
            "JOB.RESERVE FROM mails",
            "JOB.NACK 5f2c9a ERROR Timeout 'the partner is slow'",
            "JOB.NACK 5f2c9a",
            "JOB.RESERVE FROM mails",
        ],
    },
    Command {
        name: "job.heartbeat",
        run: end::heartbeat,
        syntax: "id [id ...] [PROGRESS text] [CURSOR blob]",
        summary: "Lets leases go on from now, and keeps how far their workers are. A cursor is given to the next attempt.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of ids; with a cursor, also the size of the job.",
        flags: END,
        keys: Keys::None,
        examples: &[
            "JOB.ADD mails '{\"class\":\"Mail\",\"jid\":\"5f2c9a\"}'",
            "JOB.RESERVE FROM mails",
            "JOB.HEARTBEAT 5f2c9a PROGRESS 50%",
            "JOB.HEARTBEAT none",
        ],
    },
    Command {
        name: "job.status",
        run: status::status,
        syntax: "id",
        summary: "Returns what is known of the job with an id: queued, held and why, scheduled, running, retrying, dead, done or blackholed.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) for a leased job, else as JOB.FIND.",
        flags: &[Flag::ReadOnly],
        keys: Keys::None,
        examples: &["JOB.STATUS 5f2c9a"],
    },
];

/// Says that nobody may speak of a job by this id.
fn no_lease(id: &str) -> Error {
    Error::new(format!("NOLEASE no lease is called '{id}': it was ended, has run out, or is that of an older attempt"))
}

/// The key of the queue that a key or a word means, which need not be there yet.
fn queue_of(context: &mut Context, word: &Bytes) -> Result<(Vec<u8>, Option<Slot>), Stop> {
    if word.contains(&b':') {
        let slot = context.keys.find_kind(word, Kind::List)?;
        return Ok((word.to_vec(), slot));
    }
    Ok(match one_list(context, word)? {
        (key, Some(slot)) => (key, Some(slot)),
        (_, None) => ([b"queue:", &word[..]].concat(), None),
    })
}

/// The end from which workers take jobs of a queue, which need not be there.
fn worker_end(context: &mut Context, key: &[u8], payload: &[u8]) -> Result<Side, Stop> {
    if let Some(slot) = context.keys.find_kind(key, Kind::List)? {
        return Ok(serve::pop_end(context, slot, payload));
    }
    let queue = context.keys.queues.find(context.keys.selected(), key).and_then(|id| context.keys.queues.get(id));
    let by_payload = if Job::new(payload).has_jid() { Side::Right } else { Side::Left };
    Ok(queue.and_then(|queue| queue.popped).unwrap_or(by_payload))
}

/// The id of a job: its own, else one that says what is in it.
fn id_of(job: &Job) -> String {
    match job.id() {
        Some(id) if id.len() <= NAME_BYTES_MAX => id.into_owned(),
        _ => format!("{:016x}", job.identity()),
    }
}

// ---- the list of records --------------------------------------------------------------------------------------------

fn list_key(database: usize) -> Vec<u8> {
    format!("leases:{database}").into_bytes()
}

/// The list of records of the selected database, if it has any.
fn list_of(context: &mut Context) -> Result<Option<Slot>, Stop> {
    let key = list_key(context.keys.selected());
    in_system(context, |context| Ok(context.keys.find_kind(&key, Kind::List)?))
}

/// Reads one record, which must be in memory for that.
fn read(context: &mut Context, number: u64) -> Result<Vec<u8>, Stop> {
    let slot = list_of(context)?.ok_or_else(lost)?;
    let list = context.keys.list(slot);
    match (list.item(number), list.missing_for(number)) {
        (Some(item), _) => Ok(item.to_vec()),
        (None, Some(at)) => Err(context.keys.missing_chunk(slot, at).into()),
        (None, None) => Err(lost().into()),
    }
}

fn lost() -> Error {
    Error::constant("ERR the record of this job is missing; see the server's log")
}

fn decode(bytes: &[u8]) -> Result<Record<'_>, Error> {
    Record::decode(bytes).map_err(|error| Error::new(format!("ERR {error}")))
}

/// Writes a record and answers its number.
fn write(context: &mut Context, record: &Record) -> Result<u64, Stop> {
    let (key, bytes) = (list_key(context.keys.selected()), record.encode());
    in_system(context, |context| {
        let slot = context.keys.find_or_create(&key, Kind::List)?;
        context.keys.push(slot, Side::Right, &[&bytes])?;
        Ok(context.keys.list(slot).end_ordinal(Side::Right))
    })
}

/// Removes records whose numbers are known to be there.
fn erase(context: &mut Context, numbers: &[u64]) -> Result<(), Stop> {
    if let Some(slot) = list_of(context)?.filter(|_| !numbers.is_empty()) {
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        context.keys.remove_items(slot, &numbers)?;
    }
    Ok(())
}

/// Writes a job that the server answers for from now on. The caller has read all that it needs.
fn hold(context: &mut Context, record: &Record) -> Result<(), Stop> {
    let number = write(context, record)?;
    let (database, now_ms, run_max_ms) = (context.keys.selected(), context.keys.now_ms(), run_max_ms(context));
    let lease = record.lease(now_ms, run_max_ms);
    context.jobs.follow(database, number, &lease);
    context.jobs.leases.put(database, number, lease);
    account(context);
    Ok(())
}

/// Ends what the server knows of a job that it answered for; it has been written to where it goes.
fn let_go(context: &mut Context, number: u64) -> Result<Option<Lease>, Stop> {
    erase(context, &[number])?;
    let database = context.keys.selected();
    let lease = context.jobs.leases.remove(database, number);
    context.jobs.heartbeats.forget((database, number));
    let now_ns = context.now.mono.as_nanos() as u64;
    for gate in lease.iter().flat_map(|lease| &lease.gates) {
        context.jobs.limits.end(*gate, now_ns);
    }
    account(context);
    Ok(lease)
}

/// Notes how often a job was tried that goes back to its queue.
fn note_attempts(context: &mut Context, identity: u64, attempts: u32, cursor: &[u8]) -> Result<(), Stop> {
    let database = context.keys.selected();
    let record = Record {
        stage: Stage::Returned,
        identity,
        attempt: attempts,
        at_ms: context.keys.now_ms(),
        lease_ms: 0,
        queue: Cow::Borrowed(b""),
        token: Cow::Borrowed(""),
        worker: Cow::Borrowed(""),
        cursor: Cow::Borrowed(cursor),
        charges: Vec::new(),
        account: None,
        payload: Cow::Borrowed(b""),
    };
    let number = write(context, &record)?;
    let old = context.jobs.leases.returned(database, identity).map(|old| old.number);
    context.jobs.leases.came_back(database, identity, Returned { number, attempts });
    let forgotten = context.jobs.leases.returned_too_many(database);
    let numbers: Vec<u64> = old.into_iter().chain(forgotten.map(|(_, returned)| returned.number)).collect();
    if let Some((identity, _)) = forgotten {
        context.jobs.leases.went_out(database, identity);
    }
    erase(context, &numbers)
}

/// Refuses what would make the server answer for more jobs than it may.
fn room(context: &Context) -> Result<u64, Error> {
    let max = u64::from(context.host.settings().job_runs_max);
    match max.saturating_sub(context.jobs.leases.len() as u64) {
        0 => Err(Error::new(format!(
            "ERR {max} jobs are leased or not due yet, as many as job-runs-max says; acknowledge some or raise it"
        ))),
        room => Ok(room),
    }
}

fn account(context: &mut Context) {
    context.keys.sightings.active = !context.jobs.heartbeats.is_empty();
    context.keys.memory.leases_bytes = context.jobs.leases.memory_bytes() + context.jobs.limits.memory_bytes();
}

fn run_max_ms(context: &Context) -> u64 {
    context.host.settings().job_run_max_s * 1000
}

// ---- all of a database ----------------------------------------------------------------------------------------------

/// Forgets all jobs that the server answers for in a database that is emptied.
pub fn flush(context: &mut Context, database: usize) -> Result<(), Stop> {
    let key = list_key(database);
    in_system(context, |context| {
        if let Some(slot) = context.keys.find_kind(&key, Kind::List)? {
            context.keys.delete(slot)?;
        }
        Ok(())
    })?;
    context.jobs.retire_leases(database);
    let rules = context.jobs.rules.of(database).iter();
    let limits: Vec<u64> =
        rules.filter(|rule| matches!(rule.kind, RuleKind::Limit(_))).map(|rule| rule.number).collect();
    limits.into_iter().for_each(|limit| context.jobs.retire_limit(limit));
    account(context);
    Ok(())
}

/// Brings back what the records say, at a start.
pub fn load(context: &mut Context) {
    // The keyspace knows the time once turns begin.
    let (selected, now_ms, run_max_ms) = (context.keys.selected(), context.now.wall_ms(), run_max_ms(context));
    let (mut leased, mut delayed) = (0, 0);
    for database in 0..context.keys.database_count() {
        context.keys.select(database);
        let Ok(Some(slot)) = list_of(context) else { continue };
        let list = context.keys.list(slot);
        let (object, pieces) = (context.keys.object(slot).id, list.pieces(0, list.len() - 1));
        for mut piece in pieces {
            if let Some(at) = piece.missing() {
                match context.host.load_chunk(object, at) {
                    Ok(body) => piece.body = Some(body),
                    Err(error) => {
                        tracing::error!(database, reason = error.line(), "records of leases cannot be read");
                        continue;
                    }
                }
            }
            for (number, item) in piece.items(Side::Left) {
                match Record::decode(item) {
                    Ok(record) if record.stage == Stage::Returned => {
                        let returned = Returned { number, attempts: record.attempt };
                        context.jobs.leases.came_back(database, record.identity, returned);
                    }
                    Ok(record) => {
                        let lease = record.lease(now_ms, run_max_ms);
                        for charge in &record.charges {
                            let mut rules = context.jobs.rules.of(database).iter();
                            if rules.any(|rule| rule.number == charge.gate.limit) {
                                context.jobs.limits.resume(charge);
                            }
                        }
                        if lease.held_by == HeldBy::Delay {
                            delayed += 1
                        } else {
                            leased += 1
                        }
                        context.jobs.follow(database, number, &lease);
                        context.jobs.leases.put(database, number, lease);
                    }
                    Err(error) => tracing::error!(database, number, %error, "a record of a lease cannot be read"),
                }
            }
        }
    }
    context.keys.select(selected);
    account(context);
    if leased + delayed > 0 {
        tracing::info!(leased, delayed, "leases begin anew, and jobs that are not due yet are kept");
    }
}
