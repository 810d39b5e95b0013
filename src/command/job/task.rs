//! Work that goes on behind a command's reply, a bounded step in each turn: putting jobs back, deleting them for good, and
//! taking them out of the sets of scheduled and failed jobs.
//!
//! A step is run like a command: it reads first and writes last, and is run again once what it missed is in memory.

use bytes::Bytes;

use crate::job::{Job, Predicate};
use crate::keyspace::{Kind, Side, Slot};
use crate::sched::{Kind as RuleKind, QueueRules, Rule, Scope, Until, Work};

use super::catch::{self, Caught, quarantine_key};
use super::ledger::{self, Tally};
use super::places::{self, Place, Waiting};
use super::unlock::unlock;
use super::work;
use crate::command::{Context, Stop};

/// Jobs that one step looks at, and moves, at the most.
const STEP_JOBS: usize = 256;
/// Bytes that one step moves, about.
const STEP_BYTES: usize = 256 * 1024;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    More,
    /// Not before this time, in Unix milliseconds.
    Later(u64),
    Done,
}

/// Work under way.
#[derive(Debug)]
pub struct Task {
    id: u64,
    pub work: Work,
    /// Keys still to be visited, the next one last, each with where in it to go on.
    open: Option<Vec<(Vec<u8>, u64)>>,
    moved: u64,
    /// So many were moved when it began, which was then.
    moved_before: u64,
    began_ms: u64,
}

/// What a step looks at in one place: behind the cursor, and from the left no further than what [`Until`] says.
struct Range {
    cursor: u64,
    until: u64,
    from: Side,
}

/// What a step found in one place.
struct Batch {
    chosen: Vec<Waiting>,
    /// Where the next step goes on.
    cursor: u64,
    over: bool,
}

impl Task {
    pub fn new((id, work, moved): (u64, Work, u64), now_ms: u64) -> Task {
        Task { id, work, open: None, moved, moved_before: moved, began_ms: now_ms }
    }

    /// Goes on one step, in the database of the work.
    pub fn step(&mut self, context: &mut Context) -> Result<Progress, Stop> {
        if self.open.is_none() {
            let mut keys = match &self.work {
                Work::Restore { rule, .. } => origins(context, rule),
                Work::Purge { places, .. } => places.iter().map(|until| until.key.clone()).collect(),
                Work::SweepSets { .. } => places::all(context),
            };
            keys.reverse();
            self.open = Some(keys.into_iter().map(|key| (key, 0)).collect());
        }
        let Some((key, cursor)) = self.open.as_ref().and_then(|open| open.last()).cloned() else {
            work::end(context, self.id)?;
            return Ok(Progress::Done);
        };
        match self.work.clone() {
            Work::Restore { rule, predicate, count, front, rate, .. } => {
                let (limit, due_ms) = self.may_move(context.keys.now_ms(), count, rate);
                if limit == 0 {
                    if due_ms.is_none() {
                        work::end(context, self.id)?;
                    }
                    return Ok(due_ms.map_or(Progress::Done, Progress::Later));
                }
                let batch = restore(context, &rule, &key, cursor, predicate.as_ref(), limit, front)?;
                self.moved += batch.chosen.len() as u64;
                if count.is_some() && !batch.chosen.is_empty() {
                    work::keep(context, self.id, &self.work, self.moved)?;
                }
                self.go_on(batch);
            }
            Work::Purge { rule, predicate, unlock, .. } => {
                let until = self.until(&key).map_or(0, |until| until.last);
                let batch = purge(context, &rule, (&key, cursor, until), predicate.as_ref(), unlock)?;
                if !batch.chosen.is_empty() && Place::of(context, &key).kind == Kind::Zset {
                    let gone = batch.chosen.len() as u64;
                    self.until(&key).expect("it was just found").last -= gone;
                    work::keep(context, self.id, &self.work, self.moved)?;
                }
                self.go_on(batch);
            }
            Work::SweepSets { number, .. } => {
                if let Some(lists) = places::delayed_lists(context, &key, cursor, STEP_JOBS)? {
                    let open = self.open.as_mut().expect("it was just there");
                    open.pop();
                    if lists.len() == STEP_JOBS {
                        open.push((key, cursor + STEP_JOBS as u64));
                    }
                    open.extend(lists.into_iter().map(|list| (list, 0)));
                    return Ok(Progress::More);
                }
                let batch = sweep(context, number, &key, cursor)?;
                self.go_on(batch);
            }
        }
        Ok(Progress::More)
    }

    /// How many jobs may be moved now, and if none, when the next one may.
    fn may_move(&self, now_ms: u64, count: Option<u64>, rate: Option<u64>) -> (usize, Option<u64>) {
        let wanted = count.map_or(u64::MAX, |count| count.saturating_sub(self.moved)).min(STEP_JOBS as u64);
        let Some(rate) = rate.filter(|_| wanted > 0) else { return (wanted as usize, None) };
        let due = now_ms.saturating_sub(self.began_ms) * rate / 1000 + 1;
        let moved = self.moved - self.moved_before;
        let limit = wanted.min(due.saturating_sub(moved));
        (limit as usize, Some(self.began_ms + moved * 1000 / rate + 1))
    }

    /// How far the work goes in a place, where that was fixed when it was asked for.
    fn until(&mut self, key: &[u8]) -> Option<&mut Until> {
        match &mut self.work {
            Work::Purge { places, .. } => places.iter_mut().find(|until| until.key == key),
            _ => None,
        }
    }

    fn go_on(&mut self, batch: Batch) {
        let open = self.open.as_mut().expect("a step has one");
        match (batch.over, open.last_mut()) {
            (true, _) => drop(open.pop()),
            (false, Some((_, cursor))) => *cursor = batch.cursor,
            (false, None) => {}
        }
    }
}

/// The places from which a rule has taken jobs in the selected database.
pub fn origins(context: &mut Context, rule: &str) -> Vec<Vec<u8>> {
    let all = ledger::counts_by_key(context, "from");
    all.into_iter().filter(|(name, _, count)| name == rule && *count > 0).map(|(_, key, _)| key).collect()
}

/// Puts some jobs of one quarantine back to where they came from.
fn restore(
    context: &mut Context,
    rule: &str,
    origin: &[u8],
    cursor: u64,
    predicate: Option<&Predicate>,
    limit: usize,
    front: bool,
) -> Result<Batch, Stop> {
    let place = Place::of(context, origin);
    let Some(slot) = context.keys.find_kind(&quarantine_key(rule, origin), place.kind)? else { return Ok(Batch::OVER) };
    // At the front the newest goes in first, so that in the end the oldest is at the very front.
    let from = if front { Side::Right } else { Side::Left };
    let range = Range { cursor, until: u64::MAX, from };
    let batch = batch(context, slot, &place, range, limit, |item| chosen_by(predicate, &place, item))?;
    if !batch.chosen.is_empty() {
        place.prepare(context, &batch.chosen)?;
        place.put_back(context, &batch.chosen, front)?;
        take_from_quarantine(context, slot, &place, &batch.chosen)?;
        let mut tally = Tally::new(rule, context.keys.selected());
        tally.add("restored", batch.chosen.len() as u64);
        tally.add_in("restored", origin, batch.chosen.len() as u64);
        tally.subtract("bytes", bytes_of(&batch.chosen));
        tally.write(context)?;
    }
    Ok(batch)
}

/// Deletes some jobs of one quarantine for good.
fn purge(
    context: &mut Context,
    rule: &str,
    (origin, cursor, until): (&[u8], u64, u64),
    predicate: Option<&Predicate>,
    with_locks: bool,
) -> Result<Batch, Stop> {
    let place = Place::of(context, origin);
    let Some(slot) = context.keys.find_kind(&quarantine_key(rule, origin), place.kind)? else { return Ok(Batch::OVER) };
    let range = Range { cursor, until, from: Side::Left };
    let batch = batch(context, slot, &place, range, STEP_JOBS, |item| chosen_by(predicate, &place, item))?;
    if !batch.chosen.is_empty() {
        if with_locks {
            super::unlock::prepare(context)?;
            for waiting in &batch.chosen {
                unlock(context, &Job::new(&waiting.item))?;
            }
        }
        take_from_quarantine(context, slot, &place, &batch.chosen)?;
        let mut tally = Tally::new(rule, context.keys.selected());
        tally.add("purged", batch.chosen.len() as u64);
        tally.add_in("dropped", origin, batch.chosen.len() as u64);
        tally.subtract("bytes", bytes_of(&batch.chosen));
        tally.write(context)?;
    }
    Ok(batch)
}

/// Takes some jobs out of a set of scheduled or failed jobs, or out of a delayed list.
fn sweep(context: &mut Context, number: u64, key: &[u8], cursor: u64) -> Result<Batch, Stop> {
    let database = context.keys.selected();
    // By now there may be a rule in its place that leaves the sets alone.
    let looks_here = |rule: &Rule| matches!(&rule.kind, RuleKind::Blackhole(of) if of.scope == Scope::All);
    let mut rules = context.jobs.rules.of(database).iter();
    let Some(rule) = rules.find(|rule| rule.number == number && looks_here(rule)) else { return Ok(Batch::OVER) };
    let rules = QueueRules::for_one(b"", rule);
    let place = Place::of(context, key);
    let Some(slot) = context.keys.find_kind(key, place.kind)? else { return Ok(Batch::OVER) };
    let now_ms = context.keys.now_ms();
    let is_taken = |item: &[u8]| {
        let job = Job::new(item);
        rules.takes_from(&place.queue_of(&job), &job, now_ms)
    };
    let range = Range { cursor, until: u64::MAX, from: Side::Left };
    let batch = match place.kind {
        Kind::Zset => batch_of_set(context, slot, cursor, is_taken),
        _ => batch(context, slot, &place, range, STEP_JOBS, is_taken)?,
    };
    if !batch.chosen.is_empty() {
        let mut caught = Caught::new(key, place.kind, catch::Place::Sweep);
        batch.chosen.iter().for_each(|waiting| caught.add(rules.taking(0), &waiting.item, waiting.score));
        caught.prepare(context)?;
        place.prepare(context, &batch.chosen)?;
        place.take_out(context, slot, &batch.chosen)?;
        caught.apply(context, Side::Right)?;
    }
    Ok(batch)
}

/// Chooses jobs of a list or sorted set behind a cursor. Looks at one chunk at the most, which must be in memory.
fn batch(
    context: &Context,
    slot: Slot,
    place: &Place,
    Range { cursor, until, from }: Range,
    limit: usize,
    mut choose: impl FnMut(&[u8]) -> bool,
) -> Result<Batch, Stop> {
    let mut batch = Batch { chosen: Vec::new(), cursor, over: false };
    let mut bytes = 0;
    if place.kind == Kind::Zset {
        let mut seen = 0;
        let limit = STEP_JOBS.min(limit) as u64;
        let most = limit.min(until.saturating_sub(cursor)) as usize;
        for (member, score) in context.keys.zset(slot).iter_from_rank(cursor as usize).take(most) {
            seen += 1;
            if choose(member) {
                batch.chosen.push(Waiting { ordinal: 0, score, item: Bytes::copy_from_slice(member) });
            }
        }
        batch.over = seen == 0;
        // What was chosen will be gone, and those behind it move up.
        batch.cursor += seen - batch.chosen.len() as u64;
        return Ok(batch);
    }
    let after = (cursor != 0).then_some(cursor);
    let Some(chunk) = context.keys.list(slot).chunks_from(from, after).next() else { return Ok(Batch::OVER) };
    if let Some(at) = chunk.missing() {
        return Err(context.keys.missing_chunk(slot, at).into());
    }
    for (ordinal, item) in chunk.items() {
        if from == Side::Left && ordinal > until {
            batch.over = true;
            break;
        }
        if batch.chosen.len() == limit || bytes > STEP_BYTES {
            break;
        }
        batch.cursor = ordinal;
        if choose(item) {
            bytes += item.len();
            batch.chosen.push(Waiting { ordinal, score: 0.0, item: Bytes::copy_from_slice(item) });
        }
    }
    Ok(batch)
}

/// Chooses jobs of a sorted set that clients go on changing, as the SCAN family does: whatever is in it all the time is met.
fn batch_of_set(context: &Context, slot: Slot, cursor: u64, mut choose: impl FnMut(&[u8]) -> bool) -> Batch {
    let mut chosen = Vec::new();
    let cursor = context.keys.zset(slot).scan(cursor, STEP_JOBS, |member, score| {
        if choose(member) {
            chosen.push(Waiting { ordinal: 0, score, item: Bytes::copy_from_slice(member) });
        }
    });
    Batch { chosen, cursor, over: cursor == 0 }
}

fn chosen_by(predicate: Option<&Predicate>, place: &Place, item: &[u8]) -> bool {
    predicate.is_none_or(|predicate| {
        let job = Job::new(item);
        predicate.matches(&place.queue_of(&job), &job, 0, 0)
    })
}

fn take_from_quarantine(context: &mut Context, slot: Slot, place: &Place, jobs: &[Waiting]) -> Result<(), Stop> {
    if place.kind == Kind::Zset {
        let members: Vec<&[u8]> = jobs.iter().map(|job| &job.item[..]).collect();
        return Ok(context.keys.remove_names(slot, &members)?);
    }
    let ordinals: Vec<u64> = jobs.iter().map(|job| job.ordinal).collect();
    Ok(context.keys.remove_items(slot, &ordinals)?)
}

fn bytes_of(jobs: &[Waiting]) -> u64 {
    jobs.iter().map(|job| job.item.len() as u64).sum()
}

impl Batch {
    const OVER: Batch = Batch { chosen: Vec::new(), cursor: 0, over: true };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Bench;
    use crate::resp::Reply;

    /// Does all that was asked for.
    fn work_off(bench: &mut Bench) {
        for work in bench.jobs.take_work() {
            let mut task = Task::new(work, bench.now_ms);
            while bench.with_context(|context| task.step(context)).expect("it goes on") == Progress::More {}
        }
    }

    #[test]
    fn sets_are_not_swept_for_a_rule_that_stands_in_the_place_of_one_that_asked_for_it() {
        let mut bench = Bench::default();
        bench.run(r#"ZADD retry 1 '{"class":"A","jid":"a"}' 2 '{"class":"A","jid":"b"}'"#);
        bench.run("JOB.BLACKHOLE ADD imp JID a SCOPE all");
        bench.run("JOB.BLACKHOLE ADD imp CLASS A SCOPE queues REPLACE");
        work_off(&mut bench);
        assert_eq!(bench.run("ZCARD retry"), Reply::Integer(2));
        bench.run("JOB.BLACKHOLE ADD imp CLASS A SCOPE all REPLACE");
        work_off(&mut bench);
        assert_eq!(bench.run("ZCARD retry"), Reply::Integer(0));
    }
}
