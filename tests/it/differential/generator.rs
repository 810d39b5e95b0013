//! What the differential test sends: random commands of every type, each with how its reply is to be compared.
//!
//! Keys are few and named after what they hold, so that most commands meet data of their type; a few are spoiled on
//! purpose to compare error texts.

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
    /// EXEC: each element in its own way.
    Each(Vec<How>),
}

/// One command.
#[derive(Debug, Clone)]
pub struct Step {
    pub words: Vec<Vec<u8>>,
    pub how: How,
}

/// One thing to do on both servers.
#[derive(Debug, Clone)]
pub enum Plan {
    /// A command whose reply follows from the data.
    One(Step),
    /// MULTI, the steps, EXEC or DISCARD; before it perhaps WATCH, and a write by the other connection.
    Transaction { watch: Option<Vec<u8>>, disturbance: Option<Step>, steps: Vec<Step>, discard: bool },
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
    ($($word:expr),* $(,)?) => { vec![$(Word::word($word)),*] };
}

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
            5..=44 => self.transaction(),
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
        // Members with different scores have no order by name: what Redis answers then is not specified.
        let needs_equal_scores = name == "ZADD" && step.words.get(1).is_some_and(|key| key.starts_with(b"lex:"));
        // A fourth word is for 7.2 to judge when it runs, for 7.0 at once: inside a transaction everything else would differ.
        let is_new = name == "ZRANK" || name == "ZREVRANK";
        let may_be_spoiled = !blocks && !needs_equal_scores && !is_new;
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
        match self.chance.below(100) {
            0..=15 => self.string(),
            16..=41 => self.list(),
            42..=53 => self.hash(),
            54..=65 => self.set(),
            66..=85 => self.sorted_set(),
            86..=94 => self.any_key(),
            95..=97 => self.script(),
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
        const KINDS: [&str; 10] = ["string", "number", "float", "bits", "list", "list", "hash", "set", "zset", "lex"];
        KINDS[self.chance.below(KINDS.len())]
    }

    fn value(&mut self) -> Vec<u8> {
        match self.chance.below(20) {
            0..=11 => format!("w{}", self.chance.below(24)).into_bytes(),
            12..=15 => format!("{{\"class\":\"Job\",\"args\":[{}]}}", self.chance.below(1_000_000)).into_bytes(),
            16..=17 => (0..self.chance.below(30)).map(|_| self.chance.bits() as u8).collect(),
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

    // --- families ---

    fn string(&mut self) -> Step {
        let key = self.key("string");
        let number = self.key("number");
        let float = self.key("float");
        match self.chance.below(33) {
            0..=5 => {
                let mut words = words!["SET", key, self.value()];
                self.set_options(&mut words);
                exact(words)
            }
            6 | 7 => exact(words!["GET", key]),
            8 => exact(words!["GETSET", key, self.value()]),
            9 => exact(words!["GETDEL", key]),
            10 => {
                let mut words = words!["GETEX", key];
                match self.chance.below(5) {
                    0 => words.extend(words!["EX", self.long_seconds()]),
                    1 => words.extend(words!["PX", self.long_seconds() * 1000]),
                    2 => words.extend(words!["EXAT", self.far_future_seconds()]),
                    3 => words.push(b"PERSIST".to_vec()),
                    _ => {}
                }
                exact(words)
            }
            11 => exact(words!["APPEND", key, self.value()]),
            12 => exact(words!["STRLEN", key]),
            13 => exact(words!["GETRANGE", key, self.index(), self.index()]),
            14 => exact(words!["SETRANGE", key, self.chance.between(0, 60), self.value()]),
            15 => exact(words!["SETEX", key, self.long_seconds(), self.value()]),
            16 => exact(words!["PSETEX", key, self.long_seconds() * 1000, self.value()]),
            17 => exact(words!["SETNX", key, self.value()]),
            18 => exact(words!["MGET", key, self.key("string"), self.key("number"), self.key("string")]),
            19 => exact(words!["MSET", key, self.value(), self.key("string"), self.value()]),
            20 => exact(words!["MSETNX", key, self.value(), self.key("string"), self.value()]),
            21 | 22 => exact(words!["INCR", number]),
            23 => exact(words!["DECR", number]),
            24 => exact(words!["INCRBY", number, self.chance.between(-1000, 1000)]),
            25 => exact(words!["DECRBY", number, self.chance.between(-1000, 1000)]),
            26 | 27 => {
                exact(words!["INCRBYFLOAT", float, *self.chance.pick(&["0.1", "1.5", "-0.25", "3", "1.1e2", "-7.77"])])
            }
            28 => exact(words!["SET", number, self.chance.between(-9_000_000, 9_000_000)]),
            29 => exact(words!["BITFIELD_RO", self.key("bits"), "GET", "u16", "#0", "GET", "i7", self.index().abs()]),
            _ => {
                let words = self.bitfield();
                exact(words)
            }
        }
    }

    fn set_options(&mut self, words: &mut Vec<Vec<u8>>) {
        if self.chance.one_in(2) {
            return;
        }
        match self.chance.below(6) {
            0 => words.extend(words!["EX", self.long_seconds()]),
            1 => words.extend(words!["PX", self.long_seconds() * 1000]),
            2 => words.extend(words!["EXAT", self.far_future_seconds()]),
            3 => words.extend(words!["PXAT", self.far_future_seconds() * 1000]),
            4 => words.push(b"KEEPTTL".to_vec()),
            _ => {}
        }
        match self.chance.below(6) {
            0 => words.push(b"NX".to_vec()),
            1 => words.push(b"XX".to_vec()),
            2 => words.push(b"GET".to_vec()),
            3 => words.extend(words!["xx", "get"]),
            _ => {}
        }
    }

    fn bitfield(&mut self) -> Vec<Vec<u8>> {
        let mut words = words!["BITFIELD", self.key("bits")];
        let overflow = *self.chance.pick(&["WRAP", "SAT", "FAIL"]);
        if overflow == "FAIL" {
            // Redis lengthens the string for an increment that then fails, and forgets to write that to its log.
            words.extend(words!["SET", "u1", 600i64, 0i64]);
        }
        for _ in 0..1 + self.chance.below(4) {
            let kind = *self.chance.pick(&["u8", "u16", "i16", "i5", "u63", "i64", "u1"]);
            let place = if self.chance.one_in(2) {
                format!("#{}", self.chance.below(6))
            } else {
                self.chance.below(200).to_string()
            };
            let number = self.chance.between(-40_000, 80_000);
            match self.chance.below(5) {
                0 => words.extend(words!["GET", kind, place]),
                1 => words.extend(words!["SET", kind, place, number]),
                2 => words.extend(words!["OVERFLOW", overflow]),
                _ => words.extend(words!["INCRBY", kind, place, number]),
            }
        }
        words
    }

    fn list(&mut self) -> Step {
        let key = self.key("list");
        let other = self.key("list");
        match self.chance.below(48) {
            0..=5 => {
                let mut words = words![*self.chance.pick(&["LPUSH", "RPUSH"]), key];
                for _ in 0..1 + self.chance.below(5) {
                    words.push(self.value());
                }
                exact(words)
            }
            6 | 7 => {
                // Long lists, for the pieces that leave memory in the tiny profile.
                let mut words = words![*self.chance.pick(&["LPUSH", "RPUSH", "RPUSH"]), key];
                for _ in 0..20 + self.chance.below(100) {
                    words.push(self.value());
                }
                exact(words)
            }
            8 => exact(words![*self.chance.pick(&["LPUSHX", "RPUSHX"]), key, self.value(), self.value()]),
            9..=12 => exact(words![*self.chance.pick(&["LPOP", "RPOP"]), key]),
            13 => exact(words![*self.chance.pick(&["LPOP", "RPOP"]), key, self.chance.between(0, 20)]),
            14..=16 => exact(words!["LLEN", key]),
            17..=20 => exact(words!["LINDEX", key, self.index()]),
            21..=25 => {
                let (start, stop) = self.range();
                exact(words!["LRANGE", key, start, stop])
            }
            26 | 27 => exact(words!["LSET", key, self.index(), self.value()]),
            28..=30 => exact(words!["LREM", key, self.chance.between(-3, 3), self.value()]),
            31 | 32 => {
                exact(words!["LINSERT", key, *self.chance.pick(&["BEFORE", "after"]), self.value(), self.value()])
            }
            33 | 34 => {
                // Mostly cuts what got long, so that the lists stay within what a short run can hold.
                let (start, stop) = *self.chance.pick(&[(0, 150), (-150, -1), (3, 200), (0, 400), (1, -2)]);
                exact(words!["LTRIM", key, start, stop])
            }
            35..=38 => {
                let (from, to) = (*self.chance.pick(&["LEFT", "RIGHT"]), *self.chance.pick(&["left", "RIGHT"]));
                exact(words!["LMOVE", key, other, from, to])
            }
            39 | 40 => exact(words!["RPOPLPUSH", key, other]),
            41..=44 => {
                let mut words = words!["LPOS", key, self.value()];
                if self.chance.one_in(2) {
                    words.extend(words!["RANK", *self.chance.pick(&[1i64, -1, 2, -2, 5])]);
                }
                if self.chance.one_in(2) {
                    words.extend(words!["COUNT", self.chance.between(0, 4)]);
                }
                if self.chance.one_in(4) {
                    words.extend(words!["MAXLEN", self.chance.between(0, 100)]);
                }
                exact(words)
            }
            _ => {
                let mut words = words!["LMPOP", 2i64, key, other, *self.chance.pick(&["LEFT", "RIGHT"])];
                if self.chance.one_in(2) {
                    words.extend(words!["COUNT", self.chance.between(1, 10)]);
                }
                exact(words)
            }
        }
    }

    /// Blocking forms, which find data, or give up after a hundredth of a second.
    fn blocking(&mut self) -> Step {
        let (key, other, third) = (self.key("list"), self.key("list"), self.key("list"));
        let (zset, second) = (self.key("zset"), self.key("zset"));
        match self.chance.below(9) {
            0 | 1 => exact(words!["BRPOP", key, other, third, "0.01"]),
            2 => exact(words!["BLPOP", key, other, "0.01"]),
            3 => exact(words!["BLMOVE", key, other, "RIGHT", "LEFT", "0.01"]),
            4 => exact(words!["BRPOPLPUSH", key, other, "0.01"]),
            5 => exact(words!["BLMPOP", "0.01", 2i64, key, other, "LEFT", "COUNT", 3i64]),
            6 => exact(words!["BZPOPMIN", zset, second, "0.01"]),
            7 => exact(words!["BZPOPMAX", zset, "0.01"]),
            _ => exact(words!["BZMPOP", "0.01", 2i64, zset, second, "MIN"]),
        }
    }

    fn hash(&mut self) -> Step {
        let key = self.key("hash");
        match self.chance.below(30) {
            0..=4 => exact(words!["HSET", key, self.field(), self.value(), self.field(), self.value()]),
            5 => exact(words!["HMSET", key, self.field(), self.value()]),
            6..=8 => exact(words!["HGET", key, self.field()]),
            9 | 10 => exact(words!["HMGET", key, self.field(), self.field(), self.field()]),
            11 | 12 => exact(words!["HDEL", key, self.field(), self.field()]),
            13..=15 => step(words!["HGETALL", key], How::Pairs),
            16 => step(words!["HKEYS", key], How::Unordered),
            17 => step(words!["HVALS", key], How::Unordered),
            18 | 19 => exact(words!["HLEN", key]),
            20 => exact(words!["HEXISTS", key, self.field()]),
            21 | 22 => exact(words!["HSETNX", key, self.field(), self.value()]),
            23 | 24 => {
                exact(words!["HINCRBY", key, format!("n{}", self.chance.below(5)), self.chance.between(-100, 100)])
            }
            25 | 26 => exact(words![
                "HINCRBYFLOAT",
                key,
                format!("d{}", self.chance.below(5)),
                *self.chance.pick(&["0.1", "2.5", "-0.3", "10", "1e2"])
            ]),
            27 => exact(words!["HSTRLEN", key, self.field()]),
            28 => exact(words!["HINCRBY", key, self.field(), 1i64]),
            _ => exact(words!["HGET", key, format!("n{}", self.chance.below(5))]),
        }
    }

    fn set(&mut self) -> Step {
        let (key, other, third) = (self.key("set"), self.key("set"), self.key("set"));
        match self.chance.below(30) {
            0..=6 => exact(words!["SADD", key, self.member(), self.member(), self.member()]),
            7..=9 => exact(words!["SREM", key, self.member(), self.member()]),
            10 | 11 => exact(words!["SISMEMBER", key, self.member()]),
            12 => exact(words!["SMISMEMBER", key, self.member(), self.member(), self.member()]),
            13 | 14 => exact(words!["SCARD", key]),
            15..=17 => step(words!["SMEMBERS", key], How::Unordered),
            18 => step(words!["SINTER", key, other], How::Unordered),
            19 => step(words!["SUNION", key, other, third], How::Unordered),
            20 => step(words!["SDIFF", key, other], How::Unordered),
            21 => exact(words!["SINTERSTORE", key, other, third]),
            22 => exact(words!["SUNIONSTORE", key, other, third]),
            23 => exact(words!["SDIFFSTORE", key, other, third]),
            24 | 25 => exact(words!["SINTERCARD", 2i64, key, other]),
            26 => exact(words!["SINTERCARD", 3i64, key, other, third, "LIMIT", self.chance.between(0, 3)]),
            _ => exact(words!["SMOVE", key, other, self.member()]),
        }
    }

    fn sorted_set(&mut self) -> Step {
        let (key, other) = (self.key("zset"), self.key("zset"));
        match self.chance.below(64) {
            0..=6 => self.zadd(key),
            7..=12 => {
                let words = self.zrange(key);
                exact(words)
            }
            13 | 14 => {
                let (start, stop) = self.range();
                exact(words![*self.chance.pick(&["ZRANGE", "ZREVRANGE"]), key, start, stop, "WITHSCORES"])
            }
            15 | 16 => {
                let mut words = words!["ZRANGEBYSCORE", key, self.score_bound(), self.score_bound()];
                self.score_range_options(&mut words);
                exact(words)
            }
            17 => {
                let mut words = words!["ZREVRANGEBYSCORE", key, self.score_bound(), self.score_bound()];
                self.score_range_options(&mut words);
                exact(words)
            }
            18 | 19 => exact(words!["ZSCORE", key, self.member()]),
            20 | 21 => exact(words!["ZMSCORE", key, self.member(), self.member()]),
            22 => exact(words!["ZINCRBY", key, self.score(), self.member()]),
            23 | 24 => exact(words!["ZCARD", key]),
            25 => exact(words!["ZCOUNT", key, self.score_bound(), self.score_bound()]),
            26 | 27 => exact(words![*self.chance.pick(&["ZRANK", "ZREVRANK"]), key, self.member()]),
            28 | 29 => exact(words!["ZREM", key, self.member(), self.member()]),
            30 => exact(words![*self.chance.pick(&["ZPOPMIN", "ZPOPMAX"]), key]),
            31 => exact(words![*self.chance.pick(&["ZPOPMIN", "ZPOPMAX"]), key, self.chance.between(0, 4)]),
            32 => exact(words!["ZMPOP", 2i64, key, other, *self.chance.pick(&["MIN", "MAX"]), "COUNT", 2i64]),
            33 => {
                let low = self.score();
                exact(words!["ZREMRANGEBYSCORE", key, low.clone(), low])
            }
            34 => exact(words!["ZREMRANGEBYRANK", key, 20i64, -1i64]),
            35 => exact(words!["ZREMRANGEBYRANK", key, 0i64, -10_000i64]),
            36..=44 => self.lexical(),
            45..=52 => self.sorted_set_store(key, other),
            53 => exact(words!["ZINTERCARD", 2i64, key, other, "LIMIT", self.chance.between(0, 3)]),
            54 => exact(words!["ZDIFF", 2i64, key, other, "WITHSCORES"]),
            55 => exact(words!["ZUNION", 2i64, key, other, "WITHSCORES"]),
            56 => exact(words!["ZINTER", 2i64, key, other]),
            57 => exact(words!["ZREMRANGEBYSCORE", key, self.score_bound(), "(-40"]),
            _ => exact(words!["ZADD", key, self.score(), self.member(), self.score(), self.member()]),
        }
    }

    fn zadd(&mut self, key: String) -> Step {
        let mut words = words!["ZADD", key];
        match self.chance.below(5) {
            0 => words.push(b"NX".to_vec()),
            1 => words.push(b"XX".to_vec()),
            _ => {}
        }
        match self.chance.below(5) {
            0 => words.push(b"GT".to_vec()),
            1 => words.push(b"lt".to_vec()),
            _ => {}
        }
        if self.chance.one_in(3) {
            words.push(b"CH".to_vec());
        }
        if self.chance.one_in(4) {
            words.extend(words!["INCR", self.score(), self.member()]);
        } else {
            for _ in 0..1 + self.chance.below(4) {
                words.extend(words![self.score(), self.member()]);
            }
        }
        exact(words)
    }

    fn zrange(&mut self, key: String) -> Vec<Vec<u8>> {
        let mut words = words!["ZRANGE", key];
        let reverse = self.chance.one_in(2);
        let by_score = self.chance.one_in(2);
        if by_score {
            words.extend(words![self.score_bound(), self.score_bound(), "BYSCORE"]);
        } else {
            let (start, stop) = self.range();
            words.extend(words![start, stop]);
        }
        if reverse {
            words.push(b"REV".to_vec());
        }
        if by_score && self.chance.one_in(2) {
            words.extend(words!["limit", self.chance.between(0, 4), self.chance.between(-1, 10)]);
        }
        if self.chance.one_in(2) {
            words.push(b"WITHSCORES".to_vec());
        }
        words
    }

    fn score_range_options(&mut self, words: &mut Vec<Vec<u8>>) {
        if self.chance.one_in(2) {
            words.push(b"WITHSCORES".to_vec());
        }
        if self.chance.one_in(2) {
            words.extend(words!["LIMIT", self.chance.between(0, 4), self.chance.between(-1, 10)]);
        }
    }

    /// Sets whose scores are all zero: only there is an order by name defined.
    fn lexical(&mut self) -> Step {
        let key = format!("lex:{}", self.chance.below(KEYS_PER_TYPE));
        match self.chance.below(12) {
            0..=4 => exact(words!["ZADD", key, 0i64, self.member(), 0i64, self.member(), 0i64, self.member()]),
            5 | 6 => {
                let mut words = words!["ZRANGEBYLEX", key, self.lex_bound(), self.lex_bound()];
                if self.chance.one_in(2) {
                    words.extend(words!["LIMIT", self.chance.between(0, 4), self.chance.between(-1, 10)]);
                }
                exact(words)
            }
            7 => exact(words!["ZREVRANGEBYLEX", key, self.lex_bound(), self.lex_bound()]),
            8 => exact(words!["ZLEXCOUNT", key, self.lex_bound(), self.lex_bound()]),
            9 => exact(words!["ZREMRANGEBYLEX", key, self.lex_bound(), self.lex_bound()]),
            10 => exact(words!["ZRANGE", key, self.lex_bound(), self.lex_bound(), "BYLEX", "REV", "LIMIT", 0i64, 5i64]),
            _ => exact(words!["ZRANGE", key, self.lex_bound(), self.lex_bound(), "BYLEX"]),
        }
    }

    fn sorted_set_store(&mut self, key: String, other: String) -> Step {
        let target = self.key("zset");
        match self.chance.below(6) {
            0 => exact(words!["ZRANGESTORE", target, key, 0i64, self.chance.between(-1, 20)]),
            1 => exact(words!["ZRANGESTORE", target, key, self.score_bound(), "+inf", "BYSCORE", "LIMIT", 0i64, 15i64]),
            2 => exact(words!["ZDIFFSTORE", target, 2i64, key, other]),
            // Sums of no more than two: the order in which more doubles are added changes their last bit.
            3 => exact(words!["ZUNIONSTORE", target, 2i64, key, other, "WEIGHTS", self.chance.between(-2, 3), 1i64]),
            4 => {
                let set = self.key("set");
                exact(words![
                    "ZUNIONSTORE",
                    target,
                    3i64,
                    key,
                    other,
                    set,
                    "AGGREGATE",
                    *self.chance.pick(&["MIN", "MAX"])
                ])
            }
            _ => {
                exact(words!["ZINTERSTORE", target, 2i64, key, other, "AGGREGATE", *self.chance.pick(&["SUM", "min"])])
            }
        }
    }

    fn any_key(&mut self) -> Step {
        let kind = self.kind();
        let (key, other) = (self.key(kind), self.key(kind));
        match self.chance.below(34) {
            0..=2 => {
                let mut words = words!["EXPIRE", key, self.long_seconds()];
                if self.chance.one_in(2) {
                    words.push(self.chance.pick(&["NX", "XX", "GT", "lt"]).as_bytes().to_vec());
                }
                exact(words)
            }
            3 => exact(words!["PEXPIRE", key, self.long_seconds() * 1000]),
            4 => exact(words!["EXPIREAT", key, self.far_future_seconds()]),
            5 => exact(words![
                "PEXPIREAT",
                key,
                self.far_future_seconds() * 1000 + 123,
                *self.chance.pick(&["NX", "XX", "GT", "LT"])
            ]),
            6 => exact(words!["EXPIRE", key, *self.chance.pick(&[0i64, -1])]),
            7..=9 => step(words!["TTL", key], How::Time(2)),
            10 => step(words!["PTTL", key], How::Time(2000)),
            11 => step(words!["EXPIRETIME", key], How::Time(2)),
            12 => step(words!["PEXPIRETIME", key], How::Time(2000)),
            13 | 14 => exact(words!["PERSIST", key]),
            15 => exact(words!["RENAME", key, other]),
            16 => exact(words!["RENAMENX", key, other]),
            17 | 18 => exact(words!["COPY", key, other, "REPLACE"]),
            19 => exact(words!["COPY", key, other, "DB", 1i64]),
            20..=22 => exact(words!["TYPE", key]),
            23 | 24 => exact(words!["EXISTS", key.clone(), other, key]),
            25 => exact(words!["TOUCH", key, other]),
            26 => exact(words!["DEL", key]),
            27 => exact(words!["UNLINK", key, other]),
            28 | 29 => exact(words!["DBSIZE"]),
            30 => {
                step(words!["KEYS", *self.chance.pick(&["list:*", "*:1?", "[hz]*", "*", "nothing*"])], How::Unordered)
            }
            31 => exact(words!["ECHO", self.value()]),
            32 if self.chance.one_in(40) => exact(words![*self.chance.pick(&["FLUSHDB", "FLUSHALL"])]),
            _ => exact(words!["PING"]),
        }
    }

    fn script(&mut self) -> Step {
        let (list, other) = (self.key("list"), self.key("list"));
        let zset = self.key("zset");
        let one_key = |source: &str, key: String, argument: Vec<u8>| exact(words!["EVAL", source, 1i64, key, argument]);
        let none = |source: &str| exact(words!["EVAL", source, 0i64]);
        match self.chance.below(14) {
            0 => exact(words![
                "EVAL",
                "return redis.call('LPUSH', KEYS[1], ARGV[1], ARGV[2])",
                1i64,
                list,
                self.value(),
                self.value()
            ]),
            1 => exact(words![
                "EVAL",
                "local job = redis.call('RPOP', KEYS[1]) if job then redis.call('LPUSH', KEYS[2], job) end return job",
                2i64,
                list,
                other
            ]),
            2 | 3 => {
                let source = "local due = redis.call('zrange', KEYS[1], '-inf', ARGV[1], 'byscore', 'limit', 0, 1) \
                              if due[1] then redis.call('zrem', KEYS[1], due[1]) return due[1] end";
                one_key(source, zset, self.score().into_bytes())
            }
            4 => one_key("return redis.pcall('INCR', KEYS[1])", list, self.value()),
            5 => one_key("return redis.call('INCR', KEYS[1])", self.key("number"), self.value()),
            6 => none("return {1, 2, 3.7, 'x', {4, {5}}, true, false, 6, nil, 7}"),
            7 => none("return redis.error_reply('MINE is an error')"),
            8 => none("return redis.status_reply('FINE')"),
            9 => one_key("return cjson.encode(cjson.decode(ARGV[1]))", list, b"{\"a\":[1,2.5,null,\"x\"]}".to_vec()),
            10 => one_key("return redis.sha1hex(ARGV[1])", list, self.value()),
            11 => one_key("return redis.call('HINCRBY', KEYS[1], 'n0', ARGV[1])", self.key("hash"), b"7".to_vec()),
            12 => exact(words!["EVALSHA", "0000000000000000000000000000000000000000", 0i64]),
            _ => one_key(
                "redis.call('SET', KEYS[1], ARGV[1]) redis.call('PEXPIREAT', KEYS[1], 4102444800000) \
                 return {redis.call('GET', KEYS[1]), redis.call('EXPIRETIME', KEYS[1]), redis.call('EXISTS', KEYS[1])}",
                self.key("string"),
                self.value(),
            ),
        }
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
        Plan::Transaction { watch, disturbance, steps, discard: self.chance.one_in(10) }
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
