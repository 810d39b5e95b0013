//! Keys of any type, expiry, and scripts.

use super::{Generator, How, Step, exact, step, words};

impl Generator {
    pub(super) fn any_key(&mut self) -> Step {
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

    pub(super) fn script(&mut self) -> Step {
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
}
