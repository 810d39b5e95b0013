//! Commands that read queues in as many turns as it takes, while the queues change.
//!
//! A command passes over chunks without reading them ([`Pass`]), says which it wants to read ([`Next::Read`]), sees their
//! jobs, and goes on, until it has its reply. Each step is bounded; between two of them other clients' commands run.

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::keyspace::{ChunkView, Keyspace, Kind, ObjectId, Piece, Side, Slot};
use crate::resp::{Error, Reply};

use super::super::{blackhole, text_of};
use crate::command::{Context, Outcome, Stop, Visitor, walk_pieces};

/// Chunks that are passed over in one turn: one or two milliseconds, since what their summaries say lies all over memory.
pub const CHUNKS_A_TURN: usize = 4_000;
/// Bytes in memory that are seen at once, so that a short queue costs no further turn.
const BYTES_AT_ONCE: u64 = 128 * 1024;
/// A word that means more queues than this names only so many in the error.
const NAMED_MAX: usize = 5;

/// What a command does next.
pub enum Next {
    Reply(Reply),
    /// Sees the jobs of these pieces of the list in a slot, left to right, then goes on; with none, it goes on in a later turn.
    Read(Slot, Vec<Piece>),
}

/// A command that reads; see the module.
pub trait Reading {
    fn see(&mut self, ordinal: u64, item: &[u8]);
    /// Goes on with what was seen. After a [`Stop::Fetch`] it is called again.
    fn next(&mut self, context: &mut Context) -> Result<Next, Stop>;
}

/// Runs a command that reads.
pub fn read(context: &mut Context, reading: impl Reading + 'static) -> Outcome {
    go_on(context, &mut Some(reading))
}

/// Goes on until there is a reply, or more to read than can be read in this turn. Then the command is handed on.
fn go_on<R: Reading + 'static>(context: &mut Context, reading: &mut Option<R>) -> Outcome {
    let mut left = BYTES_AT_ONCE;
    loop {
        let this = reading.as_mut().expect("it is handed on once");
        let (slot, pieces) = match this.next(context)? {
            Next::Reply(reply) => return Ok(reply),
            Next::Read(slot, pieces) => (slot, pieces),
        };
        let bytes: u64 = pieces.iter().map(|piece| u64::from(piece.data_bytes)).sum();
        let is_little = !pieces.is_empty() && bytes <= left && pieces.iter().all(|piece| piece.missing().is_none());
        // EXEC cannot wait.
        if context.may_block() && !is_little {
            return walk_pieces(context, slot, pieces, Side::Left, Walker(reading.take()));
        }
        left = left.saturating_sub(bytes);
        see_now(context, this, slot, pieces)?;
    }
}

/// Sees each piece on the spot, read if it has to be, and lets it go again.
fn see_now(context: &mut Context, reading: &mut impl Reading, slot: Slot, pieces: Vec<Piece>) -> Result<(), Stop> {
    let object = context.keys.object(slot).id;
    for mut piece in pieces {
        if let Some(at) = piece.missing() {
            piece.body = Some(context.host.load_chunk(object, at)?);
        }
        piece.items(Side::Left).for_each(|(ordinal, item)| reading.see(ordinal, item));
    }
    Ok(())
}

/// A command between two of its steps; it is gone when it has gone on to the next.
struct Walker<R>(Option<R>);

impl<R: Reading + 'static> Visitor for Walker<R> {
    fn visit(&mut self, ordinal: u64, item: &[u8]) -> ControlFlow<()> {
        if let Some(reading) = &mut self.0 {
            reading.see(ordinal, item);
        }
        ControlFlow::Continue(())
    }

    fn finish(&mut self, context: &mut Context) -> Outcome {
        go_on(context, &mut self.0)
    }
}

/// A pass over the chunks of several lists, left to right, some in each step. A list that is put in the place of another
/// meanwhile is passed over from its beginning.
#[derive(Debug, Default)]
pub struct Pass {
    keys: Vec<Vec<u8>>,
    at: usize,
    after: Option<(ObjectId, u64)>,
}

/// What one step of a pass went over.
#[derive(Debug, Clone, Copy)]
pub struct Went {
    /// Which of the keys, and where it is.
    pub index: usize,
    pub slot: Slot,
    pub chunks: usize,
}

impl Pass {
    pub fn new(keys: Vec<Vec<u8>>) -> Pass {
        Pass { keys, at: 0, after: None }
    }

    pub fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    /// Adds a list behind the others.
    pub fn add(&mut self, key: Vec<u8>) {
        self.keys.push(key);
    }

    /// Shows up to `limit` chunks of one list, or fewer if `visit` breaks, behind the chunk that it was shown last; nothing
    /// is left when it went nowhere.
    pub fn step(
        &mut self,
        keys: &mut Keyspace,
        limit: usize,
        mut visit: impl FnMut(ObjectId, usize, &[u8], ChunkView) -> ControlFlow<()>,
    ) -> Option<Went> {
        while let Some(key) = self.keys.get(self.at) {
            let index = self.at;
            // What is no list any more is passed over.
            if let Ok(Some(slot)) = keys.find_kind(key, Kind::List) {
                let object = keys.object(slot).id;
                let after = self.after.filter(|(of, _)| *of == object).map(|(_, after)| after);
                let mut chunks = 0;
                for chunk in keys.list(slot).chunks_from(Side::Left, after).take(limit) {
                    chunks += 1;
                    self.after = Some((object, chunk.last()));
                    if visit(object, index, key, chunk).is_break() {
                        return Some(Went { index, slot, chunks });
                    }
                }
                if chunks == limit {
                    return Some(Went { index, slot, chunks });
                }
                if chunks > 0 {
                    (self.at, self.after) = (index + 1, None);
                    return Some(Went { index, slot, chunks });
                }
            }
            (self.at, self.after) = (index + 1, None);
        }
        None
    }
}

/// The jobs of which piece are being seen: pieces of one list, left to right.
#[derive(Debug)]
pub struct Course<T> {
    /// The largest ordinal of each, and what it is to the command.
    stops: Vec<(u64, T)>,
    at: usize,
}

impl<T: Copy> Course<T> {
    /// Through nothing.
    pub fn none() -> Course<T> {
        Course { stops: Vec::new(), at: 0 }
    }

    /// Puts pieces into order.
    pub fn new(mut pieces: Vec<(Piece, T)>) -> (Course<T>, Vec<Piece>) {
        pieces.sort_by_key(|(piece, _)| piece.span());
        let stops = pieces.iter().map(|(piece, what)| (piece.span().1, *what)).collect();
        (Course { stops, at: 0 }, pieces.into_iter().map(|(piece, _)| piece).collect())
    }

    /// The piece that an ordinal is in; ordinals come in order.
    pub fn at(&mut self, ordinal: u64) -> T {
        while self.stops[self.at].0 < ordinal {
            self.at += 1;
        }
        self.stops[self.at].1
    }
}

/// The queues of this database whose keys pass a test; lists of running jobs are none.
pub fn queues(context: &Context, covers: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    let all = context.keys.queues.in_database(context.keys.selected());
    let covered = all.filter(|(_, queue)| !queue.working && covers(&queue.key));
    covered.map(|(_, queue)| queue.key.to_vec()).collect()
}

/// The queues of this database that a glob or a word means; lists of running jobs are none.
pub fn queues_called(context: &Context, glob: &[u8]) -> Vec<Vec<u8>> {
    let database = context.keys.selected();
    let queue = |key: &[u8]| context.keys.queues.get(context.keys.queues.find(database, key)?);
    let mut called = blackhole::queues_matching(context, glob);
    called.retain(|key| queue(key).is_some_and(|queue| !queue.working));
    called
}

/// The one list that a key, or a word for a queue, means; its slot if it is there.
pub fn one_list(context: &mut Context, word: &Bytes) -> Result<(Vec<u8>, Option<Slot>), Stop> {
    if let Some(slot) = context.keys.find_kind(word, Kind::List)? {
        return Ok((word.to_vec(), Some(slot)));
    }
    let mut there = Vec::new();
    for key in queues_called(context, word) {
        if let Ok(Some(slot)) = context.keys.find_kind(&key, Kind::List) {
            there.push((key, slot));
        }
    }
    match &there[..] {
        [] => Ok((word.to_vec(), None)),
        [(key, slot)] => Ok((key.clone(), Some(*slot))),
        several => {
            let names = several.iter().take(NAMED_MAX).map(|(key, _)| String::from_utf8_lossy(key).into_owned());
            let (word, names) = (text_of(word), names.collect::<Vec<_>>().join(", "));
            let more = if several.len() > NAMED_MAX { ", …" } else { "" };
            Err(Error::new(format!("ERR queue: '{word}' means several ({names}{more}); give the key of one")).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// Shows all chunks of these keys, so many at a time, with something done between.
    fn pass(bench: &mut Bench, keys: &[&str], limit: usize, mut between: impl FnMut(&mut Bench)) -> Vec<String> {
        let mut pass = Pass::new(keys.iter().map(|key| key.as_bytes().to_vec()).collect());
        let mut shown = Vec::new();
        while let Some(went) = pass.step(&mut bench.keys, limit, |_, index, _, chunk| {
            let piece = chunk.piece();
            let items = piece.items(Side::Left).map(|(_, item)| String::from_utf8_lossy(item).into_owned());
            shown.push(format!("{index}:{}", items.collect::<Vec<_>>().join(" ")));
            ControlFlow::Continue(())
        }) {
            assert!(went.chunks <= limit);
            between(bench);
        }
        shown
    }

    #[test]
    fn a_pass_shows_each_chunk_once() {
        let mut bench = bench(4);
        bench.run("RPUSH queue:a aa bb cc dd ee");
        bench.run("RPUSH queue:b ff");
        bench.run("SET queue:c text");
        let all = ["0:aa bb", "0:cc dd", "0:ee", "2:ff"];
        for limit in [1, 2, 3, 10] {
            assert_eq!(pass(&mut bench, &["queue:a", "queue:c", "queue:b", "queue:d"], limit, |_| {}), all);
        }
    }

    #[test]
    fn a_pass_goes_on_behind_what_it_has_shown() {
        let mut bench = bench(4);
        bench.run("RPUSH queue:a aa bb cc dd ee ff");
        let shown = pass(&mut bench, &["queue:a"], 1, |bench| {
            bench.run("LPOP queue:a");
            bench.run("LPUSH queue:a new");
        });
        assert_eq!(shown, ["0:aa bb", "0:cc dd", "0:ee ff"]);
        let shown = pass(&mut bench, &["queue:a"], 1, |bench| {
            bench.run("DEL queue:a");
        });
        assert_eq!(shown.len(), 1);
    }

    #[test]
    fn pieces_are_told_from_one_another_by_their_ordinals() {
        let mut bench = bench(4);
        bench.run("RPUSH queue:a aa bb cc dd ee ff");
        bench.run("LPUSH queue:a 11 22 33");
        bench.run("LREM queue:a 1 dd");
        let slot = bench.keys.find(b"queue:a").unwrap();
        let list = bench.keys.list(slot);
        let mut pieces: Vec<_> =
            list.chunks_from(Side::Right, None).map(|chunk| (chunk.piece(), chunk.base())).collect();
        let bases: Vec<u64> = pieces.iter().map(|(_, base)| *base).rev().collect();
        pieces.swap(0, 1);
        let (mut course, pieces) = Course::new(pieces);
        for (piece, base) in pieces.iter().zip(bases) {
            piece.items(Side::Left).for_each(|(ordinal, _)| assert_eq!(course.at(ordinal), base));
        }
    }

    #[test]
    fn a_word_means_one_queue() {
        let mut bench = bench(64);
        bench.run("RPUSH queue:a 1");
        bench.run("RPUSH resque:queue:b 1");
        bench.run("RPUSH queue:b 1");
        bench.run("RPUSH plain 1");
        bench.run("SET text 1");
        let sizes = |bench: &mut Bench, word: &str| match bench.run(&format!("JOB.EXPLAIN {word}")) {
            Reply::Error(error) => error.line().to_owned(),
            reply => format!("{:?} {:?}", field(&reply, "queue"), field(&reply, "length")),
        };
        assert_eq!(sizes(&mut bench, "a"), r#"Bulk(b"queue:a") Integer(1)"#);
        assert_eq!(sizes(&mut bench, "resque:queue:*"), r#"Bulk(b"resque:queue:b") Integer(1)"#);
        assert_eq!(sizes(&mut bench, "plain"), r#"Bulk(b"plain") Integer(1)"#);
        assert_eq!(sizes(&mut bench, "none"), r#"Bulk(b"none") Integer(0)"#);
        let several = "ERR queue: 'b' means several (resque:queue:b, queue:b); give the key of one";
        assert_eq!(sizes(&mut bench, "b"), several);
        assert!(sizes(&mut bench, "text").starts_with("WRONGTYPE"));
    }
}
