//! Sorted sets: members in the order of their scores. A file for each thing that is asked of them.

mod bounds;
pub mod combine;
pub mod members;
pub mod pop;
pub mod range;
pub mod remove;
pub mod write;

use bytes::Bytes;

use crate::keyspace::{Kind, Slot, Zset};
use crate::resp::Error;

use super::limit::{check_growth, check_value};
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop};

const PUT: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];
const REMOVE: &[Flag] = &[Flag::Write, Flag::Fast];
const READ: &[Flag] = &[Flag::ReadOnly];
const READ_FAST: &[Flag] = &[Flag::ReadOnly, Flag::Fast];

fn find<'a>(context: &'a mut Context, key: &[u8]) -> Result<Option<&'a Zset>, Stop> {
    let slot = context.keys.find_kind(key, Kind::Zset)?;
    Ok(slot.map(|slot| context.keys.zset(slot)))
}

/// Takes members out that are there, each named once.
fn take_out(context: &mut Context, slot: Slot, members: &[Bytes]) -> Result<(), Stop> {
    if members.len() == context.keys.zset(slot).len() {
        // Says the same in fewer bytes of the log.
        context.keys.delete(slot)?;
    } else if !members.is_empty() {
        context.keys.remove_names(slot, &members.iter().map(|member| &member[..]).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// A score as it is stored: without the sign of a zero, which Redis forgets too unless the set is large.
fn stored(score: f64) -> f64 {
    score + 0.0
}

/// Puts what was computed under a key, in the place of whatever is there; nothing if it is empty.
fn store(context: &mut Context, key: &[u8], members: &[(Bytes, f64)]) -> Result<i64, Stop> {
    if let Some(slot) = context.keys.find(key) {
        context.keys.delete(slot)?;
    }
    if !members.is_empty() {
        let slot = context.keys.create(key, Kind::Zset)?;
        context
            .keys
            .put_scores(slot, &members.iter().map(|(member, score)| (&member[..], *score)).collect::<Vec<_>>())?;
    }
    Ok(members.len() as i64)
}

/// Copies members that are to be stored, up to what one value may take.
fn copied<'a>(context: &Context, members: impl Iterator<Item = (&'a [u8], f64)>) -> Result<Vec<(Bytes, f64)>, Error> {
    let mut bytes = 0;
    members
        .map(|(member, score)| {
            bytes += Zset::member_bytes(member);
            check_value(context, bytes)?;
            Ok((Bytes::copy_from_slice(member), stored(score)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Bench;
    use crate::resp::Reply;

    #[test]
    fn a_stored_result_takes_the_place_of_what_was_there_without_its_expiry() {
        for line in ["ZUNIONSTORE d 1 z", "ZRANGESTORE d z 0 -1", "SUNIONSTORE d s"] {
            let mut bench = Bench::default();
            bench.run("ZADD z 1 a");
            bench.run("SADD s a");
            bench.run("HSET d a 1");
            let slot = bench.keys.find(b"d").expect("it was just made");
            let later_ms = bench.now_ms + 1000;
            bench.keys.set_expiry(slot, Some(later_ms)).expect("it is in memory");
            bench.keys.frame().clear();
            assert_eq!(bench.run(line), Reply::Integer(1));
            let slot = bench.keys.find(b"d").expect("it was just stored");
            assert_eq!(bench.keys.object(slot).expire_ms, 0, "{line}");
        }
    }

    #[test]
    fn a_failing_command_leaves_its_destination_alone() {
        for line in ["ZUNIONSTORE d 2 z l x", "ZRANGESTORE d l 0 -1", "SUNIONSTORE d l", "ZINTERSTORE d 1 z LIMIT 1"] {
            let mut bench = Bench::default();
            bench.run("ZADD z 1 a");
            bench.run("RPUSH l a");
            bench.run("ZADD d 1 kept");
            let frames = bench.frames.len();
            assert!(matches!(bench.run(line), Reply::Error(_)), "{line}");
            assert_eq!(bench.frames.len(), frames, "{line}");
        }
    }

    #[test]
    fn a_store_wakes_who_waits_for_its_destination() {
        let mut bench = Bench::default();
        bench.run("ZADD z 1 a");
        bench.keys.note_growth = true;
        for line in ["ZADD d 1 a", "ZUNIONSTORE d 1 z", "ZRANGESTORE d z 0 -1"] {
            bench.run(line);
            assert_eq!(bench.keys.take_grown().len(), 1, "{line}");
        }
    }
}
