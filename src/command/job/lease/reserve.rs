//! JOB.RESERVE: jobs for a worker that says when it is done.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{Kind, Side, Slot};
use crate::resp::{Error, Reply};

use super::add::{duration_ms, name_of};
use super::record::{Record, Stage};
use super::{LEASE_DEFAULT_MS, LEASE_MAX_MS, decode, erase, hold, id_of, queue_of, read, room};
use crate::command::argument::{is, not_negative};
use crate::command::job::charge::Charges;
use crate::command::job::serve::{self, Pick};
use crate::command::job::{map, number, slack, text, text_of};
use crate::command::{Context, Outcome, Stop, Wait};

/// Jobs that one call takes, and bytes in chunks from which it takes no more of one queue.
const COUNT_MAX: u64 = 1_000;
const BYTES_MAX: usize = 4 << 20;

struct Options {
    count: u64,
    /// How long to wait; 0 for ever.
    block_ms: Option<u64>,
    lease_ms: u64,
    worker: String,
}

/// What is taken from one queue.
struct Taken {
    key: Vec<u8>,
    slot: Slot,
    side: Side,
    /// None for what stands at the end.
    ordinals: Option<Vec<u64>>,
    jobs: Vec<Reserved>,
    charges: Charges,
}

struct Reserved {
    payload: Bytes,
    id: String,
    identity: u64,
    tenant: Option<String>,
    attempt: u32,
    cursor: Vec<u8>,
    /// The record that says how often it was tried.
    returned: Option<u64>,
}

/// Takes jobs; see the declaration.
pub fn reserve(context: &mut Context, request: &[Bytes]) -> Outcome {
    let from = request.iter().position(|word| is(word, "from"));
    let Some(from) = from.filter(|from| from + 1 < request.len()) else {
        return Err(Error::constant("ERR JOB.RESERVE takes its options, then FROM and one queue or more").into());
    };
    let options = Options::read(&request[1..from])?;
    let mut left = options.count.min(room(context)?);
    let mut all: Vec<Taken> = Vec::new();
    let mut keys: Vec<Bytes> = Vec::new();
    for word in &request[from + 1..] {
        let key = Bytes::from(queue_of(context, word)?.0);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    for key in slack::in_order(context, &keys, None)?.iter() {
        if let Some(slot) = context.keys.find_kind(key, Kind::List)?.filter(|_| left > 0)
            && let Some(taken) = look(context, key.to_vec(), slot, left)?
        {
            left -= taken.jobs.len() as u64;
            all.push(taken);
        }
    }
    if all.is_empty() {
        return wait(context, keys, options.block_ms);
    }
    let mut jobs = Vec::new();
    for taken in all {
        taken.take(context, &options, &mut jobs)?;
    }
    Ok(Reply::Array(jobs))
}

/// Parks the client until one of the queues has a job, if it wants that.
fn wait(context: &Context, keys: Vec<Bytes>, block_ms: Option<u64>) -> Outcome {
    let nothing = Reply::Array(Vec::new());
    match block_ms.filter(|_| context.may_block()) {
        None => Ok(nothing),
        Some(ms) => {
            let until = (ms > 0).then(|| context.now.mono.saturating_add(Duration::from_millis(ms)));
            Err(Stop::Wait(Wait { keys, kind: Kind::List, until, timed_out: nothing }))
        }
    }
}

/// Finds jobs of a queue that may go; changes nothing.
fn look(context: &mut Context, key: Vec<u8>, slot: Slot, count: u64) -> Result<Option<Taken>, Stop> {
    let payload = context.keys.list_end(slot, Side::Right)?.to_vec();
    let side = serve::pop_end(context, slot, &payload);
    let (ordinals, payloads, charges) = match serve::pick(context, slot, side, count)? {
        Pick::Plain => (None, at_end(context, slot, side, count)?, Charges::default()),
        Pick::Items(items) => {
            let charges = Charges::of(context, slot, side, &items);
            let (ordinals, payloads) = items.into_iter().unzip();
            (Some(ordinals), payloads, charges)
        }
        Pick::Nothing => return Ok(None),
    };
    let sharing = serve::rules_of(context, slot).and_then(|(_, rules)| rules.fair.clone()).unwrap_or_default();
    let database = context.keys.selected();
    let (mut jobs, mut missing) = (Vec::with_capacity(payloads.len()), Vec::new());
    for payload in payloads {
        let job = Job::new(&payload);
        let (id, identity) = (id_of(&job), job.identity());
        let tenant = sharing.tenant(&job).map(Cow::into_owned);
        let mut reserved =
            Reserved { id, identity, tenant, attempt: 1, cursor: Vec::new(), returned: None, payload: Bytes::new() };
        if let Some(returned) = context.jobs.leases.returned(database, identity) {
            reserved.attempt = returned.attempts.saturating_add(1);
            reserved.returned = Some(returned.number);
            match read(context, returned.number) {
                Ok(bytes) => reserved.cursor = decode(&bytes)?.cursor.into_owned(),
                Err(Stop::Fetch(more)) => missing.extend(more),
                Err(other) => return Err(other),
            }
        }
        jobs.push(Reserved { payload, ..reserved });
    }
    if !missing.is_empty() {
        missing.sort_unstable();
        missing.dedup();
        return Err(Stop::Fetch(missing));
    }
    Ok(Some(Taken { key, slot, side, ordinals, jobs, charges }))
}

/// The jobs at an end, as many as are wanted and are not too large together.
fn at_end(context: &Context, slot: Slot, side: Side, count: u64) -> Result<Vec<Bytes>, Stop> {
    let (mut jobs, mut bytes, mut missing) = (Vec::new(), 0, Vec::new());
    let mut left = count;
    for chunk in context.keys.list(slot).chunks_from(side, None) {
        bytes += chunk.data_bytes();
        missing.extend(chunk.missing().map(|at| context.keys.chunk_ref(slot, at)));
        if missing.is_empty() {
            jobs.extend(chunk.items().take(left as usize).map(|(_, item)| Bytes::copy_from_slice(item)));
        }
        left = left.saturating_sub(chunk.live());
        if left == 0 || bytes > BYTES_MAX {
            break;
        }
    }
    if missing.is_empty() { Ok(jobs) } else { Err(Stop::Fetch(missing)) }
}

impl Taken {
    /// Takes the jobs out of their queue, into the list of what the server answers for.
    fn take(self, context: &mut Context, options: &Options, replies: &mut Vec<Reply>) -> Result<(), Stop> {
        let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
        match &self.ordinals {
            None => context.keys.pop(self.slot, self.side, self.jobs.len() as u64)?,
            Some(ordinals) => context.keys.take_items(self.slot, self.side, ordinals)?,
        }
        let mut returned = Vec::new();
        let mut charges = self.charges.begin(context).into_iter();
        for job in self.jobs {
            let token = context.jobs.leases.free_token(database, &job.id, job.attempt);
            let mut told = vec![
                ("attempt", number(u64::from(job.attempt))),
                ("lease_ms", number(options.lease_ms)),
                ("tenant", job.tenant.map_or(Reply::Null, text)),
            ];
            if !job.cursor.is_empty() {
                told.push(("cursor", text(&job.cursor)));
            }
            replies.push(Reply::Array(vec![
                text(&self.key),
                text(&token),
                Reply::Bulk(job.payload.clone()),
                map(told),
            ]));
            let counted = charges.next().unwrap_or_default();
            let record = Record {
                stage: Stage::Leased,
                identity: job.identity,
                attempt: job.attempt,
                at_ms: now_ms,
                lease_ms: options.lease_ms,
                queue: Cow::Borrowed(&self.key),
                token: token.into(),
                worker: Cow::Borrowed(&options.worker),
                cursor: job.cursor.into(),
                charges: counted.charges,
                account: counted.account,
                payload: Cow::Borrowed(&job.payload),
            };
            hold(context, &record)?;
            if let Some(number) = job.returned {
                context.jobs.leases.went_out(database, job.identity);
                returned.push(number);
            }
        }
        erase(context, &returned)
    }
}

impl Options {
    fn read(words: &[Bytes]) -> Result<Options, Error> {
        let mut options = Options { count: 1, block_ms: None, lease_ms: LEASE_DEFAULT_MS, worker: String::new() };
        for pair in words.chunks(2) {
            let [name, value] = pair else {
                return Err(Error::new(format!("ERR {} needs a value", text_of(&pair[0]))));
            };
            if is(name, "count") {
                let count = not_negative(value).ok().filter(|count| (1..=COUNT_MAX).contains(count));
                options.count = count.ok_or_else(|| {
                    Error::new(format!("ERR COUNT takes a number from 1 to {COUNT_MAX}, not '{}'", text_of(value)))
                })?;
            } else if is(name, "block") {
                let wrong =
                    || Error::new(format!("ERR BLOCK takes milliseconds, 0 for ever, not '{}'", text_of(value)));
                options.block_ms = Some(not_negative(value).map_err(|_| wrong())?);
            } else if is(name, "lease") {
                options.lease_ms = duration_ms("LEASE", value, LEASE_MAX_MS)?;
            } else if is(name, "worker") {
                options.worker = name_of("WORKER", value)?;
            } else {
                return Err(Error::new(format!(
                    "ERR '{}' is no option here; there are COUNT, BLOCK, LEASE and WORKER, then FROM",
                    text_of(name)
                )));
            }
        }
        Ok(options)
    }
}
