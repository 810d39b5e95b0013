//! Removing a range of members.

use bytes::Bytes;

use crate::keyspace::Kind;
use crate::resp::Reply;

use super::bounds::{Bounds, By, members};
use super::{Command, Context, Flag, Group, Keys, Outcome, take_out};

const COMPLEXITY: &str =
    "O(log(N)+M*log(N)) with N being the number of members in the sorted set and M the number of members removed.";
const REMOVE_MANY: &[Flag] = &[Flag::Write];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "zremrangebyrank",
        run: |context, request| remove(context, request, By::Rank),
        syntax: "key start stop",
        summary: "Removes members in a sorted set within a range of indexes. Deletes the sorted set if all members were removed.",
        since: "2.0.0",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: REMOVE_MANY,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 3 c 4 d",
            "ZREMRANGEBYRANK z 0 -10000",
            "ZREMRANGEBYRANK z 1 2",
            "ZRANGE z 0 -1",
            "ZREMRANGEBYRANK z 0 -1",
            "EXISTS z",
            "ZREMRANGEBYRANK none 0 -1",
            "ZREMRANGEBYRANK none 0 x",
            "SET s 1",
            "ZREMRANGEBYRANK s 0 -1",
        ],
    },
    Command {
        name: "zremrangebyscore",
        run: |context, request| remove(context, request, By::Score),
        syntax: "key min max",
        summary: "Removes members in a sorted set within a range of scores. Deletes the sorted set if all members were removed.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: REMOVE_MANY,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 3 c 4 d",
            "ZREMRANGEBYSCORE z (1 (4",
            "ZRANGE z 0 -1",
            "ZREMRANGEBYSCORE z 9 99",
            "ZREMRANGEBYSCORE z -inf +inf",
            "EXISTS z",
            "ZREMRANGEBYSCORE z x 1",
        ],
    },
    Command {
        name: "zremrangebylex",
        run: |context, request| remove(context, request, By::Name),
        syntax: "key min max",
        summary: "Removes members in a sorted set within a lexicographical range. Deletes the sorted set if all members were removed.",
        since: "2.8.9",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: REMOVE_MANY,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 0 a 0 b 0 c 0 d",
            "ZREMRANGEBYLEX z (a [c",
            "ZRANGE z 0 -1",
            "ZREMRANGEBYLEX z - +",
            "EXISTS z",
            "ZREMRANGEBYLEX z a b",
        ],
    },
];

fn remove(context: &mut Context, request: &[Bytes], by: By) -> Outcome {
    let bounds = Bounds::read(by, &request[2], &request[3])?;
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Zset)? else { return Ok(Reply::Integer(0)) };
    let zset = context.keys.zset(slot);
    let span = bounds.span(zset);
    let count = span.len();
    if count == zset.len() {
        context.keys.delete(slot)?;
        return Ok(Reply::Integer(count as i64));
    }
    let removed: Vec<Bytes> = members(zset, span, false).map(|(member, _)| Bytes::copy_from_slice(member)).collect();
    take_out(context, slot, &removed)?;
    Ok(Reply::Integer(count as i64))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    use super::*;

    #[test]
    fn a_range_with_nothing_in_it_writes_nothing() {
        let mut bench = Bench::default();
        bench.run("ZADD dead 1 a 2 b");
        let frames = bench.frames.len();
        for line in ["ZREMRANGEBYRANK dead 0 -10000", "ZREMRANGEBYSCORE dead 5 9", "ZREMRANGEBYLEX dead [x [z"] {
            assert_eq!(bench.run(line), Reply::Integer(0));
        }
        assert_eq!(bench.frames.len(), frames);
    }
}
