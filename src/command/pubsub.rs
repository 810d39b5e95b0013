//! Messages to whoever listens now. The session knows what it listens to, the host who listens to what.

use bytes::Bytes;

use crate::resp::{Error, Reply};
use crate::session::Session;

use super::container::{container, help_of, wrong_form};
use crate::glob;

use super::{Command, Context, Flag, Group, Keys, Outcome};

/// What one client may listen to. Redis has no limit; without one, a client's names would be memory that no share counts.
const SUBSCRIPTIONS_MAX: usize = 65_536;

const LISTEN: &[Flag] = &[Flag::PubSub, Flag::NoScript, Flag::Loading, Flag::Stale];
const ASK: &[Flag] = &[Flag::PubSub, Flag::Loading, Flag::Stale];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "subscribe",
        run: |context, request| subscribe(context, &request[1..], Names::Channels),
        syntax: "channel [channel ...]",
        summary: "Listens for messages published to channels.",
        since: "2.0.0",
        group: Group::PubSub,
        complexity: "O(N) where N is the number of channels to subscribe to.",
        flags: LISTEN,
        keys: Keys::None,
        examples: &["SUBSCRIBE news sport news"],
    },
    Command {
        name: "psubscribe",
        run: |context, request| subscribe(context, &request[1..], Names::Patterns),
        syntax: "pattern [pattern ...]",
        summary: "Listens for messages published to channels that match one or more patterns.",
        since: "2.0.0",
        group: Group::PubSub,
        complexity: "O(N) where N is the number of patterns.",
        flags: LISTEN,
        keys: Keys::None,
        examples: &["PSUBSCRIBE n* s?ort"],
    },
    Command {
        name: "unsubscribe",
        run: |context, request| unsubscribe(context, &request[1..], Names::Channels),
        syntax: "[channel [channel ...]]",
        summary: "Stops listening to messages posted to channels.",
        since: "2.0.0",
        group: Group::PubSub,
        complexity: "O(N) where N is the number of channels.",
        flags: LISTEN,
        keys: Keys::None,
        examples: &["UNSUBSCRIBE", "UNSUBSCRIBE news"],
    },
    Command {
        name: "punsubscribe",
        run: |context, request| unsubscribe(context, &request[1..], Names::Patterns),
        syntax: "[pattern [pattern ...]]",
        summary: "Stops listening to messages published to channels that match one or more patterns.",
        since: "2.0.0",
        group: Group::PubSub,
        complexity: "O(N) where N is the number of patterns.",
        flags: LISTEN,
        keys: Keys::None,
        examples: &["PUNSUBSCRIBE", "PUNSUBSCRIBE n*"],
    },
    Command {
        name: "publish",
        run: |context, request| Ok(Reply::Integer(context.host.publish(context.session, &request[1], &request[2]))),
        syntax: "channel message",
        summary: "Posts a message to a channel.",
        since: "2.0.0",
        group: Group::PubSub,
        complexity: "O(N+M) where N is the number of clients that listen to the channel and M the number of patterns.",
        flags: &[Flag::PubSub, Flag::Loading, Flag::Stale, Flag::Fast],
        keys: Keys::None,
        examples: &["PUBLISH news hello", "PUBLISH news"],
    },
    container("pubsub", "2.8.0", Group::PubSub, "A container for Pub/Sub commands.", &["PUBSUB", "PUBSUB NOSUCH"]),
    Command {
        name: "pubsub|channels",
        run: channels,
        syntax: "[pattern]",
        summary: "Returns the active channels.",
        since: "2.8.0",
        group: Group::PubSub,
        complexity: "O(N) where N is the number of active channels.",
        flags: ASK,
        keys: Keys::None,
        examples: &["PUBSUB CHANNELS", "PUBSUB CHANNELS n*", "PUBSUB CHANNELS a b"],
    },
    Command {
        name: "pubsub|numsub",
        run: subscriber_counts,
        syntax: "[channel [channel ...]]",
        summary: "Returns a count of subscribers to channels.",
        since: "2.8.0",
        group: Group::PubSub,
        complexity: "O(N log C) where N is the number of requested channels and C that of active ones.",
        flags: ASK,
        keys: Keys::None,
        examples: &["PUBSUB NUMSUB", "PUBSUB NUMSUB news sport"],
    },
    Command {
        name: "pubsub|numpat",
        run: |context, _| Ok(Reply::Integer(context.host.pattern_count() as i64)),
        syntax: "",
        summary: "Returns a count of unique pattern subscriptions.",
        since: "2.8.0",
        group: Group::PubSub,
        complexity: "O(1)",
        flags: ASK,
        keys: Keys::None,
        examples: &["PUBSUB NUMPAT", "PUBSUB NUMPAT x"],
    },
    help_of("pubsub|help", "6.2.0", Group::PubSub, &["PUBSUB HELP"]),
];

/// What is listened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Channels,
    Patterns,
}

impl Names {
    fn of(self, session: &mut Session) -> &mut std::collections::BTreeSet<Bytes> {
        match self {
            Names::Channels => &mut session.channels,
            Names::Patterns => &mut session.patterns,
        }
    }

    /// The first element of a confirmation.
    fn confirmed(self, on: bool) -> &'static str {
        match (self, on) {
            (Names::Channels, true) => "subscribe",
            (Names::Channels, false) => "unsubscribe",
            (Names::Patterns, true) => "psubscribe",
            (Names::Patterns, false) => "punsubscribe",
        }
    }
}

fn subscribe(context: &mut Context, names: &[Bytes], what: Names) -> Outcome {
    if context.session.subscriptions() + names.len() > SUBSCRIPTIONS_MAX {
        return Err(Error::new(format!("ERR a client can listen to at most {SUBSCRIPTIONS_MAX} names")).into());
    }
    let mut confirmations = Vec::with_capacity(names.len());
    for name in names {
        // A copy, since the argument is part of a buffer that may be much larger.
        let name = Bytes::copy_from_slice(name);
        if what.of(context.session).insert(name.clone()) {
            context.host.listen(context.session.id, &name, what == Names::Patterns, true);
        }
        confirmations.push(confirmation(context.session, what.confirmed(true), Reply::Bulk(name)));
    }
    Ok(Reply::Many(confirmations))
}

/// Without names, from all; and if there are none, that is confirmed by a nil.
fn unsubscribe(context: &mut Context, names: &[Bytes], what: Names) -> Outcome {
    let names: Vec<Bytes> = match names {
        [] => what.of(context.session).iter().cloned().collect(),
        names => names.to_vec(),
    };
    let word = what.confirmed(false);
    if names.is_empty() {
        return Ok(Reply::Many(vec![confirmation(context.session, word, Reply::Null)]));
    }
    let mut confirmations = Vec::with_capacity(names.len());
    for name in names {
        forget(context, &name, what);
        confirmations.push(confirmation(context.session, word, Reply::Bulk(name)));
    }
    Ok(Reply::Many(confirmations))
}

fn forget(context: &mut Context, name: &Bytes, what: Names) {
    if what.of(context.session).remove(name) {
        context.host.listen(context.session.id, name, what == Names::Patterns, false);
    }
}

fn confirmation(session: &Session, word: &str, name: Reply) -> Reply {
    Reply::Push(vec![Reply::bulk(word), name, Reply::Integer(session.subscriptions() as i64)])
}

/// Ends all that a client listens to, without a word.
pub fn unsubscribe_from_all(context: &mut Context) {
    for what in [Names::Channels, Names::Patterns] {
        for name in what.of(context.session).clone() {
            forget(context, &name, what);
        }
    }
}

fn channels(context: &mut Context, request: &[Bytes]) -> Outcome {
    let pattern: &[u8] = match &request[2..] {
        [] => b"*",
        [pattern] => pattern,
        _ => return Err(wrong_form(request).into()),
    };
    let channels = context.host.channels().into_iter().filter(|(name, _)| glob::matches(pattern, name));
    Ok(Reply::Array(channels.map(|(name, _)| Reply::Bulk(name)).collect()))
}

fn subscriber_counts(context: &mut Context, request: &[Bytes]) -> Outcome {
    let channels = context.host.channels();
    let count = |name: &Bytes| channels.binary_search_by(|(other, _)| other.cmp(name)).map_or(0, |at| channels[at].1);
    let pairs = request[2..].iter().flat_map(|name| [Reply::Bulk(name.clone()), Reply::Integer(count(name) as i64)]);
    Ok(Reply::Array(pairs.collect()))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;

    #[test]
    fn each_name_is_confirmed_with_the_number_of_all() {
        let mut bench = Bench::default();
        let confirmed = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n\
                         *3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n";
        assert_eq!(bench.resp2("SUBSCRIBE a b a"), confirmed);
        assert_eq!(bench.resp2("PSUBSCRIBE p*"), "*3\r\n$10\r\npsubscribe\r\n$2\r\np*\r\n:3\r\n");
        assert_eq!(bench.resp2("UNSUBSCRIBE x"), "*3\r\n$11\r\nunsubscribe\r\n$1\r\nx\r\n:3\r\n");
        let confirmed = "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:2\r\n*3\r\n$11\r\nunsubscribe\r\n$1\r\nb\r\n:1\r\n";
        assert_eq!(bench.resp2("UNSUBSCRIBE"), confirmed);
        assert_eq!(bench.resp2("UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n");
    }

    #[test]
    fn the_host_knows_who_listens_until_reset() {
        let mut bench = Bench::default();
        bench.run("SUBSCRIBE news sport");
        bench.run("PSUBSCRIBE n*");
        assert_eq!(bench.resp2("PUBLISH news x"), ":2\r\n");
        assert_eq!(bench.resp2("PUBSUB CHANNELS s*"), "*1\r\n$5\r\nsport\r\n");
        assert_eq!(bench.resp2("PUBSUB NUMSUB news no"), "*4\r\n$4\r\nnews\r\n:1\r\n$2\r\nno\r\n:0\r\n");
        assert_eq!(bench.resp2("PUBSUB NUMPAT"), ":1\r\n");
        assert_eq!(bench.resp2("RESET"), "+RESET\r\n");
        assert_eq!(bench.resp2("PUBLISH news x"), ":0\r\n");
        assert_eq!(bench.session.subscriptions(), 0);
    }

    #[test]
    fn a_subscriber_of_resp2_is_pinged_by_an_array() {
        let mut bench = Bench::default();
        assert_eq!(bench.resp2("PING"), "+PONG\r\n");
        bench.run("SUBSCRIBE a");
        assert_eq!(bench.resp2("PING"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
        assert_eq!(bench.resp2("PING hi"), "*2\r\n$4\r\npong\r\n$2\r\nhi\r\n");
    }

    #[test]
    fn a_client_cannot_listen_to_names_without_end() {
        let mut bench = Bench::default();
        let names: Vec<bytes::Bytes> = std::iter::once("SUBSCRIBE".into())
            .chain((0..super::SUBSCRIPTIONS_MAX).map(|number| number.to_string().into()))
            .collect();
        bench.request(&names).expect("the limit itself is allowed");
        assert!(bench.resp2("PSUBSCRIBE x").starts_with("-ERR a client can listen to at most"));
    }
}
