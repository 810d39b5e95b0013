//! What becomes of jobs that a rule takes out: quarantine, the set of dead jobs, or nothing; and how they are counted.
//!
//! Jobs that were taken are gathered first, then everything that has to be in memory is made sure of, then all is
//! written: the jobs, and the counts of the rule, stand in the same frame as their removal.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::Job;
use crate::keyspace::{Kind, Side, Slot};
use crate::sched::{Action, Taking};

use super::ledger;
use super::unlock::unlock;
use crate::command::{Context, Stop};

/// Jobs of one rule that become dead ones; the libraries keep no more than twice as many and destroy the oldest.
const DEAD_PER_RULE_MAX: u64 = 5_000;

/// Where a job was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Push,
    Sweep,
}

impl Place {
    pub fn name(self) -> &'static str {
        match self {
            Place::Push => "push",
            Place::Sweep => "sweep",
        }
    }
}

/// Jobs from one place, by the rule that takes them. A quarantine is of the kind that the place is of.
pub struct Caught<'a> {
    origin: &'a [u8],
    kind: Kind,
    place: Place,
    by_rule: BTreeMap<u64, OfRule<'a>>,
    len: usize,
}

struct OfRule<'a> {
    name: Arc<str>,
    action: Action,
    unlock: bool,
    items: Vec<(&'a [u8], f64)>,
    quarantine: Option<Slot>,
}

impl<'a> Caught<'a> {
    /// Begins with none, from a list or a sorted set.
    pub fn new(origin: &'a [u8], kind: Kind, place: Place) -> Caught<'a> {
        Caught { origin, kind, place, by_rule: BTreeMap::new(), len: 0 }
    }

    /// Adds a job; one from a sorted set keeps its score.
    pub fn add(&mut self, taking: &Taking, item: &'a [u8], score: f64) {
        let of_rule = || OfRule {
            name: taking.name.clone(),
            action: taking.action,
            unlock: taking.unlock,
            items: Vec::new(),
            quarantine: None,
        };
        self.by_rule.entry(taking.number).or_insert_with(of_rule).items.push((item, score));
        self.len += 1;
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// All of the jobs.
    pub fn items(&self) -> impl Iterator<Item = &'a [u8]> {
        self.by_rule.values().flat_map(|of_rule| of_rule.items.iter().map(|(item, _)| *item))
    }

    /// Makes sure that everything which will be written to is in memory.
    pub fn prepare(&mut self, context: &mut Context) -> Result<(), Stop> {
        for of_rule in self.by_rule.values_mut() {
            let name = quarantine_key(&of_rule.name, self.origin);
            of_rule.quarantine = context.keys.find_kind(&name, self.kind)?;
            if of_rule.action == Action::Dead {
                // Jobs of two libraries may stand in one list.
                for has_jid in [true, false] {
                    let mut items = of_rule.items.iter();
                    if let Some((item, _)) = items.find(|(item, _)| Job::new(item).has_jid() == has_jid) {
                        let (dead, kind) = dead_place(self.origin, item);
                        context.keys.find_kind(&dead, kind)?;
                    }
                }
            }
            if of_rule.unlock {
                super::unlock::prepare(context)?;
            }
        }
        Ok(())
    }

    /// Writes the jobs to where they go, in their order, and counts them. `side` is where in the quarantine they go.
    pub fn apply(self, context: &mut Context, side: Side) -> Result<(), Stop> {
        for of_rule in self.by_rule.into_values() {
            of_rule.apply(context, self.origin, self.kind, self.place, side)?;
        }
        Ok(())
    }
}

impl OfRule<'_> {
    fn apply(self, context: &mut Context, origin: &[u8], kind: Kind, place: Place, side: Side) -> Result<(), Stop> {
        let database = context.keys.selected();
        let mut tally = ledger::Tally::new(&self.name, database);
        let count = self.items.len() as u64;
        tally.add(place.name(), count);
        tally.add_in("from", origin, count);
        if place == Place::Push {
            tally.add_in("pushed", origin, count);
        }
        let mut gone = 0;
        match self.action {
            Action::Quarantine => {}
            Action::Drop => {
                gone = self.items.len();
                tally.add("dropped", count);
                tally.add_in("dropped", origin, count);
            }
            Action::Dead => {
                let room = DEAD_PER_RULE_MAX.saturating_sub(ledger::count_of(context, &self.name, "dead"));
                gone = room.min(count) as usize;
                bury(context, origin, &self.items[..gone])?;
                tally.add("dead", gone as u64);
                tally.add_in("dead", origin, gone as u64);
            }
        }
        let (gone, kept) = self.items.split_at(gone);
        if self.unlock {
            for (item, _) in gone {
                unlock(context, &Job::new(item))?;
            }
        }
        if !kept.is_empty() {
            let name = quarantine_key(&self.name, origin);
            let slot = match self.quarantine {
                Some(slot) => slot,
                None => context.keys.create(&name, kind)?,
            };
            match kind {
                Kind::Zset => context.keys.put_scores(slot, kept)?,
                _ => {
                    context.keys.push(slot, side, &kept.iter().map(|(item, _)| *item).collect::<Vec<_>>())?;
                }
            }
            tally.add("bytes", kept.iter().map(|(item, _)| item.len() as u64).sum());
        }
        tally.touch(context.keys.now_ms());
        tally.write(context)
    }
}

/// The list that holds what a rule has taken from a place.
pub fn quarantine_key(rule: &str, origin: &[u8]) -> Vec<u8> {
    [b"job:quarantine:", rule.as_bytes(), b":", origin].concat()
}

/// Where the library that a job belongs to keeps dead jobs.
fn dead_place(origin: &[u8], payload: &[u8]) -> (Vec<u8>, Kind) {
    let (namespace, _) = crate::job::namespace_of(origin);
    match Job::new(payload).has_jid() {
        true => ([namespace, &b"dead"[..]].concat(), Kind::Zset),
        false => ([namespace, &b"failed"[..]].concat(), Kind::List),
    }
}

/// Puts jobs where the library that they belong to keeps dead ones.
fn bury(context: &mut Context, origin: &[u8], items: &[(&[u8], f64)]) -> Result<(), Stop> {
    let now_s = context.keys.now_ms() as f64 / 1000.0;
    let queue = crate::job::namespace_of(origin).1.to_vec();
    for (item, _) in items {
        let (key, kind) = dead_place(origin, item);
        let slot = context.keys.find_or_create(&key, kind)?;
        match kind {
            Kind::Zset => context.keys.put_scores(slot, &[(item, now_s)])?,
            _ => {
                let failed = failed_in_resque(&queue, item, now_s);
                context.keys.push(slot, Side::Right, &[failed.as_bytes()])?;
            }
        }
    }
    Ok(())
}

/// A failure as Resque's own backend writes it.
fn failed_in_resque(queue: &[u8], payload: &[u8], now_s: f64) -> String {
    let payload = serde_json::from_slice::<serde_json::Value>(payload)
        .unwrap_or_else(|_| String::from_utf8_lossy(payload).into_owned().into());
    serde_json::json!({
        "failed_at": resque_time(now_s as u64),
        "payload": payload,
        "exception": "Millpond::Blackhole",
        "error": "taken out by a rule",
        "backtrace": [],
        "worker": "millpond",
        "queue": String::from_utf8_lossy(queue),
    })
    .to_string()
}

/// A time as Resque writes it: `2026/11/25 19:00:00 UTC`. Days to dates as in Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms".
fn resque_time(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let from_march = days + 719_468;
    let (era, day_of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::resque_time;

    #[test]
    fn times_are_as_resque_writes_them() {
        assert_eq!(resque_time(0), "1970/01/01 00:00:00 UTC");
        assert_eq!(resque_time(1_709_210_096), "2024/02/29 12:34:56 UTC");
        assert_eq!(resque_time(1_795_291_989), "2026/11/21 20:13:09 UTC");
    }
}
