//! JOB.ADD: a job into a queue, by whoever has no job library.

use std::borrow::Cow;

use bytes::Bytes;
use rand::RngExt;

use crate::job::{Job, namespace_of, parse_duration_ms};
use crate::keyspace::Kind;
use crate::resp::Error;

use super::record::{Record, Stage};
use super::{DELAY_MAX_MS, NAME_BYTES_MAX, hold, id_of, queue_of, room, worker_end};
use crate::command::argument::{is, not_negative};
use crate::command::job::registry::in_system;
use crate::command::job::{serve, text, text_of};
use crate::command::limit::check_value;
use crate::command::{Context, Outcome, Stop};

#[derive(Default)]
struct Options {
    id: Option<String>,
    due_ms: Option<u64>,
    unique: Option<(Bytes, u64)>,
}

/// Adds a job; see the declaration.
pub fn add(context: &mut Context, request: &[Bytes]) -> Outcome {
    let now_ms = context.keys.now_ms();
    let options = Options::read(&request[3..], now_ms)?;
    check_value(context, request[2].len())?;
    let payload = with_id(context, &request[2], options.id)?;
    let job = Job::new(&payload);
    let id = id_of(&job);
    let (key, slot) = queue_of(context, &request[1])?;
    let database = context.keys.selected();
    if let Some((unique, _)) = &options.unique {
        let lock = lock_key(database, unique);
        let holder = in_system(context, |context| {
            let slot = context.keys.find_kind(&lock, Kind::String)?;
            Ok(slot.map(|slot| context.keys.string(slot).to_vec()))
        })?;
        if let Some(holder) = holder {
            return Ok(text(holder));
        }
    }
    let names = names_of(&key).filter(|_| slot.is_none());
    if let Some((set, name)) = &names {
        // Something else may have that name; then the queue goes without.
        match context.keys.find_kind(set, Kind::Set).map_err(Stop::from) {
            Ok(_) => {}
            Err(Stop::Error(_)) => {
                return Err(Error::new(format!(
                    "ERR '{}' is not a set, so the new queue '{}' cannot be named in it",
                    String::from_utf8_lossy(set),
                    String::from_utf8_lossy(name)
                ))
                .into());
            }
            Err(other) => return Err(other),
        }
    }
    let is_later = options.due_ms.is_some_and(|due_ms| due_ms > now_ms);
    if is_later {
        room(context)?;
        let record = Record {
            stage: Stage::Delayed,
            identity: job.identity(),
            attempt: 0,
            at_ms: options.due_ms.unwrap_or(now_ms),
            lease_ms: 0,
            queue: Cow::Borrowed(&key),
            token: context.jobs.leases.free_token(database, &id, 1).into(),
            worker: Cow::Borrowed(""),
            cursor: Cow::Borrowed(b""),
            charges: Vec::new(),
            account: None,
            payload: Cow::Borrowed(&payload),
        };
        hold(context, &record)?;
    } else {
        let side = worker_end(context, &key, &payload)?.other();
        serve::push(context, &key, side, &[&payload], true)?;
    }
    if let Some((set, name)) = names {
        let slot = context.keys.find_or_create(&set, Kind::Set)?;
        if !context.keys.set(slot).contains(&name) {
            context.keys.add_members(slot, &[&name])?;
        }
    }
    if let Some((unique, lasts_ms)) = options.unique {
        let lock = lock_key(database, &unique);
        in_system(context, |context| {
            let slot = context.keys.find_or_create(&lock, Kind::String)?;
            context.keys.write_string(slot, id.as_bytes())?;
            Ok(context.keys.set_expiry(slot, Some(now_ms + lasts_ms))?)
        })?;
    }
    Ok(text(id))
}

/// The set in which job libraries keep the names of queues, and the name of this one in it.
fn names_of(key: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (namespace, name) = namespace_of(key);
    let is_queue = key.strip_suffix(name).is_some_and(|before| before.ends_with(b"queue:"));
    is_queue.then(|| ([namespace, b"queues"].concat(), name.to_vec()))
}

fn lock_key(database: usize, unique: &[u8]) -> Vec<u8> {
    [format!("unique:{database}:").as_bytes(), unique].concat()
}

/// The payload, with an id in it where it is a job without one.
fn with_id<'a>(context: &mut Context, payload: &'a [u8], id: Option<String>) -> Result<Cow<'a, [u8]>, Error> {
    let job = Job::new(payload);
    match (job.has_fields(), job.id(), id) {
        (true, Some(own), Some(id)) if own != id => {
            Err(Error::new(format!("ERR the payload has an id of its own, '{own}', which is not ID '{id}'")))
        }
        (true, Some(_), _) => Ok(payload.into()),
        (true, None, id) => {
            // As many digits as Sidekiq gives one.
            let id = id.unwrap_or_else(|| format!("{:024x}", context.random.random::<u128>() >> 32));
            let begin = payload.iter().position(|byte| *byte == b'{').expect("a job is a JSON object") + 1;
            let is_empty = payload[begin..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
            let jid = format!("\"jid\":{}{}", serde_json::Value::from(id), if is_empty { "" } else { "," });
            Ok([&payload[..begin], jid.as_bytes(), &payload[begin..]].concat().into())
        }
        (false, _, Some(_)) => Err(Error::constant("ERR ID needs a payload that is a JSON object, to stand in it")),
        (false, _, None) => Ok(payload.into()),
    }
}

impl Options {
    fn read(words: &[Bytes], now_ms: u64) -> Result<Options, Error> {
        let mut options = Options::default();
        let mut at = 0;
        while at < words.len() {
            let name = &words[at];
            let value = words.get(at + 1).ok_or_else(|| Error::new(format!("ERR {} needs a value", text_of(name))))?;
            if is(name, "id") {
                options.id = Some(name_of("ID", value)?);
            } else if is(name, "delay") {
                options.due_ms = Some(now_ms + duration_ms("DELAY", value, DELAY_MAX_MS)?);
            } else if is(name, "at") {
                let due_ms = not_negative(value).ok().filter(|due_ms| *due_ms <= now_ms + DELAY_MAX_MS);
                let wrong =
                    || format!("ERR AT takes Unix milliseconds, ten years ahead at the most, not '{}'", text_of(value));
                options.due_ms = Some(due_ms.ok_or_else(|| Error::new(wrong()))?);
            } else if is(name, "unique") {
                let (Some(word), Some(lasts)) = (words.get(at + 2).filter(|word| is(word, "for")), words.get(at + 3))
                else {
                    return Err(Error::constant("ERR UNIQUE takes a key and FOR duration"));
                };
                let _ = word;
                options.unique = Some((value.clone(), duration_ms("FOR", lasts, DELAY_MAX_MS)?));
                at += 2;
            } else {
                return Err(Error::new(format!(
                    "ERR '{}' is no option here; there are ID, DELAY, AT and UNIQUE",
                    text_of(name)
                )));
            }
            at += 2;
        }
        Ok(options)
    }
}

/// Reads a duration that is not 0 and no longer than `max_ms`.
pub fn duration_ms(option: &str, value: &[u8], max_ms: u64) -> Result<u64, Error> {
    let read = std::str::from_utf8(value).ok().and_then(|text| parse_duration_ms(text).ok());
    read.filter(|duration| (1..=max_ms).contains(duration)).ok_or_else(|| {
        let most = crate::job::format_duration(max_ms);
        Error::new(format!(
            "ERR {option} takes a duration such as 250ms, 30s or 5m, {most} at the most, not '{}'",
            String::from_utf8_lossy(value)
        ))
    })
}

/// Reads the name of a job or of a worker.
pub fn name_of(option: &str, value: &[u8]) -> Result<String, Error> {
    let name = std::str::from_utf8(value).ok().filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
    name.map(str::to_owned).ok_or_else(|| Error::new(format!("ERR {option} takes 1 to {NAME_BYTES_MAX} bytes of text")))
}
