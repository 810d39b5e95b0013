//! The write-ahead log: the truth that memory and the cold store are images of. It carries opaque frames.
//!
//! One appender (the shard) writes the frames of a turn with one system call into a segment that was prepared ahead
//! (`writer`, `tail`). Two threads work behind it: one makes what was written durable (`sync`), one prepares segments and
//! takes back those that are no longer needed (`keeper`). `recovery` reads everything again at a start.
//!
//! What is promised, and by which file:
//! - frames come back in order and without gaps, and everything up to [`Log::durable`] comes back (`recovery`, `sync`);
//! - a frame of an earlier life of a segment never passes for a new one (`frame`: the salt);
//! - an append that reports [`LogError::NoSpace`] has written nothing (`tail`);
//! - a failed write or sync is final for the process ([`Log::failed`]).

mod disk;
mod error;
mod frame;
mod keeper;
mod recovery;
mod segment;
mod sync;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;

pub use error::{LogError, OpenError, Visit, VisitError};
pub use frame::{FrameBuffer, OPS_BYTES_MAX};
pub use recovery::{Cut, Lost, Recovered};
pub use sync::{Durability, OnDurable};
pub use writer::Log;

/// Numbers frames consecutively from 1; 0 stands for none.
pub type Lsn = u64;

/// The size of a segment in production, in bytes: large enough to roll rarely, small enough to be recycled often.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// The size of a segment in the tiny profile, in bytes: a short test rolls, trims and recycles.
pub const SEGMENT_BYTES_TINY: u64 = 64 << 10;
/// The smallest size of a segment, in bytes: the header and as much again.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;

/// Says when what was appended is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// At most a second after it was written.
    Everysec,
    /// As soon as the sync before is done; replies wait for it.
    Always,
    /// When the kernel likes, or when somebody asks.
    No,
}

/// Holds what the log must be told to open.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of the segments; made if it is missing.
    pub dir: PathBuf,
    /// The size of an ordinary segment; not persisted, so it may differ between starts.
    pub segment_bytes: u64,
    /// What holds until [`Log::set_policy`].
    pub policy: SyncPolicy,
    /// The cold store holds the effects of every frame up to here, so replay begins behind it.
    pub replay_after: Lsn,
    /// Every frame up to here was durable when the store took its checkpoint; one that is missing is damage, not a tail.
    pub checkpoint_lsn: Lsn,
    /// Cut a damaged log where the damage begins instead of refusing to open.
    pub repair: bool,
    /// Chance for the segments' salts; should differ at each start.
    pub salt_seed: u64,
}

/// An open log and what was found in it.
#[derive(Debug)]
pub struct Opened {
    pub log: Log,
    pub recovered: Recovered,
}
