//! Keys of any type, expiry, sorting, and scripts.

use super::{Generator, How, Step, exact, step, words};

impl Generator {
    pub(super) fn any_key(&mut self) -> Step {
        let kind = self.kind();
        let (key, other) = (self.key(kind), self.key(kind));
        match self.chance.below(40) {
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
            32 if self.chance.one_in(10) => exact(words![*self.chance.pick(&["FLUSHDB", "FLUSHALL"])]),
            33..=35 => exact(words!["MOVE", key, self.chance.between(0, 1)]),
            36 => exact(words!["COPY", key, other]),
            37 => exact(words!["PUBLISH", "channel", self.value()]),
            38 => exact(words!["PUBSUB", "NUMSUB", "channel"]),
            39 => exact(words!["WAIT", 0i64, 0i64]),
            _ => exact(words!["PING"]),
        }
    }

    /// SORT where the order of the reply is defined: equal weights fall back on the elements, except with ALPHA and BY. A
    /// set has an order without BY's sorting only where it is stored, or asked for by a script.
    pub(super) fn sort(&mut self) -> Step {
        let mut words = words![*self.chance.pick(&["SORT", "SORT", "SORT", "SORT_RO"])];
        let mut is_stored = words[0] == b"SORT" && self.chance.one_in(4);
        match self.chance.below(10) {
            // Lists of numbers, which name keys of the other types too.
            0..=5 => {
                words.extend(words![self.key("numbers")]);
                match self.chance.below(4) {
                    0 => words.extend(words!["BY", *self.chance.pick(&["number:*", "hash:*->n1"])]),
                    1 => words.push(b"ALPHA".to_vec()),
                    _ => {}
                }
                if self.chance.one_in(3) {
                    words.extend(words!["GET", *self.chance.pick(&["string:*", "hash:*->f3", "#"]), "GET", "#"]);
                }
            }
            6 | 7 => words.extend(words![self.key("set"), "ALPHA"]),
            kind => {
                let key = self.key(if kind == 8 { "zset" } else { "list" });
                words = words!["SORT", key, *self.chance.pick(&["BY", "by"]), "nosort"];
                is_stored = true;
            }
        }
        if self.chance.one_in(2) {
            words.extend(words![*self.chance.pick(&["ASC", "desc"])]);
        }
        if self.chance.one_in(3) {
            words.extend(words!["LIMIT", self.chance.between(-2, 5), self.chance.between(-1, 10)]);
        }
        if is_stored {
            words.extend(words!["STORE", self.key("list")]);
        }
        exact(words)
    }

    /// What SORT sorts.
    pub(super) fn numbers(&mut self) -> Step {
        let key = self.key("numbers");
        let number = self.chance.between(0, 15);
        match self.chance.below(6) {
            0..=2 => exact(words!["RPUSH", key, number, self.chance.between(-5, 15), self.chance.between(0, 15)]),
            3 => exact(words!["LPUSH", key, number, format!("{number}.5")]),
            4 => exact(words!["LTRIM", key, 0i64, 30i64]),
            _ => exact(words!["LREM", key, 1i64, number]),
        }
    }

    pub(super) fn script(&mut self) -> Step {
        let (list, other) = (self.key("list"), self.key("list"));
        let zset = self.key("zset");
        let one_key = |source: &str, key: String, argument: Vec<u8>| exact(words!["EVAL", source, 1i64, key, argument]);
        let none = |source: &str| exact(words!["EVAL", source, 0i64]);
        match self.chance.below(16) {
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
            12 => exact(words!["EVAL_RO", "return redis.call('LLEN', KEYS[1])", 1i64, list]),
            13 => one_key(
                "return redis.call('SORT', KEYS[1], 'BY', 'nosort', 'DESC', 'LIMIT', 0, 5)",
                if self.chance.one_in(2) { zset } else { list },
                self.value(),
            ),
            14 => exact(words!["EVALSHA", "0000000000000000000000000000000000000000", 0i64]),
            _ => one_key(
                "redis.call('SET', KEYS[1], ARGV[1]) redis.call('PEXPIREAT', KEYS[1], 4102444800000) \
                 return {redis.call('GET', KEYS[1]), redis.call('EXPIRETIME', KEYS[1]), redis.call('EXISTS', KEYS[1])}",
                self.key("string"),
                self.value(),
            ),
        }
    }
}
