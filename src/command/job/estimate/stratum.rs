//! Chunks that were passed over and of which some are read: what they are, what they showed, and what follows.

use rand::rngs::StdRng;

use super::super::look::Counted;
use super::super::sample::interval::{Estimate, Looked, Shares};
use super::super::sample::{Drawn, Sampler};
use crate::keyspace::{ObjectId, Piece};

/// Chunks that are drawn at a time.
const DRAWS_A_STEP: usize = 20;

/// A chunk that was drawn.
#[derive(Debug)]
pub struct Place {
    pub queue: usize,
    pub object: ObjectId,
    pub piece: Piece,
}

/// Chunks of one sort: passed over first, then some of them read.
pub struct Stratum {
    sampler: Option<Sampler<Place>>,
    pub drawn: Drawn<Place>,
    /// What each of the chosen chunks has, as far as they were read.
    pub found: Vec<Option<Counted>>,
    /// Draws that were read.
    pub used: usize,
}

impl Stratum {
    /// Chunks are passed over now: of at most `few_max` all are kept, else so many drawn.
    pub fn passing(draws: usize, few_max: usize) -> Stratum {
        let drawn = Drawn { chosen: Vec::new(), draws: Vec::new(), total: 0, is_all: true };
        Stratum { sampler: Some(Sampler::new(draws, few_max)), drawn, found: Vec::new(), used: 0 }
    }

    /// Offers a chunk that has so many jobs which may count.
    pub fn offer(&mut self, random: &mut StdRng, size: u64, place: impl FnOnce() -> Place) {
        self.sampler.as_mut().expect("nothing was drawn yet").offer(random, size, place);
    }

    /// Ends the passing over.
    pub fn draw(&mut self) {
        self.drawn = self.sampler.take().expect("it is drawn once").finish();
        self.found = vec![None; self.drawn.chosen.len()];
    }

    /// The chunks of the next draws that were not read yet; all at once if everything is read.
    pub fn next_draws(&mut self) -> Vec<usize> {
        let rest = &self.drawn.draws[self.used..];
        let count = if self.drawn.is_all { rest.len() } else { rest.len().min(DRAWS_A_STEP) };
        let mut next = rest[..count].to_vec();
        self.used += count;
        next.sort_unstable();
        next.dedup();
        next.retain(|index| self.found[*index].is_none());
        next
    }

    /// What the draws that were read say of all chunks.
    pub fn estimate(&self, pick: impl Fn(&Counted) -> u64) -> Estimate {
        let (shares, looked) = self.shares(pick);
        shares.estimate(&looked)
    }

    /// As [`estimate`](Self::estimate), without the interval.
    pub fn number(&self, pick: impl Fn(&Counted) -> u64) -> u64 {
        let (shares, looked) = self.shares(pick);
        shares.number(&looked)
    }

    fn shares(&self, pick: impl Fn(&Counted) -> u64) -> (Shares, Looked) {
        let mut times = vec![0; self.found.len()];
        self.drawn.draws[..self.used].iter().for_each(|index| times[*index] += 1);
        let mut shares = Shares::default();
        let mut looked = Looked { draws: self.used as u64, jobs: 0, total: self.drawn.total };
        for (index, times) in times.into_iter().enumerate().filter(|(_, times)| *times > 0) {
            let size = self.drawn.chosen[index].0;
            looked.jobs += size;
            shares.add(self.found[index].as_ref().map_or(0, &pick), size, times);
        }
        (shares, looked)
    }
}
