//! Sorting the jobs of shared queues into lanes, ahead of the pops: the thread behind the sweeper reads, a turn indexes.

use std::sync::Arc;

use tracing::error;

use crate::clock::Now;
use crate::command::job::look::{Answer, PIECES_BYTES_MAX, PIECES_MAX, Want};
use crate::command::job::{serve, share};
use crate::job::Summary;
use crate::keyspace::{ChunkView, Kind, ObjectId, Piece, QueueId, Side};
use crate::sched::{Lanes, NO_TENANT, QueueRules, ReadFor, Whose};

use super::Shard;
use super::sweeper::SKIPS_A_TURN;

/// Chunks of one question for lanes that have little left: they cannot wait for long.
const REFILL_PIECES: usize = 4;
/// Jobs that one turn puts into lanes.
const SORTED_A_TURN: usize = 2_000;

/// One queue of which more is to be indexed.
#[derive(Debug)]
pub struct Indexing {
    queue: QueueId,
    asked: Option<Asked>,
    /// What the thread has answered, and how many of its jobs are in their lanes.
    answer: Option<(Answer, usize)>,
}

/// What the thread was asked about.
#[derive(Debug)]
struct Asked {
    token: u64,
    rules: Arc<QueueRules>,
    object: ObjectId,
    rewrites: u64,
    side: Side,
    read_for: ReadFor,
    /// Everything before this place was looked at.
    before: u64,
}

/// What is to be done next for a queue.
enum Next {
    Ask(Vec<Piece>, Asked),
    More,
    Over,
}

impl Indexing {
    pub fn new(queue: QueueId) -> Indexing {
        Indexing { queue, asked: None, answer: None }
    }
}

impl Asked {
    /// Puts jobs from one index on into lanes.
    fn sort_in(&self, lanes: &mut Lanes, answer: &Answer, from: usize) {
        let jobs = answer.sorted.jobs.iter().skip(from).take(SORTED_A_TURN);
        let places = jobs.map(|(ordinal, owner)| (share::place_of(self.side, *ordinal), *owner));
        for (place, owner) in places {
            let (tenant, gates, level) = &answer.sorted.owners[owner as usize];
            let whose = Whose { tenant, gates, level: *level };
            if self.read_for.is_refill() {
                lanes.refill(whose, place);
            } else if place >= lanes.frontier() {
                // What is before it was met by pops meanwhile.
                let lane = lanes.lane(whose, |tenant| self.rules.weight(tenant));
                lanes.add(lane, place);
            }
        }
    }
}

impl Shard {
    /// Goes on sorting jobs into lanes; tells whether it could go on at once.
    pub(super) fn index_on(&mut self, now: Now) -> bool {
        for queue in self.jobs.take_indexing() {
            // One whose lanes were made anew is there already.
            if !self.house.sweeper.indexing.iter().any(|indexing| indexing.queue == queue) {
                self.house.sweeper.indexing.push(Indexing::new(queue));
            }
        }
        let mut goes_on = false;
        let mut open = Vec::new();
        for mut indexing in std::mem::take(&mut self.house.sweeper.indexing) {
            if indexing.asked.is_some() {
                goes_on |= indexing.answer.is_some();
                self.sort_in(&mut indexing);
                open.push(indexing);
                continue;
            }
            match self.next_to_index(now, indexing.queue) {
                Next::Ask(pieces, mut asked) => {
                    let (rules, side) = (asked.rules.clone(), asked.side);
                    asked.token = self.question(now, asked.object, &rules, side, pieces, Want::Tenants);
                    indexing.asked = Some(asked);
                    open.push(indexing);
                }
                Next::More => {
                    goes_on = true;
                    open.push(indexing);
                }
                Next::Over => {
                    if let Some(shared) = self.jobs.state(indexing.queue).and_then(|state| state.shared.as_mut()) {
                        shared.indexing = false;
                    }
                }
            }
        }
        self.house.sweeper.indexing = open;
        goes_on
    }

    /// Takes an answer if it is for a queue that is indexed.
    pub(super) fn hear_index(&mut self, answer: Answer) -> Option<Answer> {
        let is_it = |indexing: &Indexing| indexing.asked.as_ref().is_some_and(|asked| asked.token == answer.token);
        let Some(indexing) = self.house.sweeper.indexing.iter_mut().find(|indexing| is_it(indexing)) else {
            return Some(answer);
        };
        if let Some(reason) = &answer.failed {
            error!(%reason, "part of a queue cannot be read, and its jobs are not sorted into lanes");
        }
        indexing.answer = Some((answer, 0));
        None
    }

    /// Puts some of the jobs that the thread has answered into their lanes.
    fn sort_in(&mut self, indexing: &mut Indexing) {
        let (Some(asked), Some((answer, done))) = (&indexing.asked, &mut indexing.answer) else { return };
        let state = self.jobs.state(indexing.queue).filter(|state| state.knows(asked.object, asked.rewrites));
        let lanes = state.and_then(|state| {
            let (rules, shared) = (state.rules.as_ref()?, state.shared.as_mut()?);
            let read_for = shared.reads_for(asked.read_for.is_refill());
            (Arc::ptr_eq(rules, &asked.rules) && read_for == asked.read_for).then_some(&mut shared.lanes)
        });
        let is_over = match lanes {
            // It was asked for lanes that are not there any more, or for a refill that is over.
            None => true,
            Some(lanes) => {
                asked.sort_in(lanes, answer, *done);
                *done += SORTED_A_TURN;
                let is_over = *done >= answer.sorted.jobs.len();
                if is_over && asked.read_for.is_refill() {
                    lanes.refilled(asked.before);
                } else if is_over {
                    lanes.met(asked.before);
                }
                is_over
            }
        };
        if is_over {
            indexing.asked = None;
            self.house.background.free(indexing.answer.take());
        }
        share::account(&mut self.keys, &mut self.jobs, indexing.queue);
        if let Some(queue) = self.keys.queues.get(indexing.queue) {
            let (database, key) = (queue.database, queue.key.clone());
            self.keys.note_growth = self.house.waiters.len() > 0;
            self.keys.note_eligible(database, &key);
        }
    }

    fn next_to_index(&mut self, now: Now, id: QueueId) -> Next {
        let Some(queue) = self.keys.queues.get(id) else { return Next::Over };
        let (database, key) = (queue.database, queue.key.clone());
        let next = self.with_context(now, database, |context| {
            let slot = context.keys.find_kind(&key, Kind::List).ok()??;
            let (_, rules) = serve::rules_of(context, slot).filter(|(_, rules)| rules.paused.is_none())?;
            share::account(context.keys, context.jobs, id);
            let list = context.keys.list(slot);
            let (object, rewrites) = (context.keys.object(slot).id, list.rewrites());
            let shared = context.jobs.state(id)?.shared.as_mut()?;
            let side = if shared.side == serve::index_of(Side::Left) { Side::Left } else { Side::Right };
            let lanes = &mut shared.lanes;
            let memory_max = context.keys.memory.lanes_bytes_max(lanes.memory_bytes());
            let refill_from = lanes.begin_refill();
            let from = refill_from.unwrap_or(lanes.frontier());
            let after = from.checked_sub(1).map(|place| share::ordinal_of(side, place));
            let pieces_max = if refill_from.is_some() { REFILL_PIECES } else { PIECES_MAX };
            let (mut pieces, mut bytes, mut visited, mut before) = (Vec::new(), 0, 0, from);
            for chunk in list.chunks_from(side, after) {
                let is_full = refill_from.is_none() && lanes.is_full_with(memory_max);
                if visited == SKIPS_A_TURN || pieces.len() == pieces_max || bytes > PIECES_BYTES_MAX || is_full {
                    break;
                }
                visited += 1;
                let read = match (chunk.summary(), refill_from) {
                    (None, _) => true,
                    (Some(summary), Some(_)) => has_tenant(&rules, summary, |tenant| lanes.is_refilled(tenant)),
                    (Some(summary), None) => !rules.none_may_go(summary, false) && !are_full(&rules, lanes, summary),
                };
                // Behind a chunk that is read nothing can be noted before its jobs are.
                if !read && refill_from.is_none() {
                    if !pieces.is_empty() {
                        break;
                    }
                    note_full(&rules, lanes, &chunk, side);
                }
                before = share::place_of(side, chunk.last()) + 1;
                if read {
                    bytes += chunk.data_bytes();
                    pieces.push(chunk.piece());
                } else if refill_from.is_none() {
                    lanes.met(before);
                }
            }
            if pieces.is_empty() {
                if refill_from.is_some() {
                    // At the end of the list there is nothing left to find.
                    lanes.refilled(if visited == 0 { u64::MAX } else { before });
                }
                return (visited > 0 || refill_from.is_some()).then_some(Next::More);
            }
            let read_for = shared.reads_for(refill_from.is_some());
            let asked = Asked { token: 0, rules, object, rewrites, side, read_for, before };
            Some(Next::Ask(pieces, asked))
        });
        next.unwrap_or(Next::Over)
    }
}

/// Tells whether a chunk may have jobs of a tenant that fits; only what is sure counts.
fn has_tenant(rules: &QueueRules, summary: &Summary, fits: impl Fn(&str) -> bool) -> bool {
    // Summaries count by tenant, where one is known to stand, and by nothing else that lanes go by.
    let is_told = !rules.has_gates_or_levels() && rules.fair.as_ref().is_some_and(|fair| fair.by.is_empty());
    !is_told
        || summary.other_tenants() > 0
        || summary.tenants().any(|(tenant, _)| fits(tenant))
        || (summary.without_tenant() > 0 && fits(NO_TENANT))
}

/// Tells whether all jobs of a chunk are of lanes that take no more for now.
fn are_full(rules: &QueueRules, lanes: &Lanes, summary: &Summary) -> bool {
    !has_tenant(rules, summary, |tenant| !lanes.is_full(Whose::of(tenant)))
}

/// Notes that the lanes of a chunk have more there.
fn note_full(rules: &QueueRules, lanes: &mut Lanes, chunk: &ChunkView, side: Side) {
    let Some(summary) = chunk.summary().filter(|summary| !rules.none_may_go(summary, false)) else { return };
    let place = share::place_of(side, chunk.first()).max(lanes.frontier());
    let without = summary.without_tenant();
    for (tenant, jobs) in summary.tenants().chain((without > 0).then_some((NO_TENANT, without))) {
        let lane = lanes.lane(Whose::of(tenant), |tenant| rules.weight(tenant));
        lanes.add_unread(lane, place, jobs);
    }
}
