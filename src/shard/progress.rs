//! How far a long start is: said once a second, as long as it lasts.

use std::time::Duration;

/// How often it is said.
const EVERY: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub struct Progress {
    began: Duration,
    told: Duration,
}

impl Progress {
    /// Begins at this time of the monotonic clock.
    pub fn begin(now: Duration) -> Progress {
        Progress { began: now, told: now }
    }

    /// Gives how much was done in a second, if it is time to say it.
    pub fn rate(&mut self, now: Duration, done: u64) -> Option<f64> {
        if now.saturating_sub(self.told) < EVERY {
            return None;
        }
        self.told = now;
        Some(done as f64 / (now - self.began).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_second_with_the_rate_since_the_beginning() {
        let at = Duration::from_millis;
        let mut progress = Progress::begin(at(500));
        assert_eq!(progress.rate(at(1499), 10), None);
        assert_eq!(progress.rate(at(1500), 100), Some(100.0));
        assert_eq!(progress.rate(at(2400), 200), None);
        assert_eq!(progress.rate(at(4500), 800), Some(200.0));
    }
}
