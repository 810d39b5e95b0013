//! What the model test does with rules: it makes and ends them, restores and purges what they took.

use super::payload::{CLASSES, TENANTS};
use super::predicate::{Pause, QUEUE_GLOBS, Rule, What};
use super::steps::{RULE_NAMES, Run};
use super::world::{Id, Place, QUEUES, SETS, Weight};
use super::{info, number, settle::quarantine_key};
use crate::harness::Value;
use std::collections::BTreeMap;

/// Rules and pauses in force at once.
const RULES_MAX: usize = 3;
const PAUSES_MAX: usize = 2;

impl Run {
    pub fn add_rule(&mut self) {
        let name = *self.chance.pick(&RULE_NAMES);
        let what = self.any_what();
        let is_taken = self.world.rules.iter().any(|rule| rule.name == name);
        if is_taken || self.world.rules.len() < RULES_MAX {
            let rule = Rule { name, what, drops: self.chance.one_in(5), everywhere: !self.chance.one_in(3) };
            let is_short = self.chance.one_in(5);
            let reply = self.talk.must(&words_of(&rule, is_short));
            assert_eq!(reply.is_error(), is_taken, "a name that is taken is refused: {reply:?}");
            if !is_taken {
                self.world.begin(rule);
            }
            if self.chance.one_in(12) {
                self.crash();
            }
            if is_short && !is_taken {
                self.wait_for_the_end(name);
            }
        }
    }

    /// Puts another rule in the place of one in force: from the reply on only the new one takes jobs.
    pub fn replace_rule(&mut self) {
        if self.world.rules.is_empty() {
            return;
        }
        let at = self.chance.below(self.world.rules.len());
        let name = self.world.rules[at].name;
        let rule =
            Rule { name, what: self.any_what(), drops: self.chance.one_in(5), everywhere: self.chance.one_in(2) };
        self.talk.sure(&[words_of(&rule, false), vec!["REPLACE".to_owned()]].concat());
        // Either of them may have taken what is gone by now, and both put it into the same quarantine.
        let of_rule = self.world.quarantine.iter_mut().filter(|((other, _), _)| *other == name);
        of_rule.for_each(|(_, quarantine)| quarantine.order = None);
        self.world.forget_late(&rule);
        self.world.rules.insert(at + 1, rule);
        self.settle(false);
        self.world.end_at(at);
    }

    /// A rule with a short life ends by itself; nothing is said of the moment, so nothing is done until then.
    fn wait_for_the_end(&mut self, name: &'static str) {
        super::wait_until("the rule ends by itself", || {
            let reply = self.talk.client.must(&["JOB.BLACKHOLE", "INFO", name]);
            reply.is_error() || number(&reply, "in_force") == 0
        });
        self.settle(false);
        self.world.end(name);
    }

    pub fn delete_rule(&mut self) {
        if self.world.rules.is_empty() {
            return;
        }
        let name = self.chance.pick(&self.world.rules).name;
        self.talk.sure(&["JOB.BLACKHOLE", "DEL", name]);
        // From the reply on it takes nothing; what it has taken before, only the server knows.
        self.settle(false);
        self.world.end(name);
    }

    pub fn pause(&mut self) {
        if self.world.pauses.len() == PAUSES_MAX {
            return self.resume();
        }
        let what = What::any_pause(&mut self.chance);
        let words = [vec!["JOB.PAUSE".to_owned()], what.pause_words()].concat();
        let reply = self.talk.must(&words);
        let is_there = self.world.pauses.iter().any(|pause| pause.what.words() == what.words());
        assert_eq!(reply.is_error(), is_there, "{reply:?}");
        if !is_there {
            self.world.pauses.push(Pause { what });
        }
    }

    pub fn resume(&mut self) {
        if self.world.pauses.is_empty() {
            return;
        }
        let at = self.chance.below(self.world.pauses.len());
        let pause = self.world.pauses.remove(at);
        self.talk.sure(&[vec!["JOB.RESUME".to_owned()], pause.what.pause_words()].concat());
    }

    /// Has tenants share some queues, or lets those be served in order again.
    pub fn share(&mut self) {
        let glob = *self.chance.pick(&QUEUE_GLOBS);
        let is_there = self.world.fair.contains(&glob);
        if is_there && self.chance.one_in(2) {
            self.talk.sure(&["JOB.TENANT", "DISABLE", glob]);
            return self.world.fair.retain(|other| *other != glob);
        }
        let reply = self.talk.must(&["JOB.SHUFFLE", glob]);
        assert_eq!(reply.is_error(), is_there, "{reply:?}");
        if !is_there {
            self.world.fair.push(glob);
        }
    }

    /// Has some queues served by slack, or as they are asked again; or gives another class a service level, or none.
    pub fn order(&mut self) {
        if self.chance.one_in(2) {
            let glob = *self.chance.pick(&QUEUE_GLOBS);
            let is_there = self.world.slack.contains(&glob);
            let (words, how) = if is_there { ("DEL", None) } else { ("ORDER", Some("slack")) };
            self.talk.sure(&["JOB.SLO", words, glob].into_iter().chain(how).collect::<Vec<_>>());
            match is_there {
                true => self.world.slack.retain(|other| *other != glob),
                false => self.world.slack.push(glob),
            }
        } else if self.world.level.take().is_some() {
            self.talk.sure(&["JOB.SLO", "DEL", "level"]);
        } else {
            let class = *self.chance.pick(&CLASSES);
            let within = *self.chance.pick(&["1ms", "1s", "1h", "10d"]);
            self.talk.sure(&["JOB.SLO", "SET", "level", "CLASS", class, "WITHIN", within]);
            self.world.level = Some(class);
        }
    }

    pub fn weigh(&mut self) {
        let glob = *self.chance.pick(&QUEUE_GLOBS);
        let tenant = (!self.chance.one_in(4)).then(|| self.chance.below(TENANTS as usize) as u64);
        let weight = *self.chance.pick(&[0.0, 0.5, 1.0, 2.5, 1.0]);
        let name = tenant.map_or("-".to_owned(), |tenant| tenant.to_string());
        self.talk.sure(&["JOB.TENANT", "WEIGHT", glob, &name, &weight.to_string()]);
        match self.world.weights.iter_mut().find(|of| (of.glob, of.tenant) == (glob, tenant)) {
            Some(of) => of.weight = weight,
            None => self.world.weights.push(Weight { glob, tenant, weight }),
        }
    }

    /// Restores some or all jobs of a rule that has ended, and checks that they are where they belong.
    pub fn restore(&mut self) {
        let Some(name) = self.any_quarantine() else { return };
        if self.world.rules.iter().any(|rule| rule.name == name) {
            let reply = self.talk.must(&["JOB.BLACKHOLE", "RESTORE", name]);
            return assert!(matches!(&reply, Value::Error(text) if text.contains(name)), "{reply:?}");
        }
        self.compare();
        let chosen = self.choose(name);
        let wanted: usize = chosen.values().map(Vec::len).sum();
        let (front, count) = (self.chance.one_in(2), self.chance.one_in(2).then(|| 1 + self.chance.below(wanted + 3)));
        let mut words = ["JOB.BLACKHOLE", "RESTORE", name].map(str::to_owned).to_vec();
        words.extend(self.choice.iter().flat_map(What::words));
        words.extend(count.into_iter().flat_map(|count| ["COUNT".to_owned(), count.to_string()]));
        words.extend(["AT".to_owned(), if front { "front" } else { "back" }.to_owned()]);
        let reply = self.talk.must(&words);
        if self.is_refused_rightly(name, &chosen, &reply) {
            return;
        }
        let restored = wanted.min(count.unwrap_or(usize::MAX));
        let left = self.quarantined(name) - restored;
        super::wait_until_quarantined(&mut self.talk.client, name, left);
        self.take_restored(name, &chosen, restored, front);
        self.settle(false);
    }

    /// A restore is refused if a rule would take the jobs again, and names it.
    fn is_refused_rightly(&self, name: &str, chosen: &BTreeMap<Place, Vec<Id>>, reply: &Value) -> bool {
        let takers_of = |key: &str, ids: &[Id]| {
            ids.iter().map(|id| self.world.taker(key, *id).map(|rule| rule.name)).collect::<Vec<_>>()
        };
        if let Value::Error(text) = reply {
            let of_rule = self.world.quarantine.iter().filter(|((rule, _), _)| *rule == name);
            let takers = of_rule.flat_map(|((_, key), quarantine)| takers_of(key, &quarantine.now)).flatten();
            let named = takers.into_iter().any(|taker| text.contains(taker));
            assert!(named, "a restore was refused, and no rule would take the jobs: {text}");
            return true;
        }
        if self.choice.is_some() {
            // What a predicate chooses may be anywhere in the quarantine.
            return false;
        }
        let in_queues = chosen.iter().filter(|((_, key), ids)| !SETS.contains(key) && !ids.is_empty());
        for ((_, key), ids) in in_queues {
            let all_taken = takers_of(key, ids).iter().all(Option::is_some);
            assert!(!all_taken, "a restore to {key} was not refused although a rule takes all the jobs");
        }
        false
    }

    /// Finds which jobs were restored, and puts them where the model has them now.
    fn take_restored(&mut self, name: &'static str, chosen: &BTreeMap<Place, Vec<Id>>, count: usize, front: bool) {
        let mut restored_in_all = 0;
        for (place, chosen) in chosen {
            let left = self.quarantine_now(place);
            let quarantine = self.world.quarantine.get_mut(place).expect("it was chosen from");
            let restored: Vec<Id> = quarantine.now.iter().copied().filter(|id| !left.contains(id)).collect();
            let from_an_end = chosen.starts_with(&restored) || chosen.ends_with(&restored);
            assert!(from_an_end, "of {chosen:?} in {place:?}, {restored:?} were restored");
            quarantine.remove(&restored);
            assert_eq!(quarantine.now, left, "the rest of the quarantine of {place:?} is as it was");
            restored_in_all += restored.len();
            if let Some(set) = SETS.iter().position(|key| *key == place.1) {
                restored.iter().for_each(|id| self.world.put_in_set(set, *id));
                continue;
            }
            let queue = QUEUES.iter().position(|key| *key == place.1).expect("it is a queue");
            let pop_end = self.world.queues[queue].pop_end;
            if front {
                restored.iter().rev().for_each(|id| self.world.put(queue, pop_end, *id));
            } else {
                restored.iter().for_each(|id| self.world.put(queue, pop_end.other(), *id));
            }
            // Rules that take some of them again find them where they stand now.
            if !restored.is_empty() {
                let here = self.world.quarantine.iter_mut().filter(|((_, key), _)| *key == place.1);
                here.for_each(|(_, quarantine)| quarantine.order = None);
            }
        }
        assert_eq!(restored_in_all, count, "jobs restored from {name}");
    }

    /// Deletes some or all jobs of a quarantine for good.
    pub fn purge(&mut self) {
        let Some(name) = self.any_quarantine() else { return };
        self.compare();
        let chosen = self.choose(name);
        let mut words = ["JOB.BLACKHOLE", "PURGE", name].map(str::to_owned).to_vec();
        words.extend(self.choice.iter().flat_map(What::words));
        self.talk.sure(&words);
        let purged: usize = chosen.values().map(Vec::len).sum();
        let left = self.quarantined(name) - purged;
        super::wait_until_quarantined(&mut self.talk.client, name, left);
        for (place, jobs) in &chosen {
            self.world.quarantine.get_mut(place).expect("it was chosen from").remove(jobs);
        }
        self.compare();
    }

    /// A rule, in force or not, that has jobs in quarantine.
    fn any_quarantine(&mut self) -> Option<&'static str> {
        let full = self.world.quarantine.iter().filter(|(_, quarantine)| !quarantine.now.is_empty());
        let names: Vec<&'static str> = full.map(|((name, _), _)| *name).collect();
        (!names.is_empty()).then(|| *self.chance.pick(&names))
    }

    /// Draws a predicate, or none, and gives the jobs of a rule that it chooses.
    fn choose(&mut self, name: &str) -> BTreeMap<Place, Vec<Id>> {
        self.choice = if self.chance.one_in(2) { None } else { Some(self.any_what()) };
        let world = &self.world;
        let of_rule = world.quarantine.iter().filter(|((rule, _), _)| *rule == name);
        let choose = |(place, quarantine): (&Place, &super::world::Quarantine)| {
            let is_chosen = |id: &Id| {
                let key = if SETS.contains(&place.1) { world.key_in_set(*id) } else { place.1.to_owned() };
                self.choice.as_ref().is_none_or(|what| what.matches(&key, &world.jobs[*id]))
            };
            (*place, quarantine.now.iter().copied().filter(is_chosen).collect())
        };
        of_rule.map(choose).collect()
    }

    fn quarantined(&self, name: &str) -> usize {
        let of_rule = self.world.quarantine.iter().filter(|((rule, _), _)| *rule == name);
        of_rule.map(|(_, quarantine)| quarantine.now.len()).sum()
    }

    fn quarantine_now(&mut self, place: &Place) -> Vec<Id> {
        let key = quarantine_key(place.0, place.1);
        let reply = if SETS.contains(&place.1) {
            self.talk.sure(&["ZRANGE", &key, "0", "-1"])
        } else {
            self.talk.sure(&["LRANGE", &key, "0", "-1"])
        };
        self.ids(&reply)
    }

    /// INFO of a rule in force says what it is made of.
    pub fn look_at_rule(&mut self) {
        let Some(rule) = self.world.rules.last().cloned() else { return };
        let reply = info(&mut self.talk.client, rule.name);
        assert_eq!(number(&reply, "in_force"), 1);
        let job = self.new_job();
        let words = [b"JOB.BLACKHOLE", &b"TEST"[..], self.world.payload(job), QUEUES[0].as_bytes()];
        let taker = self.talk.sure(&words);
        let expected = self.world.taker(QUEUES[0], job).map(|rule| rule.name.to_owned());
        assert_eq!((!taker.is_nil()).then(|| taker.text()), expected);
    }
}

/// The command that makes a rule.
fn words_of(rule: &Rule, is_short: bool) -> Vec<String> {
    let mut words = ["JOB.BLACKHOLE", "ADD", rule.name].map(str::to_owned).to_vec();
    words.extend(rule.what.words());
    let mut say = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    say(&["SCOPE", if rule.everywhere { "all" } else { "queues" }]);
    if rule.drops {
        say(&["ACTION", "drop"]);
    }
    if is_short {
        say(&["EXPIRE", "3ms"]);
    }
    words
}
