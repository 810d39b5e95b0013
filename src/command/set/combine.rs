//! Unions, intersections and differences of sets.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::command::argument::{NUMKEYS_NOT_POSITIVE, integer, is, not_negative};
use crate::command::limit::{ReplyRoom, check_value};
use crate::command::{Command, Context, Flag, Group, Keys, Outcome, Stop};
use crate::keyspace::{Keyspace, Kind, Set, Slot};
use crate::resp::{Error, Reply};

const READ: &[Flag] = &[Flag::ReadOnly];
const STORE: &[Flag] = &[Flag::Write, Flag::DenyOom];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "sinter",
        run: |context, request| answer(context, &request[1..], Operation::Intersection),
        syntax: "key [key ...]",
        summary: "Returns the intersect of multiple sets.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(N*M*log(N)) worst case where N is the cardinality of the smallest set and M is the number of sets.",
        flags: READ,
        keys: Keys::ALL,
        examples: &[
            "SADD a 1 2 3",
            "SADD b 3 4",
            "SINTER a b",
            "SINTER a none",
            "SINTER none",
            "SET t 1",
            "SINTER none t",
            "SINTER t a",
        ],
    },
    Command {
        name: "sinterstore",
        run: |context, request| store(context, request, Operation::Intersection),
        syntax: "destination key [key ...]",
        summary: "Stores the intersect of multiple sets in a key.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(N*M*log(N)) worst case where N is the cardinality of the smallest set and M is the number of sets.",
        flags: STORE,
        keys: Keys::ALL,
        examples: &[
            "SADD a 1 2 3",
            "SADD b 3 4",
            "SINTERSTORE d a b",
            "SMEMBERS d",
            "SINTERSTORE d a none",
            "EXISTS d",
            "SET t 1",
            "SINTERSTORE t a b",
            "TYPE t",
        ],
    },
    Command {
        name: "sintercard",
        run: count_intersection,
        syntax: "numkeys key [key ...] [LIMIT limit]",
        summary: "Returns the number of members of the intersect of multiple sets.",
        since: "7.0.0",
        group: Group::Set,
        complexity: "O(N*M*log(N)) worst case where N is the cardinality of the smallest set and M is the number of sets.",
        flags: &[Flag::ReadOnly, Flag::MovableKeys],
        keys: Keys::Count { at: 1 },
        examples: &[
            "SADD a 1 2 3",
            "SADD b 2 3 4",
            "SINTERCARD 2 a b",
            "SINTERCARD 2 a b LIMIT 1",
            "SINTERCARD 2 a b LIMIT 0",
            "SINTERCARD 1 none",
            "SINTERCARD 0 a",
            "SINTERCARD x a",
            "SINTERCARD 2 a",
            "SINTERCARD 1 a LIMIT -1",
            "SINTERCARD 1 a x",
        ],
    },
    Command {
        name: "sunion",
        run: |context, request| answer(context, &request[1..], Operation::Union),
        syntax: "key [key ...]",
        summary: "Returns the union of multiple sets.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(N*log(N)) where N is the total number of members in all given sets.",
        flags: READ,
        keys: Keys::ALL,
        examples: &["SADD a 1", "SADD b 1", "SUNION a b none", "SUNION none", "SET t 1", "SUNION a t"],
    },
    Command {
        name: "sunionstore",
        run: |context, request| store(context, request, Operation::Union),
        syntax: "destination key [key ...]",
        summary: "Stores the union of multiple sets in a key.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(N*log(N)) where N is the total number of members in all given sets.",
        flags: STORE,
        keys: Keys::ALL,
        examples: &[
            "SADD a 1 2",
            "SADD b 2 3",
            "SUNIONSTORE a a b",
            "SCARD a",
            "SUNIONSTORE a none",
            "EXISTS a",
            "SET t 1",
            "SUNIONSTORE b t",
            "SCARD b",
        ],
    },
    Command {
        name: "sdiff",
        run: |context, request| answer(context, &request[1..], Operation::Difference),
        syntax: "key [key ...]",
        summary: "Returns the difference of multiple sets.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(N*M*log(N)) where N is the cardinality of the first set and M is the number of sets.",
        flags: READ,
        keys: Keys::ALL,
        examples: &[
            "SADD a 1 2 3",
            "SADD b 1",
            "SADD c 3",
            "SDIFF a b c",
            "SDIFF a a",
            "SDIFF none a",
            "SET t 1",
            "SDIFF none t",
        ],
    },
    Command {
        name: "sdiffstore",
        run: |context, request| store(context, request, Operation::Difference),
        syntax: "destination key [key ...]",
        summary: "Stores the difference of multiple sets in a key.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(N*M*log(N)) where N is the cardinality of the first set and M is the number of sets.",
        flags: STORE,
        keys: Keys::ALL,
        examples: &["SADD a 1 2 3", "SADD b 1 2", "SDIFFSTORE a a b", "SMEMBERS a", "SDIFFSTORE a a a", "EXISTS a"],
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

fn answer(context: &mut Context, keys: &[Bytes], operation: Operation) -> Outcome {
    let mut room = ReplyRoom::new(context);
    let slots = context.keys.find_all(keys, &[Kind::Set])?;
    let mut members = Vec::new();
    combine(context.keys, &slots, operation, |member| {
        room.take(member.len())?;
        members.push(Reply::bulk(member));
        Ok(true)
    })?;
    Ok(Reply::Set(members))
}

fn store(context: &mut Context, request: &[Bytes], operation: Operation) -> Outcome {
    let slots = context.keys.find_all(&request[2..], &[Kind::Set])?;
    let (mut members, mut bytes) = (Vec::new(), 0);
    combine(context.keys, &slots, operation, |member| {
        bytes += Set::name_bytes(member);
        check_value(context, bytes)?;
        members.push(Bytes::copy_from_slice(member));
        Ok(true)
    })?;
    // Only now, as the destination may be among the sources.
    if let Some(slot) = context.keys.find(&request[1]) {
        context.keys.delete(slot)?;
    }
    if !members.is_empty() {
        let slot = context.keys.create(&request[1], Kind::Set)?;
        context.keys.add_members(slot, &members.iter().map(|member| &member[..]).collect::<Vec<_>>())?;
    }
    Ok(Reply::Integer(members.len() as i64))
}

fn count_intersection(context: &mut Context, request: &[Bytes]) -> Outcome {
    let Ok(count @ 1..) = integer(&request[1]) else { return Err(NUMKEYS_NOT_POSITIVE.into()) };
    let rest = &request[2..];
    if count as u64 > rest.len() as u64 {
        return Err(Error::constant("ERR Number of keys can't be greater than number of args").into());
    }
    let (keys, options) = rest.split_at(count as usize);
    let mut limit = 0;
    for option in options.chunks(2) {
        let [name, value] = option else { return Err(Error::SYNTAX.into()) };
        if !is(name, "limit") {
            return Err(Error::SYNTAX.into());
        }
        limit = not_negative(value).map_err(|_| Error::constant("ERR LIMIT can't be negative"))?;
    }
    let slots = context.keys.find_all(keys, &[Kind::Set])?;
    let mut found = 0;
    combine(context.keys, &slots, Operation::Intersection, |_| {
        found += 1;
        Ok(found != limit)
    })?;
    Ok(Reply::Integer(found as i64))
}

/// Visits the members of the result, until the visitor answers that it has enough.
fn combine(
    keys: &Keyspace,
    slots: &[Option<Slot>],
    operation: Operation,
    visit: impl FnMut(&[u8]) -> Result<bool, Error>,
) -> Result<(), Stop> {
    let mut sets: Vec<Option<&Set>> = slots.iter().map(|slot| slot.map(|slot| keys.set(slot))).collect();
    match operation {
        Operation::Union => unite(sets.into_iter().flatten(), visit)?,
        Operation::Intersection => {
            // The smallest first: only its members can be in all.
            sets.sort_by_key(|set| set.map_or(0, Set::len));
            let all: Option<Vec<&Set>> = sets.into_iter().collect();
            if let Some((first, others)) = all.as_deref().and_then(<[_]>::split_first) {
                select(first, |member| others.iter().all(|set| set.contains(member)), visit)?;
            }
        }
        Operation::Difference => {
            if let Some((Some(first), others)) = sets.split_first() {
                select(first, |member| !others.iter().flatten().any(|set| set.contains(member)), visit)?;
            }
        }
    }
    Ok(())
}

fn unite<'a>(
    sets: impl Iterator<Item = &'a Set>,
    mut visit: impl FnMut(&[u8]) -> Result<bool, Error>,
) -> Result<(), Error> {
    let mut met = BTreeSet::new();
    for (member, ()) in sets.flat_map(Set::iter) {
        if met.insert(member) && !visit(member)? {
            break;
        }
    }
    Ok(())
}

fn select(
    set: &Set,
    keep: impl Fn(&[u8]) -> bool,
    mut visit: impl FnMut(&[u8]) -> Result<bool, Error>,
) -> Result<(), Error> {
    for (member, ()) in set.iter() {
        if keep(member) && !visit(member)? {
            break;
        }
    }
    Ok(())
}
