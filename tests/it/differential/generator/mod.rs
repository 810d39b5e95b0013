//! What the differential test sends: random commands of every type, each with how its reply is to be compared.
//!
//! Keys are few and named after what they hold, so that most commands meet data of their type; a few are spoiled on
//! purpose to compare error texts.

mod bits;
mod hashes_and_sets;
mod keys;
mod lists;
mod sorted_sets;
mod strings;

use crate::harness::Chance;

/// Keys of each type; few, so that commands meet.
const KEYS_PER_TYPE: usize = 16;
/// One command in so many gets the key of another type.
const WRONG_TYPE_ONE_IN: usize = 70;
/// One command in so many has an argument dropped, doubled or replaced.
const SPOILED_ONE_IN: usize = 60;
/// Seconds to live that are never reached within a run, and never equal by chance.
const LONG_SECONDS: (i64, i64) = (10_000, 90_000_000);
/// A moment in the year 2100, for absolute expiries.
const FAR_FUTURE_SECONDS: i64 = 4_102_444_800;

const STORED_SCRIPT: &str = "return {redis.call('LRANGE', KEYS[1], 0, 2), redis.call('LLEN', KEYS[1])}";
const STORED_SCRIPT_SHA1: &str = "6f19c5a9f16195be57764579e26b2ce336d09bdc";

/// How the replies of the two servers are compared.
#[derive(Debug, Clone, PartialEq)]
pub enum How {
    /// Equal, element by element.
    Exact,
    /// The same elements in any order.
    Unordered,
    /// The same pairs in any order: a map in RESP3, a flat array in RESP2.
    Pairs,
    /// A time that may have gone on a little between the two servers, in these units.
    Time(i64),
    /// Of the same kind: it tells of the server or the moment.
    Kind,
    /// Of the same kind, and as many elements: it was drawn by chance.
    Size,
    /// EXEC: each element as the reply to its command.
    Each(Vec<Step>),
}

/// One command.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub words: Vec<Vec<u8>>,
    pub how: How,
}

/// One thing to do on both servers.
#[derive(Debug, Clone)]
pub enum Plan {
    /// A command whose reply follows from the data.
    One(Step),
    /// MULTI, the steps, EXEC or DISCARD; before it perhaps WATCH, a write by the other connection, and UNWATCH.
    Transaction { watch: Option<Vec<u8>>, disturbance: Option<Step>, unwatch: bool, steps: Vec<Step>, discard: bool },
    /// A command that picks at random; the pick is checked and then made the same on both.
    Pick { words: Vec<Vec<u8>>, kind: PickKind, key: Vec<u8> },
    /// A full iteration, compared as a set; the words before and after the cursor, and whether it gives pairs.
    Scan { before: Vec<Vec<u8>>, after: Vec<Vec<u8>>, pairs: bool },
    /// A key that is given milliseconds to live, waited for, and then looked at.
    ShortExpiry { words: Vec<Vec<u8>>, then: Vec<Step> },
    /// Another database on one connection.
    Select(usize),
}

/// What a random pick picks from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PickKind {
    /// SPOP
    Pop,
    /// SRANDMEMBER
    SetMember,
    /// HRANDFIELD
    Field,
    /// ZRANDMEMBER
    SortedMember,
    /// RANDOMKEY
    Key,
}

/// Builds a command from words of several kinds.
macro_rules! words {
    ($($word:expr),* $(,)?) => { vec![$($crate::differential::generator::Word::word($word)),*] };
}
use words;

pub trait Word {
    fn word(self) -> Vec<u8>;
}
impl Word for &str {
    fn word(self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}
impl Word for String {
    fn word(self) -> Vec<u8> {
        self.into_bytes()
    }
}
impl Word for Vec<u8> {
    fn word(self) -> Vec<u8> {
        self
    }
}
impl Word for i64 {
    fn word(self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}

/// The source of commands.
pub struct Generator {
    chance: Chance,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator { chance: Chance::new(seed) }
    }

    /// Which of two connections goes next.
    pub fn connection(&mut self) -> usize {
        self.chance.below(2)
    }

    /// The next thing to do.
    pub fn plan(&mut self) -> Plan {
        match self.chance.below(1000) {
            0 => self.short_expiry(),
            1..=4 => Plan::Select(if self.chance.one_in(3) { 1 } else { 0 }),
            5 => self.stored_script(),
            6..=44 => self.transaction(),
            45..=74 => self.pick(),
            75..=84 => self.scan(),
            _ => Plan::One(self.step_perhaps_spoiled()),
        }
    }

    fn step_perhaps_spoiled(&mut self) -> Step {
        let mut step = self.step();
        let name = String::from_utf8_lossy(&step.words[0]).to_uppercase();
        // A blocking command with a spoiled timeout would wait for ever.
        let blocks = name.starts_with('B') && !name.starts_with("BITFIELD");
        // Without its last word, or with another key, it would ask for what has no order.
        let needs_its_end = name == "SORT" && step.words.iter().any(|word| word == b"nosort");
        // Members with different scores have no order by name: what Redis answers then is not specified.
        let needs_equal_scores = name == "ZADD" && step.words.get(1).is_some_and(|key| key.starts_with(b"lex:"));
        // A fourth word is for 7.2 to judge when it runs, for 7.0 at once: inside a transaction everything else would differ.
        let is_new = name == "ZRANK" || name == "ZREVRANK";
        let may_be_spoiled = !blocks && !needs_equal_scores && !needs_its_end && !is_new;
        if may_be_spoiled && step.words.len() > 1 && self.chance.one_in(SPOILED_ONE_IN) {
            let place = 1 + self.chance.below(step.words.len() - 1);
            match self.chance.below(3) {
                0 => drop(step.words.pop()),
                1 => step.words.push(step.words[place].clone()),
                _ => step.words[place] = self.chance.pick(&["abc", "-1", "", "1.5", "nan"]).as_bytes().to_vec(),
            }
            if self.chance.one_in(30) {
                step.words[0] = b"NOSUCHCOMMAND".to_vec();
            }
        }
        if self.chance.one_in(10) {
            step.words[0].make_ascii_lowercase();
        }
        step
    }

    fn step(&mut self) -> Step {
        match self.chance.below(110) {
            0..=13 => self.string(),
            14..=18 => self.bits(),
            19..=44 => self.list(),
            45..=56 => self.hash(),
            57..=68 => self.set(),
            69..=88 => self.sorted_set(),
            89..=98 => self.any_key(),
            99 | 100 => self.numbers(),
            101..=103 => self.sort(),
            104..=106 => self.script(),
            _ => self.blocking(),
        }
    }

    // --- names and values ---

    fn key(&mut self, kind: &str) -> String {
        const KINDS: [&str; 5] = ["string", "list", "hash", "set", "zset"];
        let kind = if self.chance.one_in(WRONG_TYPE_ONE_IN) { *self.chance.pick(&KINDS) } else { kind };
        format!("{kind}:{}", self.chance.below(KEYS_PER_TYPE))
    }

    fn kind(&mut self) -> &'static str {
        // Lists more often: they alone go through the cold store.
        const KINDS: [&str; 11] =
            ["string", "number", "float", "bits", "numbers", "list", "list", "hash", "set", "zset", "lex"];
        KINDS[self.chance.below(KINDS.len())]
    }

    fn value(&mut self) -> Vec<u8> {
        match self.chance.below(20) {
            0..=11 => format!("w{}", self.chance.below(24)).into_bytes(),
            12..=15 => format!("{{\"class\":\"Job\",\"args\":[{}]}}", self.chance.below(1_000_000)).into_bytes(),
            16..=17 => {
                let mut bytes: Vec<u8> = (0..self.chance.below(30)).map(|_| self.chance.bits() as u8).collect();
                // Redis' SORT ALPHA compares up to the first NUL, so that an empty value would have no place among these.
                bytes.iter_mut().take(1).for_each(|byte| *byte |= 1);
                bytes
            }
            18 => self.chance.between(-1000, 1000).to_string().into_bytes(),
            _ => {
                let length = 100 + self.chance.below(500);
                (0..length).map(|_| b'a' + (self.chance.bits() % 26) as u8).collect()
            }
        }
    }

    fn member(&mut self) -> Vec<u8> {
        match self.chance.below(12) {
            0 => self.chance.below(40).to_string().into_bytes(),
            1 => format!("a longer member than most of them, number {}", self.chance.below(30)).into_bytes(),
            _ => format!("m{}", self.chance.below(30)).into_bytes(),
        }
    }

    fn field(&mut self) -> String {
        format!("f{}", self.chance.below(20))
    }

    fn score(&mut self) -> String {
        match self.chance.below(20) {
            0 => self.chance.pick(&["inf", "-inf", "1e20", "1e-7", "-0", "350000000000000000"]).to_string(),
            1..=3 => format!("1795291{:03}.{:07}", self.chance.below(1000), self.chance.below(10_000_000)),
            4..=7 => format!("{}.{}", self.chance.between(-20, 20), self.chance.below(100)),
            _ => self.chance.between(-50, 50).to_string(),
        }
    }

    fn score_bound(&mut self) -> String {
        match self.chance.below(6) {
            0 => "-inf".into(),
            1 => "+inf".into(),
            2 => format!("({}", self.score()),
            _ => self.score(),
        }
    }

    fn lex_bound(&mut self) -> Vec<u8> {
        match self.chance.below(6) {
            0 => b"-".to_vec(),
            1 => b"+".to_vec(),
            2 | 3 => [b"(".as_slice(), &self.member()].concat(),
            _ => [b"[".as_slice(), &self.member()].concat(),
        }
    }

    fn index(&mut self) -> i64 {
        match self.chance.below(4) {
            0 => self.chance.between(-5, 5),
            1 => self.chance.between(-300, 300),
            _ => self.chance.between(0, 40),
        }
    }

    /// A range of indexes, near the start, near the end, or over all.
    fn range(&mut self) -> (i64, i64) {
        match self.chance.below(6) {
            0 => (0, -1),
            1 => (self.index(), self.index()),
            2 => (-self.chance.between(1, 50), -1),
            _ => {
                let start = self.chance.between(0, 200);
                (start, start + self.chance.between(0, 50))
            }
        }
    }

    fn long_seconds(&mut self) -> i64 {
        self.chance.between(LONG_SECONDS.0, LONG_SECONDS.1)
    }

    fn far_future_seconds(&mut self) -> i64 {
        FAR_FUTURE_SECONDS + self.chance.between(0, 1_000_000)
    }
    // --- composite plans ---

    fn transaction(&mut self) -> Plan {
        let steps = (0..1 + self.chance.below(6)).map(|_| self.step_perhaps_spoiled()).collect();
        let kind = self.kind();
        let watched = self.key(kind);
        let watch = self.chance.one_in(3).then(|| watched.clone().into_bytes());
        let disturbance = (watch.is_some() && self.chance.one_in(2)).then(|| match self.chance.below(4) {
            0 => exact(words!["DEL", watched]),
            1 => exact(words!["EXPIRE", watched, self.long_seconds()]),
            2 => exact(words!["LPUSH", watched, self.value()]),
            _ => self.step(),
        });
        let unwatch = watch.is_some() && self.chance.one_in(8);
        Plan::Transaction { watch, disturbance, unwatch, steps, discard: self.chance.one_in(10) }
    }

    /// A script under its name: loaded in the same transaction, since Millpond forgets it when it is killed.
    fn stored_script(&mut self) -> Plan {
        let list = self.key("list");
        let steps = vec![
            exact(words!["SCRIPT", "LOAD", STORED_SCRIPT]),
            exact(words!["SCRIPT", "EXISTS", STORED_SCRIPT_SHA1, "0000000000000000000000000000000000000000"]),
            exact(words!["EVALSHA", STORED_SCRIPT_SHA1, 1i64, list.clone()]),
            exact(words!["EVALSHA_RO", STORED_SCRIPT_SHA1, 1i64, list]),
        ];
        Plan::Transaction { watch: None, disturbance: None, unwatch: false, steps, discard: false }
    }

    fn pick(&mut self) -> Plan {
        let count = *self.chance.pick(&[1i64, 2, 5, 100, -3, -20, 0]);
        let with_count = self.chance.one_in(2);
        let (kind, key, name) = match self.chance.below(9) {
            0..=3 => (PickKind::Pop, self.key("set"), "SPOP"),
            4 | 5 => (PickKind::SetMember, self.key("set"), "SRANDMEMBER"),
            6 => (PickKind::Field, self.key("hash"), "HRANDFIELD"),
            7 => (PickKind::SortedMember, self.key("zset"), "ZRANDMEMBER"),
            _ => (PickKind::Key, String::new(), "RANDOMKEY"),
        };
        let mut words = words![name];
        if kind != PickKind::Key {
            words.push(key.clone().into_bytes());
            if with_count {
                words.extend(words![if kind == PickKind::Pop { count.abs().min(5) } else { count }]);
            }
        }
        Plan::Pick { words, kind, key: key.into_bytes() }
    }

    fn scan(&mut self) -> Plan {
        let mut after = Vec::new();
        if self.chance.one_in(2) {
            after.extend(words!["COUNT", *self.chance.pick(&[1i64, 5, 100, 1000])]);
        }
        match self.chance.below(5) {
            0 => Plan::Scan { before: words!["SSCAN", self.key("set")], after, pairs: false },
            1 => Plan::Scan { before: words!["HSCAN", self.key("hash")], after, pairs: true },
            2 => {
                after.extend(words!["match", "m1*"]);
                Plan::Scan { before: words!["ZSCAN", self.key("zset")], after, pairs: true }
            }
            3 => {
                after.extend(words!["TYPE", *self.chance.pick(&["list", "zset", "string"])]);
                Plan::Scan { before: words!["SCAN"], after, pairs: false }
            }
            _ => {
                after.extend(words!["MATCH", *self.chance.pick(&["*", "list:*", "*:3"])]);
                Plan::Scan { before: words!["SCAN"], after, pairs: false }
            }
        }
    }

    fn short_expiry(&mut self) -> Plan {
        let kind = self.kind();
        let key = self.key(kind);
        let words = match self.chance.below(3) {
            0 => words!["SET", key.clone(), self.value(), "PX", 20i64],
            _ => words!["PEXPIRE", key.clone(), 20i64],
        };
        let push = exact(words!["RPUSH", self.key("list"), self.value()]);
        let then = vec![
            exact(words!["EXISTS", key.clone()]),
            exact(words!["TYPE", key.clone()]),
            step(words!["TTL", key.clone()], How::Time(2)),
            exact(words!["RENAME", key, "moved"]),
            push,
        ];
        Plan::ShortExpiry { words, then }
    }
}

/// A command and how to compare its reply.
pub fn step(words: Vec<Vec<u8>>, how: How) -> Step {
    Step { words, how }
}

/// A command whose reply is equal.
pub fn exact(words: Vec<Vec<u8>>) -> Step {
    step(words, How::Exact)
}
