//! Lists: the queues. Blocking forms are the same commands with a deadline.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::keyspace::{Kind, List, Side, Slot};
use crate::resp::{Error, Reply};

use super::job::serve::{self, Pick};
use super::job::slack;

use super::argument::{COUNT_NOT_POSITIVE, NUMKEYS_NOT_POSITIVE, counted_keys, integer, is, not_negative, range};
use super::limit::check_value;
use super::{Command, Context, Flag, Group, Keys, Outcome, Stop, Visitor, deadline, scan_list, wait_for};

const PUSH: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Fast];
const POP: &[Flag] = &[Flag::Write, Flag::Fast];
const READ: &[Flag] = &[Flag::ReadOnly];
const BLOCK: &[Flag] = &[Flag::Write, Flag::Blocking];
const BLOCK_AND_PUSH: &[Flag] = &[Flag::Write, Flag::DenyOom, Flag::Blocking];

pub const COMMANDS: &[Command] = &[
    Command {
        name: "lpush",
        run: |context, request| push(context, request, Side::Left, true),
        syntax: "key element [element ...]",
        summary: "Prepends one or more elements to a list. Creates the key if it doesn't exist.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(1) for each element added.",
        flags: PUSH,
        keys: Keys::ONE,
        examples: &["LPUSH q a b c", "LRANGE q 0 -1", "SET s 1", "LPUSH s x"],
    },
    Command {
        name: "rpush",
        run: |context, request| push(context, request, Side::Right, true),
        syntax: "key element [element ...]",
        summary: "Appends one or more elements to a list. Creates the key if it doesn't exist.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(1) for each element added.",
        flags: PUSH,
        keys: Keys::ONE,
        examples: &["RPUSH q a b c", "LRANGE q 0 -1"],
    },
    Command {
        name: "lpushx",
        run: |context, request| push(context, request, Side::Left, false),
        syntax: "key element [element ...]",
        summary: "Prepends one or more elements to a list only when the list exists.",
        since: "2.2.0",
        group: Group::List,
        complexity: "O(1) for each element added.",
        flags: PUSH,
        keys: Keys::ONE,
        examples: &["LPUSHX q a", "LPUSH q a", "LPUSHX q b"],
    },
    Command {
        name: "rpushx",
        run: |context, request| push(context, request, Side::Right, false),
        syntax: "key element [element ...]",
        summary: "Appends an element to a list only when the list exists.",
        since: "2.2.0",
        group: Group::List,
        complexity: "O(1) for each element added.",
        flags: PUSH,
        keys: Keys::ONE,
        examples: &["RPUSHX q a", "RPUSH q a", "RPUSHX q b"],
    },
    Command {
        name: "lpop",
        run: |context, request| pop(context, request, Side::Left),
        syntax: "key [count]",
        summary: "Returns the first elements in a list after removing it. Deletes the list if the last element was popped.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(N) where N is the number of elements returned.",
        flags: POP,
        keys: Keys::ONE,
        examples: &["LPOP q", "RPUSH q a b c", "LPOP q", "LPOP q 5", "EXISTS q", "LPOP q 5", "LPOP q -1"],
    },
    Command {
        name: "rpop",
        run: |context, request| pop(context, request, Side::Right),
        syntax: "key [count]",
        summary: "Returns and removes the last elements of a list. Deletes the list if the last element was popped.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(N) where N is the number of elements returned.",
        flags: POP,
        keys: Keys::ONE,
        examples: &["RPOP q", "RPUSH q a b c", "RPOP q", "RPOP q 5", "RPOP q 0"],
    },
    Command {
        name: "llen",
        run: length,
        syntax: "key",
        summary: "Returns the length of a list.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(1)",
        flags: &[Flag::ReadOnly, Flag::Fast],
        keys: Keys::ONE,
        examples: &["LLEN q", "RPUSH q a b", "LLEN q"],
    },
    Command {
        name: "lindex",
        run: index,
        syntax: "key index",
        summary: "Returns an element from a list by its index.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(C) where C is the number of chunks between the nearer end and the index.",
        flags: READ,
        keys: Keys::ONE,
        examples: &["RPUSH q a b c", "LINDEX q 0", "LINDEX q -1", "LINDEX q 3", "LINDEX q x"],
    },
    Command {
        name: "lrange",
        run: list_range,
        syntax: "key start stop",
        summary: "Returns a range of elements from a list.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(C+N) where C is the number of chunks before the start and N the number of elements returned.",
        flags: READ,
        keys: Keys::ONE,
        examples: &["RPUSH q a b c d", "LRANGE q 1 2", "LRANGE q -2 -1", "LRANGE q 5 9", "LRANGE none 0 -1"],
    },
    Command {
        name: "lset",
        run: set_item,
        syntax: "key index element",
        summary: "Sets the value of an element in a list by its index.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(C) where C is the number of chunks between the nearer end and the index.",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::ONE,
        examples: &["LSET q 0 a", "RPUSH q a b c", "LSET q -1 x", "LRANGE q 0 -1", "LSET q 3 x"],
    },
    Command {
        name: "lrem",
        run: remove,
        syntax: "key count element",
        summary: "Removes elements from a list. Deletes the list if the last element was removed.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(N) where N is the length of the list.",
        flags: &[Flag::Write],
        keys: Keys::ONE,
        examples: &["RPUSH q a b a c a", "LREM q -1 a", "LREM q 1 a", "LRANGE q 0 -1", "LREM q 0 a", "LREM q 0 z"],
    },
    Command {
        name: "ltrim",
        run: trim,
        syntax: "key start stop",
        summary: "Removes elements from both ends of a list. Deletes the list if all elements were trimmed.",
        since: "1.0.0",
        group: Group::List,
        complexity: "O(C) where C is the number of chunks that are removed.",
        flags: &[Flag::Write],
        keys: Keys::ONE,
        examples: &["RPUSH q a b c d", "LTRIM q 1 -2", "LRANGE q 0 -1", "LTRIM q 5 9", "EXISTS q"],
    },
    Command {
        name: "linsert",
        run: insert,
        syntax: "key <BEFORE | AFTER> pivot element",
        summary: "Inserts an element before or after another element in a list.",
        since: "2.2.0",
        group: Group::List,
        complexity: "O(N) where N is the number of elements before the pivot.",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::ONE,
        examples: &[
            "RPUSH q a c",
            "LINSERT q BEFORE c b",
            "LINSERT q AFTER z x",
            "LRANGE q 0 -1",
            "LINSERT n AFTER a b",
        ],
    },
    Command {
        name: "lpos",
        run: position,
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        summary: "Returns the index of matching elements in a list.",
        since: "6.0.6",
        group: Group::List,
        complexity: "O(N) where N is the number of elements that are compared.",
        flags: READ,
        keys: Keys::ONE,
        examples: &[
            "RPUSH q a b a c a",
            "LPOS q a",
            "LPOS q a RANK -1",
            "LPOS q a COUNT 0",
            "LPOS q z COUNT 1",
            "LPOS q z",
        ],
    },
    Command {
        name: "lmove",
        run: move_with_sides,
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        summary: "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last element was moved.",
        since: "6.2.0",
        group: Group::List,
        complexity: "O(1)",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        examples: &[
            "RPUSH a 1 2 3",
            "LMOVE a b RIGHT LEFT",
            "LMOVE a a LEFT RIGHT",
            "LRANGE a 0 -1",
            "LMOVE n b LEFT LEFT",
        ],
    },
    Command {
        name: "rpoplpush",
        run: |context, request| move_item(context, &request[1], &request[2], Side::Right, Side::Left, None),
        syntax: "source destination",
        summary: "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the last element was popped.",
        since: "1.2.0",
        group: Group::List,
        complexity: "O(1)",
        flags: &[Flag::Write, Flag::DenyOom],
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        examples: &["RPUSH a 1 2 3", "RPOPLPUSH a b", "RPOPLPUSH n b", "LRANGE b 0 -1"],
    },
    Command {
        name: "lmpop",
        run: |context, request| pop_many(context, request, 1, None),
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        summary: "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped.",
        since: "7.0.0",
        group: Group::List,
        complexity: "O(N+M) where N is the number of keys and M the number of elements returned.",
        flags: &[Flag::Write, Flag::MovableKeys],
        keys: Keys::Count { at: 1 },
        examples: &["LMPOP 1 q LEFT", "RPUSH q a b c", "LMPOP 2 n q RIGHT COUNT 2", "LMPOP 0 q LEFT", "LMPOP 1 q UP"],
    },
    Command {
        name: "blpop",
        run: |context, request| block_and_pop(context, request, Side::Left),
        syntax: "key [key ...] timeout",
        summary: "Removes and returns the first element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
        since: "2.0.0",
        group: Group::List,
        complexity: "O(N) where N is the number of keys.",
        flags: BLOCK,
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        examples: &["RPUSH q a", "BLPOP n q 1", "BLPOP n q 0.01", "BLPOP q -1", "BLPOP q x"],
    },
    Command {
        name: "brpop",
        run: |context, request| block_and_pop(context, request, Side::Right),
        syntax: "key [key ...] timeout",
        summary: "Removes and returns the last element in a list. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
        since: "2.0.0",
        group: Group::List,
        complexity: "O(N) where N is the number of keys.",
        flags: BLOCK,
        keys: Keys::Range { first: 1, last: -2, step: 1 },
        examples: &["RPUSH q a b", "BRPOP n q 1", "BRPOP n 0.01"],
    },
    Command {
        name: "blmove",
        run: |context, request| {
            let (from, to) = (side(&request[3])?, side(&request[4])?);
            move_item(context, &request[1], &request[2], from, to, Some(&request[5]))
        },
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout",
        summary: "Pops an element from a list, pushes it to another list and returns it. Blocks until an element is available otherwise. Deletes the list if the last element was moved.",
        since: "6.2.0",
        group: Group::List,
        complexity: "O(1)",
        flags: BLOCK_AND_PUSH,
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        examples: &["RPUSH a 1 2", "BLMOVE a b LEFT RIGHT 1", "BLMOVE n b LEFT RIGHT 0.01"],
    },
    Command {
        name: "brpoplpush",
        run: |context, request| {
            move_item(context, &request[1], &request[2], Side::Right, Side::Left, Some(&request[3]))
        },
        syntax: "source destination timeout",
        summary: "Pops an element from a list, pushes it to another list and returns it. Block until an element is available otherwise. Deletes the list if the last element was popped.",
        since: "2.2.0",
        group: Group::List,
        complexity: "O(1)",
        flags: BLOCK_AND_PUSH,
        keys: Keys::Range { first: 1, last: 2, step: 1 },
        examples: &["RPUSH a 1 2", "BRPOPLPUSH a b 1", "BRPOPLPUSH n b 0.01"],
    },
    Command {
        name: "blmpop",
        run: |context, request| pop_many(context, request, 2, Some(&request[1])),
        syntax: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        summary: "Pops the first element from one of multiple lists. Blocks until an element is available otherwise. Deletes the list if the last element was popped.",
        since: "7.0.0",
        group: Group::List,
        complexity: "O(N+M) where N is the number of keys and M the number of elements returned.",
        flags: &[Flag::Write, Flag::Blocking, Flag::MovableKeys],
        keys: Keys::Count { at: 2 },
        examples: &["RPUSH q a b", "BLMPOP 1 2 n q LEFT COUNT 5", "BLMPOP 0.01 1 n LEFT"],
    },
];

fn push(context: &mut Context, request: &[Bytes], side: Side, create: bool) -> Outcome {
    let key = &request[1];
    for item in &request[2..] {
        check_value(context, item.len())?;
    }
    if !serve::is_idle(context) {
        let length = match &request[2..] {
            [item] => serve::push(context, key, side, &[item], create)?,
            items => {
                let items: Vec<&[u8]> = items.iter().map(|item| &item[..]).collect();
                serve::push(context, key, side, &items, create)?
            }
        };
        return Ok(Reply::Integer(length as i64));
    }
    let slot = match context.keys.find_kind(key, Kind::List)? {
        Some(slot) => slot,
        None if create => context.keys.create(key, Kind::List)?,
        None => return Ok(Reply::Integer(0)),
    };
    match &request[2..] {
        [item] => context.keys.push(slot, side, &[item])?,
        items => context.keys.push(slot, side, &items.iter().map(|item| &item[..]).collect::<Vec<_>>())?,
    }
    Ok(Reply::Integer(context.keys.list(slot).len() as i64))
}

fn pop(context: &mut Context, request: &[Bytes], side: Side) -> Outcome {
    let key = &request[1];
    let count = match &request[2..] {
        [] => None,
        [count] => Some(not_negative(count)?),
        _ => {
            let name = if side == Side::Left { "lpop" } else { "rpop" };
            return Err(Error::new(format!("ERR wrong number of arguments for '{name}' command")).into());
        }
    };
    let Some(slot) = context.keys.find_kind(key, Kind::List)? else {
        return Ok(if count.is_some() { Reply::NullArray } else { Reply::Null });
    };
    match count {
        None => Ok(take_one(context, slot, side)?.map_or(Reply::Null, Reply::Bulk)),
        Some(0) => Ok(Reply::Array(Vec::new())),
        Some(count) => Ok(take_some(context, slot, side, count, None)?.unwrap_or(Reply::NullArray)),
    }
}

/// Pops one item; none if the rules of a queue let nothing go.
fn take_one(context: &mut Context, slot: Slot, side: Side) -> Result<Option<Bytes>, Stop> {
    match serve::pick(context, slot, side, 1)? {
        Pick::Plain => {
            let item = Bytes::copy_from_slice(context.keys.list_end(slot, side)?);
            context.keys.pop(slot, side, 1)?;
            Ok(Some(item))
        }
        Pick::Items(items) => {
            serve::take_picked(context, slot, side, &items)?;
            let (_, item) = items.into_iter().next().expect("a pick of items has one");
            Ok(Some(item))
        }
        Pick::Nothing => Ok(None),
    }
}

/// Pops up to `count` items; none if the rules of a queue let nothing go.
fn take_some(
    context: &mut Context,
    slot: Slot,
    side: Side,
    count: u64,
    key: Option<Bytes>,
) -> Result<Option<Reply>, Stop> {
    match serve::pick(context, slot, side, count)? {
        Pick::Plain => take(context, slot, side, count, key).map(Some),
        Pick::Items(items) => {
            serve::take_picked(context, slot, side, &items)?;
            let items = Reply::Array(items.into_iter().map(|(_, item)| Reply::Bulk(item)).collect());
            Ok(Some(match key {
                None => items,
                Some(key) => Reply::Array(vec![Reply::Bulk(key), items]),
            }))
        }
        Pick::Nothing => Ok(None),
    }
}

/// Pops up to `count` items. With a key, answers it before them.
fn take(context: &mut Context, slot: Slot, side: Side, count: u64, key: Option<Bytes>) -> Outcome {
    let len = context.keys.list(slot).len();
    let count = count.min(len);
    let span = if side == Side::Left { (0, count - 1) } else { (len - count, len - 1) };
    scan_list(
        context,
        slot,
        span,
        side,
        Take {
            slot,
            object: context.keys.object(slot).id,
            rewrites: context.keys.list(slot).rewrites(),
            side,
            key,
            ordinals: None,
            items: Items::default(),
        },
    )
}

struct Take {
    slot: Slot,
    object: u64,
    /// As often the list had items replaced or put between others when the walk began.
    rewrites: u64,
    side: Side,
    key: Option<Bytes>,
    /// The first and the last item that were read: they must still be where they were when the walk is over.
    ordinals: Option<(u64, u64)>,
    items: Items,
}

impl Visitor for Take {
    fn visit(&mut self, ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        self.ordinals = Some((self.ordinals.map_or(ordinal, |(first, _)| first), ordinal));
        self.items.add(item)
    }

    fn finish(&mut self, context: &mut Context) -> Outcome {
        let count = self.items.items.len() as u64;
        if !context.keys.is_list(self.slot, self.object) {
            return Ok(Reply::NullArray);
        }
        // Only a walk lets others run in between; they may have taken or changed what was read.
        if !self.is_unchanged(context.keys.list(self.slot), count) {
            return take(context, self.slot, self.side, count, self.key.clone());
        }
        let items = std::mem::take(&mut self.items).reply(context)?;
        context.keys.pop(self.slot, self.side, count)?;
        Ok(match self.key.take() {
            None => items,
            Some(key) => Reply::Array(vec![Reply::Bulk(key), items]),
        })
    }
}

impl Take {
    /// Tells whether the `count` items at the end are still those that were read.
    fn is_unchanged(&self, list: &List, count: u64) -> bool {
        let at = |distance: u64| match self.side {
            Side::Left => list.ordinal_at(distance),
            Side::Right => list.len().checked_sub(distance + 1).and_then(|index| list.ordinal_at(index)),
        };
        // Ordinals are not used twice, so between two that are as far apart as before nothing was taken out.
        list.rewrites() == self.rewrites
            && self.ordinals.is_some_and(|(first, last)| at(0) == Some(first) && at(count - 1) == Some(last))
    }
}

/// Items collected for a reply, up to what one reply may hold.
#[derive(Default)]
struct Items {
    items: Vec<Reply>,
    bytes: u64,
}

impl Items {
    fn add(&mut self, item: &[u8]) -> ControlFlow<()> {
        self.bytes += item.len() as u64;
        self.items.push(Reply::bulk(item));
        ControlFlow::Continue(())
    }

    fn reply(self, context: &Context) -> Outcome {
        let limit = context.host.settings().reply_bytes_max();
        if self.bytes > limit {
            return Err(Error::new(format!(
                "ERR the reply would be {} bytes long, more than reply-bytes-max ({limit}); ask for less at a time",
                self.bytes
            ))
            .into());
        }
        Ok(Reply::Array(self.items))
    }
}

fn length(context: &mut Context, request: &[Bytes]) -> Outcome {
    let slot = context.keys.find_kind(&request[1], Kind::List)?;
    Ok(Reply::Integer(slot.map_or(0, |slot| context.keys.list(slot).len() as i64)))
}

fn index(context: &mut Context, request: &[Bytes]) -> Outcome {
    let Some(slot) = context.keys.find_kind(&request[1], Kind::List)? else { return Ok(Reply::Null) };
    let index = integer(&request[2])?;
    let Some(index) = absolute(index, context.keys.list(slot).len()) else { return Ok(Reply::Null) };
    Ok(context.keys.list_at(slot, index)?.map_or(Reply::Null, Reply::bulk))
}

/// An index from the left, if it is inside the list.
fn absolute(index: i64, len: u64) -> Option<u64> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    u64::try_from(index).ok().filter(|index| *index < len)
}

fn list_range(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (start, stop) = (integer(&request[2])?, integer(&request[3])?);
    let Some(slot) = context.keys.find_kind(&request[1], Kind::List)? else { return Ok(Reply::Array(Vec::new())) };
    let Some(span) = range(start, stop, context.keys.list(slot).len()) else { return Ok(Reply::Array(Vec::new())) };
    scan_list(context, slot, span, Side::Left, Read { items: Items::default() })
}

struct Read {
    items: Items,
}

impl Visitor for Read {
    fn visit(&mut self, _ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        self.items.add(item)
    }

    fn finish(&mut self, context: &mut Context) -> Outcome {
        std::mem::take(&mut self.items).reply(context)
    }
}

fn set_item(context: &mut Context, request: &[Bytes]) -> Outcome {
    check_value(context, request[3].len())?;
    let slot = context.keys.find_kind(&request[1], Kind::List)?.ok_or(Error::NO_SUCH_KEY)?;
    let list = context.keys.list(slot);
    let index = absolute(integer(&request[2])?, list.len()).ok_or(Error::INDEX_OUT_OF_RANGE)?;
    let ordinal = list.ordinal_at(index).expect("the index is inside the list");
    context.keys.set_item(slot, ordinal, &request[3])?;
    Ok(Reply::Ok)
}

fn remove(context: &mut Context, request: &[Bytes]) -> Outcome {
    let count = integer(&request[2])?;
    let Some(slot) = context.keys.find_kind(&request[1], Kind::List)? else { return Ok(Reply::Integer(0)) };
    let from = if count < 0 { Side::Right } else { Side::Left };
    let limit = if count == 0 { u64::MAX } else { count.unsigned_abs() };
    remove_from(context, slot, from, limit, request[3].clone())
}

/// Removes up to `limit` items that are equal to an element, those nearest to a side.
fn remove_from(context: &mut Context, slot: Slot, from: Side, limit: u64, element: Bytes) -> Outcome {
    let list = context.keys.list(slot);
    let (last, rewrites) = (list.len() - 1, list.rewrites());
    let object = context.keys.object(slot).id;
    let visitor = Remove { slot, object, rewrites, from, limit, element, found: Vec::new() };
    scan_list(context, slot, (0, last), from, visitor)
}

struct Remove {
    slot: Slot,
    object: u64,
    /// As often the list had items replaced or put between others when the walk began.
    rewrites: u64,
    from: Side,
    limit: u64,
    element: Bytes,
    found: Vec<u64>,
}

impl Visitor for Remove {
    fn visit(&mut self, ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        if item == self.element {
            self.found.push(ordinal);
        }
        if self.found.len() as u64 == self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn finish(&mut self, context: &mut Context) -> Outcome {
        // What was popped while the walk went on is no longer there to remove.
        if !context.keys.is_list(self.slot, self.object) {
            return Ok(Reply::Integer(0));
        }
        let list = context.keys.list(self.slot);
        if list.rewrites() != self.rewrites {
            return remove_from(context, self.slot, self.from, self.limit, self.element.clone());
        }
        self.found.retain(|ordinal| list.contains(*ordinal));
        if !self.found.is_empty() {
            let (database, is_queue) = (context.keys.selected(), serve::is_queue(context, self.slot));
            context.keys.remove_items(self.slot, &self.found)?;
            for _ in self.found.iter().filter(|_| !is_queue) {
                context.keys.sightings.done(database, &self.element);
            }
        }
        Ok(Reply::Integer(self.found.len() as i64))
    }
}

fn trim(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (start, stop) = (integer(&request[2])?, integer(&request[3])?);
    let Some(slot) = context.keys.find_kind(&request[1], Kind::List)? else { return Ok(Reply::Ok) };
    let len = context.keys.list(slot).len();
    let Some((first, last)) = range(start, stop, len) else {
        context.keys.delete(slot)?;
        return Ok(Reply::Ok);
    };
    if first > 0 {
        context.keys.trim(slot, Side::Left, first)?;
    }
    if last + 1 < len {
        context.keys.trim(slot, Side::Right, len - 1 - last)?;
    }
    Ok(Reply::Ok)
}

fn insert(context: &mut Context, request: &[Bytes]) -> Outcome {
    let after = match &request[2] {
        place if is(place, "before") => false,
        place if is(place, "after") => true,
        _ => return Err(Error::SYNTAX.into()),
    };
    let Some(slot) = context.keys.find_kind(&request[1], Kind::List)? else { return Ok(Reply::Integer(0)) };
    insert_beside(context, slot, after, request[3].clone(), request[4].clone())
}

/// Puts an element before or after the first item that is equal to a pivot.
fn insert_beside(context: &mut Context, slot: Slot, after: bool, pivot: Bytes, element: Bytes) -> Outcome {
    let list = context.keys.list(slot);
    let (last, rewrites) = (list.len() - 1, list.rewrites());
    let object = context.keys.object(slot).id;
    let visitor = Insert { slot, object, rewrites, after, pivot, element, found: None };
    scan_list(context, slot, (0, last), Side::Left, visitor)
}

struct Insert {
    slot: Slot,
    object: u64,
    /// As often the list had items replaced or put between others when the walk began.
    rewrites: u64,
    after: bool,
    pivot: Bytes,
    element: Bytes,
    found: Option<u64>,
}

impl Visitor for Insert {
    fn visit(&mut self, ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        if item == self.pivot {
            self.found = Some(ordinal);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn finish(&mut self, context: &mut Context) -> Outcome {
        if !context.keys.is_list(self.slot, self.object) {
            return Ok(Reply::Integer(0));
        }
        if context.keys.list(self.slot).rewrites() != self.rewrites {
            return insert_beside(context, self.slot, self.after, self.pivot.clone(), self.element.clone());
        }
        let Some(pivot) = self.found.filter(|ordinal| context.keys.list(self.slot).contains(*ordinal)) else {
            return Ok(Reply::Integer(-1));
        };
        context.keys.insert_item(self.slot, pivot, self.after, &self.element)?;
        Ok(Reply::Integer(context.keys.list(self.slot).len() as i64))
    }
}

fn position(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (mut rank, mut count, mut limit) = (1i64, None, 0u64);
    for option in request[3..].chunks(2) {
        let [name, value] = option else { return Err(Error::SYNTAX.into()) };
        if is(name, "rank") {
            rank = integer(value)?;
            if rank == 0 {
                return Err(Error::new("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list").into());
            }
            if rank == i64::MIN {
                return Err(Error::new(
                    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
                )
                .into());
            }
        } else if is(name, "count") {
            count = Some(not_negative(value).map_err(|_| Error::new("ERR COUNT can't be negative"))?);
        } else if is(name, "maxlen") {
            limit = not_negative(value).map_err(|_| Error::new("ERR MAXLEN can't be negative"))?;
        } else {
            return Err(Error::SYNTAX.into());
        }
    }
    let Some(slot) = context.keys.find_kind(&request[1], Kind::List)? else {
        return Ok(if count.is_some() { Reply::Array(Vec::new()) } else { Reply::Null });
    };
    let len = context.keys.list(slot).len();
    let looked_at = if limit == 0 { len } else { limit.min(len) };
    let (from, span) =
        if rank > 0 { (Side::Left, (0, looked_at - 1)) } else { (Side::Right, (len - looked_at, len - 1)) };
    let visitor = Position {
        element: request[2].clone(),
        skip: rank.unsigned_abs() - 1,
        wanted: match count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count as usize,
        },
        one: count.is_none(),
        next: if rank > 0 { 0 } else { len as i64 - 1 },
        step: if rank > 0 { 1 } else { -1 },
        found: Vec::new(),
    };
    scan_list(context, slot, span, from, visitor)
}

struct Position {
    element: Bytes,
    skip: u64,
    wanted: usize,
    one: bool,
    /// Index of the item that is visited next, as the list stood when the command began.
    next: i64,
    step: i64,
    found: Vec<i64>,
}

impl Visitor for Position {
    fn visit(&mut self, _ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        if item == self.element {
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                self.found.push(self.next);
            }
        }
        self.next += self.step;
        if self.found.len() == self.wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn finish(&mut self, _context: &mut Context) -> Outcome {
        if self.one {
            return Ok(self.found.first().map_or(Reply::Null, |index| Reply::Integer(*index)));
        }
        Ok(Reply::Array(self.found.iter().copied().map(Reply::Integer).collect()))
    }
}

fn move_with_sides(context: &mut Context, request: &[Bytes]) -> Outcome {
    let (from, to) = (side(&request[3])?, side(&request[4])?);
    move_item(context, &request[1], &request[2], from, to, None)
}

fn side(text: &[u8]) -> Result<Side, Error> {
    match text {
        text if is(text, "left") => Ok(Side::Left),
        text if is(text, "right") => Ok(Side::Right),
        _ => Err(Error::SYNTAX),
    }
}

fn move_item(
    context: &mut Context,
    source: &Bytes,
    destination: &Bytes,
    from: Side,
    to: Side,
    timeout: Option<&Bytes>,
) -> Outcome {
    let until = timeout.map(|timeout| deadline(timeout, context.now)).transpose()?;
    let nothing = |context: &mut Context| match until {
        Some(until) if context.may_block() => wait_for(context, std::slice::from_ref(source), Kind::List, until),
        // Not an array, unlike what is answered when the time is over.
        _ => Ok(Reply::Null),
    };
    let Some(source_slot) = context.keys.find_kind(source, Kind::List)? else { return nothing(context) };
    let picked = match serve::pick(context, source_slot, from, 1)? {
        Pick::Plain => None,
        Pick::Items(items) => items.into_iter().next(),
        Pick::Nothing => return nothing(context),
    };
    let (ordinal, item) = match picked {
        Some((ordinal, item)) => (Some(ordinal), item),
        None => (None, Bytes::copy_from_slice(context.keys.list_end(source_slot, from)?)),
    };
    let target = context.keys.find_kind(destination, Kind::List)?;
    if target == Some(source_slot) {
        // A list rotates in place: it must not die in between, or its expiry would be lost.
        if context.keys.list(source_slot).len() > 1 {
            take_at(context, source_slot, from, ordinal, &item)?;
            context.keys.push(source_slot, to, &[&item])?;
        }
        return Ok(Reply::Bulk(item));
    }
    let is_working_list = serve::is_working_list(context, source_slot, target, destination)?;
    let is_queue;
    if is_working_list || serve::is_idle(context) {
        is_queue = false;
        let target = match target {
            Some(slot) => slot,
            None => context.keys.create(destination, Kind::List)?,
        };
        context.keys.push(target, to, &[&item])?;
        if is_working_list {
            context.keys.mark_working(target)?;
        }
    } else {
        serve::push(context, destination, to, &[&item], true)?;
        is_queue = context.keys.find_kind(destination, Kind::List)?.is_none_or(|slot| serve::is_queue(context, slot));
    }
    match ordinal.filter(|_| is_queue) {
        // It waits in another queue now, and runs for nobody.
        Some(ordinal) => {
            let passed = serve::gates_of(context, source_slot, &item);
            context.keys.take_items(source_slot, from, &[ordinal])?;
            serve::give_back(context, passed);
        }
        None => take_at(context, source_slot, from, ordinal, &item)?,
    }
    Ok(Reply::Bulk(item))
}

/// Takes the item at an end, or the one that was picked.
fn take_at(context: &mut Context, slot: Slot, side: Side, ordinal: Option<u64>, item: &Bytes) -> Result<(), Stop> {
    match ordinal {
        None => Ok(context.keys.pop(slot, side, 1)?),
        Some(ordinal) => serve::take_picked(context, slot, side, &[(ordinal, item.clone())]),
    }
}

fn block_and_pop(context: &mut Context, request: &[Bytes], side: Side) -> Outcome {
    let (timeout, keys) = request[1..].split_last().expect("the arity says that there is a timeout");
    let until = deadline(timeout, context.now)?;
    for key in slack::in_order(context, keys, Some(side))?.iter() {
        let Some(slot) = context.keys.find_kind(key, Kind::List)? else { continue };
        if let Some(item) = take_one(context, slot, side)? {
            return Ok(Reply::Array(vec![Reply::Bulk(key.clone()), Reply::Bulk(item)]));
        }
    }
    wait_for(context, keys, Kind::List, until)
}

fn pop_many(context: &mut Context, request: &[Bytes], at: usize, timeout: Option<&Bytes>) -> Outcome {
    let (keys, rest) = counted_keys(request, at, NUMKEYS_NOT_POSITIVE)?;
    let (end, options) = rest.split_first().ok_or(Error::SYNTAX)?;
    let side = side(end)?;
    let count = match options {
        [] => 1,
        [name, count] if is(name, "count") => match integer(count) {
            Ok(count) if count > 0 => count as u64,
            _ => return Err(COUNT_NOT_POSITIVE.into()),
        },
        _ => return Err(Error::SYNTAX.into()),
    };
    let until = timeout.map(|timeout| deadline(timeout, context.now)).transpose()?;
    for key in slack::in_order(context, keys, Some(side))?.iter() {
        let Some(slot) = context.keys.find_kind(key, Kind::List)? else { continue };
        if let Some(reply) = take_some(context, slot, side, count, Some(key.clone()))? {
            return Ok(reply);
        }
    }
    match until {
        None => Ok(Reply::NullArray),
        Some(until) => wait_for(context, keys, Kind::List, until),
    }
}
