//! Rules as the model has them: which jobs they mean, and the words that say so to the server.

use super::payload::{AMOUNT_MAX, CLASSES, CUSTOMERS, Job, TENANTS};
use crate::harness::Chance;

/// Which jobs are meant.
#[derive(Debug, Clone)]
pub enum What {
    Class(&'static str),
    /// Classes that begin so.
    ClassGlob(&'static str),
    ClassCustomer(&'static str, u64),
    Customer(u64),
    Tenant(u64),
    AmountOver(u64),
    Jids(Vec<String>),
    /// All of the queues that a glob or a word means.
    Queue(&'static str),
    QueueClass(&'static str, &'static str),
    QueueTenant(&'static str, u64),
}

/// Globs and words for queues.
pub const QUEUE_GLOBS: [&str; 5] = ["queue:a", "queue:b", "a", "*:queue:a", "queue:*"];

/// A blackhole in force.
#[derive(Debug, Clone)]
pub struct Rule {
    pub name: &'static str,
    pub what: What,
    pub drops: bool,
    /// It also takes from the sets of scheduled and failed jobs.
    pub everywhere: bool,
}

/// A pause in force.
#[derive(Debug, Clone)]
pub struct Pause {
    pub what: What,
}

impl What {
    /// Draws something that a blackhole may be for. `jids` are those of some jobs.
    pub fn any(chance: &mut Chance, jids: &[String]) -> What {
        let class = *chance.pick(&CLASSES);
        match chance.below(12) {
            0..=2 => What::Class(class),
            3 => What::ClassGlob(if chance.one_in(2) { "Im" } else { "Ex" }),
            4..=5 => What::ClassCustomer(class, chance.below(CUSTOMERS as usize) as u64),
            6 => What::Customer(chance.below(CUSTOMERS as usize) as u64),
            7 => What::Tenant(chance.below(TENANTS as usize) as u64),
            8 => What::AmountOver(AMOUNT_MAX / 2 + chance.below(AMOUNT_MAX as usize / 2) as u64),
            9 if !jids.is_empty() => What::Jids(jids.iter().take(3).cloned().collect()),
            10 => What::Queue(chance.pick::<&str>(&QUEUE_GLOBS[..4])),
            _ => What::QueueClass(chance.pick::<&str>(&QUEUE_GLOBS), class),
        }
    }

    /// Draws something that may be paused.
    pub fn any_pause(chance: &mut Chance) -> What {
        let glob = *chance.pick(&QUEUE_GLOBS);
        match chance.below(5) {
            0..=1 => What::Queue(glob),
            2..=3 => What::QueueClass(glob, chance.pick::<&str>(&CLASSES)),
            _ => What::QueueTenant(glob, chance.below(TENANTS as usize) as u64),
        }
    }

    /// Tells whether a job under a key is meant.
    pub fn matches(&self, key: &str, job: &Job) -> bool {
        match self {
            What::Class(class) => job.class == Some(class),
            What::ClassGlob(start) => job.class.is_some_and(|class| class.starts_with(start)),
            What::ClassCustomer(class, customer) => job.class == Some(class) && job.customer == Some(*customer),
            What::Customer(customer) => job.customer == Some(*customer),
            What::Tenant(tenant) => job.tenant == Some(*tenant),
            What::AmountOver(limit) => job.amount.is_some_and(|amount| amount > *limit),
            What::Jids(jids) => job.jid.as_ref().is_some_and(|jid| jids.contains(jid)),
            What::Queue(glob) => means(glob, key),
            What::QueueClass(glob, class) => means(glob, key) && job.class == Some(class),
            What::QueueTenant(glob, tenant) => means(glob, key) && job.tenant == Some(*tenant),
        }
    }

    /// Tells whether a queue can have such jobs.
    pub fn covers(&self, key: &str) -> bool {
        match self {
            What::Queue(glob) | What::QueueClass(glob, _) | What::QueueTenant(glob, _) => means(glob, key),
            _ => true,
        }
    }

    /// The words of a blackhole's predicate.
    pub fn words(&self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match self {
            What::Class(class) => words(&["CLASS", class]),
            What::ClassGlob(start) => words(&["CLASS", &format!("{start}*")]),
            What::ClassCustomer(class, customer) => words(&["CLASS", class, "ARG", &format!("customer_id={customer}")]),
            What::Customer(customer) => words(&["ARG", &format!("customer_id={customer}")]),
            What::Tenant(tenant) => words(&["TENANT", &tenant.to_string()]),
            What::AmountOver(limit) => words(&["WHERE", &format!("@.args[0].amount > {limit}")]),
            What::Jids(jids) => [words(&["JID"]), jids.clone()].concat(),
            What::Queue(glob) => words(&["QUEUE", glob, "ALL"]),
            What::QueueClass(glob, class) => words(&["QUEUE", glob, "CLASS", class]),
            What::QueueTenant(glob, tenant) => words(&["QUEUE", glob, "TENANT", &tenant.to_string()]),
        }
    }

    /// The words behind JOB.PAUSE and JOB.RESUME.
    pub fn pause_words(&self) -> Vec<String> {
        let mut words = self.words();
        words.remove(0);
        words.retain(|word| word != "ALL");
        words
    }
}

/// Tells whether a glob or a word means a queue: a word without a colon is also compared with what follows `queue:`.
fn means(glob: &str, key: &str) -> bool {
    let is_like = |text: &str| match (glob.strip_suffix('*'), glob.strip_prefix('*')) {
        (Some(start), _) => text.starts_with(start),
        (_, Some(end)) => text.ends_with(end),
        _ => text == glob,
    };
    is_like(key) || (!glob.contains(':') && key.rsplit_once("queue:").is_some_and(|(_, name)| is_like(name)))
}

#[test]
fn a_word_means_the_queue_of_that_name_in_every_namespace() {
    assert!(means("a", "queue:a") && means("a", "app:queue:a") && !means("a", "queue:b"));
    assert!(means("*:queue:a", "app:queue:a") && !means("*:queue:a", "queue:a"));
    assert!(means("queue:*", "queue:c") && !means("queue:*", "app:queue:a"));
}
