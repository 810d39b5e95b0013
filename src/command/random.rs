//! Random elements: how HRANDFIELD, SRANDMEMBER and ZRANDMEMBER are asked, and which elements they pick.

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::resp::Error;

use super::argument::{integer, is};

/// From so many picks on it is cheaper to walk over all elements once than to look for each rank.
const PICKS_WALKED_MIN: usize = 512;

/// Reads a count; a negative one allows the same element several times.
pub fn signed_count(text: &[u8]) -> Result<i64, Error> {
    match integer(text)? {
        // It could not be made positive.
        i64::MIN => Err(Error::constant(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        count => Ok(count),
    }
}

/// Reads `[count [WITH…]]`; answers the count, and whether the word behind it was there.
pub fn count_with(options: &[Bytes], with: &str) -> Result<Option<(i64, bool)>, Error> {
    let Some((count, rest)) = options.split_first() else { return Ok(None) };
    let count = signed_count(count)?;
    match rest {
        [] => Ok(Some((count, false))),
        // Redis counts both halves of each pair.
        [word] if is(word, with) && count.unsigned_abs() <= i64::MAX as u64 / 2 => Ok(Some((count, true))),
        [word] if is(word, with) => Err(Error::constant("ERR value is out of range")),
        _ => Err(Error::SYNTAX),
    }
}

/// Picks among `len` elements, each with the same chance: `count` different ones, or all if there are no more; if it is
/// negative, that many of which some may be the same. An element is given by its rank, or by visiting all in order.
pub fn pick<'a, T: 'a>(
    random: &'a mut StdRng,
    count: i64,
    len: usize,
    all: impl Iterator<Item = T> + 'a,
    select: impl Fn(usize) -> Option<T> + 'a,
) -> Box<dyn Iterator<Item = T> + 'a> {
    let wanted = count.unsigned_abs();
    if count < 0 {
        return Box::new((0..wanted).map_while(move |_| select(random.random_range(0..len))));
    }
    if wanted >= len as u64 {
        return Box::new(all);
    }
    let ranks = rand::seq::index::sample(random, len, wanted as usize);
    if ranks.len() < PICKS_WALKED_MIN {
        return Box::new(ranks.into_iter().filter_map(select));
    }
    let mut ranks = ranks.into_vec();
    ranks.sort_unstable();
    let mut ranks = ranks.into_iter().peekable();
    Box::new(all.enumerate().filter_map(move |(rank, element)| ranks.next_if_eq(&rank).map(|_| element)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn picked(count: i64, len: usize) -> Vec<usize> {
        pick(&mut StdRng::seed_from_u64(7), count, len, 0..len, Some).collect()
    }

    #[test]
    fn a_positive_count_gives_different_elements() {
        for (count, len) in [(1, 1), (3, 10), (10, 10), (11, 10), (511, 2000), (512, 2000), (1999, 2000)] {
            let picked = picked(count, len);
            assert_eq!(picked.len(), len.min(count as usize));
            assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), picked.len());
            assert!(picked.iter().all(|rank| *rank < len));
        }
    }

    #[test]
    fn a_negative_count_gives_as_many_as_it_says() {
        assert_eq!(picked(-100, 3).len(), 100);
        assert_eq!(picked(-100, 3).iter().collect::<BTreeSet<_>>().len(), 3);
    }

    #[test]
    fn every_element_is_picked_about_as_often() {
        let mut random = StdRng::seed_from_u64(7);
        let mut counts = [0; 10];
        for _ in 0..1000 {
            for rank in pick(&mut random, 3, counts.len(), 0..counts.len(), Some).collect::<Vec<_>>() {
                counts[rank] += 1;
            }
        }
        assert!(counts.iter().all(|count| (200..400).contains(count)), "{counts:?}");
    }
}
