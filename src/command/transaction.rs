//! Transactions: MULTI queues, EXEC runs the queue as one frame, WATCH makes it conditional.
//!
//! ```text
//! Nothing ── MULTI ──▶ Queueing ── EXEC ──▶ touched? ── yes ──▶ Nothing (null)
//!                         │  ▲                │ no
//!                         │  └── Fetch ◀── probe: what is missing?
//!                         └── DISCARD ──▶ Nothing        │ nothing
//!                                                        └──▶ run for good ──▶ Nothing (replies)
//! ```
//! A transaction cannot stop half-way for data that is not in memory. So its commands first run against a keyspace that
//! refuses to write, only to learn what they miss; that is brought in, and EXEC begins again.

use bytes::Bytes;

use crate::keyspace::{Keyspace, Missing};
use crate::resp::{Error, Reply};
use crate::session::{Session, Transaction};

use super::argument::strict_integer;
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop, Within, find, run_through, scripting};

/// What one transaction may hold while it is queued: as much as one value may be with the default maxmemory.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// What a queued command and each of its arguments cost beside their bytes.
const COMMAND_OVERHEAD_BYTES: usize = 64;
const ARGUMENT_OVERHEAD_BYTES: usize = size_of::<Bytes>();
/// Fetches for one EXEC. What it names at once comes at once; more attempts are needed only where a script looks up what
/// it has just read. After them the rest is read on the spot.
const FETCHES_MAX: u8 = 16;

const ABORTED: Error = Error::constant("EXECABORT Transaction discarded because of previous errors.");
const BAD_EXEC: Error =
    Error::constant("EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command");

const QUICK: &[Flag] = &[Flag::NoScript, Flag::Loading, Flag::Stale, Flag::Fast, Flag::AllowBusy];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "multi",
        run: begin,
        syntax: "",
        summary: "Starts a transaction.",
        since: "1.2.0",
        group: Group::Transactions,
        complexity: "O(1)",
        flags: QUICK,
        keys: Keys::None,
        examples: &["MULTI", "MULTI", "RPUSH q a", "LPUSH q b", "LRANGE q 0 -1", "EXEC"],
    },
    Command {
        name: "exec",
        run: execute,
        syntax: "",
        summary: "Executes all commands in a transaction.",
        since: "1.2.0",
        group: Group::Transactions,
        complexity: "Depends on commands in the transaction.",
        flags: &[Flag::NoScript, Flag::Loading, Flag::Stale, Flag::SkipSlowlog],
        keys: Keys::None,
        examples: &[
            "EXEC",
            "MULTI",
            "EXEC",
            "MULTI",
            "RPUSH q a b",
            "LSET q 9 x",
            "LPOP q",
            "EXEC",
            "MULTI",
            "NOSUCHCOMMAND",
            "EXEC",
            "MULTI",
            "LPOP",
            "EXEC",
            "MULTI",
            "EXEC extra",
            "EXEC",
            "LLEN q",
        ],
    },
    Command {
        name: "discard",
        run: discard,
        syntax: "",
        summary: "Discards a transaction.",
        since: "2.0.0",
        group: Group::Transactions,
        complexity: "O(N), when N is the number of queued commands",
        flags: QUICK,
        keys: Keys::None,
        examples: &["DISCARD", "MULTI", "RPUSH q a", "DISCARD", "EXEC", "LLEN q"],
    },
    Command {
        name: "watch",
        run: watch,
        syntax: "key [key ...]",
        summary: "Monitors changes to keys to determine the execution of a transaction.",
        since: "2.2.0",
        group: Group::Transactions,
        complexity: "O(1) for every key.",
        flags: QUICK,
        keys: Keys::ALL,
        examples: &[
            "WATCH q other",
            "MULTI",
            "RPUSH q a",
            "EXEC",
            "WATCH q",
            "RPUSH q b",
            "MULTI",
            "WATCH q",
            "LLEN q",
            "EXEC",
            "MULTI",
            "LLEN q",
            "EXEC",
        ],
    },
    Command {
        name: "unwatch",
        run: unwatch,
        syntax: "",
        summary: "Forgets about watched keys of a transaction.",
        since: "2.2.0",
        group: Group::Transactions,
        complexity: "O(1)",
        flags: QUICK,
        keys: Keys::None,
        examples: &["WATCH q", "RPUSH q a", "UNWATCH", "MULTI", "LLEN q", "EXEC"],
    },
];

/// Tells whether a command runs at once although a transaction is being queued.
pub fn is_immediate(command: &Command) -> bool {
    matches!(command.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

/// Queues a request, or notes that EXEC has to refuse because it cannot be queued.
pub fn queue_in_transaction(session: &mut Session, request: &[Bytes], found: Result<&'static Command, Error>) -> Reply {
    let transaction = session.transaction.as_mut().expect("it is only called while a transaction is queued");
    let refused = match found {
        Ok(command) if command.has(Flag::NoMulti) => Error::constant("ERR Command not allowed inside a transaction"),
        Ok(_) if transaction.aborted => return Reply::status("QUEUED"),
        Ok(_) if transaction.bytes + queued_bytes(request) > QUEUE_BYTES_MAX => {
            Error::new(format!("ERR the transaction takes more than {QUEUE_BYTES_MAX} bytes"))
        }
        Ok(_) => {
            transaction.bytes += queued_bytes(request);
            transaction.queue.push(copied(request));
            return Reply::status("QUEUED");
        }
        Err(_) if request[0].eq_ignore_ascii_case(b"exec") => {
            session.transaction = None;
            return BAD_EXEC.into();
        }
        Err(error) => error,
    };
    // Nothing of it will run any more.
    *transaction = Transaction { aborted: true, ..Transaction::default() };
    refused.into()
}

/// Forgets a client's transaction and what it watches, as DISCARD does: also for RESET, and where EXEC cannot be run
/// again because what it needs cannot be read.
pub fn drop_transaction(keys: &mut Keyspace, session: &mut Session) {
    session.transaction = None;
    forget_watched(keys, session);
}

fn queued_bytes(request: &[Bytes]) -> usize {
    let arguments: usize = request.iter().map(|argument| argument.len() + ARGUMENT_OVERHEAD_BYTES).sum();
    COMMAND_OVERHEAD_BYTES + arguments
}

/// Copies a request, which lies in a buffer that would otherwise live as long as the transaction.
fn copied(request: &[Bytes]) -> Vec<Bytes> {
    let mut all = Bytes::from(request.concat());
    request.iter().map(|argument| all.split_to(argument.len())).collect()
}

fn begin(context: &mut Context, _request: &[Bytes]) -> Outcome {
    if context.session.transaction.is_some() {
        return Err(Error::constant("ERR MULTI calls can not be nested").into());
    }
    context.session.transaction = Some(Transaction::default());
    Ok(Reply::Ok)
}

fn discard(context: &mut Context, _request: &[Bytes]) -> Outcome {
    if context.session.transaction.is_none() {
        return Err(Error::constant("ERR DISCARD without MULTI").into());
    }
    drop_transaction(context.keys, context.session);
    Ok(Reply::Ok)
}

fn watch(context: &mut Context, request: &[Bytes]) -> Outcome {
    if context.session.transaction.is_some() {
        return Err(Error::constant("ERR WATCH inside MULTI is not allowed").into());
    }
    let (id, database) = (context.session.id, context.keys.selected());
    for key in &request[1..] {
        let watching = &mut context.session.watching;
        if !watching.iter().any(|(other, watched)| *other == database && **watched == **key) {
            context.keys.watch(id, key);
            watching.push((database, (**key).into()));
        }
    }
    Ok(Reply::Ok)
}

fn unwatch(context: &mut Context, _request: &[Bytes]) -> Outcome {
    forget_watched(context.keys, context.session);
    Ok(Reply::Ok)
}

fn forget_watched(keys: &mut Keyspace, session: &mut Session) {
    if !session.watching.is_empty() {
        keys.unwatch(session.id, &std::mem::take(&mut session.watching));
    }
}

// ---- EXEC -------------------------------------------------------------------------------------------------------

fn execute(context: &mut Context, _request: &[Bytes]) -> Outcome {
    let Some(mut transaction) = context.session.transaction.take() else {
        return Err(Error::constant("ERR EXEC without MULTI").into());
    };
    if transaction.aborted {
        forget_watched(context.keys, context.session);
        return Err(ABORTED.into());
    }
    if is_touched(context) {
        forget_watched(context.keys, context.session);
        return Ok(Reply::NullArray);
    }
    if transaction.fetches < FETCHES_MAX && context.keys.memory.cold > 0 {
        let missing = probe(context, &transaction.queue);
        if !missing.is_empty() {
            transaction.fetches += 1;
            context.session.transaction = Some(transaction);
            return Err(Stop::Fetch(missing));
        }
    }
    // Its own writes no longer concern it.
    forget_watched(context.keys, context.session);
    Ok(Reply::Array(transaction.queue.iter().map(|request| run_queued(context, request)).collect()))
}

/// Tells whether a watched key was changed, or its time has come.
fn is_touched(context: &mut Context) -> bool {
    let selected = context.keys.selected();
    for (database, key) in &context.session.watching {
        context.keys.select(*database);
        context.keys.find(key);
    }
    context.keys.select(selected);
    context.keys.is_touched(context.session.id)
}

/// Runs the queued commands without letting them write, and collects what they miss.
fn probe(context: &mut Context, queue: &[Vec<Bytes>]) -> Vec<Missing> {
    let database = context.session.database;
    let within = std::mem::replace(&mut context.within, Within::Transaction);
    context.keys.refuse_writes(true);
    let mut missing = Vec::new();
    for request in queue {
        let command = find(request).expect("what was queued was found before");
        if command.name == "select" {
            follow_select(context, request);
        } else if !matches!(command.keys, Keys::None)
            && let Err(Stop::Fetch(met)) = (command.run)(context, request)
        {
            missing.extend(met);
        }
    }
    context.keys.refuse_writes(false);
    context.session.database = database;
    context.keys.select(database);
    context.within = within;
    missing.sort_unstable();
    missing.dedup();
    missing
}

/// Goes where a queued SELECT will lead, if it leads anywhere.
fn follow_select(context: &mut Context, request: &[Bytes]) {
    let database = strict_integer(&request[1]).and_then(|index| usize::try_from(index).ok());
    if let Some(database) = database.filter(|database| *database < context.keys.database_count()) {
        context.session.database = database;
        context.keys.select(database);
    }
}

/// Runs one command for good; an error is a reply among the others.
fn run_queued(context: &mut Context, request: &[Bytes]) -> Reply {
    let command = find(request).expect("what was queued was found before");
    context.host.metrics().commands_processed.count();
    let within = std::mem::replace(&mut context.within, Within::Transaction);
    context.keys.counts.count_look_ups(command.has(Flag::ReadOnly));
    let outcome = run_through(context, command, request);
    context.within = within;
    // SELECT holds for the commands behind it.
    context.keys.select(context.session.database);
    match outcome {
        Ok(reply) => reply,
        Err(Stop::Error(error)) => error.into(),
        Err(Stop::Killed) => scripting::KILLED.into(),
        Err(_) => Error::constant("ERR the data of this command changed while it was read; try again").into(),
    }
}

#[cfg(test)]
mod tests;
