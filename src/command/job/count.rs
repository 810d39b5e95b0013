//! Counting to the job, behind the reply that asked for it: JOB.BLACKHOLE ADD … DRYRUN EXACT.
//!
//! A thread looks at the jobs of a few chunks at a time ([`Want::Counted`]) while other commands run; INFO tells how far
//! that is. Chunks whose summaries prove that no job matches are passed over. What comes or goes meanwhile may be counted
//! or not. It is a question and no data: a restart forgets it.
//!
//! [`Want::Counted`]: super::look::Want::Counted

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::job::Holding;
use crate::keyspace::{Keyspace, ObjectId, Piece};
use crate::resp::Reply;
use crate::sched::{QueueRules, Rule};

use super::estimate::proof::holding;
use super::look::{Answer, Counted, PIECES_BYTES_MAX, PIECES_MAX};
use super::sample::reading::{CHUNKS_A_TURN, Pass, queues};
use super::{blackhole, known, map, number, text, words};
use crate::command::Context;

/// Batches that are told apart.
pub const BATCHES_MAX: usize = 100_000;

/// See the module.
#[derive(Debug)]
pub struct Count {
    pub database: usize,
    pub rule: Rule,
    pass: Pass,
    /// The rule alone, as it is asked about jobs of the queue with this index.
    asks: Option<(usize, Arc<QueueRules>)>,
    /// Jobs when it began, those of the chunks that were passed, and those that were read.
    of: u64,
    passed: u64,
    read: u64,
    counted: Counted,
    /// Only until it is over.
    batches: BTreeSet<String>,
    batch_count: usize,
    is_over: bool,
    failed: Option<String>,
}

/// What a count wants next.
pub enum Next {
    /// To have these looked at.
    Look(ObjectId, Arc<QueueRules>, Vec<Piece>),
    /// To go on in a later turn.
    More,
    Over,
}

impl Count {
    /// Counts in the queues that there are in the selected database.
    pub fn new(context: &Context, rule: Rule) -> Count {
        let covered = queues(context, |key| rule.predicate().covers_queue(key));
        Count {
            database: context.keys.selected(),
            of: covered.iter().map(|key| blackhole::length_of(context, key)).sum(),
            pass: Pass::new(covered),
            rule,
            asks: None,
            passed: 0,
            read: 0,
            counted: Counted::default(),
            batches: BTreeSet::new(),
            batch_count: 0,
            is_over: false,
            failed: None,
        }
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Passes over chunks up to those that have to be looked at.
    pub fn next(&mut self, keys: &mut Keyspace) -> Next {
        let (rule, passed) = (&self.rule, &mut self.passed);
        let (mut pieces, mut bytes, mut from) = (Vec::new(), 0, None);
        let went = self.pass.step(keys, CHUNKS_A_TURN, |object, _, key, chunk| {
            *passed += chunk.live();
            if holding(rule, key, &chunk) != Holding::None {
                from = Some(object);
                bytes += chunk.data_bytes();
                pieces.push(chunk.piece());
            }
            match pieces.len() == PIECES_MAX || bytes > PIECES_BYTES_MAX {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        match (went, from) {
            (None, _) => {
                self.end();
                Next::Over
            }
            (Some(_), None) => Next::More,
            (Some(went), Some(object)) => Next::Look(object, self.asks_about(went.index), pieces),
        }
    }

    fn asks_about(&mut self, queue: usize) -> Arc<QueueRules> {
        match &self.asks {
            Some((of, rules)) if *of == queue => rules.clone(),
            _ => {
                let rules = Arc::new(QueueRules::for_one(&self.pass.keys()[queue], &self.rule));
                self.asks = Some((queue, rules.clone()));
                rules
            }
        }
    }

    /// Takes what was seen in the pieces that were asked about.
    pub fn hear(&mut self, answer: Answer) {
        self.read += answer.counted.jobs;
        self.counted.add(&answer.counted);
        let room = (BATCHES_MAX + 1).saturating_sub(self.batches.len());
        self.batches.extend(answer.batches.into_iter().take(room));
        self.batch_count = self.batches.len();
        if answer.failed.is_some() {
            self.failed = answer.failed;
            self.end();
        }
    }

    /// Keeps what INFO tells, and not what it took to find it.
    fn end(&mut self) {
        self.is_over = true;
        self.batches = BTreeSet::new();
    }

    /// What INFO says of it.
    pub fn reply(&self, now_ms: u64) -> Reply {
        let batches = self.batch_count;
        map(vec![
            ("rule", text(words::line(&self.rule, now_ms))),
            ("at", number(self.rule.made.at_ms)),
            ("counting", Reply::flag(!self.is_over)),
            ("failed", self.failed.as_ref().map_or(Reply::Null, text)),
            ("matched", number(self.counted.matched)),
            ("unique", number(self.counted.unique)),
            ("batches", known((batches <= BATCHES_MAX).then_some(batches as u64))),
            ("encrypted", number(self.counted.encrypted)),
            ("unreadable", number(self.counted.unreadable)),
            ("scanned", number(self.read)),
            ("passed", number(self.passed)),
            ("of", number(self.of)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::{Question, Want, look};
    use super::super::sample::testing::*;
    use super::*;
    use crate::command::Within;
    use crate::keyspace::Side;

    fn job(class: &str, customer: u64, number: u64, more: &str) -> String {
        format!(r#"{{"class":"{class}","jid":"{number}","args":[{{"customer_id":{customer}}}]{more}}}"#)
    }

    /// Asks for a count, and lets it go on to its end; tells how often it asked.
    fn count(bench: &mut Bench, words: &str) -> u32 {
        tell(bench, &format!("JOB.BLACKHOLE ADD imp {words} DRYRUN EXACT"));
        let mut asked = 0;
        loop {
            let mut count = bench.host.counts.pop().expect("it was begun");
            let next = count.next(&mut bench.keys);
            if let Next::Look(object, rules, pieces) = next {
                asked += 1;
                let (now_ms, want) = (bench.now_ms, Want::Counted);
                let question = Question { token: 1, object, rules, now_ms, from: Side::Left, pieces, want };
                count.hear(look(question, |_, _| Ok(None)));
            }
            let is_over = count.is_over();
            bench.host.counts.push(count);
            if is_over {
                return asked;
            }
        }
    }

    fn told(bench: &mut Bench) -> Reply {
        field(&bench.run("JOB.BLACKHOLE INFO imp"), "count")
    }

    #[track_caller]
    fn check(bench: &mut Bench, words: &str, matched: i64, of: i64) {
        count(bench, words);
        let told = told(bench);
        let figures = ["matched", "passed", "of", "counting"].map(|name| figure(&told, name));
        assert_eq!(figures, [matched, of, of, 0], "{words}: {told:?}");
    }

    #[test]
    fn jobs_that_match_are_counted() {
        let mut bench = bench(1000);
        let class = |number: u64| if number < 30 { "ImportJob" } else { "Mail" };
        push(&mut bench, "queue:a", (0..100).map(|number| job(class(number), number % 3, number, "")));
        push(&mut bench, "queue:b", [job("ImportJob", 1, 1000, "")]);
        for _ in 0..2 {
            check(&mut bench, "CLASS ImportJob ARG customer_id=1", 11, 101);
            check(&mut bench, "QUEUE a CLASS ImportJob ARG customer_id=1", 10, 100);
            check(&mut bench, "CLASS ImportJob", 31, 101);
            check(&mut bench, "QUEUE a ALL", 100, 100);
            check(&mut bench, "CLASS Nobody", 0, 101);
            check(&mut bench, "QUEUE none CLASS ImportJob", 0, 0);
            summarize(&mut bench);
        }
        assert_eq!(bench.run("JOB.BLACKHOLE LIST"), Reply::Array(vec![]));
        assert_eq!(figure(&bench.run("JOB.BLACKHOLE INFO imp"), "in_force"), 0);
    }

    #[test]
    fn what_the_jobs_hold_is_counted_too() {
        let mut bench = bench(1000);
        let more = r#","lock_digest":"d","bid":"b1""#;
        push(&mut bench, "queue:a", (0..4).map(|number| job("A", 1, number, more)));
        push(&mut bench, "queue:a", [job("A", 1, 5, r#","bid":"b2""#), job("A", 2, 6, r#","encrypt":true"#)]);
        count(&mut bench, "CLASS A ARG customer_id=1");
        let told = told(&mut bench);
        for (name, value) in [("matched", 5), ("unique", 4), ("batches", 2), ("encrypted", 0), ("unreadable", 1)] {
            assert_eq!(figure(&told, name), value, "{name}");
        }
    }

    #[test]
    fn a_long_queue_is_counted_in_steps_and_only_where_a_match_may_be() {
        let mut bench = bench(2_000);
        let class = |number: u64| if number < 1_000 { "ImportJob" } else { "Mail" };
        push(&mut bench, "queue:a", (0..20_000).map(|number| job(class(number), number % 5, number, "")));
        assert!(count(&mut bench, "CLASS ImportJob ARG customer_id=2") > 10);
        assert_eq!(figure(&told(&mut bench), "matched"), 200);
        assert_eq!(figure(&told(&mut bench), "scanned"), 20_000);
        // Now most chunks have summaries, which prove that they hold no job of that class.
        summarize(&mut bench);
        count(&mut bench, "CLASS ImportJob ARG customer_id=2");
        assert_eq!(figure(&told(&mut bench), "matched"), 200);
        let scanned = figure(&told(&mut bench), "scanned");
        assert!((1_000..2_000).contains(&scanned), "{scanned}");
    }

    #[test]
    fn a_count_that_goes_on_and_one_that_fails_say_so() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", (0..100).map(|number| job("A", 1, number, "")));
        let reply = bench.run("JOB.BLACKHOLE ADD imp CLASS A DRYRUN EXACT");
        assert_eq!((figure(&reply, "matched"), figure(&reply, "counting")), (100, 1));
        assert_eq!((figure(&told(&mut bench), "counting"), figure(&told(&mut bench), "passed")), (1, 0));
        let count = bench.host.counts.last_mut().expect("it was begun");
        count.hear(Answer { failed: Some("chunk 7: torn".to_owned()), ..Answer::default() });
        assert_eq!(figure(&told(&mut bench), "counting"), 0);
        assert_eq!(field(&told(&mut bench), "failed"), text("chunk 7: torn"));
        bench.within = Within::Transaction;
        assert_eq!(figure(&bench.run("JOB.BLACKHOLE ADD imp CLASS A DRYRUN"), "counting"), 0);
    }
}
