//! Limits as they stand: how many jobs run now, and when the next one may begin. Pure: moments are handed in.
//!
//! A limit has a *gate* for each of its keys, or one. A rate is a generic cell rate algorithm (GCRA, ITU-T I.371): a gate keeps
//! the theoretical arrival time of the next job, which each job moves on by the time between two, and a job may be ahead of
//! it by what a burst allows. So a gate costs one number, and a rate holds exactly over any stretch of time. A concurrency is
//! a count of runs that are known, which goes down when they end.
//!
//! Queues that have jobs waiting at a closed gate are told when it opens, and asked about nothing in between.

use std::collections::{BTreeSet, HashMap, VecDeque};

use compact_str::CompactString;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::adaptive::{Adaptive, Phase};
use super::queue_rules::QueueRules;
use super::rule::Bounds;

/// Keys of all limits together; beyond them jobs of new keys wait until an old one is idle.
pub const KEYS_MAX: usize = 1_000_000;
/// The key of jobs in which nothing stands where a limit looks for one.
pub const NO_KEY: &str = "-";
/// Idle gates that are forgotten for each job that begins.
const FORGOTTEN_A_JOB: usize = 4;
/// How long what a rate knows of a key is kept beyond the moment from which it allows all again.
const KEPT_NS: u64 = 1_000_000_000;
/// The same of one whose rate finds itself.
const KEPT_ADAPTIVE_NS: u64 = 600_000_000_000;
/// Gates that one turn opens because their time has come, and those that one pop of a queue sees to.
const WOKEN_AT_ONCE: usize = 1_024;
const OPENED_AT_ONCE: usize = 1_024;
/// What a gate costs in the maps.
const GATE_BYTES: usize = 160;

/// One key of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gate {
    /// The number of its rule.
    pub limit: u64,
    /// A hash of the key; 0 if the limit has only one.
    pub key: u64,
}

/// What a job is charged to: a gate, and its key as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub gate: Gate,
    pub key: CompactString,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Limits {
    /// By the number of the rule.
    limits: HashMap<u64, OfLimit>,
    gates: usize,
    /// Running jobs of each limit.
    totals: HashMap<u64, u64>,
    /// (when, gate) of those that open by themselves and at which somebody waits. Moments are nanoseconds on the monotonic clock.
    wakes: BTreeSet<(u64, Gate)>,
    /// (when, gate) of those from when on nothing is known of them that matters.
    idle: BTreeSet<(u64, Gate)>,
    /// By queue: gates that have opened since it looked last.
    opened: HashMap<u32, VecDeque<Gate>>,
    /// Queues for which a gate has opened that nobody was told of.
    untold: Vec<u32>,
}

/// The gates of one limit, by key.
pub type OfLimit = HashMap<u64, State>;

/// A gate as it stands.
#[derive(Debug, Default)]
pub struct State {
    pub key: CompactString,
    pub running: u32,
    /// The theoretical arrival time of the next job.
    arrival_ns: u64,
    /// When it opens by itself, if somebody waits for that.
    wakes_ns: u64,
    /// Somebody waited when it opened.
    awaited: bool,
    /// How the rate has found itself so far.
    adaptive: Option<Box<Adaptive>>,
    /// Queues with jobs that wait.
    waiting: SmallVec<[u32; 1]>,
}

impl Gate {
    pub fn new(limit: u64, key: Option<&str>) -> Gate {
        // 0 stands for no key.
        Gate { limit, key: key.map_or(0, |key| xxh3_64(key.as_bytes()).max(1)) }
    }

    pub fn hash(self) -> u64 {
        self.key ^ self.limit.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

impl Limits {
    fn state(&self, gate: Gate) -> Option<&State> {
        self.limits.get(&gate.limit)?.get(&gate.key)
    }

    fn state_mut(&mut self, gate: Gate) -> &mut State {
        let of = self.limits.entry(gate.limit).or_default();
        let gates = &mut self.gates;
        of.entry(gate.key).or_insert_with(|| {
            *gates += 1;
            State::default()
        })
    }

    /// How many more jobs may begin now.
    pub fn room(&self, gate: Gate, bounds: &Bounds, now_ns: u64) -> u32 {
        let Some(state) = self.state(gate) else {
            return if self.gates < KEYS_MAX { bounds.most() } else { 0 };
        };
        let by_count = bounds.concurrency.map_or(u32::MAX, |most| most.saturating_sub(state.running));
        let by_rate = state.pace(bounds, now_ns).map_or(u32::MAX, |Pace { between_ns, burst_ns }| {
            let ahead = state.arrival_ns.saturating_sub(now_ns);
            u32::try_from((burst_ns + between_ns).saturating_sub(ahead) / between_ns).unwrap_or(u32::MAX)
        });
        by_count.min(by_rate)
    }

    /// Notes that a job has begun.
    pub fn begin(&mut self, charge: &Charge, bounds: &Bounds, now_ns: u64) {
        self.forget_idle(now_ns);
        let gate = charge.gate;
        if bounds.concurrency.is_some() {
            *self.totals.entry(gate.limit).or_default() += 1;
        }
        let state = self.state_mut(gate);
        if state.key.is_empty() {
            state.key = charge.key.clone();
        }
        if bounds.concurrency.is_some() {
            state.running += 1;
        }
        if let (Some(rate), Some(_)) = (&bounds.rate, &bounds.adaptive) {
            state.adaptive.get_or_insert_with(|| Box::new(Adaptive::new(rate.jobs as f64, now_ns))).began(1.0, now_ns);
        }
        if let Some(Pace { between_ns, .. }) = state.pace(bounds, now_ns) {
            let kept_ns = state.kept_ns();
            let old = state.arrival_ns;
            // A job that has waited counts from when it might have begun, as long as that is not more than one job ago: what
            // timers and workers take to notice is not lost to the rate.
            let late_ns = if std::mem::take(&mut state.awaited) { between_ns } else { 0 };
            state.arrival_ns = old.max(now_ns.saturating_sub(late_ns)) + between_ns;
            let new = state.arrival_ns;
            self.idle.remove(&(old + kept_ns, gate));
            self.idle.insert((new + kept_ns, gate));
        }
    }

    /// Notes that a job has ended well, or that its worker lives.
    pub fn hears(&mut self, gate: Gate, now_ns: u64) {
        let state = self.limits.get_mut(&gate.limit).and_then(|of| of.get_mut(&gate.key));
        if let Some(adaptive) = state.and_then(|state| state.adaptive.as_mut()) {
            adaptive.hears(now_ns);
        }
    }

    /// Notes that jobs have failed, by an error of some class if that is known.
    pub fn failed(&mut self, gate: Gate, bounds: &Bounds, jobs: u64, class: Option<&str>, now_ns: u64) {
        let Some(span) = &bounds.adaptive else { return };
        let counts = span.on.is_empty()
            || class.is_none_or(|class| span.on.iter().any(|pattern| pattern.matches(class.as_bytes())));
        if !counts {
            return self.hears(gate, now_ns);
        }
        let state = self.limits.get_mut(&gate.limit).and_then(|of| of.get_mut(&gate.key));
        if let Some(adaptive) = state.and_then(|state| state.adaptive.as_mut()) {
            adaptive.failed(jobs as f64, span.min as f64, span.max as f64, now_ns);
        }
    }

    /// Notes what somebody tells of jobs, or of calls that no job of ours has made.
    pub fn feedback(&mut self, charge: &Charge, bounds: &Bounds, ok: u64, failed: u64, now_ns: u64) {
        let Some(rate) = bounds.rate.as_ref().filter(|_| bounds.adaptive.is_some()) else { return };
        let state = self.state_mut(charge.gate);
        if state.key.is_empty() {
            state.key = charge.key.clone();
        }
        let adaptive = state.adaptive.get_or_insert_with(|| Box::new(Adaptive::new(rate.jobs as f64, now_ns)));
        adaptive.began((ok + failed) as f64, now_ns);
        adaptive.hears(now_ns);
        let (idle_ns, gate) = (state.arrival_ns + state.kept_ns(), charge.gate);
        self.idle.insert((idle_ns, gate));
        if failed > 0 {
            self.failed(gate, bounds, failed, None, now_ns);
        }
    }

    /// Draws on a rate for something that is no job; tells whether there was as much.
    pub fn take(&mut self, gate: Gate, key: &str, bounds: &Bounds, count: u64, now_ns: u64) -> bool {
        let is_there = count <= u64::from(self.room(gate, bounds, now_ns));
        if is_there {
            let charge = Charge { gate, key: key.into() };
            (0..count).for_each(|_| self.begin(&charge, bounds, now_ns));
        }
        is_there
    }

    /// Counts a job that was running before a restart.
    pub fn resume(&mut self, charge: &Charge) {
        *self.totals.entry(charge.gate.limit).or_default() += 1;
        let state = self.state_mut(charge.gate);
        state.key = charge.key.clone();
        state.running += 1;
    }

    /// Notes that a job has ended which was counted. Who waits is told.
    pub fn end(&mut self, gate: Gate, now_ns: u64) {
        let Some(state) = self.limits.get_mut(&gate.limit).and_then(|of| of.get_mut(&gate.key)) else { return };
        if state.running > 0 {
            state.running -= 1;
            *self.totals.entry(gate.limit).or_insert(1) -= 1;
        }
        self.open(gate);
        self.drop_if_idle(gate, now_ns);
    }

    /// Has a queue told when a gate opens that is closed now.
    pub fn wait(&mut self, gate: Gate, bounds: &Bounds, queue: u32, now_ns: u64) {
        let first_idle = self.idle.first().map(|(at_ns, _)| *at_ns);
        let is_crowded = self.gates >= KEYS_MAX && self.state(gate).is_none();
        let state = self.state_mut(gate);
        if !state.waiting.contains(&queue) {
            state.waiting.push(queue);
        }
        let by_count = bounds.concurrency.is_some_and(|most| state.running >= most);
        let opens_ns = match &bounds.rate {
            _ if is_crowded => first_idle,
            Some(_) if !by_count => {
                state.pace(bounds, now_ns).map(|pace| state.arrival_ns.saturating_sub(pace.burst_ns))
            }
            _ => None,
        };
        if let Some(opens_ns) = opens_ns {
            let opens_ns = opens_ns.max(now_ns + 1);
            let old = std::mem::replace(&mut state.wakes_ns, opens_ns);
            self.wakes.remove(&(old, gate));
            self.wakes.insert((opens_ns, gate));
        }
    }

    /// Tells the queues that wait at a gate.
    fn open(&mut self, gate: Gate) {
        let Some(state) = self.limits.get_mut(&gate.limit).and_then(|of| of.get_mut(&gate.key)) else { return };
        if state.wakes_ns > 0 {
            self.wakes.remove(&(std::mem::take(&mut state.wakes_ns), gate));
        }
        state.awaited |= !state.waiting.is_empty();
        for queue in std::mem::take(&mut state.waiting) {
            self.open_for(gate, queue);
        }
    }

    /// Tells one queue that a gate is open.
    pub fn open_for(&mut self, gate: Gate, queue: u32) {
        // A queue that is told of a gate waits there no more, so it is told once for each time that it waited.
        self.opened.entry(queue).or_default().push_back(gate);
        if !self.untold.contains(&queue) {
            self.untold.push(queue);
        }
    }

    /// Opens gates whose time has come.
    pub fn wake(&mut self, now_ns: u64) {
        for _ in 0..WOKEN_AT_ONCE {
            let Some((_, gate)) = self.wakes.first().copied().filter(|(at_ns, _)| *at_ns <= now_ns) else { return };
            self.wakes.pop_first();
            self.open(gate);
        }
    }

    /// When the next gate opens at which somebody waits.
    pub fn next_wake_ns(&self) -> Option<u64> {
        self.wakes.first().map(|(at_ns, _)| *at_ns)
    }

    /// Gates that have opened for a queue; where there are more than are seen to at once, who waits is told again.
    pub fn take_opened(&mut self, queue: u32) -> Vec<Gate> {
        let Some(opened) = self.opened.get_mut(&queue) else { return Vec::new() };
        let gates = opened.drain(..opened.len().min(OPENED_AT_ONCE)).collect();
        if opened.is_empty() {
            self.opened.remove(&queue);
        } else if !self.untold.contains(&queue) {
            self.untold.push(queue);
        }
        gates
    }

    /// Queues for which gates have opened since the last call.
    pub fn take_untold(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.untold)
    }

    /// Tells whether there are such queues.
    #[inline]
    pub fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// The first of the gates that lets nothing through now.
    pub fn closed(&self, gates: &[Gate], rules: &QueueRules, now_ns: u64) -> Option<Gate> {
        let is_closed = |gate: &Gate| rules.bounds(*gate).is_some_and(|bounds| self.room(*gate, bounds, now_ns) == 0);
        gates.iter().copied().find(is_closed)
    }

    fn forget_idle(&mut self, now_ns: u64) {
        for _ in 0..FORGOTTEN_A_JOB {
            let Some((_, gate)) = self.idle.first().copied().filter(|(at_ns, _)| *at_ns <= now_ns) else { return };
            self.idle.pop_first();
            self.drop_if_idle(gate, now_ns);
        }
    }

    /// Forgets a gate of which nothing is known that matters.
    fn drop_if_idle(&mut self, gate: Gate, now_ns: u64) {
        let is_free = |state: &State| state.arrival_ns == 0 || state.arrival_ns + state.kept_ns() <= now_ns;
        let is_idle = |state: &State| state.running == 0 && state.waiting.is_empty() && is_free(state);
        if self.state(gate).is_some_and(is_idle)
            && let Some(state) = self.limits.get_mut(&gate.limit).and_then(|of| of.remove(&gate.key))
        {
            self.gates -= 1;
            self.idle.remove(&(state.arrival_ns + state.kept_ns(), gate));
        }
    }

    /// Forgets all of a limit, whose jobs wait for nothing any more; there may be a million.
    #[must_use]
    pub fn clear(&mut self, limit: u64) -> Option<OfLimit> {
        let of = self.limits.remove(&limit)?;
        self.gates -= of.len();
        self.totals.remove(&limit);
        Some(of)
    }

    /// The gates of a limit that are not idle.
    pub fn of(&self, limit: u64) -> impl Iterator<Item = &State> {
        self.limits.get(&limit).into_iter().flat_map(HashMap::values)
    }

    /// Jobs that count for a limit, under all of its keys.
    pub fn running(&self, limit: u64) -> u64 {
        self.totals.get(&limit).copied().unwrap_or(0)
    }

    /// A gate as it stands, if anything is known of it.
    pub fn get(&self, gate: Gate) -> Option<&State> {
        self.state(gate)
    }

    pub fn memory_bytes(&self) -> usize {
        self.gates * (size_of::<State>() + GATE_BYTES)
    }
}

/// How a rate is kept: the time between two jobs, and how far one may be ahead of its time.
struct Pace {
    between_ns: u64,
    burst_ns: u64,
}

impl State {
    fn pace(&self, bounds: &Bounds, now_ns: u64) -> Option<Pace> {
        let rate = bounds.rate.as_ref()?;
        let between_ns = match self.enforced(bounds, now_ns) {
            Some(jobs) => ((rate.per_ms as f64 * 1e6 / jobs) as u64).max(1),
            None => rate.between_ns(),
        };
        Some(Pace { between_ns, burst_ns: between_ns * u64::from(rate.burst - 1) })
    }

    /// The rate that has found itself, in jobs in the time of the limit.
    pub fn enforced(&self, bounds: &Bounds, now_ns: u64) -> Option<f64> {
        let (span, adaptive) = (bounds.adaptive.as_ref()?, self.adaptive.as_ref()?);
        Some(adaptive.rate(span.min as f64, span.max as f64, now_ns))
    }

    /// What such a rate does at the moment.
    pub fn phase(&self, bounds: &Bounds, now_ns: u64) -> Option<Phase> {
        let (span, adaptive) = (bounds.adaptive.as_ref()?, self.adaptive.as_ref()?);
        Some(adaptive.phase(span.min as f64, span.max as f64, now_ns))
    }

    /// The time between two jobs.
    pub fn between_ns(&self, bounds: &Bounds, now_ns: u64) -> Option<u64> {
        self.pace(bounds, now_ns).map(|pace| pace.between_ns)
    }

    /// When it lets the next job through.
    pub fn opens_in_ns(&self, bounds: &Bounds, now_ns: u64) -> Option<u64> {
        let pace = self.pace(bounds, now_ns)?;
        Some(self.ahead_ns(now_ns).saturating_sub(pace.burst_ns))
    }

    fn kept_ns(&self) -> u64 {
        if self.adaptive.is_some() { KEPT_ADAPTIVE_NS } else { KEPT_NS }
    }

    /// How far the theoretical arrival time is ahead.
    pub fn ahead_ns(&self, now_ns: u64) -> u64 {
        self.arrival_ns.saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::Rate;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(jobs: u64, burst: u32) -> Bounds {
        Bounds { rate: Some(Rate { jobs, per_ms: 1000, burst }), concurrency: None, adaptive: None }
    }

    fn charge(key: &str) -> Charge {
        Charge { gate: Gate::new(1, Some(key)), key: key.into() }
    }

    #[test]
    fn a_rate_holds_over_any_stretch_of_time() {
        let (mut limits, bounds, charge) = (Limits::default(), rate(100, 5), charge("a"));
        let mut begun = 0;
        for tenth_ms in 0..10_000 {
            let now_ns = tenth_ms * 100_000;
            for _ in 0..limits.room(charge.gate, &bounds, now_ns) {
                limits.begin(&charge, &bounds, now_ns);
                begun += 1;
            }
            let allowed = 5 + now_ns / (SECOND / 100);
            assert_eq!(begun, allowed, "after {tenth_ms} tenths of a millisecond");
        }
        assert_eq!(limits.room(charge.gate, &bounds, 3 * SECOND), 5, "what was not used is not saved beyond a burst");
        limits.begin(&super::tests::charge("b"), &bounds, 3 * SECOND);
        assert!(limits.get(charge.gate).is_none(), "an idle key is forgotten");
    }

    #[test]
    fn a_slot_is_free_when_its_job_has_ended_and_who_waits_is_told_once() {
        let (mut limits, charge) = (Limits::default(), charge("a"));
        let bounds = Bounds { rate: None, concurrency: Some(2), adaptive: None };
        limits.begin(&charge, &bounds, 0);
        limits.begin(&charge, &bounds, 0);
        assert_eq!(limits.room(charge.gate, &bounds, 0), 0);
        limits.wait(charge.gate, &bounds, 7, 0);
        limits.wait(charge.gate, &bounds, 7, 0);
        limits.wait(charge.gate, &bounds, 8, 0);
        assert_eq!((limits.next_wake_ns(), !limits.untold.is_empty()), (None, false));
        limits.end(charge.gate, 0);
        assert_eq!(limits.take_untold(), [7, 8]);
        assert_eq!((limits.take_opened(7), limits.take_opened(7)), (vec![charge.gate], vec![]));
        assert_eq!(limits.room(charge.gate, &bounds, 0), 1);
        limits.end(charge.gate, 0);
        assert!(limits.get(charge.gate).is_none() && limits.untold.is_empty());
        limits.end(charge.gate, 0);
        assert_eq!(limits.room(charge.gate, &bounds, 0), 2, "it never has more slots than it has");
    }

    #[test]
    fn only_so_many_gates_open_at_once_and_none_is_forgotten() {
        let (mut limits, bounds) = (Limits::default(), rate(10, 1));
        let count = 2 * WOKEN_AT_ONCE + 1;
        for key in 0..count {
            let charge = charge(&key.to_string());
            limits.begin(&charge, &bounds, 0);
            limits.wait(charge.gate, &bounds, 7, 0);
        }
        let mut seen = BTreeSet::new();
        for _ in 0..3 {
            limits.wake(SECOND);
            assert_eq!(limits.take_untold(), [7]);
            let opened = limits.take_opened(7);
            assert!(!opened.is_empty() && opened.len() <= OPENED_AT_ONCE);
            seen.extend(opened);
        }
        assert_eq!((seen.len(), limits.next_wake_ns(), limits.take_opened(7)), (count, None, vec![]));
    }

    #[test]
    fn who_waits_and_is_told_late_loses_nothing_of_the_rate() {
        let (mut limits, bounds, charge) = (Limits::default(), rate(100, 1), charge("a"));
        let (mut begun, mut closest, mut last) = (0, u64::MAX, None);
        // Somebody looks each seven tenths of a millisecond, and always waits.
        for step in 0..100_000 {
            let now_ns = step * 700_000;
            limits.wake(now_ns);
            for _ in 0..limits.room(charge.gate, &bounds, now_ns) {
                limits.begin(&charge, &bounds, now_ns);
                closest = closest.min(last.map_or(u64::MAX, |last| now_ns - last));
                (begun, last) = (begun + 1, Some(now_ns));
            }
            limits.wait(charge.gate, &bounds, 7, now_ns);
        }
        assert!((6_998..=7_001).contains(&begun), "{begun} jobs in 70 s at 100/s");
        assert!(closest > 9_000_000, "two jobs are {closest} ns apart");
    }

    #[test]
    fn a_gate_opens_by_itself_when_the_next_job_may_begin() {
        let (mut limits, bounds, charge) = (Limits::default(), rate(10, 2), charge("a"));
        limits.begin(&charge, &bounds, 0);
        limits.begin(&charge, &bounds, 0);
        assert_eq!(limits.room(charge.gate, &bounds, 0), 0);
        limits.wait(charge.gate, &bounds, 7, 0);
        assert_eq!(limits.next_wake_ns(), Some(SECOND / 10));
        limits.wake(SECOND / 10 - 1);
        assert!(limits.untold.is_empty());
        limits.wake(SECOND / 10);
        assert_eq!((limits.take_untold(), limits.next_wake_ns()), (vec![7], None));
        assert_eq!(limits.room(charge.gate, &bounds, SECOND / 10), 1);
        drop(limits.clear(1));
        assert_eq!(limits.memory_bytes(), 0);
        limits.wake(SECOND);
    }
}
