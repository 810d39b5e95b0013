//! Looking for what is slow or large: MEMORY, SLOWLOG, LATENCY and DEBUG. INFO tells more than these do.

use std::time::Duration;

use bytes::Bytes;

use crate::command::argument::{integer, is};
use crate::command::container::{container, help_of, wrong_form};
use crate::command::{Command, Context, Flag, Group, Keys, Outcome};
use crate::keyspace::Object;
use crate::resp::{Error, Reply, parse_double};
use crate::session::Session;
use crate::settings::{Settings, Whom};

const ADMIN: &[Flag] = &[Flag::Admin, Flag::Loading, Flag::Stale];
const ADMIN_ALONE: &[Flag] = &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale];

const NOT_ALLOWED: Error = Error::constant(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local \
     connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);

/// DEBUG SLEEP stops everybody, so not for ever by a slip.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

pub const COMMANDS: &[Command] = &[
    container(
        "memory",
        "4.0.0",
        Group::Server,
        "A container for memory diagnostics commands.",
        &["MEMORY", "MEMORY NOSUCH"],
    ),
    Command {
        name: "memory|usage",
        run: memory_of_key,
        syntax: "key [SAMPLES count]",
        summary: "Estimates the memory usage of a key, without what of it lies on disk.",
        since: "4.0.0",
        flags: &[Flag::ReadOnly],
        keys: Keys::Range { first: 2, last: 2, step: 1 },
        examples: &[
            "MEMORY USAGE none",
            "RPUSH q a",
            "MEMORY USAGE q",
            "MEMORY USAGE q SAMPLES 0",
            "MEMORY USAGE q SAMPLES x",
            "MEMORY USAGE q SAMPLES -1",
            "MEMORY USAGE q x",
        ],
        ..A_LOOK
    },
    Command {
        name: "memory|doctor",
        run: |_, _| Ok(Reply::Verbatim(Bytes::from_static(MEMORY_ADVICE.as_bytes()))),
        summary: "Says where the memory's figures are.",
        since: "4.0.0",
        examples: &["MEMORY DOCTOR"],
        ..A_LOOK
    },
    Command {
        name: "memory|purge",
        run: |_, _| Ok(Reply::Ok),
        summary: "Does nothing: the allocator gives memory back by itself.",
        since: "4.0.0",
        examples: &["MEMORY PURGE"],
        ..A_LOOK
    },
    help_of("memory|help", "4.0.0", Group::Server, &["MEMORY HELP"]),
    container("slowlog", "2.2.12", Group::Server, "A container for slow log commands.", &["SLOWLOG", "SLOWLOG NOSUCH"]),
    Command {
        name: "slowlog|get",
        run: |_, request| match &request[2..] {
            [] => Ok(Reply::Array(Vec::new())),
            [count] if integer(count).is_ok_and(|count| count >= -1) => Ok(Reply::Array(Vec::new())),
            [_] => Err(Error::constant("ERR count should be greater than or equal to -1").into()),
            _ => Err(wrong_form(request).into()),
        },
        syntax: "[count]",
        summary: "Returns nothing: no slow log is kept.",
        since: "2.2.12",
        flags: ADMIN,
        examples: &["SLOWLOG GET", "SLOWLOG GET 5", "SLOWLOG GET -2", "SLOWLOG GET 1 2"],
        ..A_LOOK
    },
    Command {
        name: "slowlog|len",
        run: |_, _| Ok(Reply::Integer(0)),
        summary: "Returns 0: no slow log is kept.",
        since: "2.2.12",
        flags: ADMIN,
        examples: &["SLOWLOG LEN"],
        ..A_LOOK
    },
    Command {
        name: "slowlog|reset",
        run: |_, _| Ok(Reply::Ok),
        summary: "Does nothing: no slow log is kept.",
        since: "2.2.12",
        flags: ADMIN,
        examples: &["SLOWLOG RESET"],
        ..A_LOOK
    },
    help_of("slowlog|help", "6.2.0", Group::Server, &["SLOWLOG HELP"]),
    container(
        "latency",
        "2.8.13",
        Group::Server,
        "A container for latency diagnostics commands.",
        &["LATENCY", "LATENCY NOSUCH"],
    ),
    Command {
        name: "latency|latest",
        run: |_, _| Ok(Reply::Array(Vec::new())),
        summary: "Returns nothing: latency events are not kept; INFO millpond has the times of turns and requests.",
        since: "2.8.13",
        flags: ADMIN_ALONE,
        examples: &["LATENCY LATEST"],
        ..A_LOOK
    },
    Command {
        name: "latency|history",
        run: |_, _| Ok(Reply::Array(Vec::new())),
        syntax: "event",
        summary: "Returns nothing: latency events are not kept.",
        since: "2.8.13",
        flags: ADMIN_ALONE,
        examples: &["LATENCY HISTORY command", "LATENCY HISTORY"],
        ..A_LOOK
    },
    Command {
        name: "latency|reset",
        run: |_, _| Ok(Reply::Integer(0)),
        syntax: "[event [event ...]]",
        summary: "Returns 0: there are no latency events to be reset.",
        since: "2.8.13",
        flags: ADMIN_ALONE,
        examples: &["LATENCY RESET", "LATENCY RESET command fork"],
        ..A_LOOK
    },
    help_of("latency|help", "2.8.13", Group::Server, &["LATENCY HELP"]),
    Command {
        name: "debug",
        run: debug,
        syntax: "subcommand [argument ...]",
        summary: "Where `enable-debug-command` allows it: DEBUG SLEEP seconds keeps everybody waiting; DEBUG PANIC ends the server as a bug would.",
        since: "1.0.0",
        complexity: "Depends on subcommand.",
        flags: ADMIN_ALONE,
        // More would depend on whether the Redis beside allows DEBUG.
        examples: &["DEBUG"],
        ..A_LOOK
    },
];

/// What most of these have in common.
const A_LOOK: Command = Command {
    name: "",
    run: |_, request| Err(wrong_form(request).into()),
    syntax: "",
    summary: "",
    since: "",
    group: Group::Server,
    complexity: "O(1)",
    flags: &[],
    keys: Keys::None,
    examples: &[],
};

const MEMORY_ADVICE: &str = "The memory is divided into shares of maxmemory, and nothing is ever evicted for good. \
    INFO memory tells what is used, INFO millpond by which share.\n";

fn memory_of_key(context: &mut Context, request: &[Bytes]) -> Outcome {
    match &request[3..] {
        [] => {}
        // Nothing is sampled: what a value costs is counted as it grows.
        [option, count] if is(option, "SAMPLES") => {
            if integer(count)? < 0 {
                return Err(Error::SYNTAX.into());
            }
        }
        _ => return Err(Error::SYNTAX.into()),
    }
    let Some(slot) = context.keys.find(&request[2]) else { return Ok(Reply::Null) };
    let object = context.keys.object(slot);
    Ok(Reply::Integer((size_of::<Object>() + object.key.len() + object.value.memory_bytes()) as i64))
}

/// Refuses DEBUG to whom `enable-debug-command` does not name.
pub fn check_protected(settings: &Settings, session: &Session, command: &Command) -> Result<(), Error> {
    let allowed = match settings.enable_debug_command {
        _ if command.name != "debug" => true,
        Whom::Everybody => true,
        Whom::Local => session.peer.loopback,
        Whom::Nobody => false,
    };
    if allowed { Ok(()) } else { Err(NOT_ALLOWED) }
}

fn debug(context: &mut Context, request: &[Bytes]) -> Outcome {
    match &request[2..] {
        [seconds] if is(&request[1], "SLEEP") => {
            // What is no number counts as 0, as in Redis.
            let seconds = parse_double(seconds).unwrap_or(0.0).max(0.0);
            context.host.sleep(Duration::try_from_secs_f64(seconds).unwrap_or(SLEEP_MAX).min(SLEEP_MAX));
            Ok(Reply::Ok)
        }
        // Keys expire on time whatever is said here; test suites switch it to look at the other way of expiring.
        [_] if is(&request[1], "SET-ACTIVE-EXPIRE") => Ok(Reply::Ok),
        [] if is(&request[1], "PANIC") => panic!("DEBUG PANIC was sent"),
        _ => Err(wrong_form(request).into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::SLEEP_MAX;
    use crate::command::testing::Bench;
    use crate::resp::Reply;

    #[test]
    fn a_sleep_is_never_negative_and_never_endless() {
        let check = |text: &str, expected: Duration| {
            let mut bench = Bench::default();
            assert_eq!(bench.run(&format!("DEBUG SLEEP {text}")), Reply::Ok, "{text}");
            assert_eq!(bench.host.slept, expected, "{text}");
        };
        check("0.25", Duration::from_millis(250));
        check("-1", Duration::ZERO);
        check("x", Duration::ZERO);
        check("inf", SLEEP_MAX);
        check("1e300", SLEEP_MAX);
    }

    #[test]
    fn a_longer_value_uses_more_memory() {
        let mut bench = Bench::default();
        let usage = |bench: &mut Bench| match bench.run("MEMORY USAGE q") {
            Reply::Integer(bytes) => bytes,
            reply => panic!("{reply:?}"),
        };
        bench.run("RPUSH q a");
        let short = usage(&mut bench);
        bench.run(&format!("RPUSH q {}", "x".repeat(100_000)));
        assert!(short > 0 && usage(&mut bench) >= short + 50_000);
        assert_eq!(bench.run("MEMORY USAGE none"), Reply::Null);
    }
}
