//! Whether two replies are the same, and the one table of deliberate differences.

use super::generator::How;
use crate::harness::Value;

/// A difference that is meant to be there.
struct Difference {
    name: &'static str,
    reason: &'static str,
    /// Whether two unequal leaves, Millpond's and Redis', differ by this alone.
    excuses: fn(&str, &Value, &Value) -> bool,
}

/// Where Millpond answers as Redis 7.2 does, and the 7.0 that Debian ships does not.
const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "shortest doubles",
        reason: "7.2 prints a score in the fewest digits that read back as the same double (0.1), 7.0 prints seventeen \
                 digits (0.10000000000000001); whole numbers are integers (350000000000000000) in 7.2, and have an \
                 exponent above 17 digits (3.5e+17) in 7.0; an exponent of one digit is written 1e-7, not 1e-07",
        excuses: |command, millpond, redis| gives_scores(command) && is_shorter_double(millpond, redis),
    },
    Difference {
        name: "ZRANK's option",
        reason: "ZRANK and ZREVRANK take WITHSCORE since 7.2: another fourth word is a syntax error, in 7.0 one too many",
        excuses: |command, millpond, redis| {
            let command = command.to_lowercase();
            let arity = format!("ERR wrong number of arguments for '{command}' command");
            matches!(&*command, "zrank" | "zrevrank")
                && *millpond == Value::Error("ERR syntax error".into())
                && *redis == Value::Error(arity)
        },
    },
];

/// Describes how the replies to a command differ, or None if they are the same.
pub fn difference(command: &str, how: &How, millpond: &Value, redis: &Value) -> Option<String> {
    if is_same(command, how, millpond, redis) {
        return None;
    }
    Some(format!("millpond {millpond:?}\n   redis {redis:?}"))
}

/// The table, as lines for people.
pub fn deliberate_differences() -> String {
    DIFFERENCES.iter().map(|difference| format!("{}: {}\n", difference.name, difference.reason)).collect()
}

fn is_same(command: &str, how: &How, millpond: &Value, redis: &Value) -> bool {
    if millpond.is_error() || redis.is_error() || millpond.is_nil() || redis.is_nil() {
        return is_equal(command, millpond, redis);
    }
    // A queued command in a transaction.
    if matches!((millpond, redis), (Value::Simple(_), Value::Simple(_))) {
        return millpond == redis;
    }
    match how {
        How::Exact => is_equal(command, millpond, redis),
        How::Unordered | How::Pairs => is_equal(command, &in_order(millpond, how), &in_order(redis, how)),
        How::Time(slack) => match (millpond, redis) {
            (Value::Integer(ours), Value::Integer(theirs)) if *ours >= 0 && *theirs >= 0 => {
                (ours - theirs).abs() <= *slack
            }
            _ => millpond == redis,
        },
        How::Each(hows) => match (millpond, redis) {
            (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() && ours.len() == hows.len() => {
                hows.iter().zip(ours).zip(theirs).all(|((how, ours), theirs)| is_same(command, how, ours, theirs))
            }
            _ => false,
        },
    }
}

fn is_equal(command: &str, millpond: &Value, redis: &Value) -> bool {
    let all = |ours: &[Value], theirs: &[Value]| {
        ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| is_equal(command, ours, theirs))
    };
    match (millpond, redis) {
        (Value::Array(ours), Value::Array(theirs))
        | (Value::Set(ours), Value::Set(theirs))
        | (Value::Push(ours), Value::Push(theirs)) => all(ours, theirs),
        (Value::Map(ours), Value::Map(theirs)) => {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|((key, value), (other_key, other_value))| {
                    is_equal(command, key, other_key) && is_equal(command, value, other_value)
                })
        }
        _ => millpond == redis || DIFFERENCES.iter().any(|known| (known.excuses)(command, millpond, redis)),
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

fn gives_scores(command: &str) -> bool {
    let command = command.to_uppercase();
    ["Z", "BZ"].iter().any(|start| command.starts_with(start)) || ["EXEC", "EVAL", "EVALSHA"].contains(&&*command)
}

/// The same double, in no more digits than Redis', where Redis prints all digits or one side has an exponent.
fn is_shorter_double(millpond: &Value, redis: &Value) -> bool {
    let (ours, theirs) = match (millpond, redis) {
        (Value::Bulk(ours), Value::Bulk(theirs)) => (String::from_utf8_lossy(ours), String::from_utf8_lossy(theirs)),
        (Value::Double(ours), Value::Double(theirs)) => (ours.into(), theirs.into()),
        _ => return false,
    };
    let digits = |text: &str| {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        mantissa.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>().into_iter().skip_while(|d| *d == b'0').count()
    };
    match (ours.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(our_double), Ok(their_double)) => {
            let fewer = digits(&theirs) >= 16 && digits(&ours) <= digits(&theirs);
            let has_exponent = |text: &str| text.contains('e');
            let another_form = has_exponent(&ours) || has_exponent(&theirs);
            our_double.to_bits() == their_double.to_bits() && (fewer || another_form)
        }
        _ => false,
    }
}

#[test]
fn only_a_score_in_fewer_digits_is_excused() {
    let bulk = |text: &str| Value::Bulk(text.into());
    let same = |command, ours, theirs| difference(command, &How::Exact, &bulk(ours), &bulk(theirs)).is_none();
    assert!(same("ZSCORE", "0.1", "0.10000000000000001"));
    assert!(same("ZINCRBY", "350000000000000000", "3.5e+17"));
    assert!(!same("GET", "0.1", "0.10000000000000001"));
    assert!(!same("ZSCORE", "0.10", "0.1"));
    assert!(!same("ZSCORE", "0.2", "0.10000000000000001"));
}
