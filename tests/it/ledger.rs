//! What one client wrote, what was answered, and whether a server that came back still holds exactly that.
//!
//! Each client owns its keys. Every write raises one counter, and the data show the counters: so the state after any
//! prefix of the writes is known, and what is found must be the state after one of the prefixes that are allowed. That
//! finds lost writes, undone writes and half transactions alike.

use crate::harness::{Chance, Client, RaiseOnDrop, Value, encode, monotonic_now};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Jobs are a little longer than a number, so that the log grows as it does in real life.
const PADDING_BYTES: usize = 150;
/// The year 2100, in milliseconds; the expiry of write n is n later.
const EXPIRY_BASE_MS: u64 = 4_102_444_800_000;
/// Keys with an expiry, in turn.
const EXPIRY_SLOTS: u64 = 4;
/// How many elements lists and sorted sets keep before their head may be taken.
const KEPT_MIN: u64 = 20;

const SCRIPT: &str = "local n = redis.call('INCR', KEYS[1]) \
                      redis.call('RPUSH', KEYS[2], n) \
                      redis.call('LTRIM', KEYS[2], -20, -1) \
                      redis.call('HSET', KEYS[3], 'n', n) return n";

/// One kind of write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Write {
    /// RPUSH of the next job to the source.
    Feed,
    /// LMOVE of the oldest job from the source to the target.
    Move,
    /// LPOP of the oldest job of the target.
    Pop,
    /// MULTI over a string, a sorted set, a hash and a list.
    Transaction,
    /// ZADD of the next member.
    Add,
    /// ZPOPMIN.
    Remove,
    /// EVAL over a string, a list and a hash.
    Script,
    /// SET with a far expiry.
    Expiring,
    /// SET, or DEL of what the last one set.
    Toggle,
    /// SET with a few milliseconds to live.
    Short,
}

const WRITES: [Write; 10] = [
    Write::Feed,
    Write::Move,
    Write::Pop,
    Write::Transaction,
    Write::Add,
    Write::Remove,
    Write::Script,
    Write::Expiring,
    Write::Toggle,
    Write::Short,
];

/// How many writes of each kind there have been.
type Counts = [u64; WRITES.len()];

/// One client's writes since the state was last verified.
pub struct Ledger {
    client: usize,
    chance: Chance,
    verified: Counts,
    sent: Vec<Write>,
    /// When each of the first writes was answered; shorter than `sent` if some never were.
    answered_at: Vec<Duration>,
    /// All writes ever answered, for the report.
    pub answered_in_total: u64,
}

impl Ledger {
    pub fn new(client: usize, chance: Chance) -> Ledger {
        Ledger {
            client,
            chance,
            verified: [0; WRITES.len()],
            sent: Vec::new(),
            answered_at: Vec::new(),
            answered_in_total: 0,
        }
    }

    /// Writes until told to stop or until the server is gone; `depth` writes share one round trip.
    pub fn write_until(&mut self, port: u16, depth: usize, stop: &AtomicBool) {
        let Ok(mut client) = Client::connect(port) else { return };
        while !stop.load(Ordering::Relaxed) {
            let first = self.sent.len();
            let mut counts = self.counts_after(first);
            let mut wire = Vec::new();
            for _ in 0..depth {
                let write = self.next_write(&counts);
                counts[write as usize] += 1;
                self.sent.push(write);
                for words in self.commands(write, &counts) {
                    encode(&mut wire, &words);
                }
            }
            if client.send_raw(&wire).is_err() {
                return;
            }
            let mut counts = self.counts_after(first);
            for place in first..self.sent.len() {
                let write = self.sent[place];
                counts[write as usize] += 1;
                if !self.answer(&mut client, write, &counts) {
                    return;
                }
                self.answered_at.push(monotonic_now());
                self.answered_in_total += 1;
            }
        }
    }

    /// Checks that the server holds what kill -9 must leave: every answered write, and of the others the first few or none.
    pub fn verify_nothing_answered_is_lost(&mut self, client: &mut Client) -> Result<(), String> {
        self.verify(client, self.answered_at.len())
    }

    /// Checks the same for the writes that were answered before a moment; of the later ones any prefix may be there.
    pub fn verify_nothing_answered_before_is_lost(
        &mut self,
        client: &mut Client,
        moment: Duration,
    ) -> Result<(), String> {
        self.verify(client, self.answered_at.iter().filter(|at| **at < moment).count())
    }

    fn verify(&mut self, client: &mut Client, kept_min: usize) -> Result<(), String> {
        let found = self.read(client);
        let mut first_complaint = None;
        for kept in kept_min..=self.sent.len() {
            let counts = self.counts_after(kept);
            match found.complaint(&counts) {
                None => {
                    self.verified = counts;
                    self.sent.clear();
                    self.answered_at.clear();
                    return Ok(());
                }
                Some(complaint) => drop(first_complaint.get_or_insert(complaint)),
            }
        }
        let earlier = (0..kept_min).rev().find(|kept| found.complaint(&self.counts_after(*kept)).is_none());
        Err(format!(
            "client {}: {} writes sent, {} answered, {kept_min} must be there; {}; against the fewest allowed: {}; \
             last answered: {:?}",
            self.client,
            self.sent.len(),
            self.answered_at.len(),
            match earlier {
                Some(kept) => format!("the state is that after {kept} writes: {} LOST", kept_min - kept),
                None => "the state is that after no prefix of the writes".to_owned(),
            },
            first_complaint.unwrap_or_default(),
            &self.sent[kept_min.saturating_sub(5)..kept_min],
        ))
    }

    fn counts_after(&self, writes: usize) -> Counts {
        let mut counts = self.verified;
        for write in &self.sent[..writes] {
            counts[*write as usize] += 1;
        }
        counts
    }

    fn next_write(&mut self, counts: &Counts) -> Write {
        let of = |write: Write| counts[write as usize];
        loop {
            let write = *self.chance.pick(&WRITES);
            let possible = match write {
                Write::Move => of(Write::Feed) > of(Write::Move),
                Write::Pop => of(Write::Move) > of(Write::Pop) + KEPT_MIN,
                Write::Remove => of(Write::Add) > of(Write::Remove) + KEPT_MIN,
                _ => true,
            };
            if possible {
                return write;
            }
        }
    }

    fn key(&self, name: &str) -> String {
        format!("crash:{}:{name}", self.client)
    }

    /// The commands of one write; the counts include it.
    fn commands(&self, write: Write, counts: &Counts) -> Vec<Vec<String>> {
        let n = counts[write as usize];
        let one = |words: &[&str]| vec![words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()];
        let number = n.to_string();
        match write {
            Write::Feed => one(&["RPUSH", &self.key("source"), &job(n)]),
            Write::Move => one(&["LMOVE", &self.key("source"), &self.key("target"), "LEFT", "RIGHT"]),
            Write::Pop => one(&["LPOP", &self.key("target")]),
            Write::Transaction => [
                one(&["MULTI"]),
                one(&["SET", &self.key("t1"), &number]),
                one(&["ZADD", &self.key("t2"), &number, "member"]),
                one(&["HSET", &self.key("t3"), "n", &number]),
                one(&["RPUSH", &self.key("t4"), &number]),
                one(&["LTRIM", &self.key("t4"), "-20", "-1"]),
                one(&["EXEC"]),
            ]
            .concat(),
            Write::Add => one(&["ZADD", &self.key("zset"), &number, &format!("m{n}")]),
            Write::Remove => one(&["ZPOPMIN", &self.key("zset")]),
            Write::Script => one(&["EVAL", SCRIPT, "3", &self.key("s1"), &self.key("s2"), &self.key("s3")]),
            Write::Expiring => {
                let key = self.key(&format!("x{}", n % EXPIRY_SLOTS));
                one(&["SET", &key, &number, "PXAT", &(EXPIRY_BASE_MS + n).to_string()])
            }
            Write::Toggle if n % 2 == 1 => one(&["SET", &self.key("toggle"), &number]),
            Write::Toggle => one(&["DEL", &self.key("toggle")]),
            Write::Short => one(&["SET", &self.key("short"), &number, "PX", "5"]),
        }
    }

    /// Reads the replies to one write and checks them; false when the server is gone.
    fn answer(&self, client: &mut Client, write: Write, counts: &Counts) -> bool {
        let mut replies = Vec::new();
        for _ in 0..self.commands(write, counts).len() {
            match client.reply() {
                Ok(reply) => replies.push(reply),
                Err(_) => return false,
            }
        }
        let n = counts[write as usize];
        let last = replies.last().expect("each write has a command");
        let right = match write {
            Write::Move | Write::Pop => matches!(last, Value::Bulk(bytes) if *bytes == job(n).into_bytes()),
            Write::Script | Write::Add => last.integer() == if write == Write::Script { n as i64 } else { 1 },
            Write::Transaction => last.items().len() == 5 && !last.items().iter().any(Value::is_error),
            Write::Remove => last.items()[0].text() == format!("m{n}"),
            Write::Toggle if n.is_multiple_of(2) => *last == Value::Integer(1),
            _ => !last.is_error() && !last.is_nil(),
        };
        assert!(right, "client {}: {write:?} number {n} was answered {replies:?}", self.client);
        true
    }

    fn read(&self, client: &mut Client) -> Found {
        let mut numbers = |name: &str| {
            let reply = client.must(&["LRANGE", &self.key(name), "0", "-1"]);
            reply.items().iter().map(|item| number_of(&item.text())).collect::<Vec<_>>()
        };
        let (source, target) = (numbers("source"), numbers("target"));
        let (transaction_list, script_list) = (numbers("t4"), numbers("s2"));
        let mut number = |words: &[&str]| match client.must(words) {
            reply if reply.is_nil() => None,
            Value::Integer(number) => Some(number as u64),
            reply => Some(number_of(&reply.text())),
        };
        let transaction = vec![
            number(&["GET", &self.key("t1")]),
            number(&["ZSCORE", &self.key("t2"), "member"]),
            number(&["HGET", &self.key("t3"), "n"]),
        ];
        let script = vec![number(&["GET", &self.key("s1")]), number(&["HGET", &self.key("s3"), "n"])];
        let toggle = number(&["GET", &self.key("toggle")]);
        let short = number(&["GET", &self.key("short")]);
        let expiring = (0..EXPIRY_SLOTS)
            .map(|slot| {
                let key = self.key(&format!("x{slot}"));
                number(&["GET", &key]).map(|value| (value, number(&["PEXPIRETIME", &key]).expect("a number")))
            })
            .collect();
        let members = client.must(&["ZRANGE", &self.key("zset"), "0", "-1", "WITHSCORES"]);
        let zset = members
            .items()
            .chunks(2)
            .map(|pair| {
                let (member, score) = (pair[0].text(), number_of(&pair[1].text()));
                assert_eq!(member, format!("m{score}"), "member and score were written together");
                score
            })
            .collect();
        Found { source, target, transaction, transaction_list, zset, script, script_list, expiring, toggle, short }
    }
}

/// What the server holds for one client.
struct Found {
    source: Vec<u64>,
    target: Vec<u64>,
    transaction: Vec<Option<u64>>,
    transaction_list: Vec<u64>,
    zset: Vec<u64>,
    script: Vec<Option<u64>>,
    script_list: Vec<u64>,
    expiring: Vec<Option<(u64, u64)>>,
    toggle: Option<u64>,
    short: Option<u64>,
}

impl Found {
    /// What is wrong if these are the counts, or None if all agrees.
    fn complaint(&self, counts: &Counts) -> Option<String> {
        let of = |write: Write| counts[write as usize];
        let differs = |what: &str, found: &[u64], first: u64, last: u64| {
            let right = found.len() as u64 == last + 1 - first && found.iter().copied().eq(first..=last);
            (!right).then(|| {
                let (from, to) = (found.first(), found.last());
                format!("{what} should be {first}..={last}, is {from:?}..={to:?}, {} of them", found.len())
            })
        };
        let unequal = |what: &str, found: &[Option<u64>], number: u64| {
            let expected = (number > 0).then_some(number);
            found
                .iter()
                .any(|found| *found != expected)
                .then(|| format!("{what} should all be {expected:?}, are {found:?}"))
        };
        let (transactions, scripts, expiries) = (of(Write::Transaction), of(Write::Script), of(Write::Expiring));
        let last_twenty = |n: u64| n.saturating_sub(19).max(1);
        None.or_else(|| differs("source", &self.source, of(Write::Move) + 1, of(Write::Feed)))
            .or_else(|| differs("target", &self.target, of(Write::Pop) + 1, of(Write::Move)))
            .or_else(|| unequal("the transaction's keys", &self.transaction, transactions))
            .or_else(|| {
                differs("the transaction's list", &self.transaction_list, last_twenty(transactions), transactions)
            })
            .or_else(|| differs("zset", &self.zset, of(Write::Remove) + 1, of(Write::Add)))
            .or_else(|| unequal("the script's keys", &self.script, scripts))
            .or_else(|| differs("the script's list", &self.script_list, last_twenty(scripts), scripts))
            .or_else(|| self.wrong_expiry(expiries))
            .or_else(|| {
                let toggles = of(Write::Toggle);
                let expected = (toggles % 2 == 1).then_some(toggles);
                (self.toggle != expected).then(|| format!("toggle should be {expected:?}, is {:?}", self.toggle))
            })
            .or_else(|| self.short.map(|short| format!("an expired key is back: {short}")))
    }

    fn wrong_expiry(&self, expiries: u64) -> Option<String> {
        self.expiring.iter().enumerate().find_map(|(slot, found)| {
            let newest =
                (0..EXPIRY_SLOTS).map(|back| expiries.wrapping_sub(back)).find(|n| n % EXPIRY_SLOTS == slot as u64);
            let newest = newest.filter(|n| (1..=expiries).contains(n));
            let expected = newest.map(|n| (n, EXPIRY_BASE_MS + n));
            (*found != expected).then(|| format!("expiring key {slot} should be {expected:?}, is {found:?}"))
        })
    }
}

fn job(n: u64) -> String {
    format!("{n} {}", "x".repeat(PADDING_BYTES))
}

fn number_of(text: &str) -> u64 {
    let number = text.split(' ').next().unwrap_or_default();
    number.parse().unwrap_or_else(|_| panic!("not a number that was written: {text:?}"))
}

/// Runs the load of all ledgers, each on a connection and thread of its own, until `work` is done.
pub fn write_while<T>(ledgers: &mut [Ledger], port: u16, work: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (place, ledger) in ledgers.iter_mut().enumerate() {
            // Half of the clients wait for each answer, half send eight writes at a time.
            let depth = if place % 2 == 0 { 1 } else { 8 };
            let stop = &stop;
            scope.spawn(move || ledger.write_until(port, depth, stop));
        }
        let _stop = RaiseOnDrop(&stop);
        work()
    })
}
