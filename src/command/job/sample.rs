//! Choosing whole chunks by chance, in one pass over all of them.
//!
//! Each of a number of draws takes a chunk with a probability in proportion to its size, with replacement. The sizes need not be
//! known beforehand: a draw keeps what it has until the sum of all sizes has grown by a random factor (the jumps of
//! Efraimidis and Spirakis, "Weighted random sampling with a reservoir", 2006, for a reservoir of one), so that nearly all
//! chunks cost an addition and a comparison. [`interval`] says what follows from what was drawn, [`reading`] how a command
//! reads it.

pub mod interval;
pub mod reading;
#[cfg(test)]
pub mod testing;

use std::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::StdRng;

/// See the module. What is drawn is made only when a draw takes it.
#[derive(Debug)]
pub struct Sampler<T> {
    draws: Vec<Draw>,
    /// Up to so many are all kept: reading them leaves nothing to estimate.
    few_max: usize,
    /// The smallest sum at which a draw takes another one.
    next: f64,
    total: u64,
    offered: usize,
    /// What is drawn at the moment, and some that are no longer, by the number of the offer.
    kept: BTreeMap<usize, (u64, T)>,
}

#[derive(Debug, Clone, Copy)]
struct Draw {
    offer: usize,
    /// The sum of sizes at which it takes another one.
    until: f64,
}

/// What was drawn.
#[derive(Debug)]
pub struct Drawn<T> {
    /// Each once, in the order in which they were offered, with its size.
    pub chosen: Vec<(u64, T)>,
    /// What each draw took, as an index into `chosen`; in no order.
    pub draws: Vec<usize>,
    /// The sizes of all that were offered.
    pub total: u64,
    /// Everything was chosen, each once.
    pub is_all: bool,
}

impl<T> Sampler<T> {
    pub fn new(draws: usize, few_max: usize) -> Sampler<T> {
        let draws = vec![Draw { offer: 0, until: 0.0 }; draws];
        Sampler { draws, few_max, next: 0.0, total: 0, offered: 0, kept: BTreeMap::new() }
    }

    /// Offers something of a size; 0 is never drawn.
    #[inline]
    pub fn offer(&mut self, random: &mut StdRng, size: u64, make: impl FnOnce() -> T) {
        if size == 0 {
            return;
        }
        self.total += size;
        self.offered += 1;
        if self.total as f64 >= self.next || self.offered <= self.few_max {
            self.take(random, size, make());
        }
    }

    fn take(&mut self, random: &mut StdRng, size: u64, made: T) {
        let (total, offer) = (self.total as f64, self.offered);
        let mut next = f64::INFINITY;
        for draw in &mut self.draws {
            if draw.until <= total {
                // It is kept until then with the probability `total / until`, which is what later offers leave to it.
                *draw = Draw { offer, until: total / (1.0 - random.random::<f64>()) };
            }
            next = next.min(draw.until);
        }
        self.next = next;
        self.kept.insert(offer, (size, made));
        if offer > self.few_max && self.kept.len() > 2 * self.draws.len() {
            self.forget();
        }
    }

    /// Lets go of what no draw has any more.
    fn forget(&mut self) {
        let mut drawn: Vec<usize> = self.draws.iter().map(|draw| draw.offer).collect();
        drawn.sort_unstable();
        self.kept.retain(|offer, _| drawn.binary_search(offer).is_ok());
    }

    pub fn finish(mut self) -> Drawn<T> {
        let is_all = self.offered <= self.few_max;
        if !is_all {
            self.forget();
        }
        let offers: Vec<usize> = self.kept.keys().copied().collect();
        let index_of = |draw: &Draw| offers.binary_search(&draw.offer).expect("what is drawn is kept");
        let draws = if is_all { (0..offers.len()).collect() } else { self.draws.iter().map(index_of).collect() };
        Drawn { chosen: self.kept.into_values().collect(), draws, total: self.total, is_all }
    }
}

#[cfg(test)]
impl<T> Drawn<T> {
    /// How many draws took each of the chosen ones.
    pub fn times(&self) -> Vec<u64> {
        let mut times = vec![0; self.chosen.len()];
        self.draws.iter().for_each(|index| times[*index] += 1);
        times
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn drawn(seed: u64, draws: usize, few_max: usize, sizes: &[u64]) -> Drawn<usize> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut sampler = Sampler::new(draws, few_max);
        sizes.iter().enumerate().for_each(|(index, size)| sampler.offer(&mut random, *size, || index));
        sampler.finish()
    }

    #[test]
    fn each_is_drawn_in_proportion_to_its_size() {
        let sizes = [1, 0, 50, 9, 200, 40, 100];
        let mut counts = [0u64; 7];
        for seed in 0..500 {
            let drawn = drawn(seed, 80, 2, &sizes);
            assert_eq!((drawn.total, drawn.draws.len(), drawn.is_all), (400, 80, false));
            for index in &drawn.draws {
                let (size, which) = drawn.chosen[*index];
                assert_eq!(size, sizes[which]);
                counts[which] += 1;
            }
        }
        for (size, count) in sizes.iter().zip(counts) {
            // 40,000 draws: five standard deviations.
            let expected = 100.0 * *size as f64;
            assert!((count as f64 - expected).abs() <= 5.0 * expected.sqrt(), "{size}: {count} of {expected}");
        }
    }

    #[test]
    fn a_few_are_all_chosen_once() {
        let few = drawn(1, 10, 4, &[7, 7, 0, 1, 2]);
        assert!(few.is_all);
        assert_eq!(few.chosen, [(7, 0), (7, 1), (1, 3), (2, 4)]);
        assert_eq!(few.times(), [1, 1, 1, 1]);
        assert!(!drawn(1, 10, 3, &[7, 7, 0, 1, 2]).is_all);
        let none = drawn(1, 10, 4, &[]);
        assert!(none.is_all && none.chosen.is_empty() && none.total == 0);
    }

    #[test]
    fn a_long_pass_makes_and_keeps_few() {
        let mut random = StdRng::seed_from_u64(3);
        let mut sampler = Sampler::new(100, 100);
        let mut made = 0;
        for _ in 0..47_000 {
            sampler.offer(&mut random, 213, || made += 1);
            assert!(sampler.kept.len() <= 201, "{}", sampler.kept.len());
        }
        assert!(made < 1500, "{made}");
        assert_eq!(sampler.finish().times().iter().sum::<u64>(), 100);
    }
}
