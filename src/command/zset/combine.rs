//! Unions, intersections and differences of sorted sets; a set counts as one whose scores are all 1.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::argument::{double, integer, is, not_negative};
use crate::command::limit::ReplyRoom;
use crate::keyspace::{Keyspace, Kind, Set, Slot, Zset};
use crate::resp::{Error, Reply};

use super::{Command, Context, Flag, Group, Keys, Outcome, Stop, copied, store};

const READ: &[Flag] = &[Flag::ReadOnly, Flag::MovableKeys];
const STORE: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::MovableKeys];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "zunion",
        run: |context, request| answer(context, request, Operation::Union),
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        summary: "Returns the union of multiple sorted sets.",
        since: "6.2.0",
        group: Group::SortedSet,
        complexity: "O(N*log(N)) with N being the sum of the sizes of the input sorted sets.",
        flags: READ,
        keys: Keys::Count { at: 1 },
        examples: &[
            "ZADD a 1 x 2 y",
            "ZADD b 3 y 4 z",
            "SADD s x w",
            "ZUNION 2 a b",
            "ZUNION 3 a b none WITHSCORES",
            "ZUNION 2 a s WITHSCORES",
            "ZUNION 2 a b WEIGHTS 2 0.5 AGGREGATE MAX WITHSCORES",
            "ZUNION 2 a b AGGREGATE MIN WITHSCORES",
            "ZUNION 1 none",
            "ZUNION 0 a",
            "ZUNION x a",
            "ZUNION 3 a b",
            "ZUNION 2 a b WEIGHTS 1",
            "ZUNION 2 a b WEIGHTS 1 x",
            "ZUNION 2 a b AGGREGATE x",
            "ZUNION 1 a LIMIT 1",
            "ZADD i inf x",
            "ZUNION 2 i i WEIGHTS 1 -1 WITHSCORES",
            "ZUNION 1 i WEIGHTS 0 WITHSCORES",
            "SET t 1",
            "ZUNION 2 a t x",
        ],
    },
    Command {
        name: "zinter",
        run: |context, request| answer(context, request, Operation::Intersection),
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        summary: "Returns the intersect of multiple sorted sets.",
        since: "6.2.0",
        group: Group::SortedSet,
        complexity: "O(N*K*log(N)) worst case with N being the smallest input sorted set and K being the number of input sorted sets.",
        flags: READ,
        keys: Keys::Count { at: 1 },
        examples: &[
            "ZADD a 1 x 2 y",
            "ZADD b 3 y 4 z 5 x",
            "SADD s y",
            "ZINTER 2 a b WITHSCORES",
            "ZINTER 3 a b s WITHSCORES",
            "ZINTER 2 a a WITHSCORES",
            "ZINTER 2 a b WEIGHTS 10 1 WITHSCORES",
            "ZINTER 2 a b AGGREGATE MIN WITHSCORES",
            "ZINTER 2 a none",
            "ZADD i -inf x",
            "ZINTER 3 i i i WEIGHTS 0 0.5 0 WITHSCORES",
            "ZINTER 0 a",
        ],
    },
    Command {
        name: "zdiff",
        run: |context, request| answer(context, request, Operation::Difference),
        syntax: "numkeys key [key ...] [WITHSCORES]",
        summary: "Returns the difference between multiple sorted sets.",
        since: "6.2.0",
        group: Group::SortedSet,
        complexity: "O(N*K*log(N)) worst case with N being the size of the first set and K being the number of sets.",
        flags: READ,
        keys: Keys::Count { at: 1 },
        examples: &[
            "ZADD a 1 x 2 y 3 z",
            "ZADD b 3 y",
            "SADD s z",
            "ZDIFF 2 a b",
            "ZDIFF 3 a b s WITHSCORES",
            "ZDIFF 2 a a",
            "ZDIFF 2 none a",
            "ZDIFF 2 a b WEIGHTS 1 1",
            "ZDIFF 2 a b AGGREGATE SUM",
        ],
    },
    Command {
        name: "zunionstore",
        run: |context, request| keep(context, request, Operation::Union),
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        summary: "Stores the union of multiple sorted sets in a key.",
        since: "2.0.0",
        group: Group::SortedSet,
        complexity: "O(N*log(N)) with N being the sum of the sizes of the input sorted sets.",
        flags: STORE,
        keys: STORE_KEYS,
        examples: &[
            "ZADD a 1 x 2 y",
            "ZADD b 3 y 4 z",
            "ZUNIONSTORE a 2 a b WEIGHTS 1 2",
            "ZRANGE a 0 -1 WITHSCORES",
            "ZUNIONSTORE a 1 none",
            "EXISTS a",
            "ZUNIONSTORE d 0 a",
            "ZUNIONSTORE d 1 b WITHSCORES",
            "SET t 1",
            "ZUNIONSTORE t 1 b",
            "TYPE t",
        ],
    },
    Command {
        name: "zinterstore",
        run: |context, request| keep(context, request, Operation::Intersection),
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        summary: "Stores the intersect of multiple sorted sets in a key.",
        since: "2.0.0",
        group: Group::SortedSet,
        complexity: "O(N*K*log(N)) worst case with N being the smallest input sorted set and K being the number of input sorted sets.",
        flags: STORE,
        keys: STORE_KEYS,
        examples: &[
            "ZADD a 1 x 2 y",
            "ZADD b 3 y 4 z",
            "ZINTERSTORE d 2 a b AGGREGATE MAX",
            "ZRANGE d 0 -1 WITHSCORES",
            "ZINTERSTORE d 2 a none",
            "EXISTS d",
        ],
    },
    Command {
        name: "zdiffstore",
        run: |context, request| keep(context, request, Operation::Difference),
        syntax: "destination numkeys key [key ...]",
        summary: "Stores the difference of multiple sorted sets in a key.",
        since: "6.2.0",
        group: Group::SortedSet,
        complexity: "O(N*K*log(N)) worst case with N being the size of the first set and K being the number of sets.",
        flags: STORE,
        keys: STORE_KEYS,
        examples: &[
            "ZADD a 1 x 2 y",
            "ZADD b 3 y",
            "ZDIFFSTORE d 2 a b",
            "ZRANGE d 0 -1 WITHSCORES",
            "ZDIFFSTORE d 2 a a",
            "EXISTS d",
        ],
    },
    Command {
        name: "zintercard",
        run: count_intersection,
        syntax: "numkeys key [key ...] [LIMIT limit]",
        summary: "Returns the number of members of the intersect of multiple sorted sets.",
        since: "7.0.0",
        group: Group::SortedSet,
        complexity: "O(N*K*log(N)) worst case with N being the smallest input sorted set and K being the number of input sorted sets.",
        flags: READ,
        keys: Keys::Count { at: 1 },
        examples: &[
            "ZADD a 1 x 2 y 3 z",
            "ZADD b 3 y 4 z",
            "ZINTERCARD 2 a b",
            "ZINTERCARD 2 a b LIMIT 1",
            "ZINTERCARD 2 a b LIMIT 0",
            "ZINTERCARD 2 a none",
            "ZINTERCARD 2 a b LIMIT -1",
            "ZINTERCARD 2 a b WITHSCORES",
            "ZINTERCARD 0 a",
        ],
    },
];

/// The destination, and the keys behind their number.
const STORE_KEYS: Keys = Keys::Find(|request| {
    let mut positions = Keys::Count { at: 2 }.positions(request);
    positions.insert(0, 1);
    positions
});

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of one member in several sets become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn read(text: &[u8]) -> Result<Aggregate, Error> {
        match text {
            text if is(text, "sum") => Ok(Aggregate::Sum),
            text if is(text, "min") => Ok(Aggregate::Min),
            text if is(text, "max") => Ok(Aggregate::Max),
            _ => Err(Error::SYNTAX),
        }
    }

    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => not_nan(a + b),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

/// What infinities leave undefined is zero, as in Redis.
fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What is done with the result, which decides what options there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Answer,
    Store,
    Count,
}

/// The options behind the keys.
#[derive(Debug)]
struct Options {
    /// One for each key, or none.
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Count no further than this; 0 for no limit.
    limit: u64,
}

impl Options {
    fn read(options: &[Bytes], keys: usize, operation: Operation, purpose: Purpose) -> Result<Options, Error> {
        let mut read = Options { weights: Vec::new(), aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let has_weights = operation != Operation::Difference && purpose != Purpose::Count;
        let mut rest = options;
        while let Some((word, behind)) = rest.split_first() {
            let taken = match word {
                word if has_weights && is(word, "weights") && behind.len() >= keys => {
                    let weight =
                        |text: &Bytes| double(text).map_err(|_| Error::constant("ERR weight value is not a float"));
                    read.weights = behind[..keys].iter().map(weight).collect::<Result<_, _>>()?;
                    keys
                }
                word if has_weights && is(word, "aggregate") && !behind.is_empty() => {
                    read.aggregate = Aggregate::read(&behind[0])?;
                    1
                }
                word if purpose == Purpose::Answer && is(word, "withscores") => {
                    read.with_scores = true;
                    0
                }
                word if purpose == Purpose::Count && is(word, "limit") && !behind.is_empty() => {
                    let negative = |_| Error::constant("ERR LIMIT can't be negative");
                    read.limit = not_negative(&behind[0]).map_err(negative)?;
                    1
                }
                _ => return Err(Error::SYNTAX),
            };
            rest = &behind[taken..];
        }
        Ok(read)
    }
}

/// Reads the number of keys at `at`, finds them, and reads the options behind them. Redis says that a key is of the wrong
/// type before it says that an option is wrong.
fn read(
    context: &mut Context,
    request: &[Bytes],
    at: usize,
    operation: Operation,
    purpose: Purpose,
) -> Result<(Vec<Option<Slot>>, Options), Stop> {
    let count = integer(&request[at])?;
    if count < 1 {
        let name = String::from_utf8_lossy(&request[0]).to_lowercase();
        return Err(Error::new(format!("ERR at least 1 input key is needed for '{name}' command")).into());
    }
    let rest = &request[at + 1..];
    if count as u64 > rest.len() as u64 {
        return Err(Error::SYNTAX.into());
    }
    let (keys, options) = rest.split_at(count as usize);
    let slots = context.keys.find_all(keys, &[Kind::Zset, Kind::Set])?;
    Ok((slots, Options::read(options, keys.len(), operation, purpose)?))
}

fn answer(context: &mut Context, request: &[Bytes], operation: Operation) -> Outcome {
    let (slots, options) = read(context, request, 1, operation, Purpose::Answer)?;
    let mut room = ReplyRoom::new(context);
    let mut found = combine(&inputs(context.keys, &slots, &options), operation, options.aggregate);
    found.sort_by(|(a, a_score), (b, b_score)| {
        a_score.partial_cmp(b_score).expect("a score is never NaN").then_with(|| a.cmp(b))
    });
    let mut members = Vec::with_capacity(found.len());
    for (member, score) in found {
        room.take(member.len())?;
        members.push((Bytes::copy_from_slice(member), score));
    }
    if options.with_scores {
        return Ok(Reply::Scored(members));
    }
    Ok(Reply::Array(members.into_iter().map(|(member, _)| Reply::Bulk(member)).collect()))
}

fn keep(context: &mut Context, request: &[Bytes], operation: Operation) -> Outcome {
    let (slots, options) = read(context, request, 2, operation, Purpose::Store)?;
    let found = combine(&inputs(context.keys, &slots, &options), operation, options.aggregate);
    let kept = copied(context, found.into_iter())?;
    Ok(Reply::Integer(store(context, &request[1], &kept)?))
}

fn count_intersection(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (slots, options) = read(context, request, 1, Operation::Intersection, Purpose::Count)?;
    let limit = if options.limit == 0 { usize::MAX } else { options.limit as usize };
    let inputs = inputs(context.keys, &slots, &options);
    Ok(Reply::Integer(intersect(&inputs, Aggregate::Sum).take(limit).count() as i64))
}

/// A set or sorted set, whose scores are multiplied.
#[derive(Debug, Clone, Copy)]
struct Input<'a> {
    source: Source<'a>,
    weight: f64,
}

#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Nothing,
    Set(&'a Set),
    Zset(&'a Zset),
}

impl<'a> Input<'a> {
    fn len(&self) -> usize {
        match self.source {
            Source::Nothing => 0,
            Source::Set(set) => set.len(),
            Source::Zset(zset) => zset.len(),
        }
    }

    /// The score of a member; not a number where an infinite one is multiplied by zero, which [`Aggregate::of`] expects.
    fn score(&self, member: &[u8]) -> Option<f64> {
        let score = match self.source {
            Source::Nothing => None,
            Source::Set(set) => set.contains(member).then_some(1.0),
            Source::Zset(zset) => zset.score(member),
        };
        score.map(|score| score * self.weight)
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (&'a [u8], f64)> + 'a> {
        let weight = self.weight;
        match self.source {
            Source::Nothing => Box::new(std::iter::empty()),
            Source::Set(set) => Box::new(set.iter().map(move |(member, ())| (member, not_nan(weight)))),
            Source::Zset(zset) => {
                Box::new(zset.iter_from_rank(0).map(move |(member, score)| (member, not_nan(score * weight))))
            }
        }
    }
}

fn inputs<'a>(keys: &'a Keyspace, slots: &[Option<Slot>], options: &Options) -> Vec<Input<'a>> {
    let source = |slot: &Option<Slot>| match *slot {
        None => Source::Nothing,
        Some(slot) if keys.object(slot).value.kind() == Kind::Set => Source::Set(keys.set(slot)),
        Some(slot) => Source::Zset(keys.zset(slot)),
    };
    let weights = options.weights.iter().copied().chain(std::iter::repeat(1.0));
    slots.iter().zip(weights).map(|(slot, weight)| Input { source: source(slot), weight }).collect()
}

/// The members of the result, in no order.
fn combine<'a>(inputs: &[Input<'a>], operation: Operation, aggregate: Aggregate) -> Vec<(&'a [u8], f64)> {
    match operation {
        Operation::Union => unite(inputs, aggregate),
        Operation::Intersection => intersect(inputs, aggregate).collect(),
        Operation::Difference => {
            let Some((first, others)) = inputs.split_first() else { return Vec::new() };
            first.iter().filter(|(member, _)| others.iter().all(|input| input.score(member).is_none())).collect()
        }
    }
}

fn unite<'a>(inputs: &[Input<'a>], aggregate: Aggregate) -> Vec<(&'a [u8], f64)> {
    let mut scores: BTreeMap<&[u8], f64> = BTreeMap::new();
    for (member, score) in smallest_first(inputs).iter().flat_map(Input::iter) {
        scores.entry(member).and_modify(|so_far| *so_far = aggregate.of(*so_far, score)).or_insert(score);
    }
    scores.into_iter().collect()
}

fn intersect<'a>(inputs: &[Input<'a>], aggregate: Aggregate) -> impl Iterator<Item = (&'a [u8], f64)> {
    let mut inputs = smallest_first(inputs).into_iter();
    // The smallest leads: only its members can be in all.
    let first = inputs.next().unwrap_or(Input { source: Source::Nothing, weight: 1.0 });
    let others: Vec<Input> = inputs.collect();
    first.iter().filter_map(move |(member, score)| {
        let together = |score, input: &Input| Some(aggregate.of(score, input.score(member)?));
        Some((member, others.iter().try_fold(score, together)?))
    })
}

/// Scores are added in this order, as in Redis, since a sum of doubles depends on it.
fn smallest_first<'a>(inputs: &[Input<'a>]) -> Vec<Input<'a>> {
    let mut inputs = inputs.to_vec();
    inputs.sort_by_key(Input::len);
    inputs
}
