//! What the sweeper does inside a turn: taking the jobs out that were found, one chunk after the other.

use crate::keyspace::{Kind, ObjectId, Side, Slot};
use crate::sched::{QueueRules, Taking};

use super::catch::{Caught, Place};
use super::ledger;
use super::look::Seen;
use crate::command::{Context, Stop};

/// Takes the jobs out of a queue that were found in one chunk, as one frame; answers how many it took. What is no longer
/// there was popped meanwhile, and what a rule would have taken that is gone is for the next one that takes it.
pub fn take_out(
    context: &mut Context,
    (slot, object): (Slot, ObjectId),
    rules: &QueueRules,
    seen: &Seen,
    side: Side,
) -> Result<u64, Stop> {
    if !context.keys.is_list(slot, object) {
        return Ok(0);
    }
    let (database, key) = (context.keys.object(slot).database, context.keys.object(slot).key.clone());
    let in_force = |taking: &Taking| {
        let rule = context.jobs.rules.find(database, "blackhole", &taking.name);
        rule.is_some_and(|rule| rule.revision == taking.revision)
    };
    let all_in_force: Vec<bool> = rules.all_taking().iter().map(in_force).collect();
    let list = context.keys.list(slot);
    let now_ms = context.keys.now_ms();
    let mut caught = Caught::new(&key, Kind::List, Place::Sweep);
    let mut ordinals = Vec::new();
    for (ordinal, first, item) in seen.taken.iter().filter(|(ordinal, ..)| list.contains(*ordinal)) {
        let by = if all_in_force[*first] { Some(*first) } else { rules.take_by(item, now_ms, in_force) };
        if let Some(index) = by {
            caught.add(rules.taking(index), item, 0.0);
            ordinals.push(*ordinal);
        }
    }
    if ordinals.is_empty() {
        return Ok(0);
    }
    caught.prepare(context)?;
    context.keys.banish(slot, &ordinals)?;
    caught.apply(context, side)?;
    Ok(ordinals.len() as u64)
}

/// Tells whether a queue was swept to its end since a rule was made. Until then its quarantine holds only what came to the
/// queue after the rule, and all that is found was there before.
pub fn was_swept(context: &mut Context, taking: &Taking, queue: &[u8]) -> bool {
    ledger::count_in(context, &taking.name, &swept_mark(taking.number, taking.made_ms), queue) > 0
}

/// Notes that a queue was swept to its end.
pub fn note_swept(context: &mut Context, name: &str, (number, made_ms): (u64, u64), queue: &[u8]) -> Result<(), Stop> {
    let mut tally = ledger::Tally::new(name, context.keys.selected());
    tally.add_in(&swept_mark(number, made_ms), queue, 1);
    tally.write(context)
}

/// A rule that replaces another has its number, and is made anew.
fn swept_mark(number: u64, made_ms: u64) -> String {
    format!("swept#{number}.{made_ms}")
}
