//! Rules as words: one parser for what a client sends, what is stored, and what a dump says; and the way back.

use bytes::Bytes;

use crate::job::{Path, Pattern, Predicate, format_duration, parse_duration_ms};
use crate::resp::{Error, parse_double};
use crate::sched::{
    Action, Blackhole, Bounds, By, Cost, Fair, Kind, Limit, Made, Mode, Order, Rate, Rule, Scope, Sharing, Slo, Span,
    Weight,
};

use crate::command::argument::is;

/// A longer name is nobody's.
const NAME_BYTES_MAX: usize = 200;
/// Paths of one BY, jobs of one turn, and weights but 0.
const PATHS_MAX: usize = 8;
const QUANTUM_MAX: u32 = 1_000;
const WEIGHT_MIN: f64 = 0.001;
const WEIGHT_MAX: f64 = 1000.0;
/// Words at which the paths of BY end.
const TENANT_OPTIONS: &[&str] = &["MODE", "COST", "QUANTUM", "NAME", "COMMENT", "EXPIRE", "REPLACE", "DRYRUN"];
/// Options of rules, at which the ids of a JID list end.
pub const OPTIONS: &[&str] = &[
    "SCOPE",
    "ACTION",
    "SAMPLE",
    "UNLOCK",
    "EXPIRE",
    "FOR",
    "COMMENT",
    "DRYRUN",
    "EXACT",
    "REPLACE",
    "COUNT",
    "AT",
    "RATE",
    "NAME",
    "BY",
    "CONCURRENCY",
    "WITHIN",
    "WEIGHT",
    "EXPIRES",
    "RUNTIME",
    "OWNER",
];
/// What is promised may be as long as this.
const PROMISE_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;
/// Jobs that a rate allows in its time, and what a time is at the most; a burst and a concurrency.
const RATE_MAX: u64 = 10_000_000;
const PER_MAX_MS: u64 = 366 * 24 * 60 * 60 * 1000;
const BURST_MAX: u32 = 1_000_000;
/// Classes of errors that an adaptive rate goes by.
const ERRORS_MAX: usize = 16;

/// What a command that makes a rule says beside the rule.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// One of the same name may be replaced.
    pub replace: bool,
    /// Nothing is made: it is only asked what it would match.
    pub dry_run: bool,
    pub exact: bool,
}

/// Reads a rule from the words of the command that makes it.
pub fn parse(words: &[Bytes], made: Made) -> Result<Rule, Error> {
    parse_with_manner(words, made).map(|(rule, _)| rule)
}

/// Reads a rule, and how it is to be made.
pub fn parse_with_manner(words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    match words {
        [command, how, name, rest @ ..] if is(command, "job.blackhole") && (is(how, "add") || is(how, "set")) => {
            blackhole(name, rest, made)
        }
        [command, how, name, rest @ ..] if is(command, "job.limit") && (is(how, "set") || is(how, "add")) => {
            limit(name, rest, made)
        }
        [command, how, name, rest @ ..] if is(command, "job.slo") && (is(how, "set") || is(how, "add")) => {
            slo(name, rest, made)
        }
        [command, how, queue, order, rest @ ..] if is(command, "job.slo") && is(how, "order") => {
            order_of(queue, order, rest, made)
        }
        [command, rest @ ..] if is(command, "job.pause") && !rest.is_empty() => pause(rest, made),
        [command, how, queue, rest @ ..] if is(command, "job.tenant") && is(how, "enable") => fair(queue, rest, made),
        [command, queue, rest @ ..] if is(command, "job.shuffle") => fair(queue, rest, made),
        [command, how, queue, tenant, weight, rest @ ..] if is(command, "job.tenant") && is(how, "weight") => {
            share(queue, tenant, weight, rest, made)
        }
        _ => Err(Error::new(format!("ERR '{}' makes no rule", text(&words.concat())))),
    }
}

fn blackhole(name: &Bytes, words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    let name = checked_name(name)?;
    let mut draft = Draft::default();
    let predicate = draft.read(words, made.at_ms, &["SCOPE", "ACTION", "SAMPLE", "UNLOCK"])?;
    let blackhole = Blackhole {
        predicate,
        scope: draft.scope.unwrap_or(Scope::All),
        action: draft.action.unwrap_or(Action::Quarantine),
        sample: draft.sample.unwrap_or(1.0),
        unlock: draft.unlock,
    };
    draft.finish(name, Kind::Blackhole(blackhole), made)
}

/// `name predicate [BY class|tenant|path] [RATE n PER d [BURST n]] [CONCURRENCY n]`.
fn limit(name: &Bytes, words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    let name = checked_name(name)?;
    let mut draft = Draft::default();
    let predicate = draft.read(words, made.at_ms, &["BY", "RATE", "CONCURRENCY", "ADAPTIVE"])?;
    let bounds = Bounds { rate: draft.rate.take(), concurrency: draft.concurrency, adaptive: draft.adaptive.take() };
    if bounds.rate.is_none() && bounds.concurrency.is_none() {
        return Err(Error::constant("ERR a limit needs RATE n PER duration, CONCURRENCY n or both"));
    }
    if let Some(Span { min, max, .. }) = &bounds.adaptive
        && !bounds.rate.as_ref().is_some_and(|rate| (*min..=*max).contains(&rate.jobs))
    {
        return Err(Error::constant("ERR ADAPTIVE needs a RATE to begin with, between its MIN and MAX"));
    }
    let limit = Limit { predicate, by: draft.by.take(), bounds };
    draft.finish(name, Kind::Limit(limit), made)
}

/// `name predicate WITHIN d [WEIGHT w] [EXPIRES d] [RUNTIME d] [OWNER team]`.
fn slo(name: &Bytes, words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    let name = checked_name(name)?;
    let mut draft = Draft::default();
    let predicate = draft.read(words, made.at_ms, &["WITHIN", "WEIGHT", "EXPIRES", "RUNTIME", "OWNER"])?;
    let within_ms = draft.within_ms.ok_or(Error::constant("ERR a service level needs WITHIN and a duration"))?;
    if draft.expires_after_ms.is_some_and(|expires_ms| expires_ms < within_ms) {
        return Err(Error::constant("ERR EXPIRES is at least as long as WITHIN"));
    }
    let slo = Slo {
        predicate,
        within_ms,
        weight: draft.weight.unwrap_or(1.0),
        expires_ms: draft.expires_after_ms,
        runtime_ms: draft.runtime_ms,
        owner: draft.owner.take(),
    };
    draft.finish(name, Kind::Slo(slo), made)
}

/// `queue-glob strict|slack`.
fn order_of(queue: &Bytes, order: &Bytes, words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    let mut draft = Draft::default();
    let predicate = draft.queues(queue, made.at_ms)?;
    let slack = match order {
        order if is(order, "slack") => true,
        order if is(order, "strict") => false,
        other => return Err(wrong("ORDER takes strict or slack", other)),
    };
    let mut at = 0;
    while at < words.len() {
        at += draft.option(&words[at..], &[])?.ok_or_else(|| {
            Error::new(format!("ERR '{}' is no option here; there are COMMENT and EXPIRE", text(&words[at])))
        })?;
    }
    let name = target(&predicate);
    draft.finish(name, Kind::Order(Order { predicate, slack }), made)
}

/// `queue-glob [CLASS g] [TENANT t] [FOR d] [NAME n]`.
fn pause(words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    let mut draft = Draft::default();
    let mut predicate = vec![Bytes::from_static(b"QUEUE"), words[0].clone()];
    let mut at = 1;
    while at < words.len() {
        at += match draft.option(&words[at..], &["FOR", "NAME"])? {
            Some(used) => used,
            None if is(&words[at], "class") || is(&words[at], "tenant") => {
                predicate.extend(words[at..].iter().take(2).cloned());
                2
            }
            None => {
                let word = text(&words[at]);
                let known = "CLASS, TENANT, FOR, NAME, COMMENT and REPLACE";
                return Err(Error::new(format!("ERR '{word}' is no part of a pause; there are {known}")));
            }
        };
    }
    if predicate.len() == 2 {
        predicate.push(Bytes::from_static(b"ALL"));
    }
    let predicate = draft.read(&predicate, made.at_ms, &[])?;
    let name = match draft.name.take() {
        Some(name) => checked_name(&name)?,
        None => target(&predicate),
    };
    draft.finish(name, Kind::Pause(predicate), made)
}

/// `queue-glob [BY path…] [QUANTUM n]`.
fn fair(queue: &Bytes, words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    let mut draft = Draft::default();
    let predicate = draft.queues(queue, made.at_ms)?;
    let (mut by, mut quantum, mut cost, mut mode) = (Vec::new(), 1, Cost::Count, Mode::Drr);
    let mut at = 0;
    while at < words.len() {
        let word = &words[at];
        at += if let Some(used) = draft.option(&words[at..], &["NAME"])? {
            used
        } else if is(word, "by") {
            let rest = words[at + 1..].iter();
            let paths =
                rest.take_while(|word| !TENANT_OPTIONS.iter().any(|option| is(word, option))).collect::<Vec<_>>();
            if paths.is_empty() || paths.len() > PATHS_MAX {
                return Err(Error::new(format!("ERR BY takes 1 to {PATHS_MAX} paths")));
            }
            for path in &paths {
                by.push(Path::parse(&text(path)).map_err(|error| Error::new(format!("ERR BY: {error}")))?);
            }
            1 + paths.len()
        } else if is(word, "mode") {
            mode = match words.get(at + 1) {
                Some(value) if is(value, "drr") => Mode::Drr,
                Some(value) if is(value, "sqs") => Mode::Sqs,
                other => return Err(wrong("MODE takes drr or sqs", other.map_or(&b""[..], |other| other))),
            };
            2
        } else if is(word, "cost") {
            cost = match words.get(at + 1) {
                Some(value) if is(value, "count") => Cost::Count,
                Some(value) if is(value, "runtime") => Cost::Runtime,
                other => return Err(wrong("COST takes count or runtime", other.map_or(&b""[..], |other| other))),
            };
            2
        } else if is(word, "quantum") {
            let value = words.get(at + 1).and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
            let good = value.filter(|quantum| (1..=QUANTUM_MAX).contains(quantum));
            let given = words.get(at + 1).map_or(&b""[..], |given| given);
            quantum = good.ok_or_else(|| wrong(&format!("QUANTUM takes 1 to {QUANTUM_MAX} jobs"), given))?;
            2
        } else {
            let known = "BY, MODE, COST, QUANTUM, NAME, COMMENT, EXPIRE and REPLACE";
            return Err(Error::new(format!("ERR '{}' is no option here; there are {known}", text(word))));
        };
    }
    if mode == Mode::Sqs && (cost != Cost::Count || quantum != 1) {
        return Err(Error::constant("ERR MODE sqs goes by running jobs, and takes neither COST nor QUANTUM"));
    }
    let name = match draft.name.take() {
        Some(name) => checked_name(&name)?,
        None => target(&predicate),
    };
    draft.finish(name, Kind::Fair(Fair { predicate, how: Sharing { by, quantum, cost, mode } }), made)
}

/// `queue-glob tenant weight`.
fn share(queue: &Bytes, tenant: &Bytes, weight: &Bytes, words: &[Bytes], made: Made) -> Result<(Rule, Manner), Error> {
    let mut draft = Draft::default();
    let predicate = draft.queues(queue, made.at_ms)?;
    let mut at = 0;
    while at < words.len() {
        at += draft.option(&words[at..], &[])?.ok_or_else(|| {
            Error::new(format!("ERR '{}' is no option here; there are COMMENT and EXPIRE", text(&words[at])))
        })?;
    }
    let tenant = checked_name(tenant)?;
    let good = parse_double(weight).filter(|weight| *weight == 0.0 || (WEIGHT_MIN..=WEIGHT_MAX).contains(weight));
    let limits = format!("a weight is 0 or from {WEIGHT_MIN} to {WEIGHT_MAX}");
    let weight = good.ok_or_else(|| wrong(&limits, weight))?;
    let name = format!("{} {tenant}", target(&predicate));
    draft.finish(name, Kind::Weight(Weight { predicate, tenant, weight }), made)
}

/// What a pause is called when nobody gives it a name: the words that say what it is for.
pub fn target(predicate: &Predicate) -> String {
    let words = predicate.words();
    words.iter().skip(1).filter(|word| *word != "ALL").cloned().collect::<Vec<_>>().join(" ")
}

/// The words of the command that makes a rule as it is; its end by time is kept apart.
pub fn of(rule: &Rule) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut say = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    match &rule.kind {
        Kind::Blackhole(blackhole) => {
            say(&["JOB.BLACKHOLE", "ADD", &rule.name]);
            blackhole.predicate.words().iter().for_each(|word| say(&[word]));
            say(&["SCOPE", blackhole.scope.name(), "ACTION", blackhole.action.name()]);
            if blackhole.sample < 1.0 {
                say(&["SAMPLE", &blackhole.sample.to_string()]);
            }
            if blackhole.unlock {
                say(&["UNLOCK"]);
            }
        }
        Kind::Pause(predicate) => {
            say(&["JOB.PAUSE"]);
            predicate.words().iter().skip(1).filter(|word| *word != "ALL").for_each(|word| say(&[word]));
            say(&["NAME", &rule.name]);
        }
        Kind::Fair(fair) => {
            let queue = target(&fair.predicate);
            say(&["JOB.TENANT", "ENABLE", &queue]);
            if !fair.how.by.is_empty() {
                say(&["BY"]);
                fair.how.by.iter().for_each(|path| say(&[&path.to_string()]));
            }
            say(&["MODE", fair.how.mode.name()]);
            if fair.how.mode == Mode::Drr {
                say(&["COST", fair.how.cost.name(), "QUANTUM", &fair.how.quantum.to_string()]);
            }
            if rule.name != queue {
                say(&["NAME", &rule.name]);
            }
        }
        Kind::Limit(limit) => {
            say(&["JOB.LIMIT", "SET", &rule.name]);
            limit.predicate.words().iter().for_each(|word| say(&[word]));
            match &limit.by {
                None => {}
                Some(By::Tenant) => say(&["BY", "tenant"]),
                Some(By::Path(path)) => say(&["BY", &path.to_string()]),
            }
            if let Some(Rate { jobs, per_ms, burst }) = &limit.bounds.rate {
                say(&["RATE", &jobs.to_string(), "PER", &format_duration(*per_ms), "BURST", &burst.to_string()]);
            }
            if let Some(Span { min, max, on }) = &limit.bounds.adaptive {
                say(&["ADAPTIVE", "MIN", &min.to_string(), "MAX", &max.to_string()]);
                if !on.is_empty() {
                    say(&["ON"]);
                    on.iter().for_each(|pattern| say(&[pattern.text()]));
                }
            }
            if let Some(jobs) = limit.bounds.concurrency {
                say(&["CONCURRENCY", &jobs.to_string()]);
            }
        }
        Kind::Slo(slo) => {
            say(&["JOB.SLO", "SET", &rule.name]);
            slo.predicate.words().iter().for_each(|word| say(&[word]));
            say(&["WITHIN", &format_duration(slo.within_ms), "WEIGHT", &crate::resp::format_double(slo.weight)]);
            for (word, value) in [("EXPIRES", slo.expires_ms), ("RUNTIME", slo.runtime_ms)] {
                if let Some(value) = value {
                    say(&[word, &format_duration(value)]);
                }
            }
            if let Some(owner) = &slo.owner {
                say(&["OWNER", owner]);
            }
        }
        Kind::Order(order) => {
            let how = if order.slack { "slack" } else { "strict" };
            say(&["JOB.SLO", "ORDER", &target(&order.predicate), how]);
        }
        Kind::Weight(weight) => {
            let number = crate::resp::format_double(weight.weight);
            say(&["JOB.TENANT", "WEIGHT", &target(&weight.predicate), &weight.tenant, &number]);
        }
    }
    if let Some(comment) = &rule.comment {
        say(&["COMMENT", comment]);
    }
    words
}

/// The command that makes a rule, as a line of text that a person can send again.
pub fn line(rule: &Rule, now_ms: u64) -> String {
    let mut words = of(rule);
    if let Some(at_ms) = rule.expires_ms {
        let how = if matches!(rule.kind, Kind::Pause(_)) { "FOR" } else { "EXPIRE" };
        // To the second: it is for people, and the exact moment is kept beside it.
        words.extend([how.to_owned(), format_duration(at_ms.saturating_sub(now_ms).max(1).next_multiple_of(1000))]);
    }
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as it has to be written in a line for redis-cli.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let escaped: String = word
        .chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            other => other.to_string(),
        })
        .collect();
    format!("\"{escaped}\"")
}

#[derive(Default)]
struct Draft {
    scope: Option<Scope>,
    action: Option<Action>,
    sample: Option<f64>,
    unlock: bool,
    lasts_ms: Option<u64>,
    comment: Option<String>,
    name: Option<Bytes>,
    by: Option<By>,
    rate: Option<Rate>,
    concurrency: Option<u32>,
    adaptive: Option<Span>,
    within_ms: Option<u64>,
    weight: Option<f64>,
    expires_after_ms: Option<u64>,
    runtime_ms: Option<u64>,
    owner: Option<String>,
    manner: Manner,
}

impl Draft {
    /// Reads a queue or queue-glob that stands without its keyword.
    fn queues(&mut self, queue: &Bytes, now_ms: u64) -> Result<Predicate, Error> {
        self.read(&[Bytes::from_static(b"QUEUE"), queue.clone(), Bytes::from_static(b"ALL")], now_ms, &[])
    }

    /// Reads a predicate and, behind or before it, options; of those that not every rule has, only the `own` ones.
    fn read(&mut self, words: &[Bytes], now_ms: u64, own: &[&str]) -> Result<Predicate, Error> {
        let mut predicate = None;
        let mut at = 0;
        while at < words.len() {
            if let Some(used) = self.option(&words[at..], own)? {
                at += used;
                continue;
            }
            if predicate.is_some() {
                return Err(Error::new(format!("ERR '{}' is no option here (word {})", text(&words[at]), at + 1)));
            }
            let (read, used) =
                Predicate::parse(&words[at..], now_ms, OPTIONS).map_err(|error| Error::new(error.to_string()))?;
            if used == 0 {
                return Err(Error::new(format!("ERR '{}' is no option here (word {})", text(&words[at]), at + 1)));
            }
            predicate = Some(read);
            at += used;
        }
        match predicate {
            Some(predicate) => Ok(predicate),
            // It says what is missing.
            None => match Predicate::parse(&[] as &[Bytes], now_ms, OPTIONS) {
                Err(error) => Err(Error::new(error.to_string())),
                Ok(_) => unreachable!("no words are no predicate"),
            },
        }
    }

    /// Reads one option; answers how many words it took.
    fn option(&mut self, words: &[Bytes], own: &[&str]) -> Result<Option<usize>, Error> {
        let name = &words[0];
        let is_own = |option: &str| is(name, option) && own.contains(&option);
        let value = || words.get(1).ok_or_else(|| Error::new(format!("ERR {} needs a value", text(name))));
        let mut used = 2;
        if is_own("SCOPE") {
            self.scope = Some(match value()? {
                value if is(value, "queues") => Scope::Queues,
                value if is(value, "all") => Scope::All,
                other => return Err(wrong("SCOPE takes queues or all", other)),
            });
        } else if is_own("ACTION") {
            self.action = Some(match value()? {
                value if is(value, "quarantine") => Action::Quarantine,
                value if is(value, "drop") => Action::Drop,
                value if is(value, "dead") => Action::Dead,
                other => return Err(wrong("ACTION takes quarantine, drop or dead", other)),
            });
        } else if is_own("SAMPLE") {
            let part = parse_double(value()?).filter(|part| (0.0..=1.0).contains(part));
            self.sample = Some(part.ok_or_else(|| wrong("SAMPLE takes a part from 0 to 1", &words[1]))?);
        } else if is(name, "expire") || is_own("FOR") {
            let text = value()?;
            let lasts =
                std::str::from_utf8(text).ok().and_then(|text| parse_duration_ms(text).ok()).filter(|lasts| *lasts > 0);
            self.lasts_ms = Some(lasts.ok_or_else(|| wrong("a duration is 250ms, 30s, 5m, 2h or 7d", text))?);
        } else if is(name, "comment") {
            self.comment = Some(text(value()?));
        } else if is_own("BY") {
            self.by = Some(match value()? {
                value if is(value, "tenant") => By::Tenant,
                value => By::Path(Path::parse(&text(value)).map_err(|error| Error::new(format!("ERR BY: {error}")))?),
            });
        } else if is_own("CONCURRENCY") {
            let jobs = number(value()?).filter(|jobs| (1..=BURST_MAX).contains(jobs));
            let wrong = || wrong(&format!("CONCURRENCY takes 1 to {BURST_MAX} jobs"), &words[1]);
            self.concurrency = Some(jobs.ok_or_else(wrong)?);
        } else if is_own("ADAPTIVE") {
            let (span, took) = span(words)?;
            self.adaptive = Some(span);
            used = took;
        } else if is_own("RATE") {
            let (rate, took) = rate(words)?;
            self.rate = Some(rate);
            used = took;
        } else if is_own("WITHIN") {
            self.within_ms = Some(promise("WITHIN", value()?)?);
        } else if is_own("EXPIRES") {
            self.expires_after_ms = Some(promise("EXPIRES", value()?)?);
        } else if is_own("RUNTIME") {
            self.runtime_ms = Some(promise("RUNTIME", value()?)?);
        } else if is_own("OWNER") {
            self.owner = Some(checked_name(value()?)?);
        } else if is_own("WEIGHT") {
            let weight = parse_double(value()?).filter(|weight| (WEIGHT_MIN..=WEIGHT_MAX).contains(weight));
            let limits = format!("WEIGHT takes a number from {WEIGHT_MIN} to {WEIGHT_MAX}");
            self.weight = Some(weight.ok_or_else(|| wrong(&limits, &words[1]))?);
        } else if is_own("NAME") {
            self.name = Some(value()?.clone());
        } else {
            used = 1;
            if is_own("UNLOCK") {
                self.unlock = true;
            } else if is(name, "replace") {
                self.manner.replace = true;
            } else if is(name, "dryrun") {
                self.manner.dry_run = true;
            } else if is(name, "exact") {
                self.manner.exact = true;
            } else {
                return Ok(None);
            }
        }
        Ok(Some(used))
    }

    fn finish(self, name: String, kind: Kind, made: Made) -> Result<(Rule, Manner), Error> {
        if self.manner.exact && !self.manner.dry_run {
            return Err(Error::constant("ERR EXACT goes with DRYRUN"));
        }
        let expires_ms = self.lasts_ms.map(|lasts| made.at_ms + lasts);
        Ok((Rule { name, kind, made, comment: self.comment, expires_ms, number: 0, revision: 0 }, self.manner))
    }
}

/// `RATE n PER d [BURST n]`; answers how many words that took.
fn rate(words: &[Bytes]) -> Result<(Rate, usize), Error> {
    let shape = || Error::constant("ERR RATE takes a number of jobs, PER and a duration: RATE 100 PER 1s [BURST 10]");
    let [_, jobs, per, time, rest @ ..] = words else { return Err(shape()) };
    if !is(per, "per") {
        return Err(shape());
    }
    let good: Option<u64> = number(jobs).filter(|jobs| (1..=RATE_MAX).contains(jobs));
    let jobs = good.ok_or_else(|| wrong(&format!("RATE takes 1 to {RATE_MAX} jobs"), jobs))?;
    let per_ms = std::str::from_utf8(time).ok().and_then(|time| parse_duration_ms(time).ok());
    let per_ms = per_ms.filter(|per_ms| (1..=PER_MAX_MS).contains(per_ms));
    let per_ms = per_ms.ok_or_else(|| wrong("PER takes a duration such as 1s, 5m or 1h, up to a year", time))?;
    match rest {
        [burst, value, ..] if is(burst, "burst") => {
            let good = number(value).filter(|burst| (1..=BURST_MAX).contains(burst));
            let burst = good.ok_or_else(|| wrong(&format!("BURST takes 1 to {BURST_MAX} jobs"), value))?;
            Ok((Rate { jobs, per_ms, burst }, 6))
        }
        [burst] if is(burst, "burst") => Err(Error::constant("ERR BURST needs a value")),
        _ => Ok((Rate { jobs, per_ms, burst: 1 }, 4)),
    }
}

/// `ADAPTIVE MIN a MAX b [ON error-class-glob…]`; answers how many words that took.
fn span(words: &[Bytes]) -> Result<(Span, usize), Error> {
    let shape =
        || Error::new(format!("ERR ADAPTIVE takes MIN a MAX b, from 1 to {RATE_MAX} jobs, and ON error-class …"));
    let [_, low, min, high, max, rest @ ..] = words else { return Err(shape()) };
    let (Some(min), Some(max)) = (number::<u64>(min), number::<u64>(max)) else { return Err(shape()) };
    if !is(low, "min") || !is(high, "max") || min == 0 || min > max || max > RATE_MAX {
        return Err(shape());
    }
    let is_option = |word: &Bytes| OPTIONS.iter().any(|option| is(word, option));
    let on: Vec<Pattern> = match rest {
        [word, classes @ ..] if is(word, "on") => {
            classes.iter().take_while(|word| !is_option(word)).map(|class| Pattern::new(&text(class))).collect()
        }
        _ => return Ok((Span { min, max, on: Vec::new() }, 5)),
    };
    if on.is_empty() || on.len() > ERRORS_MAX {
        return Err(Error::new(format!("ERR ON takes 1 to {ERRORS_MAX} classes of errors, as globs")));
    }
    let took = 6 + on.len();
    Ok((Span { min, max, on }, took))
}

/// A time that jobs are promised.
fn promise(option: &str, text: &[u8]) -> Result<u64, Error> {
    let ms = std::str::from_utf8(text).ok().and_then(|text| parse_duration_ms(text).ok());
    let good = ms.filter(|ms| (1..=PROMISE_MAX_MS).contains(ms));
    good.ok_or_else(|| wrong(&format!("{option} takes a duration such as 30s, 5m or 2h, up to a year"), text))
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn checked_name(name: &[u8]) -> Result<String, Error> {
    let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
    match name {
        Some(name) if name.len() <= NAME_BYTES_MAX => Ok(name.to_owned()),
        _ => Err(Error::new(format!("ERR a rule's name is 1 to {NAME_BYTES_MAX} bytes of text"))),
    }
}

fn wrong(expected: &str, given: &[u8]) -> Error {
    Error::new(format!("ERR {expected}, not '{}'", text(given)))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
