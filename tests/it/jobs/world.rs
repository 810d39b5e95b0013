//! The naive model: what a server with these rules must hold, and what it may answer.
//!
//! A job that a rule in force matches and that was there before the rule is *in the balance*: it stands in its list until
//! the sweeper has come by. It may be seen there or not, it is never handed out, and [`super::settle`] finds what became of it.

use super::payload::Job;
use super::predicate::{Pause, Rule, What};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

pub const QUEUES: [&str; 4] = ["queue:a", "queue:b", "queue:c", "app:queue:a"];
/// Lists to which jobs are moved; one has the name of a queue and is none, since `queues` does not name it.
pub const WORKING: [&str; 3] = ["working:1", "queue:a:working", "elsewhere"];
pub const SETS: [&str; 2] = ["schedule", "retry"];

/// A job, by its place in [`World::jobs`].
pub type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Left,
    Right,
}

/// One queue.
#[derive(Debug)]
pub struct Queue {
    pub list: VecDeque<Id>,
    /// The end that was popped last.
    pub pop_end: Side,
    pub pushed: i64,
    pub popped: i64,
}

/// A rule's name and the key of a place that it has taken jobs from.
pub type Place = (&'static str, &'static str);

/// What one rule has taken from one place.
#[derive(Debug, Default)]
pub struct Quarantine {
    /// What was there when the rule was made.
    pub known: Vec<Id>,
    /// Swept since then.
    pub swept: Vec<Id>,
    /// Caught at a push since then.
    pub caught: Vec<Id>,
    /// All of it, in the order in which the server was seen to hold it last.
    pub now: Vec<Id>,
    pub order: Option<Order>,
}

/// In which order a sweep must put away what it takes.
#[derive(Debug)]
pub struct Order {
    /// Where each job stood, counted from the pop end, when the rule was made.
    pub ranks: BTreeMap<Id, usize>,
    /// The pop end has changed since, so that a sweep may have begun with the other one.
    pub flipped: bool,
    /// The server was killed since, so that there may have been two sweeps.
    pub crashed: bool,
}

/// See the module.
pub struct World {
    pub jobs: Vec<Job>,
    by_payload: HashMap<Vec<u8>, Id>,
    pub queues: Vec<Queue>,
    pub working: [VecDeque<Id>; WORKING.len()],
    pub sets: [BTreeSet<Id>; SETS.len()],
    /// Handed out by a pop, and not heard of since.
    pub handed_out: Vec<Id>,
    pub leased: Vec<Leased>,
    /// How often jobs were tried under leases that have come back since.
    pub attempts: BTreeMap<Id, i64>,
    pub quarantine: BTreeMap<Place, Quarantine>,
    /// Jobs that came into a sorted set while a rule matched them: such a job is caught when it is pushed, if not before.
    pub late_in_sets: BTreeSet<Id>,
    /// Oldest first.
    pub rules: Vec<Rule>,
    pub pauses: Vec<Pause>,
    /// Globs of queues that tenants share.
    pub fair: Vec<&'static str>,
    /// Globs of queues that are served by slack, and the class that has a service level.
    pub slack: Vec<&'static str>,
    pub level: Option<&'static str>,
    /// What weights were given, in the order in which they were given first.
    pub weights: Vec<Weight>,
    /// Of this class so many may run at a time, and these do.
    pub limit: Option<(&'static str, usize)>,
    pub running: BTreeSet<Id>,
    /// Jobs that one pop of the server looks at.
    scan_max: usize,
}

/// A job that the server has leased.
#[derive(Debug, Clone)]
pub struct Leased {
    pub id: Id,
    pub queue: usize,
    pub token: String,
    pub attempt: i64,
}

/// The share of a tenant in the queues of a glob.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weight {
    pub glob: &'static str,
    /// None for jobs that have none.
    pub tenant: Option<u64>,
    pub weight: f64,
}

impl Side {
    pub fn other(self) -> Side {
        if self == Side::Left { Side::Right } else { Side::Left }
    }

    pub fn word(self) -> &'static str {
        if self == Side::Left { "LEFT" } else { "RIGHT" }
    }

    /// `LPUSH` of `PUSH`, and so on.
    pub fn command(self, name: &str) -> String {
        format!("{}{name}", &self.word()[..1])
    }
}

impl World {
    pub fn new(scan_max: usize) -> World {
        let queue = || Queue { list: VecDeque::new(), pop_end: Side::Right, pushed: 0, popped: 0 };
        World {
            jobs: Vec::new(),
            by_payload: HashMap::new(),
            queues: QUEUES.iter().map(|_| queue()).collect(),
            working: Default::default(),
            sets: Default::default(),
            handed_out: Vec::new(),
            leased: Vec::new(),
            attempts: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            late_in_sets: BTreeSet::new(),
            rules: Vec::new(),
            pauses: Vec::new(),
            fair: Vec::new(),
            slack: Vec::new(),
            level: None,
            weights: Vec::new(),
            limit: None,
            running: BTreeSet::new(),
            scan_max,
        }
    }

    pub fn add(&mut self, job: Job) -> Id {
        self.by_payload.insert(job.payload.clone(), self.jobs.len());
        self.jobs.push(job);
        self.jobs.len() - 1
    }

    pub fn payload(&self, id: Id) -> &[u8] {
        &self.jobs[id].payload
    }

    /// The job with a payload, which must be one that was pushed.
    pub fn job_of(&self, payload: &[u8]) -> Id {
        *self.by_payload.get(payload).unwrap_or_else(|| panic!("nobody pushed {}", payload.escape_ascii()))
    }

    /// A word of a command as a failure shows it: a job by its number.
    pub fn shown(&self, word: &[u8]) -> String {
        match self.by_payload.get(word) {
            Some(id) => format!("#{id}"),
            None => String::from_utf8_lossy(&word[..word.len().min(60)]).into_owned(),
        }
    }

    /// The score that a job has in a sorted set.
    pub fn score(id: Id) -> i64 {
        1_764_000_000 + id as i64
    }

    /// The oldest rule that takes a job under a key.
    pub fn taker(&self, key: &str, id: Id) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.what.matches(key, &self.jobs[id]))
    }

    /// The queue that a job in a sorted set is for.
    pub fn key_in_set(&self, id: Id) -> String {
        format!("queue:{}", self.jobs[id].queue)
    }

    /// Whether a job in a sorted set may be taken out of it.
    pub fn is_in_balance_in_set(&self, id: Id) -> bool {
        let key = self.key_in_set(id);
        self.rules.iter().any(|rule| rule.everywhere && rule.what.matches(&key, &self.jobs[id]))
    }

    pub fn is_in_balance(&self, queue: usize, id: Id) -> bool {
        self.taker(QUEUES[queue], id).is_some()
    }

    fn is_held(&self, queue: usize, id: Id) -> bool {
        self.pauses.iter().any(|pause| pause.what.matches(QUEUES[queue], &self.jobs[id]))
            || self.is_weightless(queue, id)
    }

    fn is_fair(&self, queue: usize) -> bool {
        self.fair.iter().any(|glob| What::Queue(glob).covers(QUEUES[queue]))
    }

    fn is_by_slack(&self, queue: usize) -> bool {
        self.slack.iter().any(|glob| What::Queue(glob).covers(QUEUES[queue]))
    }

    /// What a job is told apart by in a queue that is not served in order of arrival: those for which it is the same are.
    fn lane(&self, queue: usize, id: Id) -> (Option<u64>, bool, bool) {
        let job = &self.jobs[id];
        let tenant = job.tenant.filter(|_| self.is_fair(queue));
        let has_level = self.is_by_slack(queue) && self.level.is_some() && job.class == self.level;
        (tenant, self.is_limited(id), has_level)
    }

    /// A weight of 0 pauses a tenant in a queue that is shared. Of several, the newest counts.
    fn is_weightless(&self, queue: usize, id: Id) -> bool {
        let tenant = self.jobs[id].tenant;
        let mut of_it =
            self.weights.iter().filter(|of| of.tenant == tenant && What::Queue(of.glob).covers(QUEUES[queue]));
        self.is_fair(queue) && of_it.next_back().is_some_and(|of| of.weight == 0.0)
    }

    /// The jobs that may be handed out from a side, each with how many stand before it.
    fn eligible(&self, queue: usize, side: Side) -> Vec<(usize, Id)> {
        let list = &self.queues[queue].list;
        let at = |place: usize| list[if side == Side::Left { place } else { list.len() - 1 - place }];
        let goes = |id: Id| !self.is_in_balance(queue, id) && !self.is_held(queue, id);
        (0..list.len()).map(|place| (place, at(place))).filter(|(_, id)| goes(*id)).collect()
    }

    fn is_limited(&self, id: Id) -> bool {
        self.limit.is_some_and(|(class, _)| self.jobs[id].class == Some(class))
    }

    /// Of jobs that may go but for the limit, those that it lets through if they go in this order.
    fn let_through(&self, jobs: Vec<(usize, Id)>) -> Vec<(usize, Id)> {
        let mut room = self.limit.map_or(0, |(_, most)| most.saturating_sub(self.running.len()));
        let mut passes = |id: Id| {
            let is_limited = self.is_limited(id);
            let passes = !is_limited || room > 0;
            room -= usize::from(is_limited && passes);
            passes
        };
        jobs.into_iter().filter(|(_, id)| passes(*id)).collect()
    }

    pub fn has_eligible(&self, queue: usize, side: Side) -> bool {
        !self.let_through(self.eligible(queue, side)).is_empty()
    }

    /// How long the list of a queue may be said to be: at least, at most.
    pub fn length(&self, queue: usize) -> (i64, i64) {
        let list = &self.queues[queue].list;
        let open = list.iter().filter(|id| self.is_in_balance(queue, **id)).count();
        ((list.len() - open) as i64, list.len() as i64)
    }

    /// A push of a client: the job gets into the list, or to where a rule wants it.
    pub fn push(&mut self, queue: usize, side: Side, id: Id) {
        self.running.remove(&id);
        self.queues[queue].pushed += 1;
        match self.taker(QUEUES[queue], id).map(|rule| (rule.name, rule.drops)) {
            None => self.put(queue, side, id),
            Some((_, true)) => {}
            Some((name, false)) => self.quarantine.entry((name, QUEUES[queue])).or_default().caught.push(id),
        }
    }

    /// Puts a job into a list, past all rules.
    pub fn put(&mut self, queue: usize, side: Side, id: Id) {
        self.running.remove(&id);
        let list = &mut self.queues[queue].list;
        if side == Side::Left { list.push_front(id) } else { list.push_back(id) }
    }

    /// Checks what a pop of up to `count` jobs was answered, and takes them out.
    ///
    /// They must be the first that may go, in order. Fewer are right only if more jobs than one pop looks at stand before
    /// the next one.
    pub fn pop(&mut self, queue: usize, side: Side, count: usize, got: &[Id]) {
        let eligible = self.eligible(queue, side);
        if self.is_fair(queue) || self.is_by_slack(queue) {
            self.check_lanes(queue, side, count, got, &eligible);
            return self.take(queue, side, got);
        }
        let eligible = self.let_through(eligible);
        let expected: Vec<Id> = eligible.iter().take(count).map(|(_, id)| *id).collect();
        let agree = got.len() <= expected.len() && got.iter().zip(&expected).all(|(got, expected)| got == expected);
        assert!(
            agree,
            "a pop of {count} at the {side:?} of {} gave {}, expected {}",
            QUEUES[queue],
            self.told(queue, got),
            self.told(queue, &expected)
        );
        if got.len() < expected.len() {
            let before = eligible[got.len()].0;
            assert!(
                self.has_rules(queue) && before >= self.scan_max,
                "a pop of {count} at the {side:?} of {} gave only {} of {} jobs although only {before} stand before the next",
                QUEUES[queue],
                got.len(),
                expected.len()
            );
        }
        self.take(queue, side, got);
    }

    /// Checks what a pop of a queue with lanes was answered: of each lane the first that may go.
    fn check_lanes(&self, queue: usize, side: Side, count: usize, got: &[Id], eligible: &[(usize, Id)]) {
        for (at, id) in got.iter().enumerate() {
            let lane = self.lane(queue, *id);
            let mut of_lane = eligible.iter().map(|(_, id)| *id).filter(|other| self.lane(queue, *other) == lane);
            let first = of_lane.find(|other| !got[..at].contains(other));
            assert_eq!(
                first,
                Some(*id),
                "a pop at the {side:?} of {}, which has lanes, gave {}, expected {}",
                QUEUES[queue],
                self.told(queue, &[*id]),
                self.told(queue, &first.into_iter().collect::<Vec<_>>())
            );
        }
        let limited = got.iter().filter(|id| self.is_limited(**id)).count();
        let room = self.limit.map_or(0, |(_, most)| most.saturating_sub(self.running.len()));
        assert!(limited <= room, "a pop gave {limited} jobs of a class of which {room} may go");
        let may_go = self.let_through(eligible.to_vec()).len();
        let short = got.len() < count.min(may_go);
        assert!(
            !short || self.queues[queue].list.len() >= self.scan_max,
            "a pop of {count} at the {side:?} of {}, which has lanes, gave only {} of {} jobs",
            QUEUES[queue],
            got.len(),
            eligible.len()
        );
    }

    fn take(&mut self, queue: usize, side: Side, got: &[Id]) {
        if got.is_empty() {
            return;
        }
        let limited: Vec<Id> = got.iter().copied().filter(|id| self.is_limited(*id)).collect();
        self.running.extend(limited);
        let gone: BTreeSet<Id> = got.iter().copied().collect();
        if self.queues[queue].pop_end != side {
            self.mark_orders(Some(queue), |order| order.flipped = true);
        }
        let queue = &mut self.queues[queue];
        queue.list.retain(|id| !gone.contains(id));
        queue.popped += got.len() as i64;
        queue.pop_end = side;
    }

    /// The same of a pop that asks several queues in turn. `got` is the queue that answered, and its jobs.
    pub fn pop_of_many(&mut self, queues: &[usize], side: Side, count: usize, got: Option<(usize, &[Id])>) {
        let is_by_slack = got.is_some_and(|(answered, _)| self.is_by_slack(answered));
        let mut is_passed = false;
        for queue in queues {
            match got {
                Some((answered, jobs)) if answered == *queue => return self.pop(*queue, side, count, jobs),
                // The most urgent queue stands where the first of those stood that are served by slack and have a job.
                _ if is_by_slack && (is_passed || self.is_by_slack(*queue)) => {
                    is_passed |= self.has_eligible(*queue, side);
                }
                _ => self.pop(*queue, side, count, &[]),
            }
        }
        assert!(got.is_none(), "a pop answered from a queue that it was not asked for");
    }

    fn has_rules(&self, queue: usize) -> bool {
        self.limit.is_some()
            || self.rules.iter().any(|rule| rule.what.covers(QUEUES[queue]))
            || self.pauses.iter().any(|pause| pause.what.covers(QUEUES[queue]))
    }

    /// Notes that something has happened to a queue, or to all, which matters to the order of what is swept.
    pub fn mark_orders(&mut self, queue: Option<usize>, mark: impl Fn(&mut Order)) {
        let concerned = |key: &str| queue.is_none_or(|queue| QUEUES[queue] == key);
        let places = self.quarantine.iter_mut().filter(|((_, key), _)| concerned(key));
        places.filter_map(|(_, quarantine)| quarantine.order.as_mut()).for_each(mark);
    }

    /// Jobs as a failure's message shows them.
    pub fn told(&self, queue: usize, ids: &[Id]) -> String {
        let tell = |id: &Id| {
            let job = &self.jobs[*id];
            let taker = self.taker(QUEUES[queue], *id).map(|rule| rule.name);
            let (class, customer, tenant) = (job.class, job.customer, job.tenant);
            format!("#{id}({class:?} {customer:?} {tenant:?} taker {taker:?} held {})", self.is_held(queue, *id))
        };
        format!("[{}]", ids.iter().take(8).map(tell).collect::<Vec<_>>().join(", "))
    }

    /// Puts a rule into force: from now on what it matches is in the balance.
    pub fn begin(&mut self, rule: Rule) {
        for (queue, key) in QUEUES.into_iter().enumerate() {
            let Queue { list, pop_end, .. } = &self.queues[queue];
            let from_pop_end = |(place, id): (usize, &Id)| match pop_end {
                Side::Left => (*id, place),
                Side::Right => (*id, list.len() - place),
            };
            let ranks = list.iter().enumerate().map(from_pop_end).collect();
            let quarantine = self.quarantine.entry((rule.name, key)).or_default();
            *quarantine = Quarantine {
                known: std::mem::take(&mut quarantine.now),
                order: Some(Order { ranks, flipped: false, crashed: false }),
                ..Quarantine::default()
            };
            quarantine.now = quarantine.known.clone();
        }
        for key in SETS {
            let quarantine = self.quarantine.entry((rule.name, key)).or_default();
            *quarantine =
                Quarantine { known: quarantine.now.clone(), now: quarantine.now.clone(), ..Quarantine::default() };
        }
        self.forget_late(&rule);
        self.rules.push(rule);
    }

    /// Ends a rule. It may have come to its end before it swept the sets, of jobs that were late for others.
    pub fn end(&mut self, name: &str) {
        if let Some(at) = self.rules.iter().position(|rule| rule.name == name) {
            self.end_at(at);
        }
    }

    pub fn end_at(&mut self, at: usize) {
        let rule = self.rules.remove(at);
        for id in self.sets.iter().flatten().copied() {
            let was_its = rule.everywhere && rule.what.matches(&self.key_in_set(id), &self.jobs[id]);
            if was_its && self.is_in_balance_in_set(id) {
                self.late_in_sets.insert(id);
            }
        }
    }

    /// A new rule sweeps the sets, whatever was late for others.
    pub fn forget_late(&mut self, rule: &Rule) {
        let jobs = std::mem::take(&mut self.late_in_sets);
        let stays = |id: &Id| !rule.everywhere || !rule.what.matches(&self.key_in_set(*id), &self.jobs[*id]);
        self.late_in_sets = jobs.into_iter().filter(stays).collect();
    }

    /// Puts a job into a sorted set.
    pub fn put_in_set(&mut self, set: usize, id: Id) {
        self.running.remove(&id);
        self.sets[set].insert(id);
        if self.is_in_balance_in_set(id) {
            self.late_in_sets.insert(id);
        }
    }

    /// Where each job is that is somewhere, for a failure's message.
    pub fn holders(&self) -> BTreeMap<Id, String> {
        let queues = self.queues.iter().zip(QUEUES).map(|(queue, key)| (queue.list.iter().collect(), key.to_owned()));
        let working = self.working.iter().zip(WORKING).map(|(list, key)| (list.iter().collect(), key.to_owned()));
        let sets = self.sets.iter().zip(SETS).map(|(set, key)| (set.iter().collect(), key.to_owned()));
        let quarantines =
            self.quarantine.iter().map(|(place, quarantine)| (quarantine.now.iter().collect(), format!("{place:?}")));
        let handed_out = std::iter::once((self.handed_out.iter().collect(), "the hands of a worker".to_owned()));
        let leased = std::iter::once((self.leased.iter().map(|leased| &leased.id).collect(), "a lease".to_owned()));
        let all = queues.chain(working).chain(sets).chain(quarantines).chain(handed_out).chain(leased);
        all.flat_map(|(jobs, key): (Vec<&Id>, String)| jobs.into_iter().map(move |id| (*id, key.clone()))).collect()
    }

    /// Everything that a flush of the database takes with it.
    pub fn flush(&mut self) {
        self.queues.iter_mut().for_each(|queue| queue.list.clear());
        self.working = Default::default();
        self.sets = Default::default();
        self.leased.clear();
        self.running.clear();
        self.attempts.clear();
        self.quarantine.values_mut().for_each(|quarantine| *quarantine = Quarantine::default());
    }
}

impl Quarantine {
    /// Takes jobs out that were restored or purged.
    pub fn remove(&mut self, gone: &[Id]) {
        for group in [&mut self.known, &mut self.swept, &mut self.caught, &mut self.now] {
            group.retain(|id| !gone.contains(id));
        }
    }
}
