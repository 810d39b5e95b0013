//! SORT: elements of a list, set or sorted set in another order, with values looked up by patterns.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use bytes::Bytes;

use crate::keyspace::{Kind, Miss, Side, Slot};
use crate::resp::{Error, Reply, parse_double};

use super::super::argument::{integer, is};
use super::super::limit::{ReplyRoom, check_value};
use super::super::{Command, Context, Flag, Group, Keys, Outcome, Stop, Visitor, Within, scan_list};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "sort",
        run: |context, request| sort(context, request, true),
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA] [STORE destination]",
        summary: "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.",
        since: "1.0.0",
        group: Group::Generic,
        complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements.",
        flags: &[Flag::Write, Flag::DenyOom, Flag::MovableKeys],
        keys: Keys::Find(keys_of_sort),
        examples: &[
            "SORT n",
            "RPUSH q 3 10 1.5 -2",
            "SORT q",
            "SORT q DESC",
            "SORT q ALPHA",
            "SORT q LIMIT 1 2",
            "SORT q LIMIT -5 2",
            "SORT q LIMIT 9 2",
            "SORT q LIMIT 1 -1",
            "SORT q BY nosort",
            "SORT q BY nosort DESC LIMIT 1 2",
            "MSET w3 1 w10 3 w1.5 2 v3 three v10 ten",
            "SORT q BY w*",
            "SORT q BY w* GET v* GET #",
            "SORT q GET v",
            "SORT q STORE d",
            "LRANGE d 0 -1",
            "SORT q BY w* GET v* STORE d",
            "LRANGE d 0 -1",
            "SORT n STORE d",
            "EXISTS d",
            "RPUSH words b a c",
            "SORT words",
            "SORT words ALPHA DESC",
            "SORT words LIMIT x 1",
            "SORT words BAD",
            "SORT words LIMIT 1",
            "SET s 1",
            "SORT s",
            "SORT s BAD",
        ],
    },
    Command {
        name: "sort_ro",
        run: |context, request| sort(context, request, false),
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC | DESC] [ALPHA]",
        summary: "Returns the sorted elements of a list, a set, or a sorted set.",
        since: "7.0.0",
        group: Group::Generic,
        complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements.",
        flags: &[Flag::ReadOnly, Flag::MovableKeys],
        keys: Keys::ONE,
        examples: &["RPUSH q 3 1 2", "SORT_RO q DESC", "SORT_RO q STORE d"],
    },
];

/// The key, and that behind the last STORE.
fn keys_of_sort(request: &[Bytes]) -> Vec<usize> {
    let mut keys = vec![1];
    let mut at = 2;
    let mut destination = None;
    while at < request.len() {
        at += match &request[at] {
            word if is(word, "limit") => 2,
            word if is(word, "get") || is(word, "by") => 1,
            word if is(word, "store") => {
                destination = Some(at + 1).filter(|at| *at < request.len());
                1
            }
            _ => 0,
        } + 1;
    }
    keys.extend(destination);
    keys
}

#[derive(Debug, Clone)]
struct Options {
    /// A pattern without a star sorts by nothing: the elements stay as they come.
    by: Option<Bytes>,
    get: Vec<Bytes>,
    /// Offset and count as they were given.
    limit: (i64, i64),
    descending: bool,
    alpha: bool,
    store: Option<Bytes>,
}

impl Options {
    fn read(mut words: &[Bytes], may_store: bool) -> Result<Options, Error> {
        let mut options =
            Options { by: None, get: Vec::new(), limit: (0, -1), descending: false, alpha: false, store: None };
        while let Some((word, rest)) = words.split_first() {
            words = match rest {
                rest if is(word, "asc") => {
                    options.descending = false;
                    rest
                }
                rest if is(word, "desc") => {
                    options.descending = true;
                    rest
                }
                rest if is(word, "alpha") => {
                    options.alpha = true;
                    rest
                }
                [offset, count, rest @ ..] if is(word, "limit") => {
                    options.limit = (integer(offset)?, integer(count)?);
                    rest
                }
                [key, rest @ ..] if is(word, "store") && may_store => {
                    options.store = Some(key.clone());
                    rest
                }
                [pattern, rest @ ..] if is(word, "by") => {
                    options.by = Some(pattern.clone());
                    rest
                }
                [pattern, rest @ ..] if is(word, "get") => {
                    options.get.push(pattern.clone());
                    rest
                }
                _ => return Err(Error::SYNTAX),
            };
        }
        Ok(options)
    }

    fn is_unsorted(&self) -> bool {
        self.by.as_ref().is_some_and(|pattern| !pattern.contains(&b'*'))
    }

    /// The places that are asked for, out of so many.
    fn places(&self, len: usize) -> std::ops::Range<usize> {
        let clamp = |number: i64| usize::try_from(number).unwrap_or(0).min(len);
        let (offset, count) = self.limit;
        let start = clamp(offset);
        let end = if count < 0 { len } else { (start + clamp(count)).min(len) };
        start..end
    }

    /// The places that must be read: those that are asked for, or all if they are only known after sorting.
    fn wanted(&self, len: usize) -> std::ops::Range<usize> {
        if self.is_unsorted() { self.places(len) } else { 0..len }
    }
}

fn sort(context: &mut Context, request: &[Bytes], may_store: bool) -> Outcome {
    let mut options = Options::read(&request[2..], may_store)?;
    let found = context.keys.find(&request[1]);
    let kind = found.map(|slot| context.keys.object(slot).value.kind());
    if matches!(kind, Some(Kind::String | Kind::Hash)) {
        return Err(Error::WRONG_TYPE.into());
    }
    let Some((slot, kind)) = found.zip(kind) else { return answer(context, &options, Vec::new()) };
    context.keys.resident(slot)?;
    let must_agree = options.store.is_some() || context.within == Within::Script;
    if kind == Kind::Set && options.is_unsorted() && must_agree {
        // A set has no order of its own, and what is kept should not depend on chance.
        (options.by, options.alpha) = (None, true);
    }
    if kind == Kind::List {
        return sort_list(context, slot, options);
    }
    let elements = members(context, kind, slot, &options);
    answer(context, &options, elements)
}

fn sort_list(context: &mut Context, slot: Slot, options: Options) -> Outcome {
    let len = context.keys.list(slot).len();
    let places = options.wanted(len as usize);
    if places.is_empty() {
        return answer(context, &options, Vec::new());
    }
    let (first, last) = (places.start as u64, places.end as u64 - 1);
    let backward = options.is_unsorted() && options.descending;
    let (from, span) =
        if backward { (Side::Right, (len - 1 - last, len - 1 - first)) } else { (Side::Left, (first, last)) };
    let pieces = context.keys.list(slot).pieces(span.0, span.1);
    check_value(context, pieces.data_bytes(context.host.settings().value_bytes_max()) as usize)?;
    scan_list(context, slot, span, from, Collect { options, elements: Vec::new() })
}

struct Collect {
    options: Options,
    elements: Vec<Bytes>,
}

impl Visitor for Collect {
    fn visit(&mut self, _ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        self.elements.push(Bytes::copy_from_slice(item));
        ControlFlow::Continue(())
    }

    fn finish(&mut self, context: &mut Context) -> Outcome {
        // What the patterns name may have to be fetched: then this runs again.
        answer(context, &self.options, self.elements.clone())
    }
}

/// The members of a set or sorted set in their own order: all that are to be sorted, or those that are asked for.
fn members(context: &Context, kind: Kind, slot: Slot, options: &Options) -> Vec<Bytes> {
    let own = |member: &[u8]| Bytes::copy_from_slice(member);
    if kind == Kind::Set {
        let set = context.keys.set(slot);
        let places = options.wanted(set.len());
        return set.iter().skip(places.start).take(places.len()).map(|(member, ())| own(member)).collect();
    }
    let zset = context.keys.zset(slot);
    let places = options.wanted(zset.len());
    if options.is_unsorted() && options.descending {
        let backward = zset.iter_back_from_rank(zset.len() - places.start);
        return backward.take(places.len()).map(|(member, _)| own(member)).collect();
    }
    zset.iter_from_rank(places.start).take(places.len()).map(|(member, _)| own(member)).collect()
}

/// Sorts, looks up what is to be got, and answers or stores it.
fn answer(context: &mut Context, options: &Options, elements: Vec<Bytes>) -> Outcome {
    let elements = if options.is_unsorted() { elements } else { sorted(context, options, elements)? };
    let rows = rows(context, options, elements)?;
    if let Some(key) = &options.store {
        return store(context, key, &rows);
    }
    let mut room = ReplyRoom::new(context);
    rows.iter().try_for_each(|value| room.take(value.as_ref().map_or(0, Bytes::len)))?;
    Ok(Reply::Array(rows.into_iter().map(|value| value.map_or(Reply::Null, Reply::Bulk)).collect()))
}

/// By what an element is compared.
enum Weight {
    Number(f64),
    /// A value that is not there comes before all others.
    Text(Option<Bytes>),
}

impl Weight {
    fn compare(&self, other: &Weight) -> Ordering {
        match (self, other) {
            (Weight::Number(a), Weight::Number(b)) => a.partial_cmp(b).expect("NaN was refused"),
            (Weight::Text(a), Weight::Text(b)) => a.cmp(b),
            _ => unreachable!("all weights of one command are of one kind"),
        }
    }
}

fn sorted(context: &mut Context, options: &Options, elements: Vec<Bytes>) -> Result<Vec<Bytes>, Stop> {
    let values = match &options.by {
        Some(pattern) => look_up(context, std::slice::from_ref(pattern), &elements)?,
        None => elements.iter().cloned().map(Some).collect(),
    };
    let mut weighed = Vec::with_capacity(elements.len());
    for (element, value) in elements.into_iter().zip(values) {
        let weight = if options.alpha { Weight::Text(value) } else { Weight::Number(number(value.as_deref())?) };
        weighed.push((weight, element));
    }
    weighed.sort_by(|(a, x), (b, y)| {
        let order = a.compare(b);
        // As in Redis, equal numbers are told apart by the element, equal texts are not.
        let order = if options.alpha { order } else { order.then_with(|| x.cmp(y)) };
        if options.descending { order.reverse() } else { order }
    });
    let places = options.places(weighed.len());
    Ok(weighed.drain(places).map(|(_, element)| element).collect())
}

/// Reads a weight: nothing counts as zero, and so does an empty text.
fn number(value: Option<&[u8]>) -> Result<f64, Error> {
    let text = value.unwrap_or(b"").trim_ascii_start();
    if text.is_empty() {
        return Ok(0.0);
    }
    parse_double(text).ok_or(Error::constant("ERR One or more scores can't be converted into double"))
}

/// What is answered for the elements: themselves, or what the GET patterns find.
fn rows(context: &mut Context, options: &Options, elements: Vec<Bytes>) -> Result<Vec<Option<Bytes>>, Stop> {
    if options.get.is_empty() {
        return Ok(elements.into_iter().map(Some).collect());
    }
    look_up(context, &options.get, &elements)
}

/// Looks up all patterns for each element in turn; what is not in memory is asked for at once.
fn look_up(context: &mut Context, patterns: &[Bytes], elements: &[Bytes]) -> Result<Vec<Option<Bytes>>, Stop> {
    let (mut values, mut missing) = (Vec::new(), Vec::new());
    for element in elements {
        for pattern in patterns {
            match look_up_one(context, pattern, element) {
                Ok(value) => values.push(value),
                Err(Miss::WrongType) => values.push(None),
                Err(Miss::Fetch(more)) => missing.extend(more),
                Err(other) => return Err(other.into()),
            }
        }
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() { Ok(values) } else { Err(Stop::Fetch(missing)) }
}

/// `#` is the element; otherwise its text takes the place of the star, and `->` names a field of a hash.
fn look_up_one(context: &mut Context, pattern: &[u8], element: &Bytes) -> Result<Option<Bytes>, Miss> {
    if pattern == b"#" {
        return Ok(Some(element.clone()));
    }
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else { return Ok(None) };
    let (head, tail) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = tail.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < tail.len());
    let Some(arrow) = arrow else {
        let found = context.keys.find_kind(&[head, element, tail].concat(), Kind::String)?;
        return Ok(found.map(|slot| Bytes::copy_from_slice(context.keys.string(slot))));
    };
    let found = context.keys.find_kind(&[head, element, &tail[..arrow]].concat(), Kind::Hash)?;
    let value = found.and_then(|slot| context.keys.hash(slot).get(&tail[arrow + 2..]));
    Ok(value.map(|value| Bytes::copy_from_slice(value)))
}

/// Puts the rows as a list under a key; no rows leave no key.
fn store(context: &mut Context, key: &[u8], rows: &[Option<Bytes>]) -> Outcome {
    check_value(context, rows.iter().flatten().map(Bytes::len).sum())?;
    if let Some(slot) = context.keys.find(key) {
        context.keys.delete(slot)?;
    }
    if !rows.is_empty() {
        let slot = context.keys.create(key, Kind::List)?;
        let items: Vec<&[u8]> = rows.iter().map(|row| row.as_deref().unwrap_or(b"")).collect();
        context.keys.push(slot, Side::Right, &items)?;
    }
    Ok(Reply::Integer(rows.len() as i64))
}
