//! The server itself: what it tells of itself, and how it is stopped.

pub mod access;
pub mod alone;
pub mod config;
pub mod diagnosis;
pub mod table;

use bytes::Bytes;

use crate::resp::{Error, Reply};

use super::argument::is;
use super::{Command, Context, Flag, Group, Keys, Outcome};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "info",
        run: |context, request| {
            let sections: Vec<String> =
                request[1..].iter().map(|name| String::from_utf8_lossy(name).to_lowercase()).collect();
            let text = context.host.info(context.keys, context.jobs, &sections);
            Ok(Reply::Verbatim(text.into()))
        },
        syntax: "[section [section ...]]",
        summary: "Returns information and statistics about the server.",
        since: "1.0.0",
        group: Group::Server,
        complexity: "O(1)",
        flags: &[Flag::Loading, Flag::Stale],
        keys: Keys::None,
        examples: &["INFO", "INFO server keyspace", "INFO nosuch"],
    },
    Command {
        name: "time",
        run: |context, _| {
            let (seconds, microseconds) = (context.now.wall_us / 1_000_000, context.now.wall_us % 1_000_000);
            Ok(Reply::Array(vec![Reply::bulk(seconds.to_string()), Reply::bulk(microseconds.to_string())]))
        },
        syntax: "",
        summary: "Returns the server time.",
        since: "2.6.0",
        group: Group::Server,
        complexity: "O(1)",
        flags: &[Flag::Loading, Flag::Stale, Flag::Fast],
        keys: Keys::None,
        examples: &["TIME", "TIME x"],
    },
    Command {
        name: "shutdown",
        run: shut_down,
        syntax: "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]",
        summary: "Syncs the log and shuts the server down.",
        since: "1.0.0",
        group: Group::Server,
        complexity: "O(N) where N is the number of bytes that are not synced yet",
        flags: &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale, Flag::NoMulti, Flag::AllowBusy],
        keys: Keys::None,
        examples: &["SHUTDOWN LATER", "SHUTDOWN NOSAVE SAVE", "SHUTDOWN ABORT"],
    },
];

/// Stops after this turn, with everything that was acknowledged in the log. There is nothing that NOSAVE could leave out.
fn shut_down(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (mut saves, mut aborts) = (0, false);
    for option in &request[1..] {
        match () {
            () if is(option, "SAVE") || is(option, "NOSAVE") => saves += 1,
            () if is(option, "NOW") || is(option, "FORCE") => {}
            () if is(option, "ABORT") => aborts = true,
            () => return Err(Error::SYNTAX.into()),
        }
    }
    if saves > 1 || aborts && request.len() > 2 {
        return Err(Error::SYNTAX.into());
    }
    if aborts {
        return Err(Error::constant("ERR No shutdown in progress.").into());
    }
    context.host.shut_down();
    Ok(Reply::Silent)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Bench, START_MS};
    use crate::resp::Reply;

    #[test]
    fn time_is_that_of_the_turn() {
        let mut bench = Bench::default();
        bench.pass_ms(5);
        let expected = vec![Reply::bulk((START_MS / 1000).to_string()), Reply::bulk("5000")];
        assert_eq!(bench.run("TIME"), Reply::Array(expected));
    }

    #[test]
    fn shutdown_stops_without_a_reply_and_only_when_it_is_understood() {
        let mut bench = Bench::default();
        for line in ["SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT", "SHUTDOWN ABORT NOW", "SHUTDOWN x"] {
            assert!(matches!(bench.run(line), Reply::Error(_)), "{line}");
            assert!(!bench.host.stopped, "{line}");
        }
        assert_eq!(bench.run("SHUTDOWN NOSAVE NOW"), Reply::Silent);
        assert!(bench.host.stopped);
    }

    #[test]
    fn sections_are_asked_for_in_lower_case() {
        let mut bench = Bench::default();
        assert_eq!(bench.run("INFO Server CPU"), Reply::Verbatim("server cpu".into()));
    }
}
