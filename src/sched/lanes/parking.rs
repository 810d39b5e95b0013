//! Lanes whose gates are closed. They have no turn and cost nothing until a gate opens; then they come back one for each job
//! that it lets through, in the order in which they were parked, so that what a gate lets through is shared like all else.

use std::collections::{HashMap, VecDeque};

use super::super::slab::Slab;
use super::{Gate, Gates, LaneId, Lanes, NONE};

/// What one parked lane costs beside itself.
const PARKED_BYTES: usize = 8;

/// See the module.
#[derive(Debug, Default)]
pub struct Parking {
    gated: Slab<Gated>,
    /// Lanes that wait at a gate; some of them may have gone since.
    lines: HashMap<Gate, VecDeque<LaneId>>,
    /// How many stand in them.
    standing: usize,
}

/// What a lane with gates has besides.
#[derive(Debug)]
struct Gated {
    gates: Gates,
    /// At which of them it waits.
    kept_by: Option<Gate>,
}

impl Parking {
    pub fn keep(&mut self, gates: &[Gate]) -> u32 {
        self.gated.insert(Gated { gates: gates.into(), kept_by: None })
    }

    pub fn gates(&self, gated: u32) -> &[Gate] {
        &self.gated[gated].gates
    }

    pub fn kept_by(&self, gated: u32) -> Option<Gate> {
        self.gated[gated].kept_by
    }

    pub fn drop(&mut self, gated: u32) {
        self.gated[gated].kept_by = None;
        self.gated.free(gated);
    }

    /// Tells whether no lane waits.
    pub fn is_empty(&self) -> bool {
        self.standing == 0
    }

    pub fn memory_bytes(&self) -> usize {
        self.gated.memory_bytes()
            + self.lines.len() * (size_of::<(Gate, VecDeque<LaneId>)>() + 64)
            + self.standing * PARKED_BYTES
    }
}

impl Lanes {
    pub(super) fn is_parked(&self, lane: LaneId) -> bool {
        let gated = self.lanes[lane].gated;
        gated != NONE && self.parking.gated[gated].kept_by.is_some()
    }

    /// Ends the turn of the lane that has it, since a gate is closed to its jobs. Its turn goes on when that opens, if it might
    /// have handed out more. Tells whether a gate had let it through, which may let another one through instead.
    pub fn park(&mut self, lane: LaneId, gate: Gate) -> bool {
        debug_assert_eq!(self.ring(lane).current, Some(lane), "it is that lane's turn");
        let first = self.first(lane);
        let was_let_through = self.lanes[lane].was_let_through;
        let is_next = !self.in_order && was_let_through && self.may_go_on(first);
        if !is_next {
            // Such a turn is none: another lane of the tenant may have it.
            self.take_credit_back(first);
        }
        self.ring(lane).current = None;
        self.leave(lane);
        self.lanes[lane].keeps_turn = is_next;
        let gated = self.lanes[lane].gated;
        self.parking.gated[gated].kept_by = Some(gate);
        let line = self.parking.lines.entry(gate).or_default();
        // Whoever was let through and has more of its turn left is the next to go through.
        if is_next {
            line.push_front(lane)
        } else {
            line.push_back(lane)
        }
        self.parking.standing += 1;
        was_let_through
    }

    /// Gives lanes that wait at a gate their turn again, as many as it lets jobs through; tells whether others wait there.
    pub fn open(&mut self, gate: Gate, jobs: usize) -> bool {
        if self.in_order {
            // What comes back may be older than what has its turn.
            (0..self.rings.len()).for_each(|ring| self.yield_turn(ring));
        }
        for _ in 0..jobs {
            let Some(lane) = self.next_in_line(gate) else { return false };
            self.unpark(lane);
            self.lanes[lane].was_let_through = true;
            self.line_up(lane, true);
            self.join(lane);
        }
        self.parking.lines.contains_key(&gate)
    }

    /// Takes the lane out that is first at a gate.
    fn next_in_line(&mut self, gate: Gate) -> Option<LaneId> {
        loop {
            let line = self.parking.lines.get_mut(&gate)?;
            let lane = line.pop_front();
            if line.is_empty() {
                self.parking.lines.remove(&gate);
            }
            let lane = lane?;
            self.parking.standing -= 1;
            // Another may have its number by now.
            let gated = self.lanes[lane].gated;
            if gated != NONE && self.parking.gated[gated].kept_by == Some(gate) && self.lanes[lane].count > 0 {
                return Some(lane);
            }
        }
    }

    /// Notes that a lane waits at no gate.
    pub(super) fn unpark(&mut self, lane: LaneId) {
        let gated = self.lanes[lane].gated;
        if gated != NONE {
            self.parking.gated[gated].kept_by = None;
        }
    }
}
