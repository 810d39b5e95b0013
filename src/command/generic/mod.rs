//! Keys, whatever they hold: finding, counting, deleting. Renaming and copying, expiry, OBJECT and SORT have files of
//! their own.

pub mod expire;
pub mod flush;
pub mod object;
pub mod rename;
pub mod sort;

use bytes::Bytes;
use rand::RngExt;

use crate::keyspace::Object;
use crate::resp::Reply;

use super::argument::is;
use super::limit::ReplyRoom;
use super::scan::{ScanOptions, cursor, scanned};
use super::{Command, Context, Flag, Group, Keys, Outcome};
use crate::glob::matches;

const READ: &[Flag] = &[Flag::ReadOnly];
const READ_FAST: &[Flag] = &[Flag::ReadOnly, Flag::Fast];

/// Keys that are looked at before the size of the reply is checked again.
const SCAN_STEP: usize = 1024;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "del",
        run: delete,
        syntax: "key [key ...]",
        summary: "Deletes one or more keys.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys; large values are freed later, in steps.",
        flags: &[Flag::Write],
        keys: Keys::ALL,
        examples: &["MSET a 1 b 2", "LPUSH q x", "DEL a q n a", "EXISTS a b q", "DEL"],
    },
    Command {
        name: "unlink",
        run: delete,
        syntax: "key [key ...]",
        summary: "Asynchronously deletes one or more keys.",
        since: "4.0.0",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys; large values are freed later, in steps.",
        flags: &[Flag::Write, Flag::Fast],
        keys: Keys::ALL,
        examples: &["MSET a 1 b 2", "UNLINK a n", "EXISTS a b"],
    },
    Command {
        name: "exists",
        run: count_found,
        syntax: "key [key ...]",
        summary: "Determines whether one or more keys exist.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys to check.",
        flags: READ_FAST,
        keys: Keys::ALL,
        examples: &["EXISTS k", "SET k 1", "EXISTS k k n"],
    },
    Command {
        name: "touch",
        run: count_found,
        syntax: "key [key ...]",
        summary: "Returns the number of existing keys out of those specified after updating the time they were last accessed.",
        since: "3.2.1",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys that will be touched.",
        flags: READ_FAST,
        keys: Keys::ALL,
        examples: &["TOUCH k", "SET k 1", "TOUCH k k n"],
    },
    Command {
        name: "type",
        run: |context, request| {
            let found = context.keys.find(&request[1]);
            Ok(Reply::status(found.map_or("none", |slot| context.keys.object(slot).value.kind().name())))
        },
        syntax: "key",
        summary: "Determines the type of value stored at a key.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &[
            "TYPE k",
            "SET k 1",
            "TYPE k",
            "LPUSH q a",
            "TYPE q",
            "HSET h f v",
            "TYPE h",
            "SADD s a",
            "TYPE s",
            "ZADD z 1 a",
            "TYPE z",
        ],
    },
    Command {
        name: "keys",
        run: list_keys,
        syntax: "pattern",
        summary: "Returns all key names that match a pattern.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(N) where N is the number of keys in the database.",
        flags: READ,
        keys: Keys::None,
        examples: &["KEYS *", "MSET one 1 two 2", "KEYS on?", "KEYS t[a-x]o", "KEYS z*"],
    },
    Command {
        name: "scan",
        run: scan,
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        summary: "Iterates over the key names in the database.",
        since: "2.8.0",
        group: Group::Generic,
        complexity: "O(1) for every call. O(N) for a complete iteration, where N is the number of keys in the database.",
        flags: READ,
        keys: Keys::None,
        examples: &[
            "SCAN 0",
            "SET k 1",
            "SCAN 0 MATCH k* COUNT 100 TYPE string",
            "SCAN 0 TYPE list",
            "SCAN 0 MATCH x*",
            "SCAN x",
            "SCAN 0 COUNT 0",
            "SCAN 0 COUNT x",
            "SCAN 0 COUNT",
            "SCAN 0 BAD 1",
        ],
    },
    Command {
        name: "randomkey",
        run: |context, _| {
            let count = context.keys.key_count();
            if count == 0 {
                return Ok(Reply::Null);
            }
            let rank = context.random.random_range(0..count);
            Ok(context.keys.select_key(rank).map_or(Reply::Null, |object| Reply::bulk(&object.key)))
        },
        syntax: "",
        summary: "Returns a random key name from the database.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ,
        keys: Keys::None,
        examples: &["RANDOMKEY", "SET k 1", "RANDOMKEY"],
    },
    Command {
        name: "dbsize",
        run: |context, _| Ok(Reply::Integer(context.keys.key_count() as i64)),
        syntax: "",
        summary: "Returns the number of keys in the database.",
        since: "1.0.0",
        group: Group::Server,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::None,
        examples: &["DBSIZE", "MSET a 1 b 2", "DBSIZE"],
    },
];

fn delete(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut deleted = 0;
    for key in &request[1..] {
        if let Some(slot) = context.keys.find(key) {
            context.keys.delete(slot)?;
            deleted += 1;
        }
    }
    Ok(Reply::Integer(deleted))
}

fn count_found(context: &mut Context, request: &[Bytes]) -> Outcome {
    let found = request[1..].iter().filter(|key| context.keys.find(key).is_some());
    Ok(Reply::Integer(found.count() as i64))
}

fn list_keys(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut room = ReplyRoom::new(context);
    let (mut names, mut cursor, mut full) = (Vec::new(), 0, Ok(()));
    loop {
        cursor = context.keys.scan(cursor, SCAN_STEP, |object| {
            if full.is_ok() && matches(&request[1], &object.key) {
                full = room.take(object.key.len());
                names.push(Reply::bulk(&object.key));
            }
        });
        full.clone()?;
        if cursor == 0 {
            return Ok(Reply::Array(names));
        }
    }
}

/// Answers the hash at which to go on, and what was found. It stops early when the reply becomes large.
fn scan(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut cursor = cursor(&request[1])?;
    let (kind, options) = take_type(&request[2..]);
    let options = ScanOptions::read(&options)?;
    let takes =
        |object: &Object| options.matches(&object.key) && kind.is_none_or(|kind| is(kind, object.value.kind().name()));
    let mut room = ReplyRoom::new(context);
    let (mut names, mut left, mut full) = (Vec::new(), options.count, false);
    while left > 0 && !full {
        let step = left.min(SCAN_STEP);
        left -= step;
        cursor = context.keys.scan(cursor, step, |object| {
            if takes(object) {
                full |= room.take(object.key.len()).is_err();
                names.push(Reply::bulk(&object.key));
            }
        });
        if cursor == 0 {
            break;
        }
    }
    Ok(scanned(cursor, names))
}

/// Takes the option that only SCAN has out of its options.
fn take_type(options: &[Bytes]) -> (Option<&Bytes>, Vec<Bytes>) {
    let (mut kind, mut others) = (None, Vec::new());
    for option in options.chunks(2) {
        match option {
            [name, value] if is(name, "type") => kind = Some(value),
            other => others.extend_from_slice(other),
        }
    }
    (kind, others)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::Bench;
    use super::*;

    fn parts(reply: Reply) -> (String, Vec<Reply>) {
        let Reply::Array(mut parts) = reply else { panic!("SCAN answers an array, not {reply:?}") };
        let (Some(Reply::Array(names)), Some(Reply::Bulk(cursor))) = (parts.pop(), parts.pop()) else {
            panic!("SCAN answers a cursor and names")
        };
        (String::from_utf8(cursor.to_vec()).expect("a cursor is a number"), names)
    }

    #[test]
    fn a_scan_meets_every_key_once() {
        let mut bench = Bench::default();
        for number in 0..3000 {
            bench.run(&format!("SET k{number} v"));
        }
        for count in [1, 10, 1500, 5000] {
            let (mut cursor, mut met) = ("0".to_owned(), Vec::new());
            loop {
                let (next, names) = parts(bench.run(&format!("SCAN {cursor} COUNT {count}")));
                met.extend(names.iter().map(|name| format!("{name:?}")));
                if next == "0" {
                    break;
                }
                cursor = next;
            }
            assert_eq!(met.len(), 3000);
            assert_eq!(met.into_iter().collect::<BTreeSet<_>>().len(), 3000);
        }
    }

    #[test]
    fn keys_that_would_fill_memory_are_refused() {
        let mut bench = Bench::default();
        bench.host.settings.reply_bytes_max_setting = 600;
        for number in 0..50 {
            bench.run(&format!("SET k{number} v"));
        }
        assert!(matches!(bench.run("KEYS *"), Reply::Error(_)));
        assert!(matches!(bench.run("KEYS k1*"), Reply::Array(names) if names.len() == 11));
    }

    #[test]
    fn an_expired_key_is_not_there_for_anybody() {
        let mut bench = Bench::default();
        bench.run("SET k v PX 10");
        bench.pass_ms(10);
        assert_eq!(bench.run("KEYS *"), Reply::Array(Vec::new()));
        assert_eq!(bench.run("RANDOMKEY"), Reply::Null);
        assert_eq!(bench.run("EXISTS k"), Reply::Integer(0));
        assert_eq!(bench.run("DEL k"), Reply::Integer(0));
    }
}
