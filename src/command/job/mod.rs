//! JOB.*: what the server knows about jobs, and what people do with that. `serve` and `catch` are where pushes and pops
//! of other commands meet rules; `look`, `sweep`, `count` and `task` are what goes on behind a reply; the rest are the commands.

mod blackhole;
mod catch;
mod charge;
pub mod count;
mod estimate;
mod explain;
mod find;
mod inspect;
mod lease;
mod ledger;
mod ledger_command;
mod limit;
pub mod look;
mod pause;
mod places;
mod registry;
mod rules;
mod sample;
mod scan;
pub mod serve;
pub mod share;
pub mod slack;
mod slo;
mod stats;
pub mod sweep;
pub mod task;
mod tenant;
mod unlock;
mod words;
mod work;

use bytes::Bytes;

use crate::resp::Reply;

use super::container::{container, help_of};
use super::{Command, Flag};

pub use lease::{flush as flush_leases, load as load_leases, put_back_due, see as see_workers};
pub use registry::load as load_rules;
pub use rules::end_expired;
pub use work::load as load_work;

/// All of them; each stands beside its code.
pub const FAMILIES: &[&[Command]] = &[
    blackhole::COMMANDS,
    explain::COMMANDS,
    find::COMMANDS,
    inspect::COMMANDS,
    lease::COMMANDS,
    ledger_command::COMMANDS,
    limit::COMMANDS,
    pause::COMMANDS,
    rules::COMMANDS,
    scan::COMMANDS,
    slo::COMMANDS,
    stats::COMMANDS,
    tenant::COMMANDS,
];

const SINCE: &str = "7.2.4";
/// Commands that tell something.
const READ: &[Flag] = &[Flag::ReadOnly, Flag::NoScript];
/// Commands that change what rules there are. They go on while the disk is nearly full: they are how it is emptied.
const CHANGE: &[Flag] = &[Flag::Write, Flag::Admin, Flag::NoScript];

/// A reply that is a map.
fn map(pairs: Vec<(&'static str, Reply)>) -> Reply {
    Reply::Map(pairs.into_iter().map(|(name, value)| (Reply::bulk(name), value)).collect())
}

fn number(value: u64) -> Reply {
    Reply::Integer(value as i64)
}

/// A number that may not be known: nil, never 0.
fn known(value: Option<u64>) -> Reply {
    value.map_or(Reply::Null, number)
}

fn text(value: impl AsRef<[u8]>) -> Reply {
    Reply::bulk(value)
}

fn text_of(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
