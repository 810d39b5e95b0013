//! JOB.INSPECT: what is in a queue, without reading it all.
//!
//! Whole chunks are drawn until about as many jobs are read as were asked for; the intervals allow for jobs of one chunk
//! being alike. A queue that is no longer than that is read whole, and all is exact.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{Kind, Piece, Slot};
use crate::resp::Reply;
use crate::sched::{NO_TENANT, Sharing};

use super::sample::Sampler;
use super::sample::interval::{Estimate, Looked, Shares};
use super::sample::reading::{CHUNKS_A_TURN, Course, Next, Pass, Reading, one_list, read};
use super::scan::Options;
use super::{READ, SINCE, known, map, number, text};
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

/// Jobs that are read if it is not said, and at the most.
const SAMPLE_DEFAULT: u64 = 1_000;
const SAMPLE_MAX: u64 = 100_000;
/// Chunks that are drawn at the most, and the bytes of them.
const DRAWS_MAX: u64 = 1_024;
const BYTES_MAX: u64 = 64 << 20;
/// Classes and tenants that are shown: those with the most jobs.
const SHOWN_MAX: usize = 20;
/// How jobs without a class are called.
const NAMELESS: &str = "-";

pub const COMMANDS: &[Command] = &[Command {
    name: "job.inspect",
    run: inspect,
    syntax: "queue [SAMPLE count] [predicate]",
    summary: "Returns what is in a queue, estimated from whole chunks that are drawn by chance; exact if it is short.",
    since: SINCE,
    group: Group::Job,
    complexity: "O(C+N) where C is the number of chunks and N the number of jobs that are read.",
    flags: READ,
    keys: Keys::None,
    examples: &["JOB.INSPECT default", "JOB.INSPECT default SAMPLE 0", "JOB.INSPECT default CLASS A SAMPLE 10"],
}];

fn inspect(context: &mut Context, request: &[Bytes]) -> Outcome {
    let options = Options::read(&request[2..], context.keys.now_ms(), "SAMPLE", SAMPLE_DEFAULT, SAMPLE_MAX)?;
    let (key, slot) = one_list(context, &request[1])?;
    begin(context, key, slot, options, None)
}

/// Answers whose the jobs of a queue are, one of several, that would be shared in some way.
pub fn shares(context: &mut Context, key: Vec<u8>, queues: u64, sharing: Sharing) -> Outcome {
    let slot = context.keys.find_kind(&key, Kind::List)?;
    let options = Options { predicate: None, count: SAMPLE_DEFAULT };
    begin(context, key, slot, options, Some(Planned { sharing, queues, paths: Names::default() }))
}

fn begin(
    context: &mut Context,
    key: Vec<u8>,
    slot: Option<Slot>,
    options: Options,
    planned: Option<Planned>,
) -> Outcome {
    let (draws, few_max) = slot.map_or((0, 0), |slot| draws_for(context, slot, options.count));
    let inspection = Inspection {
        planned,
        options,
        now_ms: context.keys.now_ms(),
        pass: Pass::new(vec![key]),
        sampler: Some(Sampler::new(draws, few_max)),
        course: Course::none(),
        at: None,
        seen: Seen::default(),
    };
    read(context, inspection)
}

/// How many chunks to draw for about so many jobs, and of how many all are read.
fn draws_for(context: &Context, slot: Slot, jobs: u64) -> (usize, usize) {
    let list = context.keys.list(slot);
    if list.len() <= jobs {
        return (0, usize::MAX);
    }
    let draws = (jobs * list.chunk_count() as u64).div_ceil(list.len()).clamp(2, DRAWS_MAX) as usize;
    (draws, draws)
}

/// What is told of a queue that would be shared.
struct Planned {
    sharing: Sharing,
    /// How many queues would be.
    queues: u64,
    /// Where tenants were found.
    paths: Names,
}

/// See the module.
struct Inspection {
    planned: Option<Planned>,
    options: Options,
    now_ms: u64,
    pass: Pass,
    /// Until the pass is over.
    sampler: Option<Sampler<Piece>>,
    course: Course<Chunk>,
    at: Option<Chunk>,
    seen: Seen,
}

/// A chunk that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Chunk {
    number: usize,
    jobs: u64,
    /// How many draws took it.
    times: u64,
}

/// What the chunks have shown.
#[derive(Default)]
struct Seen {
    looked: Looked,
    classes: Names,
    tenants: Names,
    matched: Count,
    without_fields: Count,
    bytes: u64,
    enqueued_ms: Option<(u64, u64)>,
}

impl Reading for Inspection {
    fn see(&mut self, ordinal: u64, item: &[u8]) {
        let chunk = self.course.at(ordinal);
        if self.at != Some(chunk) {
            self.close();
            self.at = Some(chunk);
        }
        let (seen, job) = (&mut self.seen, Job::new(item));
        seen.bytes += item.len() as u64 * chunk.times;
        seen.without_fields.now += u64::from(!job.has_fields());
        seen.classes.count(job.class().as_deref().unwrap_or(NAMELESS));
        match &mut self.planned {
            Some(planned) => match planned.sharing.tenant_and_place(&job) {
                Some((tenant, place)) => {
                    seen.tenants.count(&tenant);
                    planned.paths.count(&place);
                }
                None => seen.tenants.count(NO_TENANT),
            },
            None => seen.tenants.count(job.tenant().as_deref().unwrap_or(NO_TENANT)),
        }
        if let Some(at_ms) = job.enqueued_ms() {
            let (oldest, newest) = seen.enqueued_ms.unwrap_or((at_ms, at_ms));
            seen.enqueued_ms = Some((oldest.min(at_ms), newest.max(at_ms)));
        }
        if self.options.predicate.is_some() {
            let queue = &self.pass.keys()[0];
            seen.matched.now += u64::from(self.options.matches(queue, &job, self.now_ms));
        }
    }

    fn next(&mut self, context: &mut Context) -> Result<Next, Stop> {
        let Some(sampler) = &mut self.sampler else {
            self.close();
            return Ok(Next::Reply(self.reply()));
        };
        let random = &mut *context.random;
        let went = self.pass.step(context.keys, CHUNKS_A_TURN, |_, _, _, chunk| {
            sampler.offer(random, chunk.live(), || chunk.piece());
            ControlFlow::Continue(())
        });
        match went {
            Some(went) if went.chunks == CHUNKS_A_TURN => Ok(Next::Read(went.slot, Vec::new())),
            _ => self.begin(context),
        }
    }
}

impl Inspection {
    /// Reads what was drawn, if the list is still there.
    fn begin(&mut self, context: &mut Context) -> Result<Next, Stop> {
        let drawn = self.sampler.take().expect("the pass is over once").finish();
        let slot = context.keys.find_kind(&self.pass.keys()[0], Kind::List).ok().flatten();
        let Some(slot) = slot.filter(|_| drawn.total > 0) else { return self.next(context) };
        let (mut times, mut bytes) = (vec![0; drawn.chosen.len()], 0);
        for index in &drawn.draws {
            // What is left out by this was drawn last, which says nothing of what it is.
            if bytes < BYTES_MAX || drawn.is_all {
                times[*index] += 1;
                bytes += u64::from(drawn.chosen[*index].1.data_bytes);
            }
        }
        let mut pieces = Vec::new();
        self.seen.looked.total = drawn.total;
        for (number, ((jobs, piece), times)) in drawn.chosen.into_iter().zip(times).enumerate() {
            if times > 0 {
                self.seen.looked.draws += times;
                self.seen.looked.jobs += jobs;
                pieces.push((piece, Chunk { number, jobs, times }));
            }
        }
        let (course, pieces) = Course::new(pieces);
        self.course = course;
        Ok(Next::Read(slot, pieces))
    }

    /// Takes what the chunk has shown whose jobs were seen last.
    fn close(&mut self) {
        let Some(chunk) = self.at.take() else { return };
        let seen = &mut self.seen;
        seen.classes.close(&chunk);
        seen.tenants.close(&chunk);
        seen.matched.close(&chunk);
        seen.without_fields.close(&chunk);
        if let Some(planned) = &mut self.planned {
            planned.paths.close(&chunk);
        }
    }

    fn reply(&mut self) -> Reply {
        let seen = &self.seen;
        let looked = &seen.looked;
        let matched = self.options.predicate.as_ref().map(|_| seen.matched.shares.estimate(looked));
        if let Some(planned) = &self.planned {
            let without = seen.tenants.shares(NO_TENANT).map(|shares| shares.estimate(looked));
            let part = without.map_or(0.0, |without| without.number as f64 / (looked.total as f64).max(1.0));
            return map(vec![
                ("queues", number(planned.queues)),
                ("queue", text(&self.pass.keys()[0])),
                ("total", number(looked.total)),
                ("sampled", number(looked.jobs)),
                ("exact", Reply::flag(looked.jobs == looked.total)),
                ("tenants_seen", number(seen.tenants.len_but(NO_TENANT))),
                ("tenants", seen.tenants.reply(looked)),
                ("part_without", Reply::Double(part)),
                ("found_by", planned.paths.reply(looked)),
            ]);
        }
        let drawn_jobs: u64 = self.seen.classes.jobs_drawn;
        map(vec![
            ("queue", text(&self.pass.keys()[0])),
            ("total", number(looked.total)),
            ("sampled", number(looked.jobs)),
            ("exact", Reply::flag(looked.jobs == looked.total)),
            ("matched", known(matched.map(|matched| matched.number))),
            ("interval", matched.map_or(Reply::Null, |matched| matched.interval())),
            ("classes", seen.classes.reply(looked)),
            ("tenants", seen.tenants.reply(looked)),
            ("without_fields", number(seen.without_fields.shares.estimate(looked).number)),
            ("oldest_enqueued", known(seen.enqueued_ms.map(|(oldest, _)| oldest))),
            ("newest_enqueued", known(seen.enqueued_ms.map(|(_, newest)| newest))),
            ("bytes_mean", known(seen.bytes.checked_div(drawn_jobs))),
        ])
    }
}

/// How many jobs something holds for, chunk by chunk.
#[derive(Debug, Default)]
struct Count {
    shares: Shares,
    /// In the chunk that is being read.
    now: u64,
}

impl Count {
    fn close(&mut self, chunk: &Chunk) {
        self.shares.add(self.now, chunk.jobs, chunk.times);
        self.now = 0;
    }
}

/// Counts by name. There are no more names than jobs that are read.
#[derive(Debug, Default)]
struct Names {
    numbers: BTreeMap<Box<str>, usize>,
    counts: Vec<Count>,
    /// Of those that were met in the chunk that is being read.
    met: Vec<usize>,
    /// Jobs, each as often as it was drawn.
    jobs_drawn: u64,
}

impl Names {
    fn count(&mut self, name: &str) {
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None => {
                self.numbers.insert(name.into(), self.counts.len());
                self.counts.push(Count::default());
                self.counts.len() - 1
            }
        };
        let count = &mut self.counts[number];
        if count.now == 0 {
            self.met.push(number);
        }
        count.now += 1;
    }

    fn close(&mut self, chunk: &Chunk) {
        self.jobs_drawn += chunk.jobs * chunk.times;
        for number in self.met.drain(..) {
            self.counts[number].close(chunk);
        }
    }

    fn shares(&self, name: &str) -> Option<&Shares> {
        self.numbers.get(name).map(|number| &self.counts[*number].shares)
    }

    fn len_but(&self, name: &str) -> u64 {
        self.numbers.len() as u64 - u64::from(self.numbers.contains_key(name))
    }

    /// Those with the most jobs, each with the number and the ends of its interval.
    fn reply(&self, looked: &Looked) -> Reply {
        let mut all: Vec<(&str, &Shares)> =
            self.numbers.iter().map(|(name, number)| (&**name, &self.counts[*number].shares)).collect();
        all.sort_by(|(one, a), (other, b)| b.sum().total_cmp(&a.sum()).then(one.cmp(other)));
        let shown = |shares: &Shares| {
            let Estimate { number: mean, low, high } = shares.estimate(looked);
            Reply::Array([mean, low, high].into_iter().map(number).collect())
        };
        Reply::Map(all.into_iter().take(SHOWN_MAX).map(|(name, shares)| (text(name), shown(shares))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    fn job(class: &str, number: u64) -> String {
        format!(
            r#"{{"class":"{class}","jid":"{number}","tenant_id":{},"enqueued_at":{}}}"#,
            number % 3,
            1_700_000_000_000 + number
        )
    }

    fn counts(reply: &Reply, name: &str) -> Vec<(String, [i64; 3])> {
        let Reply::Map(pairs) = field(reply, name) else { panic!("{reply:?}") };
        let of = |(name, value): (Reply, Reply)| {
            let numbers: Vec<i64> = elements(&value)
                .iter()
                .map(|number| if let Reply::Integer(number) = number { *number } else { panic!("{number:?}") })
                .collect();
            let Reply::Bulk(name) = name else { panic!("{name:?}") };
            (String::from_utf8_lossy(&name).into_owned(), numbers.try_into().unwrap())
        };
        pairs.into_iter().map(of).collect()
    }

    #[test]
    fn a_short_queue_is_read_whole() {
        let mut bench = bench(200);
        push(&mut bench, "queue:a", (0..30).map(|number| job(if number < 10 { "A" } else { "B" }, number)));
        push(&mut bench, "queue:a", ["no job"]);
        let reply = bench.run("JOB.INSPECT a CLASS B");
        for (name, value) in [("total", 31), ("sampled", 31), ("exact", 1), ("matched", 20), ("without_fields", 1)] {
            assert_eq!(figure(&reply, name), value, "{name}");
        }
        assert_eq!(field(&reply, "interval"), Reply::Array(vec![Reply::Integer(20), Reply::Integer(20)]));
        let classes = [("B".into(), [20; 3]), ("A".into(), [10; 3]), ("-".into(), [1; 3])];
        assert_eq!(counts(&reply, "classes"), classes);
        assert_eq!(counts(&reply, "tenants")[3], ("-".into(), [1; 3]));
        assert_eq!(figure(&reply, "oldest_enqueued"), 1_700_000_000_000);
        assert_eq!(figure(&reply, "newest_enqueued"), 1_700_000_000_029);
    }

    #[test]
    fn a_long_queue_is_estimated() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", (0..5000).map(|number| job(if number % 10 == 0 { "A" } else { "B" }, number)));
        let reply = tell(&mut bench, "JOB.INSPECT a SAMPLE 500 TENANT 1");
        assert_eq!(figure(&reply, "total"), 5000);
        assert_eq!(figure(&reply, "exact"), 0);
        assert!((300..=510).contains(&figure(&reply, "sampled")), "{reply:?}");
        for (what, [number, low, high], truth) in
            [("A", counts(&reply, "classes")[1].1, 500), ("B", counts(&reply, "classes")[0].1, 4500)]
        {
            assert!(low <= number && number <= high && (low..=high).contains(&truth), "{what}: {number} {low} {high}");
        }
        assert!((1500..1900).contains(&figure(&reply, "matched")), "{reply:?}");
        let bytes = figure(&reply, "bytes_mean");
        assert!((65..70).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_queue_that_is_not_there_has_nothing() {
        let reply = bench(64).run("JOB.INSPECT a");
        assert_eq!((figure(&reply, "total"), figure(&reply, "exact")), (0, 1));
        assert_eq!(field(&reply, "matched"), Reply::Null);
        assert_eq!(field(&reply, "bytes_mean"), Reply::Null);
    }
}
