//! A rate that finds itself: it grows while all goes well and is cut when the target refuses. Pure: moments are handed in.
//!
//! Additive increase and multiplicative decrease, with the increase of CUBIC (Ha, Rhee and Xu, 2008; RFC 9438) and a decrease to
//! what was seen to get through. After a cut the rate comes back quickly to just below what the target took last, stays
//! around there for seconds, and then looks further and further beyond, so that a target that recovers is soon used in full.
//! It grows only while the limit hears of its jobs; who hears nothing does not know that all is well.

/// The part of what got through with which it goes on after a cut.
const AFTER_A_CUT: f64 = 0.85;
/// How fast the cubic grows, in parts of the last known rate a cubed second: five times as much is found in 17 seconds.
const GROWTH: f64 = 0.002;
/// A cut follows another no earlier: what was begun before the first tells nothing of the rate after it.
const CUTS_APART_NS: u64 = 500_000_000;
/// The window in which begun and failed jobs are compared.
const WINDOW_NS: u64 = 2_000_000_000;
/// A smaller part of failures is what always goes wrong.
const FAILURES_MIN: f64 = 0.02;
/// So many jobs that went well are assumed, so that one failure of few is not the end of all.
const UNSEEN: f64 = 5.0;
/// One cut never leaves less than this part.
const LEFT_MIN: f64 = 0.1;
/// A limit that has heard of its jobs counts as hearing for so long.
const HEARS_NS: u64 = 25_000_000_000;

/// See the module. Rates are jobs in the time that the limit names.
#[derive(Debug, Clone)]
pub struct Adaptive {
    /// What the target took last, and when the rate began to grow from below it.
    known: f64,
    grows_since_ns: u64,
    /// Its rate then.
    from: f64,
    cut_ns: u64,
    heard_ns: u64,
    window_ns: u64,
    begun: f64,
    failed: f64,
}

/// What it does at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// At its maximum.
    Open,
    /// It was cut, and is below what the target took last.
    BackingOff,
    /// It looks for more.
    Probing,
    /// It hears nothing of its jobs, and stays where it is.
    Deaf,
}

impl Adaptive {
    pub fn new(rate: f64, now_ns: u64) -> Adaptive {
        Adaptive {
            known: rate,
            from: rate,
            grows_since_ns: now_ns,
            cut_ns: 0,
            heard_ns: 0,
            window_ns: now_ns,
            begun: 0.0,
            failed: 0.0,
        }
    }

    /// The rate now.
    pub fn rate(&self, min: f64, max: f64, now_ns: u64) -> f64 {
        // It stands still where it hears nothing.
        let until_ns = now_ns.min(self.heard_ns + HEARS_NS).max(self.grows_since_ns);
        let seconds = (until_ns - self.grows_since_ns) as f64 / 1e9;
        let back = ((1.0 - self.from / self.known) / GROWTH).max(0.0).cbrt();
        let rate = self.known * (1.0 + GROWTH * (seconds - back).powi(3));
        rate.clamp(min, max)
    }

    pub fn phase(&self, min: f64, max: f64, now_ns: u64) -> Phase {
        let rate = self.rate(min, max, now_ns);
        if rate >= max {
            Phase::Open
        } else if now_ns > self.heard_ns + HEARS_NS {
            Phase::Deaf
        } else if rate < self.known {
            Phase::BackingOff
        } else {
            Phase::Probing
        }
    }

    fn open_window(&mut self, now_ns: u64) {
        if now_ns >= self.window_ns + WINDOW_NS {
            // Half of what was counted still counts, so that a window that has just begun knows something.
            (self.begun, self.failed) = (self.begun / 2.0, self.failed / 2.0);
            self.window_ns = now_ns;
        }
    }

    /// Notes that jobs have begun.
    pub fn began(&mut self, jobs: f64, now_ns: u64) {
        self.open_window(now_ns);
        self.begun += jobs;
    }

    /// Notes that something was heard of its jobs.
    pub fn hears(&mut self, now_ns: u64) {
        if now_ns > self.heard_ns + HEARS_NS {
            // What time has passed without a word is no reason to grow.
            let idle_ns = now_ns - (self.heard_ns + HEARS_NS).max(self.grows_since_ns);
            self.grows_since_ns += idle_ns.min(now_ns - self.grows_since_ns);
        }
        self.heard_ns = now_ns;
    }

    /// Notes failures of jobs that have begun.
    pub fn failed(&mut self, jobs: f64, min: f64, max: f64, now_ns: u64) {
        self.hears(now_ns);
        self.open_window(now_ns);
        self.failed += jobs;
        let part = self.failed / (self.begun.max(self.failed) + UNSEEN);
        if part < FAILURES_MIN || now_ns < self.cut_ns + CUTS_APART_NS {
            return;
        }
        let got_through = (self.rate(min, max, now_ns) * (1.0 - part).max(LEFT_MIN)).max(min);
        (self.known, self.from) = (got_through, (got_through * AFTER_A_CUT).max(min));
        (self.grows_since_ns, self.cut_ns, self.window_ns) = (now_ns, now_ns, now_ns);
        (self.begun, self.failed) = (0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A target that takes so many jobs a second, by a token bucket of a tenth of a second.
    struct Target {
        tokens: f64,
    }

    impl Target {
        fn takes(&mut self) -> bool {
            let takes = self.tokens >= 1.0;
            self.tokens -= f64::from(u8::from(takes));
            takes
        }
    }

    /// Runs minutes in which the capacity changes; gives of each: the part used, that of its last 30 s, the part that failed, and
    /// when nine tenths were reached first.
    fn minutes(capacities: &[f64], hears_successes: bool) -> Vec<[f64; 4]> {
        let mut adaptive = Adaptive::new(100.0, 0);
        let (min, max) = (1.0, 1_000.0);
        let (mut target, mut owed) = (Target { tokens: 0.0 }, 0.0);
        // What was begun ends 100 ms later.
        let mut running = std::collections::VecDeque::new();
        let mut figures = Vec::new();
        for (minute, capacity) in capacities.iter().enumerate() {
            let (mut took, mut took_late, mut failed, mut full_at) = (0.0, 0.0, 0.0, 60.0);
            let mut second = 0.0;
            for ms in 0..60_000u64 {
                let now_ns = (minute as u64 * 60_000 + ms) * MS;
                target.tokens = (target.tokens + capacity / 1000.0).min((capacity / 10.0).max(1.0));
                owed += adaptive.rate(min, max, now_ns) / 1000.0;
                while owed >= 1.0 {
                    owed -= 1.0;
                    adaptive.began(1.0, now_ns);
                    running.push_back((now_ns + 100 * MS, target.takes()));
                }
                while running.front().is_some_and(|(at, _)| *at <= now_ns) {
                    let (_, went_well) = running.pop_front().expect("it was just seen");
                    if went_well {
                        took += 1.0;
                        second += 1.0;
                        took_late += f64::from(u8::from(ms >= 30_000));
                        if hears_successes {
                            adaptive.hears(now_ns);
                        }
                    } else {
                        failed += 1.0;
                        adaptive.failed(1.0, min, max, now_ns);
                    }
                }
                if ms % 10_000 == 0 {
                    // A heartbeat.
                    adaptive.hears(now_ns);
                }
                if ms % 1_000 == 999 {
                    if second >= 0.9 * capacity && full_at == 60.0 {
                        full_at = ms as f64 / 1000.0;
                    }
                    second = 0.0;
                }
            }
            figures.push([took / (60.0 * capacity), took_late / (30.0 * capacity), failed / (took + failed), full_at]);
        }
        figures
    }

    #[test]
    fn a_target_whose_capacity_changes_is_used_nearly_in_full_and_seldom_refuses() {
        for hears_successes in [true, false] {
            let figures = minutes(&[100.0, 20.0, 100.0, 500.0, 100.0, 20.0, 100.0], hears_successes);
            let (mut used, mut failed) = (0.0, 0.0);
            for [all, late, failures, full_at] in &figures {
                assert!(*late >= 0.9 && *full_at <= 20.0, "{figures:?}");
                used += all;
                failed += failures;
            }
            let count = figures.len() as f64;
            assert!(used / count >= 0.8 && failed / count <= 0.03, "{figures:?}");
        }
    }

    #[test]
    fn it_stands_still_while_it_hears_nothing() {
        let mut adaptive = Adaptive::new(100.0, 0);
        adaptive.hears(0);
        let heard = adaptive.rate(1.0, 10_000.0, HEARS_NS);
        assert!(heard > 100.0);
        assert_eq!(adaptive.rate(1.0, 10_000.0, 100 * HEARS_NS), heard);
        assert_eq!(adaptive.phase(1.0, 10_000.0, 100 * HEARS_NS), Phase::Deaf);
        adaptive.hears(100 * HEARS_NS);
        let again = adaptive.rate(1.0, 10_000.0, 100 * HEARS_NS + MS);
        assert!((again / heard - 1.0).abs() < 0.01, "it goes on from there: {heard}, {again}");
    }

    #[test]
    fn a_dead_target_is_asked_now_and_then_and_what_always_fails_is_no_reason_to_cut() {
        let (mut adaptive, min) = (Adaptive::new(100.0, 0), 2.0);
        for ms in 0..10_000 {
            adaptive.began(0.1, ms * MS);
            adaptive.failed(0.1, min, 100.0, ms * MS);
        }
        assert!(adaptive.rate(min, 100.0, 10_000 * MS) <= min * 1.1);
        let mut adaptive = Adaptive::new(100.0, 0);
        for ms in 0..10_000 {
            adaptive.began(0.1, ms * MS);
            if ms % 1_000 == 999 {
                adaptive.failed(1.0, min, 100.0, ms * MS);
            }
        }
        assert_eq!(adaptive.phase(min, 100.0, 10_000 * MS), Phase::Open, "one of a hundred fails");
    }
}
