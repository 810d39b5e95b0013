//! What commands ask for that goes on behind their replies, in bounded steps.

use crate::job::Predicate;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// Puts jobs of a quarantine back.
    Restore {
        database: usize,
        rule: String,
        predicate: Option<Predicate>,
        count: Option<u64>,
        /// To the end that workers pop from.
        front: bool,
        /// Jobs a second.
        rate: Option<u64>,
    },
    /// Deletes jobs of a quarantine for good, those that were in it when that was asked for.
    Purge { database: usize, rule: String, predicate: Option<Predicate>, unlock: bool, places: Vec<Until> },
    /// Takes jobs that the rule with this number matches out of the sets beside the queues.
    SweepSets { database: usize, number: u64 },
}

/// How far work goes in what was taken from one place: what comes later is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Until {
    pub key: Vec<u8>,
    /// In a list the ordinal of the last job; in a sorted set how many jobs are still there of those that were.
    pub last: u64,
}

impl Work {
    pub fn database(&self) -> usize {
        match self {
            Work::Restore { database, .. } | Work::Purge { database, .. } | Work::SweepSets { database, .. } => {
                *database
            }
        }
    }
}
