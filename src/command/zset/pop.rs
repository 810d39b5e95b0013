//! Taking the first or last members: the timers and priorities of queues. Blocking forms are the same with a deadline.

use bytes::Bytes;

use crate::command::argument::{COUNT_NOT_POSITIVE, NUMKEYS_NOT_POSITIVE, counted_keys, integer, is, not_negative};
use crate::command::limit::ReplyRoom;
use crate::command::{deadline, wait_for};
use crate::keyspace::{Kind, Slot};
use crate::resp::{Error, Reply};

use super::bounds::members;
use super::{Command, Context, Flag, Group, Keys, Outcome, REMOVE, Stop, take_out};

const BLOCK: &[Flag] = &[Flag::Write, Flag::Blocking, Flag::Fast];
/// All but the last argument, which is the timeout.
const ALL_BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };

pub const COMMANDS: &[Command] = &[
    Command {
        name: "zpopmin",
        run: |context, request| pop(context, request, End::Min),
        syntax: "key [count]",
        summary: "Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        since: "5.0.0",
        group: Group::SortedSet,
        complexity: "O(log(N)*M) with N being the number of members in the sorted set, and M being the number of members popped.",
        flags: REMOVE,
        keys: Keys::ONE,
        examples: &[
            "ZPOPMIN z",
            "ZPOPMIN z 2",
            "ZADD z 1 a 2.5 b 3 c",
            "ZPOPMIN z",
            "ZPOPMIN z 0",
            "ZPOPMIN z 5",
            "EXISTS z",
            "ZPOPMIN z -1",
            "ZPOPMIN z x",
            "ZPOPMIN z 1 2",
            "SET s 1",
            "ZPOPMIN s 0",
            "ZPOPMIN s x",
        ],
    },
    Command {
        name: "zpopmax",
        run: |context, request| pop(context, request, End::Max),
        syntax: "key [count]",
        summary: "Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        since: "5.0.0",
        group: Group::SortedSet,
        complexity: "O(log(N)*M) with N being the number of members in the sorted set, and M being the number of members popped.",
        flags: REMOVE,
        keys: Keys::ONE,
        examples: &["ZADD z 1 a 2 b 2 c 3 d", "ZPOPMAX z", "ZPOPMAX z 2", "ZPOPMAX z 2", "EXISTS z"],
    },
    Command {
        name: "zmpop",
        run: |context, request| pop_first(context, request, 1, None),
        syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        summary: "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them. Deletes the sorted set if the last member was popped.",
        since: "7.0.0",
        group: Group::SortedSet,
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of members in the sorted set, and M being the number of members popped.",
        flags: &[Flag::Write, Flag::MovableKeys],
        keys: Keys::Count { at: 1 },
        examples: &[
            "ZADD z 1 a 2 b 3 c",
            "ZMPOP 2 n z MIN",
            "ZMPOP 1 z MAX COUNT 5",
            "ZMPOP 1 z MAX",
            "ZMPOP 0 z MIN",
            "ZMPOP x z MIN",
            "ZMPOP 3 z MIN",
            "ZMPOP 1 z x",
            "ZMPOP 1 z MIN COUNT 0",
            "ZMPOP 1 z MIN COUNT 1 COUNT 1",
            "SET s 1",
            "ZMPOP 1 s MIN",
        ],
    },
    Command {
        name: "bzpopmin",
        run: |context, request| block_and_pop(context, request, End::Min),
        syntax: "key [key ...] timeout",
        summary: "Removes and returns the member with the lowest score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
        since: "5.0.0",
        group: Group::SortedSet,
        complexity: "O(log(N)) with N being the number of members in the sorted set.",
        flags: BLOCK,
        keys: ALL_BUT_LAST,
        examples: &[
            "ZADD z 1.5 a 2 b",
            "BZPOPMIN n z 1",
            "BZPOPMIN n 0.01",
            "BZPOPMIN z -1",
            "BZPOPMIN z x",
            "SET s 1",
            "BZPOPMIN n s 1",
        ],
    },
    Command {
        name: "bzpopmax",
        run: |context, request| block_and_pop(context, request, End::Max),
        syntax: "key [key ...] timeout",
        summary: "Removes and returns the member with the highest score from one or more sorted sets. Blocks until a member available otherwise.  Deletes the sorted set if the last element was popped.",
        since: "5.0.0",
        group: Group::SortedSet,
        complexity: "O(log(N)) with N being the number of members in the sorted set.",
        flags: BLOCK,
        keys: ALL_BUT_LAST,
        examples: &["ZADD z 1 a 2 b", "BZPOPMAX n z 1", "BZPOPMAX n 0.01"],
    },
    Command {
        name: "bzmpop",
        run: |context, request| pop_first(context, request, 2, Some(&request[1])),
        syntax: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
        summary: "Removes and returns a member by score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
        since: "7.0.0",
        group: Group::SortedSet,
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of members in the sorted set, and M being the number of members popped.",
        flags: &[Flag::Write, Flag::Blocking, Flag::MovableKeys],
        keys: Keys::Count { at: 2 },
        examples: &[
            "ZADD z 1 a 2 b",
            "BZMPOP 1 2 n z MIN COUNT 5",
            "BZMPOP 0.01 1 n MIN",
            "BZMPOP x 0 n MIN",
            "BZMPOP x 1 n MIN",
            "BZMPOP -1 1 n MIN",
        ],
    },
];

/// From where members are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn read(text: &[u8]) -> Result<End, Error> {
        match text {
            text if is(text, "min") => Ok(End::Min),
            text if is(text, "max") => Ok(End::Max),
            _ => Err(Error::SYNTAX),
        }
    }
}

fn pop(context: &mut Context, request: &[Bytes], end: End) -> Outcome {
    let count = match &request[2..] {
        [] => None,
        [count] => Some(not_negative(count)?),
        _ => return Err(Error::SYNTAX.into()),
    };
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Zset)? else { return Ok(Reply::Array(Vec::new())) };
    let popped = take(context, slot, end, count.unwrap_or(1))?;
    if count.is_some() {
        return Ok(Reply::Scored(popped));
    }
    // Without a count it is no array of pairs, not even in RESP3.
    let pairs = popped.into_iter().flat_map(|(member, score)| [Reply::Bulk(member), Reply::Double(score)]);
    Ok(Reply::Array(pairs.collect()))
}

fn block_and_pop(context: &mut Context, request: &[Bytes], end: End) -> Outcome {
    let (timeout, keys) = request[1..].split_last().expect("the arity says that there is a timeout");
    let until = deadline(timeout, context.now)?;
    for key in keys {
        let Some(slot) = context.keys.find_kind(key, Kind::Zset)? else { continue };
        let (member, score) = take(context, slot, end, 1)?.pop().expect("a sorted set that is there has a member");
        return Ok(Reply::Array(vec![Reply::Bulk(key.clone()), Reply::Bulk(member), Reply::Double(score)]));
    }
    wait_for(context, keys, Kind::Zset, until)
}

/// Pops from the first of several sorted sets that is there; `at` is where their number stands.
fn pop_first(context: &mut Context, request: &[Bytes], at: usize, timeout: Option<&Bytes>) -> Outcome {
    let (keys, rest) = counted_keys(request, at, NUMKEYS_NOT_POSITIVE)?;
    let (end, options) = rest.split_first().ok_or(Error::SYNTAX)?;
    let end = End::read(end)?;
    let count = match options {
        [] => 1,
        [name, count, more @ ..] if is(name, "count") => {
            let Ok(count @ 1..) = integer(count) else { return Err(COUNT_NOT_POSITIVE.into()) };
            if !more.is_empty() {
                return Err(Error::SYNTAX.into());
            }
            count as u64
        }
        _ => return Err(Error::SYNTAX.into()),
    };
    let until = timeout.map(|timeout| deadline(timeout, context.now)).transpose()?;
    for key in keys {
        let Some(slot) = context.keys.find_kind(key, Kind::Zset)? else { continue };
        // Pairs are arrays of two in both protocols.
        let pair = |(member, score)| Reply::Array(vec![Reply::Bulk(member), Reply::Double(score)]);
        let popped = take(context, slot, end, count)?.into_iter().map(pair).collect();
        return Ok(Reply::Array(vec![Reply::Bulk(key.clone()), Reply::Array(popped)]));
    }
    match until {
        None => Ok(Reply::NullArray),
        Some(until) => wait_for(context, keys, Kind::Zset, until),
    }
}

/// Takes up to `count` members off an end, the outermost first.
fn take(context: &mut Context, slot: Slot, end: End, count: u64) -> Result<Vec<(Bytes, f64)>, Stop> {
    let mut room = ReplyRoom::new(context);
    let zset = context.keys.zset(slot);
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(zset.len());
    let span = if end == End::Min { 0..count } else { zset.len() - count..zset.len() };
    let mut taken = Vec::with_capacity(count);
    for (member, score) in members(zset, span, end == End::Max) {
        room.take(member.len())?;
        taken.push((Bytes::copy_from_slice(member), score));
    }
    let names: Vec<Bytes> = taken.iter().map(|(member, _)| member.clone()).collect();
    take_out(context, slot, &names)?;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::command::{Stop, Within};
    use crate::resp::{Protocol, encode};

    use super::*;

    fn check(lines: &[&str], resp2: &str, resp3: &str) {
        let mut bench = Bench::default();
        let (last, before) = lines.split_last().expect("there is a line");
        before.iter().for_each(|line| drop(bench.run(line)));
        let reply = bench.run(last);
        for (protocol, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
            let mut text = Vec::new();
            encode(&reply, protocol, &mut text);
            assert_eq!(String::from_utf8_lossy(&text).replace("\r\n", " "), expected, "{last} in {protocol:?}");
        }
    }

    #[test]
    fn every_form_has_the_shape_of_redis_in_both_protocols() {
        let filled = "ZADD z 1.5 a 2 b";
        check(&[filled, "ZPOPMIN z"], "*2 $1 a $3 1.5 ", "*2 $1 a ,1.5 ");
        check(&[filled, "ZPOPMAX z 1"], "*2 $1 b $1 2 ", "*1 *2 $1 b ,2 ");
        check(&[filled, "BZPOPMIN z 0"], "*3 $1 z $1 a $3 1.5 ", "*3 $1 z $1 a ,1.5 ");
        check(&[filled, "ZMPOP 1 z MIN"], "*2 $1 z *1 *2 $1 a $3 1.5 ", "*2 $1 z *1 *2 $1 a ,1.5 ");
    }

    #[test]
    fn an_empty_set_parks_the_client_but_not_inside_a_transaction() {
        let mut bench = Bench::default();
        for line in ["BZPOPMIN a b 1", "BZMPOP 1 2 a b MAX"] {
            let Err(Stop::Wait(wait)) = bench.outcome(line) else { panic!("{line} waits") };
            assert_eq!(wait.keys, ["a", "b"]);
            assert_eq!(wait.timed_out, Reply::NullArray);
        }
        bench.within = Within::Transaction;
        assert_eq!(bench.run("BZPOPMIN a b 1"), Reply::NullArray);
        assert_eq!(bench.run("BZMPOP 0 2 a b MAX"), Reply::NullArray);
    }
}
