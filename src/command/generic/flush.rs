//! Emptying databases: at once for the caller, whatever is in them. What was there is freed and deleted in steps later.

use bytes::Bytes;

use crate::command::argument::is;
use crate::command::job::flush_leases;
use crate::command::{Command, Context, Flag, Group, Keys, Outcome};
use crate::resp::{Error, Reply};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "flushdb",
        run: |context, request| {
            let database = context.keys.selected();
            flush(context, request, database..database + 1)
        },
        syntax: "[ASYNC | SYNC]",
        summary: "Removes all keys from the current database.",
        since: "1.0.0",
        group: Group::Server,
        complexity: "O(1); what was there is freed in the background.",
        flags: &[Flag::Write],
        keys: Keys::None,
        examples: &["SET a 1", "FLUSHDB", "DBSIZE", "FLUSHDB ASYNC", "FLUSHDB NOW"],
    },
    Command {
        name: "flushall",
        run: |context, request| flush(context, request, 0..context.keys.database_count()),
        syntax: "[ASYNC | SYNC]",
        summary: "Removes all keys from all databases.",
        since: "1.0.0",
        group: Group::Server,
        complexity: "O(D) where D is the number of databases; what was there is freed in the background.",
        flags: &[Flag::Write],
        keys: Keys::None,
        examples: &["SET a 1", "FLUSHALL SYNC", "DBSIZE", "FLUSHALL NOW", "FLUSHALL SYNC ASYNC"],
    },
];

fn flush(context: &mut Context, request: &[Bytes], databases: std::ops::Range<usize>) -> Outcome {
    match &request[1..] {
        [] => {}
        [mode] if is(mode, "async") || is(mode, "sync") => {}
        _ => return Err(Error::SYNTAX.into()),
    }
    for database in databases {
        flush_leases(context, database)?;
        // A namespace is only used up where there is something to leave behind.
        if context.keys.counts(database).0 > 0 {
            context.keys.flush(database)?;
        }
    }
    Ok(Reply::Ok)
}
