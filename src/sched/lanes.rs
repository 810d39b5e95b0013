//! Lanes: whose job is next in a queue that tenants share. Pure: places in, places out.
//!
//! The list stays what it is, the order of arrival. A *lane* is an index into it: where the jobs of one tenant stand, oldest
//! first. Lanes are served by weighted deficit round robin (Shreedhar and Varghese, 1995): a lane whose turn it is may hand
//! out as many jobs as its weight says, what is left of a job is kept for its next turn, and a lane without jobs keeps
//! nothing. With equal weights that is a job each in turn. Jobs without a tenant are one lane, [`NO_TENANT`], which is
//! served as large a part as such jobs have of what came last, unless it was given a weight.
//!
//! Within a round lanes have their turns in the order in which their oldest jobs stand in the list. So a round goes over the
//! list once, from its front to its end, and reads no chunk twice, however the tenants' jobs are mixed.
//!
//! A *place* grows with the order of arrival, whichever end a queue is popped from. The index is built from the front on
//! and never reads the whole list at once:
//!
//! ```text
//!  handed back │ indexed, but of a long lane only its first part │ not met yet
//!            start                                            frontier
//! ```
//!
//! A lane that has [`LANE_JOBS_MAX`] jobs in the index remembers from where on it has more in the list, and a *refill* goes
//! over that part again for lanes that have used half of theirs. So memory follows the number of tenants that wait, not
//! the backlog of any; and where the tenants are too many for the memory, those at the front are served first.
//!
//! Jobs that limits act on stand in lanes of their own, one for each tenant and set of [`Gate`]s; a tenant's lanes share what it
//! may hand out. A lane whose gate is closed is *parked* ([`parking`]) and has no turn until it opens, so it keeps nobody. In a
//! queue that is not shared all jobs are of one tenant, and of the lanes that may go the one with the oldest job is next.
//!
//! Nothing here notices that jobs leave the list in another way: an entry whose job is gone is dropped when it is met.

mod parking;
mod ring;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use compact_str::CompactString;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::limits::Gate;
use super::slab::Slab;

use self::parking::Parking;
use self::ring::Ring;

/// Jobs of one lane that are indexed at a time.
pub const LANE_JOBS_MAX: u32 = 2_000;
/// Lanes without the credit for a job that are passed in one go. The next one is then served on credit.
const PASSES_MAX: usize = 1_024;
/// No entry, and no place.
const NONE: u32 = u32::MAX;
const NOWHERE: u64 = u64::MAX;
/// What a lane costs in a map of lanes.
const IN_MAP_BYTES: usize = 24;

/// The lane of jobs without a tenant.
pub const NO_TENANT: &str = "-";
/// So many of the last arrivals decide what part of them has no tenant.
const RECENT: f32 = 1_000.0;
/// The largest part that jobs without a tenant are served, so that the others are never forgotten.
const PART_MAX: f32 = 0.99;

/// Names a lane for as long as it has jobs.
pub type LaneId = u32;

/// Names a service level, as far as jobs are told apart by it; [`NO_LEVEL`] if not.
pub type LevelId = u64;
pub const NO_LEVEL: LevelId = 0;
/// Service levels that are told apart in one queue; jobs of further ones stand among those that have none.
pub const RINGS_MAX: usize = 64;
/// Rings that are kept of a queue in which nobody has jobs.
const RINGS_KEPT: usize = 4;

/// Whose a job is, the gates that it has to pass and its service level: jobs for which these are the same stand in one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Whose<'a> {
    pub tenant: &'a str,
    pub gates: &'a [Gate],
    pub level: LevelId,
}

impl<'a> Whose<'a> {
    /// A tenant's that has no gate to pass, and no service level.
    pub fn of(tenant: &'a str) -> Whose<'a> {
        Whose { tenant, gates: &[], level: NO_LEVEL }
    }
}

/// The gates of one job, of which there are few.
pub type Gates = SmallVec<[Gate; 1]>;

/// See the module.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Slab<Lane>,
    /// By a hash of whose they are; two of the same hash would share a lane.
    by_hash: BTreeMap<u64, LaneId>,
    entries: Slab<Entry>,
    /// Bytes of tenants that are too long to stand in the lane itself.
    name_bytes: usize,
    /// One for each service level that jobs were met of.
    rings: Vec<Ring>,
    /// Places before it were not there when the index was begun.
    start: u64,
    /// Places before it were met.
    frontier: u64,
    /// What was handed out by the last pick, in order, which may still turn out not to have been taken.
    picked: Vec<Picked>,
    /// Lanes that have used half of their jobs and have more.
    hungry: Vec<LaneId>,
    refill: Option<Refill>,
    /// Refills that have begun.
    refills: u64,
    /// Lanes whose gates are closed.
    parking: Parking,
    /// What is oldest is next, whosever it is, unless it is …
    in_order: bool,
    /// … of one of these tenants, who yield to all others.
    noisy: Vec<Box<str>>,
    quantum: f32,
    /// Jobs cost what they are said to, and not one each: who has anything left may hand one out, and owes what is too much.
    by_cost: bool,
    /// What a turn of weight 1 and quantum 1 brings in the next round.
    next_unit: f32,
}

#[derive(Debug)]
struct Lane {
    tenant: CompactString,
    head: u32,
    tail: u32,
    count: u32,
    weight: f32,
    /// Jobs that it may hand out before its turn is over; below 0 it was served on credit.
    deficit: f32,
    /// More jobs stand in the list from this place on; if not, [`NOWHERE`].
    more_from: u64,
    /// Jobs in the list, as far as they were met: not exact while there are more than the index has.
    waiting: u32,
    served: u32,
    /// The ring in which it has its turns.
    ring: u16,
    is_in_turn: bool,
    is_hungry: bool,
    /// The refill under way indexes jobs of it.
    refilled: bool,
    /// A gate has let it through in this turn.
    was_let_through: bool,
    /// A closed gate has ended its turn, which goes on when that opens.
    keeps_turn: bool,
    /// The first lane of its tenant, which has weight, deficit and what was served for all of them; none if it is that one.
    first: LaneId,
    /// Of the first: the tenant's other lanes, those of all its lanes that are in turn, and the round that brought it credit.
    others: u32,
    turns: u32,
    credited: u32,
    /// Its gates; none if it has none.
    gated: u32,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    place: u64,
    next: u32,
}

/// A job that was handed out.
#[derive(Debug)]
struct Picked {
    tenant: CompactString,
    gates: Gates,
    level: LevelId,
    place: u64,
    round: u64,
    /// What its tenant had before.
    deficit: f32,
    /// Its turn had brought that.
    is_credited: bool,
}

/// A refill under way.
#[derive(Debug)]
struct Refill {
    at: u64,
    /// The lane that it is over with.
    leader: LaneId,
    of: Vec<LaneId>,
}

/// What is known of a lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneState<'a> {
    pub tenant: &'a str,
    pub gates: &'a [Gate],
    pub level: LevelId,
    /// A gate that keeps it.
    pub kept_by: Option<Gate>,
    /// Jobs that wait, as far as they were met; not exact while the index has only the first part of them.
    pub jobs: u64,
    pub has_more: bool,
    /// Of its own; the lane of jobs without a tenant may have none.
    pub weight: Option<f64>,
    pub deficit: f64,
    /// Jobs handed out since it has had jobs.
    pub served: u64,
}

impl Lanes {
    /// An index of a list whose first job stands at a place. A lane of weight 1 hands out `quantum` jobs in its turn.
    pub fn new(start: u64, quantum: u32) -> Lanes {
        Lanes { start, frontier: start, quantum: quantum as f32, next_unit: 1.0, ..Lanes::default() }
    }

    /// An index of a queue that is served in order of arrival, as far as gates let jobs go.
    pub fn in_order(start: u64) -> Lanes {
        Lanes { in_order: true, ..Lanes::new(start, 1) }
    }

    /// The same of an index whose jobs cost what [`take`](Self::take) is told.
    pub fn by_cost(self) -> Lanes {
        Lanes { by_cost: true, ..self }
    }

    /// Says what an average job costs; a round brings each about as much.
    pub fn set_unit(&mut self, unit: f32) {
        self.next_unit = unit;
    }

    /// Jobs before this place have come after the index was begun: they were handed back, and are next.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Jobs from this place on were not met yet.
    pub fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Notes that all before a place was met.
    pub fn met(&mut self, before: u64) {
        self.frontier = self.frontier.max(before);
    }

    /// Lanes that have jobs.
    pub fn count(&self) -> usize {
        self.by_hash.len()
    }

    pub fn memory_bytes(&self) -> usize {
        self.lanes.memory_bytes()
            + self.entries.memory_bytes()
            + self.name_bytes
            + (self.by_hash.len() + self.in_turn()) * IN_MAP_BYTES
            + self.parking.memory_bytes()
    }

    /// Tells whether nobody has jobs in the index that may go.
    pub fn is_idle(&self) -> bool {
        self.in_turn() == 0
    }

    fn in_turn(&self) -> usize {
        self.rings.iter().map(|ring| ring.in_turn).sum()
    }

    /// Tells whether no more is to be indexed where it may take so much memory. An index in which nobody has jobs is never
    /// full, so that every queue goes on.
    pub fn is_full_with(&self, memory_max: usize) -> bool {
        !(self.is_idle() && self.parking.is_empty()) && self.memory_bytes() >= memory_max
    }

    /// The lane of such jobs, which is made if there is none.
    pub fn lane(&mut self, whose: Whose, weight: impl FnOnce(&str) -> Option<f64>) -> LaneId {
        let whose = self.bounded(whose);
        if let Some(lane) = self.find(whose) {
            return lane;
        }
        let tenant = Whose { gates: &[], ..whose };
        let first = match self.find(tenant) {
            Some(first) => first,
            None => {
                let weight = weight(whose.tenant).map_or_else(|| default_weight(whose.tenant), |weight| weight as f32);
                self.make(tenant, weight, NONE)
            }
        };
        if whose.gates.is_empty() {
            return first;
        }
        self.lanes[first].others += 1;
        self.make(whose, 0.0, first)
    }

    /// The same without a service level if there are too many of these.
    fn bounded<'a>(&self, whose: Whose<'a>) -> Whose<'a> {
        let is_one_more = self.rings.len() >= RINGS_MAX && self.rings.iter().all(|ring| ring.level != whose.level);
        if is_one_more { Whose { level: NO_LEVEL, ..whose } } else { whose }
    }

    /// The ring of a service level, which is made if there is none.
    fn ring_of(&mut self, level: LevelId) -> usize {
        self.rings.iter().position(|ring| ring.level == level).unwrap_or_else(|| {
            self.rings.push(Ring::new(level));
            self.rings.len() - 1
        })
    }

    fn make(&mut self, whose: Whose, weight: f32, first: LaneId) -> LaneId {
        let ring = self.ring_of(whose.level) as u16;
        let lane = self.lanes.insert(Lane {
            tenant: whose.tenant.into(),
            head: NONE,
            tail: NONE,
            count: 0,
            weight,
            deficit: 0.0,
            more_from: NOWHERE,
            waiting: 0,
            served: 0,
            ring,
            is_in_turn: false,
            is_hungry: false,
            refilled: false,
            was_let_through: false,
            keeps_turn: false,
            first,
            others: 0,
            turns: 0,
            credited: 0,
            gated: NONE,
        });
        if !whose.gates.is_empty() {
            self.lanes[lane].gated = self.parking.keep(whose.gates);
        }
        self.name_bytes += heap_bytes(whose.tenant);
        self.by_hash.insert(hash_of(whose), lane);
        lane
    }

    fn find(&self, whose: Whose) -> Option<LaneId> {
        self.by_hash.get(&hash_of(whose)).copied()
    }

    /// The lane that keeps account for all of its tenant.
    fn first(&self, lane: LaneId) -> LaneId {
        match self.lanes[lane].first {
            NONE => lane,
            first => first,
        }
    }

    /// The gates of the jobs of a lane.
    pub fn gates(&self, lane: LaneId) -> &[Gate] {
        match self.lanes[lane].gated {
            NONE => &[],
            gated => self.parking.gates(gated),
        }
    }

    /// Indexes a job that was not met yet, behind all others of its lane.
    pub fn add(&mut self, lane: LaneId, place: u64) {
        self.frontier = self.frontier.max(place + 1);
        self.arrive(lane, 1);
        let of = &mut self.lanes[lane];
        if of.more_from != NOWHERE {
            return;
        }
        if of.count >= LANE_JOBS_MAX {
            of.more_from = place;
            return;
        }
        self.append(lane, place);
    }

    /// Notes that a lane has some jobs from a place on, which are not indexed for now.
    pub fn add_unread(&mut self, lane: LaneId, place: u64, jobs: u32) {
        self.arrive(lane, jobs);
        let of = &mut self.lanes[lane];
        of.more_from = of.more_from.min(place);
    }

    fn arrive(&mut self, lane: LaneId, jobs: u32) {
        let of = &mut self.lanes[lane];
        of.waiting = of.waiting.saturating_add(jobs);
        let ring = &mut self.rings[usize::from(of.ring)];
        ring.arrivals = (ring.arrivals + jobs as f32).min(RECENT);
        let is_without = if of.tenant == NO_TENANT { 1.0 } else { 0.0 };
        ring.part_without += (is_without - ring.part_without) * (jobs as f32 / ring.arrivals).min(1.0);
    }

    /// Tells whether a lane would only note that it has more, so that its jobs need not be read.
    pub fn is_full(&self, whose: Whose) -> bool {
        self.find(whose).is_some_and(|lane| {
            let of = &self.lanes[lane];
            of.more_from != NOWHERE || of.count >= LANE_JOBS_MAX
        })
    }

    fn append(&mut self, lane: LaneId, place: u64) {
        let entry = self.entries.insert(Entry { place, next: NONE });
        let of = &mut self.lanes[lane];
        match of.tail {
            NONE => of.head = entry,
            tail => self.entries[tail].next = entry,
        }
        of.tail = entry;
        of.count += 1;
        if !of.is_in_turn && !self.is_parked(lane) {
            self.line_up(lane, false);
            self.join(lane);
        }
    }

    /// Has a lane wait for its turn, in this round or the next one.
    fn line_up(&mut self, lane: LaneId, in_this_round: bool) {
        let place = self.first_place(lane);
        let is_of_this = if self.in_order { !self.is_noisy(lane) } else { in_this_round };
        let ring = self.ring(lane);
        if is_of_this { &mut ring.round } else { &mut ring.next_round }.insert(place, lane);
    }

    /// The ring of a lane.
    fn ring(&mut self, lane: LaneId) -> &mut Ring {
        &mut self.rings[usize::from(self.lanes[lane].ring)]
    }

    fn join(&mut self, lane: LaneId) {
        self.lanes[lane].is_in_turn = true;
        let first = self.first(lane);
        let of = &mut self.lanes[first];
        let ring = &mut self.rings[usize::from(of.ring)];
        ring.in_turn += 1;
        of.turns += 1;
        if of.turns == 1 {
            ring.turn_weight += of.counted_weight();
            ring.tenants_in_turn += 1;
        }
    }

    fn leave(&mut self, lane: LaneId) {
        let of = &mut self.lanes[lane];
        (of.is_in_turn, of.was_let_through) = (false, false);
        let first = self.first(lane);
        let of = &mut self.lanes[first];
        let ring = &mut self.rings[usize::from(of.ring)];
        ring.in_turn -= 1;
        of.turns -= 1;
        if of.turns == 0 {
            ring.turn_weight -= of.counted_weight();
            ring.tenants_in_turn -= 1;
        }
        if ring.in_turn == 0 {
            // Sums of fractions come out right only nearly.
            ring.turn_weight = 0.0;
        }
    }

    fn first_place(&self, lane: LaneId) -> u64 {
        self.entries[self.lanes[lane].head].place
    }

    /// Gives a tenant another weight, or none of its own.
    pub fn set_weight(&mut self, tenant: &str, weight: Option<f64>) {
        let weight = weight.map_or_else(|| default_weight(tenant), |weight| weight as f32);
        for ring in 0..self.rings.len() {
            let level = self.rings[ring].level;
            let Some(lane) = self.find(Whose { tenant, gates: &[], level }) else { continue };
            let of = &mut self.lanes[lane];
            let before = of.counted_weight();
            of.weight = weight;
            if of.turns > 0 {
                self.rings[ring].turn_weight += of.counted_weight() - before;
            }
        }
    }

    // ---- whose turn it is ---------------------------------------------------------------------------------------

    /// The rings in which lanes wait for their turn, each with its service level.
    pub fn rings(&self) -> impl Iterator<Item = (usize, LevelId)> {
        let all = self.rings.iter().enumerate();
        all.filter(|(_, ring)| ring.in_turn > 0).map(|(index, ring)| (index, ring.level))
    }

    /// The lane of a ring whose turn it is, and the place of its oldest job. Asked again without a change, it says the same.
    pub fn turn(&mut self, ring: usize) -> Option<(LaneId, u64)> {
        for passed in 0.. {
            let lane = match self.rings.get(ring)?.current {
                Some(lane) => lane,
                None => self.begin_turn(ring)?,
            };
            let first = self.first(lane);
            let is_alone = self.rings[ring].tenants_in_turn == 1;
            let of = &mut self.lanes[first];
            if is_alone {
                // Nobody else waits: there is nothing to share, and no debt to pay. Where others wait at gates, nothing is
                // owed to them, but it has no more than they have when a gate opens.
                of.deficit = of.deficit.max(if self.parking.is_empty() { 1.0 } else { 0.0 });
            }
            let is_served = if self.by_cost { of.deficit > 0.0 } else { of.deficit >= 1.0 };
            if is_served || passed >= PASSES_MAX || is_alone || self.in_order {
                return Some((lane, self.first_place(lane)));
            }
            self.yield_turn(ring);
        }
        unreachable!("the loop ends by itself")
    }

    fn begin_turn(&mut self, ring: usize) -> Option<LaneId> {
        let next_unit = self.next_unit;
        let lane = if self.in_order {
            self.oldest(ring)?
        } else {
            let of = &mut self.rings[ring];
            if of.round.is_empty() {
                std::mem::swap(&mut of.round, &mut of.next_round);
                of.rounds += 1;
                of.unit = next_unit;
            }
            of.round.pop_first()?.1
        };
        self.rings[ring].current = Some(lane);
        let first = self.first(lane);
        // A turn that goes on brings nothing, nor one of another lane of the tenant in the same round.
        let keeps_turn = std::mem::take(&mut self.lanes[lane].keeps_turn);
        let ring = &mut self.rings[ring];
        let of = &mut self.lanes[first];
        ring.is_credited = !keeps_turn && of.credited != ring.rounds as u32;
        if ring.is_credited {
            let credit = credit(of, ring, self.quantum);
            of.deficit = (of.deficit + credit).min(credit + ring.unit);
            of.credited = ring.rounds as u32;
        }
        Some(lane)
    }

    /// Takes out the lane with the oldest job, of a noisy tenant only if no other waits.
    fn oldest(&mut self, ring: usize) -> Option<LaneId> {
        while let Some((place, lane)) = self.rings[ring].round.pop_first() {
            if !self.is_noisy(lane) {
                return Some(lane);
            }
            self.rings[ring].next_round.insert(place, lane);
        }
        Some(self.rings[ring].next_round.pop_first()?.1)
    }

    fn is_noisy(&self, lane: LaneId) -> bool {
        !self.noisy.is_empty() && self.noisy.iter().any(|tenant| **tenant == *self.lanes[lane].tenant)
    }

    /// Says which tenants are to yield to all others, in a queue that is served in order of arrival.
    pub fn set_noisy(&mut self, tenants: Vec<Box<str>>) {
        if self.noisy == tenants {
            return;
        }
        self.noisy = tenants;
        for ring in 0..self.rings.len() {
            self.yield_turn(ring);
            // Those of tenants that have become noisy are met one by one.
            let yielding = std::mem::take(&mut self.rings[ring].next_round);
            self.rings[ring].round.extend(yielding);
        }
    }

    /// Undoes what the turn that has begun has brought its tenant.
    fn take_credit_back(&mut self, first: LaneId) {
        let of = &mut self.lanes[first];
        let ring = &mut self.rings[usize::from(of.ring)];
        if std::mem::take(&mut ring.is_credited) {
            of.deficit -= credit(of, ring, self.quantum);
            of.credited = of.credited.wrapping_sub(1);
        }
    }

    /// Ends the turn of the lane of a ring that has it; it keeps what it has not used.
    pub fn yield_turn(&mut self, ring: usize) {
        if let Some(lane) = self.rings[ring].current.take() {
            self.lanes[lane].was_let_through = false;
            self.line_up(lane, false);
        }
    }

    /// Hands out the oldest job of the lane whose turn it is. Until [`settle`](Self::settle) it may be taken back.
    pub fn take(&mut self, lane: LaneId, cost: f32) {
        let place = self.first_place(lane);
        let gates = self.gates(lane).into();
        let first = self.first(lane);
        let of = &mut self.lanes[first];
        let (tenant, deficit) = (of.tenant.clone(), of.deficit);
        let Ring { level, rounds: round, is_credited, .. } = self.rings[usize::from(of.ring)];
        self.picked.push(Picked { tenant, gates, level, place, round, deficit, is_credited });
        of.deficit -= cost;
        of.served += 1;
        self.drop_oldest(lane);
    }

    /// Drops the oldest job of the lane whose turn it is, which is not in the list any more or may not be handed out. That
    /// costs it nothing. Tells whether the turn has ended with that.
    pub fn drop_oldest(&mut self, lane: LaneId) -> bool {
        debug_assert_eq!(self.ring(lane).current, Some(lane), "it is that lane's turn");
        let ring = usize::from(self.lanes[lane].ring);
        let of = &mut self.lanes[lane];
        let entry = of.head;
        of.head = self.entries[entry].next;
        of.count -= 1;
        of.waiting = of.waiting.saturating_sub(1);
        self.entries.free(entry);
        if of.more_from != NOWHERE && of.count < LANE_JOBS_MAX / 2 && !of.is_hungry && !of.refilled {
            of.is_hungry = true;
            self.hungry.push(lane);
        }
        let (count, has_more) = (of.count, of.more_from != NOWHERE);
        let first = self.first(lane);
        if count > 0 {
            let is_over = self.in_order || !self.may_go_on(first);
            if is_over {
                self.yield_turn(ring);
            }
            return is_over;
        }
        self.lanes[lane].tail = NONE;
        self.rings[ring].current = None;
        self.leave(lane);
        let of = &mut self.lanes[first];
        if of.turns == 0 {
            // What it owes it goes on owing while it has jobs that are not indexed.
            of.deficit = of.deficit.min(0.0);
        }
        if !has_more {
            self.forget(lane);
        }
        true
    }

    /// Tells whether a tenant has enough left for another job.
    fn may_go_on(&self, first: LaneId) -> bool {
        let deficit = self.lanes[first].deficit;
        if self.by_cost { deficit > 0.0 } else { deficit >= 1.0 }
    }

    /// Charges a tenant that waits for what a job has cost more than was charged when it went out, or less.
    pub fn charge(&mut self, tenant: &str, cost: f32) {
        let mut lanes = self.rings.iter().map(|ring| Whose { tenant, gates: &[], level: ring.level });
        if let Some(lane) = lanes.find_map(|whose| self.find(whose)) {
            self.lanes[lane].deficit -= cost;
        }
    }

    /// Forgets a lane without jobs, unless it is the first of others that have some.
    fn forget(&mut self, lane: LaneId) {
        let Lane { first, others, gated, ring, .. } = self.lanes[lane];
        let level = self.rings[usize::from(ring)].level;
        if others > 0 {
            return;
        }
        let tenant = std::mem::take(&mut self.lanes[lane].tenant);
        self.name_bytes -= heap_bytes(&tenant);
        let gates: Gates = self.gates(lane).into();
        self.by_hash.remove(&hash_of(Whose { tenant: &tenant, gates: &gates, level }));
        if gated != NONE {
            self.parking.drop(gated);
        }
        self.lanes.free(lane);
        if first != NONE {
            let of = &mut self.lanes[first];
            of.others -= 1;
            if of.others == 0 && of.count == 0 && of.more_from == NOWHERE {
                self.forget(first);
            }
        }
        if self.by_hash.is_empty() {
            // An idle queue keeps nothing of a burst.
            (self.lanes, self.entries) = (Slab::default(), Slab::default());
            (self.hungry, self.parking) = (Vec::new(), Parking::default());
            if self.rings.len() > RINGS_KEPT {
                self.rings = Vec::new();
            }
        }
    }

    /// Settles what was handed out last: what still stands in the list was not taken, and is next again.
    pub fn settle(&mut self, mut is_there: impl FnMut(u64) -> bool, weight: impl Fn(&str) -> Option<f64>) {
        while let Some(Picked { tenant, gates, level, place, round, deficit, is_credited }) = self.picked.pop() {
            if !is_there(place) {
                continue;
            }
            let ring = self.ring_of(level);
            // The turn that has begun meanwhile will begin again.
            if let Some(current) = self.rings[ring].current.take() {
                let first = self.first(current);
                self.take_credit_back(first);
                self.line_up(current, true);
            }
            let of = &mut self.rings[ring];
            if round < of.rounds && !self.in_order {
                // So will the round. Those that have come since are few.
                of.round.extend(std::mem::take(&mut of.next_round));
                std::mem::swap(&mut of.round, &mut of.next_round);
                of.rounds = round;
            }
            let lane = self.lane(Whose { tenant: &tenant, gates: &gates, level }, &weight);
            if self.lanes[lane].is_in_turn {
                let first = self.first_place(lane);
                let of = &mut self.rings[ring];
                of.round.remove(&first).or_else(|| of.next_round.remove(&first)).expect("it waits for its turn");
            } else {
                self.unpark(lane);
                self.join(lane);
            }
            let of = &mut self.lanes[lane];
            let entry = self.entries.insert(Entry { place, next: of.head });
            of.head = entry;
            if of.tail == NONE {
                of.tail = entry;
            }
            of.count += 1;
            of.waiting = of.waiting.saturating_add(1);
            let first = self.first(lane);
            let of = &mut self.lanes[first];
            of.served = of.served.saturating_sub(1);
            of.deficit = deficit;
            if is_credited {
                of.credited = round as u32;
            }
            let of = &mut self.rings[ring];
            (of.is_credited, of.current) = (is_credited, Some(lane));
        }
    }

    // ---- refills ------------------------------------------------------------------------------------------------

    /// Tells whether lanes want more of their jobs to be indexed.
    pub fn is_hungry(&self) -> bool {
        self.refill.is_some() || !self.hungry.is_empty()
    }

    /// Tells whether lanes want more of their jobs to be indexed, and from which place on the list has to be read for it.
    ///
    /// A refill begins where the lane that has the least left goes on, serves it and those that go on behind, and is over
    /// when that lane has enough: however far apart tenants stand in the list, none waits until the others' parts are read.
    pub fn begin_refill(&mut self) -> Option<u64> {
        if let Some(refill) = &self.refill {
            return Some(refill.at);
        }
        // One that was forgotten meanwhile, or is another's by now, has no more.
        let lanes = &mut self.lanes;
        self.hungry.retain(|lane| lanes[*lane].is_hungry && lanes[*lane].more_from != NOWHERE);
        let urgency = |lane: &&LaneId| (lanes[**lane].count, lanes[**lane].more_from);
        let leader = *self.hungry.iter().min_by_key(urgency)?;
        let at = lanes[leader].more_from;
        let goes_along = |lane: &mut LaneId| {
            let of = &mut lanes[*lane];
            let goes_along = of.more_from >= at;
            of.is_hungry = !goes_along;
            of.refilled |= goes_along;
            goes_along
        };
        let of = self.hungry.extract_if(.., goes_along).collect();
        self.refill = Some(Refill { at, leader, of });
        self.refills += 1;
        Some(at)
    }

    /// How many refills have begun: tells one from those after it.
    pub fn refills(&self) -> u64 {
        self.refills
    }

    /// Tells whether a refill has use for jobs of a tenant.
    pub fn is_refilled(&self, tenant: &str) -> bool {
        self.find(Whose::of(tenant)).is_some_and(|lane| self.lanes[lane].refilled)
    }

    /// Indexes a job that a refill has met.
    pub fn refill(&mut self, whose: Whose, place: u64) {
        let Some(lane) = self.find(self.bounded(whose)) else { return };
        let of = &mut self.lanes[lane];
        if !of.refilled || place < of.more_from {
            return;
        }
        if of.count >= LANE_JOBS_MAX {
            // It has had enough; what comes behind would not be in order.
            of.refilled = false;
            of.more_from = place;
            return;
        }
        of.more_from = place + 1;
        self.append(lane, place);
    }

    /// Notes how far a refill has come; tells whether it is over.
    pub fn refilled(&mut self, before: u64) -> bool {
        let Some(refill) = &mut self.refill else { return true };
        refill.at = refill.at.max(before);
        let (at, all_met) = (refill.at, refill.at >= self.frontier);
        if self.lanes[refill.leader].refilled && !all_met {
            return false;
        }
        for lane in self.refill.take().expect("there is one").of {
            let of = &mut self.lanes[lane];
            if !std::mem::take(&mut of.refilled) {
                continue;
            }
            if all_met {
                (of.more_from, of.waiting) = (NOWHERE, of.count);
                if of.count == 0 {
                    self.forget(lane);
                }
                continue;
            }
            of.more_from = of.more_from.max(at);
            if of.count < LANE_JOBS_MAX / 2 {
                of.is_hungry = true;
                self.hungry.push(lane);
            }
        }
        true
    }

    // ---- what is in them ----------------------------------------------------------------------------------------

    /// Lanes that have jobs, from one number on, and the number at which to go on; at most `count` are looked at.
    pub fn page(&self, from: LaneId, count: u32) -> (impl Iterator<Item = LaneState<'_>>, Option<LaneId>) {
        let to = from.saturating_add(count).min(self.lanes.end());
        let used = (from..to).map(|lane| &self.lanes[lane]).filter(|of| of.count > 0 || of.more_from != NOWHERE);
        (used.map(|of| self.state(of)), (to < self.lanes.end()).then_some(to))
    }

    /// The lanes whose turn it is next, in this order.
    pub fn turns(&self, count: usize) -> impl Iterator<Item = LaneState<'_>> {
        self.rings.iter().flat_map(Ring::lanes).take(count).map(|lane| self.state(&self.lanes[lane]))
    }

    fn state<'a>(&'a self, of: &'a Lane) -> LaneState<'a> {
        let first = if of.first == NONE { of } else { &self.lanes[of.first] };
        LaneState {
            tenant: &of.tenant,
            gates: if of.gated == NONE { &[] } else { self.parking.gates(of.gated) },
            level: self.rings[usize::from(of.ring)].level,
            kept_by: if of.gated == NONE { None } else { self.parking.kept_by(of.gated) },
            jobs: u64::from(of.waiting.max(of.count)),
            has_more: of.more_from != NOWHERE,
            weight: (first.weight >= 0.0).then_some(f64::from(first.weight)),
            deficit: f64::from(first.deficit),
            served: u64::from(first.served),
        }
    }

    /// The part of the last arrivals that has no tenant, where jobs are not told apart by service levels.
    pub fn part_without(&self) -> f64 {
        self.rings.first().map_or(0.0, |ring| f64::from(ring.part_without))
    }

    /// The places of the jobs that come next in each ring, one for each lane in turn, for who reads ahead.
    pub fn ahead(&self, count: usize) -> impl Iterator<Item = u64> {
        self.rings.iter().flat_map(Ring::lanes).take(count).map(|lane| self.first_place(lane))
    }
}

impl Lane {
    /// What it adds to the weights of all.
    fn counted_weight(&self) -> f64 {
        if self.weight > 0.0 && self.tenant != NO_TENANT { f64::from(self.weight) } else { 0.0 }
    }
}

/// A lane has weight 1; that of jobs without a tenant has none of its own, which is written as −1.
fn default_weight(tenant: &str) -> f32 {
    if tenant == NO_TENANT { -1.0 } else { 1.0 }
}

/// Jobs that a lane of a ring may hand out in a turn.
fn credit(lane: &Lane, ring: &Ring, quantum: f32) -> f32 {
    if lane.weight >= 0.0 {
        return lane.weight * quantum * ring.unit;
    }
    let part = ring.part_without.min(PART_MAX);
    ((part / (1.0 - part)) * ring.turn_weight as f32).max(f32::MIN_POSITIVE) * quantum * ring.unit
}

fn hash_of(whose: Whose) -> u64 {
    let tenant = xxh3_64(whose.tenant.as_bytes()) ^ whose.level.wrapping_mul(0xa076_1d64_78bd_642f);
    whose
        .gates
        .iter()
        .fold(tenant, |hash, gate| (hash ^ gate.hash()).rotate_left(17).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What a name costs beside the lane, with about what a block of memory costs.
fn heap_bytes(tenant: &str) -> usize {
    if tenant.len() > size_of::<CompactString>() { tenant.len() + 16 } else { 0 }
}
