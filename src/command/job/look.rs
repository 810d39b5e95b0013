//! Looking at parts of a queue with its rules: what a thread behind the shard does for the sweeper. Pure but for the
//! loading of chunks, which is handed in.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use compact_str::CompactString;

use crate::job::Job;
use crate::keyspace::chunk::Chunk;
use crate::keyspace::list::ChunkAt;
use crate::keyspace::{ObjectId, Piece, Side};
use crate::sched::{Gates, LevelId, QueueRules, Verdict};

/// Chunks of one question, and bytes in them beyond which no further one is asked about.
pub const PIECES_MAX: usize = 32;
pub const PIECES_BYTES_MAX: usize = 2 << 20;

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
    /// How many jobs rules would take out, and what those hold.
    Counted,
    /// Whose the jobs are that may be handed out.
    Tenants,
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
    pub counted: Counted,
    /// The batches of the jobs that were counted.
    pub batches: BTreeSet<String>,
    pub sorted: Sorted,
    /// Why the rest was not looked at.
    pub failed: Option<String>,
}

/// Jobs that were looked at, those of them that match, and what these hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    pub jobs: u64,
    pub matched: u64,
    pub unique: u64,
    pub encrypted: u64,
    /// Jobs that do not match, and whose arguments cannot be read.
    pub unreadable: u64,
}

/// Whose jobs are: each owner once, and of each job its ordinal and the index of these.
#[derive(Debug, Default)]
pub struct Sorted {
    pub owners: Vec<Owner>,
    pub jobs: Vec<(u64, u32)>,
    by_owner: HashMap<Owner, u32>,
}

/// The tenant of a job, its gates and its service level.
type Owner = (CompactString, Gates, LevelId);

/// One chunk, looked at to its end.
#[derive(Debug, Default)]
pub struct Seen {
    pub base: u64,
    pub jobs: u64,
    /// Ordinal, the rule that takes it, the job.
    pub taken: Vec<(u64, usize, Bytes)>,
}

impl Sorted {
    fn add(&mut self, ordinal: u64, tenant: &str, gates: Gates, level: LevelId) {
        let owner = (CompactString::from(tenant), gates, level);
        let index = match self.by_owner.get(&owner) {
            Some(index) => *index,
            None => {
                let index = self.owners.len() as u32;
                self.owners.push(owner.clone());
                self.by_owner.insert(owner, index);
                index
            }
        };
        self.jobs.push((ordinal, index));
    }
}

impl Counted {
    /// Counts a job that was looked at.
    pub fn see(&mut self, job: &Job, matches: bool) {
        self.jobs += 1;
        if matches {
            self.matched += 1;
            self.unique += u64::from(job.is_unique());
            self.encrypted += u64::from(job.is_encrypted());
        } else {
            self.unreadable += u64::from(job.is_encrypted());
        }
    }

    pub fn add(&mut self, other: &Counted) {
        let Counted { jobs, matched, unique, encrypted, unreadable } = other;
        self.jobs += jobs;
        self.matched += matched;
        self.unique += unique;
        self.encrypted += encrypted;
        self.unreadable += unreadable;
    }
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
                Want::Tenants => {
                    if question.rules.verdict(item, question.now_ms, None) == Verdict::Deliver {
                        let job = Job::new(item);
                        let gates = question.rules.gates(&job, question.now_ms);
                        let level = question.rules.level_id(&job, question.now_ms);
                        answer.sorted.add(ordinal, &question.rules.tenant(&job), gates, level);
                    }
                }
                Want::Counted => {
                    let job = Job::new(item);
                    let is_taken = question.rules.take(&job, question.now_ms, None).is_some();
                    answer.counted.see(&job, is_taken);
                    answer.batches.extend(job.batch().filter(|_| is_taken).map(Cow::into_owned));
                }
            }
        }
        answer.chunks.push(seen);
    }
    answer
}
