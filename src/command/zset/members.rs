//! Asking for members by name, at random, or all in steps.

use bytes::Bytes;

use crate::command::argument::is;
use crate::command::limit::ReplyRoom;
use crate::command::random::{count_with, pick};
use crate::command::scan::{ScanOptions, cursor, scanned};
use crate::keyspace::Kind;
use crate::resp::{Error, Reply, format_double};

use super::{Command, Context, Group, Keys, Outcome, READ, READ_FAST, find};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "zscore",
        run: score,
        syntax: "key member",
        summary: "Returns the score of a member in a sorted set.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1.5 a inf b",
            "ZSCORE z a",
            "ZSCORE z b",
            "ZSCORE z x",
            "ZSCORE none a",
            "SET s 1",
            "ZSCORE s a",
        ],
    },
    Command {
        name: "zmscore",
        run: scores,
        syntax: "key member [member ...]",
        summary: "Returns the score of one or more members in a sorted set.",
        since: "6.2.0",
        group: Group::SortedSet,
        complexity: "O(M*log(N)) where M is the number of members being requested.",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["ZADD z 1.5 a 2 b", "ZMSCORE z a x b", "ZMSCORE none a b", "SET s 1", "ZMSCORE s a"],
    },
    Command {
        name: "zcard",
        run: count,
        syntax: "key",
        summary: "Returns the number of members in a sorted set.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: "O(1)",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["ZCARD z", "ZADD z 1 a 2 b", "ZCARD z", "SET s 1", "ZCARD s"],
    },
    Command {
        name: "zrank",
        run: |context, request| rank(context, request, false),
        syntax: "key member [WITHSCORE]",
        summary: "Returns the index of a member in a sorted set ordered by ascending scores.",
        since: "2.0.0",
        group: Group::SortedSet,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 2 c",
            "ZRANK z a",
            "ZRANK z c",
            "ZRANK z x",
            "ZRANK none a",
            "SET s 1",
            "ZRANK s a",
        ],
    },
    Command {
        name: "zrevrank",
        run: |context, request| rank(context, request, true),
        syntax: "key member [WITHSCORE]",
        summary: "Returns the index of a member in a sorted set ordered by descending scores.",
        since: "2.0.0",
        group: Group::SortedSet,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &["ZADD z 1 a 2 b 2 c", "ZREVRANK z a", "ZREVRANK z c", "ZREVRANK z x", "ZREVRANK none a"],
    },
    Command {
        name: "zrandmember",
        run: random,
        syntax: "key [count [WITHSCORES]]",
        summary: "Returns one or more random members from a sorted set.",
        since: "6.2.0",
        group: Group::SortedSet,
        complexity: "O(M*log(N)) where M is the number of members returned.",
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "ZRANDMEMBER z",
            "ZRANDMEMBER z 2",
            "ZADD z 1.5 a",
            "ZRANDMEMBER z",
            "ZRANDMEMBER z 2",
            "ZRANDMEMBER z -3",
            "ZRANDMEMBER z 0",
            "ZRANDMEMBER z 2 WITHSCORES",
            "ZRANDMEMBER z -2 WITHSCORES",
            "ZRANDMEMBER z 1 x",
            "ZRANDMEMBER z x",
            "ZRANDMEMBER z -9223372036854775807 WITHSCORES",
        ],
    },
    Command {
        name: "zscan",
        run: scan,
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        summary: "Iterates over members and scores of a sorted set.",
        since: "2.8.0",
        group: Group::SortedSet,
        complexity: "O(1) for every call. O(N) for a complete iteration.",
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1.5 a",
            "ZSCAN z 0",
            "ZSCAN z 0 MATCH b* COUNT 5",
            "ZSCAN none 0",
            "ZSCAN z x",
            "ZSCAN z 0 COUNT 0",
            "ZSCAN z 0 x y",
            "SET s 1",
            "ZSCAN s 0",
        ],
    },
];

fn score(context: &mut Context, request: &[Bytes]) -> Outcome {
    let score = find(context, &request[1])?.and_then(|zset| zset.score(&request[2]));
    Ok(score.map_or(Reply::Null, Reply::Double))
}

fn scores(context: &mut Context, request: &[Bytes]) -> Outcome {
    let zset = find(context, &request[1])?;
    let score = |member: &Bytes| zset.and_then(|zset| zset.score(member)).map_or(Reply::Null, Reply::Double);
    Ok(Reply::Array(request[2..].iter().map(score).collect()))
}

fn count(context: &mut Context, request: &[Bytes]) -> Outcome {
    Ok(Reply::Integer(find(context, &request[1])?.map_or(0, |zset| zset.len() as i64)))
}

fn rank(context: &mut Context, request: &[Bytes], from_last: bool) -> Outcome {
    let with_score = match &request[3..] {
        [] => false,
        [word] if is(word, "withscore") => true,
        [_] => return Err(Error::SYNTAX.into()),
        _ => {
            let name = if from_last { "zrevrank" } else { "zrank" };
            return Err(Error::new(format!("ERR wrong number of arguments for '{name}' command")).into());
        }
    };
    let zset = find(context, &request[1])?;
    let Some((zset, rank)) = zset.and_then(|zset| Some((zset, zset.rank(&request[2])?))) else {
        return Ok(if with_score { Reply::NullArray } else { Reply::Null });
    };
    let rank = Reply::Integer(if from_last { zset.len() - 1 - rank } else { rank } as i64);
    if !with_score {
        return Ok(rank);
    }
    let score = zset.score(&request[2]).expect("what has a rank has a score");
    Ok(Reply::Array(vec![rank, Reply::Double(score)]))
}

fn random(context: &mut Context, request: &[Bytes]) -> Outcome {
    let asked = count_with(&request[2..], "withscores")?;
    let mut room = ReplyRoom::new(context);
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Zset)? else {
        return Ok(if asked.is_some() { Reply::Array(Vec::new()) } else { Reply::Null });
    };
    let zset = context.keys.zset(slot);
    let (count, with_scores) = asked.unwrap_or((1, false));
    let mut picked = Vec::new();
    for (member, score) in pick(context.random, count, zset.len(), zset.iter_from_rank(0), |rank| zset.select(rank)) {
        room.take(member.len())?;
        picked.push((Bytes::copy_from_slice(member), score));
    }
    if with_scores {
        return Ok(Reply::Scored(picked));
    }
    let mut members = picked.into_iter().map(|(member, _)| Reply::Bulk(member));
    Ok(match asked {
        None => members.next().expect("a sorted set that is there has a member"),
        Some(_) => Reply::Array(members.collect()),
    })
}

fn scan(context: &mut Context, request: &[Bytes]) -> Outcome {
    let cursor = cursor(&request[2])?;
    let mut room = ReplyRoom::new(context);
    let Some(zset) = find(context, &request[1])? else { return Ok(scanned(0, Vec::new())) };
    let options = ScanOptions::read(&request[3..])?;
    let (mut found, mut fits) = (Vec::new(), Ok(()));
    let next = zset.scan(cursor, options.count, |member, score| {
        if fits.is_ok() && options.matches(member) {
            fits = room.take(member.len());
            found.extend([Reply::bulk(member), Reply::bulk(format_double(score))]);
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
    fn a_rank_comes_with_its_score_if_asked_for() {
        let mut bench = Bench::default();
        bench.run("ZADD z 1 a 2.5 b");
        assert_eq!(bench.run("ZRANK z b WITHSCORE"), Reply::Array(vec![Reply::Integer(1), Reply::Double(2.5)]));
        assert_eq!(bench.run("ZREVRANK z b WITHSCORE"), Reply::Array(vec![Reply::Integer(0), Reply::Double(2.5)]));
        assert_eq!(bench.run("ZRANK z x WITHSCORE"), Reply::NullArray);
        assert_eq!(bench.run("ZRANK none a WITHSCORE"), Reply::NullArray);
        assert_eq!(bench.run("ZRANK z a x"), Reply::Error(Error::SYNTAX));
    }
}
