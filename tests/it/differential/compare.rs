//! Whether two replies are the same.

use super::differences::{Asked, is_excused, is_excused_as_part};
use super::generator::How;
use crate::harness::Value;

/// Describes how the replies to a command differ, or None if they are the same but for what the table excuses.
pub fn difference(words: &[Vec<u8>], how: &How, millpond: &Value, redis: &Value) -> Option<String> {
    differs(&Asked { words, waited: false }, how, millpond, redis)
}

/// The same for a command that has waited for another connection's write.
pub fn difference_after_a_wait(words: &[Vec<u8>], millpond: &Value, redis: &Value) -> Option<String> {
    differs(&Asked { words, waited: true }, &How::Exact, millpond, redis)
}

fn differs(asked: &Asked, how: &How, millpond: &Value, redis: &Value) -> Option<String> {
    let same = is_same(asked, how, millpond, redis);
    (!same).then(|| format!("millpond {millpond:?}\n   redis {redis:?}"))
}

fn is_same(asked: &Asked, how: &How, millpond: &Value, redis: &Value) -> bool {
    is_same_by(how, asked, millpond, redis) || is_excused(asked, millpond, redis)
}

fn is_same_by(how: &How, asked: &Asked, millpond: &Value, redis: &Value) -> bool {
    if millpond.is_error() || redis.is_error() || millpond.is_nil() || redis.is_nil() {
        return is_equal(asked, millpond, redis);
    }
    // A queued command in a transaction.
    if matches!((millpond, redis), (Value::Simple(_), Value::Simple(_))) {
        return millpond == redis;
    }
    match how {
        How::Exact => is_equal(asked, millpond, redis),
        How::Unordered | How::Pairs => is_equal(asked, &in_order(millpond, how), &in_order(redis, how)),
        How::Time(slack) => match (millpond, redis) {
            (Value::Integer(ours), Value::Integer(theirs)) if *ours >= 0 && *theirs >= 0 => {
                (ours - theirs).abs() <= *slack
            }
            _ => millpond == redis,
        },
        How::Kind => std::mem::discriminant(millpond) == std::mem::discriminant(redis),
        How::Size => std::mem::discriminant(millpond) == std::mem::discriminant(redis) && size(millpond) == size(redis),
        How::Each(steps) => match (millpond, redis) {
            (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() && ours.len() == steps.len() => {
                steps.iter().zip(ours).zip(theirs).all(|((step, ours), theirs)| {
                    is_same(&Asked { words: &step.words, waited: false }, &step.how, ours, theirs)
                })
            }
            _ => false,
        },
    }
}

fn is_equal(asked: &Asked, millpond: &Value, redis: &Value) -> bool {
    let all = |ours: &[Value], theirs: &[Value]| {
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_equal(asked, ours, theirs))
    };
    let parts_are_equal = match (millpond, redis) {
        (Value::Array(ours), Value::Array(theirs))
        | (Value::Set(ours), Value::Set(theirs))
        | (Value::Push(ours), Value::Push(theirs)) => all(ours, theirs),
        (Value::Map(ours), Value::Map(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|((key, value), (other_key, other_value))| {
                    is_equal(asked, key, other_key) && is_equal(asked, value, other_value)
                })
        }
        _ => millpond == redis,
    };
    parts_are_equal || is_excused_as_part(asked, millpond, redis)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => items.len(),
        Value::Map(pairs) => pairs.len(),
        _ => 1,
    }
}

/// Sorts what has no order; what a map or a flat array pairs up stays together.
fn in_order(value: &Value, how: &How) -> Value {
    let mut value = value.clone();
    match &mut value {
        Value::Array(items) if *how == How::Pairs && items.len() % 2 == 0 => {
            let mut pairs = items.chunks(2).map(<[Value]>::to_vec).collect::<Vec<_>>();
            pairs.sort();
            *items = pairs.concat();
        }
        Value::Array(items) | Value::Set(items) => items.sort(),
        Value::Map(pairs) => pairs.sort(),
        _ => {}
    }
    value
}

#[test]
fn only_what_the_table_names_is_excused() {
    let words = |line: &str| line.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let bulk = |text: &str| Value::Bulk(text.into());
    let same = |line: &str, ours, theirs| difference(&words(line), &How::Exact, &bulk(ours), &bulk(theirs)).is_none();
    assert!(same("ZSCORE z m", "0.1", "0.10000000000000001"));
    assert!(same("ZINCRBY z 1 m", "350000000000000000", "3.5e+17"));
    assert!(same("ZSCORE z m", "0", "-0"));
    assert!(!same("ZSCORE z m", "-0", "0"));
    assert!(!same("GET k", "0", "-0"));
    assert!(!same("GET k", "0.1", "0.10000000000000001"));
    assert!(!same("ZSCORE z m", "0.10", "0.1"));
    assert!(!same("ZSCORE z m", "0.2", "0.10000000000000001"));

    let popped = |key: &str| Value::Array(vec![bulk(key), bulk("v")]);
    let blpop = words("BLPOP k1 k2 0");
    assert_eq!(difference_after_a_wait(&blpop, &popped("k1"), &popped("k2")), None);
    assert!(difference_after_a_wait(&blpop, &popped("k2"), &popped("k1")).is_some());
    assert!(difference(&blpop, &How::Exact, &popped("k1"), &popped("k2")).is_some());

    let error = |text: &str| Value::Error(text.into());
    let unknown = error("ERR unknown subcommand 'SETINFO'. Try CLIENT HELP.");
    let ok = Value::Simple("OK".into());
    assert_eq!(difference(&words("CLIENT SETINFO LIB-NAME redis-rb"), &How::Exact, &ok, &unknown), None);
    assert!(difference(&words("CLIENT SETINFO LIB-COLOUR blue"), &How::Exact, &ok, &unknown).is_some());
    assert!(difference(&words("OBJECT NEWS k"), &How::Kind, &ok, &unknown).is_some());
}
