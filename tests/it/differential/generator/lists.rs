//! Lists, and the blocking forms.

use super::{Generator, Step, exact, words};

impl Generator {
    pub(super) fn list(&mut self) -> Step {
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
    pub(super) fn blocking(&mut self) -> Step {
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
}
