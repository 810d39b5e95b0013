//! The table of commands. Each is declared once, beside its code: from the declaration follow arity, key positions,
//! COMMAND and its subcommands, HELP, the README's table and an example that is run against a real Redis.
//!
//! A command is a function of its arguments and a [`Context`]. It reads first and writes last: whatever is not in memory
//! stops it before its first write ([`Stop::Fetch`]), and it is run again once that has been brought in.

pub mod argument;
pub mod bitmap;
mod category;
pub mod connection;
pub mod container;
mod declare;
mod document;
mod expiry;
pub mod generic;

pub mod hash;
mod help;
pub mod job;
pub mod limit;
pub mod list;
mod long_double;
pub mod pubsub;
mod random;
mod room;
mod run;
pub mod scan;
pub mod scripting;
pub mod server;
pub mod set;
mod stock_scripts;
pub mod string;
mod table;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod testing_disk;
mod transaction;
mod wait;
mod walk;
pub mod zset;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;

use crate::clock::Now;
use crate::keyspace::chunk::Chunk;
use crate::keyspace::list::ChunkAt;
use crate::keyspace::{Keyspace, Miss, Missing, ObjectId};
use crate::metrics::Metrics;
use crate::resp::{Error, Reply};
use crate::sched::Scheduler;
use crate::script::Engine;
use crate::session::{ClientId, Session};
use crate::settings::Settings;

use self::job::count::Count;

pub use declare::{Command, Flag, Group, Keys};
pub use document::{documentation, examples};
pub use room::{FULL_OF_KEYS, disk_is_low, is_served_from_reserve, may_fill_keys, may_need_room};
pub use run::run_through;
pub use server::diagnosis::check_protected;
pub use table::{by_name, find, table};
pub use transaction::{drop_transaction, is_immediate, queue_in_transaction};
pub use wait::{Wait, deadline, wait_for};
pub use walk::{Step, Visitor, Walk, scan_list, walk_pieces};

/// The Redis whose behaviour is followed: HELLO and INFO tell it to clients that compare versions.
pub const REDIS_VERSION: &str = "7.2.4";

/// How a command ended.
pub type Outcome = Result<Reply, Stop>;

/// Why a command has no reply yet, or only an error.
#[derive(Debug)]
pub enum Stop {
    Error(Error),
    /// Park the client until one of the keys grows; then the same command runs again.
    Wait(Wait),
    /// Bring these in, then run the command again. Nothing was written.
    Fetch(Vec<Missing>),
    /// Feed the walk its pieces in steps, then finish it.
    Walk(Box<Walk>),
    /// The command wanted to write while it only runs to learn what it will miss.
    Refused,
    /// A script is to be abandoned: it was killed.
    Killed,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl From<Miss> for Stop {
    fn from(miss: Miss) -> Stop {
        match miss {
            Miss::WrongType => Stop::Error(Error::WRONG_TYPE),
            Miss::Fetch(missing) => Stop::Fetch(missing),
            Miss::Refused => Stop::Refused,
        }
    }
}

/// All that a command may see and change.
pub struct Context<'a> {
    pub now: Now,
    pub keys: &'a mut Keyspace,
    pub jobs: &'a mut Scheduler,
    pub session: &'a mut Session,
    pub host: &'a mut dyn Host,
    pub random: &'a mut StdRng,
    pub within: Within,
}

/// From where a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// Sent by a client on its own.
    Nothing,
    /// By EXEC: it must not block.
    Transaction,
    /// By a script: it must not block, and some commands are not allowed.
    Script,
}

impl Context<'_> {
    /// May the command park its client?
    pub fn may_block(&self) -> bool {
        self.within == Within::Nothing
    }
}

/// How far the sweeper has come with a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SweepState {
    /// It is not done yet.
    pub sweeping: bool,
    /// Jobs that were looked at or passed over, of how many.
    pub swept: u64,
    pub of: u64,
    /// Jobs in chunks that need not be read, since their summaries told.
    pub skipped: u64,
    /// The version of the rules that the sweeper knows of.
    pub seen_version: u64,
}

/// What commands ask of the server around the data. The shard is it.
pub trait Host {
    fn settings(&self) -> &Settings;
    /// CONFIG SET: all pairs or none.
    fn configure(&mut self, pairs: &[(&[u8], &[u8])]) -> Result<(), Error>;
    fn metrics(&self) -> &Metrics;
    /// The text of INFO for these sections (lower-case; none for the default ones).
    fn info(&self, keys: &Keyspace, jobs: &Scheduler, sections: &[String]) -> String;

    /// Other clients, in the order of their numbers; the caller's own session is not among them.
    fn sessions(&self) -> Vec<&Session>;
    /// Ends a client's connection; tells whether it was there.
    fn kill(&mut self, client: ClientId) -> bool;
    /// Ends a client's blocking command as by timeout, or with an -UNBLOCKED error; tells whether it was blocked.
    fn unblock(&mut self, client: ClientId, with_error: bool) -> bool;

    /// Sends a message to everybody who listens; answers how many got it. The caller's own copy is among them.
    fn publish(&mut self, caller: &Session, channel: &[u8], message: &[u8]) -> i64;
    /// Notes that a client listens, or no longer, to a channel (or to a pattern).
    fn listen(&mut self, client: ClientId, name: &Bytes, pattern: bool, on: bool);
    /// Channels with listeners, with their numbers; sorted by name.
    fn channels(&self) -> Vec<(Bytes, usize)>;
    /// How many patterns have listeners.
    fn pattern_count(&self) -> usize;

    /// The script engine; it is put back after use.
    fn take_engine(&mut self) -> Option<Box<Engine>>;
    fn put_engine(&mut self, engine: Box<Engine>);
    /// A script that has written runs too long, or may be killed: should it be abandoned?
    fn script_interrupted(&mut self, has_written: bool) -> bool;

    /// Brings something in on the spot. Only for EXEC and scripts that have written already; it is counted.
    fn fetch_now(&mut self, keys: &mut Keyspace, missing: &[Missing]) -> Result<(), Error>;
    /// Reads a chunk on the spot without keeping it.
    fn load_chunk(&mut self, object: ObjectId, at: ChunkAt) -> Result<Arc<Chunk>, Error>;
    /// How far the sweeper has come with a rule.
    fn sweep_of(&self, database: usize, rule: u64) -> SweepState;
    /// Goes on with a count behind the reply, in the place of one of the same name.
    fn begin_count(&mut self, count: Count);
    /// The count that was begun for a rule of this name, as far as it has come.
    fn count_of(&self, database: usize, name: &str) -> Option<&Count>;
    /// Stops the server after this turn.
    fn shut_down(&mut self);
    /// Sleeps inside the turn: DEBUG SLEEP.
    fn sleep(&mut self, time: Duration);
}
