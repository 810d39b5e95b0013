//! The only reader of the machine's time. Everything else is handed a [`Now`].

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One moment on both clocks: expiry and TIME follow the wall clock, blocking and leases the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since the Unix epoch.
    pub wall_us: u64,
    /// Time since the clock was made; never goes back.
    pub mono: Duration,
}

impl Now {
    /// Milliseconds since the Unix epoch.
    pub fn wall_ms(self) -> u64 {
        self.wall_us / 1000
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn start() -> Clock {
        Clock { start: Instant::now() }
    }

    /// Reads both clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall_us: wall.as_micros() as u64, mono: self.start.elapsed() }
    }
}
