//! One rule: what a person has said about jobs, who said it and when.

use crate::job::Predicate;

/// What a rule is about. Names are unique within a kind and a database.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Matching jobs are taken out and never delivered.
    Blackhole(Blackhole),
    /// Matching jobs stay where they are.
    Pause(Predicate),
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
        }
    }

    /// What stands before the name wherever rules of several kinds are listed.
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Blackhole(_) => "blackhole",
            Kind::Pause(_) => "pause",
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
