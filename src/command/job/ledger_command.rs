//! JOB.LEDGER: that every job is accounted for, and where it is not.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::keyspace::Kind;
use crate::resp::{Error, Reply};

use super::blackhole::{length_of, quarantined as length_of_quarantine};
use super::{READ, SINCE, known, ledger, map, number, places, serve, stats, text, text_of};
use crate::command::argument::is;
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

/// Queues that are shown: those that were given the most. The totals are of all.
const ROWS_MAX: usize = 1_000;

pub const COMMANDS: &[Command] = &[Command {
    name: "job.ledger",
    run: ledger,
    syntax: "[BY <queue | class>]",
    summary: "Returns what became of the jobs that were given to each queue, and how many are not accounted for.",
    since: SINCE,
    group: Group::Job,
    complexity: "O(N) where N is the number of queues; by class, of chunks.",
    flags: READ,
    keys: Keys::None,
    examples: &["JOB.LEDGER", "RPUSH queue:default '{\"class\":\"A\"}'", "JOB.LEDGER BY queue", "JOB.LEDGER BY x"],
}];

fn ledger(context: &mut Context, request: &[Bytes]) -> Outcome {
    match &request[1..] {
        [] => by_queue(context),
        [by, what] if is(by, "by") && is(what, "queue") => by_queue(context),
        [by, what] if is(by, "by") && is(what, "class") => stats::pending_by_class(context, row_of_class),
        [by, what] if is(by, "by") => {
            Err(Error::new(format!("ERR BY takes queue or class, not '{}'", text_of(what))).into())
        }
        [by] if is(by, "by") => Err(Error::constant("ERR BY needs a value: queue or class").into()),
        [other, ..] => Err(Error::new(format!("ERR '{}' is no option here; there is BY", text_of(other))).into()),
    }
}

/// Before runs are followed, nothing but the number of those that wait is known of a class.
fn row_of_class(class: Reply, pending: u64, estimated: bool) -> Reply {
    let unknown = ["in", "held", "quarantined", "dropped", "dead", "removed", "popped", "off"];
    let mut row = vec![("class", class), ("pending", number(pending)), ("estimated", Reply::flag(estimated))];
    row.extend(unknown.map(|name| (name, Reply::Null)));
    map(row)
}

/// What became of the jobs of one queue, or of all.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    given: u64,
    /// Those that are held apart where their number is known.
    pending: u64,
    held: Option<u64>,
    quarantined: u64,
    dropped: u64,
    dead: u64,
    removed: u64,
    popped: u64,
}

impl Account {
    /// Jobs that are nowhere; negative if there are more than were given.
    fn off(&self) -> i64 {
        let found = self.pending
            + self.held.unwrap_or(0)
            + self.quarantined
            + self.dropped
            + self.dead
            + self.removed
            + self.popped;
        self.given as i64 - found as i64
    }

    fn add(&mut self, other: &Account) {
        self.given += other.given;
        self.pending += other.pending;
        // What is held is not known of all queues as soon as it is not of one; where it is, it was not counted as pending.
        if let (Some(held), None) = (self.held, other.held) {
            self.pending += held;
        }
        self.held = match self.held {
            Some(held) => other.held.map(|other| held + other),
            None => {
                self.pending += other.held.unwrap_or(0);
                None
            }
        };
        self.quarantined += other.quarantined;
        self.dropped += other.dropped;
        self.dead += other.dead;
        self.removed += other.removed;
        self.popped += other.popped;
    }

    fn columns(&self, queue: Reply) -> Vec<(&'static str, Reply)> {
        vec![
            ("queue", queue),
            ("in", number(self.given)),
            ("pending", number(self.pending)),
            ("held", known(self.held)),
            ("quarantined", number(self.quarantined)),
            ("dropped", number(self.dropped)),
            ("dead", number(self.dead)),
            ("removed", number(self.removed)),
            ("popped", number(self.popped)),
            ("off", Reply::Integer(self.off())),
        ]
    }
}

fn by_queue(context: &mut Context) -> Result<Reply, Stop> {
    let pushed = by_key(context, "pushed");
    let (dropped, dead) = (by_key(context, "dropped"), by_key(context, "dead"));
    let mut quarantined: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for (rule, key, _) in ledger::counts_by_key(context, "from") {
        *quarantined.entry(key.clone()).or_default() += length_of_quarantine(context, &rule, &key)?;
    }
    // What rules have taken, and what is neither in quarantine nor went on from there: a client has removed it.
    let (taken, restored) = (by_key(context, "from"), by_key(context, "restored"));
    let of = |counts: &BTreeMap<Vec<u8>, u64>, key: &[u8]| counts.get(key).copied().unwrap_or(0);
    let database = context.keys.selected();
    let queues = context.keys.queues.in_database(database).filter(|(_, queue)| !queue.working);
    let mut accounts: Vec<(Vec<u8>, Account)> = queues
        .map(|(_, queue)| {
            let (key, counts) = (&queue.key[..], queue.counts);
            let account = Account {
                given: counts.pushed + of(&pushed, key),
                pending: length_of(context, key),
                held: None,
                quarantined: of(&quarantined, key),
                dropped: of(&dropped, key),
                dead: of(&dead, key),
                removed: counts.removed
                    + of(&taken, key).saturating_sub(
                        of(&restored, key) + of(&dropped, key) + of(&dead, key) + of(&quarantined, key),
                    ),
                popped: counts.popped,
            };
            (key.to_vec(), account)
        })
        .collect();
    let mut total = Account { held: Some(0), ..Account::default() };
    for (key, account) in &mut accounts {
        account.held = held(context, key, account.pending);
        account.pending -= account.held.unwrap_or(0);
        total.add(account);
    }
    accounts.sort_by(|(one, a), (other, b)| b.given.cmp(&a.given).then_with(|| one.cmp(other)));
    let mut rows: Vec<Reply> =
        accounts.iter().take(ROWS_MAX).map(|(key, account)| map(account.columns(text(key)))).collect();
    let mut totals = total.columns(Reply::Null);
    totals.push(("queues", number(accounts.len() as u64)));
    totals.push(("namespaces", namespaces(context)));
    rows.push(map(totals));
    Ok(Reply::Array(rows))
}

fn by_key(context: &mut Context, what: &str) -> BTreeMap<Vec<u8>, u64> {
    let mut sums = BTreeMap::new();
    for (_, key, count) in ledger::counts_by_key(context, what) {
        *sums.entry(key).or_default() += count;
    }
    sums
}

/// How many jobs of a queue are held where they are, if that is all or none.
pub fn held(context: &mut Context, key: &[u8], pending: u64) -> Option<u64> {
    if pending == 0 || serve::is_idle(context) {
        return Some(0);
    }
    let slot = context.keys.find_kind(key, Kind::List).ok()??;
    match serve::rules_of(context, slot) {
        Some((_, rules)) if rules.paused.is_some() => Some(pending),
        Some((_, rules)) if rules.holds() || !rules.limits().is_empty() => None,
        _ => Some(0),
    }
}

/// The sets beside the queues, which hold what was popped and failed, or was never pushed.
fn namespaces(context: &Context) -> Reply {
    let sets = places::all(context);
    let namespaces = sets.iter().filter(|key| !key.ends_with(b"delayed_queue_schedule"));
    let namespaces = namespaces.filter_map(|key| key.strip_suffix(b"schedule"));
    let row = |namespace: &[u8]| {
        let length = |set: &[u8]| known(context.keys.length(&[namespace, set].concat()));
        map(vec![
            ("namespace", text(namespace)),
            ("scheduled", length(b"schedule")),
            ("retrying", length(b"retry")),
            ("dead_set", length(b"dead")),
            ("failed", length(b"failed")),
        ])
    };
    Reply::Array(namespaces.map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    const COLUMNS: [&str; 8] = ["in", "pending", "quarantined", "dropped", "dead", "removed", "popped", "off"];

    #[track_caller]
    fn check(bench: &mut Bench, row: usize, queue: Reply, numbers: [i64; 8]) {
        let reply = bench.run("JOB.LEDGER");
        let row = &elements(&reply)[row];
        assert_eq!(field(row, "queue"), queue);
        assert_eq!(COLUMNS.map(|name| figure(row, name)), numbers, "{COLUMNS:?}");
    }

    #[test]
    fn every_job_is_accounted_for() {
        let mut bench = bench(1000);
        let job = |class: &str, number: u32| format!(r#"{{"class":"{class}","jid":"{number}"}}"#);
        push(&mut bench, "queue:a", (0..10).map(|number| job("Good", number)));
        bench.run("JOB.BLACKHOLE ADD keep CLASS Bad");
        bench.run("JOB.BLACKHOLE ADD drop CLASS Worse ACTION drop");
        push(&mut bench, "queue:a", (10..13).map(|number| job("Bad", number)));
        push(&mut bench, "queue:a", (13..15).map(|number| job("Worse", number)));
        bench.run("RPOP queue:a 4");
        bench.run(&format!("LREM queue:a 1 '{}'", job("Good", 9)));
        push(&mut bench, "queue:b", ["x"]);
        bench.run("ZADD retry 1 x");
        check(&mut bench, 0, text("queue:a"), [15, 5, 3, 2, 0, 1, 4, 0]);
        check(&mut bench, 1, text("queue:b"), [1, 1, 0, 0, 0, 0, 0, 0]);
        check(&mut bench, 2, Reply::Null, [16, 6, 3, 2, 0, 1, 4, 0]);
        let reply = bench.run("JOB.LEDGER BY queue");
        let Reply::Array(namespaces) = field(&elements(&reply)[2], "namespaces") else { panic!() };
        assert_eq!(["scheduled", "retrying"].map(|name| figure(&namespaces[0], name)), [0, 1]);
        assert_eq!(["dead_set", "failed"].map(|name| figure(&namespaces[0], name)), [0, 0]);
    }

    #[test]
    fn what_is_held_is_told_where_it_is_all_or_none() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", ["1", "2"]);
        let held = |bench: &mut Bench| {
            let reply = bench.run("JOB.LEDGER");
            (field(&elements(&reply)[0], "held"), field(&elements(&reply)[1], "held"))
        };
        assert_eq!(held(&mut bench), (Reply::Integer(0), Reply::Integer(0)));
        bench.run("JOB.PAUSE a CLASS X NAME part");
        assert_eq!(held(&mut bench), (Reply::Null, Reply::Null));
        bench.run("JOB.PAUSE a NAME whole");
        assert_eq!(held(&mut bench), (Reply::Integer(2), Reply::Integer(2)));
    }

    #[test]
    fn by_class_only_what_waits_is_known() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", [r#"{"class":"A"}"#, r#"{"class":"B"}"#, r#"{"class":"B"}"#]);
        let reply = tell(&mut bench, "JOB.LEDGER BY class");
        let [b, a] = elements(&reply) else { panic!("{reply:?}") };
        assert_eq!((field(b, "class"), figure(b, "pending")), (text("B"), 2));
        assert_eq!((field(a, "class"), field(a, "popped")), (text("A"), Reply::Null));
        let error = bench.run("JOB.LEDGER BY tenant");
        assert_eq!(error, Reply::Error(Error::constant("ERR BY takes queue or class, not 'tenant'")));
    }
}
