//! CLIENT: what a connection says of itself, and what is done to others.

use bytes::Bytes;

use crate::command::argument::{integer, is};
use crate::command::container::{container, help_of, wrong_form};
use crate::command::{Command, Context, Flag, Group, Keys, Outcome};
use crate::resp::{Error, Reply};
use crate::session::ReplyMode;

use super::listing::{kill, line, list};

const OWN: &[Flag] = &[Flag::NoScript, Flag::Loading, Flag::Stale];
const OTHERS: &[Flag] = &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale];

pub const COMMANDS: &[Command] = &[
    container(
        "client",
        "2.4.0",
        Group::Connection,
        "A container for client connection commands.",
        &["CLIENT", "CLIENT NOSUCH"],
    ),
    Command {
        name: "client|id",
        run: |context, _| Ok(Reply::Integer(context.session.id as i64)),
        summary: "Returns the unique client ID of the connection.",
        since: "5.0.0",
        examples: &["CLIENT ID", "CLIENT ID x"],
        ..OF_ITSELF
    },
    Command {
        name: "client|info",
        run: |context, _| {
            let text = line(context.session, context.keys, context.now.mono);
            Ok(Reply::Verbatim(text.into()))
        },
        summary: "Returns information about the connection.",
        since: "6.2.0",
        examples: &["CLIENT INFO"],
        ..OF_ITSELF
    },
    Command {
        name: "client|list",
        run: list,
        syntax: "[TYPE NORMAL | MASTER | REPLICA | PUBSUB] [ID client-id [client-id ...]]",
        summary: "Lists open connections.",
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections",
        flags: OTHERS,
        examples: &[
            "CLIENT LIST",
            "CLIENT LIST TYPE normal",
            "CLIENT LIST TYPE x",
            "CLIENT LIST ID x",
            "CLIENT LIST X",
        ],
        ..OF_ITSELF
    },
    Command {
        name: "client|setname",
        run: |context, request| {
            check_name(&request[2])?;
            context.session.name = Bytes::copy_from_slice(&request[2]);
            Ok(Reply::Ok)
        },
        syntax: "connection-name",
        summary: "Sets the connection name.",
        since: "2.6.9",
        examples: &["CLIENT SETNAME worker-1", "CLIENT GETNAME", "CLIENT SETNAME \"a b\"", "CLIENT SETNAME \"\""],
        ..OF_ITSELF
    },
    Command {
        name: "client|getname",
        run: |context, _| {
            let name = &context.session.name;
            Ok(if name.is_empty() { Reply::Null } else { Reply::Bulk(name.clone()) })
        },
        summary: "Returns the name of the connection.",
        since: "2.6.9",
        examples: &["CLIENT GETNAME", "CLIENT SETNAME worker-1", "CLIENT GETNAME"],
        ..OF_ITSELF
    },
    Command {
        name: "client|setinfo",
        run: set_library,
        syntax: "<LIB-NAME | LIB-VER> value",
        summary: "Sets information specific to the client or connection.",
        since: "7.2.0",
        // Newer than the Redis that examples are compared with, so only what both refuse.
        examples: &["CLIENT SETINFO"],
        ..OF_ITSELF
    },
    Command {
        name: "client|kill",
        run: kill,
        syntax: "<ip:port | option value> [option value ...]",
        summary: "Terminates open connections.",
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections",
        flags: OTHERS,
        examples: &[
            "CLIENT KILL 1.2.3.4:5",
            "CLIENT KILL ADDR 1.2.3.4:5",
            "CLIENT KILL ID 0",
            "CLIENT KILL TYPE x",
            "CLIENT KILL USER x",
            "CLIENT KILL X y",
        ],
        ..OF_ITSELF
    },
    Command {
        name: "client|unblock",
        run: unblock,
        syntax: "client-id [TIMEOUT | ERROR]",
        summary: "Unblocks a client blocked by a blocking command from a different connection.",
        since: "5.0.0",
        complexity: "O(log N) where N is the number of client connections",
        flags: OTHERS,
        examples: &["CLIENT UNBLOCK 0", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 0 LATER", "CLIENT UNBLOCK 0 ERROR x"],
        ..OF_ITSELF
    },
    Command {
        name: "client|reply",
        run: set_reply_mode,
        syntax: "<ON | OFF | SKIP>",
        summary: "Instructs the server whether to reply to commands.",
        since: "3.2.0",
        examples: &["CLIENT REPLY ON", "CLIENT REPLY x"],
        ..OF_ITSELF
    },
    Command {
        name: "client|no-evict",
        run: |context, request| {
            context.session.no_evict = on_or_off(&request[2])?;
            Ok(Reply::Ok)
        },
        syntax: "<ON | OFF>",
        summary: "Sets the client eviction mode of the connection.",
        since: "7.0.0",
        flags: OTHERS,
        examples: &["CLIENT NO-EVICT ON", "CLIENT NO-EVICT OFF", "CLIENT NO-EVICT x"],
        ..OF_ITSELF
    },
    Command {
        name: "client|no-touch",
        run: |context, request| {
            context.session.no_touch = on_or_off(&request[2])?;
            Ok(Reply::Ok)
        },
        syntax: "<ON | OFF>",
        summary: "Controls whether commands sent by the client affect the time of the last access of keys.",
        since: "7.2.0",
        examples: &["CLIENT NO-TOUCH"],
        ..OF_ITSELF
    },
    Command {
        name: "client|getredir",
        run: |_, _| Ok(Reply::Integer(NOT_TRACKING)),
        summary: "Returns the client ID to which the connection's tracking notifications are redirected.",
        since: "6.0.0",
        examples: &["CLIENT GETREDIR"],
        ..OF_ITSELF
    },
    Command {
        name: "client|trackinginfo",
        run: |_, _| {
            Ok(Reply::Map(vec![
                (Reply::bulk("flags"), Reply::Set(vec![Reply::bulk("off")])),
                (Reply::bulk("redirect"), Reply::Integer(NOT_TRACKING)),
                (Reply::bulk("prefixes"), Reply::Array(Vec::new())),
            ]))
        },
        summary: "Returns information about server-assisted client-side caching for the connection.",
        since: "6.2.0",
        examples: &["CLIENT TRACKINGINFO"],
        ..OF_ITSELF
    },
    help_of("client|help", "5.0.0", Group::Connection, &["CLIENT HELP"]),
];

/// What most subcommands have in common.
const OF_ITSELF: Command = Command {
    name: "",
    run: |_, request| Err(wrong_form(request).into()),
    syntax: "",
    summary: "",
    since: "",
    group: Group::Connection,
    complexity: "O(1)",
    flags: OWN,
    keys: Keys::None,
    examples: &[],
};

/// Where Redis names a client that gets the news of changed keys; there is no such news here.
const NOT_TRACKING: i64 = -1;

/// Refuses names that would break a line of CLIENT LIST.
pub fn check_name(name: &[u8]) -> Result<(), Error> {
    if is_word(name) {
        return Ok(());
    }
    Err(Error::constant("ERR Client names cannot contain spaces, newlines or special characters."))
}

fn is_word(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_graphic)
}

fn set_library(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (attribute, value) = (&request[2], &request[3]);
    let shown = String::from_utf8_lossy(attribute);
    let target = if is(attribute, "LIB-NAME") {
        &mut context.session.library_name
    } else if is(attribute, "LIB-VER") {
        &mut context.session.library_version
    } else {
        return Err(Error::new(format!("ERR Unrecognized option '{shown}'")).into());
    };
    if !is_word(value) {
        let reason = "cannot contain spaces, newlines or special characters.";
        return Err(Error::new(format!("ERR {shown} {reason}")).into());
    }
    *target = Bytes::copy_from_slice(value);
    Ok(Reply::Ok)
}

fn unblock(context: &mut Context, request: &[Bytes]) -> Outcome {
    let with_error = match &request[3..] {
        [] => false,
        [reason] if is(reason, "TIMEOUT") => false,
        [reason] if is(reason, "ERROR") => true,
        [_] => return Err(Error::constant("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR").into()),
        _ => return Err(wrong_form(request).into()),
    };
    let client = integer(&request[2])?;
    Ok(Reply::flag(u64::try_from(client).is_ok_and(|client| context.host.unblock(client, with_error))))
}

fn set_reply_mode(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (mode, reply) = if is(&request[2], "ON") {
        (ReplyMode::On, Reply::Ok)
    } else if is(&request[2], "OFF") {
        (ReplyMode::Off, Reply::Silent)
    } else if is(&request[2], "SKIP") {
        // While all replies are off there is none to skip.
        let is_off = context.session.reply_mode == ReplyMode::Off;
        (if is_off { ReplyMode::Off } else { ReplyMode::SkipNext }, Reply::Silent)
    } else {
        return Err(Error::SYNTAX.into());
    };
    context.session.reply_mode = mode;
    Ok(reply)
}

fn on_or_off(text: &[u8]) -> Result<bool, Error> {
    match () {
        () if is(text, "ON") => Ok(true),
        () if is(text, "OFF") => Ok(false),
        () => Err(Error::SYNTAX),
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Reply;
    use crate::session::{Peer, ReplyMode, Session};

    fn other(bench: &mut Bench, id: u64, address: &str) {
        let peer = Peer { address: address.to_owned(), ..Peer::default() };
        bench.host.others.push(Session::new(id, peer, std::time::Duration::ZERO));
    }

    fn error(bench: &mut Bench, line: &str) -> String {
        match bench.run(line) {
            Reply::Error(error) => error.line().to_owned(),
            reply => panic!("{line}: {reply:?}"),
        }
    }

    fn text(bench: &mut Bench, line: &str) -> String {
        match bench.run(line) {
            Reply::Verbatim(text) => String::from_utf8(text.to_vec()).expect("it is text"),
            reply => panic!("{line}: {reply:?}"),
        }
    }

    #[test]
    fn a_line_of_client_list_has_the_fields_of_redis_in_order() {
        let mut bench = Bench::default();
        bench.run("CLIENT SETNAME me");
        bench.run("CLIENT SETINFO lib-name redis-client(sidekiq_v8.1.7)");
        bench.pass_ms(2500);
        assert_eq!(
            text(&mut bench, "CLIENT INFO"),
            "id=1 addr= laddr= fd=0 name=me age=2 idle=2 flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 watch=0 qbuf=0 \
             qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd=NULL \
             user=default redir=-1 resp=2 lib-name=redis-client(sidekiq_v8.1.7) lib-ver=\n"
        );
    }

    #[test]
    fn client_list_is_in_the_order_of_ids_and_can_be_filtered() {
        let mut bench = Bench::default();
        bench.session.id = 5;
        other(&mut bench, 3, "a:1");
        other(&mut bench, 9, "b:2");
        bench.host.others[1].channels.insert("news".into());
        let ids = |text: String| -> Vec<String> {
            text.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(ids(text(&mut bench, "CLIENT LIST")), ["id=3", "id=5", "id=9"]);
        assert_eq!(ids(text(&mut bench, "CLIENT LIST TYPE pubsub")), ["id=9"]);
        assert_eq!(ids(text(&mut bench, "CLIENT LIST TYPE normal")), ["id=3", "id=5"]);
        assert_eq!(ids(text(&mut bench, "CLIENT LIST ID 9 5 77 9")), ["id=9", "id=5", "id=9"]);
        assert_eq!(error(&mut bench, "CLIENT LIST ID 1 x"), "ERR Invalid client ID");
    }

    #[test]
    fn kill_matches_all_its_options_together() {
        let mut bench = Bench::default();
        bench.session.id = 5;
        other(&mut bench, 3, "a:1");
        other(&mut bench, 9, "b:2");
        assert_eq!(bench.run("CLIENT KILL ID 9 ADDR a:1"), Reply::Integer(0));
        assert_eq!(bench.run("CLIENT KILL ID 9 ADDR b:2 USER default"), Reply::Integer(1));
        assert_eq!(bench.host.killed, [9]);
        assert_eq!(bench.run("CLIENT KILL a:1"), Reply::Ok);
        assert_eq!(bench.host.killed, [9, 3]);
        assert_eq!(error(&mut bench, "CLIENT KILL c:1"), "ERR No such client");
    }

    #[test]
    fn kill_spares_the_caller_unless_told_otherwise_and_then_still_answers() {
        let mut bench = Bench::default();
        assert_eq!(bench.run("CLIENT KILL TYPE normal"), Reply::Integer(0));
        assert!(!bench.session.closing);
        assert_eq!(bench.run("CLIENT KILL TYPE normal SKIPME no"), Reply::Integer(1));
        assert!(bench.session.closing);
    }

    #[test]
    fn reply_modes_are_kept_in_the_session() {
        let mut bench = Bench::default();
        assert_eq!(bench.run("CLIENT REPLY SKIP"), Reply::Silent);
        assert_eq!(bench.session.reply_mode, ReplyMode::SkipNext);
        assert_eq!(bench.run("CLIENT REPLY OFF"), Reply::Silent);
        assert_eq!(bench.run("CLIENT REPLY SKIP"), Reply::Silent);
        assert_eq!(bench.session.reply_mode, ReplyMode::Off);
        assert_eq!(bench.run("CLIENT REPLY ON"), Reply::Ok);
        assert_eq!(bench.session.reply_mode, ReplyMode::On);
    }

    #[test]
    fn library_names_are_checked_as_redis_checks_them() {
        let mut bench = Bench::default();
        assert_eq!(bench.run("CLIENT SETINFO LIB-VER 0.30.0"), Reply::Ok);
        assert_eq!(error(&mut bench, "CLIENT SETINFO lib-x y"), "ERR Unrecognized option 'lib-x'");
        assert_eq!(
            error(&mut bench, "CLIENT SETINFO lib-name \"a b\""),
            "ERR lib-name cannot contain spaces, newlines or special characters."
        );
    }
}
