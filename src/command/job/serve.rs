//! Pushes and pops of queues that have rules: what rules take out never gets in, and what may not go out is passed over.
//!
//! A pop reads and does not clean up: a job that a rule wants out is skipped like one that is held, and the sweeper takes
//! it away. So a pop changes only the list, as everywhere, and can be run again at any miss.

use std::sync::Arc;

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::list::ChunkAt;
use crate::keyspace::{ChunkView, Keyspace, Kind, List, Miss, QueueId, Side, Slot};
use crate::sched::{Besides, Gates, Held, QueueRules, Verdict};
use crate::settings::Settings;

use super::catch::{Caught, Place};
use super::charge::Charges;
use crate::command::{Context, Stop};

/// What a pop of a queue with rules may take.
pub enum Pick {
    /// What is at the end, as in a list without rules.
    Plain,
    /// These, in order; they need not be next to one another.
    Items(Vec<(u64, Bytes)>),
    Nothing,
}

/// The rules of the list in a slot, if it is a queue that has some.
pub fn rules_of(context: &mut Context, slot: Slot) -> Option<(QueueId, Arc<QueueRules>)> {
    if is_idle(context) {
        return None;
    }
    let object = context.keys.object(slot);
    let id = object.queue;
    if context.keys.queues.get(id)?.working {
        return None;
    }
    let (keys, database) = (&*context.keys, object.database);
    let settings = context.host.settings();
    let besides = || besides(keys, settings, database, &object.key);
    let state = context.jobs.queue(id, database, &object.key, besides_changes(keys, settings), besides);
    let retired = state.look_at(object.id, keys.list(slot).rewrites());
    let rules = state.rules.clone();
    context.jobs.retire(retired);
    rules.map(|rules| (id, rules))
}

/// The rules that a list would have under a key, which may not be there yet.
fn rules_of_key(context: &mut Context, key: &[u8]) -> Option<Arc<QueueRules>> {
    let database = context.keys.selected();
    let settings = context.host.settings();
    let keys = &*context.keys;
    let known = keys.queues.find(database, key);
    if known.is_some_and(|id| keys.queues.get(id).is_some_and(|queue| queue.working))
        || !keys.queues.names.is_queue(key)
    {
        return None;
    }
    match known {
        Some(id) => {
            let besides = || besides(keys, settings, database, key);
            context.jobs.queue(id, database, key, besides_changes(keys, settings), besides).rules.clone()
        }
        None => Some(Arc::new(context.jobs.rules.for_queue(database, key, Besides::default()))),
    }
}

/// What holds for a queue without a rule.
fn besides(keys: &Keyspace, settings: &Settings, database: usize, key: &[u8]) -> Besides {
    let paused_by_set = settings.job_paused_sets && is_paused(keys, database, key);
    Besides { paused_by_set, shared: settings.job_fair_default }
}

/// Differs whenever something may hold without a rule that did not, or the other way round.
pub fn besides_changes(keys: &Keyspace, settings: &Settings) -> u64 {
    keys.paused_changes() * 4 + u64::from(settings.job_paused_sets) * 2 + u64::from(settings.job_fair_default)
}

/// Tells whether there is nothing that could make a queue differ from a list.
#[inline]
pub fn is_idle(context: &Context) -> bool {
    let settings = context.host.settings();
    context.jobs.rules.is_empty()
        && !settings.job_fair_default
        && !(context.keys.has_paused_sets() && settings.job_paused_sets)
}

/// Sidekiq Pro keeps the names of paused queues in a set beside them.
fn is_paused(keys: &Keyspace, database: usize, key: &[u8]) -> bool {
    let (namespace, name) = crate::job::namespace_of(key);
    keys.paused_sets(database).any(|(set, names)| {
        set.strip_suffix(b"paused").is_some_and(|before| before == namespace) && names.get(name).is_some()
    })
}

/// Tells whether a list to which a job is moved from a queue holds jobs that are being worked on, although its name is that
/// of a queue. Names that the job library keeps among its queues are queues whatever is moved to them.
pub fn is_working_list(
    context: &mut Context,
    source: Slot,
    target: Option<Slot>,
    destination: &[u8],
) -> Result<bool, Stop> {
    let named_as_queue = match target {
        Some(slot) => context.keys.object(slot).queue != 0,
        None => context.keys.queues.names.is_queue(destination),
    };
    if !named_as_queue || context.keys.object(source).queue == 0 {
        return Ok(false);
    }
    let (namespace, name) = crate::job::namespace_of(destination);
    let (set, name) = ([namespace, &b"queues"[..]].concat(), name.to_vec());
    match context.keys.find_kind(&set, Kind::Set) {
        Ok(Some(slot)) => Ok(!context.keys.set(slot).contains(&name)),
        Ok(None) | Err(Miss::WrongType) => Ok(true),
        Err(other) => Err(other.into()),
    }
}

/// Pushes jobs to a key whose queue may have rules; answers the length that Redis would answer.
pub fn push(context: &mut Context, key: &[u8], side: Side, items: &[&[u8]], create: bool) -> Result<u64, Stop> {
    let slot = context.keys.find_kind(key, Kind::List)?;
    if slot.is_none() && !create {
        return Ok(0);
    }
    let rules = match slot {
        Some(slot) => rules_of(context, slot).map(|(_, rules)| rules),
        None => rules_of_key(context, key),
    };
    let asks_arrivals = rules.as_ref().is_some_and(|rules| rules.asks_arrivals());
    let Some(rules) = rules.filter(|rules| rules.takes()) else {
        return push_all(context, (key, slot), side, items, 0, asks_arrivals);
    };
    let now_ms = context.keys.now_ms();
    if let [item] = items
        && rules.take(&Job::new(item), now_ms, Some(now_ms)).is_none()
    {
        return push_all(context, (key, slot), side, items, rules.epoch, asks_arrivals);
    }
    let mut caught = Caught::new(key, Kind::List, Place::Push);
    let mut passed = Vec::with_capacity(items.len());
    for item in items {
        match rules.take(&Job::new(item), now_ms, Some(now_ms)) {
            Some(index) => caught.add(rules.taking(index), item, 0.0),
            None => passed.push(*item),
        }
    }
    let count = caught.len();
    if count > 0 {
        caught.prepare(context)?;
    }
    let database = context.keys.selected();
    let length = match passed.is_empty() {
        true => slot.map_or(0, |slot| context.keys.list(slot).len()),
        false => push_all(context, (key, slot), side, &passed, rules.epoch, asks_arrivals)?,
    };
    if count > 0 {
        caught.items().for_each(|item| context.keys.sightings.came(database, item));
        caught.apply(context, Side::Right)?;
    }
    Ok(length + count as u64)
}

/// Notes when jobs come that are pushed to a side next.
fn note_arrival(context: &mut Context, slot: Slot, side: Side) {
    let Some((id, _)) = rules_of(context, slot) else { return };
    let (next, now_ms) = (context.keys.list(slot).next_ordinal(side), context.keys.now_ms());
    if let Some(state) = context.jobs.state(id) {
        state.arrivals.came(next, now_ms);
    }
}

fn push_all(
    context: &mut Context,
    (key, slot): (&[u8], Option<Slot>),
    side: Side,
    items: &[&[u8]],
    checked: u32,
    asks_arrivals: bool,
) -> Result<u64, Stop> {
    let slot = match slot {
        Some(slot) => slot,
        None => context.keys.create(key, Kind::List)?,
    };
    context.keys.checked = checked;
    if asks_arrivals {
        note_arrival(context, slot, side);
    }
    let pushed = context.keys.push(slot, side, items);
    context.keys.checked = 0;
    pushed?;
    Ok(context.keys.list(slot).len())
}

/// Looks for up to `count` jobs that may be handed out from a side.
pub fn pick(context: &mut Context, slot: Slot, side: Side, count: u64) -> Result<Pick, Stop> {
    let Some((id, rules)) = rules_of(context, slot) else { return Ok(Pick::Plain) };
    if rules.paused.is_some() {
        return Ok(Pick::Nothing);
    }
    // What limits let through is known of lanes only, so that they are made for whichever end is popped.
    if rules.has_lanes() && (rules.has_gates_or_levels() || super::share::is_served_from(context, slot, id, side)) {
        return super::share::pick(context, (slot, id), side, count, &rules);
    }
    let known = context.jobs.state(id).expect("the rules were just found there");
    let held = known.held[index_of(side)];
    let clean = rules.epoch == 0 || (known.clean >= rules.epoch && !rules.timed);
    let list = context.keys.list(slot);
    let end_is_clean = clean || (count == 1 && !rules.timed && list.end_checked(side) >= rules.epoch);
    if held.is_none() && end_is_clean && !rules.holds() && rules.promises().is_empty() {
        return Ok(Pick::Plain);
    }
    let search = Search {
        rules: &rules,
        side,
        wanted: count.min(list.len()) as usize,
        left: context.host.settings().job_scan_max as usize,
        now_ms: context.keys.now_ms(),
        clean,
        known: held.filter(|held| !is_before(side, held.inner, list.end_ordinal(side))),
    };
    let found = search.run(list);
    context.jobs.state(id).expect("as before").held[index_of(side)] = found.known.or(found.prefix);
    if found.met_taken && !rules.timed {
        context.jobs.sweep(id);
    }
    // Nothing has been written, so what is still wanted can be brought in and the pop run again.
    if !found.missing.is_empty() {
        let missing = found.missing.into_iter().map(|at| context.keys.chunk_ref(slot, at));
        return Err(Stop::Fetch(missing.collect()));
    }
    if !found.items.is_empty() {
        let plain = found.prefix.is_none() && found.adjacent && rules.promises().is_empty();
        return Ok(if plain && found.items.len() as u64 == count { Pick::Plain } else { Pick::Items(found.items) });
    }
    if found.gave_up {
        context.jobs.seek(id, index_of(side));
    }
    Ok(Pick::Nothing)
}

/// Tells whether jobs wait in a list, rather than being worked on.
pub fn is_queue(context: &Context, slot: Slot) -> bool {
    context.keys.queues.get(context.keys.object(slot).queue).is_some_and(|queue| !queue.working)
}

/// Hands out items that were picked, and charges them to the limits of their queue.
pub fn take_picked(context: &mut Context, slot: Slot, side: Side, items: &[(u64, Bytes)]) -> Result<(), Stop> {
    let charges = Charges::of(context, slot, side, items);
    let ordinals: Vec<u64> = items.iter().map(|(ordinal, _)| *ordinal).collect();
    context.keys.take_items(slot, side, &ordinals)?;
    charges.begin_and_follow(context, items)
}

/// The queue of a list, and the gates that a job of it passes.
pub fn gates_of(context: &mut Context, slot: Slot, item: &[u8]) -> Option<(QueueId, Gates)> {
    let now_ms = context.keys.now_ms();
    let (id, rules) = rules_of(context, slot).filter(|(_, rules)| !rules.limits().is_empty())?;
    Some((id, rules.gates(&Job::new(item), now_ms)))
}

/// Tells a queue that the gates which have let a job through are as open as before: it has gone, and runs for nobody.
pub fn give_back(context: &mut Context, passed: Option<(QueueId, Gates)>) {
    let Some((id, gates)) = passed else { return };
    gates.into_iter().for_each(|gate| context.jobs.limits.open_for(gate, id));
}

/// The end from which workers take jobs of a list: the one last popped, else the one that the library of a job pops from.
pub fn pop_end(context: &Context, slot: Slot, payload: &[u8]) -> Side {
    let queue = context.keys.queues.get(context.keys.object(slot).queue);
    let popped = queue.and_then(|queue| queue.popped).or(context.keys.list(slot).popped);
    popped.unwrap_or(if Job::new(payload).has_jid() { Side::Right } else { Side::Left })
}

/// The place of a side in what is kept for both.
pub fn index_of(side: Side) -> usize {
    match side {
        Side::Left => 0,
        Side::Right => 1,
    }
}

/// Tells whether one ordinal comes before another, seen from a side.
fn is_before(side: Side, ordinal: u64, other: u64) -> bool {
    match side {
        Side::Left => ordinal < other,
        Side::Right => ordinal > other,
    }
}

struct Search<'a> {
    rules: &'a QueueRules,
    side: Side,
    wanted: usize,
    /// Jobs that may still be passed over; those that are handed out are as few as are wanted.
    left: usize,
    now_ms: u64,
    /// No rule takes anything that is in the list.
    clean: bool,
    /// What earlier pops have found to be held.
    known: Option<Held>,
}

#[derive(Default)]
struct Found {
    items: Vec<(u64, Bytes)>,
    /// What is held from the end on, up to the first item that was found.
    prefix: Option<Held>,
    /// What was known before and lies behind the first item.
    known: Option<Held>,
    /// There is nothing between the items.
    adjacent: bool,
    /// The chunks that have to be there first: no more than it takes for all that is wanted.
    missing: Vec<ChunkAt>,
    /// A job was passed over that a rule wants out.
    met_taken: bool,
    /// The limit ended the search before the list did.
    gave_up: bool,
}

impl Search<'_> {
    fn run(mut self, list: &List) -> Found {
        let mut found = Found { adjacent: true, ..Found::default() };
        let mut after = None;
        if let Some(held) = self.known.take_if(|held| !is_before(self.side, list.end_ordinal(self.side), held.outer)) {
            found.prefix = Some(held);
            after = Some(held.inner);
        }
        while let Some(inner) = self.walk(list, after, &mut found) {
            after = Some(inner);
        }
        found.known = found.known.or(self.known);
        found
    }

    /// Walks until it is done, or until it meets what is known to be held: then answers where to go on.
    fn walk(&mut self, list: &List, after: Option<u64>, found: &mut Found) -> Option<u64> {
        let mut chunks = list.chunks_from(self.side, after);
        while let Some(chunk) = chunks.next() {
            if let Some(held) = self.known.take_if(|held| !is_before(self.side, chunk.last(), held.outer)) {
                // The known interval begins in this chunk: only what is outside of it is looked at.
                if self.walk_chunk(chunk, Some(held), found) {
                    self.known = Some(held);
                    return None;
                }
                if found.items.is_empty() {
                    self.hold(found, held.outer, held.inner);
                } else {
                    found.adjacent = false;
                    found.known = Some(held);
                }
                return Some(held.inner);
            }
            if self.left == 0 {
                found.gave_up = true;
                return None;
            }
            let checked = self.is_checked(chunk.checked());
            if let Some(summary) = chunk.summary()
                && self.rules.none_may_go(summary, checked)
            {
                self.left -= 1;
                self.hold(found, chunk.last(), chunk.last());
                continue;
            }
            if self.walk_chunk(chunk, None, found) {
                if !found.missing.is_empty() {
                    self.name_more(chunk.live(), chunks, found);
                }
                return None;
            }
        }
        None
    }

    /// Looks at a chunk's items, those outside of an interval only; tells whether the search is over.
    fn walk_chunk(&mut self, chunk: ChunkView, until: Option<Held>, found: &mut Found) -> bool {
        if let Some(at) = chunk.missing() {
            found.missing.push(at);
            return true;
        }
        let checked = self.is_checked(chunk.checked());
        let free = checked && !self.rules.holds();
        for (ordinal, item) in chunk.items() {
            if until.is_some_and(|held| !is_before(self.side, ordinal, held.outer)) {
                return false;
            }
            if self.left == 0 {
                found.gave_up = true;
                return true;
            }
            let goes = free || {
                let verdict = match checked {
                    true => self.rules.hold(item, self.now_ms).map_or(Verdict::Deliver, Verdict::Hold),
                    false => self.rules.verdict(item, self.now_ms, None),
                };
                found.met_taken |= matches!(verdict, Verdict::Take(_));
                verdict == Verdict::Deliver
            };
            if goes {
                found.items.push((ordinal, Bytes::copy_from_slice(item)));
                if found.items.len() == self.wanted {
                    return true;
                }
            } else {
                self.left -= 1;
                self.hold(found, ordinal, ordinal);
            }
        }
        false
    }

    /// Names the chunks behind a missing one that are wanted too if every job in them may go.
    fn name_more<'a>(&self, live: u64, chunks: impl Iterator<Item = ChunkView<'a>>, found: &mut Found) {
        let wanted = (self.wanted - found.items.len()).min(self.left) as u64;
        let mut jobs = live;
        for chunk in chunks {
            if jobs >= wanted {
                return;
            }
            jobs += chunk.live();
            found.missing.extend(chunk.missing());
        }
    }

    fn is_checked(&self, checked: u32) -> bool {
        !self.rules.timed && (self.clean || checked >= self.rules.epoch)
    }

    fn hold(&self, found: &mut Found, outer: u64, inner: u64) {
        if found.items.is_empty() {
            let outer = found.prefix.map_or(outer, |held| held.outer);
            found.prefix = Some(Held { outer, inner });
        } else {
            found.adjacent = false;
        }
    }
}
