//! JOB.SCAN: reading a queue from one end to the other while it moves.
//!
//! The cursor is the ordinal of the last job that was looked at. Ordinals are never used twice and only LINSERT moves them, so
//! a job that is in the list throughout is returned once, whatever is pushed, popped or swept meanwhile.

use bytes::Bytes;

use crate::job::{Job, Predicate};
use crate::keyspace::Side;
use crate::resp::{Error, Reply};

use super::sample::reading::one_list;
use super::{READ, SINCE, text_of};
use crate::command::argument::{is, not_negative};
use crate::command::scan::{cursor, scanned};
use crate::command::{Command, Context, Group, Keys, Outcome};

/// Jobs that one call looks at if it does not say, and at the most.
const COUNT_DEFAULT: u64 = 100;
const COUNT_MAX: u64 = 1000;
/// Words that a predicate may begin with.
const PARTS: &[&str] = &["QUEUE", "CLASS", "TENANT", "JID", "ARG", "BEFORE", "OLDER", "WHERE", "ALL"];

pub const COMMANDS: &[Command] = &[Command {
    name: "job.scan",
    run: scan,
    syntax: "queue cursor [predicate] [COUNT count]",
    summary: "Iterates over the jobs of a queue from left to right, with a cursor that stays true while the queue moves.",
    since: SINCE,
    group: Group::Job,
    complexity: "O(1) for every call, which looks at one chunk at the most. O(N) for a complete iteration.",
    flags: READ,
    keys: Keys::None,
    examples: &[
        "JOB.SCAN default 0",
        "RPUSH queue:default '{\"class\":\"A\"}' '{\"class\":\"B\"}'",
        "JOB.SCAN default 0 CLASS B",
        "JOB.SCAN default x",
        "JOB.SCAN default 0 COUNT 0",
    ],
}];

fn scan(context: &mut Context, request: &[Bytes]) -> Outcome {
    let after = cursor(&request[2])?;
    let options = Options::read(&request[3..], context.keys.now_ms(), "COUNT", COUNT_DEFAULT, COUNT_MAX)?;
    let (key, slot) = one_list(context, &request[1])?;
    let Some(slot) = slot else { return Ok(scanned(0, Vec::new())) };
    let list = context.keys.list(slot);
    let after = (after != 0).then_some(after);
    let Some(chunk) = list.chunks_from(Side::Left, after).next() else { return Ok(scanned(0, Vec::new())) };
    if let Some(at) = chunk.missing() {
        return Err(context.keys.missing_chunk(slot, at).into());
    }
    let (mut last, mut found) = (0, Vec::new());
    for (ordinal, item) in chunk.items().take(options.count as usize) {
        last = ordinal;
        if options.matches(&key, &Job::new(item), context.keys.now_ms()) {
            found.push(Reply::bulk(item));
        }
    }
    let is_over = list.chunks_from(Side::Left, Some(last)).next().is_none();
    Ok(scanned(if is_over { 0 } else { last }, found))
}

/// `[predicate] [NAME count]`, in any order.
#[derive(Debug)]
pub struct Options {
    pub predicate: Option<Predicate>,
    pub count: u64,
}

impl Options {
    pub fn read(
        options: &[Bytes],
        now_ms: u64,
        name: &str,
        count_default: u64,
        count_max: u64,
    ) -> Result<Options, Error> {
        let mut read = Options { predicate: None, count: count_default };
        let mut at = 0;
        while at < options.len() {
            if is(&options[at], name) {
                let value = options.get(at + 1).ok_or_else(|| Error::new(format!("ERR {name} needs a value")))?;
                let count = not_negative(value).ok().filter(|count| (1..=count_max).contains(count));
                read.count = count.ok_or_else(|| {
                    Error::new(format!("ERR {name} takes a number from 1 to {count_max}, not '{}'", text_of(value)))
                })?;
                at += 2;
                continue;
            }
            if read.predicate.is_some() || !PARTS.iter().any(|part| is(&options[at], part)) {
                let word = text_of(&options[at]);
                return Err(Error::new(format!("ERR '{word}' is no option here; there are one predicate and {name}")));
            }
            let (predicate, used) =
                Predicate::parse(&options[at..], now_ms, &[name]).map_err(|error| Error::new(error.to_string()))?;
            read.predicate = Some(predicate);
            at += used;
        }
        Ok(read)
    }

    /// Tells whether a job of a queue is asked for. Where its payload does not tell when it was pushed, it was just now.
    pub fn matches(&self, queue: &[u8], job: &Job, now_ms: u64) -> bool {
        self.predicate.as_ref().is_none_or(|predicate| predicate.matches(queue, job, now_ms, now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    /// One call: the next cursor, and what it returned.
    fn scan(bench: &mut Bench, cursor: &str, options: &str) -> (String, Vec<String>) {
        let text = |reply: &Reply| match reply {
            Reply::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?}"),
        };
        let reply = bench.run(&format!("JOB.SCAN a {cursor} {options}"));
        let [next, found] = elements(&reply) else { panic!("{reply:?}") };
        (text(next), elements(found).iter().map(text).collect())
    }

    #[test]
    fn a_cursor_stays_true_while_the_queue_moves() {
        let mut bench = bench(20);
        bench.run("RPUSH queue:a 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29");
        let (mut cursor, mut seen) = ("0".to_owned(), Vec::new());
        for round in 0.. {
            let (next, found) = scan(&mut bench, &cursor, "COUNT 3");
            seen.extend(found);
            if next == "0" {
                break;
            }
            cursor = next;
            bench.run("LPUSH queue:a new");
            if round == 2 {
                bench.run("LREM queue:a 1 12");
                bench.run("LREM queue:a 1 25");
                bench.run("RPOP queue:a 1");
            }
        }
        let there: Vec<String> =
            (10..29).filter(|number| *number != 25).map(|number: u32| number.to_string()).collect();
        assert_eq!(seen, there);
    }

    #[test]
    fn a_call_ends_with_a_chunk() {
        let mut bench = bench(4);
        bench.run("RPUSH queue:a aa bb cc");
        let (next, found) = scan(&mut bench, "0", "");
        assert_eq!(found, ["aa", "bb"]);
        assert_eq!(scan(&mut bench, &next, ""), ("0".into(), vec!["cc".into()]));
        assert_eq!(scan(&mut bench, "18446744073709551615", ""), ("0".into(), vec![]));
    }

    #[test]
    fn only_jobs_that_match_are_returned() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", [r#"{"class":"A"}"#, r#"{"class":"B"}"#, "no job"]);
        assert_eq!(scan(&mut bench, "0", "CLASS B COUNT 10").1, [r#"{"class":"B"}"#]);
        assert_eq!(scan(&mut bench, "0", "COUNT 10 ALL").1.len(), 3);
    }

    #[test]
    fn a_wrong_option_is_named() {
        #[track_caller]
        fn check(options: &str, error: &str) {
            let reply = bench(64).run(&format!("JOB.SCAN a 0 {options}"));
            assert_eq!(reply, Reply::Error(Error::new(error.to_owned())), "{options}");
        }
        check("COUNT", "ERR COUNT needs a value");
        check("COUNT 0", "ERR COUNT takes a number from 1 to 1000, not '0'");
        check("COUNT x", "ERR COUNT takes a number from 1 to 1000, not 'x'");
        check("FOO", "ERR 'FOO' is no option here; there are one predicate and COUNT");
        check("ALL COUNT 1 ALL", "ERR 'ALL' is no option here; there are one predicate and COUNT");
        check("QUEUE a", "ERR a predicate that names nothing but a queue needs the word ALL");
    }

    #[test]
    fn what_is_not_in_memory_is_asked_for() {
        let mut bench = bench(4);
        bench.run("RPUSH queue:a aa bb cc dd ee");
        bench.cool();
        let (reply, fetches) = bench.send_counting("JOB.SCAN a 0");
        assert_eq!(fetches, [1]);
        assert_eq!(elements(&elements(&reply)[1]).len(), 2);
    }
}
