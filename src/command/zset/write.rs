//! Giving members scores, and taking members out by name.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::command::argument::{distinct, double, is};
use crate::keyspace::{Kind, Zset};
use crate::resp::{Error, Reply};

use super::{Command, Context, Group, Keys, Outcome, PUT, REMOVE, Stop, check_growth, stored};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "zadd",
        run: add,
        syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        summary: "Adds one or more members to a sorted set, or updates their scores. Creates the key if it doesn't exist.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: "O(log(N)) for each member added, where N is the number of members in the sorted set.",
        flags: PUT,
        keys: Keys::ONE,
        examples: &[
            "ZADD z 1 a 2 b",
            "ZADD z 3 a 2 b 4 c",
            "ZADD z CH 5 a 2 b 6 d",
            "ZADD z NX 9 a 9 e",
            "ZADD z XX CH 7 a 7 none",
            "ZADD z GT CH 6 a 8 b 1 f",
            "ZADD z LT CH 6 a 8 b",
            "ZADD z INCR 1.5 a",
            "ZADD z NX INCR 1 a",
            "ZADD z XX INCR 1 none",
            "ZADD z GT INCR -1 a",
            "ZADD z CH 1 g 2 g 3 g",
            "ZRANGE z 0 -1 WITHSCORES",
            "ZADD z XX 1 none",
            "ZADD new XX 1 a",
            "EXISTS new",
            "ZADD z 1 a 2",
            "ZADD z NX 1",
            "ZADD z x a",
            "ZADD z nan a",
            "ZADD z 1 a x b",
            "ZADD z NX XX 1 a",
            "ZADD z GT LT 1 a",
            "ZADD z NX GT 1 a",
            "ZADD z INCR 1 a 2 b",
            "ZADD z inf i -inf j +inf k",
            "ZADD z INCR -inf i",
            "SET s 1",
            "ZADD s 1 a",
            "ZADD s x a",
        ],
    },
    Command {
        name: "zincrby",
        run: increment,
        syntax: "key increment member",
        summary: "Increments the score of a member in a sorted set.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: "O(log(N)) where N is the number of members in the sorted set.",
        flags: PUT,
        keys: Keys::ONE,
        examples: &[
            "ZINCRBY z 1.5 a",
            "ZINCRBY z -3 a",
            "ZINCRBY z x a",
            "ZADD z inf i",
            "ZINCRBY z -inf i",
            "SET s 1",
            "ZINCRBY s 1 a",
        ],
    },
    Command {
        name: "zrem",
        run: remove,
        syntax: "key member [member ...]",
        summary: "Removes one or more members from a sorted set. Deletes the sorted set if all members were removed.",
        since: "1.2.0",
        group: Group::SortedSet,
        complexity: "O(M*log(N)) with N being the number of members in the sorted set and M the number of members to be removed.",
        flags: REMOVE,
        keys: Keys::ONE,
        examples: &["ZADD z 1 a 2 b 3 c", "ZREM z a x a", "ZREM z b c", "EXISTS z", "ZREM z a", "SET s 1", "ZREM s a"],
    },
];

/// ZADD's options.
#[derive(Debug, Default)]
struct Options {
    only_new: bool,
    only_present: bool,
    only_greater: bool,
    only_less: bool,
    count_changed: bool,
    increment: bool,
}

impl Options {
    /// Reads what stands before the scores; answers the rest too.
    fn read(arguments: &[Bytes]) -> Result<(Options, &[Bytes]), Error> {
        let mut options = Options::default();
        let mut rest = arguments;
        while let Some((word, behind)) = rest.split_first() {
            let option = match word {
                word if is(word, "nx") => &mut options.only_new,
                word if is(word, "xx") => &mut options.only_present,
                word if is(word, "gt") => &mut options.only_greater,
                word if is(word, "lt") => &mut options.only_less,
                word if is(word, "ch") => &mut options.count_changed,
                word if is(word, "incr") => &mut options.increment,
                _ => break,
            };
            *option = true;
            rest = behind;
        }
        if rest.is_empty() || !rest.len().is_multiple_of(2) {
            return Err(Error::SYNTAX);
        }
        options.check(rest.len() / 2)?;
        Ok((options, rest))
    }

    fn check(&self, pairs: usize) -> Result<(), Error> {
        if self.only_new && self.only_present {
            return Err(Error::constant("ERR XX and NX options at the same time are not compatible"));
        }
        if [self.only_new, self.only_greater, self.only_less].iter().filter(|option| **option).count() > 1 {
            return Err(Error::constant("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.increment && pairs > 1 {
            return Err(Error::constant("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// The score that a member is to have, if the options let it be touched.
    fn score(&self, old: Option<f64>, given: f64) -> Result<Option<f64>, Error> {
        let Some(old) = old else { return Ok((!self.only_present).then_some(given)) };
        if self.only_new {
            return Ok(None);
        }
        let new = if self.increment { old + given } else { given };
        if new.is_nan() {
            return Err(Error::constant("ERR resulting score is not a number (NaN)"));
        }
        let wrong_way = self.only_less && new >= old || self.only_greater && new <= old;
        Ok((!wrong_way).then_some(new))
    }
}

fn add(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (options, arguments) = Options::read(&request[2..])?;
    let mut pairs = Vec::with_capacity(arguments.len() / 2);
    for pair in arguments.chunks(2) {
        pairs.push((&pair[1][..], double(&pair[0])?));
    }
    let done = put(context, &request[1], &options, &pairs)?;
    Ok(match (options.increment, done.last) {
        (true, last) => last.map_or(Reply::Null, Reply::Double),
        (false, _) if options.count_changed => Reply::Integer(done.added + done.changed),
        (false, _) => Reply::Integer(done.added),
    })
}

fn increment(context: &mut Context, request: &[Bytes]) -> Outcome {
    let options = Options { increment: true, ..Options::default() };
    let done = put(context, &request[1], &options, &[(&request[3], double(&request[2])?)])?;
    Ok(Reply::Double(done.last.expect("nothing kept the member from being touched")))
}

/// What [`put`] did.
#[derive(Debug, Default)]
struct Done {
    added: i64,
    changed: i64,
    /// The score of the last member, if the options let it be touched.
    last: Option<f64>,
}

/// Gives members their scores one after the other; what changes is written as one effect.
fn put(context: &mut Context, key: &[u8], options: &Options, pairs: &[(&[u8], f64)]) -> Result<Done, Stop> {
    let slot = context.keys.find_kind(key, Kind::Zset)?;
    let zset = slot.map(|slot| context.keys.zset(slot));
    let mut done = Done::default();
    let mut added_bytes = 0;
    // A member may come twice: then it meets the score that it was just given.
    let mut changes: BTreeMap<&[u8], f64> = BTreeMap::new();
    for (member, given) in pairs {
        let old = changes.get(member).copied().or_else(|| zset.and_then(|zset| zset.score(member)));
        done.last = options.score(old, *given)?;
        let Some(new) = done.last else { continue };
        if old == Some(new) {
            continue;
        }
        match old {
            None => {
                added_bytes += Zset::member_bytes(member);
                done.added += 1;
            }
            Some(_) => done.changed += 1,
        }
        changes.insert(member, stored(new));
    }
    check_growth(context, zset.map_or(0, Zset::memory_bytes), added_bytes)?;
    if !changes.is_empty() {
        let slot = match slot {
            Some(slot) => slot,
            None => context.keys.create(key, Kind::Zset)?,
        };
        context.keys.put_scores(slot, &changes.into_iter().collect::<Vec<_>>())?;
    }
    Ok(done)
}

fn remove(context: &mut Context, request: &[Bytes]) -> Outcome {
    let Some(slot) = context.keys.find_kind(&request[1], Kind::Zset)? else { return Ok(Reply::Integer(0)) };
    let zset = context.keys.zset(slot);
    let members = distinct(&request[2..], |member| zset.score(member).is_some());
    if !members.is_empty() {
        context.keys.remove_names(slot, &members)?;
    }
    Ok(Reply::Integer(members.len() as i64))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    use super::*;

    #[test]
    fn a_score_comes_back_digit_for_digit_and_is_found_by_its_own_text() {
        let mut bench = Bench::default();
        for text in ["1795291989.8486226", "1795291989.8486227", "0.1", "-1e-300", "1e+300", "9007199254740993"] {
            bench.run(&format!("ZADD z {text} {text}"));
            let exact = text.parse().expect("a double");
            assert_eq!(bench.run(&format!("ZSCORE z {text}")), Reply::Double(exact));
            let found = bench.run(&format!("ZRANGEBYSCORE z {text} {text}"));
            assert_eq!(found, Reply::Array(vec![Reply::bulk(text)]));
        }
    }

    #[test]
    fn minus_zero_is_zero() {
        let mut bench = Bench::default();
        bench.run("ZADD z -0 a");
        assert_eq!(bench.resp2("ZSCORE z a"), "$1\r\n0\r\n");
        assert_eq!(bench.run("ZADD z CH -0.0 a"), Reply::Integer(0));
    }

    #[test]
    fn one_command_is_one_effect_and_none_if_nothing_changes() {
        let mut bench = Bench::default();
        bench.run("ZADD z 1 a 2 b 3 a");
        // Create and PutScores, and nothing behind them.
        assert_eq!(bench.frames.len(), 1);
        for line in ["ZADD z 3 a 2 b", "ZADD z NX 9 a", "ZADD z GT 1 a", "ZADD z XX 1 x", "ZREM z x", "ZINCRBY z 0 a"] {
            bench.run(line);
        }
        assert_eq!(bench.frames.len(), 1);
    }

    #[test]
    fn a_member_that_comes_twice_meets_the_score_that_it_was_just_given() {
        let mut bench = Bench::default();
        assert_eq!(bench.run("ZADD z GT CH 3 a 2 a 5 a"), Reply::Integer(2));
        assert_eq!(bench.run("ZSCORE z a"), Reply::Double(5.0));
    }
}
