//! Hashes: fields with values.

use bytes::Bytes;

use crate::keyspace::{Hash, Kind, Slot};
use crate::resp::{Error, Reply};

use super::argument::{distinct, integer, strict_integer};
use super::limit::{ReplyRoom, check_growth};
use super::random::{count_with, pick};
use super::scan::{ScanOptions, cursor, scanned};
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop, long_double};

const PUT: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];
const REMOVE: &[Flag] = &[Flag::Write, Flag::Fast];
const READ: &[Flag] = &[Flag::ReadOnly];
const READ_FAST: &[Flag] = &[Flag::ReadOnly, Flag::Fast];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "hset",
        run: |context, request| put(context, request).map(|created| Reply::Integer(created as i64)),
        syntax: "key field value [field value ...]",
        summary: "Creates or modifies the value of a field in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(log(N)) for each field/value pair added.",
        flags: PUT,
        keys: Keys::ONE,
        examples: &["HSET h a 1 b 2", "HSET h a 3 c 4 c 5", "HGET h c", "HSET h a", "SET s 1", "HSET s a 1"],
    },
    Command {
        name: "hmset",
        run: |context, request| put(context, request).map(|_| Reply::Ok),
        syntax: "key field value [field value ...]",
        summary: "Sets the values of multiple fields.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(log(N)) for each field/value pair added.",
        flags: PUT,
        keys: Keys::ONE,
        examples: &["HMSET h a 1 b 2", "HGET h b", "HMSET h a 1 b"],
    },
    Command {
        name: "hsetnx",
        run: put_if_absent,
        syntax: "key field value",
        summary: "Sets the value of a field in a hash only when the field doesn't exist.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(log(N))",
        flags: PUT,
        keys: Keys::ONE,
        examples: &["HSETNX h a 1", "HSETNX h a 2", "HGET h a"],
    },
    Command {
        name: "hget",
        run: get,
        syntax: "key field",
        summary: "Returns the value of a field in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["HSET h a 1", "HGET h a", "HGET h b", "HGET none a", "SET s 1", "HGET s a"],
    },
    Command {
        name: "hmget",
        run: get_many,
        syntax: "key field [field ...]",
        summary: "Returns the values of all fields in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(M*log(N)) where M is the number of fields being requested.",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["HSET h a 1 b 2", "HMGET h a x b a", "HMGET none a b", "SET s 1", "HMGET s a"],
    },
    Command {
        name: "hgetall",
        run: get_all,
        syntax: "key",
        summary: "Returns all fields and values in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(N) where N is the size of the hash.",
        flags: READ,
        keys: Keys::ONE,
        examples: &["HSET h a 1", "HGETALL h", "HGETALL none", "SET s 1", "HGETALL s"],
    },
    Command {
        name: "hkeys",
        run: |context, request| list(context, request, |field, _| field),
        syntax: "key",
        summary: "Returns all fields in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(N) where N is the size of the hash.",
        flags: READ,
        keys: Keys::ONE,
        examples: &["HSET h a 1", "HKEYS h", "HKEYS none"],
    },
    Command {
        name: "hvals",
        run: |context, request| list(context, request, |_, value| value),
        syntax: "key",
        summary: "Returns all values in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(N) where N is the size of the hash.",
        flags: READ,
        keys: Keys::ONE,
        examples: &["HSET h a 1", "HVALS h", "HVALS none"],
    },
    Command {
        name: "hdel",
        run: remove,
        syntax: "key field [field ...]",
        summary: "Deletes one or more fields and their values from a hash. Deletes the hash if no fields remain.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(M*log(N)) where M is the number of fields to be removed.",
        flags: REMOVE,
        keys: Keys::ONE,
        examples: &["HSET h a 1 b 2 c 3", "HDEL h a x a", "HDEL h b c", "EXISTS h", "HDEL h b", "SET s 1", "HDEL s a"],
    },
    Command {
        name: "hexists",
        run: exists,
        syntax: "key field",
        summary: "Determines whether a field exists in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["HSET h a 1", "HEXISTS h a", "HEXISTS h b", "HEXISTS none a"],
    },
    Command {
        name: "hlen",
        run: length,
        syntax: "key",
        summary: "Returns the number of fields in a hash.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["HLEN h", "HSET h a 1 b 2", "HLEN h"],
    },
    Command {
        name: "hstrlen",
        run: value_length,
        syntax: "key field",
        summary: "Returns the length of the value of a field.",
        since: "3.2.0",
        group: Group::Hash,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["HSET h a hello", "HSTRLEN h a", "HSTRLEN h b", "HSTRLEN none a"],
    },
    Command {
        name: "hincrby",
        run: increment,
        syntax: "key field increment",
        summary: "Increments the integer value of a field in a hash by a number. Uses 0 as initial value if the field doesn't exist.",
        since: "2.0.0",
        group: Group::Hash,
        complexity: "O(log(N))",
        flags: PUT,
        keys: Keys::ONE,
        examples: &[
            "HINCRBY h a 5",
            "HINCRBY h a -7",
            "HSET h b x c 9223372036854775807 d \" 1\"",
            "HINCRBY h b 1",
            "HINCRBY h c 1",
            "HINCRBY h d 1",
            "HINCRBY h a x",
            "SET s 1",
            "HINCRBY s a 1",
        ],
    },
    Command {
        name: "hincrbyfloat",
        run: increment_float,
        syntax: "key field increment",
        summary: "Increments the floating point value of a field by a number. Uses 0 as initial value if the field doesn't exist.",
        since: "2.6.0",
        group: Group::Hash,
        complexity: "O(log(N))",
        flags: PUT,
        keys: Keys::ONE,
        examples: &[
            "HINCRBYFLOAT h a 10.5",
            "HINCRBYFLOAT h a 0.1",
            "HINCRBYFLOAT h a -5",
            "HINCRBYFLOAT h e 5.0e3",
            "HINCRBYFLOAT h a inf",
            "HINCRBYFLOAT h a x",
            "HSET h b x",
            "HINCRBYFLOAT h b 1",
        ],
    },
    Command {
        name: "hrandfield",
        run: random,
        syntax: "key [count [WITHVALUES]]",
        summary: "Returns one or more random fields from a hash.",
        since: "6.2.0",
        group: Group::Hash,
        complexity: "O(M*log(N)) where M is the number of fields returned.",
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "HRANDFIELD h",
            "HRANDFIELD h 2",
            "HSET h a 1",
            "HRANDFIELD h",
            "HRANDFIELD h 2",
            "HRANDFIELD h -3",
            "HRANDFIELD h 0",
            "HRANDFIELD h 2 WITHVALUES",
            "HRANDFIELD h -2 WITHVALUES",
            "HRANDFIELD h 1 x",
            "HRANDFIELD h x",
            "HRANDFIELD h -9223372036854775808",
        ],
    },
    Command {
        name: "hscan",
        run: scan,
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        summary: "Iterates over fields and values of a hash.",
        since: "2.8.0",
        group: Group::Hash,
        complexity: "O(1) for every call. O(N) for a complete iteration.",
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "HSET h a 1",
            "HSCAN h 0",
            "HSCAN h 0 MATCH b* COUNT 5",
            "HSCAN none 0",
            "HSCAN h x",
            "HSCAN h 0 COUNT 0",
            "HSCAN h 0 x",
            "SET s 1",
            "HSCAN s 0",
        ],
    },
];

/// Sets the fields of a request; answers how many are new.
fn put(context: &mut Context, request: &[Bytes]) -> Result<usize, Stop> {
    let arguments = &request[2..];
    if !arguments.len().is_multiple_of(2) {
        let name = String::from_utf8_lossy(&request[0]).to_lowercase();
        return Err(Error::new(format!("ERR wrong number of arguments for '{name}' command")).into());
    }
    let pairs: Vec<(&[u8], &[u8])> = arguments.chunks(2).map(|pair| (&pair[0][..], &pair[1][..])).collect();
    let slot = context.keys.find_kind(&request[1], Kind::Hash)?;
    put_pairs(context, &request[1], slot, &pairs)
}

/// Sets fields of a hash that may not be there yet; answers how many are new.
fn put_pairs(context: &mut Context, key: &[u8], slot: Option<Slot>, pairs: &[(&[u8], &[u8])]) -> Result<usize, Stop> {
    let hash = slot.map(|slot| context.keys.hash(slot));
    let added_bytes: usize = pairs.iter().map(|(field, value)| growth_bytes(hash, field, value)).sum();
    check_growth(context, hash.map_or(0, Hash::memory_bytes), added_bytes)?;
    let fields = hash.map_or(0, Hash::len);
    let slot = match slot {
        Some(slot) => slot,
        None => context.keys.create(key, Kind::Hash)?,
    };
    context.keys.put_fields(slot, pairs)?;
    Ok(context.keys.hash(slot).len() - fields)
}

/// By how much a hash grows with one field.
fn growth_bytes(hash: Option<&Hash>, field: &[u8], value: &[u8]) -> usize {
    match hash.and_then(|hash| hash.get(field)) {
        None => Hash::name_bytes(field) + value.len(),
        Some(old) => value.len().saturating_sub(old.len()),
    }
}

fn put_if_absent(context: &mut Context, request: &[Bytes]) -> Outcome {
    let slot = context.keys.find_kind(&request[1], Kind::Hash)?;
    if slot.is_some_and(|slot| context.keys.hash(slot).contains(&request[2])) {
        return Ok(Reply::Integer(0));
    }
    put_pairs(context, &request[1], slot, &[(&request[2], &request[3])])?;
    Ok(Reply::Integer(1))
}

fn find<'a>(context: &'a mut Context, key: &[u8]) -> Result<Option<&'a Hash>, Stop> {
    let slot = context.keys.find_kind(key, Kind::Hash)?;
    Ok(slot.map(|slot| context.keys.hash(slot)))
}

/// The value of a field, if the hash and the field are there.
fn find_value<'a>(context: &'a mut Context, key: &[u8], field: &[u8]) -> Result<Option<&'a [u8]>, Stop> {
    Ok(find(context, key)?.and_then(|hash| hash.get(field)).map(|value| &**value))
}

fn get(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(find_value(context, &request[1], &request[2])?.map_or(Reply::Null, Reply::bulk))
}

fn get_many(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut room = ReplyRoom::new(context);
    let hash = find(context, &request[1])?;
    let mut values = Vec::with_capacity(request.len() - 2);
    for field in &request[2..] {
        let value = hash.and_then(|hash| hash.get(field));
        room.take(value.map_or(0, |value| value.len()))?;
        values.push(value.map_or(Reply::Null, Reply::bulk));
    }
    Ok(Reply::Array(values))
}

fn get_all(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut room = ReplyRoom::new(context);
    let Some(hash) = find(context, &request[1])? else { return Ok(Reply::Map(Vec::new())) };
    let mut pairs = Vec::with_capacity(hash.len());
    for (field, value) in hash.iter() {
        room.take(field.len() + value.len())?;
        pairs.push((Reply::bulk(field), Reply::bulk(value)));
    }
    Ok(Reply::Map(pairs))
}

/// Answers one half of every pair.
fn list(context: &mut Context, request: &[Bytes], half: for<'a> fn(&'a [u8], &'a [u8]) -> &'a [u8]) -> Outcome {
    let mut room = ReplyRoom::new(context);
    let Some(hash) = find(context, &request[1])? else { return Ok(Reply::Array(Vec::new())) };
    let mut halves = Vec::with_capacity(hash.len());
    for (field, value) in hash.iter() {
        let half = half(field, value);
        room.take(half.len())?;
        halves.push(Reply::bulk(half));
    }
    Ok(Reply::Array(halves))
}

fn remove(context: &mut Context, request: &[Bytes]) -> Outcome {
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Hash)? else { return Ok(Reply::Integer(0)) };
    let hash = context.keys.hash(slot);
    let fields = distinct(&request[2..], |field| hash.contains(field));
    if !fields.is_empty() {
        context.keys.remove_names(slot, &fields)?;
    }
    Ok(Reply::Integer(fields.len() as i64))
}

fn exists(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(Reply::flag(find_value(context, &request[1], &request[2])?.is_some()))
}

fn length(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(Reply::Integer(find(context, &request[1])?.map_or(0, |hash| hash.len() as i64)))
}

fn value_length(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(Reply::Integer(find_value(context, &request[1], &request[2])?.map_or(0, |value| value.len() as i64)))
}

fn increment(context: &mut Context, request: &[Bytes]) -> Outcome {
    let increment = integer(&request[3])?;
    let value = match find_value(context, &request[1], &request[2])? {
        None => 0,
        Some(value) => strict_integer(value).ok_or(Error::constant("ERR hash value is not an integer"))?,
    };
    let sum = value.checked_add(increment).ok_or(Error::constant("ERR increment or decrement would overflow"))?;
    let slot = context.keys.find_kind(&request[1], Kind::Hash)?;
    put_pairs(context, &request[1], slot, &[(&request[2], sum.to_string().as_bytes())])?;
    Ok(Reply::Integer(sum))
}

fn increment_float(context: &mut Context, request: &[Bytes]) -> Outcome {
    let alone = long_double::add(b"0", &request[3]).map_err(|error| {
        if error == Error::NOT_A_FLOAT { error } else { Error::constant("ERR value is NaN or Infinity") }
    })?;
    let sum = match find_value(context, &request[1], &request[2])? {
        None => alone,
        Some(value) => long_double::add(value, &request[3]).map_err(|error| {
            if error == Error::NOT_A_FLOAT { Error::constant("ERR hash value is not a float") } else { error }
        })?,
    };
    let slot = context.keys.find_kind(&request[1], Kind::Hash)?;
    put_pairs(context, &request[1], slot, &[(&request[2], sum.as_bytes())])?;
    Ok(Reply::bulk(sum))
}

fn random(context: &mut Context, request: &[Bytes]) -> Outcome {
    let asked = count_with(&request[2..], "withvalues")?;
    let mut room = ReplyRoom::new(context);
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Hash)? else {
        return Ok(if asked.is_some() { Reply::Array(Vec::new()) } else { Reply::Null });
    };
    let hash = context.keys.hash(slot);
    let (count, with_values) = asked.unwrap_or((1, false));
    let mut pairs = Vec::new();
    for (field, value) in pick(context.random, count, hash.len(), hash.iter(), |rank| hash.select(rank)) {
        room.take(field.len() + if with_values { value.len() } else { 0 })?;
        pairs.push((Reply::bulk(field), if with_values { Reply::bulk(value) } else { Reply::Null }));
    }
    if with_values {
        return Ok(Reply::Pairs(pairs));
    }
    let mut fields = pairs.into_iter().map(|(field, _)| field);
    Ok(match asked {
        None => fields.next().expect("a hash that is there has a field"),
        Some(_) => Reply::Array(fields.collect()),
    })
}

fn scan(context: &mut Context, request: &[Bytes]) -> Outcome {
    let cursor = cursor(&request[2])?;
    let mut room = ReplyRoom::new(context);
    let Some(hash) = find(context, &request[1])? else { return Ok(scanned(0, Vec::new())) };
    let options = ScanOptions::read(&request[3..])?;
    let (mut found, mut fits) = (Vec::new(), Ok(()));
    let next = hash.scan(cursor, options.count, |field, value| {
        if fits.is_ok() && options.matches(field) {
            fits = room.take(field.len() + value.len());
            found.extend([Reply::bulk(field), Reply::bulk(value)]);
        }
    });
    fits?;
    Ok(scanned(next, found))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    use super::*;

    #[test]
    fn a_scan_meets_every_field_once_although_others_come_and_go() {
        let mut bench = Bench::default();
        for number in 0..500 {
            bench.run(&format!("HSET h stays:{number} x"));
        }
        let (mut cursor, mut met) = ("0".to_owned(), Vec::new());
        for round in 0.. {
            let Reply::Array(reply) = bench.run(&format!("HSCAN h {cursor} COUNT 7 MATCH stays:*")) else { panic!() };
            let [Reply::Bulk(next), Reply::Array(found)] = &reply[..] else { panic!("{reply:?}") };
            met.extend(found.chunks(2).map(|pair| format!("{:?}", pair[0])));
            cursor = String::from_utf8_lossy(next).into_owned();
            if cursor == "0" {
                break;
            }
            bench.run(&format!("HSET h comes:{round} x"));
            bench.run(&format!("HDEL h comes:{}", round - 3));
        }
        met.sort();
        met.dedup();
        assert_eq!(met.len(), 500);
    }

    #[test]
    fn what_changes_nothing_writes_nothing() {
        let mut bench = Bench::default();
        bench.run("HSET h a 1");
        let frames = bench.frames.len();
        for line in ["HDEL h b", "HSETNX h a 2", "HINCRBY h a x", "HGETALL h", "HRANDFIELD h 3"] {
            bench.run(line);
        }
        assert_eq!(bench.frames.len(), frames);
    }

    #[test]
    fn a_hash_that_would_be_too_large_is_refused() {
        let mut bench = Bench::default();
        bench.host.settings.maxmemory_bytes = 4096;
        bench.run("HSET h a 1");
        let refused = bench.run(&format!("HSET h b {}", "x".repeat(1024)));
        assert!(matches!(&refused, Reply::Error(error) if error.line().contains("maxmemory")), "{refused:?}");
        assert_eq!(bench.run("HLEN h"), Reply::Integer(1));
        // What is there may still be changed when the limit has come down.
        bench.host.settings.maxmemory_bytes = 16;
        assert_eq!(bench.run("HINCRBY h a 1"), Reply::Integer(2));
    }

    #[test]
    fn a_reply_that_would_be_too_large_is_refused() {
        let mut bench = Bench::default();
        bench.host.settings.reply_bytes_max_setting = 1000;
        bench.run(&format!("HSET h a {}", "x".repeat(400)));
        assert!(!matches!(bench.run("HRANDFIELD h -2 WITHVALUES"), Reply::Error(_)));
        let refused = bench.run("HRANDFIELD h -9000000000 WITHVALUES");
        assert!(matches!(&refused, Reply::Error(error) if error.line().contains("reply-bytes-max")), "{refused:?}");
    }
}
