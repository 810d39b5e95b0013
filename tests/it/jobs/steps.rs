//! What the model test does, one small thing at a time, each checked against the model.

use super::payload::Job;
use super::predicate::What;
use super::world::{Id, Leased, QUEUES, SETS, Side, WORKING, World};
use crate::harness::{Chance, Client, Server, Value};
use std::collections::VecDeque;

/// The names that rules get, each again and again.
pub const RULE_NAMES: [&str; 4] = ["imp", "bad deploy", "one customer", "r4"];
/// Commands that a failure shows.
const HISTORY_MAX: usize = 40;
/// What BRPOP waits, so that an empty queue costs little.
const BLOCK_SECONDS: &str = "0.01";

const POP_SCRIPT: &str = "local out = {} \
    for i = 1, tonumber(ARGV[2]) do \
        local job = redis.call(ARGV[1], KEYS[1]) \
        if not job then break end \
        out[i] = job \
    end return out";
/// What Sidekiq's scheduler runs.
const DUE_SCRIPT: &str = "local jobs = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'byscore', 'limit', 0, 1) \
    if jobs[1] then redis.call('zrem', KEYS[1], jobs[1]) return jobs[1] end";

/// A server, its model, and what is done to both.
pub struct Run {
    pub server: Server,
    pub talk: Talk,
    pub chance: Chance,
    pub world: World,
    /// What the last restore or purge was for; none for everything.
    pub choice: Option<What>,
    next_number: u64,
}

/// A connection that remembers what was said last.
pub struct Talk {
    pub client: Client,
    history: VecDeque<(Vec<Vec<u8>>, Value)>,
}

impl Talk {
    pub fn must<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Value {
        let reply = self.client.must(words);
        self.note(words.iter().map(|word| word.as_ref().to_vec()).collect(), reply.clone());
        reply
    }

    /// The same, where an error is a failure.
    pub fn sure<A: AsRef<[u8]>>(&mut self, words: &[A]) -> Value {
        let reply = self.must(words);
        assert!(!reply.is_error(), "{reply:?}");
        reply
    }

    fn note(&mut self, words: Vec<Vec<u8>>, reply: Value) {
        if self.history.len() == HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back((words, reply));
    }
}

impl Drop for Run {
    /// Shows the last commands of a failure, with jobs by their numbers.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("running {:?} under {:?}", self.world.running, self.world.limit);
        if let Ok(told) = self.server.client().ask(&["JOB.LIMIT", "GET", "cap"]) {
            eprintln!("the server says {told:?}");
        }
        for queue in QUEUES {
            eprintln!("{queue}: {:?}", self.server.client().ask(&["JOB.EXPLAIN", queue]));
        }
        for (words, reply) in &self.talk.history {
            let line: Vec<String> = words.iter().map(|word| self.world.shown(word)).collect();
            eprintln!("{} -> {}", line.join(" "), self.shown_reply(reply));
        }
    }
}

impl Run {
    pub fn new(server: Server, seed: u64, scan_max: usize) -> Run {
        let talk = Talk { client: server.client(), history: VecDeque::new() };
        let (chance, world) = (Chance::new(seed), World::new(scan_max));
        let mut run = Run { server, talk, chance, world, choice: None, next_number: 0 };
        run.name_queues();
        for queue in 0..QUEUES.len() {
            run.push(queue, Side::Left, 1);
            run.pop_one(queue, Side::Right);
        }
        run
    }

    pub fn crash(&mut self) {
        self.server.crash_and_restart();
        self.talk.client = self.server.client();
        self.world.mark_orders(None, |order| order.crashed = true);
        self.talk.note(vec![b"(kill -9)".to_vec()], Value::Null);
    }

    /// As the job libraries do: whatever is moved to these is a queue.
    pub fn name_queues(&mut self) {
        self.talk.sure(&["SADD", "queues", "a", "b", "c"]);
        self.talk.sure(&["SADD", "app:queues", "a"]);
    }

    pub fn new_job(&mut self) -> Id {
        self.next_number += 1;
        let job = Job::any(self.next_number, &mut self.chance);
        self.world.add(job)
    }

    pub fn any_queue(&mut self) -> usize {
        self.chance.below(QUEUES.len())
    }

    /// Mostly the end that workers pop from.
    fn pop_side(&mut self) -> Side {
        if self.chance.one_in(8) { Side::Left } else { Side::Right }
    }

    pub fn push(&mut self, queue: usize, side: Side, count: usize) {
        let jobs: Vec<Id> = (0..count).map(|_| self.new_job()).collect();
        self.push_these(queue, side, &jobs);
    }

    pub fn push_some(&mut self) {
        let queue = self.any_queue();
        let side = if self.chance.one_in(8) { Side::Right } else { Side::Left };
        let count = if self.chance.one_in(12) { 30 + self.chance.below(60) } else { 1 + self.chance.below(4) };
        self.push(queue, side, count);
    }

    /// A push answers the length that Redis would, whatever rules make of the jobs.
    fn push_these(&mut self, queue: usize, side: Side, jobs: &[Id]) {
        let mut words = vec![side.command("PUSH").into_bytes(), QUEUES[queue].into()];
        words.extend(jobs.iter().map(|id| self.world.payload(*id).to_vec()));
        let reply = self.talk.sure(&words).integer();
        self.check_pushed_length(queue, jobs, reply);
        jobs.iter().for_each(|id| self.world.push(queue, side, *id));
    }

    fn check_pushed_length(&self, queue: usize, jobs: &[Id], reply: i64) {
        let (least, most) = self.world.length(queue);
        let count = jobs.len() as i64;
        assert!(
            (least + count..=most + count).contains(&reply),
            "a push answered {reply}, expected {least}..={most} + {count}"
        );
    }

    pub fn pop_one(&mut self, queue: usize, side: Side) {
        let reply = self.talk.sure(&[&side.command("POP"), QUEUES[queue]]);
        let got = self.ids(&reply);
        self.world.pop(queue, side, 1, &got);
        self.world.handed_out.extend(&got);
        if got.is_empty() && self.world.has_eligible(queue, side) {
            self.pop_when_found(queue, side);
        }
    }

    /// A pop that gave up leaves its place to the sweeper, so that a later one finds the job.
    fn pop_when_found(&mut self, queue: usize, side: Side) {
        let words = [&side.command("POP"), QUEUES[queue]];
        let mut reply = Value::Null;
        super::wait_until("a job that may go is found far behind others", || {
            reply = self.talk.client.must(&words);
            !reply.is_nil()
        });
        let got = self.ids(&reply);
        self.world.pop(queue, side, 1, &got);
        self.world.handed_out.extend(&got);
    }

    pub fn pop_some(&mut self) {
        let (queue, side) = (self.any_queue(), self.pop_side());
        let count = 1 + self.chance.below(6);
        match self.chance.below(6) {
            0..=1 => self.pop_one(queue, side),
            2 => {
                let reply = self.talk.sure(&[&side.command("POP"), QUEUES[queue], &count.to_string()]);
                let got = self.ids(&reply);
                self.world.pop(queue, side, count, &got);
                self.world.handed_out.extend(&got);
            }
            3 => {
                let reply =
                    self.talk.sure(&["EVAL", POP_SCRIPT, "1", QUEUES[queue], &side.command("POP"), &count.to_string()]);
                let got = self.ids(&reply);
                self.world.pop(queue, side, count, &got);
                self.world.handed_out.extend(&got);
            }
            4 => self.pop_of_many(side, count, true),
            _ => self.pop_of_many(side, count, false),
        }
    }

    /// BRPOP or LMPOP of two or three queues.
    fn pop_of_many(&mut self, side: Side, count: usize, blocking: bool) {
        let first = self.any_queue();
        let queues: Vec<usize> = (0..2 + self.chance.below(2)).map(|step| (first + step) % QUEUES.len()).collect();
        let keys = queues.iter().map(|queue| QUEUES[*queue].to_owned());
        let count = if blocking { 1 } else { count };
        let words: Vec<String> = if blocking {
            let command = format!("B{}", side.command("POP"));
            [command].into_iter().chain(keys).chain([BLOCK_SECONDS.to_owned()]).collect()
        } else {
            let tail = [side.word().to_owned(), "COUNT".to_owned(), count.to_string()];
            ["LMPOP".to_owned(), queues.len().to_string()].into_iter().chain(keys).chain(tail).collect()
        };
        let reply = self.talk.sure(&words);
        if reply.is_nil() {
            return self.world.pop_of_many(&queues, side, count, None);
        }
        let queue = QUEUES.iter().position(|key| *key == reply.items()[0].text()).expect("it was asked for");
        let got = self.ids(&reply.items()[1]);
        self.world.pop_of_many(&queues, side, count, Some((queue, &got)));
        self.world.handed_out.extend(&got);
    }

    /// Takes jobs under a lease, from the end that workers pop from.
    pub fn reserve_some(&mut self) {
        let queue = self.any_queue();
        let side = self.world.queues[queue].pop_end;
        let count = if self.chance.one_in(6) { 20 } else { 1 + self.chance.below(4) };
        let words = ["JOB.RESERVE", "COUNT", &count.to_string(), "LEASE", "1h", "FROM", QUEUES[queue]];
        let jobs = self.talk.sure(&words).into_items();
        let got: Vec<Id> = jobs.iter().map(|job| self.world.job_of(job.items()[2].bytes())).collect();
        self.world.pop(queue, side, count, &got);
        for (job, id) in jobs.iter().zip(got) {
            let attempt = self.world.attempts.remove(&id).unwrap_or(0) + 1;
            let token = job.items()[1].text().to_owned();
            assert_eq!(job.items()[3].items()[1].integer(), attempt, "the attempt of #{id}");
            self.world.leased.push(Leased { id, queue, token, attempt });
        }
    }

    /// A lease ends by ACK or NACK, or goes on.
    pub fn end_lease(&mut self) {
        if self.world.leased.is_empty() {
            return;
        }
        let at = self.chance.below(self.world.leased.len());
        let Leased { id, queue, token, attempt } = self.world.leased[at].clone();
        match self.chance.below(4) {
            0 => {
                self.talk.sure(&["JOB.HEARTBEAT", &token]);
                return;
            }
            1 => {
                self.talk.sure(&["JOB.ACK", &token]);
                self.world.running.remove(&id);
            }
            _ => {
                self.talk.sure(&["JOB.NACK", &token]);
                self.world.attempts.insert(id, attempt);
                self.world.push(queue, self.world.queues[queue].pop_end, id);
            }
        }
        self.world.leased.swap_remove(at);
        let again = self.talk.must(&["JOB.ACK", &token]);
        assert!(again.is_error(), "{token} was ended: {again:?}");
    }

    /// Of one class only so many may run, or again any number.
    pub fn limit(&mut self) {
        if self.world.limit.is_some() && self.chance.one_in(3) {
            self.talk.sure(&["JOB.LIMIT", "DEL", "cap"]);
            self.world.limit = None;
            self.world.running.clear();
            return;
        }
        let most = 1 + self.chance.below(4);
        let class = "ImageJob";
        self.talk.sure(&["JOB.LIMIT", "SET", "cap", "CLASS", class, "CONCURRENCY", &most.to_string(), "REPLACE"]);
        self.world.limit = Some((class, most));
    }

    /// A worker is done with a job that a pop has handed out, and says so.
    pub fn acknowledge_one(&mut self) {
        let Some(id) = self.world.running.iter().copied().find(|id| self.world.handed_out.contains(id)) else { return };
        let Some(jid) = self.world.jobs[id].jid.clone() else { return };
        self.talk.sure(&["JOB.ACK", &jid]);
        self.world.running.remove(&id);
        self.world.handed_out.retain(|other| *other != id);
    }

    /// Every job that is leased is known to be, whatever has happened meanwhile.
    pub fn check_leases(&mut self) {
        for Leased { id, token, .. } in self.world.leased.clone() {
            let status = self.talk.sure(&["JOB.STATUS", &token]);
            assert_eq!(status.items()[1].text(), "running", "#{id}");
        }
    }

    /// Moves to a working list, to another queue, or around in the same one.
    pub fn move_one(&mut self) {
        let (queue, side) = (self.any_queue(), self.pop_side());
        let to = if self.chance.one_in(2) { Side::Left } else { Side::Right };
        let target = self.chance.below(WORKING.len() + 2);
        let other = self.any_queue();
        if target >= WORKING.len() && other == queue && self.world.length(queue).0 < 2 {
            // Whether the only job was turned around, nobody can tell.
            return;
        }
        let key = WORKING.get(target).copied().unwrap_or(QUEUES[other]);
        let (to, reply) = if side == Side::Right && self.chance.one_in(3) {
            (Side::Left, self.talk.sure(&["RPOPLPUSH", QUEUES[queue], key]))
        } else {
            (to, self.talk.sure(&["LMOVE", QUEUES[queue], key, side.word(), to.word()]))
        };
        let got = self.ids(&reply);
        let counts = (self.world.queues[queue].pushed, self.world.queues[queue].popped);
        self.world.pop(queue, side, 1, &got);
        let Some(id) = got.first() else { return };
        match self.world.working.get_mut(target) {
            Some(list) if to == Side::Left => list.push_front(*id),
            Some(list) => list.push_back(*id),
            None if other == queue => {
                // A list that is turned around stays as long as it is.
                self.world.put(queue, to, *id);
                (self.world.queues[queue].pushed, self.world.queues[queue].popped) = (counts.0 + 1, counts.1 + 1);
            }
            None => self.world.push(other, to, *id),
        }
    }

    /// A job of a working list is done, fails, or is handed back to the end that it came from.
    pub fn finish_one(&mut self) {
        let working = self.chance.below(WORKING.len());
        let list = &mut self.world.working[working];
        if list.is_empty() {
            return;
        }
        let at = self.chance.below(list.len());
        let id = list.remove(at).expect("it is there");
        let payload = self.world.payload(id).to_vec();
        match self.chance.below(4) {
            0 => self.hand_back(id),
            1 => self.fail(id),
            _ => drop(self.world.running.remove(&id)),
        }
        let words = [b"LREM", WORKING[working].as_bytes(), b"1", &payload];
        assert_eq!(self.talk.sure(&words).integer(), 1, "a job that is being worked on is left alone");
    }

    /// The same of one that a pop has handed out.
    pub fn return_one(&mut self) {
        let Some(id) = self.world.handed_out.pop() else { return };
        if self.chance.one_in(2) { self.hand_back(id) } else { self.fail(id) }
    }

    fn hand_back(&mut self, id: Id) {
        let queue = self.any_queue();
        let side = self.world.queues[queue].pop_end;
        self.push_these(queue, side, &[id]);
    }

    fn fail(&mut self, id: Id) {
        let set = self.chance.below(SETS.len());
        self.put_in_set(set, id);
    }

    pub fn schedule_one(&mut self) {
        let (id, set) = (self.new_job(), self.chance.below(SETS.len()));
        self.put_in_set(set, id);
    }

    fn put_in_set(&mut self, set: usize, id: Id) {
        let score = World::score(id).to_string();
        let words = [b"ZADD", SETS[set].as_bytes(), score.as_bytes(), self.world.payload(id)];
        assert_eq!(self.talk.sure(&words).integer(), 1);
        self.world.put_in_set(set, id);
    }

    /// What Sidekiq's scheduler does with the first job that is due.
    pub fn enqueue_due(&mut self) {
        let set = self.chance.below(SETS.len());
        let reply = self.talk.sure(&["EVAL", DUE_SCRIPT, "1", SETS[set], "+inf"]);
        let got = self.ids(&reply).first().copied();
        let waiting = self.world.sets[set].iter().copied();
        let sure = waiting.clone().find(|id| !self.world.is_in_balance_in_set(*id));
        let Some(id) = got else {
            return assert_eq!(sure, None, "{} has a job that is due", SETS[set]);
        };
        let earliest = waiting.take_while(|id| Some(*id) != sure).chain(sure).any(|other| other == id);
        assert!(earliest, "{} gave #{id}, expected #{sure:?}", SETS[set]);
        self.world.sets[set].remove(&id);
        self.world.late_in_sets.remove(&id);
        let queue = self.any_queue();
        self.push_these(queue, Side::Left, &[id]);
    }

    /// Pops and a push in one transaction.
    pub fn transact(&mut self) {
        let (first, second, third) = (self.any_queue(), self.any_queue(), self.any_queue());
        let (side, id) = (self.pop_side(), self.new_job());
        let payload = self.world.payload(id).to_vec();
        self.talk.sure(&["MULTI"]);
        self.talk.sure(&[&side.command("POP"), QUEUES[first]]);
        self.talk.sure(&["LPUSH".as_bytes(), QUEUES[third].as_bytes(), &payload]);
        self.talk.sure(&["RPOP", QUEUES[second], "2"]);
        let replies = self.talk.sure(&["EXEC"]).into_items();
        let got = self.ids(&replies[0]);
        self.world.pop(first, side, 1, &got);
        self.world.handed_out.extend(&got);
        self.check_pushed_length(third, &[id], replies[1].integer());
        self.world.push(third, Side::Left, id);
        let got = self.ids(&replies[2]);
        self.world.pop(second, Side::Right, 2, &got);
        self.world.handed_out.extend(&got);
    }

    /// LLEN, LRANGE and LINDEX tell of the list as it stands.
    pub fn look(&mut self) {
        let queue = self.any_queue();
        let (least, most) = self.world.length(queue);
        let length = self.talk.sure(&["LLEN", QUEUES[queue]]).integer();
        assert!((least..=most).contains(&length), "LLEN says {length}, expected {least}..={most}");
        let reply = self.talk.sure(&["LRANGE", QUEUES[queue], "0", "-1"]);
        let found = self.ids(&reply);
        self.world.check_list(queue, &found);
        let last = self.talk.sure(&["LINDEX", QUEUES[queue], "-1"]);
        let list = &self.world.queues[queue].list;
        let last = self.ids(&last).first().copied();
        let may_be_last = list.iter().rev().copied();
        let sure = may_be_last.clone().find(|id| !self.world.is_in_balance(queue, *id));
        assert!(
            last == sure
                || last.is_some_and(|last| may_be_last.take_while(|id| Some(*id) != sure).any(|id| id == last)),
            "LINDEX -1 gave #{last:?}, expected #{sure:?}"
        );
    }

    /// A client takes a job out of a queue by LREM: it is gone, if no rule was quicker.
    pub fn remove_one(&mut self) {
        let queue = self.any_queue();
        let list = &self.world.queues[queue].list;
        if list.is_empty() {
            return;
        }
        let at = self.chance.below(list.len());
        let id = self.world.queues[queue].list[at];
        let words = [b"LREM", QUEUES[queue].as_bytes(), b"1", self.world.payload(id)];
        let removed = self.talk.sure(&words).integer();
        if removed == 1 {
            self.world.queues[queue].list.remove(at);
        } else {
            assert!(self.world.is_in_balance(queue, id), "{} lacks {}", QUEUES[queue], self.world.told(queue, &[id]));
        }
    }

    pub fn flush(&mut self) {
        self.talk.sure(&["FLUSHDB"]);
        self.world.flush();
        self.name_queues();
    }

    /// Sometimes ids of jobs that are there, for a rule about them.
    pub fn some_jids(&mut self) -> Vec<String> {
        let queue = self.any_queue();
        let jobs = self.world.queues[queue].list.iter().map(|id| &self.world.jobs[*id]);
        jobs.filter_map(|job| job.jid.clone()).skip(2).take(3).collect()
    }

    pub fn ids(&self, reply: &Value) -> Vec<Id> {
        match reply {
            Value::Array(items) => items.iter().map(|item| self.world.job_of(item.bytes())).collect(),
            reply if reply.is_nil() => Vec::new(),
            reply => vec![self.world.job_of(reply.bytes())],
        }
    }

    fn shown_reply(&self, reply: &Value) -> String {
        match reply {
            Value::Bulk(bytes) => self.world.shown(bytes),
            Value::Array(items) => {
                format!("[{}]", items.iter().map(|item| self.shown_reply(item)).collect::<Vec<_>>().join(", "))
            }
            other => format!("{other:?}"),
        }
    }

    pub fn any_what(&mut self) -> What {
        let jids = self.some_jids();
        What::any(&mut self.chance, &jids)
    }
}
