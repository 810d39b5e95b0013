//! Blocking: a command that finds nothing says what it waits for, and is run again when that grows.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::Now;
use crate::keyspace::Kind;
use crate::resp::{Error, Reply, parse_double};

use super::{Context, Outcome, Stop};

/// Redis takes no timeout that would overflow its clock; this is some 290 million years.
const TIMEOUT_SECONDS_MAX: f64 = i64::MAX as f64 / 1000.0;

/// What a parked client waits for.
#[derive(Debug, Clone, PartialEq)]
pub struct Wait {
    /// In the order of the arguments.
    pub keys: Vec<Bytes>,
    /// A key that becomes something else is not what it waits for, so it goes on waiting.
    pub kind: Kind,
    /// On the monotonic clock; none waits for ever.
    pub until: Option<Duration>,
    /// What is answered when the time is over.
    pub timed_out: Reply,
}

/// Parks the client, unless it is inside a transaction or a script: there, nothing is there at once.
pub fn wait_for(context: &Context, keys: &[Bytes], kind: Kind, until: Option<Duration>) -> Outcome {
    if !context.may_block() {
        return Ok(Reply::NullArray);
    }
    Err(Stop::Wait(Wait { keys: keys.to_vec(), kind, until, timed_out: Reply::NullArray }))
}

/// Reads a timeout in seconds, which may be fractional, into a moment; 0 is for ever.
pub fn deadline(text: &[u8], now: Now) -> Result<Option<Duration>, Error> {
    let seconds = parse_double(text).ok_or(Error::new("ERR timeout is not a float or out of range"))?;
    if seconds < 0.0 {
        return Err(Error::new("ERR timeout is negative"));
    }
    if seconds > TIMEOUT_SECONDS_MAX {
        return Err(Error::new("ERR timeout is out of range"));
    }
    if seconds == 0.0 {
        return Ok(None);
    }
    // Never early: what is less than a millisecond counts as one, as in Redis.
    Ok(Some(now.mono.saturating_add(Duration::from_millis((seconds * 1000.0).ceil() as u64))))
}
