//! What is known of jobs in figures: INFO's section `jobs`, and for a page of metrics.

use std::fmt::Write;

use crate::keyspace::{Keyspace, Queue};
use crate::metrics::label;
use crate::sched::{Kind, Scheduler};

/// Queues and limits that have figures of their own on the page: those with the most jobs, and the oldest.
const LABELS_MAX: usize = 200;

/// Sums over all databases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JobFigures {
    pub queues: u64,
    pub pending: u64,
    pub rules: u64,
    pub limits: u64,
    pub leased: u64,
    pub followed: u64,
    pub delayed: u64,
    pub lanes_bytes: u64,
    pub leases_bytes: u64,
}

impl JobFigures {
    pub fn of(keys: &Keyspace, jobs: &Scheduler) -> JobFigures {
        let mut figures = JobFigures {
            lanes_bytes: keys.memory.lanes_bytes as u64,
            leases_bytes: keys.memory.leases_bytes as u64,
            ..JobFigures::default()
        };
        for database in 0..keys.database_count() {
            for (length, _) in waiting(keys, database) {
                figures.queues += 1;
                figures.pending += length;
            }
            let rules = jobs.rules.of(database);
            figures.rules += rules.len() as u64;
            figures.limits += rules.iter().filter(|rule| matches!(rule.kind, Kind::Limit(_))).count() as u64;
            let counts = jobs.leases.counts(database);
            figures.leased += counts.leased;
            figures.followed += counts.popped;
            figures.delayed += counts.delayed;
        }
        figures
    }

    /// Each with its name and what it is.
    fn each(&self) -> [(&'static str, &'static str, u64); 9] {
        [
            ("jobs_queues", "Queues that have jobs", self.queues),
            ("jobs_pending", "Jobs in queues", self.pending),
            ("jobs_rules", "Rules in force", self.rules),
            ("jobs_limits", "Limits among them", self.limits),
            ("jobs_leased", "Jobs that workers have under a lease", self.leased),
            ("jobs_followed", "Running jobs of ordinary pops that count for a limit", self.followed),
            ("jobs_delayed", "Jobs that are kept until they are due", self.delayed),
            ("jobs_lanes_bytes", "Memory of what is known of whose jobs are where", self.lanes_bytes),
            ("jobs_leases_bytes", "Memory of what is known of leases and limits", self.leases_bytes),
        ]
    }

    /// The lines of the section.
    pub fn info(&self) -> String {
        self.each().iter().map(|(name, _, value)| format!("{name}:{value}\r\n")).collect()
    }
}

/// The queues of a database that have jobs, each with how many.
fn waiting(keys: &Keyspace, database: usize) -> impl Iterator<Item = (u64, &Queue)> {
    let queues = keys.queues.in_database(database).filter(|(_, queue)| !queue.working);
    queues.map(move |(_, queue)| (keys.length_in(database, &queue.key), queue)).filter(|(length, _)| *length > 0)
}

/// All figures as a page of Prometheus has them, with a bounded number of labels.
pub fn page(keys: &Keyspace, jobs: &Scheduler) -> String {
    let mut page = String::new();
    for (name, help, value) in JobFigures::of(keys, jobs).each() {
        write!(page, "# HELP millpond_{name} {help}.\n# TYPE millpond_{name} gauge\nmillpond_{name} {value}\n")
            .expect("memory takes it");
    }
    let mut queues: Vec<(u64, &Queue)> =
        (0..keys.database_count()).flat_map(|database| waiting(keys, database)).collect();
    queues.sort_unstable_by_key(|(length, _)| std::cmp::Reverse(*length));
    queues.truncate(LABELS_MAX);
    let mut of_queues = |name: &str, kind: &str, help: &str, value: &dyn Fn(u64, &Queue) -> u64| {
        write!(page, "# HELP millpond_{name} {help}.\n# TYPE millpond_{name} {kind}\n").expect("memory takes it");
        for (length, queue) in &queues {
            let (database, key, value) = (queue.database, label(&queue.key), value(*length, queue));
            writeln!(page, "millpond_{name}{{db=\"{database}\",queue=\"{key}\"}} {value}").expect("memory takes it");
        }
    };
    of_queues("queue_jobs", "gauge", "Jobs in a queue", &|length, _| length);
    of_queues("queue_pushed_total", "counter", "Jobs that were put into a queue", &|_, queue| queue.counts.pushed);
    of_queues("queue_popped_total", "counter", "Jobs that were handed out", &|_, queue| queue.counts.popped);
    page += "# HELP millpond_limit_running Running jobs that count for a limit.\n# TYPE millpond_limit_running gauge\n";
    let rules = (0..keys.database_count())
        .flat_map(|database| jobs.rules.of(database).iter().map(move |rule| (database, rule)));
    for (database, rule) in rules.filter(|(_, rule)| matches!(rule.kind, Kind::Limit(_))).take(LABELS_MAX) {
        let (name, running) = (label(rule.name.as_bytes()), jobs.limits.running(rule.number));
        writeln!(page, "millpond_limit_running{{db=\"{database}\",limit=\"{name}\"}} {running}")
            .expect("memory takes it");
    }
    let levels: Vec<_> = (0..keys.database_count())
        .flat_map(|database| jobs.rules.of(database).iter().map(move |rule| (database, rule)))
        .filter(|(_, rule)| matches!(rule.kind, Kind::Slo(_)))
        .take(LABELS_MAX)
        .map(|(database, rule)| (database, label(rule.name.as_bytes()), jobs.promises.of_rule(database, rule.number)))
        .collect();
    for (name, help, late) in [
        ("slo_begun_total", "Jobs of a service level that have begun", false),
        ("slo_late_total", "Those of them that had waited too long", true),
    ] {
        write!(page, "# HELP millpond_{name} {help}.\n# TYPE millpond_{name} counter\n").expect("memory takes it");
        for (database, level, kept) in &levels {
            let value = if late { kept.late } else { kept.begun };
            writeln!(page, "millpond_{name}{{db=\"{database}\",level=\"{level}\"}} {value}").expect("memory takes it");
        }
    }
    page
}
