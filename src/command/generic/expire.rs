//! When keys expire.

use bytes::Bytes;

use crate::resp::{Error, Reply};

use super::super::argument::is;
use super::super::expiry::expiry;
use super::super::{Command, Context, Flag, Group, Keys, Outcome};

const WRITE_FAST: &[Flag] = &[Flag::Write, Flag::Fast];
const READ_FAST: &[Flag] = &[Flag::ReadOnly, Flag::Fast];

/// What TTL and its like answer for a key that is not there, and for one that does not expire.
const NO_KEY: i64 = -2;
const NO_EXPIRY: i64 = -1;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "expire",
        run: |context, request| {
            let base_ms = context.now.wall_ms() as i64;
            set_expiry(context, request, 1000, base_ms, "expire")
        },
        syntax: "key seconds [NX | XX | GT | LT]",
        summary: "Sets the expiration time of a key in seconds.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: WRITE_FAST,
        keys: Keys::ONE,
        examples: &[
            "EXPIRE k 100",
            "SET k 1",
            "EXPIRE k 100 XX",
            "EXPIRE k 100 GT",
            "EXPIRE k 100 NX",
            "EXPIRE k 200 NX",
            "EXPIRE k 50 GT",
            "EXPIRE k 200 GT",
            "EXPIRE k 300 LT",
            "EXPIRE k 100 LT",
            "TTL k",
            "EXPIRE k 50 XX LT",
            "EXPIRE k 1 NX XX",
            "EXPIRE k 1 GT LT",
            "EXPIRE k 1 BAD",
            "EXPIRE k x",
            "EXPIRE k 9223372036854775807",
            "EXPIRE k -9223372036854775808",
            "EXPIRE k 9223372036854775",
            "EXPIRE k -1",
            "EXISTS k",
        ],
    },
    Command {
        name: "pexpire",
        run: |context, request| {
            let base_ms = context.now.wall_ms() as i64;
            set_expiry(context, request, 1, base_ms, "pexpire")
        },
        syntax: "key milliseconds [NX | XX | GT | LT]",
        summary: "Sets the expiration time of a key in milliseconds.",
        since: "2.6.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: WRITE_FAST,
        keys: Keys::ONE,
        examples: &["SET k 1", "PEXPIRE k 100000", "TTL k", "PEXPIRE k 9223372036854775807", "PEXPIRE k 0", "EXISTS k"],
    },
    Command {
        name: "expireat",
        run: |context, request| set_expiry(context, request, 1000, 0, "expireat"),
        syntax: "key unix-time-seconds [NX | XX | GT | LT]",
        summary: "Sets the expiration time of a key to a Unix timestamp.",
        since: "1.2.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: WRITE_FAST,
        keys: Keys::ONE,
        examples: &[
            "SET k 1",
            "EXPIREAT k 99999999999",
            "EXPIRETIME k",
            "EXPIREAT k 9223372036854775807",
            "EXPIREAT k 1",
            "EXISTS k",
        ],
    },
    Command {
        name: "pexpireat",
        run: |context, request| set_expiry(context, request, 1, 0, "pexpireat"),
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
        summary: "Sets the expiration time of a key to a Unix milliseconds timestamp.",
        since: "2.6.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: WRITE_FAST,
        keys: Keys::ONE,
        examples: &[
            "SET k 1",
            "PEXPIREAT k 99999999999999",
            "PEXPIRETIME k",
            "PEXPIREAT k -5",
            "EXISTS k",
            "PEXPIREAT k 5",
        ],
    },
    Command {
        name: "ttl",
        run: |context, request| {
            let now_ms = context.now.wall_ms();
            Ok(remaining(context, &request[1], 1000, now_ms))
        },
        syntax: "key",
        summary: "Returns the expiration time in seconds of a key.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["TTL k", "SET k 1", "TTL k", "EXPIRE k 100", "TTL k"],
    },
    Command {
        name: "pttl",
        run: |context, request| {
            let now_ms = context.now.wall_ms();
            Ok(remaining(context, &request[1], 1, now_ms))
        },
        syntax: "key",
        summary: "Returns the expiration time in milliseconds of a key.",
        since: "2.6.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["PTTL k", "SET k 1", "PTTL k"],
    },
    Command {
        name: "expiretime",
        run: |context, request| Ok(remaining(context, &request[1], 1000, 0)),
        syntax: "key",
        summary: "Returns the expiration time of a key as a Unix timestamp.",
        since: "7.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["EXPIRETIME k", "SET k 1", "EXPIRETIME k", "PEXPIREAT k 99999999999501", "EXPIRETIME k"],
    },
    Command {
        name: "pexpiretime",
        run: |context, request| Ok(remaining(context, &request[1], 1, 0)),
        syntax: "key",
        summary: "Returns the expiration time of a key as a Unix milliseconds timestamp.",
        since: "7.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["PEXPIRETIME k", "SET k 1 PXAT 99999999999501", "PEXPIRETIME k"],
    },
    Command {
        name: "persist",
        run: |context, request| {
            let found = context.keys.find(&request[1]);
            let Some(slot) = found.filter(|slot| context.keys.object(*slot).expire_ms != 0) else {
                return Ok(Reply::Integer(0));
            };
            context.keys.set_expiry(slot, None)?;
            Ok(Reply::Integer(1))
        },
        syntax: "key",
        summary: "Removes the expiration time of a key.",
        since: "2.2.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: WRITE_FAST,
        keys: Keys::ONE,
        examples: &["PERSIST k", "SET k 1 EX 100", "PERSIST k", "PERSIST k", "TTL k"],
    },
];

/// Which expiry a key must have to get another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Condition {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

impl Condition {
    fn read(words: &[Bytes]) -> Result<Condition, Error> {
        let mut condition = Condition::default();
        for word in words {
            match word {
                word if is(word, "nx") => condition.none = true,
                word if is(word, "xx") => condition.some = true,
                word if is(word, "gt") => condition.later = true,
                word if is(word, "lt") => condition.earlier = true,
                word => return Err(Error::new(format!("ERR Unsupported option {}", String::from_utf8_lossy(word)))),
            }
        }
        if condition.none && (condition.some || condition.later || condition.earlier) {
            return Err(Error::constant("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if condition.later && condition.earlier {
            return Err(Error::constant("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// A key without an expiry counts as one that expires at the end of time.
    fn holds(self, old_ms: Option<i64>, new_ms: i64) -> bool {
        let later = old_ms.is_some_and(|old_ms| new_ms > old_ms);
        let earlier = old_ms.is_none_or(|old_ms| new_ms < old_ms);
        !(self.none && old_ms.is_some()
            || self.some && old_ms.is_none()
            || self.later && !later
            || self.earlier && !earlier)
    }
}

fn set_expiry(context: &mut Context, request: &[Bytes], unit_ms: i64, base_ms: i64, command: &str) -> Outcome {
    let condition = Condition::read(&request[3..])?;
    let at_ms = expiry(&request[2], unit_ms, base_ms, command)?;
    let Some(slot) = context.keys.find(&request[1]) else { return Ok(Reply::Integer(0)) };
    let old_ms = Some(context.keys.object(slot).expire_ms as i64).filter(|old_ms| *old_ms != 0);
    if !condition.holds(old_ms, at_ms) {
        return Ok(Reply::Integer(0));
    }
    match u64::try_from(at_ms) {
        Ok(at_ms) if at_ms > context.keys.now_ms() => context.keys.set_expiry(slot, Some(at_ms))?,
        _ => context.keys.delete(slot)?,
    }
    Ok(Reply::Integer(1))
}

/// The time from a base to a key's expiry, in units of so many milliseconds, rounded to the nearest.
fn remaining(context: &mut Context, key: &[u8], unit_ms: u64, base_ms: u64) -> Reply {
    let Some(slot) = context.keys.find(key) else { return Reply::Integer(NO_KEY) };
    match context.keys.object(slot).expire_ms {
        0 => Reply::Integer(NO_EXPIRY),
        at_ms => Reply::Integer(((at_ms.saturating_sub(base_ms) + unit_ms / 2) / unit_ms) as i64),
    }
}
