//! JOB.FIND: where a job is.
//!
//! Everything is looked through: what is in memory on the way, and the rest chunk by chunk, so much in each turn. What the
//! summary of a chunk rules out is passed over.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::job::{Holding, Job, Predicate};
use crate::keyspace::{Kind, Piece, Slot};
use crate::resp::{Error, Reply};

use super::catch::quarantine_key;
use super::sample::reading::{CHUNKS_A_TURN, Next, Pass, Reading, read};
use super::{READ, SINCE, known, ledger, map, places, text};
use crate::command::{Command, Context, Group, Keys, Outcome, Stop};

/// Places that are told, and the bytes of their payloads: an id is meant to be the name of one job.
const HITS_MAX: usize = 10;
const HITS_BYTES_MAX: usize = 16 << 20;
/// Bytes in memory that are looked through in one turn, and members of a sorted set.
const BYTES_A_TURN: usize = 2 << 20;
const MEMBERS_A_TURN: usize = 4_000;
/// Chunks that are read at a time.
const PIECES_MAX: usize = 256;
/// Lists of resque-scheduler whose names are asked for at a time.
const DELAYED_LISTS: usize = 1_000;

pub const COMMANDS: &[Command] = &[Command {
    name: "job.find",
    run: find,
    syntax: "id",
    summary: "Returns where the job with an id is: queue and index, set and score, quarantine; nothing if it is not here.",
    since: SINCE,
    group: Group::Job,
    complexity: "O(C+N) where C is the number of chunks in all queues and N the number of jobs in those that may have it.",
    flags: READ,
    keys: Keys::None,
    examples: &["JOB.FIND 5f2c9a", "RPUSH queue:default '{\"class\":\"A\",\"jid\":\"5f2c9a\"}'", "JOB.FIND 5f2c9a"],
}];

fn find(context: &mut Context, request: &[Bytes]) -> Outcome {
    search(context, &request[1], |hits, context| {
        Ok(Reply::Array(hits.iter().filter_map(|hit| hit.reply(context)).collect()))
    })
}

/// What is answered to what was found.
type Answer = fn(&[Hit], &mut Context) -> Outcome;

/// Looks for the job with an id everywhere but among those that are leased or not due yet.
pub fn search(context: &mut Context, id: &[u8], answer: Answer) -> Outcome {
    let words = [&b"JID"[..], id];
    let (predicate, _) =
        Predicate::parse(&words, context.keys.now_ms(), &[]).map_err(|error| Error::new(error.to_string()))?;
    let database = context.keys.selected();
    let queues = context.keys.queues.in_database(database);
    let mut lists: Vec<(Vec<u8>, &'static str)> =
        queues.map(|(_, queue)| (queue.key.to_vec(), if queue.working { "working" } else { "queue" })).collect();
    let mut sets = Vec::new();
    for (rule, origin, _) in ledger::counts_by_key(context, "from") {
        let key = quarantine_key(&rule, &origin);
        lists.push((key.clone(), "quarantine"));
        sets.push((key, "quarantine"));
    }
    let mut moments = Vec::new();
    for key in places::all(context) {
        if key.ends_with(b"delayed_queue_schedule") {
            moments.push(key);
        } else if let Some(namespace) = key.strip_suffix(b"schedule") {
            sets.push(([namespace, b"dead"].concat(), "dead"));
            sets.push((key, "schedule"));
        } else {
            sets.push((key, "retry"));
        }
    }
    let (keys, kinds) = lists.into_iter().unzip();
    let search = Search {
        predicate,
        pass: Pass::new(keys),
        kinds,
        reading: 0,
        moments,
        rank: 0,
        sets,
        after: None,
        hits: Vec::new(),
        answer,
    };
    read(context, search)
}

/// See the module.
struct Search {
    predicate: Predicate,
    /// The lists, and what each of them is.
    pass: Pass,
    kinds: Vec<&'static str>,
    /// Which of them is being read.
    reading: usize,
    /// Sets that name lists of resque-scheduler, and how many names of the last one were taken.
    moments: Vec<Vec<u8>>,
    rank: u64,
    /// Sorted sets that are still to be looked through, and the member of the last one that was looked at last.
    sets: Vec<(Vec<u8>, &'static str)>,
    after: Option<(Bytes, f64)>,
    hits: Vec<Hit>,
    answer: Answer,
}

/// A job that was found.
pub struct Hit {
    /// What holds it: a queue, a working list, a quarantine, or one of the sets of the job library.
    pub place: &'static str,
    pub key: Vec<u8>,
    pub at: At,
    pub payload: Bytes,
}

/// Where in it the job is.
#[derive(Clone, Copy)]
pub enum At {
    Ordinal(u64),
    Score(f64),
}

impl Reading for Search {
    fn see(&mut self, ordinal: u64, item: &[u8]) {
        if is_it(&self.predicate, item) {
            self.hit(self.reading, ordinal, item);
        }
    }

    fn next(&mut self, context: &mut Context) -> Result<Next, Stop> {
        loop {
            if self.is_full() {
                return self.reply(context);
            }
            if let Some(next) = self.look_through_lists(context) {
                return Ok(next);
            }
            if self.add_delayed_lists(context)? {
                continue;
            }
            return match self.look_through_sets(context)? {
                Some(slot) => Ok(Next::Read(slot, Vec::new())),
                None => self.reply(context),
            };
        }
    }
}

impl Search {
    /// Looks through what is in memory, and names what has to be read.
    fn look_through_lists(&mut self, context: &mut Context) -> Option<Next> {
        let (mut chunks, mut bytes) = (CHUNKS_A_TURN, 0);
        loop {
            let (predicate, mut pieces, mut found) = (&self.predicate, Vec::<Piece>::new(), Vec::<(u64, Bytes)>::new());
            let went = self.pass.step(context.keys, chunks, |_, _, key, chunk| {
                let may_be_here =
                    chunk.summary().is_none_or(|summary| predicate.by_summary(key, summary) != Holding::None);
                if may_be_here && chunk.missing().is_some() {
                    pieces.push(chunk.piece());
                } else if may_be_here {
                    bytes += chunk.data_bytes();
                    let items = chunk.items().filter(|(_, item)| is_it(predicate, item));
                    found.extend(items.map(|(ordinal, item)| (ordinal, Bytes::copy_from_slice(item))));
                }
                match bytes > BYTES_A_TURN || pieces.len() == PIECES_MAX {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            })?;
            self.reading = went.index;
            found.iter().for_each(|(ordinal, item)| self.hit(went.index, *ordinal, item));
            chunks = chunks.saturating_sub(went.chunks);
            if !pieces.is_empty() || bytes > BYTES_A_TURN || chunks == 0 {
                return Some(Next::Read(went.slot, pieces));
            }
        }
    }

    /// Adds some more of the lists that resque-scheduler has; tells whether there were any.
    fn add_delayed_lists(&mut self, context: &mut Context) -> Result<bool, Stop> {
        while let Some(key) = self.moments.last() {
            let lists = match places::delayed_lists(context, key, self.rank, DELAYED_LISTS) {
                Err(stop @ Stop::Fetch(_)) => return Err(stop),
                // Something else has that name.
                lists => lists.ok().flatten().unwrap_or_default(),
            };
            self.rank += lists.len() as u64;
            if lists.is_empty() {
                (self.rank, _) = (0, self.moments.pop());
                continue;
            }
            self.kinds.extend(lists.iter().map(|_| "schedule"));
            lists.into_iter().for_each(|list| self.pass.add(list));
            return Ok(true);
        }
        Ok(false)
    }

    /// Looks through some members; answers a slot if there are more for a later turn.
    fn look_through_sets(&mut self, context: &mut Context) -> Result<Option<Slot>, Stop> {
        let mut left = MEMBERS_A_TURN;
        while let Some((key, place)) = self.sets.last().cloned() {
            let slot = match context.keys.find_kind(&key, Kind::Zset).map_err(Stop::from) {
                Err(stop @ Stop::Fetch(_)) => return Err(stop),
                slot => slot.ok().flatten(),
            };
            if let Some(slot) = slot {
                let set = context.keys.zset(slot);
                let rank = self.after.take().map_or(0, |(member, score)| match set.rank(&member) {
                    Some(rank) => rank + 1,
                    None => set.rank_of_score(score, false),
                });
                for (member, score) in set.iter_from_rank(rank) {
                    if left == 0 {
                        return Ok(Some(slot));
                    }
                    left -= 1;
                    // Where members came and went meanwhile, one may be looked at twice.
                    let is_new = |hits: &[Hit]| hits.iter().all(|hit| hit.key != key || hit.payload != member);
                    if self.hits.len() < HITS_MAX && is_it(&self.predicate, member) && is_new(&self.hits) {
                        let payload = Bytes::copy_from_slice(member);
                        self.hits.push(Hit { place, key: key.clone(), at: At::Score(score), payload });
                    }
                    if left == 0 {
                        self.after = Some((Bytes::copy_from_slice(member), score));
                    }
                }
            }
            self.sets.pop();
            self.after = None;
        }
        Ok(None)
    }

    fn hit(&mut self, list: usize, ordinal: u64, item: &[u8]) {
        if !self.is_full() {
            let key = self.pass.keys()[list].clone();
            let payload = Bytes::copy_from_slice(item);
            self.hits.push(Hit { place: self.kinds[list], key, at: At::Ordinal(ordinal), payload });
        }
    }

    fn is_full(&self) -> bool {
        let bytes: usize = self.hits.iter().map(|hit| hit.payload.len()).sum();
        self.hits.len() >= HITS_MAX || bytes > HITS_BYTES_MAX
    }

    fn reply(&self, context: &mut Context) -> Result<Next, Stop> {
        (self.answer)(&self.hits, context).map(Next::Reply)
    }
}

impl Hit {
    /// Nothing if the job has left meanwhile.
    fn reply(&self, context: &mut Context) -> Option<Reply> {
        let (position, score) = match self.at {
            At::Score(score) => (None, Reply::Double(score)),
            At::Ordinal(ordinal) => {
                let slot = context.keys.find_kind(&self.key, Kind::List).ok()??;
                (Some(context.keys.list(slot).index_of(ordinal)?), Reply::Null)
            }
        };
        Some(map(vec![
            ("place", text(self.place)),
            ("key", text(&self.key)),
            ("position", known(position)),
            ("score", score),
            ("payload", Reply::Bulk(self.payload.clone())),
        ]))
    }
}

fn is_it(predicate: &Predicate, item: &[u8]) -> bool {
    // The word is looked for before anything is read.
    predicate.matches(b"", &Job::new(item), 0, 0)
}

#[cfg(test)]
mod tests {
    use super::super::sample::testing::*;
    use super::*;

    fn job(id: &str) -> String {
        format!(r#"{{"class":"A","jid":"{id}"}}"#)
    }

    fn places(reply: &Reply) -> Vec<String> {
        let told = |hit: &Reply, name| match field(hit, name) {
            Reply::Bulk(text) => String::from_utf8_lossy(&text).into_owned(),
            Reply::Integer(number) => number.to_string(),
            Reply::Double(score) => score.to_string(),
            other => format!("{other:?}"),
        };
        let place = |hit| ["place", "key", "position", "score"].map(|name| told(hit, name)).join(" ");
        elements(reply).iter().map(place).collect()
    }

    #[test]
    fn a_job_is_found_wherever_it_is() {
        let mut bench = bench(100);
        push(&mut bench, "queue:a", (0..20).map(|number| job(&format!("id{number}"))));
        push(&mut bench, "resque:queue:b", [job("id7"), job("other")]);
        for (set, score) in [("schedule", 1.5), ("retry", 2.0), ("dead", 3.0)] {
            bench.run(&format!("ZADD {set} {score} '{}'", job("id7")));
            bench.run(&format!("ZADD {set} {score} '{}'", job("another")));
        }
        bench.run("ZADD resque:delayed_queue_schedule 5 5");
        bench.run(&format!("RPUSH resque:delayed:5 '{}'", job("id7")));
        let found = [
            "queue queue:a 12 Null",
            "queue resque:queue:b 1 Null",
            "schedule resque:delayed:5 0 Null",
            "retry retry Null 2",
            "schedule schedule Null 1.5",
            "dead dead Null 3",
        ];
        let mut told = places(&tell(&mut bench, "JOB.FIND id7"));
        let mut found = found.map(str::to_owned).to_vec();
        told.sort();
        found.sort();
        assert_eq!(told, found);
        summarize(&mut bench);
        let mut told = places(&tell(&mut bench, "JOB.FIND id7"));
        told.sort();
        assert_eq!(told, found);
        assert_eq!(tell(&mut bench, "JOB.FIND id"), Reply::Array(vec![]));
    }

    #[test]
    fn a_job_in_quarantine_is_found() {
        let mut bench = bench(1000);
        bench.run("JOB.BLACKHOLE ADD imp CLASS A");
        push(&mut bench, "queue:a", [job("x"), job("y")]);
        let reply = tell(&mut bench, "JOB.FIND y");
        assert_eq!(places(&reply), ["quarantine job:quarantine:imp:queue:a 1 Null"]);
        assert_eq!(field(&elements(&reply)[0], "payload"), text(job("y")));
    }

    #[test]
    fn only_so_many_places_are_told() {
        let mut bench = bench(1000);
        push(&mut bench, "queue:a", (0..30).map(|_| job("x")));
        assert_eq!(elements(&tell(&mut bench, "JOB.FIND x")).len(), HITS_MAX);
    }

    #[test]
    fn a_long_set_is_looked_through_in_turns() {
        let mut bench = bench(1000);
        for number in 0..2 * MEMBERS_A_TURN + 1 {
            bench.run(&format!("ZADD retry {number} '{}'", job(&format!("id{number}"))));
        }
        let last = 2 * MEMBERS_A_TURN;
        assert_eq!(places(&tell(&mut bench, &format!("JOB.FIND id{last}"))), [format!("retry retry Null {last}")]);
    }
}
