//! Blackholes: rules that take bad jobs out of queues of millions, from the reply on.

use bytes::Bytes;

use crate::job::{Field, Job, Predicate, queue_matches};
use crate::keyspace::{Kind as ValueKind, Side};
use crate::resp::{Error, Reply};
use crate::sched::{Besides, Kind, Rule, Scope, Until, Work};

use super::catch::quarantine_key;
use super::count::Count;
use super::ledger::{self, count_of};
use super::registry::{self, Change, maker};
use super::task::origins;
use super::{CHANGE, READ, SINCE, container, help_of, known, map, number, text, text_of, words, work};
use crate::command::argument::{is, not_negative};
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

const KIND: &str = "blackhole";
/// Queues of which an estimate is made on the spot when a rule is made.
const ESTIMATED_QUEUES_MAX: usize = 1000;

pub const COMMANDS: &[Command] = &[
    container(
        "job.blackhole",
        SINCE,
        Group::Job,
        "A container for the rules that take jobs out of queues.",
        &["JOB.BLACKHOLE", "JOB.BLACKHOLE NOSUCH"],
    ),
    Command {
        name: "job.blackhole|add",
        run: add,
        syntax: "name predicate [predicate ...] [SCOPE <queues | all>] [ACTION <quarantine | drop | dead>] [SAMPLE part] [UNLOCK] [EXPIRE duration] [COMMENT text] [REPLACE] [DRYRUN [EXACT]]",
        summary: "Makes a rule: from the reply on no matching job is delivered, and the sweeper takes those out that wait.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog; with DRYRUN, what a sample of it takes to be read; EXACT counts all of it, behind the reply.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &[
            "JOB.BLACKHOLE ADD imp CLASS ImportJob ARG customer_id=123",
            "JOB.BLACKHOLE ADD imp ALL",
            "JOB.BLACKHOLE ADD x",
        ],
    },
    Command {
        name: "job.blackhole|set",
        run: add,
        syntax: "name predicate [predicate ...] [option ...]",
        summary: "Makes a rule, as JOB.BLACKHOLE ADD does.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1) in the backlog.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.BLACKHOLE SET imp CLASS ImportJob"],
    },
    Command {
        name: "job.blackhole|del",
        run: delete,
        syntax: "name",
        summary: "Ends a rule; what it has in quarantine stays there.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1)",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.BLACKHOLE DEL imp", "JOB.BLACKHOLE ADD imp CLASS ImportJob", "JOB.BLACKHOLE DEL imp"],
    },
    Command {
        name: "job.blackhole|list",
        run: list,
        syntax: "",
        summary: "Returns the rules of this database, oldest first.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.BLACKHOLE LIST"],
    },
    Command {
        name: "job.blackhole|info",
        run: info,
        syntax: "name",
        summary: "Returns what a rule is, what it has taken and where that is; also of a rule that has ended, or is only counted.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of places that it has taken jobs from.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.BLACKHOLE INFO imp"],
    },
    Command {
        name: "job.blackhole|test",
        run: test,
        syntax: "payload [queue]",
        summary: "Returns the rule that would take a job, or nil.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(N) where N is the number of rules.",
        flags: READ,
        keys: Keys::None,
        examples: &["JOB.BLACKHOLE TEST '{\"class\":\"ImportJob\"}'"],
    },
    Command {
        name: "job.blackhole|restore",
        run: restore,
        syntax: "name [predicate ...] [COUNT count] [AT <front | back>] [RATE jobs-per-second]",
        summary: "Puts jobs from the quarantine back to where they came from, in order of arrival, in the background.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1); what goes on behind it is O(N) in the jobs of the quarantine.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.BLACKHOLE RESTORE imp"],
    },
    Command {
        name: "job.blackhole|purge",
        run: purge,
        syntax: "name [predicate ...] [UNLOCK]",
        summary: "Deletes jobs of the quarantine for good, in the background.",
        since: SINCE,
        group: Group::Job,
        complexity: "O(1); what goes on behind it is O(N) in the jobs of the quarantine.",
        flags: CHANGE,
        keys: Keys::None,
        examples: &["JOB.BLACKHOLE PURGE imp"],
    },
    help_of("job.blackhole|help", SINCE, Group::Job, &["JOB.BLACKHOLE HELP"]),
];

fn no_rule(name: &str) -> Error {
    Error::new(format!("NORULE no blackhole is called '{name}' in this database"))
}

fn add(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (mut rule, manner) = words::parse_with_manner(request, maker(context))?;
    if manner.dry_run {
        if manner.exact {
            let count = Count::new(context, rule.clone());
            context.host.begin_count(count);
        }
        return super::estimate::dry_run(context, rule, manner.exact);
    }
    let database = context.keys.selected();
    let old = context.jobs.rules.find(database, KIND, &rule.name).cloned();
    if old.is_some() && !manner.replace {
        return Err(Error::new(format!("ERR a blackhole is called '{}' already; add REPLACE", rule.name)).into());
    }
    rule.number = old.as_ref().map_or(context.jobs.rules.next_number(), |old| old.number);
    let undo = match &old {
        Some(old) => format!("{} REPLACE", words::line(old, rule.made.at_ms)),
        None => format!("JOB.BLACKHOLE DEL {}", words::quoted(&rule.name)),
    };
    // What a rule of this name has left in quarantine was there before all that this one will find.
    let mut left_over = origins(context, &rule.name);
    let lengths: Vec<u64> =
        left_over.iter().map(|place| quarantined(context, &rule.name, place)).collect::<Result<_, _>>()?;
    let mut lengths = lengths.iter();
    left_over.retain(|_| lengths.next().is_some_and(|length| *length > 0));
    let made = Made::of(context, &rule);
    if old.is_none() && left_over.is_empty() {
        ledger::forget(context, &rule.name)?;
    }
    registry::put(context, rule.clone(), Change { what: words::line(&rule, rule.made.at_ms), undo })?;
    for place in left_over {
        super::sweep::note_swept(context, &rule.name, (rule.number, rule.made.at_ms), &place)?;
    }
    if let Kind::Blackhole(blackhole) = &rule.kind
        && blackhole.scope == Scope::All
    {
        work::begin(context, Work::SweepSets { database, number: rule.number })?;
    }
    Ok(made.reply(context, &rule))
}

/// What a new rule is told: how many queues it speaks of, what it will take as far as that is known, and what may surprise.
pub struct Made {
    pub queues: u64,
    estimate: Option<u64>,
    pub warnings: Vec<String>,
}

impl Made {
    pub fn of(context: &Context, rule: &Rule) -> Made {
        let database = context.keys.selected();
        let covers = |key: &[u8]| rule.predicate().covers_queue(key);
        let queues = context.keys.queues.in_database(database).filter(|(_, queue)| covers(&queue.key)).count();
        let mut warnings = Vec::new();
        if queues == 0 {
            warnings.push(format!("no queue of database {database} is matched"));
            let elsewhere = (0..context.keys.database_count())
                .find(|other| context.keys.queues.in_database(*other).any(|(_, queue)| covers(&queue.key)));
            if let Some(other) = elsewhere {
                warnings.push(format!("database {other} has a queue that would be"));
            }
        }
        Made { queues: queues as u64, estimate: estimate_at_once(context, rule), warnings }
    }

    pub fn reply(self, context: &Context, rule: &Rule) -> Reply {
        map(vec![
            ("name", text(&rule.name)),
            ("db", number(context.keys.selected() as u64)),
            ("queues", number(self.queues)),
            ("estimate", known(self.estimate)),
            ("warnings", Reply::Array(self.warnings.iter().map(text).collect())),
        ])
    }
}

/// What can be told without reading: all of a queue, or none of it.
fn estimate_at_once(context: &Context, rule: &Rule) -> Option<u64> {
    if !rule.predicate().names_queue_only() {
        return None;
    }
    let database = context.keys.selected();
    let queues: Vec<Vec<u8>> = context
        .keys
        .queues
        .in_database(database)
        .filter(|(_, queue)| rule.predicate().covers_queue(&queue.key))
        .map(|(_, queue)| queue.key.to_vec())
        .take(ESTIMATED_QUEUES_MAX)
        .collect();
    Some(queues.iter().map(|key| length_of(context, key)).sum())
}

/// The number of jobs in a list, which is always known.
pub fn length_of(context: &Context, key: &[u8]) -> u64 {
    context.keys.length(key).unwrap_or(0)
}

fn delete(context: &mut Context, request: &[Bytes]) -> Outcome {
    let name = text_of(&request[2]);
    let database = context.keys.selected();
    let Some(rule) = context.jobs.rules.find(database, KIND, &name).cloned() else {
        return Err(no_rule(&name).into());
    };
    let change = Change {
        what: format!("JOB.BLACKHOLE DEL {}", words::quoted(&name)),
        undo: words::line(&rule, context.keys.now_ms()),
    };
    let unswept = unswept(context, &rule);
    let places = origins(context, &name);
    let kept = all_quarantined(context, &name, &places)?;
    registry::remove(context, KIND, &name, change)?;
    Ok(map(vec![("name", text(&name)), ("quarantined", number(kept)), ("unswept", known(unswept))]))
}

/// Jobs that a rule still might take: those in the part of the queues that was not swept. Not known before it has begun.
fn unswept(context: &Context, rule: &Rule) -> Option<u64> {
    let sweep = context.host.sweep_of(context.keys.selected(), rule.number);
    (sweep.seen_version == context.jobs.rules.version()).then(|| sweep.of.saturating_sub(sweep.swept))
}

pub fn quarantined(context: &mut Context, rule: &str, origin: &[u8]) -> Result<u64, Stop> {
    Ok(context.keys.count(&super::catch::quarantine_key(rule, origin))?)
}

/// The number of jobs in all quarantines of a rule.
fn all_quarantined(context: &mut Context, rule: &str, places: &[Vec<u8>]) -> Result<u64, Stop> {
    places.iter().try_fold(0, |sum, place| Ok(sum + quarantined(context, rule, place)?))
}

fn list(context: &mut Context, _request: &[Bytes]) -> Outcome {
    let database = context.keys.selected();
    let rules: Vec<Rule> =
        context.jobs.rules.of(database).iter().filter(|rule| rule.kind_name() == KIND).cloned().collect();
    let now_ms = context.keys.now_ms();
    Ok(Reply::Array(rules.iter().map(|rule| super::rules::described(rule, now_ms)).collect()))
}

fn info(context: &mut Context, request: &[Bytes]) -> Outcome {
    let name = text_of(&request[2]);
    let database = context.keys.selected();
    let rule = context.jobs.rules.find(database, KIND, &name).cloned();
    let places = origins(context, &name);
    let now_ms = context.keys.now_ms();
    let counting = context.host.count_of(database, &name).map(|count| count.reply(now_ms));
    if rule.is_none() && places.is_empty() && counting.is_none() {
        return Err(no_rule(&name).into());
    }
    let count = |context: &mut Context, what: &str| count_of(context, &name, what);
    let by_place: Vec<(Reply, Reply)> = ledger::counts_by_key(context, "from")
        .into_iter()
        .filter(|(rule, ..)| *rule == name)
        .map(|(_, key, taken)| (text(key), number(taken)))
        .collect();
    let kept = all_quarantined(context, &name, &places)?;
    let moment = |at_ms: u64| known((at_ms > 0).then_some(at_ms));
    let sweep = rule.as_ref().map(|rule| context.host.sweep_of(database, rule.number));
    let sweeping = sweep.is_some_and(|sweep| sweep.sweeping || sweep.seen_version != context.jobs.rules.version());
    let (at_push, by_sweep) = (count(context, "push"), count(context, "sweep"));
    let counts = count_markers(context, &name, &places);
    Ok(map(vec![
        ("name", text(&name)),
        ("in_force", Reply::flag(rule.is_some())),
        ("rule", rule.as_ref().map_or(Reply::Null, |rule| text(words::line(rule, now_ms)))),
        ("by", rule.as_ref().map_or(Reply::Null, |rule| text(&rule.made.by))),
        ("at", rule.as_ref().map_or(Reply::Null, |rule| number(rule.made.at_ms))),
        ("expires_at", rule.as_ref().map_or(Reply::Null, |rule| known(rule.expires_ms))),
        ("matched", number(at_push + by_sweep)),
        ("matched_at_push", number(at_push)),
        ("matched_at_pop", number(0)),
        ("matched_by_sweep", number(by_sweep)),
        ("matched_in", Reply::Map(by_place)),
        ("quarantined", number(kept)),
        ("bytes", number(count(context, "bytes"))),
        ("dropped", number(count(context, "dropped"))),
        ("dead", number(count(context, "dead"))),
        ("restored", number(count(context, "restored"))),
        ("purged", number(count(context, "purged"))),
        ("unique", counts.0),
        ("batches", counts.1),
        ("running", Reply::Null),
        ("first", moment(count(context, "first"))),
        ("last", moment(count(context, "last"))),
        ("sweeping", Reply::flag(sweeping)),
        ("swept", known(sweep.map(|sweep| sweep.swept))),
        ("of", known(sweep.map(|sweep| sweep.of))),
        ("skipped", known(sweep.map(|sweep| sweep.skipped))),
        ("count", counting.unwrap_or(Reply::Null)),
    ]))
}

/// How many jobs with locks and batches the newest part of the quarantine has, as far as it is in memory; nil otherwise.
fn count_markers(context: &mut Context, rule: &str, places: &[Vec<u8>]) -> (Reply, Reply) {
    let (mut unique, mut batches) = (0, std::collections::BTreeSet::new());
    let mut left = context.host.settings().job_scan_max as usize;
    for origin in places {
        let name = super::catch::quarantine_key(rule, origin);
        let Ok(Some(slot)) = context.keys.find_kind(&name, ValueKind::List) else { continue };
        for chunk in context.keys.list(slot).chunks_from(crate::keyspace::Side::Right, None) {
            if chunk.missing().is_some() || left == 0 {
                return (Reply::Null, Reply::Null);
            }
            for (_, item) in chunk.items() {
                let job = Job::new(item);
                unique += u64::from(job.is_unique());
                batches.extend(job.batch().map(|batch| batch.to_string()));
                left = left.saturating_sub(1);
            }
        }
    }
    (number(unique), number(batches.len() as u64))
}

fn test(context: &mut Context, request: &[Bytes]) -> Outcome {
    let job = Job::new(&request[2]);
    let queue = request
        .get(3)
        .map_or_else(|| job.field(Field::Queue).unwrap_or_default().as_bytes().to_vec(), |queue| queue.to_vec());
    let queue = if context.keys.queues.names.is_queue(&queue) { queue } else { [b"queue:", &queue[..]].concat() };
    let now_ms = context.keys.now_ms();
    let rules = context.jobs.rules.for_queue(context.keys.selected(), &queue, Besides::default());
    Ok(match rules.take(&job, now_ms, Some(now_ms)) {
        Some(index) => text(&*rules.taking(index).name),
        None => Reply::Null,
    })
}

/// A predicate, and options behind it, of RESTORE and PURGE.
struct Choice {
    predicate: Option<Predicate>,
    count: Option<u64>,
    front: bool,
    rate: Option<u64>,
    unlock: bool,
}

fn choice(context: &Context, words: &[Bytes]) -> Result<Choice, Error> {
    let mut choice = Choice { predicate: None, count: None, front: false, rate: None, unlock: false };
    let mut at = 0;
    let positive = |name: &str, word: Option<&Bytes>| {
        let word = word.ok_or_else(|| Error::new(format!("ERR {name} needs a value")))?;
        not_negative(word)
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| Error::new(format!("ERR {name} takes a number from 1 on, not '{}'", text_of(word))))
    };
    while at < words.len() {
        match &words[at] {
            word if is(word, "count") => choice.count = Some(positive("COUNT", words.get(at + 1))?),
            word if is(word, "rate") => choice.rate = Some(positive("RATE", words.get(at + 1))?),
            word if is(word, "at") => {
                choice.front = match words.get(at + 1) {
                    Some(end) if is(end, "front") => true,
                    Some(end) if is(end, "back") => false,
                    _ => return Err(Error::constant("ERR AT takes front or back")),
                }
            }
            word if is(word, "unlock") => {
                choice.unlock = true;
                at += 1;
                continue;
            }
            _ => {
                let (predicate, used) = Predicate::parse(&words[at..], context.keys.now_ms(), words::OPTIONS)
                    .map_err(|error| Error::new(error.to_string()))?;
                if used == 0 || choice.predicate.is_some() {
                    return Err(Error::new(format!(
                        "ERR '{}' is no option here (word {})",
                        text_of(&words[at]),
                        at + 1
                    )));
                }
                choice.predicate = Some(predicate);
                at += used;
                continue;
            }
        }
        at += 2;
    }
    Ok(choice)
}

fn restore(context: &mut Context, request: &[Bytes]) -> Outcome {
    let name = text_of(&request[2]);
    let choice = choice(context, &request[3..])?;
    let places = origins(context, &name);
    if places.is_empty() && context.jobs.rules.find(context.keys.selected(), KIND, &name).is_none() {
        return Err(no_rule(&name).into());
    }
    refuse_if_caught_again(context, &name, &places)?;
    let waiting = all_quarantined(context, &name, &places)?;
    let Choice { predicate, count, front, rate, .. } = choice;
    work::begin(
        context,
        Work::Restore { database: context.keys.selected(), rule: name.clone(), predicate, count, front, rate },
    )?;
    Ok(map(vec![("name", text(&name)), ("quarantined", number(waiting))]))
}

/// A rule that would take the jobs again right away is named.
fn refuse_if_caught_again(context: &mut Context, name: &str, places: &[Vec<u8>]) -> Result<(), Stop> {
    let database = context.keys.selected();
    let refused = |rule: &str| {
        Stop::from(Error::new(format!("ERR blackhole '{rule}' is in force and would take them again; delete it first")))
    };
    if context.jobs.rules.find(database, KIND, name).is_some() {
        return Err(refused(name));
    }
    let now_ms = context.keys.now_ms();
    for origin in places {
        let quarantine = super::catch::quarantine_key(name, origin);
        let Ok(Some(slot)) = context.keys.find_kind(&quarantine, ValueKind::List) else { continue };
        let rules = context.jobs.rules.for_queue(database, origin, Besides::default());
        for side in [crate::keyspace::Side::Left, crate::keyspace::Side::Right] {
            let item = context.keys.list_end(slot, side)?;
            if let Some(index) = rules.take(&Job::new(item), now_ms, None) {
                return Err(refused(&rules.taking(index).name));
            }
        }
    }
    Ok(())
}

fn purge(context: &mut Context, request: &[Bytes]) -> Outcome {
    let name = text_of(&request[2]);
    let Choice { predicate, unlock, .. } = choice(context, &request[3..])?;
    let places = origins(context, &name);
    if places.is_empty() && context.jobs.rules.find(context.keys.selected(), KIND, &name).is_none() {
        return Err(no_rule(&name).into());
    }
    let waiting = all_quarantined(context, &name, &places)?;
    let places = places.into_iter().map(|key| Until { last: last_of_quarantine(context, &name, &key), key }).collect();
    let (database, rule) = (context.keys.selected(), name.clone());
    work::begin(context, Work::Purge { database, rule, predicate, unlock, places })?;
    Ok(map(vec![("name", text(&name)), ("quarantined", number(waiting))]))
}

/// How far a quarantine goes now, as [`Until`] has it.
fn last_of_quarantine(context: &mut Context, rule: &str, origin: &[u8]) -> u64 {
    let key = quarantine_key(rule, origin);
    match context.keys.find_kind(&key, ValueKind::List) {
        Ok(Some(slot)) => context.keys.list(slot).end_ordinal(Side::Right),
        _ => context.keys.length(&key).unwrap_or(u64::MAX),
    }
}

/// The keys of the queues that a glob or a word means, in this database.
pub fn queues_matching(context: &Context, glob: &[u8]) -> Vec<Vec<u8>> {
    let glob = &String::from_utf8_lossy(glob);
    let queues = context.keys.queues.in_database(context.keys.selected());
    queues.filter(|(_, queue)| queue_matches(glob, &queue.key)).map(|(_, queue)| queue.key.to_vec()).collect()
}
