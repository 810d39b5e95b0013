//! Slack order: of jobs with different service levels, the one that has used most of its time is next. Pure.
//!
//! While every level is kept that is least slack first (Mok, 1983), measured in parts of what each is promised. In overload,
//! when some job has nearly waited as long as it was promised, no order keeps all promises: what is served is then shared by
//! weight, by start-time fair queueing (Goyal, Vin and Cheng, 1996), but the tightest level goes first when it is pressed, as
//! far as that leaves something for the others. And a level that has waited for [`STARVED_MS`] has a turn, whatever the others
//! need.

use std::collections::HashMap;

use super::lanes::LevelId;

/// A job without a service level is served as if this was promised.
pub const WITHIN_DEFAULT_MS: u64 = 60 * 60 * 1000;
/// A level that has jobs and was not served for so long is next.
const STARVED_MS: u64 = 5_000;
/// What the most urgent job has used of its time when not all can be kept.
const OVERLOADED: f64 = 0.9;
/// What the tightest level has used of its time when it goes first in overload, and the part of what is served that it may
/// have so; of the last jobs each counts as much.
const PRESSED: f64 = 0.5;
const TIGHTEST_PART: f64 = 0.8;
const NEWEST: f64 = 0.02;
/// A level is one of those that the tightest is looked for among for so long after it was served last.
const KNOWN_MS: u64 = 60_000;
/// Overload lasts so long after such a job was seen.
const OVERLOADED_MS: u64 = 1_000;
/// Levels whose accounts are kept.
const ACCOUNTS_MAX: usize = 1_024;

/// What jobs of a service level are promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    pub id: LevelId,
    /// A job begins before it has waited so long.
    pub within_ms: u64,
    /// Relative to 1.
    pub weight: f64,
}

/// The next job of a level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub level: Level,
    /// Unix milliseconds from when on it has waited.
    pub since_ms: u64,
}

/// How the levels of one database have been served.
#[derive(Debug, Default, Clone)]
pub struct Slack {
    accounts: HashMap<LevelId, Account>,
    /// The start tag of what was served last.
    virtual_time: f64,
    /// Of the jobs that were served last, the part that were of the tightest level.
    part_of_tightest: f64,
    /// The level that was chosen last because it is pressed: that costs it nothing of its share.
    pressed: Option<LevelId>,
    /// When some job was seen last that has waited nearly too long.
    overloaded_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    /// Its next start tag.
    tag: f64,
    served_ms: u64,
    within_ms: u64,
}

impl Candidate {
    /// How much of its time a job has used, 1 for all of it.
    pub fn used(&self, now_ms: u64) -> f64 {
        now_ms.saturating_sub(self.since_ms) as f64 / self.level.within_ms.max(1) as f64
    }
}

impl Slack {
    /// The index of the one that is next.
    pub fn choose(&mut self, candidates: &[Candidate], now_ms: u64) -> Option<usize> {
        let waited_ms = |of: &Candidate| {
            let served_ms = self.accounts.get(&of.level.id).map_or(0, |account| account.served_ms);
            now_ms.saturating_sub(of.since_ms.max(served_ms))
        };
        let longest = (0..candidates.len()).max_by_key(|at| waited_ms(&candidates[*at]))?;
        let used = |at: &usize| candidates[*at].used(now_ms);
        let most_used = (0..candidates.len()).max_by(|a, b| used(a).total_cmp(&used(b)).then(b.cmp(a)))?;
        self.pressed = None;
        if used(&most_used) >= OVERLOADED {
            self.overloaded_ms = Some(now_ms);
        }
        if !self.is_overloaded(now_ms) {
            return Some(most_used);
        }
        if waited_ms(&candidates[longest]) >= STARVED_MS {
            return Some(longest);
        }
        let tightest_ms = self.tightest_ms(now_ms);
        let tightest = (0..candidates.len()).min_by_key(|at| candidates[*at].level.within_ms)?;
        if candidates[tightest].level.within_ms <= tightest_ms
            && used(&tightest) >= PRESSED
            && self.part_of_tightest < TIGHTEST_PART
        {
            self.pressed = Some(candidates[tightest].level.id);
            return Some(tightest);
        }
        let tag = |at: &usize| self.tag(candidates[*at].level.id);
        (0..candidates.len()).min_by(|a, b| tag(a).total_cmp(&tag(b)).then(used(b).total_cmp(&used(a))))
    }

    /// What the tightest of the levels that were served lately is promised.
    fn tightest_ms(&self, now_ms: u64) -> u64 {
        let known = self.accounts.values().filter(|account| now_ms.saturating_sub(account.served_ms) < KNOWN_MS);
        known.map(|account| account.within_ms).min().unwrap_or(u64::MAX)
    }

    fn tag(&self, level: LevelId) -> f64 {
        self.accounts.get(&level).map_or(self.virtual_time, |account| account.tag.max(self.virtual_time))
    }

    /// Notes that a job of a level was handed out.
    pub fn served(&mut self, level: Level, now_ms: u64) {
        let start = self.tag(level.id);
        let is_tightest = if level.within_ms <= self.tightest_ms(now_ms) { 1.0 } else { 0.0 };
        self.part_of_tightest += (is_tightest - self.part_of_tightest) * NEWEST;
        let is_overloaded = self.is_overloaded(now_ms) && self.pressed != Some(level.id);
        if is_overloaded {
            self.virtual_time = start;
        }
        if self.accounts.len() >= ACCOUNTS_MAX && !self.accounts.contains_key(&level.id) {
            // Those that are not served any more owe nothing.
            self.accounts.retain(|_, account| now_ms.saturating_sub(account.served_ms) < KNOWN_MS);
            if self.accounts.len() >= ACCOUNTS_MAX {
                self.accounts.clear();
            }
        }
        // Nobody owes more than one job for what it had while the others had all they needed.
        let tag = if is_overloaded { start } else { self.virtual_time } + 1.0 / level.weight;
        self.accounts.insert(level.id, Account { tag, served_ms: now_ms, within_ms: level.within_ms });
    }

    /// Takes over what was seen on trial.
    pub fn sees(&mut self, tried: &Slack) {
        self.overloaded_ms = self.overloaded_ms.max(tried.overloaded_ms);
        self.pressed = tried.pressed;
    }

    /// Tells whether not every promise can be kept. Who looks at some of the jobs only goes by what was seen of the others.
    pub fn is_overloaded(&self, now_ms: u64) -> bool {
        self.overloaded_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < OVERLOADED_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const TIGHT: Level = Level { id: 1, within_ms: 2_000, weight: 1.0 };
    const HEAVY: Level = Level { id: 2, within_ms: 20_000, weight: 2.0 };
    const LIGHT: Level = Level { id: 3, within_ms: 40_000, weight: 1.0 };

    #[test]
    fn what_has_used_most_of_its_time_is_next() {
        let mut slack = Slack::default();
        let candidate = |level, since_ms| Candidate { level, since_ms };
        let now_ms = 100_000;
        let all = [candidate(TIGHT, 99_000), candidate(HEAVY, 89_000), candidate(LIGHT, 82_000)];
        assert_eq!(slack.choose(&all, now_ms), Some(1), "50 %, 55 %, 45 %");
        assert_eq!(slack.choose(&all[..1], now_ms), Some(0));
        assert_eq!(slack.choose(&[], now_ms), None);
        let same = [candidate(HEAVY, 90_000), candidate(HEAVY, 90_000)];
        assert_eq!(slack.choose(&same, now_ms), Some(0), "as asked");
    }

    /// Serves one job each millisecond while so many of each level come in a second; gives what each was served in the last
    /// half, the most that the tightest has used, and the longest time without service.
    fn overload(rates: [u64; 3], seconds: u64) -> ([u64; 3], f64, u64) {
        let levels = [TIGHT, HEAVY, LIGHT];
        let mut slack = Slack::default();
        let mut queues: [VecDeque<u64>; 3] = Default::default();
        let (mut served, mut most, mut last, mut longest) = ([0; 3], 0.0_f64, [0; 3], 0);
        for now_ms in 1..seconds * 1000 {
            for (queue, rate) in queues.iter_mut().zip(rates) {
                (now_ms * rate / 1000..(now_ms + 1) * rate / 1000).for_each(|_| queue.push_back(now_ms));
            }
            let waiting: Vec<usize> = (0..3).filter(|at| !queues[*at].is_empty()).collect();
            let heads: Vec<Candidate> =
                waiting.iter().map(|at| Candidate { level: levels[*at], since_ms: queues[*at][0] }).collect();
            let Some(chosen) = slack.choose(&heads, now_ms) else { continue };
            let at = waiting[chosen];
            queues[at].pop_front();
            slack.served(levels[at], now_ms);
            if let Some(head) = queues[0].front() {
                most = most.max(Candidate { level: TIGHT, since_ms: *head }.used(now_ms));
            }
            longest = longest.max(now_ms - last[at]);
            last[at] = now_ms;
            served[at] += u64::from(now_ms > seconds * 500);
        }
        (served, most, longest)
    }

    #[test]
    fn in_overload_the_tightest_is_kept_and_the_others_share_by_weight() {
        for rates in [[200, 600, 400], [600, 500, 300], [20, 800, 380]] {
            let (served, most, longest) = overload(rates, 200);
            assert!(most <= 1.0, "{rates:?}: the tightest has used {most}");
            assert!(longest < 10_000, "{rates:?}: one was not served for {longest} ms");
            let share = served[1] as f64 / (served[1] + served[2]) as f64;
            assert!((share - 2.0 / 3.0).abs() < 0.067, "{rates:?}: {share} of the others is the heavy one's");
        }
    }

    #[test]
    fn a_level_that_asks_for_more_than_there_is_starves_nobody() {
        let (served, _, longest) = overload([2_000, 100, 100], 100);
        assert!(longest < 10_000 && served.iter().all(|jobs| *jobs >= 10), "{served:?}, {longest} ms");
    }
}
