//! JOB.EXPLAIN: why the jobs at the front of a queue are handed out, or are not.

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{List, QueueId, Side, Slot};
use crate::resp::Reply;
use crate::sched::{Held, Limits, PAUSED_BY_SET, QueueRules, Verdict};

use super::sample::reading::one_list;
use super::serve::{index_of, pop_end, rules_of};
use super::{READ, SINCE, known, map, number, tenant, text};
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

/// Jobs of the front that are shown.
const HEAD_MAX: usize = 10;
/// Lanes that are shown.
const LANES_MAX: usize = 10;

pub const COMMANDS: &[Command] = &[Command {
    name: "job.explain",
    run: explain,
    syntax: "queue",
    summary: "Returns why the jobs at the end that workers pop from are, or are not, handed out, and by which rule.",
    since: SINCE,
    group: Group::Job,
    complexity: "O(N+C) where N is the number of rules and C the number of chunks that are known to be held.",
    flags: READ,
    keys: Keys::None,
    examples: &["JOB.EXPLAIN default", "RPUSH queue:default '{\"class\":\"A\"}'", "JOB.EXPLAIN default"],
}];

fn explain(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (key, slot) = one_list(context, &request[1])?;
    let front = match slot {
        Some(slot) => Front::of(context, slot)?,
        None => Front::default(),
    };
    let end = front.end.map_or(Reply::Null, |end| text(if end == Side::Left { "left" } else { "right" }));
    Ok(map(vec![
        ("queue", text(&key)),
        ("length", number(front.length)),
        ("pop_end", end),
        ("paused", front.paused.as_ref().map_or(Reply::Null, text)),
        ("rules", rules_covering(context, &key, front.paused.as_deref())),
        ("held_from_pop_end", number(front.held)),
        ("head", Reply::Array(front.head)),
        ("lanes", front.lanes.map_or(Reply::Null, Reply::Array)),
        ("sweeping", Reply::flag(is_swept(context, &key))),
        ("waiting_workers", known(None)),
    ]))
}

/// The end of a queue that workers pop from.
#[derive(Default)]
struct Front {
    length: u64,
    end: Option<Side>,
    paused: Option<String>,
    /// Jobs from the end on that are known not to go out.
    held: u64,
    head: Vec<Reply>,
    /// Of a queue that tenants share: whose turn it is next.
    lanes: Option<Vec<Reply>>,
}

impl Front {
    fn of(context: &mut Context, slot: Slot) -> Result<Front, Stop> {
        let payload = Bytes::copy_from_slice(context.keys.list_end(slot, Side::Right)?);
        let end = pop_end(context, slot, &payload);
        let ruled = rules_of(context, slot);
        let rules = ruled.as_ref().map(|(_, rules)| &**rules);
        let known = ruled.as_ref().and_then(|(id, _)| context.jobs.state(*id)?.held[index_of(end)]);
        let list = context.keys.list(slot);
        let (now_ms, now_ns) = (context.keys.now_ms(), context.now.mono.as_nanos() as u64);
        let (mut head, mut leading, mut none_goes) = (Vec::new(), 0, true);
        'chunks: for chunk in list.chunks_from(end, None) {
            if let Some(at) = chunk.missing() {
                return Err(context.keys.missing_chunk(slot, at).into());
            }
            for (_, item) in chunk.items() {
                if head.len() == HEAD_MAX {
                    break 'chunks;
                }
                let (verdict, by) = judged(rules, &context.jobs.limits, item, now_ms, now_ns);
                none_goes &= by.is_some();
                leading += u64::from(none_goes);
                head.push(shown(head.len() as u64, item, verdict, by));
            }
        }
        let paused = rules.and_then(|rules| rules.paused.as_ref()).map(|name| name.to_string());
        let held = match (&paused, known) {
            (Some(_), _) => list.len(),
            (None, Some(held)) if none_goes => leading.max(held_count(list, end, held)),
            _ => leading,
        };
        let length = list.len();
        let lanes = ruled.as_ref().and_then(|(id, rules)| lanes(context, *id, rules));
        Ok(Front { length, end: Some(end), paused, held, head, lanes })
    }
}

/// Whose turn it is next.
fn lanes(context: &mut Context, id: QueueId, rules: &QueueRules) -> Option<Vec<Reply>> {
    let lanes = &context.jobs.state(id)?.shared.as_ref().filter(|_| rules.has_lanes())?.lanes;
    Some(lanes.turns(LANES_MAX).map(|lane| tenant::shown(&lane, rules)).collect())
}

/// What becomes of a job, and the rule that says so.
pub fn judged<'a>(
    rules: Option<&'a QueueRules>,
    limits: &Limits,
    item: &[u8],
    now_ms: u64,
    now_ns: u64,
) -> (&'static str, Option<&'a str>) {
    let Some(rules) = rules else { return ("deliver", None) };
    match rules.verdict(item, now_ms, None) {
        Verdict::Take(index) => ("taken", Some(&rules.taking(index).name)),
        _ if rules.paused.is_some() => ("held", rules.paused.as_deref()),
        Verdict::Hold(index) => ("held", Some(rules.holding(index))),
        Verdict::Deliver => match limits.closed(&rules.gates(&Job::new(item), now_ms), rules, now_ns) {
            Some(gate) => ("held", rules.limit_of(gate)),
            None => ("deliver", None),
        },
    }
}

fn shown(position: u64, item: &[u8], verdict: &'static str, by: Option<&str>) -> Reply {
    let job = Job::new(item);
    let or_nil = |value: Option<&str>| value.map_or(Reply::Null, text);
    map(vec![
        ("position", number(position)),
        ("class", or_nil(job.class().as_deref())),
        ("tenant", or_nil(job.tenant().as_deref())),
        ("id", or_nil(job.id().as_deref())),
        ("verdict", text(verdict)),
        ("by", or_nil(by)),
    ])
}

/// How many jobs lie between the end and the innermost one that is known to be held, itself included.
fn held_count(list: &List, end: Side, held: Held) -> u64 {
    let is_behind = |ordinal: u64| if end == Side::Left { ordinal > held.inner } else { ordinal < held.inner };
    let mut count = 0;
    for chunk in list.chunks_from(end, None) {
        if !is_behind(chunk.last()) {
            count += chunk.live();
            continue;
        }
        if chunk.missing().is_none() {
            count += chunk.items().take_while(|(ordinal, _)| !is_behind(*ordinal)).count() as u64;
        }
        break;
    }
    count
}

/// The rules that speak of jobs of a queue, oldest first.
fn rules_covering(context: &Context, key: &[u8], paused: Option<&str>) -> Reply {
    let shown = |kind: &str, name: &str| map(vec![("kind", text(kind)), ("name", text(name))]);
    let rules = context.jobs.rules.of(context.keys.selected()).iter();
    let covering = rules.filter(|rule| rule.predicate().covers_queue(key));
    let by_set = paused.filter(|name| *name == PAUSED_BY_SET).map(|name| shown("pause", name));
    Reply::Array(covering.map(|rule| shown(rule.kind_name(), &rule.name)).chain(by_set).collect())
}

/// Tells whether the sweeper is at work for one of the rules of a queue.
fn is_swept(context: &Context, key: &[u8]) -> bool {
    let database = context.keys.selected();
    let mut rules = context.jobs.rules.of(database).iter().filter(|rule| rule.predicate().covers_queue(key));
    rules.any(|rule| context.host.sweep_of(database, rule.number).sweeping)
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;

    use super::*;

    fn verdicts(reply: &Reply) -> Vec<String> {
        let Reply::Array(head) = field(reply, "head") else { panic!("{reply:?}") };
        let told = |job: &Reply, name| match field(job, name) {
            Reply::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
            Reply::Null => "-".into(),
            other => panic!("{other:?}"),
        };
        head.iter().map(|job| format!("{} {} {}", told(job, "class"), told(job, "verdict"), told(job, "by"))).collect()
    }

    #[test]
    fn the_front_is_explained_job_by_job() {
        let mut bench = bench(1000);
        let job = |class: &str| format!(r#"{{"class":"{class}","jid":"{class}","tenant_id":7}}"#);
        push(&mut bench, "queue:a", ["Bad", "Slow", "Good", "Slow"].map(job));
        bench.run("JOB.BLACKHOLE ADD imp CLASS Bad");
        bench.run("JOB.PAUSE a CLASS Slow NAME slow");
        let reply = bench.run("JOB.EXPLAIN a");
        assert_eq!(verdicts(&reply), ["Bad taken imp", "Slow held slow", "Good deliver -", "Slow held slow"]);
        assert_eq!(field(&reply, "pop_end"), text("right"));
        assert_eq!((figure(&reply, "length"), figure(&reply, "held_from_pop_end")), (4, 2));
        let Reply::Array(rules) = field(&reply, "rules") else { panic!() };
        assert_eq!(rules.len(), 2);
        bench.run("JOB.PAUSE a NAME all");
        let reply = bench.run("JOB.EXPLAIN a");
        assert_eq!(field(&reply, "paused"), text("all"));
        assert_eq!(figure(&reply, "held_from_pop_end"), 4);
        assert_eq!(verdicts(&reply), ["Bad taken imp", "Slow held all", "Good held all", "Slow held all"]);
    }

    #[test]
    fn a_set_that_pauses_is_a_rule_too() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", ["x"]);
        bench.run("SADD paused a");
        let reply = bench.run("JOB.EXPLAIN a");
        assert_eq!(field(&reply, "paused"), text(PAUSED_BY_SET));
        let Reply::Array(rules) = field(&reply, "rules") else { panic!() };
        assert_eq!(field(&rules[0], "name"), text(PAUSED_BY_SET));
        assert_eq!(verdicts(&reply), ["- held sidekiq:paused"]);
    }

    #[test]
    fn what_pops_have_found_to_be_held_is_counted() {
        let mut bench = bench(200);
        let job = |class: &str, number: u32| format!(r#"{{"class":"{class}","jid":"{number}"}}"#);
        push(&mut bench, "queue:a", (0..40).map(|number| job("Slow", number)));
        push(&mut bench, "queue:a", [job("Good", 1), job("Good", 2)]);
        bench.run("JOB.PAUSE a CLASS Slow NAME slow");
        assert_eq!(figure(&bench.run("JOB.EXPLAIN a"), "held_from_pop_end"), 10);
        assert_eq!(bench.run("RPOP queue:a"), text(job("Good", 1)));
        let reply = bench.run("JOB.EXPLAIN a");
        assert_eq!(figure(&reply, "held_from_pop_end"), 40);
        assert_eq!(figure(&reply, "length"), 41);
    }

    #[test]
    fn a_queue_without_rules_hands_out_everything() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", (0..12).map(|number| format!("job {number}")));
        let reply = bench.run("JOB.EXPLAIN a");
        assert_eq!(verdicts(&reply), ["- deliver -"; 10]);
        assert_eq!(field(&reply, "pop_end"), text("left"));
        assert_eq!(field(&reply, "rules"), Reply::Array(vec![]));
        assert_eq!(field(&reply, "waiting_workers"), Reply::Null);
    }
}
