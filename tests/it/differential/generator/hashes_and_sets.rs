//! Hashes and sets.

use super::{Generator, How, Step, exact, step, words};

impl Generator {
    pub(super) fn hash(&mut self) -> Step {
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

    pub(super) fn set(&mut self) -> Step {
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
}
