//! Which job next: the rules of all databases, and what they make of each queue. Pure: no store, no clock, no chance.
//!
//! A *rule* is made by a person and lives in a database. A *verdict* says of one job what the rules of its queue want:
//! deliver it, hold it where it is, or take it out. Commands and the sweeper ask for verdicts and act on them; nothing
//! here changes a list.
//!
//! A queue whose rules hold jobs is served past them without moving them. What is known to be held at an end is an
//! interval of ordinals ([`Held`]): a pop looks at what came outside of it, then goes on behind it. A job that a rule
//! wants to take out and that is still in the list is passed over in the same way, until the sweeper comes by.
//!
//! A queue that tenants share has [`Lanes`] instead, which say whose job is next and where it stands.

mod adaptive;
mod arrivals;
mod costs;
mod flights;
mod heartbeats;
mod lanes;
mod leases;
mod limits;
mod promises;
mod queue_rules;
mod rule;
mod rules;
mod slab;
mod slack;
mod work;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub use self::work::{Until, Work};
pub use adaptive::Phase;
pub use arrivals::Arrivals;
pub use costs::{Account, Costs};
pub use heartbeats::Heartbeats;
pub use lanes::{Gates, LANE_JOBS_MAX, LaneId, LaneState, Lanes, LevelId, NO_LEVEL, NO_TENANT, Whose};
pub use leases::{HeldBy, Lease, Leases, Returned};
pub use limits::{Charge, Gate, Limits, NO_KEY};
pub use promises::Promises;
pub use queue_rules::{Besides, EXPIRED, PAUSED_BY_SET, Promising, QueueRules, Taking, Verdict};
pub use rule::{
    Action, Blackhole, Bounds, By, Cost, Fair, Kind, Limit, Made, Mode, Order, Rate, Rule, Scope, Sharing, Slo, Span,
    Weight,
};
pub use rules::Rules;
pub use slack::{Candidate, Level, Slack, WITHIN_DEFAULT_MS};

/// Ordinals at an end of a queue, both included, of which none may be handed out; `inner` is the one deepest inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub outer: u64,
    pub inner: u64,
}

/// What is known of one queue under its rules. It is forgotten when rules or list are no longer those it was found with.
#[derive(Debug, Default)]
pub struct QueueState {
    seen: Seen,
    pub rules: Option<Arc<QueueRules>>,
    object: u64,
    rewrites: u64,
    /// By side: left, right.
    pub held: [Option<Held>; 2],
    /// By side: pops found nothing so far, and the sweeper looks on.
    pub seeking: [bool; 2],
    /// Every job in the list was looked at with the rules up to this one.
    pub clean: u32,
    /// How often jobs have come that nobody has looked at.
    pub unlooked: u64,
    /// Whose job is next, if the queue is shared between tenants.
    pub shared: Option<Box<Shared>>,
    /// When jobs came, where service levels ask for it.
    pub arrivals: Arrivals,
}

/// The lanes of a queue, and from which side of its list they are served.
#[derive(Debug)]
pub struct Shared {
    pub lanes: Lanes,
    /// As an index by side: 0 for left, 1 for right.
    pub side: usize,
    number: u64,
    /// The sweeper is at work to index more.
    pub indexing: bool,
    /// When pops indexed jobs last, on the monotonic clock, and how many in that turn.
    pub indexed: (Duration, usize),
    /// What was counted of it.
    bytes: usize,
}

/// What a part of a list was read for: these lanes, and this refill of theirs or none. Read for others it has gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFor {
    lanes: u64,
    refill: Option<u64>,
}

impl ReadFor {
    pub fn is_refill(self) -> bool {
        self.refill.is_some()
    }
}

impl Shared {
    /// `number` tells these lanes from others of the same queue.
    pub fn new(lanes: Lanes, side: usize, number: u64) -> Shared {
        Shared { lanes, side, number, indexing: false, indexed: (Duration::ZERO, 0), bytes: 0 }
    }

    /// What is read now, for a refill or for lanes that have yet to meet it.
    pub fn reads_for(&self, is_refill: bool) -> ReadFor {
        ReadFor { lanes: self.number, refill: is_refill.then(|| self.lanes.refills()) }
    }
}

/// The lanes of a queue, and what is known besides of what may be handed out.
pub struct OfLanes<'a> {
    pub shared: &'a mut Shared,
    pub arrivals: &'a Arrivals,
    pub limits: &'a mut Limits,
    pub leases: &'a Leases,
    pub costs: &'a Costs,
    pub slack: &'a mut Slack,
}

/// The versions of all that the rules of a queue follow from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    rules: u64,
    besides: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Scheduler {
    pub rules: Rules,
    pub leases: Leases,
    pub limits: Limits,
    pub heartbeats: Heartbeats,
    /// By database.
    slack: HashMap<usize, Slack>,
    /// What was promised and kept.
    pub promises: Promises,
    /// By queue, of those that are shared by run time.
    costs: HashMap<u32, Costs>,
    /// By number of the queue.
    queues: Vec<QueueState>,
    /// Queues and sides at which a pop gave up: the sweeper finds what is next there.
    seeks: Vec<(u32, usize)>,
    /// Queues in which a pop has met a job that a rule wants out.
    sweeps: Vec<u32>,
    /// Queues of whose jobs more are to be sorted into lanes.
    indexing: Vec<u32>,
    /// Lanes that are for nobody any more.
    retired: Vec<Shared>,
    /// Leases of databases that were emptied.
    retired_leases: Vec<leases::OfDatabase>,
    /// The gates of limits that were taken back.
    retired_limits: Vec<limits::OfLimit>,
    /// What all lanes take.
    lanes_bytes: usize,
    /// How often lanes were made.
    lanes_made: u64,
    /// Work that commands have asked for and that goes on behind their replies.
    work: Vec<(u64, Work, u64)>,
}

impl Scheduler {
    /// The state of a queue, with rules that are up to date. `besides` says what else holds for it, which may differ only
    /// if `changes` do.
    pub fn queue(
        &mut self,
        id: u32,
        database: usize,
        key: &[u8],
        changes: u64,
        besides: impl FnOnce() -> Besides,
    ) -> &mut QueueState {
        if self.queues.len() <= id as usize {
            self.queues.resize_with(id as usize + 1, QueueState::default);
        }
        let seen = Seen { rules: self.rules.version(), besides: changes };
        let state = &mut self.queues[id as usize];
        if state.seen != seen {
            let rules = self.rules.for_queue(database, key, besides());
            let QueueState { clean, unlooked, object, rewrites, .. } = *state;
            let arrivals = std::mem::take(&mut state.arrivals);
            let rules = (!rules.is_empty()).then(|| Arc::new(rules));
            let shared = state.shared_under(rules.as_deref());
            let retired = state.shared.take();
            *state = QueueState {
                seen,
                rules,
                clean,
                unlooked,
                object,
                rewrites,
                shared,
                arrivals,
                ..QueueState::default()
            };
            self.retire(retired);
        }
        &mut self.queues[id as usize]
    }

    /// The state of a queue as it was left.
    pub fn state(&mut self, id: u32) -> Option<&mut QueueState> {
        self.queues.get_mut(id as usize)
    }

    /// What a pop of a queue with lanes goes by.
    pub fn of_lanes(&mut self, database: usize, id: u32) -> Option<OfLanes<'_>> {
        let state = self.queues.get_mut(id as usize)?;
        Some(OfLanes {
            shared: state.shared.as_mut()?,
            arrivals: &state.arrivals,
            limits: &mut self.limits,
            leases: &self.leases,
            costs: self.costs.entry(id).or_default(),
            slack: self.slack.entry(database).or_default(),
        })
    }

    /// How service levels of a database have been served.
    pub fn slack(&mut self, database: usize) -> &mut Slack {
        self.slack.entry(database).or_default()
    }

    /// Notes that a job was handed out which was promised something, and since when it had waited.
    pub fn promised(&mut self, database: usize, queue: &[u8], level: Level, since_ms: u64, now_ms: u64) {
        self.slack(database).served(level, now_ms);
        self.promises.kept(database, queue, level, now_ms.saturating_sub(since_ms), now_ms);
    }

    /// What jobs of a queue cost.
    pub fn costs(&mut self, id: u32) -> &Costs {
        self.costs.entry(id).or_default()
    }

    /// Notes how long a job of a queue has run, and charges its tenant what was not charged before.
    pub fn ran(&mut self, id: u32, account: &Account, ms: f32) {
        let owed = self.costs.entry(id).or_default().ran(account, ms);
        if let Some(shared) = self.queues.get_mut(id as usize).and_then(|state| state.shared.as_mut()) {
            shared.lanes.charge(&account.tenant, owed);
        }
    }

    /// Asks the sweeper to find the first job at a side that may be handed out.
    pub fn seek(&mut self, id: u32, side: usize) {
        if let Some(state) = self.queues.get_mut(id as usize)
            && !state.seeking[side]
        {
            state.seeking[side] = true;
            self.seeks.push((id, side));
        }
    }

    /// Tells whether something was asked for that nobody has taken on yet.
    pub fn has_asked(&self) -> bool {
        !(self.seeks.is_empty()
            && self.sweeps.is_empty()
            && self.indexing.is_empty()
            && self.retired.is_empty()
            && self.retired_leases.is_empty()
            && self.retired_limits.is_empty()
            && self.work.is_empty())
    }

    /// What was asked for since the last call.
    pub fn take_seeks(&mut self) -> Vec<(u32, usize)> {
        std::mem::take(&mut self.seeks)
    }

    /// Asks the sweeper to take out of a queue what rules want out.
    pub fn sweep(&mut self, id: u32) {
        if !self.sweeps.contains(&id) {
            self.sweeps.push(id);
        }
    }

    /// Asks the sweeper to sort more jobs of a queue into its lanes.
    pub fn index(&mut self, id: u32) {
        if let Some(shared) = self.queues.get_mut(id as usize).and_then(|state| state.shared.as_mut())
            && !std::mem::replace(&mut shared.indexing, true)
        {
            self.indexing.push(id);
        }
    }

    /// A number for new lanes.
    pub fn number_lanes(&mut self) -> u64 {
        self.lanes_made += 1;
        self.lanes_made
    }

    /// Keeps lanes until somebody has the time to free them: there may be a million.
    pub fn retire(&mut self, lanes: Option<Box<Shared>>) {
        if let Some(lanes) = lanes {
            self.lanes_bytes -= lanes.bytes;
            self.retired.push(*lanes);
        }
    }

    /// Counts what the lanes of a queue take now; gives what all take.
    pub fn count_lanes(&mut self, id: u32) -> usize {
        if let Some(shared) = self.queues.get_mut(id as usize).and_then(|state| state.shared.as_mut()) {
            self.lanes_bytes -= shared.bytes;
            shared.bytes = shared.lanes.memory_bytes();
            self.lanes_bytes += shared.bytes;
        }
        self.lanes_bytes
    }

    /// What was retired since the last call.
    pub fn take_retired(&mut self) -> Vec<Shared> {
        std::mem::take(&mut self.retired)
    }

    /// Follows a job if an ordinary pop has handed it out.
    pub fn follow(&mut self, database: usize, number: u64, lease: &Lease) {
        if let HeldBy::Popped { worker, .. } = &lease.held_by {
            // Workers of a host share what they say.
            let host = worker.rsplit_once(':').map_or(&**worker, |(host, _)| host);
            self.heartbeats.follow((database, number), lease.identity, host);
        }
    }

    /// Forgets the leases of a database, and keeps them until somebody has the time to free them.
    pub fn retire_leases(&mut self, database: usize) {
        self.heartbeats.clear(database);
        self.retired_leases.extend(self.leases.clear(database));
    }

    /// Forgets how a limit stands.
    pub fn retire_limit(&mut self, limit: u64) {
        self.retired_limits.extend(self.limits.clear(limit));
    }

    pub fn has_retired_runs(&self) -> bool {
        !(self.retired_leases.is_empty() && self.retired_limits.is_empty())
    }

    /// What was retired of them since the last call.
    pub fn take_retired_runs(&mut self) -> impl Send + use<> {
        (std::mem::take(&mut self.retired_leases), std::mem::take(&mut self.retired_limits))
    }

    /// What was asked for since the last call.
    pub fn take_indexing(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.indexing)
    }

    /// Forgets that every job of a queue was looked at, since some have come that were not.
    pub fn look_again(&mut self, id: u32) {
        if let Some(state) = self.queues.get_mut(id as usize) {
            state.clean = 0;
            state.unlooked += 1;
            state.held = [None; 2];
        }
        if id != 0 && !self.rules.is_empty() {
            self.sweep(id);
        }
    }

    /// What was asked for since the last call.
    pub fn take_sweeps(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.sweeps)
    }

    /// Asks for work that goes on behind the reply.
    /// It is known by a number, and so many jobs were moved already.
    pub fn ask(&mut self, id: u64, work: Work, moved: u64) {
        self.work.push((id, work, moved));
    }

    /// What was asked for since the last call.
    pub fn take_work(&mut self) -> Vec<(u64, Work, u64)> {
        std::mem::take(&mut self.work)
    }
}

impl QueueState {
    /// Forgets what was known of another list, or of this one before it was written anew. Its lanes are for
    /// [`retire`](Scheduler::retire).
    #[must_use]
    pub fn look_at(&mut self, object: u64, rewrites: u64) -> Option<Box<Shared>> {
        if (self.object, self.rewrites) != (object, rewrites) {
            self.clean = 0;
            (self.object, self.rewrites) = (object, rewrites);
            self.held = [None; 2];
            self.arrivals = Arrivals::default();
            return self.shared.take();
        }
        None
    }

    /// The lanes as they are under other rules, if those leave them right.
    fn shared_under(&mut self, rules: Option<&QueueRules>) -> Option<Box<Shared>> {
        let (old, new) = (self.rules.as_deref()?, rules?);
        let mut shared = if new.keeps_lanes_of(old) { self.shared.take()? } else { return None };
        for (tenant, _) in old.weights().chain(new.weights()) {
            if old.weight(tenant) != new.weight(tenant) {
                shared.lanes.set_weight(tenant, new.weight(tenant));
            }
        }
        Some(shared)
    }

    /// Tells whether it still knows this list.
    pub fn knows(&self, object: u64, rewrites: u64) -> bool {
        (self.object, self.rewrites) == (object, rewrites)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_for_other_lanes_or_an_earlier_refill_is_told_apart() {
        let mut scheduler = Scheduler::default();
        let mut made = || Shared::new(Lanes::new(0, 1), 0, scheduler.number_lanes());
        let (old, mut shared) = (made(), made());
        assert_ne!(old.reads_for(false), shared.reads_for(false), "lanes that were made anew have met less");
        let lane = shared.lanes.lane(Whose::of("a"), |_| None);
        (0..u64::from(LANE_JOBS_MAX) * 3).for_each(|place| shared.lanes.add(lane, place));
        let mut read_for = None;
        for place in 0..u64::from(LANE_JOBS_MAX) + 10 {
            let (lane, _) = shared.lanes.turn(0).expect("there are jobs");
            shared.lanes.take(lane, 1.0);
            shared.lanes.settle(|_| false, |_| None);
            let Some(at) = shared.lanes.begin_refill() else { continue };
            let now = shared.reads_for(true);
            assert!(now.is_refill() && now != shared.reads_for(false));
            assert!(read_for.replace(now) != Some(now), "the refill after {place} jobs is another one");
            (at..at + u64::from(LANE_JOBS_MAX)).for_each(|place| shared.lanes.refill(Whose::of("a"), place));
            shared.lanes.refilled(at + u64::from(LANE_JOBS_MAX));
        }
        assert!(read_for.is_some(), "the lane was refilled");
    }
}
