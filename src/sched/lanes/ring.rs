//! A ring of turns: the lanes that take turns with one another. Each service level of a queue has one, and most queues have
//! one in all; which ring is next is for others to say.

use std::collections::BTreeMap;

use super::{LaneId, LevelId};

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    pub level: LevelId,
    /// Whose turn has begun. This and the others that have jobs in the index stand in one of three places, each once.
    pub current: Option<LaneId>,
    /// Those that have yet to have their turn in this round, by the place of their oldest job.
    pub round: BTreeMap<u64, LaneId>,
    /// Those that had it, or have come since it began; in order of arrival, those that yield to the others.
    pub next_round: BTreeMap<u64, LaneId>,
    /// How many those are together, and of how many tenants.
    pub in_turn: usize,
    pub tenants_in_turn: usize,
    /// The turn that has begun brought its tenant credit.
    pub is_credited: bool,
    /// Rounds that have begun.
    pub rounds: u64,
    /// The weights of their tenants, but that of the lane without a tenant.
    pub turn_weight: f64,
    /// The part of the last arrivals that has no tenant.
    pub part_without: f32,
    pub arrivals: f32,
    /// What a turn of weight 1 and quantum 1 brings in this round.
    pub unit: f32,
}

impl Ring {
    pub fn new(level: LevelId) -> Ring {
        Ring {
            level,
            current: None,
            round: BTreeMap::new(),
            next_round: BTreeMap::new(),
            in_turn: 0,
            tenants_in_turn: 0,
            is_credited: false,
            rounds: 0,
            turn_weight: 0.0,
            part_without: 0.0,
            arrivals: 0.0,
            unit: 1.0,
        }
    }

    /// The lanes in the order of their turns, as far as it is known.
    pub fn lanes(&self) -> impl Iterator<Item = LaneId> {
        self.current.into_iter().chain(self.round.values().copied()).chain(self.next_round.values().copied())
    }
}
