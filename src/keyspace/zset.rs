//! A sorted set: member → score as [`Fields`], and the same members in the order of score, then bytes.

use std::cmp::Ordering;
use std::sync::Arc;

use super::fields::Fields;
use super::ordered::Ordered;

/// What a member costs in the order by score, beside the bytes that it shares.
const ORDER_OVERHEAD_BYTES: usize = 32;

/// A member as it stands in the order; scores are never NaN, and -0.0 equals 0.0.
#[derive(Debug, Clone)]
struct Ranked {
    score: f64,
    member: Arc<[u8]>,
}

impl Ranked {
    fn compare(&self, score: f64, member: &[u8]) -> Ordering {
        by_score(self.score, score).then_with(|| (*self.member).cmp(member))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        self.compare(other.score, &other.member)
    }
}

fn by_score(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).expect("a score is never NaN")
}

/// See the module.
#[derive(Debug, Default)]
pub struct Zset {
    scores: Fields<f64>,
    order: Ordered<Ranked, ()>,
}

impl Zset {
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }

    /// What the set costs in memory.
    pub fn memory_bytes(&self) -> usize {
        self.scores.memory_bytes() + self.scores.len() * ORDER_OVERHEAD_BYTES
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// Gives a member a score; tells whether the member is new.
    pub fn put(&mut self, member: &[u8], score: f64) -> bool {
        let old = self.score(member);
        let name: Arc<[u8]> = match old {
            None => Arc::from(member),
            Some(old) => {
                let ranked = self.order.remove_by(|ranked| ranked.compare(old, member));
                ranked.expect("every member stands in the order").0.member
            }
        };
        self.scores.put_shared(&name, score);
        self.order.insert(Ranked { score, member: name }, ());
        old.is_none()
    }

    /// Removes a member; answers its score.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let score = self.scores.remove(member)?;
        self.order.remove_by(|ranked| ranked.compare(score, member)).expect("every member stands in the order");
        Some(score)
    }

    /// How many members stand before this one.
    pub fn rank(&self, member: &[u8]) -> Option<usize> {
        let score = self.score(member)?;
        Some(self.order.rank_by(|ranked| ranked.compare(score, member) == Ordering::Less))
    }

    /// How many members have a score below the bound, or at it if `inclusive`: with a minimum, the rank of the first in a
    /// range; with a maximum and `inclusive`, the rank behind its last.
    pub fn rank_of_score(&self, score: f64, inclusive: bool) -> usize {
        self.order.rank_by(|ranked| match by_score(ranked.score, score) {
            Ordering::Less => true,
            Ordering::Equal => inclusive,
            Ordering::Greater => false,
        })
    }

    /// How many members stand before this name, or with it if `inclusive`, in a set whose scores are all equal.
    pub fn rank_of_name(&self, name: &[u8], inclusive: bool) -> usize {
        self.order.rank_by(|ranked| match (*ranked.member).cmp(name) {
            Ordering::Less => true,
            Ordering::Equal => inclusive,
            Ordering::Greater => false,
        })
    }

    /// Visits members in order, from the one with `rank` before it.
    pub fn iter_from_rank(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        self.order.iter_from_rank(rank).map(|(ranked, ())| (&*ranked.member, ranked.score))
    }

    /// Visits the first `rank` members, last first.
    pub fn iter_back_from_rank(&self, rank: usize) -> impl Iterator<Item = (&[u8], f64)> {
        self.order.iter_back_from_rank(rank).map(|(ranked, ())| (&*ranked.member, ranked.score))
    }

    /// Visits members in the order of their hashes; see [`Fields::scan`].
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        self.scores.scan(cursor, count, |member, score| visit(member, *score))
    }

    /// See [`Fields::shrink`].
    pub fn shrink(&mut self, count: usize) -> bool {
        for _ in 0..count.min(self.order.len()) {
            self.order.pop_last();
        }
        self.scores.shrink(count)
    }
}
