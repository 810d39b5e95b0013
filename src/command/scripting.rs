//! Scripts: EVAL and its relatives run Lua, whose calls are commands of the same frame.
//!
//! A script that meets data on disk before it has changed anything is dropped, and begins again once the data is in
//! memory. One that has changed something cannot be taken back: what it misses from then on is read on the spot.

use bytes::Bytes;
use tracing::{debug, info, warn};

use crate::resp::{Error, Reply};
use crate::script::{self, Called, Engine, Flags};

use super::argument::{integer, is};
use super::container::{container, help_of};
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop, Within, find, room, run_through, stock_scripts};

/// How often a script begins again; one that looks up what it has just read would otherwise do so for every step.
const ATTEMPTS_MAX: u8 = 3;
/// A SHA1 in hexadecimal digits.
const SHA_BYTES: usize = 40;

/// What the client of a killed script reads.
pub const KILLED: Error = Error::constant(
    "ERR Error running script: it ran longer than busy-reply-threshold and was ended; nothing of it was written",
);

const NO_SUCH_SCRIPT: Error = Error::constant("NOSCRIPT No matching script. Please use EVAL.");
const UNKNOWN_COMMAND: Error = Error::constant("ERR Unknown Redis command called from script");
const WRONG_ARITY: Error = Error::constant("ERR Wrong number of args calling Redis command from script");
const NOT_ALLOWED: Error = Error::constant("ERR This Redis command is not allowed from script");
const READ_ONLY: Error = Error::constant("ERR Write commands are not allowed from read-only scripts.");
const DECLARED_WRITER: Error = Error::constant("ERR Can not execute a script with write flag using *_ro command.");

const RUN: &[Flag] = &[Flag::NoScript, Flag::Stale, Flag::MovableKeys];
const RUN_READ_ONLY: &[Flag] = &[Flag::ReadOnly, Flag::NoScript, Flag::Stale, Flag::MovableKeys];
const DEPENDS: &str = "Depends on the script that is executed.";

pub const COMMANDS: &[Command] = &[
    Command {
        name: "eval",
        run: |context, request| run_script(context, request, Named::ByText, false),
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        summary: "Executes a server-side Lua script.",
        since: "2.6.0",
        group: Group::Scripting,
        complexity: DEPENDS,
        flags: RUN,
        keys: Keys::Count { at: 2 },
        examples: &[
            "EVAL \"return {KEYS[1], ARGV[1], #ARGV}\" 1 k a b",
            "EVAL \"redis.call('rpush', KEYS[1], 'a', 'b') return redis.call('lpop', KEYS[1])\" 1 q",
            "EVAL \"return redis.call('hget', KEYS[1], 'f')\" 1 q",
            "EVAL \"return redis.pcall('lpop')\" 0",
            "EVAL \"return redis.pcall('nosuchcommand')\" 0",
            "EVAL \"return redis.pcall('multi')\" 0",
            "EVAL \"return 1\" x",
            "EVAL \"return 1\" 1",
            "EVAL \"return 1\" -1",
            "EVAL \"return\" 0",
            "EVAL \"#!lua flags=no-writes\\nreturn redis.pcall('rpush', 'q', 'x')\" 0",
            "LLEN q",
        ],
    },
    Command {
        name: "eval_ro",
        run: |context, request| run_script(context, request, Named::ByText, true),
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        summary: "Executes a read-only server-side Lua script.",
        since: "7.0.0",
        group: Group::Scripting,
        complexity: DEPENDS,
        flags: RUN_READ_ONLY,
        keys: Keys::Count { at: 2 },
        examples: &[
            "RPUSH q a",
            "EVAL_RO \"return redis.call('llen', KEYS[1])\" 1 q",
            "EVAL_RO \"return redis.pcall('rpush', KEYS[1], 'b')\" 1 q",
            "EVAL_RO \"#!lua\\nreturn 1\" 0",
        ],
    },
    Command {
        name: "evalsha",
        run: |context, request| run_script(context, request, Named::BySha, false),
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        summary: "Executes a server-side Lua script by SHA1 digest.",
        since: "2.6.0",
        group: Group::Scripting,
        complexity: DEPENDS,
        flags: RUN,
        keys: Keys::Count { at: 2 },
        examples: &[
            "SCRIPT FLUSH",
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
            "EVAL \"return 1\" 0",
            "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
            "EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0",
            "EVALSHA short x",
        ],
    },
    Command {
        name: "evalsha_ro",
        run: |context, request| run_script(context, request, Named::BySha, true),
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        summary: "Executes a read-only server-side Lua script by SHA1 digest.",
        since: "7.0.0",
        group: Group::Scripting,
        complexity: DEPENDS,
        flags: RUN_READ_ONLY,
        keys: Keys::Count { at: 2 },
        examples: &["SCRIPT LOAD \"return 1\"", "EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0"],
    },
    container(
        "script",
        "2.6.0",
        Group::Scripting,
        "A container for Lua scripts management commands.",
        &["SCRIPT", "SCRIPT NOSUCHSUBCOMMAND"],
    ),
    Command {
        name: "script|load",
        run: load,
        syntax: "script",
        summary: "Loads a server-side Lua script to the script cache.",
        since: "2.6.0",
        group: Group::Scripting,
        complexity: "O(N) with N being the length in bytes of the script body.",
        flags: &[Flag::NoScript, Flag::Stale],
        keys: Keys::None,
        examples: &["SCRIPT LOAD \"return 1\"", "SCRIPT LOAD \"x x\"", "SCRIPT LOAD"],
    },
    Command {
        name: "script|exists",
        run: exist,
        syntax: "sha1 [sha1 ...]",
        summary: "Determines whether server-side Lua scripts exist in the script cache.",
        since: "2.6.0",
        group: Group::Scripting,
        complexity: "O(N) with N being the number of scripts to check.",
        flags: &[Flag::NoScript],
        keys: Keys::None,
        examples: &[
            "SCRIPT LOAD \"return 1\"",
            "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db E0E1F9FABFC9D4800C877A703B823AC0578FF8DB x",
        ],
    },
    Command {
        name: "script|flush",
        run: flush,
        syntax: "[ASYNC | SYNC]",
        summary: "Removes all server-side Lua scripts from the script cache.",
        since: "2.6.0",
        group: Group::Scripting,
        complexity: "O(N) with N being the number of scripts in cache.",
        flags: &[Flag::NoScript],
        keys: Keys::None,
        examples: &[
            "SCRIPT LOAD \"return 1\"",
            "SCRIPT FLUSH ASYNC",
            "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db",
            "SCRIPT FLUSH x",
            "SCRIPT FLUSH SYNC x",
        ],
    },
    Command {
        name: "script|kill",
        // A script runs inside its turn, so that whoever asks finds none.
        run: |_, _| Err(Error::constant("NOTBUSY No scripts in execution right now.").into()),
        syntax: "",
        summary: "Terminates a server-side Lua script during execution.",
        since: "2.6.0",
        group: Group::Scripting,
        complexity: "O(1)",
        flags: &[Flag::NoScript, Flag::AllowBusy],
        keys: Keys::None,
        examples: &["SCRIPT KILL"],
    },
    help_of("script|help", "5.0.0", Group::Scripting, &["SCRIPT HELP x"]),
];

/// Tells whether a request runs a script that may need memory or disk. Which commands a script will call is not known
/// before it runs, except of the stock scripts.
pub fn may_need_room(command: &Command, request: &[Bytes]) -> bool {
    match command.name {
        "eval" => true,
        "evalsha" => !stock_scripts::find(&request[1]).is_some_and(|stock| stock.only_removes),
        _ => false,
    }
}

fn load(context: &mut Context, request: &[Bytes]) -> Outcome {
    let sha = with_engine(context, |_, engine| engine.load(&request[2]))?;
    Ok(Reply::Bulk(sha.into()))
}

fn exist(context: &mut Context, request: &[Bytes]) -> Outcome {
    let exists = |engine: &Engine, sha: &[u8]| std::str::from_utf8(sha).is_ok_and(|sha| engine.exists(sha));
    Ok(Reply::Array(with_engine(context, |_, engine| {
        request[2..].iter().map(|sha| Reply::flag(exists(engine, sha))).collect()
    })))
}

fn flush(context: &mut Context, request: &[Bytes]) -> Outcome {
    match &request[2..] {
        [] => {}
        [how] if is(how, "async") || is(how, "sync") => {}
        _ => return Err(Error::constant("ERR SCRIPT FLUSH only support SYNC|ASYNC option").into()),
    }
    with_engine(context, |_, engine| engine.flush());
    Ok(Reply::Ok)
}

/// Lends out the engine, and puts it back.
fn with_engine<R>(context: &mut Context, work: impl FnOnce(&mut Context, &mut Engine) -> R) -> R {
    let mut engine = context.host.take_engine().unwrap_or_default();
    let result = work(context, &mut engine);
    context.host.put_engine(engine);
    result
}

// ---- running ----------------------------------------------------------------------------------------------------

/// How a request says which script it means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    ByText,
    BySha,
}

fn run_script(context: &mut Context, request: &[Bytes], named: Named, read_only: bool) -> Outcome {
    if named == Named::BySha && request[1].len() != SHA_BYTES {
        return Err(NO_SUCH_SCRIPT.into());
    }
    let (keys, arguments) = keys_and_arguments(request)?;
    let outcome = with_engine(context, |context, engine| {
        let sha = match named {
            Named::ByText => engine.load(&request[1])?,
            Named::BySha => String::from_utf8_lossy(&request[1]).to_ascii_lowercase(),
        };
        let flags = engine.flags(&sha).ok_or(NO_SUCH_SCRIPT)?;
        if read_only && flags.declared && !flags.no_writes {
            return Err(DECLARED_WRITER.into());
        }
        let read_only = read_only || flags.no_writes;
        if !read_only && let Some(outcome) = stock_scripts::run(context, &sha, keys, arguments) {
            return outcome;
        }
        run_lua(context, engine, &sha, keys, arguments, Flags { no_writes: read_only, ..flags })
    });
    if context.within == Within::Nothing {
        let begins_again = matches!(outcome, Err(Stop::Fetch(_)));
        context.session.script_attempts = if begins_again { context.session.script_attempts + 1 } else { 0 };
    }
    outcome
}

fn keys_and_arguments(request: &[Bytes]) -> Result<(&[Bytes], &[Bytes]), Error> {
    let count = integer(&request[2])?;
    let rest = &request[3..];
    if count > rest.len() as i64 {
        return Err(Error::constant("ERR Number of keys can't be greater than number of args"));
    }
    let count = usize::try_from(count).map_err(|_| Error::constant("ERR Number of keys can't be negative"))?;
    Ok(rest.split_at(count))
}

fn run_lua(
    context: &mut Context,
    engine: &mut Engine,
    sha: &str,
    keys: &[Bytes],
    arguments: &[Bytes],
    flags: Flags,
) -> Outcome {
    let is_probe = context.keys.refuses_writes();
    let may_begin_again = context.within == Within::Nothing && context.session.script_attempts < ATTEMPTS_MAX;
    // SELECT in a script is over with it.
    let selected = context.keys.selected();
    let within = std::mem::replace(&mut context.within, Within::Script);
    let before_bytes = context.keys.frame().len();
    let mut calls = Calls { context, flags, is_probe, may_begin_again, before_bytes, has_told: false, stop: None };
    let ended = engine.run(sha, keys, arguments, &mut calls);
    let stop = calls.stop.take();
    context.within = within;
    context.keys.select(selected);
    match ended {
        script::Outcome::Reply(reply) => Ok(reply),
        script::Outcome::Stopped => Err(stop.expect("a script is abandoned for a reason")),
    }
}

/// What a script reaches of the server.
struct Calls<'a, 'b> {
    context: &'a mut Context<'b>,
    flags: Flags,
    /// EXEC only wants to know what the script misses.
    is_probe: bool,
    may_begin_again: bool,
    /// What the frame held before it, in EXEC.
    before_bytes: usize,
    /// It has told others something, which cannot be taken back.
    has_told: bool,
    /// Why it is abandoned.
    stop: Option<Stop>,
}

impl script::Host for Calls<'_, '_> {
    fn call(&mut self, request: Vec<Bytes>) -> Called {
        self.context.host.metrics().commands_processed.count();
        match self.run(&request) {
            Ok(reply) => Called::Reply(reply),
            Err(Stop::Error(error)) => Called::Reply(error.into()),
            Err(stop) => {
                self.stop = Some(stop);
                Called::Stop
            }
        }
    }

    fn log(&mut self, level: i64, text: &str) {
        match level {
            _ if self.is_probe => {}
            0 | 1 => debug!(text, "script"),
            2 => info!(text, "script"),
            _ => warn!(text, "script"),
        }
    }

    fn interrupted(&mut self) -> bool {
        let cannot_be_taken_back = self.has_acted();
        if self.context.host.script_interrupted(cannot_be_taken_back) {
            self.stop = Some(Stop::Killed);
        }
        self.stop.is_some()
    }
}

impl Calls<'_, '_> {
    fn run(&mut self, request: &[Bytes]) -> Outcome {
        let command = callable(request)?;
        // PUBLISH counts as a write here, as in Redis.
        if self.flags.no_writes && (command.has(Flag::Write) || command.has(Flag::PubSub)) {
            return Err(READ_ONLY.into());
        }
        if !self.flags.allow_oom && !self.has_written() {
            room::check_call(self.context, command, request)?;
        }
        let tells = command.has(Flag::PubSub) || command.has(Flag::Admin);
        if self.is_probe && tells {
            return Err(Stop::Refused);
        }
        self.context.keys.counts.count_look_ups(command.has(Flag::ReadOnly) && !self.is_probe);
        let outcome = self.run_or_stop(command, request);
        self.has_told |= tells;
        outcome
    }

    fn run_or_stop(&mut self, command: &Command, request: &[Bytes]) -> Outcome {
        if !self.is_probe && (self.has_acted() || !self.may_begin_again) {
            return run_through(self.context, command, request);
        }
        match (command.run)(self.context, request) {
            // What is too much to be brought in is read when the script runs for good.
            Err(Stop::Walk(_)) if self.is_probe => Err(Stop::Refused),
            Err(Stop::Walk(walk)) => walk.run_now(self.context),
            other => other,
        }
    }

    /// It has changed something itself.
    fn has_written(&mut self) -> bool {
        self.context.keys.frame().len() > self.before_bytes
    }

    fn has_acted(&self) -> bool {
        self.has_told || self.context.keys.has_written()
    }
}

/// Finds the command of a call, with the errors that scripts are told.
fn callable(request: &[Bytes]) -> Result<&'static Command, Error> {
    let command = find(request).map_err(|error| {
        let is_arity = error.line().starts_with("ERR wrong number of arguments");
        if is_arity { WRONG_ARITY } else { UNKNOWN_COMMAND }
    })?;
    if command.has(Flag::NoScript) { Err(NOT_ALLOWED) } else { Ok(command) }
}

#[cfg(test)]
mod tests;
