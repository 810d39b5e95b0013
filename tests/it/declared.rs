//! Every command's declared example, run on Millpond and on a real Redis, and every command of COMMAND LIST met.
//!
//! `millpond examples` prints one JSON object a line: `{"command":"LPUSH","send":["LPUSH","k","a"],"reply":"…"}`.
//! Lines of one command follow one another on the same data; each command begins with empty servers.

use crate::differential::compare;
use crate::differential::generator::How;
use crate::harness::{self, Protocol, Server, Value};
use std::collections::BTreeSet;
use std::process::Command;

/// Replies that tell of the server, the moment or chance: only their kind is compared.
const TELLS_OF_THE_SERVER: &[&str] = &[
    "ACL",
    "CLIENT",
    "COMMAND",
    "CONFIG",
    "DEBUG",
    "HELLO",
    "INFO",
    "LASTSAVE",
    "LATENCY",
    "MEMORY",
    "OBJECT",
    "RANDOMKEY",
    "ROLE",
    "SLOWLOG",
    "TIME",
    "HRANDFIELD",
    "SPOP",
    "SRANDMEMBER",
    "ZRANDMEMBER",
    "SCAN",
    "SSCAN",
    "HSCAN",
    "ZSCAN",
];
/// Replies without an order.
const UNORDERED: &[&str] = &["SMEMBERS", "KEYS", "SINTER", "SUNION", "SDIFF", "HKEYS", "HVALS"];
/// Replies that tell a time from now, in seconds or milliseconds.
const TIMES: &[&str] = &["TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME"];
/// Commands that end the server or the connection, or that wait: other tests run them.
const NOT_RUN_HERE: &[&str] =
    &["SHUTDOWN", "QUIT", "MONITOR", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "SYNC", "PSYNC"];

/// One line of `millpond examples`.
struct Example {
    command: String,
    send: Vec<String>,
    reply: Option<String>,
}

#[test]
fn every_declared_example_gets_the_reply_that_redis_gives_and_every_command_has_one() {
    if harness::is_stand_in() || !harness::redis_or_explain() {
        return;
    }
    let examples = declared_examples();
    let millpond = Server::millpond(&[]);
    let redis = Server::redis(&["--appendfsync", "no"]);
    let mut failures = Vec::new();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let connect =
            |server: &Server| harness::Client::connect_checked(server.port(), protocol).expect("a connection");
        let mut previous = "";
        let (mut ours, mut theirs) = (connect(&millpond), connect(&redis));
        for example in &examples {
            if example.command != previous {
                (ours, theirs) = (connect(&millpond), connect(&redis));
                ours.line("FLUSHALL");
                theirs.line("FLUSHALL");
                previous = &example.command;
            }
            let first = example.send[0].to_uppercase();
            if NOT_RUN_HERE.contains(&&*first) {
                continue;
            }
            let our_reply = ours.must(&example.send);
            let their_reply = theirs.must(&example.send);
            if let Some(why) = difference(example, &first, &our_reply, &their_reply) {
                failures.push(format!(
                    "{:?} {}: {why}\n  (millpond {our_reply:?}, redis {their_reply:?})",
                    protocol,
                    example.send.join(" ")
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{} examples differ:\n{}", failures.len(), failures.join("\n"));

    let met = examples.iter().map(|example| example.command.to_uppercase()).collect::<BTreeSet<_>>();
    let listed = millpond.client().line("COMMAND LIST");
    let missing = listed
        .items()
        .iter()
        .map(|name| name.text().to_uppercase())
        .filter(|name| !met.contains(name) && !met.iter().any(|other| other.starts_with(&format!("{name} "))))
        .collect::<Vec<_>>();
    assert!(missing.is_empty(), "no example runs these commands: {}", missing.join(" "));
    println!("{} examples of {} commands, in both protocols", examples.len(), met.len());
}

fn declared_examples() -> Vec<Example> {
    let output = Command::new(harness::millpond_binary().1).arg("examples").output().expect("the binary runs");
    assert!(output.status.success(), "millpond examples: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let examples = text.lines().map(parse).collect::<Vec<_>>();
    assert!(!examples.is_empty(), "millpond examples printed nothing");
    examples
}

fn parse(line: &str) -> Example {
    let object: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let words = object["send"].as_array().unwrap_or_else(|| panic!("no words to send: {line}"));
    Example {
        command: object["command"].as_str().unwrap_or_else(|| panic!("no command: {line}")).to_owned(),
        send: words.iter().map(|word| word.as_str().expect("words are strings").to_owned()).collect(),
        reply: object["reply"].as_str().map(str::to_owned),
    }
}

/// How the replies differ; a command that Redis 7.0 does not know is judged by its declared reply alone.
fn difference(example: &Example, first: &str, ours: &Value, theirs: &Value) -> Option<String> {
    let unknown = ["ERR unknown command", "ERR unknown subcommand"];
    if matches!(theirs, Value::Error(text) if unknown.iter().any(|start| text.starts_with(start))) {
        let declared = example.reply.as_deref()?;
        return (format!("{ours:?}") != declared && plain(ours) != declared).then(|| format!("declared is {declared}"));
    }
    // A container's HELP tells of the subcommands that there are.
    let is_help = example.send.get(1).is_some_and(|word| word.eq_ignore_ascii_case("HELP"));
    if is_help || TELLS_OF_THE_SERVER.contains(&first) {
        let same_kind = std::mem::discriminant(ours) == std::mem::discriminant(theirs);
        return (!same_kind).then(|| "another kind of reply".into());
    }
    let how = match first {
        "HGETALL" => How::Pairs,
        _ if UNORDERED.contains(&first) => How::Unordered,
        _ if TIMES.contains(&first) => How::Time(if first.starts_with('P') { 2000 } else { 2 }),
        _ => How::Exact,
    };
    compare::difference(first, &how, ours, theirs)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Simple(text) | Value::Error(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Bulk(_) | Value::Verbatim(..) | Value::Double(_) => value.text(),
        value if value.is_nil() => "nil".into(),
        other => format!("{other:?}"),
    }
}
