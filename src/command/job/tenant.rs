//! Tenants: queues that are shared, so that one customer's jobs do not delay another's.

use bytes::Bytes;

use crate::keyspace::{QueueId, Slot};
use crate::resp::{Error, Reply};
use crate::sched::{Kind, LaneState, QueueRules, Rule};

use super::inspect;
use super::registry::{self, Change, maker};
use super::sample::reading::{Next, Reading, one_list, queues, read};
use super::serve::rules_of;
use super::{CHANGE, READ, SINCE, container, help_of, map, number, text, text_of, words};
use crate::command::argument::{is, not_negative};
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

pub const FAIR: &str = "fair";
pub const WEIGHT: &str = "weight";
/// Tenants that STATS shows if it is not said, and at the most.
const TOP_DEFAULT: usize = 20;
const TOP_MAX: u64 = 1_000;
/// Lanes that are looked at in one turn, and in one page of LIST.
const LANES_A_TURN: u32 = 20_000;
const LANES_A_PAGE: u32 = 256;

pub const COMMANDS: &[Command] = &[
    container(
        "job.tenant",
        SINCE,
        Group::Job,
        "A container for queues that tenants share.",
        &["JOB.TENANT", "JOB.TENANT NOSUCH"],
    ),
    Command {
        name: "job.tenant|enable",
        run: enable,
        syntax: "queue-glob [BY path ...] [MODE drr | sqs] [COST count | runtime] [QUANTUM jobs] [NAME name] [EXPIRE duration] [COMMENT text] [REPLACE] [DRYRUN]",
        summary: "Shares queues between tenants: each has a lane, and lanes are served in turn.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog, which is sorted into lanes behind the reply; with DRYRUN, what a sample of the longest queue takes to be read.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &[
            "JOB.TENANT ENABLE default",
            "JOB.TENANT ENABLE default",
            "JOB.TENANT ENABLE imports BY $.args[0].customer_id QUANTUM 5 DRYRUN",
            "JOB.TENANT ENABLE default MODE x",
            "JOB.TENANT ENABLE calm MODE sqs",
            "JOB.TENANT ENABLE calm MODE sqs QUANTUM 2 REPLACE",
        ],
    },
    Command {
        name: "job.tenant|disable",
        run: disable,
        syntax: "queue-glob",
        summary: "Serves queues in order of arrival again.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.TENANT DISABLE default", "JOB.TENANT ENABLE default", "JOB.TENANT DISABLE default"],
    },
    Command {
        name: "job.tenant|weight",
        run: weigh,
        syntax: "queue-glob tenant weight [EXPIRE duration] [COMMENT text]",
        summary: "Sets the share of a tenant, relative to 1 of the others; 0 pauses it.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.TENANT WEIGHT default 7 2.5", "JOB.TENANT WEIGHT default 7 x"],
    },
    Command {
        name: "job.tenant|stats",
        run: stats,
        syntax: "queue [TOP count]",
        summary: "Returns how a queue is shared, and the tenants with the most jobs.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of tenants that wait.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.TENANT STATS default", "JOB.TENANT STATS default TOP 0"],
    },
    Command {
        name: "job.tenant|list",
        run: list,
        syntax: "queue [cursor]",
        summary: "Returns tenants that wait in a queue, a page for each call; the cursor is 0 at the end.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) for each call, O(N) for all pages where N is the number of tenants.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.TENANT LIST default", "JOB.TENANT LIST default x"],
    },
    help_of("job.tenant|help", SINCE, Group::Job, &["JOB.TENANT HELP"]),
    Command {
        name: "job.shuffle",
        run: shuffle,
        syntax: "queue-glob [BY path ...] [option ...]",
        summary: "Shares queues between tenants, as JOB.TENANT ENABLE does.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.SHUFFLE default", "JOB.SHUFFLE imports BY gid:Shop DRYRUN"],
    },
];

fn shuffle(context: &mut Context, request: &[Bytes]) -> Outcome {
    if request.len() == 2 && is(&request[1], "help") {
        return super::rules::help_lines(&COMMANDS[COMMANDS.len() - 1..]);
    }
    enable(context, request)
}

fn enable(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, manner) = words::parse_with_manner(request, maker(context))?;
    if manner.dry_run {
        return dry_run(context, &rule);
    }
    let undo = format!("JOB.TENANT DISABLE {}", words::quoted(&rule.name));
    registry::make(context, rule, manner.replace, undo)
}

/// Answers whose the jobs of the longest queue are that would be shared.
fn dry_run(context: &mut Context, rule: &Rule) -> Outcome {
    let Kind::Fair(fair) = &rule.kind else { unreachable!("the words were those of a fair queue") };
    let mut covered = queues(context, |key| rule.predicate().covers_queue(key));
    let count = covered.len() as u64;
    covered.sort_by_cached_key(|key| super::blackhole::length_of(context, key));
    inspect::shares(context, covered.pop().unwrap_or_default(), count, fair.how.clone())
}

fn disable(context: &mut Context, request: &[Bytes]) -> Outcome {
    let database = context.keys.selected();
    let by_name = text_of(&request[2]);
    let name = match context.jobs.rules.find(database, FAIR, &by_name) {
        Some(_) => by_name,
        None => {
            let wanted = [Bytes::from_static(b"job.shuffle"), request[2].clone()];
            words::parse(&wanted, maker(context))?.name
        }
    };
    let Some(rule) = context.jobs.rules.find(database, FAIR, &name).cloned() else {
        return Err(Error::new(format!("NORULE no fair queue is called '{name}' in this database")).into());
    };
    let change = Change {
        what: format!("JOB.TENANT DISABLE {}", words::quoted(&name)),
        undo: words::line(&rule, context.keys.now_ms()),
    };
    registry::remove(context, FAIR, &name, change)?;
    Ok(map(vec![("name", text(&name))]))
}

fn weigh(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (rule, _) = words::parse_with_manner(request, maker(context))?;
    let undo = format!("JOB.RULES DEL {WEIGHT} {}", words::quoted(&rule.name));
    // A share is set, and set again.
    registry::make(context, rule, true, undo)
}

/// A queue, and the rules by which it is shared.
struct Fairly {
    key: Vec<u8>,
    queue: Option<(Slot, QueueId)>,
    rules: Option<std::sync::Arc<QueueRules>>,
}

impl Fairly {
    fn find(context: &mut Context, word: &Bytes) -> Result<Fairly, Stop> {
        let (key, slot) = one_list(context, word)?;
        let ruled = slot.and_then(|slot| Some((slot, rules_of(context, slot)?)));
        Ok(match ruled {
            Some((slot, (id, rules))) => Fairly { key, queue: Some((slot, id)), rules: Some(rules) },
            None => Fairly { key, queue: None, rules: None },
        })
    }
}

/// One tenant's lane, as it is shown.
pub fn shown(lane: &LaneState, rules: &QueueRules) -> Reply {
    let limits = lane.gates.iter().filter_map(|gate| rules.limit_of(*gate));
    map(vec![
        ("tenant", text(lane.tenant)),
        ("pending", number(lane.jobs)),
        ("exact", Reply::flag(!lane.has_more)),
        ("weight", lane.weight.map_or(Reply::Null, Reply::Double)),
        ("deficit", Reply::Double(lane.deficit)),
        ("served", number(lane.served)),
        ("level", rules.level_name(lane.level).map_or(Reply::Null, text)),
        ("limits", Reply::Array(limits.map(text).collect())),
        ("held_by", lane.kept_by.and_then(|gate| rules.limit_of(gate)).map_or(Reply::Null, text)),
    ])
}

fn stats(context: &mut Context, request: &[Bytes]) -> Outcome {
    let mut top = TOP_DEFAULT;
    match &request[3..] {
        [] => {}
        [word, value] if is(word, "top") => {
            let good = not_negative(value).ok().filter(|count| (1..=TOP_MAX).contains(count));
            let wrong = || Error::new(format!("ERR TOP takes a number from 1 to {TOP_MAX}, not '{}'", text_of(value)));
            top = good.ok_or_else(wrong)? as usize;
        }
        [word, ..] => {
            return Err(Error::new(format!("ERR '{}' is no option here; there is TOP count", text_of(word))).into());
        }
    }
    let fairly = Fairly::find(context, &request[2])?;
    read(context, Top { fairly, top, next: Some(0), largest: Vec::new() })
}

/// The lanes with the most jobs, looked for in as many turns as it takes.
struct Top {
    fairly: Fairly,
    top: usize,
    /// Lanes from this number on are still to be looked at.
    next: Option<u32>,
    /// By the number of their jobs.
    largest: Vec<(u64, Reply)>,
}

impl Reading for Top {
    fn see(&mut self, _ordinal: u64, _item: &[u8]) {}

    fn next(&mut self, context: &mut Context) -> Result<Next, Stop> {
        if let (Some((slot, id)), Some(from)) = (self.fairly.queue, self.next)
            && let Some(rules) = self.fairly.rules.as_deref()
            && let Some(shared) = context.jobs.state(id).and_then(|state| state.shared.as_ref())
        {
            let (lanes, next) = shared.lanes.page(from, LANES_A_TURN);
            for lane in lanes {
                let least = self.largest.last().map_or(0, |(jobs, _)| *jobs);
                if self.largest.len() < self.top || lane.jobs > least {
                    let at = self.largest.partition_point(|(jobs, _)| *jobs >= lane.jobs);
                    self.largest.insert(at, (lane.jobs, shown(&lane, rules)));
                    self.largest.truncate(self.top);
                }
            }
            self.next = next;
            if next.is_some() {
                return Ok(Next::Read(slot, Vec::new()));
            }
        }
        Ok(Next::Reply(self.reply(context)))
    }
}

impl Top {
    fn reply(&mut self, context: &mut Context) -> Reply {
        let rules = self.fairly.rules.as_deref();
        let fair = rules.and_then(|rules| rules.fair.as_ref());
        let slot = self.fairly.queue.map(|(slot, _)| slot);
        let length = slot.map_or(0, |slot| context.keys.list(slot).len());
        let state = self.fairly.queue.and_then(|(_, id)| context.jobs.state(id));
        let lanes = state.and_then(|state| state.shared.as_ref()).map(|shared| (&shared.lanes, shared.indexing));
        let of_lanes =
            |what: &dyn Fn(&crate::sched::Lanes) -> Reply| lanes.map_or(Reply::Null, |(lanes, _)| what(lanes));
        map(vec![
            ("queue", text(&self.fairly.key)),
            ("fair", Reply::flag(fair.is_some())),
            ("mode", fair.map_or(Reply::Null, |fair| text(fair.mode.name()))),
            ("cost", fair.map_or(Reply::Null, |fair| text(fair.cost.name()))),
            ("quantum", fair.map_or(Reply::Null, |fair| number(u64::from(fair.quantum)))),
            ("pending", number(length)),
            ("tenants", of_lanes(&|lanes| number(lanes.count() as u64))),
            ("part_without", of_lanes(&|lanes| Reply::Double(lanes.part_without()))),
            ("sorting", Reply::flag(lanes.is_some_and(|(_, indexing)| indexing))),
            ("memory_bytes", of_lanes(&|lanes| number(lanes.memory_bytes() as u64))),
            ("top", Reply::Array(self.largest.drain(..).map(|(_, lane)| lane).collect())),
        ])
    }
}

fn list(context: &mut Context, request: &[Bytes]) -> Outcome {
    let from = match request.get(3) {
        None => 0,
        Some(cursor) => not_negative(cursor)
            .ok()
            .and_then(|cursor| u32::try_from(cursor).ok())
            .ok_or_else(|| Error::constant("ERR invalid cursor"))?,
    };
    let Fairly { queue, rules, .. } = Fairly::find(context, &request[2])?;
    let shared = queue.and_then(|(_, id)| context.jobs.state(id)?.shared.as_ref());
    let (lanes, next) = match shared.zip(rules.as_deref()) {
        Some((shared, rules)) => {
            let (lanes, next) = shared.lanes.page(from, LANES_A_PAGE);
            (lanes.map(|lane| shown(&lane, rules)).collect(), next.unwrap_or(0))
        }
        None => (Vec::new(), 0),
    };
    Ok(Reply::Array(vec![text(next.to_string()), Reply::Array(lanes)]))
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    fn job(tenant: &str, number: u32) -> String {
        match tenant {
            "-" => format!(r#"{{"class":"A","jid":"{tenant}{number}"}}"#),
            _ => format!(r#"{{"class":"A","jid":"{tenant}{number}","tenant_id":"{tenant}"}}"#),
        }
    }

    fn jobs(tenant: &str, count: u32) -> Vec<String> {
        (0..count).map(|number| job(tenant, number)).collect()
    }

    fn run_words(bench: &mut Bench, words: &[&str]) -> Reply {
        let request: Vec<Bytes> = words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        bench.request(&request).expect("it ends well")
    }

    /// Pops from the right until there is nothing, and tells whose the jobs were.
    fn drained(bench: &mut Bench, queue: &str) -> String {
        let mut order = String::new();
        loop {
            match bench.send(&format!("RPOP {queue}")) {
                Reply::Bulk(payload) => {
                    let payload = String::from_utf8_lossy(&payload).into_owned();
                    let jid = payload.split("\"jid\":\"").nth(1).expect("a job has an id");
                    order.push(jid.chars().next().expect("it is not empty"));
                }
                Reply::Null => return order,
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn where_the_noisy_yield_all_goes_as_it_came_until_a_tenant_has_very_many_jobs_running() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 40));
        push(&mut bench, "queue:q", jobs("b", 5));
        bench.run("JOB.TENANT ENABLE q MODE sqs");
        let popped = |bench: &mut Bench, count: u32| -> String {
            let pop = |_| match bench.send("RPOP queue:q") {
                Reply::Bulk(job) => String::from_utf8_lossy(&job).split('"').nth(7).expect("an id").to_owned(),
                other => panic!("{other:?}"),
            };
            (0..count).map(pop).map(|id| id.chars().next().expect("it is not empty")).collect()
        };
        assert_eq!(popped(&mut bench, 30), "a".repeat(30));
        assert_eq!(popped(&mut bench, 3), "bbb", "thirty run, which is more than a tenth");
        for number in 0..5 {
            assert_eq!(bench.run(&format!("JOB.ACK a{number}")), Reply::Ok);
        }
        assert_eq!(popped(&mut bench, 7), "aaaaabb", "it is noisy again");
        let reply = bench.run("JOB.TENANT STATS q");
        assert_eq!(field(&reply, "mode"), text("sqs"));
        assert_eq!(popped(&mut bench, 5), "aaaaa", "nobody else waits");
        assert_eq!(bench.send("RPOP queue:q"), Reply::Null);
    }

    #[test]
    fn tenants_are_served_in_turn_each_in_order() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 5));
        push(&mut bench, "queue:q", jobs("b", 2));
        bench.run("JOB.SHUFFLE q");
        assert_eq!(bench.run("LINDEX queue:q -1"), text(job("a", 0)), "the list stays what it is");
        assert_eq!(bench.run("RPOP queue:q"), text(job("a", 0)));
        assert_eq!(bench.run("RPOP queue:q"), text(job("b", 0)));
        push(&mut bench, "queue:q", jobs("c", 1));
        assert_eq!(drained(&mut bench, "queue:q"), "abcaaa");
        assert_eq!(bench.run("EXISTS queue:q"), number(0));
    }

    #[test]
    fn resque_pops_from_the_left_and_is_served_the_same() {
        let mut bench = bench(1000);
        let job = |customer: u32, number: u32| format!(r#"{{"class":"A","args":[{{"shop_id":{customer}}},{number}]}}"#);
        for (customer, number) in [(1, 0), (1, 1), (1, 2), (2, 0)] {
            run_words(&mut bench, &["RPUSH", "resque:queue:q", &job(customer, number)]);
        }
        bench.run("JOB.TENANT ENABLE q");
        let popped: Vec<Reply> = (0..4).map(|_| bench.run("LPOP resque:queue:q")).collect();
        assert_eq!(popped, [(1, 0), (2, 0), (1, 1), (1, 2)].map(|(customer, number)| text(job(customer, number))));
    }

    #[test]
    fn many_jobs_that_are_handed_back_and_held_do_not_keep_the_others() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("b", 3));
        bench.run("JOB.SHUFFLE q");
        assert_eq!(bench.run("RPOP queue:q"), text(job("b", 0)));
        bench.run("JOB.PAUSE queue:q CLASS Held");
        for number in 0..600 {
            let held = format!(r#"{{"class":"Held","jid":"h{number}","tenant_id":"h"}}"#);
            run_words(&mut bench, &["RPUSH", "queue:q", &held]);
        }
        let popped: Vec<Reply> =
            (0..8).map(|_| bench.run("RPOP queue:q")).filter(|reply| *reply != Reply::Null).collect();
        assert_eq!(popped, [text(job("b", 1)), text(job("b", 2))]);
    }

    #[test]
    fn what_is_handed_back_is_next() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 3));
        push(&mut bench, "queue:q", jobs("b", 2));
        bench.run("JOB.SHUFFLE q");
        assert_eq!(bench.run("RPOP queue:q"), text(job("a", 0)));
        run_words(&mut bench, &["RPUSH", "queue:q", &job("a", 0)]);
        assert_eq!(bench.run("RPOP queue:q"), text(job("a", 0)));
        assert_eq!(drained(&mut bench, "queue:q"), "baba");
    }

    #[test]
    fn several_at_once_are_of_several_tenants() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 4));
        push(&mut bench, "queue:q", jobs("b", 2));
        bench.run("JOB.SHUFFLE q");
        let popped = Reply::Array(vec![text(job("a", 0)), text(job("b", 0)), text(job("a", 1))]);
        assert_eq!(bench.run("RPOP queue:q 3"), popped);
        assert_eq!(bench.run("LMOVE queue:q working:1 RIGHT LEFT"), text(job("b", 1)));
        assert_eq!(bench.run("LLEN queue:q"), number(2));
    }

    #[test]
    fn what_is_handed_out_does_not_count_as_looked_at_in_vain() {
        let mut bench = bench(4000);
        push(&mut bench, "queue:q", jobs("a", 600));
        bench.run("JOB.SHUFFLE q");
        assert_eq!(elements(&bench.run("RPOP queue:q 500")).len(), 500);
        for job in jobs("b", 300) {
            run_words(&mut bench, &["RPUSH", "queue:q", &job]);
        }
        assert_eq!(elements(&bench.run("RPOP queue:q 400")).len(), 400);
    }

    #[test]
    fn a_weight_of_0_pauses_a_tenant_and_a_queue_of_nothing_else_counts_as_empty() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 2));
        push(&mut bench, "queue:other", jobs("b", 1));
        bench.run("JOB.SHUFFLE q");
        bench.run("JOB.TENANT WEIGHT q a 0");
        assert_eq!(bench.run("RPOP queue:q"), Reply::Null);
        let passed = bench.run("LMPOP 2 queue:q queue:other RIGHT");
        assert_eq!(passed, Reply::Array(vec![text("queue:other"), Reply::Array(vec![text(job("b", 0))])]));
        assert_eq!(bench.run("LLEN queue:q"), number(2));
        assert_eq!(bench.run("LPOP queue:q"), Reply::Null, "nor at the other end");
        assert_eq!(figure(&bench.run("JOB.EXPLAIN q"), "held_from_pop_end"), 2);
        bench.run("JOB.TENANT WEIGHT q a 3");
        assert_eq!(drained(&mut bench, "queue:q"), "aa");
    }

    #[test]
    fn weights_are_shares() {
        let mut bench = bench(4000);
        for tenant in ["a", "b", "c"] {
            push(&mut bench, "queue:q", jobs(tenant, 100));
        }
        bench.run("JOB.SHUFFLE q");
        bench.run("JOB.TENANT WEIGHT q b 2");
        bench.run("JOB.TENANT WEIGHT q c 4");
        let order: String = drained(&mut bench, "queue:q").chars().take(70).collect();
        let count = |tenant| order.chars().filter(|of| *of == tenant).count();
        assert_eq!((count('a'), count('b'), count('c')), (10, 20, 40));
    }

    #[test]
    fn a_path_says_where_the_tenant_stands() {
        let mut bench = bench(1000);
        let job =
            |shop: u32, number: u32| format!(r#"{{"class":"A","jid":"{shop}","args":[{{"shop":{shop}}},{number}]}}"#);
        push(&mut bench, "queue:q", [(1, 0), (1, 1), (2, 0)].map(|(shop, number)| job(shop, number)));
        bench.run("JOB.TENANT ENABLE q BY gid:Shop $.args[0].shop");
        assert_eq!(drained(&mut bench, "queue:q"), "121");
    }

    #[test]
    fn a_long_lane_on_disk_is_served_to_its_end() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 5_000));
        push(&mut bench, "queue:q", jobs("b", 1_000));
        bench.cool();
        bench.run("JOB.SHUFFLE q");
        let order = drained(&mut bench, "queue:q");
        let count = |tenant| order.chars().filter(|of| *of == tenant).count();
        assert_eq!((count('a'), count('b')), (5_000, 1_000));
    }

    #[test]
    fn rules_that_take_and_hold_are_obeyed_in_lanes() {
        let mut bench = bench(1000);
        let job =
            |class: &str, tenant: &str| format!(r#"{{"class":"{class}","jid":"{tenant}","tenant_id":"{tenant}"}}"#);
        let all = [("Bad", "a"), ("Good", "a"), ("Slow", "b"), ("Good", "b"), ("Good", "a")];
        push(&mut bench, "queue:q", all.map(|(class, tenant)| job(class, tenant)));
        bench.run("JOB.SHUFFLE q");
        bench.run("JOB.BLACKHOLE ADD bad CLASS Bad");
        bench.run("JOB.PAUSE q CLASS Slow NAME slow");
        assert_eq!(bench.run("RPOP queue:q"), text(job("Good", "a")));
        assert_eq!(bench.run("RPOP queue:q"), text(job("Good", "b")));
        bench.run("JOB.RESUME slow");
        assert_eq!(drained(&mut bench, "queue:q").len(), 2, "the bad one is left for the sweeper");
    }

    #[test]
    fn stats_and_list_tell_whose_jobs_wait() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 7));
        push(&mut bench, "queue:q", jobs("b", 9));
        push(&mut bench, "queue:q", jobs("-", 4));
        assert_eq!(figure(&bench.run("JOB.TENANT STATS q"), "fair"), 0);
        assert_eq!(bench.run("JOB.TENANT LIST q"), Reply::Array(vec![text("0"), Reply::Array(vec![])]));
        bench.run("JOB.SHUFFLE q");
        bench.run("RPOP queue:q");
        let reply = bench.run("JOB.TENANT STATS q TOP 2");
        assert_eq!((figure(&reply, "fair"), figure(&reply, "pending"), figure(&reply, "tenants")), (1, 19, 3));
        let top = field(&reply, "top");
        let told: Vec<(Reply, i64)> =
            elements(&top).iter().map(|lane| (field(lane, "tenant"), figure(lane, "pending"))).collect();
        assert_eq!(told, [(text("b"), 9), (text("a"), 6)]);
        assert_eq!(figure(&elements(&top)[1], "served"), 1);
        let reply = bench.run("JOB.TENANT LIST q 0");
        let [cursor, lanes] = elements(&reply) else { panic!("{reply:?}") };
        assert_eq!((cursor, elements(lanes).len()), (&text("0"), 3));
    }

    #[test]
    fn a_dry_run_tells_whose_jobs_there_are_and_what_found_them() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 30));
        push(&mut bench, "queue:q", jobs("-", 10));
        push(&mut bench, "queue:short", jobs("z", 1));
        let reply = tell(&mut bench, "JOB.TENANT ENABLE * DRYRUN");
        assert_eq!((figure(&reply, "queues"), figure(&reply, "total"), figure(&reply, "exact")), (2, 40, 1));
        assert_eq!(field(&reply, "queue"), text("queue:q"));
        assert_eq!(field(&reply, "part_without"), Reply::Double(0.25));
        let all = |number: i64| Reply::Array(vec![Reply::Integer(number); 3]);
        assert_eq!(field(&reply, "found_by"), Reply::Map(vec![(text("tenant_id"), all(30))]));
        assert_eq!(field(&reply, "tenants"), Reply::Map(vec![(text("a"), all(30)), (text("-"), all(10))]));
        assert_eq!(bench.run("JOB.RULES LIST"), Reply::Array(vec![]), "no rule was made");
    }

    #[test]
    fn what_was_enabled_is_disabled_by_the_same_words_or_by_name() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:q", jobs("a", 2));
        push(&mut bench, "queue:q", jobs("b", 1));
        bench.run("JOB.TENANT ENABLE q NAME x");
        bench.run("JOB.TENANT DISABLE x");
        bench.run("JOB.TENANT ENABLE q");
        bench.run("JOB.TENANT DISABLE q");
        assert_eq!(drained(&mut bench, "queue:q"), "aab");
    }

    #[test]
    fn by_run_time_tenants_share_workers_and_not_jobs() {
        let mut bench = bench(100_000);
        push(&mut bench, "queue:q", jobs("a", 300));
        push(&mut bench, "queue:q", jobs("b", 1_990));
        bench.run("JOB.SHUFFLE q COST runtime");
        assert!(format!("{:?}", bench.run("JOB.CONFIG DUMP")).contains("COST runtime"));
        // Ten workers; a job of a takes 400 ms, one of b 20 ms, and both are of one class.
        let mut workers: Vec<(u64, String)> = vec![(0, String::new()); 10];
        let mut spent = [0, 0];
        for ms in 0..7_000 {
            for (until, id) in &mut workers {
                if *until > ms {
                    continue;
                }
                if !id.is_empty() {
                    assert_eq!(bench.run(&format!("JOB.ACK {id}")), Reply::Ok);
                }
                let Reply::Bulk(payload) = bench.send("RPOP queue:q") else { panic!("both have jobs") };
                let payload = String::from_utf8_lossy(&payload).into_owned();
                *id = payload.split('"').nth(7).expect("a job has an id").to_owned();
                let (of, takes_ms) = if id.starts_with('a') { (0, 400) } else { (1, 20) };
                *until = ms + takes_ms;
                // What was spent before costs were known is paid back first.
                spent[of] += if ms >= 2_000 { takes_ms } else { 0 };
            }
            bench.pass_ms(1);
        }
        let all: u64 = spent.iter().sum();
        let part = spent[0] as f64 / all as f64;
        assert!((0.48..=0.52).contains(&part), "{spent:?}");
        assert_eq!(field(&tell(&mut bench, "JOB.TENANT STATS q"), "cost"), text("runtime"));
    }
}
