//! Strings as arrays of bits, the highest bit of a byte first. Changes are logged as patches, so that a bit in a large
//! bitmap costs a few bytes.

pub mod bitfield;

use bytes::Bytes;

use crate::keyspace::{Kind, Slot};
use crate::resp::{Error, Reply};

use super::argument::{integer, is, strict_integer};
use super::string::part::{clamped_span, span};
use super::string::{Expiry, check_string_bytes, find_strings, put};
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop};

/// Redis takes bit offsets inside 512 MB.
const OFFSET_END: u64 = 512 << 23;

const OFFSET_OUT_OF_RANGE: Error = Error::constant("ERR bit offset is not an integer or out of range");
const BIT_OUT_OF_RANGE: Error = Error::constant("ERR bit is not an integer or out of range");

pub const COMMANDS: &[Command] = &[
    Command {
        name: "setbit",
        run: set_bit,
        syntax: "key offset value",
        summary: "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.",
        since: "2.2.0",
        group: Group::Bitmap,
        complexity: "O(1)",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::ONE,
        examples: &[
            "SETBIT k 7 1",
            "SETBIT k 7 0",
            "SETBIT k 20 0",
            "GET k",
            "SETBIT k -1 1",
            "SETBIT k 4294967296 1",
            "SETBIT k x 1",
            "SETBIT k 1 2",
            "SETBIT k 1 x",
            "LPUSH q a",
            "SETBIT q 1 2",
            "SETBIT q 1 1",
        ],
    },
    Command {
        name: "getbit",
        run: |context, request| {
            let offset = bit_offset(&request[2])?;
            let slot = context.keys.find_kind(&request[1], Kind::String)?;
            Ok(Reply::flag(slot.is_some_and(|slot| bit(context.keys.string(slot), offset))))
        },
        syntax: "key offset",
        summary: "Returns a bit value by offset.",
        since: "2.2.0",
        group: Group::Bitmap,
        complexity: "O(1)",
        flags: &[Flag::ReadOnly, Flag::Fast],
        keys: Keys::ONE,
        examples: &["SET k A", "GETBIT k 1", "GETBIT k 2", "GETBIT k 100", "GETBIT n 0", "GETBIT k -1", "GETBIT k x"],
    },
    Command {
        name: "bitcount",
        run: count_bits,
        syntax: "key [start end [BYTE | BIT]]",
        summary: "Counts the number of set bits (population counting) in a string.",
        since: "2.6.0",
        group: Group::Bitmap,
        complexity: "O(N)",
        flags: &[Flag::ReadOnly],
        keys: Keys::ONE,
        examples: &[
            "BITCOUNT n",
            "SET k foobar",
            "BITCOUNT k",
            "BITCOUNT k 0 0",
            "BITCOUNT k 1 1 BYTE",
            "BITCOUNT k 5 30 BIT",
            "BITCOUNT k -2 -1",
            "BITCOUNT k -7 -3 BIT",
            "BITCOUNT k 3 1",
            "BITCOUNT k -1 -3",
            "BITCOUNT k -8 -9",
            "BITCOUNT k 10 20",
            "BITCOUNT k 0",
            "BITCOUNT k 0 x",
            "BITCOUNT k 0 1 WORD",
            "LPUSH q a",
            "BITCOUNT q",
        ],
    },
    Command {
        name: "bitpos",
        run: find_bit,
        syntax: "key bit [start [end [BYTE | BIT]]]",
        summary: "Finds the first set (1) or clear (0) bit in a string.",
        since: "2.8.7",
        group: Group::Bitmap,
        complexity: "O(N)",
        flags: &[Flag::ReadOnly],
        keys: Keys::ONE,
        examples: &[
            "BITPOS n 0",
            "BITPOS n 1",
            "SET k \"\\xdf\\xb0\\x00\"",
            "BITPOS k 0",
            "BITPOS k 1 2",
            "BITPOS k 0 2",
            "BITPOS k 1 1 2",
            "BITPOS k 0 1 -1 BYTE",
            "BITPOS k 1 7 15 BIT",
            "BITPOS k 0 13 -1 BIT",
            "SETBIT f 15 1",
            "BITOP NOT f f",
            "SETBIT f 15 1",
            "BITPOS f 0",
            "BITPOS f 0 0 -1",
            "BITPOS f 0 5",
            "BITPOS f 1 5",
            "SET e \"\"",
            "BITPOS e 0",
            "BITPOS k 1 -8 -9",
            "BITPOS k 2",
            "BITPOS k x",
            "BITPOS k 0 x",
            "LPUSH q a",
            "BITPOS q 0",
        ],
    },
    Command {
        name: "bitop",
        run: combine,
        syntax: "<AND | OR | XOR | NOT> destkey key [key ...]",
        summary: "Performs bitwise operations on multiple strings, and stores the result.",
        since: "2.6.0",
        group: Group::Bitmap,
        complexity: "O(N)",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::Range { first: 2, last: -1, step: 1 },
        examples: &[
            "MSET a \"\\x0f\\x5f\" b \"\\x35\"",
            "BITOP AND d a b",
            "GET d",
            "BITOP OR d a b n",
            "GET d",
            "BITOP XOR d a b a",
            "GET d",
            "BITOP NOT d a",
            "GET d",
            "BITOP NOT d a b",
            "BITOP NAND d a b",
            "BITOP AND d n m",
            "EXISTS d",
            "LPUSH q x",
            "BITOP OR q a",
            "GET q",
            "LPUSH l x",
            "BITOP OR d a l",
        ],
    },
];

/// Reads a bit's offset.
fn bit_offset(text: &[u8]) -> Result<u64, Error> {
    checked_offset(strict_integer(text).and_then(|offset| u64::try_from(offset).ok()))
}

fn checked_offset(offset: Option<u64>) -> Result<u64, Error> {
    offset.filter(|offset| *offset < OFFSET_END).ok_or(OFFSET_OUT_OF_RANGE)
}

fn bit(string: &[u8], offset: u64) -> bool {
    string.get((offset / 8) as usize).is_some_and(|byte| byte & mask(offset) != 0)
}

fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// The string in a slot, or an empty one.
fn string_of<'a>(context: &'a Context, slot: Option<Slot>) -> &'a [u8] {
    slot.map_or(&[], |slot| context.keys.string(slot))
}

/// Makes sure before a change that the key exists and its string has that many bytes.
fn grow(context: &mut Context, found: Option<Slot>, key: &[u8], bytes: u64) -> Result<Slot, Stop> {
    let slot = match found {
        Some(slot) => slot,
        None => context.keys.create(key, Kind::String)?,
    };
    if (context.keys.string(slot).len() as u64) < bytes {
        context.keys.patch_string(slot, bytes - 1, &[0])?;
    }
    Ok(slot)
}

fn set_bit(context: &mut Context, request: &[Bytes]) -> Outcome {
    let offset = bit_offset(&request[2])?;
    let on = match &request[3][..] {
        b"0" => false,
        b"1" => true,
        _ => return Err(BIT_OUT_OF_RANGE.into()),
    };
    let found = context.keys.find_kind(&request[1], Kind::String)?;
    let at = offset / 8;
    let before = string_of(context, found).get(at as usize).copied();
    if before.is_none() {
        check_string_bytes(context, at + 1)?;
    }
    let byte = before.unwrap_or(0);
    let changed = if on { byte | mask(offset) } else { byte & !mask(offset) };
    if before != Some(changed) {
        let slot = match found {
            Some(slot) => slot,
            None => context.keys.create(&request[1], Kind::String)?,
        };
        context.keys.patch_string(slot, at, &[changed])?;
    }
    Ok(Reply::flag(byte & mask(offset) != 0))
}

/// Start and end as BITCOUNT and BITPOS take them.
#[derive(Debug, Clone, Copy)]
struct Range {
    start: i64,
    end: i64,
    bits: bool,
}

impl Range {
    /// Reads `[start [end [BYTE | BIT]]]`.
    fn read(words: &[Bytes]) -> Result<Range, Error> {
        let start = words.first().map_or(Ok(0), |start| integer(start))?;
        let bits = match words.get(2) {
            None => false,
            Some(unit) if is(unit, "bit") => true,
            Some(unit) if is(unit, "byte") => false,
            Some(_) => return Err(Error::SYNTAX),
        };
        if words.len() > 3 {
            return Err(Error::SYNTAX);
        }
        let end = words.get(1).map_or(Ok(-1), |end| integer(end))?;
        Ok(Range { start, end, bits })
    }

    /// First and last bit, once it is known how indexes become a span.
    fn span(self, bytes: usize, span: fn(i64, i64, u64) -> Option<(u64, u64)>) -> Option<(u64, u64)> {
        if self.bits {
            return span(self.start, self.end, bytes as u64 * 8);
        }
        span(self.start, self.end, bytes as u64).map(|(first, last)| (first * 8, last * 8 + 7))
    }
}

/// The bytes that hold the bits of a span; bits outside it are as `filler`.
fn masked(string: &[u8], (first, last): (u64, u64), filler: bool) -> impl Iterator<Item = u8> + Clone {
    let (from, to) = ((first / 8) as usize, (last / 8) as usize);
    let head = 0xffu8 >> (first % 8);
    let tail = !(0x7fu8 >> (last % 8));
    string[from..=to].iter().enumerate().map(move |(at, byte)| {
        let inside = if at == 0 { head } else { 0xff } & if from + at == to { tail } else { 0xff };
        if filler { byte | !inside } else { byte & inside }
    })
}

fn count_bits(context: &mut Context, request: &[Bytes]) -> Outcome {
    if request.len() == 3 {
        return Err(Error::SYNTAX.into());
    }
    let range = Range::read(&request[2..])?;
    let found = context.keys.find_kind(&request[1], Kind::String)?;
    let string = string_of(context, found);
    let count = range
        .span(string.len(), span)
        .map_or(0, |span| masked(string, span, false).map(|byte| i64::from(byte.count_ones())).sum());
    Ok(Reply::Integer(count))
}

fn find_bit(context: &mut Context, request: &[Bytes]) -> Outcome {
    let wanted = match integer(&request[2])? {
        0 => false,
        1 => true,
        _ => return Err(Error::constant("ERR The bit argument must be 1 or 0.").into()),
    };
    let range = Range::read(&request[3..])?;
    let Some(slot) = context.keys.find_kind(&request[1], Kind::String)? else {
        return Ok(Reply::Integer(if wanted { -1 } else { 0 }));
    };
    let string = context.keys.string(slot);
    let Some(span) = range.span(string.len(), clamped_span) else { return Ok(Reply::Integer(-1)) };
    let dull = if wanted { 0 } else { 0xff };
    let position = masked(string, span, !wanted).enumerate().find(|(_, byte)| *byte != dull).map(|(at, byte)| {
        let before = if wanted { byte.leading_zeros() } else { byte.leading_ones() };
        (span.0 / 8 + at as u64) * 8 + u64::from(before)
    });
    // Without an end, a string counts as followed by zeros.
    let behind = if !wanted && request.len() < 5 { string.len() as i64 * 8 } else { -1 };
    Ok(Reply::Integer(position.map_or(behind, |position| position as i64)))
}

fn combine(context: &mut Context, request: &[Bytes]) -> Outcome {
    let fold: fn(u8, u8) -> u8 = match &request[1] {
        name if is(name, "and") => |a, b| a & b,
        name if is(name, "or") => |a, b| a | b,
        name if is(name, "xor") => |a, b| a ^ b,
        name if is(name, "not") => |a, _| a,
        _ => return Err(Error::SYNTAX.into()),
    };
    let negate = is(&request[1], "not");
    let (destination, keys) = (&request[2], &request[3..]);
    if negate && keys.len() != 1 {
        return Err(Error::constant("ERR BITOP NOT must be called with a single source key.").into());
    }
    let slots = find_sources(context, keys)?;
    let longest = slots.iter().map(|slot| string_of(context, *slot).len()).max().unwrap_or(0);
    let mut result = string_of(context, slots[0]).to_vec();
    result.resize(longest, 0);
    for slot in &slots[1..] {
        let string = string_of(context, *slot);
        for (at, byte) in result.iter_mut().enumerate() {
            *byte = fold(*byte, string.get(at).copied().unwrap_or(0));
        }
    }
    if negate {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    if !result.is_empty() {
        put(context.keys, destination, &result, Expiry::None)?;
    } else if let Some(slot) = context.keys.find(destination) {
        context.keys.delete(slot)?;
    }
    Ok(Reply::Integer(longest as i64))
}

/// Finds strings under all keys, or nothing; what is not in memory is asked for at once.
fn find_sources(context: &mut Context, keys: &[Bytes]) -> Result<Vec<Option<Slot>>, Stop> {
    for key in keys {
        let found = context.keys.find(key);
        if found.is_some_and(|slot| context.keys.object(slot).value.kind() != Kind::String) {
            return Err(Error::WRONG_TYPE.into());
        }
    }
    find_strings(context, keys)
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn a_bit_of_a_large_bitmap_is_a_small_effect() {
        let mut bench = Bench::default();
        bench.run("SETBIT k 800000 1");
        bench.run("SETBIT k 800001 1");
        bench.run("BITFIELD k SET u8 400000 255");
        assert!(bench.frames.iter().all(|frame| frame.len() < 16), "{:?}", bench.frames);
    }

    #[test]
    fn a_bit_that_stands_already_writes_nothing() {
        let mut bench = Bench::default();
        bench.run("SETBIT k 3 1");
        bench.frames.clear();
        bench.run("SETBIT k 3 1");
        bench.run("SETBIT k 4 0");
        bench.run("BITFIELD k SET u4 0 1 INCRBY i5 2 0");
        assert!(bench.frames.is_empty());
    }

    #[test]
    fn every_span_counts_and_finds_the_bits_inside_it() {
        let mut bench = Bench::default();
        let string = [0b1010_0101u8, 0xff, 0x00, 0b0000_1000];
        bench.run("SET k \"\\xa5\\xff\\x00\\x08\"");
        for first in 0..32 {
            for last in first..32 {
                let inside = || (first..=last).filter(|at| bit(&string, *at));
                let clear = (first..=last).find(|at| !bit(&string, *at));
                let number = |at: Option<u64>| Reply::Integer(at.map_or(-1, |at| at as i64));
                assert_eq!(
                    bench.run(&format!("BITCOUNT k {first} {last} BIT")),
                    Reply::Integer(inside().count() as i64)
                );
                assert_eq!(bench.run(&format!("BITPOS k 1 {first} {last} BIT")), number(inside().next()));
                assert_eq!(bench.run(&format!("BITPOS k 0 {first} {last} BIT")), number(clear));
            }
        }
    }
}
