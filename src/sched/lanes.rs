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
//! Nothing here notices that jobs leave the list in another way: an entry whose job is gone is dropped when it is met.

use std::collections::BTreeMap;

use compact_str::CompactString;
use xxhash_rust::xxh3::xxh3_64;

use super::slab::Slab;

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

/// See the module.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: Slab<Lane>,
    /// By a hash of the tenant; two of the same hash would share a lane.
    by_tenant: BTreeMap<u64, LaneId>,
    entries: Slab<Entry>,
    /// Bytes of tenants that are too long to stand in the lane itself.
    name_bytes: usize,
    /// Whose turn has begun. This and the others that have jobs in the index stand in one of three places, each once.
    current: Option<LaneId>,
    /// Those that have yet to have their turn in this round, by the place of their oldest job.
    round: BTreeMap<u64, LaneId>,
    /// Those that had it, or have come since it began.
    next_round: BTreeMap<u64, LaneId>,
    /// How many those are together.
    in_turn: usize,
    /// Rounds that have begun.
    rounds: u64,
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
    /// Their weights, but that of the lane without a tenant.
    turn_weight: f64,
    /// The part of the last arrivals that has no tenant.
    part_without: f32,
    arrivals: f32,
    quantum: f32,
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
    is_in_turn: bool,
    is_hungry: bool,
    /// The refill under way indexes jobs of it.
    refilled: bool,
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
    place: u64,
    round: u64,
    /// What its lane had before.
    deficit: f32,
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
        Lanes { start, frontier: start, quantum: quantum as f32, ..Lanes::default() }
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
        self.by_tenant.len()
    }

    pub fn memory_bytes(&self) -> usize {
        self.lanes.memory_bytes()
            + self.entries.memory_bytes()
            + self.name_bytes
            + (self.by_tenant.len() + self.in_turn) * IN_MAP_BYTES
    }

    /// Tells whether nobody has jobs in the index.
    pub fn is_idle(&self) -> bool {
        self.in_turn == 0
    }

    /// Tells whether no more is to be indexed where it may take so much memory. An index in which nobody has jobs is never
    /// full, so that every queue goes on.
    pub fn is_full_with(&self, memory_max: usize) -> bool {
        !self.is_idle() && self.memory_bytes() >= memory_max
    }

    /// The lane of a tenant, which is made if there is none.
    pub fn lane(&mut self, tenant: &str, weight: impl FnOnce(&str) -> Option<f64>) -> LaneId {
        let hash = hash_of(tenant);
        if let Some(lane) = self.by_tenant.get(&hash) {
            return *lane;
        }
        let lane = self.lanes.insert(Lane {
            tenant: tenant.into(),
            head: NONE,
            tail: NONE,
            count: 0,
            weight: weight(tenant).map_or_else(|| default_weight(tenant), |weight| weight as f32),
            deficit: 0.0,
            more_from: NOWHERE,
            waiting: 0,
            served: 0,
            is_in_turn: false,
            is_hungry: false,
            refilled: false,
        });
        self.name_bytes += heap_bytes(tenant);
        self.by_tenant.insert(hash, lane);
        lane
    }

    fn find(&self, tenant: &str) -> Option<LaneId> {
        self.by_tenant.get(&hash_of(tenant)).copied()
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
        self.arrivals = (self.arrivals + jobs as f32).min(RECENT);
        let is_without = if of.tenant == NO_TENANT { 1.0 } else { 0.0 };
        self.part_without += (is_without - self.part_without) * (jobs as f32 / self.arrivals).min(1.0);
    }

    /// Tells whether a lane would only note that it has more, so that its jobs need not be read.
    pub fn is_full(&self, tenant: &str) -> bool {
        self.find(tenant).is_some_and(|lane| {
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
        if !of.is_in_turn {
            self.next_round.insert(place, lane);
            self.join(lane);
        }
    }

    fn join(&mut self, lane: LaneId) {
        let of = &mut self.lanes[lane];
        of.is_in_turn = true;
        self.turn_weight += of.counted_weight();
        self.in_turn += 1;
    }

    fn leave(&mut self, lane: LaneId) {
        let of = &mut self.lanes[lane];
        of.is_in_turn = false;
        self.turn_weight -= of.counted_weight();
        self.in_turn -= 1;
        if self.in_turn == 0 {
            // Sums of fractions come out right only nearly.
            self.turn_weight = 0.0;
        }
    }

    fn first_place(&self, lane: LaneId) -> u64 {
        self.entries[self.lanes[lane].head].place
    }

    /// Gives a tenant another weight, or none of its own.
    pub fn set_weight(&mut self, tenant: &str, weight: Option<f64>) {
        let Some(lane) = self.find(tenant) else { return };
        let weight = weight.map_or_else(|| default_weight(tenant), |weight| weight as f32);
        let of = &mut self.lanes[lane];
        if of.is_in_turn {
            self.turn_weight -= of.counted_weight();
            of.weight = weight;
            self.turn_weight += of.counted_weight();
        }
        of.weight = weight;
    }

    // ---- whose turn it is ---------------------------------------------------------------------------------------

    /// The lane whose turn it is, and the place of its oldest job. Asked again without a change, it says the same.
    pub fn turn(&mut self) -> Option<(LaneId, u64)> {
        for passed in 0.. {
            let lane = match self.current {
                Some(lane) => lane,
                None => self.begin_turn()?,
            };
            let of = &mut self.lanes[lane];
            if self.in_turn == 1 {
                // Nobody else waits: there is nothing to share, and no debt to pay.
                of.deficit = of.deficit.max(1.0);
            }
            if of.deficit >= 1.0 || passed >= PASSES_MAX {
                return Some((lane, self.first_place(lane)));
            }
            self.yield_turn();
        }
        unreachable!("the loop ends by itself")
    }

    fn begin_turn(&mut self) -> Option<LaneId> {
        if self.round.is_empty() {
            std::mem::swap(&mut self.round, &mut self.next_round);
            self.rounds += 1;
        }
        let (_, lane) = self.round.pop_first()?;
        let of = &mut self.lanes[lane];
        let credit = credit(of, self.turn_weight, self.part_without, self.quantum);
        of.deficit = (of.deficit + credit).min(credit + 1.0);
        self.current = Some(lane);
        Some(lane)
    }

    /// Ends the turn of the lane that has it; it keeps what it has not used.
    pub fn yield_turn(&mut self) {
        if let Some(lane) = self.current.take() {
            self.next_round.insert(self.first_place(lane), lane);
        }
    }

    /// Hands out the oldest job of the lane whose turn it is. Until [`settle`](Self::settle) it may be taken back.
    pub fn take(&mut self, lane: LaneId) {
        let of = &mut self.lanes[lane];
        let place = self.entries[of.head].place;
        self.picked.push(Picked { tenant: of.tenant.clone(), place, round: self.rounds, deficit: of.deficit });
        of.deficit -= 1.0;
        of.served += 1;
        self.drop_oldest(lane);
    }

    /// Drops the oldest job of the lane whose turn it is, which is not in the list any more or may not be handed out. That
    /// costs it nothing. Tells whether the turn has ended with that.
    pub fn drop_oldest(&mut self, lane: LaneId) -> bool {
        debug_assert_eq!(self.current, Some(lane), "it is that lane's turn");
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
        if of.count > 0 {
            let is_over = of.deficit < 1.0;
            if is_over {
                self.yield_turn();
            }
            return is_over;
        }
        of.tail = NONE;
        // What it owes it goes on owing while it has jobs that are not indexed.
        of.deficit = of.deficit.min(0.0);
        let has_more = of.more_from != NOWHERE;
        self.current = None;
        self.leave(lane);
        if !has_more {
            self.forget(lane);
        }
        true
    }

    fn forget(&mut self, lane: LaneId) {
        let tenant = std::mem::take(&mut self.lanes[lane].tenant);
        self.name_bytes -= heap_bytes(&tenant);
        self.by_tenant.remove(&hash_of(&tenant));
        self.lanes.free(lane);
        if self.by_tenant.is_empty() {
            // An idle queue keeps nothing of a burst.
            (self.lanes, self.entries) = (Slab::default(), Slab::default());
            self.hungry = Vec::new();
        }
    }

    /// Settles what was handed out last: what still stands in the list was not taken, and is next again.
    pub fn settle(&mut self, mut is_there: impl FnMut(u64) -> bool, weight: impl Fn(&str) -> Option<f64>) {
        while let Some(Picked { tenant, place, round, deficit }) = self.picked.pop() {
            if !is_there(place) {
                continue;
            }
            // The turn that has begun meanwhile will begin again.
            if let Some(current) = self.current.take() {
                let first = self.first_place(current);
                let of = &mut self.lanes[current];
                of.deficit -= credit(of, self.turn_weight, self.part_without, self.quantum);
                self.round.insert(first, current);
            }
            if round < self.rounds {
                // So will the round. Those that have come since are few.
                self.round.extend(std::mem::take(&mut self.next_round));
                std::mem::swap(&mut self.round, &mut self.next_round);
                self.rounds = round;
            }
            let lane = self.lane(&tenant, &weight);
            if self.lanes[lane].is_in_turn {
                let first = self.first_place(lane);
                self.round.remove(&first).or_else(|| self.next_round.remove(&first)).expect("it waits for its turn");
            } else {
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
            of.served = of.served.saturating_sub(1);
            of.deficit = deficit;
            self.current = Some(lane);
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
        self.find(tenant).is_some_and(|lane| self.lanes[lane].refilled)
    }

    /// Indexes a job that a refill has met.
    pub fn refill(&mut self, tenant: &str, place: u64) {
        let Some(lane) = self.find(tenant) else { return };
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
        let waiting = self.round.values().chain(self.next_round.values());
        self.current.iter().chain(waiting).take(count).map(|lane| self.state(&self.lanes[*lane]))
    }

    fn state<'a>(&'a self, of: &'a Lane) -> LaneState<'a> {
        LaneState {
            tenant: &of.tenant,
            jobs: u64::from(of.waiting.max(of.count)),
            has_more: of.more_from != NOWHERE,
            weight: (of.weight >= 0.0).then_some(f64::from(of.weight)),
            deficit: f64::from(of.deficit),
            served: u64::from(of.served),
        }
    }

    /// The part of the last arrivals that has no tenant.
    pub fn part_without(&self) -> f64 {
        f64::from(self.part_without)
    }

    /// The places of the jobs that come next, one for each lane in turn, for who reads ahead.
    pub fn ahead(&self, count: usize) -> impl Iterator<Item = u64> {
        let current = self.current.map(|lane| self.first_place(lane));
        current.into_iter().chain(self.round.keys().chain(self.next_round.keys()).copied()).take(count)
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

/// Jobs that a lane may hand out in a turn.
fn credit(lane: &Lane, turn_weight: f64, part_without: f32, quantum: f32) -> f32 {
    if lane.weight >= 0.0 {
        return lane.weight * quantum;
    }
    let part = part_without.min(PART_MAX);
    ((part / (1.0 - part)) * turn_weight as f32).max(f32::MIN_POSITIVE) * quantum
}

fn hash_of(tenant: &str) -> u64 {
    xxh3_64(tenant.as_bytes())
}

/// What a name costs beside the lane, with about what a block of memory costs.
fn heap_bytes(tenant: &str) -> usize {
    if tenant.len() > size_of::<CompactString>() { tenant.len() + 16 } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn equal(_: &str) -> Option<f64> {
        None
    }

    /// An index of a list whose jobs belong to these tenants, read whole.
    fn lanes(jobs: &[&str], weight: impl Fn(&str) -> Option<f64>) -> Lanes {
        let mut lanes = Lanes::new(0, 1);
        for (place, tenant) in jobs.iter().enumerate() {
            let lane = lanes.lane(tenant, &weight);
            lanes.add(lane, place as u64);
        }
        lanes
    }

    /// Hands out up to so many jobs.
    fn order(lanes: &mut Lanes, count: usize) -> Vec<u64> {
        let mut order = Vec::new();
        while order.len() < count
            && let Some((lane, place)) = lanes.turn()
        {
            assert_eq!(lanes.turn(), Some((lane, place)), "asked again, it says the same");
            lanes.take(lane);
            lanes.settle(|_| false, equal);
            order.push(place);
        }
        order
    }

    #[test]
    fn a_job_of_each_in_turn() {
        let mut lanes = lanes(&["a", "a", "a", "a", "b", "b", "c"], equal);
        assert_eq!(order(&mut lanes, 10), [0, 4, 6, 1, 5, 2, 3]);
        assert_eq!((lanes.count(), lanes.turn()), (0, None));
        assert!(lanes.memory_bytes() < 100, "an idle queue keeps nothing");
    }

    #[test]
    fn who_comes_later_has_not_saved_up() {
        let mut lanes = lanes(&["a"; 6], equal);
        assert_eq!(order(&mut lanes, 3), [0, 1, 2]);
        let b = lanes.lane("b", equal);
        (6..9).for_each(|place| lanes.add(b, place));
        assert_eq!(order(&mut lanes, 4), [3, 6, 4, 7]);
    }

    #[test]
    fn weights_are_shares() {
        let jobs: Vec<&str> = ["a", "b", "c"].into_iter().cycle().take(3_000).collect();
        let weight = |tenant: &str| match tenant {
            "a" => None,
            "b" => Some(2.5),
            _ => Some(0.5),
        };
        let mut lanes = lanes(&jobs, weight);
        let mut counts = BTreeMap::new();
        for place in order(&mut lanes, 1_200) {
            *counts.entry(jobs[place as usize]).or_insert(0) += 1;
        }
        assert_eq!(counts, BTreeMap::from([("a", 300), ("b", 750), ("c", 150)]));
    }

    #[test]
    fn small_weights_cost_no_endless_search() {
        let mut lanes = lanes(&["a", "b"], |_| Some(0.0001));
        let mut served = order(&mut lanes, 10);
        served.sort_unstable();
        assert_eq!(served, [0, 1]);
    }

    #[test]
    fn jobs_without_a_tenant_get_the_part_that_they_have() {
        let jobs: Vec<&str> =
            ["-", "a", "-", "b", "-", "c", "-", "-", "d", "-"].into_iter().cycle().take(4_000).collect();
        let mut lanes = lanes(&jobs, equal);
        let served = order(&mut lanes, 1_000);
        let without = served.iter().filter(|place| jobs[**place as usize] == NO_TENANT).count();
        assert!((580..=620).contains(&without), "{without} of 1,000");
        lanes.set_weight(NO_TENANT, Some(1.0));
        let served = order(&mut lanes, 500);
        let without = served.iter().filter(|place| jobs[**place as usize] == NO_TENANT).count();
        assert!((95..=105).contains(&without), "{without} of 500");
        let mut alone = super::tests::lanes(&["-"; 20], equal);
        assert_eq!(order(&mut alone, 20).len(), 20);
    }

    #[test]
    fn a_weight_can_be_changed_while_jobs_wait() {
        let mut lanes = lanes(&["a", "b", "a", "b", "a", "b", "a", "b"], equal);
        assert_eq!(order(&mut lanes, 2), [0, 1]);
        lanes.set_weight("a", Some(2.0));
        assert_eq!(order(&mut lanes, 9), [2, 4, 3, 5, 6, 7]);
    }

    #[test]
    fn nobody_gains_where_jobs_of_two_rounds_were_not_taken() {
        let mut lanes = lanes(&["a", "a", "a", "a", "b", "b", "b", "b"], equal);
        assert_eq!(order(&mut lanes, 1), [0]);
        for _ in 0..2 {
            let (b, place) = lanes.turn().expect("there are jobs");
            assert_eq!(place, 4);
            lanes.take(b);
            let (a, place) = lanes.turn().expect("there are jobs");
            assert_eq!(place, 1);
            lanes.take(a);
            lanes.settle(|_| true, equal);
        }
        assert_eq!(order(&mut lanes, 7), [4, 1, 5, 2, 6, 3, 7]);
    }

    #[test]
    fn what_was_not_taken_is_next_again() {
        let mut lanes = lanes(&["a", "b", "a", "b", "a"], equal);
        for _ in 0..3 {
            let mut picked = Vec::new();
            for _ in 0..3 {
                let (lane, place) = lanes.turn().unwrap();
                lanes.take(lane);
                picked.push(place);
            }
            assert_eq!(picked, [0, 1, 2], "each time");
            lanes.settle(|_| true, equal);
        }
        for _ in 0..2 {
            let (lane, _) = lanes.turn().unwrap();
            lanes.take(lane);
        }
        lanes.settle(|place| place == 1, equal);
        assert_eq!(order(&mut lanes, 9), [1, 2, 3, 4]);
    }

    #[test]
    fn what_has_left_the_list_costs_its_lane_nothing() {
        let mut lanes = lanes(&["a", "a", "a", "b", "b"], equal);
        let (a, _) = lanes.turn().unwrap();
        lanes.drop_oldest(a);
        lanes.drop_oldest(a);
        assert_eq!(order(&mut lanes, 9), [2, 3, 4]);
    }

    /// Serves a list that is longer than what is indexed of it, and says how much memory that took.
    fn drain(jobs: &[u32], seed: u64) -> (Vec<u64>, usize) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut lanes = Lanes::new(0, 1);
        let mut gone = vec![false; jobs.len()];
        let (mut order, mut memory) = (Vec::new(), 0);
        while order.len() < jobs.len() {
            for _ in 0..random.random_range(0..3_000) {
                let met = lanes.frontier() as usize;
                if let Some(tenant) = jobs.get(met) {
                    let lane = lanes.lane(&tenant.to_string(), equal);
                    lanes.add(lane, met as u64);
                    assert_eq!(lanes.frontier(), met as u64 + 1);
                }
            }
            if let Some(at) = lanes.begin_refill() {
                let to = (at as usize + random.random_range(1..2_000)).min(lanes.frontier() as usize);
                (at as usize..to).filter(|place| !gone[*place]).for_each(|place| {
                    lanes.refill(&jobs[place].to_string(), place as u64);
                });
                lanes.refilled(to as u64);
            }
            for _ in 0..random.random_range(0..2_000) {
                let Some((lane, place)) = lanes.turn() else { break };
                lanes.take(lane);
                let is_taken = random.random_range(0..10) > 0;
                lanes.settle(|_| !is_taken, equal);
                if is_taken {
                    assert!(!std::mem::replace(&mut gone[place as usize], true), "{place} is handed out twice");
                    order.push(place);
                }
            }
            memory = memory.max(lanes.memory_bytes());
        }
        assert_eq!((lanes.count(), lanes.turn()), (0, None), "nothing is left");
        (order, memory)
    }

    #[test]
    fn a_long_lane_is_indexed_bit_by_bit_and_all_of_it_comes_out_in_order() {
        for seed in 0..20 {
            let mut random = StdRng::seed_from_u64(seed);
            let tenants = random.random_range(1..6);
            let few = random.random_range(0..200);
            let jobs: Vec<u32> = (0..20_000)
                .map(|place| match random.random_range(0..10) {
                    0 if few > 0 => 100 + random.random_range(0..few),
                    _ => (place / random.random_range(1..8_000)) % tenants,
                })
                .collect();
            let (order, memory) = drain(&jobs, seed);
            let mut last = BTreeMap::new();
            for place in order {
                let before = last.insert(jobs[place as usize], place);
                assert!(before.is_none_or(|before| before < place), "seed {seed}: a lane is out of order");
            }
            assert!(memory < 400_000, "seed {seed}: {memory} bytes");
        }
    }

    #[test]
    fn tenants_far_apart_are_all_refilled_in_time() {
        let jobs: Vec<&str> = std::iter::repeat_n("a", 20_000).chain(std::iter::repeat_n("b", 9_000)).collect();
        let mut lanes = lanes(&jobs, equal);
        let mut order = Vec::new();
        while let Some((lane, place)) = lanes.turn() {
            lanes.take(lane);
            order.push(jobs[place as usize]);
            if let Some(at) = lanes.begin_refill() {
                // For each pop a few jobs are read.
                let to = (at as usize + 4).min(jobs.len());
                (at as usize..to).for_each(|place| lanes.refill(jobs[place], place as u64));
                lanes.refilled(to as u64);
            }
        }
        assert_eq!(order.len(), jobs.len());
        let last = order.iter().rposition(|tenant| *tenant == "b").unwrap();
        assert!(last < 18_100, "b is served in turn: its last job was the {last}th");
    }
}
