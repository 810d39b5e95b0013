//! Bits of strings, and bit fields.

use super::{Generator, Step, exact, words};

/// Within what a few of the small strings reach, and a little beyond.
const BIT_OFFSET_MAX: i64 = 1_200;

impl Generator {
    pub(super) fn bits(&mut self) -> Step {
        let key = self.key("bits");
        match self.chance.below(16) {
            0..=2 => exact(words!["SETBIT", key, self.chance.between(0, BIT_OFFSET_MAX), self.chance.between(0, 1)]),
            3 | 4 => exact(words!["GETBIT", key, self.chance.between(0, BIT_OFFSET_MAX)]),
            5 | 6 => {
                let mut words = words!["BITCOUNT", key];
                if self.chance.one_in(2) {
                    self.bit_range(&mut words);
                }
                exact(words)
            }
            7..=9 => {
                let mut words = words!["BITPOS", key, self.chance.between(0, 1)];
                match self.chance.below(3) {
                    0 => words.extend(words![self.chance.between(-20, 100)]),
                    1 => self.bit_range(&mut words),
                    _ => {}
                }
                exact(words)
            }
            10 | 11 => {
                let target = self.key("bits");
                match *self.chance.pick(&["AND", "or", "XOR", "NOT"]) {
                    "NOT" => exact(words!["BITOP", "NOT", target, key]),
                    operation => exact(words!["BITOP", operation, target, key, self.key("bits"), self.key("number")]),
                }
            }
            12 => exact(words!["BITFIELD_RO", key, "GET", "u16", "#0", "GET", "i7", self.index().abs()]),
            _ => {
                let words = self.bitfield(key);
                exact(words)
            }
        }
    }

    fn bit_range(&mut self, words: &mut Vec<Vec<u8>>) {
        words.extend(words![self.chance.between(-20, 100), self.chance.between(-20, 100)]);
        if self.chance.one_in(2) {
            words.extend(words![*self.chance.pick(&["BIT", "byte"])]);
        }
    }

    fn bitfield(&mut self, key: String) -> Vec<Vec<u8>> {
        let mut words = words!["BITFIELD", key];
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
}
