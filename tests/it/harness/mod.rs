//! What every integration test stands on: servers as guards, a blocking client, seeded chance, a look into /proc.
#![allow(dead_code, unused_imports, reason = "each of the two programs that include the harness uses a part of it")]

mod chance;
mod client;
mod process;
mod server;
mod value;

pub use chance::{Chance, seed_from_environment};
pub use client::{Client, Protocol, encode};
pub use process::{cpu_time, disk_usage_bytes, memory_now_bytes, memory_peak_bytes};
pub use server::{Program, Server, free_port, is_stand_in, millpond_binary, redis_or_explain, temporary_directory};
pub use value::{Malformed, Value, decode};

use std::time::Duration;

/// Reads a number from the environment, or takes the given one.
pub fn size_from_environment(name: &str, ordinary: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.replace('_', "").parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => ordinary,
    }
}

/// Whether `MILLPOND_TEST_ASSERT_TIMES=1` says that this machine does nothing else, so that times can be promised.
pub fn times_are_asserted() -> bool {
    std::env::var("MILLPOND_TEST_ASSERT_TIMES").is_ok_and(|text| text == "1")
}

/// Reads the machine's monotonic clock, the one that the power-loss shim stamps its records with.
pub fn monotonic_now() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that the call fills.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    assert_eq!(result, 0, "the monotonic clock can always be read");
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Raises a flag when it goes out of scope, by a panic too: so that threads that wait for it never wait for ever.
pub struct RaiseOnDrop<'a>(pub &'a std::sync::atomic::AtomicBool);

impl Drop for RaiseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

/// The durability policy to start the server with where nothing answered may be lost by `kill -9`.
///
/// While a sync is slow, Redis with `everysec` answers before it writes; Millpond writes first under every policy.
pub fn kill_safe(policy: &str) -> &str {
    if is_stand_in() { "always" } else { policy }
}

/// The value below which the given share (0 to 1) of the sorted samples lies.
pub fn quantile<T: Copy + Default>(sorted: &[T], share: f64) -> T {
    if sorted.is_empty() {
        return T::default();
    }
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}
