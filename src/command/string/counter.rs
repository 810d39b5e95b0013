//! Strings that hold numbers.

use bytes::Bytes;

use crate::keyspace::Kind;
use crate::resp::{Error, Reply};

use super::super::argument::integer;
use super::super::{Command, Context, Flag, Group, Keys, Outcome, long_double};

const COUNT: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "incr",
        run: |context, request| add(context, &request[1], 1),
        syntax: "key",
        summary: "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: COUNT,
        keys: Keys::ONE,
        examples: &[
            "INCR k",
            "INCR k",
            "SET k 9223372036854775807",
            "INCR k",
            "SET k 1.5",
            "INCR k",
            "SET k \" 1\"",
            "INCR k",
            "SET k 1 EX 100",
            "INCR k",
            "TTL k",
            "LPUSH q a",
            "INCR q",
        ],
    },
    Command {
        name: "decr",
        run: |context, request| add(context, &request[1], -1),
        syntax: "key",
        summary: "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: COUNT,
        keys: Keys::ONE,
        examples: &["DECR k", "DECR k", "SET k -9223372036854775808", "DECR k", "SET k a", "DECR k"],
    },
    Command {
        name: "incrby",
        run: |context, request| {
            let increment = integer(&request[2])?;
            add(context, &request[1], increment)
        },
        syntax: "key increment",
        summary: "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: COUNT,
        keys: Keys::ONE,
        examples: &["INCRBY k 5", "INCRBY k -7", "INCRBY k 9223372036854775807", "INCRBY k x", "INCRBY k 1.5", "GET k"],
    },
    Command {
        name: "decrby",
        run: |context, request| {
            let decrement = integer(&request[2])?;
            let increment = decrement.checked_neg().ok_or(Error::constant("ERR decrement would overflow"))?;
            add(context, &request[1], increment)
        },
        syntax: "key decrement",
        summary: "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: COUNT,
        keys: Keys::ONE,
        examples: &["DECRBY k 5", "DECRBY k -7", "DECRBY k -9223372036854775808", "DECRBY k x", "GET k"],
    },
    Command {
        name: "incrbyfloat",
        run: add_float,
        syntax: "key increment",
        summary: "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
        since: "2.6.0",
        group: Group::String,
        complexity: "O(1)",
        flags: COUNT,
        keys: Keys::ONE,
        examples: &[
            "INCRBYFLOAT k 0.1",
            "INCRBYFLOAT k 0.2",
            "INCRBYFLOAT k -5.0e3",
            "INCRBYFLOAT k 1234567.89",
            "INCRBYFLOAT k 1e17",
            "SET k 3.0 EX 100",
            "INCRBYFLOAT k -3",
            "TTL k",
            "SET k 10.50",
            "INCRBYFLOAT k 0.1",
            "INCRBYFLOAT k x",
            "INCRBYFLOAT k inf",
            "INCRBYFLOAT k nan",
            "SET k \"1 \"",
            "INCRBYFLOAT k 1",
            "LPUSH q a",
            "INCRBYFLOAT q x",
        ],
    },
];

fn add(context: &mut Context, key: &[u8], increment: i64) -> Outcome {
    let found = context.keys.find_kind(key, Kind::String)?;
    let value = found.map_or(Ok(0), |slot| integer(context.keys.string(slot)))?;
    let sum = value.checked_add(increment).ok_or(Error::constant("ERR increment or decrement would overflow"))?;
    let slot = match found {
        Some(slot) => slot,
        None => context.keys.create(key, Kind::String)?,
    };
    context.keys.write_string(slot, sum.to_string().as_bytes())?;
    Ok(Reply::Integer(sum))
}

fn add_float(context: &mut Context, request: &[Bytes]) -> Outcome {
    let found = context.keys.find_kind(&request[1], Kind::String)?;
    let sum = long_double::add(found.map_or(b"0", |slot| context.keys.string(slot)), &request[2])?;
    let slot = match found {
        Some(slot) => slot,
        None => context.keys.create(&request[1], Kind::String)?,
    };
    context.keys.write_string(slot, sum.as_bytes())?;
    Ok(Reply::Bulk(sum.into()))
}
