//! JOB.*: rules act from their reply on, nothing they take is lost, and every job is in exactly one place, always.

mod catching;
mod crash;
mod handbacks;
mod leases;
mod model;
mod pausing;
mod payload;
mod predicate;
mod readme;
mod restoring;
mod rules;
mod ruling;
mod scopes;
mod settle;
mod slo;
mod steps;
mod tenants;
mod workers;
mod world;

use crate::harness::{self, Client, Server, Value};
use std::thread;
use std::time::{Duration, Instant};

/// What goes on behind a reply takes moments; this is long enough for anything but a hang on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Starts Millpond; none where a Redis stands in for it, which knows no rules.
fn start(flags: &[&str]) -> Option<Server> {
    (!harness::is_stand_in()).then(|| Server::millpond(flags))
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WAIT_MAX, "{what}: not within {WAIT_MAX:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a line whose words may be quoted, as a person types it; an error is a failure.
fn sure(client: &mut Client, line: &str) -> Value {
    let reply = client.must(&words_of(line));
    assert!(!reply.is_error(), "{line}: {reply:?}");
    reply
}

/// Sends such a line, which must be answered with an error; gives its text.
fn refused(client: &mut Client, line: &str) -> String {
    match client.must(&words_of(line)) {
        Value::Error(text) => text,
        other => panic!("{line} was not refused: {other:?}"),
    }
}

/// Splits a line into words as redis-cli and a shell do: `"…"` with `\` before what is meant as it is, `'…'` as it stands.
fn words_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut begun) = (Vec::new(), String::new(), None, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(mark), _) if letter == mark => quote = None,
            (Some('"'), '\\') => word.push(letters.next().expect("something is escaped")),
            (Some(_), _) => word.push(letter),
            (None, '"' | '\'') => (quote, begun) = (Some(letter), true),
            (None, ' ' | '\t') => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            (None, _) => word.push(letter),
        }
    }
    assert!(quote.is_none(), "unbalanced quotes: {line}");
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

/// A field of a map, which RESP2 shows as a flat array; panics if it is not there.
fn field(reply: &Value, name: &str) -> Value {
    find_field(reply, name).unwrap_or_else(|| panic!("no field {name} in {reply:?}"))
}

fn find_field(reply: &Value, name: &str) -> Option<Value> {
    match reply {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| key.text() == name).map(|(_, value)| value.clone()),
        _ => reply.items().chunks(2).find(|pair| pair[0].text() == name).map(|pair| pair[1].clone()),
    }
}

/// A number of a map.
fn number(reply: &Value, name: &str) -> i64 {
    match field(reply, name) {
        Value::Integer(number) => number,
        other => panic!("{name} is no number but {other:?} in {reply:?}"),
    }
}

/// What JOB.BLACKHOLE INFO says of a rule.
fn info(client: &mut Client, rule: &str) -> Value {
    let reply = client.must(&["JOB.BLACKHOLE", "INFO", rule]);
    assert!(!reply.is_error(), "INFO {rule}: {reply:?}");
    reply
}

/// Waits until a rule has swept all that was there when it was made.
fn wait_until_swept(client: &mut Client, rule: &str) {
    wait_until("the sweep is done", || number(&info(client, rule), "sweeping") == 0);
}

/// Waits until so many jobs of a rule are in quarantine.
fn wait_until_quarantined(client: &mut Client, rule: &str, count: usize) {
    wait_until("the quarantine holds what it should", || number(&info(client, rule), "quarantined") == count as i64);
}

/// All items of a list, asked for in parts so that none is longer than a reply may be.
fn list(client: &mut Client, key: &str) -> Vec<String> {
    const PART: usize = 1000;
    let mut items = Vec::new();
    loop {
        let (first, last) = (items.len().to_string(), (items.len() + PART - 1).to_string());
        let part = client.must(&["LRANGE", key, &first, &last]).into_items();
        let is_last = part.len() < PART;
        items.extend(part.iter().map(Value::text));
        if is_last {
            return items;
        }
    }
}

/// The names of the rules that are in force, as JOB.RULES LIST shows them.
fn rule_names(client: &mut Client) -> Vec<String> {
    sure(client, "JOB.RULES LIST").items().iter().map(|rule| field(rule, "name").text()).collect()
}

/// Waits until so many clients block.
fn wait_until_blocked(client: &mut Client, count: usize) {
    wait_until("clients block", || client.info("clients")["blocked_clients"] == count.to_string());
}

#[test]
fn a_line_is_split_as_a_shell_splits_it() {
    assert_eq!(words_of(r#"A  "b \"c\"" '{"d":1}' "" e"#), ["A", "b \"c\"", "{\"d\":1}", "", "e"]);
}
