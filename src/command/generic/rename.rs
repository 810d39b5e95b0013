//! Giving values other keys: renaming, moving to another database, copying.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::keyspace::{Kind, Side, Slot};
use crate::resp::{Error, Reply};

use super::super::argument::{integer, is};
use super::super::limit::check_value;
use super::super::{Command, Context, Flag, Group, Keys, Outcome, Stop, Visitor, scan_list};

const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
const SAME: Error = Error::constant("ERR source and destination objects are the same");
const NO_DATABASE: Error = Error::constant("ERR DB index is out of range");

/// Entries that are copied by one effect.
const COPY_STEP: usize = 512;

pub const COMMANDS: &[Command] = &[
    Command {
        name: "rename",
        run: |context, request| rename(context, request, true),
        syntax: "key newkey",
        summary: "Renames a key and overwrites the destination.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: &[Flag::Write],
        keys: TWO,
        examples: &[
            "RENAME n m",
            "SET a 1 EX 100",
            "LPUSH q x",
            "RENAME a a",
            "RENAME a q",
            "GET q",
            "TTL q",
            "EXISTS a",
            "RENAME n n",
        ],
    },
    Command {
        name: "renamenx",
        run: |context, request| rename(context, request, false),
        syntax: "key newkey",
        summary: "Renames a key only when the target key name doesn't exist.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: &[Flag::Write, Flag::Fast],
        keys: TWO,
        examples: &["RENAMENX n m", "MSET a 1 b 2", "RENAMENX a b", "RENAMENX a a", "RENAMENX a c", "MGET a b c"],
    },
    Command {
        name: "move",
        run: move_key,
        syntax: "key db",
        summary: "Moves a key to another database.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(1)",
        flags: &[Flag::Write, Flag::Fast],
        keys: Keys::ONE,
        examples: &[
            "SET k 1 EX 100",
            "MOVE k 1",
            "EXISTS k",
            "SET k 2",
            "MOVE k 1",
            "MOVE n 1",
            "MOVE k 0",
            "MOVE k 99",
            "MOVE k -1",
            "MOVE k x",
            "COPY k k DB 1 REPLACE",
        ],
    },
    Command {
        name: "copy",
        run: copy,
        syntax: "source destination [DB destination-db] [REPLACE]",
        summary: "Copies the value of a key to a new key.",
        since: "6.2.0",
        group: Group::Generic,
        complexity: "O(N) for collections, where N is the number of their elements; O(1) for strings.",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: TWO,
        examples: &[
            "COPY n m",
            "SET a 1 EX 100",
            "COPY a b",
            "TTL b",
            "COPY a b",
            "RPUSH q x y z",
            "COPY q b REPLACE",
            "LRANGE b 0 -1",
            "TTL b",
            "COPY a a",
            "COPY a a DB 1",
            "COPY a a DB 1",
            "COPY a a DB 1 REPLACE",
            "COPY a b DB 99",
            "COPY a b DB x",
            "COPY a b BAD",
        ],
    },
];

fn rename(context: &mut Context, request: &[Bytes], overwrite: bool) -> Outcome {
    let (from, to) = (&request[1], &request[2]);
    let source = context.keys.find(from).ok_or(Error::NO_SUCH_KEY)?;
    let target = context.keys.find(to);
    let reply = if overwrite { Reply::Ok } else { Reply::Integer(1) };
    if from == to {
        return Ok(if overwrite { reply } else { Reply::Integer(0) });
    }
    if target.is_some() && !overwrite {
        return Ok(Reply::Integer(0));
    }
    context.keys.resident(source)?;
    if let Some(target) = target {
        context.keys.delete(target)?;
    }
    context.keys.rename(source, context.keys.selected(), to)?;
    Ok(reply)
}

fn database(context: &Context, text: &[u8]) -> Result<usize, Error> {
    let number = usize::try_from(integer(text)?).ok();
    number.filter(|number| *number < context.keys.database_count()).ok_or(NO_DATABASE)
}

/// Does something in another database.
fn within<T>(context: &mut Context, database: usize, work: impl FnOnce(&mut Context) -> T) -> T {
    let before = context.keys.selected();
    context.keys.select(database);
    let done = work(context);
    context.keys.select(before);
    done
}

fn move_key(context: &mut Context, request: &[Bytes]) -> Outcome {
    let key = &request[1];
    let target = database(context, &request[2])?;
    if target == context.keys.selected() {
        return Err(SAME.into());
    }
    let Some(slot) = context.keys.find(key) else { return Ok(Reply::Integer(0)) };
    if within(context, target, |context| context.keys.find(key)).is_some() {
        return Ok(Reply::Integer(0));
    }
    context.keys.rename(slot, target, key)?;
    Ok(Reply::Integer(1))
}

/// Where a copy goes, and with what.
struct Copy {
    database: usize,
    key: Bytes,
    replace: bool,
    expire_ms: u64,
}

fn copy(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (from, to) = (&request[1], &request[2]);
    let (mut target, mut replace) = (context.keys.selected(), false);
    let mut words = &request[3..];
    while let Some((word, rest)) = words.split_first() {
        words = match rest {
            rest if is(word, "replace") => {
                replace = true;
                rest
            }
            [number, rest @ ..] if is(word, "db") => {
                target = database(context, number)?;
                rest
            }
            _ => return Err(Error::SYNTAX.into()),
        };
    }
    if target == context.keys.selected() && from == to {
        return Err(SAME.into());
    }
    let Some(source) = context.keys.find(from) else { return Ok(Reply::Integer(0)) };
    context.keys.resident(source)?;
    let expire_ms = context.keys.object(source).expire_ms;
    let copy = Copy { database: target, key: to.clone(), replace, expire_ms };
    if copy.is_blocked(context) {
        return Ok(Reply::Integer(0));
    }
    let kind = context.keys.object(source).value.kind();
    if kind == Kind::List {
        return copy_list(context, source, copy);
    }
    let slot = copy.create(context, kind)?;
    match kind {
        Kind::String => {
            let value = context.keys.string(source).to_vec();
            context.keys.write_string(slot, &value)?;
        }
        _ => copy_fields(context, kind, source, slot)?,
    }
    copy.finish(context, slot)
}

impl Copy {
    /// Tells whether something stands at the destination that must stay.
    fn is_blocked(&self, context: &mut Context) -> bool {
        !self.replace && within(context, self.database, |context| context.keys.find(&self.key)).is_some()
    }

    /// Makes an empty value in place of what stands at the destination.
    fn create(&self, context: &mut Context, kind: Kind) -> Result<Slot, Stop> {
        within(context, self.database, |context| {
            if let Some(slot) = context.keys.find(&self.key) {
                context.keys.delete(slot)?;
            }
            Ok(context.keys.create(&self.key, kind)?)
        })
    }

    fn finish(&self, context: &mut Context, slot: Slot) -> Outcome {
        if self.expire_ms != 0 {
            context.keys.set_expiry(slot, Some(self.expire_ms))?;
        }
        Ok(Reply::Integer(1))
    }
}

fn copy_list(context: &mut Context, source: Slot, copy: Copy) -> Outcome {
    let last = context.keys.list(source).len() - 1;
    let pieces = context.keys.list(source).pieces(0, last);
    check_value(context, pieces.data_bytes(context.host.settings().value_bytes_max()) as usize)?;
    scan_list(context, source, (0, last), Side::Left, CopyList { copy, items: Vec::new() })
}

struct CopyList {
    copy: Copy,
    items: Vec<Box<[u8]>>,
}

impl Visitor for CopyList {
    fn visit(&mut self, _ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        self.items.push(item.into());
        ControlFlow::Continue(())
    }

    fn finish(&mut self, context: &mut Context) -> Outcome {
        // Only a walk lets others run in between; they may have taken the destination.
        if self.copy.is_blocked(context) {
            return Ok(Reply::Integer(0));
        }
        let slot = self.copy.create(context, Kind::List)?;
        for items in self.items.chunks(COPY_STEP) {
            let items: Vec<&[u8]> = items.iter().map(|item| &item[..]).collect();
            context.keys.push(slot, Side::Right, &items)?;
        }
        self.copy.finish(context, slot)
    }
}

/// Copies a hash, set or sorted set step by step, so that no step holds much of it twice.
fn copy_fields(context: &mut Context, kind: Kind, source: Slot, slot: Slot) -> Result<(), Stop> {
    let mut cursor = 0;
    loop {
        cursor = match kind {
            Kind::Hash => {
                let mut pairs: Vec<[Box<[u8]>; 2]> = Vec::new();
                let next = context.keys.hash(source).scan(cursor, COPY_STEP, |field, value| {
                    pairs.push([field.into(), value.clone()]);
                });
                let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|[field, value]| (&field[..], &value[..])).collect();
                context.keys.put_fields(slot, &pairs)?;
                next
            }
            Kind::Set => {
                let mut members: Vec<Box<[u8]>> = Vec::new();
                let next = context.keys.set(source).scan(cursor, COPY_STEP, |member, ()| members.push(member.into()));
                let members: Vec<&[u8]> = members.iter().map(|member| &member[..]).collect();
                context.keys.add_members(slot, &members)?;
                next
            }
            Kind::Zset => {
                let mut pairs: Vec<(Box<[u8]>, f64)> = Vec::new();
                let next = context.keys.zset(source).scan(cursor, COPY_STEP, |member, score| {
                    pairs.push((member.into(), score));
                });
                let pairs: Vec<(&[u8], f64)> = pairs.iter().map(|(member, score)| (&member[..], *score)).collect();
                context.keys.put_scores(slot, &pairs)?;
                next
            }
            Kind::String | Kind::List => unreachable!("these have no fields"),
        };
        if cursor == 0 {
            return Ok(());
        }
    }
}
