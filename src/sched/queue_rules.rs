//! The rules that one queue has, made ready to be asked about many jobs. It is handed to other threads as it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::{Holding, Job, Matcher, Predicate, Summary};

use super::lanes::{Gates, LevelId, NO_LEVEL, NO_TENANT};
use super::limits::{Charge, Gate, NO_KEY};
use super::rule::{Action, Blackhole, Bounds, By, Cost, Kind, Limit, Mode, Rule, Sharing, Slo};
use super::slack::{Level, WITHIN_DEFAULT_MS};

/// The name under which a set that pauses queues is shown.
pub const PAUSED_BY_SET: &str = "sidekiq:paused";

/// What is to become of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Deliver,
    /// By the holding rule with this index.
    Hold(usize),
    /// By the taking rule with this index.
    Take(usize),
}

/// A rule that takes jobs out.
#[derive(Debug, Clone)]
pub struct Taking {
    pub name: Arc<str>,
    pub action: Action,
    pub sample: f64,
    pub unlock: bool,
    pub number: u64,
    pub revision: u64,
    pub made_ms: u64,
    predicate: Predicate,
}

/// A rule that keeps jobs where they are.
#[derive(Debug, Clone)]
pub struct Keeping {
    pub name: Arc<str>,
    what: Kept,
}

/// Which jobs are kept.
#[derive(Debug, Clone)]
enum Kept {
    Matching(Box<Predicate>),
    /// Those of a tenant, which stands where the queue's sharing says.
    OfTenant(Box<str>),
}

/// A rule that lets jobs go out only so fast.
#[derive(Debug, Clone)]
pub struct Limiting {
    pub name: Arc<str>,
    pub number: u64,
    revision: u64,
    limit: Limit,
}

/// A rule that promises something to jobs.
#[derive(Debug, Clone)]
pub struct Promising {
    pub name: Arc<str>,
    pub number: u64,
    revision: u64,
    pub slo: Slo,
}

/// The name under which jobs are taken out that say themselves how long they are worth doing.
pub const EXPIRED: &str = "expired";
/// Of a level that jobs ask for themselves, the number says all: this bit, then what they are promised, then the weight in
/// hundredths.
const OWN_LEVEL: LevelId = 1 << 63;
const OWN_WEIGHT_BITS: u32 = 20;
const OWN_WITHIN_MS_MAX: u64 = (1 << (63 - OWN_WEIGHT_BITS)) - 1;

/// What holds for a queue without a rule that says it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Besides {
    /// A set of the job library names it as paused.
    pub paused_by_set: bool,
    /// Every queue is shared.
    pub shared: bool,
}

/// See the module.
#[derive(Debug)]
pub struct QueueRules {
    pub key: Box<[u8]>,
    /// The version of all rules that these stem from.
    pub version: u64,
    /// A job that was looked at with rules as new as this need not be looked at again, unless `timed`.
    pub epoch: u32,
    /// The whole queue is paused, by this.
    pub paused: Option<Arc<str>>,
    /// Time alone can make a rule match.
    pub timed: bool,
    taking: Vec<Taking>,
    matcher: Matcher,
    holding: Vec<Keeping>,
    /// The queue is shared between tenants, in this way.
    pub fair: Option<Sharing>,
    weights: BTreeMap<Box<str>, f64>,
    limits: Vec<Limiting>,
    /// The tightest first.
    promises: Vec<Promising>,
    /// The job that has used most of its time is next.
    pub slack: bool,
    /// The revisions of the rules that single jobs are not handed out for.
    barring: Vec<u64>,
}

impl QueueRules {
    pub(super) fn new<'a>(
        key: &[u8],
        rules: impl Iterator<Item = &'a Rule>,
        version: u64,
        epoch: u32,
        Besides { paused_by_set, shared }: Besides,
    ) -> QueueRules {
        let (mut taking, mut holding) = (Vec::new(), Vec::new());
        let mut paused: Option<Arc<str>> = paused_by_set.then(|| PAUSED_BY_SET.into());
        let mut limits = Vec::new();
        let (mut promises, mut ordered, mut slack) = (Vec::new(), false, false);
        let (mut fair, mut weighed, mut barring) = (shared.then(Sharing::default), BTreeMap::new(), Vec::new());
        for rule in rules {
            match &rule.kind {
                Kind::Blackhole(blackhole) => {
                    barring.push(rule.revision);
                    taking.push(Taking::new(rule, blackhole));
                }
                Kind::Pause(predicate) if predicate.names_queue_only() => paused = Some(rule.name.as_str().into()),
                Kind::Pause(predicate) => {
                    barring.push(rule.revision);
                    holding.push(Keeping {
                        name: rule.name.as_str().into(),
                        what: Kept::Matching(Box::new(predicate.clone())),
                    });
                }
                // Of several, the newest that covers the queue says how.
                Kind::Fair(newest) => fair = Some(newest.how.clone()),
                Kind::Limit(limit) => limits.push(Limiting {
                    name: rule.name.as_str().into(),
                    number: rule.number,
                    revision: rule.revision,
                    limit: limit.clone(),
                }),
                Kind::Slo(slo) => {
                    if let Some(expires_ms) = slo.expires_ms {
                        let predicate = slo.predicate.clone().older(expires_ms);
                        barring.push(rule.revision);
                        taking.push(Taking::quarantining(rule, rule.name.as_str(), predicate));
                    }
                    promises.push(Promising {
                        name: rule.name.as_str().into(),
                        number: rule.number,
                        revision: rule.revision,
                        slo: slo.clone(),
                    });
                }
                Kind::Order(order) => (ordered, slack) = (true, order.slack),
                Kind::Weight(of) => drop(weighed.insert(&*of.tenant, (of.weight, rule))),
            }
        }
        let mut weights = BTreeMap::new();
        for (tenant, (weight, rule)) in weighed.into_iter().filter(|_| fair.is_some()) {
            if weight > 0.0 {
                weights.insert(tenant.into(), weight);
            } else {
                barring.push(rule.revision);
                holding.push(Keeping { name: rule.name.as_str().into(), what: Kept::OfTenant(tenant.into()) });
            }
        }
        // What jobs say themselves counts where somebody has spoken of service levels.
        if ordered || !promises.is_empty() {
            taking.push(Taking::of_expired());
        }
        promises.sort_by_key(|of| of.slo.within_ms);
        let matcher = Matcher::new(taking.iter().map(|taking| taking.predicate.clone()).collect());
        let timed = taking.iter().any(|taking| taking.predicate.depends_on_time());
        let epoch = if taking.is_empty() { 0 } else { epoch };
        let key = key.into();
        QueueRules {
            key,
            version,
            epoch,
            paused,
            timed,
            taking,
            matcher,
            holding,
            fair,
            weights,
            limits,
            promises,
            slack,
            barring,
        }
    }

    /// One rule alone, to be asked about jobs of a queue, or by [`takes_from`](Self::takes_from) about those of any.
    pub fn for_one(queue: &[u8], rule: &Rule) -> QueueRules {
        QueueRules::new(queue, std::iter::once(rule), 0, 0, Besides::default())
    }

    /// Tells whether the first taking rule takes a job of some queue, which was there before the rule.
    pub fn takes_from(&self, queue: &[u8], job: &Job, now_ms: u64) -> bool {
        let Some(taking) = self.taking.first() else { return false };
        taking.predicate.matches(queue, job, now_ms, taking.made_ms) && taking.samples(job)
    }

    pub fn is_empty(&self) -> bool {
        self.taking.is_empty()
            && self.holding.is_empty()
            && self.paused.is_none()
            && self.promises.is_empty()
            && !self.has_lanes()
    }

    /// The queue is served by lanes: it is shared, limits act on its jobs, or some are more urgent.
    pub fn has_lanes(&self) -> bool {
        self.fair.is_some() || self.has_gates_or_levels()
    }

    /// What goes out is known of lanes only, whichever end is popped.
    pub fn has_gates_or_levels(&self) -> bool {
        !self.limits.is_empty() || self.slack
    }

    /// Jobs are promised something.
    pub fn promises(&self) -> &[Promising] {
        &self.promises
    }

    /// When jobs came has to be known.
    pub fn asks_arrivals(&self) -> bool {
        self.slack || !self.promises.is_empty()
    }

    /// The service level of a job: of the rules that match the tightest, or what it says itself.
    pub fn level(&self, job: &Job, now_ms: u64) -> Level {
        let promised = self.promises.iter().find(|of| of.slo.predicate.matches(&self.key, job, now_ms, now_ms));
        match promised {
            Some(of) => Level::of_rule(of),
            None => match job.slo_ms() {
                Some(within_ms) => self.level_of(own_level(within_ms, job.weight())),
                None => Level::NONE,
            },
        }
    }

    /// By which jobs are told apart here.
    pub fn level_id(&self, job: &Job, now_ms: u64) -> LevelId {
        if self.slack { self.level(job, now_ms).id } else { NO_LEVEL }
    }

    /// What a number stands for.
    pub fn level_of(&self, id: LevelId) -> Level {
        if id & OWN_LEVEL != 0 {
            let within_ms = (id & !OWN_LEVEL) >> OWN_WEIGHT_BITS;
            return Level { id, within_ms, weight: (id & ((1 << OWN_WEIGHT_BITS) - 1)) as f64 / 100.0 };
        }
        self.promises.iter().find(|of| Level::number_of_rule(of.number) == id).map_or(Level::NONE, Level::of_rule)
    }

    /// The name of the rule that promises a level; jobs that ask for one themselves name none.
    pub fn level_name(&self, id: LevelId) -> Option<&str> {
        self.promises.iter().find(|of| Level::number_of_rule(of.number) == id).map(|of| &*of.name)
    }

    /// Which tenants have very many jobs running matters.
    pub fn asks_flights(&self) -> bool {
        self.fair.as_ref().is_some_and(|fair| fair.mode == Mode::Sqs)
    }

    /// Who is charged has to be known of jobs that run.
    pub fn charges_tenants(&self) -> bool {
        self.costs_runtime() || self.asks_flights()
    }

    /// Jobs have to pass gates.
    pub fn limits(&self) -> &[Limiting] {
        &self.limits
    }

    /// What a gate allows.
    pub fn bounds(&self, gate: Gate) -> Option<&Bounds> {
        self.limits.iter().find(|limiting| limiting.number == gate.limit).map(|limiting| &limiting.limit.bounds)
    }

    /// The tenant of a job, as far as tenants are told apart here.
    pub fn tenant<'a>(&self, job: &Job<'a>) -> Cow<'a, str> {
        self.fair.as_ref().and_then(|fair| fair.tenant(job)).unwrap_or(Cow::Borrowed(NO_TENANT))
    }

    /// Tenants share the queue by how long their jobs run.
    pub fn costs_runtime(&self) -> bool {
        self.fair.as_ref().is_some_and(|fair| fair.cost == Cost::Runtime)
    }

    /// The name of the limit that a gate is of.
    pub fn limit_of(&self, gate: Gate) -> Option<&str> {
        self.limits.iter().find(|limiting| limiting.number == gate.limit).map(|limiting| &*limiting.name)
    }

    /// The gates that a job has to pass.
    pub fn gates(&self, job: &Job, now_ms: u64) -> Gates {
        self.charges(job, now_ms).map(|charge| charge.gate).collect()
    }

    /// What a job is charged to when it goes out.
    pub fn charges(&self, job: &Job, now_ms: u64) -> impl Iterator<Item = Charge> {
        let of = self.limits.iter().filter(move |of| of.limit.predicate.matches(&self.key, job, now_ms, now_ms));
        of.map(move |of| {
            let key = match &of.limit.by {
                None => None,
                Some(By::Tenant) => {
                    let default = Sharing::default();
                    let sharing = self.fair.as_ref().unwrap_or(&default);
                    Some(sharing.tenant(job).map_or_else(|| NO_KEY.into(), |tenant| (*tenant).into()))
                }
                Some(By::Path(path)) => Some(job.at_path(path).map_or_else(|| NO_KEY.into(), |key| key.into())),
            };
            Charge { gate: Gate::new(of.number, key.as_deref()), key: key.unwrap_or_default() }
        })
    }

    /// Some jobs may be held back although the queue as a whole is not.
    pub fn holds(&self) -> bool {
        !self.holding.is_empty()
    }

    /// Tells whether lanes that were made under other rules are right under these: none of their jobs is missing in them.
    pub fn keeps_lanes_of(&self, other: &QueueRules) -> bool {
        let same_limits = || {
            let revisions = |rules: &QueueRules| rules.limits.iter().map(|of| of.revision).collect::<Vec<_>>();
            revisions(self) == revisions(other)
        };
        let levels = |rules: &QueueRules| rules.promises.iter().map(|of| of.revision).collect::<Vec<_>>();
        self.has_lanes()
            && self.fair == other.fair
            && same_limits()
            && self.slack == other.slack
            && (!self.slack || levels(self) == levels(other))
            && other.barring.iter().all(|revision| self.barring.contains(revision))
    }

    /// The share of a tenant relative to 1, where somebody has set it; a tenant that is paused has none.
    pub fn weight(&self, tenant: &str) -> Option<f64> {
        self.weights.get(tenant).copied()
    }

    /// All tenants whose share somebody has set.
    pub fn weights(&self) -> impl Iterator<Item = (&str, f64)> {
        self.weights.iter().map(|(tenant, weight)| (&**tenant, *weight))
    }

    pub fn takes(&self) -> bool {
        !self.taking.is_empty()
    }

    pub fn taking(&self, index: usize) -> &Taking {
        &self.taking[index]
    }

    pub fn all_taking(&self) -> &[Taking] {
        &self.taking
    }

    pub fn holding(&self, index: usize) -> &str {
        &self.holding[index].name
    }

    /// Says what is to become of a job. `pushed_by_ms` is the latest moment at which it can have been pushed; without it,
    /// it was pushed before the rule was made.
    pub fn verdict(&self, payload: &[u8], now_ms: u64, pushed_by_ms: Option<u64>) -> Verdict {
        let job = Job::new(payload);
        if let Some(index) = self.take(&job, now_ms, pushed_by_ms) {
            return Verdict::Take(index);
        }
        self.held_by(&job, now_ms, pushed_by_ms.unwrap_or(now_ms)).map_or(Verdict::Deliver, Verdict::Hold)
    }

    /// As [`verdict`](Self::verdict), for a job that no rule takes out for sure.
    pub fn hold(&self, payload: &[u8], now_ms: u64) -> Option<usize> {
        self.held_by(&Job::new(payload), now_ms, now_ms)
    }

    fn held_by(&self, job: &Job, now_ms: u64, pushed_by_ms: u64) -> Option<usize> {
        self.holding.iter().position(|keeping| match &keeping.what {
            Kept::Matching(predicate) => predicate.matches(&self.key, job, now_ms, pushed_by_ms),
            Kept::OfTenant(tenant) => {
                let found = self.fair.as_ref().and_then(|fair| fair.tenant(job));
                found.as_deref().unwrap_or(NO_TENANT) == &**tenant
            }
        })
    }

    /// The rule that takes a job out, if one does.
    pub fn take(&self, job: &Job, now_ms: u64, pushed_by_ms: Option<u64>) -> Option<usize> {
        if self.taking.is_empty() {
            return None;
        }
        let pushed = |index: usize| pushed_by_ms.unwrap_or(self.taking[index].made_ms);
        let first = self.matcher.first_match(&self.key, job, now_ms, pushed)?;
        if self.taking[first].samples(job) {
            return Some(first);
        }
        (first + 1..self.taking.len()).find(|index| {
            let taking = &self.taking[*index];
            taking.predicate.matches(&self.key, job, now_ms, pushed(*index)) && taking.samples(job)
        })
    }

    /// The rule that takes a job out, which was there before the rules, if only some of them are still in force.
    pub fn take_by(&self, payload: &[u8], now_ms: u64, in_force: impl Fn(&Taking) -> bool) -> Option<usize> {
        let job = Job::new(payload);
        self.taking.iter().position(|taking| {
            in_force(taking)
                && taking.predicate.matches(&self.key, &job, now_ms, taking.made_ms)
                && taking.samples(&job)
        })
    }

    /// Tells whether no job that a summary speaks of may be delivered; only what is sure counts.
    pub fn none_may_go(&self, summary: &Summary, checked: bool) -> bool {
        if self.paused.is_some() {
            return true;
        }
        let all = |predicate: &Predicate| predicate.by_summary(&self.key, summary) == Holding::All;
        (!checked && self.taking.iter().any(|taking| taking.sample >= 1.0 && all(&taking.predicate)))
            || self.holding.iter().any(|keeping| matches!(&keeping.what, Kept::Matching(predicate) if all(predicate)))
    }

    /// Tells whether no job that a summary speaks of is for a rule to take; only what is sure counts.
    pub fn takes_none_of(&self, summary: &Summary) -> bool {
        self.taking.iter().all(|taking| taking.predicate.by_summary(&self.key, summary) == Holding::None)
    }
}

/// The number of a level that a job asks for itself.
fn own_level(within_ms: u64, weight: Option<f64>) -> LevelId {
    let hundredths =
        weight.filter(|weight| (0.01..=10_000.0).contains(weight)).map_or(100, |weight| (weight * 100.0) as u64);
    OWN_LEVEL | within_ms.clamp(1, OWN_WITHIN_MS_MAX) << OWN_WEIGHT_BITS | hundredths
}

impl Level {
    /// That of jobs which nobody has spoken of.
    pub const NONE: Level = Level { id: NO_LEVEL, within_ms: WITHIN_DEFAULT_MS, weight: 1.0 };

    /// By which the level that a rule promises is known.
    pub fn number_of_rule(rule: u64) -> LevelId {
        rule + 1
    }

    fn of_rule(of: &Promising) -> Level {
        Level { id: Level::number_of_rule(of.number), within_ms: of.slo.within_ms, weight: of.slo.weight }
    }
}

impl Taking {
    /// Takes what a predicate matches into a quarantine.
    fn quarantining(rule: &Rule, name: &str, predicate: Predicate) -> Taking {
        Taking {
            name: name.into(),
            action: Action::Quarantine,
            sample: 1.0,
            unlock: false,
            number: rule.number,
            revision: rule.revision,
            made_ms: rule.made.at_ms,
            predicate,
        }
    }

    /// Takes jobs that are not worth doing any more, as they say themselves.
    fn of_expired() -> Taking {
        Taking {
            name: EXPIRED.into(),
            action: Action::Quarantine,
            sample: 1.0,
            unlock: false,
            number: u64::MAX,
            revision: 0,
            made_ms: 0,
            predicate: Predicate::expired(),
        }
    }

    pub(super) fn new(rule: &Rule, blackhole: &Blackhole) -> Taking {
        Taking {
            name: rule.name.as_str().into(),
            action: blackhole.action,
            sample: blackhole.sample,
            unlock: blackhole.unlock,
            number: rule.number,
            revision: rule.revision,
            made_ms: rule.made.at_ms,
            predicate: blackhole.predicate.clone(),
        }
    }

    /// A part of the jobs is chosen by a hash of their ids, so that a job is always in it or never.
    fn samples(&self, job: &Job) -> bool {
        if self.sample >= 1.0 {
            return true;
        }
        let hash = match job.id() {
            Some(id) => xxhash_rust::xxh3::xxh3_64(id.as_bytes()),
            None => xxhash_rust::xxh3::xxh3_64(job.payload()),
        };
        (hash as f64 / u64::MAX as f64) < self.sample
    }
}
