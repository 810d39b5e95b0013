//! Numbers for `math.random`: the same for every run of a script, because a script that was dropped at a miss runs again
//! and must not meet another chance. For a seed they are those of Redis, which since version 7 goes on with the sequence
//! of the script before.

/// The generator of the C function `lrand48`, a linear congruence modulo 2^48 (POSIX).
pub struct Random(u64);

impl Random {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const INCREMENT: u64 = 0xB;
    const MASK: u64 = (1 << 48) - 1;
    /// The numbers that Redis' `math.random` draws from: 2^31 - 1 of them.
    const RANGE: u64 = i32::MAX as u64;

    pub fn seeded(seed: i32) -> Random {
        // POSIX: the seed's 32 bits above the constant 0x330E.
        Random((u64::from(seed as u32) << 16) | 0x330E)
    }

    /// Draws a number from 0 up to, but without, 1.
    pub fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(Random::MULTIPLIER).wrapping_add(Random::INCREMENT) & Random::MASK;
        ((self.0 >> 17) % Random::RANGE) as f64 / Random::RANGE as f64
    }
}

impl Default for Random {
    fn default() -> Random {
        Random::seeded(0)
    }
}
