//! A list as a deque of references to chunks, which may be in memory, in the cold store, or both.
//!
//! Every item has a stable **ordinal**, larger to the right. A pop moves a cursor in the end chunk, a removal in the middle
//! leaves a hole; neither needs the chunk's bytes. Only LSET and LINSERT make chunks anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::job::Summary;
use crate::store::ChunkId;

use super::chunk::Chunk;
pub use super::chunk_ref::{ChunkAt, ChunkRef, ChunkView, Piece};
use super::chunk_ref::{ChunkRow, decode_row, nth, piece};
use super::layout::{self, Corrupt, Reader};
pub use super::refs::Pieces;
use super::refs::{At, Refs};

/// The ordinal of the first item pushed to the right of a new list; the left end counts down from it.
const ORDINAL_START: u64 = 1 << 63;

impl ListEvents {
    pub fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.born.is_empty() && self.dead.is_empty() && self.summaries_bytes == 0
    }
}

/// An end of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    Left,
    Right,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
        }
    }
}

/// What a change to a list leaves for others to do.
#[derive(Debug, Default)]
pub struct ListEvents {
    /// Bases of chunks that were filled and may be spilled.
    pub sealed: Vec<u64>,
    /// Stored chunks to which there is one more reference.
    pub born: Vec<ChunkId>,
    /// Stored chunks that died and that no row on disk names.
    pub dead: Vec<ChunkId>,
    /// Memory of summaries that went with their chunks.
    pub summaries_bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub struct List {
    refs: Refs,
    length: u64,
    /// The ordinals that the next push to the left and to the right get.
    next_left: u64,
    next_right: u64,
    /// How often an item was replaced or put between others since the list is in memory.
    rewrites: u64,
    /// The end last popped.
    pub popped: Option<Side>,
    /// Memory of chunks and references, without that of the blocks of these.
    memory_bytes: usize,
    /// How many chunks are not in memory.
    cold: usize,
    /// Memory of summaries; part of `memory_bytes`.
    summaries_bytes: usize,
    /// Memory of chunks that were read ahead, and how much of it the keyspace's account has.
    ahead_bytes: usize,
    ahead_accounted: usize,
    /// Rows on disk of chunks that are gone, with the chunk that each names; deleted at the next save.
    dead_rows: Vec<(u64, Option<ChunkId>)>,
}

impl Default for List {
    fn default() -> List {
        List {
            refs: Refs::default(),
            length: 0,
            next_left: ORDINAL_START - 1,
            next_right: ORDINAL_START,
            rewrites: 0,
            popped: None,
            memory_bytes: size_of::<List>(),
            cold: 0,
            summaries_bytes: 0,
            ahead_bytes: 0,
            ahead_accounted: 0,
            dead_rows: Vec::new(),
        }
    }
}

impl List {
    /// The number of items.
    pub fn len(&self) -> u64 {
        self.length
    }

    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// What the list costs in memory.
    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes + self.refs.memory_bytes()
    }

    /// Memory of chunks that were read ahead: as the account has it, and now. From here on the account has it.
    pub fn account_ahead(&mut self) -> (usize, usize) {
        (std::mem::replace(&mut self.ahead_accounted, self.ahead_bytes), self.ahead_bytes)
    }

    /// The item at an end: its bytes, or the chunk that has to be fetched first. The list must not be empty.
    pub fn end(&self, side: Side) -> Result<&[u8], ChunkAt> {
        let chunk = self.end_ref(side).expect("an empty list does not exist");
        read(chunk, chunk.edge(side))
    }

    /// The item at an index from the left, if the list is that long.
    pub fn at(&self, index: u64) -> Option<Result<&[u8], ChunkAt>> {
        let (chunk, physical) = self.locate(index)?;
        Some(read(&self.refs[chunk], physical))
    }

    /// The ordinal of the item at an index from the left.
    pub fn ordinal_at(&self, index: u64) -> Option<u64> {
        let (chunk, physical) = self.locate(index)?;
        Some(self.refs[chunk].ordinal(physical))
    }

    /// The index from the left of a live ordinal.
    pub fn index_of(&self, ordinal: u64) -> Option<u64> {
        let (at, physical) = self.find(ordinal)?;
        let before = self.refs.live_before(at);
        let chunk = &self.refs[at];
        let inside = (chunk.low..chunk.high)
            .filter(|other| !chunk.is_hole(*other) && chunk.ordinal(*other) < chunk.ordinal(physical))
            .count();
        Some(before + inside as u64)
    }

    /// A number that changes whenever an item is replaced or put between others. While it is the same, an ordinal that
    /// is in the list names the item that it named before.
    pub fn rewrites(&self) -> u64 {
        self.rewrites
    }

    /// Tells whether an ordinal is in the list.
    pub fn contains(&self, ordinal: u64) -> bool {
        self.find(ordinal).is_some()
    }

    /// The chunk that must be in memory before the item with this ordinal can be changed.
    pub fn missing_for(&self, ordinal: u64) -> Option<ChunkAt> {
        let (at, _) = self.find(ordinal)?;
        self.refs[at].missing()
    }

    /// The chunk that the item with this ordinal is in, if it is in the list.
    pub fn chunk_of(&self, ordinal: u64) -> Option<ChunkView<'_>> {
        let at = self.refs.partition_point(|chunk| chunk.span().1 < ordinal)?;
        Some(ChunkView { chunk: &self.refs[at], from: Side::Left, after: None })
    }

    /// The part of the list between two indexes from the left, both included, as it is now.
    pub fn pieces(&self, first: u64, last: u64) -> Pieces {
        self.refs.pieces(first, last)
    }

    /// The chunks with items behind `after`, or all of them, from a side on.
    pub fn chunks_from(&self, from: Side, after: Option<u64>) -> impl Iterator<Item = ChunkView<'_>> {
        let start = match (from, after) {
            (_, None) => self.refs.end(from),
            (Side::Left, Some(after)) => self.refs.partition_point(|chunk| chunk.span().1 <= after),
            (Side::Right, Some(after)) => match self.refs.partition_point(|chunk| chunk.span().0 < after) {
                Some(at) => self.refs.next(at, Side::Right),
                None => self.refs.end(Side::Right),
            },
        };
        self.refs.from(start, from).map(move |at| ChunkView { chunk: &self.refs[at], from, after })
    }

    /// The item with an ordinal, if it is in the list and in memory.
    pub fn item(&self, ordinal: u64) -> Option<&[u8]> {
        let (at, physical) = self.find(ordinal)?;
        Some(self.refs[at].body.as_ref()?.item(physical))
    }

    /// The ordinal of the item at an end. The list must not be empty.
    pub fn end_ordinal(&self, side: Side) -> u64 {
        let chunk = self.end_ref(side).expect("an empty list does not exist");
        chunk.ordinal(chunk.edge(side))
    }

    /// The ordinal that the next item pushed to a side gets.
    pub fn next_ordinal(&self, side: Side) -> u64 {
        match side {
            Side::Left => self.next_left,
            Side::Right => self.next_right,
        }
    }

    /// Up to which rule the items of the chunk at an end were looked at. The list must not be empty.
    pub fn end_checked(&self, side: Side) -> u32 {
        self.end_ref(side).expect("an empty list does not exist").checked
    }

    /// Notes that a chunk was looked at with the rules up to `checked`; none that was not found any more.
    pub fn mark_checked(&mut self, base: u64, checked: u32) {
        if let Some(at) = self.refs.with_base(base) {
            self.refs.edit(at).checked = checked;
        }
    }

    /// Keeps what a chunk holds, which was found out when it was stored.
    pub fn summarize(&mut self, at: ChunkAt, summary: Arc<Summary>) {
        let Some(index) = self.stored_at(at) else { return };
        self.memory_bytes += summary.memory_bytes();
        self.summaries_bytes += summary.memory_bytes();
        let mut chunk = self.refs.edit(index);
        chunk.summary = Some(summary);
        chunk.clean = false;
    }

    /// Appends an item at an end. `checked` says up to which rule it was looked at.
    pub fn push(&mut self, side: Side, item: &[u8], chunk_bytes: usize, checked: u32, events: &mut ListEvents) {
        let leftward = side == Side::Left;
        let fits = self.end_ref(side).is_some_and(|chunk| {
            chunk.open
                && chunk.leftward == leftward
                && chunk.body.is_some()
                && chunk.data_bytes as usize + item.len() <= chunk_bytes
        });
        if !fits {
            self.open_chunk(side, item.len(), chunk_bytes, events);
        }
        let end = self.refs.end(side).expect("a chunk with room was just made sure of");
        let mut chunk = self.refs.edit(end);
        chunk.checked = if fits { chunk.checked.min(checked) } else { checked };
        let body = Arc::make_mut(chunk.body.as_mut().expect("an open chunk is in memory"));
        let before = body.memory_bytes();
        body.push(item);
        let (grown, count) = (body.memory_bytes() - before, body.len() as u32);
        // Ordinals are never used twice: what was popped at this end since the last push stays as holes.
        for popped in chunk.high..count - 1 {
            chunk.punch(popped);
        }
        chunk.high = count;
        chunk.data_bytes += item.len() as u32;
        chunk.clean = false;
        drop(chunk);
        self.memory_bytes += grown;
        self.length += 1;
        match side {
            Side::Left => self.next_left -= 1,
            Side::Right => self.next_right += 1,
        }
    }

    /// Takes up to `count` items off an end.
    pub fn pop(&mut self, side: Side, count: u64, events: &mut ListEvents) {
        let mut left = count.min(self.length);
        self.length -= left;
        while left > 0 {
            let at = self.refs.end(side).expect("the length says that there is an item");
            let live = self.refs[at].live();
            if live <= left {
                left -= live;
                self.drop_ref(at, events);
                continue;
            }
            let mut chunk = self.refs.edit(at);
            for _ in 0..left {
                chunk.shed(side);
            }
            left = 0;
        }
    }

    /// Removes items in the middle; ordinals that are not there are passed over.
    pub fn remove(&mut self, ordinals: &[u64], events: &mut ListEvents) {
        for ordinal in ordinals {
            let Some((at, physical)) = self.find(*ordinal) else { continue };
            self.length -= 1;
            let mut chunk = self.refs.edit(at);
            chunk.clean = false;
            chunk.punch(physical);
            chunk.skip_holes();
            let is_empty = chunk.is_empty();
            drop(chunk);
            if is_empty {
                self.drop_ref(at, events);
            }
        }
    }

    /// Replaces the item with this ordinal; its chunk must be in memory.
    pub fn set(&mut self, ordinal: u64, item: &[u8], events: &mut ListEvents) {
        let Some((at, physical)) = self.find(ordinal) else { return };
        self.rewrites += 1;
        self.rebuild(at, events, |chunk, body| {
            let mut fresh = Chunk::with_capacity(body.data_bytes() + item.len());
            for index in 0..body.len() as u32 {
                // What is no longer live keeps its place, so that ordinals stay, but not its bytes.
                let live = index >= chunk.low && index < chunk.high && !chunk.is_hole(index);
                fresh.push(if index == physical {
                    item
                } else if live {
                    body.item(index)
                } else {
                    b""
                });
            }
            fresh
        });
    }

    /// Puts an item before or after the one with this ordinal; its chunk must be in memory. Ordinals to the right of the
    /// new item rise by one: this is the only change that moves ordinals.
    pub fn insert(&mut self, pivot: u64, after: bool, item: &[u8], events: &mut ListEvents) {
        let Some((at, _)) = self.find(pivot) else { return };
        self.rewrites += 1;
        let old = piece(&self.refs[at], 0, 0);
        let (start, end) = self.refs[at].span();
        let new_ordinal = pivot + u64::from(after);
        // The chunk is written anew, left to right. Holes keep their places, since how many ordinals move must not
        // depend on where the chunks happen to begin.
        let mut fresh = Chunk::default();
        let mut holes = BTreeSet::new();
        let mut items = old.items(Side::Left).peekable();
        for ordinal in start..=end + 1 {
            let source = if ordinal > new_ordinal { ordinal - 1 } else { ordinal };
            if ordinal == new_ordinal {
                fresh.push(item);
            } else if let Some((_, other)) = items.next_if(|(next, _)| *next == source) {
                fresh.push(other);
            } else {
                holes.insert(fresh.len() as u32);
                fresh.push(b"");
            }
        }
        let mut right = self.refs.next(at, Side::Left);
        while let Some(other) = right {
            let mut chunk = self.refs.edit(other);
            chunk.base += 1;
            chunk.clean = false;
            if let Some(row) = chunk.row.take() {
                // The row will be written anew under the new ordinal. Until the old one is deleted on disk both count.
                events.born.extend(chunk.id);
                self.dead_rows.push((row, chunk.id));
            }
            drop(chunk);
            right = self.refs.next(other, Side::Left);
        }
        self.next_right += 1;
        drop(items);
        self.replace(at, start, fresh, holes, events);
        self.length += 1;
    }

    /// The chunks within `window_bytes` of an end that are not in memory and not on their way; marks them as on their way.
    pub fn prefetch(&mut self, side: Side, window_bytes: usize, wanted: &mut Vec<ChunkAt>) {
        let mut bytes = 0;
        let mut next = self.refs.end(side);
        while let Some(at) = next.filter(|_| bytes < window_bytes) {
            let chunk = &self.refs[at];
            bytes += chunk.data_bytes as usize;
            if let (false, Some(missing)) = (chunk.loading, chunk.missing()) {
                self.refs.edit(at).loading = true;
                wanted.push(missing);
            }
            next = self.refs.next(at, side);
        }
    }

    /// Marks a chunk as on its way; tells whether it was not, and is not there either.
    pub fn begin_loading(&mut self, at: ChunkAt) -> bool {
        let Some(index) = self.stored_at(at) else { return false };
        let begins = !self.refs[index].loading && self.refs[index].missing().is_some();
        if begins {
            self.refs.edit(index).loading = true;
        }
        begins
    }

    /// Tells whether a chunk lies within `window_bytes` of an end.
    pub fn is_near(&self, side: Side, window_bytes: usize, at: ChunkAt) -> bool {
        let mut bytes = 0;
        for other in self.refs.from(self.refs.end(side), side) {
            let chunk = &self.refs[other];
            bytes += chunk.data_bytes as usize;
            if chunk.id == Some(at.id) {
                return true;
            }
            if bytes >= window_bytes {
                break;
            }
        }
        false
    }

    /// Puts a fetched chunk into its place, if the list still has it; tells whether it did.
    pub fn install(&mut self, at: ChunkAt, body: Arc<Chunk>) -> bool {
        let Some(index) = self.stored_at(at) else { return false };
        let mut chunk = self.refs.edit(index);
        let ahead = std::mem::take(&mut chunk.loading);
        if chunk.body.is_some() || (body.len() as u32) < chunk.high {
            return chunk.body.is_some();
        }
        self.memory_bytes += body.memory_bytes();
        self.cold -= 1;
        chunk.ahead = ahead;
        self.ahead_bytes += chunk.ahead_bytes(&body);
        chunk.body = Some(body);
        true
    }

    /// Forgets that a chunk was asked for.
    pub fn give_up_loading(&mut self, at: ChunkAt) {
        if let Some(index) = self.stored_at(at) {
            self.refs.edit(index).loading = false;
        }
    }

    /// Notes that the store holds a chunk; tells whether the list still has it.
    pub fn land(&mut self, at: ChunkAt) -> bool {
        let Some(index) = self.stored_at(at) else { return false };
        self.refs.edit(index).landed = true;
        true
    }

    /// Drops the memory of a chunk that the store holds; answers the bytes given back.
    pub fn evict(&mut self, at: ChunkAt) -> usize {
        let Some(index) = self.stored_at(at) else { return 0 };
        if !self.refs[index].landed {
            return 0;
        }
        let mut chunk = self.refs.edit(index);
        let Some(body) = chunk.body.take() else { return 0 };
        self.ahead_bytes -= chunk.ahead_bytes(&body);
        self.cold += 1;
        self.memory_bytes -= body.memory_bytes();
        body.memory_bytes()
    }

    fn stored_at(&self, at: ChunkAt) -> Option<At> {
        let is_it = |place: &At| self.refs[*place].id == Some(at.id);
        // An LSET or LINSERT may have moved it meanwhile.
        self.refs.with_base(at.base).filter(is_it).or_else(|| {
            (self.rewrites > 0).then(|| self.refs.from(self.refs.end(Side::Left), Side::Left).find(is_it))?
        })
    }

    /// Closes the chunk with this base and gives it a number in the store, unless it has one, is gone, or is too short
    /// to be worth it.
    pub fn spill(&mut self, base: u64, id: ChunkId) -> Option<Arc<Chunk>> {
        let at = self.refs.with_base(base)?;
        let chunk = &self.refs[at];
        if chunk.id.is_some() || chunk.open {
            return None;
        }
        let body = chunk.body.clone()?;
        let mut chunk = self.refs.edit(at);
        chunk.id = Some(id);
        chunk.clean = false;
        Some(body)
    }

    /// Closes all chunks that are not stored yet, so that the whole list can leave memory.
    pub fn close_all(&mut self, events: &mut ListEvents) {
        let mut next = self.refs.end(Side::Left);
        while let Some(at) = next {
            if self.refs[at].id.is_none() {
                self.refs.edit(at).open = false;
                events.sealed.push(self.refs[at].base);
            }
            next = self.refs.next(at, Side::Left);
        }
    }

    /// Chunks that are closed, not stored, and too long to be saved in a row.
    pub fn to_spill(&self, inline_bytes_max: usize) -> Vec<u64> {
        let chunks = self.refs.iter();
        let ready =
            chunks.filter(|chunk| chunk.id.is_none() && !chunk.open && chunk.data_bytes as usize > inline_bytes_max);
        ready.map(|chunk| chunk.base).collect()
    }

    /// Tells whether the list has this chunk, and not in memory.
    pub fn is_missing(&self, at: ChunkAt) -> bool {
        self.stored_at(at).is_some_and(|index| self.refs[index].body.is_none())
    }

    /// Tells whether the list has this chunk in memory.
    pub fn holds(&self, at: ChunkAt) -> bool {
        self.stored_at(at).is_some_and(|index| self.refs[index].body.is_some())
    }

    /// Says which rows of `dir` have to be written and deleted so that the store has the list as it is now, and takes
    /// that as done.
    pub fn save(&mut self, put: &mut dyn FnMut(ChunkRow), delete: &mut dyn FnMut(u64, Option<ChunkId>)) {
        for (row, id) in self.dead_rows.drain(..) {
            delete(row, id);
        }
        self.refs.clean(|chunk| {
            chunk.row = Some(chunk.base);
            put(ChunkRow::of(chunk));
        });
    }

    /// Writes the list's own row: what its chunks do not say.
    pub fn write_head(&self, out: &mut Vec<u8>) {
        layout::put_varint(out, self.next_left);
        layout::put_varint(out, self.next_right);
        layout::put_varint(out, self.length);
        out.push(match self.popped {
            None => 0,
            Some(Side::Left) => 1,
            Some(Side::Right) => 2,
        });
    }

    /// Reads what [`write_head`](Self::write_head) wrote; the chunks follow with [`load_row`](Self::load_row).
    pub fn read_head(reader: &mut Reader<'_>) -> Result<List, Corrupt> {
        let next_left = reader.varint()?;
        let next_right = reader.varint()?;
        let length = reader.varint()?;
        let popped = match reader.byte()? {
            1 => Some(Side::Left),
            2 => Some(Side::Right),
            _ => None,
        };
        Ok(List { next_left, next_right, length, popped, ..List::default() })
    }

    /// Adds the chunk that a row of `dir` describes; rows come in the order of their keys.
    ///
    /// Without room for summaries the chunk has none.
    pub fn load_row(&mut self, base: u64, row: &[u8], room: bool) -> Result<Option<ChunkId>, Corrupt> {
        let mut chunk = decode_row(base, row)?;
        if !room {
            chunk.summary = None;
        }
        let id = chunk.id;
        self.memory_bytes += chunk.memory_bytes();
        self.summaries_bytes += chunk.summary.as_ref().map_or(0, |summary| summary.memory_bytes());
        self.cold += usize::from(chunk.body.is_none());
        self.refs.push(Side::Right, chunk);
        Ok(id)
    }

    /// Tells whether the rows add up to the length that the head states.
    pub fn adds_up(&self) -> bool {
        self.refs.live() == self.length
    }

    /// Takes up to `count` chunks apart when the list has died: rows on disk with the chunk that each names, and stored
    /// chunks without a row. Tells whether any are left.
    pub fn shrink(&mut self, count: usize, rows: &mut Vec<(u64, Option<ChunkId>)>, loose: &mut Vec<ChunkId>) -> bool {
        rows.append(&mut self.dead_rows);
        for _ in 0..count {
            let Some(at) = self.refs.end(Side::Right) else { return false };
            let chunk = self.refs.remove(at);
            match (chunk.row, chunk.id) {
                (Some(row), id) => rows.push((row, id)),
                (None, Some(id)) => loose.push(id),
                (None, None) => {}
            }
        }
        !self.refs.is_empty()
    }

    /// What summaries cost in memory.
    pub fn summaries_bytes(&self) -> usize {
        self.summaries_bytes
    }

    /// How many chunk references the list has.
    pub fn chunk_count(&self) -> usize {
        self.refs.len()
    }

    /// How many chunks are not in memory.
    pub fn cold_count(&self) -> usize {
        self.cold
    }

    fn end_ref(&self, side: Side) -> Option<&ChunkRef> {
        self.refs.end(side).map(|at| &self.refs[at])
    }

    fn open_chunk(&mut self, side: Side, item_bytes: usize, chunk_bytes: usize, events: &mut ListEvents) {
        let mut capacity = 0;
        if let Some(at) = self.refs.end(side)
            && self.refs[at].open
        {
            let mut old = self.refs.edit(at);
            old.open = false;
            // A list that has filled a chunk will fill the next: it gets its memory at once.
            capacity = if old.data_bytes as usize * 2 > chunk_bytes { chunk_bytes.max(item_bytes) } else { 0 };
            events.sealed.push(old.base);
        }
        let body = Chunk::with_capacity(capacity);
        let base = if side == Side::Left { self.next_left } else { self.next_right };
        let chunk = ChunkRef { leftward: side == Side::Left, open: true, ..ChunkRef::of(base, body) };
        self.memory_bytes += chunk.memory_bytes();
        self.refs.push(side, chunk);
    }

    fn drop_ref(&mut self, at: At, events: &mut ListEvents) {
        let chunk = self.refs.remove(at);
        self.account_gone(&chunk, events);
    }

    fn account_gone(&mut self, chunk: &ChunkRef, events: &mut ListEvents) {
        self.memory_bytes -= chunk.memory_bytes();
        self.ahead_bytes -= chunk.body.as_ref().map_or(0, |body| chunk.ahead_bytes(body));
        self.cold -= usize::from(chunk.body.is_none());
        if let Some(summary) = &chunk.summary {
            self.summaries_bytes -= summary.memory_bytes();
            events.summaries_bytes += summary.memory_bytes();
        }
        match (chunk.row, chunk.id) {
            (Some(row), id) => self.dead_rows.push((row, id)),
            (None, Some(id)) => events.dead.push(id),
            (None, None) => {}
        }
    }

    fn rebuild(&mut self, at: At, events: &mut ListEvents, build: impl FnOnce(&ChunkRef, &Chunk) -> Chunk) {
        let mut chunk = self.refs.edit(at);
        let body = chunk.body.take().expect("the chunk was fetched before it is changed");
        let fresh = build(&chunk, &body);
        self.ahead_bytes -= chunk.ahead_bytes(&body);
        chunk.ahead = false;
        self.memory_bytes = self.memory_bytes + fresh.memory_bytes() - body.memory_bytes();
        chunk.data_bytes = fresh.data_bytes() as u32;
        chunk.body = Some(Arc::new(fresh));
        chunk.clean = false;
        chunk.landed = false;
        chunk.checked = 0;
        if let Some(summary) = chunk.summary.take() {
            self.memory_bytes -= summary.memory_bytes();
            self.summaries_bytes -= summary.memory_bytes();
            events.summaries_bytes += summary.memory_bytes();
        }
        if let Some(id) = chunk.id.take() {
            match chunk.row.take() {
                Some(row) => self.dead_rows.push((row, Some(id))),
                None => events.dead.push(id),
            }
        }
        if !chunk.open {
            events.sealed.push(chunk.base);
        }
    }

    fn replace(&mut self, at: At, base: u64, body: Chunk, holes: BTreeSet<u32>, events: &mut ListEvents) {
        let holes = (!holes.is_empty()).then(|| Arc::new(holes));
        let chunk = ChunkRef { holes, ..ChunkRef::of(base, body) };
        self.memory_bytes += chunk.memory_bytes();
        events.sealed.push(base);
        let old = self.refs.replace(at, chunk);
        self.account_gone(&old, events);
    }

    fn locate(&self, index: u64) -> Option<(At, u32)> {
        let from_right = self.length.checked_sub(index)?.checked_sub(1)?;
        let (side, skip) = if from_right < index { (Side::Right, from_right) } else { (Side::Left, index) };
        let (at, skip) = self.refs.locate(side, skip)?;
        Some((at, nth(&self.refs[at], side, skip)))
    }

    fn find(&self, ordinal: u64) -> Option<(At, u32)> {
        let at = self.refs.partition_point(|chunk| chunk.span().1 < ordinal)?;
        let physical = self.refs[at].physical(ordinal)?;
        Some((at, physical))
    }
}

fn read(chunk: &ChunkRef, physical: u32) -> Result<&[u8], ChunkAt> {
    match (&chunk.body, chunk.missing()) {
        (Some(body), _) => Ok(body.item(physical)),
        (None, missing) => Err(missing.expect("there is no body")),
    }
}
