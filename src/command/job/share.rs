//! Pops of queues that tenants share: lanes say whose job is next, the list is where it is taken from.
//!
//! What was just handed out is settled at the next pop, when it is seen whether the job has left the list: so a pop can be
//! run again after a fetch, or tried out by EXEC, and costs its lane nothing.

use std::collections::HashMap;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::job::Job;
use crate::keyspace::list::{ChunkAt, ChunkView};
use crate::keyspace::{Keyspace, List, QueueId, Side, Slot};
use crate::sched::{
    Arrivals, Candidate, Cost, Costs, Gate, Gates, LaneId, Lanes, LevelId, Limits, Mode, OfLanes, QueueRules,
    Scheduler, Shared, Slack, Verdict, Whose,
};

use super::serve::{Pick, index_of, pop_end};
use crate::command::{Context, Stop};

/// Jobs that the pops of one turn sort into lanes, and one pop where nobody has any in them.
const INDEXED_A_TURN: usize = 1_024;
const INDEXED_A_POP: usize = 256;
/// Entries of jobs that have left the list which one pop drops, and those of one lane before the next one has its turn.
const GONE_A_POP: usize = 4_096;
const GONE_A_LANE: usize = 256;
/// Lanes that come back at once when a gate opens.
const OPENED_A_GATE: u32 = 1_024;
/// Lanes that one pop has go from one gate to another before it leaves the rest to the next pop.
const PARKED_A_POP: usize = 256;
/// Chunks that are read ahead when a pop has to wait for one, and lanes that are asked which they will need.
const CHUNKS_AHEAD: usize = 32;
const LANES_AHEAD: usize = 1_024;

/// Where an item stands in the order of arrival, seen from the side that is popped.
pub fn place_of(side: Side, ordinal: u64) -> u64 {
    match side {
        Side::Left => ordinal,
        Side::Right => u64::MAX - ordinal,
    }
}

/// The ordinal of a place; the same sum both ways.
pub fn ordinal_of(side: Side, place: u64) -> u64 {
    place_of(side, place)
}

/// Tells whether pops from a side go by lanes: those from the end that workers pop from do. The other end gives what came
/// last, until it is popped from again and again.
pub fn is_served_from(context: &mut Context, slot: Slot, id: QueueId, side: Side) -> bool {
    let popped = context.keys.queues.get(id).and_then(|queue| queue.popped).or(context.keys.list(slot).popped);
    let shared = context.jobs.state(id).and_then(|state| state.shared.as_ref());
    shared.is_none_or(|shared| shared.side == index_of(side)) || popped == Some(side)
}

/// Makes lanes of a queue, unless there are some for this side.
fn make_lanes(context: &mut Context, slot: Slot, id: QueueId, side: Side, rules: &QueueRules) {
    let start = place_of(side, context.keys.list(slot).end_ordinal(side));
    let is_made = |shared: &Shared| shared.side == index_of(side);
    if context.jobs.state(id).and_then(|state| state.shared.as_deref()).is_some_and(is_made) {
        return;
    }
    let lanes = match &rules.fair {
        None => Lanes::in_order(start),
        Some(fair) if fair.mode == Mode::Sqs => Lanes::in_order(start),
        Some(fair) if fair.cost == Cost::Runtime => Lanes::new(start, fair.quantum).by_cost(),
        Some(fair) => Lanes::new(start, fair.quantum),
    };
    let shared = Shared::new(lanes, index_of(side), context.jobs.number_lanes());
    let state = context.jobs.state(id).expect("a queue with rules has a state");
    let old = state.shared.replace(Box::new(shared));
    context.jobs.retire(old);
}

/// Has the jobs that wait in a queue sorted into lanes, from the end that workers pop from.
pub fn prepare(context: &mut Context, (slot, id): (Slot, QueueId), rules: &QueueRules) {
    let payload = context.keys.list(slot).end(Side::Right).map(<[u8]>::to_vec).unwrap_or_default();
    let side = pop_end(context, slot, &payload);
    if rules.has_lanes() {
        make_lanes(context, slot, id, side, rules);
        context.jobs.index(id);
    }
}

/// Counts what the lanes of a queue take now.
pub fn account(keys: &mut Keyspace, jobs: &mut Scheduler, id: QueueId) {
    keys.memory.lanes_bytes = jobs.count_lanes(id);
}

/// Looks for up to `count` jobs of those tenants whose turn it is.
pub fn pick(
    context: &mut Context,
    (slot, id): (Slot, QueueId),
    side: Side,
    count: u64,
    rules: &QueueRules,
) -> Result<Pick, Stop> {
    let scan_max = context.host.settings().job_scan_max as usize;
    let now_ms = context.keys.now_ms();
    make_lanes(context, slot, id, side, rules);
    account(context.keys, context.jobs, id);
    let list = context.keys.list(slot);
    let database = context.keys.object(slot).database;
    let of_lanes = context.jobs.of_lanes(database, id).expect("they were just made");
    let OfLanes { shared, arrivals, limits, leases, costs, slack } = of_lanes;
    let wanted = count.min(list.len()) as usize;
    // What is picked may still turn out not to be taken.
    let mut tried = if rules.slack { slack.clone() } else { Slack::default() };
    let memory_max = context.keys.memory.lanes_bytes_max(shared.lanes.memory_bytes());
    if rules.costs_runtime() {
        shared.lanes.set_unit(costs.mean_ms());
    }
    if rules.asks_flights() {
        shared.lanes.set_noisy(leases.noisy(database, &rules.key));
    }
    let mut search = Search {
        list,
        lanes: &mut shared.lanes,
        side,
        rules,
        cost: &|job| {
            let (tenant, class) = (rules.tenant(job), Costs::class_of(job.class().as_deref()));
            costs.estimate_ms(&tenant, class)
        },
        has_failed: &|job| leases.returned(database, job.identity()).is_some(),
        gates: Gatekeeper {
            limits,
            rules,
            queue: id,
            now_ns: context.now.mono.as_nanos() as u64,
            picked: HashMap::new(),
        },
        arrivals,
        slack: &mut tried,
        now_ms,
        left: scan_max,
        wanted,
        items: Vec::new(),
        missing: Vec::new(),
        ahead: Vec::new(),
        met_taken: false,
    };
    search.lanes.settle(|place| list.contains(ordinal_of(side, place)), |tenant| rules.weight(tenant));
    search.open_gates();
    search.handed_back();
    if search.left == 0 && search.items.is_empty() {
        // So many that may not go were handed back that none behind them would ever be met: they are sorted in like others.
        let met_taken = search.met_taken;
        let old = context.jobs.state(id).and_then(|state| state.shared.take());
        context.jobs.retire(old);
        make_lanes(context, slot, id, side, rules);
        if met_taken && !rules.timed {
            context.jobs.sweep(id);
        }
        context.jobs.index(id);
        return Ok(Pick::Nothing);
    }
    let (turn, indexed) = shared.indexed;
    let done = if turn == context.now.mono { indexed } else { 0 };
    let least = if search.lanes.is_idle() { INDEXED_A_POP } else { 0 };
    let allowed = (INDEXED_A_TURN - done.min(INDEXED_A_TURN)).max(least);
    let (mut unread, indexed) = search.index(memory_max, allowed);
    shared.indexed = (context.now.mono, done + indexed);
    search.serve();
    if search.is_short() && search.lanes.is_hungry() {
        unread = search.refill();
        search.serve();
    }
    if search.is_short() {
        // What comes next stands there.
        search.missing.extend(unread);
    }
    let Search { items, missing, ahead, met_taken, .. } = search;
    if rules.slack {
        slack.sees(&tried);
    }
    let is_behind = shared.lanes.frontier() <= place_of(side, list.end_ordinal(side.other()));
    let has_room = !shared.lanes.is_full_with(memory_max / 8 * 7);
    let wants_more = (is_behind && has_room) || shared.lanes.is_hungry();
    if met_taken && !rules.timed {
        context.jobs.sweep(id);
    }
    if wants_more {
        context.jobs.index(id);
    }
    context.keys.prefetch(slot, &ahead);
    if !missing.is_empty() {
        return Err(Stop::Fetch(missing.into_iter().map(|at| context.keys.chunk_ref(slot, at)).collect()));
    }
    Ok(if items.is_empty() { Pick::Nothing } else { Pick::Items(items) })
}

struct Search<'a> {
    list: &'a List,
    lanes: &'a mut Lanes,
    side: Side,
    rules: &'a QueueRules,
    /// How long a job will probably run, in milliseconds.
    cost: &'a dyn Fn(&Job) -> f32,
    /// Tells whether a job has come back from a lease. It was tried, so that it counts for a rate again.
    has_failed: &'a dyn Fn(&Job) -> bool,
    gates: Gatekeeper<'a>,
    arrivals: &'a Arrivals,
    slack: &'a mut Slack,
    now_ms: u64,
    /// Jobs that may still be passed over; those that are handed out are as few as are wanted.
    left: usize,
    wanted: usize,
    items: Vec<(u64, Bytes)>,
    missing: Vec<ChunkAt>,
    /// Chunks that will be wanted soon.
    ahead: Vec<ChunkAt>,
    /// A job was met that a rule wants out.
    met_taken: bool,
}

/// Says which jobs limits let through, those that this pop picks included.
struct Gatekeeper<'a> {
    limits: &'a mut Limits,
    rules: &'a QueueRules,
    queue: QueueId,
    now_ns: u64,
    /// Jobs that were picked, by the gates that they pass.
    picked: HashMap<Gate, u32>,
}

impl Gatekeeper<'_> {
    /// The first of some gates that is closed; the queue is told when it opens. A job that comes back passes the rates.
    fn closed(&mut self, gates: &[Gate], comes_back: bool) -> Option<Gate> {
        let closed = gates.iter().copied().find(|gate| {
            let Some(bounds) = self.rules.bounds(*gate) else { return false };
            let picked = self.picked.get(gate).copied().unwrap_or(0);
            match comes_back {
                true => self.limits.room(*gate, &bounds.without_rate(), self.now_ns) <= picked,
                false => self.limits.room(*gate, bounds, self.now_ns) <= picked,
            }
        })?;
        self.wait(closed);
        Some(closed)
    }

    fn wait(&mut self, gate: Gate) {
        if let Some(bounds) = self.rules.bounds(gate) {
            self.limits.wait(gate, bounds, self.queue, self.now_ns);
        }
    }

    fn pass(&mut self, gates: &[Gate]) {
        gates.iter().for_each(|gate| *self.picked.entry(*gate).or_default() += 1);
    }
}

/// What one pop has passed over.
#[derive(Default)]
struct Passed {
    /// Entries whose jobs were gone, and those of them that one lane had in a row.
    gone: usize,
    gone_of_lane: usize,
    parked: usize,
}

/// The job that is next in a ring, and the chunk that has to be there first.
struct Head {
    ring: usize,
    lane: LaneId,
    ordinal: u64,
    missing: Option<ChunkAt>,
}

/// When a job came into its queue, in Unix milliseconds: as it says itself, or as it was noted.
pub fn since_ms(job: &Job, arrivals: &Arrivals, ordinal: u64) -> Option<u64> {
    job.enqueued_ms().or_else(|| arrivals.since_ms(ordinal))
}

impl Search<'_> {
    /// Gives lanes their turn again whose gates have opened.
    fn open_gates(&mut self) {
        let Gatekeeper { limits, rules, queue, now_ns, .. } = &mut self.gates;
        if rules.limits().is_empty() {
            return;
        }
        limits.wake(*now_ns);
        for gate in limits.take_opened(*queue) {
            let Some(bounds) = rules.bounds(gate) else { continue };
            let room = limits.room(gate, bounds, *now_ns).min(OPENED_A_GATE);
            if self.lanes.open(gate, room as usize) {
                limits.wait(gate, bounds, *queue, *now_ns);
            }
        }
    }

    /// A lane that a gate may have let through has met another one that is closed, or has no job any more.
    fn let_another_through(&mut self, gate: Gate, now: bool) {
        if self.gates.closed(&[gate], false).is_some() {
            return;
        }
        if !now {
            self.gates.limits.open_for(gate, self.gates.queue);
        } else if self.lanes.open(gate, 1) {
            self.gates.wait(gate);
        }
    }

    /// What came to the end that is popped since the index was begun is next.
    fn handed_back(&mut self) {
        if place_of(self.side, self.list.end_ordinal(self.side)) >= self.lanes.start() {
            return;
        }
        for chunk in self.list.chunks_from(self.side, None) {
            if let Some(at) = chunk.missing() {
                self.missing.push(at);
                return;
            }
            for (ordinal, item) in chunk.items() {
                if place_of(self.side, ordinal) >= self.lanes.start()
                    || self.items.len() == self.wanted
                    || self.left == 0
                {
                    return;
                }
                let job = Job::new(item);
                let gates = self.rules.gates(&job, self.now_ms);
                let comes_back = !gates.is_empty() && !(self.has_failed)(&job);
                if self.may_go(item) && self.gates.closed(&gates, comes_back).is_none() {
                    self.gates.pass(&gates);
                    self.items.push((ordinal, Bytes::copy_from_slice(item)));
                } else {
                    self.left -= 1;
                }
            }
        }
    }

    fn may_go(&mut self, item: &[u8]) -> bool {
        let verdict = self.rules.verdict(item, self.now_ms, None);
        self.met_taken |= matches!(verdict, Verdict::Take(_));
        verdict == Verdict::Deliver
    }

    /// Tells whether more is wanted, and may be looked for.
    fn is_short(&self) -> bool {
        self.items.len() < self.wanted && self.missing.is_empty() && self.left > 0
    }

    /// Sorts some more jobs into lanes, as far as they are in memory; answers the chunk at which that ends, and how many
    /// jobs those were.
    fn index(&mut self, memory_max: usize, allowed: usize) -> (Option<ChunkAt>, usize) {
        let mut count = 0;
        let (list, side) = (self.list, self.side);
        let met = self.lanes.frontier();
        let after = (met > 0 && met > self.lanes.start()).then(|| ordinal_of(side, met - 1));
        // Right before the start stands what was handed back.
        let after = after.or_else(|| self.lanes.start().checked_sub(1).map(|place| ordinal_of(side, place)));
        for chunk in list.chunks_from(side, after) {
            if self.lanes.is_full_with(memory_max) {
                return (None, count);
            }
            if chunk.missing().is_some() {
                return (chunk.missing(), count);
            }
            for (ordinal, item) in chunk.items() {
                if count == allowed {
                    return (None, count);
                }
                count += 1;
                let place = place_of(side, ordinal);
                if self.may_go(item) {
                    let job = Job::new(item);
                    let (tenant, gates) = (self.rules.tenant(&job), self.rules.gates(&job, self.now_ms));
                    let whose = Whose { tenant: &tenant, gates: &gates, level: self.rules.level_id(&job, self.now_ms) };
                    let lane = self.lanes.lane(whose, |tenant| self.rules.weight(tenant));
                    self.lanes.add(lane, place);
                } else {
                    self.lanes.met(place + 1);
                }
            }
        }
        (None, count)
    }

    /// Indexes more of the lanes that have run out although they have more jobs; answers the chunk at which that ends.
    fn refill(&mut self) -> Option<ChunkAt> {
        let mut left = INDEXED_A_POP;
        let (list, side) = (self.list, self.side);
        let from = self.lanes.begin_refill()?;
        for chunk in list.chunks_from(side, from.checked_sub(1).map(|place| ordinal_of(side, place))) {
            if chunk.missing().is_some() {
                return chunk.missing();
            }
            for (ordinal, item) in chunk.items() {
                if left == 0 {
                    return None;
                }
                left -= 1;
                let place = place_of(side, ordinal);
                if place >= self.lanes.frontier() {
                    break;
                }
                if self.may_go(item) {
                    let job = Job::new(item);
                    let (tenant, gates) = (self.rules.tenant(&job), self.rules.gates(&job, self.now_ms));
                    let level = self.rules.level_id(&job, self.now_ms);
                    self.lanes.refill(Whose { tenant: &tenant, gates: &gates, level }, place);
                }
                if self.lanes.refilled(place + 1) {
                    return None;
                }
            }
        }
        self.lanes.refilled(u64::MAX);
        None
    }

    /// Takes jobs from the lanes whose turn it is.
    fn serve(&mut self) {
        let mut passed = Passed::default();
        while self.is_short() && passed.gone < GONE_A_POP {
            let rings: SmallVec<[(usize, LevelId); 4]> = self.lanes.rings().collect();
            let head = match rings[..] {
                [(ring, _)] => self.head(ring, &mut passed),
                _ => self.most_urgent(&rings, &mut passed),
            };
            let Some(Head { ring, lane, ordinal, missing }) = head else { return };
            if let Some(at) = missing {
                self.missing.push(at);
                self.look_ahead();
                return;
            }
            if self.lanes.turn(ring) != Some((lane, place_of(self.side, ordinal))) {
                // A gate has opened for another lane while the other rings were looked at.
                continue;
            }
            let item = self.list.item(ordinal).expect("it was just seen there");
            self.items.push((ordinal, Bytes::copy_from_slice(item)));
            self.gates.pass(self.lanes.gates(lane));
            let job = Job::new(item);
            let cost = if self.rules.costs_runtime() { (self.cost)(&job) } else { 1.0 };
            if self.rules.slack {
                self.slack.served(self.rules.level(&job, self.now_ms), self.now_ms);
            }
            self.lanes.take(lane, cost);
            passed.gone_of_lane = 0;
        }
    }

    /// The job of a ring that is next, as far as gates and rules let it go.
    fn head(&mut self, ring: usize, passed: &mut Passed) -> Option<Head> {
        while self.left > 0 && passed.gone < GONE_A_POP {
            let (lane, place) = self.lanes.turn(ring)?;
            if let Some(gate) = self.gates.closed(self.lanes.gates(lane), false) {
                let others: Gates = self.lanes.gates(lane).iter().copied().filter(|other| *other != gate).collect();
                if self.lanes.park(lane, gate) {
                    self.let_others_through(&others, passed);
                }
                continue;
            }
            let ordinal = ordinal_of(self.side, place);
            let missing = self.list.missing_for(ordinal);
            if missing.is_some() {
                return Some(Head { ring, lane, ordinal, missing });
            }
            let gates: Gates = self.lanes.gates(lane).into();
            let Some(item) = self.list.item(ordinal) else {
                passed.gone += 1;
                passed.gone_of_lane += 1;
                let is_last = self.lanes.drop_oldest(lane);
                if is_last {
                    self.let_others_through(&gates, passed);
                } else if passed.gone_of_lane == GONE_A_LANE {
                    self.lanes.yield_turn(ring);
                    passed.gone_of_lane = 0;
                }
                continue;
            };
            if self.may_go(item) {
                return Some(Head { ring, lane, ordinal, missing });
            }
            self.left -= 1;
            if self.lanes.drop_oldest(lane) {
                self.let_others_through(&gates, passed);
            }
        }
        None
    }

    /// Of the next jobs of several rings, the one whose service level asks most for it.
    fn most_urgent(&mut self, rings: &[(usize, LevelId)], passed: &mut Passed) -> Option<Head> {
        let (mut heads, mut candidates) = (Vec::new(), Vec::new());
        for (ring, level) in rings {
            let Some(head) = self.head(*ring, passed) else { continue };
            match (self.since_ms(&head), head.missing) {
                (None, Some(at)) => self.missing.push(at),
                (since_ms, _) => {
                    let since_ms = since_ms.unwrap_or(self.now_ms);
                    candidates.push(Candidate { level: self.rules.level_of(*level), since_ms });
                    heads.push(head);
                }
            }
        }
        if !self.missing.is_empty() {
            return None;
        }
        let chosen = self.slack.choose(&candidates, self.now_ms)?;
        Some(heads.swap_remove(chosen))
    }

    /// Since when a job waits, as far as that is known; of one that is not in memory what its neighbours say.
    fn since_ms(&self, head: &Head) -> Option<u64> {
        if head.missing.is_some() {
            let chunk = self.list.chunk_of(head.ordinal);
            let oldest = chunk.and_then(|chunk| chunk.summary().and_then(|summary| summary.oldest_enqueued_ms()));
            return oldest.or(self.arrivals.since_ms(head.ordinal));
        }
        let item = self.list.item(head.ordinal).unwrap_or_default();
        since_ms(&Job::new(item), self.arrivals, head.ordinal)
    }

    fn let_others_through(&mut self, gates: &[Gate], passed: &mut Passed) {
        passed.parked += 1;
        gates.iter().for_each(|gate| self.let_another_through(*gate, passed.parked < PARKED_A_POP));
    }

    /// Finds out which chunks the next lanes will need besides.
    fn look_ahead(&mut self) {
        // Lanes of one round come in the order of the list, several to a chunk.
        let list = self.list;
        let mut last: Option<ChunkView> = None;
        for place in self.lanes.ahead(LANES_AHEAD) {
            let ordinal = ordinal_of(self.side, place);
            if last.is_some_and(|chunk| chunk.spans(ordinal)) {
                continue;
            }
            last = list.chunk_of(ordinal);
            self.ahead.extend(last.and_then(|chunk| chunk.missing()));
            if self.ahead.len() == CHUNKS_AHEAD {
                return;
            }
        }
    }
}
