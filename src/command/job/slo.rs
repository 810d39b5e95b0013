//! JOB.SLO: what jobs are promised, and the order in which queues are served for it.

use bytes::Bytes;

use crate::job::{Holding, Job};
use crate::keyspace::{Kind as Type, Side};
use crate::resp::{Error, Reply};
use crate::sched::{Kind, Level, QueueRules, Rule, Slo};

use super::registry::{self, Change, maker};
use super::rules::described;
use super::sample::reading::queues;
use super::serve::{pop_end, rules_of};
use super::{CHANGE, READ, SINCE, container, help_of, known, map, number, share, text, text_of, words};
use crate::command::argument::not_negative;
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

const KIND: &str = "slo";
const ORDER: &str = "order";
/// Queues that STATUS looks into for each level, and chunks and jobs of one in which it looks for the oldest job.
const QUEUES_MAX: usize = 1_000;
const CHUNKS_MAX: usize = 256;
const JOBS_MAX: usize = 2_000;
/// Jobs that VIOLATIONS tells of when it is not asked for more.
const LATE_DEFAULT: u64 = 20;

pub const COMMANDS: &[Command] = &[
    container(
        "job.slo",
        SINCE,
        Group::Job,
        "A container for service levels: how long jobs may wait, and who is next when they do.",
        &["JOB.SLO", "JOB.SLO NOSUCH"],
    ),
    Command {
        name: "job.slo|set",
        run: set,
        syntax: "name predicate WITHIN duration [WEIGHT weight] [EXPIRES duration] [RUNTIME duration] [OWNER team] [EXPIRE duration] [COMMENT text] [REPLACE]",
        summary: "Promises matching jobs to begin within a time. Of several levels that match a job the tightest counts; after EXPIRES a job goes to a quarantine. RUNTIME and OWNER are for people, who see them in STATUS.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &[
            "JOB.SLO SET mail CLASS MailJob WITHIN 30s WEIGHT 2 OWNER growth",
            "JOB.SLO SET mail CLASS MailJob WITHIN 30s",
            "JOB.SLO SET fresh QUEUE fresh ALL WITHIN 1m EXPIRES 10m",
            "JOB.SLO SET none CLASS MailJob",
            "JOB.SLO SET none CLASS MailJob WITHIN 1m EXPIRES 1s",
        ],
    },
    Command {
        name: "job.slo|order",
        run: order,
        syntax: "queue-glob <strict | slack> [EXPIRE duration] [COMMENT text]",
        summary: "Says how the queues of one pop and the levels in one queue are served: as asked, or the job first that has used most of its time, in overload by weight.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.SLO ORDER default slack", "JOB.SLO ORDER default strict", "JOB.SLO ORDER default x"],
    },
    Command {
        name: "job.slo|list",
        run: list,
        syntax: "",
        summary: "Returns all service levels and orders of this database, oldest first.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.SLO LIST"],
    },
    Command {
        name: "job.slo|status",
        run: status,
        syntax: "",
        summary: "Returns of each level how long its oldest job waits, in percent of what it was promised, and how many began too late since the start.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N*M) where N is the number of levels and M the number of queues; of each the first 2,000 jobs are looked at.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.SLO STATUS"],
    },
    Command {
        name: "job.slo|violations",
        run: violations,
        syntax: "[count]",
        summary: "Returns jobs that had waited too long when they began, newest first. The last 1,000 are remembered until a restart.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of jobs returned.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.SLO VIOLATIONS", "JOB.SLO VIOLATIONS 5", "JOB.SLO VIOLATIONS x"],
    },
    Command {
        name: "job.slo|del",
        run: delete,
        syntax: "name",
        summary: "Ends a service level, or else the order of the queues that it names.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.SLO DEL none"],
    },
    help_of("job.slo|help", SINCE, Group::Job, &["JOB.SLO HELP"]),
];

fn set(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, manner) = words::parse_with_manner(request, maker(context))?;
    if manner.dry_run {
        let what = "ERR a service level has no DRYRUN; JOB.INSPECT tells what a predicate matches";
        return Err(Error::constant(what).into());
    }
    let undo = format!("JOB.SLO DEL {}", words::quoted(&rule.name));
    registry::make(context, rule, manner.replace, undo)
}

fn order(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, _) = words::parse_with_manner(request, maker(context))?;
    let undo = format!("JOB.RULES DEL {ORDER} {}", words::quoted(&rule.name));
    // An order is set, and set again.
    registry::make(context, rule, true, undo)
}

fn list(context: &mut Context, _request: &[Bytes]) -> Outcome {
    let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
    let is_shown = |rule: &&Rule| matches!(rule.kind, Kind::Slo(_) | Kind::Order(_));
    let rules = context.jobs.rules.of(database).iter().filter(is_shown);
    Ok(Reply::Array(rules.map(|rule| described(rule, now_ms)).collect()))
}

fn delete(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (name, database) = (text_of(&request[2]), context.keys.selected());
    let find = |kind| context.jobs.rules.find(database, kind, &name);
    let Some(rule) = find(KIND).or_else(|| find(ORDER)).cloned() else {
        return Err(Error::new(format!("NORULE no service level is called '{name}' in this database")).into());
    };
    let change = Change {
        what: format!("JOB.SLO DEL {}", words::quoted(&name)),
        undo: words::line(&rule, context.keys.now_ms()),
    };
    registry::remove(context, rule.kind_name(), &name, change)?;
    Ok(map(vec![("name", text(&name))]))
}

fn violations(context: &mut Context, request: &[Bytes]) -> Outcome {
    let count = request.get(2).map_or(Ok(LATE_DEFAULT), |count| not_negative(count))?;
    let database = context.keys.selected();
    let names: Vec<(u64, String)> = context
        .jobs
        .rules
        .of(database)
        .iter()
        .map(|rule| (Level::number_of_rule(rule.number), rule.name.clone()))
        .collect();
    let late = context.jobs.promises.late(database).take(count as usize).map(|late| {
        let name = names.iter().find(|(level, _)| *level == late.level.id);
        map(vec![
            ("at", number(late.at_ms)),
            // A level that jobs ask for themselves has no name.
            ("level", name.map_or(Reply::Null, |(_, name)| text(name))),
            ("queue", text(&late.queue)),
            ("waited_ms", number(late.waited_ms)),
            ("within_ms", number(late.level.within_ms)),
        ])
    });
    Ok(Reply::Array(late.collect()))
}

fn status(context: &mut Context, _request: &[Bytes]) -> Outcome {
    let database = context.keys.selected();
    let rules = context.jobs.rules.of(database).iter();
    let levels: Vec<(Rule, Slo)> = rules
        .filter_map(|rule| match &rule.kind {
            Kind::Slo(slo) => Some((rule.clone(), slo.clone())),
            _ => None,
        })
        .collect();
    let mut all = Vec::with_capacity(levels.len());
    for (rule, slo) in levels {
        all.push(status_of(context, &rule, &slo)?);
    }
    Ok(Reply::Array(all))
}

fn status_of(context: &mut Context, rule: &Rule, slo: &Slo) -> Outcome {
    let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
    let covered = queues(context, |key| slo.predicate.covers_queue(key));
    let (mut oldest, mut eligible, mut exact, mut by_slack) = (None, None, covered.len() <= QUEUES_MAX, 0);
    for key in covered.iter().take(QUEUES_MAX) {
        let Some(found) = oldest_in(context, key, rule.number)? else { continue };
        oldest = oldest.max(found.oldest_ms);
        eligible = eligible.max(found.eligible_ms);
        exact &= found.exact;
        by_slack += u64::from(found.by_slack);
    }
    let kept = context.jobs.promises.of_rule(database, rule.number);
    let percent = |waited_ms: u64| waited_ms as f64 * 100.0 / slo.within_ms as f64;
    let is_overloaded = context.jobs.slack(database).is_overloaded(now_ms);
    Ok(map(vec![
        ("name", text(&rule.name)),
        ("owner", slo.owner.as_ref().map_or(Reply::Null, text)),
        ("within_ms", number(slo.within_ms)),
        ("weight", Reply::Double(slo.weight)),
        ("runtime_ms", known(slo.runtime_ms)),
        ("queues", number(covered.len() as u64)),
        ("queues_by_slack", number(by_slack)),
        ("overloaded", if by_slack > 0 { Reply::flag(is_overloaded) } else { Reply::Null }),
        ("oldest_ms", known(oldest)),
        ("oldest_eligible_ms", known(eligible)),
        ("age_percent", oldest.map_or(Reply::Null, |waited_ms| Reply::Double(percent(waited_ms)))),
        ("exact", Reply::flag(exact)),
        ("begun", number(kept.begun)),
        ("late", number(kept.late)),
        ("longest_ms", number(kept.longest_ms)),
    ]))
}

/// The jobs of a level in one queue.
struct Oldest {
    /// How long the one has waited that waits the longest, and of those that may go.
    oldest_ms: Option<u64>,
    eligible_ms: Option<u64>,
    exact: bool,
    by_slack: bool,
}

/// Looks from the end that workers pop from for the first jobs of a level; none if the list is gone.
fn oldest_in(context: &mut Context, key: &[u8], rule: u64) -> Result<Option<Oldest>, Stop> {
    let Some(slot) = context.keys.find_kind(key, Type::List)? else { return Ok(None) };
    let Some((id, rules)) = rules_of(context, slot) else { return Ok(None) };
    let now_ms = context.keys.now_ms();
    let payload = context.keys.list(slot).end(Side::Right).map(<[u8]>::to_vec).unwrap_or_default();
    let end = pop_end(context, slot, &payload);
    let level = rules.level_of(Level::number_of_rule(rule));
    let state = context.jobs.state(id).expect("a queue with rules has a state");
    let arrivals = &state.arrivals;
    let mut found = Oldest { oldest_ms: None, eligible_ms: None, exact: true, by_slack: rules.slack };
    let mut left = JOBS_MAX;
    for chunk in context.keys.list(slot).chunks_from(end, None).take(CHUNKS_MAX) {
        if chunk.missing().is_some() {
            found.exact = false;
            let Some(summary) = chunk.summary() else { return Ok(Some(found)) };
            if holds_none(&rules, level, summary) {
                continue;
            }
            // It is not read for this: the oldest of its jobs stands for the level's.
            let waited_ms = summary.oldest_enqueued_ms().map(|since_ms| now_ms.saturating_sub(since_ms));
            found.oldest_ms = found.oldest_ms.max(waited_ms);
            found.eligible_ms = found.eligible_ms.max(waited_ms);
            return Ok(Some(found));
        }
        for (ordinal, item) in chunk.items() {
            let job = Job::new(item);
            left -= 1;
            if rules.level(&job, now_ms).id == level.id {
                let since_ms = share::since_ms(&job, arrivals, ordinal);
                let waited_ms = since_ms.map(|since_ms| now_ms.saturating_sub(since_ms));
                found.oldest_ms = found.oldest_ms.max(waited_ms);
                if rules.paused.is_none() && rules.verdict(item, now_ms, None) == crate::sched::Verdict::Deliver {
                    found.eligible_ms = waited_ms;
                    return Ok(Some(found));
                }
            }
            if left == 0 {
                found.exact = false;
                return Ok(Some(found));
            }
        }
    }
    Ok(Some(found))
}

/// Tells whether a part of a queue surely has no job of a level.
fn holds_none(rules: &QueueRules, level: Level, summary: &crate::job::Summary) -> bool {
    let promised = rules.promises().iter().find(|of| Level::number_of_rule(of.number) == level.id);
    promised.is_none_or(|of| of.slo.predicate.by_summary(&rules.key, summary) == Holding::None)
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    /// A job of Resque, which does not say when it came.
    fn job(class: &str, number: u32) -> String {
        format!(r#"{{"class":"{class}","args":[{number}]}}"#)
    }

    fn pushed(bench: &mut Bench, queue: &str, class: &str, count: u32) {
        for number in 0..count {
            let words = ["RPUSH", queue, &job(class, number)].map(|word| Bytes::copy_from_slice(word.as_bytes()));
            bench.request(&words).expect("there is room");
        }
    }

    /// Pops once; gives class and number.
    fn popped(bench: &mut Bench, line: &str) -> String {
        let job = match bench.send(line) {
            Reply::Bulk(job) => job,
            Reply::Array(jobs) if jobs.is_empty() => return String::new(),
            Reply::Array(jobs) if jobs.len() == 1 => match &elements(&jobs[0])[2] {
                Reply::Bulk(job) => job.clone(),
                other => panic!("{other:?}"),
            },
            Reply::Array(pair) => match &pair[1] {
                Reply::Bulk(job) => job.clone(),
                Reply::Array(jobs) => match &jobs[0] {
                    Reply::Bulk(job) => job.clone(),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            },
            Reply::Null | Reply::NullArray => return String::new(),
            other => panic!("{other:?}"),
        };
        let job: serde_json::Value = serde_json::from_slice(&job).expect("it is JSON");
        format!("{}{}", job["class"].as_str().expect("it has a class"), job["args"][0])
    }

    #[test]
    fn classes_of_one_queue_are_served_by_how_much_of_their_time_they_have_used() {
        let mut bench = bench(1000);
        bench.run("JOB.SLO SET mail CLASS Mail WITHIN 10s");
        bench.run("JOB.SLO SET report CLASS Report WITHIN 100s");
        bench.run("JOB.SLO ORDER q slack");
        pushed(&mut bench, "queue:q", "Report", 3);
        bench.pass_ms(20_000);
        pushed(&mut bench, "queue:q", "Mail", 2);
        assert_eq!(popped(&mut bench, "LPOP queue:q"), "Report0", "20 % against 0 %");
        bench.pass_ms(4_000);
        assert_eq!(popped(&mut bench, "LPOP queue:q"), "Mail0", "24 % against 40 %");
        let reply = bench.run("JOB.EXPLAIN q");
        let Reply::Array(lanes) = field(&reply, "lanes") else { panic!("{reply:?}") };
        let levels: Vec<Reply> = lanes.iter().map(|lane| field(lane, "level")).collect();
        assert!(levels.contains(&text("mail")) && levels.contains(&text("report")), "{levels:?}");
        bench.run("JOB.SLO ORDER q strict");
        assert_eq!(popped(&mut bench, "LPOP queue:q"), "Report1", "as it was asked");
        let reply = bench.run("JOB.SLO STATUS");
        let levels = elements(&reply);
        assert_eq!((figure(&levels[0], "oldest_ms"), figure(&levels[1], "oldest_ms")), (4_000, 24_000));
        assert_eq!(field(&levels[0], "age_percent"), Reply::Double(40.0));
        assert_eq!((figure(&levels[1], "begun"), figure(&levels[1], "late")), (2, 0));
    }

    #[test]
    fn the_keys_of_one_pop_are_served_by_slack_where_they_are_to_be_and_others_keep_their_places() {
        let pops =
            ["BLPOP queue:a queue:s queue:b 1", "LMPOP 3 queue:a queue:s queue:b LEFT", "JOB.RESERVE FROM a s b"];
        for pop in pops {
            let mut bench = bench(1000);
            bench.run("JOB.SLO SET a QUEUE a ALL WITHIN 100s");
            bench.run("JOB.SLO SET b QUEUE b ALL WITHIN 10s");
            for queue in ["a", "b"] {
                pushed(&mut bench, &format!("queue:{queue}"), queue, 2);
            }
            pushed(&mut bench, "queue:s", "s", 1);
            bench.pass_ms(5_000);
            assert_eq!(popped(&mut bench, pop), "a0", "strict is what Redis does");
            bench.run("JOB.SLO ORDER a slack");
            bench.run("JOB.SLO ORDER b slack");
            let order = [popped(&mut bench, pop), popped(&mut bench, pop), popped(&mut bench, pop)];
            assert_eq!(order, ["b0", "b1", "a1"]);
            assert_eq!(popped(&mut bench, pop), "s0");
        }
    }

    #[test]
    fn a_gate_that_opens_while_levels_are_compared_takes_no_turn_from_who_has_it() {
        let mut bench = bench(1000);
        bench.run("JOB.SLO SET mail CLASS Mail* WITHIN 10h");
        bench.run("JOB.SLO ORDER q slack");
        bench.run("JOB.LIMIT SET all CLASS Mail* CONCURRENCY 1");
        bench.run("JOB.LIMIT SET slow CLASS MailA RATE 1 PER 1h");
        let job = |class: &str, number: u32| {
            format!(r#"{{"class":"{class}","args":[{number}],"jid":"{class}{number}","enqueued_at":1700000000.0}}"#)
        };
        push(&mut bench, "queue:q", [job("MailA", 0)]);
        assert_eq!(popped(&mut bench, "RPOP queue:q"), "MailA0");
        push(&mut bench, "queue:q", [job("X", 0), job("MailA", 1), job("MailB", 0), job("X", 1), job("X", 2)]);
        bench.pass_ms(10_000);
        assert_eq!(popped(&mut bench, "RPOP queue:q"), "X0");
        bench.run("JOB.ACK MailA0");
        // The second of A has its turn and meets its rate, which lets B through while X stands to be chosen.
        let rest: Vec<String> = (0..4).map(|_| popped(&mut bench, "RPOP queue:q")).collect();
        assert_eq!(rest, ["X1", "X2", "MailB0", ""]);
    }

    #[test]
    fn jobs_say_themselves_what_they_are_promised_and_how_long_they_are_worth_doing() {
        let mut bench = bench(1000);
        bench.run("JOB.SLO ORDER q slack");
        bench.pass_ms(1_000_000);
        let job = |id: &str, more: &str| {
            format!(r#"{{"class":"A","jid":"{id}","args":[],{more}"enqueued_at":1700000990.0}}"#)
        };
        let jobs = [job("old", ""), job("soon", r#""slo":20,"#), job("gone", r#""expires_in":"5s","#)];
        push(&mut bench, "queue:q", jobs);
        let mut popped = || match bench.send("RPOP queue:q") {
            Reply::Bulk(job) => String::from_utf8_lossy(&job).split('"').nth(7).expect("it has an id").to_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!([popped(), popped(), popped()], ["soon", "old", "Null"]);
        bench.run("JOB.SLO SET all QUEUE q ALL WITHIN 1s EXPIRES 8s");
        push(&mut bench, "queue:q", [job("late", "")]);
        assert_eq!(bench.run("LLEN job:quarantine:all:queue:q"), number(1), "it came too late");
    }

    #[test]
    fn what_came_too_late_is_told_and_levels_are_rules_like_others() {
        let mut bench = bench(1000);
        bench.run("JOB.SLO SET mail CLASS Mail WITHIN 10s WEIGHT 2.5 RUNTIME 5m OWNER 'team a'");
        pushed(&mut bench, "queue:q", "Mail", 2);
        bench.pass_ms(10_001);
        assert_eq!(popped(&mut bench, "LPOP queue:q"), "Mail0");
        let reply = bench.run("JOB.SLO VIOLATIONS");
        let late = &elements(&reply)[0];
        assert_eq!((field(late, "level"), figure(late, "waited_ms")), (text("mail"), 10_001));
        bench.run("JOB.SLO ORDER q slack");
        let Reply::Verbatim(dump) = bench.run("JOB.CONFIG DUMP") else { panic!("a dump is text") };
        let dump = String::from_utf8_lossy(&dump).into_owned();
        let lines: Vec<&str> = dump.lines().collect();
        assert_eq!(
            lines,
            ["JOB.SLO SET mail CLASS Mail WITHIN 10s WEIGHT 2.5 RUNTIME 5m OWNER \"team a\"", "JOB.SLO ORDER q slack"]
        );
        bench.run("JOB.SLO DEL mail");
        bench.run("JOB.SLO DEL q");
        assert_eq!(bench.run("JOB.SLO LIST"), Reply::Array(Vec::new()));
    }
}
