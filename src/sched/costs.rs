//! What jobs cost in worker time, as far as it was measured: by tenant and class, for queues that are shared by run time. Pure.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::xxh3_64;

/// Pairs of tenant and class of one queue that are remembered; beyond them the oldest is forgotten.
const KNOWN_MAX: usize = 10_000;
/// How much the newest run counts in an average.
const NEWEST: f32 = 0.1;
/// A run is taken for this long at least, so that nothing is free, and before any was measured.
const LEAST_MS: f32 = 1.0;

/// Whose job it is, and what was charged for it when it went out.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    pub tenant: Box<str>,
    /// A hash of the class.
    pub class: u64,
    pub estimate_ms: f32,
}

/// The costs of one queue.
#[derive(Debug, Default)]
pub struct Costs {
    known: HashMap<(u64, u64), f32>,
    order: VecDeque<(u64, u64)>,
    /// Of all runs, the last ones most.
    mean_ms: Option<f32>,
}

impl Costs {
    pub fn class_of(class: Option<&str>) -> u64 {
        class.map_or(0, |class| xxh3_64(class.as_bytes()))
    }

    /// What a job will probably take.
    pub fn estimate_ms(&self, tenant: &str, class: u64) -> f32 {
        let known = self.known.get(&(xxh3_64(tenant.as_bytes()), class)).copied();
        known.or(self.mean_ms).unwrap_or(LEAST_MS)
    }

    /// What an average job takes.
    pub fn mean_ms(&self) -> f32 {
        self.mean_ms.unwrap_or(LEAST_MS)
    }

    /// Notes how long a job has run; answers by how much that is more than was charged.
    pub fn ran(&mut self, account: &Account, ms: f32) -> f32 {
        let ms = ms.max(LEAST_MS);
        let key = (xxh3_64(account.tenant.as_bytes()), account.class);
        if !self.known.contains_key(&key) {
            if self.order.len() == KNOWN_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            self.order.push_back(key);
        }
        let known = self.known.entry(key).or_insert(ms);
        *known += (ms - *known) * NEWEST;
        let mean = self.mean_ms.get_or_insert(ms);
        *mean += (ms - *mean) * NEWEST;
        ms - account.estimate_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_measured_is_expected_again_and_the_difference_is_owed() {
        let mut costs = Costs::default();
        let account = |tenant: &str, estimate_ms| Account { tenant: tenant.into(), class: 1, estimate_ms };
        assert_eq!(costs.estimate_ms("a", 1), LEAST_MS);
        costs.ran(&account("a", LEAST_MS), 100.0);
        assert_eq!((costs.estimate_ms("a", 1), costs.estimate_ms("b", 1)), (100.0, 100.0));
        assert_eq!(costs.mean_ms(), 100.0);
        let owed = costs.ran(&account("b", 100.0), 300.0);
        assert_eq!(owed, 200.0);
        assert_eq!((costs.estimate_ms("a", 1), costs.estimate_ms("b", 1)), (100.0, 300.0));
        for tenant in 0..KNOWN_MAX {
            costs.ran(&account(&tenant.to_string(), 1.0), 50.0);
        }
        assert_eq!(costs.known.len(), KNOWN_MAX);
        assert!((costs.estimate_ms("a", 1) - 50.0).abs() < 1.0, "it was forgotten, and is as all are");
    }
}
