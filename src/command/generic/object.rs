//! OBJECT: what Redis would say of how a value is kept. Values are kept otherwise here, so the answers follow from
//! their sizes and Redis' default limits; a value that shrinks gets its compact name back, which it does not in Redis.

use bytes::Bytes;

use crate::keyspace::{Hash, Kind, List, Set, Slot, Zset};
use crate::resp::{Error, Reply};

use super::super::argument::strict_integer;
use super::super::container::{container, help_of};
use super::super::{Command, Context, Flag, Group, Keys, Outcome, Stop};

const SECOND: Keys = Keys::Range { first: 2, last: 2, step: 1 };
const READ: &[Flag] = &[Flag::ReadOnly];

/// Redis' defaults: hash-max-listpack-entries and its like.
const HASH_ENTRIES_MAX: usize = 512;
const SET_ENTRIES_MAX: usize = 128;
const INTSET_ENTRIES_MAX: usize = 512;
const ZSET_ENTRIES_MAX: usize = 128;
/// hash-max-listpack-value and its like.
const ENTRY_BYTES_MAX: usize = 64;
/// list-max-listpack-size -2.
const LIST_BYTES_MAX: u64 = 8 << 10;
/// Longer strings are not embedded in their object.
const EMBEDDED_BYTES_MAX: usize = 44;

pub const COMMANDS: &[Command] = &[
    container(
        "object",
        "2.2.3",
        Group::Generic,
        "A container for object introspection commands.",
        &["OBJECT", "OBJECT BAD k"],
    ),
    Command {
        name: "object|encoding",
        run: encoding,
        syntax: "key",
        summary: "Returns the internal encoding that Redis would choose for a value of this size.",
        since: "2.2.3",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ,
        keys: SECOND,
        examples: &[
            "OBJECT ENCODING n",
            "SET i 12",
            "OBJECT ENCODING i",
            "SET s 012",
            "OBJECT ENCODING s",
            "SET l 012345678901234567890123456789012345678901234",
            "OBJECT ENCODING l",
            "SADD n 1 2",
            "OBJECT ENCODING n",
            "HSET h f v",
            "OBJECT ENCODING h",
            "ZADD z 1 a",
            "OBJECT ENCODING z",
            "OBJECT ENCODING",
        ],
    },
    Command {
        name: "object|refcount",
        run: |context, request| if_found(context, request, |_, _| Ok(Reply::Integer(1))),
        syntax: "key",
        summary: "Returns the reference count of a value of a key; it is always 1.",
        since: "2.2.3",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ,
        keys: SECOND,
        examples: &["OBJECT REFCOUNT n", "SET k v", "OBJECT REFCOUNT k"],
    },
    Command {
        name: "object|idletime",
        run: |context, request| if_found(context, request, |_, _| Ok(Reply::Integer(0))),
        syntax: "key",
        summary: "Returns the time since the last access to a key; it is not tracked, so always 0.",
        since: "2.2.3",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ,
        keys: SECOND,
        examples: &["OBJECT IDLETIME n", "SET k v", "OBJECT IDLETIME k"],
    },
    Command {
        name: "object|freq",
        run: |context, request| {
            if_found(context, request, |_, _| {
                Err(Error::constant("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.").into())
            })
        },
        syntax: "key",
        summary: "Returns the logarithmic access frequency counter of a key; it is not tracked.",
        since: "4.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: READ,
        keys: SECOND,
        examples: &["OBJECT FREQ n", "SET k v", "OBJECT FREQ k"],
    },
    help_of("object|help", "6.2.0", Group::Generic, &["OBJECT HELP"]),
];

fn if_found(context: &mut Context, request: &[Bytes], answer: impl FnOnce(&mut Context, Slot) -> Outcome) -> Outcome {
    let found = context.keys.find(&request[2]);
    found.map_or(Ok(Reply::Null), |slot| answer(context, slot))
}

fn encoding(context: &mut Context, request: &[Bytes]) -> Outcome {
    if_found(context, request, |context, slot| Ok(Reply::bulk(name_of(context, slot)?)))
}

fn name_of(context: &mut Context, slot: Slot) -> Result<&'static str, Stop> {
    let keys = &mut context.keys;
    keys.resident(slot)?;
    Ok(match keys.object(slot).value.kind() {
        Kind::String => string(keys.string(slot)),
        Kind::List => list(keys.list(slot)),
        Kind::Hash => hash(keys.hash(slot)),
        Kind::Set => set(keys.set(slot)),
        Kind::Zset => zset(keys.zset(slot)),
    })
}

fn string(value: &[u8]) -> &'static str {
    if strict_integer(value).is_some() {
        "int"
    } else if value.len() <= EMBEDDED_BYTES_MAX {
        "embstr"
    } else {
        "raw"
    }
}

fn list(list: &List) -> &'static str {
    let bytes = list.pieces(0, list.len() - 1).data_bytes(LIST_BYTES_MAX);
    if bytes <= LIST_BYTES_MAX { "listpack" } else { "quicklist" }
}

fn hash(hash: &Hash) -> &'static str {
    let mut short = hash.len() <= HASH_ENTRIES_MAX;
    if short {
        hash.scan(0, HASH_ENTRIES_MAX, |field, value| short &= field.len().max(value.len()) <= ENTRY_BYTES_MAX);
    }
    if short { "listpack" } else { "hashtable" }
}

fn set(set: &Set) -> &'static str {
    if set.len() > INTSET_ENTRIES_MAX {
        return "hashtable";
    }
    let (mut numbers, mut short) = (true, set.len() <= SET_ENTRIES_MAX);
    set.scan(0, INTSET_ENTRIES_MAX, |member, ()| {
        numbers &= strict_integer(member).is_some();
        short &= member.len() <= ENTRY_BYTES_MAX;
    });
    match (numbers, short) {
        (true, _) => "intset",
        (false, true) => "listpack",
        (false, false) => "hashtable",
    }
}

fn zset(zset: &Zset) -> &'static str {
    let mut short = zset.len() <= ZSET_ENTRIES_MAX;
    if short {
        zset.scan(0, ZSET_ENTRIES_MAX, |member, _| short &= member.len() <= ENTRY_BYTES_MAX);
    }
    if short { "listpack" } else { "skiplist" }
}
