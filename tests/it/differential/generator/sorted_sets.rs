//! Sorted sets.

use super::{Generator, KEYS_PER_TYPE, Step, exact, words};

impl Generator {
    pub(super) fn sorted_set(&mut self) -> Step {
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
}
