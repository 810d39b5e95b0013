//! JOB.LIMIT: jobs that go out no faster than their target can bear, or no more of them at a time.

use bytes::Bytes;

use crate::resp::{Error, Reply};
use crate::sched::{Bounds, By, Gate, Kind, Limit, Rule};

use super::registry::{self, Change, maker};
use super::rules::described;
use super::{CHANGE, READ, SINCE, container, help_of, known, map, number, text, text_of, words};
use crate::command::argument::not_negative;
use crate::command::{Command, Context, Flag, Group, Keys, Outcome};

const KIND: &str = "limit";
/// Keys that GET shows: those with the most running, then those that wait the longest.
const KEYS_SHOWN: usize = 20;
/// Keys that GET looks at for that.
const KEYS_LOOKED_AT: usize = 100_000;

pub const COMMANDS: &[Command] = &[
    container(
        "job.limit",
        SINCE,
        Group::Job,
        "A container for limits on how fast jobs go out, and how many run at a time.",
        &["JOB.LIMIT", "JOB.LIMIT NOSUCH"],
    ),
    Command {
        name: "job.limit|set",
        run: set,
        syntax: "name predicate [BY <class | tenant | path>] [RATE jobs PER duration [BURST jobs]] [CONCURRENCY jobs] [EXPIRE duration] [COMMENT text] [REPLACE]",
        summary: "Limits how often matching jobs begin (GCRA), how many of them run at a time, or both. Others go past them.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &[
            "JOB.LIMIT SET partner CLASS SyncJob RATE 100 PER 1s",
            "JOB.LIMIT SET partner CLASS SyncJob RATE 100 PER 1s",
            "JOB.LIMIT SET shop CLASS Import* BY tenant CONCURRENCY 1",
            "JOB.LIMIT SET none CLASS SyncJob",
            "JOB.LIMIT SET none CLASS SyncJob RATE x PER 1s",
        ],
    },
    Command {
        name: "job.limit|get",
        run: get,
        syntax: "name [key]",
        summary: "Returns a limit, and how it stands: for one key, or for those with the most running jobs.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of keys that are not idle, 100,000 at the most.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.LIMIT GET none"],
    },
    Command {
        name: "job.limit|list",
        run: list,
        syntax: "",
        summary: "Returns all limits of this database, oldest first.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.LIMIT LIST"],
    },
    Command {
        name: "job.limit|del",
        run: delete,
        syntax: "name",
        summary: "Ends a limit; jobs that waited for it may go.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.LIMIT DEL none"],
    },
    Command {
        name: "job.limit|take",
        run: take,
        syntax: "name key [count]",
        summary: "Draws on the rate of a limit, for application code. Replies as CL.THROTTLE of redis-cell: limited, limit, remaining, seconds until a retry and until all is there again.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: &[Flag::Fast],
        keys: Keys::None,
        examples: &["JOB.LIMIT TAKE none a"],
    },
    help_of("job.limit|help", SINCE, Group::Job, &["JOB.LIMIT HELP"]),
];

fn set(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, manner) = words::parse_with_manner(request, maker(context))?;
    if manner.dry_run {
        return Err(Error::constant("ERR a limit has no DRYRUN; JOB.INSPECT tells what a predicate matches").into());
    }
    let undo = format!("JOB.LIMIT DEL {}", words::quoted(&rule.name));
    registry::make(context, rule, manner.replace, undo)
}

fn found(context: &Context, name: &Bytes) -> Result<(Rule, Limit), Error> {
    let name = text_of(name);
    match context.jobs.rules.find(context.keys.selected(), KIND, &name) {
        Some(rule @ Rule { kind: Kind::Limit(limit), .. }) => Ok((rule.clone(), limit.clone())),
        _ => Err(Error::new(format!("NORULE no limit is called '{name}' in this database"))),
    }
}

/// The gate of a key, which a limit that has no keys takes none of.
fn gate_of(rule: &Rule, limit: &Limit, key: &str) -> Gate {
    Gate::new(rule.number, limit.by.is_some().then_some(key))
}

fn get(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, limit) = found(context, &request[2])?;
    let now_ns = context.now.mono.as_nanos() as u64;
    let limits = &context.jobs.limits;
    let shown = |key: Reply, running: u32, ahead_ns: u64, room: u32| {
        let opens_ms =
            limit.bounds.rate.as_ref().map(|rate| ahead_ns.saturating_sub(rate.burst_ns()).div_ceil(1_000_000));
        map(vec![
            ("key", key),
            ("running", if limit.bounds.concurrency.is_some() { number(u64::from(running)) } else { Reply::Null }),
            ("may_begin", number(u64::from(room))),
            ("opens_in_ms", known(opens_ms)),
        ])
    };
    let mut keys = Vec::new();
    if let Some(key) = request.get(3) {
        let gate = gate_of(&rule, &limit, &text_of(key));
        let (running, ahead_ns) = limits.get(gate).map_or((0, 0), |state| (state.running, state.ahead_ns(now_ns)));
        keys.push(shown(text(key), running, ahead_ns, limits.room(gate, &limit.bounds, now_ns)));
    } else {
        let states = limits.of(rule.number).take(KEYS_LOOKED_AT);
        let mut states: Vec<_> = states.map(|state| (state.running, state.ahead_ns(now_ns), &state.key)).collect();
        states.sort_unstable_by(|one, other| other.cmp(one));
        for (running, ahead_ns, key) in states.into_iter().take(KEYS_SHOWN) {
            let room = limits.room(gate_of(&rule, &limit, key), &limit.bounds, now_ns);
            let key = if limit.by.is_some() { text(key.as_str()) } else { Reply::Null };
            keys.push(shown(key, running, ahead_ns, room));
        }
    }
    let Bounds { rate, concurrency } = &limit.bounds;
    Ok(map(vec![
        ("name", text(&rule.name)),
        ("rule", text(words::line(&rule, context.keys.now_ms()))),
        (
            "by",
            limit.by.as_ref().map_or(Reply::Null, |by| {
                text(match by {
                    By::Tenant => "tenant".to_owned(),
                    By::Path(path) => path.to_string(),
                })
            }),
        ),
        ("rate", rate.as_ref().map_or(Reply::Null, |rate| number(rate.jobs))),
        ("per_ms", rate.as_ref().map_or(Reply::Null, |rate| number(rate.per_ms))),
        ("burst", rate.as_ref().map_or(Reply::Null, |rate| number(u64::from(rate.burst)))),
        ("concurrency", concurrency.map_or(Reply::Null, |jobs| number(u64::from(jobs)))),
        ("keys", Reply::Array(keys)),
    ]))
}

fn list(context: &mut Context, _request: &[Bytes]) -> Outcome {
    let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
    let rules = context.jobs.rules.of(database).iter().filter(|rule| matches!(rule.kind, Kind::Limit(_)));
    Ok(Reply::Array(rules.map(|rule| described(rule, now_ms)).collect()))
}

fn delete(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, _) = found(context, &request[2])?;
    let change = Change {
        what: format!("JOB.LIMIT DEL {}", words::quoted(&rule.name)),
        undo: words::line(&rule, context.keys.now_ms()),
    };
    registry::remove(context, KIND, &rule.name, change)?;
    Ok(map(vec![("name", text(&rule.name))]))
}

fn take(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, limit) = found(context, &request[2])?;
    let Some(rate) = &limit.bounds.rate else {
        return Err(Error::new(format!("ERR limit '{}' has no RATE to take from", rule.name)).into());
    };
    let count = request.get(4).map_or(Ok(1), |count| not_negative(count))?;
    let now_ns = context.now.mono.as_nanos() as u64;
    let gate = gate_of(&rule, &limit, &text_of(&request[3]));
    let bounds = Bounds { rate: Some(rate.clone()), concurrency: None };
    let taken = context.jobs.limits.take(gate, &text_of(&request[3]), &bounds, count, now_ns);
    let (room, ahead_ns) = (
        context.jobs.limits.room(gate, &bounds, now_ns),
        context.jobs.limits.get(gate).map_or(0, |state| state.ahead_ns(now_ns)),
    );
    let seconds = |ns: u64| Reply::Integer(ns.div_ceil(1_000_000_000) as i64);
    let retry_ns =
        (ahead_ns + count.saturating_mul(rate.between_ns())).saturating_sub(rate.burst_ns() + rate.between_ns());
    Ok(Reply::Array(vec![
        Reply::flag(!taken),
        number(u64::from(rate.burst)),
        number(u64::from(room)),
        if taken || count > u64::from(rate.burst) { Reply::Integer(-1) } else { seconds(retry_ns) },
        seconds(ahead_ns),
    ]))
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    fn job(class: &str, tenant: &str, number: u32) -> String {
        format!(r#"{{"class":"{class}","jid":"{class}{tenant}{number}","tenant_id":"{tenant}"}}"#)
    }

    fn fill(bench: &mut Bench, class: &str, tenant: &str, count: u32) {
        push(bench, "queue:q", (0..count).map(|number| job(class, tenant, number)));
    }

    /// Pops until nothing may go; gives the ids.
    fn drain(bench: &mut Bench) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            match bench.send("RPOP queue:q") {
                Reply::Bulk(payload) => {
                    let payload = String::from_utf8_lossy(&payload).into_owned();
                    ids.push(payload.split('"').nth(7).expect("a job has an id").to_owned());
                }
                Reply::Null => return ids,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_rate_spaces_jobs_and_those_behind_go_past_them() {
        let mut bench = bench(1000);
        fill(&mut bench, "Slow", "a", 4);
        fill(&mut bench, "Fast", "a", 3);
        bench.run("JOB.LIMIT SET l CLASS Slow RATE 10 PER 1s BURST 2");
        assert_eq!(
            drain(&mut bench),
            ["Slowa0", "Slowa1", "Fasta0", "Fasta1", "Fasta2"],
            "in order, as far as they may go"
        );
        assert_eq!(bench.run("LLEN queue:q"), number(2));
        assert_eq!(figure(&bench.run("JOB.EXPLAIN q"), "length"), 2);
        bench.pass_ms(99);
        assert_eq!(drain(&mut bench), [""; 0]);
        assert_eq!(bench.jobs.limits.next_wake_ns(), Some(100_000_000));
        bench.pass_ms(1);
        assert_eq!(drain(&mut bench), ["Slowa2"]);
        bench.run("JOB.LIMIT DEL l");
        assert_eq!(drain(&mut bench), ["Slowa3"]);
    }

    #[test]
    fn jobs_that_are_limited_do_not_keep_others_of_their_tenant_and_what_a_limit_lets_through_is_shared() {
        let mut bench = bench(1000);
        fill(&mut bench, "Slow", "a", 3);
        fill(&mut bench, "Fast", "a", 2);
        fill(&mut bench, "Slow", "b", 3);
        bench.run("JOB.SHUFFLE q");
        bench.run("JOB.LIMIT SET l CLASS Slow RATE 10 PER 1s");
        assert_eq!(drain(&mut bench), ["Slowa0", "Fasta0", "Fasta1"]);
        let mut order = Vec::new();
        for _ in 0..5 {
            bench.pass_ms(100);
            order.extend(drain(&mut bench));
        }
        assert_eq!(order, ["Slowb0", "Slowa1", "Slowb1", "Slowa2", "Slowb2"]);
    }

    #[test]
    fn weights_hold_for_what_a_limit_lets_through() {
        let mut bench = bench(10_000);
        fill(&mut bench, "Slow", "a", 50);
        fill(&mut bench, "Slow", "b", 50);
        fill(&mut bench, "Fast", "c", 200);
        bench.run("JOB.SHUFFLE q");
        bench.run("JOB.TENANT WEIGHT q a 3");
        bench.run("JOB.LIMIT SET l CLASS Slow RATE 10 PER 1s");
        let mut served = std::collections::BTreeMap::new();
        for _ in 0..41 {
            for _ in 0..4 {
                if let Reply::Bulk(job) = bench.send("RPOP queue:q") {
                    let slow = String::from_utf8_lossy(&job).contains("Slow");
                    let tenant = if String::from_utf8_lossy(&job).contains(r#""tenant_id":"a""#) { "a" } else { "b" };
                    *served.entry(if slow { tenant } else { "fast" }).or_insert(0) += 1;
                }
            }
            bench.pass_ms(100);
        }
        assert!((29..=32).contains(&served["a"]) && (9..=12).contains(&served["b"]), "{served:?}");
    }

    #[test]
    fn a_concurrency_counts_jobs_that_run_by_key_and_its_slots_come_back() {
        let mut bench = bench(1000);
        for tenant in ["a", "b"] {
            fill(&mut bench, "Sync", tenant, 3);
        }
        bench.run("JOB.LIMIT SET l CLASS Sync BY tenant CONCURRENCY 1");
        assert_eq!(drain(&mut bench), ["Synca0", "Syncb0"]);
        assert_eq!(bench.run("JOB.ACK Synca0"), Reply::Ok, "the jid of an ordinary pop");
        let reply = bench.run("JOB.RESERVE COUNT 5 FROM q");
        assert_eq!(elements(&reply).len(), 1);
        let held = bench.run("JOB.LIMIT GET l a");
        assert_eq!(figure(&elements(&field(&held, "keys"))[0], "running"), 1);
        // A restart knows them again.
        bench.with_context(|context| {
            let rules = std::mem::take(&mut context.jobs.rules);
            *context.jobs = Default::default();
            context.jobs.rules = rules;
            super::super::lease::load(context);
        });
        assert_eq!(drain(&mut bench), [""; 0]);
        assert_eq!(bench.run("JOB.NACK Synca1"), Reply::Ok);
        assert_eq!(drain(&mut bench), ["Synca1"], "it is handed back, and next");
        assert_eq!(bench.run("JOB.ACK Syncb0"), Reply::Ok);
        assert_eq!(drain(&mut bench), ["Syncb1"]);
        bench.run("FLUSHALL");
        fill(&mut bench, "Sync", "a", 2);
        assert_eq!(drain(&mut bench), ["Synca0"], "what was flushed runs for nobody");
    }

    #[test]
    fn several_limits_must_all_let_a_job_through() {
        let mut bench = bench(1000);
        fill(&mut bench, "A", "a", 3);
        fill(&mut bench, "B", "a", 3);
        bench.run("JOB.LIMIT SET all QUEUE q ALL CONCURRENCY 3");
        bench.run("JOB.LIMIT SET one CLASS A CONCURRENCY 1");
        assert_eq!(drain(&mut bench), ["Aa0", "Ba0", "Ba1"]);
        assert_eq!(bench.run("JOB.ACK Aa0"), Reply::Ok);
        assert_eq!(drain(&mut bench), ["Aa1"], "the oldest that may go");
        assert_eq!(bench.run("JOB.ACK Ba0"), Reply::Ok);
        assert_eq!(drain(&mut bench), ["Ba2"]);
        let reply = bench.run("JOB.EXPLAIN q");
        let Reply::Array(head) = field(&reply, "head") else { panic!("{reply:?}") };
        assert_eq!((field(&head[0], "verdict"), field(&head[0], "by")), (text("held"), text("all")));
    }

    #[test]
    fn many_at_once_are_no_more_than_may_go() {
        let mut bench = bench(1000);
        fill(&mut bench, "A", "a", 30);
        bench.run("JOB.LIMIT SET l CLASS A CONCURRENCY 7");
        let Reply::Array(jobs) = bench.send("RPOP queue:q 20") else { panic!("there are jobs") };
        assert_eq!(jobs.len(), 7);
        for line in ["MULTI", "RPOP queue:q", "JOB.ACK Aa0", "RPOP queue:q 5"] {
            bench.send(line);
        }
        let Reply::Array(replies) = bench.send("EXEC") else { panic!("it has run") };
        assert_eq!(replies[0], Reply::Null);
        assert_eq!(elements(&replies[2]).len(), 1, "a slot that is free is free at once");
    }

    #[test]
    fn application_code_draws_on_a_rate_as_from_redis_cell() {
        let mut bench = bench(1000);
        bench.run("JOB.LIMIT SET api CLASS Sync BY tenant RATE 1 PER 2s BURST 3");
        let reply = |limited, remaining, retry, reset| {
            Reply::Array([limited, 3, remaining, retry, reset].into_iter().map(Reply::Integer).collect())
        };
        assert_eq!(bench.run("JOB.LIMIT TAKE api shop1 2"), reply(0, 1, -1, 4));
        assert_eq!(bench.run("JOB.LIMIT TAKE api shop1 2"), reply(1, 1, 2, 4));
        assert_eq!(bench.run("JOB.LIMIT TAKE api shop2"), reply(0, 2, -1, 2));
        fill(&mut bench, "Sync", "shop1", 2);
        assert_eq!(drain(&mut bench), ["Syncshop10"], "jobs draw on the same");
        bench.run("JOB.LIMIT SET slots CLASS Sync CONCURRENCY 1");
        let refused = bench.run("JOB.LIMIT TAKE slots a");
        assert!(matches!(&refused, Reply::Error(error) if error.line().starts_with("ERR limit 'slots' has no RATE")));
    }
}
