//! JOB.STATUS: what is known of one job.

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{Kind, Side, Slot};
use crate::resp::Reply;
use crate::sched::{HeldBy, Lease};

use super::super::explain::judged;
use super::super::find::{self, At, Hit};
use crate::command::job::{known, map, number, serve, text};
use crate::command::{Context, Outcome};

/// What is told of a job, as far as it is known.
#[derive(Default)]
struct Status<'a> {
    state: &'static str,
    queue: Option<&'a [u8]>,
    /// Jobs that were there before it.
    position: Option<u64>,
    held_by: Option<String>,
    attempt: Option<u32>,
    worker: Option<&'a str>,
    since_ms: Option<u64>,
    due_ms: Option<u64>,
    progress: Option<&'a str>,
}

/// Tells of a job; see the declaration.
pub fn status(context: &mut Context, request: &[Bytes]) -> Outcome {
    let database = context.keys.selected();
    let id = String::from_utf8_lossy(&request[1]);
    let leases = &context.jobs.leases;
    let by_token = leases.find(database, &id).map(|(_, lease)| lease);
    if let Some(lease) = by_token.or_else(|| leases.of_job(database, Job::identity_of(&id)).last()) {
        return Ok(of_lease(lease).reply());
    }
    if leases.is_done(database, Job::identity_of(&id)) {
        // It may have been queued again; then that is what is told.
        return find::search(context, &request[1], |hits, context| of_hits(hits, context, "done"));
    }
    find::search(context, &request[1], |hits, context| of_hits(hits, context, "unknown"))
}

fn of_lease(lease: &Lease) -> Status<'_> {
    let status = Status {
        queue: Some(&lease.queue),
        attempt: Some(lease.attempt),
        due_ms: Some(lease.due_ms),
        ..Status::default()
    };
    match &lease.held_by {
        HeldBy::Delay => Status { state: if lease.attempt == 0 { "scheduled" } else { "retrying" }, ..status },
        HeldBy::Popped { worker, since_ms } => {
            Status { state: "running", worker: Some(worker), since_ms: Some(*since_ms), ..status }
        }
        HeldBy::Worker { name, since_ms, progress, .. } => Status {
            state: "running",
            worker: Some(name).filter(|name| !name.is_empty()).map(|name| &**name),
            since_ms: Some(*since_ms),
            progress: progress.as_deref(),
            ..status
        },
    }
}

fn of_hits(hits: &[Hit], context: &mut Context, otherwise: &'static str) -> Outcome {
    for hit in hits {
        let mut status = Status { queue: Some(&hit.key), ..Status::default() };
        status.state = match hit.place {
            "queue" => "queued",
            "working" => "running",
            "quarantine" => "blackholed",
            "schedule" => "scheduled",
            "retry" => "retrying",
            other => other,
        };
        match hit.at {
            At::Score(score) => status.due_ms = Some((score * 1000.0) as u64).filter(|_| hit.place != "dead"),
            At::Ordinal(ordinal) if hit.place == "queue" => {
                let Some(slot) = context.keys.find_kind(&hit.key, Kind::List)? else { continue };
                let side = serve::pop_end(context, slot, &hit.payload);
                let list = context.keys.list(slot);
                let Some(index) = list.index_of(ordinal) else { continue };
                status.position = Some(if side == Side::Left { index } else { list.len() - 1 - index });
                (status.state, status.held_by) = held(context, slot, &hit.payload);
            }
            At::Ordinal(_) => {}
        }
        return Ok(status.reply());
    }
    Ok(Status { state: otherwise, ..Status::default() }.reply())
}

/// Whether a job in a queue may go, and by which rule not.
fn held(context: &mut Context, slot: Slot, payload: &[u8]) -> (&'static str, Option<String>) {
    let (now_ms, now_ns) = (context.keys.now_ms(), context.now.mono.as_nanos() as u64);
    let rules = serve::rules_of(context, slot).map(|(_, rules)| rules);
    let (verdict, by) = judged(rules.as_deref(), &context.jobs.limits, payload, now_ms, now_ns);
    let state = match verdict {
        "deliver" => "queued",
        "taken" => "blackholed",
        held => held,
    };
    (state, by.map(str::to_owned))
}

impl Status<'_> {
    fn reply(self) -> Reply {
        let word = |word: Option<&str>| word.map_or(Reply::Null, text);
        map(vec![
            ("state", text(self.state)),
            ("queue", self.queue.map_or(Reply::Null, text)),
            ("position", known(self.position)),
            ("held_by", word(self.held_by.as_deref())),
            ("attempt", self.attempt.map_or(Reply::Null, |attempt| number(u64::from(attempt)))),
            ("worker", word(self.worker)),
            ("since", known(self.since_ms)),
            ("due", known(self.due_ms)),
            ("progress", word(self.progress)),
        ])
    }
}
