//! The chunk references of one list, left to right, in blocks of a bounded size.
//!
//! A block knows how many items its chunks have, so that an index is found by going over blocks, a few for each gigabyte. A
//! block is shared with those who look at the list as it stood ([`Pieces`]) and copied once it changes under them, so that
//! taking such a look costs as much as the blocks, not as the chunks.

use std::collections::VecDeque;
use std::iter::successors;
use std::ops::{Deref, DerefMut, Index};
use std::sync::Arc;

use smallvec::SmallVec;

use super::chunk_ref::{ChunkRef, Piece, piece};
use super::list::Side;

/// A block takes as many references.
const BLOCK_REFS: usize = 256;

/// The references of a block, left to right. Most lists have one chunk, whose reference needs no memory of its own.
type Neighbours = SmallVec<[ChunkRef; 1]>;

/// See the module.
#[derive(Debug, Default)]
pub struct Refs {
    blocks: SmallVec<[Block; 1]>,
    len: usize,
}

/// Neighbouring references; never none of them.
#[derive(Debug)]
struct Block {
    refs: Arc<Neighbours>,
    /// How many items the chunks have.
    live: u64,
    /// Every one of the references is clean.
    clean: bool,
}

/// Where a reference is. A push to the left, a removal, and nothing else moves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    block: usize,
    inner: usize,
}

impl Refs {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What the blocks cost in memory, without the references.
    pub fn memory_bytes(&self) -> usize {
        const ARC_COUNTS: usize = 2 * size_of::<usize>();
        self.blocks.len() * (size_of::<Block>() + ARC_COUNTS + size_of::<Neighbours>())
    }

    /// The reference at an end.
    pub fn end(&self, side: Side) -> Option<At> {
        let block = match side {
            Side::Left => 0,
            Side::Right => self.blocks.len().checked_sub(1)?,
        };
        Some(At { block, inner: edge(&self.blocks.get(block)?.refs, side) })
    }

    /// The reference behind another, seen from a side.
    pub fn next(&self, at: At, from: Side) -> Option<At> {
        let block = &self.blocks[at.block];
        match from {
            Side::Left if at.inner + 1 < block.refs.len() => Some(At { inner: at.inner + 1, ..at }),
            Side::Left if at.block + 1 < self.blocks.len() => Some(At { block: at.block + 1, inner: 0 }),
            Side::Left => None,
            Side::Right if at.inner > 0 => Some(At { inner: at.inner - 1, ..at }),
            Side::Right => {
                let block = at.block.checked_sub(1)?;
                Some(At { block, inner: self.blocks[block].refs.len() - 1 })
            }
        }
    }

    /// A reference and all behind it, seen from a side.
    pub fn from(&self, start: Option<At>, from: Side) -> impl Iterator<Item = At> {
        successors(start, move |at| self.next(*at, from))
    }

    pub fn iter(&self) -> impl Iterator<Item = &ChunkRef> {
        self.blocks.iter().flat_map(|block| block.refs.iter())
    }

    /// The first reference from the left that fails a test which none passes to the right of it.
    pub fn partition_point(&self, passes: impl Fn(&ChunkRef) -> bool) -> Option<At> {
        let block = self.blocks.partition_point(|block| block.refs.last().is_some_and(&passes));
        let inner = self.blocks.get(block)?.refs.partition_point(passes);
        Some(At { block, inner })
    }

    /// The reference with a base.
    pub fn with_base(&self, base: u64) -> Option<At> {
        self.partition_point(|chunk| chunk.base < base).filter(|at| self[*at].base == base)
    }

    /// The reference to the item that has `skip` items between it and a side, and how many of these are in the same chunk.
    pub fn locate(&self, side: Side, mut skip: u64) -> Option<(At, u64)> {
        let count = self.blocks.len();
        let block = (0..count).map(|step| if side == Side::Left { step } else { count - 1 - step }).find(|block| {
            let live = self.blocks[*block].live;
            let is_inside = skip < live;
            skip -= if is_inside { 0 } else { live };
            is_inside
        })?;
        let start = At { block, inner: edge(&self.blocks[block].refs, side) };
        let at = self.from(Some(start), side).find(|at| {
            let live = self[*at].live();
            let is_inside = skip < live;
            skip -= if is_inside { 0 } else { live };
            is_inside
        })?;
        Some((at, skip))
    }

    /// How many items there are to the left of a chunk.
    pub fn live_before(&self, at: At) -> u64 {
        let blocks: u64 = self.blocks[..at.block].iter().map(|block| block.live).sum();
        blocks + self.blocks[at.block].refs[..at.inner].iter().map(ChunkRef::live).sum::<u64>()
    }

    /// How many items there are.
    pub fn live(&self) -> u64 {
        self.blocks.iter().map(|block| block.live).sum()
    }

    /// Makes a reference ready to be changed.
    pub fn edit(&mut self, at: At) -> Edit<'_> {
        let block = &mut self.blocks[at.block];
        let chunk = &mut Arc::make_mut(&mut block.refs)[at.inner];
        block.live -= chunk.live();
        Edit { chunk, live: &mut block.live, clean: &mut block.clean }
    }

    /// Adds a reference at an end.
    pub fn push(&mut self, side: Side, chunk: ChunkRef) {
        let has_room = self.end(side).is_some_and(|at| self.blocks[at.block].refs.len() < BLOCK_REFS);
        if !has_room {
            let refs = if self.is_empty() { 1 } else { BLOCK_REFS };
            let block = Block { refs: Arc::new(Neighbours::with_capacity(refs)), live: 0, clean: true };
            match side {
                Side::Left => self.blocks.insert(0, block),
                Side::Right => self.blocks.push(block),
            }
        }
        let block = match side {
            Side::Left => self.blocks.first_mut(),
            Side::Right => self.blocks.last_mut(),
        };
        let block = block.expect("there is a block with room");
        block.live += chunk.live();
        block.clean &= chunk.clean;
        let refs = Arc::make_mut(&mut block.refs);
        match side {
            Side::Left => refs.insert(0, chunk),
            Side::Right => refs.push(chunk),
        }
        self.len += 1;
    }

    /// Takes a reference out.
    pub fn remove(&mut self, at: At) -> ChunkRef {
        let block = &mut self.blocks[at.block];
        let chunk = Arc::make_mut(&mut block.refs).remove(at.inner);
        block.live -= chunk.live();
        if block.refs.is_empty() {
            self.blocks.remove(at.block);
        }
        self.len -= 1;
        chunk
    }

    /// Puts a reference in the place of another.
    pub fn replace(&mut self, at: At, chunk: ChunkRef) -> ChunkRef {
        std::mem::replace(&mut *self.edit(at), chunk)
    }

    /// Shows every reference that is not clean; it is clean after that.
    pub fn clean(&mut self, mut show: impl FnMut(&mut ChunkRef)) {
        for block in self.blocks.iter_mut().filter(|block| !block.clean) {
            block.clean = true;
            for chunk in Arc::make_mut(&mut block.refs).iter_mut().filter(|chunk| !chunk.clean) {
                chunk.clean = true;
                show(chunk);
            }
        }
    }

    /// The references to the items between two indexes from the left, both included, as they are now.
    pub fn pieces(&self, first: u64, last: u64) -> Pieces {
        let ends = self.locate(Side::Left, first).zip(self.locate(Side::Left, last)).filter(|_| first <= last);
        let Some(((left, skip_left), (right, into_right))) = ends else { return Pieces::default() };
        let skip_right = self[right].live() - 1 - into_right;
        let blocks = self.blocks[left.block..=right.block].iter().map(|block| block.refs.clone()).collect();
        Pieces { blocks, left: left.inner, right: right.inner, skip_left, skip_right }
    }
}

impl Index<At> for Refs {
    type Output = ChunkRef;

    fn index(&self, at: At) -> &ChunkRef {
        &self.blocks[at.block].refs[at.inner]
    }
}

/// A reference that is being changed; its block has the sums right when this goes.
#[derive(Debug)]
pub struct Edit<'a> {
    chunk: &'a mut ChunkRef,
    live: &'a mut u64,
    clean: &'a mut bool,
}

impl Deref for Edit<'_> {
    type Target = ChunkRef;

    fn deref(&self) -> &ChunkRef {
        self.chunk
    }
}

impl DerefMut for Edit<'_> {
    fn deref_mut(&mut self) -> &mut ChunkRef {
        self.chunk
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        *self.live += self.chunk.live();
        *self.clean &= self.chunk.clean;
    }
}

/// Part of a list as it stood at one moment, piece by piece from either side, left to right by itself. It costs as much as
/// the blocks, and a piece is made when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Pieces {
    blocks: VecDeque<Arc<Neighbours>>,
    /// The first reference, in the first block, and the last, in the last block.
    left: usize,
    right: usize,
    /// How many items of these two do not belong to it.
    skip_left: u64,
    skip_right: u64,
}

impl Pieces {
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The next piece from a side.
    pub fn next_from(&mut self, side: Side) -> Option<Piece> {
        match side {
            Side::Left => self.next(),
            Side::Right => self.next_back(),
        }
    }

    /// The bytes of all items of the chunks that it has pieces of. What is over a limit is not counted to the end.
    pub fn data_bytes(&self, limit: u64) -> u64 {
        let mut bytes = 0;
        for piece in self.clone() {
            bytes += u64::from(piece.data_bytes);
            if bytes > limit {
                break;
            }
        }
        bytes
    }

    fn is_last(&self) -> bool {
        self.blocks.len() == 1 && self.left == self.right
    }
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let block = self.blocks.front()?;
        let is_last = self.is_last();
        let piece = piece(&block[self.left], self.skip_left, if is_last { self.skip_right } else { 0 });
        self.left += 1;
        self.skip_left = 0;
        if is_last || self.left == block.len() {
            self.blocks.pop_front();
            self.left = 0;
        }
        Some(piece)
    }
}

impl DoubleEndedIterator for Pieces {
    fn next_back(&mut self) -> Option<Piece> {
        let block = self.blocks.back()?;
        let is_last = self.is_last();
        let piece = piece(&block[self.right], if is_last { self.skip_left } else { 0 }, self.skip_right);
        self.skip_right = 0;
        if is_last || self.right == 0 {
            self.blocks.pop_back();
            self.right = self.blocks.back().map_or(0, |block| block.len() - 1);
        } else {
            self.right -= 1;
        }
        Some(piece)
    }
}

fn edge(refs: &Neighbours, side: Side) -> usize {
    match side {
        Side::Left => 0,
        Side::Right => refs.len() - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::Chunk;
    use super::*;

    /// Numbers that look random, the same ones each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as usize % limit
        }
    }

    fn chunk(base: u64, items: usize) -> ChunkRef {
        let mut body = Chunk::default();
        (0..items).for_each(|index| body.push(format!("{}", base + index as u64).as_bytes()));
        ChunkRef::of(base, body)
    }

    fn ordinals(chunk: &ChunkRef) -> Vec<u64> {
        (chunk.low..chunk.high).map(|physical| chunk.base + u64::from(physical)).collect()
    }

    /// All ordinals of some pieces, taken from both sides in turn as `numbers` says.
    fn read(mut pieces: Pieces, numbers: &mut Numbers) -> Vec<u64> {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        while !pieces.is_empty() {
            if numbers.below(2) == 0 {
                let piece = pieces.next().unwrap();
                left.extend(piece.items(Side::Left).map(|(ordinal, _)| ordinal));
            } else {
                let piece = pieces.next_back().unwrap();
                right.extend(piece.items(Side::Right).map(|(ordinal, _)| ordinal));
            }
        }
        assert!(pieces.next().is_none() && pieces.next_back().is_none());
        left.extend(right.into_iter().rev());
        left
    }

    #[test]
    fn references_are_found_by_index_and_ordinal_and_a_look_at_them_stays_as_it_was() {
        let mut numbers = Numbers(7);
        let mut refs = Refs::default();
        let mut model: VecDeque<Vec<u64>> = VecDeque::new();
        let (mut left, mut right) = (1 << 40, 1 << 40);
        for round in 0..60 {
            // Grows for a while, then shrinks; at the end there is nothing.
            for _ in 0..200 {
                let items = 1 + numbers.below(5);
                match numbers.below(if round < 30 { 4 } else { 40 }) {
                    0 => {
                        left -= items as u64;
                        refs.push(Side::Left, chunk(left, items));
                        model.push_front(ordinals(&chunk(left, items)));
                    }
                    1 | 2 => {
                        refs.push(Side::Right, chunk(right, items));
                        model.push_back(ordinals(&chunk(right, items)));
                        right += items as u64;
                    }
                    _ if model.is_empty() => {}
                    choice => {
                        let index = match choice {
                            3 | 4 => 0,
                            5 => model.len() - 1,
                            _ => numbers.below(model.len()),
                        };
                        let at = refs.with_base(refs.iter().nth(index).unwrap().base).unwrap();
                        if model[index].len() > 1 && numbers.below(4) == 0 {
                            refs.edit(at).shed(Side::Right);
                            model[index].pop();
                        } else {
                            assert_eq!(ordinals(&refs.remove(at)), model.remove(index).unwrap());
                        }
                    }
                }
            }
            let all: Vec<u64> = model.iter().flatten().copied().collect();
            assert_eq!((refs.len(), refs.live()), (model.len(), all.len() as u64));
            assert!(refs.blocks.iter().all(|block| (1..=BLOCK_REFS).contains(&block.refs.len())));
            for _ in 0..all.len().min(20) {
                let index = numbers.below(all.len());
                let from_right = all.len() - 1 - index;
                let (at, skip) = refs.locate(Side::Left, index as u64).unwrap();
                let (same, skip_right) = refs.locate(Side::Right, from_right as u64).unwrap();
                assert_eq!((same, skip + skip_right + 1), (at, refs[at].live()));
                assert_eq!(ordinals(&refs[at])[skip as usize], all[index]);
                assert_eq!(refs.live_before(at) + skip, index as u64);
                assert_eq!(refs.partition_point(|chunk| chunk.span().1 < all[index]), Some(at));

                let last = index + numbers.below(from_right + 1);
                let before = refs.pieces(index as u64, last as u64);
                assert_eq!(read(before.clone(), &mut numbers), all[index..=last]);
                refs.edit(at).low += 1;
                assert_eq!(read(before, &mut numbers), all[index..=last]);
                refs.edit(at).low -= 1;
            }
            assert!(refs.locate(Side::Left, all.len() as u64).is_none());
        }
        assert!(refs.len() < 100, "{}", refs.len());
    }

    #[test]
    fn a_look_at_a_long_list_costs_its_blocks() {
        let mut refs = Refs::default();
        let count = 40 * BLOCK_REFS;
        (0..count as u64).for_each(|base| refs.push(Side::Right, chunk(base, 1)));
        let pieces = refs.pieces(10, count as u64 - 10);
        assert_eq!(pieces.blocks.len(), 40);
        assert!(pieces.blocks.iter().zip(&refs.blocks).all(|(seen, block)| Arc::ptr_eq(seen, &block.refs)));
        // What changes meanwhile is copied, a block of it.
        refs.edit(refs.locate(Side::Left, 20 * BLOCK_REFS as u64).unwrap().0).checked = 1;
        let shared = pieces.blocks.iter().zip(&refs.blocks).filter(|(seen, block)| Arc::ptr_eq(seen, &block.refs));
        assert_eq!(shared.count(), 39);
    }
}
