//! One rule: what a person has said about jobs, who said it and when.

use std::borrow::Cow;

use crate::job::{Job, Path, Pattern, Predicate};

/// What a rule is about. Names are unique within a kind and a database.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Matching jobs are taken out and never delivered.
    Blackhole(Blackhole),
    /// Matching jobs stay where they are.
    Pause(Predicate),
    /// Queues are shared between tenants.
    Fair(Fair),
    /// The share of one tenant in queues.
    Weight(Weight),
    /// Matching jobs go out no faster, or no more of them at a time.
    Limit(Limit),
    /// What matching jobs are promised.
    Slo(Slo),
    /// The order in which queues and what is in them are served.
    Order(Order),
}

/// A service level.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    pub predicate: Predicate,
    /// A job begins before it has waited so long.
    pub within_ms: u64,
    /// Its share in overload, relative to 1.
    pub weight: f64,
    /// A job that has waited so long is taken out: it was only worth doing before.
    pub expires_ms: Option<u64>,
    /// A job runs no longer than this.
    pub runtime_ms: Option<u64>,
    pub owner: Option<String>,
}

/// In which order queues are served.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// It names queues only.
    pub predicate: Predicate,
    /// The job that has used most of what its service level allows is next, rather than what was asked for.
    pub slack: bool,
}

/// How often jobs may begin, and how many may run at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    pub predicate: Predicate,
    /// Jobs for which this differs are counted apart.
    pub by: Option<By>,
    pub bounds: Bounds,
}

/// What the jobs of a limit are told apart by.
#[derive(Debug, Clone, PartialEq)]
pub enum By {
    /// The tenant, which stands where the queue's sharing says.
    Tenant,
    Path(Path),
}

/// At least one of them is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    pub rate: Option<Rate>,
    /// Jobs that run at a time.
    pub concurrency: Option<u32>,
    /// The rate finds itself. Only where there is one.
    pub adaptive: Option<Span>,
}

/// Between what a rate finds itself, in jobs in its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub min: u64,
    pub max: u64,
    /// Failures of these classes count; of none, all do.
    pub on: Vec<Pattern>,
}

/// So many jobs in so long, and so many at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    pub jobs: u64,
    pub per_ms: u64,
    /// 1 spaces them evenly.
    pub burst: u32,
}

impl Bounds {
    /// What holds for a job that comes back.
    pub fn without_rate(&self) -> Bounds {
        Bounds { rate: None, concurrency: self.concurrency, adaptive: None }
    }

    /// Jobs have to be followed until they end.
    pub fn follows(&self) -> bool {
        self.concurrency.is_some() || self.adaptive.is_some()
    }

    /// Jobs that may begin where none has yet.
    pub fn most(&self) -> u32 {
        let burst = self.rate.as_ref().map_or(u32::MAX, |rate| rate.burst);
        self.concurrency.unwrap_or(u32::MAX).min(burst)
    }
}

impl Rate {
    /// The time between two jobs.
    pub fn between_ns(&self) -> u64 {
        (self.per_ms * 1_000_000 / self.jobs).max(1)
    }
}

/// Queues that are shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Fair {
    /// It names queues only.
    pub predicate: Predicate,
    pub how: Sharing,
}

/// How a queue is shared.
#[derive(Debug, Clone, PartialEq)]
pub struct Sharing {
    /// Where the tenant of a job stands: the first of these that finds one. Without any, wherever a tenant is known to stand.
    pub by: Vec<Path>,
    /// Jobs that a lane of weight 1 hands out in its turn.
    pub quantum: u32,
    pub cost: Cost,
    pub mode: Mode,
}

/// How tenants share a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Deficit round robin.
    #[default]
    Drr,
    /// In order of arrival, but tenants that have very many jobs running yield to the others, as in the fair queues of
    /// Amazon SQS.
    Sqs,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Drr => "drr",
            Mode::Sqs => "sqs",
        }
    }
}

/// What a job counts against the share of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cost {
    /// One, whatever it is.
    #[default]
    Count,
    /// As long as it runs.
    Runtime,
}

impl Cost {
    pub fn name(self) -> &'static str {
        match self {
            Cost::Count => "count",
            Cost::Runtime => "runtime",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    pub predicate: Predicate,
    pub tenant: String,
    /// Relative to 1; 0 for no service.
    pub weight: f64,
}

impl Default for Sharing {
    fn default() -> Sharing {
        Sharing { by: Vec::new(), quantum: 1, cost: Cost::Count, mode: Mode::Drr }
    }
}

impl Sharing {
    /// The tenant of a job.
    pub fn tenant<'a>(&self, job: &Job<'a>) -> Option<Cow<'a, str>> {
        match &self.by[..] {
            [] => job.tenant(),
            by => by.iter().find_map(|path| job.at_path(path)).map(Cow::Owned),
        }
    }

    /// The tenant of a job, and where it was found.
    pub fn tenant_and_place<'a>(&self, job: &Job<'a>) -> Option<(Cow<'a, str>, String)> {
        match &self.by[..] {
            [] => job.tenant_and_place().map(|(tenant, place)| (tenant, place.to_owned())),
            by => by.iter().find_map(|path| Some((Cow::Owned(job.at_path(path)?), path.to_string()))),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Blackhole {
    pub predicate: Predicate,
    pub scope: Scope,
    pub action: Action,
    /// The part of the matching jobs that it takes, chosen by their ids; 1 for all.
    pub sample: f64,
    /// Locks of unique jobs are given back when a job leaves for good.
    pub unlock: bool,
}

/// Where a blackhole looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Queues,
    /// Also in the sets of scheduled and failed jobs, and in resque-scheduler's lists.
    All,
}

/// What becomes of a job that a blackhole takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Quarantine,
    Drop,
    /// It is put where the job library keeps failed jobs.
    Dead,
}

/// Who made a rule, and when.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Made {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// User, address and client name.
    pub by: String,
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    pub name: String,
    pub kind: Kind,
    pub made: Made,
    pub comment: Option<String>,
    /// Unix milliseconds at which it ends by itself.
    pub expires_ms: Option<u64>,
    /// Rules are older the smaller this is; of several that match, the oldest acts.
    pub number: u64,
    /// Tells it from one that it has replaced, or that replaces it.
    pub revision: u64,
}

impl Rule {
    pub fn predicate(&self) -> &Predicate {
        match &self.kind {
            Kind::Blackhole(blackhole) => &blackhole.predicate,
            Kind::Pause(predicate) => predicate,
            Kind::Fair(fair) => &fair.predicate,
            Kind::Weight(weight) => &weight.predicate,
            Kind::Limit(limit) => &limit.predicate,
            Kind::Slo(slo) => &slo.predicate,
            Kind::Order(order) => &order.predicate,
        }
    }

    /// What it allows, if it is the limit with a number.
    pub fn bounds_of(&self, limit: u64) -> Option<&Bounds> {
        match &self.kind {
            Kind::Limit(of) if self.number == limit => Some(&of.bounds),
            _ => None,
        }
    }

    /// What stands before the name wherever rules of several kinds are listed.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Blackhole(_) => "blackhole",
            Kind::Pause(_) => "pause",
            Kind::Fair(_) => "fair",
            Kind::Weight(_) => "weight",
            Kind::Limit(_) => "limit",
            Kind::Slo(_) => "slo",
            Kind::Order(_) => "order",
        }
    }

    /// What a person calls such a rule.
    pub fn kind_title(&self) -> &'static str {
        match &self.kind {
            Kind::Fair(_) => "fair queue",
            Kind::Slo(_) => "service level",
            _ => self.kind_name(),
        }
    }
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Action::Quarantine => "quarantine",
            Action::Drop => "drop",
            Action::Dead => "dead",
        }
    }
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Scope::Queues => "queues",
            Scope::All => "all",
        }
    }
}
