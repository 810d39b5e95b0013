//! A list's reference to one of its chunks: where the chunk is, and what of it is still in the list; and two ways to look at
//! it from outside, [`ChunkView`] at once and [`Piece`] later.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::job::Summary;
use crate::store::ChunkId;

use super::chunk::Chunk;
use super::layout::{self, Corrupt, Reader};
use super::list::Side;

/// A chunk of a list as others name it: the base finds it fast, the number proves that it is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkAt {
    pub base: u64,
    pub id: ChunkId,
}

/// A chunk of a list: where it is, and what of it is still in the list.
#[derive(Debug, Clone)]
pub struct ChunkRef {
    /// The ordinal of physical index 0.
    pub(super) base: u64,
    /// Grows to the left: ordinals fall as physical indexes rise.
    pub(super) leftward: bool,
    /// Takes further items.
    pub(super) open: bool,
    /// The row in `dir` says what this reference says.
    pub(super) clean: bool,
    /// A loader has been asked for it ahead of pops.
    pub loading: bool,
    /// It was brought in like that.
    pub(super) ahead: bool,
    /// Live physical indexes are `low..high` without the holes. Neither edge is ever a hole.
    pub(super) low: u32,
    pub(super) high: u32,
    pub(super) holes: Option<Arc<BTreeSet<u32>>>,
    /// Bytes of all its items.
    pub(super) data_bytes: u32,
    /// Its number in the cold store.
    pub(super) id: Option<ChunkId>,
    /// The store has confirmed that it holds the chunk.
    pub(super) landed: bool,
    /// The key of its row in `dir`, if it has one.
    pub(super) row: Option<u64>,
    /// Up to which rule its items were looked at, and none of them is for a rule to take; 0 for not at all.
    pub(super) checked: u32,
    /// What it held when it went to the store.
    pub(super) summary: Option<Arc<Summary>>,
    pub(super) body: Option<Arc<Chunk>>,
}

impl ChunkRef {
    /// Of a new chunk, all of whose items are live: closed, and in memory alone.
    pub(super) fn of(base: u64, body: Chunk) -> ChunkRef {
        ChunkRef {
            base,
            leftward: false,
            open: false,
            clean: false,
            loading: false,
            ahead: false,
            low: 0,
            high: body.len() as u32,
            holes: None,
            data_bytes: body.data_bytes() as u32,
            id: None,
            landed: false,
            row: None,
            checked: 0,
            summary: None,
            body: Some(Arc::new(body)),
        }
    }

    pub(super) fn live(&self) -> u64 {
        u64::from(self.high - self.low) - self.holes.as_ref().map_or(0, |holes| holes.len() as u64)
    }

    pub(super) fn ordinal(&self, physical: u32) -> u64 {
        if self.leftward { self.base - u64::from(physical) } else { self.base + u64::from(physical) }
    }

    /// Smallest and largest live ordinal.
    pub(super) fn span(&self) -> (u64, u64) {
        let (a, b) = (self.ordinal(self.low), self.ordinal(self.high - 1));
        (a.min(b), a.max(b))
    }

    pub(super) fn physical(&self, ordinal: u64) -> Option<u32> {
        let distance = if self.leftward { self.base.checked_sub(ordinal)? } else { ordinal.checked_sub(self.base)? };
        let physical = u32::try_from(distance).ok()?;
        (physical >= self.low && physical < self.high && !self.is_hole(physical)).then_some(physical)
    }

    pub(super) fn is_hole(&self, physical: u32) -> bool {
        self.holes.as_ref().is_some_and(|holes| holes.contains(&physical))
    }

    /// The physical index of the item nearest to a side.
    pub(super) fn edge(&self, side: Side) -> u32 {
        if (side == Side::Left) != self.leftward { self.low } else { self.high - 1 }
    }

    /// Takes the item nearest to a side out, and the holes behind it.
    pub(super) fn shed(&mut self, side: Side) {
        self.clean = false;
        if (side == Side::Left) != self.leftward {
            self.low += 1
        } else {
            self.high -= 1
        }
        self.skip_holes();
    }

    /// Takes an item in the middle out.
    pub(super) fn punch(&mut self, physical: u32) {
        Arc::make_mut(self.holes.get_or_insert_default()).insert(physical);
    }

    pub(super) fn skip_holes(&mut self) {
        let Some(holes) = &mut self.holes else { return };
        let holes = Arc::make_mut(holes);
        while self.low < self.high && holes.remove(&self.low) {
            self.low += 1;
        }
        while self.low < self.high && holes.remove(&(self.high - 1)) {
            self.high -= 1;
        }
        if holes.is_empty() {
            self.holes = None;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.memory_bytes())
            + self.summary.as_ref().map_or(0, |summary| summary.memory_bytes())
            + size_of::<ChunkRef>()
    }

    /// What its body counts as read ahead.
    pub(super) fn ahead_bytes(&self, body: &Chunk) -> usize {
        if self.ahead { body.memory_bytes() } else { 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.low == self.high
    }

    pub(super) fn missing(&self) -> Option<ChunkAt> {
        if self.body.is_some() {
            return None;
        }
        Some(ChunkAt { base: self.base, id: self.id.expect("a chunk that is not in memory is in the store") })
    }
}

/// A chunk as its row is to tell of it. Rows are encoded by who writes them, since very many may have changed.
#[derive(Debug)]
pub struct ChunkRow {
    pub base: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A chunk of the store.
    Stored(ChunkRef),
    /// The row has the items themselves.
    Inline(Vec<u8>),
}

impl ChunkRow {
    pub(super) fn of(chunk: &ChunkRef) -> ChunkRow {
        let what = match chunk.id {
            // Its items are not shared with the row, or the next change would have to copy them.
            Some(_) => What::Stored(ChunkRef { body: None, ..chunk.clone() }),
            None => What::Inline(encode_row(chunk)),
        };
        ChunkRow { base: chunk.base, what }
    }

    pub fn encode(self) -> Vec<u8> {
        match self.what {
            What::Stored(chunk) => encode_row(&chunk),
            What::Inline(row) => row,
        }
    }
}

/// A chunk as those look at it who choose among its items.
#[derive(Debug, Clone, Copy)]
pub struct ChunkView<'a> {
    pub(super) chunk: &'a ChunkRef,
    pub(super) from: Side,
    pub(super) after: Option<u64>,
}

impl<'a> ChunkView<'a> {
    /// Tells whether an ordinal lies between its first and its last item.
    pub fn spans(&self, ordinal: u64) -> bool {
        let (first, last) = self.chunk.span();
        (first..=last).contains(&ordinal)
    }

    /// The ordinal of physical index 0, which names the chunk as long as the list is not written anew.
    pub fn base(&self) -> u64 {
        self.chunk.base
    }

    /// Up to which rule its items were looked at.
    pub fn checked(&self) -> u32 {
        self.chunk.checked
    }

    /// What it held when it went to the store; some of that may be gone.
    pub fn summary(&self) -> Option<&'a Summary> {
        self.chunk.summary.as_deref()
    }

    /// How many items it has.
    pub fn live(&self) -> u64 {
        self.chunk.live()
    }

    pub fn data_bytes(&self) -> usize {
        self.chunk.data_bytes as usize
    }

    /// The ordinal of its first item, seen from the side that the walk began at.
    pub fn first(&self) -> u64 {
        let (low, high) = self.chunk.span();
        if self.from == Side::Left { low } else { high }
    }

    /// The ordinal of its last item, seen from the side that the walk began at.
    pub fn last(&self) -> u64 {
        let (low, high) = self.chunk.span();
        if self.from == Side::Left { high } else { low }
    }

    /// The chunk to fetch before its items can be seen.
    pub fn missing(&self) -> Option<ChunkAt> {
        self.chunk.missing()
    }

    /// Its items with their ordinals, in the order of the walk; it must be in memory.
    pub fn items(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let (chunk, from, after) = (self.chunk, self.from, self.after);
        let body = chunk.body.as_deref().expect("a chunk is looked into after it was fetched");
        let ascending = (from == Side::Left) != chunk.leftward;
        (0..chunk.high - chunk.low).filter_map(move |step| {
            let physical = if ascending { chunk.low + step } else { chunk.high - 1 - step };
            let ordinal = chunk.ordinal(physical);
            let passed =
                after.is_some_and(|after| if from == Side::Left { ordinal <= after } else { ordinal >= after });
            (!passed && !chunk.is_hole(physical)).then(|| (ordinal, body.item(physical)))
        })
    }

    /// The chunk as it is now, to be looked into by others.
    pub fn piece(&self) -> Piece {
        piece(self.chunk, 0, 0)
    }
}

/// Part of a list as it stood at one moment: immutable, so that it can be walked while the list changes.
#[derive(Debug, Clone)]
pub struct Piece {
    base: u64,
    leftward: bool,
    /// Live physical indexes, holes left out.
    low: u32,
    high: u32,
    holes: Option<Arc<BTreeSet<u32>>>,
    pub data_bytes: u32,
    id: Option<ChunkId>,
    pub body: Option<Arc<Chunk>>,
}

impl Piece {
    /// The ordinal of physical index 0, which names the chunk as long as the list is not written anew.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// How many items it has.
    pub fn live(&self) -> u64 {
        u64::from(self.high - self.low) - self.holes.as_ref().map_or(0, |holes| holes.len() as u64)
    }

    /// Smallest and largest ordinal of its items.
    pub fn span(&self) -> (u64, u64) {
        let ordinal = |physical: u32| match self.leftward {
            true => self.base - u64::from(physical),
            false => self.base + u64::from(physical),
        };
        let (a, b) = (ordinal(self.low), ordinal(self.high - 1));
        (a.min(b), a.max(b))
    }

    /// The chunk to fetch before the piece can be read.
    pub fn missing(&self) -> Option<ChunkAt> {
        if self.body.is_some() {
            return None;
        }
        Some(ChunkAt { base: self.base, id: self.id.expect("a chunk that is not in memory is in the store") })
    }

    /// The items with their ordinals, starting at the given side; the body must be there.
    pub fn items(&self, from: Side) -> impl Iterator<Item = (u64, &[u8])> {
        let body = self.body.as_ref().expect("a piece is read after its chunk was fetched");
        let ascending = (from == Side::Left) != self.leftward;
        (0..self.high - self.low).filter_map(move |step| {
            let physical = if ascending { self.low + step } else { self.high - 1 - step };
            if self.holes.as_ref().is_some_and(|holes| holes.contains(&physical)) {
                return None;
            }
            let ordinal = if self.leftward { self.base - u64::from(physical) } else { self.base + u64::from(physical) };
            Some((ordinal, body.item(physical)))
        })
    }
}

/// The physical index of the live item that has `skip` live items between it and a side.
pub(super) fn nth(chunk: &ChunkRef, side: Side, skip: u64) -> u32 {
    let ascending = (side == Side::Left) != chunk.leftward;
    let step = |by: u32| if ascending { chunk.low + by } else { chunk.high - 1 - by };
    if chunk.holes.is_none() {
        return step(skip as u32);
    }
    let mut live = (0..chunk.high - chunk.low).map(step).filter(|physical| !chunk.is_hole(*physical));
    live.nth(skip as usize).expect("the caller counted the live items")
}

pub(super) fn piece(chunk: &ChunkRef, skip_left: u64, skip_right: u64) -> Piece {
    let (mut low, mut high) = (chunk.low, chunk.high);
    let left = (skip_left > 0).then(|| nth(chunk, Side::Left, skip_left));
    let right = (skip_right > 0).then(|| nth(chunk, Side::Right, skip_right));
    for bound in [left.filter(|_| !chunk.leftward), right.filter(|_| chunk.leftward)].into_iter().flatten() {
        low = bound;
    }
    for bound in [right.filter(|_| !chunk.leftward), left.filter(|_| chunk.leftward)].into_iter().flatten() {
        high = bound + 1;
    }
    Piece {
        base: chunk.base,
        leftward: chunk.leftward,
        low,
        high,
        holes: chunk.holes.clone(),
        data_bytes: chunk.data_bytes,
        id: chunk.id,
        body: chunk.body.clone(),
    }
}

const ROW_LEFTWARD: u8 = 1;
const ROW_OPEN: u8 = 2;
const ROW_INLINE: u8 = 4;
const ROW_SUMMARY: u8 = 8;

pub(super) fn encode_row(chunk: &ChunkRef) -> Vec<u8> {
    let mut out = vec![layout::ROW_VERSION];
    let inline = chunk.id.is_none();
    out.push(
        if chunk.leftward { ROW_LEFTWARD } else { 0 }
            | if chunk.open { ROW_OPEN } else { 0 }
            | if inline { ROW_INLINE } else { 0 }
            | if chunk.summary.is_some() { ROW_SUMMARY } else { 0 },
    );
    layout::put_varint(&mut out, u64::from(chunk.low));
    layout::put_varint(&mut out, u64::from(chunk.high));
    layout::put_varint(&mut out, u64::from(chunk.data_bytes));
    let holes = chunk.holes.as_deref();
    layout::put_varint(&mut out, holes.map_or(0, |holes| holes.len() as u64));
    for hole in holes.into_iter().flatten() {
        layout::put_varint(&mut out, u64::from(*hole));
    }
    if let Some(summary) = &chunk.summary {
        layout::put_bytes(&mut out, &summary.encode());
    }
    match chunk.id {
        Some(id) => out.extend_from_slice(&id.0.to_be_bytes()),
        None => chunk.body.as_ref().expect("a chunk that is not stored is in memory").write_items(&mut out),
    }
    out
}

pub(super) fn decode_row(base: u64, row: &[u8]) -> Result<ChunkRef, Corrupt> {
    let mut reader = Reader::new(row);
    if reader.byte()? != layout::ROW_VERSION {
        return Err(Corrupt("chunk row of an unknown version"));
    }
    let flags = reader.byte()?;
    let mut number = || -> Result<u32, Corrupt> {
        u32::try_from(reader.varint()?).map_err(|_| Corrupt("number in a chunk row too large"))
    };
    let (low, high, data_bytes, hole_count) = (number()?, number()?, number()?, number()?);
    let holes: BTreeSet<u32> = (0..hole_count).map(|_| number()).collect::<Result<_, _>>()?;
    if low >= high || holes.len() as u64 >= u64::from(high - low) {
        return Err(Corrupt("chunk row without items"));
    }
    let summary = match flags & ROW_SUMMARY {
        0 => None,
        _ => Some(Summary::decode(reader.bytes()?).map_err(|_| Corrupt("summary of a chunk"))?),
    };
    let (id, body) = if flags & ROW_INLINE == 0 {
        (Some(ChunkId(reader.u64()?)), None)
    } else {
        let body = Chunk::read_items(&mut reader)?;
        if body.len() < high as usize {
            return Err(Corrupt("chunk row with too few items"));
        }
        (None, Some(Arc::new(body)))
    };
    Ok(ChunkRef {
        base,
        leftward: flags & ROW_LEFTWARD != 0,
        open: flags & ROW_OPEN != 0 && body.is_some(),
        clean: true,
        loading: false,
        ahead: false,
        low,
        high,
        holes: (!holes.is_empty()).then(|| Arc::new(holes)),
        data_bytes,
        id,
        landed: id.is_some(),
        row: Some(base),
        checked: 0,
        summary: summary.map(Arc::new),
        body,
    })
}
