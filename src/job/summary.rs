//! What a part of a backlog holds, small enough to stay in memory when the jobs go to disk.
//!
//! It is made once, when a chunk of a list is stored, and never changed. Counts are exact as far as they go: what is not
//! named is counted as other, so that a question is answered with certainty or not at all.

mod names;
mod stored;
#[cfg(test)]
mod tests;

pub use self::stored::{Damaged, SUMMARY_VERSION};

use std::borrow::Cow;
use std::collections::HashMap;

use self::names::Names;
pub use self::names::{NAME_BYTES_MAX, NAMED_MAX};
use super::payload::Job;
use super::predicate::Predicate;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    jobs: u32,
    without_fields: u32,
    bytes: u32,
    created: Times,
    enqueued: Times,
    /// Jobs that say how long they are worth doing; not known of old summaries.
    expiring: Option<u32>,
    classes: Names,
    tenants: Names,
}

/// The span of a time over the jobs that tell it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Times {
    /// How many tell it; if none does the others are 0.
    known: u32,
    oldest_ms: u64,
    newest_ms: u64,
}

/// What can be said of jobs without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// Surely none matches.
    None,
    /// Surely one matches, perhaps all.
    Some,
    /// Surely every one matches.
    All,
    Unknown,
}

impl Summary {
    /// Reads every payload.
    ///
    /// # Panics
    /// If there are more than 2³² payloads, or bytes in them: a chunk is far smaller.
    pub fn of<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Summary {
        let (mut summary, mut bytes, mut expiring) = (Summary::default(), 0u64, 0);
        let (mut classes, mut tenants) = (HashMap::new(), HashMap::new());
        for payload in payloads {
            let job = Job::new(payload);
            summary.jobs += 1;
            bytes += payload.len() as u64;
            summary.without_fields += u32::from(!job.has_fields());
            summary.created.note(job.created_ms());
            summary.enqueued.note(job.enqueued_ms());
            expiring += u32::from(job.expires_ms().is_some());
            count(&mut classes, job.class());
            count(&mut tenants, job.tenant());
        }
        summary.expiring = Some(expiring);
        summary.bytes = u32::try_from(bytes).expect("a chunk is far smaller than 4 GiB");
        (summary.classes, summary.tenants) = (Names::of(classes), Names::of(tenants));
        summary
    }

    pub fn jobs(&self) -> u32 {
        self.jobs
    }

    /// How many payloads are not jobs that can be read.
    pub fn without_fields(&self) -> u32 {
        self.without_fields
    }

    /// The bytes of all payloads.
    pub fn bytes(&self) -> u32 {
        self.bytes
    }

    /// The classes that are counted by name, most first.
    pub fn classes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.classes.iter()
    }

    /// How many jobs have another class than those.
    pub fn other_classes(&self) -> u32 {
        self.classes.other
    }

    /// The tenants that are counted by name, most first.
    pub fn tenants(&self) -> impl Iterator<Item = (&'static str, u32)> {
        self.tenants.iter()
    }

    /// How many jobs have another tenant than those.
    pub fn other_tenants(&self) -> u32 {
        self.tenants.other
    }

    /// How many jobs have no tenant.
    pub fn without_tenant(&self) -> u32 {
        self.jobs - self.tenants.count()
    }

    /// The earliest time at which a job says that it was enqueued.
    pub fn oldest_enqueued_ms(&self) -> Option<u64> {
        (self.enqueued.known > 0).then_some(self.enqueued.oldest_ms)
    }

    pub fn newest_enqueued_ms(&self) -> Option<u64> {
        (self.enqueued.known > 0).then_some(self.enqueued.newest_ms)
    }

    /// What the summary costs in memory.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Summary>() + self.classes.memory_bytes() + self.tenants.memory_bytes()
    }
}

impl Times {
    fn note(&mut self, time_ms: Option<u64>) {
        let Some(time_ms) = time_ms else { return };
        self.oldest_ms = if self.known == 0 { time_ms } else { self.oldest_ms.min(time_ms) };
        self.newest_ms = self.newest_ms.max(time_ms);
        self.known += 1;
    }

    fn before(&self, before_ms: u64, jobs: u32) -> Holding {
        let all_known = self.known == jobs;
        match (self.oldest_ms < before_ms, self.newest_ms < before_ms) {
            (_, true) if all_known => Holding::All,
            (false, _) if all_known => Holding::None,
            (true, _) if self.known > 0 => Holding::Some,
            _ => Holding::Unknown,
        }
    }
}

impl Names {
    fn holding(&self, jobs: u32, matches: impl Fn(&str) -> bool) -> Holding {
        let matching: u32 = self.iter().filter(|(name, _)| matches(name)).map(|(_, count)| count).sum();
        match matching {
            _ if matching == jobs => Holding::All,
            0 if self.other == 0 => Holding::None,
            0 => Holding::Unknown,
            _ => Holding::Some,
        }
    }
}

impl Predicate {
    /// Tells what can be said of the jobs of a queue by their summary. What hangs on the time of push, on ids, arguments or
    /// an expression cannot be said; of no jobs, none match.
    pub fn by_summary(&self, queue: &[u8], summary: &Summary) -> Holding {
        if summary.jobs == 0 || !self.covers_queue(queue) {
            return Holding::None;
        }
        let class = self.class.as_ref();
        let parts = [
            class.map(|class| summary.classes.holding(summary.jobs, |name| class.matches(name.as_bytes()))),
            self.tenant.as_ref().map(|tenant| summary.tenants.holding(summary.jobs, |name| name == &**tenant)),
            self.before_ms.map(|before_ms| summary.created.before(before_ms, summary.jobs)),
            self.expired.then_some(if summary.expiring == Some(0) { Holding::None } else { Holding::Unknown }),
            (self.older_ms.is_some() || !self.ids.is_empty()).then_some(Holding::Unknown),
            (!self.arguments.is_empty() || self.filter.is_some()).then(|| summary.of_readable()),
        ];
        parts.into_iter().flatten().fold(Holding::All, Holding::and)
    }
}

impl Summary {
    fn of_readable(&self) -> Holding {
        if self.without_fields == self.jobs { Holding::None } else { Holding::Unknown }
    }
}

impl Holding {
    /// What can be said of two conditions together.
    fn and(self, other: Holding) -> Holding {
        match (self, other) {
            (Holding::None, _) | (_, Holding::None) => Holding::None,
            (Holding::All, same) | (same, Holding::All) => same,
            _ => Holding::Unknown,
        }
    }
}

fn count<'a>(counts: &mut HashMap<Cow<'a, str>, u32>, name: Option<Cow<'a, str>>) {
    if let Some(name) = name {
        *counts.entry(name).or_default() += 1;
    }
}
