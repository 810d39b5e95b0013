//! What jobs were promised and what was kept of it, by service level. Pure.

use std::collections::{HashMap, VecDeque};

use super::lanes::LevelId;
use super::slack::Level;

/// Levels of one database that are counted, and jobs that came too late which are remembered.
const LEVELS_MAX: usize = 1_024;
const LATE_MAX: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub struct Promises {
    databases: HashMap<usize, OfDatabase>,
}

#[derive(Debug, Default)]
struct OfDatabase {
    levels: HashMap<LevelId, Kept>,
    /// The newest last.
    late: VecDeque<Late>,
}

/// What became of the jobs of one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub begun: u64,
    /// Those of them that had waited too long.
    pub late: u64,
    pub longest_ms: u64,
}

/// A job that had waited too long when it began.
#[derive(Debug, Clone, PartialEq)]
pub struct Late {
    pub at_ms: u64,
    pub level: Level,
    pub queue: Box<[u8]>,
    pub waited_ms: u64,
}

impl Promises {
    /// Notes that a job begins which has waited so long.
    pub fn kept(&mut self, database: usize, queue: &[u8], level: Level, waited_ms: u64, now_ms: u64) {
        let of = self.databases.entry(database).or_default();
        if of.levels.len() >= LEVELS_MAX && !of.levels.contains_key(&level.id) {
            of.levels.clear();
        }
        let kept = of.levels.entry(level.id).or_default();
        kept.begun += 1;
        kept.longest_ms = kept.longest_ms.max(waited_ms);
        if level == Level::NONE || waited_ms <= level.within_ms {
            return;
        }
        kept.late += 1;
        if of.late.len() == LATE_MAX {
            of.late.pop_front();
        }
        of.late.push_back(Late { at_ms: now_ms, level, queue: queue.into(), waited_ms });
    }

    /// Of the level that a rule promises.
    pub fn of_rule(&self, database: usize, number: u64) -> Kept {
        let level = Level::number_of_rule(number);
        self.databases.get(&database).and_then(|of| of.levels.get(&level)).copied().unwrap_or_default()
    }

    /// Jobs that came too late, the newest first.
    pub fn late(&self, database: usize) -> impl Iterator<Item = &Late> {
        self.databases.get(&database).into_iter().flat_map(|of| of.late.iter().rev())
    }
}
