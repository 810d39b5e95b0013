//! The effects of one command, as they stand in the log, and the ways in which a command can stop before it is done.
//!
//! An effect is deterministic: absolute expiry, object ids, ordinals — never the command itself. The same function applies
//! it when the command runs and when the log is replayed.

use std::borrow::Cow;

use super::layout::{self, Corrupt, Reader};
use super::list::{ChunkAt, Side};
use super::objects::Slot;
use super::value::Kind;

/// Names a value for as long as it lives, under whatever key; never used again.
pub type ObjectId = u64;

type Slices<'a> = Cow<'a, [&'a [u8]]>;

/// See the module. The tags in `encode` are persisted.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect<'a> {
    /// Makes an empty value under a key that is free.
    Create {
        namespace: u64,
        key: &'a [u8],
        object: ObjectId,
        kind: Kind,
    },
    Delete {
        object: ObjectId,
    },
    /// Moves a value to a key that is free.
    Rename {
        object: ObjectId,
        namespace: u64,
        key: &'a [u8],
    },
    /// Sets the moment of expiry in Unix milliseconds; 0 takes it away.
    Expire {
        object: ObjectId,
        at_ms: u64,
    },
    Push {
        object: ObjectId,
        side: Side,
        items: Slices<'a>,
    },
    Pop {
        object: ObjectId,
        side: Side,
        count: u64,
    },
    RemoveItems {
        object: ObjectId,
        ordinals: Cow<'a, [u64]>,
    },
    SetItem {
        object: ObjectId,
        ordinal: u64,
        item: &'a [u8],
    },
    InsertItem {
        object: ObjectId,
        pivot: u64,
        after: bool,
        item: &'a [u8],
    },
    /// Sets a whole string.
    Write {
        object: ObjectId,
        bytes: &'a [u8],
    },
    /// Overwrites part of a string; zero bytes fill a gap.
    Patch {
        object: ObjectId,
        offset: u64,
        bytes: &'a [u8],
    },
    /// Sets fields of a hash.
    PutFields {
        object: ObjectId,
        pairs: Cow<'a, [(&'a [u8], &'a [u8])]>,
    },
    /// Adds members to a set.
    AddMembers {
        object: ObjectId,
        members: Slices<'a>,
    },
    /// Gives members of a sorted set their scores.
    PutScores {
        object: ObjectId,
        pairs: Cow<'a, [(&'a [u8], f64)]>,
    },
    /// Takes fields or members out of a hash, set or sorted set.
    RemoveNames {
        object: ObjectId,
        names: Slices<'a>,
    },
    /// Hands out items from wherever they stand: a pop that passed over others.
    TakeItems {
        object: ObjectId,
        side: Side,
        ordinals: Cow<'a, [u64]>,
    },
    /// Says that a list with the name of a queue holds jobs that are being worked on.
    MarkWorking {
        object: ObjectId,
    },
    /// Cuts items off an end without handing them out.
    Trim {
        object: ObjectId,
        side: Side,
        count: u64,
    },
    /// Takes items out because a rule says so; what becomes of them is in the same frame.
    Banish {
        object: ObjectId,
        ordinals: Cow<'a, [u64]>,
    },
    /// Puts items back that were in the list before.
    Restore {
        object: ObjectId,
        side: Side,
        items: Slices<'a>,
    },
    /// Gives a database a new, empty namespace.
    Flush {
        database: u64,
        namespace: u64,
    },
}

impl<'a> Effect<'a> {
    /// Appends the effect to a frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut head = |tag: u8, number: u64| {
            out.push(tag);
            layout::put_varint(out, number);
        };
        match self {
            Effect::Create { namespace, key, object, kind } => {
                head(1, *object);
                layout::put_varint(out, *namespace);
                out.push(*kind as u8);
                layout::put_bytes(out, key);
            }
            Effect::Delete { object } => head(2, *object),
            Effect::Rename { object, namespace, key } => {
                head(3, *object);
                layout::put_varint(out, *namespace);
                layout::put_bytes(out, key);
            }
            Effect::Expire { object, at_ms } => {
                head(4, *object);
                layout::put_varint(out, *at_ms);
            }
            Effect::Push { object, side, items } => {
                head(if *side == Side::Left { 5 } else { 6 }, *object);
                put_slices(out, items);
            }
            Effect::Pop { object, side, count } => {
                head(if *side == Side::Left { 7 } else { 8 }, *object);
                layout::put_varint(out, *count);
            }
            Effect::RemoveItems { object, ordinals } => {
                head(9, *object);
                put_numbers(out, ordinals);
            }
            Effect::SetItem { object, ordinal, item } => {
                head(10, *object);
                layout::put_varint(out, *ordinal);
                layout::put_bytes(out, item);
            }
            Effect::InsertItem { object, pivot, after, item } => {
                head(11, *object);
                layout::put_varint(out, *pivot);
                out.push(u8::from(*after));
                layout::put_bytes(out, item);
            }
            Effect::Write { object, bytes } => {
                head(12, *object);
                layout::put_bytes(out, bytes);
            }
            Effect::Patch { object, offset, bytes } => {
                head(13, *object);
                layout::put_varint(out, *offset);
                layout::put_bytes(out, bytes);
            }
            Effect::PutFields { object, pairs } => {
                head(14, *object);
                layout::put_varint(out, pairs.len() as u64);
                for (field, value) in pairs.iter() {
                    layout::put_bytes(out, field);
                    layout::put_bytes(out, value);
                }
            }
            Effect::AddMembers { object, members } => {
                head(15, *object);
                put_slices(out, members);
            }
            Effect::PutScores { object, pairs } => {
                head(16, *object);
                layout::put_varint(out, pairs.len() as u64);
                for (member, score) in pairs.iter() {
                    layout::put_bytes(out, member);
                    out.extend_from_slice(&score.to_le_bytes());
                }
            }
            Effect::RemoveNames { object, names } => {
                head(17, *object);
                put_slices(out, names);
            }
            Effect::Flush { database, namespace } => {
                head(18, *database);
                layout::put_varint(out, *namespace);
            }
            Effect::MarkWorking { object } => head(26, *object),
            Effect::TakeItems { object, side, ordinals } => {
                head(if *side == Side::Left { 19 } else { 25 }, *object);
                put_numbers(out, ordinals);
            }
            Effect::Trim { object, side, count } => {
                head(if *side == Side::Left { 20 } else { 21 }, *object);
                layout::put_varint(out, *count);
            }
            Effect::Banish { object, ordinals } => {
                head(22, *object);
                put_numbers(out, ordinals);
            }
            Effect::Restore { object, side, items } => {
                head(if *side == Side::Left { 23 } else { 24 }, *object);
                put_slices(out, items);
            }
        }
    }

    /// Reads the next effect of a frame.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Effect<'a>, Corrupt> {
        let tag = reader.byte()?;
        let object = reader.varint()?;
        Ok(match tag {
            1 => {
                let namespace = reader.varint()?;
                let kind = Kind::from_number(reader.byte()?)?;
                Effect::Create { namespace, key: reader.bytes()?, object, kind }
            }
            2 => Effect::Delete { object },
            3 => Effect::Rename { object, namespace: reader.varint()?, key: reader.bytes()? },
            4 => Effect::Expire { object, at_ms: reader.varint()? },
            5 => Effect::Push { object, side: Side::Left, items: slices(reader)? },
            6 => Effect::Push { object, side: Side::Right, items: slices(reader)? },
            7 => Effect::Pop { object, side: Side::Left, count: reader.varint()? },
            8 => Effect::Pop { object, side: Side::Right, count: reader.varint()? },
            9 => Effect::RemoveItems { object, ordinals: repeated(reader, Reader::varint)?.into() },
            10 => Effect::SetItem { object, ordinal: reader.varint()?, item: reader.bytes()? },
            11 => {
                let pivot = reader.varint()?;
                Effect::InsertItem { object, pivot, after: reader.byte()? != 0, item: reader.bytes()? }
            }
            12 => Effect::Write { object, bytes: reader.bytes()? },
            13 => Effect::Patch { object, offset: reader.varint()?, bytes: reader.bytes()? },
            14 => {
                let pairs = repeated(reader, |reader| Ok((reader.bytes()?, reader.bytes()?)))?;
                Effect::PutFields { object, pairs: pairs.into() }
            }
            15 => Effect::AddMembers { object, members: slices(reader)? },
            16 => {
                let pairs = repeated(reader, |reader| {
                    let member = reader.bytes()?;
                    let score = reader.take(8)?.try_into().expect("eight bytes were taken");
                    Ok((member, f64::from_le_bytes(score)))
                })?;
                Effect::PutScores { object, pairs: pairs.into() }
            }
            17 => Effect::RemoveNames { object, names: slices(reader)? },
            18 => Effect::Flush { database: object, namespace: reader.varint()? },
            19 | 25 => {
                let side = if tag == 19 { Side::Left } else { Side::Right };
                Effect::TakeItems { object, side, ordinals: repeated(reader, Reader::varint)?.into() }
            }
            26 => Effect::MarkWorking { object },
            20 => Effect::Trim { object, side: Side::Left, count: reader.varint()? },
            21 => Effect::Trim { object, side: Side::Right, count: reader.varint()? },
            22 => Effect::Banish { object, ordinals: repeated(reader, Reader::varint)?.into() },
            23 => Effect::Restore { object, side: Side::Left, items: slices(reader)? },
            24 => Effect::Restore { object, side: Side::Right, items: slices(reader)? },
            _ => return Err(Corrupt("effect of an unknown kind in the log")),
        })
    }

    /// The object that is changed; none for a flush.
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Effect::Create { object, .. }
            | Effect::Delete { object }
            | Effect::Rename { object, .. }
            | Effect::Expire { object, .. }
            | Effect::Push { object, .. }
            | Effect::Pop { object, .. }
            | Effect::RemoveItems { object, .. }
            | Effect::SetItem { object, .. }
            | Effect::InsertItem { object, .. }
            | Effect::Write { object, .. }
            | Effect::Patch { object, .. }
            | Effect::PutFields { object, .. }
            | Effect::AddMembers { object, .. }
            | Effect::PutScores { object, .. }
            | Effect::RemoveNames { object, .. }
            | Effect::TakeItems { object, .. }
            | Effect::MarkWorking { object }
            | Effect::Trim { object, .. }
            | Effect::Banish { object, .. }
            | Effect::Restore { object, .. } => Some(*object),
            Effect::Flush { .. } => None,
        }
    }
}

fn put_slices(out: &mut Vec<u8>, slices: &[&[u8]]) {
    layout::put_varint(out, slices.len() as u64);
    slices.iter().for_each(|slice| layout::put_bytes(out, slice));
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u64]) {
    layout::put_varint(out, numbers.len() as u64);
    numbers.iter().for_each(|number| layout::put_varint(out, *number));
}

fn slices<'a>(reader: &mut Reader<'a>) -> Result<Slices<'a>, Corrupt> {
    Ok(repeated(reader, Reader::bytes)?.into())
}

fn repeated<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Result<T, Corrupt>,
) -> Result<Vec<T>, Corrupt> {
    let count = reader.varint()? as usize;
    // What is announced is believed only as far as bytes are there for it.
    let mut all = Vec::with_capacity(count.min(reader.left()));
    for _ in 0..count {
        all.push(read(reader)?);
    }
    Ok(all)
}

/// Data that a command met and that is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Missing {
    /// A chunk of a list.
    Chunk { object: ObjectId, slot: Slot, at: ChunkAt },
    /// A value that is stored whole, as of this LSN, in this many rows (0: in its key's row).
    Whole { object: ObjectId, slot: Slot, saved: u64, pieces: u32 },
}

/// Why the keyspace cannot do what a command asks. Nothing was changed by the call that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    WrongType,
    /// Bring these in, then run the command again.
    Fetch(Vec<Missing>),
    /// The command wants to write while it only runs to learn what it will miss.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(effect: Effect) {
        let mut bytes = Vec::new();
        effect.encode(&mut bytes);
        let mut reader = Reader::new(&bytes);
        let mut again = Vec::new();
        Effect::decode(&mut reader).expect("what was encoded decodes").encode(&mut again);
        assert_eq!(again, bytes, "{effect:?}");
        assert_eq!(reader.left(), 0);
        for cut in 0..bytes.len() {
            assert!(Effect::decode(&mut Reader::new(&bytes[..cut])).is_err(), "{effect:?} cut at {cut}");
        }
    }

    #[test]
    fn every_effect_comes_back_as_it_was_and_none_from_fewer_bytes() {
        let object = 300;
        check(Effect::Create { namespace: 3, key: b"queue:default", object, kind: Kind::List });
        check(Effect::Delete { object });
        check(Effect::Rename { object, namespace: 3, key: b"k" });
        check(Effect::Expire { object, at_ms: 1_700_000_000_000 });
        check(Effect::Push { object, side: Side::Left, items: vec![&b"a"[..], b""].into() });
        check(Effect::Push { object, side: Side::Right, items: vec![&b"a"[..]].into() });
        check(Effect::Pop { object, side: Side::Left, count: 1 });
        check(Effect::Pop { object, side: Side::Right, count: 1 << 40 });
        check(Effect::RemoveItems { object, ordinals: vec![1 << 63, u64::MAX].into() });
        check(Effect::SetItem { object, ordinal: 1 << 63, item: b"x" });
        check(Effect::InsertItem { object, pivot: 1 << 63, after: true, item: b"x" });
        check(Effect::Write { object, bytes: b"value" });
        check(Effect::Patch { object, offset: 7, bytes: b"value" });
        check(Effect::PutFields { object, pairs: vec![(&b"f"[..], &b"v"[..])].into() });
        check(Effect::AddMembers { object, members: vec![&b"m"[..]].into() });
        check(Effect::PutScores { object, pairs: vec![(&b"m"[..], -1.5)].into() });
        check(Effect::RemoveNames { object, names: vec![&b"m"[..]].into() });
        check(Effect::Flush { database: 15, namespace: 99 });
        check(Effect::TakeItems { object, side: Side::Left, ordinals: vec![1 << 63, 7].into() });
        check(Effect::TakeItems { object, side: Side::Right, ordinals: vec![7].into() });
        check(Effect::MarkWorking { object });
        check(Effect::Trim { object, side: Side::Left, count: 3 });
        check(Effect::Trim { object, side: Side::Right, count: 3 });
        check(Effect::Banish { object, ordinals: vec![1 << 63].into() });
        check(Effect::Restore { object, side: Side::Left, items: vec![&b"a"[..], b""].into() });
        check(Effect::Restore { object, side: Side::Right, items: vec![&b"a"[..]].into() });
    }
}
