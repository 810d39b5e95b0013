//! The rules of all databases, oldest first.

use super::queue_rules::{Besides, QueueRules};
use super::rule::{Kind, Rule};

/// See the module.
#[derive(Debug, Default)]
pub struct Rules {
    /// By database; in the order of their numbers.
    databases: Vec<Vec<Rule>>,
    count: usize,
    /// Grows with every change.
    version: u64,
    /// Grows with every rule that takes jobs out: what was looked at before has to be looked at again.
    epoch: u32,
    next_number: u64,
    /// When the next rule ends by itself, in Unix milliseconds.
    next_expiry_ms: Option<u64>,
}

impl Rules {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn version(&self) -> u64 {
        self.version
    }

    /// What a job that is looked at now is looked at with.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The number that the next new rule gets.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }

    /// The rules of a database, oldest first.
    pub fn of(&self, database: usize) -> &[Rule] {
        self.databases.get(database).map_or(&[], Vec::as_slice)
    }

    pub fn find(&self, database: usize, kind: &str, name: &str) -> Option<&Rule> {
        self.of(database).iter().find(|rule| rule.kind_name() == kind && rule.name == name)
    }

    /// Puts a rule into force, in the place of one with the same kind and name.
    pub fn put(&mut self, database: usize, mut rule: Rule) {
        self.remove(database, rule.kind_name(), &rule.name);
        if self.databases.len() <= database {
            self.databases.resize_with(database + 1, Vec::new);
        }
        self.version += 1;
        rule.revision = self.version;
        self.next_number = self.next_number.max(rule.number + 1);
        if matches!(rule.kind, Kind::Blackhole(_) | Kind::Slo(_) | Kind::Order(_)) {
            self.epoch += 1;
        }
        let rules = &mut self.databases[database];
        let at = rules.partition_point(|other| other.number <= rule.number);
        rules.insert(at, rule);
        self.count += 1;
        self.find_next_expiry();
    }

    pub fn remove(&mut self, database: usize, kind: &str, name: &str) -> Option<Rule> {
        let rules = self.databases.get_mut(database)?;
        let at = rules.iter().position(|rule| rule.kind_name() == kind && rule.name == name)?;
        self.version += 1;
        self.count -= 1;
        let removed = rules.remove(at);
        self.find_next_expiry();
        Some(removed)
    }

    fn find_next_expiry(&mut self) {
        self.next_expiry_ms = self.databases.iter().flatten().filter_map(|rule| rule.expires_ms).min();
    }

    /// Tells whether some queue of a database is served by slack.
    pub fn order_by_slack(&self, database: usize) -> bool {
        self.of(database).iter().any(|rule| matches!(&rule.kind, Kind::Order(order) if order.slack))
    }

    /// When the next rule ends by itself, in Unix milliseconds.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.next_expiry_ms
    }

    /// A rule whose time is over, with its database.
    pub fn expired(&self, now_ms: u64) -> Option<(usize, &Rule)> {
        let databases = self.databases.iter().enumerate();
        let mut all = databases.flat_map(|(database, rules)| rules.iter().map(move |rule| (database, rule)));
        all.find(|(_, rule)| rule.expires_ms.is_some_and(|at_ms| at_ms <= now_ms))
    }

    /// The rules of one queue.
    pub fn for_queue(&self, database: usize, key: &[u8], besides: Besides) -> QueueRules {
        let rules = self.of(database).iter().filter(|rule| rule.predicate().covers_queue(key));
        QueueRules::new(key, rules, self.version, self.epoch, besides)
    }
}
