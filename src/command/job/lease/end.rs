//! How a lease ends, or goes on: JOB.ACK, JOB.NACK, JOB.HEARTBEAT, and by itself.

use std::borrow::Cow;

use bytes::Bytes;

use crate::resp::{Error, Reply};
use crate::sched::HeldBy;

use super::add::duration_ms;
use super::record::{Record, Stage};
use super::{DELAY_MAX_MS, End, decode, end_run, hold, list_of, no_lease, note_attempts, read, worker_end};
use crate::command::argument::is;
use crate::command::job::{serve, text_of};
use crate::command::{Context, Outcome, Stop};

/// Bytes of what a worker tells of how far it is, and of what it leaves for the next attempt.
const PROGRESS_BYTES_MAX: usize = 256;
const CURSOR_BYTES_MAX: usize = 64 * 1024;
/// How long a job waits that cannot go to its queue now, since something else has that key.
const PUT_OFF_MS: u64 = 10_000;

/// The number of the lease that an id is for.
fn leased(context: &Context, id: &[u8]) -> Result<u64, Error> {
    let id = String::from_utf8_lossy(id);
    let found = context.jobs.leases.find(context.keys.selected(), &id);
    match found {
        Some((number, lease)) if lease.held_by != HeldBy::Delay => Ok(number),
        _ => Err(no_lease(&id)),
    }
}

/// Answers one id as it is, and several in an array.
fn for_each(context: &mut Context, ids: &[Bytes], mut end: impl FnMut(&mut Context, &Bytes) -> Outcome) -> Outcome {
    if let [id] = ids {
        return end(context, id);
    }
    let mut replies = Vec::with_capacity(ids.len());
    for id in ids {
        replies.push(match end(context, id) {
            Err(Stop::Error(error)) => error.into(),
            other => other?,
        });
    }
    Ok(Reply::Array(replies))
}

/// JOB.ACK; see the declaration.
pub fn acknowledge(context: &mut Context, request: &[Bytes]) -> Outcome {
    for_each(context, &request[1..], |context, id| {
        let number = leased(context, id)?;
        end_run(context, number, &End::Done)?;
        Ok(Reply::Ok)
    })
}

/// JOB.NACK; see the declaration.
pub fn refuse(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (mut delay_ms, mut error) = (None, None);
    let mut words = &request[2..];
    while let [name, rest @ ..] = words {
        words = match rest {
            [value, rest @ ..] if is(name, "delay") => {
                delay_ms = Some(duration_ms("DELAY", value, DELAY_MAX_MS)?);
                rest
            }
            [class, _message, rest @ ..] if is(name, "error") => {
                error = Some(text_of(class));
                rest
            }
            _ => {
                return Err(Error::new(format!(
                    "ERR '{}' is no option here; there are DELAY duration and ERROR class message",
                    text_of(name)
                ))
                .into());
            }
        };
    }
    let number = leased(context, &request[1])?;
    let lease = context.jobs.leases.get(context.keys.selected(), number);
    if lease.is_some_and(|lease| matches!(lease.held_by, HeldBy::Popped { .. })) {
        return Err(Error::new(format!(
            "ERR '{}' was handed out by an ordinary pop: its worker has it, and puts it back by a push",
            text_of(&request[1])
        ))
        .into());
    }
    let how = End::Failed(error.as_deref());
    match delay_ms {
        None => put_back(context, number, &how)?,
        Some(delay_ms) => put_off(context, number, delay_ms, &how)?,
    }
    Ok(Reply::Ok)
}

/// JOB.HEARTBEAT; see the declaration.
pub fn heartbeat(context: &mut Context, request: &[Bytes]) -> Outcome {
    let is_option = |word: &Bytes| is(word, "progress") || is(word, "cursor");
    let options = request[2..].iter().position(is_option).map_or(request.len(), |at| at + 2);
    let (mut progress, mut cursor) = (None, None);
    for pair in request[options..].chunks(2) {
        match pair {
            [name, value] if is(name, "progress") => {
                let told = std::str::from_utf8(value).ok().filter(|told| told.len() <= PROGRESS_BYTES_MAX);
                let wrong = || Error::new(format!("ERR PROGRESS takes up to {PROGRESS_BYTES_MAX} bytes of text"));
                progress = Some(told.ok_or_else(wrong)?);
            }
            [name, value] if is(name, "cursor") && value.len() <= CURSOR_BYTES_MAX => cursor = Some(value),
            [name, _] if is(name, "cursor") => {
                return Err(Error::new(format!("ERR CURSOR takes up to {CURSOR_BYTES_MAX} bytes")).into());
            }
            [name, ..] => {
                return Err(Error::new(format!(
                    "ERR '{}' is no option here, or has no value; behind the ids there are PROGRESS and CURSOR",
                    text_of(name)
                ))
                .into());
            }
            [] => unreachable!("chunks are not empty"),
        }
    }
    let ids = &request[1..options];
    // All that is to be changed is read before the first is written.
    let mut records = Vec::new();
    for id in ids.iter().filter(|_| cursor.is_some()) {
        if let Ok(number) = leased(context, id) {
            records.push((number, read(context, number)?));
        }
    }
    for_each(context, ids, |context, id| {
        let number = leased(context, id)?;
        let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
        if let (Some(cursor), Some((_, bytes))) = (cursor, records.iter().find(|(of, _)| *of == number)) {
            let bytes = Record { cursor: Cow::Borrowed(cursor), ..decode(bytes)? }.encode();
            let slot = list_of(context)?.expect("the record was just read there");
            context.keys.set_item(slot, number, &bytes)?;
        }
        // A transaction only learns now what it will miss.
        if !context.keys.refuses_writes() {
            context.jobs.leases.extend(database, number, now_ms, progress);
        }
        Ok(Reply::Ok)
    })
}

/// Puts a job back to the end that workers pop from, or to the other one if it was not due before.
fn put_back(context: &mut Context, number: u64, how: &End) -> Result<(), Stop> {
    let lease = context.jobs.leases.get(context.keys.selected(), number);
    if lease.is_some_and(|lease| matches!(lease.held_by, HeldBy::Popped { .. })) {
        // Nobody has said what became of it.
        return end_run(context, number, &End::Back);
    }
    let bytes = read(context, number)?;
    let record = decode(&bytes)?;
    let side = worker_end(context, &record.queue, &record.payload)?;
    let side = if record.stage == Stage::Delayed { side.other() } else { side };
    serve::push(context, &record.queue, side, &[&record.payload], true)?;
    if record.attempt > 0 {
        note_attempts(context, record.identity, record.attempt, &record.cursor)?;
    }
    end_run(context, number, how)
}

/// Keeps a leased job until it is to be tried again.
fn put_off(context: &mut Context, number: u64, delay_ms: u64, how: &End) -> Result<(), Stop> {
    let bytes = read(context, number)?;
    let record = decode(&bytes)?;
    let at_ms = context.keys.now_ms() + delay_ms;
    end_run(context, number, how)?;
    let nobody = Cow::Borrowed("");
    hold(
        context,
        &Record { stage: Stage::Delayed, at_ms, worker: nobody, charges: Vec::new(), account: None, ..record },
    )
}

/// Puts back one job whose lease is over, or that is due; tells whether there was one. It is called between commands.
pub fn put_back_due(context: &mut Context) -> Result<bool, Stop> {
    let now_ms = context.keys.now_ms();
    let Some((database, number)) = context.jobs.leases.due(now_ms) else { return Ok(false) };
    context.keys.select(database);
    match put_back(context, number, &End::Back) {
        Err(Stop::Error(error)) => {
            let lease = context.jobs.leases.get(database, number);
            let queue = lease.map(|lease| String::from_utf8_lossy(&lease.queue).into_owned()).unwrap_or_default();
            tracing::error!(database, queue, reason = error.line(), "a job cannot go to its queue now; it is kept");
            context.jobs.leases.put_off(database, number, now_ms + PUT_OFF_MS);
        }
        other => other?,
    }
    Ok(true)
}
