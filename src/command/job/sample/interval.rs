//! What can be said of all jobs when some chunks were read: a number, and the interval that holds the truth in 95 of 100
//! cases.
//!
//! The number is Hansen and Hurwitz': the mean of the parts that the draws showed, times the size of the whole. Jobs of one
//! chunk are alike, so a thousand jobs of five chunks say less than a thousand that were drawn one by one. The interval is
//! that of Korn and Graubard ("Confidence intervals for proportions with small expected number of positive counts
//! estimated from survey data", 1998): Clopper and Pearson's, for as many independent jobs as would have varied like the
//! draws did.

use statrs::function::beta::inv_beta_reg;

use crate::resp::Reply;

/// Each side of the interval leaves out so much.
const TAIL: f64 = 0.025;
/// What Student's t comes to when there are very many.
const NORMAL: f64 = 1.959_963_985;

/// A number that may be an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    pub number: u64,
    pub low: u64,
    pub high: u64,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Looked {
    pub draws: u64,
    /// The sizes of what was drawn, each counted once.
    pub jobs: u64,
    /// The sizes of all that could have been drawn.
    pub total: u64,
}

/// What draws have shown of one thing that may hold for a job.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shares {
    sum: f64,
    squares: f64,
    /// Jobs for which it holds, in what was drawn, each counted once.
    pub seen: u64,
}

impl Shares {
    /// Adds a chunk that was drawn so many times, with how many of its jobs it holds for.
    pub fn add(&mut self, hits: u64, size: u64, times: u64) {
        let part = (hits as f64 / size as f64).min(1.0);
        self.sum += part * times as f64;
        self.squares += part * part * times as f64;
        self.seen += hits;
    }

    /// The sum of the parts, by which one thing is more than another.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// For how many of all jobs it holds, without the interval, which takes longer to find.
    pub fn number(&self, looked: &Looked) -> u64 {
        if looked.jobs >= looked.total {
            return self.seen;
        }
        let number = (self.part(looked) * looked.total as f64).round() as u64;
        number.max(self.seen)
    }

    fn part(&self, looked: &Looked) -> f64 {
        (self.sum / looked.draws.max(1) as f64).min(1.0)
    }

    /// For how many of all jobs it holds.
    pub fn estimate(&self, looked: &Looked) -> Estimate {
        if looked.jobs >= looked.total {
            return Estimate::exact(self.seen);
        }
        if looked.draws == 0 {
            return Estimate { number: 0, low: 0, high: looked.total };
        }
        let part = self.part(looked);
        let (low, high) = interval(part, self.independent(part, looked), looked.draws as f64);
        let total = looked.total as f64;
        // What was seen is certain, both ways.
        let high = ((high * total).ceil() as u64).min(looked.total - (looked.jobs - self.seen.min(looked.jobs)));
        let low = ((low * total) as u64).max(self.seen).min(high);
        Estimate { number: ((part * total).round() as u64).clamp(low, high), low, high }
    }

    /// How many independent jobs would have varied as much as the draws did.
    fn independent(&self, part: f64, looked: &Looked) -> f64 {
        let draws = looked.draws as f64;
        if looked.draws < 2 {
            return draws;
        }
        let variance = ((self.squares - draws * part * part) / (draws - 1.0)).max(0.0);
        let many = (draws * part * (1.0 - part) / variance).min(looked.jobs as f64);
        // The variance is itself only known from so many draws.
        (many * (NORMAL / student(draws - 1.0)).powi(2)).max(1.0)
    }
}

impl Estimate {
    pub fn exact(number: u64) -> Estimate {
        Estimate { number, low: number, high: number }
    }

    /// Adds what is certain.
    pub fn plus(self, certain: u64) -> Estimate {
        Estimate { number: self.number + certain, low: self.low + certain, high: self.high + certain }
    }

    /// Tells whether both ends are within a part of the number.
    pub fn is_within(&self, part: f64) -> bool {
        let number = self.number as f64;
        self.low as f64 >= number * (1.0 - part) && self.high as f64 <= number * (1.0 + part)
    }

    /// The two ends, for a reply.
    pub fn interval(&self) -> Reply {
        Reply::Array([self.low, self.high].iter().map(|end| Reply::Integer(*end as i64)).collect())
    }
}

/// Clopper and Pearson's interval for a part that was found in so many. Where it was found in none of the draws, or in all of
/// every one, nothing is known of how it varies, and only the draws count.
fn interval(part: f64, independent: f64, draws: f64) -> (f64, f64) {
    let single = TAIL.powf(1.0 / draws);
    if part <= 0.0 {
        return (0.0, 1.0 - single);
    }
    if part >= 1.0 {
        return (single, 1.0);
    }
    let hits = part * independent;
    let misses = independent - hits;
    (inv_beta_reg(hits, misses + 1.0, TAIL), inv_beta_reg(hits + 1.0, misses, 1.0 - TAIL))
}

/// The 97.5 % point of Student's t.
fn student(freedom: f64) -> f64 {
    let x = inv_beta_reg(freedom / 2.0, 0.5, 2.0 * TAIL);
    (freedom * (1.0 - x) / x).sqrt()
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::super::Sampler;
    use super::*;

    const CHUNKS: usize = 4_700;
    const CHUNK_JOBS: u64 = 213;
    /// One job in a hundred matches, nine more are of the same class.
    const MATCHES: u64 = CHUNKS as u64 * CHUNK_JOBS / 100;

    /// A chunk: jobs of the class, matches among them.
    type Layout = Vec<(u64, u64)>;

    fn layout(random: &mut StdRng, mut next: impl FnMut(&mut StdRng) -> usize, matches: u64) -> Layout {
        let mut chunks = vec![(0, 0); CHUNKS];
        for _ in 0..matches {
            let chunk = &mut chunks[next(random)];
            *chunk = (chunk.0 + 1, chunk.1 + 1);
        }
        for _ in 0..9 * MATCHES {
            let chunk = &mut chunks[random.random_range(0..CHUNKS)];
            chunk.0 = (chunk.0 + 1).min(CHUNK_JOBS);
        }
        chunks
    }

    fn spread(random: &mut StdRng) -> Layout {
        layout(random, |random| random.random_range(0..CHUNKS), MATCHES)
    }

    /// In runs of up to some thousand.
    fn clustered(random: &mut StdRng) -> Layout {
        let (mut at, mut left) = (0, 0);
        let next = move |random: &mut StdRng| {
            if left == 0 {
                (at, left) = (random.random_range(0..CHUNKS as u64 * CHUNK_JOBS), random.random_range(50..2_000));
            }
            (at, left) = (at + 1, left - 1);
            (at / CHUNK_JOBS) as usize % CHUNKS
        };
        layout(random, next, MATCHES)
    }

    fn solid(random: &mut StdRng) -> Layout {
        let mut at = CHUNKS as u64 * CHUNK_JOBS;
        let next = move |_: &mut StdRng| {
            at -= 1;
            (at / CHUNK_JOBS) as usize
        };
        layout(random, next, MATCHES)
    }

    fn absent(random: &mut StdRng) -> Layout {
        layout(random, |_| 0, 0)
    }

    fn estimate(random: &mut StdRng, layout: &Layout, size: impl Fn(&(u64, u64)) -> u64) -> Estimate {
        let mut sampler = Sampler::new(100, 100);
        layout.iter().for_each(|chunk| sampler.offer(random, size(chunk), || *chunk));
        let drawn = sampler.finish();
        let mut shares = Shares::default();
        let mut looked = Looked { draws: 100, jobs: 0, total: drawn.total };
        for ((size, chunk), times) in drawn.chosen.iter().zip(drawn.times()) {
            looked.jobs += size;
            shares.add(chunk.1, *size, times);
        }
        shares.estimate(&looked)
    }

    #[track_caller]
    fn check(name: &str, make: fn(&mut StdRng) -> Layout, within: Option<f64>) {
        for (by, size) in [("class", true), ("jobs", false)] {
            let (mut held, mut chunks) = (0, Layout::new());
            for seed in 0..100 {
                let mut random = StdRng::seed_from_u64(seed);
                if seed % 10 == 0 {
                    chunks = make(&mut random);
                }
                let truth: u64 = chunks.iter().map(|chunk| chunk.1).sum();
                let found =
                    estimate(&mut random, &chunks, |chunk| if size { chunk.0.max(chunk.1) } else { CHUNK_JOBS });
                held += u64::from((found.low..=found.high).contains(&truth));
                if let Some(part) = within {
                    assert!(found.is_within(part), "{name} by {by}, seed {seed}: {found:?} of {truth}");
                }
            }
            assert!(held >= 90, "{name} by {by}: {held} of 100 intervals hold the truth");
        }
    }

    #[test]
    fn an_interval_holds_the_truth_in_every_layout() {
        check("spread", spread, Some(0.5));
        check("clustered", clustered, None);
        check("solid", solid, None);
        check("absent", absent, None);
    }

    #[test]
    fn what_was_read_whole_is_exact() {
        let mut shares = Shares::default();
        shares.add(3, 10, 1);
        shares.add(0, 5, 1);
        let looked = Looked { draws: 2, jobs: 15, total: 15 };
        assert_eq!(shares.estimate(&looked), Estimate::exact(3));
        assert_eq!(Shares::default().estimate(&Looked::default()), Estimate::exact(0));
    }

    #[test]
    fn what_was_seen_is_certain() {
        let mut shares = Shares::default();
        shares.add(10, 10, 1);
        shares.add(0, 10, 1);
        let found = shares.estimate(&Looked { draws: 2, jobs: 20, total: 22 });
        assert!(found.low >= 10 && found.high <= 12, "{found:?}");
    }

    #[test]
    fn an_interval_is_found_however_much_was_looked_at() {
        for of in [2.5, 100.0, 20_000.0, 1e6] {
            for part in [1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999] {
                let (hits, misses) = (part * of, of - part * of);
                let (low, high) = interval(part, of, 100.0);
                assert!((0.0..=part).contains(&low) && (part..=1.0).contains(&high), "{hits} of {of}: {low} {high}");
                if hits.min(misses) > 30.0 {
                    // Where there are many, it is nearly what the normal distribution says.
                    let deviation = (part * (1.0 - part) / of).sqrt();
                    let (from, to) = ((part - low) / deviation, (high - part) / deviation);
                    assert!((1.8..2.2).contains(&from) && (1.8..2.3).contains(&to), "{hits} of {of}: {from} {to}");
                }
            }
        }
    }

    #[test]
    fn an_interval_is_that_of_the_tables() {
        #[track_caller]
        fn check(hits: f64, of: f64, low: f64, high: f64) {
            let found = interval(hits / of, of, of);
            assert!((found.0 - low).abs() < 1e-4 && (found.1 - high).abs() < 1e-4, "{hits} of {of}: {found:?}");
        }
        // Clopper and Pearson, 1934, and R's binom.test.
        check(0.0, 100.0, 0.0, 0.036_217);
        check(1.0, 10.0, 0.002_529, 0.445_016);
        check(5.0, 10.0, 0.187_086, 0.812_914);
        check(10.0, 100.0, 0.049_005, 0.176_223);
        check(100.0, 100.0, 0.963_783, 1.0);
        for (freedom, point) in [(1.0, 12.7062), (9.0, 2.2622), (99.0, 1.9842)] {
            assert!((student(freedom) - point).abs() < 1e-3, "{freedom}: {}", student(freedom));
        }
    }
}
