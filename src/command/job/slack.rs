//! The order in which the queues of one pop are looked at: as asked, or that of the most urgent job first.

use std::borrow::Cow;

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::{Kind, Side};
use crate::sched::Candidate;

use super::serve::{self, Pick};
use super::share;
use crate::command::{Context, Stop};

/// The keys of a pop in the order in which they are to be looked at.
///
/// Keys that are served strictly keep their places. All that are served by slack stand where the first of them that has a job
/// to hand out stood, the one with the most urgent job first. Without a side it is the one that workers pop from.
pub fn in_order<'a>(context: &mut Context, keys: &'a [Bytes], side: Option<Side>) -> Result<Cow<'a, [Bytes]>, Stop> {
    if keys.len() == 1 || !context.jobs.rules.order_by_slack(context.keys.selected()) {
        return Ok(Cow::Borrowed(keys));
    }
    let mut candidates = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        if let Some(candidate) = next_of(context, key, side)? {
            candidates.push((index, candidate));
        }
    }
    let (indexes, next): (Vec<usize>, Vec<Candidate>) = candidates.into_iter().unzip();
    let (database, now_ms) = (context.keys.selected(), context.keys.now_ms());
    let Some(chosen) = context.jobs.slack(database).choose(&next, now_ms) else { return Ok(Cow::Borrowed(keys)) };
    let mut keys = keys.to_vec();
    let most_urgent = keys.remove(indexes[chosen]);
    keys.insert(indexes[0], most_urgent);
    Ok(Cow::Owned(keys))
}

/// The job that a queue which is served by slack would hand out next; takes nothing.
fn next_of(context: &mut Context, key: &[u8], side: Option<Side>) -> Result<Option<Candidate>, Stop> {
    let Some(slot) = context.keys.find_kind(key, Kind::List)? else { return Ok(None) };
    let Some((id, rules)) = serve::rules_of(context, slot).filter(|(_, rules)| rules.slack) else { return Ok(None) };
    let side = match side {
        Some(side) => side,
        None => {
            let payload = context.keys.list_end(slot, Side::Right)?.to_vec();
            serve::pop_end(context, slot, &payload)
        }
    };
    let Pick::Items(items) = serve::pick(context, slot, side, 1)? else { return Ok(None) };
    let Some((ordinal, item)) = items.first() else { return Ok(None) };
    let (job, now_ms) = (Job::new(item), context.keys.now_ms());
    let arrivals = &context.jobs.state(id).expect("a queue with rules has a state").arrivals;
    let since_ms = share::since_ms(&job, arrivals, *ordinal).unwrap_or(now_ms);
    Ok(Some(Candidate { level: rules.level(&job, now_ms), since_ms }))
}
