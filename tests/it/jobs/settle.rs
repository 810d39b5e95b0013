//! Finding out what became of jobs that were in the balance, and comparing everything that the server holds with the model.

use super::steps::Run;
use super::world::{Id, Place, QUEUES, Quarantine, SETS, WORKING, World};
use super::{field, info, number};
use crate::harness::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the server holds, read list by list. A job that the sweeper moves meanwhile is seen in both places: lists are read
/// before quarantines.
struct Found {
    queues: Vec<Vec<Id>>,
    sets: Vec<BTreeSet<Id>>,
    quarantine: BTreeMap<Place, Vec<Id>>,
}

impl Run {
    /// Waits until all sweeps are done, then compares everything.
    pub fn compare(&mut self) {
        let names: Vec<&str> = self.world.rules.iter().map(|rule| rule.name).collect();
        for name in names {
            super::wait_until_swept(&mut self.talk.client, name);
        }
        self.settle(true);
        self.compare_the_rest();
        self.compare_ledger();
    }

    /// Finds out where the jobs in the balance are. If all sweeps are done, none of them may be left where it was.
    pub fn settle(&mut self, swept: bool) {
        let found = self.find();
        let mut moved: BTreeMap<Place, Vec<Id>> = BTreeMap::new();
        for (queue, key) in QUEUES.into_iter().enumerate() {
            self.world.check_list(queue, &found.queues[queue]);
            let standing: BTreeSet<Id> = found.queues[queue].iter().copied().collect();
            let open: Vec<Id> = self.world.queues[queue].list.iter().copied().collect();
            for id in open.into_iter().filter(|id| self.world.is_in_balance(queue, *id)).collect::<Vec<_>>() {
                let matching = self.world.rules.iter().filter(|rule| rule.what.matches(key, &self.world.jobs[id]));
                let takers: Vec<(&'static str, bool)> = matching.map(|rule| (rule.name, rule.drops)).collect();
                let holds =
                    |name: &'static str| found.quarantine.get(&(name, key)).is_some_and(|jobs| jobs.contains(&id));
                if let Some((name, _)) = takers.iter().find(|(name, drops)| !drops && holds(name)) {
                    moved.entry((name, key)).or_default().push(id);
                } else if standing.contains(&id) {
                    let told = self.world.told(queue, &[id]);
                    assert!(!swept, "all sweeps are done, and {told} is still in {key}");
                    continue;
                } else {
                    let told = self.world.told(queue, &[id]);
                    assert!(
                        takers.iter().any(|(_, drops)| *drops),
                        "LOST: {told} is neither in {key} nor in quarantine"
                    );
                }
                self.world.queues[queue].list.retain(|other| *other != id);
            }
        }
        self.settle_sets(&found, &mut moved, swept);
        self.check_quarantine(found.quarantine, &moved);
    }

    fn settle_sets(&mut self, found: &Found, moved: &mut BTreeMap<Place, Vec<Id>>, swept: bool) {
        for (set, key) in SETS.into_iter().enumerate() {
            let ours = self.world.sets[set].clone();
            let strange: Vec<_> = found.sets[set].difference(&ours).collect();
            assert!(strange.is_empty(), "jobs in {key} that should not be there: {strange:?}");
            for id in ours {
                let place = self.world.key_in_set(id);
                let matching = self
                    .world
                    .rules
                    .iter()
                    .filter(|rule| rule.everywhere && rule.what.matches(&place, &self.world.jobs[id]));
                let takers: Vec<(&'static str, bool)> = matching.map(|rule| (rule.name, rule.drops)).collect();
                let holds =
                    |name: &'static str| found.quarantine.get(&(name, key)).is_some_and(|jobs| jobs.contains(&id));
                if let Some((name, _)) = takers.iter().find(|(name, drops)| !drops && holds(name)) {
                    moved.entry((name, key)).or_default().push(id);
                } else if found.sets[set].contains(&id) {
                    // One that came after the rule is caught when it is pushed.
                    let late = self.world.late_in_sets.contains(&id);
                    assert!(!swept || takers.is_empty() || late, "all sweeps are done, and #{id} is still in {key}");
                    continue;
                } else {
                    assert!(
                        takers.iter().any(|(_, drops)| *drops),
                        "LOST: #{id} is neither in {key} nor in quarantine"
                    );
                }
                self.world.sets[set].remove(&id);
                self.world.late_in_sets.remove(&id);
            }
        }
    }

    /// Each quarantine must hold what it held, what was swept into it, and what was caught at pushes; each in its order,
    /// and what was swept before what came later.
    fn check_quarantine(&mut self, mut found: BTreeMap<Place, Vec<Id>>, moved: &BTreeMap<Place, Vec<Id>>) {
        for (place, swept) in moved {
            self.world.quarantine.entry(*place).or_default().swept.extend(swept);
        }
        let holders = self.world.holders();
        for (place, ours) in &mut self.world.quarantine {
            ours.now = found.remove(place).unwrap_or_default();
            let expected: BTreeSet<Id> = ours.known.iter().chain(&ours.caught).chain(&ours.swept).copied().collect();
            let there: BTreeSet<Id> = ours.now.iter().copied().collect();
            assert_eq!(there.len(), ours.now.len(), "the quarantine of {place:?} has a job twice: {:?}", ours.now);
            let strange = there.difference(&expected).map(|id| (id, holders.get(id))).collect::<Vec<_>>();
            assert_eq!(
                there, expected,
                "the quarantine of {place:?}; what should not be there should be in {strange:?}"
            );
            if !SETS.contains(&place.1) {
                ours.check_order(place);
            }
        }
        let strange: Vec<_> = found.iter().filter(|(_, jobs)| !jobs.is_empty()).collect();
        assert!(strange.is_empty(), "quarantines that should not be there: {strange:?}");
    }

    fn find(&mut self) -> Found {
        let world = &self.world;
        let client = &mut self.talk.client;
        let queues =
            QUEUES.map(|key| super::list(client, key).iter().map(|item| world.job_of(item.as_bytes())).collect());
        let mut zset = |key: &str| {
            let reply = client.must(&["ZRANGE", key, "0", "-1", "WITHSCORES"]);
            let pairs = reply.items().chunks(2).map(|pair| {
                let id = world.job_of(pair[0].bytes());
                assert_eq!(pair[1].text(), World::score(id).to_string(), "#{id} keeps its score in {key}");
                id
            });
            pairs.collect::<Vec<_>>()
        };
        let sets = SETS.map(|key| zset(key).into_iter().collect());
        let mut quarantine = BTreeMap::new();
        for name in super::steps::RULE_NAMES {
            for key in SETS {
                quarantine.insert((name, key), zset(&quarantine_key(name, key)));
            }
        }
        for name in super::steps::RULE_NAMES {
            for key in QUEUES {
                let items = super::list(client, &quarantine_key(name, key));
                quarantine.insert((name, key), items.iter().map(|item| world.job_of(item.as_bytes())).collect());
            }
        }
        Found { queues: queues.into(), sets: sets.into(), quarantine }
    }

    /// Working lists, INFO's sums, and that there is no key beside those that the model knows.
    fn compare_the_rest(&mut self) {
        let client = &mut self.talk.client;
        let mut keys: BTreeSet<String> = ["queues", "app:queues"].map(str::to_owned).into();
        for (key, ours) in WORKING.iter().zip(&self.world.working) {
            let ids: Vec<Id> = super::list(client, key).iter().map(|item| self.world.job_of(item.as_bytes())).collect();
            assert_eq!(*ours, ids, "{key}");
            keys.extend((!ours.is_empty()).then(|| (*key).to_owned()));
        }
        for (key, queue) in QUEUES.iter().zip(&self.world.queues) {
            keys.extend((!queue.list.is_empty()).then(|| (*key).to_owned()));
        }
        for (key, set) in SETS.iter().zip(&self.world.sets) {
            keys.extend((!set.is_empty()).then(|| (*key).to_owned()));
        }
        let mut sums: BTreeMap<&str, usize> = self.world.rules.iter().map(|rule| (rule.name, 0)).collect();
        for ((name, key), Quarantine { now, .. }) in &self.world.quarantine {
            keys.extend((!now.is_empty()).then(|| quarantine_key(name, key)));
            *sums.entry(name).or_default() += now.len();
        }
        for (name, sum) in
            sums.into_iter().filter(|(name, sum)| *sum > 0 || self.world.rules.iter().any(|rule| rule.name == *name))
        {
            assert_eq!(number(&info(client, name), "quarantined"), sum as i64, "INFO {name}");
        }
        let there: BTreeSet<String> = client.must(&["KEYS", "*"]).items().iter().map(Value::text).collect();
        assert_eq!(there, keys, "the keys of the database");
    }

    /// In each queue: what came in is what is there, and what became of the rest.
    fn compare_ledger(&mut self) {
        let reply = super::sure(&mut self.talk.client, "JOB.LEDGER BY queue");
        for (key, queue) in QUEUES.iter().zip(&self.world.queues) {
            let row = ledger_row(&reply, key);
            let quarantined = self.world.quarantine.iter().filter(|((_, place), _)| place == key);
            let quarantined: usize = quarantined.map(|(_, quarantine)| quarantine.now.len()).sum();
            let expected = [
                ("in", queue.pushed),
                ("pending", queue.list.len() as i64),
                ("quarantined", quarantined as i64),
                ("popped", queue.popped),
                ("off", 0),
            ];
            for (name, expected) in expected {
                let held = if name == "pending" && !field(&row, "held").is_nil() { number(&row, "held") } else { 0 };
                assert_eq!(number(&row, name) + held, expected, "{name} of {key} in {row:?}");
            }
        }
    }
}

/// The row of a queue in what JOB.LEDGER answers.
pub fn ledger_row(reply: &Value, queue: &str) -> Value {
    let is_it = |row: &&Value| field(row, "queue") == Value::Bulk(queue.as_bytes().to_vec());
    let found = reply.items().iter().find(is_it);
    found.cloned().unwrap_or_else(|| panic!("no row of {queue} in {reply:?}"))
}

pub fn quarantine_key(rule: &str, key: &str) -> String {
    format!("job:quarantine:{rule}:{key}")
}

impl World {
    /// What is in a list must be what the model has, in order; only what is in the balance may be missing.
    pub fn check_list(&self, queue: usize, found: &[Id]) {
        let mut found = found.iter().peekable();
        for id in &self.queues[queue].list {
            if found.next_if_eq(&id).is_none() {
                let told = self.told(queue, &[*id]);
                assert!(self.is_in_balance(queue, *id), "{} lacks {told}, or has it out of order", QUEUES[queue]);
            }
        }
        let strange: Vec<Id> = found.copied().collect();
        assert!(strange.is_empty(), "{} should not have {}", QUEUES[queue], self.told(queue, &strange));
    }
}

impl Quarantine {
    /// A quarantine is in order of arrival: what was swept as it stood in the queue, and what was pushed later behind it.
    fn check_order(&self, place: &Place) {
        let of = |group: &[Id]| self.now.iter().copied().filter(|id| group.contains(id)).collect::<Vec<_>>();
        assert_eq!(of(&self.known), self.known, "the order of what was in the quarantine of {place:?}");
        assert_eq!(of(&self.caught), self.caught, "the order of what was caught in the quarantine of {place:?}");
        let Some(order) = self.order.as_ref().filter(|order| !(order.flipped && order.crashed)) else { return };
        let ranks: Vec<usize> = of(&self.swept).iter().map(|id| order.ranks[id]).collect();
        let is_right = ranks.is_sorted() || (order.flipped && ranks.iter().rev().is_sorted());
        assert!(is_right, "the order of what was swept into the quarantine of {place:?}: {ranks:?}");
        let at = |id: &Id| self.now.iter().position(|other| other == id);
        let (swept, caught) = (self.swept.iter().filter_map(at).max(), self.caught.iter().filter_map(at).min());
        // Behind what an earlier rule of the same name has left, both come as they are found.
        if let (Some(swept), Some(caught), true) = (swept, caught, self.known.is_empty() && is_strict()) {
            assert!(
                swept < caught,
                "in the quarantine of {place:?} a job stands before one that was there before it came"
            );
        }
    }
}

/// `MILLPOND_TEST_JOBS_STRICT=1` also asserts what is known not to hold through every mixture of rules that follow one
/// another under one name, restores, flushes and kills: that what was caught while a sweep went on stands behind all that
/// it found.
fn is_strict() -> bool {
    std::env::var_os("MILLPOND_TEST_JOBS_STRICT").is_some()
}
