//! When jobs came that do not say so themselves, to a tenth of a second where they are few, else less exactly. Pure.
//!
//! Of a list that grows at one end an ordinal says when, given a few marks. Both directions are kept: ordinals fall where jobs
//! come from the left.

use std::collections::VecDeque;

/// Marks of one direction. When there are more, every second one goes, and the next are half as close.
const MARKS_MAX: usize = 512;
/// Marks are not closer than this at first.
const CLOSEST_MS: u64 = 100;

/// See the module.
#[derive(Debug, Default)]
pub struct Arrivals {
    leftward: Marks,
    rightward: Marks,
}

#[derive(Debug, Default)]
struct Marks {
    /// Distance from the middle, and when jobs from there on have come; both grow.
    marks: VecDeque<(u64, u64)>,
    closest_ms: u64,
}

/// The ordinal in the middle: those below come from the left.
const MIDDLE: u64 = 1 << 63;

impl Arrivals {
    /// Notes that jobs from an ordinal on come now.
    pub fn came(&mut self, ordinal: u64, now_ms: u64) {
        if ordinal < MIDDLE {
            self.leftward.came(MIDDLE - ordinal, now_ms);
        } else {
            self.rightward.came(ordinal - MIDDLE, now_ms);
        }
    }

    /// When a job came, nothing if it was there before anybody noted it.
    pub fn since_ms(&self, ordinal: u64) -> Option<u64> {
        if ordinal < MIDDLE {
            self.leftward.since_ms(MIDDLE - ordinal)
        } else {
            self.rightward.since_ms(ordinal - MIDDLE)
        }
    }
}

impl Marks {
    fn came(&mut self, distance: u64, now_ms: u64) {
        if let Some((last, at_ms)) = self.marks.back()
            && (distance <= *last || now_ms.saturating_sub(*at_ms) < self.closest_ms)
        {
            return;
        }
        if self.marks.len() == MARKS_MAX {
            let mut is_kept = false;
            self.marks.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.closest_ms *= 2;
        }
        self.closest_ms = self.closest_ms.max(CLOSEST_MS);
        self.marks.push_back((distance, now_ms));
    }

    fn since_ms(&self, distance: u64) -> Option<u64> {
        let after = self.marks.partition_point(|(from, _)| *from <= distance);
        Some(self.marks[after.checked_sub(1)?].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_job_came_is_known_and_over_a_longer_time_less_exactly() {
        let mut arrivals = Arrivals::default();
        for second in 0..4_000 {
            for job in 0..10 {
                arrivals.came(MIDDLE - 1 - (second * 10 + job), 1_000_000 + second * 1_000 + job * 90);
                arrivals.came(MIDDLE + second * 10 + job, 2_000_000 + second * 1_000);
            }
        }
        for second in [0, 7, 800, 3_999_u64] {
            let left = arrivals.since_ms(MIDDLE - 1 - second * 10).expect("it was noted");
            let right = arrivals.since_ms(MIDDLE + second * 10).expect("it was noted");
            assert!((1_000_000 + second * 1_000).abs_diff(left) <= 16_000, "{second}: {left}");
            assert!((2_000_000 + second * 1_000).abs_diff(right) <= 16_000, "{second}: {right}");
        }
        assert!(arrivals.leftward.marks.len() <= MARKS_MAX);
        let mut late = Arrivals::default();
        late.came(MIDDLE + 100, 5);
        assert_eq!((late.since_ms(MIDDLE + 99), late.since_ms(MIDDLE + 100)), (None, Some(5)));
    }
}
