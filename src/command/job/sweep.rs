//! What the sweeper does inside a turn: taking the jobs out that were found, one chunk after the other.

use crate::keyspace::{Kind, ObjectId, Side, Slot};
use crate::sched::{QueueRules, Taking};

use super::catch::{Caught, Place};
use super::ledger;
use super::look::Seen;
use crate::command::{Context, Stop};

/// Takes the jobs out of a queue that were found in one chunk, as one frame; answers how many it took. What is no longer
/// there was popped meanwhile, and a rule that is gone takes nothing.
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
    let in_force = |index: usize| {
        let taking = rules.taking(index);
        context
            .jobs
            .rules
            .find(database, "blackhole", &taking.name)
            .is_some_and(|rule| rule.revision == taking.revision)
    };
    let list = context.keys.list(slot);
    let taken: Vec<_> =
        seen.taken.iter().filter(|(ordinal, index, _)| list.contains(*ordinal) && in_force(*index)).collect();
    if taken.is_empty() {
        return Ok(0);
    }
    let mut caught = Caught::new(&key, Kind::List, Place::Sweep);
    taken.iter().for_each(|(_, index, item)| caught.add(rules.taking(*index), item, 0.0));
    caught.prepare(context)?;
    let ordinals: Vec<u64> = taken.iter().map(|(ordinal, ..)| *ordinal).collect();
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
