//! Which jobs a rule is about.
//!
//! ```text
//! [QUEUE glob] [CLASS glob] [TENANT id] [JID id…] [ARG name=value | ARG n=value]… [BEFORE now|time] [OLDER d] [WHERE expression] | ALL
//! ```
//!
//! The parts are ANDed. What the payload does not tell, such as the time of creation, is estimated so that a job is rather
//! left alone than caught; encrypted arguments match nothing.

mod argument;
mod error;
mod filter;
mod needles;
mod read;
#[cfg(test)]
mod tests;

pub use self::error::PredicateError;
pub use self::filter::WHERE_BYTES_MAX;
pub use self::read::IDS_MAX;

use self::argument::Argument;
use self::filter::Filter;
use self::needles::Needles;
use super::pattern::Pattern;
use super::payload::Job;
use super::queues;
use super::time;

/// See the module. Two are equal if they were written with the same meaning.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Predicate {
    pub(super) queue: Option<Pattern>,
    pub(super) class: Option<Pattern>,
    pub(super) tenant: Option<Box<str>>,
    /// Sorted, each once.
    pub(super) ids: Vec<Box<str>>,
    pub(super) arguments: Vec<Argument>,
    pub(super) before_ms: Option<u64>,
    pub(super) older_ms: Option<u64>,
    pub(super) filter: Option<Filter>,
    /// It says itself that it is not worth doing any more. No words say this.
    pub(super) expired: bool,
    /// What a payload of this class holds.
    class_needle: Needles,
    /// What the other parts ask for.
    needles: Needles,
}

impl Predicate {
    /// Makes the predicate that every job of every queue matches.
    pub fn all() -> Predicate {
        Predicate::default()
    }

    /// Makes the predicate of the jobs that have waited longer than they said themselves they are worth.
    pub fn expired() -> Predicate {
        Predicate { expired: true, ..Predicate::default() }
    }

    /// The same, of those jobs only that have waited so long.
    pub fn older(self, ms: u64) -> Predicate {
        Predicate { older_ms: Some(self.older_ms.map_or(ms, |own| own.max(ms))), ..self }
    }

    /// Reads as many words of a predicate as stand at the front; answers how many those were. Keywords may come in any
    /// order and letter case. It ends at the first word that is none; the ids after JID also end at one of `stop_words`,
    /// the caller's own options. `now_ms` is what BEFORE now becomes.
    pub fn parse(
        words: &[impl AsRef<[u8]>],
        now_ms: u64,
        stop_words: &[&str],
    ) -> Result<(Predicate, usize), PredicateError> {
        read::read(words, now_ms, stop_words)
    }

    /// Writes the words that are read as an equal predicate; BEFORE as Unix milliseconds.
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        put(&mut words, "QUEUE", self.queue.as_ref().map(|queue| queue.text().to_owned()));
        put(&mut words, "CLASS", self.class.as_ref().map(|class| class.text().to_owned()));
        put(&mut words, "TENANT", self.tenant.as_deref().map(str::to_owned));
        put(&mut words, "JID", self.ids.first().map(|id| id.to_string()));
        words.extend(self.ids.iter().skip(1).map(|id| id.to_string()));
        self.arguments.iter().for_each(|argument| put(&mut words, "ARG", Some(argument.to_string())));
        put(&mut words, "BEFORE", self.before_ms.map(time::format_time_ms));
        put(&mut words, "OLDER", self.older_ms.map(time::format_duration));
        put(&mut words, "WHERE", self.filter.as_ref().map(|filter| filter.text().to_owned()));
        if self.names_queue_only() {
            words.push("ALL".to_owned());
        }
        words
    }

    /// Tells whether a job in this queue matches.
    ///
    /// `pushed_by_ms` is the latest moment at which the job can have been pushed. It stands for the times of creation and
    /// of enqueueing where the payload does not tell them.
    pub fn matches(&self, queue: &[u8], job: &Job<'_>, now_ms: u64, pushed_by_ms: u64) -> bool {
        self.covers_queue(queue) && self.matches_job(job, now_ms, pushed_by_ms)
    }

    /// The same for a job in a queue that is known to be covered.
    pub(super) fn matches_job(&self, job: &Job<'_>, now_ms: u64, pushed_by_ms: u64) -> bool {
        // In order of cost. What the front of the payload says is enough to tell that it is another class.
        self.class.as_ref().is_none_or(|class| job.early_class().is_none_or(|early| class.matches(early)))
            && !self.needles.are_missing(job.payload())
            && self.class.as_ref().is_none_or(|class| class_matches(class, job))
            && (self.ids.is_empty() || job.ids().any(|id| self.names_id(&id)))
            && self.before_ms.is_none_or(|before_ms| was_created_before(job, before_ms, pushed_by_ms))
            && self.older_ms.is_none_or(|older_ms| is_older(job, older_ms, now_ms, pushed_by_ms))
            && (!self.expired || job.expires_ms().is_some_and(|at_ms| at_ms <= now_ms))
            && self.arguments.iter().all(|argument| argument.matches(job))
            && self.tenant.as_deref().is_none_or(|tenant| job.tenant().is_some_and(|found| found == tenant))
            && self.filter.as_ref().is_none_or(|filter| filter.matches(job))
    }

    /// Tells whether jobs of this queue can match.
    pub fn covers_queue(&self, queue: &[u8]) -> bool {
        self.queue.as_ref().is_none_or(|pattern| queues::means(pattern, queue))
    }

    /// Tells whether every job of the queues that it covers matches.
    pub fn names_queue_only(&self) -> bool {
        self.class.is_none() && self.has_no_part_but_class()
    }

    /// Tells whether nothing but queue and class is asked for, so that a summary may answer.
    pub fn by_class_alone(&self) -> bool {
        self.class.is_some() && self.has_no_part_but_class()
    }

    /// Tells whether a job that does not match now may match later.
    pub fn depends_on_time(&self) -> bool {
        self.older_ms.is_some() || self.expired
    }

    /// Tells whether the time of push may matter.
    pub fn asks_time_of_push(&self) -> bool {
        self.before_ms.is_some() || self.older_ms.is_some()
    }

    /// Tells by a look for the words of the predicate in the bytes that a payload cannot match. Never wrong when it says
    /// so, and much cheaper than to read the payload; pays where most jobs do not match.
    pub fn quick_reject(&self, payload: &[u8]) -> bool {
        self.class_needle.are_missing(payload) || self.needles.are_missing(payload)
    }

    /// The only class that matches, if there is only one.
    pub(super) fn exact_class(&self) -> Option<&str> {
        self.class.as_ref()?.exact()
    }

    fn names_id(&self, id: &str) -> bool {
        self.ids.binary_search_by(|named| (**named).cmp(id)).is_ok()
    }

    fn has_no_part_but_class(&self) -> bool {
        self.tenant.is_none()
            && self.ids.is_empty()
            && self.arguments.is_empty()
            && self.before_ms.is_none()
            && self.older_ms.is_none()
            && !self.expired
            && self.filter.is_none()
    }
}

fn put(words: &mut Vec<String>, keyword: &str, value: Option<String>) {
    if let Some(value) = value {
        words.extend([keyword.to_owned(), value]);
    }
}

fn class_matches(pattern: &Pattern, job: &Job<'_>) -> bool {
    job.class().is_some_and(|class| pattern.matches(class.as_bytes()))
}

fn was_created_before(job: &Job<'_>, before_ms: u64, pushed_by_ms: u64) -> bool {
    job.created_ms().map_or(pushed_by_ms <= before_ms, |created_ms| created_ms < before_ms)
}

fn is_older(job: &Job<'_>, older_ms: u64, now_ms: u64, pushed_by_ms: u64) -> bool {
    let since_ms = job.enqueued_ms().unwrap_or(pushed_by_ms);
    now_ms.checked_sub(since_ms).is_some_and(|age_ms| age_ms >= older_ms)
}
