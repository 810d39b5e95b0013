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

use super::limit::check_value;
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
            Ok((Bytes::copy_from_slice(member), score))
        })
        .collect()
}
