//! Jobs that have left a list or sorted set lately. A push of one of them is no new job: a worker hands it back, a scheduler
//! moves it, a rescue brings it home, and it has to be taken even where new jobs are refused.
//!
//! They are remembered only while something may be refused, by their ids, and those that tell none by class and arguments.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::job::Job;

use super::Keyspace;
use super::effect::Effect;
use super::list::{List, Side};
use super::value::Value;

/// How long a job that has left counts as on its way.
const WINDOW_MS: u64 = 60_000;
/// Items that one effect is looked at for: a hand-back is of a job or a few.
const ITEMS_MAX: usize = 1024;

/// How much room the disk has, as far as commands are concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disk {
    #[default]
    Roomy,
    /// Less is free than is kept in reserve: new jobs and large values are refused.
    Low,
    /// The reserve itself is nearly used up.
    Scarce,
}

/// See the module.
#[derive(Debug)]
pub struct Handbacks {
    /// New jobs may be refused, so that jobs which leave are remembered.
    pub active: bool,
    /// The most that are remembered; the oldest goes first.
    pub ids_max: usize,
    /// When each left last, in Unix milliseconds.
    known: HashMap<u64, u64, BuildHasherDefault<Identity>>,
    /// The same in order, where some stand that left again since.
    order: VecDeque<(u64, u64)>,
}

/// What is hashed is a hash already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only numbers are hashed");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

impl Default for Handbacks {
    fn default() -> Handbacks {
        Handbacks { active: false, ids_max: 1_000_000, known: HashMap::default(), order: VecDeque::new() }
    }
}

impl Handbacks {
    /// Tells whether a job left lately.
    pub fn is_one(&self, payload: &[u8], now_ms: u64) -> bool {
        self.known.get(&Job::new(payload).identity()).is_some_and(|at_ms| at_ms + WINDOW_MS >= now_ms)
    }

    /// Looks at a change that may let jobs leave, before it is made.
    pub(super) fn see(&mut self, value: &Value, effect: &Effect, now_ms: u64) {
        match (effect, value) {
            (Effect::Pop { side, count, .. } | Effect::Trim { side, count, .. }, Value::List(list)) => {
                see_end(list, *side, *count, |item| self.note(item, now_ms));
            }
            (Effect::TakeItems { ordinals, .. } | Effect::RemoveItems { ordinals, .. }, Value::List(list)) => {
                for ordinal in ordinals.iter().take(ITEMS_MAX) {
                    if let Some(item) = list.item(*ordinal) {
                        self.note(item, now_ms);
                    }
                }
            }
            // The last of a set goes with its key.
            (Effect::Delete { .. }, Value::Zset(zset)) => {
                zset.iter_from_rank(0).take(ITEMS_MAX).for_each(|(name, _)| self.note(name, now_ms));
            }
            (Effect::RemoveNames { names, .. }, Value::Zset(_)) => {
                names.iter().take(ITEMS_MAX).for_each(|name| self.note(name, now_ms));
            }
            _ => {}
        }
    }

    fn note(&mut self, payload: &[u8], now_ms: u64) {
        while self.order.len() >= self.ids_max.max(1)
            || self.order.front().is_some_and(|(at_ms, _)| at_ms + WINDOW_MS < now_ms)
        {
            let Some((at_ms, oldest)) = self.order.pop_front() else { break };
            if self.known.get(&oldest) == Some(&at_ms) {
                self.known.remove(&oldest);
            }
        }
        let id = Job::new(payload).identity();
        self.known.insert(id, now_ms);
        self.order.push_back((now_ms, id));
    }

    /// Forgets all, where nothing is refused any more.
    pub fn clear(&mut self) {
        self.known = HashMap::default();
        self.order = VecDeque::new();
    }
}

/// Jobs that a transaction takes out itself. What it pushes of them is moved: resque-scheduler queues a moment's jobs and
/// then trims the moment's list, in one.
#[derive(Debug, Default)]
pub struct Leaving(HashSet<u64, BuildHasherDefault<Identity>>);

impl Leaving {
    pub fn add(&mut self, payload: &[u8]) {
        if self.0.len() < ITEMS_MAX {
            self.0.insert(Job::new(payload).identity());
        }
    }

    pub fn has(&self, payload: &[u8]) -> bool {
        !self.0.is_empty() && self.0.contains(&Job::new(payload).identity())
    }
}

impl Keyspace {
    /// Adds jobs at one end of a list, as far as they are in memory.
    pub fn add_leaving(&self, key: &[u8], side: Side, count: u64, leaving: &mut Leaving) {
        let Some(slot) = self.lookup(self.database, key) else { return };
        if let Value::List(list) = &self.objects[slot].value {
            see_end(list, side, count, |item| leaving.add(item));
        }
    }
}

fn see_end(list: &List, side: Side, count: u64, mut see: impl FnMut(&[u8])) {
    let mut left = count.min(ITEMS_MAX as u64);
    for chunk in list.chunks_from(side, None) {
        if left == 0 || chunk.missing().is_some() {
            return;
        }
        for (_, item) in chunk.items().take(left as usize) {
            see(item);
            left -= 1;
        }
    }
}
