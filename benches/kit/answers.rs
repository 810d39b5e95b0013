//! Reading what the JOB commands answer, as maps (RESP3) or as flat arrays (RESP2).
#![allow(dead_code, reason = "each of the programs that include it uses a part of it")]

use crate::harness::{Client, Value};

/// Asks, and panics if the answer is an error.
pub fn ask<A: AsRef<[u8]>>(client: &mut Client, words: &[A]) -> Value {
    let answer = client.must(words);
    if answer.is_error() {
        let words = words.iter().map(|word| String::from_utf8_lossy(word.as_ref()).into_owned()).collect::<Vec<_>>();
        panic!("{} was answered {answer:?}", words.join(" "));
    }
    answer
}

/// The same, of a line whose words are parted by spaces.
pub fn ask_line(client: &mut Client, line: &str) -> Value {
    ask(client, &line.split(' ').collect::<Vec<_>>())
}

/// One field of a map, or None where the map has none of that name.
pub fn find<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    let is_named = |key: &Value| matches!(key, Value::Bulk(_) | Value::Simple(_)) && key.bytes() == name.as_bytes();
    match map {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| is_named(key)).map(|(_, value)| value),
        Value::Array(items) => items.chunks_exact(2).find(|pair| is_named(&pair[0])).map(|pair| &pair[1]),
        _ => None,
    }
}

/// One field of a map, or a panic that shows the map.
pub fn field<'a>(map: &'a Value, name: &str) -> &'a Value {
    find(map, name).unwrap_or_else(|| panic!("no {name} in {map:?}"))
}

/// A count that may not be known, which leaves it in another one.
pub fn known_count(map: &Value, name: &str) -> u64 {
    if field(map, name).is_nil() { 0 } else { count(map, name) }
}

/// A count, or a panic that names what should be one.
pub fn count(map: &Value, name: &str) -> u64 {
    match field(map, name) {
        Value::Integer(number) if *number >= 0 => *number as u64,
        other => panic!("{name} is {other:?} in {map:?}"),
    }
}

/// A number of any kind.
pub fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        other => other.text().parse().unwrap_or_else(|_| panic!("{other:?} is not a number")),
    }
}

/// The map, anywhere in an answer, of which a field has this text.
pub fn find_row<'a>(answer: &'a Value, name: &str, text: &str) -> Option<&'a Value> {
    let is_text =
        |value: &Value| matches!(value, Value::Bulk(_) | Value::Simple(_)) && value.bytes() == text.as_bytes();
    if find(answer, name).is_some_and(is_text) {
        return Some(answer);
    }
    match answer {
        Value::Array(items) => items.iter().find_map(|item| find_row(item, name, text)),
        Value::Map(pairs) => pairs.iter().find_map(|(_, value)| find_row(value, name, text)),
        _ => None,
    }
}
