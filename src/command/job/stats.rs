//! JOB.STATS: what waits, by queue, class or tenant, without reading it.
//!
//! Chunks that went to disk have summaries. Of the others a few jobs each are looked at, and stand for the rest of their chunk:
//! then the figures are estimates, as they are where chunks with summaries were partly consumed.

mod survey;

use bytes::Bytes;

use crate::job::{Job, namespace_of};
use crate::keyspace::{Kind, Side};
use crate::resp::{Error, Reply};
use crate::sched::{Held, Verdict};

use self::survey::{Row, Survey};
use super::sample::reading::{Next, Reading, queues_called, read};
use super::serve::{index_of, pop_end, rules_of};
use super::{READ, SINCE, known, map, number, text_of};
use crate::command::argument::{is, not_negative};
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

/// Rows that are shown if it is not said, and at the most.
const TOP_DEFAULT: usize = 20;
const TOP_MAX: u64 = 1_000;
/// Jobs from the pop end on among which the first one is looked for that may be handed out.
const HEAD_MAX: usize = 64;
pub const COMMANDS: &[Command] = &[Command {
    name: "job.stats",
    run: stats,
    syntax: "[QUEUE glob] [BY <class | tenant | queue>] [SORT column] [TOP count]",
    summary: "Returns what waits, by queue, class or tenant; ages in milliseconds, nil where something is not known.",
    since: SINCE,
    group: Group::Job,
    complexity: "O(C) where C is the number of chunks; at most 8000 jobs are looked at.",
    flags: READ,
    keys: Keys::None,
    examples: &[
        "JOB.STATS",
        "RPUSH queue:default '{\"class\":\"A\"}'",
        "JOB.STATS BY class",
        "JOB.STATS QUEUE default BY tenant SORT pending TOP 5",
        "JOB.STATS SORT x",
    ],
}];

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum By {
    #[default]
    Queue,
    Class,
    Tenant,
}

/// What rows are sorted by, the largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Pending,
    Held,
    Bytes,
    Oldest,
    OldestEligible,
}

const COLUMNS: &[(&str, Column)] = &[
    ("pending", Column::Pending),
    ("held", Column::Held),
    ("bytes", Column::Bytes),
    ("oldest", Column::Oldest),
    ("oldest_eligible", Column::OldestEligible),
];

fn stats(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (mut glob, mut by, mut sort, mut top) = (&b"*"[..], By::Queue, Column::Pending, TOP_DEFAULT);
    for option in request[1..].chunks(2) {
        let (name, value) = (&option[0], option.get(1));
        let known = ["queue", "by", "sort", "top"].iter().any(|known| is(name, known));
        let wrong = |takes: &str, value: &[u8]| {
            let (name, value) = (text_of(name).to_uppercase(), String::from_utf8_lossy(value));
            Error::new(format!("ERR {name} takes {takes}, not '{value}'"))
        };
        let value = match value {
            Some(value) if known => value,
            None if known => return Err(Error::new(format!("ERR {} needs a value", text_of(name))).into()),
            _ => {
                let name = text_of(name);
                return Err(
                    Error::new(format!("ERR '{name}' is no option here; there are QUEUE, BY, SORT, TOP")).into()
                );
            }
        };
        if is(name, "queue") {
            glob = value;
        } else if is(name, "by") {
            by = match () {
                () if is(value, "queue") => By::Queue,
                () if is(value, "class") => By::Class,
                () if is(value, "tenant") => By::Tenant,
                () => return Err(wrong("class, tenant or queue", value).into()),
            };
        } else if is(name, "sort") {
            let column = COLUMNS.iter().find(|(column, _)| is(value, column));
            let names: Vec<&str> = COLUMNS.iter().map(|(column, _)| *column).collect();
            sort = column.ok_or_else(|| wrong(&format!("one of {}", names.join(", ")), value))?.1;
        } else {
            let count = not_negative(value).ok().filter(|count| (1..=TOP_MAX).contains(count));
            top = count.ok_or_else(|| wrong(&format!("a number from 1 to {TOP_MAX}"), value))? as usize;
        }
    }
    let answer = move |survey: &mut Survey, context: &mut Context| rows_shown(context, survey, sort, top);
    let tell = Tell::new(context, glob, by, answer);
    read(context, tell)
}

/// How many jobs of each class wait in this database, the most first, each as `row` says.
pub fn pending_by_class(context: &mut Context, row: fn(Reply, u64, bool) -> Reply) -> Outcome {
    let answer = move |survey: &mut Survey, context: &mut Context| {
        survey.settle(context);
        sort_by(&mut survey.rows, Column::Pending);
        let rows = survey.rows.iter().take(TOP_MAX as usize);
        let shown = |each: &Row| row(each.shown_name(), each.pending.round() as u64, survey.is_estimated);
        Reply::Array(rows.map(shown).collect())
    };
    let tell = Tell::new(context, b"*", By::Class, answer);
    read(context, tell)
}

/// A survey, and what is answered at its end.
struct Tell<F> {
    survey: Survey,
    answer: F,
}

impl<F: FnMut(&mut Survey, &mut Context) -> Reply> Reading for Tell<F> {
    fn see(&mut self, _ordinal: u64, _item: &[u8]) {}

    fn next(&mut self, context: &mut Context) -> Result<Next, Stop> {
        match self.survey.go_on(context) {
            Some(slot) => Ok(Next::Read(slot, Vec::new())),
            None => Ok(Next::Reply((self.answer)(&mut self.survey, context))),
        }
    }
}

impl<F: FnMut(&mut Survey, &mut Context) -> Reply> Tell<F> {
    fn new(context: &mut Context, glob: &[u8], by: By, answer: F) -> Tell<F> {
        let keys = queues_called(context, glob);
        Tell { survey: Survey::new(context, keys, by), answer }
    }
}

fn rows_shown(context: &mut Context, survey: &mut Survey, sort: Column, top: usize) -> Reply {
    survey.settle(context);
    if survey.by == By::Queue {
        // Only those that may be shown, unless what they are sorted by has to be found out first.
        if sort != Column::OldestEligible {
            sort_by(&mut survey.rows, sort);
            survey.rows.truncate(top);
        }
        survey.rows.iter_mut().for_each(|row| row.oldest_eligible_ms = first_eligible_ms(context, row));
    }
    sort_by(&mut survey.rows, sort);
    let (now_ms, by) = (context.keys.now_ms(), survey.by);
    let beside = Beside::of(context, survey.namespaces());
    let shown = |row: &Row| {
        let beside = if by == By::Queue { Beside::of(context, vec![namespace_of(&row.name).0]) } else { beside };
        let age = |at_ms: Option<u64>| known(at_ms.map(|at_ms| now_ms.saturating_sub(at_ms)));
        let mut columns = vec![
            (by.name(), row.shown_name()),
            ("pending", number(row.pending.round() as u64)),
            ("running", Reply::Null),
            ("scheduled", known(beside.scheduled)),
            ("retrying", known(beside.retrying)),
            ("dead", known(beside.dead)),
            ("held", known(row.held.map(|held| held.round() as u64))),
        ];
        let later = ["enqueued_s", "done_s", "failed_s", "wait_p50", "wait_p99", "run_p50", "run_p99"];
        columns.extend(later.map(|name| (name, Reply::Null)));
        columns.extend([
            ("oldest", age(row.oldest_ms.filter(|_| by == By::Queue))),
            ("oldest_eligible", age(row.oldest_eligible_ms)),
        ]);
        if by != By::Queue {
            // That of the chunk that its oldest job is in.
            columns.push(("oldest_at_most", age(row.oldest_ms)));
        }
        columns.extend([
            ("bytes", known(row.bytes.map(|bytes| bytes.round() as u64))),
            ("estimated", Reply::flag(survey.is_estimated)),
        ]);
        map(columns)
    };
    Reply::Array(survey.rows.iter().take(top).map(shown).collect())
}

/// Sorts rows, the largest first; what is not known comes last.
fn sort_by(rows: &mut [Row], column: Column) {
    let value = |row: &Row| match column {
        Column::Pending => Some(row.pending),
        Column::Held => row.held,
        Column::Bytes => row.bytes,
        // The oldest are those with the smallest time.
        Column::Oldest => row.oldest_ms.map(|at_ms| -(at_ms as f64)),
        Column::OldestEligible => row.oldest_eligible_ms.map(|at_ms| -(at_ms as f64)),
    };
    let value = |row: &Row| value(row).unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|one, other| value(other).total_cmp(&value(one)).then_with(|| one.name.cmp(&other.name)));
}

/// When the first job of a queue was enqueued that may be handed out, if that is easily found.
fn first_eligible_ms(context: &mut Context, row: &Row) -> Option<u64> {
    let slot = context.keys.find_kind(&row.name, Kind::List).ok()??;
    let Some((id, rules)) = rules_of(context, slot) else { return row.oldest_ms };
    if rules.paused.is_some() {
        return None;
    }
    let payload = context.keys.list(slot).end(Side::Right).unwrap_or_default().to_vec();
    let end = pop_end(context, slot, &payload);
    let known = context.jobs.state(id)?.held[index_of(end)];
    let list = context.keys.list(slot);
    let is_at_end = |held: &Held| match end {
        Side::Left => list.end_ordinal(end) >= held.outer,
        Side::Right => list.end_ordinal(end) <= held.outer,
    };
    let mut left = HEAD_MAX;
    for chunk in list.chunks_from(end, known.filter(is_at_end).map(|held| held.inner)) {
        if chunk.missing().is_some() {
            return None;
        }
        for (_, item) in chunk.items() {
            if rules.verdict(item, context.keys.now_ms(), None) == Verdict::Deliver {
                return Job::new(item).enqueued_ms();
            }
            left = left.checked_sub(1)?;
        }
    }
    None
}

/// Jobs in the sets beside the queues. Whose they are is not known unless there are none.
#[derive(Debug, Clone, Copy)]
struct Beside {
    scheduled: Option<u64>,
    retrying: Option<u64>,
    dead: Option<u64>,
}

impl Beside {
    fn of(context: &Context, namespaces: Vec<&[u8]>) -> Beside {
        let none = |set: &[u8]| {
            let length = |namespace: &&[u8]| context.keys.length(&[namespace, set].concat());
            namespaces.iter().all(|namespace| length(namespace) == Some(0)).then_some(0)
        };
        Beside { scheduled: none(b"schedule"), retrying: none(b"retry"), dead: none(b"dead") }
    }
}

impl By {
    fn name(self) -> &'static str {
        match self {
            By::Queue => "queue",
            By::Class => "class",
            By::Tenant => "tenant",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::super::text;
    use super::*;
    use crate::command::testing::START_MS;

    fn job(class: &str, tenant: u64, age_ms: u64) -> String {
        format!(r#"{{"class":"{class}","jid":"x","tenant_id":{tenant},"enqueued_at":{}}}"#, START_MS - age_ms)
    }

    /// A queue of classes A, half as many B, and one that is no job.
    fn filled() -> Bench {
        let mut bench = bench(500);
        let class = |number: u64| if number.is_multiple_of(3) { "B" } else { "A" };
        push(&mut bench, "queue:a", (0..60).map(|number| job(class(number), number % 2, 1000 - number)));
        push(&mut bench, "queue:a", ["no job"]);
        push(&mut bench, "queue:b", [job("C", 9, 5)]);
        bench
    }

    #[track_caller]
    fn check(bench: &mut Bench, line: &str, name: &str, columns: &[&str], expected: &[(Option<&str>, &[i64])]) {
        let reply = tell(bench, line);
        let rows = elements(&reply);
        assert_eq!(rows.len(), expected.len(), "{line}: {rows:?}");
        for (row, (of, numbers)) in rows.iter().zip(expected) {
            assert_eq!(field(row, name), of.map_or(Reply::Null, text), "{line}");
            let found: Vec<i64> = columns.iter().map(|column| figure(row, column)).collect();
            assert_eq!(found, *numbers, "{line}: {columns:?} of {of:?}");
        }
    }

    #[test]
    fn queues_are_told_with_what_waits_in_them() {
        let mut bench = filled();
        let columns = ["pending", "held", "oldest", "oldest_eligible", "scheduled", "estimated"];
        let a: (_, &[i64]) = (Some("queue:a"), &[61, 0, 1000, 1000, 0, 0]);
        let b: (_, &[i64]) = (Some("queue:b"), &[1, 0, 5, 5, 0, 0]);
        check(&mut bench, "JOB.STATS", "queue", &columns, &[a, b]);
        check(&mut bench, "JOB.STATS TOP 1", "queue", &columns, &[a]);
        check(&mut bench, "JOB.STATS QUEUE b", "queue", &columns, &[b]);
        let reply = tell(&mut bench, "JOB.STATS QUEUE b");
        assert_eq!(figure(&elements(&reply)[0], "bytes"), job("C", 9, 5).len() as i64);
        assert_eq!(field(&elements(&reply)[0], "running"), Reply::Null);
        summarize(&mut bench);
        check(&mut bench, "JOB.STATS SORT oldest", "queue", &columns, &[a, b]);
        bench.run("ZADD schedule 1 x");
        assert_eq!(field(&elements(&tell(&mut bench, "JOB.STATS"))[0], "scheduled"), Reply::Null);
    }

    #[test]
    fn what_is_held_is_not_eligible() {
        let mut bench = filled();
        bench.run("JOB.PAUSE a CLASS B NAME b");
        let reply = tell(&mut bench, "JOB.STATS QUEUE a");
        let row = &elements(&reply)[0];
        assert_eq!((figure(row, "oldest"), figure(row, "oldest_eligible")), (1000, 999));
        assert_eq!(field(row, "held"), Reply::Null);
        bench.run("JOB.PAUSE a NAME all");
        let reply = tell(&mut bench, "JOB.STATS QUEUE a");
        let row = &elements(&reply)[0];
        assert_eq!((figure(row, "held"), field(row, "oldest_eligible")), (61, Reply::Null));
        check(&mut bench, "JOB.STATS BY class TOP 1", "class", &["pending", "held"], &[(Some("A"), &[40, 40])]);
    }

    #[test]
    fn classes_and_tenants_are_counted_with_and_without_summaries() {
        let classes: [(_, &[i64]); 4] = [
            (Some("A"), &[40, 999, 0]),
            (Some("B"), &[20, 1000, 0]),
            (Some("-"), &[1, 952, 0]),
            (Some("C"), &[1, 5, 0]),
        ];
        let columns = ["pending", "oldest_at_most", "estimated"];
        let mut bench = filled();
        let reply = tell(&mut bench, "JOB.STATS BY class");
        assert_eq!(elements(&reply).len(), 4);
        check(&mut bench, "JOB.STATS BY class TOP 2", "class", &columns, &classes[..2]);
        summarize(&mut bench);
        let counts: Vec<(_, &[i64])> = classes.iter().map(|(name, numbers)| (*name, &numbers[..1])).collect();
        check(&mut bench, "JOB.STATS BY class", "class", &["pending"], &counts);
        let tenants: [(_, &[i64]); 4] =
            [(Some("0"), &[30, 0]), (Some("1"), &[30, 0]), (Some("-"), &[1, 0]), (Some("9"), &[1, 0])];
        check(&mut bench, "JOB.STATS BY tenant", "tenant", &["pending", "estimated"], &tenants);
    }

    #[test]
    fn a_chunk_that_was_partly_consumed_counts_in_part() {
        let mut bench = bench(10_000);
        push(&mut bench, "queue:a", (0..200).map(|number| job(if number % 2 == 0 { "A" } else { "B" }, 1, number)));
        summarize(&mut bench);
        bench.run("RPOP queue:a 10");
        let reply = tell(&mut bench, "JOB.STATS BY class");
        let pending: i64 = elements(&reply).iter().map(|row| figure(row, "pending")).sum();
        assert!((189..=191).contains(&pending), "{reply:?}");
        assert_eq!(figure(&elements(&reply)[0], "estimated"), 1);
    }

    #[test]
    fn classes_that_no_summary_names_are_told_as_others() {
        let mut bench = bench(10_000);
        push(&mut bench, "queue:a", (0..400).map(|number| job(&format!("C{}", number % 20), 1, 5)));
        summarize(&mut bench);
        let reply = tell(&mut bench, "JOB.STATS BY class TOP 30");
        let pending: i64 = elements(&reply).iter().map(|row| figure(row, "pending")).sum();
        assert_eq!(pending, 400);
        assert_eq!(field(&elements(&reply)[0], "class"), Reply::Null);
        assert_eq!(figure(&elements(&reply)[0], "estimated"), 1);
    }

    #[test]
    fn a_long_queue_without_summaries_is_estimated_from_some_jobs() {
        let mut bench = bench(10_000);
        push(&mut bench, "queue:a", (0..20_000).map(|number| job(if number % 5 == 0 { "A" } else { "B" }, 1, 5)));
        let reply = tell(&mut bench, "JOB.STATS BY class");
        let [b, a] = elements(&reply) else { panic!("{reply:?}") };
        let (b, a, estimated) = (figure(b, "pending"), figure(a, "pending"), figure(a, "estimated"));
        assert!((19_999..=20_001).contains(&(a + b)) && (3_600..4_400).contains(&a) && estimated == 1, "{reply:?}");
    }

    #[test]
    fn a_wrong_option_is_named() {
        #[track_caller]
        fn check(options: &str, error: &str) {
            let reply = bench(64).run(&format!("JOB.STATS {options}"));
            assert_eq!(reply, Reply::Error(Error::new(error.to_owned())), "{options}");
        }
        check("BY x", "ERR BY takes class, tenant or queue, not 'x'");
        check("TOP 0", "ERR TOP takes a number from 1 to 1000, not '0'");
        check("SORT x", "ERR SORT takes one of pending, held, bytes, oldest, oldest_eligible, not 'x'");
        check("TOP", "ERR TOP needs a value");
        check("FOO 1", "ERR 'FOO' is no option here; there are QUEUE, BY, SORT, TOP");
    }
}
