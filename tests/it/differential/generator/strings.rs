//! Strings and counters.

use super::{Generator, Step, exact, words};

impl Generator {
    pub(super) fn string(&mut self) -> Step {
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
            29 | 30 => self.longest_common(),
            31 => exact(words!["SUBSTR", key, self.index(), self.index()]),
            _ => exact(words!["GETRANGE", float, 0i64, self.index()]),
        }
    }

    /// Of short strings: the table that LCS needs is limited, and the tiny profile has little room.
    fn longest_common(&mut self) -> Step {
        let (kind, other) = (*self.chance.pick(&["bits", "number"]), *self.chance.pick(&["bits", "float"]));
        let mut words = words!["LCS", self.key(kind), self.key(other)];
        match self.chance.below(4) {
            0 => words.push(b"LEN".to_vec()),
            1 => words.extend(words!["IDX", "MINMATCHLEN", self.chance.between(0, 4)]),
            2 => words.extend(words!["idx", "withmatchlen"]),
            _ => {}
        }
        exact(words)
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
}
