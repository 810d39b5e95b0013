//! Looking at parts of a queue with its rules: what a thread behind the shard does for the sweeper. Pure but for the
//! loading of chunks, which is handed in.

use std::sync::Arc;

use bytes::Bytes;

use crate::job::Job;
use crate::keyspace::chunk::Chunk;
use crate::keyspace::list::ChunkAt;
use crate::keyspace::{ObjectId, Piece, Side};
use crate::sched::{QueueRules, Verdict};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// Handed back as it is.
    pub token: u64,
    pub object: ObjectId,
    pub rules: Arc<QueueRules>,
    pub now_ms: u64,
    /// The side that the pieces are in the order of.
    pub from: Side,
    pub pieces: Vec<Piece>,
    pub want: Want,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// All jobs that rules take out.
    Taken,
    /// The first job that may be handed out.
    First,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Answer {
    pub token: u64,
    pub chunks: Vec<Seen>,
    /// The ordinal of the first job that may be handed out.
    pub first: Option<u64>,
    /// The ordinal of the last job that was looked at and may not be.
    pub held_to: Option<u64>,
    /// Why the rest was not looked at.
    pub failed: Option<String>,
}

/// One chunk, looked at to its end.
#[derive(Debug, Default)]
pub struct Seen {
    pub base: u64,
    pub jobs: u64,
    /// Ordinal, the rule that takes it, the job.
    pub taken: Vec<(u64, usize, Bytes)>,
}

/// Answers a question. A chunk that is gone was popped meanwhile, and is passed over.
pub fn look(
    question: Question,
    mut load: impl FnMut(ObjectId, ChunkAt) -> Result<Option<Arc<Chunk>>, String>,
) -> Answer {
    let mut answer = Answer { token: question.token, ..Answer::default() };
    for mut piece in question.pieces {
        if let Some(at) = piece.missing() {
            match load(question.object, at) {
                Ok(Some(chunk)) => piece.body = Some(chunk),
                Ok(None) => continue,
                Err(reason) => {
                    answer.failed = Some(reason);
                    return answer;
                }
            }
        }
        let mut seen = Seen { base: piece.base(), ..Seen::default() };
        for (ordinal, item) in piece.items(question.from) {
            seen.jobs += 1;
            match question.want {
                Want::First => match question.rules.verdict(item, question.now_ms, None) {
                    Verdict::Deliver => {
                        answer.first = Some(ordinal);
                        return answer;
                    }
                    _ => answer.held_to = Some(ordinal),
                },
                Want::Taken => {
                    if let Some(index) = question.rules.take(&Job::new(item), question.now_ms, None) {
                        seen.taken.push((ordinal, index, Bytes::copy_from_slice(item)));
                    }
                }
            }
        }
        answer.chunks.push(seen);
    }
    answer
}
