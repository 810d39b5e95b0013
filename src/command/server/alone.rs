//! What a single server answers that always saves: to questions about replicas, snapshots, modules and functions.

use bytes::Bytes;

use crate::command::argument::{integer, is};
use crate::command::container::{container, help_of, wrong_form};
use crate::command::{Command, Context, Flag, Group, Keys, Outcome};
use crate::resp::{Error, Reply};

const SAVES: &[Flag] = &[Flag::Admin, Flag::NoScript];
const REPLICATION: &[Flag] = &[Flag::Admin, Flag::NoScript, Flag::Stale];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "role",
        run: |_, _| Ok(Reply::Array(vec![Reply::bulk("master"), Reply::Integer(0), Reply::Array(Vec::new())])),
        summary: "Returns the replication role.",
        since: "2.8.12",
        flags: &[Flag::NoScript, Flag::Loading, Flag::Stale, Flag::Fast],
        examples: &["ROLE"],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "replicaof",
        run: replicate,
        syntax: "host port",
        summary: "Accepts NO ONE only: there is no replication.",
        since: "5.0.0",
        flags: REPLICATION,
        examples: &["REPLICAOF NO ONE", "REPLICAOF somewhere x"],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "slaveof",
        run: replicate,
        syntax: "host port",
        summary: "Accepts NO ONE only: there is no replication.",
        since: "1.0.0",
        flags: REPLICATION,
        examples: &["SLAVEOF NO ONE", "SLAVEOF somewhere x"],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "wait",
        run: wait,
        syntax: "numreplicas timeout",
        summary: "Returns 0 at once: there are no replicas that could acknowledge.",
        since: "3.0.0",
        group: Group::Generic,
        flags: &[Flag::NoScript],
        examples: &["WAIT 0 0", "WAIT -1 10", "WAIT x 0", "WAIT 0 x", "WAIT 0 -1"],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "save",
        run: |_, _| Ok(Reply::Ok),
        summary: "Does nothing: every write is in the log before its reply.",
        flags: &[Flag::Admin, Flag::NoScript, Flag::NoMulti],
        examples: &["SAVE", "SAVE x"],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "bgsave",
        run: |_, request| match &request[1..] {
            [] => Ok(Reply::status("Background saving started")),
            [option] if is(option, "SCHEDULE") => Ok(Reply::status("Background saving started")),
            _ => Err(Error::SYNTAX.into()),
        },
        syntax: "[SCHEDULE]",
        summary: "Does nothing: every write is in the log before its reply.",
        flags: SAVES,
        // Only what Redis refuses: its background work would disturb the examples behind it.
        examples: &["BGSAVE x"],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "bgrewriteaof",
        run: |_, _| Ok(Reply::status("Background append only file rewriting started")),
        summary: "Does nothing: checkpoints shorten the log by themselves.",
        flags: SAVES,
        examples: &["BGREWRITEAOF x"],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "lastsave",
        run: |context, _| Ok(Reply::Integer((context.now.wall_us / 1_000_000) as i64)),
        summary: "Returns the present Unix time: everything is always saved.",
        flags: &[Flag::Loading, Flag::Stale, Flag::Fast],
        examples: &["LASTSAVE"],
        ..ABOUT_THE_SERVER
    },
    container("module", "4.0.0", Group::Server, "A container for module commands.", &["MODULE", "MODULE NOSUCH"]),
    Command {
        name: "module|list",
        run: |_, _| Ok(Reply::Array(Vec::new())),
        summary: "Returns nothing: there are no modules.",
        since: "4.0.0",
        flags: SAVES,
        examples: &["MODULE LIST", "MODULE LIST x"],
        ..ABOUT_THE_SERVER
    },
    help_of("module|help", "5.0.0", Group::Server, &["MODULE HELP x"]),
    container(
        "function",
        "7.0.0",
        Group::Scripting,
        "A container for function commands.",
        &["FUNCTION", "FUNCTION NOSUCH"],
    ),
    Command {
        name: "function|list",
        run: list_functions,
        syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        summary: "Returns nothing: scripts are there, libraries of functions are not.",
        since: "7.0.0",
        group: Group::Scripting,
        flags: &[Flag::NoScript],
        examples: &[
            "FUNCTION LIST",
            "FUNCTION LIST LIBRARYNAME a* WITHCODE",
            "FUNCTION LIST LIBRARYNAME",
            "FUNCTION LIST WITHCODE x",
        ],
        ..ABOUT_THE_SERVER
    },
    Command {
        name: "function|flush",
        run: |_, request| match &request[2..] {
            [] => Ok(Reply::Ok),
            [mode] if is(mode, "SYNC") || is(mode, "ASYNC") => Ok(Reply::Ok),
            [_] => Err(Error::constant("ERR FUNCTION FLUSH only supports SYNC|ASYNC option").into()),
            _ => Err(wrong_form(request).into()),
        },
        syntax: "[ASYNC | SYNC]",
        summary: "Does nothing: there are no libraries of functions.",
        since: "7.0.0",
        group: Group::Scripting,
        flags: &[Flag::NoScript],
        examples: &["FUNCTION FLUSH", "FUNCTION FLUSH ASYNC", "FUNCTION FLUSH x", "FUNCTION FLUSH SYNC x"],
        ..ABOUT_THE_SERVER
    },
    help_of("function|help", "7.0.0", Group::Scripting, &["FUNCTION HELP x"]),
];

/// What most of these have in common.
const ABOUT_THE_SERVER: Command = Command {
    name: "",
    run: |_, _| Err(Error::SYNTAX.into()),
    syntax: "",
    summary: "",
    since: "1.0.0",
    group: Group::Server,
    complexity: "O(1)",
    flags: &[],
    keys: Keys::None,
    examples: &[],
};

fn replicate(_: &mut Context, request: &[Bytes]) -> Outcome {
    if is(&request[1], "NO") && is(&request[2], "ONE") {
        return Ok(Reply::Ok);
    }
    if !integer(&request[2]).is_ok_and(|port| (0..=i64::from(u16::MAX)).contains(&port)) {
        return Err(Error::constant("ERR Invalid master port").into());
    }
    Err(Error::constant("ERR there is no replication: this server can only be a master").into())
}

fn wait(_: &mut Context, request: &[Bytes]) -> Outcome {
    integer(&request[1])?;
    match integer(&request[2]) {
        Ok(0..) => Ok(Reply::Integer(0)),
        Ok(_) => Err(Error::constant("ERR timeout is negative").into()),
        Err(_) => Err(Error::constant("ERR timeout is not an integer or out of range").into()),
    }
}

fn list_functions(_: &mut Context, request: &[Bytes]) -> Outcome {
    let (mut with_code, mut pattern) = (false, false);
    let mut options = request[2..].iter();
    while let Some(option) = options.next() {
        if !with_code && is(option, "WITHCODE") {
            with_code = true;
        } else if !pattern && is(option, "LIBRARYNAME") {
            pattern = true;
            options.next().ok_or(Error::constant("ERR library name argument was not given"))?;
        } else {
            return Err(Error::new(format!("ERR Unknown argument {}", String::from_utf8_lossy(option))).into());
        }
    }
    Ok(Reply::Array(Vec::new()))
}
