//! Sets: distinct members.

pub mod combine;

use bytes::Bytes;

use crate::keyspace::{Kind, Set, Slot};
use crate::resp::{Error, Reply};

use super::argument::{distinct, not_negative};
use super::limit::{ReplyRoom, check_growth};
use super::random::{pick, signed_count};
use super::scan::{ScanOptions, cursor, scanned};
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop};

const ADD: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];
const REMOVE: &[Flag] = &[Flag::Write, Flag::Fast];
const READ: &[Flag] = &[Flag::ReadOnly];
const READ_FAST: &[Flag] = &[Flag::ReadOnly, Flag::Fast];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "sadd",
        run: add,
        syntax: "key member [member ...]",
        summary: "Adds one or more members to a set. Creates the key if it doesn't exist.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(log(N)) for each member added.",
        flags: ADD,
        keys: Keys::ONE,
        examples: &["SADD s a b a", "SADD s b c", "SCARD s", "SET t 1", "SADD t a"],
    },
    Command {
        name: "srem",
        run: remove,
        syntax: "key member [member ...]",
        summary: "Removes one or more members from a set. Deletes the set if the last member was removed.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(M*log(N)) where M is the number of members to be removed.",
        flags: REMOVE,
        keys: Keys::ONE,
        examples: &["SADD s a b c", "SREM s a x a", "SREM s b c", "EXISTS s", "SREM s a", "SET t 1", "SREM t a"],
    },
    Command {
        name: "scard",
        run: count,
        syntax: "key",
        summary: "Returns the number of members in a set.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["SCARD s", "SADD s a b", "SCARD s"],
    },
    Command {
        name: "sismember",
        run: is_member,
        syntax: "key member",
        summary: "Determines whether a member belongs to a set.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["SADD s a", "SISMEMBER s a", "SISMEMBER s b", "SISMEMBER none a"],
    },
    Command {
        name: "smismember",
        run: are_members,
        syntax: "key member [member ...]",
        summary: "Determines whether multiple members belong to a set.",
        since: "6.2.0",
        group: Group::Set,
        complexity: "O(M*log(N)) where M is the number of members being checked.",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["SADD s a b", "SMISMEMBER s a x b", "SMISMEMBER none a b", "SET t 1", "SMISMEMBER t a"],
    },
    Command {
        name: "smembers",
        run: members,
        syntax: "key",
        summary: "Returns all members of a set.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(N) where N is the number of members.",
        flags: READ,
        keys: Keys::ONE,
        examples: &["SADD s a", "SMEMBERS s", "SMEMBERS none", "SET t 1", "SMEMBERS t"],
    },
    Command {
        name: "spop",
        run: pop,
        syntax: "key [count]",
        summary: "Returns one or more random members from a set after removing them. Deletes the set if the last member was popped.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(M*log(N)) where M is the number of members popped.",
        flags: REMOVE,
        keys: Keys::ONE,
        examples: &[
            "SPOP s",
            "SPOP s 2",
            "SADD s a",
            "SPOP s 0",
            "SPOP s",
            "EXISTS s",
            "SADD s a",
            "SPOP s 2",
            "EXISTS s",
            "SPOP s -1",
            "SPOP s x",
            "SPOP s 1 2",
        ],
    },
    Command {
        name: "srandmember",
        run: random,
        syntax: "key [count]",
        summary: "Returns one or more random members from a set.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(M*log(N)) where M is the number of members returned.",
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "SRANDMEMBER s",
            "SRANDMEMBER s 2",
            "SADD s a",
            "SRANDMEMBER s",
            "SRANDMEMBER s 2",
            "SRANDMEMBER s -3",
            "SRANDMEMBER s 0",
            "SRANDMEMBER s x",
            "SRANDMEMBER s 1 2",
        ],
    },
    Command {
        name: "smove",
        run: move_member,
        syntax: "source destination member",
        summary: "Moves a member from one set to another.",
        since: "1.0.0",
        group: Group::Set,
        complexity: "O(log(N))",
        flags: REMOVE,
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        examples: &[
            "SADD a x y",
            "SMOVE a b x",
            "SMEMBERS b",
            "SMOVE a b x",
            "SMOVE a a y",
            "SMOVE a a x",
            "SADD b y",
            "SMOVE a b y",
            "EXISTS a",
            "SET t 1",
            "SMOVE none t x",
            "SMOVE b t x",
            "SMOVE t b x",
        ],
    },
    Command {
        name: "sscan",
        run: scan,
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        summary: "Iterates over members of a set.",
        since: "2.8.0",
        group: Group::Set,
        complexity: "O(1) for every call. O(N) for a complete iteration.",
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "SADD s a",
            "SSCAN s 0",
            "SSCAN s 0 MATCH b* COUNT 5",
            "SSCAN none 0",
            "SSCAN s x",
            "SSCAN s 0 COUNT 0",
            "SSCAN s 0 COUNT x",
            "SSCAN s 0 MATCH",
        ],
    },
];

fn find<'a>(context: &'a mut Context, key: &[u8]) -> Result<Option<&'a Set>, Stop> {
    let slot = context.keys.find_kind(key, Kind::Set)?;
    Ok(slot.map(|slot| context.keys.set(slot)))
}

fn add(context: &mut Context, request: &[Bytes]) -> Outcome {
    let slot = context.keys.find_kind(&request[1], Kind::Set)?;
    let set = slot.map(|slot| context.keys.set(slot));
    let members = distinct(&request[2..], |member| !set.is_some_and(|set| set.contains(member)));
    let added_bytes: usize = members.iter().map(|member| Set::name_bytes(member)).sum();
    check_growth(context, set.map_or(0, Set::memory_bytes), added_bytes)?;
    if !members.is_empty() {
        let slot = match slot {
            Some(slot) => slot,
            None => context.keys.create(&request[1], Kind::Set)?,
        };
        context.keys.add_members(slot, &members)?;
    }
    Ok(Reply::Integer(members.len() as i64))
}

fn remove(context: &mut Context, request: &[Bytes]) -> Outcome {
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Set)? else { return Ok(Reply::Integer(0)) };
    let set = context.keys.set(slot);
    let members = distinct(&request[2..], |member| set.contains(member));
    if !members.is_empty() {
        context.keys.remove_names(slot, &members)?;
    }
    Ok(Reply::Integer(members.len() as i64))
}

fn count(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(Reply::Integer(find(context, &request[1])?.map_or(0, |set| set.len() as i64)))
}

fn is_member(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(Reply::flag(find(context, &request[1])?.is_some_and(|set| set.contains(&request[2]))))
}

fn are_members(context: &mut Context, request: &[Bytes]) -> Outcome {
    let set = find(context, &request[1])?;
    let is_member = |member: &Bytes| Reply::flag(set.is_some_and(|set| set.contains(member)));
    Ok(Reply::Array(request[2..].iter().map(is_member).collect()))
}

fn members(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut room = ReplyRoom::new(context);
    let Some(set) = find(context, &request[1])? else { return Ok(Reply::Set(Vec::new())) };
    let mut members = Vec::with_capacity(set.len());
    for (member, ()) in set.iter() {
        room.take(member.len())?;
        members.push(Reply::bulk(member));
    }
    Ok(Reply::Set(members))
}

fn pop(context: &mut Context, request: &[Bytes]) -> Outcome {
    let asked = match &request[2..] {
        [] => None,
        [count] => Some(not_negative(count)?.min(i64::MAX as u64) as i64),
        _ => return Err(Error::SYNTAX.into()),
    };
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Set)? else {
        return Ok(if asked.is_some() { Reply::Set(Vec::new()) } else { Reply::Null });
    };
    let mut popped = pick_members(context, slot, asked.unwrap_or(1))?;
    if popped.len() == context.keys.set(slot).len() {
        context.keys.delete(slot)?;
    } else if !popped.is_empty() {
        context.keys.remove_names(slot, &popped.iter().map(|member| &member[..]).collect::<Vec<_>>())?;
    }
    Ok(match asked {
        None => Reply::Bulk(popped.pop().expect("a set that is there has a member")),
        Some(_) => Reply::Set(popped.into_iter().map(Reply::Bulk).collect()),
    })
}

fn random(context: &mut Context, request: &[Bytes]) -> Outcome {
    let asked = match &request[2..] {
        [] => None,
        [count] => Some(signed_count(count)?),
        _ => return Err(Error::SYNTAX.into()),
    };
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Set)? else {
        return Ok(if asked.is_some() { Reply::Array(Vec::new()) } else { Reply::Null });
    };
    let mut picked = pick_members(context, slot, asked.unwrap_or(1))?;
    Ok(match asked {
        None => Reply::Bulk(picked.pop().expect("a set that is there has a member")),
        Some(_) => Reply::Array(picked.into_iter().map(Reply::Bulk).collect()),
    })
}

fn pick_members(context: &mut Context, slot: Slot, count: i64) -> Result<Vec<Bytes>, Error> {
    let mut room = ReplyRoom::new(context);
    let set = context.keys.set(slot);
    let mut picked = Vec::new();
    for (member, ()) in pick(context.random, count, set.len(), set.iter(), |rank| set.select(rank)) {
        room.take(member.len())?;
        picked.push(Bytes::copy_from_slice(member));
    }
    Ok(picked)
}

fn move_member(context: &mut Context, request: &[Bytes]) -> Outcome {
    let member = &request[3];
    // Redis looks at the destination's type only when the source is there.
    let Some(source) = context.keys.find_kind(&request[1], Kind::Set)? else { return Ok(Reply::Integer(0)) };
    let target = context.keys.find_kind(&request[2], Kind::Set)?;
    if !context.keys.set(source).contains(member) {
        return Ok(Reply::Integer(0));
    }
    if target == Some(source) {
        return Ok(Reply::Integer(1));
    }
    let set = target.map(|target| context.keys.set(target));
    if !set.is_some_and(|set| set.contains(member)) {
        check_growth(context, set.map_or(0, Set::memory_bytes), Set::name_bytes(member))?;
        let target = match target {
            Some(target) => target,
            None => context.keys.create(&request[2], Kind::Set)?,
        };
        context.keys.add_members(target, &[member])?;
    }
    context.keys.remove_names(source, &[member])?;
    Ok(Reply::Integer(1))
}

fn scan(context: &mut Context, request: &[Bytes]) -> Outcome {
    let cursor = cursor(&request[2])?;
    let mut room = ReplyRoom::new(context);
    let Some(set) = find(context, &request[1])? else { return Ok(scanned(0, Vec::new())) };
    let options = ScanOptions::read(&request[3..])?;
    let (mut found, mut fits) = (Vec::new(), Ok(()));
    let next = set.scan(cursor, options.count, |member, ()| {
        if fits.is_ok() && options.matches(member) {
            fits = room.take(member.len());
            found.push(Reply::bulk(member));
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
    fn popping_takes_every_member_exactly_once() {
        let mut bench = Bench::default();
        bench.run(&format!("SADD s {}", (0..2000).map(|number| number.to_string()).collect::<Vec<_>>().join(" ")));
        let mut popped = Vec::new();
        for line in ["SPOP s 3", "SPOP s 900", "SPOP s 600", "SPOP s 10000"] {
            let Reply::Set(members) = bench.run(line) else { panic!("{line} answers a set") };
            popped.extend(members.iter().map(|member| format!("{member:?}")));
        }
        assert_eq!(popped.len(), 2000);
        popped.sort();
        popped.dedup();
        assert_eq!(popped.len(), 2000);
        assert_eq!(bench.run("SCARD s"), Reply::Integer(0));
    }

    #[test]
    fn what_changes_nothing_writes_nothing() {
        let mut bench = Bench::default();
        bench.run("SADD s a b");
        let frames = bench.frames.len();
        for line in ["SADD s a b a", "SREM s x", "SMOVE s s a", "SMOVE s t x", "SPOP s 0", "SRANDMEMBER s 2"] {
            bench.run(line);
        }
        assert_eq!(bench.frames.len(), frames);
    }
}
