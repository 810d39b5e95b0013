//! Which part of a sorted set is meant: between two ranks, scores or names. Whichever it is, it becomes a span of ranks.

use std::ops::Range;

use bytes::Bytes;

use crate::command::argument::{integer, range};
use crate::keyspace::Zset;
use crate::resp::Error;

const NOT_A_SCORE: Error = Error::constant("ERR min or max is not a float");
const NOT_A_NAME: Error = Error::constant("ERR min or max not valid string range item");

/// What the two ends of a range are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Rank,
    Score,
    Name,
}

/// The two ends of a range.
#[derive(Debug, Clone, PartialEq)]
pub enum Bounds {
    /// From and to these, both included; negative ones count from the end.
    Ranks(i64, i64),
    Scores(Bound<f64>, Bound<f64>),
    Names(NameBound, NameBound),
}

/// A score or a name, which is left out if it is exclusive.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound<T> {
    value: T,
    exclusive: bool,
}

/// An end of a range of names.
#[derive(Debug, Clone, PartialEq)]
pub enum NameBound {
    BeforeAll,
    AfterAll,
    At(Bound<Bytes>),
}

impl Bounds {
    /// Reads the lower and the upper end.
    pub fn read(by: By, low: &Bytes, high: &Bytes) -> Result<Bounds, Error> {
        Ok(match by {
            By::Rank => Bounds::Ranks(integer(low)?, integer(high)?),
            By::Score => Bounds::Scores(score(low).ok_or(NOT_A_SCORE)?, score(high).ok_or(NOT_A_SCORE)?),
            By::Name => Bounds::Names(name(low).ok_or(NOT_A_NAME)?, name(high).ok_or(NOT_A_NAME)?),
        })
    }

    /// The ranks of the members in between, from the lowest on. Costs two searches, however many they are.
    pub fn span(&self, zset: &Zset) -> Range<usize> {
        let (start, end) = match self {
            Bounds::Ranks(first, last) => match range(*first, *last, zset.len() as u64) {
                Some((first, last)) => (first as usize, last as usize + 1),
                None => (0, 0),
            },
            Bounds::Scores(low, high) => {
                (zset.rank_of_score(low.value, low.exclusive), zset.rank_of_score(high.value, !high.exclusive))
            }
            Bounds::Names(low, high) => (low.rank(zset, true), high.rank(zset, false)),
        };
        start..end.max(start)
    }
}

impl NameBound {
    /// How many members stand before this end.
    fn rank(&self, zset: &Zset, is_low: bool) -> usize {
        match self {
            NameBound::BeforeAll => 0,
            NameBound::AfterAll => zset.len(),
            // An excluded name stands before a low end, an included one before a high end.
            NameBound::At(bound) => zset.rank_of_name(&bound.value, bound.exclusive == is_low),
        }
    }
}

/// Reads a score with a `(` before it if it is exclusive. As in Redis, white space may come first, nothing is zero, and
/// what is too large is infinite.
fn score(text: &[u8]) -> Option<Bound<f64>> {
    let (number, exclusive) = text.strip_prefix(b"(").map_or((text, false), |number| (number, true));
    if number.is_empty() {
        return Some(Bound { value: 0.0, exclusive });
    }
    let value: f64 = std::str::from_utf8(number.trim_ascii_start()).ok()?.parse().ok()?;
    (!value.is_nan()).then_some(Bound { value, exclusive })
}

/// Reads `-`, `+`, `[name` or `(name`.
fn name(text: &Bytes) -> Option<NameBound> {
    let at = |exclusive| NameBound::At(Bound { value: text.slice(1..), exclusive });
    Some(match text.first()? {
        b'-' if text.len() == 1 => NameBound::BeforeAll,
        b'+' if text.len() == 1 => NameBound::AfterAll,
        b'[' => at(false),
        b'(' => at(true),
        _ => return None,
    })
}

/// The part of a span that LIMIT leaves, counted from its other end if `from_last`; a negative count is all.
pub fn limited(span: Range<usize>, offset: i64, count: i64, from_last: bool) -> Range<usize> {
    // Redis finds nothing at a negative offset.
    let Ok(offset) = usize::try_from(offset) else { return span.start..span.start };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if from_last {
        let end = span.end.saturating_sub(offset).max(span.start);
        end.saturating_sub(count).max(span.start)..end
    } else {
        let start = span.start.saturating_add(offset).min(span.end);
        start..start.saturating_add(count).min(span.end)
    }
}

/// Visits the members of a span.
pub fn members(zset: &Zset, span: Range<usize>, from_last: bool) -> Box<dyn Iterator<Item = (&[u8], f64)> + '_> {
    let count = span.len();
    if from_last {
        Box::new(zset.iter_back_from_rank(span.end).take(count))
    } else {
        Box::new(zset.iter_from_rank(span.start).take(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zset(members: &[(&str, f64)]) -> Zset {
        let mut zset = Zset::default();
        for (member, score) in members {
            zset.put(member.as_bytes(), *score);
        }
        zset
    }

    fn check(zset: &Zset, by: By, low: &'static str, high: &'static str, expected: Range<usize>) {
        let bounds = Bounds::read(by, &Bytes::from_static(low.as_bytes()), &Bytes::from_static(high.as_bytes()));
        assert_eq!(bounds.expect("well formed").span(zset), expected, "{low} {high}");
    }

    #[test]
    fn bounds_are_inclusive_unless_they_say_otherwise() {
        let zset = zset(&[("a", 1.0), ("b", 2.0), ("c", 2.0), ("d", 3.0)]);
        check(&zset, By::Score, "2", "2", 1..3);
        check(&zset, By::Score, "(1", "(3", 1..3);
        check(&zset, By::Score, "(2", "2", 3..3);
        check(&zset, By::Score, "-inf", "+inf", 0..4);
        check(&zset, By::Score, "5", "1", 4..4);
        check(&zset, By::Rank, "-2", "-1", 2..4);
        check(&zset, By::Rank, "0", "-10000", 0..0);
    }

    #[test]
    fn names_stand_between_minus_and_plus() {
        let zset = zset(&[("a", 0.0), ("b", 0.0), ("bb", 0.0), ("c", 0.0)]);
        check(&zset, By::Name, "-", "+", 0..4);
        check(&zset, By::Name, "+", "-", 4..4);
        check(&zset, By::Name, "[b", "[bb", 1..3);
        check(&zset, By::Name, "(b", "(c", 2..3);
        check(&zset, By::Name, "(a", "+", 1..4);
        check(&zset, By::Name, "[", "(a", 0..0);
    }

    #[test]
    fn malformed_bounds_are_refused() {
        for text in ["x", "(x", "nan", "1 ", "((1", " "] {
            assert_eq!(score(text.as_bytes()), None, "{text:?}");
        }
        for text in ["", "a", "++", "-x", "1"] {
            assert_eq!(name(&Bytes::from_static(text.as_bytes())), None, "{text:?}");
        }
        assert_eq!(score(b"("), Some(Bound { value: 0.0, exclusive: true }));
        assert_eq!(score(b"1e999"), Some(Bound { value: f64::INFINITY, exclusive: false }));
    }

    #[test]
    fn a_limit_counts_from_the_end_that_is_read_first() {
        assert_eq!(limited(10..20, 0, -1, false), 10..20);
        assert_eq!(limited(10..20, 3, 2, false), 13..15);
        assert_eq!(limited(10..20, 3, 2, true), 15..17);
        assert_eq!(limited(10..20, 30, 2, false), 20..20);
        assert_eq!(limited(10..20, 30, 2, true), 10..10);
        assert_eq!(limited(10..20, 3, i64::MAX, true), 10..17);
        assert_eq!(limited(10..20, -1, 5, false), 10..10);
        assert_eq!(limited(10..20, i64::MAX, i64::MAX, false), 20..20);
    }
}
