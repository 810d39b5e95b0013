//! What a blackhole would match, before it is made: JOB.BLACKHOLE ADD … DRYRUN.
//!
//! Chunks whose summaries prove that all or none of their jobs match need not be read. Of the others some are drawn and read,
//! a few at a time, until the number is known well enough or the time is over.

pub mod proof;
mod stratum;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::time::Duration;

use crate::job::{Holding, Job};
use crate::keyspace::Kind as ValueKind;
use crate::resp::Reply;
use crate::sched::{Kind, QueueRules, Rule, Scope};

use self::proof::{exact_class, holding, of_class, takes_part};
use self::stratum::{Place, Stratum};
use super::blackhole::Made;
use super::count::BATCHES_MAX;
use super::look::Counted;
use super::sample::interval::Estimate;
use super::sample::reading::{CHUNKS_A_TURN, Course, Next, Pass, Reading, queues, read};
use super::{known, map, number, places, text};
use crate::command::{Context, Outcome, Stop};

/// Chunks that are drawn at the least, unless the time is over, and at the most.
const DRAWS_MIN: usize = 100;
const DRAWS_MAX: usize = 240;
/// Chunks of which it is known how many jobs match are drawn only to see what kind of jobs those are.
const KNOWN_DRAWS: usize = 8;
/// With so many draws, an interval that is within this part of the number is good enough.
const GOOD_PART: f64 = 0.25;
/// No further draws are begun after this time, if there are enough, and in any case after that: an answer takes 50 ms at most.
const ENOUGH: Duration = Duration::from_millis(20);
const AT_MOST: Duration = Duration::from_millis(38);
/// Payloads that are shown, and of each so many bytes at the most.
const SAMPLES_MAX: usize = 5;
const SAMPLE_BYTES_MAX: usize = 16 * 1024;

/// Answers what a rule would match in the queues of this database, and whether that is being counted besides.
pub fn dry_run(context: &mut Context, rule: Rule, counting: bool) -> Outcome {
    let covered = queues(context, |key| rule.predicate().covers_queue(key));
    let survey = Survey {
        rules: QueueRules::for_one(b"", &rule),
        class: exact_class(&rule),
        rule,
        counting,
        began: context.now.mono,
        now_ms: context.keys.now_ms(),
        pass: Pass::new(covered),
        strata: [Stratum::passing(DRAWS_MAX, DRAWS_MIN), Stratum::passing(KNOWN_DRAWS, KNOWN_DRAWS)],
        has_passed: false,
        waiting: BTreeMap::new(),
        course: Course::none(),
        total: 0,
        sure: 0,
        seen: Seen::default(),
    };
    read(context, survey)
}

/// See [`dry_run`].
struct Survey {
    rule: Rule,
    rules: QueueRules,
    /// The class that all matches are of, if it is one.
    class: Option<String>,
    counting: bool,
    began: Duration,
    now_ms: u64,
    pass: Pass,
    /// Chunks of which it has to be found out how many jobs match, and those of which it is known.
    strata: [Stratum; 2],
    has_passed: bool,
    /// What is to be read next: by queue, chunks as (stratum, index).
    waiting: BTreeMap<usize, Vec<(usize, usize)>>,
    /// What is being read.
    course: Course<(usize, usize)>,
    /// Jobs in the queues, and those of them that match for sure.
    total: u64,
    sure: u64,
    seen: Seen,
}

/// What was met on the way.
#[derive(Default)]
struct Seen {
    batches: BTreeSet<String>,
    samples: Vec<Reply>,
    /// The chunk that showed a sample last.
    shown: Option<(usize, usize)>,
}

impl Reading for Survey {
    fn see(&mut self, ordinal: u64, item: &[u8]) {
        let place = self.course.at(ordinal);
        let stratum = &mut self.strata[place.0];
        let queue = &self.pass.keys()[stratum.drawn.chosen[place.1].1.queue];
        let job = Job::new(item);
        let matches = self.rules.takes_from(queue, &job, self.now_ms);
        stratum.found[place.1].get_or_insert_default().see(&job, matches);
        if !matches {
            return;
        }
        if let Some(batch) = job.batch().filter(|_| self.seen.batches.len() <= BATCHES_MAX) {
            self.seen.batches.insert(batch.into_owned());
        }
        self.show(place, item);
    }

    fn next(&mut self, context: &mut Context) -> Result<Next, Stop> {
        if !self.has_passed {
            if let Some(next) = self.pass_over(context) {
                return Ok(next);
            }
            self.strata.iter_mut().for_each(Stratum::draw);
            self.has_passed = true;
        }
        loop {
            while let Some((queue, wanted)) = self.waiting.pop_first() {
                if let Some(next) = self.read_some(context, queue, wanted) {
                    return Ok(next);
                }
            }
            if self.is_enough(context) {
                return Ok(Next::Reply(self.reply(context)));
            }
            self.plan();
        }
    }
}

impl Survey {
    /// Looks at what the summaries say.
    fn pass_over(&mut self, context: &mut Context) -> Option<Next> {
        let mut left = CHUNKS_A_TURN;
        loop {
            let (rule, class, strata) = (&self.rule, self.class.as_deref(), &mut self.strata);
            let (total, sure) = (&mut self.total, &mut self.sure);
            let counts_class = rule.predicate().by_class_alone() && !takes_part(rule);
            let (keys, random) = (&mut *context.keys, &mut *context.random);
            let went = self.pass.step(keys, left, |object, queue, key, chunk| {
                let live = chunk.live();
                *total += live;
                let place = || Place { queue, object, piece: chunk.piece() };
                let of_class = class.and_then(|class| of_class(class, &chunk));
                match (holding(rule, key, &chunk), of_class) {
                    (Holding::None, _) => {}
                    (Holding::All, _) => {
                        *sure += live;
                        strata[1].offer(random, live, place);
                    }
                    (_, Some((count, true))) if counts_class => {
                        *sure += count;
                        strata[1].offer(random, live, place);
                    }
                    (_, of_class) => strata[0].offer(random, of_class.map_or(live, |(count, _)| count), place),
                }
                ControlFlow::Continue(())
            })?;
            left = left.saturating_sub(went.chunks);
            if left == 0 {
                return Some(Next::Read(went.slot, Vec::new()));
            }
        }
    }

    /// Begins to read chunks of one queue. If its list is gone, so are their jobs.
    fn read_some(&mut self, context: &mut Context, queue: usize, wanted: Vec<(usize, usize)>) -> Option<Next> {
        let found = context.keys.find_kind(&self.pass.keys()[queue], ValueKind::List);
        let slot = found.ok().flatten();
        let object = slot.map(|slot| context.keys.object(slot).id);
        let mut pieces = Vec::new();
        for (stratum, index) in wanted {
            let of = &mut self.strata[stratum];
            of.found[index].get_or_insert_default();
            let place = &of.drawn.chosen[index].1;
            if Some(place.object) == object {
                pieces.push((place.piece.clone(), (stratum, index)));
            }
        }
        let (course, pieces) = Course::new(pieces);
        self.course = course;
        (!pieces.is_empty()).then(|| Next::Read(slot.expect("it has an object"), pieces))
    }

    /// Takes the next draws. Those whose chunks were read already cost nothing.
    fn plan(&mut self) {
        for (number, stratum) in self.strata.iter_mut().enumerate() {
            for index in stratum.next_draws() {
                let queue = stratum.drawn.chosen[index].1.queue;
                self.waiting.entry(queue).or_default().push((number, index));
            }
        }
    }

    fn is_enough(&self, context: &Context) -> bool {
        let [open, sure] = &self.strata;
        let began = open.used + sure.used > 0 || open.drawn.total + sure.drawn.total == 0;
        if !began || (open.drawn.is_all && open.used < open.drawn.draws.len()) {
            return false;
        }
        let passed = context.now.mono.saturating_sub(self.began);
        open.used == open.drawn.draws.len()
            || passed >= AT_MOST
            || (open.used >= DRAWS_MIN && (passed >= ENOUGH || self.matched().is_within(GOOD_PART)))
    }

    fn matched(&self) -> Estimate {
        self.strata[0].estimate(|found| found.matched).plus(self.sure)
    }

    fn show(&mut self, place: (usize, usize), item: &[u8]) {
        let crowded = self.strata[0].drawn.chosen.len() >= SAMPLES_MAX;
        if self.seen.samples.len() < SAMPLES_MAX && !(crowded && self.seen.shown == Some(place)) {
            self.seen.shown = Some(place);
            self.seen.samples.push(text(&item[..item.len().min(SAMPLE_BYTES_MAX)]));
        }
    }

    /// All that was read.
    fn read(&self) -> Counted {
        let mut read = Counted::default();
        self.strata.iter().flat_map(|stratum| stratum.found.iter().flatten()).for_each(|found| read.add(found));
        read
    }

    fn reply(&mut self, context: &mut Context) -> Reply {
        let (matched, read) = (self.matched(), self.read());
        // Where no match was seen, nothing is known of those that there may be.
        let is_known = read.matched > 0 || matched.high == 0;
        let of_matches =
            |pick: fn(&Counted) -> u64| is_known.then(|| self.strata.iter().map(|stratum| stratum.number(pick)).sum());
        let (unique, encrypted) = (of_matches(|found| found.unique), of_matches(|found| found.encrypted));
        let batches = is_known.then_some(self.seen.batches.len() as u64);
        let Made { queues, mut warnings, .. } = Made::of(context, &self.rule);
        warnings.extend(self.warnings(context, &read));
        map(vec![
            ("name", text(&self.rule.name)),
            ("db", number(context.keys.selected() as u64)),
            ("queues", number(queues)),
            ("matched", number(matched.number)),
            ("interval", matched.interval()),
            ("scanned", number(read.jobs)),
            ("total", number(self.total)),
            ("samples", Reply::Array(std::mem::take(&mut self.seen.samples))),
            ("unique", known(unique)),
            ("batches", known(batches.filter(|batches| *batches <= BATCHES_MAX as u64))),
            ("encrypted", known(encrypted)),
            ("counting", Reply::flag(self.counting)),
            ("warnings", Reply::Array(warnings.iter().map(text).collect())),
        ])
    }

    fn warnings(&self, context: &Context, read: &Counted) -> Vec<String> {
        let mut warnings = Vec::new();
        if read.unreadable > 0 {
            let Counted { unreadable, jobs, .. } = read;
            warnings.push(format!(
                "{unreadable} of {jobs} jobs that were read have encrypted arguments, which ARG and WHERE cannot see"
            ));
        }
        if matches!(&self.rule.kind, Kind::Blackhole(blackhole) if blackhole.scope == Scope::All) {
            for key in places::all(context) {
                let length = match context.keys.length(&key) {
                    Some(0) => continue,
                    Some(length) => format!(" ({length})"),
                    // It is not in memory.
                    None => String::new(),
                };
                let key = String::from_utf8_lossy(&key);
                warnings.push(format!("{key}{length} is not counted here, and would be swept too"));
            }
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    fn job(class: &str, customer: u64, number: u64, more: &str) -> String {
        format!(r#"{{"class":"{class}","jid":"{number}","args":[{{"customer_id":{customer}}}]{more}}}"#)
    }

    fn interval(reply: &Reply) -> (i64, i64) {
        match elements(&field(reply, "interval")) {
            [Reply::Integer(low), Reply::Integer(high)] => (*low, *high),
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(bench: &mut Bench, words: &str, matched: i64) {
        let reply = tell(bench, &format!("JOB.BLACKHOLE ADD imp {words} DRYRUN"));
        assert_eq!(figure(&reply, "matched"), matched, "{words}");
        assert_eq!(interval(&reply), (matched, matched), "{words}");
    }

    #[test]
    fn a_short_queue_is_counted() {
        let mut bench = bench(1000);
        let class = |number: u64| if number < 30 { "ImportJob" } else { "Mail" };
        push(&mut bench, "queue:a", (0..100).map(|number| job(class(number), number % 3, number, "")));
        push(&mut bench, "queue:b", [job("ImportJob", 1, 1000, "")]);
        for _ in 0..2 {
            check(&mut bench, "CLASS ImportJob ARG customer_id=1", 11);
            check(&mut bench, "QUEUE a CLASS ImportJob ARG customer_id=1", 10);
            check(&mut bench, "CLASS ImportJob", 31);
            check(&mut bench, "QUEUE a ALL", 100);
            check(&mut bench, "CLASS Nobody", 0);
            check(&mut bench, "QUEUE none CLASS ImportJob", 0);
            summarize(&mut bench);
        }
    }

    #[test]
    fn what_the_jobs_hold_is_told() {
        let mut bench = bench(1000);
        let more = r#","lock_digest":"d","bid":"b1""#;
        push(&mut bench, "queue:a", (0..4).map(|number| job("A", 1, number, more)));
        push(&mut bench, "queue:a", [job("A", 1, 5, r#","bid":"b2""#), job("A", 2, 6, r#","encrypt":true"#)]);
        bench.run("ZADD retry 1 x");
        let reply = tell(&mut bench, "JOB.BLACKHOLE ADD imp CLASS A ARG customer_id=1 DRYRUN");
        for (name, value) in
            [("matched", 5), ("unique", 4), ("batches", 2), ("encrypted", 0), ("scanned", 6), ("total", 6)]
        {
            assert_eq!(figure(&reply, name), value, "{name}");
        }
        assert_eq!(elements(&field(&reply, "samples")).len(), 5);
        assert_eq!(
            field(&reply, "warnings"),
            Reply::Array(vec![
                text("1 of 6 jobs that were read have encrypted arguments, which ARG and WHERE cannot see"),
                text("retry (1) is not counted here, and would be swept too"),
            ])
        );
        assert_eq!(bench.run("JOB.BLACKHOLE LIST"), Reply::Array(vec![]));
    }

    #[test]
    fn a_queue_that_is_not_there_is_a_warning() {
        let reply = bench(1000).run("JOB.BLACKHOLE ADD imp QUEUE none ALL DRYRUN");
        assert_eq!((figure(&reply, "matched"), figure(&reply, "queues")), (0, 0));
        assert_eq!(elements(&field(&reply, "warnings")).len(), 1);
    }

    #[test]
    fn a_long_queue_is_estimated() {
        let mut bench = bench(2_000);
        let class = |number: u64| if number % 10 == 3 { "ImportJob" } else { "Mail" };
        push(&mut bench, "queue:a", (0..20_000).map(|number| job(class(number), number / 10 % 5, number, "")));
        push(&mut bench, "resque:queue:b", (0..5_000).map(|number| job(class(number), number / 10 % 5, number, "")));
        let truth = 500;
        for summarized in [false, true] {
            let reply = tell(&mut bench, "JOB.BLACKHOLE ADD imp CLASS ImportJob ARG customer_id=2 DRYRUN");
            let (low, high) = interval(&reply);
            assert!(low < truth && truth < high && high < 2 * truth, "{low} to {high}");
            assert!(figure(&reply, "scanned") < 8_000, "{summarized}");
            let reply = tell(&mut bench, "JOB.BLACKHOLE ADD imp CLASS Nobody ARG customer_id=2 DRYRUN");
            assert_eq!(figure(&reply, "matched"), 0);
            assert_eq!(figure(&reply, "total"), 25_000);
            if summarized {
                assert_eq!(interval(&reply), (0, 0));
            }
            summarize(&mut bench);
        }
        // By summaries alone, but for the last chunks, which are still written to.
        let reply = tell(&mut bench, "JOB.BLACKHOLE ADD imp CLASS ImportJob DRYRUN");
        assert_eq!((figure(&reply, "matched"), interval(&reply)), (2_500, (2_500, 2_500)));
        assert!(figure(&reply, "scanned") < 400);
        let reply = tell(&mut bench, "JOB.BLACKHOLE ADD imp CLASS ImportJob SAMPLE 0.5 DRYRUN");
        let (low, high) = interval(&reply);
        assert!(low < 1_250 && 1_250 < high, "{low} to {high}");
    }
}
