//! Ranges by rank, score or name: ZRANGE and its older and narrower sisters.

use bytes::Bytes;

use crate::command::argument::{integer, is};
use crate::command::limit::ReplyRoom;
use crate::keyspace::Kind;
use crate::resp::{Error, Reply};

use super::bounds::{Bounds, By, limited, members};
use super::{Command, Context, Flag, Group, Keys, Outcome, READ, READ_FAST, copied, find, store};

const COMPLEXITY: &str =
    "O(log(N)+M) with N being the number of members in the sorted set and M the number of members returned.";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "zrange",
        run: |context, request| answer(context, request, Form::default()),
        syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        summary: "Returns members in a sorted set within a range of indexes.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 3 c 4 d",
            "ZRANGE z 0 -1",
            "ZRANGE z 1 2 WITHSCORES",
            "ZRANGE z 0 1 REV",
            "ZRANGE z 5 9",
            "ZRANGE none 0 -1",
            "ZRANGE z (1 3 BYSCORE",
            "ZRANGE z +inf (1 BYSCORE REV LIMIT 1 2 WITHSCORES",
            "ZRANGE z 1 4 BYSCORE LIMIT 1 -1",
            "ZRANGE z 1 4 BYSCORE LIMIT -1 2",
            "ZADD y 0 a 0 b 0 c 0 d",
            "ZRANGE y [b + BYLEX",
            "ZRANGE y (c - BYLEX REV LIMIT 0 1",
            "ZRANGE z 0 -1 LIMIT 0 1",
            "ZRANGE y - + BYLEX WITHSCORES",
            "ZRANGE z 0 1 BYSCORE BYLEX",
            "ZRANGE z 0 1 LIMIT 0",
            "ZRANGE z x 1",
            "ZRANGE z x 1 BYSCORE",
            "ZRANGE z x + BYLEX",
            "ZRANGE z 0 5 BYSCORE LIMIT x 1",
            "SET s 1",
            "ZRANGE s 0 -1",
            "ZRANGE s x 1",
        ],
    },
    Command {
        name: "zrangestore",
        run: keep,
        syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        summary: "Stores a range of members from sorted set in a key.",
        since: "6.2.0",
        group: Group::SortedSet,
        complexity: "O(log(N)+M*log(M)) with N being the number of members in the sorted set and M the number of members stored.",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        examples: &[
            "ZADD z 1 a 2 b 3 c",
            "ZRANGESTORE d z 1 -1",
            "ZRANGE d 0 -1 WITHSCORES",
            "ZRANGESTORE d z +inf -inf BYSCORE REV LIMIT 0 1",
            "ZRANGE d 0 -1 WITHSCORES",
            "ZRANGESTORE z z 0 0",
            "ZCARD z",
            "ZRANGESTORE d none 0 -1",
            "EXISTS d",
            "ZRANGESTORE d z 0 -1 WITHSCORES",
            "SET s 1",
            "ZRANGESTORE d s 0 -1",
            "ZRANGESTORE s z 0 -1",
            "TYPE s",
        ],
    },
    Command {
        name: "zrevrange",
        run: |context, request| answer(context, request, Form { by: Some(By::Rank), from_last: Some(true) }),
        syntax: "key start stop [WITHSCORES]",
        summary: "Returns members in a sorted set within a range of indexes in reverse order.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 3 c",
            "ZREVRANGE z 0 1 WITHSCORES",
            "ZREVRANGE z -1 -1",
            "ZREVRANGE z 0 1 REV",
            "ZREVRANGE z 0 1 LIMIT 0 1",
        ],
    },
    Command {
        name: "zrangebyscore",
        run: |context, request| answer(context, request, Form { by: Some(By::Score), from_last: Some(false) }),
        syntax: "key min max [WITHSCORES] [LIMIT offset count]",
        summary: "Returns members in a sorted set within a range of scores.",
        since: "1.0.5",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 3 c",
            "ZRANGEBYSCORE z -inf (3",
            "ZRANGEBYSCORE z 2 +inf WITHSCORES LIMIT 1 1",
            "ZRANGEBYSCORE z 3 1",
            "ZRANGEBYSCORE z 0 5 LIMIT 5 1",
            "ZRANGEBYSCORE z 0 5 LIMIT 0 0",
            "ZRANGEBYSCORE z x 1",
            "ZRANGEBYSCORE z 0 5 BYSCORE",
        ],
    },
    Command {
        name: "zrevrangebyscore",
        run: |context, request| answer(context, request, Form { by: Some(By::Score), from_last: Some(true) }),
        syntax: "key max min [WITHSCORES] [LIMIT offset count]",
        summary: "Returns members in a sorted set within a range of scores in reverse order.",
        since: "2.2.0",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 3 c",
            "ZREVRANGEBYSCORE z (3 -inf WITHSCORES",
            "ZREVRANGEBYSCORE z +inf -inf LIMIT 1 1",
            "ZREVRANGEBYSCORE z 1 3",
        ],
    },
    Command {
        name: "zrangebylex",
        run: |context, request| answer(context, request, Form { by: Some(By::Name), from_last: Some(false) }),
        syntax: "key min max [LIMIT offset count]",
        summary: "Returns members in a sorted set within a lexicographical range.",
        since: "2.8.9",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 0 a 0 b 0 c",
            "ZRANGEBYLEX z - [b",
            "ZRANGEBYLEX z (a + LIMIT 1 1",
            "ZRANGEBYLEX z + -",
            "ZRANGEBYLEX z a b",
            "ZRANGEBYLEX z - + WITHSCORES",
        ],
    },
    Command {
        name: "zrevrangebylex",
        run: |context, request| answer(context, request, Form { by: Some(By::Name), from_last: Some(true) }),
        syntax: "key max min [LIMIT offset count]",
        summary: "Returns members in a sorted set within a lexicographical range in reverse order.",
        since: "2.8.9",
        group: Group::SortedSet,
        complexity: COMPLEXITY,
        flags: READ,
        keys: Keys::ONE,
        examples: &["ZADD z 0 a 0 b 0 c", "ZREVRANGEBYLEX z + (a", "ZREVRANGEBYLEX z [b - LIMIT 0 1"],
    },
    Command {
        name: "zcount",
        run: |context, request| count(context, request, By::Score),
        syntax: "key min max",
        summary: "Returns the count of members in a sorted set that have scores within a range.",
        since: "2.0.0",
        group: Group::SortedSet,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b 3 c",
            "ZCOUNT z 1 (3",
            "ZCOUNT z -inf +inf",
            "ZCOUNT z 3 1",
            "ZCOUNT none 0 1",
            "ZCOUNT z x 1",
        ],
    },
    Command {
        name: "zlexcount",
        run: |context, request| count(context, request, By::Name),
        syntax: "key min max",
        summary: "Returns the number of members in a sorted set within a lexicographical range.",
        since: "2.8.9",
        group: Group::SortedSet,
        complexity: "O(log(N))",
        flags: READ_FAST,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 0 a 0 b 0 c",
            "ZLEXCOUNT z - +",
            "ZLEXCOUNT z (a [c",
            "ZLEXCOUNT z + -",
            "ZLEXCOUNT none - +",
            "ZLEXCOUNT z a b",
        ],
    },
];

/// What a command's name already says of the range; what it does not say may be asked for by an option.
#[derive(Debug, Clone, Copy, Default)]
struct Form {
    by: Option<By>,
    from_last: Option<bool>,
}

/// Which members are asked for.
#[derive(Debug)]
struct Query {
    bounds: Bounds,
    from_last: bool,
    limit: Option<(i64, i64)>,
    with_scores: bool,
}

impl Query {
    /// Reads the two ends and what follows them.
    fn read(arguments: &[Bytes], mut form: Form, may_have_scores: bool) -> Result<Query, Error> {
        let (mut limit, mut with_scores) = (None, false);
        let mut rest = &arguments[2..];
        while let Some((word, behind)) = rest.split_first() {
            rest = behind;
            match word {
                word if may_have_scores && is(word, "withscores") => with_scores = true,
                word if is(word, "limit") && behind.len() >= 2 => {
                    limit = Some((integer(&behind[0])?, integer(&behind[1])?));
                    rest = &behind[2..];
                }
                word if form.from_last.is_none() && is(word, "rev") => form.from_last = Some(true),
                word if form.by.is_none() && is(word, "byscore") => form.by = Some(By::Score),
                word if form.by.is_none() && is(word, "bylex") => form.by = Some(By::Name),
                _ => return Err(Error::SYNTAX),
            }
        }
        let (by, from_last) = (form.by.unwrap_or(By::Rank), form.from_last.unwrap_or(false));
        // A count of -1 is what stands there without LIMIT, and Redis does not tell the two apart.
        if by == By::Rank && limit.is_some_and(|(_, count)| count != -1) {
            return Err(Error::constant(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if by == By::Name && with_scores {
            return Err(Error::constant("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (low, high) = if from_last && by != By::Rank { (1, 0) } else { (0, 1) };
        let bounds = Bounds::read(by, &arguments[low], &arguments[high])?;
        let limit = limit.filter(|_| by != By::Rank);
        Ok(Query { bounds, from_last, limit, with_scores })
    }

    /// Visits the members in the order that is asked for.
    fn members<'a>(&self, zset: &'a crate::keyspace::Zset) -> Box<dyn Iterator<Item = (&'a [u8], f64)> + 'a> {
        let mut span = self.bounds.span(zset);
        if self.from_last && matches!(self.bounds, Bounds::Ranks(..)) {
            // Ranks count from the end that is read first.
            span = zset.len() - span.end..zset.len() - span.start;
        }
        if let Some((offset, count)) = self.limit {
            span = limited(span, offset, count, self.from_last);
        }
        members(zset, span, self.from_last)
    }
}

fn answer(context: &mut Context, request: &[Bytes], form: Form) -> Outcome {
    let query = Query::read(&request[2..], form, true)?;
    let mut room = ReplyRoom::new(context);
    let Some(zset) = find(context, &request[1])? else { return Ok(Reply::Array(Vec::new())) };
    if query.with_scores {
        let mut scored = Vec::new();
        for (member, score) in query.members(zset) {
            room.take(member.len())?;
            scored.push((Bytes::copy_from_slice(member), score));
        }
        return Ok(Reply::Scored(scored));
    }
    let mut found = Vec::new();
    for (member, _) in query.members(zset) {
        room.take(member.len())?;
        found.push(Reply::bulk(member));
    }
    Ok(Reply::Array(found))
}

fn keep(context: &mut Context, request: &[Bytes]) -> Outcome {
    let query = Query::read(&request[3..], Form::default(), false)?;
    let kept = match context.keys.find_kind(&request[2], Kind::Zset)? {
        None => Vec::new(),
        Some(slot) => copied(context, query.members(context.keys.zset(slot)))?,
    };
    Ok(Reply::Integer(store(context, &request[1], &kept)?))
}

fn count(context: &mut Context, request: &[Bytes], by: By) -> Outcome {
    let bounds = Bounds::read(by, &request[2], &request[3])?;
    let zset = find(context, &request[1])?;
    Ok(Reply::Integer(zset.map_or(0, |zset| bounds.span(zset).len() as i64)))
}
