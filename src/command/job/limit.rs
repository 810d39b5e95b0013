//! JOB.LIMIT: jobs that go out no faster than their target can bear, or no more of them at a time.

use bytes::Bytes;

use crate::resp::{Error, Reply};
use crate::sched::{Bounds, By, Charge, Gate, Kind, Limit, Phase, Rule};

use super::registry::{self, Change, maker};
use super::rules::described;
use super::{CHANGE, READ, SINCE, container, help_of, known, map, number, text, text_of, words};
use crate::command::argument::{is, not_negative};
use crate::command::{Command, Context, Flag, Group, Keys, Outcome, Stop};

const KIND: &str = "limit";
/// Keys that GET shows: those with the most running, then those that wait the longest.
const KEYS_SHOWN: usize = 20;
/// Keys that GET looks at for that.
const KEYS_LOOKED_AT: usize = 100_000;
/// Calls that one FEEDBACK tells of, at the most.
const FEEDBACK_MAX: u64 = 1_000_000;

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
        syntax: "name predicate [BY <class | tenant | path>] [RATE jobs PER duration [BURST jobs]] [ADAPTIVE MIN jobs MAX jobs [ON error-class ...]] [CONCURRENCY jobs] [EXPIRE duration] [COMMENT text] [REPLACE]",
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
            "JOB.LIMIT SET finds CLASS FindJob RATE 50 PER 1s ADAPTIVE MIN 1 MAX 500 ON Timeout* RateLimited",
            "JOB.LIMIT SET none CLASS SyncJob RATE 50 PER 1s ADAPTIVE MIN 100 MAX 500",
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
    Command {
        name: "job.limit|feedback",
        run: feedback,
        syntax: "name key <ok | failed> count [<ok | failed> count]",
        summary: "Tells an adaptive limit how calls went that the server has not seen. A limit without keys ignores the key.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: &[Flag::Fast],
        keys: Keys::None,
        examples: &["JOB.LIMIT FEEDBACK none a ok 10 failed 1"],
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
    let bounds = &limit.bounds;
    let shown = |key: Reply, gate: Gate| {
        let state = limits.get(gate);
        let running = state.map_or(0, |state| state.running);
        let enforced = state.and_then(|state| state.enforced(bounds, now_ns));
        let opens_ns = state.and_then(|state| state.opens_in_ns(bounds, now_ns));
        let phase = state.and_then(|state| state.phase(bounds, now_ns)).map(|phase| match phase {
            Phase::Open => "open",
            Phase::BackingOff => "backing off",
            Phase::Probing => "probing",
            Phase::Deaf => "hears nothing",
        });
        map(vec![
            ("key", key),
            ("running", if bounds.concurrency.is_some() { number(u64::from(running)) } else { Reply::Null }),
            ("may_begin", number(u64::from(limits.room(gate, bounds, now_ns)))),
            ("opens_in_ms", known(opens_ns.map(|ns| ns.div_ceil(1_000_000)))),
            ("enforced", enforced.map_or(Reply::Null, |rate| Reply::Double((rate * 100.0).round() / 100.0))),
            ("state", phase.map_or(Reply::Null, text)),
        ])
    };
    let mut keys = Vec::new();
    if let Some(key) = request.get(3) {
        keys.push(shown(text(key), gate_of(&rule, &limit, &text_of(key))));
    } else {
        let states = limits.of(rule.number).take(KEYS_LOOKED_AT);
        let mut states: Vec<_> = states.map(|state| (state.running, state.ahead_ns(now_ns), &state.key)).collect();
        states.sort_unstable_by(|one, other| other.cmp(one));
        for (_, _, key) in states.into_iter().take(KEYS_SHOWN) {
            let name = if limit.by.is_some() { text(key.as_str()) } else { Reply::Null };
            keys.push(shown(name, gate_of(&rule, &limit, key)));
        }
    }
    let Bounds { rate, concurrency, adaptive } = bounds;
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
        ("min", adaptive.as_ref().map_or(Reply::Null, |span| number(span.min))),
        ("max", adaptive.as_ref().map_or(Reply::Null, |span| number(span.max))),
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
    refuse_to_try(context)?;
    let (rule, limit) = found(context, &request[2])?;
    let Some(rate) = &limit.bounds.rate else {
        return Err(Error::new(format!("ERR limit '{}' has no RATE to take from", rule.name)).into());
    };
    let count = request.get(4).map_or(Ok(1), |count| not_negative(count))?;
    let now_ns = context.now.mono.as_nanos() as u64;
    let gate = gate_of(&rule, &limit, &text_of(&request[3]));
    let bounds = Bounds { concurrency: None, ..limit.bounds.clone() };
    let taken = context.jobs.limits.take(gate, &text_of(&request[3]), &bounds, count, now_ns);
    let (room, ahead_ns) = (
        context.jobs.limits.room(gate, &bounds, now_ns),
        context.jobs.limits.get(gate).map_or(0, |state| state.ahead_ns(now_ns)),
    );
    let seconds = |ns: u64| Reply::Integer(ns.div_ceil(1_000_000_000) as i64);
    let state = context.jobs.limits.get(gate);
    let between_ns = state.and_then(|state| state.between_ns(&bounds, now_ns)).unwrap_or(rate.between_ns());
    let retry_ns = (ahead_ns + count.saturating_mul(between_ns)).saturating_sub(between_ns * u64::from(rate.burst));
    Ok(Reply::Array(vec![
        Reply::flag(!taken),
        number(u64::from(rate.burst)),
        number(u64::from(room)),
        if taken || count > u64::from(rate.burst) { Reply::Integer(-1) } else { seconds(retry_ns) },
        seconds(ahead_ns),
    ]))
}

/// What is drawn or told is no data, and must not count while EXEC only learns what it will miss.
fn refuse_to_try(context: &Context) -> Result<(), Stop> {
    if context.keys.refuses_writes() { Err(Stop::Refused) } else { Ok(()) }
}

fn feedback(context: &mut Context, request: &[Bytes]) -> Outcome {
    refuse_to_try(context)?;
    let (rule, limit) = found(context, &request[2])?;
    if limit.bounds.adaptive.is_none() {
        return Err(Error::new(format!("ERR limit '{}' is not ADAPTIVE, and takes no feedback", rule.name)).into());
    }
    let (mut ok, mut failed) = (0, 0);
    for pair in request[4..].chunks(2) {
        match pair {
            [word, count] if is(word, "ok") => ok = not_negative(count)?.min(FEEDBACK_MAX),
            [word, count] if is(word, "failed") => failed = not_negative(count)?.min(FEEDBACK_MAX),
            _ => {
                return Err(
                    Error::constant("ERR FEEDBACK takes a name, a key, and ok count, failed count or both").into()
                );
            }
        }
    }
    let key = text_of(&request[3]);
    let charge = Charge { gate: gate_of(&rule, &limit, &key), key: key.into() };
    let now_ns = context.now.mono.as_nanos() as u64;
    context.jobs.limits.feedback(&charge, &limit.bounds, ok, failed, now_ns);
    Ok(Reply::Ok)
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
        bench.send("MULTI");
        bench.send("JOB.LIMIT TAKE api shop3");
        assert_eq!(bench.send("EXEC"), Reply::Array(vec![reply(0, 2, -1, 2)]), "a transaction draws once");
        fill(&mut bench, "Sync", "shop1", 2);
        assert_eq!(drain(&mut bench), ["Syncshop10"], "jobs draw on the same");
        bench.run("JOB.LIMIT SET slots CLASS Sync CONCURRENCY 1");
        let refused = bench.run("JOB.LIMIT TAKE slots a");
        assert!(matches!(&refused, Reply::Error(error) if error.line().starts_with("ERR limit 'slots' has no RATE")));
    }

    /// What an adaptive limit allows now.
    fn enforced(bench: &mut Bench) -> f64 {
        let reply = bench.run("JOB.LIMIT GET l");
        match field(&elements(&field(&reply, "keys"))[0], "enforced") {
            Reply::Double(rate) => rate,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_adaptive_rate_is_cut_by_failures_wherever_they_are_told_and_grows_while_jobs_are_heard_of() {
        let mut bench = bench(10_000);
        fill(&mut bench, "Sync", "a", 400);
        bench.run("JOB.LIMIT SET l CLASS Sync RATE 100 PER 1s ADAPTIVE MIN 10 MAX 400 ON Timeout* Net::*");
        let pop = |bench: &mut Bench| {
            bench.pass_ms(600);
            let Reply::Bulk(job) = bench.send("RPOP queue:q") else { panic!("the rate lets one through") };
            String::from_utf8_lossy(&job).into_owned()
        };
        let job = pop(&mut bench);
        assert_eq!(enforced(&mut bench), 100.0);
        let failed = job.replace('}', r#","error_class":"ArgumentError","retry_count":0}"#);
        bench.run(&format!("ZADD retry 1 '{failed}'"));
        assert!(enforced(&mut bench) >= 100.0, "such errors say nothing of the target");
        let mut last = enforced(&mut bench);
        for (number, told) in ["retry", "nack", "feedback"].into_iter().enumerate() {
            match told {
                "retry" => {
                    let failed = pop(&mut bench).replace('}', r#","error_class":"Net::ReadTimeout","retry_count":0}"#);
                    bench.run(&format!("ZADD retry 1 '{failed}'"));
                }
                "nack" => {
                    bench.pass_ms(600);
                    let reply = bench.run("JOB.RESERVE FROM q");
                    let [Reply::Array(job)] = elements(&reply) else { panic!("{reply:?}") };
                    let Reply::Bulk(id) = &job[1] else { panic!("{job:?}") };
                    bench.run(&format!("JOB.NACK {} ERROR TimeoutError slow", String::from_utf8_lossy(id)));
                }
                _ => {
                    bench.pass_ms(600);
                    assert_eq!(bench.run("JOB.LIMIT FEEDBACK l - ok 1 failed 9"), Reply::Ok);
                }
            }
            let now = enforced(&mut bench);
            assert!(now < last && now > 10.0, "{number} {told}: {now} after {last}");
            last = now;
        }
        for _ in 0..60 {
            pop(&mut bench);
            bench.run("JOB.LIMIT FEEDBACK l - ok 1");
        }
        assert_eq!(enforced(&mut bench), 400.0);
        let reply = bench.run("JOB.LIMIT GET l");
        assert_eq!(field(&elements(&field(&reply, "keys"))[0], "state"), text("open"));
        let dump = bench.run("JOB.CONFIG DUMP");
        assert!(format!("{dump:?}").contains("ADAPTIVE MIN 10 MAX 400 ON Timeout* Net::*"), "{dump:?}");
    }

    #[test]
    fn a_slot_goes_to_another_where_the_job_that_it_was_for_is_moved_to_another_queue() {
        let mut bench = bench(1000);
        for tenant in ["r", "a", "b"] {
            fill(&mut bench, "Sync", tenant, 1);
        }
        bench.run("SADD queues other");
        bench.run("JOB.SHUFFLE q");
        bench.run("JOB.LIMIT SET l CLASS Sync CONCURRENCY 1");
        assert_eq!(drain(&mut bench), ["Syncr0"]);
        bench.run("JOB.ACK Syncr0");
        assert_eq!(bench.run("RPOPLPUSH queue:q queue:other"), Reply::bulk(job("Sync", "a", 0)));
        assert_eq!(drain(&mut bench), ["Syncb0"]);
    }

    #[test]
    fn a_slot_goes_to_another_where_the_job_that_it_was_for_is_gone() {
        let mut bench = bench(1000);
        for (class, tenant) in [("Sync", "r"), ("Sync", "a"), ("Sync", "b"), ("Sync", "c")] {
            fill(&mut bench, class, tenant, 1);
        }
        bench.run("JOB.SHUFFLE q");
        bench.run("JOB.LIMIT SET l CLASS Sync CONCURRENCY 1");
        assert_eq!(drain(&mut bench), ["Syncr0"]);
        bench.run("JOB.BLACKHOLE ADD imp JID Synca0");
        bench.run(&format!("LREM queue:q 1 '{}'", job("Sync", "b", 0)));
        bench.run("JOB.ACK Syncr0");
        assert_eq!(drain(&mut bench), ["Syncc0"]);
    }
}
