//! Parts of strings.

use bytes::Bytes;

use crate::keyspace::Kind;
use crate::resp::{Error, Reply};

use super::super::argument::integer;
use super::super::{Command, Context, Flag, Group, Keys, Outcome};
use super::check_string_bytes;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "append",
        run: append,
        syntax: "key value",
        summary: "Appends a string to the value of a key. Creates the key if it doesn't exist.",
        since: "2.0.0",
        group: Group::String,
        complexity: "O(1)",
        flags: &[Flag::Write, Flag::DenyOom, Flag::Fast],
        keys: Keys::ONE,
        examples: &[
            "APPEND k ab",
            "APPEND k cd",
            "GET k",
            "APPEND k \"\"",
            "APPEND e \"\"",
            "EXISTS e",
            "LPUSH q a",
            "APPEND q x",
        ],
    },
    Command {
        name: "strlen",
        run: |context, request| {
            let slot = context.keys.find_kind(&request[1], Kind::String)?;
            Ok(Reply::Integer(slot.map_or(0, |slot| context.keys.string(slot).len() as i64)))
        },
        syntax: "key",
        summary: "Returns the length of a string value.",
        since: "2.2.0",
        group: Group::String,
        complexity: "O(1)",
        flags: &[Flag::ReadOnly, Flag::Fast],
        keys: Keys::ONE,
        examples: &["STRLEN k", "SET k \"a\\x00b\"", "STRLEN k", "LPUSH q a", "STRLEN q"],
    },
    Command {
        name: "getrange",
        run: get_range,
        syntax: "key start end",
        summary: "Returns a substring of the string stored at a key.",
        since: "2.4.0",
        group: Group::String,
        complexity: "O(N) where N is the length of the returned string.",
        flags: &[Flag::ReadOnly],
        keys: Keys::ONE,
        examples: &[
            "SET k hello",
            "GETRANGE k 1 3",
            "GETRANGE k 0 -1",
            "GETRANGE k -3 -2",
            "GETRANGE k 3 1",
            "GETRANGE k -1 -3",
            "GETRANGE k -100 -50",
            "GETRANGE k 2 100",
            "GETRANGE k 9 12",
            "GETRANGE n 0 -1",
            "GETRANGE k x 1",
            "LPUSH q a",
            "GETRANGE q 0 1",
            "GETRANGE q x 1",
        ],
    },
    Command {
        name: "substr",
        run: get_range,
        syntax: "key start end",
        summary: "Returns a substring from a string value.",
        since: "1.0.0",
        group: Group::String,
        complexity: "O(N) where N is the length of the returned string.",
        flags: &[Flag::ReadOnly],
        keys: Keys::ONE,
        examples: &["SET k hello", "SUBSTR k -3 -1", "SUBSTR n 0 1"],
    },
    Command {
        name: "setrange",
        run: set_range,
        syntax: "key offset value",
        summary: "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist.",
        since: "2.2.0",
        group: Group::String,
        complexity: "O(M) where M is the length of the value.",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::ONE,
        examples: &[
            "SETRANGE k 3 abc",
            "GET k",
            "SETRANGE k 0 xyz",
            "GET k",
            "SETRANGE k 1 \"\"",
            "SETRANGE n 5 \"\"",
            "EXISTS n",
            "SETRANGE k -1 a",
            "SETRANGE k x a",
            "SETRANGE k 9223372036854775807 a",
            "LPUSH q a",
            "SETRANGE q 0 \"\"",
        ],
    },
];

fn append(context: &mut Context, request: &[Bytes]) -> Outcome {
    let value = &request[2];
    let found = context.keys.find_kind(&request[1], Kind::String)?;
    let len = found.map_or(0, |slot| context.keys.string(slot).len()) as u64;
    let sum = len + value.len() as u64;
    check_string_bytes(context, sum)?;
    let slot = match found {
        Some(slot) => slot,
        None => context.keys.create(&request[1], Kind::String)?,
    };
    if !value.is_empty() {
        context.keys.patch_string(slot, len, value)?;
    }
    Ok(Reply::Integer(sum as i64))
}

fn get_range(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (start, end) = (integer(&request[2])?, integer(&request[3])?);
    let Some(slot) = context.keys.find_kind(&request[1], Kind::String)? else { return Ok(Reply::bulk("")) };
    let string = context.keys.string(slot);
    Ok(Reply::bulk(
        span(start, end, string.len() as u64).map_or(&[][..], |(first, last)| &string[first as usize..=last as usize]),
    ))
}

/// First and last index of a part of a string. Unlike in a list, an end before the start counts as the start.
pub fn span(start: i64, end: i64, len: u64) -> Option<(u64, u64)> {
    if start < 0 && end < 0 && start > end { None } else { clamped_span(start, end, len) }
}

/// As [`span`], but two ends before the string both count as its first byte, in whatever order they stand.
pub fn clamped_span(start: i64, end: i64, len: u64) -> Option<(u64, u64)> {
    if len == 0 {
        return None;
    }
    let absolute = |at: i64| if at < 0 { at.saturating_add(len as i64).max(0) as u64 } else { at as u64 };
    let (first, last) = (absolute(start), absolute(end).min(len - 1));
    (first <= last).then_some((first, last))
}

fn set_range(context: &mut Context, request: &[Bytes]) -> Outcome {
    let value = &request[3];
    let offset = u64::try_from(integer(&request[2])?).map_err(|_| Error::constant("ERR offset is out of range"))?;
    let found = context.keys.find_kind(&request[1], Kind::String)?;
    let len = found.map_or(0, |slot| context.keys.string(slot).len()) as u64;
    if value.is_empty() {
        return Ok(Reply::Integer(len as i64));
    }
    let end = offset.saturating_add(value.len() as u64);
    check_string_bytes(context, end)?;
    let slot = match found {
        Some(slot) => slot,
        None => context.keys.create(&request[1], Kind::String)?,
    };
    context.keys.patch_string(slot, offset, value)?;
    Ok(Reply::Integer(len.max(end) as i64))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Bench;

    #[test]
    fn appending_logs_the_new_part_only() {
        let mut bench = Bench::default();
        bench.run(&format!("SET k {}", "x".repeat(1000)));
        bench.run("APPEND k y");
        assert!(bench.frames.last().expect("a frame was written").len() < 10);
    }
}
