//! BITFIELD: integers of any width at any bit of a string.

use bytes::Bytes;

use crate::keyspace::{Kind, Slot};
use crate::resp::{Error, Reply};

use super::super::argument::{integer, is, strict_integer};
use super::super::string::check_string_bytes;
use super::super::{Command, Context, Flag, Group, Keys, Outcome, Stop};
use super::{bit_offset, checked_offset, grow, string_of};

const BAD_TYPE: Error =
    Error::constant("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");

pub const COMMANDS: &[Command] = &[
    Command {
        name: "bitfield",
        run: |context, request| {
            let operations = read_operations(&request[2..])?;
            run(context, &request[1], &operations)
        },
        syntax: "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> ...]",
        summary: "Performs arbitrary bitfield integer operations on strings.",
        since: "3.2.0",
        group: Group::Bitmap,
        complexity: "O(1) for each subcommand specified",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::ONE,
        examples: &[
            "BITFIELD k",
            "BITFIELD k GET u8 0",
            "EXISTS k",
            "BITFIELD k SET u8 0 255 GET i8 0 INCRBY u4 #1 1",
            "GET k",
            "BITFIELD k OVERFLOW SAT INCRBY u8 0 500 OVERFLOW FAIL INCRBY u8 0 1 OVERFLOW WRAP INCRBY u8 0 1",
            "BITFIELD k SET i64 3 -9223372036854775808 OVERFLOW SAT INCRBY i64 3 -1 GET u63 3",
            "BITFIELD k OVERFLOW SAT SET i5 100 -100 OVERFLOW FAIL SET u3 100 8 SET u8 #2 -1",
            "GET k",
            "BITFIELD k GET u64 0",
            "BITFIELD k GET i65 0",
            "BITFIELD k GET u0 0",
            "BITFIELD k GET x8 0",
            "BITFIELD k GET u8 -1",
            "BITFIELD k GET u8 #x",
            "BITFIELD k GET u8",
            "BITFIELD k SET u8 0 x",
            "BITFIELD k OVERFLOW MAYBE",
            "BITFIELD k NOP u8 0",
            "LPUSH q a",
            "BITFIELD q GET u8 0",
        ],
    },
    Command {
        name: "bitfield_ro",
        run: |context, request| {
            let operations = read_operations(&request[2..])?;
            if operations.iter().any(Operation::writes) {
                return Err(Error::constant("ERR BITFIELD_RO only supports the GET subcommand").into());
            }
            run(context, &request[1], &operations)
        },
        syntax: "key [GET encoding offset [GET encoding offset ...]]",
        summary: "Performs arbitrary read-only bitfield integer operations on strings.",
        since: "6.0.0",
        group: Group::Bitmap,
        complexity: "O(1) for each subcommand specified",
        flags: &[Flag::ReadOnly, Flag::Fast],
        keys: Keys::ONE,
        examples: &[
            "SET k abc",
            "BITFIELD_RO k GET u8 0 GET i4 #2",
            "BITFIELD_RO n GET u8 0",
            "BITFIELD_RO k SET u8 0 1",
        ],
    },
];

/// What happens to a value that does not fit.
#[derive(Debug, Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

/// An integer's width, sign and place.
#[derive(Debug, Clone, Copy)]
struct Place {
    signed: bool,
    bits: u32,
    offset: u64,
}

#[derive(Debug, Clone, Copy)]
enum Operation {
    Get(Place),
    Set(Place, i64, Overflow),
    Add(Place, i64, Overflow),
}

impl Operation {
    fn writes(&self) -> bool {
        !matches!(self, Operation::Get(_))
    }

    fn place(&self) -> Place {
        match self {
            Operation::Get(place) | Operation::Set(place, ..) | Operation::Add(place, ..) => *place,
        }
    }
}

fn read_operations(mut words: &[Bytes]) -> Result<Vec<Operation>, Error> {
    let mut overflow = Overflow::Wrap;
    let mut operations = Vec::new();
    while !words.is_empty() {
        let used = match words {
            [name, kind, ..] if is(name, "overflow") => {
                overflow = overflow_named(kind)?;
                2
            }
            [name, encoding, offset, ..] if is(name, "get") => {
                operations.push(Operation::Get(place(encoding, offset)?));
                3
            }
            [name, encoding, offset, value, ..] if is(name, "set") => {
                operations.push(Operation::Set(place(encoding, offset)?, integer(value)?, overflow));
                4
            }
            [name, encoding, offset, increment, ..] if is(name, "incrby") => {
                operations.push(Operation::Add(place(encoding, offset)?, integer(increment)?, overflow));
                4
            }
            _ => return Err(Error::SYNTAX),
        };
        words = &words[used..];
    }
    Ok(operations)
}

fn overflow_named(name: &[u8]) -> Result<Overflow, Error> {
    match name {
        name if is(name, "wrap") => Ok(Overflow::Wrap),
        name if is(name, "sat") => Ok(Overflow::Saturate),
        name if is(name, "fail") => Ok(Overflow::Fail),
        _ => Err(Error::constant("ERR Invalid OVERFLOW type specified")),
    }
}

fn place(encoding: &[u8], offset: &[u8]) -> Result<Place, Error> {
    let (signed, bits_max) = match encoding.first() {
        Some(b'i') => (true, 64),
        Some(b'u') => (false, 63),
        _ => return Err(BAD_TYPE),
    };
    let bits = strict_integer(&encoding[1..]).filter(|bits| (1..=bits_max).contains(bits)).ok_or(BAD_TYPE)?;
    let offset = match offset {
        // Counted in integers of this width.
        [b'#', index @ ..] => {
            let index = strict_integer(index).and_then(|index| u64::try_from(index).ok());
            checked_offset(index.and_then(|index| index.checked_mul(bits as u64)))?
        }
        offset => bit_offset(offset)?,
    };
    Ok(Place { signed, bits: bits as u32, offset })
}

fn run(context: &mut Context, key: &[u8], operations: &[Operation]) -> Outcome {
    let mut found = context.keys.find_kind(key, Kind::String)?;
    let written = operations.iter().filter(|operation| operation.writes());
    let bits = written.map(|operation| operation.place().offset + u64::from(operation.place().bits)).max();
    if let Some(bits) = bits {
        let bytes = bits.div_ceil(8);
        if bytes > string_of(context, found).len() as u64 {
            check_string_bytes(context, bytes)?;
        }
        found = Some(grow(context, found, key, bytes)?);
    }
    let mut replies = Vec::with_capacity(operations.len());
    for operation in operations {
        replies.push(apply(context, found, operation)?);
    }
    Ok(Reply::Array(replies))
}

fn apply(context: &mut Context, found: Option<Slot>, operation: &Operation) -> Outcome {
    let place = operation.place();
    let old = place.read(string_of(context, found));
    let (wanted, overflow) = match operation {
        Operation::Get(_) => return Ok(Reply::Integer(old as i64)),
        // An unsigned integer takes the bits of a negative value for a large one.
        Operation::Set(_, value, overflow) if place.signed => (i128::from(*value), *overflow),
        Operation::Set(_, value, overflow) => (i128::from(*value as u64), *overflow),
        Operation::Add(_, increment, overflow) => (old + i128::from(*increment), *overflow),
    };
    let Some(new) = place.fit(wanted, overflow) else { return Ok(Reply::Null) };
    let slot = found.expect("the key was made before the first write");
    place.write(context, slot, new)?;
    Ok(Reply::Integer(if matches!(operation, Operation::Set(..)) { old } else { new } as i64))
}

impl Place {
    /// The bytes that hold the integer, up to nine, and by how much it is shifted in them.
    fn window(&self) -> (usize, usize, u32) {
        let first = self.offset / 8;
        let end = (self.offset + u64::from(self.bits)).div_ceil(8);
        (first as usize, (end - first) as usize, (end * 8 - self.offset) as u32 - self.bits)
    }

    fn mask(&self) -> u128 {
        (1 << self.bits) - 1
    }

    /// Zeros follow the string.
    fn raw(&self, string: &[u8]) -> u128 {
        let (first, bytes, _) = self.window();
        (first..first + bytes).fold(0, |raw, at| raw << 8 | u128::from(string.get(at).copied().unwrap_or(0)))
    }

    fn read(&self, string: &[u8]) -> i128 {
        let (_, _, shift) = self.window();
        self.signed_value(self.raw(string) >> shift & self.mask())
    }

    fn signed_value(&self, bits: u128) -> i128 {
        let negative = self.signed && bits >> (self.bits - 1) == 1;
        if negative { bits as i128 - (1 << self.bits) } else { bits as i128 }
    }

    /// A value that fits; none if it does not and that is a failure.
    fn fit(&self, value: i128, overflow: Overflow) -> Option<i128> {
        let (least, most) =
            if self.signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) };
        match overflow {
            _ if (least..=most).contains(&value) => Some(value),
            Overflow::Wrap => Some(self.signed_value(value as u128 & self.mask())),
            Overflow::Saturate => Some(value.clamp(least, most)),
            Overflow::Fail => None,
        }
    }

    fn write(&self, context: &mut Context, slot: Slot, value: i128) -> Result<(), Stop> {
        let (first, bytes, shift) = self.window();
        let before = self.raw(context.keys.string(slot));
        let after = before & !(self.mask() << shift) | (value as u128 & self.mask()) << shift;
        if after != before {
            let window = &after.to_be_bytes()[size_of::<u128>() - bytes..];
            context.keys.patch_string(slot, first as u64, window)?;
        }
        Ok(())
    }
}
