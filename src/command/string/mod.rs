//! Strings as whole values; parts of them, counters and LCS have files of their own.

pub mod counter;
pub mod lcs;
pub mod part;

use bytes::Bytes;

use crate::keyspace::{Keyspace, Kind, Miss, Slot, Value};
use crate::resp::{Error, Reply};

use super::argument::is;
use super::expiry::{expiry, invalid_expiry};
use super::limit::ReplyRoom;
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop};

const READ_FAST: &[Flag] = &[Flag::ReadOnly, Flag::Fast];
const WRITE: &[Flag] = &[Flag::Write, Flag::DenyOom];
const WRITE_FAST: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];
const TAKE_FAST: &[Flag] = &[Flag::Write, Flag::Fast];
const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

pub const COMMANDS: &[Command] = &[
    Command {
        name: "get",
        run: get,
        syntax: "key",
        summary: "Returns the string value of a key.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["GET k", "SET k \"a b\\x00\"", "GET k", "LPUSH q a", "GET q", "GET"],
    },
    Command {
        name: "set",
        run: set,
        syntax: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        summary: "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: WRITE,
        keys: Keys::ONE,
        examples: &[
            "SET k 1 XX",
            "SET k 1 NX",
            "SET k 2 NX",
            "SET k 2 XX GET",
            "SET k 3 EX 100",
            "TTL k",
            "SET k 4 KEEPTTL",
            "TTL k",
            "SET k 5",
            "TTL k",
            "SET n v NX GET",
            "SET n w NX GET",
            "GET n",
            "SET k 1 PXAT 99999999999999",
            "PEXPIRETIME k",
            "SET k 1 EXAT 99999999999",
            "EXPIRETIME k",
            "SET k 1 EXAT 1",
            "GET k",
            "SET k 1 EX 0",
            "SET k 1 PX -1",
            "SET k 1 EX x",
            "SET k 1 EX 9223372036854775807",
            "SET k 1 PX 9223372036854775807",
            "SET k 1 EX",
            "SET k 1 EX 1 PX 1",
            "SET k 1 EX 1 KEEPTTL",
            "SET k 1 NX XX",
            "SET k 1 PERSIST",
            "SET k 1 BAD",
            "LPUSH q a",
            "SET q v GET",
            "SET q v",
            "GET q",
        ],
    },
    Command {
        name: "setnx",
        run: |context, request| {
            if context.keys.find(&request[1]).is_some() {
                return Ok(Reply::Integer(0));
            }
            put_checked(context, &request[1], &request[2], Expiry::None)?;
            Ok(Reply::Integer(1))
        },
        syntax: "key value",
        summary: "Sets the string value of a key only when the key doesn't exist.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: WRITE_FAST,
        keys: Keys::ONE,
        examples: &["SETNX k 1", "SETNX k 2", "GET k", "LPUSH q a", "SETNX q 1"],
    },
    Command {
        name: "setex",
        run: |context, request| set_with_expiry(context, request, 1000, "setex"),
        syntax: "key seconds value",
        summary: "Sets the string value and expiration time of a key. Creates the key if it doesn't exist.",
        since: "2.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: WRITE,
        keys: Keys::ONE,
        examples: &["SETEX k 100 v", "TTL k", "GET k", "SETEX k 0 v", "SETEX k x v", "LPUSH q a", "SETEX q 10 v"],
    },
    Command {
        name: "psetex",
        run: |context, request| set_with_expiry(context, request, 1, "psetex"),
        syntax: "key milliseconds value",
        summary: "Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist.",
        since: "2.6.0",
        group: Group::String,
        complexity: "O(1)",
        flags: WRITE,
        keys: Keys::ONE,
        examples: &["PSETEX k 100000 v", "TTL k", "GET k", "PSETEX k -1 v", "PSETEX k 9223372036854775807 v"],
    },
    Command {
        name: "getset",
        run: |context, request| {
            let old = read(context, &request[1])?;
            put_checked(context, &request[1], &request[2], Expiry::None)?;
            Ok(old)
        },
        syntax: "key value",
        summary: "Returns the previous string value of a key after setting it to a new value.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: WRITE_FAST,
        keys: Keys::ONE,
        examples: &["GETSET k 1", "EXPIRE k 100", "GETSET k 2", "TTL k", "GET k", "LPUSH q a", "GETSET q 1"],
    },
    Command {
        name: "getdel",
        run: |context, request| {
            let Some(slot) = context.keys.find_kind(&request[1], Kind::String)? else { return Ok(Reply::Null) };
            let value = Reply::bulk(context.keys.string(slot));
            context.keys.delete(slot)?;
            Ok(value)
        },
        syntax: "key",
        summary: "Returns the string value of a key after deleting the key.",
        since: "6.2.0",
        group: Group::String,
        complexity: "O(1)",
        flags: TAKE_FAST,
        keys: Keys::ONE,
        examples: &["GETDEL k", "SET k 1", "GETDEL k", "EXISTS k", "LPUSH q a", "GETDEL q"],
    },
    Command {
        name: "getex",
        run: get_and_expire,
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        summary: "Returns the string value of a key after setting its expiration time.",
        since: "6.2.0",
        group: Group::String,
        complexity: "O(1)",
        flags: TAKE_FAST,
        keys: Keys::ONE,
        examples: &[
            "GETEX k EX 0",
            "SET k v",
            "GETEX k",
            "GETEX k EX 100",
            "TTL k",
            "GETEX k PERSIST",
            "TTL k",
            "GETEX k PX 100000",
            "TTL k",
            "GETEX k EX 0",
            "GETEX k EX 1 PERSIST",
            "GETEX k KEEPTTL",
            "GETEX k NX",
            "GETEX k EXAT 1",
            "EXISTS k",
            "LPUSH q a",
            "GETEX q EX 0",
        ],
    },
    Command {
        name: "mget",
        run: get_many,
        syntax: "key [key ...]",
        summary: "Atomically returns the string values of one or more keys.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(N) where N is the number of keys to retrieve.",
        flags: READ_FAST,
        keys: Keys::ALL,
        examples: &["SET a 1", "LPUSH q x", "SET b 2", "MGET a n q b a", "MGET"],
    },
    Command {
        name: "mset",
        run: |context, request| {
            check_pairs(context, request, "mset")?;
            put_pairs(context, request)?;
            Ok(Reply::Ok)
        },
        syntax: "key value [key value ...]",
        summary: "Atomically creates or modifies the string values of one or more keys.",
        since: "1.0.1",
        group: Group::String,
        complexity: "O(N) where N is the number of keys to set.",
        flags: WRITE,
        keys: PAIRS,
        examples: &["SET a 0 EX 100", "LPUSH q x", "MSET a 1 q 2 a 3", "MGET a q", "TTL a", "MSET a", "MSET a 1 b"],
    },
    Command {
        name: "msetnx",
        run: |context, request| {
            check_pairs(context, request, "msetnx")?;
            if request[1..].chunks(2).any(|pair| context.keys.find(&pair[0]).is_some()) {
                return Ok(Reply::Integer(0));
            }
            put_pairs(context, request)?;
            Ok(Reply::Integer(1))
        },
        syntax: "key value [key value ...]",
        summary: "Atomically modifies the string values of one or more keys only when all keys don't exist.",
        since: "1.0.1",
        group: Group::String,
        complexity: "O(N) where N is the number of keys to set.",
        flags: WRITE,
        keys: PAIRS,
        examples: &["MSETNX a 1 b 2", "MSETNX b 3 c 4", "MGET a b c", "MSETNX a 1 b", "MSETNX d 1 d 2", "GET d"],
    },
];

/// What becomes of the moment at which a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    None,
    Keep,
    /// Unix milliseconds.
    At(u64),
}

/// Puts a string under a key, whatever stands there. It never has to fetch.
pub fn put(keys: &mut Keyspace, key: &[u8], value: &[u8], expiry: Expiry) -> Result<(), Miss> {
    let old = keys.find(key);
    let old_expiry = old.map_or(0, |slot| keys.object(slot).expire_ms);
    let new_expiry = match expiry {
        Expiry::None => 0,
        Expiry::Keep => old_expiry,
        Expiry::At(at_ms) => at_ms,
    };
    if new_expiry != 0 && new_expiry <= keys.now_ms() {
        // The value would be gone before anybody could read it.
        return old.map_or(Ok(()), |slot| keys.delete(slot));
    }
    let in_place = old.filter(|slot| matches!(keys.object(*slot).value, Value::String(_)));
    let slot = match (in_place, old) {
        (Some(slot), _) => slot,
        (None, Some(slot)) => {
            keys.delete(slot)?;
            keys.create(key, Kind::String)?
        }
        (None, None) => keys.create(key, Kind::String)?,
    };
    keys.write_string(slot, value)?;
    if keys.object(slot).expire_ms != new_expiry {
        keys.set_expiry(slot, (new_expiry != 0).then_some(new_expiry))?;
    }
    Ok(())
}

/// Refuses a string that would be longer than a value may be.
pub fn check_string_bytes(context: &Context, bytes: u64) -> Result<(), Error> {
    if bytes > context.host.settings().value_bytes_max() {
        return Err(Error::constant("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    Ok(())
}

/// As [`put`], for a value that a client sent.
fn put_checked(context: &mut Context, key: &[u8], value: &[u8], expiry: Expiry) -> Result<(), Stop> {
    check_string_bytes(context, value.len() as u64)?;
    Ok(put(context.keys, key, value, expiry)?)
}

fn get(context: &mut Context, request: &[Bytes]) -> Outcome {
    read(context, &request[1])
}

fn read(context: &mut Context, key: &[u8]) -> Outcome {
    let slot = context.keys.find_kind(key, Kind::String)?;
    Ok(slot.map_or(Reply::Null, |slot| Reply::bulk(context.keys.string(slot))))
}

fn set(context: &mut Context, request: &[Bytes]) -> Outcome {
    let options = Options::read(&request[3..], Form::Set)?;
    let expiry = match options.time {
        Some(time) => Expiry::At(time.moment(context, "set")?),
        None if options.keep => Expiry::Keep,
        None => Expiry::None,
    };
    let old = if options.get { Some(read(context, &request[1])?) } else { None };
    let found = context.keys.find(&request[1]).is_some();
    if options.condition.is_some_and(|wanted| wanted != found) {
        return Ok(old.unwrap_or(Reply::Null));
    }
    put_checked(context, &request[1], &request[2], expiry)?;
    Ok(old.unwrap_or(Reply::Ok))
}

/// Who reads the options: SET and GETEX share some.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Set,
    GetEx,
}

#[derive(Debug, Default)]
struct Options<'a> {
    /// The key must exist, or must not.
    condition: Option<bool>,
    get: bool,
    keep: bool,
    persist: bool,
    time: Option<Time<'a>>,
}

/// A time as the client gave it; it is read only after all options.
#[derive(Debug, Clone, Copy)]
struct Time<'a> {
    text: &'a [u8],
    unit: TimeUnit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeUnit {
    ms: i64,
    absolute: bool,
}

impl<'a> Options<'a> {
    fn read(mut words: &'a [Bytes], form: Form) -> Result<Options<'a>, Error> {
        let mut options = Options::default();
        while let Some((word, rest)) = words.split_first() {
            words = rest;
            match word {
                word if form == Form::Set && is(word, "nx") => options.require(false)?,
                word if form == Form::Set && is(word, "xx") => options.require(true)?,
                word if form == Form::Set && is(word, "get") => options.get = true,
                word if form == Form::Set && is(word, "keepttl") && options.time.is_none() => options.keep = true,
                word if form == Form::GetEx && is(word, "persist") && options.time.is_none() => options.persist = true,
                word => {
                    let unit = time_unit(word).ok_or(Error::SYNTAX)?;
                    let (text, rest) = words.split_first().ok_or(Error::SYNTAX)?;
                    words = rest;
                    options.expire(Time { text, unit })?;
                }
            }
        }
        Ok(options)
    }

    fn require(&mut self, exists: bool) -> Result<(), Error> {
        match self.condition.replace(exists) {
            Some(before) if before != exists => Err(Error::SYNTAX),
            _ => Ok(()),
        }
    }

    /// The same option may stand twice; two that contradict each other may not.
    fn expire(&mut self, time: Time<'a>) -> Result<(), Error> {
        if self.keep || self.persist || self.time.is_some_and(|other| other.unit != time.unit) {
            return Err(Error::SYNTAX);
        }
        self.time = Some(time);
        Ok(())
    }
}

fn time_unit(word: &[u8]) -> Option<TimeUnit> {
    Some(match word {
        word if is(word, "ex") => TimeUnit { ms: 1000, absolute: false },
        word if is(word, "px") => TimeUnit { ms: 1, absolute: false },
        word if is(word, "exat") => TimeUnit { ms: 1000, absolute: true },
        word if is(word, "pxat") => TimeUnit { ms: 1, absolute: true },
        _ => return None,
    })
}

impl Time<'_> {
    /// The moment in Unix milliseconds; a time must be above zero.
    fn moment(self, context: &Context, command: &str) -> Result<u64, Error> {
        let base_ms = if self.unit.absolute { 0 } else { context.now.wall_ms() as i64 };
        let moment = expiry(self.text, self.unit.ms, base_ms, command)?;
        if self.text.starts_with(b"-") || self.text == b"0" {
            return Err(invalid_expiry(command));
        }
        Ok(moment as u64)
    }
}

fn set_with_expiry(context: &mut Context, request: &[Bytes], unit_ms: i64, command: &str) -> Outcome {
    let time = Time { text: &request[2], unit: TimeUnit { ms: unit_ms, absolute: false } };
    let expiry = Expiry::At(time.moment(context, command)?);
    put_checked(context, &request[1], &request[3], expiry)?;
    Ok(Reply::Ok)
}

fn get_and_expire(context: &mut Context, request: &[Bytes]) -> Outcome {
    let options = Options::read(&request[2..], Form::GetEx)?;
    let Some(slot) = context.keys.find_kind(&request[1], Kind::String)? else { return Ok(Reply::Null) };
    let moment = options.time.map(|time| time.moment(context, "getex")).transpose()?;
    let value = Reply::bulk(context.keys.string(slot));
    match moment {
        Some(at_ms) if at_ms <= context.keys.now_ms() => context.keys.delete(slot)?,
        Some(at_ms) => context.keys.set_expiry(slot, Some(at_ms))?,
        None if options.persist && context.keys.object(slot).expire_ms != 0 => context.keys.set_expiry(slot, None)?,
        None => {}
    }
    Ok(value)
}

fn get_many(context: &mut Context, request: &[Bytes]) -> Outcome {
    let slots = find_strings(context, &request[1..])?;
    let mut room = ReplyRoom::new(context);
    let mut values = Vec::with_capacity(slots.len());
    for slot in slots {
        let string = slot.map(|slot| context.keys.string(slot));
        room.take(string.map_or(0, <[u8]>::len))?;
        values.push(string.map_or(Reply::Null, Reply::bulk));
    }
    Ok(Reply::Array(values))
}

/// Finds those of the keys that hold strings; what is not in memory is asked for at once.
pub fn find_strings(context: &mut Context, keys: &[Bytes]) -> Result<Vec<Option<Slot>>, Stop> {
    let (mut slots, mut missing) = (Vec::with_capacity(keys.len()), Vec::new());
    for key in keys {
        match context.keys.find_kind(key, Kind::String) {
            Ok(slot) => slots.push(slot),
            Err(Miss::WrongType) => slots.push(None),
            Err(Miss::Fetch(more)) => missing.extend(more),
            Err(other) => return Err(other.into()),
        }
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() { Ok(slots) } else { Err(Stop::Fetch(missing)) }
}

fn check_pairs(context: &Context, request: &[Bytes], command: &str) -> Result<(), Stop> {
    if request.len().is_multiple_of(2) {
        return Err(Error::new(format!("ERR wrong number of arguments for '{command}' command")).into());
    }
    for pair in request[1..].chunks(2) {
        check_string_bytes(context, pair[1].len() as u64)?;
    }
    Ok(())
}

fn put_pairs(context: &mut Context, request: &[Bytes]) -> Result<(), Stop> {
    for pair in request[1..].chunks(2) {
        put(context.keys, &pair[0], &pair[1], Expiry::None)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn a_value_set_over_another_is_one_effect() {
        let mut bench = Bench::default();
        bench.run("SET k 1");
        bench.run("SET k 2");
        let frame = bench.frames.last().expect("a frame was written");
        assert!(frame.len() < 8, "only the write is logged: {frame:?}");
    }

    #[test]
    fn a_refused_set_writes_nothing() {
        let mut bench = Bench::default();
        bench.run("SET k 1");
        bench.frames.clear();
        for line in ["SET k 2 NX", "SET n 2 XX", "SET k 2 EX 0", "SET k 2 NX GET", "SETNX k 2", "MSETNX a 1 k 2"] {
            bench.run(line);
            assert!(bench.frames.is_empty(), "{line}");
        }
    }

    #[test]
    fn a_key_expires() {
        let mut bench = Bench::default();
        bench.run("SET k 1 PX 100");
        bench.pass_ms(99);
        assert_eq!(bench.run("GET k"), Reply::bulk("1"));
        bench.pass_ms(1);
        assert_eq!(bench.run("SET k 2 XX"), Reply::Null);
        assert_eq!(bench.run("GET k"), Reply::Null);
    }

    #[test]
    fn a_value_over_the_limit_is_refused() {
        let mut bench = Bench::default();
        bench.host.settings.maxmemory_bytes = 40;
        assert_eq!(bench.run("SET k 0123456789"), Reply::Ok);
        for line in ["SET k 01234567890", "APPEND k x", "SETRANGE k 10 x", "MSET a 01234567890", "SETBIT k 80 1"] {
            let Reply::Error(error) = bench.run(line) else { panic!("{line} is taken") };
            assert_eq!(error.line(), "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        }
    }
}
