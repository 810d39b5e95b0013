//! What concerns one connection: its database, its user, its name, and its end.

pub mod client;
mod listing;
mod login;

use bytes::Bytes;

use crate::resp::{Error, Protocol, Reply};
use crate::session::ReplyMode;

use super::argument::integer;
use super::pubsub::unsubscribe_from_all;
use super::{Command, Context, Flag, Group, Keys, Outcome, Within};

pub use login::{COMMANDS as LOGIN_COMMANDS, is_admitted};

/// Before a login, in a script's wait, while starting: these always run.
const ALWAYS: &[Flag] = &[Flag::NoScript, Flag::Loading, Flag::Stale, Flag::Fast, Flag::NoAuth, Flag::AllowBusy];
const HARMLESS: &[Flag] = &[Flag::Loading, Flag::Stale, Flag::Fast];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "ping",
        run: ping,
        syntax: "[message]",
        summary: "Returns the server's liveliness response.",
        since: "1.0.0",
        group: Group::Connection,
        complexity: "O(1)",
        flags: &[Flag::Fast],
        keys: Keys::None,
        examples: &["PING", "PING hello", "PING a b"],
    },
    Command {
        name: "echo",
        run: |_, request| Ok(Reply::Bulk(request[1].clone())),
        syntax: "message",
        summary: "Returns the given string.",
        since: "1.0.0",
        group: Group::Connection,
        complexity: "O(1)",
        flags: HARMLESS,
        keys: Keys::None,
        examples: &["ECHO hello", "ECHO \"\"", "ECHO"],
    },
    Command {
        name: "select",
        run: select,
        syntax: "index",
        summary: "Changes the selected database.",
        since: "1.0.0",
        group: Group::Connection,
        complexity: "O(1)",
        flags: HARMLESS,
        keys: Keys::None,
        examples: &[
            "SET k 0",
            "SELECT 3",
            "GET k",
            "SELECT 0",
            "GET k",
            "SELECT 99",
            "SELECT -1",
            "SELECT x",
            "SELECT 9999999999",
        ],
    },
    Command {
        name: "quit",
        run: |context, _| {
            context.session.closing = true;
            Ok(Reply::Ok)
        },
        syntax: "[argument ...]",
        summary: "Closes the connection.",
        since: "1.0.0",
        group: Group::Connection,
        complexity: "O(1)",
        flags: ALWAYS,
        keys: Keys::None,
        examples: &["QUIT"],
    },
    Command {
        name: "reset",
        run: |context, _| {
            reset(context);
            Ok(Reply::status("RESET"))
        },
        syntax: "",
        summary: "Resets the connection.",
        since: "6.2.0",
        group: Group::Connection,
        complexity: "O(1)",
        flags: ALWAYS,
        keys: Keys::None,
        examples: &["SELECT 2", "MULTI", "RESET", "EXEC", "PING", "RESET now"],
    },
];

fn ping(context: &mut Context, request: &[Bytes]) -> Outcome {
    let message = match &request[1..] {
        [] => None,
        [message] => Some(message.clone()),
        _ => return Err(Error::constant("ERR wrong number of arguments for 'ping' command").into()),
    };
    // A subscriber of RESP2 tells replies from messages by their first element.
    if context.session.is_subscriber() {
        return Ok(Reply::Array(vec![Reply::bulk("pong"), Reply::Bulk(message.unwrap_or_default())]));
    }
    Ok(message.map_or(Reply::status("PONG"), Reply::Bulk))
}

fn select(context: &mut Context, request: &[Bytes]) -> Outcome {
    let index = integer(&request[1])?;
    if i32::try_from(index).is_err() {
        let range = format!("value must between {} and {}", i32::MIN, i32::MAX);
        return Err(Error::new(format!("ERR value is out of range, {range}")).into());
    }
    let database = usize::try_from(index).ok().filter(|database| *database < context.keys.database_count());
    let database = database.ok_or(Error::constant("ERR DB index is out of range"))?;
    context.keys.select(database);
    // A script's own choice ends with it.
    if context.within != Within::Script {
        context.session.database = database;
    }
    Ok(Reply::Ok)
}

/// Makes the session as it was when it connected. What tells of the client's library stays, as in Redis.
fn reset(context: &mut Context) {
    unsubscribe_from_all(context);
    let watching = std::mem::take(&mut context.session.watching);
    context.keys.unwatch(context.session.id, &watching);
    context.keys.select(0);
    let password = context.host.settings().requirepass.is_some();
    let session = &mut *context.session;
    session.transaction = None;
    session.database = 0;
    session.protocol = Protocol::Resp2;
    session.authenticated = !password;
    session.name = Bytes::new();
    session.reply_mode = ReplyMode::On;
    session.no_evict = false;
    session.no_touch = false;
}
