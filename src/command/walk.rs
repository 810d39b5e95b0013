//! Walks: reading more of a list than may be brought into memory at once.
//!
//! A walk sees the list as it stood when the command began, piece by piece; other clients' commands run between its
//! steps. Only its end may write, after looking again at what is still there.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use crate::keyspace::list::ChunkAt;
use crate::keyspace::{Missing, ObjectId, Piece, Pieces, Side, Slot};

use super::{Context, Outcome, Stop};

/// What a command does with the items that it walks over.
pub trait Visitor {
    /// Looks at one item; `Break` ends the walk.
    fn visit(&mut self, ordinal: u64, item: &[u8]) -> ControlFlow<()>;
    /// Answers, and writes. It is called again if it stops to fetch something, which it does before it writes.
    fn finish(&mut self, context: &mut Context) -> Outcome;
}

/// See the module.
pub struct Walk {
    pub object: ObjectId,
    pub slot: Slot,
    from: Side,
    /// The next ones, in the order of the walk.
    pieces: VecDeque<Piece>,
    /// Those behind them.
    rest: Pieces,
    visitor: Box<dyn Visitor>,
}

impl std::fmt::Debug for Walk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Walk(object {}, {} pieces at hand)", self.object, self.pieces.len())
    }
}

/// What a walk needs next.
#[derive(Debug)]
pub enum Step {
    /// To be called again.
    More,
    /// These chunks, in this order, before it can go on.
    Needs(Vec<ChunkAt>),
    /// To be finished.
    Done,
}

/// Visits the items between two indexes (both included) of a list, starting at the given side. All at once if that is
/// little, in memory or after a fetch; otherwise as a walk.
pub fn scan_list(
    context: &mut Context,
    slot: Slot,
    (first, last): (u64, u64),
    from: Side,
    visitor: impl Visitor + 'static,
) -> Outcome {
    let rest = context.keys.list(slot).pieces(first, last);
    let object = context.keys.object(slot).id;
    let (mut bytes, mut missing) = (0, Vec::new());
    let mut pieces = rest.clone();
    while let Some(piece) = pieces.next().filter(|_| bytes <= context.host.settings().limits.fetch_bytes_max) {
        bytes += u64::from(piece.data_bytes);
        missing.extend(piece.missing().map(|at| Missing::Chunk { object, slot, at }));
    }
    let mut walk = Walk { object, slot, from, pieces: VecDeque::new(), rest, visitor: Box::new(visitor) };
    if bytes > context.host.settings().limits.fetch_bytes_max {
        return Err(Stop::Walk(Box::new(walk)));
    }
    if !missing.is_empty() {
        return Err(Stop::Fetch(missing));
    }
    while let Step::More = walk.step(usize::MAX, 0) {}
    walk.finish(context)
}

/// Visits some pieces of a list, in this order, as a walk.
pub fn walk_pieces(
    context: &mut Context,
    slot: Slot,
    pieces: Vec<Piece>,
    from: Side,
    visitor: impl Visitor + 'static,
) -> Outcome {
    let object = context.keys.object(slot).id;
    let (pieces, rest) = (pieces.into(), Pieces::default());
    Err(Stop::Walk(Box::new(Walk { object, slot, from, pieces, rest, visitor: Box::new(visitor) })))
}

impl Walk {
    /// Goes on over pieces that are in memory, about `bytes_max` of them; names up to `ahead` pieces that are not.
    pub fn step(&mut self, bytes_max: usize, ahead: usize) -> Step {
        let mut bytes = 0;
        loop {
            while self.pieces.len() < ahead.max(1)
                && let Some(piece) = self.rest.next_from(self.from)
            {
                self.pieces.push_back(piece);
            }
            let Some(piece) = self.pieces.front() else { return Step::Done };
            if piece.missing().is_some() {
                return Step::Needs(self.pieces.iter().filter_map(Piece::missing).take(ahead.max(1)).collect());
            }
            if bytes > bytes_max {
                return Step::More;
            }
            bytes += piece.data_bytes as usize;
            let ended = piece.items(self.from).any(|(ordinal, item)| self.visitor.visit(ordinal, item).is_break());
            if ended {
                self.pieces.clear();
                self.rest = Pieces::default();
                return Step::Done;
            }
            self.pieces.pop_front();
        }
    }

    /// Takes a chunk that was read for it.
    pub fn feed(&mut self, at: ChunkAt, body: &std::sync::Arc<crate::keyspace::chunk::Chunk>) {
        if let Some(piece) = self.pieces.iter_mut().find(|piece| piece.missing() == Some(at)) {
            piece.body = Some(body.clone());
        }
    }

    /// Tells whether all that it reads was read: what is still fetched is for its end.
    pub fn is_over(&self) -> bool {
        self.pieces.is_empty() && self.rest.is_empty()
    }

    /// Ends the walk; again if its end had to fetch something.
    pub fn finish(&mut self, context: &mut Context) -> Outcome {
        self.visitor.finish(context)
    }

    /// Walks at once, reading each piece on the spot and letting it go again.
    pub fn run_now(mut self, context: &mut Context) -> Outcome {
        loop {
            match self.step(usize::MAX, 1) {
                Step::More => {}
                Step::Done => return self.finish(context),
                Step::Needs(chunks) => {
                    for at in chunks {
                        let body = context.host.load_chunk(self.object, at)?;
                        self.feed(at, &body);
                    }
                }
            }
        }
    }
}
