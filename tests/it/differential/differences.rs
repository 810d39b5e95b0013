//! The one table of what Millpond answers otherwise than the Redis 7.0 that Debian ships, on purpose.
//!
//! Where 7.0 and 7.2 differ, 7.2 wins. A row excuses two unequal replies, or parts of them, and nothing else: an error on
//! one side only is never excused unless the row names its text.

use super::introspection;
use crate::harness::Value;

/// A difference that is meant to be there.
pub struct Difference {
    pub name: &'static str,
    pub reason: &'static str,
    /// Whether it is a part of a reply that differs, or else the reply as a whole.
    of_parts: bool,
    /// Whether two unequal values, Millpond's and Redis', differ by this alone.
    excuses: fn(&Asked, &Value, &Value) -> bool,
}

/// What was asked.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub words: &'a [Vec<u8>],
    /// Whether the reply came only when another connection had written.
    pub waited: bool,
}

/// See the module.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        name: "shortest doubles",
        reason: "7.2 prints a score in the fewest digits that read back as the same double (0.1), 7.0 prints seventeen \
                 digits (0.10000000000000001); whole numbers are integers (350000000000000000) in 7.2, and have an \
                 exponent above 17 digits (3.5e+17) in 7.0; an exponent of one digit is written 1e-7, not 1e-07",
        of_parts: true,
        excuses: |asked, millpond, redis| asked.gives_scores() && is_shorter_double(millpond, redis),
    },
    Difference {
        name: "the sign of a zero score",
        reason: "a sorted set that Redis keeps as a listpack forgets it, one that has become large, or that SORT has \
                 looked at, keeps it; Millpond has one form, which forgets it",
        of_parts: true,
        excuses: |asked, millpond, redis| asked.gives_scores() && is_zero_without_sign(millpond, redis),
    },
    Difference {
        name: "ZRANK's option",
        reason: "ZRANK and ZREVRANK take WITHSCORE since 7.2: another fourth word is a syntax error, in 7.0 one too many",
        of_parts: false,
        excuses: |asked, millpond, redis| {
            let command = asked.word(0).to_lowercase();
            let arity = format!("ERR wrong number of arguments for '{command}' command");
            matches!(&*command, "zrank" | "zrevrank")
                && is_error(millpond, "ERR syntax error")
                && is_error(redis, &arity)
        },
    },
    Difference {
        name: "first argument key for a multi-key waiter",
        reason: "when one write fills several of a waiter's keys, 7.2 runs its command again and so serves the first of its \
                 arguments; 7.0 serves the key that was filled first",
        of_parts: false,
        excuses: |asked, millpond, redis| asked.waited && is_earlier_key(asked, millpond, redis),
    },
    Difference {
        name: "CLIENT SETINFO, CLIENT NO-TOUCH, ZRANK WITHSCORE",
        reason: "came with 7.2, and today's libraries introduce themselves by SETINFO: see SINCE_7_2 for each reply",
        of_parts: false,
        excuses: |asked, millpond, redis| is_since_7_2(asked, millpond) && is_unknown(redis),
    },
    Difference {
        name: "CONFIG REWRITE",
        reason: "is refused by Redis without a configuration file, by Millpond always: the file belongs to its owner",
        of_parts: false,
        excuses: |asked, millpond, redis| {
            let ours = "ERR The configuration file is never written by the server; edit the file, the environment or the \
                        flags instead";
            let rewrite = asked.word(0) == "CONFIG" && asked.word(1) == "REWRITE";
            rewrite && is_error(millpond, ours) && is_error(redis, "ERR The server is running without a config file")
        },
    },
    Difference {
        name: "CONFIG GET",
        reason: "Redis has more settings that a pattern fits, and tells them in no order",
        of_parts: false,
        excuses: |asked, millpond, redis| {
            asked.word(0) == "CONFIG" && asked.word(1) == "GET" && introspection::settings_agree(millpond, redis)
        },
    },
    Difference {
        name: "INFO fields",
        reason: "what Millpond has no counterpart of is left out (see NO_COUNTERPART), what it alone has is there besides; \
                 every other field of Redis is there",
        of_parts: false,
        excuses: |asked, millpond, redis| asked.word(0) == "INFO" && introspection::has_the_fields(millpond, redis),
    },
    Difference {
        name: "COMMAND's lists",
        reason: "Millpond has fewer commands, those of 7.2 that it has besides, and none of another name",
        of_parts: false,
        excuses: |asked, millpond, redis| {
            asked.word(0) == "COMMAND" && asked.word(1) == "LIST" && introspection::is_part_of_list(millpond, redis)
        },
    },
    Difference {
        name: "COMMAND fields",
        reason: "names, arities and flags are Redis'; some keys are told as movable only, some flags and categories are left \
                 out (see introspection.rs); tips and key specifications are those of Millpond's own table",
        of_parts: false,
        excuses: |asked, millpond, redis| {
            let tells = asked.word(0) == "COMMAND" && ["", "INFO"].contains(&&*asked.word(1));
            tells && introspection::commands_agree(asked, millpond, redis)
        },
    },
];

/// What 7.2 answers in RESP2 to what 7.0 does not know, where the sorted set `z` holds `a` at 1 and `b` at 2.5.
pub const SINCE_7_2: &[(&str, &str)] = &[
    ("CLIENT SETINFO", "-ERR wrong number of arguments for 'client|setinfo' command"),
    ("CLIENT SETINFO LIB-NAME redis-rb", "+OK"),
    ("client setinfo lib-ver 5.0.0", "+OK"),
    ("CLIENT SETINFO LIB-LANGUAGE ruby", "-ERR Unrecognized option 'LIB-LANGUAGE'"),
    ("CLIENT NO-TOUCH", "-ERR wrong number of arguments for 'client|no-touch' command"),
    ("CLIENT NO-TOUCH ON", "+OK"),
    ("CLIENT NO-TOUCH off", "+OK"),
    ("CLIENT NO-TOUCH maybe", "-ERR syntax error"),
    ("ZRANK z b WITHSCORE", "[:1, \"2.5\"]"),
    ("ZREVRANK z b withscore", "[:0, \"2.5\"]"),
    ("ZRANK z c WITHSCORE", "*-1"),
];

/// Whether a row of the table excuses that two replies are not equal.
pub fn is_excused(asked: &Asked, millpond: &Value, redis: &Value) -> bool {
    DIFFERENCES.iter().any(|known| (known.excuses)(asked, millpond, redis))
}

/// The same of two parts of replies.
pub fn is_excused_as_part(asked: &Asked, millpond: &Value, redis: &Value) -> bool {
    DIFFERENCES.iter().any(|known| known.of_parts && (known.excuses)(asked, millpond, redis))
}

/// The table, as lines for people.
pub fn describe() -> String {
    DIFFERENCES.iter().map(|difference| format!("{}: {}\n", difference.name, difference.reason)).collect()
}

impl Asked<'_> {
    /// A word in upper case; empty if there are fewer.
    pub fn word(&self, place: usize) -> String {
        self.words.get(place).map(|word| String::from_utf8_lossy(word).to_uppercase()).unwrap_or_default()
    }

    fn gives_scores(&self) -> bool {
        let command = self.word(0);
        command.starts_with('Z') || command.starts_with("BZ") || command.starts_with("EVAL")
    }
}

fn is_error(value: &Value, text: &str) -> bool {
    matches!(value, Value::Error(found) if found == text)
}

/// The text of a score, of the same kind on both sides.
fn scores(millpond: &Value, redis: &Value) -> Option<(String, String)> {
    match (millpond, redis) {
        (Value::Bulk(_), Value::Bulk(_)) | (Value::Double(_), Value::Double(_)) => {
            Some((millpond.text(), redis.text()))
        }
        _ => None,
    }
}

/// The same double, in no more digits than Redis', where Redis prints all digits or one side has an exponent.
fn is_shorter_double(millpond: &Value, redis: &Value) -> bool {
    let Some((ours, theirs)) = scores(millpond, redis) else { return false };
    let digits = |text: &str| {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        mantissa.bytes().filter(u8::is_ascii_digit).collect::<Vec<_>>().into_iter().skip_while(|d| *d == b'0').count()
    };
    match (ours.parse::<f64>(), theirs.parse::<f64>()) {
        (Ok(our_double), Ok(their_double)) => {
            let fewer = digits(&theirs) >= 16 && digits(&ours) <= digits(&theirs);
            let another_form = ours.contains('e') || theirs.contains('e');
            our_double.to_bits() == their_double.to_bits() && (fewer || another_form)
        }
        _ => false,
    }
}

fn is_zero_without_sign(millpond: &Value, redis: &Value) -> bool {
    scores(millpond, redis).is_some_and(|(ours, theirs)| ours == "0" && theirs == "-0")
}

/// Both were given the first element of a key of the request, Millpond's client that of an earlier one.
fn is_earlier_key(asked: &Asked, millpond: &Value, redis: &Value) -> bool {
    let place = |reply: &Value| match reply {
        Value::Array(items) => match items.first() {
            Some(Value::Bulk(key)) => asked.words.iter().position(|word| word == key),
            _ => None,
        },
        _ => None,
    };
    matches!((place(millpond), place(redis)), (Some(ours), Some(theirs)) if ours < theirs)
}

fn is_since_7_2(asked: &Asked, millpond: &Value) -> bool {
    let line = asked.words.iter().map(|word| String::from_utf8_lossy(word)).collect::<Vec<_>>().join(" ");
    SINCE_7_2.iter().any(|(known, reply)| *known == line && *reply == format!("{millpond:?}"))
}

fn is_unknown(redis: &Value) -> bool {
    const TEXTS: [&str; 2] = ["ERR unknown subcommand", "ERR wrong number of arguments for 'z"];
    matches!(redis, Value::Error(text) if TEXTS.iter().any(|start| text.starts_with(start)))
}
